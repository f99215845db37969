/** A process that attaches and detaches for long holds no more than before. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestHost } from '../harness/host.js';

interface Held {
  readonly descriptors: number;
  readonly namespaces: number;
  readonly mounts: number;
  readonly threads: number;
  readonly heap: number;
  readonly rss: number;
}

const CYCLES = process.env.VPCCTL_TEST_EVERY === undefined ? 200 : 1000;
const MB = 1 << 20;
let host: TestHost;

beforeAll(async () => {
  host = await TestHost.create();
});

afterAll(async () => {
  await host.close();
});

test(`${CYCLES} cycles of attach and detach leave no descriptor, namespace, thread or memory`, {
  timeout: 300_000,
}, async () => {
  const script = fileURLToPath(new URL('./churn.mjs', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--expose-gc',
    script,
    `${host.stateDir}/churn`,
    String(CYCLES),
  ]);
  const { before, after } = JSON.parse(stdout) as { before: Held; after: Held };
  console.log('before', before, 'after', after);
  const { heap: _h, rss: _r, ...counted } = before;
  expect(after).toMatchObject(counted);
  expect(after.heap - before.heap, 'heap').toBeLessThan(MB + CYCLES * 1024);
  // Outside of the heap: the addon and libnftables. Allocators keep what they freed, so this is coarse.
  expect(after.rss - before.rss, 'resident').toBeLessThan(24 * MB + CYCLES * 8 * 1024);
});
