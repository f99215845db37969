/**
 * The suite teardown: how long the call takes, and how long until the kernel has destroyed the devices, which it does later. The
 * same trials as provision's.
 */
import { ms, ratio, textTable } from '../lib/table.mjs';
import { BASELINES, bars, measure, titleOf } from '../lib/trials.mjs';
import { drivers as all } from './provision.mjs';

export const about = 'tear a network down, until its devices are gone';
export const sizing = 'VPCSxWORKLOADS,…';
export const drivers = all;
export const defaults = { sizes: '1x1,1x10,10x10,1x100', rounds: 5, drivers: ['batch', 'floor', 'vpcctl'] };
export const run = measure;

export function render(result) {
  const times = BASELINES.map((baseline) => `x ${baseline}`);
  const head = ['size', 'driver', 'rounds', 'returned ms', 'gone ms', ...times, 'min', 'max', 'process ms'];
  const rows = result.summary.map((row) => [
    row.size,
    row.driver,
    String(row.rounds),
    ms(row.teardown.median),
    ms(row.gone.median),
    ...BASELINES.map((baseline) => ratio(row.gone.ratios[baseline])),
    ms(row.gone.min),
    ms(row.gone.max),
    ms(row.teardownProcess.median),
  ]);
  return [titleOf(result), '', ...textTable(head, rows, 2)];
}

export function picture(result) {
  return bars(result, 'teardown: VPCs × workloads in each', [
    { metric: 'teardown', title: 'Until the call returns' },
    { metric: 'gone', title: 'Until the devices are gone' },
  ]);
}
