/** Rules of security groups and policies: from what a user writes to the normal form. */
import { invalid } from '../errors.js';
import {
  type AnyCidr,
  type Cidr,
  type Cidr6,
  contains,
  type Family,
  familyOf,
  isCidr6,
  parseAnyIpOrCidr,
} from '../net/cidr.js';
import { parseName } from '../net/name.js';
import { ANY_PORT, type IcmpMessages, parseIcmp, parsePort, parseProtocol } from '../net/ports.js';
import type {
  EgressRuleSpec,
  IngressRuleSpec,
  PartySpec,
  PolicyRuleSpec,
  PolicySpec,
  PublicationSpec,
  SecurityGroupSpec,
} from '../spec/types.js';
import type { GroupRule, Party, Publication, SecurityGroup } from './resources.js';

export const DEFAULT_GROUP = 'default';

/**
 * The rules of a VPC's `default` group where the spec does not give others: AWS's (everything from its own members, everything out;
 * VPC User Guide, "Default security groups"), and besides the machine itself and the peered VPCs, which on one machine are the
 * operator's own.
 */
export const DEFAULT_GROUP_RULES: Pick<SecurityGroup, 'ingress' | 'egress'> = {
  ingress: [{ party: { type: 'self' } }, { party: { type: 'host' } }, { party: { type: 'peers' } }],
  egress: [{ party: { type: 'any' } }],
};

const KEYWORDS = ['any', 'self', 'vpc', 'peers', 'host'] as const;

function parseParty(party: PartySpec | undefined, direction: 'ingress' | 'egress'): Party {
  if (party === undefined) return { type: 'any' };
  if (typeof party !== 'string') {
    if ('prefixList' in party) return { type: 'prefix-list', prefixList: parseName(party.prefixList, 'prefix list') };
    const group = parseName(party.group, 'security group');
    return { type: 'group', group, ...(party.vpc === undefined ? {} : { vpc: parseName(party.vpc, 'vpc') }) };
  }
  const keyword = KEYWORDS.find((word) => word === party);
  if (keyword === 'host' && direction === 'egress') {
    throw invalid('an egress rule cannot name the host: its own services are not reachable from a workload', {
      hint: 'leave the rule out',
    });
  }
  if (keyword !== undefined) return { type: keyword };
  if (!/^[0-9]/.test(party) && !party.includes(':')) {
    throw invalid(`${JSON.stringify(party)} is no source or destination`, {
      hint: `write a CIDR, one of ${KEYWORDS.join(', ')}, {group: NAME} or {prefixList: NAME}`,
    });
  }
  return { type: 'cidr', cidr: parseAnyIpOrCidr(party) };
}

function parseRule(rule: IngressRuleSpec & EgressRuleSpec, direction: 'ingress' | 'egress'): GroupRule {
  const protocol = parseProtocol(rule.protocol);
  const ports = parsePort(rule.port, protocol);
  const icmp = parseIcmp(rule.icmpType, rule.icmpCode, protocol);
  return {
    ...(protocol.number === 'any' ? {} : { protocol: protocol.number }),
    ...(ports === ANY_PORT ? {} : { ports: { from: ports.from, to: ports.to } }),
    ...(icmp === undefined ? {} : { icmp }),
    party: parseParty(direction === 'ingress' ? rule.from : rule.to, direction),
    ...(rule.description === undefined ? {} : { description: rule.description }),
  };
}

/** A group's rules in normal form. AWS: a group without egress rules in its definition lets everything out. */
export function parseGroup(vpc: string, name: string, spec: SecurityGroupSpec): SecurityGroup {
  return {
    kind: 'group',
    vpc,
    name: parseName(name, 'security group'),
    ...(spec.description === undefined ? {} : { description: spec.description }),
    ingress: (spec.ingress ?? []).map((rule) => parseRule(rule, 'ingress')),
    egress: spec.egress?.map((rule) => parseRule(rule, 'egress')) ?? [{ party: { type: 'any' } }],
  };
}

function formatParty(party: Party): PartySpec | undefined {
  switch (party.type) {
    case 'any':
      return undefined;
    case 'cidr':
      return party.cidr;
    case 'prefix-list':
      return { prefixList: party.prefixList };
    case 'group':
      return { group: party.group, ...(party.vpc === undefined ? {} : { vpc: party.vpc }) };
    default:
      return party.type;
  }
}

const PROTOCOL_NAMES: ReadonlyMap<number, 'tcp' | 'udp' | 'icmp' | 'icmpv6'> = new Map([
  [6, 'tcp'],
  [17, 'udp'],
  [1, 'icmp'],
  [58, 'icmpv6'],
]);

/** What packets a rule is for, whoever the other side is. */
interface Match {
  readonly protocol?: number;
  readonly ports?: { readonly from: number; readonly to: number };
  readonly icmp?: IcmpMessages;
}

/** The protocol, ports and ICMP messages of a rule as a user writes them; nothing of what is all. */
export function formatMatch({ protocol, ports, icmp }: Match): {
  protocol?: 'tcp' | 'udp' | 'icmp' | 'icmpv6' | number;
  port?: number | string;
  icmpType?: number;
  icmpCode?: number;
} {
  return {
    ...(protocol === undefined ? {} : { protocol: PROTOCOL_NAMES.get(protocol) ?? protocol }),
    ...(ports === undefined ? {} : { port: ports.from === ports.to ? ports.from : `${ports.from}-${ports.to}` }),
    ...(icmp === undefined ? {} : { icmpType: icmp.type }),
    ...(icmp?.code === undefined ? {} : { icmpCode: icmp.code }),
  };
}

/** Inverse of {@link parseGroup}, rule by rule. */
export function formatRule(rule: GroupRule, direction: 'from' | 'to'): IngressRuleSpec & EgressRuleSpec {
  const party = formatParty(rule.party);
  return {
    ...formatMatch(rule),
    ...(party === undefined ? {} : { [direction]: party }),
    ...(rule.description === undefined ? {} : { description: rule.description }),
  };
}

/** A published port as a user writes it. */
export function formatPublication({ protocol, hostPort, port }: Publication): PublicationSpec {
  return {
    hostPort,
    ...(port === hostPort ? {} : { port }),
    ...(protocol === 6 ? {} : { protocol: 'udp' }),
  };
}

/** One rule of a policy in normal form. Ranges are inclusive; absent protocol: any; absent ports: all. */
export interface PolicyRule {
  readonly allow: boolean;
  readonly protocol?: number;
  readonly ports?: { readonly from: number; readonly to: number };
  readonly source?: AnyCidr;
  readonly destination?: AnyCidr;
}

/** Of which family packets are that a rule of a policy is for; undefined: of both. */
export function familyOfRule({ source, destination }: PolicyRule): Family | undefined {
  const named = source ?? destination;
  return named === undefined ? undefined : familyOf(named);
}

export function parsePolicyRule(rule: PolicyRuleSpec): PolicyRule {
  const protocol = parseProtocol(rule.protocol);
  const ports = parsePort(rule.port, protocol);
  const source = rule.source === undefined ? undefined : parseAnyIpOrCidr(rule.source);
  const destination = rule.destination === undefined ? undefined : parseAnyIpOrCidr(rule.destination);
  if (source !== undefined && destination !== undefined && familyOf(source) !== familyOf(destination)) {
    throw invalid(`no packet goes from ${source} to ${destination}: they are of two families`, {
      hint: 'write one rule for each family',
    });
  }
  return {
    allow: rule.action === 'allow' || rule.action === 'accept',
    ...(protocol.number === 'any' ? {} : { protocol: protocol.number }),
    ...(ports === ANY_PORT ? {} : { ports: { from: ports.from, to: ports.to } }),
    ...(source === undefined ? {} : { source }),
    ...(destination === undefined ? {} : { destination }),
  };
}

/**
 * Reads every rule once, so that a policy with a bad one is refused before anything happens. The subnet's own side of a rule (an ingress rule's
 * destination, an egress rule's source) may only be named so as to hold the whole subnet: a policy is the subnet's, not an instance's.
 */
export function checkPolicy(
  policy: PolicySpec,
  subnet: { readonly cidr: Cidr; readonly ipv6Cidr?: Cidr6 },
): PolicySpec {
  for (const [direction, own] of [
    ['ingress', 'destination'],
    ['egress', 'source'],
  ] as const) {
    for (const [index, rule] of (policy[direction] ?? []).entries()) {
      const block = parsePolicyRule(rule)[own];
      const whole = block !== undefined && isCidr6(block) ? subnet.ipv6Cidr : subnet.cidr;
      if (block !== undefined && whole === undefined) {
        throw invalid(`${direction} rule ${index + 1}: ${own} ${block} is IPv6, and the subnet has no IPv6 block`, {
          hint: `leave the ${own} out, or give the subnet one`,
        });
      }
      if (block !== undefined && whole !== undefined && !contains(block, whole)) {
        throw invalid(`${direction} rule ${index + 1}: ${own} ${block} does not hold the whole subnet ${whole}`, {
          hint: `leave the ${own} out, or use security groups for single instances`,
        });
      }
    }
  }
  return {
    ...(policy.ingress === undefined ? {} : { ingress: policy.ingress }),
    ...(policy.egress === undefined ? {} : { egress: policy.egress }),
  };
}
