import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addNeigh, decodeNeighs, deleteNeigh, dumpNeighs } from '../../../src/netlink/neigh.js';
import {
  anyIpv4,
  anyIpv6,
  anyMac,
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
  it('addNeigh', () => {
    const { data, fixups } = build((batch) =>
      addNeigh(batch, { link: 'eth0', ip: '10.0.1.5', mac: '02:00:00:00:01:01' }),
    );
    expect(fixups).toEqual([{ offset: 20, link: 'eth0' }]);
    expectBytes(data, [
      ['30000000', 'nlmsg_len 48'],
      ['1c00', 'nlmsg_type RTM_NEWNEIGH'],
      ['0506', 'nlmsg_flags REQUEST|ACK|EXCL|CREATE'],
      ['01000000 00000000', 'nlmsg_seq 1, nlmsg_pid 0'],
      ['02 00 0000', 'ndm_family AF_INET, padding'],
      ['00000000', 'ndm_ifindex: slot'],
      ['8000 00 01', 'ndm_state NUD_PERMANENT, ndm_flags, ndm_type RTN_UNICAST'],
      ['0800 0100 0a000105', 'NDA_DST 10.0.1.5'],
      ['0a00 0200 020000000101 0000', 'NDA_LLADDR, padding'],
    ]);
  });

  it('addNeigh in place of another, IPv6', () => {
    const { data } = build((batch) =>
      addNeigh(batch, { link: 'eth0', ip: 'fd00::5', mac: '02:00:00:00:01:01', replace: true }),
    );
    expectBytes(data, [
      ['3c000000 1c00 0505 01000000 00000000', 'nlmsghdr RTM_NEWNEIGH REQUEST|ACK|REPLACE|CREATE seq 1'],
      ['0a 00 0000 00000000 8000 00 01', 'struct ndmsg: AF_INET6, slot, NUD_PERMANENT'],
      ['1400 0100 fd000000000000000000000000000005', 'NDA_DST'],
      ['0a00 0200 020000000101 0000', 'NDA_LLADDR, padding'],
    ]);
  });

  it('deleteNeigh, dumpNeighs', () => {
    const { data, fixups } = build((batch) => deleteNeigh(batch, { link: 'eth0', ip: '10.0.1.5' }));
    expect(fixups).toEqual([{ offset: 20, link: 'eth0' }]);
    expectBytes(data, [
      ['24000000 1d00 0500 01000000 00000000', 'nlmsghdr RTM_DELNEIGH REQUEST|ACK seq 1'],
      ['02 00 0000 00000000 0000 00 01', 'struct ndmsg: AF_INET, slot'],
      ['0800 0100 0a000105', 'NDA_DST 10.0.1.5'],
    ]);
    expectBytes(dumpNeighs(), [
      ['1c000000 1e00 0103 01000000 00000000', 'nlmsghdr RTM_GETNEIGH REQUEST|DUMP seq 1'],
      ['00 00 0000 00000000 0000 00 00', 'struct ndmsg: all'],
    ]);
    expectBytes(dumpNeighs(7), [
      ['24000000 1e00 0103 01000000 00000000', 'nlmsghdr RTM_GETNEIGH REQUEST|DUMP seq 1'],
      ['02 00 0000 00000000 0000 00 00', 'struct ndmsg: AF_INET'],
      ['0800 0800 07000000', 'NDA_IFINDEX 7'],
    ]);
  });
});

it('encode → decode', () => {
  const neigh = fc.record({
    link: anyName,
    ip: fc.oneof(anyIpv4, anyIpv6.map(canonicalIp)),
    mac: anyMac,
    replace: fc.boolean(),
  });
  holds(
    fc.property(fc.array(neigh, { maxLength: 5 }), (neighs) => {
      const finished = build((batch) => {
        for (const one of neighs) addNeigh(batch, one);
        for (const one of neighs) deleteNeigh(batch, one);
      });
      expectSoundFixups(finished);
      expect(finished.fixups.map(({ link }) => link)).toEqual([...neighs, ...neighs].map(({ link }) => link));
      const family = (ip: string): number => (ip.includes(':') ? 6 : 4);
      expect(decodeNeighs(retyped(finished.data, 28))).toEqual([
        ...neighs.map(({ ip, mac }) => ({ index: 0, family: family(ip), ip, mac, state: 'permanent' })),
        ...neighs.map(({ ip }) => ({ index: 0, family: family(ip), ip, state: 'none' })),
      ]);
    }),
  );
});

it('knows every state, and passes over entries of a bridge', () => {
  const entry = (family: number, state: number, address = Uint8Array.of(10, 0, 0, 1)): Uint8Array =>
    build((batch) =>
      batch.message(28, 0, () => {
        batch.u8(family);
        batch.u8(0);
        batch.u16(0);
        batch.u32(3);
        batch.u16(state);
        batch.u16(0);
        batch.attrBytes(1, address);
      }),
    ).data;
  const states = [0, 1, 2, 4, 8, 16, 32, 64, 128, 0x8000].map((state) => decodeNeighs(entry(2, state))[0]?.state);
  expect(states).toEqual([
    'none',
    'incomplete',
    'reachable',
    'stale',
    'delay',
    'probe',
    'failed',
    'noarp',
    'permanent',
    'none',
  ]);
  expect(decodeNeighs(entry(7, 2))).toEqual([]);
  expect(() => decodeNeighs(entry(2, 2, new Uint8Array(16)))).toThrow(expect.objectContaining({ code: 'KERNEL' }));
});
