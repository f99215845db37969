/** The kernel in memory refuses what the real one refuses. */
import { describe, expect, test } from 'vitest';
import { MemoryKernel, type MemoryKernelOptions } from '../../../src/kernel/memory.js';
import type { Change } from '../../../src/objects/change.js';
import {
  type BridgeRow,
  type KernelObject,
  type NftElementRow,
  type NftSetRow,
  type RouteRow,
  rowKey,
  type VethRow,
} from '../../../src/objects/kernel-object.js';

const netns = (ns: string): KernelObject => ({ kind: 'netns', ns });
const bridge = (ns: string, name = 'br0'): BridgeRow => ({
  kind: 'link',
  ns,
  name,
  type: 'bridge',
  mac: '02:00:00:00:00:01',
  mtu: 1500,
  alias: 'vpcctl:vpc/a',
});
function pair(a: readonly [string, string], b: readonly [string, string]): [VethRow, VethRow] {
  const end = ([ns, name]: readonly [string, string], [peerNs, peer]: readonly [string, string]): VethRow => ({
    kind: 'link',
    ns,
    name,
    type: 'veth',
    mac: '02:00:00:00:00:02',
    mtu: 1500,
    alias: 'vpcctl:x',
    peer: { ns: peerNs, name: peer },
  });
  return [end(a, b), end(b, a)];
}
const route = (ns: string, dst: string, rest: Partial<RouteRow> = {}): RouteRow => ({
  kind: 'route',
  ns,
  table: 254,
  dst,
  type: 'unicast',
  ...rest,
});
const table = { kind: 'nft-table', ns: 'n', family: 'inet', table: 'vpcctl' } as const;
const set = (name: string, rest: Partial<NftSetRow> = {}): NftSetRow => ({
  ...table,
  kind: 'nft-set',
  set: name,
  type: ['ipv4_addr'],
  ...rest,
});
const element = (name: string, key: NftElementRow['key'], data?: number): NftElementRow => ({
  ...table,
  kind: 'nft-element',
  set: name,
  key,
  ...(data === undefined ? {} : { data }),
});

const create = (...rows: KernelObject[]): Change[] => rows.map((row) => ({ op: 'create', row }));
const remove = (...rows: KernelObject[]): Change[] => rows.map((row) => ({ op: 'delete', row }));
const raise = (...rows: (BridgeRow | VethRow)[]): Change[] => rows.map((row) => ({ op: 'raise', row }));

/** A kernel on which these changes took effect, call by call. */
async function kernelWith(steps: readonly (readonly Change[])[], options: MemoryKernelOptions = {}) {
  const kernel = new MemoryKernel(options);
  for (const changes of steps) expect((await kernel.apply(changes))?.error).toBeUndefined();
  return kernel;
}

/** `errno words` of the refusal, or `done`. */
async function outcome(kernel: MemoryKernel, changes: readonly Change[], tolerant = false): Promise<string> {
  const failure = await kernel.apply(changes, { tolerant });
  return failure === undefined ? 'done' : `${failure.error.facts.errno} ${failure.error.facts.extack}`;
}

const keys = (kernel: MemoryKernel): string[] => kernel.rows().map(rowKey);

const PAIR = pair(['n', 'x'], ['m', 'y']);
const BASE = [create(netns('n'), netns('m')), create(bridge('n'), ...PAIR)];
const UP = [...BASE, create({ kind: 'addr', ns: 'n', link: 'x', addr: '10.0.0.1/24' }), raise(...PAIR)];

describe('making what is there', () => {
  test.each<[string, KernelObject[], string]>([
    ['a namespace', [netns('n')], 'EEXIST File exists'],
    ['a link', [bridge('n')], 'EEXIST File exists'],
    ['a veth', PAIR, 'EEXIST File exists'],
    ['an address', [{ kind: 'addr', ns: 'n', link: 'x', addr: '10.0.0.1/24' }], 'EEXIST File exists'],
    ['a rule', [{ kind: 'rule', ns: 'n', priority: 5, from: '10.0.0.0/24', table: 100 }], 'EEXIST File exists'],
    ['a route', [route('n', '10.9.0.0/16', { link: 'x' })], 'EEXIST File exists'],
    ['a neighbour, which is replaced', [{ kind: 'neigh', ns: 'n', link: 'x', ip: '10.0.0.9', mac: '' }], 'done'],
    ['a setting, which is written', [{ kind: 'sysctl', ns: 'n', key: 'net/ipv4/ip_forward', value: '1' }], 'done'],
    ['a table', [table], 'EEXIST File exists'],
    ['a set as it is', [set('s')], 'done'],
    ['a set of another type', [set('s', { type: ['mark'] })], 'EEXIST File exists'],
    ['an element', [element('s', ['10.0.0.1'])], 'done'],
    ['an element with other data', [element('map', ['10.0.0.1'], 6)], 'EEXIST File exists'],
  ])('%s', async (_, rows, expected) => {
    const kernel = await kernelWith([
      ...UP,
      create(
        { kind: 'rule', ns: 'n', priority: 5, from: '10.0.0.0/24', table: 101 },
        { kind: 'neigh', ns: 'n', link: 'x', ip: '10.0.0.9', mac: '02:00:00:00:00:09' },
        route('n', '10.9.0.0/16', { link: 'x' }),
        table,
        set('s'),
        set('map', { data: 'mark' }),
        element('s', ['10.0.0.1']),
        element('map', ['10.0.0.1'], 5),
      ),
    ]);
    expect(await outcome(kernel, create(...rows))).toBe(expected);
    if (expected !== 'done') expect(await outcome(kernel, create(...rows), true), 'tolerated').toBe('done');
  });

  test('one end of a veth: neither is made', async () => {
    const kernel = await kernelWith(BASE);
    expect(await outcome(kernel, create(...pair(['m', 'z'], ['n', 'x'])))).toBe('EEXIST File exists');
    expect(keys(kernel)).not.toContain('link|m|z');
  });

  test("of the host's, or of somebody else's", async () => {
    const kernel = await kernelWith(BASE, { foreign: ['theirs'] });
    expect(await outcome(kernel, create(netns('theirs')))).toBe('EEXIST File exists');
    expect(await outcome(kernel, create(...pair(['', 'eth0'], ['n', 'z'])))).toBe('EEXIST File exists');
    expect((await kernel.namespaces()).sort()).toEqual(['m', 'n', 'theirs']);
    expect(await kernel.pinned(['', 'n', 'theirs', 'nowhere'])).toEqual(['n', 'theirs']);
  });
});

describe('what is missing', () => {
  test.each<[string, Change[], string]>([
    ['a namespace for a link', create(bridge('nowhere')), 'ENOENT No such file or directory'],
    [
      'a namespace for the other end',
      create(...pair(['n', 'z'], ['nowhere', 'z'])),
      'ENOENT No such file or directory',
    ],
    [
      'a namespace for a setting',
      create({ kind: 'sysctl', ns: 'nowhere', key: 'net/ipv4/ip_forward', value: '1' }),
      'ENOENT No such file or directory',
    ],
    ['a namespace for a table', create({ ...table, ns: 'nowhere' }), 'ENOENT No such file or directory'],
    [
      'a link for an address',
      create({ kind: 'addr', ns: 'n', link: 'zz', addr: '10.0.0.1/24' }),
      'ENODEV No such device',
    ],
    [
      'a link for a neighbour',
      create({ kind: 'neigh', ns: 'n', link: 'zz', ip: '10.0.0.9', mac: '' }),
      'ENODEV No such device',
    ],
    ['a link for a route', create(route('n', 'default', { link: 'zz' })), 'ENODEV No such device'],
    ['a link to raise', raise(bridge('n', 'zz')), 'ENODEV No such device'],
    ['a link to change', [{ op: 'update', row: bridge('n', 'zz'), old: bridge('n', 'zz') }], 'ENODEV No such device'],
    [
      'a link of a setting: its file',
      create({ kind: 'sysctl', ns: 'n', key: 'net/ipv4/conf/zz/rp_filter', value: '1' }),
      'ENOENT No such file or directory',
    ],
    [
      "a setting of the host's",
      create({ kind: 'sysctl', ns: '', key: 'net/ipv4/nothing', value: '1' }),
      'ENOENT No such file or directory',
    ],
    [
      'a bridge for a port',
      create(
        ...PAIR.map((end, at) => ({
          ...end,
          name: `z${at}`,
          peer: { ...end.peer, name: `z${1 - at}` },
          ...(at === 0 ? { master: 'zz' } : {}),
        })),
      ),
      'ENODEV No such device',
    ],
    ['the other end of a veth', create(pair(['n', 'z0'], ['m', 'z1'])[0]), 'ENODEV No such device'],
    ['a table for a set', create(set('s')), 'ENOENT No such file or directory'],
    ['a set for an element', create(table, element('s', ['10.0.0.1'])), 'ENOENT No such file or directory'],
    [
      'a chain for a rule',
      create(table, { ...table, kind: 'nft-rule', chain: 'c', index: 0, expr: [] }),
      'ENOENT No such file or directory',
    ],
    [
      'a rule to change',
      [
        {
          op: 'update',
          row: { kind: 'rule', ns: 'n', priority: 5, from: '10.0.0.0/24', table: 1 },
          old: { kind: 'rule', ns: 'n', priority: 5, from: '10.0.0.0/24', table: 2 },
        },
      ],
      'ENOENT No such file or directory',
    ],
  ])('%s', async (_, changes, expected) => {
    expect(await outcome(await kernelWith(BASE), changes)).toBe(expected);
  });

  test('to delete is no failure, and no effect that undoing brings back', async () => {
    const kernel = await kernelWith(BASE);
    const there: KernelObject = { kind: 'rule', ns: 'n', priority: 5, from: '10.0.0.0/24', table: 100 };
    await kernel.apply(create(there));
    kernel.failAt(7);
    const failure = await kernel.apply([
      ...remove(
        netns('nowhere'),
        bridge('n', 'zz'),
        { kind: 'addr', ns: 'n', link: 'x', addr: '10.0.0.1/24' },
        route('n', 'default'),
        { kind: 'neigh', ns: 'n', link: 'x', ip: '10.0.0.9', mac: '' },
        there,
        route('m', 'default'),
      ),
    ]);
    expect(failure?.error.facts.errno).toBe('EIO');
    expect(failure?.applied.map(({ row }) => rowKey(row))).toEqual([rowKey(there)]);
  });

  test('an element to delete is one, in the whole transaction', async () => {
    const kernel = await kernelWith([...BASE, create(table, set('s'), element('s', ['10.0.0.1']))]);
    const changes = remove(element('s', ['10.0.0.1']), element('s', ['10.0.0.2']));
    expect(await outcome(kernel, changes)).toBe('ENOENT No such file or directory');
    expect(keys(kernel)).toContain('nft-element|n|inet|vpcctl|s|10.0.0.1');
    expect(await outcome(kernel, changes, true)).toBe('done');
    expect(keys(kernel), 'refused whole, though tolerated').toContain('nft-element|n|inet|vpcctl|s|10.0.0.1');
  });
});

describe('a route', () => {
  test.each<[string, Partial<RouteRow>, string]>([
    ['through a link that is down', { via: '10.0.0.9', link: 'y' }, 'ENETUNREACH Nexthop has invalid gateway'],
    [
      'onlink through a link that is down',
      { via: '10.0.0.9', link: 'y', onlink: true },
      'ENETDOWN Nexthop device is not up',
    ],
    ['by a gateway on another network', { via: '10.7.0.9', link: 'x' }, 'ENETUNREACH Nexthop has invalid gateway'],
    ['by such a gateway, onlink', { via: '10.7.0.9', link: 'x', onlink: true }, 'done'],
    ['by a gateway on the network', { via: '10.0.0.9', link: 'x' }, 'done'],
    ['from an address that is not its own', { link: 'x', src: '10.0.0.2' }, 'EINVAL Invalid prefsrc address'],
    ['from its own', { link: 'x', src: '10.0.0.1' }, 'done'],
    ['to nowhere', { type: 'unreachable' }, 'done'],
  ])('%s', async (_, rest, expected) => {
    const kernel = await kernelWith([
      ...BASE,
      create({ kind: 'addr', ns: 'n', link: 'x', addr: '10.0.0.1/24' }),
      raise(PAIR[0]),
    ]);
    const ns = rest.link === 'y' ? 'm' : 'n';
    expect(await outcome(kernel, create(route(ns, '10.9.0.0/16', rest)))).toBe(expected);
  });
});

describe('elements of a set of intervals', () => {
  test.each<[NftElementRow['key'], string]>([
    [[7, '10.0.0.0/8', 6, '80-90'], 'done'],
    [[7, '10.1.0.0/16', 6, '90-99'], 'EEXIST File exists'],
    [[7, '10.1.0.0/16', 6, 91], 'done'],
    [[8, '10.1.0.0/16', 6, 85], 'done'],
    [[7, '10.0.0.1', 6, 80], 'EEXIST File exists'],
    [[7, '9.0.0.0-10.0.0.0', '0-255', '0-80'], 'EEXIST File exists'],
    [[7, '11.0.0.0-11.0.0.9', 6, 80], 'done'],
  ])('%j beside 7 . 10.0.0.0/8 . 6 . 80-90', async (key, expected) => {
    const wide = set('s', { type: ['mark', 'ipv4_addr', 'inet_proto', 'inet_service'], interval: true });
    const kernel = await kernelWith([...BASE, create(table, wide, element('s', [7, '10.0.0.0/8', 6, '80-90']))]);
    expect(await outcome(kernel, create(element('s', key)))).toBe(expected);
  });
});

describe('what goes by itself', () => {
  test('with a namespace: all in it, and the other ends of its veths', async () => {
    const kernel = await kernelWith([
      ...UP,
      create({ kind: 'addr', ns: 'm', link: 'y', addr: '10.0.0.2/24' }),
      create(table),
    ]);
    await kernel.apply(remove(netns('n')));
    expect(keys(kernel)).toEqual(['netns|m']);
    expect(kernel.raised()).toEqual([]);
  });

  test('with one end of a veth: the other, its addresses, routes, neighbours and settings', async () => {
    const kernel = await kernelWith([
      ...UP,
      create(
        { kind: 'sysctl', ns: 'n', key: 'net/ipv4/conf/x/rp_filter', value: '1' },
        { kind: 'neigh', ns: 'n', link: 'x', ip: '10.0.0.9', mac: '' },
        route('n', 'default', { via: '10.0.0.9', link: 'x' }),
        route('n', '10.9.0.0/16', { type: 'unreachable' }),
      ),
    ]);
    await kernel.apply(remove(PAIR[1]));
    expect(keys(kernel)).toEqual(['link|n|br0', 'netns|m', 'netns|n', 'route|n|254|10.9.0.0/16']);
  });

  test('with a bridge: its ports are ports no more', async () => {
    const [inside, outside] = pair(['n', 'p0'], ['m', 'eth0']);
    const port = { ...inside, master: 'br0', isolated: true };
    const kernel = await kernelWith([...BASE.slice(0, 1), create(bridge('n'), port, outside)]);
    await kernel.apply(remove(bridge('n')));
    expect(kernel.rows()).toContainEqual(inside);
  });

  test('with a table: what is in it, and nothing of another family', async () => {
    const other = { ...table, family: 'bridge' } as const;
    const kernel = await kernelWith([...BASE, create(table, other, set('s'), element('s', ['10.0.0.1']))]);
    await kernel.apply(remove(table, set('s'), element('s', ['10.0.0.1'])));
    expect(keys(kernel).filter((key) => key.startsWith('nft'))).toEqual(['nft-table|n|bridge|vpcctl']);
    // Made anew, it is empty: what it had does not come back.
    expect(await outcome(kernel, create(table, set('s', { interval: true }), element('s', ['10.0.0.0/8'])))).toBe(
      'done',
    );
  });
});

describe('a veth', () => {
  test('is made by whichever end comes first, and only once', async () => {
    const kernel = await kernelWith([create(netns('n'), netns('m'))]);
    kernel.failAt(2);
    const failure = await kernel.apply(create(...PAIR));
    expect(failure?.error.facts).toMatchObject({ errno: 'EIO', object: 'link m y' });
    expect(failure?.applied.map(({ row }) => rowKey(row))).toEqual(['link|n|x']);
    expect(keys(kernel)).toEqual(['link|m|y', 'link|n|x', 'netns|m', 'netns|n']);
  });

  test('as the 1024th port of a bridge is refused', async () => {
    const ports = (from: number, to: number): VethRow[] =>
      Array.from({ length: to - from }, (_, at) => pair(['n', `p${from + at}`], ['m', `e${from + at}`])).flatMap(
        ([port, other]) => [{ ...port, master: 'br0' }, other],
      );
    const kernel = await kernelWith([create(netns('n'), netns('m')), create(bridge('n')), create(...ports(0, 1023))]);
    expect(await outcome(kernel, create(...ports(1023, 1024)))).toBe('EXFULL Exchange full');
  }, 60_000);
});

describe('a failure', () => {
  test('stops what is to be made, and does not begin to unmake', async () => {
    const kernel = await kernelWith(UP);
    const failure = await kernel.apply([
      ...remove(bridge('n')),
      ...create(
        { kind: 'addr', ns: 'n', link: 'x', addr: '10.0.1.1/24' },
        { kind: 'addr', ns: 'n', link: 'zz', addr: '10.0.2.1/24' },
        { kind: 'addr', ns: 'n', link: 'x', addr: '10.0.3.1/24' },
      ),
    ]);
    expect(failure?.applied.map(({ row }) => rowKey(row))).toEqual(['addr|n|x|10.0.1.1/24']);
    expect(keys(kernel)).toContain('link|n|br0');
  });

  test('of links does not stop the firewall beside them, nor the other way', async () => {
    const kernel = await kernelWith(BASE);
    const wrong: KernelObject = { kind: 'addr', ns: 'n', link: 'zz', addr: '10.0.1.1/24' };
    const links = await kernel.apply(create(wrong, table));
    expect(links?.error.facts.errno).toBe('ENODEV');
    expect(links?.applied.map(({ row }) => rowKey(row))).toEqual(['nft-table|n|inet|vpcctl']);
    const right: KernelObject = { ...wrong, link: 'x' };
    const firewall = await kernel.apply(create(table, right));
    expect(firewall?.error.facts.errno).toBe('EEXIST');
    expect(firewall?.applied.map(({ row }) => rowKey(row))).toEqual(['addr|n|x|10.0.1.1/24']);
  });

  test('tolerated goes on, and is the first that is no matter of being there or gone', async () => {
    const kernel = await kernelWith(UP);
    const failure = await kernel.apply(
      create(
        bridge('n'),
        { kind: 'addr', ns: 'n', link: 'zz', addr: '10.0.2.1/24' },
        { kind: 'addr', ns: 'n', link: 'x', addr: '10.0.3.1/24' },
      ),
      { tolerant: true },
    );
    expect(failure?.error.facts.errno).toBe('ENODEV');
    expect(keys(kernel)).toContain('addr|n|x|10.0.3.1/24');
  });

  test('in one namespace’s firewall leaves it as it was; what another namespace had done stands', async () => {
    const other = (row: typeof table | NftSetRow | NftElementRow): KernelObject =>
      ({ ...row, ns: 'm' }) as KernelObject;
    const kernel = await kernelWith([
      ...BASE,
      create(table, set('s'), element('s', ['10.0.0.1']), other(table), other(set('s'))),
    ]);
    const before = keys(kernel);
    const failure = await kernel.apply([
      ...create(other(element('s', ['10.0.0.9']))),
      ...remove(element('s', ['10.0.0.1'])),
      ...create(element('s', ['10.0.0.2']), element('t', ['10.0.0.3'])),
    ]);
    expect(failure?.error.facts.errno).toBe('ENOENT');
    expect(failure?.applied.map(({ row }) => rowKey(row))).toEqual(['nft-element|m|inet|vpcctl|s|10.0.0.9']);
    expect(keys(kernel).filter((key) => !before.includes(key))).toEqual(['nft-element|m|inet|vpcctl|s|10.0.0.9']);
  });

  test('of a change to what is static is the encoder’s', async () => {
    const chain = { ...table, kind: 'nft-chain', chain: 'c' } as const;
    const kernel = await kernelWith([...BASE, create(table, chain)]);
    expect((await kernel.apply(remove(chain)))?.error.message).toBe(
      'nft-chain vpcctl of n can only change with its whole table',
    );
  });

  test('on demand comes at the change asked for, once', async () => {
    const kernel = new MemoryKernel({ failAt: 2 });
    expect(await outcome(kernel, create(netns('a'), netns('b'), netns('c')))).toBe('EIO refused on demand');
    expect(keys(kernel)).toEqual(['netns|a']);
    expect(await outcome(kernel, create(netns('b'), netns('c')))).toBe('done');
    expect(kernel.changes).toBe(4);
  });
});

describe('reading', () => {
  test('leaves out links that are down, and what belongs to the host alone', async () => {
    const kernel = await kernelWith(
      [
        create(netns('n')),
        create(...pair(['', 'vpc-edge'], ['n', 'host']), bridge('n')),
        create({ kind: 'sysctl', ns: '', key: 'net/ipv4/conf/eth0/forwarding', value: '1', restore: '0' }),
        create({ kind: 'sysctl', ns: 'n', key: 'net/ipv4/ip_forward', value: '1', optional: true }),
        raise(...pair(['', 'vpc-edge'], ['n', 'host'])),
      ],
      {},
    );
    const seen = async (...namespaces: string[]): Promise<string[]> => (await kernel.observe(namespaces)).map(rowKey);
    expect(await seen('')).toEqual(['link||vpc-edge']);
    expect(await seen('n', 'nowhere')).toEqual(['netns|n', 'link|n|host', 'sysctl|n|net/ipv4/ip_forward']);
    expect(await kernel.observe(['', 'n'])).toContainEqual(pair(['n', 'host'], ['', 'vpc-edge'])[0]);
    expect((await kernel.observe(['n'])).find((row) => row.kind === 'link')).toMatchObject({
      peer: { ns: '?', name: '?' },
    });
    expect(await kernel.observe(['n'])).toContainEqual({
      kind: 'sysctl',
      ns: 'n',
      key: 'net/ipv4/ip_forward',
      value: '1',
    });
    expect(kernel.raised()).toEqual(['/vpc-edge', 'n/host']);
  });

  test('shows the host as it was said to be, and what we put there', async () => {
    const kernel = await kernelWith([create(netns('n')), create(...pair(['', 'vpc-edge'], ['n', 'host']))], {
      links: [{ name: 'wan0', mtu: 1400, up: true }],
      routes: [{ dst: 'default', link: 'wan0', metric: 5, kernel: false }],
    });
    expect(await kernel.host()).toEqual({
      links: [
        { name: 'wan0', mtu: 1400, up: true },
        { name: 'vpc-edge', mtu: 1500, up: false },
      ],
      routes: [{ dst: 'default', link: 'wan0', metric: 5, kernel: false }],
    });
    expect((await new MemoryKernel().host()).routes[0]).toMatchObject({ dst: 'default', link: 'eth0' });
  });

  test("a setting of the host's is what was written, and what was there once it is given back", async () => {
    const key = 'net/ipv4/conf/eth0/forwarding';
    const row: KernelObject = { kind: 'sysctl', ns: '', key, value: '1', restore: '0' };
    const kernel = await kernelWith([create(row)]);
    expect(await kernel.readSysctl(key)).toBe('1');
    await kernel.apply(remove(row));
    expect(await kernel.readSysctl(key)).toBe('0');
    expect(await kernel.readSysctl('net/ipv4/conf/vpc-edge/forwarding')).toBeUndefined();
    await kernel.apply(create(netns('n')));
    await kernel.apply(create(...pair(['', 'vpc-edge'], ['n', 'host'])));
    expect(await kernel.readSysctl('net/ipv4/conf/vpc-edge/forwarding')).toBe('0');
  });

  test('tampering takes a row with what goes with it', async () => {
    const kernel = await kernelWith([...UP, create(table, set('s'), element('s', ['10.0.0.1']))]);
    expect([kernel.tamper(PAIR[0]), kernel.tamper(PAIR[0]), kernel.tamper(table), kernel.tamper(netns('zz'))]).toEqual([
      true,
      false,
      true,
      false,
    ]);
    expect(keys(kernel)).toEqual(['link|n|br0', 'netns|m', 'netns|n']);
  });

  test('the directory is ready once it was made so', async () => {
    const kernel = new MemoryKernel();
    expect([await kernel.prepareDirectory(), await kernel.prepareDirectory()]).toEqual([true, false]);
    await kernel.releaseDirectory();
    expect(kernel.prepared).toBe(false);
  });
});
