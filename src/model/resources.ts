/**
 * The resources of the cloud, as data with everything decided: addresses allocated, defaults filled in, rules normalised.
 * A resource is identified by its id and found by its terms ({@link terms}); nothing here knows of namespaces or links.
 */
import { type AnyCidr, addressAt, type Cidr, type Cidr6, type Ip, type Ipv4, type Ipv6 } from '../net/cidr.js';
import type { Domain } from '../net/domain.js';
import type { IcmpMessages } from '../net/ports.js';
import type { PolicySpec, QuotasSpec } from '../spec/types.js';
import type { Shaping } from './shape.js';

/** What the machine vpcctl runs on is known by to instances: the address of the party `host`. Link-local (RFC 3927), so never routed by anyone else. */
export const HOST_ADDRESS = '169.254.128.1' as Ipv4;

/** How a group's rule names the other side. `any`: every address of both families. */
export type Party =
  | { readonly type: 'any' | 'self' | 'vpc' | 'peers' | 'host' }
  | { readonly type: 'cidr'; readonly cidr: AnyCidr }
  /** `vpc`: of that peer; absent: of the group's own VPC. */
  | { readonly type: 'group'; readonly group: string; readonly vpc?: string }
  /** Everybody in one of its blocks. */
  | { readonly type: 'prefix-list'; readonly prefixList: string };

/** One allow rule, normalised. */
export interface GroupRule {
  /** IP protocol number; absent: any. */
  readonly protocol?: number;
  /** Inclusive; absent: all. Only with tcp and udp. */
  readonly ports?: { readonly from: number; readonly to: number };
  /** Absent: all. Only with icmp and icmpv6. */
  readonly icmp?: IcmpMessages;
  readonly party: Party;
  readonly description?: string;
}

/** Settings of the whole installation. One per state store. */
export interface Installation {
  readonly kind: 'installation';
  readonly publicPool: Cidr;
  readonly poolRouted: boolean;
  /** Where IPv6 blocks of VPCs are taken from. Absent: the default. */
  readonly ipv6Pool?: Cidr6;
  /** As {@link poolRouted}, of IPv6. */
  readonly ipv6PoolRouted?: true;
  /** As the user said it: a link, `auto` or `none`. */
  readonly uplink: string;
  readonly quotas?: QuotasSpec;
}

/** The border between every VPC and the host; exists while some VPC has an internet gateway. */
export interface Edge {
  readonly kind: 'edge';
  readonly publicPool: Cidr;
  readonly poolRouted: boolean;
  /** While some internet gateway is for IPv6 too. `host`: the host's own address. */
  readonly ipv6?: { readonly pool: Cidr6; readonly host: Ipv6; readonly routed: boolean };
  /** The link that was found or named; absent: host-only. */
  readonly uplink?: string;
  readonly mtu: number;
}

export interface Vpc {
  readonly kind: 'vpc';
  readonly name: string;
  /** The primary block first. */
  readonly cidrs: readonly Cidr[];
  /** Its IPv6 block, a /56 of the pool. No two VPCs have the same. */
  readonly ipv6Cidr?: Cidr6;
  readonly mtu: number;
  /** Gateway address named at creation; the subnet that holds it uses it. */
  readonly gatewayHint?: Ipv4;
  /** Name of the spec that applied it. */
  readonly origin?: string;
  /** Its resolver; absent: it has none. */
  readonly dns?: VpcDns;
}

/** What a VPC's resolver answers besides the private zones that the VPC is associated with. */
export interface VpcDns {
  /** Its instances are called NAME.DOMAIN. */
  readonly domain: Domain;
  /** Who is asked of everything else: the servers of the host, nobody, or these. */
  readonly forward: 'host' | 'none' | readonly Ip[];
}

export interface InternetGateway {
  readonly kind: 'igw';
  readonly vpc: string;
  readonly mtu: number;
  /** The VPC's IPv6 block, where a route for IPv6 leads to this one or to an egress-only one: both are one link. */
  readonly ipv6Cidr?: Cidr6;
}

/** Lets IPv6 out and its answers in. At most one of a VPC. */
export interface EgressOnlyGateway {
  readonly kind: 'egress-only-gateway';
  readonly vpc: string;
}

export interface Subnet {
  readonly kind: 'subnet';
  readonly vpc: string;
  readonly name: string;
  readonly cidr: Cidr;
  /** A /64 of the VPC's IPv6 block. */
  readonly ipv6Cidr?: Cidr6;
  readonly gateway: Ipv4;
  readonly public: boolean;
  readonly addressing: 'cloud' | 'plain';
  /** The host routes this block to us: no other route of the host's claims it. Only for public subnets. */
  readonly hostRoute: boolean;
  /** Name of the route table that it is associated with; absent: {@link tableOf} says which. */
  readonly routeTable?: string;
  /** Name of the network ACL that it is associated with; absent: everything may pass its border. */
  readonly networkAcl?: string;
  /** Where the next search for a free address starts (offset in the block). */
  readonly cursor: number;
  readonly policy?: PolicySpec;
}

export interface SecurityGroup {
  readonly kind: 'group';
  readonly vpc: string;
  readonly name: string;
  readonly description?: string;
  readonly ingress: readonly GroupRule[];
  readonly egress: readonly GroupRule[];
}

/** A port of the host that leads to an instance. */
export interface Publication {
  /** 6 (tcp) or 17 (udp). */
  readonly protocol: number;
  readonly hostPort: number;
  readonly port: number;
}

export interface Instance {
  readonly kind: 'instance';
  readonly vpc: string;
  readonly name: string;
  readonly subnet: string;
  readonly ip: Ipv4;
  /** Of the subnet's IPv6 block. */
  readonly ipv6?: Ipv6;
  /** Further addresses of the subnet's blocks, sorted; none: absent. */
  readonly secondaryIps?: readonly Ip[];
  readonly publicIp?: Ipv4;
  /** Name of the elastic address that `publicIp` is. */
  readonly elasticIp?: string;
  /** By protocol, then port of the host. */
  readonly publish?: readonly Publication[];
  /** How its packets are held up; absent: not at all. */
  readonly shaping?: Shaping;
  /** Sorted names of groups. */
  readonly groups: readonly string[];
  /** Number of its {@link Profile}; 0 until settled. */
  readonly profile: number;
}

/**
 * What is allowed to a set of instances alike: their set of groups, and their subnet's policy if it has one. The number stands for
 * the set in the packet's mark.
 */
export interface Profile {
  readonly kind: 'profile';
  readonly vpc: string;
  readonly number: number;
  readonly groups: readonly string[];
  /** Subnet whose policy applies. */
  readonly policySubnet?: string;
  /** Everything is let in and out: a NAT gateway has no groups (VPC User Guide, "NAT gateway basics"). No groups then. */
  readonly open?: true;
}

/** Where a route leads. What it names need not be there any more: then it is a black hole, as in the cloud. */
export type RouteTarget =
  | { readonly type: 'internet-gateway' | 'egress-only-internet-gateway' | 'blackhole' }
  | { readonly type: 'nat-gateway'; readonly natGateway: string }
  | { readonly type: 'peering'; readonly peering: string }
  | { readonly type: 'transit-gateway'; readonly transitGateway: string };

/** A block, or all that are in a prefix list. */
export type Destination = AnyCidr | `pl:${string}`;

export interface Route {
  readonly destination: Destination;
  readonly target: RouteTarget;
}

/** Routes of the subnets that are associated with it; what leads to the VPC's own blocks and, unless they say otherwise, to its peers is not listed. */
export interface RouteTable {
  readonly kind: 'route-table';
  readonly vpc: string;
  readonly name: string;
  /** Follows from the name; no two tables of a VPC have the same. */
  readonly number: number;
  /** In the order of their destinations. */
  readonly routes: readonly Route[];
  /** Nobody asked for it by name: it goes with the last subnet that follows it. */
  readonly implied?: true;
}

/** One rule of a network ACL, normalised. */
export interface AclEntry {
  /** 1 to 32766. The lowest that matches decides; no two of one list have the same. */
  readonly number: number;
  readonly allow: boolean;
  /** IP protocol number; absent: any. */
  readonly protocol?: number;
  /** Of the packet's destination, inclusive; absent: all. Only with tcp and udp. */
  readonly ports?: { readonly from: number; readonly to: number };
  /** Absent: all. Only with icmp and icmpv6. */
  readonly icmp?: IcmpMessages;
  /** Of ingress the source, of egress the destination. It is for packets of that family only. */
  readonly cidr: AnyCidr;
}

/** What may pass the border of the subnets that are associated with it: each packet is judged by itself. What no entry names is denied. */
export interface NetworkAcl {
  readonly kind: 'network-acl';
  readonly vpc: string;
  readonly name: string;
  /** Follows from the name; no two of a VPC have the same. */
  readonly number: number;
  /** Both in the order of their numbers. */
  readonly ingress: readonly AclEntry[];
  readonly egress: readonly AclEntry[];
}

/** Translates what subnets route to it to its own address; `publicIp` is what the internet sees of that. */
export interface NatGateway {
  readonly kind: 'nat-gateway';
  readonly vpc: string;
  readonly name: string;
  /** Where it stands; its own packets follow that subnet's routes. */
  readonly subnet: string;
  readonly ip: Ipv4;
  /** Absent: a private one. */
  readonly publicIp?: Ipv4;
  readonly elasticIp?: string;
  /** Number of its {@link Profile}; 0 until settled. */
  readonly profile: number;
}

/** A router between VPCs that are attached to it. */
export interface TransitGateway {
  readonly kind: 'transit-gateway';
  readonly name: string;
}

/** A VPC's attachment to a transit gateway. */
export interface TransitAttachment {
  readonly kind: 'transit-attachment';
  readonly transitGateway: string;
  readonly vpc: string;
  /** The route table that packets from the VPC follow: the one that it is associated with. */
  readonly routeTable: string;
  /** Sorted names of the route tables that have routes to the VPC's blocks by themselves. */
  readonly propagateTo: readonly string[];
}

export type TransitTarget = { readonly type: 'vpc'; readonly vpc: string } | { readonly type: 'blackhole' };

/** A route table of a transit gateway. */
export interface TransitRouteTable {
  readonly kind: 'transit-route-table';
  readonly transitGateway: string;
  readonly name: string;
  /** As {@link RouteTable.number}. */
  readonly number: number;
  /** The static ones, in the order of their destinations: they go before propagated ones. */
  readonly routes: readonly TransitRoute[];
}

export interface TransitRoute {
  readonly destination: Destination;
  readonly target: TransitTarget;
}

/** Blocks under one name, for rules of security groups and routes of any VPC. */
export interface PrefixList {
  readonly kind: 'prefix-list';
  readonly name: string;
  /** Of all entries. It never changes. */
  readonly family: 'ipv4' | 'ipv6';
  /** What a reference to it counts for in quotas, however many entries there are. */
  readonly maxEntries: number;
  /** In the order of their blocks, of which none is there twice. */
  readonly entries: readonly { readonly cidr: AnyCidr; readonly description?: string }[];
}

/** A public address that stays when what has it goes. */
export interface ElasticIp {
  readonly kind: 'elastic-ip';
  readonly name: string;
  readonly address: Ipv4;
}

export const RECORD_TYPES = ['A', 'AAAA', 'CNAME', 'MX', 'PTR', 'SRV', 'TXT'] as const;
export type RecordType = (typeof RECORD_TYPES)[number];

/** A record of a private zone. Names are whole, in lower case and without the dot at their end; the first label may be `*`. */
export type ZoneRecord = {
  readonly name: Domain;
  readonly type: RecordType;
  /** In seconds. */
  readonly ttl: number;
} & (
  | { readonly values: readonly string[] }
  /** The address of an instance, while there is one: of type AAAA its IPv6 address. */
  | { readonly alias: { readonly vpc: string; readonly instance: string } }
);

/** Names that the resolvers of some VPCs know: a private hosted zone. */
export interface PrivateZone {
  readonly kind: 'private-zone';
  readonly name: string;
  readonly domain: Domain;
  /** Sorted. */
  readonly vpcs: readonly string[];
  /** In the order of names, then types. */
  readonly records: readonly ZoneRecord[];
}

export interface Peering {
  readonly kind: 'peering';
  /** Sorted. */
  readonly vpcs: readonly [string, string];
  readonly allowCidrs?: readonly AnyCidr[];
  /** Only route tables that say so lead there. Absent: all of both VPCs do. */
  readonly manualRoutes?: true;
}

export type Resource =
  | Installation
  | Edge
  | Vpc
  | InternetGateway
  | EgressOnlyGateway
  | Subnet
  | SecurityGroup
  | Instance
  | Profile
  | RouteTable
  | NetworkAcl
  | NatGateway
  | ElasticIp
  | PrefixList
  | TransitGateway
  | TransitAttachment
  | TransitRouteTable
  | PrivateZone
  | Peering;

export type ResourceKind = Resource['kind'];
export type ResourceOf<K extends ResourceKind> = Extract<Resource, { kind: K }>;

export const INSTALLATION_ID = 'installation';
export const EDGE_ID = 'edge';

export const ids = {
  vpc: (vpc: string) => `vpc/${vpc}`,
  igw: (vpc: string) => `igw/${vpc}`,
  egressOnlyGateway: (vpc: string) => `egress-only-gateway/${vpc}`,
  subnet: (vpc: string, subnet: string) => `subnet/${vpc}/${subnet}`,
  group: (vpc: string, group: string) => `group/${vpc}/${group}`,
  instance: (vpc: string, instance: string) => `instance/${vpc}/${instance}`,
  profile: (vpc: string, number: number) => `profile/${vpc}/${number}`,
  routeTable: (vpc: string, table: string) => `route-table/${vpc}/${table}`,
  networkAcl: (vpc: string, acl: string) => `network-acl/${vpc}/${acl}`,
  natGateway: (vpc: string, nat: string) => `nat-gateway/${vpc}/${nat}`,
  elasticIp: (name: string) => `elastic-ip/${name}`,
  prefixList: (name: string) => `prefix-list/${name}`,
  transitGateway: (name: string) => `transit-gateway/${name}`,
  transitAttachment: (gateway: string, vpc: string) => `transit-attachment/${gateway}/${vpc}`,
  transitRouteTable: (gateway: string, table: string) => `transit-route-table/${gateway}/${table}`,
  privateZone: (name: string) => `private-zone/${name}`,
  peering: (a: string, b: string) => `peering/${a < b ? a : b}/${a < b ? b : a}`,
} as const;

export function idOf(resource: Resource): string {
  switch (resource.kind) {
    case 'installation':
      return INSTALLATION_ID;
    case 'edge':
      return EDGE_ID;
    case 'vpc':
      return ids.vpc(resource.name);
    case 'igw':
      return ids.igw(resource.vpc);
    case 'egress-only-gateway':
      return ids.egressOnlyGateway(resource.vpc);
    case 'subnet':
      return ids.subnet(resource.vpc, resource.name);
    case 'group':
      return ids.group(resource.vpc, resource.name);
    case 'instance':
      return ids.instance(resource.vpc, resource.name);
    case 'profile':
      return ids.profile(resource.vpc, resource.number);
    case 'route-table':
      return ids.routeTable(resource.vpc, resource.name);
    case 'network-acl':
      return ids.networkAcl(resource.vpc, resource.name);
    case 'nat-gateway':
      return ids.natGateway(resource.vpc, resource.name);
    case 'elastic-ip':
      return ids.elasticIp(resource.name);
    case 'prefix-list':
      return ids.prefixList(resource.name);
    case 'transit-gateway':
      return ids.transitGateway(resource.name);
    case 'transit-attachment':
      return ids.transitAttachment(resource.transitGateway, resource.vpc);
    case 'transit-route-table':
      return ids.transitRouteTable(resource.transitGateway, resource.name);
    case 'private-zone':
      return ids.privateZone(resource.name);
    case 'peering':
      return ids.peering(...resource.vpcs);
  }
}

/** The route table of subnets that are associated with none. */
export const MAIN_ROUTE_TABLE = 'main';
/** The one of public subnets that are associated with none: it leads to the internet gateway. It is there as long as there are such. */
export const PUBLIC_ROUTE_TABLE = 'public';

/** The name of the route table that a subnet's packets follow. */
export function tableOf(subnet: Subnet): string {
  return subnet.routeTable ?? (subnet.public ? PUBLIC_ROUTE_TABLE : MAIN_ROUTE_TABLE);
}

/** Scope of whatever belongs to no single VPC. */
export const INSTALLATION_SCOPE = '';

/** The VPCs a resource belongs to; {@link INSTALLATION_SCOPE} for the border and what hangs on it. A change locks these. */
export function scopesOf(resource: Resource): readonly string[] {
  switch (resource.kind) {
    case 'installation':
    case 'edge':
    case 'elastic-ip':
    case 'prefix-list':
    case 'transit-gateway':
    case 'transit-route-table':
      return [INSTALLATION_SCOPE];
    case 'transit-attachment':
      return [INSTALLATION_SCOPE, resource.vpc];
    case 'igw':
      return [INSTALLATION_SCOPE, resource.vpc];
    case 'subnet':
      // Public blocks compete for one route each on the host.
      return resource.public ? [INSTALLATION_SCOPE, resource.vpc] : [resource.vpc];
    case 'vpc':
      // Of the pool of IPv6 blocks, nobody else takes the same meanwhile, and it stays what it is.
      return resource.ipv6Cidr === undefined ? [resource.name] : [INSTALLATION_SCOPE, resource.name];
    case 'private-zone':
      return [INSTALLATION_SCOPE, ...resource.vpcs];
    case 'peering':
      return resource.vpcs;
    case 'instance':
    case 'nat-gateway':
      // An elastic address is nobody's while it is taken or given back.
      return resource.elasticIp === undefined ? [resource.vpc] : [INSTALLATION_SCOPE, resource.vpc];
    default:
      return [resource.vpc];
  }
}

/** What a resource can be found by. */
export function terms(resource: Resource): readonly string[] {
  const own = `kind:${resource.kind}`;
  switch (resource.kind) {
    case 'installation':
    case 'edge':
    case 'elastic-ip':
    case 'prefix-list':
    case 'transit-gateway':
      return [own, ...claims(resource)];
    case 'igw':
      return [own, ...(resource.ipv6Cidr === undefined ? [] : ['igw6'])];
    case 'egress-only-gateway':
      return [`egress-only:${resource.vpc}`];
    case 'transit-attachment':
      return [own, `attachments:${resource.transitGateway}`, `attachments-of:${resource.vpc}`];
    case 'transit-route-table':
      return [own, `transit-tables:${resource.transitGateway}`, ...listTerms(resource.routes)];
    case 'vpc':
      return [
        own,
        ...(resource.origin === undefined ? [] : [`origin:${resource.origin}`]),
        ...(resource.dns === undefined ? [] : ['dns']),
        ...claims(resource),
      ];
    case 'private-zone':
      return [own, ...resource.vpcs.map((vpc) => `zones-of:${vpc}`)];
    case 'subnet':
      return [
        `subnets:${resource.vpc}`,
        `table:${resource.vpc}/${tableOf(resource)}`,
        ...(resource.networkAcl === undefined
          ? []
          : [`bordered:${resource.vpc}`, `acl:${resource.vpc}/${resource.networkAcl}`]),
        ...(resource.hostRoute ? ['hostroute'] : resource.public ? ['hostroute-wanted'] : []),
        ...(resource.public ? [`public:${resource.vpc}`] : []),
      ];
    case 'group':
      return [
        `groups:${resource.vpc}`,
        ...new Set([...resource.ingress, ...resource.egress].flatMap((rule) => partyTerms(resource, rule.party))),
      ];
    case 'instance':
      return [
        `instances:${resource.vpc}`,
        `subnet:${resource.vpc}/${resource.subnet}`,
        `profile:${resource.vpc}/${resource.profile}`,
        ...(resource.publicIp === undefined ? [] : [`addressed:${resource.vpc}`]),
        ...resource.groups.map((group) => `member:${resource.vpc}/${group}`),
        ...claims(resource),
      ];
    case 'profile':
      return [
        `profiles:${resource.vpc}`,
        ...resource.groups.map((group) => `profile-of:${resource.vpc}/${group}`),
        ...(resource.policySubnet === undefined ? [] : [`policy-of:${resource.vpc}/${resource.policySubnet}`]),
      ];
    case 'route-table':
      return [
        `route-tables:${resource.vpc}`,
        ...new Set(resource.routes.flatMap((route) => routeTerms(resource.vpc, route))),
        ...listTerms(resource.routes),
      ];
    case 'network-acl':
      return [`network-acls:${resource.vpc}`];
    case 'nat-gateway':
      return [
        `nat-gateways:${resource.vpc}`,
        `nats-of:${resource.vpc}/${resource.subnet}`,
        `profile:${resource.vpc}/${resource.profile}`,
        ...(resource.publicIp === undefined ? [] : [`addressed:${resource.vpc}`]),
        ...claims(resource),
      ];
    case 'peering':
      return [own, ...resource.vpcs.map((vpc) => `peerings:${vpc}`)];
  }
}

/** The prefix list that a destination names. */
export function listOf(destination: Destination): string | undefined {
  return destination.startsWith('pl:') ? destination.slice('pl:'.length) : undefined;
}

/** The prefix lists that routes lead to. */
function listTerms(routes: readonly { readonly destination: Destination }[]): string[] {
  return routes.flatMap(({ destination }) => {
    const list = listOf(destination);
    return list === undefined ? [] : [`routes-list:${list}`];
  });
}

/** `routes-out6`: it may be for IPv6, of which a prefix list may be. */
function routeTerms(vpc: string, { destination, target }: Route): string[] {
  switch (target.type) {
    case 'internet-gateway':
      return [`routes-igw:${vpc}`, ...(destination.includes(':') ? [`routes-out6:${vpc}`] : [])];
    case 'egress-only-internet-gateway':
      return [`routes-egress-only:${vpc}`, `routes-out6:${vpc}`];
    case 'nat-gateway':
      return [`routes-nat:${vpc}/${target.natGateway}`];
    case 'peering':
      return [`routes-peer:${vpc}/${target.peering}`];
    case 'transit-gateway':
    case 'blackhole':
      return [];
  }
}

function partyTerms({ vpc, name }: SecurityGroup, party: Party): string[] {
  switch (party.type) {
    case 'self':
      return [`refers:${vpc}/${name}`];
    case 'group':
      if (party.vpc !== undefined) return [`refers-peer:${party.vpc}/${party.group}`, `refers-peer-of:${vpc}`];
      return [`refers:${vpc}/${party.group}`];
    case 'vpc':
      return [`refers-vpc:${vpc}`];
    case 'peers':
      return [`refers-peers:${vpc}`];
    case 'prefix-list':
      return [`refers-list:${party.prefixList}`];
    default:
      return [];
  }
}

/** The resolver of every VPC has this address too (VPC User Guide, "Amazon DNS server"). */
export const RESOLVER_ADDRESS = '169.254.169.253' as Ipv4;

/** The address of a VPC's resolver: the base of its primary block, plus two. */
export function resolverOf({ cidrs: [primary] }: Pick<Vpc, 'cidrs'>): Ipv4 {
  if (primary === undefined) throw new Error('a VPC has a primary block');
  return addressAt(primary, 2);
}

/** Terms that at most one resource of the installation may have: addresses. The store enforces it between processes. */
export function claims(resource: Resource): readonly string[] {
  switch (resource.kind) {
    case 'elastic-ip':
      return [`public-ip:${resource.address}`];
    case 'vpc':
      return [
        ...(resource.ipv6Cidr === undefined ? [] : [`ipv6-block:${resource.ipv6Cidr}`]),
        ...(resource.dns === undefined ? [] : [`ip:${resource.name}/${resolverOf(resource)}`]),
      ];
    case 'instance':
    case 'nat-gateway': {
      const { vpc, publicIp, elasticIp } = resource;
      const own =
        elasticIp !== undefined ? [`elastic:${elasticIp}`] : publicIp !== undefined ? [`public-ip:${publicIp}`] : [];
      const published = (resource.kind === 'instance' ? resource.publish : undefined) ?? [];
      return [
        ...privateIps(resource).map((address) => `ip:${vpc}/${address}`),
        ...own,
        ...published.map(({ protocol, hostPort }) => `host-port:${protocol}/${hostPort}`),
      ];
    }
    default:
      return [];
  }
}

/** All private addresses of an instance or a NAT gateway, of both families; the primary one first. */
export function privateIps(owner: Instance | NatGateway): readonly Ip[] {
  if (owner.kind === 'nat-gateway') return [owner.ip];
  return [owner.ip, ...(owner.ipv6 === undefined ? [] : [owner.ipv6]), ...(owner.secondaryIps ?? [])];
}

/** The resource in a person's words: `subnet web of vpc a`. */
export function describe(resource: Resource): string {
  switch (resource.kind) {
    case 'installation':
      return 'settings';
    case 'edge':
      return 'edge';
    case 'vpc':
      return `vpc ${resource.name}`;
    case 'igw':
      return `internet gateway of vpc ${resource.vpc}`;
    case 'egress-only-gateway':
      return `egress-only internet gateway of vpc ${resource.vpc}`;
    case 'subnet':
      return `subnet ${resource.vpc}/${resource.name}`;
    case 'group':
      return `security group ${resource.vpc}/${resource.name}`;
    case 'instance':
      return `instance ${resource.vpc}/${resource.name}`;
    case 'route-table':
      return `route table ${resource.vpc}/${resource.name}`;
    case 'network-acl':
      return `network acl ${resource.vpc}/${resource.name}`;
    case 'nat-gateway':
      return `nat gateway ${resource.vpc}/${resource.name}`;
    case 'elastic-ip':
      return `elastic ip ${resource.name}`;
    case 'prefix-list':
      return `prefix list ${resource.name}`;
    case 'transit-gateway':
      return `transit gateway ${resource.name}`;
    case 'transit-attachment':
      return `attachment of vpc ${resource.vpc} to transit gateway ${resource.transitGateway}`;
    case 'transit-route-table':
      return `route table ${resource.name} of transit gateway ${resource.transitGateway}`;
    case 'private-zone':
      return `private zone ${resource.name}`;
    case 'profile':
      if (resource.open === true) return `rules of NAT gateways of ${resource.vpc}`;
      return `rules of ${resource.vpc}/{${resource.groups.join(', ')}}${resource.policySubnet === undefined ? '' : ` with the policy of ${resource.policySubnet}`}`;
    case 'peering':
      return `peering ${resource.vpcs.join(' - ')}`;
  }
}
