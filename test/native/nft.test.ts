/** nftables through libnftables, beside another program. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { LANES, loadNative, type NativeOp } from '../../src/kernel/native.js';
import { must, nft } from '../harness/witness.js';
import { ENOENT, withAddon } from './wire.js';

const native = loadNative();
const EBADMSG = 74;
const EMFILE = 24;
const A = '/run/netns/a';
const B = '/run/netns/b';

function link(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return '';
  }
}

const remove = (path: string): NativeOp => ({ op: 'netns-delete', path });
const create = (path: string): NativeOp => ({ op: 'netns-create', path });
const document = (netns: string, ...commands: readonly unknown[]): NativeOp => ({
  op: 'nft',
  netns,
  document: JSON.stringify({ nftables: commands }),
});
const table = (name: string) => ({ table: { family: 'inet', name } });
const add = (name: string) => ({ add: table(name) });

beforeEach(async () => {
  await native.run([create(A), create(B)]);
  onTestFinished(async () => {
    await native.run([{ op: 'nft-rest' }], true, LANES.firewall);
    await native.run([remove(A), remove(B)], true);
  });
});

async function tables(ns: string): Promise<string[]> {
  return (await nft(['list', 'tables'], ns)).flatMap(
    (object) => (object as { table?: { name: string } }).table?.name ?? [],
  );
}

describe.runIf(native.hasNftables())('a document', () => {
  it('is one transaction in its own namespace', async () => {
    expect(await native.run([document(A, add('one')), document(B, add('two'))], false, LANES.firewall)).toEqual([
      { errno: 0, value: '' },
      { errno: 0, value: '' },
    ]);
    expect([await tables('a'), await tables('b')]).toEqual([['one'], ['two']]);
    const [refused, , ...rest] = await native.run(
      [document(A, add('three'), { create: table('one') })],
      false,
      LANES.firewall,
    );
    expect(refused).toMatchObject({ errno: EBADMSG, where: 'nft', value: expect.stringMatching(/File exists/) });
    expect(rest).toEqual([]);
    expect(await tables('a')).toEqual(['one']);
  });

  it('leaves no socket to programs that are started meanwhile', async () => {
    await native.run([document(A, add('one')), document(B, add('two'))], false, LANES.firewall);
    const kept = readdirSync('/proc/self/fd').filter((fd) => /^socket:/.test(link(`/proc/self/fd/${fd}`)));
    expect(kept.length).toBeGreaterThanOrEqual(2);
    const { stdout } = spawnSync('ls', ['-l', '/proc/self/fd'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    expect(stdout.split('\n').filter((line) => / (?!1 )[0-9]+ -> socket:/.test(line))).toEqual([]);
  });

  it('that is only checked changes nothing, and is refused as it would be', async () => {
    await native.run([document(A, add('one'))]);
    const checked = async (...commands: unknown[]) =>
      (await native.run([{ ...document(A, ...commands), check: true } as NativeOp]))[0]?.errno;
    expect(await checked(add('two'))).toBe(0);
    expect(await checked({ create: table('one') })).toBe(EBADMSG);
    expect(await tables('a')).toEqual(['one']);
    await native.run([document(A, add('two'))]);
    expect(await tables('a')).toEqual(['one', 'two']);
  });

  it('lists as nft does', async () => {
    await native.run([document(A, add('one'))]);
    const [listed] = await native.run([document(A, { list: { ruleset: null } })]);
    expect(JSON.parse(listed?.value ?? '')).toEqual(
      JSON.parse(await must('a', ['nft', '-j', '-n', 'list', 'ruleset'])),
    );
  });

  it('that is no JSON is refused in words', async () => {
    const [result] = await native.run([{ op: 'nft', netns: A, document: '{' }]);
    expect(result).toMatchObject({ errno: EBADMSG, value: expect.stringMatching(/\S/) });
  });

  it('goes to the namespace that is there now, not to one that had the name before', async () => {
    await native.run([document(A, add('old'))], false, LANES.firewall);
    await native.run([remove(A), create(A)]);
    await native.run([document(A, add('new'))], false, LANES.firewall);
    expect(await tables('a')).toEqual(['new']);
  });

  it('for a namespace that is not there says so', async () => {
    expect(await native.run([document('/run/netns/none', add('one'))])).toEqual([
      { errno: ENOENT, where: 'open /run/netns/none' },
    ]);
  });

  it('keeps no namespace alive for long: a link whose other end was in it goes', async () => {
    await must('', ['ip', 'link', 'add', 'canary', 'type', 'veth', 'peer', 'name', 'c', 'netns', 'a']);
    await native.run([document(A, add('one'))], false, LANES.firewall);
    await native.run([remove(A)]);
    await expect
      .poll(async () => (await must('', ['ip', '-br', 'link'])).includes('canary'), { timeout: 5_000 })
      .toBe(false);
  });

  it('is not run where so many files are open that the library could not wait for its socket', () => {
    const script = withAddon(`
      import { openSync } from 'node:fs';
      let refused = '';
      for (let i = 0; i < 1_000; i += 1) {
        try { openSync('/dev/null', 'r'); } catch (error) { refused = error.code; }
      }
      const [result] = await native.run([{ op: 'nft', netns: '', document: '{"nftables": []}', check: true }]);
      console.log(JSON.stringify({ refused, ...result }));
    `);
    const done = spawnSync('prlimit', ['--nofile=2048', process.execPath, '--input-type=module', '-e', script], {
      encoding: 'utf8',
      timeout: 30_000,
    });
    expect(JSON.parse(done.stdout)).toEqual({ refused: '', errno: EMFILE, where: 'libnftables' });
  });

  it('leaves one namespace after another without growing', async () => {
    for (let i = 0; i < 40; i++) {
      const path = `/run/netns/n${i}`;
      await native.run([create(path), document(path, add('one')), remove(path)]);
    }
    expect(await native.run([{ op: 'nft-rest' }])).toEqual([{ errno: 0 }]);
  });
});

describe('another lane', () => {
  it('works while the first one does, and an exit in the middle of both is clean', async () => {
    const script = withAddon(`
      const many = (letter) => Array.from({ length: 200 }, () => [
        { op: 'netns-create', path: '/run/netns/' + letter }, { op: 'netns-delete', path: '/run/netns/' + letter } ]).flat();
      let ended = '';
      const first = native.run(many('x')).then(() => { ended += 'x'; });
      const second = native.run(many('y').slice(0, 20), false, 1).then(() => { ended += 'y'; });
      await Promise.all([first, second]);
      console.log(ended);
      native.run(many('x')); native.run(many('y'), false, 1);
      setTimeout(() => process.exit(7), 5);
    `);
    const done = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
      encoding: 'utf8',
      timeout: 30_000,
    });
    expect({ status: done.status, out: done.stdout + done.stderr }).toEqual({ status: 7, out: 'yx\n' });
    await native.run([remove('/run/netns/x'), remove('/run/netns/y')], true);
  });
});

describe('a setting', () => {
  it('that is optional may be missing; any other must be there', async () => {
    const write = (key: string, optional: boolean): NativeOp => ({
      op: 'sysctl-write',
      netns: A,
      key,
      value: '1',
      optional,
    });
    expect(await native.run([write('net/none/such', true)])).toEqual([{ errno: 0 }]);
    expect((await native.run([write('net/none/such', false)]))[0]?.errno).toBe(ENOENT);
    expect((await native.run([write('net/ipv4/ip_forward', true)]))[0]).toMatchObject({ errno: 0 });
  });
});
