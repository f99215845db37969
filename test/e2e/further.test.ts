/** What users of VPCs on Linux check besides the published tests. Through the command, with real packets. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { INTERNET, INTERNET_SERVER, TestHost, UPLINK } from '../harness/host.js';
import { diffHostStates, type HostState, netnsNames } from '../harness/host-state.mjs';
import { counter, ip, ipDo, must, nft } from '../harness/witness.js';
import {
  answers,
  areKeptApart,
  changesNothing,
  destroyAll,
  doesNotPing,
  expectHostAsBefore,
  expectRefusal,
  expectWitness,
  isAlive,
  isKeptFrom,
  ownNamespaces,
  pidsIn,
  pings,
  reaches,
  refused,
  settled,
  stateOf,
  target,
  until,
  witness,
} from './support.js';

const examples = fileURLToPath(new URL('../../examples/', import.meta.url));

let host: TestHost;
let temp: string;
let pristine: HostState;

beforeAll(async () => {
  host = await TestHost.create();
  temp = mkdtempSync(join(tmpdir(), 'vpcctl-further-'));
  pristine = host.snapshot();
});

afterAll(async () => {
  rmSync(temp, { recursive: true, force: true });
  await host.close();
});

function file(name: string, content: unknown): string {
  const path = join(temp, name);
  writeFileSync(path, JSON.stringify(content));
  return path;
}

async function vpcctl(...args: string[]) {
  return host.vpcctlOk(args);
}

/** Makes VPCs of a spec in one command. */
async function apply(spec: unknown): Promise<void> {
  await host.vpcctlOk(['apply', '-', '--yes'], { input: JSON.stringify(spec) });
}

/** Deletes everything and demands the host as it was before. */
async function tidy(): Promise<void> {
  await host.leave(INTERNET);
  await host.leave('');
  await destroyAll(host);
  await expectHostAsBefore(host, pristine);
}

/** A VPC with a public subnet `web` and a private one `db`, an instance of the same name in each, at .10. */
function twoTiers(net: number) {
  return {
    cidr: `10.${net}.0.0/16`,
    subnets: { web: { cidr: `10.${net}.1.0/24`, public: true }, db: { cidr: `10.${net}.2.0/24` } },
    instances: {
      web: { subnet: 'web', ip: `10.${net}.1.10` },
      db: { subnet: 'db', ip: `10.${net}.2.10` },
    },
  };
}

describe('policies', { sequential: true }, () => {
  const WEB = 'vpc.a.web';
  const DB = 'vpc.a.db';
  const DB2 = 'vpc.a.db2';
  const WEB_IP = '10.1.1.10';
  const DB_IP = '10.1.2.10';

  beforeAll(async () => {
    const a = twoTiers(1);
    await apply({ vpcs: { a: { ...a, instances: { ...a.instances, db2: { subnet: 'db', ip: '10.1.2.11' } } } } });
  });
  afterEach(async () => {
    await vpcctl('clear-policy', '--vpc', 'a', '--subnet', 'web');
    for (const ns of [WEB, DB, DB2, INTERNET]) await host.leave(ns);
  });
  afterAll(tidy);

  async function policy(content: unknown, subnet = 'web'): Promise<void> {
    await vpcctl('apply-policy', '--vpc', 'a', '--subnet', subnet, '--policy', file('policy.json', content));
  }

  test('reachable before, blocked after, reachable again when it is cleared', async () => {
    const web = await target(host, WEB, WEB_IP, 8000);
    await reaches(host, DB, web);
    await policy({ ingress: [{ port: 8000, protocol: 'tcp', action: 'deny' }] });
    await isKeptFrom(host, DB, web);
    await isKeptFrom(host, '', web);
    await vpcctl('clear-policy', '--vpc', 'a', '--subnet', 'web');
    await reaches(host, DB, web);
  });

  test('the first rule that matches decides', async () => {
    const web = await target(host, WEB, WEB_IP, 8000);
    const deny = { port: 8000, protocol: 'tcp', source: `${DB_IP}/32`, action: 'deny' };
    const allow = { port: '1-65535', protocol: 'tcp', action: 'allow' };
    await policy({ ingress: [deny, allow] });
    await isKeptFrom(host, DB, web);
    await reaches(host, DB2, web);
    await policy({ ingress: [allow, deny] });
    await reaches(host, DB, web);
  });

  test('egress: what a list does not allow does not leave', async () => {
    const db80 = await target(host, DB, DB_IP, 80);
    const db81 = await target(host, DB, DB_IP, 81);
    await host.listener(INTERNET, 'tcp', 80);
    const outside = { proto: 'tcp', to: INTERNET_SERVER, port: 80 } as const;
    for (const one of [db80, db81]) await reaches(host, WEB, one);
    expect(await answers(host, WEB, outside)).toBe(true);
    await policy({
      ingress: [{ protocol: 'any', port: 'any', action: 'allow' }],
      egress: [{ protocol: 'tcp', port: 80, destination: '10.1.2.0/24', action: 'allow' }],
    });
    await reaches(host, WEB, db80);
    await isKeptFrom(host, WEB, db81);
    await doesNotPing(host, WEB, DB_IP);
    const before = (await counter('', UPLINK)).txPackets;
    expect(await answers(host, WEB, outside)).toBe(false);
    expect((await counter('', UPLINK)).txPackets - before, 'packets on the uplink').toBe(0);
    // Stateful: answers to what comes in leave all the same.
    await reaches(host, DB, await target(host, WEB, WEB_IP, 9000));
  });

  test('ICMP alone, and everything but ICMP', async () => {
    const web = await target(host, WEB, WEB_IP, 8000);
    await pings(host, DB, WEB_IP);
    await policy({ ingress: [{ protocol: 'icmp', action: 'allow' }] });
    await pings(host, DB, WEB_IP);
    await isKeptFrom(host, DB, web);
    await policy({
      ingress: [
        { protocol: 'icmp', action: 'drop' },
        { protocol: 'any', action: 'accept' },
      ],
    });
    await doesNotPing(host, DB, WEB_IP);
    await reaches(host, DB, web);
  });

  test('a source, and a range of ports with its two ends', async () => {
    const ports = [7999, 8000, 8100, 8101];
    const targets = await Promise.all(ports.map((port) => target(host, WEB, WEB_IP, port)));
    for (const one of targets) for (const from of [DB, DB2]) await reaches(host, from, one);
    await policy({ ingress: [{ protocol: 'tcp', port: '8000-8100', source: DB_IP, action: 'allow' }] });
    const inside = targets.filter(({ port }) => port === 8000 || port === 8100);
    for (const one of inside) await reaches(host, DB, one);
    const outside = targets.filter((one) => !inside.includes(one));
    await areKeptApart(host, [
      ...outside.map((one) => [DB, one] as const),
      ...targets.map((one) => [DB2, one] as const),
    ]);
  });

  test('UDP and TCP on the same port are two things', async () => {
    const tcp = await target(host, WEB, WEB_IP, 53);
    const udp = await target(host, WEB, WEB_IP, 53, 'udp');
    for (const one of [tcp, udp]) await reaches(host, DB, one);
    await policy({ ingress: [{ protocol: 'udp', port: 53, action: 'allow' }] });
    await reaches(host, DB, udp);
    await isKeptFrom(host, DB, tcp);
  });
});

describe('security groups', { sequential: true }, () => {
  const [ONE, TWO, SERVER] = ['vpc.a.one', 'vpc.a.two', 'vpc.a.server'];
  const SERVER_IP = '10.1.1.20';

  beforeAll(async () => {
    await apply({
      vpcs: {
        a: {
          cidr: '10.1.0.0/16',
          subnets: { web: { cidr: '10.1.1.0/24', public: true } },
          securityGroups: { client: {}, server: {} },
          instances: {
            one: { subnet: 'web', ip: '10.1.1.10', securityGroups: ['client'] },
            two: { subnet: 'web', ip: '10.1.1.11' },
            server: { subnet: 'web', ip: SERVER_IP, securityGroups: ['server'] },
          },
        },
      },
    });
  });
  afterAll(tidy);

  async function rules(name: string, spec: unknown): Promise<void> {
    await vpcctl('put-security-group', '--vpc', 'a', '--name', name, '--rules', file('rules.json', spec));
  }

  test('nothing comes in but what a rule admits: a group, a source, a range of ports, ICMP', async () => {
    const ports = [7999, 8000, 8100, 8101];
    const targets = await Promise.all(ports.map((port) => target(host, SERVER, SERVER_IP, port)));
    await areKeptApart(
      host,
      targets.map((one) => [ONE, one] as const),
    );
    await doesNotPing(host, ONE, SERVER_IP);
    await rules('server', {
      ingress: [
        { protocol: 'tcp', port: '8000-8100', from: { group: 'client' } },
        { protocol: 'tcp', port: 7999, from: '10.1.1.11/32' },
        { protocol: 'icmp', from: '10.1.1.11' },
      ],
    });
    const reached = async (from: string) =>
      Promise.all(ports.map((port) => answers(host, from, { proto: 'tcp', to: SERVER_IP, port })));
    expect(await reached(ONE)).toEqual([false, true, true, false]);
    expect(await reached(TWO)).toEqual([true, false, false, false]);
    expect(await reached('')).toEqual([false, false, false, false]);
    await doesNotPing(host, ONE, SERVER_IP);
    await pings(host, TWO, SERVER_IP);
  });

  test('an egress list lets out what it names, and nothing else', async () => {
    await rules('server', { ingress: [{ from: 'any' }] });
    const ports = [80, 81];
    const targets = await Promise.all(ports.map((port) => target(host, SERVER, SERVER_IP, port)));
    await host.listener(INTERNET, 'udp', 53);
    for (const one of targets) await reaches(host, ONE, one);
    await rules('client', { egress: [{ protocol: 'tcp', port: 80, to: { group: 'server' } }] });
    await reaches(host, ONE, targets[0] as (typeof targets)[0]);
    await isKeptFrom(host, ONE, targets[1] as (typeof targets)[0]);
    await doesNotPing(host, ONE, SERVER_IP);
    expect(await answers(host, ONE, { proto: 'udp', to: INTERNET_SERVER, port: 53 })).toBe(false);
    await rules('client', { egress: [{ protocol: 'udp', port: 53, to: '203.0.113.0/24' }] });
    expect(await answers(host, ONE, { proto: 'udp', to: INTERNET_SERVER, port: 53 })).toBe(true);
    await isKeptFrom(host, ONE, targets[0] as (typeof targets)[0]);
  });

  test('an instance that goes takes its part of the firewall along', async () => {
    await rules('server', { ingress: [{ protocol: 'tcp', port: 5432, from: { group: 'client' } }] });
    await host.leave(SERVER);
    await vpcctl('delete-instance', '--vpc', 'a', '--name', 'server');
    expect((await host.vpcctl(['drift'])).stdout).toMatch(/^no drift/);
    const elements = (await nft(['list', 'ruleset'], 'vpc.a')).filter((object) =>
      JSON.stringify(object).includes('5432'),
    );
    expect(elements).toEqual([]);
  });
});

describe('three VPCs', { sequential: true }, () => {
  const ns = (vpc: string, name = 'web') => `vpc.${vpc}.${name}`;
  const address = (net: number, tier = 1) => `10.${net}.${tier}.10`;

  beforeAll(async () => {
    await apply({ vpcs: { a: twoTiers(1), b: twoTiers(2), c: twoTiers(3) } });
  });
  afterAll(tidy);

  test('a peering limited to blocks leaves the others out', async () => {
    await vpcctl('peer-vpcs', '--vpc1', 'a', '--vpc2', 'b', '--allow-cidrs', '10.1.1.0/24,10.2.1.0/24');
    const webA = await target(host, ns('a'), address(1), 8000);
    const dbA = await target(host, ns('a', 'db'), address(1, 2), 8000);
    const webB = await target(host, ns('b'), address(2), 8000);
    const dbB = await target(host, ns('b', 'db'), address(2, 2), 8000);
    await reaches(host, ns('a'), webB, address(1));
    await reaches(host, ns('b'), webA, address(2));
    await areKeptApart(host, [
      [ns('a'), dbB],
      [ns('a', 'db'), webB],
      [ns('a', 'db'), dbB],
      [ns('b'), dbA],
      [ns('b', 'db'), webA],
    ]);
    await reaches(host, ns('b'), dbB);
  });

  test('a third VPC stays apart from two that are peered', async () => {
    await vpcctl('peer-vpcs', '--vpc1', 'a', '--vpc2', 'b');
    const webA = await target(host, ns('a'), address(1), 8001);
    const dbB = await target(host, ns('b', 'db'), address(2, 2), 8001);
    const webC = await target(host, ns('c'), address(3), 8001);
    await reaches(host, ns('b'), webA, address(2));
    await reaches(host, ns('a', 'db'), dbB, address(1, 2));
    await areKeptApart(host, [
      [ns('c'), webA],
      [ns('c'), dbB],
      [ns('c', 'db'), webA],
      [ns('c', 'db'), dbB],
      [ns('a'), webC],
      [ns('b', 'db'), webC],
    ]);
    await reaches(host, ns('c', 'db'), webC);
  });

  test('peering is not transitive', async () => {
    await vpcctl('peer-vpcs', '--vpc1', 'c', '--vpc2', 'b');
    const webA = await target(host, ns('a'), address(1), 8002);
    const webB = await target(host, ns('b'), address(2), 8002);
    const webC = await target(host, ns('c'), address(3), 8002);
    for (const from of [ns('a'), ns('c')]) await reaches(host, from, webB);
    await isKeptFrom(host, ns('a'), webC);
    await isKeptFrom(host, ns('c'), webA);
    // Not by a route of the workload's own making either.
    await ipDo(['route', 'add', '10.3.0.0/16', 'via', '10.1.1.1'], ns('a'));
    await isKeptFrom(host, ns('a'), webC);
    await ipDo(['route', 'del', '10.3.0.0/16'], ns('a'));
  });

  test("a workload reaches no service of the host, no other VPC's gateway, and no part of a router but ping", async () => {
    const services = await Promise.all([
      target(host, '', '192.0.2.2', 2222),
      target(host, '', '192.0.2.2', 5353, 'udp'),
    ]);
    for (const service of services) await reaches(host, INTERNET, service);
    const ways = ['192.0.2.2', '169.254.128.1', '169.254.128.2', '10.1.1.1', '10.2.1.1'];
    await areKeptApart(
      host,
      services.flatMap((service) =>
        [ns('a'), ns('a', 'db')].flatMap((from) => ways.map((to) => [from, service, to] as const)),
      ),
    );
    await pings(host, ns('a'), '10.1.1.1');
    await pings(host, ns('a'), '10.1.2.1');
    const foreign = ['192.0.2.2', '169.254.128.1', '169.254.128.2', '10.2.1.1', '10.3.1.1', '10.3.2.1'];
    for (const from of [ns('a'), ns('a', 'db')]) await doesNotPing(host, from, ...foreign);
    await pings(host, ns('c'), '10.3.1.1');
  });

  test('unpeer-vpcs isolates again, what is under way included', async () => {
    const webA = await target(host, ns('a'), address(1), 8003);
    const webB = await target(host, ns('b'), address(2), 8003);
    await reaches(host, ns('a'), webB);
    const talk = await host.connect(ns('b'), address(1), 8003);
    expect(await talk.exchange()).toEqual({ ok: true });
    await vpcctl('unpeer-vpcs', '--vpc1', 'a', '--vpc2', 'b');
    expect((await talk.exchange(500)).ok).toBe(false);
    await isKeptFrom(host, ns('a'), webB);
    await isKeptFrom(host, ns('b'), webA);
    await reaches(host, ns('c'), webB);
    await talk.close();
  });

  test('a private app is reached neither from outside nor from the host', async () => {
    const { json } = await vpcctl('deploy-app', '--vpc', 'a', '--subnet', 'db', '--port', '8080', '--json');
    expect(json).toMatchObject({ app: { port: 8080 } });
    const url = `http://${address(1, 2)}:8080`;
    const curl = (from: string, to = url) => must(from, ['curl', '-sS', '--max-time', '0.4', to]);
    expect(await curl(ns('a'))).toContain('"subnet":"db"');
    await expect(curl('')).rejects.toThrow(/curl/);
    await ipDo(['route', 'add', '10.1.0.0/16', 'via', '192.0.2.2'], INTERNET);
    await ipDo(['route', 'add', '10.1.2.0/24', 'via', '169.254.128.2']);
    try {
      await expect(curl(INTERNET)).rejects.toThrow(/curl/);
      await expect(curl('')).rejects.toThrow(/curl/);
      // Nor a public one by its private address, from outside.
      const web = await target(host, ns('a'), address(1), 8004);
      await reaches(host, '', web);
      await isKeptFrom(host, INTERNET, web);
    } finally {
      await ipDo(['route', 'del', '10.1.0.0/16'], INTERNET);
      await ipDo(['route', 'del', '10.1.2.0/24']);
    }
    await vpcctl('stop-app', '--vpc', 'a', '--subnet', 'db');
  });

  test('deleting one subnet leaves the others, and what they are saying', async () => {
    const webA = await target(host, ns('a'), address(1), 8005);
    await host.listener(INTERNET, 'tcp', 81);
    const talk = await host.connect('', address(1), 8005);
    expect(await talk.exchange()).toEqual({ ok: true });
    await host.leave(ns('a', 'db'));
    await vpcctl('delete-subnet', '--vpc', 'a', '--subnet', 'db');
    expect(netnsNames()).not.toContain(ns('a', 'db'));
    expect(await talk.exchange()).toEqual({ ok: true });
    await talk.close();
    await reaches(host, '', webA);
    expect(await answers(host, ns('a'), { proto: 'tcp', to: INTERNET_SERVER, port: 81 })).toBe(true);
    await reaches(host, ns('b'), await target(host, ns('b', 'db'), address(2, 2), 8005));
    await refused(host, ['exec', '--vpc', 'a', '--subnet', 'db', '--', 'true'], 4, [/subnet db of vpc a/]);
  });
});

describe('every command', { sequential: true }, () => {
  async function everything() {
    return { host: await settled(host), kernel: await witness(), state: await stateOf(host) };
  }

  const steps = (): { args: string[]; dryRun: boolean }[] => [
    { args: ['configure', '--quota', 'subnetsPerVpc=9'], dryRun: true },
    { args: ['create-vpc', '--name', 'a', '--cidr', '10.1.0.0/16'], dryRun: true },
    { args: ['create-vpc', '--name', 'b', '--cidr', '10.2.0.0/16', '--public-pool', '198.51.100.0/25'], dryRun: true },
    { args: ['add-subnet', '--vpc', 'a', '--subnet', 'web', '--cidr', '10.1.1.0/24', '--nat'], dryRun: true },
    { args: ['add-subnet', '--vpc', 'b', '--subnet', 'app', '--cidr', '10.2.1.0/24'], dryRun: true },
    { args: ['put-security-group', '--vpc', 'a', '--name', 'web', '--rules', rules], dryRun: true },
    {
      args: ['add-instance', '--vpc', 'a', '--subnet', 'web', '--name', 'w2', '--security-group', 'web,default'],
      dryRun: true,
    },
    { args: ['modify-instance', '--vpc', 'a', '--name', 'w2', '--bandwidth', '100mbit'], dryRun: true },
    { args: ['analyze', 'a/web', 'a/w2', '--port', '8080'], dryRun: false },
    { args: ['apply-policy', '--vpc', 'a', '--subnet', 'web', '--policy', policy], dryRun: true },
    { args: ['peer-vpcs', '--vpc1', 'a', '--vpc2', 'b', '--allow-cidrs', '10.1.1.0/24', '10.2.0.0/16'], dryRun: true },
    { args: ['deploy-app', '--vpc', 'a', '--subnet', 'web', '--port', '8080'], dryRun: true },
    { args: ['create-route-table', '--vpc', 'b', '--name', 'out'], dryRun: true },
    { args: ['create-nat-gateway', '--vpc', 'a', '--subnet', 'web', '--name', 'out'], dryRun: true },
    { args: ['create-route', '--vpc', 'a', '--destination', '0.0.0.0/0', '--target', 'nat:out'], dryRun: true },
    {
      args: ['create-route', '--vpc', 'b', '--table', 'out', '--destination', '10.9.0.0/16', '--target', 'peer:a'],
      dryRun: true,
    },
    { args: ['associate-route-table', '--vpc', 'b', '--subnet', 'app', '--table', 'out'], dryRun: true },
    { args: ['create-egress-only-internet-gateway', '--vpc', 'b'], dryRun: true },
    { args: ['allocate-address', '--name', 'e'], dryRun: true },
    { args: ['create-prefix-list', '--name', 'p', '--max-entries', '3', '--entry', '10.8.0.0/16'], dryRun: true },
    {
      args: ['modify-prefix-list', '--name', 'p', '--add', '10.9.0.0/16=far', '--remove', '10.8.0.0/16'],
      dryRun: true,
    },
    { args: ['create-network-acl', '--vpc', 'a', '--name', 'n'], dryRun: true },
    { args: ['put-network-acl', '--vpc', 'a', '--name', 'n', '--rules', acl], dryRun: true },
    {
      args: [
        ...['create-network-acl-entry', '--vpc', 'a', '--acl', 'n', '--egress', '--number', '7'],
        ...['--action', 'allow', '--cidr', '0.0.0.0/0'],
      ],
      dryRun: true,
    },
    { args: ['associate-network-acl', '--vpc', 'a', '--subnet', 'web', '--acl', 'n'], dryRun: true },
    { args: ['create-transit-gateway', '--name', 'g'], dryRun: true },
    { args: ['create-transit-gateway-route-table', '--transit-gateway', 'g', '--name', 't'], dryRun: true },
    { args: ['attach-vpc', '--transit-gateway', 'g', '--vpc', 'a', '--table', 't'], dryRun: true },
    {
      args: [
        ...['create-transit-gateway-route', '--transit-gateway', 'g', '--table', 't'],
        ...['--destination', '10.8.0.0/16', '--target', 'vpc:a'],
      ],
      dryRun: true,
    },
    { args: ['associate-address', '--name', 'e', '--vpc', 'a', '--instance', 'w2'], dryRun: true },
    { args: ['modify-vpc-dns', '--vpc', 'a', '--dns-forward', 'none'], dryRun: true },
    { args: ['create-private-zone', '--name', 'z', '--domain', 'z.internal'], dryRun: true },
    { args: ['associate-private-zone', '--zone', 'z', '--vpc', 'a'], dryRun: true },
    { args: ['put-zone-record', '--zone', 'z', '--name', 'w', '--alias', 'a/w2'], dryRun: true },
    {
      args: ['assign-private-ip-addresses', '--vpc', 'a', '--instance', 'w2', '--ip', '10.1.1.99'],
      dryRun: true,
    },
    {
      args: ['unassign-private-ip-addresses', '--vpc', 'a', '--instance', 'w2', '--ip', '10.1.1.99'],
      dryRun: true,
    },
    { args: ['matrix', '--vpc', 'a'], dryRun: false },
    { args: ['list'], dryRun: false },
    { args: ['show'], dryRun: false },
    { args: ['show', 'a'], dryRun: false },
    { args: ['inspect', '--vpc', 'a'], dryRun: false },
    { args: ['show-policy', '--vpc', 'a'], dryRun: false },
    { args: ['doctor'], dryRun: false },
    { args: ['doctor', '--fix'], dryRun: false },
    { args: ['doctor', '--undo'], dryRun: false },
    { args: ['drift'], dryRun: false },
    { args: ['cut-connections'], dryRun: false },
    { args: ['repair', '--yes'], dryRun: false },
    { args: ['restore'], dryRun: false },
    { args: ['schema'], dryRun: false },
    { args: ['schema', '--policy'], dryRun: false },
    { args: ['export'], dryRun: false },
    { args: ['export', '--output', output], dryRun: false },
    { args: ['exec', '--vpc', 'a', '--instance', 'w2', '--', 'ip', '-4', 'address'], dryRun: false },
    { args: ['plan', spec], dryRun: false },
    { args: ['apply', spec, '--yes'], dryRun: true },
    { args: ['import', spec, '--yes'], dryRun: true },
    { args: ['stop-app', '--vpc', 'a', '--subnet', 'web'], dryRun: true },
    { args: ['delete-zone-record', '--zone', 'z', '--name', 'w'], dryRun: true },
    { args: ['disassociate-private-zone', '--zone', 'z', '--vpc', 'a'], dryRun: true },
    { args: ['delete-private-zone', '--name', 'z'], dryRun: true },
    { args: ['modify-vpc-dns', '--vpc', 'a', '--off'], dryRun: true },
    { args: ['disassociate-address', '--name', 'e'], dryRun: true },
    { args: ['release-address', '--name', 'e'], dryRun: true },
    { args: ['delete-prefix-list', '--name', 'p'], dryRun: true },
    {
      args: [
        ...['delete-transit-gateway-route', '--transit-gateway', 'g', '--table', 't'],
        ...['--destination', '10.8.0.0/16'],
      ],
      dryRun: true,
    },
    { args: ['detach-vpc', '--transit-gateway', 'g', '--vpc', 'a'], dryRun: true },
    { args: ['delete-transit-gateway-route-table', '--transit-gateway', 'g', '--name', 't'], dryRun: true },
    { args: ['delete-transit-gateway', '--name', 'g'], dryRun: true },
    { args: ['associate-network-acl', '--vpc', 'a', '--subnet', 'web'], dryRun: true },
    {
      args: ['delete-network-acl-entry', '--vpc', 'a', '--acl', 'n', '--egress', '--number', '7'],
      dryRun: true,
    },
    { args: ['delete-network-acl', '--vpc', 'a', '--name', 'n'], dryRun: true },
    { args: ['associate-route-table', '--vpc', 'b', '--subnet', 'app'], dryRun: true },
    { args: ['delete-route', '--vpc', 'b', '--table', 'out', '--destination', '10.9.0.0/16'], dryRun: true },
    { args: ['delete-route-table', '--vpc', 'b', '--name', 'out'], dryRun: true },
    { args: ['delete-nat-gateway', '--vpc', 'a', '--name', 'out'], dryRun: true },
    { args: ['delete-egress-only-internet-gateway', '--vpc', 'b'], dryRun: true },
    { args: ['clear-policy', '--vpc', 'a', '--subnet', 'web'], dryRun: true },
    { args: ['delete-instance', '--vpc', 'a', '--name', 'w2'], dryRun: true },
    { args: ['delete-security-group', '--vpc', 'a', '--name', 'web'], dryRun: true },
    { args: ['unpeer-vpcs', '--vpc1', 'a', '--vpc2', 'b'], dryRun: true },
    { args: ['delete-subnet', '--vpc', 'b', '--subnet', 'app'], dryRun: true },
    { args: ['delete-vpc', '--name', 'b'], dryRun: true },
    { args: ['destroy', spec, '--yes'], dryRun: true },
    { args: ['cleanup-all', '--yes'], dryRun: true },
  ];
  let rules: string;
  let acl: string;
  let policy: string;
  let spec: string;
  let output: string;

  beforeAll(() => {
    rules = file('rules.json', { ingress: [{ protocol: 'tcp', port: 8080, from: 'any' }] });
    acl = file('acl.json', { ingress: [{ number: 5, action: 'deny', cidr: '10.9.0.0/16' }] });
    policy = file('policy.json', { ingress: [{ protocol: 'tcp', port: 8080, action: 'allow' }], egress: [] });
    spec = file('spec.json', { name: 's', vpcs: { s: twoTiers(7) } });
    output = join(temp, 'out.yaml');
  });
  afterAll(tidy);

  test('dry-run changes nothing; done twice it exits 0 and changes nothing; --json parses', {
    timeout: 240_000,
  }, async () => {
    const names = new Set<string>();
    let before = await everything();
    for (const { args, dryRun } of steps()) {
      const words = args.join(' ');
      names.add(args[0] ?? '');
      // What follows `--` is the program's.
      const json = args.includes('--') ? ['--json', ...args] : [...args, '--json'];
      if (!dryRun) {
        expect((await host.vpcctlOk(json)).json, words).toBeTypeOf('object');
        continue;
      }
      expect((await host.vpcctlOk([...args, '--dry-run'])).stdout, words).toMatch(/nothing was changed/);
      const now = await everything();
      const since = `${words} --dry-run, or what was done a second time before it`;
      expect(diffHostStates(before.host, now.host), since).toEqual([]);
      expect(now.kernel, since).toEqual(before.kernel);
      expect(now.state, since).toEqual(before.state);
      // What apply has done, import has nothing to do for.
      const isImport = args[0] === 'import';
      expect((await host.vpcctlOk(json)).json, words).toMatchObject({ unchanged: isImport });
      if (!isImport) before = await everything();
      expect((await host.vpcctlOk(json)).json, `${words}, again`).toMatchObject({ unchanged: true });
    }
    expect(await everything()).toEqual(before);
    const { stdout } = await vpcctl('--help');
    const known = [...stdout.matchAll(/^ {2}([a-z-]+) .*\S {2,}\S/gm)].map(([, name]) => name);
    // A command that is added must be added here. These change nothing once, or go on: they have tests of their own.
    const others = ['batch', 'bench', 'completion', 'daemon', 'help', 'watch'];
    const rest = known.filter((name) => name !== undefined && !names.has(name) && !name.startsWith('-'));
    expect(rest.filter((name) => name !== undefined && !others.includes(name))).toEqual([]);
    expect(names.size).toBeGreaterThan(25);
  });

  test('a failure is JSON, too', async () => {
    const { exitCode, json, stderr } = await host.vpcctl(['inspect', 'nobody', '--json']);
    expect(exitCode).toBe(4);
    expect(json).toMatchObject({ error: { code: 'NOT_FOUND', message: expect.stringContaining('nobody') } });
    expect(stderr).toMatch(/^vpcctl: .*nobody/);
  });
});

describe('sizes and names', { sequential: true }, () => {
  const vpc = 'v'.repeat(63);
  const subnet = `s-${'9'.repeat(61)}`;
  const instance = `${'i'.repeat(62)}0`;
  afterAll(tidy);

  test('a /25 and a /28 at the ends of a block, names of 63 characters', async () => {
    await vpcctl('create-vpc', '--name', vpc, '--cidr', '10.200.0.0/24');
    await vpcctl('create-vpc', '--name', `${vpc.slice(0, 62)}w`, '--cidr', '10.201.0.0/28');
    await vpcctl('add-subnet', '--vpc', vpc, '--subnet', subnet, '--cidr', '10.200.0.0/25', '--nat', '--no-instance');
    await vpcctl('add-subnet', '--vpc', vpc, '--subnet', 'last', '--cidr', '10.200.0.240/28');
    await vpcctl('add-subnet', '--vpc', `${vpc.slice(0, 62)}w`, '--subnet', 'all', '--cidr', '10.201.0.0/28');
    await vpcctl('add-instance', '--vpc', vpc, '--subnet', subnet, '--name', instance, '--ip', '10.200.0.126');
    await vpcctl('peer-vpcs', '--vpc1', vpc, '--vpc2', `${vpc.slice(0, 62)}w`);
    const big = `vpc.${vpc}.${instance}`;
    const last = await target(host, `vpc.${vpc}.last`, '10.200.0.244', 8000);
    await reaches(host, big, last, '10.200.0.126');
    await reaches(host, '', await target(host, big, '10.200.0.126', 8000));
    await reaches(host, `vpc.${vpc.slice(0, 62)}w.all`, last, '10.201.0.4');
    await host.listener(INTERNET, 'tcp', 80);
    expect(await answers(host, big, { proto: 'tcp', to: INTERNET_SERVER, port: 80 })).toBe(true);
    expect((await vpcctl('list')).stdout).toContain(instance);
    const { stdout } = await vpcctl('drift');
    expect(stdout).toMatch(/no drift/);
  });

  test('a /28 has eleven addresses to give; the twelfth is refused', async () => {
    const many = Object.fromEntries(Array.from({ length: 11 }, (_, index) => [`n${index}`, { subnet: 'all' }]));
    const vpcs = { small: { cidr: '10.202.0.0/28', subnets: { all: { cidr: '10.202.0.0/28' } }, instances: many } };
    await apply({ vpcs });
    const { json } = await vpcctl('inspect', 'small', '--json');
    const { subnets } = json as { subnets: { instances: { name: string; ip: string }[] }[] };
    const given = new Map(subnets.flatMap(({ instances }) => instances.map((one) => [one.ip, one.name] as const)));
    const expected = Array.from({ length: 11 }, (_, index) => `10.202.0.${index + 4}`);
    expect([...given.keys()].sort()).toEqual(expected.sort());
    await changesNothing(host, () =>
      refused(host, ['add-instance', '--vpc', 'small', '--subnet', 'all', '--name', 'more'], 5, [/10\.202\.0\.0\/28/]),
    );
    const last = await target(host, `vpc.small.${given.get('10.202.0.14')}`, '10.202.0.14', 80);
    await reaches(host, `vpc.small.${given.get('10.202.0.4')}`, last, '10.202.0.4');
  });
});

describe("somebody else's things", { sequential: true }, () => {
  afterAll(tidy);

  test('survive cleanup-all', async () => {
    const sleeper = async (ns: string) => {
      const child = spawn('ip', ['netns', 'exec', ns, 'sleep', '300'], { stdio: 'ignore' });
      await until(
        'sleep runs',
        () => child.pid !== undefined && readFileSync(`/proc/${child.pid}/comm`, 'utf8') === 'sleep\n',
      );
      return child;
    };
    const children: ReturnType<typeof spawn>[] = [];
    try {
      await must('', ['sh', '-ec', FOREIGN]);
      await must('', ['nft', '-f', '-'], { input: FOREIGN_NFT });
      const listener = await host.listener('', 'tcp', 9090);
      children.push(await sleeper('else'));
      await until(
        'the links are up',
        () => !/"ifname":"(br|v)-else"(?!.*"operstate":"UP")/.test(Object.values(host.snapshot().links).join('\n')),
      );
      const before = host.snapshot();
      const inside = await ip(['address', 'show'], 'vpc.else');
      await apply({ vpcs: { a: twoTiers(1), b: twoTiers(2) }, peerings: [{ vpcs: ['a', 'b'] }] });
      await vpcctl('deploy-app', '--vpc', 'a', '--subnet', 'web');
      children.push(await sleeper('vpc.a.db'));
      await destroyAll(host);
      for (const { pid } of children) expect(isAlive(pid ?? 0)).toBe(true);
      await expectHostAsBefore(host, before);
      expect(await ip(['address', 'show'], 'vpc.else')).toEqual(inside);
      await reaches(host, 'else', { to: '172.30.0.1', port: 9090, proto: 'tcp', listener });
      expect(await nft(['list', 'table', 'ip', 'vpcctl'])).not.toEqual([]);
    } finally {
      for (const child of children) {
        const gone = once(child, 'exit');
        child.kill('SIGKILL');
        await gone;
      }
      await host.leave('else');
      await must('', ['sh', '-c', FOREIGN_AWAY]);
    }
  });

  test('a namespace that is called as ours would be makes the command refuse, and is left alone', async () => {
    await ipDo(['netns', 'add', 'vpc.x']);
    await ipDo(['link', 'add', 'theirs', 'type', 'bridge'], 'vpc.x');
    try {
      await changesNothing(host, () =>
        refused(host, ['create-vpc', '--name', 'x', '--cidr', '10.9.0.0/16'], 5, [/vpc\.x/, /not ours/]),
      );
      expect(await ip(['link', 'show', 'theirs'], 'vpc.x')).toHaveLength(1);
      await vpcctl('create-vpc', '--name', 'y', '--cidr', '10.9.0.0/16');
      await vpcctl('cleanup-all', '--yes');
      expect(await ip(['link', 'show', 'theirs'], 'vpc.x')).toHaveLength(1);
    } finally {
      await ipDo(['netns', 'del', 'vpc.x']);
    }
  });

  test('so does a link called vpc-edge', async () => {
    await ipDo(['link', 'add', 'vpc-edge', 'type', 'bridge']);
    try {
      await vpcctl('create-vpc', '--name', 'x', '--cidr', '10.9.0.0/16');
      await changesNothing(host, async () => {
        const args = ['add-subnet', '--vpc', 'x', '--subnet', 'web', '--cidr', '10.9.1.0/24', '--nat'];
        const result = await host.vpcctl(args);
        expectRefusal(result, result.exitCode === 5 ? 5 : 6, [/vpc-edge/]);
      });
      await vpcctl('cleanup-all', '--yes');
      expect(await ip(['link', 'show', 'vpc-edge'])).toMatchObject([{ ifname: 'vpc-edge' }]);
    } finally {
      await ipDo(['link', 'del', 'vpc-edge']);
    }
  });

  const FOREIGN = `
    ip netns add else
    ip netns add vpc.else
    ip -n vpc.else link set lo up
    ip -n vpc.else link add keep type bridge
    ip link add br-else type bridge
    ip link set br-else addrgenmode none
    ip address add 172.30.0.1/24 dev br-else
    ip link add v-else type veth peer name eth0 netns else
    ip link set v-else addrgenmode none
    ip link set v-else master br-else up
    ip link set br-else up
    ip -n else address add 172.30.0.2/24 dev eth0
    ip -n else link set eth0 up
    ip route add 10.99.0.0/16 via 172.30.0.2
    ip route add blackhole 10.98.0.0/16 table 77
    ip rule add pref 1234 from 10.99.0.0/16 table 77
    ip route add 10.97.0.0/16 via 172.30.0.2 proto 77`;
  const FOREIGN_NFT = `
    add table ip vpcctl
    add set ip vpcctl keep { type ipv4_addr; }
    add element ip vpcctl keep { 10.0.0.1 }
    add table inet else
    add chain inet else forward { type filter hook forward priority 0; policy accept; }
    add rule inet else forward ip saddr 10.99.0.0/16 counter drop`;
  const FOREIGN_AWAY = `
    ip rule del pref 1234
    ip route flush table 77
    ip link del br-else
    ip link del v-else
    ip netns del else
    ip netns del vpc.else
    nft delete table ip vpcctl
    nft delete table inet else`;
});

describe('programs', { sequential: true }, () => {
  afterAll(tidy);

  test.each([
    ['delete-instance', ['--vpc', 'a', '--name', 'web']],
    ['delete-subnet', ['--vpc', 'a', '--subnet', 'web']],
    ['delete-vpc', ['--name', 'a']],
    ['cleanup-all', ['--yes']],
  ])('%s ends an app that runs there, its children too', async (verb, args) => {
    await apply({ vpcs: { a: twoTiers(1) } });
    const app = await vpcctl('deploy-app', '--vpc', 'a', '--subnet', 'web', '--port', '8080', '--json');
    const shell = ['sh', '-c', 'sleep 300 & sleep 300'];
    const other = await vpcctl('--json', 'deploy-app', '--vpc', 'a', '--subnet', 'web', '--', ...shell);
    const pids = [app, other].map(({ json }) => (json as { app: { pid: number } }).app.pid);
    const all = await pidsIn('vpc.a.web');
    expect(all).toEqual(expect.arrayContaining(pids));
    expect(all.length).toBeGreaterThanOrEqual(4);
    await vpcctl(verb, ...args);
    expect(all.filter(isAlive)).toEqual([]);
    expect(ownNamespaces()).not.toContain('vpc.a.web');
  });
});

describe('several commands at once', { sequential: true }, () => {
  afterEach(tidy);

  test('eight add-instance on one VPC all succeed, with distinct addresses that answer', async () => {
    await apply({ vpcs: { a: { cidr: '10.1.0.0/16', subnets: { web: { cidr: '10.1.1.0/24', public: true } } } } });
    const names = Array.from({ length: 8 }, (_, index) => `n${index}`);
    const done = await Promise.all(
      names.map((name) => vpcctl('add-instance', '--vpc', 'a', '--subnet', 'web', '--name', name, '--json')),
    );
    const given = done.map(({ json }) => (json as { instance: { ip: string; publicIp: string } }).instance);
    expect(new Set(given.map((one) => one.ip)).size).toBe(8);
    expect(new Set(given.map((one) => one.publicIp)).size).toBe(8);
    for (const [index, { ip: address }] of given.entries())
      await pings(host, '', address).catch((error: unknown) => {
        throw new Error(`n${index}`, { cause: error });
      });
    expect((await vpcctl('drift')).stdout).toMatch(/no drift/);
  });

  test('two create-vpc of the same: one makes it; of another block: one is refused', async () => {
    const same = ['create-vpc', '--name', 'a', '--cidr', '10.1.0.0/16', '--json'];
    const [one, two] = await Promise.all([vpcctl(...same), vpcctl(...same)]);
    const unchanged = [one, two].map(({ json }) => (json as { unchanged: boolean }).unchanged).sort();
    expect(unchanged).toEqual([false, true]);
    const results = await Promise.all(
      ['10.2.0.0/16', '10.3.0.0/16'].map((cidr) => host.vpcctl(['create-vpc', '--name', 'b', '--cidr', cidr])),
    );
    expect(results.map(({ exitCode }) => exitCode).sort()).toEqual([0, 5]);
    expectRefusal(results.find(({ exitCode }) => exitCode !== 0) as (typeof results)[0], 5, [
      /vpc b exists with block/,
    ]);
    expect((await vpcctl('drift')).stdout).toMatch(/no drift/);
  });

  test('commands on different VPCs, with public subnets that share the edge', async () => {
    const nets = [1, 2, 3, 4];
    await Promise.all(
      nets.map((net) =>
        host.vpcctlOk(['apply', '-', '--yes'], { input: JSON.stringify({ vpcs: { [`v${net}`]: twoTiers(net) } }) }),
      ),
    );
    for (const net of nets) await pings(host, '', `10.${net}.1.10`);
    const specs = await Promise.all(nets.map((net) => host.vpcctl(['delete-vpc', '--name', `v${net}`])));
    expect(specs.map(({ exitCode, stderr }) => [exitCode, stderr])).toEqual(nets.map(() => [0, '']));
    await expectHostAsBefore(host, pristine);
  });
});

describe('interrupted', { sequential: true }, () => {
  let big: string;

  beforeAll(() => {
    const vpc = (net: number) => ({
      ...twoTiers(net),
      instances: Object.fromEntries(
        Array.from({ length: 60 }, (_, index) => [`n${index}`, { subnet: index % 2 === 0 ? 'web' : 'db' }]),
      ),
    });
    big = file('big.json', { name: 'big', vpcs: { p: vpc(11), q: vpc(12) }, peerings: [{ vpcs: ['p', 'q'] }] });
  });
  beforeEach(async () => {
    await apply({ vpcs: { old: twoTiers(1) } });
  });
  afterEach(tidy);

  /** Starts the command and signals it once its work has begun. */
  async function interrupt(args: string[], signal: NodeJS.Signals, begun: () => boolean) {
    const child = host.start(args);
    await until('the work begins', begun);
    child.kill(signal);
    return child;
  }

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s exits %i and leaves the old state', async (signal, status) => {
    await changesNothing(host, async () => {
      const { exitCode, stdout, stderr } = await interrupt(['apply', big, '--yes'], signal, () =>
        existsSync('/run/netns/vpc.p.n3'),
      );
      expectRefusal({ exitCode: exitCode ?? -1, stdout, stderr, json: undefined }, status, [/interrupted/, /undone/]);
    });
    const web = await target(host, 'vpc.old.web', '10.1.1.10', 8000);
    await reaches(host, '', web);
  });

  test('killed in the middle of making: the next command puts the old state back, the same again goes through', async () => {
    const before = await witness();
    const { signal } = await interrupt(['apply', big, '--yes'], 'SIGKILL', () => existsSync('/run/netns/vpc.p.n3'));
    expect(signal).toBe('SIGKILL');
    const looked = await vpcctl('list', '--quiet');
    expect(looked.stdout.split('\n')).toEqual(['old']);
    expect(looked.stderr).toMatch(/an earlier command was interrupted: undone/);
    await expectWitness(before);
    await vpcctl('apply', big, '--yes');
    expect((await vpcctl('plan', big, '--detailed-exitcode')).stdout).toMatch(/no changes/);
    expect((await vpcctl('drift')).stdout).toMatch(/no drift/);

    // And in the middle of deleting.
    const victim = await interrupt(
      ['destroy', big, '--yes'],
      'SIGKILL',
      () => netnsNames().filter((name) => /^vpc\.[pq]\./.test(name)).length < 120,
    );
    expect(victim.exitCode === 0 || victim.signal === 'SIGKILL').toBe(true);
    await vpcctl('destroy', big, '--yes');
    expect((await vpcctl('drift')).stdout).toMatch(/no drift/);
    await expectWitness(before);
  });
});

describe('three tiers', () => {
  afterAll(tidy);

  test('each reaches the next one, on its port, and no other', async () => {
    await vpcctl('apply', join(examples, 'three-tiers.yaml'), '--yes');
    const { json } = await vpcctl('inspect', 'shop', '--json');
    const { subnets } = json as { subnets: { instances: { name: string; ip: string }[] }[] };
    const address = new Map(subnets.flatMap(({ instances }) => instances.map((one) => [one.name, one.ip] as const)));
    const ports = { 'edge-1': [22, 80, 443], 'app-1': [80, 8000, 8100], 'data-1': [80, 5432] };
    for (const [name, list] of Object.entries(ports)) {
      for (const port of list) await host.listener(`vpc.shop.${name}`, 'tcp', port);
    }
    const all = ['', ...Object.keys(ports)].flatMap((from) =>
      Object.entries(ports)
        .filter(([to]) => to !== from)
        .flatMap(([to, list]) => list.map((port) => ({ from, to, port }))),
    );
    const outcomes = await Promise.all(
      all.map(async ({ from, to, port }) => {
        const ns = from === '' ? '' : `vpc.shop.${from}`;
        const answered = await answers(host, ns, { proto: 'tcp', to: address.get(to) ?? '', port });
        return answered ? [`${from || 'host'} → ${to}:${port}`] : [];
      }),
    );
    const reached = outcomes.flat();
    expect(all).toHaveLength(24);
    expect(reached).toEqual([
      'host → edge-1:80',
      'host → edge-1:443',
      'edge-1 → app-1:8000',
      'edge-1 → app-1:8100',
      'app-1 → data-1:5432',
    ]);
  });
});

test('after all of it the host is as it was: links, routes, rules, sysctls, nftables, namespaces and mounts', () => {
  expect(diffHostStates(pristine, host.snapshot())).toEqual([]);
});
