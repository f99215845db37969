/** Building requests: a growing buffer of messages, and the slots in it that only the sender can fill. */
import { invalid, VpcctlError } from '../errors.js';
import {
  align4,
  LITTLE_ENDIAN,
  NLA_F_NESTED,
  NLA_HDRLEN,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  NLMSG_HDRLEN,
} from './wire.js';

/**
 * A zero 32-bit slot that the sender fills in, in the host's byte order, just before it sends the message that
 * contains it (so the link may have been made by an earlier message of the same batch). The offset is 4-aligned.
 */
export interface Fixup {
  /** Byte offset of the slot in the batch's data. */
  readonly offset: number;
  /** Fill with a descriptor of this namespace: a path of an nsfs file; `''` is the process' own. */
  readonly netns?: string;
  /** Fill with the index of the link of this name, in the namespace the message is sent in. */
  readonly link?: string;
}

/**
 * Messages ready to be sent in one namespace, in order; the n-th has sequence number n, from 1, and asks for an ack.
 */
export interface FinishedBatch {
  readonly data: Uint8Array;
  readonly count: number;
  readonly fixups: readonly Fixup[];
}

const FIRST_CAPACITY = 1024;
const utf8 = new TextEncoder();

/**
 * Collects request messages. Sticky: the first value that cannot be encoded (INVALID) is remembered, everything after
 * it is ignored, and {@link Batch.finish} throws it; so a caller writes a run of messages without checking each.
 */
export class Batch {
  #bytes = new Uint8Array(FIRST_CAPACITY);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;
  #count = 0;
  #fixups: Fixup[] = [];
  #namespaces = 0;
  #open = false;
  #error: VpcctlError | undefined;

  /** Namespaces that messages so far take a descriptor of. */
  get namespaces(): number {
    return this.#namespaces;
  }

  /** Messages so far: the index that the next message's ack will have. */
  get count(): number {
    return this.#count;
  }

  /**
   * Adds a message: `body` writes its fixed header with u8/u16/u32/link, then its attributes. `flags` come on top of
   * NLM_F_REQUEST and NLM_F_ACK.
   */
  message(type: number, flags: number, body: () => void): void {
    if (this.#error !== undefined) return;
    if (this.#open) throw new Error('a netlink message inside another');
    const start = this.#length;
    this.#open = true;
    try {
      this.#reserve(NLMSG_HDRLEN);
      body();
    } catch (error) {
      if (!(error instanceof VpcctlError)) throw error;
      this.#error = error;
      return;
    } finally {
      this.#open = false;
    }
    this.#count += 1;
    this.#view.setUint32(start, this.#length - start, LITTLE_ENDIAN);
    this.#view.setUint16(start + 4, type, LITTLE_ENDIAN);
    this.#view.setUint16(start + 6, NLM_F_REQUEST | NLM_F_ACK | flags, LITTLE_ENDIAN);
    this.#view.setUint32(start + 8, this.#count, LITTLE_ENDIAN);
  }

  /**
   * Hands the messages over and leaves the batch empty. Throws the first encoding error, now and at every later call.
   */
  finish(): FinishedBatch {
    if (this.#error !== undefined) throw this.#error;
    const finished = { data: this.#bytes.subarray(0, this.#length), count: this.#count, fixups: this.#fixups };
    this.#bytes = new Uint8Array(FIRST_CAPACITY);
    this.#view = new DataView(this.#bytes.buffer);
    this.#length = 0;
    this.#count = 0;
    this.#fixups = [];
    this.#namespaces = 0;
    return finished;
  }

  /** Fixed header fields. The header's own layout must keep what follows 4-aligned. */
  u8(value: number): void {
    const at = this.#reserve(1);
    this.#view.setUint8(at, checked(value, 0xff));
  }

  u16(value: number): void {
    const at = this.#reserve(2);
    this.#view.setUint16(at, checked(value, 0xffff), LITTLE_ENDIAN);
  }

  u32(value: number): void {
    const at = this.#reserve(4);
    this.#view.setUint32(at, checked(value, 0xffffffff), LITTLE_ENDIAN);
  }

  /** A header field that takes the index of a link. */
  link(name: string): void {
    this.#fixups.push({ offset: this.#reserve(4), link: name });
  }

  attrU8(type: number, value: number): void {
    const at = this.#attr(type, 1);
    this.#view.setUint8(at, checked(value, 0xff));
  }

  attrU16(type: number, value: number): void {
    const at = this.#attr(type, 2);
    this.#view.setUint16(at, checked(value, 0xffff), LITTLE_ENDIAN);
  }

  attrU32(type: number, value: number): void {
    const at = this.#attr(type, 4);
    this.#view.setUint32(at, checked(value, 0xffffffff), LITTLE_ENDIAN);
  }

  attrU64(type: number, value: number): void {
    const at = this.#attr(type, 8);
    this.#view.setBigUint64(at, BigInt(checked(value, Number.MAX_SAFE_INTEGER)), LITTLE_ENDIAN);
  }

  attrBytes(type: number, value: Uint8Array): void {
    const at = this.#attr(type, value.length);
    this.#bytes.set(value, at);
  }

  /** NUL-terminated text: names. */
  attrName(type: number, value: string): void {
    if (value.includes('\0')) throw invalid(`${JSON.stringify(value)} contains a NUL`);
    this.attrBytes(type, utf8.encode(`${value}\0`));
  }

  /** Text without a terminator; `''` is an attribute of no bytes, which clears what it sets. */
  attrText(type: number, value: string): void {
    if (value.includes('\0')) throw invalid(`${JSON.stringify(value)} contains a NUL`);
    this.attrBytes(type, utf8.encode(value));
  }

  /** An attribute that takes the index of a link. */
  attrLink(type: number, name: string): void {
    this.#fixups.push({ offset: this.#attr(type, 4), link: name });
  }

  /** An attribute that takes a descriptor of a namespace. */
  attrNetns(type: number, path: string): void {
    this.#namespaces += 1;
    this.#fixups.push({ offset: this.#attr(type, 4), netns: path });
  }

  /**
   * An attribute that contains what `body` writes. `plain` leaves NLA_F_NESTED away, for an attribute that starts
   * with a struct (VETH_INFO_PEER).
   */
  nest(type: number, body: () => void, plain = false): void {
    const start = this.#reserve(NLA_HDRLEN);
    body();
    const length = this.#length - start;
    this.#attrHeader(start, plain ? type : type | NLA_F_NESTED, length);
  }

  #attr(type: number, length: number): number {
    const start = this.#reserve(align4(NLA_HDRLEN + length));
    this.#attrHeader(start, type, NLA_HDRLEN + length);
    return start + NLA_HDRLEN;
  }

  #attrHeader(start: number, type: number, length: number): void {
    if (length > 0xffff)
      throw invalid(`netlink attribute ${type & ~NLA_F_NESTED} has ${length} bytes; 65535 is the most`);
    this.#view.setUint16(start, length, LITTLE_ENDIAN);
    this.#view.setUint16(start + 2, type, LITTLE_ENDIAN);
  }

  /** Appends zero bytes and answers where. */
  #reserve(length: number): number {
    const at = this.#length;
    this.#length += length;
    if (this.#length > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length));
      grown.set(this.#bytes);
      this.#bytes = grown;
      this.#view = new DataView(grown.buffer);
    }
    return at;
  }
}

/**
 * A dump request of one message (sequence number 1): a header of `headerLength` zero bytes (AF_UNSPEC: all families)
 * and u32 attributes. Valid under NETLINK_GET_STRICT_CHK, which refuses headers of another type's length.
 */
export function dumpRequest(
  type: number,
  headerLength: number,
  attrs: ReadonlyArray<readonly [type: number, value: number]> = [],
): Uint8Array {
  const batch = new Batch();
  batch.message(type, NLM_F_DUMP, () => {
    for (let at = 0; at < headerLength; at += 4) batch.u32(0);
    for (const [attr, value] of attrs) batch.attrU32(attr, value);
  });
  const { data } = batch.finish();
  // A dump is answered by NLMSG_DONE; NLM_F_ACK would only add a second answer.
  new DataView(data.buffer).setUint16(6, NLM_F_REQUEST | NLM_F_DUMP, LITTLE_ENDIAN);
  return data;
}

function checked(value: number, most: number): number {
  if (!Number.isInteger(value) || value < 0 || value > most)
    throw invalid(`${value} is not an integer from 0 to ${most}`);
  return value;
}
