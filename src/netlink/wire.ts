/**
 * Theory of operation of this directory: rtnetlink messages ↔ bytes, and nothing else. No descriptor, no I/O.
 *
 *     noun file (link, addr, route, rule, neigh)  parameters → Batch → { data, count, fixups }
 *                                                 dump bytes → message.ts → plain objects
 *
 * Numbers in a message are in the host's byte order; addresses are in network order. Callers never know a link's
 * index: a message that needs one carries a zero slot and a {@link Fixup} with the link's name, filled in just before
 * that message is sent.
 *
 * This file holds what all nouns share: byte order, header sizes and flags. An attribute's number stands in the
 * noun's file.
 */

/** The host is little-endian: the third argument of every DataView access to a netlink number. */
export const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** sizeof(struct nlmsghdr), linux/netlink.h: u32 len, u16 type, u16 flags, u32 seq, u32 pid. */
export const NLMSG_HDRLEN = 16;
/** sizeof(struct nlattr), linux/netlink.h: u16 len, u16 type. */
export const NLA_HDRLEN = 4;
/** linux/netlink.h: the attribute contains attributes. */
export const NLA_F_NESTED = 0x8000;
/** linux/netlink.h: an attribute's type without NLA_F_NESTED and NLA_F_NET_BYTEORDER. */
export const NLA_TYPE_MASK = 0x3fff;

/** Message types that every netlink family has (linux/netlink.h). */
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;

/** Flags of nlmsghdr (linux/netlink.h). */
export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;

/**
 * Owner mark of the routes and rules made here, in rtm_protocol and FRA_PROTOCOL: the ROUTE_PROTOCOL of src/objects.
 */
export const OWN_PROTOCOL = 201;

/** Rounds up to NLA_ALIGNTO, which equals NLMSG_ALIGNTO and RTNH_ALIGNTO. */
export function align4(length: number): number {
  return (length + 3) & ~3;
}
