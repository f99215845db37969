/** The log, which a workload that makes errors cannot fill: so many lines at once, and then one in so long. */
const BURST = 20;
const REST_MS = 10_000;

let left = BURST;
let since = Date.now();
let unsaid = 0;

export function note(line: string): void {
  const rested = Math.floor((Date.now() - since) / REST_MS);
  if (rested > 0) {
    left = Math.min(BURST, left + rested);
    since += rested * REST_MS;
  }
  if (left === 0) {
    unsaid += 1;
    return;
  }
  left -= 1;
  const more = unsaid === 0 ? '' : ` (${unsaid} lines before it were left out)`;
  unsaid = 0;
  // What is in it may be a workload's words.
  console.error(`${new Date().toISOString()} ${line.slice(0, 500).replace(/[^ -~]/g, '?')}${more}`);
}
