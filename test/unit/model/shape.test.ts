/** Bandwidth, delay, jitter and loss of instances: what is taken, kept and refused, and what it lowers to. */
import { expect, test } from 'vitest';
import { applySpec, exportSpec } from '../../../src/model/spec.js';
import { addInstance, type ModifyInstance, modifyInstance } from '../../../src/model/verbs.js';
import type { KernelObject } from '../../../src/objects/kernel-object.js';
import type { ShapingSpec } from '../../../src/spec/types.js';
import { World } from './support.js';

const WEB = { vpc: 'a', subnet: 's', name: 'web' };

function world(asked: ShapingSpec = {}): World {
  const made = new World();
  made.transact((draft) => applySpec(draft, spec(asked)));
  return made;
}

function spec(asked: ShapingSpec) {
  return {
    vpcs: {
      a: {
        cidr: '10.1.0.0/16',
        subnets: { s: { cidr: '10.1.1.0/24' } },
        instances: { web: { subnet: 's', ip: '10.1.1.10', ...asked } },
      },
    },
  };
}

const modify = (made: World, args: ModifyInstance) => made.transact((draft) => modifyInstance(draft, args));

const rowsOf = (made: World): readonly KernelObject[] => made.rows.get('instance/a/web') ?? [];
const shaped = (made: World) =>
  rowsOf(made).filter((row) => row.kind === 'qdisc' || (row.kind === 'link' && row.type === 'ifb'));
const exported = (made: World) => exportSpec(made.reader).vpcs.a?.instances?.web;

const PLACE = { kind: 'qdisc', ns: 'vpc.a' };
const PORT = 'eni0a01010a';
const IFB = 'ifb0a01010a';

test('without any, there is nothing of it', () => {
  expect(shaped(world())).toEqual([]);
  expect(world().rows.get('instance/a/web')).toEqual(world({}).rows.get('instance/a/web'));
});

test('a bandwidth is a queue at the port, and one of a link that all it sends is led through', () => {
  expect(shaped(world({ bandwidth: { in: '100mbit', out: '50mbit' } }))).toEqual([
    { ...PLACE, link: PORT, hook: 'root', type: 'tbf', rate: 12_500_000, burst: 25_600, limit: 650_600 },
    {
      kind: 'link',
      ns: 'vpc.a',
      name: IFB,
      type: 'ifb',
      mac: '06:76:70:63:00:01',
      mtu: 1500,
      alias: 'vpcctl:instance/a/web',
    },
    { ...PLACE, link: IFB, hook: 'root', type: 'tbf', rate: 6_250_000, burst: 16_384, limit: 328_884 },
    { ...PLACE, link: PORT, hook: 'ingress', type: 'redirect', to: IFB },
  ]);
});

test('of one direction, the other is untouched', () => {
  expect(shaped(world({ bandwidth: { in: '100mbit' } })).map(({ kind }) => kind)).toEqual(['qdisc']);
  expect(shaped(world({ bandwidth: { out: '100mbit' } })).map(({ kind }) => kind)).toEqual(['link', 'qdisc', 'qdisc']);
});

test('a burst is as it was said, and never less than a packet', () => {
  const bursts = (made: World) =>
    shaped(made).flatMap((row) => (row.kind === 'qdisc' && row.type === 'tbf' ? [row.burst] : []));
  expect(bursts(world({ bandwidth: { in: '1gbit', out: '64kbit', burst: '64kib' } }))).toEqual([65_536, 65_536]);
  const jumbo = world();
  jumbo.transact((draft) => {
    const vpc = draft.get('vpc/a');
    if (vpc?.kind === 'vpc') draft.put({ ...vpc, mtu: 65_000 });
  });
  jumbo.transact((draft) => applySpec(draft, spec({ bandwidth: '1mbit' })));
  expect(bursts(jumbo)).toEqual([65_536, 65_536]);
});

test('with a delay or loss, netem does it all', () => {
  expect(
    shaped(world({ bandwidth: { in: '8mbit' }, delay: '20ms', jitter: { in: '5ms' }, loss: { out: '1%' } })),
  ).toEqual([
    {
      ...PLACE,
      link: PORT,
      hook: 'root',
      type: 'netem',
      delay: 20_000,
      jitter: 5_000,
      loss: 0,
      rate: 1_000_000,
      limit: 4096,
    },
    expect.objectContaining({ name: IFB }),
    { ...PLACE, link: IFB, hook: 'root', type: 'netem', delay: 20_000, jitter: 0, loss: 42_949_673, limit: 4096 },
    { ...PLACE, link: PORT, hook: 'ingress', type: 'redirect', to: IFB },
  ]);
});

test.each<[ShapingSpec, ShapingSpec]>([
  [{ bandwidth: '100mbit' }, { bandwidth: '100mbit' }],
  [{ bandwidth: { in: '100mbit', out: '100mbit' } }, { bandwidth: '100mbit' }],
  [{ bandwidth: { in: '100mbit', burst: '1mib' } }, { bandwidth: { in: '100mbit', burst: '1mib' } }],
  [
    { bandwidth: { in: '1000kbit', out: '1mbit', burst: '64kib' } },
    { bandwidth: { in: '1mbit', out: '1mbit', burst: '64kib' } },
  ],
  [
    { delay: '1500us', jitter: { out: '1ms' }, loss: '0.50%' },
    { delay: '1.5ms', jitter: { out: '1ms' }, loss: '0.5%' },
  ],
])('%j comes out of a file as %j, and makes the same again', (asked, told) => {
  const made = world(asked);
  expect(exported(made)).toEqual({ subnet: 's', ip: '10.1.1.10', ...told });
  expect(shaped(world(told))).toEqual(shaped(made));
});

test('a file says all of it; a verb only what is to be another', () => {
  const made = world({ bandwidth: '100mbit', loss: '1%' });
  made.transact((draft) => addInstance(draft, WEB));
  expect(exported(made)).toMatchObject({ bandwidth: '100mbit', loss: '1%' });
  modify(made, { vpc: 'a', name: 'web', bandwidth: '200mbit' });
  expect(exported(made)).toMatchObject({ bandwidth: '200mbit', loss: '1%' });
  modify(made, { vpc: 'a', name: 'web', loss: null, bandwidth: { out: '1gbit' } });
  expect(exported(made)).toEqual({ subnet: 's', ip: '10.1.1.10', bandwidth: { out: '1gbit' } });
  made.transact((draft) => applySpec(draft, spec({})));
  expect(shaped(made)).toEqual([]);
  expect(modify(made, { vpc: 'a', name: 'web', bandwidth: null }).edits).toEqual([]);
});

test.each<[ShapingSpec, string]>([
  [{ bandwidth: '100' }, '"100" is no bandwidth'],
  [{ bandwidth: { burst: '64kib' } }, 'burst 64kib is of no bandwidth'],
  [{ bandwidth: { out: '64kbit', burst: '1mib' } }, 'burst 1mib is more than 64kbit pass in 60 s'],
  [
    { bandwidth: { in: '1mbit', burst: '16kib' }, delay: '1ms' },
    'a burst cannot be told of a direction that has a delay or loss (in)',
  ],
  [{ jitter: '1ms' }, 'jitter 1ms in is more than the delay, which there is none of'],
  [{ delay: '1ms', jitter: { out: '2ms' } }, 'jitter 2ms out is more than the delay, 1ms'],
  [{ delay: { inn: '1ms' } as never }, 'delay has no "inn"'],
])('%j is refused: %s', (asked, said) => {
  const made = world();
  expect(() => modify(made, { vpc: 'a', name: 'web', ...asked })).toThrow(said);
});

test('an instance that is not there cannot be modified', () => {
  expect(() => modify(world(), { vpc: 'a', name: 'nobody', bandwidth: '1mbit' })).toThrow(
    expect.objectContaining({ code: 'NOT_FOUND' }),
  );
});
