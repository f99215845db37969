import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Change } from '../../../src/objects/change.js';
import { isPort, type KernelObject, rowKey, type VethRow } from '../../../src/objects/kernel-object.js';
import { diff } from '../../../src/plan/diff.js';
import { countChanges, type Plan, plan, rollback } from '../../../src/plan/plan.js';
import { attempt, transactions, World } from '../model/support.js';
import { assertProperty } from '../net/property.js';
import { rows } from './support.js';

const ORDER = ['build', 'connect'];

function stages({ forward, teardown }: Plan): { name: string; changes: readonly Change[] }[] {
  return [...forward, teardown];
}

const remove = (...list: KernelObject[]): Change[] => list.map((row) => ({ op: 'delete', row }));
const create = (...list: KernelObject[]): Change[] => list.map((row) => ({ op: 'create', row }));
const deleted = (made: Plan): string[] =>
  stages(made).flatMap(({ changes }) => changes.flatMap(({ op, row }) => (op === 'delete' ? [rowKey(row)] : [])));

const netns = (ns: string): KernelObject => ({ kind: 'netns', ns });
function veth(ns: string, name: string, peerNs: string, peerName: string): VethRow {
  const common = { kind: 'link', type: 'veth', mac: '02:00:00:00:00:01', mtu: 1500, alias: 'vpcctl:v' } as const;
  return { ...common, ns, name, peer: { ns: peerNs, name: peerName } };
}
const pair = (a: readonly [string, string], b: readonly [string, string]): [VethRow, VethRow] => [
  veth(...a, ...b),
  veth(...b, ...a),
];

describe('stages', () => {
  test('come in the order that the kernel and the filter ask for, none empty', () => {
    assertProperty(
      fc.property(rows, rows, (known, wanted) => {
        const { forward, teardown } = plan(diff(known, wanted));
        const names = forward.map(({ name }) => name);
        expect(names).toEqual(ORDER.filter((name) => names.some((one) => one === name)));
        expect(forward.every(({ changes }) => changes.length > 0)).toBe(true);
        expect(teardown.name).toBe('teardown');
      }),
    );
  });

  test('hold every change but deletions of what vanishes, once, and raise every link that is made', () => {
    assertProperty(
      fc.property(rows, rows, (known, wanted) => {
        const changes = diff(known, wanted);
        const made = plan(changes);
        const planned = stages(made).flatMap((stage) => stage.changes);
        const raised = planned.flatMap((change) => (change.op === 'raise' ? [rowKey(change.row)] : []));
        const links = changes.filter(({ op, row }) => op === 'create' && row.kind === 'link');
        expect(raised.sort()).toEqual(links.map(({ row }) => rowKey(row)).sort());
        const rest = new Set(planned.filter(({ op }) => op !== 'raise'));
        expect(rest.size).toBe(planned.length - raised.length);
        for (const change of changes) {
          if (change.op !== 'delete') expect(rest.has(change)).toBe(true);
          rest.delete(change);
        }
        expect(rest.size, 'nothing is planned that was not asked for').toBe(0);
      }),
    );
  });

  test('what is not deleted hangs on something that is', () => {
    assertProperty(
      fc.property(rows, rows, (known, wanted) => {
        const changes = diff(known, wanted);
        const done = new Set(deleted(plan(changes)));
        for (const { op, row } of changes) {
          if (op !== 'delete' || done.has(rowKey(row))) continue;
          const on = 'link' in row && row.link !== undefined ? row.link : row.kind === 'sysctl' ? 'l0' : undefined;
          const goes = done.has(`netns|${row.ns}`) || (on !== undefined && changes.some(goneLink(row.ns, on)));
          expect(goes, rowKey(row)).toBe(true);
        }
      }),
    );
  });

  const goneLink =
    (ns: string, name: string) =>
    ({ op, row }: Change): boolean =>
      op === 'delete' && row.kind === 'link' && row.ns === ns && row.name === name;

  test('let a new pair pass nothing before the last stage, and a route find its link up', () => {
    assertProperty(
      fc.property(rows, rows, (known, wanted) => {
        const changes = diff(known, wanted);
        const { forward } = plan(changes);
        const raisedEarly = new Set<string>();
        const later = forward.find(({ name }) => name === 'connect')?.changes ?? [];
        for (const { op, row } of forward.find(({ name }) => name === 'build')?.changes ?? []) {
          if (op === 'raise') {
            const other = row.type === 'veth' ? `link|${row.peer.ns}|${row.peer.name}` : '';
            expect(later.some((change) => change.op === 'raise' && rowKey(change.row) === other)).toBe(true);
            expect(row.type === 'veth' && !isPort(row)).toBe(true);
            raisedEarly.add(`${row.ns}/${row.name}`);
          } else if (op === 'create' && row.kind === 'route') expect(raisedEarly).toContain(`${row.ns}/${row.link}`);
        }
      }),
    );
  });

  test('put each kind where it belongs', () => {
    const [inside, outside] = pair(['n1', 'eth0'], ['r', 'p0']);
    const made = plan([
      ...create(
        { kind: 'route', ns: 'n1', table: 254, dst: 'default', type: 'unicast', link: 'eth0' },
        { kind: 'nft-table', ns: 'r', family: 'inet', table: 'vpcctl' },
        { kind: 'sysctl', ns: 'r', key: 'net/ipv4/conf/p0/rp_filter', value: '1' },
        { kind: 'sysctl', ns: 'r', key: 'net/ipv4/conf/all/rp_filter', value: '1' },
        { kind: 'sysctl', ns: 'r', key: 'net/ipv4/neigh/p0/proxy_delay', value: '0' },
        { kind: 'neigh', ns: 'n1', link: 'eth0', ip: '10.0.0.1', mac: '02:00:00:00:00:01' },
        { kind: 'addr', ns: 'n1', link: 'eth0', addr: '10.0.0.4/24' },
        inside,
        outside,
        netns('n1'),
      ),
      ...remove({ kind: 'rule', ns: 'r', priority: 33000, from: '10.0.0.0/24', table: 100 }),
    ]);
    const text = made.forward.map(
      ({ name, changes }) => `${name}: ${changes.map(({ op, row }) => `${op} ${row.kind}`).join(', ')}`,
    );
    expect(text).toEqual([
      'build: create netns, create nft-table, create sysctl, create addr, create link, create link, raise link, create route, create neigh',
      'connect: create sysctl, create sysctl, raise link, delete rule',
    ]);
    expect(countChanges(made)).toEqual({ create: 10, update: 0, delete: 1 });
  });
});

describe('what vanishes', () => {
  test('with a namespace: all that is in it', () => {
    const made = plan(
      remove(
        netns('n1'),
        { kind: 'link', ns: 'n1', name: 'l0', type: 'other', driver: 'dummy', mac: '', mtu: 1500, alias: '' },
        { kind: 'addr', ns: 'n1', link: 'l0', addr: '10.0.0.1/24' },
        { kind: 'rule', ns: 'n1', priority: 33000, from: '10.0.0.0/24', table: 100 },
        { kind: 'sysctl', ns: 'n1', key: 'net/ipv4/ip_forward', value: '1' },
        { kind: 'nft-table', ns: 'n1', family: 'inet', table: 'vpcctl' },
        { kind: 'nft-element', ns: 'n1', family: 'inet', table: 'vpcctl', set: 's', key: [1] },
        { kind: 'neigh', ns: 'n2', link: 'l0', ip: '10.0.0.1', mac: '' },
      ),
    );
    expect(deleted(made)).toEqual(['neigh|n2|l0|10.0.0.1', 'netns|n1']);
  });

  test('with a table: its sets, chains, rules and elements; not those of another family', () => {
    const at = { ns: '', family: 'inet', table: 'vpcctl' } as const;
    const made = plan(
      remove(
        { kind: 'nft-table', ...at },
        { kind: 'nft-set', ...at, set: 's', type: ['mark'] },
        { kind: 'nft-chain', ...at, chain: 'c' },
        { kind: 'nft-rule', ...at, chain: 'c', index: 0, expr: [] },
        { kind: 'nft-element', ...at, set: 's', key: [1] },
        { kind: 'nft-element', ...at, family: 'ip', set: 's', key: [1] },
      ),
    );
    expect(deleted(made)).toEqual(['nft-element||ip|vpcctl|s|1', 'nft-table||inet|vpcctl']);
  });

  test.each<[string, VethRow[], string[], string[]]>([
    ['both ends in namespaces that stay: the first by name', pair(['r1', 'x'], ['r2', 'y']), [], ['link|r1|x']],
    ['whichever comes first', pair(['r2', 'y'], ['r1', 'x']), [], ['link|r1|x']],
    ['one namespace goes: the end in the other', pair(['r1', 'x'], ['r2', 'y']), ['r1'], ['link|r2|y', 'netns|r1']],
    ['the other goes', pair(['r1', 'x'], ['r2', 'y']), ['r2'], ['link|r1|x', 'netns|r2']],
    [
      'the host keeps its end',
      pair(['', 'vpc-edge'], ['vpc-edge', 'host']),
      ['vpc-edge'],
      ['link||vpc-edge', 'netns|vpc-edge'],
    ],
    ['both namespaces go: neither end', pair(['r1', 'x'], ['r2', 'y']), ['r1', 'r2'], ['netns|r1', 'netns|r2']],
    ['only one end is recorded: that one', [veth('r2', 'y', 'r1', 'x')], [], ['link|r2|y']],
  ])('of a veth, %s', (_, ends, namespaces, expected) => {
    expect(deleted(plan(remove(...ends, ...namespaces.map(netns))))).toEqual(expected);
  });

  test('of every model: each veth pair that goes has one end deleted, or its namespaces are', () => {
    assertProperty(
      fc.property(transactions, (list) => {
        const world = new World();
        for (const steps of list) {
          const before = [...world.rows.values()].flat();
          if (!attempt(world, steps)) continue;
          const changes = diff(before, [...world.rows.values()].flat());
          const done = new Set(deleted(plan(changes)));
          for (const { op, row } of changes) {
            if (op !== 'delete' || row.kind !== 'link' || row.type !== 'veth') continue;
            const { peer } = row;
            const ends = [`link|${row.ns}|${row.name}`, `link|${peer.ns}|${peer.name}`].filter((key) => done.has(key));
            const spaces = [row.ns, peer.ns].filter((ns) => done.has(`netns|${ns}`));
            expect(ends.length, `${row.ns}/${row.name}`).toBe(spaces.length === 2 ? 0 : 1);
          }
        }
      }),
      { numRuns: 40 },
    );
  }, 60_000);
});

describe('of every model, no link changes but its MTU', () => {
  test('a link that one transaction replaces by another of its name could not be planned', () => {
    assertProperty(
      fc.property(transactions, (list) => {
        const world = new World();
        for (const steps of list) {
          const before = [...world.rows.values()].flat();
          if (!attempt(world, steps)) continue;
          for (const change of diff(before, [...world.rows.values()].flat())) {
            if (change.op !== 'update' || change.row.kind !== 'link') continue;
            expect({ ...change.row, mtu: 0 }).toEqual({ ...change.old, mtu: 0 });
          }
        }
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});

describe('rollback', () => {
  test('is the inverse of each change in the opposite order, stage by stage', () => {
    const row = (key: string): KernelObject => ({ kind: 'sysctl', ns: 'n', key, value: '1' });
    const [one, other] = pair(['n', 'x'], ['m', 'y']);
    const forward = plan([
      ...create(netns('n'), row('net/ipv4/ip_forward'), one, other),
      { op: 'update', row: { ...row('net/b'), value: '2' } as KernelObject, old: row('net/b') },
      ...remove({ kind: 'neigh', ns: 'm', link: 'z', ip: '10.0.0.1', mac: '' }),
    ]).forward;
    expect(
      rollback(forward).map(
        ({ name, changes }) => `${name}: ${changes.map(({ op, row }) => `${op} ${rowKey(row)}`).join(', ')}`,
      ),
    ).toEqual([
      'connect: create neigh|m|z|10.0.0.1',
      'build: update sysctl|n|net/b, delete link|m|y, delete link|n|x, delete sysctl|n|net/ipv4/ip_forward, delete netns|n',
    ]);
  });
});
