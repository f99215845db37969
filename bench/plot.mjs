/**
 * `plot.mjs results.json out.svg`: what `run.mjs --json` wrote, as a picture. The suite says what to draw, lib/chart.mjs, or
 * lib/flame.mjs, draws it.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { chart } from './lib/chart.mjs';
import { flameGraph } from './lib/flame.mjs';
import { suiteNamed } from './lib/suites.mjs';

const [input, output] = process.argv.slice(2);
if (input === undefined || output === undefined) {
  process.stderr.write('usage: node bench/plot.mjs results.json out.svg\n');
  process.exit(2);
}
const result = JSON.parse(readFileSync(input, 'utf8'));
const picture = Array.isArray(result) ? undefined : (await suiteNamed(result.suite)).picture?.(result);
if (picture === undefined) {
  process.stderr.write(`${input}: nothing to draw; plot.mjs takes the JSON of one suite\n`);
  process.exit(1);
}
const { cpu, cores, kernel, node, date } = result.machine;
const foot = `${cpu}, ${cores} cores, kernel ${kernel}, Node ${node}, ${date.slice(0, 10)}`;
const draw = picture.flames === undefined ? chart : flameGraph;
writeFileSync(output, draw({ foot, ...picture }));
