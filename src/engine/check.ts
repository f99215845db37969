/** What an examination of the machine finds. */
import type { Fix } from './fixes.js';

/** One finding. */
export interface Check {
  readonly name: string;
  /** `missing`: vpcctl cannot work; `warning`: part of it cannot, or will not work well; `unknown`: it could not be looked at. */
  readonly status: 'ok' | 'warning' | 'missing' | 'unknown';
  readonly detail: string;
  /** The smallest thing to do about it. */
  readonly hint?: string;
  /** What `doctor --fix` would do about it. */
  readonly fixes?: readonly Fix[];
}

export function warning(name: string, detail: string, more: Pick<Check, 'hint' | 'fixes'>): Check {
  return { name, status: 'warning', detail, ...more };
}
