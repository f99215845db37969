/**
 * A kernel in memory, for tests without privilege: it keeps rows in place of links and namespaces, and refuses what the
 * real one refuses, with its errno and words (measured on 6.18). What goes by itself goes here too: the contents of a
 * namespace, what hangs on a link, the other end of a veth, the contents of a table.
 *
 * ```ts
 * const kernel = new MemoryKernel();
 * const vpcctl = await open({ state: directory, kernel });
 * await vpcctl.transaction((tx) => tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' }));
 * kernel.rows(); // what the machine would have
 * kernel.failAt(7); // the seventh change from now on is refused
 * ```
 */
import { VpcctlError } from '../errors.js';
import { type Cidr, contains, type Ipv4, parseCidr, parseIpOrCidr, rangeOf, toNumber } from '../net/cidr.js';
import { encodeParts, isNftRow } from '../nft/encode.js';
import { type Change, isBirth } from '../objects/change.js';
import {
  type KernelObject,
  type LinkRow,
  LOOPBACK,
  type NftElementRow,
  type NftRow,
  type NftValue,
  type RouteRow,
  rowKey,
  rowText,
  type SysctlRow,
} from '../objects/kernel-object.js';
import type {
  ApplyOptions,
  Flow,
  HeldNamespace,
  Holder,
  HostView,
  Kernel,
  KernelWatch,
  Lingering,
  ObserveOptions,
  OnChange,
  StageFailure,
} from './kernel.js';

export interface MemoryKernelOptions {
  /** The host's own links. Default: `lo` and `eth0`, up, MTU 1500 for the latter. */
  readonly links?: HostView['links'];
  /** As {@link HostView.forwarding6}. Default `by-link`. */
  readonly forwarding6?: HostView['forwarding6'];
  /** The host's own routes. Default: the default route and 192.0.2.0/24, both by `eth0`. */
  readonly routes?: HostView['routes'];
  /** The host's sysctls by path, besides those of each link that let it forward, which are 0. */
  readonly sysctls?: Readonly<Record<string, string>>;
  /** Namespaces that somebody else pinned. */
  readonly foreign?: readonly string[];
  /** Kinds of queues that it does not know. */
  readonly lacks?: readonly ('tbf' | 'netem' | 'redirect')[];
  /** As {@link MemoryKernel.failAt}. */
  readonly failAt?: number;
  /** As {@link Kernel.bootId}. */
  readonly bootId?: string;
  /**
   * Called before each change, with its number from 1. It may wait. What it throws, {@link MemoryKernel.apply} throws,
   * and the changes before stand; one that throws at every change from some number on is, to the engine, a process that
   * died there.
   */
  readonly onChange?: (change: Change, number: number) => void | Promise<void>;
}

const DEFAULT_LINKS: HostView['links'] = [
  { name: 'lo', mtu: 65536, up: true },
  { name: 'eth0', mtu: 1500, up: true },
];
const DEFAULT_ROUTES: HostView['routes'] = [
  { dst: 'default', link: 'eth0', metric: 100, kernel: false },
  { dst: '192.0.2.0/24', link: 'eth0', metric: 100, kernel: true },
];

const WORDS = {
  EEXIST: 'File exists',
  ENOENT: 'No such file or directory',
  ESRCH: 'No such process',
  ENODEV: 'No such device',
  EADDRNOTAVAIL: 'Cannot assign requested address',
  ENETDOWN: 'Nexthop device is not up',
  ENETUNREACH: 'Nexthop has invalid gateway',
  EINVAL: 'Invalid prefsrc address',
  EIO: 'refused on demand',
} as const;

type Errno = keyof typeof WORDS;

const VERBS = { create: 'create', update: 'change', delete: 'delete', raise: 'bring up', replace: 'replace' } as const;

function refusal(change: Change, errno: Errno): VpcctlError {
  const object = rowKey(change.row).replaceAll('|', ' ');
  const { ns } = change.row;
  return new VpcctlError('KERNEL', `could not ${VERBS[change.op]} ${object}`, {
    object,
    errno,
    netns: ns,
    extack: WORDS[errno],
  });
}

/** What is to be deleted is gone already; or, where that is tolerated, what is to be created is there. */
function isMoot(change: Change, errno: Errno, tolerant: boolean): boolean {
  if (change.op === 'delete') return errno !== 'EEXIST' && errno !== 'EIO';
  return tolerant && change.op === 'create' && errno === 'EEXIST';
}

/** A transaction that was undone before, or never done. */
function isMootFirewall({ facts: { errno } }: VpcctlError): boolean {
  return errno === 'ENOENT' || errno === 'EEXIST';
}

type RestRow = Exclude<KernelObject, NftRow>;

/** What is in one namespace, by key. */
interface Namespace {
  readonly rows: Map<string, RestRow>;
  readonly up: Set<string>;
  readonly firewall: Map<string, NftRow>;
  /** Elements of each set, by the set's key. */
  readonly elements: Map<string, Map<string, NftElementRow>>;
}

const emptyNamespace = (): Namespace => ({ rows: new Map(), up: new Set(), firewall: new Map(), elements: new Map() });

const linkKey = (ns: string, name: string): string => `link|${ns}|${name}`;

type InTable = Pick<NftRow, 'ns' | 'family' | 'table'>;
const tableKey = ({ ns, family, table }: InTable): string => rowKey({ kind: 'nft-table', ns, family, table });
const chainKey = (at: InTable, chain: string): string => `nft-chain|${at.ns}|${at.family}|${at.table}|${chain}`;
const setKey = (at: InTable, set: string): string => `nft-set|${at.ns}|${at.family}|${at.table}|${set}`;

/** The link that a setting below conf/<link> or neigh/<link> is of. */
function settingLink({ key }: SysctlRow): string | undefined {
  const link = /^net\/ipv[46]\/(?:conf|neigh)\/([^/]+)\//.exec(key)?.[1];
  return link === 'all' || link === 'default' ? undefined : link;
}

/** One component of an element as an inclusive range of numbers; a name as itself, and so what is of IPv6. */
function bounds(value: NftValue): { from: number; to: number } | string {
  if (typeof value === 'number') return { from: value, to: value };
  const range = /^([0-9.]+)-([0-9.]+)$/.exec(value);
  const number = (text: string): number => (text.includes('.') ? toNumber(text as Ipv4) : Number(text));
  if (range !== null) return { from: number(range[1] as string), to: number(range[2] as string) };
  if (!/^[0-9]+\.[0-9.]+(?:\/[0-9]+)?$/.test(value)) return value;
  const { first, last } = rangeOf(parseIpOrCidr(value));
  return { from: first, to: last };
}

/** A block of two addresses or one has none. */
function isBroadcast(block: Cidr, ip: Ipv4): boolean {
  const { first, last } = rangeOf(block);
  return last - first > 1 && toNumber(ip) === last;
}

/**
 * Whether the kernel refuses an element beside another. Of concatenated intervals it looks up only the lowest and the highest corner of the new
 * one, so that one which surrounds another is let in.
 */
function clash(there: readonly NftValue[], added: readonly NftValue[]): boolean {
  if (added.length === 1) return meet(there, added);
  return (['from', 'to'] as const).some((corner) => {
    const point = added.map((value) => {
      const range = bounds(value);
      return typeof range === 'string' ? range : range[corner];
    });
    return meet(there, point);
  });
}

/** Whether two elements of one set of intervals have a packet in common. */
function meet(a: readonly NftValue[], b: readonly NftValue[]): boolean {
  return a.every((value, index) => {
    const one = bounds(value);
    const other = bounds(b[index] as NftValue);
    if (typeof one === 'string' || typeof other === 'string') return one === other;
    return one.from <= other.to && other.from <= one.to;
  });
}

/** A kernel that is maps of rows. See the head of this file. */
export class MemoryKernel implements Kernel {
  readonly #namespaces = new Map<string, Namespace>([['', emptyNamespace()]]);
  readonly #links: HostView['links'];
  readonly #routes: HostView['routes'];
  readonly #forwarding6: HostView['forwarding6'];
  readonly #flows = new Map<string, Flow[]>();
  readonly #hostSettings: Map<string, string>;
  readonly #foreign: ReadonlySet<string>;
  readonly #lacks: ReadonlySet<string>;
  readonly #onChange: MemoryKernelOptions['onChange'];
  readonly #watches = new Set<MemoryWatch>();
  readonly #held = new Map<string, Holder>();
  #failAt: number | undefined;
  #bootId: string;
  #changes = 0;
  #prepared = false;

  constructor(options: MemoryKernelOptions = {}) {
    this.#links = options.links ?? DEFAULT_LINKS;
    this.#routes = options.routes ?? DEFAULT_ROUTES;
    this.#forwarding6 = options.forwarding6 ?? 'by-link';
    this.#hostSettings = new Map([
      ...this.#links.flatMap(({ name }) => forwarding(name).map((key) => [key, '0'] as const)),
      ...Object.entries(options.sysctls ?? {}),
    ]);
    this.#foreign = new Set(options.foreign);
    this.#lacks = new Set(options.lacks);
    this.#onChange = options.onChange;
    this.#failAt = options.failAt;
    this.#bootId = options.bootId ?? 'boot 1';
  }

  /** Refuses one change, the `number`-th from now (1 is the next), with EIO; undefined: none. */
  failAt(number: number | undefined): void {
    this.#failAt = number === undefined ? undefined : this.#changes + number;
  }

  /** How many changes were asked for since the beginning. */
  get changes(): number {
    return this.#changes;
  }

  /** Whether the directory of namespaces was made ready and not released since. */
  get prepared(): boolean {
    return this.#prepared;
  }

  /** Everything that was made and is there, in the order of keys; whether a link is up, {@link raised} tells. */
  rows(): KernelObject[] {
    return [...this.#namespaces.values()]
      .flatMap(({ rows, firewall }): (readonly [string, KernelObject])[] => [...rows, ...firewall])
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, row]) => row);
  }

  /** The links that are up, as `namespace/link`; the host's own begin with the slash. */
  raised(): string[] {
    return [...this.#namespaces].flatMap(([ns, { up }]) => [...up].map((name) => `${ns}/${name}`)).sort();
  }

  /** The host's sysctls by path. */
  hostSettings(): ReadonlyMap<string, string> {
    return this.#hostSettings;
  }

  /** Somebody else's doing: removes a row and what goes with it. False when it was not there. */
  tamper(row: KernelObject): boolean {
    const space = this.#namespaces.get(row.ns);
    const found = space?.rows.get(rowKey(row)) ?? space?.firewall.get(rowKey(row));
    if (space === undefined || found === undefined) return false;
    if (isNftRow(found)) {
      if (found.kind === 'nft-table') removeTable(space, found, () => {});
      else removeNft(space, found, () => {});
    } else this.#remove(space, found);
    this.#tell([row]);
    return true;
  }

  /** Somebody else's doing: a row of theirs, or one of ours made another. A link with `down` loses what the kernel takes from it. */
  alter(row: KernelObject): void {
    const space = this.#namespaces.get(row.ns);
    if (space === undefined) throw new Error(`no namespace ${row.ns}`);
    if (isNftRow(row)) {
      const there = space.firewall.get(rowKey(row));
      if (there !== undefined) removeNft(space, there, () => {});
      addNft(space, row);
    } else {
      if (row.kind === 'sysctl' && row.ns === '') this.#hostSettings.set(row.key, row.value);
      this.#put(space, row);
    }
    this.#tell([row]);
  }

  /** Somebody sits in a namespace, or is to: deleted, it lives on until {@link letGo}. */
  hold(ns: string, holder: Holder = { pid: 1, command: 'init', by: 'process' }): void {
    this.#held.set(ns, holder);
  }

  letGo(ns: string): void {
    this.#held.delete(ns);
  }

  async verify(lingering: readonly Lingering[]): Promise<HeldNamespace[]> {
    return lingering.flatMap(({ ns }) => {
      const holder = this.#held.get(ns);
      return holder === undefined ? [] : [{ ns, holders: [holder] }];
    });
  }

  watch(onChange: OnChange): KernelWatch {
    const end = (): boolean => this.#watches.delete(watch);
    const watch = new MemoryWatch((ns) => this.#namespaces.get(ns), onChange, end);
    this.#watches.add(watch);
    return watch;
  }

  /** As the real one: the other end of a pair is told of too. */
  #tell(rows: readonly KernelObject[]): void {
    const changed = rows.flatMap((row) =>
      row.kind === 'link' && row.type === 'veth' ? [row.ns, row.peer.ns] : [row.ns],
    );
    for (const watch of this.#watches) watch.tell(changed);
  }

  /** The machine is started anew: what was made is gone, the host's sysctls are as `sysctls` says. */
  restart(bootId: string, sysctls: Readonly<Record<string, string>> = {}): void {
    this.#bootId = bootId;
    this.#namespaces.clear();
    this.#namespaces.set('', emptyNamespace());
    this.#prepared = false;
    this.#hostSettings.clear();
    for (const key of this.#links.flatMap(({ name }) => forwarding(name))) this.#hostSettings.set(key, '0');
    for (const [key, value] of Object.entries(sysctls)) this.#hostSettings.set(key, value);
  }

  // --- what the engine calls -----------------------------------------------------------------------------------------

  bootId(): string {
    return this.#bootId;
  }

  /** Namespaces; then links and the rest, and beside them the firewall: a refusal of the one does not stop the other. */
  async apply(
    changes: readonly Change[],
    { tolerant = false, onLingering }: ApplyOptions = {},
  ): Promise<StageFailure | undefined> {
    const applied: Change[] = [];
    const doomed = changes.flatMap(({ op, row }) =>
      op === 'delete' && row.kind === 'netns' && this.#namespaces.has(row.ns) ? [row.ns] : [],
    );
    const births = changes.filter(isBirth);
    const rest = changes.filter((change) => !isNftRow(change.row) && !isBirth(change));
    const firewall = changes.filter(({ row }) => isNftRow(row));
    const unborn = await this.#applyNetlink(births, tolerant, applied);
    if (unborn !== undefined && !tolerant) return { error: unborn, applied };
    const refused = await this.#applyNetlink(rest, tolerant, applied);
    const alsoRefused = await this.#applyFirewall(firewall, tolerant, applied);
    const error = unborn ?? refused ?? alsoRefused;
    const lingering = doomed.filter((ns) => this.#held.has(ns) && !this.#namespaces.has(ns));
    if (lingering.length > 0) onLingering?.(lingering.map((ns) => ({ ns, token: '' })));
    this.#tell(changes.map(({ row }) => row));
    return error === undefined ? undefined : { error, applied };
  }

  async observe(namespaces: readonly string[], { unfiltered = [] }: ObserveOptions = {}): Promise<KernelObject[]> {
    const seen = new Set(namespaces);
    return namespaces.flatMap((ns) => {
      const space = this.#namespaces.get(ns);
      if (space === undefined) return [];
      const rows = [...space.rows.values()].flatMap((row): KernelObject[] => {
        if (row.kind === 'sysctl') return ns === '' ? [] : [{ kind: 'sysctl', ns, key: row.key, value: row.value }];
        if (row.kind !== 'link') return [row];
        const link = { ...row, ...(space.up.has(row.name) ? {} : { down: true }) };
        return link.type === 'veth' && !seen.has(link.peer.ns) ? [{ ...link, peer: { ns: '?', name: '?' } }] : [link];
      });
      return unfiltered.includes(ns) ? rows : [...rows, ...space.firewall.values()];
    });
  }

  /** Somebody's packets: a connection is tracked from now on. */
  track(ns: string, flow: Flow): void {
    this.#flows.set(ns, [...(this.#flows.get(ns) ?? []), flow]);
  }

  async flows(ns: string): Promise<Flow[]> {
    return this.#namespaces.has(ns) ? [...(this.#flows.get(ns) ?? [])] : [];
  }

  async cut(ns: string, flows: readonly Flow[]): Promise<void> {
    this.#flows.set(
      ns,
      (this.#flows.get(ns) ?? []).filter((flow) => !flows.includes(flow)),
    );
  }

  async host(): Promise<HostView> {
    const space = this.#space('') ?? emptyNamespace();
    const own = [...space.rows.values()].flatMap((row) =>
      row.kind === 'link' ? [{ name: row.name, mtu: row.mtu, up: space.up.has(row.name) }] : [],
    );
    return { links: [...this.#links, ...own], routes: this.#routes, forwarding6: this.#forwarding6 };
  }

  async namespaces(): Promise<string[]> {
    return [...this.#namespaces.keys(), ...this.#foreign].filter((ns) => ns !== '');
  }

  async pinned(namespaces: readonly string[]): Promise<string[]> {
    return namespaces.filter((ns) => ns !== '' && (this.#foreign.has(ns) || this.#namespaces.has(ns)));
  }

  async readSysctl(key: string): Promise<string | undefined> {
    return this.#hostSettings.get(key);
  }

  async prepareDirectory(): Promise<boolean> {
    const changed = !this.#prepared;
    this.#prepared = true;
    return changed;
  }

  async releaseDirectory(): Promise<void> {
    this.#prepared = false;
  }

  // --- links, addresses, routes --------------------------------------------------------------------------------------

  /** Counts a change and lets the caller have its say; EIO when this is the one to be refused. */
  async #counted(change: Change): Promise<Errno | undefined> {
    this.#changes += 1;
    const number = this.#changes;
    await this.#onChange?.(change, number);
    return number === this.#failAt ? 'EIO' : undefined;
  }

  /** Refused because its namespace is gone, and it with that. */
  #isNowhere({ row }: Change, errno: Errno): boolean {
    const ends = row.kind === 'link' && row.type === 'veth' ? [row.ns, row.peer.ns] : [row.ns];
    return errno === 'ENOENT' && ends.some((ns) => this.#space(ns) === undefined);
  }

  #space(ns: string): Namespace | undefined {
    return this.#namespaces.get(ns);
  }

  #link(ns: string, name: string): LinkRow | undefined {
    const row = this.#namespaces.get(ns)?.rows.get(linkKey(ns, name));
    return row?.kind === 'link' ? row : undefined;
  }

  async #applyNetlink(
    changes: readonly Change[],
    tolerant: boolean,
    applied: Change[],
  ): Promise<VpcctlError | undefined> {
    let error: VpcctlError | undefined;
    const note = (change: Change, errno: Errno | undefined, takesEffect: boolean): void => {
      if (errno === undefined) {
        if (takesEffect) applied.push(change);
      } else if (!isMoot(change, errno, tolerant) && !(tolerant && this.#isNowhere(change, errno)))
        error ??= refusal(change, errno);
    };
    const made = changes.filter(({ op }) => op !== 'delete');
    const creations = made.filter(isLinkCreation);
    const born = new Set<LinkRow>();
    // All links first, then what is set on them, in the order given; the first refusal ends it.
    for (const change of creations) {
      if (error !== undefined && !tolerant) return error;
      const first = !born.has(change.row);
      note(change, (await this.#counted(change)) ?? this.#createLink(change.row, creations, born), first);
    }
    for (const change of made) {
      if (error !== undefined && !tolerant) return error;
      if (isLinkCreation(change)) note(change, this.#configureLink(change.row), false);
      else note(change, (await this.#counted(change)) ?? this.#make(change), true);
    }
    if (error !== undefined && !tolerant) return error;
    // Deletions go on to the end: what is gone already must not keep the rest. A veth goes with its other end.
    const doomed = inOrderOfDeletion(changes);
    const effective = new Set(doomed.filter((change) => this.#takesEffect(change)));
    for (const change of doomed) {
      const there = effective.has(change);
      note(change, (await this.#counted(change)) ?? this.#unmake(change.row), there);
    }
    return error;
  }

  /** Also the host's own links, which are no rows. */
  #isLink(ns: string, name: string): boolean {
    if (ns === '') return this.#link(ns, name) !== undefined || this.#links.some((link) => link.name === name);
    return name === LOOPBACK ? this.#space(ns) !== undefined : this.#link(ns, name) !== undefined;
  }

  #isUp(ns: string, name: string): boolean {
    if (this.#namespaces.get(ns)?.up.has(name) === true) return true;
    return ns === '' && this.#links.some((link) => link.name === name && link.up);
  }

  /** Both ends of a veth are made at once, by whichever comes first; an end alone cannot be. */
  #createLink(row: LinkRow, creations: readonly LinkCreation[], born: Set<LinkRow>): Errno | undefined {
    if (born.has(row)) return undefined;
    if (row.type !== 'veth') return this.#addLinks(row);
    const twin = creations.find((other) => other.row.ns === row.peer.ns && other.row.name === row.peer.name)?.row;
    if (twin?.type !== 'veth' || twin.peer.ns !== row.ns || twin.peer.name !== row.name) return 'ENODEV';
    const refused = this.#addLinks(row, twin);
    if (refused === undefined) born.add(twin);
    return refused;
  }

  #addLinks(...rows: readonly LinkRow[]): Errno | undefined {
    if (rows.some(({ ns }) => this.#space(ns) === undefined)) return 'ENOENT';
    if (rows.some(({ ns, name }) => this.#isLink(ns, name))) return 'EEXIST';
    for (const row of rows) {
      const { down: _born, ...link } = row;
      this.#space(row.ns)?.rows.set(rowKey(row), link);
      if (row.ns === '') for (const key of forwarding(row.name)) this.#hostSettings.set(key, '0');
    }
    return undefined;
  }

  #configureLink(row: LinkRow): Errno | undefined {
    if (this.#space(row.ns) === undefined) return 'ENOENT';
    if (this.#link(row.ns, row.name) === undefined) return 'ENODEV';
    return undefined;
  }

  #make(change: Change): Errno | undefined {
    const { op, row } = change;
    if (isNftRow(row)) throw new Error('the firewall is made elsewhere');
    if (row.kind === 'netns') {
      if (this.#namespaces.has(row.ns) || this.#foreign.has(row.ns)) return 'EEXIST';
      this.#namespaces.set(row.ns, { ...emptyNamespace(), rows: new Map([[rowKey(row), row]]) });
      return undefined;
    }
    const space = this.#space(row.ns);
    if (space === undefined) return 'ENOENT';
    const there = space.rows.has(rowKey(row));
    const errno = op === 'create' && there ? existing(row) : this.#obstacle(change, space);
    if (errno !== undefined) return errno;
    if (op === 'raise') {
      if (row.kind === 'link') space.up.add(row.name);
      return undefined;
    }
    if (op === 'update' && rowKey(change.old) !== rowKey(row)) throw new Error('an update keeps the key');
    if (row.kind === 'sysctl' && row.ns === '') this.#hostSettings.set(row.key, row.value);
    if (op === 'create') space.rows.set(rowKey(row), row);
    else this.#put(space, row);
    return undefined;
  }

  /** Puts a row in place of the one of its key. A link's tells whether it is up; one that goes down loses neighbours and routes. */
  #put(space: Namespace, row: RestRow): void {
    if (row.kind !== 'link') {
      space.rows.set(rowKey(row), row);
      return;
    }
    const { down, ...link } = row;
    space.rows.set(rowKey(row), link);
    if (down !== true) {
      space.up.add(row.name);
      return;
    }
    space.up.delete(row.name);
    for (const [key, other] of space.rows) {
      if ((other.kind === 'route' || other.kind === 'neigh') && other.link === row.name) space.rows.delete(key);
    }
  }

  /** Why a row cannot be made or changed as things are. */
  #obstacle({ row }: Change, space: Namespace): Errno | undefined {
    switch (row.kind) {
      case 'link': {
        const master = row.type === 'veth' ? row.master : undefined;
        const isMissing = master !== undefined && !this.#isLink(row.ns, master);
        return space.rows.has(rowKey(row)) && !isMissing ? undefined : 'ENODEV';
      }
      case 'addr':
      case 'neigh':
        return this.#isLink(row.ns, row.link) ? undefined : 'ENODEV';
      case 'qdisc':
        if (this.#lacks.has(row.type)) return 'ENOENT';
        return [row.link, ...(row.type === 'redirect' ? [row.to] : [])].every((link) => this.#isLink(row.ns, link))
          ? undefined
          : 'ENODEV';
      case 'route':
        return this.#routeObstacle(row, space);
      case 'sysctl': {
        const link = settingLink(row);
        if (link !== undefined) return this.#isLink(row.ns, link) ? undefined : 'ENOENT';
        return row.ns === '' && !this.#hostSettings.has(row.key) ? 'ENOENT' : undefined;
      }
      default:
        return undefined;
    }
  }

  #routeObstacle({ ns, type, link, via, onlink, src }: RouteRow, space: Namespace): Errno | undefined {
    if (type !== 'unicast' || link === undefined) return undefined;
    if (!this.#isLink(ns, link)) return 'ENODEV';
    const up = this.#isUp(ns, link);
    const addresses = [...space.rows.values()].flatMap((row) => (row.kind === 'addr' ? [row] : []));
    // An IPv6 next hop of ours is link-local, and on the link in any case.
    if (via === undefined || onlink === true || via.includes(':')) {
      if (!up) return 'ENETDOWN';
    } else {
      const own = addresses.filter((row) => row.link === link && !row.addr.includes(':'));
      const blocks = own.map((row) => parseCidr(row.addr, ALLOW).cidr);
      if (!up || !blocks.some((block) => contains(block, via as Ipv4))) return 'ENETUNREACH';
      if (blocks.some((block) => isBroadcast(block, via as Ipv4))) return 'EINVAL';
    }
    const isOwn = src === undefined || addresses.some((row) => row.addr.startsWith(`${src}/`));
    return isOwn ? undefined : 'EINVAL';
  }

  /** Whether a deletion does anything, so that undoing it brings something back. */
  #takesEffect({ row }: Change): boolean {
    if (this.#space(row.ns)?.rows.has(rowKey(row)) !== true) return false;
    return row.kind !== 'sysctl' || row.restore !== undefined;
  }

  #unmake(row: KernelObject): Errno | undefined {
    const space = this.#space(row.ns);
    const there = space?.rows.get(rowKey(row));
    if (space === undefined) return 'ENOENT';
    if (there === undefined) return GONE[row.kind] ?? 'ENOENT';
    if (row.kind === 'sysctl') {
      // In a namespace of ours there is nothing to give back.
      if (row.restore === undefined) return undefined;
      if (row.ns === '') this.#hostSettings.set(row.key, row.restore);
    }
    this.#remove(space, there);
    return undefined;
  }

  #remove(space: Namespace, row: RestRow): void {
    if (row.kind === 'netns') {
      for (const inside of [...space.rows.values()]) if (inside.kind === 'link') this.#removeLink(inside);
      this.#namespaces.delete(row.ns);
    } else if (row.kind === 'link') this.#removeLink(row);
    else space.rows.delete(rowKey(row));
  }

  #removeLink(row: LinkRow): void {
    this.#dropEnd(row);
    if (row.type !== 'veth') return;
    const other = this.#link(row.peer.ns, row.peer.name);
    if (other?.type === 'veth' && other.peer.ns === row.ns && other.peer.name === row.name) this.#dropEnd(other);
  }

  #dropEnd({ ns, name }: LinkRow): void {
    const space = this.#space(ns);
    if (space === undefined) return;
    space.rows.delete(linkKey(ns, name));
    space.up.delete(name);
    if (ns === '') for (const key of forwarding(name)) this.#hostSettings.delete(key);
    for (const [key, row] of space.rows) {
      const on = row.kind === 'sysctl' ? settingLink(row) : 'link' in row ? row.link : undefined;
      if (on === name) space.rows.delete(key);
      else if (row.kind === 'link' && row.type === 'veth' && row.master === name) {
        const { master: _gone, ...port } = row;
        space.rows.set(key, port);
      }
    }
  }

  // --- the firewall --------------------------------------------------------------------------------------------------

  async #applyFirewall(
    changes: readonly Change[],
    tolerant: boolean,
    applied: Change[],
  ): Promise<VpcctlError | undefined> {
    let error: VpcctlError | undefined;
    for (const [ns, own] of byNamespace(changes)) {
      if (error !== undefined && !tolerant) break;
      const refused = await this.#transact(ns, own);
      if (refused === undefined) applied.push(...own);
      else if (!(tolerant && isMootFirewall(refused))) error ??= refused;
      else error ??= await this.#oneByOne(ns, own);
    }
    return error;
  }

  /** As the real kernel's: what of a refused transaction still can be. */
  async #oneByOne(ns: string, changes: readonly Change[]): Promise<VpcctlError | undefined> {
    if (changes.length === 1 || this.#space(ns) === undefined) return undefined;
    const tables = changes.filter(({ row }) => row.kind === 'nft-table');
    let error: VpcctlError | undefined;
    for (const change of tables.length > 0 ? tables : changes.filter(({ row }) => row.kind === 'nft-element')) {
      const refused = await this.#transact(ns, [change]);
      if (refused !== undefined && !isMootFirewall(refused)) error ??= refused;
    }
    return error;
  }

  /** One transaction: all of it, or nothing. */
  async #transact(ns: string, changes: readonly Change[]): Promise<VpcctlError | undefined> {
    const undo: (() => void)[] = [];
    const rollBack = (): void => {
      for (const step of undo.reverse()) step();
    };
    let ordered: Change[];
    try {
      ordered = inOrderOfTransaction(changes);
    } catch (error) {
      if (error instanceof VpcctlError) return error;
      throw error;
    }
    try {
      for (const change of ordered) {
        const space = this.#space(ns);
        const errno =
          (await this.#counted(change)) ??
          (space === undefined ? 'ENOENT' : changeNft(space, change, (step) => undo.push(step)));
        if (errno === undefined) continue;
        rollBack();
        return refusal(change, errno);
      }
    } catch (died) {
      rollBack();
      throw died;
    }
    return undefined;
  }
}

/** Tells a moment later, as the real one does. */
class MemoryWatch implements KernelWatch {
  readonly #find: (ns: string) => Namespace | undefined;
  readonly #onChange: OnChange;
  readonly #onClose: () => void;
  #followed: ReadonlyMap<string, Namespace> = new Map();

  constructor(find: (ns: string) => Namespace | undefined, onChange: OnChange, onClose: () => void) {
    this.#find = find;
    this.#onChange = onChange;
    this.#onClose = onClose;
  }

  follow(namespaces: readonly string[]): readonly string[] {
    const before = this.#followed;
    this.#followed = new Map(
      namespaces.flatMap((ns) => {
        const there = this.#find(ns);
        return there === undefined ? [] : [[ns, there] as const];
      }),
    );
    return [...this.#followed].filter(([ns, there]) => before.get(ns) !== there).map(([ns]) => ns);
  }

  tell(namespaces: readonly string[]): void {
    const heard = [...new Set(namespaces)].filter((ns) => this.#followed.has(ns));
    if (heard.length > 0) queueMicrotask(() => this.#onChange(heard));
  }

  close(): void {
    this.#followed = new Map();
    this.#onClose();
  }
}

type Undo = (step: () => void) => void;

const ALLOW = { hostBits: 'allow' } as const;
const forwarding = (link: string): string[] => [
  `net/ipv4/conf/${link}/forwarding`,
  `net/ipv6/conf/${link}/force_forwarding`,
];

/** What the kernel answers to the deletion of what is not there. */
const GONE: Readonly<Partial<Record<KernelObject['kind'], Errno>>> = {
  link: 'ENODEV',
  addr: 'EADDRNOTAVAIL',
  route: 'ESRCH',
};

interface LinkCreation {
  readonly op: 'create';
  readonly row: LinkRow;
}

function isLinkCreation(change: Change): change is Change & LinkCreation {
  return change.op === 'create' && change.row.kind === 'link';
}

/** Making again what is there: neighbours, settings and queues of what is sent are replaced. */
function existing(row: RestRow): Errno | undefined {
  if (row.kind === 'qdisc') return row.type === 'redirect' ? 'EEXIST' : undefined;
  return row.kind === 'neigh' || row.kind === 'sysctl' ? undefined : 'EEXIST';
}

/** What hangs on a link before the link, and a namespace last. */
function inOrderOfDeletion(changes: readonly Change[]): Change[] {
  const rank = ({ row }: Change): number => (row.kind === 'netns' ? 2 : row.kind === 'link' ? 1 : 0);
  return changes.filter(({ op }) => op === 'delete').sort((a, b) => rank(a) - rank(b));
}

function byNamespace(changes: readonly Change[]): Map<string, Change[]> {
  const found = new Map<string, Change[]>();
  for (const change of changes) found.set(change.row.ns, [...(found.get(change.row.ns) ?? []), change]);
  return found;
}

const STRUCTURE = ['nft-table', 'nft-set', 'nft-chain', 'nft-rule'];

/** As {@link encodeParts} orders them, which also refuses what cannot be one transaction. */
function inOrderOfTransaction(changes: readonly Change[]): Change[] {
  encodeParts(changes);
  const rank = ({ op, row }: Change): number => {
    const at = STRUCTURE.indexOf(row.kind);
    return at >= 0 ? at : op === 'create' ? STRUCTURE.length + 1 : STRUCTURE.length;
  };
  const doomed = new Set(
    changes.flatMap(({ op, row }) => (op === 'delete' && row.kind === 'nft-table' ? [tableKey(row)] : [])),
  );
  return changes
    .filter(({ op, row }) => op !== 'delete' || row.kind === 'nft-table' || !doomed.has(tableKey(row as NftRow)))
    .sort((a, b) => rank(a) - rank(b));
}

function changeNft(space: Namespace, change: Change, undo: Undo): Errno | undefined {
  if (change.op === 'replace') {
    removeTable(space, change.row, undo);
    for (const row of change.rows) {
      addNft(space, row);
      undo(() => removeNft(space, row, () => {}));
    }
    return undefined;
  }
  const row = change.row as NftRow;
  const key = rowKey(row);
  const there = space.firewall.get(key);
  if (change.op === 'delete' || change.op === 'update') {
    if (there === undefined) return 'ENOENT';
    if (row.kind === 'nft-table') removeTable(space, row, undo);
    else removeNft(space, there, undo);
    if (change.op === 'delete') return undefined;
  } else if (there !== undefined) {
    return row.kind !== 'nft-table' && row.kind !== 'nft-rule' && rowText(there) === rowText(row)
      ? undefined
      : 'EEXIST';
  }
  if (row.kind !== 'nft-table' && !space.firewall.has(tableKey(row))) return 'ENOENT';
  if (row.kind === 'nft-rule' && !space.firewall.has(chainKey(row, row.chain))) return 'ENOENT';
  if (row.kind === 'nft-element') {
    const set = space.firewall.get(setKey(row, row.set));
    if (set?.kind !== 'nft-set') return 'ENOENT';
    const members = space.elements.get(setKey(row, row.set));
    if (set.interval === true && [...(members?.values() ?? [])].some((other) => clash(other.key, row.key)))
      return 'EEXIST';
  }
  addNft(space, row);
  undo(() => removeNft(space, row, () => {}));
  return undefined;
}

function addNft(space: Namespace, row: NftRow): void {
  space.firewall.set(rowKey(row), row);
  if (row.kind !== 'nft-element') return;
  const key = setKey(row, row.set);
  const members = space.elements.get(key);
  if (members === undefined) space.elements.set(key, new Map([[rowKey(row), row]]));
  else members.set(rowKey(row), row);
}

function removeNft(space: Namespace, row: NftRow, undo: Undo): void {
  space.firewall.delete(rowKey(row));
  if (row.kind === 'nft-element') space.elements.get(setKey(row, row.set))?.delete(rowKey(row));
  undo(() => addNft(space, row));
}

/** A table goes with all that is in it. */
function removeTable(space: Namespace, table: InTable, undo: Undo): void {
  const key = tableKey(table);
  for (const row of [...space.firewall.values()]) if (tableKey(row) === key) removeNft(space, row, undo);
}
