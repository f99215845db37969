import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VpcctlError } from '../../../src/errors.js';
import { fromNumber, parseIp } from '../../../src/net/cidr.js';
import {
  hash32,
  hash64,
  LINK_NAME_LENGTH,
  linkName,
  macOf,
  NAME_PATTERN,
  parseName,
  shortHash,
} from '../../../src/net/name.js';
import { assertProperty } from './property.js';

function refusal(text: string): string {
  try {
    parseName(text, 'subnet');
  } catch (error) {
    expect(error).toBeInstanceOf(VpcctlError);
    expect((error as VpcctlError).code).toBe('INVALID');
    return (error as VpcctlError).toLine();
  }
  throw new Error(`${text} was not refused`);
}

const RULE = 'expected 1 to 63 lower-case letters, digits and inner hyphens';
const name = fc
  .string({ unit: fc.constantFrom(...'abcxyz019-'), minLength: 1, maxLength: 63 })
  .filter((text) => NAME_PATTERN.test(text));

describe('parseName', { timeout: 60_000 }, () => {
  it.each(['a', '0', 'web-1', 'a--b', '123', 'a'.repeat(63)])('takes %s', (text) => {
    expect(parseName(text, 'subnet')).toBe(text);
  });

  it.each([
    ['', `the subnet name is empty: ${RULE}`],
    ['-a', `subnet name "-a" starts with "-": ${RULE}`],
    ['-', `subnet name "-" starts with "-": ${RULE}`],
    ['a-', `subnet name "a-" ends with "-": ${RULE}`],
    ['a b', `subnet name "a b": character 2 is a space: ${RULE}`],
    ['é', `subnet name "é": character 1 is "é" (U+00E9): ${RULE}`],
    ['а', `subnet name "а": character 1 is "а" (U+0430): ${RULE}`],
    ['x💥', `subnet name "x💥": character 2 is "💥" (U+1F4A5): ${RULE}`],
    ['../x', `subnet name "../x": character 1 is ".": ${RULE}`],
    ['a/b', `subnet name "a/b": character 2 is "/": ${RULE}`],
    ['a_b', `subnet name "a_b": character 2 is "_": ${RULE}`],
    ['Web', `subnet name "Web": character 1 is "W": ${RULE}; write web`],
    ['a\n', `subnet name "a\\n": character 2 is a line end: ${RULE}`],
    ['a\u0000', `subnet name "a\\u{0}": character 2 is U+0000: ${RULE}`],
    ['a\u202eb', `subnet name "a\\u{202e}b": character 2 is U+202E: ${RULE}`],
    ['\ud800', `subnet name "\\u{d800}": character 1 is U+D800: ${RULE}`],
    ['a'.repeat(64), `subnet name "${'a'.repeat(64)}" is longer than 63 characters: ${RULE}`],
    ['a'.repeat(200), `subnet name "${'a'.repeat(40)}…" (200 characters) is longer than 63 characters: ${RULE}`],
    ['constructor', 'subnet name "constructor" is a reserved word: take another'],
    ['__proto__', `subnet name "__proto__": character 1 is "_": ${RULE}`],
  ])('refuses %j', (text, words) => {
    expect(refusal(text)).toBe(words);
  });

  it('takes no word that every object has, nor prototype', () => {
    for (const key of [...Object.getOwnPropertyNames(Object.prototype), 'prototype'])
      expect(NAME_PATTERN.test(key)).toBe(false);
  });

  it('throws nothing but INVALID, and takes exactly DNS labels but two', () => {
    assertProperty(
      fc.property(
        fc.oneof(
          fc.string({ unit: 'binary', maxLength: 80 }),
          fc.string({ unit: fc.constantFrom(...'abcdefgh0-'), maxLength: 70 }),
        ),
        (text) => {
          const label =
            text.length >= 1 &&
            text.length <= 63 &&
            Array.from(text).every((character) => 'abcdefghijklmnopqrstuvwxyz0123456789-'.includes(character)) &&
            !text.startsWith('-') &&
            !text.endsWith('-') &&
            text !== 'constructor' &&
            text !== 'prototype';
          if (label) expect(parseName(text, 'subnet')).toBe(text);
          else expect(refusal(text)).not.toMatch(/\p{Cc}/u);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('hashes', { timeout: 60_000 }, () => {
  // Published FNV-1a test vectors: names in kernels depend on these values.
  it.each([
    ['', 0x811c9dc5, 0xcbf29ce484222325n],
    ['a', 0xe40c292c, 0xaf63dc4c8601ec8cn],
    ['foobar', 0xbf9cf968, 0x85944171f73967e8n],
  ])('of %j are FNV-1a', (text, small, large) => {
    expect(hash32(text)).toBe(small);
    expect(hash64(text)).toBe(large);
  });

  it('are cut to the digits asked for', () => {
    expect(shortHash('vpc/bank', 16)).toMatch(/^[0-9a-f]{16}$/);
    for (let digits = 1; digits <= 16; digits += 1) {
      expect(shortHash('vpc/bank', digits)).toBe(shortHash('vpc/bank', 16).slice(-digits));
    }
    for (const digits of [0, 17, 1.5]) expect(() => shortHash('x', digits)).toThrow(RangeError);
  });

  it('do not change from release to release', () => {
    expect([
      shortHash('vpc/bank', 8),
      linkName('e-', 'bank/web-1'),
      linkName('p', 'a-long-instance-name'),
    ]).toMatchInlineSnapshot(`
      [
        "1b6bb74f",
        "e-bank_c5fpkx4f",
        "pa-lon_96qarwf9",
      ]
    `);
  });
});

describe('linkName', { timeout: 60_000 }, () => {
  it('keeps what fits, and marks what it cut', () => {
    expect(linkName('e-', 'web-1')).toBe('e-web-1');
    expect(linkName('', 'a'.repeat(15))).toBe('a'.repeat(15));
    expect(linkName('e-', 'instance-number-1')).toMatch(/^e-inst_[0-9a-z]{8}$/);
    expect(linkName('uplink', 'x'.repeat(63))).toMatch(/^uplink_[0-9a-z]{8}$/);
    expect(() => linkName('toolong', 'x')).toThrow(RangeError);
    expect(() => linkName('a/', 'x')).toThrow(RangeError);
  });

  it('is a link name, whatever the text, and always the same one', () => {
    assertProperty(
      fc.property(
        fc.string({ unit: fc.constantFrom(...'abz-'), maxLength: 6 }),
        fc.string({ unit: 'binary' }),
        (prefix, text) => {
          const link = linkName(prefix, text);
          expect(link).toMatch(/^[a-z0-9_-]+$/);
          expect(link.length).toBeLessThanOrEqual(LINK_NAME_LENGTH);
          expect(link.startsWith(prefix)).toBe(true);
          expect(linkName(prefix, text)).toBe(link);
        },
      ),
    );
  });

  it('is never the short name of another text', () => {
    assertProperty(
      fc.property(name, name, (a, b) => {
        fc.pre(a !== b);
        expect(linkName('e-', a)).not.toBe(linkName('e-', b));
      }),
    );
  });

  it('does not collide among 20,000 like texts', () => {
    const links = new Set<string>();
    for (let n = 0; n < 20_000; n += 1) links.add(linkName('e-', `load-test/instance-${n}`));
    expect(links.size).toBe(20_000);
  });
});

describe('macOf', { timeout: 60_000 }, () => {
  it('is the address behind 02:76', () => {
    expect(macOf(parseIp('10.0.1.255'))).toBe('02:76:0a:00:01:ff');
    expect(macOf(parseIp('0.0.0.0'))).toBe('02:76:00:00:00:00');
  });

  it('is unicast, local, and one for each address', () => {
    assertProperty(
      fc.property(fc.integer({ min: 0, max: 2 ** 32 - 1 }), (value) => {
        const mac = macOf(fromNumber(value));
        expect(mac).toMatch(/^02:76(:[0-9a-f]{2}){4}$/);
        expect(Number.parseInt(mac.slice(6).replaceAll(':', ''), 16)).toBe(value);
      }),
    );
  });
});
