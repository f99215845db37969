/**
 * The verbs of customer-managed prefix lists, and what refers to them. Source of the rules: Amazon VPC User Guide, "Consolidate and manage network CIDR
 * blocks with managed prefix lists" and "Route priority for prefix lists".
 */
import { isSame } from '../canonical.js';
import { invalid, type VpcctlError } from '../errors.js';
import { type AnyCidr, contains, type Family, familyOf, isSpecialUse, parseAnyCidr } from '../net/cidr.js';
import { parseName } from '../net/name.js';
import type { DestinationSpec, PrefixListEntrySpec, PrefixListSpec } from '../spec/types.js';
import { conflict, notFound, routeTablesOf } from './lookup.js';
import { checkQuota } from './quotas.js';
import { type Draft, findKind, getKind, type Reader } from './reader.js';
import {
  type Destination,
  describe,
  type GroupRule,
  ids,
  listOf,
  type PrefixList,
  type RouteTable,
  type SecurityGroup,
} from './resources.js';

export function requirePrefixList(reader: Reader, name: string): PrefixList {
  const found = getKind(reader, 'prefix-list', ids.prefixList(parseName(name, 'prefix list')));
  if (found !== undefined) return found;
  throw notFound(
    `prefix list ${name}`,
    findKind(reader, 'prefix-list', 'kind:prefix-list').map((known) => known.name),
  );
}

// --- verbs -----------------------------------------------------------------------------------------------------------

type Entries = PrefixList['entries'];

const FAMILIES = { ipv4: 4, ipv6: 6 } as const satisfies Readonly<Record<PrefixList['family'], Family>>;

function parseEntry({ cidr, description }: PrefixListEntrySpec): Entries[number] {
  return { cidr: parseAnyCidr(cidr), ...(description === undefined ? {} : { description }) };
}

function listFrom({ name, family, maxEntries, entries }: Omit<PrefixList, 'kind'>): PrefixList {
  const list: PrefixList = {
    kind: 'prefix-list',
    name: parseName(name, 'prefix list'),
    family,
    maxEntries,
    entries: [...entries].sort((a, b) => (a.cidr < b.cidr ? -1 : a.cidr > b.cidr ? 1 : 0)),
  };
  const other = list.entries.find(({ cidr }) => familyOf(cidr) !== FAMILIES[family]);
  if (other !== undefined) {
    throw invalid(`prefix list ${name} is for IPv${FAMILIES[family]}, and ${other.cidr} is not`, {
      hint: 'give it to a list of the other family',
    });
  }
  const twice = list.entries.find(({ cidr }, at) => cidr === list.entries[at + 1]?.cidr);
  if (twice !== undefined) throw invalid(`prefix list ${name} has ${twice.cidr} twice`, { hint: 'leave one out' });
  if (list.entries.length > maxEntries) {
    throw invalid(`prefix list ${name} would have ${list.entries.length} entries, it may have ${maxEntries}`, {
      hint: 'raise its maxEntries, or leave some out',
    });
  }
  return list;
}

function otherFamily({ name, family }: PrefixList): VpcctlError {
  return conflict(
    `prefix list ${name} is for IPv${FAMILIES[family]}, and the family of a list never changes`,
    'choose another name, or delete the list first',
  );
}

/** Makes a prefix list this, whatever it was. CONFLICT where it is of the other family. What refers to it is to be held against its quotas: {@link checkReferrers}. */
export function putPrefixList(
  draft: Draft,
  name: string,
  { family = 'ipv4', maxEntries, entries = [] }: PrefixListSpec,
): PrefixList {
  const list = listFrom({ name, family, maxEntries, entries: entries.map(parseEntry) });
  const known = getKind(draft, 'prefix-list', ids.prefixList(name));
  if (known !== undefined && known.family !== family) throw otherFamily(known);
  draft.put(list);
  return list;
}

/** Creates a prefix list. CONFLICT when it exists otherwise. */
export function createPrefixList(draft: Draft, name: string, spec: PrefixListSpec): PrefixList {
  const known = getKind(draft, 'prefix-list', ids.prefixList(parseName(name, 'prefix list')));
  if (known === undefined) return putPrefixList(draft, name, spec);
  const { family = 'ipv4', maxEntries } = spec;
  if (family !== known.family) throw otherFamily(known);
  const entries = spec.entries === undefined ? known.entries : spec.entries.map(parseEntry);
  if (isSame(listFrom({ name, family, maxEntries, entries }), known)) return known;
  throw conflict(`prefix list ${name} exists otherwise`, 'modify-prefix-list changes it');
}

/** What {@link modifyPrefixList} takes. */
export interface ModifyPrefixList {
  /** Blocks to add; one that is there gets this description. */
  readonly add?: readonly PrefixListEntrySpec[];
  /** Blocks to leave out. */
  readonly remove?: readonly string[];
  readonly maxEntries?: number;
}

/** Adds and removes entries, or changes the size: INVALID for both at once, and where a resource that refers to the list would be beyond its quota. */
export function modifyPrefixList(
  draft: Draft,
  name: string,
  { add = [], remove = [], maxEntries }: ModifyPrefixList,
): PrefixList {
  const list = requirePrefixList(draft, name);
  if (maxEntries !== undefined && add.length + remove.length > 0) {
    throw invalid(`the entries and the size of prefix list ${name} cannot be changed at the same time`, {
      hint: 'change one, then the other',
    });
  }
  const added = add.map(parseEntry);
  const gone = new Set<string>([...remove.map(parseAnyCidr), ...added.map(({ cidr }) => cidr)]);
  const both = added.find(({ cidr }) => remove.includes(cidr));
  if (both !== undefined) throw invalid(`${both.cidr} is to be added and removed`, { hint: 'leave one out' });
  const kept = list.entries.filter(({ cidr }) => !gone.has(cidr));
  const after = listFrom({ ...list, maxEntries: maxEntries ?? list.maxEntries, entries: [...kept, ...added] });
  draft.put(after);
  checkReferrers(draft, name);
  return after;
}

/** Deletes a prefix list; false when there is none. CONFLICT while a rule or a route refers to it. */
export function deletePrefixList(draft: Draft, name: string): boolean {
  const id = ids.prefixList(parseName(name, 'prefix list'));
  if (draft.get(id) === undefined) return false;
  const [user] = referrersOf(draft, name);
  if (user !== undefined) {
    throw conflict(
      `prefix list ${name} is in use: ${describe(user)} refers to it`,
      `change that ${user.kind === 'group' ? 'rule' : 'route'} first`,
    );
  }
  draft.remove(id);
  return true;
}

// --- references ------------------------------------------------------------------------------------------------------

/** The groups and route tables that refer to a prefix list. */
export function referrersOf(reader: Reader, name: string) {
  return [
    ...findKind(reader, 'group', `refers-list:${name}`),
    ...findKind(reader, 'route-table', `routes-list:${name}`),
    ...findKind(reader, 'transit-route-table', `routes-list:${name}`),
  ];
}

/** INVALID where the list has grown and something that refers to it is beyond its quota. */
export function checkReferrers(draft: Draft, name: string): void {
  const id = ids.prefixList(name);
  const before = draft.before(id);
  const after = getKind(draft, 'prefix-list', id);
  if (before?.kind !== 'prefix-list' || after === undefined || after.maxEntries <= before.maxEntries) return;
  for (const user of referrersOf(draft, name)) {
    if (user.kind === 'group') checkRuleQuota(draft, user);
    if (user.kind === 'route-table') checkRouteQuota(draft, user);
  }
}

/** What a reference counts for in a quota: the most entries that the list may have. */
function weightOf(reader: Reader, list: string | undefined): number {
  if (list === undefined) return 1;
  return getKind(reader, 'prefix-list', ids.prefixList(list))?.maxEntries ?? 1;
}

const sum = (weights: readonly number[]): number => weights.reduce((total, weight) => total + weight, 0);

export function checkRuleQuota(reader: Reader, group: SecurityGroup): void {
  const count = (rules: readonly GroupRule[]): number =>
    sum(rules.map(({ party }) => weightOf(reader, party.type === 'prefix-list' ? party.prefixList : undefined)));
  checkQuota(reader, 'securityGroupRules', describe(group), Math.max(count(group.ingress), count(group.egress)));
}

export function checkRouteQuota(reader: Reader, table: RouteTable): void {
  const count = sum(table.routes.map(({ destination }) => weightOf(reader, listOf(destination))));
  checkQuota(reader, 'routesPerRouteTable', describe(table), count);
}

// --- destinations of routes ------------------------------------------------------------------------------------------

/** Where a route leads. NOT_FOUND for a prefix list that is not there. */
export function parseDestination(reader: Reader, spec: DestinationSpec): Destination {
  if (typeof spec === 'string') return parseAnyCidr(spec);
  return `pl:${requirePrefixList(reader, spec.prefixList).name}`;
}

/** Inverse of {@link parseDestination}. */
export function formatDestination(destination: Destination): DestinationSpec {
  const prefixList = listOf(destination);
  return prefixList === undefined ? destination : { prefixList };
}

/** The block that a route names; undefined of one to a prefix list. */
export function blockOf(destination: Destination): AnyCidr | undefined {
  return listOf(destination) === undefined ? (destination as AnyCidr) : undefined;
}

/** Whether a route names a block of this one; a prefix list is no block. */
export function isWithin(destination: Destination, cidr: AnyCidr): boolean {
  const block = blockOf(destination);
  return block !== undefined && contains(cidr, block);
}

/** INVALID where a route of the VPC names a block of this one, which is to be the VPC's own. */
export function refuseRoutesInto(reader: Reader, vpc: string, cidr: AnyCidr): void {
  for (const table of routeTablesOf(reader, vpc)) {
    const inside = table.routes.find(({ destination }) => isWithin(destination, cidr));
    if (inside === undefined) continue;
    throw invalid(`block ${cidr} of vpc ${vpc} holds ${inside.destination}, where ${describe(table)} has a route to`, {
      hint: 'choose another block, or delete the route first',
    });
  }
}

/** Of which family packets are that a route is for. */
export function familyOfDestination(reader: Reader, destination: Destination): Family {
  const list = listOf(destination);
  return list === undefined ? familyOf(destination as AnyCidr) : FAMILIES[requirePrefixList(reader, list).family];
}

/** `10.0.0.0/8`, `prefix list corp`. */
export function destinationText(destination: Destination): string {
  const list = listOf(destination);
  return list === undefined ? destination : `prefix list ${list}`;
}

/** The block of special use that holds this one: no route leads there. */
function unroutable(block: AnyCidr) {
  const special = isSpecialUse(block);
  return special !== undefined && contains(special.cidr, block) ? special : undefined;
}

/** INVALID for a block that no route can lead to. */
export function refuseUnroutable(block: AnyCidr): void {
  const special = unroutable(block);
  if (special === undefined) return;
  throw invalid(`no route can lead to ${block}: ${special.cidr} is for ${special.purpose}`, { hint: 'leave it out' });
}

/**
 * A table's routes block by block. A route to a block goes before one of a prefix list to the same; of two lists, the first in the order of names does (in
 * the cloud it is one at random, and stays). Blocks of a list that are in one of the `local` ones, or that nothing routes, have no effect.
 */
export function routesByBlock<R extends { readonly destination: Destination }>(
  reader: Reader,
  routes: readonly R[],
  local: readonly AnyCidr[] = [],
): (R & { readonly destination: AnyCidr })[] {
  const found = new Map<AnyCidr, R & { readonly destination: AnyCidr }>();
  for (const route of routes) {
    const block = blockOf(route.destination);
    if (block !== undefined) found.set(block, { ...route, destination: block });
  }
  // They stand in the order of their names.
  for (const route of routes) {
    const list = listOf(route.destination);
    if (list === undefined) continue;
    for (const { cidr } of getKind(reader, 'prefix-list', ids.prefixList(list))?.entries ?? []) {
      if (found.has(cidr) || unroutable(cidr) !== undefined || local.some((own) => contains(own, cidr))) continue;
      found.set(cidr, { ...route, destination: cidr });
    }
  }
  return [...found.values()];
}
