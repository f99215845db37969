/**
 * What a daemon and its client (native/client.c, which has the other end) say to each other: frames of a kind, a length and a payload. The
 * client begins with {@link Kind.request}, waits for {@link Kind.ready} and answers {@link Kind.go}. Before that nothing is done. Then the daemon
 * prints and asks for input, and ends with {@link Kind.exit} or {@link Kind.handBack}: the client is to run the command itself.
 */
import { posix } from 'node:path';

/** Of both ends; they are always of one installation, so it only tells what is no client of ours. */
const PROTOCOL = 'vpcctl 1';

function code(letter: string): number {
  return letter.charCodeAt(0);
}

/** Kinds of frames, of the client and of the daemon. */
export const Kind = {
  /** Strings, each ended by NUL: protocol, identity, directory, terminals, columns, environment, nothing, arguments. */
  request: code('R'),
  go: code('G'),
  /** The number of a signal that the client got, one byte. */
  signal: code('S'),
  /** Answers {@link statFile}: size (64 bits) and 1 for an ordinary file. */
  fileStatus: code('O'),
  /** Answers {@link pull}; empty at the end. */
  input: code('I'),
  /** Answers either of them: an errno of 16 bits. */
  inputFailed: code('F'),
  ready: code('A'),
  handBack: code('B'),
  stdout: code('1'),
  stderr: code('2'),
  /** A path: from now on input comes from this file; before, from standard input. */
  statFile: code('o'),
  pull: code('p'),
  /** Exit status, one byte. */
  exit: code('X'),
} as const;

const HEADER = 5;
const LARGEST_REQUEST = 1 << 20;
const LARGEST_INPUT = 64 << 10;

/** The longest payload of what a client may send. */
const LONGEST: Readonly<Record<number, number>> = {
  [Kind.request]: LARGEST_REQUEST,
  [Kind.go]: 0,
  [Kind.signal]: 1,
  [Kind.fileStatus]: 9,
  [Kind.input]: LARGEST_INPUT,
  [Kind.inputFailed]: 2,
};

export interface Frame {
  readonly kind: number;
  readonly payload: Buffer;
}

export function encodeFrame(kind: number, payload: string | Uint8Array = ''): Buffer {
  const bytes = typeof payload === 'string' ? Buffer.from(payload) : payload;
  const frame = Buffer.allocUnsafe(HEADER + bytes.length);
  frame.writeUInt8(kind);
  frame.writeUInt32LE(bytes.length, 1);
  frame.set(bytes, HEADER);
  return frame;
}

/** Puts the frames of a client together again, however its bytes arrive. */
export class Frames {
  #rest: Buffer = Buffer.alloc(0);

  /** Throws when no client of ours says this. What arrives is held up to the length of one frame. */
  push(bytes: Buffer): Frame[] {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    const frames: Frame[] = [];
    while (this.#rest.length >= HEADER) {
      const kind = this.#rest.readUInt8();
      const length = this.#rest.readUInt32LE(1);
      const longest = LONGEST[kind];
      if (longest === undefined) throw new Error(`a frame of kind ${kind}`);
      if (length > longest) throw new Error(`a frame of ${length} bytes`);
      if (this.#rest.length < HEADER + length) break;
      frames.push({ kind, payload: this.#rest.subarray(HEADER, HEADER + length) });
      this.#rest = this.#rest.subarray(HEADER + length);
    }
    return frames;
  }
}

/** What a client asks for. */
export interface Request {
  /** Which installation of vpcctl the client is of: `identityOf` in daemon.ts. */
  readonly identity: string;
  readonly cwd: string;
  /** Whether standard input, output and error are terminals. */
  readonly terminals: readonly [boolean, boolean, boolean];
  /** Width of the terminal on standard output. */
  readonly columns: number | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly argv: readonly string[];
}

/** Throws when no client of ours says this. */
export function parseRequest(payload: Buffer): Request {
  const strings = payload.toString('utf8').split('\0');
  const [protocol, identity = '', cwd = '', terminals = '', columns = '', ...rest] = strings;
  const end = rest.indexOf('');
  // The last string is ended too: so nothing comes after it, and the one that ends the environment is another.
  if (protocol !== PROTOCOL || strings.at(-1) !== '' || end < 0 || end === rest.length - 1) {
    throw new Error('a request of another kind');
  }
  if (!posix.isAbsolute(cwd) || !/^[01]{3}$/.test(terminals) || !/^(-1|[0-9]{1,5})$/.test(columns)) {
    throw new Error('a request that is damaged');
  }
  const variables = rest.slice(0, end).map((variable) => {
    const at = variable.indexOf('=');
    if (at < 1) throw new Error('a request that is damaged');
    return [variable.slice(0, at), variable.slice(at + 1)] as const;
  });
  const [stdin, stdout, stderr] = [...terminals].map((digit) => digit === '1') as [boolean, boolean, boolean];
  return {
    identity,
    cwd,
    terminals: [stdin, stdout, stderr],
    columns: columns === '-1' ? undefined : Number(columns),
    env: Object.fromEntries(variables),
    argv: rest.slice(end + 1, -1),
  };
}
