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
