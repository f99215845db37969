/**
 * The door of a daemon: a Unix socket in the state directory. It opens only for who may do all that this process may, as the kernel says, not as
 * he says: the same user or root, in the same namespaces and root directory, with the same capabilities. So asking gives nobody anything that
 * a process of his own would not give him, and what is done is done to the network that he sees.
 */
import {
  chmodSync,
  closeSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
} from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { VpcctlError } from '../errors.js';
import { loadNative } from '../kernel/native.js';
import { stateDirectory } from './store.js';

/** Who comes while so many are inside finds the door shut. */
const MOST_VISITORS = 64;
/** sun_path of unix(7), with its end. */
const LONGEST_PATH = 107;
const NAMESPACES = ['net', 'mnt', 'user', 'pid'] as const;

/** Which file this is, whatever is in it; undefined: there is none. */
export function fileOf(path: string): string | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  return found === undefined ? undefined : `${found.dev}:${found.ino}`;
}

export interface DoorOptions {
  /** Directory of the state, as of {@link OpenOptions}. */
  readonly state?: string;
  /** Below it, where lock and socket are. Default: `daemon`. */
  readonly folder?: string;
  readonly onVisitor: (socket: Socket) => void;
  /** Somebody was not let in. */
  readonly onRefused: (why: string) => void;
}

export interface Door {
  /** The state directory, absolute. */
  readonly state: string;
  /** The file of what is recorded there. */
  readonly records: string;
  /** Whether that is another file than when the door was opened, or gone: then what this process has open is nobody's any more. */
  isExchanged(): boolean;
  /** Lets nobody in any more, and resolves when the last one has left. */
  close(): Promise<void>;
}

/** Opens the door of a state directory. CONFLICT when another process has; ENVIRONMENT where there can be none. */
export async function openDoor({ state, folder: name = 'daemon', onVisitor, onRefused }: DoorOptions): Promise<Door> {
  const dir = stateDirectory(state);
  const folder = join(dir, name);
  const path = join(folder, 'socket');
  if (Buffer.byteLength(path) > LONGEST_PATH) {
    throw new VpcctlError('ENVIRONMENT', `${path} is too long to be the name of a socket`, {
      hint: `name a state directory of ${LONGEST_PATH - '/daemon/socket'.length} characters at most`,
    });
  }
  makePrivate(folder);
  const lock = openSync(join(folder, 'lock'), 'a', 0o600);
  try {
    if (!loadNative().flock(lock, 'exclusive')) {
      throw new VpcctlError('CONFLICT', `a daemon runs already for ${dir}`, { hint: 'end that one first' });
    }
    // What one that was killed has left.
    rmSync(path, { force: true });
    const admits = bouncer();
    const server = createServer({ pauseOnConnect: true }, (socket) => {
      // Whoever leaves early is no failure of ours.
      socket.on('error', () => {});
      const why = admits(socket);
      if (why === undefined) return onVisitor(socket);
      socket.destroy();
      onRefused(why);
    });
    server.maxConnections = MOST_VISITORS;
    await listen(server, path);
    const records = join(dir, 'state.db');
    const opened = fileOf(records);
    return {
      state: dir,
      records,
      isExchanged: () => fileOf(records) !== opened,
      close: async () => {
        await new Promise((resolve) => server.close(resolve));
        closeSync(lock);
      },
    };
  } catch (error) {
    closeSync(lock);
    throw error;
  }
}

function makePrivate(folder: string): void {
  try {
    mkdirSync(folder, { mode: 0o700 });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') {
      throw new VpcctlError('STATE', `cannot make ${folder}`, { cause, hint: 'check the state directory' });
    }
  }
  const found = lstatSync(folder);
  if (!found.isDirectory() || found.uid !== process.geteuid?.()) {
    throw new VpcctlError('ENVIRONMENT', `${folder} is not a directory of this user's`, { hint: 'move it away' });
  }
  if ((found.mode & 0o077) !== 0) chmodSync(folder, 0o700);
}

/** A socket that is its owner's alone from the beginning. */
async function listen(server: Server, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const refused = (cause: Error) =>
      reject(new VpcctlError('ENVIRONMENT', `cannot listen on ${path}`, { extack: cause.message, cause }));
    server.once('error', refused);
    const umask = process.umask(0o177);
    try {
      // Bound before this returns.
      server.listen(path, () => {
        server.off('error', refused);
        resolve();
      });
    } finally {
      process.umask(umask);
    }
  });
}

/** Says why somebody is not let in; undefined: he is. */
function bouncer(): (socket: Socket) => string | undefined {
  const own = { uid: process.geteuid?.(), ...powersOf('self') };
  return (socket) => {
    const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
    try {
      const { pid, uid } = loadNative().peerOf(fd);
      if (uid !== 0 && uid !== own.uid) return `user ${uid} is neither root nor this daemon's`;
      const { surroundings, capabilities } = powersOf(String(pid));
      if (surroundings !== own.surroundings) return `process ${pid} is in another namespace`;
      if ((own.capabilities & ~capabilities) !== 0n) return `process ${pid} has fewer capabilities than this daemon`;
      return undefined;
    } catch (error) {
      return `somebody cannot be told: ${error instanceof Error ? error.message : String(error)}`;
    }
  };
}

function powersOf(pid: string): { readonly surroundings: string; readonly capabilities: bigint } {
  const namespaces = NAMESPACES.map((name) => readlinkSync(`/proc/${pid}/ns/${name}`));
  const { dev, ino } = statSync(`/proc/${pid}/root/`);
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1];
  if (effective === undefined) throw new Error('its capabilities cannot be read');
  return { surroundings: [...namespaces, dev, ino].join(), capabilities: BigInt(`0x${effective}`) };
}
