/** Every form of a rule can be made and unmade: nft treats elements without any range in a set of ranges in its own way. */
import { expect, test } from 'vitest';
import { type IngressRuleSpec, open } from '../../src/index.js';
import { TestHost } from '../harness/host.js';
import { nft } from '../harness/witness.js';

const RULES: IngressRuleSpec[] = [
  {},
  { protocol: 'tcp' },
  { protocol: 'tcp', port: 80 },
  { protocol: 'tcp', port: '80-90' },
  { from: 'self' },
  { protocol: 'icmp', from: 'self' },
  { protocol: 'tcp', port: 80, from: 'self' },
  { protocol: 'tcp', port: '80-90', from: { group: 'default' } },
  { from: '10.1.1.7' },
  { protocol: 'icmp', from: '10.1.1.7' },
  { protocol: 'tcp', port: 80, from: '10.1.1.7' },
  { protocol: 'udp', port: '80-90', from: '10.1.0.0/24' },
  ...['10.1.0.0/16', '10.0.0.0/8', '10.1.0.0/20', '172.16.0.0/12'].map(
    (from): IngressRuleSpec => ({ protocol: 'tcp', port: 80, from }),
  ),
  { protocol: 47, from: '10.1.1.7/32' },
  { protocol: 'tcp', port: 22, from: 'host' },
  { protocol: 'tcp', port: 22, from: 'peers' },
];

test('rules of every form come and go', async () => {
  const host = await TestHost.create();
  const vpcctl = await open({ state: host.stateDir });
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
    tx.addSubnet({ vpc: 'a', name: 's', cidr: '10.1.1.0/24' });
    tx.addInstance({ vpc: 'a', subnet: 's', name: 'one' });
    tx.createVpc({ name: 'b', cidr: '10.2.0.0/28' });
    tx.createVpc({ name: 'c', cidr: '10.3.0.0/28' });
    // Blocks of one address on either side.
    tx.peer('a', 'b', ['10.1.1.4/32', '10.2.0.4/32']);
  });
  const gate = async () =>
    (await nft(['list', 'table', 'inet', 'vpcctl'], 'vpc.a')).flatMap((object) => {
      const { name, elem } = (object.set ?? {}) as { name?: string; elem?: unknown[] };
      return name?.startsWith('in_') === true ? (elem ?? []) : [];
    });
  for (const rule of RULES) {
    const text = JSON.stringify(rule);
    await vpcctl.transaction((tx) => tx.putSecurityGroup('a', 'default', { ingress: [rule] }));
    expect((await gate()).length, text).toBeGreaterThan(0);
    expect(await vpcctl.drift(), text).toEqual([]);
    await vpcctl.transaction((tx) => tx.putSecurityGroup('a', 'default', { ingress: [] }));
    expect(await gate(), text).toEqual([]);
    expect(await vpcctl.drift(), text).toEqual([]);
  }
  await vpcctl.transaction((tx) => tx.putSecurityGroup('a', 'default', { ingress: RULES }));
  await vpcctl.transaction((tx) => tx.deleteInstance('a', 'one'));
  expect(await gate()).toEqual([]);
  await vpcctl.transaction((tx) => tx.unpeer('a', 'b'));
  expect(await vpcctl.drift()).toEqual([]);
  await vpcctl.destroy();
  await vpcctl.close();
  await host.close();
});

/** The client is 10.1.1.10, the server 10.1.1.20; a block of each length that has a set of its own, and of one that has none. */
const BLOCKS: readonly (readonly [port: number, client: string, server: string, admits: boolean])[] = [
  [8001, '10.1.1.10', '10.1.1.20', true],
  [8002, '10.1.1.11', '10.1.1.20', false],
  [8003, '10.1.1.10', '10.1.1.21', false],
  [8004, '10.1.1.0/24', '10.1.1.0/24', true],
  [8005, '10.1.2.0/24', '10.1.1.0/24', false],
  [8006, '10.1.1.0/24', '10.1.2.0/24', false],
  [8007, '10.1.0.0/16', '10.1.0.0/16', true],
  [8008, '10.2.0.0/16', '10.1.0.0/16', false],
  [8009, '10.1.0.0/16', '10.2.0.0/16', false],
  [8010, '10.0.0.0/8', '10.0.0.0/8', true],
  [8011, '11.0.0.0/8', '10.0.0.0/8', false],
  [8012, '10.0.0.0/8', '11.0.0.0/8', false],
  [8013, '10.1.0.0/20', '10.1.0.0/20', true],
  [8014, '10.1.16.0/20', '10.1.0.0/20', false],
];

test('one port of a block lets in and out what is in the block, and nothing else', async () => {
  const host = await TestHost.create();
  const vpcctl = await open({ state: host.stateDir });
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
    tx.addSubnet({ vpc: 'a', name: 's', cidr: '10.1.1.0/24' });
    const tcp = { protocol: 'tcp' } as const;
    tx.putSecurityGroup('a', 'in', { ingress: BLOCKS.map(([port, from]) => ({ ...tcp, port, from })) });
    tx.putSecurityGroup('a', 'out', { egress: BLOCKS.map(([port, , to]) => ({ ...tcp, port, to })) });
    tx.addInstance({ vpc: 'a', subnet: 's', name: 'client', ip: '10.1.1.10', securityGroups: ['out'] });
    tx.addInstance({ vpc: 'a', subnet: 's', name: 'server', ip: '10.1.1.20', securityGroups: ['in'] });
  });
  const listeners = await Promise.all(
    BLOCKS.map(([port]) => host.listener('vpc.a.server', 'tcp', port, { reply: 'hello' })),
  );
  const probe = async (ns: string, port: number) =>
    (await host.probe(ns, { proto: 'tcp', to: '10.1.1.20', port, timeoutMs: 500 })).ok;
  for (const [at, [port, client, server, admits]] of BLOCKS.entries()) {
    const text = `${port}: from ${client}, to ${server}`;
    expect(await probe('vpc.a.server', port), `${text}: listener`).toBe(true);
    const seen = (await listeners[at]?.seen())?.length;
    expect(await probe('vpc.a.client', port), text).toBe(admits);
    if (!admits) expect((await listeners[at]?.seen())?.length, text).toBe(seen);
  }
  await vpcctl.destroy();
  await vpcctl.close();
  await host.close();
});
