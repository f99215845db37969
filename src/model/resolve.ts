/** What a VPC's resolver knows of a name: private zones that the VPC is associated with, its instances by name and by address, and nothing else. Pure. */
import { contains, type Ip } from '../net/cidr.js';
import { addressOfReverse, isWithin } from '../net/domain.js';
import { NAME_PATTERN } from '../net/name.js';
import { ALIAS_TTL, zonesOf } from './dns.js';
import { blocksOf } from './lookup.js';
import { getKind, type Reader } from './reader.js';
import { type Instance, ids, type PrivateZone, type RecordType, type Vpc, type ZoneRecord } from './resources.js';

/** One value of a record, as {@link ZoneRecord} has it. */
export interface Answer {
  readonly name: string;
  readonly type: RecordType;
  readonly ttl: number;
  readonly value: string;
}

/**
 * `known`: the answers, none where the name is there with other types only; `missing`: there is no such name; both of the zone that decides. `elsewhere`: whoever is
 * asked by the resolver knows, of this name; answers that lead to it come first.
 */
export type Resolution =
  | { readonly outcome: 'known' | 'missing'; readonly answers: readonly Answer[]; readonly zone: string }
  | { readonly outcome: 'elsewhere'; readonly answers: readonly Answer[]; readonly name: string };

/** A chain of CNAMEs that is longer goes round in a circle, or might as well. */
const MOST_ALIASES = 8;

type Found = readonly Answer[] | 'missing';

/** What to answer in a VPC that has a resolver. `type`: a type of record, or any other word. `name`: in lower case, no dot at its end, `\ddd` for what no name of ours has in it. */
export function resolveName(reader: Reader, vpc: Vpc, name: string, type: string): Resolution {
  const answers: Answer[] = [];
  let wanted = name;
  for (let count = 0; count < MOST_ALIASES; count += 1) {
    const home = homeOf(reader, vpc, wanted);
    if (home === undefined) return { outcome: 'elsewhere', answers, name: wanted };
    const found = home.find(wanted, type);
    // A name that an alias leads to and that is not there is no failure of the name that was asked for (RFC 6604).
    if (found === 'missing') return { outcome: 'missing', answers, zone: home.zone };
    answers.push(...found);
    const [alias] = found;
    if (alias?.type !== 'CNAME' || type === 'CNAME') return { outcome: 'known', answers, zone: home.zone };
    wanted = alias.value;
  }
  return { outcome: 'known', answers, zone: wanted };
}

interface Home {
  readonly zone: string;
  find(name: string, type: string): Found;
}

/** Who decides over a name: the longest domain that it is in; a private zone before the VPC's own names. */
function homeOf(reader: Reader, vpc: Vpc, name: string): Home | undefined {
  const zone = zonesOf(reader, vpc.name)
    .filter(({ domain }) => isWithin(name, domain))
    .sort((a, b) => b.domain.length - a.domain.length)[0];
  const own = vpc.dns?.domain;
  if (own !== undefined && isWithin(name, own) && (zone === undefined || zone.domain.length < own.length)) {
    return { zone: own, find: (asked, type) => findOwn(reader, vpc, own, asked, type) };
  }
  if (zone !== undefined) return { zone: zone.domain, find: (asked, type) => findInZone(reader, zone, asked, type) };
  const address = addressOfReverse(name);
  if (address === undefined || !blocksOf(vpc).some((block) => contains(block, address))) return undefined;
  return { zone: name, find: (asked, type) => findReverse(reader, vpc, asked, address, type) };
}

const ADDRESS_TYPES: readonly RecordType[] = ['A', 'AAAA'];

/** The VPC's own names: NAME.DOMAIN for each instance. */
function findOwn(reader: Reader, vpc: Vpc, domain: string, name: string, type: string): Found {
  if (name === domain) return [];
  const label = name.slice(0, -domain.length - 1);
  const instance = NAME_PATTERN.test(label) ? getKind(reader, 'instance', ids.instance(vpc.name, label)) : undefined;
  if (instance === undefined) return 'missing';
  const types = ADDRESS_TYPES.filter((one) => type === 'ANY' || type === one);
  return types.flatMap((one) =>
    addressesOf(instance, one).map((value) => ({ name, type: one, ttl: ALIAS_TTL, value })),
  );
}

/** Of an instance without IPv6, there is none of that. */
function addressesOf({ ip, ipv6 }: Instance, type: RecordType): readonly string[] {
  if (type === 'AAAA') return ipv6 === undefined ? [] : [ipv6];
  return [ip];
}

function findReverse(reader: Reader, vpc: Vpc, name: string, address: Ip, type: string): Found {
  const [holder] = reader.find(`ip:${vpc.name}/${address}`);
  if (holder?.kind !== 'instance' || vpc.dns === undefined) return 'missing';
  const value = `${holder.name}.${vpc.dns.domain}`;
  return type === 'PTR' || type === 'ANY' ? [{ name, type: 'PTR', ttl: ALIAS_TTL, value }] : [];
}

/** Of a zone: its names, and those above them. */
interface Index {
  readonly records: ReadonlyMap<string, readonly ZoneRecord[]>;
  readonly between: ReadonlySet<string>;
}

const indices = new WeakMap<PrivateZone, Index>();

function indexOf(zone: PrivateZone): Index {
  const known = indices.get(zone);
  if (known !== undefined) return known;
  const records = new Map<string, ZoneRecord[]>();
  const between = new Set<string>([zone.domain]);
  for (const record of zone.records) {
    const same = records.get(record.name);
    if (same === undefined) records.set(record.name, [record]);
    else same.push(record);
    for (let name = above(record.name); name.length > zone.domain.length; name = above(name)) between.add(name);
  }
  const index = { records, between };
  indices.set(zone, index);
  return index;
}

function above(name: string): string {
  const dot = name.indexOf('.');
  return dot === -1 ? '' : name.slice(dot + 1);
}

function findInZone(reader: Reader, zone: PrivateZone, name: string, type: string): Found {
  const { records, between } = indexOf(zone);
  const found = records.get(name) ?? (between.has(name) ? [] : wildcard(zone, records, between, name));
  if (found === undefined) return 'missing';
  const fitting = found.filter((one) => type === 'ANY' || one.type === type || one.type === 'CNAME');
  return fitting.flatMap((record) => valuesOf(reader, record).map((value) => ({ ...common(record), name, value })));
}

/** The `*` below the closest name that is there (RFC 4592). */
function wildcard(
  zone: PrivateZone,
  records: Index['records'],
  between: Index['between'],
  name: string,
): readonly ZoneRecord[] | undefined {
  // What cannot be written as a name of ours is none.
  if (name.includes('\\')) return undefined;
  for (let closest = above(name); closest.length >= zone.domain.length; closest = above(closest)) {
    const star = records.get(`*.${closest}`);
    if (star !== undefined) return star;
    if (records.has(closest) || between.has(closest)) return undefined;
  }
  return undefined;
}

function common({ type, ttl }: ZoneRecord): { readonly type: RecordType; readonly ttl: number } {
  return { type, ttl };
}

function valuesOf(reader: Reader, record: ZoneRecord): readonly string[] {
  if (!('alias' in record)) return record.values;
  const { vpc, instance } = record.alias;
  const target = getKind(reader, 'instance', ids.instance(vpc, instance));
  return target === undefined ? [] : addressesOf(target, record.type);
}
