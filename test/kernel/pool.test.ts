/** A pool makes what would be made without it, and leaves nothing. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { open, type Transaction } from '../../src/index.js';
import { loadNative, type NativeOp } from '../../src/kernel/native.js';
import { RealKernel } from '../../src/kernel/real.js';
import { TestHost } from '../harness/host.js';
import { ipDo } from '../harness/witness.js';

let host: TestHost;

beforeAll(async () => {
  host = await TestHost.create();
});

afterAll(async () => {
  await host.close();
});

/** Passes ops on, and keeps those that were sent. */
function listening(): { native: ReturnType<typeof loadNative>; sent: NativeOp[] } {
  const real = loadNative();
  const sent: NativeOp[] = [];
  return {
    native: {
      ...real,
      run: (ops, ...rest) => {
        sent.push(...ops);
        return real.run(ops, ...rest);
      },
    },
    sent,
  };
}

function network(tx: Transaction): void {
  tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
  tx.addSubnet({ vpc: 'a', name: 'web', cidr: '10.1.1.0/24', public: true });
  tx.putSecurityGroup('a', 'web', { ingress: [{ protocol: 'tcp', port: 80, from: 'any' }] });
  for (const name of ['x', 'y']) tx.addInstance({ vpc: 'a', subnet: 'web', name, securityGroups: ['web'] });
}

test('a network from the pool is the one that is made without', async () => {
  const plain = await open({ state: `${host.stateDir}/plain` });
  await plain.transaction(network);
  const wanted = await plain.observe();
  await plain.destroy();
  await plain.close();

  const { native, sent } = listening();
  const vpcctl = await open({
    state: `${host.stateDir}/pool`,
    kernel: new RealKernel('auto', undefined, native),
    pool: 3,
  });
  expect(sent.filter(({ op }) => op === 'spare-make')).toHaveLength(native.hasNftables() ? 4 : 3);
  sent.length = 0;
  await vpcctl.transaction(network);
  // Edge, router and two instances: one more than the pool has without firewalls.
  const births = sent.flatMap((op) => (op.op === 'netns-create' ? [op] : []));
  expect(births.filter(({ spare }) => spare !== undefined)).toHaveLength(native.hasNftables() ? 4 : 3);
  expect(await vpcctl.observe()).toEqual(wanted);
  expect(await vpcctl.drift()).toEqual([]);

  const to = vpcctl.instance('a', { instance: 'y' }).ip;
  const listeners = [await host.listener('vpc.a.y', 'tcp', 80), await host.listener('vpc.a.y', 'tcp', 81)];
  const reached = async (ns: string, port: number) => (await host.probe(ns, { proto: 'tcp', to, port })).ok;
  expect([await reached('vpc.a.x', 80), await reached('vpc.a.x', 81), await reached('vpc.a.y', 81)]).toEqual([
    true,
    false,
    true,
  ]);
  for (const listener of listeners) await listener.close();
  await vpcctl.destroy();
  await vpcctl.close();
});

test('a namespace of somebody else is refused as ever, also where it comes in between', async () => {
  const kernel = new RealKernel();
  const vpcctl = await open({ state: `${host.stateDir}/theirs`, kernel, pool: 4 });
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
    tx.addSubnet({ vpc: 'a', name: 'web', cidr: '10.1.1.0/24' });
  });
  const before = await vpcctl.observe();
  await ipDo(['netns', 'add', 'vpc.a.x']);
  const add = () => vpcctl.transaction((tx) => void tx.addInstance({ vpc: 'a', subnet: 'web', name: 'x' }));
  await expect(add()).rejects.toMatchObject({ code: 'CONFLICT' });
  // As if it had come after the look.
  const { pinned } = kernel;
  kernel.pinned = async () => [];
  await expect(add()).rejects.toMatchObject({ code: 'KERNEL', facts: { errno: 'EEXIST' } });
  kernel.pinned = pinned;
  expect(await vpcctl.observe()).toEqual(before);
  await ipDo(['netns', 'del', 'vpc.a.x']);
  await add();
  expect(await vpcctl.drift()).toEqual([]);
  await vpcctl.destroy();
  await vpcctl.close();
});
