/** Protocols and ports of firewall rules. */
import { invalid } from '../errors.js';
import type { Family } from './cidr.js';
import { quote } from './quote.js';

/** An IP protocol; `number` is `any` for all of them. Equal protocols have equal names: 6 reads as `tcp`. */
export interface Protocol {
  /** `tcp`, `udp`, `icmp`, `icmpv6`, `any`, or the number in digits. */
  readonly name: string;
  readonly number: number | 'any';
}

/** An inclusive range of ports. `any` is 0 to 65535; a port that a rule names is 1 to 65535. */
export interface PortRange {
  readonly from: number;
  readonly to: number;
}

export const TCP: Protocol = { name: 'tcp', number: 6 };
export const UDP: Protocol = { name: 'udp', number: 17 };
export const ICMP: Protocol = { name: 'icmp', number: 1 };
export const ICMPV6: Protocol = { name: 'icmpv6', number: 58 };
export const ANY_PROTOCOL: Protocol = { name: 'any', number: 'any' };
export const ANY_PORT: PortRange = { from: 0, to: 65535 };

const NAMED: readonly Protocol[] = [TCP, UDP, ICMP, ICMPV6, ANY_PROTOCOL];
const PROTOCOLS = 'expected tcp, udp, icmp, icmpv6, any or a protocol number of 0 to 255';
const PORTS = 'expected a port of 1 to 65535, "from-to" or any';

/** The protocol whose messages are those of ICMP in this family. */
export function icmpOf(family: Family): Protocol & { readonly number: number } {
  return { ...(family === 4 ? ICMP : ICMPV6), number: family === 4 ? 1 : 58 };
}

/** Whether rules of this protocol may name types of messages. */
function hasMessages({ number }: Protocol): boolean {
  return number === ICMP.number || number === ICMPV6.number;
}

/** Whether rules of this protocol may name ports. */
export function hasPorts(protocol: Protocol): boolean {
  return protocol.number === TCP.number || protocol.number === UDP.number;
}

/** Reads a protocol: a name, or a number 0 to 255 as a number or in digits. Absent is `any`. INVALID otherwise. */
export function parseProtocol(value: string | number | undefined): Protocol {
  if (value === undefined) return ANY_PROTOCOL;
  const known = NAMED.find(({ name }) => name === value);
  if (known !== undefined) return known;
  const number = typeof value === 'number' ? value : /^(?:0|[1-9][0-9]{0,2})$/.test(value) ? Number(value) : undefined;
  if (number === undefined) {
    const text = String(value);
    const meant = NAMED.find(({ name }) => name === text.trim().toLowerCase())?.name;
    const all = text === '-1' || text === 'all' || text === '*';
    const hint = meant ?? (all ? 'any' : undefined);
    throw invalid(
      `${quote(text)} is not a protocol: ${PROTOCOLS}`,
      hint === undefined ? {} : { hint: `write ${hint}` },
    );
  }
  if (!Number.isInteger(number) || number < 0 || number > 255) {
    throw invalid(`${number} is not a protocol number: ${PROTOCOLS}`, number === -1 ? { hint: 'write any' } : {});
  }
  return NAMED.find((protocol) => protocol.number === number) ?? { name: String(number), number };
}

/**
 * Reads the ports of a rule of `protocol`: a number, digits, `"from-to"` or `any`. Absent is `any`. INVALID for
 * anything else, and for a port of a protocol that has none.
 */
export function parsePort(value: string | number | undefined, protocol: Protocol): PortRange {
  if (value === undefined || value === 'any') return ANY_PORT;
  const range = typeof value === 'number' ? readNumber(value) : readText(value);
  if (!hasPorts(protocol)) {
    const without =
      protocol.number === 'any'
        ? 'protocol any covers protocols without ports'
        : `protocol ${protocol.name} has no ports`;
    throw invalid(`port ${formatPort(range)}: ${without}`, {
      hint: 'set the protocol to tcp or udp, or leave the port out',
    });
  }
  return range;
}

/** Inverse of {@link parsePort}: `any`, `80` or `8000-8100`. */
export function formatPort({ from, to }: PortRange): string {
  if (from === ANY_PORT.from && to === ANY_PORT.to) return 'any';
  return from === to ? String(from) : `${from}-${to}`;
}

/** ICMP messages: of one type, with one code or all. */
export interface IcmpMessages {
  readonly type: number;
  readonly code?: number;
}

/** All of them: an icmpType or icmpCode that is not named. */
const ALL_MESSAGES = -1;

/**
 * Reads the messages that a rule of `protocol` is for: a type and a code, each 0 to 255, or -1 for all. Absent is -1. undefined: all messages.
 * INVALID for anything else, for a code without a type, and with a protocol other than icmp and icmpv6.
 */
export function parseIcmp(
  type: number | undefined,
  code: number | undefined,
  protocol: Protocol,
): IcmpMessages | undefined {
  for (const [what, value] of [
    ['icmpType', type],
    ['icmpCode', code],
  ] as const) {
    if (value === undefined) continue;
    if (!Number.isInteger(value) || value < ALL_MESSAGES || value > 255) {
      throw invalid(`${what} ${value}: expected a number of 0 to 255, or -1 for all`);
    }
    if (value !== ALL_MESSAGES && !hasMessages(protocol)) {
      throw invalid(`${what} ${value}: protocol ${protocol.name} has none`, {
        hint: `set the protocol to icmp or icmpv6, or leave the ${what} out`,
      });
    }
  }
  const anyCode = code === undefined || code === ALL_MESSAGES;
  if (type === undefined || type === ALL_MESSAGES) {
    if (anyCode) return undefined;
    throw invalid(`icmpCode ${code} without an icmpType: a code belongs to a type`, { hint: 'name the icmpType too' });
  }
  return anyCode ? { type } : { type, code };
}

function readNumber(port: number): PortRange {
  checkPort(port, String(port));
  return { from: port, to: port };
}

function readText(text: string): PortRange {
  if (text === '') throw invalid(`the port is empty: ${PORTS}`);
  if (/\s/.test(text)) throw invalid(`port ${quote(text)} contains white space: ${PORTS}`);
  if (/^[0-9]+(?:-[0-9]+)?(?:,[0-9]+(?:-[0-9]+)?)+$/.test(text)) {
    throw invalid(`port ${quote(text)} is a list: ${PORTS}`, {
      hint: `write ${text.split(',').length} rules, one for each`,
    });
  }
  const lower = text.toLowerCase();
  if (lower === 'any' || lower === 'all' || text === '*') {
    throw invalid(`${quote(text)} is not a port: ${PORTS}`, { hint: 'write any' });
  }
  const range = /^([0-9]+)(?:[-:]([0-9]+))?$/.exec(text);
  if (range === null) throw invalid(`${quote(text)} is not a port: ${PORTS}`);
  const from = readDigits(range[1] ?? '', text);
  const to = range[2] === undefined ? from : readDigits(range[2], text);
  if (text.includes(':')) throw invalid(`${quote(text)} is not a port: ${PORTS}`, { hint: `write ${from}-${to}` });
  if (from === 0 && to === ANY_PORT.to) {
    throw invalid(`port ${quote(text)}: port 0 cannot be named: ${PORTS}`, { hint: 'write any' });
  }
  checkPort(from, text);
  checkPort(to, text);
  if (from > to) {
    throw invalid(`port ${quote(text)}: the range ends before it starts: ${PORTS}`, { hint: `write ${to}-${from}` });
  }
  return { from, to };
}

function readDigits(digits: string, whole: string): number {
  if (digits.length > 1 && digits.startsWith('0')) {
    throw invalid(`port ${quote(whole)}: ${quote(digits)} has a leading zero: ${PORTS}`);
  }
  return Number(digits);
}

function checkPort(port: number, whole: string): void {
  if (!Number.isInteger(port)) throw invalid(`${quote(whole)} is not a port: ${PORTS}`);
  if (port === 0) throw invalid(`port ${quote(whole)}: port 0 cannot be named: ${PORTS}`);
  if (port < 0 || port > 65535) throw invalid(`port ${quote(whole)} is out of range: ${PORTS}`);
}
