/**
 * Root inside a workload: whatever it does to its own namespace, it may send and receive no more than the model says. Each
 * refusal stands beside the same packet sent honestly, which arrives; the router's counter tells that the dishonest one was dropped there.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { open, type Vpcctl } from '../../src/index.js';
import { INTERNET_SERVER, type Listener, TestHost, UPLINK } from '../harness/host.js';
import { counter, ip, ipDo, must } from '../harness/witness.js';

const WEB = 'vpc.a.web';
const WEB2 = 'vpc.a.web2';
const DB = 'vpc.a.db';
const ROUTER = 'vpc.a';
const WEB_IP = '10.1.1.10';
const WEB2_IP = '10.1.1.11';
const DB_IP = '10.1.2.10';

let host: TestHost;
let vpcctl: Vpcctl;
let db: Listener;

/** Packets dropped by the source/dest check: no route leads back to where they came from (rp_filter). */
async function spoofed(): Promise<number> {
  const [names = [], values = []] = (await must(ROUTER, ['cat', '/proc/net/netstat']))
    .split('\n')
    .filter((line) => line.startsWith('TcpExt:'))
    .map((line) => line.split(' '));
  return Number(values[names.indexOf('IPReversePathFilter')]);
}

interface Neighbour {
  readonly dst: string;
  readonly dev: string;
  readonly lladdr?: string;
  readonly state: readonly string[];
}

const neighbours = () => ip<Neighbour>(['neigh', 'show'], ROUTER);

/** Sends frames as they are. */
async function send(ns: string, frames: readonly string[]): Promise<void> {
  const before = await counter(ns, 'eth0');
  const program = `import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))
for frame in sys.argv[1:]: s.send(bytes.fromhex(frame))`;
  await must(ns, ['python3', '-c', program, ...frames]);
  expect((await counter(ns, 'eth0')).txPackets - before.txPackets).toBeGreaterThanOrEqual(frames.length);
}

const hex = (address: string): string =>
  address
    .split('.')
    .map((part) => Number(part).toString(16).padStart(2, '0'))
    .join('');

/** An ARP frame (RFC 826) from WEB2's MAC: operation 1 asks, 2 answers. */
function arp(operation: 1 | 2, sender: string, target: string): string {
  const mac = '02760a01010b';
  return `ffffffffffff${mac}0806000108000604000${operation}${mac}${hex(sender)}000000000000${hex(target)}`;
}

beforeAll(async () => {
  host = await TestHost.create({ routedToHost: ['198.51.100.0/24'] });
  vpcctl = await open({ state: host.stateDir });
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
    tx.addSubnet({ vpc: 'a', name: 'web', cidr: '10.1.1.0/24', public: true });
    tx.addSubnet({ vpc: 'a', name: 'db', cidr: '10.1.2.0/24' });
    tx.putSecurityGroup('a', 'web', { ingress: [{ protocol: 'tcp', port: 80 }] });
    // Only web's own address may reach the database.
    tx.putSecurityGroup('a', 'db', { ingress: [{ protocol: 'tcp', port: 5432, from: `${WEB_IP}/32` }] });
    tx.addInstance({ vpc: 'a', subnet: 'web', name: 'web', ip: WEB_IP, securityGroups: ['web'] });
    tx.addInstance({ vpc: 'a', subnet: 'web', name: 'web2', ip: WEB2_IP, securityGroups: ['web'] });
    tx.addInstance({ vpc: 'a', subnet: 'db', name: 'db', ip: DB_IP, securityGroups: ['db'] });
  });
  db = await host.listener(DB, 'tcp', 5432);
  await host.listener(DB, 'udp', 5432);
  await host.listener('internet', 'tcp', 80);
});

afterAll(async () => {
  for (const ns of [WEB, WEB2, DB]) await host.leave(ns);
  await vpcctl.destroy();
  await vpcctl.close();
  await host.close();
});

beforeEach(async () => {
  expect(await host.probe(WEB, { proto: 'tcp', to: DB_IP, port: 5432 })).toMatchObject({
    ok: true,
    seenSource: WEB_IP,
  });
  expect(await host.probe(WEB2, { proto: 'tcp', to: DB_IP, port: 5432, timeoutMs: 300 })).toMatchObject({ ok: false });
});

describe('a workload that lies about itself', () => {
  test("cannot send from a neighbour's address", async () => {
    const before = await spoofed();
    const seen = (await db.seen()).length;
    await ipDo(['addr', 'add', `${WEB_IP}/24`, 'dev', 'eth0'], WEB2);
    try {
      const lie = await host.probe(WEB2, { proto: 'tcp', to: DB_IP, port: 5432, from: WEB_IP, timeoutMs: 500 });
      expect(lie.ok).toBe(false);
      await host.probe(WEB2, { proto: 'udp', to: DB_IP, port: 5432, from: WEB_IP, timeoutMs: 300 });
    } finally {
      await ipDo(['addr', 'del', `${WEB_IP}/24`, 'dev', 'eth0'], WEB2);
    }
    expect(await spoofed()).toBeGreaterThan(before);
    expect(await db.seen()).toHaveLength(seen);
  });

  test("cannot send from a neighbour's address where the host is lax about that", async () => {
    // A namespace is born with the host's settings; the greater counts, for all links or for one.
    const settings = [
      ['rp_filter', '2'],
      ['arp_accept', '1'],
      ['arp_ignore', '1'],
    ] as const;
    const keys = ['all', 'default'].flatMap((which) =>
      settings.map(([key, value]) => [`net/ipv4/conf/${which}/${key}`, value] as const),
    );
    const were = await Promise.all(keys.map(([key]) => host.sysctl('', key)));
    for (const [key, value] of keys) await host.sysctl('', key, value);
    try {
      await vpcctl.transaction((tx) => {
        tx.createVpc({ name: 'lax', cidr: '10.9.0.0/16' });
        tx.addSubnet({ vpc: 'lax', name: 's', cidr: '10.9.1.0/24' });
        tx.putSecurityGroup('lax', 'open', { ingress: [{ protocol: 'udp', port: 53 }] });
        for (const name of ['one', 'two', 'three']) {
          tx.addInstance({ vpc: 'lax', subnet: 's', name, securityGroups: ['open'] });
        }
      });
    } finally {
      for (const [index, [key]] of keys.entries()) await host.sysctl('', key, were[index]);
    }
    const [one = '', three = ''] = ['one', 'three'].map((instance) => vpcctl.instance('lax', { instance }).ip);
    const listener = await host.listener('vpc.lax.three', 'udp', 53);
    const ask = { proto: 'udp', to: three, port: 53, timeoutMs: 300 } as const;
    await ipDo(['addr', 'add', `${one}/24`, 'dev', 'eth0'], 'vpc.lax.two');
    expect(await host.probe('vpc.lax.two', ask)).toMatchObject({ ok: true });
    const seen = (await listener.seen()).length;
    expect(await host.probe('vpc.lax.two', { ...ask, from: one })).toMatchObject({ ok: false });
    expect(await listener.seen()).toHaveLength(seen);
    const before = await ip<Neighbour>(['neigh', 'show'], 'vpc.lax');
    await send('vpc.lax.two', [arp(1, '10.9.1.99', '10.9.1.99'), arp(2, '10.9.1.98', '10.9.1.98')]);
    expect(await ip<Neighbour>(['neigh', 'show'], 'vpc.lax')).toEqual(before);
    await ipDo(['neigh', 'del', '10.9.1.1', 'dev', 'eth0'], 'vpc.lax.two');
    expect(await host.probe('vpc.lax.two', { proto: 'icmp', to: '10.9.1.1' })).toMatchObject({ ok: true });
    for (const name of ['two', 'three']) await host.leave(`vpc.lax.${name}`);
    await vpcctl.transaction((tx) => tx.deleteVpc('lax', { force: true }));
  });

  test('is answered at its own MAC address only', async () => {
    const [link] = await ip<{ address: string }>(['link', 'show', 'eth0'], WEB);
    await ipDo(['link', 'set', 'eth0', 'address', '02:76:0a:01:01:0b'], WEB);
    try {
      expect(await host.probe(WEB, { proto: 'tcp', to: DB_IP, port: 5432, timeoutMs: 500 })).toMatchObject({
        ok: false,
      });
    } finally {
      await ipDo(['link', 'set', 'eth0', 'address', link?.address ?? ''], WEB);
    }
  });

  test('cannot claim an address by ARP, nor fill the table of neighbours', async () => {
    const before = await neighbours();
    expect(before).toContainEqual(expect.objectContaining({ dst: WEB_IP, lladdr: '02:76:0a:01:01:0a' }));
    const strangers = Array.from({ length: 200 }, (_, index) => `10.1.1.${index + 20}`);
    for (const operation of [1, 2] as const) {
      await send(WEB2, [
        arp(operation, WEB_IP, WEB_IP),
        ...[WEB_IP, DB_IP, '10.1.1.1', '203.0.113.7', ...strangers].map((sender) => arp(operation, sender, '10.1.1.1')),
        ...strangers.map((sender) => arp(operation, sender, WEB_IP)),
      ]);
    }
    expect(await neighbours()).toEqual(before);
    const listener = await host.listener(WEB, 'tcp', 80);
    expect(await host.probe('', { proto: 'tcp', to: WEB_IP, port: 80 })).toMatchObject({ ok: true });
    await listener.close();
  });

  test('cannot reach a neighbour past the router, by its MAC address', async () => {
    const listener = await host.listener(WEB, 'tcp', 9999);
    await ipDo(['neigh', 'replace', WEB_IP, 'lladdr', '02:76:0a:01:01:0a', 'dev', 'eth0'], WEB2);
    try {
      expect(await host.probe(WEB, { proto: 'tcp', to: WEB_IP, port: 9999 })).toMatchObject({ ok: true });
      const seen = (await listener.seen()).length;
      expect(await host.probe(WEB2, { proto: 'tcp', to: WEB_IP, port: 9999, timeoutMs: 500 })).toMatchObject({
        ok: false,
      });
      expect(await listener.seen()).toHaveLength(seen);
    } finally {
      await ipDo(['neigh', 'del', WEB_IP, 'dev', 'eth0'], WEB2);
      await listener.close();
    }
  });

  test('is sent nothing that is meant for another', async () => {
    const before = await counter(WEB2, 'eth0');
    expect(await host.probe('', { proto: 'tcp', to: WEB_IP, port: 80 })).toMatchObject({
      ok: false,
      reason: 'refused',
    });
    await send(WEB, ['ffffffffffff02760a01010a88cc'.padEnd(120, '0'), '0180c200000e02760a01010a88cc'.padEnd(120, '0')]);
    expect((await counter(WEB2, 'eth0')).rxPackets - before.rxPackets).toBe(0);
  });

  test('gains nothing by a VLAN of its own', async () => {
    await ipDo(['link', 'add', 'link', 'eth0', 'name', 'eth0.7', 'type', 'vlan', 'id', '7'], WEB).catch(
      (error: unknown) => {
        // Kernels without 8021q have nothing to test here.
        expect(String(error)).toMatch(/not supported|Unknown device type/);
      },
    );
    const [vlan] = await ip(['link', 'show', 'type', 'vlan'], WEB);
    if (vlan === undefined) return;
    const seen = (await db.seen()).length;
    await ipDo(['link', 'set', 'eth0.7', 'up'], WEB);
    await ipDo(['route', 'add', `${DB_IP}/32`, 'via', '10.1.1.1', 'dev', 'eth0.7', 'onlink'], WEB);
    expect(await host.probe(WEB, { proto: 'tcp', to: DB_IP, port: 5432, timeoutMs: 500 })).toMatchObject({ ok: false });
    expect(await db.seen()).toHaveLength(seen);
    await ipDo(['link', 'del', 'eth0.7'], WEB);
  });
});

describe('a private workload that wants out', () => {
  test('puts no packet on the uplink, whatever routes and rules it makes', async () => {
    await ipDo(['addr', 'add', `${WEB_IP}/32`, 'dev', 'eth0'], DB);
    await ipDo(['route', 'add', INTERNET_SERVER, 'via', '10.1.2.1', 'src', WEB_IP], DB);
    await ipDo(['route', 'add', '198.51.100.0/24', 'via', '10.1.2.1'], DB);
    try {
      const edge = await counter(ROUTER, 'uplink');
      const uplink = await counter('', UPLINK);
      for (const from of [DB_IP, WEB_IP]) {
        expect(
          await host.probe(DB, { proto: 'tcp', to: INTERNET_SERVER, port: 80, from, timeoutMs: 300 }),
        ).toMatchObject({ ok: false });
        expect(await host.probe(DB, { proto: 'icmp', to: INTERNET_SERVER, from, timeoutMs: 300 })).toMatchObject({
          ok: false,
        });
      }
      expect((await counter(ROUTER, 'uplink')).txPackets - edge.txPackets).toBe(0);
      expect((await counter('', UPLINK)).txPackets - uplink.txPackets).toBe(0);
      // The same counters see an honest packet.
      expect(await host.probe(WEB, { proto: 'tcp', to: INTERNET_SERVER, port: 80 })).toMatchObject({ ok: true });
      expect((await counter(ROUTER, 'uplink')).txPackets - edge.txPackets).toBeGreaterThan(0);
      expect((await counter('', UPLINK)).txPackets - uplink.txPackets).toBeGreaterThan(0);
    } finally {
      await ipDo(['addr', 'del', `${WEB_IP}/32`, 'dev', 'eth0'], DB);
      await ipDo(['route', 'del', INTERNET_SERVER], DB).catch(() => undefined);
      await ipDo(['route', 'del', '198.51.100.0/24'], DB);
    }
  });
});

describe("the VPC's own block", () => {
  test('ends at its router where no subnet is, in both directions', async () => {
    const uplink = await counter('', UPLINK);
    expect(await host.probe(WEB, { proto: 'icmp', to: '10.1.200.7', timeoutMs: 500 })).toMatchObject({ ok: false });
    expect((await counter('', UPLINK)).txPackets - uplink.txPackets).toBe(0);

    // A stranger with an address of the block is not of the block: `from: vpc` does not mean it.
    await vpcctl.transaction((tx) =>
      tx.putSecurityGroup('a', 'web', { ingress: [{ protocol: 'tcp', port: 80, from: 'vpc' }] }),
    );
    const [web] = vpcctl
      .inspect('a')
      .subnets.flatMap(({ instances }) => instances.filter(({ name }) => name === 'web'));
    const listener = await host.listener(WEB, 'tcp', 80);
    await ipDo(['addr', 'add', '10.1.200.7/32', 'dev', 'lo'], 'internet');
    try {
      expect(await host.probe(WEB2, { proto: 'tcp', to: WEB_IP, port: 80 })).toMatchObject({ ok: true });
      const seen = (await listener.seen()).length;
      const to = web?.publicIp ?? '';
      expect(
        await host.probe('internet', { proto: 'tcp', to, port: 80, from: '10.1.200.7', timeoutMs: 500 }),
      ).toMatchObject({ ok: false });
      expect(await listener.seen()).toHaveLength(seen);
    } finally {
      await ipDo(['addr', 'del', '10.1.200.7/32', 'dev', 'lo'], 'internet');
      await listener.close();
      await vpcctl.transaction((tx) => tx.putSecurityGroup('a', 'web', { ingress: [{ protocol: 'tcp', port: 80 }] }));
    }
  });
});

describe('the host and the routers', () => {
  test("are not a workload's to reach", async () => {
    const service = await host.listener('', 'tcp', 2222);
    const own = await host.listener(WEB, 'tcp', 80);
    try {
      expect(await host.probe('', { proto: 'tcp', to: '192.0.2.2', port: 2222 })).toMatchObject({ ok: true });
      const seen = (await service.seen()).length;
      for (const to of ['192.0.2.2', '169.254.128.1', '10.1.1.1', '169.254.128.2']) {
        expect(await host.probe(WEB, { proto: 'tcp', to, port: 2222, timeoutMs: 300 }), to).toMatchObject({
          ok: false,
        });
      }
      expect(await service.seen()).toHaveLength(seen);
      // The way from the host to the workload, and its answers, are open all the same.
      expect(await host.probe('', { proto: 'tcp', to: WEB_IP, port: 80 })).toMatchObject({
        ok: true,
        seenSource: '169.254.128.1',
      });
    } finally {
      await service.close();
      await own.close();
    }
  });

  test('let no IPv6 through', async () => {
    const [web, web2] = ['fd00::10', 'fd00::11'];
    for (const [ns, address] of [
      [WEB, web],
      [WEB2, web2],
    ] as const) {
      await ipDo(['addr', 'add', `${address}/64`, 'dev', 'eth0', 'nodad'], ns);
    }
    const listener = await host.listener(WEB, 'tcp', 80, { host: '::' });
    try {
      expect(await host.probe(WEB, { proto: 'tcp', to: web ?? '', port: 80 })).toMatchObject({ ok: true });
      const before = { sent: await counter(WEB2, 'eth0'), received: await counter(WEB, 'eth0') };
      expect(await host.probe(WEB2, { proto: 'tcp', to: web ?? '', port: 80, timeoutMs: 1_500 })).toMatchObject({
        ok: false,
      });
      // Past the router too: to its own MAC address.
      const mac = '06:76:70:63:00:01';
      await ipDo(['neigh', 'replace', web ?? '', 'lladdr', mac, 'dev', 'eth0'], WEB2);
      expect(await host.probe(WEB2, { proto: 'tcp', to: web ?? '', port: 80, timeoutMs: 500 })).toMatchObject({
        ok: false,
      });
      expect((await counter(WEB2, 'eth0')).txPackets).toBeGreaterThan(before.sent.txPackets);
      expect((await counter(WEB, 'eth0')).rxPackets - before.received.rxPackets).toBe(0);
    } finally {
      await listener.close();
      for (const [ns, address] of [
        [WEB, web],
        [WEB2, web2],
      ] as const) {
        await must('', ['ip', '-n', ns, 'addr', 'del', `${address}/64`, 'dev', 'eth0']);
      }
    }
  });
});
