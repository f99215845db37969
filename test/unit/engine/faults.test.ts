/** A failure, or the death of the process, at every single change: the old state or the new one, never another. */
import { describe, expect, test } from 'vitest';
import { VpcctlError } from '../../../src/errors.js';
import { MemoryKernel } from '../../../src/kernel/memory.js';
import { associateElasticIp } from '../../../src/model/elastic.js';
import type { Draft } from '../../../src/model/reader.js';
import { deleteNatGateway } from '../../../src/model/routing.js';
import { destroySpec } from '../../../src/model/spec.js';
import { addSubnet, unpeer } from '../../../src/model/verbs.js';
import type { Spec } from '../../../src/spec/types.js';
import { apply, BEFORE, drift, engineOn, fresh, RICH, recorded, snapshot, stateDir } from './support.js';

const TIMEOUT = 120_000;

type Edit = (draft: Draft) => void;

/** Route tables, NAT gateways, an elastic address, a peering by manual routes. */
const ROUTED: Spec = {
  elasticIps: { e: {} },
  vpcs: {
    a: {
      cidr: '10.0.0.0/16',
      subnets: {
        web: { cidr: '10.0.1.0/24', public: true },
        db: { cidr: '10.0.2.0/24' },
        own: { cidr: '10.0.3.0/24', routeTable: 'own' },
      },
      routeTables: {
        main: { routes: [{ destination: '0.0.0.0/0', target: { natGateway: 'n' } }] },
        own: { routes: [{ destination: '10.1.0.0/16', target: { peering: 'b' } }] },
      },
      natGateways: { n: { subnet: 'web', elasticIp: 'e' }, p: { subnet: 'own', connectivity: 'private' } },
      instances: { d: { subnet: 'db' } },
    },
    b: { cidr: '10.1.0.0/16', subnets: { s: { cidr: '10.1.1.0/24' } } },
  },
  peerings: [{ vpcs: ['a', 'b'], routes: 'manual' }],
};

/** From nothing or from a state, to another. */
const CASES: readonly (readonly [string, Edit | undefined, Edit])[] = [
  ['a rich apply', undefined, apply(RICH)],
  ['an apply that changes a state in every way', apply(BEFORE), apply(RICH)],
  [
    'a delete of one of two peered VPCs',
    apply(RICH),
    (draft) => destroySpec(draft, { vpcs: { a: { cidr: '10.0.0.0/16' } } }),
  ],
  ['a delete of everything', apply(RICH), (draft) => destroySpec(draft, RICH)],
  ['routes and NAT gateways', apply(BEFORE), apply(ROUTED)],
  [
    'routes that become black holes, and an elastic address that moves',
    apply(ROUTED),
    (draft) => {
      deleteNatGateway(draft, 'a', 'n');
      unpeer(draft, 'a', 'b');
      addSubnet(draft, { vpc: 'a', name: 'web', cidr: '10.0.1.0/24', public: false });
      associateElasticIp(draft, 'e', 'a', 'd');
    },
  ],
];

/** The whole state of a machine and its store, as one text each line of which is a fact. */
function facts(kernel: MemoryKernel, engine: Parameters<typeof recorded>[0]): string[] {
  return [...snapshot(kernel), ...recorded(engine)];
}

/** What the edit does where nothing goes wrong. */
async function undisturbed(before: Edit | undefined, edit: Edit) {
  const { engine, kernel } = fresh();
  if (before !== undefined) await engine.transact(before);
  const old = facts(kernel, engine);
  const start = kernel.changes;
  const { plan } = await engine.transact(edit);
  const total = kernel.changes - start;
  const forward = plan.forward.flatMap(({ changes }) => changes).length;
  expect(total).toBe(forward + plan.teardown.changes.length);
  return { old, made: facts(kernel, engine), forward, total };
}

class Killed extends Error {}

/** A machine on which processes die at the change with the given number from now: they do nothing more, not even undo. */
function mortal() {
  let at: number | undefined;
  const kernel = new MemoryKernel({
    onChange: (_change, number) => {
      if (at !== undefined && number >= at) throw new Killed();
    },
  });
  const killAt = (number: number | undefined): void => {
    at = number === undefined ? undefined : kernel.changes + number;
  };
  return { dir: stateDir(), kernel, killAt };
}

describe.each(CASES)('%s', (_, before, edit) => {
  test(
    'leaves nothing to differ, and nothing to do',
    async () => {
      const { engine, kernel } = fresh();
      if (before !== undefined) await engine.transact(before);
      await engine.transact(edit);
      expect(drift(engine, kernel)).toEqual([]);
      expect(engine.store.unfinished()).toEqual([]);
      const changes = kernel.changes;
      const again = await engine.transact(edit);
      expect([again.edits, again.changes, kernel.changes - changes]).toEqual([[], [], 0]);
    },
    TIMEOUT,
  );

  test(
    'refused at any change, is undone whole, and works the next time',
    async () => {
      const { old, made, forward } = await undisturbed(before, edit);
      const { engine, kernel } = fresh();
      if (before !== undefined) await engine.transact(before);
      for (let at = 1; at <= forward; at += 1) {
        kernel.failAt(at);
        const refused: unknown = await engine.transact(edit).catch((error: unknown) => error);
        expect(refused, `change ${at}`).toBeInstanceOf(VpcctlError);
        expect(refused).toMatchObject({ code: 'KERNEL', facts: { errno: 'EIO' } });
        expect(facts(kernel, engine), `change ${at}`).toEqual(old);
        expect(engine.store.unfinished()).toEqual([]);
      }
      kernel.failAt(undefined);
      await engine.transact(edit);
      expect(facts(kernel, engine)).toEqual(made);
    },
    TIMEOUT,
  );

  test(
    'refused while tearing down, is carried on with',
    async () => {
      const { made, forward, total } = await undisturbed(before, edit);
      for (let at = forward + 1; at <= total; at += 1) {
        const { engine, kernel } = fresh();
        if (before !== undefined) await engine.transact(before);
        kernel.failAt(at);
        await expect(engine.transact(edit)).rejects.toMatchObject({ code: 'KERNEL', facts: { errno: 'EIO' } });
        expect(recorded(engine)).toEqual(made.filter((fact) => fact.startsWith('recorded ')));
        await engine.recoverAll();
        expect(facts(kernel, engine), `change ${at}`).toEqual(made);
      }
    },
    TIMEOUT,
  );

  test(
    'killed at any change before the commit, is the old state once somebody looks',
    async () => {
      const { old, made, forward } = await undisturbed(before, edit);
      const { dir, kernel, killAt } = mortal();
      const first = engineOn(dir, kernel);
      if (before !== undefined) await first.transact(before);
      for (let at = 1; at <= forward; at += 1) {
        const dying = engineOn(dir, kernel);
        killAt(at);
        await expect(dying.transact(edit)).rejects.toBeInstanceOf(Killed);
        killAt(undefined);
        expect(dying.store.unfinished(), 'the journal is left').toMatchObject([{ entry: { phase: 'forward' } }]);
        dying.store.close();
        await first.recoverAll();
        expect(facts(kernel, first), `killed at change ${at}`).toEqual(old);
        expect(first.store.unfinished()).toEqual([]);
      }
      await first.transact(edit);
      expect(facts(kernel, first)).toEqual(made);
    },
    TIMEOUT,
  );

  test(
    'killed at any change after the commit, is the new state once somebody looks',
    async () => {
      const { made, forward, total } = await undisturbed(before, edit);
      for (let at = forward + 1; at <= total; at += 1) {
        const { dir, kernel, killAt } = mortal();
        const dying = engineOn(dir, kernel);
        if (before !== undefined) await dying.transact(before);
        killAt(at);
        await expect(dying.transact(edit)).rejects.toBeInstanceOf(Killed);
        killAt(undefined);
        expect(dying.store.unfinished(), 'the journal is left').toMatchObject([{ entry: { phase: 'teardown' } }]);
        const next = engineOn(dir, kernel);
        // Without a look at everything: the next change of the same VPC finishes it first.
        const events: string[] = [];
        await next.transact(edit, {
          onEvent: (event) => events.push(event.type === 'recovered' ? event.what : event.type),
        });
        if (next.store.unfinished().length > 0) await next.recoverAll();
        expect(facts(kernel, next), `killed at change ${at}`).toEqual(made);
      }
    },
    TIMEOUT,
  );

  test(
    'killed while it is being undone, is undone by the next',
    async () => {
      const { old, forward } = await undisturbed(before, edit);
      const { dir, kernel, killAt } = mortal();
      const first = engineOn(dir, kernel);
      if (before !== undefined) await first.transact(before);
      let killed = 0;
      const stride = Math.ceil(forward / 60);
      for (let into = 1; into <= forward; into += stride) {
        const dying = engineOn(dir, kernel);
        // The last change of all is refused: everything has to be undone.
        kernel.failAt(forward);
        killAt(forward + into);
        const outcome: unknown = await dying.transact(edit).catch((error: unknown) => error);
        killAt(undefined);
        dying.store.close();
        if (outcome instanceof Killed) killed += 1;
        else expect(outcome).toMatchObject({ facts: { errno: 'EIO' } });
        await first.recoverAll();
        expect(facts(kernel, first), `killed ${into} changes into the rollback`).toEqual(old);
      }
      // With one change there is nothing to undo.
      expect(killed > 0).toBe(forward > 1);
    },
    TIMEOUT,
  );
});
