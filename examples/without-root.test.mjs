/** Tests of a program that uses vpcctl, without root and without a network: `node --test examples/without-root.test.mjs`. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { MemoryKernel, open } from 'vpcctl';

/** What is to be tested: a lab of one VPC with some workers. */
async function makeLab(vpcctl, workers) {
  const { value } = await vpcctl.transaction((tx) => {
    tx.createVpc({ name: 'lab', cidr: '10.7.0.0/16' });
    tx.addSubnet({ vpc: 'lab', name: 'work', cidr: '10.7.1.0/24' });
    return Array.from({ length: workers }, (_, index) =>
      tx.addInstance({ vpc: 'lab', subnet: 'work', name: `worker-${index}` }),
    );
  });
  return value.map(({ ip }) => ip);
}

async function withVpcctl(body) {
  const state = mkdtempSync(join(tmpdir(), 'lab-'));
  // In place of this machine's kernel; the state directory is the test's own.
  const kernel = new MemoryKernel();
  const vpcctl = await open({ state, kernel });
  try {
    await body(vpcctl, kernel);
  } finally {
    await vpcctl.close();
    rmSync(state, { recursive: true });
  }
}

test('each worker has an address, and a namespace', async () => {
  await withVpcctl(async (vpcctl, kernel) => {
    assert.deepEqual(await makeLab(vpcctl, 2), ['10.7.1.4', '10.7.1.5']);
    assert.deepEqual((await kernel.namespaces()).sort(), ['vpc.lab', 'vpc.lab.worker-0', 'vpc.lab.worker-1']);
    assert.deepEqual(await vpcctl.drift(), []);
  });
});

test('a refusal of the kernel leaves nothing behind', async () => {
  await withVpcctl(async (vpcctl, kernel) => {
    kernel.failAt(20); // the twentieth change from now
    await assert.rejects(makeLab(vpcctl, 2), { code: 'KERNEL' });
    assert.deepEqual(kernel.rows(), []);
    await makeLab(vpcctl, 2);
  });
});

test('what somebody else removes is drift', async () => {
  await withVpcctl(async (vpcctl, kernel) => {
    await makeLab(vpcctl, 1);
    const address = kernel.rows().find((row) => row.kind === 'addr' && row.ns === 'vpc.lab.worker-0');
    assert.ok(address && kernel.tamper(address));
    const [drift] = await vpcctl.drift();
    assert.equal(drift?.what, 'missing');
    assert.equal(drift?.resource, 'instance lab/worker-0');
  });
});
