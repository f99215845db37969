/** What this process holds that a test could forget: descriptors of kernel objects and child processes. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Descriptors that Node and the test runner open and close as they like. */
const RUNTIME = /^(anon_inode:|pipe:|\/dev\/|\/proc\/|\/sys\/)/;

/** Inodes of this namespace's netlink sockets. */
function netlinkInodes(): Set<string> {
  const lines = readFileSync('/proc/self/net/netlink', 'utf8').trim().split('\n').slice(1);
  return new Set(lines.map((line) => line.trim().split(/\s+/).at(-1) ?? ''));
}

/**
 * Open files, namespaces and netlink sockets of this process, as `number target`. Its own namespace's nsfs file does not count: a
 * thread that enters others keeps the way back open.
 */
export function kernelDescriptors(): string[] {
  const own = readlinkSync('/proc/self/ns/net');
  const netlink = netlinkInodes();
  const found: string[] = [];
  for (const fd of readdirSync('/proc/self/fd')) {
    let target: string;
    try {
      target = readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      continue; // the descriptor of the listing itself
    }
    if (RUNTIME.test(target) || target === own) continue;
    const socket = /^socket:\[(\d+)\]$/.exec(target);
    if (socket !== null && !netlink.has(socket[1] ?? '')) continue;
    found.push(`${fd} ${target}`);
  }
  return found;
}

/** Living children of this process, as `pid command line`. */
export function childProcesses(): string[] {
  const found: string[] = [];
  for (const task of readdirSync('/proc/self/task')) {
    let pids: string[];
    try {
      pids = readFileSync(`/proc/self/task/${task}/children`, 'utf8').trim().split(' ').filter(Boolean);
    } catch {
      continue; // the thread ended
    }
    for (const pid of pids) {
      try {
        const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ').trim();
        if (argv !== '') found.push(`${pid} ${argv}`); // a zombie has no command line
      } catch {
        // It ended meanwhile.
      }
    }
  }
  return found;
}
