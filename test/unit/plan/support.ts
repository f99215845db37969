/** Arbitrary rows, and what changes do to a set of them. */
import fc from 'fast-check';
import type { Change } from '../../../src/objects/change.js';
import { type KernelObject, rowKey } from '../../../src/objects/kernel-object.js';

const ns = fc.constantFrom('', 'n1', 'n2');
const link = fc.constantFrom('l0', 'l1');

/** Few keys and few values, so that two sets have keys in common with equal and with other values. */
export const row: fc.Arbitrary<KernelObject> = fc.oneof(
  fc.record({ kind: fc.constant('netns' as const), ns: fc.constantFrom('n1', 'n2') }),
  fc.record({
    kind: fc.constant('link' as const),
    ns,
    name: link,
    type: fc.constant('veth' as const),
    peer: fc.constant({ ns: 'n3', name: 'other' }),
    mac: fc.constant('02:00:00:00:00:01'),
    mtu: fc.constantFrom(1400, 1500),
    alias: fc.constant('vpcctl:x'),
  }),
  fc.record({ kind: fc.constant('addr' as const), ns, link, addr: fc.constantFrom('10.0.0.1/24', '10.0.1.1/24') }),
  fc.record({
    kind: fc.constant('route' as const),
    ns,
    table: fc.constantFrom(100, 254),
    dst: fc.constantFrom('default', '10.9.0.0/16'),
    type: fc.constant('unicast' as const),
    via: fc.constantFrom('10.0.0.9', '10.0.0.10'),
    link,
  }),
  fc.record({
    kind: fc.constant('rule' as const),
    ns,
    priority: fc.constant(33000),
    from: fc.constantFrom('10.0.0.0/24', '10.0.1.0/24'),
    table: fc.constantFrom(100, 101),
  }),
  fc.record({
    kind: fc.constant('neigh' as const),
    ns,
    link,
    ip: fc.constant('10.0.0.9'),
    mac: fc.constantFrom('02:00:00:00:00:02', '02:00:00:00:00:03'),
  }),
  fc.record({
    kind: fc.constant('sysctl' as const),
    ns,
    key: fc.constantFrom('net/ipv4/ip_forward', 'net/ipv4/conf/l0/forwarding'),
    value: fc.constantFrom('0', '1'),
  }),
  fc.record({
    kind: fc.constant('nft-element' as const),
    ns,
    family: fc.constant('inet' as const),
    table: fc.constant('vpcctl'),
    set: fc.constantFrom('s', 't'),
    key: fc.constantFrom<[string | number]>([1], ['10.0.0.9']),
    data: fc.constantFrom(1, 2),
  }),
);

/** One row a key. */
export const rows = fc.uniqueArray(row, { maxLength: 25, selector: rowKey });

/** What the changes make of the rows; fails where the kernel would: made twice, or changed or deleted where nothing is. */
export function applyTo(known: readonly KernelObject[], changes: readonly Change[]): KernelObject[] {
  const made = new Map(known.map((one) => [rowKey(one), one]));
  for (const change of changes) {
    const key = rowKey(change.row);
    if ((change.op === 'create') === made.has(key)) throw new Error(`${change.op} ${key}`);
    if (change.op === 'delete') made.delete(key);
    else made.set(key, change.row);
  }
  return [...made.values()];
}
