/**
 * `npm run bench -- [SUITE] [--sizes 1x1,1x10,1x100] [--rounds 5] [--drivers a,b] [--groups own|shared] [--json FILE]
 * [--quick]`. How it measures is in README.md.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { driverNamed, driverNames } from './lib/drivers.mjs';
import { hasProgram, machine } from './lib/machine.mjs';
import { parseSize, sizeName } from './lib/network.mjs';
import { inPrivateHost } from './lib/private.mjs';
import { summarize } from './lib/stats.mjs';
import { describeRun, renderTable } from './lib/table.mjs';
import * as scale from './suites/scale.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const SUITES = ['provision', 'scale'];
const BASELINE = 'batch';
const OURS = 'vpcctl';
/** `--quick` fails when ours takes longer than this many times the baseline. */
const QUICK_LIMIT = 2;
/** Attaches measured at each size of the suite scale. */
const SCALE_REPEATS = 30;

const USAGE = `usage: npm run bench -- [SUITE] [options]

suites:  ${SUITES.join(', ')}
  --sizes LIST     VPCSxWORKLOADS, comma separated (1x1,1x10,1x100); scale: existing workloads (${scale.SIZES})
  --rounds N       rounds a size (5); scale: attaches a size (${SCALE_REPEATS})
  --drivers LIST   of ${driverNames().join(', ')} (all)
  --groups KIND    own: a security group a workload (default); shared: one a VPC
  --json FILE      write machine, trials and summary
  --quick          1x10, 3 rounds; exit 1 when ${OURS} takes more than ${QUICK_LIMIT} times ${BASELINE}
`;

function fail(message) {
  process.stderr.write(`bench: ${message}\n`);
  process.exit(2);
}

function options() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: {
        sizes: { type: 'string' },
        rounds: { type: 'string' },
        drivers: { type: 'string' },
        groups: { type: 'string', default: 'own' },
        json: { type: 'string' },
        quick: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    if (values.help) {
      process.stdout.write(USAGE);
      process.exit(0);
    }
    const suite = positionals[0] ?? 'provision';
    if (positionals.length > 1 || !SUITES.includes(suite)) throw new Error(`no suite ${positionals.join(' ')}`);
    const rounds = Number(values.rounds ?? (suite === 'scale' ? SCALE_REPEATS : values.quick ? 3 : 5));
    if (!Number.isInteger(rounds) || rounds < 1)
      throw new Error(`--rounds ${values.rounds}: expected a positive number`);
    if (!['own', 'shared'].includes(values.groups)) throw new Error(`--groups ${values.groups}: own or shared`);
    if (suite === 'scale') return { suite, rounds, sizes: values.sizes ?? scale.SIZES, drivers: [], json: values.json };
    const sizes = (values.sizes ?? (values.quick ? '1x10' : '1x1,1x10,1x100')).split(',').map(parseSize);
    const drivers = values.drivers?.split(',') ?? driverNames();
    for (const name of drivers) {
      if (!driverNames().includes(name)) throw new Error(`no driver ${name}`);
    }
    return { suite, rounds, sizes, drivers, groups: values.groups, json: values.json, quick: values.quick };
  } catch (error) {
    return fail(`${error.message}\n${USAGE}`);
  }
}

/** One trial in a fresh process in a fresh private host. */
function trial(driver, size, groups) {
  const dir = mkdtempSync(join(tmpdir(), 'vpcctl-bench-'));
  try {
    const result = inPrivateHost([process.execPath, join(here, 'host.mjs'), driver, sizeName(size), groups, dir]);
    if (result.status === 0) return JSON.parse(result.stdout.trim().split('\n').at(-1));
    const reason = result.error?.message ?? result.stderr.trim();
    return {
      error: /^(?:\w*Error: )(.*)$/m.exec(reason)?.[1] ?? (reason || `ended with ${result.status ?? result.signal}`),
    };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Drivers that can run; the others are named with the reason. */
async function present(names) {
  const usable = [];
  for (const name of names) {
    const reason = (await driverNamed(name)).missing();
    if (reason === undefined) usable.push(name);
    else process.stdout.write(`SKIPPED ${name}: ${reason}\n`);
  }
  return usable;
}

function runRounds({ sizes, rounds, groups }, drivers) {
  const trials = [];
  for (const size of sizes) {
    for (let round = 0; round < rounds; round += 1) {
      // A B C, then C B A: what drifts over the minutes falls on all alike.
      const order = round % 2 === 0 ? drivers : [...drivers].reverse();
      for (const driver of order) {
        const outcome = { size: sizeName(size), driver, round, ...trial(driver, size, groups) };
        trials.push(outcome);
        const said = outcome.error ?? `build ${outcome.build.toFixed(1)} ms, gone ${outcome.gone.toFixed(1)} ms`;
        process.stderr.write(`${outcome.size} round ${round + 1}/${rounds} ${driver}: ${said}\n`);
      }
    }
  }
  return trials;
}

/** Exit status of `--quick`: the one gate. */
function gate(summary) {
  const row = summary.find(({ driver }) => driver === OURS);
  if (row === undefined) {
    process.stdout.write(`GATE not held: ${OURS} was not measured\n`);
    return 1;
  }
  if (row.build.ratio === undefined) {
    process.stdout.write(`GATE SKIPPED: ${BASELINE} was not measured\n`);
    return 0;
  }
  const slow = ['build', 'gone'].filter((metric) => row[metric].ratio > QUICK_LIMIT);
  const said = ['build', 'gone'].map((metric) => `${metric} ${row[metric].ratio.toFixed(2)}×`).join(', ');
  process.stdout.write(
    `GATE ${slow.length === 0 ? 'held' : 'FAILED'}: ${OURS} against ${BASELINE}: ${said} (limit ${QUICK_LIMIT}×)\n`,
  );
  return slow.length === 0 ? 0 : 1;
}

const asked = options();
if (process.platform !== 'linux') fail('Linux only');
for (const program of ['unshare', 'ip', 'sh']) {
  if (!hasProgram(program)) fail(`no \`${program}\`: the private host and the checks need it`);
}
const entered = inPrivateHost(['true']);
if (entered.status !== 0) fail(`no private host here: ${entered.error?.message ?? entered.stderr.trim()}`);

function runScale() {
  const record = machine();
  try {
    const result = scale.run(asked);
    const { suite, rounds, sizes, json } = asked;
    const lines = [
      '',
      `${suite}, ${rounds} attaches at each size: medians`,
      ...describeRun(record),
      '',
      ...scale.render(result),
    ];
    process.stdout.write(`${lines.join('\n')}\n`);
    if (json !== undefined)
      writeFileSync(json, `${JSON.stringify({ suite, rounds, sizes, machine: record, ...result }, null, 1)}\n`);
  } catch (error) {
    fail(error.message);
  }
}

if (asked.suite === 'scale') {
  runScale();
  process.exit();
}

const drivers = await present(asked.drivers);
if (drivers.length === 0) fail('no driver can run');
const record = machine();
const trials = runRounds(asked, drivers);
const summary = summarize(trials, BASELINE);
process.stdout.write(renderTable(record, asked, summary, BASELINE));
if (asked.json !== undefined) {
  const { suite, rounds, groups } = asked;
  const result = { suite, rounds, groups, baseline: BASELINE, machine: record, drivers, summary, trials };
  writeFileSync(asked.json, `${JSON.stringify(result, null, 1)}\n`);
}
const failed = trials.filter(({ error }) => error !== undefined);
for (const { size, driver, round, error } of failed) {
  process.stdout.write(`FAILED ${driver} ${size} round ${round + 1}: ${error}\n`);
}
process.exitCode = failed.length > 0 ? 1 : asked.quick ? gate(summary) : 0;
