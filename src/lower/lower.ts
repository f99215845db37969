/**
 * Model → kernel objects: the only place that speaks both languages. Each resource lowers to rows of its own, from what it says and
 * what it refers to; the rows of a model are the union over its resources, and no two resources have a row in common.
 */
import { assertNever } from '../errors.js';
import { gateway6Of, hasWayOut6 } from '../model/ipv6.js';
import { blocksOf, peerBlocks, peeredCidrs, routeTablesOf } from '../model/lookup.js';
import { routesByBlock } from '../model/prefix-lists.js';
import { getKind, has, type Reader } from '../model/reader.js';
import {
  describe,
  type Edge,
  type Instance,
  type InternetGateway,
  idOf,
  ids,
  MAIN_ROUTE_TABLE,
  type NatGateway,
  type Peering,
  RESOLVER_ADDRESS,
  type Resource,
  type RouteTable,
  type RouteTarget,
  resolverOf,
  type Subnet,
  type TransitAttachment,
  type TransitGateway,
  type TransitRouteTable,
  tableOf,
  type Vpc,
} from '../model/resources.js';
import { ANYWHERE, isBlackhole } from '../model/routing.js';
import { attachmentsOf, isTransitBlackhole, ownBlocks, propagated, transitTablesOf } from '../model/transit.js';
import {
  ANY_CIDR6,
  type AnyCidr,
  familyOf,
  firstAddress,
  hostCidr,
  type Ip,
  type Ipv4,
  isCidr6,
  isIp6,
  ofFamily,
  prefixLength,
  rangeOf,
} from '../net/cidr.js';
import { LEAST_MTU6 } from '../net/ip6.js';
import {
  type KernelObject,
  LOOPBACK,
  MAIN_TABLE,
  NFT_TABLE,
  type NftElementRow,
  type NftFamily,
  type NftValue,
  type RouteRow,
  type RuleRow,
  type SysctlRow,
  type VethRow,
} from '../objects/kernel-object.js';
import { lowerNetworkAcl } from './acl.js';
import { aclMark, edgeRuleset, hostRuleset, natRuleset, routerRuleset, SETS, transitRuleset } from './firewall.js';
import {
  ATTACHMENT_RULE_PRIORITY,
  alias,
  attachmentLink,
  blockValue,
  EDGE_HOST_LINK,
  EDGE_NS,
  HOST_LINK,
  LAST_METRIC,
  LAST_METRIC6,
  MAC,
  natNs,
  peerLink,
  portLink,
  routerLink,
  routerNs,
  SUBNET_RULE_PRIORITY,
  TRANSIT,
  TRANSIT_OWN_RULE_PRIORITY,
  TRANSIT_OWN_TABLE,
  TRANSIT6,
  transitLink,
  transitNs,
  UPLINK,
  VPC_RULE_PRIORITY,
  WORKLOAD_LINK,
  workloadNs,
} from './names.js';
import { lowerProfile } from './profile.js';
import { lowerShaping } from './shape.js';
import { waysOut6 } from './ways.js';

const HOST_NS = '';

/** The rows of one resource. `reader` must hold what it refers to. */
export function lower(reader: Reader, resource: Resource): KernelObject[] {
  switch (resource.kind) {
    case 'installation':
    case 'group':
    case 'elastic-ip':
    case 'prefix-list':
    case 'private-zone':
    case 'egress-only-gateway':
      return [];
    case 'transit-gateway':
      return lowerTransitGateway(reader, resource);
    case 'transit-attachment':
      return lowerAttachment(reader, resource);
    case 'transit-route-table':
      return lowerTransitTable(reader, resource);
    case 'edge':
      return lowerEdge(resource);
    case 'vpc':
      return lowerVpc(reader, resource);
    case 'igw':
      return lowerGateway(resource);
    case 'subnet':
      return lowerSubnet(reader, resource);
    case 'instance':
      return lowerInstance(reader, resource);
    case 'profile':
      return lowerProfile(reader, resource);
    case 'route-table':
      return lowerRouteTable(reader, resource);
    case 'network-acl':
      return lowerNetworkAcl(reader, resource);
    case 'nat-gateway':
      return lowerNatGateway(reader, resource);
    case 'peering':
      return lowerPeering(reader, resource);
    default:
      return assertNever(resource);
  }
}

/** The namespaces whose contents are ours alone, for a resource that owns some. */
export function namespacesOf(resource: Resource): string[] {
  switch (resource.kind) {
    case 'edge':
      return [EDGE_NS];
    case 'vpc':
      return [routerNs(resource.name)];
    case 'instance':
      return [workloadNs(resource.vpc, resource.name)];
    case 'nat-gateway':
      return [natNs(resource.vpc, resource.name)];
    case 'transit-gateway':
      return [transitNs(resource.name)];
    default:
      return [];
  }
}

function element(
  ns: string,
  set: string,
  key: readonly NftValue[],
  data?: NftValue,
  family: NftFamily = 'inet',
): NftElementRow {
  return { kind: 'nft-element', ns, family, table: NFT_TABLE, set, key, ...(data === undefined ? {} : { data }) };
}

/** An element of a set of blocks. */
function blockElement(ns: string, set: string, key: readonly NftValue[]): NftElementRow {
  return { ...element(ns, set, key), interval: true };
}

function sysctl(ns: string, key: string, value: string | number, optional = false): SysctlRow {
  return { kind: 'sysctl', ns, key: `net/${key}`, value: String(value), ...(optional ? { optional } : {}) };
}

interface End extends Pick<VethRow, 'strict'> {
  readonly ns: string;
  readonly name: string;
  readonly mac: string;
}

/**
 * Between the host, the edge, routers and transit gateways. What comes from another router had its source checked there, and may be answered by another way
 * than it came: of a link without addresses, rp_filter 2 takes no more than 1 (fib_validate_source: no_addr), so it is 0.
 */
function vethPair(a: End, b: End, mtu: number, mark: string): [KernelObject, KernelObject] {
  const row = (own: End, other: End): KernelObject => ({
    kind: 'link',
    ns: own.ns,
    name: own.name,
    mac: own.mac,
    type: 'veth',
    mtu,
    alias: alias(mark),
    peer: { ns: other.ns, name: other.name },
    ...(own.strict === undefined ? {} : { strict: own.strict }),
  });
  return [row(a, b), row(b, a)];
}

/**
 * A router forwards. What else it is to be told for all links is what would count against its links' own: the kernel goes by the greater of the two
 * (rp_filter, arp_ignore, arp_accept) or by either (send_redirects), and a new namespace has the host's.
 */
function routerSysctls(ns: string): KernelObject[] {
  return [
    sysctl(ns, 'ipv4/ip_forward', 1),
    sysctl(ns, 'ipv4/conf/all/rp_filter', 0),
    sysctl(ns, 'ipv4/conf/all/send_redirects', 0),
    // Gateways' addresses are the loopback's: also they are answered for on every link.
    sysctl(ns, 'ipv4/conf/all/arp_ignore', 0),
    sysctl(ns, 'ipv4/conf/all/arp_accept', 0),
  ];
}

/** Of the blocks with a meaning of their own, those that the kernel would forward: not loopback and multicast. */
const NOT_FORWARDED = ['0.0.0.0/8', '169.254.0.0/16', '240.0.0.0/4'] as const;

function lowerEdge(edge: Edge): KernelObject[] {
  const pool = (ns: string) => blockElement(ns, SETS.pool, [edge.publicPool]);
  return [
    { kind: 'netns', ns: EDGE_NS },
    ...routerSysctls(EDGE_NS),
    ...vethPair(
      { ns: HOST_NS, name: HOST_LINK, mac: MAC.host },
      { ns: EDGE_NS, name: EDGE_HOST_LINK, mac: MAC.edge, strict: true },
      edge.mtu,
      'edge',
    ),
    { kind: 'addr', ns: HOST_NS, link: HOST_LINK, addr: `${TRANSIT.host}/${TRANSIT.prefix}` },
    { kind: 'addr', ns: EDGE_NS, link: EDGE_HOST_LINK, addr: `${TRANSIT.edge}/${TRANSIT.prefix}` },
    {
      kind: 'route',
      ns: EDGE_NS,
      table: MAIN_TABLE,
      dst: 'default',
      type: 'unicast',
      via: TRANSIT.host,
      link: EDGE_HOST_LINK,
    },
    { kind: 'route', ns: EDGE_NS, table: MAIN_TABLE, dst: edge.publicPool, type: 'unreachable' },
    // What is no address of another network leaves by no default route (VPC User Guide, "Subnet route tables"): the host might have services there, as clouds do.
    ...NOT_FORWARDED.map(
      (dst): KernelObject => ({ kind: 'route', ns: EDGE_NS, table: MAIN_TABLE, dst, type: 'blackhole' }),
    ),
    {
      kind: 'route',
      ns: HOST_NS,
      table: MAIN_TABLE,
      dst: edge.publicPool,
      type: 'unicast',
      via: TRANSIT.edge,
      link: HOST_LINK,
      src: TRANSIT.host,
    },
    // Forwarding on the two links that packets of ours enter by, and no others (kernel: IN_DEV_FORWARD of the input device).
    sysctl(HOST_NS, `ipv4/conf/${HOST_LINK}/forwarding`, 1),
    ...(edge.uplink === undefined ? [] : [sysctl(HOST_NS, `ipv4/conf/${edge.uplink}/forwarding`, 1)]),
    ...edgeRuleset(EDGE_NS, edge.ipv6 !== undefined),
    ...hostRuleset(HOST_NS, edge.ipv6 !== undefined),
    ...lowerEdge6(edge),
    pool(EDGE_NS),
    pool(HOST_NS),
    ...(edge.poolRouted ? [] : [blockElement(HOST_NS, SETS.masquerade, [edge.publicPool])]),
    ...(edge.uplink === undefined ? [] : [element(HOST_NS, SETS.uplink, [edge.uplink])]),
  ];
}

/**
 * The border's part for IPv6. Of the host only the two links that packets of ours come in by forward (kernel 6.17: force_forwarding of the input device), so
 * it stays a host that listens to advertisements. Where it is a router anyway, older kernels do too.
 */
function lowerEdge6({ ipv6, uplink }: Edge): KernelObject[] {
  if (ipv6 === undefined) return [];
  const { pool, host, routed } = ipv6;
  const hop = { type: 'unicast', via: TRANSIT6.host, link: EDGE_HOST_LINK } as const;
  return [
    forwarding6(EDGE_NS),
    { kind: 'addr', ns: HOST_NS, link: HOST_LINK, addr: hostCidr(host) },
    { kind: 'neigh', ns: HOST_NS, link: HOST_LINK, ip: TRANSIT6.edge, mac: MAC.edge },
    { kind: 'neigh', ns: EDGE_NS, link: EDGE_HOST_LINK, ip: TRANSIT6.host, mac: MAC.host },
    { kind: 'route', ns: EDGE_NS, table: MAIN_TABLE, dst: ANY_CIDR6, ...hop },
    { kind: 'route', ns: EDGE_NS, table: MAIN_TABLE, dst: hostCidr(host), ...hop },
    nowhere6(EDGE_NS, pool),
    // Without a preferred source: that would have to be there when the route is undone. The kernel takes the link's own address first (RFC 6724, rule 5).
    { kind: 'route', ns: HOST_NS, table: MAIN_TABLE, dst: pool, type: 'unicast', via: TRANSIT6.edge, link: HOST_LINK },
    ...[HOST_LINK, ...(uplink === undefined ? [] : [uplink])].map((link) =>
      sysctl(HOST_NS, `ipv6/conf/${link}/force_forwarding`, 1, true),
    ),
    blockElement(EDGE_NS, SETS.pool6, [pool]),
    element(EDGE_NS, SETS.host6, [host]),
    blockElement(HOST_NS, SETS.pool6, [pool]),
    ...(routed ? [] : [blockElement(HOST_NS, SETS.masquerade6, [pool])]),
  ];
}

/**
 * All links of a namespace pass on IPv6, later ones too, and then the kernel takes no advertisement and no redirect by any (accept_ra 1, rt6_do_redirect). It
 * sends redirects from a link-local address only, which no link of ours has.
 */
function forwarding6(ns: string): KernelObject {
  return { kind: 'sysctl', ns, key: 'net/ipv6/conf/all/forwarding', value: '1', restore: '0' };
}

function nowhere6(ns: string, dst: string, table: number = MAIN_TABLE): KernelObject {
  return { kind: 'route', ns, table, dst, type: 'unreachable', metric: LAST_METRIC6 };
}

/** Of what leads somewhere, IPv6 only where the VPC has that. */
const spokenIn =
  (reader: Reader, vpc: string) =>
  (destination: AnyCidr): boolean =>
    !isCidr6(destination) || isDualVpc(reader, vpc);

const isDualVpc = (reader: Reader, vpc: string): boolean =>
  getKind(reader, 'vpc', ids.vpc(vpc))?.ipv6Cidr !== undefined;

function lowerVpc(reader: Reader, vpc: Vpc): KernelObject[] {
  const ns = routerNs(vpc.name);
  const isDual = vpc.ipv6Cidr !== undefined;
  return [
    { kind: 'netns', ns },
    ...routerSysctls(ns),
    // The cloud's timeouts (EC2 API, ConnectionTrackingConfiguration), in seconds.
    sysctl(ns, 'netfilter/nf_conntrack_tcp_timeout_established', 432_000, true),
    sysctl(ns, 'netfilter/nf_conntrack_udp_timeout', 30, true),
    sysctl(ns, 'netfilter/nf_conntrack_udp_timeout_stream', 180, true),
    // What no instance has of the VPC's own blocks is nowhere: neither behind the uplink nor a source that comes from there.
    ...vpc.cidrs.map(
      (dst): KernelObject => ({ kind: 'route', ns, table: MAIN_TABLE, dst, type: 'unreachable', metric: LAST_METRIC }),
    ),
    ...routerRuleset(ns, {
      ipv6: isDual,
      out6: hasWayOut6(reader, vpc.name),
      acls: has(reader, `bordered:${vpc.name}`),
      services: vpc.dns !== undefined,
    }),
    ...(vpc.dns === undefined ? [] : lowerResolver(ns, resolverOf(vpc))),
    ...(isDual ? [forwarding6(ns), nowhere6(ns, vpc.ipv6Cidr)] : []),
  ];
}

/** The addresses that a VPC's resolver has, and that it is asked by; who answers there is no row (src/resolver). */
function lowerResolver(ns: string, address: Ipv4): KernelObject[] {
  return [address, RESOLVER_ADDRESS].flatMap((ip): KernelObject[] => [
    { kind: 'addr', ns, link: LOOPBACK, addr: hostCidr(ip) },
    element(ns, SETS.services, [ip, UDP, DNS_PORT]),
    element(ns, SETS.services, [ip, TCP, DNS_PORT]),
  ]);
}

const TCP = 6;
const UDP = 17;
const DNS_PORT = 53;

function lowerGateway({ vpc, mtu, ipv6Cidr }: InternetGateway): KernelObject[] {
  const ns = routerNs(vpc);
  const link = routerLink(vpc);
  return [
    ...vethPair(
      { ns, name: UPLINK, mac: MAC.uplink, strict: true },
      { ns: EDGE_NS, name: link, mac: MAC.edgeToRouter, strict: true },
      mtu,
      `igw/${vpc}`,
    ),
    { kind: 'neigh', ns, link: UPLINK, ip: TRANSIT.edge, mac: MAC.edgeToRouter },
    { kind: 'neigh', ns: EDGE_NS, link, ip: TRANSIT.router, mac: MAC.uplink },
    ...(ipv6Cidr === undefined
      ? []
      : ([
          { kind: 'neigh', ns, link: UPLINK, ip: TRANSIT6.edge, mac: MAC.edgeToRouter },
          { kind: 'neigh', ns: EDGE_NS, link, ip: TRANSIT6.router, mac: MAC.uplink },
          { kind: 'route', ns: EDGE_NS, table: MAIN_TABLE, dst: ipv6Cidr, ...hopBy(link, TRANSIT6.router) },
        ] as const)),
  ];
}

/** A route in the edge to something behind a VPC's router. */
function edgeRoute(vpc: string, dst: string): KernelObject {
  return {
    kind: 'route',
    ns: EDGE_NS,
    table: MAIN_TABLE,
    dst,
    type: 'unicast',
    via: TRANSIT.router,
    link: routerLink(vpc),
    onlink: true,
  };
}

function lowerSubnet(reader: Reader, subnet: Subnet): KernelObject[] {
  const ns = routerNs(subnet.vpc);
  const rows: KernelObject[] = [{ kind: 'addr', ns, link: LOOPBACK, addr: hostCidr(subnet.gateway) }];
  const gateway6 = gateway6Of(subnet);
  if (gateway6 !== undefined) rows.push({ kind: 'addr', ns, link: LOOPBACK, addr: hostCidr(gateway6) });
  const table = getKind(reader, 'route-table', ids.routeTable(subnet.vpc, tableOf(subnet)));
  if (table === undefined) throw new Error(`subnet ${subnet.vpc}/${subnet.name} has no route table`);
  if (subnet.ipv6Cidr !== undefined && hasWayOut6(reader, subnet.vpc)) {
    rows.push(element(ns, SETS.table6, [firstAddress(subnet.ipv6Cidr)], table.number));
  }
  for (const from of table.name === MAIN_ROUTE_TABLE ? [] : blocksOf({ cidrs: [subnet.cidr], ...subnet })) {
    rows.push({ kind: 'rule', ns, priority: SUBNET_RULE_PRIORITY, from, table: table.number });
  }
  rows.push(...lowerBorder(reader, subnet));
  if (subnet.hostRoute) {
    rows.push(edgeRoute(subnet.vpc, subnet.cidr), {
      kind: 'route',
      ns: HOST_NS,
      table: MAIN_TABLE,
      dst: subnet.cidr,
      type: 'unicast',
      via: TRANSIT.edge,
      link: HOST_LINK,
      src: TRANSIT.host,
    });
  }
  return rows;
}

/** The number of a subnet in its VPC's router: no two blocks of a VPC begin alike. */
const subnetNumber = ({ cidr }: Subnet): number => rangeOf(cidr).first;

/** Which lists judge what crosses the subnet's border; nothing where there is no network ACL. */
function lowerBorder(reader: Reader, subnet: Subnet): KernelObject[] {
  const { vpc, networkAcl } = subnet;
  if (networkAcl === undefined) return [];
  const acl = getKind(reader, 'network-acl', ids.networkAcl(vpc, networkAcl));
  if (acl === undefined) throw new Error(`subnet ${vpc}/${subnet.name} has no network acl`);
  const list = (set: string, direction: 'ingress' | 'egress') =>
    element(routerNs(vpc), set, [subnetNumber(subnet)], aclMark(acl.number, direction));
  return [list(SETS.aclIngress, 'ingress'), list(SETS.aclEgress, 'egress')];
}

/** That a port is in a subnet with a network ACL: looked up by the port alone, and held against the other port of the packet. */
function lowerInside(router: string, port: string, subnet: Subnet): KernelObject[] {
  if (subnet.networkAcl === undefined) return [];
  const number = subnetNumber(subnet);
  return [element(router, SETS.aclPort, [port], number), element(router, SETS.aclInside, [port, number])];
}

function lowerInstance(reader: Reader, instance: Instance): KernelObject[] {
  const { publicIp, publish = [] } = instance;
  return [
    ...lowerEni(reader, instance, workloadNs(instance.vpc, instance.name), {}),
    ...lowerIpv6(instance),
    ...lowerShaping(reader, instance),
    ...(instance.secondaryIps ?? []).flatMap((address) => lowerAddress(instance, address)),
    ...publish.flatMap(({ protocol, hostPort, port }) =>
      publicIp === undefined
        ? []
        : [
            element(HOST_NS, SETS.published, [protocol, hostPort], publicIp),
            element(HOST_NS, SETS.publishedPort, [protocol, hostPort], port),
          ],
    ),
  ];
}

/** Its IPv6 address, on the link that {@link lowerEni} makes. Nobody on it asks for a neighbour: both sides know theirs. */
function lowerIpv6(instance: Instance): KernelObject[] {
  const { ipv6 } = instance;
  if (ipv6 === undefined) return [];
  const ns = workloadNs(instance.vpc, instance.name);
  return [
    { kind: 'neigh', ns, link: WORKLOAD_LINK, ip: TRANSIT6.port, mac: MAC.port },
    {
      kind: 'route',
      ns,
      table: MAIN_TABLE,
      dst: ANY_CIDR6,
      type: 'unicast',
      via: TRANSIT6.port,
      link: WORKLOAD_LINK,
    },
    ...lowerAddress(instance, ipv6),
  ];
}

/** One address more on the link that {@link lowerEni} makes: of no block, so that of IPv4 the primary one remains the source of what names none. */
function lowerAddress({ vpc, name, ip, profile }: Instance, address: Ip): KernelObject[] {
  const [router, port] = [routerNs(vpc), portLink(ip)];
  return [
    { kind: 'addr', ns: workloadNs(vpc, name), link: WORKLOAD_LINK, addr: hostCidr(address) },
    { kind: 'neigh', ns: router, link: port, ip: address, mac: MAC.workload(ip) },
    { kind: 'route', ns: router, table: MAIN_TABLE, dst: hostCidr(address), type: 'unicast', link: port },
    element(router, isIp6(address) ? SETS.profile6 : SETS.profile, [address], profile),
  ];
}

/**
 * A namespace of its own that packets are routed to by its port: they come back with its address. So the router sees two connections, each with
 * addresses that the checks of sources know.
 */
function lowerNatGateway(reader: Reader, nat: NatGateway): KernelObject[] {
  const ns = natNs(nat.vpc, nat.name);
  const router = routerNs(nat.vpc);
  return [
    ...lowerEni(reader, nat, ns, { strict: true }),
    ...routerSysctls(ns),
    // How long a connection may be idle (VPC User Guide, "Compare NAT gateways and NAT instances"), in seconds.
    ...['tcp_timeout_established', 'udp_timeout', 'udp_timeout_stream'].map((key) =>
      sysctl(ns, `netfilter/nf_conntrack_${key}`, NAT_IDLE_SECONDS, true),
    ),
    ...natRuleset(ns, nat.ip, homeOf(reader, nat).gateway),
    element(router, SETS.through, [portLink(nat.ip)]),
  ];
}

const NAT_IDLE_SECONDS = 350;

function homeOf(reader: Reader, owner: Instance | NatGateway): Subnet {
  const subnet = getKind(reader, 'subnet', ids.subnet(owner.vpc, owner.subnet));
  if (subnet === undefined) throw new Error(`${describe(owner)} has no subnet`);
  return subnet;
}

/** A namespace with one address of a subnet: its link, the router's port for it, and what is known of it there. */
function lowerEni(
  reader: Reader,
  owner: Instance | NatGateway,
  ns: string,
  more: { readonly strict?: true },
): KernelObject[] {
  const subnet = homeOf(reader, owner);
  const vpc = getKind(reader, 'vpc', ids.vpc(owner.vpc));
  if (vpc === undefined) throw new Error(`${describe(owner)} has no vpc`);
  const router = routerNs(owner.vpc);
  const { ip } = owner;
  const mac = MAC.workload(ip);
  const port = portLink(ip);
  const mark = alias(idOf(owner));
  return [
    { kind: 'netns', ns },
    {
      kind: 'link',
      ns: router,
      name: port,
      type: 'veth',
      mac: MAC.port,
      mtu: vpc.mtu,
      alias: mark,
      peer: { ns, name: WORKLOAD_LINK },
      strict: true,
      answers: true,
    },
    {
      kind: 'link',
      ns,
      name: WORKLOAD_LINK,
      type: 'veth',
      mac,
      mtu: vpc.mtu,
      alias: mark,
      peer: { ns: router, name: port },
      ...more,
    },
    { kind: 'addr', ns, link: WORKLOAD_LINK, addr: `${ip}/${prefixLength(subnet.cidr)}` },
    { kind: 'neigh', ns, link: WORKLOAD_LINK, ip: subnet.gateway, mac: MAC.port },
    { kind: 'route', ns, table: MAIN_TABLE, dst: 'default', type: 'unicast', via: subnet.gateway, link: WORKLOAD_LINK },
    { kind: 'neigh', ns: router, link: port, ip, mac },
    {
      kind: 'route',
      ns: router,
      table: MAIN_TABLE,
      dst: hostCidr(ip),
      type: 'unicast',
      link: port,
      // What the router itself says to a NAT gateway is known by it: errors.
      ...(owner.kind === 'nat-gateway' ? { src: subnet.gateway } : {}),
    },
    element(router, SETS.profile, [ip], owner.profile),
    ...lowerInside(router, port, subnet),
    ...(owner.publicIp === undefined ? [] : lowerPublicIp(owner, router, owner.publicIp)),
  ];
}

// --- routes ----------------------------------------------------------------------------------------------------------

/** Its routes but for those to peers: they go with the peering's link, and are the peering's ({@link peerRoutes}). */
function lowerRouteTable(reader: Reader, table: RouteTable): KernelObject[] {
  const { vpc, name, number, routes } = table;
  const ns = routerNs(vpc);
  const all = routesOf(reader, table);
  const ways = hasWayOut6(reader, vpc) ? waysOut6(reader, vpc, all) : [];
  const own: KernelObject[] = ways.map(({ block, target }) =>
    blockElement(ns, target === 'internet-gateway' ? SETS.ways6 : SETS.answers6, [number, blockValue(block)]),
  );
  for (const { destination, target } of all) {
    const hop = hopOf(reader, vpc, destination, target);
    if (hop !== undefined) own.push(routeRow(ns, number, destination, hop));
  }
  // What another table does not know, `main` is not to be asked for.
  if (name !== MAIN_ROUTE_TABLE) {
    return [
      ...own,
      { kind: 'route', ns, table: number, dst: 'default', type: 'unreachable', metric: LAST_METRIC },
      ...(isDualVpc(reader, vpc) ? [nowhere6(ns, ANY_CIDR6, number)] : []),
    ];
  }
  if (routes.length === 0 && peerBlocks(reader, vpc).length === 0) return [];
  const home = getKind(reader, 'vpc', ids.vpc(vpc));
  return [
    ...(home === undefined ? [] : blocksOf(home)).map(
      (from): KernelObject => ({ kind: 'rule', ns, priority: VPC_RULE_PRIORITY, from, table: number }),
    ),
    ...own,
  ];
}

/** A route table's routes by block, of the families that the VPC has: what a prefix list has of the VPC's own is local. */
function routesOf(reader: Reader, { vpc, routes }: RouteTable) {
  const home = getKind(reader, 'vpc', ids.vpc(vpc));
  const isSpoken = spokenIn(reader, vpc);
  const all = routesByBlock(reader, routes, home === undefined ? [] : blocksOf(home));
  return all.filter(({ destination }) => isSpoken(destination));
}

type Hop = Pick<RouteRow, 'type' | 'via' | 'link' | 'onlink'>;

function routeRow(ns: string, table: number, destination: AnyCidr, hop: Hop): RouteRow {
  return { kind: 'route', ns, table, dst: destination === ANYWHERE ? 'default' : destination, ...hop };
}

/** In IPv6 a link-local next hop is on the link in any case. */
const hopBy = (link: string, via: string): Hop =>
  via.includes(':') ? { type: 'unicast', via, link } : { type: 'unicast', via, link, onlink: true };

/** The next hop to a destination, of its family. */
const nextHop = (destination: AnyCidr, name: 'peer' | 'gateway' | 'router' | 'edge'): string =>
  isCidr6(destination) ? TRANSIT6[name] : TRANSIT[name];

/** Undefined: to a peer or transit gateway that is there. */
function hopOf(reader: Reader, vpc: string, destination: AnyCidr, target: RouteTarget): Hop | undefined {
  if (isBlackhole(reader, vpc, target)) return { type: 'blackhole' };
  switch (target.type) {
    case 'internet-gateway':
    case 'egress-only-internet-gateway':
      return hopBy(UPLINK, nextHop(destination, 'edge'));
    case 'nat-gateway': {
      const nat = getKind(reader, 'nat-gateway', ids.natGateway(vpc, target.natGateway));
      return nat && hopBy(portLink(nat.ip), nat.ip);
    }
    default:
      return undefined;
  }
}

/** Forwards between its attachments. It has no address that anybody sends to, so nothing is for itself. */
function lowerTransitGateway(reader: Reader, { name }: TransitGateway): KernelObject[] {
  const ns = transitNs(name);
  return [
    { kind: 'netns', ns },
    ...routerSysctls(ns),
    // Known by it in what it says: that a packet is too large. Not in what passes, of which no rule leads to that table.
    { kind: 'addr', ns, link: LOOPBACK, addr: hostCidr(TRANSIT.gateway) },
    transitOwnRule(ns),
    ...(isDualTransit(reader, name)
      ? ([
          forwarding6(ns),
          { kind: 'addr', ns, link: LOOPBACK, addr: hostCidr(TRANSIT6.errors) },
          { ...transitOwnRule(ns), family: 6 },
        ] as const)
      : []),
    ...transitRuleset(ns),
  ];
}

function transitOwnRule(ns: string): RuleRow {
  return {
    kind: 'rule',
    ns,
    priority: TRANSIT_OWN_RULE_PRIORITY,
    from: 'all',
    iif: LOOPBACK,
    table: TRANSIT_OWN_TABLE,
  };
}

/** Whether any VPC that is attached has IPv6. */
function isDualTransit(reader: Reader, gateway: string): boolean {
  return attachmentsOf(reader, gateway).some(({ vpc }) => isDualVpc(reader, vpc));
}

/** Its static routes that lead nowhere; the others go with a link, and are the attachments'. */
function lowerTransitTable(reader: Reader, table: TransitRouteTable): KernelObject[] {
  const ns = transitNs(table.transitGateway);
  const isDual = isDualTransit(reader, table.transitGateway);
  return [
    ...(isDual ? [nowhere6(ns, ANY_CIDR6, table.number)] : []),
    ...routesByBlock(reader, table.routes)
      .filter(({ destination }) => isDual || !isCidr6(destination))
      .filter(({ target }) => isTransitBlackhole(reader, table.transitGateway, target))
      .map(({ destination }) => routeRow(ns, table.number, destination, { type: 'blackhole' })),
    { kind: 'route', ns, table: table.number, dst: 'default', type: 'unreachable', metric: LAST_METRIC },
  ];
}

/** VPC, "Transit gateway quotas", "Maximum transmission unit (MTU)". */
const TRANSIT_MTU = 8500;

function lowerAttachment(reader: Reader, attachment: TransitAttachment): KernelObject[] {
  const { transitGateway, vpc: name, routeTable } = attachment;
  const vpc = getKind(reader, 'vpc', ids.vpc(name));
  const tables = transitTablesOf(reader, transitGateway);
  const followed = tables.find((table) => table.name === routeTable);
  if (vpc === undefined || followed === undefined)
    throw new Error(`${describe(attachment)} has no vpc or no route table`);
  const ns = transitNs(transitGateway);
  const router = routerNs(name);
  const [link, port] = [transitLink(transitGateway), attachmentLink(name)];
  const hop = (destination: AnyCidr): Hop => hopBy(port, nextHop(destination, 'router'));
  const isDual = vpc.ipv6Cidr !== undefined;
  return [
    ...vethPair(
      { ns: router, name: link, mac: MAC.attached, strict: 'loosely' },
      { ns, name: port, mac: MAC.gateway, strict: 'loosely' },
      Math.min(vpc.mtu, TRANSIT_MTU),
      `transit/${transitGateway}/${name}`,
    ),
    { kind: 'neigh', ns: router, link, ip: TRANSIT.gateway, mac: MAC.gateway },
    { kind: 'neigh', ns, link: port, ip: TRANSIT.router, mac: MAC.attached },
    { kind: 'rule', ns, priority: ATTACHMENT_RULE_PRIORITY, from: 'all', iif: port, table: followed.number },
    ...ownBlocks(reader, attachment)
      .filter(spokenIn(reader, name))
      .map((destination) => routeRow(ns, TRANSIT_OWN_TABLE, destination, hop(destination))),
    ...tables.flatMap((table) =>
      [
        ...routesByBlock(reader, table.routes).flatMap(({ destination, target }) =>
          target.type === 'vpc' && target.vpc === name ? [destination] : [],
        ),
        ...propagated(reader, attachment, table),
      ]
        .filter(spokenIn(reader, name))
        .map((destination) => routeRow(ns, table.number, destination, hop(destination))),
    ),
    ...(isDual
      ? ([
          { kind: 'neigh', ns: router, link, ip: TRANSIT6.gateway, mac: MAC.gateway },
          { kind: 'neigh', ns, link: port, ip: TRANSIT6.router, mac: MAC.attached },
          {
            kind: 'rule',
            ns,
            priority: ATTACHMENT_RULE_PRIORITY,
            from: 'all',
            iif: port,
            table: followed.number,
            family: 6,
          },
        ] as const)
      : []),
    ...routeTablesOf(reader, name).flatMap((table) =>
      routesOf(reader, table).flatMap(({ destination, target }) =>
        target.type === 'transit-gateway' && target.transitGateway === transitGateway
          ? [routeRow(router, table.number, destination, hopBy(link, nextHop(destination, 'gateway')))]
          : [],
      ),
    ),
  ];
}

/** In all route tables of a VPC: the routes that name this peer, and unless others do, those to its blocks. */
function peerRoutes(reader: Reader, vpc: string, peer: string, blocks: readonly AnyCidr[], mtu: number): RouteRow[] {
  const hop = (destination: AnyCidr): Hop =>
    isCidr6(destination) && mtu < LEAST_MTU6
      ? { type: 'blackhole' }
      : hopBy(peerLink(peer), nextHop(destination, 'peer'));
  return routeTablesOf(reader, vpc).flatMap((table) => {
    const { number } = table;
    const routes = routesOf(reader, table);
    const listed = routes.map(({ destination }) => destination);
    const named = routes.flatMap(({ destination, target }) =>
      target.type === 'peering' && target.peering === peer ? [destination] : [],
    );
    const all = [...named, ...blocks.filter((block) => !listed.includes(block))];
    return all
      .filter(spokenIn(reader, vpc))
      .map((destination) => routeRow(routerNs(vpc), number, destination, hop(destination)));
  });
}

/** One to one, in the VPC's own router: equal private addresses of two VPCs never meet in one conntrack table. */
function lowerPublicIp({ vpc, ip }: Instance | NatGateway, router: string, publicIp: Ipv4): KernelObject[] {
  return [
    element(router, SETS.public, [ip]),
    element(router, SETS.publicIn, [publicIp], ip),
    element(router, SETS.publicOut, [ip], publicIp),
    edgeRoute(vpc, `${publicIp}/32`),
  ];
}

function lowerPeering(reader: Reader, peering: Peering): KernelObject[] {
  const sides = peering.vpcs.map((name, index) => {
    const vpc = getKind(reader, 'vpc', ids.vpc(name));
    if (vpc === undefined) throw new Error(`peering ${peering.vpcs.join(' - ')} has no vpc ${name}`);
    const other = peering.vpcs[1 - index] as string;
    return {
      vpc,
      ns: routerNs(name),
      link: peerLink(other),
      mac: MAC.peer[index] as string,
      cidrs: peeredCidrs(peering, vpc),
    };
  });
  const [a, b] = sides;
  if (a === undefined || b === undefined) throw new Error('a peering has two sides');
  const mtu = Math.min(a.vpc.mtu, b.vpc.mtu);
  return [
    ...vethPair(
      { ns: a.ns, name: a.link, mac: a.mac, strict: 'loosely' },
      { ns: b.ns, name: b.link, mac: b.mac, strict: 'loosely' },
      mtu,
      `peering/${peering.vpcs.join('/')}`,
    ),
    ...[[a, b] as const, [b, a] as const].flatMap(([own, other]): KernelObject[] => [
      { kind: 'neigh', ns: own.ns, link: own.link, ip: TRANSIT.peer, mac: other.mac },
      ...(own.vpc.ipv6Cidr === undefined || mtu < LEAST_MTU6
        ? []
        : [{ kind: 'neigh', ns: own.ns, link: own.link, ip: TRANSIT6.peer, mac: other.mac } as const]),
      ...peerRoutes(reader, own.vpc.name, other.vpc.name, peering.manualRoutes === true ? [] : other.cidrs, mtu),
      ...own.cidrs.flatMap((mine) =>
        ofFamily(familyOf(mine), other.cidrs).map((theirs) =>
          blockElement(own.ns, isCidr6(mine) ? SETS.peerFlow6 : SETS.peerFlow, [
            own.link,
            blockValue(mine),
            blockValue(theirs),
          ]),
        ),
      ),
    ]),
  ];
}
