/** What a user is shown of the model: plain data, stable names, for tables and for `--json`. */
import { EDGE_NS, routerNs, workloadNs } from '../lower/names.js';
import { findKind, getKind, type Reader } from '../model/reader.js';
import { EDGE_ID, type Instance, type Peering, type SecurityGroup, type Subnet, type Vpc } from '../model/resources.js';
import { formatRule } from '../model/rules.js';
import { installationOf, otherVpc, peeringsOf, subnetsOf } from '../model/verbs.js';
import type { EgressRuleSpec, IngressRuleSpec, PolicySpec } from '../spec/types.js';

/** An instance and its addresses. */
export interface InstanceView {
  readonly name: string;
  readonly subnet: string;
  readonly ip: string;
  readonly publicIp: string | null;
  /** Below /run/netns. */
  readonly namespace: string;
  readonly securityGroups: readonly string[];
}

/** A subnet with its instances. */
export interface SubnetView {
  readonly name: string;
  readonly cidr: string;
  readonly gateway: string;
  readonly kind: 'public' | 'private';
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

/** Two VPCs that reach each other. */
export interface PeeringView {
  readonly vpcs: readonly [string, string];
  /** null: all blocks of both. */
  readonly allowCidrs: readonly string[] | null;
}

/** A VPC with all that is in it. */
export interface VpcView {
  readonly name: string;
  readonly cidrs: readonly string[];
  readonly mtu: number;
  /** The router's namespace, below /run/netns. */
  readonly namespace: string;
  readonly subnets: readonly SubnetView[];
  readonly securityGroups: readonly SecurityGroupView[];
  readonly peers: readonly string[];
}

/** Everything of one state directory. */
export interface InstallationView {
  readonly publicPool: string;
  readonly poolRouted: boolean;
  /** As configured. */
  readonly uplink: string;
  /** The border's namespace and link; null while no VPC has a public subnet. */
  readonly edge: { readonly namespace: string; readonly uplink: string | null } | null;
  readonly vpcs: readonly VpcView[];
  readonly peerings: readonly PeeringView[];
}

export function viewInstance(instance: Instance): InstanceView {
  return {
    name: instance.name,
    subnet: instance.subnet,
    ip: instance.ip,
    publicIp: instance.publicIp ?? null,
    namespace: workloadNs(instance.vpc, instance.name),
    securityGroups: instance.groups,
  };
}

function viewSubnet(reader: Reader, subnet: Subnet): SubnetView {
  return {
    name: subnet.name,
    cidr: subnet.cidr,
    gateway: subnet.gateway,
    kind: subnet.public ? 'public' : 'private',
    reachableFromHost: subnet.hostRoute,
    policy: subnet.policy ?? null,
    instances: findKind(reader, 'instance', `subnet:${subnet.vpc}/${subnet.name}`).map(viewInstance),
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

export function viewVpc(reader: Reader, vpc: Vpc): VpcView {
  return {
    name: vpc.name,
    cidrs: vpc.cidrs,
    mtu: vpc.mtu,
    namespace: routerNs(vpc.name),
    subnets: subnetsOf(reader, vpc.name).map((subnet) => viewSubnet(reader, subnet)),
    securityGroups: findKind(reader, 'group', `groups:${vpc.name}`).map(viewGroup),
    peers: peeringsOf(reader, vpc.name).map((peering) => otherVpc(peering, vpc.name)),
  };
}

function viewPeering(peering: Peering): PeeringView {
  return { vpcs: peering.vpcs, allowCidrs: peering.allowCidrs ?? null };
}

export function viewInstallation(reader: Reader): InstallationView {
  const settings = installationOf(reader);
  const edge = getKind(reader, 'edge', EDGE_ID);
  return {
    publicPool: settings.publicPool,
    poolRouted: settings.poolRouted,
    uplink: settings.uplink,
    edge: edge === undefined ? null : { namespace: EDGE_NS, uplink: edge.uplink ?? null },
    vpcs: findKind(reader, 'vpc', 'kind:vpc').map((vpc) => viewVpc(reader, vpc)),
    peerings: findKind(reader, 'peering', 'kind:peering').map(viewPeering),
  };
}
