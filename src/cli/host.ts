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
  | 'close'
>;

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
}

/** Exit status of a command that a signal ended, as a shell has it. */
export const SIGNAL_EXIT: Readonly<Record<string, number>> = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 };
