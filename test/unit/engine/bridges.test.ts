/** A VPC that outgrows its bridge, on a kernel in memory that refuses the 1024th port as the real one does. */
import { describe, expect, test } from 'vitest';
import { BRIDGE_PORTS } from '../../../src/model/bridges.js';
import type { Draft } from '../../../src/model/reader.js';
import * as verbs from '../../../src/model/verbs.js';
import { drift, fresh, recorded, snapshot } from './support.js';

const add = (draft: Draft, name: string): void => {
  verbs.addInstance(draft, { vpc: 'a', subnet: 's', name });
};

describe('a VPC whose bridge is full', () => {
  test('gets another, or stays as it was', async () => {
    const { engine, kernel } = fresh();
    await engine.transact((draft) => {
      verbs.createVpc(draft, { name: 'a', cidr: '10.0.0.0/16' });
      verbs.addSubnet(draft, { vpc: 'a', name: 's', cidr: '10.0.0.0/20' });
      for (let index = 0; index < BRIDGE_PORTS; index += 1) add(draft, `x${index}`);
    });
    const before = [...snapshot(kernel), ...recorded(engine)];
    let refused = 0;
    for (let number = 1; ; number += 1) {
      kernel.failAt(number);
      const done = await engine.transact((draft) => add(draft, 'y')).catch(() => undefined);
      if (done !== undefined) break;
      refused += 1;
      if (number % 5 === 1) expect([...snapshot(kernel), ...recorded(engine)]).toEqual(before);
    }
    expect(refused).toBeGreaterThan(15);
    kernel.failAt(undefined);
    expect(kernel.rows().filter((row) => row.kind === 'link' && row.type === 'bridge')).toHaveLength(2);
    expect(drift(engine, kernel)).toEqual([]);
    // A place that becomes free with a transaction is not free in it: the link that has it goes last.
    await engine.transact((draft) => {
      verbs.deleteInstance(draft, 'a', 'x7');
      add(draft, 'z');
    });
    await engine.transact((draft) => add(draft, 'x7'));
    expect(drift(engine, kernel)).toEqual([]);
    await engine.transact((draft) => verbs.deleteVpc(draft, 'a'));
    expect([kernel.rows(), recorded(engine)]).toEqual([[], []]);
  }, 60_000);
});
