/** A profile's elements: what its groups, or the policy of its subnet, let in and out. */
import { assertNever } from '../errors.js';
import { otherVpc, peeredCidrs, peeringsOf } from '../model/lookup.js';
import { findKind, getKind, type Reader } from '../model/reader.js';
import { type GroupRule, ids, type Profile, type SecurityGroup } from '../model/resources.js';
import { type PolicyRule, parsePolicyRule } from '../model/rules.js';
import { type Cidr, fromNumber, hostCidr, type Ipv4, rangeOf } from '../net/cidr.js';
import { ICMP } from '../net/ports.js';
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
import { BLOCK_SETS, GATE_SETS, type Gate, type GateSet } from './firewall.js';
import { routerNs, TRANSIT } from './names.js';

/** What one gate of a profile admits: boxes by address, and by the other side's group. */
interface Admitted {
  readonly boxes: Box[];
  readonly groups: { readonly group: string; readonly protocol: Range; readonly port: Range }[];
}

export function lowerProfile(reader: Reader, profile: Profile): KernelObject[] {
  if (profile.open === true) return (['in', 'out'] as const).map((gate) => gateRow(profile, gate, 'all', []));
  return [...lowerGate(reader, profile, 'in'), ...lowerGate(reader, profile, 'out')];
}

function lowerGate(reader: Reader, profile: Profile, gate: Gate): NftElementRow[] {
  const rows = new Map<string, NftElementRow>();
  const add = (set: GateSet, key: readonly NftValue[]): void => {
    rows.set(`${set} ${key.join(' ')}`, gateRow(profile, gate, set, key));
  };
  const policy = policyBoxes(reader, profile, gate);
  const admitted = policy === undefined ? groupRules(reader, profile, gate) : { boxes: policy, groups: [] };
  for (const box of simple(admitted.boxes, add)) addBox(box, add);
  addGroups(reader, profile, admitted.groups, add);
  return [...rows.values()];
}

function gateRow({ vpc, number }: Profile, gate: Gate, set: GateSet, key: readonly NftValue[]): NftElementRow {
  return {
    kind: 'nft-element',
    ns: routerNs(vpc),
    family: 'inet',
    table: NFT_TABLE,
    set: `${gate}_${set}`,
    key: [number, ...key],
    ...('interval' in GATE_SETS[set] ? { interval: true } : {}),
  };
}

type Add = (set: GateSet, key: readonly NftValue[]) => void;

/** Takes what needs no interval (any address, or a block that has a set; one protocol or all, one port or all). Returns the rest, made disjoint. */
function simple(boxes: readonly Box[], add: Add): Box[] {
  const rest: Box[] = [];
  for (const box of boxes) {
    const { protocol, port } = box;
    if (isMessages(box)) rest.push(box);
    else if (addBlock(box, add)) continue;
    else if (!isAll(box.address, ALL_ADDRESSES)) rest.push(box);
    else if (isAll(protocol, ALL_PROTOCOLS)) add('all', []);
    else if (protocol.from !== protocol.to) rest.push(box);
    else if (isAll(port, ALL_PORTS)) add('proto', [protocol.from]);
    else if (port.from === port.to) add('port', [protocol.from, port.from]);
    else rest.push(box);
  }
  return union(rest);
}

/** Adds one port of one protocol from a block that has a hashed set; false when the box is anything else. */
function addBlock({ address, protocol, port }: Box, add: Add): boolean {
  const size = address.to - address.from + 1;
  const found = BLOCK_SETS.find(({ length }) => size === 2 ** (32 - length) && address.from % size === 0);
  if (found === undefined || protocol.from !== protocol.to || port.from !== port.to) return false;
  add(found.set, [fromNumber(address.from), protocol.from, port.from]);
  return true;
}

/** Whether it is of some messages of ICMP: `port` is their range. */
function isMessages({ protocol, port }: Pick<Box, 'protocol' | 'port'>): boolean {
  return protocol.from === ICMP.number && protocol.to === ICMP.number && !isAll(port, ALL_PORTS);
}

function addBox({ address, protocol, port }: Box, add: Add): void {
  const where = addressValue(address);
  if (isMessages({ protocol, port })) {
    for (const { type, code } of icmpRectangles(port)) add('net_icmp', [where, rangeValue(type), rangeValue(code)]);
    return;
  }
  if (isAll(port, ALL_PORTS)) add('net', [where, rangeValue(protocol)]);
  else add('net_port', [where, rangeValue(protocol), rangeValue(port)]);
}

function policyBoxes(reader: Reader, profile: Profile, gate: Gate): Box[] | undefined {
  if (profile.policySubnet === undefined) return undefined;
  const subnet = getKind(reader, 'subnet', ids.subnet(profile.vpc, profile.policySubnet));
  const rules = gate === 'in' ? subnet?.policy?.ingress : subnet?.policy?.egress;
  return rules === undefined
    ? undefined
    : firstMatch(rules.map(parsePolicyRule).map((rule) => ({ allow: rule.allow, box: policyBox(rule, gate) })));
}

function policyBox(rule: PolicyRule, gate: Gate): Box {
  const other = gate === 'in' ? rule.source : rule.destination;
  return { address: addresses(other), protocol: protocols(rule.protocol), port: rule.ports ?? ALL_PORTS };
}

function addresses(cidr: Cidr | undefined): Range {
  if (cidr === undefined) return ALL_ADDRESSES;
  const { first, last } = rangeOf(cidr);
  return { from: first, to: last };
}

function protocols(protocol: number | undefined): Range {
  return protocol === undefined ? ALL_PROTOCOLS : { from: protocol, to: protocol };
}

function groupRules(reader: Reader, profile: Profile, gate: Gate): Admitted {
  const admitted: Admitted = { boxes: [], groups: [] };
  for (const name of profile.groups) {
    const group = getKind(reader, 'group', ids.group(profile.vpc, name));
    for (const rule of (gate === 'in' ? group?.ingress : group?.egress) ?? []) {
      if (group !== undefined) admit(reader, group, rule, admitted);
    }
  }
  return admitted;
}

function admit(reader: Reader, group: SecurityGroup, rule: GroupRule, { boxes, groups }: Admitted): void {
  const protocol = protocols(rule.protocol);
  const port = rule.icmp === undefined ? (rule.ports ?? ALL_PORTS) : icmpRange(rule.icmp);
  const box = (cidr: Cidr | undefined) => boxes.push({ address: addresses(cidr), protocol, port });
  const { party } = rule;
  switch (party.type) {
    case 'any':
      box(undefined);
      return;
    case 'cidr':
      box(party.cidr);
      return;
    case 'host':
      box(hostCidr(TRANSIT.host));
      return;
    case 'self':
      groups.push({ group: group.name, protocol, port });
      return;
    case 'group':
      if (party.vpc === undefined) groups.push({ group: party.group, protocol, port });
      else for (const ip of peerMembers(reader, group.vpc, party.vpc, party.group)) box(hostCidr(ip));
      return;
    case 'vpc':
      for (const cidr of getKind(reader, 'vpc', ids.vpc(group.vpc))?.cidrs ?? []) box(cidr);
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
function peerMembers(reader: Reader, vpc: string, peer: string, group: string): Ipv4[] {
  if (reader.get(ids.peering(vpc, peer)) === undefined) return [];
  return findKind(reader, 'instance', `member:${peer}/${group}`).map(({ ip }) => ip);
}

/** A rule that names a group holds for every profile with that group in it. */
function addGroups(reader: Reader, profile: Profile, rules: Admitted['groups'], add: Add): void {
  const byOther = new Map<number, Box[]>();
  for (const { group, protocol, port } of rules) {
    for (const other of findKind(reader, 'profile', `profile-of:${profile.vpc}/${group}`)) {
      const boxes = byOther.get(other.number) ?? [];
      boxes.push({ address: ALL_ADDRESSES, protocol, port });
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
      else if (isMessages({ protocol, port })) {
        for (const { type, code } of icmpRectangles(port))
          add('group_icmp', [other, rangeValue(type), rangeValue(code)]);
      } else add('group_port', [other, protocol.from, rangeValue(port)]);
    }
  }
}
