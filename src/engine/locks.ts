/**
 * One lock per scope (a VPC, or the installation), held by a process and dropped by the kernel when it dies: flock(2) on a file.
 *
 * Inside a process whoever wants a scope stands in line for it, and only the first contends with other processes. Between processes the line is a
 * byte for each that waits, locked in the same file at the time it came: who has no earlier byte before it is next. A process keeps the lock for
 * the next in its own line for {@link TENURE_MS} at most, so that neither the line inside nor the one outside is starved.
 */
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { VpcctlError } from '../errors.js';
import { loadNative } from '../kernel/native.js';

const FIRST_WAIT_MS = 1;
const LONGEST_WAIT_MS = 8;
/** How long a process may hand a lock on within itself while others wait. */
const TENURE_MS = 20;
/** Tries at a byte nobody has: two processes may have come in one microsecond. */
const PLACES = 8;

/** A scope that somebody in this process has or waits for. */
interface Line {
  /** The lock's descriptor, while this process has it. */
  fd?: number;
  takenAt: number;
  /** When this process last had it, as far as those in line remember. */
  hadUntil: number;
  readonly waiters: Waiter[];
}

interface Waiter {
  readonly proceed: () => void;
  readonly refuse: (error: Error) => void;
}

/** What a transaction needs of {@link Locks}. */
export type Locking = Pick<Locks, 'acquire' | 'tryAcquire' | 'close'>;

export class Locks {
  readonly #dir: string;
  readonly #waitMs: number;
  readonly #lines = new Map<string, Line>();
  #closed: Error | undefined;

  /** `waitMs`: how long to wait for another process. */
  constructor(stateDir: string, waitMs: number) {
    this.#dir = join(stateDir, 'locks');
    this.#waitMs = waitMs;
  }

  /**
   * Takes the locks of all scopes, one after the other in one order for everybody, so that no two wait for each other. CONFLICT when another
   * process keeps one for too long; waiting in this process' own line has no limit.
   */
  async acquire(scopes: Iterable<string>, signal?: AbortSignal): Promise<() => void> {
    const held: string[] = [];
    try {
      for (const scope of inOrder(scopes)) {
        await this.#enter(scope, signal);
        held.push(scope);
      }
    } catch (error) {
      this.#leave(held);
      throw error;
    }
    return () => this.#leave(held);
  }

  /** Takes the locks if all are free now and nobody in this process is in line for them. */
  tryAcquire(scopes: Iterable<string>): (() => void) | undefined {
    const held: string[] = [];
    try {
      for (const scope of inOrder(scopes)) {
        if (!this.#tryEnter(scope)) {
          this.#leave(held);
          return undefined;
        }
        held.push(scope);
      }
    } catch (error) {
      this.#leave(held);
      throw error;
    }
    return () => this.#leave(held);
  }

  /** Refuses all who wait, and all who come. Locks that are held stay held until they are given back. */
  close(reason: Error): void {
    this.#closed = reason;
    for (const { waiters } of this.#lines.values()) for (const { refuse } of waiters.splice(0)) refuse(reason);
  }

  // --- inside this process -------------------------------------------------------------------------------------------

  async #enter(scope: string, signal: AbortSignal | undefined): Promise<void> {
    if (this.#closed !== undefined) throw this.#closed;
    signal?.throwIfAborted();
    const came = Date.now();
    const known = this.#lines.get(scope);
    const line = known ?? { takenAt: 0, hadUntil: 0, waiters: [] };
    if (known === undefined) this.#lines.set(scope, line);
    else await turn(known, signal);
    if (line.fd !== undefined) return;
    try {
      // Who stood behind one that waited in vain has waited as long.
      line.fd = await this.#contend(scope, Math.max(came, line.hadUntil) + this.#waitMs, signal);
      line.takenAt = Date.now();
    } catch (error) {
      this.#pass(scope, line);
      throw error;
    }
  }

  #tryEnter(scope: string): boolean {
    if (this.#lines.has(scope)) return false;
    const fd = this.#open(scope);
    let taken = false;
    try {
      taken = loadNative().flock(fd, 'exclusive');
    } finally {
      if (!taken) closeSync(fd);
    }
    if (taken) this.#lines.set(scope, { fd, takenAt: Date.now(), hadUntil: 0, waiters: [] });
    return taken;
  }

  /** Gives the scopes back; the second time they are not there. */
  #leave(held: string[]): void {
    for (const scope of held.splice(0).reverse()) {
      const line = this.#lines.get(scope);
      if (line === undefined) continue;
      line.hadUntil = Date.now();
      if (line.fd !== undefined && (line.waiters.length === 0 || line.hadUntil - line.takenAt >= TENURE_MS)) {
        closeSync(line.fd);
        delete line.fd;
      }
      this.#pass(scope, line);
    }
  }

  #pass(scope: string, line: Line): void {
    const next = line.waiters.shift();
    if (next !== undefined) next.proceed();
    else this.#lines.delete(scope);
  }

  // --- between processes ---------------------------------------------------------------------------------------------

  #open(scope: string): number {
    const path = join(this.#dir, `${scope === '' ? '_installation' : scope}.lock`);
    try {
      return openSync(path, 'a', 0o600);
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      throw new VpcctlError('STATE', `cannot open the lock ${path}`, {
        ...(code === undefined ? {} : { errno: code }),
        hint:
          code === 'ENOSPC' ? 'free some space; nothing was changed' : 'check the state directory and its permissions',
        cause,
      });
    }
  }

  async #contend(scope: string, deadline: number, signal: AbortSignal | undefined): Promise<number> {
    const fd = this.#open(scope);
    try {
      const { flock, lockByte } = loadNative();
      if (lockByte(fd, Number.MAX_SAFE_INTEGER, 'free-before') && flock(fd, 'exclusive')) return fd;
      const place = takePlace(fd);
      for (let wait = FIRST_WAIT_MS; ; wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
        if (lockByte(fd, place, 'free-before') && flock(fd, 'exclusive')) break;
        if (this.#closed !== undefined) throw this.#closed;
        signal?.throwIfAborted();
        if (Date.now() >= deadline) throw keptBusy(scope);
        await sleep(wait);
      }
      lockByte(fd, place, 'release');
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }
}

/** Waits until those who came before in this process have passed. */
function turn(line: Line, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      line.waiters.splice(line.waiters.indexOf(waiter), 1);
      reject(signal?.reason as Error);
    };
    const waiter: Waiter = {
      proceed: () => {
        signal?.removeEventListener('abort', abort);
        resolve();
      },
      refuse: (error) => {
        signal?.removeEventListener('abort', abort);
        reject(error);
      },
    };
    line.waiters.push(waiter);
    signal?.addEventListener('abort', abort, { once: true });
  });
}

/** A place in the line of processes. Which one matters for the order only: flock alone excludes. */
function takePlace(fd: number): number {
  const now = Number(process.hrtime.bigint() / 1000n);
  for (let place = now; place < now + PLACES; place += 1) if (loadNative().lockByte(fd, place, 'take')) return place;
  // A file system that cannot: not in line, but contending.
  return 0;
}

function keptBusy(scope: string): VpcctlError {
  const what = scope === '' ? 'the installation' : `vpc ${scope}`;
  return new VpcctlError('CONFLICT', `${what} is being changed by another process`, {
    object: what,
    hint: 'try again when it has finished',
  });
}

function inOrder(scopes: Iterable<string>): string[] {
  return [...new Set(scopes)].sort();
}
