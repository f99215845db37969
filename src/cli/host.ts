/** What the command knows of the process it runs in; a test gives its own. */
import type { OpenOptions, Vpcctl } from '../index.js';
import type { Output } from './output.js';

/** The part of {@link Vpcctl} that the command uses. */
export type Library = Pick<
  Vpcctl,
  | 'transaction'
  | 'plan'
  | 'apply'
  | 'cut'
  | 'destroy'
  | 'list'
  | 'inspect'
  | 'analyze'
  | 'matrix'
  | 'probe'
  | 'policy'
  | 'export'
  | 'drift'
  | 'needsRestore'
  | 'repair'
  | 'restore'
  | 'watch'
  | 'orphans'
  | 'removeOrphans'
  | 'instance'
  | 'exec'
  | 'deployApp'
  | 'stopApp'
  | 'apps'
  | 'recover'
  | 'close'
>;

/** The library with members of it replaced. It outlasts whoever borrows it. */
export function lent(library: Library, replaced: Partial<Library> = {}): Library {
  const own: Partial<Library> = { ...replaced, close: async () => {} };
  return new Proxy(library, {
    get: (target, key: keyof Library) => {
      const member: unknown = own[key] ?? target[key];
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

/** How the files that a command names are read. */
export interface Files {
  readonly stat: (path: string) => Promise<{ readonly size: number }>;
  /** May end early once it has more than `most` bytes. */
  readonly readFile: (path: string, most: number) => Promise<Buffer>;
}

/** Another process, on whose behalf a daemon runs the command: what is that one's, and not of the process that the command runs in. */
export interface Caller {
  readonly cwd: string;
  readonly files: Files;
  /** Before the command runs: throws where it is one that needs a process of its own. */
  readonly admit: (command: string) => void;
  /** Hands the command back to the caller's own process, which runs it from the beginning: nothing was changed yet. */
  readonly handBack: () => never;
}

export interface Host {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly stdout: Output;
  readonly stderr: Output;
  /** Fires on the first SIGINT or SIGTERM; its reason is the signal's name. */
  readonly signal: AbortSignal;
  /** Leaves the terminal to a program of the user's: from now on ^C is that program's business. */
  readonly yieldTerminal: () => void;
  readonly open: (options: OpenOptions) => Promise<Library>;
  /** Absent: the command runs in the process that was started for it. */
  readonly caller?: Caller;
}

/** Exit status of a command that a signal ended, as a shell has it. */
export const SIGNAL_EXIT: Readonly<Record<string, number>> = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };
