/** Two VPCs with one block: the host reaches the first that has it, and the second once the first is gone. */
import { expect, test } from 'vitest';
import { open } from '../../src/index.js';
import { TestHost } from '../harness/host.js';

test('the host reaches the next VPC with a block when the one before gives it up', async () => {
  const host = await TestHost.create();
  const vpcctl = await open({ state: host.stateDir });
  for (const name of ['a', 'b', 'c']) {
    await vpcctl.transaction((tx) => {
      tx.createVpc({ name, cidr: '10.1.0.0/16' });
      // The last one's block is another, inside the first two's.
      tx.addSubnet({ vpc: name, name: 's', cidr: name === 'c' ? '10.1.1.0/25' : '10.1.1.0/24', public: true });
      tx.addInstance({ vpc: name, subnet: 's', name: 'x', ip: '10.1.1.10' });
    });
    await host.listener(`vpc.${name}.x`, 'tcp', 80, { reply: name });
  }
  const answer = async () => (await host.probe('', { proto: 'tcp', to: '10.1.1.10', port: 80 })).reply;
  expect(await answer()).toBe('a');
  await vpcctl.transaction((tx) => tx.addSubnet({ vpc: 'a', name: 's', cidr: '10.1.1.0/24', public: false }));
  expect(await answer()).toBe('b');
  expect(await vpcctl.drift()).toEqual([]);
  await host.leave('vpc.b.x');
  await vpcctl.transaction((tx) => tx.deleteVpc('b'));
  expect(await answer()).toBe('c');
  expect(await vpcctl.drift()).toEqual([]);
  for (const name of ['a', 'c']) await host.leave(`vpc.${name}.x`);
  await host.leave('');
  await vpcctl.destroy();
  await vpcctl.close();
  await host.close();
});
