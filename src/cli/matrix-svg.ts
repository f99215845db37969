/** The matrix as a picture. */
import type { Cell, Matrix } from '../index.js';
import { trafficText } from './analysis-text.js';
import { escaped } from './svg.js';

const CELL = 20;
const FONT = 12;
/** Of the widest letters that names have, in a sans-serif font. */
const LETTER = 7;
const MARGIN = 16;
const HEADING = 52;
const LEGEND = 44;

const FILLS = { yes: '#2e9e5b', public: '#e2a72e', no: '#eceff3' } as const;
const WORDS: readonly (readonly [keyof typeof FILLS, string])[] = [
  ['yes', 'reaches it'],
  ['public', 'by its public address only'],
  ['no', 'does not'],
];

/** The VPC of an end; internet and host are of none. */
function groupOf(end: string): string {
  return end.includes('/') ? (end.split('/')[0] ?? '') : '';
}

/** A square a pair: rows are sources, columns destinations. Each says in its title what it shows. */
export function matrixSvg(matrix: Matrix): string {
  const { ends, cells } = matrix;
  const label = Math.max(...ends.map((end) => end.length)) * LETTER + 12;
  const [left, top] = [MARGIN + label, HEADING + label];
  const side = ends.length * CELL;
  const width = Math.max(left + side + MARGIN, 480);
  const height = top + side + LEGEND + MARGIN;
  const traffic = trafficText(matrix);
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="Helvetica, Arial, sans-serif" font-size="${FONT}" fill="#1f2933">`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    `<text x="${MARGIN}" y="26" font-size="16" font-weight="bold">Who reaches whom by ${escaped(traffic)}</text>`,
    `<text x="${MARGIN}" y="44" fill="#616e7c">rows are sources, columns destinations</text>`,
    ...ends.flatMap((end, at) => labels(end, at, left, top)),
    ...cells.flatMap((row, y) =>
      row.flatMap((cell, x) => square(cell, `${ends[y]} to ${ends[x]}, ${traffic}`, left + x * CELL, top + y * CELL)),
    ),
    ...lines(ends, left, top, side),
    ...legend(top + side + 18),
    '</svg>',
  ].join('\n')}\n`;
}

function labels(end: string, at: number, left: number, top: number): string[] {
  const middle = at * CELL + CELL / 2;
  const [x, y] = [left + middle + 4, top - 8];
  return [
    `<text x="${left - 8}" y="${top + middle + 4}" text-anchor="end">${escaped(end)}</text>`,
    `<text transform="translate(${x} ${y}) rotate(-90)">${escaped(end)}</text>`,
  ];
}

function square(cell: Cell, what: string, x: number, y: number): string[] {
  if (cell === null) return [];
  const words = cell === 'yes' ? 'yes' : cell === 'public' ? 'by its public address only' : 'no';
  const inner = CELL - 2;
  return [
    `<rect x="${x + 1}" y="${y + 1}" width="${inner}" height="${inner}" rx="3" fill="${FILLS[cell]}"><title>${escaped(`${what}: ${words}`)}</title></rect>`,
    ...mark(cell, x, y),
  ];
}

/** So that the colours are not all there is to tell by. */
function mark(cell: Exclude<Cell, null>, x: number, y: number): string[] {
  if (cell === 'no') return [];
  if (cell === 'public') {
    return [
      `<text x="${x + CELL / 2}" y="${y + CELL / 2 + 4}" text-anchor="middle" font-weight="bold" fill="#ffffff">p</text>`,
    ];
  }
  return [
    `<path d="M${x + 5.5} ${y + 10.5} l3 3.5 l6 -7.5" fill="none" stroke="#ffffff" stroke-width="2" stroke-linecap="round" stroke-linejoin="round"/>`,
  ];
}

/** Between the VPCs. */
function lines(ends: readonly string[], left: number, top: number, side: number): string[] {
  return ends.flatMap((end, at) => {
    if (at === 0 || groupOf(end) === groupOf(ends[at - 1] ?? '')) return [];
    const offset = at * CELL;
    return [
      `<path d="M${left} ${top + offset} h${side} M${left + offset} ${top} v${side}" stroke="#9aa5b1" stroke-width="1"/>`,
    ];
  });
}

function legend(y: number): string[] {
  let x = MARGIN;
  return WORDS.flatMap(([cell, words]) => {
    const at = x;
    x += CELL + 8 + words.length * LETTER + 12;
    return [...square(cell, words, at, y), `<text x="${at + CELL + 6}" y="${y + CELL / 2 + 4}">${words}</text>`];
  });
}
