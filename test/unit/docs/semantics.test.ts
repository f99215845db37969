/** docs/semantics.md: every row names a page of the cloud's documentation and tests that are there. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const text = readFileSync(join(root, 'docs', 'semantics.md'), 'utf8');

const LEAST = 80;

interface Row {
  /** Number of its line in the file. */
  readonly line: number;
  readonly cells: readonly string[];
}

/** The rows of all tables with this many columns whose header is this. */
function rowsOf(header: readonly string[]): Row[] {
  const rows: Row[] = [];
  let within = false;
  for (const [at, line] of text.split('\n').entries()) {
    const cells = line.startsWith('|') ? cellsOf(line) : undefined;
    if (cells === undefined) within = false;
    else if (cells.join('|') === header.join('|')) within = true;
    else if (within && !/^[|\- ]+$/.test(line)) rows.push({ line: at + 1, cells });
  }
  return rows;
}

const cellsOf = (line: string): string[] =>
  line
    .replace(/^\|/, '')
    .replace(/\|\s*$/, '')
    .split('|')
    .map((cell) => cell.trim());

/** `[TITLE]: URL` at the end of the file. */
const pages = new Map([...text.matchAll(/^\[([^\]]+)\]: (\S+)$/gm)].map(([, title = '', url = '']) => [title, url]));
const linked = (cell: string): string[] => [...cell.matchAll(/\[([^\]]+)\]/g)].map(([, title = '']) => title);
const named = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name);

/** The titles of a file's tests, each with those of the groups that it is in. */
function titlesOf(file: string): string[][] {
  const source = ts.createSourceFile(file, readFileSync(file, 'utf8'), ts.ScriptTarget.Latest, true);
  const found: string[][] = [];
  const visit = (node: ts.Node, within: readonly string[]): void => {
    const call = ts.isCallExpression(node) ? titled(node) : undefined;
    if (call?.kind === 'test') found.push([...within, call.title]);
    ts.forEachChild(node, (child) => visit(child, call?.kind === 'group' ? [...within, call.title] : within));
  };
  visit(source, []);
  return found;
}

function titled(call: ts.CallExpression): { readonly kind: 'test' | 'group'; readonly title: string } | undefined {
  const [title] = call.arguments;
  if (title === undefined || !(ts.isStringLiteralLike(title) || ts.isTemplateExpression(title))) return undefined;
  // test('…'), test.each(…)('…'), test.runIf(…)('…')
  let callee: ts.Expression = call.expression;
  while (!ts.isIdentifier(callee)) {
    if (!ts.isCallExpression(callee) && !ts.isPropertyAccessExpression(callee)) return undefined;
    callee = callee.expression;
  }
  const name = ts.isStringLiteralLike(title) ? title.text : title.getText().slice(1, -1);
  if (callee.text === 'describe') return { kind: 'group', title: name };
  return callee.text === 'test' || callee.text === 'it' ? { kind: 'test', title: name } : undefined;
}

const known = new Map<string, string[][]>();

/** What is wrong with `e2e/routing › a group › a test`; nothing when there is one such test. */
function complaint(name: string): string | undefined {
  const [file = '', ...path] = name.split(' › ');
  const full = join(root, 'test', `${file}.test.ts`);
  if (!existsSync(full)) return `there is no test/${file}.test.ts`;
  if (!known.has(file)) known.set(file, titlesOf(full));
  const same = (known.get(file) ?? []).filter((titles) => titles.slice(-path.length).join(' › ') === path.join(' › '));
  if (path.length === 0 || same.length === 0) return `test/${file}.test.ts has no test "${path.join(' › ')}"`;
  return same.length === 1 ? undefined : `test/${file}.test.ts has ${same.length} tests "${path.join(' › ')}"`;
}

const STATEMENTS = ['What is documented', 'Page', 'Shown by'];
const DIFFERENCES = ['What is documented', 'Page', 'Here, and why', 'Shown by'];

describe.each([
  ['statements', STATEMENTS],
  ['differences', DIFFERENCES],
])('the %s', (_what, header) => {
  const rows = rowsOf(header);

  test('are complete: a page of AWS’s documentation, and tests that are there', () => {
    const wrong = rows.flatMap(({ line, cells }) => {
      const at = `docs/semantics.md:${line}`;
      if (cells.length !== header.length) return [`${at} has ${cells.length} columns, not ${header.length}`];
      const titles = linked(cells[1] ?? '');
      const tests = named(cells.at(-1) ?? '');
      return [
        ...(titles.length === 0 ? [`${at} names no page`] : []),
        ...titles.flatMap((title) => (pages.has(title) ? [] : [`${at}: the page "${title}" has no address`])),
        ...(tests.length === 0 && header === STATEMENTS ? [`${at} names no test`] : []),
        ...tests.flatMap((name) => complaint(name) ?? []).map((why) => `${at}: ${why}`),
      ];
    });
    expect(wrong).toEqual([]);
  });

  test('say each thing once', () => {
    const seen = rows.map(({ cells }) => (cells[0] ?? '').toLowerCase().replaceAll(/[^a-z0-9]+/g, ' '));
    expect(seen.filter((statement, at) => seen.indexOf(statement) !== at)).toEqual([]);
  });
});

test(`there are at least ${LEAST} statements`, () => {
  expect(rowsOf(STATEMENTS).length).toBeGreaterThanOrEqual(LEAST);
});

test('every page is AWS’s, and used', () => {
  const used = new Set([...rowsOf(STATEMENTS), ...rowsOf(DIFFERENCES)].flatMap(({ cells }) => linked(cells[1] ?? '')));
  expect([...pages.values()].filter((url) => !url.startsWith('https://docs.aws.amazon.com/'))).toEqual([]);
  expect([...pages.keys()].filter((title) => !used.has(title))).toEqual([]);
});
