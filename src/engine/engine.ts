/**
 * One transaction: run the caller's edits on a draft → settle → lower what was touched → diff with what is recorded → plan → lock → journal → carry out,
 * stage by stage → commit → tear down. A failure before the commit undoes what was done; after it, the journal carries on at the next chance.
 *
 * Edits run before any lock is taken, on a snapshot, to learn which VPCs they touch. With the locks held they run again if one of those VPCs has
 * changed since: so the edits of a transaction must depend on nothing but the draft.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { VpcctlError } from '../errors.js';
import type { Holder, HostView, Kernel, Lingering, StageFailure } from '../kernel/kernel.js';
import { lower } from '../lower/lower.js';
import { HOST_LINK } from '../lower/names.js';
import { namespaceWords } from '../lower/words.js';
import { peeringsOf } from '../model/lookup.js';
import { Draft, type Edit, findKind, has } from '../model/reader.js';
import { EDGE_ID, INSTALLATION_SCOPE, ids, listOf, type Resource, scopesOf } from '../model/resources.js';
import { type HostFacts, needsHostFacts, settle } from '../model/settle.js';
import { ANY_CIDR, ANY_CIDR6, type AnyCidr, parseAnyIpOrCidr } from '../net/cidr.js';
import { type Change, isBirth } from '../objects/change.js';
import type { KernelObject } from '../objects/kernel-object.js';
import { diff } from '../plan/diff.js';
import { type Plan, plan, rollback, type Stage } from '../plan/plan.js';
import { replaceTables, rowsOfTable } from '../plan/tables.js';
import { DIRECTORY_MADE, isOtherBoot } from './boot.js';
import { type Cut, carryOut, cutsOf } from './cut.js';
import { undoFixes } from './fixes.js';
import type { Locking } from './locks.js';
import type { Resolver } from './resolver.js';
import { type Intent, type JournalEntry, LostRace, type LoweredResource, type Store } from './store.js';

/** Progress of a transaction. */
export type EngineEvent =
  | {
      readonly type: 'stage';
      readonly stage: string;
      readonly index: number;
      readonly total: number;
      readonly changes: number;
    }
  | { readonly type: 'cut'; readonly connections: number }
  | { readonly type: 'rollback'; readonly stage: string; readonly reason: string }
  /** Everything is done, but the resolver of some VPC does not answer. */
  | { readonly type: 'unresolved'; readonly error: VpcctlError }
  /** Everything is done, but for this: what `doctor --fix` did could not be taken back. `doctor --undo` tries again. */
  | { readonly type: 'fix-kept'; readonly error: VpcctlError }
  | HeldEvent
  | { readonly type: 'recovered'; readonly what: 'undone' | 'finished'; readonly scopes: readonly string[] }
  /** What a dead process began in these scopes could not be ended: they stay as they are, and cannot be changed, until that is possible. */
  | { readonly type: 'unrecovered'; readonly scopes: readonly string[]; readonly error: VpcctlError };

/** A namespace that was deleted lives on, without name and links of ours, because somebody holds it. */
export interface HeldEvent extends HeldView {
  readonly type: 'held';
}

export interface HeldView {
  /** `instance a/web-1`, `vpc a` (its router), `edge`. */
  readonly what: string;
  /** The name that it had. */
  readonly namespace: string;
  /** At least one. */
  readonly holders: readonly Holder[];
}

export interface EngineOptions {
  readonly signal?: AbortSignal;
  /** End tracked connections that are no longer admitted. */
  readonly cut?: boolean;
  readonly onEvent?: (event: EngineEvent) => void;
  /** Takes what a teardown left alive, to {@link Engine.verify} it without locks. Without it, that is done with them. */
  readonly onLingering?: (found: readonly Lingering[]) => void;
}

/** A transaction worked out, nothing done yet. */
export interface Prepared<T> {
  readonly result: T;
  readonly edits: readonly Edit[];
  readonly changes: readonly Change[];
  readonly plan: Plan;
  readonly lowered: readonly LoweredResource[];
  readonly versions: ReadonlyMap<string, number>;
}

/** How often a transaction starts over because another one came first. */
const ATTEMPTS = 20;
/** Before it does, so that rivals do not stay in step. */
const LONGEST_PAUSE_MS = 30;

export class Engine {
  constructor(
    readonly store: Store,
    readonly kernel: Kernel,
    readonly locks: Locking,
    /** Absent where no programs run in the kernel's namespaces. */
    readonly resolver?: Resolver,
  ) {}

  /** Works a transaction out on what is recorded now. */
  async prepare<T>(edit: (draft: Draft) => T): Promise<Prepared<T>> {
    const first = this.store.reading(() => {
      const draft = new Draft(this.store);
      const result = edit(draft);
      if (!needsHostFacts(draft)) return this.#complete(draft, result, undefined);
      return { draft, result, stamp: this.store.stamp() };
    });
    if (!('draft' in first)) return first;
    const facts = hostFacts(await this.kernel.host());
    return this.store.reading(() => {
      if (this.store.stamp() === first.stamp) return this.#complete(first.draft, first.result, facts);
      const draft = new Draft(this.store);
      return this.#complete(draft, edit(draft), facts);
    });
  }

  /** All that is read for a transaction is read from one state, and so are the versions: where they still hold, so does the rest. */
  #complete<T>(draft: Draft, result: T, facts: HostFacts | undefined): Prepared<T> {
    settle(draft, facts);
    const edits = draft.edits();
    const scopes = new Set([
      ...edits.flatMap((one) => [...scopesOfEdit(one), ...scopesRead(draft, one)]),
      ...[...draft.touched].flatMap((id) => {
        const resource = draft.get(id);
        return resource === undefined ? [] : [...scopesOf(resource), ...peersNamed(draft, resource)];
      }),
    ]);
    const lowered = this.#lower(draft, edits);
    const differences = diff(
      lowered.flatMap(({ before }) => before),
      lowered.flatMap(({ rows }) => rows),
    );
    // Chains differ only where another version of this program recorded them: then all that is in their table is looked up.
    const changes = replaceTables(differences, (table) =>
      rowsOfTable(
        table,
        this.store.rows().map(({ row }) => row),
      ),
    );
    return { result, edits, changes, plan: plan(changes), lowered, versions: this.store.versions([...scopes]) };
  }

  /** Whether a transaction worked out without locks is still what it would be with them. */
  #isCurrent({ versions }: Prepared<unknown>): boolean {
    return [...this.store.versions([...versions.keys()])].every(([scope, version]) => versions.get(scope) === version);
  }

  #lower(draft: Draft, edits: readonly Edit[]): LoweredResource[] {
    const created = new Set(edits.flatMap(({ id, before }) => (before === undefined ? [id] : [])));
    // What is in a VPC that goes, goes with its namespaces.
    const swept = new Set(edits.flatMap((edit) => (isSwept(draft, edit) ? [edit.id] : [])));
    return [...new Set([...edits.map(({ id }) => id), ...draft.touched])].map((id) => {
      const resource = draft.get(id);
      return {
        id,
        before: created.has(id) ? [] : swept.has(id) ? this.store.rowsBeyond(id) : this.store.rowsOf(id),
        rows: resource === undefined ? [] : lower(draft, resource),
      };
    });
  }

  /** Works a transaction out and carries it out. Nothing to change: nothing is locked, written or done. */
  async transact<T>(edit: (draft: Draft) => T, options: EngineOptions = {}): Promise<Prepared<T>> {
    this.#checkAborted(options.signal);
    const first = await this.prepare(edit);
    if (first.edits.length === 0 && first.changes.length === 0) return first;
    return this.#locked([...first.versions.keys()], options, async (scopes, again) => {
      const prepared = !again && this.#isCurrent(first) ? first : await this.prepare(edit);
      const further = [...prepared.versions.keys()].filter((scope) => !scopes.includes(scope));
      if (further.length > 0) return { further };
      await this.#execute(prepared, options);
      return { done: prepared };
    });
  }

  /** Carries out what `prepare` works out under the locks of `scopes()`. Nothing to do: nothing is written. */
  async carryOut<T>(
    scopes: () => readonly string[],
    prepare: (versions: ReadonlyMap<string, number>) => Promise<Prepared<T>>,
    options: EngineOptions = {},
  ): Promise<Prepared<T>> {
    return this.withLocks(scopes, options, async () => {
      const prepared = await prepare(this.store.versions(scopes()));
      this.#checkAborted(options.signal);
      await this.#execute(prepared, options);
      return prepared;
    });
  }

  /** Runs `body` with the locks of `scopes()`; what dead processes began is ended first. */
  async withLocks<T>(scopes: () => readonly string[], options: EngineOptions, body: () => Promise<T>): Promise<T> {
    return this.#locked(scopes(), options, async (held) => {
      const further = scopes().filter((scope) => !held.includes(scope));
      return further.length > 0 ? { further } : { done: await body() };
    });
  }

  /**
   * Runs `body` with the locks of these scopes, and of those that it asks for besides; `again` after it lost a race. What dead processes began in them is
   * ended first.
   */
  async #locked<T>(
    first: readonly string[],
    options: EngineOptions,
    body: (
      scopes: readonly string[],
      again: boolean,
    ) => Promise<{ readonly done: T } | { readonly further: readonly string[] }>,
  ): Promise<T> {
    let scopes = first;
    let lost: LostRace | undefined;
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const held = await this.#lock(scopes, options);
      scopes = held.scopes;
      try {
        const outcome = await body(scopes, lost !== undefined);
        if ('done' in outcome) return outcome.done;
        scopes = [...new Set([...scopes, ...outcome.further])];
        continue;
      } catch (error) {
        if (!(error instanceof LostRace)) throw error;
        lost = error;
      } finally {
        held.release();
      }
      await sleep(Math.random() * LONGEST_PAUSE_MS);
    }
    throw new VpcctlError('CONFLICT', 'other changes kept coming first', {
      ...(lost === undefined ? {} : { extack: lost.message }),
      hint: 'try again when they have finished',
    });
  }

  /** Takes the locks of the scopes, and of those that a dead process was changing with them; ends what that had begun. */
  async #lock(scopes: readonly string[], options: EngineOptions): Promise<{ scopes: string[]; release: () => void }> {
    for (let wanted = [...scopes]; ; ) {
      this.#checkAborted(options.signal);
      const release = await this.locks.acquire(wanted, options.signal).catch((error: unknown) => {
        throw options.signal?.aborted === true ? aborted() : error;
      });
      try {
        const unfinished = this.store.unfinished(wanted);
        const further = unfinished.flatMap((one) => one.scopes).filter((scope) => !wanted.includes(scope));
        if (further.length === 0) {
          for (const { entry, scopes: own } of unfinished) await this.#recover(entry, own, options);
          return { scopes: wanted, release };
        }
        wanted = [...new Set([...wanted, ...further])];
      } catch (error) {
        release();
        throw error;
      }
      release();
    }
  }

  /** Ends connections of these VPCs that are no longer admitted; how many. */
  async cut(vpcs: readonly string[], options: EngineOptions = {}): Promise<number> {
    const cuts = vpcs.map((vpc): Cut => ({ vpc, addresses: [], refused: true }));
    return this.withLocks(
      () => vpcs,
      options,
      () => carryOut(cuts, this.store, this.kernel),
    );
  }

  #checkAborted(signal: AbortSignal | undefined): void {
    if (signal?.aborted === true) throw aborted();
  }

  async #execute<T>(prepared: Prepared<T>, options: EngineOptions): Promise<void> {
    const { edits, lowered, versions } = prepared;
    const { forward, teardown } = await this.#withHostState(prepared.plan);
    const cuts = cutsOf(this.store, edits, options.cut === true);
    const after = cuts.length > 0 || teardown.changes.length > 0;
    if (forward.length === 0 && !after) {
      if (edits.length > 0) {
        const id = this.store.begin(versions, prepared.plan, edits);
        this.store.commit(id, versions.keys(), edits, lowered, false);
        await this.#tellResolver(edits, options);
      }
      return;
    }
    await this.#refuseForeign(forward);
    await this.#prepareDirectory(forward);
    const journal = this.store.begin(versions, { forward, teardown, cuts }, edits);
    await this.#goForward(journal, forward, teardown, options);
    const recorded = withHostState(lowered, forward);
    try {
      this.store.commit(journal, versions.keys(), edits, recorded, after);
    } catch (error) {
      await this.#undo(journal, forward, undefined, 'the new state could not be written', options);
      throw error;
    }
    await this.#tellResolver(edits, options);
    if (teardown.changes.length > 0) {
      options.onEvent?.({
        type: 'stage',
        stage: teardown.name,
        index: forward.length,
        total: forward.length + 1,
        changes: teardown.changes.length,
      });
    }
    if (after) await this.#tearDown(journal, { forward, teardown, cuts }, [...versions.keys()], options);
    if (edits.some(({ before, after: stays }) => before?.kind === 'vpc' && stays === undefined))
      await this.#releaseDirectory();
  }

  /** The model is what it is to be; where the resolver does not follow, that is told, `drift` tells it too, and `repair` tries again. */
  async #tellResolver(edits: readonly Edit[], options: EngineOptions): Promise<void> {
    await this.#attempt(() => this.resolver?.follow(edits), options);
  }

  async #attempt(work: () => Promise<void> | undefined, options: EngineOptions): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof VpcctlError)) throw error;
      options.onEvent?.({ type: 'unresolved', error });
    }
  }

  /** Where some VPC has a resolver, the process runs. */
  async wakeResolver(options: EngineOptions): Promise<void> {
    const { resolver } = this;
    if (resolver === undefined || !has(this.store, 'dns')) return;
    await this.#attempt(async () => void (await resolver.ask([])), options);
  }

  /** Resolvers of these VPCs, or of all that have one, are what they are to be. */
  async settleResolver(vpcs: readonly string[] | undefined, options: EngineOptions): Promise<void> {
    if (this.resolver === undefined) return;
    const all = vpcs ?? findKind(this.store, 'vpc', 'dns').map(({ name }) => name);
    const { resolver } = this;
    if (resolver.concerns(all)) await this.#attempt(() => resolver.settle(all), options);
  }

  /** What comes after the commit: it cannot be undone, and is carried on with by the next command. */
  async #tearDown(
    journal: number,
    { teardown, cuts = [] }: Intent,
    scopes: readonly string[],
    options: EngineOptions,
  ): Promise<void> {
    const lingering: Lingering[] = [];
    const onLingering = options.onLingering ?? ((found) => void lingering.push(...found));
    const failure = await this.kernel.apply(teardown.changes, { tolerant: true, onLingering });
    await this.verify(lingering, options);
    if (failure !== undefined) throw failure.error;
    const connections = await carryOut(cuts, this.store, this.kernel);
    if (connections > 0) options.onEvent?.({ type: 'cut', connections });
    await this.#finish(journal, scopes, options);
  }

  /** Waits a moment for what was deleted to end, and tells who holds what does not. */
  async verify(lingering: readonly Lingering[], { onEvent }: Pick<EngineOptions, 'onEvent'>): Promise<HeldView[]> {
    const held = lingering.length === 0 ? [] : ((await this.kernel.verify?.(lingering)) ?? []);
    return held.map(({ ns, holders }) => {
      const view = { what: namespaceWords(ns), namespace: ns, holders };
      onEvent?.({ type: 'held', ...view });
      return view;
    });
  }

  /**
   * The teardown is done. What `doctor --fix` did was for the border, and is taken back when that is gone: before the journal forgets, so that a crash
   * in between is made up for. What cannot be taken back stays remembered, is told, and holds up nothing: the transaction was carried out.
   */
  async #finish(journal: number, scopes: readonly string[], options: EngineOptions): Promise<void> {
    // Whoever holds this lock is alone with the border.
    const alone = scopes.includes(INSTALLATION_SCOPE) && this.store.get(EDGE_ID) === undefined;
    const { failure } = alone ? await undoFixes(this.store, this.kernel.machine) : {};
    this.store.finish(journal);
    if (failure !== undefined) options.onEvent?.({ type: 'fix-kept', error: failure });
  }

  async #goForward(journal: number, forward: readonly Stage[], teardown: Stage, options: EngineOptions): Promise<void> {
    const total = forward.length + (teardown.changes.length > 0 ? 1 : 0);
    for (const [index, stage] of forward.entries()) {
      if (options.signal?.aborted === true) {
        await this.#undo(journal, forward.slice(0, index), undefined, 'aborted', options);
        throw aborted();
      }
      options.onEvent?.({ type: 'stage', stage: stage.name, index, total, changes: stage.changes.length });
      let failure: StageFailure | undefined;
      try {
        const applied = this.kernel.apply(stage.changes);
        const next = forward[index + 1];
        try {
          if (next !== undefined) this.kernel.foresee?.(next.changes);
        } finally {
          failure = await applied;
        }
      } catch (error) {
        // A bug of ours, in the middle of nobody knows what: undo as after a crash, whatever of it may have happened.
        await this.#undo(journal, forward.slice(0, index + 1), undefined, 'an unexpected error', options);
        throw error;
      }
      if (failure === undefined) continue;
      await this.#undo(journal, forward.slice(0, index), { stage, failure }, failure.error.message, options);
      throw failure.error;
    }
  }

  /** Undoes whole stages and what took effect of a failed one, then forgets the intent. */
  async #undo(
    journal: number,
    done: readonly Stage[],
    failed: { readonly stage: Stage; readonly failure: StageFailure } | undefined,
    reason: string,
    options: EngineOptions,
  ): Promise<void> {
    const partial = failed === undefined ? [] : [{ name: failed.stage.name, changes: failed.failure.applied }];
    for (const stage of rollback([...done, ...partial])) {
      options.onEvent?.({ type: 'rollback', stage: stage.name, reason });
      const failure = await this.kernel.apply(stage.changes, { tolerant: true });
      if (failure === undefined) continue;
      throw new VpcctlError('KERNEL', `${reason}; and undoing it failed too: ${failure.error.message}`, {
        ...failure.error.facts,
        hint: 'the next command tries again to undo it',
        cause: failure.error,
      });
    }
    this.store.abandon(journal);
  }

  /** A namespace that is there before we make it is somebody else's. */
  async #refuseForeign(forward: readonly Stage[]): Promise<void> {
    const wanted = forward.flatMap(({ changes }) => changes.filter(isBirth).map(({ row }) => row.ns));
    const [foreign] = await this.kernel.pinned(wanted);
    if (foreign === undefined) return;
    throw new VpcctlError('CONFLICT', `a namespace called ${foreign} exists already and is not ours`, {
      object: `namespace ${foreign}`,
      hint: 'choose another name, or remove it; what a lost state left, `vpcctl cleanup-all --orphans` removes',
    });
  }

  async #prepareDirectory(forward: readonly Stage[]): Promise<void> {
    if (!forward.some(({ changes }) => changes.some(isBirth))) return;
    if (await this.kernel.prepareDirectory()) this.store.setMeta(DIRECTORY_MADE, '1');
  }

  async #releaseDirectory(): Promise<void> {
    if (this.store.count('kind:vpc', 1) > 0 || this.store.meta(DIRECTORY_MADE) === undefined) return;
    await this.kernel.releaseDirectory();
    this.store.setMeta(DIRECTORY_MADE, undefined);
  }

  /** Notes in the plan what the host's own sysctls are before we change them. */
  async #withHostState({ forward, teardown }: Plan): Promise<Plan> {
    const stages: Stage[] = [];
    for (const stage of forward) {
      const changes: Change[] = [];
      for (const change of stage.changes) {
        if (change.op !== 'create' || change.row.kind !== 'sysctl' || change.row.ns !== '') changes.push(change);
        else {
          const restore = await this.kernel.readSysctl(change.row.key);
          changes.push({ op: 'create', row: { ...change.row, ...(restore === undefined ? {} : { restore }) } });
        }
      }
      stages.push({ name: stage.name, changes });
    }
    return { forward: stages, teardown };
  }

  /**
   * Ends what a dead process began. The caller holds the locks of its scopes, so its process is dead. When the machine was started anew since,
   * there is hardly anything to end, and the host's settings are not as that process found or left them: they stay as they are.
   */
  async #recover(entry: JournalEntry, scopes: readonly string[], options: EngineOptions): Promise<void> {
    return this.#end(isOtherBoot(this.store, this.kernel) ? withoutHostSettings(entry) : entry, scopes, options);
  }

  async #tryRecover(entry: JournalEntry, scopes: readonly string[], options: EngineOptions): Promise<void> {
    try {
      await this.#recover(entry, scopes, options);
    } catch (error) {
      if (!(error instanceof VpcctlError) || (error.code !== 'KERNEL' && error.code !== 'ENVIRONMENT')) throw error;
      options.onEvent?.({ type: 'unrecovered', scopes, error });
    }
  }

  async #end(entry: JournalEntry, scopes: readonly string[], options: EngineOptions): Promise<void> {
    if (entry.phase === 'forward') {
      await this.#undo(entry.id, entry.plan.forward, undefined, 'an earlier command was interrupted', {});
      options.onEvent?.({ type: 'recovered', what: 'undone', scopes });
      return;
    }
    // Its sockets would keep alive what is about to be deleted.
    if (this.resolver !== undefined) {
      const { resolver } = this;
      await this.#attempt(() => resolver.recover(scopes), options);
    }
    await this.#tearDown(entry.id, entry.plan, scopes, options);
    options.onEvent?.({ type: 'recovered', what: 'finished', scopes });
  }

  /** Ends what dead processes began, wherever no living one is at work. What cannot be ended is told of, and stops none of the rest. */
  async recoverAll(options: EngineOptions = {}): Promise<void> {
    for (const { scopes } of this.store.unfinished()) {
      const release = this.locks.tryAcquire(scopes);
      if (release === undefined) continue;
      try {
        // Read again under the locks: another process may have been faster.
        for (const { entry, scopes: own } of this.store.unfinished(scopes)) {
          if (own.every((scope) => scopes.includes(scope))) await this.#tryRecover(entry, own, options);
        }
        await this.#releaseDirectory();
      } finally {
        release();
      }
    }
  }
}

/** What a change locks. A public subnet that only hands out an address competes with nobody outside its VPC. */
function scopesOfEdit({ before, after }: Edit): readonly string[] {
  const sameClaims =
    before?.kind === 'subnet' &&
    after?.kind === 'subnet' &&
    before.public === after.public &&
    before.hostRoute === after.hostRoute;
  if (sameClaims) return [after.vpc];
  return [before, after].flatMap((resource) => (resource === undefined ? [] : scopesOf(resource)));
}

/**
 * What an edit was checked against besides: the blocks of peers and of their peers, which must stay disjoint, and every VPC's public addresses when
 * the pool changes.
 */
function scopesRead(draft: Draft, { before, after }: Edit): string[] {
  const resource = after ?? before;
  if (resource?.kind === 'installation') return findKind(draft, 'vpc', 'kind:vpc').map(({ name }) => name);
  const vpcs = resource?.kind === 'vpc' ? [resource.name] : resource?.kind === 'peering' ? resource.vpcs : [];
  const near = vpcs.flatMap((name) => peeringsOf(draft, name).flatMap((peering) => peering.vpcs));
  return [
    ...near.flatMap((name) => peeringsOf(draft, name).flatMap((peering) => peering.vpcs)),
    ...[before, after].flatMap((one) => (one === undefined ? [] : [...peersNamed(draft, one), ...listsNamed(one)])),
  ];
}

/** Where a group or a route table refers to a prefix list: that is not to go meanwhile. One that changes locks the VPCs of all that refer to it. */
function listsNamed(resource: Resource): string[] {
  const named =
    (resource.kind === 'group' &&
      [...resource.ingress, ...resource.egress].some(({ party }) => party.type === 'prefix-list')) ||
    (resource.kind === 'route-table' && resource.routes.some(({ destination }) => listOf(destination) !== undefined));
  return named ? [INSTALLATION_SCOPE] : [];
}

/** The VPCs whose groups the rules of a group, or of a profile's groups, name: their members are read. */
function peersNamed(draft: Draft, resource: Resource): string[] {
  switch (resource.kind) {
    case 'profile':
      return resource.groups.flatMap((name) => {
        const group = draft.get(ids.group(resource.vpc, name));
        return group === undefined ? [] : peersNamed(draft, group);
      });
    case 'group':
      return [...resource.ingress, ...resource.egress].flatMap(({ party }) =>
        party.type === 'group' && party.vpc !== undefined ? [party.vpc] : [],
      );
    default:
      return [];
  }
}

function aborted(): VpcctlError {
  return new VpcctlError('ABORTED', 'interrupted: what had been done was undone');
}

function withoutHostSettings({ plan: { forward, teardown }, ...entry }: JournalEntry): JournalEntry {
  const without = ({ name, changes }: Stage): Stage => ({
    name,
    changes: changes.filter(({ row }) => row.kind !== 'sysctl' || row.ns !== ''),
  });
  return { ...entry, plan: { forward: forward.map(without), teardown: without(teardown) } };
}

/** Whether a resource goes together with the one VPC that it is of. */
function isSwept(draft: Draft, { before, after }: Edit): boolean {
  if (before === undefined || after !== undefined) return false;
  const vpc = before.kind === 'vpc' ? before.name : 'vpc' in before ? before.vpc : undefined;
  return vpc !== undefined && draft.get(ids.vpc(vpc)) === undefined;
}

/** The recorded rows carry what the host's sysctls were, for the day they are given back. */
function withHostState(lowered: readonly LoweredResource[], forward: readonly Stage[]): LoweredResource[] {
  const known = new Map<string, KernelObject>();
  for (const { changes } of forward) {
    for (const { op, row } of changes)
      if (op === 'create' && row.kind === 'sysctl' && row.ns === '') known.set(row.key, row);
  }
  return lowered.map((resource) => {
    const before = new Map(
      resource.before.flatMap((row) => (row.kind === 'sysctl' && row.ns === '' ? [[row.key, row] as const] : [])),
    );
    return {
      ...resource,
      rows: resource.rows.map((row) =>
        row.kind === 'sysctl' && row.ns === '' ? (known.get(row.key) ?? before.get(row.key) ?? row) : row,
      ),
    };
  });
}

/** The host as the model sees it. */
export function hostFacts(view: HostView): HostFacts {
  const defaults = view.routes.filter((route) => route.dst === 'default' && route.link !== undefined);
  defaults.sort((a, b) => a.metric - b.metric);
  const link = defaults[0]?.link;
  return {
    ...(link === undefined ? {} : { defaultLink: link }),
    linkMtu: new Map(view.links.map(({ name, mtu }) => [name, mtu])),
    routes: view.routes.flatMap(({ dst, link: via }): AnyCidr[] =>
      ['default', ANY_CIDR, ANY_CIDR6].includes(dst) || via === HOST_LINK ? [] : [parseAnyIpOrCidr(dst)],
    ),
    forwarding6: view.forwarding6,
  };
}
