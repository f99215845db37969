/**
 * Changes → ordered stages. The kernel forces the order: an address needs its link, a route a link that is up; the design adds that no packet
 * passes before its filter. So: namespaces with their settings, links, down, with addresses, and beside them the firewall, which names links that need
 * not be there yet → settings of links and modules, links up, routes. Within a stage, changes stand in the order of their {@link rankOf}.
 *
 * A new pair passes nothing until both its ends are up: the end in a new namespace ({@link quietEnds}) comes up with its routes as soon as it is made, and
 * the other decides.
 *
 * What can be undone comes first (`forward`); what cannot, the end of namespaces, links and tables with all that is in them, comes last (`teardown`), after the new state is
 * recorded: a failure before that point leaves the old state, one after it is carried on with.
 */
import { type Change, invert } from '../objects/change.js';
import { isPort, type KernelObject, type LinkRow, rowText } from '../objects/kernel-object.js';

export type StageName = 'clear routes' | 'clear links' | 'build' | 'connect' | 'teardown';

export interface Stage {
  readonly name: StageName;
  readonly changes: readonly Change[];
}

export interface Plan {
  readonly forward: readonly Stage[];
  readonly teardown: Stage;
}

const FORWARD = ['build', 'connect'] as const;

/** A sysctl below conf/<link> or neigh/<link> exists once the link does. */
export function settingLink(key: string): string | undefined {
  const link = /^net\/ipv[46]\/(?:conf|neigh)\/([^/]+)\//.exec(key)?.[1];
  return link === 'all' || link === 'default' ? undefined : link;
}

/** Settings of a module that rules load: connection tracking. */
const MODULE_SETTING = /^net\/netfilter\//;

function stageOf(change: Change, quiet: ReadonlySet<string>): StageName {
  const { row } = change;
  if (change.op === 'raise') return quiet.has(`${change.row.ns}/${change.row.name}`) ? 'build' : 'connect';
  switch (row.kind) {
    case 'netns':
      return change.op === 'delete' ? 'teardown' : 'build';
    case 'link':
      if (change.op === 'delete') return 'teardown';
      return isRise(change) ? 'connect' : 'build';
    case 'sysctl':
      return settingLink(row.key) === undefined && !MODULE_SETTING.test(row.key) ? 'build' : 'connect';
    case 'route':
    case 'neigh':
      return change.op === 'create' && quiet.has(`${row.ns}/${row.link}`) ? 'build' : 'connect';
    case 'rule':
      return 'connect';
    case 'qdisc':
      // What is led through a link that is down is lost.
      return row.hook === 'ingress' ? 'connect' : 'build';
    case 'nft-table':
      return change.op === 'delete' ? 'teardown' : 'build';
    default:
      return 'build';
  }
}

/** Of each pair that is made, one end that is no port and whose namespace is made too: `namespace/link`. */
function quietEnds(changes: readonly Change[]): Set<string> {
  const namespaces = new Set<string>();
  const made = new Set<string>();
  for (const { op, row } of changes) {
    if (op !== 'create') continue;
    if (row.kind === 'netns') namespaces.add(row.ns);
    if (row.kind === 'link') made.add(`${row.ns}/${row.name}`);
  }
  const quiet = new Set<string>();
  for (const { op, row } of changes) {
    if (op !== 'create' || row.kind !== 'link' || row.type !== 'veth' || isPort(row)) continue;
    const other = `${row.peer.ns}/${row.peer.name}`;
    if (namespaces.has(row.ns) && made.has(other) && !quiet.has(other)) quiet.add(`${row.ns}/${row.name}`);
  }
  return quiet;
}

/** The order within a stage: namespaces before what is set in them; settings, then links up, then what needs a link that is up. */
function rankOf(change: Change): number {
  const { op, row } = change;
  if (op === 'raise' || isRise(change)) return 2;
  if (row.kind === 'netns') return 0;
  return row.kind === 'route' || row.kind === 'rule' || row.kind === 'neigh' || row.kind === 'qdisc' ? 3 : 1;
}

/** Orders changes. Rows that vanish with their namespace or link are not deleted one by one. */
export function plan(changes: readonly Change[]): Plan {
  const gone = vanishing(changes);
  const quiet = quietEnds(changes);
  const stages = new Map<StageName, Change[]>();
  const push = (change: Change): void => {
    const name = stageOf(change, quiet);
    const known = stages.get(name);
    if (known === undefined) stages.set(name, [change]);
    else known.push(change);
  };
  for (const change of changes) {
    if (change.op === 'delete' && gone(change.row)) continue;
    if (isRaising(change)) {
      for (const step of raisingSteps(change)) push(step);
      continue;
    }
    push(change);
    if (change.op === 'create' && change.row.kind === 'link') push({ op: 'raise', row: change.row });
  }
  return {
    forward: FORWARD.flatMap((name) => {
      const found = stages.get(name);
      return found === undefined ? [] : [{ name, changes: found.sort((a, b) => rankOf(a) - rankOf(b)) }];
    }),
    teardown: { name: 'teardown', changes: stages.get('teardown') ?? [] },
  };
}

type Raising = { readonly op: 'update'; readonly row: LinkRow; readonly old: LinkRow };

/** A link that is there, down, and is to be up. */
function isRaising(change: Change): change is Raising {
  return change.op === 'update' && change.row.kind === 'link' && change.old.kind === 'link' && change.old.down === true;
}

/** What else differs first, while it is down; then up. Undone, it is down before its other properties are as they were. */
function raisingSteps({ row, old }: Raising): Raising[] {
  const still: LinkRow = { ...row, down: true };
  const rest: Raising[] = rowText(still) === rowText(old) ? [] : [{ op: 'update', row: still, old }];
  return [...rest, { op: 'update', row, old: still }];
}

/** The step that brings a link up. */
function isRise(change: Change): boolean {
  return isRaising(change) && change.row.down !== true;
}

/** Whether a row goes by itself when the rest of the plan is carried out. */
function vanishing(changes: readonly Change[]): (row: KernelObject) => boolean {
  const namespaces = new Set<string>();
  const links = new Set<string>();
  const tables = new Set<string>();
  for (const change of changes) {
    if (change.op !== 'delete') continue;
    const { row } = change;
    if (row.kind === 'netns') namespaces.add(row.ns);
    if (row.kind === 'link') links.add(`${row.ns}/${row.name}`);
    if (row.kind === 'nft-table') tables.add(`${row.ns}/${row.family}/${row.table}`);
  }
  const linkGoes = (ns: string, link: string | undefined): boolean => link !== undefined && links.has(`${ns}/${link}`);
  return (row) => {
    switch (row.kind) {
      case 'netns':
        return false;
      case 'link':
        return vanishesWithOther(row, namespaces, links);
      case 'addr':
      case 'neigh':
      case 'route':
      case 'qdisc':
        return namespaces.has(row.ns) || linkGoes(row.ns, row.link);
      case 'sysctl':
        return namespaces.has(row.ns) || linkGoes(row.ns, settingLink(row.key));
      case 'rule':
      case 'nft-table':
        return namespaces.has(row.ns);
      default:
        return namespaces.has(row.ns) || tables.has(`${row.ns}/${row.family}/${row.table}`);
    }
  };
}

/**
 * A veth goes with its peer. The end in a namespace that stays is deleted by name (a namespace's own end is asynchronous); of
 * two ends in namespaces that both go, neither; of two that both stay, the first by name.
 */
function vanishesWithOther(row: LinkRow, namespaces: ReadonlySet<string>, links: ReadonlySet<string>): boolean {
  if (namespaces.has(row.ns)) return true;
  if (row.type !== 'veth') return false;
  const { peer } = row;
  if (!links.has(`${peer.ns}/${peer.name}`) || namespaces.has(peer.ns)) return false;
  return `${peer.ns}/${peer.name}` < `${row.ns}/${row.name}`;
}

/** The stages that undo `done`, latest first. */
export function rollback(done: readonly Stage[]): Stage[] {
  return [...done].reverse().map(({ name, changes }) => ({
    name,
    changes: [...changes].reverse().flatMap((change) => invert(change) ?? []),
  }));
}

export function countChanges(plan: Plan): { create: number; update: number; delete: number } {
  const count = { create: 0, update: 0, delete: 0 };
  for (const { changes } of [...plan.forward, plan.teardown]) {
    for (const { op } of changes) if (op !== 'raise') count[op === 'replace' ? 'update' : op] += 1;
  }
  return count;
}
