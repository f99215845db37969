/** Arbitrary specs and policies that the schema must take. */
import fc from 'fast-check';
import { addressOf, fromNumber, networkOf } from '../../../src/net/cidr.js';
import { NAME_PATTERN } from '../../../src/net/name.js';
import type {
  BothWays,
  EgressRuleSpec,
  IngressRuleSpec,
  InstanceSpec,
  NatGatewaySpec,
  NetworkAclEntrySpec,
  NetworkAclSpec,
  PartySpec,
  PolicyFile,
  PolicyRuleSpec,
  RouteTableSpec,
  Spec,
} from '../../../src/spec/types.js';

const name = fc
  .oneof(
    fc.string({ unit: fc.constantFrom(...'abcxyz019-'), minLength: 1, maxLength: 12 }),
    // Words and numbers that YAML would read as something else.
    fc.constantFrom('null', 'true', 'no', 'y', '1', '010', '1e3', '0x10', '0o7', '12-30', 'default', 'group'),
  )
  .filter((text) => NAME_PATTERN.test(text));
const description = fc
  .oneof(
    fc.string({ maxLength: 60 }),
    fc.constantFrom('', ' x ', '# no comment', 'a: b', '- x', '"', "'", '|', '>', '&a', '*a', '!t', '%', '@', '`', '~'),
    fc.constantFrom('two\nlines', 'ends\n', '\n\nstarts', 'trailing \nblank', '\t', 'é 💥', '{}', '[]', '22:22', '1_0'),
    fc.string({ unit: fc.constantFrom('a', ' ', 'word '), minLength: 40, maxLength: 50 }),
  )
  .filter((text) => text.length <= 255);
const address = fc.integer({ min: 0, max: 2 ** 32 - 1 }).map(fromNumber);
const cidr = fc.tuple(address, fc.integer({ min: 0, max: 32 })).map(([ip, prefix]) => networkOf(ip, prefix));
const address6 = fc.bigInt({ min: 0n, max: 2n ** 128n - 1n }).map((number) => addressOf(number));
const cidr6 = fc.tuple(address6, fc.integer({ min: 0, max: 128 })).map(([ip, prefix]) => networkOf(ip, prefix));
const portNumber = fc.integer({ min: 1, max: 65535 });
const port = fc.oneof(
  portNumber,
  portNumber.map(String),
  fc.tuple(portNumber, portNumber).map(([a, b]) => `${Math.min(a, b)}-${Math.max(a, b)}`),
  fc.constant('any'),
);

/** Keys absent, never undefined. */
function some<T extends object>(model: { [Key in keyof T]-?: fc.Arbitrary<T[Key]> }, required: (keyof T)[] = []) {
  return fc.record(model, { requiredKeys: required as [], noNullPrototype: true }) as unknown as fc.Arbitrary<T>;
}

/** A rule and ports that go together. */
function withPort<T extends { protocol?: string | number }>(rule: fc.Arbitrary<T>): fc.Arbitrary<T> {
  return fc.tuple(rule, fc.option(port, { nil: undefined })).map(([one, number]) => {
    const hasPorts = ['tcp', 'udp', 6, 17].includes(one.protocol ?? 'any');
    if (number === undefined) return one;
    return { ...one, port: hasPorts ? number : 'any' };
  });
}

/** A rule and messages of ICMP that go together. */
function withMessages<T extends { protocol?: string | number }>(rule: fc.Arbitrary<T>): fc.Arbitrary<T> {
  const messages = some<{ icmpType: number; icmpCode?: number }>(
    { icmpType: fc.integer({ min: 0, max: 255 }), icmpCode: fc.integer({ min: -1, max: 255 }) },
    ['icmpType'],
  );
  return fc
    .tuple(rule, messages)
    .map(([one, named]) => (one.protocol === 'icmp' || one.protocol === 1 ? { ...one, ...named } : one));
}

const party: fc.Arbitrary<PartySpec> = fc.oneof(
  fc.constantFrom('any', 'self', 'vpc', 'peers', 'host'),
  address,
  cidr,
  fc.record({ group: name }, { noNullPrototype: true }),
  fc.record({ prefixList: name }, { noNullPrototype: true }),
);
const protocol = fc.oneof(
  fc.constantFrom('tcp', 'udp', 'icmp', 'icmpv6', 'any'),
  fc.integer({ min: 0, max: 255 }),
) as fc.Arbitrary<NonNullable<IngressRuleSpec['protocol']>>;
const noMessages = { icmpType: fc.constant(-1), icmpCode: fc.constant(-1) };
const ingressRule = withMessages(
  withPort(
    some<Omit<IngressRuleSpec, 'port'> & { protocol?: IngressRuleSpec['protocol'] & {} }>({
      protocol,
      ...noMessages,
      from: party,
      description,
    }),
  ),
);
const egressRule = withMessages(
  withPort(
    some<Omit<EgressRuleSpec, 'port'> & { protocol?: EgressRuleSpec['protocol'] & {} }>({
      protocol,
      ...noMessages,
      to: party,
      description,
    }),
  ),
);
const policyRule = withPort(
  some<Omit<PolicyRuleSpec, 'port'>>(
    {
      protocol: fc.constantFrom('tcp', 'udp', 'icmp', 'icmpv6', 'any'),
      action: fc.constantFrom('allow', 'accept', 'deny', 'drop', 'reject'),
      source: fc.oneof(address, cidr, address6, cidr6),
      destination: fc.oneof(address, cidr, address6, cidr6),
      description,
    },
    ['action'],
  ),
);
const policy = some<{ ingress?: PolicyRuleSpec[]; egress?: PolicyRuleSpec[] }>({
  ingress: fc.array(policyRule, { maxLength: 3 }),
  egress: fc.array(policyRule, { maxLength: 3 }),
});

function named<T>(value: fc.Arbitrary<T>): fc.Arbitrary<Record<string, T>> {
  return fc.dictionary(name, value, { maxKeys: 3, noNullPrototype: true });
}

const subnet = some(
  {
    cidr,
    ipv6Cidr: fc.oneof(fc.boolean(), cidr6),
    public: fc.boolean(),
    routeTable: name,
    networkAcl: name,
    gateway: address,
    addressing: fc.constantFrom('cloud', 'plain'),
    policy,
  },
  ['cidr'],
);
const rate = fc.integer({ min: 1, max: 1000 }).map((mbit) => `${mbit}mbit`);
const time = fc.integer({ min: 1, max: 1000 }).map((ms) => `${ms}ms`);
const bothWays = (value: fc.Arbitrary<string>): fc.Arbitrary<BothWays> =>
  fc.oneof(value, some<{ in?: string; out?: string }>({ in: value, out: value }));
const instance = some<InstanceSpec>(
  {
    subnet: name,
    ip: address,
    ipv6: fc.oneof(fc.boolean(), address6),
    secondaryIps: fc.array(fc.oneof(address, address6), { maxLength: 3 }),
    publicIp: fc.oneof(fc.boolean(), address),
    elasticIp: name,
    publish: fc.array(
      some(
        {
          hostPort: fc.integer({ min: 1, max: 65535 }),
          port: fc.integer({ min: 1, max: 65535 }),
          protocol: fc.constantFrom('tcp' as const, 'udp' as const),
        },
        ['hostPort'],
      ),
      { maxLength: 2 },
    ),
    securityGroups: fc.array(name, { maxLength: 3 }),
    bandwidth: fc.oneof(
      rate,
      some({ in: rate, out: rate, burst: fc.integer({ min: 16, max: 1024 }).map((kib) => `${kib}kib`) }),
    ),
    delay: bothWays(time),
    jitter: bothWays(time),
    loss: bothWays(fc.integer({ min: 1, max: 100 }).map((percent) => `${percent}%`)),
  },
  ['subnet'],
);
const securityGroup = some({
  description,
  ingress: fc.array(ingressRule, { maxLength: 3 }),
  egress: fc.array(egressRule, { maxLength: 3 }),
});
const destination = fc.oneof(cidr, cidr6, fc.record({ prefixList: name }, { noNullPrototype: true }));
const routeTable = some<RouteTableSpec>({
  routes: fc.array(
    fc.record(
      {
        destination,
        target: fc.oneof(
          fc.constantFrom('internet-gateway' as const, 'egress-only-internet-gateway' as const, 'blackhole' as const),
          some({ natGateway: name }, ['natGateway']),
          some({ peering: name }, ['peering']),
          some({ transitGateway: name }, ['transitGateway']),
        ),
      },
      { noNullPrototype: true },
    ),
    { maxLength: 3 },
  ),
});
const natGateway = some<NatGatewaySpec>(
  { subnet: name, ip: address, connectivity: fc.constantFrom('public', 'private'), publicIp: address, elasticIp: name },
  ['subnet'],
);
const aclEntry = withMessages(
  withPort(
    some<Omit<NetworkAclEntrySpec, 'port'>>(
      {
        number: fc.integer({ min: 1, max: 32766 }),
        action: fc.constantFrom('allow', 'deny'),
        protocol,
        ...noMessages,
        cidr: fc.oneof(address, cidr, address6, cidr6),
      },
      ['number', 'action', 'cidr'],
    ),
  ),
);
const networkAcl = some<NetworkAclSpec>({
  ingress: fc.array(aclEntry, { maxLength: 3 }),
  egress: fc.array(aclEntry, { maxLength: 3 }),
});
const vpc = some(
  {
    cidr,
    ipv6Cidr: fc.oneof(fc.boolean(), cidr6),
    secondaryCidrs: fc.array(cidr, { maxLength: 3 }),
    subnets: named(subnet),
    routeTables: named(routeTable),
    natGateways: named(natGateway),
    egressOnlyInternetGateway: fc.boolean(),
    networkAcls: named(networkAcl),
    securityGroups: named(securityGroup),
    instances: named(instance),
  },
  ['cidr'],
);

export const anySpec = some(
  {
    name,
    settings: some({
      publicPool: cidr,
      ipv6Pool: cidr6,
      poolRouted: fc.boolean(),
      ipv6PoolRouted: fc.boolean(),
      uplink: fc.constantFrom('auto', 'none', 'eth0', 'true', '0'),
      quotas: some({ securityGroupRules: fc.nat(99).map((n) => n + 1), subnetsPerVpc: fc.nat(99).map((n) => n + 1) }),
    }),
    elasticIps: named(some({ address })),
    prefixLists: named(
      some(
        {
          family: fc.constantFrom('ipv4' as const, 'ipv6' as const),
          maxEntries: fc.integer({ min: 1, max: 1000 }),
          entries: fc.array(some({ cidr: fc.oneof(cidr, cidr6), description }, ['cidr']), { maxLength: 3 }),
        },
        ['maxEntries'],
      ),
    ),
    vpcs: named(vpc),
    transitGateways: named(
      some({
        routeTables: named(
          some({
            routes: fc.array(
              some(
                {
                  destination,
                  target: fc.oneof(fc.constant('blackhole' as const), some({ vpc: name }, ['vpc'])),
                },
                ['destination', 'target'],
              ),
              { maxLength: 2 },
            ),
          }),
        ),
        attachments: named(some({ routeTable: name, propagateTo: fc.array(name, { maxLength: 2 }) })),
      }),
    ),
    peerings: fc.array(
      some(
        {
          vpcs: fc.tuple(name, name),
          allowCidrs: fc.array(fc.oneof(cidr, cidr6), { maxLength: 2 }),
          routes: fc.constantFrom('auto', 'manual'),
        },
        ['vpcs'],
      ),
      { maxLength: 3 },
    ),
  },
  ['vpcs'],
) as unknown as fc.Arbitrary<Spec>;

export const anyPolicies = fc.array(
  fc
    .tuple(policy, fc.option(fc.oneof(name, cidr), { nil: undefined }))
    .map(([rules, on]) => (on === undefined ? rules : { subnet: on, ...rules })),
  { maxLength: 3 },
) as unknown as fc.Arbitrary<PolicyFile[]>;
