import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { describe, expect, it } from 'vitest';
import { launcherPath, loadNative } from '../../src/kernel/native.js';
import { must } from '../harness/witness.js';
import { EINVAL, ENOENT, withAddon } from './wire.js';

const native = loadNative();
const A = '/run/netns/a';

function mountOf(dir: string): string | undefined {
  return readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((line) => line.split(' ')[4] === dir);
}

describe('sysctl', () => {
  const key = 'net/ipv4/ip_forward';
  const read = (netns: string, name = key) => ({ op: 'sysctl-read', netns, key: name }) as const;
  const write = (netns: string, value: string, name = key) =>
    ({ op: 'sysctl-write', netns, key: name, value }) as const;

  it('is that of the namespace asked for', async () => {
    const own = readFileSync(`/proc/sys/${key}`, 'utf8').trim();
    const results = await native.run([
      { op: 'netns-create', path: A },
      write('', '0'),
      write(A, '1'),
      read(A),
      read(''),
      write(A, '0'),
      write('', own),
      { op: 'netns-delete', path: A },
    ]);
    expect(results.map(({ errno }) => errno)).toEqual([0, 0, 0, 0, 0, 0, 0, 0]);
    expect(results.map(({ value }) => value)).toEqual([
      undefined,
      undefined,
      undefined,
      '1',
      '0',
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('may be one that can only be written', async () => {
    expect(await native.run([write('', '1', 'net/ipv4/route/flush')])).toEqual([{ errno: 0 }]);
  });

  it.each(['/etc/hostname', '../etc/hostname', 'net/../../etc/hostname', 'net/..', ''])(
    'refuses the key "%s"',
    async (name) => {
      const refused = { errno: EINVAL, where: `sysctl ${name}` };
      expect(await native.run([read('', name), write('', 'x', name)], true)).toEqual([refused, refused]);
    },
  );

  it('says what failed', async () => {
    const missing = 'net/ipv4/conf/nolink/forwarding';
    expect(await native.run([read('', missing), write('', '1', missing), write('', 'much')], true)).toEqual([
      { errno: ENOENT, where: `open /proc/sys/${missing}` },
      { errno: ENOENT, where: `open /proc/sys/${missing}` },
      { errno: EINVAL, where: `write /proc/sys/${key}` },
    ]);
  });
});

describe('flock', () => {
  const file = '/run/lock-test';

  /** What another process gets. */
  function elsewhere(mode: 'exclusive' | 'shared'): string {
    const script = withAddon(`
      import { openSync } from 'node:fs';
      console.log(native.flock(openSync('${file}', 'r'), '${mode}'));
    `);
    return spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).stdout.trim();
  }

  it('excludes another process until it is released', () => {
    writeFileSync(file, '');
    const fd = openSync(file, 'r');
    expect(native.flock(fd, 'exclusive')).toBe(true);
    expect(elsewhere('exclusive')).toBe('false');
    expect(elsewhere('shared')).toBe('false');
    expect(native.flock(fd, 'shared')).toBe(true);
    expect(elsewhere('exclusive')).toBe('false');
    expect(elsewhere('shared')).toBe('true');
    expect(native.flock(fd, 'unlock')).toBe(true);
    expect(elsewhere('exclusive')).toBe('true');
    closeSync(fd);
    rmSync(file);
  });

  it('goes with its holder, also when that is killed', () => {
    writeFileSync(file, '');
    const script = withAddon(`
      import { openSync } from 'node:fs';
      if (!native.flock(openSync('${file}', 'r'), 'exclusive')) process.exit(1);
      process.kill(process.pid, 'SIGKILL');
    `);
    expect(spawnSync(process.execPath, ['--input-type=module', '-e', script]).signal).toBe('SIGKILL');
    const fd = openSync(file, 'r');
    expect(native.flock(fd, 'exclusive')).toBe(true);
    closeSync(fd);
    rmSync(file);
  });

  it('fails as Node’s own calls do', () => {
    expect(() => native.flock(1 << 20, 'shared')).toThrow(
      expect.objectContaining({ code: 'EBADF', errno: -constants.errno.EBADF, syscall: 'flock' }) as Error,
    );
    expect(() => native.flock(0, 'mine' as 'shared')).toThrow(TypeError);
    expect(() => native.flock(-1, 'shared')).toThrow(TypeError);
  });
});

describe('the directory of namespaces', () => {
  const dir = '/run/deep/er/netns';

  it('is made, bound onto itself and shared once; released when empty', () => {
    expect(native.netnsDirPrepare(dir)).toBe(true);
    expect(mountOf(dir)).toMatch(/ shared:\d+ /);
    expect(native.netnsDirPrepare(dir)).toBe(false);
    writeFileSync(`${dir}/x`, '');
    expect(native.netnsDirRelease(dir)).toBe(false);
    expect(mountOf(dir)).toBeDefined();
    rmSync(`${dir}/x`);
    expect(native.netnsDirRelease(`${dir}/`)).toBe(true);
    expect(mountOf(dir)).toBeUndefined();
    expect(existsSync(dir)).toBe(false);
    expect(native.netnsDirRelease(dir)).toBe(false);
    rmSync('/run/deep', { recursive: true });
  });

  it('iproute2 finds what it would have done itself, and the other way round', async () => {
    // iproute2 creates /run/netns as it needs it; here it is there, empty and private.
    expect(native.netnsDirPrepare('/run/netns')).toBe(true);
    const before = mountOf('/run/netns');
    await must('', ['ip', 'netns', 'add', 'x']);
    expect(mountOf('/run/netns')).toBe(before);
    expect(native.netnsDirRelease('/run/netns')).toBe(false);
    expect(await native.run([{ op: 'netns-delete', path: '/run/netns/x' }])).toEqual([{ errno: 0 }]);
    expect(native.netnsDirRelease('/run/netns')).toBe(true);
    await must('', ['ip', 'netns', 'add', 'x']);
    expect(native.netnsDirPrepare('/run/netns')).toBe(false);
    await must('', ['ip', 'netns', 'del', 'x']);
    expect(native.netnsDirRelease('/run/netns')).toBe(true);
    mkdirSync('/run/netns');
  });

  it('a file system that somebody else mounted there stays', async () => {
    mkdirSync('/run/foreign');
    await must('', ['mount', '-t', 'tmpfs', 'tmpfs', '/run/foreign']);
    expect(native.netnsDirPrepare('/run/foreign')).toBe(false);
    expect(native.netnsDirRelease('/run/foreign')).toBe(false);
    expect(mountOf('/run/foreign')).toBeDefined();
    await must('', ['umount', '/run/foreign']);
    rmdirSync('/run/foreign');
  });

  it('says what failed', () => {
    writeFileSync('/run/file', '');
    expect(() => native.netnsDirPrepare('/run/file/netns')).toThrow(
      expect.objectContaining({ code: 'ENOTDIR', syscall: 'mkdir /run/file/netns' }) as Error,
    );
    rmSync('/run/file');
  });
});

describe('errnoName', () => {
  it('knows every errno that Node knows', () => {
    // Node has two names for one number here and there (EAGAIN, EWOULDBLOCK).
    for (const number of new Set(Object.values(constants.errno))) {
      const names = Object.entries(constants.errno).filter(([, value]) => value === number);
      expect(names.map(([name]) => name)).toContain(native.errnoName(number));
    }
  });

  it.each([
    [17, 'EEXIST'],
    [54, 'EXFULL'],
    [105, 'ENOBUFS'],
    [125, 'ECANCELED'],
    [524, 'ENOTSUPP'],
    [0, 'E0'],
    [9999, 'E9999'],
  ])('%i is %s', (number, name) => {
    expect(native.errnoName(number)).toBe(name);
  });
});

it('the launcher is beside the addon', () => {
  expect(existsSync(launcherPath())).toBe(true);
});

describe('lockByte', () => {
  const file = '/run/byte-test';

  it('is a line of those that wait, each with a byte of its own', () => {
    const [first, second, third] = [1, 2, 3].map(() => openSync(file, 'a')) as [number, number, number];
    // Past 32 bits, and in a file that is empty.
    const now = 2 ** 40;
    expect(native.lockByte(first, Number.MAX_SAFE_INTEGER, 'free-before')).toBe(true);
    expect(native.lockByte(first, now, 'take')).toBe(true);
    expect(native.lockByte(second, now, 'take')).toBe(false);
    expect(native.lockByte(second, now + 1, 'take')).toBe(true);
    expect(native.lockByte(first, now, 'free-before')).toBe(true);
    expect(native.lockByte(second, now + 1, 'free-before')).toBe(false);
    expect(native.lockByte(third, Number.MAX_SAFE_INTEGER, 'free-before')).toBe(false);
    expect(native.flock(third, 'exclusive'), 'whole-file locks are another matter').toBe(true);
    expect(native.lockByte(first, now, 'release')).toBe(true);
    expect(native.lockByte(second, now + 1, 'free-before')).toBe(true);
    closeSync(second);
    expect(native.lockByte(first, Number.MAX_SAFE_INTEGER, 'free-before')).toBe(true);
    expect(native.lockByte(first, 0, 'free-before')).toBe(true);
    closeSync(first);
    closeSync(third);
    rmSync(file);
  });

  it('goes with its holder, also when that is killed', () => {
    const script = withAddon(`
      import { openSync } from 'node:fs';
      if (!native.lockByte(openSync('${file}', 'a'), 7, 'take')) process.exit(1);
      process.kill(process.pid, 'SIGKILL');
    `);
    expect(spawnSync(process.execPath, ['--input-type=module', '-e', script]).signal).toBe('SIGKILL');
    const fd = openSync(file, 'a');
    expect(native.lockByte(fd, 7, 'take')).toBe(true);
    closeSync(fd);
    rmSync(file);
  });

  it('fails as Node’s own calls do', () => {
    expect(() => native.lockByte(1 << 20, 1, 'take')).toThrow(
      expect.objectContaining({ code: 'EBADF', syscall: 'fcntl' }) as Error,
    );
    for (const at of [-1, 0.5, 2 ** 53, '1' as unknown as number]) {
      expect(() => native.lockByte(0, at, 'take')).toThrow(TypeError);
    }
    expect(() => native.lockByte(0, 1, 'mine' as 'take')).toThrow(TypeError);
  });
});
