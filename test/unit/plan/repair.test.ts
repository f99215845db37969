/** A plan from what is there to what was recorded: links that are down, that lead elsewhere, or that somebody put there. */
import { describe, expect, test } from 'vitest';
import type { KernelObject, LinkRow, VethRow } from '../../../src/objects/kernel-object.js';
import { rowKey } from '../../../src/objects/kernel-object.js';
import { rollback } from '../../../src/plan/plan.js';
import { repair } from '../../../src/plan/repair.js';

const netns = (ns: string): KernelObject => ({ kind: 'netns', ns });
const end = (ns: string, name: string, peer: VethRow['peer'], more: Partial<VethRow> = {}): VethRow => ({
  kind: 'link',
  ns,
  name,
  type: 'veth',
  mac: '02:00:00:00:00:01',
  mtu: 1500,
  alias: 'vpcctl:x',
  peer,
  ...more,
});
const PORT = end('r', 'p', { ns: 'w', name: 'eth0' });
const ETH0 = end('w', 'eth0', { ns: 'r', name: 'p' });
const ADDR: KernelObject = { kind: 'addr', ns: 'w', link: 'eth0', addr: '10.0.0.2/24' };
const ROUTE: KernelObject = { kind: 'route', ns: 'w', table: 254, dst: 'default', type: 'unicast', link: 'eth0' };
const NEIGH: KernelObject = { kind: 'neigh', ns: 'w', link: 'eth0', ip: '10.0.0.1', mac: '02:00:00:00:00:09' };
const WANTED = [netns('r'), netns('w'), PORT, ETH0, ADDR, ROUTE, NEIGH];

function steps(observed: readonly KernelObject[], wanted: readonly KernelObject[] = WANTED) {
  const { plan, left } = repair(wanted, observed, () => false);
  const text = plan.forward.map(
    ({ name, changes }) => `${name}: ${changes.map(({ op, row }) => `${op} ${rowKey(row)}`).join(', ')}`,
  );
  return { text, left: [...left].sort(), plan };
}

describe('repair', () => {
  test('of nothing is nothing', () => {
    expect(steps(WANTED)).toMatchObject({ text: [], left: [] });
  });

  test('only raises a link that is down, and makes again what the kernel took with it', () => {
    const down: LinkRow = { ...ETH0, down: true };
    expect(steps([netns('r'), netns('w'), PORT, down, ADDR]).text).toEqual([
      'connect: update link|w|eth0, create route|w|254|default, create neigh|w|eth0|10.0.0.1',
    ]);
  });

  test('sets what else differs while the link is down', () => {
    const down: LinkRow = { ...ETH0, down: true, mtu: 1400 };
    const { plan } = steps([netns('r'), netns('w'), PORT, down, ADDR]);
    expect(plan.forward.flatMap(({ changes }) => changes).filter(({ row }) => row.kind === 'link')).toEqual([
      { op: 'update', row: { ...ETH0, down: true }, old: down },
      { op: 'update', row: ETH0, old: { ...ETH0, down: true } },
    ]);
  });

  test('tells neighbours again that a change of the MAC address takes away', () => {
    const other: LinkRow = { ...ETH0, mac: '02:00:00:00:00:07' };
    expect(steps([netns('r'), netns('w'), PORT, other, ADDR, ROUTE, NEIGH]).text).toEqual([
      'build: update link|w|eth0',
      'connect: update neigh|w|eth0|10.0.0.1',
    ]);
  });

  test('removes a pair that leads elsewhere, with all that hangs on it, and can take that back', () => {
    const port = { ...PORT, peer: { ns: 'w', name: 'mine' } };
    const mine = { ...ETH0, name: 'mine' };
    const theirs: KernelObject = { kind: 'addr', ns: 'w', link: 'mine', addr: '10.9.0.1/24' };
    const { text, plan } = steps([netns('r'), netns('w'), port, mine, theirs]);
    expect(text).toEqual([
      'clear links: update link|r|p, update link|w|mine, delete addr|w|mine|10.9.0.1/24, delete link|r|p, delete link|w|mine',
      'build: create link|r|p, create link|w|eth0, create addr|w|eth0|10.0.0.2/24',
      'connect: raise link|r|p, raise link|w|eth0, create route|w|254|default, create neigh|w|eth0|10.0.0.1',
    ]);
    expect(rollback(plan.forward.slice(0, 1))[0]?.changes.map(({ op, row }) => `${op} ${rowKey(row)}`)).toEqual([
      'create link|w|mine',
      'create link|r|p',
      'create addr|w|mine|10.9.0.1/24',
      'update link|w|mine',
      'update link|r|p',
    ]);
  });

  test('removes an end whose other end is nowhere, and does not bring that back', () => {
    const stump = { ...PORT, peer: { ns: '?', name: '?' } };
    const { text, plan } = steps([netns('r'), stump]);
    expect(text[0]).toBe('clear links: delete link|r|p');
    expect(rollback(plan.forward.slice(0, 1))[0]?.changes).toEqual([]);
  });

  test.each(['', 'edge', 'r'])('removes nothing in "%s" because a workload says that its link leads there', (ns) => {
    const ours = end(ns, 'ours', { ns: 'w', name: 'eth0' });
    const { plan } = repair(
      WANTED,
      [...WANTED.slice(0, 2), ours, { ...ETH0, peer: { ns, name: 'ours' } }],
      () => false,
      { workloads: new Set(['w']) },
    );
    const gone = plan.forward.flatMap(({ changes }) => changes).filter(({ op }) => op === 'delete');
    expect(gone.map(({ row }) => rowKey(row))).toEqual(['link|w|eth0']);
  });

  test.each<readonly [string, LinkRow]>([
    [
      'of another kind',
      { kind: 'link', ns: 'w', name: 'eth0', type: 'other', driver: 'vxlan', mac: '', mtu: 1500, alias: '' },
    ],
    ['of theirs', end('w', 'eth0', { ns: 'w', name: 'eth1' }, { alias: '' })],
  ])('leaves a link %s where it is, and the pair unmade', (_, theirs) => {
    const { text, left } = steps([netns('r'), netns('w'), theirs]);
    expect(text).toEqual([]);
    expect(left).toEqual([ADDR, ETH0, NEIGH, PORT, ROUTE].map(rowKey).sort());
  });

  test('leaves what belongs into a namespace that is not there and not to be made', () => {
    const { text, left } = steps([netns('w')], [netns('w'), PORT, ETH0, ADDR]);
    expect(text).toEqual([]);
    expect(left).toEqual([ADDR, ETH0, PORT].map(rowKey).sort());
  });

  test("leaves a setting of the host's own link that is gone", () => {
    const setting: KernelObject = { kind: 'sysctl', ns: '', key: 'net/ipv4/conf/eth9/forwarding', value: '1' };
    expect(steps(WANTED, [...WANTED, setting])).toMatchObject({ text: [], left: [rowKey(setting)] });
  });
});
