/** The suite provision: the whole network from nothing, beside its rivals; and until all of it is gone. */
import { driverNames } from '../lib/drivers.mjs';
import { summarize } from '../lib/stats.mjs';
import { ms, ratio, textTable } from '../lib/table.mjs';
import { failuresOf, present, runTrials } from '../lib/trials.mjs';

const BASELINE = 'batch';

export const about = 'build a network of VPCs, check it, tear it down';
export const sizing = 'VPCSxWORKLOADS,…';
export const drivers = driverNames();
export const defaults = { sizes: '1x1,1x10,1x100', rounds: 5 };
export const quick = { sizes: '1x10', rounds: 3 };

export async function run(asked, say) {
  const usable = await present(asked.drivers);
  const trials = runTrials(asked, usable, say);
  return {
    drivers: usable,
    baseline: BASELINE,
    summary: summarize(trials, BASELINE),
    trials,
    failures: failuresOf(trials),
  };
}

export function render({ groups, rounds, summary, baseline }) {
  const head = [
    'size',
    'driver',
    'rounds',
    'build ms',
    `x ${baseline}`,
    'us/workload',
    'process ms',
    'gone ms',
    `x ${baseline}`,
    'process ms',
  ];
  const rows = summary.map((row) => {
    const [vpcs, workloads] = row.size.split('x').map(Number);
    return [
      row.size,
      row.driver,
      String(row.rounds),
      ms(row.build.median),
      ratio(row.build.ratio),
      ((row.build.median * 1000) / (vpcs * workloads)).toFixed(0),
      ms(row.buildProcess.median),
      ms(row.gone.median),
      ratio(row.gone.ratio),
      ms(row.teardownProcess.median),
    ];
  });
  return [
    `provision, ${groups} groups, ${rounds} rounds: medians; x is the median of the per-round ratios`,
    '',
    ...textTable(head, rows, 2),
  ];
}

const PANELS = [
  { metric: 'build', title: 'Build' },
  { metric: 'gone', title: 'Teardown, until the kernel has let go' },
];

export function picture({ groups, rounds, drivers: asked, summary, baseline }) {
  if (summary.length === 0) return undefined;
  const sizes = [...new Set(summary.map(({ size }) => size))];
  const panels = PANELS.map(({ metric, title }) => ({
    title,
    kind: 'bars',
    unit: 'ms',
    log: true,
    groups: sizes.map((size) => ({
      label: size.replace('x', ' × '),
      bars: summary.filter((row) => row.size === size).map((row) => bar(row, row[metric], baseline)),
    })),
  }));
  return {
    head: 'provision: VPCs × workloads in each',
    note: `medians of ${rounds} rounds, ${groups} groups, logarithmic; below: × ${baseline}, median of the per-round ratios`,
    series: asked.filter((driver) => summary.some((row) => row.driver === driver)),
    panels,
  };
}

function bar({ driver }, { median, min, max, ratio: times }, baseline) {
  const under = times === undefined || driver === baseline ? undefined : `${times.toFixed(1)}×`;
  return { series: driver, value: median, low: min, high: max, under };
}
