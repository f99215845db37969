/** A state that was lost: what it left is found by its marks and removed; what only looks like ours stays. */
import { rmSync } from 'node:fs';
import { expect, test } from 'vitest';
import { open } from '../../src/index.js';
import { TestHost } from '../harness/host.js';
import { diffHostStates } from '../harness/host-state.mjs';
import { ipDo, must } from '../harness/witness.js';

test('orphans are found by their marks, and nothing else is touched', async () => {
  const host = await TestHost.create();
  // Not ours: the name of a router, our route protocol on somebody's link.
  await ipDo(['netns', 'add', 'vpc.theirs']);
  await ipDo(['link', 'add', 'br0', 'type', 'bridge'], 'vpc.theirs');
  await ipDo(['link', 'set', 'br0', 'up'], 'vpc.theirs');
  await ipDo(['route', 'add', '100.64.0.0/24', 'via', '192.0.2.1', 'proto', '201']);
  const before = host.snapshot();

  const lost = await open({ state: host.stateDir });
  await lost.transaction((tx) => {
    tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
    tx.addSubnet({ vpc: 'a', name: 'web', cidr: '10.1.1.0/24', public: true });
    tx.addInstance({ vpc: 'a', subnet: 'web', name: 'w1' });
    tx.addInstance({ vpc: 'a', subnet: 'web', name: 'w2' });
    tx.addNatGateway({ vpc: 'a', subnet: 'web', name: 'out' });
  });
  expect(await lost.orphans()).toEqual([]);
  await lost.close();
  // Root in a workload takes its own mark off; the router's end still names it.
  await ipDo(['link', 'set', 'eth0', 'alias', ''], 'vpc.a.w1');
  // What root in a workload makes of nftables is nobody else's to read.
  await must('vpc.a.w2', ['nft', 'add', 'table', 'inet', 'own']);
  rmSync(host.stateDir, { recursive: true });

  const fresh = await open({ state: host.stateDir });
  const orphans = await fresh.orphans();
  const namespaces = orphans.flatMap((row) => (row.kind === 'netns' ? [row.ns] : [])).sort();
  expect(namespaces).toEqual(['vpc-edge', 'vpc.a', 'vpc.a.nat.out', 'vpc.a.w1', 'vpc.a.w2']);
  const tables = orphans.flatMap((row) => (row.kind === 'nft-table' ? [row.ns] : []));
  expect([tables.includes('vpc.a'), tables.includes('vpc.a.w2')]).toEqual([true, false]);
  await fresh.removeOrphans();
  expect(await fresh.orphans()).toEqual([]);
  await fresh.close();

  // What the uplink's setting was before is lost with the state.
  await host.sysctl('', 'net/ipv4/conf/eth0/forwarding', '0');
  expect(diffHostStates(before, host.snapshot()).filter((line) => !line.includes('mount'))).toEqual([]);
  await ipDo(['route', 'del', '100.64.0.0/24']);
  await ipDo(['netns', 'del', 'vpc.theirs']);
  await host.close();
});
