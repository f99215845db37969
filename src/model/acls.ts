/**
 * The verbs of network ACLs. As those of verbs.ts: idempotent, and a refusal is one line. Source of the rules: Amazon VPC User Guide, "Network ACLs".
 */
import { isSame } from '../canonical.js';
import { invalid } from '../errors.js';
import { parseAnyIpOrCidr } from '../net/cidr.js';
import { hash32, parseName } from '../net/name.js';
import { ANY_PORT, parseIcmp, parsePort, parseProtocol } from '../net/ports.js';
import type { NetworkAclEntrySpec, NetworkAclSpec } from '../spec/types.js';
import { conflict, networkAclsOf, notFound, requireSubnet, requireVpc } from './lookup.js';
import { checkQuota } from './quotas.js';
import { type Draft, getKind, type Reader } from './reader.js';
import { type AclEntry, describe, ids, type NetworkAcl, type Subnet } from './resources.js';
import { formatMatch } from './rules.js';

export type AclDirection = 'ingress' | 'egress';

/** What subnets without a network ACL have, in AWS's words: no other can be called so. */
const DEFAULT_ACL = 'default';

export function requireNetworkAcl(reader: Reader, vpc: string, name: string): NetworkAcl {
  requireVpc(reader, vpc);
  const acl = getKind(reader, 'network-acl', ids.networkAcl(vpc, parseName(name, 'network acl')));
  if (acl !== undefined) return acl;
  throw notFound(
    `network acl ${name} of vpc ${vpc}`,
    networkAclsOf(reader, vpc).map((known) => known.name),
  );
}

/** Makes a network ACL without rules, which denies everything; one that is there keeps its rules. */
export function addNetworkAcl(draft: Draft, vpc: string, name: string): NetworkAcl {
  requireVpc(draft, vpc);
  const known = getKind(draft, 'network-acl', ids.networkAcl(vpc, parseName(name, 'network acl')));
  if (known !== undefined) return known;
  if (name === DEFAULT_ACL) {
    throw invalid(
      `a network acl cannot be called ${DEFAULT_ACL}: that is what subnets without one have, which allows all`,
      {
        hint: 'choose another name',
      },
    );
  }
  const taken = new Set(networkAclsOf(draft, vpc).map(({ number }) => number));
  const acl: NetworkAcl = { kind: 'network-acl', vpc, name, number: numberOf(name, taken), ingress: [], egress: [] };
  draft.put(acl);
  return acl;
}

/** 1 to 2^30: of each, two marks are made. */
function numberOf(name: string, taken: ReadonlySet<number>): number {
  for (let salt = 0; ; salt += 1) {
    const number = 1 + (hash32(salt === 0 ? name : `${name};${salt}`) >>> 2);
    if (!taken.has(number)) return number;
  }
}

/** Creates a network ACL or replaces its rules. INVALID where two of one direction have the same number. */
export function putNetworkAcl(draft: Draft, vpc: string, name: string, spec: NetworkAclSpec): NetworkAcl {
  const acl = addNetworkAcl(draft, vpc, name);
  return put(draft, { ...acl, ingress: parseEntries(spec, 'ingress'), egress: parseEntries(spec, 'egress') });
}

function put(draft: Draft, acl: NetworkAcl): NetworkAcl {
  const most = Math.max(acl.ingress.length, acl.egress.length);
  checkQuota(draft, 'networkAclRules', describe(acl), most);
  draft.put(acl);
  return acl;
}

function parseEntries(spec: NetworkAclSpec, direction: AclDirection): AclEntry[] {
  const entries = inOrder((spec[direction] ?? []).map(parseEntry));
  const twice = entries.find(({ number }, at) => number === entries[at + 1]?.number);
  if (twice !== undefined) {
    throw invalid(`two ${direction} rules have the number ${twice.number}`, { hint: 'number each otherwise' });
  }
  return entries;
}

function parseEntry(spec: NetworkAclEntrySpec): AclEntry {
  const protocol = parseProtocol(spec.protocol);
  const ports = parsePort(spec.port, protocol);
  const icmp = parseIcmp(spec.icmpType, spec.icmpCode, protocol);
  return {
    number: spec.number,
    allow: spec.action === 'allow',
    ...(protocol.number === 'any' ? {} : { protocol: protocol.number }),
    ...(ports === ANY_PORT ? {} : { ports: { from: ports.from, to: ports.to } }),
    ...(icmp === undefined ? {} : { icmp }),
    cidr: parseAnyIpOrCidr(spec.cidr),
  };
}

/** Inverse of the parsing of a rule. */
export function formatEntry(entry: AclEntry): NetworkAclEntrySpec {
  const { number, allow, cidr } = entry;
  return { number, action: allow ? 'allow' : 'deny', ...formatMatch(entry), cidr };
}

const inOrder = (entries: readonly AclEntry[]): AclEntry[] => [...entries].sort((a, b) => a.number - b.number);

/** Adds a rule, or puts it in the place of the one with its number. */
export function putEntry(
  draft: Draft,
  vpc: string,
  name: string,
  direction: AclDirection,
  spec: NetworkAclEntrySpec,
): NetworkAcl {
  const acl = requireNetworkAcl(draft, vpc, name);
  const entry = parseEntry(spec);
  const others = acl[direction].filter(({ number }) => number !== entry.number);
  const entries = inOrder([...others, entry]);
  if (isSame(entries, acl[direction])) return acl;
  return put(draft, { ...acl, [direction]: entries });
}

/** Deletes a rule; false when there is none with that number. */
export function deleteEntry(draft: Draft, vpc: string, name: string, direction: AclDirection, number: number): boolean {
  const acl = requireNetworkAcl(draft, vpc, name);
  const entries = acl[direction].filter((entry) => entry.number !== number);
  if (entries.length === acl[direction].length) return false;
  draft.put({ ...acl, [direction]: entries });
  return true;
}

/** Deletes a network ACL; false when there is none. CONFLICT while a subnet is associated with it. */
export function deleteNetworkAcl(draft: Draft, vpc: string, name: string): boolean {
  const id = ids.networkAcl(parseName(vpc, 'vpc'), parseName(name, 'network acl'));
  if (draft.get(id) === undefined) return false;
  const [user] = draft.find(`acl:${vpc}/${name}`);
  if (user !== undefined) {
    throw conflict(`network acl ${vpc}/${name} is that of ${describe(user)}`, 'associate that with another one first');
  }
  draft.remove(id);
  return true;
}

/** Associates a subnet with a network ACL; without one, everything may pass its border. */
export function associateNetworkAcl(draft: Draft, vpc: string, name: string, acl: string | undefined): Subnet {
  const { networkAcl: _was, ...rest } = requireSubnet(draft, vpc, name);
  const subnet: Subnet = acl === undefined ? rest : { ...rest, networkAcl: requireNetworkAcl(draft, vpc, acl).name };
  draft.put(subnet);
  return subnet;
}
