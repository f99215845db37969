/** IPv6 blocks and addresses: what is allotted, what is refused, and what comes of a file. */
import { expect, test } from 'vitest';
import type { Instance, Subnet, Vpc } from '../../../src/model/resources.js';
import { addRoute } from '../../../src/model/routing.js';
import { applySpec, exportSpec } from '../../../src/model/spec.js';
import { addInstance, addSubnet, applyPolicy, configure, createVpc, deleteVpc } from '../../../src/model/verbs.js';
import { refusal, type World, world } from './support.js';

const A6 = 'fd76:7063:6301::/56';

function dual(): World {
  return world(
    (draft) => createVpc(draft, { name: 'a', cidr: '10.0.0.0/16', ipv6Cidr: A6 }),
    (draft) => addSubnet(draft, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', ipv6Cidr: true }),
  );
}

test('a block that is allotted follows from the name of the VPC, and is kept', () => {
  const made = world((draft) => createVpc(draft, { name: 'a', cidr: '10.0.0.0/16', ipv6Cidr: true }));
  const { ipv6Cidr } = made.get<Vpc>('vpc/a');
  expect(ipv6Cidr).toMatch(/^fd76:7063:63[0-9a-f]{2}:[0-9a-f]{1,2}00::\/56$/);
  made.transact((draft) => createVpc(draft, { name: 'a', cidr: '10.0.0.0/16', ipv6Cidr: true }));
  made.transact((draft) => createVpc(draft, { name: 'a', cidr: '10.0.0.0/16' }));
  expect(made.get<Vpc>('vpc/a').ipv6Cidr).toBe(ipv6Cidr);
});

test('a subnet gets the first free /64, an instance the address that ends in its IPv4 one', () => {
  const made = dual();
  made.transact((draft) => {
    addSubnet(draft, { vpc: 'a', name: 't', cidr: '10.0.2.0/24', ipv6Cidr: true });
    addInstance(draft, { vpc: 'a', subnet: 't', name: 'x' });
    addInstance(draft, { vpc: 'a', subnet: 't', name: 'y', ipv6: false });
    addInstance(draft, { vpc: 'a', subnet: 't', name: 'z', ipv6: 'fd76:7063:6301:1::a00:207' });
    addInstance(draft, { vpc: 'a', subnet: 't', name: 'w', ip: '10.0.2.7' });
  });
  expect(made.get<Subnet>('subnet/a/t').ipv6Cidr).toBe('fd76:7063:6301:1::/64');
  const of = (name: string): string | undefined => made.get<Instance>(`instance/a/${name}`).ipv6;
  expect(['x', 'y', 'z', 'w'].map(of)).toEqual([
    'fd76:7063:6301:1::a00:204',
    undefined,
    'fd76:7063:6301:1::a00:207',
    'fd76:7063:6301:1:0:1:a00:207',
  ]);
});

test.each<[string, (draft: never) => unknown, string]>([
  [
    'of another size',
    (draft) => createVpc(draft, { name: 'b', cidr: '10.1.0.0/16', ipv6Cidr: 'fd76:7063:6302::/64' }),
    'an IPv6 block of a VPC is a /56',
  ],
  [
    'outside of the pool',
    (draft) => createVpc(draft, { name: 'b', cidr: '10.1.0.0/16', ipv6Cidr: 'fd00::/56' }),
    'is outside the IPv6 pool',
  ],
  [
    'the host’s',
    (draft) => createVpc(draft, { name: 'b', cidr: '10.1.0.0/16', ipv6Cidr: 'fd76:7063:6300::/56' }),
    "which is the host's",
  ],
  [
    'of another VPC',
    (draft) => createVpc(draft, { name: 'b', cidr: '10.1.0.0/16', ipv6Cidr: A6 }),
    'is taken by vpc a',
  ],
  [
    'another one',
    (draft) => createVpc(draft, { name: 'a', cidr: '10.0.0.0/16', ipv6Cidr: 'fd76:7063:6302::/56' }),
    'has the IPv6 block',
  ],
  [
    'none, while a subnet has some',
    (draft) => createVpc(draft, { name: 'a', cidr: '10.0.0.0/16', ipv6Cidr: false }),
    'take that away first',
  ],
  [
    'a subnet’s of another size',
    (draft) => addSubnet(draft, { vpc: 'a', name: 't', cidr: '10.0.2.0/24', ipv6Cidr: A6 }),
    'of a subnet is a /64',
  ],
  [
    'a subnet’s outside',
    (draft) => addSubnet(draft, { vpc: 'a', name: 't', cidr: '10.0.2.0/24', ipv6Cidr: 'fd00::/64' }),
    "outside the VPC's IPv6 block",
  ],
  [
    'a subnet’s twice',
    (draft) => addSubnet(draft, { vpc: 'a', name: 't', cidr: '10.0.2.0/24', ipv6Cidr: 'fd76:7063:6301::/64' }),
    'is that of subnet s',
  ],
  [
    'a reserved address',
    (draft) => addInstance(draft, { vpc: 'a', subnet: 's', name: 'x', ipv6: 'fd76:7063:6301::3' }),
    'is reserved',
  ],
  [
    'the last address',
    (draft) => addInstance(draft, { vpc: 'a', subnet: 's', name: 'x', ipv6: 'fd76:7063:6301:0:ffff:ffff:ffff:ffff' }),
    'is reserved',
  ],
  [
    'an address outside',
    (draft) => addInstance(draft, { vpc: 'a', subnet: 's', name: 'x', ipv6: 'fd00::7' }),
    'is outside',
  ],
  ['the pool, in use', (draft) => configure(draft, { ipv6Pool: 'fd00:1::/48' }), 'is in use: vpc a'],
  [
    'a route to a NAT gateway',
    (draft) => addRoute(draft, 'a', 'main', { destination: '::/0', target: { natGateway: 'n' } }),
    'no NAT gateway translates IPv6',
  ],
  [
    'a route within',
    (draft) => addRoute(draft, 'a', 'main', { destination: 'fd76:7063:6301::/64', target: 'blackhole' }),
    "the VPC's own block",
  ],
  [
    'a policy of two families',
    (draft) =>
      applyPolicy(draft, 'a', 's', { ingress: [{ action: 'allow', source: '::/0', destination: '10.0.1.0/24' }] }),
    'they are of two families',
  ],
])('is refused: %s', (_what, edit, why) => {
  const made = dual();
  expect(refusal(() => made.transact((draft) => edit(draft as never))).line).toContain(why);
});

test('a file without IPv6 takes it away, and what is exported makes the same again', () => {
  const made = dual();
  made.transact((draft) => addInstance(draft, { vpc: 'a', subnet: 's', name: 'x' }));
  const spec = exportSpec(made.reader);
  const again = world((draft) => applySpec(draft, spec));
  expect(exportSpec(again.reader)).toEqual(spec);
  made.transact((draft) =>
    applySpec(draft, {
      vpcs: { a: { cidr: '10.0.0.0/16', subnets: { s: { cidr: '10.0.1.0/24' } }, instances: { x: { subnet: 's' } } } },
    }),
  );
  expect(made.get<Instance>('instance/a/x').ipv6).toBeUndefined();
  expect(made.get<Vpc>('vpc/a').ipv6Cidr).toBeUndefined();
  expect([...made.keptRows().keys()].filter((key) => /fd76|(?:in|out|acl)6_|profile6|source6/.test(key))).toEqual([]);
});

test('a block that is free again may be had by another', () => {
  const made = dual();
  made.transact((draft) => deleteVpc(draft, 'a'));
  made.transact((draft) => createVpc(draft, { name: 'b', cidr: '10.1.0.0/16', ipv6Cidr: A6 }));
  expect(made.get<Vpc>('vpc/b').ipv6Cidr).toBe(A6);
});
