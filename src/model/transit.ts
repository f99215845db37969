/** The verbs of transit gateways. Source of the rules: Amazon VPC, Transit Gateways, "How transit gateways work" and "Transit gateway route tables". */
import { isSame } from '../canonical.js';
import { invalid } from '../errors.js';
import type { AnyCidr } from '../net/cidr.js';
import { parseName } from '../net/name.js';
import type { DestinationSpec, TransitRouteSpec, TransitTargetSpec } from '../spec/types.js';
import { blocksOf, conflict, notFound, requireVpc } from './lookup.js';
import { blockOf, formatDestination, parseDestination, refuseUnroutable, routesByBlock } from './prefix-lists.js';
import { type Draft, findKind, getKind, has, type Reader } from './reader.js';
import {
  describe,
  idOf,
  ids,
  type TransitAttachment,
  type TransitGateway,
  type TransitRoute,
  type TransitRouteTable,
  type TransitTarget,
} from './resources.js';
import { numberOf } from './tables.js';

/** The table that attachments are associated with and propagate to unless they say otherwise. It comes with its gateway. */
export const DEFAULT_TRANSIT_TABLE = 'default';

// --- reading ---------------------------------------------------------------------------------------------------------

export function attachmentsOf(reader: Reader, gateway: string): TransitAttachment[] {
  return findKind(reader, 'transit-attachment', `attachments:${gateway}`);
}

export function transitTablesOf(reader: Reader, gateway: string): TransitRouteTable[] {
  return findKind(reader, 'transit-route-table', `transit-tables:${gateway}`);
}

export function requireTransitGateway(reader: Reader, name: string): TransitGateway {
  const found = getKind(reader, 'transit-gateway', ids.transitGateway(parseName(name, 'transit gateway')));
  if (found !== undefined) return found;
  throw notFound(
    `transit gateway ${name}`,
    findKind(reader, 'transit-gateway', 'kind:transit-gateway').map((known) => known.name),
  );
}

export function requireTransitTable(reader: Reader, gateway: string, name: string): TransitRouteTable {
  requireTransitGateway(reader, gateway);
  const found = getKind(reader, 'transit-route-table', ids.transitRouteTable(gateway, parseName(name, 'route table')));
  if (found !== undefined) return found;
  throw notFound(
    `route table ${name} of transit gateway ${gateway}`,
    transitTablesOf(reader, gateway).map((known) => known.name),
  );
}

/** Whether what a route of a transit gateway leads to is not attached. */
export function isTransitBlackhole(reader: Reader, gateway: string, target: TransitTarget): boolean {
  return target.type === 'blackhole' || reader.get(ids.transitAttachment(gateway, target.vpc)) === undefined;
}

/**
 * The blocks of an attached VPC that a table of the gateway has routes to by propagation: those that no static route of it names, nor one of a VPC before it
 * in the order of names. (AWS propagates overlapping blocks of one VPC only.)
 */
export function propagated(reader: Reader, attachment: TransitAttachment, table: TransitRouteTable): AnyCidr[] {
  if (!attachment.propagateTo.includes(table.name)) return [];
  const taken = new Set<string>(routesByBlock(reader, table.routes).map(({ destination }) => destination));
  const isBefore = ({ vpc, propagateTo }: TransitAttachment) =>
    vpc < attachment.vpc && propagateTo.includes(table.name);
  return untaken(reader, attachment, isBefore).filter((cidr) => !taken.has(cidr));
}

/** The blocks of an attached VPC that the gateway itself knows it by: those of no VPC before it in the order of names. */
export function ownBlocks(reader: Reader, attachment: TransitAttachment): AnyCidr[] {
  return untaken(reader, attachment, ({ vpc }) => vpc < attachment.vpc);
}

/** The blocks of an attached VPC without those of the attachments that come before it. */
function untaken(
  reader: Reader,
  { transitGateway, vpc }: TransitAttachment,
  isBefore: (other: TransitAttachment) => boolean,
): AnyCidr[] {
  const blocksIn = (name: string): AnyCidr[] => {
    const found = getKind(reader, 'vpc', ids.vpc(name));
    return found === undefined ? [] : blocksOf(found);
  };
  const before = attachmentsOf(reader, transitGateway).filter(isBefore);
  const taken = new Set<string>(before.flatMap((other) => blocksIn(other.vpc)));
  return blocksIn(vpc).filter((cidr) => !taken.has(cidr));
}

// --- gateways and attachments ----------------------------------------------------------------------------------------

/** Makes a transit gateway with its `default` route table. */
export function addTransitGateway(draft: Draft, name: string): TransitGateway {
  const gateway: TransitGateway = { kind: 'transit-gateway', name: parseName(name, 'transit gateway') };
  draft.put(gateway);
  addTransitTable(draft, name, DEFAULT_TRANSIT_TABLE);
  return gateway;
}

/** Deletes a transit gateway; false when there is none. CONFLICT while VPCs are attached, unless `force`, which detaches them. */
export function deleteTransitGateway(draft: Draft, name: string, force = false): boolean {
  const id = ids.transitGateway(parseName(name, 'transit gateway'));
  if (draft.get(id) === undefined) return false;
  const attachments = attachmentsOf(draft, name);
  if (attachments.length > 0 && !force) {
    throw conflict(
      `transit gateway ${name} is attached to vpc ${attachments.map(({ vpc }) => vpc).join(', ')}`,
      'detach-vpc first, or use --force',
    );
  }
  for (const part of [...attachments, ...transitTablesOf(draft, name)]) draft.remove(idOf(part));
  draft.remove(id);
  return true;
}

/** What {@link attachVpc} takes. */
export interface AttachVpc {
  readonly transitGateway: string;
  readonly vpc: string;
  /** The route table of the gateway that packets from the VPC follow. Default: `default`, or as it was. */
  readonly routeTable?: string;
  /** The route tables of the gateway that get routes to the VPC's blocks. Default: `default`, or as it was. */
  readonly propagateTo?: readonly string[];
}

/** Attaches a VPC to a transit gateway, or changes what it is associated with and propagates to. The VPC's own routes are to lead there. */
export function attachVpc(draft: Draft, args: AttachVpc): TransitAttachment {
  const { name: gateway } = requireTransitGateway(draft, args.transitGateway);
  const { name: vpc } = requireVpc(draft, args.vpc);
  const existing = getKind(draft, 'transit-attachment', ids.transitAttachment(gateway, vpc));
  const routeTable = args.routeTable ?? existing?.routeTable ?? DEFAULT_TRANSIT_TABLE;
  const propagateTo = [...new Set(args.propagateTo ?? existing?.propagateTo ?? [DEFAULT_TRANSIT_TABLE])].sort();
  for (const table of [routeTable, ...propagateTo]) requireTransitTable(draft, gateway, table);
  const attachment: TransitAttachment = {
    kind: 'transit-attachment',
    transitGateway: gateway,
    vpc,
    routeTable,
    propagateTo,
  };
  draft.put(attachment);
  return attachment;
}

/** Detaches a VPC; false when it is not attached. Routes that lead through the attachment become black holes. */
export function detachVpc(draft: Draft, gateway: string, vpc: string): boolean {
  const id = ids.transitAttachment(parseName(gateway, 'transit gateway'), parseName(vpc, 'vpc'));
  if (draft.get(id) === undefined) return false;
  draft.remove(id);
  return true;
}

// --- route tables ----------------------------------------------------------------------------------------------------

/** Makes a route table of a transit gateway; one that is there keeps its routes. */
export function addTransitTable(draft: Draft, gateway: string, name: string): TransitRouteTable {
  requireTransitGateway(draft, gateway);
  const known = getKind(draft, 'transit-route-table', ids.transitRouteTable(gateway, parseName(name, 'route table')));
  if (known !== undefined) return known;
  const number = numberOf(name, transitTablesOf(draft, gateway));
  const table: TransitRouteTable = { kind: 'transit-route-table', transitGateway: gateway, name, number, routes: [] };
  draft.put(table);
  return table;
}

/** Deletes a route table of a transit gateway; false when there is none. CONFLICT for `default`, and while an attachment uses it. */
export function deleteTransitTable(draft: Draft, gateway: string, name: string): boolean {
  const id = ids.transitRouteTable(parseName(gateway, 'transit gateway'), parseName(name, 'route table'));
  const table = getKind(draft, 'transit-route-table', id);
  if (table === undefined) return false;
  if (name === DEFAULT_TRANSIT_TABLE) {
    throw conflict(`route table default of transit gateway ${gateway} cannot be deleted`, 'it goes with its gateway');
  }
  const user = attachmentsOf(draft, gateway).find(
    ({ routeTable, propagateTo }) => routeTable === name || propagateTo.includes(name),
  );
  if (user !== undefined) throw conflict(`${describe(table)} is used by the ${describe(user)}`, 'change that first');
  draft.remove(id);
  return true;
}

function parseTransitRoute(draft: Draft, gateway: string, spec: TransitRouteSpec): TransitRoute {
  const destination = parseDestination(draft, spec.destination);
  const block = blockOf(destination);
  if (block !== undefined) refuseUnroutable(block);
  if (spec.target === 'blackhole') return { destination, target: { type: 'blackhole' } };
  const vpc = parseName(spec.target.vpc, 'vpc');
  if (!has(draft, `attachments:${gateway}`) || draft.get(ids.transitAttachment(gateway, vpc)) === undefined) {
    throw notFound(
      `an attachment of vpc ${vpc} to transit gateway ${gateway}`,
      attachmentsOf(draft, gateway).map((known) => known.vpc),
    );
  }
  return { destination, target: { type: 'vpc', vpc } };
}

/** Inverse of the parsing of a route. */
export function formatTransitRoute({ destination, target }: TransitRoute): TransitRouteSpec {
  return { destination: formatDestination(destination), target: formatTransitTarget(target) };
}

/** Inverse of the parsing of a target. */
export function formatTransitTarget(target: TransitTarget): TransitTargetSpec {
  return target.type === 'vpc' ? { vpc: target.vpc } : 'blackhole';
}

function putRoutes(draft: Draft, table: TransitRouteTable, routes: readonly TransitRoute[]): TransitRouteTable {
  const sorted = [...routes].sort((a, b) => (a.destination < b.destination ? -1 : 1));
  const twice = sorted.find(({ destination }, at) => destination === sorted[at + 1]?.destination);
  if (twice !== undefined) throw invalid(`two routes lead to ${twice.destination}`, { hint: 'leave one out' });
  if (isSame(sorted, table.routes)) return table;
  const after = { ...table, routes: sorted };
  draft.put(after);
  return after;
}

/** Makes the static routes of a table these. INVALID where two have one destination, NOT_FOUND where a VPC is not attached. */
export function setTransitRoutes(
  draft: Draft,
  gateway: string,
  name: string,
  specs: readonly TransitRouteSpec[],
): TransitRouteTable {
  const table = requireTransitTable(draft, gateway, name);
  return putRoutes(
    draft,
    table,
    specs.map((spec) => parseTransitRoute(draft, gateway, spec)),
  );
}

/** Adds a static route, or gives the one to that destination another target. */
export function addTransitRoute(
  draft: Draft,
  gateway: string,
  name: string,
  spec: TransitRouteSpec,
): TransitRouteTable {
  const table = requireTransitTable(draft, gateway, name);
  const route = parseTransitRoute(draft, gateway, spec);
  const others = table.routes.filter(({ destination }) => destination !== route.destination);
  return putRoutes(draft, table, [...others, route]);
}

/** Deletes a static route; false when there is none to that destination. */
export function deleteTransitRoute(draft: Draft, gateway: string, name: string, destination: DestinationSpec): boolean {
  const table = requireTransitTable(draft, gateway, name);
  const asked = parseDestination(draft, destination);
  const rest = table.routes.filter((route) => route.destination !== asked);
  if (rest.length === table.routes.length) return false;
  putRoutes(draft, table, rest);
  return true;
}
