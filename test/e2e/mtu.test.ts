/** Packets that are too large for a part of their way: what is heard of them, and that nothing hangs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { INTERNET, INTERNET_SERVER, TestHost, UPLINK } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { inNetns, ip, ipDo, must, netnsArgv } from '../harness/witness.js';
import { destroyAll, expectHostAsBefore, settled } from './support.js';

const TRANSFER = fileURLToPath(new URL('../harness/transfer.mjs', import.meta.url));
const PORT = 5001;
const BIG_MTU = 9001;
const MTU = 1500;
const BYTES = 2_000_000;

/** Of `big` no group lets anything in: what it hears, it hears as what belongs to its connections. */
const shut = { ingress: [] };
const open = { ingress: [{}] };
const BIG = {
  big: {
    cidr: '10.1.0.0/16',
    ipv6Cidr: 'fd76:7063:6301:100::/56',
    subnets: {
      web: { cidr: '10.1.1.0/24', public: true },
      app: { cidr: '10.1.2.0/24', ipv6Cidr: 'fd76:7063:6301:101::/64' },
      hidden: { cidr: '10.1.3.0/24' },
      narrow: { cidr: '10.1.4.0/24', public: true },
    },
    securityGroups: { default: shut },
    natGateways: { out: { subnet: 'web' }, within: { subnet: 'web', ip: '10.1.1.200', connectivity: 'private' } },
    instances: {
      web: { subnet: 'web', ip: '10.1.1.10' },
      app: { subnet: 'app', ip: '10.1.2.10' },
      hidden: { subnet: 'hidden', ip: '10.1.3.10' },
      narrow: { subnet: 'narrow', ip: '10.1.4.10' },
    },
  },
};
const SMALL = {
  small: {
    cidr: '10.2.0.0/16',
    ipv6Cidr: 'fd76:7063:6302:100::/56',
    subnets: { s: { cidr: '10.2.1.0/24', ipv6Cidr: 'fd76:7063:6302:101::/64' } },
    securityGroups: { default: open },
    instances: { one: { subnet: 's', ip: '10.2.1.10', ipv6: 'fd76:7063:6302:101::10' } },
  },
  far: {
    cidr: '10.3.0.0/16',
    ipv6Cidr: 'fd76:7063:6303:100::/56',
    subnets: { s: { cidr: '10.3.1.0/24', ipv6Cidr: 'fd76:7063:6303:101::/64' } },
    securityGroups: { default: open },
    instances: {
      one: { subnet: 's', ip: '10.3.1.10', ipv6: 'fd76:7063:6303:101::10' },
      two: { subnet: 's', ip: '10.3.1.11', ipv6: 'fd76:7063:6303:101::11' },
      liar: { subnet: 's', ip: '10.3.1.12', ipv6: 'fd76:7063:6303:101::12' },
    },
  },
};
const WAYS = {
  vpcs: {
    big: {
      ...BIG.big,
      subnets: {
        web: { cidr: '10.1.1.0/24', public: true },
        app: { ...BIG.big.subnets.app, routeTable: 'app' },
        hidden: { cidr: '10.1.3.0/24', routeTable: 'hidden' },
        narrow: { cidr: '10.1.4.0/24', public: true, routeTable: 'narrow' },
      },
      routeTables: {
        app: { routes: [{ destination: '0.0.0.0/0', target: { natGateway: 'out' } }] },
        hidden: {
          routes: [
            { destination: '10.2.0.0/16', target: { natGateway: 'within' } },
            { destination: `${INTERNET_SERVER}/32`, target: { natGateway: 'out' } },
          ],
        },
        narrow: { routes: [{ destination: `${INTERNET_SERVER}/32`, target: 'internet-gateway' }] },
        main: { routes: [] },
      },
    },
    ...SMALL,
  },
};

const WEB = 'vpc.big.web';
const APP = 'vpc.big.app';
const HIDDEN = 'vpc.big.hidden';
const NARROW = 'vpc.big.narrow';
const ONE = 'vpc.small.one';
const FAR = 'vpc.far.one';
const ONE_IP = '10.2.1.10';
const FAR_IP = '10.3.1.10';
const ONE_IP6 = 'fd76:7063:6302:101::10';
const FAR_IP6 = 'fd76:7063:6303:101::10';

/** Datagrams from one address and port to another, until stdin ends: `ready` when the first is on its way. */
const ASK = `
import socket, sys
src, dst = sys.argv[1:]
s = socket.socket(socket.AF_INET6 if ':' in src else socket.AF_INET, socket.SOCK_DGRAM)
s.bind((src, 4000)); s.connect((dst, 4001)); s.send(b'x')
print('ready', flush=True); sys.stdin.read()`;

/** That a datagram of these was too large. */
const LIE = `
import socket, struct, sys
src, dst, mtu = sys.argv[1], sys.argv[2], int(sys.argv[3])
udp = struct.pack('!4H', 4000, 4001, 9, 0)
if ':' in src:
    pack = lambda ip: socket.inet_pton(socket.AF_INET6, ip)
    s = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    s.sendto(struct.pack('!BBHI', 2, 0, 0, mtu) + struct.pack('!IHBB', 6 << 28, 9, 17, 64) + pack(src) + pack(dst) + udp, (src, 0))
else:
    s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    inner = struct.pack('!BBHHHBBH', 0x45, 0, 29, 1, 0x4000, 64, 17, 0) + socket.inet_aton(src) + socket.inet_aton(dst) + udp
    data = struct.pack('!BBHHH', 3, 4, 0, 0, mtu) + inner
    n = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while n >> 16: n = (n & 0xffff) + (n >> 16)
    s.sendto(data[:2] + struct.pack('!H', ~n & 0xffff) + data[4:], (src, 0))`;

let host: TestHost;
let temp: string;
let pristine: HostState;
const receivers: ChildProcess[] = [];

async function apply(spec: unknown): Promise<void> {
  const file = join(temp, 'spec.json');
  writeFileSync(file, JSON.stringify(spec));
  await host.vpcctlOk(['apply', file, '--yes']);
}

async function receive(ns: string): Promise<void> {
  const [program = '', ...args] = netnsArgv(ns, [process.execPath, TRANSFER, 'receive', String(PORT)]);
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  receivers.push(child);
  await once(child.stdout, 'data');
}

/** Sends so much that a connection whose large segments are lost would hang. */
async function transfers(from: string, to: string): Promise<void> {
  const told = await must(from, [process.execPath, TRANSFER, 'bytes', to, String(PORT), String(BYTES)], {
    timeoutMs: 15_000,
  });
  expect(JSON.parse(told).bytes).toBeGreaterThan(BYTES / 2);
}

/** What a workload was told of the MTU of ways. */
async function forget(ns: string): Promise<void> {
  for (const family of ['-4', '-6']) await must(ns, ['ip', family, 'route', 'flush', 'cache']);
}

/** A packet of this size that may not be cut is answered by an error, not by silence; what fits is answered. */
async function hearsTooBig(from: string, to: string, mtu: number): Promise<void> {
  const headers = to.includes(':') ? 48 : 28;
  const ping = (size: number) =>
    host.probe(from, { proto: 'icmp', to, size: size - headers, dontFragment: true, timeoutMs: 1500 });
  await forget(from);
  expect(await ping(mtu + 1), `${mtu + 1} bytes from ${from} to ${to}`).toMatchObject({ ok: false, reason: 'too-big' });
  expect(await ping(mtu), `${mtu} bytes from ${from} to ${to}`).toMatchObject({ ok: true });
}

/** An end that says it takes more than its way does, so that its MSS says nothing of the way. */
async function claiming<T>(ns: string, link: string, body: () => Promise<T>): Promise<T> {
  await ipDo(['link', 'set', link, 'mtu', String(BIG_MTU)], ns);
  try {
    return await body();
  } finally {
    await ipDo(['link', 'set', link, 'mtu', String(MTU)], ns);
  }
}

const mtuOf = async (ns: string, link: string): Promise<number | undefined> =>
  (await ip<{ mtu: number }>(['link', 'show', 'dev', link], ns))[0]?.mtu;

beforeAll(async () => {
  host = await TestHost.create({ routedToHost: ['198.51.100.0/24'] });
  pristine = await settled(host);
  temp = mkdtempSync(join(tmpdir(), 'vpcctl-mtu-'));
  // A VPC gets the MTU that the uplink has when it is made.
  await ipDo(['link', 'set', UPLINK, 'mtu', String(BIG_MTU)]);
  await apply({ settings: { poolRouted: true }, vpcs: BIG });
  await ipDo(['link', 'set', UPLINK, 'mtu', String(MTU)]);
  await apply({
    ...WAYS,
    settings: { poolRouted: true },
    peerings: [{ vpcs: ['big', 'small'] }],
    transitGateways: { core: { attachments: { big: {}, far: {} } } },
  });
  for (const [vpc, table, destination] of [
    ['big', 'app', '10.3.0.0/16'],
    ['big', 'app', 'fd76:7063:6303:100::/56'],
    ['far', 'main', '10.1.0.0/16'],
    ['far', 'main', 'fd76:7063:6301:100::/56'],
  ] as const) {
    const at = ['--vpc', vpc, '--table', table, '--destination', destination];
    await host.vpcctlOk(['create-route', ...at, '--target', 'tgw:core']);
  }
  for (const ns of [ONE, FAR, INTERNET]) await receive(ns);
});

afterAll(async () => {
  for (const child of receivers) {
    child.stdin?.end();
    if (child.exitCode === null) await once(child, 'exit');
  }
  await destroyAll(host);
  rmSync(temp, { recursive: true, force: true });
  await expectHostAsBefore(host, pristine);
  await host.close();
});

test('a VPC has the MTU of the uplink when it was made; a link between two that of the smaller', async () => {
  expect(await mtuOf(WEB, 'eth0')).toBe(BIG_MTU);
  expect(await mtuOf('vpc.big', 'uplink')).toBe(BIG_MTU);
  expect(await mtuOf(ONE, 'eth0')).toBe(MTU);
  expect(await mtuOf('vpc.big', 'peer-small')).toBe(MTU);
  expect(await mtuOf('vpc.big', 'tgw-core')).toBe(8500);
  expect(await mtuOf('vpc.far', 'tgw-core')).toBe(MTU);
});

describe('the sender hears of it, though none of its groups lets anything in', () => {
  test('towards a peer of a smaller MTU', async () => {
    await hearsTooBig(APP, ONE_IP, MTU);
    await claiming(ONE, 'eth0', () => transfers(APP, ONE_IP));
  });

  test('towards the internet, by its public address', async () => {
    await hearsTooBig(WEB, INTERNET_SERVER, MTU);
    await claiming(INTERNET, UPLINK, () => transfers(WEB, INTERNET_SERVER));
  });

  test('behind a NAT gateway, towards the internet', async () => {
    await hearsTooBig(APP, INTERNET_SERVER, MTU);
    await claiming(INTERNET, UPLINK, () => transfers(APP, INTERNET_SERVER));
  });

  test('by a route that leads to nobody but the server, whoever on the way finds it too large', async () => {
    await hearsTooBig(NARROW, INTERNET_SERVER, MTU);
    await claiming(INTERNET, UPLINK, () => transfers(NARROW, INTERNET_SERVER));
    await hearsTooBig(HIDDEN, INTERNET_SERVER, MTU);
    await claiming(INTERNET, UPLINK, () => transfers(HIDDEN, INTERNET_SERVER));
  });

  test('behind a private NAT gateway, towards a peer of a smaller MTU: from the gateway', async () => {
    await hearsTooBig(HIDDEN, ONE_IP, MTU);
    await forget(HIDDEN);
    const { stdout } = await inNetns(HIDDEN, ['ping', '-n', '-c1', '-W1', '-M', 'do', '-s', '3000', ONE_IP]);
    expect(stdout).toMatch(/^From 10\.1\.1\.200 .*Frag needed.*mtu = 1500/m);
    await claiming(ONE, 'eth0', () => transfers(HIDDEN, ONE_IP));
  });

  test('through a transit gateway, which lets 8500 bytes pass, towards a VPC of a smaller MTU', async () => {
    await hearsTooBig(APP, FAR_IP, MTU);
    await transfers(APP, FAR_IP);
  });

  test('of IPv6, towards a peer of a smaller MTU: from the router', async () => {
    await hearsTooBig(APP, ONE_IP6, MTU);
    await forget(APP);
    const { stdout } = await inNetns(APP, ['ping', '-n', '-c1', '-W1', '-M', 'do', '-s', '3000', ONE_IP6]);
    expect(stdout).toMatch(/^From fd76:7063:6301:101::1 .*Packet too big: mtu=1500/m);
    await claiming(ONE, 'eth0', () => transfers(APP, ONE_IP6));
  });

  test('of IPv6, through a transit gateway: from the router above 8500 bytes, and from the gateway above what is behind it', async () => {
    await hearsTooBig(APP, FAR_IP6, MTU);
    const from = async (size: number): Promise<string> => {
      await forget(APP);
      return (await inNetns(APP, ['ping', '-n', '-c1', '-W1', '-M', 'do', '-s', String(size - 48), FAR_IP6])).stdout;
    };
    expect(await from(8501)).toMatch(/^From fd76:7063:6301:101::1 .*Packet too big: mtu=8500/m);
    expect(await from(8500)).toMatch(/^From fec0::7 .*Packet too big: mtu=1500/m);
    await transfers(APP, FAR_IP6);
  });
});

test('a network ACL keeps it away, unless a rule of it is for ICMPv6 of type 2', async () => {
  const all = { number: 100, action: 'allow', protocol: 'icmpv6', cidr: '::/0' };
  const acl = async (...types: number[]) => {
    const ingress = types.map((icmpType) => ({ ...all, number: 100 + icmpType, icmpType }));
    await host.vpcctlOk(['put-network-acl', '--vpc', 'big', '--name', 'some', '--rules', '-'], {
      input: JSON.stringify({ ingress, egress: [all] }),
    });
  };
  const large = { proto: 'icmp', to: FAR_IP6, size: 3000, dontFragment: true, timeoutMs: 500 } as const;
  await host.vpcctlOk(['create-network-acl', '--vpc', 'big', '--name', 'some']);
  await acl(129);
  await host.vpcctlOk(['associate-network-acl', '--vpc', 'big', '--subnet', 'app', '--acl', 'some']);
  try {
    await forget(APP);
    expect(await host.probe(APP, { ...large, size: 56 })).toMatchObject({ ok: true });
    expect(await host.probe(APP, large)).toMatchObject({ ok: false, reason: 'timeout' });
    await acl(129, 2);
    expect(await host.probe(APP, large)).toMatchObject({ ok: false, reason: 'too-big' });
  } finally {
    await host.vpcctlOk(['associate-network-acl', '--vpc', 'big', '--subnet', 'app']);
  }
});

test.each([
  ['IPv4', FAR_IP, MTU - 40],
  ['IPv6', FAR_IP6, MTU - 60],
])('a transit gateway sees to it that neither end of a TCP connection sends too much: %s', async (_, to, mss) => {
  // Each end's own firewall counts what it is told of the other.
  const told = async (ns: string) => {
    await must(ns, ['nft', 'add', 'table', 'inet', 'told']);
    await must(ns, ['nft', 'add', 'chain', 'inet', 'told', 'in', '{ type filter hook input priority 0; }']);
    const rule = `tcp flags & syn == syn tcp option maxseg size ${mss} counter`;
    await must(ns, ['nft', 'add', 'rule', 'inet', 'told', 'in', rule]);
  };
  const counted = async (ns: string) =>
    Number(/packets ([0-9]+)/.exec(await must(ns, ['nft', 'list', 'table', 'inet', 'told']))?.[1]);
  await told(FAR);
  await told(APP);
  try {
    // One that says it takes 9001 bytes is said to take what its way does, and so is who asks.
    await claiming(FAR, 'eth0', () => transfers(APP, to));
    expect([await counted(FAR), await counted(APP)]).toEqual([1, 1]);
  } finally {
    for (const ns of [FAR, APP]) await must(ns, ['nft', 'delete', 'table', 'inet', 'told']);
  }
});

describe('whom nobody sent anything to', () => {
  test.each([
    ['IPv4', FAR_IP, '10.3.1.11'],
    ['IPv6', FAR_IP6, 'fd76:7063:6303:101::11'],
  ])('makes nobody’s packets small; who was sent them does: %s', async (_, asker, asked) => {
    const [program = '', ...args] = netnsArgv(FAR, ['python3', '-c', ASK, asker, asked]);
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child.stdout, 'data');
    const known = () => must(FAR, ['ip', 'route', 'get', asked]);
    try {
      await forget(FAR);
      await must('vpc.far.liar', ['python3', '-c', LIE, asker, asked, '1300']);
      await host.probe('vpc.far.liar', { proto: 'icmp', to: asker });
      expect(await known()).not.toContain('mtu');
      await must('vpc.far.two', ['python3', '-c', LIE, asker, asked, '1300']);
      await expect.poll(known).toContain('mtu 1300');
    } finally {
      child.stdin.end();
      await once(child, 'exit');
      await forget(FAR);
    }
  });
});

test('a VPC of a smaller MTU than IPv6 needs is peered with one that has IPv6', async () => {
  const tiny = ['--vpc', 'tiny', '--subnet', 's'];
  await ipDo(['link', 'set', UPLINK, 'mtu', '1000']);
  try {
    await host.vpcctlOk(['create-vpc', '--name', 'tiny', '--cidr', '10.4.0.0/16']);
    await host.vpcctlOk(['add-subnet', ...tiny, '--cidr', '10.4.1.0/24', '--no-instance']);
    await host.vpcctlOk(['put-security-group', '--vpc', 'tiny', '--name', 'open', '--rules', '-'], {
      input: JSON.stringify(open),
    });
    const at = ['--name', 'one', '--ip', '10.4.1.10', '--security-group', 'open', '--bandwidth', '1gbit'];
    await host.vpcctlOk(['add-instance', ...tiny, ...at]);
    await host.vpcctlOk(['peer-vpcs', '--vpc1', 'big', '--vpc2', 'tiny']);
    const to = ['--destination', 'fd76:7063:63ff::/56', '--target', 'peer:tiny'];
    await host.vpcctlOk(['create-route', '--vpc', 'big', '--table', 'app', ...to]);
    await hearsTooBig(APP, '10.4.1.10', 1000);
    expect(await host.probe(APP, { proto: 'icmp', to: 'fd76:7063:63ff::1', timeoutMs: 300 })).toMatchObject({
      ok: false,
    });
    expect((await host.vpcctl(['drift'])).exitCode).toBe(0);
  } finally {
    await ipDo(['link', 'set', UPLINK, 'mtu', String(MTU)]);
    // It had lost its IPv6, and gets a new one.
    await ipDo(['link', 'set', UPLINK, 'addrgenmode', 'none']);
    await ipDo(['-6', 'address', 'flush', 'dev', UPLINK, 'scope', 'link']);
    await host.vpcctlOk(['delete-vpc', '--name', 'tiny', '--force']);
  }
});

test('nothing of it is drift', async () => {
  expect((await host.vpcctl(['drift'])).exitCode).toBe(0);
});
