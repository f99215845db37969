/** From what a user writes to the ends of a packet's way. */
import { invalid, VpcctlError } from '../errors.js';
import { requireInstance, requireVpc } from '../model/lookup.js';
import { HOST_ADDRESS, type Instance, RESOLVER_ADDRESS, type Subnet } from '../model/resources.js';
import {
  type Family,
  familyOf,
  hostCidr,
  type Ip,
  isIp6,
  isSpecialUse,
  parseAnyIp,
  prefixLength,
} from '../net/cidr.js';
import { hasPorts, ICMP, ICMPV6, type Protocol, parsePort, parseProtocol, TCP } from '../net/ports.js';
import { quote } from '../net/quote.js';
import { blocksNamed } from './gates.js';
import type { Lookup } from './lookup.js';
import type { Endpoint, Query, ResolvedQuery } from './types.js';

const FORMS =
  'write VPC/INSTANCE, VPC/INSTANCE@public, VPC/INSTANCE@ipv6, internet, internet@ipv6, internet:ADDRESS, host, host@ipv6 or an address';
const SOURCE_FORMS = 'write VPC/INSTANCE, internet, internet@ipv6, internet:ADDRESS or host';

function usage(message: string, hint: string): VpcctlError {
  return new VpcctlError('USAGE', message, { hint });
}

export type Traffic = Pick<ResolvedQuery, 'protocol' | 'port' | 'sourcePorts'>;

const SOURCE_PORTS = { from: 32_768, to: 60_999 } as const;

/** USAGE when a port is missing, or given to a protocol that has none; INVALID when either is none. */
export function trafficOf({ protocol, port }: Pick<Query, 'protocol' | 'port'>): Traffic {
  const asked: Protocol = protocol === undefined ? (port === undefined ? ICMP : TCP) : parseProtocol(protocol);
  if (asked.number === 'any') throw usage('the protocol is any: a packet has one', 'name tcp, udp, icmp or a number');
  const found = { name: asked.name, number: asked.number };
  if (!hasPorts(asked)) {
    if (port !== undefined)
      throw usage(`protocol ${asked.name} has no ports`, 'leave the port out, or name tcp or udp');
    return { protocol: found, port: null, sourcePorts: null };
  }
  if (port === undefined) throw usage(`a packet of ${asked.name} goes to a port`, 'give the port');
  return { protocol: found, port: parsePort(port, asked).from, sourcePorts: SOURCE_PORTS };
}

/** The same between addresses of this family. USAGE where the protocol is none of it. */
export function trafficBetween(traffic: Traffic, family: Family): Traffic {
  const { number } = traffic.protocol;
  if (family === 6 && number === ICMP.number) return { ...traffic, protocol: { name: ICMPV6.name, number: 58 } };
  if (family === 4 && number === ICMPV6.number) {
    throw usage('icmpv6 is a protocol of IPv6', 'name an IPv6 address, as VPC/INSTANCE@ipv6 does');
  }
  return traffic;
}

/** NOT_FOUND for names that are not there, USAGE for what is no end or no question, INVALID for addresses that nothing can have. */
export function resolve(lookup: Lookup, query: Query): ResolvedQuery {
  const traffic = trafficOf(query);
  const meant = sourceOf(lookup, query.source);
  const destination = destinationOf(lookup, query.destination, meant);
  const family = familyOf(destination.address as Ip);
  const source = inFamily(lookup, meant, family, query);
  if (isOutside(source) && isOutside(destination)) {
    throw usage(
      `neither ${query.source} nor ${query.destination} is in a VPC: nothing of vpcctl's is between them`,
      'name an instance',
    );
  }
  return { ...outside(lookup, source, destination), ...trafficBetween(traffic, family) };
}

/** The source by its address of the destination's family. */
function inFamily(lookup: Lookup, source: Endpoint, family: Family, { source: named, destination }: Query): Endpoint {
  if (familyOf(source.address as Ip) === family) return source;
  if (source.kind === 'instance' && family === 6) {
    if (source.ipv6 !== null) return { ...source, by: 'ipv6', address: source.ipv6 };
    throw usage(`instance ${source.vpc}/${source.name} has no IPv6 address`, 'ask for an IPv4 address, or give it one');
  }
  if (source.kind === 'internet' && source.any && family === 6) return INTERNET6;
  if (source.kind === 'host') return hostEnd(lookup, family);
  throw usage(`${named} and ${destination} are of two families: no packet goes between them`, 'name another address');
}

function isOutside({ kind }: Endpoint): boolean {
  return kind === 'internet' || kind === 'host';
}

/** Of an end outside that is no certain one, the address is chosen so that the other end's rules do not single it out. */
export function outside(
  lookup: Lookup,
  source: Endpoint,
  destination: Endpoint,
): Pick<ResolvedQuery, 'source' | 'destination'> {
  const chosen = (one: Endpoint, other: Endpoint): Endpoint =>
    one.kind === 'internet' && one.any
      ? { ...one, address: ordinaryAddress(lookup, other, isIp6(one.address as Ip) ? ORDINARY6 : ORDINARY) }
      : one;
  return { source: chosen(source, destination), destination: chosen(destination, source) };
}

// --- instances, host, internet ---------------------------------------------------------------------------------------

export const HOST: Endpoint = { kind: 'host', address: HOST_ADDRESS };
/** The host by its address of this family. */
export function hostEnd(lookup: Lookup, family: Family): Endpoint {
  return family === 4 ? HOST : { kind: 'host', address: lookup.hostAddress6 };
}

export const INTERNET: Endpoint = { kind: 'internet', any: true, address: '203.0.113.1' };
/** Of documentation (RFC 3849). */
export const INTERNET6: Endpoint = { kind: 'internet', any: true, address: '2001:db8::1' };

/** By its private address too where it has no public one, or no IPv6 one; `meant`: by this one of its private addresses. */
export function instanceEnd(instance: Instance, by: 'private' | 'public' | 'ipv6', meant?: Ip): Endpoint {
  const { vpc, name, subnet, ip, ipv6, publicIp } = instance;
  const end = { kind: 'instance', vpc, name, subnet, ip, ipv6: ipv6 ?? null, publicIp: publicIp ?? null } as const;
  if (meant !== undefined) return { ...end, by, address: meant };
  if (by === 'ipv6' && ipv6 !== undefined) return { ...end, by, address: ipv6 };
  return by === 'public' && publicIp !== undefined
    ? { ...end, by, address: publicIp }
    : { ...end, by: 'private', address: ip };
}

function sourceOf(lookup: Lookup, text: string): Endpoint {
  if (text === 'host') return HOST;
  const internet = internetOf(lookup, text);
  if (internet !== undefined) return internet;
  if (text.endsWith('@public'))
    throw usage(`${quote(text)}: a source is not meant by its public address`, SOURCE_FORMS);
  if (text.endsWith('@ipv6')) {
    throw usage(`${quote(text)}: the destination's address decides of which family a source is`, SOURCE_FORMS);
  }
  const instance = instanceOf(lookup, text);
  if (instance === undefined) throw usage(`${quote(text)} is no source`, SOURCE_FORMS);
  return instanceEnd(instance, 'private');
}

function destinationOf(lookup: Lookup, text: string, source: Endpoint): Endpoint {
  if (text === 'host') return HOST;
  if (text === 'host@ipv6') return hostEnd(lookup, 6);
  const internet = internetOf(lookup, text);
  if (internet !== undefined) {
    if (internet.kind === 'internet' && !internet.any) refuseInside(lookup, source, internet.address as Ip);
    return internet;
  }
  const byPublic = text.endsWith('@public');
  const by6 = text.endsWith('@ipv6');
  const instance = instanceOf(lookup, byPublic || by6 ? text.slice(0, text.lastIndexOf('@')) : text);
  if (instance !== undefined) {
    if (by6 || (source.kind === 'internet' && isIp6(source.address as Ip))) {
      if (instance.ipv6 !== undefined) return instanceEnd(instance, 'ipv6');
      throw usage(`instance ${instance.vpc}/${instance.name} has no IPv6 address`, 'ask for another address of it');
    }
    if (!byPublic) return instanceEnd(instance, source.kind === 'internet' ? 'public' : 'private');
    if (instance.publicIp === undefined) {
      throw usage(`instance ${instance.vpc}/${instance.name} has no public address`, 'leave @public out');
    }
    return instanceEnd(instance, 'public');
  }
  if (!/^[0-9.]+$|^[0-9a-f:.]*:[0-9a-f:.]*$/i.test(text)) throw usage(`${quote(text)} is no destination`, FORMS);
  return seenAt(lookup, source, parseAnyIp(text));
}

function instanceOf(lookup: Lookup, text: string): Instance | undefined {
  const parts = text.split('/');
  const [vpc, name] = parts;
  if (parts.length !== 2 || vpc === undefined || name === undefined || /^[0-9.]+$/.test(vpc)) return undefined;
  return requireInstance(lookup.reader, vpc, name);
}

function internetOf(lookup: Lookup, text: string): Endpoint | undefined {
  if (text === 'internet') return INTERNET;
  if (text === 'internet@ipv6') return INTERNET6;
  if (!text.startsWith('internet:')) return undefined;
  const address = parseAnyIp(text.slice('internet:'.length));
  refuseSpecial(address);
  const pool = [lookup.pool, lookup.pool6].find((one) => lookup.isIn(address, one));
  if (pool !== undefined) {
    throw invalid(
      `${address} is of the pool of ${pool === lookup.pool ? 'public' : 'IPv6'} addresses ${pool.cidr}, not of the outside`,
      { hint: 'name the instance that has it' },
    );
  }
  return { kind: 'internet', any: false, address };
}

function refuseSpecial(address: Ip): void {
  const special = isSpecialUse(hostCidr(address));
  if (special !== undefined) {
    throw invalid(`${address} is of ${special.cidr} (${special.purpose}): it leaves no network`, {
      hint: 'name another address',
    });
  }
}

function refuseInside(lookup: Lookup, source: Endpoint, address: Ip): void {
  const found = seenAt(lookup, source, address);
  if (found.kind === 'internet') return;
  throw invalid(`${address} is not outside for the source: ${endText(found)}`, { hint: 'leave `internet:` out' });
}

// --- addresses -------------------------------------------------------------------------------------------------------

/** Whom the source finds at an address. */
function seenAt(lookup: Lookup, source: Endpoint, address: Ip): Endpoint {
  if (address === HOST_ADDRESS) return HOST;
  if (address === lookup.hostAddress6) return hostEnd(lookup, 6);
  if (source.kind === 'instance' && address === RESOLVER_ADDRESS && lookup.isResolver(source.vpc, address)) {
    return { kind: 'resolver', vpc: source.vpc, address };
  }
  refuseSpecial(address);
  if (lookup.isIn(address, lookup.pool)) {
    const instance = lookup.instanceAtPublic(address);
    return instance === undefined ? { kind: 'nobody', vpc: null, address } : instanceEnd(instance, 'public');
  }
  const vpc = vpcSeenAt(lookup, source, address);
  if (vpc === undefined && lookup.isIn(address, lookup.pool6)) return { kind: 'nobody', vpc: null, address };
  return vpc === undefined ? { kind: 'internet', any: false, address } : inVpc(lookup, vpc, address);
}

function vpcSeenAt(lookup: Lookup, source: Endpoint, address: Ip): string | undefined {
  // No two VPCs have the same IPv6 block.
  if (isIp6(address)) return lookup.vpcOf6(address);
  if (source.kind === 'host') return lookup.hostRouted(address)?.vpc;
  if (source.kind !== 'instance') return undefined;
  const own = lookup.network(source.vpc);
  if (own === undefined || lookup.isInAny(address, own.blocks)) return source.vpc;
  return own.peers.find(({ vpc }) => lookup.isInAny(address, lookup.network(vpc)?.blocks ?? []))?.vpc;
}

function inVpc(lookup: Lookup, vpc: string, address: Ip): Endpoint {
  const instance = lookup.instanceAt(vpc, address);
  if (instance !== undefined) return instanceEnd(instance, isIp6(address) ? 'ipv6' : 'private', address);
  if (lookup.isResolver(vpc, address)) return { kind: 'resolver', vpc, address };
  const subnet = lookup.gatewayAt(vpc, address);
  return subnet === undefined ? { kind: 'nobody', vpc, address } : routerEnd(subnet, address);
}

function routerEnd({ vpc, name }: Subnet, address: Ip): Endpoint {
  return { kind: 'router', vpc, subnet: name, address };
}

/** Tried in order: of documentation (RFC 5737), then of well-known networks. */
const ORDINARY = [
  '203.0.113.1',
  '192.0.2.1',
  '198.51.100.1',
  '8.8.8.8',
  '1.1.1.1',
  '93.184.215.14',
  '45.33.32.156',
] as Ip[];
/** The same of IPv6 (RFC 3849, RFC 9637). */
const ORDINARY6 = ['2001:db8::1', '3fff::1', '2606:4700::1111', '2a00:1450::1', '2620:fe::9'] as Ip[];
/** A larger block singles nobody out: `0.0.0.0/1` is half of everything. */
const SINGLES_OUT = 8;

function ordinaryAddress(lookup: Lookup, other: Endpoint, ordinary: readonly Ip[]): Ip {
  const inside = [
    lookup.pool,
    lookup.pool6,
    ...lookup.vpcs().flatMap(({ cidrs }) => cidrs.map((cidr) => lookup.block(cidr))),
  ];
  const instance = other.kind === 'instance' ? lookup.instanceAt(other.vpc, other.ip as Ip) : undefined;
  const named = instance === undefined ? [] : blocksNamed(lookup, instance);
  const narrow = named.filter((cidr) => prefixLength(cidr) >= SINGLES_OUT).map((cidr) => lookup.block(cidr));
  const free = ordinary.filter((address) => !lookup.isInAny(address, inside));
  return free.find((address) => !lookup.isInAny(address, narrow)) ?? free[0] ?? (ordinary[0] as Ip);
}

// --- words -----------------------------------------------------------------------------------------------------------

/** An end in a person's words. */
export function endText(end: Endpoint): string {
  switch (end.kind) {
    case 'instance':
      return `${end.vpc}/${end.name}${end.by === 'public' ? ' by its public address' : end.by === 'ipv6' ? ' by its IPv6 address' : ''}`;
    case 'router':
      return `the gateway of subnet ${end.vpc}/${end.subnet}`;
    case 'resolver':
      return `the resolver of vpc ${end.vpc}`;
    case 'host':
      return 'the host';
    case 'internet':
      return end.any ? 'the internet' : `${end.address} in the internet`;
    case 'nobody':
      return end.vpc === null
        ? `${end.address}, ${isIp6(end.address as Ip) ? 'an' : 'a public'} address nobody has`
        : `${end.address}, an address nobody has in vpc ${end.vpc}`;
  }
}

/** INVALID or NOT_FOUND where a name is none. */
export function requireVpcs(lookup: Lookup, names: readonly string[] | undefined): readonly string[] {
  if (names === undefined) return lookup.vpcs().map(({ name }) => name);
  return [...new Set(names.map((name) => requireVpc(lookup.reader, name).name))];
}
