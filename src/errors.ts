/**
 * The one error family. Every failure that a user can cause or meet is a {@link VpcctlError}: it says what was refused or
 * failed, where (object, namespace, file position), the kernel's own words where there are any, and what to do about it.
 */

/** Kinds of failure; each maps to one exit code ({@link EXIT_CODES}). */
export type ErrorCode =
  /** The command line or an API argument is malformed. */
  | 'USAGE'
  /** A spec, policy file or value breaks a rule of the model (bad CIDR, overlap, unknown key). */
  | 'INVALID'
  /** A named VPC, subnet, instance, file … does not exist. */
  | 'NOT_FOUND'
  /** The thing exists already with other properties, is still in use, or another process won a race. */
  | 'CONFLICT'
  /** The kernel or nft refused an operation; what had been done was undone. */
  | 'KERNEL'
  /** Privilege, program or kernel feature missing on this machine. */
  | 'ENVIRONMENT'
  /** The state store is unreadable, locked or cannot be written. */
  | 'STATE'
  /** The caller's AbortSignal fired; what had been done was undone. */
  | 'ABORTED';

/** Exit status of the CLI per error code; 0 is success, 1 an unexpected failure (a bug), 8 "drift found", 10 "not reachable", 11 "a packet does otherwise". */
export const EXIT_CODES: Readonly<Record<ErrorCode, number>> = {
  USAGE: 2,
  INVALID: 3,
  NOT_FOUND: 4,
  CONFLICT: 5,
  KERNEL: 6,
  ENVIRONMENT: 7,
  STATE: 9,
  ABORTED: 130,
};

/** What an error knows besides its message; all optional, all printed by the CLI's `--json`. */
export interface ErrorFacts {
  /** What to do about it, an imperative sentence without a full stop. */
  readonly hint?: string;
  /** The object in question in the model's or kernel's words: `vpc a`, `link vpc.a/uplink`. */
  readonly object?: string;
  /** The network namespace the operation ran in; `''` is the host's. */
  readonly netns?: string;
  /** For a pair of links: the namespace of the other end, which the refusal may be about as well. */
  readonly peerNetns?: string;
  /** Symbolic errno: `EEXIST`, `EPERM`. */
  readonly errno?: string;
  /** The kernel's extended acknowledgement text, or nft's message. */
  readonly extack?: string;
  /** Position in a file: 1-based line and column, and the path inside the document (`vpcs.a.cidr`). */
  readonly file?: string;
  readonly line?: number;
  readonly column?: number;
  readonly path?: string;
  /** Everything that is wrong with a file, this error's own problem first; absent when there is only the one. */
  readonly problems?: readonly Problem[];
  readonly cause?: unknown;
}

/** One thing wrong with a file: 1-based line and column, and the path inside the document. */
export interface Problem {
  readonly message: string;
  readonly line?: number;
  readonly column?: number;
  readonly path?: string;
}

export class VpcctlError extends Error {
  override readonly name = 'VpcctlError';
  readonly code: ErrorCode;
  readonly facts: ErrorFacts;

  constructor(code: ErrorCode, message: string, facts: ErrorFacts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.code = code;
    this.facts = facts;
  }

  /** One line for a person: message, the kernel's words, and the hint. */
  toLine(): string {
    const { file, line, column, errno, extack, hint } = this.facts;
    const at = file === undefined ? '' : `${file}${line === undefined ? '' : `:${line}:${column ?? 1}`}: `;
    const words = [errno, extack].filter((word) => word !== undefined && word !== '').join(', ');
    return `${at}${this.message}${words === '' ? '' : ` (${words})`}${hint === undefined ? '' : `; ${hint}`}`;
  }

  /** The same facts as data, for `--json`. */
  toJSON(): Record<string, unknown> {
    const { cause: _cause, ...facts } = this.facts;
    return { code: this.code, message: this.message, ...facts };
  }
}

/** A value of the model that breaks a rule. */
export function invalid(message: string, facts: ErrorFacts = {}): VpcctlError {
  return new VpcctlError('INVALID', message, facts);
}

/** For the `default` of a switch over a union: a compile error when a member is forgotten. */
export function assertNever(value: never): never {
  throw new Error(`unhandled case: ${JSON.stringify(value)}`);
}
