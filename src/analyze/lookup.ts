/** The model as analyses ask it: everything is read once and kept, addresses compare as numbers. */

import { gateway6Of, hostAddress6 } from '../model/ipv6.js';
import { blocksOf, installationOf, ipv6PoolOf, otherVpc, peeredCidrs, peeringsOf, subnetsOf } from '../model/lookup.js';
import { findKind, getKind, type Reader } from '../model/reader.js';
import {
  type Destination,
  EDGE_ID,
  type Edge,
  type GroupRule,
  type Installation,
  type Instance,
  ids,
  listOf,
  type NatGateway,
  type NetworkAcl,
  type Party,
  type Peering,
  RESOLVER_ADDRESS,
  type Resource,
  type RouteTarget,
  resolverOf,
  type SecurityGroup,
  type Subnet,
  type TransitAttachment,
  type TransitTarget,
  tableOf,
  type Vpc,
} from '../model/resources.js';
import { type PolicyRule, parsePolicyRule } from '../model/rules.js';
import { type AnyCidr, type Ip, numberOf, prefixLength, rangeOf } from '../net/cidr.js';

import { echoOf, isMessage } from './match.js';

export type Direction = 'ingress' | 'egress';

/** A block, to be compared with. Of IPv6, numbers are bigints. */
export interface Block {
  readonly cidr: AnyCidr;
  readonly first: number | bigint;
  readonly last: number | bigint;
}

/** A route, or one that follows from a peering. */
export interface Way {
  readonly block: Block;
  readonly target: RouteTarget;
  /** The prefix list that the block is of. */
  readonly list?: string;
}

/** A route of a transit gateway. */
export interface TransitWay {
  readonly block: Block;
  readonly target: TransitTarget;
  readonly list?: string;
}

export interface Peer {
  readonly peering: Peering;
  readonly vpc: string;
  /** The peer's blocks that take part. */
  readonly theirs: readonly Block[];
  readonly ours: readonly Block[];
}

/** The VPC with what hangs on it. */
export interface Network {
  readonly vpc: Vpc;
  readonly blocks: readonly Block[];
  readonly peers: readonly Peer[];
}

/** A group's rule, with what is worked out of it once. */
export interface Compiled {
  readonly rule: GroupRule;
  /** Its place in the group's list, from 1. */
  readonly number: number;
  /** Of a rule that names one, or a prefix list. */
  readonly blocks: readonly Block[];
}

/** What is made once for each key. */
class Memo<K, V> {
  readonly #made = new Map<K, V>();

  get(key: K, make: (key: K) => V): V {
    const known = this.#made.get(key);
    if (known !== undefined || this.#made.has(key)) return known as V;
    const made = make(key);
    this.#made.set(key, made);
    return made;
  }
}

/** The same for keys of two parts. */
class Memo2<K, L, V> {
  readonly #memos = new Memo<K, Memo<L, V>>();

  get(key: K, further: L, make: () => V): V {
    return this.#memos.get(key, () => new Memo<L, V>()).get(further, make);
  }
}

function holder([found]: readonly Resource[]): Instance | NatGateway | undefined {
  return found?.kind === 'instance' || found?.kind === 'nat-gateway' ? found : undefined;
}

export class Lookup {
  readonly reader: Reader;
  readonly installation: Installation;
  readonly edge: Edge | undefined;
  readonly pool: Block;
  readonly pool6: Block;
  readonly #numbers = new Memo<Ip, number | bigint>();
  readonly #blocks = new Memo<AnyCidr, Block>();
  readonly #networks = new Memo<string, Network | undefined>();
  readonly #subnets = new Memo2<string, string, Subnet | undefined>();
  readonly #groups = new Memo2<string, string, SecurityGroup | undefined>();
  readonly #acls = new Memo2<string, string, NetworkAcl | undefined>();
  readonly #policies = new Memo2<Subnet, Direction, readonly PolicyRule[] | undefined>();
  readonly #rules = new Memo2<SecurityGroup, Direction, readonly Compiled[]>();
  readonly #spoken = new Memo2<readonly Compiled[], string, readonly Compiled[]>();
  readonly #byIp = new Memo2<string, Ip, Instance | NatGateway | undefined>();
  readonly #byPublicIp = new Memo<Ip, Instance | NatGateway | undefined>();
  readonly #lists = new Memo<string, readonly Block[]>();
  readonly #transitWays = new Memo2<string, string, readonly TransitWay[]>();
  readonly #ways = new Memo2<string, string, readonly Way[]>();
  readonly #gateways = new Memo<string, ReadonlyMap<Ip, Subnet>>();
  #vpcs: readonly Vpc[] | undefined;
  #hostRouted: readonly { readonly subnet: Subnet; readonly block: Block }[] | undefined;

  constructor(reader: Reader) {
    this.reader = reader;
    this.installation = installationOf(reader);
    this.edge = getKind(reader, 'edge', EDGE_ID);
    this.pool = this.block(this.installation.publicPool);
    this.pool6 = this.block(ipv6PoolOf(reader));
  }

  /** The host as rules see it in IPv6. */
  get hostAddress6(): Ip {
    return hostAddress6(this.reader);
  }

  block(cidr: AnyCidr): Block {
    return this.#blocks.get(cidr, () => ({ cidr, ...rangeOf(cidr) }));
  }

  isIn(address: Ip, { first, last }: Block): boolean {
    const value = this.#numbers.get(address, (ip) => numberOf(ip));
    return typeof value === typeof first && value >= first && value <= last;
  }

  isInAny(address: Ip, blocks: readonly Block[]): boolean {
    return blocks.some((block) => this.isIn(address, block));
  }

  /** undefined: there is no such VPC. */
  network(name: string): Network | undefined {
    return this.#networks.get(name, () => {
      const vpc = getKind(this.reader, 'vpc', ids.vpc(name));
      if (vpc === undefined) return undefined;
      const blocks = (cidrs: readonly AnyCidr[]): Block[] => cidrs.map((cidr) => this.block(cidr));
      const peers = peeringsOf(this.reader, name).flatMap((peering): Peer[] => {
        const other = getKind(this.reader, 'vpc', ids.vpc(otherVpc(peering, name)));
        if (other === undefined) return [];
        const [theirs, ours] = [blocks(peeredCidrs(peering, other)), blocks(peeredCidrs(peering, vpc))];
        return [{ peering, vpc: other.name, theirs, ours }];
      });
      return { vpc, blocks: blocks(blocksOf(vpc)), peers };
    });
  }

  vpcs(): readonly Vpc[] {
    this.#vpcs ??= findKind(this.reader, 'vpc', 'kind:vpc');
    return this.#vpcs;
  }

  subnet(vpc: string, name: string): Subnet | undefined {
    return this.#subnets.get(vpc, name, () => getKind(this.reader, 'subnet', ids.subnet(vpc, name)));
  }

  /** The network ACL at a subnet's border; undefined: everything may pass. */
  aclOf(vpc: string, subnet: string): NetworkAcl | undefined {
    const name = this.subnet(vpc, subnet)?.networkAcl;
    if (name === undefined) return undefined;
    return this.#acls.get(vpc, name, () => getKind(this.reader, 'network-acl', ids.networkAcl(vpc, name)));
  }

  group(vpc: string, name: string): SecurityGroup | undefined {
    return this.#groups.get(vpc, name, () => getKind(this.reader, 'group', ids.group(vpc, name)));
  }

  /** The ordered rules of a subnet in one direction; undefined: it has none, the groups decide. */
  policy(subnet: Subnet, direction: Direction): readonly PolicyRule[] | undefined {
    return this.#policies.get(subnet, direction, () => subnet.policy?.[direction]?.map(parsePolicyRule));
  }

  /** What has the address in the VPC. */
  holderAt(vpc: string, address: Ip): Instance | NatGateway | undefined {
    return this.#byIp.get(vpc, address, () => holder(this.reader.find(`ip:${vpc}/${address}`)));
  }

  instanceAt(vpc: string, address: Ip): Instance | undefined {
    const found = this.holderAt(vpc, address);
    return found?.kind === 'instance' ? found : undefined;
  }

  /** What has the public address, as its own or by an elastic one. */
  holderAtPublic(address: Ip): Instance | NatGateway | undefined {
    return this.#byPublicIp.get(address, () => {
      const found = this.reader.find(`public-ip:${address}`);
      const [first] = found;
      return first?.kind === 'elastic-ip' ? holder(this.reader.find(`elastic:${first.name}`)) : holder(found);
    });
  }

  instanceAtPublic(address: Ip): Instance | undefined {
    const found = this.holderAtPublic(address);
    return found?.kind === 'instance' ? found : undefined;
  }

  natGateway(vpc: string, name: string): NatGateway | undefined {
    return getKind(this.reader, 'nat-gateway', ids.natGateway(vpc, name));
  }

  /** Whether an address is of a member of a peer's group. */
  peerMember(vpc: string, peer: string, group: string, address: Ip): boolean {
    const peered = this.network(vpc)?.peers.some((one) => one.vpc === peer) === true;
    return peered && this.instanceAt(peer, address)?.groups.includes(group) === true;
  }

  /** The blocks of a prefix list. */
  prefixList(name: string): readonly Block[] {
    return this.#lists.get(name, () => {
      const entries = getKind(this.reader, 'prefix-list', ids.prefixList(name))?.entries ?? [];
      return entries.map(({ cidr }) => this.block(cidr));
    });
  }

  /** Routes by block, those that name it before those of prefix lists; of several to one block, the first counts. */
  #byBlock<T>(
    routes: readonly { readonly destination: Destination; readonly target: T }[],
  ): { readonly block: Block; readonly target: T; readonly list?: string }[] {
    const own = routes.flatMap(({ destination, target }) =>
      listOf(destination) === undefined ? [{ block: this.block(destination as AnyCidr), target }] : [],
    );
    const listed = routes.flatMap(({ destination, target }) => {
      const list = listOf(destination);
      return list === undefined ? [] : this.prefixList(list).map((block) => ({ block, target, list }));
    });
    return [...own, ...listed];
  }

  /** How a VPC is attached to a transit gateway. */
  attachment(gateway: string, vpc: string): TransitAttachment | undefined {
    return getKind(this.reader, 'transit-attachment', ids.transitAttachment(gateway, vpc));
  }

  /** The routes of a transit gateway's table, static and propagated; the longest prefix first. */
  transitWays(gateway: string, table: string): readonly TransitWay[] {
    return this.#transitWays.get(gateway, table, () => {
      const found = getKind(this.reader, 'transit-route-table', ids.transitRouteTable(gateway, table));
      const ways: TransitWay[] = this.#byBlock(found?.routes ?? []);
      for (const { vpc, propagateTo } of findKind(this.reader, 'transit-attachment', `attachments:${gateway}`)) {
        if (!propagateTo.includes(table)) continue;
        for (const block of this.network(vpc)?.blocks ?? []) {
          if (!ways.some((way) => way.block.cidr === block.cidr)) ways.push({ block, target: { type: 'vpc', vpc } });
        }
      }
      return ways.sort((a, b) => prefixLength(b.block.cidr) - prefixLength(a.block.cidr));
    });
  }

  /** The routes of a route table, and those to the blocks of peers that every table leads to; the longest prefix first. */
  ways(vpc: string, table: string): readonly Way[] {
    return this.#ways.get(vpc, table, () => {
      const found = getKind(this.reader, 'route-table', ids.routeTable(vpc, table));
      const listed: readonly Way[] = this.#byBlock(found?.routes ?? []);
      const peers = (this.network(vpc)?.peers ?? [])
        .filter(({ peering }) => peering.manualRoutes !== true)
        .flatMap(({ vpc: peer, theirs }) =>
          theirs.map((block): Way => ({ block, target: { type: 'peering', peering: peer } })),
        )
        .filter(({ block }) => !listed.some((way) => way.block.cidr === block.cidr));
      return [...listed, ...peers].sort((a, b) => prefixLength(b.block.cidr) - prefixLength(a.block.cidr));
    });
  }

  /** Whether an address is one of those of the VPC's resolver. */
  isResolver(vpc: string, address: Ip): boolean {
    const found = this.network(vpc)?.vpc;
    return found?.dns !== undefined && (address === RESOLVER_ADDRESS || address === resolverOf(found));
  }

  /** Where packets from a subnet to an address are led; undefined: nowhere, or within the VPC. */
  wayFrom(vpc: string, subnet: string, address: Ip): Way | undefined {
    const home = this.subnet(vpc, subnet);
    if (home === undefined || this.isInAny(address, this.network(vpc)?.blocks ?? [])) return undefined;
    return this.ways(vpc, tableOf(home)).find(({ block }) => this.isIn(address, block));
  }

  /** The subnet whose gateway has the address. */
  gatewayAt(vpc: string, address: Ip): Subnet | undefined {
    return this.#gateways
      .get(vpc, () => {
        const subnets = subnetsOf(this.reader, vpc);
        const both = subnets.flatMap((subnet) =>
          [subnet.gateway, gateway6Of(subnet) ?? []].flat().map((address): [Ip, Subnet] => [address, subnet]),
        );
        return new Map(both);
      })
      .get(address);
  }

  /** Whose IPv6 block the address is of, wherever it is. */
  vpcOf6(address: Ip): string | undefined {
    const all = this.vpcs();
    return all.find(({ ipv6Cidr }) => ipv6Cidr !== undefined && this.isIn(address, this.block(ipv6Cidr)))?.name;
  }

  /** The public subnet that the host's route for the address leads to. */
  hostRouted(address: Ip): Subnet | undefined {
    this.#hostRouted ??= findKind(this.reader, 'subnet', 'hostroute').map((subnet) => ({
      subnet,
      block: this.block(subnet.cidr),
    }));
    return this.#hostRouted.find(({ block }) => this.isIn(address, block))?.subnet;
  }

  #blocksNamed(party: Party): readonly Block[] {
    if (party.type === 'prefix-list') return this.prefixList(party.prefixList);
    return party.type === 'cidr' ? [this.block(party.cidr)] : [];
  }

  /** The rules of a group in one direction that speak of this protocol and port. */
  rulesOf(group: SecurityGroup, direction: Direction, protocol: number, port: number | null): readonly Compiled[] {
    const all = this.#rules.get(group, direction, () =>
      group[direction].map((rule, at) => ({
        rule,
        number: at + 1,
        blocks: this.#blocksNamed(rule.party),
      })),
    );
    return this.#spoken.get(all, `${protocol} ${port}`, () => all.filter(({ rule }) => speaksOf(rule, protocol, port)));
  }
}

/** Whether a rule's protocol and ports cover these; of ICMP, an echo request. */
export function speaksOf(
  rule: Pick<GroupRule, 'protocol' | 'ports' | 'icmp'>,
  protocol: number,
  port: number | null,
): boolean {
  if (rule.protocol !== undefined && rule.protocol !== protocol) return false;
  if (rule.icmp !== undefined && !isMessage(rule.icmp, echoOf(protocol).request)) return false;
  return rule.ports === undefined || (port !== null && port >= rule.ports.from && port <= rule.ports.to);
}
