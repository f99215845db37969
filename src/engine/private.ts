/** A private host: a network and a mount namespace with an empty /run, to try things in. Nothing done in it reaches the machine. */
import { readlinkSync } from 'node:fs';
import { VpcctlError } from '../errors.js';
import { launcherPath } from '../kernel/native.js';
import type { ExecResult } from './apps.js';

/** Names the network namespace that we came from: in a private host, ours is another. */
const MARKER = 'VPCCTL_PRIVATE_HOST';

function ownNetwork(): string {
  return readlinkSync('/proc/self/ns/net');
}

/** Whether this process was started in one by {@link runInPrivateHost}. */
export function isInPrivateHost(): boolean {
  const from = process.env[MARKER];
  return from !== undefined && from !== ownNetwork();
}

/** Runs a program in a private host, which is gone with it, as it is with us. `signal` ends the program, `timeoutMs` too. */
export async function runInPrivateHost(
  command: readonly string[],
  options: { readonly signal?: AbortSignal; readonly timeoutMs?: number } = {},
): Promise<ExecResult> {
  const { execa } = await import('execa');
  const { signal, timeoutMs } = options;
  const result = await execa(launcherPath(), ['--private', '--', ...command], {
    env: { [MARKER]: ownNetwork() },
    stdin: 'ignore',
    reject: false,
    stripFinalNewline: false,
    ...(signal === undefined ? {} : { cancelSignal: signal }),
    ...(timeoutMs === undefined ? {} : { timeout: timeoutMs }),
  });
  if (signal?.aborted === true) throw new VpcctlError('ABORTED', 'interrupted: the private host is gone');
  if (result.timedOut) {
    throw new VpcctlError('ENVIRONMENT', `it did not end within ${(timeoutMs ?? 0) / 1000} s`, {
      hint: 'try again when this machine has less to do',
    });
  }
  return { exitCode: result.exitCode ?? 1, stdout: result.stdout, stderr: result.stderr };
}
