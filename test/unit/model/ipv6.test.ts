/** IPv6 blocks and addresses: what is allotted, what is refused, and what comes of a file. */
import { expect, test } from 'vitest';
import { addEgressOnlyGateway, deleteEgressOnlyGateway, isWayOut6 } from '../../../src/model/ipv6.js';
import { createPrefixList, modifyPrefixList } from '../../../src/model/prefix-lists.js';
import type { Edge, Instance, InternetGateway, Subnet, Vpc } from '../../../src/model/resources.js';
import { addRoute, deleteRoute, isBlackhole } from '../../../src/model/routing.js';
import { applySpec, exportSpec } from '../../../src/model/spec.js';
import { addInstance, addSubnet, applyPolicy, configure, createVpc, deleteVpc } from '../../../src/model/verbs.js';
import type { AnyCidr, Cidr6, Ipv6 } from '../../../src/net/cidr.js';
import type { RouteTargetSpec } from '../../../src/spec/types.js';
import { HOST, refusal, type World, world } from './support.js';

const A6 = 'fd76:7063:6301::/56';

const route = (draft: never, destination: string, target: RouteTargetSpec) =>
  addRoute(draft, 'a', 'main', { destination, target });

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
    'a route of IPv4 to an egress-only internet gateway',
    (draft) => route(draft, '0.0.0.0/0', 'egress-only-internet-gateway'),
    'an egress-only internet gateway is for IPv6',
  ],
  [
    'a route to an egress-only internet gateway that is not there',
    (draft) => route(draft, '::/0', 'egress-only-internet-gateway'),
    'an egress-only internet gateway of vpc a does not exist',
  ],
  [
    'a route out to services of the cloud',
    (draft) => route(draft, 'fd00:ec2::254/128', 'internet-gateway'),
    'fd00:ec2::/32 is for services of the cloud',
  ],
  ['a route out to what nobody has', (draft) => route(draft, '4000::/3', 'internet-gateway'), 'is in the internet'],
  ['a route out to NAT64', (draft) => route(draft, '64:ff9b::/96', 'internet-gateway'), 'no route can lead to'],
  ['a route out to link-local addresses', (draft) => route(draft, 'fe80::/10', 'internet-gateway'), 'link-local'],
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

const out = (target: RouteTargetSpec) => (draft: unknown) => route(draft as never, '::/0', target);
const keys = (made: World, pattern: RegExp): string[] => [...made.keptRows().keys()].filter((key) => pattern.test(key));

test('a route of IPv6 to the internet gateway brings the uplink and the border what they need, and takes it along', () => {
  const made = dual();
  expect(keys(made, /uplink6|link\|vpc.a\|uplink|vpc-edge/)).toEqual([]);
  made.transact(out('internet-gateway'));
  expect(made.get<InternetGateway>('igw/a').ipv6Cidr).toBe(A6);
  expect(made.get<Edge>('edge').ipv6).toEqual({
    pool: 'fd76:7063:6300::/40',
    host: 'fd76:7063:6300::1',
    routed: false,
  });
  expect(keys(made, /\|(?:ways6|answers6)\|/).every((key) => key.includes('|ways6|'))).toBe(true);
  expect(keys(made, /\|ways6\|100 \. (?:2000::\/3|fd76:7063:6300::\/48)$/)).toHaveLength(2);
  expect(keys(made, /\|table6\|fd76:7063:6301::$/)).toHaveLength(1);
  expect(made.keptRows()).toEqual(made.freshRows());
  made.transact((draft) => configure(draft, { ipv6PoolRouted: true }));
  expect(made.get<Edge>('edge').ipv6?.routed).toBe(true);
  expect(keys(made, /\|masquerade6\|/)).toEqual([]);
  made.transact((draft) => deleteRoute(draft, 'a', 'main', '::/0'));
  expect(keys(made, /uplink6|link\|vpc.a\|uplink|vpc-edge|table6|ways6/)).toEqual([]);
});

test('the route to an egress-only internet gateway that goes is a black hole, and works again when there is one', () => {
  const made = dual();
  made.transact((draft) => {
    addEgressOnlyGateway(draft, 'a');
    out('egress-only-internet-gateway')(draft);
  });
  expect(keys(made, /\|ways6\|/)).toEqual([]);
  expect(keys(made, /\|answers6\|100 /)).not.toEqual([]);
  const spec = exportSpec(made.reader);
  expect(spec.vpcs.a?.egressOnlyInternetGateway).toBe(true);
  expect(exportSpec(world((draft) => applySpec(draft, spec)).reader)).toEqual(spec);
  made.transact((draft) => deleteEgressOnlyGateway(draft, 'a'));
  expect(isBlackhole(made.reader, 'a', { type: 'egress-only-internet-gateway' })).toBe(true);
  expect(keys(made, /\|answers6\|/)).toEqual([]);
  expect(made.keptRows()).toEqual(made.freshRows());
  made.transact((draft) => addEgressOnlyGateway(draft, 'a'));
  expect(keys(made, /\|answers6\|100 /)).not.toEqual([]);
  made.transact((draft) => deleteVpc(draft, 'a'));
  expect(made.reader.all()).toEqual([]);
});

test('a VPC has one egress-only internet gateway at most', () => {
  const made = dual();
  made.transact((draft) => addEgressOnlyGateway(draft, 'a'));
  const before = made.all();
  expect(made.transact((draft) => addEgressOnlyGateway(draft, 'a')).edits).toEqual([]);
  expect(made.all()).toEqual(before);
  made.transact((draft) => deleteEgressOnlyGateway(draft, 'a'));
  expect(made.transact((draft) => deleteEgressOnlyGateway(draft, 'a')).edits).toEqual([]);
});

test.each<[string, Partial<typeof HOST>, string]>([
  ['has a kernel that forwards all links or none', { forwarding6: 'no' }, 'use Linux 6.17 or later'],
  ['has no IPv6', { forwarding6: 'off' }, 'the host has no IPv6'],
  ['has some of the pool elsewhere', { routes: ['fd76:7063:6342::/64' as Cidr6] }, 'which is of the IPv6 pool'],
])('there is no way to the internet where the host %s', (_what, facts, why) => {
  const made = dual();
  expect(refusal(() => made.transact(out('internet-gateway'), { ...HOST, ...facts })).line).toContain(why);
});

test('a host that is a router, or that routes more than the pool, is taken as it is', () => {
  const facts = { ...HOST, forwarding6: 'all', routes: ['fd00::/8' as Cidr6] } as const;
  const made = dual();
  made.transact(out('internet-gateway'), facts);
  expect(made.get<Edge>('edge').ipv6?.pool).toBe('fd76:7063:6300::/40');
});

test.each<[string, string, boolean]>([
  ['::/0', '2001:db8::1', true],
  ['::/0', 'fd76:7063:63ff::1', true],
  ['::/0', 'fd00:1::1', false],
  ['fd00::/8', 'fd00:1::1', true],
  ['fd00::/8', 'fd00:ec2::254', false],
  ['::/0', '64:ff9b::1', false],
  ['::/0', 'fe80::1', false],
  ['::/0', 'ff02::1', false],
  ['2001:db8::/32', '2001:db9::1', false],
])('a route to %s leads out to %s: %s', (destination, address, is) => {
  expect(isWayOut6(destination as AnyCidr, address as Ipv6, 'fd76:7063:6300::/40' as Cidr6)).toBe(is);
});

test('a route of a prefix list of IPv6 leads out to its blocks, as far as there is anybody', () => {
  const made = dual();
  made.transact((draft) => {
    const entries = ['2001:db8::/32', '4000::/3', 'fd00:1::/32'].map((cidr) => ({ cidr }));
    createPrefixList(draft, 'six', { family: 'ipv6', maxEntries: 5, entries });
    addRoute(draft, 'a', 'main', { destination: { prefixList: 'six' }, target: 'internet-gateway' });
  });
  const ways = () => keys(made, /\|ways6\|/).map((key) => key.replace(/.*\. /, ''));
  expect(ways()).toEqual(['2001:db8::/32', 'fd00:1::/32']);
  made.transact((draft) => modifyPrefixList(draft, 'six', { remove: ['2001:db8::/32'] }));
  expect(ways()).toEqual(['fd00:1::/32']);
  made.transact((draft) => createPrefixList(draft, 'four', { maxEntries: 5 }));
  made.transact((draft) => {
    deleteRoute(draft, 'a', 'main', { prefixList: 'six' });
    addRoute(draft, 'a', 'main', { destination: { prefixList: 'four' }, target: 'internet-gateway' });
  });
  expect(made.get<InternetGateway>('igw/a').ipv6Cidr).toBeUndefined();
  expect(made.get<Edge>('edge').ipv6).toBeUndefined();
});

test('a route to the internet gateway is enough for the border, whatever the family', () => {
  const made = world(
    (draft) => createVpc(draft, { name: 'a', cidr: '10.0.0.0/16' }),
    (draft) => addRoute(draft, 'a', 'main', { destination: '0.0.0.0/0', target: 'internet-gateway' }),
  );
  expect(made.get<Edge>('edge')).toMatchObject({ uplink: 'eth0' });
  expect(made.get<Edge>('edge').ipv6).toBeUndefined();
});
