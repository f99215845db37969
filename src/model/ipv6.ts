/**
 * IPv6 of a VPC: its block, those of its subnets, and the addresses of instances. Source of the rules: Amazon VPC User Guide, "IP addressing" (a VPC has
 * a /56, a subnet a /64; the first four addresses of a subnet and the last are reserved; addresses are not translated).
 */
import { invalid } from '../errors.js';
import {
  type AnyCidr,
  addressAt,
  addressOf,
  type Cidr6,
  contains,
  firstAddress,
  type Ip,
  type Ipv4,
  type Ipv6,
  isSpecialUse,
  networkOf,
  offsetOf,
  overlaps,
  parseCidr6,
  parseIp6,
  prefixLength,
  rangeOf,
  toNumber,
} from '../net/cidr.js';
import { hash32, parseName } from '../net/name.js';
import { type Rank, refuseTaken } from './addresses.js';
import { conflict, ipv6PoolOf, requireVpc, subnetsOf } from './lookup.js';
import { refuseRoutesInto } from './prefix-lists.js';
import { type Draft, findKind, getKind, has, type Reader } from './reader.js';
import {
  describe,
  type EgressOnlyGateway,
  type Instance,
  idOf,
  ids,
  privateIps,
  type Subnet,
  type Vpc,
} from './resources.js';

const VPC_PREFIX = 56;
const SUBNET_PREFIX = 64;
/** No larger one: fc00::/8 and 2000::/3 are not one installation's. */
const LARGEST_POOL = 16;
/** Of a subnet, as in AWS: the first is the network, the second the router. */
const RESERVED = 4n;

/** What a user asks for: a block or an address; any one; none. Absent: as it was. */
export type Ipv6Wish = string | boolean;

// --- the pool --------------------------------------------------------------------------------------------------------

/** The pool of IPv6 blocks. INVALID where it is none. */
export function parseIpv6Pool(text: string): Cidr6 {
  const pool = parseCidr6(text);
  const prefix = prefixLength(pool);
  if (prefix < LARGEST_POOL || prefix > VPC_PREFIX - 1) {
    throw invalid(`IPv6 pool ${pool} is a /${prefix}, it must be between /${LARGEST_POOL} and /${VPC_PREFIX - 1}`, {
      hint: 'choose another prefix length',
    });
  }
  refuseSpecial6(pool, 'IPv6 pool');
  return pool;
}

/** CONFLICT while a VPC has a block of the pool that is to be changed. */
export function checkPoolUnused(draft: Draft, before: Cidr6): void {
  const user = findKind(draft, 'vpc', 'kind:vpc').find(({ ipv6Cidr }) => ipv6Cidr !== undefined);
  if (user === undefined) return;
  throw conflict(`the IPv6 pool ${before} is in use: ${describe(user)} has ${user.ipv6Cidr}`, 'take that away first');
}

/** Of the host and the way to it: the first block of the pool is no VPC's. */
export function hostAddress6(reader: Reader): Ipv6 {
  return addressAt(ipv6PoolOf(reader), 1n);
}

function refuseSpecial6(cidr: Cidr6, what: string): void {
  const special = isSpecialUse(cidr);
  if (special !== undefined) {
    throw invalid(`${what} ${cidr} overlaps ${special.cidr} (${special.purpose})`, {
      hint: 'use a unique local block such as fd76:7063:6300::/40',
    });
  }
}

// --- the VPC ---------------------------------------------------------------------------------------------------------

/** Gives a VPC an IPv6 block (true: a free one), or takes it away (false). CONFLICT where it has another, and while a subnet has one of it. */
export function setVpcIpv6(draft: Draft, vpc: Vpc, wish: Ipv6Wish | undefined): Vpc {
  if (wish === undefined || (wish === true && vpc.ipv6Cidr !== undefined)) return vpc;
  const { ipv6Cidr: had, ...bare } = vpc;
  if (wish === false) {
    if (had === undefined) return vpc;
    const user = subnetsOf(draft, vpc.name).find(({ ipv6Cidr }) => ipv6Cidr !== undefined);
    if (user !== undefined) throw conflict(`${describe(user)} has ${user.ipv6Cidr} of ${had}`, 'take that away first');
    draft.put(bare);
    return bare;
  }
  const ipv6Cidr = wish === true ? allocateBlock(draft, vpc.name) : checkBlock6(draft, vpc.name, wish);
  if (had === ipv6Cidr) return vpc;
  if (had !== undefined) {
    throw conflict(
      `vpc ${vpc.name} has the IPv6 block ${had}, not ${ipv6Cidr}`,
      'take that away in a change of its own first',
    );
  }
  refuseRoutesInto(draft, vpc.name, ipv6Cidr);
  const after: Vpc = { ...vpc, ipv6Cidr };
  draft.put(after);
  return after;
}

function checkBlock6(draft: Draft, vpc: string, text: string): Cidr6 {
  const block = parseCidr6(text);
  const what = `vpc ${vpc}`;
  if (prefixLength(block) !== VPC_PREFIX) {
    throw invalid(`${what}: ${block} is a /${prefixLength(block)}, an IPv6 block of a VPC is a /${VPC_PREFIX}`, {
      hint: `write ${networkOf(firstAddress(block), VPC_PREFIX)}, or true for a free one`,
    });
  }
  const pool = ipv6PoolOf(draft);
  if (!contains(pool, block)) {
    throw invalid(`${what}: ${block} is outside the IPv6 pool ${pool}`, {
      hint: 'choose one inside, true for a free one, or configure another ipv6Pool',
    });
  }
  if (firstAddress(block) === firstAddress(pool)) {
    throw invalid(`${what}: ${block} is the first of the pool ${pool}, which is the host's`, {
      hint: 'choose another, or true for a free one',
    });
  }
  const holder = holderOfBlock(draft, block);
  if (holder !== undefined && holder.name !== vpc) {
    throw conflict(`IPv6 block ${block} is taken by ${describe(holder)}`, 'choose another, or true for a free one');
  }
  return block;
}

function holderOfBlock(draft: Draft, block: Cidr6): Vpc | undefined {
  return findKind(draft, 'vpc', `ipv6-block:${block}`)[0];
}

/** From a place that the VPC's name decides, so that processes allocating at once rarely meet. */
function allocateBlock(draft: Draft, vpc: string): Cidr6 {
  const pool = ipv6PoolOf(draft);
  const usable = 2 ** Math.min(32, VPC_PREFIX - prefixLength(pool)) - 1;
  const start = hash32(`ipv6 ${vpc}`) % usable;
  for (let tried = 0; tried < usable; tried += 1) {
    const number = BigInt(1 + ((start + tried) % usable));
    const block = networkOf(addressOf(rangeOf(pool).first + (number << BigInt(128 - VPC_PREFIX))), VPC_PREFIX);
    if (!has(draft, `ipv6-block:${block}`)) return block;
  }
  throw conflict(`the IPv6 pool ${pool} is exhausted`, 'configure a larger ipv6Pool');
}

// --- subnets ---------------------------------------------------------------------------------------------------------

/** The IPv6 block that a subnet is to have. CONFLICT where it has another already, or an instance in it has an address of it. */
export function chooseSubnetIpv6(
  draft: Draft,
  vpc: Vpc,
  name: string,
  wish: Ipv6Wish | undefined,
  existing: Subnet | undefined,
): Pick<Subnet, 'ipv6Cidr'> {
  const had = existing?.ipv6Cidr;
  if (wish === undefined || (wish === true && had !== undefined)) return had === undefined ? {} : { ipv6Cidr: had };
  const what = `subnet ${name} of vpc ${vpc.name}`;
  if (wish === false) {
    if (existing !== undefined && had !== undefined) refuseUsed(draft, existing, had);
    return {};
  }
  if (vpc.ipv6Cidr === undefined) {
    throw invalid(`${what}: the VPC has no IPv6 block`, { hint: 'give the VPC one first' });
  }
  const siblings = subnetsOf(draft, vpc.name).filter((subnet) => subnet.name !== name);
  const ipv6Cidr =
    wish === true ? freeSubnet(vpc.ipv6Cidr, siblings, what) : checkSubnet6(vpc.ipv6Cidr, siblings, what, wish);
  if (had !== undefined && had !== ipv6Cidr) {
    throw conflict(`${what} has the IPv6 block ${had}, not ${ipv6Cidr}`, 'take that away in a change of its own first');
  }
  return { ipv6Cidr };
}

function refuseUsed(draft: Draft, { vpc, name }: Subnet, block: Cidr6): void {
  for (const user of findKind(draft, 'instance', `subnet:${vpc}/${name}`)) {
    const own = privateIps(user).find((ip) => contains(block, ip));
    if (own !== undefined) throw conflict(`${describe(user)} has ${own} of ${block}`, 'take that away first');
  }
}

function checkSubnet6(home: Cidr6, siblings: readonly Subnet[], what: string, text: string): Cidr6 {
  const block = parseCidr6(text);
  if (prefixLength(block) !== SUBNET_PREFIX) {
    throw invalid(`${what}: ${block} is a /${prefixLength(block)}, an IPv6 block of a subnet is a /${SUBNET_PREFIX}`, {
      hint: `write ${networkOf(firstAddress(block), SUBNET_PREFIX)}, or true for a free one`,
    });
  }
  if (!contains(home, block)) {
    throw invalid(`${what}: ${block} is outside the VPC's IPv6 block ${home}`, { hint: 'choose one inside' });
  }
  const clash = siblings.find(({ ipv6Cidr }) => ipv6Cidr !== undefined && overlaps(ipv6Cidr, block));
  if (clash !== undefined) {
    throw invalid(`${what}: ${block} is that of subnet ${clash.name}`, { hint: 'choose a free block' });
  }
  return block;
}

function freeSubnet(home: Cidr6, siblings: readonly Subnet[], what: string): Cidr6 {
  const taken = new Set(siblings.map(({ ipv6Cidr }) => ipv6Cidr));
  const { first } = rangeOf(home);
  for (let number = 0n; number < 1n << BigInt(SUBNET_PREFIX - VPC_PREFIX); number += 1n) {
    const block = networkOf(addressOf(first + (number << BigInt(128 - SUBNET_PREFIX))), SUBNET_PREFIX);
    if (!taken.has(block)) return block;
  }
  throw conflict(`${what}: no block of ${home} is left`, 'take one from another subnet');
}

/** The router's address in a subnet; undefined: the subnet has no IPv6. */
export function gateway6Of({ ipv6Cidr }: Pick<Subnet, 'ipv6Cidr'>): Ipv6 | undefined {
  return ipv6Cidr === undefined ? undefined : addressAt(ipv6Cidr, 1n);
}

// --- the internet ----------------------------------------------------------------------------------------------------

/** Global unicast addresses (RFC 4291): all that a route to everywhere leads to out there. */
export const GLOBAL6 = '2000::/3' as Cidr6;
/** Unique local addresses (RFC 4193): networks near the host. A route leads there only if it names a block of them, and to the pool in any case. */
export const UNIQUE_LOCAL6 = 'fc00::/7' as Cidr6;
/** Where instances find services of the cloud (VPC User Guide, "Local gateways"; the metadata service is fd00:ec2::254): nothing leads there. */
export const CLOUD_SERVICES6 = 'fd00:ec2::/32' as Cidr6;

/** INVALID where no address of the block can be in the internet, nor near the host. */
export function checkWayOut6(destination: AnyCidr): void {
  const hint = 'name ::/0, or a block of global or unique local addresses';
  if (contains(CLOUD_SERVICES6, destination)) {
    throw invalid(`no route can lead to ${destination}: ${CLOUD_SERVICES6} is for services of the cloud`, { hint });
  }
  if (overlaps(destination, GLOBAL6) || overlaps(destination, UNIQUE_LOCAL6)) return;
  throw invalid(`no address of ${destination} is in the internet`, { hint });
}

/** Whether a route to `destination` that leads out leads to this address. */
export function isWayOut6(destination: AnyCidr, address: Ip, pool: AnyCidr): boolean {
  if (!contains(destination, address) || contains(CLOUD_SERVICES6, address)) return false;
  if (contains(GLOBAL6, address) || contains(pool, address)) return true;
  return contains(UNIQUE_LOCAL6, address) && contains(UNIQUE_LOCAL6, destination);
}

/** Whether the VPC's IPv6 has a way to the internet. */
export function hasWayOut6(reader: Reader, vpc: string): boolean {
  return getKind(reader, 'igw', ids.igw(vpc))?.ipv6Cidr !== undefined;
}

export function egressOnlyGatewayOf(reader: Reader, vpc: string): EgressOnlyGateway | undefined {
  return getKind(reader, 'egress-only-gateway', ids.egressOnlyGateway(vpc));
}

/** Gives a VPC its egress-only internet gateway; one that is there stays. */
export function addEgressOnlyGateway(draft: Draft, vpc: string): void {
  draft.put({ kind: 'egress-only-gateway', vpc: requireVpc(draft, vpc).name });
}

/** Deletes it; false when there is none. Routes that lead to it become black holes. */
export function deleteEgressOnlyGateway(draft: Draft, vpc: string): boolean {
  const gateway = egressOnlyGatewayOf(draft, parseName(vpc, 'vpc'));
  if (gateway === undefined) return false;
  draft.remove(idOf(gateway));
  return true;
}

// --- instances -------------------------------------------------------------------------------------------------------

/** The IPv6 address that an instance is to have; without a wish, one that is new has one where its subnet has a block. */
export function chooseInstanceIpv6(
  draft: Draft,
  subnet: Subnet,
  id: string,
  ip: Ipv4,
  wish: Ipv6Wish | undefined,
  existing: Instance | undefined,
): Pick<Instance, 'ipv6'> {
  const { ipv6Cidr } = subnet;
  const wanted = wish ?? (existing === undefined ? ipv6Cidr !== undefined : existing.ipv6 !== undefined);
  if (wanted === false) return {};
  if (ipv6Cidr === undefined) {
    throw invalid(`subnet ${subnet.vpc}/${subnet.name} has no IPv6 block: its instances have no IPv6 address`, {
      hint: 'give the subnet one',
    });
  }
  if (typeof wanted === 'string') return { ipv6: checkAddress6(draft, subnet, ipv6Cidr, parseIp6(wanted), id) };
  const kept = existing?.ipv6;
  return { ipv6: kept !== undefined && contains(ipv6Cidr, kept) ? kept : allocate6(draft, subnet, ipv6Cidr, ip, id) };
}

function isReserved(block: Cidr6, ipv6: Ipv6): boolean {
  const offset = offsetOf(block, ipv6);
  return offset < RESERVED || ipv6 === addressOf(rangeOf(block).last);
}

/** The address, for the resource `id`. INVALID outside of the subnet's block and where it is reserved, CONFLICT when another has it. */
export function checkAddress6(
  draft: Draft,
  { vpc, name }: Pick<Subnet, 'vpc' | 'name'>,
  block: Cidr6,
  ipv6: Ipv6,
  id: string,
  as: Rank = 'primary',
): Ipv6 {
  const what = `subnet ${vpc}/${name}`;
  const hint = 'choose another, or leave it out';
  if (!contains(block, ipv6)) throw invalid(`address ${ipv6} is outside ${block} of ${what}`, { hint });
  if (isReserved(block, ipv6)) {
    throw invalid(`address ${ipv6} of ${what} is reserved (the first four addresses of a subnet are, and the last)`, {
      hint,
    });
  }
  refuseTaken(draft, vpc, ipv6, id, as);
  return ipv6;
}

/** The one that ends in its IPv4 address, which nobody else has; where somebody chose that for himself, one further on. */
function allocate6(draft: Draft, { vpc, name }: Subnet, block: Cidr6, ip: Ipv4, id: string): Ipv6 {
  const isFree = (ipv6: Ipv6): boolean => {
    const others = [...draft.find(`ip:${vpc}/${ipv6}`), ...draft.base.find(`ip:${vpc}/${ipv6}`)];
    return !isReserved(block, ipv6) && others.every((holder) => idOf(holder) === id);
  };
  for (let turn = 0n; turn < 1n << 16n; turn += 1n) {
    const ipv6 = addressAt(block, (turn << 32n) + BigInt(toNumber(ip)));
    if (isFree(ipv6)) return ipv6;
  }
  throw conflict(`subnet ${vpc}/${name} has no free IPv6 address for ${ip}`, 'choose one');
}
