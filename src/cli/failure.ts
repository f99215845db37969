/** Failures as people and programs are told of them. */
import type { ErrorCode, VpcctlError } from '../index.js';
import { SIGNAL_EXIT } from './host.js';
import { oneLine } from './text.js';

/** How a failed command ends. */
export interface Failure {
  readonly exitCode: number;
  /** For standard error. */
  readonly lines: readonly string[];
  /** The value of `error` in the document of `--json`. */
  readonly error: Readonly<Record<string, unknown>>;
}

/**
 * A wrong command line, found before the library is loaded; everything else that a user can cause is a VpcctlError.
 */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly hint: string | undefined;

  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

/** The library's errors are known by name and code: the class itself would mean to load the library. */
function isVpcctlError(error: unknown): error is VpcctlError {
  return error instanceof Error && error.name === 'VpcctlError' && 'code' in error && 'facts' in error;
}

export interface FailureContext {
  /** Print the stack of what is a bug. */
  readonly debug: boolean;
  /** Name of the signal that came, if one did. */
  readonly signal?: string;
  readonly exitCodes: () => Promise<Readonly<Record<ErrorCode, number>>>;
}

export async function describeFailure(error: unknown, context: FailureContext): Promise<Failure> {
  if (error instanceof UsageError) {
    const { message, hint } = error;
    const hinted = hint === undefined ? {} : { hint };
    return {
      exitCode: 2,
      lines: [line(hint === undefined ? message : `${message}; ${hint}`)],
      error: { code: 'USAGE', message, ...hinted },
    };
  }
  if (isVpcctlError(error)) {
    const exitCodes = await context.exitCodes();
    const aborted = error.code === 'ABORTED' ? SIGNAL_EXIT[context.signal ?? ''] : undefined;
    return {
      exitCode: aborted ?? exitCodes[error.code],
      lines: errorLines(error).map(line),
      error: error.toJSON(),
    };
  }
  const message = error instanceof Error ? error.message : String(error);
  const stack = context.debug && error instanceof Error && error.stack !== undefined ? error.stack.split('\n') : [];
  return {
    exitCode: 1,
    lines: [
      line(`${message}; this is a bug${context.debug ? '' : ': run with VPCCTL_DEBUG=1 for the stack'}`),
      ...stack,
    ],
    error: { code: 'UNEXPECTED', message },
  };
}

function line(text: string): string {
  return `vpcctl: ${oneLine(text)}`;
}

/** One line; of a file with several problems, one for each. */
function errorLines(error: VpcctlError): string[] {
  const { file, problems = [] } = error.facts;
  if (problems.length < 2) return [error.toLine()];
  return problems.map(({ message, line: at, column }) => {
    const where = [file, at, column].filter((part) => part !== undefined).join(':');
    return where === '' ? message : `${where}: ${message}`;
  });
}
