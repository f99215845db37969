import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { StandardOutput } from '../../../src/cli/output.js';

function noStream(): never {
  throw new Error('no stream was to be made');
}

test('writes to a file at once, without a stream', () => {
  const dir = mkdtempSync(join(tmpdir(), 'vpcctl-output-'));
  const fd = openSync(join(dir, 'out'), 'w');
  try {
    const output = new StandardOutput(fd, noStream, noStream);
    expect(output.isTTY).toBe(false);
    output.write('├─ one\n');
    output.write('two\n');
    expect(readFileSync(join(dir, 'out'), 'utf8')).toBe('├─ one\ntwo\n');
    expect(output.writable).toBe(true);
  } finally {
    closeSync(fd);
    rmSync(dir, { recursive: true });
  }
});

test.each([
  ['/dev/null', 'w', false],
  ['/dev/ptmx', 'r+', true],
])('%s needs no stream', (file, flags, isTTY) => {
  const fd = openSync(file, flags);
  try {
    const output = new StandardOutput(fd, noStream, noStream);
    output.write('text\n');
    expect([output.isTTY, output.writable]).toEqual([isTTY, true]);
  } finally {
    closeSync(fd);
  }
});

test('leaves to a stream what is neither a file nor a pipe nor a terminal', () => {
  const fd = openSync(tmpdir(), 'r');
  try {
    const stream = Object.assign(new PassThrough(), { isTTY: true });
    const output = new StandardOutput(fd, () => stream as unknown as NodeJS.WriteStream, noStream);
    expect(output.isTTY).toBe(true);
    output.write('text');
    expect(String(stream.read())).toBe('text');
  } finally {
    closeSync(fd);
  }
});

test('tells once what is lost, and is written to no more', () => {
  const dir = mkdtempSync(join(tmpdir(), 'vpcctl-output-'));
  writeFileSync(join(dir, 'out'), '');
  const fd = openSync(join(dir, 'out'), 'r');
  try {
    const lost: (string | undefined)[] = [];
    const output = new StandardOutput(fd, noStream, ({ code }) => lost.push(code));
    output.write('text');
    output.write('more');
    expect(lost).toEqual(['EBADF']);
    expect(output.writable).toBe(false);
  } finally {
    closeSync(fd);
    rmSync(dir, { recursive: true });
  }
});
