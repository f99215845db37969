/**
 * The suite scale: what one attach costs where none, a hundred, a thousand workloads are already; and what it takes to open, to compare everything
 * with the kernel, and to destroy everything.
 */
import { join } from 'node:path';
import { runScript } from '../lib/host-script.mjs';
import { parseRising } from '../lib/network.mjs';
import { median, quantile } from '../lib/stats.mjs';
import { textTable } from '../lib/table.mjs';

export const about = 'what one attach costs where so many workloads are already';
export const sizing = 'existing workloads, rising';
export const rounding = 'attaches at each size';
export const defaults = { sizes: '0,100,1000', rounds: 30, cycles: '0' };
export const options = {
  cycles: {
    type: 'string',
    about: 'N: attach and detach so often, and see that no memory is kept (0; 10000 takes minutes)',
  },
};
/** More JavaScript heap than this after the last cycle than after the first tenth of them is a leak. */
const MOST_GROWTH = 2 ** 20;

export async function run({ sizes, rounds, cycles }) {
  const levels = parseRising(sizes);
  if (!/^\d+$/.test(cycles)) throw new Error(`--cycles ${cycles}: expected a number`);
  const args = (dir) => [join(dir, 'state'), levels.join(','), rounds, cycles];
  const result = await runScript('scale-host.mjs', args, ['--expose-gc']);
  const growth = growthOf(result.turned);
  const failures = growth > MOST_GROWTH ? [`${growth} bytes of heap were kept over ${cycles} cycles`] : [];
  return { ...result, failures };
}

function growthOf(turned) {
  return turned === undefined ? 0 : turned.looks.at(-1).heap - turned.looks[0].heap;
}

function renderCycles({ count, ms, looks }) {
  const mebi = (bytes) => (bytes / 2 ** 20).toFixed(2);
  const rows = looks.map(({ cycles, heap, resident, descriptors }) => [
    String(cycles),
    mebi(heap),
    mebi(resident),
    String(descriptors),
  ]);
  return [
    '',
    `${count} cycles of attach and detach, ${(ms / count).toFixed(2)} ms each, over several VPCs at once`,
    '',
    ...textTable(['cycles', 'heap MiB', 'resident MiB', 'descriptors'], rows),
  ];
}

export function render(result) {
  const title = `scale, ${result.rounds} attaches at each size: medians`;
  const [first] = result.levels;
  const last = result.levels.at(-1);
  const head = ['existing', 'attach ms', 'p95', 'x first', 'detach ms', 'rows', 'fill us/workload', 'heap MiB'];
  const rows = result.levels.map(({ existing, attaches, detaches, rows: { create, update }, fill, heap }, at) => [
    String(existing),
    median(attaches).toFixed(2),
    quantile(attaches, 0.95).toFixed(2),
    `${(median(attaches) / median(first.attaches)).toFixed(2)}x`,
    median(detaches).toFixed(2),
    String(create + update),
    at === 0 ? '-' : ((fill * 1000) / (existing - result.levels[at - 1].existing)).toFixed(0),
    (heap / 2 ** 20).toFixed(1),
  ]);
  const perWorkload = (last.heap - first.heap) / Math.max(1, last.existing - first.existing);
  return [
    title,
    '',
    ...textTable(head, rows),
    '',
    `with ${last.existing}: open ${result.open.toFixed(1)} ms, compare all with the kernel ${result.observe.toFixed(0)} ms, destroy ${result.destroy.toFixed(0)} ms`,
    `JavaScript heap: ${perWorkload.toFixed(0)} bytes a workload`,
    ...(result.turned === undefined ? [] : renderCycles(result.turned)),
  ];
}

export function picture({ rounds, levels }) {
  const points = (values) =>
    levels.map((level) => ({ x: level.existing, y: median(values(level)), high: quantile(values(level), 0.95) }));
  const panel = (title, series, values) => ({
    title,
    kind: 'lines',
    unit: 'ms',
    xLabel: 'workloads that are there already',
    lines: [{ series, points: points(values) }],
  });
  return {
    head: 'scale: one more workload, and one fewer',
    note: `medians of ${rounds}; the thin line ends at the 95th percentile`,
    series: ['attach', 'detach'],
    panels: [
      panel('Attach', 'attach', (level) => level.attaches),
      panel('Detach', 'detach', (level) => level.detaches),
    ],
  };
}
