import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VpcctlError } from '../../../src/errors.js';
import {
  addressAt,
  aggregate,
  type Cidr,
  compareCidr,
  compareIp,
  contains,
  firstAddress,
  fromNumber,
  hostCidr,
  type Ipv4,
  intersect,
  isSpecialUse,
  lastAddress,
  networkOf,
  offsetOf,
  overlaps,
  parseCidr,
  parseIp,
  parseIpOrCidr,
  prefixLength,
  rangeOf,
  rangeToCidrs,
  sizeOf,
  subtract,
  toNumber,
} from '../../../src/net/cidr.js';
import { assertProperty } from './property.js';

/** What the reader says, hint included; fails the test when it takes the text. */
function refusal(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(VpcctlError);
    const refused = error as VpcctlError;
    expect(refused.code).toBe('INVALID');
    return refused.toLine();
  }
  throw new Error('was not refused');
}

const cidr = (text: string): Cidr => parseCidr(text).cidr;

// Blocks inside 10.0.0.0/26, whose 64 addresses can be enumerated; the universe as a set is the witness.
const UNIVERSE = toNumber(parseIp('10.0.0.0'));
const smallBlock = fc
  .tuple(fc.integer({ min: 26, max: 32 }), fc.integer({ min: 0, max: 63 }))
  .map(([prefix, offset]) => networkOf(fromNumber(UNIVERSE + offset), prefix));
const anyNumber = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const anyBlock = fc
  .tuple(anyNumber, fc.integer({ min: 0, max: 32 }))
  .map(([value, prefix]) => networkOf(fromNumber(value), prefix));

function members(blocks: readonly Cidr[]): Set<number> {
  const all = new Set<number>();
  for (const block of blocks) {
    const [address = '', prefix = ''] = block.split('/');
    const value = address.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
    for (let n = 0; n < 2 ** (32 - Number(prefix)); n += 1) all.add(value + n);
  }
  return all;
}

/** No two of the blocks could be one, and none overlap: the fewest there can be. */
function expectMinimal(blocks: readonly Cidr[]): void {
  for (const [index, block] of blocks.entries()) {
    const next = blocks[index + 1];
    if (next === undefined) continue;
    expect(rangeOf(block).last).toBeLessThan(rangeOf(next).first);
    const parent = prefixLength(block) === 0 ? undefined : networkOf(firstAddress(block), prefixLength(block) - 1);
    const siblings = prefixLength(block) === prefixLength(next) && parent !== undefined && contains(parent, next);
    expect(siblings, `${block} and ${next} are ${parent}`).toBe(false);
  }
}

describe('parseIp', { timeout: 60_000 }, () => {
  it.each(['0.0.0.0', '10.0.1.7', '255.255.255.255', '100.64.0.1'])('takes %s', (text) => {
    expect(parseIp(text)).toBe(text);
  });

  it.each([
    ['', 'the text is empty: expected an IPv4 address such as 10.0.1.7'],
    [
      '::ffff:10.0.0.1',
      'is an IPv4 address written as IPv6: expected an IPv4 address such as 10.0.1.7; write 10.0.0.1',
    ],
    ['::10.0.0.1', 'is an IPv4 address written as IPv6'],
    ['fd00::1', 'is IPv6, and this is for IPv4'],
    ['fe80::1%eth0', 'is IPv6, and this is for IPv4'],
    ['010.0.0.1', '"010" has a leading zero, which some programs read as octal'],
    ['10.0.0.00', '"00" has a leading zero'],
    ['10.1', 'has 2 parts, not four'],
    ['167772161', 'has 1 part, not four'],
    ['10.0.0.1.2', 'has 5 parts, not four'],
    ['0x0a.0.0.1', 'has a hexadecimal part'],
    ['0x0a000001', 'has a hexadecimal part'],
    [' 10.0.0.1', 'contains white space: expected an IPv4 address such as 10.0.1.7; write 10.0.0.1'],
    ['10.0.0.1\n', 'contains white space'],
    ['10.0.0.256', '"256" is larger than 255'],
    ['10..0.1', 'has an empty part'],
    ['10.0.0.', 'has an empty part'],
    ['10.0.0.-1', 'is not an address'],
    ['10.0.0.1e1', 'is not an address'],
    ['١٠.0.0.1', 'is not an address'],
    ['localhost', 'is not an address'],
    [
      '10.0.0.1/24',
      'has a prefix length, and an address alone has none: expected an IPv4 address such as 10.0.1.7; write',
    ],
  ])('refuses %j and names the rule', (text, words) => {
    const said = refusal(() => parseIp(text));
    expect(said).toContain(words);
    if (text !== '') expect(said).toContain(text.trim());
  });
});

describe('parseCidr', { timeout: 60_000 }, () => {
  it('gives the network, the address and the prefix', () => {
    expect(parseCidr('10.0.0.0/16')).toEqual({ cidr: '10.0.0.0/16', address: '10.0.0.0', prefix: 16 });
    expect(parseCidr('0.0.0.0/0')).toEqual({ cidr: '0.0.0.0/0', address: '0.0.0.0', prefix: 0 });
    expect(parseCidr('255.255.255.255/32').cidr).toBe('255.255.255.255/32');
  });

  it("takes an interface's form only where asked", () => {
    expect(parseCidr('10.0.1.1/24', { hostBits: 'allow' })).toEqual({
      cidr: '10.0.1.0/24',
      address: '10.0.1.1',
      prefix: 24,
    });
    expect(refusal(() => parseCidr('10.0.1.7/24'))).toBe(
      '10.0.1.7/24 has host bits set: the network is 10.0.1.0/24; write 10.0.1.0/24',
    );
  });

  it.each([
    ['', 'the text is empty: expected an IPv4 block such as 10.0.1.0/24'],
    ['10.0.0.1', 'the prefix length is missing; write 10.0.0.1/32 for this one address, or for example 10.0.0.0/24'],
    ['10.1/16', 'has 2 parts, not four'],
    ['010.0.0.0/8', 'leading zero, which some programs read as octal'],
    ['10.0.0.0/33', 'the prefix length "33" is larger than 32'],
    ['10.0.0.0/08', 'the prefix length "08" has a leading zero: expected 0 to 32; write 10.0.0.0/8'],
    ['10.0.0.0/-1', '"-1" is not a prefix length'],
    ['10.0.0.0/+8', '"+8" is not a prefix length'],
    ['10.0.0.0/8.0', '"8.0" is not a prefix length'],
    ['10.0.0.0/8/8', '"8/8" is not a prefix length'],
    ['10.0.0.0/', 'has no prefix length after the slash'],
    ['/8', 'has no address before the slash'],
    ['10.0.0.0/ 8', 'contains white space: expected 10.0.0.0/PREFIX; write 10.0.0.0/8'],
    ['10.0.0.0 /8', 'contains white space: expected an IPv4 block such as 10.0.1.0/24; write 10.0.0.0/8'],
    ['10.0.0.0/255.0.0.0', 'has a netmask after the slash: expected a prefix length of 0 to 32; write 10.0.0.0/8'],
    ['10.0.0.0/255.0.255.0', 'is not a prefix length'],
    ['::ffff:10.0.0.0/104', 'is an IPv4 address written as IPv6'],
    ['fd00::/8', 'is IPv6, and this is for IPv4'],
    ['any', 'is not an address'],
  ])('refuses %j and names the rule', (text, words) => {
    expect(refusal(() => parseCidr(text))).toContain(words);
    expect(refusal(() => parseCidr(text, { hostBits: 'allow' }))).toContain(words);
  });

  it('keeps a long or wild text on one short line', () => {
    const said = refusal(() => parseCidr(`${'9'.repeat(5000)}\n\u001b[31m`));
    expect(said.length).toBeLessThan(250);
    expect(said).not.toMatch(/\p{Cc}/u);
    expect(refusal(() => parseIp('\u001b[31m\u202e'))).toContain('"\\u{1b}[31m\\u{202e}"');
  });

  it('prints back what it parsed, and parses what is printed', () => {
    assertProperty(
      fc.property(anyNumber, fc.integer({ min: 0, max: 32 }), (value, prefix) => {
        const ip = fromNumber(value);
        expect(toNumber(parseIp(ip))).toBe(value);
        const parsed = parseCidr(`${ip}/${prefix}`, { hostBits: 'allow' });
        expect(parsed.address).toBe(ip);
        expect(parsed.cidr).toBe(networkOf(ip, prefix));
        expect(parseCidr(parsed.cidr)).toEqual({ cidr: parsed.cidr, address: firstAddress(parsed.cidr), prefix });
        expect(contains(parsed.cidr, ip)).toBe(true);
      }),
    );
  });

  it('throws nothing but INVALID, and takes only canonical text', () => {
    const near = fc.string({ unit: fc.constantFrom(...'0123456789./:xf '), maxLength: 20 });
    assertProperty(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), near), (text) => {
        for (const read of [parseIp, parseIpOrCidr, (it: string) => parseCidr(it, { hostBits: 'allow' }).address]) {
          try {
            const result = read(text);
            const bare = text.split('/')[0] ?? '';
            expect(bare.split('.').map(Number).join('.')).toBe(bare);
            expect(result.startsWith(bare)).toBe(true);
          } catch (error) {
            if (!(error instanceof VpcctlError)) throw error;
            expect(error.code).toBe('INVALID');
          }
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe('arithmetic', { timeout: 60_000 }, () => {
  it('knows first, last, size and members', () => {
    const block = cidr('10.0.1.0/24');
    expect([firstAddress(block), lastAddress(block), sizeOf(block), prefixLength(block)]).toEqual([
      '10.0.1.0',
      '10.0.1.255',
      256,
      24,
    ]);
    expect(addressAt(block, 7)).toBe('10.0.1.7');
    expect(offsetOf(block, parseIp('10.0.1.7'))).toBe(7);
    expect(sizeOf(cidr('0.0.0.0/0'))).toBe(2 ** 32);
    expect(lastAddress(cidr('0.0.0.0/0'))).toBe('255.255.255.255');
    expect(lastAddress(cidr('128.0.0.0/1'))).toBe('255.255.255.255');
    expect(parseIpOrCidr('10.0.0.1')).toBe(hostCidr(parseIp('10.0.0.1')));
  });

  it('refuses addresses that are not there', () => {
    const block = cidr('10.0.0.0/30');
    for (const n of [-1, 4, 1.5, Number.NaN]) {
      expect(refusal(() => addressAt(block, n))).toContain(
        `10.0.0.0/30 has addresses 0 to 3: there is no address ${n}`,
      );
    }
    expect(refusal(() => offsetOf(block, parseIp('10.0.0.4')))).toBe('10.0.0.4 is not in 10.0.0.0/30');
    expect(refusal(() => fromNumber(2 ** 32))).toContain('is not the number of an IPv4 address');
    expect(refusal(() => networkOf(parseIp('10.0.0.0'), 33))).toContain('33 is not a prefix length');
  });

  it('agrees with sets: contains, overlaps, intersect', () => {
    assertProperty(
      fc.property(smallBlock, smallBlock, (a, b) => {
        const [x, y] = [members([a]), members([b])];
        const shared = [...x].filter((value) => y.has(value));
        expect(overlaps(a, b)).toBe(shared.length > 0);
        expect(contains(a, b)).toBe(shared.length === y.size);
        const both = intersect(a, b);
        expect(both === undefined ? [] : [...members([both])]).toEqual(shared);
        const inside = Array.from({ length: 64 }, (_, n) => UNIVERSE + n).filter((n) => contains(a, fromNumber(n)));
        expect(inside).toEqual([...x]);
        expect(Math.sign(compareCidr(a, b))).toBe(-Math.sign(compareCidr(b, a)) + 0);
        expect(compareCidr(a, b) === 0).toBe(a === b);
      }),
    );
  });

  it('agrees with sets: subtract and aggregate, with the fewest blocks', () => {
    assertProperty(
      fc.property(fc.array(smallBlock, { maxLength: 6 }), fc.array(smallBlock, { maxLength: 6 }), (from, taken) => {
        const gone = members(taken);
        const left = subtract(from, taken);
        expect([...members(left)]).toEqual(
          [...members(from)].filter((value) => !gone.has(value)).sort((a, b) => a - b),
        );
        expectMinimal(left);
        expect(members(aggregate(from))).toEqual(members(from));
        expectMinimal(aggregate(from));
      }),
    );
  });

  it('agrees with sets: rangeToCidrs, with the fewest blocks', () => {
    for (let first = 0; first < 32; first += 1) {
      for (let last = first - 1; last < 32; last += 1) {
        const blocks = rangeToCidrs(UNIVERSE + first, UNIVERSE + last);
        expect([...members(blocks)]).toEqual(Array.from({ length: last - first + 1 }, (_, n) => UNIVERSE + first + n));
        expectMinimal(blocks);
      }
    }
  });

  it('holds at both ends of the address space', () => {
    expect(rangeToCidrs(0, 2 ** 32 - 1)).toEqual(['0.0.0.0/0']);
    expect(rangeToCidrs(2 ** 32 - 1, 2 ** 32 - 1)).toEqual(['255.255.255.255/32']);
    expect(subtract([cidr('0.0.0.0/0')], [cidr('0.0.0.0/1')])).toEqual(['128.0.0.0/1']);
    expect(subtract([cidr('0.0.0.0/0')], [cidr('255.255.255.255/32')])).toHaveLength(32);
    expect(subtract([cidr('10.0.0.0/16')], [cidr('0.0.0.0/0')])).toEqual([]);
    expect(aggregate([cidr('128.0.0.0/1'), cidr('0.0.0.0/1')])).toEqual(['0.0.0.0/0']);
    expect(subtract([cidr('10.0.0.0/29')], [cidr('10.0.0.3/32')])).toEqual([
      '10.0.0.0/31',
      '10.0.0.2/32',
      '10.0.0.4/30',
    ]);
  });

  it('inverts: addressAt and offsetOf, range and blocks', () => {
    assertProperty(
      fc.property(anyBlock, fc.nat(), (block, n) => {
        const offset = n % sizeOf(block);
        expect(offsetOf(block, addressAt(block, offset))).toBe(offset);
        const { first, last } = rangeOf(block);
        expect(rangeToCidrs(first, last)).toEqual([block]);
        expect(firstAddress(block)).toBe(addressAt(block, 0));
        expect(lastAddress(block)).toBe(addressAt(block, sizeOf(block) - 1));
      }),
    );
  });

  it('sorts addresses by number, not by text', () => {
    const sorted = ['10.0.0.10', '9.255.255.255', '200.0.0.1', '10.0.0.9'].map(parseIp).sort(compareIp);
    expect(sorted).toEqual(['9.255.255.255', '10.0.0.9', '10.0.0.10', '200.0.0.1']);
  });

  it.each([
    ['0.0.0.0/8', '0.0.0.0/8'],
    ['0.1.2.0/24', '0.0.0.0/8'],
    ['127.0.0.1/32', '127.0.0.0/8'],
    ['126.0.0.0/7', '127.0.0.0/8'],
    ['169.254.1.0/24', '169.254.0.0/16'],
    ['239.1.0.0/16', '224.0.0.0/4'],
    ['240.0.0.0/4', '240.0.0.0/4'],
    ['255.255.255.255/32', '240.0.0.0/4'],
    ['128.0.0.0/1', '169.254.0.0/16'],
    ['10.0.0.0/8', undefined],
    ['169.253.0.0/16', undefined],
    ['198.51.100.0/24', undefined],
    ['223.255.255.0/24', undefined],
  ])('knows that %s touches the special block %s', (block, special) => {
    expect(isSpecialUse(cidr(block))?.cidr).toBe(special);
  });

  it('keeps branded strings plain strings', () => {
    const ip: Ipv4 = parseIp('10.0.0.1');
    expect(JSON.stringify({ ip })).toBe('{"ip":"10.0.0.1"}');
  });
});
