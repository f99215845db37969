/** Deciding what lives on: bounded, and nothing is asked twice of what has ended. */
import { expect, test } from 'vitest';
import { cutLinks, verify } from '../../../src/kernel/lingering.js';
import type { Native, NativeOp, NativeResult } from '../../../src/kernel/native.js';

/** An addon in which namespaces die after being asked for so many times; nobody in /proc has these inodes. */
function addon(lives: ReadonlyMap<number, number>, links: (nsid: number) => Uint8Array = () => new Uint8Array()) {
  const asked = new Map<number, number>();
  const ops: NativeOp[] = [];
  const answer = (op: NativeOp): NativeResult => {
    ops.push(op);
    if (op.op === 'dump')
      return { errno: 0, data: links(new DataView(op.data.buffer).getInt32(op.data.length - 4, true)) };
    if (op.op !== 'netns-living') return { errno: 0, acks: [] };
    const alive = [...new Int32Array(op.data.slice().buffer)].filter((nsid) => {
      const times = (asked.get(nsid) ?? 0) + 1;
      asked.set(nsid, times);
      return times <= (lives.get(nsid) ?? 0);
    });
    return { errno: 0, data: new Uint8Array(Int32Array.from(alive).buffer) };
  };
  const native = { run: async (all: readonly NativeOp[]) => all.map(answer) } as unknown as Native;
  return { native, asked, ops };
}

const lingering = (ns: string, nsid: number) => ({ ns, token: `${nsid} ${nsid < 0 ? 1 : 4e9 + nsid}` });

test('what ends in a moment is not told of, and not asked for again', async () => {
  const { native, asked } = addon(new Map([[1, 2]]));
  expect(await verify(native, [lingering('a', 1), lingering('b', 2)])).toEqual([]);
  expect([...asked]).toEqual([
    [1, 3],
    [2, 1],
  ]);
});

test('what does not end in a second, and nobody is seen to hold, is the kernel’s to end; its number is released', async () => {
  const { native, ops } = addon(new Map([[1, Number.POSITIVE_INFINITY]]));
  const begun = Date.now();
  expect(await verify(native, [lingering('a', 1), lingering('b', 2)])).toEqual([]);
  expect(Date.now() - begun).toBeGreaterThan(900);
  expect(Date.now() - begun).toBeLessThan(3000);
  expect(ops.at(-1)).toMatchObject({ op: 'netns-living', release: true });
});

test('what could not be numbered is told of only where somebody is seen', async () => {
  const { native } = addon(new Map());
  expect(await verify(native, [lingering('a', -1)])).toEqual([]);
});

test('no links of ours: nothing is waited for or deleted', async () => {
  const { native, ops } = addon(new Map([[1, 100]]));
  await cutLinks(native, [lingering('a', 1), lingering('b', -1)]);
  expect(ops.map(({ op }) => op)).toEqual(['dump']);
});
