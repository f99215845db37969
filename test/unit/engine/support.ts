/** Engines over a state directory of their own and a kernel in memory. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { canonicalText } from '../../../src/canonical.js';
import { Engine } from '../../../src/engine/engine.js';
import { Locks } from '../../../src/engine/locks.js';
import { Store } from '../../../src/engine/store.js';
import { MemoryKernel, type MemoryKernelOptions } from '../../../src/kernel/memory.js';
import type { Draft } from '../../../src/model/reader.js';
import { applySpec } from '../../../src/model/spec.js';
import { type KernelObject, rowKey, rowText } from '../../../src/objects/kernel-object.js';
import type { Spec } from '../../../src/spec/types.js';

/** A directory that goes with the test. */
export function stateDir(): string {
  const dir = mkdtempSync(join(tmpdir(), 'vpcctl-engine-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** An engine on the directory, as a process of its own would open it. */
export function engineOn(dir: string, kernel: MemoryKernel, waitMs = 10_000): Engine {
  const store = new Store(dir);
  onTestFinished(() => {
    try {
      store.close();
    } catch {
      // The test closed it.
    }
  });
  return new Engine(store, kernel, new Locks(dir, waitMs));
}

export function fresh(options: MemoryKernelOptions = {}): { dir: string; kernel: MemoryKernel; engine: Engine } {
  const dir = stateDir();
  const kernel = new MemoryKernel(options);
  return { dir, kernel, engine: engineOn(dir, kernel) };
}

export const apply = (spec: Spec) => (draft: Draft) => applySpec(draft, spec);

/** Two VPCs, peered; public and private subnets; groups that name each other; a policy; public addresses. */
export const RICH: Spec = {
  vpcs: {
    a: {
      cidr: '10.0.0.0/16',
      subnets: {
        web: { cidr: '10.0.1.0/24', public: true },
        db: {
          cidr: '10.0.2.0/24',
          policy: {
            ingress: [
              { protocol: 'tcp', port: 22, action: 'deny' },
              { action: 'allow', source: '10.0.0.0/16' },
            ],
          },
        },
      },
      securityGroups: {
        front: { ingress: [{ protocol: 'tcp', port: 80 }] },
        back: { ingress: [{ protocol: 'tcp', port: '5000-6000', from: { group: 'front' } }, { from: 'peers' }] },
      },
      instances: {
        w: { subnet: 'web', securityGroups: ['front'] },
        d: { subnet: 'db', securityGroups: ['back'] },
      },
    },
    b: {
      cidr: '10.1.0.0/16',
      subnets: { s: { cidr: '10.1.1.0/24', public: true }, t: { cidr: '10.1.2.0/28' } },
      instances: { x: { subnet: 's' }, y: { subnet: 't' } },
    },
  },
  peerings: [{ vpcs: ['a', 'b'] }],
};

/** A state that {@link RICH} changes in every way: more, other and fewer rows. */
export const BEFORE: Spec = {
  vpcs: {
    b: {
      cidr: '10.1.0.0/16',
      secondaryCidrs: ['10.9.0.0/24'],
      subnets: { s: { cidr: '10.1.1.0/24' }, t: { cidr: '10.1.2.0/28', public: true }, old: { cidr: '10.9.0.0/28' } },
      securityGroups: { default: { ingress: [{ from: 'vpc' }] } },
      instances: { x: { subnet: 's' }, y: { subnet: 't' }, z: { subnet: 'old' } },
    },
  },
};

/** All that the kernel has, which links are up, and the host's sysctls: a line a fact. */
export function snapshot(kernel: MemoryKernel): string[] {
  return [
    ...kernel.rows().map(rowText),
    ...kernel.raised().map((link) => `up ${link}`),
    ...[...kernel.hostSettings()].sort().map(([key, value]) => `host ${key} = ${value}`),
  ];
}

/** All that the store knows but versions and what is under way: a line a fact. */
export function recorded({ store }: Engine): string[] {
  return [
    ...store.resources().map((resource) => `recorded ${canonicalText(resource)}`),
    ...store
      .rows()
      .map(({ owner, row }) => `recorded ${owner} ${rowText(row)}`)
      .sort(),
  ];
}

/** Differences between what is recorded and what the kernel has. */
export function drift({ store }: Engine, kernel: MemoryKernel): string[] {
  const text = (rows: readonly KernelObject[]): Map<string, string> =>
    new Map(rows.map((row) => [rowKey(row), rowText(row)]));
  const known = text(store.rows().map(({ row }) => row));
  const seen = text(kernel.rows());
  const keys = [...new Set([...known.keys(), ...seen.keys()])].sort();
  return keys
    .filter((key) => known.get(key) !== seen.get(key))
    .map((key) => `${key}: ${known.get(key)} / ${seen.get(key)}`);
}
