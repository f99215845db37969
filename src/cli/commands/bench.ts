/** `bench`: how fast this machine is, beside the figures that are published. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { BenchFigures } from '../../index.js';
import { figuresText, publishedFigures } from '../figures.js';
import type { Session } from '../session.js';

const SIZE = 100;
const LARGEST = 1000;
/** A slow machine is done in a minute. */
const LONGEST_MS = 120_000;

interface BenchOptions {
  readonly size: number;
  /** In the private host: measure here, with this directory for the state. */
  readonly inside?: string;
}

function readSize(text: string): number {
  const size = /^[0-9]{1,4}$/.test(text) ? Number(text) : 0;
  if (size < 1 || size > LARGEST) throw new InvalidArgumentError(`Expected a number from 1 to ${LARGEST}.`);
  return size;
}

/** Measures in the private host that this process is in; the figures are its output. */
async function measure(session: Session, size: number, state: string): Promise<void> {
  const { benchmark } = await import('../../index.js');
  session.write(session.document(await benchmark({ state, size, signal: session.signal })));
}

/** Has this command measure in a private host. */
async function measurePrivately(session: Session, size: number): Promise<BenchFigures> {
  const { runInPrivateHost, VpcctlError } = await import('../../index.js');
  const dir = await mkdtemp(join(tmpdir(), 'vpcctl-measuring-'));
  try {
    const own = [process.execPath, ...process.execArgv, String(process.argv[1])];
    const command = [...own, 'bench', '--size', String(size), '--inside', join(dir, 'state')];
    const { exitCode, stdout, stderr } = await runInPrivateHost(command, {
      signal: session.signal,
      timeoutMs: LONGEST_MS,
    });
    if (exitCode === 0) return JSON.parse(stdout) as BenchFigures;
    throw new VpcctlError('ENVIRONMENT', 'nothing could be measured', {
      extack: stderr.trim().replace(/^vpcctl(-launch)?: /, ''),
      hint: 'run `vpcctl doctor`',
    });
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

export function addBench(program: Command, session: Session): void {
  program
    .command('bench')
    .description('measure how fast workloads are made here, beside the published figures')
    .option('--size <number>', `workloads made at once: 1 to ${LARGEST}`, readSize, SIZE)
    .addOption(new Option('--inside <dir>', 'measure in this private host').hideHelp())
    .addHelpText(
      'after',
      `
Works in a network and a mount namespace of its own, which are gone afterwards: this machine's network and installation are not
touched. Takes seconds; on a slow machine, a minute. Other work on the machine makes the figures worse.

Example:
  vpcctl bench --size 500`,
    )
    .action(async ({ size, inside }: BenchOptions) => {
      if (inside !== undefined) return measure(session, size, inside);
      const here = await measurePrivately(session, size);
      const published = publishedFigures();
      session.print({ json: { here, published }, text: () => figuresText(here, published) });
    });
}
