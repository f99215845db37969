/** What a profile's elements admit, packet by packet, against the rules as a person reads them. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BLOCK_SETS, GATE_SETS, type GateSet, gateSet } from '../../../src/lower/firewall.js';
import { lower } from '../../../src/lower/lower.js';
import { type Instance, ids, type Profile } from '../../../src/model/resources.js';
import { addInstance, addSubnet, applyPolicy, createVpc, peer, putGroup } from '../../../src/model/verbs.js';
import {
  type Cidr,
  contains,
  firstAddress,
  type Ip,
  isIp6,
  networkOf,
  numberOf,
  parseAnyIpOrCidr,
  rangeOf,
} from '../../../src/net/cidr.js';
import type { NftElementRow, NftValue } from '../../../src/objects/kernel-object.js';
import type { PolicyRuleSpec, SecurityGroupSpec } from '../../../src/spec/types.js';
import { policySpec, type World, world } from '../model/support.js';
import { assertProperty } from '../net/property.js';

interface Packet {
  readonly address: string;
  readonly protocol: number;
  /** Of ICMP: type × 256 + code. */
  readonly port: number;
  /** Mark of the other side; 0: it is no instance of the VPC. */
  readonly mark: number;
}

const PROTOCOLS: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 };
const ADDRESSES6 = ['fd76:7063:6301::9', 'fd76:7063:6302::1', '2001:db8::1'];
const packets: readonly Packet[] = [
  ...ADDRESSES6,
  '10.0.1.9',
  '10.1.0.1',
  '10.1.1.7',
  '10.1.1.8',
  '10.9.0.1',
  '8.8.8.8',
].flatMap((address) =>
  [0, 1, 2, 6, 7, 17, 58, 255].flatMap((protocol) =>
    (protocol === 6 || protocol === 17 ? [1, 53, 79, 80, 81, 443, 444, 65535] : [0]).map(
      (port): Packet => ({ address, protocol, port, mark: 0 }),
    ),
  ),
);

type Point = number | bigint;

function holds(value: NftValue, point: Point): boolean {
  if (typeof value === 'number') return value === point;
  const range = /^(.+)-(.+)$/.exec(value);
  const number = (text: string): Point => (/[.:]/.test(text) ? numberOf(text as Ip) : Number(text));
  if (range !== null) return number(range[1] as string) <= point && point <= number(range[2] as string);
  const { first, last } = rangeOf(parseAnyIpOrCidr(value));
  return first <= point && point <= last;
}

/** As the gate's rules look packets up; ports only where the header has them. */
function admits(elements: readonly NftElementRow[], gate: 'in' | 'out', own: number, packet: Packet): boolean {
  const { address, protocol, mark } = packet;
  const family = isIp6(address as Ip) ? 6 : 4;
  const isIcmp = protocol === (family === 4 ? 1 : 58);
  const whole = numberOf(address as Ip);
  const cut = (length: number): Point => numberOf(firstAddress(networkOf(address as Ip, length) as Cidr));
  const message = isIcmp ? [Math.floor(packet.port / 256), packet.port % 256] : [];
  // Where others have the port of the destination, ICMP has a checksum.
  const port = isIcmp ? 0xbeef : packet.port;
  const keys: Partial<Record<GateSet, Point[]>> = {
    all: [own],
    proto: [own, protocol],
    port: [own, protocol, port],
    group: [own, mark],
    group_proto: [own, mark, protocol],
    group_port: [own, mark, protocol, port],
    group_icmp: [own, mark, ...message],
    ...Object.fromEntries(BLOCK_SETS[family].map(({ set, length }) => [set, [own, cut(length), protocol, port]])),
    net: [own, whole, protocol],
    net_port: [own, whole, protocol, port],
    net_icmp: [own, whole, ...message],
  };
  const names = new Map(Object.keys(GATE_SETS[family]).map((set) => [gateSet(gate, family, set as GateSet), set]));
  return elements.some((element) => {
    const key = keys[names.get(element.set) as GateSet];
    if (key === undefined) return false;
    return element.key.length === key.length && element.key.every((part, index) => holds(part, key[index] as Point));
  });
}

function portMatches(port: number | string | undefined, packet: Packet): boolean {
  if (port === undefined || port === 'any') return true;
  const [from, to] = String(port).split('-').map(Number);
  return (from as number) <= packet.port && packet.port <= (to ?? (from as number));
}

function messageMatches(rule: { icmpType?: number; icmpCode?: number }, { port }: Packet): boolean {
  const { icmpType = -1, icmpCode = -1 } = rule;
  return (icmpType === -1 || icmpType === Math.floor(port / 256)) && (icmpCode === -1 || icmpCode === port % 256);
}

function elementsOf(made: World, instance: string): { own: number; elements: NftElementRow[] } {
  const { profile, vpc } = made.get<Instance>(instance);
  const rows = lower(made.reader, made.get<Profile>(ids.profile(vpc, profile)));
  return { own: profile, elements: rows as NftElementRow[] };
}

describe('a policy', () => {
  const first = (rules: readonly PolicyRuleSpec[], side: 'source' | 'destination', packet: Packet): boolean => {
    const decisive = rules.find(
      (rule) =>
        (rule.protocol === undefined || rule.protocol === 'any' || PROTOCOLS[rule.protocol] === packet.protocol) &&
        portMatches(rule.port, packet) &&
        (rule[side] === undefined || contains(parseAnyIpOrCidr(rule[side]), packet.address as Ip)),
    );
    return decisive?.action === 'allow';
  };

  test('admits what its first matching rule allows, and its subnet is nobody else', () => {
    assertProperty(
      fc.property(policySpec, (policy) => {
        const made = world((draft) => {
          createVpc(draft, { name: 'a', cidr: '10.0.0.0/16', ipv6Cidr: 'fd76:7063:6301::/56' });
          addSubnet(draft, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', ipv6Cidr: true });
          addInstance(draft, { vpc: 'a', subnet: 's', name: 'x' });
          applyPolicy(draft, 'a', 's', policy);
        });
        const { own, elements } = elementsOf(made, 'instance/a/x');
        const { ingress, egress } = policy;
        const wrong = packets.filter((packet) => {
          const out = egress === undefined || first(egress, 'destination', packet);
          if (admits(elements, 'out', own, packet) !== out) return true;
          return ingress !== undefined && admits(elements, 'in', own, packet) !== first(ingress, 'source', packet);
        });
        expect(wrong).toEqual([]);
      }),
      { numRuns: 100 },
    );
  }, 60_000);

  test('that denies one port of any source admits every other protocol', () => {
    const made = world((draft) => {
      createVpc(draft, { name: 'a', cidr: '10.0.0.0/16' });
      addSubnet(draft, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
      addInstance(draft, { vpc: 'a', subnet: 's', name: 'x' });
      applyPolicy(draft, 'a', 's', { ingress: [{ protocol: 'tcp', port: 22, action: 'deny' }, { action: 'allow' }] });
    });
    const { own, elements } = elementsOf(made, 'instance/a/x');
    const packet = (protocol: number, port: number): Packet => ({ address: '8.8.8.8', protocol, port, mark: 0 });
    expect(admits(elements, 'in', own, packet(6, 22))).toBe(false);
    expect(admits(elements, 'in', own, packet(6, 23))).toBe(true);
    expect(admits(elements, 'in', own, packet(1, 0))).toBe(true);
    expect(admits(elements, 'in', own, packet(17, 22))).toBe(true);
    expect(admits(elements, 'in', own, packet(47, 0))).toBe(true);
  });
});

const OTHERS6 = ['fd76:7063:6302::1', 'fd76:7063:6302:100::1', '2001:db8::1', 'fd76:7063:6300::1'];
const isIn = (ip: string, ...blocks: string[]): boolean =>
  blocks.some((block) => contains(parseAnyIpOrCidr(block), ip as Ip));

describe('security groups', () => {
  const parties = [
    'any',
    'self',
    'vpc',
    'peers',
    'host',
    '10.1.1.0/24',
    '10.1.1.7',
    '0.0.0.0/0',
    '::/0',
    'fd76:7063:6302::/56',
    'fd76:7063:6302::1',
    'fd76:7063:6300::/48',
    { group: 'other' },
  ] as const;
  const rule = fc.record({
    service: fc.constantFrom(
      {},
      { protocol: 'tcp' as const },
      { protocol: 'tcp' as const, port: 80 },
      { protocol: 'tcp' as const, port: '80-443' },
      { protocol: 'icmp' as const },
      { protocol: 'icmp' as const, icmpType: 8 },
      { protocol: 'icmp' as const, icmpType: 8, icmpCode: 0 },
      { protocol: 'icmp' as const, icmpType: 3, icmpCode: -1 },
      { protocol: 'icmpv6' as const },
      { protocol: 'icmpv6' as const, icmpType: 8 },
      { protocol: 'icmpv6' as const, icmpType: 8, icmpCode: 0 },
    ),
    from: fc.constantFrom(...parties),
  });
  const group = fc
    .array(rule, { maxLength: 4 })
    .map((rules): SecurityGroupSpec => ({ ingress: rules.map(({ service, from }) => ({ ...service, from })) }));

  test('admit what some rule of some group of the instance allows', () => {
    assertProperty(
      fc.property(group, group, (web, ops) => {
        const made = world((draft) => {
          createVpc(draft, { name: 'a', cidr: '10.0.0.0/16', ipv6Cidr: 'fd76:7063:6301::/56' });
          createVpc(draft, { name: 'b', cidr: '10.1.0.0/16', ipv6Cidr: 'fd76:7063:6302::/56' });
          peer(draft, 'a', 'b', ['10.0.0.0/16', '10.1.1.0/24', '10.1.1.0/25', 'fd76:7063:6300::/40']);
          addSubnet(draft, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', ipv6Cidr: true });
          putGroup(draft, 'a', 'other', {});
          putGroup(draft, 'a', 'web', web);
          putGroup(draft, 'a', 'ops', ops);
          addInstance(draft, { vpc: 'a', subnet: 's', name: 'x', securityGroups: ['web', 'ops'] });
          addInstance(draft, { vpc: 'a', subnet: 's', name: 'y', securityGroups: ['other'] });
          addInstance(draft, { vpc: 'a', subnet: 's', name: 'z', securityGroups: ['web'] });
        });
        const { own, elements } = elementsOf(made, 'instance/a/x');
        const members: Readonly<Record<string, readonly string[]>> = { x: ['web', 'ops'], y: ['other'], z: ['web'] };
        const senders = [
          ...Object.keys(members).flatMap((name) => {
            const member = made.get<Instance>(`instance/a/${name}`);
            return [member, { ...member, ip: member.ipv6 as Ip }];
          }),
          ...['10.1.1.7', '10.1.1.200', '10.1.2.1', '8.8.8.8', '169.254.128.1', ...OTHERS6].map((ip) => ({
            name: '',
            ip,
            profile: 0,
          })),
        ];
        const rules = [
          ...(web.ingress ?? []).map((one) => ({ ...one, owner: 'web' })),
          ...(ops.ingress ?? []).map((one) => ({ ...one, owner: 'ops' })),
        ];
        const named = (sender: { name: string; ip: string }, from: unknown, owner: string): boolean => {
          const groups = members[sender.name] ?? [];
          if (from === 'any') return true;
          if (from === 'self') return groups.includes(owner);
          if (from === 'vpc') return isIn(sender.ip, '10.0.0.0/16', 'fd76:7063:6301::/56');
          if (from === 'peers') return isIn(sender.ip, '10.1.1.0/24', 'fd76:7063:6302::/56');
          if (from === 'host') return sender.ip === '169.254.128.1' || sender.ip === 'fd76:7063:6300::1';
          if (typeof from === 'string') return isIn(sender.ip, from);
          return groups.includes((from as { group: string }).group);
        };
        const wrong: unknown[] = [];
        for (const sender of senders) {
          for (const [protocol, port] of [
            [6, 80],
            [6, 100],
            [6, 22],
            [17, 80],
            [1, 0],
            [1, 8 * 256],
            [1, 8 * 256 + 1],
            [1, 3 * 256 + 4],
            [58, 0],
            [58, 8 * 256],
            [58, 8 * 256 + 1],
            [47, 0],
          ] as const) {
            // A message of the other family's ICMP is none.
            if (protocol === (isIp6(sender.ip as Ip) ? 1 : 58) && port > 0) continue;
            const packet = { address: sender.ip, protocol, port, mark: sender.profile };
            const allowed = rules.some(
              (one) =>
                (one.protocol === undefined || PROTOCOLS[one.protocol] === protocol) &&
                portMatches(one.port, packet) &&
                messageMatches(one, packet) &&
                named(sender, one.from, one.owner),
            );
            if (admits(elements, 'in', own, packet) !== allowed) wrong.push({ sender: sender.name, packet, allowed });
          }
        }
        expect(wrong).toEqual([]);
      }),
      { numRuns: 100 },
    );
  }, 60_000);
});

describe('elements of one set of intervals', () => {
  test('never overlap, which nft refuses', () => {
    assertProperty(
      fc.property(policySpec, fc.boolean(), (policy, groups) => {
        const made = world((draft) => {
          createVpc(draft, {
            name: 'a',
            cidr: '10.0.0.0/16',
            secondaryCidrs: ['10.2.0.0/24'],
            ipv6Cidr: 'fd76:7063:6301::/56',
          });
          createVpc(draft, { name: 'b', cidr: '10.1.0.0/16', ipv6Cidr: 'fd76:7063:6302::/56' });
          peer(draft, 'a', 'b', ['10.0.0.0/8', '10.0.1.0/24', '10.1.1.0/24', '10.1.1.0/25', 'fd76:7063:6300::/40']);
          addSubnet(draft, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', ipv6Cidr: true });
          putGroup(draft, 'a', 'g', {
            ingress: [
              { protocol: 'tcp', port: '80-443', from: 'peers' },
              { protocol: 'tcp', port: '400-500', from: '10.1.1.0/24' },
              { from: 'vpc' },
              { protocol: 'tcp', port: '90-95', from: '::/0' },
              { protocol: 'icmpv6', icmpType: 128, from: 'peers' },
              { protocol: 'icmpv6', icmpType: 128, icmpCode: 0 },
              { protocol: 'icmp', icmpType: 8, from: 'peers' },
              { protocol: 'icmp', icmpType: 8, icmpCode: 0, from: '10.1.1.0/24' },
              { protocol: 'icmp', icmpType: 3, icmpCode: 4, from: 'self' },
              { protocol: 'icmp', icmpType: 3, from: 'self' },
              { protocol: 'tcp', port: '1-100' },
            ],
          });
          addInstance(draft, { vpc: 'a', subnet: 's', name: 'x', securityGroups: ['g'] });
          if (!groups) applyPolicy(draft, 'a', 's', policy);
        });
        const elements = made
          .all()
          .flatMap((resource) => lower(made.reader, resource))
          .filter((row): row is NftElementRow => row.kind === 'nft-element')
          .filter(({ set }) => /^peer_flow/.test(set) || /_(?:net|net_port|net_icmp|group_port|group_icmp)$/.test(set));
        expect(elements.length).toBeGreaterThan(0);
        const span = (value: NftValue): readonly [Point, Point] | undefined => {
          if (typeof value === 'number') return [value, value];
          if (/^[a-z]+-/.test(value)) return undefined;
          const [from, to] = value.includes('-') ? value.split('-') : [];
          if (from === undefined || to === undefined) {
            const { first, last } = rangeOf(parseAnyIpOrCidr(value));
            return [first, last];
          }
          return /[.:]/.test(from) ? [numberOf(from as Ip), numberOf(to as Ip)] : [Number(from), Number(to)];
        };
        const overlapping: string[] = [];
        for (const [index, one] of elements.entries()) {
          for (const other of elements.slice(index + 1)) {
            if (one.ns !== other.ns || one.set !== other.set) continue;
            const apart = one.key.some((part, at) => {
              const [a, b] = [span(part), span(other.key[at] as NftValue)];
              return a === undefined || b === undefined ? part !== other.key[at] : a[1] < b[0] || b[1] < a[0];
            });
            if (!apart) overlapping.push(`${one.ns} ${one.set}: ${one.key.join(' . ')} and ${other.key.join(' . ')}`);
          }
        }
        expect(overlapping).toEqual([]);
      }),
      { numRuns: 100 },
    );
  }, 60_000);
});
