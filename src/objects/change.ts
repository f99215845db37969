import { assertNever } from '../errors.js';
import { type KernelObject, type LinkRow, type NftRow, type NftTableRow, NOBODY } from './kernel-object.js';

/**
 * A whole table of nftables in place of the one of its name, in one transaction: chains and rules change in no other way. Without rows,
 * there is to be none; what was there before need not be there.
 */
export interface Replacement {
  readonly op: 'replace';
  readonly row: NftTableRow;
  /** All that is in the table, itself included. */
  readonly rows: readonly NftRow[];
  readonly old: readonly NftRow[];
}

/** One step of a plan. A link is created down; `raise` brings it up once its filter is in place. */
export type Change =
  | { readonly op: 'create'; readonly row: KernelObject }
  | { readonly op: 'update'; readonly row: KernelObject; readonly old: KernelObject }
  | { readonly op: 'delete'; readonly row: KernelObject }
  | { readonly op: 'raise'; readonly row: LinkRow }
  | Replacement;

/**
 * The step that undoes `change`; undefined where undoing the creation undoes this too, and for the loss of a link that cannot be
 * made again.
 */
export function invert(change: Change): Change | undefined {
  switch (change.op) {
    case 'create':
      return { op: 'delete', row: change.row };
    case 'delete':
      return isStump(change.row) ? undefined : { op: 'create', row: change.row };
    case 'update':
      // Somebody's queue, whose place ours took, cannot be made again.
      if (change.old.kind === 'qdisc' && change.old.type === 'other') return { op: 'delete', row: change.row };
      return { op: 'update', row: change.old, old: change.row };
    case 'raise':
      return undefined;
    case 'replace':
      return { ...change, rows: change.old, old: change.rows };
    default:
      return assertNever(change);
  }
}

/** Whether it makes a namespace, which everything else is in. */
export function isBirth({ op, row }: Change): boolean {
  return op === 'create' && row.kind === 'netns';
}

/** A link that cannot be made again: one end of a pair, of which nobody knows where the other is, or of a kind that we never make. */
export function isStump(row: KernelObject): boolean {
  return row.kind === 'link' && (row.type === 'other' || (row.type === 'veth' && row.peer.ns === NOBODY.ns));
}
