/** Locks: who waits gets his turn in the order of coming, inside a process and between handles, which stand for processes here. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Locks } from '../../../src/engine/locks.js';
import { stateDir } from './support.js';

function fresh(): string {
  const dir = stateDir();
  mkdirSync(join(dir, 'locks'));
  return dir;
}

/** Takes the scopes, notes its name, holds them for a moment and gives them back. */
function visitor(order: string[], holdMs = 0) {
  return async (locks: Locks, name: string, scopes: readonly string[] = ['a']): Promise<void> => {
    const release = await locks.acquire(scopes);
    order.push(name);
    if (holdMs > 0) await sleep(holdMs);
    release();
  };
}

describe('inside a process', () => {
  test('the order of coming is the order of going, however many come', async () => {
    const locks = new Locks(fresh(), 50);
    const order: string[] = [];
    const visit = visitor(order);
    const names = Array.from({ length: 500 }, (_, index) => `n${index}`);
    await Promise.all(names.map((name) => visit(locks, name)));
    expect(order).toEqual(names);
  });

  test('waiting in line is no waiting for another process: it has no limit', async () => {
    const locks = new Locks(fresh(), 20);
    const visit = visitor([], 15);
    await Promise.all(Array.from({ length: 8 }, (_, index) => visit(locks, `n${index}`)));
  });

  test('other scopes do not wait', async () => {
    const locks = new Locks(fresh(), 1000);
    const release = await locks.acquire(['a', '']);
    (await locks.acquire(['b', 'c']))();
    expect(locks.tryAcquire(['c', ''])).toBeUndefined();
    locks.tryAcquire(['c'])?.();
    release();
    release();
    locks.tryAcquire(['', 'a', 'c'])?.();
  });

  test('scopes named in any order never deadlock', async () => {
    const locks = new Locks(fresh(), 1000);
    const order: string[] = [];
    const visit = visitor(order, 1);
    const sets = [['a', 'b'], ['b', 'a'], ['c', 'a', 'b'], ['b'], ['', 'c'], ['a'], ['c', '']];
    await Promise.all(
      sets.flatMap((scopes, index) => [1, 2, 3].map((time) => visit(locks, `${index}.${time}`, scopes))),
    );
    expect(order.length).toBe(21);
  });

  test('who gives up while he waits leaves the line whole', async () => {
    const locks = new Locks(fresh(), 1000);
    const order: string[] = [];
    const visit = visitor(order);
    const release = await locks.acquire(['a']);
    const abort = new AbortController();
    const first = visit(locks, 'first');
    const leaver = locks.acquire(['a'], abort.signal);
    const last = visit(locks, 'last');
    abort.abort(new Error('enough'));
    await expect(leaver).rejects.toThrow('enough');
    await expect(locks.acquire(['a'], abort.signal)).rejects.toThrow('enough');
    release();
    await Promise.all([first, last]);
    expect(order).toEqual(['first', 'last']);
  });

  test('closing refuses those who wait and those who come, and lets him finish who is in', async () => {
    const dir = fresh();
    const locks = new Locks(dir, 1000);
    const release = await locks.acquire(['a']);
    const waiting = locks.acquire(['a']);
    locks.close(new Error('closed'));
    await expect(waiting).rejects.toThrow('closed');
    await expect(locks.acquire(['b'])).rejects.toThrow('closed');
    expect(new Locks(dir, 0).tryAcquire(['a'])).toBeUndefined();
    release();
    new Locks(dir, 0).tryAcquire(['a'])?.();
  });

  test('closing ends contending too', async () => {
    const dir = fresh();
    const release = await new Locks(dir, 0).acquire(['a']);
    const locks = new Locks(dir, 60_000);
    const waiting = locks.acquire(['a']);
    await sleep(20);
    locks.close(new Error('closed'));
    await expect(waiting).rejects.toThrow('closed');
    release();
  });
});

describe('between handles', () => {
  test('the order of coming is the order of going', async () => {
    const dir = fresh();
    const order: string[] = [];
    const visit = visitor(order);
    const release = await new Locks(dir, 0).acquire(['a']);
    const names = Array.from({ length: 12 }, (_, index) => `n${index}`);
    const visits: Promise<void>[] = [];
    for (const name of names) {
      visits.push(visit(new Locks(dir, 5000), name));
      await sleep(2);
    }
    release();
    await Promise.all(visits);
    expect(order).toEqual(names);
  });

  test('one with a long line of its own lets the others in between', async () => {
    const dir = fresh();
    const order: string[] = [];
    const visit = visitor(order, 4);
    const greedy = new Locks(dir, 5000);
    const visits = Array.from({ length: 60 }, () => visit(greedy, 'greedy'));
    await sleep(10);
    await visit(new Locks(dir, 5000), 'other');
    // It had 20 ms for what stood in line, each of 4 ms; a loaded machine stretches them, and does not make more of them.
    expect(order.length).toBeLessThan(20);
    await Promise.all(visits);
    expect(order.filter((name) => name === 'greedy').length).toBe(60);
  });

  test('one that keeps it is a conflict, at the same time for all who stand in line', async () => {
    const dir = fresh();
    const release = await new Locks(dir, 0).acquire(['a']);
    const locks = new Locks(dir, 150);
    const began = Date.now();
    const refused = await Promise.allSettled(Array.from({ length: 20 }, () => locks.acquire(['a'])));
    expect(refused.map((one) => one.status === 'rejected' && (one.reason as Error).message)).toEqual(
      Array.from({ length: 20 }, () => 'vpc a is being changed by another process'),
    );
    expect(Date.now() - began).toBeGreaterThanOrEqual(150);
    // Not 20 times 150.
    expect(Date.now() - began).toBeLessThan(1500);
    release();
    (await locks.acquire(['a']))();
  });

  test('who waited in vain holds nobody up', async () => {
    const dir = fresh();
    const release = await new Locks(dir, 0).acquire(['a']);
    await expect(new Locks(dir, 20).acquire(['a'])).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(new Locks(dir, 20).acquire([''])).resolves.toBeTypeOf('function');
    const abort = new AbortController();
    const leaver = new Locks(dir, 5000).acquire(['a'], abort.signal);
    await sleep(5);
    abort.abort(new Error('enough'));
    await expect(leaver).rejects.toThrow('enough');
    release();
    (await new Locks(dir, 0).acquire(['a']))();
  });
});
