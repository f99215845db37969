/** How fast this machine makes and unmakes workloads: measured on an installation of its own, in a private host. */
import { cpus, release } from 'node:os';
import { VpcctlError } from '../errors.js';
import { runNft } from '../kernel/nft.js';
import type { IngressRuleSpec, Spec } from '../spec/types.js';
import { isInPrivateHost } from './private.js';
import { Vpcctl } from './vpcctl.js';

/** What figures depend on. */
export interface BenchMachine {
  readonly cpu: string;
  readonly cores: number;
  readonly kernel: string;
  readonly node: string;
  readonly nft: string;
}

/** Times are in milliseconds. */
export interface BenchFigures {
  readonly machine: BenchMachine;
  /** Workloads made at once, in one VPC, each with five security rules of its own. */
  readonly size: number;
  /** One workload more in a VPC that is there, one transaction each. */
  readonly attach: { readonly p50: number; readonly p99: number };
  /** All of `size` in one transaction. */
  readonly bulk: { readonly workloadsPerSecond: number };
  /** A VPC of `size` deleted in one transaction. */
  readonly teardown: { readonly perWorkload: number };
}

export interface BenchOptions {
  /** Directory of the state; made, and left to the caller. */
  readonly state: string;
  /** Workloads at once: 1 to 1000. */
  readonly size: number;
  readonly signal?: AbortSignal;
}

const ATTACHES = 100;
const ROUNDS = 3;
/** A slow machine repeats less. */
const ENOUGH_MS = 8_000;
/** Fewer of them tell nothing. */
const FEWEST_ATTACHES = 10;

const RULES: readonly IngressRuleSpec[] = [
  { protocol: 'tcp', port: 22, from: 'any' },
  { protocol: 'tcp', port: 80, from: 'any' },
  { protocol: 'tcp', port: 443, from: 'any' },
  { protocol: 'tcp', port: '8000-8100', from: '10.0.0.0/8' },
  { protocol: 'icmp', from: 'any' },
];

/**
 * Measures, with the library warm and a state directory of its own. USAGE outside of a private host: it makes networks. KERNEL when what it made
 * is not what it should be.
 */
export async function benchmark(options: BenchOptions): Promise<BenchFigures> {
  if (!isInPrivateHost()) {
    throw new VpcctlError('USAGE', 'this is no private host', { hint: 'run it by `vpcctl bench`' });
  }
  const { state, size, signal } = options;
  const given = signal === undefined ? {} : { signal };
  const vpcctl = await Vpcctl.open({ state, warm: true });
  try {
    const attaches = await attachTimes(vpcctl, given);
    const builds: number[] = [];
    const teardowns: number[] = [];
    for (const begin = performance.now(); builds.length < ROUNDS && isEarly(begin, builds.length, 1); ) {
      builds.push(await timed(() => vpcctl.apply(networkOf(size), given)));
      await demandNoDrift(vpcctl);
      teardowns.push(await timed(() => vpcctl.destroy(undefined, given)));
    }
    return {
      machine: await machine(),
      size,
      attach: { p50: rounded(percentile(attaches, 50)), p99: rounded(percentile(attaches, 99)) },
      bulk: { workloadsPerSecond: rounded(size / (percentile(builds, 50) / 1000)) },
      teardown: { perWorkload: rounded(percentile(teardowns, 50) / size) },
    };
  } finally {
    await vpcctl.close();
  }
}

async function attachTimes(vpcctl: Vpcctl, given: { readonly signal?: AbortSignal }): Promise<number[]> {
  const times: number[] = [];
  await vpcctl.apply(networkOf(1), given);
  for (const begin = performance.now(); times.length < ATTACHES && isEarly(begin, times.length, FEWEST_ATTACHES); ) {
    const name = `one-${times.length}`;
    times.push(
      await timed(() =>
        vpcctl.transaction(
          (tx) => tx.addInstance({ vpc: 'bench', subnet: 'work', name, securityGroups: ['group-0'] }),
          given,
        ),
      ),
    );
  }
  await demandNoDrift(vpcctl);
  await vpcctl.destroy(undefined, given);
  return times;
}

function isEarly(begin: number, done: number, fewest: number): boolean {
  return done < fewest || performance.now() - begin < ENOUGH_MS;
}

function networkOf(size: number): Spec {
  const numbers = Array.from({ length: size }, (_, index) => index);
  return {
    vpcs: {
      bench: {
        cidr: '10.0.0.0/16',
        subnets: { work: { cidr: '10.0.0.0/20' } },
        securityGroups: Object.fromEntries(numbers.map((number) => [`group-${number}`, { ingress: RULES }])),
        instances: Object.fromEntries(
          numbers.map((number) => [`workload-${number}`, { subnet: 'work', securityGroups: [`group-${number}`] }]),
        ),
      },
    },
  };
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const begin = performance.now();
  await work();
  return performance.now() - begin;
}

async function demandNoDrift(vpcctl: Vpcctl): Promise<void> {
  const drift = await vpcctl.drift();
  const [first] = drift;
  if (first === undefined) return;
  throw new VpcctlError('KERNEL', `what was made differs from what was to be made in ${drift.length} ways`, {
    extack: first.sentence,
  });
}

/** The nearest rank. */
function percentile(values: readonly number[], percent: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(Math.ceil((percent / 100) * sorted.length) - 1, 0)] ?? Number.NaN;
}

/** To a thousandth: the rest is noise. */
function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}

async function machine(): Promise<BenchMachine> {
  const { stdout } = await runNft('', ['--version']);
  return {
    cpu: cpus()[0]?.model.trim() || 'unknown',
    cores: cpus().length,
    kernel: release(),
    node: process.version.slice(1),
    nft: /v(\d\S*)/.exec(stdout)?.[1] ?? 'unknown',
  };
}
