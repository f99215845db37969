/**
 * Addresses and blocks of both families. Text is parsed once, strictly, into branded canonical strings; everything below parses
 * nothing and validates nothing again. A canonical string is equal exactly when the address or block is.
 *
 * Strict means that one address has one spelling. Of IPv4: no leading zeros (`010.0.0.1` is octal to some programs), no short or
 * hexadecimal forms, no white space. Of IPv6: RFC 5952's. A block's text is its network address and prefix length. Callers see only
 * strings and the functions here, which take either family where nothing else is said; blocks of two families share no address. Numbers of
 * IPv4 addresses are numbers, those of IPv6 are bigints.
 */
import { invalid, type VpcctlError } from '../errors.js';
import { formatIp6, readIp6 } from './ip6.js';
import { quote } from './quote.js';

declare const ipv4Brand: unique symbol;
declare const ipv6Brand: unique symbol;
declare const cidrBrand: unique symbol;
declare const cidr6Brand: unique symbol;

/** IP version. */
export type Family = 4 | 6;

/** A canonical IPv4 address: `10.0.1.7`. */
export type Ipv4 = string & { readonly [ipv4Brand]: true };

/** A canonical IPv4 block, its host bits zero: `10.0.1.0/24`. */
export type Cidr = string & { readonly [cidrBrand]: true };

/** A canonical IPv6 address: `fd00::1`. */
export type Ipv6 = string & { readonly [ipv6Brand]: true };

/** A canonical IPv6 block, its host bits zero: `fd00:0:0:100::/56`. */
export type Cidr6 = string & { readonly [cidr6Brand]: true };

/** An address of either family. */
export type Ip = Ipv4 | Ipv6;

/** A block of either family. */
export type AnyCidr = Cidr | Cidr6;

/** What {@link parseCidr} read. */
export interface ParsedCidr {
  /** The network: host bits zero. */
  readonly cidr: Cidr;
  /** The address as written; differs from the network's only where host bits are allowed. */
  readonly address: Ipv4;
  readonly prefix: number;
}

export interface ParseCidrOptions {
  /** `allow` takes an interface's form, `10.0.1.7/24`; `refuse` (default) takes networks only. */
  readonly hostBits?: 'refuse' | 'allow';
}

/** An inclusive range of addresses as numbers. */
export interface AddressRange {
  readonly first: number;
  readonly last: number;
}

/** An inclusive range of IPv6 addresses as numbers. */
export interface AddressRange6 {
  readonly first: bigint;
  readonly last: bigint;
}

type AnyRange = AddressRange | AddressRange6;

/** A block that no VPC may use, and what it is for. */
export interface SpecialBlock {
  readonly cidr: AnyCidr;
  readonly purpose: string;
}

const SPACE = 2 ** 32;
const BITS = { 4: 32, 6: 128 } as const;

/** Every IPv4 address. */
export const ANY_CIDR = '0.0.0.0/0' as Cidr;
/** Every IPv6 address. */
export const ANY_CIDR6 = '::/0' as Cidr6;

/** The family of an address or a block. */
export function familyOf(text: AnyCidr | Ip): Family {
  return isIp6(text) ? 6 : 4;
}

export function isIp6(text: AnyCidr | Ip): text is Cidr6 | Ipv6 {
  return text.includes(':');
}

export function isCidr6(cidr: AnyCidr): cidr is Cidr6 {
  return cidr.includes(':');
}

/** Those of one family, in their order. */
export function ofFamily(family: 4, cidrs: readonly AnyCidr[]): Cidr[];
export function ofFamily(family: 6, cidrs: readonly AnyCidr[]): Cidr6[];
export function ofFamily(family: Family, cidrs: readonly AnyCidr[]): AnyCidr[];
export function ofFamily(family: Family, cidrs: readonly AnyCidr[]): AnyCidr[] {
  return cidrs.filter((cidr) => familyOf(cidr) === family);
}

/** Reads one IPv4 address; INVALID when the text is anything but its canonical form. */
export function parseIp(text: string): Ipv4 {
  readAddress(text, text, 'address');
  return text as Ipv4;
}

/** Reads a block; INVALID when the text is not a canonical address, a slash and a prefix length of 0 to 32. */
export function parseCidr(text: string, { hostBits = 'refuse' }: ParseCidrOptions = {}): ParsedCidr {
  const slash = text.indexOf('/');
  if (slash === -1) {
    const value = readAddress(text, text, 'block');
    throw invalid(`${text} is an address, not a block: the prefix length is missing`, {
      hint: `write ${fromNumber(value)}/32 for this one address, or for example ${fromNumber(maskTo(value, 24))}/24`,
    });
  }
  const addressText = text.slice(0, slash);
  const value = readAddress(addressText, text, 'block');
  const prefix = readPrefix(text.slice(slash + 1), text, addressText);
  const network = maskTo(value, prefix);
  const cidr = cidrOf(network, prefix);
  if (network !== value && hostBits === 'refuse') {
    throw invalid(`${text} has host bits set: the network is ${cidr}`, { hint: `write ${cidr}` });
  }
  return { cidr, address: addressText as Ipv4, prefix };
}

/** Reads a block, or an address as the block of one (`10.0.0.1` is `10.0.0.1/32`). Host bits are refused. */
export function parseIpOrCidr(text: string): Cidr {
  return text.includes('/') ? parseCidr(text).cidr : cidrOf(toNumber(parseIp(text)), 32);
}

/** Reads one IPv6 address; INVALID when the text is anything but its canonical form. */
export function parseIp6(text: string): Ipv6 {
  return readAddress6(text, text, 'address');
}

/** Reads an IPv6 block; INVALID when the text is not a canonical address without host bits, a slash and a prefix length of 0 to 128. */
export function parseCidr6(text: string): Cidr6 {
  const slash = text.indexOf('/');
  if (slash === -1) {
    const address = readAddress6(text, text, 'block');
    throw invalid(`${text} is an address, not a block: the prefix length is missing`, {
      hint: `write ${address}/128 for this one address, or for example ${networkOf(address, 64)}`,
    });
  }
  const address = readAddress6(text.slice(0, slash), text, 'block');
  const digits = text.slice(slash + 1);
  if (!CANONICAL_NUMBER.test(digits) || Number(digits) > BITS[6]) {
    throw invalid(`${quote(text)}: ${quote(digits)} is no prefix length: expected 0 to 128, for example ${address}/64`);
  }
  const cidr = networkOf(address, Number(digits));
  if (firstAddress(cidr) !== address) {
    throw invalid(`${text} has host bits set: the network is ${cidr}`, { hint: `write ${cidr}` });
  }
  return cidr;
}

/** {@link parseIp} or {@link parseIp6}, as the text looks. */
export function parseAnyIp(text: string): Ip {
  return looksLike6(text) ? parseIp6(text) : parseIp(text);
}

/** {@link parseCidr} or {@link parseCidr6}, as the text looks. */
export function parseAnyCidr(text: string): AnyCidr {
  return looksLike6(text) ? parseCidr6(text) : parseCidr(text).cidr;
}

/** Reads a block of either family, or an address as the block of one. */
export function parseAnyIpOrCidr(text: string): AnyCidr {
  if (!looksLike6(text)) return parseIpOrCidr(text);
  return text.includes('/') ? parseCidr6(text) : hostCidr(parseIp6(text));
}

/** An IPv4 address written as IPv6 is told of as that. */
function looksLike6(text: string): boolean {
  return text.includes(':') && !/^::(?:ffff:)?[0-9]+\.[0-9.]+(?:\/|$)/i.test(text);
}

/** The address as an unsigned 32-bit number. */
export function toNumber(ip: Ipv4): number {
  let value = 0;
  for (const part of ip.split('.')) value = value * 256 + Number(part);
  return value;
}

/** The address of an unsigned 32-bit number; INVALID outside 0 to 2^32 - 1. */
export function fromNumber(value: number): Ipv4 {
  if (!Number.isInteger(value) || value < 0 || value >= SPACE) {
    throw invalid(`${value} is not the number of an IPv4 address: expected 0 to 4294967295`);
  }
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}` as Ipv4;
}

/** The number of an address of either family. */
export function numberOf(ip: Ipv4): number;
export function numberOf(ip: Ipv6): bigint;
export function numberOf(ip: Ip): number | bigint;
export function numberOf(ip: Ip): number | bigint {
  return isIp6(ip) ? (readIp6(ip) ?? 0n) : toNumber(ip);
}

/** The address of a number: IPv6 of a bigint. INVALID outside of the family's numbers. */
export function addressOf(value: number): Ipv4;
export function addressOf(value: bigint): Ipv6;
export function addressOf(value: number | bigint): Ip;
export function addressOf(value: number | bigint): Ip {
  if (typeof value === 'number') return fromNumber(value);
  if (value < 0n || value >= 1n << 128n) throw invalid(`${value} is not the number of an IPv6 address`);
  return formatIp6(value) as Ipv6;
}

/** Numeric order of addresses, for `sort`; IPv4 first. */
export function compareIp(a: Ip, b: Ip): number {
  return familyOf(a) - familyOf(b) || compareNumbers(numberOf(a), numberOf(b));
}

/** Order of blocks, for `sort`: IPv4 first, by network address, the larger block first. */
export function compareCidr(a: AnyCidr, b: AnyCidr): number {
  return (
    familyOf(a) - familyOf(b) || compareNumbers(rangeOf(a).first, rangeOf(b).first) || prefixLength(a) - prefixLength(b)
  );
}

function compareNumbers(a: number | bigint, b: number | bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** The block of `prefix` bits that holds the address; INVALID when prefix is not 0 to 32, or 128. */
export function networkOf(ip: Ipv4, prefix: number): Cidr;
export function networkOf(ip: Ipv6, prefix: number): Cidr6;
export function networkOf(ip: Ip, prefix: number): AnyCidr;
export function networkOf(ip: Ip, prefix: number): AnyCidr {
  checkPrefix(prefix, BITS[familyOf(ip)]);
  if (!isIp6(ip)) return cidrOf(maskTo(toNumber(ip), prefix), prefix);
  const hostBits = BigInt(BITS[6] - prefix);
  return `${formatIp6((numberOf(ip) >> hostBits) << hostBits)}/${prefix}` as Cidr6;
}

/** The block of one address. */
export function hostCidr(ip: Ipv4): Cidr;
export function hostCidr(ip: Ipv6): Cidr6;
export function hostCidr(ip: Ip): AnyCidr;
export function hostCidr(ip: Ip): AnyCidr {
  return `${ip}/${BITS[familyOf(ip)]}` as AnyCidr;
}

export function prefixLength(cidr: AnyCidr): number {
  return Number(cidr.slice(cidr.indexOf('/') + 1));
}

/** Number of addresses, network and broadcast included. */
export function sizeOf(cidr: Cidr): number {
  return 2 ** (32 - prefixLength(cidr));
}

/** First and last address as numbers. */
export function rangeOf(cidr: Cidr): AddressRange;
export function rangeOf(cidr: Cidr6): AddressRange6;
export function rangeOf(cidr: AnyCidr): AnyRange;
export function rangeOf(cidr: AnyCidr): AnyRange {
  if (isCidr6(cidr)) {
    const first = numberOf(firstAddress(cidr));
    return { first, last: first + (1n << BigInt(BITS[6] - prefixLength(cidr))) - 1n };
  }
  const first = toNumber(firstAddress(cidr));
  return { first, last: first + sizeOf(cidr) - 1 };
}

/** The network's own address. */
export function firstAddress(cidr: Cidr): Ipv4;
export function firstAddress(cidr: Cidr6): Ipv6;
export function firstAddress(cidr: AnyCidr): Ip;
export function firstAddress(cidr: AnyCidr): Ip {
  return cidr.slice(0, cidr.indexOf('/')) as Ip;
}

/** The broadcast address; of IPv6 only the last one. */
export function lastAddress(cidr: Cidr): Ipv4;
export function lastAddress(cidr: Cidr6): Ipv6;
export function lastAddress(cidr: AnyCidr): Ip {
  return addressOf(rangeOf(cidr).last);
}

/** The address `n` places after the network's own (0 is that one); INVALID when the block has no such address. */
export function addressAt(cidr: Cidr, n: number): Ipv4;
export function addressAt(cidr: Cidr6, n: bigint): Ipv6;
export function addressAt(cidr: AnyCidr, n: number | bigint): Ip {
  const { first, last } = rangeOf(cidr);
  if (typeof first === 'bigint' || typeof n === 'bigint') {
    const value = BigInt(first) + BigInt(n);
    if (n < 0n || value > last) throw invalid(`${cidr} has no address ${n}`);
    return addressOf(value);
  }
  if (!Number.isInteger(n) || n < 0 || first + n > last) {
    throw invalid(`${cidr} has addresses 0 to ${Number(last) - first}: there is no address ${n}`);
  }
  return fromNumber(first + n);
}

/** Inverse of {@link addressAt}; INVALID when the address is not in the block. */
export function offsetOf(cidr: Cidr, ip: Ipv4): number;
export function offsetOf(cidr: Cidr6, ip: Ipv6): bigint;
export function offsetOf(cidr: AnyCidr, ip: Ip): number | bigint {
  if (!contains(cidr, ip)) throw invalid(`${ip} is not in ${cidr}`);
  const [first, value] = [rangeOf(cidr).first, numberOf(ip)];
  return typeof first === 'number' && typeof value === 'number' ? value - first : BigInt(value) - BigInt(first);
}

/** Whether every address of `inner` is in `cidr`. */
export function contains(cidr: AnyCidr, inner: Ip | AnyCidr): boolean {
  if (familyOf(cidr) !== familyOf(inner)) return false;
  const outer = rangeOf(cidr);
  const { first, last } = inner.includes('/') ? rangeOf(inner as AnyCidr) : pointRange(inner as Ip);
  return outer.first <= first && last <= outer.last;
}

/** Whether the blocks share an address. Of two blocks that do, one contains the other. */
export function overlaps(a: AnyCidr, b: AnyCidr): boolean {
  if (familyOf(a) !== familyOf(b)) return false;
  const x = rangeOf(a);
  const y = rangeOf(b);
  return x.first <= y.last && y.first <= x.last;
}

/** The addresses that both blocks have: the smaller of the two, or nothing. */
export function intersect(a: Cidr, b: Cidr): Cidr | undefined;
export function intersect(a: AnyCidr, b: AnyCidr): AnyCidr | undefined;
export function intersect(a: AnyCidr, b: AnyCidr): AnyCidr | undefined {
  if (!overlaps(a, b)) return undefined;
  return prefixLength(a) >= prefixLength(b) ? a : b;
}

/** The fewest blocks that are exactly the addresses of the inclusive range, in order. An empty range gives none. */
export function rangeToCidrs(first: number, last: number): Cidr[];
export function rangeToCidrs(first: bigint, last: bigint): Cidr6[];
export function rangeToCidrs(first: number | bigint, last: number | bigint): AnyCidr[];
export function rangeToCidrs(first: number | bigint, last: number | bigint): AnyCidr[] {
  if (typeof first === 'bigint' || typeof last === 'bigint') return rangeToCidrs6(BigInt(first), BigInt(last));
  const cidrs: Cidr[] = [];
  let next = first;
  while (next <= last) {
    let prefix = 32;
    let size = 1;
    while (prefix > 0 && next % (size * 2) === 0 && next + size * 2 - 1 <= last) {
      size *= 2;
      prefix -= 1;
    }
    cidrs.push(cidrOf(next, prefix));
    next += size;
  }
  return cidrs;
}

function rangeToCidrs6(first: bigint, last: bigint): Cidr6[] {
  const cidrs: Cidr6[] = [];
  let next = first;
  while (next <= last) {
    let prefix = BITS[6];
    let size = 1n;
    while (prefix > 0 && next % (size * 2n) === 0n && next + size * 2n - 1n <= last) {
      size *= 2n;
      prefix -= 1;
    }
    cidrs.push(`${formatIp6(next)}/${prefix}` as Cidr6);
    next += size;
  }
  return cidrs;
}

/** The number before or behind. */
export function stepped<N extends number | bigint>(value: N, step: 1 | -1): N {
  return (typeof value === 'bigint' ? value + BigInt(step) : (value as number) + step) as N;
}

/** The fewest blocks that are exactly the addresses of `from` that no block of `taken` has, in order; IPv4 first. */
export function subtract(from: readonly Cidr[], taken: readonly Cidr[]): Cidr[];
export function subtract(from: readonly Cidr6[], taken: readonly AnyCidr[]): Cidr6[];
export function subtract(from: readonly AnyCidr[], taken: readonly AnyCidr[]): AnyCidr[];
export function subtract(from: readonly AnyCidr[], taken: readonly AnyCidr[]): AnyCidr[] {
  return ([4, 6] as const).flatMap((family) => {
    const holes = mergeRanges(ofFamily(family, taken));
    return mergeRanges(ofFamily(family, from)).flatMap(({ first, last }) => {
      const kept: AnyCidr[] = [];
      let next = first;
      for (const hole of holes) {
        if (hole.last < next) continue;
        if (hole.first > last) break;
        kept.push(...rangeToCidrs(next, stepped(hole.first, -1)));
        next = stepped(hole.last, 1);
      }
      return [...kept, ...rangeToCidrs(next, last)];
    });
  });
}

/** The fewest blocks that are exactly the addresses of all of them together, in order. */
export function aggregate(cidrs: readonly Cidr[]): Cidr[];
export function aggregate(cidrs: readonly AnyCidr[]): AnyCidr[];
export function aggregate(cidrs: readonly AnyCidr[]): AnyCidr[] {
  return subtract(cidrs, []);
}

/** Blocks with a meaning of their own (RFC 6890), which no VPC, subnet or pool may touch. */
export const SPECIAL_BLOCKS: readonly SpecialBlock[] = [
  { cidr: '0.0.0.0/8' as Cidr, purpose: 'this network' },
  { cidr: '127.0.0.0/8' as Cidr, purpose: 'loopback' },
  { cidr: '169.254.0.0/16' as Cidr, purpose: 'link-local' },
  { cidr: '224.0.0.0/4' as Cidr, purpose: 'multicast' },
  { cidr: '240.0.0.0/4' as Cidr, purpose: 'reserved and broadcast' },
  { cidr: '::/8' as Cidr6, purpose: 'loopback and IPv4 addresses written as IPv6' },
  { cidr: 'fe80::/10' as Cidr6, purpose: 'link-local' },
  { cidr: 'fec0::/10' as Cidr6, purpose: 'site-local, withdrawn' },
  { cidr: 'ff00::/8' as Cidr6, purpose: 'multicast' },
];

/** The first special block that shares an address with this one, if any. */
export function isSpecialUse(cidr: AnyCidr): SpecialBlock | undefined {
  return SPECIAL_BLOCKS.find((block) => overlaps(block.cidr, cidr));
}

function pointRange(ip: Ip): { readonly first: number | bigint; readonly last: number | bigint } {
  const value = numberOf(ip);
  return { first: value, last: value };
}

function cidrOf(network: number, prefix: number): Cidr {
  return `${fromNumber(network)}/${prefix}` as Cidr;
}

function maskTo(value: number, prefix: number): number {
  const size = 2 ** (32 - prefix);
  return value - (value % size);
}

/** Of blocks of one family: sorted, disjoint, and no two adjacent. */
function mergeRanges(cidrs: readonly AnyCidr[]): AnyRange[] {
  const ranges = cidrs.map((cidr) => rangeOf(cidr)).sort((a, b) => compareNumbers(a.first, b.first));
  const merged: AnyRange[] = [];
  for (const range of ranges) {
    const before = merged.at(-1);
    if (before === undefined || range.first > stepped(before.last, 1)) merged.push(range);
    else if (range.last > before.last) merged[merged.length - 1] = { ...before, last: range.last } as AnyRange;
  }
  return merged;
}

function checkPrefix(prefix: number, most: number): void {
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > most) {
    throw invalid(`${prefix} is not a prefix length: expected 0 to ${most}`);
  }
}

const CANONICAL_NUMBER = /^(?:0|[1-9][0-9]{0,2})$/;

/** The number of an address; `whole` is what the user wrote, for the message, and `form` what was wanted. */
function readAddress(text: string, whole: string, form: 'address' | 'block'): number {
  const parts = text.split('.');
  let value = 0;
  if (parts.length === 4) {
    for (const part of parts) {
      if (!CANONICAL_NUMBER.test(part) || Number(part) > 255) throw refuseAddress(text, whole, form);
      value = value * 256 + Number(part);
    }
    return value;
  }
  throw refuseAddress(text, whole, form);
}

/** Says which rule the text breaks and, where the meaning is plain, what would be right. */
function refuseAddress(text: string, whole: string, form: 'address' | 'block'): VpcctlError {
  const example = form === 'address' ? '10.0.1.7' : '10.0.1.0/24';
  const wanted = `expected an IPv4 ${form} such as ${example}`;
  const shown = quote(whole);
  if (whole === '') return invalid(`the text is empty: ${wanted}`);
  const tidy = whole.replace(/\s/g, '');
  if (tidy !== whole) {
    const meant = reads(tidy.split('/')[0] ?? '') ? { hint: `write ${tidy}` } : {};
    return invalid(`${shown} contains white space: ${wanted}`, meant);
  }
  if (form === 'address' && whole.includes('/')) {
    const [address = ''] = whole.split('/');
    const meant = reads(address) ? { hint: `write ${address}` } : {};
    return invalid(`${shown} has a prefix length, and an address alone has none: ${wanted}`, meant);
  }
  if (text === '') return invalid(`${shown} has no address before the slash: ${wanted}`);
  if (text.includes(':')) {
    const mapped = /^::(?:ffff:)?([0-9.]+)$/i.exec(text)?.[1];
    if (mapped !== undefined && reads(mapped)) {
      const suffix = whole.slice(text.length);
      const right = suffix === '' ? mapped : `${mapped} with an IPv4 prefix length`;
      return invalid(`${shown} is an IPv4 address written as IPv6: ${wanted}`, { hint: `write ${right}` });
    }
    if (/^[0-9a-f:.]+(?:%.*)?$/i.test(text)) {
      return invalid(`${shown} is IPv6, and this is for IPv4: ${wanted}`);
    }
    return invalid(`${shown} is not an address: ${wanted}`);
  }
  const parts = text.split('.');
  if (parts.some((part) => /^0x[0-9a-f]+$/i.test(part))) {
    return invalid(`${shown} has a hexadecimal part: ${wanted}, four decimal numbers`);
  }
  if (!/^[0-9.]+$/.test(text)) return invalid(`${shown} is not an address: ${wanted}`);
  if (parts.some((part) => part === '')) {
    return invalid(`${shown} has an empty part between its dots: ${wanted}`);
  }
  if (parts.length !== 4) {
    return invalid(`${shown} has ${parts.length} ${parts.length === 1 ? 'part' : 'parts'}, not four: ${wanted}`);
  }
  const tooBig = parts.find((part) => Number(part) > 255);
  if (tooBig !== undefined) return invalid(`${shown}: ${quote(tooBig)} is larger than 255: ${wanted}`);
  const padded = parts.find((part) => part.length > 1 && part.startsWith('0'));
  const right = parts.map(Number).join('.') + whole.slice(text.length);
  return invalid(`${shown}: ${quote(padded ?? '')} has a leading zero, which some programs read as octal: ${wanted}`, {
    hint: `write ${right} if the numbers are decimal`,
  });
}

/** The address of a text; `whole` is what the user wrote, for the message, and `form` what was wanted. */
function readAddress6(text: string, whole: string, form: 'address' | 'block'): Ipv6 {
  const wanted = `expected an IPv6 ${form} such as ${form === 'address' ? 'fd00::1' : 'fd00:0:0:100::/56'}`;
  const shown = quote(whole);
  if (whole === '') throw invalid(`the text is empty: ${wanted}`);
  if (form === 'address' && text.includes('/')) {
    throw invalid(`${shown} has a prefix length, and an address alone has none: ${wanted}`);
  }
  const value = readIp6(text);
  if (value === undefined) {
    const zone = text.indexOf('%');
    const meant = zone === -1 ? undefined : readIp6(text.slice(0, zone));
    if (meant !== undefined) throw invalid(`${shown} names a link after the %: ${wanted}`);
    const is4 = reads(text) ? 'is IPv4, and this is for IPv6' : 'is not an address';
    throw invalid(`${shown} ${is4}: ${wanted}`);
  }
  const canonical = formatIp6(value);
  if (canonical !== text) {
    throw invalid(`${shown} is not written as RFC 5952 has it: ${wanted}`, {
      hint: `write ${canonical}${whole.slice(text.length)}`,
    });
  }
  return canonical as Ipv6;
}

/** Whether the text is a canonical address. */
function reads(text: string): boolean {
  const parts = text.split('.');
  return parts.length === 4 && parts.every((part) => CANONICAL_NUMBER.test(part) && Number(part) <= 255);
}

function readPrefix(text: string, whole: string, address: string): number {
  if (CANONICAL_NUMBER.test(text) && Number(text) <= 32) return Number(text);
  const shown = quote(whole);
  const tidy = whole.replace(/\s/g, '');
  if (tidy !== whole)
    throw invalid(`${shown} contains white space: expected ${address}/PREFIX`, { hint: `write ${tidy}` });
  if (text === '') return refusePrefix(`${shown} has no prefix length after the slash`, address);
  if (/^[0-9]+$/.test(text) && text.length > 1 && text.startsWith('0')) {
    const meant = Number(text) <= 32 ? { hint: `write ${address}/${Number(text)}` } : {};
    throw invalid(`${shown}: the prefix length ${quote(text)} has a leading zero: expected 0 to 32`, meant);
  }
  if (/^[0-9]+$/.test(text)) {
    throw invalid(`${shown}: the prefix length ${quote(text)} is larger than 32: expected 0 to 32`);
  }
  const mask = reads(text) ? maskLength(toNumber(text as Ipv4)) : undefined;
  if (mask !== undefined) {
    throw invalid(`${shown} has a netmask after the slash: expected a prefix length of 0 to 32`, {
      hint: `write ${address}/${mask}`,
    });
  }
  return refusePrefix(`${shown}: ${quote(text)} is not a prefix length`, address);
}

function refusePrefix(what: string, address: string): never {
  throw invalid(`${what}: expected 0 to 32, for example ${address}/24`);
}

/** 24 of 255.255.255.0; undefined when the ones are not all in front. */
function maskLength(mask: number): number | undefined {
  for (let prefix = 0; prefix <= 32; prefix += 1) {
    if (mask === SPACE - 2 ** (32 - prefix)) return prefix;
  }
  return undefined;
}
