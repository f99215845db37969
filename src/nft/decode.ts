/**
 * `nft -j -n list ruleset` → rows. Of others' tables only the table itself is read; handles, counters' values and set sizes are the kernel's
 * business.
 */
import { VpcctlError } from '../errors.js';
import { formatIp6, readIp6 } from '../net/ip6.js';
import {
  type KernelObject,
  NFT_TABLE,
  type NftChainRow,
  type NftFamily,
  type NftValue,
} from '../objects/kernel-object.js';

type Json = Readonly<Record<string, unknown>>;

const FAMILIES: readonly string[] = ['inet', 'bridge', 'ip', 'ip6', 'arp', 'netdev'] satisfies NftFamily[];

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  if (typeof value === 'string') return value;
  throw new VpcctlError('KERNEL', `nft listed ${JSON.stringify(value)?.slice(0, 80)} where a name was expected`);
}

/** The rows of one namespace. KERNEL when the listing is not what nft 1.0.6 to 1.1 print. */
export function decodeRuleset(listing: string, ns: string): KernelObject[] {
  let document: unknown;
  try {
    document = JSON.parse(listing === '' ? '{"nftables":[]}' : listing);
  } catch (cause) {
    throw new VpcctlError('KERNEL', 'nft printed no JSON', { netns: ns, cause });
  }
  const objects = isObject(document) && Array.isArray(document.nftables) ? document.nftables : [];
  const rows: KernelObject[] = [];
  const ruleIndex = new Map<string, number>();
  for (const object of objects) {
    if (!isObject(object)) continue;
    const [kind, body] = Object.entries(object)[0] ?? [];
    if (kind === undefined || !isObject(body)) continue;
    const table = kind === 'table' ? body.name : body.table;
    if (typeof body.family !== 'string' || !FAMILIES.includes(body.family)) continue;
    if (table !== NFT_TABLE) {
      if (kind === 'table') rows.push({ kind: 'nft-table', ns, family: body.family as NftFamily, table: text(table) });
      continue;
    }
    const at = { ns, family: body.family as NftFamily, table: NFT_TABLE };
    if (kind === 'table') rows.push({ kind: 'nft-table', ...at });
    if (kind === 'chain') rows.push({ kind: 'nft-chain', ...at, ...chain(body) });
    if (kind === 'rule') {
      const name = text(body.chain);
      const index = ruleIndex.get(`${at.family} ${name}`) ?? 0;
      ruleIndex.set(`${at.family} ${name}`, index + 1);
      rows.push({ kind: 'nft-rule', ...at, chain: name, index, expr: expressions(body.expr) });
    }
    if (kind === 'set' || kind === 'map') rows.push(...set(at, body));
  }
  return rows;
}

function chain(body: Json): Pick<NftChainRow, 'chain' | 'base'> {
  const name = text(body.name);
  if (body.hook === undefined) return { chain: name };
  const base = { type: body.type, hook: body.hook, prio: body.prio, policy: body.policy };
  return { chain: name, base: base as NonNullable<NftChainRow['base']> };
}

function expressions(value: unknown): unknown[] {
  return (Array.isArray(value) ? value : []).map((expr: unknown) =>
    isObject(expr) && 'counter' in expr ? { counter: null } : expr,
  );
}

function set(at: { ns: string; family: NftFamily; table: string }, body: Json): KernelObject[] {
  const name = text(body.name);
  const types = Array.isArray(body.type) ? body.type.map(text) : [text(body.type)];
  const interval = Array.isArray(body.flags) && body.flags.includes('interval');
  const rows: KernelObject[] = [
    {
      kind: 'nft-set',
      ...at,
      set: name,
      type: types,
      ...(body.map === undefined ? {} : { data: text(body.map) }),
      ...(interval ? { interval } : {}),
    },
  ];
  for (const elem of Array.isArray(body.elem) ? body.elem : []) {
    const [key, data] = body.map !== undefined && Array.isArray(elem) ? [elem[0], elem[1]] : [elem, undefined];
    rows.push({
      kind: 'nft-element',
      ...at,
      set: name,
      key: components(key),
      ...(data === undefined ? {} : { data: value(data) }),
      ...(interval ? { interval } : {}),
    });
  }
  return rows;
}

function components(key: unknown): NftValue[] {
  const bare = isObject(key) && isObject(key.elem) ? key.elem.val : key;
  if (isObject(bare) && Array.isArray(bare.concat)) return bare.concat.map(value);
  return [value(bare)];
}

function value(part: unknown): NftValue {
  if (typeof part === 'number') return part;
  if (typeof part === 'string') return canonical(part);
  if (isObject(part) && isObject(part.prefix)) return `${canonical(text(part.prefix.addr))}/${String(part.prefix.len)}`;
  if (isObject(part) && Array.isArray(part.range)) {
    const [from, to] = part.range as unknown[];
    return from === to ? value(from) : `${String(value(from))}-${String(value(to))}`;
  }
  throw new VpcctlError('KERNEL', `nft listed an element of unknown form: ${JSON.stringify(part)?.slice(0, 80)}`);
}

/** nft lists some IPv6 addresses with an IPv4 one at their end (inet_ntop). */
function canonical(word: string): string {
  const number = word.includes(':') && word.includes('.') ? readIp6(word) : undefined;
  return number === undefined ? word : formatIp6(number);
}
