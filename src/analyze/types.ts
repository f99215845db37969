/**
 * What is asked of the model (may this packet get there, and its answer back?) and what is answered: every component on the way, in order, with
 * what it decided and by which rule.
 */

/**
 * One question. Ends are written as
 *
 * | | |
 * |---|---|
 * | `VPC/INSTANCE` | an instance, by its private address; from the internet: by its public one |
 * | `VPC/INSTANCE@public` | an instance by its public address; only as destination |
 * | `VPC/INSTANCE@ipv6` | an instance by its IPv6 address; only as destination: the source's is then that too |
 * | `internet`, `internet:ADDRESS` | an address outside: one that no rule singles out, or that one |
 * | `internet@ipv6` | an IPv6 address outside that no rule singles out |
 * | `host` | the machine vpcctl runs on; `host@ipv6`: by its IPv6 address |
 * | `ADDRESS` | whoever has this address, of either family, as the source sees it; only as destination |
 */
export interface Query {
  readonly source: string;
  readonly destination: string;
  /** By name, or its number as a number or in digits. Default: tcp with a port, else icmp (an echo request). Between IPv6 addresses, icmp is icmpv6. */
  readonly protocol?: string | number;
  /** Of the destination. Needed with tcp and udp, refused with others. */
  readonly port?: number;
}

/** One end, found in the model. `address` is what its packets come from, or go to before anything translates them. */
export type Endpoint =
  | {
      readonly kind: 'instance';
      readonly vpc: string;
      readonly name: string;
      readonly subnet: string;
      readonly ip: string;
      readonly ipv6: string | null;
      readonly publicIp: string | null;
      /** Which of its addresses is meant. */
      readonly by: 'private' | 'public' | 'ipv6';
      readonly address: string;
    }
  /** The router of a VPC, by the gateway address of a subnet. */
  | { readonly kind: 'router'; readonly vpc: string; readonly subnet: string; readonly address: string }
  /** The resolver of a VPC. */
  | { readonly kind: 'resolver'; readonly vpc: string; readonly address: string }
  | { readonly kind: 'host'; readonly address: string }
  /** `any`: no address was named; this one stands for all that no rule singles out. */
  | { readonly kind: 'internet'; readonly any: boolean; readonly address: string }
  /** An address that somebody would have to have and nobody has: of the VPC's blocks, or of the public pool (`vpc` null). */
  | { readonly kind: 'nobody'; readonly vpc: string | null; readonly address: string };

/** The question with everything found and filled in. */
export interface ResolvedQuery {
  readonly source: Endpoint;
  readonly destination: Endpoint;
  readonly protocol: { readonly name: string; readonly number: number };
  /** null: the protocol has none. */
  readonly port: number | null;
  /**
   * Ports of the source: those that Linux gives to a connection that asks for none (net.ipv4.ip_local_port_range). Any of them may be the one, so the
   * answer gets there only if all of them do. null: the protocol has none.
   */
  readonly sourcePorts: { readonly from: number; readonly to: number } | null;
}

export type ComponentKind =
  /** An end: where the packet begins or arrives. */
  | 'instance'
  | 'internet'
  | 'host'
  /** The VPC's router as a destination of its own. */
  | 'router'
  /** A route table: which way a packet for this address goes. */
  | 'route-table'
  | 'security-groups'
  /** A subnet's policy, in the place of the groups. */
  | 'policy'
  /** At the border of a subnet that is associated with one: every packet by itself, answers too. */
  | 'network-acl'
  | 'peering'
  | 'nat-gateway'
  | 'transit-gateway'
  | 'internet-gateway'
  | 'egress-only-internet-gateway'
  /** Between the internet gateways, the host and the outside. */
  | 'border';

/** Something that decides over packets. */
export interface Component {
  readonly kind: ComponentKind;
  /** Id of the resource it is made of, also where that is not there (`igw/a` of a VPC without public subnets). null: of none. */
  readonly id: string | null;
  /** In a person's words: `policy of subnet a/web`. */
  readonly name: string;
  /** null: of no single VPC. */
  readonly vpc: string | null;
}

export interface Translation {
  readonly field: 'source' | 'destination';
  readonly from: string;
  /** An address; or in words, where the model does not know it: then the packet is told with the address it had. */
  readonly to: string;
}

/** A component that the packet comes to. */
export interface Hop {
  readonly component: Component;
  readonly decision: 'passes' | 'refuses' | 'translates';
  /** What said so: `group a/web, ingress rule 2: tcp 80 from 10.0.0.0/8`. */
  readonly rule: string;
  /** Only of `translates`. */
  readonly translation?: Translation;
  /** The packet as it comes here. */
  readonly packet: { readonly source: string; readonly destination: string };
  /** Something before has refused the packet: this is what would become of it otherwise. */
  readonly assumed?: true;
}

/** A component that stands in the way. */
export interface Refusal {
  readonly direction: 'forward' | 'return';
  readonly component: Component;
  readonly rule: string;
  /** What would let the packet pass, where that is plain: an imperative without a full stop. */
  readonly hint?: string;
}

/** The answer. `reachable` exactly when `refusals` is empty. */
export interface Analysis {
  readonly reachable: boolean;
  readonly query: ResolvedQuery;
  /** The way of a new connection's first packet; goes on behind a refusal as if there were none, as far as that makes sense. */
  readonly forward: readonly Hop[];
  /** The way of the answer to it. Empty where `forward` leads nowhere: there is no answer. */
  readonly return: readonly Hop[];
  /** Every component that refuses, in the order of the way. */
  readonly refusals: readonly Refusal[];
}

/** Who reaches whom. */
export interface MatrixQuery {
  /** Only instances of these VPCs. Default: of all. */
  readonly vpcs?: readonly string[];
  readonly protocol?: string | number;
  readonly port?: number;
  /** By IPv6 addresses: who has none reaches nobody. Default false. */
  readonly ipv6?: boolean;
}

/**
 * `yes`: by the address that {@link Query} takes for granted (from the internet the public one, else the private one). `public`: not by that,
 * but by its public address. null: the two are the same, or neither is an instance.
 */
export type Cell = 'yes' | 'public' | 'no' | null;

export interface Matrix {
  readonly protocol: { readonly name: string; readonly number: number };
  readonly port: number | null;
  /** Rows and columns: `a/web-1` of every instance, in order; then `internet` and `host`. */
  readonly ends: readonly string[];
  /** By row (source), then column (destination). */
  readonly cells: readonly (readonly Cell[])[];
}
