/** A model in memory that transactions change as the engine's do, and arbitrary sequences of verbs. */
import fc from 'fast-check';
import { expect } from 'vitest';
import { canonicalText } from '../../../src/canonical.js';
import { type ErrorCode, VpcctlError } from '../../../src/errors.js';
import { lower } from '../../../src/lower/lower.js';
import * as acls from '../../../src/model/acls.js';
import * as dns from '../../../src/model/dns.js';
import * as elastic from '../../../src/model/elastic.js';
import { addEgressOnlyGateway, deleteEgressOnlyGateway } from '../../../src/model/ipv6.js';
import { routeTablesOf } from '../../../src/model/lookup.js';
import * as lists from '../../../src/model/prefix-lists.js';
import { Draft, type Edit, findKind, MemoryReader } from '../../../src/model/reader.js';
import { idOf, type Resource, type Route } from '../../../src/model/resources.js';
import * as routing from '../../../src/model/routing.js';
import * as secondary from '../../../src/model/secondary.js';
import { type HostFacts, needsHostFacts, settle } from '../../../src/model/settle.js';
import * as verbs from '../../../src/model/verbs.js';
import type { Cidr } from '../../../src/net/cidr.js';
import { type KernelObject, rowKey, rowText } from '../../../src/objects/kernel-object.js';
import type {
  DestinationSpec,
  DnsSpec,
  NetworkAclEntrySpec,
  NetworkAclSpec,
  PolicySpec,
  PrefixListSpec,
  PrivateZoneSpec,
  RouteSpec,
  SecurityGroupSpec,
  SettingsSpec,
} from '../../../src/spec/types.js';

/** A host with a default route by eth0 and a network of its own. */
export const HOST: HostFacts = {
  defaultLink: 'eth0',
  linkMtu: new Map([
    ['eth0', 1500],
    ['eth1', 9000],
  ]),
  routes: ['192.168.0.0/24' as Cidr],
  forwarding6: 'by-link',
};

export interface Transacted {
  readonly edits: readonly Edit[];
  readonly touched: ReadonlySet<string>;
}

/** A model, and the rows of each resource as transactions left them. */
export class World {
  readonly reader = new MemoryReader();
  readonly rows = new Map<string, readonly KernelObject[]>();

  /** Runs an edit, settles and records it; lowers again only what the engine would. What it throws leaves the world as it was. */
  transact(edit: (draft: Draft) => unknown, facts: HostFacts = HOST): Transacted {
    const draft = new Draft(this.reader);
    edit(draft);
    settle(draft, needsHostFacts(draft) ? facts : undefined);
    const edits = draft.edits();
    for (const id of new Set([...edits.map((one) => one.id), ...draft.touched])) {
      const resource = draft.get(id);
      if (resource === undefined) this.rows.delete(id);
      else this.rows.set(id, lower(draft, resource));
    }
    for (const { id, after } of edits) {
      if (after === undefined) this.reader.remove(id);
      else this.reader.put(after);
    }
    return { edits, touched: draft.touched };
  }

  all(): Resource[] {
    return this.reader.all().sort((a, b) => (idOf(a) < idOf(b) ? -1 : 1));
  }

  get<R extends Resource>(id: string): R {
    const found = this.reader.get(id);
    if (found === undefined) throw new Error(`the world has no ${id}`);
    return found as R;
  }

  /** Rows by key, as kept from transaction to transaction. */
  keptRows(): Map<string, string> {
    return byKey([...this.rows.values()].flat());
  }

  /** Rows by key, lowered from the whole model. */
  freshRows(): Map<string, string> {
    return byKey(this.all().flatMap((resource) => lower(this.reader, resource)));
  }
}

export function byKey(rows: Iterable<KernelObject>): Map<string, string> {
  return new Map([...rows].map((row) => [rowKey(row), rowText(row)] as const).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** A world in which these edits happened, each a transaction of its own. */
export function world(...edits: readonly ((draft: Draft) => unknown)[]): World {
  const made = new World();
  for (const edit of edits) made.transact(edit);
  return made;
}

/** The error's code and line; fails the test when nothing is refused, or something but us refuses. */
export function refusal(body: () => unknown): { code: ErrorCode; line: string } {
  try {
    body();
  } catch (error) {
    expect(error).toBeInstanceOf(VpcctlError);
    const refused = error as VpcctlError;
    return { code: refused.code, line: refused.toLine() };
  }
  throw new Error('was not refused');
}

/** Text of a resource without what only says how it came about. */
export function essence(resource: Resource): string {
  if (resource.kind === 'subnet') return canonicalText({ ...resource, cursor: 0 });
  if (resource.kind === 'vpc') {
    const { origin: _origin, gatewayHint: _hint, ...rest } = resource;
    return canonicalText(rest);
  }
  return canonicalText(resource);
}

/** Makes routes whose target is gone the black holes that they are: what an export says of them. */
export function bury(draft: Draft): void {
  for (const { name: vpc } of findKind(draft, 'vpc', 'kind:vpc')) {
    for (const table of routeTablesOf(draft, vpc)) {
      const routes = table.routes.map(
        (route): Route =>
          routing.isBlackhole(draft, vpc, route.target) ? { ...route, target: { type: 'blackhole' } } : route,
      );
      draft.put({ ...table, routes });
    }
  }
}

// --- arbitrary transactions ------------------------------------------------------------------------------------------

/** One verb with its arguments, as data that a counterexample can print. */
export type Step =
  | { readonly verb: 'createVpc'; readonly args: verbs.CreateVpc }
  | { readonly verb: 'deleteVpc'; readonly name: string; readonly force: boolean }
  | { readonly verb: 'addSubnet'; readonly args: verbs.AddSubnet }
  | { readonly verb: 'deleteSubnet'; readonly vpc: string; readonly name: string; readonly force: boolean }
  | { readonly verb: 'addInstance'; readonly args: verbs.AddInstance }
  | { readonly verb: 'assign'; readonly vpc: string; readonly name: string; readonly wish: secondary.AssignPrivateIps }
  | { readonly verb: 'deleteInstance'; readonly vpc: string; readonly name: string }
  | { readonly verb: 'putGroup'; readonly vpc: string; readonly name: string; readonly spec: SecurityGroupSpec }
  | { readonly verb: 'deleteGroup'; readonly vpc: string; readonly name: string }
  | {
      readonly verb: 'peer';
      readonly vpcs: readonly [string, string];
      readonly allow?: readonly string[];
      readonly routes?: 'auto' | 'manual';
    }
  | { readonly verb: 'addRouteTable' | 'deleteRouteTable'; readonly vpc: string; readonly name: string }
  | { readonly verb: 'addRoute'; readonly vpc: string; readonly table: string; readonly route: RouteSpec }
  | {
      readonly verb: 'deleteRoute';
      readonly vpc: string;
      readonly table: string;
      readonly destination: DestinationSpec;
    }
  | { readonly verb: 'associateRouteTable'; readonly vpc: string; readonly subnet: string; readonly table?: string }
  | { readonly verb: 'addNatGateway'; readonly args: routing.AddNatGateway }
  | { readonly verb: 'deleteNatGateway'; readonly vpc: string; readonly name: string }
  | { readonly verb: 'addEgressOnlyGateway' | 'deleteEgressOnlyGateway'; readonly vpc: string }
  | { readonly verb: 'allocateElasticIp'; readonly name: string; readonly address?: string }
  | { readonly verb: 'releaseElasticIp' | 'disassociateElasticIp'; readonly name: string }
  | { readonly verb: 'associateElasticIp'; readonly name: string; readonly vpc: string; readonly instance: string }
  | { readonly verb: 'createPrefixList'; readonly name: string; readonly spec: PrefixListSpec }
  | { readonly verb: 'modifyPrefixList'; readonly name: string; readonly changes: lists.ModifyPrefixList }
  | { readonly verb: 'deletePrefixList'; readonly name: string }
  | { readonly verb: 'unpeer'; readonly vpcs: readonly [string, string] }
  | { readonly verb: 'applyPolicy'; readonly vpc: string; readonly subnet: string; readonly policy: PolicySpec }
  | { readonly verb: 'clearPolicy'; readonly vpc: string; readonly subnet: string }
  | { readonly verb: 'putNetworkAcl'; readonly vpc: string; readonly name: string; readonly spec: NetworkAclSpec }
  | { readonly verb: 'deleteNetworkAcl'; readonly vpc: string; readonly name: string }
  | { readonly verb: 'associateNetworkAcl'; readonly vpc: string; readonly subnet: string; readonly acl?: string }
  | { readonly verb: 'setDns'; readonly vpc: string; readonly dns: DnsSpec }
  | { readonly verb: 'putZone'; readonly name: string; readonly zone: PrivateZoneSpec }
  | { readonly verb: 'deleteZone'; readonly name: string }
  | { readonly verb: 'configure'; readonly settings: SettingsSpec };

export function run(draft: Draft, step: Step): void {
  switch (step.verb) {
    case 'createVpc':
      verbs.createVpc(draft, step.args);
      return;
    case 'deleteVpc':
      verbs.deleteVpc(draft, step.name, step.force);
      return;
    case 'addSubnet':
      verbs.addSubnet(draft, step.args);
      return;
    case 'deleteSubnet':
      verbs.deleteSubnet(draft, step.vpc, step.name, step.force);
      return;
    case 'addInstance':
      verbs.addInstance(draft, step.args);
      return;
    case 'assign':
      secondary.assignPrivateIps(draft, step.vpc, step.name, step.wish);
      return;
    case 'deleteInstance':
      verbs.deleteInstance(draft, step.vpc, step.name);
      return;
    case 'putGroup':
      verbs.putGroup(draft, step.vpc, step.name, step.spec);
      verbs.checkGroupReferences(draft, step.vpc);
      return;
    case 'deleteGroup':
      verbs.deleteGroup(draft, step.vpc, step.name);
      return;
    case 'peer':
      verbs.peer(draft, ...step.vpcs, step.allow, step.routes);
      return;
    case 'addRouteTable':
      routing.addRouteTable(draft, step.vpc, step.name);
      return;
    case 'deleteRouteTable':
      routing.deleteRouteTable(draft, step.vpc, step.name);
      return;
    case 'addRoute':
      routing.addRoute(draft, step.vpc, step.table, step.route);
      return;
    case 'deleteRoute':
      routing.deleteRoute(draft, step.vpc, step.table, step.destination);
      return;
    case 'associateRouteTable':
      routing.associateRouteTable(draft, step.vpc, step.subnet, step.table);
      return;
    case 'addNatGateway':
      routing.addNatGateway(draft, step.args);
      return;
    case 'deleteNatGateway':
      routing.deleteNatGateway(draft, step.vpc, step.name);
      return;
    case 'addEgressOnlyGateway':
      addEgressOnlyGateway(draft, step.vpc);
      return;
    case 'deleteEgressOnlyGateway':
      deleteEgressOnlyGateway(draft, step.vpc);
      return;
    case 'allocateElasticIp':
      elastic.allocateElasticIp(draft, step.name, step.address);
      return;
    case 'releaseElasticIp':
      elastic.releaseElasticIp(draft, step.name);
      return;
    case 'associateElasticIp':
      elastic.associateElasticIp(draft, step.name, step.vpc, step.instance);
      return;
    case 'disassociateElasticIp':
      elastic.disassociateElasticIp(draft, step.name);
      return;
    case 'createPrefixList':
      lists.createPrefixList(draft, step.name, step.spec);
      return;
    case 'modifyPrefixList':
      lists.modifyPrefixList(draft, step.name, step.changes);
      return;
    case 'deletePrefixList':
      lists.deletePrefixList(draft, step.name);
      return;
    case 'unpeer':
      verbs.unpeer(draft, ...step.vpcs);
      return;
    case 'applyPolicy':
      verbs.applyPolicy(draft, step.vpc, step.subnet, step.policy);
      return;
    case 'clearPolicy':
      verbs.clearPolicy(draft, step.vpc, step.subnet);
      return;
    case 'putNetworkAcl':
      acls.putNetworkAcl(draft, step.vpc, step.name, step.spec);
      return;
    case 'deleteNetworkAcl':
      acls.deleteNetworkAcl(draft, step.vpc, step.name);
      return;
    case 'associateNetworkAcl':
      acls.associateNetworkAcl(draft, step.vpc, step.subnet, step.acl);
      return;
    case 'setDns':
      dns.setDns(draft, step.vpc, step.dns);
      return;
    case 'putZone':
      dns.putZone(draft, step.name, step.zone);
      return;
    case 'deleteZone':
      dns.deleteZone(draft, step.name);
      return;
    case 'configure':
      verbs.configure(draft, step.settings);
      return;
  }
}

/** Runs the steps as one transaction; a refusal is one of the rules' and leaves everything as it was. */
export function attempt(made: World, steps: readonly Step[], facts: HostFacts = HOST): boolean {
  try {
    made.transact((draft) => {
      for (const step of steps) run(draft, step);
    }, facts);
    return true;
  } catch (error) {
    if (error instanceof VpcctlError) return false;
    throw error;
  }
}

const vpc = fc.constantFrom('a', 'b', 'c');
const subnet = fc.constantFrom('s', 't', 'u');
const instance = fc.constantFrom('s', 'x', 'y', 'z');
const acl = fc.constantFrom('n', 'm');
const group = fc.constantFrom('default', 'web', 'db');
const vpcs = fc.constantFrom<[string, string]>(['a', 'b'], ['b', 'c'], ['c', 'a']);

const BLOCKS = ['10.0.0.0/16', '10.1.0.0/16', '10.1.0.0/20', '10.2.0.0/24'] as const;
const SUBNETS = [
  '10.0.1.0/24',
  '10.0.2.0/28',
  '10.0.2.0/26',
  '10.1.1.0/24',
  '10.1.2.0/28',
  '10.2.0.0/24',
  '10.2.0.0/28',
  '192.168.0.0/24',
] as const;
const ADDRESSES = ['10.0.1.7', '10.0.2.5', '10.0.2.9', '10.1.1.7', '10.1.2.4', '10.2.0.4', '10.2.0.2'] as const;
const PARTIES = [
  'any',
  'self',
  'vpc',
  'peers',
  '10.1.0.0/16',
  '10.1.1.0/24',
  '10.1.1.7',
  '0.0.0.0/0',
  '::/0',
  'fd76:7063:6301::/64',
  'fd76:7063:6302::a00:107',
  { group: 'web' },
  { prefixList: 'p' },
  { prefixList: 'r' },
] as const;
const ENTRIES = ['10.1.0.0/16', '10.1.1.0/24', '10.2.0.0/24', '10.9.0.0/16', '0.0.0.0/0', '10.1.1.7/32'] as const;
const ENTRIES6 = ['fd76:7063:6301::/56', 'fd76:7063:6302::/56', 'fd76:7063:6302::/64', '::/0'] as const;
/** Blocks of the pool; of subnets and instances in the first two. */
const BLOCKS6 = ['fd76:7063:6301::/56', 'fd76:7063:6302::/56', 'fd76:7063:6303::/56'] as const;
const SUBNETS6 = ['fd76:7063:6301::/64', 'fd76:7063:6301:1::/64', 'fd76:7063:6302::/64'] as const;
const ADDRESSES6 = ['fd76:7063:6301::7', 'fd76:7063:6301:1::a00:104', 'fd76:7063:6302::7'] as const;

const protocolAndPort = fc.constantFrom(
  {},
  { protocol: 'tcp' as const },
  { protocol: 'tcp' as const, port: 80 },
  { protocol: 'tcp' as const, port: '80-443' },
  { protocol: 'udp' as const, port: 53 },
  { protocol: 'icmp' as const },
  { protocol: 'icmpv6' as const },
);
const groupService = fc.oneof(
  { arbitrary: protocolAndPort, weight: 5 },
  {
    arbitrary: fc.constantFrom(
      { protocol: 'icmp' as const, icmpType: 8 },
      { protocol: 'icmp' as const, icmpType: 3, icmpCode: 4 },
      { protocol: 'icmpv6' as const, icmpType: 128 },
    ),
    weight: 1,
  },
);
const rule = fc.record({ service: groupService, party: fc.constantFrom(...PARTIES) });
const groupSpec: fc.Arbitrary<SecurityGroupSpec> = fc
  .record({ ingress: fc.array(rule, { maxLength: 3 }), egress: fc.option(fc.array(rule, { maxLength: 2 })) })
  .map(({ ingress, egress }) => ({
    ingress: ingress.map(({ service, party }) => ({ ...service, from: party })),
    ...(egress === null ? {} : { egress: egress.map(({ service, party }) => ({ ...service, to: party })) }),
  }));

export const policySpec: fc.Arbitrary<PolicySpec> = fc
  .record({
    ingress: fc.option(
      fc.array(
        fc.tuple(
          protocolAndPort,
          fc.boolean(),
          fc.constantFrom(undefined, undefined, '10.1.0.0/16', '10.1.1.0/24', 'fd76:7063:6302::/56'),
        ),
        {
          maxLength: 4,
        },
      ),
    ),
    egress: fc.option(
      fc.array(
        fc.tuple(
          protocolAndPort,
          fc.boolean(),
          fc.constantFrom(undefined, undefined, '10.0.0.0/16', '10.1.1.7', 'fd76:7063:6301::/64'),
        ),
        {
          maxLength: 4,
        },
      ),
    ),
  })
  .map(({ ingress, egress }) => ({
    ...(ingress === null
      ? {}
      : {
          ingress: ingress.map(([service, allow, source]) => ({
            ...service,
            action: allow ? ('allow' as const) : ('deny' as const),
            ...(source === undefined ? {} : { source }),
          })),
        }),
    ...(egress === null
      ? {}
      : {
          egress: egress.map(([service, allow, destination]) => ({
            ...service,
            action: allow ? ('allow' as const) : ('deny' as const),
            ...(destination === undefined ? {} : { destination }),
          })),
        }),
  }));

const aclService = fc.oneof(
  protocolAndPort,
  fc.constantFrom(
    { protocol: 'tcp' as const, port: '1024-65535' },
    { protocol: 'tcp' as const, port: '32768-60000' },
    { protocol: 'icmp' as const, icmpType: 8 },
    { protocol: 'icmp' as const, icmpType: 0, icmpCode: 0 },
    { protocol: 'icmp' as const, icmpType: 3, icmpCode: 4 },
    { protocol: 'icmpv6' as const, icmpType: 129 },
    { protocol: 47 },
  ),
);
const aclEntries = fc
  .array(
    fc.tuple(
      aclService,
      fc.boolean(),
      fc.constantFrom(
        '0.0.0.0/0',
        '0.0.0.0/0',
        '10.0.0.0/8',
        '10.1.0.0/16',
        '10.1.1.0/24',
        '10.0.1.7',
        '::/0',
        'fd76:7063:6301::/64',
      ),
    ),
    { maxLength: 6 },
  )
  .map((list) =>
    list.map(
      ([service, allow, cidr], at): NetworkAclEntrySpec => ({
        number: (at + 1) * 10,
        action: allow ? 'allow' : 'deny',
        ...service,
        cidr,
      }),
    ),
  );

export const aclSpec: fc.Arbitrary<NetworkAclSpec> = fc.record(
  { ingress: aclEntries, egress: aclEntries },
  { noNullPrototype: true },
);

/** Keys absent, never undefined. */
function optional<T extends object>(
  required: { [K in keyof T]?: fc.Arbitrary<unknown> },
  extra: { [K in keyof T]?: fc.Arbitrary<unknown> },
): fc.Arbitrary<T> {
  return fc.record({ ...required, ...extra } as Record<string, fc.Arbitrary<unknown>>, {
    requiredKeys: Object.keys(required),
    noNullPrototype: true,
  }) as unknown as fc.Arbitrary<T>;
}

const createVpc = optional<verbs.CreateVpc>(
  { name: vpc, cidr: fc.constantFrom(...BLOCKS) },
  {
    secondaryCidrs: fc.constantFrom([], ['10.2.0.0/24'], ['192.168.0.0/24'], ['10.1.0.0/16']),
    ipv6Cidr: fc.constantFrom(true, true, false, ...BLOCKS6),
  },
).map((args): Step => ({ verb: 'createVpc', args }));
const addSubnet = optional<verbs.AddSubnet>(
  { vpc, name: subnet, cidr: fc.constantFrom(...SUBNETS) },
  {
    public: fc.boolean(),
    addressing: fc.constantFrom('cloud', 'plain'),
    extendVpc: fc.boolean(),
    ipv6Cidr: fc.constantFrom(true, true, true, false, ...SUBNETS6),
  },
).map((args): Step => ({ verb: 'addSubnet', args }));
const addInstance = optional<verbs.AddInstance>(
  { vpc, subnet, name: instance },
  {
    ip: fc.constantFrom(...ADDRESSES),
    ipv6: fc.constantFrom(true, true, false, ...ADDRESSES6),
    secondaryIps: fc.subarray([...ADDRESSES, ...ADDRESSES6], { maxLength: 2 }),
    publicIp: fc.constantFrom(true, false, '198.51.100.9'),
    securityGroups: fc.constantFrom(['default'], ['web'], ['db', 'web']),
  },
).map((args): Step => ({ verb: 'addInstance', args }));

const assign = fc
  .record({
    ips: fc.subarray([...ADDRESSES, ...ADDRESSES6], { maxLength: 2 }),
    allowReassignment: fc.boolean(),
  })
  .chain((wish) => fc.record({ verb: fc.constant('assign' as const), vpc, name: instance, wish: fc.constant(wish) }));

const table = fc.constantFrom('main', 'main', 'public', 'own', 'more');
const nat = fc.constantFrom('n', 'm');
const elasticIp = fc.constantFrom('e', 'f');
/** Those of one family, and one of the other. */
const listOf4 = fc.constantFrom('p', 'q');
const list = fc.constantFrom('p', 'q', 'r');
const destination = fc.constantFrom<DestinationSpec>(
  { prefixList: 'p' },
  { prefixList: 'q' },
  { prefixList: 'r' },
  '0.0.0.0/0',
  '0.0.0.0/0',
  '10.0.0.0/8',
  '10.1.0.0/16',
  '10.2.0.0/24',
  '10.9.0.0/16',
  '::/0',
  '::/0',
  '2001:db8::/32',
  'fd00::/8',
  'fd76:7063:6302::/56',
  'fd76:7063:6303::/64',
);
const routeTarget = fc.oneof(
  fc.constantFrom('internet-gateway' as const, 'blackhole' as const, 'egress-only-internet-gateway' as const),
  nat.map((natGateway) => ({ natGateway })),
  vpc.map((peering) => ({ peering })),
);
const addNatGateway = optional<routing.AddNatGateway>(
  { vpc, subnet, name: nat },
  {
    ip: fc.constantFrom(...ADDRESSES),
    connectivity: fc.constantFrom('public', 'private'),
    publicIp: fc.constant('198.51.100.9'),
    elasticIp,
  },
).map((args): Step => ({ verb: 'addNatGateway', args }));
const routingStep: fc.Arbitrary<Step> = fc.oneof(
  { arbitrary: addNatGateway, weight: 4 },
  {
    arbitrary: fc.record({
      verb: fc.constant('addRoute' as const),
      vpc,
      table,
      route: fc.record({ destination, target: routeTarget }),
    }),
    weight: 6,
  },
  { arbitrary: fc.record({ verb: fc.constant('addEgressOnlyGateway' as const), vpc }), weight: 2 },
  { arbitrary: fc.record({ verb: fc.constant('deleteEgressOnlyGateway' as const), vpc }), weight: 1 },
  { arbitrary: fc.record({ verb: fc.constant('addRouteTable' as const), vpc, name: table }), weight: 3 },
  {
    arbitrary: optional<Extract<Step, { verb: 'associateRouteTable' }>>(
      { verb: fc.constant('associateRouteTable'), vpc, subnet },
      { table },
    ),
    weight: 3,
  },
  {
    arbitrary: optional<Extract<Step, { verb: 'allocateElasticIp' }>>(
      { verb: fc.constant('allocateElasticIp'), name: elasticIp },
      { address: fc.constantFrom('198.51.100.9', '198.51.100.77') },
    ),
    weight: 2,
  },
  {
    arbitrary: fc.record({ verb: fc.constant('associateElasticIp' as const), name: elasticIp, vpc, instance }),
    weight: 3,
  },
  { arbitrary: fc.record({ verb: fc.constant('deleteRoute' as const), vpc, table, destination }), weight: 1 },
  { arbitrary: fc.record({ verb: fc.constant('deleteRouteTable' as const), vpc, name: table }), weight: 1 },
  { arbitrary: fc.record({ verb: fc.constant('deleteNatGateway' as const), vpc, name: nat }), weight: 1 },
  { arbitrary: fc.record({ verb: fc.constant('releaseElasticIp' as const), name: elasticIp }), weight: 1 },
  { arbitrary: fc.record({ verb: fc.constant('disassociateElasticIp' as const), name: elasticIp }), weight: 1 },
);

function createList(name: fc.Arbitrary<string>, family: 'ipv4' | 'ipv6', all: readonly string[]): fc.Arbitrary<Step> {
  const spec = fc
    .subarray([...all])
    .map((cidrs) => ({ family, maxEntries: 9, entries: cidrs.map((cidr) => ({ cidr })) }));
  return fc.record({ verb: fc.constant('createPrefixList' as const), name, spec });
}

function modifyList(name: fc.Arbitrary<string>, all: readonly string[]): fc.Arbitrary<Step> {
  const changes = fc.record(
    {
      add: fc.constantFrom(...all).map((cidr) => [{ cidr }]),
      remove: fc.constantFrom(...all).map((cidr) => [cidr]),
    },
    { requiredKeys: [], noNullPrototype: true },
  );
  return fc.record({ verb: fc.constant('modifyPrefixList' as const), name, changes });
}

const plainStep: fc.Arbitrary<Step> = fc.oneof(
  { arbitrary: createVpc, weight: 4 },
  { arbitrary: createList(listOf4, 'ipv4', ENTRIES), weight: 2 },
  { arbitrary: createList(fc.constant('r'), 'ipv6', ENTRIES6), weight: 1 },
  { arbitrary: modifyList(listOf4, ENTRIES), weight: 3 },
  { arbitrary: modifyList(fc.constant('r'), ENTRIES6), weight: 2 },
  { arbitrary: fc.record({ verb: fc.constant('deletePrefixList' as const), name: list }), weight: 1 },
  { arbitrary: addSubnet, weight: 6 },
  { arbitrary: addInstance, weight: 8 },
  { arbitrary: assign, weight: 2 },
  { arbitrary: fc.record({ verb: fc.constant('putGroup' as const), vpc, name: group, spec: groupSpec }), weight: 4 },
  {
    arbitrary: fc.record(
      {
        verb: fc.constant('peer' as const),
        vpcs,
        allow: fc.constantFrom(
          ['10.0.0.0/16', '10.1.0.0/16', '10.2.0.0/24'],
          ['10.0.0.0/8', '10.0.0.0/15', '10.1.1.0/24'],
          ['10.0.1.0/24', '10.1.1.0/24', '10.0.0.0/23'],
          ['10.0.0.0/8', 'fd76:7063:6301::/64', 'fd76:7063:6300::/40'],
        ),
      },
      { requiredKeys: ['verb', 'vpcs'], noNullPrototype: true },
    ) as fc.Arbitrary<Step>,
    weight: 3,
  },
  { arbitrary: fc.record({ verb: fc.constant('applyPolicy' as const), vpc, subnet, policy: policySpec }), weight: 3 },
  { arbitrary: fc.record({ verb: fc.constant('clearPolicy' as const), vpc, subnet }), weight: 1 },
  { arbitrary: fc.record({ verb: fc.constant('putNetworkAcl' as const), vpc, name: acl, spec: aclSpec }), weight: 2 },
  {
    arbitrary: fc.record(
      { verb: fc.constant('associateNetworkAcl' as const), vpc, subnet, acl },
      { requiredKeys: ['verb', 'vpc', 'subnet'], noNullPrototype: true },
    ) as fc.Arbitrary<Step>,
    weight: 3,
  },
  { arbitrary: fc.record({ verb: fc.constant('deleteNetworkAcl' as const), vpc, name: acl }), weight: 1 },
  { arbitrary: fc.record({ verb: fc.constant('deleteVpc' as const), name: vpc, force: fc.boolean() }), weight: 1 },
  {
    arbitrary: fc.record({ verb: fc.constant('deleteSubnet' as const), vpc, name: subnet, force: fc.boolean() }),
    weight: 1,
  },
  { arbitrary: fc.record({ verb: fc.constant('deleteInstance' as const), vpc, name: instance }), weight: 2 },
  { arbitrary: fc.record({ verb: fc.constant('deleteGroup' as const), vpc, name: group }), weight: 1 },
  { arbitrary: fc.record({ verb: fc.constant('unpeer' as const), vpcs }), weight: 1 },
  {
    arbitrary: fc.constantFrom<Step>(
      { verb: 'configure', settings: { uplink: 'none' } },
      { verb: 'configure', settings: { uplink: 'eth1' } },
      { verb: 'configure', settings: { uplink: 'auto', poolRouted: true } },
      { verb: 'configure', settings: { publicPool: '203.0.113.0/28' } },
      { verb: 'configure', settings: { ipv6Pool: 'fd00:1::/48' } },
      { verb: 'configure', settings: { ipv6PoolRouted: true } },
    ),
    weight: 1,
  },
);

const zoneName = fc.constantFrom('z', 'y');

const zoneSpec: fc.Arbitrary<PrivateZoneSpec> = fc.record(
  {
    domain: fc.constantFrom('corp.internal', 'a.internal'),
    vpcs: fc.uniqueArray(vpc, { maxLength: 2 }),
    records: fc.uniqueArray(
      fc.oneof(
        fc.record({ name: fc.constantFrom('www', '@'), values: fc.constant(['10.1.1.1']) }),
        fc.record({ name: fc.constantFrom('db', '*'), alias: fc.record({ vpc, instance }) }),
        fc.record({
          name: fc.constant('db'),
          type: fc.constant('AAAA' as const),
          alias: fc.record({ vpc, instance }),
        }),
      ),
      { maxLength: 3 },
    ),
  },
  { requiredKeys: ['domain'] },
);

const dnsStep: fc.Arbitrary<Step> = fc.oneof(
  {
    arbitrary: fc.record({
      verb: fc.constant('setDns' as const),
      vpc,
      dns: fc.constantFrom<DnsSpec>(true, false, { domain: 'corp.example', forward: ['192.0.2.1', 'fd00::53'] }),
    }),
    weight: 2,
  },
  { arbitrary: fc.record({ verb: fc.constant('putZone' as const), name: zoneName, zone: zoneSpec }), weight: 2 },
  { arbitrary: fc.record({ verb: fc.constant('deleteZone' as const), name: zoneName }), weight: 1 },
);

const step: fc.Arbitrary<Step> = fc.oneof(
  { arbitrary: plainStep, weight: 30 },
  { arbitrary: dnsStep, weight: 4 },
  { arbitrary: routingStep, weight: 12 },
  {
    arbitrary: fc.record({ verb: fc.constant('peer' as const), vpcs, routes: fc.constant('manual' as const) }),
    weight: 2,
  },
);

/** Two peered VPCs with instances in groups that name each other, so that what follows finds something to refer to. */
const OPENING: readonly (readonly Step[])[] = [
  [
    { verb: 'createVpc', args: { name: 'a', cidr: '10.0.0.0/16' } },
    { verb: 'createPrefixList', name: 'p', spec: { maxEntries: 9, entries: [{ cidr: '10.1.0.0/16' }] } },
    { verb: 'addSubnet', args: { vpc: 'a', name: 's', cidr: '10.0.1.0/24', public: true } },
    { verb: 'putGroup', vpc: 'a', name: 'web', spec: { ingress: [{ protocol: 'tcp', port: 80, from: 'peers' }] } },
    {
      verb: 'putGroup',
      vpc: 'a',
      name: 'db',
      spec: { ingress: [{ protocol: 'tcp', port: 5432, from: { group: 'web' } }] },
    },
    { verb: 'addInstance', args: { vpc: 'a', subnet: 's', name: 'x', securityGroups: ['web'] } },
    { verb: 'addInstance', args: { vpc: 'a', subnet: 's', name: 'y', securityGroups: ['db', 'web'] } },
  ],
  [
    { verb: 'createVpc', args: { name: 'b', cidr: '10.1.0.0/16', ipv6Cidr: 'fd76:7063:6302::/56' } },
    { verb: 'addSubnet', args: { vpc: 'b', name: 's', cidr: '10.1.1.0/24', ipv6Cidr: true } },
    { verb: 'addInstance', args: { vpc: 'b', subnet: 's', name: 'x' } },
    { verb: 'peer', vpcs: ['a', 'b'] },
  ],
  [
    {
      verb: 'putNetworkAcl',
      vpc: 'a',
      name: 'n',
      spec: {
        ingress: [{ number: 100, action: 'allow', protocol: 'tcp', port: 80, cidr: '0.0.0.0/0' }],
        egress: [{ number: 100, action: 'allow', protocol: 'tcp', port: '1024-65535', cidr: '0.0.0.0/0' }],
      },
    },
  ],
];

/** The same with IPv6 in the first VPC too, and addresses of it. */
const DUAL: readonly (readonly Step[])[] = [
  ...OPENING,
  [
    { verb: 'createVpc', args: { name: 'a', cidr: '10.0.0.0/16', ipv6Cidr: 'fd76:7063:6301::/56' } },
    { verb: 'addSubnet', args: { vpc: 'a', name: 's', cidr: '10.0.1.0/24', ipv6Cidr: true } },
    { verb: 'addInstance', args: { vpc: 'a', subnet: 's', name: 'x', ipv6: true } },
    { verb: 'addInstance', args: { vpc: 'a', subnet: 's', name: 'y', ipv6: true } },
    { verb: 'addInstance', args: { vpc: 'b', subnet: 's', name: 'y' } },
  ],
  [
    {
      verb: 'createPrefixList',
      name: 'r',
      spec: { family: 'ipv6', maxEntries: 9, entries: [{ cidr: 'fd76:7063:6302::/64' }] },
    },
    { verb: 'putGroup', vpc: 'a', name: 'db', spec: { ingress: [{ from: { prefixList: 'r' } }] } },
    {
      verb: 'addRoute',
      vpc: 'a',
      table: 'main',
      route: { destination: { prefixList: 'r' }, target: { peering: 'b' } },
    },
  ],
];

/** IPv6 that gets out of both VPCs, of the second only its answers in. */
const OPEN6: readonly (readonly Step[])[] = [
  [
    { verb: 'addEgressOnlyGateway', vpc: 'b' },
    { verb: 'addRouteTable', vpc: 'a', name: 'own' },
    { verb: 'associateRouteTable', vpc: 'a', subnet: 's', table: 'own' },
    { verb: 'addRoute', vpc: 'a', table: 'own', route: { destination: '::/0', target: 'internet-gateway' } },
  ],
  [
    {
      verb: 'addRoute',
      vpc: 'b',
      table: 'main',
      route: { destination: '::/0', target: 'egress-only-internet-gateway' },
    },
  ],
];

/** A private subnet that a NAT gateway with an elastic address lets out. */
const ROUTED: readonly (readonly Step[])[] = [
  [
    { verb: 'allocateElasticIp', name: 'e' },
    { verb: 'addSubnet', args: { vpc: 'a', name: 't', cidr: '10.0.2.0/26' } },
    { verb: 'addNatGateway', args: { vpc: 'a', subnet: 's', name: 'n', elasticIp: 'e' } },
    { verb: 'addRoute', vpc: 'a', table: 'main', route: { destination: '0.0.0.0/0', target: { natGateway: 'n' } } },
  ],
  [
    { verb: 'putGroup', vpc: 'a', name: 'db', spec: { ingress: [{ from: { prefixList: 'p' } }] } },
    {
      verb: 'addRoute',
      vpc: 'a',
      table: 'main',
      route: { destination: { prefixList: 'p' }, target: { peering: 'b' } },
    },
  ],
];

function transactionsOf(
  openings: readonly (readonly (readonly Step[])[])[],
  one: fc.Arbitrary<Step>,
): fc.Arbitrary<readonly (readonly Step[])[]> {
  return fc
    .tuple(
      fc.constantFrom(...openings),
      fc.array(fc.array(one, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 12, size: 'max' }),
    )
    .map(([opening, list]) => [...opening, ...list]);
}

/** Transactions of up to four verbs each; many are refused, which is part of the test. */
export const transactions = transactionsOf(
  [[], OPENING, DUAL, [...DUAL, ...ROUTED], [...DUAL, ...OPEN6], [...OPENING, ...ROUTED]],
  step,
);

/** The same with no route tables, NAT gateways, elastic addresses or manual routes of peerings. */
export const plainTransactions = transactionsOf([[], OPENING, OPENING, DUAL, DUAL], plainStep);
