/**
 * What stands on a packet's way. Each component is asked when the packet is at its place, and says what it decides and where the packet goes next.
 *
 * To add one: give it a place in {@link Places} and a function in {@link COMPONENTS}, and have the components before it lead there.
 */
import { hasWayOut6, isWayOut6 } from '../model/ipv6.js';
import {
  describe,
  type Instance,
  ids,
  MAIN_ROUTE_TABLE,
  type NatGateway,
  type NetworkAcl,
  privateIps,
  RESOLVER_ADDRESS,
  tableOf,
} from '../model/resources.js';
import { leadsOut } from '../model/routing.js';
import { addressAt, type Cidr, type Ip, isIp6 } from '../net/cidr.js';
import { ICMP, TCP, UDP } from '../net/ports.js';
import { judgeAcl } from './acl.js';
import { endText } from './endpoints.js';
import { gateOf, judge, trafficText } from './gates.js';
import type { Direction, Lookup, Peer, Way } from './lookup.js';
import type { Component, ComponentKind, Endpoint, Hop, ResolvedQuery, Translation } from './types.js';

export interface Packet {
  readonly source: Ip;
  readonly destination: Ip;
}

/** Where a packet can be, and what is known there besides its addresses. */
interface Places {
  /** At the interface of the instance that sends it. */
  readonly sender: { readonly instance: Instance };
  readonly egress: { readonly instance: Instance };
  /** In the route table of this subnet, from what is in it. */
  readonly route: { readonly vpc: string; readonly subnet: string };
  /** At a NAT gateway: `by` a route, on its way out; or by the gateway's own address. */
  readonly nat: { readonly nat: NatGateway; readonly by: 'route' | 'address' };
  /** At the border of a subnet that has a network ACL, on the way out of it (egress) or into it; `next` is behind it. */
  readonly 'subnet-border': {
    readonly vpc: string;
    readonly subnet: string;
    readonly direction: Direction;
    readonly next: Place;
  };
  readonly peering: { readonly from: string; readonly to: string };
  readonly transit: { readonly gateway: string; readonly from: string };
  /** In a VPC's internet gateway, on its way out, or in. */
  readonly 'gateway-out': { readonly vpc: string; readonly egressOnly?: true };
  readonly 'gateway-in': { readonly vpc: string };
  /** Between gateways, host and outside. */
  readonly border: { readonly from: 'gateway' | 'host' | 'internet' };
  readonly ingress: { readonly instance: Instance; readonly neighbour: Instance | undefined };
  /** At the interface of the instance it is for. */
  readonly receiver: { readonly instance: Instance };
  /** The router, host or outside itself: as the one that sends, or receives. */
  readonly 'from-router': { readonly vpc: string };
  readonly 'to-router': { readonly vpc: string; readonly from: 'instance' | 'peering' | 'gateway' };
  readonly 'from-host': object;
  readonly 'to-host': object;
  readonly 'from-internet': object;
  readonly 'to-internet': object;
}

export type Place = { readonly [At in keyof Places]: { readonly at: At } & Places[At] }[keyof Places];
type PlaceAt<At extends keyof Places> = Extract<Place, { at: At }>;

/** A translation, and the component that made it: which undoes it for the answer. */
interface Translated extends Translation {
  readonly by: string;
  readonly kind: ComponentKind;
}

/** One direction of a connection. */
export interface Walk {
  readonly lookup: Lookup;
  readonly query: ResolvedQuery;
  readonly direction: 'forward' | 'return';
  /** Whom the packet is meant for. */
  readonly target: Endpoint;
  /** What the first packet was translated by; of the way forward, as far as it has come. */
  readonly translated: readonly Translated[];
}

/** What a component decides. */
export interface Step {
  readonly component: Component;
  readonly decision: Hop['decision'];
  readonly rule: string;
  readonly hint?: string;
  readonly translation?: Translation;
  /** It refuses by where the packet is and goes, not by a rule about packets: there is no way, so there is no answer. */
  readonly lost?: true;
  /** The packet behind it. Default: as it came. */
  readonly packet?: Packet;
  /** Absent: the way ends here. Of a refusal: where the packet would be otherwise. */
  readonly next?: Place;
}

type Table = { readonly [At in keyof Places]: (walk: Walk, place: PlaceAt<At>, packet: Packet) => Step };

const COMPONENTS: Table = {
  sender,
  egress: (walk, { instance }, packet) => gate(walk, 'egress', instance, neighbourOf(walk, instance, packet), packet),
  route,
  nat,
  peering,
  'subnet-border': subnetBorder,
  transit,
  'gateway-out': gatewayOut,
  border,
  'gateway-in': gatewayIn,
  ingress: (walk, { instance, neighbour }, packet) => gate(walk, 'ingress', instance, neighbour, packet),
  receiver: (_walk, { instance }, { destination }) =>
    passes(
      instanceComponent(instance),
      `${privateIps(instance).includes(destination) ? destination : instance.ip} is its address`,
    ),
  'from-router': (walk, { vpc }) => ({
    ...passes(routerComponent(vpc), 'it answers'),
    ...(walk.target.kind === 'instance' ? { next: entering(walk, walk.target) } : {}),
  }),
  'to-router': toRouter,
  'from-host': () => passes(HOST_COMPONENT, 'it sends', { at: 'border', from: 'host' }),
  'to-host': () => passes(HOST_COMPONENT, 'it sent what this answers'),
  'from-internet': () => passes(INTERNET_COMPONENT, 'it sends', { at: 'border', from: 'internet' }),
  'to-internet': () => passes(INTERNET_COMPONENT, 'it is outside of every VPC'),
};

export function stepAt(walk: Walk, place: Place, packet: Packet): Step {
  const component = COMPONENTS[place.at] as (walk: Walk, place: Place, packet: Packet) => Step;
  const step = component(walk, place, packet);
  return step.next === undefined ? step : { ...step, next: acrossBorders(walk, place, step.next) };
}

interface Home {
  readonly vpc: string;
  readonly subnet: string;
}

/** The borders of subnets that a packet crosses between two places, if any has a network ACL; then the second. */
function acrossBorders({ lookup }: Walk, from: Place, to: Place): Place {
  // What answers itself, or is in front of its border already, crosses none.
  if (from.at === 'subnet-border' || from.at === 'from-router') return to;
  const [left, entered] = [homeLeft(from, to), homeEntered(to)];
  if (left !== undefined && left.vpc === entered?.vpc && left.subnet === entered.subnet) return to;
  const border = (home: Home | undefined, direction: Direction, next: Place): Place =>
    home === undefined || lookup.aclOf(home.vpc, home.subnet) === undefined
      ? next
      : { at: 'subnet-border', ...home, direction, next };
  return border(left, 'egress', border(entered, 'ingress', to));
}

function homeLeft(from: Place, to: Place): Home | undefined {
  // VPC User Guide, "Control traffic to your subnets using network ACLs": the VPC's router is not filtered.
  if (to.at === 'to-router' || to.at === 'route') return undefined;
  if (from.at === 'route') return { vpc: from.vpc, subnet: from.subnet };
  return from.at === 'nat' ? { vpc: from.nat.vpc, subnet: from.nat.subnet } : undefined;
}

function homeEntered(to: Place): Home | undefined {
  if (to.at === 'ingress') return { vpc: to.instance.vpc, subnet: to.instance.subnet };
  return to.at === 'nat' ? { vpc: to.nat.vpc, subnet: to.nat.subnet } : undefined;
}

/** Where a packet from this end begins. */
export function beginning(lookup: Lookup, end: Endpoint): Place | undefined {
  switch (end.kind) {
    case 'instance': {
      const instance = lookup.instanceAt(end.vpc, end.ip as Ip);
      return instance === undefined ? undefined : { at: 'sender', instance };
    }
    case 'router':
    case 'resolver':
      return { at: 'from-router', vpc: end.vpc };
    case 'host':
      return { at: 'from-host' };
    case 'internet':
      return { at: 'from-internet' };
    case 'nobody':
      return undefined;
  }
}

// --- names of components -----------------------------------------------------------------------------------------------

function component(kind: ComponentKind, name: string, vpc: string | null, id: string | null): Component {
  return { kind, id, name, vpc };
}

const HOST_COMPONENT = component('host', 'host', null, null);
const INTERNET_COMPONENT = component('internet', 'internet', null, null);
const BORDER_COMPONENT = component('border', 'border between VPCs, host and internet', null, 'edge');

const instanceComponent = ({ vpc, name }: Instance): Component =>
  component('instance', `instance ${vpc}/${name}`, vpc, ids.instance(vpc, name));
const routerComponent = (vpc: string): Component => component('router', `router of vpc ${vpc}`, vpc, ids.vpc(vpc));
const routeComponent = (vpc: string, table: string): Component =>
  component('route-table', `route table ${vpc}/${table}`, vpc, ids.routeTable(vpc, table));
const aclComponent = ({ vpc, name }: NetworkAcl, subnet: string): Component =>
  component('network-acl', `network acl ${vpc}/${name} of subnet ${subnet}`, vpc, ids.networkAcl(vpc, name));
const natComponent = ({ vpc, name }: NatGateway): Component =>
  component('nat-gateway', `nat gateway ${vpc}/${name}`, vpc, ids.natGateway(vpc, name));
const gatewayComponent = (vpc: string): Component =>
  component('internet-gateway', `internet gateway of vpc ${vpc}`, vpc, ids.igw(vpc));
const egressOnlyComponent = (vpc: string): Component =>
  component(
    'egress-only-internet-gateway',
    `egress-only internet gateway of vpc ${vpc}`,
    vpc,
    ids.egressOnlyGateway(vpc),
  );
const peeringComponent = (a: string, b: string): Component => {
  const [first, second] = a < b ? [a, b] : [b, a];
  return component('peering', `peering ${first} - ${second}`, null, ids.peering(a, b));
};

// --- steps -----------------------------------------------------------------------------------------------------------

function passes(at: Component, rule: string, next?: Place): Step {
  return { component: at, decision: 'passes', rule, ...(next === undefined ? {} : { next }) };
}

interface Blocked {
  readonly rule: string;
  readonly hint?: string | undefined;
  readonly packet?: Packet;
  readonly next?: Place | undefined;
}

/** No way there. */
function blocked(at: Component, { rule, hint, packet, next }: Blocked): Step {
  return {
    component: at,
    decision: 'refuses',
    rule,
    lost: true,
    ...(hint === undefined ? {} : { hint }),
    ...(packet === undefined ? {} : { packet }),
    ...(next === undefined ? {} : { next }),
  };
}

function translates(at: Component, rule: string, packet: Packet, translation: Translation, next: Place): Step {
  const { field, to } = translation;
  return { component: at, decision: 'translates', rule, translation, packet: { ...packet, [field]: to }, next };
}

/** In front of the instance that the packet is meant for, whichever way it came there. */
function entering(walk: Walk, end: Endpoint): Place {
  const instance = end.kind === 'instance' ? walk.lookup.instanceAt(end.vpc, end.ip as Ip) : undefined;
  if (instance === undefined) throw new Error(`${endText(end)} has no interface`);
  return { at: 'ingress', instance, neighbour: undefined };
}

/** Beyond a refusal that leads nowhere: the instance that the packet is meant for, if it is meant for one. */
function beyond(walk: Walk): Pick<Blocked, 'packet' | 'next'> {
  return walk.target.kind === 'instance' ? { next: entering(walk, walk.target) } : {};
}

// --- the instance ----------------------------------------------------------------------------------------------------

function sender({ target }: Walk, { instance }: PlaceAt<'sender'>, packet: Packet): Step {
  const at = instanceComponent(instance);
  const meant = vpcMeant(target, packet.destination) ?? instance.vpc;
  if (privateIps(instance).includes(packet.destination) && meant === instance.vpc)
    return passes(at, `${packet.destination} is its own: it leaves no interface`);
  return passes(at, `${packet.source} is its address`, { at: 'egress', instance });
}

function neighbourOf({ lookup }: Walk, { vpc }: Instance, { destination }: Packet): Instance | undefined {
  return lookup.instanceAt(vpc, destination);
}

const TRACKED = 'stateful: the answer of a connection that was admitted passes';

function gate(
  walk: Walk,
  direction: Direction,
  instance: Instance,
  neighbour: Instance | undefined,
  packet: Packet,
): Step {
  const { lookup, query } = walk;
  const next: Place =
    direction === 'egress' ? { at: 'route', vpc: instance.vpc, subnet: instance.subnet } : { at: 'receiver', instance };
  const component = gateOf(lookup, instance, direction);
  if (walk.direction === 'return') return passes(component, TRACKED, next);
  const address = direction === 'egress' ? packet.destination : packet.source;
  // VPC User Guide, "Security groups": the reserved addresses of the default VPC router are not filtered.
  if (direction === 'egress' && lookup.isResolver(instance.vpc, address)) {
    return passes(component, `what is for the resolver of vpc ${instance.vpc} is not filtered`, next);
  }
  if (direction === 'egress' && lookup.gatewayAt(instance.vpc, address) !== undefined) {
    return passes(component, `what is for the router of vpc ${instance.vpc} is not filtered`, next);
  }
  const other = direction === 'egress' ? query.destination : query.source;
  const anybody = other.kind === 'internet' && other.any;
  const { admits, rule, hint } = judge(lookup, { direction, instance, address, anybody, neighbour, ...query });
  return {
    component,
    decision: admits ? 'passes' : 'refuses',
    rule,
    ...(hint === undefined ? {} : { hint }),
    next,
  };
}

/** Ports that a NAT gateway gives to connections (VPC User Guide, "NAT gateway basics"). */
const NAT_PORTS = { from: 1024, to: 65_535 } as const;

/** The ports that the answer may be for: until a NAT gateway has translated it back, the gateway's. */
function portsAsked({ query, direction, translated }: Walk, destination: Ip): ResolvedQuery['sourcePorts'] {
  if (direction === 'forward' || query.sourcePorts === null) return query.sourcePorts;
  const sources = translated.filter(({ field }) => field === 'source');
  const first = sources.findIndex(({ kind }) => kind === 'nat-gateway');
  return first !== -1 && sources.slice(first).some(({ to }) => to === destination) ? NAT_PORTS : query.sourcePorts;
}

// --- subnets' borders --------------------------------------------------------------------------------------------------

function subnetBorder(walk: Walk, place: PlaceAt<'subnet-border'>, { source, destination }: Packet): Step {
  const { vpc, subnet, direction, next } = place;
  const acl = walk.lookup.aclOf(vpc, subnet);
  if (acl === undefined) throw new Error(`subnet ${vpc}/${subnet} has no network acl`);
  const address = direction === 'egress' ? destination : source;
  const { admits, rule, hint } = judgeAcl(walk.lookup, acl, direction, address, walk.direction, {
    ...walk.query,
    sourcePorts: portsAsked(walk, destination),
  });
  return {
    component: aclComponent(acl, subnet),
    decision: admits ? 'passes' : 'refuses',
    rule,
    ...(hint === undefined ? {} : { hint }),
    next,
  };
}

// --- the VPC's routing -------------------------------------------------------------------------------------------------

function route(walk: Walk, { vpc, subnet: name }: PlaceAt<'route'>, packet: Packet): Step {
  const { lookup, target } = walk;
  const subnet = lookup.subnet(vpc, name);
  const table = subnet === undefined ? MAIN_ROUTE_TABLE : tableOf(subnet);
  const at = routeComponent(vpc, table);
  const { destination } = packet;
  const network = lookup.network(vpc);
  if (destination === RESOLVER_ADDRESS && lookup.isResolver(vpc, destination)) {
    return passes(at, `${destination} is the router's own`, { at: 'to-router', vpc, from: 'instance' });
  }
  const away = vpcMeant(target, destination);
  const local = network?.blocks.find((block) => lookup.isIn(destination, block));
  if (local !== undefined) {
    if (away !== undefined && away !== vpc) {
      return blocked(at, {
        rule: `${destination} is of its own block ${local.cidr}, not of vpc ${away}`,
        hint: 'VPCs with overlapping blocks reach each other by public addresses only',
        ...beyond(walk),
      });
    }
    return localRoute(walk, vpc, at, packet, `${local.cidr} is local`);
  }
  const way = lookup.ways(vpc, table).find(({ block }) => lookup.isIn(destination, block));
  // Behind a NAT gateway the routes of its subnet decide, behind a transit gateway its own.
  const onward =
    way?.target.type === 'transit-gateway' ||
    way?.target.type === 'nat-gateway' ||
    // In IPv6 addresses are everywhere the same.
    (way !== undefined && isIp6(destination) && leadsOut(way.target)) ||
    (way?.target.type === 'peering' && way.target.peering === away);
  if (away !== undefined && away !== vpc && !onward) {
    return unrouted(walk, vpc, away, at, destination, network?.peers ?? []);
  }
  if (way !== undefined) return follow(walk, vpc, at, way, destination);
  if (isIp6(destination)) {
    const hint = 'add a route to the internet gateway or the egress-only one, or to a peering or a transit gateway';
    return blocked(at, { rule: `it has no route to ${destination}`, hint });
  }
  return blocked(at, {
    rule: `it has no route to ${destination}`,
    hint:
      subnet?.routeTable === undefined
        ? `make subnet ${vpc}/${name} public, or add a route to a NAT gateway`
        : 'add a route to the internet gateway or to a NAT gateway',
    next: { at: 'gateway-out', vpc },
  });
}

function blockText({ block, list }: Pick<Way, 'block' | 'list'>): string {
  return list === undefined ? block.cidr : `${block.cidr} of prefix list ${list}`;
}

/** Where a route leads. */
function follow({ lookup }: Walk, vpc: string, at: Component, way: Way, destination: Ip): Step {
  const { block, target } = way;
  const cidr = blockText(way);
  switch (target.type) {
    case 'internet-gateway':
    case 'egress-only-internet-gateway': {
      const egressOnly = target.type === 'egress-only-internet-gateway';
      const text = `${cidr} leads to the ${egressOnly ? 'egress-only ' : ''}internet gateway`;
      if (egressOnly && lookup.reader.get(ids.egressOnlyGateway(vpc)) === undefined) {
        return blocked(at, { rule: `${text}, which is gone: black hole`, hint: 'give the route another target' });
      }
      const next: Place = { at: 'gateway-out', vpc, ...(egressOnly ? { egressOnly } : {}) };
      if (!isIp6(destination) || isWayOut6(block.cidr, destination, lookup.pool6.cidr)) return passes(at, text, next);
      return blocked(at, {
        rule: `${text}, but ${destination} is no global address: only a route that names a block of such leads there`,
        next,
      });
    }
    case 'nat-gateway': {
      const gateway = lookup.natGateway(vpc, target.natGateway);
      const text = `${cidr} leads to nat gateway ${target.natGateway}`;
      if (gateway !== undefined) return passes(at, text, { at: 'nat', nat: gateway, by: 'route' });
      return blocked(at, { rule: `${text}, which is gone: black hole`, hint: 'give the route another target' });
    }
    case 'peering': {
      const text = `${cidr} leads to peered vpc ${target.peering}`;
      const known = lookup.network(vpc)?.peers.some((peer) => peer.vpc === target.peering) === true;
      if (known) return passes(at, text, { at: 'peering', from: vpc, to: target.peering });
      return blocked(at, {
        rule: `${text}, but the peering is gone: black hole`,
        hint: 'give the route another target',
      });
    }
    case 'transit-gateway': {
      const gateway = target.transitGateway;
      const text = `${cidr} leads to transit gateway ${gateway}`;
      if (lookup.attachment(gateway, vpc) !== undefined) return passes(at, text, { at: 'transit', gateway, from: vpc });
      return blocked(at, {
        rule: `${text}, but vpc ${vpc} is not attached: black hole`,
        hint: 'give the route another target',
      });
    }
    case 'blackhole':
      return blocked(at, { rule: `${cidr} leads nowhere: black hole`, hint: 'give the route another target' });
  }
}

// --- NAT gateways ------------------------------------------------------------------------------------------------------

/** AWS, VPC User Guide, "NAT gateway basics". */
const NAT_PROTOCOLS = [TCP, UDP, ICMP] as const;

function nat(walk: Walk, { nat: gateway, by }: PlaceAt<'nat'>, packet: Packet): Step {
  const at = natComponent(gateway);
  if (walk.direction === 'forward') {
    if (by === 'address') return blocked(at, { rule: 'it lets in answers only: nothing of it can be reached' });
    if (!NAT_PROTOCOLS.some(({ number }) => number === walk.query.protocol.number)) {
      return blocked(at, { rule: `it translates TCP, UDP and ICMP only, not ${trafficText(walk.query)}` });
    }
    if (walk.translated.some((one) => one.by === at.id)) {
      return blocked(at, {
        rule: `the routes behind it lead back to it: subnet ${gateway.vpc}/${gateway.subnet} follows them`,
        hint: 'associate that subnet with a route table that leads on',
      });
    }
    return translates(
      at,
      `${gateway.ip} is its address`,
      packet,
      { field: 'source', from: packet.source, to: gateway.ip },
      { at: 'route', vpc: gateway.vpc, subnet: gateway.subnet },
    );
  }
  if (by === 'route' || walk.target.kind !== 'instance') {
    return blocked(at, { rule: 'it passes on what a connection through it begins, and no answer of another one' });
  }
  return undone(walk, at, 'destination', packet, entering(walk, walk.target));
}

/** The VPC in which the target is meant to be found by this address. */
function vpcMeant(target: Endpoint, destination: Ip): string | undefined {
  switch (target.kind) {
    case 'instance':
      return [target.ip, target.ipv6, target.by === 'public' ? null : target.address].includes(destination)
        ? target.vpc
        : undefined;
    case 'router':
    case 'resolver':
      return target.vpc;
    case 'nobody':
      return target.vpc ?? undefined;
    default:
      return undefined;
  }
}

function localRoute({ lookup }: Walk, vpc: string, at: Component, { source, destination }: Packet, rule: string): Step {
  const holder = lookup.holderAt(vpc, destination);
  if (holder?.kind === 'nat-gateway') return passes(at, rule, { at: 'nat', nat: holder, by: 'address' });
  if (holder !== undefined) {
    return passes(at, rule, { at: 'ingress', instance: holder, neighbour: lookup.instanceAt(vpc, source) });
  }
  if (lookup.gatewayAt(vpc, destination) !== undefined || lookup.isResolver(vpc, destination)) {
    return passes(at, rule, { at: 'to-router', vpc, from: 'instance' });
  }
  return blocked(at, { rule: `${rule}, and no instance of vpc ${vpc} has ${destination}` });
}

function unrouted(walk: Walk, vpc: string, away: string, at: Component, destination: Ip, peers: readonly Peer[]): Step {
  const { lookup } = walk;
  const peer = peers.find((one) => one.vpc === away);
  if (peer === undefined) {
    return blocked(at, {
      rule: `nothing leads to ${destination}: vpc ${vpc} and vpc ${away} are not peered`,
      hint: `peer vpc ${vpc} with vpc ${away}${hasPublic(walk.target) && !isIp6(destination) ? `, or use the public address` : ''}`,
      ...beyond(walk),
    });
  }
  if (lookup.isInAny(destination, peer.theirs)) {
    return blocked(at, {
      rule: `it has no route to ${destination}`,
      hint: `add a route to the peering with vpc ${away}`,
      next: { at: 'peering', from: vpc, to: away },
    });
  }
  return blocked(at, {
    rule: `nothing leads to ${destination}: the peering with vpc ${away} leaves it out (only ${peer.peering.allowCidrs?.join(', ')})`,
    hint: `allow a block with ${destination} in the peering`,
    next: { at: 'peering', from: vpc, to: away },
  });
}

function hasPublic(end: Endpoint): boolean {
  return end.kind === 'instance' && end.publicIp !== null;
}

// --- peering -----------------------------------------------------------------------------------------------------------

function peering(walk: Walk, { from, to }: PlaceAt<'peering'>, packet: Packet): Step {
  const { lookup } = walk;
  const at = peeringComponent(from, to);
  const peer = lookup.network(from)?.peers.find(({ vpc }) => vpc === to);
  const beyondIt = behindPeering(walk, to, packet);
  if (peer === undefined) return blocked(at, { rule: `vpc ${from} and vpc ${to} are not peered`, ...beyond(walk) });
  const allowed = peer.peering.allowCidrs;
  // Whoever was let in by another way is answered by this one too.
  const isAnswer = walk.direction === 'return';
  if (!isAnswer && !lookup.isInAny(packet.source, peer.ours)) {
    return blocked(at, {
      rule: `only ${allowed?.join(', ')} take part: ${packet.source} of vpc ${from} does not`,
      hint: `allow a block with ${packet.source} in the peering`,
      ...beyondIt,
    });
  }
  if (!isAnswer && !lookup.isInAny(packet.destination, peer.theirs)) {
    const { destination } = packet;
    return blocked(at, {
      rule: `only ${(allowed ?? peer.theirs.map(({ cidr }) => cidr)).join(', ')} take part: ${destination} of vpc ${to} does not`,
      hint: `allow a block with ${destination} in the peering`,
      ...beyondIt,
    });
  }
  if (beyondIt.next === undefined) {
    return blocked(at, { rule: `no instance of vpc ${to} has ${packet.destination}` });
  }
  if (isAnswer) return passes(at, TRACKED, beyondIt.next);
  const blocks = allowed === undefined ? 'all blocks of both VPCs take part' : `only ${allowed.join(', ')} take part`;
  return passes(at, blocks, beyondIt.next);
}

// --- transit gateways ----------------------------------------------------------------------------------------------------

function transit(walk: Walk, { gateway, from }: PlaceAt<'transit'>, packet: Packet): Step {
  const { lookup, target } = walk;
  const { destination } = packet;
  const table = lookup.attachment(gateway, from)?.routeTable ?? '';
  const id = ids.transitRouteTable(gateway, table);
  const at = component('transit-gateway', `route table ${table} of transit gateway ${gateway}`, null, id);
  const way = lookup.transitWays(gateway, table).find(({ block }) => lookup.isIn(destination, block));
  const away = vpcMeant(target, destination);
  if (way === undefined) {
    const hint = away === undefined ? undefined : `propagate vpc ${away} to it, or add a route`;
    return blocked(at, { rule: `it has no route to ${destination}`, hint, ...beyond(walk) });
  }
  const cidr = blockText(way);
  if (way.target.type === 'blackhole')
    return blocked(at, { rule: `${cidr} leads nowhere: black hole`, ...beyond(walk) });
  const { vpc } = way.target;
  const text = `${cidr} leads to vpc ${vpc}`;
  if (lookup.attachment(gateway, vpc) === undefined) {
    return blocked(at, { rule: `${text}, which is not attached: black hole`, ...beyond(walk) });
  }
  if (away !== undefined && away !== vpc) return blocked(at, { rule: `${text}, not to vpc ${away}`, ...beyond(walk) });
  const { next } = behindPeering(walk, vpc, packet);
  if (next === undefined) return blocked(at, { rule: `${text}: no instance of it has ${destination}` });
  return passes(at, text, next);
}

function behindPeering({ lookup }: Walk, vpc: string, { destination }: Packet): { readonly next?: Place } {
  const holder = lookup.holderAt(vpc, destination);
  if (holder?.kind === 'nat-gateway') return { next: { at: 'nat', nat: holder, by: 'address' } };
  if (holder !== undefined) return { next: { at: 'ingress', instance: holder, neighbour: undefined } };
  if (lookup.gatewayAt(vpc, destination) === undefined) return {};
  return { next: { at: 'to-router', vpc, from: 'peering' } };
}

// --- internet gateway ----------------------------------------------------------------------------------------------------

function gatewayOut(walk: Walk, { vpc, egressOnly }: PlaceAt<'gateway-out'>, packet: Packet): Step {
  const { lookup } = walk;
  const at = egressOnly === true ? egressOnlyComponent(vpc) : gatewayComponent(vpc);
  const next: Place = { at: 'border', from: 'gateway' };
  if (isIp6(packet.source)) {
    if (egressOnly === true && walk.direction === 'return') return blocked(at, { ...ANSWERS_ONLY, next });
    return passes(at, 'IPv6 is not translated', next);
  }
  if (walk.direction === 'return') return undone(walk, at, 'source', packet, next);
  const holder = lookup.holderAt(vpc, packet.source);
  const source = holder?.publicIp;
  if (source === undefined) {
    const isPublic = holder?.kind === 'instance' && lookup.subnet(vpc, holder.subnet)?.public === true;
    return blocked(at, {
      rule: `${holder === undefined ? packet.source : describe(holder)} has no public address`,
      ...(holder?.kind === 'nat-gateway'
        ? {}
        : { hint: `give it one${isPublic ? '' : ', in a public subnet, or an elastic one'}` }),
      // What the receiver would see is one of the pool.
      packet: { ...packet, source: addressAt(lookup.pool.cidr as Cidr, 1) },
      next,
    });
  }
  return translates(
    at,
    `${source} is its public address`,
    packet,
    { field: 'source', from: packet.source, to: source },
    next,
  );
}

/** What this component translated of the first packet, it translates back of the answer. */
function undone({ translated }: Walk, at: Component, field: Translation['field'], packet: Packet, next: Place): Step {
  const before = translated.find((one) => one.by === at.id && one.field !== field && one.to === packet[field]);
  if (before === undefined) return passes(at, 'nothing was translated here', next);
  const { from, to } = before;
  return translates(at, 'stateful: the answer is translated back', packet, { field, from: to, to: from }, next);
}

function gatewayIn(walk: Walk, { vpc }: PlaceAt<'gateway-in'>, packet: Packet): Step {
  const { lookup } = walk;
  const at = gatewayComponent(vpc);
  if (isIp6(packet.destination)) return gatewayIn6(walk, at, vpc, packet);
  if (walk.direction === 'return') return comeBack(walk, at, vpc, packet);
  const holder = lookup.holderAtPublic(packet.destination);
  const inside = insideSource(walk, vpc, packet.source);
  if (inside !== undefined) {
    return blocked(at, { rule: `${packet.source} is of ${inside}, and comes from outside`, ...beyond(walk) });
  }
  if (holder !== undefined && holder.vpc === vpc) {
    const translation: Translation = { field: 'destination', from: packet.destination, to: holder.ip };
    const next: Place =
      holder.kind === 'instance'
        ? { at: 'ingress', instance: holder, neighbour: undefined }
        : { at: 'nat', nat: holder, by: 'address' };
    return translates(at, `${packet.destination} is ${describe(holder)}'s`, packet, translation, next);
  }
  return privatelyFromHost(lookup, at, vpc, packet.destination);
}

const ANSWERS_ONLY: Blocked = {
  rule: 'it lets in answers only: nothing begins a connection by it',
  hint: 'let the route lead to the internet gateway',
};

/** It takes from outside what it would lead back there, and by an egress-only gateway answers alone. */
function gatewayIn6(walk: Walk, at: Component, vpc: string, { source, destination }: Packet): Step {
  const { lookup, target } = walk;
  const instance = lookup.instanceAt(vpc, destination);
  if (instance === undefined) {
    if (lookup.gatewayAt(vpc, destination) === undefined) {
      return blocked(at, { rule: `no instance of vpc ${vpc} has ${destination}` });
    }
    return passes(at, `${destination} is of the router`, { at: 'to-router', vpc, from: 'gateway' });
  }
  const next: Place =
    walk.direction === 'return' && target.kind === 'instance'
      ? entering(walk, target)
      : { at: 'ingress', instance, neighbour: undefined };
  const way = lookup.wayFrom(vpc, instance.subnet, source);
  if (way === undefined || !leadsOut(way.target) || !isWayOut6(way.block.cidr, source, lookup.pool6.cidr)) {
    return blocked(at, {
      rule: `the route table of subnet ${vpc}/${instance.subnet} does not lead ${source} out by it`,
      hint: 'add a route to the internet gateway',
      next,
    });
  }
  if (way.target.type === 'internet-gateway') return passes(at, `${destination} is ${describe(instance)}'s`, next);
  if (lookup.reader.get(ids.egressOnlyGateway(vpc)) === undefined) {
    return blocked(at, { rule: 'the egress-only internet gateway is gone: black hole', next });
  }
  const only = egressOnlyComponent(vpc);
  if (walk.direction === 'forward') return blocked(only, { ...ANSWERS_ONLY, next });
  return passes(only, TRACKED, next);
}

/** The host comes in by private addresses too, to whoever it would reach by a public one. */
function privatelyFromHost(lookup: Lookup, at: Component, vpc: string, destination: Ip): Step {
  const instance = lookup.instanceAt(vpc, destination);
  if (instance === undefined) {
    if (lookup.gatewayAt(vpc, destination) === undefined) {
      return blocked(at, { rule: `no instance of vpc ${vpc} has ${destination}` });
    }
    return passes(at, 'the host may come in', { at: 'to-router', vpc, from: 'gateway' });
  }
  const next: Place = { at: 'ingress', instance, neighbour: undefined };
  const name = `instance ${vpc}/${instance.name}`;
  if (instance.publicIp === undefined) {
    return blocked(at, { rule: `${name} has no public address`, hint: 'give it one', next });
  }
  if (destination !== instance.ip) {
    return blocked(at, { rule: `the public address of ${name} is of ${instance.ip}, not of ${destination}`, next });
  }
  return passes(at, `the host may come in: ${name} has a public address`, next);
}

function comeBack(walk: Walk, at: Component, vpc: string, packet: Packet): Step {
  const { lookup, target } = walk;
  if (target.kind !== 'instance' || target.vpc !== vpc) {
    return blocked(at, { rule: `nobody of vpc ${vpc} has asked for this` });
  }
  const step = undone(walk, at, 'destination', packet, entering(walk, target));
  const holder = lookup.holderAt(vpc, step.packet?.destination ?? packet.destination);
  return holder?.kind === 'nat-gateway' ? { ...step, next: { at: 'nat', nat: holder, by: 'address' } } : step;
}

/** The block of the VPC or of a peer that an address is of. */
function insideSource({ lookup }: Walk, vpc: string, source: Ip): string | undefined {
  const network = lookup.network(vpc);
  const own = network?.blocks.find((block) => lookup.isIn(source, block));
  if (own !== undefined) return `the VPC's own block ${own.cidr}`;
  for (const peer of network?.peers ?? []) {
    const theirs = peer.theirs.find((block) => lookup.isIn(source, block));
    if (theirs !== undefined) return `block ${theirs.cidr} of peered vpc ${peer.vpc}`;
  }
  return undefined;
}

// --- border --------------------------------------------------------------------------------------------------------------

function border(walk: Walk, { from }: PlaceAt<'border'>, packet: Packet): Step {
  const { lookup, target } = walk;
  const at = BORDER_COMPONENT;
  const { destination } = packet;
  if (from === 'internet') {
    const refused = fromOutside(walk, packet);
    if (refused !== undefined) return refused;
  }
  const toHost = target.kind === 'host' && destination === target.address;
  if (isIp6(destination) && lookup.isIn(destination, lookup.pool6) && !toHost) return border6(walk, destination);
  if (lookup.isIn(destination, lookup.pool)) {
    const owner = lookup.holderAtPublic(destination);
    if (owner === undefined) return blocked(at, { rule: `nothing has the public address ${destination}` });
    return passes(at, `${destination} is a public address of vpc ${owner.vpc}`, { at: 'gateway-in', vpc: owner.vpc });
  }
  if (target.kind === 'host') {
    if (walk.direction === 'return') return passes(at, 'the host gets answers', { at: 'to-host' });
    return blocked(at, { rule: 'the host lets in answers only: no instance opens a connection to it' });
  }
  const routed = lookup.hostRouted(destination);
  if (from === 'host') return fromHost(walk, at, destination, routed === undefined ? undefined : routed.vpc);
  if (target.kind !== 'internet' || from === 'internet') {
    return blocked(at, { rule: `nothing leads to ${destination} from here`, ...beyond(walk) });
  }
  if (routed !== undefined) {
    const rule = `${destination} is of subnet ${routed.vpc}/${routed.name}, which others reach by public addresses only`;
    return blocked(at, { rule, hint: `peer with vpc ${routed.vpc}, or use a public address` });
  }
  return outwards(walk, at, packet);
}

/** Between VPCs by IPv6, and into them: the border leads to those alone that have a way out. */
function border6({ lookup, target }: Walk, destination: Ip): Step {
  const at = BORDER_COMPONENT;
  const vpc = lookup.vpcOf6(destination);
  if (vpc === undefined) return blocked(at, { rule: `nothing has the address ${destination}` });
  const next: Place = { at: 'gateway-in', vpc };
  if (hasWayOut6(lookup.reader, vpc)) return passes(at, `${destination} is of vpc ${vpc}`, next);
  return blocked(at, {
    rule: `no route of vpc ${vpc} leads its IPv6 to the internet`,
    hint: 'add a route to ::/0 by its internet gateway',
    ...(target.kind === 'instance' ? { next } : {}),
  });
}

function fromOutside(walk: Walk, { source, destination }: Packet): Step | undefined {
  const { lookup, target } = walk;
  const at = BORDER_COMPONENT;
  if (lookup.edge?.uplink === undefined) return blocked(at, { ...NO_UPLINK, ...inwards(walk, destination) });
  const routed = lookup.hostRouted(source);
  if (routed !== undefined) {
    const rule = `${source} is of subnet ${routed.vpc}/${routed.name}, and comes from outside`;
    return blocked(at, { rule, ...inwards(walk, destination) });
  }
  if (isIp6(destination)) return undefined;
  // An answer is for what the first packet left with, a NAT gateway's address if it went through one.
  if (walk.direction === 'return' || target.kind !== 'instance' || target.publicIp !== null) return undefined;
  return blocked(at, {
    rule: `instance ${target.vpc}/${target.name} has no public address`,
    hint: `give it one${lookup.subnet(target.vpc, target.subnet)?.public === true ? '' : ', in a public subnet'}`,
    ...beyond(walk),
  });
}

const NO_UPLINK: Blocked = {
  rule: 'there is no uplink: public means reachable from the host only',
  hint: 'configure an uplink',
};

/** Where a packet for a public address would go on. */
function inwards(walk: Walk, destination: Ip): Pick<Blocked, 'next' | 'packet'> {
  const owner = walk.lookup.holderAtPublic(destination);
  return owner === undefined ? beyond(walk) : { next: { at: 'gateway-in', vpc: owner.vpc } };
}

function fromHost(walk: Walk, at: Component, destination: Ip, routed: string | undefined): Step {
  const { lookup, target } = walk;
  const vpc = vpcMeant(target, destination);
  if (routed !== undefined && (vpc === undefined || vpc === routed)) {
    return passes(at, `the host has a route to it`, { at: 'gateway-in', vpc: routed });
  }
  const subnet = target.kind === 'instance' ? lookup.subnet(target.vpc, target.subnet) : undefined;
  const why =
    subnet === undefined
      ? ''
      : subnet.public
        ? `: something else on this host has the route to ${subnet.cidr}`
        : `: subnet ${subnet.vpc}/${subnet.name} is private`;
  return blocked(at, {
    rule: `the host has no route to ${destination}${why}`,
    hint: hasPublic(target)
      ? 'use the public address'
      : subnet === undefined
        ? undefined
        : 'put it into a public subnet',
    ...beyond(walk),
  });
}

function outwards(walk: Walk, at: Component, { source }: Packet): Step {
  const { edge, installation } = walk.lookup;
  const next: Place = { at: 'to-internet' };
  if (edge?.uplink === undefined) return blocked(at, { ...NO_UPLINK, next });
  const isRouted = isIp6(source) ? installation.ipv6PoolRouted === true : installation.poolRouted;
  if (isRouted || walk.direction === 'return') {
    return passes(at, `uplink ${edge.uplink} leads out`, next);
  }
  return {
    component: at,
    decision: 'translates',
    rule: `uplink ${edge.uplink} leads out; the ${isIp6(source) ? 'IPv6 ' : ''}pool is not routed to this host`,
    translation: { field: 'source', from: source, to: `the address of ${edge.uplink}` },
    next,
  };
}

// --- the router itself ---------------------------------------------------------------------------------------------------

const DNS_PORT = 53;

function toRouter({ query }: Walk, { vpc, from }: PlaceAt<'to-router'>): Step {
  const at = routerComponent(vpc);
  if (from !== 'instance') return blocked(at, { rule: 'it answers instances of its own VPC only' });
  if (query.protocol.name === 'icmp' || query.protocol.name === 'icmpv6') return passes(at, 'it answers pings');
  const { kind } = query.destination;
  if (kind === 'resolver' && query.port === DNS_PORT && ['udp', 'tcp'].includes(query.protocol.name)) {
    return passes(at, 'its resolver answers queries');
  }
  return blocked(at, { rule: `it answers pings only, not ${trafficText(query)}` });
}
