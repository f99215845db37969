import { spawnSync } from 'node:child_process';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { loadNative, type NativeOp } from '../../src/kernel/native.js';
import { ip, ipDo } from '../harness/witness.js';
import {
  attr,
  badMtu,
  ECANCELED,
  EEXIST,
  EINVAL,
  ENODEV,
  ENOENT,
  EOPNOTSUPP,
  ERANGE,
  errnos,
  getLink,
  getLinks,
  HEADER,
  IFA_INDEX,
  IFI_INDEX,
  ifinfo,
  message,
  messages,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  netlink,
  newAddr,
  newLink,
  newVeth,
  OTHER_END,
  RTM_GETLINK,
  RTM_NEWLINK,
  text,
  withAddon,
} from './wire.js';

const native = loadNative();
const A = '/run/netns/a';
const B = '/run/netns/b';

beforeEach(async () => {
  const create = (path: string): NativeOp => ({ op: 'netns-create', path });
  const remove = (path: string): NativeOp => ({ op: 'netns-delete', path });
  expect((await native.run([create(A), create(B)])).map(({ errno }) => errno)).toEqual([0, 0]);
  onTestFinished(async () => {
    await native.run([remove(A), remove(B)], true);
  });
});

async function linkNames(ns: string): Promise<string[]> {
  const links = await ip<{ ifname: string }>(['link'], ns);
  return links.map(({ ifname }) => ifname).filter((name) => !name.startsWith(OTHER_END));
}

async function addresses(ns: string, link: string): Promise<string[]> {
  const [found] = await ip<{ addr_info: { local: string }[] }>(['-4', 'addr', 'show', 'dev', link], ns);
  // The loopback's own is the kernel's doing.
  return (found?.addr_info ?? []).map(({ local }) => local).filter((local) => local !== '127.0.0.1');
}

describe('acks', () => {
  it('come one a message, in order, and what follows a failure is still applied', async () => {
    const results = await native.run([
      netlink(A, [newLink('v0'), newLink('v0'), newLink('v1'), newLink('x0', 'nosuchkind'), newLink('v2')]),
    ]);
    expect(results).toHaveLength(1);
    expect(results[0]?.errno).toBe(0);
    expect(errnos(results[0])).toEqual([0, EEXIST, 0, EOPNOTSUPP, 0]);
    expect(await linkNames('a')).toEqual(['lo', 'v0', 'v1', 'v2']);
  });

  it('carry the kernel’s words', async () => {
    const [result] = await native.run([netlink(A, [newLink('x0', 'nosuchkind')])]);
    expect(result?.acks).toEqual([{ errno: EOPNOTSUPP, extack: 'Unknown device type' }]);
  });

  it('carry the offset of the offending attribute', async () => {
    const bad = badMtu();
    const [result] = await native.run([netlink(A, [bad.data])]);
    expect(result?.acks?.[0]).toMatchObject({ errno: ERANGE, offset: bad.at });
    expect(result?.acks?.[0]?.extack).toMatch(/policy/);
  });

  it('a failed message ends the program, unless keepGoing', async () => {
    const program = [netlink(A, [newLink('v0'), newLink('v0')]), netlink(A, [newLink('v1')])];
    expect(await native.run(program)).toHaveLength(1);
    expect((await native.run(program, true)).map(errnos)).toEqual([[EEXIST, EEXIST], [0]]);
  });

  it('a request without NLM_F_REQUEST is carried out, not silently skipped', async () => {
    const [result] = await native.run([netlink(A, [newLink('v0', 'veth', 0x600)])]);
    expect(errnos(result)).toEqual([0]);
    expect(await linkNames('a')).toContain('v0');
  });

  it('leave the caller’s buffer as it was', async () => {
    const op = netlink(A, [newLink('v0')]);
    const before = Buffer.from(op.data);
    await native.run([op]);
    expect(Buffer.compare(op.data, before)).toBe(0);
  });

  it('a view into a larger buffer is sent as the view', async () => {
    const one = newLink('v0');
    const data = Buffer.concat([Buffer.alloc(12, 0xff), one, Buffer.alloc(5, 0xff)]).subarray(12, 12 + one.length);
    const [result] = await native.run([{ ...netlink(A, [one]), data }]);
    expect(errnos(result)).toEqual([0]);
  });

  it('the last message’s padding may be missing', async () => {
    const one = message(
      RTM_NEWLINK,
      0x600,
      ifinfo(),
      attr(18, attr(1, text('veth'))),
      Buffer.from([6, 0, 3, 0, 0x62, 0]),
    );
    const data = one.subarray(0, -2);
    expect(data.length % 4).toBe(2);
    const [result] = await native.run([{ op: 'netlink', netns: A, data, count: 1, fixups: [] }]);
    expect(errnos(result)).toEqual([0]);
    expect(await linkNames('a')).toContain('b');
  });

  it('the answer of a request that is no dump comes back as data', async () => {
    const [result] = await native.run([netlink(A, [getLink('lo')])]);
    expect(errnos(result)).toEqual([0]);
    expect(messages(result?.data ?? new Uint8Array()).map(({ type }) => type)).toEqual([RTM_NEWLINK]);
  });
});

describe('large batches', () => {
  const base = 0x0a_00_00_00;
  const many = (count: number): Buffer[] => Array.from({ length: count }, (_, i) => newAddr(base + i, 1));

  it('4,000 messages are sent in pieces and all acknowledged', async () => {
    const [result] = await native.run([netlink(A, many(4_000))]);
    expect(result?.errno).toBe(0);
    expect(result?.acks).toHaveLength(4_000);
    expect(errnos(result).every((errno) => errno === 0)).toBe(true);
    expect(await addresses('a', 'lo')).toHaveLength(4_000);
  });

  it('after a piece with a failure nothing more is sent, and what was not is ECANCELED', async () => {
    const list = many(4_000);
    list[10] = newAddr(base, 1);
    const [result] = await native.run([netlink(A, list)]);
    const got = errnos(result);
    expect(got).toHaveLength(4_000);
    expect(got[10]).toBe(EEXIST);
    const cut = got.indexOf(ECANCELED);
    expect(cut).toBeGreaterThan(11);
    expect(got.slice(0, cut).filter((errno) => errno !== 0)).toEqual([EEXIST]);
    expect(got.slice(cut).every((errno) => errno === ECANCELED)).toBe(true);
    expect(await addresses('a', 'lo')).toHaveLength(cut - 1);
  });

  it('keepGoing sends the rest', async () => {
    const list = many(4_000);
    list[10] = newAddr(base, 1);
    const [result] = await native.run([netlink(A, list)], true);
    expect(errnos(result).filter((errno) => errno !== 0)).toEqual([EEXIST]);
    expect(await addresses('a', 'lo')).toHaveLength(3_999);
  });

  it('works in a user namespace, where buffers are bounded', () => {
    const script = withAddon(`
      import { readFileSync } from 'node:fs';
      const data = Buffer.from(readFileSync(0, 'utf8'), 'base64');
      const [result] = await native.run([{ op: 'netlink', netns: '', data, count: 4000, fixups: [] }], true);
      const texts = new Set(result.acks.map((ack) => ack.extack));
      console.log(JSON.stringify([result.errno, result.where, result.acks.length, ...texts]));
    `);
    const data = Buffer.concat(Array.from({ length: 4_000 }, () => newLink('x', 'k'))).toString('base64');
    const done = spawnSync('unshare', ['-Urn', process.execPath, '--input-type=module', '-e', script], {
      encoding: 'utf8',
      input: data,
    });
    expect([done.stderr, done.stdout.trim()]).toEqual(['', '[0,null,4000,"Unknown device type"]']);
  });
});

describe('fixups', () => {
  it('a namespace’s descriptor puts the peer of a veth there', async () => {
    const { data, slot } = newVeth('ve0', 'eth0');
    const [result] = await native.run([
      netlink(A, [newLink('v0'), data], [{ offset: newLink('v0').length + slot, netns: B }]),
    ]);
    expect(errnos(result)).toEqual([0, 0]);
    expect(await linkNames('a')).toEqual(['lo', 'v0', 've0']);
    expect(await linkNames('b')).toEqual(['lo', 'eth0']);
  });

  it('the empty namespace is the process’s own', async () => {
    const { data, slot } = newVeth('ve0', 'from-a');
    const [result] = await native.run([netlink(A, [data], [{ offset: slot, netns: '' }])]);
    expect(errnos(result)).toEqual([0]);
    expect(await linkNames('')).toContain('from-a');
    await ipDo(['link', 'del', 'from-a']);
  });

  it('a namespace made earlier in the program can be named', async () => {
    const { data, slot } = newVeth('ve0', 'eth0');
    const path = '/run/netns/fresh';
    const results = await native.run([
      { op: 'netns-create', path },
      netlink(A, [data], [{ offset: slot, netns: path }]),
    ]);
    expect(results.map(({ errno }) => errno)).toEqual([0, 0]);
    expect(await linkNames('fresh')).toEqual(['lo', 'eth0']);
    await native.run([{ op: 'netns-delete', path }]);
  });

  it('a link’s index is looked up in the namespace of the message', async () => {
    await native.run([netlink(B, [newLink('pad0'), newLink('v0')]), netlink(A, [newLink('v0')])]);
    for (const ns of ['a', 'b']) {
      const op = netlink(`/run/netns/${ns}`, [newAddr(0x0a000001, 0)], [{ offset: IFA_INDEX, link: 'v0' }]);
      expect((await native.run([op])).map(errnos)).toEqual([[0]]);
      expect(await addresses(ns, 'v0')).toEqual(['10.0.0.1']);
    }
  });

  it.each(['short-alt', 'an-alternative-name-of-more-than-fifteen-bytes'])(
    'a link is not found by its altname %s: who is root in a namespace gives those',
    async (name) => {
      await native.run([netlink(A, [newLink('v0')])]);
      await ipDo(['link', 'property', 'add', 'dev', 'v0', 'altname', name], 'a');
      const to = (link: string) => netlink(A, [newAddr(0x0a000001, 0)], [{ offset: IFA_INDEX, link }]);
      expect(await native.run([to(name)])).toEqual([{ errno: ENODEV, where: `link ${name}` }]);
      expect((await native.run([to('v0')])).map(errnos)).toEqual([[0]]);
    },
  );

  it.each(['nope', '', 'v0:1', 'x'.repeat(40), 'x'.repeat(300)])(
    'an unknown link is ENODEV and nothing is sent: "%s"',
    async (link) => {
      await native.run([netlink(A, [newLink('v0')])]);
      const [result] = await native.run([
        netlink(A, [newLink('v1'), newAddr(0x0a000001, 0)], [{ offset: newLink('v1').length + IFA_INDEX, link }]),
      ]);
      expect(result).toEqual({ errno: ENODEV, where: `link ${link}` });
      expect(await linkNames('a')).toEqual(['lo', 'v0']);
    },
  );

  it('an unknown namespace is ENOENT', async () => {
    const { data, slot } = newVeth('ve0', 'eth0');
    const [result] = await native.run([netlink(A, [data], [{ offset: slot, netns: '/run/netns/nope' }])]);
    expect(result).toEqual({ errno: ENOENT, where: 'open /run/netns/nope' });
  });

  it.each([
    ['a header', 0],
    ['across header and payload', HEADER - 2],
    ['across the end', newLink('v0').length - 3],
    ['the second header', newLink('v0').length + 4],
    ['beyond the end', newLink('v0').length * 2],
    ['far beyond the end', 0xffff_ffff],
  ])('a slot in %s is refused', async (_name, offset) => {
    const [result] = await native.run([
      netlink(
        A,
        [newLink('v0'), newLink('v1')],
        [
          { offset: IFI_INDEX, netns: '' },
          { offset, link: 'lo' },
        ],
      ),
    ]);
    expect(result).toEqual({ errno: EINVAL, where: 'fixup 1' });
    expect(await linkNames('a')).toEqual(['lo']);
  });
});

describe('malformed buffers are refused before anything is sent', () => {
  const good = newLink('v0');
  const withLength = (length: number): Buffer => {
    const bytes = Buffer.from(newLink('v1'));
    new DataView(bytes.buffer, bytes.byteOffset).setUint32(
      0,
      length,
      new Uint8Array(new Uint32Array([1]).buffer)[0] === 1,
    );
    return bytes;
  };

  it.each<[string, Buffer[], number, string]>([
    ['fewer messages than counted', [good], 2, 'message 1'],
    ['more messages than counted', [good, newLink('v1')], 1, 'message 1'],
    ['a length of 0', [good, withLength(0)], 2, 'message 1'],
    ['a length below a header', [good, withLength(15)], 2, 'message 1'],
    ['a length beyond the buffer', [good, withLength(4_096)], 2, 'message 1'],
    ['a length of 2³²-1', [withLength(0xffff_ffff)], 1, 'message 0'],
    ['a cut header', [good, Buffer.alloc(15)], 2, 'message 1'],
    ['bytes after the last', [good, Buffer.alloc(1)], 1, 'message 1'],
    ['nothing', [], 1, 'message 0'],
    ['a dump request', [good, message(RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, ifinfo())], 2, 'message 1'],
  ])('%s', async (_name, list, count, where) => {
    const [result] = await native.run([{ op: 'netlink', netns: A, data: Buffer.concat(list), count, fixups: [] }]);
    expect(result).toEqual({ errno: EINVAL, where });
    expect(await linkNames('a')).toEqual(['lo']);
  });

  it('no message at all is no error', async () => {
    expect(await native.run([{ op: 'netlink', netns: A, data: new Uint8Array(), count: 0, fixups: [] }])).toEqual([
      { errno: 0, acks: [] },
    ]);
  });
});

describe('dump', () => {
  it('returns every entry, whatever number of datagrams they came in, without the closing message', async () => {
    const names = Array.from({ length: 120 }, (_, i) => `v${i}`);
    await native.run([
      netlink(
        A,
        names.map((name) => newLink(name)),
      ),
    ]);
    const [result] = await native.run([{ op: 'dump', netns: A, data: getLinks() }]);
    const found = messages(result?.data ?? new Uint8Array());
    expect(result?.errno).toBe(0);
    expect(found.map(({ type }) => type)).toEqual(Array.from({ length: 241 }, () => RTM_NEWLINK));
    expect((result?.data ?? []).length).toBeGreaterThan(64 << 10);
    for (const name of names) {
      expect(found.some(({ bytes }) => bytes.includes(text(name)))).toBe(true);
    }
  });

  it('is in the namespace asked for', async () => {
    await native.run([netlink(A, [newLink('v0')])]);
    const results = await native.run([
      { op: 'dump', netns: A, data: getLinks() },
      { op: 'dump', netns: B, data: getLinks() },
    ]);
    expect(results.map(({ data }) => messages(data ?? new Uint8Array()).length)).toEqual([3, 1]);
  });

  it('a refusal carries the kernel’s words', async () => {
    const header = Buffer.alloc(16, 0);
    header.writeUInt8(1, 12);
    const [result] = await native.run([{ op: 'dump', netns: A, data: getLinks(header) }]);
    expect(result).toMatchObject({ errno: EINVAL, where: 'dump' });
    expect(result?.acks?.[0]?.extack).toMatch(/header/);
  });

  it.each<[string, Buffer]>([
    ['a change (the bits of NLM_F_DUMP mean REPLACE and EXCL there)', newLink('v0')],
    ['two requests', Buffer.concat([getLinks(), getLinks()])],
    ['half a request', getLinks().subarray(0, 20)],
    ['nothing', Buffer.alloc(0)],
  ])('refuses %s', async (_name, data) => {
    expect(await native.run([{ op: 'dump', netns: A, data }])).toEqual([{ errno: EINVAL, where: 'message 0' }]);
    expect(await linkNames('a')).toEqual(['lo']);
  });
});
