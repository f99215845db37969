/** Addresses of links (RTM_*ADDR, linux/if_addr.h). */
import { type Family, familyNumber, familyOf, formatCidr, formatIp, parseCidr } from './address.js';
import { type Batch, dumpRequest } from './batch.js';
import { decodeMessages, eachAttr, malformed, readBytes, readText, readU32, viewOf } from './message.js';
import { LITTLE_ENDIAN, NLM_F_CREATE, NLM_F_EXCL, NLMSG_HDRLEN } from './wire.js';

// linux/rtnetlink.h
const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
const RT_SCOPE_UNIVERSE = 0;
const RT_SCOPE_HOST = 254;

// struct ifaddrmsg: u8 family, u8 prefixlen, u8 flags, u8 scope, u32 index
const IFADDRMSG_LENGTH = 8;

// linux/if_addr.h
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_LABEL = 3;
const IFA_FLAGS = 8;
const IFA_F_NODAD = 0x02;
const IFA_F_DADFAILED = 0x08;
const IFA_F_TENTATIVE = 0x40;
const IFA_F_PERMANENT = 0x80;
const IFA_F_NOPREFIXROUTE = 0x200;

export interface AddrParams {
  readonly link: string;
  /** `10.0.0.1/24`, `fd00::1/64`; without a prefix length, /32 or /128. */
  readonly addr: string;
  /** The kernel adds no route to the address' prefix. */
  readonly noPrefixRoute?: boolean;
}

/** An address as the kernel reports it. */
export interface AddrInfo {
  /** The link's. */
  readonly index: number;
  readonly family: Family;
  /** The link's own address, with the prefix length. */
  readonly addr: string;
  /** Address of the other end, on point-to-point links that were given one. */
  readonly peer?: string;
  readonly label?: string;
  /** 0 global, 253 link, 254 host. */
  readonly scope: number;
  readonly noPrefixRoute: boolean;
  /** Not configured by a router's advertisement or another's lease. */
  readonly permanent: boolean;
  /** IPv6 duplicate address detection has not ended, or found one. */
  readonly tentative: boolean;
  readonly dadFailed: boolean;
}

/** Adds an address; IPv6 ones without duplicate address detection, which takes 1.8 s. EEXIST when the link has it. */
export function addAddr(batch: Batch, addr: AddrParams): void {
  addrMessage(batch, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, addr);
}

/**
 * Deletes an address; EADDRNOTAVAIL when the link has it not. A surprise of IPv4: with the first address of a prefix
 * the kernel deletes all later ones of the same prefix, unless net.ipv4.conf.*.promote_secondaries is set.
 */
export function deleteAddr(batch: Batch, addr: Pick<AddrParams, 'link' | 'addr'>): void {
  addrMessage(batch, RTM_DELADDR, 0, { link: addr.link, addr: addr.addr });
}

/** The request for all addresses of a namespace; with `index`, for those of one family of that link. ENODEV when it is not there. */
export function dumpAddrs(index?: number, family: Family = 4): Uint8Array {
  const request = dumpRequest(RTM_GETADDR, IFADDRMSG_LENGTH);
  if (index === undefined) return request;
  request[NLMSG_HDRLEN] = familyNumber(family);
  viewOf(request).setUint32(NLMSG_HDRLEN + 4, index, LITTLE_ENDIAN);
  return request;
}

/** Decodes the answer to {@link dumpAddrs}; families other than IP's are passed over. */
export function decodeAddrs(bytes: Uint8Array): AddrInfo[] {
  return decodeMessages(bytes, RTM_NEWADDR, IFADDRMSG_LENGTH, decodeAddr);
}

function addrMessage(batch: Batch, type: number, messageFlags: number, addr: AddrParams): void {
  batch.message(type, messageFlags, () => {
    const { family, bytes, prefix } = parseCidr(addr.addr);
    batch.u8(familyNumber(family));
    batch.u8(prefix);
    batch.u8(0); // ifa_flags: IFA_FLAGS counts
    batch.u8(family === 4 && bytes[0] === 127 ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE);
    batch.link(addr.link);
    batch.attrBytes(IFA_LOCAL, bytes);
    batch.attrBytes(IFA_ADDRESS, bytes);
    if (type !== RTM_NEWADDR) return;
    const flags = (family === 6 ? IFA_F_NODAD : 0) | (addr.noPrefixRoute === true ? IFA_F_NOPREFIXROUTE : 0);
    if (flags !== 0) batch.attrU32(IFA_FLAGS, flags);
  });
}

function decodeAddr(view: DataView, start: number, end: number): AddrInfo | undefined {
  const family = familyOf(view.getUint8(start));
  if (family === undefined) return undefined;
  const prefix = view.getUint8(start + 1);
  let flags = view.getUint8(start + 2);
  let local: Uint8Array | undefined;
  let address: Uint8Array | undefined;
  let label: string | undefined;
  eachAttr(view, start + IFADDRMSG_LENGTH, end, (type, from, to) => {
    switch (type) {
      case IFA_LOCAL:
        local = readBytes(view, from, to);
        break;
      case IFA_ADDRESS:
        address = readBytes(view, from, to);
        break;
      case IFA_LABEL:
        label = readText(view, from, to);
        break;
      case IFA_FLAGS:
        flags = readU32(view, from, to);
        break;
    }
  });
  // IPv6 tells IFA_LOCAL only when there is a peer; then, as in IPv4, IFA_ADDRESS is the peer's.
  const own = local ?? address;
  if (own === undefined) throw malformed(`an address message without an address at offset ${start}`);
  const ownText = formatIp(family, own);
  const peer = address === undefined ? ownText : formatIp(family, address);
  return {
    index: view.getUint32(start + 4, LITTLE_ENDIAN),
    family,
    addr: formatCidr(family, own, prefix),
    ...(peer === ownText ? {} : { peer }),
    ...(label === undefined ? {} : { label }),
    scope: view.getUint8(start + 3),
    noPrefixRoute: (flags & IFA_F_NOPREFIXROUTE) !== 0,
    permanent: (flags & IFA_F_PERMANENT) !== 0,
    tentative: (flags & IFA_F_TENTATIVE) !== 0,
    dadFailed: (flags & IFA_F_DADFAILED) !== 0,
  };
}
