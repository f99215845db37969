/** Arbitrary specs and policies that the schema must take. */
import fc from 'fast-check';
import { fromNumber, networkOf } from '../../../src/net/cidr.js';
import { NAME_PATTERN } from '../../../src/net/name.js';
import type {
  EgressRuleSpec,
  IngressRuleSpec,
  InstanceSpec,
  NatGatewaySpec,
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

const party: fc.Arbitrary<PartySpec> = fc.oneof(
  fc.constantFrom('any', 'self', 'vpc', 'peers', 'host'),
  address,
  cidr,
  fc.record({ group: name }, { noNullPrototype: true }),
);
const protocol = fc.oneof(
  fc.constantFrom('tcp', 'udp', 'icmp', 'any'),
  fc.integer({ min: 0, max: 255 }),
) as fc.Arbitrary<NonNullable<IngressRuleSpec['protocol']>>;
const ingressRule = withPort(
  some<Omit<IngressRuleSpec, 'port'> & { protocol?: IngressRuleSpec['protocol'] & {} }>({
    protocol,
    from: party,
    description,
  }),
);
const egressRule = withPort(
  some<Omit<EgressRuleSpec, 'port'> & { protocol?: EgressRuleSpec['protocol'] & {} }>({
    protocol,
    to: party,
    description,
  }),
);
const policyRule = withPort(
  some<Omit<PolicyRuleSpec, 'port'>>(
    {
      protocol: fc.constantFrom('tcp', 'udp', 'icmp', 'any'),
      action: fc.constantFrom('allow', 'accept', 'deny', 'drop', 'reject'),
      source: fc.oneof(address, cidr),
      destination: fc.oneof(address, cidr),
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
    public: fc.boolean(),
    routeTable: name,
    gateway: address,
    addressing: fc.constantFrom('cloud', 'plain'),
    policy,
  },
  ['cidr'],
);
const instance = some<InstanceSpec>(
  {
    subnet: name,
    ip: address,
    publicIp: fc.oneof(fc.boolean(), address),
    elasticIp: name,
    securityGroups: fc.array(name, { maxLength: 3 }),
  },
  ['subnet'],
);
const securityGroup = some({
  description,
  ingress: fc.array(ingressRule, { maxLength: 3 }),
  egress: fc.array(egressRule, { maxLength: 3 }),
});
const routeTable = some<RouteTableSpec>({
  routes: fc.array(
    fc.record(
      {
        destination: cidr,
        target: fc.oneof(
          fc.constantFrom('internet-gateway' as const, 'blackhole' as const),
          some({ natGateway: name }, ['natGateway']),
          some({ peering: name }, ['peering']),
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
const vpc = some(
  {
    cidr,
    secondaryCidrs: fc.array(cidr, { maxLength: 3 }),
    subnets: named(subnet),
    routeTables: named(routeTable),
    natGateways: named(natGateway),
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
      poolRouted: fc.boolean(),
      uplink: fc.constantFrom('auto', 'none', 'eth0', 'true', '0'),
    }),
    elasticIps: named(some({ address })),
    vpcs: named(vpc),
    peerings: fc.array(
      some(
        {
          vpcs: fc.tuple(name, name),
          allowCidrs: fc.array(cidr, { maxLength: 2 }),
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
