import { canonicalText } from '../canonical.js';

/**
 * The one shape of state. What we want, what we recorded and what we observe are all sets of rows of these kinds; a diff
 * is a set difference over {@link rowKey}. A row says everything that is compared and nothing that the kernel chooses
 * (no ifindex, no handle), so that two hosts built from one model have equal rows.
 */

/**
 * A network namespace: `''` is the host's (the namespace vpcctl itself runs in); any other name is pinned as
 * `/run/netns/<name>`.
 */
export type NsName = string;

/** A namespace of ours, with its loopback up. */
export interface NetnsRow {
  readonly kind: 'netns';
  readonly ns: NsName;
}

/**
 * One end of a veth pair. Both ends are rows; each names the other. The pair is created by whichever row comes first.
 * IPv6 address generation is off on both.
 */
export interface VethRow {
  readonly kind: 'link';
  readonly ns: NsName;
  readonly name: string;
  readonly type: 'veth';
  readonly mac: string;
  readonly mtu: number;
  /** Owner mark, kept in the interface alias. */
  readonly alias: string;
  readonly peer: { readonly ns: NsName; readonly name: string };
  /**
   * A packet is taken from it only if the route back to its source leads to it; nobody on it is told of a better way, nor heard who calls himself a
   * neighbour unasked; who asks for any address of the namespace is answered (its own rp_filter is 1; send_redirects, arp_accept and arp_ignore are 0).
   * `loosely`: packets of any source are taken (its rp_filter is 0). Absent: as links are born in that namespace.
   */
  readonly strict?: true | 'loosely';
  /** ARP for others is answered on it, at once (its own proxy_arp is 1, proxy_delay 0). */
  readonly answers?: true;
  /** Bridge or the like that somebody made this end a port of. Only observed. */
  readonly master?: string;
  /** Set down by somebody. Only observed: what we make is up. */
  readonly down?: boolean;
  /** All that the other end may be, where the kernel's words and the marks leave more than one. Only observed, and settled by what was recorded. */
  readonly candidates?: readonly VethRow['peer'][];
}

/** The other end of a pair, where that is in no namespace that is looked at. */
export const NOBODY: VethRow['peer'] = { ns: '?', name: '?' };

/**
 * A link that nothing is sent by: what is led through it by another ({@link RedirectRow}) waits in its queue, and goes on where it came from. So what comes in by a
 * link can be made to wait, which a queue of that link cannot.
 */
export interface IfbRow {
  readonly kind: 'link';
  readonly ns: NsName;
  readonly name: string;
  readonly type: 'ifb';
  readonly mac: string;
  readonly mtu: number;
  readonly alias: string;
  readonly down?: boolean;
}

/** A link of a kind that we never make. Only observed. */
export interface OtherLinkRow {
  readonly kind: 'link';
  readonly ns: NsName;
  readonly name: string;
  readonly type: 'other';
  /** The kernel's word for its kind; `hardware` for what has none. */
  readonly driver: string;
  /** It is no link but another name (altname) of this one: nothing else in the namespace can have it. */
  readonly nameOf?: string;
  readonly mac: string;
  readonly mtu: number;
  readonly alias: string;
  readonly down?: boolean;
}

export type LinkRow = VethRow | IfbRow | OtherLinkRow;

/** A router's end of a workload's link: the one that answers there for all others. */
export function isPort(row: LinkRow): boolean {
  return row.type === 'veth' && row.answers === true;
}

/** The link that comes with every namespace, and is no row. */
export const LOOPBACK = 'lo';

/** An address of a link, or of the loopback: `10.0.1.1/24`. */
export interface AddrRow {
  readonly kind: 'addr';
  readonly ns: NsName;
  readonly link: string;
  readonly addr: string;
}

/** A route of ours (`rtm_protocol` 201). `dst` is a CIDR or, of IPv4, `default`; of IPv6 that is `::/0`. */
export interface RouteRow {
  readonly kind: 'route';
  readonly ns: NsName;
  /** 254 is main. */
  readonly table: number;
  readonly dst: string;
  readonly type: 'unicast' | 'unreachable' | 'blackhole';
  readonly via?: string;
  readonly link?: string;
  /** Preferred source address. */
  readonly src?: string;
  /** The next hop is on the link though no address says so. */
  readonly onlink?: boolean;
  /** Lower wins; absent: 0, in IPv6 1024. */
  readonly metric?: number;
  /** Of a route that is not ours: who made it (rtm_protocol). Only observed. */
  readonly protocol?: number;
}

/** A policy rule: packets from `from` are looked up in `table`. */
export interface RuleRow {
  readonly kind: 'rule';
  readonly ns: NsName;
  readonly priority: number;
  /** A block, or `all` of a family. */
  readonly from: string;
  /** Of a rule from `all` that is for IPv6; else IPv4. */
  readonly family?: 6;
  /** Only packets that come by this link. */
  readonly iif?: string;
  readonly table: number;
  /** Of a rule that is not ours: who made it. Only observed. */
  readonly protocol?: number;
}

/** A permanent neighbour entry. */
export interface NeighRow {
  readonly kind: 'neigh';
  readonly ns: NsName;
  readonly link: string;
  readonly ip: string;
  readonly mac: string;
}

/** Where a queue is: for what is sent by a link, or for what comes by it. */
interface QdiscPlace {
  readonly kind: 'qdisc';
  readonly ns: NsName;
  readonly link: string;
}

/** A bucket of tokens: so much a second passes, and at once no more than the bucket holds. What has to wait, waits, as far as there is room. */
export interface TbfRow extends QdiscPlace {
  readonly hook: 'root';
  readonly type: 'tbf';
  /** Bytes a second. */
  readonly rate: number;
  /** Bytes, a multiple of {@link BURST_UNIT}: the kernel keeps a time in its place, which is not exact enough for single bytes. */
  readonly burst: number;
  /** Bytes that may wait. */
  readonly limit: number;
}

/** What a bad line does to packets. */
export interface NetemRow extends QdiscPlace {
  readonly hook: 'root';
  readonly type: 'netem';
  /** µs. */
  readonly delay: number;
  /** µs by which the delay varies, up and down. */
  readonly jitter: number;
  /** How many packets of 4294967295 are lost. */
  readonly loss: number;
  /** Bytes a second; absent: no bound. */
  readonly rate?: number;
  /** Packets that may wait. */
  readonly limit: number;
}

/** All that comes by the link is led through another link of the namespace, an {@link IfbRow}. */
export interface RedirectRow extends QdiscPlace {
  readonly hook: 'ingress';
  readonly type: 'redirect';
  readonly to: string;
}

/** A queue that we did not make, or that somebody changed. Only observed; those that links are born with are not. */
export interface OtherQdiscRow extends QdiscPlace {
  readonly hook: 'root' | 'ingress';
  readonly type: 'other';
  /** The kernel's word for its kind. */
  readonly driver: string;
}

export type QdiscRow = TbfRow | NetemRow | RedirectRow | OtherQdiscRow;

/** @see TbfRow.burst */
export const BURST_UNIT = 1024;

/** A sysctl, by its path below /proc/sys: `net/ipv4/conf/all/proxy_arp`. Its deletion writes {@link SysctlRow.restore}, if that is known. */
export interface SysctlRow {
  readonly kind: 'sysctl';
  readonly ns: NsName;
  readonly key: string;
  readonly value: string;
  /** Absent from kernels without the module behind it (br_netfilter, nf_conntrack): then there is nothing to set. */
  readonly optional?: boolean;
  /** What is put back: for the host's own sysctls what was there before us, for one of a link that stays what a new link has. Not compared. */
  readonly restore?: string;
}

/** We make tables of the first only. */
export type NftFamily = 'inet' | 'bridge' | 'ip' | 'ip6' | 'arp' | 'netdev';

export interface NftTableRow {
  readonly kind: 'nft-table';
  readonly ns: NsName;
  readonly family: NftFamily;
  readonly table: string;
}

export interface NftChainRow {
  readonly kind: 'nft-chain';
  readonly ns: NsName;
  readonly family: NftFamily;
  readonly table: string;
  readonly chain: string;
  /** A base chain's hook; absent for a chain that is only jumped to. */
  readonly base?: {
    readonly type: 'filter' | 'nat';
    readonly hook: string;
    readonly prio: number;
    readonly policy: 'accept' | 'drop';
  };
}

/** A named set, or with `data` a map. Types are nft's: `ipv4_addr`, `mark`, `inet_proto`, `inet_service`, `ifname`. */
export interface NftSetRow {
  readonly kind: 'nft-set';
  readonly ns: NsName;
  readonly family: NftFamily;
  readonly table: string;
  readonly set: string;
  readonly type: readonly string[];
  readonly data?: string;
  /** Elements may be prefixes and ranges. */
  readonly interval?: boolean;
}

/** A rule of a static chain. `expr` is nft's JSON as `nft -j list` prints it. */
export interface NftRuleRow {
  readonly kind: 'nft-rule';
  readonly ns: NsName;
  readonly family: NftFamily;
  readonly table: string;
  readonly chain: string;
  /** Position in the chain, from 0. */
  readonly index: number;
  readonly expr: readonly unknown[];
}

/** One component of an element: number (mark, protocol, port), `a-b` range, address, prefix or name. */
export type NftValue = string | number;

export interface NftElementRow {
  readonly kind: 'nft-element';
  readonly ns: NsName;
  readonly family: NftFamily;
  readonly table: string;
  readonly set: string;
  readonly key: readonly NftValue[];
  readonly data?: NftValue;
  /** As its set's: nft writes such an element otherwise. */
  readonly interval?: boolean;
}

export type NftRow = NftTableRow | NftChainRow | NftSetRow | NftRuleRow | NftElementRow;

export type KernelObject = NetnsRow | LinkRow | AddrRow | RouteRow | RuleRow | NeighRow | QdiscRow | SysctlRow | NftRow;

/** Identity of a row: two rows with one key cannot both exist in a kernel. */
export function rowKey(row: KernelObject): string {
  switch (row.kind) {
    case 'netns':
      return `netns|${row.ns}`;
    case 'link':
      return `link|${row.ns}|${row.name}`;
    case 'addr':
      return `addr|${row.ns}|${row.link}|${row.addr}`;
    case 'route':
      return `route|${row.ns}|${row.table}|${row.dst}${row.metric === undefined ? '' : `|${row.metric}`}`;
    case 'rule':
      return `rule|${row.ns}|${row.priority}|${row.from}${row.iif === undefined ? '' : `|${row.iif}`}${row.family === undefined ? '' : `|${row.family}`}`;
    case 'neigh':
      return `neigh|${row.ns}|${row.link}|${row.ip}`;
    case 'qdisc':
      return `qdisc|${row.ns}|${row.link}|${row.hook}`;
    case 'sysctl':
      return `sysctl|${row.ns}|${row.key}`;
    case 'nft-table':
      return `nft-table|${row.ns}|${row.family}|${row.table}`;
    case 'nft-chain':
      return `nft-chain|${row.ns}|${row.family}|${row.table}|${row.chain}`;
    case 'nft-set':
      return `nft-set|${row.ns}|${row.family}|${row.table}|${row.set}`;
    case 'nft-rule':
      return `nft-rule|${row.ns}|${row.family}|${row.table}|${row.chain}|${String(row.index).padStart(3, '0')}`;
    case 'nft-element':
      return `nft-element|${row.ns}|${row.family}|${row.table}|${row.set}|${row.key.join(' . ')}`;
  }
}

/** Canonical text of a row (keys sorted, absent and undefined alike): equal text, equal state. */
export function rowText(row: KernelObject): string {
  if (row.kind !== 'sysctl') return canonicalText(row);
  const { restore: _recorded, optional: _wanted, ...state } = row;
  return canonicalText(state);
}

/** The routing table that packets are looked up in when no rule of ours says otherwise. */
export const MAIN_TABLE = 254;

/** `rtm_protocol` of every route and rule we make. */
export const ROUTE_PROTOCOL = 201;

/** How the alias of every link of ours begins; what it is for follows. */
export const OWNER_MARK = 'vpcctl:';

/** The nft table we own, in every family and namespace. */
export const NFT_TABLE = 'vpcctl';

/** Where namespaces are pinned: iproute2's directory, so that its users find them. */
export const NETNS_DIR = '/run/netns';
