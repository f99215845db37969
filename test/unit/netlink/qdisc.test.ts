import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addRedirect,
  decodeFilters,
  decodeQdiscs,
  deleteIngress,
  deleteQdisc,
  dumpFilters,
  dumpQdiscs,
  type QdiscParams,
  setQdisc,
} from '../../../src/netlink/qdisc.js';
import {
  anyName,
  build,
  expectBytes,
  expectSoundFixups,
  expectTotal,
  fixture,
  holds,
  littleEndianHost,
  noiseOfType,
  retyped,
} from './support.js';

const RTM_NEWQDISC = 36;
const RTM_NEWTFILTER = 44;
const UNIT = 1024;

const TBF = { type: 'tbf', rate: 1_250_000, burst: 16_384, limit: 30_000 } as const;
const NETEM = { type: 'netem', delay: 20_000, jitter: 5_000, loss: 42_949_673, rate: 1_250_000, limit: 4096 } as const;

// Fields as `strace` shows them of iproute2 6.1; it sends tables of rates and times in ticks besides.
describe.runIf(littleEndianHost)('bytes', () => {
  it('a tbf', () => {
    const { data, fixups } = build((batch) => setQdisc(batch, { link: 'eni0a010105', ...TBF }));
    expect(fixups).toEqual([{ offset: 20, link: 'eni0a010105' }]);
    expectBytes(data, [
      ['60000000 2400 0505 01000000 00000000', 'nlmsghdr RTM_NEWQDISC REQUEST|ACK|CREATE|REPLACE seq 1'],
      ['00 00 0000 00000000', 'tcm_family, padding, tcm_ifindex: slot'],
      ['0000c900 ffffffff 00000000', 'tcm_handle c9:, tcm_parent TC_H_ROOT, tcm_info'],
      ['0800 0100 74626600', 'TCA_KIND "tbf"'],
      ['3400 0280', 'TCA_OPTIONS'],
      ['2800 0100', '  TCA_TBF_PARMS'],
      ['00 01 0000 0000 0000 d0121300', '    rate: linklayer ethernet, 1250000'],
      ['00 00 0000 0000 0000 00000000', '    peakrate'],
      ['30750000 00000000 00000000', '    limit 30000, buffer, mtu'],
      ['0800 0600 00400000', '  TCA_TBF_BURST 16384'],
    ]);
  });

  it('a tbf of a rate that takes 64 bits', () => {
    const { data } = build((batch) => setQdisc(batch, { link: 'x', ...TBF, rate: 5_000_000_000 }));
    const hex = Buffer.from(data).toString('hex');
    expect(hex).toContain('0001000000000000ffffffff');
    expect(hex).toContain('0c00040000f2052a01000000');
  });

  it('a netem', () => {
    expectBytes(build((batch) => setQdisc(batch, { link: 'x', ...NETEM })).data, [
      ['78000000 2400 0505 01000000 00000000', 'nlmsghdr RTM_NEWQDISC REQUEST|ACK|CREATE|REPLACE seq 1'],
      ['00 00 0000 00000000', 'tcm_family, padding, tcm_ifindex: slot'],
      ['0000ca00 ffffffff 00000000', 'tcm_handle ca:, tcm_parent TC_H_ROOT, tcm_info'],
      ['0a00 0100 6e6574656d00 0000', 'TCA_KIND "netem", padding'],
      ['4800 0200', 'TCA_OPTIONS: a struct, then attributes'],
      ['00000000 00100000 295c8f02', '  latency, limit 4096, loss 1 %'],
      ['00000000 00000000 00000000', '  gap, duplicate, jitter'],
      ['1400 0600 d0121300 00000000 00000000 00000000', '  TCA_NETEM_RATE 1250000, without overhead and cells'],
      ['0c00 0a00 002d310100000000', '  TCA_NETEM_LATENCY64 20 ms'],
      ['0c00 0b00 404b4c0000000000', '  TCA_NETEM_JITTER64 5 ms'],
    ]);
  });

  it('a redirect', () => {
    const { data, count, fixups } = build((batch) => addRedirect(batch, { link: 'eni0a010105', to: 'ifb0a010105' }));
    expect(count).toBe(2);
    expect(fixups).toEqual([
      { offset: 20, link: 'eni0a010105' },
      { offset: 68, link: 'eni0a010105' },
      { offset: 184, link: 'ifb0a010105' },
    ]);
    expectBytes(data, [
      ['30000000 2400 0506 01000000 00000000', 'nlmsghdr RTM_NEWQDISC REQUEST|ACK|CREATE|EXCL seq 1'],
      ['00 00 0000 00000000 0000ffff f1ffffff 00000000', 'tcmsg: handle ffff:, parent TC_H_INGRESS'],
      ['0c00 0100 696e677265737300', 'TCA_KIND "ingress"'],
      ['8c000000 2c00 0506 02000000 00000000', 'nlmsghdr RTM_NEWTFILTER REQUEST|ACK|CREATE|EXCL seq 2'],
      ['00 00 0000 00000000 00000000 0000ffff 0003c900', 'tcmsg: parent ffff:, priority 201, all protocols'],
      ['0800 0100 75333200', 'TCA_KIND "u32"'],
      ['6000 0280', 'TCA_OPTIONS'],
      ['2400 0500 01 00 01 00 0000 0000 0000 0000 00000000', '  TCA_U32_SEL: terminal, one key'],
      ['00000000 00000000 00000000 00000000', '    of which no bit counts'],
      ['3800 0780 3400 0180', '  TCA_U32_ACT, the first'],
      ['0b00 0100 6d697272656400 00', '    TCA_ACT_KIND "mirred", padding'],
      ['2400 0280 2000 0200', '    TCA_ACT_OPTIONS, TCA_MIRRED_PARMS'],
      ['00000000 00000000 04000000 00000000 00000000', '      index, capab, action TC_ACT_STOLEN, counts'],
      ['01000000 00000000', '      eaction TCA_EGRESS_REDIR, ifindex: slot'],
    ]);
  });

  it('what takes them off, and asks for them', () => {
    expectBytes(
      build((batch) => {
        deleteQdisc(batch, { link: 'x', type: 'tbf' });
        deleteIngress(batch, { link: 'x' });
      }).data,
      [
        ['2c000000 2500 0500 01000000 00000000', 'nlmsghdr RTM_DELQDISC REQUEST|ACK seq 1'],
        ['00 00 0000 00000000 0000c900 ffffffff 00000000', 'tcmsg: handle c9:, parent TC_H_ROOT'],
        ['0800 0100 74626600', 'TCA_KIND "tbf"'],
        ['24000000 2500 0500 02000000 00000000', 'nlmsghdr RTM_DELQDISC REQUEST|ACK seq 2'],
        ['00 00 0000 00000000 0000ffff f1ffffff 00000000', 'tcmsg: handle ffff:, parent TC_H_INGRESS'],
      ],
    );
    expectBytes(dumpQdiscs(), [
      ['24000000 2600 0103 01000000 00000000', 'nlmsghdr RTM_GETQDISC REQUEST|DUMP seq 1'],
      ['00000000 00000000 00000000 00000000 00000000', 'tcmsg'],
    ]);
    expectBytes(dumpFilters(7), [
      ['24000000 2e00 0103 01000000 00000000', 'nlmsghdr RTM_GETTFILTER REQUEST|DUMP seq 1'],
      ['00000000 07000000 00000000 0000ffff 00000000', 'tcmsg: index 7, parent ffff:'],
    ]);
  });
});

describe.runIf(littleEndianHost)('a real dump (Linux 6.18)', () => {
  it('of qdiscs: passes over those that links are born with', () => {
    expect(decodeQdiscs(fixture('qdiscs'), UNIT).sort((a, b) => a.index - b.index)).toEqual([
      { index: 2, hook: 'root', kind: 'tbf', params: { type: 'tbf', rate: 5e9, burst: 2 ** 20, limit: 3_000_000 } },
      { index: 2, hook: 'ingress', kind: 'ingress' },
      { index: 3, hook: 'root', kind: 'tbf', params: TBF },
      { index: 3, hook: 'ingress', kind: 'ingress' },
      { index: 4, hook: 'root', kind: 'htb' },
    ]);
  });

  it('of filters: one for all packets, one for some', () => {
    expect(decodeFilters(fixture('filters'))).toEqual([{ redirect: 4 }]);
    expect(decodeFilters(fixture('filters-some'))).toEqual([{}]);
  });
});

/** As the kernel reckons it (psched_ratecfg_precompute, psched_l2t_ns; net/sched/sch_generic.c), and cuts it to ticks. */
function ticksOf(burst: number, rate: number): number {
  let factor = 1_000_000_000n;
  let shift = 0n;
  let mult = factor / BigInt(rate);
  while (mult < 1n << 31n && factor < 1n << 63n) {
    factor <<= 1n;
    shift += 1n;
    mult = factor / BigInt(rate);
  }
  return Number(((BigInt(burst) * mult) >> shift) / 64n);
}

/** The kernel's answer to what {@link setQdisc} sent: of a tbf the burst is told in ticks, in the parameters. */
function answered(params: QdiscParams): Uint8Array {
  const { data } = build((batch) => setQdisc(batch, { link: 'x', ...params }));
  const answer = retyped(data, RTM_NEWQDISC);
  if (params.type === 'netem') return answer;
  const at = 16 + 20 + 8 + 4 + 4 + 28;
  new DataView(answer.buffer).setUint32(at, ticksOf(params.burst, params.rate), littleEndianHost);
  return answer;
}

const anyRate = fc.oneof(
  fc.integer({ min: 8_000, max: 12_500_000_000 }),
  fc.constantFrom(8_000, 2 ** 32 - 1, 2 ** 32, 12_500_000_000),
);

describe('encode → decode', () => {
  it('a tbf: the burst survives the kernel’s clock, at every rate up to 100 Gbit/s', () => {
    const tbf = fc
      .record({ rate: anyRate, kib: fc.integer({ min: 16, max: 1024 * 1024 }), limit: fc.nat(0xffffffff) })
      .map(({ kib, rate, limit }) => ({
        type: 'tbf' as const,
        rate,
        burst: Math.min(kib, Math.floor((rate * 60) / 1024)) * 1024,
        limit,
      }));
    holds(
      fc.property(tbf, (params) => {
        expect(decodeQdiscs(answered(params), UNIT)).toEqual([{ index: 0, hook: 'root', kind: 'tbf', params }]);
      }),
      { numRuns: 1000 },
    );
  });

  it('a netem', () => {
    const netem = fc.record(
      {
        type: fc.constant('netem' as const),
        delay: fc.nat(60_000_000),
        jitter: fc.nat(60_000_000),
        loss: fc.nat(0xffffffff),
        limit: fc.integer({ min: 1, max: 0xffffffff }),
        rate: anyRate,
      },
      { requiredKeys: ['type', 'delay', 'jitter', 'loss', 'limit'] },
    );
    holds(
      fc.property(netem, (params) => {
        expect(decodeQdiscs(answered(params), UNIT)).toEqual([{ index: 0, hook: 'root', kind: 'netem', params }]);
      }),
    );
  });

  it('a redirect', () => {
    holds(
      fc.property(anyName, anyName, (link, to) => {
        const finished = build((batch) => addRedirect(batch, { link, to }));
        expectSoundFixups(finished);
        expect(decodeFilters(retyped(finished.data.subarray(48), RTM_NEWTFILTER))).toEqual([{ redirect: 0 }]);
      }),
    );
  });
});

describe('does not take for ours', () => {
  const remade = (params: QdiscParams, change: (view: DataView) => void): unknown => {
    const answer = answered(params);
    change(new DataView(answer.buffer));
    return decodeQdiscs(answer, UNIT)[0];
  };

  it('what has another handle', () => {
    const other = (view: DataView) => view.setUint32(24, 0x8001_0000, littleEndianHost);
    expect(remade(TBF, other)).toEqual({ index: 0, hook: 'root', kind: 'tbf' });
    expect(remade(NETEM, other)).toEqual({ index: 0, hook: 'root', kind: 'netem' });
  });

  it('what is told more than we tell: a peak rate, duplicates', () => {
    expect(remade(TBF, (view) => view.setUint32(16 + 20 + 8 + 8 + 20, 1, littleEndianHost))).not.toHaveProperty(
      'params',
    );
    expect(remade(NETEM, (view) => view.setUint32(16 + 20 + 12 + 4 + 16, 1, littleEndianHost))).not.toHaveProperty(
      'params',
    );
  });
});

it('refuses what cannot be told', () => {
  const told = (params: QdiscParams) => () => build((batch) => setQdisc(batch, { link: 'x', ...params }));
  const invalid = expect.objectContaining({ code: 'INVALID' });
  expect(told({ ...TBF, rate: 0 })).toThrow(invalid);
  expect(told({ ...TBF, burst: 0 })).toThrow(invalid);
  expect(told({ ...TBF, limit: 2 ** 32 })).toThrow(invalid);
  expect(told({ ...NETEM, limit: 0 })).toThrow(invalid);
  expect(told({ ...NETEM, loss: -1 })).toThrow(invalid);
});

it('reads whatever comes, or refuses it', () => {
  holds(fc.property(noiseOfType(RTM_NEWQDISC), (bytes) => expectTotal((one) => decodeQdiscs(one, UNIT), bytes)));
  holds(fc.property(noiseOfType(RTM_NEWTFILTER), (bytes) => expectTotal(decodeFilters, bytes)));
});
