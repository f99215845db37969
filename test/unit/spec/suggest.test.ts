import { describe, expect, it } from 'vitest';
import { closest, editDistance } from '../../../src/spec/suggest.js';

describe('closest', () => {
  const keys = ['cidr', 'secondaryCidrs', 'subnets', 'securityGroups', 'instances'];

  it.each([
    ['cdir', 'cidr'],
    ['CIDR', 'cidr'],
    ['subnet', 'subnets'],
    ['security-groups', 'securityGroups'],
    ['SecurityGroup', 'securityGroups'],
    ['secondary_cidr', 'secondaryCidrs'],
    ['color', undefined],
    ['', undefined],
    ['x'.repeat(100_000), undefined],
  ])('of %.20s is %s', (word, near) => {
    expect(closest(word, keys)).toBe(near);
  });

  it('takes the nearest, not the first', () => {
    expect(closest('web-2', ['web-1', 'web-22', 'web-2'])).toBe('web-2');
    expect(closest('a', [])).toBeUndefined();
  });
});

describe('editDistance', () => {
  it.each([
    ['', '', 0],
    ['', 'abc', 3],
    ['abc', 'abc', 0],
    ['abc', 'acb', 1],
    ['kitten', 'sitting', 3],
    ['ca', 'abc', 3],
  ])('of %s and %s is %i', (a, b, distance) => {
    expect(editDistance(a, b)).toBe(distance);
    expect(editDistance(b, a)).toBe(distance);
  });
});
