/** The commands: what somebody broke is told and put back, and what a restart took away comes back. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Store } from '../../src/engine/store.js';
import { TestHost } from '../harness/host.js';
import { ipDo, must } from '../harness/witness.js';
import { expectWitness, ownNamespaces, type Witness, witness } from './support.js';

let host: TestHost;
let before: Witness;

beforeAll(async () => {
  host = await TestHost.create();
  await host.vpcctlOk(['create-vpc', '--name', 'a', '--cidr', '10.1.0.0/16']);
  await host.vpcctlOk(['add-subnet', '--vpc', 'a', '--subnet', 'web', '--cidr', '10.1.1.0/24']);
  await host.vpcctlOk(['add-instance', '--vpc', 'a', '--subnet', 'web', '--name', 'one']);
  before = await witness();
});

afterAll(async () => {
  await host.vpcctlOk(['cleanup-all', '--yes']);
  await host.close();
});

test('drift tells, repair puts back', async () => {
  await ipDo(['link', 'del', 'eth0'], 'vpc.a.one');
  await must('vpc.a', ['nft', 'flush chain inet vpcctl ingress']);
  const drift = await host.vpcctl(['drift']);
  expect(drift.exitCode).toBe(8);
  expect(drift.stdout).toMatch(/^missing {2}instance a\/one: its link is missing from the kernel$/m);
  expect(drift.stdout).toMatch(/^missing {2}vpc a: the firewall's chain ingress was changed$/m);
  expect((await host.vpcctl(['repair'])).exitCode).toBe(2);
  expect((await host.vpcctlOk(['repair', '--dry-run'])).stdout).toMatch(/dry run: nothing was changed$/);
  expect((await host.vpcctl(['repair', '--vpc', 'none', '--yes'])).exitCode).toBe(4);
  const { json } = await host.vpcctlOk(['repair', '--vpc', 'a', '--yes', '--json']);
  expect(json).toMatchObject({ left: [], dryRun: false });
  expect((await host.vpcctlOk(['drift'])).stdout).toMatch(/^no drift/);
  await expectWitness(before);
  expect((await host.vpcctlOk(['repair'])).stdout).toBe('nothing to repair');
});

test('after a restart, readers change nothing and say what to do; a change brings everything back first', async () => {
  for (const ns of ownNamespaces()) await ipDo(['netns', 'del', ns]);
  const store = new Store(host.stateDir);
  store.setMeta('boot', 'an earlier start');
  store.close();
  expect((await host.vpcctlOk(['list'])).stdout).toContain('one');
  const drift = await host.vpcctl(['drift']);
  expect(drift.stdout).toMatch(/run `vpcctl restore`$/);
  expect((await host.vpcctlOk(['repair', '--dry-run'])).stdout).toContain('to repair');
  const { stderr } = await host.vpcctlOk(['add-instance', '--vpc', 'a', '--subnet', 'web', '--name', 'two']);
  expect(stderr).toBe('vpcctl: this machine was started anew: restored vpc a');
  await host.vpcctlOk(['delete-instance', '--vpc', 'a', '--name', 'two']);
  await expectWitness(before);
  expect((await host.vpcctlOk(['restore'])).stdout).toBe('nothing to restore');
});
