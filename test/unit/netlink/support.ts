/** Shared by the netlink tests: goldens written field by field, fixtures recorded from a kernel, broken input. */
import { readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import fc from 'fast-check';
import { expect } from 'vitest';
import { VpcctlError } from '../../../src/errors.js';
import { Batch, type FinishedBatch } from '../../../src/netlink/batch.js';
import { eachMessage, viewOf } from '../../../src/netlink/message.js';

/** Goldens and fixtures are little-endian; big-endian encoding has a test of its own. */
export const littleEndianHost = endianness() === 'LE';

/**
 * Rows of hex with the meaning of each: the bytes of a message as a reader of the kernel's headers would write them.
 */
export type Golden = ReadonlyArray<readonly [hex: string, field: string]>;

export function build(fill: (batch: Batch) => void): FinishedBatch {
  const batch = new Batch();
  fill(batch);
  return batch.finish();
}

/** Compares row by row, so that a failure names the field. */
export function expectBytes(data: Uint8Array, golden: Golden): void {
  let at = 0;
  const rows = golden.map(([hex, field]) => {
    const length = hex.replaceAll(' ', '').length / 2;
    const row = Buffer.from(data.subarray(at, at + length)).toString('hex');
    at += length;
    return `${row}  ${field}`;
  });
  expect(rows).toEqual(golden.map(([hex, field]) => `${hex.replaceAll(' ', '')}  ${field}`));
  expect(data.length).toBe(at);
}

/** A dump recorded on Linux 6.18. */
export function fixture(
  name: 'arp' | 'filters' | 'filters-some' | 'flows' | 'links' | 'qdiscs' | 'routes' | 'rules',
): Uint8Array {
  return new Uint8Array(
    Buffer.from(readFileSync(new URL(`fixtures/${name}.b64`, import.meta.url), 'latin1'), 'base64'),
  );
}

/** The same messages with another type, as the kernel would answer a dump. */
export function retyped(data: Uint8Array, type: number): Uint8Array {
  const copy = Uint8Array.from(data);
  const view = viewOf(copy);
  eachMessage(view, (_type, start) => view.setUint16(start - 12, type, littleEndianHost));
  return copy;
}

/** Each slot is zero, 4-aligned, inside the payload of a message, and no two overlap. */
export function expectSoundFixups(finished: FinishedBatch): void {
  const view = viewOf(finished.data);
  const payloads: [number, number][] = [];
  eachMessage(view, (_type, start, end) => payloads.push([start, end]));
  expect(payloads.length).toBe(finished.count);
  for (const { offset } of finished.fixups) {
    expect(offset % 4).toBe(0);
    expect(payloads.some(([start, end]) => offset >= start && offset + 4 <= end)).toBe(true);
    expect(view.getUint32(offset)).toBe(0);
  }
  expect(new Set(finished.fixups.map(({ offset }) => offset)).size).toBe(finished.fixups.length);
}

/** Checks a synchronous property. */
export function holds<T>(property: fc.IProperty<T>, parameters?: fc.Parameters<T>): void {
  void fc.assert(property, parameters);
}

/** Whatever the bytes: an answer, or the typed error. */
export function expectTotal(decode: (bytes: Uint8Array) => unknown, bytes: Uint8Array): void {
  try {
    decode(bytes);
  } catch (error) {
    if (!(error instanceof VpcctlError) || error.code !== 'KERNEL') throw error;
  }
}

/** A well-formed message header of `type` over arbitrary payload, so that the noise reaches the noun's own decoder. */
export function noiseOfType(type: number): fc.Arbitrary<Uint8Array> {
  const attr = fc
    .tuple(fc.oneof(fc.nat(70), fc.nat(0xffff)), fc.uint8Array({ maxLength: 24 }), fc.nat(9))
    .map(([kind, payload, lie]) => {
      const bytes = new Uint8Array(4 + ((payload.length + 3) & ~3));
      const length = lie === 0 ? payload.length : 4 + payload.length;
      viewOf(bytes).setUint16(0, length, littleEndianHost);
      viewOf(bytes).setUint16(2, kind, littleEndianHost);
      bytes.set(payload, 4);
      return bytes;
    });
  const header = fc
    .tuple(fc.constantFrom(0, 2, 2, 7, 10, 10, 128), fc.uint8Array({ minLength: 3, maxLength: 19 }))
    .map(([family, rest]) => Uint8Array.from([family, ...rest]));
  return fc
    .tuple(header, fc.array(attr, { maxLength: 8 }), fc.uint8Array({ maxLength: 12 }))
    .map(([head, attrs, tail]) => {
      const payload = Buffer.concat([head, ...attrs, tail]);
      const bytes = new Uint8Array(16 + payload.length);
      viewOf(bytes).setUint32(0, bytes.length, littleEndianHost);
      viewOf(bytes).setUint16(4, type, littleEndianHost);
      bytes.set(payload, 16);
      return bytes;
    });
}

export const anyIpv4 = fc.ipV4();
export const anyIpv6 = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => {
  const groups = Array.from({ length: 8 }, (_, index) => ((bytes[index * 2] ?? 0) << 8) | (bytes[index * 2 + 1] ?? 0));
  // Zero out about half, so that runs of zeros are common.
  return groups.map((group) => (group % 2 === 0 ? '0' : group.toString(16))).join(':');
});
export const anyMac = fc
  .array(fc.nat(255), { minLength: 6, maxLength: 6 })
  .map((bytes) => bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':'));
export const anyName = fc.string({ minLength: 1, maxLength: 15, unit: 'grapheme-ascii' });
export const anyU32 = fc.nat(0xffffffff);

/** RFC 5952 text by another implementation than the one under test. */
export function canonicalIp(text: string): string {
  if (!text.includes(':')) return text;
  return new URL(`http://[${text}]/`).hostname.slice(1, -1);
}
