import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Batch } from '../../../src/netlink/batch.js';
import {
  addRoute,
  decodeRoutes,
  deleteRoute,
  dumpRoutes,
  type RouteParams,
  replaceRoute,
} from '../../../src/netlink/route.js';
import { ROUTE_PROTOCOL } from '../../../src/objects/kernel-object.js';
import {
  anyIpv4,
  anyIpv6,
  anyName,
  anyU32,
  build,
  canonicalIp,
  expectBytes,
  expectSoundFixups,
  fixture,
  holds,
  littleEndianHost,
  retyped,
} from './support.js';

const RTM_NEWROUTE = 24;

describe.runIf(littleEndianHost)('bytes', () => {
  it('addRoute with everything', () => {
    const { data, fixups } = build((batch) =>
      addRoute(batch, {
        table: 1001,
        dst: 'default',
        type: 'unicast',
        via: '10.0.1.9',
        link: 'br0',
        src: '10.0.1.1',
        onlink: true,
        realm: 42,
        metric: 50,
      }),
    );
    expect(fixups).toEqual([{ offset: 48, link: 'br0' }]);
    expectBytes(data, [
      ['4c000000', 'nlmsg_len 76'],
      ['1800', 'nlmsg_type RTM_NEWROUTE'],
      ['0506', 'nlmsg_flags REQUEST|ACK|EXCL|CREATE'],
      ['01000000 00000000', 'nlmsg_seq 1, nlmsg_pid 0'],
      ['02 00 00 00', 'rtm_family AF_INET, rtm_dst_len 0, rtm_src_len, rtm_tos'],
      ['00 c9 00 01', 'rtm_table: see RTA_TABLE, rtm_protocol 201, rtm_scope universe, rtm_type RTN_UNICAST'],
      ['04000000', 'rtm_flags RTNH_F_ONLINK'],
      ['0800 0f00 e9030000', 'RTA_TABLE 1001'],
      ['0800 0500 0a000109', 'RTA_GATEWAY 10.0.1.9'],
      ['0800 0400 00000000', 'RTA_OIF: slot'],
      ['0800 0700 0a000101', 'RTA_PREFSRC 10.0.1.1'],
      ['0800 0600 32000000', 'RTA_PRIORITY 50'],
      ['0800 0b00 2a000000', 'RTA_FLOW: to realm 42'],
    ]);
  });

  it('addRoute to a link, and to nowhere', () => {
    expectBytes(
      build((batch) => addRoute(batch, { table: 100, dst: '172.16.0.0/12', type: 'unicast', link: 'br0' })).data,
      [
        ['34000000 1800 0506 01000000 00000000', 'nlmsghdr RTM_NEWROUTE REQUEST|ACK|EXCL|CREATE seq 1'],
        [
          '02 0c 00 00 64 c9 fd 01 00000000',
          'struct rtmsg: AF_INET /12, table 100, protocol 201, scope link, RTN_UNICAST',
        ],
        ['0800 0f00 64000000', 'RTA_TABLE 100'],
        ['0800 0100 ac100000', 'RTA_DST 172.16.0.0'],
        ['0800 0400 00000000', 'RTA_OIF: slot'],
      ],
    );
    expectBytes(
      build((batch) => addRoute(batch, { table: 254, dst: 'fd00:99::/48', type: 'unreachable', protocol: 4 })).data,
      [
        ['38000000 1800 0506 01000000 00000000', 'nlmsghdr RTM_NEWROUTE REQUEST|ACK|EXCL|CREATE seq 1'],
        [
          '0a 30 00 00 fe 04 00 07 00000000',
          'struct rtmsg: AF_INET6 /48, main, protocol 4, scope universe, RTN_UNREACHABLE',
        ],
        ['0800 0f00 fe000000', 'RTA_TABLE 254'],
        ['1400 0100 fd000099000000000000000000000000', 'RTA_DST'],
      ],
    );
  });

  it('replaceRoute, IPv4 by an IPv6 next hop', () => {
    expectBytes(
      build((batch) => replaceRoute(batch, { table: 254, dst: 'default', family: 4, type: 'unicast', via: 'fe80::1' }))
        .data,
      [
        ['3c000000 1800 0505 01000000 00000000', 'nlmsghdr RTM_NEWROUTE REQUEST|ACK|REPLACE|CREATE seq 1'],
        [
          '02 00 00 00 fe c9 00 01 00000000',
          'struct rtmsg: AF_INET /0, main, protocol 201, scope universe, RTN_UNICAST',
        ],
        ['0800 0f00 fe000000', 'RTA_TABLE 254'],
        ['1600 1200 0a00 fe800000000000000000000000000001 0000', 'RTA_VIA: AF_INET6 in host order, fe80::1, padding'],
      ],
    );
  });

  it('deleteRoute', () => {
    const route: RouteParams = { table: 254, dst: '192.168.8.0/24', type: 'blackhole', metric: 3, link: 'gone' };
    const { data, fixups } = build((batch) => deleteRoute(batch, route));
    // No slot: a route outlives no link, and a link that is gone must not keep its name from being passed here.
    expect(fixups).toEqual([]);
    expectBytes(data, [
      ['34000000 1900 0500 01000000 00000000', 'nlmsghdr RTM_DELROUTE REQUEST|ACK seq 1'],
      [
        '02 18 00 00 fe c9 ff 06 00000000',
        'struct rtmsg: AF_INET /24, main, protocol 201, scope nowhere (any), RTN_BLACKHOLE',
      ],
      ['0800 0f00 fe000000', 'RTA_TABLE 254'],
      ['0800 0100 c0a80800', 'RTA_DST 192.168.8.0'],
      ['0800 0600 03000000', 'RTA_PRIORITY 3'],
    ]);
  });

  it('dumpRoutes', () => {
    expectBytes(dumpRoutes(), [
      ['1c000000 1a00 0103 01000000 00000000', 'nlmsghdr RTM_GETROUTE REQUEST|DUMP seq 1'],
      ['00 00 00 00 00 00 00 00 00000000', 'struct rtmsg: all'],
    ]);
    expectBytes(dumpRoutes(254), [
      ['24000000 1a00 0103 01000000 00000000', 'nlmsghdr RTM_GETROUTE REQUEST|DUMP seq 1'],
      ['02 00 00 00 00 00 00 00 00000000', 'struct rtmsg: AF_INET'],
      ['0800 0f00 fe000000', 'RTA_TABLE 254'],
    ]);
  });
});

it('the default protocol is the owner mark of kernel objects', () => {
  const { data } = build((batch) => addRoute(batch, { table: 254, dst: 'default', type: 'blackhole' }));
  expect(decodeRoutes(data)).toMatchObject([{ protocol: ROUTE_PROTOCOL }]);
});

describe('family of a default', () => {
  const family = (route: Partial<RouteParams>): unknown =>
    decodeRoutes(build((batch) => addRoute(batch, { table: 254, dst: 'default', type: 'unicast', ...route })).data)[0]
      ?.family;

  it('is said, else the next hop’s, else IPv4', () => {
    expect(family({ family: 6 })).toBe(6);
    expect(family({ via: 'fe80::1' })).toBe(6);
    expect(family({ via: 'fe80::1', family: 4 })).toBe(4);
    expect(family({ via: '10.0.0.1' })).toBe(4);
    expect(family({})).toBe(4);
    expect(family({ dst: '::/0' })).toBe(6);
  });

  it.each([
    { dst: 'fd00::/8', via: '10.0.0.1' },
    { dst: 'fd00::/8', src: '10.0.0.1' },
    { dst: '10.0.0.0/8', src: 'fd00::1' },
    { dst: 'fd00::/8', realm: 3 },
  ])('refuses what the kernel would refuse or ignore: %j', (route) => {
    expect(() => family(route)).toThrow(expect.objectContaining({ code: 'INVALID' }));
  });
});

describe('encode → decode', () => {
  const optional = <T>(arb: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(arb, { nil: undefined });
  const ipv6 = anyIpv6.map(canonicalIp);
  const route = (family: 4 | 6): fc.Arbitrary<RouteParams> => {
    const ip = family === 4 ? anyIpv4 : ipv6;
    return fc
      .record({
        table: fc.oneof(fc.nat(255), anyU32),
        dst: fc.oneof(
          fc.constant('default'),
          fc.tuple(ip, fc.integer({ min: 1, max: family === 4 ? 32 : 128 })).map(([a, p]) => `${a}/${p}`),
        ),
        type: fc.constantFrom('unicast', 'unreachable', 'blackhole'),
        via: optional(family === 4 ? fc.oneof(anyIpv4, ipv6) : ipv6),
        link: optional(anyName),
        src: optional(ip),
        onlink: optional(fc.boolean()),
        realm: family === 4 ? optional(fc.integer({ min: 1, max: 0xffff })) : fc.constant(undefined),
        protocol: optional(fc.nat(255)),
        metric: optional(anyU32),
      })
      .map(
        (params) =>
          ({
            ...Object.fromEntries(Object.entries(params).filter(([, value]) => value !== undefined)),
            family,
          }) as RouteParams,
      );
  };

  it('routes', () => {
    holds(
      fc.property(fc.oneof(route(4), route(6)), fc.boolean(), (params, replace) => {
        const finished = build((batch) => (replace ? replaceRoute : addRoute)(batch, params));
        expectSoundFixups(finished);
        expect(finished.fixups.map(({ link }) => link)).toEqual(params.link === undefined ? [] : [params.link]);
        const hop = {
          ...(params.via === undefined ? {} : { via: params.via }),
          ...(params.link === undefined ? {} : { index: 0 }),
          onlink: params.onlink ?? false,
          ...(params.realm === undefined ? {} : { realm: params.realm }),
        };
        expect(decodeRoutes(finished.data)).toEqual([
          {
            family: params.family,
            table: params.table,
            dst: params.dst,
            type: params.type,
            protocol: params.protocol ?? 201,
            scope: params.type === 'unicast' && params.via === undefined ? 253 : 0,
            metric: params.metric ?? 0,
            ...(params.src === undefined ? {} : { src: params.src }),
            ...hop,
            nexthops: params.via === undefined && params.link === undefined ? [] : [{ ...hop, dead: false, weight: 1 }],
          },
        ]);
      }),
    );
  });

  it('a deletion names the same route', () => {
    holds(
      fc.property(fc.oneof(route(4), route(6)), (params) => {
        const finished = build((batch) => deleteRoute(batch, params));
        expectSoundFixups(finished);
        expect(finished.fixups).toEqual([]);
        const { table, dst, type, via } = params;
        expect(decodeRoutes(retyped(finished.data, RTM_NEWROUTE))).toMatchObject([
          {
            table,
            dst,
            type,
            protocol: params.protocol ?? 201,
            metric: params.metric ?? 0,
            ...(via === undefined ? {} : { via }),
          },
        ]);
      }),
    );
  });

  const raw = (header: readonly number[], flags: number, attrs: (batch: Batch) => void): Uint8Array =>
    build((batch) =>
      batch.message(RTM_NEWROUTE, 0, () => {
        for (const byte of header) batch.u8(byte);
        batch.u32(flags);
        attrs(batch);
      }),
    ).data;

  it('knows the state and type of what others made', () => {
    // AF_INET /24, table main, protocol boot, scope universe; RTNH_F_DEAD|RTNH_F_LINKDOWN
    const [down] = decodeRoutes(
      raw([2, 24, 0, 0, 254, 3, 0, 8], 17, (batch) => {
        batch.attrBytes(1, Uint8Array.of(10, 0, 0, 0));
        batch.attrU32(4, 3);
        batch.attrU32(11, 0);
      }),
    );
    expect(down).toMatchObject({
      table: 254,
      type: 'prohibit',
      protocol: 3,
      index: 3,
      nexthops: [{ index: 3, dead: true }],
    });
    expect(down).not.toHaveProperty('realm');
    expect(decodeRoutes(raw([2, 0, 0, 0, 254, 3, 0, 99], 0, () => {}))).toMatchObject([
      { type: 'unknown', dst: 'default' },
    ]);
    // A next hop of AF_MPLS: no address that could be told.
    expect(
      decodeRoutes(
        raw([2, 0, 0, 0, 254, 3, 0, 1], 0, (batch) => batch.attrBytes(18, Uint8Array.of(28, 28, 0, 0, 0, 1))),
      ),
    ).toMatchObject([{ nexthops: [] }]);
    // RTNL_FAMILY_IPMR
    expect(decodeRoutes(raw([128, 32, 32, 0, 253, 17, 0, 5], 0, () => {}))).toEqual([]);
  });

  it.each([
    ['a destination of another family', (batch: Batch) => batch.attrBytes(1, new Uint8Array(16))],
    ['no destination', () => {}],
    [
      'a next hop of no length',
      (batch: Batch) => {
        batch.attrBytes(1, new Uint8Array(4));
        batch.attrBytes(9, new Uint8Array(8));
      },
    ],
    [
      'a next hop beyond the attribute',
      (batch: Batch) => {
        batch.attrBytes(1, new Uint8Array(4));
        batch.attrBytes(9, new Uint8Array(8).fill(255));
      },
    ],
    [
      'half an RTA_VIA',
      (batch: Batch) => {
        batch.attrBytes(1, new Uint8Array(4));
        batch.attrBytes(18, Uint8Array.of(2));
      },
    ],
  ])('refuses %s', (_name, attrs) => {
    expect(() => decodeRoutes(raw([2, 24, 0, 0, 254, 3, 0, 1], 0, attrs))).toThrow(
      expect.objectContaining({ code: 'KERNEL' }),
    );
  });
});

describe.runIf(littleEndianHost)('a real dump', () => {
  const routes = decodeRoutes(fixture('routes'));
  const find = (family: number, table: number, dst: string): unknown =>
    routes.find((route) => route.family === family && route.table === table && route.dst === dst);

  it('has all tables and both families', () => {
    expect(routes.length).toBe(26);
    expect(new Set(routes.map(({ table }) => table))).toEqual(new Set([100, 1001, 1002, 254, 255]));
  });

  it('has what was put in, as the kernel completes it', () => {
    const hop = { via: '10.0.1.9', index: 2, onlink: true, realm: 42 };
    expect(find(4, 1001, 'default')).toEqual({
      family: 4,
      table: 1001,
      dst: 'default',
      type: 'unicast',
      protocol: 201,
      scope: 0,
      metric: 50,
      src: '10.0.1.1',
      ...hop,
      nexthops: [{ ...hop, dead: false, weight: 1 }],
    });
    expect(find(4, 254, '192.168.7.0/24')).toMatchObject({ type: 'unreachable', protocol: 201, nexthops: [] });
    expect(find(4, 254, '192.168.8.0/24')).toMatchObject({ type: 'blackhole', metric: 3, nexthops: [] });
    expect(find(4, 254, '192.168.10.0/24')).toMatchObject({ via: 'fd00:1::9', index: 2 });
    // The kernel's defaults for IPv6: metric 1024, and the loopback as the link of an unreachable.
    expect(find(6, 1002, 'default')).toMatchObject({ type: 'unreachable', metric: 1024, index: 1 });
    expect(find(6, 254, 'fd00:97::7/128')).toMatchObject({ type: 'unicast', metric: 5, index: 2 });
    expect(find(4, 255, '10.0.1.255/32')).toMatchObject({ type: 'broadcast', protocol: 2, scope: 253 });
  });

  it('has multipath routes, the first next hop on top', () => {
    expect(find(4, 254, '198.18.0.0/15')).toMatchObject({
      via: '10.0.1.20',
      index: 2,
      realm: 8,
      onlink: false,
      nexthops: [
        { via: '10.0.1.20', index: 2, weight: 3, onlink: false, dead: false, realm: 8 },
        { via: '10.0.1.21', index: 2, weight: 1, onlink: true, dead: false },
      ],
    });
    expect(find(6, 254, 'fd00:55::/64')).toMatchObject({ nexthops: [{ via: 'fd00:1::20' }, { via: 'fd00:1::21' }] });
  });
});
