/**
 * Queues of links (RTM_*QDISC, linux/pkt_sched.h), and the filter that leads what comes by a link through another (RTM_*TFILTER): tbf, netem, ingress with
 * u32 and mirred.
 *
 * Rates are told exactly, in bytes a second. Tables of rates (TCA_TBF_RTAB), by which kernels before 3.8 went, are not sent: a link layer that is named
 * (TC_LINKLAYER_ETHERNET) makes the kernel reckon itself.
 */
import { invalid } from '../errors.js';
import { type Batch, dumpRequest } from './batch.js';
import { decodeMessages, eachAttr, malformed, readBytes, readText, readU32, readU64 } from './message.js';
import { LITTLE_ENDIAN, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLMSG_HDRLEN, OWN_PROTOCOL } from './wire.js';

// linux/rtnetlink.h
const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_GETQDISC = 38;
const RTM_NEWTFILTER = 44;
const RTM_GETTFILTER = 46;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;

// struct tcmsg: u8 family, u8 pad, u16 pad, s32 ifindex, u32 handle, u32 parent, u32 info
const TCMSG_LENGTH = 20;
const AT_INDEX = 4;
const AT_HANDLE = 8;
const AT_PARENT = 12;
const AT_INFO = 16;

// linux/pkt_sched.h
const TC_H_ROOT = 0xffff_ffff;
const TC_H_INGRESS = 0xffff_fff1;
/** Of ingress qdiscs; always this one. */
const INGRESS_HANDLE = 0xffff_0000;
const TC_LINKLAYER_ETHERNET = 1;
const TCA_TBF_PARMS = 1;
const TCA_TBF_RATE64 = 4;
const TCA_TBF_BURST = 6;
// struct tc_tbf_qopt: two struct tc_ratespec, u32 limit, u32 buffer, u32 mtu
// struct tc_ratespec: u8 cell_log, u8 linklayer, u16 overhead, s16 cell_align, u16 mpu, u32 rate
const TC_TBF_QOPT_LENGTH = 36;
const AT_RATE = 8;
const AT_LIMIT = 24;
const AT_BUFFER = 28;
// struct tc_netem_qopt: u32 latency, u32 limit, u32 loss, u32 gap, u32 duplicate, u32 jitter
const TC_NETEM_QOPT_LENGTH = 24;
const TCA_NETEM_CORR = 1;
const TCA_NETEM_REORDER = 3;
const TCA_NETEM_CORRUPT = 4;
const TCA_NETEM_LOSS = 5;
const TCA_NETEM_RATE = 6;
const TCA_NETEM_ECN = 7;
const TCA_NETEM_RATE64 = 8;
const TCA_NETEM_LATENCY64 = 10;
const TCA_NETEM_JITTER64 = 11;
const TCA_NETEM_SLOT = 12;

// linux/if_ether.h, linux/pkt_cls.h, linux/tc_act/tc_mirred.h
const ETH_P_ALL = 3;
const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TC_U32_TERMINAL = 1;
/** struct tc_u32_sel with one key: u8 flags, offshift, nkeys, pad; u16 offmask, off, offoff, hoff; u32 hmask; u32 mask, val, off, offmask */
const TC_U32_SEL_LENGTH = 32;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
// struct tc_mirred: u32 index, capab, action, refcnt, bindcnt; s32 eaction; u32 ifindex
const TC_MIRRED_LENGTH = 28;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;

/** linux/pkt_sched.h: the kernel's clock of queues, PSCHED_SHIFT 6. Constant since 2.6.31. */
const NS_PER_TICK = 64;
const NS_PER_S = 1_000_000_000n;
const MOST_U32 = 0xffff_ffff;

/**
 * The handles of what is made here, its owner mark: the number of our routes' protocol, 201, and the next. One of another kind has another, since the kernel
 * makes no qdisc one of another kind under its handle (EINVAL).
 */
const HANDLES = { tbf: OWN_PROTOCOL << 16, netem: (OWN_PROTOCOL + 1) << 16 } as const;
/** The owner mark of a filter. */
const PRIORITY = OWN_PROTOCOL;

/** What a qdisc of our kinds is told. */
export type QdiscParams =
  | {
      readonly type: 'tbf';
      /** Bytes a second. */
      readonly rate: number;
      /** Bytes; see {@link decodeQdiscs}. */
      readonly burst: number;
      /** Bytes that may wait. */
      readonly limit: number;
    }
  | {
      readonly type: 'netem';
      /** µs. */
      readonly delay: number;
      readonly jitter: number;
      /** Of 4294967295. */
      readonly loss: number;
      /** Bytes a second; absent: no bound. */
      readonly rate?: number;
      /** Packets that may wait. */
      readonly limit: number;
    };

/** A qdisc that somebody made, at the root of a link or where packets come in. */
export interface QdiscInfo {
  readonly index: number;
  readonly hook: 'root' | 'ingress';
  /** `tbf`, `netem`, `ingress`, … */
  readonly kind: string;
  /** Of one that was made here, where nothing is set that is not set here. */
  readonly params?: QdiscParams;
}

/** A filter where packets come in. */
export interface FilterInfo {
  /** It was made here, takes all packets, and leads them to the link of this index. */
  readonly redirect?: number;
}

/**
 * Puts a qdisc at the root of a link in place of what is there, or tells the one of its kind that was made here its new parameters, without loss of what waits in it.
 * ENOENT when the kernel does not know the kind.
 */
export function setQdisc(batch: Batch, { link, ...params }: QdiscParams & { readonly link: string }): void {
  batch.message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, () => {
    tcmsg(batch, link, HANDLES[params.type], TC_H_ROOT);
    batch.attrName(TCA_KIND, params.type);
    if (params.type === 'tbf') tbfOptions(batch, params);
    else netemOptions(batch, params);
  });
}

/**
 * Takes the qdisc off again that {@link setQdisc} made; the kernel puts its own in its place. ENOENT when there is none, EINVAL when there is another.
 */
export function deleteQdisc(
  batch: Batch,
  { link, type }: { readonly link: string; readonly type: QdiscParams['type'] },
): void {
  batch.message(RTM_DELQDISC, 0, () => {
    tcmsg(batch, link, HANDLES[type], TC_H_ROOT);
    batch.attrName(TCA_KIND, type);
  });
}

/** Leads all that comes by a link through the queue of another one, which is up or has its packets lost. EEXIST when there is something already. */
export function addRedirect(batch: Batch, { link, to }: { readonly link: string; readonly to: string }): void {
  batch.message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, () => {
    tcmsg(batch, link, INGRESS_HANDLE, TC_H_INGRESS);
    batch.attrName(TCA_KIND, 'ingress');
  });
  batch.message(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, () => {
    // Of all protocols; they are in network order.
    tcmsg(batch, link, 0, INGRESS_HANDLE, (PRIORITY << 16) | (LITTLE_ENDIAN ? ETH_P_ALL << 8 : ETH_P_ALL));
    batch.attrName(TCA_KIND, 'u32');
    batch.nest(TCA_OPTIONS, () => {
      const all = new Uint8Array(TC_U32_SEL_LENGTH);
      all[0] = TC_U32_TERMINAL;
      all[2] = 1; // one key, of which no bit counts
      batch.attrBytes(TCA_U32_SEL, all);
      batch.nest(TCA_U32_ACT, () =>
        batch.nest(1, () => {
          batch.attrName(TCA_ACT_KIND, 'mirred');
          batch.nest(TCA_ACT_OPTIONS, () =>
            batch.nest(
              TCA_MIRRED_PARMS,
              () => {
                for (const value of [0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR]) batch.u32(value);
                batch.link(to);
              },
              true,
            ),
          );
        }),
      );
    });
  });
}

/** Takes off what is where packets come in, with its filters. ENOENT when there is nothing. */
export function deleteIngress(batch: Batch, { link }: { readonly link: string }): void {
  batch.message(RTM_DELQDISC, 0, () => tcmsg(batch, link, INGRESS_HANDLE, TC_H_INGRESS));
}

/** The request for all qdiscs of a namespace. */
export function dumpQdiscs(): Uint8Array {
  return dumpRequest(RTM_GETQDISC, TCMSG_LENGTH);
}

/** The request for the filters of a link where packets come in, by its index. */
export function dumpFilters(index: number): Uint8Array {
  const request = dumpRequest(RTM_GETTFILTER, TCMSG_LENGTH);
  const view = new DataView(request.buffer, request.byteOffset);
  view.setUint32(NLMSG_HDRLEN + AT_INDEX, index, LITTLE_ENDIAN);
  view.setUint32(NLMSG_HDRLEN + AT_PARENT, INGRESS_HANDLE, LITTLE_ENDIAN);
  return request;
}

/**
 * Decodes the answer to {@link dumpQdiscs}. Passed over: those that links are born with (handle 0), and classes' own. The burst of a tbf, of which the kernel tells
 * how long it takes at that rate, in 64 ns, is the next multiple of `unit` bytes: exact for such multiples, as long as a tick is shorter than a unit.
 */
export function decodeQdiscs(bytes: Uint8Array, unit: number): QdiscInfo[] {
  return decodeMessages(bytes, RTM_NEWQDISC, TCMSG_LENGTH, (view, start, end): QdiscInfo | undefined => {
    const handle = view.getUint32(start + AT_HANDLE, LITTLE_ENDIAN);
    const parent = view.getUint32(start + AT_PARENT, LITTLE_ENDIAN);
    if (handle === 0 || (parent !== TC_H_ROOT && parent !== TC_H_INGRESS)) return undefined;
    const index = view.getInt32(start + AT_INDEX, LITTLE_ENDIAN);
    let kind = '';
    let params: QdiscParams | undefined;
    eachAttr(view, start + TCMSG_LENGTH, end, (type, from, to) => {
      if (type === TCA_KIND) kind = readText(view, from, to);
      else if (type !== TCA_OPTIONS) return;
      else if (kind === 'tbf' && handle === HANDLES.tbf) params = tbfParams(view, from, to, unit);
      else if (kind === 'netem' && handle === HANDLES.netem) params = netemParams(view, from, to);
    });
    const hook = parent === TC_H_ROOT ? 'root' : 'ingress';
    return { index, hook, kind, ...(params === undefined ? {} : { params }) };
  });
}

/** Decodes the answer to {@link dumpFilters}. */
export function decodeFilters(bytes: Uint8Array): FilterInfo[] {
  return decodeMessages(bytes, RTM_NEWTFILTER, TCMSG_LENGTH, (view, start, end): FilterInfo | undefined => {
    let kind = '';
    let found: FilterInfo | undefined;
    eachAttr(view, start + TCMSG_LENGTH, end, (type, from, to) => {
      if (type === TCA_KIND) kind = readText(view, from, to);
      else if (type === TCA_OPTIONS) found = kind === 'u32' ? u32Filter(view, from, to) : {};
    });
    const isOurs = view.getUint32(start + AT_INFO, LITTLE_ENDIAN) >>> 16 === PRIORITY;
    // A u32 is told of three times: as itself and its table of keys, with options that say nothing of packets, then as the key.
    return found === undefined || isOurs ? found : {};
  });
}

function tcmsg(batch: Batch, link: string, handle: number, parent: number, info = 0): void {
  batch.u8(0); // AF_UNSPEC
  batch.u8(0);
  batch.u16(0);
  batch.link(link);
  batch.u32(handle);
  batch.u32(parent);
  batch.u32(info);
}

function least(value: number, least: number): number {
  if (!Number.isSafeInteger(value) || value < least) throw invalid(`${value} is not an integer of at least ${least}`);
  return value;
}

function tbfOptions(batch: Batch, { rate, burst, limit }: Extract<QdiscParams, { type: 'tbf' }>): void {
  least(rate, 1);
  batch.nest(TCA_OPTIONS, () => {
    batch.nest(
      TCA_TBF_PARMS,
      () => {
        ratespec(batch, rate);
        ratespec(batch, 0);
        batch.u32(limit);
        batch.u32(0); // buffer: TCA_TBF_BURST, in bytes, goes before it
        batch.u32(0); // mtu: of a peak rate, which is not set
      },
      true,
    );
    if (rate > MOST_U32) batch.attrU64(TCA_TBF_RATE64, rate);
    batch.attrU32(TCA_TBF_BURST, least(burst, 1));
  });
}

function ratespec(batch: Batch, rate: number): void {
  batch.u8(0);
  batch.u8(rate === 0 ? 0 : TC_LINKLAYER_ETHERNET);
  batch.u16(0);
  batch.u16(0);
  batch.u16(0);
  batch.u32(Math.min(rate, MOST_U32));
}

function netemOptions(
  batch: Batch,
  { delay, jitter, loss, rate, limit }: Extract<QdiscParams, { type: 'netem' }>,
): void {
  batch.nest(
    TCA_OPTIONS,
    () => {
      batch.u32(0); // latency: TCA_NETEM_LATENCY64, in ns, goes before it
      batch.u32(least(limit, 1));
      batch.u32(loss);
      batch.u32(0); // gap
      batch.u32(0); // duplicate
      batch.u32(0); // jitter, likewise
      if (rate !== undefined) {
        batch.nest(
          TCA_NETEM_RATE,
          () => {
            batch.u32(Math.min(least(rate, 1), MOST_U32));
            for (let at = 0; at < 3; at += 1) batch.u32(0); // overhead, cells
          },
          true,
        );
        if (rate > MOST_U32) batch.attrU64(TCA_NETEM_RATE64, rate);
      }
      batch.attrU64(TCA_NETEM_LATENCY64, delay * 1000);
      batch.attrU64(TCA_NETEM_JITTER64, jitter * 1000);
    },
    true,
  );
}

function tbfParams(view: DataView, start: number, end: number, unit: number): QdiscParams | undefined {
  let rate = 0;
  let peak = 0;
  let limit = 0;
  let ticks = 0;
  eachAttr(view, start, end, (type, from, to) => {
    if (type === TCA_TBF_RATE64) rate = readU64(view, from, to);
    if (type !== TCA_TBF_PARMS) return;
    if (to - from < TC_TBF_QOPT_LENGTH) throw malformed(`parameters of a tbf with ${to - from} bytes`);
    rate = view.getUint32(from + AT_RATE, LITTLE_ENDIAN);
    peak = view.getUint32(from + AT_RATE + 12, LITTLE_ENDIAN);
    limit = view.getUint32(from + AT_LIMIT, LITTLE_ENDIAN);
    ticks = view.getUint32(from + AT_BUFFER, LITTLE_ENDIAN);
  });
  if (peak !== 0) return undefined;
  return { type: 'tbf', rate, burst: burstOf(ticks, rate, unit), limit };
}

/** In whole numbers: a product of the two is beyond what a double tells apart. */
function burstOf(ticks: number, rate: number, unit: number): number {
  const size = NS_PER_S * BigInt(unit);
  const units = (BigInt(ticks) * BigInt(NS_PER_TICK) * BigInt(rate) + size - 1n) / size;
  return Number(units) * unit;
}

/** undefined where something is set that is never set here: gaps, duplicates, correlations, corruption. */
function netemParams(view: DataView, start: number, end: number): QdiscParams | undefined {
  if (end - start < TC_NETEM_QOPT_LENGTH) throw malformed(`parameters of a netem with ${end - start} bytes`);
  const [latency = 0, limit = 0, loss = 0, gap = 0, duplicate = 0, shake = 0] = [0, 4, 8, 12, 16, 20].map((at) =>
    view.getUint32(start + at, LITTLE_ENDIAN),
  );
  let delay = latency * NS_PER_TICK;
  let jitter = shake * NS_PER_TICK;
  let rate = 0;
  let more = gap !== 0 || duplicate !== 0;
  eachAttr(view, start + TC_NETEM_QOPT_LENGTH, end, (type, from, to) => {
    switch (type) {
      case TCA_NETEM_LATENCY64:
        delay = readU64(view, from, to);
        break;
      case TCA_NETEM_JITTER64:
        jitter = readU64(view, from, to);
        break;
      case TCA_NETEM_RATE:
        rate = Math.max(rate, readU32(view, from, to));
        break;
      case TCA_NETEM_RATE64:
        rate = Math.max(rate, readU64(view, from, to));
        break;
      case TCA_NETEM_CORR:
      case TCA_NETEM_REORDER:
      case TCA_NETEM_CORRUPT:
      case TCA_NETEM_LOSS:
      case TCA_NETEM_ECN:
      case TCA_NETEM_SLOT:
        // The kernel tells of most, set or not.
        more ||= readBytes(view, from, to).some((byte) => byte !== 0);
        break;
    }
  });
  if (more) return undefined;
  const micro = (ns: number): number => Math.round(ns / 1000);
  return { type: 'netem', delay: micro(delay), jitter: micro(jitter), loss, ...(rate === 0 ? {} : { rate }), limit };
}

/** Nothing of a message that is about no packets. */
function u32Filter(view: DataView, start: number, end: number): FilterInfo | undefined {
  let selects: boolean | undefined;
  let actions = 0;
  let index: number | undefined;
  eachAttr(view, start, end, (type, from, to) => {
    if (type === TCA_U32_SEL)
      selects = readBytes(view, from, to)
        .subarray(16)
        .some((byte) => byte !== 0);
    if (type !== TCA_U32_ACT) return;
    eachAttr(view, from, to, (_order, at, until) => {
      actions += 1;
      index = mirredTarget(view, at, until);
    });
  });
  if (selects === undefined) return undefined;
  return !selects && actions === 1 && index !== undefined ? { redirect: index } : {};
}

function mirredTarget(view: DataView, start: number, end: number): number | undefined {
  let kind = '';
  let index: number | undefined;
  eachAttr(view, start, end, (type, from, to) => {
    if (type === TCA_ACT_KIND) kind = readText(view, from, to);
    if (type !== TCA_ACT_OPTIONS || kind !== 'mirred') return;
    eachAttr(view, from, to, (option, at, until) => {
      if (option !== TCA_MIRRED_PARMS) return;
      if (until - at < TC_MIRRED_LENGTH) throw malformed(`parameters of a mirred with ${until - at} bytes`);
      const word = (offset: number): number => view.getUint32(at + offset, LITTLE_ENDIAN);
      if (word(8) === TC_ACT_STOLEN && word(20) === TCA_EGRESS_REDIR) index = word(24);
    });
  });
  return index;
}
