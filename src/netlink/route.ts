/** Routes (RTM_*ROUTE, linux/rtnetlink.h). */
import { invalid } from '../errors.js';
import {
  AF_INET,
  AF_INET6,
  type CidrBytes,
  type Family,
  familyNumber,
  familyOf,
  formatCidr,
  formatIp,
  parseCidr,
  parseIp,
} from './address.js';
import { type Batch, dumpRequest } from './batch.js';
import { type Draft, decodeMessages, eachAttr, malformed, readBytes, readU16, readU32 } from './message.js';
import { align4, LITTLE_ENDIAN, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLMSG_HDRLEN, OWN_PROTOCOL } from './wire.js';

// linux/rtnetlink.h
const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;

// struct rtmsg: u8 family, u8 dst_len, u8 src_len, u8 tos, u8 table, u8 protocol, u8 scope, u8 type, u32 flags
const RTMSG_LENGTH = 12;
// struct rtnexthop: u16 len, u8 flags, u8 hops, s32 ifindex; then attributes up to len
const RTNEXTHOP_LENGTH = 8;

const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_MULTIPATH = 9;
const RTA_FLOW = 11;
const RTA_TABLE = 15;
const RTA_VIA = 18;

const RT_TABLE_UNSPEC = 0;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_LINK = 253;
const RT_SCOPE_NOWHERE = 255;
const RTNH_F_DEAD = 1;
const RTNH_F_ONLINK = 4;
const RTNH_F_LINKDOWN = 16;

/** rtm_type by number: RTN_* of linux/rtnetlink.h. */
const ROUTE_TYPES = [
  'unspec',
  'unicast',
  'local',
  'broadcast',
  'anycast',
  'multicast',
  'blackhole',
  'unreachable',
  'prohibit',
  'throw',
  'nat',
  'xresolve',
] as const;

/** A route's type in iproute2's words; `unknown` is one newer than this code. */
export type RouteType = (typeof ROUTE_TYPES)[number] | 'unknown';

/** Which route: enough to delete it. */
export interface RouteKey {
  /** 254 is main. */
  readonly table: number;
  /** A CIDR without host bits, or `default`. */
  readonly dst: string;
  readonly type: 'unicast' | 'unreachable' | 'blackhole';
  /** Of a `default`; absent: `via`'s, else IPv4. */
  readonly family?: Family;
  /** Next hop; of the other family in an IPv4 route only (RTA_VIA). */
  readonly via?: string;
  /** rtm_protocol, the owner mark. Default {@link OWN_PROTOCOL}. */
  readonly protocol?: number;
  /** Lower wins. Absent: 0 in IPv4, 1024 in IPv6. */
  readonly metric?: number;
}

export interface RouteParams extends RouteKey {
  readonly link?: string;
  /** Preferred source address. */
  readonly src?: string;
  /** The next hop is on the link though no address says so. */
  readonly onlink?: boolean;
  /**
   * Destination realm (RTA_FLOW), which nftables sees as `meta rtclassid`. IPv4 only: in IPv6 the kernel ignores it,
   * so it is refused here.
   */
  readonly realm?: number;
}

/** Where a route leads. */
export interface NextHop {
  readonly via?: string;
  /** Index of the link. */
  readonly index?: number;
  readonly onlink: boolean;
  /** The link is down or has no carrier: packets do not take this way. */
  readonly dead: boolean;
  readonly realm?: number;
  /** From 1; its share among the next hops. */
  readonly weight: number;
}

/** A route as the kernel reports it. */
export interface RouteInfo {
  readonly family: Family;
  readonly table: number;
  /** A CIDR (a host's with /32 or /128), or `default`. */
  readonly dst: string;
  readonly type: RouteType;
  readonly protocol: number;
  /** 0 universe, 253 link, 254 host. */
  readonly scope: number;
  readonly metric: number;
  readonly src?: string;
  /** The first next hop's. */
  readonly via?: string;
  readonly index?: number;
  readonly onlink: boolean;
  readonly realm?: number;
  /** All next hops; none when the route leads nowhere (an IPv6 `unreachable` leads to the loopback). */
  readonly nexthops: readonly NextHop[];
}

/** Adds a route. EEXIST when the table has one to the same destination with the same metric. */
export function addRoute(batch: Batch, route: RouteParams): void {
  newRoute(batch, NLM_F_CREATE | NLM_F_EXCL, route);
}

/** Adds a route in place of the one to the same destination with the same metric, whoever made that one. */
export function replaceRoute(batch: Batch, route: RouteParams): void {
  newRoute(batch, NLM_F_CREATE | NLM_F_REPLACE, route);
}

/** Deletes a route, if its type, protocol, `via` and `metric` (where given) are these. ESRCH when there is none. */
export function deleteRoute(batch: Batch, route: RouteKey): void {
  batch.message(RTM_DELROUTE, 0, () => {
    const dst = destination(route);
    rtmsg(batch, route, dst, RT_SCOPE_NOWHERE, 0);
    if (route.via !== undefined) gateway(batch, dst.family, route.via);
    if (route.metric !== undefined) batch.attrU32(RTA_PRIORITY, route.metric);
  });
}

/**
 * The request for all routes of a namespace, all tables, IPv4 and IPv6; with `table`, for the routes of one family of that table, of IPv4 from `default` on. ENOENT
 * when there is no such table.
 */
export function dumpRoutes(table?: number, family: Family = 4): Uint8Array {
  if (table === undefined) return dumpRequest(RTM_GETROUTE, RTMSG_LENGTH);
  const request = dumpRequest(RTM_GETROUTE, RTMSG_LENGTH, [[RTA_TABLE, table]]);
  request[NLMSG_HDRLEN] = familyNumber(family);
  return request;
}

/** Decodes the answer to {@link dumpRoutes}; families other than IP's (multicast routing) are passed over. */
export function decodeRoutes(bytes: Uint8Array): RouteInfo[] {
  return decodeMessages(bytes, RTM_NEWROUTE, RTMSG_LENGTH, decodeRoute);
}

function newRoute(batch: Batch, flags: number, route: RouteParams): void {
  batch.message(RTM_NEWROUTE, flags, () => {
    const dst = destination(route);
    const scope = route.type === 'unicast' && route.via === undefined ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    rtmsg(batch, route, dst, scope, route.onlink === true ? RTNH_F_ONLINK : 0);
    if (route.via !== undefined) gateway(batch, dst.family, route.via);
    if (route.link !== undefined) batch.attrLink(RTA_OIF, route.link);
    if (route.src !== undefined) {
      const src = parseIp(route.src);
      if (src.family !== dst.family) throw mixedFamilies(route.src, route.dst);
      batch.attrBytes(RTA_PREFSRC, src.bytes);
    }
    if (route.metric !== undefined) batch.attrU32(RTA_PRIORITY, route.metric);
    if (route.realm !== undefined) {
      if (dst.family === 6) throw invalid(`IPv6 routes have no realm: ${route.dst}`);
      batch.attrU32(RTA_FLOW, route.realm);
    }
  });
}

function destination(route: RouteKey): CidrBytes {
  if (route.dst !== 'default') return parseCidr(route.dst);
  const family = route.family ?? (route.via === undefined ? 4 : parseIp(route.via).family);
  return { family, bytes: new Uint8Array(family === 4 ? 4 : 16), prefix: 0 };
}

/** The fixed header and the attributes that name the route. */
function rtmsg(batch: Batch, route: RouteKey, dst: CidrBytes, scope: number, flags: number): void {
  batch.u8(familyNumber(dst.family));
  batch.u8(dst.prefix);
  batch.u8(0); // rtm_src_len
  batch.u8(0); // rtm_tos
  batch.u8(route.table < 256 ? route.table : RT_TABLE_UNSPEC);
  batch.u8(route.protocol ?? OWN_PROTOCOL);
  batch.u8(scope);
  batch.u8(ROUTE_TYPES.indexOf(route.type));
  batch.u32(flags);
  batch.attrU32(RTA_TABLE, route.table);
  if (dst.prefix > 0) batch.attrBytes(RTA_DST, dst.bytes);
}

function gateway(batch: Batch, family: Family, text: string): void {
  const via = parseIp(text);
  if (via.family === family) {
    batch.attrBytes(RTA_GATEWAY, via.bytes);
  } else if (family === 4) {
    // struct rtvia: u16 family in host order, then the address.
    const bytes = new Uint8Array(2 + via.bytes.length);
    new DataView(bytes.buffer).setUint16(0, familyNumber(via.family), LITTLE_ENDIAN);
    bytes.set(via.bytes, 2);
    batch.attrBytes(RTA_VIA, bytes);
  } else {
    throw mixedFamilies(text, 'an IPv6 route');
  }
}

function mixedFamilies(address: string, what: string): Error {
  return invalid(`${address} is not of the address family of ${what}`);
}

function decodeRoute(view: DataView, start: number, end: number): RouteInfo | undefined {
  const family = familyOf(view.getUint8(start));
  if (family === undefined) return undefined;
  const prefix = view.getUint8(start + 1);
  let table = view.getUint8(start + 4);
  let metric = 0;
  let dst: string | undefined;
  let src: string | undefined;
  let nexthops: NextHop[] = [];
  const single = newNextHop(view.getUint32(start + 8, LITTLE_ENDIAN), 1);
  eachAttr(view, start + RTMSG_LENGTH, end, (type, from, to) => {
    switch (type) {
      case RTA_DST:
        dst = formatCidr(family, readBytes(view, from, to), prefix);
        break;
      case RTA_TABLE:
        table = readU32(view, from, to);
        break;
      case RTA_PRIORITY:
        metric = readU32(view, from, to);
        break;
      case RTA_PREFSRC:
        src = formatIp(family, readBytes(view, from, to));
        break;
      case RTA_OIF:
        single.index = readU32(view, from, to);
        break;
      case RTA_MULTIPATH:
        nexthops = decodeMultipath(family, view, from, to);
        break;
      default:
        nextHopAttr(single, family, view, type, from, to);
    }
  });
  if (dst === undefined && prefix > 0) throw malformed(`a route without its destination at offset ${start}`);
  if (nexthops.length === 0 && (single.via !== undefined || single.index !== undefined)) nexthops = [single];
  const first = nexthops[0] ?? single;
  return {
    family,
    table,
    dst: prefix === 0 || dst === undefined ? 'default' : dst,
    type: ROUTE_TYPES[view.getUint8(start + 7)] ?? 'unknown',
    protocol: view.getUint8(start + 5),
    scope: view.getUint8(start + 6),
    metric,
    ...(src === undefined ? {} : { src }),
    ...(first.via === undefined ? {} : { via: first.via }),
    ...(first.index === undefined ? {} : { index: first.index }),
    onlink: first.onlink,
    ...(first.realm === undefined ? {} : { realm: first.realm }),
    nexthops,
  };
}

function decodeMultipath(family: Family, view: DataView, start: number, end: number): NextHop[] {
  const nexthops: NextHop[] = [];
  for (let at = start; end - at >= RTNEXTHOP_LENGTH; ) {
    const length = view.getUint16(at, LITTLE_ENDIAN);
    if (length < RTNEXTHOP_LENGTH || length > end - at) throw malformed(`next hop length ${length} at offset ${at}`);
    const nexthop = newNextHop(view.getUint8(at + 2), view.getUint8(at + 3) + 1);
    nexthop.index = view.getUint32(at + 4, LITTLE_ENDIAN);
    eachAttr(view, at + RTNEXTHOP_LENGTH, at + length, (type, from, to) => {
      nextHopAttr(nexthop, family, view, type, from, to);
    });
    nexthops.push(nexthop);
    at += align4(length);
  }
  return nexthops;
}

function newNextHop(flags: number, weight: number): Draft<NextHop> {
  return { onlink: (flags & RTNH_F_ONLINK) !== 0, dead: (flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) !== 0, weight };
}

function nextHopAttr(
  nexthop: Draft<NextHop>,
  family: Family,
  view: DataView,
  type: number,
  from: number,
  to: number,
): void {
  switch (type) {
    case RTA_GATEWAY:
      nexthop.via = formatIp(family, readBytes(view, from, to));
      break;
    case RTA_VIA: {
      const number = readU16(view, from, to);
      const viaFamily = number === AF_INET ? 4 : number === AF_INET6 ? 6 : undefined;
      // AF_MPLS and AF_PACKET next hops exist; none of ours.
      if (viaFamily !== undefined) nexthop.via = formatIp(viaFamily, readBytes(view, from + 2, to));
      break;
    }
    case RTA_FLOW: {
      const realm = readU32(view, from, to);
      if (realm !== 0) nexthop.realm = realm;
      break;
    }
  }
}
