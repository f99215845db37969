/** Route tables, NAT gateways, elastic addresses and manual peerings, by the command and by packets. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { INTERNET, INTERNET_GATEWAY, INTERNET_SERVER, TestHost, UPLINK } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { counter, ip, ipDo, must } from '../harness/witness.js';
import {
  answers,
  areKeptApart,
  destroyAll,
  doesNotPing,
  expectHostAsBefore,
  expectWitness,
  isKeptFrom,
  ownNamespaces,
  pings,
  reaches,
  settled,
  type Target,
  target,
  witness,
} from './support.js';

const ROUTER = 'vpc.a';
const NAT = 'vpc.a.nat.out';
const NAT_IP = '10.1.1.200';
const NAT_PUBLIC = '198.51.100.40';
const APP = 'vpc.a.app';
const DB = 'vpc.a.db';
const ISO = 'vpc.a.iso';

const open = { ingress: [{}] };
const network = {
  settings: { poolRouted: true },
  elasticIps: { out: { address: NAT_PUBLIC }, moving: { address: '198.51.100.50' } },
  vpcs: {
    a: {
      cidr: '10.1.0.0/16',
      subnets: {
        web: { cidr: '10.1.1.0/24', public: true },
        app: { cidr: '10.1.2.0/24' },
        db: { cidr: '10.1.3.0/24' },
        iso: { cidr: '10.1.4.0/24', routeTable: 'iso' },
      },
      routeTables: { main: { routes: [{ destination: '0.0.0.0/0', target: { natGateway: 'out' } }] }, iso: {} },
      natGateways: { out: { subnet: 'web', ip: NAT_IP, elasticIp: 'out' } },
      securityGroups: { default: open },
      instances: {
        web: { subnet: 'web', ip: '10.1.1.10', publicIp: '198.51.100.10' },
        web2: { subnet: 'web', ip: '10.1.1.11', publicIp: '198.51.100.11' },
        app: { subnet: 'app', ip: '10.1.2.10' },
        db: { subnet: 'db', ip: '10.1.3.10' },
        iso: { subnet: 'iso', ip: '10.1.4.10' },
      },
    },
    b: {
      cidr: '10.2.0.0/16',
      subnets: { pub: { cidr: '10.2.1.0/24', public: true }, priv: { cidr: '10.2.2.0/24' } },
      securityGroups: { default: open },
      instances: {
        pub: { subnet: 'pub', ip: '10.2.1.10', publicIp: '198.51.100.20' },
        priv: { subnet: 'priv', ip: '10.2.2.10' },
      },
    },
  },
  peerings: [{ vpcs: ['a', 'b'], routes: 'manual' }],
};

let host: TestHost;
let temp: string;
let pristine: HostState;
let server: Target;

const vpcctl = (text: string) => host.vpcctlOk(text.split(' '));

async function apply(spec: unknown): Promise<void> {
  const path = join(temp, 'network.json');
  writeFileSync(path, JSON.stringify(spec));
  await host.vpcctlOk(['apply', path, '--yes']);
}

/** A TCP probe of the server out there; `fromPort`, `proto`, `port` and the rest as of a probe. */
const out = (from: string, more: object = {}) =>
  host.probe(from, { proto: 'tcp', to: INTERNET_SERVER, port: 80, timeoutMs: 500, ...more });

async function expectNoDrift(): Promise<void> {
  expect((await vpcctl('drift')).stdout).toMatch(/^no drift/);
}

beforeAll(async () => {
  host = await TestHost.create({ routedToHost: ['198.51.100.0/24'] });
  temp = mkdtempSync(join(tmpdir(), 'vpcctl-routing-'));
  pristine = await settled(host);
});

beforeEach(async () => {
  await apply(network);
  server = await target(host, INTERNET, INTERNET_SERVER, 80);
});

afterEach(async () => {
  const drift = await host.vpcctl(['drift']);
  await host.leave(INTERNET);
  await destroyAll(host);
  expect(drift.stdout).toMatch(/^no drift/);
  expect(ownNamespaces()).toEqual([]);
  expect((await host.vpcctlOk(['list', '--json'])).json).toMatchObject({ vpcs: [], elasticIps: [] });
  await expectHostAsBefore(host, pristine);
});

afterAll(async () => {
  rmSync(temp, { recursive: true, force: true });
  await host.close();
});

describe('through a NAT gateway', () => {
  test('two private subnets get out with its public address, by each protocol; nobody gets in', async () => {
    await host.listener(INTERNET, 'udp', 53);
    for (const from of [APP, DB]) {
      await reaches(host, from, server, NAT_PUBLIC);
      expect(await out(from, { proto: 'udp', port: 53 })).toMatchObject({ ok: true, seenSource: NAT_PUBLIC });
    }
    await Promise.all([APP, DB].map((from) => pings(host, from, INTERNET_SERVER)));
    await reaches(host, 'vpc.a.web', server, '198.51.100.10');

    const inside = await target(host, APP, '10.1.2.10', 80);
    await reaches(host, 'vpc.a.web', inside);
    await isKeptFrom(host, INTERNET, inside, NAT_PUBLIC);
    await areKeptApart(host, [
      ['', inside, NAT_PUBLIC],
      ['', inside, NAT_IP],
      ['vpc.a.web', inside, NAT_IP],
      ['vpc.b.pub', inside, NAT_PUBLIC],
    ]);
    await doesNotPing(host, INTERNET, NAT_PUBLIC);
    await doesNotPing(host, '', NAT_PUBLIC, NAT_IP);
  });

  test('clients with one source port, and many at once, all get their own', async () => {
    await host.listener(INTERNET, 'udp', 53);
    for (const [proto, port] of [
      ['tcp', 80],
      ['udp', 53],
    ] as const) {
      // Often, because what two packets at once do to each other depends on the processors.
      for (let fromPort = 40_000; fromPort < 40_025; fromPort++) {
        const seen = await Promise.all([APP, DB].map((from) => out(from, { proto, port, fromPort })));
        expect(seen).toMatchObject([{ ok: true }, { ok: true }]);
        expect(new Set(seen.map(({ seenPort }) => seenPort)).size).toBe(2);
      }
    }
    const many = await Promise.all(
      Array.from({ length: 300 }, (_, at) => out(at % 2 === 0 ? APP : DB, { timeoutMs: 5_000 })),
    );
    expect(many.filter(({ ok, seenSource }) => ok && seenSource === NAT_PUBLIC)).toHaveLength(300);
    expect(new Set(many.map(({ seenPort }) => seenPort)).size).toBe(300);
  });

  test('masqueraded, public addresses with one source port all get an answer', async () => {
    await apply({ ...network, settings: { poolRouted: false } });
    await host.listener(INTERNET, 'udp', 53);
    for (let fromPort = 40_000; fromPort < 40_025; fromPort++) {
      const from = ['vpc.a.web', 'vpc.a.web2', 'vpc.b.pub'];
      const seen = await Promise.all(from.map((ns) => out(ns, { proto: 'udp', port: 53, fromPort })));
      expect(seen).toMatchObject(from.map(() => ({ ok: true })));
      expect(new Set(seen.map(({ seenPort }) => seenPort)).size).toBe(3);
    }
  });

  test('a public address of another VPC and of its own is reached, and sees the gateway’s', async () => {
    const other = await target(host, 'vpc.b.pub', '198.51.100.20', 80);
    await reaches(host, APP, other, NAT_PUBLIC);
    const own = await target(host, 'vpc.a.web', '198.51.100.10', 80);
    await reaches(host, APP, own, NAT_PUBLIC);
    await reaches(host, APP, { ...own, to: '10.1.1.10' }, '10.1.2.10');
  });

  test('two VPCs of one block have one each', async () => {
    const { a } = network.vpcs;
    await apply({
      vpcs: {
        twin: { ...a, natGateways: { out: { subnet: 'web', ip: NAT_IP } }, instances: { app: a.instances.app } },
      },
    });
    const seen = await Promise.all([APP, 'vpc.twin.app'].map((from) => out(from, { fromPort: 41_000 })));
    expect(seen).toMatchObject([{ ok: true, seenSource: NAT_PUBLIC }, { ok: true }]);
    expect(seen[1]?.seenSource).toMatch(/^198\.51\.100\./);
    expect(seen[1]?.seenSource).not.toBe(NAT_PUBLIC);
  });

  test('errors come back: a closed port, a packet that is too large further on, a hop limit', async () => {
    const closed = await out(APP, { proto: 'udp', port: 9 });
    expect(closed).toMatchObject({ ok: false, reason: 'refused' });
    const large = { proto: 'icmp', to: INTERNET_SERVER, size: 1_450, dontFragment: true } as const;
    expect(await host.probe(APP, large)).toMatchObject({ ok: true });
    await ipDo(['link', 'set', UPLINK, 'mtu', '1400']);
    try {
      expect(await host.probe(APP, large)).toMatchObject({ ok: false, reason: 'too-big' });
      // What it was told of, it keeps to.
      expect(await must(APP, ['ip', 'route', 'get', INTERNET_SERVER])).toMatch(/mtu 1400/);
      const talk = await host.connect(APP, INTERNET_SERVER, 80);
      expect(await talk.exchange()).toEqual({ ok: true });
      await talk.close();
    } finally {
      await ipDo(['link', 'set', UPLINK, 'mtu', '1500']);
    }
    // The NAT gateway is a hop: router, gateway, router, edge.
    const hop = async (ttl: number) =>
      (await must(APP, ['sh', '-c', `ping -n -c1 -W1 -t ${ttl} ${INTERNET_SERVER} || true`])).split('\n')[1] ?? '';
    expect(await hop(2)).toMatch(new RegExp(`^From ${NAT_IP.replaceAll('.', '\\.')} .*Time to live exceeded`));
    expect(await hop(5)).toMatch(/Time to live exceeded/);
  });

  test('deleted, it leaves a black hole, and made again, all is as before', async () => {
    await reaches(host, APP, server, NAT_PUBLIC);
    const before = await witness();
    const talk = await host.connect(APP, INTERNET_SERVER, 80);
    await host.leave(NAT);
    await vpcctl('delete-nat-gateway --vpc a --name out');
    expect(await ip(['route', 'show', 'table', '100'], ROUTER)).toMatchObject([{ type: 'blackhole', dst: 'default' }]);
    expect((await host.vpcctlOk(['show', 'a'])).stdout).toMatch(/black hole/);
    const sent = await counter(ROUTER, 'uplink');
    expect(await talk.exchange(300)).toMatchObject({ ok: false });
    await isKeptFrom(host, APP, server);
    expect((await counter(ROUTER, 'uplink')).txPackets).toBe(sent.txPackets);
    await reaches(host, 'vpc.a.web', server, '198.51.100.10');
    expect((await counter(ROUTER, 'uplink')).txPackets).toBeGreaterThan(sent.txPackets);
    await expectNoDrift();
    await vpcctl(`create-nat-gateway --vpc a --subnet web --name out --ip ${NAT_IP} --elastic-ip out`);
    await reaches(host, APP, server, NAT_PUBLIC);
    await expectWitness(before);
  });

  test('when each port of a class is taken towards one destination, a new connection is dropped; towards others it is not', async () => {
    for (const port of [53, 54]) await host.listener(INTERNET, 'udp', port);
    // The kernel keeps a source port below 512 among those: 511 of them for each destination. The last free ones it does not find at once.
    const program = `import socket
for port in range(1, 512):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(('', port))
    s.settimeout(0.1)
    for left in range(99, -1, -1):
        s.sendto(b'x', ('${INTERNET_SERVER}', 53))
        try:
            s.recv(999)
            break
        except TimeoutError:
            if left == 0: raise`;
    await must(APP, ['python3', '-c', program]);
    const dropped = async () =>
      Object.fromEntries(
        (await must(NAT, ['cat', '/proc/net/stat/nf_conntrack']))
          .trim()
          .split('\n')
          .map((line) => line.trim().split(/\s+/))
          .reduce<[string, number][]>(
            (sums, row, at) =>
              at === 0
                ? row.map((name) => [name, 0])
                : sums.map(([name, sum], column) => [name, sum + Number.parseInt(row[column] ?? '0', 16)]),
            [],
          ),
      );
    const before = await dropped();
    expect(await out(DB, { proto: 'udp', port: 53, fromPort: 7 })).toMatchObject({ ok: false });
    const after = await dropped();
    expect((after.drop ?? 0) + (after.insert_failed ?? 0)).toBeGreaterThan(
      (before.drop ?? 0) + (before.insert_failed ?? 0),
    );
    expect(await out(DB, { proto: 'udp', port: 54, fromPort: 7 })).toMatchObject({ ok: true, seenSource: NAT_PUBLIC });
    expect(await out(DB, { proto: 'udp', port: 53 })).toMatchObject({ ok: true, seenSource: NAT_PUBLIC });
  });
});

// Prints what docs/adr/0025-nat-gateways-are-namespaces.md has a table of.
test.runIf(process.env.VPCCTL_TEST_EVERY === '1')('what the second hop costs', { timeout: 120_000 }, async () => {
  const serve = `import socket, threading
listener = socket.create_server(('0.0.0.0', 7), backlog=512)
def serve(s):
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while (data := s.recv(65536)): s.sendall(data)
    s.close()
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()`;
  const ask = `import socket, threading, time
server = ('${INTERNET_SERVER}', 7)
s = socket.create_connection(server)
s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
def each(count, one):
    begun = time.perf_counter()
    for _ in range(count): one()
    return (time.perf_counter() - begun) / count * 1e6
def echo(): s.send(b'x'); s.recv(9)
def new():
    with socket.create_connection(server) as c: c.send(b'x'); c.recv(9)
each(200, echo)
trip, made = each(5000, echo), each(500, new)
size = 3000 * 65536
begun = time.perf_counter()
threading.Thread(target=lambda: s.sendall(bytes(size))).start()
while size > 0: size -= len(s.recv(1 << 20))
rate = 3000 * 65536 * 8 / (time.perf_counter() - begun) / 1e9
print(f'round trip {trip:.1f} us, connection {made:.0f} us, {rate:.1f} Gbit/s')`;
  const echo = execa('ip', ['netns', 'exec', INTERNET, 'python3', '-c', serve], { reject: false });
  await sleep(500);
  for (let round = 0; round < 7; round += 1) {
    for (const from of ['vpc.a.web', APP]) console.log(from, (await must(from, ['python3', '-c', ask])).trim());
  }
  echo.kill();
  await echo;
});

describe('a route table', () => {
  test('of its own, without a default: nothing leaves', async () => {
    const before = await counter(ROUTER, 'uplink');
    await isKeptFrom(host, ISO, server);
    await doesNotPing(host, ISO, INTERNET_SERVER);
    expect(await counter(ROUTER, 'uplink')).toEqual(before);
    await pings(host, APP, INTERNET_SERVER);
    expect((await counter(ROUTER, 'uplink')).txPackets).toBeGreaterThan(before.txPackets);
    // What is local is, with every table.
    await reaches(host, ISO, await target(host, APP, '10.1.2.10', 80), '10.1.4.10');
  });

  test('the most specific route wins, and another target takes effect at once', async () => {
    await vpcctl(`create-route --vpc a --destination ${INTERNET_SERVER}/32 --target blackhole`);
    await isKeptFrom(host, APP, server);
    await reaches(host, APP, { ...server, to: INTERNET_GATEWAY }, NAT_PUBLIC);
    await vpcctl(`delete-route --vpc a --destination ${INTERNET_SERVER}/32`);
    await reaches(host, APP, server, NAT_PUBLIC);
    await vpcctl('associate-route-table --vpc a --subnet app --table iso');
    await isKeptFrom(host, APP, server);
    await reaches(host, DB, server, NAT_PUBLIC);
    await vpcctl('create-route --vpc a --table iso --destination 0.0.0.0/0 --target nat:out');
    await reaches(host, APP, server, NAT_PUBLIC);
    await vpcctl('associate-route-table --vpc a --subnet app');
    await reaches(host, APP, server, NAT_PUBLIC);
  });

  test('an elastic address in a private subnet works once a route leads to the internet gateway', async () => {
    await vpcctl('associate-address --name moving --vpc a --instance iso');
    const inside = await target(host, ISO, '10.1.4.10', 80);
    await isKeptFrom(host, INTERNET, inside, '198.51.100.50');
    await vpcctl('create-route --vpc a --table iso --destination 0.0.0.0/0 --target internet-gateway');
    await reaches(host, INTERNET, { ...inside, to: '198.51.100.50' });
    await reaches(host, ISO, server, '198.51.100.50');
  });
});

describe('a peering with manual routes', () => {
  const toB = 'create-route --vpc a --destination 10.2.0.0/16 --target peer:b';
  const toA = 'create-route --vpc b --table public --destination 10.1.0.0/16 --target peer:a';

  test('passes nothing until both sides have a route, and nothing once one is gone', async () => {
    const b = [
      await target(host, 'vpc.b.pub', '10.2.1.10', 80),
      await target(host, 'vpc.b.pub', '10.2.1.10', 80, 'udp'),
    ];
    const a = await target(host, APP, '10.1.2.10', 80);
    const apart = () => areKeptApart(host, [...b.map((at) => [APP, at] as const), ['vpc.b.pub', a]]);
    await apart();
    await vpcctl(toB);
    // What is asked arrives, as in the cloud; no answer comes back.
    for (const { to, port, proto } of b) expect(await answers(host, APP, { to, port, proto })).toBe(false);
    expect(await answers(host, 'vpc.b.pub', { to: a.to, port: a.port, proto: a.proto })).toBe(false);
    expect((await b[1]?.listener.seen())?.some(({ peer }) => peer === '10.1.2.10')).toBe(true);
    await vpcctl(toA);
    for (const at of b) await reaches(host, APP, at, '10.1.2.10');
    await reaches(host, 'vpc.b.pub', a, '10.2.1.10');
    // Another table of either has no such route.
    await areKeptApart(host, [
      [ISO, b[0] as Target],
      ['vpc.b.priv', a],
    ]);
    await vpcctl('delete-route --vpc a --destination 10.2.0.0/16');
    await apart();
    await vpcctl(toB);
    await reaches(host, APP, b[0] as Target);
    await vpcctl('unpeer-vpcs --vpc1 a --vpc2 b');
    await apart();
    expect(await ip(['route', 'show', '10.2.0.0/16', 'table', '100'], ROUTER)).toMatchObject([{ type: 'blackhole' }]);
    await expectNoDrift();
    await vpcctl('peer-vpcs --vpc1 a --vpc2 b --routes manual');
    await reaches(host, APP, b[0] as Target);
  });

  test('a private NAT gateway: the peer sees its address, and needs a way to that only', async () => {
    await vpcctl('create-route-table --vpc a --name peers');
    await vpcctl('create-route --vpc a --table peers --destination 10.2.0.0/16 --target peer:b');
    await vpcctl('add-subnet --vpc a --subnet nat --cidr 10.1.5.0/24 --no-instance');
    await vpcctl('associate-route-table --vpc a --subnet nat --table peers');
    await vpcctl('create-nat-gateway --vpc a --subnet nat --name inner --ip 10.1.5.200 --private');
    await vpcctl('create-route --vpc a --destination 10.2.0.0/16 --target nat:inner');
    const b = await target(host, 'vpc.b.pub', '10.2.1.10', 80);
    await isKeptFrom(host, APP, b);
    await vpcctl('create-route --vpc b --table public --destination 10.1.5.0/24 --target peer:a');
    await reaches(host, APP, b, '10.1.5.200');
    await reaches(host, DB, b, '10.1.5.200');
    await reaches(host, APP, server, NAT_PUBLIC);
    const a = await target(host, APP, '10.1.2.10', 80);
    await areKeptApart(host, [
      ['vpc.b.pub', a],
      ['vpc.b.pub', a, '10.1.5.200'],
    ]);
  });
});

describe('an elastic address', () => {
  test('moves: its old owner’s connections end, others’ go on', async () => {
    await vpcctl('associate-address --name moving --vpc a --instance web');
    await host.listener('vpc.a.web', 'tcp', 80, { reply: 'web' });
    await host.listener('vpc.b.pub', 'tcp', 80, { reply: 'pub' });
    await host.listener('vpc.a.web2', 'tcp', 80, { reply: 'web2' });
    const moving = { proto: 'tcp', to: '198.51.100.50', port: 80 } as const;
    expect(await host.probe(INTERNET, moving)).toMatchObject({ ok: true, reply: 'web' });
    expect(await out('vpc.a.web')).toMatchObject({ ok: true, seenSource: '198.51.100.50' });
    const [lost, own, third, natted] = await Promise.all([
      host.connect(INTERNET, '198.51.100.50', 80),
      host.connect('vpc.a.web', INTERNET_SERVER, 80),
      host.connect(INTERNET, '198.51.100.11', 80),
      host.connect(APP, INTERNET_SERVER, 80),
    ]);
    await vpcctl('associate-address --name moving --vpc b --instance pub');
    expect(await third.exchange()).toEqual({ ok: true });
    expect(await natted.exchange()).toEqual({ ok: true });
    expect(await lost.exchange(500)).toMatchObject({ ok: false });
    expect(await own.exchange(500)).toMatchObject({ ok: false });
    expect(await host.probe(INTERNET, moving)).toMatchObject({ ok: true, reply: 'pub' });
    expect(await out('vpc.b.pub')).toMatchObject({ ok: true, seenSource: '198.51.100.50' });
    expect(await answers(host, 'vpc.a.web', { proto: 'tcp', to: INTERNET_SERVER, port: 80 })).toBe(false);
    // The address that it had before is free.
    expect(await answers(host, INTERNET, { proto: 'tcp', to: '198.51.100.20', port: 80 })).toBe(false);
    await vpcctl('disassociate-address --name moving');
    expect(await answers(host, INTERNET, moving)).toBe(false);
    expect(await third.exchange()).toEqual({ ok: true });
  });
});

describe('root in a workload', () => {
  /** Packets that the router dropped because no way leads back to their source. */
  async function spoofed(): Promise<number> {
    const [names = [], values = []] = (await must(ROUTER, ['cat', '/proc/net/netstat']))
      .split('\n')
      .filter((line) => line.startsWith('TcpExt:'))
      .map((line) => line.split(' '));
    return Number(values[names.indexOf('IPReversePathFilter')]);
  }

  test('gets nothing of a NAT gateway by its address, by routes of his own, or by its source address', async () => {
    const uplink = async () => (await counter(ROUTER, 'uplink')).txPackets;
    const before = await uplink();
    const input = async () =>
      Number(/counter packets (\d+)/.exec(await must(NAT, ['nft', 'list', 'chain', 'inet', 'vpcctl', 'input']))?.[1]);
    const refused = await input();
    for (const proto of ['tcp', 'udp'] as const) {
      expect(await answers(host, ISO, { proto, to: NAT_IP, port: 80 })).toBe(false);
    }
    await doesNotPing(host, ISO, NAT_IP);
    expect(await input()).toBeGreaterThanOrEqual(refused + 3);

    // By the gateway, as if it were his next hop.
    await ipDo(['neigh', 'replace', NAT_IP, 'lladdr', '06:76:70:63:00:01', 'dev', 'eth0'], ISO);
    await ipDo(['route', 'replace', 'default', 'via', NAT_IP, 'dev', 'eth0', 'onlink'], ISO);
    await isKeptFrom(host, ISO, server);
    expect(await uplink()).toBe(before);

    // With its source address, and with one behind it.
    await ipDo(['addr', 'add', `${NAT_IP}/32`, 'dev', 'eth0'], ISO);
    await ipDo(['addr', 'add', '10.1.2.10/32', 'dev', 'eth0'], ISO);
    await ipDo(['addr', 'add', `${INTERNET_SERVER}/32`, 'dev', 'eth0'], ISO);
    const inside = await target(host, 'vpc.a.web', '10.1.1.10', 81, 'udp');
    expect(await host.probe(ISO, { ...inside, from: '10.1.4.10' })).toMatchObject({ ok: true });
    const was = await spoofed();
    for (const from of [NAT_IP, '10.1.2.10', INTERNET_SERVER]) {
      expect(await answers(host, ISO, { proto: 'udp', to: '10.1.1.10', port: 81, from })).toBe(false);
      expect(await answers(host, ISO, { proto: 'udp', to: INTERNET_GATEWAY, port: 81, from })).toBe(false);
    }
    // A packet that no route leads on, as the last one, is dropped before its source is looked at.
    expect(await spoofed()).toBe(was + 5);
    expect(await inside.listener.seen()).toHaveLength(1);
    expect(await uplink()).toBe(before);
    await reaches(host, APP, server, NAT_PUBLIC);
    await vpcctl('repair --yes');
  });

  test('is not let out by a loose source route through the gateway', async () => {
    // A UDP datagram to the gateway with an option that has it sent on to the server.
    const program = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_OPTIONS, bytes([131, 7, 4]) + socket.inet_aton('${INTERNET_SERVER}') + b'\\x00')
s.sendto(b'x', ('${NAT_IP}', 53))`;
    const listener = await host.listener(INTERNET, 'udp', 53);
    expect(await out(APP, { proto: 'udp', port: 53 })).toMatchObject({ ok: true });
    const before = await counter(ROUTER, 'uplink');
    const port = await counter(ISO, 'eth0');
    await must(ISO, ['python3', '-c', program]);
    expect((await counter(ISO, 'eth0')).txPackets).toBeGreaterThan(port.txPackets);
    expect((await counter(ROUTER, 'uplink')).txPackets).toBe(before.txPackets);
    expect(await listener.seen()).toHaveLength(1);
  });
});

test('two gateways that lead to each other: a packet ends by its hop limit', async () => {
  await vpcctl('add-subnet --vpc a --subnet left --cidr 10.1.6.0/24 --no-instance');
  await vpcctl('add-subnet --vpc a --subnet right --cidr 10.1.7.0/24 --no-instance');
  for (const [subnet, other] of [
    ['left', 'right'],
    ['right', 'left'],
  ]) {
    await vpcctl(`create-nat-gateway --vpc a --subnet ${subnet} --name ${subnet} --private`);
    await vpcctl(`create-route-table --vpc a --name ${other}`);
    await vpcctl(`create-route --vpc a --table ${other} --destination 203.0.113.0/24 --target nat:${subnet}`);
  }
  for (const subnet of ['left', 'right']) {
    await vpcctl(`associate-route-table --vpc a --subnet ${subnet} --table ${subnet}`);
  }
  await vpcctl('create-route --vpc a --table iso --destination 203.0.113.0/24 --target nat:left');
  const before = await counter(ISO, 'eth0');
  const listing = await ip<{ ifname: string }>(['link', 'show'], ROUTER);
  expect(listing.length).toBeGreaterThan(0);
  const passed = async () => (await counter('vpc.a.nat.left', 'eth0')).rxPackets;
  const was = await passed();
  expect(await out(ISO, { proto: 'udp', port: 53, timeoutMs: 500 })).toMatchObject({ ok: false });
  const sent = (await counter(ISO, 'eth0')).txPackets - before.txPackets;
  expect(sent).toBeGreaterThan(0);
  expect((await passed()) - was).toBeLessThan(64 * sent);
});

test('drift tells, and repair puts back: a route, a rule, a namespace; the connection of another subnet goes on', async () => {
  const before = await witness();
  const talk = await host.connect('vpc.a.web', INTERNET_SERVER, 80);
  await ipDo(['route', 'del', 'default', 'table', '100'], ROUTER);
  await ipDo(['rule', 'del', 'priority', '33000', 'from', '10.1.4.0/24'], ROUTER);
  await ipDo(['netns', 'del', NAT]);
  const drift = await host.vpcctl(['drift']);
  expect(drift.exitCode).toBe(8);
  expect(drift.stdout).toMatch(/^missing {2}nat gateway a\/out: its namespace vpc\.a\.nat\.out is missing/m);
  expect(drift.stdout).toMatch(/^missing {2}subnet a\/iso: the rule that leads it to its route table is missing/m);
  await vpcctl('repair --yes');
  await expectNoDrift();
  await reaches(host, APP, server, NAT_PUBLIC);
  await isKeptFrom(host, ISO, server);
  expect(await talk.exchange()).toEqual({ ok: true });
  await expectWitness(before);

  await ipDo(['route', 'replace', 'blackhole', 'default', 'table', '100'], ROUTER);
  await ipDo(['route', 'add', '203.0.113.99/32', 'via', '10.1.1.1', 'dev', 'eth0', 'onlink'], NAT);
  await must(NAT, ['nft', 'flush', 'chain', 'inet', 'vpcctl', 'forward']);
  const more = (await host.vpcctl(['drift'])).stdout;
  expect(more).toMatch(/^changed {2}route table a\/main: the route to everywhere else /m);
  expect(more).toMatch(/^missing {2}nat gateway a\/out: the firewall's chain forward was changed$/m);
  expect(more).toMatch(/^foreign {2}nat gateway a\/out: route to 203\.0\.113\.99\/32 is not ours$/m);
  await vpcctl('repair --yes').catch(() => undefined);
  await ipDo(['route', 'del', '203.0.113.99/32'], NAT);
  await expectNoDrift();
  await reaches(host, APP, server, NAT_PUBLIC);
});
