/** What was read from namespaces → rows, as the lowering would have written them. Pure. */
import type { AddrInfo } from '../netlink/addr.js';
import type { LinkInfo } from '../netlink/link.js';
import type { NeighInfo } from '../netlink/neigh.js';
import type { ArpInfo } from '../netlink/neightbl.js';
import type { FilterInfo, QdiscInfo } from '../netlink/qdisc.js';
import type { RouteInfo } from '../netlink/route.js';
import type { RuleInfo } from '../netlink/rule.js';
import {
  type KernelObject,
  type LinkRow,
  NFT_TABLE,
  NOBODY,
  OWNER_MARK,
  ROUTE_PROTOCOL,
  type VethRow,
} from '../objects/kernel-object.js';
import { strictnessOf } from './relink.js';

export interface NamespaceDump {
  /** `''` is the host's: only what is marked ours is read from it. */
  readonly ns: string;
  readonly links: readonly LinkInfo[];
  readonly addrs: readonly AddrInfo[];
  readonly routes: readonly RouteInfo[];
  readonly rules: readonly RuleInfo[];
  readonly neighs: readonly NeighInfo[];
  readonly arp: readonly ArpInfo[];
  /** Absent: not looked at. */
  readonly qdiscs?: readonly QdiscInfo[];
  /** Of the links that have anything where packets come in, by index. */
  readonly filters?: ReadonlyMap<number, readonly FilterInfo[]>;
  readonly sysctls: ReadonlyMap<string, string>;
  readonly firewall: readonly KernelObject[];
}

/** Every sysctl that lowering may set in a namespace of ours. */
export const SYSCTL_KEYS: readonly string[] = [
  'net/ipv4/ip_forward',
  'net/ipv6/conf/all/forwarding',
  'net/ipv4/conf/all/send_redirects',
  'net/ipv4/conf/all/rp_filter',
  'net/ipv4/conf/all/arp_ignore',
  'net/ipv4/conf/all/arp_accept',
  'net/netfilter/nf_conntrack_tcp_timeout_established',
  'net/netfilter/nf_conntrack_udp_timeout',
  'net/netfilter/nf_conntrack_udp_timeout_stream',
];

/** IP6_RT_PRIO_USER: of a route that was given none. */
const METRIC6 = 1024;

/** RT_SCOPE_LINK */
const LINK_SCOPE = 253;

/** RTPROT_KERNEL: routes that follow from addresses, rules of every new namespace. */
const BY_KERNEL = 2;

/** Rows of all the namespaces together: a veth's peer is found among them. */
export function observedRows(dumps: readonly NamespaceDump[]): KernelObject[] {
  const ends: Map<string, End[]> = new Map();
  for (const { ns, links } of dumps) {
    for (const link of links) {
      if (link.kind !== 'veth') continue;
      const key = endKey(link.peerIndex, link.index);
      const known = ends.get(key);
      if (known === undefined) ends.set(key, [{ ns, link }]);
      else known.push({ ns, link });
    }
  }
  return dumps.flatMap((dump) => namespaceRows(dump, ends));
}

/** Where a veth's ends are, by what the other end says of them. */
type Ends = ReadonlyMap<string, readonly End[]>;

interface End {
  readonly ns: string;
  readonly link: LinkInfo;
}

/** Names the end of a pair whose own index is `index` and whose peer's is `peerIndex`. */
function endKey(peerIndex: number | undefined, index: number): string {
  return `${peerIndex} ${index}`;
}

/** The ends that name this one's index as their peer's, and whose own index it names; and as both say, in one namespace or in two. */
function fitting(own: End, ends: Ends): readonly End[] {
  const { index, peerIndex } = own.link;
  return (ends.get(endKey(index, peerIndex ?? 0)) ?? []).filter((end) => {
    if (isSame(end, own)) return false;
    const together = end.ns === own.ns;
    return [end, own].every(({ link }) => (link.peerNsid === undefined) === together);
  });
}

/** Of these, those that share its mark. Indices of different namespaces agree by chance; who is root in one chooses indices and mark. */
function candidates(own: End, ends: Ends): readonly End[] {
  return fitting(own, ends).filter(({ link }) => link.alias === own.link.alias);
}

/** The other end; where somebody changed a mark, the only end that has no other peer of its own mark. */
function likeliest(own: End, ends: Ends): End | undefined {
  const [marked] = candidates(own, ends);
  if (marked !== undefined) return marked;
  const single = fitting(own, ends).filter((end) => candidates(end, ends).length === 0);
  return single.length === 1 ? single[0] : undefined;
}

function peerOf(own: End, ends: Ends): Pick<VethRow, 'peer' | 'candidates'> {
  const found = candidates(own, ends);
  const doubtful = found.length > 1 || found.some((end) => candidates(end, ends).length > 1);
  const chosen = likeliest(own, ends);
  // Each is to be the other's.
  const back = chosen === undefined ? undefined : likeliest(chosen, ends);
  const peer = chosen === undefined || back === undefined || !isSame(back, own) ? NOBODY : placeOf(chosen);
  return { peer, ...(doubtful ? { candidates: found.map(placeOf) } : {}) };
}

function placeOf({ ns, link }: End): VethRow['peer'] {
  return { ns, name: link.name };
}

function isSame(a: End, b: End): boolean {
  return a.ns === b.ns && a.link.index === b.link.index;
}

function namespaceRows(dump: NamespaceDump, ends: Ends): KernelObject[] {
  const { ns } = dump;
  const host = ns === '';
  const names = new Map(dump.links.map((link) => [link.index, link.name]));
  const ownLinks = dump.links.filter(
    (link) => !link.loopback && (!host || link.alias?.startsWith(OWNER_MARK) === true),
  );
  const delays = new Map(dump.arp.map(({ index, proxyDelay }) => [index, proxyDelay]));
  const loopback = dump.links.find((link) => link.loopback)?.index;
  const ownIndices = new Set(ownLinks.map((link) => link.index));
  const rows: KernelObject[] = host ? [] : [{ kind: 'netns', ns }];
  for (const link of ownLinks) {
    // Modules of tunnels put a link of theirs (tunl0, sit0) into every new namespace, down.
    if (isMade(link) || link.up) rows.push(linkRow(ns, delays, link, names, ends));
  }
  if (!host) rows.push(...dump.links.flatMap((link) => altNameRows(ns, link)));
  for (const addr of dump.addrs) {
    const link = names.get(addr.index);
    // Those of a link itself the kernel makes; we make none.
    if (link === undefined || addr.scope === LINK_SCOPE) continue;
    // 127.0.0.1 and ::1 come with the loopback.
    const added = !host && addr.index === loopback && !/^(?:127\.|::1\/)/.test(addr.addr);
    if (added || ownIndices.has(addr.index)) rows.push({ kind: 'addr', ns, link, addr: addr.addr });
  }
  for (const route of dump.routes) {
    // On the host a protocol number proves nothing: others may use it too.
    if (host && (route.index === undefined || !ownIndices.has(route.index))) continue;
    if (route.protocol !== BY_KERNEL) rows.push(routeRow(ns, route, names));
  }
  for (const { family, priority, from, iif, table, protocol } of dump.rules) {
    if (host || protocol === BY_KERNEL) continue;
    rows.push({
      kind: 'rule',
      ns,
      priority,
      from,
      ...(family === 6 && from === 'all' ? { family } : {}),
      ...(iif === undefined ? {} : { iif }),
      table,
      ...madeBy(protocol),
    });
  }
  for (const neigh of dump.neighs) {
    const link = names.get(neigh.index);
    if (neigh.state !== 'permanent' || link === undefined || neigh.mac === undefined) continue;
    if (ownIndices.has(neigh.index)) rows.push({ kind: 'neigh', ns, link, ip: neigh.ip, mac: neigh.mac });
  }
  for (const qdisc of dump.qdiscs ?? []) {
    const link = names.get(qdisc.index);
    if (link !== undefined && ownIndices.has(qdisc.index))
      rows.push(qdiscRow({ kind: 'qdisc', ns, link }, qdisc, dump, names));
  }
  for (const [key, value] of dump.sysctls) rows.push({ kind: 'sysctl', ns, key, value });
  return [...rows, ...dump.firewall.filter((row) => !host || ('table' in row && row.table === NFT_TABLE))];
}

function qdiscRow(
  place: { readonly kind: 'qdisc'; readonly ns: string; readonly link: string },
  { index, hook, kind, params }: QdiscInfo,
  { filters }: NamespaceDump,
  names: ReadonlyMap<number, string>,
): KernelObject {
  if (hook === 'root' && params !== undefined) return { ...place, hook, ...params };
  const [first, ...more] = filters?.get(index) ?? [];
  const to = first?.redirect === undefined || more.length > 0 ? undefined : names.get(first.redirect);
  if (hook === 'ingress' && kind === 'ingress' && to !== undefined) return { ...place, hook, type: 'redirect', to };
  return { ...place, hook, type: 'other', driver: kind };
}

/** A link's altnames stand in the way of links of these names. */
function altNameRows(ns: string, { name: nameOf, kind = 'hardware', mtu, altNames = [] }: LinkInfo): LinkRow[] {
  return altNames.map((name) => {
    return { kind: 'link', ns, name, type: 'other', driver: kind, nameOf, mac: '', mtu, alias: '' };
  });
}

function madeBy(protocol: number): { readonly protocol?: number } {
  return protocol === ROUTE_PROTOCOL ? {} : { protocol };
}

/** Made by somebody, never by a module. */
function isMade({ kind }: LinkInfo): boolean {
  return kind === 'veth' || kind === 'bridge' || kind === 'ifb';
}

function linkRow(
  ns: string,
  delays: ReadonlyMap<number, number>,
  link: LinkInfo,
  names: ReadonlyMap<number, string>,
  ends: Ends,
): LinkRow {
  const common = {
    kind: 'link',
    ns,
    name: link.name,
    mac: link.mac ?? '',
    mtu: link.mtu,
    alias: link.alias ?? '',
    ...(link.up ? {} : { down: true }),
  } as const;
  if (link.kind === 'ifb') return { ...common, type: 'ifb' };
  if (link.kind !== 'veth') return { ...common, type: 'other', driver: link.kind ?? 'hardware' };
  // On the host they are the host's.
  const conf = (ns === '' ? undefined : link.conf) ?? {};
  const master = link.masterIndex === undefined ? undefined : names.get(link.masterIndex);
  return {
    ...common,
    type: 'veth',
    ...peerOf({ ns, link }, ends),
    ...(master === undefined ? {} : { master }),
    ...strictnessOf(conf),
    ...(conf.proxyArp === 1 && delays.get(link.index) === 0 ? { answers: true } : {}),
  };
}

function routeRow(ns: string, route: RouteInfo, names: ReadonlyMap<number, string>): KernelObject {
  const link = route.index === undefined ? undefined : names.get(route.index);
  const type = route.type === 'unreachable' || route.type === 'blackhole' ? route.type : 'unicast';
  return {
    kind: 'route',
    ns,
    table: route.table,
    dst: route.family === 6 && route.dst === 'default' ? '::/0' : route.dst,
    type,
    ...(route.via === undefined ? {} : { via: route.via }),
    ...(link === undefined || type !== 'unicast' ? {} : { link }),
    ...(route.src === undefined ? {} : { src: route.src }),
    ...(route.onlink ? { onlink: true } : {}),
    ...(route.metric === (route.family === 4 ? 0 : METRIC6) ? {} : { metric: route.metric }),
    ...madeBy(route.protocol),
  };
}
