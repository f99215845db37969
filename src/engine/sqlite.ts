/**
 * SQLite, by better-sqlite3 or by Node's own node:sqlite (22.13 and later): whichever this Node has. node:sqlite comes first, because it needs no
 * compiled package that fits the Node version.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
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

type Constructor = new (path: string, options?: { readonly nativeBinding?: object }) => Database;

function nodeSqlite(): Constructor | undefined {
  // Node announces on load that the module is experimental; a user of ours can do nothing about it.
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    return (process.getBuiltinModule('node:sqlite') as { DatabaseSync: Constructor } | undefined)?.DatabaseSync;
  } finally {
    process.emitWarning = emitWarning;
  }
}

/** better-sqlite3's addon, once it is loaded. */
let addon: object | undefined;

/** Loads better-sqlite3's addon from where it is installed; its own search takes longer than opening the database. */
function addonOption(): { readonly nativeBinding?: object } {
  const place = join('node_modules', 'better-sqlite3', 'build', 'Release', 'better_sqlite3.node');
  for (let dir = import.meta.dirname; addon === undefined; dir = dirname(dir)) {
    const file = join(dir, place);
    if (existsSync(file)) {
      const module = { exports: {} };
      process.dlopen(module, file);
      addon = module.exports;
    } else if (dir === dirname(dir)) return {};
  }
  return { nativeBinding: addon };
}

/** Opens a database. ENVIRONMENT when this Node has no SQLite. */
export function openDatabase(path: string): Database {
  const builtin = nodeSqlite();
  if (builtin !== undefined) return new builtin(path);
  const require = createRequire(import.meta.filename);
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
    return new BetterSqlite(path, addonOption());
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
