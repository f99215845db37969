/**
 * The short run's gate: ratios to a rival of the same run, never times. A ratio may be twice what expected.json has for it: a
 * busy machine moves ratios too, a regression that matters moves them further.
 */
import { readFileSync } from 'node:fs';

const LIMIT = 2;

export function readExpected() {
  return JSON.parse(readFileSync(new URL('../expected.json', import.meta.url), 'utf8'));
}

/**
 * Tells each guarded ratio by `tell`; returns whether all are held. One that is expected and could not be measured, because
 * its rival was skipped, is told and no failure.
 */
export function hold(results, suites, { ratios: expected }, tell) {
  const measured = Object.assign({}, ...results.map((result) => suites.get(result.suite).ratios?.(result) ?? {}));
  let held = true;
  for (const [name, before] of Object.entries(expected)) {
    const now = measured[name];
    if (now === undefined) {
      tell(`GATE SKIPPED ${name}: not measured`);
      continue;
    }
    const good = now <= before * LIMIT;
    held &&= good;
    tell(
      `GATE ${good ? 'held' : 'FAILED'} ${name}: ${now.toFixed(2)}× (recorded ${before.toFixed(2)}×, limit ${LIMIT} times that)`,
    );
  }
  return held;
}
