/** The kernel of this machine. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { VpcctlError } from '../errors.js';
import { ANY_CIDR6 } from '../net/cidr.js';
import { decodeAddrs, dumpAddrs } from '../netlink/addr.js';
import { Batch } from '../netlink/batch.js';
import { decodeFlows, deleteFlow, dumpFlows } from '../netlink/conntrack.js';
import { decodeLinks, dumpLinks } from '../netlink/link.js';
import { decodeNeighs, dumpNeighs } from '../netlink/neigh.js';
import { decodeArp, dumpArp } from '../netlink/neightbl.js';
import {
  decodeFilters,
  decodeQdiscs,
  dumpFilters,
  dumpQdiscs,
  type FilterInfo,
  type QdiscInfo,
} from '../netlink/qdisc.js';
import { decodeRoutes, dumpRoutes } from '../netlink/route.js';
import { decodeRules, dumpRules } from '../netlink/rule.js';
import { decodeRuleset } from '../nft/decode.js';
import { encodeParts, isNftRow, type NftParts } from '../nft/encode.js';
import { type Change, isBirth } from '../objects/change.js';
import { BURST_UNIT, type KernelObject, NETNS_DIR, ROUTE_PROTOCOL } from '../objects/kernel-object.js';
import type {
  ApplyOptions,
  Flow,
  HeldNamespace,
  HostView,
  Kernel,
  KernelWatch,
  Lingering,
  ObserveOptions,
  OnChange,
  StageFailure,
  Stock,
} from './kernel.js';
import { cutLinks, release, verify } from './lingering.js';
import { type Machine, RealMachine } from './machine.js';
import { LANES, type Lane, loadNative, type Native, type NativeOp, type NativeResult } from './native.js';
import { type Nft, type NftTransport, nftErrno, nftOf, preloadNft } from './nft.js';
import { type NamespaceDump, observedRows, SYSCTL_KEYS } from './observe.js';
import { compile, netnsPath, type Outcome, type Program } from './program.js';
import { Spares } from './spares.js';
import { NamespaceWatch } from './watch.js';
import { readWorkloads, unreadable } from './workload.js';

/** Documents at once, where each is a process: more gain nothing. */
const NFT_AT_ONCE = 4;

/** What lists everything of a namespace. */
const LIST = JSON.stringify({ nftables: [{ list: { ruleset: null } }] });

/** The changes of a stage, ready to be sent. */
interface Encoded {
  readonly making: Program;
  readonly unmaking: Program;
  readonly firewalls: readonly Firewall[];
}

/** The firewall's changes in one namespace: one transaction. */
interface Firewall {
  readonly ns: string;
  readonly changes: readonly Change[];
  /** Or why they cannot be one. */
  readonly document: NftParts | VpcctlError;
}

interface Refused {
  readonly error: VpcctlError;
  /** It may be in force all the same. */
  readonly unknown: boolean;
}

/** What a namespace has of queues, and of filters where packets come in. */
interface Queues {
  readonly qdiscs: readonly QdiscInfo[];
  readonly filters: ReadonlyMap<number, readonly FilterInfo[]>;
}

const NO_QUEUES: Queues = { qdiscs: [], filters: new Map() };

/** What is not made for a stage, because it is there. */
interface Readied {
  readonly encoded: Encoded;
  /** Spares by the namespaces that they become. */
  readonly spares: ReadonlyMap<string, number>;
}

export class RealKernel implements Kernel {
  readonly machine: Machine;
  readonly #native: Native;
  readonly #transport: NftTransport;
  readonly #foreseen = new WeakMap<readonly Change[], Encoded>();
  readonly #spares: Spares;
  #nft: Nft | undefined;
  #bootId: string | undefined;

  /**
   * `transport`: how documents get to nftables; where the choice cannot be had, the first document is refused. `root`: where the host's /etc, /run and
   * /usr are looked for.
   */
  constructor(transport: NftTransport = 'auto', root?: string, native = loadNative(), nft?: Nft) {
    this.machine = new RealMachine(root);
    this.#native = native;
    this.#transport = transport;
    this.#nft = nft;
    this.#spares = new Spares(native);
  }

  rehearsal(): Kernel {
    return new Rehearsal(this.#native, this.nft);
  }

  /** Chosen when first needed: a machine without nft can still be looked at. */
  get nft(): Nft {
    this.#nft ??= nftOf(this.#native, this.#transport);
    return this.#nft;
  }

  async keepReady({ namespaces, firewalls }: Stock): Promise<void> {
    const wanted = new Map([['', namespaces]]);
    // A process for each would take longer than it saves.
    if (this.nft.transport === 'library') {
      for (const { rows, count } of firewalls) {
        const { structure } = encodeParts(rows.map((row) => ({ op: 'create', row })));
        wanted.set(documentOf(structure), count);
      }
    }
    await this.#spares.keep(new Map([...wanted].filter(([, count]) => count > 0)));
  }

  async apply(changes: readonly Change[], options: ApplyOptions = {}): Promise<StageFailure | undefined> {
    const { tolerant = false, onLingering } = options;
    return this.#spares.beside(async () => {
      const { error, applied, lingering } = together(await this.#carryOut(changes, tolerant));
      if (lingering.length > 0) {
        await cutLinks(this.#native, lingering);
        if (onLingering === undefined) await release(this.#native, lingering);
        else onLingering(lingering);
      }
      return error === undefined ? undefined : { error, applied };
    });
  }

  async verify(lingering: readonly Lingering[]): Promise<HeldNamespace[]> {
    return verify(this.#native, lingering);
  }

  async #carryOut(changes: readonly Change[], tolerant: boolean): Promise<Outcome[]> {
    // What is kept open for nftables would keep namespaces alive.
    const dying = changes.flatMap(({ op, row }) => (op === 'delete' && row.kind === 'netns' ? [row.ns] : []));
    if (dying.length > 0) await this.nft.release(dying);
    const [first, second] = birthsOf(changes);
    // Where a namespace may be there already, a spare with a firewall would not be what it is told it is.
    const readied =
      tolerant || !this.#spares.any || first.length + second.length === 0 ? undefined : this.#ready(changes);
    const born = compile(first, readied?.spares);
    if (readied !== undefined && second.length === 0) {
      // Hardly anything is left of births: not worth a way to the thread and back.
      const { encoded } = readied;
      return allDone([this.#applyNetlink(encoded, false, born), this.#applyFirewall(encoded.firewalls, false)]);
    }
    const births = [
      this.#run([born], tolerant, tolerant),
      this.#run([compile(second, readied?.spares)], tolerant, tolerant, LANES.firewall),
    ] as const;
    let encoded: Encoded;
    try {
      encoded = readied?.encoded ?? this.#foreseen.get(changes) ?? encode(changes);
    } catch (error) {
      await allDone(births);
      throw error;
    }
    const [, withFirewall] = births;
    // The firewall names links that need not be there: it is made on a thread of its own, beside them. Nothing is done to a namespace that was there
    // before: it is somebody else's.
    const firewall = withFirewall.then((done) =>
      done.error !== undefined && !tolerant ? NOTHING : this.#applyFirewall(encoded.firewalls, tolerant),
    );
    const links = allDone(births).then(async (done) => {
      const sum = together(done);
      return sum.error !== undefined && !tolerant ? sum : together([sum, await this.#applyNetlink(encoded, tolerant)]);
    });
    return allDone([links, firewall]);
  }

  /** Spares for the namespaces that are made, as far as there are any; of a firewall that is in force in one, only the elements are left to do. */
  #ready(changes: readonly Change[]): Readied {
    const { firewalls, ...netlink } = encode(changes);
    const walls = new Map(firewalls.map((firewall) => [firewall.ns, firewall]));
    const spares = new Map<string, number>();
    for (const { row } of changes.filter(isBirth)) {
      const wall = walls.get(row.ns);
      const parts = wall === undefined || wall.document instanceof VpcctlError ? undefined : wall.document;
      const walled = parts === undefined ? undefined : this.#spares.take(documentOf(parts.structure));
      if (wall !== undefined && parts !== undefined && walled !== undefined) {
        walls.set(row.ns, { ...wall, document: { structure: [], elements: parts.elements } });
      }
      const spare = walled ?? this.#spares.take('');
      if (spare !== undefined) spares.set(row.ns, spare);
    }
    return { encoded: { ...netlink, firewalls: [...walls.values()] }, spares };
  }

  /**
   * What makes first, stopping at the first refusal, so that nothing is done to a thing of somebody else's that has our name. Then what unmakes: a
   * deletion of what is gone already is no failure, and must not stop the ops behind it.
   */
  async #applyNetlink({ making, unmaking }: Encoded, tolerant: boolean, ...births: Program[]): Promise<Outcome> {
    const made = await this.#run([...births, making], tolerant, tolerant);
    if (made.error !== undefined && !tolerant) return made;
    return together([made, await this.#run([unmaking], tolerant, true, LANES.teardown)]);
  }

  /** Encodes while the threads work on the stage before. */
  foresee(changes: readonly Change[]): void {
    this.#foreseen.set(changes, encode(changes));
  }

  /** One after the other, without a way back here in between. */
  async #run(
    programs: readonly Program[],
    tolerant: boolean,
    keepGoing: boolean,
    lane: Lane = LANES.links,
  ): Promise<Outcome> {
    const ops = programs.flatMap((program) => program.ops());
    if (ops.length === 0) return NOTHING;
    const results = [...(await this.#native.run(ops, keepGoing, lane))];
    return together(
      programs.map((program) =>
        program.outcome(results.splice(0, program.ops().length), tolerant, (errno) => this.#native.errnoName(errno)),
      ),
    );
  }

  async #applyFirewall(firewalls: readonly Firewall[], tolerant: boolean): Promise<Outcome> {
    const applied: Change[] = [];
    let error: VpcctlError | undefined;
    await inParallel(firewalls, async (firewall) => {
      if (error !== undefined && !tolerant) return;
      const refused = await this.#transact(firewall);
      // Undoing what was not done, after all, is no harm.
      if (refused === undefined || refused.unknown) applied.push(...firewall.changes);
      if (refused === undefined) return;
      if (!(tolerant && isMoot(refused))) error ??= refused.error;
      else error ??= await this.#oneByOne(firewall);
    });
    return { applied, lingering: [], ...(error === undefined ? {} : { error }) };
  }

  /**
   * What of a refused transaction still can be: it was undone before, or never done, and then nothing can; but something of it may have been
   * there or gone without us. Elements each by itself; what is made and unmade with its table goes with that.
   */
  async #oneByOne({ ns, changes }: Firewall): Promise<VpcctlError | undefined> {
    const tables = changes.filter(({ row }) => row.kind === 'nft-table');
    const whole = new Set(tables.map(({ row }) => 'family' in row && row.family));
    const elements = changes.filter(({ row }) => row.kind === 'nft-element' && !whole.has(row.family));
    if (changes.length === 1 || (ns !== '' && !existsSync(netnsPath(ns)))) return undefined;
    let error: VpcctlError | undefined;
    for (const change of [...tables, ...elements]) {
      const refused = await this.#transact(firewallOf(ns, [change]));
      if (refused !== undefined && !isMoot(refused)) error ??= refused.error;
    }
    return error;
  }

  async #transact({ ns, document }: Firewall): Promise<Refused | undefined> {
    if (document instanceof VpcctlError) return { error: document, unknown: false };
    const { structure, elements } = document;
    if (structure.length + elements.length === 0) return undefined;
    let refusal: string | undefined;
    let unknown: boolean;
    try {
      ({ refusal, unknown = false } = await this.nft.run(ns, documentOf([...structure, ...elements])));
    } catch (error) {
      // No nft, no launcher, no room for its input: it did not start, and nothing happened.
      if (error instanceof VpcctlError) return { error, unknown: false };
      throw error;
    }
    if (refusal === undefined) return undefined;
    const errno = nftErrno(refusal);
    const where = ns === '' ? 'the host' : ns;
    const error = new VpcctlError(
      errno === 'EPERM' ? 'ENVIRONMENT' : 'KERNEL',
      `nft refused the firewall of ${where}`,
      {
        object: `firewall of ${where}`,
        netns: ns,
        extack: refusal,
        ...(errno === undefined ? {} : { errno }),
        hint:
          errno === 'EPERM'
            ? 'run as root, or in a user namespace of your own (unshare -rnm)'
            : 'see `vpcctl doctor` for what is missing, `vpcctl drift` for what somebody changed',
      },
    );
    return { error, unknown };
  }

  async observe(
    namespaces: readonly string[],
    { unfiltered = [], dual = new Set(), onUnreadable = raise }: ObserveOptions = {},
  ): Promise<KernelObject[]> {
    const present = await this.pinned(namespaces);
    const there = namespaces.filter((ns) => ns === '' || present.includes(ns));
    const theirs = new Set(unfiltered);
    const own = await this.#readAll(there.filter((ns) => !theirs.has(ns)));
    const workloads = await readWorkloads(
      this.#native,
      there.filter((ns) => theirs.has(ns)),
      dual,
    );
    const read = workloads.flatMap((one) => {
      if (!('error' in one)) return [one];
      onUnreadable(one.ns, one.error);
      return [];
    });
    return observedRows([...own, ...read]);
  }

  async #readAll(namespaces: readonly string[]): Promise<NamespaceDump[]> {
    const dumps = [dumpLinks(), dumpAddrs(), dumpRoutes(), dumpRules(), dumpNeighs(), dumpArp()];
    const ops = namespaces.flatMap((ns) => dumps.map((data): NativeOp => ({ op: 'dump', netns: netnsPath(ns), data })));
    const results = (await this.#native.run(ops, true)).values();
    const firewalls = await inParallel(namespaces, (ns) => this.#ruleset(ns));
    const sysctls = await this.#sysctls(namespaces);
    const queues = await this.#queues(namespaces);
    return namespaces.map((ns, index): NamespaceDump => {
      const [links, addrs, routes, rules, neighs, arp] = dumps.map(() => {
        const result = results.next().value;
        if (result?.data !== undefined && result.errno === 0) return result.data;
        throw unreadable(this.#native, ns, result?.errno);
      }) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array, Uint8Array];
      return {
        ns,
        links: decodeLinks(links),
        addrs: decodeAddrs(addrs),
        routes: decodeRoutes(routes),
        rules: decodeRules(rules),
        neighs: decodeNeighs(neighs),
        arp: decodeArp(arp),
        firewall: firewalls[index] ?? [],
        sysctls: sysctls[index] ?? new Map(),
        ...(queues[index] ?? NO_QUEUES),
      };
    });
  }

  /** Filters are told of a link at a time: only of those that have any. A kernel without queues (CONFIG_NET_SCHED) has none to tell of. */
  async #queues(namespaces: readonly string[]): Promise<Queues[]> {
    const dump = (ns: string, data: Uint8Array): NativeOp => ({ op: 'dump', netns: netnsPath(ns), data });
    const read = async (
      asked: readonly { readonly ns: string; readonly data: Uint8Array }[],
    ): Promise<Uint8Array[]> => {
      const results = await this.#native.run(
        asked.map(({ ns, data }) => dump(ns, data)),
        true,
      );
      return asked.map(({ ns }, at) => {
        const { data, errno = 0 }: Partial<NativeResult> = results[at] ?? {};
        if (data !== undefined && errno === 0) return data;
        // The link may be gone meanwhile.
        if (['EOPNOTSUPP', 'ENODEV', 'EINVAL'].includes(this.#native.errnoName(errno))) return new Uint8Array();
        throw unreadable(this.#native, ns, errno);
      });
    };
    const dumps = await read(namespaces.map((ns) => ({ ns, data: dumpQdiscs() })));
    const qdiscs = dumps.map((data) => decodeQdiscs(data, BURST_UNIT));
    const filtered = qdiscs.flatMap((found, at) =>
      found.filter(({ hook }) => hook === 'ingress').map(({ index }) => ({ at, index, ns: namespaces[at] ?? '' })),
    );
    const answers = await read(filtered.map(({ ns, index }) => ({ ns, data: dumpFilters(index) })));
    const filters = namespaces.map(() => new Map<number, readonly FilterInfo[]>());
    for (const [nth, { at, index }] of filtered.entries()) {
      filters[at]?.set(index, decodeFilters(answers[nth] ?? new Uint8Array()));
    }
    return qdiscs.map((found, at) => ({ qdiscs: found, filters: filters[at] ?? new Map() }));
  }

  /** Of namespaces of ours. */
  async #sysctls(namespaces: readonly string[]): Promise<Map<string, string>[]> {
    const keys = namespaces.map((ns) => (ns === '' ? [] : SYSCTL_KEYS));
    const ops = namespaces.flatMap((ns, index) =>
      (keys[index] ?? []).map((key): NativeOp => ({ op: 'sysctl-read', netns: netnsPath(ns), key })),
    );
    const results = (await this.#native.run(ops, true)).values();
    return keys.map((own) => {
      const found = new Map<string, string>();
      for (const key of own) {
        const result = results.next().value;
        if (result?.errno === 0 && result.value !== undefined) found.set(key, result.value);
      }
      return found;
    });
  }

  async #ruleset(ns: string): Promise<KernelObject[]> {
    const { stdout, refusal } = await this.nft.run(ns, LIST);
    if (refusal === undefined) return decodeRuleset(stdout, ns);
    throw new VpcctlError('KERNEL', `nft did not list the firewall of ${ns || 'the host'}`, {
      netns: ns,
      extack: refusal,
    });
  }

  watch(onChange: OnChange): KernelWatch {
    return new NamespaceWatch(this.#native, onChange);
  }

  bootId(): string {
    this.#bootId ??= readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
    return this.#bootId;
  }

  async flows(ns: string): Promise<Flow[]> {
    const netns = netnsPath(ns);
    // A dump walks the table of all namespaces, 9 ms where it is large; most routers track nothing when they are asked.
    const [counted] = await this.#native.run([{ op: 'sysctl-read', netns, key: 'net/netfilter/nf_conntrack_count' }]);
    if (counted?.value === '0') return [];
    const [result] = await this.#native.run([{ op: 'dump', conntrack: true, netns, data: dumpFlows() }]);
    if (result?.data !== undefined && result.errno === 0) return decodeFlows(result.data);
    const errno = this.#native.errnoName(result?.errno ?? 0);
    if (errno === 'ENOENT') return [];
    throw new VpcctlError('KERNEL', `could not read the tracked connections of ${ns}`, { netns: ns, errno });
  }

  async cut(ns: string, flows: readonly Flow[]): Promise<void> {
    const batch = new Batch();
    for (const flow of flows) deleteFlow(batch, flow);
    const op = { op: 'netlink', conntrack: true, netns: netnsPath(ns), ...batch.finish() } as const;
    const [result] = await this.#native.run([op], true);
    const errnos = [result?.errno ?? 0, ...(result?.acks ?? []).map(({ errno }) => errno)].map((errno) =>
      errno === 0 ? 'ENOENT' : this.#native.errnoName(errno),
    );
    const refused = errnos.find((errno) => errno !== 'ENOENT');
    if (refused === undefined) return;
    throw new VpcctlError('KERNEL', `could not end connections in ${ns}`, { netns: ns, errno: refused });
  }

  async host(): Promise<HostView> {
    const view = await this.#look();
    // A dump may pass over a route when others are deleted meanwhile: an absence is looked at twice.
    return view.routes.some(({ dst }) => dst === 'default') ? view : this.#look();
  }

  async #look(): Promise<HostView> {
    const [linkDump, routeDump, ...settings] = await this.#native.run(
      [
        { op: 'dump', netns: '', data: dumpLinks() },
        { op: 'dump', netns: '', data: dumpRoutes() },
        ...FORWARDING6.map((key): NativeOp => ({ op: 'sysctl-read', netns: '', key })),
      ],
      true,
    );
    if (linkDump?.data === undefined || routeDump?.data === undefined) {
      throw new VpcctlError('KERNEL', "could not read the host's links and routes", {
        errno: this.#native.errnoName(linkDump?.errno || routeDump?.errno || 0),
      });
    }
    const links = decodeLinks(linkDump.data);
    const names = new Map(links.map((link) => [link.index, link.name]));
    return {
      links: links.map(({ name, mtu, up }) => ({ name, mtu, up })),
      routes: decodeRoutes(routeDump.data)
        .filter((route) => route.type === 'unicast' && route.protocol !== ROUTE_PROTOCOL)
        .map((route) => {
          const link = route.index === undefined ? undefined : names.get(route.index);
          return {
            dst: route.family === 6 && route.dst === 'default' ? ANY_CIDR6 : route.dst,
            metric: route.metric,
            kernel: route.protocol === 2,
            ...(link === undefined ? {} : { link }),
          };
        }),
      forwarding6: forwarding6(settings.map((result) => (result?.errno === 0 ? result.value : undefined))),
    };
  }

  async namespaces(): Promise<string[]> {
    return existsSync(NETNS_DIR) ? readdirSync(NETNS_DIR) : [];
  }

  async pinned(namespaces: readonly string[]): Promise<string[]> {
    return namespaces.filter((ns) => ns !== '' && existsSync(netnsPath(ns)));
  }

  async readSysctl(key: string): Promise<string | undefined> {
    const [result] = await this.#native.run([{ op: 'sysctl-read', netns: '', key }]);
    return result?.errno === 0 ? result.value : undefined;
  }

  async prepareDirectory(): Promise<boolean> {
    // Not waited for: a failure to load is the first document's to report.
    if (this.nft.transport === 'process') preloadNft().catch(() => {});
    try {
      return this.#native.netnsDirPrepare(NETNS_DIR);
    } catch (cause) {
      throw new VpcctlError('ENVIRONMENT', `could not prepare ${NETNS_DIR}`, {
        extack: cause instanceof Error ? cause.message : String(cause),
        hint: 'run as root, or in a user namespace of your own with a writable /run (see the README)',
        cause,
      });
    }
  }

  async releaseDirectory(): Promise<void> {
    this.#native.netnsDirRelease(NETNS_DIR);
  }

  async rest(): Promise<void> {
    await this.#nft?.rest();
  }
}

const NOTHING: Outcome = { applied: [], lingering: [] };

/** One outcome of several; the first error. */
function together(outcomes: readonly Outcome[]): Outcome {
  const error = outcomes.find((outcome) => outcome.error !== undefined)?.error;
  return {
    applied: outcomes.flatMap(({ applied }) => applied),
    lingering: outcomes.flatMap(({ lingering }) => lingering),
    ...(error === undefined ? {} : { error }),
  };
}

/** What makes namespaces, for two threads, which are half as fast again as one; those with a firewall for the second, which makes it. */
function birthsOf(changes: readonly Change[]): [Change[], Change[]] {
  const walled = new Set(changes.flatMap(({ row }) => (isNftRow(row) ? [row.ns] : [])));
  const births: [Change[], Change[]] = [[], []];
  const others: Change[] = [];
  for (const change of changes) {
    if (isBirth(change)) (walled.has(change.row.ns) ? births[1] : others).push(change);
  }
  for (const change of others) (births[0].length <= births[1].length ? births[0] : births[1]).push(change);
  return births;
}

/** As Promise.all, but when one fails the others have ended too: whoever undoes must be alone. */
async function allDone<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(promises);
  return Promise.all(promises);
}

function raise(_ns: string, error: VpcctlError): never {
  throw error;
}

/** All but the births. */
function encode(changes: readonly Change[]): Encoded {
  const byNs = new Map<string, Change[]>();
  const making: Change[] = [];
  const unmaking: Change[] = [];
  for (const change of changes) {
    const { op, row } = change;
    if (isBirth(change)) continue;
    if (!isNftRow(row)) (op === 'delete' ? unmaking : making).push(change);
    else {
      const known = byNs.get(row.ns);
      if (known === undefined) byNs.set(row.ns, [change]);
      else known.push(change);
    }
  }
  return {
    making: compile(making),
    unmaking: compile(unmaking),
    firewalls: [...byNs].map(([ns, own]) => firewallOf(ns, own)),
  };
}

function documentOf(nftables: NftParts['structure']): string {
  return JSON.stringify({ nftables });
}

function firewallOf(ns: string, changes: readonly Change[]): Firewall {
  try {
    return { ns, changes, document: encodeParts(changes) };
  } catch (error) {
    if (error instanceof VpcctlError) return { ns, changes, document: error };
    throw error;
  }
}

/** Encodes and decodes as the real one. The first document is sent, for nftables to check only. */
class Rehearsal extends RealKernel {
  constructor(native: Native, nft: Nft) {
    super(nft.transport, undefined, silent(native), quiet(nft));
  }

  override async pinned(): Promise<string[]> {
    return [];
  }
}

/** Takes everything, and answers as the kernel does when all goes well. Only dumps are sent, and settings that are read with them: those are the host's. */
function silent(native: Native): Native {
  const answer = (op: NativeOp): NativeResult =>
    op.op === 'netlink'
      ? { errno: 0, acks: Array.from({ length: op.count }, () => ({ errno: 0 })) }
      : op.op === 'sysctl-read'
        ? { errno: 0, value: '0' }
        : { errno: 0 };
  return {
    ...native,
    run: async (ops, keepGoing, lane) =>
      ops[0]?.op === 'dump' && ops.every(({ op }) => op === 'dump' || op === 'sysctl-read')
        ? native.run(ops, keepGoing, lane)
        : ops.map(answer),
    netnsDirPrepare: () => false,
    netnsDirRelease: () => false,
  };
}

function quiet(nft: Nft): Nft {
  let warm = false;
  return {
    ...nft,
    async run(_ns, document) {
      if (!warm) await nft.warm(document);
      warm = true;
      return { stdout: '' };
    },
    release: async () => {},
  };
}

/** Runs `work` on every item, a few at a time. Results in the order of the items. */
async function inParallel<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = [...items.entries()];
  const worker = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) results[next[0]] = await work(next[1]);
  };
  await Promise.all(Array.from({ length: Math.min(NFT_AT_ONCE, items.length) }, worker));
  return results;
}

/** A transaction is all or nothing: what it was to undo is not there, or was undone before. */
function isMoot({ error }: Refused): boolean {
  return error.facts.errno === 'ENOENT' || error.facts.errno === 'EEXIST';
}

/** What {@link forwarding6} is told by. */
const FORWARDING6 = [
  'net/ipv6/conf/default/disable_ipv6',
  'net/ipv6/conf/default/force_forwarding',
  'net/ipv6/conf/all/forwarding',
] as const;

function forwarding6([disabled, byLink, all]: readonly (string | undefined)[]): HostView['forwarding6'] {
  if (disabled !== '0') return 'off';
  if (byLink !== undefined) return 'by-link';
  return all === '1' ? 'all' : 'no';
}
