/** Sockets that are opened in a namespace and belong to the caller. */
import { closeSync, readdirSync } from 'node:fs';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { loadNative, type SocketOpenOp } from '../../src/kernel/native.js';
import { ipDo, must } from '../harness/witness.js';
import { EINVAL, ENOENT } from './wire.js';

const native = loadNative();
const A = '/run/netns/a';
const EADDRINUSE = 98;
const EADDRNOTAVAIL = 99;
const ENODEV = 19;

const open = (more: Partial<SocketOpenOp> = {}): SocketOpenOp => ({
  op: 'socket-open',
  netns: A,
  address: '192.0.2.1',
  port: 53,
  link: '',
  ...more,
});

beforeEach(async () => {
  expect(await native.run([{ op: 'netns-create', path: A }])).toEqual([{ errno: 0 }]);
  await ipDo(['address', 'add', '192.0.2.1/32', 'dev', 'lo'], 'a');
});

afterEach(async () => {
  for (const name of readdirSync('/run/netns')) await native.run([{ op: 'netns-delete', path: `/run/netns/${name}` }]);
});

const listening = async (): Promise<string> => must('a', ['ss', '-Hlntu']);

it('is bound in the namespace, and listens by TCP', async () => {
  const results = await native.run([open(), open({ tcp: true }), open({ broadcast: true, port: 67, link: 'lo' })]);
  expect(results.map(({ errno }) => errno)).toEqual([0, 0, 0]);
  const sockets = (await listening()).split('\n').map((line) => line.split(/\s+/));
  expect(sockets.map(([kind, , , , local]) => `${kind} ${local}`).sort()).toEqual(
    expect.arrayContaining(['tcp 192.0.2.1:53', 'udp 192.0.2.1%lo:67', 'udp 192.0.2.1:53']),
  );
  expect(await must('', ['ss', '-Hlntu'])).not.toMatch(/:53\s/);
  for (const { value } of results) closeSync(Number(value));
  expect(await listening()).toBe('');
});

it('says where it failed, and leaves nothing open', async () => {
  const refusals = await Promise.all(
    [
      open({ netns: '/run/netns/no' }),
      open({ address: '192.0.2.2' }),
      open({ address: 'x' }),
      open({ link: 'no' }),
    ].map(async (op) => (await native.run([op]))[0]),
  );
  expect(refusals).toMatchObject([
    { errno: ENOENT },
    { errno: EADDRNOTAVAIL, where: 'bind 192.0.2.2' },
    { errno: EINVAL, where: 'address x' },
    { errno: ENODEV, where: 'link no' },
  ]);
  const [first] = await native.run([open()]);
  expect((await native.run([open()]))[0]).toMatchObject({ errno: EADDRINUSE, where: 'bind 192.0.2.1' });
  closeSync(Number(first?.value));
  expect(await listening()).toBe('');
});
