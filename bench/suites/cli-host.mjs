/**
 * One run of the suite cli, inside a private host: `cli-host.mjs DIR WORKLOADS,… CALLS OPERATIONS BATCHES`. Prints one line of JSON.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { open } from '../../dist/index.js';
import { namespaces } from '../lib/check.mjs';
import { command } from '../lib/command.mjs';
import { network, RULES } from '../lib/network.mjs';

const [dir, levelText, callText, operationText, batchText] = process.argv.slice(2);
const state = join(dir, 'state');
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const client = here('../../build/Release/vpcctl-client');
const [{ name: VPC, cidr, subnet }, { name: OTHER, cidr: otherCidr, subnet: otherSubnet }] = network(
  { vpcs: 2, workloads: 1 },
  'shared',
).vpcs;
const skipped = [];

function demand(condition, message) {
  if (!condition) throw new Error(`check: ${message}`);
}

/** Runs a process to its end; the clock is the whole of it. */
function timed([program, ...args], options = {}) {
  const start = process.hrtime.bigint();
  const { status, stdout, stderr, error } = spawnSync(program, args, {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    ...options,
  });
  const ms = Number(process.hrtime.bigint() - start) / 1e6;
  if (status !== 0)
    throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? (stderr.trim() || stdout.trim())}`);
  return { ms, stdout };
}

/** What the command can do, by its own word. */
const verbs = new Set(
  timed(command('--help'))
    .stdout.split('\n')
    .map((line) => /^ {2}([a-z-]+)( |$)/.exec(line)?.[1]),
);

const ours = (...args) => command('--state', state, ...args);

const vpcctl = await open({ state });
async function makeVpc(vpc, block, private_) {
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: vpc, cidr: block });
    tx.addSubnet({ vpc, name: 'private', cidr: private_ });
    tx.putSecurityGroup(vpc, 'services', { ingress: RULES });
  });
}

let filled = 0;
async function fill(count) {
  await vpcctl.transaction((tx) => {
    for (; filled < count; filled += 1) {
      tx.addInstance({ vpc: VPC, subnet: 'private', name: `w${filled}`, securityGroups: ['services'] });
    }
  });
}

const { version } = JSON.parse(readFileSync(here('../../package.json'), 'utf8'));
const addInstance = ['add-instance', '--vpc', VPC, '--subnet', 'private', '--name', 'extra'];

/** Each call: its command line, what must be true after it, and what undoes it outside the clock. */
function callsOf(viaDaemon) {
  const added = {
    after: () => demand(namespaces().includes(`vpc.${VPC}.extra`), 'the instance that was added is not there'),
    undo: () => vpcctl.transaction((tx) => tx.deleteInstance(VPC, 'extra')),
  };
  const listed = { after: (text) => demand(text.includes(VPC), `list does not tell of ${VPC}`) };
  const calls = {
    'node -e 0': { argv: [process.execPath, '-e', '0'] },
    '--version': { argv: ours('--version'), after: (text) => demand(text.includes(version), `version ${text}`) },
    list: { argv: ours('list'), ...listed },
    'add-instance': { argv: ours(...addInstance), ...added },
  };
  if (!viaDaemon) return calls;
  // Without a PATH the client finds no Node: what comes back is the daemon's answer.
  const options = { env: { PATH: '/nonexistent' } };
  const direct = [client, '--state', state];
  return {
    ...calls,
    'daemon: list': { argv: [...direct, 'list'], options, ...listed },
    'daemon: add-instance': { argv: [...direct, ...addInstance], options, ...added },
  };
}

/** Starts the daemon and waits until it answers; undefined where there is none. */
async function startDaemon() {
  if (!verbs.has('daemon') || !existsSync(client)) {
    skipped.push('daemon: this build has no `vpcctl daemon` or no build/Release/vpcctl-client');
    return undefined;
  }
  const [program, ...args] = ours('daemon');
  const child = spawn(program, args, { stdio: 'ignore' });
  const until = Date.now() + 10_000;
  while (spawnSync(client, ['--state', state, 'list'], { env: { PATH: '/nonexistent' } }).status !== 0) {
    if (Date.now() > until) throw new Error('the daemon does not answer');
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return child;
}

async function level(workloads, calls, rounds) {
  await fill(workloads);
  const names = Object.keys(calls);
  const times = Object.fromEntries(names.map((name) => [name, []]));
  for (let round = -1; round < rounds; round += 1) {
    for (const name of round % 2 === 0 ? names : [...names].reverse()) {
      const { argv, options, after, undo } = calls[name];
      const { ms, stdout } = timed(argv, options);
      after?.(stdout);
      await undo?.();
      // The first round only fills the caches.
      if (round >= 0) times[name].push(ms);
    }
  }
  return { workloads, times };
}

/** The same operations through `vpcctl batch` and through the library in a process of its own, each in turn, on an empty VPC. */
async function batches(count, rounds) {
  if (!verbs.has('batch')) {
    skipped.push('batch: this build has no `vpcctl batch`');
    return {};
  }
  const operations = Array.from({ length: count }, (_, at) => ({
    op: 'add-instance',
    vpc: OTHER,
    subnet: 'private',
    name: `w${at}`,
    securityGroups: ['services'],
  }));
  const file = join(dir, 'operations.ndjson');
  writeFileSync(file, operations.map((operation) => `${JSON.stringify(operation)}\n`).join(''));
  const ways = {
    batch: ours('batch', file),
    library: [process.execPath, here('cli-library.mjs'), state, file],
  };
  const times = { batch: [], library: [] };
  for (let round = 0; round < rounds; round += 1) {
    for (const way of round % 2 === 0 ? ['batch', 'library'] : ['library', 'batch']) {
      await makeVpc(OTHER, otherCidr, otherSubnet);
      times[way].push(timed(ways[way]).ms);
      const there = namespaces().filter((name) => name.startsWith(`vpc.${OTHER}.`)).length;
      demand(there === count, `${way}: ${there} of ${count} instances are there`);
      await vpcctl.transaction((tx) => tx.deleteVpc(OTHER, { force: true }));
    }
  }
  return times;
}

await makeVpc(VPC, cidr, subnet);
const daemon = await startDaemon();
const levels = [];
for (const workloads of levelText.split(',').map(Number)) {
  levels.push(await level(workloads, callsOf(daemon !== undefined), Number(callText)));
}
const batched = await batches(Number(operationText), Number(batchText));
if (daemon !== undefined) {
  daemon.kill();
  await once(daemon, 'exit');
}
await vpcctl.destroy();
await vpcctl.close();
process.stdout.write(`${JSON.stringify({ levels, batched, skipped })}\n`);
