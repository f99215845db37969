import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, openSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launcherPath, loadNative } from '../../src/kernel/native.js';

const native = loadNative();
const launcher = launcherPath();
const A = '/run/netns/a';

/** The default set of Docker: 14 capabilities. */
const CONTAINER_CAPS = 0xa80425fbn;

function launch(...args: readonly string[]) {
  const { status, signal, stdout, stderr } = spawnSync(launcher, args, { encoding: 'utf8' });
  return { status, signal, stdout, stderr };
}

function statusFields(text: string): Record<string, string> {
  return Object.fromEntries(text.split('\n').map((line) => line.split(':\t') as [string, string]));
}

function isAlive(pid: number): boolean {
  try {
    return !readFileSync(`/proc/${pid}/stat`, 'latin1').includes(') Z ');
  } catch {
    return false;
  }
}

beforeAll(async () => {
  expect(await native.run([{ op: 'netns-create', path: A }])).toEqual([{ errno: 0 }]);
});

afterAll(async () => {
  await native.run([{ op: 'netns-delete', path: A }]);
});

describe('vpcctl-launch', () => {
  it('becomes the program inside the namespace, with its arguments as they are', () => {
    expect(launch(A, '--', 'readlink', '/proc/self/ns/net').stdout).toBe(`net:[${statSync(A).ino}]\n`);
    expect(launch(A, '--', 'printf', '<%s>', 'a b', '', '--', '$HOME').stdout).toBe('<a b><><--><$HOME>');
  });

  it('files of /etc/netns/NAME stand for those of /etc, for the program alone', () => {
    const before = readFileSync('/etc/hosts', 'utf8');
    const made = mkdirSync('/etc/netns/a', { recursive: true }) ?? '/etc/netns/a';
    try {
      writeFileSync('/etc/netns/a/hosts', '192.0.2.9 here\n');
      writeFileSync('/etc/netns/a/nothing-of-that-name', '');
      expect(launch(A, '--', 'cat', '/etc/hosts')).toMatchObject({ status: 0, stdout: '192.0.2.9 here\n', stderr: '' });
      expect(launch('--drop-caps', A, '--', 'cat', '/etc/hosts').stdout).toBe('192.0.2.9 here\n');
      expect(launch(A, '--', 'ls', '/etc/nothing-of-that-name').status).not.toBe(0);
      expect(launch('', '--', 'cat', '/etc/hosts').stdout).toBe(before);
      expect(readFileSync('/etc/hosts', 'utf8')).toBe(before);
      expect(launch(A, '--', 'readlink', '/proc/self/ns/mnt').stdout.trim()).not.toBe(
        readlinkSync('/proc/self/ns/mnt'),
      );
    } finally {
      rmSync(made, { recursive: true });
    }
    expect(launch(A, '--', 'readlink', '/proc/self/ns/mnt').stdout.trim()).toBe(readlinkSync('/proc/self/ns/mnt'));
  });

  it('is gone: the program has its process id', () => {
    const done = spawnSync(launcher, [A, '--', 'sh', '-c', 'echo $$'], { encoding: 'utf8' });
    expect(done.stdout.trim()).toBe(String(done.pid));
  });

  it('an empty namespace is the present one', () => {
    expect(launch('', '--', 'readlink', '/proc/self/ns/net').stdout.trim()).toBe(readlinkSync('/proc/self/ns/net'));
  });

  it('holds the program until it gets leave, and gives up when nobody can give it any more', async () => {
    const held = (leave: 'give' | 'close') => {
      const child = spawn(launcher, ['--hold', '--drop-caps', A, '--', 'echo', 'ran'], {
        stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
      });
      const ended = new Promise<string>((resolve) => {
        let said = '';
        child.stdout?.on('data', (chunk: Buffer) => {
          said += chunk.toString();
        });
        child.once('close', (code) => resolve(`${said.trim()} ${code}`));
      });
      return { child, ended, end: () => (child.stdio[3] as Writable).end(leave === 'give' ? 'x' : undefined) };
    };
    const started = held('give');
    await sleep(50);
    expect(readFileSync(`/proc/${started.child.pid}/comm`, 'utf8').trim()).toBe('vpcctl-launch');
    started.end();
    expect(await started.ended).toBe('ran 0');
    const left = held('close');
    left.end();
    expect(await left.ended).toBe(' 125');
    expect(launch('--hold', A, '--', 'true').stderr).toContain('descriptor 3: EBADF');
  });

  it('passes the program’s status on', () => {
    expect(launch(A, '--', 'sh', '-c', 'exit 42').status).toBe(42);
    expect(launch(A, '--', 'sh', '-c', 'kill -TERM $$').signal).toBe('SIGTERM');
  });

  it('lets no descriptor but 0, 1 and 2 through', () => {
    const extra = openSync('/etc/passwd', 'r');
    const stdio = ['pipe', 'pipe', 'pipe', extra, 'pipe', extra] as const;
    // Of what ls finds, the last is the folder that it reads.
    const list = ['ls', '/proc/self/fd'];
    const through = spawnSync('env', list, { encoding: 'utf8', stdio: [...stdio] }).stdout;
    const launched = spawnSync(launcher, [A, '--', ...list], { encoding: 'utf8', stdio: [...stdio] }).stdout;
    closeSync(extra);
    expect(through.trim().split('\n')).toEqual(expect.arrayContaining(['3', '4', '5']));
    expect(launched.trim().split('\n')).toEqual(['0', '1', '2', '3']);
  });
});

describe('--private', () => {
  it('is a network and a mount namespace of its own, with an empty /run', () => {
    const script = 'readlink /proc/self/ns/net /proc/self/ns/mnt && ls /run /run/netns && ls /sys/class/net';
    const own = spawnSync('readlink', ['/proc/self/ns/net', '/proc/self/ns/mnt'], { encoding: 'utf8' }).stdout;
    const { status, stdout, stderr } = launch('--private', '--', 'sh', '-c', script);
    expect([status, stderr]).toEqual([0, '']);
    const [net, mnt, ...rest] = stdout.split('\n');
    expect(own.split('\n')).not.toContain(net);
    expect(own.split('\n')).not.toContain(mnt);
    expect(rest.slice(0, 4)).toEqual(['/run:', 'netns', '', '/run/netns:']);
  });

  it('shows the machine nothing of what is mounted in it, and is gone with its program', () => {
    const mounts = readFileSync('/proc/self/mountinfo', 'utf8');
    expect(launch('--private', '--', 'sh', '-c', 'mount -t tmpfs x /mnt && ip netns add inner').status).toBe(0);
    expect(readFileSync('/proc/self/mountinfo', 'utf8')).toBe(mounts);
    expect(() => statSync('/run/netns/inner')).toThrow('ENOENT');
  });

  it('ends with whoever started it', async () => {
    const script = '"$0" --private -- sh -c "echo \\$\\$; exec sleep 60" & wait';
    const parent = spawn('sh', ['-c', script, launcher], { stdio: ['ignore', 'pipe', 'inherit'] });
    const [pid] = await once(parent.stdout, 'data');
    parent.kill('SIGKILL');
    await once(parent, 'exit');
    for (let i = 0; i < 100 && isAlive(Number(pid)); i++) await sleep(20);
    expect(isAlive(Number(pid))).toBe(false);
  });
});

describe('capabilities', () => {
  it('are kept without --drop-caps', () => {
    const own = spawnSync('cat', ['/proc/self/status'], { encoding: 'utf8' }).stdout;
    const launched = launch(A, '--', 'cat', '/proc/self/status').stdout;
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs']) {
      expect([set, statusFields(launched)[set]]).toEqual([set, statusFields(own)[set]]);
    }
  });

  it('are a container’s with --drop-caps, and none can be gained', () => {
    const own = statusFields(spawnSync('cat', ['/proc/self/status'], { encoding: 'utf8' }).stdout);
    const kept = statusFields(launch('--drop-caps', A, '--', 'cat', '/proc/self/status').stdout);
    const set = (fields: Record<string, string>, name: string) => BigInt(`0x${fields[name]}`);
    expect(set(own, 'CapBnd') & ~CONTAINER_CAPS).not.toBe(0n);
    for (const name of ['CapPrm', 'CapEff', 'CapBnd']) {
      expect([name, set(kept, name)]).toEqual([name, set(own, name) & CONTAINER_CAPS]);
    }
    expect(set(kept, 'CapInh') & ~CONTAINER_CAPS).toBe(0n);
    expect(set(kept, 'CapAmb')).toBe(0n);
    expect(kept.NoNewPrivs).toBe('1');
  });

  it('are dropped for real: no link can be made, no namespace entered, and the loopback still answers', () => {
    const denied = launch('--drop-caps', A, '--', 'ip', 'link', 'add', 'v9', 'type', 'veth');
    expect([denied.status, denied.stderr]).toEqual([2, expect.stringContaining('Operation not permitted') as string]);
    expect(launch(A, '--', 'ip', 'link', 'add', 'v9', 'type', 'veth').status).toBe(0);
    const nested = launch('--drop-caps', A, '--', launcher, A, '--', 'true');
    expect(nested.status).toBe(125);
    expect(nested.stderr).toBe(`vpcctl-launch: setns ${A}: EPERM (Operation not permitted)\n`);
    expect(launch('--drop-caps', A, '--', 'ip', 'link', 'show', 'lo').status).toBe(0);
  });
});

describe('failures', () => {
  it.each([
    ['no argument', []],
    ['no program', [A, '--']],
    ['no separator', [A, 'true', 'x']],
    ['an unknown option', ['--keep-caps', A, '--', 'true']],
  ])('%s is 125 and the usage', (_name, args) => {
    const { status, stderr } = launch(...args);
    expect([status, stderr]).toEqual([
      125,
      'usage: vpcctl-launch [--hold] [--drop-caps] NETNS|--private -- PROGRAM [ARG...]\n',
    ]);
  });

  it('a namespace that is not there is 125', () => {
    expect(launch('/run/netns/nope', '--', 'true')).toMatchObject({
      status: 125,
      stderr: 'vpcctl-launch: open /run/netns/nope: ENOENT (No such file or directory)\n',
    });
  });

  it('a file that is no namespace is 125', () => {
    writeFileSync('/run/netns/plain', '');
    expect(launch('/run/netns/plain', '--', 'true')).toMatchObject({
      status: 125,
      stderr: 'vpcctl-launch: setns /run/netns/plain: EINVAL (Invalid argument)\n',
    });
    rmSync('/run/netns/plain');
  });

  it('a program that is not there is 127, one that cannot be executed 126', () => {
    expect(launch(A, '--', 'no-such-program')).toMatchObject({
      status: 127,
      stderr: 'vpcctl-launch: exec no-such-program: ENOENT (No such file or directory)\n',
    });
    expect(launch(A, '--', '/etc/passwd')).toMatchObject({
      status: 126,
      stderr: 'vpcctl-launch: exec /etc/passwd: EACCES (Permission denied)\n',
    });
  });
});
