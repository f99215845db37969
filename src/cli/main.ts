#!/usr/bin/env node
/**
 * The command `vpcctl`. Theory of operation: program.ts describes the commands to commander; a command's action gets a
 * {@link Session} (session.ts), which reads files, opens the library when it is needed, and prints. Everything that prints text
 * from data is in render.ts and plan-text.ts, every failure ends in failure.ts. The library is imported by the first command that needs
 * it, so `--help`, `--version` and `completion` answer without it.
 */
import { type Host, SIGNAL_EXIT } from './host.js';
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

for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', ({ code, message }: NodeJS.ErrnoException) => {
    // A reader that has seen enough (`vpcctl list | head -1`) is no failure, and no reason to leave a change half done.
    if (code === 'EPIPE') return;
    if (stream === process.stdout)
      process.stderr.write(`vpcctl: standard output cannot be written (${code ?? message})\n`);
    lost = true;
  });
}

const host: Host = {
  env: process.env,
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  signal: abort.signal,
  yieldTerminal: () => {
    terminalYielded = true;
  },
  open: async (options) => (await import('../index.js')).open(options),
};

process.exitCode = await run(process.argv.slice(2), host);
process.once('beforeExit', (code) => {
  if (lost && code === 0) process.exitCode = 1;
});
