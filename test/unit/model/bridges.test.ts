/** Places on bridges. What the kernel's limit is, `test/kernel/bridges.test.ts` knows. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BRIDGE_PORTS, bridgeOf } from '../../../src/model/bridges.js';
import { findKind } from '../../../src/model/reader.js';
import type { Instance, Ports } from '../../../src/model/resources.js';
import { exportSpec } from '../../../src/model/spec.js';
import { addInstance, addSubnet, createVpc, deleteInstance, deleteVpc } from '../../../src/model/verbs.js';
import { assertProperty } from '../net/property.js';
import { attempt, HOST, transactions, type World, world } from './support.js';

/** A VPC on whose bridges so many places are taken, by nobody that can be deleted. */
function crowded(...used: readonly number[]): World {
  const made = world((tx) => {
    createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
    addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.0.0/20', addressing: 'plain' });
  });
  made.transact((tx) => {
    tx.put({ kind: 'ports', vpc: 'a', used });
    for (let number = 1; number < used.length; number += 1) tx.put({ kind: 'bridge', vpc: 'a', number });
  });
  return made;
}

const used = (made: World): readonly number[] => (made.reader.get('ports/a') as Ports | undefined)?.used ?? [];
const bridges = (made: World): number[] => findKind(made.reader, 'bridge', 'bridges:a').map(({ number }) => number);
const of = (made: World, name: string): number => bridgeOf(made.get<Instance>(`instance/a/${name}`));
const add =
  (...names: readonly string[]) =>
  (tx: Parameters<typeof addInstance>[0]) => {
    for (const name of names) addInstance(tx, { vpc: 'a', subnet: 's', name });
  };

describe('a place on a bridge', () => {
  test('is on the only one until that is full, and says nothing of itself', () => {
    const made = crowded(BRIDGE_PORTS - 1);
    made.transact(add('x'));
    expect(made.get('instance/a/x')).not.toHaveProperty('bridge');
    expect([used(made), bridges(made)]).toEqual([[BRIDGE_PORTS], []]);
    made.transact(add('y'));
    expect(of(made, 'y')).toBe(1);
    expect([used(made), bridges(made)]).toEqual([[BRIDGE_PORTS, 1], [1]]);
  });

  test('is the first that is free, on the first bridge that has one', () => {
    const made = crowded(BRIDGE_PORTS - 2, BRIDGE_PORTS, BRIDGE_PORTS - 1);
    made.transact(add('u', 'v', 'w', 'x'));
    expect(['u', 'v', 'w', 'x'].map((name) => of(made, name))).toEqual([0, 0, 2, 3]);
    expect(bridges(made)).toEqual([1, 2, 3]);
  });

  test('is free for the transaction after the one that leaves it', () => {
    const made = crowded(BRIDGE_PORTS - 1);
    made.transact(add('x'));
    made.transact((tx) => {
      deleteInstance(tx, 'a', 'x');
      add('y')(tx);
    });
    expect(of(made, 'y')).toBe(1);
    made.transact(add('z'));
    expect(of(made, 'z')).toBe(0);
  });

  test('is kept: by changes, and by who comes back in one transaction', () => {
    const made = crowded(BRIDGE_PORTS);
    made.transact(add('x'));
    const { edits } = made.transact((tx) => {
      deleteInstance(tx, 'a', 'x');
      add('x')(tx);
    });
    expect(edits).toEqual([]);
    made.transact((tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'x', securityGroups: ['default'] }));
    expect([of(made, 'x'), used(made)]).toEqual([1, [BRIDGE_PORTS, 1]]);
  });

  test('on a further bridge is no reason for another one to go: bridges stay until the VPC goes', () => {
    const made = crowded(BRIDGE_PORTS);
    made.transact(add('x'));
    made.transact((tx) => deleteInstance(tx, 'a', 'x'));
    expect([used(made), bridges(made)]).toEqual([[BRIDGE_PORTS, 0], [1]]);
    made.transact((tx) => deleteVpc(tx, 'a'));
    expect(made.all()).toEqual([]);
    expect(made.keptRows().size).toBe(0);
  });

  test('outlives a VPC that comes back in one transaction', () => {
    const made = crowded(BRIDGE_PORTS);
    made.transact(add('x'));
    made.transact(
      (tx) => {
        deleteVpc(tx, 'a');
        createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
        addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.0.0/20', addressing: 'plain' });
        add('x')(tx);
      },
      { ...HOST, linkMtu: new Map([['eth0', 1400]]) },
    );
    expect([of(made, 'x'), bridges(made)]).toEqual([1, [1]]);
    expect(made.keptRows()).toEqual(made.freshRows());
  });

  test('is counted where no count was recorded', () => {
    const made = world((tx) => {
      createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
      addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.0.0/20' });
      add('x', 'y', 'z')(tx);
    });
    made.reader.remove('ports/a');
    made.transact((tx) => deleteInstance(tx, 'a', 'x'));
    expect(used(made)).toEqual([2]);
    made.reader.remove('ports/a');
    made.transact(add('x'));
    expect(used(made)).toEqual([3]);
  });

  test('is no part of what is exported', () => {
    const made = crowded(BRIDGE_PORTS);
    made.transact(add('x'));
    expect(exportSpec(made.reader).vpcs.a?.instances).toEqual({ x: { subnet: 's', ip: '10.0.0.2' } });
  });
});

/** Comings and goings: each transaction's names to add and to delete. */
const traffic = fc.array(
  fc.record({
    come: fc.uniqueArray(fc.integer({ min: 0, max: 30 }), { maxLength: 12 }),
    go: fc.uniqueArray(fc.integer({ min: 0, max: 30 }), { maxLength: 12 }),
  }),
  { minLength: 1, maxLength: 20 },
);

describe('however instances come and go', () => {
  test('no bridge has more than it takes, none moves, and a place that was left is taken before a bridge is made', () => {
    assertProperty(
      fc.property(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 20 }), traffic, (first, second, list) => {
        const phantoms = [BRIDGE_PORTS - first, BRIDGE_PORTS - second];
        const made = crowded(...phantoms);
        const homes = new Map<string, number>();
        for (const { come, go } of list) {
          const before = used(made);
          const fresh = come.filter((name) => !homes.has(`n${name}`)).length;
          made.transact((tx) => {
            for (const name of go) deleteInstance(tx, 'a', `n${name}`);
            for (const name of come) add(`n${name}`)(tx);
          });
          const there = findKind(made.reader, 'instance', 'instances:a');
          for (const instance of there) {
            expect(bridgeOf(instance), instance.name).toBe(homes.get(instance.name) ?? bridgeOf(instance));
          }
          homes.clear();
          for (const instance of there) homes.set(instance.name, bridgeOf(instance));
          const count = (number: number): number => there.filter((instance) => bridgeOf(instance) === number).length;
          const now = used(made);
          expect(now).toEqual(now.map((_, number) => count(number) + (phantoms[number] ?? 0)));
          expect(Math.max(...now)).toBeLessThanOrEqual(BRIDGE_PORTS);
          const room = before.reduce((sum, taken) => sum + BRIDGE_PORTS - taken, 0);
          expect(now.length > before.length).toBe(fresh > room);
        }
      }),
      { numRuns: 60 },
    );
  }, 60_000);

  test('what was lowered step by step is what the whole model lowers to', () => {
    assertProperty(
      fc.property(transactions, fc.integer({ min: 0, max: 2 }), (list, room) => {
        const made = world((tx) => {
          createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
          tx.put({ kind: 'ports', vpc: 'a', used: [BRIDGE_PORTS - room] });
        });
        for (const steps of list) if (attempt(made, steps)) expect(made.keptRows()).toEqual(made.freshRows());
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});
