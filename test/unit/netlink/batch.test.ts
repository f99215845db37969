import { describe, expect, it, vi } from 'vitest';
import { addAddr } from '../../../src/netlink/addr.js';
import { Batch, dumpRequest } from '../../../src/netlink/batch.js';
import { createVeth, deleteLink, setLink } from '../../../src/netlink/link.js';
import { eachMessage, viewOf } from '../../../src/netlink/message.js';
import { addRoute } from '../../../src/netlink/route.js';
import { build, expectBytes, expectSoundFixups, littleEndianHost } from './support.js';

describe('Batch', () => {
  it('numbers the messages from 1 and asks for an ack each', () => {
    const { data, count } = build((batch) => {
      for (const name of ['a', 'bb', 'ccccc']) deleteLink(batch, { name });
    });
    const view = viewOf(data);
    const heads: number[][] = [];
    eachMessage(view, (type, start) => {
      heads.push([type, view.getUint16(start - 10, littleEndianHost), view.getUint32(start - 8, littleEndianHost)]);
    });
    expect(count).toBe(3);
    // RTM_DELLINK, NLM_F_REQUEST|NLM_F_ACK
    expect(heads).toEqual([
      [17, 5, 1],
      [17, 5, 2],
      [17, 5, 3],
    ]);
  });

  it('keeps content and fixups right while it grows', () => {
    const many = 500;
    const finished = build((batch) => {
      for (let index = 0; index < many; index += 1) {
        createVeth(batch, {
          name: `v${index}`,
          mac: '02:00:00:00:00:01',
          mtu: 1500,
          peer: { name: 'eth0', mac: '02:00:00:00:00:02', mtu: 1500, netns: `/run/netns/${index}` },
        });
        setLink(batch, { name: `v${index}`, master: `br${index}` });
      }
    });
    expect(finished.count).toBe(2 * many);
    expectSoundFixups(finished);
    expect(finished.fixups.map(({ netns, link }) => netns ?? link)).toEqual(
      Array.from({ length: many }, (_, index) => [`/run/netns/${index}`, `br${index}`]).flat(),
    );
    // Whether alone or the 500th, a message has the same bytes but for its sequence number.
    const alone = build((batch) => setLink(batch, { name: 'v499', master: 'br499' })).data;
    const last = finished.data.subarray(finished.data.length - alone.length);
    expect(last.subarray(12)).toEqual(alone.subarray(12));
  });

  it('remembers the first mistake, ignores the rest, and throws it at the end, each time', () => {
    const batch = new Batch();
    addAddr(batch, { link: 'a', addr: '10.0.0.1/24' });
    addAddr(batch, { link: 'a', addr: 'first/24' });
    addAddr(batch, { link: 'a', addr: 'second/24' });
    expect(batch.count).toBe(1);
    for (let times = 0; times < 2; times += 1) {
      expect(() => batch.finish()).toThrow(
        expect.objectContaining({ code: 'INVALID', message: expect.stringContaining('first') }),
      );
    }
  });

  it('begins anew after finish, without touching what it handed over', () => {
    const batch = new Batch();
    deleteLink(batch, { name: 'a' });
    const first = batch.finish();
    const before = Uint8Array.from(first.data);
    setLink(batch, { name: 'b', master: 'c' });
    const second = batch.finish();
    expect(first.data).toEqual(before);
    expect(first.fixups).toEqual([]);
    expect(second.count).toBe(1);
    expect(viewOf(second.data).getUint32(8, littleEndianHost)).toBe(1);
    expect(batch.finish()).toEqual({ data: new Uint8Array(0), count: 0, fixups: [] });
  });

  it('refuses numbers that do not fit, text with a NUL, and attributes beyond 64 KiB', () => {
    const refused = (fill: (batch: Batch) => void): void => {
      expect(() => build(fill)).toThrow(expect.objectContaining({ code: 'INVALID' }));
    };
    for (const mtu of [-1, 1.5, Number.NaN, 2 ** 32]) refused((batch) => setLink(batch, { name: 'a', mtu }));
    for (const value of [-1, 1.5, Number.NaN, 2 ** 53]) {
      refused((batch) => batch.message(16, 0, () => batch.attrU64(1, value)));
    }
    refused((batch) => deleteLink(batch, { name: 'a\0b' }));
    refused((batch) => setLink(batch, { name: 'a', alias: 'x\0' }));
    refused((batch) => setLink(batch, { name: 'a', alias: 'x'.repeat(65532) }));
    refused((batch) =>
      batch.message(16, 0, () =>
        batch.nest(1, () => {
          for (let index = 0; index < 9000; index += 1) batch.attrU32(1, 1);
        }),
      ),
    );
  });

  it('does not swallow a bug of its caller', () => {
    const batch = new Batch();
    expect(() =>
      batch.message(1, 0, () => {
        throw new TypeError('bug');
      }),
    ).toThrow(TypeError);
    expect(() => batch.message(1, 0, () => batch.message(2, 0, () => {}))).toThrow('inside another');
  });

  it.runIf(littleEndianHost)('pads attributes with zeros and makes nests', () => {
    const { data } = build((batch) =>
      batch.message(0x1234, 0x0400, () => {
        batch.attrName(1, 'ab');
        batch.nest(2, () => {
          batch.attrU8(3, 255);
          batch.attrText(4, '');
        });
        batch.nest(5, () => batch.u32(7), true);
        batch.attrU64(6, Number.MAX_SAFE_INTEGER);
      }),
    );
    expectBytes(data, [
      ['3c000000', 'nlmsg_len 60'],
      ['3412', 'nlmsg_type'],
      ['0504', 'nlmsg_flags REQUEST|ACK|0x400'],
      ['01000000 00000000', 'nlmsg_seq 1, nlmsg_pid 0'],
      ['0700 0100 616200 00', 'attribute 1: 4+3 bytes, "ab\\0", padding'],
      ['1000 0280', 'attribute 2|NLA_F_NESTED: 16 bytes'],
      ['0500 0300 ff 000000', '  attribute 3: 4+1 bytes, padding'],
      ['0400 0400', '  attribute 4: empty'],
      ['0800 0500 07000000', 'attribute 5, not flagged'],
      ['0c00 0600 ffffffffffff1f00', 'attribute 6: 4+8 bytes'],
    ]);
  });

  it.runIf(littleEndianHost)('makes dump requests that ask for no ack', () => {
    expectBytes(dumpRequest(22, 8), [
      ['18000000', 'nlmsg_len 24'],
      ['1600', 'nlmsg_type RTM_GETADDR'],
      ['0103', 'nlmsg_flags REQUEST|DUMP'],
      ['01000000 00000000', 'nlmsg_seq 1, nlmsg_pid 0'],
      ['00 00 00 00 00000000', 'struct ifaddrmsg, AF_UNSPEC'],
    ]);
  });
});

describe('on a big-endian host', () => {
  it('numbers are big-endian, addresses as ever', async () => {
    vi.resetModules();
    vi.doMock('../../../src/netlink/wire.js', async (original) => ({
      ...(await original<typeof import('../../../src/netlink/wire.js')>()),
      LITTLE_ENDIAN: false,
    }));
    try {
      const big = await import('../../../src/netlink/batch.js');
      const route = await import('../../../src/netlink/route.js');
      const fill = { table: 1001, dst: '10.1.0.0/16', type: 'unicast', via: '10.0.0.1', metric: 5 } as const;
      const batch = new big.Batch();
      route.addRoute(batch, fill);
      const { data } = batch.finish();
      expectBytes(data, [
        ['0000003c', 'nlmsg_len 60'],
        ['0018', 'nlmsg_type RTM_NEWROUTE'],
        ['0605', 'nlmsg_flags REQUEST|ACK|EXCL|CREATE'],
        ['00000001 00000000', 'nlmsg_seq 1, nlmsg_pid 0'],
        ['02 10 00 00 00 c9 00 01 00000000', 'struct rtmsg'],
        ['0008 000f 000003e9', 'RTA_TABLE 1001'],
        ['0008 0001 0a010000', 'RTA_DST 10.1.0.0'],
        ['0008 0005 0a000001', 'RTA_GATEWAY 10.0.0.1'],
        ['0008 0006 00000005', 'RTA_PRIORITY 5'],
      ]);
      expect(route.decodeRoutes(data)).toMatchObject([{ table: 1001, dst: '10.1.0.0/16', via: '10.0.0.1', metric: 5 }]);
      const table = await import('../../../src/netlink/neightbl.js');
      table.setProxyDelay(batch, { link: 'a', ms: 800 });
      const delay = batch.finish().data;
      expectBytes(delay.subarray(16), [
        ['02 00 0000', 'struct ndtmsg'],
        ['000e 0001 6172705f636163686500 0000', 'NDTA_NAME "arp_cache", padding'],
        ['0018 8006', 'NDTA_PARMS'],
        ['0008 0001 00000000', '  NDTPA_IFINDEX: slot'],
        ['000c 000d 0000000000000320', '  NDTPA_PROXY_DELAY 800 ms'],
      ]);
      // RTM_NEWNEIGHTBL, in the second byte of its field.
      delay[5] = 64;
      expect(table.decodeArp(delay)).toEqual([{ index: 0, proxyDelay: 800 }]);
      if (littleEndianHost) expect(build((little) => addRoute(little, fill)).data).not.toEqual(data);
    } finally {
      vi.doUnmock('../../../src/netlink/wire.js');
      vi.resetModules();
    }
  });
});
