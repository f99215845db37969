/**
 * What this machine has and lacks: each feature tried for real, in a namespace of the doctor's own that is gone afterwards; and what of the host is in
 * the way of an installation (neighbours.ts), with fixes that can be made and taken back.
 */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { canonicalText } from '../canonical.js';
import { VpcctlError } from '../errors.js';
import type { HostView, Kernel } from '../kernel/kernel.js';
import type { Machine } from '../kernel/machine.js';
import { nftPath, runNft } from '../kernel/nft.js';
import { getKind } from '../model/reader.js';
import { EDGE_ID, INSTALLATION_SCOPE } from '../model/resources.js';
import type { Change } from '../objects/change.js';
import { type KernelObject, NETNS_DIR, NFT_TABLE } from '../objects/kernel-object.js';
import { type Check, warning } from './check.js';
import { Engine } from './engine.js';
import { applyFixes, type Fix, rememberedFixes, strayFixes, type Undone, undoFixes } from './fixes.js';
import { passagesOf, passRules } from './forward.js';
import { Locks } from './locks.js';
import { hasBorder, neighbourChecks, unknown } from './neighbours.js';
import { resolverChecks } from './resolver-checks.js';
import { Store, stateDirectory } from './store.js';

export interface DoctorOptions {
  /** Directory of the installation's state, as {@link OpenOptions.state}. Without a state there, only the machine is examined. */
  readonly state?: string;
  /** Makes what the checks offer as `fixes`, and remembers it. It is taken back when the last public subnet goes. */
  readonly fix?: boolean;
  /** Takes back what was fixed. */
  readonly undo?: boolean;
  /** With `fix` or `undo`: tells what would be done, and does nothing. */
  readonly dryRun?: boolean;
  readonly signal?: AbortSignal;
  /** In place of this machine's kernel. */
  readonly kernel?: Kernel;
}

export interface DoctorReport {
  /** Nothing is missing. */
  readonly ok: boolean;
  /** What was found; after a fix or its undoing, what is found then. */
  readonly checks: readonly Check[];
  /** What was fixed, or with `dryRun` would be. */
  readonly fixed: readonly Fix[];
  /** What was taken back, or with `dryRun` would be: on demand, or because it fits no longer. */
  readonly undone: readonly Undone[];
}

/** libnftables' JSON knows concatenated intervals and `ct status` from 1.0.2 on; tested with 1.0.6. */
const NFT_OLDEST: readonly [number, number, number] = [1, 0, 2];
const CAP_NET_ADMIN = 12n;
const CAP_SYS_ADMIN = 21n;

/**
 * Examines this machine. Without `fix` and `undo` it changes nothing that stays. CONFLICT when another process is changing the installation, KERNEL or
 * ENVIRONMENT when a fix is refused: what was done till then is remembered, and taken back like the rest.
 */
export async function doctor(options: DoctorOptions = {}): Promise<DoctorReport> {
  if (options.fix !== true && options.undo !== true) return { ...(await examine(options)), fixed: [], undone: [] };
  const kernel = options.kernel ?? new (await import('../kernel/real.js')).RealKernel();
  const store = new Store(stateDirectory(options.state));
  try {
    const engine = new Engine(store, kernel, new Locks(store.dir, LOCK_TIMEOUT_MS));
    await engine.recoverAll({
      onEvent: (event) => {
        if (event.type === 'unrecovered' && event.scopes.includes(INSTALLATION_SCOPE)) throw event.error;
      },
    });
    const release = await engine.locks.acquire([INSTALLATION_SCOPE], options.signal).catch((error: unknown) => {
      throw options.signal?.aborted === true ? new VpcctlError('ABORTED', 'interrupted: nothing was changed') : error;
    });
    try {
      return await treat(engine, options);
    } finally {
      release();
    }
  } finally {
    store.close();
  }
}

const LOCK_TIMEOUT_MS = 30_000;

/** Fixes or takes back. The caller holds the installation's lock. */
async function treat({ store, kernel }: Engine, options: DoctorOptions): Promise<DoctorReport> {
  const { machine } = kernel;
  const again = () => examine({ ...options, kernel });
  const found = await again();
  const fixed = options.undo === true ? [] : found.checks.flatMap(({ fixes }) => fixes ?? []);
  const doomed = options.undo === true ? await allFixes(store, kernel) : staleFixes(store);
  if (options.dryRun === true || fixed.length + doomed.length === 0) {
    return { ...found, fixed, undone: doomed.map((fix) => ({ fix })) };
  }
  const { undone, failure } = await undoFixes(store, machine, doomed);
  if (failure !== undefined) throw failure;
  if (machine !== undefined) await applyFixes(store, machine, fixed);
  return { ...(await again()), fixed, undone };
}

/** What is remembered, and what a lost state made. */
async function allFixes(store: Store, kernel: Kernel): Promise<Fix[]> {
  const remembered = rememberedFixes(store);
  if (kernel.machine === undefined || hasBorder(await kernel.host())) return remembered;
  return [...remembered, ...(await strayFixes(kernel.machine, remembered))];
}

/** Rules for a pool or an uplink that is the installation's no longer. */
function staleFixes(store: Store): Fix[] {
  const edge = getKind(store, 'edge', EDGE_ID);
  if (edge === undefined) return rememberedFixes(store);
  const { uplink } = edge;
  const right =
    uplink === undefined ? [] : passagesOf(edge, uplink).flatMap((one) => passRules(one).map(canonicalText));
  return rememberedFixes(store).filter((fix) => fix.kind === 'nft-rule' && !right.includes(canonicalText(fix.expr)));
}

type Findings = Pick<DoctorReport, 'ok' | 'checks'>;

async function examine({ kernel: given, state }: DoctorOptions): Promise<Findings> {
  const checks: Check[] = [node(), privileges(), directory(), await nft()];
  const kernel = given ?? (await loadKernel(checks));
  if (kernel !== undefined) {
    if (checks.every(({ status }) => status !== 'missing')) checks.push(...(await kernelFeatures(kernel)));
    if (kernel.machine !== undefined)
      checks.push(...(await surroundings(kernel, kernel.machine, stateDirectory(state))));
  }
  return { ok: checks.every(({ status }) => status !== 'missing'), checks };
}

async function surroundings(kernel: Kernel, machine: Machine, dir: string): Promise<Check[]> {
  const state = await readState(dir);
  let host: HostView;
  try {
    host = await kernel.host();
  } catch (error) {
    if (!(error instanceof VpcctlError)) throw error;
    return [...state.checks, unknown('links and routes', error)];
  }
  return [...state.checks, ...(await neighbourChecks({ machine, host, ...state }))];
}

/** The installation, if there is one: looking makes none. */
async function readState(
  dir: string,
): Promise<Pick<Parameters<typeof neighbourChecks>[0], 'resources' | 'fixes'> & { checks: Check[] }> {
  const nothing = { resources: [], fixes: [] };
  const path = join(dir, 'state.db');
  try {
    accessSync(path, constants.R_OK | constants.W_OK);
  } catch (error) {
    const { code = 'EIO' } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return { ...nothing, checks: [] };
    const refusal = new VpcctlError('ENVIRONMENT', `${path} cannot be read`, { errno: code, hint: 'run as root' });
    return { ...nothing, checks: [unknown('state', refusal)] };
  }
  let store: Store | undefined;
  try {
    store = new Store(dir);
    return { resources: store.resources(), fixes: rememberedFixes(store), checks: await resolverChecks(store) };
  } catch (error) {
    return { ...nothing, checks: [missing('state', error)] };
  } finally {
    store?.close();
  }
}

async function loadKernel(checks: Check[]): Promise<Kernel | undefined> {
  try {
    const kernel = new (await import('../kernel/real.js')).RealKernel();
    checks.push({ name: 'native addon', status: 'ok', detail: 'loads' });
    return kernel;
  } catch (error) {
    checks.push(missing('native addon', error));
    return undefined;
  }
}

function missing(name: string, error: unknown): Check {
  if (!(error instanceof VpcctlError)) throw error;
  const { hint, extack } = error.facts;
  const detail = extack === undefined ? error.message : `${error.message}: ${extack}`;
  return { name, status: 'missing', detail, ...(hint === undefined ? {} : { hint }) };
}

function node(): Check {
  return { name: 'node', status: 'ok', detail: `${process.version}, Linux ${release()}, ${process.arch}` };
}

function privileges(): Check {
  const name = 'privileges';
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  const caps = BigInt(`0x${effective}`);
  const lacks = [
    ...(caps & (1n << CAP_NET_ADMIN) ? [] : ['CAP_NET_ADMIN']),
    ...(caps & (1n << CAP_SYS_ADMIN) ? [] : ['CAP_SYS_ADMIN']),
  ];
  if (lacks.length === 0) return { name, status: 'ok', detail: 'CAP_NET_ADMIN and CAP_SYS_ADMIN' };
  return {
    name,
    status: 'missing',
    detail: `without ${lacks.join(' and ')}`,
    hint: 'run as root, or in a user namespace of your own: unshare -rnm (see the README)',
  };
}

function directory(): Check {
  const name = 'namespace directory';
  const dir = existsSync(NETNS_DIR) ? NETNS_DIR : '/run';
  try {
    accessSync(dir, constants.W_OK);
    return { name, status: 'ok', detail: `${dir} is writable` };
  } catch {
    return {
      name,
      status: 'missing',
      detail: `${dir} is not writable`,
      hint: 'run as root, or mount a tmpfs over /run in your own mount namespace',
    };
  }
}

async function nft(): Promise<Check> {
  const name = 'nft';
  try {
    const path = nftPath();
    const { stdout, refusal } = await runNft('', ['--version']);
    const version = /v(\d+)\.(\d+)(?:\.(\d+))?/
      .exec(stdout)
      ?.slice(1)
      .map((part) => Number(part ?? 0));
    if (version === undefined) {
      return {
        name,
        status: 'missing',
        detail: refusal ?? `${path} tells no version`,
        hint: 'install nftables 1.0.2 or later',
      };
    }
    const detail = `${version.join('.')} at ${path}`;
    if (
      NFT_OLDEST.some(
        (part, at) => (version[at] ?? 0) < part && NFT_OLDEST.slice(0, at).every((same, i) => version[i] === same),
      )
    ) {
      return { name, status: 'missing', detail, hint: `install nftables ${NFT_OLDEST.join('.')} or later` };
    }
    return { name, status: 'ok', detail };
  } catch (error) {
    return missing(name, error);
  }
}

/** What a feature needs of the kernel, as rows to make. */
interface Feature {
  readonly name: string;
  readonly rows: readonly KernelObject[];
  /** The module or option behind it. */
  readonly needs: string;
  /** What cannot be had without it, where the rest can. */
  readonly without?: string;
}

function features(ns: string): Feature[] {
  const link = { kind: 'link', ns, mtu: 1500, alias: 'vpcctl:doctor' } as const;
  const at = { ns, family: 'inet', table: NFT_TABLE } as const;
  return [
    { name: 'network namespaces', needs: 'CONFIG_NET_NS', rows: [{ kind: 'netns', ns }] },
    {
      name: 'veth pairs',
      needs: 'CONFIG_VETH (module veth)',
      rows: [
        {
          ...link,
          name: 'p0',
          type: 'veth',
          mac: '06:00:00:00:00:02',
          peer: { ns, name: 'p1' },
          strict: true,
          answers: true,
        },
        { ...link, name: 'p1', type: 'veth', mac: '06:00:00:00:00:03', peer: { ns, name: 'p0' } },
      ],
    },
    {
      name: 'policy routing',
      needs: 'CONFIG_IP_MULTIPLE_TABLES',
      rows: [{ kind: 'rule', ns, priority: 33000, from: '10.0.0.0/24', table: 100 }],
    },
    {
      name: 'nftables, inet family',
      needs: 'CONFIG_NF_TABLES_INET (module nf_tables)',
      rows: [{ kind: 'nft-table', ...at }],
    },
    {
      name: 'nftables, sets of concatenated ranges',
      needs: 'Linux 5.6',
      rows: [
        {
          kind: 'nft-set',
          ...at,
          set: 'probe',
          type: ['mark', 'ipv4_addr', 'inet_proto', 'inet_service'],
          interval: true,
        },
        { kind: 'nft-element', ...at, set: 'probe', key: [1, '10.0.0.0/8', 6, '80-90'] },
      ],
    },
    {
      name: 'nftables, the way back of a forwarded packet',
      needs: 'Linux 5.19, CONFIG_NFT_FIB_INET (module nft_fib_inet)',
      rows: [
        {
          kind: 'nft-chain',
          ...at,
          chain: 'probe',
          base: { type: 'filter', hook: 'forward', prio: 0, policy: 'accept' },
        },
        {
          kind: 'nft-rule',
          ...at,
          chain: 'probe',
          index: 0,
          expr: [{ match: { op: '==', left: { fib: { result: 'oif', flags: ['saddr', 'iif'] } }, right: false } }],
        },
      ],
    },
    {
      name: 'nftables, NAT and connection tracking',
      needs: 'CONFIG_NFT_NAT, CONFIG_NFT_CT (modules nft_nat, nft_ct, nft_chain_nat)',
      rows: [
        { kind: 'nft-table', ns, family: 'ip', table: NFT_TABLE },
        {
          kind: 'nft-chain',
          ns,
          family: 'ip',
          table: NFT_TABLE,
          chain: 'nat',
          base: { type: 'nat', hook: 'postrouting', prio: 100, policy: 'accept' },
        },
        {
          kind: 'nft-rule',
          ns,
          family: 'ip',
          table: NFT_TABLE,
          chain: 'nat',
          index: 0,
          expr: [
            { match: { op: 'in', left: { ct: { key: 'state' } }, right: [2, 4] } },
            { snat: { addr: '192.0.2.1' } },
          ],
        },
      ],
    },
    {
      name: 'bandwidth of instances',
      needs:
        'CONFIG_NET_SCH_TBF, CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_U32, CONFIG_NET_ACT_MIRRED, CONFIG_IFB (modules sch_tbf, sch_ingress, cls_u32, act_mirred, ifb)',
      without: 'no instance can have a bandwidth',
      rows: [
        { ...link, name: 'p2', type: 'ifb', mac: '06:00:00:00:00:04' },
        { kind: 'qdisc', ns, link: 'p2', hook: 'root', type: 'tbf', rate: 8000, burst: 16_384, limit: 32_768 },
        { kind: 'qdisc', ns, link: 'p1', hook: 'ingress', type: 'redirect', to: 'p2' },
      ],
    },
    {
      name: 'delay, jitter and loss',
      needs: 'CONFIG_NET_SCH_NETEM (module sch_netem)',
      without: 'no instance can have a delay, jitter or loss',
      rows: [{ kind: 'qdisc', ns, link: 'p0', hook: 'root', type: 'netem', delay: 1, jitter: 0, loss: 0, limit: 1 }],
    },
  ];
}

/** Tries the features one after the other, in a namespace made for it; what one makes the next may use. */
async function kernelFeatures(kernel: Kernel): Promise<Check[]> {
  const ns = `vpcctl-doctor-${process.pid}`;
  const checks: Check[] = [];
  const made = await kernel.prepareDirectory();
  try {
    for (const { name, rows, needs, without } of features(ns)) {
      const failure = await kernel.apply(rows.map((row): Change => ({ op: 'create', row })));
      if (failure === undefined) checks.push({ name, status: 'ok', detail: 'works' });
      else {
        const { errno, extack } = failure.error.facts;
        const words = [errno, extack].filter((word) => word !== undefined).join(', ');
        checks.push(
          without === undefined
            ? { name, status: 'missing', detail: words, hint: `needs ${needs}` }
            : warning(name, `${without}: ${words}`, { hint: `needs ${needs}` }),
        );
        if (rows.some(({ kind }) => kind === 'netns')) break;
      }
    }
  } finally {
    await kernel.apply([{ op: 'delete', row: { kind: 'netns', ns } }], { tolerant: true });
    if (made) await kernel.releaseDirectory();
  }
  return checks;
}
