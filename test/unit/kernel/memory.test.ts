/** What the kernel in memory can besides what every kernel does (test/contract): refuse on demand, be looked at and tampered with. */
import { describe, expect, test } from 'vitest';
import { MemoryKernel, type MemoryKernelOptions } from '../../../src/kernel/memory.js';
import type { Change } from '../../../src/objects/change.js';
import {
  type KernelObject,
  type NftElementRow,
  type NftSetRow,
  type RouteRow,
  rowKey,
  type VethRow,
} from '../../../src/objects/kernel-object.js';

const netns = (ns: string): KernelObject => ({ kind: 'netns', ns });
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
const raise = (...rows: VethRow[]): Change[] => rows.map((row) => ({ op: 'raise', row }));

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
const BASE = [create(netns('n'), netns('m')), create(...PAIR)];
const UP = [...BASE, create({ kind: 'addr', ns: 'n', link: 'x', addr: '10.0.0.1/24' }), raise(...PAIR)];

test('says the words of the real one', async () => {
  const kernel = await kernelWith(UP);
  expect(await outcome(kernel, create(...PAIR))).toBe('EEXIST File exists');
  expect(await outcome(kernel, create(route('n', 'default', { via: '10.7.0.9', link: 'x' })))).toBe(
    'ENETUNREACH Nexthop has invalid gateway',
  );
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
});

describe('a failure', () => {
  test('on demand comes at the change asked for, once', async () => {
    const kernel = new MemoryKernel({ failAt: 2 });
    expect(await outcome(kernel, create(netns('a'), netns('b'), netns('c')))).toBe('EIO refused on demand');
    expect(keys(kernel)).toEqual(['netns|a']);
    expect(await outcome(kernel, create(netns('b'), netns('c')))).toBe('done');
    expect(kernel.changes).toBe(4);
  });
});

describe('reading', () => {
  test('tells links that are down, and leaves out what belongs to the host alone', async () => {
    const kernel = await kernelWith(
      [
        create(netns('n')),
        create(...pair(['', 'vpc-edge'], ['n', 'host']), ...pair(['n', 'v0'], ['n', 'v1'])),
        create({ kind: 'sysctl', ns: '', key: 'net/ipv4/conf/eth0/forwarding', value: '1', restore: '0' }),
        create({ kind: 'sysctl', ns: 'n', key: 'net/ipv4/ip_forward', value: '1', optional: true }),
        raise(...pair(['', 'vpc-edge'], ['n', 'host'])),
      ],
      {},
    );
    const seen = async (...namespaces: string[]): Promise<string[]> => (await kernel.observe(namespaces)).map(rowKey);
    expect(await seen('')).toEqual(['link||vpc-edge']);
    expect(await seen('n', 'nowhere')).toEqual([
      'netns|n',
      'link|n|host',
      'link|n|v0',
      'link|n|v1',
      'sysctl|n|net/ipv4/ip_forward',
    ]);
    expect(await kernel.observe(['n'])).toContainEqual({ ...pair(['n', 'v0'], ['n', 'v1'])[0], down: true });
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
      forwarding6: 'by-link',
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
    expect(keys(kernel)).toEqual(['netns|m', 'netns|n']);
  });

  test('the directory is ready once it was made so', async () => {
    const kernel = new MemoryKernel();
    expect([await kernel.prepareDirectory(), await kernel.prepareDirectory()]).toEqual([true, false]);
    await kernel.releaseDirectory();
    expect(kernel.prepared).toBe(false);
  });
});
