/** The suite change: a rule of a group comes and goes, for all of its members at once, while a connection goes on. */
import { join } from 'node:path';
import { runScript } from '../lib/host-script.mjs';
import { parseRising } from '../lib/network.mjs';
import { median, quantile } from '../lib/stats.mjs';
import { ratio, textTable } from '../lib/table.mjs';

export const about = 'change a rule of a group that so many workloads are in, while a connection goes on';
export const sizing = 'members, rising, at most 1000';
export const rounding = 'changes at each size';
export const defaults = { sizes: '10,100,1000', rounds: 50 };

export function run({ sizes, rounds }) {
  const levels = parseRising(sizes);
  if (levels[0] < 2) throw new Error(`--sizes ${sizes}: a connection takes two members`);
  return runScript('change-host.mjs', (dir) => [join(dir, 'state'), levels.join(','), rounds]);
}

export function render({ rounds, levels }) {
  const head = ['members', 'change ms', 'p99', 'x first', 'rows'];
  const rows = levels.map(({ members, times, rows: touched }) => [
    String(members),
    median(times).toFixed(2),
    quantile(times, 0.99).toFixed(2),
    ratio(median(times) / median(levels[0].times)),
    String(touched),
  ]);
  return [
    `change, ${rounds} changes at each size: medians; the connection went on through all of them`,
    '',
    ...textTable(head, rows),
  ];
}

export function picture({ rounds, levels }) {
  return {
    head: 'change: a rule of a group comes or goes',
    note: `medians of ${rounds}; the thin line ends at the 99th percentile`,
    series: ['vpcctl'],
    panels: [
      {
        title: 'One change, a connection going on',
        kind: 'lines',
        unit: 'ms',
        xLabel: 'members of the group',
        lines: [
          {
            series: 'vpcctl',
            points: levels.map(({ members, times }) => ({ x: members, y: median(times), high: quantile(times, 0.99) })),
          },
        ],
      },
    ],
  };
}
