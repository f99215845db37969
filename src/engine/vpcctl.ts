/** The library's face: everything the CLI does, it does through this. */
import { analyze } from '../analyze/analyze.js';
import { matrix } from '../analyze/matrix.js';
import type { Analysis, Matrix, MatrixQuery, Query } from '../analyze/types.js';
import { VpcctlError } from '../errors.js';
import type { Kernel, Lingering } from '../kernel/kernel.js';
import type { NftTransport } from '../kernel/nft.js';
import type { AclDirection } from '../model/acls.js';
import * as acls from '../model/acls.js';
import { formatEntry } from '../model/acls.js';
import * as dns from '../model/dns.js';
import * as elastic from '../model/elastic.js';
import * as ipv6 from '../model/ipv6.js';
import * as lookup from '../model/lookup.js';
import type { ModifyPrefixList } from '../model/prefix-lists.js';
import * as lists from '../model/prefix-lists.js';
import type { Draft, Edit } from '../model/reader.js';
import { findKind, getKind } from '../model/reader.js';
import { describe, type Instance, ids, type RecordType, type Resource } from '../model/resources.js';
import type { AddNatGateway } from '../model/routing.js';
import * as routing from '../model/routing.js';
import { formatRoute } from '../model/routing.js';
import { formatRule } from '../model/rules.js';
import * as secondary from '../model/secondary.js';
import { formatShaping } from '../model/shape.js';
import { applySpec, destroyAll, destroySpec, exportSpec } from '../model/spec.js';
import type { AttachVpc } from '../model/transit.js';
import * as transit from '../model/transit.js';
import * as verbs from '../model/verbs.js';
import { quote } from '../net/quote.js';
import { type KernelObject, rowKey } from '../objects/kernel-object.js';
import { countChanges } from '../plan/plan.js';
import {
  validateDns,
  validateNetworkAcl,
  validateNetworkAclEntry,
  validatePrefixList,
  validatePrefixListEntries,
  validatePrivateZone,
  validateRoute,
  validateSettings,
  validateSpec,
  validateTransitRoute,
  validateZoneRecord,
} from '../spec/schema.js';
import type {
  DestinationSpec,
  DnsSpec,
  NetworkAclEntrySpec,
  NetworkAclSpec,
  PolicyFile,
  PolicySpec,
  PrefixListSpec,
  PrivateZoneSpec,
  RouteSpec,
  SecurityGroupSpec,
  SettingsSpec,
  Spec,
  TransitRouteSpec,
  ZoneRecordSpec,
} from '../spec/types.js';
import {
  type DeployApp,
  type ExecOptions,
  type ExecResult,
  execIn,
  isRunning,
  isStranded,
  start,
  stop,
  untilReady,
} from './apps.js';
import { missingParts, needsRestore, noteBoot } from './boot.js';
import type { Drift } from './drift.js';
import { Engine, type EngineEvent, type EngineOptions, type HeldView, type Prepared } from './engine.js';
import { Locks } from './locks.js';
import { findOrphans, removeOrphans } from './orphans.js';
import { keepReady, poolOf } from './pool.js';
import type { ProbeOptions, ProbeResult } from './probe.js';
import { differences, look, type RepairResult, runRepair, selectVpc } from './repair.js';
import { Resolver } from './resolver.js';
import { type RestoreEvent, type RestoreOptions, type RestoreResult, runRestore } from './restore.js';
import { type AppRecord, closedError, Store, stateDirectory } from './store.js';
import {
  type InstallationView,
  type InstanceView,
  type VpcView,
  viewInstallation,
  viewInstance,
  viewVpc,
} from './view.js';
import { Watch, type WatchEvent, type WatchOptions } from './watch.js';

export interface OpenOptions {
  /** Directory of the state. Default: `$VPCCTL_STATE`, else /var/lib/vpcctl. Each installation has one. */
  readonly state?: string;
  /** How long to wait for another process that is changing the same VPC, in ms. Default 30,000. */
  readonly lockTimeoutMs?: number;
  /** Progress of every operation. */
  readonly onEvent?: (event: VpcctlEvent) => void;
  /**
   * Load and compile at once what the first change needs (about 0.25 s), so that it is as fast as the next: a small network is worked out and encoded, and
   * nftables checks it; nothing is made. Default: when it is needed.
   */
  readonly warm?: boolean;
  /**
   * How many namespaces to keep ready, made and without a name, for a process that makes many instances one by one: an instance is made faster by what making
   * its namespace takes, and for every ten of them one for a new VPC, with its firewall in force. `open` resolves when they are there; what is used
   * is made again in the background. Each is a file descriptor and some 100 KiB of the kernel's. They go when this is closed or the process ends.
   * 0 to 500, default 0.
   */
  readonly pool?: number;
  /** How nftables is spoken to: see {@link NftTransport}. Default: `$VPCCTL_NFT`, else `auto`. */
  readonly nft?: NftTransport;
  /** In place of this machine's kernel: see `MemoryKernel`. */
  readonly kernel?: Kernel;
}

/**
 * Progress: a stage begins; a stage is being undone; what a dead process had begun was undone or finished; what was deleted is held by somebody; a part
 * is being brought back after the machine was started anew, or all parts were.
 */
export type VpcctlEvent = EngineEvent | RestoreEvent;

export interface RunOptions {
  /** Ends the operation; what had been done is undone, and the call rejects with code ABORTED. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: VpcctlEvent) => void;
  /** Work everything out and change nothing. */
  readonly dryRun?: boolean;
  /** End tracked connections that the change no longer admits. Default: they go on, as in the cloud. */
  readonly cut?: boolean;
}

/** One line of a plan, in the model's words. */
export interface PlannedChange {
  readonly action: 'create' | 'update' | 'delete';
  /** `subnet a/web`. */
  readonly resource: string;
  readonly kind: string;
  /** What it is made with: property → value. Only for creates. */
  readonly values?: Readonly<Record<string, unknown>>;
  /** What changes: property → [before, after]. Only for updates. */
  readonly properties?: Readonly<Record<string, readonly [unknown, unknown]>>;
}

/** What an operation does, or would do. */
export interface PlanView {
  readonly changes: readonly PlannedChange[];
  /** Kernel objects made, changed and deleted one by one (what goes with a namespace is not counted). */
  readonly kernel: { readonly create: number; readonly update: number; readonly delete: number };
}

export interface TransactionResult<T> extends PlanView {
  readonly value: T;
  /** Nothing was different. */
  readonly unchanged: boolean;
  /** Namespaces that were deleted and live on, without links of ours, because somebody holds them. */
  readonly held: readonly HeldView[];
}

/** The verbs of a transaction. Each edits a draft; nothing is done until the function returns. Errors: see each verb's rule. */
export interface Transaction {
  createVpc(args: verbs.CreateVpc): void;
  /** false when there is none. CONFLICT while peered, unless `force`. */
  deleteVpc(name: string, options?: { force?: boolean }): boolean;
  /** Gives a VPC a resolver, changes it, or with `false` takes it away. CONFLICT when something has its address. */
  setDns(vpc: string, dns: DnsSpec): void;
  /** Makes a private zone, or makes one what the spec says; what that leaves out stays. CONFLICT when a VPC has another of that domain. */
  putPrivateZone(name: string, zone: PrivateZoneSpec): void;
  deletePrivateZone(name: string): boolean;
  associatePrivateZone(name: string, vpc: string): void;
  disassociatePrivateZone(name: string, vpc: string): boolean;
  /** Adds a record, or puts it in the place of the one of its name and type. */
  putZoneRecord(zone: string, record: ZoneRecordSpec): void;
  /** `name` as in a {@link ZoneRecordSpec}. */
  deleteZoneRecord(zone: string, name: string, type?: RecordType): boolean;
  addSubnet(args: verbs.AddSubnet): void;
  /** false when there is none. CONFLICT while instances other than its own-named one are in it, unless `force`. */
  deleteSubnet(vpc: string, subnet: string, options?: { force?: boolean }): boolean;
  /** Returns the addresses it got. */
  addInstance(args: verbs.AddInstance): { ip: string; ipv6: string | null; publicIp: string | null };
  /** Gives an instance another bandwidth, delay, jitter or loss; null: none. */
  modifyInstance(args: verbs.ModifyInstance): void;
  deleteInstance(vpc: string, instance: string): boolean;
  /** Creates a group or replaces its rules. */
  putSecurityGroup(vpc: string, name: string, spec: SecurityGroupSpec): void;
  deleteSecurityGroup(vpc: string, name: string): boolean;
  /** Makes a route table, or leaves it as it is. `main` is there already. */
  addRouteTable(vpc: string, name: string): void;
  /** false when there is none. CONFLICT for `main`, and while a subnet follows it. */
  deleteRouteTable(vpc: string, name: string): boolean;
  /** Adds a route, or gives the one to that destination another target. */
  addRoute(vpc: string, table: string, route: RouteSpec): void;
  deleteRoute(vpc: string, table: string, destination: DestinationSpec): boolean;
  /** Lets a subnet follow a route table; without one, that of its kind: `public` or `main`. */
  associateRouteTable(vpc: string, subnet: string, table?: string): void;
  /** Returns the addresses it got. CONFLICT when it exists otherwise: a NAT gateway never changes. */
  addNatGateway(args: AddNatGateway): { ip: string; publicIp: string | null };
  /** Routes that lead to it become black holes. */
  deleteNatGateway(vpc: string, name: string): boolean;
  /** Gives a VPC its egress-only internet gateway, or leaves it as it is. */
  addEgressOnlyInternetGateway(vpc: string): void;
  /** Routes that lead to it become black holes. */
  deleteEgressOnlyInternetGateway(vpc: string): boolean;
  /** Makes a network ACL without rules, which denies everything, or leaves it as it is. */
  addNetworkAcl(vpc: string, name: string): void;
  /** Creates a network ACL or replaces its rules. */
  putNetworkAcl(vpc: string, name: string, spec: NetworkAclSpec): void;
  /** false when there is none. CONFLICT while a subnet is associated with it. */
  deleteNetworkAcl(vpc: string, name: string): boolean;
  /** Adds a rule, or puts it in the place of the one with its number. */
  putNetworkAclEntry(vpc: string, acl: string, direction: AclDirection, entry: NetworkAclEntrySpec): void;
  deleteNetworkAclEntry(vpc: string, acl: string, direction: AclDirection, number: number): boolean;
  /** Associates a subnet with a network ACL; without one, everything may pass its border. */
  associateNetworkAcl(vpc: string, subnet: string, acl?: string): void;
  /** Takes a public address of the pool, that one or a free one, under a name; returns it. */
  allocateElasticIp(name: string, address?: string): string;
  /** CONFLICT while something has it. */
  releaseElasticIp(name: string): boolean;
  /** Gives an instance an elastic address for its public one; it is taken from the instance that has it. */
  associateElasticIp(name: string, vpc: string, instance: string): void;
  /** Returns the addresses that it did not have. */
  assignPrivateIps(vpc: string, instance: string, wish: secondary.AssignPrivateIps): readonly string[];
  /** Returns those that it had. */
  unassignPrivateIps(vpc: string, instance: string, ips: readonly string[]): readonly string[];
  disassociateElasticIp(name: string): boolean;
  /** Creates a prefix list. CONFLICT when it exists otherwise. */
  createPrefixList(name: string, spec: PrefixListSpec): void;
  /** Adds and removes entries, or changes the size: INVALID for both at once. What refers to it changes with it. */
  modifyPrefixList(name: string, changes: ModifyPrefixList): void;
  /** false when there is none. CONFLICT while a rule or a route refers to it. */
  deletePrefixList(name: string): boolean;
  /** Makes a transit gateway with its route table `default`. */
  addTransitGateway(name: string): void;
  /** CONFLICT while VPCs are attached, unless `force`. */
  deleteTransitGateway(name: string, options?: { force?: boolean }): boolean;
  /** Attaches a VPC to a transit gateway, or changes which of its route tables the attachment is for. */
  attachVpc(args: AttachVpc): void;
  /** Routes that lead through the attachment become black holes. */
  detachVpc(transitGateway: string, vpc: string): boolean;
  addTransitRouteTable(transitGateway: string, name: string): void;
  /** CONFLICT for `default`, and while an attachment uses it. */
  deleteTransitRouteTable(transitGateway: string, name: string): boolean;
  /** Adds a static route, or gives the one to that destination another target. */
  addTransitRoute(transitGateway: string, table: string, route: TransitRouteSpec): void;
  deleteTransitRoute(transitGateway: string, table: string, destination: DestinationSpec): boolean;
  /** `routes`: `auto` (default): every route table of both leads to the other; `manual`: those that say so. */
  peer(first: string, second: string, allowCidrs?: readonly string[], routes?: 'auto' | 'manual'): void;
  unpeer(first: string, second: string): boolean;
  /** Sets a subnet's policy, replacing the one before. */
  applyPolicy(vpc: string, subnet: string | undefined, policy: PolicyFile): void;
  clearPolicy(vpc: string, subnet: string): boolean;
  configure(settings: SettingsSpec): void;
  /** Makes everything the spec names what it says. */
  applySpec(spec: Spec): void;
}

function transactionOn(draft: Draft): Transaction {
  return {
    createVpc: (args) => void verbs.createVpc(draft, args),
    deleteVpc: (name, options) => verbs.deleteVpc(draft, name, options?.force),
    setDns: (vpc, spec) => void dns.setDns(draft, vpc, validateDns(spec)),
    putPrivateZone: (name, zone) => void dns.putZone(draft, name, validatePrivateZone(zone)),
    deletePrivateZone: (name) => dns.deleteZone(draft, name),
    associatePrivateZone: (name, vpc) => void dns.associateZone(draft, name, vpc),
    disassociatePrivateZone: (name, vpc) => dns.disassociateZone(draft, name, vpc),
    putZoneRecord: (zone, record) => void dns.putRecord(draft, zone, validateZoneRecord(record)),
    deleteZoneRecord: (zone, name, type = 'A') => dns.deleteRecord(draft, zone, name, type),
    addSubnet: (args) => void verbs.addSubnet(draft, args),
    deleteSubnet: (vpc, subnet, options) => verbs.deleteSubnet(draft, vpc, subnet, options?.force),
    addInstance: (args) => {
      const { ip, ipv6, publicIp } = verbs.addInstance(draft, args);
      return { ip, ipv6: ipv6 ?? null, publicIp: publicIp ?? null };
    },
    modifyInstance: (args) => void verbs.modifyInstance(draft, args),
    deleteInstance: (vpc, instance) => verbs.deleteInstance(draft, vpc, instance),
    putSecurityGroup: (vpc, name, spec) => {
      verbs.checkReferences(draft, verbs.putGroup(draft, vpc, name, spec));
    },
    deleteSecurityGroup: (vpc, name) => verbs.deleteGroup(draft, vpc, name),
    addRouteTable: (vpc, name) => void routing.addRouteTable(draft, vpc, name),
    deleteRouteTable: (vpc, name) => routing.deleteRouteTable(draft, vpc, name),
    addRoute: (vpc, table, route) => void routing.addRoute(draft, vpc, table, validateRoute(route)),
    deleteRoute: (vpc, table, destination) => routing.deleteRoute(draft, vpc, table, destination),
    associateRouteTable: (vpc, subnet, table) => void routing.associateRouteTable(draft, vpc, subnet, table),
    addNatGateway: (args) => {
      const { ip, publicIp } = routing.addNatGateway(draft, args);
      return { ip, publicIp: publicIp ?? null };
    },
    deleteNatGateway: (vpc, name) => routing.deleteNatGateway(draft, vpc, name),
    addEgressOnlyInternetGateway: (vpc) => ipv6.addEgressOnlyGateway(draft, vpc),
    deleteEgressOnlyInternetGateway: (vpc) => ipv6.deleteEgressOnlyGateway(draft, vpc),
    addNetworkAcl: (vpc, name) => void acls.addNetworkAcl(draft, vpc, name),
    putNetworkAcl: (vpc, name, spec) => void acls.putNetworkAcl(draft, vpc, name, validateNetworkAcl(spec)),
    deleteNetworkAcl: (vpc, name) => acls.deleteNetworkAcl(draft, vpc, name),
    putNetworkAclEntry: (vpc, acl, direction, entry) =>
      void acls.putEntry(draft, vpc, acl, direction, validateNetworkAclEntry(entry)),
    deleteNetworkAclEntry: (vpc, acl, direction, number) => acls.deleteEntry(draft, vpc, acl, direction, number),
    associateNetworkAcl: (vpc, subnet, acl) => void acls.associateNetworkAcl(draft, vpc, subnet, acl),
    allocateElasticIp: (name, address) => elastic.allocateElasticIp(draft, name, address).address,
    releaseElasticIp: (name) => elastic.releaseElasticIp(draft, name),
    associateElasticIp: (name, vpc, instance) => void elastic.associateElasticIp(draft, name, vpc, instance),
    assignPrivateIps: (vpc, instance, wish) => secondary.assignPrivateIps(draft, vpc, instance, wish),
    unassignPrivateIps: (vpc, instance, ips) => secondary.unassignPrivateIps(draft, vpc, instance, ips),
    disassociateElasticIp: (name) => elastic.disassociateElasticIp(draft, name),
    createPrefixList: (name, spec) => void lists.createPrefixList(draft, name, validatePrefixList(spec)),
    modifyPrefixList: (name, { add, ...changes }) =>
      void lists.modifyPrefixList(draft, name, {
        ...changes,
        ...(add === undefined ? {} : { add: validatePrefixListEntries(add) }),
      }),
    deletePrefixList: (name) => lists.deletePrefixList(draft, name),
    addTransitGateway: (name) => void transit.addTransitGateway(draft, name),
    deleteTransitGateway: (name, options) => transit.deleteTransitGateway(draft, name, options?.force),
    attachVpc: (args) => void transit.attachVpc(draft, args),
    detachVpc: (gateway, vpc) => transit.detachVpc(draft, gateway, vpc),
    addTransitRouteTable: (gateway, name) => void transit.addTransitTable(draft, gateway, name),
    deleteTransitRouteTable: (gateway, name) => transit.deleteTransitTable(draft, gateway, name),
    addTransitRoute: (gateway, table, route) =>
      void transit.addTransitRoute(draft, gateway, table, validateTransitRoute(route)),
    deleteTransitRoute: (gateway, table, destination) => transit.deleteTransitRoute(draft, gateway, table, destination),
    peer: (first, second, allowCidrs, routes) => void verbs.peer(draft, first, second, allowCidrs, routes),
    unpeer: (first, second) => verbs.unpeer(draft, first, second),
    applyPolicy: (vpc, subnet, policy) => void verbs.applyPolicy(draft, vpc, subnet, policy),
    clearPolicy: (vpc, subnet) => verbs.clearPolicy(draft, vpc, subnet),
    configure: (settings) => verbs.configure(draft, validateSettings(settings)),
    applySpec: (spec) => applySpec(draft, validateSpec(spec)),
  };
}

/** What names a resource, and derived or bookkeeping properties: a plan does not show them. */
const UNSHOWN = new Set([
  'kind',
  'name',
  'vpc',
  'vpcs',
  'cursor',
  'profile',
  'hostRoute',
  'mtu',
  'number',
  'implied',
  'transitGateway',
]);
/** Resources that follow from others. */
const UNSHOWN_KINDS = new Set<Resource['kind']>(['profile']);

/** A resource's properties as a plan shows them: rules as a user writes them. */
function propertiesOf(resource: Resource): Record<string, unknown> {
  return Object.fromEntries(Object.entries(asWritten(resource)).filter(([key]) => !UNSHOWN.has(key)));
}

function asWritten(resource: Resource): object {
  switch (resource.kind) {
    case 'group':
      return {
        ...resource,
        ingress: resource.ingress.map((rule) => formatRule(rule, 'from')),
        egress: resource.egress.map((rule) => formatRule(rule, 'to')),
      };
    case 'instance': {
      const { shaping, ...rest } = resource;
      return { ...rest, ...formatShaping(shaping) };
    }
    case 'network-acl':
      return { ...resource, ingress: resource.ingress.map(formatEntry), egress: resource.egress.map(formatEntry) };
    case 'transit-route-table':
      return {
        ...resource,
        routes: resource.routes.map(transit.formatTransitRoute),
      };
    case 'route-table':
      return { ...resource, routes: resource.routes.map(formatRoute) };
    case 'private-zone':
      return {
        ...resource,
        vpcs: undefined,
        associations: resource.vpcs,
        records: resource.records.map((record) => dns.formatRecord(resource, record)),
      };
    default:
      return resource;
  }
}

function plannedChange({ before, after }: Edit): PlannedChange | undefined {
  const resource = after ?? before;
  if (resource === undefined || UNSHOWN_KINDS.has(resource.kind)) return undefined;
  const common = { resource: describe(resource), kind: resource.kind };
  if (after === undefined) return { action: 'delete', ...common };
  const is = propertiesOf(after);
  if (before === undefined) return { action: 'create', ...common, values: is };
  const was = propertiesOf(before);
  const properties = Object.fromEntries(
    [...new Set([...Object.keys(was), ...Object.keys(is)])]
      .filter((key) => JSON.stringify(was[key]) !== JSON.stringify(is[key]))
      .map((key) => [key, [was[key], is[key]] as const]),
  );
  return Object.keys(properties).length === 0 ? undefined : { action: 'update', ...common, properties };
}

function viewPlan(prepared: Prepared<unknown>): PlanView {
  return {
    changes: prepared.edits.flatMap((edit) => plannedChange(edit) ?? []),
    kernel: countChanges(prepared.plan),
  };
}

function resultOf<T>(prepared: Prepared<T>, held: readonly HeldView[]): TransactionResult<T> {
  return {
    ...viewPlan(prepared),
    value: prepared.result,
    unchanged: prepared.edits.length === 0 && prepared.changes.length === 0,
    held,
  };
}

/** An installation: its state, and the kernel objects made from it. */
export class Vpcctl {
  readonly #store: Store;
  readonly #engine: Engine;
  readonly #kernel: Kernel;
  readonly #onEvent: ((event: VpcctlEvent) => void) | undefined;
  readonly #pool: number;
  readonly #underWay = new Set<Promise<unknown>>();
  readonly #watches = new Set<AbortController>();
  #closing: Promise<void> | undefined;
  /** What was recorded is in the kernel, as far as a new start of the machine goes. */
  #present = false;

  private constructor(store: Store, engine: Engine, kernel: Kernel, pool: number, onEvent: OpenOptions['onEvent']) {
    this.#store = store;
    this.#engine = engine;
    this.#kernel = kernel;
    this.#pool = pool;
    this.#onEvent = onEvent;
  }

  /**
   * Opens an installation, and ends what dead processes had begun in it. After the machine was started anew, nothing is done yet: the first
   * change brings everything back before it.
   */
  static async open(options: OpenOptions = {}): Promise<Vpcctl> {
    const kernel =
      options.kernel ??
      new (await import('../kernel/real.js')).RealKernel(options.nft ?? transportOf(process.env.VPCCTL_NFT));
    const pool = poolOf(options.pool ?? 0);
    const store = new Store(stateDirectory(options.state));
    const locks = new Locks(store.dir, options.lockTimeoutMs ?? 30_000);
    // No program runs in the namespaces of a kernel that is not this machine's.
    const resolver = options.kernel === undefined ? new Resolver(store) : undefined;
    const engine = new Engine(store, kernel, locks, resolver);
    const vpcctl = new Vpcctl(store, engine, kernel, pool, options.onEvent);
    try {
      if (options.warm === true && kernel.rehearsal !== undefined) {
        const { rehearse } = await import('./rehearsal.js');
        await rehearse(kernel.rehearsal());
      }
      await vpcctl.#recover({});
      if (pool > 0) await keepReady(kernel, pool);
    } catch (error) {
      await kernel.rest?.();
      store.close();
      throw error;
    }
    return vpcctl;
  }

  /**
   * Closes the state file. Networks and apps stay. What is under way is waited for; what only waits for its turn rejects with code ABORTED, and
   * what is called from now on with USAGE. Watches end.
   */
  async close(): Promise<void> {
    this.#closing ??= this.#finish();
    return this.#closing;
  }

  async #finish(): Promise<void> {
    for (const watch of this.#watches) watch.abort();
    this.#engine.locks.close(
      new VpcctlError('ABORTED', 'the installation was closed before this began: nothing was done', {
        hint: 'close it when what it is to do is done',
      }),
    );
    await Promise.allSettled(this.#underWay);
    if (this.#pool > 0) await keepReady(this.#kernel, 0);
    await this.#kernel.rest?.();
    this.#store.close();
  }

  /** Whatever outlasts its call goes through here, so that {@link close} waits for it. */
  async #working<T>(work: () => Promise<T>): Promise<T> {
    if (this.#closing !== undefined) throw closedError();
    const working = work();
    this.#underWay.add(working);
    try {
      return await working;
    } finally {
      this.#underWay.delete(working);
    }
  }

  #options(options: RunOptions): RestoreOptions {
    const onEvent = options.onEvent ?? this.#onEvent;
    return {
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      ...(onEvent === undefined ? {} : { onEvent }),
      ...(options.cut === undefined ? {} : { cut: options.cut }),
    };
  }

  /**
   * What {@link open} does besides opening: ends what processes have begun that died since, and has the next change look for what is still to
   * be brought back. For who keeps an installation open and serves others with it.
   */
  async recover(options: Pick<RunOptions, 'onEvent'> = {}): Promise<void> {
    this.#present = false;
    return this.#working(() => this.#recover(options));
  }

  async #recover(options: Pick<RunOptions, 'onEvent'>): Promise<void> {
    if (missingParts(this.#store, this.#kernel) === 'all') return;
    await this.#verified(options, async (own) => {
      await this.#engine.recoverAll(own);
      await this.#sweepApps(this.#store.apps());
      await this.#engine.wakeResolver(own);
    });
  }

  // --- changing ------------------------------------------------------------------------------------------------------

  /**
   * Runs verbs as one transaction: all of it happens or nothing. `edit` must be synchronous and depend on nothing but the transaction, because it runs again
   * when another process came first.
   */
  async transaction<T>(edit: (tx: Transaction) => T, options: RunOptions = {}): Promise<TransactionResult<T>> {
    return this.#transact((draft) => edit(transactionOn(draft)), options);
  }

  async #transact<T>(edit: (draft: Draft) => T, options: RunOptions): Promise<TransactionResult<T>> {
    return this.#working(() => this.#carryOut(edit, options));
  }

  async #carryOut<T>(edit: (draft: Draft) => T, options: RunOptions): Promise<TransactionResult<T>> {
    if (options.dryRun === true) return resultOf(await this.#engine.prepare(edit), []);
    await this.#bringBack(options);
    const { done, held } = await this.#verified(options, async (own) => {
      const prepared = await this.#engine.transact(edit, own);
      for (const { before, after } of prepared.edits) {
        if (before?.kind === 'instance' && after === undefined)
          await this.#sweepApps(this.#store.apps(before.vpc, before.name));
      }
      return prepared;
    });
    return resultOf(done, held);
  }

  /** Runs `work`; then, without locks and when our own programs have ended, sees whether what it deleted has gone. */
  async #verified<T>(
    options: RunOptions,
    work: (own: EngineOptions & RestoreOptions) => Promise<T>,
  ): Promise<{ readonly done: T; readonly held: readonly HeldView[] }> {
    const lingering: Lingering[] = [];
    const own = this.#options(options);
    let held: readonly HeldView[] = [];
    let done: T;
    try {
      done = await work({ ...own, onLingering: (found) => void lingering.push(...found) });
    } finally {
      held = await this.#engine.verify(lingering, own);
    }
    return { done, held };
  }

  /** What {@link apply} would do. */
  async plan(spec: Spec): Promise<PlanView> {
    const checked = validateSpec(spec);
    return this.#working(async () => viewPlan(await this.#engine.prepare((draft) => applySpec(draft, checked))));
  }

  /** Makes everything the spec names what it says, as one transaction. */
  async apply(spec: Spec, options: RunOptions = {}): Promise<TransactionResult<void>> {
    const checked = validateSpec(spec);
    return this.#transact((draft) => applySpec(draft, checked), options);
  }

  /** Deletes the VPCs of the spec, and what else of it nothing uses then; without one, all of the installation and its settings. */
  async destroy(spec?: Spec, options: RunOptions = {}): Promise<TransactionResult<void>> {
    return this.#transact((draft) => {
      if (spec === undefined) destroyAll(draft);
      else destroySpec(draft, spec);
    }, options);
  }

  /**
   * Ends the tracked connections that no rule admits any more: of one VPC, or of all. Returns how many. NOT_FOUND when there is no such VPC. A revoked
   * rule alone keeps them, as in the cloud.
   */
  async cut(vpc?: string, options: Pick<RunOptions, 'signal' | 'onEvent'> = {}): Promise<number> {
    return this.#working(async () => {
      const vpcs = vpc === undefined ? findKind(this.#store, 'vpc', 'kind:vpc') : [lookup.requireVpc(this.#store, vpc)];
      return this.#engine.cut(
        vpcs.map(({ name }) => name),
        this.#options(options),
      );
    });
  }

  // --- putting back --------------------------------------------------------------------------------------------------

  /**
   * Puts back what {@link drift} finds missing, changed, or added to what is ours: all of it or nothing. Established connections go on. What is
   * foreign and not marked ours stays.
   */
  async repair(options: RunOptions & { readonly vpc?: string } = {}): Promise<RepairResult> {
    const { vpc, dryRun = false } = options;
    return this.#working(async () => {
      if (!dryRun) await this.#bringBack(options);
      return runRepair(this.#engine, () => selectVpc(this.#store, vpc), { ...this.#options(options), dryRun });
    });
  }

  /**
   * Looks at everything, then wherever the kernel tells of a change, and puts back what differs; tells what it found and did, until `signal` or
   * {@link close} ends it. It works while the next event is waited for:
   *
   * ```ts
   * for await (const event of vpcctl.watch()) console.log(event);
   * ```
   *
   * What fails is told and tried again, ever more rarely, and so is what somebody breaks again and again. NOT_FOUND when there is no such VPC.
   */
  async *watch(options: WatchOptions = {}): AsyncGenerator<WatchEvent, void> {
    if (this.#closing !== undefined) throw closedError();
    if (options.vpc !== undefined) lookup.requireVpc(this.#store, options.vpc);
    const ended = new AbortController();
    const signal = options.signal === undefined ? ended.signal : AbortSignal.any([options.signal, ended.signal]);
    this.#watches.add(ended);
    try {
      if (options.repair !== false && !signal.aborted) await this.#working(() => this.#bringBack({ signal }));
      yield* new Watch(this.#engine, { ...options, signal }).events((work) => this.#working(work));
    } catch (error) {
      if (!signal.aborted || !(error instanceof VpcctlError)) throw error;
    } finally {
      this.#watches.delete(ended);
    }
  }

  /** The machine was started anew, and what is recorded, or a part of it, has not been brought back since. */
  get needsRestore(): boolean {
    return needsRestore(this.#store, this.#kernel);
  }

  /** Brings back what is recorded and not there, VPC by VPC; what fails does not stop the others. Programs are not started again. */
  async restore(options: Omit<RunOptions, 'dryRun'> = {}): Promise<RestoreResult> {
    return this.#working(() => this.#restore(options));
  }

  async #restore(options: Omit<RunOptions, 'dryRun'>, onlyMissing = false): Promise<RestoreResult> {
    noteBoot(this.#store, this.#kernel);
    const result = await runRestore(this.#engine, { ...this.#options(options), onlyMissing });
    this.#present = true;
    return result;
  }

  /** Before the first change: what a new start of the machine took away is brought back, or of that what another process could not bring back. */
  async #bringBack(options: RunOptions): Promise<void> {
    if (this.#present) return;
    if (!this.needsRestore) {
      noteBoot(this.#store, this.#kernel);
      this.#present = true;
      return;
    }
    const again = missingParts(this.#store, this.#kernel) === 'all' ? {} : { again: true as const };
    const { restored, failed } = await this.#restore(options, true);
    if (restored.length + failed.length > 0) {
      this.#options(options).onEvent?.({ type: 'restored', restored, failed, ...again });
    }
    await this.#sweepApps(this.#store.apps());
  }

  // --- reading -------------------------------------------------------------------------------------------------------

  /** The whole installation. */
  list(): InstallationView {
    return this.#store.reading(() => viewInstallation(this.#store));
  }

  /** One VPC. NOT_FOUND when there is none. */
  inspect(vpc: string): VpcView {
    return this.#store.reading(() => viewVpc(this.#store, lookup.requireVpc(this.#store, vpc)));
  }

  /**
   * Whether a packet would get there and its answer back, and every component that decides over that, by the recorded rules alone: the kernel is not asked,
   * nothing is sent. NOT_FOUND for names that are not there, USAGE for what is no question.
   */
  analyze(query: Query): Analysis {
    return this.#store.reading(() => analyze(this.#store, query));
  }

  /** Who reaches whom: {@link analyze} of every two instances, the internet and the host. Errors as there. */
  matrix(query: MatrixQuery = {}): Matrix {
    return this.#store.reading(() => matrix(this.#store, query));
  }

  /**
   * Sends what {@link analyze} is asked about, and sees whether it arrives and its answer comes back: with a listener at the destination, unless a program has
   * the port, which answers then. Errors as of `analyze`; besides USAGE for what cannot be sent (from outside, by another protocol than tcp, udp, icmp),
   * NOT_FOUND for an instance whose namespace is gone, KERNEL for what the kernel refuses. Nothing of it stays.
   */
  async probe(query: Query, options: ProbeOptions = {}): Promise<ProbeResult> {
    return this.#working(async () => {
      await this.#bringBack(options.signal === undefined ? {} : { signal: options.signal });
      const { runProbe } = await import('./probe.js');
      return runProbe(this.#store, query, options);
    });
  }

  /** The policy of a subnet; null when it has none. */
  policy(vpc: string, subnet: string): PolicySpec | null {
    return lookup.requireSubnet(this.#store, vpc, subnet).policy ?? null;
  }

  /** The whole model as a spec that makes the same kernel state again. */
  export(): Spec {
    return this.#store.reading(() => exportSpec(this.#store));
  }

  /** What is recorded for the kernel, as rows in the order of their keys. */
  recorded(): KernelObject[] {
    return this.#store
      .rows()
      .map(({ row }) => row)
      .sort((a, b) => (rowKey(a) < rowKey(b) ? -1 : 1));
  }

  /** What the kernel has in our namespaces, and of ours on the host, read back: rows in the order of their keys. */
  async observe(): Promise<KernelObject[]> {
    return this.#working(async () => {
      const { rows, unread } = await look(this.#kernel, selectVpc(this.#store, undefined));
      for (const error of unread.values()) throw error;
      return [...rows].sort((a, b) => (rowKey(a) < rowKey(b) ? -1 : 1));
    });
  }

  /** Differences between what is recorded and what the kernel has. Empty: all is well. */
  async drift(): Promise<Drift[]> {
    return this.#working(async () => {
      const selection = selectVpc(this.#store, undefined);
      return differences(this.#engine, selection, await look(this.#kernel, selection));
    });
  }

  /** What is marked ours in the kernel and not recorded here: left by a state that was lost, or recorded by another installation. */
  async orphans(): Promise<KernelObject[]> {
    return this.#working(() => findOrphans(this.#kernel, this.recorded()));
  }

  /** Deletes {@link orphans}, and returns them. */
  async removeOrphans(): Promise<KernelObject[]> {
    return this.#working(async () => {
      const orphans = await findOrphans(this.#kernel, this.recorded());
      await this.#verified({}, ({ onLingering = () => {} }) => removeOrphans(this.#kernel, orphans, onLingering));
      return orphans;
    });
  }

  // --- programs ------------------------------------------------------------------------------------------------------

  /** The instance, by its own name, or the only one (or the own-named one) of a subnet. */
  instance(vpc: string, where: { readonly subnet?: string; readonly instance?: string }): InstanceView {
    return viewInstance(this.#instance(vpc, where));
  }

  #instance(vpc: string, where: { readonly subnet?: string; readonly instance?: string }): Instance {
    if (where.instance !== undefined) return lookup.requireInstance(this.#store, vpc, where.instance);
    if (where.subnet === undefined) {
      throw new VpcctlError('USAGE', 'no instance is named', { hint: 'give --subnet or --instance' });
    }
    const subnet = lookup.requireSubnet(this.#store, vpc, where.subnet);
    const own = getKind(this.#store, 'instance', ids.instance(vpc, subnet.name));
    if (own?.subnet === subnet.name) return own;
    const instances = findKind(this.#store, 'instance', `subnet:${vpc}/${subnet.name}`);
    const [only, more] = instances;
    if (only !== undefined && more === undefined) return only;
    throw new VpcctlError(
      instances.length === 0 ? 'NOT_FOUND' : 'USAGE',
      `subnet ${vpc}/${subnet.name} has ${instances.length} instances`,
      {
        hint:
          instances.length === 0
            ? 'add-instance first'
            : `name one with --instance: ${instances
                .map(({ name }) => name)
                .slice(0, 8)
                .join(', ')}`,
      },
    );
  }

  /** Runs a program in an instance to its end. */
  async exec(
    vpc: string,
    where: { readonly subnet?: string; readonly instance?: string },
    command: readonly string[],
    options: ExecOptions = {},
  ): Promise<ExecResult> {
    if (command.length === 0) throw new VpcctlError('USAGE', 'no command is given', { hint: 'write it after --' });
    const instance = this.#instance(vpc, where);
    await this.#working(() => this.#bringBack(options.signal === undefined ? {} : { signal: options.signal }));
    return execIn(instance, command, options);
  }

  /** Starts a program in an instance and leaves it running; returns when its port is open. Again with the same arguments: nothing happens. */
  async deployApp(
    vpc: string,
    where: { readonly subnet?: string; readonly instance?: string },
    app: DeployApp,
  ): Promise<AppRecord> {
    const { port } = app;
    if (port !== undefined && !(Number.isInteger(port) && port > 0 && port < 65536)) {
      throw new VpcctlError('USAGE', `${port} is not a port`, { hint: 'give a number from 1 to 65535' });
    }
    return this.#working(async () => {
      this.#instance(vpc, where);
      await this.#bringBack({});
      // Looked up again with the lock: it may have been deleted since.
      const record = await this.#engine.withLocks(
        () => [vpc],
        {},
        async () => start(this.#store, this.#instance(vpc, where), app),
      );
      await untilReady(this.#store, record);
      return record;
    });
  }

  /** Ends the instance's programs (that on `port` only, if given); returns those that ran. */
  async stopApp(
    vpc: string,
    where: { readonly subnet?: string; readonly instance?: string },
    port?: number,
  ): Promise<AppRecord[]> {
    return this.#working(async () => {
      const instance = this.#instance(vpc, where);
      const stopped: AppRecord[] = [];
      for (const app of this.#store.apps(vpc, instance.name)) {
        if (port !== undefined && app.port !== port) continue;
        if (await stop(this.#store, app)) stopped.push(app);
      }
      return stopped;
    });
  }

  /** Programs started by {@link deployApp}, and whether each still runs. */
  apps(vpc?: string): (AppRecord & { running: boolean })[] {
    return this.#store.apps(vpc).map((app) => ({ ...app, running: isRunning(app) }));
  }

  /** Ends programs whose instance is gone. */
  async #sweepApps(apps: readonly AppRecord[]): Promise<void> {
    for (const app of apps) if (isStranded(this.#store, app)) await stop(this.#store, app);
  }
}

function transportOf(text: string | undefined): NftTransport {
  if (text === undefined || text === '' || text === 'auto') return 'auto';
  if (text === 'library' || text === 'process') return text;
  throw new VpcctlError('USAGE', `VPCCTL_NFT is ${quote(text)}`, { hint: 'it may be auto, library or process' });
}

/** Opens an installation: {@link Vpcctl.open}. */
export async function open(options: OpenOptions = {}): Promise<Vpcctl> {
  return Vpcctl.open(options);
}
