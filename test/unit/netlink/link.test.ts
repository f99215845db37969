import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Batch } from '../../../src/netlink/batch.js';
import {
  createVeth,
  decodeLinks,
  deleteLink,
  deleteLinkGroup,
  deleteLinkIn,
  dumpLinks,
  type LinkChange,
  setLink,
} from '../../../src/netlink/link.js';
import { eachAttr, eachMessage, viewOf } from '../../../src/netlink/message.js';
import {
  anyMac,
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

const RTM_NEWLINK = 16;
const RTM_SETLINK = 19;

/** Types of the messages a builder writes. */
function types(data: Uint8Array): number[] {
  const found: number[] = [];
  eachMessage(viewOf(data), (type) => found.push(type));
  return found;
}

describe.runIf(littleEndianHost)('bytes', () => {
  it('createVeth, sent from the workload', () => {
    const { data, fixups } = build((batch) =>
      createVeth(batch, {
        name: 'eth0',
        mac: '02:00:00:00:01:01',
        mtu: 1500,
        peer: { name: 'p1', mac: '02:00:00:00:01:02', mtu: 1500, netns: '/run/netns/vpc.a' },
      }),
    );
    expect(fixups).toEqual([{ offset: 168, netns: '/run/netns/vpc.a' }]);
    expectBytes(data, [
      ['ac000000', 'nlmsg_len 172'],
      ['1000', 'nlmsg_type RTM_NEWLINK'],
      ['0506', 'nlmsg_flags REQUEST|ACK|EXCL|CREATE'],
      ['01000000 00000000', 'nlmsg_seq 1, nlmsg_pid 0'],
      ['00 00 0000 00000000 00000000 00000000', 'struct ifinfomsg: down'],
      ['0900 0300 6574683000 000000', 'IFLA_IFNAME "eth0", padding'],
      ['0a00 0100 020000000101 0000', 'IFLA_ADDRESS, padding'],
      ['0800 0400 dc050000', 'IFLA_MTU 1500'],
      ['0800 1f00 01000000', 'IFLA_NUM_TX_QUEUES 1'],
      ['0800 2000 01000000', 'IFLA_NUM_RX_QUEUES 1'],
      ['5c00 1280', 'IFLA_LINKINFO'],
      ['0900 0100 7665746800 000000', '  IFLA_INFO_KIND "veth", padding'],
      ['4c00 0280', '  IFLA_INFO_DATA'],
      ['4800 0100', '    VETH_INFO_PEER, not flagged as a nest: it starts with a struct'],
      ['00 00 0000 00000000 00000000 00000000', '      struct ifinfomsg: down'],
      ['0700 0300 703100 00', '      IFLA_IFNAME "p1", padding'],
      ['0a00 0100 020000000102 0000', '      IFLA_ADDRESS, padding'],
      ['0800 0400 dc050000', '      IFLA_MTU 1500'],
      ['0800 1f00 01000000', '      IFLA_NUM_TX_QUEUES 1'],
      ['0800 2000 01000000', '      IFLA_NUM_RX_QUEUES 1'],
      ['0800 1c00 00000000', '      IFLA_NET_NS_FD: slot'],
    ]);
  });

  it('setLink of what RTM_SETLINK takes', () => {
    const { data, fixups } = build((batch) =>
      setLink(batch, {
        name: 'p1',
        master: 'br0',
        alias: 'x',
        group: 9,
        mtu: 1400,
        mac: '02:00:00:00:01:02',
        addrGenMode: 'none',
      }),
    );
    expect(fixups).toEqual([{ offset: 80, link: 'br0' }]);
    expectBytes(data, [
      ['64000000', 'nlmsg_len 100'],
      ['1300', 'nlmsg_type RTM_SETLINK'],
      ['0500', 'nlmsg_flags REQUEST|ACK'],
      ['01000000 00000000', 'nlmsg_seq 1, nlmsg_pid 0'],
      ['00 00 0000 00000000 00000000 00000000', 'struct ifinfomsg: by name, no flags'],
      ['0700 0300 703100 00', 'IFLA_IFNAME "p1", padding'],
      ['0a00 0100 020000000102 0000', 'IFLA_ADDRESS, padding'],
      ['0800 0400 78050000', 'IFLA_MTU 1400'],
      ['0800 1b00 09000000', 'IFLA_GROUP 9'],
      ['0500 1400 78 000000', 'IFLA_IFALIAS "x", padding'],
      ['0800 0a00 00000000', 'IFLA_MASTER: slot'],
      ['1000 1a80', 'IFLA_AF_SPEC'],
      ['0c00 0a80', '  AF_INET6'],
      ['0500 0800 01 000000', '    IFLA_INET6_ADDR_GEN_MODE none'],
    ]);
  });

  it('setLink of what IPv4 does on it', () => {
    const conf = { rpFilter: 1, sendRedirects: 0, proxyArp: 1 };
    const { data } = build((batch) => setLink(batch, { name: 'p1', conf, addrGenMode: 'none' }));
    expectBytes(data.subarray(40), [
      ['3000 1a80', 'IFLA_AF_SPEC'],
      ['2000 0280', '  AF_INET'],
      ['1c00 0180', '    IFLA_INET_CONF'],
      ['0800 0300 01000000', '      IPV4_DEVCONF_PROXY_ARP 1'],
      ['0800 0600 00000000', '      IPV4_DEVCONF_SEND_REDIRECTS 0'],
      ['0800 0800 01000000', '      IPV4_DEVCONF_RP_FILTER 1'],
      ['0c00 0a80', '  AF_INET6'],
      ['0500 0800 01 000000', '    IFLA_INET6_ADDR_GEN_MODE none'],
    ]);
  });

  it('setLink down, out of its bridge, without its alias', () => {
    const { data, fixups } = build((batch) => setLink(batch, { name: 'p1', up: false, master: null, alias: '' }));
    expect(fixups).toEqual([]);
    expectBytes(data, [
      ['28000000 1300 0500 01000000 00000000', 'nlmsghdr RTM_SETLINK REQUEST|ACK seq 1'],
      ['00 00 0000 00000000', 'ifi_family, ifi_type, ifi_index: by name'],
      ['00000000 01000000', 'ifi_flags 0, ifi_change IFF_UP'],
      ['0700 0300 703100 00', 'IFLA_IFNAME "p1", padding'],
      ['34000000 1300 0500 02000000 00000000', 'nlmsghdr RTM_SETLINK REQUEST|ACK seq 2'],
      ['00 00 0000 00000000 00000000 00000000', 'struct ifinfomsg: by name, no flags'],
      ['0700 0300 703100 00', 'IFLA_IFNAME "p1", padding'],
      ['0400 1400', 'IFLA_IFALIAS, empty'],
      ['0800 0a00 00000000', 'IFLA_MASTER 0: none'],
    ]);
  });

  it('deleteLink, deleteLinkGroup, dumpLinks', () => {
    expectBytes(build((batch) => deleteLink(batch, { name: 'p1' })).data, [
      ['28000000 1100 0500 01000000 00000000', 'nlmsghdr RTM_DELLINK REQUEST|ACK seq 1'],
      ['00 00 0000 00000000 00000000 00000000', 'struct ifinfomsg: by name'],
      ['0700 0300 703100 00', 'IFLA_IFNAME "p1", padding'],
    ]);
    expectBytes(build((batch) => deleteLinkGroup(batch, 0x1234)).data, [
      ['28000000 1100 0500 01000000 00000000', 'nlmsghdr RTM_DELLINK REQUEST|ACK seq 1'],
      ['00 00 0000 00000000 00000000 00000000', 'struct ifinfomsg: by group'],
      ['0800 1b00 34120000', 'IFLA_GROUP'],
    ]);
    expectBytes(dumpLinks(), [
      ['28000000 1200 0103 01000000 00000000', 'nlmsghdr RTM_GETLINK REQUEST|DUMP seq 1'],
      ['00 00 0000 00000000 00000000 00000000', 'struct ifinfomsg: all'],
      ['0800 1d00 08000000', 'IFLA_EXT_MASK RTEXT_FILTER_SKIP_STATS'],
    ]);
  });
});

describe('setLink', () => {
  it('sends nothing for nothing', () => {
    expect(build((batch) => setLink(batch, { name: 'a' })).count).toBe(0);
  });

  it('goes up only after everything else, and down before', () => {
    const order = (change: Omit<LinkChange, 'name'>): unknown[] => {
      const { data } = build((batch) => setLink(batch, { name: 'a', ...change }));
      const view = viewOf(data);
      const found: unknown[] = [];
      eachMessage(view, (type, start) => {
        const [flags, change_] = [
          view.getUint32(start + 8, littleEndianHost),
          view.getUint32(start + 12, littleEndianHost),
        ];
        found.push([type, change_ === 0 ? 'same' : flags === 1 ? 'up' : 'down']);
      });
      return found;
    };
    expect(order({ up: true })).toEqual([[RTM_SETLINK, 'up']]);
    expect(order({ up: true, addrGenMode: 'none' })).toEqual([
      [RTM_SETLINK, 'same'],
      [RTM_SETLINK, 'up'],
    ]);
    expect(order({ up: true, master: 'b', mtu: 1400 })).toEqual([
      [RTM_SETLINK, 'same'],
      [RTM_SETLINK, 'up'],
    ]);
    expect(order({ up: false, master: 'b' })).toEqual([
      [RTM_SETLINK, 'down'],
      [RTM_SETLINK, 'same'],
    ]);
  });
});

describe('encode → decode', () => {
  const end = fc.record(
    { name: anyName, mac: anyMac, mtu: anyU32, netns: fc.constantFrom('', '/run/netns/x') },
    { requiredKeys: ['name', 'mac', 'mtu'] },
  );

  it('veth pairs, both ends', () => {
    holds(
      fc.property(end, end, (near, far) => {
        const finished = build((batch) => createVeth(batch, { ...near, peer: far }));
        expectSoundFixups(finished);
        expect(finished.fixups.map(({ netns }) => netns)).toEqual(
          [near.netns, far.netns].filter((netns) => netns !== undefined),
        );
        const { netns: _near, ...seenNear } = near;
        const { netns: _far, ...seenFar } = far;
        expect(decodeLinks(finished.data)).toMatchObject([{ ...seenNear, kind: 'veth', up: false }]);
        expect(decodeLinks(peerMessage(finished.data))).toMatchObject([{ ...seenFar, up: false }]);
      }),
    );
  });

  it('changes', () => {
    const change = fc.record(
      {
        name: anyName,
        up: fc.boolean(),
        alias: fc.string({ maxLength: 80, unit: 'grapheme' }).filter((text) => !text.includes('\0')),
        master: fc.option(anyName),
        mtu: anyU32,
        mac: anyMac,
        addrGenMode: fc.constantFrom('eui64', 'none', 'stable-privacy', 'random'),
        group: anyU32,
      },
      { requiredKeys: ['name'] },
    );
    holds(
      fc.property(change as fc.Arbitrary<LinkChange>, (wanted) => {
        const finished = build((batch) => setLink(batch, wanted));
        expectSoundFixups(finished);
        const links = decodeLinks(retyped(finished.data, RTM_NEWLINK));
        expect(links.every(({ name }) => name === wanted.name)).toBe(true);
        const told = <K extends 'alias' | 'mac' | 'addrGenMode'>(key: K): unknown =>
          links.map((link) => link[key]).find((value) => value !== undefined);
        expect(told('alias')).toBe(wanted.alias === '' ? undefined : wanted.alias);
        expect(told('mac')).toBe(wanted.mac);
        expect(told('addrGenMode')).toBe(wanted.addrGenMode);
        expect(Math.max(0, ...links.map(({ mtu }) => mtu))).toBe(wanted.mtu ?? 0);
        expect(Math.max(0, ...links.map(({ group }) => group))).toBe(wanted.group ?? 0);
        expect(links.some(({ up }) => up)).toBe(wanted.up ?? false);
        expect(finished.fixups.map(({ link }) => link)).toEqual(
          wanted.master === undefined || wanted.master === null ? [] : [wanted.master],
        );
      }),
    );
  });

  it('passes over AF_BRIDGE messages and attributes it does not know; refuses a link without a name', () => {
    const raw = (family: number, attrs: (batch: Batch) => void): Uint8Array =>
      build((batch) =>
        batch.message(RTM_NEWLINK, 0, () => {
          batch.u8(family);
          batch.u8(0);
          batch.u16(0);
          for (let word = 0; word < 3; word += 1) batch.u32(0);
          attrs(batch);
        }),
      ).data;
    expect(decodeLinks(raw(7, () => {}))).toEqual([]);
    expect(() => decodeLinks(raw(0, () => {}))).toThrow(expect.objectContaining({ code: 'KERNEL' }));
    const foreign = raw(0, (batch) => {
      batch.attrName(3, 'bond0');
      batch.attrBytes(9999, Uint8Array.of(1, 2, 3));
      batch.nest(18, () => {
        // A bond's port (IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA): that is not the link's own kind.
        batch.attrName(4, 'bond');
        batch.nest(5, () => batch.attrU8(1, 1));
      });
      batch.nest(26, () => batch.nest(10, () => batch.attrU8(8, 77)));
    });
    expect(decodeLinks(foreign)).toEqual([{ index: 0, name: 'bond0', loopback: false, mtu: 0, up: false, group: 0 }]);
  });
});

it('decodes altnames', () => {
  const { data } = build((batch) =>
    batch.message(RTM_NEWLINK, 0, () => {
      for (let at = 0; at < 16; at += 4) batch.u32(0);
      batch.attrName(3, 'lo'); // IFLA_IFNAME
      // IFLA_PROP_LIST, IFLA_ALT_IFNAME
      batch.nest(52, () => {
        batch.attrName(53, 'eth0');
        batch.attrName(53, 'another');
      });
    }),
  );
  expect(decodeLinks(data)).toMatchObject([{ name: 'lo', altNames: ['eth0', 'another'] }]);
});

it.runIf(littleEndianHost)('decodes a real dump', () => {
  const links = decodeLinks(fixture('links'));
  expect(links).toEqual([
    {
      index: 1,
      name: 'lo',
      loopback: true,
      mac: '00:00:00:00:00:00',
      mtu: 65536,
      up: true,
      group: 0,
      addrGenMode: 'eui64',
      conf: { proxyArp: 0, sendRedirects: 1, rpFilter: 0, acceptSourceRoute: 1, arpIgnore: 0, arpAccept: 0 },
    },
    {
      index: 2,
      name: 'br0',
      kind: 'bridge',
      loopback: false,
      mac: '02:00:00:00:00:01',
      mtu: 1400,
      up: true,
      alias: 'vpcctl:bridge ü',
      group: 7,
      addrGenMode: 'none',
      conf: { proxyArp: 0, sendRedirects: 1, rpFilter: 0, acceptSourceRoute: 1, arpIgnore: 0, arpAccept: 0 },
    },
    {
      index: 3,
      name: 'p1',
      kind: 'veth',
      loopback: false,
      mac: '02:00:00:00:01:99',
      mtu: 1399,
      up: true,
      alias: 'port 1',
      masterIndex: 2,
      peerIndex: 2,
      peerNsid: 1,
      group: 9,
      addrGenMode: 'none',
      conf: { proxyArp: 0, sendRedirects: 1, rpFilter: 0, acceptSourceRoute: 1, arpIgnore: 0, arpAccept: 0 },
    },
    {
      index: 4,
      name: 'p2',
      kind: 'veth',
      loopback: false,
      mac: '02:00:00:00:02:02',
      mtu: 1390,
      up: true,
      alias: 'x',
      masterIndex: 2,
      peerIndex: 2,
      peerNsid: 2,
      group: 9,
      addrGenMode: 'eui64',
      conf: { proxyArp: 0, sendRedirects: 1, rpFilter: 0, acceptSourceRoute: 1, arpIgnore: 0, arpAccept: 0 },
    },
    {
      index: 5,
      name: 'own0',
      kind: 'veth',
      loopback: false,
      mac: '02:00:00:00:03:01',
      mtu: 1400,
      up: false,
      peerIndex: 2,
      peerNsid: 0,
      group: 0,
      addrGenMode: 'eui64',
      conf: { proxyArp: 0, sendRedirects: 1, rpFilter: 0, acceptSourceRoute: 1, arpIgnore: 0, arpAccept: 0 },
    },
  ]);
});

it('names another namespace by its number', () => {
  const { data } = build((batch) => deleteLinkIn(batch, 7, 42));
  const view = viewOf(data);
  expect([view.getUint16(4, littleEndianHost), view.getInt32(20, littleEndianHost)]).toEqual([17, 42]);
  const attrs = (bytes: Uint8Array): number[][] => {
    const found: number[][] = [];
    eachAttr(viewOf(bytes), 32, bytes.length, (type, from) =>
      found.push([type, viewOf(bytes).getInt32(from, littleEndianHost)]),
    );
    return found;
  };
  expect(attrs(data)).toEqual([[46, 7]]);
  expect(attrs(dumpLinks(7))).toEqual([...attrs(dumpLinks()), [46, 7]]);
});

it('setLink of all that is told before a link goes up is one message', () => {
  const all: LinkChange = { name: 'p', master: 'b', alias: 'a', mtu: 1400, addrGenMode: 'none', group: 1, up: true };
  expect(types(build((batch) => setLink(batch, all)).data)).toEqual([RTM_SETLINK, RTM_SETLINK]);
});

/** The peer inside a veth's create message, as a message of its own. */
function peerMessage(data: Uint8Array): Uint8Array {
  const view = viewOf(data);
  const find = (wanted: number, start: number, end: number): [number, number] => {
    let found: [number, number] | undefined;
    eachAttr(view, start, end, (type, from, to) => {
      if (type === wanted) found = [from, to];
    });
    if (found === undefined) throw new Error(`no attribute ${wanted}`);
    return found;
  };
  const info = find(18, 32, data.length);
  const kindData = find(2, ...info);
  const [start, end] = find(1, ...kindData);
  const message = new Uint8Array(16 + end - start);
  message.set(data.subarray(0, 16));
  message.set(data.subarray(start, end), 16);
  viewOf(message).setUint32(0, message.length, littleEndianHost);
  return message;
}
