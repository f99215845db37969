/**
 * The only way to nftables: one document, one transaction, inside the right namespace. By `nft`, kept open where documents come one after the other; or
 * by libnftables, the library that nft is a shell around, where the machine has it: the same documents and the same answers without a process.
 */
import { accessSync, closeSync, constants, openSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { VpcctlError } from '../errors.js';
import { LANES, launcherPath, type Native } from './native.js';
import { type KeptLimits, KeptNft, type NftResult, TIMEOUT_MS, wordsOf } from './nft-session.js';
import { netnsPath } from './program.js';

/** Debian keeps nft in /usr/sbin, which is not on an ordinary user's PATH. */
const SBIN = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

let found: string | undefined;

/** The path of `nft`. ENVIRONMENT when it is not installed. */
export function nftPath(): string {
  if (found !== undefined) return found;
  // An empty entry of PATH would mean the working directory.
  for (const dir of [...(process.env.PATH ?? '').split(delimiter).filter(Boolean), ...SBIN]) {
    const candidate = join(dir, 'nft');
    try {
      accessSync(candidate, constants.X_OK);
      found = candidate;
      return candidate;
    } catch {
      // Not in this directory.
    }
  }
  throw new VpcctlError('ENVIRONMENT', 'nft is not installed', { hint: 'install it: apt-get install nftables' });
}

/** O_TMPFILE of asm-generic/fcntl.h, without O_DIRECTORY's bit, which node:fs knows. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/**
 * A nameless file with this text. nft reads `-` by opening /dev/stdin anew, which the kernel refuses (ENXIO) for the socket that Node makes of a
 * child's standard input.
 */
function nameless(text: string): number {
  let refused: unknown;
  for (const dir of ['/dev/shm', tmpdir()]) {
    let fd: number;
    try {
      fd = openSync(dir, O_TMPFILE | constants.O_RDWR, 0o600);
    } catch (error) {
      refused = error;
      continue;
    }
    try {
      const bytes = Buffer.from(text);
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      return fd;
    } catch (error) {
      closeSync(fd);
      refused = error;
    }
  }
  throw new VpcctlError('ENVIRONMENT', `no room for a temporary file in /dev/shm or ${tmpdir()}`, {
    ...(refused instanceof Error ? { extack: refused.message } : {}),
    hint: 'free some space, or set TMPDIR',
    cause: refused,
  });
}

/** Loads what {@link runNft} needs, so that the loading (0.1 s) overlaps with what the kernel does meanwhile. */
export async function preloadNft(): Promise<void> {
  await import('execa');
}

/** Runs `nft` with these arguments in a namespace, `input` as what `-f -` reads. */
export async function runNft(ns: string, args: readonly string[], input?: string): Promise<NftResult> {
  const { execa } = await import('execa');
  const nft = nftPath();
  const stdin = input === undefined ? undefined : nameless(input);
  try {
    const [file, ...argv] = ns === '' ? ([nft, ...args] as const) : launched(ns, [nft, ...args]);
    const result = await execa(file, argv, {
      // A descriptor is passed on as it is; execa's types do not say so.
      stdin: (stdin ?? 'ignore') as 'ignore',
      reject: false,
      timeout: TIMEOUT_MS,
      stripFinalNewline: true,
      env: { LC_ALL: 'C' },
      maxBuffer: 1 << 30,
    });
    if (!result.failed) return { stdout: result.stdout };
    const unknown = result.isTerminated ? ({ unknown: true } as const) : {};
    if (result.timedOut) return { stdout: '', refusal: `nft did not answer within ${TIMEOUT_MS / 1000} s`, ...unknown };
    return { stdout: '', refusal: wordsOf(result.stderr) || result.originalMessage || 'nft failed', ...unknown };
  } finally {
    if (stdin !== undefined) closeSync(stdin);
  }
}

/** What starts a program in a namespace, with no descriptor of ours. */
function launched(ns: string, argv: readonly string[]): [string, ...string[]] {
  return [launcherPath(), netnsPath(ns), '--', ...argv];
}

/** How documents get to nftables: `auto` is the library where the machine has it, and `nft` elsewhere. */
export type NftTransport = 'auto' | 'library' | 'process';

/** Carries documents of libnftables-json(5) to nftables. */
export interface Nft {
  readonly transport: Exclude<NftTransport, 'auto'>;
  /** One document, one transaction; numbers are listed as numbers. */
  run(ns: string, document: string): Promise<NftResult>;
  /** Lets go of these namespaces, which are about to be deleted. */
  release(namespaces: readonly string[]): Promise<void>;
  /** Ends the processes that are kept open; {@link run} starts others. */
  rest(): Promise<void>;
  /** Loads what documents like this one need; nothing of it stays. */
  warm(document: string): Promise<void>;
}

/** ENVIRONMENT when there is no nft, or the library is asked for and not there. */
export function nftOf(native: Native, transport: NftTransport): Nft {
  if (transport !== 'process' && native.hasNftables()) {
    nftPath();
    return library(native);
  }
  if (transport !== 'library') return byProcess();
  throw new VpcctlError('ENVIRONMENT', 'libnftables.so.1 is not on this machine', {
    hint: 'install it (Debian: libnftables1), or set VPCCTL_NFT=process',
  });
}

function once(ns: string, document: string): Promise<NftResult> {
  return runNft(ns, ['-j', '-n', '-f', '-'], document);
}

/** Whatever else there is. `limits`: of what is kept open. */
export function byProcess(limits: Partial<KeptLimits> = {}): Nft {
  const kept = new KeptNft({ ...limits, argv: (ns) => launched(ns, [nftPath(), '-j', '-n', '-i']), once });
  return {
    transport: 'process',
    run: (ns, document) => kept.run(ns, document),
    release: (namespaces) => kept.release(namespaces),
    rest: () => kept.release(),
    warm: async () => void (await runNft('', ['--version'])),
  };
}

function library(native: Native): Nft {
  /** Where the library may still have a socket. */
  const used = new Set<string>();
  return {
    transport: 'library',
    async run(ns, document) {
      used.add(ns);
      const op = { op: 'nft', netns: netnsPath(ns), document } as const;
      const [result] = await native.run([op], false, LANES.firewall);
      const { errno, value, where } = result ?? { errno: 0 };
      if (errno === 0) return { stdout: value ?? '' };
      if (value !== undefined) return { stdout: '', refusal: wordsOf(value) || 'nftables refused' };
      // So many descriptors are open that the library's own would have a number it cannot wait for.
      if (where === 'libnftables') return once(ns, document);
      return { stdout: '', refusal: `${where ?? 'libnftables'}: ${native.errnoName(errno)}` };
    },
    async release(namespaces) {
      if (!namespaces.some((ns) => used.has(ns))) return;
      used.clear();
      await native.run([{ op: 'nft-rest' }], false, LANES.firewall);
    },
    // Nothing is a process, and what is open is closed after 0.2 s.
    async rest() {},
    async warm(document) {
      await native.run([{ op: 'nft', netns: '', document, check: true }], false, LANES.firewall);
    },
  };
}

const ERRNO_WORDS: readonly (readonly [RegExp, string])[] = [
  // No such namespace, or a file that a killed process made to pin one on and did not get to.
  [/^(?:vpcctl-launch: setns|netns) .*EINVAL/, 'ENOENT'],
  [/^(?:open|setns) .*ENOENT/, 'ENOENT'],
  [/File exists/, 'EEXIST'],
  [/No such file or directory|does not exist/, 'ENOENT'],
  [/Operation not permitted|you must be root/i, 'EPERM'],
  [/Device or resource busy/, 'EBUSY'],
  [/not supported/i, 'EOPNOTSUPP'],
  [/No space left|Cannot allocate memory/, 'ENOMEM'],
];

/** The errno behind nft's words, as far as they tell. */
export function nftErrno(words: string): string | undefined {
  return ERRNO_WORDS.find(([pattern]) => pattern.test(words))?.[1];
}
