/** Names people give, and the names, hashes and MAC addresses derived from them: the same on every host, for ever. */
import { invalid } from '../errors.js';
import { type Ipv4, toNumber } from './cidr.js';
import { quote, quoteCharacter } from './quote.js';

declare const nameBrand: unique symbol;

/** A name of a VPC, subnet, group, instance or set: a DNS label (RFC 1123) in lower case. */
export type Name = string & { readonly [nameBrand]: true };

/** Longest name. */
export const NAME_LENGTH = 63;

/**
 * The rule for names as a regular expression; {@link parseName} says which part of it a text breaks. Two words are no
 * names because specs are plain objects keyed by name: `vpcs.constructor` is there in every object, and valibot's
 * records leave both words out without a word (1.5.0).
 */
export const NAME_PATTERN = /^(?!(?:constructor|prototype)$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** The rule for names in words. */
export const NAME_RULE = '1 to 63 lower-case letters, digits and inner hyphens';

/** Reads a name; `what` says in messages whose it is (`VPC`, `subnet`). INVALID when it is not a {@link Name}. */
export function parseName(text: string, what: string): Name {
  if (NAME_PATTERN.test(text)) return text as Name;
  const expected = `expected ${NAME_RULE}`;
  if (text === '') throw invalid(`the ${what} name is empty: ${expected}`);
  const shown = `${what} name ${quote(text)}`;
  if (text === 'constructor' || text === 'prototype') throw invalid(`${shown} is a reserved word: take another`);
  const characters = Array.from(text);
  const wrong = characters.findIndex((character) => !/^[a-z0-9-]$/.test(character));
  if (wrong !== -1) {
    const lower = text.toLowerCase();
    throw invalid(
      `${shown}: character ${wrong + 1} is ${quoteCharacter(characters[wrong] ?? '')}: ${expected}`,
      NAME_PATTERN.test(lower) ? { hint: `write ${lower}` } : {},
    );
  }
  if (text.length > NAME_LENGTH) throw invalid(`${shown} is longer than ${NAME_LENGTH} characters: ${expected}`);
  throw invalid(`${shown} ${text.startsWith('-') ? 'starts' : 'ends'} with "-": ${expected}`);
}

/** FNV-1a of the text's UTF-8, 32 bits, unsigned. Stable for ever: names in kernels and stores depend on it. */
export function hash32(text: string): number {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text, 'utf8')) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

/** FNV-1a of the text's UTF-8, 64 bits. Stable for ever, as {@link hash32}. */
export function hash64(text: string): bigint {
  let hash = 0xcbf29ce484222325n;
  for (const byte of Buffer.from(text, 'utf8')) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash;
}

/** A hash of the text as exactly `hexDigits` (1 to 16) lower-case hexadecimal digits. */
export function shortHash(text: string, hexDigits: number): string {
  if (!Number.isInteger(hexDigits) || hexDigits < 1 || hexDigits > 16) {
    throw new RangeError(`shortHash has 1 to 16 digits, not ${hexDigits}`);
  }
  const hash = hash64(text);
  // FNV's low bits depend on the low bits of its input alone: fold the high half in.
  return (hash ^ (hash >> 32n)).toString(16).padStart(16, '0').slice(-hexDigits);
}

/** Longest name of a kernel link (IFNAMSIZ without its zero). */
export const LINK_NAME_LENGTH = 15;

const LINK_HASH_LENGTH = 8;

/**
 * The name of a kernel link for `text`: prefix and text where that fits in 15 characters, else prefix, the head of the
 * text, `_` and 41 bits of its hash. {@link Name}s have no `_`, so a short form is never another text's long form.
 * The prefix is at most 6 letters, digits and hyphens.
 */
export function linkName(prefix: string, text: string): string {
  if (!/^[a-z0-9-]{0,6}$/.test(prefix)) throw new RangeError(`${quote(prefix)} is not a prefix of link names`);
  if (/^[a-z0-9-]+$/.test(text) && prefix.length + text.length <= LINK_NAME_LENGTH) return prefix + text;
  const room = LINK_NAME_LENGTH - prefix.length - LINK_HASH_LENGTH - 1;
  const head = text.replace(/[^a-z0-9-]/g, '').slice(0, room);
  const hash = hash64(text);
  const digits = BigInt.asUintN(64, hash ^ (hash >> 32n))
    .toString(36)
    .padStart(LINK_HASH_LENGTH, '0');
  return `${prefix}${head}_${digits.slice(-LINK_HASH_LENGTH)}`;
}

/** The MAC address of a workload's link: locally administered, a function of its address alone. */
export function macOf(ip: Ipv4): string {
  const hex = toNumber(ip).toString(16).padStart(8, '0');
  return `02:76:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}:${hex.slice(6)}`;
}
