#!/usr/bin/env node
/**
 * The command `vpcctl`. Theory of operation: program.ts describes the commands to commander; a command's action gets a
 * {@link Session} (session.ts), which reads files, opens the library when it is needed, and prints. Everything that prints text
 * from data is in render.ts and plan-text.ts, every failure ends in failure.ts. The library is imported by the first command that needs
 * it, so `--help`, `--version` and `completion` answer without it.
 */
import { type Host, SIGNAL_EXIT } from './host.js';
import { StandardOutput } from './output.js';
import { run } from './program.js';

const abort = new AbortController();
let terminalYielded = false;
/** Something that was to be printed was not. */
let lost = false;

function onSignal(signal: NodeJS.Signals): void {
  if (signal === 'SIGINT' && terminalYielded) return;
  // The first one undoes what was begun; whoever sends a second one wants out.
  if (abort.signal.aborted) process.exit(SIGNAL_EXIT[signal] ?? 1);
  abort.abort(signal);
}
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal);

const stdout = new StandardOutput(
  1,
  () => process.stdout,
  ({ code, message }) => {
    // A reader that has seen enough (`vpcctl list | head -1`) is no failure, and no reason to leave a change half done.
    if (code === 'EPIPE') return;
    stderr.write(`vpcctl: standard output cannot be written (${code ?? message})\n`);
    lost = true;
  },
);
const stderr = new StandardOutput(
  2,
  () => process.stderr,
  ({ code }) => {
    lost ||= code !== 'EPIPE';
  },
);

const host: Host = {
  env: process.env,
  get stdin() {
    return process.stdin;
  },
  stdout,
  stderr,
  signal: abort.signal,
  yieldTerminal: () => {
    terminalYielded = true;
  },
  open: async (options) => (await import('../index.js')).open(options),
};

/** The exit status, once all is done. */
export const finished = run(process.argv.slice(2), host).then((exitCode) => {
  process.exitCode = exitCode;
  return exitCode;
});
process.once('exit', (code) => {
  if (lost && code === 0) process.exitCode = 1;
});

/** Whether the process may end at once when it has finished, which spares taking its memory apart: 2 ms. */
export function isFlushed(): boolean {
  return stdout.isFlushed && stderr.isFlushed;
}
