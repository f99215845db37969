/**
 * Walking a received buffer: messages, their fixed header, their attributes. Everything is bounds-checked; a length
 * that lies (too short for its own header, beyond the buffer) throws {@link malformed}'s error, so no walk reads
 * outside or stands still. What is not known is passed over: message types, address families and attributes newer
 * than this code.
 */
import { getSystemErrorName } from 'node:util';
import { VpcctlError } from '../errors.js';
import { align4, LITTLE_ENDIAN, NLA_HDRLEN, NLA_TYPE_MASK, NLMSG_DONE, NLMSG_ERROR, NLMSG_HDRLEN } from './wire.js';

/** An answer under construction. */
export type Draft<T> = { -readonly [K in keyof T]: T[K] };

/** The error (KERNEL) of every decoder for bytes that are not what the kernel would send. */
export function malformed(detail: string): VpcctlError {
  return new VpcctlError('KERNEL', `malformed netlink answer: ${detail}`);
}

/** A view of the bytes, whatever part of its buffer they are. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/**
 * Calls `visit(type, start, end)` for each message, with the bounds of its payload. The last message's padding may be
 * missing. A non-zero status in NLMSG_ERROR or NLMSG_DONE throws KERNEL with the errno: an answer that says it failed
 * is not an empty one.
 */
export function eachMessage(view: DataView, visit: (type: number, start: number, end: number) => void): void {
  const limit = view.byteLength;
  for (let at = 0; at < limit; ) {
    if (limit - at < NLMSG_HDRLEN) throw malformed(`${limit - at} stray bytes at offset ${at}`);
    const length = view.getUint32(at, LITTLE_ENDIAN);
    if (length < NLMSG_HDRLEN || length > limit - at) throw malformed(`message length ${length} at offset ${at}`);
    const type = view.getUint16(at + 4, LITTLE_ENDIAN);
    const start = at + NLMSG_HDRLEN;
    const end = at + length;
    if (type === NLMSG_ERROR || type === NLMSG_DONE) checkStatus(view, start, end);
    visit(type, start, end);
    // Not `at += align4(length)`: align4 is 32-bit signed, and `length` may be anything below 2^32 in a large buffer.
    at = end + ((4 - (length & 3)) & 3);
  }
}

/**
 * Calls `visit(type, start, end)` for each attribute in [start, end), with the bounds of its payload and the type
 * stripped of its flags. Fewer than four trailing bytes are padding and end the walk, as in the kernel's own nla_ok.
 */
export function eachAttr(
  view: DataView,
  start: number,
  end: number,
  visit: (type: number, start: number, end: number) => void,
): void {
  for (let at = start; end - at >= NLA_HDRLEN; ) {
    const length = view.getUint16(at, LITTLE_ENDIAN);
    if (length < NLA_HDRLEN || length > end - at) throw malformed(`attribute length ${length} at offset ${at}`);
    visit(view.getUint16(at + 2, LITTLE_ENDIAN) & NLA_TYPE_MASK, at + NLA_HDRLEN, at + length);
    at += align4(length);
  }
}

/**
 * Decodes each message of `type`: `decode` gets the bounds of the payload, of which `headerLength` bytes are sure to be
 * there, and answers undefined for a message that is none of its business.
 */
export function decodeMessages<T>(
  bytes: Uint8Array,
  type: number,
  headerLength: number,
  decode: (view: DataView, start: number, end: number) => T | undefined,
): T[] {
  const view = viewOf(bytes);
  const found: T[] = [];
  eachMessage(view, (messageType, start, end) => {
    if (messageType !== type) return;
    if (end - start < headerLength)
      throw malformed(`message of type ${type} with ${end - start} bytes at offset ${start}`);
    const item = decode(view, start, end);
    if (item !== undefined) found.push(item);
  });
  return found;
}

/** An attribute's bytes, without a copy. */
export function readBytes(view: DataView, start: number, end: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + start, end - start);
}

export function readU8(view: DataView, start: number, end: number): number {
  need(1, start, end);
  return view.getUint8(start);
}

export function readU16(view: DataView, start: number, end: number): number {
  need(2, start, end);
  return view.getUint16(start, LITTLE_ENDIAN);
}

export function readU32(view: DataView, start: number, end: number): number {
  need(4, start, end);
  return view.getUint32(start, LITTLE_ENDIAN);
}

export function readU64(view: DataView, start: number, end: number): number {
  need(8, start, end);
  return Number(view.getBigUint64(start, LITTLE_ENDIAN));
}

export function readS32(view: DataView, start: number, end: number): number {
  need(4, start, end);
  return view.getInt32(start, LITTLE_ENDIAN);
}

/** Text up to the first NUL or the end; bytes that are not UTF-8 become U+FFFD. */
export function readText(view: DataView, start: number, end: number): string {
  const bytes = Buffer.from(view.buffer, view.byteOffset + start, end - start);
  const nul = bytes.indexOf(0);
  return bytes.toString('utf8', 0, nul < 0 ? bytes.length : nul);
}

function need(length: number, start: number, end: number): void {
  if (end - start < length) throw malformed(`attribute of ${end - start} bytes at offset ${start}, expected ${length}`);
}

function checkStatus(view: DataView, start: number, end: number): void {
  // Old kernels end some dumps with a NLMSG_DONE that has no status.
  const status = end - start < 4 ? 0 : view.getInt32(start, LITTLE_ENDIAN);
  if (status === 0) return;
  // From -1 to -4095, as MAX_ERRNO of linux/err.h; other values name no errno.
  if (status > 0 || status < -4095) throw malformed(`status ${status} at offset ${start}`);
  throw new VpcctlError('KERNEL', 'the kernel refused a dump', { errno: getSystemErrorName(status) });
}
