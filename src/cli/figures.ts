/** Figures of `bench`: those that are published with this version, and how they stand beside one's own. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { BenchFigures, BenchMachine } from '../index.js';
import { table } from './text.js';

export interface PublishedFigures extends BenchFigures {
  /** Of the measurement, YYYY-MM-DD. */
  readonly date: string;
}

/** The one place where figures are written down. */
export function publishedFigures(): PublishedFigures {
  const file = join(import.meta.dirname, '..', '..', 'docs', 'figures.json');
  return JSON.parse(readFileSync(file, 'utf8')) as PublishedFigures;
}

interface Row {
  readonly what: string;
  readonly unit: string;
  readonly of: (figures: BenchFigures) => number;
}

const ROWS: readonly Row[] = [
  { what: 'attach one workload, p50', unit: 'ms', of: ({ attach }) => attach.p50 },
  { what: 'attach one workload, p99', unit: 'ms', of: ({ attach }) => attach.p99 },
  { what: 'attach in bulk', unit: 'workloads/s', of: ({ bulk }) => bulk.workloadsPerSecond },
  { what: 'teardown of a workload, in bulk', unit: 'ms', of: ({ teardown }) => teardown.perWorkload },
];

/** Three digits are all that such a figure says. */
function digits(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

function machineText({ cpu, cores, kernel, node, nft }: BenchMachine): string {
  return `${cpu}, ${cores} cores, Linux ${kernel}, Node ${node}, nft ${nft}`;
}

/** A line a figure, here and published; and the machines they are of. */
export function figuresText(here: BenchFigures, published: PublishedFigures): string[] {
  const rows = ROWS.map(({ what, unit, of }) => [
    what,
    `${digits(of(here))} ${unit}`,
    `${digits(of(published))} ${unit}`,
    `${digits(of(here) / of(published))} x`,
  ]);
  const size = here.size === published.size ? `${here.size}` : `${here.size} here, ${published.size} published`;
  return [
    ...table([['', 'here', 'published', 'here/published'], ...rows]),
    '',
    `in bulk: ${size}; every network was as it should be, and is gone`,
    `here: ${machineText(here.machine)}`,
    `published: ${machineText(published.machine)}; ${published.date}`,
  ];
}
