/**
 * Root in a workload, byte by byte, over IPv6: what extension headers and fragments hide, forged words of neighbours and routers, and errors about others'
 * connections. What is refused is sent to an open port too, in the same shape, so that it is the rules that refuse it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type Connection, TestHost } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import {
  type Ear,
  type Ends,
  ear,
  fragment6,
  frame,
  IPV6,
  icmp6,
  ipv6,
  NEXT,
  sendFrames,
  udp6,
} from '../harness/raw.js';
import { ip, must } from '../harness/witness.js';
import { destroyAll, expectHostAsBefore, ownNamespaces, settled } from './support.js';

const [MALLORY, ALICE, BOB, APP, SVC, ROUTER] = [
  'vpc.a.mallory',
  'vpc.a.alice',
  'vpc.a.bob',
  'vpc.b.app',
  'vpc.c.svc',
  'vpc.a',
] as const;
const BLOCK = 'fd76:7063:6300';
const IPS = {
  [MALLORY]: `${BLOCK}:100::66`,
  [ALICE]: `${BLOCK}:100::10`,
  [BOB]: `${BLOCK}:100::20`,
  [APP]: `${BLOCK}:200::10`,
  [SVC]: `${BLOCK}:300::10`,
} as const;
const GATEWAY = `${BLOCK}:100::1`;
/** Open to everybody, over UDP; nobody listens there, so that nothing comes of what arrives. */
const OPEN = 53;
/** Open to nobody but bob. */
const CLOSED = 8000;

const securityGroups = {
  victim: { ingress: [{ protocol: 'udp', port: OPEN }, { from: `${IPS[BOB]}/128` }] },
  attacker: { ingress: [{ protocol: 'tcp', port: 80 }] },
};

const vpc = (number: number, instances: Readonly<Record<string, readonly [last: number, group: string]>>) => ({
  cidr: `10.${number}.0.0/16`,
  ipv6Cidr: `${BLOCK}:${number}00::/56`,
  subnets: { s: { cidr: `10.${number}.1.0/24`, ipv6Cidr: `${BLOCK}:${number}00::/64` } },
  securityGroups,
  instances: Object.fromEntries(
    Object.entries(instances).map(([name, [last, group]]) => [
      name,
      {
        subnet: 's',
        ip: `10.${number}.1.${last}`,
        ipv6: `${BLOCK}:${number}00::${last}`,
        securityGroups: [group],
      },
    ]),
  ),
});

const toTransit = (...destinations: string[]) => ({
  main: { routes: destinations.map((destination) => ({ destination, target: { transitGateway: 'core' } })) },
});

const SPEC = {
  vpcs: {
    a: {
      ...vpc(1, { mallory: [66, 'attacker'], alice: [10, 'victim'], bob: [20, 'victim'] }),
      routeTables: toTransit(`${BLOCK}:300::/56`),
    },
    b: vpc(2, { app: [10, 'victim'] }),
    c: { ...vpc(3, { svc: [10, 'victim'] }), routeTables: toTransit(`${BLOCK}:100::/56`) },
  },
  peerings: [{ vpcs: ['a', 'b'] }],
  transitGateways: { core: { attachments: { a: {}, c: {} } } },
};

let host: TestHost;
let pristine: HostState;
let talk: Connection;
let macs: Readonly<Record<'mallory' | 'router' | 'bob', string>>;

const macOf = async (ns: string): Promise<string> =>
  (await ip<{ address: string }>(['link', 'show', 'eth0'], ns))[0]?.address ?? '';

const toRouter = (packet: Buffer, from = macs.mallory): Buffer => frame({ to: macs.router, from, type: IPV6 }, packet);

const TO_ALICE: Ends = { source: IPS[MALLORY], destination: IPS[ALICE] };

/** What the kernel says by itself on every link that comes up: which groups it listens to (to ff02::16). */
const isOwnReport = (bytes: Buffer): boolean => bytes.subarray(0, 6).toString('hex') === '333300000016';

/** What arrives at each ear: whose, and which of these words are in it. An honest datagram of mallory comes last. */
async function heardBy(
  where: readonly (keyof typeof IPS)[],
  attack: () => Promise<unknown>,
  words: readonly string[] = ['lie', 'fine', 'honest'],
): Promise<Record<string, string[]>> {
  const ears = new Map<string, Ear>();
  for (const ns of where) ears.set(ns, await ear(ns));
  await attack();
  const honest = where.map((ns) => {
    const ends = { source: IPS[MALLORY], destination: IPS[ns] };
    return toRouter(ipv6(ends, NEXT.udp, udp6(ends, { from: 4_000, to: OPEN }, Buffer.from('honest'))));
  });
  await sendFrames(MALLORY, honest);
  await sleep(100);
  const heard: Record<string, string[]> = {};
  for (const [ns, one] of ears) {
    heard[ns] = (await one.stop())
      .filter((bytes) => !isOwnReport(bytes))
      .map((bytes) => words.find((word) => bytes.includes(word)) ?? bytes.toString('hex'));
  }
  return heard;
}

const HONEST = (where: readonly string[]) => Object.fromEntries(where.map((ns) => [ns, ['honest']]));

beforeAll(async () => {
  host = await TestHost.create();
  pristine = await settled(host);
  await host.vpcctlOk(['apply', '-', '--yes'], { input: JSON.stringify(SPEC) });
  const [entry] = await ip<{ lladdr: string }>(['-6', 'neigh', 'show', 'nud', 'permanent'], MALLORY);
  macs = { mallory: await macOf(MALLORY), bob: await macOf(BOB), router: entry?.lladdr ?? '' };
  await host.listener(ALICE, 'udp', CLOSED, { host: '::' });
  await host.listener(ALICE, 'tcp', CLOSED, { host: '::' });
  talk = await host.connect(BOB, IPS[ALICE], CLOSED);
});

afterEach(async () => {
  expect(await talk.exchange(), 'a neighbour’s connection').toEqual({ ok: true });
  expect((await host.vpcctl(['drift'])).stdout).toMatch(/^no drift/);
});

afterAll(async () => {
  await talk.close();
  for (const ns of ownNamespaces()) await host.leave(ns);
  await destroyAll(host);
  await expectHostAsBefore(host, pristine);
  await host.close();
});

test('from addresses that are not his, to neighbours, a peer and what is behind a transit gateway', async () => {
  const dropped = async () => {
    const text = await must(ROUTER, ['nft', 'list', 'chain', 'inet', 'vpcctl', 'source6']);
    return Number(/counter packets (\d+)/.exec(text)?.[1]);
  };
  const sources = [
    ...[IPS[ALICE], IPS[BOB], IPS[APP], IPS[SVC], GATEWAY, `${BLOCK}:100::77`, `${BLOCK}:1ff::1`, `${BLOCK}::1`],
    ...['::1', '::', 'fe80::1', 'fe80::66', 'fec0::1', '2001:db8::1', '::ffff:a01:10a', '64:ff9b::a01:10a'],
    ...['ff02::1', 'ff05::2', '2002:a01:10a::1'],
  ];
  const victims = [ALICE, APP, SVC] as const;
  const before = await dropped();
  const heard = await heardBy(victims, () =>
    sendFrames(
      MALLORY,
      sources.flatMap((source) =>
        victims.flatMap((ns) => {
          const ends = { source, destination: IPS[ns] };
          return [
            toRouter(ipv6(ends, NEXT.udp, udp6(ends, { from: 4_000, to: OPEN }, Buffer.from('lie')))),
            toRouter(ipv6(ends, NEXT.icmp, icmp6(ends, 128, 0, Buffer.from([0, 7, 0, 1]), Buffer.from('lie')))),
          ];
        }),
      ),
    ),
  );
  expect(heard).toEqual(HONEST(victims));
  // Multicast sources the kernel drops before it asks anybody.
  expect((await dropped()) - before).toBeGreaterThanOrEqual((sources.length - 3) * victims.length * 2);
});

describe('headers in between', () => {
  const datagram = (port: number, text: string) => udp6(TO_ALICE, { from: 4_000, to: port }, Buffer.from(text));
  const padding = (next: number) => Buffer.from([next, 0, 1, 4, 0, 0, 0, 0]);
  const nested = (first: number, count: number, next: number, payload: Buffer) =>
    ipv6(
      TO_ALICE,
      first,
      Buffer.concat([
        ...Array.from({ length: count }, (_, at) => padding(at + 1 < count ? NEXT.options : next)),
        payload,
      ]),
    );
  const routing =
    (type: number, left: number, ...hops: Buffer[]) =>
    (port: number, text: string) => [
      ipv6(
        TO_ALICE,
        NEXT.routing,
        Buffer.concat([
          Buffer.from([NEXT.udp, 2 * hops.length, type, left, 0, 0, 0, 0]),
          ...hops,
          datagram(port, text),
        ]),
      ),
    ];
  const split = (next: number, id: number, whole: Buffer, at: number) => [
    ipv6(TO_ALICE, NEXT.fragment, fragment6(next, id, 0, true, whole.subarray(0, at))),
    ipv6(TO_ALICE, NEXT.fragment, fragment6(next, id, at, false, whole.subarray(at))),
  ];
  let id = 1;

  type Shape = (port: number, text: string) => Buffer[];
  const shapes: readonly (readonly [name: string, arrives: boolean, shape: Shape])[] = [
    ['none', true, (port, text) => [ipv6(TO_ALICE, NEXT.udp, datagram(port, text))]],
    ['hop-by-hop options', true, (port, text) => [nested(NEXT.hops, 1, NEXT.udp, datagram(port, text))]],
    [
      'eight times destination options',
      true,
      (port, text) => [nested(NEXT.options, 8, NEXT.udp, datagram(port, text))],
    ],
    ['a routing header of type 2', true, routing(2, 0, Buffer.alloc(16))],
    [
      'a routing header of type 0 that goes on',
      true,
      routing(0, 1, Buffer.from(`fd767063630001000000000000000020`, 'hex')),
    ],
    [
      // A protocol of its own, whatever is behind it.
      'an authentication header',
      false,
      (port, text) => [
        ipv6(TO_ALICE, NEXT.auth, Buffer.concat([Buffer.from([NEXT.udp, 4]), Buffer.alloc(22), datagram(port, text)])),
      ],
    ],
    [
      'a fragment that is all',
      true,
      (port, text) => [ipv6(TO_ALICE, NEXT.fragment, fragment6(NEXT.udp, id++, 0, false, datagram(port, text)))],
    ],
    ['fragments', true, (port, text) => split(NEXT.udp, id++, datagram(port, text), 8)],
    ['fragments, the last first', true, (port, text) => split(NEXT.udp, id++, datagram(port, text), 8).reverse()],
    [
      'fragments of which the first has no ports',
      false,
      (port, text) =>
        split(NEXT.options, id++, Buffer.concat([padding(NEXT.options), padding(NEXT.udp), datagram(port, text)]), 16),
    ],
    [
      'a fragment within a fragment',
      false,
      (port, text) => {
        const inner = fragment6(NEXT.udp, id++, 0, true, datagram(port, text).subarray(0, 8));
        return split(NEXT.fragment, id++, inner, 8);
      },
    ],
    [
      'fragments that overlap: the open port first, then this one over it',
      false,
      (port, text) => {
        const number = id++;
        const [open, whole] = [datagram(OPEN, text), datagram(port, text)];
        return [
          ipv6(TO_ALICE, NEXT.fragment, fragment6(NEXT.udp, number, 0, true, open.subarray(0, 8))),
          ipv6(TO_ALICE, NEXT.fragment, fragment6(NEXT.udp, number, 0, false, whole)),
        ];
      },
    ],
    ['fragments without a beginning', false, (port, text) => split(NEXT.udp, id++, datagram(port, text), 8).slice(1)],
    ['no next header', false, (port, text) => [ipv6(TO_ALICE, NEXT.none, datagram(port, text))]],
    ['ESP', false, (port, text) => [ipv6(TO_ALICE, NEXT.esp, datagram(port, text))]],
    [
      'options that are longer than the packet',
      false,
      (port, text) => [
        ipv6(
          TO_ALICE,
          NEXT.options,
          Buffer.concat([Buffer.from([NEXT.udp, 200, 1, 4, 0, 0, 0, 0]), datagram(port, text)]),
        ),
      ],
    ],
    [
      'a jumbo payload',
      false,
      (port, text) => {
        const packet = ipv6(
          TO_ALICE,
          NEXT.hops,
          Buffer.concat([Buffer.from([NEXT.udp, 0, 0xc2, 4, 0, 1, 0, 0]), datagram(port, text)]),
        );
        packet.writeUInt16BE(0, 4);
        return [packet];
      },
    ],
  ];

  test.each(shapes)('%s: hide no port', async (_, arrives, shape) => {
    const send = async (port: number, text: string) =>
      sendFrames(
        MALLORY,
        shape(port, text).map((packet) => toRouter(packet)),
      );
    // As long as the words are whole in one fragment, they are found.
    expect(await heardBy([ALICE], () => send(CLOSED, 'lie'))).toEqual(HONEST([ALICE]));
    const open = await heardBy([ALICE], () => send(OPEN, 'fine'));
    expect(open[ALICE]?.includes('fine')).toBe(arrives);
    expect(open[ALICE]).toContain('honest');
  });
});

test('forged words of neighbours, routers and listeners of groups reach nobody, and teach nobody', async () => {
  const look = async () =>
    Promise.all(
      [ROUTER, ALICE, BOB].flatMap((ns) =>
        ['-6 neigh show', '-6 route show table all', '-6 maddress show'].map((what) =>
          must(ns, ['ip', ...what.split(' ')]),
        ),
      ),
    );
  const before = await look();
  const option = (kind: number) =>
    Buffer.concat([Buffer.from([kind, 1]), Buffer.from(macs.mallory.replaceAll(':', ''), 'hex')]);
  const alice = Buffer.from('fd767063630001000000000000000010', 'hex');
  const nextHop = Buffer.from('fe800000000000000000000000000001', 'hex');
  const zero = Buffer.alloc(4);
  const words = [
    // Who sends, whom to, type, the four bytes behind the checksum, the rest.
    ...['ff02::1', 'fe80::1', IPS[ALICE]].flatMap((to) => [
      ...[IPS[MALLORY], IPS[ALICE], 'fe80::1', '::'].flatMap((from) => [
        [from, to, 133, zero, option(1)] as const,
        [from, to, 134, Buffer.from([64, 0, 7, 8]), Buffer.concat([Buffer.alloc(8), option(1)])] as const,
        [from, to, 135, zero, Buffer.concat([alice, option(1)])] as const,
        [from, to, 135, zero, Buffer.concat([nextHop, option(1)])] as const,
        [from, to, 136, Buffer.from([0x20, 0, 0, 0]), Buffer.concat([alice, option(2)])] as const,
        [from, to, 136, Buffer.from([0xa0, 0, 0, 0]), Buffer.concat([nextHop, option(2)])] as const,
        [from, to, 137, zero, Buffer.concat([alice, alice, option(2)])] as const,
        [from, to, 130, zero, Buffer.alloc(20)] as const,
        [from, to, 131, zero, Buffer.concat([alice])] as const,
        [from, to, 132, zero, Buffer.concat([alice])] as const,
        [from, to, 143, zero, Buffer.alloc(0)] as const,
      ]),
    ]),
    // That the address is taken, to whoever looks for duplicates of it.
    ['::', 'ff02::1:ff00:10', 135, zero, alice] as const,
    [IPS[MALLORY], 'ff02::1', 136, Buffer.from([0x20, 0, 0, 0]), Buffer.concat([alice, option(2)])] as const,
  ];
  const heard = await heardBy([ALICE, BOB], () =>
    sendFrames(
      MALLORY,
      words.flatMap(([source, destination, type, rest, data]) => {
        const packet = ipv6(
          { source, destination },
          NEXT.icmp,
          icmp6({ source, destination }, type, 0, rest, data),
          255,
        );
        return [macs.router, '33:33:00:00:00:01', 'ff:ff:ff:ff:ff:ff'].map((to) =>
          frame({ to, from: macs.mallory, type: IPV6 }, packet),
        );
      }),
    ),
  );
  expect(heard).toEqual(HONEST([ALICE, BOB]));
  expect(await look()).toEqual(before);
});

test('errors about others’ connections reach nobody; those of whom they are about do', async () => {
  // A datagram of bob's, which alice has answered.
  expect(await host.probe(BOB, { proto: 'udp', to: IPS[ALICE], port: CLOSED, fromPort: 5_000 })).toMatchObject({
    ok: true,
  });
  const answer = { source: IPS[ALICE], destination: IPS[BOB] };
  const about = ipv6(answer, NEXT.udp, udp6(answer, { from: CLOSED, to: 5_000 }, Buffer.alloc(8)));
  const errors = (source: string) => {
    const ends = { source, destination: IPS[ALICE] };
    return [
      [1, 4, 0],
      [1, 3, 0],
      [2, 0, 1_280],
      [3, 0, 0],
      [4, 0, 6],
    ].map(([type = 0, code = 0, rest = 0]) =>
      ipv6(ends, NEXT.icmp, icmp6(ends, type, code, Buffer.from([0, 0, rest >> 8, rest & 255]), about)),
    );
  };
  const mtu = async () => /mtu (\d+)/.exec(await must(ALICE, ['ip', '-6', 'route', 'get', IPS[BOB]]))?.[1];
  expect(
    await heardBy([ALICE], () =>
      sendFrames(
        MALLORY,
        [IPS[MALLORY], IPS[BOB], GATEWAY].flatMap((source) => errors(source).map((packet) => toRouter(packet))),
      ),
    ),
  ).toEqual(HONEST([ALICE]));
  expect(await mtu()).toBeUndefined();
  const honest = await heardBy([ALICE], () =>
    sendFrames(
      BOB,
      errors(IPS[BOB]).map((packet) => toRouter(packet, macs.bob)),
    ),
  );
  expect(honest[ALICE]).toHaveLength(6);
  expect(await mtu()).toBe('1280');
});
