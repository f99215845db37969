/**
 * The verbs: edits of a draft that keep the rules of the cloud. Each is idempotent (asked again with the same arguments it
 * changes nothing) and refuses with one line what breaks a rule. Source of the numbers: Amazon VPC User Guide, "VPC CIDR blocks" (a block is
 * /16 to /28) and "Subnet CIDR blocks" (the first four addresses and the last are reserved).
 */
import { isSame } from '../canonical.js';
import { invalid, VpcctlError } from '../errors.js';
import {
  addressAt,
  type Cidr,
  contains,
  type Ipv4,
  isSpecialUse,
  networkOf,
  offsetOf,
  overlaps,
  parseAnyCidr,
  parseCidr,
  parseIp,
  prefixLength,
  sizeOf,
} from '../net/cidr.js';
import { parseName } from '../net/name.js';
import type { PolicyFile, PublicationSpec, QuotasSpec, SecurityGroupSpec, SettingsSpec } from '../spec/types.js';
import { addressOf, allocate, allocatePublic, checkAddress, checkPublicAddress } from './addresses.js';
import { leaveZones } from './dns.js';
import { freeElasticIp } from './elastic.js';
import {
  checkPoolUnused,
  chooseInstanceIpv6,
  chooseSubnetIpv6,
  type Ipv6Wish,
  parseIpv6Pool,
  setVpcIpv6,
} from './ipv6.js';
import {
  blocksOf,
  conflict,
  installationOf,
  ipv6PoolOf,
  notFound,
  otherVpc,
  peeredCidrs,
  peeringsOf,
  requireInstance,
  requireSubnet,
  requireVpc,
  subnetsOf,
} from './lookup.js';
import { checkRuleQuota, refuseRoutesInto, requirePrefixList } from './prefix-lists.js';
import { checkQuota } from './quotas.js';
import { type Draft, findKind, getKind, type Reader } from './reader.js';
import {
  describe,
  type Installation,
  type Instance,
  idOf,
  ids,
  MAIN_ROUTE_TABLE,
  type Peering,
  type Publication,
  type Resource,
  resolverOf,
  type SecurityGroup,
  type Subnet,
  type Vpc,
} from './resources.js';
import { checkPolicy, DEFAULT_GROUP, DEFAULT_GROUP_RULES, parseGroup } from './rules.js';
import { chooseSecondaryIps } from './secondary.js';
import { type AskedShaping, shapingOf } from './shape.js';
import { newTable } from './tables.js';

const MIN_PREFIX = 16;
const MAX_PREFIX = 28;

// --- settings --------------------------------------------------------------------------------------------------------

/** Changes settings of the installation. CONFLICT while public addresses of the old pool are in use. */
export function configure(draft: Draft, settings: SettingsSpec): void {
  const before = installationOf(draft);
  const pool = settings.publicPool === undefined ? before.publicPool : parseCidr(settings.publicPool).cidr;
  if (prefixLength(pool) > 30)
    throw invalid(`public pool ${pool} is smaller than a /30`, { hint: 'give a larger block' });
  refuseSpecial(pool, 'public pool');
  const pool6 = settings.ipv6Pool === undefined ? before.ipv6Pool : parseIpv6Pool(settings.ipv6Pool);
  const isRouted6 = settings.ipv6PoolRouted ?? before.ipv6PoolRouted;
  const after: Installation = {
    kind: 'installation',
    publicPool: pool,
    poolRouted: settings.poolRouted ?? before.poolRouted,
    ...(pool6 === undefined ? {} : { ipv6Pool: pool6 }),
    ...(isRouted6 === true ? { ipv6PoolRouted: true } : {}),
    uplink: settings.uplink ?? before.uplink,
    ...withQuotas(settings.quotas ?? before.quotas),
  };
  if (!/^[^\s/]{1,15}$/.test(after.uplink)) {
    throw invalid(`${JSON.stringify(after.uplink)} cannot be the name of a link`, {
      hint: 'name the uplink as the kernel does, or write auto or none',
    });
  }
  if (isSame(before, after)) return;
  const before6 = ipv6PoolOf(draft);
  if (pool6 !== undefined && pool6 !== before6) checkPoolUnused(draft, before6);
  if (before.publicPool !== pool) {
    for (const vpc of findKind(draft, 'vpc', 'kind:vpc')) {
      for (const cidr of vpc.cidrs) refusePool(cidr, pool, `vpc ${vpc.name}`);
      const [user] = draft.find(`addressed:${vpc.name}`);
      if (user !== undefined) {
        const address = 'publicIp' in user ? user.publicIp : undefined;
        throw conflict(
          `the public pool ${before.publicPool} is in use: ${describe(user)} has ${address}`,
          'delete what has a public address first',
        );
      }
    }
    const [elastic] = draft.find('kind:elastic-ip');
    if (elastic !== undefined) {
      throw conflict(
        `the public pool ${before.publicPool} is in use: ${describe(elastic)} is of it`,
        'release it first',
      );
    }
  }
  draft.put(after);
}

function withQuotas(quotas: QuotasSpec | undefined): Pick<Installation, 'quotas'> {
  return quotas === undefined || Object.keys(quotas).length === 0 ? {} : { quotas };
}

// --- vpc -------------------------------------------------------------------------------------------------------------

function refuseSpecial(cidr: Cidr, what: string): void {
  const special = isSpecialUse(cidr);
  if (special !== undefined) {
    throw invalid(`${what} ${cidr} overlaps ${special.cidr} (${special.purpose})`, {
      hint: 'use a private block such as 10.0.0.0/16',
    });
  }
}

function refusePool(cidr: Cidr, pool: Cidr, what: string): void {
  if (overlaps(cidr, pool)) {
    throw invalid(`${what}: ${cidr} overlaps the pool of public addresses ${pool}`, { hint: 'choose another block' });
  }
}

function checkBlock(draft: Draft, cidr: Cidr, what: string): void {
  const prefix = prefixLength(cidr);
  if (prefix < MIN_PREFIX || prefix > MAX_PREFIX) {
    throw invalid(`${what}: ${cidr} is a /${prefix}, a block must be between /${MIN_PREFIX} and /${MAX_PREFIX}`, {
      hint: 'choose another prefix length',
    });
  }
  refuseSpecial(cidr, what);
  refusePool(cidr, installationOf(draft).publicPool, what);
}

/** What {@link createVpc} takes. */
export interface CreateVpc {
  readonly name: string;
  /** The block, or the gateway's address with its prefix length (`10.0.1.1/24`). */
  readonly cidr: string;
  readonly secondaryCidrs?: readonly string[];
  /** A /56 of the pool; true: a free one; false: none. Default: as it was. */
  readonly ipv6Cidr?: Ipv6Wish;
  readonly origin?: string;
}

/** Creates a VPC with its `default` group. CONFLICT when it exists with another primary block. */
export function createVpc(draft: Draft, args: CreateVpc): Vpc {
  const name = parseName(args.name, 'vpc');
  const parsed = parseCidr(args.cidr, { hostBits: 'allow' });
  const gateway = parsed.address === networkAddress(parsed.cidr) ? undefined : parsed.address;
  if (gateway !== undefined && offsetOf(parsed.cidr, gateway) !== 1) {
    throw invalid(`${args.cidr} has host bits set: the network is ${parsed.cidr}`, {
      hint: `write ${parsed.cidr}, or ${addressAt(parsed.cidr, 1)}/${parsed.prefix} to name the gateway`,
    });
  }
  checkBlock(draft, parsed.cidr, `vpc ${name}`);
  const existing = getKind(draft, 'vpc', ids.vpc(name));
  if (existing !== undefined && existing.cidrs[0] !== parsed.cidr) {
    throw conflict(
      `vpc ${name} exists with block ${existing.cidrs[0]}, not ${parsed.cidr}`,
      `a VPC's primary block never changes: delete the VPC first, or choose another name`,
    );
  }
  let vpc: Vpc = existing ?? {
    kind: 'vpc',
    name,
    cidrs: [parsed.cidr],
    mtu: 0,
    ...(gateway === undefined ? {} : { gatewayHint: gateway }),
  };
  if (args.origin !== undefined) vpc = { ...vpc, origin: args.origin };
  draft.put(vpc);
  if (existing === undefined) {
    draft.put({ kind: 'group', vpc: name, name: DEFAULT_GROUP, ...DEFAULT_GROUP_RULES });
    draft.put(newTable(draft, name, MAIN_ROUTE_TABLE));
  }
  for (const secondary of args.secondaryCidrs ?? []) vpc = addVpcBlock(draft, name, parseCidr(secondary).cidr);
  return setVpcIpv6(draft, vpc, args.ipv6Cidr);
}

function networkAddress(cidr: Cidr): Ipv4 {
  return addressAt(cidr, 0);
}

/** Adds a secondary block. INVALID when it overlaps a block of the VPC, of a peer, or of another peer of a peer. */
export function addVpcBlock(draft: Draft, name: string, cidr: Cidr): Vpc {
  const vpc = requireVpc(draft, name);
  if (vpc.cidrs.includes(cidr)) return vpc;
  checkBlock(draft, cidr, `vpc ${name}`);
  for (const own of vpc.cidrs) {
    if (overlaps(own, cidr)) {
      throw invalid(`block ${cidr} overlaps ${own} of the same vpc ${name}`, { hint: 'choose a block that is free' });
    }
  }
  for (const peering of peeringsOf(draft, name)) {
    const other = requireVpc(draft, otherVpc(peering, name));
    const clash = other.cidrs.find((theirs) => overlaps(theirs, cidr));
    if (clash !== undefined) {
      throw invalid(`block ${cidr} of vpc ${name} overlaps ${clash} of its peer ${other.name}`, {
        hint: 'choose another block, or unpeer first',
      });
    }
    for (const further of peeringsOf(draft, other.name)) {
      const third = otherVpc(further, other.name);
      const taken = third === name ? undefined : requireVpc(draft, third).cidrs.find((block) => overlaps(block, cidr));
      if (taken !== undefined) {
        throw invalid(`block ${cidr} of vpc ${name} overlaps ${taken} of ${third}: ${other.name} is peered with both`, {
          hint: 'choose another block, or unpeer first',
        });
      }
    }
  }
  checkQuota(draft, 'blocksPerVpc', `vpc ${name}`, vpc.cidrs.length + 1);
  refuseRoutesInto(draft, name, cidr);
  const after = { ...vpc, cidrs: [...vpc.cidrs, cidr] };
  draft.put(after);
  return after;
}

/** Drops secondary blocks that are not in `keep`. CONFLICT while a subnet lies in one. */
export function retainVpcBlocks(draft: Draft, name: string, keep: readonly Cidr[]): void {
  const vpc = requireVpc(draft, name);
  const dropped = vpc.cidrs.filter((cidr, index) => index > 0 && !keep.includes(cidr));
  if (dropped.length === 0) return;
  for (const subnet of subnetsOf(draft, name)) {
    const home = dropped.find((cidr) => contains(cidr, subnet.cidr));
    if (home !== undefined)
      throw conflict(`block ${home} of vpc ${name} holds subnet ${subnet.name}`, 'delete it first');
  }
  draft.put({ ...vpc, cidrs: vpc.cidrs.filter((cidr) => !dropped.includes(cidr)) });
}

/** Deletes a VPC and all in it; false when there is none. CONFLICT while it is peered or attached to a transit gateway, unless `force`, which ends that. */
export function deleteVpc(draft: Draft, name: string, force = false): boolean {
  const vpc = getKind(draft, 'vpc', ids.vpc(parseName(name, 'vpc')));
  if (vpc === undefined) return false;
  const peerings = peeringsOf(draft, name);
  if (peerings.length > 0 && !force) {
    const others = peerings.map((peering) => otherVpc(peering, name)).join(', ');
    throw conflict(`vpc ${name} is peered with ${others}`, 'unpeer-vpcs first, or use --force');
  }
  const attachments = draft.find(`attachments-of:${name}`);
  if (attachments.length > 0 && !force) {
    throw conflict(`there is the ${describe(attachments[0] as Resource)}`, 'detach-vpc first, or use --force');
  }
  for (const term of [
    `instances:${name}`,
    `profiles:${name}`,
    `subnets:${name}`,
    `groups:${name}`,
    `route-tables:${name}`,
    `network-acls:${name}`,
    `nat-gateways:${name}`,
    `attachments-of:${name}`,
    `peerings:${name}`,
  ]) {
    for (const resource of draft.find(term)) draft.remove(idOf(resource));
  }
  leaveZones(draft, name);
  draft.remove(ids.igw(name));
  draft.remove(ids.egressOnlyGateway(name));
  draft.remove(ids.vpc(name));
  return true;
}

// --- subnet ----------------------------------------------------------------------------------------------------------

/** What {@link addSubnet} takes. */
export interface AddSubnet {
  readonly vpc: string;
  readonly name: string;
  /** The block. Default: the network of `gateway` and `ip`: the VPC's block when it is a /24 or smaller, else their /24. */
  readonly cidr?: string;
  /** A /64 of the VPC's IPv6 block; true: a free one; false: none. Default: as it was. */
  readonly ipv6Cidr?: Ipv6Wish;
  readonly gateway?: string;
  readonly public?: boolean;
  readonly addressing?: 'cloud' | 'plain';
  /** An address the caller is going to use; decides the block when no `cidr` does. */
  readonly ip?: string;
  /** Add the subnet's block to the VPC when it lies outside (as a secondary block). */
  readonly extendVpc?: boolean;
}

/** Adds a subnet, or changes the public flag and addressing of one. CONFLICT when it exists with another block or gateway. */
export function addSubnet(draft: Draft, args: AddSubnet): Subnet {
  let vpc = requireVpc(draft, args.vpc);
  const name = parseName(args.name, 'subnet');
  const cidr = args.cidr === undefined ? impliedBlock(vpc, args) : parseCidr(args.cidr).cidr;
  const what = `subnet ${name} of vpc ${vpc.name}`;
  checkBlock(draft, cidr, what);
  if (!vpc.cidrs.some((block) => contains(block, cidr))) {
    if (args.extendVpc !== true) {
      throw invalid(`${what}: ${cidr} is outside the VPC's blocks ${vpc.cidrs.join(', ')}`, {
        hint: 'choose a block inside, or add a secondary block to the VPC',
      });
    }
    vpc = addVpcBlock(draft, vpc.name, cidr);
  }
  const siblings = subnetsOf(draft, vpc.name);
  for (const sibling of siblings) {
    if (sibling.name !== name && overlaps(sibling.cidr, cidr)) {
      throw invalid(`${what}: ${cidr} overlaps ${sibling.cidr} of subnet ${sibling.name}`, {
        hint: 'choose a free block',
      });
    }
  }
  const gateway = chooseGateway(vpc, cidr, args.gateway, what);
  if (vpc.dns !== undefined && gateway === resolverOf(vpc)) {
    throw conflict(`${what}: ${gateway} is the address of the VPC's resolver`, 'choose another gateway');
  }
  const existing = getKind(draft, 'subnet', ids.subnet(vpc.name, name));
  if (existing !== undefined && (existing.cidr !== cidr || existing.gateway !== gateway)) {
    throw conflict(
      `${what} exists as ${existing.cidr} with gateway ${existing.gateway}, not ${cidr} with ${gateway}`,
      'delete it first, or choose another name',
    );
  }
  const subnet: Subnet = {
    kind: 'subnet',
    vpc: vpc.name,
    name,
    cidr,
    ...chooseSubnetIpv6(draft, vpc, name, args.ipv6Cidr, existing),
    gateway,
    public: args.public ?? existing?.public ?? false,
    addressing: args.addressing ?? existing?.addressing ?? 'cloud',
    hostRoute: existing?.hostRoute ?? false,
    ...(existing?.routeTable === undefined ? {} : { routeTable: existing.routeTable }),
    ...(existing?.networkAcl === undefined ? {} : { networkAcl: existing.networkAcl }),
    cursor: existing?.cursor ?? 0,
    ...(existing?.policy === undefined ? {} : { policy: existing.policy }),
  };
  refuseReserved(draft, subnet);
  if (existing === undefined) checkQuota(draft, 'subnetsPerVpc', `vpc ${vpc.name}`, siblings.length + 1);
  draft.put(subnet);
  if (existing !== undefined && existing.public !== subnet.public) readdress(draft, subnet);
  return subnet;
}

/** From `plain` to `cloud` only while no instance has an address that then is reserved. */
function refuseReserved(draft: Draft, subnet: Subnet): void {
  if (getKind(draft, 'subnet', idOf(subnet))?.addressing !== 'plain' || subnet.addressing === 'plain') return;
  for (const offset of [1, 2, 3]) {
    const [holder] = draft.find(`ip:${subnet.vpc}/${addressAt(subnet.cidr, offset)}`);
    if (holder !== undefined) {
      throw conflict(
        `${describe(holder)} has ${addressAt(subnet.cidr, offset)}, which is reserved in a subnet with cloud addressing`,
        'delete it first, or keep plain addressing',
      );
    }
  }
}

/** The instances of a subnet that became public get a public address each; of one that became private, lose theirs. */
function readdress(draft: Draft, subnet: Subnet): void {
  for (const instance of findKind(draft, 'instance', `subnet:${subnet.vpc}/${subnet.name}`)) {
    if (instance.elasticIp !== undefined) continue;
    const { publicIp: _dropped, publish, ...rest } = instance;
    if (!subnet.public && publish !== undefined) {
      throw conflict(
        `${describe(instance)} is published on the host, for which it needs a public address`,
        'publish nothing of it first',
      );
    }
    const pool = installationOf(draft).publicPool;
    draft.put(subnet.public ? { ...rest, publicIp: allocatePublic(draft, pool, idOf(instance)) } : rest);
  }
}

function impliedBlock(vpc: Vpc, args: AddSubnet): Cidr {
  const anchor = args.gateway ?? args.ip;
  if (anchor === undefined) {
    throw new VpcctlError('USAGE', `subnet ${args.name} of vpc ${vpc.name} has no block`, {
      hint: 'give --cidr, or --ip with --gateway',
    });
  }
  const address = parseIp(anchor);
  const home = vpc.cidrs.find((cidr) => contains(cidr, address));
  const block = home !== undefined && prefixLength(home) >= 24 ? home : networkOf(address, 24);
  for (const given of [args.ip, args.gateway]) {
    if (given !== undefined && !contains(block, parseIp(given))) {
      throw invalid(`${given} and ${anchor} are not in one /24`, { hint: 'give --cidr' });
    }
  }
  return block;
}

function chooseGateway(vpc: Vpc, cidr: Cidr, asked: string | undefined, what: string): Ipv4 {
  if (asked === undefined) {
    return vpc.gatewayHint !== undefined && contains(cidr, vpc.gatewayHint) ? vpc.gatewayHint : addressAt(cidr, 1);
  }
  const gateway = parseIp(asked);
  if (!contains(cidr, gateway))
    throw invalid(`${what}: gateway ${gateway} is outside ${cidr}`, { hint: `use ${addressAt(cidr, 1)}` });
  const offset = offsetOf(cidr, gateway);
  if (offset === 0 || offset === sizeOf(cidr) - 1) {
    throw invalid(`${what}: gateway ${gateway} is the ${offset === 0 ? 'network' : 'broadcast'} address of ${cidr}`, {
      hint: `use ${addressAt(cidr, 1)}`,
    });
  }
  return gateway;
}

/** Deletes a subnet with its own-named instance; false when there is none. CONFLICT while others are in it, or NAT gateways, unless `force`. */
export function deleteSubnet(draft: Draft, vpc: string, name: string, force = false): boolean {
  if (draft.get(ids.vpc(parseName(vpc, 'vpc'))) === undefined) return false;
  const subnet = getKind(draft, 'subnet', ids.subnet(vpc, parseName(name, 'subnet')));
  if (subnet === undefined) return false;
  const instances = findKind(draft, 'instance', `subnet:${vpc}/${name}`);
  const nats = draft.find(`nats-of:${vpc}/${name}`);
  const others = instances.filter((instance) => instance.name !== name).map((instance) => instance.name);
  if (others.length > 0 && !force) {
    throw conflict(`subnet ${vpc}/${name} holds ${list(others)}`, 'delete-instance first, or use --force');
  }
  if (nats.length > 0 && !force) {
    throw conflict(
      `subnet ${vpc}/${name} holds ${nats.map(describe).join(', ')}`,
      'delete-nat-gateway first, or use --force',
    );
  }
  for (const inside of [...instances, ...nats]) draft.remove(idOf(inside));
  draft.remove(idOf(subnet));
  return true;
}

function list(names: readonly string[]): string {
  return names.length <= 5 ? names.join(', ') : `${names.slice(0, 5).join(', ')} and ${names.length - 5} more`;
}

// --- instance --------------------------------------------------------------------------------------------------------

/** What {@link addInstance} takes. Of bandwidth, delay, jitter and loss null is none, and absent as it was. */
export interface AddInstance extends AskedShaping {
  readonly vpc: string;
  readonly subnet: string;
  readonly name: string;
  readonly ip?: string;
  /** One of the subnet's IPv6 block; true: a free one; false: none. Default: as it was; of a new one, as the subnet. */
  readonly ipv6?: Ipv6Wish;
  /** Further addresses of the subnet, of either family. Default: as it was. */
  readonly secondaryIps?: readonly string[];
  /** true: allocate; false: none; an address: that one. Default: as the subnet. */
  readonly publicIp?: boolean | string;
  /** Name of the elastic address that is to be its public one; null: none. Default: as it was. */
  readonly elasticIp?: string | null;
  /** Ports of the host that lead to it. Default: as it was. */
  readonly publish?: readonly PublicationSpec[];
  readonly securityGroups?: readonly string[];
}

/**
 * Adds an instance, or changes its groups and public address. CONFLICT when it exists elsewhere or with another address; also when this very
 * transaction deletes it there, or deletes the instance that has its address: links are unmade last, so neither can be made anew before.
 */
export function addInstance(draft: Draft, args: AddInstance): Instance {
  const subnet = requireSubnet(draft, args.vpc, args.subnet);
  const name = parseName(args.name, 'instance');
  const id = ids.instance(subnet.vpc, name);
  const existing = getKind(draft, 'instance', id);
  if (existing !== undefined && existing.subnet !== subnet.name) {
    throw conflict(
      `instance ${subnet.vpc}/${name} exists in subnet ${existing.subnet}`,
      'names of instances are unique in their VPC: choose another, or delete it first',
    );
  }
  const ip = args.ip === undefined ? existing?.ip : checkAddress(draft, subnet, parseIp(args.ip), id);
  if (existing !== undefined && existing.ip !== ip) {
    throw conflict(`instance ${subnet.vpc}/${name} exists with address ${existing.ip}, not ${ip}`, 'delete it first');
  }
  const past = existing === undefined ? draft.before(id) : undefined;
  const returning = past?.kind === 'instance' ? past : undefined;

  const groups = [...new Set(args.securityGroups ?? existing?.groups ?? [DEFAULT_GROUP])].sort();
  if (groups.length === 0)
    throw invalid(`instance ${subnet.vpc}/${name} has no security group`, {
      hint: `name one, or leave it out for \`${DEFAULT_GROUP}\``,
    });
  for (const group of groups) requireGroup(draft, subnet.vpc, group);
  checkQuota(draft, 'securityGroupsPerInstance', `instance ${subnet.vpc}/${name}`, groups.length);
  const address = chooseAddress(draft, subnet, id, args, existing);
  const publish = args.publish === undefined ? existing?.publish : parsePublish(draft, id, args.publish);
  if (publish !== undefined && publish.length > 0 && address.publicIp === undefined) {
    throw invalid(`instance ${subnet.vpc}/${name} has no public address: no port of the host can lead to it`, {
      hint: 'give it one, or publish nothing of it',
    });
  }
  const chosen = ip ?? addressOf(returning, draft, subnet) ?? allocate(draft, subnet);
  const shaping = shapingOf(args, existing?.shaping);
  const primary = { ip: chosen, ...chooseInstanceIpv6(draft, subnet, id, chosen, args.ipv6, existing) };
  const instance: Instance = {
    kind: 'instance',
    vpc: subnet.vpc,
    name,
    subnet: subnet.name,
    ...primary,
    ...chooseSecondaryIps(draft, subnet, id, primary, args.secondaryIps, existing),
    ...address,
    ...(publish === undefined || publish.length === 0 ? {} : { publish }),
    ...(shaping === undefined ? {} : { shaping }),
    groups,
    profile: existing?.profile ?? 0,
  };
  if (returning !== undefined && returning.ip !== instance.ip) {
    throw conflict(
      `instance ${subnet.vpc}/${name} goes only with this change: it cannot come back with ${instance.ip} for ${returning.ip}`,
      'choose another name; or delete it in a change of its own first',
    );
  }
  draft.put(instance);
  return instance;
}

/** What {@link modifyInstance} takes: what is left out stays as it was. */
export interface ModifyInstance extends AskedShaping {
  readonly vpc: string;
  readonly name: string;
}

/** Gives an instance that is there another bandwidth, delay, jitter or loss. NOT_FOUND when it is not there. */
export function modifyInstance(draft: Draft, { vpc, name, ...asked }: ModifyInstance): Instance {
  const { shaping: was, ...instance } = requireInstance(draft, vpc, name);
  const shaping = shapingOf(asked, was);
  const modified: Instance = { ...instance, ...(shaping === undefined ? {} : { shaping }) };
  draft.put(modified);
  return modified;
}

function parsePublish(draft: Draft, id: string, specs: readonly PublicationSpec[]): Publication[] {
  const wanted = specs.map(
    ({ hostPort, port = hostPort, protocol = 'tcp' }): Publication => ({
      protocol: protocol === 'tcp' ? 6 : 17,
      hostPort,
      port,
    }),
  );
  const sorted = wanted.sort((a, b) => a.protocol - b.protocol || a.hostPort - b.hostPort);
  for (const [at, { protocol, hostPort }] of sorted.entries()) {
    const word = `${protocol === 6 ? 'tcp' : 'udp'} port ${hostPort} of the host`;
    const next = sorted[at + 1];
    if (next?.protocol === protocol && next.hostPort === hostPort) {
      throw invalid(`${word} is published twice`, { hint: 'leave one out' });
    }
    const [holder] = draft.find(`host-port:${protocol}/${hostPort}`);
    if (holder !== undefined && idOf(holder) !== id) {
      throw conflict(`${word} leads to ${describe(holder)}`, 'choose another');
    }
  }
  return sorted;
}

/** The elastic address that is asked for or was there, or else a public one of its own. */
function chooseAddress(
  draft: Draft,
  subnet: Subnet,
  id: string,
  { publicIp: asked, elasticIp: named }: AddInstance,
  existing: Instance | undefined,
): Pick<Instance, 'publicIp' | 'elasticIp'> {
  const elasticIp = named === undefined && asked === undefined ? existing?.elasticIp : (named ?? undefined);
  if (elasticIp !== undefined) {
    if (asked !== undefined) {
      throw invalid(`${id.replace('/', ' ')} is given a public address and an elastic one`, { hint: 'leave one out' });
    }
    const { address } = freeElasticIp(draft, elasticIp, id);
    return { publicIp: address, elasticIp };
  }
  const own = existing?.elasticIp === undefined ? existing : undefined;
  const publicIp = choosePublicIp(draft, subnet, id, asked, own);
  return publicIp === undefined ? {} : { publicIp };
}

function choosePublicIp(
  draft: Draft,
  subnet: Subnet,
  id: string,
  asked: boolean | string | undefined,
  existing: Instance | undefined,
): Ipv4 | undefined {
  const wanted = asked ?? (existing === undefined ? subnet.public : existing.publicIp !== undefined);
  if (wanted === false) return undefined;
  if (!subnet.public) {
    if (asked === undefined) return undefined;
    throw invalid(`subnet ${subnet.vpc}/${subnet.name} is private: its instances have no public address`, {
      hint: 'put the instance into a public subnet',
    });
  }
  const pool = installationOf(draft).publicPool;
  if (typeof wanted === 'string') return checkPublicAddress(draft, pool, wanted, id);
  return existing?.publicIp ?? allocatePublic(draft, pool, id);
}

/** Deletes an instance; false when there is none. */
export function deleteInstance(draft: Draft, vpc: string, name: string): boolean {
  const id = ids.instance(parseName(vpc, 'vpc'), parseName(name, 'instance'));
  if (draft.get(id) === undefined) return false;
  draft.remove(id);
  return true;
}

// --- security groups -------------------------------------------------------------------------------------------------

export function requireGroup(reader: Reader, vpc: string, name: string): SecurityGroup {
  const group = getKind(reader, 'group', ids.group(vpc, parseName(name, 'security group')));
  if (group !== undefined) return group;
  throw notFound(
    `security group ${name} of vpc ${vpc}`,
    findKind(reader, 'group', `groups:${vpc}`).map((known) => known.name),
  );
}

/** Creates a group or replaces its rules. */
export function putGroup(draft: Draft, vpc: string, name: string, spec: SecurityGroupSpec): SecurityGroup {
  requireVpc(draft, vpc);
  const group = parseGroup(vpc, name, spec);
  checkRuleQuota(draft, group);
  draft.put(group);
  return group;
}

/** NOT_FOUND when a rule of the VPC's groups names a group that is not there. Called once all groups are put. */
export function checkGroupReferences(reader: Reader, vpc: string): void {
  for (const group of findKind(reader, 'group', `groups:${vpc}`)) checkReferences(reader, group);
}

/** NOT_FOUND when a rule of the group names a group that is not there. */
export function checkReferences(reader: Reader, { vpc, name, ingress, egress }: SecurityGroup): void {
  for (const { party } of [...ingress, ...egress]) {
    if (party.type === 'prefix-list') requirePrefixList(reader, party.prefixList);
    if (party.type !== 'group') continue;
    const home = party.vpc ?? vpc;
    if (reader.get(ids.group(home, party.group)) !== undefined) continue;
    throw notFound(
      `security group ${party.vpc === undefined ? '' : `${home}/`}${party.group}, which a rule of ${vpc}/${name} names,`,
      findKind(reader, 'group', `groups:${home}`).map((known) => known.name),
    );
  }
}

/** Deletes a group; false when there is none. CONFLICT while an instance has it or a rule names it, and for `default`. */
export function deleteGroup(draft: Draft, vpc: string, name: string): boolean {
  const id = ids.group(parseName(vpc, 'vpc'), parseName(name, 'security group'));
  if (draft.get(id) === undefined) return false;
  if (name === DEFAULT_GROUP)
    throw conflict(`security group ${DEFAULT_GROUP} of vpc ${vpc} cannot be deleted`, 'it goes with its VPC');
  const [member] = draft.find(`member:${vpc}/${name}`);
  if (member !== undefined)
    throw conflict(`security group ${vpc}/${name} is in use by ${describe(member)}`, 'give it other groups first');
  const other = findKind(draft, 'group', `refers:${vpc}/${name}`).find((one) => one.name !== name);
  if (other !== undefined)
    throw conflict(`a rule of security group ${vpc}/${other.name} names ${name}`, 'change that rule first');
  draft.remove(id);
  return true;
}

// --- peering ---------------------------------------------------------------------------------------------------------

/** Peers two VPCs; `routes`: whether all route tables of both lead to the other, or only those that say so. INVALID when blocks overlap: of the two, or of two peers of one of them. */
export function peer(
  draft: Draft,
  first: string,
  second: string,
  allowCidrs?: readonly string[],
  routes: 'auto' | 'manual' = 'auto',
): Peering {
  const a = requireVpc(draft, first);
  const b = requireVpc(draft, second);
  if (a.name === b.name) throw invalid(`vpc ${a.name} cannot be peered with itself`, { hint: 'name two VPCs' });
  refusePeerOverlap(a, b, `vpc ${a.name} and vpc ${b.name} cannot be peered`);
  for (const [one, other] of [
    [a, b],
    [b, a],
  ] as const) {
    for (const peering of peeringsOf(draft, one.name)) {
      const third = otherVpc(peering, one.name);
      if (third === other.name) continue;
      refusePeerOverlap(
        other,
        requireVpc(draft, third),
        `vpc ${one.name} is peered with ${third} already, so ${other.name} cannot be peered with it`,
      );
    }
  }
  const allowed = allowCidrs?.map(parseAnyCidr);
  for (const cidr of allowed ?? []) {
    if (![...blocksOf(a), ...blocksOf(b)].some((block) => overlaps(block, cidr))) {
      throw invalid(
        `allowed block ${cidr} is in neither VPC: ${a.name} has ${blocksOf(a).join(', ')}; ${b.name} has ${blocksOf(b).join(', ')}`,
        {
          hint: 'name blocks of the two VPCs',
        },
      );
    }
  }
  const vpcs: [string, string] = a.name < b.name ? [a.name, b.name] : [b.name, a.name];
  const peering: Peering = {
    kind: 'peering',
    vpcs,
    ...(allowed === undefined ? {} : { allowCidrs: allowed }),
    ...(routes === 'manual' ? { manualRoutes: true } : {}),
  };
  for (const side of [a, b]) {
    if (peeredCidrs(peering, side).length === 0) {
      throw invalid(`the allowed blocks leave out all of vpc ${side.name} (${blocksOf(side).join(', ')})`, {
        hint: 'name blocks of both VPCs',
      });
    }
  }
  draft.put(peering);
  return peering;
}

function refusePeerOverlap(a: Vpc, b: Vpc, why: string): void {
  for (const mine of a.cidrs) {
    const clash = b.cidrs.find((theirs) => overlaps(mine, theirs));
    if (clash !== undefined) {
      throw invalid(`${why}: ${mine} of ${a.name} overlaps ${clash} of ${b.name}`, {
        hint: 'peered blocks must not overlap',
      });
    }
  }
}

/** Removes a peering; false when there is none. */
export function unpeer(draft: Draft, first: string, second: string): boolean {
  const id = ids.peering(parseName(first, 'vpc'), parseName(second, 'vpc'));
  if (draft.get(id) === undefined) return false;
  draft.remove(id);
  return true;
}

// --- policy ----------------------------------------------------------------------------------------------------------

/** Sets the policy of a subnet, given by name or by the file's `subnet` (name or CIDR). Replaces the one before. */
export function applyPolicy(draft: Draft, vpc: string, subnet: string | undefined, policy: PolicyFile): Subnet {
  const target = policyTarget(draft, vpc, subnet, policy.subnet);
  const after: Subnet = { ...target, policy: checkPolicy(policy, target) };
  draft.put(after);
  return after;
}

function policyTarget(draft: Draft, vpc: string, named: string | undefined, inFile: string | undefined): Subnet {
  const fromFile = inFile === undefined ? undefined : subnetNamed(draft, vpc, inFile);
  if (named === undefined) {
    if (fromFile !== undefined) return fromFile;
    throw new VpcctlError('USAGE', 'the policy names no subnet', { hint: 'give --subnet, or "subnet" in the file' });
  }
  const target = requireSubnet(draft, vpc, named);
  if (fromFile !== undefined && fromFile.name !== target.name) {
    throw invalid(`the policy is for subnet ${inFile}, not for ${named} (${target.cidr})`, {
      hint: 'correct "subnet" in the file, or leave it out',
    });
  }
  return target;
}

function subnetNamed(draft: Draft, vpc: string, text: string): Subnet {
  requireVpc(draft, vpc);
  if (!text.includes('/')) return requireSubnet(draft, vpc, text);
  const { cidr } = parseCidr(text);
  const subnets = subnetsOf(draft, vpc);
  const found = subnets.find((subnet) => subnet.cidr === cidr);
  if (found === undefined)
    throw notFound(
      `a subnet with block ${cidr} in vpc ${vpc}`,
      subnets.map((subnet) => `${subnet.name} ${subnet.cidr}`),
    );
  return found;
}

/** Removes the policy of a subnet; false when it has none. */
export function clearPolicy(draft: Draft, vpc: string, subnet: string): boolean {
  const { policy, ...rest } = requireSubnet(draft, vpc, subnet);
  if (policy === undefined) return false;
  draft.put(rest);
  return true;
}
