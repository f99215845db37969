/** What the e2e tests share: a second opinion on everything of ours in the kernel, refusals, and reachability by real packets. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { open } from '../../src/index.js';
import {
  type Listener,
  type Probe,
  type TestHost,
  UPLINK,
  type VpcctlOptions,
  type VpcctlResult,
} from '../harness/host.js';
import { diffHostStates, type HostState, netnsNames } from '../harness/host-state.mjs';
import { inNetns, must } from '../harness/witness.js';

/** A namespace as iproute2 and nft tell of it, part → canonical lines. */
export type Witness = Readonly<Record<string, readonly string[]>>;

const LISTINGS = [
  'ip -j -d address show',
  'ip -j -4 route show table all',
  'ip -j -6 route show table all',
  'ip -j rule show',
  'ip -j neigh show nud permanent',
  'tc -j qdisc show',
  'nft -j list ruleset',
] as const;

/** Members that count, age, or are the kernel's choice: handles, indices, the bridge's timers, states and port numbers. */
const VOLATILE = new Set([
  'refcnt',
  'handle',
  'packets',
  'bytes',
  'ifindex',
  'link_index',
  'link_netnsid',
  'valid_life_time',
  'preferred_life_time',
  'hello_timer',
  'tcn_timer',
  'topology_change_timer',
  'gc_timer',
  'message_age_timer',
  'forward_delay_timer',
  'hold_timer',
  'id',
  'no',
  'designated_port',
  'state',
  'operstate',
]);

/** Lists whose order means nothing: elements of sets, which the kernel hashes, and what links have. */
const UNORDERED = new Set(['elem', 'addr_info', 'flags']);

/** JSON with sorted keys and without volatile members. */
function canonical(value: unknown, key = ''): string {
  if (Array.isArray(value)) {
    // The kernel notices a new link's carrier up to a second later.
    const items = value.filter((item) => item !== 'NO-CARRIER' && item !== 'linkdown').map((item) => canonical(item));
    return `[${(UNORDERED.has(key) ? items.sort() : items).join(',')}]`;
  }
  if (value === null || typeof value !== 'object') return JSON.stringify(value);
  const entries = Object.entries(value).filter(([name]) => !VOLATILE.has(name));
  entries.sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member, name)}`).join(',')}}`;
}

/** The family of a table, or of what is in one: we have one table of each. */
function familyOf(line: string): string {
  return /"family":"([a-z]+)"/.exec(line)?.[1] ?? '';
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function listing(text: string, command: string): string[] {
  if (text.trim() === '') return [];
  const parsed = JSON.parse(text) as unknown;
  const items = Array.isArray(parsed) ? (parsed as unknown[]) : (parsed as { nftables: unknown[] }).nftables;
  const lines = items
    .filter((item) => Object.keys(item as object).length > 0 && !('metainfo' in (item as object)))
    .map((item) => canonical(item));
  // The order of rules is part of what they say; the order of links, routes and tables is when they were made.
  return command.startsWith('nft') ? lines.sort((a, b) => compare(familyOf(a), familyOf(b))) : lines.sort();
}

/** Namespaces of ours: the edge, the routers, the workloads. */
export function ownNamespaces(): string[] {
  return netnsNames().filter((name) => name === 'vpc-edge' || name.startsWith('vpc.'));
}

/** Everything in the host's namespace and in ours, comparable over time and over being made again. */
export async function witness(): Promise<Witness> {
  const seen: Record<string, readonly string[]> = { namespaces: ownNamespaces() };
  const script = LISTINGS.join("; printf '\\036'; ");
  await Promise.all(
    ['', ...ownNamespaces()].map(async (ns) => {
      const texts = (await must(ns, ['sh', '-ec', script])).split('\x1e');
      for (const [index, command] of LISTINGS.entries())
        seen[`${ns}: ${command}`] = listing(texts[index] ?? '', command);
    }),
  );
  return seen;
}

/** What differs from one witness to another, a line a difference. */
function differences(before: Witness, after: Witness): string[] {
  return [...new Set([...Object.keys(before), ...Object.keys(after)])].flatMap((where) => {
    const [was, is] = [before[where] ?? [], after[where] ?? []];
    const gone = was.filter((line) => !is.includes(line)).map((line) => `- ${where}: ${line}`);
    const come = is.filter((line) => !was.includes(line)).map((line) => `+ ${where}: ${line}`);
    if (gone.length + come.length > 0) return [...gone, ...come];
    return JSON.stringify(was) === JSON.stringify(is) ? [] : [`~ ${where}: another order, or another number`];
  });
}

/** The kernel is as it was then; what it makes by itself once it has noticed a link's carrier takes it up to a second. */
export async function expectWitness(before: Witness, why = 'the kernel', look = witness): Promise<void> {
  let found = differences(before, await look());
  for (const end = Date.now() + 2_000; found.length > 0 && Date.now() < end; ) {
    await sleep(100);
    found = differences(before, await look());
  }
  expect(found, why).toEqual([]);
}

/** The state of the installation by the library, not by the command. */
export async function stateOf(host: TestHost): Promise<unknown> {
  const vpcctl = await open({ state: host.stateDir });
  try {
    return { spec: vpcctl.export(), rows: vpcctl.recorded(), apps: vpcctl.apps() };
  } finally {
    await vpcctl.close();
  }
}

/** The host once the kernel has noticed the carrier of the uplink and of our link on it, which it does up to a second later. */
export async function settled(host: TestHost): Promise<HostState> {
  const isWaiting = ({ links }: HostState) =>
    ['vpc-edge', UPLINK].some((name) => {
      const link = links[name] ?? '';
      return link.includes('veth') && !link.includes('"operstate":"UP"');
    });
  let now = host.snapshot();
  for (const end = Date.now() + 3_000; isWaiting(now) && Date.now() < end; now = host.snapshot()) await sleep(50);
  return now;
}

/** Runs `body` and demands that neither the host, nor any namespace of ours, nor the state is another than before. */
export async function changesNothing<T>(host: TestHost, body: () => Promise<T>): Promise<T> {
  const before = { host: await settled(host), kernel: await witness(), state: await stateOf(host) };
  const result = await body();
  expect(diffHostStates(before.host, host.snapshot()), 'the host').toEqual([]);
  await expectWitness(before.kernel);
  expect(await stateOf(host), 'the state').toEqual(before.state);
  return result;
}

// --- refusals --------------------------------------------------------------------------------------------------------

/** The command was refused with this exit status and one line for a person that says all of this. */
export function expectRefusal(result: VpcctlResult, exitCode: number, says: readonly (string | RegExp)[]): void {
  const shown = `exit ${result.exitCode}\n${result.stdout}\n${result.stderr}`;
  expect(result.exitCode, shown).toBe(exitCode);
  expect(result.stdout, 'standard output').toBe('');
  const lines = result.stderr.split('\n').filter((line) => line !== '');
  expect(lines, 'one line').toHaveLength(1);
  expect(lines[0]).toMatch(/^vpcctl: /);
  expect(lines[0], 'no stack, nothing of JavaScript').not.toMatch(
    /\bat .*\.[jt]s:\d|node:internal|TypeError|\[object|undefined|NaN|this is a bug/,
  );
  for (const part of says) expect(lines[0]).toMatch(part);
}

/** Runs a command that must be refused. */
export async function refused(
  host: TestHost,
  args: readonly string[],
  exitCode: number,
  says: readonly (string | RegExp)[],
  options?: VpcctlOptions,
): Promise<void> {
  expectRefusal(await host.vpcctl(args, options), exitCode, says);
}

// --- packets ---------------------------------------------------------------------------------------------------------

/** Time in which a refused packet must stay unanswered. */
const SILENCE_MS = 300;

/** A listener and where it is reached. */
export interface Target {
  readonly to: string;
  readonly port: number;
  readonly proto: 'tcp' | 'udp';
  readonly listener: Listener;
}

export async function target(
  host: TestHost,
  ns: string,
  to: string,
  port: number,
  proto: 'tcp' | 'udp' = 'tcp',
): Promise<Target> {
  return { to, port, proto, listener: await host.listener(ns, proto, port) };
}

/** The target answers; `seenAs`: the source address it saw. */
export async function reaches(
  host: TestHost,
  from: string,
  { to, port, proto }: Target,
  seenAs?: string,
): Promise<void> {
  const result = await host.probe(from, { to, port, proto });
  expect(result, `${from || 'the host'} → ${to}:${port}/${proto}`).toMatchObject({
    ok: true,
    ...(seenAs !== undefined && { seenSource: seenAs }),
  });
}

/** Who must not reach what; `to`: another address of it. */
export type Kept = readonly [from: string, at: Target, to?: string];

/** No answer to any of them, and nothing of it at the listeners, which are alive: each is asked from its own namespace. */
export async function areKeptApart(host: TestHost, pairs: readonly Kept[]): Promise<void> {
  const targets = [...new Set(pairs.map(([, at]) => at))];
  for (const at of targets) await reaches(host, at.listener.ns, { ...at, to: '127.0.0.1' });
  const count = async () => Promise.all(targets.map(async ({ listener }) => (await listener.seen()).length));
  const seen = await count();
  const answered = await Promise.all(
    pairs.map(async ([from, { to: itself, port, proto }, to = itself]) => {
      const { ok } = await host.probe(from, { to, port, proto, timeoutMs: SILENCE_MS });
      return ok ? [`${from || 'the host'} → ${to}:${port}/${proto}`] : [];
    }),
  );
  expect(answered.flat(), 'answered').toEqual([]);
  expect(await count(), `packets that ${targets.map(({ to, port }) => `${to}:${port}`).join(', ')} saw`).toEqual(seen);
}

export async function isKeptFrom(host: TestHost, from: string, at: Target, to?: string): Promise<void> {
  await areKeptApart(host, [to === undefined ? [from, at] : [from, at, to]]);
}

export async function pings(host: TestHost, from: string, to: string): Promise<void> {
  expect(await host.probe(from, { proto: 'icmp', to }), `ping ${from || 'the host'} → ${to}`).toMatchObject({
    ok: true,
  });
}

export async function doesNotPing(host: TestHost, from: string, ...to: string[]): Promise<void> {
  const answered = await Promise.all(
    to.map(async (one) => ((await answers(host, from, { proto: 'icmp', to: one })) ? [one] : [])),
  );
  expect(answered.flat(), `answered ${from || 'the host'}'s ping`).toEqual([]);
}

/** Whether a packet gets an answer, for tables of who reaches whom. */
export async function answers(host: TestHost, from: string, probe: Probe): Promise<boolean> {
  const { ok } = await host.probe(from, { timeoutMs: SILENCE_MS, ...probe });
  return ok;
}

// --- the rest --------------------------------------------------------------------------------------------------------

/** Deletes all of the installation. Our own agents leave first: a namespace lives as long as a process is in it. */
export async function destroyAll(host: TestHost): Promise<void> {
  for (const ns of ownNamespaces()) await host.leave(ns);
  await host.vpcctlOk(['cleanup-all', '--yes']);
}

/** A bridge counts down, also one of somebody else's. */
function withoutTimers(state: HostState): HostState {
  const links = Object.entries(state.links).map(([name, link]) => [
    name,
    link.replace(/"[a-z_]+_timer":[\d.]+/g, '""'),
  ]);
  return { ...state, links: Object.fromEntries(links) as HostState['links'] };
}

/** The host is as it was, as soon as the namespaces have gone, which they do asynchronously. */
export async function expectHostAsBefore(host: TestHost, before: HostState): Promise<void> {
  let left: string[] = [];
  for (const end = Date.now() + 5_000; Date.now() < end; await sleep(50)) {
    left = diffHostStates(withoutTimers(before), withoutTimers(host.snapshot()));
    if (left.length === 0) return;
  }
  expect(left).toEqual([]);
}

/** Waits until something is so. */
export async function until(what: string, condition: () => boolean, timeoutMs = 10_000): Promise<void> {
  for (const end = Date.now() + timeoutMs; !condition(); ) {
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`);
    await sleep(2);
  }
}

export async function pidsIn(ns: string): Promise<number[]> {
  const { stdout } = await inNetns('', ['ip', 'netns', 'pids', ns]);
  return stdout.split('\n').filter(Boolean).map(Number);
}

/** Whether a process runs; a zombie does not. */
export function isAlive(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2, stat.lastIndexOf(')') + 3) !== 'Z';
  } catch {
    return false;
  }
}
