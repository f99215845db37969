/**
 * The kernel destroys namespaces later, in a queue of its own. Witnesses tell when it has: before the teardown, some namespaces get
 * one end of a veth whose other end is here. It vanishes here when the devices there do.
 */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const MOST_WITNESSES = 32;
const WITNESS = 'witness';
const GONE_TIMEOUT_MS = 60_000;

/** At most `most` of a list, spread evenly, the first and the last among them. */
export function spread(list, most) {
  if (list.length <= most) return list;
  return Array.from({ length: most }, (_, at) => list[Math.round((at * (list.length - 1)) / (most - 1))]);
}

/** In some of the namespaces that were found, or all. */
export function armWitnesses(found) {
  const lines = spread(found, MOST_WITNESSES).map(
    (ns, at) => `link add ${WITNESS}${at} type veth peer name ${WITNESS} netns ${ns}\n`,
  );
  const { status, stderr, error } = spawnSync('ip', ['-batch', '-'], { encoding: 'utf8', input: lines.join('') });
  if (status !== 0) throw new Error(`ip -batch -: ${error?.message ?? stderr.trim()}`);
}

export async function waitWhile(condition, complaint) {
  const deadline = Date.now() + GONE_TIMEOUT_MS;
  while (condition()) {
    if (Date.now() > deadline) throw new Error(`check: ${complaint}`);
    await sleep(1);
  }
}

/** Returns when no witness is left. */
export async function waitForWitnesses() {
  const watching = () => readFileSync('/proc/self/net/dev', 'utf8').includes(WITNESS);
  await waitWhile(watching, 'devices are still there after teardown');
}
