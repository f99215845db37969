/**
 * From what the kernel has to what was recorded, disturbing nothing else. Most of it is a plan like any other. Its own: a link that stands where
 * one of ours belongs is removed first, if it is marked ours, and what hung on it is made again with it; what cannot be put back is left out.
 */
import { type Change, isStump } from '../objects/change.js';
import {
  type KernelObject,
  type LinkRow,
  LOOPBACK,
  NFT_TABLE,
  NOBODY,
  OWNER_MARK,
  rowKey,
  type VethRow,
} from '../objects/kernel-object.js';
import { diff } from './diff.js';
import { type Plan, plan, type Stage, settingLink } from './plan.js';
import { replaceTables, rowsOfTable, tableOf } from './tables.js';

export interface RepairPlan {
  readonly plan: Plan;
  readonly changes: readonly Change[];
  /** Keys of recorded rows that stay as they are: something that is not ours stands in the way, or what they are of is not there. */
  readonly left: ReadonlySet<string>;
}

type Links = ReadonlySet<string>;

const linkId = (ns: string, name: string): string => `${ns}/${name}`;

/** The link that a row is, or is on. */
function linksOf(row: KernelObject): string[] {
  switch (row.kind) {
    case 'link':
      return [linkId(row.ns, row.name)];
    case 'addr':
    case 'neigh':
    case 'qdisc':
      return row.link === LOOPBACK ? [] : [linkId(row.ns, row.link)];
    case 'route':
      return row.link === undefined ? [] : [linkId(row.ns, row.link)];
    case 'sysctl': {
      const link = settingLink(row.key);
      return link === undefined ? [] : [linkId(row.ns, link)];
    }
    default:
      return [];
  }
}

const isOn = (links: Links) => (row: KernelObject) => linksOf(row).some((link) => links.has(link));

/** Whether a row that nobody recorded is ours all the same, by its mark, and goes. */
export function isMarkedOurs(row: KernelObject): boolean {
  switch (row.kind) {
    case 'link':
      return row.alias.startsWith(OWNER_MARK);
    case 'route':
    case 'rule':
      return row.protocol === undefined;
    case 'qdisc':
      return row.type !== 'other';
    case 'netns':
    case 'addr':
    case 'neigh':
    case 'sysctl':
      return false;
    default:
      return row.table === NFT_TABLE;
  }
}

/** What is to be known of namespaces. */
export interface Places {
  /** Those whose root is not to be believed. */
  readonly workloads: ReadonlySet<string>;
  /** Those in which nothing is to be changed. */
  readonly closed: ReadonlySet<string>;
}

/**
 * What turns `observed` into `wanted`. `observed`: all that is there of the same namespaces, with all rows of our tables; what is in it and not
 * wanted goes only where `mayGo` says so.
 */
export function repair(
  wanted: readonly KernelObject[],
  observed: readonly KernelObject[],
  mayGo: (row: KernelObject) => boolean,
  places: Partial<Places> = {},
): RepairPlan {
  const { workloads = new Set(), closed = new Set() } = places;
  // Of two rows of one key the one that is ours counts.
  const seen = new Map(
    [...observed].sort((a, b) => Number(isMarkedOurs(a)) - Number(isMarkedOurs(b))).map((row) => [rowKey(row), row]),
  );
  const keysWanted = new Set(wanted.map(rowKey));
  const isNowhere = (ns: string): boolean => ns !== '' && ![seen, keysWanted].some((keys) => keys.has(`netns|${ns}`));
  const { remove, blocked } = misplaced(wanted, seen, isNowhere, { workloads, closed });
  const cannotBe = (row: KernelObject): boolean =>
    isNowhere(row.ns) || closed.has(row.ns) || isOn(blocked)(row) || isOfNothing(row, seen, keysWanted);
  const left = new Set(wanted.filter(cannotBe).map(rowKey));
  const kept = wanted.filter((row) => !left.has(rowKey(row)));
  const removed: Links = new Set(remove.map(({ ns, name }) => linkId(ns, name)));
  const remaining = [...seen.values()].filter((row) => !isOn(removed)(row));
  const keys = new Set(kept.map(rowKey));
  const concerned = remaining.filter((row) => keys.has(rowKey(row)) || (mayGo(row) && !left.has(rowKey(row))));
  const differences = diff(concerned, kept);
  const changes = replaceTables(
    [...differences, ...lostNeighbours(differences, kept)],
    (table) => rowsOfTable(table, remaining),
    (table) => rowsOfTable(table, kept),
  );
  const { forward, teardown } = plan(changes);
  return { plan: { forward: [...clearing(remove, observed), ...forward], teardown }, changes, left };
}

/**
 * What is of a link, table, chain or set that is neither there nor to be made: of the host's own uplink, of a border that somebody took the place of,
 * of the firewall of another VPC's router.
 */
function isOfNothing(row: KernelObject, seen: ReadonlyMap<string, KernelObject>, wanted: ReadonlySet<string>): boolean {
  if (row.kind === 'link' || (row.kind === 'sysctl' && seen.has(rowKey(row)))) return false;
  const holders = [...linksOf(row).map((link) => `link|${link.replace('/', '|')}`), ...holdersOf(row)];
  return holders.some((holder) => ![seen, wanted].some((keys) => keys.has(holder)));
}

/** What a row of the firewall is in. */
function holdersOf(row: KernelObject): string[] {
  switch (row.kind) {
    case 'nft-chain':
    case 'nft-set':
      return [rowKey(tableOf(row))];
    case 'nft-rule':
      return [rowKey(tableOf(row)), `nft-chain|${row.ns}|${row.family}|${row.table}|${row.chain}`];
    case 'nft-element':
      return [rowKey(tableOf(row)), `nft-set|${row.ns}|${row.family}|${row.table}|${row.set}`];
    default:
      return [];
  }
}

interface Misplaced {
  /** Links that have to go before ours can be made. */
  readonly remove: readonly LinkRow[];
  /** Where something stands that is not ours to remove. */
  readonly blocked: Links;
}

/** Links of another kind than ours, or that lead elsewhere, where ours belong: no change makes them ours. */
function misplaced(
  wanted: readonly KernelObject[],
  seen: ReadonlyMap<string, KernelObject>,
  isNowhere: (ns: string) => boolean,
  { workloads, closed }: Places,
): Misplaced {
  const remove = new Map<string, LinkRow>();
  const blocked = new Set<string>();
  const at = (ns: string, name: string): LinkRow | undefined => {
    const row = seen.get(`link|${ns}|${name}`);
    return row?.kind === 'link' ? row : undefined;
  };
  const otherEnd = (row: LinkRow | undefined): LinkRow | undefined =>
    row?.type === 'veth' ? at(row.peer.ns, row.peer.name) : undefined;
  for (const row of wanted) {
    if (row.kind !== 'link') continue;
    const there = at(row.ns, row.name);
    if (row.type !== 'veth') {
      if (there !== undefined && there.type !== row.type) blocked.add(linkId(row.ns, row.name));
      continue;
    }
    if ([row.ns, row.peer.ns].some((ns) => isNowhere(ns) || closed.has(ns))) {
      blocked.add(linkId(row.ns, row.name)).add(linkId(row.peer.ns, row.peer.name));
      continue;
    }
    const twin = at(row.peer.ns, row.peer.name);
    if (isPair(row, there) && twin !== undefined) continue;
    for (const end of [there, twin]) {
      const far = otherEnd(end);
      if (end === undefined) continue;
      if (end.type !== 'veth' || ![end, far].some((one) => one?.alias.startsWith(OWNER_MARK) === true)) {
        blocked.add(linkId(row.ns, row.name)).add(linkId(row.peer.ns, row.peer.name));
        continue;
      }
      if (far !== undefined && isCredible(end, far, workloads)) {
        for (const one of [end, far]) remove.set(linkId(one.ns, one.name), one);
      } else {
        const id = linkId(end.ns, end.name);
        remove.set(id, remove.get(id) ?? { ...end, peer: NOBODY });
      }
    }
  }
  return { remove: [...remove.values()].filter((one) => !isOn(blocked)(one)), blocked };
}

/**
 * Whether the far end goes by name too, which lets an undo make the pair again. What a workload says its link leads to may be anybody's: then that
 * goes only if it is true, with the end that is removed.
 */
function isCredible(end: LinkRow, far: LinkRow, workloads: ReadonlySet<string>): boolean {
  return workloads.has(far.ns) || (far.ns !== '' && !workloads.has(end.ns));
}

/** Observed rows of which each pair's ends are each other's: of what the other end may be, the one that was recorded is it. */
export function settlePeers(observed: readonly KernelObject[], recorded: readonly KernelObject[]): KernelObject[] {
  if (!observed.some((row) => isVeth(row) && row.candidates !== undefined)) return [...observed];
  const known = new Map(recorded.filter(isVeth).map((row) => [linkId(row.ns, row.name), row.peer]));
  const peers = new Map(
    observed.filter(isVeth).map(({ ns, name, peer, candidates = [] }) => {
      const was = known.get(linkId(ns, name));
      return [linkId(ns, name), candidates.find((one) => was !== undefined && isPlace(one, was)) ?? peer] as const;
    }),
  );
  return observed.map((row) => {
    if (!isVeth(row) || row.candidates === undefined) return row;
    const { candidates: _settled, ...rest } = row;
    const peer = peers.get(linkId(row.ns, row.name)) ?? NOBODY;
    const back = peers.get(linkId(peer.ns, peer.name));
    return { ...rest, peer: back !== undefined && isPlace(back, row) ? peer : NOBODY };
  });
}

function isVeth(row: KernelObject): row is VethRow {
  return row.kind === 'link' && row.type === 'veth';
}

function isPlace(a: VethRow['peer'], b: VethRow['peer']): boolean {
  return a.ns === b.ns && a.name === b.name;
}

function isPair(row: VethRow, there: LinkRow | undefined): boolean {
  return there?.type === 'veth' && isPlace(there.peer, row.peer);
}

/** A link loses its neighbours, permanent ones too, with its MAC address. */
function lostNeighbours(differences: readonly Change[], kept: readonly KernelObject[]): Change[] {
  const renamed: Links = new Set(
    differences.flatMap((change) => {
      if (change.op !== 'update' || change.row.kind !== 'link' || change.old.kind !== 'link') return [];
      return change.old.mac === change.row.mac ? [] : linksOf(change.row);
    }),
  );
  const known = new Set(differences.map(({ row }) => rowKey(row)));
  return kept.flatMap((row): Change[] =>
    row.kind === 'neigh' && isOn(renamed)(row) && !known.has(rowKey(row)) ? [{ op: 'update', row, old: row }] : [],
  );
}

/** Removes links in a way that can be undone: what hangs on them first, then down, then gone. */
function clearing(links: readonly LinkRow[], observed: readonly KernelObject[]): Stage[] {
  const doomed: Links = new Set(links.filter((row) => !isStump(row)).map(({ ns, name }) => linkId(ns, name)));
  const hanging = observed.filter((row) => row.kind !== 'link' && row.kind !== 'sysctl' && isOn(doomed)(row));
  const gone = (row: KernelObject): Change => ({ op: 'delete', row });
  const lowered = links.flatMap((row): Change[] =>
    row.down === true || isStump(row) ? [] : [{ op: 'update', row: { ...row, down: true }, old: row }],
  );
  const routes = hanging.filter(({ kind }) => kind === 'route' || kind === 'neigh').map(gone);
  const rest = [
    ...lowered,
    ...hanging.filter(({ kind }) => kind === 'addr').map(gone),
    ...links.map((row) => gone(isStump(row) ? row : { ...row, down: true })),
  ];
  const stages: Stage[] = [
    { name: 'clear routes', changes: routes },
    { name: 'clear links', changes: rest },
  ];
  return stages.filter(({ changes }) => changes.length > 0);
}
