/** Secondary private addresses: who may have which, how they move, and what is lowered of them. */
import { describe, expect, test } from 'vitest';
import type { Draft } from '../../../src/model/reader.js';
import { claims, type Instance, ids } from '../../../src/model/resources.js';
import { addNatGateway } from '../../../src/model/routing.js';
import { type AssignPrivateIps, assignPrivateIps, unassignPrivateIps } from '../../../src/model/secondary.js';
import { applySpec, exportSpec } from '../../../src/model/spec.js';
import { addInstance, addSubnet, createVpc, deleteInstance } from '../../../src/model/verbs.js';
import type { Spec } from '../../../src/spec/types.js';
import { refusal, type World, world } from './support.js';

const V6 = 'fd76:7063:6301::';

/** Instances a/x (10.0.1.10), a/y (.11, also .50 and an IPv6 one) in one subnet with IPv6, a/z without IPv6 in it; NAT gateway a/n (.20). */
function small(): World {
  return world(
    (tx) => createVpc(tx, { name: 'a', cidr: '10.0.0.0/16', ipv6Cidr: `${V6}/56` }),
    (tx) => addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', ipv6Cidr: `${V6}/64` }),
    (tx) => {
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'x', ip: '10.0.1.10', ipv6: `${V6}10` });
      addInstance(tx, {
        ...{ vpc: 'a', subnet: 's', name: 'y', ip: '10.0.1.11', ipv6: `${V6}11` },
        secondaryIps: [`${V6}50`, '10.0.1.50'],
      });
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'z', ip: '10.0.1.12', ipv6: false });
      addNatGateway(tx, { vpc: 'a', subnet: 's', name: 'n', ip: '10.0.1.20', connectivity: 'private' });
    },
  );
}

const of = (made: World, name: string) => made.get<Instance>(ids.instance('a', name)).secondaryIps;
const assign = (made: World, name: string, wish: AssignPrivateIps): readonly string[] => {
  let added: readonly string[] = [];
  made.transact((tx) => {
    added = assignPrivateIps(tx, 'a', name, wish);
  });
  return added;
};

describe('assigned', () => {
  test('by name and by number, and again to no effect', () => {
    const made = small();
    expect(of(made, 'y')).toEqual(['10.0.1.50', `${V6}50`]);
    expect(assign(made, 'x', { ips: [`${V6}60`, '10.0.1.60', '10.0.1.10'] })).toEqual(['10.0.1.60', `${V6}60`]);
    expect(assign(made, 'x', { ips: ['10.0.1.60'] })).toEqual([]);
    expect(assign(made, 'x', { count: 3 })).toEqual(['10.0.1.4', '10.0.1.5', '10.0.1.6']);
    expect(of(made, 'x')).toEqual(['10.0.1.4', '10.0.1.5', '10.0.1.6', '10.0.1.60', `${V6}60`]);
    expect(claims(made.get(ids.instance('a', 'x')))).toContain('ip:a/10.0.1.60');
  });

  test('again to another, if it may be', () => {
    const made = small();
    expect(assign(made, 'x', { ips: ['10.0.1.50'], allowReassignment: true })).toEqual(['10.0.1.50']);
    expect([of(made, 'x'), of(made, 'y')]).toEqual([['10.0.1.50'], [`${V6}50`]]);
    assign(made, 'x', { ips: [`${V6}50`], allowReassignment: true });
    expect([of(made, 'x'), of(made, 'y')]).toEqual([['10.0.1.50', `${V6}50`], undefined]);
  });

  test.each<[string, (tx: Draft) => unknown, string]>([
    ['another’s', (tx) => assignPrivateIps(tx, 'a', 'x', { ips: ['10.0.1.50'] }), 'is taken by instance a/y'],
    [
      'another’s primary one',
      (tx) => assignPrivateIps(tx, 'a', 'x', { ips: ['10.0.1.11'], allowReassignment: true }),
      'is the primary address of instance a/y',
    ],
    [
      'a NAT gateway’s',
      (tx) => assignPrivateIps(tx, 'a', 'x', { ips: ['10.0.1.20'], allowReassignment: true }),
      'is taken by nat gateway a/n',
    ],
    ['one outside', (tx) => assignPrivateIps(tx, 'a', 'x', { ips: ['10.0.2.9'] }), 'is outside 10.0.1.0/24'],
    ['the gateway', (tx) => assignPrivateIps(tx, 'a', 'x', { ips: ['10.0.1.1'] }), 'is the gateway'],
    ['a reserved one', (tx) => assignPrivateIps(tx, 'a', 'x', { ips: [`${V6}3`] }), 'is reserved'],
    ['of IPv6, without', (tx) => assignPrivateIps(tx, 'a', 'z', { ips: [`${V6}70`] }), 'has no IPv6 address'],
    ['nothing', (tx) => assignPrivateIps(tx, 'a', 'x', {}), 'no address is asked for'],
    ['half a one', (tx) => assignPrivateIps(tx, 'a', 'x', { count: 0.5 }), '0.5 addresses at once'],
    ['too many', (tx) => assignPrivateIps(tx, 'a', 'x', { count: 257 }), '257 addresses at once'],
    ['more than there are', (tx) => assignPrivateIps(tx, 'a', 'x', { count: 250 }), 'no free address left'],
    ['to nobody', (tx) => assignPrivateIps(tx, 'a', 'w', { count: 1 }), 'instance w of vpc a does not exist'],
    [
      'its own primary one, as another',
      (tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'x', secondaryIps: ['10.0.1.10'] }),
      '10.0.1.10 is the primary address of instance a/x',
    ],
    [
      'as the primary one of a newcomer, while it is still there',
      (tx) => {
        unassignPrivateIps(tx, 'a', 'y', ['10.0.1.50']);
        addInstance(tx, { vpc: 'a', subnet: 's', name: 'w', ip: '10.0.1.50' });
      },
      'becomes free only with this change: instance a/y has it',
    ],
    [
      'the primary one of an instance that goes',
      (tx) => {
        deleteInstance(tx, 'a', 'y');
        assignPrivateIps(tx, 'a', 'x', { ips: ['10.0.1.11'] });
      },
      'becomes free only with this change',
    ],
    ['to be given up: the primary one', (tx) => unassignPrivateIps(tx, 'a', 'x', [`${V6}10`]), 'keeps it for life'],
  ])('is refused: %s', (_what, edit, why) => {
    const made = small();
    const before = exportSpec(made.reader);
    expect(refusal(() => made.transact(edit)).line).toContain(why);
    expect(exportSpec(made.reader)).toEqual(before);
  });
});

test('given up, of what it has; and with IPv6 those of IPv6', () => {
  const made = small();
  made.transact((tx) => expect(unassignPrivateIps(tx, 'a', 'y', ['10.0.1.50', '10.0.1.99'])).toEqual(['10.0.1.50']));
  expect(made.transact((tx) => unassignPrivateIps(tx, 'a', 'y', ['10.0.1.50'])).edits).toEqual([]);
  expect(of(made, 'y')).toEqual([`${V6}50`]);
  made.transact((tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'y', ipv6: false }));
  expect(of(made, 'y')).toBeUndefined();
});

test('a subnet keeps its IPv6 block while an instance has a secondary address of it', () => {
  const made = small();
  const edit = (tx: Draft) => {
    for (const name of ['x', 'y']) addInstance(tx, { vpc: 'a', subnet: 's', name, ipv6: false });
    addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', ipv6Cidr: false });
  };
  expect(
    refusal(() => made.transact((tx) => addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', ipv6Cidr: false })))
      .line,
  ).toContain('take that away first');
  made.transact(edit);
  expect(of(made, 'y')).toEqual(['10.0.1.50']);
});

describe('in a file', () => {
  const spec = (x: readonly string[], y: readonly string[]): Spec => ({
    vpcs: {
      a: {
        cidr: '10.0.0.0/16',
        subnets: { s: { cidr: '10.0.1.0/24' } },
        instances: { x: { subnet: 's', secondaryIps: x }, y: { subnet: 's', secondaryIps: y } },
      },
    },
  });

  test('they change hands in one step, are exported, and go when they are left out', () => {
    const made = world((tx) => applySpec(tx, spec(['10.0.1.50'], ['10.0.1.51'])));
    made.transact((tx) => applySpec(tx, spec(['10.0.1.51'], ['10.0.1.50'])));
    expect([of(made, 'x'), of(made, 'y')]).toEqual([['10.0.1.51'], ['10.0.1.50']]);
    const exported = exportSpec(made.reader);
    expect(exportSpec(world((tx) => applySpec(tx, exported)).reader)).toEqual(exported);
    made.transact((tx) => applySpec(tx, spec([], ['10.0.1.50'])));
    expect([of(made, 'x'), of(made, 'y')]).toEqual([undefined, ['10.0.1.50']]);
  });
});

test('each is a route, a neighbour and an address by itself, judged as the primary one is', () => {
  const made = small();
  const rows = made.rows.get(ids.instance('a', 'y')) ?? [];
  const about = (ip: string) => rows.filter((row) => JSON.stringify(row).includes(`"${ip}`));
  for (const ip of ['10.0.1.50', `${V6}50`]) {
    expect(about(ip).map(({ kind, ns }) => [kind, ns])).toEqual([
      ['addr', 'vpc.a.y'],
      ['neigh', 'vpc.a'],
      ['route', 'vpc.a'],
      ['nft-element', 'vpc.a'],
    ]);
  }
  const { profile } = made.get<Instance>(ids.instance('a', 'y'));
  const marks = rows.flatMap((row) => (row.kind === 'nft-element' && row.set.startsWith('profile') ? [row.data] : []));
  expect(marks).toEqual([profile, profile, profile, profile]);
  expect(made.keptRows()).toEqual(made.freshRows());
});
