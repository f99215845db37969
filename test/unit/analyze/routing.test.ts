/** Ways by route tables, through NAT gateways, to peers by manual routes. test/e2e/routing.test.ts shows the same by packets. */
import { describe, expect, test } from 'vitest';
import { allocateElasticIp, associateElasticIp } from '../../../src/model/elastic.js';
import type { Draft } from '../../../src/model/reader.js';
import {
  addNatGateway,
  addRoute,
  addRouteTable,
  associateRouteTable,
  deleteNatGateway,
} from '../../../src/model/routing.js';
import { addInstance, addSubnet, peer, putGroup, unpeer } from '../../../src/model/verbs.js';
import type { RouteTargetSpec } from '../../../src/spec/types.js';
import { ask, kinds, OUTSIDE, refusals, setting } from './support.js';

const NAT_PUBLIC = '198.51.100.40';
const INTERNET = `internet:${OUTSIDE}`;

const nat = (draft: Draft) =>
  addNatGateway(draft, { vpc: 'a', subnet: 'web', name: 'out', ip: '10.1.1.200', publicIp: NAT_PUBLIC });
const route =
  (vpc: string, table: string, destination: string, target: RouteTargetSpec) =>
  (draft: Draft): unknown =>
    addRoute(draft, vpc, table, { destination, target });
const byNat = route('a', 'main', '0.0.0.0/0', { natGateway: 'out' });
const manual = (draft: Draft) => peer(draft, 'a', 'b', undefined, 'manual');

describe('through a NAT gateway', () => {
  test('out, seen with its public address, and the answer back', () => {
    const analysis = ask(setting(nat, byNat), 'a/db', INTERNET, 443);
    expect(analysis).toMatchObject({ reachable: true, refusals: [] });
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
    expect(
      analysis.forward.flatMap(({ translation }) => (translation === undefined ? [] : [translation])),
    ).toMatchObject([
      { field: 'source', from: '10.1.2.10', to: '10.1.1.200' },
      { field: 'source', from: '10.1.1.200', to: NAT_PUBLIC },
      { field: 'source', from: NAT_PUBLIC },
    ]);
    expect(kinds(analysis, 'return')).toContain('nat-gateway');
    expect(kinds(analysis, 'return').at(-1)).toBe('instance');
  });

  test('to a public address of another VPC, and of its own', () => {
    const made = setting(nat, byNat, (draft) => unpeer(draft, 'a', 'b'));
    expect(ask(made, 'a/db', '198.51.100.20', 80)).toMatchObject({ reachable: true });
    expect(ask(made, 'a/db', '198.51.100.10', 80)).toMatchObject({ reachable: true });
  });

  test('TCP, UDP and ICMP, and no other protocol', () => {
    const made = setting(nat, byNat);
    for (const protocol of ['icmp', 'udp', 'tcp'] as const) {
      const port = protocol === 'icmp' ? undefined : 443;
      expect(ask(made, 'a/db', INTERNET, port, protocol).reachable).toBe(true);
    }
    expect(refusals(ask(made, 'a/db', INTERNET, undefined, 47))).toEqual([
      'nat gateway a/out: it translates TCP, UDP and ICMP only, not 47',
    ]);
  });

  test('what the groups refuse does not get as far', () => {
    const made = setting(nat, byNat, (draft) => putGroup(draft, 'a', 'open', { egress: [{ protocol: 'udp' }] }));
    expect(ask(made, 'a/db', INTERNET, 443).reachable).toBe(false);
    expect(ask(made, 'a/db', INTERNET, 443, 'udp').reachable).toBe(true);
  });

  test.each([INTERNET, 'host', 'a/web', 'b/app'])('%s gets nothing by its addresses', (from) => {
    const made = setting(nat, byNat);
    const addresses = from === INTERNET ? [NAT_PUBLIC] : [NAT_PUBLIC, '10.1.1.200'];
    for (const to of addresses) expect(ask(made, from, to, 80).reachable).toBe(false);
  });

  test('gone: a black hole, which is told by name', () => {
    const made = setting(nat, byNat, (draft) => deleteNatGateway(draft, 'a', 'out'));
    expect(refusals(ask(made, 'a/db', INTERNET, 443))).toContain(
      'route table a/main: 0.0.0.0/0 leads to nat gateway out, which is gone: black hole',
    );
  });

  test('in a subnet whose table leads nowhere, or without a public address: no way out behind it', () => {
    const alone = setting(
      (draft) => addNatGateway(draft, { vpc: 'a', subnet: 'db', name: 'out' }),
      (draft) => addRouteTable(draft, 'a', 'own'),
      route('a', 'own', '0.0.0.0/0', { natGateway: 'out' }),
      (draft) => addSubnet(draft, { vpc: 'a', name: 'own', cidr: '10.1.5.0/24' }),
      (draft) => associateRouteTable(draft, 'a', 'own', 'own'),
      (draft) => addInstance(draft, { vpc: 'a', subnet: 'own', name: 'x', securityGroups: ['open'] }),
    );
    expect(refusals(ask(alone, 'a/x', INTERNET, 443))).toContain(`route table a/main: it has no route to ${OUTSIDE}`);
    const hidden = setting(
      (draft) => addNatGateway(draft, { vpc: 'a', subnet: 'web', name: 'out', connectivity: 'private' }),
      byNat,
    );
    expect(refusals(ask(hidden, 'a/db', INTERNET, 443))).toContain(
      'internet gateway of vpc a: nat gateway a/out has no public address',
    );
  });

  test('a public instance whose table leads to one is not reached: its answers go another way', () => {
    const made = setting(nat, route('a', 'public', OUTSIDE.replace(/\d+$/, '0/24'), { natGateway: 'out' }));
    const analysis = ask(made, INTERNET, '198.51.100.10', 80);
    expect(analysis.reachable).toBe(false);
    expect(analysis.refusals).toMatchObject([{ direction: 'return', component: { kind: 'nat-gateway' } }]);
  });
});

test('two gateways that lead to each other: told, not followed for ever', () => {
  const made = setting(
    ...['left', 'right'].flatMap((name, at) => [
      (draft: Draft) => addSubnet(draft, { vpc: 'a', name, cidr: `10.1.${at + 6}.0/24` }),
      (draft: Draft) => addNatGateway(draft, { vpc: 'a', subnet: name, name, connectivity: 'private' }),
      (draft: Draft) => addRouteTable(draft, 'a', name),
      (draft: Draft) => associateRouteTable(draft, 'a', name, name),
    ]),
    route('a', 'left', '0.0.0.0/0', { natGateway: 'right' }),
    route('a', 'right', '0.0.0.0/0', { natGateway: 'left' }),
    route('a', 'main', '0.0.0.0/0', { natGateway: 'left' }),
  );
  expect(refusals(ask(made, 'a/db', INTERNET, 443))).toContain(
    'nat gateway a/left: the routes behind it lead back to it: subnet a/left follows them',
  );
});

describe('route tables', () => {
  test('one without a default leads nowhere but inside', () => {
    const made = setting(
      nat,
      byNat,
      (draft) => addRouteTable(draft, 'a', 'own'),
      (draft) => associateRouteTable(draft, 'a', 'db', 'own'),
    );
    expect(refusals(ask(made, 'a/db', INTERNET, 443))[0]).toBe(`route table a/own: it has no route to ${OUTSIDE}`);
    expect(ask(made, 'a/db', 'a/web', 80).reachable).toBe(true);
    expect(ask(made, 'a/db', 'b/app', 80).reachable).toBe(true);
  });

  test('the longest prefix decides', () => {
    const made = setting(nat, byNat, route('a', 'main', `${OUTSIDE}/32`, 'blackhole'));
    expect(refusals(ask(made, 'a/db', INTERNET, 443))).toContain(
      `route table a/main: ${OUTSIDE}/32 leads nowhere: black hole`,
    );
    expect(ask(made, 'a/db', 'internet:192.0.2.1', 443).reachable).toBe(true);
  });

  test('an elastic address in a private subnet needs a route to the internet gateway', () => {
    const elastic = [
      (draft: Draft) => allocateElasticIp(draft, 'e', '198.51.100.50'),
      (draft: Draft) => associateElasticIp(draft, 'e', 'a', 'db'),
    ];
    const made = setting(...elastic);
    expect(ask(made, INTERNET, '198.51.100.50', 80).reachable).toBe(false);
    expect(ask(made, 'a/db', INTERNET, 80).reachable).toBe(false);
    const routed = setting(...elastic, route('a', 'main', '0.0.0.0/0', 'internet-gateway'));
    expect(ask(routed, INTERNET, '198.51.100.50', 80).reachable).toBe(true);
    expect(ask(routed, 'a/db', INTERNET, 80).reachable).toBe(true);
  });
});

describe('a peering with manual routes', () => {
  const toB = route('a', 'main', '10.2.0.0/16', { peering: 'b' });
  const toA = route('b', 'public', '10.1.0.0/16', { peering: 'a' });

  test.each<[string, ((draft: Draft) => unknown)[], boolean]>([
    ['without routes', [], false],
    ['with a route there', [toB], false],
    ['with a route back', [toA], false],
    ['with both', [toB, toA], true],
  ])('%s', (_, edits, reachable) => {
    const made = setting(manual, ...edits);
    expect(ask(made, 'a/db', 'b/app', 80).reachable).toBe(reachable);
    expect(ask(made, 'b/app', 'a/db', 80).reachable).toBe(reachable);
  });

  test('a route there alone: the answer finds no way back', () => {
    const { refusals: found } = ask(setting(manual, toB), 'a/db', 'b/app', 80);
    expect(found).toMatchObject([
      {
        direction: 'return',
        component: { name: 'route table b/public' },
        hint: 'add a route to the peering with vpc a',
      },
    ]);
  });

  test('a route whose peering is gone is a black hole', () => {
    const made = setting(manual, toB, (draft) => unpeer(draft, 'a', 'b'));
    expect(ask(made, 'a/db', 'b/app', 80).reachable).toBe(false);
  });

  test('a private NAT gateway: the peer needs a way to its address only', () => {
    const made = setting(
      manual,
      (draft) => addSubnet(draft, { vpc: 'a', name: 'nat', cidr: '10.1.5.0/24' }),
      (draft) => addRouteTable(draft, 'a', 'peers'),
      (draft) => associateRouteTable(draft, 'a', 'nat', 'peers'),
      (draft) =>
        addNatGateway(draft, { vpc: 'a', subnet: 'nat', name: 'inner', ip: '10.1.5.200', connectivity: 'private' }),
      route('a', 'peers', '10.2.0.0/16', { peering: 'b' }),
      route('a', 'main', '10.2.0.0/16', { natGateway: 'inner' }),
      route('b', 'public', '10.1.5.0/24', { peering: 'a' }),
    );
    const analysis = ask(made, 'a/db', 'b/app', 80);
    expect(refusals(analysis)).toEqual([]);
    expect(kinds(analysis)).toEqual([
      'instance',
      'security-groups',
      'route-table',
      'nat-gateway',
      'route-table',
      'peering',
      'security-groups',
      'instance',
    ]);
    expect(ask(made, 'b/app', 'a/db', 80).reachable).toBe(false);
  });
});
