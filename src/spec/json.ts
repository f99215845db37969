/**
 * JSON with positions. `JSON.parse` keeps the last of two equal keys and, in half of its messages, does not say where;
 * this reader refuses the one and always knows the other, and needs no YAML library to be loaded.
 */
import { quote, quoteCharacter } from '../net/quote.js';
import { MAX_DEPTH, type MapEntry, type ReadResult, type TreeNode } from './tree.js';

/** Reads one JSON text (RFC 8259), a byte order mark allowed. Stops at the first problem. */
export function readJson(text: string): ReadResult {
  const reader = new Reader(text);
  try {
    return { ok: true, tree: reader.document() };
  } catch (stop) {
    if (stop instanceof Stop) return { ok: false, problems: [{ at: stop.at, message: stop.message }] };
    throw stop;
  }
}

class Stop extends Error {
  readonly at: number;

  constructor(at: number, message: string) {
    super(message);
    this.at = at;
  }
}

// Unrolled so that a missing closing quote costs one pass, not a search.
// biome-ignore lint/suspicious/noControlCharactersInRegex: a JSON string contains none, which is what this says.
const STRING = /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*"/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?(?![0-9A-Za-z.+-])/y;
const WORD = /[A-Za-z0-9_.+-]+/y;
const SPACE = /[ \t\n\r]*/y;

/** Alive for one text: a cursor. */
class Reader {
  private readonly text: string;
  private at = 0;

  constructor(text: string) {
    this.text = text;
  }

  document(): TreeNode {
    if (this.text.startsWith('\ufeff')) this.at = 1;
    this.space();
    if (this.at === this.text.length) throw new Stop(this.at, 'the text is empty');
    const tree = this.value(0);
    this.space();
    if (this.at < this.text.length) throw new Stop(this.at, `expected the end of the text, found ${this.found()}`);
    return tree;
  }

  private value(depth: number): TreeNode {
    const at = this.at;
    if (depth > MAX_DEPTH) throw new Stop(at, `nested deeper than ${MAX_DEPTH} levels`);
    switch (this.text[at]) {
      case '{':
        return this.map(depth);
      case '[':
        return this.list(depth);
      case '"':
        return { kind: 'scalar', at, value: this.string() };
      default:
        return { kind: 'scalar', at, value: this.literal() };
    }
  }

  private map(depth: number): TreeNode {
    const at = this.at;
    const entries = new Map<string, MapEntry>();
    this.at += 1;
    this.space();
    if (this.take('}')) return { kind: 'map', at, entries };
    for (;;) {
      const keyAt = this.at;
      if (this.text[keyAt] !== '"') throw new Stop(keyAt, `expected a key in double quotes, found ${this.found()}`);
      const key = this.string();
      const before = entries.get(key);
      if (before !== undefined) {
        throw new Stop(keyAt, `the key ${quote(key)} is given twice, first on line ${this.lineOf(before.keyAt)}`);
      }
      this.space();
      if (!this.take(':')) throw new Stop(this.at, `expected ":" after the key ${quote(key)}, found ${this.found()}`);
      this.space();
      entries.set(key, { keyAt, node: this.value(depth + 1) });
      this.space();
      if (this.take('}')) return { kind: 'map', at, entries };
      this.comma('}');
    }
  }

  private list(depth: number): TreeNode {
    const at = this.at;
    const items: TreeNode[] = [];
    this.at += 1;
    this.space();
    if (this.take(']')) return { kind: 'list', at, items };
    for (;;) {
      items.push(this.value(depth + 1));
      this.space();
      if (this.take(']')) return { kind: 'list', at, items };
      this.comma(']');
    }
  }

  private comma(closing: string): void {
    const at = this.at;
    if (!this.take(',')) throw new Stop(at, `expected "," or "${closing}", found ${this.found()}`);
    this.space();
    if (this.text[this.at] === closing) throw new Stop(at, `a comma before "${closing}": JSON allows none there`);
  }

  private string(): string {
    const matched = this.match(STRING);
    if (matched !== undefined) return JSON.parse(matched) as string;
    for (let at = this.at + 1; at < this.text.length; at += 1) {
      const character = this.text[at] ?? '';
      if (character === '\\') {
        if (!/^\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/.test(this.text.slice(at, at + 6))) {
          throw new Stop(at, `${quote(this.text.slice(at, at + 2))} is not an escape of JSON`);
        }
        at += 1;
      } else if (character < ' ') {
        throw new Stop(at, `a string contains ${quoteCharacter(character)}: write it as an escape`);
      }
    }
    throw new Stop(this.at, 'a string has no closing quote');
  }

  private literal(): number | boolean | null {
    const at = this.at;
    const number = this.match(NUMBER);
    if (number !== undefined) return Number(number);
    const word = this.match(WORD);
    if (word === 'true') return true;
    if (word === 'false') return false;
    if (word === 'null') return null;
    this.at = at;
    throw new Stop(at, `expected a value, found ${word === undefined ? this.found() : quote(word)}`);
  }

  private found(): string {
    if (this.at >= this.text.length) return 'the end of the text';
    if (/^(?:\/\/|\/\*|#)/.test(this.text.slice(this.at, this.at + 2))) return 'a comment, which JSON has not';
    return quoteCharacter(String.fromCodePoint(this.text.codePointAt(this.at) ?? 0));
  }

  private lineOf(offset: number): number {
    return this.text.slice(0, offset).split('\n').length;
  }

  private space(): void {
    this.match(SPACE);
  }

  private take(character: string): boolean {
    if (this.text[this.at] !== character) return false;
    this.at += 1;
    return true;
  }

  private match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.at;
    const matched = pattern.exec(this.text)?.[0];
    if (matched !== undefined) this.at += matched.length;
    return matched;
  }
}
