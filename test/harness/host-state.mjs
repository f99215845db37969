// @ts-check
/**
 * What a network namespace and its surroundings look like, as text that can be compared: links, addresses, routes, rules,
 * nftables, pinned namespaces, mounts and network sysctls. Read through iproute2 and nft, never through our own code.
 * Plain JavaScript, because scripts/test.mjs needs it before anything is built.
 */
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * @typedef {object} HostState
 * @property {Record<string, string>} links      name → canonical JSON, addresses included
 * @property {string[]} routes                   one canonical JSON text a route, all tables, both families
 * @property {string[]} rules
 * @property {string[]} nft                      one canonical JSON text an object; handles left out
 * @property {string[]} netns                    entries of /run/netns
 * @property {string[]} mounts                   lines of /proc/self/mounts
 * @property {Record<string, string>} sysctls    path below /proc/sys → value
 */

/** Members that count, age or are chosen by the kernel anew for equal state. */
const VOLATILE = new Set(['handle', 'stats64', 'stats', 'expires', 'valid_life_time', 'preferred_life_time', 'cache']);

/** Counters, and values that the kernel itself moves. */
const VOLATILE_SYSCTLS = new Set([
  'net/netfilter/nf_conntrack_count',
  'net/ipv4/tcp_fastopen_key',
  'net/ipv4/route/flush',
  'net/ipv6/route/flush',
]);

/** Sysctls that appear in every namespace when a kernel module is loaded; their coming is not a change of anything set. */
const MODULE_SYSCTLS = ['net/bridge/', 'net/netfilter/', 'net/nf_conntrack_max'];

/**
 * @param {string} program
 * @param {readonly string[]} args
 * @returns {string} stdout, or '' where the program is missing or may not look
 */
function read(program, args) {
  try {
    return execFileSync(program, args, { encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return '';
  }
}

/**
 * @param {unknown} value
 * @returns {string} JSON with sorted keys and without volatile members
 */
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).filter(([key]) => !VOLATILE.has(key));
    entries.sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, member]) => `${JSON.stringify(key)}:${canonical(member)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

/**
 * @param {string} text
 * @returns {unknown[]}
 */
function jsonList(text) {
  return text.trim() === '' ? [] : JSON.parse(text);
}

/**
 * @param {string} dir
 * @param {string} prefix
 * @param {Record<string, string>} into
 */
function readSysctls(dir, prefix, into) {
  for (const entry of readdirSync(dir, { withFileTypes: true })) {
    const path = `${prefix}/${entry.name}`;
    if (entry.isDirectory()) readSysctls(join(dir, entry.name), path, into);
    else if (!VOLATILE_SYSCTLS.has(path)) {
      try {
        into[path] = readFileSync(join(dir, entry.name), 'utf8').trim();
      } catch {
        // Write-only and root-only ones say EACCES, stable_secret EIO while it is unset.
      }
    }
  }
}

/**
 * Reads the state of the network namespace that this process is in.
 * @returns {HostState}
 */
export function readHostState() {
  /** @type {Record<string, string>} */
  const links = {};
  for (const link of jsonList(read('ip', ['-j', '-d', 'addr', 'show']))) {
    const { ifname } = /** @type {{ ifname: string }} */ (link);
    links[ifname] = canonical(link);
  }
  const list = (/** @type {string[]} */ ...args) => jsonList(read('ip', ['-j', ...args])).map(canonical);
  /** @type {Record<string, string>} */
  const sysctls = {};
  readSysctls('/proc/sys/net', 'net', sysctls);
  return {
    links,
    routes: [...list('-4', 'route', 'show', 'table', 'all'), ...list('-6', 'route', 'show', 'table', 'all')].sort(),
    rules: [...list('-4', 'rule'), ...list('-6', 'rule')],
    nft: nftObjects(),
    netns: netnsNames(),
    mounts: readFileSync('/proc/self/mounts', 'utf8').trim().split('\n'),
    sysctls,
  };
}

/** @returns {string[]} */
function nftObjects() {
  const text = read('nft', ['-j', 'list', 'ruleset']);
  if (text.trim() === '') return [];
  /** @type {{ nftables: Record<string, unknown>[] }} */
  const { nftables } = JSON.parse(text);
  return nftables.filter((object) => !('metainfo' in object)).map(canonical);
}

/** @returns {string[]} entries of /run/netns, sorted */
export function netnsNames() {
  try {
    return readdirSync('/run/netns').sort();
  } catch {
    return [];
  }
}

/**
 * @param {readonly string[]} before
 * @param {readonly string[]} after
 * @param {string} what
 * @returns {string[]}
 */
function diffLists(before, after, what) {
  const rest = new Map();
  for (const item of before) rest.set(item, (rest.get(item) ?? 0) + 1);
  const lines = [];
  for (const item of after) {
    const left = rest.get(item) ?? 0;
    if (left > 0) rest.set(item, left - 1);
    else lines.push(`+ ${what} ${item}`);
  }
  for (const [item, left] of rest) for (let i = 0; i < left; i++) lines.push(`- ${what} ${item}`);
  return lines;
}

/**
 * @param {Record<string, string>} before
 * @param {Record<string, string>} after
 * @param {string} what
 * @returns {string[]}
 */
function diffMaps(before, after, what) {
  const lines = [];
  for (const [key, value] of Object.entries(after)) {
    if (!(key in before)) lines.push(`+ ${what} ${key} ${value}`);
    else if (before[key] !== value) lines.push(`~ ${what} ${key}: ${before[key]} -> ${value}`);
  }
  for (const [key, value] of Object.entries(before)) if (!(key in after)) lines.push(`- ${what} ${key} ${value}`);
  return lines;
}

/**
 * What changed from one state to the other, a line a difference; empty when nothing did. Sysctls that came with a kernel
 * module are no difference.
 * @param {HostState} before
 * @param {HostState} after
 * @returns {string[]}
 */
export function diffHostStates(before, after) {
  // A link brings and takes its own; the link is the difference.
  const ofLink = (/** @type {string} */ line) => {
    const link = /^[+-] sysctl net\/(?:ipv4|ipv6|mpls)\/(?:conf|neigh)\/([^/]+)\//.exec(line)?.[1];
    return link !== undefined && link in before.links !== link in after.links;
  };
  const sysctls = diffMaps(before.sysctls, after.sysctls, 'sysctl').filter(
    (line) => !ofLink(line) && !MODULE_SYSCTLS.some((prefix) => line.startsWith(`+ sysctl ${prefix}`)),
  );
  return [
    ...diffMaps(before.links, after.links, 'link'),
    ...diffLists(before.routes, after.routes, 'route'),
    ...diffLists(before.rules, after.rules, 'rule'),
    ...diffLists(before.nft, after.nft, 'nft'),
    ...diffLists(before.netns, after.netns, 'netns'),
    ...diffLists(before.mounts, after.mounts, 'mount'),
    ...sysctls,
  ];
}
