import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeAddrs } from '../../../src/netlink/addr.js';
import { decodeFlows } from '../../../src/netlink/conntrack.js';
import { decodeLinks, deleteLink } from '../../../src/netlink/link.js';
import {
  decodeMessages,
  eachAttr,
  eachMessage,
  readText,
  readU8,
  readU16,
  readU32,
  readU64,
  viewOf,
} from '../../../src/netlink/message.js';
import { decodeNeighs } from '../../../src/netlink/neigh.js';
import { decodeArp } from '../../../src/netlink/neightbl.js';
import { decodeRoutes } from '../../../src/netlink/route.js';
import { decodeRules } from '../../../src/netlink/rule.js';
import { build, expectTotal, fixture, holds, littleEndianHost, noiseOfType } from './support.js';

const decoders = [
  ['decodeLinks', decodeLinks, 16],
  ['decodeAddrs', decodeAddrs, 20],
  ['decodeRoutes', decodeRoutes, 24],
  ['decodeRules', decodeRules, 32],
  ['decodeNeighs', decodeNeighs, 28],
  ['decodeArp', decodeArp, 64],
] as const;
const malformed = expect.objectContaining({ code: 'KERNEL', message: expect.stringContaining('malformed') });

function header(length: number, type: number, rest: readonly number[] = []): Uint8Array {
  const bytes = new Uint8Array(16 + rest.length);
  viewOf(bytes).setUint32(0, length, littleEndianHost);
  viewOf(bytes).setUint16(4, type, littleEndianHost);
  bytes.set(rest, 16);
  return bytes;
}

function status(type: number, errno: number): Uint8Array {
  const bytes = header(20, type, [0, 0, 0, 0]);
  viewOf(bytes).setInt32(16, errno, littleEndianHost);
  return bytes;
}

describe('walking messages', () => {
  it('visits each with its bounds, wherever the bytes lie in their buffer', () => {
    const { data } = build((batch) => {
      deleteLink(batch, { name: 'a' });
      deleteLink(batch, { name: 'abcdef' });
    });
    const shifted = new Uint8Array(data.length + 7);
    shifted.set(data, 3);
    const seen: number[][] = [];
    eachMessage(viewOf(shifted.subarray(3, 3 + data.length)), (type, start, end) => seen.push([type, start, end]));
    // 16 nlmsghdr + 16 ifinfomsg + 4 + "a\0" padded, or + "abcdef\0" padded
    expect(seen).toEqual([
      [17, 16, 40],
      [17, 56, 84],
    ]);
  });

  it.each([
    ['a stray byte', Uint8Array.of(1)],
    ['half a header', new Uint8Array(15)],
    ['length 0', header(0, 16)],
    ['a length below the header', header(15, 16)],
    ['a length beyond the buffer', header(17, 16)],
    ['the largest length', header(0xffffffff, 16)],
  ])('refuses %s', (_name, bytes) => {
    expect(() => eachMessage(viewOf(bytes), () => {})).toThrow(malformed);
    for (const [, decode] of decoders) expect(() => decode(bytes)).toThrow(malformed);
  });

  it('finds the next message behind the padding of an odd length', () => {
    const bytes = Buffer.concat([header(18, 7, [1, 2, 0, 0]), header(17, 8, [1, 0, 0, 0]), header(19, 9, [1, 2, 3])]);
    const seen: number[][] = [];
    eachMessage(viewOf(bytes), (type, start, end) => seen.push([type, end - start]));
    expect(seen.map(([type, length]) => `${type}:${length}`)).toEqual(['7:2', '8:1', '9:3']);
  });

  it('allows the last message to lack its padding', () => {
    const lengths: number[] = [];
    eachMessage(viewOf(header(18, 99, [1, 2])), (_type, start, end) => lengths.push(end - start));
    expect(lengths).toEqual([2]);
  });

  it('passes over other types and the end of a dump, but not over a failure', () => {
    expect(decodeLinks(header(16, 99))).toEqual([]);
    expect(decodeLinks(status(3, 0))).toEqual([]);
    expect(decodeLinks(header(16, 3))).toEqual([]);
    expect(decodeLinks(status(2, 0))).toEqual([]);
    expect(() => decodeLinks(status(2, -1))).toThrow(expect.objectContaining({ facts: { errno: 'EPERM' } }));
    expect(() => decodeLinks(status(3, -105))).toThrow(expect.objectContaining({ facts: { errno: 'ENOBUFS' } }));
    for (const nonsense of [1, -5000, -0x80000000]) expect(() => decodeLinks(status(3, nonsense))).toThrow(malformed);
  });

  it('wants the whole fixed header', () => {
    expect(() => decodeMessages(header(18, 16, [0, 0]), 16, 4, () => true)).toThrow(malformed);
    expect(decodeMessages(header(20, 16, [0, 0, 0, 0]), 16, 4, () => true)).toEqual([true]);
  });
});

describe('walking attributes', () => {
  const walk = (bytes: readonly number[]): number[][] => {
    const seen: number[][] = [];
    eachAttr(viewOf(Uint8Array.from(bytes)), 0, bytes.length, (type, start, end) => seen.push([type, start, end]));
    return seen;
  };

  it.runIf(littleEndianHost)('strips the flags, skips padding, stops at less than a header', () => {
    expect(walk([5, 0, 1, 0x80, 9, 0, 0, 0, 4, 0, 2, 0x40])).toEqual([
      [1, 4, 5],
      [2, 12, 12],
    ]);
    expect(walk([4, 0, 1, 0, 0, 0, 0])).toEqual([[1, 4, 4]]);
    expect(walk([5, 0, 1, 0, 9])).toEqual([[1, 4, 5]]);
    expect(walk([])).toEqual([]);
  });

  it.runIf(littleEndianHost).each([[[0, 0, 1, 0]], [[3, 0, 1, 0]], [[5, 0, 1, 0]], [[0xff, 0xff, 1, 0]]])(
    'refuses %j',
    (bytes) => {
      expect(() => walk(bytes)).toThrow(malformed);
    },
  );

  it('reads scalars only when they are there', () => {
    const view = viewOf(Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    expect(() => readU8(view, 1, 1)).toThrow(malformed);
    expect(() => readU16(view, 1, 2)).toThrow(malformed);
    expect(() => readU32(view, 1, 4)).toThrow(malformed);
    expect(() => readU64(view, 1, 8)).toThrow(malformed);
    expect(readU8(view, 3, 4)).toBe(4);
  });

  it('reads text to its NUL or its end', () => {
    const view = viewOf(new Uint8Array(Buffer.from('ab\0cdü')));
    expect(readText(view, 0, 7)).toBe('ab');
    expect(readText(view, 3, 7)).toBe('cdü');
    expect(readText(view, 2, 2)).toBe('');
    expect(readText(view, 6, 7)).toBe('\ufffd');
  });
});

describe.each(decoders)('%s', (_name, decode, type) => {
  it('answers or throws the typed error for any bytes', () => {
    holds(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => expectTotal(decode, bytes)));
  });

  it('answers or throws the typed error for messages of its type with any payload', () => {
    let answered = 0;
    holds(
      fc.property(noiseOfType(type), (bytes) => {
        expectTotal((all) => {
          decode(all);
          answered += 1;
        }, bytes);
      }),
      { numRuns: 500 },
    );
    // Else the noise never gets past the first check, and the property says nothing.
    expect(answered).toBeGreaterThan(2);
  });
});

describe.runIf(littleEndianHost)('real messages, damaged', () => {
  // Of the links, the port p1, which has everything that is decoded; each is some 1400 bytes.
  const messages = [
    ['links', decodeLinks, split(fixture('links')).slice(2, 3)],
    ['routes', decodeRoutes, split(fixture('routes'))],
    ['rules', decodeRules, split(fixture('rules'))],
    ['flows', decodeFlows, split(fixture('flows'))],
    ['arp', decodeArp, split(fixture('arp'))],
  ] as const;

  it.each(messages)('%s: cut anywhere, the message length told so or not', (_name, decode, all) => {
    for (const bytes of all) {
      expect(decode(bytes).length).toBeLessThanOrEqual(1);
      for (let length = 0; length < bytes.length; length += 1) {
        const cut = bytes.slice(0, length);
        expectTotal(decode, cut);
        if (length < 16) continue;
        viewOf(cut).setUint32(0, length, true);
        expectTotal(decode, cut);
      }
    }
  });

  it.each(messages)('%s: any byte changed', (_name, decode, all) => {
    for (const bytes of all) {
      for (let at = 0; at < bytes.length; at += 1) {
        const good = bytes[at] ?? 0;
        for (const bad of [0, 1, 0xff, good ^ 0x80]) {
          bytes[at] = bad;
          expectTotal(decode, bytes);
        }
        bytes[at] = good;
      }
    }
  });
});

/** Copies of the messages of a buffer, each by itself. */
function split(bytes: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  eachMessage(viewOf(bytes), (_type, start, end) => found.push(bytes.slice(start - 16, end)));
  return found;
}
