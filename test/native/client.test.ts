/** The client alone, against a daemon that the test plays; `node` on its PATH is a script that says how it was called. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { encodeFrame, type Frame, Frames, Kind, parseRequest, type Request } from '../../src/cli/wire.js';
import { launcherPath } from '../../src/kernel/native.js';

const { VPCCTL_PREBUILD } = process.env;
// scripts/native-sanitize.mjs has one of its own.
const built = VPCCTL_PREBUILD === undefined ? dirname(launcherPath()) : join(VPCCTL_PREBUILD, 'build', 'Release');

let temp = '';
let state = '';
let client = '';
let main = '';
beforeAll(() => {
  temp = realpathSync(mkdtempSync(join(tmpdir(), 'vpcctl-client-')));
  // A package of its own, of which it looks for no more.
  client = join(temp, 'prebuilds', 'any', 'vpcctl-client');
  main = join(temp, 'dist', 'cli', 'main.cjs');
  for (const path of [client, main]) mkdirSync(dirname(path), { recursive: true });
  copyFileSync(join(built, 'vpcctl-client'), client);
  writeFileSync(main, '');
  // Another user's daemon must be able to be in it.
  chmodSync(temp, 0o755);
  state = join(temp, 'state');
  mkdirSync(join(state, 'daemon'), { recursive: true });
  writeFileSync(join(temp, 'node'), '#!/bin/sh\nfor a; do printf "<%s>" "$a"; done; exit 42\n', { mode: 0o755 });
});
afterAll(() => rmSync(temp, { recursive: true }));

interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
}

interface Start {
  readonly env?: Readonly<Record<string, string>>;
  readonly stdin?: 'pipe' | 'ignore';
  readonly stdout?: 'pipe' | number;
}

function start(args: readonly string[], { env = {}, stdin = 'ignore', stdout = 'pipe' }: Start = {}): Started {
  const child = spawn(client, args, {
    cwd: temp,
    env: { PATH: `${temp}:/usr/bin:/bin`, VPCCTL_STATE: state, ...env },
    stdio: [stdin, stdout, 'pipe'],
  });
  const said: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] };
  child.stdout?.on('data', (bytes: Buffer) => said.stdout.push(bytes));
  child.stderr?.on('data', (bytes: Buffer) => said.stderr.push(bytes));
  const ended = new Promise<Ended>((resolve) =>
    child.once('close', (status, signal) => {
      const text = (of: 'stdout' | 'stderr') => Buffer.concat(said[of]).toString('latin1');
      resolve({ status, signal, stdout: text('stdout'), stderr: text('stderr') });
    }),
  );
  return { child, ended };
}

async function run(args: readonly string[], options?: Start): Promise<Ended> {
  return start(args, options).ended;
}

/** What Node says of itself in this test. */
function node(...args: readonly string[]): Ended {
  return { status: 42, signal: null, stdout: [main, ...args].map((arg) => `<${arg}>`).join(''), stderr: '' };
}

/** One connection of a client. */
class Conversation {
  readonly #socket: Socket;
  readonly #frames = new Frames();
  readonly #heard: Frame[] = [];
  closed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (bytes: Buffer) => this.#heard.push(...this.#frames.push(bytes)));
    socket.on('error', () => {});
    socket.once('close', () => {
      this.closed = true;
    });
  }

  say(kind: number, payload?: string | Uint8Array): void {
    this.#socket.write(encodeFrame(kind, payload));
  }

  async hear(kind: number): Promise<Buffer> {
    for (let turn = 0; this.#heard.length === 0; turn += 1) {
      if (turn > 2_000 || this.closed) throw new Error('the client says nothing');
      await sleep(1);
    }
    const frame = this.#heard.shift() as Frame;
    expect(String.fromCharCode(frame.kind)).toBe(String.fromCharCode(kind));
    return frame.payload;
  }

  async begin(): Promise<Request> {
    const request = parseRequest(await this.hear(Kind.request));
    this.say(Kind.ready);
    await this.hear(Kind.go);
    return request;
  }

  exit(status: number): void {
    this.say(Kind.exit, Uint8Array.of(status));
    this.#socket.end();
  }

  vanish(): void {
    this.#socket.destroy();
  }
}

let server: Server | undefined;
afterEach(async () => {
  if (server !== undefined) await new Promise((resolve) => server?.close(resolve));
  server = undefined;
});

/** Plays the daemon of `state`; `over` resolves with what each conversation so far has come to. */
async function daemon(talk: (conversation: Conversation) => unknown): Promise<{ over: () => Promise<unknown[]> }> {
  const talks: Promise<unknown>[] = [];
  server = createServer((socket) => talks.push(Promise.resolve(talk(new Conversation(socket)))));
  await new Promise<void>((resolve) => server?.listen(join(state, 'daemon', 'socket'), resolve));
  return { over: async () => Promise.all(talks) };
}

describe('becomes Node', () => {
  it('where there is no daemon, with its arguments as they are', async () => {
    expect(await run(['list', '', 'a b', '--', '$HOME'])).toEqual(node('list', '', 'a b', '--', '$HOME'));
    expect(await run([], { env: { VPCCTL_STATE: `/${'x'.repeat(200)}` } })).toEqual(node());
  });

  it('and says so where that cannot be', async () => {
    const { status, stderr } = await run(['list'], { env: { PATH: '/nowhere' } });
    expect([status, stderr]).toEqual([127, 'vpcctl: cannot start node: ENOENT (No such file or directory)\n']);
  });

  it('where a daemon that was killed has left its socket', async () => {
    const path = join(state, 'daemon', 'socket');
    const script = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    await new Promise((resolve) => spawn(process.execPath, ['-e', script]).once('close', resolve));
    expect(statSync(path).isSocket()).toBe(true);
    const done = await run(['list']);
    rmSync(path);
    expect(done).toEqual(node('list'));
  });

  it.each([
    ['hangs up', (talk: Conversation) => talk.vanish()],
    ['does not know it', (talk: Conversation) => talk.say(Kind.handBack)],
    ['says something else', (talk: Conversation) => talk.exit(0)],
  ])('when the daemon %s', async (_title, answer) => {
    await daemon(answer);
    expect(await run(['list'])).toEqual(node('list'));
  });

  it('when the daemon says nothing, and gives it no leave', async () => {
    const { over } = await daemon(async (talk) => {
      await talk.hear(Kind.request);
      return talk.hear(Kind.go).catch(String);
    });
    const began = Date.now();
    expect(await run(['list'])).toEqual(node('list'));
    expect(Date.now() - began).toBeGreaterThan(1_900);
    expect(await over()).toEqual(['Error: the client says nothing']);
  });

  it('when the command is handed back', async () => {
    await daemon(async (talk) => {
      await talk.begin();
      talk.say(Kind.stderr, 'a note\n');
      talk.say(Kind.handBack);
    });
    expect(await run(['exec'])).toEqual({ ...node('exec'), stderr: 'a note\n' });
  });

  it('where the daemon is not to choose how nftables is spoken to', async () => {
    await daemon(async (talk) => talk.exit(0));
    expect(await run(['list'], { env: { VPCCTL_NFT: 'process' } })).toEqual(node('list'));
  });

  it('rather than tell another user’s daemon anything', async () => {
    if (process.getuid?.() !== 0) return;
    const folder = join(temp, 'theirs', 'daemon');
    mkdirSync(folder, { recursive: true });
    const uid = 65534;
    try {
      chownSync(folder, uid, uid);
    } catch {
      return; // a user namespace that has one user
    }
    // Node is started as root: another user may not get to where it is. A socket is whose it was when it began to listen.
    const script = `process.setgid(${uid}); process.setuid(${uid}); require('net').createServer((s) => s.on('data', () => console.log('told')).on('error', () => {}).write('A\\0\\0\\0\\0'))
      .listen(${JSON.stringify(join(folder, 'socket'))}, () => console.log('ready'))`;
    const other = spawn(process.execPath, ['-e', script], {
      cwd: '/',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let said = '';
    other.stdout.on('data', (bytes: Buffer) => {
      said += bytes.toString();
    });
    const gone = new Promise((resolve) => other.once('close', resolve));
    for (let turn = 0; said === '' && turn < 5_000; turn += 1) await sleep(1);
    const done = await run(['list'], { env: { VPCCTL_STATE: join(temp, 'theirs') } });
    other.kill();
    await gone;
    expect([said, done]).toEqual(['ready\n', node('list')]);
  });
});

describe('tells the daemon', () => {
  it('what it is, where it is and what it was asked', async () => {
    const requests: Request[] = [];
    await daemon(async (talk) => {
      requests.push(await talk.begin());
      talk.exit(0);
    });
    await run(['--json', 'list', ''], { env: { TERM: 'dumb', SECRET: 'x' } });
    const { dev, ino, mtimeNs, size } = statSync(main, { bigint: true });
    expect(requests).toEqual([
      {
        identity: [dev, ino, mtimeNs, size].join(':'),
        cwd: temp,
        terminals: [false, false, false],
        columns: undefined,
        env: { TERM: 'dumb', VPCCTL_STATE: state },
        argv: ['--json', 'list', ''],
      },
    ]);
  });

  it.each([
    [['--state', 'state', 'list']],
    [['list', '--state=state']],
    [['--state', '/nowhere', 'list', '--state', 'state']],
  ])('of the state directory that %j names', async (args) => {
    await daemon(async (talk) => {
      await talk.begin();
      talk.exit(9);
    });
    expect(await run(args, { env: { VPCCTL_STATE: '/nowhere' } })).toMatchObject({ status: 9 });
  });

  it('nothing when the name comes after --', async () => {
    await daemon(async (talk) => talk.exit(0));
    const args = ['list', '--', '--state', 'state'];
    expect(await run(args, { env: { VPCCTL_STATE: '/nowhere' } })).toEqual(node(...args));
  });
});

describe('lends', () => {
  it('its output, byte for byte', async () => {
    const bytes = Buffer.from(Array.from({ length: 1 << 20 }, (_, index) => (index * 7 + (index >> 8)) & 0xff));
    await daemon(async (talk) => {
      await talk.begin();
      talk.say(Kind.stdout, bytes);
      talk.say(Kind.stderr, 'and that');
      talk.exit(3);
    });
    const done = await run(['x']);
    expect(done).toMatchObject({ status: 3, stderr: 'and that' });
    expect(done.stdout === bytes.toString('latin1'), 'standard output').toBe(true);
  });

  it('standard input, and files as it sees them', async () => {
    writeFileSync(join(temp, 'file'), 'f'.repeat(100_000));
    const said: unknown[] = [];
    await daemon(async (talk) => {
      await talk.begin();
      const pull = async () => {
        talk.say(Kind.pull);
        return talk.hear(Kind.input);
      };
      const stat = async (path: string, answer: number) => {
        talk.say(Kind.statFile, path);
        return talk.hear(answer);
      };
      said.push(String(await pull()), (await pull()).length);
      const status = await stat('file', Kind.fileStatus);
      said.push(Number(status.readBigUInt64LE()), status.readUInt8(8));
      let size = 0;
      for (let chunk = await pull(); chunk.length > 0; chunk = await pull()) size += chunk.length;
      said.push(size, (await stat('missing', Kind.inputFailed)).readUInt16LE());
      said.push((await stat('.', Kind.fileStatus)).readUInt8(8));
      talk.say(Kind.pull);
      said.push((await talk.hear(Kind.inputFailed)).readUInt16LE());
      talk.exit(0);
    });
    const { child, ended } = start(['x'], { stdin: 'pipe' });
    child.stdin?.end('typed');
    expect(await ended).toMatchObject({ status: 0, stderr: '' });
    const [ENOENT, EISDIR] = [2, 21];
    expect(said).toEqual(['typed', 0, 100_000, 1, 100_000, ENOENT, 0, EISDIR]);
  });

  it('nothing more to who reads no more, which is no failure', async () => {
    await daemon(async (talk) => {
      await talk.begin();
      for (let line = 0; line < 50; line += 1) talk.say(Kind.stdout, 'x'.repeat(60_000));
      talk.exit(0);
    });
    const { child, ended } = start(['x']);
    child.stdout?.once('data', () => child.stdout?.destroy());
    expect(await ended).toMatchObject({ status: 0, stderr: '' });
  });

  it('no success to a command whose output was lost', async () => {
    await daemon(async (talk) => {
      await talk.begin();
      for (const text of ['one', 'two']) talk.say(Kind.stdout, text);
      talk.exit(0);
    });
    const full = openSync('/dev/full', 'w');
    const done = await run(['x'], { stdout: full });
    closeSync(full);
    const stderr = 'vpcctl: standard output cannot be written (ENOSPC)\n';
    expect(done).toMatchObject({ status: 1, stderr });
  });
});

function promise(): { readonly kept: Promise<void>; readonly keep: () => void } {
  let keep = () => {};
  const kept = new Promise<void>((resolve) => {
    keep = resolve;
  });
  return { kept, keep: () => keep() };
}

describe('a signal', () => {
  it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s is the daemon’s to act on', async (name) => {
    const numbers = { SIGHUP: 1, SIGINT: 2, SIGTERM: 15 };
    const began = promise();
    await daemon(async (talk) => {
      await talk.begin();
      began.keep();
      const number = (await talk.hear(Kind.signal)).readUInt8();
      talk.exit(128 + number);
    });
    const { child, ended } = start(['x']);
    await began.kept;
    await sleep(20);
    child.kill(name);
    expect(await ended).toMatchObject({ status: 128 + numbers[name], signal: null });
  });

  it('that comes a second time ends the client', async () => {
    const began = promise();
    const { over } = await daemon(async (talk) => {
      await talk.begin();
      began.keep();
      await talk.hear(Kind.signal);
    });
    const { child, ended } = start(['x']);
    await began.kept;
    await sleep(20);
    child.kill('SIGINT');
    await over();
    child.kill('SIGTERM');
    expect(await ended).toMatchObject({ status: 143, stderr: '' });
  });
});

it('does not do again what a daemon may have done that went away', async () => {
  await daemon(async (talk) => {
    await talk.begin();
    talk.say(Kind.stdout, 'half');
    await sleep(20);
    talk.vanish();
  });
  expect(await run(['x'])).toEqual({
    status: 1,
    signal: null,
    stdout: 'half',
    stderr: 'vpcctl: the daemon ended before the command did; what is half done the next command undoes\n',
  });
});
