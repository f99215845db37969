/**
 * The suite dataplane: what a packet pays for our firewall, with few rules and many, beside plain routing, a bridge without a firewall, and a list of
 * iptables.
 */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withDirectory } from '../lib/host-script.mjs';
import { hasProgram } from '../lib/machine.mjs';
import { MAX_RULES } from '../lib/paths.mjs';
import { inPrivateHost } from '../lib/private.mjs';
import { median } from '../lib/stats.mjs';
import { ratio, textTable } from '../lib/table.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const COMPILER = 'cc';
/** Paths that the others are held against: the shortest way, and one over a bridge with isolated ports. */
const BASELINES = ['routed', 'routed over a bridge'];
const [ROUTED, SAME_SHAPE] = BASELINES;
const OURS = 'vpcctl';
const TIMEOUT_MS = 3_600_000;

export const about = 'throughput, round trips and new connections, with few rules and many';
export const sizing = 'numbers of rules, rising';
export const defaults = { sizes: '10,1000,10000', rounds: 9, seconds: '0.2' };
export const options = {
  seconds: { type: 'string', about: `SECONDS  how long each slice of traffic lasts (${defaults.seconds})` },
};

/** `value` of a slice; `rate`: more is better. `slower` ratios are times, whatever a metric is. */
const METRICS = {
  roundtrip: { title: 'Round trip', unit: 'us', value: (slice) => slice.median },
  p99: { title: 'Round trip, 99th percentile', unit: 'us', kind: 'roundtrip', value: (slice) => slice.p99 },
  connect: { title: 'New connection', unit: 'us', value: (slice) => slice.median },
  connections: {
    title: 'New connections',
    unit: '/s',
    kind: 'connect',
    rate: true,
    value: (slice) => 1e6 / slice.median,
  },
  packets: { title: 'Packets', unit: 'k/s', rate: true, value: (slice) => slice.perSecond / 1e3 },
  stream: { title: 'Throughput', unit: 'Gbit/s', rate: true, value: (slice) => slice.bitsPerSecond / 1e9 },
};

function parse({ sizes: sizeText, seconds }) {
  const sizes = sizeText.split(',').map(Number);
  const bad = sizes.some((size, at) => !Number.isInteger(size) || size <= (sizes[at - 1] ?? 1) || size > MAX_RULES);
  if (bad) throw new Error(`--sizes ${sizeText}: expected rising numbers of rules from 2 to ${MAX_RULES}`);
  const milliseconds = Math.round(Number(seconds) * 1000);
  if (!(milliseconds >= 10)) throw new Error(`--seconds ${seconds}: expected 0.01 or more`);
  return { sizes, milliseconds };
}

function compile(dir) {
  const source = join(here, '..', 'dataplane.c');
  const { status, stderr, error } = spawnSync(COMPILER, ['-O2', '-o', join(dir, 'dataplane'), source], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${COMPILER} ${source}: ${error?.message ?? stderr.trim()}`);
}

export function run(asked, say) {
  const { sizes, milliseconds } = parse(asked);
  if (!hasProgram(COMPILER)) {
    say(`SKIPPED dataplane: no \`${COMPILER}\`, which compiles the traffic's program`);
    return { skipped: [{ name: 'dataplane', reason: `no \`${COMPILER}\`` }], paths: [], slices: [], summary: [] };
  }
  return withDirectory((dir) => {
    compile(dir);
    writeFileSync(join(dir, 'asked.json'), JSON.stringify({ sizes, rounds: asked.rounds, milliseconds }));
    const { status, stdout, error, signal } = inPrivateHost([process.execPath, join(here, 'dataplane-host.mjs'), dir], {
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: TIMEOUT_MS,
    });
    if (status !== 0) throw new Error(error?.message ?? `ended with ${status ?? signal}; it said why above`);
    const measured = JSON.parse(stdout.trim().split('\n').at(-1));
    return { ...measured, summary: summarize(measured) };
  });
}

/** One row a path: per metric the median, the extremes, and how many times slower it is than each baseline, median over the rounds. */
function summarize({ paths, slices }) {
  const found = new Map(slices.map((slice) => [`${slice.kind} ${slice.round} ${slice.path}`, slice]));
  const rounds = [...new Set(slices.map(({ round }) => round))];
  return paths.map((path) => {
    const metrics = Object.entries(METRICS).map(([name, { kind = name, rate = false, value }]) => {
      const at = (round, label) => value(found.get(`${kind} ${round} ${label}`));
      const values = rounds.map((round) => at(round, path.label));
      const times = (baseline) =>
        rounds.map((round) => {
          const quotient = at(round, path.label) / at(round, baseline);
          return rate ? 1 / quotient : quotient;
        });
      const slower = Object.fromEntries(BASELINES.map((baseline) => [baseline, median(times(baseline))]));
      return [name, { median: median(values), min: Math.min(...values), max: Math.max(...values), slower }];
    });
    return { ...path, ...Object.fromEntries(metrics) };
  });
}

function number(value) {
  return value.toFixed(value < 10 ? 2 : value < 1000 ? 1 : 0);
}

export function render({ rounds, seconds, skipped, summary, iptables }) {
  if (summary.length === 0) return skipped.map(({ name, reason }) => `SKIPPED ${name}: ${reason}`);
  const head = [
    'path',
    'rules',
    'round trip us',
    'p99',
    'x',
    'connection us',
    'per s',
    'x',
    'kpackets/s',
    'x',
    'Gbit/s',
    'x',
  ];
  const rows = summary.map((row) => {
    const cell = (metric) => number(row[metric].median);
    const x = (metric) => ratio(row[metric].slower[ROUTED]);
    return [
      row.name,
      String(row.size ?? '-'),
      ...[cell('roundtrip'), cell('p99'), x('roundtrip')],
      ...[cell('connect'), cell('connections'), x('connect')],
      ...[cell('packets'), x('packets'), cell('stream'), x('stream')],
    ];
  });
  return [
    `dataplane, ${rounds} rounds of ${seconds} s: medians; x: times as slow as ${ROUTED}, median of the per-round ratios`,
    ...(iptables === undefined ? [] : [iptables]),
    '',
    ...textTable(head, rows, 1),
    '',
    ...conclusions(summary),
    ...skipped.map(({ name, reason }) => `SKIPPED ${name}: ${reason}`),
  ];
}

const CONCLUDED = ['roundtrip', 'connect', 'packets', 'stream'];

/** The two sentences the suite is there for. */
function conclusions(summary) {
  const own = summary.filter(({ name }) => name === OURS);
  const last = own.at(-1);
  const say = (times) =>
    CONCLUDED.map((metric) => `${METRICS[metric].title.toLowerCase()} ${ratio(times(metric))}`).join(', ');
  const against = (baseline) =>
    `${OURS}, ${last.size} rules, against ${baseline}: ${say((metric) => last[metric].slower[baseline])}`;
  const growth = (metric) => last[metric].slower[SAME_SHAPE] / own[0][metric].slower[SAME_SHAPE];
  return [...BASELINES.map(against), `${OURS}, ${last.size} rules, against ${own[0].size}: ${say(growth)}`];
}

/** Drawn: what has a bar in the picture. */
const DRAWN = [OURS, ...BASELINES, 'bridge', 'iptables', 'iptables, no state'];

export function picture({ rounds, seconds, summary }) {
  if (summary.length === 0) return undefined;
  const drawn = summary.filter(({ name }) => DRAWN.includes(name));
  const sizes = [...new Set(drawn.map(({ size = 0 }) => size))].sort((a, b) => a - b);
  const panels = ['roundtrip', 'connect', 'stream'].map((metric) => ({
    title: METRICS[metric].title,
    kind: 'bars',
    unit: METRICS[metric].unit,
    log: true,
    groups: sizes.map((size) => ({
      label: size === 0 ? 'no rules to count' : `${size.toLocaleString('en')} rules`,
      bars: drawn.filter((row) => (row.size ?? 0) === size).map((row) => bar(row, row[metric])),
    })),
  }));
  return {
    head: 'dataplane: what a packet pays for the firewall',
    note: `medians of ${rounds} rounds of ${seconds} s, logarithmic; below: × as slow as ${ROUTED}, median of the per-round ratios`,
    series: DRAWN.filter((name) => drawn.some((row) => row.name === name)),
    panels,
  };
}

function bar({ name }, { median: value, min, max, slower }) {
  return { series: name, value, low: min, high: max, ...(name === ROUTED ? {} : { under: ratio(slower[ROUTED]) }) };
}
