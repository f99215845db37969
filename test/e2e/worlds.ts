/** Random models, random changes of them, and how one is made smaller. Specs as a user writes them; whether the cloud's rules allow one is the library's to say. */
import type {
  EgressRuleSpec,
  IngressRuleSpec,
  InstanceSpec,
  NetworkAclEntrySpec,
  NetworkAclSpec,
  PartySpec,
  PeeringSpec,
  PolicyRuleSpec,
  PolicySpec,
  PrefixListSpec,
  RouteSpec,
  RouteTableSpec,
  RouteTargetSpec,
  SecurityGroupSpec,
  ShapingSpec,
  Spec,
  SubnetSpec,
  TransitGatewaySpec,
  TransitRouteSpec,
  VpcSpec,
} from '../../src/index.js';
import { INTERNET_GATEWAY, INTERNET_SERVER, INTERNET_SERVER6 } from '../harness/host.js';

/** What is probed, so that rules are made around it. */
export const TCP_PORTS = [80, 443, 5432] as const;
export const UDP_PORTS = [53, 514] as const;

const POOL = '198.51.100.0/24';
export const POOL6 = 'fd76:7063:6300::/40';
/** An address of a network near the host: only a route that names such leads there. */
export const NEAR6 = 'fd00:1::1';
const VPCS = ['a', 'b', 'c', 'd'] as const;
/** Of each VPC one or the other: some hold the same addresses, as VPCs do that are not peered. */
const BLOCKS: Readonly<Record<(typeof VPCS)[number], readonly string[]>> = {
  a: ['10.1.0.0/16'],
  b: ['10.2.0.0/16', '10.1.0.0/16'],
  c: ['10.1.0.0/16', '10.1.0.0/20', '10.3.0.0/16'],
  d: ['10.4.0.0/16', '10.2.0.0/20'],
};
const SECONDARY: Readonly<Record<(typeof VPCS)[number], string>> = {
  a: '10.101.0.0/16',
  b: '10.102.0.0/16',
  c: '10.101.0.0/16',
  d: '10.104.0.0/16',
};
/** No two VPCs have the same. */
const BLOCKS6: Readonly<Record<(typeof VPCS)[number], string>> = {
  a: 'fd76:7063:6301::/56',
  b: 'fd76:7063:6302::/56',
  c: 'fd76:7063:6303::/56',
  d: 'fd76:7063:6304::/56',
};
const PORTS = [80, 443, 5432, 53, 514, '0-79', '80-443', '81-5432', '443-65535', '1-1024', '5432-5433', 'any'] as const;

export class Chance {
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
  }

  /** A whole number, both ends included. */
  int(least: number, most: number): number {
    return least + Math.floor(this.#random() * (most - least + 1));
  }

  of(probability: number): boolean {
    return this.#random() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.int(0, items.length - 1)] as T;
  }

  some<T>(items: readonly T[], least: number, most: number): T[] {
    const left = [...items];
    const taken: T[] = [];
    for (let count = this.int(least, Math.min(most, items.length)); count > 0; count--) {
      taken.push(...left.splice(this.int(0, left.length - 1), 1));
    }
    return taken;
  }

  list<T>(least: number, most: number, make: () => T): T[] {
    return Array.from({ length: this.int(least, most) }, make);
  }
}

// --- making ----------------------------------------------------------------------------------------------------------

/** The block of this number: `10.1.0.0/16`, 3 → `10.1.3.0/24`. */
function subnetOf(block: string, third: number): string {
  return `${block.split('.').slice(0, 2).join('.')}.${third}.0/24`;
}

/** The /64 of this number: 3 → `fd76:7063:6301:3::/64`. */
function subnet6Of(block: string, number: number): string {
  return block.replace('::/56', `:${number}::/64`);
}

/** The block of this length that begins with the other's first address, or holds it. */
function widened(cidr: string, prefix: number): string {
  const [first, second, third = 0] = cidr.split('.').map((part) => Number.parseInt(part, 10));
  return `${first}.${second}.${prefix < 24 ? third & (256 - 2 ** (24 - prefix)) : third}.0/${prefix}`;
}

/** Blocks that a rule of this model may name: of everybody in it, parts of them, of single addresses, of the outside. */
function blocksOf(chance: Chance, { vpcs }: Pick<Spec, 'vpcs'>): string[] {
  const subnets = Object.values(vpcs).flatMap((vpc) => Object.values(vpc.subnets ?? {}).map(({ cidr }) => cidr));
  const base = (cidr: string): string => cidr.slice(0, cidr.lastIndexOf('.'));
  const blocks6 = Object.values(vpcs).flatMap(({ ipv6Cidr, subnets: homes = {} }) => {
    const inside = Object.values(homes).flatMap((home) =>
      typeof home.ipv6Cidr !== 'string' ? [] : [home.ipv6Cidr, address6In(home.ipv6Cidr, home.cidr, chance.int(4, 6))],
    );
    return typeof ipv6Cidr === 'string' ? [ipv6Cidr, ...inside] : inside;
  });
  return [
    ...blocks6,
    ...(blocks6.length === 0 ? [] : ['::/0', '::/1', 'fd00::/8', 'fd76:7063:6302::/55', '2001:db8::/32']),
    ...Object.values(vpcs).flatMap((vpc) => [vpc.cidr, ...(vpc.secondaryCidrs ?? [])]),
    ...subnets,
    ...subnets.map((cidr) => `${base(cidr)}.${chance.int(4, 6)}/32`),
    ...subnets.map((cidr) => `${base(cidr)}.4/30`),
    ...subnets.map((cidr) => widened(cidr, chance.pick([20, 22, 25, 29]))),
    `${INTERNET_SERVER}/32`,
    `${INTERNET_GATEWAY}/32`,
    '203.0.113.0/24',
    '192.0.0.0/8',
    '0.0.0.0/1',
    POOL,
    '198.51.100.0/30',
    '10.0.0.0/8',
  ];
}

/** The one that an instance with this host number gets when it asks for none: it ends in its IPv4 address. */
function address6In(block: string, cidr: string, host: number): string {
  const [first = 0, second = 0, third = 0] = cidr.split('.').map((part) => Number.parseInt(part, 10));
  const hex = (high: number, low: number): string => (high * 256 + low).toString(16);
  return block.replace('::/64', `::${hex(first, second)}:${hex(third, host)}`);
}

/** Lists that rules and routes of any VPC may name, of either family. */
const LISTS = ['p', 'q', 'r'] as const;
type ListName = (typeof LISTS)[number];
const LIST6: ListName = 'r';

/** What may stand in a list. */
function entriesFor(list: ListName, blocks: readonly string[]): string[] {
  const anywhere = ['0.0.0.0/0', '::/0', 'fd76:7063:6300::/40'];
  return [...blocks, ...anywhere].filter((cidr) => cidr.includes(':') === (list === LIST6));
}

function prefixList(chance: Chance, list: ListName, blocks: readonly string[]): PrefixListSpec {
  const cidrs = new Set(chance.some(entriesFor(list, blocks), 0, 5));
  return listSpec(
    list,
    [...cidrs].map((cidr) => ({ cidr })),
  );
}

function listSpec(list: ListName, entries: NonNullable<PrefixListSpec['entries']>): PrefixListSpec {
  return { ...(list === LIST6 ? { family: 'ipv6' as const } : {}), maxEntries: 20, entries };
}

type Traffic = Pick<PolicyRuleSpec, 'port'> & { readonly protocol?: 'tcp' | 'udp' | 'icmp' | 'icmpv6' | 'any' };

function traffic(chance: Chance): Traffic {
  const protocol = chance.pick([undefined, 'any', 'icmp', 'icmpv6', 'tcp', 'tcp', 'tcp', 'udp', 'udp'] as const);
  if (protocol === undefined) return {};
  if (protocol === 'any' || protocol === 'icmp' || protocol === 'icmpv6' || chance.of(0.15)) return { protocol };
  return { protocol, port: chance.pick(PORTS) };
}

function party(chance: Chance, groups: readonly string[], blocks: readonly string[], ingress: boolean): PartySpec {
  const kind = chance.pick([
    ...(['any', 'self', 'vpc', 'peers', 'host', 'group', 'group', 'cidr', 'cidr', 'cidr'] as const),
    'peer',
    'list',
    'list',
  ] as const);
  if (kind === 'list') return { prefixList: chance.pick(LISTS) };
  if (kind === 'group') return { group: chance.pick(groups) };
  // Every VPC has these two groups; of its own the rule is refused by nobody, and holds for nobody.
  if (kind === 'peer') return { group: chance.pick(['default', 'g1']), vpc: chance.pick(['a', 'b']) };
  if (kind === 'cidr' || (kind === 'host' && !ingress)) return chance.pick(blocks);
  return kind;
}

function numbered(chance: Chance, made: Traffic): Pick<IngressRuleSpec, 'protocol' | 'port' | 'icmpType'> {
  if (made.protocol === 'any' && chance.of(0.2)) return { protocol: 47 };
  if (made.protocol === 'icmp' && chance.of(0.4)) return { protocol: 'icmp', icmpType: chance.pick([0, 3, 8]) };
  if (made.protocol === 'icmpv6' && chance.of(0.4)) {
    return { protocol: 'icmpv6', icmpType: chance.pick([1, 128, 129]) };
  }
  return made;
}

function ingressRule(chance: Chance, groups: readonly string[], blocks: readonly string[]): IngressRuleSpec {
  return { ...numbered(chance, traffic(chance)), from: party(chance, groups, blocks, true) };
}

function egressRule(chance: Chance, groups: readonly string[], blocks: readonly string[]): EgressRuleSpec {
  return { ...numbered(chance, traffic(chance)), to: party(chance, groups, blocks, false) };
}

function group(chance: Chance, groups: readonly string[], blocks: readonly string[]): SecurityGroupSpec {
  return {
    ingress: chance.list(0, 4, () => ingressRule(chance, groups, blocks)),
    ...(chance.of(0.6) ? {} : { egress: chance.list(0, 4, () => egressRule(chance, groups, blocks)) }),
  };
}

function policyRule(chance: Chance, blocks: readonly string[], own: 'source' | 'destination'): PolicyRuleSpec {
  const action = chance.pick(['allow', 'allow', 'accept', 'deny', 'drop', 'reject'] as const);
  return { ...traffic(chance), action, ...(chance.of(0.3) ? {} : { [own]: chance.pick(blocks) }) };
}

function policy(chance: Chance, blocks: readonly string[]): PolicySpec {
  const rules = (own: 'source' | 'destination'): PolicyRuleSpec[] => [
    ...chance.list(0, 4, () => policyRule(chance, blocks, own)),
    ...(chance.of(0.5) ? [{ action: 'allow' as const }] : []),
  ];
  const which = chance.pick(['ingress', 'egress', 'both'] as const);
  return {
    ...(which === 'egress' ? {} : { ingress: rules('source') }),
    ...(which === 'ingress' ? {} : { egress: rules('destination') }),
  };
}

const ACL = 'acl';
const EVERYWHERE = ['0.0.0.0/0', '::/0'] as const;

/** No range of ports begins or ends among those that clients get: which of them a packet has is not known before. */
function aclEntries(chance: Chance, blocks: readonly string[]): NetworkAclEntrySpec[] {
  const rule = (): Omit<NetworkAclEntrySpec, 'number'> => {
    const made = numbered(chance, traffic(chance));
    return {
      ...made,
      action: chance.of(0.7) ? 'allow' : 'deny',
      cidr: chance.of(0.5) ? chance.pick(EVERYWHERE) : chance.pick(blocks),
    };
  };
  const answers = EVERYWHERE.flatMap((cidr) =>
    (['tcp', 'udp'] as const).map((protocol) => ({ action: 'allow' as const, protocol, port: '1024-65535', cidr })),
  );
  const rules = [
    ...chance.list(0, 4, rule),
    ...(chance.of(0.6) ? answers : []),
    ...EVERYWHERE.flatMap((cidr) => (chance.of(0.4) ? [{ action: 'allow' as const, cidr }] : [])),
  ];
  return rules.map((one, at) => ({ number: (at + 1) * 10, ...one }));
}

function networkAcl(chance: Chance, blocks: readonly string[]): NetworkAclSpec {
  return { ingress: aclEntries(chance, blocks), egress: aclEntries(chance, blocks) };
}

/** Some subnets of the VPC behind a network ACL. */
function bordered(chance: Chance, vpc: VpcSpec, blocks: readonly string[]): VpcSpec {
  if (!chance.of(0.35)) return vpc;
  const homes = Object.entries(vpc.subnets ?? {}).map(
    ([subnet, spec]) => [subnet, chance.of(0.6) ? { ...spec, networkAcl: ACL } : spec] as const,
  );
  return { ...vpc, subnets: Object.fromEntries(homes), networkAcls: { [ACL]: networkAcl(chance, blocks) } };
}

const textsOf = (list: readonly (boolean | string | undefined)[]): string[] =>
  list.filter((one): one is string => typeof one === 'string');

function peering(chance: Chance, first: string, second: string, vpcs: Spec['vpcs']): PeeringSpec {
  const side = (name: string): string[] => {
    const { cidr, ipv6Cidr, subnets = {} } = vpcs[name] as VpcSpec;
    const own = chance.some([cidr, ...Object.values(subnets).map((subnet) => subnet.cidr)], 1, 2);
    const own6 = textsOf([ipv6Cidr, ...Object.values(subnets).map((subnet) => subnet.ipv6Cidr)]);
    return chance.of(0.7) && own6.length > 0 ? [...own, chance.pick(own6)] : own;
  };
  const allowCidrs = chance.of(0.4) ? [...new Set([...side(first), ...side(second)])] : undefined;
  return {
    vpcs: [first, second],
    ...(allowCidrs === undefined ? {} : { allowCidrs }),
    ...(chance.of(0.25) ? { routes: 'manual' as const } : {}),
  };
}

/** Names of the NAT gateway and of the route table that some VPCs have besides `main`. */
const NAT = 'nat';
const TABLE = 'own';

const way6 = (chance: Chance, hasEgressOnly: boolean | undefined): RouteTargetSpec =>
  hasEgressOnly === true && chance.of(0.5) ? 'egress-only-internet-gateway' : 'internet-gateway';

function route(chance: Chance, name: string, vpcs: Spec['vpcs']): RouteSpec {
  const { natGateways = {}, ipv6Cidr: own6, egressOnlyInternetGateway } = vpcs[name] as VpcSpec;
  const others = Object.entries(vpcs).filter(([other]) => other !== name);
  const [peer, { cidr, ipv6Cidr, subnets: homes = {} }] = chance.pick(others);
  const theirs = [cidr, ...Object.values(homes).map((home) => home.cidr)];
  const theirs6 = textsOf([ipv6Cidr, ...Object.values(homes).map((home) => home.ipv6Cidr)]);
  if (chance.of(0.4) && typeof own6 === 'string') {
    const destination = chance.pick([
      '::/0',
      '::/0',
      '::/0',
      '2000::/3',
      `${INTERNET_SERVER6}/128`,
      'fd00::/16',
      POOL6,
    ]);
    return { destination, target: way6(chance, egressOnlyInternetGateway) };
  }
  if (chance.of(0.3) && theirs6.length > 0) {
    const target = chance.pick<RouteTargetSpec>([
      { peering: peer },
      { peering: peer },
      { transitGateway: TRANSIT },
      way6(chance, egressOnlyInternetGateway),
      'blackhole',
    ]);
    return { destination: chance.pick([...theirs6, 'fd76:7063:6300::/40', '::/0']), target };
  }
  const gateways = Object.keys(natGateways).map((natGateway) => ({ natGateway }));
  if (chance.of(0.25))
    return { destination: chance.pick([...theirs, '10.0.0.0/8']), target: { transitGateway: TRANSIT } };
  const ways: RouteTargetSpec[] = ['internet-gateway', 'blackhole', ...gateways, ...gateways, ...gateways];
  if (chance.of(0.2)) {
    const list = chance.pick(LISTS);
    const joined: RouteTargetSpec[] = [{ peering: peer }, { peering: peer }, { transitGateway: TRANSIT }];
    const leads = list === LIST6 ? (['blackhole'] as const) : ways;
    return { destination: { prefixList: list }, target: chance.pick([...leads, ...joined]) };
  }
  if (chance.of(0.4))
    return { destination: chance.pick(theirs), target: chance.of(0.7) ? { peering: peer } : chance.pick(ways) };
  const outside = [
    '0.0.0.0/0',
    '0.0.0.0/0',
    '0.0.0.0/0',
    '203.0.113.0/24',
    `${INTERNET_SERVER}/32`,
    `${INTERNET_GATEWAY}/32`,
    POOL,
  ];
  return { destination: chance.pick(outside), target: chance.pick(ways) };
}

/** One to each destination. */
function differing<T extends { readonly destination: RouteSpec['destination'] }>(all: readonly T[]): T[] {
  return [...new Map(all.map((one) => [JSON.stringify(one.destination), one])).values()];
}

function routes(chance: Chance, name: string, vpcs: Spec['vpcs']): RouteTableSpec {
  const made = chance.list(1, 4, () => route(chance, name, vpcs));
  return { routes: differing(made) };
}

/** Some of the VPCs with a NAT gateway, and with route tables of their own. */
function withRouting(
  chance: Chance,
  vpcs: Spec['vpcs'],
  peered: (name: string, target: RouteTargetSpec) => boolean,
): Spec['vpcs'] {
  const made: Record<string, VpcSpec> = { ...vpcs };
  for (const [name, vpc] of Object.entries(vpcs)) {
    if (!chance.of(0.4)) continue;
    const subnet = chance.pick(Object.keys(vpc.subnets ?? {}));
    made[name] = {
      ...vpc,
      natGateways: { [NAT]: { subnet, ...(chance.of(0.2) ? { connectivity: 'private' as const } : {}) } },
    };
  }
  for (const [name, vpc] of Object.entries(made)) {
    if (!chance.of(0.5)) continue;
    const tables = chance.some(['main', TABLE], 1, 2);
    const filled = tables.map((table) => {
      const all = routes(chance, name, made).routes ?? [];
      return [table, { routes: all.filter(({ target }) => peered(name, target)) }] as const;
    });
    const homes = Object.entries(vpc.subnets ?? {}).map(
      ([subnet, spec]) => [subnet, chance.of(0.5) ? { ...spec, routeTable: chance.pick(tables) } : spec] as const,
    );
    made[name] = { ...vpc, subnets: Object.fromEntries(homes), routeTables: Object.fromEntries(filled) };
  }
  return made;
}

/** Whether a route may lead there: to a peer or a transit gateway only where there is one. */
function joinedBy({
  peerings = [],
  transitGateways = {},
}: Pick<Spec, 'peerings' | 'transitGateways'>): (name: string, target: RouteTargetSpec) => boolean {
  return (name, target) => {
    if (typeof target === 'string') return true;
    if ('transitGateway' in target) return name in (transitGateways[target.transitGateway]?.attachments ?? {});
    return !('peering' in target) || peerings.some(({ vpcs }) => vpcs.includes(name) && vpcs.includes(target.peering));
  };
}

const TRANSIT = 'core';

function transit(chance: Chance, vpcs: Spec['vpcs']): TransitGatewaySpec {
  const tables = ['default', 'far'];
  const attached = chance.some(Object.keys(vpcs), 2, 4);
  const attachments = attached.map(
    (name) => [name, { routeTable: chance.pick(tables), propagateTo: chance.some(tables, 0, 2) }] as const,
  );
  const filled = tables.map((table) => [table, { routes: transitRoutes(chance, attached, vpcs) }] as const);
  return { attachments: Object.fromEntries(attachments), routeTables: Object.fromEntries(filled) };
}

function transitRoutes(chance: Chance, attached: readonly string[], vpcs: Spec['vpcs']): TransitRouteSpec[] {
  const blocks = Object.values(vpcs).flatMap(({ cidr, ipv6Cidr, subnets: homes = {} }) => [
    cidr,
    ...Object.values(homes).map((home) => home.cidr),
    ...textsOf([ipv6Cidr, ...Object.values(homes).map((home) => home.ipv6Cidr)]),
  ]);
  const made = chance.list(0, 2, (): TransitRouteSpec => {
    const target = chance.of(0.25) ? ('blackhole' as const) : { vpc: chance.pick(attached) };
    if (chance.of(0.2)) return { destination: { prefixList: chance.pick(LISTS) }, target };
    return { destination: chance.pick([...blocks, '10.0.0.0/8']), target };
  });
  return differing(made);
}

function instance(chance: Chance, subnet: string, isPublic: boolean, groups: readonly string[]): InstanceSpec {
  const own = chance.of(0.15) ? undefined : chance.some(groups, 1, 3);
  return {
    subnet,
    ...(isPublic && chance.of(0.25) ? { publicIp: false } : {}),
    ...(chance.of(0.1) ? { ipv6: false } : {}),
    ...(own === undefined ? {} : { securityGroups: own }),
    ...shaped(chance),
  };
}

/** Where the allocation of primary ones does not come. Of IPv4: of several IPv6 addresses, which one a packet leaves with is not the model's to say. */
function furtherIps({ subnets: homes = {} }: VpcSpec, { subnet }: InstanceSpec, number: number): string[] {
  return [(homes[subnet]?.cidr ?? '').replace(/\d+\/\d+$/, String(200 + number))];
}

function subnets(chance: Chance, blocks: readonly string[], block6: string | undefined): Record<string, SubnetSpec> {
  const made: Record<string, SubnetSpec> = {};
  const count = chance.int(1, 3);
  for (let number = 1; number <= count; number++) {
    const block = number === 1 ? blocks[0] : chance.pick(blocks);
    made[`s${number}`] = {
      cidr: subnetOf(block as string, number),
      ...(block6 !== undefined && chance.of(0.85) ? { ipv6Cidr: subnet6Of(block6, number) } : {}),
      ...(chance.of(0.55) ? { public: true } : {}),
      ...(chance.of(0.2) ? { addressing: 'plain' as const } : {}),
    };
  }
  return made;
}

/** A VPC with one is filtered by other chains too. */
const RESOLVER = { dns: { forward: 'none' } } as const;

/** A model of two to four VPCs with five to nine instances. The library may refuse it. */
export function randomSpec(chance: Chance): Spec {
  const names = VPCS.slice(0, chance.pick([2, 3, 3, 4]));
  const bare: Record<string, VpcSpec> = {};
  for (const name of names) {
    const cidr = chance.pick(BLOCKS[name]);
    const secondary = chance.of(0.3) ? [SECONDARY[name]] : [];
    const block6 = chance.of(0.6) ? BLOCKS6[name] : undefined;
    const dns = chance.of(0.15) ? RESOLVER : {};
    bare[name] = {
      cidr,
      ...(block6 === undefined ? {} : { ipv6Cidr: block6 }),
      ...(block6 !== undefined && chance.of(0.6) ? { egressOnlyInternetGateway: true } : {}),
      secondaryCidrs: secondary,
      ...dns,
      subnets: subnets(chance, [cidr, ...secondary], block6),
    };
  }
  const blocks = blocksOf(chance, { vpcs: bare });
  const vpcs: Record<string, VpcSpec> = {};
  for (const name of names) {
    const vpc = bare[name] as VpcSpec;
    const groups = ['g1', 'g2', 'g3'].slice(0, chance.int(1, 3));
    const named = ['default', ...groups];
    const securityGroups = Object.fromEntries(groups.map((one) => [one, group(chance, named, blocks)]));
    if (chance.of(0.2)) securityGroups.default = group(chance, named, blocks);
    const homes = Object.entries(vpc.subnets ?? {}).map(
      ([subnet, spec]) => [subnet, chance.of(0.25) ? { ...spec, policy: policy(chance, blocks) } : spec] as const,
    );
    const made = { ...vpc, subnets: Object.fromEntries(homes), securityGroups, instances: {} };
    vpcs[name] = bordered(chance, made, blocks);
  }
  const count = chance.int(5, 9);
  for (let number = 1; number <= count; number++) {
    const name = number <= names.length ? (names[number - 1] as string) : chance.pick(names);
    const vpc = vpcs[name] as VpcSpec;
    const [subnet, { public: isPublic = false }] = chance.pick(Object.entries(vpc.subnets ?? {}));
    const plain = instance(chance, subnet, isPublic, ['default', ...Object.keys(vpc.securityGroups ?? {})]);
    const made = chance.of(0.3) ? { ...plain, secondaryIps: furtherIps(vpc, plain, number) } : plain;
    vpcs[name] = { ...vpc, instances: { ...vpc.instances, [`i${number}`]: made } };
  }
  const pairs = names.flatMap((first, at) => names.slice(at + 1).map((second) => [first, second] as const));
  const peerings = pairs.flatMap(([first, second]) => (chance.of(0.6) ? [peering(chance, first, second, vpcs)] : []));
  const transitGateways = chance.of(0.5) ? { [TRANSIT]: transit(chance, vpcs) } : {};
  const settings = {
    publicPool: POOL,
    ...(chance.of(0.3) ? { poolRouted: true } : {}),
    ...(chance.of(0.5) ? { ipv6PoolRouted: true } : {}),
    ...(chance.of(0.1) ? { uplink: 'none' } : {}),
  };
  const joined = { peerings, transitGateways };
  const prefixLists = Object.fromEntries(LISTS.map((one) => [one, prefixList(chance, one, blocks)]));
  return { name: 'world', settings, prefixLists, vpcs: withRouting(chance, vpcs, joinedBy(joined)), ...joined };
}

/** More than any of our packets needs: what is held up still arrives. */
function shaped(chance: Chance): ShapingSpec {
  if (chance.of(0.8)) return {};
  return {
    bandwidth: chance.pick([
      '100mbit',
      { in: '1gbit' },
      { out: '50mbit', burst: '64kib' },
      { in: '10mbit', out: '2gbit' },
    ]),
  };
}

// --- changing --------------------------------------------------------------------------------------------------------

/** The same with one part put in another's place; `undefined` leaves it out. */
function replaced<T>(
  record: Readonly<Record<string, T>> | undefined,
  key: string,
  value: T | undefined,
): Record<string, T> {
  const { [key]: _old, ...others } = record ?? {};
  return value === undefined ? others : { ...record, [key]: value };
}

function without<T>(items: readonly T[], at: number): T[] {
  return items.filter((_item, index) => index !== at);
}

function changeRules<R>(chance: Chance, rules: readonly R[], make: () => R): R[] {
  if (rules.length > 0 && chance.of(0.5)) return without(rules, chance.int(0, rules.length - 1));
  const at = chance.int(0, rules.length);
  return [...rules.slice(0, at), make(), ...rules.slice(at)];
}

/** The instances, where the further addresses of one are another's of the same subnet, or nobody's; or one has some. */
function handedOver(chance: Chance, vpc: VpcSpec): Record<string, InstanceSpec> {
  const instances = { ...vpc.instances };
  const names = Object.keys(instances);
  if (names.length === 0) return instances;
  const from = chance.pick(names);
  const { secondaryIps, ...rest } = instances[from] as InstanceSpec;
  if (secondaryIps === undefined) {
    return { ...instances, [from]: { ...rest, secondaryIps: furtherIps(vpc, rest, 30 + names.indexOf(from)) } };
  }
  const heirs = names.filter((name) => name !== from && instances[name]?.subnet === rest.subnet);
  const heir = heirs.length > 0 && chance.of(0.8) ? chance.pick(heirs) : undefined;
  const further = heir === undefined ? undefined : (instances[heir] as InstanceSpec);
  return {
    ...instances,
    [from]: rest,
    ...(heir === undefined || further === undefined
      ? {}
      : { [heir]: { ...further, secondaryIps: [...(further.secondaryIps ?? []), ...secondaryIps] } }),
  };
}

/** The spec with one thing different: rules, groups of an instance, a policy, a peering, a public address. Its instances stay. The library may refuse it. */
export function changed(chance: Chance, spec: Spec): Spec {
  const name = chance.pick(Object.keys(spec.vpcs));
  const vpc = spec.vpcs[name] as VpcSpec;
  const blocks = blocksOf(chance, spec);
  const groups = Object.keys({ default: {}, ...vpc.securityGroups });
  const put = (made: VpcSpec): Spec => ({ ...spec, vpcs: replaced(spec.vpcs, name, made) });
  switch (
    chance.pick([
      'rule',
      'rule',
      'rule',
      'groups',
      'groups',
      'policy',
      'policy',
      'peering',
      'peering',
      'public',
      'bandwidth',
      'secondary',
      'secondary',
      'route',
      'route',
      'transit',
      'acl',
      'acl',
      'ipv6',
      'ipv6',
      'list',
      'list',
      'dns',
      'egress-only',
    ] as const)
  ) {
    case 'rule': {
      const which = chance.pick(groups);
      const old = vpc.securityGroups?.[which] ?? {};
      const made: SecurityGroupSpec = chance.of(0.6)
        ? { ...old, ingress: changeRules(chance, old.ingress ?? [], () => ingressRule(chance, groups, blocks)) }
        : { ...old, egress: changeRules(chance, old.egress ?? [], () => egressRule(chance, groups, blocks)) };
      return put({ ...vpc, securityGroups: replaced(vpc.securityGroups, which, made) });
    }
    case 'groups': {
      const of = Object.keys(vpc.instances ?? {});
      if (of.length === 0) return spec;
      const which = chance.pick(of);
      const old = vpc.instances?.[which] as InstanceSpec;
      const made = { ...old, securityGroups: chance.some(groups, 1, 3) };
      return put({ ...vpc, instances: replaced(vpc.instances, which, made) });
    }
    case 'secondary':
      return put({ ...vpc, instances: handedOver(chance, vpc) });
    case 'list': {
      const which = chance.pick(LISTS);
      const old = spec.prefixLists?.[which]?.entries ?? [];
      const entries = changeRules(chance, old, () => ({ cidr: chance.pick(entriesFor(which, blocks)) }));
      return { ...spec, prefixLists: replaced(spec.prefixLists, which, listSpec(which, entries)) };
    }
    case 'policy': {
      const which = chance.pick(Object.keys(vpc.subnets ?? {}));
      const { policy: old, ...rest } = (vpc.subnets?.[which] ?? {}) as SubnetSpec;
      const made = old !== undefined && chance.of(0.5) ? rest : { ...rest, policy: policy(chance, blocks) };
      return put({ ...vpc, subnets: replaced(vpc.subnets, which, made) });
    }
    case 'acl': {
      const which = chance.pick(Object.keys(vpc.subnets ?? {}));
      const { networkAcl: old, ...rest } = (vpc.subnets?.[which] ?? {}) as SubnetSpec;
      const made = old !== undefined && chance.of(0.5) ? rest : { ...rest, networkAcl: ACL };
      const acls =
        chance.of(0.7) || vpc.networkAcls === undefined ? { [ACL]: networkAcl(chance, blocks) } : vpc.networkAcls;
      return put({ ...vpc, networkAcls: acls, subnets: replaced(vpc.subnets, which, made) });
    }
    case 'peering': {
      const [first, second] = chance.some(Object.keys(spec.vpcs), 2, 2) as [string, string];
      const all = spec.peerings ?? [];
      const at = all.findIndex(({ vpcs }) => vpcs.includes(first) && vpcs.includes(second));
      if (at >= 0 && chance.of(0.5)) return { ...spec, peerings: without(all, at) };
      return { ...spec, peerings: [...(at < 0 ? all : without(all, at)), peering(chance, first, second, spec.vpcs)] };
    }
    case 'route': {
      const allowed = joinedBy(spec);
      const tables = Object.keys(vpc.routeTables ?? {});
      const which = chance.pick(tables.length === 0 ? ['main'] : tables);
      const old = vpc.routeTables?.[which]?.routes ?? [];
      const made = changeRules(chance, old, () => route(chance, name, spec.vpcs)).filter(({ target }) =>
        allowed(name, target),
      );
      return put({ ...vpc, routeTables: replaced(vpc.routeTables, which, { routes: made }) });
    }
    case 'transit': {
      if (spec.transitGateways?.[TRANSIT] === undefined) return spec;
      return { ...spec, transitGateways: { [TRANSIT]: transit(chance, spec.vpcs) } };
    }
    case 'egress-only':
      return put(withEgressOnly(vpc, vpc.egressOnlyInternetGateway !== true));
    case 'ipv6':
      return put(changedIpv6(chance, name, vpc));
    case 'bandwidth': {
      const of = Object.keys(vpc.instances ?? {});
      if (of.length === 0) return spec;
      const which = chance.pick(of);
      const { bandwidth, ...rest } = (vpc.instances?.[which] ?? {}) as InstanceSpec;
      const made = bandwidth !== undefined && chance.of(0.5) ? rest : { ...rest, ...shaped(chance) };
      return put({ ...vpc, instances: replaced(vpc.instances, which, made) });
    }
    case 'dns': {
      const { dns, ...rest } = vpc;
      return put(dns === undefined ? { ...rest, ...RESOLVER } : rest);
    }
    case 'public': {
      const of = Object.keys(vpc.instances ?? {});
      if (of.length === 0) return spec;
      const which = chance.pick(of);
      const { publicIp, ...rest } = (vpc.instances?.[which] ?? {}) as InstanceSpec;
      const made = publicIp === undefined ? { ...rest, publicIp: false } : rest;
      return put({ ...vpc, instances: replaced(vpc.instances, which, made) });
    }
  }
}

/** An instance, a subnet or all of the VPC with IPv6 that had none, or without. */
function changedIpv6(chance: Chance, name: string, vpc: VpcSpec): VpcSpec {
  const { ipv6Cidr, ...rest } = vpc;
  if (typeof ipv6Cidr !== 'string') {
    const block = BLOCKS6[name as keyof typeof BLOCKS6];
    const homes = mapped(vpc.subnets, (home) => home);
    const given = Object.entries(homes).map(([subnet, home], at) => [
      subnet,
      { ...home, ipv6Cidr: subnet6Of(block, at + 1) },
    ]);
    return { ...rest, ipv6Cidr: block, subnets: Object.fromEntries(given) };
  }
  const which = chance.pick(['instance', 'instance', 'subnet', 'vpc'] as const);
  const of = Object.entries(vpc.instances ?? {});
  if (which === 'instance' && of.length > 0) {
    const [instance, { ipv6: was, ...own }] = chance.pick(of);
    const made = was === false ? own : { ...own, ipv6: false };
    return { ...vpc, instances: replaced<InstanceSpec>(vpc.instances, instance, made) };
  }
  if (which === 'subnet') {
    const [subnet, { ipv6Cidr: _was, ...home }] = chance.pick(Object.entries(vpc.subnets ?? {}));
    return { ...vpc, subnets: replaced<SubnetSpec>(vpc.subnets, subnet, home) };
  }
  return withoutIpv6(vpc);
}

/** Without one, no route leads to it. */
function withEgressOnly({ egressOnlyInternetGateway: _was, ...vpc }: VpcSpec, isThere: boolean): VpcSpec {
  if (isThere) return { ...vpc, egressOnlyInternetGateway: true };
  const tables = mapped(vpc.routeTables, ({ routes: all = [] }) => ({
    routes: all.filter(({ target }) => target !== 'egress-only-internet-gateway'),
  }));
  return { ...vpc, ...(vpc.routeTables === undefined ? {} : { routeTables: tables }) };
}

function withoutIpv6({ ipv6Cidr: _block, ...vpc }: VpcSpec): VpcSpec {
  return {
    ...vpc,
    subnets: mapped(vpc.subnets, ({ ipv6Cidr: _was, ...home }): SubnetSpec => home),
    instances: mapped(vpc.instances, ({ ipv6: _was, ...one }): InstanceSpec => one),
  };
}

// --- making smaller --------------------------------------------------------------------------------------------------

/** Everything that can be left out of the spec, larger things first. The library may refuse some. */
export function smaller(spec: Spec): Spec[] {
  const found: Spec[] = [];
  const { settings: _settings, ...bare } = spec;
  for (const name of Object.keys(spec.vpcs)) {
    const peerings = (spec.peerings ?? []).filter(({ vpcs }) => !vpcs.includes(name));
    const transitGateways = mapped(spec.transitGateways, (gateway) => ({
      ...gateway,
      attachments: replaced(gateway.attachments, name, undefined),
    }));
    found.push({ ...spec, vpcs: replaced(spec.vpcs, name, undefined), peerings, transitGateways });
  }
  if (Object.keys(spec.transitGateways ?? {}).length > 0) found.push({ ...spec, transitGateways: {} });
  for (const [gateway, { attachments = {}, routeTables = {} }] of Object.entries(spec.transitGateways ?? {})) {
    const put = (made: TransitGatewaySpec): number => found.push({ ...spec, transitGateways: { [gateway]: made } });
    for (const vpc of Object.keys(attachments)) {
      put({ routeTables, attachments: replaced(attachments, vpc, undefined) });
    }
    for (const [table, { routes: all = [] }] of Object.entries(routeTables)) {
      for (const at of all.keys()) {
        put({ attachments, routeTables: replaced(routeTables, table, { routes: without(all, at) }) });
      }
    }
  }
  for (const [list, { entries = [], ...kept }] of Object.entries(spec.prefixLists ?? {})) {
    found.push({ ...spec, prefixLists: replaced(spec.prefixLists, list, undefined) });
    for (const at of entries.keys()) {
      const made = { ...kept, entries: without(entries, at) };
      found.push({ ...spec, prefixLists: replaced(spec.prefixLists, list, made) });
    }
  }
  for (const at of (spec.peerings ?? []).keys()) {
    const all = spec.peerings ?? [];
    found.push({ ...spec, peerings: without(all, at) });
    const { allowCidrs, ...rest } = all[at] as PeeringSpec;
    if (allowCidrs !== undefined) found.push({ ...spec, peerings: [...without(all, at), rest] });
    const { routes: way, ...automatic } = all[at] as PeeringSpec;
    if (way !== undefined) found.push({ ...spec, peerings: [...without(all, at), automatic] });
  }
  for (const [name, vpc] of Object.entries(spec.vpcs)) {
    for (const made of smallerVpcs(vpc)) found.push({ ...spec, vpcs: replaced(spec.vpcs, name, made) });
  }
  if (spec.settings !== undefined) found.push(bare);
  return found;
}

function mapped<T, R>(record: Readonly<Record<string, T>> | undefined, make: (value: T) => R): Record<string, R> {
  return Object.fromEntries(Object.entries(record ?? {}).map(([key, value]) => [key, make(value)]));
}

function smallerVpcs(vpc: VpcSpec): VpcSpec[] {
  const found: VpcSpec[] = [];
  const { instances = {}, subnets: homes = {}, securityGroups = {} } = vpc;
  const { routeTables: tables = {}, natGateways = {} } = vpc;
  for (const name of Object.keys(natGateways)) {
    found.push({ ...vpc, natGateways: replaced(natGateways, name, undefined) });
  }
  for (const [name, { routes: all = [] }] of Object.entries(tables)) {
    found.push({ ...vpc, routeTables: replaced(tables, name, undefined) });
    for (const at of all.keys()) {
      found.push({ ...vpc, routeTables: replaced(tables, name, { routes: without(all, at) }) });
    }
  }
  for (const [name, { routeTable, ...rest }] of Object.entries(homes)) {
    if (routeTable !== undefined) found.push({ ...vpc, subnets: replaced<SubnetSpec>(homes, name, rest) });
  }
  for (const name of Object.keys(instances)) found.push({ ...vpc, instances: replaced(instances, name, undefined) });
  for (const name of Object.keys(homes)) found.push({ ...vpc, subnets: replaced(homes, name, undefined) });
  for (const name of Object.keys(securityGroups)) {
    found.push({ ...vpc, securityGroups: replaced(securityGroups, name, undefined) });
  }
  for (const [name, { policy: rules, ...rest }] of Object.entries(homes)) {
    const put = (subnet: SubnetSpec): number => found.push({ ...vpc, subnets: replaced(homes, name, subnet) });
    if (rules === undefined) continue;
    put(rest);
    for (const direction of ['ingress', 'egress'] as const) {
      const list = rules[direction];
      if (list === undefined) continue;
      put({ ...rest, policy: replaced<readonly PolicyRuleSpec[]>({ ...rules }, direction, undefined) });
      for (const at of list.keys()) put({ ...rest, policy: { ...rules, [direction]: without(list, at) } });
    }
  }
  for (const [name, rules] of Object.entries(securityGroups)) {
    for (const direction of ['ingress', 'egress'] as const) {
      const list: readonly unknown[] = rules[direction] ?? [];
      for (const at of list.keys()) {
        const made = { ...rules, [direction]: without(list, at) };
        found.push({ ...vpc, securityGroups: replaced(securityGroups, name, made) });
      }
    }
  }
  for (const [name, { bandwidth, ...rest }] of Object.entries(instances)) {
    if (bandwidth !== undefined) found.push({ ...vpc, instances: replaced<InstanceSpec>(instances, name, rest) });
  }
  for (const [name, one] of Object.entries(instances)) {
    const groups = one.securityGroups ?? [];
    if (groups.length < 2) continue;
    for (const at of groups.keys()) {
      found.push({ ...vpc, instances: replaced(instances, name, { ...one, securityGroups: without(groups, at) }) });
    }
  }
  if (vpc.dns !== undefined) {
    const { dns: _none, ...rest } = vpc;
    found.push(rest);
  }
  if ((vpc.secondaryCidrs ?? []).length > 0) found.push({ ...vpc, secondaryCidrs: [] });
  if (vpc.ipv6Cidr !== undefined) found.push(withoutIpv6(vpc));
  if (vpc.egressOnlyInternetGateway === true) found.push(withEgressOnly(vpc, false));
  return found;
}
