/**
 * The schema of a spec and of a policy file: shape, types, and the syntax of every address, block, name and port.
 * Strict throughout: a key it does not know is refused. What needs two resources to judge (overlaps, references, sizes) is
 * model/'s. The same schema, with its descriptions, is what editors get as JSON Schema.
 */
import * as v from 'valibot';
import { invalid, VpcctlError } from '../errors.js';
import { parseAnyCidr, parseAnyIp, parseAnyIpOrCidr, parseCidr, parseCidr6, parseIp, parseIp6 } from '../net/cidr.js';
import { parseDomain } from '../net/domain.js';
import { NAME_PATTERN, NAME_RULE, parseName } from '../net/name.js';
import { parseIcmp, parsePort, parseProtocol } from '../net/ports.js';
import { quote } from '../net/quote.js';
import { parseRate, parseShare, parseSize, parseTime } from '../net/rate.js';
import { closest } from './suggest.js';
import { formatPath, type Path } from './tree.js';
import type {
  DnsSpec,
  NetworkAclEntrySpec,
  NetworkAclSpec,
  PolicyFile,
  PrefixListEntrySpec,
  PrefixListSpec,
  PrivateZoneSpec,
  RouteSpec,
  SecurityGroupSpec,
  SettingsSpec,
  Spec,
  TransitRouteSpec,
  ZoneRecordSpec,
} from './types.js';

/** Something wrong with a value, and where in it. */
export interface Issue {
  readonly path: Path;
  readonly message: string;
  /** The issue is about the last key of `path`, not about its value. */
  readonly atKey: boolean;
}

export type CheckResult<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly issues: readonly [Issue, ...Issue[]] };

// ---- building blocks

/** A value in a message: `"x"`, `the number 7`, `a list`. */
function describe(value: unknown): string {
  if (value === undefined || value === null) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  switch (typeof value) {
    case 'string':
      return quote(value);
    case 'number':
      return `the number ${value}`;
    case 'boolean':
      return String(value);
    case 'object':
      return 'a map';
    default:
      return `a ${typeof value}`;
  }
}

function expected(what: string): (issue: v.BaseIssue<unknown>) => string {
  return ({ input }) => {
    const quotes = what.includes('text') && typeof input === 'number' ? '; put it in quotes' : '';
    return `expected ${what}, found ${describe(input)}${quotes}`;
  };
}

function isMap(value: unknown): boolean {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The keys that a map knows, by valibot's issue about one that it does not know. */
const allowedKeys = new WeakMap<v.BaseIssue<unknown>, readonly string[]>();

/** A map with these keys and no others. valibot's own takes a list for a map, hence the check before it. */
function map<const TEntries extends v.ObjectEntries>(what: string, entries: TEntries) {
  const object = v.strictObject(entries, (issue) => {
    if (issue.expected !== 'never') return `${issue.expected?.replaceAll('"', '')} is missing`;
    allowedKeys.set(issue, Object.keys(entries));
    return unknownKey(String(issue.input), Object.keys(entries));
  });
  return v.pipe(v.custom<v.InferInput<typeof object>>(isMap, expected(what)), object);
}

function unknownKey(key: string, allowed: readonly string[]): string {
  const near = closest(key, allowed);
  const hint =
    key === '<<'
      ? '; merge keys are not read: an alias stands for a whole value'
      : near === undefined
        ? ''
        : `; did you mean ${quote(near)}?`;
  return `unknown key ${quote(key)}: expected ${allowed.join(', ')}${hint}`;
}

/** A map from names to values. */
function named<const TValue extends v.GenericSchema>(what: string, value: TValue) {
  const record = v.record(name(what), value);
  return v.pipe(
    v.custom<v.InferInput<typeof record>>(isMap, expected(`a map from ${what} names to their properties`)),
    // valibot's record passes these keys over in silence, without asking the schema of the keys.
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      for (const key of ['__proto__', 'constructor', 'prototype']) {
        if (!Object.hasOwn(dataset.value, key)) continue;
        const message = refusal(() => parseName(key, what)) ?? `${quote(key)} cannot be a name`;
        addIssue({ message, path: [{ type: 'object', origin: 'key', input: dataset.value, key, value: undefined }] });
      }
    }),
    record,
  );
}

function list<const TItem extends v.GenericSchema>(what: string, item: TItem) {
  return v.array(item, expected(`a list of ${what}`));
}

/** What the reader says against the value, its hint included; nothing when it takes it. */
function refusal(read: () => unknown): string | undefined {
  try {
    read();
    return undefined;
  } catch (error) {
    if (error instanceof VpcctlError) return error.toLine();
    throw error;
  }
}

/** Text that `read` takes. */
function text(what: string, read: (text: string) => unknown) {
  return v.pipe(
    v.string(expected(what)),
    v.rawCheck(({ dataset, addIssue }) => {
      if (!dataset.typed) return;
      const { value } = dataset;
      const message = refusal(() => read(value));
      if (message !== undefined) addIssue({ message });
    }),
  );
}

function name(what: string) {
  return v.pipe(
    text(`a ${what} name (text)`, (value) => parseName(value, what)),
    v.metadata({ pattern: NAME_PATTERN.source, patternErrorMessage: `Expected ${NAME_RULE}` }),
  );
}

const OCTET = '(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])';
const ADDRESS = `${OCTET}(?:\\.${OCTET}){3}`;
const PREFIX = '(?:3[0-2]|[12]?[0-9])';

const cidr = v.pipe(
  text('an IPv4 block as text, such as 10.0.0.0/16', (value) => parseCidr(value)),
  v.metadata({ pattern: `^${ADDRESS}/${PREFIX}$` }),
);

const address = v.pipe(
  text('an IPv4 address as text, such as 10.0.1.7', parseIp),
  v.metadata({ pattern: `^${ADDRESS}$` }),
);

/** What an editor can tell of IPv6 text; the rest is the parser's. */
const ADDRESS6 = '[0-9a-f:]*:[0-9a-f:]*';
const PREFIX6 = '(?:12[0-8]|1[01][0-9]|[1-9]?[0-9])';

const cidr6 = v.pipe(text('an IPv6 block as text', parseCidr6), v.metadata({ pattern: `^${ADDRESS6}/${PREFIX6}$` }));
const address6 = v.pipe(text('an IPv6 address as text', parseIp6), v.metadata({ pattern: `^${ADDRESS6}$` }));

const anyAddress = v.pipe(
  text('an address as text, such as 10.0.1.7 or fd00::7', parseAnyIp),
  v.metadata({ pattern: `^(?:${ADDRESS}|${ADDRESS6})$` }),
);

const anyCidr = v.pipe(
  text('a block as text, such as 10.0.0.0/16 or fd00:0:0:100::/56', parseAnyCidr),
  v.metadata({ pattern: `^(?:${ADDRESS}/${PREFIX}|${ADDRESS6}/${PREFIX6})$` }),
);

const EITHER = `(?:${ADDRESS}(?:/${PREFIX})?|${ADDRESS6}(?:/${PREFIX6})?)`;

const addressOrCidr = v.pipe(
  text('an address or block as text', parseAnyIpOrCidr),
  v.metadata({ pattern: `^${EITHER}$` }),
);

function boolean() {
  return v.boolean((issue) => {
    const word = typeof issue.input === 'string' ? issue.input.toLowerCase() : '';
    const meant = /^(?:yes|on|true)$/.test(word) ? 'true' : /^(?:no|off|false)$/.test(word) ? 'false' : undefined;
    return `${expected('true or false')(issue)}${meant === undefined ? '' : `; write ${meant}`}`;
  });
}

function oneOf<const TOptions extends readonly string[]>(options: TOptions) {
  return v.picklist(options, wrongWord(`one of ${options.join(', ')}`, options));
}

function wrongWord(what: string, options: readonly string[]): (issue: v.BaseIssue<unknown>) => string {
  return (issue) => {
    const near = typeof issue.input === 'string' ? closest(issue.input, options) : undefined;
    return `${expected(what)(issue)}${near === undefined ? '' : `; did you mean ${quote(near)}?`}`;
  };
}

const LONGEST_DESCRIPTION = 255;

const description = v.pipe(
  text('a description (text)', (value) => {
    if (value.length > LONGEST_DESCRIPTION)
      throw invalid(`a description has at most ${LONGEST_DESCRIPTION} characters`);
    if (/(?![\n\t])[\p{Cc}\p{Cs}]/u.test(value)) throw invalid('a description contains a control character');
  }),
  v.metadata({ maxLength: LONGEST_DESCRIPTION, description: 'For people; no effect.' }),
);

function described<const TSchema extends v.GenericSchema>(schema: TSchema, words: string, more: object = {}) {
  return v.pipe(schema, v.metadata({ description: words, ...more }));
}

// ---- rules

const PROTOCOLS = ['tcp', 'udp', 'icmp', 'icmpv6', 'any'] as const;

const protocol = v.union(
  [
    v.picklist(PROTOCOLS),
    v.pipe(
      v.number(),
      v.check(
        (number) => refusal(() => parseProtocol(number)) === undefined,
        ({ input }) => refusal(() => parseProtocol(input)) ?? '',
      ),
      v.metadata({ type: 'integer', minimum: 0, maximum: 255 }),
    ),
  ],
  wrongWord('a protocol (tcp, udp, icmp, icmpv6, any or a number of 0 to 255)', PROTOCOLS),
);

const port = v.union(
  [
    v.pipe(v.number(), v.metadata({ type: 'integer', minimum: 1, maximum: 65535 })),
    v.pipe(v.string(), v.metadata({ pattern: '^(?:any|[1-9][0-9]{0,4}(?:-[1-9][0-9]{0,4})?)$' })),
  ],
  expected('a port: a number of 1 to 65535, "from-to" or any'),
);

const icmpNumber = v.pipe(
  v.number(expected('a number of 0 to 255, or -1 for all')),
  v.metadata({ type: 'integer', minimum: -1, maximum: 255 }),
);

/** A whole number of at least 1. */
const countTo = (most: number, what = 'a number') => {
  const wrong = expected(`${what} of 1 to ${most}`);
  return v.pipe(
    v.number(wrong),
    v.check((number) => Number.isInteger(number) && number >= 1 && number <= most, wrong),
    v.metadata({ type: 'integer', minimum: 1, maximum: most }),
  );
};

const portNumber = countTo(65535, 'a port: a number');

interface PortRule {
  readonly protocol?: string | number;
  readonly port?: string | number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
}

/** The port, and the type and code of ICMP, which mean something only together with the protocol. */
function portOfProtocol<TRule extends PortRule>() {
  return v.rawCheck<TRule>(({ dataset, addIssue }) => {
    if (!dataset.typed) return;
    const rule: PortRule = dataset.value;
    let known: ReturnType<typeof parseProtocol>;
    try {
      known = parseProtocol(rule.protocol);
    } catch {
      return; // told by the schema of the protocol
    }
    const input: Record<string, unknown> = { ...rule };
    for (const [key, read] of [
      ['port', () => parsePort(rule.port, known)],
      [rule.icmpType === undefined ? 'icmpCode' : 'icmpType', () => parseIcmp(rule.icmpType, rule.icmpCode, known)],
    ] as const) {
      const message = refusal(read);
      if (message === undefined) continue;
      addIssue({ message, path: [{ type: 'object', origin: 'value', input, key, value: rule[key] }] });
    }
  });
}

const PARTIES = ['any', 'self', 'vpc', 'peers', 'host'] as const;

function readParty(value: string): void {
  if (PARTIES.some((party) => party === value) || refusal(() => parseAnyIpOrCidr(value)) === undefined) return;
  if ((/^[0-9]/.test(value) && /[./]/.test(value)) || value.includes(':')) parseAnyIpOrCidr(value);
  const near = closest(value, PARTIES);
  const hint =
    near !== undefined
      ? `write ${near}`
      : NAME_PATTERN.test(value)
        ? `write { group: ${value} } for a group`
        : undefined;
  throw invalid(
    `${quote(value)}: expected an address or block, ${PARTIES.join(', ')}, or a map with a group's name`,
    hint === undefined ? {} : { hint },
  );
}

const party = v.union(
  [
    v.pipe(
      text('text', readParty),
      v.metadata({
        anyOf: [{ enum: PARTIES }, { pattern: `^${EITHER}$` }],
      }),
    ),
    map('a map', {
      group: described(name('security group'), 'Name of a security group of this VPC, or of the peer: its members.'),
      vpc: v.exactOptional(described(name('VPC'), 'Name of the peered VPC whose group it is. Default: this VPC.')),
    }),
    map('a map', { prefixList: described(name('prefix list'), 'Name of a prefix list: its blocks.') }),
  ],
  expected('an address, a block, a word or a map with a group or a prefixList'),
);

const PARTY_WORDS =
  'An IPv4 or IPv6 address or block; self (members of this group); vpc (its blocks); peers (what its peerings admit); ' +
  'host (the machine vpcctl runs on); any (default: every address of both families); { group: NAME }; { group: NAME, vpc: PEER }; ' +
  'or { prefixList: NAME }.';

const icmpEntries = {
  icmpType: v.exactOptional(
    described(icmpNumber, 'A type of ICMP; -1 (default): all. Only with icmp and icmpv6.', { default: -1 }),
  ),
  icmpCode: v.exactOptional(
    described(icmpNumber, 'A code of that type; -1 (default): all. Only with an icmpType.', { default: -1 }),
  ),
};

const groupRule = {
  protocol: v.exactOptional(
    described(protocol, 'tcp, udp, icmp, icmpv6, any (default) or a number.', { default: 'any' }),
  ),
  port: v.exactOptional(
    described(port, 'A port, "from-to" or any (default). Only with tcp and udp.', { default: 'any' }),
  ),
  ...icmpEntries,
};

const ingressRule = v.pipe(
  map('a rule (a map)', {
    ...groupRule,
    from: v.exactOptional(described(party, PARTY_WORDS, { default: 'any' })),
    description: v.exactOptional(description),
  }),
  portOfProtocol(),
);

const egressRule = v.pipe(
  map('a rule (a map)', {
    ...groupRule,
    to: v.exactOptional(described(party, PARTY_WORDS, { default: 'any' })),
    description: v.exactOptional(description),
  }),
  portOfProtocol(),
);

const policyRule = v.pipe(
  map('a rule (a map)', {
    protocol: v.exactOptional(
      described(oneOf(PROTOCOLS), 'tcp, udp, icmp, icmpv6 or any (default).', { default: 'any' }),
    ),
    port: v.exactOptional(
      described(port, 'A port, "from-to" or any (default). Only with tcp and udp.', { default: 'any' }),
    ),
    source: v.exactOptional(
      described(
        addressOrCidr,
        'Where packets come from: an address or block, of whose family the rule is then. Default: any.',
      ),
    ),
    destination: v.exactOptional(
      described(
        addressOrCidr,
        'Where packets go to: an address or block, of whose family the rule is then. Default: any.',
      ),
    ),
    action: described(
      oneOf(['allow', 'accept', 'deny', 'drop', 'reject']),
      'What the first rule that matches decides; accept is allow, drop and reject are deny.',
    ),
    description: v.exactOptional(description),
  }),
  portOfProtocol(),
);

const policyEntries = {
  ingress: v.exactOptional(
    described(
      list('rules', policyRule),
      'Rules for packets into the subnet, tried in order. Given, what none of them names is denied.',
    ),
  ),
  egress: v.exactOptional(
    described(
      list('rules', policyRule),
      'Rules for packets out of the subnet, tried in order. Given, what none of them names is denied.',
    ),
  ),
};

// ---- resources

const subnet = map('a subnet (a map)', {
  cidr: described(cidr, 'IPv4 block of the subnet, /16 to /28, inside a block of the VPC.', {
    examples: ['10.0.1.0/24'],
  }),
  ipv6Cidr: v.exactOptional(
    described(
      v.union([boolean(), cidr6], expected('true, false or an IPv6 block')),
      "Its IPv6 block: a /64 of the VPC's, or true for a free one. Its instances get an address of it each.",
      { default: false },
    ),
  ),
  public: v.exactOptional(
    described(
      boolean(),
      'A public address for each instance; and a route to the internet, unless a route table is named. Default false.',
      { default: false },
    ),
  ),
  routeTable: v.exactOptional(
    described(name('route table'), 'Its route table. Default: of a public subnet, public; else main.'),
  ),
  networkAcl: v.exactOptional(
    described(name('network ACL'), 'Its network ACL. Default: none, everything may pass its border.'),
  ),
  gateway: v.exactOptional(described(address, "The router's address in the subnet. Default: the first host address.")),
  addressing: v.exactOptional(
    described(
      oneOf(['cloud', 'plain']),
      'cloud (default): the first four addresses and the last are reserved; plain: network, gateway and broadcast.',
      { default: 'cloud' },
    ),
  ),
  policy: v.exactOptional(
    described(
      map('a policy (a map)', policyEntries),
      'Ordered allow and deny rules for the whole subnet; a direction that has a list is decided by it alone.',
    ),
  ),
});

const routeTarget = v.union(
  [
    v.picklist(['internet-gateway', 'egress-only-internet-gateway', 'blackhole']),
    map('a map', { natGateway: described(name('nat gateway'), 'Name of a NAT gateway of this VPC.') }),
    map('a map', { peering: described(name('VPC'), 'Name of a VPC that this one is peered with.') }),
    map('a map', {
      transitGateway: described(name('transit gateway'), 'Name of a transit gateway that this VPC is attached to.'),
    }),
  ],
  expected(
    'internet-gateway, egress-only-internet-gateway, blackhole, { natGateway: NAME }, { peering: VPC } or { transitGateway: NAME }',
  ),
);

const destination = v.union(
  [anyCidr, map('a map', { prefixList: described(name('prefix list'), 'Name of a prefix list: every block of it.') })],
  expected('a block as text, such as 10.0.0.0/16, or { prefixList: NAME }'),
);

const route = map('a route (a map)', {
  destination: described(
    destination,
    'Where to: a block outside of the VPC, or { prefixList: NAME }. The longest prefix decides.',
    { examples: ['0.0.0.0/0', '::/0'] },
  ),
  target: described(
    routeTarget,
    'internet-gateway; egress-only-internet-gateway (IPv6); blackhole; { natGateway: NAME } (IPv4); { peering: VPC }, with a peer; or { transitGateway: NAME }.',
  ),
});

const routeTable = map('a route table (a map)', {
  routes: v.exactOptional(
    described(list('routes', route), "Besides those to the VPC's own blocks, and to peers with automatic routes."),
  ),
});

const natGateway = map('a NAT gateway (a map)', {
  subnet: described(name('subnet'), 'Subnet that it stands in: its own packets follow the routes of that.'),
  ip: v.exactOptional(described(address, 'Private address. Default: the next free one of the subnet.')),
  connectivity: v.exactOptional(
    described(
      oneOf(['public', 'private']),
      'public (default): has a public address; private: translates to its private one only.',
      { default: 'public' },
    ),
  ),
  publicIp: v.exactOptional(
    described(address, 'Its public address: one of the pool, which goes with it. Default: a free one.'),
  ),
  elasticIp: v.exactOptional(described(name('elastic IP'), 'The elastic address that it has instead.')),
});

const MOST_NUMBER = 32_766;

const aclEntry = v.pipe(
  map('a rule (a map)', {
    number: described(countTo(MOST_NUMBER), 'Its place: the rule with the lowest number that matches decides.'),
    action: described(oneOf(['allow', 'deny']), 'What it decides.'),
    protocol: v.exactOptional(
      described(protocol, 'tcp, udp, icmp, icmpv6, any (default) or a number.', { default: 'any' }),
    ),
    port: v.exactOptional(
      described(port, 'The destination\'s port, "from-to" or any (default). Only with tcp and udp.', {
        default: 'any',
      }),
    ),
    ...icmpEntries,
    cidr: described(
      addressOrCidr,
      'Where packets into the subnet come from, or those out of it go to. The rule is for that family only.',
      {
        examples: ['0.0.0.0/0', '::/0'],
      },
    ),
  }),
  portOfProtocol(),
);

const networkAcl = map('a network ACL (a map)', {
  ingress: v.exactOptional(
    described(list('rules', aclEntry), 'Rules for packets into the subnet. What none of them names is denied.'),
  ),
  egress: v.exactOptional(
    described(list('rules', aclEntry), 'Rules for packets out of the subnet. What none of them names is denied.'),
  ),
});

const securityGroup = map('a security group (a map)', {
  description: v.exactOptional(description),
  ingress: v.exactOptional(described(list('rules', ingressRule), 'Who may connect to members. Without it: nobody.')),
  egress: v.exactOptional(
    described(list('rules', egressRule), 'Where members may connect to. Without it: everywhere.'),
  ),
});

const rate = v.pipe(
  text('a bandwidth as text, such as 100mbit', parseRate),
  v.metadata({ pattern: '^[0-9]+(?:\\.[0-9]+)?(?:bit|kbit|mbit|gbit)$' }),
);
const size = v.pipe(
  text('a size as text, such as 64kib', parseSize),
  v.metadata({ pattern: '^[0-9]+(?:\\.[0-9]+)?(?:b|kib|mib)$' }),
);
const time = v.pipe(
  text('a time as text, such as 20ms', parseTime),
  v.metadata({ pattern: '^[0-9]+(?:\\.[0-9]+)?(?:us|ms|s)$' }),
);
const share = v.pipe(
  text('a share as text, such as 0.5%', parseShare),
  v.metadata({ pattern: '^[0-9]+(?:\\.[0-9]+)?%$' }),
);

/** A value for both directions, or for either. */
function bothWays<const TValue extends v.GenericSchema<string>, const TMore extends v.ObjectEntries>(
  what: string,
  value: TValue,
  more: TMore,
) {
  return v.union(
    [
      value,
      map('a map', {
        in: v.exactOptional(described(value, 'Of what it receives.')),
        out: v.exactOptional(described(value, 'Of what it sends.')),
        ...more,
      }),
    ],
    expected(what),
  );
}

const shaping = {
  bandwidth: v.exactOptional(
    described(
      bothWays('a bandwidth such as 100mbit, or a map with in, out and burst', rate, {
        burst: v.exactOptional(
          described(size, 'What may pass at once, 16kib to 1024mib. Default: what passes in 2 ms, at least 16kib.'),
        ),
      }),
      'How much it receives and sends in a second at the most: 64kbit to 100gbit, for each direction or for either.',
      { examples: ['100mbit', { in: '100mbit', out: '50mbit' }] },
    ),
  ),
  delay: v.exactOptional(
    described(
      bothWays('a time such as 20ms, or a map with in and out', time, {}),
      'How much later its packets arrive, in each direction or in either. Needs sch_netem in the kernel.',
      { examples: ['20ms'] },
    ),
  ),
  jitter: v.exactOptional(
    described(
      bothWays('a time such as 5ms, or a map with in and out', time, {}),
      'By how much the delay varies, up and down; at most by itself.',
      { examples: ['5ms'] },
    ),
  ),
  loss: v.exactOptional(
    described(
      bothWays('a share such as 0.5%, or a map with in and out', share, {}),
      'Which share of its packets is lost, in each direction or in either. Needs sch_netem in the kernel.',
      { examples: ['0.5%'] },
    ),
  ),
};

const instance = map('an instance (a map)', {
  subnet: described(name('subnet'), 'Name of the subnet it is in.'),
  ip: v.exactOptional(described(address, 'Private address. Default: the next free one of the subnet.')),
  ipv6: v.exactOptional(
    described(
      v.union([boolean(), address6], expected('true, false or an IPv6 address of the subnet')),
      "An address of the subnet's IPv6 block; true: a free one; false: none. Default: true where the subnet has one.",
    ),
  ),
  secondaryIps: v.exactOptional(
    described(
      list('addresses', v.union([address, address6], expected('an IPv4 or IPv6 address of the subnet'))),
      'Further private addresses of the subnet, of either family. Default: none.',
    ),
  ),
  publicIp: v.exactOptional(
    described(
      v.union([boolean(), address], expected('true, false or an IPv4 address of the public pool')),
      'true: allocate a public address; false: none; an address of the pool: that one. Default: as the subnet.',
    ),
  ),
  elasticIp: v.exactOptional(described(name('elastic IP'), 'The elastic address that is its public one.')),
  publish: v.exactOptional(
    described(
      list(
        'publications',
        map('a publication (a map)', {
          hostPort: described(portNumber, 'Port of the host.'),
          port: v.exactOptional(described(portNumber, 'Port of the instance. Default: the same.')),
          protocol: v.exactOptional(described(oneOf(['tcp', 'udp']), 'tcp (default) or udp.', { default: 'tcp' })),
        }),
      ),
      'Ports of the host that lead to it. It needs a public address, and its groups are to admit who comes.',
    ),
  ),
  ...shaping,
  securityGroups: v.exactOptional(
    described(list('security group names', name('security group')), 'Security groups of the VPC. Default: default.', {
      default: ['default'],
    }),
  ),
});

const domain = text('a domain name (text)', (value) => parseDomain(value, 'the domain'));

const dns = v.union(
  [
    boolean(),
    map('a resolver (a map)', {
      domain: v.exactOptional(described(domain, 'Its instances are called NAME.DOMAIN. Default: VPC.internal.')),
      forward: v.exactOptional(
        described(
          v.union(
            [v.picklist(['host', 'none']), list('addresses', anyAddress)],
            expected('host, none or a list of addresses'),
          ),
          "Who is asked of everything else: host (default), the host's servers; none; or up to 8 addresses.",
          { default: 'host' },
        ),
      ),
    }),
  ],
  expected('true, false or a resolver (a map)'),
);

const zoneRecord = map('a record (a map)', {
  name: described(
    text('a name (text)', (value) => value === '@' || parseDomain(value, 'the name', { wildcard: true })),
    "Below the zone's domain; @: the domain itself; the first label may be *.",
    { examples: ['db', '@', '*.dev'] },
  ),
  type: v.exactOptional(
    described(oneOf(['A', 'AAAA', 'CNAME', 'MX', 'PTR', 'SRV', 'TXT']), 'Its type. Default A.', { default: 'A' }),
  ),
  ttl: v.exactOptional(
    described(
      v.pipe(
        v.number(expected('a number of seconds')),
        v.check(
          (value) => Number.isSafeInteger(value) && value >= 0,
          ({ input }) => `expected a number of seconds, found ${describe(input)}`,
        ),
        v.metadata({ type: 'integer', minimum: 0 }),
      ),
      'How long an answer may be kept, in seconds. Default 300.',
      { default: 300 },
    ),
  ),
  values: v.exactOptional(
    described(
      list(
        'values',
        text('a value (text)', () => {}),
      ),
      'Its values: of MX 10 mail.example.com, of SRV 1 10 5269 xmpp.example.com, of TXT the text.',
    ),
  ),
  alias: v.exactOptional(
    described(
      map('an alias (a map)', {
        vpc: described(name('VPC'), 'The VPC of the instance.'),
        instance: described(name('instance'), 'The instance.'),
      }),
      'Instead of values: the address of an instance; of type AAAA, its IPv6 address.',
    ),
  ),
});

const privateZone = map('a private zone (a map)', {
  domain: described(domain, 'The domain that it is for.', { examples: ['corp.internal'] }),
  vpcs: v.exactOptional(described(list('VPC names', name('VPC')), 'VPCs whose resolvers know it.')),
  records: v.exactOptional(described(list('records', zoneRecord), 'Its records.')),
});

const vpc = map('a VPC (a map)', {
  cidr: described(cidr, 'Primary IPv4 block, /16 to /28.', { examples: ['10.0.0.0/16'] }),
  ipv6Cidr: v.exactOptional(
    described(
      v.union([boolean(), cidr6], expected('true, false or an IPv6 block')),
      'Its IPv6 block: a /56 of the pool, or true for a free one.',
      { default: false },
    ),
  ),
  secondaryCidrs: v.exactOptional(described(list('IPv4 blocks', cidr), 'Further IPv4 blocks, /16 to /28.')),
  dns: v.exactOptional(
    described(dns, "A resolver at the primary block's third address and at 169.254.169.253. Default false.", {
      default: false,
    }),
  ),
  subnets: v.exactOptional(described(named('subnet', subnet), 'Subnets by name.')),
  routeTables: v.exactOptional(
    described(
      named('route table', routeTable),
      'Route tables by name; main is that of subnets that name none and are not public.',
    ),
  ),
  natGateways: v.exactOptional(
    described(named('NAT gateway', natGateway), 'NAT gateways by name: they let private subnets out, and nobody in.'),
  ),
  egressOnlyInternetGateway: v.exactOptional(
    described(boolean(), 'It has one: IPv6 that is routed to it gets out, and nobody in. Default false.', {
      default: false,
    }),
  ),
  networkAcls: v.exactOptional(
    described(named('network ACL', networkAcl), "Network ACLs by name: stateless rules at subnets' borders."),
  ),
  securityGroups: v.exactOptional(
    described(named('security group', securityGroup), 'Security groups by name: stateful, allow only.'),
  ),
  instances: v.exactOptional(
    described(named('instance', instance), 'Instances by name: workloads, one namespace each.'),
  ),
});

const peering = map('a peering (a map)', {
  vpcs: described(
    v.strictTuple([name('VPC'), name('VPC')], ({ expected: wanted, input }) =>
      wanted === 'never'
        ? `a peering has two VPCs, found also ${describe(input)}`
        : `expected a list of two VPC names, found ${describe(input)}`,
    ),
    'The two VPCs.',
  ),
  allowCidrs: v.exactOptional(
    described(
      list('blocks', anyCidr),
      'Only these blocks of either side take part, of both families. Default: all blocks of both.',
    ),
  ),
  routes: v.exactOptional(
    described(
      oneOf(['auto', 'manual']),
      'auto (default): every route table of both leads to the other; manual: those that say so.',
      { default: 'auto' },
    ),
  ),
});

const transitRoute = map('a route (a map)', {
  destination: described(destination, 'Where to: a block, or { prefixList: NAME }. The longest prefix decides.'),
  target: described(
    v.union(
      [v.picklist(['blackhole']), map('a map', { vpc: described(name('VPC'), 'Name of an attached VPC.') })],
      expected('blackhole or { vpc: NAME }'),
    ),
    'blackhole, or { vpc: NAME }: the attachment of that VPC.',
  ),
});

const transitGateway = map('a transit gateway (a map)', {
  routeTables: v.exactOptional(
    described(
      named(
        'route table',
        map('a route table (a map)', {
          routes: v.exactOptional(
            described(list('routes', transitRoute), 'Static routes: they go before propagated ones to the same block.'),
          ),
        }),
      ),
      'Route tables by name; default is always there.',
    ),
  ),
  attachments: v.exactOptional(
    described(
      named(
        'VPC',
        map('an attachment (a map)', {
          routeTable: v.exactOptional(
            described(name('route table'), "The gateway's route table that packets from the VPC follow.", {
              default: 'default',
            }),
          ),
          propagateTo: v.exactOptional(
            described(
              list('route table names', name('route table')),
              "The gateway's route tables that get routes to the VPC's blocks by themselves.",
              { default: ['default'] },
            ),
          ),
        }),
      ),
      'Attachments by name of the VPC. The route tables of the VPC are to lead to the gateway.',
    ),
  ),
});

function readLinkName(value: string): void {
  // The kernel's own rule, dev_valid_name().
  const fits =
    value !== '' && Buffer.byteLength(value) <= 15 && value !== '.' && value !== '..' && !/[/:\s]/.test(value);
  if (!fits) throw invalid(`${quote(value)} is no link name: expected 1 to 15 characters without "/", ":" and spaces`);
}

function quota(words: string) {
  return v.exactOptional(
    described(
      v.pipe(
        v.number(expected('a number of 1 or more')),
        v.check(
          (value) => Number.isSafeInteger(value) && value >= 1,
          ({ input }) => `expected a number of 1 or more, found ${describe(input)}`,
        ),
        v.metadata({ type: 'integer', minimum: 1 }),
      ),
      words,
    ),
  );
}

const settings = map('settings (a map)', {
  publicPool: v.exactOptional(
    described(cidr, 'Public addresses that this installation hands out. Default 198.51.100.0/24.', {
      default: '198.51.100.0/24',
    }),
  ),
  ipv6Pool: v.exactOptional(
    described(cidr6, 'IPv6 blocks of VPCs are taken from it: /16 to /55. Default fd76:7063:6300::/40.', {
      default: 'fd76:7063:6300::/40',
    }),
  ),
  poolRouted: v.exactOptional(
    described(boolean(), 'The pool is routed to this host by its network: do not masquerade. Default false.', {
      default: false,
    }),
  ),
  ipv6PoolRouted: v.exactOptional(
    described(boolean(), 'The same of the IPv6 pool. Default false.', { default: false }),
  ),
  uplink: v.exactOptional(
    described(
      text('a link name, auto or none (text)', readLinkName),
      "Link to the internet; auto (default): the default route's; none: public means reachable from this host only.",
      { default: 'auto', minLength: 1, maxLength: 15 },
    ),
  ),
  quotas: v.exactOptional(
    described(
      map('quotas (a map)', {
        securityGroupRules: quota('Rules of a security group in one direction. AWS: 60.'),
        securityGroupsPerInstance: quota('Security groups of an instance. AWS: 5.'),
        networkAclRules: quota('Rules of a network ACL in one direction. AWS: 20.'),
        routesPerRouteTable: quota('Routes of a route table, besides automatic ones. AWS: 500.'),
        subnetsPerVpc: quota('Subnets of a VPC. AWS: 200.'),
        blocksPerVpc: quota('Blocks of a VPC. AWS: 5.'),
      }),
      'Limits for what is added or changed from now on. Default: none.',
    ),
  ),
});

const MOST_ENTRIES = 1000;

const prefixListEntry = map('an entry (a map)', {
  cidr: described(anyCidr, "A block of the list's family, once in it.", { examples: ['10.0.0.0/16'] }),
  description: v.exactOptional(description),
});

const prefixList = map('a prefix list (a map)', {
  family: v.exactOptional(described(oneOf(['ipv4', 'ipv6']), 'Of all entries. It never changes.', { default: 'ipv4' })),
  maxEntries: described(
    countTo(MOST_ENTRIES),
    'The most entries. A rule or route that names the list counts for so many in its quota.',
  ),
  entries: v.exactOptional(described(list('entries', prefixListEntry), 'Its blocks.')),
});

const spec = v.pipe(
  map('a spec (a map with the key vpcs)', {
    name: v.exactOptional(
      described(
        name('spec'),
        'Name of this set: VPCs applied under it and no longer listed are removed. Without it none ever is.',
      ),
    ),
    settings: v.exactOptional(described(settings, 'Settings of the whole installation.')),
    elasticIps: v.exactOptional(
      described(
        named(
          'elastic IP',
          map('an elastic IP (a map)', {
            address: v.exactOptional(described(address, 'An address of the public pool. Default: a free one.')),
          }),
        ),
        'Public addresses that stay when what has them goes, by name. One that is not listed is kept.',
      ),
    ),
    prefixLists: v.exactOptional(
      described(
        named('prefix list', prefixList),
        'Blocks under one name, for rules and routes of any VPC. One that is not listed is kept.',
      ),
    ),
    vpcs: described(named('VPC', vpc), 'VPCs by name.'),
    privateZones: v.exactOptional(
      described(named('private zone', privateZone), 'Names that the resolvers of some VPCs know, by name of the zone.'),
    ),
    transitGateways: v.exactOptional(
      described(named('transit gateway', transitGateway), 'Routers between VPCs, by name.'),
    ),
    peerings: v.exactOptional(described(list('peerings', peering), 'Pairs of VPCs that reach each other.')),
  }),
  v.title('vpcctl spec'),
  v.description('VPCs, their subnets, security groups, instances and peerings.'),
);

const policyFile = v.pipe(
  map('a policy (a map)', {
    subnet: v.exactOptional(
      described(
        text('the name or IPv4 block of a subnet (text)', (value) =>
          /[./:]/.test(value) ? parseCidr(value) : parseName(value, 'subnet'),
        ),
        'The subnet, by name or by its IPv4 block.',
      ),
    ),
    ...policyEntries,
  }),
  v.title('vpcctl policy'),
  v.description('Ordered allow and deny rules for one subnet.'),
);

// ---- the schema and types.ts say the same

type DeepReadonly<T> = T extends string | number | boolean | undefined
  ? T
  : { readonly [Key in keyof T]: DeepReadonly<T[Key]> };
type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
type Proof<T extends true> = T;
type Plain<T> = T extends string | number | boolean | undefined ? T : { [Key in keyof T]: Plain<T[Key]> };

/** The schema of {@link Spec}, for composing; {@link checkSpec} has the better messages. */
export const SpecSchema: v.GenericSchema<unknown, Spec> = v.pipe(v.unknown(), spec);

/** The schema of one {@link PolicyFile}. */
export const PolicyFileSchema: v.GenericSchema<unknown, PolicyFile> = v.pipe(v.unknown(), policyFile);

/** Does not compile when the schema and types.ts differ in a key, a type or what is optional. */
export type SchemaProof = [
  Proof<Same<Plain<DeepReadonly<v.InferOutput<typeof spec>>>, Plain<Spec>>>,
  Proof<Same<Plain<DeepReadonly<v.InferOutput<typeof policyFile>>>, Plain<PolicyFile>>>,
];

// ---- checking

/** Checks a plain value against the schema. What comes back is a copy, its keys in the order of the schema. */
export function checkSpec(value: unknown): CheckResult<Spec> {
  return check(spec, value, []);
}

/** Checks a policy file: one policy or a list of them. */
export function checkPolicies(value: unknown): CheckResult<PolicyFile[]> {
  if (!Array.isArray(value)) {
    const result = check<PolicyFile>(policyFile, value, []);
    return result.ok ? { ok: true, value: [result.value] } : result;
  }
  return check<PolicyFile[]>(list('policies', policyFile), value, []);
}

/** Checks the rules of one security group. */
export function checkSecurityGroup(value: unknown): CheckResult<SecurityGroupSpec> {
  return check<SecurityGroupSpec>(securityGroup, value, []);
}

/** Checks the rules of one network ACL. */
export function checkNetworkAcl(value: unknown): CheckResult<NetworkAclSpec> {
  return check<NetworkAclSpec>(networkAcl, value, []);
}

/** The value as a spec; INVALID, with a path and all problems, when it is none. For specs that come as objects. */
export function validateSpec(value: unknown): Spec {
  return validated(checkSpec(value));
}

/** The value as settings, likewise. */
export function validateSettings(value: unknown): SettingsSpec {
  return validated(check<SettingsSpec>(settings, value, []));
}

/** The value as a route, likewise. */
export function validateRoute(value: unknown): RouteSpec {
  return validated(check<RouteSpec>(route, value, []));
}

/** The value as the rules of a network ACL, likewise. */
export function validateNetworkAcl(value: unknown): NetworkAclSpec {
  return validated(checkNetworkAcl(value));
}

/** The value as one rule of a network ACL, likewise. */
export function validateNetworkAclEntry(value: unknown): NetworkAclEntrySpec {
  return validated(check<NetworkAclEntrySpec>(aclEntry, value, []));
}

/** The value as a prefix list, likewise. */
export function validatePrefixList(value: unknown): PrefixListSpec {
  return validated(check<PrefixListSpec>(prefixList, value, []));
}

/** The value as entries of a prefix list, likewise. */
export function validatePrefixListEntries(value: unknown): readonly PrefixListEntrySpec[] {
  return validated(check<PrefixListEntrySpec[]>(list('entries', prefixListEntry), value, []));
}

/** The value as a route of a transit gateway, likewise. */
export function validateTransitRoute(value: unknown): TransitRouteSpec {
  return validated(check<TransitRouteSpec>(transitRoute, value, []));
}

/** The value as a VPC's resolver, likewise. */
export function validateDns(value: unknown): DnsSpec {
  return validated(check<DnsSpec>(dns, value, []));
}

/** The value as a private zone, likewise. */
export function validatePrivateZone(value: unknown): PrivateZoneSpec {
  return validated(check<PrivateZoneSpec>(privateZone, value, []));
}

/** The value as a record of a private zone, likewise. */
export function validateZoneRecord(value: unknown): ZoneRecordSpec {
  return validated(check<ZoneRecordSpec>(zoneRecord, value, []));
}

function validated<T>(result: CheckResult<T>): T {
  if (result.ok) return result.value;
  const problems = result.issues.map((issue) => ({
    message: issueMessage(issue),
    ...(issue.path.length === 0 ? {} : { path: formatPath(issue.path) }),
  }));
  const [first] = result.issues;
  throw invalid(issueMessage(first), {
    ...(first.path.length === 0 ? {} : { path: formatPath(first.path) }),
    ...(problems.length > 1 ? { problems } : {}),
  });
}

/** The issue with where it is in front: `vpcs.a.cidr: …`. */
export function issueMessage({ path, message, atKey }: Issue): string {
  const where = formatPath(atKey ? path.slice(0, -1) : path);
  return where === '' ? message : `${where}: ${message}`;
}

function check<T>(
  schema: v.GenericSchema<unknown, T> | v.GenericSchema<never, T>,
  value: unknown,
  at: Path,
): CheckResult<T> {
  const result = v.safeParse(schema as v.GenericSchema<unknown, T>, value);
  if (result.success) return { ok: true, value: result.output };
  const issues = result.issues.flatMap((issue) => issuesOf(issue, at, schema));
  const [first, ...rest] = issues;
  if (first === undefined) throw new Error('valibot refused a value without an issue');
  return { ok: false, issues: [first, ...rest] };
}

/** Of a union's issues, those of the maps that have a key in common with what is there, or one that may be meant by a key there. */
function meantOf(issues: readonly v.BaseIssue<unknown>[]): readonly v.BaseIssue<unknown>[] {
  const foreign = issues.flatMap((issue) => {
    const allowed = allowedKeys.get(issue);
    const given = Object.keys((issue.path?.[0]?.input ?? {}) as object);
    return allowed === undefined || allowed.some((key) => given.includes(key)) ? [] : allowed;
  });
  const meant = issues.filter((issue) => {
    const missing = issue.type === 'strict_object' ? String(issue.path?.[0]?.key) : undefined;
    return !foreign.some((key) => key === missing || allowedKeys.get(issue)?.includes(key));
  });
  return meant.length > 0 ? meant : issues.filter(({ message }) => message.includes('did you mean'));
}

/** One issue of valibot's as ours: unions by the member that was meant, unknown keys all and not the first alone. */
function issuesOf(issue: v.BaseIssue<unknown>, at: Path, root: unknown): Issue[] {
  const items = issue.path ?? [];
  const path = [...at, ...items.map(({ key }) => key as string | number)];
  if (issue.type === 'union' && issue.issues !== undefined) {
    const inner = issue.issues.filter((member) => member.path !== undefined && member.path.length > 0);
    const meant = meantOf(inner);
    if (meant.length > 0) return meant.flatMap((member) => issuesOf(member, path, root));
  }
  const last = items.at(-1);
  const allowed = allowedKeys.get(issue);
  if (allowed !== undefined && last !== undefined) {
    // valibot stops at a map's first unknown key.
    return Object.keys(last.input as object)
      .filter((key) => !allowed.includes(key))
      .map((key) => ({ path: [...path.slice(0, -1), key], message: unknownKey(key, allowed), atKey: true }));
  }
  // A key that is missing is a problem of the map it is missing from.
  if (issue.type === 'strict_object') return [{ path: path.slice(0, -1), message: issue.message, atKey: false }];
  return [{ path, message: issue.message, atKey: last?.type === 'object' && last.origin === 'key' }];
}

// ---- JSON Schema

/** The JSON Schema (draft-07) of specs, for editors. Loads the converter on first use. */
export async function specJsonSchema(): Promise<object> {
  return withSchemaKey(await jsonSchema(spec));
}

/** The JSON Schema (draft-07) of policy files: one policy or a list of them. */
export async function policyJsonSchema(): Promise<object> {
  const { $schema, title, description: words, ...one } = await jsonSchema(policyFile);
  const many = { type: 'array', items: one };
  return { $schema, title, description: words, anyOf: [withSchemaKey(one), many] };
}

async function jsonSchema(schema: v.GenericSchema) {
  const { toJsonSchema } = await import('@valibot/to-json-schema');
  // `output`: of a pipe, the schema after the check that there is a map.
  return toJsonSchema(schema, { target: 'draft-07', typeMode: 'output', ignoreActions: ['raw_check', 'check'] });
}

/** A document may name its schema; parse.ts takes the key out before the checks. */
function withSchemaKey<T extends { properties?: object | undefined }>(schema: T): object {
  const key = { type: 'string', description: 'The schema of this file, for editors.' };
  return { ...schema, properties: { $schema: key, ...schema.properties } };
}
