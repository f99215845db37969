/** The command answered by a daemon: the same, to the byte, as by a process of its own; and what becomes of it when one of the two dies. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { launcherPath } from '../../src/kernel/native.js';
import { TestHost, type VpcctlOptions } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { destroyAll, expectHostAsBefore, expectWitness, isAlive, ownNamespaces, until, witness } from './support.js';

/** A process of its own would end with 127: there is no Node on this PATH. */
const ANSWERED: VpcctlOptions = { client: true, env: { PATH: '/nowhere' } };
const nativeClient = join(dirname(launcherPath()), 'vpcctl-client');

let host: TestHost;
let temp: string;
let pristine: HostState;

beforeAll(async () => {
  host = await TestHost.create();
  temp = mkdtempSync(join(tmpdir(), 'vpcctl-daemon-'));
  pristine = host.snapshot();
});
afterAll(async () => {
  rmSync(temp, { recursive: true });
  await host.close();
});

class Daemon {
  readonly #child;

  private constructor() {
    this.#child = host.start(['daemon'], { timeoutMs: 120_000 });
  }

  static async begin(): Promise<Daemon> {
    const daemon = new Daemon();
    let said = '';
    daemon.#child.stdout.on('data', (bytes: Buffer) => {
      said += bytes.toString();
    });
    await until('the daemon answers', () => said.includes(`answers for ${host.stateDir}\n`));
    return daemon;
  }

  get ended() {
    return this.#child;
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.kill(signal);
    await this.#child;
  }
}

const socket = () => join(host.stateDir, 'daemon', 'socket');

/** A VPC with enough in it that something can come between. */
function big(name: string, net: number) {
  const instances = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`n${index}`, { subnet: 's' }]));
  return { vpcs: { [name]: { cidr: `10.${net}.0.0/16`, subnets: { s: { cidr: `10.${net}.0.0/20` } }, instances } } };
}

/** Starts making VPC p, and returns once it has begun. */
async function begun(options: VpcctlOptions = ANSWERED) {
  const child = host.start(['apply', '-', '--yes'], { ...options, input: JSON.stringify(big('p', 11)) });
  await until('the work begins', () => existsSync('/run/netns/vpc.p.n3'));
  // A promise that is returned would be waited for.
  return { child };
}

describe('the same as by a process of its own', () => {
  const net = 'vpcs: {b: {cidr: 10.2.0.0/16, subnets: {s: {cidr: 10.2.1.0/24}}}}\n';
  const rules = '{"ingress": [{"protocol": "tcp", "port": 443, "from": "any"}]}';
  const vpc = ['--vpc', 'a'];
  const commands: readonly (readonly [args: readonly string[], input?: string])[] = [
    [[]],
    [['--version']],
    [['--help']],
    [['help', 'apply']],
    [['nonsense']],
    [['list', '--nonsense', '--json']],
    [['list', '--state', '']],
    [['list']],
    [['list', '--json']],
    [['create-vpc', '--name', 'a', '--cidr', '10.1.0.0/16', '--dry-run']],
    [['create-vpc', '--name', 'a', '--cidr', '10.1.0.0/16']],
    [['create-vpc', '--name', 'a', '--cidr', '10.1.0.0/16', '--json']],
    [['create-vpc', '--name', 'a', '--cidr', '10.9.0.0/16']],
    [['create-vpc', '--name', 'b', '--cidr', '8.8.8.8/16', '--json']],
    [['add-subnet', ...vpc, '--subnet', 'web', '--cidr', '10.1.1.0/24', '--nat']],
    [['add-instance', ...vpc, '--subnet', 'web', '--name', 'x']],
    [['add-instance', ...vpc, '--subnet', 'web', '--name', 'y', '--quiet']],
    [['add-instance', ...vpc, '--subnet', 'missing', '--name', 'z']],
    [['put-security-group', ...vpc, '--name', 'g', '--rules', '-'], rules],
    [['put-security-group', ...vpc, '--name', 'g', '--rules', '-'], '{"ingress": 1}'],
    [
      ['apply-policy', ...vpc, '--subnet', 'web', '--policy', '-'],
      '{"ingress": [{"protocol": "tcp", "port": 80, "action": "accept"}]}',
    ],
    [['show-policy', ...vpc, '--subnet', 'web']],
    [['clear-policy', ...vpc, '--subnet', 'web']],
    [['plan', 'net.yaml', '--detailed-exitcode']],
    [['plan', './missing.yaml']],
    [['plan', '.']],
    [['plan', 'binary']],
    [['plan', '/dev/stdin'], net],
    [['apply', 'broken.yaml', '--yes']],
    [['apply', 'net.yaml']],
    [['apply', '-', '--yes'], net],
    [['apply', '-', '--yes', '--json'], net],
    [['peer-vpcs', '--vpc1', 'a', '--vpc2', 'b']],
    [['show']],
    [['show', 'a', '--json']],
    [['show', 'c']],
    [['inspect']],
    [['export']],
    [['export', '--json']],
    [['schema']],
    [['drift']],
    [['repair', '--json']],
    [['restore']],
    [['cut-connections']],
    [['stop-app', ...vpc, '--subnet', 'web']],
    [['delete-vpc', '--name', 'b']],
    [['delete-vpc', '--name', 'b', '--force']],
    [['delete-instance', ...vpc, '--name', 'y']],
    [['cleanup-all']],
    [['cleanup-all', '--yes']],
    [['list', '--quiet']],
  ];

  test('output and exit status, of what succeeds and of what is refused', { timeout: 120_000 }, async () => {
    writeFileSync(join(temp, 'net.yaml'), net);
    writeFileSync(join(temp, 'broken.yaml'), 'vpcs:\n  a: {cidr: 10.1.0.0/16, size: 3}\n  b: 1\n');
    writeFileSync(join(temp, 'binary'), Buffer.of(0xff, 0xfe));
    const all = async (options: VpcctlOptions) => {
      const said: unknown[] = [];
      for (const [args, input = ''] of commands) {
        const { exitCode, stdout, stderr } = await host.vpcctl(args, { ...options, cwd: temp, input });
        said.push([args.join(' '), exitCode, stdout, stderr]);
      }
      await expectHostAsBefore(host, pristine);
      return said;
    };
    const alone = await all({});
    const daemon = await Daemon.begin();
    const answered = await all(ANSWERED);
    await daemon.end();
    expect(answered).toEqual(alone);
    expect(await daemon.ended).toMatchObject({ exitCode: 0, stderr: '' });
  });
});

describe('while a daemon runs', () => {
  let daemon: Daemon;
  let ended = true;
  beforeEach(async () => {
    if (ended) daemon = await Daemon.begin();
    ended = false;
  });
  afterEach(async () => {
    await destroyAll(host);
    await expectHostAsBefore(host, pristine);
  });
  afterAll(async () => {
    await daemon.end();
  });

  /** Ends the daemon, and returns what it ended with. */
  const end = async (signal?: NodeJS.Signals) => {
    await daemon.end(signal);
    ended = true;
    return daemon.ended;
  };

  test('what others do at the same time is seen by all', async () => {
    const [one, two, three] = await Promise.all([
      host.vpcctl(['apply', '-', '--yes'], { ...ANSWERED, input: JSON.stringify(big('one', 1)) }),
      host.vpcctl(['apply', '-', '--yes'], { ...ANSWERED, input: JSON.stringify(big('two', 2)) }),
      host.vpcctl(['create-vpc', '--name', 'three', '--cidr', '10.3.0.0/16']),
    ]);
    expect([one, two, three].map(({ exitCode, stderr }) => [exitCode, stderr])).toEqual([
      [0, ''],
      [0, ''],
      [0, ''],
    ]);
    for (const options of [ANSWERED, {}]) {
      expect((await host.vpcctlOk(['list', '--quiet'], options)).stdout).toBe('one\nthree\ntwo');
    }
    await host.vpcctlOk(['delete-vpc', '--name', 'one']);
    expect((await host.vpcctlOk(['list', '--quiet'], ANSWERED)).stdout).toBe('three\ntwo');
    expect((await host.vpcctlOk(['drift'], ANSWERED)).stdout).toMatch(/no drift/);
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s ends a command with %i: it is undone', async (signal, status) => {
    const before = await witness();
    const { child } = await begun();
    child.kill(signal);
    const { exitCode, stdout, stderr } = await child;
    expect([exitCode, stdout, stderr]).toEqual([status, '', 'vpcctl: interrupted: what had been done was undone']);
    await expectWitness(before);
  });

  test('a client that is killed has its command undone, without another command', async () => {
    const before = await witness();
    const { child } = await begun();
    child.kill('SIGKILL');
    await child;
    await until('it is undone', () => ownNamespaces().length === 0);
    await expectWitness(before);
    expect((await host.vpcctlOk(['list'], ANSWERED)).stdout).toBe('no VPCs');
  });

  test('a daemon that ends finishes what is under way', async () => {
    const { child } = await begun();
    const leaving = end();
    expect(await child).toMatchObject({ exitCode: 0, stderr: '' });
    expect(await leaving).toMatchObject({ exitCode: 0 });
    expect(existsSync(socket())).toBe(false);
    expect((await host.vpcctlOk(['list', '--quiet'], { client: true })).stdout).toBe('p');
  });

  test('a daemon that is killed is not waited for, and the next command makes up for it', async () => {
    const before = await witness();
    const { child } = await begun();
    await end('SIGKILL');
    const { exitCode, stderr } = await child;
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining('the daemon ended before the command did')]);
    const { stdout, stderr: told } = await host.vpcctlOk(['list'], { client: true });
    expect([stdout, told]).toEqual(['no VPCs', expect.stringContaining('an earlier command was interrupted: undone')]);
    await expectWitness(before);
    expect(existsSync(socket())).toBe(true);
    daemon = await Daemon.begin();
    ended = false;
    await host.vpcctlOk(['list'], ANSWERED);
  });

  test('it undoes what a process has begun that was killed', async () => {
    const before = await witness();
    const { child } = await begun({});
    child.kill('SIGKILL');
    await child;
    const { stderr } = await host.vpcctlOk(['list'], ANSWERED);
    expect(stderr).toContain('an earlier command was interrupted: undone (vpc p)');
    await expectWitness(before);
  });

  test('there is no second one', async () => {
    const { exitCode, stderr } = await host.vpcctl(['daemon']);
    expect([exitCode, stderr]).toEqual([5, expect.stringContaining('a daemon runs already')]);
  });

  test('it leaves another state directory alone, and ends when its own is exchanged', async () => {
    const elsewhere = await host.vpcctl(['list', '--state', join(temp, 'other')], ANSWERED);
    expect(elsewhere.exitCode).toBe(127);
    renameSync(join(host.stateDir, 'state.db'), join(host.stateDir, 'old.db'));
    const { stdout } = await host.vpcctlOk(['list'], { client: true });
    expect(stdout).toBe('no VPCs');
    const { exitCode, stderr } = await daemon.ended;
    ended = true;
    expect([exitCode, stderr]).toEqual([9, expect.stringContaining('is not the file any more')]);
  });

  test('garbage is hung up on, and told', async () => {
    const stranger = connect(socket());
    stranger.on('error', () => {}).write('GET / HTTP/1.1\r\n\r\n');
    await once(stranger.resume(), 'close');
    await host.vpcctlOk(['list'], ANSWERED);
    expect((await end()).stderr).toMatch(/^vpcctl daemon: somebody who is no client said a frame of/);
  });

  test('programs are started by the caller’s process, and outlive the daemon', async () => {
    await host.vpcctlOk(['apply', '-', '--yes'], {
      ...ANSWERED,
      input:
        '{"vpcs": {"a": {"cidr": "10.1.0.0/16", "subnets": {"s": {"cidr": "10.1.1.0/24"}}, "instances": {"x": {"subnet": "s"}}}}}',
    });
    const at = ['--vpc', 'a', '--instance', 'x'];
    const own = { client: true, env: { MARK: 'mine' } };
    expect((await host.vpcctlOk(['exec', ...at, '--', 'printenv', 'MARK'], own)).stdout).toBe('mine');
    expect((await host.vpcctl(['exec', ...at, '--', 'sh', '-c', 'exit 9'], own)).exitCode).toBe(9);
    const { json } = await host.vpcctlOk(['deploy-app', ...at, '--json', '--', 'sleep', '1000'], own);
    const { pid } = (json as { app: { pid: number } }).app;
    await end();
    expect(isAlive(pid)).toBe(true);
    daemon = await Daemon.begin();
    ended = false;
    expect((await host.vpcctlOk(['stop-app', ...at], ANSWERED)).stdout).toMatch(/^stopped/);
    expect(isAlive(pid)).toBe(false);
  });

  describe('it answers who may do the same himself', () => {
    /** Exit status of `list` by the client, started by this program; 127: it was not answered. */
    const status = (...argv: readonly string[]) => {
      const env = { PATH: '/nowhere', VPCCTL_STATE: host.stateDir };
      const [program = '', ...args] = [...argv, nativeClient, 'list'];
      return spawnSync(program, args, { env, stdio: 'ignore' }).status;
    };

    test('not with fewer capabilities', () => {
      expect(status(launcherPath(), '', '--')).toBe(0);
      expect(status(launcherPath(), '--drop-caps', '', '--')).toBe(127);
    });

    test.each(['--net', '--mount', '--user'])('not in another namespace (%s)', (kind) => {
      expect(status('/usr/bin/unshare', kind)).toBe(127);
    });

    test('not as another user', async () => {
      chmodSync(host.stateDir, 0o755);
      chmodSync(dirname(host.stateDir), 0o755);
      const script = `require('net').connect(${JSON.stringify(socket())}).on('error', (error) => console.log(error.code))
        .on('connect', () => console.log('in')).on('close', () => console.log('out')).resume()`;
      const said = async () => {
        const child = spawn(process.execPath, ['-e', script], {
          uid: 65534,
          gid: 65534,
          cwd: '/',
          stdio: ['ignore', 'pipe', 'ignore'],
        });
        let text = '';
        child.stdout.on('data', (bytes: Buffer) => {
          text += bytes.toString();
        });
        await once(child, 'close');
        return text;
      };
      try {
        expect(await said()).toBe('EACCES\nout\n');
      } catch (error) {
        // A user namespace that has one user.
        if ((error as NodeJS.ErrnoException).code === 'EINVAL') return;
        throw error;
      }
      // Were the folder open to all, it would still be the kernel's word that counts.
      chmodSync(dirname(socket()), 0o755);
      chmodSync(socket(), 0o777);
      expect(await said()).toBe('in\nout\n');
      expect((await end()).stderr).toContain("user 65534 is neither root nor this daemon's");
    });
  });

  test('on a terminal it prints in colour, and leaves questions to the caller’s process', async () => {
    if (spawnSync('script', ['--version']).error !== undefined) return;
    await host.vpcctlOk(['create-vpc', '--name', 'a', '--cidr', '10.1.0.0/16']);
    const onTerminal = (program: string, path: string, input = '') => {
      const env = { PATH: path, TERM: 'xterm', VPCCTL_STATE: host.stateDir };
      return spawnSync('/usr/bin/script', ['-qec', program, '/dev/null'], { env, input, encoding: 'utf8' }).stdout;
    };
    const path = `${dirname(process.execPath)}:${process.env.PATH ?? ''}`;
    const main = `node ${join(dirname(nativeClient), '../../dist/cli/main.cjs')}`;
    const shown = onTerminal(`${nativeClient} show`, '/nowhere');
    expect(shown).toContain('\x1b[');
    expect(shown).toBe(onTerminal(`${main} show`, path));
    expect(onTerminal(`${nativeClient} cleanup-all`, path, 'n\n')).toMatch(/Delete 1 VPC .*\n?.*not confirmed/s);
    expect(onTerminal(`${nativeClient} cleanup-all`, path, 'y\n')).toMatch(/deleted vpc a/);
  });
});
