/** The verbs of elastic addresses. */
import { describe, expect, test } from 'vitest';
import * as elastic from '../../../src/model/elastic.js';
import { Draft } from '../../../src/model/reader.js';
import { claims, type ElasticIp, type Instance, ids, scopesOf } from '../../../src/model/resources.js';
import { addNatGateway, deleteNatGateway } from '../../../src/model/routing.js';
import { applySpec, destroySpec } from '../../../src/model/spec.js';
import { addInstance, addSubnet, configure, createVpc, deleteInstance } from '../../../src/model/verbs.js';
import type { Spec } from '../../../src/spec/types.js';
import { refusal, type World, world } from './support.js';

const { allocateElasticIp, associateElasticIp, disassociateElasticIp, holderOf, releaseElasticIp } = elastic;

const E = '198.51.100.50';

/** Elastic address `e`; instances a/x and a/y, public, b/z, private; NAT gateway a/n with elastic address `f`. */
function small(): World {
  return world(
    (tx) => {
      allocateElasticIp(tx, 'e', E);
      allocateElasticIp(tx, 'f');
      createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
      createVpc(tx, { name: 'b', cidr: '10.1.0.0/16' });
      addSubnet(tx, { vpc: 'a', name: 'p', cidr: '10.0.1.0/24', public: true });
      addSubnet(tx, { vpc: 'b', name: 's', cidr: '10.1.1.0/24' });
    },
    (tx) => {
      addInstance(tx, { vpc: 'a', subnet: 'p', name: 'x' });
      addInstance(tx, { vpc: 'a', subnet: 'p', name: 'y' });
      addInstance(tx, { vpc: 'b', subnet: 's', name: 'z' });
      addNatGateway(tx, { vpc: 'a', subnet: 'p', name: 'n', elasticIp: 'f' });
    },
  );
}

function refused(made: World, body: (tx: Draft) => unknown): string {
  const { code, line } = refusal(() => body(new Draft(made.reader)));
  return `${code}: ${line}`;
}

const unchanged = (made: World, edit: (tx: Draft) => unknown) => expect(made.transact(edit).edits).toEqual([]);
const instance = (made: World, vpc: string, name: string) => made.get<Instance>(ids.instance(vpc, name));

describe('allocated and released', () => {
  test('once, by name; that address or a free one', () => {
    const made = small();
    expect(made.get<ElasticIp>(ids.elasticIp('e')).address).toBe(E);
    unchanged(made, (tx) => allocateElasticIp(tx, 'e'));
    unchanged(made, (tx) => allocateElasticIp(tx, 'e', E));
    made.transact((tx) => expect(releaseElasticIp(tx, 'e')).toBe(true));
    made.transact((tx) => expect(releaseElasticIp(tx, 'e')).toBe(false));
  });

  test.each<[string, (tx: Draft) => unknown, string]>([
    [
      'another address',
      (tx) => allocateElasticIp(tx, 'e', '198.51.100.51'),
      `CONFLICT: elastic ip e exists with address ${E}, not 198.51.100.51; release it first, or choose another name`,
    ],
    [
      'one that has another name',
      (tx) => allocateElasticIp(tx, 'g', E),
      `CONFLICT: public address ${E} is taken by elastic ip e; choose another, or leave it out`,
    ],
    [
      'one of an instance',
      (tx) => allocateElasticIp(tx, 'g', (tx.get(ids.instance('a', 'x')) as Instance).publicIp),
      'CONFLICT: public address',
    ],
    [
      'one outside of the pool',
      (tx) => allocateElasticIp(tx, 'g', '203.0.113.1'),
      'INVALID: public address 203.0.113.1 is outside the pool 198.51.100.0/24; choose one of the pool, or leave it out',
    ],
    ['a name that is none', (tx) => allocateElasticIp(tx, 'G'), 'INVALID: '],
    [
      'released while a NAT gateway has it',
      (tx) => releaseElasticIp(tx, 'f'),
      'CONFLICT: elastic ip f is that of nat gateway a/n; disassociate it first',
    ],
    [
      'given to an instance as its own',
      (tx) => addInstance(tx, { vpc: 'a', subnet: 'p', name: 'x', publicIp: E }),
      `CONFLICT: public address ${E} is taken by elastic ip e; choose another, or leave it out`,
    ],
    [
      'the pool changed',
      (tx) => configure(tx, { publicPool: '203.0.113.0/24' }),
      'CONFLICT: the public pool 198.51.100.0/24 is in use: ',
    ],
  ])('refused: %s', (_, body, line) => {
    expect(refused(small(), body).slice(0, line.length)).toBe(line);
  });

  test('the pool stays while there is one that nobody has', () => {
    const made = world((tx) => allocateElasticIp(tx, 'e', E));
    expect(refused(made, (tx) => configure(tx, { publicPool: '203.0.113.0/24' }))).toBe(
      'CONFLICT: the public pool 198.51.100.0/24 is in use: elastic ip e is of it; release it first',
    );
  });
});

describe('associated', () => {
  test('in place of the public one, which is free then; again it is unchanged', () => {
    const made = small();
    const own = instance(made, 'a', 'x').publicIp as string;
    made.transact((tx) => associateElasticIp(tx, 'e', 'a', 'x'));
    expect(instance(made, 'a', 'x')).toMatchObject({ publicIp: E, elasticIp: 'e' });
    unchanged(made, (tx) => associateElasticIp(tx, 'e', 'a', 'x'));
    made.transact((tx) => allocateElasticIp(tx, 'g', own));
    expect(refused(made, (tx) => releaseElasticIp(tx, 'e'))).toBe(
      'CONFLICT: elastic ip e is that of instance a/x; disassociate it first',
    );
    made.transact((tx) => expect(disassociateElasticIp(tx, 'e')).toBe(true));
    made.transact((tx) => expect(disassociateElasticIp(tx, 'e')).toBe(false));
    expect(instance(made, 'a', 'x').publicIp).toBeUndefined();
  });

  test('moves between instances, and between VPCs', () => {
    const made = small();
    for (const [vpc, name] of [
      ['a', 'x'],
      ['a', 'y'],
      ['b', 'z'],
    ] as const) {
      made.transact((tx) => associateElasticIp(tx, 'e', vpc, name));
      expect(holderOf(made.reader, 'e')).toMatchObject({ vpc, name, publicIp: E });
      expect(made.reader.find('elastic:e')).toHaveLength(1);
      expect(made.keptRows()).toEqual(made.freshRows());
    }
    expect(instance(made, 'a', 'x').publicIp).toBeUndefined();
    expect(made.reader.get(ids.igw('b'))).toBeDefined();
    made.transact((tx) => disassociateElasticIp(tx, 'e'));
    expect(made.reader.get(ids.igw('b'))).toBeUndefined();
  });

  test('takes what belongs to no VPC, and claims each address once', () => {
    const made = small();
    made.transact((tx) => associateElasticIp(tx, 'e', 'b', 'z'));
    const z = instance(made, 'b', 'z');
    expect(scopesOf(z)).toEqual(['', 'b']);
    expect(claims(z)).toEqual([`ip:b/${z.ip}`, 'elastic:e']);
    expect(claims(made.get(ids.elasticIp('e')))).toEqual([`public-ip:${E}`]);
  });

  test('stays with its instance when a subnet changes its kind, and when its instance is asked for again', () => {
    const made = small();
    made.transact((tx) => associateElasticIp(tx, 'e', 'a', 'x'));
    made.transact((tx) => addSubnet(tx, { vpc: 'a', name: 'p', cidr: '10.0.1.0/24', public: false }));
    expect(instance(made, 'a', 'x').elasticIp).toBe('e');
    expect(instance(made, 'a', 'y').publicIp).toBeUndefined();
    unchanged(made, (tx) => addInstance(tx, { vpc: 'a', subnet: 'p', name: 'x' }));
    made.transact((tx) => addInstance(tx, { vpc: 'a', subnet: 'p', name: 'x', elasticIp: null }));
    expect(instance(made, 'a', 'x')).not.toHaveProperty('elasticIp');
    expect(instance(made, 'a', 'x')).not.toHaveProperty('publicIp');
  });

  test('stays when what has it goes', () => {
    const made = small();
    made.transact((tx) => associateElasticIp(tx, 'e', 'a', 'x'));
    made.transact((tx) => {
      deleteInstance(tx, 'a', 'x');
      deleteNatGateway(tx, 'a', 'n');
    });
    for (const name of ['e', 'f']) {
      expect(holderOf(made.reader, name)).toBeUndefined();
      expect(made.reader.get(ids.elasticIp(name))).toBeDefined();
    }
  });

  test.each<[string, (tx: Draft) => unknown, string]>([
    [
      'one that a NAT gateway has',
      (tx) => associateElasticIp(tx, 'f', 'a', 'x'),
      'CONFLICT: elastic ip f is that of nat gateway a/n, which keeps it for life; delete the NAT gateway first',
    ],
    [
      'taken from a NAT gateway',
      (tx) => disassociateElasticIp(tx, 'f'),
      'CONFLICT: elastic ip f is that of nat gateway a/n, which keeps it for life; delete the NAT gateway first',
    ],
    [
      'to a second NAT gateway',
      (tx) => addNatGateway(tx, { vpc: 'a', subnet: 'p', name: 'm', elasticIp: 'f' }),
      'CONFLICT: elastic ip f (198.51.100.',
    ],
    [
      'one that is not there',
      (tx) => associateElasticIp(tx, 'g', 'a', 'x'),
      'NOT_FOUND: elastic ip g does not exist; there are: e, f',
    ],
    ['disassociated, and not there', (tx) => disassociateElasticIp(tx, 'g'), 'NOT_FOUND: elastic ip g does not exist'],
    [
      'to an instance that is not there',
      (tx) => associateElasticIp(tx, 'e', 'a', 'q'),
      'NOT_FOUND: instance q of vpc a does not exist; there are: x, y',
    ],
    [
      'besides a public one',
      (tx) => addInstance(tx, { vpc: 'a', subnet: 'p', name: 'q', publicIp: true, elasticIp: 'e' }),
      'INVALID: instance a/q is given a public address and an elastic one; leave one out',
    ],
  ])('refused: %s', (_, body, line) => {
    expect(refused(small(), body).slice(0, line.length)).toBe(line);
  });
});

describe('in a file', () => {
  const instances = (of: Record<string, string | undefined>) =>
    Object.fromEntries(
      Object.entries(of).map(([name, elasticIp]) => [name, { subnet: 's', ...(elasticIp && { elasticIp }) }]),
    );
  const vpc = (cidr: string, of: Record<string, string | undefined>, natGateways = {}) => ({
    cidr,
    subnets: { s: { cidr: cidr.replace('/16', '/24'), public: true } },
    instances: instances(of),
    natGateways,
  });
  const spec = (
    a: Record<string, string | undefined>,
    b: Record<string, string | undefined>,
    nat: Record<string, { subnet: string; elasticIp?: string }> = {},
  ): Spec => ({
    elasticIps: { e: { address: E }, f: {} },
    vpcs: { a: vpc('10.0.0.0/16', a), b: vpc('10.1.0.0/16', b, nat) },
  });
  const apply = (what: Spec) => (tx: Draft) => applySpec(tx, what);
  const holders = (made: World) =>
    ['e', 'f'].map((name) => {
      const holder = holderOf(made.reader, name);
      return holder && `${holder.vpc}/${holder.name}`;
    });

  test.each<[string, Spec, Spec, (string | undefined)[]]>([
    [
      'to one that comes before',
      spec({ x: undefined }, { y: 'e' }),
      spec({ x: 'e' }, { y: undefined }),
      ['a/x', undefined],
    ],
    [
      'to one that comes after',
      spec({ x: 'e' }, { y: undefined }),
      spec({ x: undefined }, { y: 'e' }),
      ['b/y', undefined],
    ],
    ['between two', spec({ x: 'e', y: 'f' }, {}), spec({ x: 'f', y: 'e' }, {}), ['a/y', 'a/x']],
    ['from one that goes', spec({ x: undefined }, { y: 'e' }), spec({ x: 'e' }, {}), ['a/x', undefined]],
    [
      'from a NAT gateway that goes',
      spec({ x: undefined }, {}, { n: { subnet: 's', elasticIp: 'e' } }),
      spec({ x: 'e' }, {}),
      ['a/x', undefined],
    ],
  ])('one moves %s', (_, before, after, expected) => {
    const made = world(apply(before));
    made.transact(apply(after));
    expect(holders(made)).toEqual(expected);
    expect(made.transact(apply(after)).edits).toEqual([]);
    expect(made.keptRows()).toEqual(made.freshRows());
  });

  test('an instance that the file gives none any more has its subnet’s kind again', () => {
    const made = world(apply(spec({ x: 'e' }, {})));
    made.transact(apply(spec({ x: undefined }, {})));
    const { publicIp, elasticIp } = instance(made, 'a', 'x');
    expect(elasticIp).toBeUndefined();
    expect(publicIp).toMatch(/^198\.51\.100\./);
    expect(publicIp).not.toBe(E);
  });

  test('a NAT gateway that is to have another address is refused, not left as it was', () => {
    const made = world(apply(spec({}, {}, { n: { subnet: 's', elasticIp: 'e' } })));
    const { code } = refusal(() => made.transact(apply(spec({}, {}, { n: { subnet: 's' } }))));
    expect(code).toBe('CONFLICT');
  });

  test('destroyed, it releases those that it lists, but for one that something else has', () => {
    const made = world(apply(spec({ x: 'e' }, {})), (tx) => {
      createVpc(tx, { name: 'c', cidr: '10.3.0.0/16' });
      addSubnet(tx, { vpc: 'c', name: 's', cidr: '10.3.0.0/24' });
      addInstance(tx, { vpc: 'c', subnet: 's', name: 'z', elasticIp: 'f' });
      allocateElasticIp(tx, 'other');
    });
    made.transact((tx) => destroySpec(tx, spec({}, {})));
    expect(made.all().flatMap((one) => (one.kind === 'elastic-ip' ? [one.name] : []))).toEqual(['f', 'other']);
  });
});
