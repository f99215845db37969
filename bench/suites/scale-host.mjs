/**
 * One run of the suite scale, inside a private host: `scale-host.mjs STATE LEVEL,… REPEATS`. Fills one VPC level by level in a resident process and
 * measures at each what one attach and one detach cost there. Prints one line of JSON. Started by scale.mjs only, with --expose-gc.
 */
import { performance } from 'node:perf_hooks';
import { open } from '../../dist/index.js';
import { checkOne } from '../lib/check.mjs';
import { RULES } from '../lib/network.mjs';

const [state, levelText, repeatText] = process.argv.slice(2);
const levels = levelText.split(',').map(Number);
const repeats = Number(repeatText);
const CHUNK = 250;
const VPC = 'big';
const SUBNETS = 8;

const vpcctl = await open({ state, warm: true });
let made = 0;

async function timed(work) {
  const start = performance.now();
  const result = await work();
  return { ms: performance.now() - start, result };
}

function heap() {
  globalThis.gc();
  return process.memoryUsage().heapUsed;
}

const attach = (tx, index) =>
  tx.addInstance({ vpc: VPC, subnet: `s${index % SUBNETS}`, name: `w${index}`, securityGroups: ['services'] });

async function fill(count) {
  while (made < count) {
    const until = Math.min(count, made + CHUNK);
    const from = made;
    await vpcctl.transaction((tx) => {
      for (let index = from; index < until; index += 1) attach(tx, index);
    });
    made = until;
  }
}

async function proves(index) {
  const { ip, namespace } = vpcctl.instance(VPC, { instance: `w${index}` });
  await checkOne(vpcctl.instance(VPC, { instance: 'probe' }).namespace, namespace, ip);
}

async function level(existing) {
  const filling = await timed(() => fill(existing));
  const attaches = [];
  const detaches = [];
  let rows;
  for (let index = existing; index < existing + repeats; index += 1) {
    const { ms, result } = await timed(() => vpcctl.transaction((tx) => attach(tx, index)));
    attaches.push(ms);
    rows = { create: result.kernel.create, update: result.kernel.update, delete: result.kernel.delete };
  }
  await proves(existing + repeats - 1);
  for (let index = existing; index < existing + repeats; index += 1) {
    detaches.push((await timed(() => vpcctl.transaction((tx) => tx.deleteInstance(VPC, `w${index}`)))).ms);
  }
  return { existing, fill: filling.ms, attaches, detaches, rows, heap: heap() };
}

await vpcctl.transaction((tx) => {
  tx.createVpc({ name: VPC, cidr: '10.0.0.0/16' });
  for (let index = 0; index < SUBNETS; index += 1) {
    tx.addSubnet({ vpc: VPC, name: `s${index}`, cidr: `10.0.${index * 32}.0/19` });
  }
  tx.putSecurityGroup(VPC, 'services', { ingress: RULES });
  tx.addInstance({ vpc: VPC, subnet: 's0', name: 'probe' });
});
const results = [];
for (const existing of levels) results.push(await level(existing));
await vpcctl.close();

const opening = await timed(() => open({ state }));
const again = opening.result;
const observing = await timed(() => again.drift());
if (observing.result.length > 0) throw new Error(`check: drift: ${observing.result[0].object}`);
const destroying = await timed(() => again.destroy());
await again.close();
process.stdout.write(
  `${JSON.stringify({ levels: results, open: opening.ms, observe: observing.ms, destroy: destroying.ms })}\n`,
);
