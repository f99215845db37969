/**
 * The suites. A suite is a module of suites/:
 *
 *   about            one line for the usage text
 *   defaults         { sizes, rounds }: what is run when nothing is asked; `sizes` as on the command line
 *   sizing           what --sizes lists, in words; `rounding`: what --rounds counts (rounds)
 *   drivers          names of the drivers that may take part (absent: none to choose), the default first to last;
 *                    `defaults.drivers`: those that run when none are asked for (all)
 *   options          its own options, as node:util's parseArgs takes them, each with `about` (absent: none)
 *   quick            what `--quick` asks, laid over the defaults (absent: not part of the short run)
 *   run(asked, say)  measures; `asked`: { sizes, rounds, groups, drivers, …own options }, `say(line)`: progress. Returns what
 *                    goes into the JSON, `failures` (texts) among it. An error it throws is one of usage or of the machine
 *   render(result)   the lines of the table
 *   picture(result)  what plot.mjs draws (lib/chart.mjs), or undefined where there is nothing to draw
 *   ratios(result)   { name: { rival: ratio } } that the short run holds against expected.json (absent: none)
 */
const NAMES = ['provision', 'teardown', 'attach', 'burst', 'change', 'scale', 'cli', 'dataplane', 'profile'];

export function suiteNames() {
  return NAMES;
}

export async function suiteNamed(name) {
  if (!NAMES.includes(name)) throw new Error(`no suite ${name}; there are: ${NAMES.join(', ')}`);
  return import(`../suites/${name}.mjs`);
}
