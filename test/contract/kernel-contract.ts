/**
 * What every {@link Kernel} does, stated once: a suite that runs on the kernel in memory (anywhere) and on the real one (in a private host). Only
 * the interface is used, so what is there is what {@link Kernel.observe} says; of refusals the errno counts, because words differ between kernels.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Kernel, Lingering } from '../../src/kernel/kernel.js';
import { type Change, invert } from '../../src/objects/change.js';
import {
  type AddrRow,
  type IfbRow,
  type KernelObject,
  type LinkRow,
  type NeighRow,
  type NetemRow,
  type NftChainRow,
  type NftElementRow,
  type NftRuleRow,
  type NftSetRow,
  type RedirectRow,
  type RouteRow,
  type RuleRow,
  rowKey,
  rowText,
  type SysctlRow,
  type TbfRow,
  type VethRow,
} from '../../src/objects/kernel-object.js';

export interface ContractHost {
  readonly kernel: Kernel;
  /** A namespace that is pinned and that nobody may touch. */
  readonly foreign: string;
  /** A link of the host's own, and a setting of it that may be written. */
  readonly hostLink: string;
  readonly hostSetting: string;
  /** Somebody else's doing: a bridge in a namespace, down. */
  bridge(ns: string, name: string): Promise<void>;
  /** Somebody goes to sit in a namespace, and leaves it when told to. */
  hold(ns: string): Promise<{ readonly pid: number; leave(): Promise<void> }>;
  close(): Promise<void>;
}

const N = 'contract-n';
const M = 'contract-m';
const NOWHERE = 'contract-nowhere';

const netns = (ns: string): KernelObject => ({ kind: 'netns', ns });
/** Both ends of a veth: `ns/name` each. */
function pair(a: string, b: string, rest: Partial<VethRow> = {}): [VethRow, VethRow] {
  const end = (own: string, other: string, mac: string): VethRow => {
    const [ns = '', name = ''] = own.split('/');
    const [peerNs = '', peerName = ''] = other.split('/');
    const peer = { ns: peerNs, name: peerName };
    return { kind: 'link', ns, name, type: 'veth', mac, mtu: 1500, alias: 'vpcctl:x', peer };
  };
  return [{ ...end(a, b, '02:00:00:00:00:02'), ...rest }, end(b, a, '02:00:00:00:00:03')];
}
const addr = (text: string, rest: Partial<AddrRow> = {}): AddrRow => ({
  kind: 'addr',
  ns: N,
  link: 'x',
  addr: text,
  ...rest,
});
const route = (dst: string, rest: Partial<RouteRow> = {}): RouteRow => ({
  kind: 'route',
  ns: N,
  table: 254,
  dst,
  type: 'unicast',
  ...rest,
});
const rule = (rest: Partial<RuleRow> = {}): RuleRow => ({
  kind: 'rule',
  ns: N,
  priority: 32800,
  from: '10.0.0.0/24',
  table: 100,
  ...rest,
});
const neigh = (rest: Partial<NeighRow> = {}): NeighRow => ({
  kind: 'neigh',
  ns: N,
  link: 'x',
  ip: '10.0.0.9',
  mac: '02:00:00:00:00:09',
  ...rest,
});
const sysctl = (key: string, value: string, rest: Partial<SysctlRow> = {}): SysctlRow => ({
  kind: 'sysctl',
  ns: N,
  key,
  value,
  ...rest,
});
const FORWARD = 'net/ipv4/ip_forward';
const table = { kind: 'nft-table', ns: N, family: 'inet', table: 'vpcctl' } as const;
const set = (name: string, rest: Partial<NftSetRow> = {}): NftSetRow => ({
  ...table,
  kind: 'nft-set',
  set: name,
  type: ['ipv4_addr'],
  ...rest,
});
const element = (name: string, key: NftElementRow['key'], rest: Partial<NftElementRow> = {}): NftElementRow => ({
  ...table,
  kind: 'nft-element',
  set: name,
  key,
  ...rest,
});
const chain: NftChainRow = {
  ...table,
  kind: 'nft-chain',
  chain: 'forward',
  base: { type: 'filter', hook: 'forward', prio: 0, policy: 'drop' },
};
const accept: NftRuleRow = {
  ...table,
  kind: 'nft-rule',
  chain: 'forward',
  index: 0,
  expr: [{ match: { op: '==', left: { meta: { key: 'iifname' } }, right: 'x' } }, { accept: null }],
};

const IFB: IfbRow = {
  kind: 'link',
  ns: N,
  name: 'i',
  type: 'ifb',
  mac: '02:00:00:00:00:04',
  mtu: 1500,
  alias: 'vpcctl:x',
};
const OTHER_IFB: IfbRow = { ...IFB, name: 'z' };
const TBF: TbfRow = {
  kind: 'qdisc',
  ns: N,
  link: 'x',
  hook: 'root',
  type: 'tbf',
  rate: 1_250_000,
  burst: 16_384,
  limit: 49_152,
};
const WAITS: TbfRow = { ...TBF, link: 'i', rate: 8_000 };
const LED: RedirectRow = { kind: 'qdisc', ns: N, link: 'x', hook: 'ingress', type: 'redirect', to: 'i' };
const NETEM: NetemRow = {
  kind: 'qdisc',
  ns: N,
  link: 'x',
  hook: 'root',
  type: 'netem',
  delay: 1000,
  jitter: 0,
  loss: 1,
  limit: 4096,
};

const create = (...rows: KernelObject[]): Change[] => rows.map((row) => ({ op: 'create', row }));
const remove = (...rows: KernelObject[]): Change[] => rows.map((row) => ({ op: 'delete', row }));
const raise = (...rows: LinkRow[]): Change[] => rows.map((row) => ({ op: 'raise', row }));
const update = <R extends KernelObject>(old: R, rest: Partial<R>): Change => ({
  op: 'update',
  row: { ...old, ...rest },
  old,
});

const PAIR = pair(`${N}/x`, `${M}/y`);
/** A veth that is not there. */
const [NONE] = pair(`${N}/zz`, `${M}/zz`);
/** Two namespaces, a veth between them, down. */
const BASE = [create(netns(N), netns(M)), create(...PAIR)];
const OWN = addr('10.0.0.1/24');
/** And up, with an address. */
const UP = [...BASE, create(OWN), raise(...PAIR)];

export function kernelContract(name: string, make: () => Promise<ContractHost>): void {
  let host: ContractHost;
  let kernel: Kernel;

  beforeEach(async () => {
    host = await make();
    ({ kernel } = host);
  });

  afterEach(async () => {
    await kernel.apply(remove(netns(N), netns(M)), { tolerant: true });
    await host.close();
  });

  async function given(...steps: (readonly Change[])[]): Promise<void> {
    for (const changes of steps) expect((await kernel.apply(changes))?.error.toLine()).toBeUndefined();
  }

  /** The errno of the refusal, or `done`. */
  async function outcome(changes: readonly Change[], tolerant = false): Promise<string> {
    const failure = await kernel.apply(changes, { tolerant });
    return failure === undefined ? 'done' : `${failure.error.facts.errno}`;
  }

  /** What is there, without settings, which every namespace has. */
  async function rows(): Promise<KernelObject[]> {
    const seen = await kernel.observe([N, M]);
    return seen.filter(({ kind }) => kind !== 'sysctl').sort((a, b) => (rowKey(a) < rowKey(b) ? -1 : 1));
  }
  const keys = async (): Promise<string[]> => (await rows()).map(rowKey);
  const texts = async (): Promise<string[]> => (await rows()).map(rowText);
  async function setting(key: string): Promise<string | undefined> {
    const found = (await kernel.observe([N])).find((row) => row.kind === 'sysctl' && row.key === key);
    return found?.kind === 'sysctl' ? found.value : undefined;
  }

  describe(name, () => {
    describe('makes what is there', () => {
      test.each<[string, KernelObject[], string]>([
        ['a namespace', [netns(N)], 'EEXIST'],
        ['a veth', PAIR, 'EEXIST'],
        ['an address', [OWN], 'EEXIST'],
        ['a rule', [rule()], 'EEXIST'],
        ['a route', [route('10.9.0.0/16', { link: 'x' })], 'EEXIST'],
        ['a neighbour, which is replaced', [neigh({ mac: '02:00:00:00:00:0a' })], 'done'],
        ['a setting, which is written', [sysctl(FORWARD, '1')], 'done'],
        ['a table', [table], 'EEXIST'],
        ['a set as it is', [set('s')], 'done'],
        ['a set of another type', [set('s', { type: ['mark'] })], 'EEXIST'],
        ['a chain as it is', [chain], 'done'],
        ['an element', [element('s', ['10.0.0.1'])], 'done'],
        ['an element with other data', [element('map', ['10.0.0.1'], { data: 6 })], 'EEXIST'],
      ])('%s', async (_, made, expected) => {
        await given(
          ...UP,
          create(
            rule(),
            neigh(),
            route('10.9.0.0/16', { link: 'x' }),
            table,
            set('s'),
            set('map', { data: 'mark' }),
            chain,
            element('s', ['10.0.0.1']),
            element('map', ['10.0.0.1'], { data: 5 }),
          ),
        );
        expect(await outcome(create(...made))).toBe(expected);
        if (expected !== 'done') expect(await outcome(create(...made), true), 'tolerated').toBe('done');
      });

      test('one end of a veth: neither is made', async () => {
        await given(...BASE);
        expect(await outcome(create(...pair(`${M}/z`, `${N}/x`)))).toBe('EEXIST');
        expect(await outcome(raise(pair(`${M}/z`, `${N}/x`)[0]))).toBe('ENODEV');
      });

      test("of the host's, or of somebody else's", async () => {
        await given(...BASE);
        expect(await outcome(create(netns(host.foreign)))).toBe('EEXIST');
        expect(await outcome(create(...pair(`/${host.hostLink}`, `${N}/z`)))).toBe('EEXIST');
        expect(await kernel.namespaces()).toEqual(expect.arrayContaining([N, M, host.foreign]));
        expect(await kernel.pinned(['', N, host.foreign, NOWHERE])).toEqual([N, host.foreign]);
      });
    });

    describe('misses', () => {
      test.each<[string, Change[], string]>([
        ['a namespace for a link', create(...pair(`${NOWHERE}/z`, `${N}/z`)), 'ENOENT'],
        ['a namespace for the other end', create(...pair(`${N}/z`, `${NOWHERE}/z`)), 'ENOENT'],
        ['a namespace for a setting', create(sysctl(FORWARD, '1', { ns: NOWHERE })), 'ENOENT'],
        ['a namespace for a table', create({ ...table, ns: NOWHERE }), 'ENOENT'],
        ['a namespace for an address', create(addr('10.0.0.1/24', { ns: NOWHERE })), 'ENOENT'],
        ['a link for an address', create(addr('10.0.0.1/24', { link: 'zz' })), 'ENODEV'],
        ['a link for a neighbour', create(neigh({ link: 'zz' })), 'ENODEV'],
        ['a link for a route', create(route('default', { link: 'zz' })), 'ENODEV'],
        ['a link to raise', raise(NONE), 'ENODEV'],
        ['a link to change', [update(NONE, { mtu: 1300 })], 'ENODEV'],
        ['a link that is to answer at once', [update(NONE, { answers: true })], 'ENODEV'],
        ['a link of a setting: its file', create(sysctl('net/ipv4/conf/zz/rp_filter', '1')), 'ENOENT'],
        ["a setting of the host's", create(sysctl('net/ipv4/nothing', '1', { ns: '' })), 'ENOENT'],
        ['a setting that may be missing', create(sysctl('net/ipv4/nothing', '1', { optional: true })), 'done'],
        ['a bridge for a port', [update(PAIR[0], { master: 'zz' })], 'ENODEV'],
        ['the other end of a veth', create(pair(`${N}/z0`, `${M}/z1`)[0]), 'ENODEV'],
        ['a table for a set', create(set('s')), 'ENOENT'],
        ['a table for an element', create(element('s', ['10.0.0.1'])), 'ENOENT'],
        ['a table for a chain', create(chain), 'ENOENT'],
        ['a set for an element', create(table, element('s', ['10.0.0.1'])), 'ENOENT'],
        ['a chain for a rule', create(table, accept), 'ENOENT'],
        ['a table to delete', remove(table), 'ENOENT'],
        ['a rule to change, which is then made', [update(rule(), { table: 101 })], 'done'],
      ])('%s', async (_, changes, expected) => {
        await given(...BASE);
        expect(await outcome(changes)).toBe(expected);
      });

      test('what it is to delete: no failure, and no effect that undoing brings back', async () => {
        await given(...BASE, create(rule()));
        const failure = await kernel.apply([
          ...create(table),
          ...remove(
            netns(NOWHERE),
            NONE,
            OWN,
            route('default'),
            neigh(),
            rule(),
            route('default', { ns: M }),
            rule({ ns: NOWHERE }),
          ),
          // So that there is a failure, which names what took effect.
          ...create(element('t', ['10.0.0.1'])),
        ]);
        expect(failure?.error.facts.errno).toBe('ENOENT');
        expect(failure?.applied.map(({ row }) => rowKey(row))).toEqual([rowKey(rule())]);
      });

      test('an element to delete: then the whole transaction is refused, and tolerated it does what it can', async () => {
        await given(...BASE, create(table, set('s'), element('s', ['10.0.0.1'])));
        const changes = remove(element('s', ['10.0.0.1']), element('s', ['10.0.0.2']));
        expect(await outcome(changes)).toBe('ENOENT');
        expect(await keys()).toContain(rowKey(element('s', ['10.0.0.1'])));
        expect(await outcome(changes, true)).toBe('done');
        expect(await keys()).not.toContain(rowKey(element('s', ['10.0.0.1'])));
      });

      test('the namespace of what it is to undo: tolerated, there is nothing to undo', async () => {
        const inside = create(
          ...pair(`${NOWHERE}/z`, `${N}/z`),
          addr('10.0.0.1/24', { ns: NOWHERE }),
          sysctl(FORWARD, '1', { ns: NOWHERE }),
          { ...table, ns: NOWHERE },
        );
        expect(await outcome(inside, true)).toBe('done');
        expect(await outcome(remove({ ...table, ns: NOWHERE }, netns(NOWHERE)), true)).toBe('done');
      });
    });

    describe('takes a route', () => {
      test.each<[string, Partial<RouteRow>, string]>([
        ['through a link that is down', { via: '10.0.0.9', link: 'y' }, 'ENETUNREACH'],
        ['onlink through a link that is down', { via: '10.0.0.9', link: 'y', onlink: true }, 'ENETDOWN'],
        ['to a link that is down', { link: 'y' }, 'ENETDOWN'],
        ['by a gateway on another network', { via: '10.7.0.9', link: 'x' }, 'ENETUNREACH'],
        ['by such a gateway, onlink', { via: '10.7.0.9', link: 'x', onlink: true }, 'done'],
        ['by a gateway on the network', { via: '10.0.0.9', link: 'x' }, 'done'],
        ['by its own address', { via: '10.0.0.1', link: 'x' }, 'done'],
        ['by the broadcast address', { via: '10.0.0.255', link: 'x' }, 'EINVAL'],
        ['from an address that is not its own', { link: 'x', src: '10.0.0.2' }, 'EINVAL'],
        ['from its own', { link: 'x', src: '10.0.0.1' }, 'done'],
        ['to nowhere', { type: 'unreachable' }, 'done'],
        ['to a hole, in a table of its own', { type: 'blackhole', table: 100 }, 'done'],
      ])('%s', async (_, rest, expected) => {
        await given(...BASE, create(OWN), raise(PAIR[0]));
        const ns = rest.link === 'y' ? M : N;
        expect(await outcome(create(route('10.9.0.0/16', { ns, ...rest })))).toBe(expected);
      });
    });

    describe('keeps a set of intervals without overlaps: beside 7 . 10.0.0.0/8 . 6 . 80-90', () => {
      test.each<[NftElementRow['key'], string]>([
        [[7, '10.0.0.0/8', 6, '80-90'], 'done'],
        [[7, '10.1.0.0/16', 6, '90-99'], 'EEXIST'],
        [[7, '10.1.0.0/16', 6, 91], 'done'],
        [[8, '10.1.0.0/16', 6, 85], 'done'],
        [[7, '10.0.0.1', 6, 80], 'EEXIST'],
        [[7, '11.0.0.0-11.0.0.9', 6, 80], 'done'],
        // Only its corners are looked at, and both lie outside.
        [[7, '9.0.0.0-10.0.0.0', '0-255', '0-80'], 'done'],
        [[7, '9.0.0.0-10.0.0.0', 6, '70-80'], 'EEXIST'],
      ])('%j', async (key, expected) => {
        const wide = set('s', { type: ['mark', 'ipv4_addr', 'inet_proto', 'inet_service'], interval: true });
        const of = (one: NftElementRow['key']) => element('s', one, { interval: true });
        await given(...BASE, create(table, wide, of([7, '10.0.0.0/8', 6, '80-90'])));
        expect(await outcome(create(of(key)))).toBe(expected);
        if (expected === 'done') {
          expect(await keys()).toContain(rowKey(of(key)));
          expect(await outcome(remove(of(key)))).toBe('done');
          expect(await keys()).not.toContain(rowKey(of(key)));
        }
      });
    });

    describe('queues', () => {
      test('are shown as they were made, changed in their place, and unmade', async () => {
        await given(...UP, create(IFB, WAITS), raise(IFB), create(TBF, LED));
        const seen = async (): Promise<KernelObject[]> =>
          (await rows()).filter((row) => row.kind === 'qdisc' || (row.kind === 'link' && row.type === 'ifb'));
        expect((await seen()).map(rowText)).toEqual([IFB, WAITS, LED, TBF].map(rowText));
        const faster = update<KernelObject>(TBF, { rate: 12_500_000_000, burst: 1024 ** 3, limit: 0xffffffff });
        const led = update<KernelObject>(LED, { to: 'z' });
        await given(create(OTHER_IFB), raise(OTHER_IFB), [faster, led]);
        expect((await seen()).map(rowText)).toEqual([IFB, OTHER_IFB, WAITS, led.row, faster.row].map(rowText));
        await given([invert(faster), invert(led)].flatMap((change) => change ?? []));
        expect((await seen()).map(rowText)).toEqual([IFB, OTHER_IFB, WAITS, LED, TBF].map(rowText));
        await given(remove(LED, TBF, WAITS), remove(IFB, OTHER_IFB));
        expect(await seen()).toEqual([]);
      });

      test('of what is sent are made anew where they are; where packets come in, there is one', async () => {
        await given(...UP, create(IFB), raise(IFB), create(TBF, LED));
        expect(await outcome(create(TBF))).toBe('done');
        expect(await outcome(create(LED))).toBe('EEXIST');
        expect(await outcome(create(LED), true)).toBe('done');
      });

      test('need their links', async () => {
        await given(...UP);
        expect(await outcome(create({ ...TBF, link: 'zz' }))).toBe('ENODEV');
        expect(await outcome(create({ ...LED, link: 'zz' }))).toBe('ENODEV');
        expect(await outcome(create(LED))).toBe('ENODEV');
      });

      test('that are gone need not be unmade, and go with their link', async () => {
        await given(...UP);
        expect(await outcome(remove(TBF, LED, { ...TBF, link: 'zz' }, { ...LED, ns: NOWHERE }))).toBe('done');
        await given(create(IFB), raise(IFB), create(TBF, LED), remove(PAIR[0]));
        expect(await keys()).toEqual([rowKey(IFB), `netns|${M}`, `netns|${N}`]);
      });

      test('of a kind that the kernel does not know are refused, and said to be', async () => {
        await given(...UP);
        const failure = await kernel.apply(create(NETEM));
        if (failure === undefined) expect(await texts()).toContain(rowText(NETEM));
        else {
          expect(failure.error.facts.errno).toBe('ENOENT');
          expect(failure.applied).toEqual([]);
          expect((await keys()).filter((key) => key.startsWith('qdisc'))).toEqual([]);
        }
      });
    });

    describe('lets go by itself', () => {
      test('with a namespace: all in it, and the other ends of its veths', async () => {
        await given(...UP, create(addr('10.0.0.2/24', { ns: M, link: 'y' }), table));
        await given(remove(netns(N)));
        expect(await kernel.pinned([N, M])).toEqual([M]);
        // The kernel takes a namespace down after its name.
        await expect.poll(keys, { timeout: 5000 }).toEqual([`netns|${M}`]);
      });

      test('with one end of a veth: the other, its addresses, routes, neighbours and settings', async () => {
        await given(
          ...UP,
          create(
            sysctl('net/ipv4/conf/x/rp_filter', '1'),
            neigh(),
            route('default', { via: '10.0.0.9', link: 'x' }),
            route('10.9.0.0/16', { type: 'unreachable' }),
          ),
        );
        await given(remove(PAIR[1]));
        expect(await keys()).toEqual([`netns|${M}`, `netns|${N}`, `route|${N}|254|10.9.0.0/16`]);
        expect(await outcome(create(sysctl('net/ipv4/conf/x/rp_filter', '1')))).toBe('ENOENT');
      });

      test('with a bridge that somebody made: its ports are ports no more', async () => {
        await given(...UP);
        await host.bridge(N, 'theirs');
        await given([update(PAIR[0], { master: 'theirs' })]);
        const theirs = (await rows()).find((row) => row.kind === 'link' && row.name === 'theirs');
        expect(theirs).toMatchObject({ type: 'other', driver: 'bridge', down: true });
        await given(remove(theirs as KernelObject));
        expect(await texts()).toContain(rowText(PAIR[0]));
      });

      test('with a table: what is in it, and nothing of another family', async () => {
        const other = { ...table, family: 'bridge' } as const;
        await given(...BASE, create(table, other, set('s'), chain, accept, element('s', ['10.0.0.1'])));
        await given(remove(table, set('s'), chain, accept, element('s', ['10.0.0.1'])));
        expect((await keys()).filter((key) => key.startsWith('nft'))).toEqual([`nft-table|${N}|bridge|vpcctl`]);
        // Made anew it is empty, and may be another.
        const anew = create(table, set('s', { interval: true }), element('s', ['10.0.0.0/8'], { interval: true }));
        expect(await outcome(anew)).toBe('done');
      });
    });

    describe('tells what lives on without its name', () => {
      const deleteAll = async (): Promise<readonly Lingering[]> => {
        const found: Lingering[] = [];
        const onLingering = (some: readonly Lingering[]) => void found.push(...some);
        expect(await kernel.apply(remove(netns(N), netns(M)), { tolerant: true, onLingering })).toBeUndefined();
        return found;
      };

      test('nothing, where nobody is', async () => {
        await given(...UP);
        expect((await kernel.verify?.(await deleteAll())) ?? []).toEqual([]);
        expect(await kernel.pinned([N, M])).toEqual([]);
      });

      test('that in which somebody sits, and who; until he leaves', async () => {
        await given(...UP);
        const one = await host.hold(N);
        const other = await host.hold(M);
        const found = await deleteAll();
        expect(found.map(({ ns }) => ns).sort()).toEqual([M, N]);
        await other.leave();
        const held = await kernel.verify?.(found);
        expect(held).toEqual([{ ns: N, holders: [expect.objectContaining({ pid: one.pid, by: 'process' })] }]);
        expect(await kernel.pinned([N, M])).toEqual([]);
        await given(...UP);
        await one.leave();
        expect((await kernel.verify?.(await deleteAll())) ?? []).toEqual([]);
      });
    });

    describe('changes', () => {
      test('a link, in its place', async () => {
        await given(...UP);
        const changed = update(PAIR[0], { mtu: 1300, alias: 'vpcctl:vpc/b', mac: '02:00:00:00:00:0b' });
        await given([changed]);
        expect(await texts()).toContain(rowText(changed.row));
      });

      test('what a link takes and answers, and nothing else of it', async () => {
        await given(...UP);
        const [first] = PAIR;
        let old: VethRow = first;
        for (const row of [
          { ...first, answers: true },
          { ...first, answers: true, strict: true },
          { ...first, strict: true },
          { ...first, strict: 'loosely' },
          first,
        ] as VethRow[]) {
          await given([{ op: 'update', row, old }]);
          const seen = (await rows()).filter(({ kind }) => kind === 'link' || kind === 'addr');
          expect(seen.map(rowText)).toEqual([OWN, PAIR[1], row].map(rowText));
          old = row;
        }
      });

      test('a port of a bridge that somebody made it, back', async () => {
        await given(...UP);
        await host.bridge(N, 'theirs');
        const taken = update(PAIR[0], { master: 'theirs', answers: true });
        await given([taken]);
        expect(await texts()).toContain(rowText(taken.row));
        await given([{ op: 'update', row: PAIR[0], old: taken.row }]);
        expect(await texts()).toContain(rowText(PAIR[0]));
      });

      test('the addresses of a loopback, which comes with a namespace', async () => {
        const gateway = addr('10.0.1.1/32', { link: 'lo' });
        await given(create(netns(N)));
        await given(create(gateway));
        expect(await keys()).toEqual([rowKey(gateway), `netns|${N}`]);
        expect(await outcome(create(gateway))).toBe('EEXIST');
        expect(await outcome(create({ ...gateway, ns: NOWHERE }))).toBe('ENOENT');
        await given(remove(gateway));
        expect(await keys()).toEqual([`netns|${N}`]);
      });

      test.each<[string, KernelObject, Partial<KernelObject>]>([
        ['a route', route('10.9.0.0/16', { link: 'x' }), { via: '10.0.0.9' }],
        ['a rule', rule(), { table: 101 }],
        ['a neighbour', neigh(), { mac: '02:00:00:00:00:0a' }],
        ['an element’s data', element('map', ['10.0.0.1'], { data: 5 }), { data: 6 }],
      ])('%s', async (_, row, rest) => {
        await given(...UP, create(table, set('map', { data: 'mark' })), create(row));
        expect(await texts()).toContain(rowText(row));
        const changed = update<KernelObject>(row, rest);
        await given([changed]);
        expect(await texts()).toContain(rowText(changed.row));
        expect(await texts()).not.toContain(rowText(row));
        await given([{ op: 'update', row, old: changed.row }], remove(row));
        expect(await keys()).not.toContain(rowKey(row));
      });

      test('a setting; unmaking it gives nothing back but where that is said', async () => {
        await given(...BASE);
        const before = await setting(FORWARD);
        await given(create(sysctl(FORWARD, '1')));
        expect(await setting(FORWARD)).toBe('1');
        await given([update(sysctl(FORWARD, '1'), { value: '0' })]);
        expect(await setting(FORWARD)).toBe('0');
        await given(create(sysctl(FORWARD, '1')), remove(sysctl(FORWARD, '1')));
        expect(await setting(FORWARD)).toBe('1');
        await given(remove(sysctl(FORWARD, '1', { restore: before ?? '0' })));
        expect((await setting(FORWARD)) ?? '0').toBe(before ?? '0');
      });

      test("a setting of the host's, which is given back", async () => {
        const key = host.hostSetting;
        const before = (await kernel.readSysctl(key)) as string;
        const other = before === '0' ? '1' : '0';
        const row = sysctl(key, other, { ns: '', restore: before });
        await given(create(row));
        expect(await kernel.readSysctl(key)).toBe(other);
        await given(remove(row));
        expect(await kernel.readSysctl(key)).toBe(before);
        expect(await kernel.readSysctl('net/ipv4/nothing')).toBeUndefined();
      });
    });

    describe('refuses', () => {
      test('what is to be made, says what of it took effect, and does not begin to unmake', async () => {
        await given(...UP, create(addr('10.0.2.1/24')));
        const before = await keys();
        const failure = await kernel.apply([
          ...remove(PAIR[0]),
          ...create(addr('10.0.1.1/24'), addr('10.0.2.1/24'), addr('10.0.3.1/24'), neigh()),
        ]);
        expect(failure?.error.facts.errno).toBe('EEXIST');
        const made = failure?.applied.map(({ row }) => rowKey(row)) ?? [];
        expect(made).toContain(rowKey(addr('10.0.1.1/24')));
        expect(made).not.toContain(rowKey(addr('10.0.2.1/24')));
        expect(await keys()).toEqual([...before, ...made].sort());
        await given(failure?.applied.flatMap((change) => invert(change) ?? []).reverse() ?? []);
        expect(await keys()).toEqual(before);
      });

      test('links without stopping the firewall beside them, nor the other way', async () => {
        await given(...BASE);
        const links = await kernel.apply(create(addr('10.0.1.1/24', { link: 'zz' }), table));
        expect(links?.error.facts.errno).toBe('ENODEV');
        expect(links?.applied.map(({ row }) => rowKey(row))).toEqual([rowKey(table)]);
        const firewall = await kernel.apply(create(table, addr('10.0.1.1/24')));
        expect(firewall?.error.facts.errno).toBe('EEXIST');
        expect(firewall?.applied.map(({ row }) => rowKey(row))).toEqual([`addr|${N}|x|10.0.1.1/24`]);
      });

      test('and, tolerated, goes on; the first that is no matter of being there or gone is what it says', async () => {
        await given(...UP);
        const failure = await kernel.apply(create(...PAIR, addr('10.0.2.1/24', { link: 'zz' }), addr('10.0.3.1/24')), {
          tolerant: true,
        });
        expect(failure?.error.facts.errno).toBe('ENODEV');
        expect(await keys()).toContain(`addr|${N}|x|10.0.3.1/24`);
      });

      test('one namespace’s firewall whole; what another had done stands', async () => {
        const there = (row: KernelObject): KernelObject => ({ ...row, ns: M });
        await given(...BASE, create(table, set('s'), element('s', ['10.0.0.1']), there(table), there(set('s'))));
        const before = await keys();
        const failure = await kernel.apply([
          ...create(there(element('s', ['10.0.0.9']))),
          ...remove(element('s', ['10.0.0.1'])),
          ...create(element('s', ['10.0.0.2']), element('t', ['10.0.0.3'])),
        ]);
        expect(failure?.error.facts.errno).toBe('ENOENT');
        const made = rowKey(there(element('s', ['10.0.0.9'])));
        expect(failure?.applied.map(({ row }) => rowKey(row))).toEqual([made]);
        expect(await keys()).toEqual([...before, made].sort());
      });

      test('to change what is static in a firewall', async () => {
        await given(...BASE, create(table, chain));
        expect((await kernel.apply(remove(chain)))?.error.message).toBe(
          `nft-chain vpcctl of ${N} can only change with its whole table`,
        );
      });
    });

    describe('shows', () => {
      test('what was made, as it was made', async () => {
        const [port, outer] = pair(`${N}/p0`, `${M}/eth0`);
        const made: KernelObject[] = [
          netns(N),
          netns(M),
          ...PAIR,
          { ...port, strict: true, answers: true },
          outer,
          OWN,
          addr('10.5.0.1/32', { link: 'lo' }),
          route('10.9.0.0/16', { via: '10.0.0.9', link: 'x' }),
          route('default', { via: '169.254.1.1', link: 'x', onlink: true, table: 100 }),
          route('10.8.0.0/16', { type: 'unreachable', metric: 4000 }),
          rule(),
          neigh(),
          table,
          set('s'),
          set('map', { data: 'mark' }),
          set('wide', { type: ['mark', 'ipv4_addr', 'inet_proto', 'inet_service'], interval: true }),
          chain,
          accept,
          element('s', ['10.0.0.1']),
          element('map', ['10.0.0.1'], { data: 5 }),
          element('wide', [7, '10.0.0.0/8', 6, '80-90'], { interval: true }),
          element('wide', [7, '10.0.0.1', 17, 53], { interval: true }),
        ];
        const links = made.filter((row): row is LinkRow => row.kind === 'link');
        const late = new Set(['route', 'rule', 'neigh']);
        const early = made.filter(({ kind }) => kind !== 'netns' && !late.has(kind));
        await given(
          create(netns(N), netns(M)),
          create(...early),
          raise(...links),
          create(...made.filter(({ kind }) => late.has(kind))),
        );
        expect(await texts()).toEqual(made.sort((a, b) => (rowKey(a) < rowKey(b) ? -1 : 1)).map(rowText));
        const gone = made.filter(({ kind }) => late.has(kind) || kind === 'addr');
        await given(remove(...gone), remove(table), remove(...links));
        expect(await keys()).toEqual([`netns|${M}`, `netns|${N}`]);
      });

      test('which links are down, and no namespace that is not there', async () => {
        await given(...BASE, raise(PAIR[0]));
        const down = (await kernel.observe([M, N])).filter((row) => row.kind === 'link' && row.down === true);
        expect(down.map(rowKey).sort()).toEqual(
          BASE.flat()
            .flatMap(({ op, row }) => (op === 'create' && row.kind === 'link' ? [rowKey(row)] : []))
            .filter((key) => key !== rowKey(PAIR[0]))
            .sort(),
        );
        expect(await kernel.observe([NOWHERE])).toEqual([]);
        const alone = (await kernel.observe([N])).find((row) => rowKey(row) === rowKey(PAIR[0]));
        expect(alone).toMatchObject({ peer: { ns: '?', name: '?' } });
      });

      test('of the host only what is marked ours', async () => {
        const own = await kernel.observe(['']);
        await given(create(netns(N)), create(...pair('/contract0', `${N}/z`)), raise(pair('/contract0', `${N}/z`)[0]));
        const seen = (await kernel.observe([''])).map(rowKey).filter((key) => !own.some((row) => rowKey(row) === key));
        expect(seen).toEqual(['link||contract0']);
        const { links } = await kernel.host();
        expect(links).toContainEqual({ name: 'contract0', mtu: 1500, up: true });
        expect(links.map(({ name: link }) => link)).toContain(host.hostLink);
        await given(remove(pair('/contract0', `${N}/z`)[0]));
        expect((await kernel.host()).links.map(({ name: link }) => link)).not.toContain('contract0');
      });
    });

    describe('tells of changes', () => {
      test('in the namespaces that are followed, until it is closed', async () => {
        await given(create(netns(N)), create(netns(M)));
        const told: string[] = [];
        const watch = kernel.watch?.((namespaces) => told.push(...(namespaces ?? ['all'])));
        const heard = async (): Promise<string[]> => {
          await sleep(150);
          return [...new Set(told.splice(0))];
        };
        expect(watch?.follow([N, NOWHERE])).toEqual([N]);
        expect(watch?.follow([N, M])).toEqual([M]);
        expect(watch?.follow([N])).toEqual([]);
        await given(create(...pair(`${M}/a`, `${M}/b`)));
        expect(await heard()).toEqual([]);
        await given(create(...pair(`${N}/a`, `${N}/b`)));
        expect(await heard()).toEqual([N]);
        await given(create(table));
        expect(await heard()).toEqual([N]);
        await given(remove(netns(N)));
        expect(await heard()).toEqual([N]);
        await given(create(netns(N)));
        expect(watch?.follow([N])).toEqual([N]);
        await heard();
        watch?.close();
        await given(create(...pair(`${N}/a`, `${N}/b`)));
        expect(await heard()).toEqual([]);
      });
    });
  });
}
