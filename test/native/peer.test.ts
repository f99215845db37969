import { spawn } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadNative } from '../../src/kernel/native.js';

const native = loadNative();
let temp = '';
beforeAll(() => {
  temp = mkdtempSync(join(tmpdir(), 'vpcctl-peer-'));
});
afterAll(() => rmSync(temp, { recursive: true }));

it('peerOf names who has connected, as the kernel knows it', async () => {
  const path = join(temp, 'socket');
  const peer = new Promise((resolve) => {
    const server = createServer((socket: Socket) => {
      resolve(native.peerOf((socket as unknown as { _handle: { fd: number } })._handle.fd));
      socket.destroy();
      server.close();
    }).listen(path);
  });
  const script = `require('net').connect(${JSON.stringify(path)}).on('error', () => {}).resume()`;
  const other = spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
  const gone = new Promise((resolve) => other.once('close', resolve));
  expect(await peer).toEqual({ pid: other.pid, uid: process.getuid?.() });
  await gone;
});

it('peerOf refuses what is no socket, or no number', () => {
  const file = openSync('/dev/null', 'r');
  expect(() => native.peerOf(file)).toThrow(/ENOTSOCK/);
  closeSync(file);
  expect(() => native.peerOf(100_000)).toThrow(/EBADF/);
  expect(() => native.peerOf('0' as unknown as number)).toThrow('fd must be a number');
});
