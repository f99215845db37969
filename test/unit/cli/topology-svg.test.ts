import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import type { Library } from '../../../src/cli/host.js';
import { topologySvg } from '../../../src/cli/topology-svg.js';
import type { InstallationView, InstanceView, TransitGatewayView, VpcView } from '../../../src/index.js';
import { assertProperty } from '../net/property.js';
import { VPC_A, VPC_B, vpcctl } from './support.js';

const VIEW: InstallationView = {
  publicPool: '198.51.100.0/24',
  poolRouted: false,
  ipv6Pool: 'fd76:7063:6300::/40',
  ipv6PoolRouted: false,
  uplink: 'auto',
  quotas: {},
  edge: { namespace: 'vpc-edge', uplink: 'eth0' },
  elasticIps: [{ name: 'idle', address: '198.51.100.9', association: null }],
  prefixLists: [],
  vpcs: [VPC_A, VPC_B],
  privateZones: [],
  transitGateways: [],
  peerings: [{ vpcs: ['a', 'b'], allowCidrs: ['10.1.1.0/24'], routes: 'manual' }],
};

const temp = mkdtempSync(join(tmpdir(), 'vpcctl-topology-'));
afterAll(() => rmSync(temp, { recursive: true }));

function vpc(name: string, more: Partial<VpcView> = {}): VpcView {
  return { ...VPC_B, name, namespace: `vpc.${name}`, ...more };
}

function gateway(name: string, vpcs: readonly string[]): TransitGatewayView {
  const attachments = vpcs.map((one) => ({ vpc: one, routeTable: 'default', propagateTo: ['default'] }));
  return { name, namespace: `vpc-tgw.${name}`, attachments, routeTables: [{ name: 'default', routes: [] }] };
}

/** All words, in the order of the document. */
function words(svg: string): string[] {
  return [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, text = '']) => text);
}

interface Box {
  readonly look: string;
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

function boxes(svg: string): Box[] {
  const all = svg.matchAll(/<rect class="([^"]*)" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"/g);
  return [...all].map(([, look = '', ...numbers]) => {
    const [x = 0, y = 0, width = 0, height = 0] = numbers.map(Number);
    return { look, x, y, width, height };
  });
}

/** Lines down, and lines across, of peerings and transit gateways. */
function wires(svg: string) {
  const down = [...svg.matchAll(/<path class="(peer|wire)" d="M([\d.]+) ([\d.]+) V([\d.]+)"/g)].map(
    ([, look, x, from, to]) => ({ look, x: Number(x), from: Number(from), to: Number(to) }),
  );
  const across = [...svg.matchAll(/<path class="peer" d="M([\d.]+) ([\d.]+) H([\d.]+)"/g)].map(([, from, y, to]) => ({
    y: Number(y),
    from: Number(from),
    to: Number(to),
  }));
  return { down, across };
}

/** Of a document without text outside of elements' ends: each element that begins ends, in order. */
function isBalanced(svg: string): boolean {
  const open: string[] = [];
  for (const [, closing, name = '', empty] of svg.matchAll(/<(\/?)([a-z]+)[^<>]*?(\/?)>/g)) {
    if (empty === '/') continue;
    if (closing !== '/') open.push(name);
    else if (open.pop() !== name) return false;
  }
  return open.length === 0;
}

describe('the picture of an installation', () => {
  test('has every subnet, instance, address, gateway and route', () => {
    const natGateways = [
      {
        name: 'out',
        subnet: 'web',
        ip: '10.1.1.9',
        publicIp: '198.51.100.5',
        elasticIp: 'e',
        namespace: 'vpc.a.nat.out',
      },
      { name: 'inner', subnet: 'db', ip: '10.1.2.9', publicIp: null, elasticIp: null, namespace: 'vpc.a.nat.inner' },
    ];
    const routes = [
      { destination: '10.1.0.0/16', target: 'local' as const, blackhole: false, automatic: true },
      { destination: '0.0.0.0/0', target: { natGateway: 'gone' }, blackhole: true, automatic: false },
      { destination: '10.9.0.0/16', target: 'blackhole' as const, blackhole: true, automatic: false },
    ];
    const a = { ...VPC_A, natGateways, routeTables: [{ name: 'main', subnets: ['db'], routes }] };
    const all = words(
      topologySvg({ ...VIEW, vpcs: [a, VPC_B], transitGateways: [gateway('core', ['a', 'b']), gateway('idle', [])] }),
    );
    for (const text of [
      ...['internet', 'eth0', '198.51.100.0/24', 'idle 198.51.100.9', 'internet gateway', 'vpc.a', '10.1.0.0/16', 'b'],
      ...['db', '10.1.2.0/24', 'web', 'network ACL edge', '10.1.1.4', '198.51.100.7', 'route table main'],
      ...['NAT gateway', 'out', '198.51.100.5 (e)', 'inner', 'nat gateway gone', 'black hole', 'blackhole'],
      ...['peering, only 10.1.1.0/24, routes by hand', 'core', 'of a, b', 'idle', 'namespace vpc-tgw.idle'],
    ]) {
      expect(
        all.filter((one) => one === text || one.endsWith(` ${text}`)),
        text,
      ).not.toEqual([]);
    }
    expect(all.filter((one) => one === 'black hole')).toHaveLength(1);
  });

  test('counts instances that there is no room for', () => {
    const [db, web] = VPC_A.subnets;
    if (db === undefined || web === undefined) throw new Error('the fixture has two subnets');
    const [one] = web.instances;
    const many = Array.from({ length: 20 }, (_, at): InstanceView => ({ ...(one as InstanceView), name: `i${at}` }));
    const svg = topologySvg({ ...VIEW, vpcs: [{ ...VPC_A, subnets: [db, { ...web, instances: many }] }, VPC_B] });
    expect(words(svg)).toContain('i15');
    expect(words(svg)).not.toContain('i16');
    expect(words(svg)).toContain('and 4 more');
  });

  test('of one VPC has only the names of those that it is connected with', () => {
    const view = {
      ...VIEW,
      vpcs: [VPC_A, VPC_B, vpc('c'), vpc('d')],
      peerings: [...VIEW.peerings, { vpcs: ['b', 'd'] as [string, string], allowCidrs: null, routes: 'auto' as const }],
      transitGateways: [gateway('core', ['a', 'c']), gateway('other', ['b', 'd'])],
    };
    const all = words(topologySvg(view, 'a'));
    for (const name of ['a', 'b', 'c', 'core', '10.1.1.4']) expect(all).toContain(name);
    for (const name of ['d', 'other', 'vpc.b', 'namespace vpc.b']) expect(all).not.toContain(name);
  });

  test('leaves out the internet where nothing leads to it, and says that there is nothing', () => {
    expect(words(topologySvg({ ...VIEW, vpcs: [VPC_B], peerings: [] }))).not.toContain('internet');
    expect(words(topologySvg({ ...VIEW, vpcs: [], peerings: [] }))).toEqual(['no VPCs']);
  });

  const names = ['v0', 'v1', 'v2', 'v3', 'v4', 'v5'];
  const pairs = names.flatMap((one, at) => names.slice(at + 1).map((other) => [one, other] as const));
  const connected = fc.record({
    peerings: fc.subarray(pairs),
    gateways: fc.array(fc.subarray(names, { minLength: 1 }), { maxLength: 3 }),
    order: fc.shuffledSubarray(pairs, { minLength: pairs.length }),
  });

  test('is a well-formed document in which no box crosses another and no wire of a VPC a lane that ends there', () => {
    assertProperty(
      fc.property(connected, ({ peerings, gateways, order }) => {
        const chosen = order.filter((pair) => peerings.includes(pair));
        const svg = topologySvg({
          ...VIEW,
          vpcs: names.map((name) => vpc(name)),
          peerings: chosen.map(([one, other]) => ({ vpcs: [one, other], allowCidrs: null, routes: 'auto' })),
          transitGateways: gateways.map((vpcs, at) => gateway(`t${at}`, vpcs)),
        });
        expect(isBalanced(svg)).toBe(true);
        const all = boxes(svg).filter(({ look }) => look !== 'page');
        const size = /viewBox="0 0 (\d+) (\d+)"/.exec(svg)?.slice(1).map(Number) ?? [];
        for (const [at, one] of all.entries()) {
          expect(one.x + one.width).toBeLessThanOrEqual(size[0] ?? 0);
          expect(one.y + one.height).toBeLessThanOrEqual(size[1] ?? 0);
          for (const other of all.slice(at + 1)) expect(apart(one, other) || within(other, one)).toBe(true);
        }
        const { down, across } = wires(svg);
        expect(across).toHaveLength(chosen.length);
        const tops = all.filter(({ look, y }) => look === 'box' && y === Math.min(...all.map((box) => box.y)));
        const ends = gateways.reduce((sum, { length }) => sum + length, 0) + 2 * chosen.length;
        expect(down).toHaveLength(ends);
        expect(new Set(down.map(({ x }) => x)).size).toBe(ends);
        for (const lane of across) {
          const own = tops.filter(({ x, width }) => [lane.from, lane.to].some((end) => x < end && end < x + width));
          expect(own).toHaveLength(2);
          for (const wire of down) {
            if (!own.some(({ x, width }) => x < wire.x && wire.x < x + width)) continue;
            const crosses = lane.from < wire.x && wire.x < lane.to && wire.from < lane.y && lane.y < wire.to;
            expect(crosses).toBe(false);
          }
        }
      }),
    );
  });
});

function apart(one: Box, other: Box): boolean {
  return (
    one.x + one.width <= other.x ||
    other.x + other.width <= one.x ||
    one.y + one.height <= other.y ||
    other.y + other.height <= one.y
  );
}

function within(inner: Box, outer: Box): boolean {
  return (
    outer.x <= inner.x &&
    outer.y <= inner.y &&
    inner.x + inner.width <= outer.x + outer.width &&
    inner.y + inner.height <= outer.y + outer.height
  );
}

describe('show --svg', () => {
  const library = {
    list: () => VIEW,
    inspect: (name: string) => VIEW.vpcs.find((one) => one.name === name),
    apps: () => [],
  } as unknown as Partial<Library>;

  test('writes the picture, of everything or of one VPC', async () => {
    for (const only of [undefined, 'a']) {
      const path = join(temp, 'network.svg');
      const argv = ['show', ...(only === undefined ? [] : [only]), '--svg', path];
      const { exitCode, stdout } = await vpcctl(argv, { library });
      expect(exitCode).toBe(0);
      expect(stdout).toContain(`\nwrote ${path}\n`);
      expect(readFileSync(path, 'utf8')).toBe(topologySvg(VIEW, only));
    }
  });
});
