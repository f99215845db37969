/** Small pieces of text: colour, tables, and other people's words made safe for a terminal. */
/** The few colours that are used, or none. */
export interface Colors {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly red: (text: string) => string;
  readonly green: (text: string) => string;
  readonly yellow: (text: string) => string;
}

/** The text between two codes of ECMA-48; where it ends in the middle (bold in dim), it begins again. */
function sgr(begin: number, end: number): (text: string) => string {
  const [open, close] = [`\u001b[${begin}m`, `\u001b[${end}m`];
  return (text) => `${open}${text.replaceAll(close, `${close}${open}`)}${close}`;
}

const PLAIN = (text: string): string => text;
const NO_COLORS: Colors = { bold: PLAIN, dim: PLAIN, red: PLAIN, green: PLAIN, yellow: PLAIN };
const COLORS: Colors = { bold: sgr(1, 22), dim: sgr(2, 22), red: sgr(31, 39), green: sgr(32, 39), yellow: sgr(33, 39) };

export function colors(enabled: boolean): Colors {
  return enabled ? COLORS : NO_COLORS;
}

/** `1 instance`, `2 instances`. */
export function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? '' : 's'}`;
}

/** The text on one line, without anything that a terminal would obey: control characters steer it, line ends break "one line". */
export function oneLine(text: string): string {
  const line = text.trim();
  // Most is, and to make a class of characters by their property takes V8 longer than to start a small command.
  if (/^[ -~]*$/.test(line)) return line;
  return line
    .replace(/\s*\n\s*/g, ' ')
    .replace(
      /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu,
      (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`,
    );
}

/** Columns as wide as their widest cell, two spaces apart; nothing behind the last. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  }
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
}

/** A value of the model in a plan: YAML's flow style, near enough to be read at a glance. */
export function formatValue(value: unknown): string {
  if (value === undefined || value === null) return 'none';
  if (typeof value === 'string') return value === '' ? '""' : oneLine(value);
  if (Array.isArray(value)) return `[${value.map(formatValue).join(', ')}]`;
  if (typeof value === 'object') {
    const entries = Object.entries(value).filter(([, inner]) => inner !== undefined);
    return `{${entries.map(([key, inner]) => `${key}: ${formatValue(inner)}`).join(', ')}}`;
  }
  return String(value);
}
