/**
 * vpcctl: cloud VPCs, with the cloud's rules, made of real Linux kernel objects.
 *
 * ```ts
 * import { open } from 'vpcctl';
 *
 * const vpcctl = await open();
 * await vpcctl.transaction((tx) => {
 *   tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
 *   tx.addSubnet({ vpc: 'a', name: 'web', cidr: '10.1.1.0/24', public: true });
 *   tx.addInstance({ vpc: 'a', subnet: 'web', name: 'web-1' });
 * });
 * await vpcctl.close();
 * ```
 */

export type {
  Analysis,
  Cell,
  Component,
  ComponentKind,
  Endpoint,
  Hop,
  Matrix,
  MatrixQuery,
  Query,
  Refusal,
  ResolvedQuery,
  Translation,
} from './analyze/types.js';
export type { DeployApp, ExecOptions, ExecResult } from './engine/apps.js';
export { type BenchFigures, type BenchMachine, type BenchOptions, benchmark } from './engine/bench.js';
export type { Check } from './engine/check.js';
export { type DoctorOptions, type DoctorReport, doctor } from './engine/doctor.js';
export { type Door, type DoorOptions, openDoor } from './engine/door.js';
export type { Drift } from './engine/drift.js';
export type { HeldView } from './engine/engine.js';
export { describeFix, type FileFix, type Fix, type RuleFix, type SysctlFix, type Undone } from './engine/fixes.js';
export { runInPrivateHost } from './engine/private.js';
export { agreement, type ProbeOptions, type ProbeResult } from './engine/probe.js';
export type { RepairResult } from './engine/repair.js';
export type { RestoreEvent, RestoreFailure, RestoreResult } from './engine/restore.js';
export { type AppRecord, DEFAULT_STATE_DIR } from './engine/store.js';
export type {
  DnsView,
  ElasticIpView,
  InstallationView,
  InstanceView,
  NatGatewayView,
  NetworkAclView,
  PeeringView,
  PrefixListView,
  PrivateZoneView,
  RouteTableView,
  RouteView,
  SecurityGroupView,
  SubnetView,
  TransitGatewayView,
  VpcView,
} from './engine/view.js';
export {
  type OpenOptions,
  open,
  type PlannedChange,
  type PlanView,
  type RunOptions,
  type Transaction,
  type TransactionResult,
  Vpcctl,
  type VpcctlEvent,
} from './engine/vpcctl.js';
export type { WatchEvent, WatchOptions } from './engine/watch.js';
export { type ErrorCode, type ErrorFacts, EXIT_CODES, VpcctlError } from './errors.js';
export type { HeldNamespace, Holder, Kernel, KernelWatch, Lingering, OnChange } from './kernel/kernel.js';
export type { Machine } from './kernel/machine.js';
export { MemoryKernel, type MemoryKernelOptions } from './kernel/memory.js';
export type { NftTransport } from './kernel/nft.js';
export type { AclDirection } from './model/acls.js';
export type { ModifyPrefixList } from './model/prefix-lists.js';
export type { RecordType } from './model/resources.js';
export type { AddNatGateway } from './model/routing.js';
export type { AttachVpc } from './model/transit.js';
export type { AddInstance, AddSubnet, CreateVpc, ModifyInstance } from './model/verbs.js';
export type { Change } from './objects/change.js';
export type { KernelObject } from './objects/kernel-object.js';
export {
  type Format,
  formatSpec,
  type ParsedSpec,
  type ParseOptions,
  parseNetworkAclFile,
  parsePolicyFile,
  parseSecurityGroupFile,
  parseSpec,
} from './spec/parse.js';
export { policyJsonSchema, specJsonSchema } from './spec/schema.js';
export type * from './spec/types.js';
