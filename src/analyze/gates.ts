/** The two stateful gates: the sender's egress and the receiver's ingress, by the subnet's policy where it has a list, else by the groups. */
import { HOST_ADDRESS, type Instance, ids, type Party } from '../model/resources.js';
import { familyOfRule, type PolicyRule } from '../model/rules.js';
import { type AnyCidr, familyOf, type Ip } from '../net/cidr.js';
import { type Compiled, type Direction, type Lookup, speaksOf } from './lookup.js';
import { matchText } from './match.js';
import type { Component } from './types.js';

export interface Asked {
  readonly direction: Direction;
  readonly instance: Instance;
  /** The other side as the packet names it. */
  readonly address: Ip;
  /** The address stands for any outside. */
  readonly anybody: boolean;
  /** The other side, where the packet goes between the two within one VPC: only then its groups are known. */
  readonly neighbour: Instance | undefined;
  readonly protocol: { readonly name: string; readonly number: number };
  readonly port: number | null;
}

export interface Judgement {
  readonly component: Component;
  readonly admits: boolean;
  readonly rule: string;
  readonly hint?: string;
}

export function judge(lookup: Lookup, asked: Asked): Judgement {
  const { direction, instance } = asked;
  const subnet = lookup.subnet(instance.vpc, instance.subnet);
  const policy = subnet === undefined ? undefined : lookup.policy(subnet, direction);
  return policy === undefined ? byGroups(lookup, asked) : byPolicy(lookup, asked, policy);
}

/** What judges packets of this instance in one direction. */
export function gateOf(lookup: Lookup, { vpc, name, subnet }: Instance, direction: Direction): Component {
  const home = lookup.subnet(vpc, subnet);
  return home !== undefined && lookup.policy(home, direction) !== undefined
    ? { kind: 'policy', id: ids.subnet(vpc, subnet), name: `policy of subnet ${vpc}/${subnet}`, vpc }
    : { kind: 'security-groups', id: ids.instance(vpc, name), name: `security groups of ${vpc}/${name}`, vpc };
}

/** `tcp 80`, `icmp`. */
export function trafficText({ protocol, port }: Pick<Asked, 'protocol' | 'port'>): string {
  return port === null ? protocol.name : `${protocol.name} ${port}`;
}

const side = (direction: Direction): 'from' | 'to' => (direction === 'ingress' ? 'from' : 'to');

// --- policy ----------------------------------------------------------------------------------------------------------

function byPolicy(lookup: Lookup, asked: Asked, rules: readonly PolicyRule[]): Judgement {
  const { direction, address, anybody, protocol, port, instance } = asked;
  const component = gateOf(lookup, instance, direction);
  const at = rules.findIndex((rule) => {
    const other = direction === 'ingress' ? rule.source : rule.destination;
    if (!speaksOf(rule, protocol.number, port)) return false;
    if ((familyOfRule(rule) ?? familyOf(address)) !== familyOf(address)) return false;
    return other === undefined || lookup.isIn(address, lookup.block(other));
  });
  const rule = rules[at];
  const what = `${trafficText(asked)} ${side(direction)} ${address}`;
  const wanted = `${trafficText(asked)} ${side(direction)} ${anybody ? 'any' : address}`;
  if (rule === undefined) {
    const hint = `add an ${direction} rule to the ${component.name}: allow ${wanted}`;
    return { component, admits: false, rule: `no ${direction} rule names ${what}`, hint };
  }
  const text = `${direction} rule ${at + 1}: ${rule.allow ? 'allow' : 'deny'} ${policyText(rule, direction)}`;
  return rule.allow
    ? { component, admits: true, rule: text }
    : { component, admits: false, rule: text, hint: `allow ${wanted} before ${direction} rule ${at + 1}` };
}

function policyText(rule: PolicyRule, direction: Direction): string {
  const other = direction === 'ingress' ? rule.source : rule.destination;
  return `${matchText(rule)} ${side(direction)} ${other ?? 'any'}`;
}

// --- groups ----------------------------------------------------------------------------------------------------------

function byGroups(lookup: Lookup, asked: Asked): Judgement {
  const { direction, instance, protocol, port } = asked;
  const component = gateOf(lookup, instance, direction);
  const { vpc } = instance;
  let named = false;
  for (const name of instance.groups) {
    const group = lookup.group(vpc, name);
    if (group === undefined) continue;
    for (const one of lookup.rulesOf(group, direction, protocol.number, port)) {
      if (covers(lookup, vpc, name, one, asked)) {
        return { component, admits: true, rule: ruleText(vpc, name, direction, one) };
      }
      named ||= one.rule.party.type === 'group' || one.rule.party.type === 'self';
    }
  }
  return { component, admits: false, ...noRule(asked, named) };
}

function covers(
  lookup: Lookup,
  vpc: string,
  group: string,
  { rule: { party }, blocks }: Compiled,
  { address, neighbour }: Asked,
): boolean {
  switch (party.type) {
    case 'any':
      return true;
    case 'self':
      return neighbour?.groups.includes(group) === true;
    case 'group':
      if (party.vpc === undefined) return neighbour?.groups.includes(party.group) === true;
      return lookup.peerMember(vpc, party.vpc, party.group, address);
    case 'host':
      return address === HOST_ADDRESS || address === lookup.hostAddress6;
    case 'cidr':
    case 'prefix-list':
      return lookup.isInAny(address, blocks);
    case 'vpc':
      return lookup.isInAny(address, lookup.network(vpc)?.blocks ?? []);
    case 'peers':
      return lookup.network(vpc)?.peers.some(({ theirs }) => lookup.isInAny(address, theirs)) === true;
  }
}

function ruleText(vpc: string, group: string, direction: Direction, { rule, number }: Compiled): string {
  return `group ${vpc}/${group}, ${direction} rule ${number}: ${matchText(rule)} ${side(direction)} ${partyText(rule.party)}`;
}

function partyText(party: Party): string {
  switch (party.type) {
    case 'cidr':
      return party.cidr;
    case 'group':
      return `group ${party.vpc === undefined ? '' : `${party.vpc}/`}${party.group}`;
    case 'prefix-list':
      return `prefix list ${party.prefixList}`;
    default:
      return party.type;
  }
}

function noRule(asked: Asked, named: boolean): { rule: string; hint?: string } {
  const { direction, instance, address, anybody, neighbour } = asked;
  const { vpc, groups } = instance;
  const what = `${trafficText(asked)} ${side(direction)} ${address}`;
  const all = groups.map((group) => `${vpc}/${group}`).join(', ');
  // Members of a group are known where both ends are in one VPC and use their private addresses.
  const unknown =
    named && neighbour === undefined ? '; rules that name a group hold between private addresses of one VPC' : '';
  const [group] = neighbour?.groups ?? [];
  const alone = anybody ? 'any' : address === HOST_ADDRESS ? 'host' : address;
  const party = group === undefined ? alone : `{group: ${group}}`;
  const rule = `no ${direction} rule of group${groups.length === 1 ? '' : 's'} ${all} names ${what}${unknown}`;
  // No egress rule may name the host.
  if (direction === 'egress' && address === HOST_ADDRESS) return { rule };
  return {
    rule,
    hint: `add an ${direction} rule to a group of ${vpc}/${instance.name}: ${trafficText(asked)} ${side(direction)} ${party}`,
  };
}

/** Every block that the rules of an instance single out. */
export function blocksNamed(lookup: Lookup, instance: Instance): readonly AnyCidr[] {
  const subnet = lookup.subnet(instance.vpc, instance.subnet);
  const policies = (['ingress', 'egress'] as const).flatMap((direction) =>
    subnet === undefined ? [] : (lookup.policy(subnet, direction) ?? []),
  );
  const groups = instance.groups.flatMap((name) => {
    const group = lookup.group(instance.vpc, name);
    return group === undefined ? [] : [...group.ingress, ...group.egress];
  });
  return [
    ...policies.flatMap(({ source, destination }) => [source ?? [], destination ?? []].flat()),
    ...groups.flatMap(({ party }) => {
      if (party.type === 'prefix-list') return lookup.prefixList(party.prefixList).map(({ cidr }) => cidr);
      return party.type === 'cidr' ? [party.cidr] : [];
    }),
  ];
}
