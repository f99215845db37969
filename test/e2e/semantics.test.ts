/** Statements of the cloud's documentation that docs/semantics.md refers to, by packets in one network. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { INTERNET, INTERNET_GATEWAY, INTERNET_SERVER, TestHost, UPLINK } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { ear, echo, frame, ipv4, ipv4Of, sendFrames, udp } from '../harness/raw.js';
import { counter, ip, ipDo, must } from '../harness/witness.js';
import {
  answers,
  areKeptApart,
  destroyAll,
  doesNotPing,
  expectHostAsBefore,
  isKeptFrom,
  ownNamespaces,
  pings,
  reaches,
  settled,
  type Target,
  target,
} from './support.js';

const WEB = 'vpc.a.web';
const BARE = 'vpc.a.bare';
const PRIV = 'vpc.a.priv';
const FAR = 'vpc.a.far';
const NARROW = 'vpc.a.narrow';
const APP = 'vpc.b.app';
const WEB_IP = '10.1.1.10';
const PRIV_IP = '10.1.2.10';
const LINK_LOCAL = '169.254.169.254';
const RESERVED = '240.0.0.7';

const open = { ingress: [{}] };
const SPEC = {
  settings: { poolRouted: true },
  elasticIps: { narrow: { address: '198.51.100.13' } },
  vpcs: {
    a: {
      cidr: '10.1.0.0/16',
      secondaryCidrs: ['10.11.0.0/16'],
      subnets: {
        pub: { cidr: '10.1.1.0/24', public: true },
        priv: { cidr: '10.1.2.0/24' },
        narrow: { cidr: '10.1.3.0/24', routeTable: 'narrow' },
        far: { cidr: '10.11.1.0/24' },
      },
      routeTables: {
        narrow: {
          routes: [
            { destination: '203.0.113.0/24', target: 'internet-gateway' },
            { destination: '168.0.0.0/6', target: 'internet-gateway' },
          ],
        },
      },
      securityGroups: { default: open, eighty: {}, 'eighty-one': {}, named: {}, naming: {}, quiet: {} },
      instances: {
        web: { subnet: 'pub', ip: WEB_IP, publicIp: '198.51.100.10' },
        bare: { subnet: 'pub', ip: '10.1.1.11', publicIp: false },
        priv: { subnet: 'priv', ip: PRIV_IP },
        narrow: { subnet: 'narrow', ip: '10.1.3.10', elasticIp: 'narrow' },
        far: { subnet: 'far', ip: '10.11.1.10' },
      },
    },
    b: {
      cidr: '10.2.0.0/16',
      subnets: { s: { cidr: '10.2.1.0/24' } },
      securityGroups: { default: open },
      instances: { app: { subnet: 's', ip: '10.2.1.10' }, 'app-2': { subnet: 's', ip: '10.2.1.11' } },
    },
  },
  peerings: [{ vpcs: ['a', 'b'], routes: 'manual' }],
};

let host: TestHost;
let pristine: HostState;
let server: Target;

const vpcctl = (text: string) => host.vpcctlOk(text.split(' '));

/** Puts what a test changed back. */
async function apply(): Promise<void> {
  await host.vpcctlOk(['apply', '-', '--yes'], { input: JSON.stringify(SPEC) });
}

async function group(vpc: string, name: string, rules: object): Promise<void> {
  await host.vpcctlOk(['put-security-group', '--vpc', vpc, '--name', name, '--rules', '-'], {
    input: JSON.stringify(rules),
  });
}

/** What of `send` comes by the host's uplink. */
async function sentOut(send: () => Promise<unknown>): Promise<number> {
  const before = await counter('', UPLINK);
  await send();
  return (await counter('', UPLINK)).txPackets - before.txPackets;
}

beforeAll(async () => {
  host = await TestHost.create({ routedToHost: ['198.51.100.0/24'] });
  pristine = await settled(host);
  await apply();
  server = await target(host, INTERNET, INTERNET_SERVER, 80);
});

afterEach(async () => {
  const drift = await host.vpcctl(['drift']);
  for (const ns of ownNamespaces()) await host.leave(ns);
  await apply();
  expect(drift.stdout).toMatch(/^no drift/);
});

afterAll(async () => {
  await host.leave(INTERNET);
  await destroyAll(host);
  await expectHostAsBefore(host, pristine);
  await host.close();
});

describe('blocks and subnets', () => {
  test('a block that is added to a VPC is local in every route table', async () => {
    const at = {
      far: await target(host, FAR, '10.11.1.10', 80),
      web: await target(host, WEB, WEB_IP, 80),
    };
    for (const from of [WEB, BARE, PRIV, NARROW]) await reaches(host, from, at.far);
    await reaches(host, FAR, at.web, '10.11.1.10');
  });

  test('broadcast and multicast reach nobody', async () => {
    const [heard, router] = [await ear(BARE), await counter('vpc.a', 'eni0a01010b')];
    const send = `import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
for to in ('10.1.1.255', '255.255.255.255', '224.0.0.1', '239.1.2.3'): s.sendto(b'all', (to, 9))
s.sendto(b'one', ('10.1.1.11', 9))`;
    await must(WEB, ['python3', '-c', send]);
    const got = (await heard.stop()).flatMap((bytes) => ipv4Of(bytes) ?? []);
    expect(got).toMatchObject([{ source: WEB_IP, destination: '10.1.1.11' }]);
    expect((await counter('vpc.a', 'eni0a01010b')).txPackets - router.txPackets).toBeLessThanOrEqual(2);
  });

  test('an instance knows its private address alone, and is asked by that', async () => {
    const links = await ip<{ addr_info: { family: string; local: string }[] }>(['addr', 'show', 'dev', 'eth0'], WEB);
    const own = links.flatMap(({ addr_info }) => addr_info).filter(({ family }) => family === 'inet');
    expect(own.map(({ local }) => local)).toEqual([WEB_IP]);
    await host.listener(WEB, 'tcp', 80);
    expect(await host.probe(INTERNET, { proto: 'tcp', to: '198.51.100.10', port: 80 })).toMatchObject({
      ok: true,
      seenSource: INTERNET_SERVER,
      seenDestination: WEB_IP,
    });
  });
});

describe('routes', () => {
  test('the local route goes before every other one', async () => {
    await vpcctl('create-route --vpc a --destination 10.0.0.0/8 --target blackhole');
    await reaches(host, PRIV, await target(host, WEB, WEB_IP, 80), PRIV_IP);
    expect(await answers(host, PRIV, { proto: 'icmp', to: '10.9.0.1' })).toBe(false);
  });

  test('a route to the internet gateway may be for a part of the internet', async () => {
    await reaches(host, NARROW, server, '198.51.100.13');
    await doesNotPing(host, NARROW, INTERNET_GATEWAY);
    await pings(host, WEB, INTERNET_GATEWAY);
  });

  test('an instance without a public address gets nothing out by an internet gateway', async () => {
    await reaches(host, WEB, server, '198.51.100.10');
    const sent = await sentOut(async () => {
      await isKeptFrom(host, BARE, server);
      await doesNotPing(host, BARE, INTERNET_SERVER);
    });
    expect(sent).toBe(0);
  });

  test('link-local and reserved addresses are not forwarded, also where a route covers them', async () => {
    for (const address of [LINK_LOCAL, RESERVED]) await ipDo(['addr', 'add', `${address}/32`, 'dev', 'lo'], INTERNET);
    try {
      expect(await answers(host, '', { proto: 'tcp', to: LINK_LOCAL, port: 80 })).toBe(true);
      const sent = await sentOut(() =>
        areKeptApart(
          host,
          [WEB, NARROW].flatMap((from) => [LINK_LOCAL, RESERVED].map((to) => [from, server, to] as const)),
        ),
      );
      expect(sent).toBe(0);
    } finally {
      for (const address of [LINK_LOCAL, RESERVED]) await ipDo(['addr', 'del', `${address}/32`, 'dev', 'lo'], INTERNET);
    }
    await reaches(host, NARROW, server);
  });

  test('a route to a peer may be for a part of it, down to one address', async () => {
    await vpcctl('create-route --vpc a --table public --destination 10.2.1.10/32 --target peer:b');
    await vpcctl('create-route --vpc b --destination 10.1.1.0/24 --target peer:a');
    const [one, two] = [await target(host, APP, '10.2.1.10', 80), await target(host, 'vpc.b.app-2', '10.2.1.11', 80)];
    await reaches(host, WEB, one, WEB_IP);
    await areKeptApart(host, [
      [WEB, two],
      [PRIV, one],
    ]);
  });

  test('a peer gets out by no gateway of the other VPC', async () => {
    await vpcctl('create-nat-gateway --vpc a --subnet pub --name out --ip 10.1.1.200');
    await vpcctl('create-route --vpc a --destination 0.0.0.0/0 --target nat:out');
    await vpcctl('create-route --vpc a --destination 10.2.0.0/16 --target peer:b');
    await vpcctl('create-route --vpc a --table public --destination 10.2.0.0/16 --target peer:b');
    await vpcctl('create-route --vpc b --destination 0.0.0.0/0 --target peer:a');
    await reaches(host, PRIV, server);
    await reaches(host, APP, await target(host, WEB, WEB_IP, 80), '10.2.1.10');
    const sent = await sentOut(async () => {
      await isKeptFrom(host, APP, server);
      await doesNotPing(host, APP, INTERNET_SERVER);
    });
    expect(sent).toBe(0);
  });
});

describe('NAT gateways', () => {
  test('a private one lets nobody out by the internet gateway', async () => {
    await vpcctl('create-nat-gateway --vpc a --subnet pub --name inner --ip 10.1.1.201 --private');
    await vpcctl('create-route --vpc a --destination 0.0.0.0/0 --target nat:inner');
    expect(await sentOut(() => isKeptFrom(host, PRIV, server))).toBe(0);
  });

  test('one passes TCP, UDP and ICMP, and no other protocol', async () => {
    await vpcctl('create-nat-gateway --vpc a --subnet pub --name out --ip 10.1.1.200');
    await vpcctl('create-route --vpc a --destination 0.0.0.0/0 --target nat:out');
    await host.listener(INTERNET, 'udp', 53);
    await reaches(host, PRIV, server);
    expect(await host.probe(PRIV, { proto: 'udp', to: INTERNET_SERVER, port: 53 })).toMatchObject({ ok: true });
    await pings(host, PRIV, INTERNET_SERVER);
    const heard = await ear(INTERNET);
    for (const [ns, source] of [
      [PRIV, PRIV_IP],
      [WEB, WEB_IP],
    ] as const) {
      await raw(ns, source, INTERNET_SERVER, [47, 50, 89]);
    }
    const sources = (await heard.stop()).flatMap((bytes) => {
      const packet = ipv4Of(bytes);
      return packet === undefined || packet.protocol === 1 ? [] : [`${packet.source} ${packet.protocol}`];
    });
    // An internet gateway translates whatever it is.
    expect(sources.sort()).toEqual(['198.51.100.10 47', '198.51.100.10 50', '198.51.100.10 89']);
    for (const [protocol, code] of [
      ['47', 10],
      ['icmp', 0],
    ] as const) {
      const asked = await host.vpcctl(['analyze', 'a/priv', 'internet', '--protocol', protocol]);
      expect(asked.exitCode, asked.stdout).toBe(code);
    }
  });

  test('a connection that one has forgotten is reset when somebody goes on with it', async () => {
    await vpcctl('create-nat-gateway --vpc a --subnet pub --name out --ip 10.1.1.200');
    await vpcctl('create-route --vpc a --destination 0.0.0.0/0 --target nat:out');
    const talk = await host.connect(PRIV, INTERNET_SERVER, 80);
    expect(await talk.exchange()).toEqual({ ok: true });
    // As 350 s do it.
    await must('vpc.a.nat.out', ['conntrack', '-D', '-p', 'tcp', '--dport', '80']);
    expect(await talk.exchange()).toMatchObject({ ok: false, reason: 'reset' });
    await reaches(host, PRIV, server);
  });
});

/** A datagram of each protocol, from an instance to what its router leads to. */
async function raw(ns: string, source: string, destination: string, protocols: readonly number[]): Promise<void> {
  const [{ address } = { address: '' }] = await ip<{ address: string }>(['link', 'show', 'eth0'], ns);
  const router = await routerMac(ns);
  await sendFrames(
    ns,
    protocols.map((protocol) =>
      frame({ to: router, from: address }, ipv4({ source, destination, protocol }, Buffer.alloc(32))),
    ),
  );
}

async function routerMac(ns: string): Promise<string> {
  const [entry] = await ip<{ lladdr: string }>(['neigh', 'show', 'nud', 'permanent'], ns);
  return entry?.lladdr ?? '';
}

describe('security groups', () => {
  const join = (name: string, groups: readonly string[]) =>
    vpcctl(`add-instance --vpc a --subnet ${SUBNETS[name]} --name ${name} --security-group ${groups.join(' ')}`);
  const SUBNETS: Readonly<Record<string, string>> = { web: 'pub', bare: 'pub', priv: 'priv', far: 'far' };
  const to = (port: number) => ({ proto: 'tcp', to: WEB_IP, port }) as const;

  test('the rules of all groups of an instance count together, and a new rule for every member at once', async () => {
    for (const port of [80, 81, 82]) await host.listener(WEB, 'tcp', port);
    await group('a', 'eighty', { ingress: [{ protocol: 'tcp', port: 80 }] });
    await group('a', 'eighty-one', { ingress: [{ protocol: 'tcp', port: 81 }] });
    await join('web', ['eighty', 'eighty-one']);
    const reached = () => Promise.all([80, 81, 82].map((port) => answers(host, BARE, to(port))));
    expect(await reached()).toEqual([true, true, false]);
    await group('a', 'eighty', { ingress: [{ protocol: 'tcp', port: 82 }] });
    expect(await reached()).toEqual([false, true, true]);
  });

  test('a group that a rule names gives nothing of its own rules', async () => {
    for (const port of [82, 83]) await host.listener(WEB, 'tcp', port);
    await group('a', 'named', { ingress: [{ protocol: 'tcp', port: 82 }] });
    await group('a', 'naming', { ingress: [{ protocol: 'tcp', port: 83, from: { group: 'named' } }] });
    await join('web', ['naming']);
    await join('bare', ['named']);
    expect(await Promise.all([82, 83].map((port) => answers(host, BARE, to(port))))).toEqual([false, true]);
    expect(await Promise.all([82, 83].map((port) => answers(host, PRIV, to(port))))).toEqual([false, false]);
  });

  test('members of a group reach each other only by a rule; those of the default one have it', async () => {
    const at = await target(host, WEB, WEB_IP, 80);
    for (const name of ['web', 'bare']) await join(name, ['quiet']);
    await isKeptFrom(host, BARE, at);
    await group('a', 'quiet', { ingress: [{ from: 'self' }] });
    await reaches(host, BARE, at);
    await group('a', 'default', { ingress: [{ from: 'self' }] });
    for (const name of ['web', 'bare']) await join(name, ['default']);
    await reaches(host, BARE, at);
    await join('priv', ['quiet']);
    await isKeptFrom(host, PRIV, at);
  });

  test('are stateful: answers pass in either direction without a rule', async () => {
    const at = await target(host, WEB, WEB_IP, 80);
    // web may send nothing, bare may get nothing.
    await group('a', 'eighty', { ingress: [{ protocol: 'tcp', port: 80 }], egress: [] });
    await join('web', ['eighty']);
    await join('bare', ['quiet']);
    await reaches(host, BARE, at);
    await doesNotPing(host, WEB, '10.1.1.11');
    await isKeptFrom(host, WEB, await target(host, BARE, '10.1.1.11', 80));
  });

  test('look at the port that a packet goes to, not at the one it comes from', async () => {
    await host.listener(WEB, 'tcp', 80);
    await host.listener(WEB, 'tcp', 81);
    await group('a', 'eighty', { ingress: [{ protocol: 'tcp', port: 80 }] });
    await join('web', ['eighty']);
    const from = (fromPort: number, port: number) => answers(host, BARE, { ...to(port), fromPort });
    expect([await from(81, 80), await from(40_000, 80), await from(80, 81)]).toEqual([true, true, false]);
  });

  test('a protocol by its number is admitted, and no other', async () => {
    await group('a', 'eighty', { ingress: [{ protocol: 47 }] });
    await join('web', ['eighty']);
    const heard = await ear(WEB);
    await raw(BARE, '10.1.1.11', WEB_IP, [47, 50, 89]);
    const got = (await heard.stop()).flatMap((bytes) => ipv4Of(bytes)?.protocol ?? []);
    expect(got).toEqual([47]);
  });
});

test('idle connections are tracked for 432,000 s of TCP, 30 s of UDP, 180 s of a UDP stream, 600 s of another protocol', async () => {
  const timeouts = async (ns: string) =>
    Promise.all(
      ['tcp_timeout_established', 'udp_timeout', 'udp_timeout_stream', 'generic_timeout'].map((key) =>
        host.sysctl(ns, `net/netfilter/nf_conntrack_${key}`),
      ),
    );
  expect(await timeouts('vpc.a')).toEqual(['432000', '30', '180', '600']);
  await vpcctl('create-nat-gateway --vpc a --subnet pub --name out --ip 10.1.1.200');
  expect((await timeouts('vpc.a.nat.out')).slice(0, 3)).toEqual(['350', '350', '350']);
  // By an entry of each kind.
  await host.listener(WEB, 'udp', 53);
  await reaches(host, BARE, await target(host, WEB, WEB_IP, 80));
  const talk = await host.connect(BARE, WEB_IP, 80);
  expect(await talk.exchange()).toEqual({ ok: true });
  await sendFrames(BARE, [await toWeb(udp({ from: 4_000, to: 4_001 }), 17)]);
  await sendFrames(BARE, [await toWeb(Buffer.alloc(16), 47)]);
  const entries = (await must('vpc.a', ['conntrack', '-L'])).split('\n');
  const left = (pattern: RegExp) =>
    Math.max(...entries.filter((line) => pattern.test(line)).map((line) => Number(line.split(/\s+/)[2])));
  expect(left(/^tcp .* ESTABLISHED .* dport=80 /)).toBeGreaterThan(431_900);
  expect(left(/^udp .*dport=4001 /)).toBeLessThanOrEqual(30);
  expect(left(/^(gre|unknown) +47 /)).toBeGreaterThan(20);
  await talk.close();
});

async function toWeb(payload: Buffer, protocol: number): Promise<Buffer> {
  const [{ address } = { address: '' }] = await ip<{ address: string }>(['link', 'show', 'eth0'], BARE);
  const ends = { source: '10.1.1.11', destination: WEB_IP };
  return frame({ to: await routerMac(BARE), from: address }, ipv4({ ...ends, protocol }, payload));
}

describe('network ACLs', () => {
  const acl = async (rules: object): Promise<void> => {
    await host.vpcctlOk(['put-network-acl', '--vpc', 'a', '--name', 't', '--rules', '-'], {
      input: JSON.stringify(rules),
    });
  };
  const all = { number: 100, action: 'allow', cidr: '0.0.0.0/0' };

  test('a new one lets nothing pass, and a subnet without one everything', async () => {
    const at = await target(host, WEB, WEB_IP, 80);
    await reaches(host, PRIV, at);
    await vpcctl('create-network-acl --vpc a --name t');
    await vpcctl('associate-network-acl --vpc a --subnet pub --acl t');
    await isKeptFrom(host, PRIV, at);
    await doesNotPing(host, WEB, PRIV_IP);
    await vpcctl('associate-network-acl --vpc a --subnet pub');
    await reaches(host, PRIV, at);
  });

  test('both the network ACL and the groups have to let a packet pass', async () => {
    const at = await target(host, WEB, WEB_IP, 80);
    await acl({ ingress: [{ ...all, number: 50, action: 'deny', cidr: `${PRIV_IP}/32` }, all], egress: [all] });
    await vpcctl('associate-network-acl --vpc a --subnet pub --acl t');
    await isKeptFrom(host, PRIV, at);
    await reaches(host, FAR, at);
    await group('a', 'default', { ingress: [{ from: PRIV_IP }, { from: '203.0.113.0/24' }] });
    await isKeptFrom(host, FAR, at);
  });

  test('one is for many subnets; a subnet has the one that it was associated with last', async () => {
    const at = await target(host, WEB, WEB_IP, 80);
    await acl({});
    for (const subnet of ['pub', 'far']) await vpcctl(`associate-network-acl --vpc a --subnet ${subnet} --acl t`);
    await isKeptFrom(host, PRIV, at);
    await doesNotPing(host, PRIV, '10.11.1.10');
    await host.vpcctlOk(['put-network-acl', '--vpc', 'a', '--name', 'open', '--rules', '-'], {
      input: JSON.stringify({ ingress: [all], egress: [all] }),
    });
    await vpcctl('associate-network-acl --vpc a --subnet pub --acl open');
    await reaches(host, PRIV, at);
    await doesNotPing(host, PRIV, '10.11.1.10');
  });

  test('path MTU discovery needs a rule for ICMP of type 3, code 4', async () => {
    const ask = { number: 100, action: 'allow', protocol: 'icmp', icmpType: 8, cidr: '0.0.0.0/0' };
    const answer = { ...ask, number: 110, icmpType: 0 };
    const needed = { ...ask, number: 120, icmpType: 3, icmpCode: 4 };
    await acl({ ingress: [answer], egress: [ask] });
    await vpcctl('associate-network-acl --vpc a --subnet pub --acl t');
    await pings(host, WEB, INTERNET_SERVER);
    const large = { proto: 'icmp', to: INTERNET_SERVER, size: 1_450, dontFragment: true, timeoutMs: 500 } as const;
    await ipDo(['link', 'set', UPLINK, 'mtu', '1400']);
    try {
      expect(await host.probe(WEB, large)).toMatchObject({ ok: false, reason: 'timeout' });
      await acl({ ingress: [answer, needed], egress: [ask] });
      expect(await host.probe(WEB, large)).toMatchObject({ ok: false, reason: 'too-big' });
    } finally {
      await ipDo(['link', 'set', UPLINK, 'mtu', '1500']);
    }
  });
});

test('an instance must be the source or the destination of what it sends and gets', async () => {
  const [heard, router] = [await ear(PRIV), await routerMac(WEB)];
  const [{ address } = { address: '' }] = await ip<{ address: string }>(['link', 'show', 'eth0'], WEB);
  const ping = (source: string, id: number) =>
    frame({ to: router, from: address }, ipv4({ source, destination: PRIV_IP, protocol: 1 }, echo(id)));
  await sendFrames(WEB, [ping('10.1.1.11', 1), ping('192.0.2.9', 2), ping(WEB_IP, 3)]);
  await ipDo(['route', 'add', '192.0.2.9/32', 'via', '10.1.2.1'], PRIV);
  const got = (await heard.stop()).flatMap((bytes) => ipv4Of(bytes) ?? []);
  expect(got.map(({ source }) => source)).toEqual([WEB_IP]);
});
