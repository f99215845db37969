import type { Change } from '../objects/change.js';
import { type KernelObject, rowKey, rowText } from '../objects/kernel-object.js';

/** What turns `known` into `wanted`: a set difference by key; a row whose text differs is an update. */
export function diff(known: Iterable<KernelObject>, wanted: Iterable<KernelObject>): Change[] {
  const before = new Map<string, KernelObject>();
  for (const row of known) before.set(rowKey(row), row);
  const changes: Change[] = [];
  for (const row of wanted) {
    const key = rowKey(row);
    const old = before.get(key);
    before.delete(key);
    if (old === undefined) changes.push({ op: 'create', row });
    else if (rowText(old) !== rowText(row)) changes.push({ op: 'update', row, old });
  }
  for (const row of before.values()) changes.push({ op: 'delete', row });
  return changes;
}
