/** What the verbs look up, and how they refuse. */
import { VpcctlError } from '../errors.js';
import { type AnyCidr, aggregate, type Cidr, type Cidr6, intersect } from '../net/cidr.js';
import { parseName } from '../net/name.js';
import { findKind, getKind, type Reader } from './reader.js';
import {
  INSTALLATION_ID,
  type Installation,
  type Instance,
  ids,
  type NetworkAcl,
  type Peering,
  type RouteTable,
  type Subnet,
  type Vpc,
} from './resources.js';

/** Public addresses of an installation that says nothing: TEST-NET-2, RFC 5737. */
export const DEFAULT_POOL = '198.51.100.0/24' as Cidr;

/** IPv6 blocks of an installation that says nothing: of the unique local ones, RFC 4193. */
export const DEFAULT_POOL6 = 'fd76:7063:6300::/40' as Cidr6;

/** Where IPv6 blocks of VPCs are taken from. */
export function ipv6PoolOf(reader: Reader): Cidr6 {
  return installationOf(reader).ipv6Pool ?? DEFAULT_POOL6;
}

/** All blocks of a VPC, of both families. */
export function blocksOf({ cidrs, ipv6Cidr }: Pick<Vpc, 'cidrs' | 'ipv6Cidr'>): AnyCidr[] {
  return [...cidrs, ...(ipv6Cidr === undefined ? [] : [ipv6Cidr])];
}

export function conflict(message: string, hint?: string): VpcctlError {
  return new VpcctlError('CONFLICT', message, hint === undefined ? {} : { hint });
}

export function notFound(what: string, known: readonly string[]): VpcctlError {
  const hint = known.length === 0 ? 'there are none yet' : `there are: ${known.slice(0, 8).join(', ')}`;
  return new VpcctlError('NOT_FOUND', `${what} does not exist`, { hint });
}

export function installationOf(reader: Reader): Installation {
  return (
    getKind(reader, 'installation', INSTALLATION_ID) ?? {
      kind: 'installation',
      publicPool: DEFAULT_POOL,
      poolRouted: false,
      uplink: 'auto',
    }
  );
}

export function requireVpc(reader: Reader, name: string): Vpc {
  const vpc = getKind(reader, 'vpc', ids.vpc(parseName(name, 'vpc')));
  if (vpc !== undefined) return vpc;
  throw notFound(
    `vpc ${name}`,
    findKind(reader, 'vpc', 'kind:vpc').map((known) => known.name),
  );
}

export function requireSubnet(reader: Reader, vpc: string, name: string): Subnet {
  requireVpc(reader, vpc);
  const subnet = getKind(reader, 'subnet', ids.subnet(vpc, parseName(name, 'subnet')));
  if (subnet !== undefined) return subnet;
  throw notFound(
    `subnet ${name} of vpc ${vpc}`,
    subnetsOf(reader, vpc).map((known) => known.name),
  );
}

export function requireInstance(reader: Reader, vpc: string, name: string): Instance {
  requireVpc(reader, vpc);
  const instance = getKind(reader, 'instance', ids.instance(vpc, parseName(name, 'instance')));
  if (instance !== undefined) return instance;
  throw notFound(
    `instance ${name} of vpc ${vpc}`,
    findKind(reader, 'instance', `instances:${vpc}`).map((known) => known.name),
  );
}

export function subnetsOf(reader: Reader, vpc: string): Subnet[] {
  return findKind(reader, 'subnet', `subnets:${vpc}`);
}

export function routeTablesOf(reader: Reader, vpc: string): RouteTable[] {
  return findKind(reader, 'route-table', `route-tables:${vpc}`);
}

export function networkAclsOf(reader: Reader, vpc: string): NetworkAcl[] {
  return findKind(reader, 'network-acl', `network-acls:${vpc}`);
}

export function peeringsOf(reader: Reader, vpc: string): Peering[] {
  return findKind(reader, 'peering', `peerings:${vpc}`);
}

/** The other VPC of a peering. */
export function otherVpc(peering: Peering, vpc: string): string {
  return peering.vpcs[0] === vpc ? peering.vpcs[1] : peering.vpcs[0];
}

/** The blocks of `vpc` that take part in the peering: disjoint, also where the allowed blocks overlap. */
export function peeredCidrs(peering: Peering, vpc: Vpc): AnyCidr[] {
  const { allowCidrs } = peering;
  if (allowCidrs === undefined) return blocksOf(vpc);
  return blocksOf(vpc).flatMap((cidr) => aggregate(allowCidrs.flatMap((allowed) => intersect(cidr, allowed) ?? [])));
}

/** The blocks of a VPC's peers that every route table of it leads to. */
export function peerBlocks(reader: Reader, vpc: string): { readonly destination: AnyCidr; readonly peer: string }[] {
  return peeringsOf(reader, vpc).flatMap((peering) => {
    const peer = otherVpc(peering, vpc);
    const other = getKind(reader, 'vpc', ids.vpc(peer));
    if (other === undefined || peering.manualRoutes === true) return [];
    return peeredCidrs(peering, other).map((destination) => ({ destination, peer }));
  });
}
