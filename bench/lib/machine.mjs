/** What was measured on: recorded with every result. */

import { spawnSync } from 'node:child_process';
import { accessSync, constants, readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { join } from 'node:path';

/** PATH with the system directories that a plain user's lacks. */
export const PATH = [...new Set([...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin', '/usr/bin', '/bin'])]
  .filter((dir) => dir !== '')
  .join(':');

export function hasProgram(program) {
  return PATH.split(':').some((dir) => {
    try {
      accessSync(join(dir, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function firstLine(program, ...args) {
  const { stdout } = spawnSync(program, args, { encoding: 'utf8', env: { ...process.env, PATH } });
  return stdout?.split('\n')[0].trim() || 'missing';
}

export function machine() {
  const model = cpus()[0]?.model.trim() || /^model name\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1];
  return {
    date: new Date().toISOString(),
    cpu: model || 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    iproute2: firstLine('ip', '-V'),
    nft: firstLine('nft', '-v'),
    load: loadavg().map((value) => Math.round(value * 100) / 100),
  };
}
