/** Rounds of trials: every driver builds the same network, is checked, and tears it down (host.mjs). */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { driverNamed } from './drivers.mjs';
import { parseSize, sizeName } from './network.mjs';
import { inPrivateHost } from './private.mjs';
import { reasonOf } from './reason.mjs';
import { summarize } from './stats.mjs';

/** What ratios are to: what an expert writes, and the limit. */
export const BASELINES = ['batch', 'floor'];
const OURS = 'vpcctl';
const host = join(dirname(fileURLToPath(import.meta.url)), '..', 'host.mjs');

/** Drivers that can run; the others are named with the reason. */
async function present(names) {
  const usable = [];
  for (const name of names) {
    const reason = (await driverNamed(name)).missing();
    if (reason === undefined) usable.push(name);
    else process.stdout.write(`SKIPPED ${name}: ${reason}\n`);
  }
  if (usable.length === 0) throw new Error('no driver can run');
  return usable;
}

/** One trial in a fresh process in a fresh private host. */
function trial(driver, size, groups) {
  const dir = mkdtempSync(join(tmpdir(), 'vpcctl-bench-'));
  try {
    const result = inPrivateHost([process.execPath, host, driver, sizeName(size), groups, dir]);
    if (result.status !== 0) return { error: reasonOf(result) };
    return JSON.parse(result.stdout.trim().split('\n').at(-1));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** All trials of `sizes` × `rounds` × `drivers`; one that failed has `error` and no times. */
function runTrials({ sizes, rounds, groups }, drivers, say) {
  const trials = [];
  for (const size of sizes.split(',').map(parseSize)) {
    for (let round = 0; round < rounds; round += 1) {
      // A B C, then C B A: what drifts over the minutes falls on all alike.
      const order = round % 2 === 0 ? drivers : [...drivers].reverse();
      for (const driver of order) {
        const outcome = { size: sizeName(size), driver, round, ...trial(driver, size, groups) };
        trials.push(outcome);
        const said = outcome.error ?? `build ${outcome.build.toFixed(1)} ms, gone ${outcome.gone.toFixed(1)} ms`;
        say(`${outcome.size} round ${round + 1}/${rounds} ${driver}: ${said}`);
      }
    }
  }
  return trials;
}

/** What a suite of trials measures: the drivers that could run, every trial, and the summary. */
export async function measure(asked, say) {
  const drivers = await present(asked.drivers);
  const trials = runTrials(asked, drivers, say);
  const failures = trials
    .filter(({ error }) => error !== undefined)
    .map(({ size, driver, round, error }) => `${driver} ${size} round ${round + 1}: ${error}`);
  return { drivers, baselines: BASELINES, summary: summarize(trials, BASELINES), trials, failures };
}

export function titleOf({ suite, groups, rounds }) {
  return `${suite}, ${groups} groups, ${rounds} rounds: medians; x is the median of the per-round ratios`;
}

/** A picture with one panel a metric, one group of bars a size. */
export function bars({ groups, rounds, drivers, summary }, head, metrics) {
  if (summary.length === 0) return undefined;
  const baseline = [...BASELINES].reverse().find((name) => summary.some(({ driver }) => driver === name));
  const sizes = [...new Set(summary.map(({ size }) => size))];
  const panels = metrics.map(({ metric, title }) => ({
    title,
    kind: 'bars',
    unit: 'ms',
    log: true,
    groups: sizes.map((size) => ({
      label: size.replace('x', ' × '),
      bars: summary.filter((row) => row.size === size).map((row) => bar(row.driver, row[metric], baseline)),
    })),
  }));
  const below = baseline === undefined ? '' : `; below: × ${baseline}, median of the per-round ratios`;
  return {
    head,
    note: `medians of ${rounds} rounds, ${groups} groups, logarithmic${below}`,
    series: drivers.filter((driver) => summary.some((row) => row.driver === driver)),
    panels,
  };
}

function bar(series, { median, min, max, ratios }, baseline) {
  const times = series === baseline ? undefined : ratios[baseline];
  return {
    series,
    value: median,
    low: min,
    high: max,
    ...(times === undefined ? {} : { under: `${times.toFixed(1)}×` }),
  };
}

/** Our ratios to the baselines, by names as `provision 1x10 build`. */
export function guardedRatios({ suite, summary }, metrics) {
  const ours = summary.filter(({ driver }) => driver === OURS);
  return Object.fromEntries(
    ours.flatMap((row) => metrics.map((metric) => [`${suite} ${row.size} ${metric}`, row[metric].ratios])),
  );
}
