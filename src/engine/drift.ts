/** Differences between what was recorded and what the kernel has: which there are, whose they are, and what to say of them. Pure. */
import { assertNever } from '../errors.js';
import { EDGE_NS, isRouterLink } from '../lower/names.js';
import { foreignWords, type RowWords, rowWords } from '../lower/words.js';
import type { Reader } from '../model/reader.js';
import { describe } from '../model/resources.js';
import type { Change } from '../objects/change.js';
import {
  isPort,
  type KernelObject,
  type LinkRow,
  type OtherLinkRow,
  type QdiscRow,
  rowKey,
} from '../objects/kernel-object.js';
import { diff } from '../plan/diff.js';
import { isMarkedOurs } from '../plan/repair.js';

/** A difference between what was recorded and what the kernel has. */
export interface Drift {
  /** `missing` from the kernel, `changed` in it, or `foreign`: there, but not recorded. */
  readonly what: 'missing' | 'changed' | 'foreign';
  /** The resource it belongs to, in the model's words; null for what belongs to none. */
  readonly resource: string | null;
  readonly object: string;
  /** The same in one sentence: `instance a/web-1: its link is down`. */
  readonly sentence: string;
  /** It is so because of another difference: what is in a namespace that is missing, or on a link that is. */
  readonly follows: boolean;
  /** `repair` puts it right. Not so: what is foreign and not marked ours. */
  readonly repairable: boolean;
  readonly recorded?: KernelObject;
  readonly observed?: KernelObject;
}

export interface RecordedRow {
  readonly owner: string;
  readonly row: KernelObject;
}

/** What is compared. */
export interface Scope {
  /** Rows of the resources that are looked at. */
  readonly recorded: readonly RecordedRow[];
  /** Keys of rows of all the others: seen, they are neither missing nor foreign. */
  readonly others: ReadonlySet<string>;
  /**
   * Namespaces in which nothing is but what was recorded: routers, the edge, and of the host what is on our link. Not workloads': in those
   * everybody may add what he likes.
   */
  readonly guarded: ReadonlySet<string>;
  /** All VPCs are looked at. Else another process may be at work in one that is not, and have made what nobody has recorded yet. */
  readonly whole: boolean;
}

/** The recorded rows that can be compared: a setting of a module that is not loaded has nothing to differ in. */
export function comparable({ recorded }: Scope, observed: readonly KernelObject[]): KernelObject[] {
  const seen = new Set(observed.map(rowKey));
  return recorded
    .map(({ row }) => row)
    .filter(
      (row) => row.kind !== 'sysctl' || row.optional !== true || seen.has(rowKey(row)) || !seen.has(`netns|${row.ns}`),
    );
}

/** Whether a row that was seen counts though it is recorded for none of the resources looked at. */
export function isExtra({ others, guarded, whole }: Scope, row: KernelObject): boolean {
  if (row.kind === 'sysctl' || row.kind === 'netns' || others.has(rowKey(row)) || !guarded.has(row.ns)) return false;
  // In the edge an instance's public address is routed under the lock of its VPC alone.
  if (!whole && row.ns === EDGE_NS && row.kind === 'route' && isRouterLink(row.link)) return false;
  // Who leads somewhere by our link on the host does so on purpose.
  return row.ns !== '' || row.kind !== 'route' || row.protocol === undefined;
}

/** Whether `repair` removes it. */
export function mayGo(scope: Scope, row: KernelObject): boolean {
  return isExtra(scope, row) && isMarkedOurs(row);
}

/** All differences, explained. */
export function explainDrift(reader: Reader, scope: Scope, observed: readonly KernelObject[]): Drift[] {
  const owners = new Map(scope.recorded.map(({ owner, row }) => [rowKey(row), owner]));
  const wanted = comparable(scope, observed);
  const counted = observed.filter((row) => owners.has(rowKey(row)) || isExtra(scope, row));
  // Of two rows of one key the one that is ours counts.
  const ordered = [...counted].sort((a, b) => Number(isMarkedOurs(b)) - Number(isMarkedOurs(a)));
  const changes = diff(wanted, ordered).sort((a, b) => (rowKey(a.row) < rowKey(b.row) ? -1 : 1));
  const reasons = new Reasons(changes);
  return changes.map((change) => {
    const owner = owners.get(rowKey(change.row));
    const resource = owner === undefined ? undefined : reader.get(owner);
    const words = resource === undefined ? foreignWords(reader, change.row) : rowWords(reader, resource, change.row);
    const common = {
      resource: resource === undefined ? null : describe(resource),
      object: rowKey(change.row).replaceAll('|', ' '),
      sentence: sentence(words, change),
      follows: reasons.covers(change),
      repairable: change.op !== 'create' || isMarkedOurs(change.row),
    };
    switch (change.op) {
      case 'create':
        return { what: 'foreign', ...common, observed: change.row };
      case 'update':
        return { what: 'changed', ...common, recorded: change.old, observed: change.row };
      default:
        return { what: 'missing', ...common, recorded: change.row };
    }
  });
}

function sentence({ whose, what }: RowWords, change: Change): string {
  switch (change.op) {
    case 'create':
      return `${whose}: ${what} is ${isMarkedOurs(change.row) ? 'not recorded' : 'not ours'}`;
    case 'update':
      return change.row.kind === 'nft-rule' || change.row.kind === 'nft-chain' || change.row.kind === 'nft-set'
        ? `${whose}: ${what} was changed`
        : `${whose}: ${what} ${states(change.old, change.row).join(', ')}`;
    default:
      if (change.row.kind === 'nft-rule') return `${whose}: ${what} was changed`;
      return `${whose}: ${what} is missing from the kernel`;
  }
}

/** What is so of the observed row that should not be: `is down`, `is 0 instead of 1`. */
function states(recorded: KernelObject, observed: KernelObject): string[] {
  if (recorded.kind === 'link' && observed.kind === 'link') return linkStates(recorded, observed);
  if (recorded.kind === 'sysctl' && observed.kind === 'sysctl')
    return [`is ${observed.value} instead of ${recorded.value}`];
  if (recorded.kind === 'nft-element') return ['was changed'];
  if (recorded.kind === 'qdisc' && observed.kind === 'qdisc' && recorded.type !== observed.type)
    return [
      `is of another kind, or was made by somebody else: ${observed.type === 'other' ? observed.driver : observed.type}`,
    ];
  return differing(recorded, observed).map(([key, was, is]) =>
    key === 'protocol' ? 'was made by somebody else' : `has ${key} ${is} instead of ${was}`,
  );
}

function differing(recorded: KernelObject, observed: KernelObject): (readonly [string, string, string])[] {
  const was: Readonly<Record<string, unknown>> = { ...recorded };
  const is: Readonly<Record<string, unknown>> = { ...observed };
  const text = (value: unknown): string =>
    value === undefined ? 'none' : typeof value === 'object' ? JSON.stringify(value) : String(value);
  return [...new Set([...Object.keys(was), ...Object.keys(is)])]
    .map((key) => [key, text(was[key]), text(is[key])] as const)
    .filter(([, a, b]) => a !== b);
}

/** Another link has the name besides its own. */
function isOtherName(row: KernelObject): row is OtherLinkRow & { readonly nameOf: string } {
  return row.kind === 'link' && row.type === 'other' && row.nameOf !== undefined;
}

function linkStates(recorded: LinkRow, observed: LinkRow): string[] {
  if (observed.type !== recorded.type) {
    if (isOtherName(observed)) {
      return [`is not there, and cannot be: ${observed.nameOf} is called ${observed.name} too`];
    }
    return [`is of another kind: ${observed.type === 'other' ? observed.driver : observed.type}`];
  }
  return differing(recorded, observed).map(([key, was, is]) => {
    switch (key) {
      case 'down':
        return 'is down';
      case 'master':
        return `is a port of ${is}`;
      case 'strict':
        return 'takes packets of any source';
      case 'answers':
        return 'does not answer for its neighbours at once';
      case 'peer':
        return 'leads elsewhere';
      case 'alias':
        return 'has lost its owner mark';
      case 'mac':
        return `has the MAC address ${is} instead of ${was}`;
      default:
        return `has ${key} ${is} instead of ${was}`;
    }
  });
}

/** What is missing or changed, so that other things are missing or changed with it. */
class Reasons {
  readonly #missing: ReadonlyMap<string, KernelObject>;
  readonly #added: ReadonlySet<string>;
  readonly #links: ReadonlyMap<string, { readonly row: LinkRow; readonly old: LinkRow }>;

  constructor(changes: readonly Change[]) {
    const missing = changes.flatMap((change) =>
      change.op === 'delete' ? [change.row] : change.op === 'update' && isOtherName(change.row) ? [change.old] : [],
    );
    this.#missing = new Map(missing.map((row) => [rowKey(row), row]));
    this.#added = new Set(changes.flatMap(({ op, row }) => (op === 'create' ? [rowKey(row)] : [])));
    this.#links = new Map(
      changes.flatMap((change) => {
        if (change.op !== 'update' || change.row.kind !== 'link' || change.old.kind !== 'link') return [];
        return [[rowKey(change.row), { row: change.row, old: change.old }] as const];
      }),
    );
  }

  covers(change: Change): boolean {
    const { op, row } = change;
    if (op === 'delete') return this.#causes(row).some((key) => this.#missing.has(key) || this.#takesAway(key, row));
    if (op === 'create') return this.#causes(row).some((key) => this.#added.has(key));
    if (op === 'update' && change.old.kind === 'qdisc') return this.#leadsNowhere(change.old);
    if (op !== 'update' || change.old.kind !== 'link' || row.kind !== 'link') return false;
    return row.type === change.old.type && this.#isLeft(change.old);
  }

  /** What came by a link was led through one that is gone. */
  #leadsNowhere(old: QdiscRow): boolean {
    return old.type === 'redirect' && this.#missing.has(`link|${old.ns}|${old.to}`);
  }

  /** A link that is down, has another MAC address or is about to vanish: what the kernel takes away with that. */
  #takesAway(key: string, { kind }: KernelObject): boolean {
    const link = this.#links.get(key);
    if (link === undefined) return false;
    const { row, old } = link;
    return kind === 'neigh' || (kind === 'route' && row.down === true) || (kind === 'sysctl' && this.#isLeft(old));
  }

  /** An end whose other end is gone. */
  #isLeft(old: LinkRow): boolean {
    if (old.type !== 'veth') return false;
    const { ns, name } = old.peer;
    return [`netns|${ns}`, `link|${ns}|${name}`].some((key) => this.#missing.has(key));
  }

  /** The rows without which this one cannot be. */
  #causes(row: KernelObject): string[] {
    const inside = row.kind === 'netns' || row.ns === '' ? [] : [`netns|${row.ns}`];
    const link = (name: string | undefined): string[] => (name === undefined ? [] : [`link|${row.ns}|${name}`]);
    switch (row.kind) {
      case 'netns':
      case 'rule':
        return inside;
      case 'link':
        return [...inside, ...this.#pairCauses(row)];
      case 'addr':
      case 'neigh':
      case 'route':
      case 'qdisc':
        return [...inside, ...link(row.link)];
      case 'sysctl':
        return [...inside, ...link(/^net\/ipv[46]\/(?:conf|neigh)\/([^/]+)\//.exec(row.key)?.[1])];
      case 'nft-table':
        return inside;
      case 'nft-chain':
      case 'nft-set':
        return [...inside, tableKey(row)];
      case 'nft-rule':
        return [...inside, tableKey(row), `nft-chain|${row.ns}|${row.family}|${row.table}|${row.chain}`];
      case 'nft-element':
        return [...inside, tableKey(row), `nft-set|${row.ns}|${row.family}|${row.table}|${row.set}`];
      default:
        return assertNever(row);
    }
  }

  /** Of a pair that is gone, one end is told of, a workload's rather than its port; both go with the namespace of either. */
  #pairCauses(row: LinkRow): string[] {
    if (row.type !== 'veth') return [];
    const { ns, name } = row.peer;
    const other = this.#missing.get(`link|${ns}|${name}`);
    const follows = other?.kind === 'link' && isPort(other) === isPort(row) ? rowKey(row) < rowKey(other) : isPort(row);
    return [`netns|${ns}`, ...(follows ? [`link|${ns}|${name}`] : [])];
  }
}

function tableKey({
  ns,
  family,
  table,
}: {
  readonly ns: string;
  readonly family: string;
  readonly table: string;
}): string {
  return `nft-table|${ns}|${family}|${table}`;
}
