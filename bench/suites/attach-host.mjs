/**
 * One side of the suite attach, inside a private host: `attach-host.mjs vpcctl STATE [POOL]` or `attach-host.mjs floor`. Stays, and is
 * asked (lib/resident.mjs): fill, attach, prove, detach. Both sides hold the same network: VPCs of at most PER_VPC workloads, one group a VPC;
 * what is attached goes to the first, which has a workload more for the proof.
 */
import { spawn, spawnSync } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { checkOne } from '../lib/check.mjs';
import { attachLines, detachLines, floorProgram, routerLines } from '../lib/floor.mjs';
import { network, RULES, workload } from '../lib/network.mjs';
import { answer, Resident } from '../lib/resident.mjs';

/** Less than a bridge's 1023 ports, so that what is measured fits beside. */
const PER_VPC = 1000;
const CHUNK = 250;
const SHARED = true;
const GONE_MS = 10_000;

const [side, ...args] = process.argv.slice(2);
const { vpcs } = network({ vpcs: 250, workloads: 1 }, 'shared');

/** The places of workloads `from` to `until`, in runs that are of one VPC and no longer than CHUNK. */
function runs(from, until) {
  const found = [];
  for (let at = from; at < until; ) {
    const v = Math.floor(at / PER_VPC);
    const end = Math.min(until, (v + 1) * PER_VPC, at + CHUNK);
    found.push({ v, indices: Array.from({ length: end - at }, (_, more) => (at % PER_VPC) + more) });
    at = end;
  }
  return found;
}

async function oursSide([state, pool]) {
  const { open } = await import('../../dist/index.js');
  const vpcctl = await open({ state, warm: true, ...(pool === undefined ? {} : { pool: Number(pool) }) });
  const add = (tx, v, name) =>
    tx.addInstance({ vpc: vpcs[v].name, subnet: 'private', name, securityGroups: ['services'] });
  return {
    makeVpc: (v) =>
      vpcctl.transaction((tx) => {
        tx.createVpc({ name: vpcs[v].name, cidr: vpcs[v].cidr });
        tx.addSubnet({ vpc: vpcs[v].name, name: 'private', cidr: vpcs[v].subnet });
        tx.putSecurityGroup(vpcs[v].name, 'services', { ingress: RULES });
      }),
    addSome: (v, indices) =>
      vpcctl.transaction((tx) => {
        for (const index of indices) add(tx, v, `w${index}`);
      }),
    async attach(index) {
      const start = performance.now();
      await vpcctl.transaction((tx) => add(tx, 0, `w${index}`));
      return performance.now() - start;
    },
    detach: (indices) =>
      vpcctl.transaction((tx) => {
        for (const index of indices) tx.deleteInstance(vpcs[0].name, `w${index}`);
      }),
    where(index) {
      const { namespace, ip } = vpcctl.instance(vpcs[0].name, { instance: `w${index}` });
      return { namespace, ip };
    },
    end: () => vpcctl.close(),
  };
}

function floorSide() {
  const program = new Resident(spawn(floorProgram(), ['-']));
  async function run(lines) {
    const { start, end } = JSON.parse(await program.ask(...lines, 'go'));
    return Number(BigInt(end) - BigInt(start)) / 1e6;
  }
  return {
    makeVpc: (v) => run(routerLines(vpcs[v], SHARED)),
    addSome: (v, indices) =>
      run(
        attachLines(
          vpcs[v],
          indices.map((index) => workload(v, index)),
          SHARED,
        ),
      ),
    attach: (index) => run(attachLines(vpcs[0], [workload(0, index)], SHARED)),
    async detach(indices) {
      const workloads = indices.map((index) => workload(0, index));
      await run(detachLines(vpcs[0], workloads, SHARED));
      const last = Date.now() + GONE_MS;
      while (spawnSync('ip', ['-n', 'r0', 'link', 'show', `p${indices.at(-1)}`]).status === 0) {
        if (Date.now() > last) throw new Error(`p${indices.at(-1)} is still there`);
        await sleep(5);
      }
    },
    where(index) {
      const { name, ip } = workload(0, index);
      return { namespace: name, ip };
    },
    end: () => program.end(),
  };
}

const made = await (side === 'floor' ? floorSide() : oursSide(args));
let filled = 0;
let knownVpcs = 0;
/** What is attached in addition never takes an index again: the kernel is not done with the old one at once. */
const FIRST_MORE = PER_VPC + 1;
const PROBE = PER_VPC;

async function makeVpc(v) {
  await made.makeVpc(v);
  knownVpcs = v + 1;
  if (v === 0) await made.addSome(0, [PROBE]);
}

await makeVpc(0);
process.stdout.write('{}\n');
await answer({
  async fill({ count }) {
    const start = performance.now();
    for (const { v, indices } of runs(filled, count)) {
      if (v >= knownVpcs) await makeVpc(v);
      await made.addSome(v, indices);
    }
    filled = count;
    return { ms: performance.now() - start };
  },
  attach: async ({ number }) => ({ ms: await made.attach(FIRST_MORE + number) }),
  async prove({ number }) {
    const { namespace, ip } = made.where(FIRST_MORE + number);
    await checkOne(made.where(PROBE).namespace, namespace, ip);
  },
  detach: ({ numbers }) => made.detach(numbers.map((number) => FIRST_MORE + number)),
});
await made.end();
