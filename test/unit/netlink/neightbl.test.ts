import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeArp, dumpArp, setProxyDelay } from '../../../src/netlink/neightbl.js';
import {
  anyName,
  anyU32,
  build,
  expectBytes,
  expectSoundFixups,
  fixture,
  holds,
  littleEndianHost,
  retyped,
} from './support.js';

const RTM_NEWNEIGHTBL = 64;

describe.runIf(littleEndianHost)('bytes', () => {
  it('setProxyDelay', () => {
    const { data, fixups } = build((batch) => setProxyDelay(batch, { link: 'eni0a000104', ms: 800 }));
    expect(fixups).toEqual([{ offset: 44, link: 'eni0a000104' }]);
    expectBytes(data, [
      ['3c000000', 'nlmsg_len 60'],
      ['4300', 'nlmsg_type RTM_SETNEIGHTBL'],
      ['0500', 'nlmsg_flags REQUEST|ACK'],
      ['01000000 00000000', 'nlmsg_seq 1, nlmsg_pid 0'],
      ['02 00 0000', 'ndtm_family AF_INET, padding'],
      ['0e00 0100 6172705f636163686500 0000', 'NDTA_NAME "arp_cache", padding'],
      ['1800 0680', 'NDTA_PARMS'],
      ['0800 0100 00000000', '  NDTPA_IFINDEX: slot'],
      ['0c00 0d00 2003000000000000', '  NDTPA_PROXY_DELAY 800 ms'],
    ]);
  });

  it('dumpArp', () => {
    expectBytes(dumpArp(), [
      ['14000000 4200 0103 01000000 00000000', 'nlmsghdr RTM_GETNEIGHTBL REQUEST|DUMP seq 1'],
      ['02 00 0000', 'struct ndtmsg: AF_INET, not the table of NDP'],
    ]);
  });
});

it('encode → decode', () => {
  const delay = fc.record({ link: anyName, ms: fc.oneof(anyU32, fc.maxSafeNat()) });
  holds(
    fc.property(fc.array(delay, { maxLength: 5 }), (delays) => {
      const finished = build((batch) => {
        for (const one of delays) setProxyDelay(batch, one);
      });
      expectSoundFixups(finished);
      expect(finished.fixups.map(({ link }) => link)).toEqual(delays.map(({ link }) => link));
      expect(decodeArp(retyped(finished.data, RTM_NEWNEIGHTBL))).toEqual(
        delays.map(({ ms }) => ({ index: 0, proxyDelay: ms })),
      );
    }),
  );
});

it('passes over the table’s own parameters, which are of no link, and refuses ones cut short', () => {
  const parameters = (index: number | undefined, delay: Uint8Array): Uint8Array =>
    build((batch) =>
      batch.message(RTM_NEWNEIGHTBL, 0, () => {
        batch.u32(2);
        batch.nest(6, () => {
          if (index !== undefined) batch.attrU32(1, index);
          batch.attrBytes(13, delay);
        });
      }),
    ).data;
  expect(decodeArp(parameters(undefined, new Uint8Array(8)))).toEqual([]);
  expect(decodeArp(parameters(7, new Uint8Array(8)))).toEqual([{ index: 7, proxyDelay: 0 }]);
  expect(() => decodeArp(parameters(7, new Uint8Array(4)))).toThrow(expect.objectContaining({ code: 'KERNEL' }));
});

it.runIf(littleEndianHost)('decodes a real dump', () => {
  // A veth that answers at once, its other end, and the loopback; behind the table itself.
  expect(decodeArp(fixture('arp'))).toEqual([
    { index: 3, proxyDelay: 0 },
    { index: 2, proxyDelay: 800 },
    { index: 1, proxyDelay: 800 },
  ]);
});
