/**
 * Secondary private addresses of instances: further ones of the subnet, on the same interface, judged by the same groups. Source of the rules: Amazon EC2
 * User Guide, "Secondary IP addresses for your EC2 instances" and "AssignPrivateIpAddresses" of the EC2 API.
 */
import { invalid } from '../errors.js';
import { type Ip, isIp6, numberOf, parseAnyIp } from '../net/cidr.js';
import { allocate, checkAddress } from './addresses.js';
import { checkAddress6 } from './ipv6.js';
import { conflict, requireInstance, requireSubnet } from './lookup.js';
import type { Draft } from './reader.js';
import { describe, type Instance, idOf, privateIps, type Subnet } from './resources.js';

/** At once; a subnet has no more than 65,531. */
const MOST_AT_ONCE = 256;

/** Sorted, IPv4 first. */
function inOrder(addresses: Iterable<Ip>): Ip[] {
  const family = (ip: Ip) => (isIp6(ip) ? 1 : 0);
  return [...new Set(addresses)].sort((a, b) => family(a) - family(b) || (numberOf(a) < numberOf(b) ? -1 : 1));
}

const withSecondary = (addresses: readonly Ip[]): Pick<Instance, 'secondaryIps'> =>
  addresses.length === 0 ? {} : { secondaryIps: addresses };

type Primary = Pick<Instance, 'ip' | 'ipv6'>;

const isPrimary = ({ ip, ipv6 }: Primary, address: Ip): boolean => address === ip || address === ipv6;

/**
 * The secondary addresses that an instance is to have; without a wish, those that it has, of IPv6 only while it has a primary one. INVALID where one is its
 * primary address.
 */
export function chooseSecondaryIps(
  draft: Draft,
  subnet: Subnet,
  id: string,
  primary: Primary,
  wanted: readonly string[] | undefined,
  existing: Instance | undefined,
): Pick<Instance, 'secondaryIps'> {
  if (wanted === undefined) {
    const kept = existing?.secondaryIps ?? [];
    return withSecondary(kept.filter((ip) => !isPrimary(primary, ip) && (primary.ipv6 !== undefined || !isIp6(ip))));
  }
  const addresses = wanted.map(parseAnyIp);
  const own = addresses.find((ip) => isPrimary(primary, ip));
  if (own !== undefined) {
    throw invalid(`${own} is the primary address of ${id.replace('/', ' ')}, not a secondary one`, {
      hint: 'leave it out',
    });
  }
  for (const ip of addresses) checkSecondary(draft, subnet, id, primary, ip);
  return withSecondary(inOrder(addresses));
}

function checkSecondary(draft: Draft, subnet: Subnet, id: string, { ipv6 }: Primary, ip: Ip): void {
  if (!isIp6(ip)) checkAddress(draft, subnet, ip, id, 'secondary');
  else if (subnet.ipv6Cidr !== undefined && ipv6 !== undefined) {
    checkAddress6(draft, subnet, subnet.ipv6Cidr, ip, id, 'secondary');
  } else {
    throw invalid(`${id.replace('/', ' ')} has no IPv6 address, so ${ip} is not another one`, {
      hint: 'give it IPv6 first',
    });
  }
}

/** What {@link assignPrivateIps} takes. */
export interface AssignPrivateIps {
  /** These, of either family. What it has already stays. */
  readonly ips?: readonly string[];
  /** So many free IPv4 ones more. */
  readonly count?: number;
  /** What is a secondary address of another instance of the VPC moves. */
  readonly allowReassignment?: boolean;
}

/**
 * Gives an instance further private addresses; returns those that it did not have. CONFLICT when another has one of them, unless it may be reassigned, and
 * always when it is the other's primary one.
 */
export function assignPrivateIps(draft: Draft, vpc: string, name: string, wish: AssignPrivateIps): Ip[] {
  const { ips = [], count = 0, allowReassignment = false } = wish;
  if (ips.length + count === 0) throw invalid('no address is asked for', { hint: 'name some, or say how many' });
  if (!Number.isInteger(count) || count < 0 || count > MOST_AT_ONCE) {
    throw invalid(`${count} addresses at once: expected 1 to ${MOST_AT_ONCE}`);
  }
  const instance = requireInstance(draft, vpc, name);
  const id = idOf(instance);
  const had = privateIps(instance);
  const named = inOrder(ips.map(parseAnyIp)).filter((ip) => !had.includes(ip));
  if (allowReassignment) for (const ip of named) takeFrom(draft, vpc, ip);
  for (const ip of named) checkSecondary(draft, requireSubnet(draft, vpc, instance.subnet), id, instance, ip);
  // Each is to be seen by the search for the next.
  const put = (added: readonly Ip[]): void =>
    draft.put({ ...instance, ...withSecondary(inOrder([...(instance.secondaryIps ?? []), ...added])) });
  const all = [...named];
  put(all);
  for (let turn = 0; turn < count; turn += 1) {
    all.push(allocate(draft, requireSubnet(draft, vpc, instance.subnet)));
    put(all);
  }
  return all;
}

/** Another instance gives it up, if one has it. */
function takeFrom(draft: Draft, vpc: string, ip: Ip): void {
  const [holder] = draft.find(`ip:${vpc}/${ip}`);
  if (holder?.kind !== 'instance') return;
  if (holder.secondaryIps?.includes(ip) !== true) {
    throw conflict(
      `address ${ip} is the primary address of ${describe(holder)}, which keeps it for life`,
      'choose another',
    );
  }
  draft.put(without(holder, [ip]));
}

function without({ secondaryIps = [], ...rest }: Instance, ips: readonly Ip[]): Instance {
  return { ...rest, ...withSecondary(secondaryIps.filter((ip) => !ips.includes(ip))) };
}

/** Takes secondary addresses away; returns those that it had. INVALID where one is its primary address. */
export function unassignPrivateIps(draft: Draft, vpc: string, name: string, texts: readonly string[]): Ip[] {
  const instance = requireInstance(draft, vpc, name);
  const ips = inOrder(texts.map(parseAnyIp));
  const own = ips.find((ip) => isPrimary(instance, ip));
  if (own !== undefined) {
    throw invalid(`${own} is the primary address of ${describe(instance)}, which keeps it for life`, {
      hint: 'name secondary ones only',
    });
  }
  const had = ips.filter((ip) => instance.secondaryIps?.includes(ip));
  if (had.length > 0) draft.put(without(instance, had));
  return had;
}
