/** Specs: applied, exported, applied again. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { VpcctlError } from '../../../src/errors.js';
import * as lookup from '../../../src/model/lookup.js';
import { Draft, findKind } from '../../../src/model/reader.js';
import type { Instance, Resource, Subnet, Vpc } from '../../../src/model/resources.js';
import { addNatGateway } from '../../../src/model/routing.js';
import type { HostFacts } from '../../../src/model/settle.js';
import { applySpec, destroySpec, exportSpec } from '../../../src/model/spec.js';
import * as verbs from '../../../src/model/verbs.js';
import { overlaps } from '../../../src/net/cidr.js';
import { formatSpec, parseSpec } from '../../../src/spec/parse.js';
import type { Spec } from '../../../src/spec/types.js';
import { assertProperty } from '../net/property.js';
import { attempt, bury, essence, HOST, transactions, World, world } from './support.js';

/** The settings of a world, said or not, as they are; everything else as it is. */
function essences(made: World): string[] {
  const settings = lookup.installationOf(made.reader);
  return [settings, ...made.all().filter(({ kind }) => kind !== 'installation')].map(essence);
}

/** What a VPC or the edge has for an MTU is the uplink's when it was made. */
const ONE_MTU: HostFacts = { ...HOST, linkMtu: new Map([...HOST.linkMtu.keys()].map((link) => [link, 1500])) };

/** Which of two equal public blocks has the route depends on who came first. */
function hasRivals(resources: readonly Resource[]): boolean {
  const blocks = resources.filter((one): one is Subnet => one.kind === 'subnet' && one.public);
  return blocks.some((one) => blocks.some((other) => one !== other && overlaps(one.cidr, other.cidr)));
}

function error(made: World, spec: Spec): VpcctlError {
  try {
    made.transact((tx) => applySpec(tx, spec));
  } catch (refused) {
    expect(refused).toBeInstanceOf(VpcctlError);
    return refused as VpcctlError;
  }
  throw new Error('was not refused');
}

const apply = (spec: Spec) => (tx: Draft) => applySpec(tx, spec);

const RICH: Spec = {
  name: 'shop',
  settings: { uplink: 'eth1' },
  vpcs: {
    a: {
      cidr: '10.0.0.0/16',
      secondaryCidrs: ['10.7.0.0/24'],
      subnets: {
        web: { cidr: '10.0.1.0/24', public: true },
        db: { cidr: '10.7.0.0/25', policy: { ingress: [{ action: 'allow', source: '10.0.1.0/24' }] } },
      },
      securityGroups: {
        front: { ingress: [{ protocol: 'tcp', port: 80 }] },
        back: { ingress: [{ from: { group: 'front' } }] },
      },
      instances: {
        'web-1': { subnet: 'web', securityGroups: ['front'] },
        'web-2': { subnet: 'web', securityGroups: ['front'], publicIp: false },
        'db-1': { subnet: 'db', ip: '10.7.0.9', securityGroups: ['back'] },
      },
    },
    b: { cidr: '10.1.0.0/16' },
  },
  peerings: [{ vpcs: ['b', 'a'], allowCidrs: ['10.0.1.0/24', '10.1.0.0/16'] }],
};

describe('a model exported and applied to nothing', () => {
  test('is the model again, and lowers to the same rows', () => {
    assertProperty(
      fc.property(transactions, (list) => {
        const made = new World();
        for (const steps of list) attempt(made, steps, ONE_MTU);
        made.transact(bury);
        const copy = new World();
        copy.transact(apply(exportSpec(made.reader)), ONE_MTU);
        if (hasRivals(made.all())) return;
        expect(essences(copy)).toEqual(essences(made));
        expect(copy.keptRows()).toEqual(made.freshRows());
      }),
      { numRuns: 60 },
    );
  }, 60_000);

  test('reads the same as a file', async () => {
    const spec = exportSpec(world(apply(RICH)).reader);
    for (const format of ['yaml', 'json'] as const) {
      const text = await formatSpec(spec, format);
      expect((await parseSpec(text, { file: `spec.${format}` })).spec).toEqual(spec);
    }
  });

  test('keeps what a default group was given: rules or a description', () => {
    for (const spec of [{ description: 'ours' }, { ingress: [], egress: [] }]) {
      const made = world((tx) => {
        verbs.createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
        const group = verbs.requireGroup(tx, 'a', 'default');
        if ('description' in spec) tx.put({ ...group, ...spec });
        else verbs.putGroup(tx, 'a', 'default', spec);
      });
      expect(essences(world(apply(exportSpec(made.reader))))).toEqual(essences(made));
    }
  });
});

describe('a spec applied twice', () => {
  test('changes nothing the second time', () => {
    const made = world(apply(RICH));
    expect(made.transact(apply(RICH)).edits).toEqual([]);
  });

  test('nor does any that a model exports', () => {
    assertProperty(
      fc.property(transactions, (list) => {
        const made = new World();
        for (const steps of list) attempt(made, steps);
        made.transact(bury);
        const spec = exportSpec(made.reader);
        expect(made.transact(apply(spec)).edits).toEqual([]);
        const copy = world(apply(spec));
        expect(copy.transact(apply(spec)).edits).toEqual([]);
      }),
      { numRuns: 40 },
    );
  }, 60_000);
});

describe('a VPC of a spec becomes what it says', () => {
  const without = (change: (spec: NonNullable<Spec['vpcs'][string]>) => Spec['vpcs'][string]): World => {
    const made = world(apply(RICH));
    made.transact(apply({ ...RICH, vpcs: { ...RICH.vpcs, a: change(RICH.vpcs.a as Spec['vpcs'][string]) } }));
    return made;
  };

  test('instances, subnets and blocks that are not listed go', () => {
    const made = without(({ secondaryCidrs: _blocks, ...rest }) => ({
      ...rest,
      subnets: { web: { cidr: '10.0.1.0/24', public: true } },
      instances: { 'web-1': { subnet: 'web', securityGroups: ['front'] } },
    }));
    expect(made.get<Vpc>('vpc/a').cidrs).toEqual(['10.0.0.0/16']);
    expect(findKind(made.reader, 'instance', 'instances:a').map(({ name }) => name)).toEqual(['web-1']);
    expect(lookup.subnetsOf(made.reader, 'a').map(({ name }) => name)).toEqual(['web']);
  });

  test('groups that name each other go together, and the default group is AWS’s again', () => {
    const circle: Spec = {
      vpcs: {
        a: {
          cidr: '10.0.0.0/16',
          securityGroups: {
            default: {},
            x: { ingress: [{ from: { group: 'y' } }] },
            y: { ingress: [{ from: { group: 'x' } }] },
          },
        },
      },
    };
    const made = world(apply(circle));
    made.transact(apply({ vpcs: { a: { cidr: '10.0.0.0/16' } } }));
    expect(made.all().filter(({ kind }) => kind === 'group')).toMatchObject([
      { name: 'default', ingress: { length: 3 } },
    ]);
  });

  test('a group that is gone cannot be named by one that stays', () => {
    const refused = error(world(apply(RICH)), {
      vpcs: {
        ...RICH.vpcs,
        a: { cidr: '10.0.0.0/16', securityGroups: { back: { ingress: [{ from: { group: 'front' } }] } } },
      },
      peerings: [],
    });
    expect(refused).toMatchObject({ code: 'CONFLICT', message: 'a rule of security group a/back names front' });
  });

  test('what it leaves out is the default, not what was before', () => {
    const made = without((spec) => ({
      ...spec,
      subnets: { web: { cidr: '10.0.1.0/24' }, db: { cidr: '10.7.0.0/25' } },
      instances: { 'web-1': { subnet: 'web' }, 'db-1': { subnet: 'db' } },
      securityGroups: {},
    }));
    expect(made.get<Subnet>('subnet/a/web').public).toBe(false);
    expect(made.get<Subnet>('subnet/a/db').policy).toBeUndefined();
    expect(made.get<Instance>('instance/a/web-1')).toMatchObject({ groups: ['default'] });
    expect(made.get<Instance>('instance/a/web-1').publicIp).toBeUndefined();
    expect(made.get<Instance>('instance/a/db-1').ip).toBe('10.7.0.9');
  });

  test('peerings between its VPCs that are not listed go, others stay', () => {
    const made = world(apply(RICH), (tx) => {
      verbs.createVpc(tx, { name: 'other', cidr: '10.3.0.0/16' });
      verbs.peer(tx, 'a', 'other');
    });
    const { peerings: _none, ...rest } = RICH;
    made.transact(apply(rest));
    expect(made.reader.get('peering/a/b')).toBeUndefined();
    expect(made.reader.get('peering/a/other')).toBeDefined();
  });
});

describe('a name', () => {
  test('removes the VPCs that an earlier spec of that name listed, and no others', () => {
    const made = world(apply(RICH), apply({ vpcs: { loose: { cidr: '10.5.0.0/16' } } }));
    made.transact(apply({ name: 'other', vpcs: { mine: { cidr: '10.6.0.0/16' } } }));
    made.transact(apply({ name: 'shop', vpcs: { b: { cidr: '10.1.0.0/16' } } }));
    expect(findKind(made.reader, 'vpc', 'kind:vpc').map(({ name }) => name)).toEqual(['b', 'loose', 'mine']);
  });

  test('without one nothing is removed', () => {
    const made = world(apply(RICH), apply({ vpcs: {} }));
    expect(findKind(made.reader, 'vpc', 'kind:vpc')).toHaveLength(2);
  });

  test('destroy removes what the spec lists, peered or not', () => {
    const made = world(apply(RICH));
    made.transact((tx) => destroySpec(tx, { vpcs: { a: { cidr: '10.0.0.0/16' }, nowhere: { cidr: '10.0.0.0/16' } } }));
    expect(made.all().map(({ kind }) => kind)).toEqual(['group', 'installation', 'route-table', 'vpc']);
  });
});

describe('routes in a file', () => {
  const vpc = (more: Partial<Spec['vpcs'][string]> = {}): Spec => ({
    vpcs: { a: { cidr: '10.0.0.0/16', subnets: { p: { cidr: '10.0.1.0/24', public: true } }, ...more } },
  });
  const tables = (made: World) =>
    lookup.routeTablesOf(made.reader, 'a').map(({ name, routes, implied }) => [name, routes.length, implied === true]);

  test('tables that are not listed go, main loses its routes, public is again as it comes', () => {
    const hole = { destination: '10.9.0.0/16', target: 'blackhole' as const };
    const made = world(
      apply(vpc({ routeTables: { main: { routes: [hole] }, public: { routes: [hole] }, own: { routes: [hole] } } })),
    );
    expect(tables(made)).toEqual([
      ['main', 1, false],
      ['own', 1, false],
      ['public', 1, false],
    ]);
    made.transact(apply(vpc()));
    expect(tables(made)).toEqual([
      ['main', 0, false],
      ['public', 1, true],
    ]);
    expect(made.keptRows()).toEqual(made.freshRows());
  });

  test('a block takes the place of a route to it; listed both, the route is refused', () => {
    const routeTables = { main: { routes: [{ destination: '10.9.1.0/24', target: 'blackhole' as const }] } };
    const made = world(apply(vpc({ routeTables })));
    expect(error(made, vpc({ routeTables, secondaryCidrs: ['10.9.0.0/16'] })).facts.path).toBe(
      'vpcs.a.routeTables.main',
    );
    made.transact(apply(vpc({ secondaryCidrs: ['10.9.0.0/16'] })));
    expect(tables(made)[0]).toEqual(['main', 0, false]);
  });

  test('a NAT gateway’s public address is written out: nobody else gets it on the way back', () => {
    const made = world(
      (tx) => {
        applySpec(tx, vpc());
        verbs.createVpc(tx, { name: 'b', cidr: '10.1.0.0/16' });
        verbs.addSubnet(tx, { vpc: 'b', name: 's', cidr: '10.1.1.0/24', public: true });
      },
      // Whoever has the address that the gateway would get else, when it comes.
      (tx) => {
        const { publicIp } = addNatGateway(new Draft(tx.base), { vpc: 'a', subnet: 'p', name: 'n' });
        verbs.addInstance(tx, { vpc: 'b', subnet: 's', name: 'x', publicIp: publicIp as string });
      },
      (tx) => addNatGateway(tx, { vpc: 'a', subnet: 'p', name: 'n' }),
    );
    const copy = world(apply(exportSpec(made.reader)));
    expect(essences(copy)).toEqual(essences(made));
  });
});

describe('a refusal names the place in the document', () => {
  const vpcs = (a: Partial<Spec['vpcs'][string]>): Spec => ({ vpcs: { a: { cidr: '10.0.0.0/16', ...a } } });
  const subnets = { s: { cidr: '10.0.1.0/24' } };

  test.each<[Spec, string]>([
    [vpcs({ cidr: '10.0.0.0/8' }), 'vpcs.a.cidr'],
    [vpcs({ secondaryCidrs: ['10.0.4.0/24'] }), 'vpcs.a.secondaryCidrs'],
    [vpcs({ subnets: { s: { cidr: '10.9.0.0/24' } } }), 'vpcs.a.subnets.s'],
    [vpcs({ subnets, instances: { x: { subnet: 't' } } }), 'vpcs.a.instances.x'],
    [vpcs({ securityGroups: { g: { ingress: [{ from: 'nobody' }] } } }), 'vpcs.a.securityGroups.g'],
    [vpcs({ securityGroups: { g: { ingress: [{ from: { group: 'h' } }] } } }), 'vpcs.a.securityGroups'],
    [{ settings: { uplink: 'a/b' }, vpcs: {} }, 'settings'],
    [{ vpcs: {}, peerings: [{ vpcs: ['a', 'b'] }] }, 'peerings.0'],
  ])('%#: %j', (spec, path) => {
    expect(error(world(), spec).facts.path).toBe(path);
  });

  test('a draft that was refused half way is thrown away whole', () => {
    const made = world(apply(RICH));
    const before = made.all();
    error(made, { ...RICH, peerings: [{ vpcs: ['a', 'nowhere'] }] });
    expect(made.all()).toEqual(before);
  });
});
