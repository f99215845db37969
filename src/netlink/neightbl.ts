/** What ARP goes by on each link (RTM_*NEIGHTBL, linux/neighbour.h): a link's own parameters. */
import { AF_INET } from './address.js';
import { type Batch, dumpRequest } from './batch.js';
import { decodeMessages, eachAttr, readU32, readU64 } from './message.js';
import { NLMSG_HDRLEN } from './wire.js';

// linux/rtnetlink.h
const RTM_NEWNEIGHTBL = 64;
const RTM_GETNEIGHTBL = 66;
const RTM_SETNEIGHTBL = 67;

// struct ndtmsg: u8 family, u8 pad, u16 pad
const NDTMSG_LENGTH = 4;

// linux/neighbour.h
const NDTA_NAME = 1;
const NDTA_PARMS = 6;
// … inside NDTA_PARMS
const NDTPA_IFINDEX = 1;
const NDTPA_PROXY_DELAY = 13;

/** What a new link has: PROXY_DELAY of net/ipv4/arp.c, in ms, unless the machine's own `net.ipv4.neigh.default.proxy_delay` was changed. */
export const PROXY_DELAY = 800;

/** The kernel's name of IPv4's table (net/ipv4/arp.c). */
const ARP = 'arp_cache';

/**
 * Sets how long the kernel waits, at the most, before it answers ARP for others (proxy ARP) on a link, in ms; {@link PROXY_DELAY} at first. ENODEV when there is no
 * such link. The same as the sysctl net/ipv4/neigh/LINK/proxy_delay, in a message: a sysctl takes the longer to open the more namespaces there are.
 */
export function setProxyDelay(batch: Batch, { link, ms }: { readonly link: string; readonly ms: number }): void {
  batch.message(RTM_SETNEIGHTBL, 0, () => {
    batch.u8(AF_INET);
    batch.u8(0);
    batch.u16(0);
    batch.attrName(NDTA_NAME, ARP);
    batch.nest(NDTA_PARMS, () => {
      batch.attrLink(NDTPA_IFINDEX, link);
      batch.attrU64(NDTPA_PROXY_DELAY, ms);
    });
  });
}

/** A link's parameters as the kernel reports them. */
export interface ArpInfo {
  /** The link's. */
  readonly index: number;
  /** Ms. */
  readonly proxyDelay: number;
}

/** The request for the parameters of all links of a namespace. */
export function dumpArp(): Uint8Array {
  const request = dumpRequest(RTM_GETNEIGHTBL, NDTMSG_LENGTH);
  request[NLMSG_HDRLEN] = AF_INET;
  return request;
}

/** Decodes the answer to {@link dumpArp}. The table's own message, which is of no link, is passed over. */
export function decodeArp(bytes: Uint8Array): ArpInfo[] {
  return decodeMessages(bytes, RTM_NEWNEIGHTBL, NDTMSG_LENGTH, (view, start, end): ArpInfo | undefined => {
    let index: number | undefined;
    let proxyDelay = 0;
    eachAttr(view, start + NDTMSG_LENGTH, end, (type, from, to) => {
      if (type !== NDTA_PARMS) return;
      eachAttr(view, from, to, (parameter, at, until) => {
        if (parameter === NDTPA_IFINDEX) index = readU32(view, at, until);
        else if (parameter === NDTPA_PROXY_DELAY) proxyDelay = readU64(view, at, until);
      });
    });
    return index === undefined ? undefined : { index, proxyDelay };
  });
}
