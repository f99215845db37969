import { expect, test } from 'vitest';
import { figuresText, publishedFigures } from '../../../src/cli/figures.js';
import { vpcctl } from './support.js';

const machine = { cpu: 'Some CPU', cores: 2, kernel: '6.1.0', node: '22.0.0', nft: '1.0.6' };
const here = {
  machine,
  size: 100,
  attach: { p50: 2.5, p99: 12.25 },
  bulk: { workloadsPerSecond: 1234.5 },
  teardown: { perWorkload: 0.5 },
};

test('the published figures are figures, of a machine and a day', () => {
  const { date, size, attach, bulk, teardown, machine: on } = publishedFigures();
  expect(date).toMatch(/^20\d\d-\d\d-\d\d$/);
  for (const figure of [size, attach.p50, attach.p99, bulk.workloadsPerSecond, teardown.perWorkload, on.cores]) {
    expect(figure).toBeGreaterThan(0);
  }
  for (const word of [on.cpu, on.kernel, on.node, on.nft]) expect(word).not.toBe('');
});

test('stand beside one’s own', () => {
  const published = { ...here, date: '2030-01-02', attach: { p50: 5, p99: 12.25 } };
  expect(figuresText(here, published)).toEqual([
    '                                 here              published         here/published',
    'attach one workload, p50         2.50 ms           5.00 ms           0.500 x',
    'attach one workload, p99         12.3 ms           12.3 ms           1.00 x',
    'attach in bulk                   1235 workloads/s  1235 workloads/s  1.00 x',
    'teardown of a workload, in bulk  0.500 ms          0.500 ms          1.00 x',
    '',
    'in bulk: 100; every network was as it should be, and is gone',
    'here: Some CPU, 2 cores, Linux 6.1.0, Node 22.0.0, nft 1.0.6',
    'published: Some CPU, 2 cores, Linux 6.1.0, Node 22.0.0, nft 1.0.6; 2030-01-02',
  ]);
});

test.each(['0', '1001', 'x', '-5'])('bench --size %s is refused', async (size) => {
  expect((await vpcctl(['bench', '--size', size])).exitCode).toBe(2);
});
