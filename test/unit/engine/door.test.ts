import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { type Door, openDoor } from '../../../src/engine/door.js';

let state = '';
const doors: Door[] = [];
const callers: Socket[] = [];
beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), 'vpcctl-door-'));
});
afterEach(async () => {
  for (const caller of callers.splice(0)) caller.destroy();
  await Promise.all(doors.splice(0).map(async (door) => door.close()));
  rmSync(state, { recursive: true });
});

const visitors: Socket[] = [];
const refused: string[] = [];

async function open(of = state): Promise<Door> {
  visitors.splice(0);
  refused.splice(0);
  const door = await openDoor({
    state: of,
    onVisitor: (socket) => {
      visitors.push(socket);
      socket.once('close', () => visitors.splice(visitors.indexOf(socket), 1)).resume();
    },
    onRefused: (why) => refused.push(why),
  });
  doors.push(door);
  return door;
}

const path = () => join(state, 'daemon', 'socket');
const modeOf = (of: string) => statSync(of).mode & 0o777;

/** Comes to the door; `open` says whether it is inside. */
function call(): { readonly open: () => boolean } {
  let inside = true;
  const socket = connect(path()).resume();
  socket
    .on('error', () => {})
    .once('close', () => {
      inside = false;
    });
  callers.push(socket);
  return { open: () => inside };
}

test('lets in who may do the same, and closes when all have left', async () => {
  const door = await open();
  expect(door.state).toBe(state);
  const caller = call();
  await vi.waitFor(() => expect(visitors).toHaveLength(1));
  doors.splice(0);
  let closed = false;
  const closing = door.close().then(() => {
    closed = true;
  });
  await vi.waitFor(() => expect(existsSync(path())).toBe(false));
  expect([closed, caller.open()]).toEqual([false, true]);
  for (const socket of callers) socket.destroy();
  await closing;
});

test('is its owner’s alone, also where the folder was not', async () => {
  mkdirSync(join(state, 'daemon'));
  chmodSync(join(state, 'daemon'), 0o777);
  const umask = process.umask(0);
  try {
    await open();
    expect(process.umask()).toBe(0);
  } finally {
    process.umask(umask);
  }
  expect([modeOf(join(state, 'daemon')), modeOf(path())]).toEqual([0o700, 0o600]);
});

test('there is one for each state directory, and another one once it is closed', async () => {
  const first = await open();
  await expect(open()).rejects.toMatchObject({ code: 'CONFLICT', message: expect.stringContaining('runs already') });
  call();
  await vi.waitFor(() => expect(visitors).toHaveLength(1));
  for (const socket of callers) socket.destroy();
  doors.splice(0);
  await first.close();
  await open();
});

test('what a daemon that was killed has left is no obstacle', async () => {
  mkdirSync(join(state, 'daemon'));
  writeFileSync(path(), '');
  await open();
  call();
  await vi.waitFor(() => expect(visitors).toHaveLength(1));
});

test('so many are let in, and no more until one leaves', async () => {
  await open();
  const inside = Array.from({ length: 64 }, call);
  await vi.waitFor(() => expect(visitors).toHaveLength(64));
  const late = call();
  await vi.waitFor(() => expect(late.open()).toBe(false));
  expect(inside.every((caller) => caller.open())).toBe(true);
  callers[0]?.destroy();
  await vi.waitFor(() => expect(visitors).toHaveLength(63));
  call();
  await vi.waitFor(() => expect(visitors).toHaveLength(64));
});

test('where there can be none, it says why', async () => {
  await expect(open(join(state, 'x'.repeat(100)))).rejects.toMatchObject({
    code: 'ENVIRONMENT',
    message: expect.stringContaining('is too long'),
  });
  writeFileSync(join(state, 'daemon'), '');
  await expect(open()).rejects.toMatchObject({
    code: 'ENVIRONMENT',
    message: expect.stringContaining('is not a directory of this user'),
  });
});
