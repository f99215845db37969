import { describe, expect, test } from 'vitest';
import { addNatGateway, setRoutes } from '../../../src/model/routing.js';
import { addInstance, configure, peer, putGroup, unpeer } from '../../../src/model/verbs.js';
import { refusal } from '../model/support.js';
import { ask, group, kinds, OUTSIDE, policy, refusals, setting } from './support.js';

describe('within one VPC', () => {
  test.each([
    ['a/web', 'a/db'],
    ['a/db', 'a/web'],
    ['a/web', 'a/bare'],
  ])('%s reaches %s through both gates, also within one subnet', (source, destination) => {
    const analysis = ask(setting(), source, destination, 80);
    expect(analysis).toMatchObject({ reachable: true, refusals: [] });
    const way = ['instance', 'security-groups', 'route-table', 'security-groups', 'instance'];
    expect(kinds(analysis)).toEqual(way);
    expect(kinds(analysis, 'return')).toEqual(way);
  });

  test('every gate that refuses is told, with the rule that would let the packet pass', () => {
    const made = setting(group('a', { egress: [{ protocol: 'udp' }], ingress: [{ protocol: 'tcp', port: 81 }] }));
    const analysis = ask(made, 'a/web', 'a/db', 80);
    expect(analysis.reachable).toBe(false);
    expect(analysis.refusals).toMatchObject([
      {
        direction: 'forward',
        component: { kind: 'security-groups', id: 'instance/a/web', vpc: 'a' },
        rule: 'no egress rule of group a/open names tcp 80 to 10.1.2.10',
        hint: 'add an egress rule to a group of a/web: tcp 80 to {group: open}',
      },
      {
        component: { id: 'instance/a/db' },
        rule: 'no ingress rule of group a/open names tcp 80 from 10.1.1.10',
        hint: 'add an ingress rule to a group of a/db: tcp 80 from {group: open}',
      },
    ]);
    expect(analysis.forward.map(({ assumed }) => assumed === true)).toEqual([false, false, true, true, true]);
    // No answer is refused: these gates know the connection.
    expect(analysis.return.every(({ decision }) => decision === 'passes')).toBe(true);
  });

  test.each([
    [{ protocol: 'tcp', port: 80 } as const, 80, undefined, true],
    [{ protocol: 'tcp', port: '79-81' } as const, 81, undefined, true],
    [{ protocol: 'tcp', port: '79-81' } as const, 82, undefined, false],
    [{ protocol: 'tcp', port: 80 } as const, 80, 'udp', false],
    [{ protocol: 'tcp' } as const, 1, undefined, true],
    [{ protocol: 'icmp' } as const, undefined, undefined, true],
    [{ protocol: 47 } as const, undefined, 47, true],
    [{ protocol: 47 } as const, undefined, 'icmp', false],
    [{}, undefined, 132, true],
  ])('rule %j and port %j of %j: %j', (rule, port, protocol, reachable) => {
    expect(ask(setting(group('a', { ingress: [rule] })), 'a/web', 'a/db', port, protocol).reachable).toBe(reachable);
  });

  test.each([
    ['any', true, true, true, true],
    ['10.1.1.0/24', true, false, false, false],
    ['vpc', true, false, false, false],
    ['self', true, false, false, false],
    ['peers', false, true, false, false],
    ['host', false, false, true, false],
    ['169.254.0.0/16', false, false, true, false],
    ['203.0.113.0/24', false, false, false, true],
  ])('from %s: a/bare %j, b/app %j, host %j, outside %j', (from, ...expected) => {
    const made = setting(group('a', { ingress: [{ from }] }));
    expect(['a/bare', 'b/app', 'host', `internet:${OUTSIDE}`].map((who) => ask(made, who, 'a/web').reachable)).toEqual(
      expected,
    );
  });

  test('a group is known by private addresses of its own VPC only', () => {
    const made = setting((draft) => {
      putGroup(draft, 'a', 'friends', { ingress: [{ from: { group: 'open' } }] });
      putGroup(draft, 'b', 'friends', { ingress: [{ from: { group: 'open' } }] });
      addInstance(draft, {
        vpc: 'a',
        subnet: 'web',
        name: 'bare',
        securityGroups: ['friends'],
        publicIp: '198.51.100.11',
      });
      addInstance(draft, { vpc: 'b', subnet: 'app', name: 'app', securityGroups: ['friends'] });
    });
    expect(ask(made, 'a/web', 'a/bare').forward[3]?.rule).toBe('group a/friends, ingress rule 1: any from group open');
    for (const [source, destination] of [
      ['a/web', 'b/app'],
      ['a/web', 'a/bare@public'],
    ] as const) {
      expect(refusals(ask(made, source, destination))).toEqual([
        expect.stringMatching(/rules that name a group hold between private addresses of one VPC$/),
      ]);
    }
  });

  test('itself, its gateways, and addresses that nobody has', () => {
    const made = setting(group('a', { egress: [] }));
    expect(kinds(ask(made, 'a/web', 'a/web'))).toEqual(['instance']);
    expect(ask(made, 'a/web', '10.1.2.1')).toMatchObject({
      reachable: true,
      query: { destination: { kind: 'router', vpc: 'a', subnet: 'db' } },
    });
    expect(refusals(ask(made, 'a/web', '10.1.1.1', 53, 'udp'))).toEqual([
      'router of vpc a: it answers pings only, not udp 53',
    ]);
    expect(refusals(ask(setting(), 'a/web', '10.1.1.77'))).toEqual([
      'route table a/public: 10.1.0.0/16 is local, and no instance of vpc a has 10.1.1.77',
    ]);
  });
});

describe('policies', () => {
  const rules = policy('a', 'db', {
    ingress: [
      { protocol: 'tcp', port: 22, action: 'deny', source: '10.1.1.11' },
      { protocol: 'tcp', port: 22, action: 'allow', source: '10.1.0.0/16' },
    ],
  });

  test('take the place of the groups in a direction that has a list', () => {
    const made = setting(group('a', { ingress: [], egress: [{ to: '10.0.0.0/8' }] }), rules);
    expect(ask(made, 'a/web', 'a/db', 22)).toMatchObject({ reachable: true });
    expect(refusals(ask(made, 'a/db', 'a/web', 22))).toEqual([
      'security groups of a/web: no ingress rule of group a/open names tcp 22 from 10.1.2.10',
    ]);
  });

  test.each([
    ['a/web', 22, []],
    ['a/bare', 22, ['policy of subnet a/db: ingress rule 1: deny tcp 22 from 10.1.1.11/32']],
    ['b/app', 22, ['policy of subnet a/db: no ingress rule names tcp 22 from 10.2.1.10']],
    ['a/web', 80, ['policy of subnet a/db: no ingress rule names tcp 80 from 10.1.1.10']],
  ])('from %s to port %i: %j', (source, port, expected) => {
    expect(refusals(ask(setting(rules), source, 'a/db', port))).toEqual(expected);
  });

  test('an empty list denies everything, and still lets answers pass', () => {
    const made = setting(policy('a', 'db', { egress: [] }));
    expect(ask(made, 'a/web', 'a/db', 22).reachable).toBe(true);
    expect(ask(made, 'a/db', 'a/web', 22).reachable).toBe(false);
  });
});

describe('between VPCs', () => {
  test('peers, by both routers', () => {
    const analysis = ask(setting(), 'a/db', 'b/app', 80);
    expect(analysis.reachable).toBe(true);
    expect(kinds(analysis)).toEqual([
      'instance',
      'security-groups',
      'route-table',
      'peering',
      'security-groups',
      'instance',
    ]);
    expect(kinds(analysis, 'return')).toEqual(kinds(analysis));
    expect(ask(setting(), 'a/db', '10.2.1.10').query.destination).toMatchObject({ vpc: 'b', name: 'app' });
  });

  test('not without a peering; the receiver is asked all the same', () => {
    const made = setting((draft) => unpeer(draft, 'a', 'b'), group('b', { ingress: [] }));
    const analysis = ask(made, 'a/db', 'b/app', 80);
    expect(refusals(analysis)).toEqual([
      'route table a/main: nothing leads to 10.2.1.10: vpc a and vpc b are not peered',
      'security groups of b/app: no ingress rule of group b/open names tcp 80 from 10.1.2.10',
    ]);
    expect(analysis.return).toEqual([]);
  });

  test('only blocks that the peering admits, of either side', () => {
    const made = setting((draft) => peer(draft, 'a', 'b', ['10.1.1.0/24', '10.2.1.0/24']));
    expect(ask(made, 'a/web', 'b/app').reachable).toBe(true);
    expect(refusals(ask(made, 'a/db', 'b/app'))).toEqual([
      'peering a - b: only 10.1.1.0/24, 10.2.1.0/24 take part: 10.1.2.10 of vpc a does not',
    ]);
    expect(refusals(ask(made, 'b/app', 'a/db'))).toEqual([
      expect.stringContaining('nothing leads to 10.1.2.10: the peering with vpc a leaves it out'),
      'peering a - b: only 10.1.1.0/24, 10.2.1.0/24 take part: 10.1.2.10 of vpc a does not',
    ]);
    const neither = setting((draft) => peer(draft, 'a', 'b', ['10.1.1.0/24', '10.2.2.0/24']));
    expect(ask(neither, 'a/db', 'b/app').refusals.map(({ component }) => component.kind)).toEqual([
      'route-table',
      'peering',
    ]);
  });

  test("not a peer's gateway, nor what nobody of a peer has", () => {
    expect(refusals(ask(setting(), 'a/web', '10.2.1.1'))).toEqual([
      'router of vpc b: it answers instances of its own VPC only',
    ]);
    expect(refusals(ask(setting(), 'a/web', '10.2.1.99'))).toEqual([
      'peering a - b: no instance of vpc b has 10.2.1.99',
    ]);
  });

  test('not one with the same address', () => {
    expect(refusals(ask(setting(), 'a/web', 'twin/web'))).toEqual([
      'route table a/public: 10.1.1.10 is of its own block 10.1.0.0/16, not of vpc twin',
    ]);
    expect(ask(setting(), 'a/web', 'twin/web@public').reachable).toBe(true);
  });
});

describe('public addresses', () => {
  test('are translated on the way out and in, and back', () => {
    const analysis = ask(setting(), 'a/web', 'b/app@public', 80);
    expect(analysis.reachable).toBe(true);
    const translations = (direction: 'forward' | 'return') =>
      analysis[direction].flatMap(({ translation: t }) => (t === undefined ? [] : [`${t.field} ${t.from} > ${t.to}`]));
    expect(translations('forward')).toEqual([
      'source 10.1.1.10 > 198.51.100.10',
      'destination 198.51.100.20 > 10.2.1.10',
    ]);
    expect(translations('return')).toEqual([
      'source 10.2.1.10 > 198.51.100.20',
      'destination 198.51.100.10 > 10.1.1.10',
    ]);
    expect(analysis.forward.at(-1)?.packet).toEqual({ source: '198.51.100.10', destination: '10.2.1.10' });
    expect(analysis.return.at(-1)?.packet).toEqual({ source: '198.51.100.20', destination: '10.1.1.10' });
  });

  test('of the own VPC, and the own one, go out and come in again', () => {
    const made = setting((draft) =>
      addInstance(draft, { vpc: 'a', subnet: 'web', name: 'bare', publicIp: '198.51.100.11' }),
    );
    expect(ask(made, 'a/web', '198.51.100.11').forward.map(({ component }) => component.kind)).toContain('border');
    expect(ask(made, 'a/web', '198.51.100.11').reachable).toBe(true);
    const own = ask(made, 'a/web', 'a/web@public', 80);
    expect(own.reachable).toBe(true);
    expect(own.return.at(-1)?.packet).toEqual({ source: '198.51.100.10', destination: '10.1.1.10' });
  });

  test('are nobody’s until somebody has them', () => {
    expect(refusals(ask(setting(), 'a/web', '198.51.100.99'))).toEqual([
      'border between VPCs, host and internet: nothing has the public address 198.51.100.99',
    ]);
  });
});

describe('the internet', () => {
  test.each([
    ['a/web', []],
    ['a/bare', ['internet gateway of vpc a: instance a/bare has no public address']],
    [
      'a/db',
      [
        expect.stringMatching(/^route table a\/main: it has no route to/),
        'internet gateway of vpc a: instance a/db has no public address',
      ],
    ],
  ])('from %s: %j', (source, expected) => {
    const made = setting();
    expect(refusals(ask(made, source, 'internet'))).toEqual(expected);
    expect(refusals(ask(made, source, OUTSIDE, 53, 'udp'))).toEqual(expected);
  });

  test('comes in by public addresses, as itself', () => {
    const analysis = ask(setting(), `internet:${OUTSIDE}`, 'a/web', 443);
    expect(analysis.reachable).toBe(true);
    expect(analysis.forward.at(-1)?.packet).toEqual({ source: OUTSIDE, destination: '10.1.1.10' });
    expect(refusals(ask(setting(group('a', { ingress: [] })), 'internet', 'a/db', 443))).toEqual([
      'border between VPCs, host and internet: instance a/db has no public address',
      'security groups of a/db: no ingress rule of group a/open names tcp 443 from 203.0.113.1',
    ]);
  });

  test('is an address that no rule singles out', () => {
    const made = setting(group('a', { ingress: [{ from: '203.0.113.0/24' }] }));
    expect(ask(made, 'internet', 'a/web')).toMatchObject({
      reachable: false,
      query: { source: { any: true, address: '192.0.2.1' } },
    });
    const halves = setting(group('a', { ingress: [{ from: '0.0.0.0/1' }, { from: '128.0.0.0/1' }] }));
    expect(ask(halves, 'internet', 'a/web').reachable).toBe(true);
  });

  test('is not there without an uplink, and sees the host where the pool is not routed', () => {
    const none = setting((draft) => configure(draft, { uplink: 'none' }));
    for (const [source, destination] of [
      ['a/web', 'internet'],
      ['internet', 'a/web'],
    ] as const) {
      expect(refusals(ask(none, source, destination))).toEqual([expect.stringContaining('there is no uplink')]);
    }
    expect(ask(none, 'a/web', 'b/app@public').reachable).toBe(true);
    const last = (made: ReturnType<typeof setting>) => ask(made, 'a/web', 'internet').forward.at(-2)?.translation?.to;
    expect(last(setting())).toBe('the address of eth0');
    expect(last(setting((draft) => configure(draft, { poolRouted: true })))).toBeUndefined();
  });

  test('does not send from addresses of inside', () => {
    for (const source of ['internet:10.1.2.9', 'internet:10.2.9.9', 'internet:10.1.1.9']) {
      const found = refusals(ask(setting(), source, 'a/web'));
      expect(found).not.toEqual([]);
      for (const line of found) expect(line).toMatch(/, and comes from outside$/);
    }
  });
});

describe('the host', () => {
  test.each([
    ['a/web', []],
    ['a/web@public', []],
    ['twin/web@public', []],
    ['a/bare', ['internet gateway of vpc a: instance a/bare has no public address']],
    ['a/db', [expect.stringContaining('the host has no route to 10.1.2.10: subnet a/db is private')]],
    ['twin/web', [expect.stringContaining('something else on this host has the route to 10.1.1.0/24')]],
    ['10.1.1.1', ['router of vpc a: it answers instances of its own VPC only']],
  ])('reaches %s: %j', (destination, expected) => {
    const analysis = ask(setting(), 'host', destination);
    expect(refusals(analysis)).toEqual(expected);
    if (analysis.reachable) expect(analysis.return.at(-1)?.component.kind).toBe('host');
  });

  test('is reached by nobody', () => {
    expect(refusals(ask(setting(), 'a/web', 'host'))).toEqual([
      expect.stringContaining('the host lets in answers only'),
    ]);
    expect(ask(setting(), 'a/db', '169.254.128.1')).toMatchObject({
      reachable: false,
      query: { destination: { kind: 'host' } },
    });
  });
});

test.each([
  ['a/nobody', 'a/web', 'NOT_FOUND', 'instance nobody of vpc a'],
  ['x/web', 'a/web', 'NOT_FOUND', 'vpc x'],
  ['a/web', 'a/nobody', 'NOT_FOUND', 'instance nobody'],
  ['web', 'a/web', 'USAGE', '"web" is no source'],
  ['10.1.1.10', 'a/web', 'USAGE', 'is no source'],
  ['a/web@public', 'a/db', 'USAGE', 'a source is not meant by its public address'],
  ['a/web', 'a/bare@public', 'USAGE', 'has no public address'],
  ['a/web', '10.1.1', 'INVALID', 'not four'],
  ['a/web', 'fe80::1', 'INVALID', 'link-local'],
  ['a/web', 'a/db@ipv6', 'USAGE', 'has no IPv6 address'],
  ['a/web', '2001:db8::7', 'USAGE', 'has no IPv6 address'],
  ['a/web@ipv6', 'a/db', 'USAGE', 'the destination'],
  ['a/web', '127.0.0.1', 'INVALID', 'loopback'],
  ['a/web', 'internet:10.1.1.10', 'INVALID', 'is not outside for the source'],
  ['internet:198.51.100.7', 'a/web', 'INVALID', 'is of the pool'],
  ['host', 'internet', 'USAGE', 'neither host nor internet is in a VPC'],
  ['internet', '10.1.1.10', 'USAGE', 'neither'],
])('from %s to %s: %s, %s', (source, destination, code, words) => {
  const refused = refusal(() => ask(setting(), source, destination));
  expect(refused).toMatchObject({ code, line: expect.stringContaining(words) });
});

test.each([
  [undefined, 'tcp', 'USAGE', 'goes to a port'],
  [80, 'icmp', 'USAGE', 'has no ports'],
  [80, 47, 'USAGE', 'has no ports'],
  [undefined, 'any', 'USAGE', 'a packet has one'],
  [undefined, 'tpc', 'INVALID', 'is not a protocol'],
  [0, undefined, 'INVALID', 'port 0'],
])('port %j of %j: %s, %s', (port, protocol, code, words) => {
  const refused = refusal(() => ask(setting(), 'a/web', 'a/db', port, protocol));
  expect(refused).toMatchObject({ code, line: expect.stringContaining(words) });
});

describe('through a NAT gateway', () => {
  const throughNat = (subnet: string) =>
    setting(
      (draft) => addNatGateway(draft, { vpc: 'a', name: 'nat', subnet }),
      (draft) => setRoutes(draft, 'a', 'main', [{ destination: '0.0.0.0/0', target: { natGateway: 'nat' } }]),
    );

  test('who has no public address gets out, and its answers back', () => {
    const analysis = ask(throughNat('web'), 'a/db', `internet:${OUTSIDE}`, 443);
    expect(refusals(analysis)).toEqual([]);
    expect(kinds(analysis)).toEqual([
      'instance',
      'security-groups',
      'route-table',
      'nat-gateway',
      'route-table',
      'internet-gateway',
      'border',
      'internet',
    ]);
    expect(analysis.return.at(-1)?.packet).toEqual({ source: OUTSIDE, destination: '10.1.2.10' });
  });

  test('a peer is reached with its private address', () => {
    const made = setting(
      group('b', { ingress: [{ from: '10.1.1.0/24' }] }),
      (draft) => addNatGateway(draft, { vpc: 'a', name: 'nat', subnet: 'web' }),
      (draft) => setRoutes(draft, 'a', 'main', [{ destination: '10.2.0.0/16', target: { natGateway: 'nat' } }]),
    );
    const analysis = ask(made, 'a/db', 'b/app', 80);
    expect(refusals(analysis)).toEqual([]);
    expect(kinds(analysis)).toContain('peering');
    expect(analysis.forward.at(-1)?.packet).toEqual({ source: '10.1.1.4', destination: '10.2.1.10' });
  });

  test('that stands where its own routes lead back to it, nothing gets', () => {
    expect(refusals(ask(throughNat('db'), 'a/db', `internet:${OUTSIDE}`, 443))).toEqual([
      'nat gateway a/nat: the routes behind it lead back to it: subnet a/db follows them',
    ]);
  });
});
