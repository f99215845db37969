/**
 * The addon's interface: bytes in, bytes out, no policy. The C++ side is in native/; this file is its contract and loads
 * it. A namespace is a path of an nsfs file (`/run/netns/x`); `''` is the namespace of this process.
 */

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { VpcctlError } from '../errors.js';

/** A 32-bit slot of a message that the addon fills in just before sending. */
export interface Fixup {
  /** Byte offset of the slot in `data`. */
  readonly offset: number;
  /** Fill with a descriptor of this namespace (open for the duration of the send) … */
  readonly netns?: string;
  /** … or with the index of this link, looked up in the namespace the message is sent in. */
  readonly link?: string;
}

/** Creates a namespace with its loopback up and pins it at `path` (created exclusively: EEXIST when the file is there). */
export interface NetnsCreateOp {
  readonly op: 'netns-create';
  readonly path: string;
  /** Nothing is created: the spare of this number is pinned, and no spare any more. ENOENT at `spare` when there is none. */
  readonly spare?: number;
}

/**
 * Creates a namespace with its loopback up that has no name. `spare`: a number that no other spare has. With a document ('' for none), libnftables
 * runs that in it; refused as {@link NftOp}, and then there is no spare. Spares are this process's alone, and go with it.
 */
export interface SpareMakeOp {
  readonly op: 'spare-make';
  readonly spare: number;
  readonly document: string;
}

/** The spare goes, if it is there. */
export interface SpareDropOp {
  readonly op: 'spare-drop';
  readonly spare: number;
}

/**
 * Unpins: lazy unmount and unlink. ENOENT when the file is not there. A plain file left by a crash is unlinked. A namespace that somebody holds lives on:
 * then the result's value is `NUMBER INODE`, its number in the lane's {@link REGISTER} (-1: it could not be numbered, so that nobody knows) and its inode.
 */
export interface NetnsDeleteOp {
  readonly op: 'netns-delete';
  readonly path: string;
}

/**
 * Which of these numbers (32 bits each, the machine's order) still have their namespace: the result's data. Numbers of what lives on are kept, until they are
 * found dead or given with `release`. To be run on the lane that gave them.
 */
export interface NetnsLivingOp {
  readonly op: 'netns-living';
  readonly data: Uint8Array;
  readonly release?: boolean;
}

/** In place of a namespace's path: messages that name theirs by number (IFLA_TARGET_NETNSID), for what {@link NetnsDeleteOp} left without a name. */
export const REGISTER = '#register';

/**
 * Sends `count` netlink messages (NETLINK_ROUTE, or with `conntrack` ctnetlink's) in `netns`, each with NLM_F_ACK set, and matches the acks by
 * sequence. A link that a fixup names and that is not there fails the op, and nothing is sent; with `keepGoing`, its message alone is not sent, and
 * its ack is ENODEV.
 */
export interface NetlinkOp {
  readonly op: 'netlink';
  readonly conntrack?: boolean;
  readonly netns: string;
  readonly data: Uint8Array;
  readonly count: number;
  readonly fixups: readonly Fixup[];
}

/**
 * Sends one dump request and returns the concatenated answer messages; retries an interrupted dump a bounded number of times, and fails with EINTR
 * when it is interrupted every time.
 */
export interface DumpOp {
  readonly op: 'dump';
  readonly conntrack?: boolean;
  readonly netns: string;
  readonly data: Uint8Array;
  /** What is interrupted every time is taken as it is (it may lack or repeat entries), and what is longer than 1 MiB ends there. */
  readonly partial?: boolean;
}

/** Writes `/proc/sys/<key>` as seen in `netns`. */
export interface SysctlWriteOp {
  readonly op: 'sysctl-write';
  readonly netns: string;
  readonly key: string;
  readonly value: string;
  /** No such sysctl: nothing happens. */
  readonly optional?: boolean;
}

/** Reads `/proc/sys/<key>` as seen in `netns`. */
export interface SysctlReadOp {
  readonly op: 'sysctl-read';
  readonly netns: string;
  readonly key: string;
}

/**
 * Runs a document of libnftables-json(5) through libnftables in `netns`; the result's value is what it printed. Refused: EBADMSG, and the value is
 * libnftables' words. What it needs for that namespace is kept for the next document, up to 0.2 s.
 */
export interface NftOp {
  readonly op: 'nft';
  readonly netns: string;
  readonly document: string;
  /** Nothing of it stays: nftables only says whether it would take it. */
  readonly check?: boolean;
}

/** Closes what {@link NftOp} keeps: it keeps its namespaces alive. */
export interface NftRestOp {
  readonly op: 'nft-rest';
}

/**
 * Opens a socket of IPv4 in `netns` that does not block: bound to the address and port, heard and spoken by the one link alone where that is not '', and of TCP
 * listening. The value is the descriptor, which is the caller's to close.
 */
export interface SocketOpenOp {
  readonly op: 'socket-open';
  readonly netns: string;
  readonly tcp?: boolean;
  /** It may send to 255.255.255.255. */
  readonly broadcast?: boolean;
  readonly address: string;
  readonly port: number;
  readonly link: string;
}

export type NativeOp =
  | NetnsCreateOp
  | NetnsDeleteOp
  | NetnsLivingOp
  | NetlinkOp
  | DumpOp
  | SysctlWriteOp
  | SysctlReadOp
  | NftOp
  | NftRestOp
  | SpareMakeOp
  | SpareDropOp
  | SocketOpenOp;

/** The kernel's answer to one netlink message: errno 0 is success (errno is positive here). */
export interface Ack {
  readonly errno: number;
  readonly extack?: string;
  /** Offset of the offending attribute in the message, when the kernel names it. */
  readonly offset?: number;
}

/** Result of one op, same index. `errno` non-zero: it failed (for `netlink`, the op as a whole: no socket, no namespace, a fixup unresolved). */
export interface NativeResult {
  readonly errno: number;
  /** Which call failed: `unshare`, `open /run/netns/x`, `link uplink`. */
  readonly where?: string;
  readonly acks?: readonly Ack[];
  readonly data?: Uint8Array;
  readonly value?: string;
}

/** What goes on side by side: links and the rest; the firewall; what is unmade, which waits for RCU grace periods (about 20 ms); spares. */
export const LANES = { links: 0, firewall: 1, teardown: 2, spares: 3 } as const;
export type Lane = (typeof LANES)[keyof typeof LANES];

/** What was told since the last call, as `nsid, type, nsid, type, …`, each pair once; `overrun`: and more that was lost. */
export type Tell = (news: readonly number[], overrun: boolean) => void;

/** Hears what namespaces tell of changes in them, whoever made them; keeps neither them nor the event loop alive. */
export interface NativeMonitor {
  /**
   * From now on the namespace at `path` is heard, under this number, which no other had. Returns an errno: 0, or EEXIST when it is heard under
   * another one. What was followed is followed until it dies.
   */
  follow(path: string, nsid: number): number;
  /** Nothing is told afterwards. */
  close(): void;
}

export interface Native {
  /**
   * Listens to links, addresses, routes, rules, neighbours, settings (RTNLGRP_LINK, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, NEIGH, IPV4_NETCONF) and
   * nftables. `tell` is called at most every 50 ms. Throws as Node's system errors: EPERM without CAP_NET_BROADCAST.
   */
  readonly Monitor: new (
    tell: Tell,
  ) => NativeMonitor;
  /**
   * Runs the ops in order on a namespace thread of the addon's own (never one of Node's), off the event loop. Stops after the
   * first op that fails, or whose acks contain an error, unless `keepGoing`; results of ops not reached are absent. Never rejects for a
   * kernel error. Calls of one lane queue up in order; each lane has a thread of its own.
   */
  run(ops: readonly NativeOp[], keepGoing?: boolean, lane?: Lane): Promise<NativeResult[]>;
  /** Whether libnftables is on this machine, for {@link NftOp}. */
  hasNftables(): boolean;
  /** Non-blocking flock(2) on an open descriptor: true when taken (or released), false when another holds it. */
  flock(fd: number, mode: 'exclusive' | 'shared' | 'unlock'): boolean;
  /**
   * Non-blocking lock of one byte of an open file (F_OFD_SETLK), past its end too; closing the descriptor drops it, and flock(2) does not meet
   * it. `free-before`: whether nobody else has one of the bytes before `at`.
   */
  lockByte(fd: number, at: number, action: 'take' | 'release' | 'free-before'): boolean;
  /** Who connected the other end of a Unix socket, as the kernel noted it then. Throws as Node's system errors. */
  peerOf(fd: number): { readonly pid: number; readonly uid: number };
  /** Makes `dir` a shared mount as iproute2 does before its first namespace; true when this call changed anything. */
  netnsDirPrepare(dir: string): boolean;
  /** Undoes what {@link netnsDirPrepare} did, when `dir` is empty; true when undone. */
  netnsDirRelease(dir: string): boolean;
  /** Symbolic name of an errno: 17 → `EEXIST`. */
  errnoName(errno: number): string;
}

const root = join(import.meta.dirname, '..', '..');
let loaded: Native | undefined;

/** The addon where it most often is, in node-gyp-build's order; that one looks at all places, which takes 2 ms. */
function nearAddon(): string | undefined {
  if (existsSync('/etc/alpine-release') || process.env.PREBUILDS_ONLY !== undefined) return undefined;
  const places = [
    join('build', 'Release', 'vpcctl.node'),
    join('prebuilds', `linux-${process.arch}`, 'vpcctl.glibc.node'),
  ];
  return places.map((place) => join(root, place)).find((place) => existsSync(place));
}

/** Loads the addon (a prebuild of the package, or build/Release). ENVIRONMENT when there is none that loads. */
export function loadNative(): Native {
  if (loaded !== undefined) return loaded;
  try {
    // Where node-gyp-build is told of another one, as when it is tested under sanitizers, that one counts.
    const near = process.env.VPCCTL_PREBUILD === undefined ? nearAddon() : undefined;
    if (near === undefined)
      loaded = (createRequire(import.meta.filename)('node-gyp-build') as (dir: string) => Native)(root);
    else {
      const module = { exports: {} };
      process.dlopen(module, near);
      loaded = module.exports as Native;
    }
    return loaded;
  } catch (cause) {
    throw new VpcctlError('ENVIRONMENT', 'the native addon does not load', {
      hint: 'run `npm rebuild vpcctl` (needs a C++ compiler, make and python3)',
      cause,
    });
  }
}

/**
 * Path of the launcher: `vpcctl-launch [--hold] [--drop-caps] NETNS -- PROGRAM [ARG…]` enters the namespace and becomes the program. With
 * `--drop-caps` the program keeps only a container's capabilities and can gain none. With `--hold` it waits for a byte on descriptor 3 before, and
 * ends when that is closed instead.
 */
export function launcherPath(): string {
  return programPath('vpcctl-launch', 'launcher');
}

/** Path of the prober, `vpcctl-probe`: see prober.ts. */
export function proberPath(): string {
  return programPath('vpcctl-probe', 'prober');
}

function programPath(name: string, what: string): string {
  for (const candidate of [
    // In node-gyp-build's order, so that addon and programs are of one build.
    join(root, 'build', 'Release', name),
    join(root, 'prebuilds', `linux-${process.arch}`, name),
  ]) {
    if (existsSync(candidate)) return candidate;
  }
  throw new VpcctlError('ENVIRONMENT', `the ${what} ${name} is missing`, {
    hint: 'run `npm rebuild vpcctl` (needs a C++ compiler, make and python3)',
  });
}
