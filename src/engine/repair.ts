/** Looking at the kernel, and putting back what was recorded: the same plan, journal and locks as any transaction. */
import { VpcctlError } from '../errors.js';
import type { Kernel } from '../kernel/kernel.js';
import { namespacesOf } from '../lower/lower.js';
import { requireVpc } from '../model/lookup.js';
import { findKind, type Reader } from '../model/reader.js';
import { EDGE_ID, INSTALLATION_SCOPE, idOf, type Resource, scopesOf } from '../model/resources.js';
import { type KernelObject, OWNER_MARK, rowKey } from '../objects/kernel-object.js';
import { countChanges } from '../plan/plan.js';
import { repair, settlePeers } from '../plan/repair.js';
import { comparable, type Drift, explainDrift, mayGo, type Scope } from './drift.js';
import type { Engine, EngineOptions, Prepared } from './engine.js';
import type { Store } from './store.js';
import { assumed, type Unread, unreadDrift } from './unread.js';

/** What is looked at, and where. */
export interface Selection extends Scope {
  readonly namespaces: readonly string[];
  /** Of these, the workloads'. */
  readonly unfiltered: readonly string[];
  /** What a change of it locks. */
  readonly locks: readonly string[];
}

/** The resources that `choose` takes, with all they lowered to. */
export function select(store: Store, choose: (resource: Resource) => boolean): Selection {
  const resources = store.resources().filter(choose);
  const owners = new Set(resources.map(idOf));
  const rows = store.rows();
  const recorded = rows.filter(({ owner }) => owners.has(owner));
  const others = new Set(rows.filter(({ owner }) => !owners.has(owner)).map(({ row }) => rowKey(row)));
  const workloads = resources.flatMap((one) => (one.kind === 'instance' ? namespacesOf(one) : []));
  const guarded = resources.flatMap((one) => (one.kind === 'instance' ? [] : namespacesOf(one)));
  const locks = [...new Set(resources.flatMap(scopesOf))];
  return {
    recorded,
    others,
    whole: findKind(store, 'vpc', 'kind:vpc').every(({ name }) => locks.includes(name)),
    guarded: new Set([...guarded, ...(owners.has(EDGE_ID) ? [''] : [])]),
    namespaces: [...new Set(['', ...recorded.map(({ row }) => row.ns), ...guarded, ...workloads])],
    unfiltered: workloads,
    locks,
  };
}

/** Everything, or what concerns one VPC: its own, its peerings, and the border that it hangs on. */
export function selectVpc(store: Store, vpc: string | undefined): Selection {
  if (vpc === undefined) return select(store, () => true);
  requireVpc(store, vpc);
  const hasGateway = store.get(`igw/${vpc}`) !== undefined;
  return select(store, (resource) => scopesOf(resource).includes(vpc) || (hasGateway && resource.kind === 'edge'));
}

/** What a look at the kernel saw. */
export interface Seen {
  /** Where a workload could not be read, what was recorded of it. */
  readonly rows: readonly KernelObject[];
  readonly unread: Unread;
}

/** What the kernel has in the selection's namespaces, and of the host's settings those that were recorded. */
export async function look(kernel: Kernel, { recorded, namespaces, unfiltered }: Selection): Promise<Seen> {
  const known = new Set(recorded.map(({ row }) => rowKey(row)));
  const unread = new Map<string, VpcctlError>();
  const observed = await kernel.observe(namespaces, {
    unfiltered,
    dual: new Set(recorded.flatMap(({ row }) => (row.kind === 'addr' && row.addr.includes(':') ? [row.ns] : []))),
    onUnreadable: (ns, error) => unread.set(ns, error),
  });
  const rows = settlePeers(
    observed.filter((row) => row.kind !== 'sysctl' || known.has(rowKey(row))),
    recorded.map(({ row }) => row),
  );
  for (const { row } of recorded) {
    if (row.kind !== 'sysctl' || row.ns !== '') continue;
    const value = await kernel.readSysctl(row.key);
    if (value !== undefined) rows.push({ ...row, value });
  }
  return { rows: assumed(recorded, rows, unread), unread };
}

/** All differences of what was seen, explained. */
export function explain(reader: Reader, selection: Selection, { rows, unread }: Seen): Drift[] {
  return [...unreadDrift(reader, selection.recorded, unread), ...explainDrift(reader, selection, rows)];
}

/** What a repair did, or would do. */
export interface RepairResult {
  /** What was put back. */
  readonly repaired: readonly Drift[];
  /** What stays as it is: foreign things, and what could not be put back because something that is not ours is in its place. */
  readonly left: readonly Drift[];
  /** Kernel objects made, changed and deleted. */
  readonly kernel: { readonly create: number; readonly update: number; readonly delete: number };
}

interface Found {
  readonly drift: readonly Drift[];
}

/** Workloads' namespaces in which the kernel refused a repair, and its words: they, and what leads into them, stay as they are. */
type Refused = Map<string, VpcctlError>;

/**
 * The workload's namespace in which the kernel refused a change: who is root there can have it refused as often as he likes. Of one that was only to
 * be made, nobody else was root.
 */
async function refusingNamespace({ store, kernel }: Engine, { code, facts }: VpcctlError): Promise<string | undefined> {
  if (code !== 'KERNEL') return undefined;
  const places = await kernel.pinned([facts.netns ?? '', facts.peerNetns ?? ''].filter((ns) => ns !== ''));
  if (places.length === 0) return undefined;
  const workloads = new Set(store.resources().flatMap((one) => (one.kind === 'instance' ? namespacesOf(one) : [])));
  return places.find((ns) => workloads.has(ns));
}

function refusalOf(row: KernelObject, refused: Refused): VpcctlError | undefined {
  return refused.get(row.ns) ?? (row.kind === 'link' && row.type === 'veth' ? refused.get(row.peer.ns) : undefined);
}

/** The VPCs among the scopes. */
const vpcsIn = (scopes: readonly string[]): string[] => scopes.filter((scope) => scope !== INSTALLATION_SCOPE);

/** All differences of the selection, resolvers too. */
export async function differences(engine: Engine, selection: Selection, seen: Seen): Promise<Drift[]> {
  const own = (await engine.resolver?.drift(vpcsIn(selection.locks))) ?? [];
  return [...explain(engine.store, selection, seen), ...own];
}

async function workOut(
  engine: Engine,
  selection: Selection,
  versions: ReadonlyMap<string, number>,
  { anew = false, avoid = new Set() }: RepairOptions,
  refused: Refused,
): Promise<Prepared<Found>> {
  const seen = await look(engine.kernel, {
    ...selection,
    namespaces: selection.namespaces.filter((ns) => !avoid.has(ns)),
  });
  const observed = seen.rows;
  if (anew) refuseStrangers(selection, observed);
  const { plan, changes, left } = repair(comparable(selection, observed), observed, (row) => mayGo(selection, row), {
    workloads: new Set(selection.unfiltered),
    closed: new Set(refused.keys()),
  });
  const drift = (await differences(engine, selection, seen)).map((one): Drift => {
    if (one.recorded === undefined || !left.has(rowKey(one.recorded))) return one;
    const refusal = refusalOf(one.recorded, refused);
    const words = refusal === undefined ? '' : `: ${refusal.toLine()}`;
    return { ...one, sentence: `${one.sentence}${words}`, repairable: false };
  });
  return { result: { drift }, edits: [], changes, plan, lowered: [], versions };
}

/** After a new start of the machine, a namespace with our name and nothing in it that is marked ours is somebody else's. */
function refuseStrangers({ recorded }: Selection, observed: readonly KernelObject[]): void {
  const marked = new Set(
    observed.flatMap((row) => (row.kind === 'link' && row.alias.startsWith(OWNER_MARK) ? [row.ns] : [])),
  );
  const seen = new Set(observed.map(rowKey));
  for (const { row } of recorded) {
    if (row.kind !== 'netns' || !seen.has(rowKey(row)) || marked.has(row.ns)) continue;
    throw new VpcctlError('CONFLICT', `a namespace called ${row.ns} exists already and is not ours`, {
      object: `namespace ${row.ns}`,
      hint: 'remove it, then run `vpcctl restore`',
    });
  }
}

export interface RepairOptions extends EngineOptions {
  readonly dryRun?: boolean;
  /** Nothing of the selection is expected to be there. */
  readonly anew?: boolean;
  /** Namespaces to be taken for missing: somebody else's. */
  readonly avoid?: ReadonlySet<string>;
}

/**
 * Puts back what the selection recorded and the kernel has not, as one transaction. `choose` is asked again under the locks. Where it is refused in a
 * workload's namespace, it is undone and begun anew without that namespace.
 */
export async function runRepair(
  engine: Engine,
  choose: () => Selection,
  { dryRun = false, ...options }: RepairOptions,
): Promise<RepairResult> {
  const refused: Refused = new Map();
  for (;;) {
    try {
      return await repairOnce(engine, choose, dryRun, options, refused);
    } catch (error) {
      const ns = error instanceof VpcctlError ? await refusingNamespace(engine, error) : undefined;
      if (!(error instanceof VpcctlError) || ns === undefined || refused.has(ns)) throw error;
      refused.set(ns, error);
    }
  }
}

async function repairOnce(
  engine: Engine,
  choose: () => Selection,
  dryRun: boolean,
  options: RepairOptions,
  refused: Refused,
): Promise<RepairResult> {
  const work = (versions: ReadonlyMap<string, number>): Promise<Prepared<Found>> =>
    workOut(engine, choose(), versions, options, refused);
  const { result, plan } = dryRun
    ? await work(new Map())
    : await engine.carryOut(() => locksOf(choose()), work, options);
  if (!dryRun) await engine.settleResolver(vpcsIn(choose().locks), options);
  return {
    repaired: result.drift.filter(({ repairable }) => repairable),
    left: result.drift.filter(({ repairable }) => !repairable),
    kernel: countChanges(plan),
  };
}

/** An empty installation has nothing to lock. */
function locksOf({ locks }: Selection): readonly string[] {
  return locks.length === 0 ? [INSTALLATION_SCOPE] : locks;
}
