/**
 * Root in a workload, byte by byte: what he sends past his own IP stack, and what he makes of his own namespace. Each time the same sent honestly arrives,
 * so that silence is a refusal; a neighbour's connection goes on all the while; and what is outside of his namespace is as it was.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type Connection, INTERNET, INTERNET_SERVER, TestHost, UPLINK } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import {
  ARP,
  arp,
  type Ear,
  ear,
  echo,
  frame,
  IPV4,
  IPV6,
  icmp,
  ipv4,
  ipv4Of,
  sendFrames,
  TCP_FLAGS,
  tcp,
  udp,
} from '../harness/raw.js';
import { counter, ip, ipDo, must } from '../harness/witness.js';
import {
  destroyAll,
  expectHostAsBefore,
  expectWitness,
  ownNamespaces,
  settled,
  type Witness,
  witness,
} from './support.js';

const MALLORY = 'vpc.a.mallory';
const ALICE = 'vpc.a.alice';
const BOB = 'vpc.a.bob';
const DB = 'vpc.a.db';
const APP = 'vpc.b.app';
const SVC = 'vpc.c.svc';
const ROUTER = 'vpc.a';
const MALLORY_IP = '10.1.1.66';
const ALICE_IP = '10.1.1.10';
const BOB_IP = '10.1.1.20';
const DB_IP = '10.1.2.10';
const APP_IP = '10.2.1.10';
const SVC_IP = '10.3.1.10';
const NAT_IP = '10.1.1.200';
const NAT_PUBLIC = '198.51.100.200';
const MALLORY_PUBLIC = '198.51.100.66';
const ALICE_PUBLIC = '198.51.100.10';
/** Open to everybody, over UDP. */
const OPEN = 53;
/** Open to nobody but bob, over TCP and UDP. */
const CLOSED = 8000;

const groups = {
  // Datagrams to one port from anybody; everything from bob.
  victim: { ingress: [{ protocol: 'udp', port: OPEN }, { from: `${BOB_IP}/32` }] },
  attacker: { ingress: [{ protocol: 'tcp', port: 80 }] },
};

const SPEC = {
  settings: { poolRouted: true },
  vpcs: {
    a: {
      cidr: '10.1.0.0/16',
      subnets: { web: { cidr: '10.1.1.0/24', public: true }, db: { cidr: '10.1.2.0/24' } },
      natGateways: { out: { subnet: 'web', ip: NAT_IP, publicIp: NAT_PUBLIC } },
      routeTables: {
        main: { routes: [{ destination: '0.0.0.0/0', target: { natGateway: 'out' } }] },
        public: {
          routes: [
            { destination: '0.0.0.0/0', target: 'internet-gateway' },
            { destination: '10.3.0.0/16', target: { transitGateway: 'core' } },
          ],
        },
      },
      securityGroups: groups,
      instances: {
        mallory: { subnet: 'web', ip: MALLORY_IP, publicIp: MALLORY_PUBLIC, securityGroups: ['attacker'] },
        alice: { subnet: 'web', ip: ALICE_IP, publicIp: ALICE_PUBLIC, securityGroups: ['victim'] },
        bob: { subnet: 'web', ip: BOB_IP, publicIp: false, securityGroups: ['victim'] },
        db: { subnet: 'db', ip: DB_IP, securityGroups: ['victim'] },
      },
    },
    b: {
      cidr: '10.2.0.0/16',
      subnets: { s: { cidr: '10.2.1.0/24' } },
      securityGroups: groups,
      instances: { app: { subnet: 's', ip: APP_IP, securityGroups: ['victim'] } },
    },
    c: {
      cidr: '10.3.0.0/16',
      subnets: { s: { cidr: '10.3.1.0/24' } },
      securityGroups: groups,
      routeTables: { main: { routes: [{ destination: '10.1.0.0/16', target: { transitGateway: 'core' } }] } },
      instances: { svc: { subnet: 's', ip: SVC_IP, securityGroups: ['victim'] } },
    },
  },
  peerings: [{ vpcs: ['a', 'b'] }],
  transitGateways: { core: { attachments: { a: {}, c: {} } } },
};

const VICTIMS = { [ALICE]: ALICE_IP, [DB]: DB_IP, [APP]: APP_IP, [SVC]: SVC_IP, [INTERNET]: INTERNET_SERVER } as const;

let host: TestHost;
let pristine: HostState;
let macs: { readonly mallory: string; readonly alice: string; readonly router: string };
let talk: Connection;
let outside: Witness;

/** Everything of ours and the host's but the namespace that is his. */
async function outsideOfHis(): Promise<Witness> {
  const seen = await witness();
  return Object.fromEntries(Object.entries(seen).filter(([where]) => !where.startsWith(`${MALLORY}: `)));
}

const toRouter = (
  packet: Buffer,
  more: { type?: number; tags?: readonly (readonly [number, number])[] } = {},
): Buffer => frame({ to: macs.router, from: macs.mallory, ...more }, packet);

const HIS_PORT = 4_000;

const datagram = (source: string, destination: string, port: number, data = 'lie'): Buffer =>
  ipv4({ source, destination, protocol: 17 }, udp({ from: HIS_PORT, to: port }, Buffer.from(data)));

/** That nobody waits for the answer to an honest datagram, his kernel says to who sends it. */
function isHisWord({ protocol, payload }: NonNullable<ReturnType<typeof ipv4Of>>): boolean {
  const unreachable = protocol === 1 && payload[0] === 3 && payload[1] === 3;
  return unreachable && payload.readUInt16BE(28) === OPEN && payload.readUInt16BE(30) === HIS_PORT;
}

/** What arrives by IPv4 while `attack` is under way, by whom; after it an honest datagram to each has arrived, so nothing is still on its way. */
async function heardOf(
  ears: Readonly<Record<string, string>>,
  attack: () => Promise<unknown>,
): Promise<Record<string, string[]>> {
  const listening = new Map<string, Ear>();
  for (const ns of Object.keys(ears)) listening.set(ns, await ear(ns));
  await attack();
  const frames = Object.values(ears).map((to) => toRouter(datagram(MALLORY_IP, to, OPEN, 'honest')));
  await sendFrames(MALLORY, frames);
  await sleep(100);
  const heard: Record<string, string[]> = {};
  for (const [ns, one] of listening) {
    heard[ns] = (await one.stop()).flatMap((bytes) => {
      if (bytes.readUInt16BE(12) !== IPV4)
        return bytes.readUInt16BE(12) === ARP ? [] : [`frame ${bytes.subarray(12, 14).toString('hex')}`];
      const packet = ipv4Of(bytes);
      if (packet === undefined || packet.source === BOB_IP || isHisWord(packet)) return [];
      return [`${packet.source} ${packet.payload.subarray(8)}`];
    });
  }
  return heard;
}

/** Nothing but the honest datagrams. */
async function expectSilence(
  attack: () => Promise<unknown>,
  ears: Readonly<Record<string, string>> = VICTIMS,
): Promise<void> {
  const heard = await heardOf(ears, attack);
  const honest = Object.keys(ears).map((ns) => [ns, [`${ns === INTERNET ? MALLORY_PUBLIC : MALLORY_IP} honest`]]);
  expect(heard).toEqual(Object.fromEntries(honest));
}

/** Packets that the router dropped since no way leads back to their source, or because such a source is none. */
async function spoofed(): Promise<number> {
  const [names = [], values = []] = (await must(ROUTER, ['cat', '/proc/net/netstat']))
    .split('\n')
    .filter((line) => line.startsWith('TcpExt:'))
    .map((line) => line.split(' '));
  return Number(values[names.indexOf('IPReversePathFilter')]);
}

const macOf = async (ns: string): Promise<string> =>
  (await ip<{ address: string }>(['link', 'show', 'eth0'], ns))[0]?.address ?? '';

beforeAll(async () => {
  host = await TestHost.create({ routedToHost: ['198.51.100.0/24'] });
  pristine = await settled(host);
  await host.vpcctlOk(['apply', '-', '--yes'], { input: JSON.stringify(SPEC) });
  const [entry] = await ip<{ lladdr: string }>(['neigh', 'show', 'nud', 'permanent'], MALLORY);
  macs = { mallory: await macOf(MALLORY), alice: await macOf(ALICE), router: entry?.lladdr ?? '' };
  for (const ns of Object.keys(VICTIMS)) {
    await host.listener(ns, 'udp', OPEN);
    await host.listener(ns, 'tcp', CLOSED);
    await host.listener(ns, 'udp', CLOSED);
  }
  talk = await host.connect(BOB, ALICE_IP, CLOSED);
  outside = await outsideOfHis();
});

beforeEach(async () => {
  // He may ask the open port, and not the closed one.
  const ask = { proto: 'udp', to: ALICE_IP, timeoutMs: 300 } as const;
  expect(await host.probe(MALLORY, { ...ask, port: OPEN })).toMatchObject({ ok: true, seenSource: MALLORY_IP });
  expect(await host.probe(MALLORY, { ...ask, port: CLOSED })).toMatchObject({ ok: false });
});

afterEach(async () => {
  expect(await talk.exchange(), 'a neighbour’s connection').toEqual({ ok: true });
  const { stdout } = await host.vpcctl(['drift']);
  const others = stdout.split('\n').filter((line) => /^\s*(~|\+|-)/.test(line) && !line.includes('instance a/mallory'));
  expect(others, stdout).toEqual([]);
  await host.vpcctlOk(['repair', '--yes']);
  expect((await host.vpcctl(['drift'])).stdout).toMatch(/^no drift/);
  await expectWitness(outside, 'what is outside of his namespace', outsideOfHis);
});

afterAll(async () => {
  await talk.close();
  await host.leave(INTERNET);
  for (const ns of ownNamespaces()) await host.leave(ns);
  await destroyAll(host);
  await expectHostAsBefore(host, pristine);
  await host.close();
});

describe('packets', () => {
  test('from addresses that are not his', async () => {
    const sources = [
      ...[ALICE_IP, BOB_IP, DB_IP, NAT_IP, APP_IP, SVC_IP, INTERNET_SERVER],
      ...['10.1.1.1', '10.1.2.1', '10.2.1.1', '10.1.1.0', '10.1.1.255', '10.1.1.77', '10.1.200.7', '172.16.0.9'],
      ...[MALLORY_PUBLIC, ALICE_PUBLIC, NAT_PUBLIC, '198.51.100.99', '192.0.2.2'],
      ...['169.254.128.1', '169.254.128.2', '169.254.128.5', '169.254.128.7', '169.254.169.254'],
      ...['0.0.0.0', '127.0.0.1', '127.9.9.9', '224.0.0.1', '239.1.1.1', '240.0.0.1', '255.255.255.255'],
    ];
    const before = await spoofed();
    await expectSilence(() =>
      sendFrames(
        MALLORY,
        sources.flatMap((source) =>
          Object.values(VICTIMS).flatMap((to) => [
            toRouter(datagram(source, to, OPEN)),
            toRouter(ipv4({ source, destination: to, protocol: 1 }, echo())),
          ]),
        ),
      ),
    );
    // All but those that are no source whatever the routes.
    expect((await spoofed()) - before).toBeGreaterThanOrEqual(20 * Object.keys(VICTIMS).length);
  });

  test('of IPv6, of other ethertypes, and in VLANs', async () => {
    const header = (next: number, payload: Buffer) =>
      Buffer.concat([
        Buffer.from('60000000', 'hex'),
        Buffer.from([payload.length >> 8, payload.length & 255, next, 255]),
        Buffer.from('fe800000000000000000000000000066', 'hex'),
        Buffer.from('ff020000000000000000000000000001', 'hex'),
        payload,
      ]);
    const icmp6 = [133, 134, 135, 136, 137, 128].map((type) =>
      header(58, Buffer.concat([Buffer.from([type, 0]), Buffer.alloc(40)])),
    );
    const inner = datagram(MALLORY_IP, ALICE_IP, OPEN);
    const closed = datagram(MALLORY_IP, ALICE_IP, CLOSED);
    const tags = [
      [[0x8100, 7]],
      [[0x8100, 0]],
      [
        [0x88a8, 7],
        [0x8100, 8],
      ],
      [
        [0x8100, 1],
        [0x8100, 2],
      ],
    ] as const;
    const to = [
      macs.router,
      macs.alice,
      'ff:ff:ff:ff:ff:ff',
      '33:33:00:00:00:01',
      '01:00:5e:00:00:01',
      '01:80:c2:00:00:00',
    ];
    await expectSilence(() =>
      sendFrames(
        MALLORY,
        to.flatMap((mac) => [
          ...[...icmp6, header(17, udp({ from: 1, to: OPEN }))].map((packet) =>
            frame({ to: mac, from: macs.mallory, type: IPV6 }, packet),
          ),
          ...[0x88cc, 0x8863, 0x8864, 0x8847, 0x9000, 0x22f0, 0x88e5, 0x0005, 0x8035].map((type) =>
            frame({ to: mac, from: macs.mallory, type }, Buffer.concat([inner, Buffer.alloc(46)])),
          ),
          ...tags
            .flatMap((tag) =>
              [inner, closed].map((packet) =>
                frame(
                  { to: mac, from: macs.mallory, tags: tag.slice(mac === macs.router && tag[0]?.[1] === 0 ? 1 : 0) },
                  packet,
                ),
              ),
            )
            .slice(mac === macs.router ? 4 : 0),
          // Straight to a neighbour, past the router.
          ...(mac === macs.router ? [] : [frame({ to: mac, from: macs.mallory }, closed)]),
        ]),
      ),
    );
  });

  test('of ARP, claiming what is not his, thousands of it', async () => {
    const neighbours = async () => (await ip(['neigh', 'show'], ROUTER)).length;
    const before = await neighbours();
    const claim = (ipOf: string, mac = macs.mallory) =>
      ([1, 2] as const).map((operation) =>
        frame({ from: macs.mallory, type: ARP }, arp(operation, [mac, ipOf], ['00:00:00:00:00:00', ipOf])),
      );
    const known = ['10.1.1.1', ALICE_IP, BOB_IP, DB_IP, NAT_IP, APP_IP, '169.254.128.5', INTERNET_SERVER].flatMap(
      (one) => claim(one),
    );
    const flood = Array.from({ length: 4_000 }, (_, at) => {
      const octets = `${(at >> 8) & 255}.${at & 255}`;
      return frame(
        { from: macs.mallory, type: ARP },
        arp(
          1,
          [
            `02:66:66:66:${((at >> 8) & 255).toString(16).padStart(2, '0')}:${(at & 255).toString(16).padStart(2, '0')}`,
            `10.1.${octets}`,
          ],
          ['00:00:00:00:00:00', '10.1.1.1'],
        ),
      );
    });
    // And to as many addresses, which the router would have to look for.
    const everywhere = Array.from({ length: 4_000 }, (_, at) =>
      toRouter(datagram(MALLORY_IP, `10.1.${(at >> 8) & 255}.${at & 255}`, 9)),
    );
    await expectSilence(() => sendFrames(MALLORY, [...known, ...flood, ...everywhere]));
    expect(await neighbours()).toBe(before);
    expect(await host.probe(BOB, { proto: 'udp', to: ALICE_IP, port: OPEN })).toMatchObject({
      ok: true,
      seenSource: BOB_IP,
    });
  });

  test('in fragments: tiny, overlapping, and without a beginning', async () => {
    const pieces = (port: number, id: number, size: number, data = Buffer.alloc(64, 'f')): Buffer[] => {
      const whole = udp({ from: 4_000, to: port }, data);
      return Array.from({ length: Math.ceil(whole.length / size) }, (_, at) =>
        ipv4(
          {
            source: MALLORY_IP,
            destination: ALICE_IP,
            protocol: 17,
            id,
            offset: at * size,
            moreFragments: (at + 1) * size < whole.length,
          },
          whole.subarray(at * size, (at + 1) * size),
        ),
      );
    };
    const headerOf = (port: number) => udp({ from: 4_000, to: port }, Buffer.alloc(8)).subarray(0, 8);
    const piece = (id: number, offset: number, moreFragments: boolean, payload: Buffer): Buffer =>
      ipv4({ source: MALLORY_IP, destination: ALICE_IP, protocol: 17, id, offset, moreFragments }, payload);
    const attack = [
      ...pieces(CLOSED, 100, 8),
      ...pieces(CLOSED, 101, 8).reverse(),
      // The port that is judged is not the one that is put together: the second piece begins where the first does.
      ...[
        piece(103, 8, false, Buffer.alloc(8)),
        piece(103, 0, true, headerOf(CLOSED)),
        piece(103, 0, true, headerOf(OPEN)),
      ],
      ...[
        piece(104, 0, true, Buffer.concat([headerOf(OPEN), Buffer.alloc(8)])),
        piece(104, 8, false, Buffer.alloc(16)),
      ],
      // No beginning.
      ...[8, 16, 1_480, 65_528].map((offset, at) => piece(110 + at, offset, false, headerOf(CLOSED))),
      // Of TCP, whose port is in the first piece and whose flags are in the second.
      ...[0, 8, 16].map((offset) =>
        ipv4(
          { source: MALLORY_IP, destination: ALICE_IP, protocol: 6, id: 120, offset, moreFragments: offset < 16 },
          tcp(
            { source: MALLORY_IP, destination: ALICE_IP },
            { from: 4_000, to: CLOSED, flags: TCP_FLAGS.syn },
          ).subarray(offset, offset + 8),
        ),
      ),
    ].map((packet) => toRouter(packet));
    await expectSilence(() => sendFrames(MALLORY, attack), { [ALICE]: ALICE_IP });

    // A piece that is there already, and says otherwise, is not taken: what arrives is what was judged.
    const listening = await ear(ALICE);
    await sendFrames(
      MALLORY,
      [
        piece(102, 0, true, headerOf(OPEN)),
        piece(102, 0, true, headerOf(CLOSED)),
        piece(102, 8, false, Buffer.alloc(8)),
      ].map((packet) => toRouter(packet)),
    );
    await sleep(100);
    const arrived = (await listening.stop()).flatMap((bytes) => ipv4Of(bytes) ?? []);
    const [first, ...others] = arrived.filter(({ protocol }) => protocol === 17);
    expect(first?.payload.readUInt16BE(2)).toBe(OPEN);
    expect(others).toHaveLength(1);
    // What is put together of honest pieces is judged as a whole, and arrives, in pieces as before; so do answers of many pieces.
    const honest = pieces(OPEN, 130, 8);
    const heard = await heardOf({ [ALICE]: ALICE_IP }, () =>
      sendFrames(
        MALLORY,
        honest.map((packet) => toRouter(packet)),
      ),
    );
    expect(heard[ALICE]).toHaveLength(honest.length + 1);
    const large = { proto: 'icmp', to: '10.1.1.1', size: 4_000 } as const;
    expect(await host.probe(MALLORY, large)).toMatchObject({ ok: true });
  });

  test('in fragments, where a network ACL lets only one port pass', async () => {
    const rule = { action: 'allow', cidr: '0.0.0.0/0' };
    await host.vpcctlOk(['put-network-acl', '--vpc', 'a', '--name', 't', '--rules', '-'], {
      input: JSON.stringify({
        ingress: [{ number: 100, ...rule, protocol: 'udp', port: OPEN }],
        egress: [{ number: 100, ...rule }],
      }),
    });
    await host.vpcctlOk(['put-security-group', '--vpc', 'a', '--name', 'victim', '--rules', '-'], {
      input: JSON.stringify({ ingress: [{}] }),
    });
    await host.vpcctlOk('associate-network-acl --vpc a --subnet db --acl t'.split(' '));
    try {
      const send = (port: number, id: number) =>
        [0, 8, 16].map((offset) =>
          toRouter(
            ipv4(
              { source: MALLORY_IP, destination: DB_IP, protocol: 17, id, offset, moreFragments: offset < 16 },
              udp({ from: 4_000, to: port }, Buffer.alloc(16, 'f')).subarray(offset, offset + 8),
            ),
          ),
        );
      await expectSilence(
        () => sendFrames(MALLORY, [...send(CLOSED, 1), ...send(CLOSED, 2).slice(1), ...send(OPEN, 3).slice(1)]),
        { [DB]: DB_IP },
      );
      const heard = await heardOf({ [DB]: DB_IP }, () => sendFrames(MALLORY, send(OPEN, 4)));
      // Its three pieces.
      expect(heard[DB]).toEqual([...Array(3).fill(`${MALLORY_IP} `), `${MALLORY_IP} honest`]);
    } finally {
      await host.vpcctlOk('associate-network-acl --vpc a --subnet db'.split(' '));
      await host.vpcctlOk('delete-network-acl --vpc a --name t'.split(' '));
      await host.vpcctlOk(['put-security-group', '--vpc', 'a', '--name', 'victim', '--rules', '-'], {
        input: JSON.stringify(groups.victim),
      });
      // The router's table was made anew, and is listed in another order.
      outside = await outsideOfHis();
    }
  });

  test('with IP options, source routes among them, also where the machine takes those', async () => {
    // Its instance may send within its VPC alone.
    const names = ['vpc.d', 'vpc.d.eve', 'vpc.d.victim'];
    await host.vpcctlOk(['apply', '-', '--yes'], {
      input: JSON.stringify({
        vpcs: {
          d: {
            cidr: '10.4.0.0/16',
            subnets: { s: { cidr: '10.4.1.0/24', public: true } },
            securityGroups: { ...groups, caged: { egress: [{ to: '10.4.0.0/16' }] } },
            routeTables: {
              public: {
                routes: [
                  { destination: '0.0.0.0/0', target: 'internet-gateway' },
                  { destination: '10.3.0.0/16', target: { transitGateway: 'core' } },
                ],
              },
            },
            instances: {
              eve: { subnet: 's', ip: '10.4.1.66', securityGroups: ['caged'] },
              victim: { subnet: 's', ip: '10.4.1.10', securityGroups: ['victim'] },
            },
          },
        },
        transitGateways: { core: { attachments: { a: {}, c: {}, d: {} } } },
      }),
    });
    try {
      const [eve, router] = [await macOf('vpc.d.eve'), macs.router];
      const source = '10.4.1.66';
      const octets = (address: string) => address.split('.').map(Number);
      const send = (destination: string, port: number, options: Buffer, text = 'lie') =>
        frame(
          { to: router, from: eve },
          ipv4({ source, destination, protocol: 17, options }, udp({ from: 4_000, to: port }, Buffer.from(text))),
        );
      const route = (type: number, ...hops: string[]) => {
        const bytes = [type, 3 + 4 * hops.length, 4, ...hops.flatMap(octets)];
        return Buffer.from([...bytes, ...Array.from({ length: (4 - (bytes.length % 4)) % 4 }, () => 0)]);
      };
      const [loose, strict] = [131, 137];
      const frames = [
        ...[loose, strict].flatMap((type) => [
          send('10.4.1.1', CLOSED, route(type, '10.4.1.10')),
          send('10.4.1.1', OPEN, route(type, INTERNET_SERVER)),
          send('10.4.1.1', OPEN, route(type, SVC_IP)),
          send('10.4.1.10', OPEN, route(type, INTERNET_SERVER)),
          send('10.4.1.10', OPEN, route(type, '10.4.1.1', SVC_IP)),
        ]),
        // Record route, time stamp and router alert, to a port that is closed.
        ...['070b04000000000000000000', '440c05000000000000000000', '94040000'].map((hex) =>
          send('10.4.1.10', CLOSED, Buffer.from(hex, 'hex')),
        ),
        send('10.4.1.10', OPEN, Buffer.alloc(0), 'honest'),
      ];
      /** What the victim hears, and how many packets leave the VPC. */
      const effect = async () => {
        const links = ['uplink', 'tgw-core'];
        const sent = async () =>
          (await Promise.all(links.map((link) => counter('vpc.d', link)))).map(({ txPackets }) => txPackets);
        const [listening, before] = [await ear('vpc.d.victim'), await sent()];
        await sendFrames('vpc.d.eve', frames);
        await sleep(100);
        const after = await sent();
        const heard = (await listening.stop()).flatMap((bytes) =>
          ['lie', 'honest'].filter((word) => bytes.includes(word)),
        );
        return { heard, left: links.map((_, at) => (after[at] ?? 0) - (before[at] ?? 0)) };
      };
      const [all, port] = ['all', 'eni0a040142'].map((link) => `net/ipv4/conf/${link}/accept_source_route`);
      const refused = { heard: ['honest'], left: [0, 0] };
      expect(await effect()).toEqual(refused);
      await host.sysctl('vpc.d', all ?? '', '1');
      expect(await effect()).toEqual(refused);
      // What it would be, were it not for the port's own setting: out of its cage.
      await host.sysctl('vpc.d', port ?? '', '1');
      expect((await effect()).left).toEqual([1, 1]);
      expect((await host.vpcctl(['drift'])).stdout).toContain('instance d/eve: its port at the router');
      await host.vpcctlOk(['repair', '--yes']);
      expect(await effect()).toEqual(refused);
    } finally {
      for (const ns of names) await host.leave(ns);
      await host.vpcctlOk('delete-vpc --name d --force'.split(' '));
    }
  });

  test('that break into others’ connections: resets, and errors about them', async () => {
    const [bobPort] = (await must(BOB, ['ss', '-Htn', 'dst', ALICE_IP])).match(/(?<=10\.1\.1\.20:)\d+/) ?? [];
    const from = Number(bobPort);
    const ends = { source: BOB_IP, destination: ALICE_IP };
    const answer = { source: ALICE_IP, destination: BOB_IP };
    const forged = tcp(ends, { from, to: CLOSED, flags: TCP_FLAGS.rst, seq: 1 });
    // A datagram of bob's, which alice has answered: with UDP nobody has to guess a sequence number.
    const asked = { proto: 'udp', to: ALICE_IP, port: CLOSED, fromPort: 5_000 } as const;
    expect(await host.probe(BOB, asked)).toMatchObject({ ok: true });
    const about = [
      ipv4({ ...answer, protocol: 6 }, tcp(answer, { from: CLOSED, to: from, flags: TCP_FLAGS.ack })),
      ipv4({ ...answer, protocol: 17 }, udp({ from: CLOSED, to: 5_000 })),
    ];
    const errors = about.flatMap((packet) => [
      icmp(3, 1, Buffer.alloc(4), packet),
      icmp(3, 3, Buffer.alloc(4), packet),
      icmp(3, 4, Buffer.from([0, 0, 1000 >> 8, 1000 & 255]), packet),
      icmp(4, 0, Buffer.alloc(4), packet),
      icmp(5, 1, Buffer.from([10, 1, 1, 66]), packet),
      icmp(11, 0, Buffer.alloc(4), packet),
      icmp(12, 0, Buffer.alloc(4), packet),
    ]);
    const sendErrors = (source: string) =>
      errors.map((payload) => ipv4({ source, destination: ALICE_IP, protocol: 1 }, payload));
    const mtu = async () => /mtu (\d+)/.exec(await must(ALICE, ['ip', 'route', 'get', BOB_IP]))?.[1];
    await expectSilence(
      () =>
        sendFrames(MALLORY, [
          ...Array.from({ length: 50 }, () => toRouter(ipv4({ ...ends, protocol: 6 }, forged))),
          ...[MALLORY_IP, BOB_IP, '10.1.1.1'].flatMap((source) => sendErrors(source).map((packet) => toRouter(packet))),
        ]),
      { [ALICE]: ALICE_IP },
    );
    expect(await mtu()).toBeUndefined();
    expect(await talk.exchange()).toEqual({ ok: true });
    // The same from whom they are about arrives, and has its effect.
    const listening = await ear(ALICE);
    const bob = await macOf(BOB);
    await sendFrames(
      BOB,
      sendErrors(BOB_IP).map((packet) => frame({ to: macs.router, from: bob }, packet)),
    );
    await sleep(100);
    expect(
      (await listening.stop()).flatMap((bytes) => ipv4Of(bytes) ?? []).filter(({ protocol }) => protocol === 1),
    ).toHaveLength(errors.length);
    expect(await mtu()).toBe('1000');
    await ipDo(['route', 'flush', 'cache'], ALICE);
  });

  test('errors that go far: about a neighbour’s connection to a peer, to a transit gateway’s other side, through a NAT gateway and to the internet', async () => {
    const far = { [APP]: APP_IP, [SVC]: SVC_IP, [INTERNET]: INTERNET_SERVER };
    for (const [ns, to] of Object.entries(far)) {
      for (const from of ns === SVC || ns === APP ? [ALICE] : [ALICE, DB]) {
        expect(
          await host.probe(from, { proto: 'udp', to, port: OPEN, fromPort: 5_000 }),
          `${from} → ${to}`,
        ).toMatchObject({ ok: true });
      }
    }
    const error = (destination: string, owner: string) =>
      toRouter(
        ipv4(
          { source: MALLORY_IP, destination, protocol: 1 },
          icmp(
            3,
            3,
            Buffer.alloc(4),
            ipv4({ source: destination, destination: owner, protocol: 17 }, udp({ from: OPEN, to: 5_000 })),
          ),
        ),
      );
    await expectSilence(
      () =>
        sendFrames(
          MALLORY,
          Object.values(far).flatMap((to) =>
            [ALICE_IP, ALICE_PUBLIC, DB_IP, NAT_IP, NAT_PUBLIC].map((owner) => error(to, owner)),
          ),
        ),
      far,
    );
    // And back to the neighbour, as if from there.
    const back = (to: string, owner: string) =>
      toRouter(
        ipv4(
          { source: MALLORY_IP, destination: owner, protocol: 1 },
          icmp(
            3,
            3,
            Buffer.alloc(4),
            ipv4({ source: owner, destination: to, protocol: 17 }, udp({ from: 5_000, to: OPEN })),
          ),
        ),
      );
    await expectSilence(
      () =>
        sendFrames(
          MALLORY,
          Object.values(far).flatMap((to) =>
            [ALICE_IP, ALICE_PUBLIC, DB_IP, NAT_IP, NAT_PUBLIC].map((owner) => back(to, owner)),
          ),
        ),
      { [ALICE]: ALICE_IP, [DB]: DB_IP },
    );
    // A port that nobody listens to is still told of, from everywhere.
    for (const [from, to, port] of [
      [BOB, ALICE_IP, 9],
      [ALICE, BOB_IP, OPEN],
      [ALICE, INTERNET_SERVER, 9],
      [DB, INTERNET_SERVER, 9],
    ] as const) {
      expect(await host.probe(from, { proto: 'udp', to, port }), `${from} → ${to}`).toMatchObject({
        reason: 'refused',
      });
    }
  });

  test('to everybody and to groups, and words of routers and group members', async () => {
    const members = Buffer.from([0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 224, 0, 0, 251]);
    const destinations = [
      '224.0.0.1',
      '224.0.0.22',
      '224.0.0.251',
      '239.1.1.1',
      '255.255.255.255',
      '10.1.1.255',
      '10.1.2.255',
    ];
    const listening = async () => must(ROUTER, ['ip', 'maddress', 'show']);
    const before = await listening();
    const group = (destination: string) =>
      `01:00:5e:${(Number(destination.split('.')[1]) & 127).toString(16).padStart(2, '0')}:00:01`;
    await expectSilence(() =>
      sendFrames(
        MALLORY,
        destinations.flatMap((destination) =>
          [macs.router, 'ff:ff:ff:ff:ff:ff', group(destination)].flatMap((to) =>
            [
              datagram(MALLORY_IP, destination, OPEN),
              ipv4({ source: MALLORY_IP, destination, protocol: 1 }, echo()),
              // A router's advertisement, and a redirect.
              ipv4(
                { source: MALLORY_IP, destination, protocol: 1 },
                icmp(9, 0, Buffer.from([1, 2, 7, 8]), Buffer.from([10, 1, 1, 66, 0, 0, 0, 1])),
              ),
              ipv4(
                { source: MALLORY_IP, destination, protocol: 1 },
                icmp(5, 1, Buffer.from([10, 1, 1, 66]), datagram(ALICE_IP, DB_IP, OPEN)),
              ),
              // IGMP, OSPF, PIM and VRRP.
              ...[2, 89, 103, 112].map((protocol) =>
                ipv4({ source: MALLORY_IP, destination, protocol, ttl: 1 }, members),
              ),
            ].map((packet) => frame({ to, from: macs.mallory }, packet)),
          ),
        ),
      ),
    );
    expect(await listening()).toBe(before);
  });

  test('that would be answers, from where nobody asked', async () => {
    expect(await host.probe(ALICE, { proto: 'udp', to: INTERNET_SERVER, port: OPEN, fromPort: 5_000 })).toMatchObject({
      ok: true,
    });
    const ports = [OPEN, 80, 443, 5_000, CLOSED];
    await expectSilence(
      () =>
        sendFrames(
          MALLORY,
          ports.flatMap((from) => [
            toRouter(ipv4({ source: MALLORY_IP, destination: ALICE_IP, protocol: 17 }, udp({ from, to: 5_000 }))),
            toRouter(ipv4({ source: MALLORY_IP, destination: ALICE_PUBLIC, protocol: 17 }, udp({ from, to: 5_000 }))),
            ...[TCP_FLAGS.ack, TCP_FLAGS.syn | TCP_FLAGS.ack, TCP_FLAGS.rst, TCP_FLAGS.fin | TCP_FLAGS.ack].map(
              (flags) =>
                toRouter(
                  ipv4(
                    { source: MALLORY_IP, destination: ALICE_IP, protocol: 6 },
                    tcp({ source: MALLORY_IP, destination: ALICE_IP }, { from, to: CLOSED, flags, seq: 1, ack: 1 }),
                  ),
                ),
            ),
            toRouter(
              ipv4(
                { source: MALLORY_IP, destination: ALICE_IP, protocol: 1 },
                icmp(0, 0, Buffer.from([0, from & 255, 0, 1])),
              ),
            ),
          ]),
        ),
      { [ALICE]: ALICE_IP },
    );
  });

  test('that talk a protocol’s helper into opening a port', async () => {
    await host.listener(MALLORY, 'tcp', 80);
    const asked = await host.connect(INTERNET, MALLORY_PUBLIC, 80);
    await asked.exchange();
    const program = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for port in (${OPEN}, 21, 69, 5060, 6667, 1720, 1723, 10080):
    for text in (b'227 Entering Passive Mode (10,1,1,10,31,64)\\r\\n', b'PORT 10,1,1,10,31,64\\r\\n', b'INVITE sip:alice@10.1.1.10:${CLOSED} SIP/2.0\\r\\n\\r\\n', b'\\0\\1file\\0octet\\0'):
        s.sendto(text, ('${ALICE_IP}', port))`;
    await must(MALLORY, ['python3', '-c', program]);
    expect(await must(ROUTER, ['conntrack', '-L', 'expect'])).toBe('');
    for (const proto of ['tcp', 'udp'] as const) {
      expect(await host.probe(MALLORY, { proto, to: ALICE_IP, port: CLOSED, timeoutMs: 300 })).toMatchObject({
        ok: false,
      });
    }
    await asked.close();
    await host.leave(MALLORY);
  });
});

test('no part of ours answers him, by any address or port, but a ping', async () => {
  for (const ns of ['vpc.a', 'vpc.b', 'vpc-edge', 'vpc.a.nat.out', 'vpc-tgw.core']) {
    expect(await must(ns, ['ss', '-Hlntuw']), ns).toBe('');
  }
  const addresses = [
    ...[
      '10.1.1.1',
      '10.1.2.1',
      '10.2.1.1',
      '10.3.1.1',
      '169.254.128.1',
      '169.254.128.2',
      '169.254.128.5',
      '169.254.128.6',
      '169.254.128.7',
    ],
    ...[NAT_IP, NAT_PUBLIC, '192.0.2.2', '10.1.1.0', '10.1.1.255', '198.51.100.0'],
  ];
  const ports = [
    ...Array.from({ length: 1_024 }, (_, at) => at + 1),
    2_222,
    3_306,
    5_353,
    5_432,
    6_443,
    8_080,
    8_443,
    9_090,
  ];
  const probes = addresses.flatMap((destination) => [
    ...ports.map((port) =>
      toRouter(
        ipv4(
          { source: MALLORY_IP, destination, protocol: 6 },
          tcp({ source: MALLORY_IP, destination }, { from: 4_321, to: port, flags: TCP_FLAGS.syn }),
        ),
      ),
    ),
    ...[53, 67, 68, 123, 161, 500, 4_789].map((port) => toRouter(datagram(MALLORY_IP, destination, port))),
    ...[13, 15, 17].map((type) =>
      toRouter(
        ipv4({ source: MALLORY_IP, destination, protocol: 1 }, icmp(type, 0, Buffer.alloc(4), Buffer.alloc(12))),
      ),
    ),
    toRouter(ipv4({ source: MALLORY_IP, destination, protocol: 1 }, echo())),
  ]);
  const [heard, uplink] = [await ear(MALLORY), await counter('', UPLINK)];
  for (let at = 0; at < probes.length; at += 2_000) await sendFrames(MALLORY, probes.slice(at, at + 2_000));
  await sleep(200);
  const answers = (await heard.stop()).flatMap((bytes) => ipv4Of(bytes) ?? []);
  const told = new Set(answers.map(({ source, protocol, payload }) => `${source} ${protocol}/${payload[0]}`));
  // Echo replies of the gateways of his own VPC; that nothing is at 10.1.1.0, 10.1.1.255 and 198.51.100.0 his router and the edge say.
  expect([...told].filter((line) => !/^(10\.1\.1\.1|169\.254\.128\.2) 1\/3$/.test(line)).sort()).toEqual([
    '10.1.1.1 1/0',
    '10.1.2.1 1/0',
  ]);
  expect((await counter('', UPLINK)).rxPackets - uplink.rxPackets).toBeLessThanOrEqual(2);
});

describe('what he makes of his own namespace', () => {
  const his = async (text: string) => ipDo(text.split(' '), MALLORY);
  const silent = async (from?: string) => {
    for (const to of [ALICE_IP, DB_IP, APP_IP, SVC_IP]) {
      const asked = await host.probe(MALLORY, {
        proto: 'udp',
        to,
        port: CLOSED,
        timeoutMs: 200,
        ...(from === undefined ? {} : { from }),
      });
      expect(asked, to).toMatchObject({ ok: false });
    }
  };

  test('routes, rules and addresses', async () => {
    const lies = [BOB_IP, '10.1.1.1', DB_IP, APP_IP, '169.254.128.1', '203.0.113.99'];
    for (const address of lies) await his(`address add ${address}/32 dev eth0`);
    await his('route add 10.0.0.0/8 via 10.1.1.1 src 10.1.1.20');
    await his('rule add to 10.2.0.0/16 table 77');
    await his('route add default via 10.1.1.1 table 77');
    await expectSilence(async () => {
      for (const from of [BOB_IP, DB_IP, APP_IP, '203.0.113.99']) await silent(from);
    });
    for (const address of lies) await his(`address del ${address}/32 dev eth0`);
    await his('rule del to 10.2.0.0/16 table 77');
    await his('route del default');
    await his(`address del ${MALLORY_IP}/24 dev eth0`);
    const { stdout } = await host.vpcctl(['drift']);
    expect(stdout).toContain('instance a/mallory: its address');
  });

  test('settings, the MTU and the MAC address', async () => {
    for (const [key, value] of [
      ['ip_forward', '1'],
      ['conf/all/accept_local', '1'],
      ['conf/eth0/rp_filter', '0'],
      ['conf/eth0/proxy_arp', '1'],
      ['conf/all/accept_source_route', '1'],
      ['icmp_echo_ignore_all', '1'],
    ]) {
      await host.sysctl(MALLORY, `net/ipv4/${key}`, value);
    }
    await his('link set eth0 mtu 9000');
    const jumbo = toRouter(
      ipv4(
        { source: MALLORY_IP, destination: ALICE_IP, protocol: 17 },
        udp({ from: 1, to: OPEN }, Buffer.alloc(4_000)),
      ),
    );
    await expectSilence(() => expect(sendFrames(MALLORY, [jumbo])).rejects.toThrow('No buffer space'));
    const lying = 'aa:bb:cc:dd:ee:ff';
    await his(`link set eth0 address ${lying}`);
    await sendFrames(MALLORY, [frame({ to: macs.router, from: macs.alice }, datagram(ALICE_IP, DB_IP, OPEN))]);
    await silent();
    expect((await host.vpcctl(['drift'])).stdout).toContain('instance a/mallory: its link');
  });

  test('links on top of his, and another name for it', async () => {
    await his('link set lo up');
    for (const link of [
      'link add link eth0 name vlan7 type vlan id 7',
      'link add link eth0 name mac0 address 02:00:00:00:66:01 type macvlan mode bridge',
      'link add br0 type bridge',
      'link add v0 type veth peer name v1',
    ]) {
      await his(link).catch((error: unknown) => expect(String(error)).toMatch(/not supported|Unknown device type/));
    }
    for (const { ifname } of await ip<{ ifname: string }>(['link', 'show'], MALLORY)) {
      if (!['vlan7', 'mac0'].includes(ifname)) continue;
      await his(`link set ${ifname} up`);
      await his(`address add ${BOB_IP}/32 dev ${ifname}`);
      await his(`route replace ${ALICE_IP}/32 via 10.1.1.1 dev ${ifname} onlink src ${BOB_IP}`);
      await silent(BOB_IP);
      await his(`route del ${ALICE_IP}/32`);
      await his(`link del ${ifname}`);
    }
    await his('link set eth0 down');
    await his('link set eth0 name mine');
    await his('link set mine up');
    expect((await host.vpcctl(['drift'])).stdout).toContain('instance a/mallory: its link');
  });

  test('no link at all', async () => {
    await his('link del eth0');
    expect((await host.vpcctl(['drift'])).stdout).toContain('instance a/mallory: its link');
    expect(await host.probe(BOB, { proto: 'udp', to: ALICE_IP, port: OPEN })).toMatchObject({ ok: true });
    await host.vpcctlOk(['repair', '--yes']);
    expect(await host.probe(MALLORY, { proto: 'udp', to: ALICE_IP, port: OPEN })).toMatchObject({ ok: true });
  });

  test('a namespace within it, into which he takes his link', async () => {
    const within = execa('ip', ['netns', 'exec', MALLORY, 'unshare', '--net', 'sleep', '60'], { reject: false });
    try {
      let inner = '';
      for (let tries = 0; tries < 100 && inner === ''; tries += 1) {
        await sleep(20);
        inner =
          (await must('', ['sh', '-c', `pgrep -P ${within.pid} || echo ${within.pid}`])).trim().split('\n')[0] ?? '';
        const [mine, theirs] = await Promise.all(
          [String(inner), 'self'].map((pid) => must('', ['readlink', `/proc/${pid}/ns/net`])),
        );
        const own = await must(MALLORY, ['readlink', '/proc/self/ns/net']);
        if (mine === theirs || mine === own) inner = '';
      }
      await his(`link set eth0 netns ${inner}`);
      const run = (text: string) => must('', ['nsenter', `--net=/proc/${inner}/ns/net`, ...text.split(' ')]);
      await run('ip link set eth0 up');
      for (const address of [MALLORY_IP, BOB_IP]) await run(`ip address add ${address}/24 dev eth0`);
      const heard = await ear(ALICE);
      const send = `import socket
for source, port in (('${BOB_IP}', ${OPEN}), ('${MALLORY_IP}', ${CLOSED}), ('${MALLORY_IP}', ${OPEN})):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind((source, 0)); s.sendto(b'x', ('${ALICE_IP}', port))`;
      await must('', ['nsenter', `--net=/proc/${inner}/ns/net`, 'python3', '-c', send]);
      await sleep(1_500);
      const got = (await heard.stop())
        .flatMap((bytes) => ipv4Of(bytes) ?? [])
        .filter(({ protocol }) => protocol === 17);
      expect(got.map(({ source, payload }) => `${source} ${payload.readUInt16BE(2)}`)).toEqual([
        `${MALLORY_IP} ${OPEN}`,
      ]);
      expect((await host.vpcctl(['drift'])).stdout).toContain('instance a/mallory: its link');
      await host.vpcctlOk(['repair', '--yes']);
    } finally {
      within.kill();
      await within;
    }
  });

  test('a firewall and translations: they are his own', async () => {
    await must(MALLORY, [
      'nft',
      'add table inet vpcctl; add chain inet vpcctl forward { type filter hook forward priority 0; policy accept; }',
    ]);
    await must(MALLORY, [
      'nft',
      `add table ip t; add chain ip t post { type nat hook postrouting priority 100; }; add rule ip t post ip daddr ${DB_IP} snat to ${BOB_IP}`,
    ]);
    await expectSilence(() => silent());
    await must(MALLORY, ['nft', 'delete table ip t; delete table inet vpcctl']);
  });
});
