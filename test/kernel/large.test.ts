/** A VPC of many instances: its user sees one network. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type KernelObject, open, type Transaction, type Vpcctl } from '../../src/index.js';
import { RealKernel } from '../../src/kernel/real.js';
import { rowKey, rowText } from '../../src/objects/kernel-object.js';
import { expectHostAsBefore, isKeptFrom, pings, reaches, target } from '../e2e/support.js';
import { INTERNET, INTERNET_SERVER, TestHost } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { ip, ipDo, must } from '../harness/witness.js';

const ROUTER = 'vpc.a';
/** More than a Linux bridge has ports (BR_MAX_PORTS is 1024), and than the kernel's table of neighbours has entries by default (gc_thresh3). */
const MANY = 1100;
const CLIENT = { ingress: [{ protocol: 'icmp' as const }] };
const SERVER = { ingress: [{ protocol: 'tcp' as const, port: 80, from: { group: 'client' } }] };

let host: TestHost;
let vpcctl: Vpcctl;
let pristine: HostState;
const addresses = new Map<string, { ip: string; publicIp: string | null }>();
const at = (name: string): string => addresses.get(name)?.ip ?? '';
const ns = (name: string): string => `vpc.a.${name}`;

function network(tx: Transaction): void {
  const add = (subnet: string, name: string, securityGroups = ['default']): void => {
    addresses.set(name, tx.addInstance({ vpc: 'a', subnet, name, securityGroups }));
  };
  tx.configure({ poolRouted: true });
  tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
  tx.addSubnet({ vpc: 'a', name: 'web', cidr: '10.1.1.0/24', public: true });
  tx.addSubnet({ vpc: 'a', name: 'work', cidr: '10.1.8.0/21' });
  tx.putSecurityGroup('a', 'client', CLIENT);
  tx.putSecurityGroup('a', 'server', SERVER);
  add('web', 'web1');
  add('work', 'work1');
  add('work', 'client1', ['client']);
  add('work', 'server1', ['server']);
  for (let more = addresses.size; more < MANY; more += 1) add('work', `filler-${more}`);
  add('web', 'web2');
  for (const name of ['work2', 'work3']) add('work', name);
  add('work', 'client2', ['client']);
  add('work', 'server2', ['server']);
  tx.createVpc({ name: 'b', cidr: '10.2.0.0/24' });
  tx.addSubnet({ vpc: 'b', name: 's', cidr: '10.2.0.0/24' });
  tx.addInstance({ vpc: 'b', subnet: 's', name: 'x', ip: '10.2.0.10' });
  tx.peer('a', 'b');
}

/** Rows of the router and of two workloads that are recorded and not there, or the other way round. All of drift asks nft a thousand times. */
async function differences(): Promise<string[]> {
  const namespaces = [ROUTER, ns('work1'), ns('work2')];
  // Who is not looked at is nobody's peer.
  const text = (row: KernelObject): string =>
    rowText(row.kind === 'link' && row.type === 'veth' ? { ...row, peer: { ns: '', name: '' } } : row);
  const recorded = vpcctl.recorded().filter((row) => namespaces.includes(row.ns));
  const keys = new Set(recorded.map(rowKey));
  const observed = (await new RealKernel().observe(namespaces)).filter(
    (row) => row.kind !== 'sysctl' || keys.has(rowKey(row)),
  );
  const [wanted, seen] = [new Set(recorded.map(text)), new Set(observed.map(text))];
  const absent = recorded.filter((row) => !('optional' in row && row.optional === true)).map(text);
  return [...absent.filter((row) => !seen.has(row)), ...[...seen].filter((row) => !wanted.has(row))];
}

const port = (address: string): string =>
  `eni${address
    .split('.')
    .map((byte) => Number(byte).toString(16).padStart(2, '0'))
    .join('')}`;

beforeAll(async () => {
  host = await TestHost.create({ routedToHost: ['198.51.100.0/24'] });
  pristine = host.snapshot();
  vpcctl = await open({ state: host.stateDir });
  await vpcctl.transaction(network);
}, 60_000);

afterAll(async () => {
  await vpcctl.close();
  await host.close();
});

describe('one of many instances', { sequential: true }, () => {
  test('has a port of its own', async () => {
    const links = await ip<{ ifname: string }>(['link', 'show', 'type', 'veth'], ROUTER);
    expect(links.filter(({ ifname }) => ifname.startsWith('eni'))).toHaveLength(MANY + 5);
    expect(links.map(({ ifname }) => ifname)).toContain(port(at('server2')));
    const { changes, kernel } = await vpcctl.plan(vpcctl.export());
    expect({ changes, kernel }).toEqual({ changes: [], kernel: { create: 0, update: 0, delete: 0 } });
    expect(await differences()).toEqual([]);
  }, 30_000);

  test('reaches every neighbour, of its subnet and of others', async () => {
    const targets = new Map(
      await Promise.all(
        ['web1', 'web2', 'work1', 'work2', 'work3'].map(
          async (name) => [name, await target(host, ns(name), at(name), 8000)] as const,
        ),
      ),
    );
    for (const [from, to] of [
      ['work1', 'work2'],
      ['work2', 'work1'],
      ['work2', 'work3'],
      ['web1', 'work2'],
      ['work2', 'web1'],
      ['web2', 'work1'],
      ['work1', 'web2'],
      ['web1', 'web2'],
      ['web2', 'web1'],
      ['web2', 'work3'],
    ] as const) {
      const there = targets.get(to);
      if (there === undefined) throw new Error(`nothing listens in ${to}`);
      await reaches(host, ns(from), there, at(from));
    }
    for (const gateway of ['10.1.8.1', '10.1.1.1']) await pings(host, ns('work2'), gateway);
    // Its gateway's entry is permanent; asked by ARP, the gateway answers all the same.
    await ipDo(['neigh', 'del', '10.1.8.1', 'dev', 'eth0'], ns('work3'));
    await pings(host, ns('work3'), '10.1.8.1');
    await ipDo(
      ['neigh', 'replace', '10.1.8.1', 'lladdr', '06:76:70:63:00:01', 'dev', 'eth0', 'nud', 'permanent'],
      ns('work3'),
    );
  }, 30_000);

  test('is reached by peers, by the host and from outside, and goes out by its public address', async () => {
    const { publicIp } = addresses.get('web2') ?? {};
    const web = await target(host, ns('web2'), at('web2'), 8001);
    await reaches(host, 'vpc.b.x', web, '10.2.0.10');
    await reaches(host, '', web);
    await vpcctl.transaction((tx) => tx.putSecurityGroup('a', 'default', { ingress: [{}] }));
    await reaches(host, INTERNET, { ...web, to: publicIp ?? '' }, INTERNET_SERVER);
    const outside = await target(host, INTERNET, INTERNET_SERVER, 80);
    await reaches(host, ns('web2'), outside, publicIp ?? '');
    await isKeptFrom(host, ns('work2'), outside);
  }, 30_000);

  test('obeys security groups', async () => {
    const near = await target(host, ns('server1'), at('server1'), 80);
    const far = await target(host, ns('server2'), at('server2'), 80);
    const pairs = [
      ['client1', far],
      ['client2', near],
      ['client2', far],
    ] as const;
    for (const [client, server] of pairs) await reaches(host, ns(client), server);
    for (const [stranger, server] of [
      ['work1', far],
      ['work2', near],
      ['work2', far],
    ] as const) {
      await isKeptFrom(host, ns(stranger), server);
    }
    await vpcctl.transaction((tx) => tx.putSecurityGroup('a', 'server', {}));
    for (const [client, server] of pairs) await isKeptFrom(host, ns(client), server);
    await vpcctl.transaction((tx) => tx.putSecurityGroup('a', 'server', SERVER));
    for (const [client, server] of pairs) await reaches(host, ns(client), server);
  }, 30_000);

  test("cannot send from another's address", async () => {
    const server = await target(host, ns('server2'), at('server2'), 81, 'udp');
    await vpcctl.transaction((tx) => tx.putSecurityGroup('a', 'server', { ingress: [{ protocol: 'udp', port: 81 }] }));
    const liar = { proto: 'udp' as const, to: at('server2'), port: 81, timeoutMs: 300 };
    await reaches(host, ns('work2'), server, at('work2'));
    for (const victim of ['work3', 'work1']) {
      const seen = (await server.listener.seen()).length;
      await ipDo(['addr', 'add', `${at(victim)}/21`, 'dev', 'eth0'], ns('work2'));
      expect(await host.probe(ns('work2'), { ...liar, from: at(victim) })).toMatchObject({ ok: false });
      await ipDo(['addr', 'del', `${at(victim)}/21`, 'dev', 'eth0'], ns('work2'));
      expect(await server.listener.seen()).toHaveLength(seen);
    }
    await reaches(host, ns('work2'), server, at('work2'));
  }, 30_000);

  test('goes, and another comes', async () => {
    await host.leave(ns('work3'));
    await vpcctl.transaction((tx) => {
      tx.deleteInstance('a', 'work3');
      tx.deleteInstance('a', 'filler-500');
    });
    expect(await ip(['route', 'show', at('work3')], ROUTER)).toEqual([]);
    const { value } = await vpcctl.transaction((tx) => tx.addInstance({ vpc: 'a', subnet: 'work', name: 'new1' }));
    const work = await target(host, ns('new1'), value.ip, 8000);
    await reaches(host, ns('work2'), work);
  }, 30_000);

  test('leaves nothing with the VPC', async () => {
    for (const name of ['web1', 'web2', 'work1', 'work2', 'new1', 'client1', 'client2', 'server1', 'server2']) {
      await host.leave(ns(name));
    }
    for (const other of ['vpc.b.x', INTERNET, '']) await host.leave(other);
    await vpcctl.destroy();
    expect(await vpcctl.observe()).toEqual([]);
    expect(vpcctl.recorded()).toEqual([]);
    expect((await must('', ['ip', 'netns', 'list'])).includes('vpc')).toBe(false);
    await expectHostAsBefore(host, pristine);
  }, 30_000);
});
