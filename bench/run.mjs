/**
 * `npm run bench -- [SUITE] [options]`: runs a suite, prints its table, writes its JSON; `--quick`: the short run of
 * all suites that have one, held against expected.json. How it measures is in README.md.
 */

import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { hold, readExpected, writeExpected } from './lib/guard.mjs';
import { hasProgram, machine } from './lib/machine.mjs';
import { inPrivateHost } from './lib/private.mjs';
import { suiteNamed, suiteNames } from './lib/suites.mjs';
import { describeRun } from './lib/table.mjs';

const COMMON = {
  sizes: { type: 'string' },
  rounds: { type: 'string' },
  drivers: { type: 'string' },
  groups: { type: 'string', default: 'own' },
  json: { type: 'string' },
  quick: { type: 'boolean', default: false },
  record: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
};

function fail(message, status = 2) {
  process.stderr.write(`bench: ${message}\n`);
  process.exit(status);
}

function say(line) {
  process.stderr.write(`${line}\n`);
}

const suites = new Map();
for (const name of suiteNames()) suites.set(name, await suiteNamed(name));

function describeSuite([name, { about, defaults, sizing, rounding = 'rounds', drivers, options = {} }]) {
  const lines = [
    `  ${name}: ${about}`,
    `      --sizes ${sizing} (${defaults.sizes})`,
    `      --rounds ${rounding} (${defaults.rounds})`,
  ];
  if (drivers !== undefined)
    lines.push(`      --drivers of ${drivers.join(', ')} (${(defaults.drivers ?? drivers).join(',')})`);
  for (const [option, { about: words }] of Object.entries(options)) lines.push(`      --${option} ${words}`);
  return lines;
}

function usage() {
  return [
    'usage: npm run bench -- [SUITE] [options]',
    '',
    'suites:',
    ...[...suites].flatMap(describeSuite),
    'all:',
    '      --groups KIND  own: a security group a workload (default); shared: one a VPC',
    '      --json FILE    write machine, measurements and summary',
    '      --quick        the short run: exit 1 when a ratio is twice what bench/expected.json has',
    '      --record       the short run, whose ratios become bench/expected.json',
    '',
  ].join('\n');
}

/** What was asked of a suite, its defaults filled in. */
function askedOf(name, values, quick) {
  const suite = suites.get(name);
  const {
    rounds: roundsText,
    sizes,
    drivers: driversText,
    groups,
    json: _json,
    quick: _quick,
    record: _record,
    help: _help,
    ...own
  } = values;
  const defaults = { drivers: suite.drivers, ...suite.defaults, ...(quick ? suite.quick : {}) };
  const rounds = Number(roundsText ?? defaults.rounds);
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`--rounds ${roundsText}: expected a positive number`);
  if (!['own', 'shared'].includes(groups)) throw new Error(`--groups ${groups}: own or shared`);
  const drivers = driversText?.split(',') ?? defaults.drivers;
  for (const driver of drivers ?? []) {
    if (!suite.drivers?.includes(driver)) throw new Error(`no driver ${driver} in the suite ${name}`);
  }
  return { ...defaults, suite: name, sizes: sizes ?? defaults.sizes, rounds, groups, drivers, ...own };
}

function options() {
  const own = Object.assign({}, ...[...suites.values()].map((suite) => suite.options ?? {}));
  const { values, positionals } = parseArgs({ allowPositionals: true, options: { ...COMMON, ...own } });
  if (values.help) {
    process.stdout.write(usage());
    process.exit(0);
  }
  if (values.record && (positionals.length > 0 || values.quick)) throw new Error('--record is a run of its own');
  const quick = values.quick || values.record;
  if (positionals.length > 1) throw new Error(`one suite, not ${positionals.join(' ')}`);
  const [name = quick ? undefined : 'provision'] = positionals;
  const names = name === undefined ? suiteNames().filter((each) => suites.get(each).quick !== undefined) : [name];
  for (const each of names) {
    if (!suites.has(each)) throw new Error(`no suite ${each}`);
    const foreign = Object.keys(own).filter((option) => !(option in (suites.get(each).options ?? {})));
    for (const option of foreign) {
      if (values[option] !== undefined && name !== undefined)
        throw new Error(`--${option} is not for the suite ${each}`);
      delete values[option];
    }
  }
  const asked = names.map((each) => askedOf(each, values, quick));
  return { names, json: values.json, quick: values.quick, record: values.record, asked };
}

function requirePrivateHost() {
  if (process.platform !== 'linux') fail('Linux only');
  for (const program of ['unshare', 'nsenter', 'ip', 'sh']) {
    if (!hasProgram(program)) fail(`no \`${program}\`: the private host and the checks need it`);
  }
  const entered = inPrivateHost(['true']);
  if (entered.status !== 0) fail(`no private host here: ${entered.error?.message ?? entered.stderr.trim()}`);
}

/** Runs one suite and prints its table; returns what belongs into the JSON. */
async function runSuite(asked) {
  const suite = suites.get(asked.suite);
  const record = machine();
  const result = { ...asked, machine: record, ...(await suite.run(asked, say)) };
  const { failures = [] } = result;
  process.stdout.write(`${['', ...describeRun(record), '', ...suite.render(result), ''].join('\n')}\n`);
  for (const failure of failures) process.stdout.write(`FAILED ${failure}\n`);
  return result;
}

let request;
try {
  request = options();
} catch (error) {
  fail(`${error.message}\n${usage()}`);
}
requirePrivateHost();
const results = [];
for (const asked of request.asked) {
  try {
    results.push(await runSuite(asked));
  } catch (error) {
    fail(`${asked.suite}: ${error.message}`);
  }
}
if (request.json !== undefined) {
  const written = request.names.length === 1 ? results[0] : results;
  writeFileSync(request.json, `${JSON.stringify(written, null, 1)}\n`);
}
const failed = results.some(({ failures = [] }) => failures.length > 0);
const tell = (line) => process.stdout.write(`${line}\n`);
if (request.record && !failed) writeExpected(results, suites, tell);
const held = request.quick ? hold(results, suites, readExpected(), tell) : true;
process.exitCode = failed || !held ? 1 : 0;
