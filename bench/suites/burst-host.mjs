/**
 * One trial of the suite burst, inside a private host: `burst-host.mjs sequence|at-once|four STATE VPCS WORKLOADS`. Prints one line of
 * JSON. As `burst-host.mjs worker STATE` it is one of several processes on one state, and is asked (lib/resident.mjs).
 */
import { spawn } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { open } from '../../dist/index.js';
import { namespaces } from '../lib/check.mjs';
import { network, RULES } from '../lib/network.mjs';
import { answer, Resident } from '../lib/resident.mjs';

const PROCESSES = 4;
const [mode, state, vpcText, workloadText] = process.argv.slice(2);
const vpcctl = await open({ state, warm: true });

const attach = ([vpc, name]) =>
  vpcctl.transaction((tx) => tx.addInstance({ vpc, subnet: 'private', name, securityGroups: ['services'] }));

/** All at once; a failure is counted, not thrown, so that each of the others is waited for. */
async function attachAtOnce(places) {
  const outcomes = await Promise.allSettled(places.map(attach));
  return outcomes.filter(({ status }) => status === 'rejected').map(({ reason }) => reason.message);
}

async function inSequence(places) {
  for (const place of places) await attach(place);
  return [];
}

async function inProcesses(places, workers) {
  const shares = workers.map((_, which) => places.filter((_place, at) => at % workers.length === which));
  const answers = await Promise.all(workers.map((worker, at) => worker.call({ verb: 'attach', places: shares[at] })));
  return answers.flatMap(({ failures }) => failures);
}

async function trial() {
  const { vpcs } = network({ vpcs: Number(vpcText), workloads: Number(workloadText) }, 'shared');
  for (const { name, cidr, subnet } of vpcs) {
    await vpcctl.transaction((tx) => {
      tx.createVpc({ name, cidr });
      tx.addSubnet({ vpc: name, name: 'private', cidr: subnet });
      tx.putSecurityGroup(name, 'services', { ingress: RULES });
    });
  }
  // One of each VPC, then the next of each: neighbours in the line are never of one VPC.
  const places = Array.from({ length: Number(workloadText) }, (_, j) => vpcs.map(({ name }) => [name, `w${j}`])).flat();
  const workers = [];
  if (mode === 'four') {
    const argv = [fileURLToPath(import.meta.url), 'worker', state];
    for (let at = 0; at < PROCESSES; at += 1) workers.push(new Resident(spawn(process.execPath, argv)));
    for (const worker of workers) await worker.ask();
  }
  const start = performance.now();
  const failures =
    mode === 'sequence'
      ? await inSequence(places)
      : mode === 'four'
        ? await inProcesses(places, workers)
        : await attachAtOnce(places);
  const ms = performance.now() - start;
  for (const worker of workers) await worker.end();

  const standing = namespaces().length;
  const wanted = vpcs.length + places.length;
  if (failures.length === 0 && standing !== wanted)
    failures.push(`${standing} namespaces are there, ${wanted} were wanted`);
  const [difference] = await vpcctl.drift();
  if (difference !== undefined) failures.push(`drift: ${JSON.stringify(difference)}`);
  await vpcctl.destroy();
  return { ms, count: places.length, failures };
}

if (mode === 'worker') {
  process.stdout.write('{}\n');
  await answer({ attach: async ({ places }) => ({ failures: await attachAtOnce(places) }) });
} else {
  process.stdout.write(`${JSON.stringify(await trial())}\n`);
}
await vpcctl.close();
