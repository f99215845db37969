/** IPv6 to the internet by real packets: who gets out, who is let in, and what of the host and near it nobody reaches. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { open, type Spec } from '../../src/index.js';
import {
  HOST_ADDRESS6,
  INTERNET,
  INTERNET_GATEWAY6,
  INTERNET_SERVER6,
  type Listener,
  type Probe,
  TestHost,
  UPLINK,
} from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { ipDo, must } from '../harness/witness.js';
import { answers, destroyAll, expectHostAsBefore, refused, settled } from './support.js';

const POOL = 'fd76:7063:6300::/40';
const EXAMPLE = fileURLToPath(new URL('../../examples/ipv6-internet.yaml', import.meta.url));
const [WEB, JOB, DB, OTHER] = ['vpc.a.web-1', 'vpc.a.job-1', 'vpc.a.db-1', 'vpc.b.other'] as const;
const OF = {
  [WEB]: 'fd76:7063:6301:1::a01:104',
  [JOB]: 'fd76:7063:6301:2::a01:204',
  [DB]: 'fd76:7063:6301:3::a01:304',
  [OTHER]: 'fd76:7063:6302:1::a02:104',
} as const;
const HOST6 = 'fd76:7063:6300::1';
/** Of a network beside the host's uplink, and the address of a cloud's metadata service there. */
const NEAR = 'fd00:1::1';
const METADATA = 'fd00:ec2::254';

const anyone = { ingress: [{ from: 'any' as const }] };
const world: Spec = {
  name: 'out',
  settings: { ipv6PoolRouted: true },
  vpcs: {
    a: {
      cidr: '10.1.0.0/16',
      ipv6Cidr: 'fd76:7063:6301::/56',
      subnets: {
        web: { cidr: '10.1.1.0/24', ipv6Cidr: 'fd76:7063:6301:1::/64', routeTable: 'open' },
        jobs: { cidr: '10.1.2.0/24', ipv6Cidr: 'fd76:7063:6301:2::/64', routeTable: 'outwards' },
        db: { cidr: '10.1.3.0/24', ipv6Cidr: 'fd76:7063:6301:3::/64' },
      },
      egressOnlyInternetGateway: true,
      routeTables: {
        open: { routes: [{ destination: '::/0', target: 'internet-gateway' }] },
        outwards: { routes: [{ destination: '::/0', target: 'egress-only-internet-gateway' }] },
      },
      securityGroups: { all: anyone },
      instances: {
        'web-1': { subnet: 'web', securityGroups: ['all'] },
        'job-1': { subnet: 'jobs', securityGroups: ['all'] },
        'db-1': { subnet: 'db', securityGroups: ['all'] },
      },
    },
    b: {
      cidr: '10.2.0.0/16',
      ipv6Cidr: 'fd76:7063:6302::/56',
      subnets: { one: { cidr: '10.2.1.0/24', ipv6Cidr: 'fd76:7063:6302:1::/64' } },
      routeTables: { main: { routes: [{ destination: '::/0', target: 'internet-gateway' }] } },
      securityGroups: { all: anyone },
      instances: { other: { subnet: 'one', securityGroups: ['all'] } },
    },
  },
};

let host: TestHost;
let before: HostState;
const listeners: Listener[] = [];

beforeAll(async () => {
  host = await TestHost.create({ ipv6: true, routedToHost: [POOL] });
  for (const near of [NEAR, METADATA]) {
    await ipDo(['addr', 'add', `${near}/128`, 'dev', 'lo', 'nodad'], INTERNET);
    await ipDo(['route', 'add', `${near}/128`, 'via', INTERNET_GATEWAY6]);
  }
  before = await settled(host);
  await apply(world);
  for (const ns of [WEB, JOB, DB, OTHER, INTERNET, '']) {
    listeners.push(await host.listener(ns, 'tcp', 80, { host: '::' }));
  }
});

afterAll(async () => {
  for (const listener of listeners) await listener.close();
  await destroyAll(host);
  await expectHostAsBefore(host, before);
  await host.close();
});

async function apply(spec: Spec): Promise<void> {
  await host.vpcctlOk(['apply', '-', '--yes'], { input: JSON.stringify(spec) });
}

const tcp = (to: string): Probe => ({ proto: 'tcp', to, port: 80 });
const reached = async (from: string, to: string): Promise<boolean> => answers(host, from, tcp(to));

test('by the internet gateway IPv6 gets out and in, with its own addresses', async () => {
  expect(await host.probe(WEB, tcp(INTERNET_SERVER6))).toMatchObject({ ok: true, seenSource: OF[WEB] });
  expect(await host.probe(INTERNET, { ...tcp(OF[WEB]), from: INTERNET_SERVER6 })).toMatchObject({
    ok: true,
    seenSource: INTERNET_SERVER6,
  });
  expect(await answers(host, WEB, { proto: 'icmp', to: INTERNET_SERVER6 })).toBe(true);
});

test('by the egress-only internet gateway it gets out, and nobody in', async () => {
  expect(await host.probe(JOB, tcp(INTERNET_SERVER6))).toMatchObject({ ok: true, seenSource: OF[JOB] });
  expect(await reached(INTERNET, OF[JOB])).toBe(false);
  expect(await answers(host, INTERNET, { proto: 'icmp', to: OF[JOB] })).toBe(false);
  expect(await reached('', OF[JOB])).toBe(false);
  expect(await reached(OTHER, OF[JOB])).toBe(false);
});

test('without a route nothing gets out and nothing in', async () => {
  expect(await reached(DB, INTERNET_SERVER6)).toBe(false);
  expect(await reached(INTERNET, OF[DB])).toBe(false);
  expect(await reached('', OF[DB])).toBe(false);
  expect(await reached(OTHER, OF[DB])).toBe(false);
});

test('a route of IPv4 lets no IPv6 out', async () => {
  await host.vpcctlOk('create-route --vpc a --destination 0.0.0.0/0 --target internet-gateway'.split(' '));
  expect(await reached(DB, INTERNET_SERVER6)).toBe(false);
  expect(await reached(INTERNET, OF[DB])).toBe(false);
  await host.vpcctlOk('delete-route --vpc a --destination 0.0.0.0/0'.split(' '));
});

test('VPCs that are not peered reach each other by their internet gateways, as the internet does', async () => {
  expect(await host.probe(WEB, tcp(OF[OTHER]))).toMatchObject({ ok: true, seenSource: OF[WEB] });
  expect(await host.probe(JOB, tcp(OF[OTHER]))).toMatchObject({ ok: true, seenSource: OF[JOB] });
  expect(await host.probe(OTHER, tcp(OF[WEB]))).toMatchObject({ ok: true, seenSource: OF[OTHER] });
});

test('the host reaches what the internet reaches, and is reached by nobody', async () => {
  expect(await host.probe('', tcp(OF[WEB]))).toMatchObject({ ok: true, seenSource: HOST6 });
  for (const from of [WEB, JOB, OTHER]) {
    for (const to of [HOST6, HOST_ADDRESS6]) expect(await reached(from, to)).toBe(false);
  }
});

test('what is near the host is reached only where a route names it, and services of the cloud never', async () => {
  for (const from of [WEB, JOB, OTHER]) {
    for (const to of [NEAR, METADATA, '64:ff9b::c000:201', '::c000:201']) expect(await reached(from, to)).toBe(false);
  }
  await host.vpcctlOk('create-route --vpc a --table open --destination fd00::/8 --target internet-gateway'.split(' '));
  expect(await reached(WEB, NEAR)).toBe(true);
  expect(await reached(WEB, METADATA)).toBe(false);
  expect(await reached(JOB, NEAR)).toBe(false);
  await refused(host, 'create-route --vpc a --destination fd00:ec2::254/128 --target internet-gateway'.split(' '), 3, [
    'services of the cloud',
  ]);
  await apply(world);
  expect(await reached(WEB, NEAR)).toBe(false);
});

/** Sends SYNs to web's port 80 as from these sources. */
async function forge(ns: string, mac: string, link: string, sources: readonly string[], to: string): Promise<void> {
  const program = `
import socket, struct
from ipaddress import IPv6Address as A
own = bytes.fromhex(open('/sys/class/net/${link}/address').read().strip().replace(':', ''))
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('${link}', 0))
def total(data):
    n = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while n >> 16: n = (n & 0xffff) + (n >> 16)
    return ~n & 0xffff
for src in ${JSON.stringify(sources)}:
    data = struct.pack('!HHIIBBHHH', 40000, 80, 1, 0, 5 << 4, 2, 1024, 0, 0)
    check = total(A(src).packed + A('${to}').packed + struct.pack('!II', len(data), 6) + data)
    data = data[:16] + struct.pack('!H', check) + data[18:]
    head = struct.pack('!IHBB', 6 << 28, len(data), 6, 64) + A(src).packed + A('${to}').packed
    s.send(bytes.fromhex('${mac.replaceAll(':', '')}') + own + bytes.fromhex('86dd') + head + data)
`;
  await must(ns, ['python3', '-c', program]);
}

async function segments(ns: string): Promise<number> {
  const text = await must(ns, ['cat', '/proc/net/snmp']);
  const [, values = ''] = text.split('\n').filter((line) => line.startsWith('Tcp:'));
  return Number(values.split(' ')[10]);
}

test('a source that is not its own leaves nobody’s port, and none of the inside comes from outside', async () => {
  const capture = await host.capture(INTERNET, 'eth0', 'ip6 and tcp');
  await forge(WEB, '06:76:70:63:00:01', 'eth0', [OF[JOB], OF[DB], '2001:db8:9::1', HOST6], INTERNET_SERVER6);
  expect(await capture.stop()).toEqual([]);
  const seen = await segments(WEB);
  await forge(
    INTERNET,
    '02:00:00:00:02:02',
    'eth0',
    [OF[JOB], OF[DB], OF[OTHER], HOST6, NEAR, METADATA, '::1', 'fe80::1', 'ff02::1'],
    OF[WEB],
  );
  expect(await segments(WEB)).toBe(seen);
  await forge(INTERNET, '02:00:00:00:02:02', 'eth0', ['2001:db8:9::1'], OF[WEB]);
  expect(await segments(WEB)).toBeGreaterThan(seen);
});

test('a route that goes or leads elsewhere ends open connections, and so does a gateway', async () => {
  const from = await host.connect(WEB, INTERNET_SERVER6, 80);
  const into = await host.connect(INTERNET, OF[WEB], 80);
  expect(await from.exchange()).toMatchObject({ ok: true });
  expect(await into.exchange()).toMatchObject({ ok: true });
  // What the rules admit is not cut.
  await host.vpcctlOk(['cut-connections']);
  expect(await from.exchange()).toMatchObject({ ok: true });
  expect(await into.exchange()).toMatchObject({ ok: true });
  await host.vpcctlOk(
    'create-route --vpc a --table open --destination ::/0 --target egress-only-internet-gateway'.split(' '),
  );
  expect(await from.exchange()).toMatchObject({ ok: true });
  expect(await into.exchange(300)).toMatchObject({ ok: false });
  await host.vpcctlOk('delete-egress-only-internet-gateway --vpc a'.split(' '));
  expect(await from.exchange(300)).toMatchObject({ ok: false });
  const shown = await host.vpcctlOk('show a'.split(' '));
  expect(shown.stdout).toContain('::/0 → egress-only internet gateway, which is gone: black hole');
  await refused(host, 'create-route --vpc a --destination ::/0 --target egress-only-internet-gateway'.split(' '), 4, [
    'egress-only internet gateway of vpc a does not exist',
  ]);
  await host.vpcctlOk('create-egress-only-internet-gateway --vpc a'.split(' '));
  expect(await reached(WEB, INTERNET_SERVER6)).toBe(true);
  await apply(world);
  expect(await reached(INTERNET, OF[WEB])).toBe(true);
});

test('a packet that is too large for a link out there is heard of, whoever says so and whatever the routes name', async () => {
  const server = `${INTERNET_SERVER6}/128`;
  const narrow = { routes: [{ destination: server, target: 'internet-gateway' as const }] };
  const { routeTables, ...vpc } = world.vpcs.a ?? { cidr: '' };
  await apply({ ...world, vpcs: { ...world.vpcs, a: { ...vpc, routeTables: { ...routeTables, open: narrow } } } });
  const known = async (): Promise<string> => must(WEB, ['ip', '-6', 'route', 'get', INTERNET_SERVER6]);
  await ipDo(['link', 'set', UPLINK, 'mtu', '1400']);
  try {
    expect(await known()).not.toContain('mtu 1400');
    await host.probe(WEB, { proto: 'icmp', to: INTERNET_SERVER6, size: 1420, timeoutMs: 300 });
    expect(await known()).toContain('mtu 1400');
  } finally {
    await ipDo(['link', 'set', UPLINK, 'mtu', '1500']);
    await apply(world);
  }
});

test('the analyzer and the matrix say the same', async () => {
  const ask = async (from: string, to: string): Promise<number> =>
    (await host.vpcctl(['analyze', from, to, '--port', '80'])).exitCode;
  expect(await ask('a/web-1', `internet:${INTERNET_SERVER6}`)).toBe(0);
  expect(await ask('a/job-1', 'internet@ipv6')).toBe(0);
  expect(await ask('a/db-1', 'internet@ipv6')).toBe(10);
  expect(await ask('internet@ipv6', 'a/web-1')).toBe(0);
  expect(await ask('internet@ipv6', 'a/job-1')).toBe(10);
  expect(await ask('host', 'a/web-1@ipv6')).toBe(0);
  expect(await ask('a/web-1', 'host@ipv6')).toBe(10);
  expect(await ask('a/job-1', 'b/other@ipv6')).toBe(0);
  expect(await ask('b/other', 'a/job-1@ipv6')).toBe(10);
  const told = await host.vpcctl(['analyze', 'internet@ipv6', 'a/job-1', '--port', '80']);
  expect(told.stdout).toContain('egress-only internet gateway of vpc a');
  const { json } = await host.vpcctlOk(['matrix', '--ipv6', '--port', '80', '--json']);
  const { ends, cells } = json as { ends: string[]; cells: string[][] };
  const cell = (from: string, to: string): unknown => cells[ends.indexOf(from)]?.[ends.indexOf(to)];
  expect([cell('internet', 'a/web-1'), cell('internet', 'a/job-1'), cell('a/job-1', 'internet')]).toEqual([
    'yes',
    'no',
    'yes',
  ]);
  const probed = await host.vpcctl(['analyze', 'host', 'a/web-1@ipv6', '--port', '81', '--probe']);
  expect(probed.exitCode, probed.stdout).toBe(0);
});

test('what somebody changes is told and put back', async () => {
  await ipDo(['-6', 'route', 'del', POOL], '');
  await ipDo(['-6', 'route', 'del', 'default'], 'vpc-edge');
  await must('vpc.a', ['nft', 'flush', 'set', 'inet', 'vpcctl', 'ways6']);
  expect(await reached(INTERNET, OF[WEB])).toBe(false);
  const { stdout } = await host.vpcctl(['drift']);
  expect(stdout).toContain(`edge: the route to ${POOL} on the host is missing`);
  expect(stdout).toContain('route table a/open: the leave to pass to 2000::/3');
  await host.vpcctlOk(['repair', '--yes']);
  expect((await host.vpcctl(['drift'])).exitCode).toBe(0);
  expect(await reached(INTERNET, OF[WEB])).toBe(true);
});

test('the file that is exported is the same again', async () => {
  const { stdout } = await host.vpcctlOk(['export']);
  expect(stdout).toContain('egressOnlyInternetGateway: true');
  expect((await host.vpcctlOk(['plan', '-'], { input: stdout })).stdout).toContain('no changes');
});

test('the host stays a host: it listens to advertisements, and only two of its links forward', async () => {
  expect(await host.sysctl('', 'net/ipv6/conf/all/forwarding')).toBe('0');
  expect(await host.sysctl('', `net/ipv6/conf/${UPLINK}/forwarding`)).toBe('0');
  expect(await host.sysctl('', `net/ipv6/conf/${UPLINK}/force_forwarding`)).toBe('1');
  expect(await host.sysctl('', 'net/ipv6/conf/vpc-edge/force_forwarding')).toBe('1');
  expect(await host.sysctl('', 'net/ipv6/conf/lo/force_forwarding')).toBe('0');
});

test('a pool that is not routed to the host leaves by its address', async () => {
  await apply({ ...world, settings: { ipv6PoolRouted: false } });
  expect(await host.probe(WEB, tcp(INTERNET_SERVER6))).toMatchObject({ ok: true, seenSource: HOST_ADDRESS6 });
  expect(await host.probe(JOB, tcp(INTERNET_SERVER6))).toMatchObject({ ok: true, seenSource: HOST_ADDRESS6 });
  await apply(world);
});

test('what needs none of it has none of it, and the setting of the uplink is given back', async () => {
  await host.vpcctlOk('delete-route --vpc a --table open --destination ::/0'.split(' '));
  await host.vpcctlOk('delete-route --vpc a --table outwards --destination ::/0'.split(' '));
  expect(await must('vpc.a', ['nft', 'list', 'table', 'inet', 'vpcctl'])).not.toContain('uplink6');
  expect(await host.sysctl('', `net/ipv6/conf/${UPLINK}/force_forwarding`)).toBe('1');
  await host.vpcctlOk('delete-route --vpc b --destination ::/0'.split(' '));
  expect(await host.sysctl('', `net/ipv6/conf/${UPLINK}/force_forwarding`)).toBe('0');
  expect((await host.vpcctlOk(['list'])).stdout).toContain('a');
  await apply(world);
  expect(await reached(INTERNET, OF[WEB])).toBe(true);
});

test('the example does what it says', async () => {
  for (const ns of [WEB, JOB, DB, OTHER]) await host.leave(ns);
  await host.vpcctlOk(['destroy', '--yes']);
  listeners.splice(0, 4);
  await host.vpcctlOk(['apply', EXAMPLE, '--yes']);
  const vpcctl = await open({ state: host.stateDir });
  const reaches = (source: string, destination: string, port: number): boolean =>
    vpcctl.analyze({ source, destination, port }).reachable;
  try {
    expect(reaches('internet@ipv6', 'shop/web-1', 80)).toBe(true);
    expect(reaches('shop/web-1', 'internet@ipv6', 443)).toBe(true);
    expect(reaches('internet@ipv6', 'shop/job-1', 80)).toBe(false);
    expect(reaches('shop/job-1', 'internet@ipv6', 443)).toBe(true);
    expect(reaches('shop/db-1', 'internet@ipv6', 443)).toBe(false);
    expect(reaches('shop/web-1', 'shop/db-1@ipv6', 5432)).toBe(true);
  } finally {
    await vpcctl.close();
  }
});
