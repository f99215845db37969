/** Neighbours: ARP and NDP entries (RTM_*NEIGH, linux/neighbour.h). */
import { type Family, familyNumber, familyOf, formatIp, formatMac, parseIp, parseMac } from './address.js';
import { type Batch, dumpRequest } from './batch.js';
import { decodeMessages, eachAttr, malformed, readBytes } from './message.js';
import { LITTLE_ENDIAN, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLMSG_HDRLEN } from './wire.js';

// linux/rtnetlink.h
const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
const RTN_UNICAST = 1;

// struct ndmsg: u8 family, u8 pad, u16 pad, s32 ifindex, u16 state, u8 flags, u8 type
const NDMSG_LENGTH = 12;

// linux/neighbour.h
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NDA_IFINDEX = 8;
const NUD_PERMANENT = 0x80;

/** NUD_* of linux/neighbour.h, by the position of their bit. */
const STATES = ['incomplete', 'reachable', 'stale', 'delay', 'probe', 'failed', 'noarp', 'permanent'] as const;

/** What the kernel knows of a neighbour; `none` is a state without a bit. */
export type NeighState = (typeof STATES)[number] | 'none';

export interface NeighParams {
  readonly link: string;
  readonly ip: string;
  readonly mac: string;
  /** In place of an entry that exists already, learnt or permanent. Default: EEXIST. */
  readonly replace?: boolean;
}

/** A neighbour as the kernel reports it. */
export interface NeighInfo {
  /** The link's. */
  readonly index: number;
  readonly family: Family;
  readonly ip: string;
  /** Absent while it is not resolved. */
  readonly mac?: string;
  readonly state: NeighState;
}

/**
 * Adds a permanent entry; the link may be down. But a link that *goes* down loses its entries, permanent ones too
 * (measured on 6.18): whoever takes a link down and up again adds them again.
 */
export function addNeigh(batch: Batch, neigh: NeighParams): void {
  const flags = NLM_F_CREATE | (neigh.replace === true ? NLM_F_REPLACE : NLM_F_EXCL);
  batch.message(RTM_NEWNEIGH, flags, () => {
    ndmsg(batch, neigh, NUD_PERMANENT);
    batch.attrBytes(NDA_LLADDR, parseMac(neigh.mac));
  });
}

/** Deletes an entry, learnt or permanent. ENOENT when there is none. */
export function deleteNeigh(batch: Batch, neigh: Pick<NeighParams, 'link' | 'ip'>): void {
  batch.message(RTM_DELNEIGH, 0, () => ndmsg(batch, neigh, 0));
}

/** The request for all neighbours of a namespace, IPv4 and IPv6; with `index`, for those of one family on that link. */
export function dumpNeighs(index?: number, family: Family = 4): Uint8Array {
  if (index === undefined) return dumpRequest(RTM_GETNEIGH, NDMSG_LENGTH);
  const request = dumpRequest(RTM_GETNEIGH, NDMSG_LENGTH, [[NDA_IFINDEX, index]]);
  request[NLMSG_HDRLEN] = familyNumber(family);
  return request;
}

/** Decodes the answer to {@link dumpNeighs}; families other than IP's (bridge forwarding entries) are passed over. */
export function decodeNeighs(bytes: Uint8Array): NeighInfo[] {
  return decodeMessages(bytes, RTM_NEWNEIGH, NDMSG_LENGTH, decodeNeigh);
}

function ndmsg(batch: Batch, neigh: Pick<NeighParams, 'link' | 'ip'>, state: number): void {
  const { family, bytes } = parseIp(neigh.ip);
  batch.u8(familyNumber(family));
  batch.u8(0);
  batch.u16(0);
  batch.link(neigh.link);
  batch.u16(state);
  batch.u8(0); // ndm_flags
  batch.u8(RTN_UNICAST);
  batch.attrBytes(NDA_DST, bytes);
}

function decodeNeigh(view: DataView, start: number, end: number): NeighInfo | undefined {
  const family = familyOf(view.getUint8(start));
  if (family === undefined) return undefined;
  let ip: string | undefined;
  let mac: string | undefined;
  eachAttr(view, start + NDMSG_LENGTH, end, (type, from, to) => {
    if (type === NDA_DST) ip = formatIp(family, readBytes(view, from, to));
    else if (type === NDA_LLADDR) mac = formatMac(readBytes(view, from, to));
  });
  if (ip === undefined) throw malformed(`a neighbour without an address at offset ${start}`);
  const state = view.getUint16(start + 8, LITTLE_ENDIAN);
  return {
    index: view.getUint32(start + 4, LITTLE_ENDIAN),
    family,
    ip,
    ...(mac === undefined ? {} : { mac }),
    state: STATES[31 - Math.clz32(state)] ?? 'none',
  };
}
