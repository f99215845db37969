/** The verbs of elastic addresses. Source of the rules: Amazon VPC User Guide, "Elastic IP addresses". */
import { parseName } from '../net/name.js';
import { allocatePublic, checkPublicAddress } from './addresses.js';
import { conflict, installationOf, notFound, requireInstance } from './lookup.js';
import { type Draft, findKind, getKind, type Reader } from './reader.js';
import { describe, type ElasticIp, type Instance, idOf, ids, type NatGateway } from './resources.js';

export function requireElasticIp(reader: Reader, name: string): ElasticIp {
  const found = getKind(reader, 'elastic-ip', ids.elasticIp(parseName(name, 'elastic ip')));
  if (found !== undefined) return found;
  throw notFound(
    `elastic ip ${name}`,
    findKind(reader, 'elastic-ip', 'kind:elastic-ip').map((known) => known.name),
  );
}

/** What has an elastic address. */
export function holderOf(reader: Reader, name: string): Instance | NatGateway | undefined {
  const [holder] = reader.find(`elastic:${name}`);
  return holder?.kind === 'instance' || holder?.kind === 'nat-gateway' ? holder : undefined;
}

/** The elastic address, for the resource `id`. CONFLICT when another has it. */
export function freeElasticIp(draft: Draft, name: string, id: string): ElasticIp {
  const found = requireElasticIp(draft, name);
  const holder = holderOf(draft, name);
  if (holder !== undefined && idOf(holder) !== id) {
    throw conflict(`elastic ip ${name} (${found.address}) is that of ${describe(holder)}`, 'disassociate it first');
  }
  return found;
}

/** Takes an address of the pool: that one, or a free one. CONFLICT when the name has another. */
export function allocateElasticIp(draft: Draft, name: string, address?: string): ElasticIp {
  const id = ids.elasticIp(parseName(name, 'elastic ip'));
  const existing = getKind(draft, 'elastic-ip', id);
  const pool = installationOf(draft).publicPool;
  const asked = address === undefined ? undefined : checkPublicAddress(draft, pool, address, id);
  if (existing !== undefined) {
    if (asked === undefined || asked === existing.address) return existing;
    throw conflict(
      `elastic ip ${name} exists with address ${existing.address}, not ${asked}`,
      'release it first, or choose another name',
    );
  }
  const elastic: ElasticIp = { kind: 'elastic-ip', name, address: asked ?? allocatePublic(draft, pool, id) };
  draft.put(elastic);
  return elastic;
}

/** Gives an elastic address back; false when there is none. CONFLICT while something has it. */
export function releaseElasticIp(draft: Draft, name: string): boolean {
  const elastic = getKind(draft, 'elastic-ip', ids.elasticIp(parseName(name, 'elastic ip')));
  if (elastic === undefined) return false;
  const holder = holderOf(draft, name);
  if (holder !== undefined)
    throw conflict(`elastic ip ${name} is that of ${describe(holder)}`, 'disassociate it first');
  draft.remove(idOf(elastic));
  return true;
}

/**
 * Gives an instance an elastic address in place of the public one that it has, if any; from another instance, it is moved. CONFLICT when a NAT gateway
 * has it: that keeps it for life.
 */
export function associateElasticIp(draft: Draft, name: string, vpc: string, instance: string): Instance {
  const { address } = requireElasticIp(draft, name);
  const target = requireInstance(draft, vpc, instance);
  const holder = holderOf(draft, name);
  if (holder?.kind === 'nat-gateway') {
    throw conflict(
      `elastic ip ${name} is that of ${describe(holder)}, which keeps it for life`,
      'delete the NAT gateway first',
    );
  }
  if (holder !== undefined && idOf(holder) !== idOf(target)) draft.put(withoutAddress(holder));
  const after: Instance = { ...target, publicIp: address, elasticIp: name };
  draft.put(after);
  return after;
}

/** Takes an elastic address from its instance, which then has no public one; false when none has it. */
export function disassociateElasticIp(draft: Draft, name: string): boolean {
  requireElasticIp(draft, name);
  const holder = holderOf(draft, name);
  if (holder === undefined) return false;
  if (holder.kind === 'nat-gateway') {
    throw conflict(
      `elastic ip ${name} is that of ${describe(holder)}, which keeps it for life`,
      'delete the NAT gateway first',
    );
  }
  draft.put(withoutAddress(holder));
  return true;
}

function withoutAddress(instance: Instance): Instance {
  const { publicIp: _address, elasticIp: _name, ...rest } = instance;
  if (rest.publish === undefined) return rest;
  throw conflict(
    `${describe(instance)} is published on the host, for which it needs a public address`,
    'publish nothing of it first',
  );
}
