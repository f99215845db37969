/** Route tables and their numbers in a kernel. */
import { hash32 } from '../net/name.js';
import { routeTablesOf } from './lookup.js';
import type { Reader } from './reader.js';
import { MAIN_ROUTE_TABLE, PUBLIC_ROUTE_TABLE, type RouteTable } from './resources.js';

/** A route table without routes. */
export function newTable(reader: Reader, vpc: string, name: string): RouteTable {
  return { kind: 'route-table', vpc, name, number: numberOf(name, routeTablesOf(reader, vpc)), routes: [] };
}

const WELL_KNOWN: ReadonlyMap<string, number> = new Map([
  [MAIN_ROUTE_TABLE, 100],
  [PUBLIC_ROUTE_TABLE, 101],
]);

/** Others' begin at 1000: 253 to 255 are the kernel's. */
export function numberOf(name: string, others: readonly { readonly number: number }[]): number {
  const known = WELL_KNOWN.get(name);
  if (known !== undefined) return known;
  for (let salt = 0; ; salt += 1) {
    const number = 1000 + ((hash32(salt === 0 ? name : `${name};${salt}`) >>> 1) % 2_000_000_000);
    if (!others.some((other) => other.number === number)) return number;
  }
}
