/** A warm start loads and compiles, and makes nothing. */
import { readdirSync } from 'node:fs';
import { expect, test } from 'vitest';
import { open } from '../../src/index.js';
import { TestHost } from '../harness/host.js';
import { must } from '../harness/witness.js';

test.each(['library', 'process'] as const)(
  'a warm start by %s leaves no trace, and the first change works',
  async (nft) => {
    const host = await TestHost.create();
    const seen = async () => ({
      state: host.snapshot(),
      rules: await must('', ['nft', '-a', 'list', 'ruleset']),
      namespaces: readdirSync('/run/netns').sort(),
    });
    const before = await seen();
    const vpcctl = await open({ state: host.stateDir, warm: true, nft });
    expect(await seen()).toEqual(before);
    expect(vpcctl.list().vpcs).toEqual([]);
    await vpcctl.transaction((tx) => tx.createVpc({ name: 'rehearsal', cidr: '10.1.0.0/16' }));
    expect(await vpcctl.drift()).toEqual([]);
    await vpcctl.close();
    // A network of the name that is rehearsed with is there: no matter.
    const again = await open({ state: host.stateDir, warm: true, nft });
    expect(await again.drift()).toEqual([]);
    await again.destroy();
    await again.close();
    await host.close();
  },
);
