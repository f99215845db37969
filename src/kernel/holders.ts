/** Who keeps a namespace alive, as far as /proc tells. */
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import type { Holder, Holding } from './kernel.js';

/** Processes that are looked at before others of this program get a turn. */
const AT_A_TIME = 20;

/**
 * The holders of the network namespaces with these inodes: processes with a thread in one, a descriptor of one, or a mount of one that they see; one of each kind a process. What a process has that we
 * may not look at is not seen, nor are sockets, which do not tell their namespace. `root`: where proc is.
 */
export async function findHolders(
  inodes: ReadonlySet<string>,
  root = '/proc',
): Promise<ReadonlyMap<string, readonly Holder[]>> {
  const found = new Map<string, Holder[]>();
  const mounts = new Set<string>();
  const pids = entries(root).filter((name) => /^[0-9]+$/.test(name));
  for (const [at, name] of pids.entries()) {
    if (at % AT_A_TIME === AT_A_TIME - 1) await turn();
    const dir = `${root}/${name}`;
    const pid = Number(name);
    const note = (inode: string | undefined, how: Holding): void => {
      if (inode === undefined || !inodes.has(inode)) return;
      const known = found.get(inode) ?? [];
      if (known.some((holder) => holder.pid === pid && holder.by === how.by)) return;
      found.set(inode, [...known, { pid, command: text(`${dir}/comm`).trim() || '?', ...how }]);
    };
    for (const thread of entries(`${dir}/task`)) {
      note(inodeOf(link(`${dir}/task/${thread}/ns/net`)), { by: 'process' });
    }
    for (const fd of entries(`${dir}/fd`)) {
      const target = link(`${dir}/fd/${fd}`);
      const inode = target.startsWith('/') ? mountedInode(root, dir, fd, inodes) : inodeOf(target);
      note(inode, { by: 'descriptor', descriptor: Number(fd) });
    }
    const space = link(`${dir}/ns/mnt`);
    if (space === '' || mounts.has(space)) continue;
    mounts.add(space);
    for (const { inode, path } of mountsOf(text(`${dir}/mountinfo`))) note(inode, { by: 'mount', path });
  }
  return found;
}

/** `net:[4026532000]` → `4026532000`. */
function inodeOf(target: string): string | undefined {
  return /^net:\[([0-9]+)\]$/.exec(target)?.[1];
}

/**
 * Of these inodes, that of a descriptor that was opened by the name of a namespace: its link tells the name, and `/` once that is gone. The file itself is only looked at where the inode
 * agrees: it may be on a file system that does not answer.
 */
function mountedInode(root: string, dir: string, fd: string, inodes: ReadonlySet<string>): string | undefined {
  const inode = /^ino:\s*([0-9]+)$/m.exec(text(`${dir}/fdinfo/${fd}`))?.[1];
  if (inode === undefined || !inodes.has(inode)) return undefined;
  return device(`${dir}/fd/${fd}`) === device(`${root}/self/ns/net`) ? inode : undefined;
}

function device(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.dev;
}

/** Mounts of network namespaces: their fourth field is what `readlink` says of one, the fifth where it is (proc_pid_mountinfo(5)). */
function mountsOf(mountinfo: string): { readonly inode: string; readonly path: string }[] {
  return mountinfo.split('\n').flatMap((line) => {
    const [, , , rootField = '', path = ''] = line.split(' ');
    const inode = inodeOf(rootField);
    return inode === undefined ? [] : [{ inode, path: unescaped(path) }];
  });
}

/** Blanks and the like are written in octal. */
function unescaped(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

// A process may end, and forbid to be looked at, at any time: then there is nothing to see.

function entries(dir: string): string[] {
  try {
    return readdirSync(dir);
  } catch {
    return [];
  }
}

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
