import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { LANES, loadNative, type NativeOp, REGISTER } from '../../src/kernel/native.js';
import { decodeLinks, dumpLinks } from '../../src/netlink/link.js';
import { ip, ipDo, must } from '../harness/witness.js';
import { EEXIST, EINVAL, ENOENT, threadNamespaces } from './wire.js';

const native = loadNative();
const path = (name: string): string => `/run/netns/${name}`;
const create = (name: string): NativeOp => ({ op: 'netns-create', path: path(name) });
const remove = (name: string): NativeOp => ({ op: 'netns-delete', path: path(name) });

function mountsAt(at: string): string[] {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.split(' ')[1] === at);
}

afterEach(async () => {
  for (const name of readdirSync('/run/netns')) await native.run([remove(name)]);
});

describe('netns-create', () => {
  it('pins a new namespace where iproute2 finds it, its loopback up', async () => {
    expect(await native.run([create('a')])).toEqual([{ errno: 0 }]);
    expect((await ip<{ name: string }>(['netns', 'list'])).map(({ name }) => name)).toEqual(['a']);
    const [lo] = await ip<{ operstate: string; flags: string[] }>(['link', 'show', 'lo'], 'a');
    expect(lo?.flags).toEqual(['LOOPBACK', 'UP', 'LOWER_UP']);
    const own = (await must('a', ['readlink', '/proc/self/ns/net'])).trim();
    expect(own).not.toBe(readlinkSync('/proc/self/ns/net'));
    expect(own).toBe(`net:[${statSync(path('a')).ino}]`);
  });

  it('refuses a name that is taken and leaves its holder alone', async () => {
    await native.run([create('a')]);
    const before = statSync(path('a')).ino;
    expect(await native.run([create('a')])).toEqual([{ errno: EEXIST, where: `open ${path('a')}` }]);
    expect(statSync(path('a')).ino).toBe(before);
    expect(mountsAt(path('a'))).toHaveLength(1);
  });

  it('says where it failed', async () => {
    const missing = '/run/netns/no/such';
    expect(await native.run([{ op: 'netns-create', path: missing }])).toEqual([
      { errno: ENOENT, where: `open ${missing}` },
    ]);
  });
});

describe('netns-delete', () => {
  it('unpins, and the namespace and its links are gone', async () => {
    await native.run([create('a')]);
    await ipDo(['link', 'add', 've0', 'type', 'veth', 'peer', 'name', 've1', 'netns', 'a']);
    expect(await native.run([remove('a')])).toEqual([{ errno: 0 }]);
    expect(existsSync(path('a'))).toBe(false);
    expect(mountsAt(path('a'))).toEqual([]);
    // The namespace is destroyed when nothing holds it; its peer then takes ve0 along.
    await expect.poll(async () => (await ip<{ ifname: string }>(['link'])).map(({ ifname }) => ifname)).toEqual(['lo']);
  });

  it('answers ENOENT for a name that is not there', async () => {
    expect(await native.run([remove('a')])).toEqual([{ errno: ENOENT, where: `lstat ${path('a')}` }]);
  });

  it('removes the empty file that a crash between open and mount leaves', async () => {
    writeFileSync(path('a'), '');
    expect(await native.run([remove('a')])).toEqual([{ errno: 0 }]);
    expect(existsSync(path('a'))).toBe(false);
  });

  it('takes off every layer of a pin', async () => {
    await native.run([create('a')]);
    await must('', ['mount', '--bind', path('a'), path('a')]);
    expect(mountsAt(path('a'))).toHaveLength(2);
    expect(await native.run([remove('a')])).toEqual([{ errno: 0 }]);
    expect(mountsAt(path('a'))).toEqual([]);
  });

  it('touches nothing that is not a namespace', async () => {
    writeFileSync('/run/precious', 'data');
    symlinkSync('/run/precious', path('link'));
    for (const victim of ['/run/precious', path('link'), '/run']) {
      expect(await native.run([{ op: 'netns-delete', path: victim }])).toEqual([
        { errno: EINVAL, where: `netns ${victim}` },
      ]);
    }
    expect(readFileSync(path('link'), 'utf8')).toBe('data');
    rmSync(path('link'));
    rmSync('/run/precious');
  });
});

describe('a namespace that is deleted while somebody holds it', () => {
  const LANE = LANES.teardown;
  const living = async (nsids: readonly number[], release = false): Promise<number[]> => {
    const data = new Uint8Array(Int32Array.from(nsids).buffer);
    const [result] = await native.run([{ op: 'netns-living', data, release }], true, LANE);
    expect(result?.errno).toBe(0);
    return [...new Int32Array(result?.data?.slice().buffer ?? new ArrayBuffer(0))];
  };

  it('is told of by number and inode, and lives until he lets go, however long that takes', async () => {
    await native.run([create('a'), create('b')]);
    const { ino } = statSync(path('a'));
    const fd = openSync(path('a'), 'r');
    const results = await native.run([remove('a'), remove('b')], true, LANE);
    expect(results).toEqual([{ errno: 0, value: expect.stringMatching(`^[0-9]+ ${ino}$`) }, { errno: 0 }]);
    const nsid = Number.parseInt(results[0]?.value ?? '', 10);
    // Longer than the thread keeps what nobody needs.
    await sleep(400);
    expect(await living([nsid, nsid + 1])).toEqual([nsid]);
    const [dump] = await native.run([{ op: 'dump', netns: REGISTER, data: dumpLinks(nsid) }], true, LANE);
    expect(decodeLinks(dump?.data ?? new Uint8Array()).map(({ name }) => name)).toEqual(['lo']);
    closeSync(fd);
    expect(await living([nsid])).toEqual([]);
  });

  it('is forgotten when nobody asks any more; then nothing is kept', async () => {
    await native.run([create('a')]);
    const fd = openSync(path('a'), 'r');
    const [result] = await native.run([remove('a')], true, LANE);
    const nsid = Number.parseInt(result?.value ?? '', 10);
    expect(await living([nsid], true)).toEqual([nsid]);
    closeSync(fd);
    await sleep(400);
    const [asked] = await native.run([{ op: 'netns-living', data: new Uint8Array(4) }], true, LANE);
    expect(asked).toMatchObject({ where: 'register' });
  });
});

describe('a program', () => {
  it('stops at the first failure', async () => {
    const results = await native.run([create('a'), create('a'), create('b')]);
    expect(results.map(({ errno }) => errno)).toEqual([0, EEXIST]);
    expect(existsSync(path('b'))).toBe(false);
  });

  it('goes on with keepGoing', async () => {
    const results = await native.run([create('a'), create('a'), create('b')], true);
    expect(results.map(({ errno }) => errno)).toEqual([0, EEXIST, 0]);
    expect(existsSync(path('b'))).toBe(true);
  });

  it('sees a namespace made, deleted and made again under one name as two', async () => {
    const key = 'net/ipv4/ip_forward';
    const results = await native.run(
      [
        create('a'),
        { op: 'sysctl-write', netns: path('a'), key, value: '1' },
        remove('a'),
        { op: 'sysctl-read', netns: path('a'), key },
        create('a'),
        { op: 'sysctl-read', netns: path('a'), key },
      ],
      true,
    );
    expect(results.map(({ errno }) => errno)).toEqual([0, 0, 0, ENOENT, 0, 0]);
    expect(results[3]?.where).toBe(`open ${path('a')}`);
    expect(results[5]?.value).toBe('0');
  });

  it('refuses a file that is no namespace', async () => {
    writeFileSync(path('plain'), '');
    expect(await native.run([{ op: 'sysctl-read', netns: path('plain'), key: 'net/ipv4/ip_forward' }])).toEqual([
      { errno: EINVAL, where: `netns ${path('plain')}` },
    ]);
    const other = `/proc/self/ns/uts`;
    expect(await native.run([{ op: 'sysctl-read', netns: other, key: 'net/ipv4/ip_forward' }])).toEqual([
      { errno: EINVAL, where: `netns ${other}` },
    ]);
  });

  it('runs after those queued before it', async () => {
    const all = await Promise.all([
      native.run([create('a')]),
      native.run([create('a')]),
      native.run([remove('a')]),
      native.run([create('a')]),
    ]);
    expect(all.flat().map(({ errno }) => errno)).toEqual([0, EEXIST, 0, 0]);
  });

  it('may be empty', async () => {
    expect(await native.run([])).toEqual([]);
  });
});

describe('the namespace thread', () => {
  it('is the only one that leaves the namespace of the process, and is home when idle', async () => {
    const home = readlinkSync('/proc/self/ns/net');
    const names = Array.from({ length: 200 }, (_, i) => `n${i}`);
    let done = false;
    const program = native.run(names.map(create)).finally(() => {
      done = true;
    });
    const away = new Set<string>();
    let looks = 0;
    while (!done) {
      for (const [thread, netns] of threadNamespaces(readdirSync('/proc/self/task'))) {
        if (netns !== home) away.add(thread);
      }
      looks += 1;
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await program).every(({ errno }) => errno === 0)).toBe(true);
    expect(looks).toBeGreaterThan(1);
    expect([...away].map((thread) => thread.split(' ')[1])).toEqual(['vpcctl-netns']);
    for (const [thread, netns] of threadNamespaces(readdirSync('/proc/self/task'))) {
      expect([thread, netns]).toEqual([thread, home]);
    }
  });

  it('leaks no descriptor in 1,000 cycles', async () => {
    const cycle = [
      create('a'),
      { op: 'sysctl-read', netns: path('a'), key: 'net/ipv4/ip_forward' } as const,
      { op: 'netlink', netns: path('a'), data: new Uint8Array(), count: 0, fixups: [] } as const,
      remove('a'),
    ];
    await native.run(cycle);
    const before = readdirSync('/proc/self/fd').length;
    for (let i = 0; i < 1_000; i += 1) {
      const results = await native.run(cycle);
      if (results.some(({ errno }) => errno !== 0)) expect(results).toEqual([]);
    }
    expect(readdirSync('/proc/self/fd')).toHaveLength(before);
  });
});

describe('arguments', () => {
  const bad = (ops: unknown, keepGoing?: unknown) => () =>
    (native.run as (ops: unknown, keepGoing?: unknown) => Promise<unknown>)(ops, keepGoing);
  const netlink = { op: 'netlink', netns: '', data: new Uint8Array(), count: 0, fixups: [] };

  it.each<[string, unknown, string]>([
    ['no list', undefined, 'ops must be an array'],
    ['a string', [''], 'ops[0] must be an object'],
    ['no kind', [{}], 'ops[0].op must be a string'],
    ['an unknown kind', [{ op: 'reboot' }], 'ops[0].op is unknown: reboot'],
    ['a path of the wrong type', [{ op: 'netns-create', path: 7 }], 'ops[0].path must be a string'],
    ['a path with a NUL', [{ op: 'netns-create', path: '/run/netns/a\0b' }], 'ops[0].path must not contain a NUL'],
    ['data that are no bytes', [{ ...netlink, data: [1] }], 'ops[0].data must be a Uint8Array'],
    ['data of the wrong width', [{ ...netlink, data: new Uint16Array(8) }], 'ops[0].data must be a Uint8Array'],
    ['a fractional count', [{ ...netlink, count: 1.5 }], 'ops[0].count must be an integer'],
    ['a negative count', [{ ...netlink, count: -1 }], 'ops[0].count must be an integer'],
    ['a count that is no number', [{ ...netlink, count: Number.NaN }], 'ops[0].count must be an integer'],
    ['fixups that are no list', [{ ...netlink, fixups: {} }], 'ops[0].fixups must be an array'],
    [
      'a fixup of nothing',
      [{ ...netlink, fixups: [{ offset: 20 }] }],
      'ops[0].fixups[0] must have either netns or link',
    ],
    [
      'a fixup of two things',
      [{ ...netlink, fixups: [{ offset: 20, netns: '', link: 'lo' }] }],
      'either netns or link',
    ],
    ['a later operation', [netlink, { op: 'dump', netns: '' }], 'ops[1].data must be a Uint8Array'],
  ])('%s is a TypeError at once', (_name, ops, text) => {
    expect(bad(ops)).toThrow(TypeError);
    expect(bad(ops)).toThrow(text);
  });

  it('a keepGoing that is no boolean is a TypeError at once', () => {
    expect(bad([], 1)).toThrow(TypeError);
  });

  it('an exception of a getter comes through, and nothing is run', async () => {
    const trap = {
      op: 'netns-create',
      get path(): string {
        throw new RangeError('trap');
      },
    };
    expect(bad([create('a'), trap])).toThrow(new RangeError('trap'));
    await native.run([]);
    expect(existsSync(path('a'))).toBe(false);
  });

  it('what is changed after the call does not change what is run', async () => {
    const ops = [{ op: 'netns-create' as const, path: path('a') }];
    const running = native.run(ops);
    ops[0] = { op: 'netns-create', path: path('b') };
    await running;
    expect(readdirSync('/run/netns')).toEqual(['a']);
  });
});
