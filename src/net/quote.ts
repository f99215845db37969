/** Printing what somebody else wrote, inside one line of an error message. */

const LONGEST = 64;

/**
 * The text in double quotes, safe for a terminal and for one line: control and invisible characters, line ends and lone
 * surrogates are escaped, and a text longer than 64 characters is cut with its length told.
 */
export function quote(text: string): string {
  const characters = Array.from(text.slice(0, LONGEST * 2 + 1));
  const whole = characters.length <= LONGEST;
  const shown = whole ? characters : characters.slice(0, LONGEST - 24);
  const escaped = shown.map(escapeCharacter).join('');
  return whole ? `"${escaped}"` : `"${escaped}…" (${text.length} characters)`;
}

/** One character in quotes, with its code point where the glyph alone would not tell: `"é" (U+00E9)`. */
export function quoteCharacter(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const point = `U+${code.toString(16).toUpperCase().padStart(4, '0')}`;
  if (character === ' ') return 'a space';
  if (character === '\t') return 'a tab';
  if (character === '\n' || character === '\r') return 'a line end';
  if (code > 0x7e) return isInvisible(character) ? point : `"${character}" (${point})`;
  return code < 0x20 ? point : `"${character}"`;
}

/** Made where it is needed: a class of \p{C} takes V8 4 ms. */
function isInvisible(character: string): boolean {
  if (/^[ -~]$/.test(character)) return false;
  return /[\p{C}\p{Zl}\p{Zp}]/u.test(character);
}

function escapeCharacter(character: string): string {
  if (character === '"' || character === '\\') return `\\${character}`;
  if (character === '\n') return '\\n';
  if (character === '\r') return '\\r';
  if (character === '\t') return '\\t';
  if (!isInvisible(character)) return character;
  return `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
}
