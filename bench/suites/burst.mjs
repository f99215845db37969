/** The suite burst: many attaches over many VPCs, one after the other, all at once in one process, and all at once in four. */
import { join } from 'node:path';
import { runScript } from '../lib/host-script.mjs';
import { parseSize, sizeName } from '../lib/network.mjs';
import { median } from '../lib/stats.mjs';
import { ms, ratio, textTable } from '../lib/table.mjs';

const MODES = ['sequence', 'at-once', 'four'];
const WORDS = { sequence: 'one after the other', 'at-once': 'at once, one process', four: 'at once, four processes' };

export const about = 'many attaches over many VPCs at once, in one process and in four, beside one after the other';
export const sizing = 'VPCSxWORKLOADS,…';
export const defaults = { sizes: '50x20', rounds: 3 };

async function trial(mode, { vpcs, workloads }) {
  try {
    return await runScript('burst-host.mjs', (dir) => [mode, join(dir, 'state'), vpcs, workloads]);
  } catch (error) {
    return { failures: [error.message] };
  }
}

export async function run({ sizes, rounds }, say) {
  const trials = [];
  for (const size of sizes.split(',').map(parseSize)) {
    for (let round = 0; round < rounds; round += 1) {
      const order = round % 2 === 0 ? MODES : [...MODES].reverse();
      for (const mode of order) {
        const outcome = { size: sizeName(size), mode, round, ...(await trial(mode, size)) };
        trials.push(outcome);
        say(
          `${outcome.size} round ${round + 1}/${rounds} ${mode}: ${outcome.ms?.toFixed(0)} ms, ${outcome.failures.length} failed`,
        );
      }
    }
  }
  const failures = trials.flatMap(({ size, mode, round, failures: words }) => {
    return words.length === 0
      ? []
      : [`${mode} ${size} round ${round + 1}: ${words.length} failed, the first: ${words[0]}`];
  });
  return { trials, summary: summarizeModes(trials), failures };
}

/** Times per attach, and to those of the same round one after the other. */
function summarizeModes(trials) {
  const good = trials.filter(({ failures }) => failures.length === 0);
  const sizes = [...new Set(good.map(({ size }) => size))];
  const of = (size, mode) => good.filter((trial) => trial.size === size && trial.mode === mode);
  return sizes.flatMap((size) =>
    MODES.map((mode) => {
      const mine = of(size, mode);
      const each = mine.map(({ ms: whole, count }) => whole / count);
      const pairs = mine.flatMap((trial) => {
        const other = of(size, 'sequence').find(({ round }) => round === trial.round);
        return other === undefined ? [] : [trial.ms / other.ms];
      });
      return {
        size,
        mode,
        rounds: mine.length,
        each: median(each),
        low: Math.min(...each),
        high: Math.max(...each),
        ratio: median(pairs),
      };
    }).filter(({ rounds }) => rounds > 0),
  );
}

export function render({ rounds, summary }) {
  const head = ['VPCs x each', 'attaches', 'rounds', 'ms each', 'min', 'max', 'x sequence'];
  const rows = summary.map((row) => [
    row.size,
    WORDS[row.mode],
    String(row.rounds),
    row.each.toFixed(2),
    ms(row.low),
    ms(row.high),
    ratio(row.ratio),
  ]);
  return [
    `burst, ${rounds} rounds: time per attach; x is the median of the per-round ratios`,
    '',
    ...textTable(head, rows, 2),
  ];
}

export function picture({ rounds, summary }) {
  if (summary.length === 0) return undefined;
  const sizes = [...new Set(summary.map(({ size }) => size))];
  return {
    head: 'burst: many attaches at once',
    note: `medians of ${rounds} rounds; below: × one after the other, median of the per-round ratios`,
    series: Object.values(WORDS),
    panels: [
      {
        title: 'Time per attach',
        kind: 'bars',
        unit: 'ms',
        groups: sizes.map((size) => ({
          label: size.replace('x', ' × '),
          bars: summary
            .filter((row) => row.size === size)
            .map(({ mode, each, low, high, ratio: times }) => ({
              series: WORDS[mode],
              value: each,
              low,
              high,
              under: `${times?.toFixed(2)}×`,
            })),
        })),
      },
    ],
  };
}
