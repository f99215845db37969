/** Network ACLs on a packet's way, and on that of its answer. */
import { describe, expect, test } from 'vitest';
import type { Analysis, Hop } from '../../../src/analyze/types.js';
import { associateNetworkAcl, putNetworkAcl } from '../../../src/model/acls.js';
import type { Draft } from '../../../src/model/reader.js';
import { addNatGateway, setRoutes } from '../../../src/model/routing.js';
import type { NetworkAclEntrySpec, NetworkAclSpec } from '../../../src/spec/types.js';
import { ask, group, OUTSIDE, setting } from './support.js';

type Rule = Omit<NetworkAclEntrySpec, 'number' | 'action' | 'cidr'> & Partial<NetworkAclEntrySpec>;

const numbered = (rules: readonly Rule[]): NetworkAclEntrySpec[] =>
  rules.map((rule, at) => ({ number: (at + 1) * 100, action: 'allow', cidr: '0.0.0.0/0', ...rule }));

/** A network ACL for a subnet of a. */
const acl = (subnet: string, ingress: readonly Rule[], egress: readonly Rule[]) => (draft: Draft) => {
  const spec: NetworkAclSpec = { ingress: numbered(ingress), egress: numbered(egress) };
  putNetworkAcl(draft, 'a', `of-${subnet}`, spec);
  associateNetworkAcl(draft, 'a', subnet, `of-${subnet}`);
};

const HTTP: Rule = { protocol: 'tcp', port: 80 };
const EPHEMERAL: Rule = { protocol: 'tcp', port: '1024-65535' };

const borders = (hops: readonly Hop[]): string[] =>
  hops.flatMap(({ component, decision, rule }) =>
    component.kind === 'network-acl' ? [`${component.name} ${decision}: ${rule}`] : [],
  );

const both = ({ forward, return: back }: Analysis): string[] => [...borders(forward), '-', ...borders(back)];

describe('between two subnets', () => {
  test('both borders are crossed, out before in, by the packet and by the answer', () => {
    const made = setting(acl('db', [EPHEMERAL], [HTTP]), acl('web', [HTTP], [EPHEMERAL]));
    const found = ask(made, 'a/db', 'a/web', 80);
    expect(found.reachable).toBe(true);
    expect(found.query.sourcePorts).toEqual({ from: 32768, to: 60999 });
    expect(both(found)).toEqual([
      'network acl a/of-db of subnet db passes: egress rule 100: allow tcp 80 to 0.0.0.0/0',
      'network acl a/of-web of subnet web passes: ingress rule 100: allow tcp 80 from 0.0.0.0/0',
      '-',
      'network acl a/of-web of subnet web passes: egress rule 100: allow tcp 1024-65535 to 0.0.0.0/0',
      'network acl a/of-db of subnet db passes: ingress rule 100: allow tcp 1024-65535 from 0.0.0.0/0',
    ]);
    // In the order of the way: gates are the instances' own, borders between them.
    expect(found.forward.map(({ component }) => component.kind)).toEqual([
      'instance',
      'security-groups',
      'route-table',
      'network-acl',
      'network-acl',
      'security-groups',
      'instance',
    ]);
  });

  test('an answer without a rule of its own is refused, and so is one of which only some ports pass', () => {
    const none = ask(setting(acl('web', [HTTP], [])), 'a/db', 'a/web', 80);
    expect(none.refusals).toMatchObject([
      {
        direction: 'return',
        component: { kind: 'network-acl', id: 'network-acl/a/of-web', vpc: 'a' },
        rule: 'stateless: no egress rule names tcp 32768-60999 to 10.1.2.10',
        hint: 'add an egress rule to network acl a/of-web: allow tcp 1024-65535 to 10.1.2.10',
      },
    ]);
    const deny: Rule = { protocol: 'tcp', port: '40000-50000', action: 'deny', cidr: '10.1.2.0/24' };
    const some = ask(setting(acl('web', [HTTP], [deny, EPHEMERAL])), 'a/db', 'a/web', 80);
    expect(some.refusals).toMatchObject([
      {
        rule: 'stateless: egress rule 100: deny tcp 40000-50000 to 10.1.2.0/24: only some of its ports pass, 32768-39999, 50001-60999',
        hint: 'allow tcp 1024-65535 to 10.1.2.10 in network acl a/of-web before egress rule 100',
      },
    ]);
  });

  test('pings: the request is of type 8, the answer of type 0', () => {
    const by = (ingress: Rule, egress: Rule) => ask(setting(acl('web', [ingress], [egress])), 'a/db', 'a/web');
    const icmp = (icmpType: number): Rule => ({ protocol: 'icmp', icmpType });
    expect(by(icmp(8), icmp(0)).reachable).toBe(true);
    expect(by(icmp(8), icmp(8)).refusals.map(({ rule }) => rule)).toEqual([
      'stateless: no egress rule names icmp type 0 to 10.1.2.10',
    ]);
    expect(by(icmp(0), { protocol: 'icmp' }).refusals.map(({ rule }) => rule)).toEqual([
      'no ingress rule names icmp type 8 from 10.1.2.10',
    ]);
  });
});

describe('no border', () => {
  const closed = setting(acl('web', [], []));

  test.each([
    ['within a subnet', 'a/web', 'a/bare'],
    ['to the router', 'a/web', '10.1.1.1'],
    ['to another gateway of the router', 'a/web', '10.1.2.1'],
    ['to itself', 'a/web', 'a/web'],
  ])('is crossed %s', (_what, from, to) => {
    const found = ask(closed, from, to);
    expect(both(found)).toEqual(['-']);
    expect(found.reachable).toBe(true);
  });

  test.each([
    ['a/web', 'a/db'],
    ['a/db', 'a/web'],
    ['b/app', 'a/web'],
    ['internet', 'a/web'],
    ['host', 'a/web'],
    ['a/web', OUTSIDE],
    ['b/app', 'a/web@public'],
  ])('is not in the way from %s to %s', (from, to) => {
    const { refusals } = ask(closed, from, to, 80);
    expect(refusals.map(({ direction, component }) => `${direction} ${component.kind}`)).toEqual([
      'forward network-acl',
      'return network-acl',
    ]);
  });
});

describe('through a NAT gateway', () => {
  const nat = (draft: Draft) => {
    addNatGateway(draft, { vpc: 'a', subnet: 'web', name: 'out', ip: '10.1.1.100' });
    setRoutes(draft, 'a', 'main', [{ destination: '0.0.0.0/0', target: { natGateway: 'out' } }]);
  };

  test('its subnet is entered and left, with the addresses that the packet has there', () => {
    const made = setting(
      nat,
      acl(
        'web',
        [
          { ...HTTP, cidr: '10.1.2.10/32' },
          { ...EPHEMERAL, cidr: '203.0.113.0/24' },
        ],
        [
          { ...HTTP, cidr: '203.0.113.0/24' },
          { ...EPHEMERAL, cidr: '10.1.2.10/32' },
        ],
      ),
    );
    const found = ask(made, 'a/db', OUTSIDE, 80);
    expect(found.refusals).toEqual([]);
    expect(both(found)).toEqual([
      'network acl a/of-web of subnet web passes: ingress rule 100: allow tcp 80 from 10.1.2.10/32',
      'network acl a/of-web of subnet web passes: egress rule 100: allow tcp 80 to 203.0.113.0/24',
      '-',
      'network acl a/of-web of subnet web passes: ingress rule 200: allow tcp 1024-65535 from 203.0.113.0/24',
      'network acl a/of-web of subnet web passes: egress rule 200: allow tcp 1024-65535 to 10.1.2.10/32',
    ]);
  });

  test('the answer is for a port of the gateway, as far as the gateway, and then for one of the client', () => {
    const clients: Rule = { protocol: 'tcp', port: '32768-60999' };
    const web = (outside: Rule) => setting(nat, acl('web', [HTTP, outside], [HTTP, clients]));
    expect(ask(web(EPHEMERAL), 'a/db', OUTSIDE, 80).refusals).toEqual([]);
    expect(ask(web(clients), 'a/db', OUTSIDE, 80).refusals).toMatchObject([
      { direction: 'return', rule: expect.stringContaining('only some of its ports pass, 32768-60999') },
    ]);
  });
});

test('a type of ICMP in a group: an echo request is of type 8, code 0', () => {
  const by = (messages: { icmpType: number; icmpCode?: number }) =>
    ask(setting(group('a', { ingress: [{ protocol: 'icmp', ...messages }] })), 'a/db', 'a/web');
  expect(by({ icmpType: 8 }).forward.at(-2)?.rule).toBe('group a/open, ingress rule 1: icmp type 8 from any');
  expect(by({ icmpType: 8, icmpCode: 0 }).forward.at(-2)?.rule).toBe(
    'group a/open, ingress rule 1: icmp type 8 code 0 from any',
  );
  expect(by({ icmpType: -1 }).reachable).toBe(true);
  expect(by({ icmpType: 8, icmpCode: 1 }).reachable).toBe(false);
  expect(by({ icmpType: 0 }).reachable).toBe(false);
});
