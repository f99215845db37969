/**
 * The resolver process, from outside: one for the whole installation, started when the first VPC has a resolver and ended by itself after the last (src/resolver). It
 * answers from the recorded model; what it is told is only which sockets to open and close, and it is told so before namespaces go, so that none lives longer for it. And
 * the file that leads a workload's programs to it, as ip-netns(8) has it: /etc/netns/NAME/resolv.conf.
 */
import { spawn } from 'node:child_process';
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { connect, isIP } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { VpcctlError } from '../errors.js';
import { routerNs, workloadNs } from '../lower/names.js';
import type { Edit } from '../model/reader.js';
import { findKind, getKind, has } from '../model/reader.js';
import { INSTALLATION_SCOPE, type Instance, ids, RESOLVER_ADDRESS, resolverOf, type Vpc } from '../model/resources.js';
import type { Drift } from './drift.js';
import type { Store } from './store.js';

/** Where ip-netns(8) looks for files that stand for those of /etc. */
const ETC_NETNS = '/etc/netns';
/** Files that begin so are ours. */
const MARK = '# made by vpcctl';
/** Kept in `meta`: {@link ETC_NETNS} was made by us. */
const DIRECTORY_MADE = 'etc_netns_made';
const STARTUP_MS = 10_000;
const ANSWER_MS = 10_000;
const POLL_MS = 20;
/** As it is built, also where this runs from its source. */
const MAIN = join(import.meta.dirname, '..', '..', 'dist', 'resolver', 'main.js');
/** Where the host's programs find whom to ask. */
export const RESOLV_CONF = '/etc/resolv.conf';
/** Below the state directory. */
export const RESOLVER_FOLDER = 'resolver';

/** What the resolver is asked to do: to look again which sockets these VPCs are to have; null: all. */
export interface ResolverRequest {
  readonly vpcs: readonly string[] | null;
}

/** What it says then: for each VPC with a resolver, why there is none; null: it answers. */
export interface ResolverReply {
  readonly pid: number;
  readonly serving: Readonly<Record<string, string | null>>;
}

/** What follows from a transaction for the resolver. */
interface Consequence {
  /** VPCs that got a resolver, lost it, or have another. */
  readonly vpcs: ReadonlySet<string>;
  readonly instances: readonly Pick<Instance, 'vpc' | 'name'>[];
}

function consequenceOf(store: Store, edits: readonly Edit[]): Consequence {
  const vpcs = new Set<string>();
  const instances: Pick<Instance, 'vpc' | 'name'>[] = [];
  for (const { before, after } of edits) {
    for (const one of [before, after]) if (one?.kind === 'vpc' && one.dns !== undefined) vpcs.add(one.name);
    const instance = after ?? before;
    if (instance?.kind === 'instance' && (before === undefined || after === undefined)) instances.push(instance);
  }
  const resolved = new Map<string, boolean>();
  const isResolved = (vpc: string): boolean => {
    const known = resolved.get(vpc);
    if (known !== undefined) return known;
    const found = getKind(store, 'vpc', ids.vpc(vpc))?.dns !== undefined;
    resolved.set(vpc, found);
    return found;
  };
  return { vpcs, instances: instances.filter(({ vpc }) => !vpcs.has(vpc) && isResolved(vpc)) };
}

export class Resolver {
  readonly #store: Store;

  constructor(store: Store) {
    this.#store = store;
  }

  get #socket(): string {
    return join(this.#store.dir, RESOLVER_FOLDER, 'socket');
  }

  /** After a commit, before anything is torn down, with the locks of what was edited. */
  async follow(edits: readonly Edit[]): Promise<void> {
    const { vpcs, instances } = consequenceOf(this.#store, edits);
    for (const { vpc, name } of instances) this.#writeFile(vpc, name);
    if (vpcs.size > 0) await this.settle([...vpcs]);
  }

  /** Makes all that these VPCs are to have, or takes it away. */
  async settle(vpcs: readonly string[]): Promise<void> {
    for (const vpc of vpcs) this.#settleFiles(vpc);
    if (!has(this.#store, 'dns')) this.#releaseDirectory();
    const reply = await this.ask(vpcs);
    if (reply === undefined) return;
    const failed = vpcs.flatMap((vpc) =>
      typeof reply.serving[vpc] === 'string' ? [`${vpc}: ${reply.serving[vpc]}`] : [],
    );
    if (failed.length > 0) throw failure(`the resolver of vpc ${failed.join('; ')}`);
  }

  /** After a crash: whatever was done already. */
  async recover(scopes: readonly string[]): Promise<void> {
    if (!existsSync(this.#socket) && !has(this.#store, 'dns')) return;
    await this.settle(scopes.filter((scope) => scope !== INSTALLATION_SCOPE));
  }

  /** Whether there is anything of it in these VPCs. */
  concerns(vpcs: readonly string[]): boolean {
    return vpcs.some((vpc) => getKind(this.#store, 'vpc', ids.vpc(vpc))?.dns !== undefined);
  }

  /** The process runs if it is to; what it says. Undefined: there is none, and there need be none. KERNEL when it cannot be started. */
  async ask(vpcs: readonly string[] | null): Promise<ResolverReply | undefined> {
    const deadline = Date.now() + STARTUP_MS;
    let child: { exited: boolean } | undefined;
    for (;;) {
      const reply = await this.#tell({ vpcs });
      if (reply !== undefined) return reply;
      if (!has(this.#store, 'dns')) return undefined;
      if (Date.now() >= deadline) throw failure('the resolver does not start');
      if (child === undefined || child.exited) child = this.#start();
      await sleep(POLL_MS);
    }
  }

  /** What it says if it runs. */
  async look(): Promise<ResolverReply | undefined> {
    return this.#tell({ vpcs: [] });
  }

  #start(): { exited: boolean } {
    const logs = join(this.#store.dir, 'logs');
    mkdirSync(logs, { recursive: true, mode: 0o700 });
    const out = openSync(join(logs, 'resolver.log'), 'a', 0o600);
    const child = spawn(process.execPath, [MAIN, this.#store.dir], {
      detached: true,
      stdio: ['ignore', out, out],
      cwd: '/',
    });
    closeSync(out);
    const state = { exited: false };
    const ended = (): void => {
      state.exited = true;
    };
    child.once('error', ended);
    child.once('exit', ended);
    child.unref();
    return state;
  }

  /** Undefined: nobody answers. */
  async #tell(request: ResolverRequest): Promise<ResolverReply | undefined> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.#socket);
      let text = '';
      socket.setTimeout(ANSWER_MS, () => {
        socket.destroy();
        reject(failure('the resolver does not answer'));
      });
      socket.setEncoding('utf8');
      socket.on('data', (chunk: string) => {
        text += chunk;
      });
      socket.on('error', () => resolve(undefined));
      socket.on('close', () => resolve(text.endsWith('\n') ? (JSON.parse(text) as ResolverReply) : undefined));
      socket.write(`${JSON.stringify(request)}\n`);
    });
  }

  // --- files ---------------------------------------------------------------------------------------------------------

  #fileOf(vpc: string, instance: string): string {
    return join(ETC_NETNS, workloadNs(vpc, instance), 'resolv.conf');
  }

  /** What is to be in it; undefined: there is to be none. */
  #contentOf(vpc: string, name: string): string | undefined {
    const found = getKind(this.#store, 'vpc', ids.vpc(vpc));
    const instance = getKind(this.#store, 'instance', ids.instance(vpc, name));
    return found?.dns === undefined || instance === undefined ? undefined : resolvConf(found, instance);
  }

  #settleFiles(vpc: string): void {
    const wanted = getKind(this.#store, 'vpc', ids.vpc(vpc))?.dns === undefined ? [] : instancesOf(this.#store, vpc);
    const prefix = `${routerNs(vpc)}.`;
    const there = list(ETC_NETNS).flatMap((dir) => (dir.startsWith(prefix) ? [dir.slice(prefix.length)] : []));
    for (const name of new Set([...wanted, ...there])) this.#writeFile(vpc, name);
  }

  /** A file that is not ours stays as it is; where nothing can be written, there is none: see {@link drift}. */
  #writeFile(vpc: string, name: string): void {
    const path = this.#fileOf(vpc, name);
    const content = this.#contentOf(vpc, name);
    const found = readOwn(path);
    if (found === 'foreign' || found === content) return;
    try {
      if (content === undefined) {
        rmSync(path, { force: true });
        rmdirSync(dirname(path));
        return;
      }
      if (!existsSync(ETC_NETNS)) {
        mkdirSync(ETC_NETNS, 0o755);
        this.#store.setMeta(DIRECTORY_MADE, '1');
      }
      mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
      const fresh = `${path}.vpcctl`;
      rmSync(fresh, { force: true });
      writeFileSync(fresh, content, { mode: 0o644, flag: 'wx' });
      renameSync(fresh, path);
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
  }

  #releaseDirectory(): void {
    if (this.#store.meta(DIRECTORY_MADE) === undefined) return;
    try {
      rmdirSync(ETC_NETNS);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      if ((error as NodeJS.ErrnoException).code === 'ENOTEMPTY') return;
    }
    this.#store.setMeta(DIRECTORY_MADE, undefined);
  }

  // --- looking -------------------------------------------------------------------------------------------------------

  /** What differs from what these VPCs are to have. */
  async drift(vpcs: readonly string[]): Promise<Drift[]> {
    const resolved = vpcs.flatMap((name) => {
      const vpc = getKind(this.#store, 'vpc', ids.vpc(name));
      return vpc?.dns === undefined ? [] : [vpc];
    });
    if (resolved.length === 0) return [];
    const reply = await this.look().catch((): undefined => undefined);
    const writable = canWriteFiles();
    return resolved.flatMap((vpc) => {
      const what = reply === undefined ? 'it does not run' : reply.serving[vpc.name];
      const silent =
        what === null
          ? []
          : [
              resolverDrift(
                vpc.name,
                `vpc ${vpc.name}: its resolver does not answer: ${what ?? 'it was not told of it'}`,
              ),
            ];
      return [...silent, ...instancesOf(this.#store, vpc.name).flatMap((name) => this.#fileDrift(vpc, name, writable))];
    });
  }

  #fileDrift(vpc: Vpc, name: string, writable: boolean): Drift[] {
    const path = this.#fileOf(vpc.name, name);
    const found = readOwn(path);
    if (found === this.#contentOf(vpc.name, name)) return [];
    const state = found === 'foreign' ? 'is not ours' : found === undefined ? 'is missing' : 'was changed';
    // Who may not write there cannot have it: no difference to be put right.
    if (found === undefined && !writable) return [];
    return [
      {
        what: found === undefined ? 'missing' : 'changed',
        resource: `instance ${vpc.name}/${name}`,
        object: `file ${path}`,
        sentence: `instance ${vpc.name}/${name}: ${path} ${state}`,
        follows: false,
        repairable: found !== 'foreign',
      },
    ];
  }
}

function resolverDrift(vpc: string, sentence: string): Drift {
  return {
    what: 'missing',
    resource: `vpc ${vpc}`,
    object: `resolver ${vpc}`,
    sentence,
    follows: false,
    repairable: true,
  };
}

function instancesOf(store: Store, vpc: string): string[] {
  return findKind(store, 'instance', `instances:${vpc}`).map(({ name }) => name);
}

function resolvConf(vpc: Vpc, { name }: Instance): string {
  return [
    `${MARK} for instance ${vpc.name}/${name}`,
    `nameserver ${resolverOf(vpc)}`,
    `nameserver ${RESOLVER_ADDRESS}`,
    `search ${vpc.dns?.domain}`,
    '',
  ].join('\n');
}

function list(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (isRefusal(error)) return [];
    throw error;
  }
}

/** A file of ours; undefined: there is none. */
function readOwn(path: string): string | 'foreign' | undefined {
  try {
    if (!lstatSync(path).isFile()) return 'foreign';
    const text = readFileSync(path, 'utf8');
    return text.startsWith(MARK) ? text : 'foreign';
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
}

/** Whether {@link ETC_NETNS} is a place for files of ours. */
export function canWriteFiles(): boolean {
  try {
    accessSync(existsSync(ETC_NETNS) ? ETC_NETNS : dirname(ETC_NETNS), constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const REFUSALS: ReadonlySet<string | undefined> = new Set([
  'ENOENT',
  'ENOTDIR',
  'ENOTEMPTY',
  'EACCES',
  'EPERM',
  'EROFS',
  'EEXIST',
]);

function isRefusal(error: unknown): boolean {
  return REFUSALS.has((error as NodeJS.ErrnoException).code);
}

/** The servers that a file as resolv.conf(5) names, in its order; none where there is no such file. */
export function nameserversIn(path: string): string[] {
  let text = '';
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
  const servers = [...text.matchAll(/^[ \t]*nameserver[ \t]+(\S+)/gm)].map(([, address]) => address ?? '');
  return servers.filter((address) => isIP(address) !== 0);
}

function failure(words: string): VpcctlError {
  return new VpcctlError('KERNEL', words, {
    hint: 'see logs/resolver.log in the state directory, then run `vpcctl repair`',
  });
}
