/** A suite's script in a private host, with a state directory of its own; its last line of output is its result. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { inPrivateHost } from './private.mjs';
import { reasonOf } from './reason.mjs';

/** A new directory, removed when `body`, which is given it, is done. */
export async function withDirectory(body) {
  const dir = mkdtempSync(join(tmpdir(), 'vpcctl-bench-'));
  try {
    return await body(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Runs `suites/SCRIPT`; `argsIn(dir)` are its arguments. What it ended with, or said, is thrown when it fails. */
export function runScript(script, argsIn, nodeFlags = []) {
  return withDirectory((dir) => {
    const path = fileURLToPath(new URL(`../suites/${script}`, import.meta.url));
    const result = inPrivateHost([process.execPath, ...nodeFlags, path, ...argsIn(dir).map(String)]);
    if (result.status !== 0) throw new Error(reasonOf(result));
    return JSON.parse(result.stdout.trim().split('\n').at(-1));
  });
}
