import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AddrParams, addAddr, decodeAddrs, deleteAddr, dumpAddrs } from '../../../src/netlink/addr.js';
import { parseCidr } from '../../../src/netlink/address.js';
import type { Batch } from '../../../src/netlink/batch.js';
import {
  anyIpv4,
  anyIpv6,
  anyName,
  build,
  canonicalIp,
  expectBytes,
  expectSoundFixups,
  holds,
  littleEndianHost,
  retyped,
} from './support.js';

describe.runIf(littleEndianHost)('bytes', () => {
  it('addAddr, IPv4 without a prefix route', () => {
    const { data, fixups } = build((batch) =>
      addAddr(batch, { link: 'br0', addr: '10.0.2.1/24', noPrefixRoute: true }),
    );
    expect(fixups).toEqual([{ offset: 20, link: 'br0' }]);
    expectBytes(data, [
      ['30000000', 'nlmsg_len 48'],
      ['1400', 'nlmsg_type RTM_NEWADDR'],
      ['0506', 'nlmsg_flags REQUEST|ACK|EXCL|CREATE'],
      ['01000000 00000000', 'nlmsg_seq 1, nlmsg_pid 0'],
      ['02 18 00 00', 'ifa_family AF_INET, ifa_prefixlen 24, ifa_flags, ifa_scope universe'],
      ['00000000', 'ifa_index: slot'],
      ['0800 0200 0a000201', 'IFA_LOCAL 10.0.2.1'],
      ['0800 0100 0a000201', 'IFA_ADDRESS 10.0.2.1'],
      ['0800 0800 00020000', 'IFA_FLAGS IFA_F_NOPREFIXROUTE'],
    ]);
  });

  it('addAddr, IPv6', () => {
    const { data, fixups } = build((batch) => addAddr(batch, { link: 'br0', addr: 'fd00:1::1/64' }));
    expect(fixups).toEqual([{ offset: 20, link: 'br0' }]);
    expectBytes(data, [
      ['48000000 1400 0506 01000000 00000000', 'nlmsghdr RTM_NEWADDR REQUEST|ACK|EXCL|CREATE seq 1'],
      ['0a 40 00 00 00000000', 'struct ifaddrmsg: AF_INET6, 64, slot'],
      ['1400 0200 fd000001000000000000000000000001', 'IFA_LOCAL'],
      ['1400 0100 fd000001000000000000000000000001', 'IFA_ADDRESS'],
      ['0800 0800 02000000', 'IFA_FLAGS IFA_F_NODAD'],
    ]);
  });

  it('deleteAddr, of the loopback', () => {
    const { data, fixups } = build((batch) => deleteAddr(batch, { link: 'lo', addr: '127.0.0.1/8' }));
    expect(fixups).toEqual([{ offset: 20, link: 'lo' }]);
    expectBytes(data, [
      ['28000000 1500 0500 01000000 00000000', 'nlmsghdr RTM_DELADDR REQUEST|ACK seq 1'],
      ['02 08 00 fe 00000000', 'struct ifaddrmsg: AF_INET, 8, scope host, slot'],
      ['0800 0200 7f000001', 'IFA_LOCAL 127.0.0.1'],
      ['0800 0100 7f000001', 'IFA_ADDRESS 127.0.0.1'],
    ]);
  });

  it('dumpAddrs', () => {
    expectBytes(dumpAddrs(), [
      ['18000000 1600 0103 01000000 00000000', 'nlmsghdr RTM_GETADDR REQUEST|DUMP seq 1'],
      ['00 00 00 00 00000000', 'struct ifaddrmsg: all'],
    ]);
    expectBytes(dumpAddrs(7), [
      ['18000000 1600 0103 01000000 00000000', 'nlmsghdr RTM_GETADDR REQUEST|DUMP seq 1'],
      ['02 00 00 00 07000000', 'struct ifaddrmsg: AF_INET, link 7'],
    ]);
  });
});

describe('encode → decode', () => {
  const anyCidr = fc.oneof(
    fc.tuple(anyIpv4, fc.nat(32)).map(([ip, prefix]) => `${ip}/${prefix}`),
    fc.tuple(anyIpv6, fc.nat(128)).map(([ip, prefix]) => `${canonicalIp(ip)}/${prefix}`),
  );

  it('addresses', () => {
    const params = fc.record({ link: anyName, addr: anyCidr, noPrefixRoute: fc.boolean() });
    holds(
      fc.property(fc.array(params, { maxLength: 5 }), (addrs: AddrParams[]) => {
        const finished = build((batch) => {
          for (const addr of addrs) addAddr(batch, addr);
        });
        expectSoundFixups(finished);
        expect(finished.fixups.map(({ link }) => link)).toEqual(addrs.map(({ link }) => link));
        const seen = decodeAddrs(finished.data);
        expect(seen.map(({ addr, family, noPrefixRoute }) => ({ addr, family, noPrefixRoute }))).toEqual(
          addrs.map(({ addr, noPrefixRoute }) => ({ addr, family: parseCidr(addr).family, noPrefixRoute })),
        );
        expect(seen.every(({ peer }) => peer === undefined)).toBe(true);
      }),
    );
  });

  it('a deletion names the same address', () => {
    holds(
      fc.property(anyName, anyCidr, (link, addr) => {
        const finished = build((batch) => deleteAddr(batch, { link, addr }));
        expectSoundFixups(finished);
        expect(decodeAddrs(retyped(finished.data, 20))).toMatchObject([{ addr, noPrefixRoute: false }]);
      }),
    );
  });

  it('point-to-point, label, flags of both sizes; no address is malformed; other families are passed over', () => {
    const raw = (family: number, flags: number, attrs: (batch: Batch) => void): Uint8Array =>
      build((batch) =>
        batch.message(20, 0, () => {
          batch.u8(family);
          batch.u8(32);
          batch.u8(flags);
          batch.u8(253);
          batch.u32(7);
          attrs(batch);
        }),
      ).data;
    const [addr] = decodeAddrs(
      raw(2, 0xc8, (batch) => {
        batch.attrBytes(1, Uint8Array.of(10, 0, 0, 2));
        batch.attrBytes(2, Uint8Array.of(10, 0, 0, 1));
        batch.attrName(3, 'tun0:1');
      }),
    );
    expect(addr).toEqual({
      index: 7,
      family: 4,
      addr: '10.0.0.1/32',
      peer: '10.0.0.2',
      label: 'tun0:1',
      scope: 253,
      noPrefixRoute: false,
      permanent: true,
      tentative: true,
      dadFailed: true,
    });
    const [wide] = decodeAddrs(
      raw(2, 0xff, (batch) => {
        batch.attrBytes(2, Uint8Array.of(10, 0, 0, 1));
        batch.attrU32(8, 0x280);
      }),
    );
    expect(wide).toMatchObject({ noPrefixRoute: true, permanent: true, tentative: false, dadFailed: false });
    expect(() => decodeAddrs(raw(2, 0, () => {}))).toThrow(expect.objectContaining({ code: 'KERNEL' }));
    expect(decodeAddrs(raw(28, 0, () => {}))).toEqual([]);
  });
});
