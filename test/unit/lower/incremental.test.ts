/** Lowering a model piece by piece, as transactions come, against lowering all of it at once. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { lower } from '../../../src/lower/lower.js';
import { idOf } from '../../../src/model/resources.js';
import { rowKey } from '../../../src/objects/kernel-object.js';
import { attempt, transactions, World } from '../model/support.js';
import { assertProperty } from '../net/property.js';

const TIMEOUT = 60_000;

describe('after any sequence of transactions', () => {
  test(
    'what was lowered step by step is what the whole model lowers to',
    () => {
      assertProperty(
        fc.property(transactions, (list) => {
          const world = new World();
          for (const steps of list) {
            if (attempt(world, steps)) expect(world.keptRows()).toEqual(world.freshRows());
          }
        }),
        { numRuns: 150 },
      );
    },
    TIMEOUT,
  );

  test(
    'no row has two owners',
    () => {
      assertProperty(
        fc.property(transactions, (list) => {
          const world = new World();
          for (const steps of list) attempt(world, steps);
          const owners = new Map<string, string>();
          for (const resource of world.all()) {
            for (const row of lower(world.reader, resource)) {
              const key = rowKey(row);
              expect(owners.get(key), key).toBeUndefined();
              owners.set(key, idOf(resource));
            }
          }
        }),
        { numRuns: 150 },
      );
    },
    TIMEOUT,
  );
});
