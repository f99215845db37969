/**
 * One piece of work of the suite profile, inside a private host: `profile-host.mjs DIR PIECE COUNT` (attach, pool, floor; node, list, add), or
 * `profile-host.mjs DIR PIECE VPCSxWORKLOADS` (gone, floor-gone). Prints one line of JSON.
 */
import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { open } from '../../dist/index.js';
import * as floorDriver from '../drivers/floor.mjs';
import * as vpcctlDriver from '../drivers/vpcctl.mjs';
import { checkOne, namespaces } from '../lib/check.mjs';
import { command } from '../lib/command.mjs';
import { attachLines, endLines, floorProgram, routerLines } from '../lib/floor.mjs';
import { grown, network, parseSize, RULES, workload } from '../lib/network.mjs';
import { record } from '../lib/perf.mjs';
import { Resident } from '../lib/resident.mjs';
import { fold, prune } from '../lib/stacks.mjs';
import { armWitnesses, waitForWitnesses } from '../lib/witness.mjs';

const [dir, piece, amount] = process.argv.slice(2);
const state = join(dir, 'state');
const file = join(dir, 'perf.data');
/** Before anything is recorded: code is compiled, caches are filled. */
const WARM_UP = 300;
/** A pool is filled again in pauses. */
const POOL = 50;
const PAUSE_MS = 20;
const LINGER_MS = 1500;
/** What is there when the command is called. */
const THERE = 10;
/** Less than this share of all is not kept on its own. */
const KEPT = 0.002;
const [VPC] = network({ vpcs: 1, workloads: 1 }, 'shared').vpcs;

const ownCpu = () => {
  const { user, system } = process.cpuUsage();
  return user + system;
};

/** Of processes that have ended, by ticks of 10 ms. */
const childrenCpu = () => {
  const fields = readFileSync('/proc/self/stat', 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[13]) + Number(fields[14])) * 10_000;
};

/**
 * Records `work`, by the processes that are `wanted`. `cpu()`: µs of processor that they have had by the kernel's own count. Its time is what `work`
 * returns as `wall`, in µs, or all of it.
 */
async function recorded({ pid = process.pid, wanted = (other) => other === pid, cpu = ownCpu, all, merge }, work) {
  const recording = await record({ pid, all, file });
  const before = cpu();
  const start = performance.now();
  const more = await work();
  const wall = (performance.now() - start) * 1000;
  const counted = cpu() - before;
  return { wall, cpu: counted, ...more, stacks: prune(fold(await recording.stop(), wanted, merge), KEPT) };
}

/** `attach(index)` so often, after some that are not recorded; `pause`: ms before each, which do not count. */
async function attaches(count, process_, attach, pause = 0) {
  for (let at = 0; at < WARM_UP; at += 1) await attach(at);
  return recorded(process_, async () => {
    let wall = 0;
    for (let at = WARM_UP; at < WARM_UP + count; at += 1) {
      if (pause > 0) await sleep(pause);
      const start = performance.now();
      await attach(at);
      wall += (performance.now() - start) * 1000;
    }
    return { wall };
  });
}

async function openVpc(options = {}) {
  const vpcctl = await open({ state, warm: true, ...options });
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: VPC.name, cidr: VPC.cidr });
    tx.addSubnet({ vpc: VPC.name, name: 'private', cidr: VPC.subnet });
    tx.putSecurityGroup(VPC.name, 'services', { ingress: RULES });
  });
  const attach = (index) =>
    vpcctl.transaction((tx) =>
      tx.addInstance({ vpc: VPC.name, subnet: 'private', name: `w${index}`, securityGroups: ['services'] }),
    );
  return { vpcctl, attach };
}

async function ours(count, pool) {
  const { vpcctl, attach } = await openVpc({ pool });
  const result = await attaches(count, {}, attach, pool > 0 ? PAUSE_MS : 0);
  const [first, last] = [0, WARM_UP + count - 1].map((index) => vpcctl.instance(VPC.name, { instance: `w${index}` }));
  await checkOne(first.namespace, last.namespace, last.ip);
  await vpcctl.destroy();
  await vpcctl.close();
  return result;
}

/** Whole processes, one after the other: `argv(at)`. */
async function calls(count, argv) {
  const { vpcctl, attach } = await openVpc();
  for (let at = 0; at < THERE; at += 1) await attach(at);
  await vpcctl.close();
  const call = (at) => {
    const [program, ...args] = argv(at);
    run(program, args);
  };
  call(0);
  const result = await recorded({ wanted: (pid) => pid !== process.pid, cpu: childrenCpu, merge: true }, async () => {
    for (let at = 1; at <= count; at += 1) call(at);
  });
  const cleaner = await open({ state });
  await cleaner.destroy();
  await cleaner.close();
  return result;
}

function startFloor() {
  const child = spawn(floorProgram(), ['-']);
  const cpu = () => Number(readFileSync(`/proc/${child.pid}/schedstat`, 'utf8').split(' ')[0]) / 1000;
  return { program: new Resident(child), pid: child.pid, cpu };
}

async function floor(count) {
  const { program, ...itself } = startFloor();
  await program.ask(...routerLines(VPC, true), 'go');
  const result = await attaches(count, itself, (index) =>
    program.ask(...attachLines(VPC, [workload(0, index)], true), 'go'),
  );
  const [first, last] = [0, WARM_UP + count - 1].map((index) => workload(0, index));
  await checkOne(first.name, last.name, last.ip);
  await program.end();
  return result;
}

/** Runs a process to its end. */
function run(program, args) {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status !== 0) throw new Error(error?.message ?? stderr.trim());
}

/** The network is made by another process, and `destroy` records how this one, or one of its own, destroys it. */
async function teardown(driver, size, destroy) {
  const net = network(parseSize(size));
  const [program, ...args] = driver.prepare(net, grown(net).extra, dir).up;
  run(program, args);
  armWitnesses(namespaces());
  const result = await destroy(net);
  const left = namespaces();
  if (left.length > 0) throw new Error(`check: left in /run/netns: ${left.join(' ')}`);
  return result;
}

/** Until the call returns, and until the devices are gone; what the kernel still does with what is left of them is recorded too. */
async function untilGone(destroy) {
  const start = performance.now();
  await destroy();
  const returned = (performance.now() - start) * 1000;
  await waitForWitnesses();
  const wall = (performance.now() - start) * 1000;
  await sleep(LINGER_MS);
  return { returned, wall };
}

function oursGone(size) {
  return teardown(vpcctlDriver, size, async (net) => {
    const vpcctl = await open({ state, warm: true });
    const result = await recorded({ all: true }, () => untilGone(() => vpcctl.destroy(vpcctlDriver.specOf(net))));
    await vpcctl.close();
    return result;
  });
}

function floorGone(size) {
  return teardown(floorDriver, size, async (net) => {
    const { program, ...itself } = startFloor();
    const result = await recorded({ ...itself, all: true }, () => untilGone(() => program.ask(...endLines(net), 'go')));
    await program.end();
    return result;
  });
}

const pieces = {
  attach: () => ours(Number(amount), 0),
  pool: () => ours(Number(amount), POOL),
  floor: () => floor(Number(amount)),
  node: () => calls(Number(amount), () => [process.execPath, '-e', '0']),
  list: () => calls(Number(amount), () => command('--state', state, 'list')),
  add: () =>
    calls(Number(amount), (at) =>
      command('--state', state, 'add-instance', '--vpc', VPC.name, '--subnet', 'private', '--name', `extra${at}`),
    ),
  gone: () => oursGone(amount),
  'floor-gone': () => floorGone(amount),
};
process.stdout.write(`${JSON.stringify(await pieces[piece]())}\n`);
