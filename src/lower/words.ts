/** What a row is to the resource it belongs to, in the model's words: {@link lower} read backwards, for people. */
import { assertNever } from '../errors.js';
import { networkAclsOf, otherVpc } from '../model/lookup.js';
import { getKind, type Reader } from '../model/reader.js';
import { describe, ids, type Profile, type Resource } from '../model/resources.js';
import { ANY_CIDR, ANY_CIDR6, type Family, type Ip, networkOf } from '../net/cidr.js';
import { icmpOf } from '../net/ports.js';
import {
  type KernelObject,
  NFT_TABLE,
  type NftElementRow,
  type NftValue,
  type QdiscRow,
  rowKey,
} from '../objects/kernel-object.js';
import { ACL_SETS, type AclSet, aclSet, BLOCK_SETS, type Gate, SETS } from './firewall.js';
import { blockValue, EDGE_NS, isShapeLink, routerNs, transitNs } from './names.js';
import { lowerProfile } from './profile.js';

/** `whose`: the resource; `what`: which part of it. */
export interface RowWords {
  readonly whose: string;
  readonly what: string;
}

/** The words for a row that `owner` lowered to. */
export function rowWords(reader: Reader, owner: Resource, row: KernelObject): RowWords {
  if (owner.kind === 'profile') return profileWords(reader, owner, row);
  return { whose: describe(owner), what: partWords(owner, row) };
}

function partWords(owner: Resource, row: KernelObject): string {
  switch (row.kind) {
    case 'netns':
      return owner.kind === 'vpc' ? `its router, the namespace ${row.ns},` : `its namespace ${row.ns}`;
    case 'link':
      return linkWords(owner, row.ns, row.name);
    case 'addr':
      return owner.kind === 'subnet'
        ? `its gateway's address ${row.addr}`
        : `its address ${row.addr}${placeOf(row.ns)}`;
    case 'route':
      return routeWords(owner, row.ns, row.dst);
    case 'rule':
      if (owner.kind === 'transit-attachment') return 'the rule that leads its packets to their route table';
      if (owner.kind === 'transit-gateway') return 'the rule that leads its own errors to whom they are for';
      return owner.kind === 'subnet'
        ? 'the rule that leads it to its route table'
        : `the rule that leads ${row.from} to it`;
    case 'neigh':
      return `the neighbour entry for ${row.ip}${placeOf(row.ns)}`;
    case 'qdisc':
      return queueWords(row);
    case 'sysctl':
      return `the setting ${row.key.replaceAll('/', '.')}${placeOf(row.ns)}`;
    case 'nft-element':
      return elementWords(owner, row);
    case 'nft-table':
    case 'nft-chain':
    case 'nft-set':
    case 'nft-rule':
      return firewallWords(row);
    default:
      return assertNever(row);
  }
}

/** ` on the host`, ` in the edge`, ` in the router of b`; nothing for a workload's own namespace. */
function placeOf(ns: string): string {
  if (ns === '') return ' on the host';
  if (ns === EDGE_NS) return ' in the edge';
  if (isTransit(ns)) return ` in ${namespaceWords(ns)}`;
  const [, vpc = '', instance] = ns.split('.');
  return instance === undefined ? ` in the router of ${vpc}` : '';
}

const isTransit = (ns: string): boolean => ns.startsWith(transitNs(''));

/** Whose a namespace of ours is: `edge`, `vpc a` (its router), `instance a/web-1`. The resource itself need not be there any more. */
export function namespaceWords(ns: string): string {
  if (ns === EDGE_NS) return 'edge';
  if (isTransit(ns)) return `transit gateway ${ns.slice(transitNs('').length)}`;
  const [, vpc = '', instance, nat] = ns.split('.');
  if (nat !== undefined) return `nat gateway ${vpc}/${nat}`;
  return instance === undefined ? `vpc ${vpc}` : `instance ${vpc}/${instance}`;
}

function linkWords(owner: Resource, ns: string, name: string): string {
  switch (owner.kind) {
    case 'instance':
    case 'nat-gateway':
      if (isShapeLink(name)) return 'the link that what it sends waits at';
      return ns === routerNs(owner.vpc) ? 'its port at the router' : 'its link';
    case 'peering':
    case 'transit-attachment':
      return `the link${placeOf(ns)}`;
    default:
      return `the link ${name}${placeOf(ns)}`;
  }
}

function queueWords({ hook, link }: QdiscRow): string {
  if (hook === 'ingress') return 'the way of what it sends to where that waits';
  return `the queue of what it ${isShapeLink(link) ? 'sends' : 'receives'}`;
}

function routeWords(owner: Resource, ns: string, dst: string): string {
  switch (owner.kind) {
    case 'peering': {
      const from = owner.vpcs.find((vpc) => ns === routerNs(vpc));
      return from === undefined ? `the route to ${dst}` : `route to peer ${otherVpc(owner, from)} (${dst})`;
    }
    case 'route-table':
      return `the route to ${dst === 'default' ? 'everywhere else' : dst === '::/0' ? 'everywhere else (IPv6)' : dst}`;
    case 'instance':
    case 'nat-gateway':
      if (ns === EDGE_NS) return `the route to its public address${placeOf(ns)}`;
      return ns === routerNs(owner.vpc) ? `the route to it${placeOf(ns)}` : 'its default route';
    case 'subnet':
      return `the route to it${placeOf(ns)}`;
    case 'vpc':
      return `the route that keeps ${dst} inside`;
    default:
      return `the route to ${dst === 'default' ? 'the internet' : dst}${placeOf(ns)}`;
  }
}

/** `the firewall's chain forward`. Rules are not told apart: they have no names. */
export function firewallWords(row: Extract<KernelObject, { kind: `nft-${string}` }>): string {
  const firewall = "the firewall's";
  switch (row.kind) {
    case 'nft-table':
      return row.table === NFT_TABLE ? `${firewall} table` : `nft table ${row.family} ${row.table}`;
    case 'nft-chain':
    case 'nft-rule':
      return `${firewall} chain ${row.chain}`;
    case 'nft-set':
      return `${firewall} set ${row.set}`;
    case 'nft-element':
      return `${firewall} set ${row.set}: element ${row.key.join(' . ')}`;
    default:
      return assertNever(row);
  }
}

function elementWords(owner: Resource, row: NftElementRow): string {
  const [first, second, third] = row.key;
  switch (row.set) {
    case SETS.profile:
    case SETS.profile6:
      return 'its membership of its security groups';
    case SETS.public:
      return 'the leave to use its public address';
    case SETS.publicIn:
    case SETS.publicOut:
      return 'the translation of its public address';
    case SETS.published:
    case SETS.publishedPort:
      return `the way from port ${second} of the host to it`;
    case SETS.through:
      return 'the leave to pass on what is not for it';
    case SETS.aclPort:
    case SETS.aclInside:
      return 'its place in a subnet with a network acl';
    case SETS.aclIngress:
    case SETS.aclEgress:
      return `its network acl for ${row.set === SETS.aclIngress ? 'ingress' : 'egress'}`;
    case SETS.services:
      return `the leave to ask ${first} at ${PROTOCOLS[String(second)] ?? second} port ${third}`;
    case SETS.peerFlow:
    case SETS.peerFlow6:
      return `the leave to pass between ${second} and ${third}${placeOf(row.ns)}`;
    case SETS.table6:
      return 'the look at its route table for IPv6 that comes in';
    case SETS.ways6:
    case SETS.answers6:
      return `the leave to pass to ${second}${row.set === SETS.ways6 ? '' : ', and answers from there'}`;
    case SETS.pool:
    case SETS.pool6:
      return `the leave of the ${row.set === SETS.pool ? 'public addresses' : 'IPv6 addresses'} ${first} to pass${placeOf(row.ns)}`;
    case SETS.host6:
      return `the leave of the host to pass${placeOf(row.ns)}`;
    case SETS.masquerade:
    case SETS.masquerade6:
      return `the masquerading of ${first}`;
    case SETS.uplink:
      return `the leave to use the uplink ${first}`;
    default:
      if (owner.kind === 'network-acl') return aclRule(row);
      return owner.kind === 'profile' ? gateRule(row, undefined) : firewallWords(row);
  }
}

// --- rules of groups and policies ------------------------------------------------------------------------------------

const PROTOCOLS: Readonly<Record<string, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6' };

function profileWords(reader: Reader, profile: Profile, row: KernelObject): RowWords {
  if (row.kind !== 'nft-element') return { whose: describe(profile), what: partWords(profile, row) };
  const what = gateRule(row, otherSide(reader, profile, row));
  if (profile.policySubnet !== undefined && hasPolicy(reader, profile, gateOf(row))) {
    return { whose: `policy of subnet ${profile.vpc}/${profile.policySubnet}`, what };
  }
  const groups = groupsBehind(reader, profile, row).map((group) => `${profile.vpc}/${group}`);
  return { whose: `security group${groups.length === 1 ? '' : 's'} ${groups.join(', ')}`, what };
}

function gateOf(row: NftElementRow): Gate {
  return row.set.startsWith('in') ? 'in' : 'out';
}

function hasPolicy(reader: Reader, { vpc, policySubnet }: Profile, gate: Gate): boolean {
  const subnet = getKind(reader, 'subnet', ids.subnet(vpc, policySubnet ?? ''));
  return (gate === 'in' ? subnet?.policy?.ingress : subnet?.policy?.egress) !== undefined;
}

/** The groups that alone would have the element too; all of them, where it comes from several together. */
function groupsBehind(reader: Reader, profile: Profile, row: NftElementRow): readonly string[] {
  const key = rowKey(row);
  const { policySubnet: _none, ...bare } = profile;
  const alone = profile.groups.filter((group) =>
    lowerProfile(reader, { ...bare, groups: [group] }).some((one) => rowKey(one) === key),
  );
  return alone.length === 0 ? profile.groups : alone;
}

/** The groups of the other side, for an element that names it by its mark. */
function otherSide(reader: Reader, { vpc }: Profile, row: NftElementRow): string | undefined {
  if (!/_group/.test(row.set)) return undefined;
  const other = getKind(reader, 'profile', ids.profile(vpc, Number(row.key[1])));
  return other === undefined ? undefined : `members of ${other.groups.join(' and ')}`;
}

/** `rule tcp/443 from 0.0.0.0/0`. */
function gateRule(row: NftElementRow, other: string | undefined): string {
  const family: Family = row.set.startsWith(`${gateOf(row)}6`) ? 6 : 4;
  const set = row.set.replace(/^(?:in|out)6?_/, '');
  const [, ...rest] = row.key;
  const party = set.startsWith('group') || set.startsWith('net') ? rest.shift() : undefined;
  const [protocol, ...port] = set.endsWith('_icmp') ? [icmpOf(family).number, ...rest] : rest;
  const length = BLOCK_SETS[family].find((one) => one.set === set)?.length;
  const block = length === undefined ? party : blockValue(networkOf(party as Ip, length));
  const whom = other ?? String(block ?? everywhere(family));
  return `rule ${[protocolWord(protocol), ...port].join('/')} ${gateOf(row) === 'in' ? 'from' : 'to'} ${whom}`;
}

const everywhere = (family: Family): string => (family === 4 ? ANY_CIDR : ANY_CIDR6);

const ACL_ELEMENTS: ReadonlySet<string> = new Set(
  (Object.keys(ACL_SETS[4]) as AclSet[]).flatMap((set) => [aclSet(4, set), aclSet(6, set)]),
);

/** `ingress rule that allows tcp/443 from 0.0.0.0/0`, of what is left of that when rules before it deny some. */
function aclRule({ set: named, key }: NftElementRow): string {
  const family: Family = named.startsWith('acl6_') ? 6 : 4;
  const set = named.replace('acl6_', 'acl_');
  const [mark, ...rest] = key;
  const party = ['acl_net', 'acl_net_port', 'acl_icmp'].includes(set) ? rest.shift() : undefined;
  const protocol = set === 'acl_icmp' ? icmpOf(family).number : rest.shift();
  const ingress = Number(mark) % 2 === 1;
  const match = [protocolWord(protocol), ...rest].join('/');
  return `${ingress ? 'ingress' : 'egress'} rule that allows ${match} ${ingress ? 'from' : 'to'} ${party ?? everywhere(family)}`;
}

function protocolWord(protocol: NftValue | undefined): string {
  if (protocol === undefined || protocol === '0-255') return 'any';
  return PROTOCOLS[String(protocol)] ?? `protocol ${protocol}`;
}

// --- what belongs to no resource -------------------------------------------------------------------------------------

/** The words for what is in a namespace of ours and belongs to no resource. */
export function foreignWords(reader: Reader, row: KernelObject): RowWords {
  const [, vpc = ''] = row.ns.split('.');
  if (row.kind === 'nft-element' && /^(?:in|out)6?_/.test(row.set)) {
    const profile = getKind(reader, 'profile', ids.profile(vpc, Number(row.key[0])));
    if (profile !== undefined) return profileWords(reader, profile, row);
  }
  if (row.kind === 'nft-element' && ACL_ELEMENTS.has(row.set)) {
    const number = Math.floor(Number(row.key[0]) / 2);
    const acl = networkAclsOf(reader, vpc).find((one) => one.number === number);
    if (acl !== undefined) return { whose: describe(acl), what: aclRule(row) };
  }
  return { whose: row.ns === '' ? 'host' : namespaceWords(row.ns), what: foreignPart(row) };
}

function foreignPart(row: KernelObject): string {
  const place = placeOf(row.ns);
  switch (row.kind) {
    case 'netns':
      return `namespace ${row.ns}`;
    case 'link':
      return `link ${row.name}${row.type === 'other' ? ` (${row.driver})` : ''}${place}`;
    case 'addr':
      return `address ${row.addr} of ${row.link}${place}`;
    case 'route':
      return `route to ${row.dst}${row.table === 254 ? '' : ` in table ${row.table}`}${place}`;
    case 'rule':
      return `routing rule ${row.priority} from ${row.from}${place}`;
    case 'neigh':
      return `neighbour entry for ${row.ip} on ${row.link}${place}`;
    case 'sysctl':
      return `the setting ${row.key.replaceAll('/', '.')}${place}`;
    case 'qdisc':
      return `queue ${row.type === 'other' ? row.driver : row.type} of ${row.link}${place}`;
    default:
      return row.kind === 'nft-rule' ? `a rule of ${firewallWords(row)}` : firewallWords(row);
  }
}
