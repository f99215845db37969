/** Spec → edits of a draft, and a model → spec. */

import { canonicalText } from '../canonical.js';
import { VpcctlError } from '../errors.js';
import { parseCidr } from '../net/cidr.js';
import type {
  IngressRuleSpec,
  InstanceSpec,
  NatGatewaySpec,
  NetworkAclSpec,
  PeeringSpec,
  RouteTableSpec,
  SecurityGroupSpec,
  Spec,
  SubnetSpec,
  TransitAttachmentSpec,
  TransitGatewaySpec,
  TransitRouteTableSpec,
  VpcSpec,
} from '../spec/types.js';
import { associateNetworkAcl, deleteNetworkAcl, formatEntry, putNetworkAcl } from './acls.js';
import { deleteZone, disassociateZone, formatDns, formatZone, putZone, setDns } from './dns.js';
import { allocateElasticIp, holderOf, releaseElasticIp } from './elastic.js';
import { addEgressOnlyGateway, deleteEgressOnlyGateway, egressOnlyGatewayOf } from './ipv6.js';
import {
  DEFAULT_POOL,
  DEFAULT_POOL6,
  installationOf,
  networkAclsOf,
  peeringsOf,
  routeTablesOf,
  subnetsOf,
} from './lookup.js';
import { checkReferrers, deletePrefixList, isWithin, putPrefixList, referrersOf } from './prefix-lists.js';
import { type Draft, findKind, getKind, type Reader } from './reader.js';
import {
  type GroupRule,
  INSTALLATION_ID,
  ids,
  MAIN_ROUTE_TABLE,
  type NatGateway,
  type NetworkAcl,
  PUBLIC_ROUTE_TABLE,
  type RouteTable,
  type SecurityGroup,
  type Subnet,
  type Vpc,
} from './resources.js';
import {
  addNatGateway,
  addRouteTable,
  associateRouteTable,
  deleteNatGateway,
  deleteRouteTable,
  formatRoute,
  isBlackhole,
  natGatewaysOf,
  setRoutes,
} from './routing.js';
import { DEFAULT_GROUP, DEFAULT_GROUP_RULES, formatPublication, formatRule } from './rules.js';
import { formatShaping } from './shape.js';
import {
  addTransitGateway,
  addTransitTable,
  attachmentsOf,
  attachVpc,
  DEFAULT_TRANSIT_TABLE,
  deleteTransitGateway,
  deleteTransitTable,
  detachVpc,
  formatTransitRoute,
  isTransitBlackhole,
  setTransitRoutes,
  transitTablesOf,
} from './transit.js';
import {
  type AddInstance,
  addInstance,
  addSubnet,
  applyPolicy,
  checkGroupReferences,
  clearPolicy,
  configure,
  createVpc,
  deleteGroup,
  deleteInstance,
  deleteSubnet,
  deleteVpc,
  peer,
  putGroup,
  retainVpcBlocks,
  unpeer,
} from './verbs.js';

/** Gives the errors of `body` the path of what it was about, so that a message can name the line. */
function at<T>(path: readonly (string | number)[], body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (!(error instanceof VpcctlError) || error.facts.path !== undefined) throw error;
    throw new VpcctlError(error.code, error.message, { ...error.facts, path: path.join('.') });
  }
}

/**
 * Makes the draft what the spec says. A VPC in the spec becomes just what it says: what is not listed inside it is removed; so are peerings
 * between two VPCs of the spec. Other VPCs stay, except those that an earlier spec of the same `name` listed.
 */
export function applySpec(draft: Draft, spec: Spec): void {
  if (spec.settings !== undefined) at(['settings'], () => configure(draft, spec.settings ?? {}));
  const names = Object.keys(spec.vpcs);
  removePeerings(draft, spec);
  leaveTransit(draft, spec);
  leaveUnlistedZones(draft, spec);
  if (spec.name !== undefined) {
    for (const vpc of findKind(draft, 'vpc', `origin:${spec.name}`)) {
      if (!names.includes(vpc.name)) deleteVpc(draft, vpc.name, true);
    }
  }
  freeElasticIps(draft, spec);
  for (const [name, { address }] of Object.entries(spec.elasticIps ?? {})) {
    at(['elasticIps', name], () => allocateElasticIp(draft, name, address));
  }
  const lists = Object.entries(spec.prefixLists ?? {});
  for (const [name, list] of lists) at(['prefixLists', name], () => putPrefixList(draft, name, list));
  for (const [name, vpc] of Object.entries(spec.vpcs)) applyVpc(draft, name, vpc, spec.name);
  for (const [index, { vpcs, allowCidrs, routes }] of (spec.peerings ?? []).entries()) {
    at(['peerings', index], () => peer(draft, ...vpcs, allowCidrs, routes));
  }
  for (const name of names) at(['vpcs', name, 'securityGroups'], () => checkGroupReferences(draft, name));
  for (const [name, gateway] of Object.entries(spec.transitGateways ?? {})) applyTransit(draft, name, gateway, spec);
  applyZones(draft, spec);
  for (const [name, vpc] of Object.entries(spec.vpcs)) applyRoutes(draft, name, vpc);
  for (const [name] of lists) at(['prefixLists', name, 'maxEntries'], () => checkReferrers(draft, name));
}

/** Secondary addresses may change hands: whoever gives one up does so first. */
function freeSecondaryIps(draft: Draft, vpc: string, instances: Readonly<Record<string, InstanceSpec>>): void {
  for (const { name, subnet, secondaryIps = [] } of findKind(draft, 'instance', `instances:${vpc}`)) {
    const wanted = Object.hasOwn(instances, name) ? instances[name] : undefined;
    const kept = secondaryIps.filter((ip) => wanted?.secondaryIps?.includes(ip));
    if (wanted?.subnet === subnet && kept.length < secondaryIps.length) {
      addInstance(draft, { vpc, subnet, name, secondaryIps: kept });
    }
  }
}

/** What the spec gives to nobody or to somebody else is given up first: whoever gets it may come before whoever has it. */
function freeElasticIps(draft: Draft, spec: Spec): void {
  for (const [vpc, { instances = {}, natGateways = {} }] of Object.entries(spec.vpcs)) {
    for (const { name, subnet, elasticIp } of findKind(draft, 'instance', `instances:${vpc}`)) {
      const wanted = Object.hasOwn(instances, name) ? instances[name] : undefined;
      if (elasticIp === undefined || wanted?.elasticIp === elasticIp) continue;
      if (wanted === undefined) deleteInstance(draft, vpc, name);
      else addInstance(draft, { vpc, subnet, name, elasticIp: null });
    }
    for (const { name } of natGatewaysOf(draft, vpc)) {
      if (!Object.hasOwn(natGateways, name)) deleteNatGateway(draft, vpc, name);
    }
  }
}

/** A transit gateway becomes what the spec says; attachments of VPCs that the spec does not list stay. */
function applyTransit(draft: Draft, name: string, gateway: TransitGatewaySpec, { vpcs }: Spec): void {
  const path = ['transitGateways', name];
  const { attachments = {}, routeTables = {} } = gateway;
  at(path, () => addTransitGateway(draft, name));
  for (const { vpc } of attachmentsOf(draft, name)) {
    if (vpc in vpcs && !(vpc in attachments)) detachVpc(draft, name, vpc);
  }
  for (const table of Object.keys(routeTables)) {
    at([...path, 'routeTables', table], () => addTransitTable(draft, name, table));
  }
  for (const [vpc, attachment] of Object.entries(attachments)) {
    const { routeTable = DEFAULT_TRANSIT_TABLE, propagateTo = [DEFAULT_TRANSIT_TABLE] } = attachment;
    at([...path, 'attachments', vpc], () => attachVpc(draft, { transitGateway: name, vpc, routeTable, propagateTo }));
  }
  for (const table of transitTablesOf(draft, name)) {
    const wanted = routeTables[table.name];
    if (wanted === undefined && table.name !== DEFAULT_TRANSIT_TABLE) {
      at([...path, 'routeTables'], () => deleteTransitTable(draft, name, table.name));
    } else {
      at([...path, 'routeTables', table.name], () => setTransitRoutes(draft, name, table.name, wanted?.routes ?? []));
    }
  }
}

/** Of transit gateways that the spec does not list: its VPCs are detached, and one that is then of no use goes. */
function leaveTransit(draft: Draft, spec: Spec): void {
  for (const { name } of findKind(draft, 'transit-gateway', 'kind:transit-gateway')) {
    const attachments = attachmentsOf(draft, name);
    if (name in (spec.transitGateways ?? {}) || attachments.length === 0) continue;
    for (const { vpc } of attachments) if (vpc in spec.vpcs) detachVpc(draft, name, vpc);
    if (attachmentsOf(draft, name).length === 0) deleteTransitGateway(draft, name);
  }
}

/** A zone becomes what the spec says, but VPCs that the spec does not list stay associated. */
function applyZones(draft: Draft, { vpcs, privateZones = {} }: Spec): void {
  for (const [name, zone] of Object.entries(privateZones)) {
    at(['privateZones', name], () => {
      const known = getKind(draft, 'private-zone', ids.privateZone(name))?.vpcs ?? [];
      const others = known.filter((vpc) => !(vpc in vpcs));
      putZone(draft, name, { records: [], ...zone, vpcs: [...others, ...(zone.vpcs ?? [])] });
    });
  }
}

/** Of zones that the spec does not list, or not with these VPCs: its VPCs are disassociated, and one that is then of no use goes. */
function leaveUnlistedZones(draft: Draft, spec: Spec): void {
  for (const { name, vpcs } of findKind(draft, 'private-zone', 'kind:private-zone')) {
    const wanted = spec.privateZones?.[name]?.vpcs ?? [];
    const left = vpcs.filter((vpc) => vpc in spec.vpcs && !wanted.includes(vpc));
    for (const vpc of left) disassociateZone(draft, name, vpc);
    if (left.length > 0 && left.length === vpcs.length && !(name in (spec.privateZones ?? {}))) deleteZone(draft, name);
  }
}

/** Once everything is there that a route may lead to. */
function applyRoutes(draft: Draft, vpc: string, { routeTables = {} }: VpcSpec): void {
  const path = ['vpcs', vpc, 'routeTables'];
  for (const { name, implied } of routeTablesOf(draft, vpc)) {
    if (name in routeTables || implied === true) continue;
    if (name === MAIN_ROUTE_TABLE) setRoutes(draft, vpc, name, []);
    // Where subnets follow it, it comes back as it is by itself.
    else if (name === PUBLIC_ROUTE_TABLE) draft.remove(ids.routeTable(vpc, name));
    else at(path, () => deleteRouteTable(draft, vpc, name));
  }
  for (const [name, { routes = [] }] of Object.entries(routeTables)) {
    at([...path, name], () => setRoutes(draft, vpc, name, routes));
  }
}

function removePeerings(draft: Draft, spec: Spec): void {
  const wanted = new Set((spec.peerings ?? []).map(({ vpcs }) => [...vpcs].sort().join('/')));
  for (const name of Object.keys(spec.vpcs)) {
    for (const { vpcs } of peeringsOf(draft, name)) {
      if (vpcs.every((vpc) => vpc in spec.vpcs) && !wanted.has(vpcs.join('/'))) unpeer(draft, ...vpcs);
    }
  }
}

function applyVpc(draft: Draft, name: string, spec: VpcSpec, origin: string | undefined): void {
  const path = ['vpcs', name];
  at([...path, 'cidr'], () =>
    createVpc(draft, { name, cidr: parseCidr(spec.cidr).cidr, ...(origin === undefined ? {} : { origin }) }),
  );
  const subnets = spec.subnets ?? {};
  const instances = spec.instances ?? {};
  for (const instance of findKind(draft, 'instance', `instances:${name}`)) {
    if (!(instance.name in instances)) deleteInstance(draft, name, instance.name);
  }
  for (const subnet of subnetsOf(draft, name)) if (!(subnet.name in subnets)) deleteSubnet(draft, name, subnet.name);
  takeIpv6(draft, name, spec);
  at([...path, 'secondaryCidrs'], () => {
    const keep = (spec.secondaryCidrs ?? []).map((text) => parseCidr(text).cidr);
    retainVpcBlocks(draft, name, keep);
    for (const table of routeTablesOf(draft, name)) {
      const routes = table.routes.filter(({ destination }) => !keep.some((block) => isWithin(destination, block)));
      if (routes.length < table.routes.length) draft.put({ ...table, routes });
    }
    createVpc(draft, { name, cidr: spec.cidr, secondaryCidrs: keep });
  });
  at([...path, 'ipv6Cidr'], () => createVpc(draft, { name, cidr: spec.cidr, ipv6Cidr: spec.ipv6Cidr ?? false }));
  at([...path, 'dns'], () => setDns(draft, name, spec.dns ?? false));
  for (const table of Object.keys(spec.routeTables ?? {})) {
    at([...path, 'routeTables', table], () => addRouteTable(draft, name, table));
  }
  for (const [acl, wanted] of Object.entries(spec.networkAcls ?? {})) {
    at([...path, 'networkAcls', acl], () => putNetworkAcl(draft, name, acl, wanted));
  }
  for (const [subnet, wanted] of Object.entries(subnets)) {
    at([...path, 'subnets', subnet], () => applySubnet(draft, name, subnet, wanted));
  }
  for (const acl of networkAclsOf(draft, name)) {
    if (!(acl.name in (spec.networkAcls ?? {}))) deleteNetworkAcl(draft, name, acl.name);
  }
  for (const [group, wanted] of Object.entries(spec.securityGroups ?? {})) {
    at([...path, 'securityGroups', group], () => putGroup(draft, name, group, wanted));
  }
  freeSecondaryIps(draft, name, instances);
  for (const [instance, wanted] of Object.entries(instances)) {
    const isDual = has6(subnets[wanted.subnet]);
    at([...path, 'instances', instance], () =>
      addInstance(draft, { vpc: name, name: instance, ...explicit(wanted), ipv6: wanted.ipv6 ?? isDual }),
    );
  }
  for (const [nat, wanted] of Object.entries(spec.natGateways ?? {})) {
    at([...path, 'natGateways', nat], () => addNatGateway(draft, { vpc: name, name: nat, elasticIp: null, ...wanted }));
  }
  if (spec.egressOnlyInternetGateway === true) addEgressOnlyGateway(draft, name);
  else deleteEgressOnlyGateway(draft, name);
  removeGroups(draft, name, spec);
}

const has6 = (spec: { readonly ipv6Cidr?: boolean | string } | undefined): boolean =>
  spec?.ipv6Cidr !== undefined && spec.ipv6Cidr !== false;

/** What is to have no IPv6, or that of another block, gives it up first, the instances before the subnets. */
function takeIpv6(draft: Draft, vpc: string, spec: VpcSpec): void {
  const leaves = (had: string | undefined, wanted: { readonly ipv6Cidr?: boolean | string } | undefined): boolean =>
    had !== undefined && (!has6(wanted) || (typeof wanted?.ipv6Cidr === 'string' && wanted.ipv6Cidr !== had));
  const all = leaves(getKind(draft, 'vpc', ids.vpc(vpc))?.ipv6Cidr, spec);
  for (const subnet of subnetsOf(draft, vpc)) {
    if (subnet.ipv6Cidr === undefined || !(all || leaves(subnet.ipv6Cidr, spec.subnets?.[subnet.name]))) continue;
    for (const { name } of findKind(draft, 'instance', `subnet:${vpc}/${subnet.name}`)) {
      addInstance(draft, { vpc, subnet: subnet.name, name, ipv6: false });
    }
    const { name, cidr, gateway } = subnet;
    addSubnet(draft, { vpc, name, cidr, gateway, ipv6Cidr: false });
  }
  const cidr = getKind(draft, 'vpc', ids.vpc(vpc))?.cidrs[0];
  if (all && cidr !== undefined) createVpc(draft, { name: vpc, cidr, ipv6Cidr: false });
}

/** What a spec leaves out is the default, not what was before. */
function explicit(spec: InstanceSpec): Pick<AddInstance, keyof InstanceSpec> {
  return {
    ...spec,
    securityGroups: spec.securityGroups ?? [DEFAULT_GROUP],
    secondaryIps: spec.secondaryIps ?? [],
    elasticIp: spec.elasticIp ?? null,
    publish: spec.publish ?? [],
    bandwidth: spec.bandwidth ?? null,
    delay: spec.delay ?? null,
    jitter: spec.jitter ?? null,
    loss: spec.loss ?? null,
  };
}

function removeGroups(draft: Draft, vpc: string, spec: VpcSpec): void {
  const wanted = spec.securityGroups ?? {};
  const unlisted = findKind(draft, 'group', `groups:${vpc}`).filter(({ name }) => !(name in wanted));
  // Groups may name each other: empty them first.
  for (const group of unlisted) {
    draft.put(
      group.name === DEFAULT_GROUP
        ? { kind: 'group', vpc, name: DEFAULT_GROUP, ...DEFAULT_GROUP_RULES }
        : { ...group, ingress: [], egress: [] },
    );
  }
  for (const { name } of unlisted) if (name !== DEFAULT_GROUP) deleteGroup(draft, vpc, name);
}

function applySubnet(draft: Draft, vpc: string, name: string, spec: SubnetSpec): void {
  addSubnet(draft, {
    vpc,
    name,
    cidr: spec.cidr,
    ipv6Cidr: spec.ipv6Cidr ?? false,
    public: spec.public ?? false,
    addressing: spec.addressing ?? 'cloud',
    ...(spec.gateway === undefined ? {} : { gateway: spec.gateway }),
  });
  associateRouteTable(draft, vpc, name, spec.routeTable);
  associateNetworkAcl(draft, vpc, name, spec.networkAcl);
  if (spec.policy === undefined) clearPolicy(draft, vpc, name);
  else applyPolicy(draft, vpc, name, spec.policy);
}

/** Removes every VPC of the spec, and those of its transit gateways, elastic addresses and prefix lists that nothing else uses. */
export function destroySpec(draft: Draft, spec: Spec): void {
  for (const name of Object.keys(spec.vpcs)) deleteVpc(draft, name, true);
  for (const name of Object.keys(spec.privateZones ?? {})) {
    if (getKind(draft, 'private-zone', ids.privateZone(name))?.vpcs.length === 0) deleteZone(draft, name);
  }
  for (const name of Object.keys(spec.transitGateways ?? {})) {
    if (attachmentsOf(draft, name).length === 0) deleteTransitGateway(draft, name);
  }
  for (const name of Object.keys(spec.elasticIps ?? {})) {
    if (holderOf(draft, name) === undefined) releaseElasticIp(draft, name);
  }
  for (const name of Object.keys(spec.prefixLists ?? {})) {
    if (referrersOf(draft, name).length === 0) deletePrefixList(draft, name);
  }
}

/** Removes everything, the settings too. */
export function destroyAll(draft: Draft): void {
  for (const { name } of findKind(draft, 'vpc', 'kind:vpc')) deleteVpc(draft, name, true);
  for (const { name } of findKind(draft, 'private-zone', 'kind:private-zone')) deleteZone(draft, name);
  for (const { name } of findKind(draft, 'transit-gateway', 'kind:transit-gateway')) deleteTransitGateway(draft, name);
  for (const { name } of findKind(draft, 'elastic-ip', 'kind:elastic-ip')) releaseElasticIp(draft, name);
  for (const { name } of findKind(draft, 'prefix-list', 'kind:prefix-list')) deletePrefixList(draft, name);
  draft.remove(INSTALLATION_ID);
}

// --- model → spec ----------------------------------------------------------------------------------------------------

/** The whole model as a spec that makes the same again: every address is written out. */
export function exportSpec(reader: Reader): Spec {
  const vpcs = findKind(reader, 'vpc', 'kind:vpc');
  const settings = installationOf(reader);
  const peerings = findKind(reader, 'peering', 'kind:peering').map(
    (peering): PeeringSpec => ({
      vpcs: peering.vpcs,
      ...(peering.allowCidrs === undefined ? {} : { allowCidrs: peering.allowCidrs }),
      ...(peering.manualRoutes === true ? { routes: 'manual' } : {}),
    }),
  );
  const transit = record(
    findKind(reader, 'transit-gateway', 'kind:transit-gateway').map(
      ({ name }) => [name, exportTransit(reader, name)] as const,
    ),
  );
  const zones = record(
    findKind(reader, 'private-zone', 'kind:private-zone').map((zone) => [zone.name, formatZone(reader, zone)] as const),
  );
  const elasticIps = record(
    findKind(reader, 'elastic-ip', 'kind:elastic-ip').map(({ name, address }) => [name, { address }] as const),
  );
  const lists = record(
    findKind(reader, 'prefix-list', 'kind:prefix-list').map(
      ({ name, family, maxEntries, entries }) =>
        [
          name,
          {
            ...(family === 'ipv4' ? {} : { family }),
            maxEntries,
            ...(entries.length === 0 ? {} : { entries }),
          },
        ] as const,
    ),
  );
  const own = {
    ...(settings.publicPool === DEFAULT_POOL ? {} : { publicPool: settings.publicPool }),
    ...(settings.poolRouted ? { poolRouted: true } : {}),
    ...(settings.ipv6Pool === undefined || settings.ipv6Pool === DEFAULT_POOL6 ? {} : { ipv6Pool: settings.ipv6Pool }),
    ...(settings.ipv6PoolRouted === true ? { ipv6PoolRouted: true } : {}),
    ...(settings.uplink === 'auto' ? {} : { uplink: settings.uplink }),
    ...(settings.quotas === undefined ? {} : { quotas: settings.quotas }),
  };
  return {
    ...(Object.keys(own).length === 0 ? {} : { settings: own }),
    ...(elasticIps === undefined ? {} : { elasticIps }),
    ...(lists === undefined ? {} : { prefixLists: lists }),
    vpcs: Object.fromEntries(vpcs.map((vpc) => [vpc.name, exportVpc(reader, vpc)])),
    ...(zones === undefined ? {} : { privateZones: zones }),
    ...(transit === undefined ? {} : { transitGateways: transit }),
    ...(peerings.length === 0 ? {} : { peerings }),
  };
}

function record<T>(entries: readonly (readonly [string, T])[]): Record<string, T> | undefined {
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

function exportVpc(reader: Reader, vpc: Vpc): VpcSpec {
  const [primary, ...secondary] = vpc.cidrs;
  const subnets = record(subnetsOf(reader, vpc.name).map((subnet) => [subnet.name, exportSubnet(subnet)] as const));
  const groups = record(
    findKind(reader, 'group', `groups:${vpc.name}`)
      .filter((group) => group.name !== DEFAULT_GROUP || group.description !== undefined || !isDefault(group))
      .map((group) => [group.name, exportGroup(reader, group)] as const),
  );
  const instances = record(
    findKind(reader, 'instance', `instances:${vpc.name}`).map((instance): readonly [string, InstanceSpec] => [
      instance.name,
      {
        subnet: instance.subnet,
        ip: instance.ip,
        ipv6: instance.ipv6 ?? false,
        ...(instance.secondaryIps === undefined ? {} : { secondaryIps: instance.secondaryIps }),
        ...(instance.elasticIp === undefined
          ? { publicIp: instance.publicIp ?? false }
          : { elasticIp: instance.elasticIp }),
        ...(instance.publish === undefined ? {} : { publish: instance.publish.map(formatPublication) }),
        ...formatShaping(instance.shaping),
        ...(instance.groups.join() === DEFAULT_GROUP ? {} : { securityGroups: instance.groups }),
      },
    ]),
  );
  const tables = record(
    routeTablesOf(reader, vpc.name)
      .filter((table) => table.implied !== true && (table.name !== MAIN_ROUTE_TABLE || table.routes.length > 0))
      .map((table) => [table.name, exportRouteTable(reader, table)] as const),
  );
  const acls = record(networkAclsOf(reader, vpc.name).map((acl) => [acl.name, exportNetworkAcl(acl)] as const));
  const dns = formatDns(vpc);
  const nats = record(natGatewaysOf(reader, vpc.name).map((nat) => [nat.name, exportNatGateway(nat)] as const));
  return {
    cidr: primary ?? '',
    ...(vpc.ipv6Cidr === undefined ? {} : { ipv6Cidr: vpc.ipv6Cidr }),
    ...(secondary.length === 0 ? {} : { secondaryCidrs: secondary }),
    ...(dns === undefined ? {} : { dns }),
    ...(subnets === undefined ? {} : { subnets }),
    ...(tables === undefined ? {} : { routeTables: tables }),
    ...(nats === undefined ? {} : { natGateways: nats }),
    ...(egressOnlyGatewayOf(reader, vpc.name) === undefined ? {} : { egressOnlyInternetGateway: true }),
    ...(acls === undefined ? {} : { networkAcls: acls }),
    ...(groups === undefined ? {} : { securityGroups: groups }),
    ...(instances === undefined ? {} : { instances: forSubnets(instances, subnets ?? {}) }),
  };
}

/** `publicIp: false` and `ipv6: false` are said only where the subnet would give one. */
function forSubnets(
  instances: Record<string, InstanceSpec>,
  subnets: Record<string, SubnetSpec>,
): Record<string, InstanceSpec> {
  return Object.fromEntries(
    Object.entries(instances).map(([name, { publicIp, ipv6, ip, subnet, ...rest }]) => {
      const home = subnets[subnet];
      return [
        name,
        {
          subnet,
          ...(ip === undefined ? {} : { ip }),
          ...(ipv6 === undefined || (ipv6 === false && !has6(home)) ? {} : { ipv6 }),
          ...(publicIp === undefined || (publicIp === false && home?.public !== true) ? {} : { publicIp }),
          ...rest,
        },
      ];
    }),
  );
}

function exportTransit(reader: Reader, gateway: string): TransitGatewaySpec {
  const tables = record(
    transitTablesOf(reader, gateway)
      .filter(({ name, routes }) => name !== DEFAULT_TRANSIT_TABLE || routes.length > 0)
      .map(({ name, routes }): readonly [string, TransitRouteTableSpec] => [
        name,
        routes.length === 0
          ? {}
          : {
              routes: routes.map((route) =>
                isTransitBlackhole(reader, gateway, route.target)
                  ? { ...formatTransitRoute(route), target: 'blackhole' }
                  : formatTransitRoute(route),
              ),
            },
      ]),
  );
  const attachments = record(
    attachmentsOf(reader, gateway).map(({ vpc, routeTable, propagateTo }): readonly [string, TransitAttachmentSpec] => [
      vpc,
      {
        ...(routeTable === DEFAULT_TRANSIT_TABLE ? {} : { routeTable }),
        ...(propagateTo.join() === DEFAULT_TRANSIT_TABLE ? {} : { propagateTo }),
      },
    ]),
  );
  return {
    ...(tables === undefined ? {} : { routeTables: tables }),
    ...(attachments === undefined ? {} : { attachments }),
  };
}

/** A route whose target is gone is a black hole, and comes back as one. */
function exportRouteTable(reader: Reader, { vpc, routes }: RouteTable): RouteTableSpec {
  if (routes.length === 0) return {};
  return {
    routes: routes.map((route) =>
      isBlackhole(reader, vpc, route.target) ? { ...formatRoute(route), target: 'blackhole' } : formatRoute(route),
    ),
  };
}

function exportNatGateway({ subnet, ip, publicIp, elasticIp }: NatGateway): NatGatewaySpec {
  return {
    subnet,
    ip,
    ...(publicIp === undefined ? { connectivity: 'private' } : elasticIp === undefined ? { publicIp } : { elasticIp }),
  };
}

function exportNetworkAcl({ ingress, egress }: NetworkAcl): NetworkAclSpec {
  return {
    ...(ingress.length === 0 ? {} : { ingress: ingress.map(formatEntry) }),
    ...(egress.length === 0 ? {} : { egress: egress.map(formatEntry) }),
  };
}

function exportSubnet(subnet: Subnet): SubnetSpec {
  return {
    cidr: subnet.cidr,
    ...(subnet.ipv6Cidr === undefined ? {} : { ipv6Cidr: subnet.ipv6Cidr }),
    ...(subnet.public ? { public: true } : {}),
    ...(subnet.routeTable === undefined ? {} : { routeTable: subnet.routeTable }),
    ...(subnet.networkAcl === undefined ? {} : { networkAcl: subnet.networkAcl }),
    gateway: subnet.gateway,
    ...(subnet.addressing === 'plain' ? { addressing: 'plain' } : {}),
    ...(subnet.policy === undefined ? {} : { policy: subnet.policy }),
  };
}

function isDefault(group: SecurityGroup): boolean {
  return (
    canonicalText([group.ingress, group.egress]) ===
    canonicalText([DEFAULT_GROUP_RULES.ingress, DEFAULT_GROUP_RULES.egress])
  );
}

/** Rules that name a group of a peer that is gone are stale: they hold for nobody, and nothing could be applied that has them. */
function exportGroup(reader: Reader, { vpc, description, ingress, egress }: SecurityGroup): SecurityGroupSpec {
  const known = ({ party }: GroupRule): boolean =>
    party.type !== 'group' || reader.get(ids.group(party.vpc ?? vpc, party.group)) !== undefined;
  const from: IngressRuleSpec[] = ingress.filter(known).map((rule) => formatRule(rule, 'from'));
  return {
    ...(description === undefined ? {} : { description }),
    ingress: from,
    egress: egress.filter(known).map((rule) => formatRule(rule, 'to')),
  };
}
