/**
 * What follows from the user's edits: internet gateways, the edge, profiles, and which resources must be lowered again
 * because something they depend on changed. Pure; what it must know of the machine is passed in.
 */
import { isSame } from '../canonical.js';
import { VpcctlError } from '../errors.js';
import { type AnyCidr, type Cidr6, contains, overlaps } from '../net/cidr.js';
import { LEAST_MTU6 } from '../net/ip6.js';
import { hash32 } from '../net/name.js';
import { hostAddress6 } from './ipv6.js';
import { installationOf, ipv6PoolOf, otherVpc, peeringsOf, routeTablesOf } from './lookup.js';
import { familyOfDestination, referrersOf } from './prefix-lists.js';
import { type Draft, type Edit, findKind, getKind, has } from './reader.js';
import {
  EDGE_ID,
  type Edge,
  type Instance,
  type InternetGateway,
  idOf,
  ids,
  type NatGateway,
  type Profile,
  privateIps,
  type Resource,
  type Subnet,
  type Vpc,
} from './resources.js';
import { leadsOut as isWayOut, settlePublicTable } from './routing.js';

/** What the model must know of the machine. */
export interface HostFacts {
  /** Link of the default route with the lowest metric. */
  readonly defaultLink?: string;
  /** MTU of each link. */
  readonly linkMtu: ReadonlyMap<string, number>;
  /** Blocks that routes of the host other than ours and the default ones lead to. */
  readonly routes: readonly AnyCidr[];
  /**
   * Whether it can pass on IPv6 between two links: `by-link` without being told to for all of them (Linux 6.17), `all` because it is; `no`: only if it were a
   * router; `off`: it has no IPv6.
   */
  readonly forwarding6: 'by-link' | 'all' | 'no' | 'off';
}

/** Whether {@link settle} will look at the machine. */
export function needsHostFacts(draft: Draft): boolean {
  const edited = draft.edits().some(({ before, after }) => {
    if (after?.kind === 'vpc') return after.mtu === 0;
    if (after?.kind === 'installation') return true;
    return after?.kind === 'subnet' && after.public && !claimsSame(before, after);
  });
  return edited || heirs(draft).length > 0 || opensBorder(draft) || opensIpv6(draft);
}

/** Whether the first internet gateway may come of this without a public subnet: by a route, or by a public address. */
function opensBorder(draft: Draft): boolean {
  if (draft.get(EDGE_ID) !== undefined) return false;
  return draft.edits().some(({ after }) => {
    if (after?.kind === 'route-table') return after.routes.some(({ target }) => isWayOut(target));
    return after !== undefined && after.kind !== 'subnet' && leadsOut(after);
  });
}

/** Whether this may be the first way of IPv6 to the internet. */
function opensIpv6(draft: Draft): boolean {
  if (getKind(draft, 'edge', EDGE_ID)?.ipv6 !== undefined) return false;
  return draft.edits().some(({ after }) => {
    if (after?.kind === 'vpc') return isOpen6(draft, after);
    const vpc = after?.kind === 'route-table' ? getKind(draft, 'vpc', ids.vpc(after.vpc)) : undefined;
    return vpc !== undefined && isOpen6(draft, vpc);
  });
}

function isOpen6(draft: Draft, { name, ipv6Cidr }: Vpc): boolean {
  if (ipv6Cidr === undefined) return false;
  return findKind(draft, 'route-table', `routes-out6:${name}`).some(({ routes }) =>
    routes.some(({ destination, target }) => isWayOut(target) && familyOfDestination(draft, destination) === 6),
  );
}

/** Whether a public subnet was that before, with the same block and the same claim to a route on the host. */
function claimsSame(before: Edit['before'], after: Subnet): boolean {
  return (
    before?.kind === 'subnet' && before.public && before.cidr === after.cidr && before.hostRoute === after.hostRoute
  );
}

const DEFAULT_MTU = 1500;
/** IPv4 needs 68 (RFC 791); below 576 hosts may not cope; a jumbo frame is 9000. */
const LEAST_MTU = 576;

/** Completes the draft. `facts` may be absent only when {@link needsHostFacts} says so. */
export function settle(draft: Draft, facts?: HostFacts): void {
  const mtu = () => uplinkMtu(draft, facts);
  checkUplink(draft, facts);
  settleVpcs(draft, mtu);
  settleGateways(draft);
  settleEdge(draft, facts, mtu);
  settleHostRoutes(draft, facts);
  settleProfiles(draft);
  touchDependents(draft);
}

function resolveUplink(draft: Draft, facts: HostFacts | undefined): string | undefined {
  const { uplink } = installationOf(draft);
  if (uplink === 'none') return undefined;
  if (uplink === 'auto') return facts?.defaultLink;
  return uplink;
}

function uplinkMtu(draft: Draft, facts: HostFacts | undefined): number {
  const uplink = resolveUplink(draft, facts);
  const mtu = uplink === undefined ? undefined : facts?.linkMtu.get(uplink);
  return Math.max(mtu ?? DEFAULT_MTU, LEAST_MTU);
}

function settleVpcs(draft: Draft, mtu: () => number): void {
  for (const { after } of draft.edits()) {
    if (after?.kind !== 'vpc') continue;
    const vpc = after.mtu === 0 ? { ...after, mtu: mtu() } : after;
    if (vpc.ipv6Cidr !== undefined && vpc.mtu < LEAST_MTU6) {
      throw new VpcctlError('ENVIRONMENT', `vpc ${vpc.name} has an MTU of ${vpc.mtu}, and IPv6 needs ${LEAST_MTU6}`, {
        hint: 'leave its IPv6 block out, or raise the MTU of the uplink',
      });
    }
    if (vpc !== after) draft.put(vpc);
  }
}

/** An internet gateway, where anything leads to it or has an address of it. */
function settleGateways(draft: Draft): void {
  const vpcs = new Set<string>();
  for (const { before, after } of draft.edits()) {
    for (const one of [before, after]) {
      if (one?.kind === 'vpc') vpcs.add(one.name);
      else if (one !== undefined && leadsOut(one)) vpcs.add(one.vpc);
    }
  }
  for (const name of vpcs) {
    settlePublicTable(draft, name);
    const id = ids.igw(name);
    const vpc = getKind(draft, 'vpc', ids.vpc(name));
    const isOpen = vpc !== undefined && isOpen6(draft, vpc);
    const wanted = isOpen || (vpc !== undefined && GATEWAY_TERMS.some((term) => has(draft, `${term}:${name}`)));
    const known = getKind(draft, 'igw', id);
    if (wanted && vpc !== undefined) {
      const ipv6 = isOpen && vpc.ipv6Cidr !== undefined ? { ipv6Cidr: vpc.ipv6Cidr } : {};
      const gateway: InternetGateway = { kind: 'igw', vpc: name, mtu: known?.mtu ?? vpc.mtu, ...ipv6 };
      if (!isSame(known, gateway)) draft.put(gateway);
    }
    if (!wanted && known !== undefined) draft.remove(id);
  }
}

const GATEWAY_TERMS = ['public', 'routes-igw', 'addressed'];

/** Whether there may be an internet gateway because of it. */
function leadsOut(resource: Resource): resource is Extract<Resource, { readonly vpc: string }> {
  switch (resource.kind) {
    case 'subnet':
    case 'route-table':
      return true;
    case 'instance':
    case 'nat-gateway':
      return resource.publicIp !== undefined;
    default:
      return false;
  }
}

/** A named uplink must be there when it is named, whether or not something public needs it yet. */
function checkUplink(draft: Draft, facts: HostFacts | undefined): void {
  const { uplink } = installationOf(draft);
  if (uplink === 'auto' || uplink === 'none' || facts === undefined || facts.linkMtu.has(uplink)) return;
  throw new VpcctlError('ENVIRONMENT', `the host has no link ${uplink} to use as uplink`, {
    hint: 'name an existing link with --uplink, or use --uplink none',
  });
}

function settleEdge(draft: Draft, facts: HostFacts | undefined, mtu: () => number): void {
  const edge = getKind(draft, 'edge', EDGE_ID);
  if (!has(draft, 'kind:igw')) {
    if (edge !== undefined) draft.remove(EDGE_ID);
    return;
  }
  const reconfigured = draft.edits().some(({ after }) => after?.kind === 'installation');
  const ipv6 = edge6(draft, edge, facts);
  if (edge !== undefined && !reconfigured) {
    if (!isSame(edge.ipv6, ipv6.ipv6)) draft.put({ ...withoutIpv6(edge), ...ipv6 });
    return;
  }
  const { publicPool, poolRouted, uplink: asked } = installationOf(draft);
  const uplink = resolveUplink(draft, facts);
  if (asked === 'auto' && uplink === undefined) {
    throw new VpcctlError('ENVIRONMENT', 'the host has no default route, so no uplink was found for public subnets', {
      hint: 'name it with --uplink LINK, or use --uplink none (public then means reachable from this host only)',
    });
  }
  if (edge?.publicPool !== publicPool) {
    const clash = facts?.routes.find((route) => overlaps(route, publicPool));
    if (clash !== undefined) {
      throw new VpcctlError(
        'CONFLICT',
        `the host routes ${clash}, which overlaps the pool of public addresses ${publicPool}`,
        {
          hint: 'configure another publicPool',
        },
      );
    }
  }
  draft.put({
    kind: 'edge',
    publicPool,
    poolRouted,
    ...ipv6,
    ...(uplink === undefined ? {} : { uplink }),
    mtu: edge?.mtu ?? mtu(),
  });
}

function withoutIpv6({ ipv6: _was, ...edge }: Edge): Edge {
  return edge;
}

/** What the border has for IPv6. ENVIRONMENT where the host cannot pass it on, CONFLICT where it has the pool's addresses elsewhere. */
function edge6(draft: Draft, edge: Edge | undefined, facts: HostFacts | undefined): Pick<Edge, 'ipv6'> {
  if (!has(draft, 'igw6')) return {};
  const pool = ipv6PoolOf(draft);
  if (edge?.ipv6 === undefined) checkHost6(facts);
  if (edge?.ipv6?.pool !== pool) {
    // A route to more than the pool (as of a provider's whole block) is only gone by where ours says nothing.
    const clash = facts?.routes.find((route) => contains(pool, route));
    if (clash !== undefined) {
      throw new VpcctlError('CONFLICT', `the host routes ${clash}, which is of the IPv6 pool ${pool}`, {
        hint: 'configure another ipv6Pool',
      });
    }
  }
  return { ipv6: { pool, host: hostAddress6(draft), routed: installationOf(draft).ipv6PoolRouted === true } };
}

function checkHost6(facts: HostFacts | undefined): void {
  const way = facts?.forwarding6;
  if (way === 'off') {
    throw new VpcctlError('ENVIRONMENT', 'the host has no IPv6, so there is no way to the internet for it', {
      hint: 'let net.ipv6.conf.default.disable_ipv6 be 0, or delete the route',
    });
  }
  if (way === 'no') {
    throw new VpcctlError(
      'ENVIRONMENT',
      'this kernel forwards IPv6 between two links only if the whole host is a router, which it is not',
      {
        hint: 'use Linux 6.17 or later; or set net.ipv6.conf.all.forwarding = 1, with accept_ra = 2 for links that live on advertisements',
      },
    );
  }
}

/**
 * A public subnet's block is routed from the host where nothing else on the host, and no other VPC, claims it. One that gives its route up hands it
 * to those that were kept from it.
 */
function settleHostRoutes(draft: Draft, facts: HostFacts | undefined): void {
  for (const { before, after } of draft.edits()) {
    if (after?.kind !== 'subnet') continue;
    const subnet = getKind(draft, 'subnet', idOf(after)) ?? after;
    if (!subnet.public && subnet.hostRoute) draft.put({ ...subnet, hostRoute: false });
    if (subnet.public && !claimsSame(before, after)) draft.put({ ...subnet, hostRoute: isFree(draft, subnet, facts) });
  }
  for (const heir of heirs(draft)) if (isFree(draft, heir, facts)) draft.put({ ...heir, hostRoute: true });
}

/** Public subnets without a route, whose block overlaps one that gives its route up. In the order of their ids. */
function heirs(draft: Draft): Subnet[] {
  const given = draft.edits().flatMap(({ before, after }) => {
    const keeps = after?.kind === 'subnet' && before?.kind === 'subnet' && after.public && after.cidr === before.cidr;
    return before?.kind === 'subnet' && before.hostRoute && !keeps ? [before.cidr] : [];
  });
  if (given.length === 0) return [];
  return findKind(draft, 'subnet', 'hostroute-wanted').filter(({ cidr }) => given.some((free) => overlaps(free, cidr)));
}

function isFree(draft: Draft, subnet: Subnet, facts: HostFacts | undefined): boolean {
  if (facts === undefined || facts.routes.some((route) => overlaps(route, subnet.cidr))) return false;
  return !findKind(draft, 'subnet', 'hostroute').some(
    (other) => idOf(other) !== idOf(subnet) && overlaps(other.cidr, subnet.cidr),
  );
}

// --- profiles --------------------------------------------------------------------------------------------------------

function settleProfiles(draft: Draft): void {
  const unsettled = new Map<string, Instance | NatGateway>();
  const left = new Set<string>();
  for (const { id, before, after } of draft.edits()) {
    if (isProfiled(before)) left.add(ids.profile(before.vpc, before.profile));
    if (isProfiled(after)) unsettled.set(id, after);
    if (after?.kind === 'subnet' && hasPolicy(after) !== (before?.kind === 'subnet' && hasPolicy(before))) {
      for (const instance of findKind(draft, 'instance', `subnet:${after.vpc}/${after.name}`)) {
        unsettled.set(idOf(instance), instance);
      }
    }
  }
  for (const instance of unsettled.values()) {
    const profile = profileOf(draft, instance);
    if (instance.profile === profile.number) continue;
    left.add(ids.profile(instance.vpc, instance.profile));
    draft.put({ ...instance, profile: profile.number });
  }
  for (const id of left) {
    const profile = getKind(draft, 'profile', id);
    if (profile !== undefined && !has(draft, `profile:${profile.vpc}/${profile.number}`)) draft.remove(id);
  }
}

function isProfiled(resource: Resource | undefined): resource is Instance | NatGateway {
  return resource?.kind === 'instance' || resource?.kind === 'nat-gateway';
}

function hasPolicy(subnet: Subnet): boolean {
  return subnet.policy?.ingress !== undefined || subnet.policy?.egress !== undefined;
}

/** Finds or makes the profile. Its number is a hash of what it stands for, so that equal models number alike. */
function profileOf(draft: Draft, owner: Instance | NatGateway): Profile {
  const what = contentOf(draft, owner);
  const text = textOf(what);
  for (let salt = 0; ; salt += 1) {
    // 1 to 2^31: 0 is the mark of a packet that no profile claims.
    const number = (hash32(salt === 0 ? text : `${text};${salt}`) >>> 1) + 1;
    const known = getKind(draft, 'profile', ids.profile(owner.vpc, number));
    if (known !== undefined && textOf(known) !== text) continue;
    const profile: Profile = known ?? { kind: 'profile', vpc: owner.vpc, number, ...what };
    if (known === undefined) draft.put(profile);
    return profile;
  }
}

type ProfileContent = Pick<Profile, 'groups' | 'policySubnet' | 'open'>;

function contentOf(draft: Draft, owner: Instance | NatGateway): ProfileContent {
  if (owner.kind === 'nat-gateway') return { groups: [], open: true };
  const subnet = getKind(draft, 'subnet', ids.subnet(owner.vpc, owner.subnet));
  return { groups: owner.groups, ...(subnet !== undefined && hasPolicy(subnet) ? { policySubnet: subnet.name } : {}) };
}

function textOf({ groups, policySubnet, open }: ProfileContent): string {
  return open === true ? 'open' : `${groups.join(',')};${policySubnet ?? ''}`;
}

// --- dependents ------------------------------------------------------------------------------------------------------

/** Marks what was not edited but lowers to other rows now. */
function touchDependents(draft: Draft): void {
  for (const edit of draft.edits()) {
    for (const id of dependents(draft, edit)) draft.touched.add(id);
  }
}

function dependents(draft: Draft, { before, after }: Edit): string[] {
  const resource = after ?? before;
  switch (resource?.kind) {
    case 'vpc': {
      const peerings = peeringsOf(draft, resource.name);
      return [
        ...(before?.kind === 'vpc' && after?.kind === 'vpc' && before.mtu !== after.mtu
          ? [`instances:${resource.name}`, `nat-gateways:${resource.name}`].flatMap((term) =>
              draft.find(term).map(idOf),
            )
          : []),
        ...peerings.map(idOf),
        ...routeTablesOf(draft, resource.name).map(idOf),
        ...gatewaysOf(draft, resource.name).flatMap((gateway) => draft.find(`attachments:${gateway}`).map(idOf)),
        ...peerings.flatMap((peering) => routeTablesOf(draft, otherVpc(peering, resource.name)).map(idOf)),
        ...(ipv6Of(before) === ipv6Of(after) ? [] : dependentsOnIpv6(draft, resource.name)),
        ...profilesOfGroups(draft, `refers-vpc:${resource.name}`),
        ...peerings.flatMap((peering) => profilesOfGroups(draft, `refers-peers:${otherVpc(peering, resource.name)}`)),
      ];
    }
    case 'peering':
      return resource.vpcs.flatMap((vpc) => [
        ...profilesOfGroups(draft, `refers-peers:${vpc}`),
        ...profilesOfGroups(draft, `refers-peer-of:${vpc}`),
        ...routeTablesOf(draft, vpc).map(idOf),
      ]);
    case 'route-table':
      return [
        ...joinedBy(draft, resource.vpc),
        ...(before !== undefined && after !== undefined
          ? []
          : draft.find(`table:${resource.vpc}/${resource.name}`).map(idOf)),
      ];
    case 'network-acl':
      if (before?.kind === 'network-acl' && after?.kind === 'network-acl' && before.number === after.number) return [];
      return draft.find(`acl:${resource.vpc}/${resource.name}`).map(idOf);
    case 'instance': {
      // Groups of peers that speak of its groups know its address.
      const groups = [before, after].flatMap((one) => (one?.kind === 'instance' ? one.groups : []));
      if (before?.kind === 'instance' && after?.kind === 'instance') {
        if (isSame(privateIps(before), privateIps(after)) && isSame(before.groups, after.groups)) return [];
      }
      return [...new Set(groups)].flatMap((group) => profilesOfGroups(draft, `refers-peer:${resource.vpc}/${group}`));
    }
    case 'prefix-list':
      return isSame(entriesOf(before), entriesOf(after)) ? [] : usersOf(draft, resource.name);
    case 'igw':
      if (gatewayCidr6(before) === gatewayCidr6(after)) return [];
      return [
        ...present(draft, ids.vpc(resource.vpc)),
        ...[`subnets:${resource.vpc}`, `route-tables:${resource.vpc}`].flatMap((term) => draft.find(term).map(idOf)),
      ];
    case 'egress-only-gateway':
      return draft.find(`routes-egress-only:${resource.vpc}`).map(idOf);
    case 'transit-attachment':
      return [
        ...present(draft, ids.transitGateway(resource.transitGateway)),
        ...routeTablesOf(draft, resource.vpc).map(idOf),
        ...[`attachments:${resource.transitGateway}`, `transit-tables:${resource.transitGateway}`].flatMap((term) =>
          draft.find(term).map(idOf),
        ),
      ];
    case 'transit-route-table':
      return draft.find(`attachments:${resource.transitGateway}`).map(idOf);
    case 'nat-gateway':
      return draft.find(`routes-nat:${resource.vpc}/${resource.name}`).map(idOf);
    case 'group':
      return draft.find(`profile-of:${resource.vpc}/${resource.name}`).map(idOf);
    case 'subnet': {
      // Which network ACL it is, the subnet says and that; whether there is one, its ports and the VPC.
      const bordered = aclOf(before) === undefined ? aclOf(after) !== undefined : aclOf(after) === undefined;
      const acls = aclOf(before) === aclOf(after) ? [] : [aclOf(before), aclOf(after)];
      const router = [
        ...(bordered ? [ids.vpc(resource.vpc)] : []),
        ...acls.flatMap((name) => (name === undefined ? [] : present(draft, ids.networkAcl(resource.vpc, name)))),
      ];
      // Of one that comes or goes, so do the profiles and the instances.
      if (before?.kind !== 'subnet' || after?.kind !== 'subnet') return router;
      const moved = before.cidr !== after.cidr || before.gateway !== after.gateway;
      const ruled = !isSame(before.policy, after.policy);
      return [
        ...router,
        ...(ruled ? draft.find(`policy-of:${resource.vpc}/${resource.name}`).map(idOf) : []),
        ...(moved || bordered
          ? [`subnet:${resource.vpc}/${resource.name}`, `nats-of:${resource.vpc}/${resource.name}`].flatMap((term) =>
              draft.find(term).map(idOf),
            )
          : []),
      ];
    }
    case 'profile':
      if (before !== undefined && after !== undefined) return [];
      return resource.groups.flatMap((group) => profilesOfGroups(draft, `refers:${resource.vpc}/${group}`));
    default:
      return [];
  }
}

function ipv6Of(resource: Resource | undefined): Cidr6 | undefined {
  return resource?.kind === 'vpc' ? resource.ipv6Cidr : undefined;
}

function gatewayCidr6(resource: Resource | undefined): Cidr6 | undefined {
  return resource?.kind === 'igw' ? resource.ipv6Cidr : undefined;
}

/** What a VPC has rules of for IPv6 too, once it has that. */
function dependentsOnIpv6(draft: Draft, vpc: string): string[] {
  const transit = gatewaysOf(draft, vpc).flatMap((gateway) => [
    ids.transitGateway(gateway),
    ...draft.find(`transit-tables:${gateway}`).map(idOf),
  ]);
  return [
    ...transit,
    ...[`profiles:${vpc}`, `network-acls:${vpc}`, `subnets:${vpc}`].flatMap((term) => draft.find(term).map(idOf)),
  ];
}

function present(draft: Draft, id: string): string[] {
  return draft.get(id) === undefined ? [] : [id];
}

function entriesOf(resource: Resource | undefined): string[] {
  return resource?.kind === 'prefix-list' ? resource.entries.map(({ cidr }) => cidr) : [];
}

/** What refers to a prefix list, and what has rows because of it. */
function usersOf(draft: Draft, list: string): string[] {
  const withRows = (user: ReturnType<typeof referrersOf>[number]): string[] => {
    switch (user.kind) {
      case 'group':
        return draft.find(`profile-of:${user.vpc}/${user.name}`).map(idOf);
      case 'route-table':
        return joinedBy(draft, user.vpc);
      case 'transit-route-table':
        return draft.find(`attachments:${user.transitGateway}`).map(idOf);
    }
  };
  // A group has no rows itself: that it is touched has its VPC locked, where a profile may just be coming.
  return referrersOf(draft, list).flatMap((user) => [idOf(user), ...withRows(user)]);
}

/** The peerings and attachments of a VPC: routes to peers are the peerings', those to transit gateways the attachments'. */
function joinedBy(draft: Draft, vpc: string): string[] {
  return [...peeringsOf(draft, vpc), ...draft.find(`attachments-of:${vpc}`)].map(idOf);
}

function aclOf(resource: Resource | undefined): string | undefined {
  return resource?.kind === 'subnet' ? resource.networkAcl : undefined;
}

/** The transit gateways that a VPC is attached to. */
function gatewaysOf(draft: Draft, vpc: string): string[] {
  return findKind(draft, 'transit-attachment', `attachments-of:${vpc}`).map(({ transitGateway }) => transitGateway);
}

/** Ids of the profiles that contain a group with this term. */
function profilesOfGroups(draft: Draft, term: string): string[] {
  return findKind(draft, 'group', term).flatMap((group) =>
    draft.find(`profile-of:${group.vpc}/${group.name}`).map(idOf),
  );
}
