import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addRule, decodeRules, deleteRule, dumpRules, type RuleParams } from '../../../src/netlink/rule.js';
import {
  anyIpv4,
  anyIpv6,
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

describe.runIf(littleEndianHost)('bytes', () => {
  it('addRule', () => {
    expectBytes(build((batch) => addRule(batch, { priority: 1000, from: '10.0.1.0/24', table: 1001 })).data, [
      ['3c000000', 'nlmsg_len 60'],
      ['2000', 'nlmsg_type RTM_NEWRULE'],
      ['0506', 'nlmsg_flags REQUEST|ACK|EXCL|CREATE'],
      ['01000000 00000000', 'nlmsg_seq 1, nlmsg_pid 0'],
      ['02 00 18 00', 'family AF_INET, dst_len 0, src_len 24, tos'],
      ['00 00 00 01', 'table: see FRA_TABLE, res1, res2, action FR_ACT_TO_TBL'],
      ['00000000', 'flags'],
      ['0800 0600 e8030000', 'FRA_PRIORITY 1000'],
      ['0800 0200 0a000100', 'FRA_SRC 10.0.1.0'],
      ['0800 0f00 e9030000', 'FRA_TABLE 1001'],
      ['0500 1500 c9 000000', 'FRA_PROTOCOL 201, padding'],
    ]);
  });

  it('addRule, of a link', () => {
    expectBytes(build((batch) => addRule(batch, { priority: 7, from: 'all', iif: 'v-a', table: 9 })).data, [
      ['3c000000 2000 0506 01000000 00000000', 'nlmsghdr RTM_NEWRULE REQUEST|ACK|EXCL|CREATE seq 1'],
      ['02 00 00 00 09 00 00 01 00000000', 'struct fib_rule_hdr: AF_INET, table 9, FR_ACT_TO_TBL'],
      ['0800 0600 07000000', 'FRA_PRIORITY 7'],
      ['0700 0300 762d61 00', 'FRA_IIFNAME v-a, padding'],
      ['0800 0f00 09000000', 'FRA_TABLE 9'],
      ['0500 1500 c9 000000', 'FRA_PROTOCOL 201, padding'],
    ]);
  });

  it('deleteRule, IPv6 from all', () => {
    expectBytes(
      build((batch) => deleteRule(batch, { priority: 5, from: 'all', family: 6, table: 254, protocol: 9 })).data,
      [
        ['34000000 2100 0500 01000000 00000000', 'nlmsghdr RTM_DELRULE REQUEST|ACK seq 1'],
        ['0a 00 00 00 fe 00 00 01 00000000', 'struct fib_rule_hdr: AF_INET6, table 254, FR_ACT_TO_TBL'],
        ['0800 0600 05000000', 'FRA_PRIORITY 5'],
        ['0800 0f00 fe000000', 'FRA_TABLE 254'],
        ['0500 1500 09 000000', 'FRA_PROTOCOL 9, padding'],
      ],
    );
  });

  it('dumpRules', () => {
    expectBytes(dumpRules(), [
      ['1c000000 2200 0103 01000000 00000000', 'nlmsghdr RTM_GETRULE REQUEST|DUMP seq 1'],
      ['00 00 00 00 00 00 00 00 00000000', 'struct fib_rule_hdr: all'],
    ]);
  });
});

it('encode → decode', () => {
  const params = fc
    .tuple(
      fc.oneof(
        fc
          .tuple(anyIpv4, fc.integer({ min: 1, max: 32 }))
          .map(([ip, prefix]) => ({ from: `${ip}/${prefix}`, family: 4 as const })),
        fc
          .tuple(anyIpv6, fc.integer({ min: 1, max: 128 }))
          .map(([ip, prefix]) => ({ from: `${canonicalIp(ip)}/${prefix}`, family: 6 as const })),
        fc.constantFrom({ from: 'all', family: 4 as const }, { from: 'all', family: 6 as const }),
      ),
      anyU32,
      fc.oneof(fc.nat(255), anyU32),
      fc.nat(255),
    )
    .map(([source, priority, table, protocol]) => ({ ...source, priority, table, protocol }));
  holds(
    fc.property(fc.array(params, { maxLength: 4 }), (rules: RuleParams[]) => {
      const expected = rules.map((rule) => ({ ...rule, action: 'lookup', inverted: false }));
      for (const make of [addRule, deleteRule]) {
        const finished = build((batch) => {
          for (const rule of rules) make(batch, rule);
        });
        expectSoundFixups(finished);
        expect(decodeRules(retyped(finished.data, 32))).toEqual(expected);
      }
    }),
  );
});

it('refuses a prefix of no bits, which the kernel reports as `all`', () => {
  expect(() => build((batch) => addRule(batch, { priority: 1, from: '0.0.0.0/0', table: 1 }))).toThrow(
    expect.objectContaining({ code: 'INVALID' }),
  );
});

it('passes over other families; shows an action it does not know', () => {
  const rule = (family: number, action: number): Uint8Array =>
    build((batch) =>
      batch.message(32, 0, () => {
        for (const byte of [family, 0, 0, 0, 254, 0, 0, action]) batch.u8(byte);
        batch.u32(0);
      }),
    ).data;
  expect(decodeRules(rule(128, 1))).toEqual([]);
  expect(decodeRules(rule(2, 99))).toMatchObject([{ action: 'unknown', priority: 0, table: 254 }]);
});

it.runIf(littleEndianHost)('decodes a real dump', () => {
  const plain = { inverted: false, action: 'lookup', from: 'all' };
  expect(decodeRules(fixture('rules'))).toEqual([
    { ...plain, family: 4, priority: 0, table: 255, protocol: 2 },
    {
      family: 4,
      priority: 77,
      from: '10.9.0.0/16',
      to: '10.8.0.0/16',
      iif: 'br0',
      mark: 0x10,
      inverted: true,
      action: 'lookup',
      table: 9000,
      protocol: 0,
    },
    { ...plain, family: 4, priority: 78, oif: 'br0', action: 'unreachable', table: 0, protocol: 0 },
    { ...plain, family: 4, priority: 1000, from: '10.0.1.0/24', table: 1001, protocol: 201 },
    { ...plain, family: 4, priority: 1002, table: 254, protocol: 201 },
    { ...plain, family: 4, priority: 32766, table: 254, protocol: 2 },
    { ...plain, family: 4, priority: 32767, table: 253, protocol: 2 },
    { ...plain, family: 6, priority: 0, table: 255, protocol: 2 },
    { ...plain, family: 6, priority: 1001, from: 'fd00:1::/64', table: 100, protocol: 201 },
    { ...plain, family: 6, priority: 32766, table: 254, protocol: 2 },
  ]);
});
