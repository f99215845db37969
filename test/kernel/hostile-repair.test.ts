/** Root inside a workload that breaks its own namespace so that repairing it breaks others, or cannot be done: it harms only itself. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { open, type Vpcctl } from '../../src/index.js';
import { INTERNET, INTERNET_SERVER, TestHost } from '../harness/host.js';
import { ip, ipDo } from '../harness/witness.js';

const PORT = 80;
const EVIL = 'vpc.a.evil';
const GOOD = 'vpc.a.good';
const FURTHER = 'further';

let host: TestHost;
let vpcctl: Vpcctl;
let goodIp: string;
let goodPort: string;

interface Link {
  readonly ifindex: number;
  readonly ifalias: string;
}

async function link(ns: string, name: string): Promise<Link> {
  const [found] = await ip<Link>(['link', 'show', name], ns);
  if (found === undefined) throw new Error(`no link ${name} in ${ns}`);
  return found;
}

beforeAll(async () => {
  host = await TestHost.create();
  // So that the two ends of the border have different indices, and those of the later instance: both fit into one namespace.
  await ipDo(['link', 'add', 'pad', 'type', 'bridge']);
  vpcctl = await open({ state: host.stateDir });
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
    tx.addSubnet({ vpc: 'a', name: 'web', cidr: '10.1.1.0/24', public: true });
    tx.putSecurityGroup('a', 'web', { ingress: [{ protocol: 'tcp', port: PORT }] });
    for (const name of ['evil', 'good']) {
      const { ip: address } = tx.addInstance({ vpc: 'a', subnet: 'web', name, securityGroups: ['web'] });
      if (name === 'good') goodIp = address;
    }
  });
  goodPort = `eni${goodIp
    .split('.')
    .map((part) => Number(part).toString(16).padStart(2, '0'))
    .join('')}`;
  await host.listener(INTERNET, 'tcp', PORT);
  await host.listener(GOOD, 'tcp', PORT);
});

afterAll(async () => {
  for (const ns of [EVIL, GOOD]) await host.leave(ns);
  await vpcctl.destroy();
  await vpcctl.close();
  await ipDo(['link', 'del', 'pad']);
  await host.close();
});

const reaches = async (from: string, to: string): Promise<boolean> =>
  (await host.probe(from, { proto: 'tcp', to, port: PORT, timeoutMs: 1000 })).ok;

async function expectAllWell(): Promise<void> {
  expect(await reaches(GOOD, INTERNET_SERVER)).toBe(true);
  expect(await reaches('', goodIp)).toBe(true);
  expect(await reaches(EVIL, goodIp)).toBe(true);
}

beforeEach(expectAllWell);
afterEach(async () => {
  // What it did to itself is undone by its namespace being made anew.
  await ipDo(['link', 'property', 'del', 'dev', 'lo', 'altname', 'eth0'], EVIL).catch(() => undefined);
  await ipDo(['netns', 'del', FURTHER]).catch(() => undefined);
  await vpcctl.repair();
  await expectAllWell();
  expect(await vpcctl.drift()).toEqual([]);
});

describe.each(['the same namespace', 'a further namespace'])('a workload whose link has its peer in %s', (where) => {
  test.each([
    ["the host's border", () => ['', 'vpc-edge', 'vpc-edge', 'host'] as const],
    ["a neighbour's port", () => ['vpc.a', goodPort, GOOD, 'eth0'] as const],
  ])('and says that it leads to %s', async (_, target) => {
    const [ns, name, peerNs, peerName] = target();
    const ours = await link(ns, name);
    const other = await link(peerNs, peerName);
    await ipDo(['link', 'del', 'eth0'], EVIL);
    const peer = ['type', 'veth', 'peer', 'name', 'x', 'index', String(ours.ifindex)];
    if (where === 'a further namespace') {
      await ipDo(['netns', 'add', FURTHER]);
      peer.push('netns', FURTHER);
    }
    await ipDo(['link', 'add', 'eth0', 'index', String(other.ifindex), ...peer], EVIL);
    await ipDo(['link', 'set', 'eth0', 'alias', ours.ifalias], EVIL);
    const { left } = await vpcctl.repair();
    expect(left).toEqual([]);
    // Not made anew: never touched.
    expect(await link(ns, name)).toMatchObject({ ifindex: ours.ifindex });
    await expectAllWell();
  });
});

describe('a workload that gives the name of its link to its loopback', () => {
  beforeEach(async () => {
    await ipDo(['link', 'del', 'eth0'], EVIL);
    await ipDo(['link', 'property', 'add', 'dev', 'lo', 'altname', 'eth0'], EVIL);
  });

  test('is left as it is, and told of, while its neighbour is repaired', async () => {
    await ipDo(['link', 'del', 'eth0'], GOOD);
    const { left } = await vpcctl.repair();
    expect(left.filter(({ follows }) => !follows).map(({ sentence }) => sentence)).toEqual([
      'instance a/evil: its link is not there, and cannot be: lo is called eth0 too',
    ]);
    expect(await reaches(GOOD, INTERNET_SERVER)).toBe(true);
    expect(await reaches('', goodIp)).toBe(true);
  });

  test('can be deleted', async () => {
    await host.leave(EVIL);
    await vpcctl.transaction((tx) => tx.deleteInstance('a', 'evil'));
    expect(await vpcctl.drift()).toEqual([]);
    await vpcctl.transaction((tx) =>
      tx.addInstance({ vpc: 'a', subnet: 'web', name: 'evil', securityGroups: ['web'] }),
    );
  });
});
