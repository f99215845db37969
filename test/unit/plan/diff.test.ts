import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { invert } from '../../../src/objects/change.js';
import type { KernelObject } from '../../../src/objects/kernel-object.js';
import { diff } from '../../../src/plan/diff.js';
import { byKey } from '../model/support.js';
import { assertProperty } from '../net/property.js';
import { applyTo, rows } from './support.js';

describe('diff', () => {
  test('of what is with itself is empty', () => {
    assertProperty(
      fc.property(rows, (known) => {
        expect(diff(known, known)).toEqual([]);
      }),
    );
  });

  test('carried out makes what is wanted of what is known, each row touched once', () => {
    assertProperty(
      fc.property(rows, rows, (known, wanted) => {
        const changes = diff(known, wanted);
        expect(byKey(applyTo(known, changes))).toEqual(byKey(wanted));
        expect(new Set(changes.map(({ row }) => [...byKey([row]).keys()][0])).size).toBe(changes.length);
      }),
    );
  });

  test('does not depend on the order of rows, nor of what they say', () => {
    assertProperty(
      fc.property(rows, (known) => {
        const turned = [...known].reverse().map((row) => Object.fromEntries(Object.entries(row).reverse()));
        expect(diff(known, turned as unknown as KernelObject[])).toEqual([]);
      }),
    );
  });

  test('takes an absent property for an undefined one, and does not look at what was before us', () => {
    const sysctl = { kind: 'sysctl', ns: '', key: 'net/ipv4/ip_forward', value: '1' } as const;
    expect(diff([sysctl], [{ ...sysctl, restore: '0', optional: true }])).toEqual([]);
    const route = { kind: 'route', ns: '', table: 254, dst: 'default', type: 'unicast' } as const;
    expect(diff([route], [{ ...route, via: undefined } as unknown as KernelObject])).toEqual([]);
    expect(diff([sysctl], [{ ...sysctl, value: '0' }])).toEqual([
      { op: 'update', row: { ...sysctl, value: '0' }, old: sysctl },
    ]);
  });
});

describe('invert', () => {
  test('twice is the change itself; after the change it gives back what was', () => {
    assertProperty(
      fc.property(rows, rows, (known, wanted) => {
        const changes = diff(known, wanted);
        const back = changes.map((change) => invert(change));
        expect(back.map((change) => change && invert(change))).toEqual(changes);
        const undone = applyTo(
          wanted,
          [...back].reverse().flatMap((change) => change ?? []),
        );
        expect(byKey(undone)).toEqual(byKey(known));
      }),
    );
  });

  test('of raising a link is nothing: its creation is undone', () => {
    const row = {
      kind: 'link',
      ns: 'n',
      name: 'l',
      type: 'other',
      driver: 'dummy',
      mac: '',
      mtu: 1500,
      alias: '',
    } as const;
    expect(invert({ op: 'raise', row })).toBeUndefined();
  });
});
