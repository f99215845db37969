/** Boxes against a universe small enough to count. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ALL_PORTS, type Box, firstMatch, isAll, type Range, union, without } from '../../../src/lower/boxes.js';
import { assertProperty } from '../net/property.js';

const SIDE = 5;
const range: fc.Arbitrary<Range> = fc
  .tuple(fc.nat(SIDE - 1), fc.nat(SIDE - 1))
  .map(([a, b]) => ({ from: Math.min(a, b), to: Math.max(a, b) }));
const box: fc.Arbitrary<Box> = fc.record({ address: range, protocol: range, port: range });

const within = ({ from, to }: Range, point: number): boolean => from <= point && point <= to;

/** How many of the boxes hold each point of the universe. */
function cover(boxes: readonly Box[]): number[] {
  const counts: number[] = [];
  for (let address = 0; address < SIDE; address += 1) {
    for (let protocol = 0; protocol < SIDE; protocol += 1) {
      for (let port = 0; port < SIDE; port += 1) {
        counts.push(
          boxes.filter(
            (one) => within(one.address as Range, address) && within(one.protocol, protocol) && within(one.port, port),
          ).length,
        );
      }
    }
  }
  return counts;
}

const isWhole = (one: Box): boolean => [one.address, one.protocol, one.port].every(({ from, to }) => from <= to);

describe('without', () => {
  test('is what of the box is not in the hole, each packet once, in at most six boxes', () => {
    assertProperty(
      fc.property(box, box, (one, hole) => {
        const rest = without(one, hole);
        const inHole = cover([hole]);
        expect(cover(rest)).toEqual(cover([one]).map((count, point) => (inHole[point] === 0 ? count : 0)));
        expect(rest.length).toBeLessThanOrEqual(6);
        expect(rest.every(isWhole)).toBe(true);
      }),
    );
  });

  test('leaves a box that the hole misses as it is', () => {
    const one: Box = { address: { from: 0, to: 1 }, protocol: { from: 0, to: 1 }, port: { from: 0, to: 1 } };
    expect(without(one, { ...one, port: { from: 2, to: 3 } })).toEqual([one]);
    expect(without(one, one)).toEqual([]);
  });
});

describe('union', () => {
  test('has every packet of the boxes once', () => {
    assertProperty(
      fc.property(fc.array(box, { maxLength: 5 }), (boxes) => {
        expect(cover(union(boxes))).toEqual(cover(boxes).map((count) => Math.min(count, 1)));
      }),
    );
  });

  test('keeps the first box whole', () => {
    assertProperty(
      fc.property(fc.array(box, { minLength: 1, maxLength: 4 }), (boxes) => {
        expect(union(boxes)[0]).toEqual(boxes[0]);
      }),
    );
  });
});

describe('firstMatch', () => {
  test('allows each packet whose first matching rule allows, once', () => {
    assertProperty(
      fc.property(fc.array(fc.record({ allow: fc.boolean(), box }), { maxLength: 6 }), (rules) => {
        const each = rules.map((rule) => cover([rule.box]));
        const expected = cover([]).map((_, point) => {
          const first = rules.find((_rule, index) => each[index]?.[point] === 1);
          return first?.allow === true ? 1 : 0;
        });
        expect(cover(firstMatch(rules))).toEqual(expected);
      }),
    );
  });
});

test('a range is all of an axis only from end to end', () => {
  expect(isAll({ from: 0, to: 65535 }, ALL_PORTS)).toBe(true);
  expect(isAll({ from: 1, to: 65535 }, ALL_PORTS)).toBe(false);
  expect(isAll({ from: 0, to: 65534 }, ALL_PORTS)).toBe(false);
});
