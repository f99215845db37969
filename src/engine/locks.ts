/** One lock per scope (a VPC, or the installation), held by a process and dropped by the kernel when it dies: flock(2). */
import { closeSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { VpcctlError } from '../errors.js';
import { loadNative } from '../kernel/native.js';

const FIRST_WAIT_MS = 1;
const LONGEST_WAIT_MS = 50;

export class Locks {
  readonly #dir: string;
  readonly #waitMs: number;

  /** `waitMs`: how long to wait for another process. */
  constructor(stateDir: string, waitMs: number) {
    this.#dir = join(stateDir, 'locks');
    this.#waitMs = waitMs;
  }

  /** Takes the locks of all scopes, in one order for everybody. CONFLICT when another process keeps one for too long. */
  async acquire(scopes: Iterable<string>, signal?: AbortSignal): Promise<() => void> {
    const held = new Held();
    try {
      for (const scope of inOrder(scopes)) held.add(await this.#lock(scope, signal));
    } catch (error) {
      held.release();
      throw error;
    }
    return () => held.release();
  }

  /** Takes the locks if all are free now. */
  tryAcquire(scopes: Iterable<string>): (() => void) | undefined {
    const held = new Held();
    try {
      for (const scope of inOrder(scopes)) {
        const fd = this.#open(scope);
        held.add(fd);
        if (loadNative().flock(fd, 'exclusive')) continue;
        held.release();
        return undefined;
      }
    } catch (error) {
      held.release();
      throw error;
    }
    return () => held.release();
  }

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

  async #lock(scope: string, signal: AbortSignal | undefined): Promise<number> {
    const fd = this.#open(scope);
    const deadline = Date.now() + this.#waitMs;
    try {
      for (let wait = FIRST_WAIT_MS; !loadNative().flock(fd, 'exclusive'); wait = Math.min(wait * 2, LONGEST_WAIT_MS)) {
        signal?.throwIfAborted();
        if (Date.now() >= deadline) {
          const what = scope === '' ? 'the installation' : `vpc ${scope}`;
          throw new VpcctlError('CONFLICT', `${what} is being changed by another process`, {
            object: what,
            hint: 'try again when it has finished',
          });
        }
        // Jitter: waiters of one lock do not stay in step.
        await sleep(wait * (0.5 + Math.random()));
      }
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return fd;
  }
}

/** Locks that were taken: closing the descriptor drops the lock. */
class Held {
  readonly #descriptors: number[] = [];

  add(fd: number): void {
    this.#descriptors.push(fd);
  }

  release(): void {
    for (const fd of this.#descriptors.splice(0).reverse()) closeSync(fd);
  }
}

function inOrder(scopes: Iterable<string>): string[] {
  return [...new Set(scopes)].sort();
}
