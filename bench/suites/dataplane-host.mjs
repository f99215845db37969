/**
 * One run of the suite dataplane, inside a private host: `dataplane-host.mjs DIR`; DIR has the compiled `dataplane` and `asked.json`. Builds every path,
 * asserts it, then sends slices of traffic through all of them in turn. Prints one line of JSON. Started by dataplane.mjs only.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { open } from '../../dist/index.js';
import { connect } from '../lib/check.mjs';
import {
  ALLOWED,
  DENIED,
  iptablesVersion,
  makeInternet,
  missing,
  ours,
  oursToInternet,
  RIVALS,
  sysctl,
} from '../lib/paths.mjs';

const KINDS = ['roundtrip', 'connect', 'packets', 'stream'];
const [dir] = process.argv.slice(2);
const { sizes, rounds, milliseconds } = JSON.parse(readFileSync(join(dir, 'asked.json'), 'utf8'));
const program = join(dir, 'dataplane');
const servers = [];

const tell = (line) => process.stderr.write(`${line}\n`);

async function serve(ns) {
  const child = spawn('ip', ['netns', 'exec', ns, program, 'serve', String(ALLOWED), String(DENIED)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  servers.push(child);
  const ended = once(child, 'exit').then(([code]) => Promise.reject(new Error(`the listener in ${ns} ended: ${code}`)));
  await Promise.race([once(child.stdout, 'data'), ended]);
  ended.catch(() => {});
}

function demand(condition, message) {
  if (!condition) throw new Error(`check: ${message}`);
}

/** The allowed port answers; the denied one answers nobody but its own namespace, where a path filters. */
function check({ label, client, server, ip, filters }) {
  const ports = [ALLOWED, DENIED];
  const own = connect(server, ip, ports);
  demand(own[ALLOWED] === 'open' && own[DENIED] === 'open', `${label}: no listener: ${JSON.stringify(own)}`);
  const outcome = connect(client, ip, ports);
  demand(outcome[ALLOWED] === 'open', `${label}: allowed port: ${outcome[ALLOWED]}`);
  demand(outcome[DENIED] === (filters ? 'silent' : 'open'), `${label}: denied port: ${outcome[DENIED]}`);
  return outcome;
}

function slice(kind, { label, client, ip }) {
  const args = ['netns', 'exec', client, program, kind, ip, String(ALLOWED), String(milliseconds)];
  const { status, stdout, stderr, error } = spawnSync('ip', args, { encoding: 'utf8', timeout: 30_000 + milliseconds });
  if (status !== 0) throw new Error(`${label}, ${kind}: ${error?.message ?? stderr.trim()}`);
  return JSON.parse(stdout);
}

/** A B C of one kind, then of the next; the next round C B A: what drifts falls on all alike. */
function measure(paths) {
  const slices = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const kind of KINDS) {
      for (const path of round % 2 === 0 ? paths : paths.toReversed()) {
        slices.push({ path: path.label, kind, round, ...slice(kind, path) });
      }
    }
    tell(`round ${round + 1}/${rounds}`);
  }
  return slices;
}

async function buildPaths(vpcctl, skipped) {
  const paths = [];
  for (const size of sizes) paths.push(...(await ours(vpcctl, size)));
  paths.push(...(await oursToInternet(vpcctl)));
  for (const [name, { build, sized }] of Object.entries(RIVALS)) {
    const reason = missing(name);
    if (reason !== undefined) skipped.push({ name, reason });
    else for (const size of sized ? sizes : [undefined]) paths.push({ ...build(size), name });
  }
  return paths.map((path) => ({ ...path, label: path.size === undefined ? path.name : `${path.name} ${path.size}` }));
}

async function main() {
  const skipped = [];
  makeInternet();
  const vpcctl = await open({ state: join(dir, 'state') });
  const paths = await buildPaths(vpcctl, skipped);
  for (const { name, reason } of skipped) tell(`SKIPPED ${name}: ${reason}`);
  for (const server of new Set(paths.map((path) => path.server))) await serve(server);
  for (const client of new Set(paths.map((path) => path.client))) {
    // Thousands of connections from one address to one port: none is to wait for the time of one before it.
    sysctl(client, 'ipv4/ip_local_port_range', '10000 65000');
    sysctl(client, 'ipv4/tcp_tw_reuse', 1);
  }
  const checked = paths.map((path) => [path.label, check(path)]);
  tell(`${paths.length} paths built and checked`);
  const slices = measure(paths);
  await vpcctl.close();
  return {
    skipped,
    iptables: iptablesVersion(),
    paths: paths.map(({ label, name, size }) => ({ label, name, ...(size === undefined ? {} : { size }) })),
    checked: Object.fromEntries(checked),
    slices,
  };
}

try {
  process.stdout.write(`${JSON.stringify(await main())}\n`);
} finally {
  for (const child of servers) child.kill('SIGKILL');
}
