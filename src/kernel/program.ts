/** Changes of links, addresses, routes and the rest → ops of the addon, and the ops' results back to changes. */
import { assertNever, VpcctlError } from '../errors.js';
import { LEAST_MTU6 } from '../net/ip6.js';
import { addAddr, deleteAddr } from '../netlink/addr.js';
import { Batch } from '../netlink/batch.js';
import { askLink, createIfb, createVeth, deleteLink, deleteLinkGroup, setLink } from '../netlink/link.js';
import { addNeigh, deleteNeigh } from '../netlink/neigh.js';
import { setProxyDelay } from '../netlink/neightbl.js';
import { addRedirect, deleteIngress, deleteQdisc, setQdisc } from '../netlink/qdisc.js';
import { addRoute, deleteRoute, replaceRoute } from '../netlink/route.js';
import { addRule, deleteRule } from '../netlink/rule.js';
import type { Change } from '../objects/change.js';
import { type KernelObject, type LinkRow, NETNS_DIR, type QdiscRow, ROUTE_PROTOCOL } from '../objects/kernel-object.js';
import type { Lingering } from './kernel.js';
import type { NativeOp, NativeResult } from './native.js';
import { confOf, isLinkUpdate, updateLink } from './relink.js';

/** Link group by which a namespace's links are deleted in one go. */
const DOOMED_GROUP = 0x76706364;

/** Namespaces that are open while one batch is sent: descriptors are few before the kernel takes its time to make room for more (native/program.cc). */
const MOST_NAMESPACES = 8;

export function netnsPath(ns: string): string {
  return ns === '' ? '' : `${NETNS_DIR}/${ns}`;
}

/** Who asked for a message. `effect`: its success means that the change did something; it does not; or its failure does not matter either. */
interface Author {
  readonly change: Change;
  readonly effect: Effect;
}

type Effect = 'does' | 'helps' | 'may fail';

type PlannedOp =
  | { readonly kind: 'plain'; readonly op: NativeOp; readonly author: Author }
  | { readonly kind: 'netlink'; readonly netns: string; readonly batch: Batch; readonly authors: Author[] };

/** The result of a program in terms of changes. */
export interface Outcome {
  readonly applied: Change[];
  /** Namespaces that were deleted and live on. */
  readonly lingering: readonly Lingering[];
  readonly error?: VpcctlError;
}

/** Ops in the making, and who asked for each. Messages to one namespace collect in one batch until {@link Program.barrier}. */
export class Program {
  readonly #planned: PlannedOp[] = [];
  #ops: readonly NativeOp[] | undefined;
  #open = new Map<string, Extract<PlannedOp, { kind: 'netlink' }>>();

  /** What follows is sent after all before. */
  barrier(): void {
    this.#open = new Map();
  }

  plain(op: NativeOp, change: Change): void {
    this.#planned.push({ kind: 'plain', op, author: { change, effect: 'does' } });
  }

  netlink(netns: string, change: Change, effect: Effect, write: (batch: Batch) => void): void {
    let planned = this.#open.get(netns);
    if (planned === undefined || planned.batch.namespaces >= MOST_NAMESPACES) {
      planned = { kind: 'netlink', netns, batch: new Batch(), authors: [] };
      this.#open.set(netns, planned);
      this.#planned.push(planned);
    }
    write(planned.batch);
    while (planned.authors.length < planned.batch.count) planned.authors.push({ change, effect });
  }

  ops(): readonly NativeOp[] {
    this.#ops ??= this.#planned.map((planned) =>
      planned.kind === 'plain'
        ? planned.op
        : { op: 'netlink', netns: netnsPath(planned.netns), ...planned.batch.finish() },
    );
    return this.#ops;
  }

  outcome(results: readonly NativeResult[], tolerant: boolean, errnoName: (errno: number) => string): Outcome {
    const applied = new Set<Change>();
    const lingering: Lingering[] = [];
    let error: VpcctlError | undefined;
    const fail = (author: Author, errno: number, where: string | undefined, extack: string | undefined): void => {
      if (author.effect === 'may fail') return;
      const name = errnoName(errno);
      if (tolerant && isNoNamespace(name, where)) return;
      if (isMoot(author.change, name, tolerant)) return;
      error ??= refusal(author.change, name, where, extack);
    };
    for (const [index, planned] of this.#planned.entries()) {
      const result = results[index];
      if (result === undefined) break;
      if (planned.kind === 'plain') {
        if (result.errno === 0) applied.add(planned.author.change);
        else fail(planned.author, result.errno, result.where, undefined);
        if (planned.op.op === 'netns-delete' && result.value !== undefined) {
          lingering.push({ ns: planned.author.change.row.ns, token: result.value });
        }
        continue;
      }
      if (result.errno !== 0 && planned.authors[0] !== undefined) {
        fail(planned.authors[0], result.errno, result.where, undefined);
      }
      for (const [at, ack] of (result.acks ?? []).entries()) {
        const author = planned.authors[at];
        if (author === undefined) continue;
        if (ack.errno === 0) {
          if (author.effect === 'does') applied.add(author.change);
        } else if (errnoName(ack.errno) !== 'ECANCELED') fail(author, ack.errno, undefined, ack.extack);
      }
    }
    return { applied: [...withTwins(applied, this.#planned)], lingering, ...(error === undefined ? {} : { error }) };
  }
}

/** A veth that is deleted takes its other end with it: that deletion finds nothing, and yet it is done. */
function withTwins(applied: Set<Change>, planned: readonly PlannedOp[]): Set<Change> {
  const gone = new Set<string>();
  for (const { op, row } of applied) {
    if (op === 'delete' && row.kind === 'link' && row.type === 'veth') gone.add(`${row.peer.ns}/${row.peer.name}`);
  }
  if (gone.size === 0) return applied;
  for (const one of planned) {
    for (const { change } of one.kind === 'plain' ? [one.author] : one.authors) {
      const { op, row } = change;
      if (op === 'delete' && row.kind === 'link' && gone.has(`${row.ns}/${row.name}`)) applied.add(change);
    }
  }
  return applied;
}

/** A namespace that is not pinned, or a file that a killed process made to pin one on and did not get to (EINVAL of setns). */
function isNoNamespace(errno: string, where: string | undefined): boolean {
  return (errno === 'ENOENT' || errno === 'EINVAL') && /^(?:netns|open|setns) /.test(where ?? '');
}

/** What is to be deleted is gone already; or, where that is tolerated, what is to be made is there: of updates, a rule is made anew. */
function isMoot(change: Change, errno: string, tolerant: boolean): boolean {
  if (change.op === 'delete') {
    // Only what is no virtual link cannot be deleted: the loopback, say, that has been given the name of ours, which is gone, as an altname.
    if (errno === 'EOPNOTSUPP') return change.row.kind === 'link';
    // Another queue, somebody's, is in the place of ours.
    if (errno === 'EINVAL') return change.row.kind === 'qdisc';
    return ['ENOENT', 'ESRCH', 'ENODEV', 'EADDRNOTAVAIL'].includes(errno);
  }
  return tolerant && (change.op === 'create' || change.op === 'update') && errno === 'EEXIST';
}

function placeOf({ ns, name }: { readonly ns: string; readonly name: string }): string {
  return ns === '' ? name : `${ns}/${name}`;
}

function describeRow(row: KernelObject): string {
  const at = 'ns' in row && row.ns !== '' ? `${row.ns}/` : '';
  switch (row.kind) {
    case 'netns':
      return `namespace ${row.ns}`;
    case 'link':
      return `link ${placeOf(row)}`;
    case 'addr':
      return `address ${row.addr} on ${at}${row.link}`;
    case 'route':
      return `route ${row.dst} in ${at === '' ? 'the host' : row.ns}`;
    case 'rule':
      return `rule from ${row.from} in ${row.ns}`;
    case 'neigh':
      return `neighbour ${row.ip} on ${at}${row.link}`;
    case 'qdisc':
      return `queue ${row.type} of ${at}${row.link}`;
    case 'sysctl':
      return `sysctl ${row.key} in ${at === '' ? 'the host' : row.ns}`;
    default:
      return `${row.kind} ${row.table} in ${at === '' ? 'the host' : row.ns}`;
  }
}

const VERBS = { create: 'create', update: 'change', delete: 'delete', raise: 'bring up', replace: 'replace' } as const;

function hintFor(change: Change, errno: string): string | undefined {
  if (errno === 'EPERM' || errno === 'EACCES') return 'run as root, or in a user namespace of your own (unshare -rnm)';
  if (errno === 'EEXIST' && change.op === 'create') {
    const { row } = change;
    const other = row.kind === 'link' && row.type === 'veth' ? `, or that of its other end ${placeOf(row.peer)}` : '';
    return `something that is not ours has that name${other}: remove or rename it, and try again`;
  }
  const lacking = change.op === 'delete' ? undefined : lackingModule(change.row, errno);
  if (lacking !== undefined) return lacking;
  if (errno === 'EOPNOTSUPP') return 'run `vpcctl doctor` to see which kernel feature is missing';
  return undefined;
}

/** The kernel does not know the kind of queue or link (ENOENT, EOPNOTSUPP): its module is neither there nor to be loaded. */
function lackingModule(row: KernelObject, errno: string): string | undefined {
  if (errno !== 'ENOENT' && errno !== 'EOPNOTSUPP') return undefined;
  if (row.kind === 'link' && row.type === 'ifb') return `this kernel has no ifb (CONFIG_IFB): ${NO_SHAPING}`;
  if (row.kind !== 'qdisc') return undefined;
  switch (row.type) {
    case 'netem':
      return 'this kernel has no sch_netem (CONFIG_NET_SCH_NETEM): load the module, or leave out delay, jitter and loss';
    case 'tbf':
      return `this kernel has no sch_tbf (CONFIG_NET_SCH_TBF): ${NO_SHAPING}`;
    default:
      return `this kernel lacks sch_ingress, cls_u32 or act_mirred: ${NO_SHAPING}`;
  }
}

const NO_SHAPING = 'load the module, or leave out the bandwidth';

function refusal(change: Change, errno: string, where: string | undefined, extack: string | undefined): VpcctlError {
  const object = describeRow(change.row);
  const hint = hintFor(change, errno);
  const privilege = errno === 'EPERM' || errno === 'EACCES';
  return new VpcctlError(privilege ? 'ENVIRONMENT' : 'KERNEL', `could not ${VERBS[change.op]} ${object}`, {
    object,
    errno,
    netns: change.row.ns,
    ...(change.op === 'create' && change.row.kind === 'link' && change.row.type === 'veth'
      ? { peerNetns: change.row.peer.ns }
      : {}),
    ...(extack === undefined && where === undefined ? {} : { extack: extack ?? `at ${where}` }),
    ...(hint === undefined ? {} : { hint }),
  });
}

/** The program for the changes of one stage that are not the firewall's. `spares`: numbers of those that become namespaces that are made. */
export function compile(changes: readonly Change[], spares?: ReadonlyMap<string, number>): Program {
  const program = new Program();
  // Links first: what configures and addresses them is resolved by name when it is sent.
  const pairs = new Map<string, Change>();
  for (const change of changes) {
    if (change.op === 'create' && change.row.kind === 'link') createLink(program, change, change.row, pairs);
  }
  program.barrier();
  for (const change of changes) write(program, change, spares);
  program.barrier();
  wakeOthers(program, changes);
  deleteLinks(program, changes);
  for (const change of changes) {
    if (change.op === 'delete' && change.row.kind === 'netns') {
      program.plain({ op: 'netns-delete', path: netnsPath(change.row.ns) }, change);
    }
  }
  program.ops();
  return program;
}

function createLink(program: Program, change: Change, row: LinkRow, pairs: Map<string, Change>): void {
  if (row.type === 'other') throw new Error(`a link of kind ${row.driver} is never made`);
  if (row.type === 'ifb') {
    program.netlink(row.ns, change, 'does', (batch) => createIfb(batch, row));
    return;
  }
  const { peer } = row;
  const other = pairs.get(`${row.ns}/${row.name}`);
  if (other !== undefined && other.op === 'create' && other.row.kind === 'link') {
    const first = other.row;
    program.netlink(first.ns, other, 'does', (batch) =>
      createVeth(batch, {
        name: first.name,
        mac: first.mac,
        mtu: first.mtu,
        peer: { name: row.name, mac: row.mac, mtu: row.mtu, netns: netnsPath(row.ns) },
      }),
    );
    return;
  }
  pairs.set(`${peer.ns}/${peer.name}`, change);
}

function write(program: Program, change: Change, spares: ReadonlyMap<string, number> | undefined): void {
  const { op, row } = change;
  switch (row.kind) {
    case 'netns':
      if (op === 'create') {
        const spare = spares?.get(row.ns);
        program.plain(
          { op: 'netns-create', path: netnsPath(row.ns), ...(spare === undefined ? {} : { spare }) },
          change,
        );
      }
      return;
    case 'link':
      if (op === 'raise')
        program.netlink(row.ns, change, 'does', (batch) => setLink(batch, { name: row.name, up: true }));
      else if (isLinkUpdate(change)) updateLink(program, change);
      else if (op !== 'delete') configureLink(program, change, row);
      return;
    case 'addr':
      program.netlink(row.ns, change, 'does', (batch) =>
        op === 'delete' ? deleteAddr(batch, row) : addAddr(batch, row),
      );
      return;
    case 'route': {
      const route = { protocol: ROUTE_PROTOCOL, ...row };
      program.netlink(row.ns, change, 'does', (batch) => {
        if (op === 'delete') deleteRoute(batch, route);
        else if (op === 'update') replaceRoute(batch, route);
        else addRoute(batch, route);
      });
      return;
    }
    case 'rule': {
      const old = op === 'update' && change.old.kind === 'rule' ? change.old : undefined;
      // Undone after a crash, it may never have been made.
      if (old !== undefined)
        program.netlink(row.ns, { op: 'delete', row: old }, 'helps', (batch) => deleteRule(batch, old));
      program.netlink(row.ns, change, 'does', (batch) =>
        op === 'delete' ? deleteRule(batch, row) : addRule(batch, row),
      );
      return;
    }
    case 'neigh':
      program.netlink(row.ns, change, 'does', (batch) =>
        op === 'delete' ? deleteNeigh(batch, row) : addNeigh(batch, { ...row, replace: true }),
      );
      return;
    case 'qdisc':
      writeQdisc(program, change, row);
      return;
    case 'sysctl': {
      const value = op === 'delete' ? row.restore : row.value;
      if (value === undefined) return;
      const optional = row.optional === true ? { optional: true } : {};
      program.plain({ op: 'sysctl-write', netns: netnsPath(row.ns), key: row.key, value, ...optional }, change);
      return;
    }
    case 'nft-table':
    case 'nft-chain':
    case 'nft-set':
    case 'nft-rule':
    case 'nft-element':
      throw new Error(`${row.kind} is no netlink object`);
    default:
      assertNever(row);
  }
}

function writeQdisc(program: Program, change: Change, row: QdiscRow): void {
  const deleting = change.op === 'delete';
  switch (row.type) {
    case 'tbf':
    case 'netem':
      program.netlink(row.ns, change, 'does', (batch) => (deleting ? deleteQdisc(batch, row) : setQdisc(batch, row)));
      return;
    case 'redirect':
      // Another one has the same handle: it goes first. Undone after a crash, there may be none.
      if (change.op === 'update')
        program.netlink(row.ns, { op: 'delete', row }, 'helps', (batch) => deleteIngress(batch, row));
      program.netlink(row.ns, change, 'does', (batch) =>
        deleting ? deleteIngress(batch, row) : addRedirect(batch, row),
      );
      return;
    case 'other':
      throw new Error(`a queue of kind ${row.driver} is never made`);
    default:
      assertNever(row);
  }
}

/** A link that comes up gives its peer a carrier: that is to send at once. Where both are only made, none has one yet. */
function wakeOthers(program: Program, changes: readonly Change[]): void {
  const names = new Set(
    changes.flatMap(({ op, row }) => (op === 'create' && row.kind === 'link' ? [`${row.ns}/${row.name}`] : [])),
  );
  const wake = (change: Change, ns: string, name: string): void => {
    if (names.has(`${ns}/${name}`)) return;
    names.add(`${ns}/${name}`);
    program.netlink(ns, change, 'may fail', (batch) => askLink(batch, { name }));
  };
  for (const change of changes) {
    const { op, row } = change;
    if (op !== 'raise' || row.type !== 'veth') continue;
    wake(change, row.peer.ns, row.peer.name);
  }
}

/** What of a new link cannot be told when it is created. */
function configureLink(program: Program, change: Change, row: LinkRow): void {
  program.netlink(row.ns, change, 'helps', (batch) => {
    setLink(batch, {
      name: row.name,
      alias: row.alias,
      // Else the link has no IPv6, and cannot be told (EAFNOSUPPORT).
      ...(row.mtu < LEAST_MTU6 ? {} : { addrGenMode: 'none' }),
      ...(row.type === 'veth' ? confOf(row, {}) : {}),
    });
    if (row.type === 'veth' && row.answers === true) setProxyDelay(batch, { link: row.name, ms: 0 });
  });
}

/** One by one costs an RCU grace period each (about 20 ms); by group, one for all. */
function deleteLinks(program: Program, changes: readonly Change[]): void {
  const byNs = new Map<string, Change[]>();
  for (const change of changes) {
    if (change.op !== 'delete' || change.row.kind !== 'link') continue;
    byNs.set(change.row.ns, [...(byNs.get(change.row.ns) ?? []), change]);
  }
  for (const [ns, doomed] of byNs) {
    const [first] = doomed;
    if (first === undefined) continue;
    const grouped = doomed.length > 1 && ns !== '';
    for (const change of doomed) {
      if (change.row.kind !== 'link') continue;
      const { name } = change.row;
      program.netlink(ns, change, 'does', (batch) =>
        grouped ? setLink(batch, { name, group: DOOMED_GROUP }) : deleteLink(batch, { name }),
      );
    }
    if (grouped) program.netlink(ns, first, 'does', (batch) => deleteLinkGroup(batch, DOOMED_GROUP));
  }
}
