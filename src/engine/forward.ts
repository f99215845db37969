/**
 * Whether somebody else's firewall on the host lets packets between `vpc-edge` and the uplink pass, told from what `nft -j list ruleset` prints.
 * Arbitrary rules cannot be evaluated exactly: a rule that matches some of our packets only is taken for its owner's intention, and what decides is
 * where those packets end that no such rule catches. A policy of drop, or a drop or reject of all that is left, is a finding.
 */
import { canonicalText } from '../canonical.js';
import { VpcctlError } from '../errors.js';
import { blockValue, HOST_LINK } from '../lower/names.js';
import type { Edge, Installation } from '../model/resources.js';
import { type AnyCidr, addressOf, contains, isCidr6, networkOf, overlaps, parseCidr } from '../net/cidr.js';
import { readIp6 } from '../net/ip6.js';
import { NFT_TABLE } from '../objects/kernel-object.js';

type Json = Readonly<Record<string, unknown>>;

/** Marks our rules in tables of others. */
export const RULE_COMMENT = 'vpcctl';

/** What has to pass the host: addresses of a pool, between `vpc-edge` and the uplink. */
export interface Passage {
  readonly uplink: string;
  readonly pool: AnyCidr;
  /** Connections come in from outside too: the pool is routed to the host, not masqueraded. */
  readonly routed: boolean;
}

/** Of IPv4, and of IPv6 where some VPC has a way to the internet for that. */
export function passagesOf(border: Edge | Installation, uplink: string): Passage[] {
  const ipv6 = border.kind === 'edge' ? border.ipv6 : undefined;
  return [
    { uplink, pool: border.publicPool, routed: border.poolRouted },
    ...(ipv6 === undefined ? [] : [{ uplink, pool: ipv6.pool, routed: ipv6.routed }]),
  ];
}

/** A chain where others put an end to our packets. */
export interface Blockade {
  readonly family: string;
  readonly table: string;
  /** The base chain. */
  readonly chain: string;
  /** Whose it looks like: `Docker`, `ufw`, `firewalld`, or the table. */
  readonly owner: string;
  /** What ends them: `its policy is drop`, or a chain's last rule. */
  readonly reason: string;
  /** No packet of some direction passes; else some rule, which cannot be judged, may let some pass. */
  readonly sure: boolean;
  /** The chain at whose head {@link rules} let them pass. */
  readonly entry: string;
  /** Expressions of the rules that are missing there. */
  readonly rules: readonly (readonly object[])[];
  /** No program but its owner may change the table, or the owner makes it anew and drops what is not its own. */
  readonly closed: boolean;
}

/** A rule as listed. */
export interface ListedRule {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly handle: number;
  readonly comment?: string;
  readonly expr: readonly Json[];
}

interface Chain {
  readonly base?: { readonly policy: string };
  readonly rules: ListedRule[];
}

interface Table {
  readonly family: string;
  readonly name: string;
  owned: boolean;
  readonly chains: Map<string, Chain>;
  /** Elements of its sets and maps. */
  readonly sets: Map<string, readonly unknown[]>;
}

const match = (left: object, right: unknown): object => ({ match: { op: '==', left, right } });
const link = (key: 'iifname' | 'oifname', name: string): object => match({ meta: { key } }, name);

const protocolOf = (pool: AnyCidr): 'ip' | 'ip6' => (isCidr6(pool) ? 'ip6' : 'ip');

function block(field: 'saddr' | 'daddr', pool: AnyCidr): object {
  const [addr, len] = blockValue(pool).split('/');
  return match(
    { payload: { protocol: protocolOf(pool), field } },
    len === undefined ? addr : { prefix: { addr, len: Number(len) } },
  );
}

/**
 * The two rules that let our packets pass, out and in. As narrow as the host's own table, and in words that iptables-nft reads: an expression that it
 * does not know, `ct` among them, and it refuses to list the whole table ("is incompatible, use 'nft' tool", measured with 1.8.9).
 */
export function passRules({ uplink, pool }: Passage): readonly [readonly object[], readonly object[]] {
  const pass = [{ counter: null }, { accept: null }];
  return [
    [link('iifname', HOST_LINK), link('oifname', uplink), block('saddr', pool), ...pass],
    [link('iifname', uplink), link('oifname', HOST_LINK), block('daddr', pool), ...pass],
  ];
}

/** Every rule of a listing. */
export function listedRules(listing: string): ListedRule[] {
  return [...tables(listing)].flatMap(({ chains }) => [...chains.values()].flatMap(({ rules }) => rules));
}

/** Whether a listed rule is the one of ours with these expressions. iptables-restore turns the comment into a match of its own. */
export function isOurs(rule: ListedRule, expr: readonly object[]): boolean {
  if (rule.comment !== RULE_COMMENT && !rule.expr.some(isComment)) return false;
  return canonicalText(plainExpr(rule)) === canonicalText(expr);
}

/** What a rule says, without the count of its packets and the comment that iptables made of ours. */
export function plainExpr({ expr }: ListedRule): Json[] {
  return expr.filter((one) => !isComment(one)).map((one) => ('counter' in one ? { counter: null } : one));
}

/** Rules for our link that are marked ours, in tables of others. */
export function markedRules(listing: string): ListedRule[] {
  return listedRules(listing).filter(
    ({ table, comment, expr }) =>
      table !== NFT_TABLE &&
      comment === RULE_COMMENT &&
      expr.some((one) => canonicalText(one).includes(`"${HOST_LINK}"`)),
  );
}

function isComment({ xt }: Json): boolean {
  return isObject(xt) && xt.name === 'comment';
}

/** Whether the listing has our own table on the host. */
export function hasOwnTable(listing: string): boolean {
  return tables(listing).some(({ family, name }) => family === 'inet' && name === NFT_TABLE);
}

/** Where others stop what has to pass. */
export function findBlockades(listing: string, passage: Passage): Blockade[] {
  const [out, back] = passRules(passage);
  const directions = [
    { packet: outgoing(passage), rule: out },
    { packet: incoming(passage), rule: back },
  ];
  return tables(listing)
    .filter(({ family, name }) => (family === protocolOf(passage.pool) || family === 'inet') && name !== NFT_TABLE)
    .flatMap((table) =>
      [...table.chains].flatMap(([name, { base }]): Blockade[] => {
        if (base === undefined) return [];
        const walks = directions.map(({ packet, rule }) => ({ rule, ...walkBase(table, name, base.policy, packet) }));
        const stopped = walks.filter(({ end }) => end === 'drop');
        const [first] = stopped;
        if (first === undefined) return [];
        const byUser = walks.every(({ entered }) => entered.has(USER_CHAIN));
        return [
          {
            family: table.family,
            table: table.name,
            chain: name,
            owner: ownerOf(table),
            reason: first.reason,
            sure: stopped.some(({ some }) => !some),
            entry: byUser ? USER_CHAIN : name,
            rules: stopped.map(({ rule }) => rule),
            closed: table.owned || table.name === FIREWALLD,
          },
        ];
      }),
    );
}

const FIREWALLD = 'firewalld';
/** Docker's chain for rules of others: it is asked first, and never flushed. */
const USER_CHAIN = 'DOCKER-USER';

function ownerOf({ family, name, chains }: Table): string {
  if (name === FIREWALLD) return FIREWALLD;
  const has = (start: string): boolean => [...chains.keys()].some((chain) => chain.startsWith(start));
  const known = [...(has('DOCKER') ? ['Docker'] : []), ...(has('ufw-') ? ['ufw'] : [])];
  return known.length === 0 ? `table ${family} ${name}` : known.join(' and ');
}

// --- reading the listing -----------------------------------------------------------------------------------------------

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function tables(listing: string): Table[] {
  let document: unknown;
  try {
    document = JSON.parse(listing === '' ? '{"nftables":[]}' : listing);
  } catch (cause) {
    throw new VpcctlError('KERNEL', 'nft printed no JSON', { netns: '', cause });
  }
  const found = new Map<string, Table>();
  for (const object of isObject(document) && Array.isArray(document.nftables) ? document.nftables : []) {
    const [kind, body] = isObject(object) ? (Object.entries(object)[0] ?? []) : [];
    if (isObject(body) && kind !== undefined && typeof body.family === 'string') enter(found, kind, body.family, body);
  }
  return [...found.values()];
}

function enter(found: Map<string, Table>, kind: string, family: string, body: Json): void {
  const name = String(kind === 'table' ? body.name : body.table);
  const key = `${family} ${name}`;
  const table = found.get(key) ?? { family, name, owned: false, chains: new Map(), sets: new Map() };
  found.set(key, table);
  switch (kind) {
    case 'table':
      table.owned = [body.flags].flat().includes('owner');
      return;
    case 'chain': {
      const forward = body.hook === 'forward' && body.type === 'filter';
      table.chains.set(String(body.name), {
        rules: [],
        ...(forward ? { base: { policy: String(body.policy ?? 'accept') } } : {}),
      });
      return;
    }
    case 'set':
    case 'map':
      table.sets.set(String(body.name), Array.isArray(body.elem) ? body.elem : []);
      return;
    case 'rule':
      table.chains.get(String(body.chain))?.rules.push({
        family,
        table: name,
        chain: String(body.chain),
        handle: Number(body.handle),
        ...(typeof body.comment === 'string' ? { comment: body.comment } : {}),
        expr: Array.isArray(body.expr) ? body.expr.filter(isObject) : [],
      });
  }
}

// --- judging one rule ---------------------------------------------------------------------------------------------------

/** Whether all, some or none of our packets match; `some` too where nobody can tell. */
type Share = 'all' | 'some' | 'none';

/** All our packets of one direction. */
interface Packets {
  readonly iif: string;
  readonly oif: string;
  readonly own: 'saddr' | 'daddr';
  readonly pool: AnyCidr;
  readonly states: readonly string[];
}

const ANY_STATE = ['new', 'established', 'related'];

function outgoing({ uplink, pool }: Passage): Packets {
  return { iif: HOST_LINK, oif: uplink, own: 'saddr', pool, states: ANY_STATE };
}

function incoming({ uplink, pool, routed }: Passage): Packets {
  const states = routed ? ANY_STATE : ['established', 'related'];
  return { iif: uplink, oif: HOST_LINK, own: 'daddr', pool, states };
}

function shareOf(expr: Json, packets: Packets, table: Table): Share {
  const [kind, body] = Object.entries(expr)[0] ?? [];
  switch (kind) {
    case 'match':
      return isObject(body) ? matchShare(body, packets, table) : 'some';
    case 'xt':
      return isObject(body) && (body.type === 'target' || body.name === 'comment') ? 'all' : 'some';
    case 'limit':
    case 'quota':
    case 'connlimit':
    case 'ct count':
    case 'set':
      return 'some';
    default:
      return 'all';
  }
}

function matchShare({ op, left, right }: Json, packets: Packets, table: Table): Share {
  const share = valuesShare(left, valuesOf(right, table), packets);
  if (op === '==' || op === 'in') return share;
  if (op === '!=') return share === 'all' ? 'none' : share === 'none' ? 'all' : 'some';
  return 'some';
}

/** What a match is true for; undefined where the listing does not tell. */
function valuesOf(right: unknown, table: Table): readonly unknown[] | undefined {
  if (typeof right === 'string' && right.startsWith('@')) return table.sets.get(right.slice(1))?.map(bare);
  if (isObject(right) && right.set !== undefined) return valuesOf(right.set, table);
  if (isObject(right) && Array.isArray(right['|'])) return right['|'];
  return Array.isArray(right) ? right.map(bare) : [right];
}

/** An element without its counter, comment and timeout. */
function bare(element: unknown): unknown {
  return isObject(element) && isObject(element.elem) ? element.elem.val : element;
}

function valuesShare(left: unknown, values: readonly unknown[] | undefined, packets: Packets): Share {
  const each = values?.map((value) => valueShare(left, value, packets)) ?? ['some' as const];
  if (isObject(left) && isObject(left.ct) && left.ct.key === 'state') {
    const caught = packets.states.filter((state) => values?.some((value) => stateName(value) === state));
    return caught.length === packets.states.length ? 'all' : caught.length === 0 ? 'none' : 'some';
  }
  return each.includes('all') ? 'all' : each.includes('some') ? 'some' : 'none';
}

/** `enum ip_conntrack_info` as nft counts it, for a listing with numbers. */
const STATE_BITS: Readonly<Record<number, string>> = { 1: 'invalid', 2: 'established', 4: 'related', 8: 'new' };

function stateName(value: unknown): unknown {
  return typeof value === 'number' ? STATE_BITS[value] : value;
}

function valueShare(left: unknown, value: unknown, packets: Packets): Share {
  if (!isObject(left)) return 'some';
  const { meta, payload } = left;
  if (isObject(meta)) return metaShare(String(meta.key), value, packets);
  if (!isObject(payload)) return 'some';
  const protocol = protocolOf(packets.pool);
  if (payload.protocol === (protocol === 'ip' ? 'ip6' : 'ip')) return 'none';
  if (payload.protocol !== protocol || payload.field !== packets.own) return 'some';
  return addressShare(value, packets.pool);
}

function metaShare(key: string, value: unknown, packets: Packets): Share {
  const is = (yes: boolean): Share => (yes ? 'all' : 'none');
  switch (key) {
    case 'iifname':
    case 'iif':
      return is(matchesName(value, packets.iif));
    case 'oifname':
    case 'oif':
      return is(matchesName(value, packets.oif));
    case 'nfproto':
      return is(isCidr6(packets.pool) ? value === 'ipv6' || value === 10 : value === 'ipv4' || value === 2);
    case 'protocol':
      return is(isCidr6(packets.pool) ? value === 'ip6' || value === 0x86dd : value === 'ip' || value === 0x0800);
    case 'pkttype':
      return is(value === 'host' || value === 'unicast' || value === 0);
    default:
      return 'some';
  }
}

function matchesName(pattern: unknown, name: string): boolean {
  if (typeof pattern !== 'string') return false;
  return pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : pattern === name;
}

function addressShare(value: unknown, pool: AnyCidr): Share {
  const prefix = isObject(value) && isObject(value.prefix) ? value.prefix : { addr: value, len: undefined };
  const block = typeof prefix.addr === 'string' ? blockOf(prefix.addr, prefix.len) : undefined;
  if (block === undefined) return 'some';
  if (contains(block, pool)) return 'all';
  return overlaps(block, pool) ? 'some' : 'none';
}

function blockOf(addr: string, len: unknown): AnyCidr | undefined {
  if (/^[0-9.]+$/.test(addr)) return parseCidr(`${addr}/${String(len ?? 32)}`, { hostBits: 'allow' }).cidr;
  const number = readIp6(addr);
  return number === undefined ? undefined : networkOf(addressOf(number), Number(len ?? 128));
}

// --- walking the chains -------------------------------------------------------------------------------------------------

interface Walk {
  /** Where those end that no rule for some of them catches; `return`: at the end of the chain. */
  readonly end: 'accept' | 'drop' | 'return';
  readonly reason: string;
  /** Some rule on the way accepts some. */
  readonly some: boolean;
}

function walkBase(table: Table, chain: string, policy: string, packets: Packets): Walk & { entered: Set<string> } {
  const entered = new Set<string>();
  const walk = walkChain(table, chain, packets, entered, true);
  if (walk.end !== 'return') return { ...walk, entered };
  return { ...walk, entered, end: policy === 'drop' ? 'drop' : 'accept', reason: `its policy is ${policy}` };
}

interface Verdict {
  readonly share: Share;
  readonly verb: 'accept' | 'drop' | 'return' | 'jump' | 'goto';
  readonly target?: string;
}

/** Follows our packets. `entered` gathers the chains that all of them come to. `base`: what ends here goes to the policy. */
function walkChain(table: Table, name: string, packets: Packets, entered: Set<string>, base: boolean): Walk {
  let some = false;
  const rules = table.chains.get(name)?.rules ?? [];
  for (const [index, rule] of rules.entries()) {
    for (const { share, verb, target } of verdicts(rule, packets, table, base && index === rules.length - 1)) {
      const all = share === 'all';
      if (all && target !== undefined) entered.add(target);
      const {
        end,
        reason,
        some: inner,
      } = target === undefined
        ? { end: verb as Walk['end'], reason: reasonOf(name, verb), some: false }
        : walkChain(table, target, packets, all ? entered : new Set(), false);
      some ||= inner || (!all && end === 'accept');
      if (all && (end !== 'return' || verb !== 'jump')) return { end, some, reason };
    }
  }
  return { end: 'return', some, reason: '' };
}

function reasonOf(chain: string, verb: Verdict['verb']): string {
  return verb === 'drop' ? `chain ${chain} ends in a drop or reject` : '';
}

/** Of iptables' own targets that nft cannot name in its own words, those that end a packet's way. */
const ENDING_TARGETS = ['REJECT', 'DROP'];

function verdicts({ expr }: ListedRule, packets: Packets, table: Table, last: boolean): Verdict[] {
  const found: Verdict[] = [];
  let share: Share = 'all';
  let counted = false;
  for (const one of expr) {
    const own = shareOf(one, packets, table);
    if (own === 'none') return [];
    const [kind, body] = Object.entries(one)[0] ?? [];
    // An old nft prints null for both a match and a target of iptables; the target is what stands behind the counter.
    const opaque = kind === 'xt' && body === null && counted;
    if (own === 'some' && !opaque) share = 'some';
    if (kind === 'counter') counted = true;
    found.push(...verdictOf(kind, body, share));
    if (opaque && last) found.push({ share, verb: 'drop' });
    if (kind === 'vmap' && isObject(body)) found.push(...mapVerdicts(body, share, packets, table));
  }
  return found;
}

/** Keys of one verdict are judged together: established and related may be all that there is. */
function mapVerdicts({ key, data }: Json, share: Share, packets: Packets, table: Table): Verdict[] {
  const byVerdict = new Map<string, { verdict: Json; keys: unknown[] }>();
  for (const pair of valuesOf(data, table) ?? []) {
    if (!Array.isArray(pair) || !isObject(pair[1])) continue;
    const text = canonicalText(pair[1]);
    const known = byVerdict.get(text) ?? { verdict: pair[1], keys: [] };
    known.keys.push(bare(pair[0]));
    byVerdict.set(text, known);
  }
  return [...byVerdict.values()].flatMap(({ verdict, keys }): Verdict[] => {
    const caught = keys.includes('*') ? 'all' : valuesShare(key, keys, packets);
    if (caught === 'none') return [];
    const [verb, body] = Object.entries(verdict)[0] ?? [];
    return verdictOf(verb, body, share === 'all' ? caught : 'some');
  });
}

function verdictOf(verb: string | undefined, body: unknown, share: Share): Verdict[] {
  switch (verb) {
    case 'accept':
    case 'return':
      return [{ share, verb }];
    case 'drop':
    case 'reject':
      return [{ share, verb: 'drop' }];
    // Who asks a program decides there.
    case 'queue':
      return [{ share, verb: 'accept' }];
    case 'jump':
    case 'goto':
      return isObject(body) ? [{ share, verb, target: String(body.target) }] : [];
    case 'xt':
      return isObject(body) && ENDING_TARGETS.includes(String(body.name)) ? [{ share, verb: 'drop' }] : [];
    default:
      return [];
  }
}
