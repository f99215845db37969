/** Transit gateways in the model: verbs, refusals, what they lower to, files. */
import { describe, expect, test } from 'vitest';
import { TRANSIT_OWN_TABLE } from '../../../src/lower/names.js';
import type { Draft } from '../../../src/model/reader.js';
import { addRoute } from '../../../src/model/routing.js';
import { applySpec, exportSpec } from '../../../src/model/spec.js';
import {
  addTransitGateway,
  addTransitRoute,
  addTransitTable,
  attachVpc,
  deleteTransitGateway,
  deleteTransitRoute,
  deleteTransitTable,
  detachVpc,
  setTransitRoutes,
} from '../../../src/model/transit.js';
import { addSubnet, addVpcBlock, createVpc, deleteVpc } from '../../../src/model/verbs.js';
import type { Cidr } from '../../../src/net/cidr.js';
import type { KernelObject } from '../../../src/objects/kernel-object.js';
import { refusal, type World, world } from './support.js';

const CORE = 'vpc-tgw.core';

/** Three VPCs; a and b are attached, a by a table of its own. */
function hub(...more: ((draft: Draft) => unknown)[]): World {
  return world(
    (tx) => {
      for (const [name, cidr] of [
        ['a', '10.1.0.0/16'],
        ['b', '10.2.0.0/16'],
        ['c', '10.3.0.0/16'],
      ] as const) {
        createVpc(tx, { name, cidr });
        addSubnet(tx, { vpc: name, name: 's', cidr: cidr.replace('0.0/16', '1.0/24') });
      }
      addTransitGateway(tx, 'core');
      addTransitTable(tx, 'core', 'spokes');
      attachVpc(tx, { transitGateway: 'core', vpc: 'a', routeTable: 'spokes' });
      attachVpc(tx, { transitGateway: 'core', vpc: 'b', propagateTo: ['spokes', 'default', 'spokes'] });
    },
    ...more,
  );
}

/** The routes of a gateway's or a VPC's tables, of which the number is left out; or those by which a gateway finds whom it tells of an error. */
function routes(made: World, ns: string, which: 'own' | 'tables' = 'tables'): string[] {
  return [...made.rows.values()]
    .flat()
    .filter((row): row is Extract<KernelObject, { kind: 'route' }> => row.kind === 'route' && row.ns === ns)
    .filter(({ metric, table }) => metric === undefined && table !== 254)
    .filter(({ table }) => (table === TRANSIT_OWN_TABLE) === (which === 'own'))
    .map(({ dst, type, link = type }) => `${dst} ${link}`)
    .sort();
}

function unchanged(made: World, edit: (draft: Draft) => unknown): void {
  expect(made.transact(edit).edits).toEqual([]);
}

describe('verbs', () => {
  test('done again change nothing', () => {
    const made = hub();
    unchanged(made, (tx) => addTransitGateway(tx, 'core'));
    unchanged(made, (tx) => addTransitTable(tx, 'core', 'spokes'));
    unchanged(made, (tx) => attachVpc(tx, { transitGateway: 'core', vpc: 'a' }));
    unchanged(made, (tx) => attachVpc(tx, { transitGateway: 'core', vpc: 'b', propagateTo: ['default', 'spokes'] }));
    const route = { destination: '10.9.0.0/16', target: 'blackhole' } as const;
    made.transact((tx) => addTransitRoute(tx, 'core', 'spokes', route));
    unchanged(made, (tx) => addTransitRoute(tx, 'core', 'spokes', route));
    unchanged(made, (tx) => setTransitRoutes(tx, 'core', 'spokes', [route]));
    made.transact((tx) => expect(deleteTransitRoute(tx, 'core', 'spokes', '10.9.0.0/16')).toBe(true));
    unchanged(made, (tx) => expect(deleteTransitRoute(tx, 'core', 'spokes', '10.9.0.0/16')).toBe(false));
    unchanged(made, (tx) => expect(detachVpc(tx, 'core', 'c')).toBe(false));
    unchanged(made, (tx) => expect(deleteTransitGateway(tx, 'none')).toBe(false));
    unchanged(made, (tx) => expect(deleteTransitTable(tx, 'core', 'none')).toBe(false));
  });

  test.each<[string, (draft: Draft) => unknown, string]>([
    [
      'a gateway',
      (tx) => attachVpc(tx, { transitGateway: 'x', vpc: 'a' }),
      'transit gateway x does not exist; there are: core',
    ],
    ['a VPC', (tx) => attachVpc(tx, { transitGateway: 'core', vpc: 'x' }), 'vpc x does not exist; there are: a, b, c'],
    [
      'a table to follow',
      (tx) => attachVpc(tx, { transitGateway: 'core', vpc: 'c', routeTable: 'x' }),
      'route table x of transit gateway core does not exist; there are: default, spokes',
    ],
    [
      'a table to propagate to',
      (tx) => attachVpc(tx, { transitGateway: 'core', vpc: 'c', propagateTo: ['x'] }),
      'route table x of transit gateway core does not exist; there are: default, spokes',
    ],
    [
      'an attachment to lead to',
      (tx) => addTransitRoute(tx, 'core', 'default', { destination: '10.3.0.0/16', target: { vpc: 'c' } }),
      'an attachment of vpc c to transit gateway core does not exist; there are: a, b',
    ],
    [
      'an attachment of the VPC that leads there',
      (tx) => addRoute(tx, 'c', 'main', { destination: '10.1.0.0/16', target: { transitGateway: 'core' } }),
      'an attachment of vpc c to transit gateway core does not exist; there are none yet',
    ],
  ])('need %s', (_what, edit, line) => {
    expect(refusal(() => hub(edit))).toEqual({ code: 'NOT_FOUND', line });
  });

  test.each<[string, (draft: Draft) => unknown, string]>([
    [
      'a gateway that VPCs are attached to',
      (tx) => deleteTransitGateway(tx, 'core'),
      'transit gateway core is attached to vpc a, b; detach-vpc first, or use --force',
    ],
    [
      'the table that is always there',
      (tx) => deleteTransitTable(tx, 'core', 'default'),
      'route table default of transit gateway core cannot be deleted; it goes with its gateway',
    ],
    [
      'a table in use',
      (tx) => deleteTransitTable(tx, 'core', 'spokes'),
      'route table spokes of transit gateway core is used by the attachment of vpc a to transit gateway core; change that first',
    ],
    [
      'a VPC that is attached',
      (tx) => deleteVpc(tx, 'a'),
      'there is the attachment of vpc a to transit gateway core; detach-vpc first, or use --force',
    ],
  ])('do not delete %s', (_what, edit, line) => {
    expect(refusal(() => hub(edit))).toEqual({ code: 'CONFLICT', line });
  });

  test('refuse routes that no packet follows, and two to one block', () => {
    const line = (destinations: string[]): string =>
      refusal(() =>
        hub((tx) =>
          setTransitRoutes(
            tx,
            'core',
            'default',
            destinations.map((destination) => ({ destination, target: 'blackhole' })),
          ),
        ),
      ).line;
    expect(line(['169.254.0.0/20'])).toContain('no route can lead to 169.254.0.0/20');
    expect(line(['10.9.0.0/16', '10.9.0.0/16'])).toBe('two routes lead to 10.9.0.0/16; leave one out');
  });

  test('--force takes along what hangs on it', () => {
    const made = hub((tx) => deleteTransitGateway(tx, 'core', true));
    expect(made.all().filter(({ kind }) => kind.startsWith('transit'))).toEqual([]);
    const other = hub((tx) => deleteVpc(tx, 'a', true));
    expect(other.all().flatMap((one) => (one.kind === 'transit-attachment' ? [one.vpc] : []))).toEqual(['b']);
  });
});

describe('routes', () => {
  test('are propagated where the attachment says so', () => {
    expect(routes(hub(), CORE)).toEqual(['10.1.0.0/16 v-a', '10.2.0.0/16 v-b', '10.2.0.0/16 v-b']);
  });

  test('static ones go before propagated ones to the same block; of two VPCs with one block, the first has it', () => {
    const made = hub(
      (tx) => addTransitRoute(tx, 'core', 'spokes', { destination: '10.2.0.0/16', target: 'blackhole' }),
      (tx) => createVpc(tx, { name: 'twin', cidr: '10.1.0.0/16' }),
      (tx) => attachVpc(tx, { transitGateway: 'core', vpc: 'twin' }),
    );
    expect(routes(made, CORE)).toEqual(['10.1.0.0/16 v-a', '10.2.0.0/16 blackhole', '10.2.0.0/16 v-b']);
    made.transact((tx) => detachVpc(tx, 'core', 'a'));
    expect(routes(made, CORE)).toContain('10.1.0.0/16 v-twin');
    expect(made.keptRows()).toEqual(made.freshRows());
  });

  test('become black holes with the attachment, on both sides, and come back with it', () => {
    const made = hub(
      (tx) => addRoute(tx, 'a', 'main', { destination: '10.0.0.0/8', target: { transitGateway: 'core' } }),
      (tx) => addTransitRoute(tx, 'core', 'default', { destination: '10.7.0.0/16', target: { vpc: 'a' } }),
    );
    const there = [routes(made, 'vpc.a'), routes(made, CORE)];
    expect(there[0]).toEqual(['10.0.0.0/8 tgw-core']);
    expect(there[1]).toContain('10.7.0.0/16 v-a');
    made.transact((tx) => detachVpc(tx, 'core', 'a'));
    expect(routes(made, 'vpc.a')).toEqual(['10.0.0.0/8 blackhole']);
    expect(routes(made, CORE)).toContain('10.7.0.0/16 blackhole');
    expect(made.keptRows()).toEqual(made.freshRows());
    made.transact((tx) => attachVpc(tx, { transitGateway: 'core', vpc: 'a', routeTable: 'spokes' }));
    expect([routes(made, 'vpc.a'), routes(made, CORE)]).toEqual(there);
    expect(made.keptRows()).toEqual(made.freshRows());
  });

  test('to whom an error is for: to each block of what is attached, whatever the tables, and of IPv6 where there is that', () => {
    const made = hub(
      (tx) => createVpc(tx, { name: 'twin', cidr: '10.1.0.0/16', ipv6Cidr: 'fd76:7063:6301::/56' }),
      (tx) => attachVpc(tx, { transitGateway: 'core', vpc: 'twin', propagateTo: [] }),
    );
    const all = ['10.1.0.0/16 v-a', '10.2.0.0/16 v-b', 'fd76:7063:6301::/56 v-twin'];
    expect(routes(made, CORE, 'own')).toEqual(all);
    made.transact((tx) => detachVpc(tx, 'core', 'a'));
    expect(routes(made, CORE, 'own')).toEqual(['10.1.0.0/16 v-twin', ...all.slice(1)]);
    expect(made.keptRows()).toEqual(made.freshRows());
  });

  test('follow a block that the VPC gets later', () => {
    const made = hub((tx) => addVpcBlock(tx, 'b', '10.22.0.0/16' as Cidr));
    expect(routes(made, CORE, 'own')).toContain('10.22.0.0/16 v-b');
    expect(routes(made, CORE).filter((route) => route === '10.22.0.0/16 v-b')).toHaveLength(2);
    expect(made.keptRows()).toEqual(made.freshRows());
  });
});

describe('files', () => {
  const made = (): World =>
    hub(
      (tx) => addRoute(tx, 'a', 'main', { destination: '10.0.0.0/8', target: { transitGateway: 'core' } }),
      (tx) => addTransitRoute(tx, 'core', 'spokes', { destination: '10.9.0.0/16', target: 'blackhole' }),
      (tx) => addTransitRoute(tx, 'core', 'spokes', { destination: '10.8.0.0/16', target: { vpc: 'b' } }),
    );

  test('say the same again', () => {
    const one = made();
    const spec = exportSpec(one.reader);
    unchanged(one, (tx) => applySpec(tx, spec));
    const other = world((tx) => applySpec(tx, spec));
    expect(other.freshRows()).toEqual(one.freshRows());
  });

  test('what is not listed goes: attachments of its VPCs, tables, routes; a gateway that then has none', () => {
    const one = made();
    const { transitGateways: _all, ...rest } = exportSpec(one.reader);
    const main = { main: { routes: [] } };
    const vpcs = { ...rest.vpcs, a: { ...(rest.vpcs.a ?? { cidr: '' }), routeTables: main } };
    one.transact((tx) => applySpec(tx, { ...rest, vpcs, transitGateways: { core: { attachments: { b: {} } } } }));
    expect(exportSpec(one.reader).transitGateways).toEqual({ core: { attachments: { b: {} } } });
    one.transact((tx) => applySpec(tx, { ...rest, vpcs }));
    expect(exportSpec(one.reader).transitGateways).toBeUndefined();
    expect(one.keptRows()).toEqual(one.freshRows());
  });

  test('that speak of other VPCs leave it alone', () => {
    const one = made();
    unchanged(one, (tx) =>
      applySpec(tx, { vpcs: { c: { cidr: '10.3.0.0/16', subnets: { s: { cidr: '10.3.1.0/24' } } } } }),
    );
  });
});
