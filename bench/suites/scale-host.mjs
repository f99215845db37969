/**
 * One run of the suite scale, inside a private host: `scale-host.mjs STATE LEVEL,… REPEATS CYCLES`. Fills one VPC level by level in a resident process and
 * measures at each what one attach and one detach cost there. Prints one line of JSON. Started by scale.mjs only, with --expose-gc.
 */
import { readdirSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { open } from '../../dist/index.js';
import { checkOne } from '../lib/check.mjs';
import { RULES } from '../lib/network.mjs';

const [state, levelText, repeatText, cycleText] = process.argv.slice(2);
const levels = levelText.split(',').map(Number);
const repeats = Number(repeatText);
const cycles = Number(cycleText);
const CHUNK = 250;
const VPC = 'big';
const SUBNETS = 8;
const LANES = 8;

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

/** What the process holds: bytes of JavaScript's heap, of its memory, and descriptors. */
function held() {
  return { heap: heap(), resident: process.memoryUsage.rss(), descriptors: readdirSync('/proc/self/fd').length };
}

/** Attaches and detaches, over several VPCs at once, because each detach waits for the kernel. A look at what is held each tenth. */
async function turnOver(count) {
  for (let lane = 0; lane < LANES; lane += 1) {
    await vpcctl.transaction((tx) => {
      tx.createVpc({ name: `lane${lane}`, cidr: '10.1.0.0/16' });
      tx.addSubnet({ vpc: `lane${lane}`, name: 's', cidr: '10.1.0.0/20' });
    });
  }
  const looks = [];
  let done = 0;
  const lane = async (vpc, until) => {
    for (; done < until; ) {
      done += 1;
      const name = `w${done}`;
      await vpcctl.transaction((tx) => tx.addInstance({ vpc, subnet: 's', name }));
      await vpcctl.transaction((tx) => tx.deleteInstance(vpc, name));
    }
  };
  const start = performance.now();
  for (let tenth = 1; tenth <= 10; tenth += 1) {
    const until = Math.ceil((count * tenth) / 10);
    await Promise.all(Array.from({ length: LANES }, (_, at) => lane(`lane${at}`, until)));
    looks.push({ cycles: done, ...held() });
  }
  const ms = performance.now() - start;
  for (let at = 0; at < LANES; at += 1) await vpcctl.transaction((tx) => tx.deleteVpc(`lane${at}`, { force: true }));
  return { count: done, ms, looks };
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
const turned = cycles > 0 ? { turned: await turnOver(cycles) } : {};
await vpcctl.close();

const opening = await timed(() => open({ state }));
const again = opening.result;
const observing = await timed(() => again.drift());
if (observing.result.length > 0) throw new Error(`check: drift: ${observing.result[0].object}`);
const destroying = await timed(() => again.destroy());
await again.close();
process.stdout.write(
  `${JSON.stringify({ levels: results, open: opening.ms, observe: observing.ms, destroy: destroying.ms, ...turned })}\n`,
);
