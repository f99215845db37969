/** `bench` measures on a host of its own: this one, which is private as well, must not notice. */
import { readdirSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestHost } from '../harness/host.js';
import { diffHostStates } from '../harness/host-state.mjs';

let host: TestHost;

beforeAll(async () => {
  host = await TestHost.create({ internet: false });
});

afterAll(async () => host.close());

function temporaries(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('vpcctl-measuring-'));
}

test('says how fast this machine is, and leaves nothing', async () => {
  const before = host.snapshot();
  const { json, stderr } = await host.vpcctlOk(['bench', '--size', '5', '--json']);
  expect(stderr).toBe('');
  const figures = {
    machine: { cpu: expect.any(String), cores: expect.any(Number), node: process.version.slice(1) },
    attach: { p50: expect.any(Number), p99: expect.any(Number) },
    bulk: { workloadsPerSecond: expect.any(Number) },
    teardown: { perWorkload: expect.any(Number) },
  };
  expect(json).toMatchObject({ here: { ...figures, size: 5 }, published: { size: expect.any(Number) } });
  const { here } = json as { here: { attach: { p50: number; p99: number }; bulk: { workloadsPerSecond: number } } };
  // From 0.1 ms to a second a workload: whatever the machine, it is neither nothing nor for ever.
  expect(here.attach.p50).toBeGreaterThan(0.1);
  expect(here.attach.p99).toBeGreaterThanOrEqual(here.attach.p50);
  expect(here.bulk.workloadsPerSecond).toBeGreaterThan(1);
  expect(here.bulk.workloadsPerSecond).toBeLessThan(10_000);
  expect(diffHostStates(before, host.snapshot())).toEqual([]);
  expect(temporaries()).toEqual([]);
});

test('an interrupt ends it, and leaves nothing', async () => {
  const before = host.snapshot();
  const child = host.start(['bench', '--size', '500']);
  while (temporaries().length === 0) await sleep(10);
  // While it is at work.
  while (readdirSync(join(tmpdir(), String(temporaries()[0]))).length === 0) await sleep(10);
  await sleep(300);
  child.kill('SIGINT');
  const { exitCode, stderr } = await child;
  expect([exitCode, stderr]).toEqual([130, 'vpcctl: interrupted: the private host is gone']);
  expect(temporaries()).toEqual([]);
  for (let i = 0; i < 100 && diffHostStates(before, host.snapshot()).length > 0; i++) await sleep(20);
  expect(diffHostStates(before, host.snapshot())).toEqual([]);
});

test('makes no network on a host that is not its own', async () => {
  const env = { VPCCTL_PRIVATE_HOST: readlinkSync('/proc/self/ns/net') };
  const { exitCode, stderr } = await host.vpcctl(['bench', '--inside', join(host.stateDir, 'x')], { env });
  expect([exitCode, stderr]).toEqual([2, 'vpcctl: this is no private host; run it by `vpcctl bench`']);
});
