/** Secondary private addresses by packets: reached and judged as the primary one is, moved while both instances run, and of nobody else. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { type Listener, type ProbeResult, TestHost } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { ip, ipDo, must } from '../harness/witness.js';
import { answers, destroyAll, expectHostAsBefore, settled } from './support.js';

const [ONE, TWO, CLIENT, OTHER] = ['vpc.a.one', 'vpc.a.two', 'vpc.a.client', 'vpc.b.app'] as const;
const V6 = 'fd76:7063:6301:1::';
const FURTHER = '10.1.1.50';
const FURTHER6 = `${V6}50`;

const SPEC = {
  settings: { ipv6Pool: 'fd76:7063:6300::/40' },
  vpcs: {
    a: {
      cidr: '10.1.0.0/16',
      ipv6Cidr: 'fd76:7063:6301::/56',
      subnets: { s: { cidr: '10.1.1.0/24', ipv6Cidr: `${V6}/64`, public: true } },
      securityGroups: {
        web: {
          ingress: [
            { protocol: 'tcp', port: 80, from: { group: 'client' } },
            { protocol: 'tcp', port: 81, from: `${FURTHER}/32` },
            { protocol: 'tcp', port: 81, from: 'host' },
          ],
        },
        client: {},
      },
      instances: {
        one: {
          subnet: 's',
          ip: '10.1.1.10',
          ipv6: `${V6}10`,
          secondaryIps: [FURTHER, FURTHER6],
          securityGroups: ['web'],
        },
        two: { subnet: 's', ip: '10.1.1.11', ipv6: `${V6}11`, securityGroups: ['web'] },
        client: { subnet: 's', ip: '10.1.1.12', ipv6: `${V6}12`, securityGroups: ['client'] },
      },
    },
    b: {
      cidr: '10.2.0.0/16',
      subnets: { s: { cidr: '10.2.1.0/24' } },
      securityGroups: { app: { ingress: [{ protocol: 'tcp', port: 90, from: { vpc: 'a', group: 'web' } }] } },
      instances: { app: { subnet: 's', ip: '10.2.1.10', securityGroups: ['app'] } },
    },
  },
  peerings: [{ vpcs: ['a', 'b'] }],
};

let host: TestHost;
let before: HostState;
const listeners: Listener[] = [];

const vpcctl = (text: string) => host.vpcctlOk(text.split(' '));
const tcp = (to: string, port = 80) => ({ proto: 'tcp', to, port }) as const;

/** A connection from one certain address of a namespace; what the listener saw of it. */
async function from(ns: string, source: string, to: string, port: number): Promise<string> {
  const program = `
import socket
s = socket.create_connection((${JSON.stringify(to)}, ${port}), 1, (${JSON.stringify(source)}, 0))
print(s.getsockname()[0])`;
  return (await must(ns, ['python3', '-c', program])).trim();
}

beforeAll(async () => {
  host = await TestHost.create();
  before = await settled(host);
  await apply();
  for (const ns of [ONE, TWO])
    for (const port of [80, 81]) listeners.push(await host.listener(ns, 'tcp', port, { host: '::' }));
  listeners.push(await host.listener(OTHER, 'tcp', 90));
});
afterEach(apply);
afterAll(async () => {
  for (const one of listeners) await one.close();
  await destroyAll(host);
  await expectHostAsBefore(host, before);
  await host.close();
});

/** Puts what a test changed back. */
async function apply(): Promise<void> {
  await host.vpcctlOk(['apply', '-', '--yes'], { input: JSON.stringify(SPEC) });
}

const seen = (result: ProbeResult): string | undefined => (result.ok ? result.seenSource : undefined);

test('they are reached by who may reach the instance, in both families, and it speaks by its primary one', async () => {
  for (const to of ['10.1.1.10', FURTHER, `${V6}10`, FURTHER6]) {
    expect(await answers(host, CLIENT, tcp(to)), to).toBe(true);
    expect(await answers(host, TWO, tcp(to)), `${to} from who may not`).toBe(false);
  }
  expect(seen(await host.probe(ONE, tcp('10.2.1.10', 90)))).toBe('10.1.1.10');
});

test('a rule that names one is for it alone, and a peer’s rule that names the group is for all', async () => {
  await expect(from(ONE, '10.1.1.10', '10.1.1.11', 81)).rejects.toThrow();
  expect(await from(ONE, FURTHER, '10.1.1.11', 81)).toBe(FURTHER);
  expect(await from(ONE, FURTHER, '10.2.1.10', 90)).toBe(FURTHER);
});

test('one is moved to another instance at once, with its connections cut, and back', async () => {
  const kept = await host.connect(CLIENT, '10.1.1.10', 80);
  const moved = await host.connect(CLIENT, FURTHER, 80);
  await vpcctl(`assign-private-ip-addresses --vpc a --instance two --ip ${FURTHER} ${FURTHER6} --allow-reassignment`);
  expect((await kept.exchange()).ok).toBe(true);
  expect((await moved.exchange()).ok).toBe(false);
  await kept.close();
  await moved.close();
  for (const to of [FURTHER, FURTHER6]) expect(await answers(host, CLIENT, tcp(to)), to).toBe(true);
  const heard = await Promise.all(listeners.map(async (one) => (await one.seen()).length));
  await host.probe(CLIENT, tcp(FURTHER));
  const after = await Promise.all(listeners.map(async (one) => (await one.seen()).length));
  expect(after.map((count, at) => count - (heard[at] ?? 0))).toEqual([0, 0, 1, 0, 0]);
  await vpcctl(`unassign-private-ip-addresses --vpc a --instance two --ip ${FURTHER}`);
  expect(await answers(host, CLIENT, tcp(FURTHER))).toBe(false);
});

test('who has lost one, or never had it, cannot speak by it', async () => {
  await vpcctl(`assign-private-ip-addresses --vpc a --instance two --ip ${FURTHER} --allow-reassignment`);
  expect(await from(TWO, FURTHER, '10.2.1.10', 90)).toBe(FURTHER);
  await ipDo(['addr', 'add', `${FURTHER}/32`, 'dev', 'eth0'], ONE);
  await expect(from(ONE, FURTHER, '10.2.1.10', 90)).rejects.toThrow();
  await ipDo(['addr', 'del', `${FURTHER}/32`, 'dev', 'eth0'], ONE);
});

test('a private address that is not the public one’s is not reached from the host', async () => {
  expect(await answers(host, '', tcp('10.1.1.10', 81))).toBe(true);
  expect(await answers(host, '', tcp(FURTHER, 81))).toBe(false);
  const { stdout } = await host.vpcctl(['analyze', 'host', FURTHER, '--port', '81']);
  expect(stdout).toContain(`is of 10.1.1.10, not of ${FURTHER}`);
});

test('analyze and a real packet agree on them', async () => {
  await vpcctl(`analyze a/client ${FURTHER} --port 80 --probe`);
  await vpcctl(`analyze a/client ${FURTHER6} --port 80 --probe`);
  expect((await host.vpcctl(['analyze', 'a/two', FURTHER, '--port', '80', '--probe'])).exitCode).toBe(10);
});

test('what is missing is told of and put back, and free ones are given out', async () => {
  await ipDo(['addr', 'del', `${FURTHER}/32`, 'dev', 'eth0'], ONE);
  await ipDo(['route', 'del', FURTHER], 'vpc.a');
  const { stdout } = await host.vpcctl(['drift']);
  expect(stdout).toContain(FURTHER);
  await vpcctl('repair --yes');
  expect(await answers(host, CLIENT, tcp(FURTHER))).toBe(true);
  const { json } = await host.vpcctlOk([
    ...['assign-private-ip-addresses', '--vpc', 'a', '--instance', 'client', '--count', '2', '--json'],
  ]);
  const { addresses } = json as { addresses: string[] };
  expect(addresses).toHaveLength(2);
  const [link] = await ip<{ addr_info: { local: string }[] }>(['addr', 'show', 'dev', 'eth0'], CLIENT);
  expect(link?.addr_info.map(({ local }) => local)).toEqual(expect.arrayContaining(addresses));
});
