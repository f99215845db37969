/** IPv4, IPv6 and MAC addresses: text ↔ network-order bytes. */
import ipaddr from 'ipaddr.js';
import { invalid } from '../errors.js';
import { malformed } from './message.js';

/** IP version. */
export type Family = 4 | 6;

/** Address families of linux/socket.h, as they stand in a message. */
export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_BRIDGE = 7;
export const AF_INET6 = 10;

/** The message's number of an IP version. */
export function familyNumber(family: Family): number {
  return family === 4 ? AF_INET : AF_INET6;
}

/** The IP version of a message's number; undefined for families that are not IP's. */
export function familyOf(number: number): Family | undefined {
  return number === AF_INET ? 4 : number === AF_INET6 ? 6 : undefined;
}

/** An address as it travels. */
export interface IpBytes {
  readonly family: Family;
  /** 4 or 16 bytes, network order. */
  readonly bytes: Uint8Array;
}

/** An address with a prefix length; host bits are kept. */
export interface CidrBytes extends IpBytes {
  readonly prefix: number;
}

/** Parses `10.0.0.1` or `fe80::1`. INVALID for anything else, leading zeros and zone ids included. */
export function parseIp(text: string): IpBytes {
  const bytes = text.includes(':') ? parseIpv6(text) : parseIpv4(text);
  if (bytes === undefined) throw invalid(`${JSON.stringify(text)} is not an IP address`);
  return { family: bytes.length === 4 ? 4 : 6, bytes };
}

/** Parses `10.0.0.1/24`; without a prefix length, the whole address (/32, /128). */
export function parseCidr(text: string): CidrBytes {
  const slash = text.indexOf('/');
  const ip = parseIp(slash < 0 ? text : text.slice(0, slash));
  const longest = ip.bytes.length * 8;
  if (slash < 0) return { ...ip, prefix: longest };
  const digits = text.slice(slash + 1);
  if (!/^(0|[1-9]\d{0,2})$/.test(digits) || Number(digits) > longest) {
    throw invalid(`${JSON.stringify(text)} does not end in a prefix length of 0 to ${longest}`);
  }
  return { ...ip, prefix: Number(digits) };
}

/** Parses `02:00:00:00:00:01`. */
export function parseMac(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) throw invalid(`${JSON.stringify(text)} is not a MAC address`);
  return Uint8Array.from(text.split(':'), (pair) => Number.parseInt(pair, 16));
}

/** Prints an address of the family; an IPv6 one as RFC 5952 has it. The kernel's bytes: a wrong length is malformed. */
export function formatIp(family: Family, bytes: Uint8Array): string {
  if (bytes.length !== (family === 4 ? 4 : 16)) throw malformed(`an IPv${family} address of ${bytes.length} bytes`);
  return family === 4 ? bytes.join('.') : ipaddr.fromByteArray([...bytes]).toString();
}

/** Prints `10.0.0.0/24`, with the prefix length also when it is the whole address. */
export function formatCidr(family: Family, bytes: Uint8Array, prefix: number): string {
  if (prefix > (family === 4 ? 32 : 128)) throw malformed(`an IPv${family} prefix length of ${prefix}`);
  return `${formatIp(family, bytes)}/${prefix}`;
}

/**
 * Prints six bytes as a MAC address; undefined for link-layer addresses of other kinds (tunnels have 0, 4 or 16
 * bytes).
 */
export function formatMac(bytes: Uint8Array): string | undefined {
  if (bytes.length !== 6) return undefined;
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function parseIpv4(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  const bytes = new Uint8Array(4);
  for (const [index, part] of parts.entries()) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    bytes[index] = Number(part);
  }
  return bytes;
}

function parseIpv6(text: string): Uint8Array | undefined {
  if (text.includes('%') || !ipaddr.IPv6.isValid(text)) return undefined;
  return Uint8Array.from(ipaddr.IPv6.parse(text).toByteArray());
}
