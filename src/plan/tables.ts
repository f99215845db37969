/** Firewalls whose chains, rules or sets differ: nftables changes those safely only as a whole table. */
import type { Change, Replacement } from '../objects/change.js';
import { type KernelObject, type NftRow, type NftTableRow, rowKey } from '../objects/kernel-object.js';

const STRUCTURE: readonly string[] = ['nft-chain', 'nft-set', 'nft-rule'];

function isNft(row: KernelObject): row is NftRow {
  return row.kind.startsWith('nft-');
}

/** The table that a row of the firewall is in, as a row. */
export function tableOf({ ns, family, table }: NftRow): NftTableRow {
  return { kind: 'nft-table', ns, family, table };
}

/** The tables, by key, that `changes` alter in ways only a new table allows: no such table is made or unmade by them. */
export function alteredTables(changes: readonly Change[]): Map<string, NftTableRow> {
  const altered = new Map<string, NftTableRow>();
  for (const { row } of changes) {
    if (isNft(row) && STRUCTURE.includes(row.kind)) altered.set(rowKey(tableOf(row)), tableOf(row));
  }
  if (altered.size > 0) for (const { row } of changes) if (row.kind === 'nft-table') altered.delete(rowKey(row));
  return altered;
}

/** The rows of one table among these. */
export function rowsOfTable(table: NftTableRow, rows: Iterable<KernelObject>): NftRow[] {
  const key = rowKey(table);
  return [...rows].filter((row): row is NftRow => isNft(row) && rowKey(tableOf(row)) === key);
}

/** Rows after changes of them. */
function changed(rows: readonly NftRow[], changes: readonly Change[]): NftRow[] {
  const found = new Map(rows.map((row) => [rowKey(row), row]));
  for (const { op, row } of changes) {
    if (!isNft(row)) continue;
    if (op === 'delete') found.delete(rowKey(row));
    else found.set(rowKey(row), row);
  }
  // Rules in the order of their places.
  return [...found].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
}

/**
 * The same changes, with each altered table replaced whole: everything that is to be in it, made anew in the transaction that removes the old
 * one. Connections outlive that: what is known of them is in no table. `before`: all that is in a table now; `after`: all that is to be,
 * where that is known, in its order.
 */
export function replaceTables(
  changes: readonly Change[],
  before: (table: NftTableRow) => readonly NftRow[],
  after?: (table: NftTableRow) => readonly NftRow[],
): Change[] {
  const altered = alteredTables(changes);
  if (altered.size === 0) return [...changes];
  const isOf = ({ row }: Change, key: string): boolean => isNft(row) && rowKey(tableOf(row)) === key;
  const replacements = [...altered].map(([key, row]): Replacement => {
    const old = before(row);
    const rows =
      after?.(row) ??
      changed(
        old,
        changes.filter((change) => isOf(change, key)),
      );
    return { op: 'replace', row, rows, old };
  });
  return [...changes.filter(({ row }) => !isNft(row) || !altered.has(rowKey(tableOf(row)))), ...replacements];
}
