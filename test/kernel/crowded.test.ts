/** A workload whose root fills its namespace and never stops changing it: the others are looked at and repaired as ever. */
import { type ChildProcess, spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { open, type Vpcctl } from '../../src/index.js';
import { loadNative, type Native, type NativeOp } from '../../src/kernel/native.js';
import { RealKernel } from '../../src/kernel/real.js';
import { dumpAddrs } from '../../src/netlink/addr.js';
import { dumpRoutes } from '../../src/netlink/route.js';
import { TestHost } from '../harness/host.js';
import { ipDo, must } from '../harness/witness.js';

const EVIL = 'vpc.a.evil';
const NETNS = `/run/netns/${EVIL}`;
const native = loadNative();
const churn: ChildProcess[] = [];
let host: TestHost;
let vpcctl: Vpcctl;

function lines(name: string, count: number, line: (index: number) => string): string {
  const path = join(host.stateDir, '..', name);
  writeFileSync(path, Array.from({ length: count }, (_, index) => `${line(index)}\n`).join(''));
  return path;
}

/** An address of 127/8 but the loopback's own. */
function address(index: number): string {
  return `127.${1 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}/32`;
}

beforeAll(async () => {
  host = await TestHost.create();
  vpcctl = await open({ state: host.stateDir });
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
    tx.addSubnet({ vpc: 'a', name: 'web', cidr: '10.1.1.0/24' });
    tx.addInstance({ vpc: 'a', subnet: 'web', name: 'evil' });
    tx.addInstance({ vpc: 'a', subnet: 'web', name: 'good' });
  });
  const filling = [
    lines('addresses', 10_000, (index) => `addr add ${address(index)} dev lo`),
    lines(
      'routes',
      30_000,
      (index) => `route add blackhole 100.${64 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}/32`,
    ),
  ];
  for (const file of filling) await must('', ['ip', '-n', EVIL, '-batch', file]);
  for (const last of [1, 2]) {
    const own = `127.99.0.${last}/32`;
    const file = lines(`churn${last}`, 1_000_000, (index) => `addr ${index % 2 === 0 ? 'add' : 'del'} ${own} dev lo`);
    churn.push(spawn('ip', ['-n', EVIL, '-force', '-batch', file], { stdio: 'ignore' }));
  }
}, 60_000);

afterAll(async () => {
  for (const child of churn) child.kill('SIGKILL');
  await vpcctl.destroy();
  await vpcctl.close();
  await host.close();
});

test('a dump of all its addresses is hardly ever whole; a partial one is what there was', async () => {
  const whole: NativeOp = { op: 'dump', netns: NETNS, data: dumpAddrs() };
  // The loops may have to begin, and one dump in many slips through.
  const refused = async (): Promise<string> => native.errnoName((await native.run([whole]))[0]?.errno ?? 0);
  await expect.poll(refused, { timeout: 10_000 }).toBe('EINTR');
  for (let times = 0; times < 20; times += 1) {
    const [partial] = await native.run([{ ...whole, partial: true }]);
    expect(partial?.errno).toBe(0);
    expect(partial?.data?.length).toBeGreaterThan(500_000);
  }
});

test('what is read of it is bounded, and none of its settings are', async () => {
  const [routes] = await native.run([{ op: 'dump', netns: NETNS, data: dumpRoutes(), partial: true }]);
  expect(routes?.data?.length).toBeGreaterThan(1 << 20);
  expect(routes?.data?.length).toBeLessThan((1 << 20) + (64 << 10));
  const asked: NativeOp[] = [];
  const spy: Native = {
    ...native,
    run: (ops, ...rest) => {
      asked.push(...ops);
      return native.run(ops, ...rest);
    },
  };
  await new RealKernel('auto', undefined, spy).observe(['vpc.a', EVIL], { unfiltered: [EVIL] });
  const settings = asked.flatMap((op) => (op.op === 'sysctl-read' ? [op.netns] : []));
  expect(settings).toContain('/run/netns/vpc.a');
  expect(settings).not.toContain(NETNS);
});

test('drift and repair see what is ours, of it and of the others', async () => {
  expect(await vpcctl.drift()).toEqual([]);
  await ipDo(['route', 'del', 'default'], 'vpc.a.good');
  await ipDo(['route', 'del', 'default'], EVIL);
  expect((await vpcctl.drift()).map(({ sentence }) => sentence)).toHaveLength(2);
  await vpcctl.repair();
  expect(await vpcctl.drift()).toEqual([]);
  expect(churn.map(({ exitCode }) => exitCode)).toEqual([null, null]);
});

test('a namespace that is gone from under its name is told of, and holds up nothing', async () => {
  await must('', ['umount', NETNS]);
  expect((await vpcctl.drift()).map(({ sentence }) => sentence)).toEqual([
    'instance a/evil: its namespace vpc.a.evil could not be read: EINVAL',
  ]);
  await ipDo(['route', 'del', 'default'], 'vpc.a.good');
  expect((await vpcctl.repair()).repaired).toHaveLength(1);
});
