/**
 * SQLite, by better-sqlite3 or by Node's own node:sqlite (22.13 and later): whichever this Node has. node:sqlite comes first, because it needs no
 * compiled package that fits the Node version.
 */
import { createRequire } from 'node:module';
import { VpcctlError } from '../errors.js';

type Value = string | number | null;

export interface Statement {
  run(...values: Value[]): unknown;
  get(...values: Value[]): unknown;
  all(...values: Value[]): unknown[];
}

export interface Database {
  exec(sql: string): void;
  prepare(sql: string): Statement;
  close(): void;
}

type Constructor = new (path: string) => Database;

function nodeSqlite(require: NodeJS.Require): Constructor | undefined {
  // Node announces on load that the module is experimental; a user of ours can do nothing about it.
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return (require('node:sqlite') as { DatabaseSync: Constructor }).DatabaseSync;
  } catch {
    return undefined;
  } finally {
    process.emitWarning = emitWarning;
  }
}

/** Opens a database. ENVIRONMENT when this Node has no SQLite. */
export function openDatabase(path: string): Database {
  const require = createRequire(import.meta.url);
  const builtin = nodeSqlite(require);
  if (builtin !== undefined) return new builtin(path);
  let BetterSqlite: Constructor;
  try {
    BetterSqlite = require('better-sqlite3') as Constructor;
  } catch (cause) {
    throw new VpcctlError('ENVIRONMENT', `Node ${process.version} has no SQLite, and better-sqlite3 is not installed`, {
      hint: 'use Node 22.13 or later, or npm install better-sqlite3',
      cause,
    });
  }
  try {
    return new BetterSqlite(path);
  } catch (cause) {
    if (cause instanceof Error && /bindings|\.node|NODE_MODULE_VERSION/.test(cause.message)) {
      throw new VpcctlError('ENVIRONMENT', 'better-sqlite3 does not load in this Node', {
        hint: 'run `npm rebuild better-sqlite3`, or use Node 22.13 or later',
        cause,
      });
    }
    throw cause;
  }
}
