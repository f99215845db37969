/** Prefix lists in the model: verbs, refusals, quotas, which routes they make, what changes with them, files. */
import { describe, expect, test } from 'vitest';
import { TRANSIT_OWN_TABLE } from '../../../src/lower/names.js';
import { createPrefixList, deletePrefixList, modifyPrefixList } from '../../../src/model/prefix-lists.js';
import type { Draft } from '../../../src/model/reader.js';
import type { PrefixList } from '../../../src/model/resources.js';
import { addNatGateway, addRoute, deleteRoute } from '../../../src/model/routing.js';
import { applySpec, destroySpec, exportSpec } from '../../../src/model/spec.js';
import { addTransitGateway, addTransitRoute, attachVpc } from '../../../src/model/transit.js';
import {
  addInstance,
  addSubnet,
  checkReferences,
  configure,
  createVpc,
  deleteVpc,
  peer,
  putGroup,
} from '../../../src/model/verbs.js';
import type { KernelObject } from '../../../src/objects/kernel-object.js';
import type { Spec } from '../../../src/spec/types.js';
import { refusal, type World, world } from './support.js';

const entries = (...cidrs: string[]) => cidrs.map((cidr) => ({ cidr }));
const list = (name: string, ...cidrs: string[]) => ({ name, maxEntries: 5, entries: entries(...cidrs) });

/** Two peered VPCs with an instance each, and the list `p`. */
function two(...more: ((draft: Draft) => unknown)[]): World {
  return world(
    (tx) => {
      createPrefixList(tx, 'p', list('p', '10.8.0.0/16', '10.9.0.0/16'));
      for (const [name, cidr] of [
        ['a', '10.1.0.0/16'],
        ['b', '10.2.0.0/16'],
      ] as const) {
        createVpc(tx, { name, cidr });
        addSubnet(tx, { vpc: name, name: 's', cidr: cidr.replace('0.0/16', '1.0/24') });
        addInstance(tx, { vpc: name, subnet: 's', name: 'x' });
      }
      peer(tx, 'a', 'b');
    },
    ...more,
  );
}

const fromList = (tx: Draft, vpc: string, name = 'p') =>
  checkReferences(
    tx,
    putGroup(tx, vpc, 'default', { ingress: [{ protocol: 'tcp', port: 80, from: { prefixList: name } }] }),
  );

/** The routes of a VPC's table `main`, beside the one that keeps its block inside. */
function routes(made: World, vpc: string): string[] {
  return [...made.keptRows().values()].length === 0
    ? []
    : [...made.rows.values()]
        .flat()
        .filter((row): row is Extract<KernelObject, { kind: 'route' }> => row.kind === 'route')
        .filter(({ ns, table, metric }) => ns === `vpc.${vpc}` && table === 100 && metric === undefined)
        .map(({ dst, type, link = type }) => `${dst} ${link}`)
        .sort();
}

const blocks6 = (made: World, vpc: string): string[] => blocks(made, vpc, /^in6_net64/);

const blocks = (made: World, vpc: string, of = /^in_net/): string[] =>
  [...made.rows.values()]
    .flat()
    .flatMap((row) => (row.kind === 'nft-element' && row.ns === `vpc.${vpc}` && of.test(row.set) ? [row] : []))
    .map(({ key }) => String(key[1]))
    .sort();

describe('verbs', () => {
  test('done again change nothing; entries stand in the order of their blocks', () => {
    const made = two((tx) => createPrefixList(tx, 'q', list('q', '10.9.0.0/16', '10.10.0.0/16')));
    expect(made.get<PrefixList>('prefix-list/q').entries.map(({ cidr }) => cidr)).toEqual([
      '10.10.0.0/16',
      '10.9.0.0/16',
    ]);
    for (const again of [
      (tx: Draft) => createPrefixList(tx, 'q', list('q', '10.10.0.0/16', '10.9.0.0/16')),
      (tx: Draft) => createPrefixList(tx, 'q', { maxEntries: 5 }),
      (tx: Draft) => modifyPrefixList(tx, 'q', { add: entries('10.9.0.0/16'), remove: ['10.11.0.0/16'] }),
      (tx: Draft) => modifyPrefixList(tx, 'q', { maxEntries: 5 }),
      (tx: Draft) => deletePrefixList(tx, 'none'),
    ]) {
      expect(made.transact(again).edits).toEqual([]);
    }
    expect(refusal(() => made.transact((tx) => createPrefixList(tx, 'q', { maxEntries: 6 })))).toMatchObject({
      code: 'CONFLICT',
    });
  });

  test('a list is of one family, for good', () => {
    const six = { family: 'ipv6', maxEntries: 5, entries: entries('fd00::/16') } as const;
    const made = two((tx) => createPrefixList(tx, 'six', six));
    expect(made.transact((tx) => createPrefixList(tx, 'six', six)).edits).toEqual([]);
    const refused = (edit: (tx: Draft) => unknown) => refusal(() => made.transact(edit));
    for (const [edit, says] of [
      [(tx: Draft) => createPrefixList(tx, 'r', list('r', 'fd00::/16')), /is for IPv4, and fd00::\/16 is not/],
      [
        (tx: Draft) => modifyPrefixList(tx, 'six', { add: entries('10.3.0.0/16') }),
        /is for IPv6, and 10\.3\.0\.0\/16 is not/,
      ],
    ] as const) {
      const { code, line } = refused(edit);
      expect(code).toBe('INVALID');
      expect(line).toMatch(says);
    }
    for (const edit of [
      (tx: Draft) => createPrefixList(tx, 'six', { maxEntries: 5 }),
      (tx: Draft) => applySpec(tx, { vpcs: {}, prefixLists: { six: { maxEntries: 5 } } }),
      (tx: Draft) => applySpec(tx, { vpcs: {}, prefixLists: { p: { ...six, entries: [] } } }),
    ]) {
      expect(refused(edit)).toMatchObject({ code: 'CONFLICT', line: expect.stringMatching(/never changes/) });
    }
  });

  test('an entry that is added again gets the new description', () => {
    const made = two((tx) => modifyPrefixList(tx, 'p', { add: [{ cidr: '10.8.0.0/16', description: 'the office' }] }));
    expect(made.get<PrefixList>('prefix-list/p').entries).toContainEqual({
      cidr: '10.8.0.0/16',
      description: 'the office',
    });
  });

  test.each([
    [
      'twice',
      (tx: Draft) => createPrefixList(tx, 'q', list('q', '10.8.0.0/16', '10.8.0.0/16')),
      /10\.8\.0\.0\/16 twice/,
    ],
    [
      'too many',
      (tx: Draft) => createPrefixList(tx, 'q', { maxEntries: 1, entries: entries('10.8.0.0/16', '10.9.0.0/16') }),
      /would have 2 entries, it may have 1/,
    ],
    ['too small', (tx: Draft) => modifyPrefixList(tx, 'p', { maxEntries: 1 }), /would have 2 entries/],
    ['host bits', (tx: Draft) => createPrefixList(tx, 'q', list('q', '10.8.0.1/16')), /host bits/],
    [
      'both',
      (tx: Draft) => modifyPrefixList(tx, 'p', { add: entries('10.3.0.0/16'), maxEntries: 9 }),
      /the size .* at the same time/,
    ],
    [
      'in and out',
      (tx: Draft) => modifyPrefixList(tx, 'p', { add: entries('10.3.0.0/16'), remove: ['10.3.0.0/16'] }),
      /added and removed/,
    ],
  ])('refused: %s', (_what, edit, says) => {
    const { code, line } = refusal(() => two().transact(edit));
    expect(code).toBe('INVALID');
    expect(line).toMatch(says);
  });

  test('a list that is not there is not referred to', () => {
    const made = two();
    for (const edit of [
      (tx: Draft) => fromList(tx, 'a', 'none'),
      (tx: Draft) => addRoute(tx, 'a', 'main', { destination: { prefixList: 'none' }, target: 'blackhole' }),
      (tx: Draft) => modifyPrefixList(tx, 'none', { remove: ['10.3.0.0/16'] }),
    ]) {
      expect(refusal(() => made.transact(edit))).toMatchObject({
        code: 'NOT_FOUND',
        line: expect.stringMatching(/there are: p/),
      });
    }
  });

  test('a list is not deleted while a rule or a route refers to it', () => {
    const made = two((tx) => fromList(tx, 'a'));
    const refused = () => refusal(() => made.transact((tx) => deletePrefixList(tx, 'p')));
    expect(refused().line).toMatch(/security group a\/default refers to it/);
    made.transact((tx) => {
      putGroup(tx, 'a', 'default', {});
      addRoute(tx, 'b', 'main', { destination: { prefixList: 'p' }, target: 'blackhole' });
    });
    expect(refused().line).toMatch(/route table b\/main refers to it/);
    made.transact((tx) => deleteRoute(tx, 'b', 'main', { prefixList: 'p' }));
    expect(made.transact((tx) => deletePrefixList(tx, 'p')).edits).toHaveLength(1);
  });

  test('what refers to it goes with its VPC', () => {
    const made = two(
      (tx) => fromList(tx, 'a'),
      (tx) => deleteVpc(tx, 'a', true),
    );
    made.transact((tx) => deletePrefixList(tx, 'p'));
    expect(made.reader.get('prefix-list/p')).toBeUndefined();
  });
});

describe('quotas', () => {
  test('a reference counts for the most entries of the list', () => {
    const made = two((tx) => configure(tx, { quotas: { securityGroupRules: 5, routesPerRouteTable: 5 } }));
    made.transact((tx) => fromList(tx, 'a'));
    const rules = [{ from: { prefixList: 'p' } }, { from: 'vpc' }];
    expect(refusal(() => made.transact((tx) => putGroup(tx, 'a', 'default', { ingress: rules }))).line).toMatch(
      /would have 6 rules in one direction, the quota is 5/,
    );
    made.transact((tx) => addRoute(tx, 'a', 'main', { destination: { prefixList: 'p' }, target: 'blackhole' }));
    expect(
      refusal(() =>
        made.transact((tx) => addRoute(tx, 'a', 'main', { destination: '10.3.0.0/16', target: 'blackhole' })),
      ).line,
    ).toMatch(/would have 6 routes, the quota is 5/);
    expect(refusal(() => made.transact((tx) => modifyPrefixList(tx, 'p', { maxEntries: 6 }))).line).toMatch(
      /security group a\/default would have 6 rules/,
    );
    made.transact((tx) => modifyPrefixList(tx, 'p', { maxEntries: 4 }));
  });
});

describe('rules', () => {
  test('of groups of several VPCs change with the list, and only those elements', () => {
    const made = two(
      (tx) => fromList(tx, 'a'),
      (tx) => fromList(tx, 'b'),
    );
    expect(blocks(made, 'a')).toEqual(['10.8.0.0', '10.9.0.0']);
    const before = made.keptRows();
    const { edits } = made.transact((tx) => modifyPrefixList(tx, 'p', { add: entries('10.10.0.0/16') }));
    expect(edits.map(({ id }) => id)).toEqual(['prefix-list/p']);
    for (const vpc of ['a', 'b']) expect(blocks(made, vpc)).toEqual(['10.10.0.0', '10.8.0.0', '10.9.0.0']);
    const come = [...made.keptRows()].filter(([key]) => !before.has(key));
    expect(come).toHaveLength(2);
    expect(made.keptRows()).toEqual(made.freshRows());
    made.transact((tx) => modifyPrefixList(tx, 'p', { remove: ['10.8.0.0/16', '10.9.0.0/16', '10.10.0.0/16'] }));
    expect(blocks(made, 'a')).toEqual([]);
  });

  test('a description and the size change no row', () => {
    const made = two((tx) => fromList(tx, 'a'));
    expect(made.transact((tx) => modifyPrefixList(tx, 'p', { maxEntries: 100 })).touched.size).toBe(0);
    const named = { add: [{ cidr: '10.8.0.0/16', description: 'x' }] };
    expect(made.transact((tx) => modifyPrefixList(tx, 'p', named)).touched.size).toBe(0);
  });
});

describe('routes', () => {
  const toNat = (tx: Draft) => {
    addNatGateway(tx, { vpc: 'a', subnet: 's', name: 'n', ip: '10.1.1.200', connectivity: 'private' });
    addRoute(tx, 'a', 'main', { destination: { prefixList: 'p' }, target: { natGateway: 'n' } });
  };

  test('one for each block; local ones, those of special use and those that have a route of their own have none', () => {
    const made = two(toNat, (tx) => {
      modifyPrefixList(tx, 'p', { add: entries('10.1.1.0/24', '169.254.0.0/24') });
      addRoute(tx, 'a', 'main', { destination: '10.9.0.0/16', target: 'blackhole' });
    });
    expect(routes(made, 'a')).toEqual(['10.2.0.0/16 peer-b', '10.8.0.0/16 eni0a0101c8', '10.9.0.0/16 blackhole']);
    made.transact((tx) => deleteRoute(tx, 'a', 'main', '10.9.0.0/16'));
    expect(routes(made, 'a')).toContain('10.9.0.0/16 eni0a0101c8');
    expect(made.keptRows()).toEqual(made.freshRows());
  });

  test('of two lists with one block the first in the order of names', () => {
    const made = two(toNat, (tx) => {
      createPrefixList(tx, 'o', list('o', '10.8.0.0/16'));
      addRoute(tx, 'a', 'main', { destination: { prefixList: 'o' }, target: 'blackhole' });
    });
    expect(routes(made, 'a')).toContain('10.8.0.0/16 blackhole');
    made.transact((tx) => modifyPrefixList(tx, 'o', { remove: ['10.8.0.0/16'] }));
    expect(routes(made, 'a')).toContain('10.8.0.0/16 eni0a0101c8');
  });

  test('go before the automatic ones of a peering, and may lead to the peer', () => {
    const made = two(toNat, (tx) => modifyPrefixList(tx, 'p', { add: entries('10.2.0.0/16') }));
    expect(routes(made, 'a')).toEqual(['10.2.0.0/16', '10.8.0.0/16', '10.9.0.0/16'].map((dst) => `${dst} eni0a0101c8`));
    made.transact((tx) => addRoute(tx, 'a', 'main', { destination: { prefixList: 'p' }, target: { peering: 'b' } }));
    expect(routes(made, 'a')).toEqual(['10.2.0.0/16', '10.8.0.0/16', '10.9.0.0/16'].map((dst) => `${dst} peer-b`));
    made.transact((tx) => modifyPrefixList(tx, 'p', { remove: ['10.2.0.0/16', '10.8.0.0/16'] }));
    expect(routes(made, 'a')).toEqual(['10.2.0.0/16 peer-b', '10.9.0.0/16 peer-b']);
    expect(made.keptRows()).toEqual(made.freshRows());
  });

  test('of a list of IPv6: where a route of IPv6 may lead, and only where the VPC has that', () => {
    const six = (tx: Draft) => {
      createPrefixList(tx, 'six', { family: 'ipv6', maxEntries: 5, entries: entries('fd76:7063:6302::/64') });
      addRoute(tx, 'a', 'main', { destination: { prefixList: 'six' }, target: { peering: 'b' } });
      putGroup(tx, 'a', 'default', { ingress: [{ protocol: 'tcp', port: 80, from: { prefixList: 'six' } }] });
    };
    const made = two(toNat, six);
    const { code, line } = refusal(() =>
      made.transact((tx) =>
        addRoute(tx, 'a', 'main', { destination: { prefixList: 'six' }, target: { natGateway: 'n' } }),
      ),
    );
    expect(code).toBe('INVALID');
    expect(line).toMatch(/prefix list six cannot lead to/);
    const ofSix = () => routes(made, 'a').filter((one) => one.includes(':'));
    expect(ofSix()).toEqual([]);
    expect(blocks6(made, 'a')).toEqual([]);
    made.transact((tx) => createVpc(tx, { name: 'a', cidr: '10.1.0.0/16', ipv6Cidr: 'fd76:7063:6301::/56' }));
    expect(ofSix()).toEqual(['fd76:7063:6302::/64 peer-b']);
    expect(blocks6(made, 'a')).toEqual(['fd76:7063:6302::']);
    made.transact((tx) => modifyPrefixList(tx, 'six', { add: entries('fd76:7063:6301:1::/64', 'fe80::/64', '::/0') }));
    expect(ofSix()).toEqual(['::/0 peer-b', 'fd76:7063:6302::/64 peer-b']);
    expect(made.keptRows()).toEqual(made.freshRows());
    made.transact((tx) => createVpc(tx, { name: 'a', cidr: '10.1.0.0/16', ipv6Cidr: false }));
    expect(ofSix()).toEqual([]);
    expect(made.keptRows()).toEqual(made.freshRows());
  });

  test('of transit gateways, between static and propagated ones', () => {
    const made = two((tx) => {
      addTransitGateway(tx, 'core');
      for (const vpc of ['a', 'b']) attachVpc(tx, { transitGateway: 'core', vpc });
      addTransitRoute(tx, 'core', 'default', { destination: { prefixList: 'p' }, target: { vpc: 'a' } });
      addTransitRoute(tx, 'core', 'default', { destination: '10.8.0.0/16', target: 'blackhole' });
      addRoute(tx, 'b', 'main', { destination: { prefixList: 'p' }, target: { transitGateway: 'core' } });
    });
    const found = () =>
      [...made.rows.values()]
        .flat()
        .flatMap((row) => (row.kind === 'route' && row.ns === 'vpc-tgw.core' && row.metric === undefined ? [row] : []))
        .filter(({ table }) => table !== TRANSIT_OWN_TABLE)
        .map(({ dst, type, link = type }) => `${dst} ${link}`)
        .sort();
    expect(found()).toEqual(['10.1.0.0/16 v-a', '10.2.0.0/16 v-b', '10.8.0.0/16 blackhole', '10.9.0.0/16 v-a']);
    expect(routes(made, 'b')).toEqual(['10.1.0.0/16 peer-a', '10.8.0.0/16 tgw-core', '10.9.0.0/16 tgw-core']);
    made.transact((tx) => modifyPrefixList(tx, 'p', { add: entries('10.2.0.0/16', '10.7.0.0/16') }));
    expect(found()).toContain('10.2.0.0/16 v-a');
    // Local in b itself.
    expect(routes(made, 'b')).toContain('10.7.0.0/16 tgw-core');
    expect(routes(made, 'b').join()).not.toContain('10.2.0.0/16');
    expect(made.keptRows()).toEqual(made.freshRows());
  });
});

describe('files', () => {
  const file: Spec = {
    prefixLists: {
      p: { maxEntries: 4, entries: [{ cidr: '10.8.0.0/16', description: 'the office' }] },
      q: { maxEntries: 1 },
      r: { family: 'ipv6', maxEntries: 2, entries: [{ cidr: 'fd00::/8' }] },
    },
    vpcs: {
      a: {
        cidr: '10.1.0.0/16',
        routeTables: { main: { routes: [{ destination: { prefixList: 'p' }, target: 'blackhole' }] } },
        securityGroups: { web: { ingress: [{ from: { prefixList: 'p' } }], egress: [{ to: { prefixList: 'q' } }] } },
      },
    },
  };

  test('make the lists before what refers to them, and come back out', () => {
    const made = world((tx) => applySpec(tx, file));
    expect(exportSpec(made.reader)).toMatchObject(file);
    expect(made.transact((tx) => applySpec(tx, exportSpec(made.reader))).edits).toEqual([]);
  });

  test('one that is not listed is kept; destroy deletes those that nothing else refers to', () => {
    const made = world(
      (tx) => createPrefixList(tx, 'other', { maxEntries: 1 }),
      (tx) => applySpec(tx, file),
      (tx) => {
        createVpc(tx, { name: 'b', cidr: '10.2.0.0/16' });
        addRoute(tx, 'b', 'main', { destination: { prefixList: 'q' }, target: 'blackhole' });
      },
    );
    made.transact((tx) => destroySpec(tx, file));
    expect(made.reader.get('prefix-list/p')).toBeUndefined();
    expect(made.reader.get('prefix-list/q')).toBeDefined();
    expect(made.reader.get('prefix-list/other')).toBeDefined();
  });

  test('a file that grows a list and leaves a reference to it out is within the quota', () => {
    const made = world((tx) => applySpec(tx, file));
    made.transact((tx) => configure(tx, { quotas: { securityGroupRules: 4, routesPerRouteTable: 20 } }));
    const grown = { ...file, prefixLists: { ...file.prefixLists, p: { maxEntries: 10 } } };
    expect(refusal(() => made.transact((tx) => applySpec(tx, grown))).line).toMatch(/would have 10 rules/);
    const { securityGroups: _none, ...without } = file.vpcs.a as NonNullable<Spec['vpcs'][string]>;
    made.transact((tx) => applySpec(tx, { ...grown, vpcs: { a: without } }));
  });
});
