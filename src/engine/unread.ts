/** Workloads whose namespace could not be read: told as drift, and taken for what was recorded, so that the others are looked at and repaired. Pure. */
import type { VpcctlError } from '../errors.js';
import type { Reader } from '../model/reader.js';
import { describe } from '../model/resources.js';
import { type KernelObject, rowKey } from '../objects/kernel-object.js';
import type { Drift, RecordedRow } from './drift.js';

/** Why each of these namespaces could not be read. */
export type Unread = ReadonlyMap<string, VpcctlError>;

/** What was observed, with what was recorded of those namespaces; what leads into one of them leads where it should. */
export function assumed(
  recorded: readonly RecordedRow[],
  observed: readonly KernelObject[],
  unread: Unread,
): KernelObject[] {
  if (unread.size === 0) return [...observed];
  const rows = recorded.map(({ row }) => row);
  const leading = new Map(
    rows.flatMap((row) =>
      row.kind === 'link' && row.type === 'veth' && unread.has(row.peer.ns) ? [[rowKey(row), row.peer] as const] : [],
    ),
  );
  return [
    ...observed.map((row): KernelObject => {
      const peer = leading.get(rowKey(row));
      if (peer === undefined || row.kind !== 'link' || row.type !== 'veth') return row;
      // Also where an end that is read has the indices of the one that is not: those agree by chance.
      const { candidates: _guessed, ...link } = row;
      return { ...link, peer };
    }),
    ...rows.filter(({ ns }) => unread.has(ns)),
  ];
}

/** One difference each. */
export function unreadDrift(reader: Reader, recorded: readonly RecordedRow[], unread: Unread): Drift[] {
  return recorded.flatMap(({ owner, row }): Drift[] => {
    const error = row.kind === 'netns' ? unread.get(row.ns) : undefined;
    if (error === undefined) return [];
    const resource = reader.get(owner);
    const whose = resource === undefined ? row.ns : describe(resource);
    return [
      {
        what: 'changed',
        resource: resource === undefined ? null : whose,
        object: rowKey(row).replaceAll('|', ' '),
        sentence: `${whose}: its namespace ${row.ns} could not be read: ${error.facts.errno ?? error.message}`,
        follows: false,
        repairable: false,
        recorded: row,
      },
    ];
  });
}
