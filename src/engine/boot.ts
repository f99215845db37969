/** Which start of the machine the records are of. After another one, nothing of ours is in the kernel. */
import type { Kernel } from '../kernel/kernel.js';
import { EDGE_ID } from '../model/resources.js';
import type { KernelObject } from '../objects/kernel-object.js';
import type { Store } from './store.js';

const BOOT = 'boot';
const RESTORING = 'restoring';
/** Its value while nobody has tried to bring everything back; then a list in JSON of what failed. */
const ALL = '1';
/** Written by a transaction: the directory of namespaces was made ready by us. */
export const DIRECTORY_MADE = 'netns_directory_made';

/** The machine was started anew since the records were made, and nobody has taken notice yet. */
export function isOtherBoot(store: Store, kernel: Kernel): boolean {
  const known = store.meta(BOOT);
  return known !== undefined && known !== kernel.bootId();
}

/** What is to be brought back: everything, or the parts of these names, which could not be when it was tried. */
export function missingParts(store: Store, kernel: Kernel): 'all' | readonly string[] {
  const restoring = store.meta(RESTORING);
  if (isOtherBoot(store, kernel) || restoring === ALL) return 'all';
  return restoring === undefined ? [] : (JSON.parse(restoring) as string[]);
}

/** What was recorded is not in the kernel yet: {@link isOtherBoot}, or bringing it back was begun and not finished. */
export function needsRestore(store: Store, kernel: Kernel): boolean {
  return missingParts(store, kernel).length > 0;
}

/** From now on the records are of this start. A store that never said so was written in it. */
export function noteBoot(store: Store, kernel: Kernel): void {
  if (store.meta(BOOT) === undefined) store.setMeta(BOOT, kernel.bootId());
}

/**
 * Takes notice of the new start, with the locks of everything held: what the host's settings were before us is what they are now, and what
 * is to be brought back remains to be done.
 */
export async function adoptBoot(store: Store, kernel: Kernel): Promise<void> {
  // Only the border has settings on the host.
  const before = store.rowsOf(EDGE_ID);
  const rows = await Promise.all(before.map(async (row) => refreshed(row, kernel)));
  store.amend([{ id: EDGE_ID, before, rows }], {
    [BOOT]: kernel.bootId(),
    [RESTORING]: ALL,
    [DIRECTORY_MADE]: undefined,
  });
}

async function refreshed(row: KernelObject, kernel: Kernel): Promise<KernelObject> {
  if (row.kind !== 'sysctl' || row.ns !== '') return row;
  const restore = await kernel.readSysctl(row.key);
  return restore === undefined ? row : { ...row, restore };
}

/** All was brought back but for these, which remain to be. */
export function endRestore(store: Store, failed: readonly string[]): void {
  store.setMeta(RESTORING, failed.length === 0 ? undefined : JSON.stringify(failed));
}
