/**
 * One trial, inside a private host (network namespace, mount namespace, empty /run): build, check, tear down, wait
 * until the kernel has let go. `host.mjs DRIVER SIZE GROUPS DIR`; prints the trial as one line of JSON. Started by
 * run.mjs only.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { check, namespaces } from './lib/check.mjs';
import { driverNamed } from './lib/drivers.mjs';
import { grown, network, parseSize } from './lib/network.mjs';
import { median } from './lib/stats.mjs';
import { armWitnesses, spread, waitForWitnesses, waitWhile } from './lib/witness.mjs';

const MOST_NUMBERED = 128;
const [driverName, sizeText, groups, dir] = process.argv.slice(2);

function run(program, args, input) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', input });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
  return stdout;
}

/** What of a failed program's words says why: Node prints a source line first, `ip` and `nft` begin with it, CNI's plugins print JSON. */
function reason({ stdout, stderr }) {
  if (stderr === '') return stdout.trim().replace(/\s+/g, ' ');
  return /^\w*Error.*: .*$/m.exec(stderr)?.[0] ?? stderr.trim().split('\n')[0];
}

/** Runs a phase to its end: when it was started and ended, on the monotonic clock, and what it printed. */
async function phase([program, ...args]) {
  const spawned = process.hrtime.bigint();
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr']) {
    child[stream].setEncoding('utf8').on('data', (text) => {
      output[stream] += text;
    });
  }
  const closed = once(child, 'close');
  const [code, signal] = await once(child, 'exit');
  const exited = process.hrtime.bigint();
  await closed;
  if (code !== 0) throw new Error(`${driverName}: ${program} ended with ${code ?? signal}: ${reason(output)}`);
  return { spawned, exited, stdout: output.stdout };
}

function ms(from, to) {
  return Math.round(Number(to - from) / 1e3) / 1e3;
}

/** What starting `sh` and nothing else takes here: taken off the scripts' times, as Node's start is off a library's. */
async function shellStart() {
  const times = [];
  for (let at = 0; at < 5; at += 1) {
    const { spawned, exited } = await phase(['sh', '-c', ':']);
    times.push(Number(exited - spawned));
  }
  return BigInt(Math.round(median(times)));
}

/** The clock of a phase: `start` is when its work began, not its interpreter. */
function clock({ spawned, exited, stdout }, own, shell) {
  if (!own) return { start: spawned + shell, end: exited };
  const { opening, start, end } = JSON.parse(stdout.trim().split('\n').at(-1));
  return { opening: BigInt(opening), start: BigInt(start), end: BigInt(end) };
}

/**
 * With a number of its own here, a namespace is in the host's list as long as anything keeps it alive. Not all get one, because
 * the kernel looks all numbers up for each namespace that dies: 1000 numbers made the end of 1000 namespaces a third longer.
 */
function numberNamespaces(found) {
  const some = spread(found, MOST_NUMBERED);
  // One that a link of the host leads to has a number already: EEXIST, hence -force.
  spawnSync('ip', ['-force', '-batch', '-'], { input: some.map((name) => `netns set ${name} auto\n`).join('') });
  const numbered = run('ip', ['netns', 'list']).match(/\(id: \d+\)/g) ?? [];
  if (numbered.length < some.length)
    throw new Error(`only ${numbered.length} of ${some.length} namespaces have a number`);
}

/** Whether a numbered namespace lives. */
function anyAlive() {
  return run('ip', ['netns', 'list-id']).includes('nsid');
}

async function waitUntilGone() {
  await waitForWitnesses();
  const goneAt = process.hrtime.bigint();
  await waitWhile(anyAlive, 'namespaces are still alive after teardown');
  return goneAt;
}

const driver = await driverNamed(driverName);
const size = parseSize(sizeText);
const net = network(size, groups);
const { extra, net: larger } = grown(net);
const commands = driver.prepare(net, extra, dir);
const shell = await shellStart();

const up = await phase(commands.up);
if (size.workloads === 1) await phase(commands.grow);
const checked = await check(size.workloads === 1 ? larger : net, driver.policy);
if (size.workloads === 1) await phase(commands.shrink);
const standing = namespaces();
numberNamespaces(standing);
armWitnesses(standing);
const down = await phase(commands.down);
const goneAt = await waitUntilGone();
const left = namespaces();
if (left.length > 0) throw new Error(`check: left in /run/netns: ${left.join(' ')}`);

const upClock = clock(up, driver.ownClock, shell);
const downClock = clock(down, driver.ownClock, shell);
process.stdout.write(
  `${JSON.stringify({
    build: ms(upClock.start, upClock.end),
    buildProcess: ms(up.spawned, up.exited),
    teardown: ms(downClock.start, downClock.end),
    teardownProcess: ms(down.spawned, down.exited),
    gone: ms(downClock.start, goneAt),
    ...(upClock.opening === undefined ? {} : { open: ms(upClock.opening, upClock.start) }),
    checked,
  })}\n`,
);
