/** Programs in workloads: run one and wait, or start one and keep account of it. Only processes we started are ever ended. */

import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { VpcctlError } from '../errors.js';
import { launcherPath } from '../kernel/native.js';
import { netnsPath } from '../kernel/program.js';
import { workloadNs } from '../lower/names.js';
import { type Instance, ids } from '../model/resources.js';
import type { AppRecord, Store } from './store.js';

const STARTUP_MS = 10_000;
const POLL_MS = 15;
/** How long a program may take to end after SIGTERM, before SIGKILL. */
const GRACE_MS = 3_000;
const LOG_TAIL_BYTES = 400;

/** How to run a program in an instance. */
export interface ExecOptions {
  /** Keep all capabilities; default: a container's. */
  readonly privileged?: boolean;
  /** `inherit`: the caller's terminal. Default: collect. */
  readonly stdio?: 'inherit' | 'pipe';
  readonly signal?: AbortSignal;
}

/** How a program ended. With `stdio: 'inherit'` there is no output to return. */
export interface ExecResult {
  /** 128 + signal number when a signal ended it. */
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

function launcherArgs(instance: Instance, command: readonly string[], privileged: boolean): string[] {
  const path = netnsPath(workloadNs(instance.vpc, instance.name));
  return [...(privileged ? [] : ['--drop-caps']), path, '--', ...command];
}

function environment(instance: Instance, port?: number): NodeJS.ProcessEnv {
  return {
    ...process.env,
    VPCCTL_VPC: instance.vpc,
    VPCCTL_SUBNET: instance.subnet,
    VPCCTL_INSTANCE: instance.name,
    ...(port === undefined ? {} : { PORT: String(port) }),
  };
}

/** Runs a program in the instance's namespace to its end. */
export async function execIn(
  instance: Instance,
  command: readonly string[],
  options: ExecOptions,
): Promise<ExecResult> {
  const { execa } = await import('execa');
  const result = await execa(launcherPath(), launcherArgs(instance, command, options.privileged === true), {
    env: environment(instance),
    extendEnv: false,
    stdio: options.stdio ?? 'pipe',
    reject: false,
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
    stripFinalNewline: false,
  });
  const signalNumber = result.signal === undefined ? undefined : SIGNALS[result.signal];
  return {
    exitCode: result.exitCode ?? 128 + (signalNumber ?? 0),
    stdout: result.stdout ?? '',
    stderr: result.stderr ?? '',
  };
}

const SIGNALS: Readonly<Record<string, number>> = {
  SIGHUP: 1,
  SIGINT: 2,
  SIGQUIT: 3,
  SIGABRT: 6,
  SIGKILL: 9,
  SIGPIPE: 13,
  SIGTERM: 15,
};

/** What proc(5) says of a process in stat; undefined when there is no such process, or it is a zombie. */
function processStat(pid: number): { readonly group: number; readonly startTime: string } | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The command's name, in parentheses, may hold anything.
  const [state, , group, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return state === 'Z' ? undefined : { group: Number(group), startTime: rest[16] ?? '' };
}

function startTime(pid: number): string | undefined {
  return processStat(pid)?.startTime;
}

/** The namespace a process is in; undefined when it is gone. */
function namespaceOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/net`);
  } catch {
    return undefined;
  }
}

/** Living processes of the app's group, in its namespace: also when the one we started has ended and they go on. */
function members(app: AppRecord): number[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map(Number)
    .filter((pid) => processStat(pid)?.group === app.pid && namespaceOf(pid) === app.netns);
}

export function isRunning(app: AppRecord): boolean {
  return startTime(app.pid) === app.startTime;
}

/** Whether a TCP socket listens on the port, as seen from the process' own network namespace. */
function listens(pid: number, port: number): boolean {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  return ['tcp', 'tcp6'].some((table) => {
    try {
      return readFileSync(`/proc/${pid}/net/${table}`, 'latin1')
        .split('\n')
        .some((line) => {
          const [, local, , state] = line.trim().split(/\s+/);
          return state === '0A' && local?.endsWith(`:${hex}`) === true;
        });
    } catch {
      return false;
    }
  });
}

/** What to leave running in an instance. */
export interface DeployApp {
  readonly port?: number;
  /** Program and arguments; the built-in app when absent. */
  readonly command?: readonly string[];
  /** Keep all capabilities; default: a container's. */
  readonly privileged?: boolean;
}

/** The identity of a namespace that is pinned, as the links below /proc/PID/ns name it; undefined when it is gone. */
function pinnedIdentity(vpc: string, instance: string): string | undefined {
  const found = statSync(netnsPath(workloadNs(vpc, instance)), { throwIfNoEntry: false });
  return found === undefined ? undefined : `net:[${found.ino}]`;
}

/** Whether the instance that the program was put into is there no more, though another may have its name now. */
export function isStranded(store: Store, app: AppRecord): boolean {
  if (store.get(ids.instance(app.vpc, app.instance)) === undefined) return true;
  return pinnedIdentity(app.vpc, app.instance) !== app.netns && members(app).length > 0;
}

function describeApp({ vpc, instance, port }: Pick<AppRecord, 'vpc' | 'instance' | 'port'>): string {
  return `app on ${vpc}/${instance}${port === undefined ? '' : `:${port}`}`;
}

/**
 * Starts a program in the instance; {@link untilReady} is to be waited for. The caller holds the VPC's lock, so that the instance stays. No
 * program runs that is not recorded: the launcher holds it until it is, and ends without starting it when this process dies before.
 */
export async function start(store: Store, instance: Instance, app: DeployApp): Promise<AppRecord> {
  const { port } = app;
  const builtin = app.command === undefined;
  const command = app.command ?? [process.execPath, join(import.meta.dirname, '..', 'app', 'hello.js')];
  const name = port === undefined ? 'app' : String(port);
  const what = describeApp({ vpc: instance.vpc, instance: instance.name, ...(port === undefined ? {} : { port }) });
  const netns = pinnedIdentity(instance.vpc, instance.name);
  if (netns === undefined) {
    throw new VpcctlError('NOT_FOUND', `the namespace of instance ${instance.vpc}/${instance.name} is gone`, {
      hint: 'see `vpcctl drift`',
    });
  }
  const known = store.apps(instance.vpc).find((one) => one.instance === instance.name && one.name === name);
  if (known !== undefined) {
    if (isRunning(known) && known.netns === netns) {
      if (builtin || known.command.join('\0') === command.join('\0')) return known;
      throw new VpcctlError('CONFLICT', `${what} runs already, as pid ${known.pid}`, { hint: 'stop-app first' });
    }
    // What is left of an earlier one, before its record is overwritten.
    await stop(store, known);
  }
  if (port !== undefined && portTaken(instance, port, store)) {
    throw new VpcctlError('CONFLICT', `port ${port} of ${instance.vpc}/${instance.name} is in use`, {
      hint: 'choose another port',
    });
  }
  const logs = join(store.dir, 'logs');
  mkdirSync(logs, { recursive: true, mode: 0o700 });
  const log = join(logs, `${instance.vpc}.${instance.name}.${name}.log`);
  const out = openSync(log, 'w', 0o600);
  const child = spawn(launcherPath(), ['--hold', ...launcherArgs(instance, command, app.privileged === true)], {
    detached: true,
    stdio: ['ignore', out, out, 'pipe'],
    env: environment(instance, port),
    cwd: '/',
  });
  closeSync(out);
  const failed = new Promise<Error>((resolve) => child.once('error', resolve));
  const { pid } = child;
  const leave = child.stdio[3] as Writable;
  // A launcher that has ended already is noticed by who waits for the port.
  leave.on('error', () => {});
  if (pid === undefined) throw new VpcctlError('KERNEL', `could not start the ${what}`, { cause: await failed });
  child.unref();
  const record: AppRecord = {
    vpc: instance.vpc,
    subnet: instance.subnet,
    instance: instance.name,
    name,
    ...(port === undefined ? {} : { port }),
    pid,
    startTime: startTime(pid) ?? '',
    netns,
    command: [...command],
    log,
  };
  try {
    store.putApp(record);
  } catch (error) {
    leave.destroy();
    throw error;
  }
  leave.end('\n');
  return record;
}

/** Waits until a program that was started has its port open; ends it when that takes too long. */
export async function untilReady(store: Store, record: AppRecord): Promise<void> {
  try {
    await untilOpen(record, describeApp(record));
  } catch (error) {
    await stop(store, record);
    throw error;
  }
}

function portTaken(instance: Instance, port: number, store: Store): boolean {
  return store
    .apps(instance.vpc)
    .some((app) => app.instance === instance.name && isRunning(app) && listens(app.pid, port));
}

/** Without a port to wait for, a moment in which the program must not end. */
async function untilOpen(app: AppRecord, what: string): Promise<void> {
  const deadline = Date.now() + (app.port === undefined ? POLL_MS * 10 : STARTUP_MS);
  while (isRunning(app)) {
    if (app.port !== undefined && listens(app.pid, app.port)) return;
    if (Date.now() >= deadline) {
      if (app.port === undefined) return;
      throw new VpcctlError('CONFLICT', `the ${what} did not open its port within ${STARTUP_MS / 1000} s`, {
        hint: `it was stopped; its output is in ${app.log}`,
      });
    }
    await sleep(POLL_MS);
  }
  const words = tail(app.log);
  throw new VpcctlError('CONFLICT', `the ${what} ended at once`, {
    ...(words === '' ? {} : { extack: words }),
    hint: `its output is in ${app.log}`,
  });
}

function tail(log: string): string {
  if (!existsSync(log)) return '';
  return readFileSync(log, 'utf8').slice(-LOG_TAIL_BYTES).trim().split('\n').slice(-2).join(' ');
}

/** Ends a program of ours, with all that is left of its process group, and forgets it; false when all had ended by themselves. */
export async function stop(store: Store, app: AppRecord): Promise<boolean> {
  const running = members(app).length > 0;
  signalMembers(app, 'SIGTERM');
  for (const deadline = Date.now() + GRACE_MS; members(app).length > 0 && Date.now() < deadline; ) await sleep(POLL_MS);
  while (members(app).length > 0) {
    signalMembers(app, 'SIGKILL');
    await sleep(POLL_MS);
  }
  store.removeApp(app);
  return running;
}

function signalMembers(app: AppRecord, signal: NodeJS.Signals): void {
  for (const pid of members(app)) {
    try {
      process.kill(pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
