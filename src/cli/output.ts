/** Standard output and standard error as the command writes to them. */
import { fstatSync, writeSync } from 'node:fs';

/** The part of a stream that the command uses. */
export interface Output {
  readonly isTTY?: boolean;
  /** Width of the terminal, if it is one. */
  readonly columns?: number | undefined;
  /** Somebody may still read it. */
  readonly writable: boolean;
  write(text: string): unknown;
}

/** What became of text that was not written, and is told nobody by throwing. */
export type OnLost = (error: NodeJS.ErrnoException) => void;

/**
 * A file, a pipe or a terminal, written to as Node does it, at once and to the end, without its streams: these take 3 ms to load, which is much for a
 * command that takes 70. Everything else (a socket, a pipe that somebody made non-blocking) is left to `stream`.
 */
export class StandardOutput implements Output {
  readonly #fd: number;
  readonly #stream: () => NodeJS.WriteStream;
  readonly #onLost: OnLost;
  readonly #kind: 'plain' | 'terminal' | 'other';
  #handedOver: NodeJS.WriteStream | undefined;
  #lost = false;

  constructor(fd: number, stream: () => NodeJS.WriteStream, onLost: OnLost) {
    this.#fd = fd;
    this.#stream = stream;
    this.#onLost = onLost;
    this.#kind = kindOf(fd);
  }

  get isTTY(): boolean {
    return this.#kind === 'other' ? this.#handOver().isTTY === true : this.#kind === 'terminal';
  }

  get columns(): number | undefined {
    return this.isTTY ? this.#stream().columns : undefined;
  }

  get writable(): boolean {
    return !this.#lost && (this.#handedOver?.writable ?? true);
  }

  /** All that was to be written is: nothing waits in a stream. */
  get isFlushed(): boolean {
    return this.#handedOver === undefined;
  }

  write(text: string): void {
    if (this.#kind === 'other' || this.#handedOver !== undefined) this.#handOver().write(text);
    else if (!this.#lost) this.#writeNow(Buffer.from(text));
  }

  #writeNow(bytes: Buffer): void {
    let written = 0;
    try {
      while (written < bytes.length) written += writeSync(this.#fd, bytes, written);
    } catch (error) {
      const failure = error as NodeJS.ErrnoException;
      if (failure.code === 'EAGAIN') this.#handOver().write(bytes.subarray(written));
      else this.#lose(failure);
    }
  }

  #handOver(): NodeJS.WriteStream {
    if (this.#handedOver === undefined) {
      this.#handedOver = this.#stream();
      this.#handedOver.on('error', (error) => this.#lose(error));
    }
    return this.#handedOver;
  }

  #lose(error: NodeJS.ErrnoException): void {
    this.#lost = true;
    this.#onLost(error);
  }
}

/** Major numbers of devices (admin-guide/devices.txt): memory, /dev/null among it; terminals, consoles and pseudo-terminals. */
const MEMORY = 1;
const TERMINALS: ReadonlySet<number> = new Set([4, 5, 136, 137, 138, 139, 140, 141, 142, 143]);

function kindOf(fd: number): 'plain' | 'terminal' | 'other' {
  try {
    const stat = fstatSync(fd);
    if (stat.isFile() || stat.isFIFO()) return 'plain';
    const major = stat.isCharacterDevice() ? (stat.rdev >> 8) & 0xfff : 0;
    return major === MEMORY ? 'plain' : TERMINALS.has(major) ? 'terminal' : 'other';
  } catch {
    // Closed: the stream says so.
    return 'other';
  }
}
