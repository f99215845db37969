/** Names of the DNS (RFC 1035, RFC 2181), in lower case and without the dot at their end. */
import { invalid } from '../errors.js';
import { addressOf, type Ip, parseIp } from './cidr.js';
import { quote } from './quote.js';

declare const domainBrand: unique symbol;

/** `db.corp.internal`. */
export type Domain = string & { readonly [domainBrand]: true };

export const DOMAIN_LENGTH = 253;
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
export const DOMAIN_RULE =
  'labels of 1 to 63 letters, digits, underscores and inner hyphens, with dots between, at most 253 characters';

/** Reads a name; `what` says in messages whose it is. INVALID when it is none. With `wildcard`, its first label may be `*`. */
export function parseDomain(text: string, what: string, { wildcard = false } = {}): Domain {
  const name = text.toLowerCase().replace(/\.$/, '');
  const labels = name.split('.');
  const checked = wildcard && labels[0] === '*' ? labels.slice(1) : labels;
  if (name.length > DOMAIN_LENGTH || !checked.every((label) => LABEL.test(label))) {
    throw invalid(`${what} ${quote(text)} is no domain name: expected ${DOMAIN_RULE}`);
  }
  return name as Domain;
}

/** Whether a name is the domain or below it. */
export function isWithin(name: string, domain: string): boolean {
  return name === domain || name.endsWith(`.${domain}`);
}

/** The address that a reverse name is of: `4.1.0.10.in-addr.arpa` (RFC 1035, 3.5), or 32 digits before `ip6.arpa` (RFC 3596, 2.5); undefined when it is of none. */
export function addressOfReverse(name: string): Ip | undefined {
  const nibbles = /^((?:[0-9a-f]\.){32})ip6\.arpa$/.exec(name)?.[1];
  if (nibbles !== undefined) return addressOf(BigInt(`0x${nibbles.split('.').reverse().join('')}`));
  const digits = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/.exec(name);
  if (digits === null) return undefined;
  const octets = digits.slice(1).reverse();
  if (octets.some((octet) => Number(octet) > 255 || String(Number(octet)) !== octet)) return undefined;
  return parseIp(octets.join('.'));
}
