/**
 * Ending tracked connections. The kernel lets what is tracked pass without asking the firewall again; to forget an entry is to have its next packet
 * judged as a new connection's. A connection of an address that left always ends: whoever gets the address next must not inherit it. One that a
 * changed rule no longer admits goes on, as in the cloud (Amazon VPC User Guide, "Connection tracking"), unless it is asked to be cut.
 */
import type { Flow, Kernel } from '../kernel/kernel.js';
import { Admission } from '../lower/admits.js';
import { routerNs } from '../lower/names.js';
import { otherVpc, peeringsOf } from '../model/lookup.js';
import { referrersOf } from '../model/prefix-lists.js';
import type { Edit, Reader } from '../model/reader.js';
import {
  INSTALLATION_SCOPE,
  type Instance,
  idOf,
  type NatGateway,
  privateIps,
  type Resource,
  scopesOf,
} from '../model/resources.js';
import type { KernelObject } from '../objects/kernel-object.js';

/** What is to end in the router of one VPC. */
export interface Cut {
  readonly vpc: string;
  /** Addresses that left. */
  readonly addresses: readonly string[];
  /** Also what is no longer admitted. */
  readonly refused: boolean;
}

/**
 * What must be cut after these edits of `before`; `refused`: also what they no longer admit. Peers' routers track connections of an address too. VPCs
 * that go take theirs along.
 */
export function cutsOf(before: Reader, edits: readonly Edit[], refused: boolean): Cut[] {
  const cuts = new Map<string, { addresses: string[]; refused: boolean }>();
  const cutOf = (vpc: string): { addresses: string[]; refused: boolean } => {
    const known = cuts.get(vpc) ?? { addresses: [], refused: false };
    cuts.set(vpc, known);
    return known;
  };
  for (const { before: was, after: is } of edits) {
    for (const resource of refused ? [was, is] : []) {
      for (const vpc of resource === undefined ? [] : judgedBy(before, resource)) cutOf(vpc).refused = true;
    }
    if (was?.kind !== 'instance' && was?.kind !== 'nat-gateway') continue;
    const kept = is?.kind === was.kind ? addressesOf(is) : [];
    const gone = addressesOf(was).filter((ip) => !kept.includes(ip));
    if (gone.length === 0) continue;
    const peers = peeringsOf(before, was.vpc).map((peering) => otherVpc(peering, was.vpc));
    for (const vpc of [was.vpc, ...peers]) cutOf(vpc).addresses.push(...gone);
  }
  cuts.delete(INSTALLATION_SCOPE);
  for (const { before: was, after: is } of edits) if (was?.kind === 'vpc' && is === undefined) cuts.delete(was.name);
  return [...cuts].map(([vpc, cut]) => ({ vpc, ...cut }));
}

/** The VPCs in which something else may be admitted when the resource changes. */
function judgedBy(reader: Reader, resource: Resource): readonly string[] {
  if (resource.kind !== 'prefix-list') return scopesOf(resource);
  return referrersOf(reader, resource.name).flatMap(scopesOf);
}

function addressesOf(owner: Instance | NatGateway): string[] {
  return [...privateIps(owner), ...(owner.publicIp === undefined ? [] : [owner.publicIp])];
}

/** What is recorded: the model, and the rows of each resource. */
interface Recorded extends Reader {
  rowsOf(id: string): KernelObject[];
}

/** Ends them; how many connections that were. The rules of `recorded` are in the kernel already. */
export async function carryOut(cuts: readonly Cut[], recorded: Recorded, kernel: Kernel): Promise<number> {
  let count = 0;
  for (const cut of cuts) {
    const ns = routerNs(cut.vpc);
    const flows = await kernel.flows(ns);
    if (flows.length === 0) continue;
    const doomed = flows.filter(doomedBy(cut, recorded));
    if (doomed.length > 0) await kernel.cut(ns, doomed);
    count += doomed.length;
  }
  return count;
}

function doomedBy({ vpc, addresses, refused }: Cut, recorded: Recorded): (flow: Flow) => boolean {
  const left = new Set(addresses);
  const admission = refused ? new Admission(rowsOfRouter(vpc, recorded)) : undefined;
  return ({ original, reply }) => {
    if ([original, reply].some(({ source, destination }) => left.has(source) || left.has(destination))) return true;
    const admitted = admission?.admits({
      source: original.source,
      destination: original.destination,
      protocol: original.protocol,
      ...(original.destinationPort === undefined ? {} : { port: original.destinationPort }),
      ...(original.icmp === undefined ? {} : { icmp: original.icmp }),
      answersFrom: reply.source,
      answersTo: reply.destination,
    });
    return admitted === false;
  };
}

function rowsOfRouter(vpc: string, recorded: Recorded): KernelObject[] {
  const ns = routerNs(vpc);
  return ['instances', 'nat-gateways', 'profiles', 'peerings', 'subnets', 'route-tables']
    .flatMap((term) => recorded.find(`${term}:${vpc}`))
    .flatMap((resource) => recorded.rowsOf(idOf(resource)))
    .filter((row) => row.ns === ns);
}
