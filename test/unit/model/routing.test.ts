/** The verbs of route tables and NAT gateways: what is refused, with its words, and what is taken. */
import { describe, expect, test } from 'vitest';
import { Draft } from '../../../src/model/reader.js';
import { ids, type NatGateway, type Route, type RouteTable, type Subnet } from '../../../src/model/resources.js';
import * as routing from '../../../src/model/routing.js';
import { addInstance, addSubnet, createVpc, deleteSubnet, deleteVpc, peer, unpeer } from '../../../src/model/verbs.js';
import { refusal, type World, world } from './support.js';

const { addNatGateway, addRoute, addRouteTable, associateRouteTable, deleteNatGateway } = routing;
const { deleteRoute, deleteRouteTable, isBlackhole, setRoutes } = routing;

/** VPC `a` with a private subnet `s`, a public `p` and NAT gateway `n` in it; VPC `b`, peered with it by manual routes. */
function small(): World {
  return world(
    (tx) => {
      createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
      createVpc(tx, { name: 'b', cidr: '10.1.0.0/16' });
      addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
      addSubnet(tx, { vpc: 'a', name: 'p', cidr: '10.0.2.0/28', public: true });
    },
    (tx) => addNatGateway(tx, { vpc: 'a', subnet: 'p', name: 'n', ip: '10.0.2.9' }),
    (tx) => peer(tx, 'a', 'b', undefined, 'manual'),
  );
}

function refused(made: World, body: (tx: Draft) => unknown): string {
  const { code, line } = refusal(() => body(new Draft(made.reader)));
  return `${code}: ${line}`;
}

const table = (made: World, name: string, vpc = 'a') => made.get<RouteTable>(ids.routeTable(vpc, name));
const routes = (made: World, name: string): string[] =>
  table(made, name).routes.map(
    (route: Route) => `${route.destination} ${JSON.stringify(routing.formatTarget(route.target))}`,
  );
const unchanged = (made: World, edit: (tx: Draft) => unknown) => expect(made.transact(edit).edits).toEqual([]);

describe('route tables', () => {
  test('every VPC has main, which cannot be deleted and goes with it', () => {
    const made = small();
    expect(table(made, 'main')).toEqual({ kind: 'route-table', vpc: 'a', name: 'main', number: 100, routes: [] });
    expect(refused(made, (tx) => deleteRouteTable(tx, 'a', 'main'))).toBe(
      'CONFLICT: route table main of vpc a cannot be deleted; it goes with its VPC',
    );
    made.transact((tx) => deleteVpc(tx, 'a', true));
    expect(made.all().filter(({ kind }) => kind === 'route-table')).toMatchObject([{ vpc: 'b' }]);
  });

  test('one is made once, keeps its routes when it is made again, and its number follows from its name', () => {
    const made = small();
    made.transact((tx) => addRouteTable(tx, 'a', 'own'));
    made.transact((tx) => addRouteTable(tx, 'b', 'own'));
    expect(table(made, 'own').number).toBe(table(made, 'own', 'b').number);
    expect(table(made, 'own').number).toBeGreaterThanOrEqual(1000);
    made.transact((tx) => addRoute(tx, 'a', 'own', { destination: '0.0.0.0/0', target: 'blackhole' }));
    unchanged(made, (tx) => addRouteTable(tx, 'a', 'own'));
    expect(routes(made, 'own')).toEqual(['0.0.0.0/0 "blackhole"']);
  });

  test('two names with one hash get two numbers', () => {
    const made = small();
    made.transact((tx) => {
      const one = addRouteTable(tx, 'a', 'one');
      tx.put({ ...one, name: 'squatter' });
      tx.remove(ids.routeTable('a', 'one'));
      return addRouteTable(tx, 'a', 'one');
    });
    expect(table(made, 'one').number).not.toBe(table(made, 'squatter').number);
  });

  test('one is deleted, once, unless a subnet follows it', () => {
    const made = small();
    made.transact((tx) => addRouteTable(tx, 'a', 'own'));
    made.transact((tx) => associateRouteTable(tx, 'a', 's', 'own'));
    expect(refused(made, (tx) => deleteRouteTable(tx, 'a', 'own'))).toBe(
      'CONFLICT: route table a/own is that of subnet a/s; associate that with another one first',
    );
    made.transact((tx) => associateRouteTable(tx, 'a', 's', undefined));
    made.transact((tx) => expect(deleteRouteTable(tx, 'a', 'own')).toBe(true));
    made.transact((tx) => expect(deleteRouteTable(tx, 'a', 'own')).toBe(false));
  });

  test('public comes with the first public subnet that is associated with none, and goes with the last', () => {
    const made = small();
    expect(table(made, 'public')).toMatchObject({ number: 101, implied: true });
    expect(routes(made, 'public')).toEqual(['0.0.0.0/0 "internet-gateway"']);
    made.transact((tx) => associateRouteTable(tx, 'a', 'p', 'main'));
    expect(made.reader.get(ids.routeTable('a', 'public'))).toBeUndefined();
    made.transact((tx) => associateRouteTable(tx, 'a', 'p', undefined));
    expect(table(made, 'public').implied).toBe(true);
    made.transact((tx) => {
      deleteNatGateway(tx, 'a', 'n');
      deleteSubnet(tx, 'a', 'p');
    });
    expect(made.reader.get(ids.routeTable('a', 'public'))).toBeUndefined();
    expect(made.reader.get(ids.igw('a'))).toBeUndefined();
  });

  test.each<[string, (tx: Draft) => unknown]>([
    ['a route of its own', (tx) => addRoute(tx, 'a', 'public', { destination: '10.9.0.0/16', target: 'blackhole' })],
    ['being made by name', (tx) => addRouteTable(tx, 'a', 'public')],
    ['a subnet that names it', (tx) => associateRouteTable(tx, 'a', 's', 'public')],
  ])('public stays once somebody has spoken of it: %s', (_, edit) => {
    const made = small();
    made.transact(edit);
    expect(table(made, 'public').implied).toBeUndefined();
    made.transact((tx) => {
      associateRouteTable(tx, 'a', 's', 'main');
      associateRouteTable(tx, 'a', 'p', 'main');
    });
    expect(routes(made, 'public')).toContain('0.0.0.0/0 "internet-gateway"');
  });

  test('a subnet follows one table at a time, of its own VPC', () => {
    const made = small();
    made.transact((tx) => associateRouteTable(tx, 'a', 's', 'main'));
    unchanged(made, (tx) => associateRouteTable(tx, 'a', 's', 'main'));
    expect(made.get<Subnet>(ids.subnet('a', 's')).routeTable).toBe('main');
    expect(refused(made, (tx) => associateRouteTable(tx, 'a', 's', 'other'))).toBe(
      'NOT_FOUND: route table other of vpc a does not exist; there are: main, public',
    );
    expect(refused(made, (tx) => associateRouteTable(tx, 'a', 'x', 'main'))).toBe(
      'NOT_FOUND: subnet x of vpc a does not exist; there are: p, s',
    );
    expect(refused(made, (tx) => addRouteTable(tx, 'nowhere', 'x'))).toBe(
      'NOT_FOUND: vpc nowhere does not exist; there are: a, b',
    );
    expect(refused(made, (tx) => addRouteTable(tx, 'a', 'No.Name'))).toMatch(/^INVALID: /);
  });
});

describe('routes', () => {
  test('one to a destination: asked for again it is unchanged, with another target it is that', () => {
    const made = small();
    const add = (target: 'blackhole' | { natGateway: string }) => (tx: Draft) =>
      addRoute(tx, 'a', 'main', { destination: '0.0.0.0/0', target });
    made.transact(add({ natGateway: 'n' }));
    unchanged(made, add({ natGateway: 'n' }));
    made.transact(add('blackhole'));
    expect(routes(made, 'main')).toEqual(['0.0.0.0/0 "blackhole"']);
    made.transact((tx) => expect(deleteRoute(tx, 'a', 'main', '0.0.0.0/0')).toBe(true));
    made.transact((tx) => expect(deleteRoute(tx, 'a', 'main', '0.0.0.0/0')).toBe(false));
    expect(routes(made, 'main')).toEqual([]);
  });

  test('they are kept in order, whatever order they are given in, and none twice', () => {
    const made = small();
    const [x, y] = ['10.9.0.0/16', '10.8.0.0/16'].map((destination) => ({ destination, target: 'blackhole' as const }));
    made.transact((tx) => setRoutes(tx, 'a', 'main', [x, y] as never));
    expect(routes(made, 'main')).toEqual(['10.8.0.0/16 "blackhole"', '10.9.0.0/16 "blackhole"']);
    unchanged(made, (tx) => setRoutes(tx, 'a', 'main', [y, x] as never));
    expect(refused(made, (tx) => setRoutes(tx, 'a', 'main', [x, x] as never))).toBe(
      'INVALID: two routes lead to 10.9.0.0/16; leave one out',
    );
  });

  test.each<[string, routing.AddNatGateway | object, string]>([
    [
      '10.0.1.0/24',
      'blackhole' as never,
      "INVALID: a route to 10.0.1.0/24 has no effect: it is in the VPC's own block 10.0.0.0/16, which is local; name a block outside of the VPC",
    ],
    [
      '169.254.128.0/24',
      'blackhole' as never,
      'INVALID: no route can lead to 169.254.128.0/24: 169.254.0.0/16 is for link-local; leave it out',
    ],
    [
      '224.0.0.0/4',
      'blackhole' as never,
      'INVALID: no route can lead to 224.0.0.0/4: 224.0.0.0/4 is for multicast; leave it out',
    ],
    ['0.0.0.0/0', { natGateway: 'm' }, 'NOT_FOUND: nat gateway m of vpc a does not exist; there are: n'],
    ['10.2.0.0/16', { peering: 'c' }, 'NOT_FOUND: a peering of vpc a with c does not exist; there are: b'],
    [
      '10.9.0.1/16',
      'blackhole' as never,
      'INVALID: 10.9.0.1/16 has host bits set: the network is 10.9.0.0/16; write 10.9.0.0/16',
    ],
  ])('to %s by %j: refused', (destination, target, line) => {
    expect(refused(small(), (tx) => addRoute(tx, 'a', 'main', { destination, target: target as never }))).toBe(line);
  });

  test('a table that is not there', () => {
    const route = { destination: '0.0.0.0/0', target: 'blackhole' } as const;
    const line = 'NOT_FOUND: route table x of vpc a does not exist; there are: main, public';
    expect(refused(small(), (tx) => addRoute(tx, 'a', 'x', route))).toBe(line);
    expect(refused(small(), (tx) => deleteRoute(tx, 'a', 'x', '0.0.0.0/0'))).toBe(line);
    expect(refused(small(), (tx) => setRoutes(tx, 'a', 'x', [route]))).toBe(line);
  });

  test('one wider than the VPC’s block is taken', () => {
    const made = small();
    made.transact((tx) => addRoute(tx, 'a', 'main', { destination: '10.0.0.0/8', target: { peering: 'b' } }));
    expect(routes(made, 'main')).toEqual(['10.0.0.0/8 {"peering":"b"}']);
  });

  test('a block that holds the destination of a route is not added to the VPC', () => {
    const made = small();
    made.transact((tx) => addRoute(tx, 'a', 'main', { destination: '10.9.1.0/24', target: { natGateway: 'n' } }));
    for (const block of ['10.9.0.0/16', '10.9.1.0/24']) {
      expect(refused(made, (tx) => createVpc(tx, { name: 'a', cidr: '10.0.0.0/16', secondaryCidrs: [block] }))).toBe(
        `INVALID: block ${block} of vpc a holds 10.9.1.0/24, where route table a/main has a route to; choose another block, or delete the route first`,
      );
    }
    made.transact((tx) => createVpc(tx, { name: 'a', cidr: '10.0.0.0/16', secondaryCidrs: ['10.9.1.0/25'] }));
  });

  test('whose target goes stays, as a black hole, and is a route again when it comes back', () => {
    const made = small();
    made.transact((tx) => {
      addRoute(tx, 'a', 'main', { destination: '0.0.0.0/0', target: { natGateway: 'n' } });
      addRoute(tx, 'a', 'main', { destination: '10.1.0.0/16', target: { peering: 'b' } });
      addRoute(tx, 'a', 'main', { destination: '10.8.0.0/16', target: 'blackhole' });
    });
    const holes = () => table(made, 'main').routes.map(({ target }: Route) => isBlackhole(made.reader, 'a', target));
    expect(holes()).toEqual([false, false, true]);
    made.transact((tx) => deleteNatGateway(tx, 'a', 'n'));
    expect(holes()).toEqual([true, false, true]);
    made.transact((tx) => unpeer(tx, 'b', 'a'));
    expect(holes()).toEqual([true, true, true]);
    expect(made.keptRows()).toEqual(made.freshRows());
    made.transact((tx) => peer(tx, 'a', 'b', undefined, 'manual'));
    made.transact((tx) => addNatGateway(tx, { vpc: 'a', subnet: 'p', name: 'n' }));
    expect(holes()).toEqual([false, false, true]);
    expect(made.keptRows()).toEqual(made.freshRows());
  });
});

describe('NAT gateways', () => {
  const nat = (made: World, name = 'n') => made.get<NatGateway>(ids.natGateway('a', name));
  const add = (more: object) => (tx: Draft) => addNatGateway(tx, { vpc: 'a', subnet: 'p', name: 'n', ...more });

  test('one has an address of its subnet and one of the pool, and no group', () => {
    const made = small();
    expect(nat(made)).toMatchObject({ subnet: 'p', ip: '10.0.2.9' });
    expect(nat(made).publicIp).toMatch(/^198\.51\.100\.\d+$/);
    expect(made.get(ids.profile('a', nat(made).profile))).toMatchObject({ groups: [], open: true });
    unchanged(made, add({}));
    unchanged(made, add({ ip: '10.0.2.9', publicIp: nat(made).publicIp }));
  });

  test('a private one has none of the pool, and needs no internet gateway', () => {
    const made = world((tx) => {
      createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
      addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
      addNatGateway(tx, { vpc: 'a', subnet: 's', name: 'n', connectivity: 'private' });
    });
    expect(nat(made).publicIp).toBeUndefined();
    expect(made.reader.get(ids.igw('a'))).toBeUndefined();
  });

  test.each<[string, object, string]>([
    ['another subnet', { subnet: 's' }, 'nat gateway a/n exists otherwise'],
    ['another address', { ip: '10.0.2.10' }, 'nat gateway a/n exists otherwise'],
    ['another public address', { publicIp: '198.51.100.1' }, 'nat gateway a/n exists otherwise'],
    ['private', { connectivity: 'private' }, 'nat gateway a/n exists otherwise'],
    ['an elastic address', { elasticIp: 'e' }, 'nat gateway a/n exists otherwise'],
  ])('one never changes: %s', (_, more, line) => {
    expect(refused(small(), add(more))).toBe(
      `CONFLICT: ${line}, and is never changed; delete it first, or choose another name`,
    );
  });

  test.each<[object, string]>([
    [{ subnet: 'x' }, 'NOT_FOUND: subnet x of vpc a does not exist; there are: p, s'],
    [
      { name: 'm', ip: '10.0.1.9' },
      'INVALID: address 10.0.1.9 is outside 10.0.2.0/28 of subnet a/p; choose one inside, or leave it out',
    ],
    [
      { name: 'm', ip: '10.0.2.9' },
      'CONFLICT: address 10.0.2.9 is taken by nat gateway a/n; choose another, or leave it out',
    ],
    [{ name: 'm', elasticIp: 'e' }, 'NOT_FOUND: elastic ip e does not exist; there are none yet'],
    [
      { name: 'm', connectivity: 'private', elasticIp: 'e' },
      'INVALID: nat gateway a/m is private: it has no public address; leave elasticIp out',
    ],
    [
      { name: 'm', connectivity: 'private', publicIp: '198.51.100.1' },
      'INVALID: nat gateway a/m is private: it has no public address; leave publicIp out',
    ],
    [
      { name: 'm', publicIp: '198.51.100.1', elasticIp: 'e' },
      'INVALID: nat gateway a/m is given a public address and an elastic one; leave one out',
    ],
    [
      { name: 'm', publicIp: '203.0.113.1' },
      'INVALID: public address 203.0.113.1 is outside the pool 198.51.100.0/24; choose one of the pool, or leave it out',
    ],
  ])('%j: refused', (more, line) => {
    expect(refused(small(), add(more))).toBe(line);
  });

  test('its address is nobody else’s', () => {
    expect(refused(small(), (tx) => addInstance(tx, { vpc: 'a', subnet: 'p', name: 'x', ip: '10.0.2.9' }))).toBe(
      'CONFLICT: address 10.0.2.9 is taken by nat gateway a/n; choose another, or leave it out',
    );
  });

  test('a subnet with one is deleted by force only', () => {
    const made = small();
    expect(refused(made, (tx) => deleteSubnet(tx, 'a', 'p'))).toBe(
      'CONFLICT: subnet a/p holds nat gateway a/n; delete-nat-gateway first, or use --force',
    );
    made.transact((tx) => deleteSubnet(tx, 'a', 'p', true));
    expect(made.reader.get(ids.natGateway('a', 'n'))).toBeUndefined();
  });

  test('one that goes does not come back in the same change with another address', () => {
    const made = small();
    expect(
      refused(made, (tx) => {
        deleteNatGateway(tx, 'a', 'n');
        addNatGateway(tx, { vpc: 'a', subnet: 'p', name: 'n', ip: '10.0.2.10' });
      }),
    ).toBe(
      'CONFLICT: nat gateway a/n goes only with this change: it cannot come back with 10.0.2.10 for 10.0.2.9; choose another name; or delete it in a change of its own first',
    );
    expect(made.transact((tx) => expect(deleteNatGateway(tx, 'a', 'x')).toBe(false)).edits).toEqual([]);
  });
});
