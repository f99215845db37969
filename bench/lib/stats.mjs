/** Medians, and ratios taken round by round: rivals of one round ran within the same minute, on the same load. */

export function median(values) {
  if (values.length === 0) return undefined;
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)];
}

/** What is measured; each is a field of a trial, in milliseconds. */
export const METRICS = ['build', 'buildProcess', 'teardown', 'teardownProcess', 'gone'];

/**
 * One row for each size and driver: per metric the median, the extremes and `ratios`: to each of `baselines`, the median of the
 * per-round ratios (absent where no round has both).
 */
export function summarize(trials, baselines) {
  const good = trials.filter((trial) => trial.error === undefined);
  const of = (size, driver) => good.filter((trial) => trial.size === size && trial.driver === driver);
  const keys = [...new Set(good.map((trial) => `${trial.size} ${trial.driver}`))];
  return keys.map((key) => {
    const [size, driver] = key.split(' ');
    const mine = of(size, driver);
    const rivals = baselines.map((baseline) => [
      baseline,
      new Map(of(size, baseline).map((trial) => [trial.round, trial])),
    ]);
    const metrics = METRICS.map((metric) => {
      const values = mine.map((trial) => trial[metric]);
      const ratios = rivals.map(([baseline, theirs]) => {
        const both = mine.filter(({ round }) => theirs.has(round));
        return [baseline, median(both.map((trial) => trial[metric] / theirs.get(trial.round)[metric]))];
      });
      return [
        metric,
        {
          median: median(values),
          min: Math.min(...values),
          max: Math.max(...values),
          ratios: Object.fromEntries(ratios.filter(([, value]) => value !== undefined)),
        },
      ];
    });
    return { size, driver, rounds: mine.length, ...Object.fromEntries(metrics) };
  });
}
