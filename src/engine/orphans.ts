/** What is marked ours in the kernel and recorded nowhere: left by a state file that was lost. */
import type { Kernel, Lingering } from '../kernel/kernel.js';
import { natNs, workloadNs } from '../lower/names.js';
import { type KernelObject, NFT_TABLE, OWNER_MARK, rowKey } from '../objects/kernel-object.js';
import { diff } from '../plan/diff.js';
import { plan } from '../plan/plan.js';

/** Names that only ours have; a name alone proves nothing. */
const OUR_NAME = /^(?:vpc-edge|vpc-tgw\.[a-z0-9-]+|vpc\.[a-z0-9-]+(?:\.[a-z0-9-]+|\.nat\.[a-z0-9-]+)?)$/;

/** A workload's: its root makes rulesets of his own, and nobody else is to read those. */
const WORKLOAD_NAME = /^vpc\.[^.]+\.[^.]+$/;

/**
 * The namespace that a row proves ours: the one that a link's owner mark speaks of (the router's end of a pair speaks for a workload that stripped its
 * own), and a router, gateway or edge that has our table. What a workload has of nftables is not read.
 */
function provenBy(row: KernelObject): string | undefined {
  if (row.kind === 'nft-table' && row.table === NFT_TABLE) return row.ns;
  if (row.kind !== 'link' || !row.alias.startsWith(OWNER_MARK)) return undefined;
  const [kind, vpc, name] = row.alias.slice(OWNER_MARK.length).split('/');
  if (vpc === undefined || name === undefined) return undefined;
  return kind === 'instance' ? workloadNs(vpc, name) : kind === 'nat-gateway' ? natNs(vpc, name) : undefined;
}

/** Rows of ours that `recorded` does not know: of namespaces that are proven ours, and on the host. */
export async function findOrphans(kernel: Kernel, recorded: readonly KernelObject[]): Promise<KernelObject[]> {
  const known = new Set(recorded.map(rowKey));
  const candidates = (await kernel.namespaces()).filter((ns) => OUR_NAME.test(ns) && !known.has(`netns|${ns}`));
  const workloads = candidates.filter((ns) => WORKLOAD_NAME.test(ns));
  const observed = await kernel.observe(['', ...candidates], { unfiltered: workloads });
  const proven = new Set(observed.flatMap((row) => provenBy(row) ?? []));
  return observed.filter(
    (row) => (row.ns === '' || proven.has(row.ns)) && row.kind !== 'sysctl' && !known.has(rowKey(row)),
  );
}

/**
 * Deletes them, and tells `onLingering` of what lives on. Settings of the host's own links stay as they are: nobody knows what they were.
 */
export async function removeOrphans(
  kernel: Kernel,
  orphans: readonly KernelObject[],
  onLingering: (found: readonly Lingering[]) => void,
): Promise<void> {
  const { forward, teardown } = plan(diff(orphans, []));
  for (const { changes } of [...forward, teardown]) {
    const failure = await kernel.apply(changes, { tolerant: true, onLingering });
    if (failure !== undefined) throw failure.error;
  }
}
