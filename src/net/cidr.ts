/**
 * IPv4 addresses and blocks. Text is parsed once, strictly, into branded canonical strings; everything below parses
 * nothing and validates nothing again. A canonical string is equal exactly when the address or block is.
 *
 * Strict means that one address has one spelling: no leading zeros (`010.0.0.1` is octal to some programs), no short or
 * hexadecimal forms, no white space. A block's text is its network address and prefix length. Callers see only strings
 * and the functions here, so that a second family can be added behind the same names.
 */
import { invalid, type VpcctlError } from '../errors.js';
import { quote } from './quote.js';

declare const ipv4Brand: unique symbol;
declare const cidrBrand: unique symbol;

/** A canonical IPv4 address: `10.0.1.7`. */
export type Ipv4 = string & { readonly [ipv4Brand]: true };

/** A canonical IPv4 block, its host bits zero: `10.0.1.0/24`. */
export type Cidr = string & { readonly [cidrBrand]: true };

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

/** A block that no VPC may use, and what it is for. */
export interface SpecialBlock {
  readonly cidr: Cidr;
  readonly purpose: string;
}

const SPACE = 2 ** 32;

/** Every IPv4 address. */
export const ANY_CIDR = '0.0.0.0/0' as Cidr;

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

/** Numeric order of addresses, for `sort`. */
export function compareIp(a: Ipv4, b: Ipv4): number {
  return toNumber(a) - toNumber(b);
}

/** Order of blocks, for `sort`: by network address, the larger block first. */
export function compareCidr(a: Cidr, b: Cidr): number {
  return rangeOf(a).first - rangeOf(b).first || prefixLength(a) - prefixLength(b);
}

/** The block of `prefix` bits that holds the address; INVALID when prefix is not 0 to 32. */
export function networkOf(ip: Ipv4, prefix: number): Cidr {
  checkPrefix(prefix);
  return cidrOf(maskTo(toNumber(ip), prefix), prefix);
}

/** The block of one address. */
export function hostCidr(ip: Ipv4): Cidr {
  return `${ip}/32` as Cidr;
}

export function prefixLength(cidr: Cidr): number {
  return Number(cidr.slice(cidr.indexOf('/') + 1));
}

/** Number of addresses, network and broadcast included. */
export function sizeOf(cidr: Cidr): number {
  return 2 ** (32 - prefixLength(cidr));
}

/** First and last address as numbers. */
export function rangeOf(cidr: Cidr): AddressRange {
  const first = toNumber(cidr.slice(0, cidr.indexOf('/')) as Ipv4);
  return { first, last: first + sizeOf(cidr) - 1 };
}

/** The network's own address. */
export function firstAddress(cidr: Cidr): Ipv4 {
  return cidr.slice(0, cidr.indexOf('/')) as Ipv4;
}

/** The broadcast address. */
export function lastAddress(cidr: Cidr): Ipv4 {
  return fromNumber(rangeOf(cidr).last);
}

/** The address `n` places after the network's own (0 is that one); INVALID when the block has no such address. */
export function addressAt(cidr: Cidr, n: number): Ipv4 {
  const { first } = rangeOf(cidr);
  if (!Number.isInteger(n) || n < 0 || n >= sizeOf(cidr)) {
    throw invalid(`${cidr} has addresses 0 to ${sizeOf(cidr) - 1}: there is no address ${n}`);
  }
  return fromNumber(first + n);
}

/** Inverse of {@link addressAt}; INVALID when the address is not in the block. */
export function offsetOf(cidr: Cidr, ip: Ipv4): number {
  const { first, last } = rangeOf(cidr);
  const value = toNumber(ip);
  if (value < first || value > last) throw invalid(`${ip} is not in ${cidr}`);
  return value - first;
}

/** Whether every address of `inner` is in `cidr`. */
export function contains(cidr: Cidr, inner: Ipv4 | Cidr): boolean {
  const outer = rangeOf(cidr);
  const { first, last } = inner.includes('/') ? rangeOf(inner as Cidr) : pointRange(inner as Ipv4);
  return outer.first <= first && last <= outer.last;
}

/** Whether the blocks share an address. Of two blocks that do, one contains the other. */
export function overlaps(a: Cidr, b: Cidr): boolean {
  const x = rangeOf(a);
  const y = rangeOf(b);
  return x.first <= y.last && y.first <= x.last;
}

/** The addresses that both blocks have: the smaller of the two, or nothing. */
export function intersect(a: Cidr, b: Cidr): Cidr | undefined {
  if (!overlaps(a, b)) return undefined;
  return prefixLength(a) >= prefixLength(b) ? a : b;
}

/** The fewest blocks that are exactly the addresses of the inclusive range, in order. An empty range gives none. */
export function rangeToCidrs(first: number, last: number): Cidr[] {
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

/** The fewest blocks that are exactly the addresses of `from` that no block of `taken` has, in order. */
export function subtract(from: readonly Cidr[], taken: readonly Cidr[]): Cidr[] {
  const holes = mergeRanges(taken);
  return mergeRanges(from).flatMap(({ first, last }) => {
    const kept: Cidr[] = [];
    let next = first;
    for (const hole of holes) {
      if (hole.last < next) continue;
      if (hole.first > last) break;
      kept.push(...rangeToCidrs(next, hole.first - 1));
      next = hole.last + 1;
    }
    return [...kept, ...rangeToCidrs(next, last)];
  });
}

/** The fewest blocks that are exactly the addresses of all of them together, in order. */
export function aggregate(cidrs: readonly Cidr[]): Cidr[] {
  return subtract(cidrs, []);
}

/** Blocks with a meaning of their own (RFC 6890), which no VPC, subnet or pool may touch. */
export const SPECIAL_BLOCKS: readonly SpecialBlock[] = [
  { cidr: '0.0.0.0/8' as Cidr, purpose: 'this network' },
  { cidr: '127.0.0.0/8' as Cidr, purpose: 'loopback' },
  { cidr: '169.254.0.0/16' as Cidr, purpose: 'link-local' },
  { cidr: '224.0.0.0/4' as Cidr, purpose: 'multicast' },
  { cidr: '240.0.0.0/4' as Cidr, purpose: 'reserved and broadcast' },
];

/** The first special block that shares an address with this one, if any. */
export function isSpecialUse(cidr: Cidr): SpecialBlock | undefined {
  return SPECIAL_BLOCKS.find((block) => overlaps(block.cidr, cidr));
}

function pointRange(ip: Ipv4): AddressRange {
  const value = toNumber(ip);
  return { first: value, last: value };
}

function cidrOf(network: number, prefix: number): Cidr {
  return `${fromNumber(network)}/${prefix}` as Cidr;
}

function maskTo(value: number, prefix: number): number {
  const size = 2 ** (32 - prefix);
  return value - (value % size);
}

/** Sorted, disjoint, and no two adjacent. */
function mergeRanges(cidrs: readonly Cidr[]): AddressRange[] {
  const ranges = cidrs.map(rangeOf).sort((a, b) => a.first - b.first);
  const merged: AddressRange[] = [];
  for (const range of ranges) {
    const before = merged.at(-1);
    if (before === undefined || range.first > before.last + 1) merged.push(range);
    else merged[merged.length - 1] = { first: before.first, last: Math.max(before.last, range.last) };
  }
  return merged;
}

function checkPrefix(prefix: number): void {
  if (!Number.isInteger(prefix) || prefix < 0 || prefix > 32) {
    throw invalid(`${prefix} is not a prefix length: expected 0 to 32`);
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
      return invalid(`${shown} is IPv6, which is not supported yet: ${wanted}`);
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
