/** What a network ACL's elements let pass, packet by packet, against its rules as a person reads them, and as they are analyzed. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { judgeAcl } from '../../../src/analyze/acl.js';
import { Lookup } from '../../../src/analyze/lookup.js';
import type { ResolvedQuery } from '../../../src/analyze/types.js';
import { icmpRectangles } from '../../../src/lower/boxes.js';
import { type AclSet, aclMark } from '../../../src/lower/firewall.js';
import { lower } from '../../../src/lower/lower.js';
import { associateNetworkAcl, putNetworkAcl } from '../../../src/model/acls.js';
import type { NetworkAcl } from '../../../src/model/resources.js';
import { addInstance, addSubnet, createVpc } from '../../../src/model/verbs.js';
import { contains, type Ip, isIp6, numberOf, parseAnyIpOrCidr, rangeOf } from '../../../src/net/cidr.js';
import type { NftElementRow, NftValue } from '../../../src/objects/kernel-object.js';
import type { NetworkAclEntrySpec } from '../../../src/spec/types.js';
import { aclSpec, type World, world } from '../model/support.js';
import { assertProperty } from '../net/property.js';

interface Packet {
  readonly address: Ip;
  readonly protocol: number;
  readonly port: number;
  readonly type: number;
  readonly code: number;
}

const PROTOCOLS: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 };
const ADDRESSES = [
  '10.0.1.7',
  '10.0.1.8',
  '10.1.0.1',
  '10.1.1.7',
  '10.9.0.1',
  '8.8.8.8',
  'fd76:7063:6301::7',
  '2001:db8::1',
] as Ip[];
const PORTS = [53, 79, 80, 81, 443, 444, 1023, 1024, 32767, 32768, 60000, 60001, 65535];
const MESSAGES = [
  [0, 0],
  [0, 1],
  [3, 3],
  [3, 4],
  [8, 0],
  [8, 255],
  [255, 0],
  [128, 0],
  [129, 0],
  [129, 1],
] as const;

const packets: readonly Packet[] = ADDRESSES.flatMap((address) => [
  ...[6, 17].flatMap((protocol) => PORTS.map((port) => ({ address, protocol, port, type: -1, code: -1 }))),
  ...MESSAGES.map(([type, code]) => ({ address, protocol: isIp6(address) ? 58 : 1, port: -1, type, code })),
  ...[0, 47, 255].map((protocol) => ({ address, protocol, port: -1, type: -1, code: -1 })),
]);

type Point = number | bigint;

function span(value: NftValue): readonly [Point, Point] {
  if (typeof value === 'number') return [value, value];
  const [from = '', to] = value.split('-');
  const bound = (text: string): Point => (/[.:]/.test(text) ? numberOf(text as Ip) : Number(text));
  if (to !== undefined) return [bound(from), bound(to)];
  const { first, last } = rangeOf(parseAnyIpOrCidr(value));
  return [first, last];
}

/** As the chains look packets up. */
function passes(elements: readonly NftElementRow[], mark: number, packet: Packet): boolean {
  const { protocol, port, type, code } = packet;
  const address = numberOf(packet.address);
  const family = isIp6(packet.address) ? 'acl6_' : 'acl_';
  const keys: Record<AclSet, Point[]> = {
    all: [mark],
    proto: [mark, protocol],
    port: [mark, protocol, port],
    net: [mark, address, protocol],
    net_port: [mark, address, protocol, port],
    icmp: protocol === (family === 'acl_' ? 1 : 58) ? [mark, address, type, code] : [],
  };
  return elements.some(({ set, key }) => {
    if (!set.startsWith(family)) return false;
    const asked = keys[set.slice(family.length) as AclSet];
    return (
      asked.length === key.length &&
      key.every((part, at) => {
        const [from, to] = span(part);
        return from <= (asked[at] as Point) && (asked[at] as Point) <= to;
      })
    );
  });
}

function first(entries: readonly NetworkAclEntrySpec[], packet: Packet): boolean {
  const decisive = [...entries]
    .sort((a, b) => a.number - b.number)
    .find(({ protocol = 'any', port, icmpType, icmpCode, cidr }) => {
      const number = typeof protocol === 'number' ? protocol : PROTOCOLS[protocol];
      if (protocol !== 'any' && number !== packet.protocol) return false;
      const [from, to] = String(port).split('-').map(Number);
      if (port !== undefined && ((from as number) > packet.port || packet.port > (to ?? (from as number))))
        return false;
      if (icmpType !== undefined && icmpType !== packet.type) return false;
      if (icmpCode !== undefined && icmpCode !== packet.code) return false;
      return contains(parseAnyIpOrCidr(cidr), packet.address);
    });
  return decisive?.action === 'allow';
}

const elementsOf = (made: World): NftElementRow[] => lower(made.reader, made.get('network-acl/a/n')) as NftElementRow[];

const withAcl = (spec: Parameters<typeof putNetworkAcl>[3]): World =>
  world((draft) => {
    createVpc(draft, { name: 'a', cidr: '10.0.0.0/16', ipv6Cidr: true });
    addSubnet(draft, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
    putNetworkAcl(draft, 'a', 'n', spec);
    associateNetworkAcl(draft, 'a', 's', 'n');
  });

describe('a network ACL', () => {
  test('lets pass what its first matching rule allows, each packet by one element', () => {
    assertProperty(
      fc.property(aclSpec, (spec) => {
        const made = withAcl(spec);
        const elements = elementsOf(made);
        const { number } = made.get<NetworkAcl>('network-acl/a/n');
        for (const direction of ['ingress', 'egress'] as const) {
          const mark = aclMark(number, direction);
          const own = elements.filter(({ key }) => key[0] === mark);
          const wrong = packets.filter((packet) => passes(own, mark, packet) !== first(spec[direction] ?? [], packet));
          expect(wrong).toEqual([]);
          // nft refuses overlapping intervals in one set.
          const many = packets.filter((packet) => own.filter((one) => passes([one], mark, packet)).length > 1);
          expect(many).toEqual([]);
        }
        expect(elements.every(({ key }) => Math.floor(Number(key[0]) / 2) === number)).toBe(true);
      }),
      { numRuns: 300 },
    );
  }, 60_000);

  test('is analyzed as it is lowered', () => {
    assertProperty(
      fc.property(aclSpec, (spec) => {
        const made = withAcl(spec);
        const lookup = new Lookup(made.reader);
        const acl = made.get<NetworkAcl>('network-acl/a/n');
        const elements = elementsOf(made);
        for (const packet of packets) {
          const { protocol, port, type, code } = packet;
          const [question, reply] = protocol === 58 ? [128, 129] : [8, 0];
          const [asks, answers] = [type === question && code === 0, type === reply && code === 0];
          if ((protocol === 1 || protocol === 58) && !asks && !answers) continue;
          const way = answers ? 'return' : 'forward';
          const query = {
            protocol: { name: String(protocol), number: protocol },
            port: port < 0 ? null : port,
            sourcePorts: null,
          } as unknown as ResolvedQuery;
          const { admits } = judgeAcl(lookup, acl, 'egress', packet.address, way, query);
          expect(admits, JSON.stringify(packet)).toBe(passes(elements, aclMark(acl.number, 'egress'), packet));
        }
      }),
      { numRuns: 100 },
    );
  }, 60_000);

  test('an answer passes if all the ports that it may go to do', () => {
    assertProperty(
      fc.property(aclSpec, fc.constantFrom(...ADDRESSES), (spec, address) => {
        const made = withAcl(spec);
        const query = {
          protocol: { name: 'tcp', number: 6 },
          port: 80,
          sourcePorts: { from: 32_768, to: 60_999 },
        } as unknown as ResolvedQuery;
        const acl = made.get<NetworkAcl>('network-acl/a/n');
        const { admits, rule } = judgeAcl(new Lookup(made.reader), acl, 'egress', address, 'return', query);
        // No rule of the arbitrary ones begins or ends anywhere else in the range.
        const some = [32_768, 60_000, 60_001].map((port) =>
          first(spec.egress ?? [], { address, protocol: 6, port, type: -1, code: -1 }),
        );
        expect(admits).toBe(some.every(Boolean));
        expect(rule.includes('only some')).toBe(!admits && some.some(Boolean));
      }),
      { numRuns: 300 },
    );
  }, 60_000);
});

describe('the ICMP messages of a range', () => {
  test('are those of its rectangles, each in one', () => {
    const message = fc.integer({ min: 0, max: 0xffff });
    assertProperty(
      fc.property(message, message, fc.array(message, { minLength: 20, maxLength: 20 }), (a, b, points) => {
        const range = { from: Math.min(a, b), to: Math.max(a, b) };
        const rectangles = icmpRectangles(range);
        expect(rectangles.length).toBeLessThanOrEqual(3);
        for (const point of [...points, range.from, range.to, range.from - 1, range.to + 1]) {
          if (point < 0 || point > 0xffff) continue;
          const [type, code] = [Math.floor(point / 256), point % 256];
          const holding = rectangles.filter(
            (one) => one.type.from <= type && type <= one.type.to && one.code.from <= code && code <= one.code.to,
          );
          expect(holding.length).toBe(range.from <= point && point <= range.to ? 1 : 0);
        }
      }),
    );
  });
});

test('a network ACL that no subnet is associated with has no element; a subnet with one has two for each port', () => {
  const made = world((draft) => {
    createVpc(draft, { name: 'a', cidr: '10.0.0.0/16' });
    addSubnet(draft, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
    addSubnet(draft, { vpc: 'a', name: 't', cidr: '10.0.2.0/24' });
    for (const subnet of ['s', 't']) addInstance(draft, { vpc: 'a', subnet, name: subnet });
  });
  const elements = (): string[] =>
    made
      .all()
      .flatMap((resource) => lower(made.reader, resource))
      .flatMap((row) =>
        row.kind === 'nft-element' && row.set.startsWith('acl_') ? [`${row.set} ${row.key.join(' ')}`] : [],
      )
      .sort();
  made.transact((draft) =>
    putNetworkAcl(draft, 'a', 'n', { ingress: [{ number: 1, action: 'allow', cidr: '0.0.0.0/0' }] }),
  );
  expect(elements()).toEqual([]);
  made.transact((draft) => associateNetworkAcl(draft, 'a', 's', 'n'));
  expect(elements()).toEqual([
    `acl_all ${aclMark(made.get<NetworkAcl>('network-acl/a/n').number, 'ingress')}`,
    'acl_egress 167772416',
    'acl_ingress 167772416',
    'acl_inside eni0a000104 167772416',
    'acl_port_subnet eni0a000104',
  ]);
});
