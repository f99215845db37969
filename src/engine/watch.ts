/**
 * Drift and repair for as long as wanted. What the kernel tells of changes only says where to look: the look decides, and it counts with the locks
 * held, so that a transaction half way is never taken for drift. What tells nothing is looked at from time to time.
 */
import { VpcctlError } from '../errors.js';
import type { KernelWatch } from '../kernel/kernel.js';
import { namespacesOf } from '../lower/lower.js';
import { findKind } from '../model/reader.js';
import { EDGE_ID, INSTALLATION_SCOPE, ids, scopesOf } from '../model/resources.js';
import type { Drift } from './drift.js';
import type { Engine, EngineOptions } from './engine.js';
import { Pace } from './pace.js';
import { differences, look, type RepairResult, runRepair, type Selection, select, selectVpc } from './repair.js';

export interface WatchOptions {
  /** Only what concerns this VPC. */
  readonly vpc?: string;
  /** Put back what is found. Default: true; else it is only told. */
  readonly repair?: boolean;
  /** Ends the watch, without an error. */
  readonly signal?: AbortSignal;
  /** How often everything is looked at though nothing was told, in ms: settings of modules, and what was lost. Default 60,000. */
  readonly intervalMs?: number;
}

/** What happened to the border (`vpc`: null) or to a VPC. */
export type WatchEvent = {
  /** ISO 8601, UTC. */
  readonly at: string;
  readonly vpc: string | null;
} & (
  | {
      /** All was looked at once; from now on changes are noticed. `vpc` is that of the options. */
      readonly type: 'watching';
    }
  | {
      /** Differences that stay, told when they become others: all of them without `repair`, else what cannot be put back. */
      readonly type: 'drift';
      readonly drift: readonly Drift[];
    }
  | {
      /** The differences that were told last are gone. */
      readonly type: 'clean';
    }
  | {
      readonly type: 'repaired';
      readonly repaired: readonly Drift[];
      readonly kernel: RepairResult['kernel'];
    }
  | {
      /** It could not be looked at, or not be put back; it is tried again in `nextLookMs`. */
      readonly type: 'failed';
      readonly error: VpcctlError;
      readonly nextLookMs: number;
    }
  | {
      /** Somebody undoes what is put back, for the `times`-th time in a row by now. */
      readonly type: 'backoff';
      readonly times: number;
      readonly nextLookMs: number;
    }
);

type Body<E> = E extends unknown ? Omit<E, 'at' | 'vpc'> : never;
type EventBody = Body<WatchEvent>;

/** What passes the time; a test has its own. */
export interface Clock {
  now(): number;
  /** Calls back once, unless the returned function is called before. */
  after(ms: number, done: () => void): () => void;
}

export const REAL_CLOCK: Clock = {
  now: Date.now,
  after: (ms, done) => {
    const timer = setTimeout(done, ms);
    return () => clearTimeout(timer);
  },
};

/** How often is asked whether somebody changed what is recorded. */
const POLL_MS = 1_000;
const INTERVAL_MS = 60_000;
/** The border as a subject; no VPC is called so. */
const BORDER = '';
/** Coming back once is no fight yet. */
const WORTH_TELLING = 3;

/** A promise that others fulfil, once or more. */
class Alarm {
  #ring: (() => void) | undefined;
  #rung = false;

  ring(): void {
    this.#rung = true;
    this.#ring?.();
  }

  /** Returns after `ms`, or when it rings, or at once when it rang since the last time. */
  async wait(ms: number, clock: Clock): Promise<void> {
    if (!this.#rung) {
      await new Promise<void>((resolve) => {
        const cancel = clock.after(ms, resolve);
        this.#ring = () => {
          cancel();
          resolve();
        };
      });
    }
    this.#ring = undefined;
    this.#rung = false;
  }
}

/** What a look found: put back, and staying. */
interface Found {
  readonly repaired: readonly Drift[];
  readonly left: readonly Drift[];
  readonly kernel: RepairResult['kernel'];
}

const NOTHING = { create: 0, update: 0, delete: 0 };

export class Watch {
  readonly #engine: Engine;
  readonly #options: WatchOptions & { readonly signal: AbortSignal };
  readonly #clock: Clock;
  readonly #pace = new Pace();
  readonly #alarm = new Alarm();
  /** Whose a namespace is. */
  #subjects: ReadonlyMap<string, string> = new Map();
  #stamp: string | undefined;
  #kernelWatch: KernelWatch | undefined;
  /** What was said to stay as it is, by subject. */
  readonly #told = new Map<string, string>();

  constructor(engine: Engine, options: WatchOptions & { readonly signal: AbortSignal }, clock = REAL_CLOCK) {
    this.#engine = engine;
    this.#options = options;
    this.#clock = clock;
  }

  /** Works only while it is asked for events; between them changes are remembered. `working` goes around every look. */
  async *events(working: <T>(work: () => Promise<T>) => Promise<T>): AsyncGenerator<WatchEvent, void> {
    const { signal, intervalMs = INTERVAL_MS, vpc = null } = this.#options;
    const end = (): void => {
      this.#kernelWatch?.close();
      this.#alarm.ring();
    };
    signal.addEventListener('abort', end, { once: true });
    try {
      this.#kernelWatch = this.#engine.kernel.watch?.((namespaces) => this.#changed(namespaces));
      this.#follow();
      for (const subject of this.#all()) yield* this.#look(subject, working);
      if (signal.aborted) return;
      yield { type: 'watching', at: this.#at(), vpc };
      let fullLook = this.#clock.now() + intervalMs;
      while (!signal.aborted) {
        this.#follow();
        const now = this.#clock.now();
        if (now >= fullLook) {
          this.#changed(undefined);
          fullLook = now + intervalMs;
        }
        const turn = this.#pace.next(now);
        if (turn !== undefined && 'subject' in turn) yield* this.#look(turn.subject, working);
        else await this.#alarm.wait(Math.min(POLL_MS, fullLook - now, turn?.waitMs ?? POLL_MS), this.#clock);
      }
    } finally {
      signal.removeEventListener('abort', end);
      this.#kernelWatch?.close();
    }
  }

  #at(): string {
    return new Date(this.#clock.now()).toISOString();
  }

  // --- where to look -------------------------------------------------------------------------------------------------

  #all(): string[] {
    const { store } = this.#engine;
    const { vpc } = this.#options;
    if (vpc !== undefined) return store.get(ids.vpc(vpc)) === undefined ? [] : [vpc];
    const border = store.get(EDGE_ID) === undefined ? [] : [BORDER];
    return [...border, ...findKind(store, 'vpc', 'kind:vpc').map(({ name }) => name)];
  }

  #choose(subject: string): Selection {
    const { store } = this.#engine;
    if (this.#options.vpc !== undefined) return selectVpc(store, subject);
    return select(store, (resource) => scopesOf(resource).includes(subject === BORDER ? INSTALLATION_SCOPE : subject));
  }

  #changed(namespaces: readonly string[] | undefined): void {
    const now = this.#clock.now();
    const subjects = namespaces?.flatMap((ns) => this.#subjects.get(ns) ?? []) ?? this.#all();
    for (const subject of subjects) this.#pace.note(subject, now);
    this.#alarm.ring();
  }

  /** Who was recorded since is followed too, and who is no more is let go. */
  #follow(): void {
    const stamp = this.#engine.store.stamp();
    if (stamp === this.#stamp) return;
    this.#stamp = stamp;
    this.#subjects = this.#engine.store.reading(() => this.#homes());
    const fresh = this.#kernelWatch?.follow([...this.#subjects.keys()]) ?? [];
    if (fresh.length > 0) this.#changed(fresh);
  }

  #homes(): Map<string, string> {
    const { store } = this.#engine;
    const { vpc } = this.#options;
    if (vpc === undefined) {
      return new Map(
        store.resources().flatMap((resource): (readonly [string, string])[] => {
          const [subject = BORDER] = scopesOf(resource);
          const host = resource.kind === 'edge' ? [''] : [];
          return [...host, ...namespacesOf(resource)].map((ns) => [ns, subject]);
        }),
      );
    }
    if (this.#all().length === 0) return new Map();
    const { namespaces, guarded } = selectVpc(store, vpc);
    return new Map(namespaces.filter((ns) => ns !== '' || guarded.has('')).map((ns) => [ns, vpc] as const));
  }

  // --- looking -------------------------------------------------------------------------------------------------------

  async *#look(subject: string, working: <T>(work: () => Promise<T>) => Promise<T>): AsyncGenerator<WatchEvent, void> {
    if (this.#options.signal.aborted) return;
    if (!this.#all().includes(subject)) return this.#pace.forget(subject);
    const began = this.#clock.now();
    const event = (body: EventBody): WatchEvent => ({
      ...body,
      at: this.#at(),
      vpc: subject === BORDER ? null : subject,
    });
    let found: Found | undefined;
    try {
      found = await working(() => this.#find(subject));
    } catch (error) {
      if (this.#options.signal.aborted) return;
      if (!(error instanceof VpcctlError)) throw error;
      // Deleted by somebody meanwhile.
      if (!this.#all().includes(subject)) return this.#pace.forget(subject);
      const now = this.#clock.now();
      this.#pace.note(subject, now);
      const { pauseMs } = this.#pace.looked(subject, began, now, [error.code]);
      yield event({ type: 'failed', error, nextLookMs: pauseMs });
      return;
    }
    const repaired = found?.repaired ?? [];
    const causes = repaired.flatMap(({ follows, object }) => (follows ? [] : [object]));
    const { times, again, pauseMs } = this.#pace.looked(subject, began, this.#clock.now(), causes);
    if (found === undefined) return;
    if (repaired.length > 0) yield event({ type: 'repaired', repaired, kernel: found.kernel });
    if (again && times >= WORTH_TELLING) yield event({ type: 'backoff', times, nextLookMs: pauseMs });
    const before = this.#told.get(subject) ?? '';
    const now = fingerprint(found.left);
    this.#told.set(subject, now);
    if (now === before) return;
    yield event(found.left.length === 0 ? { type: 'clean' } : { type: 'drift', drift: found.left });
  }

  /** Undefined: all is as it was told last. A first look takes no lock; only what it finds is worth holding others up for. */
  async #find(subject: string): Promise<Found | undefined> {
    if (await this.#isAsTold(subject)) return undefined;
    const { signal, repair = true } = this.#options;
    const options: EngineOptions = { signal };
    if (repair) return runRepair(this.#engine, () => this.#choose(subject), options);
    const left = await this.#engine.withLocks(
      () => this.#choose(subject).locks,
      options,
      () => this.#drift(subject),
    );
    return { repaired: [], left, kernel: NOTHING };
  }

  async #isAsTold(subject: string): Promise<boolean> {
    try {
      return fingerprint(await this.#drift(subject)) === (this.#told.get(subject) ?? '');
    } catch (error) {
      // What is being made or deleted just now may not be readable.
      if (error instanceof VpcctlError && error.code === 'KERNEL') return false;
      throw error;
    }
  }

  async #drift(subject: string): Promise<Drift[]> {
    const selection = this.#choose(subject);
    return differences(this.#engine, selection, await look(this.#engine.kernel, selection));
  }
}

/** The same for the same differences; empty for none. */
function fingerprint(drift: readonly Drift[]): string {
  return drift
    .map(({ what, object, sentence }) => `${what} ${object}: ${sentence}`)
    .sort()
    .join('\n');
}
