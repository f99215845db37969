/** Who holds a namespace, read from a /proc of the test's own. */
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { findHolders } from '../../../src/kernel/holders.js';

let proc: string;

beforeEach(() => {
  proc = mkdtempSync(join(tmpdir(), 'vpcctl-proc-'));
  mkdirSync(join(proc, 'sys'));
});

afterEach(() => {
  rmSync(proc, { recursive: true, force: true });
});

interface Fake {
  readonly command?: string;
  readonly threads?: Readonly<Record<number, number>>;
  readonly fds?: Readonly<Record<number, string>>;
  readonly mountSpace?: string;
  readonly mountinfo?: string;
}

function processOf(pid: number, { command = 'sleep', threads = {}, fds = {}, mountSpace, mountinfo }: Fake): void {
  const dir = join(proc, String(pid));
  for (const part of ['task', 'fd', 'ns']) mkdirSync(join(dir, part), { recursive: true });
  writeFileSync(join(dir, 'comm'), `${command}\n`);
  for (const [tid, inode] of Object.entries(threads)) {
    mkdirSync(join(dir, 'task', tid, 'ns'), { recursive: true });
    symlinkSync(`net:[${inode}]`, join(dir, 'task', tid, 'ns', 'net'));
  }
  for (const [fd, target] of Object.entries(fds)) symlinkSync(target, join(dir, 'fd', fd));
  if (mountSpace !== undefined) symlinkSync(`mnt:[${mountSpace}]`, join(dir, 'ns', 'mnt'));
  if (mountinfo !== undefined) writeFileSync(join(dir, 'mountinfo'), mountinfo);
}

const holders = async (...inodes: string[]) => Object.fromEntries(await findHolders(new Set(inodes), proc));

test('a process in it is named once, whichever of its threads are', async () => {
  processOf(7, { threads: { 7: 1, 8: 5, 9: 5 } });
  processOf(10, { threads: { 10: 1 } });
  expect(await holders('5')).toEqual({ 5: [{ pid: 7, command: 'sleep', by: 'process' }] });
});

test('a descriptor of it is named by its number; sockets and files are not looked at', async () => {
  processOf(7, { command: 'a b', fds: { 0: '/dev/null', 3: 'socket:[5]', 4: 'net:[5]', 6: 'net:[5]', 7: 'mnt:[5]' } });
  expect(await holders('5', '6')).toEqual({ 5: [{ pid: 7, command: 'a b', by: 'descriptor', descriptor: 4 }] });
});

test('a descriptor that was opened by a name that is gone, and no file with such an inode elsewhere', async () => {
  mkdirSync(join(proc, 'self', 'ns'), { recursive: true });
  const file = join(proc, 'self', 'ns', 'net');
  writeFileSync(file, '');
  const inode = String(statSync(file).ino);
  processOf(7, { fds: { 3: file, 4: '/dev/null', 5: file } });
  mkdirSync(join(proc, '7', 'fdinfo'));
  const info = (ino: string): string => `pos:\t0\nflags:\t0100000\nmnt_id:\t167\nino:\t${ino}\n`;
  writeFileSync(join(proc, '7', 'fdinfo', '3'), info('1'));
  writeFileSync(join(proc, '7', 'fdinfo', '4'), info(inode));
  writeFileSync(join(proc, '7', 'fdinfo', '5'), info(inode));
  expect(await holders(inode)).toEqual({ [inode]: [{ pid: 7, command: 'sleep', by: 'descriptor', descriptor: 5 }] });
});

test('a mount of it is named by its place, once for all that see it', async () => {
  const mountinfo = [
    '30 1 0:4 net:[5] /run/netns/x\\040y rw - nsfs nsfs rw',
    '31 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw',
    '32 1 0:4 mnt:[5] /mnt rw - nsfs nsfs rw',
    '',
  ].join('\n');
  processOf(7, { mountSpace: '1', mountinfo });
  processOf(8, { mountSpace: '1', mountinfo });
  processOf(9, { mountSpace: '2', mountinfo, command: 'other' });
  expect(await holders('5')).toEqual({
    5: [
      { pid: 7, command: 'sleep', by: 'mount', path: '/run/netns/x y' },
      { pid: 9, command: 'other', by: 'mount', path: '/run/netns/x y' },
    ],
  });
});

test('what ended, or may not be looked at, is passed over', async () => {
  mkdirSync(join(proc, '11'));
  processOf(12, { threads: { 12: 5 } });
  rmSync(join(proc, '12', 'comm'));
  expect(await holders('5')).toEqual({ 5: [{ pid: 12, command: '?', by: 'process' }] });
  expect(await holders()).toEqual({});
});
