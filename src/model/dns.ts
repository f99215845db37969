/**
 * The verbs of DNS: a VPC's resolver, and private zones. Source of the rules: Amazon VPC User Guide, "DNS attributes for your VPC" and "Amazon DNS server"; Route 53
 * Developer Guide, "Working with private hosted zones" and "Supported DNS record types".
 */
import { isSame } from '../canonical.js';
import { invalid } from '../errors.js';
import { parseAnyIp, parseIp, parseIp6 } from '../net/cidr.js';
import { type Domain, isWithin, parseDomain } from '../net/domain.js';
import { parseName } from '../net/name.js';
import { quote } from '../net/quote.js';
import type { DnsSpec, PrivateZoneSpec, ZoneRecordSpec } from '../spec/types.js';
import { conflict, notFound, requireInstance, requireVpc, subnetsOf } from './lookup.js';
import { type Draft, findKind, getKind, type Reader } from './reader.js';
import {
  describe,
  ids,
  type PrivateZone,
  type RecordType,
  resolverOf,
  type Vpc,
  type VpcDns,
  type ZoneRecord,
} from './resources.js';

// --- the resolver of a VPC -------------------------------------------------------------------------------------------

/** Servers that what is nobody's here is forwarded to; more are of no use (resolv.conf(5) has 3). */
const MOST_FORWARDERS = 8;

/** Gives a VPC a resolver, changes it, or with `false` takes it away. CONFLICT when something has its address. */
export function setDns(draft: Draft, name: string, spec: DnsSpec | boolean): Vpc {
  const vpc = requireVpc(draft, name);
  const { dns: _was, ...rest } = vpc;
  const dns = spec === false ? undefined : parseDns(vpc, spec === true ? {} : spec);
  const after: Vpc = dns === undefined ? rest : { ...rest, dns };
  if (isSame(vpc, after)) return vpc;
  if (dns !== undefined && vpc.dns === undefined) refuseTaken(draft, vpc);
  draft.put(after);
  return after;
}

function refuseTaken(draft: Draft, vpc: Vpc): void {
  const address = resolverOf(vpc);
  const subnet = subnetsOf(draft, vpc.name).find(({ gateway }) => gateway === address);
  const [holder] = [...draft.find(`ip:${vpc.name}/${address}`), ...draft.base.find(`ip:${vpc.name}/${address}`)];
  const taken = subnet ?? holder;
  if (taken === undefined) return;
  throw conflict(
    `the resolver of vpc ${vpc.name} has the address ${address}, which ${describe(taken)} has${subnet === undefined ? '' : ' as its gateway'}`,
    'give that another address, or leave the resolver out',
  );
}

function parseDns({ name }: Vpc, { domain, forward = 'host' }: Exclude<DnsSpec, boolean>): VpcDns {
  const forwarders = typeof forward === 'string' ? forward : [...new Set(forward.map(parseAnyIp))];
  if (typeof forwarders !== 'string' && (forwarders.length === 0 || forwarders.length > MOST_FORWARDERS)) {
    throw invalid(`vpc ${name} forwards to ${forwarders.length} servers: expected 1 to ${MOST_FORWARDERS}`, {
      hint: 'write host or none instead of a list, or name fewer',
    });
  }
  return { domain: parseDomain(domain ?? `${name}.internal`, 'the domain'), forward: forwarders };
}

/** Inverse of the parsing. */
export function formatDns(vpc: Vpc): DnsSpec | undefined {
  if (vpc.dns === undefined) return undefined;
  const { domain, forward } = vpc.dns;
  const own = {
    ...(domain === `${vpc.name}.internal` ? {} : { domain }),
    ...(forward === 'host' ? {} : { forward }),
  };
  return Object.keys(own).length === 0 ? true : own;
}

// --- private zones ---------------------------------------------------------------------------------------------------

const DEFAULT_TTL = 300;
/** RFC 2181, section 8. */
const LONGEST_TTL = 2 ** 31 - 1;

export function requireZone(reader: Reader, name: string): PrivateZone {
  const zone = getKind(reader, 'private-zone', ids.privateZone(parseName(name, 'private zone')));
  if (zone !== undefined) return zone;
  throw notFound(
    `private zone ${name}`,
    findKind(reader, 'private-zone', 'kind:private-zone').map((known) => known.name),
  );
}

export function zonesOf(reader: Reader, vpc: string): PrivateZone[] {
  return findKind(reader, 'private-zone', `zones-of:${vpc}`);
}

/** Makes a zone, or makes one what the spec says. CONFLICT when it is there for another domain, or a VPC of it has another zone of that domain. */
export function putZone(draft: Draft, name: string, spec: PrivateZoneSpec): PrivateZone {
  const id = ids.privateZone(parseName(name, 'private zone'));
  const known = getKind(draft, 'private-zone', id);
  const domain = parseDomain(spec.domain, 'the domain');
  if (known !== undefined && known.domain !== domain) {
    throw conflict(
      `private zone ${name} is for ${known.domain}, not ${domain}`,
      'delete it first, or choose another name',
    );
  }
  const vpcs = [...new Set(spec.vpcs ?? known?.vpcs ?? [])].sort();
  const records = spec.records?.map((record) => parseRecord(draft, domain, record)) ?? known?.records ?? [];
  return put(draft, { kind: 'private-zone', name, domain, vpcs, records });
}

function put(draft: Draft, zone: PrivateZone): PrivateZone {
  for (const vpc of zone.vpcs) {
    requireVpc(draft, vpc);
    const other = zonesOf(draft, vpc).find(({ name, domain }) => name !== zone.name && domain === zone.domain);
    if (other !== undefined) {
      throw conflict(
        `vpc ${vpc} is associated with private zone ${other.name} for ${zone.domain} already`,
        'disassociate that one first',
      );
    }
  }
  checkRecords(zone);
  const sorted = { ...zone, records: [...zone.records].sort(byNameAndType) };
  draft.put(sorted);
  return sorted;
}

function byNameAndType(a: ZoneRecord, b: ZoneRecord): number {
  const [one, other] = [`${a.name} ${a.type}`, `${b.name} ${b.type}`];
  return one < other ? -1 : one > other ? 1 : 0;
}

/** RFC 1034, 3.6.2: where a CNAME is, nothing else is. */
function checkRecords({ domain, records }: PrivateZone): void {
  const types = new Map<string, Set<RecordType>>();
  for (const { name, type } of records) {
    const known = types.get(name) ?? new Set();
    if (known.has(type)) throw invalid(`two ${type} records are called ${name}`, { hint: 'list all values in one' });
    types.set(name, known.add(type));
  }
  for (const [name, known] of types) {
    if (!known.has('CNAME')) continue;
    if (name === domain) throw invalid(`the zone's own name ${name} cannot be a CNAME`, { hint: 'use an alias, or A' });
    if (known.size > 1) {
      throw invalid(`${name} is a CNAME, and has other records too`, { hint: 'leave the one or the others out' });
    }
  }
}

/** Deletes a zone; false when there is none. */
export function deleteZone(draft: Draft, name: string): boolean {
  const id = ids.privateZone(parseName(name, 'private zone'));
  if (draft.get(id) === undefined) return false;
  draft.remove(id);
  return true;
}

/** Lets a VPC's resolver answer from the zone. */
export function associateZone(draft: Draft, name: string, vpc: string): PrivateZone {
  const zone = requireZone(draft, name);
  requireVpc(draft, vpc);
  return put(draft, { ...zone, vpcs: [...new Set([...zone.vpcs, vpc])].sort() });
}

/** false when it was not. */
export function disassociateZone(draft: Draft, name: string, vpc: string): boolean {
  const zone = requireZone(draft, name);
  if (!zone.vpcs.includes(vpc)) return false;
  put(draft, { ...zone, vpcs: zone.vpcs.filter((other) => other !== vpc) });
  return true;
}

/** A VPC that goes is associated with nothing any more. */
export function leaveZones(draft: Draft, vpc: string): void {
  for (const zone of zonesOf(draft, vpc)) disassociateZone(draft, zone.name, vpc);
}

/** Adds a record, or puts it in the place of the one of its name and type. */
export function putRecord(draft: Draft, name: string, spec: ZoneRecordSpec): PrivateZone {
  const zone = requireZone(draft, name);
  const record = parseRecord(draft, zone.domain, spec);
  const others = zone.records.filter((one) => one.name !== record.name || one.type !== record.type);
  return put(draft, { ...zone, records: [...others, record] });
}

/** false when there is none of that name and type. */
export function deleteRecord(draft: Draft, name: string, record: string, type: RecordType): boolean {
  const zone = requireZone(draft, name);
  const full = fullName(zone.domain, record);
  const records = zone.records.filter((one) => one.name !== full || one.type !== type);
  if (records.length === zone.records.length) return false;
  put(draft, { ...zone, records });
  return true;
}

/** `@` is the zone itself; what does not end in the zone's domain is below it. */
function fullName(domain: Domain, text: string): Domain {
  if (text === '@') return domain;
  const name = parseDomain(text, 'the name', { wildcard: true });
  if (isWithin(name, domain)) return name;
  return parseDomain(`${name}.${domain}`, 'the name', { wildcard: true });
}

function parseRecord(draft: Draft, domain: Domain, spec: ZoneRecordSpec): ZoneRecord {
  const name = fullName(domain, spec.name);
  const { type = 'A', ttl = DEFAULT_TTL } = spec;
  if (ttl > LONGEST_TTL) throw invalid(`a TTL of ${ttl} s is too long`, { hint: `at most ${LONGEST_TTL}` });
  if ((spec.alias === undefined) === (spec.values === undefined)) {
    throw invalid(`record ${name} is to have either values or an alias`, { hint: 'give one of them' });
  }
  if (spec.alias !== undefined) {
    if (type !== 'A' && type !== 'AAAA') {
      throw invalid(`record ${name} is an alias: its type is A or AAAA, not ${type}`, { hint: 'leave the type out' });
    }
    const { vpc, name: instance } = requireInstance(draft, spec.alias.vpc, spec.alias.instance);
    return { name, type, ttl: ALIAS_TTL, alias: { vpc, instance } };
  }
  const values = [...new Set((spec.values ?? []).map((value) => parseValue(type, name, value)))];
  if (values.length === 0) throw invalid(`record ${name} has no value`, { hint: 'give one, or leave the record out' });
  if (type === 'CNAME' && values.length > 1)
    throw invalid(`${name} is a CNAME of two names`, { hint: 'leave one out' });
  return { name, type, ttl, values };
}

/** Of what follows from the model (Route 53: of an alias to a resource of AWS). */
export const ALIAS_TTL = 60;

/** One value, as it is kept. INVALID when it is none of that type. */
function parseValue(type: RecordType, name: string, text: string): string {
  const wrong = (expected: string) =>
    invalid(`${quote(text)} is no value of the ${type} record ${name}: expected ${expected}`);
  switch (type) {
    case 'A':
      return parseIp(text);
    case 'AAAA':
      return parseIp6(text);
    case 'CNAME':
    case 'PTR':
      return parseDomain(text, 'the value');
    case 'TXT':
      if (Buffer.byteLength(text) > LONGEST_TEXT) throw wrong(`at most ${LONGEST_TEXT} bytes`);
      return text;
    case 'MX': {
      const found = /^(\d{1,5}) (\S+)$/.exec(text);
      if (found === null || Number(found[1]) > 65_535) throw wrong('a preference and a name, as 10 mail.example.com');
      return `${Number(found[1])} ${parseDomain(found[2] ?? '', 'the value')}`;
    }
    case 'SRV': {
      const found = /^(\d{1,5}) (\d{1,5}) (\d{1,5}) (\S+)$/.exec(text);
      if (found === null || found.slice(1, 4).some((part) => Number(part) > 65_535)) {
        throw wrong('priority, weight, port and a name, as 1 10 5269 xmpp.example.com');
      }
      return [...found.slice(1, 4).map(Number), parseDomain(found[4] ?? '', 'the value')].join(' ');
    }
  }
}

/** Route 53: a TXT record's value may have 4,000 characters. */
const LONGEST_TEXT = 4_000;

/** Inverse of the parsing, with the name as it is below the zone. */
export function formatRecord({ domain }: PrivateZone, record: ZoneRecord): ZoneRecordSpec {
  const name = record.name === domain ? '@' : record.name.slice(0, -domain.length - 1);
  const named = { name, ...(record.type === 'A' ? {} : { type: record.type }) };
  if ('alias' in record) return { ...named, alias: record.alias };
  return { ...named, ...(record.ttl === DEFAULT_TTL ? {} : { ttl: record.ttl }), values: record.values };
}

/** An alias of an instance that is gone stands for nothing, and could not be applied. */
export function formatZone(reader: Reader, zone: PrivateZone): PrivateZoneSpec {
  const { domain, vpcs, records } = zone;
  const kept = records.filter(
    (record) => !('alias' in record) || reader.get(ids.instance(record.alias.vpc, record.alias.instance)) !== undefined,
  );
  return {
    domain,
    ...(vpcs.length === 0 ? {} : { vpcs }),
    ...(kept.length === 0 ? {} : { records: kept.map((record) => formatRecord(zone, record)) }),
  };
}
