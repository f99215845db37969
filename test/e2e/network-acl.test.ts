/** Network ACLs at subnets' borders: every packet of either direction by itself. Through the command, with real packets. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { INTERNET, INTERNET_SERVER, TestHost } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { must, nft } from '../harness/witness.js';
import {
  answers,
  destroyAll,
  doesNotPing,
  expectHostAsBefore,
  isKeptFrom,
  ownNamespaces,
  pings,
  reaches,
  refused,
  settled,
  target,
} from './support.js';

let host: TestHost;
let pristine: HostState;

/** a: web (public) with web, web-2; db with db, app. b, peered, with far. NAT gateway `out` in web, for db. All groups are open. */
const OPEN = { securityGroups: { default: { ingress: [{}] } } };
const SPEC = {
  vpcs: {
    a: {
      cidr: '10.1.0.0/16',
      ...OPEN,
      subnets: { web: { cidr: '10.1.1.0/24', public: true }, db: { cidr: '10.1.2.0/24' } },
      natGateways: { out: { subnet: 'web', ip: '10.1.1.100' } },
      routeTables: { main: { routes: [{ destination: '0.0.0.0/0', target: { natGateway: 'out' } }] } },
      instances: {
        web: { subnet: 'web', ip: '10.1.1.10', publicIp: '198.51.100.10' },
        'web-2': { subnet: 'web', ip: '10.1.1.11', publicIp: '198.51.100.11' },
        db: { subnet: 'db', ip: '10.1.2.10' },
        app: { subnet: 'db', ip: '10.1.2.11' },
      },
    },
    b: {
      cidr: '10.2.0.0/16',
      ...OPEN,
      subnets: { far: { cidr: '10.2.1.0/24' } },
      instances: { far: { subnet: 'far', ip: '10.2.1.10' } },
    },
  },
  peerings: [{ vpcs: ['a', 'b'] }],
};

const WEB = 'vpc.a.web';
const WEB2 = 'vpc.a.web-2';
const DB = 'vpc.a.db';
const APP = 'vpc.a.app';
const FAR = 'vpc.b.far';
const ANY = '0.0.0.0/0';

beforeAll(async () => {
  host = await TestHost.create();
  pristine = await settled(host);
  await host.vpcctlOk(['apply', '-', '--yes'], { input: JSON.stringify(SPEC) });
});

afterEach(async () => {
  for (const subnet of ['web', 'db']) await vpcctl('associate-network-acl', '--vpc', 'a', '--subnet', subnet);
  await vpcctl('delete-network-acl', '--vpc', 'a', '--name', 't');
  for (const ns of [...ownNamespaces(), INTERNET]) await host.leave(ns);
});

afterAll(async () => {
  await host.leave('');
  await destroyAll(host);
  await expectHostAsBefore(host, pristine);
  await host.close();
});

async function vpcctl(...args: string[]) {
  return host.vpcctlOk(args);
}

type Entry = Readonly<Record<string, string | number>>;

/** The rules of ACL `t`, numbered as they stand, for a subnet; the kernel then is as recorded. */
async function acl(ingress: readonly Entry[], egress: readonly Entry[], subnet = 'web'): Promise<void> {
  const numbered = (entries: readonly Entry[]) =>
    entries.map((entry, at) => ({ number: (at + 1) * 100, action: 'allow', cidr: ANY, ...entry }));
  const rules = JSON.stringify({ ingress: numbered(ingress), egress: numbered(egress) });
  await host.vpcctlOk(['put-network-acl', '--vpc', 'a', '--name', 't', '--rules', '-'], { input: rules });
  await vpcctl('associate-network-acl', '--vpc', 'a', '--subnet', subnet, '--acl', 't');
  expect((await host.vpcctl(['drift'])).exitCode, 'drift').toBe(0);
}

const EPHEMERAL: Entry = { protocol: 'tcp', port: '1024-65535' };
const HTTP: Entry = { protocol: 'tcp', port: 80 };

/** What a chain of a's router has dropped. */
async function dropped(chain: 'acl_leave' | 'acl_enter'): Promise<number> {
  const listed = (await nft(['list', 'chain', 'inet', 'vpcctl', chain], 'vpc.a')) as {
    rule?: { expr: { counter?: { packets: number } }[] };
  }[];
  return listed.flatMap(({ rule }) => rule?.expr ?? []).reduce((sum, { counter }) => sum + (counter?.packets ?? 0), 0);
}

describe('a type of ICMP in a security group', { sequential: true }, () => {
  const group = async (ingress: readonly object[]) => {
    const rules = { input: JSON.stringify({ ingress }) };
    await host.vpcctlOk(['put-security-group', '--vpc', 'a', '--name', 'default', '--rules', '-', '--cut'], rules);
    expect((await host.vpcctl(['drift'])).exitCode, 'drift').toBe(0);
  };
  const asks = async (from: string) => answers(host, from, { proto: 'icmp', to: '10.1.1.10' });

  test.each([
    ['from anybody', {}],
    ['from a block', { from: '10.1.2.0/25' }],
    ['from members', { from: 'self' }],
  ])('is admitted %s, and no other', async (_whom, from) => {
    const echo = { protocol: 'icmp', icmpType: 8, ...from };
    await group([echo]);
    await pings(host, DB, '10.1.1.10');
    expect((await host.vpcctl(['analyze', 'a/db', 'a/web'])).exitCode).toBe(0);
    await group([{ ...echo, icmpCode: 1 }, { ...echo, icmpType: 13 }, { protocol: 'tcp' }]);
    await doesNotPing(host, DB, '10.1.1.10');
    expect((await host.vpcctl(['analyze', 'a/db', 'a/web'])).exitCode).toBe(10);
    await group([{ ...echo, icmpCode: 0 }]);
    await pings(host, DB, '10.1.1.10');
  });

  test('of a block only there', async () => {
    await group([{ protocol: 'icmp', icmpType: 8, from: '10.1.2.11' }]);
    expect([await asks(APP), await asks(DB)]).toEqual([true, false]);
    await group([{}]);
  });
});

describe('network ACLs', { sequential: true }, () => {
  test('are stateless: an answer needs a rule for the port that it goes to', async () => {
    const web = await target(host, WEB, '10.1.1.10', 80);
    await reaches(host, DB, web);
    await acl([HTTP], []);
    const before = { leaving: await dropped('acl_leave'), entering: await dropped('acl_enter') };
    const seen = (await web.listener.seen()).length;
    expect(await answers(host, DB, { proto: 'tcp', to: '10.1.1.10', port: 80 })).toBe(false);
    expect(await dropped('acl_leave'), 'the answer is dropped at the border').toBeGreaterThan(before.leaving);
    expect(await dropped('acl_enter'), 'what asks is not').toBe(before.entering);
    expect((await web.listener.seen()).length, 'no connection, only its first packet').toBe(seen);
    await vpcctl(
      ...'create-network-acl-entry --vpc a --acl t --egress --number 100 --action allow'.split(' '),
      ...`--protocol tcp --port 1024-65535 --cidr 10.1.2.0/24`.split(' '),
    );
    await reaches(host, DB, web);
    await isKeptFrom(host, FAR, web);
  });

  test('the lowest number that matches decides, and the rest is denied', async () => {
    const [web80, web81, web90] = [
      await target(host, WEB, '10.1.1.10', 80),
      await target(host, WEB, '10.1.1.10', 81),
      await target(host, WEB, '10.1.1.10', 90),
    ];
    for (const one of [web80, web81, web90]) await reaches(host, DB, one);
    const deny: Entry = { ...HTTP, action: 'deny', cidr: '10.1.2.10/32' };
    const allow: Entry = { protocol: 'tcp', port: '80-89' };
    await acl([deny, allow], [EPHEMERAL]);
    await isKeptFrom(host, DB, web80);
    await reaches(host, APP, web80);
    await reaches(host, DB, web81);
    await isKeptFrom(host, APP, web90);
    await acl([allow, deny], [EPHEMERAL]);
    await reaches(host, DB, web80);
  });

  test('judge what leaves and what enters, by either subnet, and a peer at one end', async () => {
    const db = await target(host, DB, '10.1.2.10', 80);
    const far = await target(host, FAR, '10.2.1.10', 80);
    await reaches(host, WEB, db);
    await reaches(host, WEB, far);
    await acl([EPHEMERAL], [{ ...HTTP, cidr: '10.1.2.0/24' }]);
    await reaches(host, WEB, db);
    await isKeptFrom(host, WEB, far);
    await vpcctl('associate-network-acl', '--vpc', 'a', '--subnet', 'web');
    await vpcctl('associate-network-acl', '--vpc', 'a', '--subnet', 'db', '--acl', 't');
    await isKeptFrom(host, WEB, db);
    await acl([HTTP], [EPHEMERAL], 'db');
    await reaches(host, WEB, db);
    await reaches(host, FAR, db);
  });

  test('let two of one subnet talk, and the gateway answer', async () => {
    const web = await target(host, WEB, '10.1.1.10', 80);
    await reaches(host, DB, web);
    await acl([], []);
    await reaches(host, WEB2, web);
    await pings(host, WEB2, '10.1.1.10');
    await pings(host, WEB, '10.1.1.1');
    await isKeptFrom(host, DB, web);
    await doesNotPing(host, DB, '10.1.1.10');
  });

  test('change for connections that are open too', async () => {
    await host.listener(WEB, 'tcp', 80);
    const connection = await host.connect(DB, '10.1.1.10', 80);
    await acl([HTTP], [EPHEMERAL]);
    expect(await connection.exchange()).toMatchObject({ ok: true });
    await acl([], []);
    expect(await connection.exchange(300)).toMatchObject({ ok: false });
    await acl([HTTP], [EPHEMERAL]);
    expect(await connection.exchange(5000)).toMatchObject({ ok: true });
    await connection.close();
  });

  test('ICMP by type: who may ask, and who may answer', async () => {
    await pings(host, DB, '10.1.1.10');
    await pings(host, WEB, '10.1.2.10');
    await acl([{ protocol: 'icmp', icmpType: 8 }], [{ protocol: 'icmp', icmpType: 0, icmpCode: 0 }]);
    await pings(host, DB, '10.1.1.10');
    await doesNotPing(host, WEB, '10.1.2.10');
    await acl([{ protocol: 'icmp', icmpType: 8, action: 'deny' }, { protocol: 'icmp' }], [{}]);
    await doesNotPing(host, DB, '10.1.1.10');
    await pings(host, WEB, '10.1.2.10');
  });

  test('UDP, and a protocol by its number', async () => {
    const web = await target(host, WEB, '10.1.1.10', 53, 'udp');
    await reaches(host, DB, web);
    await acl([{ protocol: 'udp', port: 53 }], [{ protocol: 17 }]);
    await reaches(host, DB, web);
    await acl([{ protocol: 'udp', port: 53 }], [{ protocol: 'udp', port: 53 }]);
    expect(await answers(host, DB, { proto: 'udp', to: '10.1.1.10', port: 53 })).toBe(false);
  });

  test('through a NAT gateway, at the border of its own subnet', async () => {
    await host.listener(INTERNET, 'tcp', 80);
    const outside = { proto: 'tcp', to: INTERNET_SERVER, port: 80 } as const;
    const reached = () => answers(host, DB, outside);
    expect(await reached()).toBe(true);
    // Into web to the gateway, out of it to the internet; the answer the same way back.
    await acl(
      [
        { ...HTTP, cidr: '10.1.2.0/24' },
        { ...EPHEMERAL, cidr: '203.0.113.0/24' },
      ],
      [
        { ...HTTP, cidr: '203.0.113.0/24' },
        { ...EPHEMERAL, cidr: '10.1.2.0/24' },
      ],
    );
    expect(await reached()).toBe(true);
    for (const [list, number] of [
      ['--ingress', '100'],
      ['--ingress', '200'],
      ['--egress', '100'],
      ['--egress', '200'],
    ] as const) {
      const entry = ['--vpc', 'a', '--acl', 't', list, '--number', '50', '--protocol', 'tcp'];
      const cidr = (list === '--ingress') === (number === '100') ? '10.1.2.0/24' : '203.0.113.0/24';
      const port = number === '100' ? '80' : '1024-65535';
      await vpcctl('create-network-acl-entry', ...entry, '--action', 'deny', '--port', port, '--cidr', cidr);
      expect(await reached(), `without ${list} ${number}`).toBe(false);
      await vpcctl('delete-network-acl-entry', ...entry.slice(0, 7));
      expect(await reached(), `with ${list} ${number}`).toBe(true);
    }
  });

  test('of the internet, in and out, by private addresses', async () => {
    const web = await target(host, WEB, '10.1.1.10', 80);
    await reaches(host, '', web);
    await acl([{ ...HTTP, cidr: '169.254.128.1/32' }], [{ ...EPHEMERAL, cidr: '169.254.128.1/32' }]);
    await reaches(host, '', web);
    await isKeptFrom(host, DB, web);
    await acl([{ ...HTTP, action: 'deny', cidr: '169.254.128.1/32' }, {}], [{}]);
    await isKeptFrom(host, '', web);
    await reaches(host, DB, web);
  });

  test('analyze says what packets find', async () => {
    const web = await target(host, WEB, '10.1.1.10', 80);
    const asked = async () =>
      (await host.vpcctl(['analyze', 'a/db', 'a/web', '--port', '80', '--json'])).json as {
        reachable: boolean;
        refusals: { direction: string; component: { id: string }; rule: string }[];
      };
    await acl([HTTP], [EPHEMERAL]);
    await reaches(host, DB, web);
    expect((await asked()).reachable).toBe(true);
    await acl([HTTP], [{ protocol: 'tcp', port: '1024-32000' }]);
    expect(await answers(host, DB, { proto: 'tcp', to: '10.1.1.10', port: 80, fromPort: 40_000 })).toBe(false);
    expect(await asked()).toMatchObject({
      reachable: false,
      refusals: [{ direction: 'return', component: { id: 'network-acl/a/t' } }],
    });
    await acl([HTTP], [{ protocol: 'tcp', port: '1024-40000' }]);
    expect((await asked()).refusals[0]?.rule).toMatch(/only some of its ports pass, 32768-40000$/);
    const from = (fromPort: number) => ({ proto: 'tcp', to: '10.1.1.10', port: 80, fromPort }) as const;
    expect(await answers(host, DB, from(40_000))).toBe(true);
    expect(await answers(host, DB, from(40_001))).toBe(false);
  });

  test('is put back by repair, and told of in words', async () => {
    await acl([HTTP], [EPHEMERAL]);
    const web = await target(host, WEB, '10.1.1.10', 80);
    await must('vpc.a', ['nft', 'flush', 'set', 'inet', 'vpcctl', 'acl_port']);
    await isKeptFrom(host, DB, web);
    const { exitCode, stdout } = await host.vpcctl(['drift']);
    expect(exitCode).toBe(8);
    expect(stdout).toContain('network acl a/t: ingress rule that allows tcp/80 from 0.0.0.0/0');
    await vpcctl('repair', '--yes');
    await reaches(host, DB, web);
  });

  test('refuses what breaks a rule', async () => {
    await acl([HTTP], [EPHEMERAL]);
    const entry = ['create-network-acl-entry', '--vpc', 'a', '--acl', 't', '--action', 'allow', '--cidr', ANY];
    await refused(host, ['delete-network-acl', '--vpc', 'a', '--name', 't'], 5, [/is that of subnet a\/web/]);
    await refused(host, [...entry, '--ingress', '--number', '0'], 3, [/expected a number of 1 to 32766/]);
    await refused(host, [...entry, '--number', '1'], 2, [/neither ingress nor egress/]);
    await refused(host, [...entry, '--ingress', '--number', '1', '--icmp-type', '8'], 3, [/protocol any has none/]);
    await refused(host, ['create-network-acl', '--vpc', 'a', '--name', 'default'], 3, [/cannot be called default/]);
  });
});
