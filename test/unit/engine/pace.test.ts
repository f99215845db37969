/** When to look: rest, share of time, and ever longer pauses. Time is a number here. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  CREDIT_MS,
  FIRST_PAUSE_MS,
  FORGET_MS,
  LONGEST_NOISE_MS,
  LONGEST_PAUSE_MS,
  OWN_REST,
  Pace,
  pauseAfter,
  QUIET_MS,
} from '../../../src/engine/pace.js';

describe('rest', () => {
  test('nothing happened: nobody is looked at', () => {
    expect(new Pace().next(0)).toBeUndefined();
  });

  test('one thing: after a moment, once', () => {
    const pace = new Pace();
    pace.note('a', 0);
    expect(pace.next(0)).toEqual({ waitMs: QUIET_MS });
    expect(pace.next(QUIET_MS)).toEqual({ subject: 'a' });
    expect(pace.next(QUIET_MS)).toBeUndefined();
  });

  test('noise moves it on, but not for ever', () => {
    const pace = new Pace();
    let now = 0;
    for (; now < LONGEST_NOISE_MS; now += QUIET_MS / 2) {
      pace.note('a', now);
      expect(pace.next(now)).toHaveProperty('waitMs');
    }
    expect(pace.next(LONGEST_NOISE_MS)).toEqual({ subject: 'a' });
  });

  test('what happens during a look is looked at after it', () => {
    const pace = new Pace();
    pace.note('a', 0);
    pace.next(QUIET_MS);
    pace.note('a', QUIET_MS + 1);
    pace.looked('a', QUIET_MS, QUIET_MS + 2, []);
    expect(pace.next(10 * QUIET_MS)).toEqual({ subject: 'a' });
  });

  test('what takes long is looked at again at once, but not all the time', () => {
    const pace = new Pace();
    let now = 0;
    for (let look = 0; look < 100; look += 1) {
      pace.note('a', now);
      for (let turn = pace.next(now); turn !== undefined && 'waitMs' in turn; turn = pace.next(now)) now += turn.waitMs;
      if (look === 1) expect(now).toBeLessThan(2_000);
      pace.looked('a', now, now + 400, []);
      now += 400;
    }
    expect(now).toBeGreaterThan(100 * 400 * OWN_REST - CREDIT_MS - 400 * OWN_REST);
  });

  test('who is forgotten has nothing due', () => {
    const pace = new Pace();
    pace.note('a', 0);
    pace.forget('a');
    expect(pace.next(1e9)).toBeUndefined();
    expect(pace.looked('a', 0, 1, ['x'])).toEqual({ times: 0, again: false, pauseMs: 0 });
  });
});

describe('back-off', () => {
  /** Something is put back, broken again at once, and so on; the times at which it was looked at. */
  function fight(rounds: number, troubles: (round: number) => string[]): number[] {
    const pace = new Pace();
    const looks: number[] = [];
    let now = 0;
    for (let round = 0; round < rounds; round += 1) {
      pace.note('a', now);
      for (let turn = pace.next(now); turn !== undefined && 'waitMs' in turn; turn = pace.next(now)) now += turn.waitMs;
      looks.push(now);
      pace.looked('a', now, now, troubles(round));
    }
    return looks;
  }
  const gaps = (times: readonly number[]): number[] => times.slice(1).map((time, at) => time - (times[at] ?? 0));

  test('the same again: each pause twice the one before, up to a minute', () => {
    const pauses = gaps(fight(12, () => ['x']));
    expect(pauses).toEqual(pauses.map((_, at) => Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** at)));
    expect(pauses.at(-1)).toBe(LONGEST_PAUSE_MS);
  });

  test('one thing after the other: the first pause each time', () => {
    expect(new Set(gaps(fight(8, (round) => [`x${round}`])))).toEqual(new Set([FIRST_PAUSE_MS]));
  });

  test('things in turn are the same again', () => {
    expect(gaps(fight(9, (round) => [`x${round % 3}`])).at(-1)).toBe(FIRST_PAUSE_MS * 2 ** 5);
  });

  test('it is forgotten after quiet, and not before', () => {
    const pace = new Pace();
    pace.note('a', 0);
    for (let time = 1; time <= 5; time += 1) expect(pace.looked('a', 0, 0, ['x']).times).toBe(time);
    const soon = pauseAfter(5) + FORGET_MS;
    expect(pace.looked('a', soon, soon, ['x']).times).toBe(6);
    const later = soon + pauseAfter(6) + FORGET_MS + 1;
    expect(pace.looked('a', later, later, ['x'])).toEqual({ times: 1, again: false, pauseMs: FIRST_PAUSE_MS });
  });

  test('another subject does not wait for it', () => {
    const pace = new Pace();
    pace.note('a', 0);
    for (let time = 0; time < 9; time += 1) pace.looked('a', 0, 0, ['x']);
    pace.note('a', 0);
    pace.note('b', 0);
    expect(pace.next(QUIET_MS)).toEqual({ subject: 'b' });
  });
});

test('whatever happens: everything is looked at in the end, and nobody for more than a tenth of the time', () => {
  const steps = fc.array(
    fc.record({
      gap: fc.integer({ min: 0, max: 300 }),
      subject: fc.constantFrom('a', 'b', 'c'),
      cost: fc.integer({ min: 1, max: 200 }),
      trouble: fc.boolean(),
    }),
    { minLength: 1, maxLength: 200 },
  );
  void fc.assert(
    fc.property(steps, (all) => {
      const pace = new Pace();
      let now = 0;
      const pending = new Set<string>();
      const spent = new Map<string, number>();
      const turnAt = (cost: number, trouble: boolean): boolean => {
        const turn = pace.next(now);
        if (turn === undefined || !('subject' in turn)) return false;
        expect(pending.delete(turn.subject)).toBe(true);
        expect(OWN_REST * (spent.get(turn.subject) ?? 0)).toBeLessThanOrEqual(now + CREDIT_MS);
        const began = now;
        now += cost;
        pace.looked(turn.subject, began, now, trouble ? ['x'] : []);
        spent.set(turn.subject, (spent.get(turn.subject) ?? 0) + cost);
        return true;
      };
      for (const { gap, subject, cost, trouble } of all) {
        now += gap;
        pace.note(subject, now);
        pending.add(subject);
        turnAt(cost, trouble);
      }
      for (let turn = pace.next(now); turn !== undefined; turn = pace.next(now)) {
        if ('waitMs' in turn) now += turn.waitMs;
        else pending.delete(turn.subject);
      }
      expect([...pending]).toEqual([]);
    }),
  );
});
