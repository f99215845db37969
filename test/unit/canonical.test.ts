import fc from 'fast-check';
import { expect, test } from 'vitest';
import { canonicalText, isSame } from '../../src/canonical.js';
import { assertProperty } from './net/property.js';

/** JSON with members that may be undefined, few values and few keys: two of them are often the same. */
const { value } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom<unknown>(null, true, 0, 1, '0', '', 'a'),
    fc.array(tie('value'), { maxLength: 2 }),
    fc.dictionary(fc.constantFrom('a', 'b', '0'), fc.oneof(tie('value'), fc.constant(undefined)), { maxKeys: 2 }),
  ),
}));

test('two values are the same when their canonical texts are', () => {
  assertProperty(
    fc.property(value, value, (a, b) => {
      expect(isSame(a, b)).toBe(canonicalText(a) === canonicalText(b));
      expect(isSame(a, structuredClone(a))).toBe(true);
    }),
    { numRuns: 3_000 },
  );
});

test('the order of members means nothing, the order of items does', () => {
  expect(isSame({ a: 1, b: [1, 2], c: undefined }, { b: [1, 2], a: 1 })).toBe(true);
  expect(isSame([1, 2], [2, 1])).toBe(false);
  expect(isSame({}, [])).toBe(false);
  expect(isSame({ a: undefined }, { b: undefined })).toBe(true);
  expect(isSame({ a: undefined, b: 1 }, { a: 1, b: undefined })).toBe(false);
});
