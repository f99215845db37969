/**
 * `patient.mjs STATE NAME COUNT VPCS sequence|at-once`: attaches COUNT instances, spread over VPCs v0, v1 …, and prints how long each took in
 * ms, or why it failed.
 */
import { open } from '../../dist/index.js';

const [state, name, count, vpcs, how] = process.argv.slice(2);
const vpcctl = await open({ state, warm: true });
process.stdout.write('ready\n');
// All begin together.
await new Promise((resolve) => process.stdin.once('data', resolve));
process.stdin.destroy();

async function attach(index) {
  const begin = performance.now();
  try {
    const args = { vpc: `v${index % Number(vpcs)}`, subnet: 's', name: `${name}-${index}` };
    await vpcctl.transaction((tx) => tx.addInstance(args));
    return performance.now() - begin;
  } catch (error) {
    return String(error);
  }
}

const indices = Array.from({ length: Number(count) }, (_, index) => index);
const took = [];
if (how === 'at-once') took.push(...(await Promise.all(indices.map(attach))));
else for (const index of indices) took.push(await attach(index));
await vpcctl.close();
process.stdout.write(JSON.stringify(took));
