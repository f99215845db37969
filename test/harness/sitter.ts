/** Somebody who keeps a namespace alive: a process in it, or one outside with a descriptor of it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

export interface Sitter {
  readonly pid: number;
  leave(): Promise<void>;
}

/** A `sleep` in the namespace. */
export async function sitIn(ns: string): Promise<Sitter> {
  const path = `/run/netns/${ns}`;
  const inside = `net:[${statSync(path).ino}]`;
  const child = spawn('nsenter', [`--net=${path}`, 'sleep', '600'], { stdio: 'ignore' });
  await once(child, 'spawn');
  while (readlinkSync(`/proc/${child.pid}/ns/net`) !== inside) await sleep(2);
  return sitter(child);
}

/** A `sleep` outside of the namespace, with descriptor 3 of it. */
export async function lookInto(ns: string): Promise<Sitter> {
  const fd = openSync(`/run/netns/${ns}`, 'r');
  try {
    const child = spawn('sleep', ['600'], { stdio: ['ignore', 'ignore', 'ignore', fd] });
    await once(child, 'spawn');
    return sitter(child);
  } finally {
    closeSync(fd);
  }
}

/** A `sleep` in a mount namespace of its own, where the namespace is mounted on this file too. */
export async function mountOn(ns: string, file: string): Promise<Sitter> {
  const script = 'mount --bind "$1" "$2" && exec sleep 600';
  const argv = ['--mount', '--propagation', 'private', 'sh', '-c', script, 'sh', `/run/netns/${ns}`, file];
  const child = spawn('unshare', argv, { stdio: 'ignore' });
  await once(child, 'spawn');
  // unshare becomes sh, and sh becomes the program when it is done.
  while (readFileSync(`/proc/${child.pid}/comm`, 'utf8') !== 'sleep\n') await sleep(2);
  return sitter(child);
}

function sitter(child: ChildProcess): Sitter {
  const { pid } = child;
  if (pid === undefined) throw new Error('no process');
  return {
    pid,
    leave: async () => {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}
