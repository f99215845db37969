/**
 * What is true and what is under way, in one SQLite file: resources with the terms they are found by, the rows each lowered to, and a
 * journal of transactions that have begun. Many processes may have it open; every write is one short transaction.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { VpcctlError } from '../errors.js';
import { isNamespaceOf } from '../lower/names.js';
import type { Edit, Reader } from '../model/reader.js';
import { claims, idOf, type Resource, terms } from '../model/resources.js';
import type { KernelObject } from '../objects/kernel-object.js';
import type { Plan } from '../plan/plan.js';
import type { Cut } from './cut.js';
import { type Database, openDatabase, type Statement } from './sqlite.js';

const SCHEMA_VERSION = 2;

const SCHEMA = `
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS resources (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS terms (term TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (term, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS claims (claim TEXT PRIMARY KEY, id TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lowered (id TEXT PRIMARY KEY, rows TEXT NOT NULL, beyond TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS versions (scope TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS journal (id INTEGER PRIMARY KEY, phase TEXT NOT NULL, plan TEXT NOT NULL, claims TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS journal_scopes (scope TEXT NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (scope, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS apps (vpc TEXT NOT NULL, instance TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY (vpc, instance, name)) WITHOUT ROWID;
`;

/** What a transaction is going to do; `cuts`: after the commit, once its teardown is done. */
export interface Intent extends Plan {
  readonly cuts?: readonly Cut[];
}

/** A transaction that has begun. `forward`: to be undone; `teardown`: committed, its end still to be carried out. */
export interface JournalEntry {
  readonly id: number;
  readonly phase: 'forward' | 'teardown';
  readonly plan: Intent;
}

/** Rows of one resource after a transaction; absent `after`: the resource is gone. */
export interface LoweredResource {
  readonly id: string;
  readonly rows: readonly KernelObject[];
  readonly before: readonly KernelObject[];
}

/** A process started in an instance. */
export interface AppRecord {
  readonly vpc: string;
  readonly subnet: string;
  readonly instance: string;
  readonly name: string;
  readonly port?: number;
  readonly pid: number;
  /** Start time in clock ticks since boot (proc(5), stat field 22): with the pid, names one process. */
  readonly startTime: string;
  /** Its network namespace, as the links below /proc/PID/ns name it. */
  readonly netns: string;
  readonly command: readonly string[];
  readonly log: string;
}

/** Of what a resource lowered to, what its VPC's namespaces do not take along: themselves, and what is elsewhere. */
function beyondVpc(id: string, rows: readonly KernelObject[]): KernelObject[] {
  const [, vpc = ''] = id.split('/');
  return rows.filter(({ kind, ns }) => kind === 'netns' || !isNamespaceOf(vpc, ns));
}

function sqliteCode(error: unknown): string {
  if (!(error instanceof Error)) return '';
  const { code, errcode } = error as Error & { code?: unknown; errcode?: unknown };
  if (typeof errcode === 'number') return SQLITE_CODES.get(errcode & 0xff) ?? '';
  return typeof code === 'string' ? code : '';
}

/** Primary result codes (sqlite.org/rescode.html), which node:sqlite gives as numbers. */
const SQLITE_CODES: ReadonlyMap<number, string> = new Map([
  [5, 'SQLITE_BUSY'],
  [8, 'SQLITE_READONLY'],
  [10, 'SQLITE_IOERR'],
  [11, 'SQLITE_CORRUPT'],
  [13, 'SQLITE_FULL'],
  [14, 'SQLITE_CANTOPEN'],
  [19, 'SQLITE_CONSTRAINT'],
  [26, 'SQLITE_NOTADB'],
]);

/** SQLite's refusal in our words. */
function stateError(path: string, error: unknown): VpcctlError {
  if (error instanceof VpcctlError) return error;
  const code = sqliteCode(error);
  const words = error instanceof Error ? error.message : String(error);
  const facts = { object: path, extack: words, cause: error };
  if (/^SQLITE_(CORRUPT|NOTADB)/.test(code)) {
    return new VpcctlError('STATE', `the state file ${path} is damaged`, {
      ...facts,
      hint: 'restore it from a copy; or move it away and remove what is left with `vpcctl cleanup-all --orphans`',
    });
  }
  if (code.startsWith('SQLITE_FULL') || /ENOSPC/.test(words)) {
    return new VpcctlError('STATE', `no space left to write the state file ${path}`, {
      ...facts,
      hint: 'free some space; nothing was changed',
    });
  }
  if (code.startsWith('SQLITE_BUSY')) {
    return new VpcctlError('STATE', `the state file ${path} stayed locked`, { ...facts, hint: 'try again' });
  }
  return new VpcctlError('STATE', `the state file ${path} cannot be used`, {
    ...facts,
    hint: 'check its directory and permissions, or name another with --state',
  });
}

/** `mkdir -p`, one by one: with `recursive`, Node 20 asks for ever where the kernel answers ENOENT below a directory that is there (/proc). */
function makeDirectory(path: string): void {
  if (existsSync(path)) return;
  makeDirectory(dirname(path));
  try {
    mkdirSync(path, { mode: 0o700 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

/** Where state is kept unless `VPCCTL_STATE` or a caller says otherwise. */
export const DEFAULT_STATE_DIR = '/var/lib/vpcctl';

export function stateDirectory(named: string | undefined): string {
  return resolve(named ?? process.env.VPCCTL_STATE ?? DEFAULT_STATE_DIR);
}

/** What a call gets once {@link Store.close} was called. */
export function closedError(): VpcctlError {
  return new VpcctlError('USAGE', 'this installation is closed', { hint: 'open it again' });
}

/** Thrown inside {@link Store.begin} when another transaction came first; the caller starts over. */
export class LostRace extends Error {}

export class Store implements Reader {
  /** The state directory, absolute. */
  readonly dir: string;
  readonly #db: Database;
  readonly #path: string;
  readonly #statements = new Map<string, Statement>();
  #closed = false;
  /** Within {@link reading}. */
  #reading = false;
  /** Our own transactions: PRAGMA data_version counts those of others only. */
  #commits = 0;

  /** Opens or creates `state/state.db`; undefined: one in memory. STATE when it is damaged, newer than this program, or not writable. */
  constructor(state: string | undefined) {
    const dir = resolve(state ?? '');
    this.dir = dir;
    this.#path = state === undefined ? ':memory:' : join(dir, 'state.db');
    try {
      if (state !== undefined) makeDirectory(join(dir, 'locks'));
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      const denied = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
      throw new VpcctlError(denied ? 'ENVIRONMENT' : 'STATE', `cannot make the state directory ${dir}`, {
        ...(code === undefined ? {} : { errno: code }),
        hint: denied ? 'run as root, or name a directory of your own with --state' : 'name another with --state',
        cause,
      });
    }
    try {
      this.#db = openDatabase(this.#path);
      this.#db.exec('PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL');
      this.#db.exec(SCHEMA);
    } catch (error) {
      throw stateError(this.#path, error);
    }
    const version = this.meta('schema');
    if (version === undefined) this.setMeta('schema', String(SCHEMA_VERSION));
    else if (version !== String(SCHEMA_VERSION)) {
      this.close();
      throw new VpcctlError(
        'STATE',
        `the state file ${this.#path} has format ${version}, this program knows ${SCHEMA_VERSION}`,
        {
          hint: 'use the version of vpcctl that wrote it',
        },
      );
    }
  }

  close(): void {
    this.#closed = true;
    this.#statements.clear();
    this.#db.close();
  }

  #prepare(sql: string): Statement {
    if (this.#closed) throw closedError();
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  #all<T>(sql: string, ...values: (string | number)[]): T[] {
    try {
      return this.#prepare(sql).all(...values) as T[];
    } catch (error) {
      throw stateError(this.#path, error);
    }
  }

  #run(sql: string, ...values: (string | number)[]): void {
    try {
      this.#prepare(sql).run(...values);
    } catch (error) {
      if (sqliteCode(error).startsWith('SQLITE_CONSTRAINT')) throw new LostRace(String(error));
      throw stateError(this.#path, error);
    }
  }

  #transaction<T>(body: () => T): T {
    this.#run('BEGIN IMMEDIATE');
    try {
      const result = body();
      this.#run('COMMIT');
      this.#commits += 1;
      return result;
    } catch (error) {
      // After some failures (a full disk) SQLite has rolled back already and refuses to do it again.
      try {
        this.#prepare('ROLLBACK').run();
      } catch {}
      throw error;
    }
  }

  // --- reading -------------------------------------------------------------------------------------------------------

  /**
   * Runs `body`, which only reads and does not wait: all of it sees one state, whatever others commit meanwhile, and takes SQLite's locks once.
   */
  reading<T>(body: () => T): T {
    if (this.#reading) return body();
    this.#run('BEGIN');
    this.#reading = true;
    try {
      return body();
    } finally {
      this.#reading = false;
      this.#run('COMMIT');
    }
  }

  meta(key: string): string | undefined {
    return this.#all<{ value: string }>('SELECT value FROM meta WHERE key = ?', key)[0]?.value;
  }

  setMeta(key: string, value: string | undefined): void {
    if (value === undefined) this.#run('DELETE FROM meta WHERE key = ?', key);
    else this.#run('INSERT OR REPLACE INTO meta VALUES (?, ?)', key, value);
  }

  get(id: string): Resource | undefined {
    const found = this.#all<{ body: string }>('SELECT body FROM resources WHERE id = ?', id)[0];
    return found === undefined ? undefined : this.#parse<Resource>(found.body);
  }

  find(term: string): Resource[] {
    const sql = 'SELECT body FROM terms JOIN resources USING (id) WHERE term = ? ORDER BY id';
    return this.#all<{ body: string }>(sql, term).map(({ body }) => this.#parse<Resource>(body));
  }

  /** Counts claims too: an address that another transaction is about to take is taken. */
  count(term: string, limit: number): number {
    // `+ 0`: SQLite plans a statement anew for each value of a bare LIMIT parameter, 0.1 ms (sqlite3ExprIsInteger, sqlite3_bind).
    const sql =
      'SELECT count(*) AS n FROM (SELECT id FROM terms WHERE term = ? UNION SELECT id FROM claims WHERE claim = ? LIMIT ? + 0)';
    return this.#all<{ n: number }>(sql, term, term, limit)[0]?.n ?? 0;
  }

  /** Every resource, by id. */
  resources(): Resource[] {
    return this.#all<{ body: string }>('SELECT body FROM resources ORDER BY id').map(({ body }) => this.#parse(body));
  }

  /** The rows that a resource lowered to. */
  rowsOf(id: string): KernelObject[] {
    const found = this.#all<{ rows: string }>('SELECT rows FROM lowered WHERE id = ?', id)[0];
    return found === undefined ? [] : this.#parse<KernelObject[]>(found.rows);
  }

  /** Of the rows that a resource lowered to, those that do not go with its VPC: namespaces, and what is outside of the VPC's. */
  rowsBeyond(id: string): KernelObject[] {
    const found = this.#all<{ beyond: string }>('SELECT beyond FROM lowered WHERE id = ?', id)[0];
    return found === undefined ? [] : this.#parse<KernelObject[]>(found.beyond);
  }

  /** Every recorded row with its owner. */
  rows(): { owner: string; row: KernelObject }[] {
    return this.#all<{ id: string; rows: string }>('SELECT id, rows FROM lowered').flatMap(({ id, rows }) =>
      this.#parse<KernelObject[]>(rows).map((row) => ({ owner: id, row })),
    );
  }

  /** Differs from one call to the next when anything was written between them, by whomever. */
  stamp(): string {
    const [found] = this.#all<{ data_version: number }>('PRAGMA data_version');
    return `${found?.data_version}.${this.#commits}`;
  }

  versions(scopes: readonly string[]): Map<string, number> {
    return new Map(
      scopes.map((scope) => [
        scope,
        this.#all<{ version: number }>('SELECT version FROM versions WHERE scope = ?', scope)[0]?.version ?? 0,
      ]),
    );
  }

  #parse<T>(body: string): T {
    try {
      return JSON.parse(body) as T;
    } catch (cause) {
      throw new VpcctlError('STATE', `the state file ${this.#path} is damaged`, {
        hint: 'restore it from a copy; or move it away and remove what is left with `vpcctl cleanup-all --orphans`',
        cause,
      });
    }
  }

  // --- the life of a transaction -------------------------------------------------------------------------------------

  /**
   * Records the intent before anything happens. Throws {@link LostRace} when a scope is no longer at the version that the plan was made from, or
   * another transaction claimed one of its addresses.
   */
  begin(versions: ReadonlyMap<string, number>, plan: Intent, edits: readonly Edit[]): number {
    return this.#transaction(() => {
      for (const [scope, version] of this.versions([...versions.keys()])) {
        if (versions.get(scope) !== version) throw new LostRace(`${scope || 'the installation'} has changed`);
      }
      const claimed: string[] = [];
      const held = new Set(edits.flatMap(({ before }) => (before === undefined ? [] : claims(before))));
      for (const { id, after } of edits) {
        for (const claim of after === undefined ? [] : claims(after)) {
          if (held.has(claim)) continue;
          this.#claim(claim, id);
          claimed.push(claim);
        }
      }
      this.#run(
        'INSERT INTO journal (phase, plan, claims) VALUES (?, ?, ?)',
        'forward',
        JSON.stringify(plan),
        JSON.stringify(claimed),
      );
      const id = this.#all<{ id: number }>('SELECT last_insert_rowid() AS id')[0]?.id as number;
      for (const scope of versions.keys()) this.#run('INSERT INTO journal_scopes VALUES (?, ?)', scope, id);
      return id;
    });
  }

  #claim(claim: string, id: string): void {
    try {
      this.#run('INSERT INTO claims VALUES (?, ?)', claim, id);
    } catch (error) {
      if (!(error instanceof LostRace)) throw error;
      throw new LostRace(
        `${claim.replace(/^public-ip:/, 'public address ').replace(/^ip:/, 'address ')} is being taken`,
      );
    }
  }

  /** The old state is back: forgets the intent and frees its claims. */
  abandon(journal: number): void {
    this.#transaction(() => {
      const entry = this.#all<{ claims: string }>('SELECT claims FROM journal WHERE id = ?', journal)[0];
      for (const claim of entry === undefined ? [] : this.#parse<string[]>(entry.claims)) {
        this.#run('DELETE FROM claims WHERE claim = ?', claim);
      }
      this.#forget(journal);
    });
  }

  /** The new state is what is true from now on. What the plan still has to tear down stays in the journal. */
  commit(
    journal: number,
    scopes: Iterable<string>,
    edits: readonly Edit[],
    lowered: readonly LoweredResource[],
    teardown: boolean,
  ): void {
    this.#transaction(() => {
      for (const edit of edits) this.#writeEdit(edit);
      for (const resource of lowered) this.#writeRows(resource);
      for (const scope of scopes) {
        this.#run('INSERT INTO versions VALUES (?, 1) ON CONFLICT (scope) DO UPDATE SET version = version + 1', scope);
      }
      if (teardown) this.#run("UPDATE journal SET phase = 'teardown', claims = '[]' WHERE id = ?", journal);
      else this.#forget(journal);
    });
  }

  /** Rows that are recorded otherwise though nothing was done, and with them what `meta` says, together. */
  amend(lowered: readonly LoweredResource[], meta: Readonly<Record<string, string | undefined>>): void {
    this.#transaction(() => {
      for (const resource of lowered) this.#writeRows(resource);
      for (const [key, value] of Object.entries(meta)) this.setMeta(key, value);
    });
  }

  /** The teardown is done. */
  finish(journal: number): void {
    this.#transaction(() => this.#forget(journal));
  }

  #forget(journal: number): void {
    this.#run('DELETE FROM journal WHERE id = ?', journal);
    this.#run('DELETE FROM journal_scopes WHERE id = ?', journal);
  }

  #writeEdit({ id, before, after }: Edit): void {
    if (before !== undefined) {
      for (const term of terms(before)) this.#run('DELETE FROM terms WHERE term = ? AND id = ?', term, id);
      for (const claim of claims(before)) this.#run('DELETE FROM claims WHERE claim = ? AND id = ?', claim, id);
    }
    if (after === undefined) {
      this.#run('DELETE FROM resources WHERE id = ?', id);
      return;
    }
    this.#run('INSERT OR REPLACE INTO resources VALUES (?, ?)', idOf(after), JSON.stringify(after));
    for (const term of new Set(terms(after))) this.#run('INSERT INTO terms VALUES (?, ?)', term, id);
    for (const claim of claims(after)) this.#run('INSERT OR REPLACE INTO claims VALUES (?, ?)', claim, id);
  }

  #writeRows({ id, rows, before }: LoweredResource): void {
    const text = JSON.stringify(rows);
    if (rows.length === 0) this.#run('DELETE FROM lowered WHERE id = ?', id);
    else if (text !== JSON.stringify(before)) {
      const beyond = beyondVpc(id, rows);
      this.#run('INSERT OR REPLACE INTO lowered VALUES (?, ?, ?)', id, text, JSON.stringify(beyond));
    }
  }

  /** Transactions that began in one of these scopes and did not end. Whoever holds the scopes' locks knows their processes dead. */
  unfinished(scopes?: readonly string[]): { entry: JournalEntry; scopes: string[] }[] {
    const ids =
      scopes === undefined
        ? this.#all<{ id: number }>('SELECT id FROM journal ORDER BY id').map(({ id }) => id)
        : [
            ...new Set(
              scopes.flatMap((scope) =>
                this.#all<{ id: number }>('SELECT id FROM journal_scopes WHERE scope = ?', scope).map(({ id }) => id),
              ),
            ),
          ].sort((a, b) => a - b);
    return ids.flatMap((id) => {
      const found = this.#all<{ phase: JournalEntry['phase']; plan: string }>(
        'SELECT phase, plan FROM journal WHERE id = ?',
        id,
      )[0];
      if (found === undefined) return [];
      const own = this.#all<{ scope: string }>('SELECT scope FROM journal_scopes WHERE id = ?', id).map(
        ({ scope }) => scope,
      );
      return [{ entry: { id, phase: found.phase, plan: this.#parse<Intent>(found.plan) }, scopes: own }];
    });
  }

  // --- apps ----------------------------------------------------------------------------------------------------------

  apps(vpc?: string, instance?: string): AppRecord[] {
    const of = [vpc, instance].filter((name) => name !== undefined);
    const where = ['', 'WHERE vpc = ?', 'WHERE vpc = ? AND instance = ?'][of.length];
    const sql = `SELECT body FROM apps ${where} ORDER BY vpc, instance, name`;
    return this.#all<{ body: string }>(sql, ...of).map(({ body }) => this.#parse<AppRecord>(body));
  }

  putApp(app: AppRecord): void {
    this.#run('INSERT OR REPLACE INTO apps VALUES (?, ?, ?, ?)', app.vpc, app.instance, app.name, JSON.stringify(app));
  }

  removeApp(app: Pick<AppRecord, 'vpc' | 'instance' | 'name'>): void {
    this.#run('DELETE FROM apps WHERE vpc = ? AND instance = ? AND name = ?', app.vpc, app.instance, app.name);
  }
}
