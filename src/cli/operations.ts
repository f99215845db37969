/** `batch`: what one line of its input asks for. Everything in a line is checked here, and nothing of it is done. */
import { InvalidArgumentError } from 'commander';
import type { NetworkAclSpec, PolicyFile, SecurityGroupSpec, Transaction } from '../index.js';
import { directionOf, entryOf } from './commands/acls.js';
import { aliasOf, readRecordType, recordOf } from './commands/dns.js';
import { entriesOf, familyOf, modificationOf } from './commands/prefix-lists.js';
import { addNatGateway, destinationOf, targetOf } from './commands/routing.js';
import { addSubnet, checkSubnet } from './commands/subnet.js';
import { transitTargetOf } from './commands/transit.js';
import { settingsOf } from './commands/vpc.js';
import { dnsOf } from './dns-options.js';
import { UsageError } from './failure.js';
import type { Line } from './lines.js';
import { SHAPED, shapingOf, waysOf } from './shaping.js';
import { wishOf } from './wish.js';

/** A verb on a transaction; what it returns stands in the result. */
export type Step = (tx: Transaction) => object;

/** What is done as one: all of it or nothing. */
export interface Change {
  readonly kind: 'change';
  readonly steps: readonly Step[];
  /** Its results are told as a list. */
  readonly several: boolean;
  readonly cut: boolean;
  /** The VPCs that it names. */
  readonly vpcs: ReadonlySet<string>;
}

/** A command line: it may look at anything. */
export interface CommandLine {
  readonly kind: 'argv';
  readonly argv: readonly string[];
}

export interface Operation {
  /** Given back as it came. */
  readonly id?: string | number;
  readonly op: string;
  readonly work: Change | CommandLine;
}

/** More of them in one transaction are better a file for `apply`. */
const MOST_STEPS = 10_000;
const DEEPEST = 16;

// --- values ----------------------------------------------------------------------------------------------------------

type Json = Readonly<Record<string, unknown>>;

/** What a key may hold, in words, and how it is told. */
const KINDS = {
  text: { words: 'text', is: (value: unknown) => typeof value === 'string' },
  number: { words: 'a number', is: (value: unknown) => typeof value === 'number' },
  port: {
    words: 'a number or text',
    is: (value: unknown) => typeof value === 'number' || typeof value === 'string',
  },
  flag: { words: 'true or false', is: (value: unknown) => typeof value === 'boolean' },
  texts: {
    words: 'a list of texts',
    is: (value: unknown) => Array.isArray(value) && value.every((item) => typeof item === 'string'),
  },
  map: { words: 'a map', is: isMap },
  ways: { words: 'text or a map', is: (value: unknown) => typeof value === 'string' || isMap(value) },
} as const;

interface Types {
  readonly text: string;
  readonly number: number;
  readonly port: number | string;
  readonly flag: boolean;
  readonly texts: readonly string[];
  readonly map: Json;
  readonly ways: string | Json;
}

type Shape = Readonly<Record<string, keyof Types>>;
type Values<R extends Shape, O extends Shape> = { readonly [K in keyof R]: Types[R[K]] } & {
  readonly [K in keyof O]?: Types[O[K]];
};

function isMap(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function listed(words: readonly string[]): string {
  return words.map((word) => `"${word}"`).join(', ');
}

/** The keys of `given` that `required` and `optional` name, which may be no others. */
function read<R extends Shape, O extends Shape>(what: string, given: Json, required: R, optional: O): Values<R, O> {
  const shape: Shape = { ...required, ...optional };
  for (const [key, value] of Object.entries(given)) {
    const kind = Object.hasOwn(shape, key) ? shape[key] : undefined;
    if (kind === undefined) {
      throw new UsageError(`${what} has no key ${JSON.stringify(key)}`, `it may have ${listed(Object.keys(shape))}`);
    }
    if (!KINDS[kind].is(value)) throw new UsageError(`"${key}" of ${what} is to be ${KINDS[kind].words}`);
  }
  const missing = Object.keys(required).filter((key) => !Object.hasOwn(given, key));
  if (missing.length > 0) throw new UsageError(`${what} lacks ${listed(missing)}`);
  return given as Values<R, O>;
}

// --- verbs -----------------------------------------------------------------------------------------------------------

interface Prepared {
  readonly step: Step;
  readonly vpcs: readonly string[];
}

interface Verb {
  readonly required: Shape;
  readonly optional: Shape;
  readonly prepare: (values: never) => Prepared | Promise<Prepared>;
}

function verb<const R extends Shape, const O extends Shape>(
  required: R,
  optional: O,
  prepare: (values: Values<R, O>) => Prepared | Promise<Prepared>,
): Verb {
  return { required, optional, prepare };
}

/** A step that returns whether there was something to delete. */
function deleting(vpcs: readonly string[], step: (tx: Transaction) => boolean): Prepared {
  return { vpcs, step: (tx) => ({ deleted: step(tx) }) };
}

function doing(vpcs: readonly string[], step: (tx: Transaction) => void): Prepared {
  return {
    vpcs,
    step: (tx) => {
      step(tx);
      return {};
    },
  };
}

function targetIn<T>(text: string, read: (text: string) => T): T {
  try {
    return read(text);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new UsageError(`"target" is to be a target of a route`, error.message);
  }
}

const SHAPING = { bandwidth: 'ways', delay: 'ways', jitter: 'ways', loss: 'ways' } as const;

function shapingIn(given: { readonly [K in keyof typeof SHAPING]?: Types['ways'] | undefined }) {
  const said = SHAPED.map((part) => {
    const value = given[part];
    const ways = Object.fromEntries(waysOf(part).map((way) => [way, 'text'] as const));
    return [part, typeof value === 'object' ? read(`"${part}"`, value, {}, ways) : value] as const;
  });
  return shapingOf(Object.fromEntries(said));
}

/** What a reader of the command's arguments makes of the value of a key. */
function argumentIn<T>(key: string, text: string, read: (text: string) => T): T {
  try {
    return read(text);
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    throw new UsageError(`"${key}" cannot be ${JSON.stringify(text)}`, error.message);
  }
}

const VERBS: Readonly<Record<string, Verb>> = {
  configure: verb(
    {},
    { uplink: 'text', publicPool: 'text', poolRouted: 'flag', ipv6Pool: 'text', ipv6PoolRouted: 'flag', quotas: 'map' },
    ({ quotas, ...given }) => {
      const settings = { ...settingsOf(given), ...(quotas === undefined ? {} : { quotas }) };
      return doing([], (tx) => tx.configure(settings));
    },
  ),
  'create-vpc': verb(
    { name: 'text', cidr: 'text' },
    {
      ipv6: 'text',
      dns: 'flag',
      dnsDomain: 'text',
      dnsForward: 'texts',
      uplink: 'text',
      publicPool: 'text',
      poolRouted: 'flag',
      ipv6Pool: 'text',
    },
    ({ name, cidr, ipv6, ...given }) => {
      const settings = settingsOf(given);
      const dns = dnsOf(given);
      const step: Step = (tx) => {
        if (settings !== undefined) tx.configure(settings);
        tx.createVpc({ name, cidr, ...(ipv6 === undefined ? {} : { ipv6Cidr: wishOf(ipv6) }) });
        if (dns !== undefined) tx.setDns(name, dns);
        return {};
      };
      return { vpcs: [name], step };
    },
  ),
  'delete-vpc': verb({ name: 'text' }, { force: 'flag' }, ({ name, force = false }) =>
    deleting([name], (tx) => tx.deleteVpc(name, { force })),
  ),
  'modify-vpc-dns': verb(
    { vpc: 'text' },
    { off: 'flag', dnsDomain: 'text', dnsForward: 'texts' },
    ({ vpc, off, ...given }) => {
      const spec = dnsOf({ ...given, dns: off !== true }) ?? true;
      return doing([vpc], (tx) => tx.setDns(vpc, spec));
    },
  ),
  'create-private-zone': verb({ name: 'text', domain: 'text' }, { vpcs: 'texts' }, ({ name, ...zone }) =>
    doing(zone.vpcs ?? [], (tx) => tx.putPrivateZone(name, zone)),
  ),
  'delete-private-zone': verb({ name: 'text' }, {}, ({ name }) => deleting([], (tx) => tx.deletePrivateZone(name))),
  'associate-private-zone': verb({ zone: 'text', vpc: 'text' }, {}, ({ zone, vpc }) =>
    doing([vpc], (tx) => tx.associatePrivateZone(zone, vpc)),
  ),
  'disassociate-private-zone': verb({ zone: 'text', vpc: 'text' }, {}, ({ zone, vpc }) =>
    deleting([vpc], (tx) => tx.disassociatePrivateZone(zone, vpc)),
  ),
  'put-zone-record': verb(
    { zone: 'text', name: 'text' },
    { type: 'text', ttl: 'number', values: 'texts', alias: 'text' },
    ({ zone, type, values, alias, ...given }) => {
      const record = recordOf({
        ...given,
        ...(values === undefined ? {} : { value: values }),
        ...(type === undefined ? {} : { type: argumentIn('type', type, readRecordType) }),
        ...(alias === undefined ? {} : { alias: argumentIn('alias', alias, aliasOf) }),
      });
      return doing([], (tx) => tx.putZoneRecord(zone, record));
    },
  ),
  'delete-zone-record': verb({ zone: 'text', name: 'text' }, { type: 'text' }, ({ zone, name, type = 'A' }) => {
    const of = argumentIn('type', type, readRecordType);
    return deleting([], (tx) => tx.deleteZoneRecord(zone, name, of));
  }),
  'add-subnet': verb(
    { vpc: 'text', subnet: 'text' },
    { cidr: 'text', ip: 'text', ipv6: 'text', gateway: 'text', public: 'flag', instance: 'flag' },
    ({ public: isPublic, instance = true, ...given }) => {
      const options = {
        ...given,
        instance,
        ...(isPublic === undefined ? {} : { public: isPublic, private: !isPublic }),
      };
      checkSubnet(options);
      return { vpcs: [given.vpc], step: (tx) => addSubnet(tx, options) };
    },
  ),
  'delete-subnet': verb({ vpc: 'text', subnet: 'text' }, { force: 'flag' }, ({ vpc, subnet, force = false }) =>
    deleting([vpc], (tx) => tx.deleteSubnet(vpc, subnet, { force })),
  ),
  'add-instance': verb(
    { vpc: 'text', subnet: 'text', name: 'text' },
    {
      ip: 'text',
      ipv6: 'text',
      secondaryIps: 'texts',
      publicIp: 'text',
      elasticIp: 'text',
      securityGroups: 'texts',
      ...SHAPING,
    },
    ({ ipv6, publicIp, bandwidth, delay, jitter, loss, ...given }) => {
      const instance = {
        ...given,
        ...(ipv6 === undefined ? {} : { ipv6: wishOf(ipv6) }),
        ...(publicIp === undefined ? {} : { publicIp: wishOf(publicIp) }),
        ...shapingIn({ bandwidth, delay, jitter, loss }),
      };
      return { vpcs: [given.vpc], step: (tx) => tx.addInstance(instance) };
    },
  ),
  'modify-instance': verb({ vpc: 'text', name: 'text' }, SHAPING, ({ vpc, name, ...given }) => {
    const asked = shapingIn(given);
    return doing([vpc], (tx) => tx.modifyInstance({ vpc, name, ...asked }));
  }),
  'delete-instance': verb({ vpc: 'text', name: 'text' }, {}, ({ vpc, name }) =>
    deleting([vpc], (tx) => tx.deleteInstance(vpc, name)),
  ),
  'assign-private-ip-addresses': verb(
    { vpc: 'text', instance: 'text' },
    { ips: 'texts', count: 'number', allowReassignment: 'flag' },
    ({ vpc, instance, ...wish }) => doing([vpc], (tx) => tx.assignPrivateIps(vpc, instance, wish)),
  ),
  'unassign-private-ip-addresses': verb({ vpc: 'text', instance: 'text', ips: 'texts' }, {}, ({ vpc, instance, ips }) =>
    doing([vpc], (tx) => tx.unassignPrivateIps(vpc, instance, ips)),
  ),
  'peer-vpcs': verb(
    { vpc1: 'text', vpc2: 'text' },
    { allowCidrs: 'texts', routes: 'text' },
    ({ vpc1, vpc2, allowCidrs, routes = 'auto' }) => {
      if (routes !== 'auto' && routes !== 'manual') throw new UsageError('"routes" is to be "auto" or "manual"');
      return doing([vpc1, vpc2], (tx) => tx.peer(vpc1, vpc2, allowCidrs, routes));
    },
  ),
  'create-route-table': verb({ vpc: 'text', name: 'text' }, {}, ({ vpc, name }) =>
    doing([vpc], (tx) => tx.addRouteTable(vpc, name)),
  ),
  'delete-route-table': verb({ vpc: 'text', name: 'text' }, {}, ({ vpc, name }) =>
    deleting([vpc], (tx) => tx.deleteRouteTable(vpc, name)),
  ),
  'create-route': verb(
    { vpc: 'text', destination: 'text', target: 'text' },
    { table: 'text' },
    ({ vpc, table = 'main', destination, target }) => {
      const route = { destination: destinationOf(destination), target: targetIn(target, targetOf) };
      return doing([vpc], (tx) => tx.addRoute(vpc, table, route));
    },
  ),
  'delete-route': verb(
    { vpc: 'text', destination: 'text' },
    { table: 'text' },
    ({ vpc, table = 'main', destination }) =>
      deleting([vpc], (tx) => tx.deleteRoute(vpc, table, destinationOf(destination))),
  ),
  'associate-route-table': verb({ vpc: 'text', subnet: 'text' }, { table: 'text' }, ({ vpc, subnet, table }) =>
    doing([vpc], (tx) => tx.associateRouteTable(vpc, subnet, table)),
  ),
  'create-nat-gateway': verb(
    { vpc: 'text', subnet: 'text', name: 'text' },
    { ip: 'text', elasticIp: 'text', private: 'flag' },
    (given) => ({ vpcs: [given.vpc], step: (tx) => addNatGateway(tx, given) }),
  ),
  'delete-nat-gateway': verb({ vpc: 'text', name: 'text' }, {}, ({ vpc, name }) =>
    deleting([vpc], (tx) => tx.deleteNatGateway(vpc, name)),
  ),
  'create-egress-only-internet-gateway': verb({ vpc: 'text' }, {}, ({ vpc }) =>
    doing([vpc], (tx) => tx.addEgressOnlyInternetGateway(vpc)),
  ),
  'delete-egress-only-internet-gateway': verb({ vpc: 'text' }, {}, ({ vpc }) =>
    deleting([vpc], (tx) => tx.deleteEgressOnlyInternetGateway(vpc)),
  ),
  'allocate-address': verb({ name: 'text' }, { address: 'text' }, ({ name, address }) => ({
    vpcs: [],
    step: (tx) => ({ address: tx.allocateElasticIp(name, address) }),
  })),
  'release-address': verb({ name: 'text' }, {}, ({ name }) => deleting([], (tx) => tx.releaseElasticIp(name))),
  'associate-address': verb({ name: 'text', vpc: 'text', instance: 'text' }, {}, ({ name, vpc, instance }) =>
    doing([vpc], (tx) => tx.associateElasticIp(name, vpc, instance)),
  ),
  'disassociate-address': verb({ name: 'text' }, {}, ({ name }) =>
    deleting([], (tx) => tx.disassociateElasticIp(name)),
  ),
  'create-prefix-list': verb(
    { name: 'text', maxEntries: 'number' },
    { family: 'text', entries: 'texts' },
    ({ name, maxEntries, family, entries }) =>
      doing([], (tx) => tx.createPrefixList(name, { ...familyOf(family), maxEntries, ...entriesOf(entries) })),
  ),
  'modify-prefix-list': verb(
    { name: 'text' },
    { add: 'texts', remove: 'texts', maxEntries: 'number' },
    ({ name, ...given }) => doing([], (tx) => tx.modifyPrefixList(name, modificationOf(given))),
  ),
  'delete-prefix-list': verb({ name: 'text' }, {}, ({ name }) => deleting([], (tx) => tx.deletePrefixList(name))),
  'create-transit-gateway': verb({ name: 'text' }, {}, ({ name }) => doing([], (tx) => tx.addTransitGateway(name))),
  'delete-transit-gateway': verb({ name: 'text' }, { force: 'flag' }, ({ name, force = false }) =>
    deleting([], (tx) => tx.deleteTransitGateway(name, { force })),
  ),
  'attach-vpc': verb({ transitGateway: 'text', vpc: 'text' }, { routeTable: 'text', propagateTo: 'texts' }, (given) =>
    doing([given.vpc], (tx) => tx.attachVpc(given)),
  ),
  'detach-vpc': verb({ transitGateway: 'text', vpc: 'text' }, {}, ({ transitGateway, vpc }) =>
    deleting([vpc], (tx) => tx.detachVpc(transitGateway, vpc)),
  ),
  'create-transit-gateway-route-table': verb({ transitGateway: 'text', name: 'text' }, {}, ({ transitGateway, name }) =>
    doing([], (tx) => tx.addTransitRouteTable(transitGateway, name)),
  ),
  'delete-transit-gateway-route-table': verb({ transitGateway: 'text', name: 'text' }, {}, ({ transitGateway, name }) =>
    deleting([], (tx) => tx.deleteTransitRouteTable(transitGateway, name)),
  ),
  'create-transit-gateway-route': verb(
    { transitGateway: 'text', destination: 'text', target: 'text' },
    { table: 'text' },
    ({ transitGateway, table = 'default', destination, target }) => {
      const route = { destination: destinationOf(destination), target: targetIn(target, transitTargetOf) };
      return doing([], (tx) => tx.addTransitRoute(transitGateway, table, route));
    },
  ),
  'delete-transit-gateway-route': verb(
    { transitGateway: 'text', destination: 'text' },
    { table: 'text' },
    ({ transitGateway, table = 'default', destination }) =>
      deleting([], (tx) => tx.deleteTransitRoute(transitGateway, table, destinationOf(destination))),
  ),
  'unpeer-vpcs': verb({ vpc1: 'text', vpc2: 'text' }, {}, ({ vpc1, vpc2 }) =>
    deleting([vpc1, vpc2], (tx) => tx.unpeer(vpc1, vpc2)),
  ),
  'create-network-acl': verb({ vpc: 'text', name: 'text' }, {}, ({ vpc, name }) =>
    doing([vpc], (tx) => tx.addNetworkAcl(vpc, name)),
  ),
  'put-network-acl': verb({ vpc: 'text', name: 'text', rules: 'map' }, {}, async ({ vpc, name, rules }) => {
    const spec = await aclOf(rules);
    return doing([vpc], (tx) => tx.putNetworkAcl(vpc, name, spec));
  }),
  'delete-network-acl': verb({ vpc: 'text', name: 'text' }, {}, ({ vpc, name }) =>
    deleting([vpc], (tx) => tx.deleteNetworkAcl(vpc, name)),
  ),
  'create-network-acl-entry': verb(
    { vpc: 'text', acl: 'text', number: 'number', action: 'text', cidr: 'text' },
    { ingress: 'flag', egress: 'flag', protocol: 'port', port: 'port', icmpType: 'number', icmpCode: 'number' },
    ({ vpc, acl, ingress, egress, ...given }) => {
      const direction = directionOf({ ingress, egress });
      const entry = entryOf(given);
      return doing([vpc], (tx) => tx.putNetworkAclEntry(vpc, acl, direction, entry));
    },
  ),
  'delete-network-acl-entry': verb(
    { vpc: 'text', acl: 'text', number: 'number' },
    { ingress: 'flag', egress: 'flag' },
    ({ vpc, acl, ingress, egress, number }) => {
      const direction = directionOf({ ingress, egress });
      return deleting([vpc], (tx) => tx.deleteNetworkAclEntry(vpc, acl, direction, number));
    },
  ),
  'associate-network-acl': verb({ vpc: 'text', subnet: 'text' }, { acl: 'text' }, ({ vpc, subnet, acl }) =>
    doing([vpc], (tx) => tx.associateNetworkAcl(vpc, subnet, acl)),
  ),
  'put-security-group': verb({ vpc: 'text', name: 'text', rules: 'map' }, {}, async ({ vpc, name, rules }) => {
    const spec = await groupOf(rules);
    return doing([vpc], (tx) => tx.putSecurityGroup(vpc, name, spec));
  }),
  'delete-security-group': verb({ vpc: 'text', name: 'text' }, {}, ({ vpc, name }) =>
    deleting([vpc], (tx) => tx.deleteSecurityGroup(vpc, name)),
  ),
  'apply-policy': verb({ vpc: 'text', policy: 'map' }, { subnet: 'text' }, async ({ vpc, subnet, policy }) => {
    const [checked] = await policiesOf(policy);
    const step: Step = (tx) => {
      if (checked !== undefined) tx.applyPolicy(vpc, subnet, checked);
      return {};
    };
    return { vpcs: [vpc], step };
  }),
  'clear-policy': verb({ vpc: 'text', subnet: 'text' }, {}, ({ vpc, subnet }) =>
    deleting([vpc], (tx) => tx.clearPolicy(vpc, subnet)),
  ),
};

/** The operations that `op` can name, with the keys they take. */
export const OPERATIONS: readonly {
  readonly name: string;
  readonly required: readonly string[];
  readonly optional: readonly string[];
}[] = Object.entries(VERBS).map(([name, { required, optional }]) => ({
  name,
  required: Object.keys(required),
  optional: Object.keys(optional),
}));

const NAMES = Object.keys(VERBS).join(', ');

async function groupOf(rules: Json): Promise<SecurityGroupSpec> {
  const { parseSecurityGroupFile } = await import('../index.js');
  return parsed('rules', () => parseSecurityGroupFile(JSON.stringify(rules), { file: 'rules', format: 'json' }));
}

async function aclOf(rules: Json): Promise<NetworkAclSpec> {
  const { parseNetworkAclFile } = await import('../index.js');
  return parsed('rules', () => parseNetworkAclFile(JSON.stringify(rules), { file: 'rules', format: 'json' }));
}

async function policiesOf(policy: Json): Promise<PolicyFile[]> {
  const { parsePolicyFile } = await import('../index.js');
  return parsed('policy', () => parsePolicyFile(JSON.stringify(policy), { file: 'policy', format: 'json' }));
}

/** What the parser of files says, without the places in a text that nobody wrote. */
async function parsed<T>(key: string, body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    const { VpcctlError } = await import('../index.js');
    if (!(error instanceof VpcctlError)) throw error;
    const { path, hint } = error.facts;
    throw new VpcctlError(error.code, `"${key}": ${error.message}`, {
      ...(path === undefined ? {} : { path: `${key}.${path}` }),
      ...(hint === undefined ? {} : { hint }),
    });
  }
}

// --- lines -----------------------------------------------------------------------------------------------------------

async function stepOf(given: Json): Promise<Prepared> {
  const { op, ...values } = given;
  if (typeof op !== 'string') throw new UsageError('"op" is to be text', `one of ${NAMES}`);
  const known = Object.hasOwn(VERBS, op) ? VERBS[op] : undefined;
  if (known === undefined) {
    throw new UsageError(
      `there is no operation ${JSON.stringify(op)}`,
      `there are ${NAMES}; for another command, give "argv"`,
    );
  }
  return known.prepare(read(op, values, known.required, known.optional) as never);
}

async function transactionOf(steps: unknown): Promise<Prepared[]> {
  if (!Array.isArray(steps) || steps.length === 0) {
    throw new UsageError('"transaction" is to be a list of operations');
  }
  if (steps.length > MOST_STEPS) {
    throw new UsageError(`a transaction of ${steps.length} operations is too long`, `the most are ${MOST_STEPS}`);
  }
  const prepared: Prepared[] = [];
  for (const [index, step] of steps.entries()) {
    if (!isMap(step)) throw new UsageError(`operation ${index + 1} of the transaction is to be a map`);
    prepared.push(await stepOf(step));
  }
  return prepared;
}

function changeOf(prepared: readonly Prepared[], several: boolean, cut: boolean): Change {
  const vpcs = new Set(prepared.flatMap((one) => one.vpcs));
  return { kind: 'change', steps: prepared.map(({ step }) => step), several, cut, vpcs };
}

/** Whether lists and maps in it are nested deeper than anything that is meant. */
function isDeep(value: unknown, levels = DEEPEST): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((inner) => isDeep(inner, levels - 1));
}

/** The JSON value of a line; UsageError where it is none. */
export function parseLine({ text = '', problem }: Line): Json {
  if (problem !== undefined) throw new UsageError(problem);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`it is not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  if (!isMap(value))
    throw new UsageError('it is to be a map', 'as {"op": "create-vpc", "name": "a", "cidr": "10.1.0.0/16"}');
  if (isDeep(value)) throw new UsageError(`it is nested deeper than ${DEEPEST} levels`);
  return value;
}

/** What a line asks for. UsageError, or INVALID of the library, where it is not what it is to be. */
export async function readOperation(value: Json): Promise<Operation> {
  const { id, ...given } = value;
  if (id !== undefined && typeof id !== 'string' && typeof id !== 'number')
    throw new UsageError('"id" is to be text or a number');
  const named = id === undefined ? {} : { id };
  const ways = ['op', 'transaction', 'argv'].filter((way) => Object.hasOwn(given, way));
  if (ways.length !== 1)
    throw new UsageError(`it is to have one of "op", "transaction" and "argv", and has ${ways.length}`);
  switch (ways[0]) {
    case 'argv': {
      const { argv } = read('a command line', given, { argv: 'texts' }, {});
      return { ...named, op: 'argv', work: { kind: 'argv', argv } };
    }
    case 'transaction': {
      const { transaction, ...rest } = given;
      const { cut = false } = read('a transaction', rest, {}, { cut: 'flag' });
      return { ...named, op: 'transaction', work: changeOf(await transactionOf(transaction), true, cut) };
    }
    default: {
      const { cut, ...rest } = given;
      if (cut !== undefined && typeof cut !== 'boolean') throw new UsageError('"cut" is to be true or false');
      return { ...named, op: String(rest.op), work: changeOf([await stepOf(rest)], false, cut === true) };
    }
  }
}
