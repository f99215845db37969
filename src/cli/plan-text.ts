/** Plans and drift as text. */
import type {
  Drift,
  HeldView,
  Holder,
  PlannedChange,
  PlanView,
  RepairResult,
  RestoreResult,
  WatchEvent,
} from '../index.js';
import { type Colors, count, formatValue, oneLine } from './text.js';

const GLYPHS = { create: '+', update: '~', delete: '-' } as const;

/** Whether carrying the plan out would change anything. */
export function isEmpty({ changes, kernel }: PlanView): boolean {
  return changes.length === 0 && kernel.create + kernel.update + kernel.delete === 0;
}

/** The plan: a line a resource, what changes of it below, and the sums. */
export function planText(plan: PlanView, c: Colors): string[] {
  const paint = { create: c.green, update: c.yellow, delete: c.red } as const;
  const lines = plan.changes.flatMap((change) => [
    paint[change.action](`${GLYPHS[change.action]} ${change.resource}`) + valuesText(change, c),
    ...propertyLines(change, c),
  ]);
  return [...lines, sumText(plan, 'to')];
}

/** `3 to add, 0 to change, 1 to remove; …`, or the same as done. */
export function sumText({ changes, kernel }: PlanView, tense: 'to' | 'done'): string {
  const of = (action: PlannedChange['action']): number => changes.filter((change) => change.action === action).length;
  const [add, change, remove] = tense === 'to' ? ['to add', 'to change', 'to remove'] : ['added', 'changed', 'removed'];
  const objects = `kernel objects: +${kernel.create} ~${kernel.update} -${kernel.delete}`;
  return `${of('create')} ${add}, ${of('update')} ${change}, ${of('delete')} ${remove}; ${objects}`;
}

/** What a new resource is made with, in short. */
function valuesText({ values = {} }: PlannedChange, c: Colors): string {
  const words = Object.entries(values).flatMap(([key, value]) => valueText(key, value) ?? []);
  return words.length === 0 ? '' : `  ${c.dim(words.join(', '))}`;
}

function valueText(key: string, value: unknown): string | undefined {
  if (value === undefined || value === false) return undefined;
  if (value === true || isMap(value)) return key;
  if (Array.isArray(value))
    return value.every(isMap)
      ? key === 'routes'
        ? count(value.length, 'route')
        : `${key} ${count(value.length, 'rule')}`
      : `${key} ${value.join(' ')}`;
  return `${key} ${formatValue(value)}`;
}

function isMap(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function propertyLines({ properties = {} }: PlannedChange, c: Colors): string[] {
  return Object.entries(properties).flatMap(([key, [before, after]]) => differenceLines(key, before, after, c));
}

/** `key: before → after`; a list of rules by the rules that go and come. */
function differenceLines(key: string, before: unknown, after: unknown, c: Colors): string[] {
  if ((isMap(before) || isMap(after)) && [before, after].every((value) => value === undefined || isMap(value))) {
    const was = isMap(before) ? before : {};
    const is = isMap(after) ? after : {};
    return [...new Set([...Object.keys(was), ...Object.keys(is)])]
      .filter((inner) => formatValue(was[inner]) !== formatValue(is[inner]))
      .flatMap((inner) => differenceLines(`${key}.${inner}`, was[inner], is[inner], c));
  }
  const was = asRules(before);
  const is = asRules(after);
  if (was === undefined || is === undefined || was.length + is.length === 0) {
    return [`    ${key}: ${formatValue(before)} → ${formatValue(after)}`];
  }
  const gone = without(was, is).map((rule) => c.red(`      - ${rule}`));
  const come = without(is, was).map((rule) => c.green(`      + ${rule}`));
  return [`    ${key}:`, ...(gone.length + come.length === 0 ? ['      (the order)'] : [...gone, ...come])];
}

/** A list that has maps in it, or none, each item as text; undefined when it is something else. */
function asRules(value: unknown): string[] | undefined {
  if (value === undefined) return [];
  return Array.isArray(value) && value.every(isMap) ? value.map(formatValue) : undefined;
}

/** `items` less those of `others`, one for one. */
function without(items: readonly string[], others: readonly string[]): string[] {
  const left = [...others];
  return items.filter((item) => {
    const at = left.indexOf(item);
    if (at !== -1) left.splice(at, 1);
    return at === -1;
  });
}

/** A line a difference between what was recorded and what the kernel has; what only follows from another is counted. */
export function driftText(drift: readonly Drift[], c: Colors): string[] {
  if (drift.length === 0) return ['no drift: the kernel has what was recorded'];
  const lines = differenceTexts(drift, c);
  const more = drift.filter(({ follows }) => follows).length;
  const rest = more === 0 ? '' : `, and ${more} that follow from ${lines.length === 1 ? 'it' : 'them'}`;
  return [...lines, `${count(lines.length, 'difference')} between what was recorded and what the kernel has${rest}`];
}

function differenceTexts(drift: readonly Drift[], c: Colors): string[] {
  const paint = { missing: c.red, changed: c.yellow, foreign: c.yellow } as const;
  return sentencesOf(drift).map(({ what, sentence }) => `${paint[what](what.padEnd(7))}  ${oneLine(sentence)}`);
}

/** One of each sentence: the rules of a chain have one between them, and what follows from another difference is not told. */
function sentencesOf(drift: readonly Drift[]): Drift[] {
  return [...new Map(drift.filter(({ follows }) => !follows).map((one) => [one.sentence, one])).values()];
}

/** What is to be put back, and what is not; or, once it is done, what was. */
export function repairText({ repaired, left, kernel }: RepairResult, tense: 'to' | 'done', c: Colors): string[] {
  const stays = left.length === 0 ? [] : ['stays as it is:', ...differenceTexts(left, c).map((line) => `  ${line}`)];
  if (repaired.length === 0) return [...stays, 'nothing to repair'];
  const objects = `kernel objects: +${kernel.create} ~${kernel.update} -${kernel.delete}`;
  const sum = `${tense === 'to' ? 'to repair' : 'repaired'}: ${count(repaired.length, 'difference')}; ${objects}`;
  return [...differenceTexts(repaired, c), ...stays, sum];
}

/** What was brought back after the machine was started anew. */
export function restoreText({ restored, failed }: Pick<RestoreResult, 'restored' | 'failed'>): string {
  const parts = [
    ...(restored.length === 0 ? [] : [`restored ${restored.join(', ')}`]),
    ...(failed.length === 0 ? [] : [`not restored: ${failed.map(({ what }) => what).join(', ')}`]),
  ];
  return parts.length === 0 ? 'nothing to restore' : parts.join('; ');
}

/** How many of those who hold a namespace are named. */
const NAMED = 5;

/** What was deleted and lives on, and who holds it. */
export function heldText({ what, holders }: HeldView): string {
  const named = holders.slice(0, NAMED).map(holderText);
  const more = holders.length > NAMED ? [`${holders.length - NAMED} more`] : [];
  return `${what}: its namespace lives on, without its links: held by ${[...named, ...more].join(', ')}`;
}

function holderText(holder: Holder): string {
  switch (holder.by) {
    case 'process':
      return `${holder.command} (pid ${holder.pid})`;
    case 'descriptor':
      return `${holder.command} (pid ${holder.pid}, descriptor ${holder.descriptor})`;
    case 'mount':
      return `a mount at ${holder.path} (seen by ${holder.command}, pid ${holder.pid})`;
  }
}

/** An event of a watch, each line with its time. */
export function watchText(event: WatchEvent, c: Colors): string[] {
  return watchLines(event, c).map((line) => `${event.at}  ${line}`);
}

function watchLines(event: WatchEvent, c: Colors): string[] {
  const subject = event.vpc === null ? 'edge' : `vpc ${event.vpc}`;
  switch (event.type) {
    case 'watching':
      return [`watching ${event.vpc === null ? 'all VPCs' : subject}`];
    case 'drift':
      return differenceTexts(event.drift, c);
    case 'clean':
      return [`${subject}: no drift any more`];
    case 'repaired':
      return sentencesOf(event.repaired).map(({ sentence }) => `${c.green('repaired')}  ${oneLine(sentence)}`);
    case 'failed':
      return [
        `${c.red('failed')}  ${subject}: ${oneLine(event.error.toLine())}; next look in ${seconds(event.nextLookMs)}`,
      ];
    case 'backoff':
      return [
        `${c.yellow('again')}  ${subject}: the same ${event.times} times in a row: next look in ${seconds(event.nextLookMs)}`,
      ];
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
