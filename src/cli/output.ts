/** Standard output and standard error as the command writes to them. */
import { fstatSync, writeSync } from 'node:fs';

/** The part of a stream that the command uses. */
export interface Output {
  readonly isTTY?: boolean;
  /** Somebody may still read it. */
  readonly writable: boolean;
  write(text: string): unknown;
}

/** What became of text that was not written, and is told nobody by throwing. */
export type OnLost = (error: NodeJS.ErrnoException) => void;

/**
 * A file or a pipe, written to as Node does it, at once and to the end, without its streams: these take 3 ms to load, which is much for a command that
 * takes 70. Everything else (a terminal, a socket, a pipe that somebody made non-blocking) is left to `stream`.
 */
export class StandardOutput implements Output {
  readonly #fd: number;
  readonly #stream: () => NodeJS.WriteStream;
  readonly #onLost: OnLost;
  readonly #direct: boolean;
  #handedOver: NodeJS.WriteStream | undefined;
  #lost = false;

  constructor(fd: number, stream: () => NodeJS.WriteStream, onLost: OnLost) {
    this.#fd = fd;
    this.#stream = stream;
    this.#onLost = onLost;
    this.#direct = isFileOrPipe(fd);
  }

  get isTTY(): boolean {
    return !this.#direct && this.#handOver().isTTY === true;
  }

  get writable(): boolean {
    return !this.#lost && (this.#handedOver?.writable ?? true);
  }

  write(text: string): void {
    if (!this.#direct || this.#handedOver !== undefined) this.#handOver().write(text);
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

function isFileOrPipe(fd: number): boolean {
  try {
    const stat = fstatSync(fd);
    return stat.isFile() || stat.isFIFO();
  } catch {
    // Closed: the stream says so.
    return false;
  }
}
