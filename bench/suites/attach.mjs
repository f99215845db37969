/**
 * The suite attach: one workload more, in a process that stays, where so many are already; ours and the floor in turn, in the same
 * minutes, each in a private host of its own.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { missingFloor } from '../lib/floor.mjs';
import { parseRising } from '../lib/network.mjs';
import { startInPrivateHost } from '../lib/private.mjs';
import { Resident } from '../lib/resident.mjs';
import { median, quantile } from '../lib/stats.mjs';
import { ratio, textTable } from '../lib/table.mjs';

const script = fileURLToPath(new URL('attach-host.mjs', import.meta.url));
/** So many are attached before they are detached again: a bridge has room for 22 beside its 1000. */
const BATCH = 20;
/** Attached and forgotten before the first is measured. */
const WARM_UP = 10;
/** After a detach the kernel is still busy for a while. */
const SETTLE_MS = 200;

export const about = 'attach one workload in a resident process, beside a resident floor';
export const sizing = 'existing workloads, rising';
export const rounding = 'attaches at each size';
export const defaults = { sizes: '0,100,1000', rounds: 100, gap: '20' };
export const quick = { sizes: '0', rounds: 20 };
export const options = {
  pool: { type: 'string', about: 'N: ours keeps N namespaces ready (not unless asked)' },
  gap: { type: 'string', about: 'MS: a pause before each attach (20), in which ours may fill its pool' },
};

async function start(side, args) {
  const resident = new Resident(startInPrivateHost([process.execPath, script, side, ...args]));
  await resident.ask();
  return resident;
}

/** Attaches `count` on each side, in turn, and detaches them again; returns the times of each side. */
async function batch(sides, count, numbers, gap) {
  const times = sides.map(() => []);
  const used = [];
  for (let at = 0; at < count; at += 1) {
    const number = numbers.next;
    numbers.next += 1;
    used.push(number);
    const order = at % 2 === 0 ? [...sides.keys()] : [...sides.keys()].reverse();
    for (const which of order) {
      await sleep(gap);
      times[which].push((await sides[which].call({ verb: 'attach', number })).ms);
    }
  }
  for (const side of sides) await side.call({ verb: 'prove', number: used.at(-1) });
  for (const side of sides) await side.call({ verb: 'detach', numbers: used });
  await sleep(SETTLE_MS);
  return times;
}

async function level(sides, existing, rounds, numbers, gap) {
  for (const side of sides) await side.call({ verb: 'fill', count: existing });
  await sleep(SETTLE_MS);
  const times = sides.map(() => []);
  for (let done = 0; done < rounds; done += BATCH) {
    const some = await batch(sides, Math.min(BATCH, rounds - done), numbers, gap);
    for (const [which, more] of some.entries()) times[which].push(...more);
  }
  return times;
}

export async function run({ sizes, rounds, pool, gap: gapText }, say) {
  const levels = parseRising(sizes);
  const gap = Number(gapText);
  if (!(gap >= 0)) throw new Error(`--gap ${gapText}: expected milliseconds`);
  if (pool !== undefined && !/^\d+$/.test(pool)) throw new Error(`--pool ${pool}: expected a number`);
  const dir = mkdtempSync(join(tmpdir(), 'vpcctl-bench-'));
  const reason = missingFloor();
  if (reason !== undefined) process.stdout.write(`SKIPPED floor: ${reason}\n`);
  const names = ['vpcctl', ...(reason === undefined ? ['floor'] : [])];
  const sides = [];
  try {
    const oursArgs = [join(dir, 'state'), ...(pool === undefined ? [] : [pool])];
    for (const name of names) sides.push(await start(name, name === 'vpcctl' ? oursArgs : []));
    const numbers = { next: 0 };
    await batch(sides, WARM_UP, numbers, gap);
    const found = [];
    for (const existing of levels) {
      const times = await level(sides, existing, rounds, numbers, gap);
      found.push({ existing, ...Object.fromEntries(names.map((name, which) => [name, times[which]])) });
      say(
        `${existing} existing: ${names.map((name, which) => `${name} ${median(times[which]).toFixed(2)} ms`).join(', ')}`,
      );
    }
    return { levels: found };
  } finally {
    for (const side of sides) await side.end();
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Ours to the floor's, pair by pair: both of a pair met the same moment. */
function pairRatio({ vpcctl, floor }) {
  return floor === undefined ? undefined : median(vpcctl.map((ours, at) => ours / floor[at]));
}

export function render({ rounds, pool, levels }) {
  const head = ['existing', 'p50 ms', 'p99', 'p99/p50', 'floor p50', 'p99', 'x floor', 'x first'];
  const two = (value) => (value === undefined ? '-' : value.toFixed(2));
  const rows = levels.map((found) => {
    const { existing, vpcctl, floor } = found;
    const p50 = median(vpcctl);
    const p99 = quantile(vpcctl, 0.99);
    return [
      String(existing),
      two(p50),
      two(p99),
      (p99 / p50).toFixed(1),
      two(floor && median(floor)),
      two(floor && quantile(floor, 0.99)),
      ratio(pairRatio(found)),
      ratio(p50 / median(levels[0].vpcctl)),
    ];
  });
  const pooled = pool === undefined ? '' : `, a pool of ${pool}`;
  return [
    `attach, ${rounds} attaches at each size${pooled}: x floor is the median of the pairs' ratios`,
    '',
    ...textTable(head, rows),
  ];
}

export function picture({ rounds, levels }) {
  const series = ['vpcctl', 'floor'].filter((name) => levels[0][name] !== undefined);
  return {
    head: 'attach: one workload more, in a resident process',
    note: `medians of ${rounds}, logarithmic; the thin line ends at the 99th percentile`,
    series,
    panels: [
      {
        title: 'One attach',
        kind: 'lines',
        unit: 'ms',
        log: true,
        xLabel: 'workloads that are there already',
        lines: series.map((name) => ({
          series: name,
          points: levels.map((found) => ({
            x: found.existing,
            y: median(found[name]),
            high: quantile(found[name], 0.99),
          })),
        })),
      },
    ],
  };
}

export function ratios({ levels }) {
  const named = levels
    .filter(({ floor }) => floor !== undefined)
    .map((found) => {
      return [`attach ${found.existing}`, { floor: pairRatio(found) }];
    });
  return Object.fromEntries(named);
}
