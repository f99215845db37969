/**
 * Reading workloads' namespaces. Their root may fill them, and change them all the time: so no more is read than what lowering puts there, and what is
 * torn or cut off is taken as it is. Of what he does to his own, he alone has the loss.
 */
import { VpcctlError } from '../errors.js';
import { decodeAddrs, dumpAddrs } from '../netlink/addr.js';
import type { Family } from '../netlink/address.js';
import { decodeLinks, dumpLinks } from '../netlink/link.js';
import { decodeNeighs, dumpNeighs } from '../netlink/neigh.js';
import { decodeRoutes, dumpRoutes } from '../netlink/route.js';
import { MAIN_TABLE } from '../objects/kernel-object.js';
import type { DumpOp, Native, NativeResult } from './native.js';
import type { NamespaceDump } from './observe.js';
import { netnsPath } from './program.js';

/** Links of a workload that are looked at closer: ours is the first, whatever others were made after it. */
const MOST_LINKS = 4;

/** What came of reading one workload. */
export type Workload = NamespaceDump | { readonly ns: string; readonly error: VpcctlError };

/** `dual`: those whose IPv6 is looked at too. */
export async function readWorkloads(
  native: Native,
  namespaces: readonly string[],
  dual: ReadonlySet<string>,
): Promise<Workload[]> {
  const familiesOf = (ns: string): readonly Family[] => (dual.has(ns) ? [4, 6] : [4]);
  const dump = (ns: string, data: Uint8Array): DumpOp => ({ op: 'dump', netns: netnsPath(ns), data, partial: true });
  const listed = await native.run(
    namespaces.map((ns) => dump(ns, dumpLinks())),
    true,
  );
  const asked = namespaces.map((ns, at) => {
    const { data, errno = 0 } = listed[at] ?? {};
    if (data === undefined) return { ns, links: [], near: [], failed: errno };
    // What root does with the settings of his links is not looked at.
    const links = decodeLinks(data).map(({ conf: _, ...link }) => link);
    const near = links.filter(({ kind }) => kind === 'veth').sort((a, b) => a.index - b.index);
    return { ns, links, near: near.slice(0, MOST_LINKS), failed: 0 };
  });
  const ops = asked.flatMap(({ ns, near, failed }) =>
    failed !== 0
      ? []
      : familiesOf(ns).flatMap((family) => [
          dump(ns, dumpRoutes(MAIN_TABLE, family)),
          ...near.flatMap(({ index }) => [dump(ns, dumpAddrs(index, family)), dump(ns, dumpNeighs(index, family))]),
        ]),
  );
  const results = (await native.run(ops, true)).values();
  return asked.map(({ ns, links, near, failed }): Workload => {
    if (failed !== 0) return { ns, error: unreadable(native, ns, failed) };
    let refused = 0;
    const take = (): Uint8Array => {
      const { data, errno = 0 }: Partial<NativeResult> = results.next().value ?? {};
      if (data === undefined && !isGone(native, errno)) refused ||= errno;
      return data ?? new Uint8Array();
    };
    const read = familiesOf(ns).map(() => ({
      routes: decodeRoutes(take()),
      inside: near.map(() => ({ addrs: decodeAddrs(take()), neighs: decodeNeighs(take()) })),
    }));
    const inside = read.flatMap((one) => one.inside);
    if (refused !== 0) return { ns, error: unreadable(native, ns, refused) };
    return {
      ns,
      links,
      routes: read.flatMap(({ routes }) => routes),
      addrs: inside.flatMap(({ addrs }) => addrs),
      neighs: inside.flatMap(({ neighs }) => neighs),
      rules: [],
      arp: [],
      sysctls: new Map(),
      firewall: [],
    };
  });
}

/** The link was deleted meanwhile; the table has no route, and is not there therefore. */
function isGone(native: Native, errno: number): boolean {
  return ['ENODEV', 'ENOENT'].includes(native.errnoName(errno));
}

/** Why a namespace could not be read. */
export function unreadable(native: Native, ns: string, errno = 0): VpcctlError {
  return new VpcctlError('KERNEL', `could not read namespace ${ns || 'of the host'}`, {
    netns: ns,
    errno: native.errnoName(errno),
  });
}
