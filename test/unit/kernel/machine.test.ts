/** Files of a host below a root of the test's own. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RealMachine } from '../../../src/kernel/machine.js';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'vpcctl-machine-'));
  mkdirSync(join(root, 'etc'));
});
afterEach(() => rmSync(root, { recursive: true }));

test('a file comes with its directories, and they go one by one', () => {
  const machine = new RealMachine(root);
  const path = '/etc/a/b/c.conf';
  expect(machine.missingDirectories(path)).toEqual(['/etc/a', '/etc/a/b']);
  expect(machine.read(path)).toBeUndefined();
  expect(machine.list('/etc/a')).toEqual([]);
  machine.create(path, 'text');
  expect(machine.read(path)).toBe('text');
  expect(machine.list('/etc/a/b')).toEqual(['c.conf']);
  expect(machine.missingDirectories(path)).toEqual([]);
  machine.removeDirectory('/etc/a/b');
  expect(machine.read(path)).toBe('text');
  machine.remove(path);
  machine.remove(path);
  for (const dir of ['/etc/a/b', '/etc/a', '/etc/a']) machine.removeDirectory(dir);
  expect(readdirSync(join(root, 'etc'))).toEqual([]);
});

test('a file of somebody is never overwritten', () => {
  writeFileSync(join(root, 'etc', 'x.conf'), 'theirs');
  const machine = new RealMachine(root);
  expect(() => machine.create('/etc/x.conf', 'ours')).toThrow('could not write /etc/x.conf');
  expect(machine.read('/etc/x.conf')).toBe('theirs');
});

test('what /proc shows is the kernel’s, and a setting that is not there is refused', () => {
  const machine = new RealMachine(root);
  expect(machine.read('/proc/sys/kernel/ostype')).toBe('Linux\n');
  expect(() => machine.set('net/no/such/setting', '1')).toThrow('could not write /proc/sys/net/no/such/setting');
});
