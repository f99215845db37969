/** Answers of `analyze` and `matrix` as text. */
import type { Analysis, Cell, Endpoint, Hop, Matrix, ProbeResult, Refusal } from '../index.js';
import { type Colors, count, table } from './text.js';

function endText(end: Endpoint): string {
  switch (end.kind) {
    case 'instance':
      return `${end.vpc}/${end.name} (${end.address}${end.by === 'private' ? '' : `, ${end.by === 'public' ? 'public' : 'IPv6'}`})`;
    case 'router':
      return `gateway of ${end.vpc}/${end.subnet} (${end.address})`;
    case 'resolver':
      return `resolver of ${end.vpc} (${end.address})`;
    case 'host':
      return 'host';
    case 'internet':
      return end.any ? `internet (${end.address} stands for any)` : `internet (${end.address})`;
    case 'nobody':
      return `${end.address}, which nobody has`;
  }
}

export function trafficText({ protocol, port }: Pick<Matrix, 'protocol' | 'port'>): string {
  return port === null ? protocol.name : `${protocol.name} ${port}`;
}

/** The verdict; the way, hop by hop; what refuses and what would change that. */
export function analysisText(analysis: Analysis, c: Colors): string[] {
  const { reachable, query, forward, refusals } = analysis;
  const verdict = reachable ? c.green('reachable') : c.red('not reachable');
  return [
    `${verdict}: ${endText(query.source)} to ${endText(query.destination)}, ${trafficText(query)}`,
    '',
    ...wayText('there', forward, c),
    ...(analysis.return.length === 0 ? [] : ['', ...wayText('and back', analysis.return, c)]),
    ...(refusals.length === 0 ? [] : ['', ...refusals.flatMap((refusal) => refusalText(refusal, c))]),
  ];
}

const MARKS = { passes: '✓', refuses: '✗', translates: '→' } as const;

function wayText(title: string, hops: readonly Hop[], c: Colors): string[] {
  const rows = table(hops.map((hop) => [markOf(hop), hop.component.name, decisionText(hop)]));
  const lines = rows.map((row, at) => {
    const hop = hops[at];
    if (hop?.decision === 'refuses') return c.red(row);
    return hop?.assumed === true ? c.dim(row) : row;
  });
  const assumed = hops.some((hop) => hop.assumed === true) ? [c.dim('  in brackets: were it not refused before')] : [];
  return [c.bold(title), ...lines, ...assumed];
}

function markOf({ decision, assumed }: Hop): string {
  const mark = MARKS[decision];
  return assumed === true ? ` (${mark})` : `  ${mark}`;
}

function decisionText({ rule, translation }: Hop): string {
  if (translation === undefined) return rule;
  return `${translation.field} ${translation.from} becomes ${translation.to}: ${rule}`;
}

function refusalText({ direction, component, rule, hint }: Refusal, c: Colors): string[] {
  const of = direction === 'return' ? ', for the answer' : '';
  return [
    `${c.red('refused by')} ${component.name}${of}: ${rule}`,
    ...(hint === undefined ? [] : [`  to let it pass: ${hint}`]),
  ];
}

/** What became of a real packet. */
export interface Probed extends Omit<ProbeResult, 'query'> {
  /** With the analysis. null: nobody can tell. */
  readonly agrees: boolean | null;
}

export function probeText(
  { agrees, answered, reason, rttMs, seenSource }: Probed,
  { reachable }: Analysis,
  { colors: c, quiet }: { readonly colors: Colors; readonly quiet: boolean },
): string[] {
  const took = rttMs === null ? '' : ` after ${rttMs.toFixed(1)} ms`;
  const seen = seenSource === null ? '' : `; it was seen to come from ${seenSource}`;
  const lines = [...(quiet ? [] : ['']), `${c.bold('probed')}: ${reason}${took}${seen}`];
  if (agrees === null) return [...lines, c.yellow('whether that is as the rules say cannot be told from here')];
  if (agrees) return lines;
  const said = reachable ? 'reachable' : 'not reachable';
  const why = answered ? 'something lets it pass' : 'something else stops it';
  return [...lines, c.red(`disagrees: the rules say ${said}, and ${why}; see vpcctl drift and vpcctl doctor`)];
}

// --- the matrix ------------------------------------------------------------------------------------------------------

function cellMark(cell: Cell, c: Colors): string {
  switch (cell) {
    case 'yes':
      return c.green('✓');
    case 'public':
      return c.yellow('p');
    case 'no':
      return '·';
    case null:
      return ' ';
  }
}

/** A row a source, a column a destination; columns are numbered as the rows are. */
export function matrixText(matrix: Matrix, c: Colors): string[] {
  const { ends, cells } = matrix;
  const width = String(ends.length).length;
  const names = Math.max(...ends.map((end) => end.length), 0);
  const number = (at: number): string => String(at + 1).padStart(width);
  const head = ends.map((_end, at) => number(at)).join(' ');
  const reached = cells.flat().filter((cell) => cell === 'yes' || cell === 'public').length;
  const asked = cells.flat().filter((cell) => cell !== null).length;
  return [
    c.bold(`who reaches whom by ${trafficText(matrix)}: ${reached} of ${count(asked, 'pair')}`),
    '',
    `${' '.repeat(width + names + 3)}${head}`,
    ...ends.map((end, row) => {
      const marks = (cells[row] ?? []).map((cell) => `${' '.repeat(width - 1)}${cellMark(cell, c)}`).join(' ');
      return `${number(row)} ${end.padEnd(names)}  ${marks}`.trimEnd();
    }),
    '',
    'rows reach columns: ✓ yes  p by its public address only  · no',
  ];
}
