/**
 * The verbs of routing: route tables and NAT gateways. As those of verbs.ts: idempotent, and a refusal is one line. Source of the rules: Amazon VPC User
 * Guide, "Route tables" and "NAT gateways".
 */
import { isSame } from '../canonical.js';
import { invalid } from '../errors.js';
import { ANY_CIDR, type Ipv4, parseIp } from '../net/cidr.js';
import { parseName } from '../net/name.js';
import type { DestinationSpec, RouteSpec, RouteTargetSpec } from '../spec/types.js';
import { allocate, allocatePublic, checkAddress, checkPublicAddress } from './addresses.js';
import { freeElasticIp } from './elastic.js';
import { checkWayOut6, egressOnlyGatewayOf } from './ipv6.js';
import {
  blocksOf,
  conflict,
  installationOf,
  notFound,
  otherVpc,
  peeringsOf,
  requireSubnet,
  requireVpc,
  routeTablesOf,
} from './lookup.js';
import {
  blockOf,
  checkRouteQuota,
  destinationText,
  familyOfDestination,
  formatDestination,
  isWithin,
  parseDestination,
  refuseUnroutable,
} from './prefix-lists.js';
import { type Draft, findKind, getKind, has, type Reader } from './reader.js';
import {
  describe,
  ids,
  MAIN_ROUTE_TABLE,
  type NatGateway,
  PUBLIC_ROUTE_TABLE,
  type Route,
  type RouteTable,
  type RouteTarget,
  type Subnet,
} from './resources.js';
import { newTable } from './tables.js';

// --- route tables ----------------------------------------------------------------------------------------------------

export function requireRouteTable(reader: Reader, vpc: string, name: string): RouteTable {
  requireVpc(reader, vpc);
  const table = getKind(reader, 'route-table', ids.routeTable(vpc, parseName(name, 'route table')));
  if (table !== undefined) return table;
  throw notFound(
    `route table ${name} of vpc ${vpc}`,
    routeTablesOf(reader, vpc).map((known) => known.name),
  );
}

/** Makes a route table without routes; one that is there keeps its. */
export function addRouteTable(draft: Draft, vpc: string, name: string): RouteTable {
  requireVpc(draft, vpc);
  const known = getKind(draft, 'route-table', ids.routeTable(vpc, parseName(name, 'route table')));
  const table = known ?? newTable(draft, vpc, name);
  return put(draft, table);
}

/** The user has spoken of it: from now on it stays. */
function put(draft: Draft, { implied: _was, ...table }: RouteTable): RouteTable {
  checkRouteQuota(draft, table);
  draft.put(table);
  return table;
}

/** The table of public subnets that are associated with none, while there are such. */
export function settlePublicTable(draft: Draft, vpc: string): void {
  const id = ids.routeTable(vpc, PUBLIC_ROUTE_TABLE);
  const known = getKind(draft, 'route-table', id);
  const wanted = draft.get(ids.vpc(vpc)) !== undefined && has(draft, `table:${vpc}/${PUBLIC_ROUTE_TABLE}`);
  if (!wanted && known?.implied === true) draft.remove(id);
  if (!wanted || known !== undefined) return;
  const routes: Route[] = [{ destination: ANYWHERE, target: { type: 'internet-gateway' } }];
  draft.put({ ...newTable(draft, vpc, PUBLIC_ROUTE_TABLE), routes, implied: true });
}

export const ANYWHERE = ANY_CIDR;

/** Deletes a route table; false when there is none. CONFLICT for `main`, and while a subnet is associated with it. */
export function deleteRouteTable(draft: Draft, vpc: string, name: string): boolean {
  const id = ids.routeTable(parseName(vpc, 'vpc'), parseName(name, 'route table'));
  if (draft.get(id) === undefined) return false;
  if (name === MAIN_ROUTE_TABLE)
    throw conflict(`route table main of vpc ${vpc} cannot be deleted`, 'it goes with its VPC');
  const [user] = draft.find(`table:${vpc}/${name}`);
  if (user !== undefined) {
    throw conflict(`route table ${vpc}/${name} is that of ${describe(user)}`, 'associate that with another one first');
  }
  draft.remove(id);
  return true;
}

function parseTarget(spec: RouteTargetSpec): RouteTarget {
  if (typeof spec === 'string') return { type: spec };
  if ('natGateway' in spec) return { type: 'nat-gateway', natGateway: parseName(spec.natGateway, 'nat gateway') };
  if ('transitGateway' in spec) {
    return { type: 'transit-gateway', transitGateway: parseName(spec.transitGateway, 'transit gateway') };
  }
  return { type: 'peering', peering: parseName(spec.peering, 'vpc') };
}

/** Inverse of the parsing of a target. */
export function formatTarget(target: RouteTarget): RouteTargetSpec {
  switch (target.type) {
    case 'nat-gateway':
      return { natGateway: target.natGateway };
    case 'peering':
      return { peering: target.peering };
    case 'transit-gateway':
      return { transitGateway: target.transitGateway };
    default:
      return target.type;
  }
}

/** Inverse of the parsing of a route. */
export function formatRoute({ destination, target }: Route): RouteSpec {
  return { destination: formatDestination(destination), target: formatTarget(target) };
}

/** Whether what a route leads to is not there: its packets are dropped without a word. */
export function isBlackhole(reader: Reader, vpc: string, target: RouteTarget): boolean {
  switch (target.type) {
    case 'blackhole':
      return true;
    case 'internet-gateway':
      return false;
    case 'egress-only-internet-gateway':
      return egressOnlyGatewayOf(reader, vpc) === undefined;
    case 'nat-gateway':
      return reader.get(ids.natGateway(vpc, target.natGateway)) === undefined;
    case 'peering':
      return reader.get(ids.peering(vpc, target.peering)) === undefined;
    case 'transit-gateway':
      return reader.get(ids.transitAttachment(target.transitGateway, vpc)) === undefined;
  }
}

function checkTarget(draft: Draft, vpc: string, target: RouteTarget): void {
  if (target.type === 'nat-gateway') requireNatGateway(draft, vpc, target.natGateway);
  if (target.type === 'egress-only-internet-gateway' && isBlackhole(draft, vpc, target)) {
    throw notFound(`an egress-only internet gateway of vpc ${vpc}`, []);
  }
  if (target.type === 'transit-gateway' && isBlackhole(draft, vpc, target)) {
    throw notFound(
      `an attachment of vpc ${vpc} to transit gateway ${target.transitGateway}`,
      findKind(draft, 'transit-attachment', `attachments-of:${vpc}`).map((known) => known.transitGateway),
    );
  }
  if (target.type === 'peering' && isBlackhole(draft, vpc, target)) {
    throw notFound(
      `a peering of vpc ${vpc} with ${target.peering}`,
      peeringsOf(draft, vpc).map((peering) => otherVpc(peering, vpc)),
    );
  }
}

function parseRoute(draft: Draft, vpc: string, spec: RouteSpec): Route {
  const destination = parseDestination(draft, spec.destination);
  const block = blockOf(destination);
  const home = blocksOf(requireVpc(draft, vpc)).find((cidr) => isWithin(destination, cidr));
  if (home !== undefined) {
    throw invalid(`a route to ${destination} has no effect: it is in the VPC's own block ${home}, which is local`, {
      hint: 'name a block outside of the VPC',
    });
  }
  if (block !== undefined) refuseUnroutable(block);
  const target = parseTarget(spec.target);
  const family = familyOfDestination(draft, destination);
  if (family === 6 && target.type === 'nat-gateway') {
    throw invalid(`no NAT gateway translates IPv6: the route to ${destinationText(destination)} cannot lead to one`, {
      hint: 'let it lead to the internet gateway or the egress-only one, to a peering or a transit gateway',
    });
  }
  if (family === 4 && target.type === 'egress-only-internet-gateway') {
    throw invalid(
      `an egress-only internet gateway is for IPv6: the route to ${destinationText(destination)} cannot lead to one`,
      { hint: 'let it lead to a NAT gateway, which lets IPv4 out and nobody in' },
    );
  }
  if (family === 6 && block !== undefined && leadsOut(target)) checkWayOut6(block);
  checkTarget(draft, vpc, target);
  return { destination, target };
}

/** To the internet, whoever may begin. */
export function leadsOut({ type }: RouteTarget): boolean {
  return type === 'internet-gateway' || type === 'egress-only-internet-gateway';
}

const inOrder = (routes: readonly Route[]): Route[] =>
  [...routes].sort((a, b) => (a.destination < b.destination ? -1 : a.destination > b.destination ? 1 : 0));

/** Makes the table's routes these. INVALID where two have one destination, NOT_FOUND where a target is not there. */
export function setRoutes(draft: Draft, vpc: string, name: string, specs: readonly RouteSpec[]): RouteTable {
  const table = requireRouteTable(draft, vpc, name);
  const routes = inOrder(specs.map((spec) => parseRoute(draft, vpc, spec)));
  const twice = routes.find(({ destination }, at) => destination === routes[at + 1]?.destination);
  if (twice !== undefined)
    throw invalid(`two routes lead to ${destinationText(twice.destination)}`, { hint: 'leave one out' });
  return isSame(routes, table.routes) ? table : put(draft, { ...table, routes });
}

/** Adds a route, or gives the one to that destination another target. */
export function addRoute(draft: Draft, vpc: string, name: string, spec: RouteSpec): RouteTable {
  const table = requireRouteTable(draft, vpc, name);
  const route = parseRoute(draft, vpc, spec);
  const others = table.routes.filter(({ destination }) => destination !== route.destination);
  const routes = inOrder([...others, route]);
  return isSame(routes, table.routes) ? table : put(draft, { ...table, routes });
}

/** Deletes a route; false when there is none to that destination. */
export function deleteRoute(draft: Draft, vpc: string, name: string, destination: DestinationSpec): boolean {
  const table = requireRouteTable(draft, vpc, name);
  const asked = parseDestination(draft, destination);
  const routes = table.routes.filter((route) => route.destination !== asked);
  if (routes.length === table.routes.length) return false;
  put(draft, { ...table, routes });
  return true;
}

/** Associates a subnet with a route table; without one, its packets follow that of its kind: `public` or `main`. */
export function associateRouteTable(draft: Draft, vpc: string, name: string, table: string | undefined): Subnet {
  const { routeTable: _was, ...rest } = requireSubnet(draft, vpc, name);
  const subnet: Subnet =
    table === undefined ? rest : { ...rest, routeTable: put(draft, requireRouteTable(draft, vpc, table)).name };
  draft.put(subnet);
  return subnet;
}

// --- NAT gateways ----------------------------------------------------------------------------------------------------

export function natGatewaysOf(reader: Reader, vpc: string): NatGateway[] {
  return findKind(reader, 'nat-gateway', `nat-gateways:${vpc}`);
}

export function requireNatGateway(reader: Reader, vpc: string, name: string): NatGateway {
  requireVpc(reader, vpc);
  const nat = getKind(reader, 'nat-gateway', ids.natGateway(vpc, parseName(name, 'nat gateway')));
  if (nat !== undefined) return nat;
  throw notFound(
    `nat gateway ${name} of vpc ${vpc}`,
    natGatewaysOf(reader, vpc).map((known) => known.name),
  );
}

/** What {@link addNatGateway} takes. */
export interface AddNatGateway {
  readonly vpc: string;
  readonly name: string;
  /** Where it stands: a subnet whose routes lead where its packets are to go. */
  readonly subnet: string;
  /** Private address. Default: the next free one. */
  readonly ip?: string;
  /** `public` (default) has a public address; `private` translates to its private one only. */
  readonly connectivity?: 'public' | 'private';
  /** Public address, one of the pool, which goes with it. Default: a free one. */
  readonly publicIp?: string;
  /** Name of the elastic address that it has instead; null: none. Default: none, or as it was. */
  readonly elasticIp?: string | null;
}

/** Adds a NAT gateway. CONFLICT when it exists otherwise: one is never changed (VPC User Guide), but deleted and made anew. */
export function addNatGateway(draft: Draft, args: AddNatGateway): NatGateway {
  const subnet = requireSubnet(draft, args.vpc, args.subnet);
  const name = parseName(args.name, 'nat gateway');
  const id = ids.natGateway(subnet.vpc, name);
  const isPrivate = args.connectivity === 'private';
  const elasticIp = args.elasticIp ?? undefined;
  if (isPrivate && (elasticIp !== undefined || args.publicIp !== undefined)) {
    throw invalid(`nat gateway ${subnet.vpc}/${name} is private: it has no public address`, {
      hint: `leave ${elasticIp === undefined ? 'publicIp' : 'elasticIp'} out`,
    });
  }
  if (elasticIp !== undefined && args.publicIp !== undefined) {
    throw invalid(`nat gateway ${subnet.vpc}/${name} is given a public address and an elastic one`, {
      hint: 'leave one out',
    });
  }
  const existing = getKind(draft, 'nat-gateway', id);
  const asked = args.ip === undefined ? undefined : checkAddress(draft, subnet, parseIp(args.ip), id);
  if (existing !== undefined) {
    const same =
      existing.subnet === subnet.name &&
      (asked === undefined || existing.ip === asked) &&
      (existing.publicIp === undefined) === isPrivate &&
      (args.publicIp === undefined || existing.publicIp === args.publicIp) &&
      (args.elasticIp === undefined || existing.elasticIp === elasticIp);
    if (same) return existing;
    throw conflict(
      `nat gateway ${subnet.vpc}/${name} exists otherwise, and is never changed`,
      'delete it first, or choose another name',
    );
  }
  const address = isPrivate ? {} : natAddress(draft, id, elasticIp, args.publicIp);
  const nat: NatGateway = {
    kind: 'nat-gateway',
    vpc: subnet.vpc,
    name,
    subnet: subnet.name,
    ip: asked ?? allocate(draft, subnet),
    ...address,
    profile: 0,
  };
  const past = draft.before(id);
  if (past?.kind === 'nat-gateway' && past.ip !== nat.ip) {
    throw conflict(
      `nat gateway ${subnet.vpc}/${name} goes only with this change: it cannot come back with ${nat.ip} for ${past.ip}`,
      'choose another name; or delete it in a change of its own first',
    );
  }
  draft.put(nat);
  return nat;
}

function natAddress(
  draft: Draft,
  id: string,
  elasticIp: string | undefined,
  asked: string | undefined,
): { publicIp: Ipv4; elasticIp?: string } {
  const pool = installationOf(draft).publicPool;
  if (elasticIp === undefined) {
    return {
      publicIp: asked === undefined ? allocatePublic(draft, pool, id) : checkPublicAddress(draft, pool, asked, id),
    };
  }
  const { name, address } = freeElasticIp(draft, elasticIp, id);
  return { publicIp: address, elasticIp: name };
}

/** Deletes a NAT gateway; false when there is none. Routes that lead to it become black holes. */
export function deleteNatGateway(draft: Draft, vpc: string, name: string): boolean {
  const id = ids.natGateway(parseName(vpc, 'vpc'), parseName(name, 'nat gateway'));
  if (draft.get(id) === undefined) return false;
  draft.remove(id);
  return true;
}
