/**
 * When to look: not before what is going on has come to rest, not all the time though somebody makes noise all the time, and ever more rarely
 * where somebody undoes what was put back. Pure: the caller says what time it is.
 */

/** This long nothing more must have happened … */
export const QUIET_MS = 100;
/** … but who never rests is looked at all the same. */
export const LONGEST_NOISE_MS = 1_000;
/** A subject is looked at for a tenth of the time at most, and all of them together for half of it … */
export const OWN_REST = 10;
const COMMON_REST = 1;
/** … but this much of its rest a subject may owe: what comes seldom is not kept waiting. */
export const CREDIT_MS = 5_000;
/** After the first trouble, doubled each time that the same comes again. */
export const FIRST_PAUSE_MS = 200;
export const LONGEST_PAUSE_MS = 60_000;
/** Trouble that comes this much later than the pause is no consequence of the last. */
export const FORGET_MS = 10_000;

/** The next subject, or how long until it may be one's turn. */
export type Turn = { readonly subject: string } | { readonly waitMs: number };

/** How often there was trouble, one time closely after the other, and how long the subject is left alone now. */
export interface Pause {
  readonly times: number;
  /** The trouble is one that was there before. */
  readonly again: boolean;
  readonly pauseMs: number;
}

interface Subject {
  /** Since when, and when for the last time, something happened that was not looked at. */
  noise: { readonly first: number; last: number } | undefined;
  notBefore: number;
  /** When it will have rested from all looks so far. */
  restedAt: number;
  times: number;
  troubledAt: number;
  /** What the trouble was about, until it is forgotten. */
  readonly troubles: Set<string>;
}

export function pauseAfter(times: number): number {
  return times === 0 ? 0 : Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (times - 1));
}

export class Pace {
  readonly #subjects = new Map<string, Subject>();
  #restUntil = Number.NEGATIVE_INFINITY;

  /** Something happened to the subject. */
  note(name: string, now: number): void {
    let subject = this.#subjects.get(name);
    if (subject === undefined) {
      subject = {
        noise: undefined,
        notBefore: now,
        restedAt: now,
        times: 0,
        troubledAt: Number.NEGATIVE_INFINITY,
        troubles: new Set(),
      };
      this.#subjects.set(name, subject);
    }
    if (subject.noise === undefined) subject.noise = { first: now, last: now };
    else subject.noise.last = now;
  }

  /** The subject is no more. */
  forget(name: string): void {
    this.#subjects.delete(name);
  }

  /** Who is to be looked at now, which counts as done; undefined when nothing has happened to anybody. */
  next(now: number): Turn | undefined {
    let first: { readonly name: string; readonly at: number; readonly subject: Subject } | undefined;
    for (const [name, subject] of this.#subjects) {
      if (subject.noise === undefined) continue;
      const calm = Math.min(subject.noise.last + QUIET_MS, subject.noise.first + LONGEST_NOISE_MS);
      const at = Math.max(calm, subject.notBefore, subject.restedAt - CREDIT_MS, this.#restUntil);
      if (first === undefined || at < first.at) first = { name, at, subject };
    }
    if (first === undefined) return undefined;
    if (first.at > now) return { waitMs: first.at - now };
    first.subject.noise = undefined;
    return { subject: first.name };
  }

  /**
   * It was looked at from `began` until now, and there was trouble with these things: they had to be put back, or could not be. Only what comes
   * again counts as once more: who breaks one thing after the other is no rival.
   */
  looked(name: string, began: number, now: number, troubles: readonly string[]): Pause {
    this.#restUntil = now + COMMON_REST * (now - began);
    const subject = this.#subjects.get(name);
    if (subject === undefined) return { times: 0, again: false, pauseMs: 0 };
    subject.restedAt = Math.max(subject.restedAt, now) + OWN_REST * (now - began);
    let again = false;
    if (troubles.length > 0) {
      if (now - subject.troubledAt > pauseAfter(subject.times) + FORGET_MS) {
        subject.times = 0;
        subject.troubles.clear();
      }
      again = troubles.some((one) => subject.troubles.has(one));
      if (again || subject.times === 0) subject.times += 1;
      for (const one of troubles) subject.troubles.add(one);
      subject.troubledAt = now;
      subject.notBefore = now + pauseAfter(subject.times);
    }
    const free = Math.max(subject.notBefore, subject.restedAt - CREDIT_MS);
    return { times: subject.times, again, pauseMs: Math.max(0, free - now) };
  }
}
