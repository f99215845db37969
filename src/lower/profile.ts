/** A profile's elements: what its groups, or the policy of its subnet, let in and out. */
import { assertNever } from '../errors.js';
import { hostAddress6 } from '../model/ipv6.js';
import { blocksOf, otherVpc, peeredCidrs, peeringsOf } from '../model/lookup.js';
import { findKind, getKind, type Reader } from '../model/reader.js';
import { type GroupRule, ids, type Profile, privateIps, type SecurityGroup } from '../model/resources.js';
import { familyOfRule, type PolicyRule, parsePolicyRule } from '../model/rules.js';
import { type AnyCidr, addressOf, type Family, familyOf, hostCidr, type Ip, rangeOf } from '../net/cidr.js';
import { icmpOf } from '../net/ports.js';
import { type KernelObject, NFT_TABLE, type NftElementRow, type NftValue } from '../objects/kernel-object.js';
import {
  ALL_ADDRESSES,
  ALL_PORTS,
  ALL_PROTOCOLS,
  addressValue,
  type Box,
  firstMatch,
  icmpRange,
  icmpRectangles,
  isAll,
  type Range,
  rangeValue,
  union,
} from './boxes.js';
import { BLOCK_SETS, GATE_SETS, type Gate, type GateSet, gateSet } from './firewall.js';
import { routerNs, TRANSIT } from './names.js';

/** A gate, for packets of one family. */
interface Side {
  readonly gate: Gate;
  readonly family: Family;
}

/** What one gate of a profile admits: boxes by address, and by the other side's group. */
interface Admitted {
  readonly boxes: Box[];
  readonly groups: { readonly group: string; readonly protocol: Range; readonly port: Range }[];
}

export function lowerProfile(reader: Reader, profile: Profile): KernelObject[] {
  const gates = ['in', 'out'] as const;
  // NAT gateways translate IPv4 only.
  if (profile.open === true) return gates.map((gate) => gateRow(profile, { gate, family: 4 }, 'all', []));
  const isDual = getKind(reader, 'vpc', ids.vpc(profile.vpc))?.ipv6Cidr !== undefined;
  const families = isDual ? ([4, 6] as const) : ([4] as const);
  return families.flatMap((family) => gates.flatMap((gate) => lowerGate(reader, profile, { gate, family })));
}

function lowerGate(reader: Reader, profile: Profile, side: Side): NftElementRow[] {
  const rows = new Map<string, NftElementRow>();
  const add = (set: GateSet, key: readonly NftValue[]): void => {
    rows.set(`${set} ${key.join(' ')}`, gateRow(profile, side, set, key));
  };
  const policy = policyBoxes(reader, profile, side);
  const admitted = policy === undefined ? groupRules(reader, profile, side) : { boxes: policy, groups: [] };
  for (const box of simple(admitted.boxes, side.family, add)) addBox(box, side.family, add);
  addGroups(reader, profile, side.family, admitted.groups, add);
  return [...rows.values()];
}

function gateRow(
  { vpc, number }: Profile,
  { gate, family }: Side,
  set: GateSet,
  key: readonly NftValue[],
): NftElementRow {
  return {
    kind: 'nft-element',
    ns: routerNs(vpc),
    family: 'inet',
    table: NFT_TABLE,
    set: gateSet(gate, family, set),
    key: [number, ...key],
    ...(GATE_SETS[family][set]?.interval === true ? { interval: true } : {}),
  };
}

type Add = (set: GateSet, key: readonly NftValue[]) => void;

/** Takes what needs no interval (any address, or a block that has a set; one protocol or all, one port or all). Returns the rest, made disjoint. */
function simple(boxes: readonly Box[], family: Family, add: Add): Box[] {
  const rest: Box[] = [];
  for (const box of boxes) {
    const { protocol, port } = box;
    if (isMessages(box, family)) rest.push(box);
    else if (addBlock(box, family, add)) continue;
    else if (!isAll(box.address, ALL_ADDRESSES[family])) rest.push(box);
    else if (isAll(protocol, ALL_PROTOCOLS)) add('all', []);
    else if (protocol.from !== protocol.to) rest.push(box);
    else if (isAll(port, ALL_PORTS)) add('proto', [protocol.from]);
    else if (port.from === port.to) add('port', [protocol.from, port.from]);
    else rest.push(box);
  }
  return union(rest);
}

/** Adds one port of one protocol from a block that has a hashed set; false when the box is anything else. */
function addBlock({ address, protocol, port }: Box, family: Family, add: Add): boolean {
  if (protocol.from !== protocol.to || port.from !== port.to) return false;
  const [from, to] = [BigInt(address.from), BigInt(address.to)];
  const size = to - from + 1n;
  const bits = family === 4 ? 32 : 128;
  const found = BLOCK_SETS[family].find(({ length }) => size === 1n << BigInt(bits - length) && from % size === 0n);
  if (found === undefined) return false;
  add(found.set, [addressOf(address.from), protocol.from, port.from]);
  return true;
}

/** Whether it is of some messages of ICMP: `port` is their range. */
function isMessages({ protocol, port }: Pick<Box, 'protocol' | 'port'>, family: Family): boolean {
  const { number } = icmpOf(family);
  return protocol.from === number && protocol.to === number && !isAll(port, ALL_PORTS);
}

function addBox({ address, protocol, port }: Box, family: Family, add: Add): void {
  const where = addressValue(address);
  if (isMessages({ protocol, port }, family)) {
    for (const { type, code } of icmpRectangles(port)) add('net_icmp', [where, rangeValue(type), rangeValue(code)]);
    return;
  }
  if (isAll(port, ALL_PORTS)) add('net', [where, rangeValue(protocol)]);
  else add('net_port', [where, rangeValue(protocol), rangeValue(port)]);
}

function policyBoxes(reader: Reader, profile: Profile, { gate, family }: Side): Box[] | undefined {
  if (profile.policySubnet === undefined) return undefined;
  const subnet = getKind(reader, 'subnet', ids.subnet(profile.vpc, profile.policySubnet));
  const rules = gate === 'in' ? subnet?.policy?.ingress : subnet?.policy?.egress;
  if (rules === undefined) return undefined;
  const spoken = rules.map(parsePolicyRule).filter((rule) => (familyOfRule(rule) ?? family) === family);
  return firstMatch(spoken.map((rule) => ({ allow: rule.allow, box: policyBox(rule, { gate, family }) })));
}

function policyBox(rule: PolicyRule, { gate, family }: Side): Box {
  const other = gate === 'in' ? rule.source : rule.destination;
  return { address: addresses(other, family), protocol: protocols(rule.protocol), port: rule.ports ?? ALL_PORTS };
}

function addresses(cidr: AnyCidr | undefined, family: Family): Box['address'] {
  if (cidr === undefined) return ALL_ADDRESSES[family];
  const { first, last } = rangeOf(cidr);
  return { from: first, to: last };
}

function protocols(protocol: number | undefined): Range {
  return protocol === undefined ? ALL_PROTOCOLS : { from: protocol, to: protocol };
}

function groupRules(reader: Reader, profile: Profile, { gate, family }: Side): Admitted {
  const admitted: Admitted = { boxes: [], groups: [] };
  for (const name of profile.groups) {
    const group = getKind(reader, 'group', ids.group(profile.vpc, name));
    for (const rule of (gate === 'in' ? group?.ingress : group?.egress) ?? []) {
      if (group !== undefined) admit(reader, group, rule, family, admitted);
    }
  }
  return admitted;
}

function admit(
  reader: Reader,
  group: SecurityGroup,
  rule: GroupRule,
  family: Family,
  { boxes, groups }: Admitted,
): void {
  // Messages of the other family's ICMP are none of this one's.
  if (rule.icmp !== undefined && rule.protocol !== icmpOf(family).number) return;
  const protocol = protocols(rule.protocol);
  const port = rule.icmp === undefined ? (rule.ports ?? ALL_PORTS) : icmpRange(rule.icmp);
  const box = (cidr: AnyCidr): void => {
    if (familyOf(cidr) === family) boxes.push({ address: addresses(cidr, family), protocol, port });
  };
  const { party } = rule;
  switch (party.type) {
    case 'any':
      boxes.push({ address: ALL_ADDRESSES[family], protocol, port });
      return;
    case 'cidr':
      box(party.cidr);
      return;
    case 'host':
      box(hostCidr(family === 4 ? TRANSIT.host : hostAddress6(reader)));
      return;
    case 'prefix-list':
      for (const { cidr } of getKind(reader, 'prefix-list', ids.prefixList(party.prefixList))?.entries ?? []) box(cidr);
      return;
    case 'self':
      groups.push({ group: group.name, protocol, port });
      return;
    case 'group':
      if (party.vpc === undefined) groups.push({ group: party.group, protocol, port });
      else for (const ip of peerMembers(reader, group.vpc, party.vpc, party.group)) box(hostCidr(ip));
      return;
    case 'vpc':
      {
        const vpc = getKind(reader, 'vpc', ids.vpc(group.vpc));
        for (const cidr of vpc === undefined ? [] : blocksOf(vpc)) box(cidr);
      }
      return;
    case 'peers':
      for (const peering of peeringsOf(reader, group.vpc)) {
        const other = getKind(reader, 'vpc', ids.vpc(otherVpc(peering, group.vpc)));
        for (const cidr of other === undefined ? [] : peeredCidrs(peering, other)) box(cidr);
      }
      return;
    default:
      assertNever(party);
  }
}

/**
 * The addresses of a peer's group: marks are known within one VPC only. Without a peering, the rule is stale and holds for nobody (VPC Peering Guide,
 * "Update your security groups to reference peer security groups").
 */
function peerMembers(reader: Reader, vpc: string, peer: string, group: string): Ip[] {
  if (reader.get(ids.peering(vpc, peer)) === undefined) return [];
  return findKind(reader, 'instance', `member:${peer}/${group}`).flatMap(privateIps);
}

/** A rule that names a group holds for every profile with that group in it. */
function addGroups(reader: Reader, profile: Profile, family: Family, rules: Admitted['groups'], add: Add): void {
  const byOther = new Map<number, Box[]>();
  for (const { group, protocol, port } of rules) {
    for (const other of findKind(reader, 'profile', `profile-of:${profile.vpc}/${group}`)) {
      const boxes = byOther.get(other.number) ?? [];
      boxes.push({ address: ALL_ADDRESSES[family], protocol, port });
      byOther.set(other.number, boxes);
    }
  }
  for (const [other, boxes] of byOther) {
    if (boxes.some((box) => isAll(box.protocol, ALL_PROTOCOLS))) {
      add('group', [other]);
      continue;
    }
    for (const { protocol, port } of union(boxes)) {
      if (isAll(port, ALL_PORTS)) add('group_proto', [other, protocol.from]);
      else if (isMessages({ protocol, port }, family)) {
        for (const { type, code } of icmpRectangles(port))
          add('group_icmp', [other, rangeValue(type), rangeValue(code)]);
      } else add('group_port', [other, protocol.from, rangeValue(port)]);
    }
  }
}
