/**
 * The static rulesets. Chains never change once made; who may what is in sets and maps (profile.ts and lower.ts fill them), so that a
 * change costs its elements only. Expressions are written as `nft -j -n list` prints them, so that what is observed compares equal.
 *
 * Each packet passes the borders of the subnets that it leaves and enters: `acl_leave` and `acl_enter`, which use meta mark for themselves and leave it 0.
 *
 * A packet between workloads passes two gates, in the sender's and the receiver's router: `egress` of the sender, which only returns or drops, then
 * `ingress` of the receiver, which alone accepts. Marks: ct mark is the sender's profile, meta mark the receiver's.
 */
import { addressOf, type Family } from '../net/cidr.js';
import type { NftChainRow, NftFamily, NftRow, NftSetRow } from '../objects/kernel-object.js';
import { NFT_TABLE } from '../objects/kernel-object.js';
import { EDGE_HOST_LINK, HOST_LINK, PEER_LINKS, PORTS, ROUTER_LINKS, TRANSIT, TRANSIT_LINKS, UPLINK } from './names.js';

type Expr = Readonly<Record<string, unknown>>;

const meta = (key: string): Expr => ({ meta: { key } });
const ct = (key: string): Expr => ({ ct: { key } });
const ip = (field: 'saddr' | 'daddr'): Expr => ({ payload: { protocol: 'ip', field } });
const ip6 = (field: 'saddr' | 'daddr'): Expr => ({ payload: { protocol: 'ip6', field } });
const dport: Expr = { payload: { protocol: 'th', field: 'dport' } };
const sport: Expr = { payload: { protocol: 'th', field: 'sport' } };
const icmp = (field: 'type' | 'code'): Expr => ({ payload: { protocol: 'icmp', field } });
const icmp6 = (field: 'type' | 'code'): Expr => ({ payload: { protocol: 'icmpv6', field } });
const concat = (...parts: readonly Expr[]): Expr => ({ concat: parts });

const match = (op: '==' | '!=' | 'in', left: Expr, right: unknown): Expr => ({ match: { op, left, right } });
const eq = (left: Expr, right: unknown): Expr => match('==', left, right);
const from = (link: string): Expr => eq(meta('iifname'), link);
const to = (link: string): Expr => eq(meta('oifname'), link);
const counter: Expr = { counter: null };
const accept: Expr = { accept: null };
const drop: Expr = { drop: null };
const back: Expr = { return: null };
const jump = (target: string): Expr => ({ jump: { target } });
const goto = (target: string): Expr => ({ goto: { target } });
const setFromMap = (key: Expr, of: Expr, map: string): Expr => ({
  mangle: { key, value: { map: { key: of, data: `@${map}` } } },
});

// Numbers, because `nft -n` lists numbers: enum ip_conntrack_info's bits as nft counts them, IPS_DST_NAT, ICMP_ECHO.
const ESTABLISHED = 2;
const RELATED = 4;
const NEW = 8;
const DNAT = 32;
const ECHO_REQUEST = 8;
/** ICMPV6_ECHO_REQUEST. */
const ECHO_REQUEST6 = 128;
/** ICMP: a packet was too large for the next link and may not be cut (ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED). */
const TOO_LARGE = [eq(icmp('type'), 3), eq(icmp('code'), 4)];
/** ICMPV6_PKT_TOOBIG. */
const TOO_LARGE6 = 2;
/** In an error of ICMP, the destination of the packet that it speaks of: behind 8 bytes of the error, the header of that packet. */
const SPOKEN_OF: Expr = { payload: { base: 'th', offset: 8 * (8 + 16), len: 32 } };
const SPOKEN_OF6: Expr = { payload: { base: 'th', offset: 8 * (8 + 24), len: 128 } };
const SYN = 2;
const MSS: Expr = { 'tcp option': { name: 'maxseg', field: 'size' } };
/** NFPROTO_IPV6. */
const isIp6 = eq(meta('nfproto'), 10);
/** IP_CT_DIR_REPLY. */
const REPLY = 1;

const established = match('in', ct('state'), [ESTABLISHED, RELATED]);
const isEstablished = match('in', ct('state'), ESTABLISHED);
/** Errors of ICMP about a connection: no helper of a protocol is at work, so nothing else is related to one. */
const isRelated = match('in', ct('state'), RELATED);
const notNew = match('!=', ct('state'), NEW);

interface ChainSpec {
  readonly base?: NonNullable<NftChainRow['base']>;
  readonly rules: readonly (readonly Expr[])[];
}

interface TableSpec {
  readonly ns: string;
  readonly family: NftFamily;
  readonly sets: readonly Omit<NftSetRow, 'kind' | 'ns' | 'family' | 'table'>[];
  readonly chains: Readonly<Record<string, ChainSpec>>;
}

function table({ ns, family, sets, chains }: TableSpec): NftRow[] {
  const at = { ns, family, table: NFT_TABLE } as const;
  return [
    { kind: 'nft-table', ...at },
    ...sets.map((set): NftRow => ({ kind: 'nft-set', ...at, ...set })),
    ...Object.entries(chains).map(
      ([chain, { base }]): NftRow => ({ kind: 'nft-chain', ...at, chain, ...(base === undefined ? {} : { base }) }),
    ),
    ...Object.entries(chains).flatMap(([chain, { rules }]) =>
      rules.map((expr, index): NftRow => ({ kind: 'nft-rule', ...at, chain, index, expr })),
    ),
  ];
}

const filter = (hook: string, policy: 'accept' | 'drop', prio = 0) => ({ type: 'filter', hook, prio, policy }) as const;
const nat = (hook: string, prio: number) => ({ type: 'nat', hook, prio, policy: 'accept' }) as const;

/** The two directions a profile's elements are for. */
export type Gate = 'in' | 'out';

type Shapes<S extends string> = Readonly<Record<S, { readonly type: readonly string[]; readonly interval?: boolean }>>;

/** What a family's addresses and messages are called as types of a set. */
const TYPES = {
  4: { address: 'ipv4_addr', message: ['icmp_type', 'icmp_code'] },
  6: { address: 'ipv6_addr', message: ['icmpv6_type', 'icmpv6_code'] },
} as const;

/** Lengths of blocks that have a hashed set: of IPv6, those that the cloud hands out. */
const BLOCK_LENGTHS = { 4: [32, 24, 16, 8], 6: [128, 64, 56] } as const;

type BlockSet = `net${(typeof BLOCK_LENGTHS)[Family][number]}_port`;

type PlainSet =
  | ('all' | 'proto' | 'port' | 'group' | 'group_proto')
  | ('group_port' | 'group_icmp' | 'net' | 'net_port' | 'net_icmp');

export type GateSet = PlainSet | BlockSet;

/** Sets of blocks of one length, of which they hold the first address: the packet's is cut to that length before it is looked up. */
export const BLOCK_SETS: Readonly<Record<Family, readonly { readonly set: BlockSet; readonly length: number }[]>> = {
  4: BLOCK_LENGTHS[4].map((length) => ({ set: `net${length}_port` as const, length })),
  6: BLOCK_LENGTHS[6].map((length) => ({ set: `net${length}_port` as const, length })),
};

/**
 * The sets of one gate for packets of one family. Key: the own profile's mark, then what is asked of the other side. `net`, `net_port` and `net_icmp` hold boxes
 * (intervals), and a new connection pays for each element of its profile there (6 ns); the others are hashed and cost the same at any size.
 */
function shapesOfGate(family: Family): Partial<Shapes<GateSet>> {
  const { address, message } = TYPES[family];
  const blocks = BLOCK_SETS[family].map(({ set }) => {
    return [set, { type: ['mark', address, 'inet_proto', 'inet_service'] }] as const;
  });
  return {
    all: { type: ['mark'] },
    proto: { type: ['mark', 'inet_proto'] },
    port: { type: ['mark', 'inet_proto', 'inet_service'] },
    group: { type: ['mark', 'mark'] },
    group_proto: { type: ['mark', 'mark', 'inet_proto'] },
    ...Object.fromEntries(blocks),
    group_port: { type: ['mark', 'mark', 'inet_proto', 'inet_service'], interval: true },
    group_icmp: { type: ['mark', 'mark', ...message], interval: true },
    net: { type: ['mark', address, 'inet_proto'], interval: true },
    net_port: { type: ['mark', address, 'inet_proto', 'inet_service'], interval: true },
    net_icmp: { type: ['mark', address, ...message], interval: true },
  };
}

export const GATE_SETS = { 4: shapesOfGate(4), 6: shapesOfGate(6) } as const;

/** The name of a gate's set: `in_port`, `out6_net`. */
export const gateSet = (gate: Gate, family: Family, set: GateSet): string => `${gate}${family === 6 ? '6' : ''}_${set}`;

/** As `nft -n` lists a mask; of a whole address it lists none. */
function cut(address: Expr, length: number, family: Family): Expr {
  if (length === (family === 4 ? 32 : 128)) return address;
  const mask =
    family === 4 ? addressOf(2 ** 32 - 2 ** (32 - length)) : addressOf(2n ** 128n - 2n ** BigInt(128 - length));
  return { '&': [address, mask] };
}

function gateSets(gate: Gate, family: Family): Omit<NftSetRow, 'kind' | 'ns' | 'family' | 'table'>[] {
  return Object.entries(GATE_SETS[family]).map(([name, shape]) => ({
    set: gateSet(gate, family, name as GateSet),
    ...shape,
  }));
}

function gateRules(gate: Gate, family: Family, own: Expr, other: Expr, address: Expr, verdict: Expr): Expr[][] {
  const proto = meta('l4proto');
  const message = family === 4 ? icmp : icmp6;
  const blocks = BLOCK_SETS[family].map(({ set, length }) => {
    return [set, concat(own, cut(address, length, family), proto, dport)] as const;
  });
  const keys: Readonly<Partial<Record<GateSet, Expr>>> = {
    all: own,
    proto: concat(own, proto),
    port: concat(own, proto, dport),
    group: concat(own, other),
    group_proto: concat(own, other, proto),
    ...Object.fromEntries(blocks),
    group_port: concat(own, other, proto, dport),
    group_icmp: concat(own, other, message('type'), message('code')),
    net: concat(own, address, proto),
    net_port: concat(own, address, proto, dport),
    net_icmp: concat(own, address, message('type'), message('code')),
  };
  const sets = Object.keys(GATE_SETS[family]) as GateSet[];
  return [...sets.map((set) => [eq(keys[set] ?? own, `@${gateSet(gate, family, set)}`), verdict]), [counter, drop]];
}

/**
 * The sets of network ACLs. Key: the mark of a list of rules ({@link aclMark}), then of the packet the other side's address, protocol and
 * destination's port, or type and code of ICMP. Disjoint, so that a packet is in one of them or in none.
 */
function shapesOfAcl(family: Family) {
  const { address, message } = TYPES[family];
  return {
    all: { type: ['mark'] },
    proto: { type: ['mark', 'inet_proto'] },
    port: { type: ['mark', 'inet_proto', 'inet_service'] },
    net: { type: ['mark', address, 'inet_proto'], interval: true },
    net_port: { type: ['mark', address, 'inet_proto', 'inet_service'], interval: true },
    icmp: { type: ['mark', address, ...message], interval: true },
  } as const;
}

export const ACL_SETS = { 4: shapesOfAcl(4), 6: shapesOfAcl(6) } as const;

export type AclSet = keyof (typeof ACL_SETS)[Family];

/** The name of a set of network ACLs: `acl_port`, `acl6_net`. */
export const aclSet = (family: Family, set: AclSet): string => `${family === 4 ? 'acl' : 'acl6'}_${set}`;

function aclSets(family: Family): Omit<NftSetRow, 'kind' | 'ns' | 'family' | 'table'>[] {
  return Object.entries(ACL_SETS[family]).map(([name, shape]) => ({ set: aclSet(family, name as AclSet), ...shape }));
}

/** The mark of one of the two lists of a network ACL. */
export const aclMark = (number: number, direction: 'ingress' | 'egress'): number =>
  number * 2 + (direction === 'ingress' ? 1 : 0);

/**
 * One border. The mark is the number of the subnet that `port` is in when it begins: what stays in that subnet passes; else it becomes the mark of
 * the subnet's list in this direction, and the packet is looked up. What passes has mark 0 again.
 */
function aclRules(family: Family, otherPort: 'iifname' | 'oifname', list: string, address: Expr): Expr[][] {
  const message = family === 4 ? icmp : icmp6;
  const own = meta('mark');
  const proto = meta('l4proto');
  const pass = [{ mangle: { key: own, value: 0 } }, back];
  const keys: Readonly<Record<AclSet, Expr>> = {
    all: own,
    proto: concat(own, proto),
    port: concat(own, proto, dport),
    net: concat(own, address, proto),
    net_port: concat(own, address, proto, dport),
    icmp: concat(own, address, message('type'), message('code')),
  };
  return [
    [eq(concat(meta(otherPort), own), `@${SETS.aclInside}`), ...pass],
    [setFromMap(own, own, list)],
    ...Object.entries(keys).map(([set, key]) => [eq(key, `@${aclSet(family, set as AclSet)}`), ...pass]),
    [counter, drop],
  ];
}

/** The route back to the packet's source does not lead to the link that it came by. */
const FROM_ELSEWHERE: Expr = eq({ fib: { result: 'oif', flags: ['saddr', 'iif'] } }, false);

/** Maps and sets of a router that instances and peerings fill. */
export const SETS = {
  /** address → mark of its profile */
  profile: 'profile',
  /** the same of IPv6 */
  profile6: 'profile6',
  /** addresses that have a public one */
  public: 'public',
  /** public → private and private → public address */
  publicIn: 'public_in',
  publicOut: 'public_out',
  /** ports of what passes on packets that are not for it: NAT gateways */
  through: 'through',
  /** of ports in subnets that have a network ACL: port → number of its subnet, and port . that number */
  aclPort: 'acl_port_subnet',
  aclInside: 'acl_inside',
  /** number of a subnet → mark of its network ACL's list, for packets into it and out of it */
  aclIngress: 'acl_ingress',
  aclEgress: 'acl_egress',
  /** of a router that has services: their address . protocol . port */
  services: 'services',
  /** peer link . own block . peer's block */
  peerFlow: 'peer_flow',
  peerFlow6: 'peer_flow6',
  /** first address of a subnet's IPv6 block → number of its route table */
  table6: 'table6',
  /** number of a route table . block that it leads to by the internet gateway, and by the egress-only one */
  ways6: 'ways6',
  answers6: 'answers6',
  /** host and edge: the pool; host: the uplink, and the pool again where it is masqueraded */
  pool: 'pool',
  pool6: 'pool6',
  /** edge: the host's address of the IPv6 pool */
  host6: 'host6',
  uplink: 'uplink',
  masquerade: 'masquerade',
  masquerade6: 'masquerade6',
  /** host: protocol . port → public address, and → port of an instance */
  published: 'published',
  publishedPort: 'published_port',
} as const;

/**
 * An error that a workload sends about a connection: only of its own. The kernel sees to it that the error is for one end of the connection, not that the other one
 * sends it. Two fields of a packet cannot be compared here, so the one is written over the other, which it equals in an honest one: then the route back to it leads
 * to another port, if it was not. A NAT gateway passes on what others say of connections through it.
 */
const OWN_ERRORS: Expr[] = [isRelated, from(PORTS), match('!=', meta('iifname'), `@${SETS.through}`), jump('errors')];

const errorRules = (ipv6: boolean): Expr[][] => [
  [{ mangle: { key: ip('saddr'), value: SPOKEN_OF } }],
  ...(ipv6 ? [[{ mangle: { key: ip6('saddr'), value: SPOKEN_OF6 } }]] : []),
  [FROM_ELSEWHERE, counter, drop],
];

/** What the borders of subnets are asked for, whatever the packet's family. */
const BORDER_SETS: TableSpec['sets'] = [
  { set: SETS.aclPort, type: ['ifname'], data: 'mark' },
  { set: SETS.aclInside, type: ['ifname', 'mark'] },
  { set: SETS.aclIngress, type: ['mark'], data: 'mark' },
  { set: SETS.aclEgress, type: ['mark'], data: 'mark' },
];

/** Packets of IPv4 are dropped by a rule for those of IPv6 and the other way round, so each family has chains of its own. */
function borderChains(ipv6: boolean): TableSpec['chains'] {
  const crossing = (suffix: '' | '6'): Expr[][] => [
    [setFromMap(meta('mark'), meta('iifname'), SETS.aclPort), jump(`acl_leave${suffix}`)],
    [setFromMap(meta('mark'), meta('oifname'), SETS.aclPort), jump(`acl_enter${suffix}`)],
  ];
  return {
    borders: { rules: [...(ipv6 ? [[isIp6, goto('borders6')]] : []), ...crossing('')] },
    acl_leave: { rules: aclRules(4, 'oifname', SETS.aclEgress, ip('daddr')) },
    acl_enter: { rules: aclRules(4, 'iifname', SETS.aclIngress, ip('saddr')) },
    ...(ipv6
      ? {
          borders6: { rules: crossing('6') },
          acl_leave6: { rules: aclRules(6, 'oifname', SETS.aclEgress, ip6('daddr')) },
          acl_enter6: { rules: aclRules(6, 'iifname', SETS.aclIngress, ip6('saddr')) },
        }
      : {}),
  };
}

/** NF_IP_PRI_RAW: before connections are tracked. */
const RAW = -300;

const TO_SERVICE = eq(concat(ip('daddr'), meta('l4proto'), dport), `@${SETS.services}`);
const FROM_SERVICE = eq(concat(ip('saddr'), meta('l4proto'), sport), `@${SETS.services}`);

/**
 * How many packets a second a VPC may send to its router's services: as many as an interface may to the cloud's resolver (Route 53 Developer Guide, "Quotas on Route 53
 * VPC Resolver"), and in one go.
 */
const SERVICE_RATE = { rate: 1024, burst: 1024, per: 'second' } as const;

/**
 * What instances ask of the router's services passes no group and no network ACL (VPC User Guide, "Control traffic to subnets using network ACLs": the resolver), is not
 * tracked, and is let in from ports alone: not from peers, nor from behind the uplink.
 */
const SERVICE_CHAINS: TableSpec['chains'] = {
  asked: {
    base: filter('prerouting', 'accept', RAW),
    rules: [
      [from(PORTS), TO_SERVICE, { limit: SERVICE_RATE }, { notrack: null }, accept],
      [TO_SERVICE, counter, drop],
    ],
  },
  answered: { base: filter('output', 'accept', RAW), rules: [[FROM_SERVICE, { notrack: null }]] },
};

/** What a router's firewall has only where its VPC has that: each set and rule that is not there is one that the kernel need not make. */
export interface RouterFeatures {
  /** Without it, a router knows no way for a packet of IPv6. */
  readonly ipv6: boolean;
  /** A route leads that to the internet. */
  readonly out6: boolean;
  /** Some subnet has a network ACL. */
  readonly acls: boolean;
  /** Its instances may ask the router for what is in that set. */
  readonly services: boolean;
}

/** As every router is at first. */
export const PLAIN_ROUTER: RouterFeatures = { ipv6: false, out6: false, acls: false, services: false };

export function routerRuleset(ns: string, { ipv6, out6, acls, services }: RouterFeatures): NftRow[] {
  const sender = ct('mark');
  const receiver = meta('mark');
  return table({
    ns,
    family: 'inet',
    sets: [
      { set: SETS.profile, type: ['ipv4_addr'], data: 'mark' },
      { set: SETS.public, type: ['ipv4_addr'] },
      { set: SETS.publicIn, type: ['ipv4_addr'], data: 'ipv4_addr' },
      { set: SETS.publicOut, type: ['ipv4_addr'], data: 'ipv4_addr' },
      { set: SETS.through, type: ['ifname'] },
      { set: SETS.peerFlow, type: ['ifname', 'ipv4_addr', 'ipv4_addr'], interval: true },
      ...gateSets('out', 4),
      ...gateSets('in', 4),
      ...(ipv6 ? ROUTER_SETS6 : []),
      ...(acls ? [...BORDER_SETS, ...aclSets(4), ...(ipv6 ? aclSets(6) : [])] : []),
      ...(out6 ? OUT_SETS6 : []),
      ...(services ? [{ set: SETS.services, type: ['ipv4_addr', 'inet_proto', 'inet_service'] }] : []),
    ],
    chains: {
      ...(ipv6 ? routerChains6(out6) : {}),
      ...(acls ? borderChains(ipv6) : {}),
      input: {
        base: filter('input', 'drop'),
        rules: [
          ...(services ? [[from(PORTS), TO_SERVICE, accept]] : []),
          [from(PORTS), eq(icmp('type'), ECHO_REQUEST), accept],
          ...(ipv6 ? [[from(PORTS), eq(icmp6('type'), ECHO_REQUEST6), accept]] : []),
          [counter, drop],
        ],
      },
      forward: {
        base: filter('forward', 'drop'),
        rules: [
          ...(acls ? [[jump('borders')]] : []),
          ...(out6 ? [[isIp6, from(UPLINK), jump('from_uplink6')]] : []),
          [isEstablished, accept],
          OWN_ERRORS,
          [isRelated, accept],
          [notNew, counter, drop],
          ...(ipv6 ? [[isIp6, goto('forward6')]] : []),
          [from(PORTS), setFromMap(ct('mark'), ip('saddr'), SETS.profile)],
          [to(PORTS), setFromMap(meta('mark'), ip('daddr'), SETS.profile)],
          [from(UPLINK), jump('from_uplink')],
          [from(PEER_LINKS), jump('from_peer')],
          // Where a packet comes from was checked in the router it comes from, and by rp_filter that answers go back there.
          [from(TRANSIT_LINKS), match('!=', meta('oifname'), PORTS), counter, drop],
          [to(TRANSIT_LINKS), match('!=', meta('iifname'), PORTS), counter, drop],
          [to(UPLINK), jump('to_uplink')],
          [to(PEER_LINKS), jump('to_peer')],
          [from(PORTS), jump('egress')],
          [to(UPLINK), accept],
          [to(PEER_LINKS), accept],
          [to(TRANSIT_LINKS), accept],
          [eq(meta('oifname'), `@${SETS.through}`), accept],
          [to(PORTS), goto('ingress')],
          [counter, drop],
        ],
      },
      errors: { rules: errorRules(ipv6) },
      from_uplink: {
        rules: [
          [match('!=', meta('oifname'), PORTS), counter, drop],
          [match('in', ct('status'), DNAT), back],
          [eq(ip('saddr'), TRANSIT.host), eq(ip('daddr'), `@${SETS.public}`), back],
          [counter, drop],
        ],
      },
      from_peer: {
        rules: [
          [match('!=', meta('oifname'), PORTS), counter, drop],
          [eq(concat(meta('iifname'), ip('daddr'), ip('saddr')), `@${SETS.peerFlow}`), back],
          [counter, drop],
        ],
      },
      to_uplink: {
        rules: [
          [from(PORTS), eq(ip('saddr'), `@${SETS.public}`), back],
          [counter, drop],
        ],
      },
      to_peer: {
        rules: [
          [from(PORTS), eq(concat(meta('oifname'), ip('saddr'), ip('daddr')), `@${SETS.peerFlow}`), back],
          [counter, drop],
        ],
      },
      egress: { rules: gateRules('out', 4, sender, receiver, ip('daddr'), back) },
      ingress: { rules: gateRules('in', 4, receiver, sender, ip('saddr'), accept) },
      nat_in: {
        base: nat('prerouting', -100),
        rules: [
          [from(UPLINK), { dnat: { family: 'ip', addr: { map: { key: ip('daddr'), data: `@${SETS.publicIn}` } } } }],
        ],
      },
      nat_out: {
        base: nat('postrouting', 100),
        rules: [
          [to(UPLINK), { snat: { family: 'ip', addr: { map: { key: ip('saddr'), data: `@${SETS.publicOut}` } } } }],
        ],
      },
      ...(services ? SERVICE_CHAINS : {}),
    },
  });
}

const ROUTER_SETS6: TableSpec['sets'] = [
  { set: SETS.profile6, type: ['ipv6_addr'], data: 'mark' },
  { set: SETS.peerFlow6, type: ['ifname', 'ipv6_addr', 'ipv6_addr'], interval: true },
  ...gateSets('out', 6),
  ...gateSets('in', 6),
];

/** What a router has besides for packets of IPv6, from where `forward` leads to them. */
const routerChains6 = (out6: boolean): TableSpec['chains'] => ({
  ...(out6 ? OUT_CHAINS6 : {}),
  // IPv6 has no rp_filter. Behind the defragmentation (-400), in front of connection tracking (-200).
  source6: { base: filter('prerouting', 'accept', RAW), rules: [[isIp6, from(PORTS), FROM_ELSEWHERE, counter, drop]] },
  forward6: {
    rules: [
      [from(PORTS), setFromMap(ct('mark'), ip6('saddr'), SETS.profile6)],
      [to(PORTS), setFromMap(meta('mark'), ip6('daddr'), SETS.profile6)],
      [from(PEER_LINKS), jump('from_peer6')],
      [from(TRANSIT_LINKS), match('!=', meta('oifname'), PORTS), counter, drop],
      [to(TRANSIT_LINKS), match('!=', meta('iifname'), PORTS), counter, drop],
      ...(out6 ? [[to(UPLINK), jump('to_uplink6')]] : []),
      [to(PEER_LINKS), jump('to_peer6')],
      [from(PORTS), jump('egress6')],
      ...(out6 ? [[to(UPLINK), accept]] : []),
      [to(PEER_LINKS), accept],
      [to(TRANSIT_LINKS), accept],
      [to(PORTS), goto('ingress6')],
      [counter, drop],
    ],
  },
  from_peer6: {
    rules: [
      [match('!=', meta('oifname'), PORTS), counter, drop],
      [eq(concat(meta('iifname'), ip6('daddr'), ip6('saddr')), `@${SETS.peerFlow6}`), back],
      [counter, drop],
    ],
  },
  to_peer6: {
    rules: [
      [from(PORTS), eq(concat(meta('oifname'), ip6('saddr'), ip6('daddr')), `@${SETS.peerFlow6}`), back],
      [counter, drop],
    ],
  },
  egress6: { rules: gateRules('out', 6, ct('mark'), meta('mark'), ip6('daddr'), back) },
  ingress6: { rules: gateRules('in', 6, meta('mark'), ct('mark'), ip6('saddr'), accept) },
});

const OUT_SETS6: TableSpec['sets'] = [
  { set: SETS.table6, type: ['ipv6_addr'], data: 'mark' },
  { set: SETS.ways6, type: ['mark', 'ipv6_addr'], interval: true },
  { set: SETS.answers6, type: ['mark', 'ipv6_addr'], interval: true },
];

/** Of the subnet that `own` is in, the route table leads to `other` by the uplink: mark 0 again. */
function wayRules(own: 'saddr' | 'daddr', other: 'saddr' | 'daddr', answers: readonly Expr[]): Expr[][] {
  const mark = meta('mark');
  const way = concat(mark, ip6(other));
  const pass = [{ mangle: { key: mark, value: 0 } }, back];
  return [
    [setFromMap(mark, cut(ip6(own), 64, 6), SETS.table6)],
    [eq(way, `@${SETS.ways6}`), ...pass],
    [...answers, eq(way, `@${SETS.answers6}`), ...pass],
    [counter, drop],
  ];
}

/**
 * The uplink, of IPv6. The kernel's look-up of a route back (fib) would take the uplink for any source that it has a route to beside a better one, so the ways
 * are in sets. Every packet from there is asked, of open connections too, for the way back: a route that goes takes effect at once.
 */
const OUT_CHAINS6: TableSpec['chains'] = {
  from_uplink6: {
    rules: [
      [match('!=', meta('oifname'), PORTS), counter, drop],
      ...wayRules('daddr', 'saddr', [eq(ct('direction'), REPLY)]),
    ],
  },
  to_uplink6: {
    rules: [[match('!=', meta('iifname'), PORTS), counter, drop], ...wayRules('saddr', 'daddr', [])],
  },
};

/**
 * Where many addresses become one, a port at random for each connection: two clients that have the same one, at once, would both keep it, and
 * the packet that is confirmed second is dropped (nf_conntrack_core.c: __nf_conntrack_confirm). Over UDP that is a loss.
 */
const ANY_PORT = { flags: 'fully-random' } as const;

/** ICMP, TCP, UDP: what a NAT gateway translates (VPC User Guide, "NAT gateway basics"). */
const NAT_PROTOCOLS = [1, 6, 17] as const;

/** A NAT gateway: passes on what of these comes by its one link, with its own address, and answers to that; nothing else, and nothing is for itself. */
export function natRuleset(ns: string, address: string, gateway: string): NftRow[] {
  return table({
    ns,
    family: 'inet',
    sets: [],
    chains: {
      input: { base: filter('input', 'drop'), rules: [[counter, drop]] },
      forward: {
        base: filter('forward', 'drop'),
        rules: [
          [established, accept],
          [notNew, counter, drop],
          ...NAT_PROTOCOLS.map((protocol) => [eq(meta('l4proto'), protocol), accept]),
          [counter, drop],
        ],
      },
      nat_out: { base: nat('postrouting', 100), rules: [[{ snat: { family: 'ip', addr: address, ...ANY_PORT } }]] },
      // Whoever finds a packet too large, the router takes that back from here as the gateway's only; and of itself it takes nothing back.
      errors: {
        base: filter('postrouting', 'accept', 200),
        rules: [
          [...TOO_LARGE, { mangle: { key: ip('saddr'), value: address } }],
          [isRelated, eq(ip('saddr'), gateway), { mangle: { key: ip('saddr'), value: address } }],
        ],
      },
    },
  });
}

/** A transit gateway: routes decide, and nothing is for itself. */
export function transitRuleset(ns: string): NftRow[] {
  return table({
    ns,
    family: 'inet',
    sets: [],
    chains: {
      input: { base: filter('input', 'drop'), rules: [[counter, drop]] },
      // Neither end of a TCP connection sends larger segments than the smaller of the two attachments takes.
      clamp: {
        base: filter('forward', 'accept'),
        rules: [
          [
            match('in', { payload: { protocol: 'tcp', field: 'flags' } }, SYN),
            { mangle: { key: MSS, value: { rt: { key: 'mtu' } } } },
          ],
        ],
      },
    },
  });
}

/** `ipv6`: some VPC has a way of IPv6 to the internet. */
export function edgeRuleset(ns: string, ipv6: boolean): NftRow[] {
  const pool = `@${SETS.pool}`;
  const pool6 = `@${SETS.pool6}`;
  const fromHost = [from(EDGE_HOST_LINK), to(ROUTER_LINKS)];
  const toHost = [from(ROUTER_LINKS), to(EDGE_HOST_LINK)];
  return table({
    ns,
    family: 'inet',
    sets: [
      { set: SETS.pool, type: ['ipv4_addr'], interval: true },
      ...(ipv6 ? [POOL6, { set: SETS.host6, type: ['ipv6_addr'] }] : []),
    ],
    chains: {
      input: { base: filter('input', 'drop'), rules: [[counter, drop]] },
      // No private source passes towards the host but in answer to the host itself, which lets in answers only.
      forward: {
        base: filter('forward', 'drop'),
        rules: [
          [...fromHost, eq(ip('daddr'), pool), accept],
          [...fromHost, eq(ip('saddr'), TRANSIT.host), accept],
          [...toHost, eq(ip('saddr'), pool), accept],
          [...toHost, eq(ip('daddr'), TRANSIT.host), accept],
          [from(ROUTER_LINKS), to(ROUTER_LINKS), eq(ip('saddr'), pool), eq(ip('daddr'), pool), accept],
          // Each router lets out only what is of it. By the host comes no address of the pool but its own: routers know other VPCs and the host by theirs.
          ...(ipv6
            ? [
                [...fromHost, match('!=', ip6('saddr'), pool6), eq(ip6('daddr'), pool6), accept],
                [...fromHost, eq(ip6('saddr'), `@${SETS.host6}`), eq(ip6('daddr'), pool6), accept],
                [...toHost, eq(ip6('saddr'), pool6), accept],
                [from(ROUTER_LINKS), to(ROUTER_LINKS), eq(ip6('saddr'), pool6), eq(ip6('daddr'), pool6), accept],
              ]
            : []),
          [counter, drop],
        ],
      },
      // A router takes from here only what it would answer here. Of who finds a packet too large that need not be so; of whom the packet was for, it is.
      errors: {
        base: filter('postrouting', 'accept', 200),
        rules: [
          [to(ROUTER_LINKS), ...TOO_LARGE, { mangle: { key: ip('saddr'), value: SPOKEN_OF } }],
          ...(ipv6
            ? [[to(ROUTER_LINKS), eq(icmp6('type'), TOO_LARGE6), { mangle: { key: ip6('saddr'), value: SPOKEN_OF6 } }]]
            : []),
        ],
      },
    },
  });
}

const POOL6 = { set: SETS.pool6, type: ['ipv6_addr'], interval: true } as const;

/** RTN_LOCAL. */
const LOCAL = eq({ fib: { result: 'type', flags: ['daddr'] } }, 2);
const SERVICE = concat(meta('l4proto'), dport);
const PUBLISHED: Expr = {
  dnat: {
    family: 'ip',
    addr: { map: { key: SERVICE, data: `@${SETS.published}` } },
    port: { map: { key: SERVICE, data: `@${SETS.publishedPort}` } },
  },
};

/** The host's one table: it speaks of our one link only, accepts nothing that others refuse, and drops only what is ours. */
export function hostRuleset(ns: string, ipv6: boolean): NftRow[] {
  const families = [
    { address: ip, pool: SETS.pool, masquerade: SETS.masquerade },
    ...(ipv6 ? [{ address: ip6, pool: SETS.pool6, masquerade: SETS.masquerade6 }] : []),
  ];
  const toUplink = eq(meta('oifname'), `@${SETS.uplink}`);
  const fromUplink = eq(meta('iifname'), `@${SETS.uplink}`);
  return table({
    ns,
    family: 'inet',
    sets: [
      { set: SETS.pool, type: ['ipv4_addr'], interval: true },
      { set: SETS.masquerade, type: ['ipv4_addr'], interval: true },
      { set: SETS.uplink, type: ['ifname'] },
      { set: SETS.published, type: ['inet_proto', 'inet_service'], data: 'ipv4_addr' },
      { set: SETS.publishedPort, type: ['inet_proto', 'inet_service'], data: 'inet_service' },
      ...(ipv6 ? [POOL6, { ...POOL6, set: SETS.masquerade6 }] : []),
    ],
    chains: {
      input: {
        base: filter('input', 'accept'),
        rules: [
          [from(HOST_LINK), established, accept],
          [from(HOST_LINK), counter, drop],
        ],
      },
      forward: {
        base: filter('forward', 'accept'),
        rules: [
          ...families.map(({ address, pool }) => [from(HOST_LINK), toUplink, eq(address('saddr'), `@${pool}`), accept]),
          [from(HOST_LINK), counter, drop],
          ...(ipv6 ? [[to(HOST_LINK), eq(ip6('saddr'), `@${SETS.pool6}`), counter, drop]] : []),
          [to(HOST_LINK), established, accept],
          ...families.map(({ address, pool }) => [to(HOST_LINK), fromUplink, eq(address('daddr'), `@${pool}`), accept]),
          [to(HOST_LINK), counter, drop],
        ],
      },
      publish: { base: nat('prerouting', -100), rules: [[eq(meta('iifname'), `@${SETS.uplink}`), LOCAL, PUBLISHED]] },
      // What the host itself asks of its own addresses; from the loopback's, nothing leaves.
      publish_own: {
        base: nat('output', -100),
        rules: [[match('!=', ip('daddr'), { prefix: { addr: '127.0.0.0', len: 8 } }), LOCAL, PUBLISHED]],
      },
      postrouting: {
        base: nat('postrouting', 100),
        rules: families.map(({ address, masquerade }) => [
          toUplink,
          eq(address('saddr'), `@${masquerade}`),
          { masquerade: ANY_PORT },
        ]),
      },
    },
  });
}
