import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { LANES, type Native, type NativeOp, type NativeResult } from '../../../src/kernel/native.js';
import { Spares } from '../../../src/kernel/spares.js';

/** Makes and drops numbers; refuses documents called `bad`. */
class Maker {
  readonly there = new Set<number>();
  programs = 0;
  most = 0;

  async run(ops: readonly NativeOp[], _keepGoing?: boolean, lane?: number): Promise<NativeResult[]> {
    expect(lane).toBe(LANES.spares);
    this.programs += 1;
    this.most = Math.max(this.most, ops.length);
    await sleep(1);
    return ops.map((op) => {
      if (op.op === 'spare-make' && op.document === 'bad') return { errno: 74 };
      if (op.op === 'spare-make') this.there.add(op.spare);
      if (op.op === 'spare-drop') this.there.delete(op.spare);
      return { errno: 0 };
    });
  }
}

function spares(): { maker: Maker; stock: Spares } {
  const maker = new Maker();
  return { maker, stock: new Spares(maker as unknown as Native) };
}

test('what is wanted is there, each for one taker', async () => {
  const { maker, stock } = spares();
  expect([stock.any, stock.take('')]).toEqual([false, undefined]);
  await stock.keep(
    new Map([
      ['', 6],
      ['wall', 1],
    ]),
  );
  expect([stock.any, maker.there.size, maker.most]).toEqual([true, 7, 4]);
  const taken = Array.from({ length: 7 }, () => stock.take(''));
  expect(new Set(taken.slice(0, 6)).size).toBe(6);
  expect(taken[6]).toBeUndefined();
  expect([stock.take('wall'), stock.take('wall'), stock.take('other')]).toEqual([
    expect.any(Number),
    undefined,
    undefined,
  ]);
});

test('what was taken is made again once nobody works any more', async () => {
  const { maker, stock } = spares();
  await stock.keep(new Map([['', 2]]));
  await stock.beside(async () => {
    await stock.beside(async () => void stock.take(''));
    await sleep(10);
    expect(maker.there.size).toBe(2);
  });
  await expect.poll(() => maker.there.size).toBe(3);
  expect([stock.take(''), stock.take(''), stock.take('')]).toEqual([expect.any(Number), expect.any(Number), undefined]);
});

test('what cannot be made is asked for once', async () => {
  const { maker, stock } = spares();
  await stock.keep(
    new Map([
      ['bad', 3],
      ['', 1],
    ]),
  );
  expect([stock.take('bad'), stock.take('')]).toEqual([undefined, expect.any(Number)]);
  const { programs } = maker;
  await stock.keep(new Map([['bad', 3]]));
  expect(maker.programs).toBe(programs);
});

test('what is not wanted any more goes, also what was being made', async () => {
  const { maker, stock } = spares();
  const keeping = stock.keep(new Map([['', 9]]));
  await stock.keep(new Map());
  await keeping;
  expect([stock.any, maker.there.size, stock.take('')]).toEqual([false, 0, undefined]);
});
