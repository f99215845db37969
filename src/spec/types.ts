/**
 * What a user writes: the document of `plan`, `apply`, `export` and `import`, as plain data. Names are AWS's nouns.
 * The schema in schema.ts checks shape and types; the rules of the cloud (overlaps, sizes, references) are model/'s.
 */

/** A whole document. */
export interface Spec {
  /**
   * Name of this set of VPCs. When given, VPCs applied earlier under the same name and no longer listed are removed;
   * without it, apply never removes a VPC.
   */
  readonly name?: string;
  readonly settings?: SettingsSpec;
  /** Public addresses that stay when what has them goes, by name. One that is not listed is kept. */
  readonly elasticIps?: Readonly<Record<string, ElasticIpSpec>>;
  /** Blocks under one name, for rules and routes of any VPC. One that is not listed is kept. */
  readonly prefixLists?: Readonly<Record<string, PrefixListSpec>>;
  readonly vpcs: Readonly<Record<string, VpcSpec>>;
  /** Names that the resolvers of some VPCs know, by name of the zone. */
  readonly privateZones?: Readonly<Record<string, PrivateZoneSpec>>;
  readonly transitGateways?: Readonly<Record<string, TransitGatewaySpec>>;
  readonly peerings?: readonly PeeringSpec[];
}

/** What holds for the whole installation. */
export interface SettingsSpec {
  /** Public addresses that this installation hands out: an IPv4 CIDR. Default 198.51.100.0/24 (RFC 5737). */
  readonly publicPool?: string;
  /** IPv6 blocks of VPCs are taken from it: a block of /16 to /55. Default fd76:7063:6300::/40 (RFC 4193). */
  readonly ipv6Pool?: string;
  /** The pool is routed to this host by its network: do not masquerade. Default false. */
  readonly poolRouted?: boolean;
  /** The same of the IPv6 pool. Default false. */
  readonly ipv6PoolRouted?: boolean;
  /**
   * Link that leads to the internet; `auto` (default) takes the default route's; `none`: public means reachable from the
   * host only.
   */
  readonly uplink?: string;
  /** As given they replace those before. Default: no limits. */
  readonly quotas?: QuotasSpec;
}

/** Limits that are checked when something is added or changed; what has none has no limit. */
export interface QuotasSpec {
  /** Of one group in one direction. AWS: 60. */
  readonly securityGroupRules?: number;
  /** AWS: 5. */
  readonly securityGroupsPerInstance?: number;
  /** Of one network ACL in one direction. AWS: 20. */
  readonly networkAclRules?: number;
  /** Besides automatic ones. AWS: 500. */
  readonly routesPerRouteTable?: number;
  /** AWS: 200. */
  readonly subnetsPerVpc?: number;
  /** AWS: 5. */
  readonly blocksPerVpc?: number;
}

/** An elastic address. */
export interface ElasticIpSpec {
  /** An address of the public pool. Default: a free one. */
  readonly address?: string;
}

/** A customer-managed prefix list. */
export interface PrefixListSpec {
  /** Of all entries; default `ipv4`. It never changes. */
  readonly family?: 'ipv4' | 'ipv6';
  /** 1 to 1000. A rule or route that names the list counts for so many in its quota. */
  readonly maxEntries: number;
  readonly entries?: readonly PrefixListEntrySpec[];
}

export interface PrefixListEntrySpec {
  /** Block of the list's family, once in it. */
  readonly cidr: string;
  readonly description?: string;
}

/** A VPC: its blocks, and by name its subnets, route tables, NAT gateways, groups and instances. */
export interface VpcSpec {
  /** Primary IPv4 block, /16 to /28. */
  readonly cidr: string;
  /** Its IPv6 block, a /56 of the pool; true: a free one. Default: none. */
  readonly ipv6Cidr?: boolean | string;
  /** Further blocks. */
  readonly secondaryCidrs?: readonly string[];
  /** A resolver at the primary block's third address and at 169.254.169.253. Default false. */
  readonly dns?: DnsSpec;
  readonly subnets?: Readonly<Record<string, SubnetSpec>>;
  readonly routeTables?: Readonly<Record<string, RouteTableSpec>>;
  readonly natGateways?: Readonly<Record<string, NatGatewaySpec>>;
  /** It has one: IPv6 that is routed to it gets out, and answers back in. Default false. */
  readonly egressOnlyInternetGateway?: boolean;
  readonly networkAcls?: Readonly<Record<string, NetworkAclSpec>>;
  readonly securityGroups?: Readonly<Record<string, SecurityGroupSpec>>;
  readonly instances?: Readonly<Record<string, InstanceSpec>>;
}

/** A VPC's resolver; `true` as if nothing were said of it. */
export type DnsSpec =
  | boolean
  | {
      /** Its instances are called NAME.DOMAIN. Default: VPC.internal. */
      readonly domain?: string;
      /** Who is asked of what is in no private zone and no instance's name: the host's servers (`host`, default), `none`, or up to 8 addresses. */
      readonly forward?: 'host' | 'none' | readonly string[];
    };

/** A private zone. */
export interface PrivateZoneSpec {
  readonly domain: string;
  /** Whose resolvers know it. */
  readonly vpcs?: readonly string[];
  readonly records?: readonly ZoneRecordSpec[];
}

/** A record of a private zone: values, or an alias. */
export interface ZoneRecordSpec {
  /** Below the zone's domain; `@`: the domain itself; the first label may be `*`. */
  readonly name: string;
  /** Default `A`. */
  readonly type?: 'A' | 'AAAA' | 'CNAME' | 'MX' | 'PTR' | 'SRV' | 'TXT';
  /** In seconds. Default 300. */
  readonly ttl?: number;
  /** As in a file of the DNS: of MX `10 mail.example.com`, of SRV `1 10 5269 xmpp.example.com`, of TXT the text. */
  readonly values?: readonly string[];
  /** The address of an instance: of type A, or of type AAAA its IPv6 address. */
  readonly alias?: { readonly vpc: string; readonly instance: string };
}

/** A route table. The one called `main` is followed by subnets that name none and are not public. */
export interface RouteTableSpec {
  /** Besides what leads to the VPC's own blocks, and to peers with automatic routes. The longest prefix decides. */
  readonly routes?: readonly RouteSpec[];
}

export interface RouteSpec {
  readonly destination: DestinationSpec;
  readonly target: RouteTargetSpec;
}

/** A block, of which 0.0.0.0/0 is everywhere in IPv4 and ::/0 in IPv6; or every block of a prefix list. */
export type DestinationSpec = string | { readonly prefixList: string };

/**
 * Where a route leads: the VPC's internet gateway, its egress-only one (IPv6), nowhere, one of its NAT gateways, a peer, or a transit gateway that the VPC
 * is attached to.
 */
export type RouteTargetSpec =
  | 'internet-gateway'
  | 'egress-only-internet-gateway'
  | 'blackhole'
  | { readonly natGateway: string }
  | { readonly peering: string }
  | { readonly transitGateway: string };

/** A NAT gateway: what is routed to it leaves with its address. */
export interface NatGatewaySpec {
  /** Where it stands; its own packets follow the routes of that subnet. */
  readonly subnet: string;
  /** Private address. Default: the next free one. */
  readonly ip?: string;
  /** `public` (default) has a public address, `private` translates to its private one only. */
  readonly connectivity?: 'public' | 'private';
  /** An address of the pool, which goes with it. Default: a free one. */
  readonly publicIp?: string;
  /** Name of the elastic address that it has instead. */
  readonly elasticIp?: string;
}

/** Ordered rules at the border of subnets, for every packet by itself: an answer needs a rule too. What none names is denied. */
export interface NetworkAclSpec {
  /** For packets into the subnet. */
  readonly ingress?: readonly NetworkAclEntrySpec[];
  /** For packets out of it. */
  readonly egress?: readonly NetworkAclEntrySpec[];
}

/** A rule of a network ACL. */
export interface NetworkAclEntrySpec {
  /** 1 to 32766: the rule with the lowest number that matches decides. */
  readonly number: number;
  readonly action: 'allow' | 'deny';
  /** Default `any`. */
  readonly protocol?: ProtocolSpec;
  /** A port, `"1024-65535"`, or `any` (default): of the packet's destination. Only with tcp and udp. */
  readonly port?: number | string;
  /** 0 to 255; -1 (default): all. Only with icmp and icmpv6. */
  readonly icmpType?: number;
  /** 0 to 255; -1 (default): all. Only with an icmpType. */
  readonly icmpCode?: number;
  /** Of ingress the source, of egress the destination: a CIDR or address. The rule is for packets of that family only. */
  readonly cidr: string;
}

/** A subnet of a VPC. */
export interface SubnetSpec {
  /** /16 to /28 inside one of the VPC's blocks. */
  readonly cidr: string;
  /** Its IPv6 block, a /64 of the VPC's; true: a free one. Its instances get an address of it each. Default: none. */
  readonly ipv6Cidr?: boolean | string;
  /** Its instances get a public address each; and without `routeTable`, it has a route to the internet gateway. Default false. */
  readonly public?: boolean;
  /** Name of its route table. Default: `public` of a public subnet, with a route to the internet gateway; else `main`. */
  readonly routeTable?: string;
  /** Name of its network ACL. Default: none, everything may pass its border. */
  readonly networkAcl?: string;
  /** The router's address in the subnet. Default: the first host address. */
  readonly gateway?: string;
  /**
   * `cloud` (default): the first four addresses and the last are reserved, as in AWS. `plain`: only the network's, the
   * gateway's and the broadcast address.
   */
  readonly addressing?: 'cloud' | 'plain';
  /** Ordered allow and deny rules for the whole subnet; a direction that has a list is decided by it alone. */
  readonly policy?: PolicySpec;
}

/** An instance: one workload with an interface of its own. */
export interface InstanceSpec extends ShapingSpec {
  readonly subnet: string;
  /** Private address. Default: the next free one. */
  readonly ip?: string;
  /** An address of the subnet's IPv6 block; true: a free one; false: none. Default: as the subnet. */
  readonly ipv6?: boolean | string;
  /** Further private addresses of the subnet, of either family. Default: none. */
  readonly secondaryIps?: readonly string[];
  /** true: allocate one; false: none; an address of the pool: that one. Default: as the subnet (public → true). */
  readonly publicIp?: boolean | string;
  /** Name of the elastic address that is its public one. */
  readonly elasticIp?: string;
  /** Ports of the host that lead to it, by its public address. */
  readonly publish?: readonly PublicationSpec[];
  /** Names of security groups of the VPC. Default: [`default`]. */
  readonly securityGroups?: readonly string[];
}

/** One value for what is received and for what is sent, or a value for either. */
export type BothWays = string | { readonly in?: string; readonly out?: string };

/** As `100mbit`, or for either direction; `burst` is what may pass at once, as `64kib`. */
export type BandwidthSpec = string | { readonly in?: string; readonly out?: string; readonly burst?: string };

/** How packets of an instance are held up. What is left out is untouched. */
export interface ShapingSpec {
  /** Bits a second: 64kbit to 100gbit. */
  readonly bandwidth?: BandwidthSpec;
  /** How much later packets arrive, as `20ms`, in each direction that it is given for. Needs sch_netem in the kernel, as jitter and loss do. */
  readonly delay?: BothWays;
  /** By how much the delay varies, up and down. */
  readonly jitter?: BothWays;
  /** Which share of packets is lost, as `0.5%`. */
  readonly loss?: BothWays;
}

/** A port of the host, on its own addresses but the loopback's, that leads to an instance. The instance's groups are to admit who comes. */
export interface PublicationSpec {
  readonly hostPort: number;
  /** Of the instance. Default: the same. */
  readonly port?: number;
  /** Default `tcp`. */
  readonly protocol?: 'tcp' | 'udp';
}

/** Stateful, allow only. A group without `ingress` admits nothing; without `egress` it lets everything out. */
export interface SecurityGroupSpec {
  readonly description?: string;
  readonly ingress?: readonly IngressRuleSpec[];
  readonly egress?: readonly EgressRuleSpec[];
}

/** A protocol by name, or its number (IANA). */
export type ProtocolSpec = 'tcp' | 'udp' | 'icmp' | 'icmpv6' | 'any' | number;

/**
 * Source of an ingress rule, or destination of an egress rule: an IPv4 or IPv6 CIDR or address; `self` (members of this group);
 * `vpc` (the VPC's blocks); `peers` (what its peerings admit); `host` (the machine vpcctl runs on); `any` (every address of both families; 0.0.0.0/0 is every one of IPv4, ::/0 of IPv6);
 * `{ group }`, the members of another group of this VPC, or with `vpc` of a peer; or `{ prefixList }`, the blocks of that.
 */
export type PartySpec = string | { readonly group: string; readonly vpc?: string } | { readonly prefixList: string };

/** Who may come in. */
export interface IngressRuleSpec {
  /** Default `any`. */
  readonly protocol?: ProtocolSpec;
  /** A port, `"8000-8100"`, or `any` (default). Only with tcp and udp. */
  readonly port?: number | string;
  /** 0 to 255; -1 (default): all. Only with icmp and icmpv6. */
  readonly icmpType?: number;
  /** 0 to 255; -1 (default): all. Only with an icmpType. */
  readonly icmpCode?: number;
  /** Default `any`. */
  readonly from?: PartySpec;
  readonly description?: string;
}

/** Where to go out is allowed. */
export interface EgressRuleSpec {
  readonly protocol?: ProtocolSpec;
  readonly port?: number | string;
  readonly icmpType?: number;
  readonly icmpCode?: number;
  readonly to?: PartySpec;
  readonly description?: string;
}

/** Ordered rules for a subnet; a direction without a list is left to the groups. */
export interface PolicySpec {
  readonly ingress?: readonly PolicyRuleSpec[];
  readonly egress?: readonly PolicyRuleSpec[];
}

/** Tried in order; the first that matches decides; what none names is denied. */
export interface PolicyRuleSpec {
  readonly protocol?: 'tcp' | 'udp' | 'icmp' | 'icmpv6' | 'any';
  /** A port, `"from-to"`, or `any` (default). */
  readonly port?: number | string;
  /** `accept` is `allow`; `drop` and `reject` are `deny`. */
  readonly action: 'allow' | 'accept' | 'deny' | 'drop' | 'reject';
  /** CIDR or address: the rule is for packets of that family only. Default: any, of both families. */
  readonly source?: string;
  readonly destination?: string;
  readonly description?: string;
}

/** A peering: the blocks of two VPCs reach each other. */
export interface PeeringSpec {
  /** The two VPCs. */
  readonly vpcs: readonly [string, string];
  /** Only these blocks of either side take part. Default: all blocks of both. */
  readonly allowCidrs?: readonly string[];
  /** `auto` (default): every route table of both leads to the other. `manual`: those that say so. */
  readonly routes?: 'auto' | 'manual';
}

/** A transit gateway: a router between the VPCs that are attached to it. */
export interface TransitGatewaySpec {
  /** Besides `default`, which is always there. */
  readonly routeTables?: Readonly<Record<string, TransitRouteTableSpec>>;
  /** By name of the VPC. */
  readonly attachments?: Readonly<Record<string, TransitAttachmentSpec>>;
}

export interface TransitRouteTableSpec {
  /** Static routes: they go before propagated ones to the same block. */
  readonly routes?: readonly TransitRouteSpec[];
}

export interface TransitRouteSpec {
  readonly destination: DestinationSpec;
  readonly target: TransitTargetSpec;
}

/** The attachment of a VPC, or nowhere. */
export type TransitTargetSpec = 'blackhole' | { readonly vpc: string };

/** How a VPC is attached. */
export interface TransitAttachmentSpec {
  /** The gateway's route table that packets from the VPC follow. Default `default`. */
  readonly routeTable?: string;
  /** The gateway's route tables that get routes to the VPC's blocks by themselves. Default: [`default`]. */
  readonly propagateTo?: readonly string[];
}

/** A policy file of the exercise: one policy per subnet, named by its CIDR or name. */
export interface PolicyFile extends PolicySpec {
  readonly subnet?: string;
}
