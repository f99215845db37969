/** Where the routes of a table lead by the uplink, in IPv6: as blocks, so that sets can hold them. */
import { CLOUD_SERVICES6, GLOBAL6, UNIQUE_LOCAL6 } from '../model/ipv6.js';
import { ipv6PoolOf, peerBlocks } from '../model/lookup.js';
import { getKind, type Reader } from '../model/reader.js';
import { ids, type RouteTarget } from '../model/resources.js';
import { isBlackhole, leadsOut } from '../model/routing.js';
import { type AnyCidr, type Cidr6, contains, intersect, ofFamily, subtract } from '../net/cidr.js';

export interface WayOut {
  readonly block: Cidr6;
  readonly target: 'internet-gateway' | 'egress-only-internet-gateway';
}

/** A route of a table, of prefix lists those to each block. */
interface BlockRoute {
  readonly destination: AnyCidr;
  readonly target: RouteTarget;
}

/**
 * The addresses for which just these routes decide: those without what longer prefixes of the table take, what is the VPC's own, and what no route leads to. No
 * two blocks share an address.
 */
export function waysOut6(reader: Reader, vpc: string, routes: readonly BlockRoute[]): WayOut[] {
  const pool = ipv6PoolOf(reader);
  const own = getKind(reader, 'vpc', ids.vpc(vpc))?.ipv6Cidr;
  const peers = peerBlocks(reader, vpc).map(({ destination }) => destination);
  const all = ofFamily(6, [...routes.map(({ destination }) => destination), ...peers]);
  return routes.flatMap(({ destination, target }): WayOut[] => {
    const [home] = ofFamily(6, [destination]);
    if (home === undefined || !leadsOut(target) || isBlackhole(reader, vpc, target)) return [];
    const longer = all.filter((other) => other !== home && contains(home, other));
    const blocks = subtract(outside(home, pool), [...longer, ...(own === undefined ? [] : [own]), CLOUD_SERVICES6]);
    return blocks.map((block) => ({ block, target: target.type as WayOut['target'] }));
  });
}

/** A network near the host is led to only by a route that names it. */
function outside(destination: Cidr6, pool: Cidr6): Cidr6[] {
  if (contains(UNIQUE_LOCAL6, destination)) return [destination];
  return ofFamily(6, [intersect(destination, GLOBAL6) ?? [], intersect(destination, pool) ?? []].flat());
}
