/** Links (RTM_*LINK, linux/rtnetlink.h and linux/if_link.h): veth pairs, and their properties. */
import { AF_BRIDGE, AF_INET, AF_INET6, AF_UNSPEC, formatMac, parseMac } from './address.js';
import { type Batch, dumpRequest } from './batch.js';
import {
  type Draft,
  decodeMessages,
  eachAttr,
  malformed,
  readBytes,
  readS32,
  readText,
  readU8,
  readU32,
} from './message.js';
import { LITTLE_ENDIAN, NLM_F_CREATE, NLM_F_EXCL } from './wire.js';

// linux/rtnetlink.h
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const RTEXT_FILTER_SKIP_STATS = 1 << 3;

// struct ifinfomsg: u8 family, u8 pad, u16 type, s32 index, u32 flags, u32 change
const IFINFOMSG_LENGTH = 16;

// linux/if.h
const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;

// linux/if_link.h
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINK = 5;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_IFALIAS = 20;
const IFLA_AF_SPEC = 26;
const IFLA_GROUP = 27;
const IFLA_NET_NS_FD = 28;
const IFLA_EXT_MASK = 29;
const IFLA_NUM_TX_QUEUES = 31;
const IFLA_NUM_RX_QUEUES = 32;
const IFLA_LINK_NETNSID = 37;
const IFLA_TARGET_NETNSID = 46;
const IFLA_PROP_LIST = 52;
// … inside IFLA_PROP_LIST
const IFLA_ALT_IFNAME = 53;
// … inside IFLA_LINKINFO
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
// … inside AF_INET of IFLA_AF_SPEC: told, attributes by number; asked, an array
const IFLA_INET_CONF = 1;
// linux/ip.h: IPV4_DEVCONF_*
const DEVCONF = {
  proxyArp: 3,
  sendRedirects: 6,
  rpFilter: 8,
  acceptSourceRoute: 9,
  arpIgnore: 19,
  arpAccept: 21,
} as const satisfies Record<keyof LinkConf, number>;
// … inside AF_INET6 of IFLA_AF_SPEC
const IFLA_INET6_ADDR_GEN_MODE = 8;
// linux/veth.h: inside IFLA_INFO_DATA of a veth; a struct ifinfomsg and link attributes
const VETH_INFO_PEER = 1;

/** How a link gets its IPv6 link-local address, by enum in6_addr_gen_mode (linux/if_link.h). */
export type AddrGenMode = 'eui64' | 'none' | 'stable-privacy' | 'random';
const ADDR_GEN_MODES: readonly AddrGenMode[] = ['eui64', 'none', 'stable-privacy', 'random'];

/** One end of a veth pair. */
export interface VethEnd {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  /**
   * Path of the nsfs file of the namespace where this end is born; `''` is the process' own. Absent: where the
   * message is sent.
   */
  readonly netns?: string;
}

export interface VethParams extends VethEnd {
  readonly peer: VethEnd;
}

export interface IfbParams {
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
}

/** A link's own values of net/ipv4/conf: numbers as in its sysctls. */
export interface LinkConf {
  readonly proxyArp?: number;
  readonly sendRedirects?: number;
  readonly rpFilter?: number;
  readonly acceptSourceRoute?: number;
  readonly arpIgnore?: number;
  readonly arpAccept?: number;
}

/** What {@link setLink} changes; what is absent stays as it is. */
export interface LinkChange {
  readonly name: string;
  readonly up?: boolean;
  /** Interface alias, at most 255 bytes; `''` removes it. */
  readonly alias?: string;
  /** Bridge of the same namespace to become a port of; null: of none. */
  readonly master?: string | null;
  readonly mtu?: number;
  readonly mac?: string;
  /** `none`: the kernel gives the link no IPv6 link-local address when it goes up. */
  readonly addrGenMode?: AddrGenMode;
  readonly conf?: LinkConf;
  /** Number by which {@link deleteLinkGroup} finds the link. */
  readonly group?: number;
}

/** A link as the kernel reports it. */
export interface LinkInfo {
  readonly index: number;
  readonly name: string;
  /** `bridge`, `veth`, … ; absent for loopback and hardware. */
  readonly kind?: string;
  readonly loopback: boolean;
  /** Absent for links without a 6-byte address. */
  readonly mac?: string;
  /** 0 when the message does not tell; the kernel's dumps always do. */
  readonly mtu: number;
  /** IFF_UP: set up by an administrator; a veth whose peer is down is up without carrier. */
  readonly up: boolean;
  readonly alias?: string;
  readonly masterIndex?: number;
  /** IFLA_LINK: for a veth, the index of the other end, in that end's namespace. */
  readonly peerIndex?: number;
  /** IFLA_LINK_NETNSID: the peer's namespace, as numbered in this one; absent: the same namespace; -1: not numbered. */
  readonly peerNsid?: number;
  readonly group: number;
  readonly addrGenMode?: AddrGenMode;
  readonly conf?: LinkConf;
  /** Names that it has besides; the kernel gives none of them to another link. Absent: none. */
  readonly altNames?: readonly string[];
}

/**
 * Adds a veth pair, both ends down, one queue each, each born in its namespace. The kernel refuses IFF_UP on the
 * nested peer (ENOTCONN) and ignores an alias on create; masters are namespace-local. All three are {@link
 * setLink}'s.
 */
export function createVeth(batch: Batch, veth: VethParams): void {
  batch.message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, () => {
    ifinfomsg(batch);
    vethEnd(batch, veth);
    batch.nest(IFLA_LINKINFO, () => {
      batch.attrName(IFLA_INFO_KIND, 'veth');
      batch.nest(IFLA_INFO_DATA, () => {
        batch.nest(
          VETH_INFO_PEER,
          () => {
            ifinfomsg(batch);
            vethEnd(batch, veth.peer);
          },
          true,
        );
      });
    });
  });
}

/**
 * Adds an intermediate functional block: a link that gives back what is redirected to it, after its queue. Down, one queue. Where the module is not
 * loaded yet, loading it puts links ifb0 and ifb1 into the machine's first namespace (`numifbs` of the module, 2).
 */
export function createIfb(batch: Batch, ifb: IfbParams): void {
  batch.message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, () => {
    ifinfomsg(batch);
    vethEnd(batch, ifb);
    batch.nest(IFLA_LINKINFO, () => batch.attrName(IFLA_INFO_KIND, 'ifb'));
  });
}

/**
 * Changes a link, in up to three messages, in the order that lets no packet pass too early: down; then what RTM_SETLINK
 * takes; then up. Nothing to change: no message. ENODEV when there is no such link.
 *
 * Up needs a message after IFLA_AF_SPEC's: the kernel sets flags first, and with them the link-local address that
 * `addrGenMode: 'none'` is to prevent.
 */
export function setLink(batch: Batch, link: LinkChange): void {
  if (link.up === false) linkMessage(batch, RTM_SETLINK, link.name, { up: false });
  const { alias, master, mtu, mac, addrGenMode, conf, group } = link;
  if ([alias, master, mtu, mac, addrGenMode, conf, group].some((value) => value !== undefined)) {
    linkMessage(batch, RTM_SETLINK, link.name, {}, () => {
      if (mac !== undefined) batch.attrBytes(IFLA_ADDRESS, parseMac(mac));
      if (mtu !== undefined) batch.attrU32(IFLA_MTU, mtu);
      if (group !== undefined) batch.attrU32(IFLA_GROUP, group);
      if (alias !== undefined) batch.attrText(IFLA_IFALIAS, alias);
      if (master === null) batch.attrU32(IFLA_MASTER, 0);
      else if (master !== undefined) batch.attrLink(IFLA_MASTER, master);
      if (addrGenMode !== undefined || conf !== undefined) {
        batch.nest(IFLA_AF_SPEC, () => {
          if (conf !== undefined) batch.nest(AF_INET, () => batch.nest(IFLA_INET_CONF, () => confAttrs(batch, conf)));
          if (addrGenMode === undefined) return;
          batch.nest(AF_INET6, () => batch.attrU8(IFLA_INET6_ADDR_GEN_MODE, ADDR_GEN_MODES.indexOf(addrGenMode)));
        });
      }
    });
  }
  if (link.up === true) linkMessage(batch, RTM_SETLINK, link.name, { up: true });
}

/**
 * Asks for a link. The kernel then sees to a carrier that has just come (linkwatch_sync_dev), which it else does in its own time: at the most a
 * hundred links a second, and a link that it has not come to sends nothing. ENODEV when there is none of the name.
 */
export function askLink(batch: Batch, link: { readonly name: string }): void {
  batch.message(RTM_GETLINK, 0, () => {
    ifinfomsg(batch);
    batch.attrName(IFLA_IFNAME, link.name);
    batch.attrU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  });
}

/** Deletes a link; with a veth goes its peer, wherever that is. ENODEV when there is none of the name. */
export function deleteLink(batch: Batch, link: { readonly name: string }): void {
  linkMessage(batch, RTM_DELLINK, link.name, {});
}

/**
 * Deletes all links of the group in one go (23 times faster than one by one). ENODEV when the group is empty; EPERM for
 * group 0, which every other link is in.
 */
export function deleteLinkGroup(batch: Batch, group: number): void {
  batch.message(RTM_DELLINK, 0, () => {
    ifinfomsg(batch);
    batch.attrU32(IFLA_GROUP, group);
  });
}

/** Deletes the link of this index in the namespace of this number, as the namespace where the message is sent numbers it. */
export function deleteLinkIn(batch: Batch, nsid: number, index: number): void {
  batch.message(RTM_DELLINK, 0, () => {
    ifinfomsg(batch, undefined, index);
    batch.attrU32(IFLA_TARGET_NETNSID, nsid);
  });
}

/** The request for all links of a namespace, without their counters: of the one of this number, if one is given. */
export function dumpLinks(nsid?: number): Uint8Array {
  const target: readonly [number, number][] = nsid === undefined ? [] : [[IFLA_TARGET_NETNSID, nsid]];
  return dumpRequest(RTM_GETLINK, IFINFOMSG_LENGTH, [[IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS], ...target]);
}

/** Decodes the answer to {@link dumpLinks}; AF_BRIDGE messages, which describe ports and not links, are passed over. */
export function decodeLinks(bytes: Uint8Array): LinkInfo[] {
  return decodeMessages(bytes, RTM_NEWLINK, IFINFOMSG_LENGTH, decodeLink);
}

function decodeLink(view: DataView, start: number, end: number): LinkInfo | undefined {
  if (view.getUint8(start) === AF_BRIDGE) return undefined;
  const flags = view.getUint32(start + 8, LITTLE_ENDIAN);
  const link: Draft<LinkInfo> = {
    index: view.getInt32(start + 4, LITTLE_ENDIAN),
    name: '',
    loopback: (flags & IFF_LOOPBACK) !== 0,
    mtu: 0,
    up: (flags & IFF_UP) !== 0,
    group: 0,
  };
  eachAttr(view, start + IFINFOMSG_LENGTH, end, (type, from, to) => {
    switch (type) {
      case IFLA_IFNAME:
        link.name = readText(view, from, to);
        break;
      case IFLA_ADDRESS: {
        const mac = formatMac(readBytes(view, from, to));
        if (mac !== undefined) link.mac = mac;
        break;
      }
      case IFLA_MTU:
        link.mtu = readU32(view, from, to);
        break;
      case IFLA_LINK:
        link.peerIndex = readU32(view, from, to);
        break;
      case IFLA_LINK_NETNSID:
        link.peerNsid = readS32(view, from, to);
        break;
      case IFLA_MASTER: {
        const index = readU32(view, from, to);
        if (index !== 0) link.masterIndex = index;
        break;
      }
      case IFLA_IFALIAS: {
        const alias = readText(view, from, to);
        if (alias !== '') link.alias = alias;
        break;
      }
      case IFLA_GROUP:
        link.group = readU32(view, from, to);
        break;
      case IFLA_LINKINFO:
        decodeLinkInfo(view, from, to, link);
        break;
      case IFLA_AF_SPEC:
        decodeAfSpec(view, from, to, link);
        break;
      case IFLA_PROP_LIST:
        eachAttr(view, from, to, (property, start, end) => {
          if (property === IFLA_ALT_IFNAME) link.altNames = [...(link.altNames ?? []), readText(view, start, end)];
        });
        break;
    }
  });
  if (link.name === '') throw malformed(`a link without a name at offset ${start}`);
  return link;
}

function decodeLinkInfo(view: DataView, start: number, end: number, link: Draft<LinkInfo>): void {
  eachAttr(view, start, end, (type, from, to) => {
    if (type === IFLA_INFO_KIND) link.kind = readText(view, from, to);
  });
}

function decodeAfSpec(view: DataView, start: number, end: number, link: Draft<LinkInfo>): void {
  eachAttr(view, start, end, (family, familyFrom, familyTo) => {
    if (family === AF_INET) link.conf = decodeConf(view, familyFrom, familyTo);
    if (family !== AF_INET6) return;
    eachAttr(view, familyFrom, familyTo, (type, from, to) => {
      if (type !== IFLA_INET6_ADDR_GEN_MODE) return;
      const mode = ADDR_GEN_MODES[readU8(view, from, to)];
      if (mode !== undefined) link.addrGenMode = mode;
    });
  });
}

function confAttrs(batch: Batch, conf: LinkConf): void {
  for (const [name, number] of Object.entries(DEVCONF)) {
    const value = conf[name as keyof LinkConf];
    if (value !== undefined) batch.attrU32(number, value);
  }
}

/** All values, in the order of their numbers, which begin with 1. */
function decodeConf(view: DataView, start: number, end: number): LinkConf {
  const conf: Draft<LinkConf> = {};
  eachAttr(view, start, end, (type, from, to) => {
    if (type !== IFLA_INET_CONF) return;
    for (const [name, number] of Object.entries(DEVCONF)) {
      const at = from + 4 * (number - 1);
      if (at + 4 <= to) conf[name as keyof LinkConf] = readU32(view, at, at + 4);
    }
  });
  return conf;
}

function vethEnd(batch: Batch, end: VethEnd): void {
  batch.attrName(IFLA_IFNAME, end.name);
  batch.attrBytes(IFLA_ADDRESS, parseMac(end.mac));
  batch.attrU32(IFLA_MTU, end.mtu);
  batch.attrU32(IFLA_NUM_TX_QUEUES, 1);
  batch.attrU32(IFLA_NUM_RX_QUEUES, 1);
  if (end.netns !== undefined) batch.attrNetns(IFLA_NET_NS_FD, end.netns);
}

/** A message on an existing link, which the kernel finds by name. */
function linkMessage(
  batch: Batch,
  type: number,
  name: string,
  flags: { readonly up?: boolean },
  attrs: () => void = () => {},
): void {
  batch.message(type, 0, () => {
    ifinfomsg(batch, flags.up);
    batch.attrName(IFLA_IFNAME, name);
    attrs();
  });
}

function ifinfomsg(batch: Batch, up?: boolean, index = 0): void {
  batch.u8(AF_UNSPEC);
  batch.u8(0);
  batch.u16(0); // ifi_type: the kernel's choice
  batch.u32(index); // ifi_index; 0: by IFLA_IFNAME
  batch.u32(up === true ? IFF_UP : 0); // ifi_flags
  batch.u32(up === undefined ? 0 : IFF_UP); // ifi_change: which flags count
}
