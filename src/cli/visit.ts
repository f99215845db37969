/** One client of a daemon: its command runs here, and everything around it is the client's (wire.ts). */
import { constants } from 'node:os';
import { type Duplex, Readable } from 'node:stream';
import { getSystemErrorMap } from 'node:util';
import type { OpenOptions } from '../index.js';
import { type Caller, type Host, type Library, SIGNAL_EXIT } from './host.js';
import type { Output } from './output.js';
import { encodeFrame, type Frame, Frames, Kind, parseRequest, type Request } from './wire.js';

/** A client says what it wants at once. */
const GREETING_MS = 5_000;

/**
 * Commands that a daemon answers. The others need a process of their own: `exec` and `deploy-app` for the terminal, the limits, the
 * control group and the environment of the program they start; `doctor` because it examines what its caller's process has and may; `watch`,
 * `daemon`, `batch` and `bench` because they stay; `completion` because nobody waits for it.
 */
export const ANSWERED: ReadonlySet<string> = new Set([
  'configure',
  'create-vpc',
  'delete-vpc',
  'cleanup-all',
  'add-subnet',
  'delete-subnet',
  'add-instance',
  'modify-instance',
  'delete-instance',
  'assign-private-ip-addresses',
  'unassign-private-ip-addresses',
  'peer-vpcs',
  'unpeer-vpcs',
  'create-route-table',
  'delete-route-table',
  'create-route',
  'delete-route',
  'associate-route-table',
  'create-nat-gateway',
  'delete-nat-gateway',
  'create-egress-only-internet-gateway',
  'delete-egress-only-internet-gateway',
  'allocate-address',
  'release-address',
  'associate-address',
  'disassociate-address',
  'create-network-acl',
  'put-network-acl',
  'delete-network-acl',
  'create-network-acl-entry',
  'delete-network-acl-entry',
  'associate-network-acl',
  'create-prefix-list',
  'modify-prefix-list',
  'delete-prefix-list',
  'modify-vpc-dns',
  'create-private-zone',
  'delete-private-zone',
  'associate-private-zone',
  'disassociate-private-zone',
  'put-zone-record',
  'delete-zone-record',
  'create-transit-gateway',
  'delete-transit-gateway',
  'attach-vpc',
  'detach-vpc',
  'create-transit-gateway-route-table',
  'delete-transit-gateway-route-table',
  'create-transit-gateway-route',
  'delete-transit-gateway-route',
  'put-security-group',
  'delete-security-group',
  'apply-policy',
  'show-policy',
  'clear-policy',
  'stop-app',
  'plan',
  'apply',
  'destroy',
  'export',
  'import',
  'cut-connections',
  'schema',
  'list',
  'show',
  'inspect',
  'analyze',
  'matrix',
  'drift',
  'repair',
  'restore',
]);

/** What a daemon has for its clients. */
export interface Answering {
  readonly run: (argv: readonly string[], host: Host) => Promise<number>;
  /** Whether it is the one to ask: for another installation of vpcctl, or another state file than it has open, it is not. */
  readonly answers: (request: Request) => boolean;
  /** The library for one run; undefined: of another state directory. */
  readonly open: (options: OpenOptions, request: Request) => Promise<Library> | undefined;
  readonly note: (line: string) => void;
}

class HandedBack extends Error {}

/** A request of the daemon's that the client answers with one frame. */
interface Question {
  readonly answer: (frame: Frame) => void;
  readonly fail: (error: Error) => void;
}

export class Visit {
  /** Resolves when the client has left and its command has ended. */
  readonly over: Promise<void>;
  readonly #socket: Duplex;
  readonly #daemon: Answering;
  readonly #frames = new Frames();
  readonly #abort = new AbortController();
  readonly #greeting: NodeJS.Timeout;
  #request: Request | undefined;
  #running: Promise<void> | undefined;
  #question: Question | undefined;
  /** Nothing more is said: the command was handed back, or the client has left. */
  #silent = false;

  constructor(socket: Duplex, daemon: Answering) {
    this.#socket = socket;
    this.#daemon = daemon;
    this.#greeting = setTimeout(() => socket.destroy(), GREETING_MS);
    socket.on('data', (bytes: Buffer) => this.#hear(bytes));
    this.over = new Promise((resolve) => {
      socket.once('close', () => {
        clearTimeout(this.#greeting);
        this.#leave();
        void (this.#running ?? Promise.resolve()).then(resolve);
      });
    });
    socket.resume();
  }

  /** Undoes what the command has begun. */
  abort(signal: NodeJS.Signals): void {
    if (!this.#abort.signal.aborted) this.#abort.abort(signal);
  }

  /** Undoes it, and does not wait for a client that reads no more. */
  end(): void {
    this.abort('SIGTERM');
    void (this.#running ?? Promise.resolve()).then(() => this.#socket.destroy());
  }

  #leave(): void {
    this.#silent = true;
    this.abort('SIGHUP');
    this.#question?.fail(new Error('the client has left'));
  }

  #hear(bytes: Buffer): void {
    try {
      for (const frame of this.#frames.push(bytes)) this.#take(frame);
    } catch (error) {
      this.#daemon.note(`somebody who is no client said ${error instanceof Error ? error.message : String(error)}`);
      this.#socket.destroy();
    }
  }

  #take(frame: Frame): void {
    const { kind, payload } = frame;
    if (this.#request === undefined) {
      if (kind !== Kind.request) throw new Error('something before its request');
      this.#greet(parseRequest(payload));
      return;
    }
    if (this.#running === undefined) {
      if (kind !== Kind.go) throw new Error('something before its leave');
      clearTimeout(this.#greeting);
      this.#running = this.#run(this.#request);
      return;
    }
    if (kind === Kind.signal) {
      const number = payload.readUInt8();
      const signal = Object.keys(SIGNAL_EXIT).find((name) => constants.signals[name as NodeJS.Signals] === number);
      if (signal === undefined) throw new Error(`signal ${number}`);
      this.abort(signal as NodeJS.Signals);
      return;
    }
    const question = this.#question;
    this.#question = undefined;
    if (question === undefined) throw new Error('something that it was not asked for');
    question.answer(frame);
  }

  #greet(request: Request): void {
    if (this.#daemon.answers(request)) {
      this.#request = request;
      this.#say(Kind.ready);
    } else {
      this.#say(Kind.handBack);
      this.#socket.end();
    }
  }

  #say(kind: number, payload?: string | Uint8Array): void {
    if (!this.#silent) this.#socket.write(encodeFrame(kind, payload));
  }

  async #run(request: Request): Promise<void> {
    let exitCode: number;
    try {
      exitCode = await this.#daemon.run(request.argv, this.#host(request));
    } catch (error) {
      // It never does; were it to, the others go on.
      this.#daemon.note(error instanceof Error && error.stack !== undefined ? error.stack : String(error));
      this.#socket.destroy();
      return;
    }
    this.#say(Kind.exit, Buffer.of(exitCode & 0xff));
    this.#silent = true;
    this.#socket.end();
  }

  #handBack(): never {
    this.#say(Kind.handBack);
    this.#silent = true;
    throw new HandedBack('this runs in a process of its own');
  }

  // --- what is the client's ------------------------------------------------------------------------------------------

  #host(request: Request): Host {
    const { env, terminals, columns } = request;
    const [stdin, stdout, stderr] = terminals;
    return {
      env,
      stdin: Object.assign(this.#stdin(), { isTTY: stdin }),
      stdout: { ...this.#output(Kind.stdout), isTTY: stdout, columns },
      stderr: { ...this.#output(Kind.stderr), isTTY: stderr },
      signal: this.#abort.signal,
      yieldTerminal: () => {},
      open: async (options) => this.#daemon.open(options, request) ?? this.#handBack(),
      caller: this.#caller(request),
    };
  }

  #output(kind: number): Output {
    return { writable: true, write: (text) => this.#say(kind, text) };
  }

  #stdin(): Readable {
    const stream = new Readable({
      read: () => {
        this.#pull('read').then(
          (chunk) => stream.push(chunk.length === 0 ? null : chunk),
          (error: Error) => stream.destroy(error),
        );
      },
    });
    return stream;
  }

  #caller({ cwd, terminals: [terminal] }: Request): Caller {
    return {
      cwd,
      admit: (command) => {
        if (!ANSWERED.has(command)) this.#handBack();
      },
      handBack: () => this.#handBack(),
      files: {
        stat: async (path) => {
          const status = await this.#ask(Kind.statFile, path, Kind.fileStatus, `stat '${path}'`);
          // A pipe can be read once. Where a question may follow, which the process itself has to ask, it does the reading too.
          if (status.readUInt8(8) === 0 && terminal) this.#handBack();
          return { size: Number(status.readBigUInt64LE()) };
        },
        readFile: async (path, most) => {
          const chunks: Buffer[] = [];
          for (let size = 0; size <= most; ) {
            const chunk = await this.#pull(chunks.length === 0 ? `open '${path}'` : 'read');
            if (chunk.length === 0) break;
            size += chunk.length;
            chunks.push(chunk);
          }
          return Buffer.concat(chunks);
        },
      },
    };
  }

  /** `what` a failure is said to be of, as Node says it. */
  async #pull(what: string): Promise<Buffer> {
    return this.#ask(Kind.pull, '', Kind.input, what);
  }

  async #ask(kind: number, payload: string, expected: number, what: string): Promise<Buffer> {
    if (this.#question !== undefined) throw new Error('the client is being asked already');
    const frame = await new Promise<Frame>((answer, fail) => {
      this.#question = { answer, fail };
      if (this.#silent) fail(new Error('the client has left'));
      else this.#say(kind, payload);
    });
    if (frame.kind === Kind.inputFailed) throw systemError(frame.payload.readUInt16LE(), what);
    if (frame.kind !== expected) throw new Error('the client answered something else');
    return frame.payload;
  }
}

/** As Node words what a system call refused. */
function systemError(errno: number, what: string): Error {
  const [code, words] = getSystemErrorMap().get(-errno) ?? [`E${errno}`, 'unknown error'];
  return Object.assign(new Error(`${code}: ${words}, ${what}`), { code, errno: -errno });
}
