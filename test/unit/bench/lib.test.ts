import { describe, expect, it } from 'vitest';
import { chart } from '../../../bench/lib/chart.mjs';
import { hold } from '../../../bench/lib/guard.mjs';
import { grown, network, parseRising, parseSize } from '../../../bench/lib/network.mjs';
import { median, quantile, summarize } from '../../../bench/lib/stats.mjs';
import { suiteNamed, suiteNames } from '../../../bench/lib/suites.mjs';
import { quantity } from '../../../bench/lib/svg.mjs';

const suites = new Map([['s', { ratios: ({ measured }: { measured: object }) => measured }]]);

function held(measured: object, expected: object): { held: boolean; words: string[] } {
  const words: string[] = [];
  const results = [{ suite: 's', measured }];
  return { held: hold(results, suites, { ratios: expected }, (line: string) => words.push(line)), words };
}

describe('the gate', () => {
  it('fails a ratio that is more than twice the recorded one to every rival', () => {
    const { held: outcome, words } = held({ build: { batch: 1.1, floor: 4.1 } }, { build: { batch: 0.5, floor: 2 } });
    expect(outcome).toBe(false);
    expect(words).toEqual([expect.stringMatching(/^GATE FAILED build: 1\.10 × batch, 4\.10 × floor;/)]);
  });

  it('holds one that is within twice the recorded one to a rival', () => {
    expect(held({ build: { batch: 1.1, floor: 3.9 } }, { build: { batch: 0.5, floor: 2 } }).held).toBe(true);
    expect(held({ build: { batch: 1 } }, { build: { batch: 0.5 } }).held).toBe(true);
  });

  it('judges by the rivals that are here', () => {
    expect(held({ build: { batch: 1.1 } }, { build: { batch: 0.5, floor: 2 } }).held).toBe(false);
    const { held: outcome, words } = held({ build: { batch: 1 } }, { build: { batch: 1 }, attach: { floor: 2 } });
    expect(outcome).toBe(true);
    expect(words[1]).toMatch(/^GATE SKIPPED attach: not measured/);
  });

  it('fails when nothing could be compared', () => {
    expect(held({}, { build: { batch: 1 } }).held).toBe(false);
  });
});

describe('numbers', () => {
  it('takes the middle, and the quantile that was measured', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(median([])).toBeUndefined();
    expect(
      quantile(
        Array.from({ length: 100 }, (_, at) => at + 1),
        0.99,
      ),
    ).toBe(99);
  });

  it('compares rivals of one round, whatever other rounds were like', () => {
    const trial = (driver: string, round: number, ms: number) => ({
      size: '1x1',
      driver,
      round,
      ...Object.fromEntries(['build', 'buildProcess', 'teardown', 'teardownProcess', 'gone'].map((key) => [key, ms])),
    });
    const trials = [
      ...[10, 1000, 20].map((ms, round) => trial('a', round, ms)),
      ...[20, 2000, 40].map((ms, round) => trial('b', round, ms)),
      { size: '1x1', driver: 'b', round: 3, error: 'it failed' },
    ];
    const [, b] = summarize(trials, ['a', 'absent']) as { rounds: number; build: object }[];
    expect(b).toMatchObject({ rounds: 3, build: { median: 40, min: 20, max: 2000, ratios: { a: 2 } } });
  });
});

describe('sizes', () => {
  it('reads them, and refuses what is none', () => {
    expect(parseSize('10x100')).toEqual({ vpcs: 10, workloads: 100 });
    for (const text of ['', '10', '0x1', '1x0', 'axb', '251x1', '1x1023'])
      expect(() => parseSize(text)).toThrow(/^size /);
    expect(parseRising('0,100,1000')).toEqual([0, 100, 1000]);
    for (const text of ['', 'a', '1,1', '2,1', '-1', '1.5']) expect(() => parseRising(text)).toThrow(/--sizes/);
  });

  it('gives every workload an address of its own', () => {
    const { net } = grown(network({ vpcs: 3, workloads: 400 }));
    const addresses = net.vpcs.flatMap(({ workloads }: { workloads: { ip: string }[] }) =>
      workloads.map(({ ip }) => ip),
    );
    expect(new Set(addresses).size).toBe(1201);
  });
});

describe('pictures', () => {
  it('says a quantity as a reader does', () => {
    expect([0, 0.254, 3.44, 12.3].map((value) => quantity(value))).toEqual(['0 ms', '0.25 ms', '3.4 ms', '12 ms']);
    expect([3400, 34_000].map((value) => quantity(value))).toEqual(['3.4 s', '34 s']);
  });

  it('draws bars and lines, and takes words as words', () => {
    const bars = {
      title: 'B',
      kind: 'bars',
      unit: 'ms',
      groups: [{ label: '<1>', bars: [{ series: 'a&b', value: 3 }] }],
    };
    const lines = {
      title: 'L',
      kind: 'lines',
      unit: 'ms',
      log: true,
      xLabel: 'x',
      lines: [{ series: 'a&b', points: [{ x: 0, y: 5 }] }],
    };
    const svg = chart({ head: 'h', note: 'n', foot: 'f', series: ['a&b'], panels: [bars, lines] });
    expect(svg).toContain('&lt;1&gt;');
    expect(svg).toContain('a&amp;b');
    expect(svg).not.toMatch(/NaN|undefined|<1>|Infinity/);
  });
});

describe('suites', () => {
  it('have the shape that the command expects', async () => {
    for (const name of suiteNames()) {
      const suite = await suiteNamed(name);
      expect(suite, name).toMatchObject({
        about: expect.any(String),
        sizing: expect.any(String),
        defaults: { sizes: expect.any(String), rounds: expect.any(Number) },
        run: expect.any(Function),
        render: expect.any(Function),
        picture: expect.any(Function),
      });
    }
  });
});
