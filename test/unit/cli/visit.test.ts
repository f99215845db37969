import { duplexPair, type Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Host } from '../../../src/cli/host.js';
import { buildProgram } from '../../../src/cli/program.js';
import { Session } from '../../../src/cli/session.js';
import { ANSWERED, type Answering, Visit } from '../../../src/cli/visit.js';
import { encodeFrame, Kind } from '../../../src/cli/wire.js';
import { vpcctl } from './support.js';

type Run = Answering['run'];

/** The other end of a visit: what native/client.c does, step by step. */
class FakeClient {
  readonly visit: Visit;
  readonly notes: string[] = [];
  closed = false;
  readonly #end;
  readonly #other;
  #heard: Buffer = Buffer.alloc(0);

  constructor(run: Run, answering: Partial<Answering> = {}) {
    const [client, daemon] = duplexPair();
    this.#end = client;
    this.#other = daemon;
    client.on('data', (bytes: Buffer) => {
      this.#heard = Buffer.concat([this.#heard, bytes]);
    });
    client.on('error', () => {});
    daemon.on('error', () => {});
    daemon.once('close', () => {
      this.closed = true;
    });
    const note = (line: string) => void this.notes.push(line);
    this.visit = new Visit(daemon, { run, answers: () => true, open: () => undefined, note, ...answering });
  }

  say(kind: number, payload?: string | Uint8Array): void {
    this.#end.write(encodeFrame(kind, payload));
  }

  request(argv: readonly string[], terminals = '000', cwd = '/work'): void {
    const strings = ['vpcctl 1', 'this one', cwd, terminals, '80', 'NO_COLOR=1', '', ...argv];
    this.say(Kind.request, strings.map((text) => `${text}\0`).join(''));
  }

  /** The next frame. */
  async hear(): Promise<readonly [kind: string, payload: string]> {
    for (let turn = 0; turn < 500; turn += 1) {
      const size = this.#heard.length < 5 ? Number.POSITIVE_INFINITY : this.#heard.readUInt32LE(1);
      if (this.#heard.length >= 5 + size) {
        const frame = [
          String.fromCharCode(this.#heard.readUInt8()),
          this.#heard.toString('latin1', 5, 5 + size),
        ] as const;
        this.#heard = this.#heard.subarray(5 + size);
        return frame;
      }
      await sleep(1);
    }
    throw new Error(`nothing more is said; ${this.notes.join('; ')}`);
  }

  /** Up to the command's begin. */
  async begin(argv: readonly string[], terminals?: string): Promise<void> {
    this.request(argv, terminals);
    expect(await this.hear()).toEqual(['A', '']);
    this.say(Kind.go);
  }

  leave(): void {
    // A pair does not tell its other end, as a socket does.
    this.#other.destroy();
  }
}

/** A command that prints what it was given. */
const telling: Run = async (argv, host) => {
  host.stdout.write(JSON.stringify([argv, host.env, host.caller?.cwd, host.stdout.isTTY, host.stdout.columns]));
  host.stderr.write('done');
  return 7;
};

/** A command that does `body` with what it is run with. */
function doing(body: (host: Host) => Promise<unknown>): Run {
  return async (_argv, host) => {
    try {
      host.stdout.write(String(await body(host)));
      return 0;
    } catch (error) {
      host.stderr.write(String(error));
      return 1;
    }
  };
}

afterEach(() => void vi.useRealTimers());

test('a command runs with what is its client’s, and ends with its status', async () => {
  const client = new FakeClient(telling);
  await client.begin(['list', '--json'], '010');
  expect(await client.hear()).toEqual(['1', '[["list","--json"],{"NO_COLOR":"1"},"/work",true,80]']);
  expect(await client.hear()).toEqual(['2', 'done']);
  expect(await client.hear()).toEqual(['X', '\x07']);
});

describe('nothing runs', () => {
  test('before the client gives leave', async () => {
    const run = vi.fn(telling);
    const client = new FakeClient(run);
    client.request(['list']);
    expect(await client.hear()).toEqual(['A', '']);
    await sleep(20);
    expect(run).not.toHaveBeenCalled();
  });

  test('for another installation', async () => {
    const run = vi.fn(telling);
    const client = new FakeClient(run, { answers: ({ identity }) => identity !== 'this one' });
    client.request(['list']);
    expect(await client.hear()).toEqual(['B', '']);
    // Nor when it does not go away.
    client.say(Kind.go);
    await sleep(20);
    expect(run).not.toHaveBeenCalled();
  });

  test.each([
    ['garbage', (client: FakeClient) => client.say(0x7f, 'x')],
    ['leave without a request', (client: FakeClient) => client.say(Kind.go)],
    ['a request that is none', (client: FakeClient) => client.say(Kind.request, 'x')],
    ['input before the command', (client: FakeClient) => [client.request(['list']), client.say(Kind.input, 'x')]],
  ])('after %s', async (_title, say) => {
    const run = vi.fn(telling);
    const client = new FakeClient(run);
    say(client);
    await vi.waitFor(() => expect(client.closed).toBe(true));
    expect(client.notes).toHaveLength(1);
    expect(run).not.toHaveBeenCalled();
  });

  test('for who says nothing', async () => {
    vi.useFakeTimers();
    const client = new FakeClient(telling);
    await vi.advanceTimersByTimeAsync(4_900);
    expect(client.closed).toBe(false);
    await vi.advanceTimersByTimeAsync(200);
    expect(client.closed).toBe(true);
  });
});

describe('a command is given up', () => {
  const waiting = doing(async ({ signal }) => {
    await new Promise((resolve) => signal.addEventListener('abort', resolve));
    return signal.reason;
  });

  test.each([
    [2, 'SIGINT'],
    [15, 'SIGTERM'],
    [1, 'SIGHUP'],
  ])('by signal %d', async (number, name) => {
    const client = new FakeClient(waiting);
    await client.begin(['x']);
    client.say(Kind.signal, Uint8Array.of(number));
    expect(await client.hear()).toEqual(['1', name]);
    expect(await client.hear()).toEqual(['X', '\0']);
  });

  test('when the daemon ends', async () => {
    const client = new FakeClient(waiting);
    await client.begin(['x']);
    client.visit.end();
    expect(await client.hear()).toEqual(['1', 'SIGTERM']);
  });

  test('when the client leaves, and is waited for', async () => {
    const ended: unknown[] = [];
    const client = new FakeClient(async (argv, host) => {
      const status = await waiting(argv, host);
      await sleep(10);
      ended.push(host.signal.reason);
      return status;
    });
    await client.begin(['x']);
    client.leave();
    await client.visit.over;
    expect(ended).toEqual(['SIGHUP']);
  });

  test('when a client says what it was not asked', async () => {
    const client = new FakeClient(waiting);
    await client.begin(['x']);
    client.say(Kind.input, 'x');
    await client.visit.over;
    expect(client.closed).toBe(true);
  });
});

describe('input', () => {
  const reading = doing(async ({ stdin }) => {
    let text = '';
    for await (const chunk of stdin as Readable) text += String(chunk);
    return text;
  });

  test('of standard input comes piece by piece, when it is wanted', async () => {
    const client = new FakeClient(reading);
    await client.begin(['x']);
    for (const piece of ['one ', 'two', '']) {
      expect(await client.hear()).toEqual(['p', '']);
      client.say(Kind.input, piece);
    }
    expect(await client.hear()).toEqual(['1', 'one two']);
  });

  test('that cannot be read is a system error', async () => {
    const client = new FakeClient(reading);
    await client.begin(['x']);
    expect(await client.hear()).toEqual(['p', '']);
    client.say(Kind.inputFailed, Uint8Array.of(5, 0));
    expect(await client.hear()).toEqual(['2', 'Error: EIO: i/o error, read']);
  });

  const file = doing(async ({ caller }) => {
    const { size } = (await caller?.files.stat('a/b')) ?? { size: -1 };
    const bytes = await caller?.files.readFile('a/b', 1_000);
    return `${size} ${bytes}`;
  });
  const status = (size: number, ordinary: boolean) => {
    const bytes = Buffer.alloc(9);
    bytes.writeBigUInt64LE(BigInt(size));
    bytes.writeUInt8(ordinary ? 1 : 0, 8);
    return bytes;
  };

  test('of a file is read by the client', async () => {
    const client = new FakeClient(file);
    await client.begin(['x']);
    expect(await client.hear()).toEqual(['o', 'a/b']);
    client.say(Kind.fileStatus, status(3, true));
    for (const piece of ['abc', '']) {
      expect(await client.hear()).toEqual(['p', '']);
      client.say(Kind.input, piece);
    }
    expect(await client.hear()).toEqual(['1', '3 abc']);
  });

  test('without an end is not waited for', async () => {
    const client = new FakeClient(file);
    await client.begin(['x']);
    await client.hear();
    client.say(Kind.fileStatus, status(0, false));
    for (let piece = 0; piece < 3; piece += 1) {
      expect(await client.hear()).toEqual(['p', '']);
      client.say(Kind.input, 'x'.repeat(400));
    }
    expect(await client.hear()).toEqual(['1', `0 ${'x'.repeat(1_200)}`]);
  });

  test('of a pipe is left to the client where a question may follow', async () => {
    const client = new FakeClient(file);
    await client.begin(['x'], '101');
    await client.hear();
    client.say(Kind.fileStatus, status(0, false));
    expect(await client.hear()).toEqual(['B', '']);
  });
});

describe('a command is handed back', () => {
  test('when it needs a process of its own', async () => {
    const client = new FakeClient(doing(async ({ caller }) => caller?.admit('exec')));
    await client.begin(['exec']);
    expect(await client.hear()).toEqual(['B', '']);
    await expect(client.hear()).rejects.toThrow('nothing more is said');
  });

  test('when it is about another state directory', async () => {
    const client = new FakeClient(doing(async ({ open }) => open({})));
    await client.begin(['list']);
    expect(await client.hear()).toEqual(['B', '']);
  });
});

test('every command is either answered or known to need a process of its own', () => {
  const session = new Session({ stdout: {} } as Host);
  const names = buildProgram(session, () => {}).commands.map((command) => command.name());
  const own = ['batch', 'bench', 'completion', 'daemon', 'deploy-app', 'doctor', 'exec', 'watch'];
  expect(names.filter((name) => !ANSWERED.has(name)).sort()).toEqual(own);
  expect([...ANSWERED].filter((name) => !names.includes(name))).toEqual([]);
});

test.each(['501', '-1', 'x', ''])('a daemon keeps no %j namespaces ready', async (pool) => {
  const { exitCode, stderr } = await vpcctl(['daemon', `--pool=${pool}`]);
  expect([exitCode, stderr]).toEqual([2, expect.stringContaining('Expected a number from 0 to 500.')]);
});
