/** IPv6 text and arithmetic, against Node's own reading of addresses and against the numbers. */
import { isIPv6 } from 'node:net';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  addressAt,
  addressOf,
  aggregate,
  type Cidr,
  type Cidr6,
  compareCidr,
  contains,
  hostCidr,
  type Ipv6,
  intersect,
  networkOf,
  numberOf,
  offsetOf,
  overlaps,
  parseAnyCidr,
  parseAnyIp,
  parseAnyIpOrCidr,
  parseCidr6,
  parseIp6,
  prefixLength,
  rangeOf,
  subtract,
} from '../../../src/net/cidr.js';
import { formatIp6, readIp6 } from '../../../src/net/ip6.js';
import { refusal } from '../model/support.js';
import { assertProperty } from './property.js';

const number = fc.oneof(
  fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }),
  // Of groups that are zero more often than not.
  fc
    .array(fc.constantFrom(0n, 0n, 0n, 1n, 0xffffn), { minLength: 8, maxLength: 8 })
    .map((groups) => groups.reduce<bigint>((value, group) => (value << 16n) | group, 0n)),
);
const address = number.map((value) => addressOf(value));
const block = fc.tuple(address, fc.integer({ min: 0, max: 128 })).map(([ip, prefix]) => networkOf(ip, prefix));
/** Blocks of a space so small that they meet. */
const near = fc
  .tuple(fc.bigInt({ min: 0n, max: 255n }), fc.integer({ min: 120, max: 128 }))
  .map(([value, prefix]) => networkOf(addressOf((0xfd00n << 112n) | value), prefix));

describe('text', () => {
  test.each([
    ['::', 0n],
    ['::1', 1n],
    ['1::', 1n << 112n],
    ['2001:db8::1', 0x20010db8000000000000000000000001n],
    ['2001:db8:0:1:1:1:1:1', 0x20010db8000000010001000100010001n],
    ['2001:0:0:1::1', 0x20010000000000010000000000000001n],
    ['::ffff:0:0', 0xffff00000000n],
  ])('%s is its number’s only spelling', (text, value) => {
    expect(readIp6(text)).toBe(value);
    expect(formatIp6(value)).toBe(text);
    expect(parseIp6(text)).toBe(text);
  });

  test('is read in every spelling, as Node reads it', () => {
    expect(readIp6('FD00:0:0::0001')).toBe(readIp6('fd00::1'));
    expect(readIp6('::ffff:10.0.0.1')).toBe(0xffff0a000001n);
    for (const text of ['', ':', ':::', '1:2', '1::2::3', '12345::', 'g::', '::1.2.3', '::1.2.3.256', '::01.2.3.4']) {
      expect(readIp6(text), text).toBeUndefined();
    }
    assertProperty(
      fc.property(
        fc.string({ unit: fc.constantFrom('0', '1', 'f', ':', '::', '.', '10.0.0.1'), maxLength: 14 }),
        (text) => {
          expect(readIp6(text) !== undefined).toBe(isIPv6(text));
        },
      ),
      { numRuns: 2000 },
    );
  });

  test('and number are each other’s inverse', () => {
    assertProperty(
      fc.property(number, (value) => {
        const text = formatIp6(value);
        expect(isIPv6(text)).toBe(true);
        expect(readIp6(text)).toBe(value);
        expect(text).toMatch(/^[0-9a-f:]+$/);
        expect(text).not.toMatch(/(?:^|:)0[0-9a-f]/);
      }),
    );
  });

  test.each([
    ['FD00::1', 'write fd00::1'],
    ['fd00:0:0::1', 'write fd00::1'],
    ['fe80::1%eth0', 'names a link'],
    ['10.0.0.1', 'is IPv4'],
    ['fd00::1/64', 'has a prefix length'],
    ['fd00:', 'is not an address'],
  ])('%s is refused: %s', (text, why) => {
    expect(refusal(() => parseIp6(text))).toMatchObject({ code: 'INVALID', line: expect.stringContaining(why) });
  });

  test.each([
    ['fd00::1/64', 'the network is fd00::/64'],
    ['fd00::', 'the prefix length is missing'],
    ['fd00::/129', 'is no prefix length'],
    ['fd00::/064', 'is no prefix length'],
    ['FD00::/64', 'write fd00::/64'],
  ])('the block %s is refused: %s', (text, why) => {
    expect(refusal(() => parseCidr6(text))).toMatchObject({ code: 'INVALID', line: expect.stringContaining(why) });
  });

  test('of either family is told by its look', () => {
    expect([parseAnyIp('10.0.0.1'), parseAnyIp('::1')]).toEqual(['10.0.0.1', '::1']);
    expect([parseAnyCidr('10.0.0.0/8'), parseAnyCidr('::/0')]).toEqual(['10.0.0.0/8', '::/0']);
    expect([parseAnyIpOrCidr('10.0.0.1'), parseAnyIpOrCidr('fd00::1')]).toEqual(['10.0.0.1/32', 'fd00::1/128']);
    expect(refusal(() => parseAnyIp('::ffff:10.0.0.1')).line).toContain('write 10.0.0.1');
  });
});

describe('blocks', () => {
  test('hold what is between their first and their last address', () => {
    assertProperty(
      fc.property(block, address, (cidr, ip) => {
        const { first, last } = rangeOf(cidr);
        expect(last - first + 1n).toBe(1n << BigInt(128 - prefixLength(cidr)));
        expect(contains(cidr, ip)).toBe(first <= numberOf(ip) && numberOf(ip) <= last);
        expect(parseCidr6(cidr)).toBe(cidr);
        expect(contains(cidr, hostCidr(ip))).toBe(contains(cidr, ip));
        if (contains(cidr, ip)) expect(addressAt(cidr, offsetOf(cidr, ip))).toBe(ip);
      }),
    );
  });

  test('share an address exactly when one holds the other', () => {
    assertProperty(
      fc.property(near, near, (a, b) => {
        expect(overlaps(a, b)).toBe(contains(a, b) || contains(b, a));
        expect(intersect(a, b)).toBe(contains(a, b) ? b : contains(b, a) ? a : undefined);
      }),
    );
  });

  test('less others are what is in none of these, in order', () => {
    const all = Array.from({ length: 256 }, (_none, at) => addressOf((0xfd00n << 112n) | BigInt(at)));
    assertProperty(
      fc.property(fc.array(near, { maxLength: 4 }), fc.array(near, { maxLength: 4 }), (from, taken) => {
        const rest = subtract(from, taken);
        const isIn = (ip: Ipv6, blocks: readonly Cidr6[]): boolean => blocks.some((one) => contains(one, ip));
        expect(all.filter((ip) => isIn(ip, rest))).toEqual(all.filter((ip) => isIn(ip, from) && !isIn(ip, taken)));
        expect([...rest].sort(compareCidr)).toEqual(rest);
        expect(aggregate(rest)).toEqual(rest);
      }),
    );
  });

  test('of two families have nothing in common, and IPv4 comes first', () => {
    const [v4, v6] = ['0.0.0.0/0' as Cidr, '::/0' as Cidr6];
    expect([contains(v4, v6), contains(v6, v4), overlaps(v4, v6), contains(v6, '10.0.0.1' as never)]).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect([v6, v4].sort(compareCidr)).toEqual([v4, v6]);
    expect(subtract([v4, v6], ['128.0.0.0/1' as Cidr, '8000::/1' as Cidr6])).toEqual(['0.0.0.0/1', '::/1']);
  });
});
