/** The suite provision: the whole network from nothing, beside its rivals; and until all of it is gone. */
import { driverNames } from '../lib/drivers.mjs';
import { ms, ratio, textTable } from '../lib/table.mjs';
import { BASELINES, bars, guardedRatios, measure, titleOf } from '../lib/trials.mjs';

export const about = 'build a network of VPCs, check it, tear it down';
export const sizing = 'VPCSxWORKLOADS,…';
export const drivers = driverNames();
export const defaults = { sizes: '1x1,1x10,1x100', rounds: 5 };
export const quick = { sizes: '1x10', rounds: 3, drivers: ['batch', 'floor', 'vpcctl'] };
export const run = measure;

export function render(result) {
  const times = BASELINES.map((baseline) => `x ${baseline}`);
  const head = [
    'size',
    'driver',
    'rounds',
    'build ms',
    ...times,
    'us/workload',
    'process ms',
    'gone ms',
    ...times,
    'process ms',
  ];
  const rows = result.summary.map((row) => {
    const [vpcs, workloads] = row.size.split('x').map(Number);
    return [
      row.size,
      row.driver,
      String(row.rounds),
      ms(row.build.median),
      ...BASELINES.map((baseline) => ratio(row.build.ratios[baseline])),
      ((row.build.median * 1000) / (vpcs * workloads)).toFixed(0),
      ms(row.buildProcess.median),
      ms(row.gone.median),
      ...BASELINES.map((baseline) => ratio(row.gone.ratios[baseline])),
      ms(row.teardownProcess.median),
    ];
  });
  return [titleOf(result), '', ...textTable(head, rows, 2)];
}

export function picture(result) {
  return bars(result, 'provision: VPCs × workloads in each', [
    { metric: 'build', title: 'Build' },
    { metric: 'gone', title: 'Teardown, until the devices are gone' },
  ]);
}

export function ratios(result) {
  return guardedRatios(result, ['build', 'gone']);
}
