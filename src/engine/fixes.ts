/**
 * What `doctor --fix` changes on the host outside of what is ours: remembered before it is done, done so that it can be done again, and taken back by
 * whoever finds the border gone. A change of somebody else's on top of it is left alone.
 */
import { VpcctlError } from '../errors.js';
import type { Machine } from '../kernel/machine.js';
import { isOurs, listedRules, markedRules, plainExpr, RULE_COMMENT } from './forward.js';
import type { Store } from './store.js';

/** A rule at the head of a chain that somebody else made. `expr` is nft's JSON. */
export interface RuleFix {
  readonly kind: 'nft-rule';
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly expr: readonly object[];
}

/** A setting of the host's, by its path below /proc/sys, and what it was. */
export interface SysctlFix {
  readonly kind: 'sysctl';
  readonly key: string;
  readonly value: string;
  readonly before: string;
}

/** A configuration file that was not there. */
export interface FileFix {
  readonly kind: 'file';
  readonly path: string;
  readonly content: string;
  /** Directories made for it, outermost first. */
  readonly directories: readonly string[];
}

/** A change that `doctor --fix` makes, and takes back. */
export type Fix = RuleFix | SysctlFix | FileFix;

/** What became of a fix that was to be taken back. */
export interface Undone {
  readonly fix: Fix;
  /** Why there was nothing to take back: it was changed or removed by somebody else. */
  readonly left?: string;
}

/** One line for a person. */
export function describeFix(fix: Fix): string {
  switch (fix.kind) {
    case 'nft-rule':
      return `rule in ${fix.family} ${fix.table} ${fix.chain}: ${fix.expr.flatMap(wordsOf).join(' ')}`;
    case 'sysctl':
      return `sysctl ${fix.key.replaceAll('/', '.')} = ${fix.value} (was ${fix.before})`;
    case 'file':
      return `file ${fix.path}`;
  }
}

function wordsOf(expr: object): string[] {
  const { match } = expr as { match?: { left: object; right: unknown } };
  if (match === undefined) return Object.keys(expr).filter((word) => word !== 'counter');
  const { meta, payload } = match.left as { meta?: { key: string }; payload?: { protocol: string; field: string } };
  const left = meta?.key ?? `${payload?.protocol} ${payload?.field}`;
  const { prefix } = (typeof match.right === 'object' ? match.right : {}) as { prefix?: { addr: string; len: number } };
  return [left, prefix === undefined ? JSON.stringify(match.right) : `${prefix.addr}/${prefix.len}`];
}

const FIXES = 'fixes';

/** The fixes that were begun and not taken back. */
export function rememberedFixes(store: Store): Fix[] {
  const text = store.meta(FIXES);
  return text === undefined ? [] : (JSON.parse(text) as Fix[]);
}

function remember(store: Store, fixes: readonly Fix[]): void {
  store.setMeta(FIXES, fixes.length === 0 ? undefined : JSON.stringify(fixes));
}

/** What a fix changes: two of one target are not remembered side by side. */
function targetOf(fix: Fix): string {
  switch (fix.kind) {
    case 'nft-rule':
      return describeFix(fix);
    case 'sysctl':
      return `sysctl ${fix.key}`;
    case 'file':
      return `file ${fix.path}`;
  }
}

/** Rules that a state made which was lost since. The caller knows that nobody has a border. */
export async function strayFixes(machine: Machine, remembered: readonly Fix[]): Promise<Fix[]> {
  const known = new Set(remembered.map(targetOf));
  return markedRules(await machine.ruleset())
    .map((rule): Fix => {
      const { family, table, chain } = rule;
      return { kind: 'nft-rule', family, table, chain, expr: plainExpr(rule) };
    })
    .filter((fix) => !known.has(targetOf(fix)));
}

/** Remembers the fixes, then makes them. What a sysctl was before its first fix stays what is remembered of it. */
export async function applyFixes(store: Store, machine: Machine, fixes: readonly Fix[]): Promise<void> {
  const known = new Map(rememberedFixes(store).map((fix) => [targetOf(fix), fix]));
  for (const fix of fixes) known.set(targetOf(fix), merge(known.get(targetOf(fix)), fix));
  remember(store, [...known.values()]);
  const rules = fixes.filter(({ kind }) => kind === 'nft-rule') as RuleFix[];
  if (rules.length > 0) await insertRules(machine, rules);
  for (const fix of fixes) {
    if (fix.kind === 'sysctl') machine.set(fix.key, fix.value);
    if (fix.kind === 'file' && machine.read(fix.path) !== fix.content) machine.create(fix.path, fix.content);
  }
}

function merge(old: Fix | undefined, fix: Fix): Fix {
  if (old?.kind === 'sysctl' && fix.kind === 'sysctl') return { ...fix, before: old.before };
  if (old?.kind === 'file' && fix.kind === 'file') {
    return { ...fix, directories: [...new Set([...old.directories, ...fix.directories])] };
  }
  return fix;
}

async function insertRules(machine: Machine, fixes: readonly RuleFix[]): Promise<void> {
  const listed = listedRules(await machine.ruleset());
  const missing = fixes.filter((fix) => !listed.some((rule) => isIn(rule, fix) && isOurs(rule, fix.expr)));
  if (missing.length === 0) return;
  await machine.nft(
    missing.map(({ family, table, chain, expr }) => ({
      insert: { rule: { family, table, chain, expr, comment: RULE_COMMENT } },
    })),
  );
}

function isIn(rule: { family: string; table: string; chain: string }, fix: RuleFix): boolean {
  return rule.family === fix.family && rule.table === fix.table && rule.chain === fix.chain;
}

/**
 * Takes fixes back, and forgets them. One that cannot be taken back stays remembered, the others are taken back all the same; the first refusal is
 * `failure`.
 */
export async function undoFixes(
  store: Store,
  machine: Machine | undefined,
  fixes: readonly Fix[] = rememberedFixes(store),
): Promise<{ undone: Undone[]; failure?: VpcctlError }> {
  const undone: Undone[] = [];
  let failure: VpcctlError | undefined;
  const attempt = async (some: readonly Fix[], body: (machine: Machine) => Promise<Undone[]> | Undone[]) => {
    try {
      if (machine === undefined) throw new VpcctlError('ENVIRONMENT', "the host's firewall and files are out of reach");
      undone.push(...(await body(machine)));
      const gone = new Set(some.map(targetOf));
      remember(
        store,
        rememberedFixes(store).filter((fix) => !gone.has(targetOf(fix))),
      );
    } catch (error) {
      if (!(error instanceof VpcctlError)) throw error;
      failure ??= new VpcctlError(error.code, `what doctor had fixed could not be taken back: ${error.message}`, {
        ...error.facts,
        hint: `${error.facts.hint ?? 'see to it'}, then run vpcctl doctor --undo`,
        cause: error,
      });
    }
  };
  const rules = fixes.filter(({ kind }) => kind === 'nft-rule') as RuleFix[];
  if (rules.length > 0) await attempt(rules, (at) => deleteRules(at, rules));
  // Latest first: a directory goes when what was put into it is gone.
  for (const fix of [...fixes].reverse()) {
    if (fix.kind === 'sysctl') await attempt([fix], (at) => [restoreSysctl(at, fix)]);
    if (fix.kind === 'file') await attempt([fix], (at) => [removeFile(at, fix)]);
  }
  return { undone, ...(failure === undefined ? {} : { failure }) };
}

async function deleteRules(machine: Machine, fixes: readonly RuleFix[]): Promise<Undone[]> {
  const listed = listedRules(await machine.ruleset());
  const found = fixes.map((fix) => ({
    fix,
    rules: listed.filter((rule) => isIn(rule, fix) && isOurs(rule, fix.expr)),
  }));
  const doomed = found.flatMap(({ rules }) => rules);
  if (doomed.length > 0) {
    await machine.nft(
      doomed.map(({ family, table, chain, handle }) => ({ delete: { rule: { family, table, chain, handle } } })),
    );
  }
  return found.map(({ fix, rules }) => (rules.length > 0 ? { fix } : { fix, left: 'it is gone already' }));
}

function restoreSysctl(machine: Machine, fix: SysctlFix): Undone {
  const value = machine.read(`/proc/sys/${fix.key}`)?.trim();
  if (value !== fix.value) return { fix, left: value === undefined ? 'it is gone already' : `it is ${value} now` };
  machine.set(fix.key, fix.before);
  return { fix };
}

function removeFile(machine: Machine, fix: FileFix): Undone {
  const content = machine.read(fix.path);
  // Part of it is what a crash left of our own writing.
  if (content !== undefined && !fix.content.startsWith(content)) return { fix, left: 'somebody has changed it' };
  machine.remove(fix.path);
  for (const dir of [...fix.directories].reverse()) machine.removeDirectory(dir);
  return content === undefined ? { fix, left: 'it is gone already' } : { fix };
}
