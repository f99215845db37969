/** What route tables, NAT gateways and elastic addresses are in a kernel, and what is lowered anew when one changes. */
import { describe, expect, test } from 'vitest';
import { lower } from '../../../src/lower/lower.js';
import { namespaceWords } from '../../../src/lower/words.js';
import { allocateElasticIp, associateElasticIp } from '../../../src/model/elastic.js';
import { ids } from '../../../src/model/resources.js';
import {
  addNatGateway,
  addRoute,
  addRouteTable,
  associateRouteTable,
  deleteNatGateway,
} from '../../../src/model/routing.js';
import { addInstance, addSubnet, createVpc, peer, unpeer } from '../../../src/model/verbs.js';
import type { KernelObject } from '../../../src/objects/kernel-object.js';
import { type World, world } from '../model/support.js';

function small(): World {
  return world(
    (tx) => {
      createVpc(tx, { name: 'a', cidr: '10.0.0.0/16', secondaryCidrs: ['10.7.0.0/24'] });
      createVpc(tx, { name: 'b', cidr: '10.1.0.0/16' });
      addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
      addSubnet(tx, { vpc: 'a', name: 'p', cidr: '10.0.2.0/24', public: true });
      addSubnet(tx, { vpc: 'b', name: 's', cidr: '10.1.1.0/24' });
    },
    (tx) => addNatGateway(tx, { vpc: 'a', subnet: 'p', name: 'n', ip: '10.0.2.9', publicIp: '198.51.100.9' }),
    (tx) => addRoute(tx, 'a', 'main', { destination: '0.0.0.0/0', target: { natGateway: 'n' } }),
  );
}

/** Routes and rules in a line each. */
function ways(rows: Iterable<KernelObject>): string[] {
  return [...rows].flatMap((row) => {
    if (row.kind === 'rule') return [`${row.priority}: from ${row.from} lookup ${row.table}`];
    if (row.kind !== 'route') return [];
    const { table, dst, type, via, link, metric } = row;
    return [
      `${table}: ${type} ${dst}${via === undefined ? '' : ` via ${via} dev ${link}`}${metric === undefined ? '' : ` metric ${metric}`}`,
    ];
  });
}

const of = (made: World, id: string): string[] => ways(made.rows.get(id) ?? []).sort();
const MAIN = ids.routeTable('a', 'main');
const PUBLIC = ids.routeTable('a', 'public');

describe('a route table', () => {
  test('main: a rule for each block of the VPC, and only where it leads anywhere', () => {
    const made = small();
    expect(of(made, MAIN)).toEqual([
      '100: unicast default via 10.0.2.9 dev eni0a000209',
      '33100: from 10.0.0.0/16 lookup 100',
      '33100: from 10.7.0.0/24 lookup 100',
    ]);
    expect(of(made, ids.routeTable('b', 'main'))).toEqual([]);
  });

  test('another: nothing that it does not know is asked of main, and subnets that follow it have a rule', () => {
    const made = small();
    expect(of(made, PUBLIC)).toEqual([
      '101: unicast default via 169.254.128.2 dev uplink',
      '101: unreachable default metric 1000',
    ]);
    made.transact((tx) => addRouteTable(tx, 'a', 'own'));
    made.transact((tx) => associateRouteTable(tx, 'a', 's', 'own'));
    const { number } = made.get<{ number: number } & ReturnType<typeof addRouteTable>>(ids.routeTable('a', 'own'));
    expect(of(made, ids.routeTable('a', 'own'))).toEqual([`${number}: unreachable default metric 1000`]);
    expect(of(made, ids.subnet('a', 's'))).toEqual([`33000: from 10.0.1.0/24 lookup ${number}`]);
    expect(of(made, ids.subnet('a', 'p'))).toEqual(expect.arrayContaining(['33000: from 10.0.2.0/24 lookup 101']));
  });

  test('routes to a peer are the peering’s, in every table, unless they are manual or listed', () => {
    const made = small();
    made.transact((tx) => peer(tx, 'a', 'b'));
    const toB = (number: number) => `${number}: unicast 10.1.0.0/16 via 169.254.128.6 dev peer-b`;
    const peering = ids.peering('a', 'b');
    expect(of(made, peering)).toEqual(
      [
        toB(100),
        '100: unicast 10.0.0.0/16 via 169.254.128.6 dev peer-a',
        '100: unicast 10.7.0.0/24 via 169.254.128.6 dev peer-a',
        toB(101),
      ].sort(),
    );
    expect(of(made, ids.routeTable('b', 'main'))).toEqual(['33100: from 10.1.0.0/16 lookup 100']);
    // Listed with another target, it is the table's.
    made.transact((tx) => addRoute(tx, 'a', 'main', { destination: '10.1.0.0/16', target: 'blackhole' }));
    expect(of(made, peering)).not.toContain(toB(100));
    expect(of(made, MAIN)).toContain('100: blackhole 10.1.0.0/16');
    made.transact((tx) => peer(tx, 'a', 'b', undefined, 'manual'));
    expect(of(made, peering)).toEqual([]);
    made.transact((tx) => addRoute(tx, 'a', 'main', { destination: '10.1.1.0/24', target: { peering: 'b' } }));
    expect(of(made, peering)).toEqual(['100: unicast 10.1.1.0/24 via 169.254.128.6 dev peer-b']);
    made.transact((tx) => unpeer(tx, 'a', 'b'));
    expect(of(made, MAIN)).toContain('100: blackhole 10.1.1.0/24');
    expect(made.keptRows()).toEqual(made.freshRows());
  });
});

describe('a NAT gateway', () => {
  test('is a namespace with one link, which the router may pass on to, and answers for nothing', () => {
    const made = small();
    const rows = made.rows.get(ids.natGateway('a', 'n')) ?? [];
    const find = (test_: Partial<KernelObject>) =>
      rows.filter((row) => Object.entries(test_).every(([key, value]) => row[key as keyof KernelObject] === value));
    expect(new Set(rows.map(({ ns }) => ns))).toEqual(new Set(['vpc.a', 'vpc.a.nat.n', 'vpc-edge']));
    expect(find({ kind: 'link', ns: 'vpc.a.nat.n' })).toMatchObject([
      { name: 'eth0', strict: true, alias: 'vpcctl:nat-gateway/a/n', peer: { ns: 'vpc.a', name: 'eni0a000209' } },
    ]);
    const elements = rows.flatMap((row) => (row.kind === 'nft-element' ? [[row.set, ...row.key, row.data ?? '']] : []));
    expect(elements).toEqual(
      expect.arrayContaining([
        ['through', 'eni0a000209', ''],
        ['public', '10.0.2.9', ''],
        ['public_in', '198.51.100.9', '10.0.2.9'],
        ['public_out', '10.0.2.9', '198.51.100.9'],
      ]),
    );
    const rules = rows.flatMap((row) => (row.kind === 'nft-rule' ? [[row.chain, JSON.stringify(row.expr)]] : []));
    expect(rules.filter(([chain]) => chain === 'input')).toEqual([['input', '[{"counter":null},{"drop":null}]']]);
    const passed = rules.flatMap(([chain, text = '']) =>
      chain === 'forward' ? (/"l4proto".*"right":(\d+)/.exec(text)?.[1] ?? []) : [],
    );
    expect(passed).toEqual(['1', '6', '17']);
    expect(rules.filter(([chain]) => chain === 'nat_out')).toEqual([
      ['nat_out', '[{"snat":{"family":"ip","addr":"10.0.2.9","flags":"fully-random"}}]'],
    ]);
    expect(
      Object.fromEntries(rows.flatMap((row) => (row.kind === 'sysctl' ? [[row.key, row.value]] : []))),
    ).toMatchObject({
      'net/ipv4/ip_forward': '1',
      'net/ipv4/conf/all/send_redirects': '0',
      'net/netfilter/nf_conntrack_tcp_timeout_established': '350',
      'net/netfilter/nf_conntrack_udp_timeout': '350',
    });
    expect(namespaceWords('vpc.a.nat.n')).toBe('nat gateway a/n');
  });

  test('lets everything in and out: its profile has the one element that says so in each gate', () => {
    const made = small();
    const profiles = made.all().flatMap((one) => (one.kind === 'profile' && one.open === true ? [one] : []));
    expect(profiles).toHaveLength(1);
    expect(lower(made.reader, profiles[0] as never)).toMatchObject([{ set: 'in_all' }, { set: 'out_all' }]);
  });
});

describe('what is lowered anew', () => {
  const touched = (made: World, edit: Parameters<World['transact']>[0]): string[] => {
    const { edits, touched: also } = made.transact(edit);
    expect(made.keptRows()).toEqual(made.freshRows());
    const edited = edits.map(({ id }) => id);
    return [...also].filter((id) => !edited.includes(id)).sort();
  };

  test.each<[string, Parameters<World['transact']>[0], string[]]>([
    ['a NAT gateway goes: the tables that lead to it', (tx) => deleteNatGateway(tx, 'a', 'n'), [MAIN]],
    [
      'a NAT gateway that nothing leads to: nothing',
      (tx) => addNatGateway(tx, { vpc: 'a', subnet: 's', name: 'm', connectivity: 'private' }),
      [],
    ],
    ['a peering: the tables of both', (tx) => peer(tx, 'a', 'b'), [MAIN, PUBLIC, ids.routeTable('b', 'main')]],
    ['a route: peerings', (tx) => addRoute(tx, 'a', 'public', { destination: '10.9.0.0/16', target: 'blackhole' }), []],
    [
      'a block more: the tables',
      (tx) => createVpc(tx, { name: 'a', cidr: '10.0.0.0/16', secondaryCidrs: ['10.8.0.0/24'] }),
      [MAIN, PUBLIC],
    ],
    ['an instance: no table', (tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'x' }), []],
    ['an elastic address that nobody has: nothing', (tx) => allocateElasticIp(tx, 'e'), []],
  ])('%s', (_, edit, expected) => {
    expect(touched(small(), edit)).toEqual(expected);
  });

  test('a route in a peered VPC: the peering', () => {
    const made = small();
    made.transact((tx) => peer(tx, 'a', 'b'));
    expect(
      touched(made, (tx) => addRoute(tx, 'a', 'main', { destination: '10.9.0.0/16', target: 'blackhole' })),
    ).toEqual([ids.peering('a', 'b')]);
  });

  test('an elastic address that moves: both instances, by their edits', () => {
    const made = small();
    made.transact((tx) => {
      allocateElasticIp(tx, 'e');
      addInstance(tx, { vpc: 'a', subnet: 'p', name: 'x', elasticIp: 'e' });
      addInstance(tx, { vpc: 'b', subnet: 's', name: 'y' });
    });
    const { edits } = made.transact((tx) => associateElasticIp(tx, 'e', 'b', 'y'));
    expect(edits.map(({ id }) => id)).toEqual(
      expect.arrayContaining([ids.instance('a', 'x'), ids.instance('b', 'y'), ids.igw('b')]),
    );
    expect(made.keptRows()).toEqual(made.freshRows());
  });
});
