/**
 * Namespaces that were deleted and live on. The kernel destroys a namespace when nobody holds it: no process is in it, no descriptor, mount or socket is of it. Who does is not
 * ours to end; but what we made in there, and only that, is taken out of it.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { Batch } from '../netlink/batch.js';
import { decodeLinks, deleteLinkIn, dumpLinks } from '../netlink/link.js';
import { OWNER_MARK } from '../objects/kernel-object.js';
import { findHolders } from './holders.js';
import type { HeldNamespace, Holder, Lingering } from './kernel.js';
import { LANES, type Native, REGISTER } from './native.js';

/** A socket that was closed just now holds its namespace for an RCU grace period more. */
const PAUSES_MS = [2, 4, 8, 16, 16] as const;
/** How long somebody who cannot be found may take to let go. */
const PATIENCE_MS = 1000;
const LONGEST_PAUSE_MS = 100;
/** What another process of ours keeps open for a moment (nft-session.ts): it goes by itself. */
const PASSING = 'nft';
/** Deleting a link takes about 20 ms, and whoever waits for it has locks. */
const CUTTING_MS = 1000;
const LINKS_AT_ONCE = 8;

interface Token {
  /** -1: it could not be numbered. */
  readonly nsid: number;
  readonly inode: string;
}

function tokenOf({ token }: Lingering): Token {
  const [nsid, inode = ''] = token.split(' ');
  return { nsid: Number(nsid), inode };
}

/** Of these, those that live, or of which nobody can tell. */
async function living(native: Native, lingering: readonly Lingering[], release = false): Promise<readonly Lingering[]> {
  const numbers = lingering.map((one) => tokenOf(one).nsid).filter((nsid) => nsid >= 0);
  if (numbers.length === 0) return lingering;
  const data = new Uint8Array(Int32Array.from(numbers).buffer);
  const [result] = await native.run(
    [{ op: 'netns-living', data, ...(release ? { release } : {}) }],
    true,
    LANES.teardown,
  );
  const alive = result?.data;
  if (result?.errno !== 0 || alive === undefined) return lingering;
  const found = new Set(new Int32Array(alive.slice().buffer));
  return lingering.filter((one) => {
    const { nsid } = tokenOf(one);
    return nsid < 0 || found.has(nsid);
  });
}

/** Nobody asks for these any more. */
export async function release(native: Native, lingering: readonly Lingering[]): Promise<void> {
  await living(native, lingering, true);
}

/**
 * Deletes what links of ours are left in them: a pair lives while the namespaces of both its ends do. The fewest first, because with one end goes the other: workloads before the router that they all
 * hang on.
 */
export async function cutLinks(native: Native, lingering: readonly Lingering[]): Promise<void> {
  const deadline = Date.now() + CUTTING_MS;
  let rest = lingering.filter((one) => tokenOf(one).nsid >= 0);
  for (const pause of [...PAUSES_MS, undefined]) {
    if (!(await ownLinks(native, rest)).some(({ links }) => links.length > 0)) return;
    if (pause === undefined) break;
    await sleep(pause);
    rest = [...(await living(native, rest))];
  }
  while (Date.now() < deadline) {
    const left = (await ownLinks(native, rest)).filter(({ links }) => links.length > 0);
    left.sort((a, b) => a.links.length - b.links.length);
    const doomed = left.flatMap(({ nsid, links }) => links.map((index) => ({ nsid, index }))).slice(0, LINKS_AT_ONCE);
    if (doomed.length === 0) return;
    const batch = new Batch();
    for (const { nsid, index } of doomed) deleteLinkIn(batch, nsid, index);
    // What has ended meanwhile is not looked for again: the next look sees what there is.
    await native.run([{ op: 'netlink', netns: REGISTER, ...batch.finish() }], true, LANES.teardown);
  }
}

async function ownLinks(
  native: Native,
  lingering: readonly Lingering[],
): Promise<{ readonly nsid: number; readonly links: readonly number[] }[]> {
  const numbers = lingering.map((one) => tokenOf(one).nsid);
  const results = await native.run(
    numbers.map((nsid) => ({ op: 'dump', netns: REGISTER, data: dumpLinks(nsid) })),
    true,
    LANES.teardown,
  );
  return numbers.map((nsid, at) => {
    const data = results[at]?.data;
    const links = data === undefined ? [] : decodeLinks(data);
    return {
      nsid,
      links: links.flatMap(({ alias, index }) => (alias?.startsWith(OWNER_MARK) === true ? [index] : [])),
    };
  });
}

/** Waits for them to end, a second at most, and tells of those that do not who holds them. */
export async function verify(native: Native, lingering: readonly Lingering[]): Promise<HeldNamespace[]> {
  const deadline = Date.now() + PATIENCE_MS;
  let rest = await living(native, lingering);
  for (const pause of PAUSES_MS) {
    if (rest.length === 0) return [];
    await sleep(pause);
    rest = await living(native, rest);
  }
  let holders: ReadonlyMap<string, readonly Holder[]> = new Map();
  for (let pause: number = LONGEST_PAUSE_MS / 4; rest.length > 0; pause = Math.min(pause * 2, LONGEST_PAUSE_MS)) {
    holders = await findHolders(new Set(rest.map((one) => tokenOf(one).inode)));
    const clear = rest.every((one) => {
      const found = holders.get(tokenOf(one).inode);
      return found?.every(({ command }) => command !== PASSING);
    });
    if (clear || Date.now() >= deadline) break;
    await sleep(pause);
    rest = await living(native, rest);
  }
  // For which the time with the locks did not suffice.
  await cutLinks(native, rest);
  await release(native, rest);
  return rest.flatMap((one) => {
    const found = holders.get(tokenOf(one).inode);
    // Only who is seen to hold it proves that somebody does: the kernel itself may take a second to let go.
    return found === undefined ? [] : [{ ns: one.ns, holders: found }];
  });
}
