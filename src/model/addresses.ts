/** Private addresses of subnets and public ones of the pool: which may be had, and which is next. */
import { invalid } from '../errors.js';
import { addressAt, type Cidr, contains, type Ip, type Ipv4, offsetOf, parseIp, sizeOf } from '../net/cidr.js';
import { hash32 } from '../net/name.js';
import { conflict } from './lookup.js';
import { type Draft, has } from './reader.js';
import { describe, type Instance, idOf, type Resource, type Subnet } from './resources.js';

/** The address of an instance that the same transaction deleted, if the subnet can give it back. */
export function addressOf(returning: Instance | undefined, draft: Draft, subnet: Subnet): Ipv4 | undefined {
  if (returning === undefined || !contains(subnet.cidr, returning.ip)) return undefined;
  if (reservedWord(subnet, offsetOf(subnet.cidr, returning.ip)) !== undefined) return undefined;
  return has(draft, `ip:${subnet.vpc}/${returning.ip}`) ? undefined : returning.ip;
}

function reservedWord(subnet: Subnet, offset: number): string | undefined {
  const size = sizeOf(subnet.cidr);
  if (offset === 0) return 'the network address';
  if (offset === size - 1) return 'the broadcast address';
  if (offset === offsetOf(subnet.cidr, subnet.gateway)) return 'the gateway';
  if (subnet.addressing === 'cloud' && offset < 4) return 'reserved (the first four addresses of a subnet are)';
  return undefined;
}

export function checkAddress(draft: Draft, subnet: Subnet, ip: Ipv4, id: string, as: Rank = 'primary'): Ipv4 {
  const what = `subnet ${subnet.vpc}/${subnet.name}`;
  if (!contains(subnet.cidr, ip)) {
    throw invalid(`address ${ip} is outside ${subnet.cidr} of ${what}`, { hint: 'choose one inside, or leave it out' });
  }
  const reserved = reservedWord(subnet, offsetOf(subnet.cidr, ip));
  if (reserved !== undefined) {
    throw invalid(`address ${ip} of ${what} is ${reserved}`, { hint: 'choose another, or leave it out' });
  }
  refuseTaken(draft, subnet.vpc, ip, id, as);
  return ip;
}

/** An instance's own, by which its link is known, or one more on that link. */
export type Rank = 'primary' | 'secondary';

/**
 * CONFLICT when a resource other than `id` has the address; also when it has it until this transaction ends, for its link goes last. What was a secondary
 * address there can be one here at once: both links stay.
 */
export function refuseTaken(draft: Draft, vpc: string, ip: Ip, id: string, as: Rank): void {
  const other = ([found]: readonly Resource[]): Resource | undefined =>
    found !== undefined && idOf(found) !== id ? found : undefined;
  const holder = other(draft.find(`ip:${vpc}/${ip}`));
  if (holder !== undefined) {
    throw conflict(
      `address ${ip} is ${holder.kind === 'vpc' ? "that of the VPC's resolver" : `taken by ${describe(holder)}`}`,
      'choose another, or leave it out',
    );
  }
  const leaver = other(draft.base.find(`ip:${vpc}/${ip}`));
  if (leaver === undefined || (as === 'secondary' && isSecondary(leaver, ip))) return;
  throw conflict(
    `address ${ip} becomes free only with this change: ${describe(leaver)} has it`,
    'choose another; or take it away in a change of its own first',
  );
}

function isSecondary(holder: Resource, ip: Ip): boolean {
  return holder.kind === 'instance' && holder.secondaryIps?.includes(ip) === true;
}

/**
 * The next free address, searched from where the last search ended: a freed address rests before it is used again. One that this very transaction
 * frees is not free yet: its link goes last.
 */
export function allocate(draft: Draft, subnet: Subnet): Ipv4 {
  const size = sizeOf(subnet.cidr);
  for (let tried = 0; tried < size; tried += 1) {
    const offset = (subnet.cursor + tried) % size;
    if (reservedWord(subnet, offset) !== undefined) continue;
    const ip = addressAt(subnet.cidr, offset);
    if (draft.hasOrHad(`ip:${subnet.vpc}/${ip}`)) continue;
    draft.put({ ...subnet, cursor: (offset + 1) % size });
    return ip;
  }
  throw conflict(`subnet ${subnet.vpc}/${subnet.name} has no free address left in ${subnet.cidr}`, 'add a subnet');
}

/** The address, for the resource `id`. INVALID outside of the pool, CONFLICT when another has it. */
export function checkPublicAddress(draft: Draft, pool: Cidr, text: string, id: string): Ipv4 {
  const ip = parseIp(text);
  if (!contains(pool, ip)) {
    throw invalid(`public address ${ip} is outside the pool ${pool}`, {
      hint: 'choose one of the pool, or leave it out',
    });
  }
  const holder = draft.find(`public-ip:${ip}`)[0];
  if (holder !== undefined && idOf(holder) !== id) {
    throw conflict(`public address ${ip} is taken by ${describe(holder)}`, 'choose another, or leave it out');
  }
  return ip;
}

/** From a place that the instance's name decides, so that processes allocating at once rarely meet. */
export function allocatePublic(draft: Draft, pool: Cidr, id: string): Ipv4 {
  const usable = sizeOf(pool) - 2;
  const start = hash32(id) % usable;
  for (let tried = 0; tried < usable; tried += 1) {
    const ip = addressAt(pool, 1 + ((start + tried) % usable));
    if (!has(draft, `public-ip:${ip}`)) return ip;
  }
  throw conflict(`the pool of public addresses ${pool} is exhausted`, 'configure a larger publicPool');
}
