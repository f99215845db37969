/** The model as analyses ask it: everything is read once and kept, addresses compare as numbers. */
import { findKind, getKind, type Reader } from '../model/reader.js';
import {
  EDGE_ID,
  type Edge,
  type GroupRule,
  type Installation,
  type Instance,
  ids,
  type Peering,
  type SecurityGroup,
  type Subnet,
  type Vpc,
} from '../model/resources.js';
import { type PolicyRule, parsePolicyRule } from '../model/rules.js';
import { installationOf, otherVpc, peeredCidrs, peeringsOf, subnetsOf } from '../model/verbs.js';
import { type Cidr, type Ipv4, rangeOf, toNumber } from '../net/cidr.js';

export type Direction = 'ingress' | 'egress';

/** A block, to be compared with. */
export interface Block {
  readonly cidr: Cidr;
  readonly first: number;
  readonly last: number;
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

export class Lookup {
  readonly reader: Reader;
  readonly installation: Installation;
  readonly edge: Edge | undefined;
  readonly pool: Block;
  readonly #kept = new Map<string, unknown>();
  readonly #numbers = new Map<string, number>();

  constructor(reader: Reader) {
    this.reader = reader;
    this.installation = installationOf(reader);
    this.edge = getKind(reader, 'edge', EDGE_ID);
    this.pool = blockOf(this.installation.publicPool);
  }

  /** What `make` gives, made once for each key. */
  kept<T>(key: string, make: () => T): T {
    if (this.#kept.has(key)) return this.#kept.get(key) as T;
    const made = make();
    this.#kept.set(key, made);
    return made;
  }

  isIn(address: Ipv4, { first, last }: Block): boolean {
    let value = this.#numbers.get(address);
    if (value === undefined) {
      value = toNumber(address);
      this.#numbers.set(address, value);
    }
    return value >= first && value <= last;
  }

  isInAny(address: Ipv4, blocks: readonly Block[]): boolean {
    return blocks.some((block) => this.isIn(address, block));
  }

  /** undefined: there is no such VPC. */
  network(name: string): Network | undefined {
    return this.kept(`network ${name}`, () => {
      const vpc = getKind(this.reader, 'vpc', ids.vpc(name));
      if (vpc === undefined) return undefined;
      const peers = peeringsOf(this.reader, name).flatMap((peering): Peer[] => {
        const other = getKind(this.reader, 'vpc', ids.vpc(otherVpc(peering, name)));
        if (other === undefined) return [];
        const [theirs, ours] = [other, vpc].map((side) => peeredCidrs(peering, side).map(blockOf)) as [
          Block[],
          Block[],
        ];
        return [{ peering, vpc: other.name, theirs, ours }];
      });
      return { vpc, blocks: vpc.cidrs.map(blockOf), peers };
    });
  }

  vpcs(): readonly Vpc[] {
    return this.kept('vpcs', () => findKind(this.reader, 'vpc', 'kind:vpc'));
  }

  subnet(vpc: string, name: string): Subnet | undefined {
    return this.kept(`subnet ${vpc}/${name}`, () => getKind(this.reader, 'subnet', ids.subnet(vpc, name)));
  }

  group(vpc: string, name: string): SecurityGroup | undefined {
    return this.kept(`group ${vpc}/${name}`, () => getKind(this.reader, 'group', ids.group(vpc, name)));
  }

  /** The ordered rules of a subnet in one direction; undefined: it has none, the groups decide. */
  policy(subnet: Subnet, direction: Direction): readonly PolicyRule[] | undefined {
    return this.kept(`policy ${direction} ${subnet.vpc}/${subnet.name}`, () =>
      subnet.policy?.[direction]?.map(parsePolicyRule),
    );
  }

  instanceAt(vpc: string, address: Ipv4): Instance | undefined {
    return this.kept(`at ${vpc}/${address}`, () => {
      const [found] = this.reader.find(`ip:${vpc}/${address}`);
      return found?.kind === 'instance' ? found : undefined;
    });
  }

  instanceAtPublic(address: Ipv4): Instance | undefined {
    return this.kept(`public ${address}`, () => {
      const [found] = this.reader.find(`public-ip:${address}`);
      return found?.kind === 'instance' ? found : undefined;
    });
  }

  /** The subnet whose gateway has the address. */
  gatewayAt(vpc: string, address: Ipv4): Subnet | undefined {
    const gateways = this.kept(
      `gateways ${vpc}`,
      () => new Map(subnetsOf(this.reader, vpc).map((subnet) => [subnet.gateway, subnet])),
    );
    return gateways.get(address);
  }

  /** The public subnet that the host's route for the address leads to. */
  hostRouted(address: Ipv4): Subnet | undefined {
    const routed = this.kept('hostroute', () =>
      findKind(this.reader, 'subnet', 'hostroute').map((subnet) => ({ subnet, block: blockOf(subnet.cidr) })),
    );
    return routed.find(({ block }) => this.isIn(address, block))?.subnet;
  }

  /** Every rule of the group in one direction that speaks of this protocol and port, with its place in the list. */
  rulesOf(group: SecurityGroup, direction: Direction, protocol: number, port: number | null): readonly Numbered[] {
    return this.kept(`rules ${direction} ${protocol} ${port} ${group.vpc}/${group.name}`, () =>
      group[direction].flatMap((rule, at) => (speaksOf(rule, protocol, port) ? [{ rule, number: at + 1 }] : [])),
    );
  }
}

export interface Numbered {
  readonly rule: GroupRule;
  /** From 1. */
  readonly number: number;
}

export function blockOf(cidr: Cidr): Block {
  return { cidr, ...rangeOf(cidr) };
}

/** Whether a rule's protocol and ports cover these. */
export function speaksOf(rule: Pick<GroupRule, 'protocol' | 'ports'>, protocol: number, port: number | null): boolean {
  if (rule.protocol !== undefined && rule.protocol !== protocol) return false;
  return rule.ports === undefined || (port !== null && port >= rule.ports.from && port <= rule.ports.to);
}
