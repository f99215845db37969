/** What iproute2 and nft say: the second opinion on everything that our own code claims to have done. */
import { execa } from 'execa';

/** The argv that runs a program in a namespace (`''`: this one). */
export function netnsArgv(ns: string, argv: readonly string[]): string[] {
  return ns === '' ? [...argv] : ['ip', 'netns', 'exec', ns, ...argv];
}

/** A program's end, however it ended. */
export interface Ended {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
}

/** Runs a program in a namespace; never throws for its exit status. */
export async function inNetns(ns: string, argv: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const [program = '', ...args] = netnsArgv(ns, argv);
  const { input, env, timeoutMs = 30_000 } = options;
  const done = await execa(program, args, {
    reject: false,
    timeout: timeoutMs,
    ...(input === undefined ? { stdin: 'ignore' as const } : { input }),
    ...(env === undefined ? {} : { env }),
  });
  if (done.timedOut)
    throw new Error(`${argv.join(' ')} did not end in ${timeoutMs} ms\n${done.stdout}\n${done.stderr}`);
  if (done.exitCode === undefined && done.signal === undefined)
    throw new Error(`${program} does not start: ${done.message}`);
  return { exitCode: done.exitCode ?? 128, stdout: done.stdout, stderr: done.stderr };
}

/** Runs a program that must succeed and returns its output. */
export async function must(ns: string, argv: readonly string[], options: RunOptions = {}): Promise<string> {
  const done = await inNetns(ns, argv, options);
  if (done.exitCode !== 0) {
    const where = ns === '' ? '' : ` in namespace ${ns}`;
    throw new Error(`${argv.join(' ')} exited ${done.exitCode}${where}: ${done.stderr || done.stdout}`);
  }
  return done.stdout;
}

/** `ip -j ARG…` as data; `[]` when it prints nothing. */
export async function ip<T = Record<string, unknown>>(args: readonly string[], ns = ''): Promise<T[]> {
  const text = await must('', ['ip', ...(ns === '' ? [] : ['-n', ns]), '-j', ...args]);
  const parsed = text.trim() === '' ? [] : (JSON.parse(text) as (T | Record<string, never>)[]);
  // `ip -j` pads filtered lists with empty objects.
  return parsed.filter((item): item is T => Object.keys(item as object).length > 0);
}

/** `ip ARG…` for its effect. */
export async function ipDo(args: readonly string[], ns = ''): Promise<void> {
  await must('', ['ip', ...(ns === '' ? [] : ['-n', ns]), ...args]);
}

/** `nft -j ARG…` as its list of objects, without the metainfo. */
export async function nft(args: readonly string[], ns = ''): Promise<Record<string, unknown>[]> {
  const text = await must(ns, ['nft', '-j', ...args]);
  if (text.trim() === '') return [];
  const { nftables } = JSON.parse(text) as { nftables: Record<string, unknown>[] };
  return nftables.filter((object) => !('metainfo' in object));
}

/** Packets and bytes that a link counted. */
export interface LinkCounter {
  readonly rxPackets: number;
  readonly txPackets: number;
  readonly rxBytes: number;
  readonly txBytes: number;
}

interface LinkStats {
  readonly stats64: {
    readonly rx: { readonly packets: number; readonly bytes: number };
    readonly tx: { readonly packets: number; readonly bytes: number };
  };
}

/** What a link of a namespace has counted so far. */
export async function counter(ns: string, link: string): Promise<LinkCounter> {
  const [found] = await ip<LinkStats>(['-s', 'link', 'show', 'dev', link], ns);
  if (found === undefined) throw new Error(`no link ${link} in namespace '${ns}'`);
  const { rx, tx } = found.stats64;
  return { rxPackets: rx.packets, txPackets: tx.packets, rxBytes: rx.bytes, txBytes: tx.bytes };
}
