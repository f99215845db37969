/**
 * The suite cli: what one call of the command takes, from spawn to exit, beside a Node that does nothing; through the daemon, where there
 * is one; and many operations by one `vpcctl batch`, beside the library.
 */
import { missingCommand } from '../lib/command.mjs';
import { runScript } from '../lib/host-script.mjs';
import { parseRising } from '../lib/network.mjs';
import { median } from '../lib/stats.mjs';
import { ratio, textTable } from '../lib/table.mjs';

const NOTHING = 'node -e 0';
/** Rounds of batches for so many rounds of calls. */
const PER_BATCH = 4;

export const about = 'one call of the command beside `node -e 0`, the daemon, and `vpcctl batch` beside the library';
export const sizing = 'workloads that are there, rising';
export const rounding = 'calls at each size';
export const defaults = { sizes: '10,100', rounds: 20, operations: '100' };
export const options = { operations: { type: 'string', about: 'N: operations of a batch (100)' } };

export async function run({ sizes, rounds, operations }) {
  const reason = missingCommand();
  if (reason !== undefined) throw new Error(reason);
  const levels = parseRising(sizes).join(',');
  if (!(Number(operations) > 0)) throw new Error(`--operations ${operations}: expected a number`);
  const batches = Math.ceil(rounds / PER_BATCH);
  const result = await runScript('cli-host.mjs', (dir) => [dir, levels, rounds, operations, batches]);
  for (const reasonOfSkip of result.skipped) process.stdout.write(`SKIPPED ${reasonOfSkip}\n`);
  return { ...result, operations: Number(operations) };
}

function pairRatio(mine, theirs) {
  return median(mine.map((ms, at) => ms / theirs[at]));
}

export function render({ rounds, operations, levels, batched }) {
  const head = ['workloads', 'call', 'ms', 'min', 'max', `x ${NOTHING}`];
  const rows = levels.flatMap(({ workloads, times }) =>
    Object.entries(times).map(([name, values]) => [
      String(workloads),
      name,
      median(values).toFixed(1),
      Math.min(...values).toFixed(1),
      Math.max(...values).toFixed(1),
      ratio(pairRatio(values, times[NOTHING])),
    ]),
  );
  const lines = [`cli, ${rounds} calls each: medians of the whole process; x is the median of the rounds' ratios`, ''];
  lines.push(...textTable(head, rows, 2));
  if (batched.batch === undefined) return lines;
  const each = (values) => (median(values) / operations).toFixed(2);
  const times = ratio(pairRatio(batched.batch, batched.library));
  lines.push(
    '',
    `${operations} × add-instance: vpcctl batch ${each(batched.batch)} ms each, the library ${each(batched.library)} ms each, start included: ${times}`,
  );
  return lines;
}

export function picture({ rounds, levels }) {
  const series = Object.keys(levels[0].times);
  return {
    head: 'cli: one call of the command, the whole process',
    note: `medians of ${rounds}; below: × ${NOTHING}`,
    series,
    panels: [
      {
        title: 'One call',
        kind: 'bars',
        unit: 'ms',
        groups: levels.map(({ workloads, times }) => ({
          label: `${workloads} workloads`,
          bars: series.map((name) => ({
            series: name,
            value: median(times[name]),
            low: Math.min(...times[name]),
            high: Math.max(...times[name]),
            ...(name === NOTHING ? {} : { under: `${pairRatio(times[name], times[NOTHING]).toFixed(2)}×` }),
          })),
        })),
      },
    ],
  };
}
