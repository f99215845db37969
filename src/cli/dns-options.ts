/** Options that speak of a VPC's resolver. */
import type { DnsSpec } from '../index.js';
import { UsageError } from './failure.js';

/** What `--dns-domain` and `--dns-forward` say. */
export interface DnsOptions {
  readonly dns?: boolean;
  readonly dnsDomain?: string;
  readonly dnsForward?: readonly string[];
}

export const DNS_DOMAIN = [
  '--dns-domain <domain>',
  'instances are called NAME.DOMAIN (default: VPC.internal)',
] as const;
export const DNS_FORWARD = [
  '--dns-forward <servers...>',
  "who is asked of everything else: host (the host's servers, default), none, or addresses",
] as const;

/** A resolver as options give it; undefined where none speaks of it. */
export function dnsOf({ dns, dnsDomain, dnsForward }: DnsOptions): DnsSpec | undefined {
  if (dns === undefined && dnsDomain === undefined && dnsForward === undefined) return undefined;
  const [first] = dnsForward ?? [];
  const word = first === 'host' || first === 'none' ? first : undefined;
  if (word !== undefined && dnsForward?.length !== 1)
    throw new UsageError(`--dns-forward ${word} stands alone`, 'name addresses only');
  const own: Exclude<DnsSpec, boolean> = {
    ...(dnsDomain === undefined ? {} : { domain: dnsDomain }),
    ...(dnsForward === undefined ? {} : { forward: word ?? dnsForward }),
  };
  if (dns === false && Object.keys(own).length > 0) {
    throw new UsageError('a VPC without a resolver has no domain and forwards nothing', 'leave one out');
  }
  return dns === false ? false : Object.keys(own).length === 0 ? true : own;
}
