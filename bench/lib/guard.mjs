/**
 * The short run's gate: ratios to rivals of the same run, never times. A ratio may be twice what expected.json has for it, and only one that is
 * worse than that to every rival fails: a busy machine moves ratios too, and seldom all of them; a regression does.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const LIMIT = 2;
const file = new URL('../expected.json', import.meta.url);

export function readExpected() {
  return JSON.parse(readFileSync(file, 'utf8'));
}

function ratiosOf(results, suites) {
  return Object.assign({}, ...results.map((result) => suites.get(result.suite).ratios?.(result) ?? {}));
}

function rounded(ratios) {
  return Object.fromEntries(Object.entries(ratios).map(([rival, ratio]) => [rival, Math.round(ratio * 100) / 100]));
}

function words(ratios) {
  return Object.entries(ratios)
    .map(([rival, ratio]) => `${ratio.toFixed(2)} × ${rival}`)
    .join(', ');
}

/** Writes the ratios of these results down as what is expected, with what they were measured on. */
export function writeExpected(results, suites, tell) {
  const [{ machine }] = results;
  const named = Object.entries(ratiosOf(results, suites)).map(([name, ratios]) => [name, rounded(ratios)]);
  const written = { how: 'npm run bench -- --record', machine, ratios: Object.fromEntries(named) };
  writeFileSync(file, `${JSON.stringify(written, null, 2)}\n`);
  for (const [name, ratios] of named) tell(`RECORDED ${name}: ${words(ratios)}`);
}

/**
 * Tells each guarded ratio by `tell`; returns whether all are held. One that could not be measured because no rival is here is
 * told and no failure; that none could be is one.
 */
export function hold(results, suites, { ratios: expected }, tell) {
  const measured = ratiosOf(results, suites);
  const outcomes = Object.entries(expected).map(([name, before]) => {
    const now = measured[name] ?? {};
    const rivals = Object.keys(before).filter((rival) => now[rival] !== undefined);
    const outcome =
      rivals.length === 0 ? 'SKIPPED' : rivals.some((rival) => now[rival] <= before[rival] * LIMIT) ? 'held' : 'FAILED';
    tell(
      `GATE ${outcome} ${name}: ${words(now) || 'not measured'}; recorded: ${words(before)}; limit: ${LIMIT} times that`,
    );
    return outcome;
  });
  return outcomes.includes('held') && !outcomes.includes('FAILED');
}
