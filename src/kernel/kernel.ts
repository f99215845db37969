/** The effects, behind one interface. Everything above speaks in rows; what turns them into system calls is below. */
import type { VpcctlError } from '../errors.js';
import type { Flow } from '../netlink/conntrack.js';
import type { Change } from '../objects/change.js';
import type { KernelObject, NftRow } from '../objects/kernel-object.js';
import type { Machine } from './machine.js';

export type { Flow } from '../netlink/conntrack.js';

/** What a plan needs to know of the machine before it is made. */
export interface HostView {
  readonly links: readonly { readonly name: string; readonly mtu: number; readonly up: boolean }[];
  /** Unicast routes of all tables: CIDR or, of IPv4, `default`, by link name; ours (protocol 201) left out. */
  readonly routes: readonly {
    readonly dst: string;
    readonly link?: string;
    readonly metric: number;
    readonly kernel: boolean;
  }[];
  /** Whether IPv6 can be passed on between two links: by a setting of theirs, because the whole host is a router, not, or because it has no IPv6. */
  readonly forwarding6: 'by-link' | 'all' | 'no' | 'off';
}

/** Changes of one stage that took effect, or may have, before the stage failed; undoing them (tolerantly) restores what was before it. */
export interface StageFailure {
  readonly error: VpcctlError;
  readonly applied: readonly Change[];
}

export interface ApplyOptions {
  /**
   * For undoing and repairing after a crash: what is to be deleted may be gone and what is to be created may be there. Goes on after
   * errors and returns the first that is neither.
   */
  readonly tolerant?: boolean;
  /**
   * Hears of namespaces that were deleted and live on, because somebody holds them. Their links that are ours are gone when {@link Kernel.apply} returns. Each is to
   * be given to {@link Kernel.verify}, once. Without this nobody is told.
   */
  readonly onLingering?: (found: readonly Lingering[]) => void;
}

/** A namespace that has lost its name and lived on when it was last looked at. */
export interface Lingering {
  readonly ns: string;
  /** The kernel's own, to find it by. */
  readonly token: string;
}

/** How a process keeps a namespace alive: it is in it, has a descriptor of it, or sees it mounted. */
export type Holding =
  | { readonly by: 'process' }
  | { readonly by: 'descriptor'; readonly descriptor: number }
  | { readonly by: 'mount'; readonly path: string };

/** Who keeps a namespace alive. */
export type Holder = {
  readonly pid: number;
  /** Its name, as in /proc/PID/comm. */
  readonly command: string;
} & Holding;

/** A namespace that was deleted and lives on. */
export interface HeldNamespace {
  readonly ns: string;
  /** At least one: what nobody is seen to hold is not told of. */
  readonly holders: readonly Holder[];
}

export interface ObserveOptions {
  /**
   * Workloads' namespaces. Their root does there what he likes, so of them only what can be ours is read: links, and of the first ones the addresses and
   * neighbours, and routes of the main table; no nftables, rules and sysctls.
   */
  readonly unfiltered?: readonly string[];
  /** Those of `unfiltered` whose IPv6 is read too. */
  readonly dual?: ReadonlySet<string>;
  /** A namespace of these that cannot be read has no rows, and is told of here; without it, that is an error. */
  readonly onUnreadable?: (ns: string, error: VpcctlError) => void;
}

/** What is kept ready, for namespaces to be made faster. */
export interface Stock {
  /** Namespaces with nothing in them. */
  readonly namespaces: number;
  /** And such with a firewall: the rows of its tables, chains, sets and rules, in whatever namespace. */
  readonly firewalls: readonly { readonly rows: readonly NftRow[]; readonly count: number }[];
}

/** Something changed in these namespaces, by whomever; undefined: perhaps in all. */
export type OnChange = (namespaces: readonly string[] | undefined) => void;

/** Hears of changes. Nothing that is heard of is kept alive by it, nor is the process. */
export interface KernelWatch {
  /**
   * Follows these namespaces, as far as they are there, and no others. Returns those that it did not follow before, or that are others under an
   * old name: what happened in them until now, nobody told.
   */
  follow(namespaces: readonly string[]): readonly string[];
  close(): void;
}

export interface Kernel {
  /** What of the host is others'. A kernel without it has no neighbours. */
  readonly machine?: Machine;
  /** Carries out the changes of one stage. Undefined when all took effect; never throws for a refusal of the kernel. */
  apply(changes: readonly Change[], options?: ApplyOptions): Promise<StageFailure | undefined>;
  /** Waits a while for these to end, and says who keeps alive those that do not. */
  verify?(lingering: readonly Lingering[]): Promise<HeldNamespace[]>;
  /** These changes, as this very array, are likely to be applied next: prepares what can be prepared. Touches nothing. */
  foresee?(changes: readonly Change[]): void;
  /**
   * The rows of these namespaces, others' too: links of any kind, addresses, routes and rules that the kernel did not make by itself,
   * tables. On the host (`''`) only what is on links marked ours, and our table. A namespace that is not there has none.
   */
  observe(namespaces: readonly string[], options?: ObserveOptions): Promise<KernelObject[]>;
  /** Names the time since the machine was started: another after every start. */
  bootId(): string;
  /** A kernel that does as this one would, is told that all went well, and touches nothing. */
  rehearsal?(): Kernel;
  /**
   * Keeps so much ready from now on; {@link apply} takes of it. Resolves when it is there, or cannot be. What is ready is this process's, is pinned
   * nowhere, and goes with it.
   */
  keepReady?(stock: Stock): Promise<void>;
  /** Hears of changes; some settings are not told of. A kernel without it is looked at from time to time. */
  watch?(onChange: OnChange): KernelWatch;
  /** The tracked connections of a namespace; none when it is not there. */
  flows(ns: string): Promise<Flow[]>;
  /** Forgets connections that {@link flows} told of: their next packets are judged as new. One that has ended meanwhile is no failure. */
  cut(ns: string, flows: readonly Flow[]): Promise<void>;
  host(): Promise<HostView>;
  /** Every pinned namespace, whoever's. */
  namespaces(): Promise<string[]>;
  /** Which of these namespaces are pinned. */
  pinned(namespaces: readonly string[]): Promise<string[]>;
  /** The sysctl's value in the host's namespace; undefined when there is no such sysctl. */
  readSysctl(key: string): Promise<string | undefined>;
  /** Makes the directory of namespaces ready; true when that changed the machine, and {@link releaseDirectory} is to undo it. */
  prepareDirectory(): Promise<boolean>;
  releaseDirectory(): Promise<void>;
  /** Ends the processes that are kept for the next call, which starts others. */
  rest?(): Promise<void>;
}
