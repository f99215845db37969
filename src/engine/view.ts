/** What a user is shown of the model: plain data, stable names, for tables and for `--json`. */
import { EDGE_NS, natNs, routerNs, transitNs, workloadNs } from '../lower/names.js';
import { formatEntry } from '../model/acls.js';
import { formatRecord, zonesOf } from '../model/dns.js';
import { holderOf } from '../model/elastic.js';
import { egressOnlyGatewayOf } from '../model/ipv6.js';
import {
  blocksOf,
  installationOf,
  ipv6PoolOf,
  networkAclsOf,
  otherVpc,
  peerBlocks,
  peeringsOf,
  routeTablesOf,
  subnetsOf,
} from '../model/lookup.js';
import { referrersOf, routesByBlock } from '../model/prefix-lists.js';
import { findKind, getKind, type Reader } from '../model/reader.js';
import {
  describe,
  EDGE_ID,
  type ElasticIp,
  type Instance,
  type NatGateway,
  type NetworkAcl,
  type Peering,
  type PrefixList,
  type PrivateZone,
  RESOLVER_ADDRESS,
  type RouteTable,
  resolverOf,
  type SecurityGroup,
  type Subnet,
  type TransitGateway,
  tableOf,
  type Vpc,
} from '../model/resources.js';
import { formatTarget, isBlackhole, natGatewaysOf } from '../model/routing.js';
import { formatRule } from '../model/rules.js';
import { formatShaping } from '../model/shape.js';
import {
  attachmentsOf,
  formatTransitTarget,
  isTransitBlackhole,
  propagated,
  transitTablesOf,
} from '../model/transit.js';
import type {
  EgressRuleSpec,
  IngressRuleSpec,
  NetworkAclEntrySpec,
  PolicySpec,
  PrefixListEntrySpec,
  PublicationSpec,
  QuotasSpec,
  RouteTargetSpec,
  ShapingSpec,
  TransitTargetSpec,
  ZoneRecordSpec,
} from '../spec/types.js';

/** An instance and its addresses. */
export interface InstanceView {
  readonly name: string;
  readonly subnet: string;
  readonly ip: string;
  readonly ipv6: string | null;
  readonly secondaryIps: readonly string[];
  readonly publicIp: string | null;
  /** Name of the elastic address that `publicIp` is. */
  readonly elasticIp: string | null;
  /** Ports of the host that lead to it. */
  readonly publish: readonly Required<PublicationSpec>[];
  /** How its packets are held up, as in a file; null: not at all. */
  readonly shaping: ShapingSpec | null;
  /** Below /run/netns. */
  readonly namespace: string;
  readonly securityGroups: readonly string[];
}

/** A subnet with its instances. */
export interface SubnetView {
  readonly name: string;
  readonly cidr: string;
  readonly ipv6Cidr: string | null;
  readonly gateway: string;
  readonly kind: 'public' | 'private';
  /** The one that its packets follow. */
  readonly routeTable: string;
  /** Name of the network ACL at its border; null: everything may pass. */
  readonly networkAcl: string | null;
  /** The host reaches its public instances by their private address too. */
  readonly reachableFromHost: boolean;
  readonly policy: PolicySpec | null;
  readonly instances: readonly InstanceView[];
}

/** A group, its rules as a user writes them. */
export interface SecurityGroupView {
  readonly name: string;
  readonly description: string | null;
  readonly ingress: readonly IngressRuleSpec[];
  readonly egress: readonly EgressRuleSpec[];
}

/** A route table with all its routes. */
export interface RouteTableView {
  readonly name: string;
  /** Names of the subnets that follow it. */
  readonly subnets: readonly string[];
  readonly routes: readonly RouteView[];
}

export interface RouteView {
  /** A block, or `pl:NAME`: every block of that prefix list but those that the table has a route to besides, and the VPC's own. */
  readonly destination: string;
  readonly target: RouteTargetSpec | 'local';
  /** What it leads to is gone: packets are dropped. */
  readonly blackhole: boolean;
  /** It follows from the VPC's blocks or a peering; else somebody asked for it. */
  readonly automatic: boolean;
}

/** A network ACL, its rules as a user writes them, in the order of their numbers. */
export interface NetworkAclView {
  readonly name: string;
  /** Names of the subnets that are associated with it. */
  readonly subnets: readonly string[];
  readonly ingress: readonly NetworkAclEntrySpec[];
  readonly egress: readonly NetworkAclEntrySpec[];
}

/** A NAT gateway and its addresses. */
export interface NatGatewayView {
  readonly name: string;
  readonly subnet: string;
  readonly ip: string;
  /** null: a private one. */
  readonly publicIp: string | null;
  readonly elasticIp: string | null;
  readonly namespace: string;
}

/** A public address that stays. */
export interface ElasticIpView {
  readonly name: string;
  readonly address: string;
  /** What has it. */
  readonly association: { readonly vpc: string; readonly instance?: string; readonly natGateway?: string } | null;
}

/** Blocks under one name. */
export interface PrefixListView {
  readonly name: string;
  readonly family: 'ipv4' | 'ipv6';
  readonly maxEntries: number;
  readonly entries: readonly PrefixListEntrySpec[];
  /** What refers to it: `security group a/web`. */
  readonly references: readonly string[];
}

/** A transit gateway with its route tables and the VPCs that are attached to it. */
export interface TransitGatewayView {
  readonly name: string;
  readonly namespace: string;
  readonly attachments: readonly {
    readonly vpc: string;
    readonly routeTable: string;
    readonly propagateTo: readonly string[];
  }[];
  readonly routeTables: readonly {
    readonly name: string;
    readonly routes: readonly {
      readonly destination: string;
      readonly target: TransitTargetSpec;
      /** What it leads to is not attached any more: packets are dropped. */
      readonly blackhole: boolean;
      readonly propagated: boolean;
    }[];
  }[];
}

/** Two VPCs that reach each other. */
export interface PeeringView {
  readonly vpcs: readonly [string, string];
  /** null: all blocks of both. */
  readonly allowCidrs: readonly string[] | null;
  /** `auto`: every route table of both leads to the other. */
  readonly routes: 'auto' | 'manual';
}

/** A VPC's resolver. */
export interface DnsView {
  /** By which it is asked: its own, and the one that all have. */
  readonly addresses: readonly string[];
  readonly domain: string;
  readonly forward: 'host' | 'none' | readonly string[];
  /** Names of the private zones that it knows. */
  readonly privateZones: readonly string[];
}

/** A private zone, its records as a user writes them. */
export interface PrivateZoneView {
  readonly name: string;
  readonly domain: string;
  readonly vpcs: readonly string[];
  readonly records: readonly ZoneRecordSpec[];
}

/** A VPC with all that is in it. */
export interface VpcView {
  readonly name: string;
  readonly cidrs: readonly string[];
  readonly ipv6Cidr: string | null;
  readonly mtu: number;
  /** The router's namespace, below /run/netns. */
  readonly namespace: string;
  /** null: it has no resolver. */
  readonly dns: DnsView | null;
  readonly subnets: readonly SubnetView[];
  readonly routeTables: readonly RouteTableView[];
  readonly natGateways: readonly NatGatewayView[];
  /** IPv6 that is routed to it gets out, and nobody in. */
  readonly egressOnlyInternetGateway: boolean;
  readonly networkAcls: readonly NetworkAclView[];
  readonly securityGroups: readonly SecurityGroupView[];
  readonly peers: readonly string[];
}

/** Everything of one state directory. */
export interface InstallationView {
  readonly publicPool: string;
  readonly poolRouted: boolean;
  /** Where IPv6 blocks of VPCs are taken from. */
  readonly ipv6Pool: string;
  readonly ipv6PoolRouted: boolean;
  /** As configured. */
  readonly uplink: string;
  readonly quotas: QuotasSpec;
  /** The border's namespace and link; null while no VPC has a public subnet. */
  readonly edge: { readonly namespace: string; readonly uplink: string | null } | null;
  readonly elasticIps: readonly ElasticIpView[];
  readonly prefixLists: readonly PrefixListView[];
  readonly vpcs: readonly VpcView[];
  readonly privateZones: readonly PrivateZoneView[];
  readonly transitGateways: readonly TransitGatewayView[];
  readonly peerings: readonly PeeringView[];
}

export function viewInstance(instance: Instance): InstanceView {
  return {
    name: instance.name,
    subnet: instance.subnet,
    ip: instance.ip,
    ipv6: instance.ipv6 ?? null,
    secondaryIps: instance.secondaryIps ?? [],
    publicIp: instance.publicIp ?? null,
    elasticIp: instance.elasticIp ?? null,
    publish: (instance.publish ?? []).map(({ protocol, hostPort, port }) => ({
      hostPort,
      port,
      protocol: protocol === 6 ? 'tcp' : 'udp',
    })),
    shaping: instance.shaping === undefined ? null : formatShaping(instance.shaping),
    namespace: workloadNs(instance.vpc, instance.name),
    securityGroups: instance.groups,
  };
}

function viewSubnet(reader: Reader, subnet: Subnet): SubnetView {
  return {
    name: subnet.name,
    cidr: subnet.cidr,
    ipv6Cidr: subnet.ipv6Cidr ?? null,
    gateway: subnet.gateway,
    kind: subnet.public ? 'public' : 'private',
    routeTable: tableOf(subnet),
    networkAcl: subnet.networkAcl ?? null,
    reachableFromHost: subnet.hostRoute,
    policy: subnet.policy ?? null,
    instances: findKind(reader, 'instance', `subnet:${subnet.vpc}/${subnet.name}`).map(viewInstance),
  };
}

function viewRouteTable(reader: Reader, vpc: Vpc, table: RouteTable): RouteTableView {
  const own = routesByBlock(reader, table.routes, blocksOf(vpc));
  const automatic = [
    ...blocksOf(vpc).map((destination) => ({ destination, target: 'local' as const })),
    ...peerBlocks(reader, vpc.name).map(({ destination, peer }) => ({ destination, target: { peering: peer } })),
  ].filter(({ destination }) => !own.some((route) => route.destination === destination));
  return {
    name: table.name,
    subnets: findKind(reader, 'subnet', `table:${vpc.name}/${table.name}`).map(({ name }) => name),
    routes: [
      ...automatic.map((route): RouteView => ({ ...route, blackhole: false, automatic: true })),
      ...table.routes.map(
        (route): RouteView => ({
          destination: route.destination,
          target: formatTarget(route.target),
          blackhole: isBlackhole(reader, vpc.name, route.target),
          automatic: false,
        }),
      ),
    ],
  };
}

function viewNatGateway(nat: NatGateway): NatGatewayView {
  const { name, subnet, ip, publicIp = null, elasticIp = null } = nat;
  return { name, subnet, ip, publicIp, elasticIp, namespace: natNs(nat.vpc, name) };
}

function viewNetworkAcl(reader: Reader, { vpc, name, ingress, egress }: NetworkAcl): NetworkAclView {
  return {
    name,
    subnets: findKind(reader, 'subnet', `acl:${vpc}/${name}`).map((subnet) => subnet.name),
    ingress: ingress.map(formatEntry),
    egress: egress.map(formatEntry),
  };
}

function viewElasticIp(reader: Reader, { name, address }: ElasticIp): ElasticIpView {
  const holder = holderOf(reader, name);
  if (holder === undefined) return { name, address, association: null };
  const whose = holder.kind === 'instance' ? { instance: holder.name } : { natGateway: holder.name };
  return { name, address, association: { vpc: holder.vpc, ...whose } };
}

export function viewPrefixList(reader: Reader, list: PrefixList): PrefixListView {
  const { name, family, maxEntries, entries } = list;
  return { name, family, maxEntries, entries, references: referrersOf(reader, name).map(describe) };
}

function viewTransitGateway(reader: Reader, { name }: TransitGateway): TransitGatewayView {
  const attachments = attachmentsOf(reader, name);
  return {
    name,
    namespace: transitNs(name),
    attachments: attachments.map(({ vpc, routeTable, propagateTo }) => ({ vpc, routeTable, propagateTo })),
    routeTables: transitTablesOf(reader, name).map((table) => ({
      name: table.name,
      routes: [
        ...attachments.flatMap((attachment) =>
          propagated(reader, attachment, table).map((destination) => ({
            destination,
            target: { vpc: attachment.vpc },
            blackhole: false,
            propagated: true,
          })),
        ),
        ...table.routes.map(({ destination, target }) => ({
          destination,
          target: formatTransitTarget(target),
          blackhole: isTransitBlackhole(reader, name, target),
          propagated: false,
        })),
      ],
    })),
  };
}

function viewGroup(group: SecurityGroup): SecurityGroupView {
  return {
    name: group.name,
    description: group.description ?? null,
    ingress: group.ingress.map((rule) => formatRule(rule, 'from')),
    egress: group.egress.map((rule) => formatRule(rule, 'to')),
  };
}

function viewDns(reader: Reader, vpc: Vpc): DnsView | null {
  if (vpc.dns === undefined) return null;
  return {
    addresses: [resolverOf(vpc), RESOLVER_ADDRESS],
    domain: vpc.dns.domain,
    forward: vpc.dns.forward,
    privateZones: zonesOf(reader, vpc.name).map(({ name }) => name),
  };
}

function viewZone(zone: PrivateZone): PrivateZoneView {
  const { name, domain, vpcs, records } = zone;
  return { name, domain, vpcs, records: records.map((record) => formatRecord(zone, record)) };
}

export function viewVpc(reader: Reader, vpc: Vpc): VpcView {
  return {
    name: vpc.name,
    cidrs: vpc.cidrs,
    ipv6Cidr: vpc.ipv6Cidr ?? null,
    mtu: vpc.mtu,
    namespace: routerNs(vpc.name),
    dns: viewDns(reader, vpc),
    subnets: subnetsOf(reader, vpc.name).map((subnet) => viewSubnet(reader, subnet)),
    routeTables: routeTablesOf(reader, vpc.name).map((table) => viewRouteTable(reader, vpc, table)),
    natGateways: natGatewaysOf(reader, vpc.name).map(viewNatGateway),
    egressOnlyInternetGateway: egressOnlyGatewayOf(reader, vpc.name) !== undefined,
    networkAcls: networkAclsOf(reader, vpc.name).map((acl) => viewNetworkAcl(reader, acl)),
    securityGroups: findKind(reader, 'group', `groups:${vpc.name}`).map(viewGroup),
    peers: peeringsOf(reader, vpc.name).map((peering) => otherVpc(peering, vpc.name)),
  };
}

function viewPeering(peering: Peering): PeeringView {
  return {
    vpcs: peering.vpcs,
    allowCidrs: peering.allowCidrs ?? null,
    routes: peering.manualRoutes === true ? 'manual' : 'auto',
  };
}

export function viewInstallation(reader: Reader): InstallationView {
  const settings = installationOf(reader);
  const edge = getKind(reader, 'edge', EDGE_ID);
  return {
    publicPool: settings.publicPool,
    poolRouted: settings.poolRouted,
    ipv6Pool: ipv6PoolOf(reader),
    ipv6PoolRouted: settings.ipv6PoolRouted === true,
    uplink: settings.uplink,
    quotas: settings.quotas ?? {},
    edge: edge === undefined ? null : { namespace: EDGE_NS, uplink: edge.uplink ?? null },
    elasticIps: findKind(reader, 'elastic-ip', 'kind:elastic-ip').map((one) => viewElasticIp(reader, one)),
    prefixLists: findKind(reader, 'prefix-list', 'kind:prefix-list').map((list) => viewPrefixList(reader, list)),
    vpcs: findKind(reader, 'vpc', 'kind:vpc').map((vpc) => viewVpc(reader, vpc)),
    privateZones: findKind(reader, 'private-zone', 'kind:private-zone').map(viewZone),
    transitGateways: findKind(reader, 'transit-gateway', 'kind:transit-gateway').map((gateway) =>
      viewTransitGateway(reader, gateway),
    ),
    peerings: findKind(reader, 'peering', 'kind:peering').map(viewPeering),
  };
}
