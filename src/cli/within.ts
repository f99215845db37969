/** A command line run inside another command, on the library that this one has open. */
import { Readable } from 'node:stream';
import type { VpcctlError } from '../index.js';
import { UsageError } from './failure.js';
import { type Host, type Library, lent } from './host.js';

/** Runs a command line; never throws. */
export type Run = (argv: readonly string[], host: Host) => Promise<number>;

/** How a command line inside another one ended. */
export interface Within {
  readonly exitCode: number;
  /** The document it printed, or the text where it printed none. */
  readonly output: unknown;
  readonly stderr: string;
}

/** These read standard input line by line, or stay: they need a process of their own. */
const ALONE = new Set(['batch', 'watch', 'daemon']);

/** What it prints is kept. */
class Kept {
  readonly writable = true;
  text = '';

  write(text: string): void {
    this.text += text;
  }
}

/** Runs `argv` with --json. UsageError where it is no command that can be run so. */
export async function runWithin(run: Run, argv: readonly string[], host: Host, library: Library): Promise<Within> {
  const [command] = argv;
  if (command === undefined || command.startsWith('-')) throw new UsageError('"argv" is to begin with a command');
  if (ALONE.has(command)) throw new UsageError(`${command} cannot be run here`, 'start it by itself');
  const stdout = new Kept();
  const stderr = new Kept();
  const exitCode = await run([...withJson(argv)], {
    env: host.env,
    stdin: Readable.from([]),
    stdout,
    stderr,
    signal: host.signal,
    yieldTerminal: () => {},
    open: async ({ state }) => {
      if (state !== undefined)
        throw new UsageError('--state cannot be given here', 'give it to the command that runs this');
      return lent(library);
    },
  });
  return { exitCode, output: documentOf(stdout.text), stderr: stderr.text };
}

/** After the command's name, and so before a `--`. */
function withJson([command = '', ...rest]: readonly string[]): readonly string[] {
  return [command, '--json', ...rest];
}

function documentOf(text: string): unknown {
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    // A completion script, a file in YAML.
    return text;
  }
}

/** What went wrong, as `--json` tells it. */
export function errorOf({ output, stderr }: Within): ReturnType<VpcctlError['toJSON']> | undefined {
  const error = typeof output === 'object' && output !== null && 'error' in output ? output.error : undefined;
  if (typeof error === 'object' && error !== null) return { ...error };
  return stderr === '' ? undefined : { message: stderr.trim() };
}
