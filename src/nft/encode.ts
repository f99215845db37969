/** Rows → nft's JSON commands: one transaction. libnftables-json(5). */
import { VpcctlError } from '../errors.js';
import type { Change } from '../objects/change.js';
import type {
  NftChainRow,
  NftElementRow,
  NftRow,
  NftRuleRow,
  NftSetRow,
  NftTableRow,
  NftValue,
} from '../objects/kernel-object.js';

type Command = Readonly<Record<string, unknown>>;

/** A transaction in two: tables, chains, sets and rules; and what goes into the sets. */
export interface NftParts {
  readonly structure: readonly Command[];
  readonly elements: readonly Command[];
}

export function isNftRow(row: { readonly kind: string }): row is NftRow {
  return row.kind.startsWith('nft-');
}

/**
 * The commands that make all `changes` at once; none names a namespace. Tables, sets, chains, then rules in order, then elements; deletions of
 * elements before additions, so that an element may change its data. Chains and rules are only ever made and unmade with their table, or with a
 * new one in its place: then nothing else of that table is in `changes`.
 */
export function encodeParts(changes: readonly Change[]): NftParts {
  const doomed = new Set<string>();
  for (const { op, row } of changes) if (op === 'delete' && row.kind === 'nft-table') doomed.add(tableKey(row));
  const replaced: Command[] = [];
  const structure: Command[] = [];
  const removed: NftElementRow[] = [];
  const added: NftElementRow[] = [];
  for (const change of changes) {
    const { op, row } = change;
    if (!isNftRow(row)) throw new Error(`not a firewall row: ${row.kind}`);
    if (op === 'replace') {
      replaced.push(...emptied(row));
      for (const part of change.rows) {
        if (part.kind === 'nft-element') added.push(part);
        else structure.push({ add: structural(part) });
      }
    } else if (row.kind === 'nft-element') {
      if (op === 'update') removed.push(change.old as NftElementRow);
      if (op === 'create' || op === 'update') added.push(row);
      else if (!doomed.has(tableKey(row))) removed.push(row);
    } else if (op === 'create') {
      structure.push({ [row.kind === 'nft-table' ? 'create' : 'add']: structural(row) });
    } else if (row.kind === 'nft-table' && op === 'delete') {
      structure.push({ delete: structural(row) });
    } else if (op !== 'delete' || !doomed.has(tableKey(row))) {
      throw new VpcctlError(
        'KERNEL',
        `${row.kind} ${row.table} of ${row.ns || 'the host'} can only change with its whole table`,
        {
          netns: row.ns,
        },
      );
    }
  }
  structure.sort((a, b) => rank(a) - rank(b));
  return {
    structure: [...replaced, ...structure],
    elements: [...elements('delete', removed), ...elements('add', added)],
  };
}

/** A table that is gone, whether or not it was there: nft 1.0.6 knows no `destroy`. */
function emptied(row: NftTableRow): Command[] {
  return [{ add: structural(row) }, { delete: structural(row) }];
}

function tableKey(row: NftRow): string {
  return `${row.family} ${row.table}`;
}

const RANKS = ['table', 'set', 'map', 'chain', 'rule'];

function rank(command: Command): number {
  const object = Object.values(command)[0] as Command;
  return RANKS.indexOf(Object.keys(object)[0] ?? '');
}

function structural(row: NftTableRow | NftChainRow | NftSetRow | NftRuleRow): Command {
  const { family, table } = row;
  switch (row.kind) {
    case 'nft-table':
      return { table: { family, name: table } };
    case 'nft-chain':
      return { chain: { family, table, name: row.chain, ...(row.base ?? {}) } };
    case 'nft-set': {
      const type = row.type.length === 1 ? row.type[0] : row.type;
      const flags = row.interval === true ? { flags: ['interval'] } : {};
      if (row.data !== undefined) return { map: { family, table, name: row.set, type, map: row.data, ...flags } };
      return { set: { family, table, name: row.set, type, ...flags } };
    }
    case 'nft-rule':
      return { rule: { family, table, chain: row.chain, expr: row.expr } };
  }
}

function elements(verb: 'add' | 'delete', rows: readonly NftElementRow[]): Command[] {
  const bySet = new Map<string, NftElementRow[]>();
  for (const row of rows) {
    const key = `${tableKey(row)} ${row.set}`;
    const known = bySet.get(key);
    if (known === undefined) bySet.set(key, [row]);
    else known.push(row);
  }
  return [...bySet.values()].map((members) => {
    const { family, table, set } = members[0] as NftElementRow;
    return { [verb]: { element: { family, table, name: set, elem: members.map(element) } } };
  });
}

function element({ key, data, interval }: NftElementRow): unknown {
  const parts = key.map(value);
  // nft 1.0.6 adds to a set of concatenated intervals an element without any interval, and then does not find it to delete it (ENOENT). A range
  // of one is the same element, and is found; it is listed as the one.
  const last = key.at(-1);
  if (interval === true && key.length > 1 && parts.every((part) => typeof part !== 'object')) {
    parts[parts.length - 1] = { range: [last, last] };
  }
  const encoded = parts.length === 1 ? parts[0] : { concat: parts };
  return data === undefined ? encoded : [encoded, value(data)];
}

function value(part: NftValue): unknown {
  if (typeof part === 'number') return part;
  const prefix = /^([0-9.]+|[0-9a-f]*:[0-9a-f:]*)\/([0-9]+)$/.exec(part);
  if (prefix !== null) return { prefix: { addr: prefix[1], len: Number(prefix[2]) } };
  // No name of a link has a colon.
  const range = /^([0-9.]+|[0-9a-f]*:[0-9a-f:]*)-([0-9.]+|[0-9a-f]*:[0-9a-f:]*)$/.exec(part);
  if (range === null) return part;
  const bound = (text: string): string | number => (/[.:]/.test(text) ? text : Number(text));
  return { range: [bound(range[1] as string), bound(range[2] as string)] };
}
