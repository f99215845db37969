/** Bringing everything back after the machine was started anew: VPC by VPC, so that one that fails does not stop the others. */
import { VpcctlError } from '../errors.js';
import { namespacesOf } from '../lower/lower.js';
import { findKind } from '../model/reader.js';
import { describe, INSTALLATION_SCOPE, type Resource, scopesOf } from '../model/resources.js';
import { adoptBoot, endRestore, isOtherBoot, missingParts } from './boot.js';
import type { Engine, EngineEvent, EngineOptions } from './engine.js';
import { type RepairResult, runRepair, select } from './repair.js';
import type { Store } from './store.js';

/** One that could not be brought back. */
export interface RestoreFailure {
  /** `edge`, `vpc a`, `peering a - b`. */
  readonly what: string;
  readonly error: VpcctlError;
}

export interface RestoreResult {
  /** What was brought back: `edge`, `vpc a`, `peering a - b`. What was there already is not among it. */
  readonly restored: readonly string[];
  readonly failed: readonly RestoreFailure[];
  readonly kernel: RepairResult['kernel'];
}

/** Progress of a restore: one part after the other, and the end of one that began by itself. */
export type RestoreEvent =
  | { readonly type: 'restoring'; readonly what: string; readonly index: number; readonly total: number }
  | {
      readonly type: 'restored';
      readonly restored: readonly string[];
      readonly failed: readonly RestoreFailure[];
      /** It was told before that these had failed. */
      readonly again?: true;
    };

export interface RestoreOptions extends Omit<EngineOptions, 'onEvent'> {
  readonly onEvent?: (event: EngineEvent | RestoreEvent) => void;
  /** After a restore in which something failed: that alone. */
  readonly onlyMissing?: boolean;
}

interface Part {
  readonly what: string;
  readonly includes: (resource: Resource) => boolean;
}

/** In an order in which each part finds what it hangs on: the border, the VPCs, what joins them. */
function partsOf(store: Store): Part[] {
  return [
    ...findKind(store, 'edge', 'kind:edge').map(
      (edge): Part => ({ what: describe(edge), includes: ({ kind }) => kind === 'edge' }),
    ),
    ...findKind(store, 'vpc', 'kind:vpc').map(
      (vpc): Part => ({
        what: describe(vpc),
        includes: (resource) =>
          resource.kind !== 'peering' &&
          resource.kind !== 'transit-attachment' &&
          scopesOf(resource).includes(vpc.name),
      }),
    ),
    ...findKind(store, 'transit-gateway', 'kind:transit-gateway').map(
      ({ kind, name }): Part => ({
        what: describe({ kind, name }),
        includes: (resource) =>
          (resource.kind === 'transit-gateway' && resource.name === name) ||
          ('transitGateway' in resource && resource.transitGateway === name),
      }),
    ),
    ...findKind(store, 'peering', 'kind:peering').map(
      (peering): Part => ({
        what: describe(peering),
        includes: (resource) => resource.kind === 'peering' && describe(resource) === describe(peering),
      }),
    ),
  ];
}

/** Takes notice of a new start: what dead processes began is ended, and the host's settings are read anew. */
async function takeNotice(engine: Engine, options: EngineOptions): Promise<void> {
  const { store, kernel } = engine;
  const scopes = (): string[] => [INSTALLATION_SCOPE, ...findKind(store, 'vpc', 'kind:vpc').map(({ name }) => name)];
  await engine.withLocks(scopes, options, async () => {
    if (isOtherBoot(store, kernel)) await adoptBoot(store, kernel);
  });
}

/** Brings back what was recorded and is not there. */
export async function runRestore(engine: Engine, options: RestoreOptions): Promise<RestoreResult> {
  const missing = missingParts(engine.store, engine.kernel);
  const isMissing = (what: string): boolean => missing === 'all' || missing.includes(what);
  if (isOtherBoot(engine.store, engine.kernel)) await takeNotice(engine, options);
  const parts = partsOf(engine.store).filter(({ what }) => options.onlyMissing !== true || isMissing(what));
  const restored: string[] = [];
  const failed: RestoreFailure[] = [];
  const kernel = { create: 0, update: 0, delete: 0 };
  // Of a part that is not there, nobody knows what is in its place.
  const avoid = new Set<string>();
  for (const [index, { what, includes }] of parts.entries()) {
    options.onEvent?.({ type: 'restoring', what, index, total: parts.length });
    try {
      const done = await runRepair(engine, () => select(engine.store, includes), {
        ...options,
        anew: isMissing(what),
        avoid,
      });
      for (const op of ['create', 'update', 'delete'] as const) kernel[op] += done.kernel[op];
      const lost = done.left.find(({ recorded }) => recorded !== undefined);
      if (lost !== undefined) failed.push({ what, error: incomplete(lost.sentence) });
      else if (done.repaired.length > 0) restored.push(what);
    } catch (error) {
      if (!(error instanceof VpcctlError) || error.code === 'ABORTED' || error.code === 'STATE') throw error;
      failed.push({ what, error });
      for (const ns of engine.store.resources().filter(includes).flatMap(namespacesOf)) avoid.add(ns);
    }
  }
  endRestore(
    engine.store,
    failed.map(({ what }) => what),
  );
  return { restored, failed, kernel };
}

function incomplete(sentence: string): VpcctlError {
  return new VpcctlError('CONFLICT', sentence, {
    hint: 'something that is not ours is in its place, or what it hangs on is not there; see `vpcctl drift`, then run `vpcctl repair`',
  });
}
