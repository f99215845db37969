import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readText, writeText } from '../../../src/cli/files.js';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'vpcctl-files-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

const { signal } = new AbortController();
const nothing = Readable.from([]);

describe('reading', () => {
  test('a file, and standard input in pieces', async () => {
    writeFileSync(join(dir, 'x'), 'vpcs: {} # ü\n');
    expect(await readText(join(dir, 'x'), nothing, signal)).toBe('vpcs: {} # ü\n');
    const bytes = Buffer.from('aüb');
    expect(await readText('-', Readable.from([bytes.subarray(0, 2), bytes.subarray(2)]), signal)).toBe('aüb');
  });

  test.each([
    ['missing', 'NOT_FOUND', /^there is no file/],
    ['file/inside', 'NOT_FOUND', /^there is no file/],
    ['.', 'INVALID', /is a directory, not a file$/],
    ['binary', 'INVALID', /is not UTF-8 text$/],
    ['circle', 'INVALID', /cannot be the name of a file$/],
    ['x'.repeat(300), 'INVALID', /cannot be the name of a file$/],
    ['zero\0byte', 'INVALID', /cannot be the name of a file$/],
  ])('%j is refused as %s', async (name, code, message) => {
    writeFileSync(join(dir, 'file'), '');
    writeFileSync(join(dir, 'binary'), Buffer.from([0xff, 0xfe, 0x00]));
    symlinkSync('circle', join(dir, 'circle'));
    const path = name === '.' ? dir : `${dir}/${name}`;
    await expect(readText(path, nothing, signal)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test('no name at all is refused', async () => {
    await expect(readText('', nothing, signal)).rejects.toMatchObject({ code: 'USAGE' });
  });

  test('standard input that never ends is left on a signal', async () => {
    const abort = new AbortController();
    const reading = readText('-', new PassThrough(), abort.signal);
    abort.abort('SIGINT');
    await expect(reading).rejects.toMatchObject({ code: 'ABORTED' });
  });
});

describe('writing', () => {
  test('makes a file and leaves nothing beside it', async () => {
    await writeText(join(dir, 'out'), 'text\n');
    expect(readFileSync(join(dir, 'out'), 'utf8')).toBe('text\n');
    expect(readdirSync(dir)).toEqual(['out']);
  });

  test('replaces a file whole, with its permissions', async () => {
    writeFileSync(join(dir, 'out'), 'a longer text than the next');
    chmodSync(join(dir, 'out'), 0o600);
    const before = statSync(join(dir, 'out')).ino;
    await writeText(join(dir, 'out'), 'new');
    expect(readFileSync(join(dir, 'out'), 'utf8')).toBe('new');
    expect(statSync(join(dir, 'out')).mode & 0o777).toBe(0o600);
    // Another inode: whoever read the old one read it to its end.
    expect(statSync(join(dir, 'out')).ino).not.toBe(before);
  });

  test('writes through a link', async () => {
    writeFileSync(join(dir, 'real'), 'old');
    symlinkSync('real', join(dir, 'link'));
    await writeText(join(dir, 'link'), 'new');
    expect(readFileSync(join(dir, 'real'), 'utf8')).toBe('new');
    expect(readdirSync(dir).sort()).toEqual(['link', 'real']);
  });

  test('leaves a device a device', async () => {
    await writeText('/dev/null', 'text');
    expect(statSync('/dev/null').isCharacterDevice()).toBe(true);
  });

  test.each([
    ['missing/out', 'there is no such directory'],
    ['.', 'it is a directory'],
  ])('%s is refused', async (name, why) => {
    const path = name === '.' ? dir : join(dir, name);
    await expect(writeText(path, 'x')).rejects.toMatchObject({
      code: 'ENVIRONMENT',
      message: `cannot write ${path}: ${why}`,
    });
    expect(readdirSync(dir)).toEqual([]);
  });
});
