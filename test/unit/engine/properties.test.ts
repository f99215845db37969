/** Any sequence of transactions, carried out on the kernel in memory. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Engine } from '../../../src/engine/engine.js';
import { Locks } from '../../../src/engine/locks.js';
import { Store } from '../../../src/engine/store.js';
import { VpcctlError } from '../../../src/errors.js';
import { MemoryKernel } from '../../../src/kernel/memory.js';
import { lower } from '../../../src/lower/lower.js';
import type { Draft } from '../../../src/model/reader.js';
import { exportSpec } from '../../../src/model/spec.js';
import { type Change, invert } from '../../../src/objects/change.js';
import { type KernelObject, type NftTableRow, rowKey, rowText } from '../../../src/objects/kernel-object.js';
import { diff } from '../../../src/plan/diff.js';
import { plan, rollback } from '../../../src/plan/plan.js';
import { replaceTables, rowsOfTable } from '../../../src/plan/tables.js';
import { bury, byKey, run, type Step, transactions } from '../model/support.js';
import { apply, recorded, snapshot } from './support.js';

const TIMEOUT = 120_000;

/** A host with the second link that some transactions name. */
const kernelOf = (): MemoryKernel =>
  new MemoryKernel({
    links: [
      { name: 'lo', mtu: 65536, up: true },
      { name: 'eth0', mtu: 1500, up: true },
      { name: 'eth1', mtu: 9000, up: true },
    ],
  });

async function withEngine(body: (engine: Engine, kernel: MemoryKernel) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'vpcctl-engine-'));
  const kernel = kernelOf();
  const store = new Store(dir);
  try {
    await body(new Engine(store, kernel, new Locks(dir, 1000)), kernel);
  } finally {
    store.close();
    rmSync(dir, { recursive: true });
  }
}

const edit =
  (steps: readonly Step[]) =>
  (draft: Draft): void => {
    for (const step of steps) run(draft, step);
  };

/** Whether the steps were carried out; what refuses them is a rule of the model. */
async function attempt(engine: Engine, steps: readonly Step[]): Promise<boolean> {
  try {
    await engine.transact(edit(steps));
    return true;
  } catch (error) {
    if (error instanceof VpcctlError && error.code !== 'KERNEL') return false;
    throw error;
  }
}

const facts = (engine: Engine, kernel: MemoryKernel): string[] => [...snapshot(kernel), ...recorded(engine)];

test(
  'what is recorded, what the kernel has and what the whole model lowers to are one, and nothing is left to do',
  async () => {
    await fc.assert(
      fc.asyncProperty(transactions, async (list) => {
        await withEngine(async (engine, kernel) => {
          for (const steps of list) {
            const before = facts(engine, kernel);
            if (!(await attempt(engine, steps))) expect(facts(engine, kernel)).toEqual(before);
            const rows = engine.store.rows().map(({ row }) => row);
            expect(diff(rows, kernel.rows())).toEqual([]);
          }
          const whole = engine.store.resources().flatMap((resource) => lower(engine.store, resource));
          expect(byKey(engine.store.rows().map(({ row }) => row))).toEqual(byKey(whole));
          expect((await engine.transact(bury)).changes).toEqual([]);
          const again = await engine.prepare(apply(exportSpec(engine.store)));
          expect([again.edits, again.changes]).toEqual([[], []]);
        });
      }),
      { numRuns: 40 },
    );
  },
  TIMEOUT,
);

test(
  'a transaction that is refused at any change leaves no trace, and works the next time',
  async () => {
    await fc.assert(
      fc.asyncProperty(transactions, fc.array(fc.nat(60), { minLength: 12 }), async (list, points) => {
        await withEngine(async (engine, kernel) => {
          for (const [index, steps] of list.entries()) {
            const before = facts(engine, kernel);
            const at = (points[index % points.length] ?? 0) + 1;
            const { plan: planned } = await engine.prepare(edit(steps)).catch(() => ({ plan: plan([]) }));
            const forward = planned.forward.flatMap(({ changes }) => changes).length;
            if (at <= forward) {
              kernel.failAt(at);
              await expect(engine.transact(edit(steps))).rejects.toMatchObject({ facts: { errno: 'EIO' } });
              expect(facts(engine, kernel)).toEqual(before);
              kernel.failAt(undefined);
            }
            await attempt(engine, steps);
          }
        });
      }),
      { numRuns: 40 },
    );
  },
  TIMEOUT,
);

type RowsOf = (table: NftTableRow) => ReturnType<typeof rowsOfTable>;

/** The rows of a state that some transactions lead to. */
async function rowsAfter(list: readonly (readonly Step[])[]): Promise<KernelObject[]> {
  let rows: KernelObject[] = [];
  await withEngine(async (engine) => {
    for (const steps of list) await attempt(engine, steps);
    rows = engine.store.rows().map(({ row }) => row);
  });
  return rows;
}

async function carryOut(kernel: MemoryKernel, changes: readonly Change[], tolerant = false): Promise<void> {
  const failure = await kernel.apply(changes, { tolerant });
  expect(failure?.error.toLine()).toBeUndefined();
}

function isHandedOver(change: Change): boolean {
  if (change.op !== 'update') return false;
  const { row, old } = change;
  if (row.kind !== 'link' || old.kind !== 'link' || row.type !== 'veth' || old.type !== 'veth') return false;
  return row.peer.ns !== old.peer.ns || row.peer.name !== old.peer.name;
}

test(
  'from any state to any other: the differences, carried out, are no more; the stages, undone, were never',
  async () => {
    await fc.assert(
      fc.asyncProperty(transactions, transactions, async (from, to) => {
        const [known, wanted] = [await rowsAfter(from), await rowsAfter(to)];
        // The model lets no address change hands in one transaction: its port's other end would be another one.
        fc.pre(!diff(known, wanted).some(isHandedOver));
        const kernel = kernelOf();
        const first = plan(diff([], known));
        for (const { changes } of first.forward) await carryOut(kernel, changes);
        expect(diff(kernel.rows(), known)).toEqual([]);
        const before = snapshot(kernel);

        const tables = [known, wanted].map((rows) => (table: NftTableRow) => rowsOfTable(table, rows));
        const changes = replaceTables(diff(known, wanted), ...(tables as [RowsOf, RowsOf]));
        const { forward, teardown } = plan(changes);
        for (let done = 1; done <= forward.length; done += 1) {
          const stages = forward.slice(0, done);
          for (const { changes } of stages) await carryOut(kernel, changes);
          for (const { changes } of rollback(stages)) await carryOut(kernel, changes, true);
          expect(snapshot(kernel)).toEqual(before);
        }
        for (const { changes } of [...forward, teardown]) await carryOut(kernel, changes);
        expect(diff(kernel.rows(), wanted)).toEqual([]);
      }),
      { numRuns: 40 },
    );
  },
  TIMEOUT,
);

test('the inverse of the inverse is the change; of a change, what was there before', () => {
  const old: KernelObject = { kind: 'rule', ns: 'n', priority: 1, from: '10.0.0.0/24', table: 1 };
  const row: KernelObject = { ...old, table: 2 };
  for (const change of [
    { op: 'create', row },
    { op: 'delete', row },
    { op: 'update', row, old },
  ] as const) {
    const back = invert(change) as Change;
    expect(invert(back)).toEqual(change);
    expect(rowKey(back.row)).toBe(rowKey(change.row));
    if (change.op === 'update') expect(rowText(back.row)).toBe(rowText(old));
  }
});
