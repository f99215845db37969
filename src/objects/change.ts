import { assertNever } from '../errors.js';
import type { KernelObject, LinkRow } from './kernel-object.js';

/** One step of a plan. A link is created down; `raise` brings it up once its filter is in place. */
export type Change =
  | { readonly op: 'create'; readonly row: KernelObject }
  | { readonly op: 'update'; readonly row: KernelObject; readonly old: KernelObject }
  | { readonly op: 'delete'; readonly row: KernelObject }
  | { readonly op: 'raise'; readonly row: LinkRow };

/** The step that undoes `change`; undefined where undoing the creation undoes this too. */
export function invert(change: Change): Change | undefined {
  switch (change.op) {
    case 'create':
      return { op: 'delete', row: change.row };
    case 'delete':
      return { op: 'create', row: change.row };
    case 'update':
      return { op: 'update', row: change.old, old: change.row };
    case 'raise':
      return undefined;
    default:
      return assertNever(change);
  }
}

/** Whether it makes a namespace, which everything else is in. */
export function isBirth({ op, row }: Change): boolean {
  return op === 'create' && row.kind === 'netns';
}
