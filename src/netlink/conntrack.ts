/** Connection tracking entries (ctnetlink; IPCTNL_MSG_CT_*, linux/netfilter/nfnetlink_conntrack.h). Numbers inside attributes are in network order. */
import { type Family, familyNumber, familyOf, formatIp } from './address.js';
import { type Batch, dumpRequest } from './batch.js';
import { type Draft, decodeMessages, eachAttr, malformed, readBytes, readU8 } from './message.js';
import { NLA_F_NESTED } from './wire.js';

const NFNL_SUBSYS_CTNETLINK = 1;
const CT_NEW = NFNL_SUBSYS_CTNETLINK << 8;
const CT_GET = CT_NEW | 1;
const CT_DELETE = CT_NEW | 2;

// struct nfgenmsg: u8 family, u8 version, be16 res_id
const NFGENMSG_LENGTH = 4;

const CTA_TUPLE_ORIG = 1;
const CTA_TUPLE_REPLY = 2;
const CTA_ID = 12;

const CTA_TUPLE_IP = 1;
const CTA_TUPLE_PROTO = 2;

const CTA_IP_V4_SRC = 1;
const CTA_IP_V4_DST = 2;
const CTA_IP_V6_SRC = 3;
const CTA_IP_V6_DST = 4;

const CTA_PROTO_NUM = 1;
const CTA_PROTO_SRC_PORT = 2;
const CTA_PROTO_DST_PORT = 3;
const CTA_PROTO_ICMP_TYPE = 5;
const CTA_PROTO_ICMP_CODE = 6;
const CTA_PROTO_ICMPV6_TYPE = 8;
const CTA_PROTO_ICMPV6_CODE = 9;

/** One direction of a connection. Ports: tcp, udp and others that have them. */
export interface Tuple {
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  /** Of icmp and icmpv6: what its first packet is, or what answers are. */
  readonly icmp?: { readonly type: number; readonly code: number };
}

/** A tracked connection: as its first packet was, and as answers are; they differ where it is translated. */
export interface Flow {
  readonly family: Family;
  readonly original: Tuple;
  readonly reply: Tuple;
  /** What names it to the kernel: CTA_TUPLE_ORIG and CTA_ID as they came. */
  readonly name: { readonly tuple: Uint8Array; readonly id: Uint8Array };
}

/** The request for all tracked connections of a namespace. */
export function dumpFlows(): Uint8Array {
  return dumpRequest(CT_GET, NFGENMSG_LENGTH);
}

/** Decodes the answer to {@link dumpFlows}; families other than IP's are passed over. */
export function decodeFlows(bytes: Uint8Array): Flow[] {
  return decodeMessages(bytes, CT_NEW, NFGENMSG_LENGTH, (view, start, end) => {
    const family = familyOf(view.getUint8(start));
    if (family === undefined) return undefined;
    let original: Tuple | undefined;
    let reply: Tuple | undefined;
    let tuple = new Uint8Array();
    let id = new Uint8Array();
    eachAttr(view, start + NFGENMSG_LENGTH, end, (type, from, to) => {
      if (type === CTA_TUPLE_ORIG) {
        original = decodeTuple(view, from, to, family);
        tuple = readBytes(view, from, to).slice();
      } else if (type === CTA_TUPLE_REPLY) reply = decodeTuple(view, from, to, family);
      else if (type === CTA_ID) id = readBytes(view, from, to).slice();
    });
    if (original === undefined || reply === undefined)
      throw malformed(`a connection without tuples at offset ${start}`);
    return { family, original, reply, name: { tuple, id } };
  });
}

/** Forgets a connection: its next packet is judged as a new one. ENOENT when it ended meanwhile. */
export function deleteFlow(batch: Batch, { family, name }: Pick<Flow, 'family' | 'name'>): void {
  batch.message(CT_DELETE, 0, () => {
    batch.u8(familyNumber(family));
    batch.u8(0);
    batch.u16(0);
    batch.attrBytes(CTA_TUPLE_ORIG | NLA_F_NESTED, name.tuple);
    if (name.id.length > 0) batch.attrBytes(CTA_ID, name.id);
  });
}

function decodeTuple(view: DataView, start: number, end: number, family: Family): Tuple {
  const tuple: Draft<Tuple> = { source: '', destination: '', protocol: 0 };
  eachAttr(view, start, end, (type, from, to) => {
    if (type === CTA_TUPLE_IP)
      eachAttr(view, from, to, (part, at, until) => readAddress(view, part, at, until, family, tuple));
    if (type === CTA_TUPLE_PROTO)
      eachAttr(view, from, to, (part, at, until) => readProtocol(view, part, at, until, tuple));
  });
  return tuple;
}

function readAddress(
  view: DataView,
  type: number,
  from: number,
  to: number,
  family: Family,
  tuple: Draft<Tuple>,
): void {
  const text = (): string => formatIp(family, readBytes(view, from, to));
  if (type === CTA_IP_V4_SRC || type === CTA_IP_V6_SRC) tuple.source = text();
  if (type === CTA_IP_V4_DST || type === CTA_IP_V6_DST) tuple.destination = text();
}

function readProtocol(view: DataView, type: number, from: number, to: number, tuple: Draft<Tuple>): void {
  const port = (): number => {
    if (to - from < 2) throw malformed(`port of ${to - from} bytes at offset ${from}`);
    return view.getUint16(from);
  };
  if (type === CTA_PROTO_NUM) tuple.protocol = readU8(view, from, to);
  if (type === CTA_PROTO_SRC_PORT) tuple.sourcePort = port();
  if (type === CTA_PROTO_DST_PORT) tuple.destinationPort = port();
  if (type === CTA_PROTO_ICMP_TYPE || type === CTA_PROTO_ICMPV6_TYPE)
    tuple.icmp = { type: readU8(view, from, to), code: tuple.icmp?.code ?? 0 };
  if (type === CTA_PROTO_ICMP_CODE || type === CTA_PROTO_ICMPV6_CODE)
    tuple.icmp = { type: tuple.icmp?.type ?? 0, code: readU8(view, from, to) };
}
