/** What `doctor` says of resolvers that do not run, and of whom they are to ask. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { resolverChecks } from '../../../src/engine/resolver-checks.js';
import { Store } from '../../../src/engine/store.js';
import { MemoryKernel, open } from '../../../src/index.js';
import type { DnsSpec } from '../../../src/spec/types.js';
import { stateDir } from './support.js';

/** `STATUS DETAIL` of each. */
async function checks(resolvers: readonly DnsSpec[], resolvConf: string): Promise<string[]> {
  const state = stateDir();
  const vpcctl = await open({ state, kernel: new MemoryKernel() });
  await vpcctl.transaction((tx) => {
    for (const [at, dns] of resolvers.entries()) {
      tx.createVpc({ name: `v${at}`, cidr: `10.${at}.0.0/16` });
      tx.setDns(`v${at}`, dns);
    }
  });
  await vpcctl.close();
  const file = join(state, 'resolv.conf');
  writeFileSync(file, resolvConf);
  const store = new Store(state);
  onTestFinished(() => store.close());
  const found = await resolverChecks(store, file);
  expect(found.every(({ status, hint }) => status === 'ok' || hint !== undefined)).toBe(true);
  // Whether this machine's /etc may be written is not asked here.
  return found.flatMap(({ status, detail }) => (detail.includes('below /etc') ? [] : [`${status} ${detail}`]));
}

test('nothing where no VPC has one', async () => {
  expect(await checks([false], '')).toEqual([]);
});

test('that it does not run, and for whom', async () => {
  expect(await checks([{ forward: 'none' }], '')).toEqual(['warning it does not run: nobody answers vpc v0']);
  expect(await checks(Array(7).fill({ forward: 'none' }), '')).toEqual([
    'warning it does not run: nobody answers VPCs v0, v1, v2, v3, v4 and 2 more',
  ]);
});

test('that the host names no server for those that pass queries on to it', async () => {
  const mixed: readonly DnsSpec[] = [true, { forward: ['192.0.2.1'] }];
  const [, none = ''] = await checks(mixed, 'search example\nnameserver nobody\n');
  expect(none).toMatch(/^warning .*resolv.conf names no server, which is to be asked for vpc v0$/);
  expect(await checks(mixed, '# here\n  nameserver fe80::1%eth0\n')).toHaveLength(1);
});
