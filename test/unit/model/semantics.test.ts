/** Statements of the cloud's documentation that docs/semantics.md refers to, by the model: limits, defaults and refusals. */
import { describe, expect, test } from 'vitest';
import { associateNetworkAcl, putEntry, putNetworkAcl } from '../../../src/model/acls.js';
import type { Draft } from '../../../src/model/reader.js';
import type { Instance, NetworkAcl, RouteTable, SecurityGroup, Subnet, Vpc } from '../../../src/model/resources.js';
import { tableOf } from '../../../src/model/resources.js';
import {
  addNatGateway,
  addRoute,
  addRouteTable,
  associateRouteTable,
  deleteNatGateway,
} from '../../../src/model/routing.js';
import { addTransitGateway, attachVpc } from '../../../src/model/transit.js';
import { addInstance, addSubnet, addVpcBlock, createVpc, deleteSubnet, putGroup } from '../../../src/model/verbs.js';
import type { Cidr } from '../../../src/net/cidr.js';
import { parseSpec } from '../../../src/spec/parse.js';
import { refusal, type World, world } from './support.js';

const small = (...edits: readonly ((draft: Draft) => unknown)[]): World =>
  world(
    (tx) => {
      createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
      addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
      addSubnet(tx, { vpc: 'a', name: 'p', cidr: '10.0.2.0/24', public: true });
    },
    ...edits,
  );

const refused = (made: World, edit: (tx: Draft) => unknown): string => {
  const { code, line } = refusal(() => made.transact(edit));
  return `${code}: ${line}`;
};

describe('blocks and subnets', () => {
  test('a subnet may be as large as its VPC', () => {
    const made = small();
    made.transact((tx) => {
      createVpc(tx, { name: 'b', cidr: '10.1.0.0/28' });
      addSubnet(tx, { vpc: 'b', name: 's', cidr: '10.1.0.0/28' });
    });
    expect(made.get<Subnet>('subnet/b/s').cidr).toBe('10.1.0.0/28');
  });

  test('a block keeps its size: one that overlaps it, larger or smaller, is none to add', () => {
    const made = small((tx) => createVpc(tx, { name: 'b', cidr: '10.4.0.0/17' }));
    for (const block of ['10.4.0.0/16', '10.4.0.0/18']) {
      expect(refused(made, (tx) => addVpcBlock(tx, 'b', block as Cidr))).toMatch(/^INVALID: block .* overlaps/);
    }
    expect(made.get<Vpc>('vpc/b').cidrs).toEqual(['10.4.0.0/17']);
  });

  test('a subnet says whether its instances have public addresses, and an instance may say otherwise', () => {
    const made = small((tx) => {
      addInstance(tx, { vpc: 'a', subnet: 'p', name: 'as-the-subnet' });
      addInstance(tx, { vpc: 'a', subnet: 'p', name: 'none', publicIp: false });
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'private' });
    });
    const has = (name: string) => made.get<Instance>(`instance/a/${name}`).publicIp !== undefined;
    expect(['as-the-subnet', 'none', 'private'].map(has)).toEqual([true, false, false]);
  });

  test('an instance keeps its private address, whatever else of it changes', () => {
    const made = small((tx) => addInstance(tx, { vpc: 'a', subnet: 'p', name: 'x' }));
    const { ip } = made.get<Instance>('instance/a/x');
    made.transact((tx) => putGroup(tx, 'a', 'g', {}));
    made.transact((tx) =>
      addInstance(tx, { vpc: 'a', subnet: 'p', name: 'x', securityGroups: ['g'], publicIp: false }),
    );
    expect(made.get<Instance>('instance/a/x')).toMatchObject({ ip, groups: ['g'] });
    expect(refused(made, (tx) => addInstance(tx, { vpc: 'a', subnet: 'p', name: 'x', ip: '10.0.2.99' }))).toMatch(
      /^CONFLICT: instance a\/x exists with address/,
    );
  });

  test('a subnet with a NAT gateway is not deleted', () => {
    const made = small((tx) => addNatGateway(tx, { vpc: 'a', subnet: 'p', name: 'n' }));
    expect(refused(made, (tx) => deleteSubnet(tx, 'a', 'p'))).toMatch(/^CONFLICT: subnet a\/p holds nat gateway a\/n/);
  });
});

describe('route tables', () => {
  test('the main one of a new VPC has the local route alone', () => {
    expect(small().get<RouteTable>('route-table/a/main').routes).toEqual([]);
  });

  test('another one is empty until it gets routes', () => {
    expect(small((tx) => addRouteTable(tx, 'a', 't')).get<RouteTable>('route-table/a/t').routes).toEqual([]);
  });

  test('a subnet that is associated with none follows main, and may be associated with that by name', () => {
    const made = small();
    const follows = () => tableOf(made.get<Subnet>('subnet/a/s'));
    expect([follows(), made.get<Subnet>('subnet/a/s').routeTable]).toEqual(['main', undefined]);
    made.transact((tx) => associateRouteTable(tx, 'a', 's', 'main'));
    expect([follows(), made.get<Subnet>('subnet/a/s').routeTable]).toEqual(['main', 'main']);
  });

  test('one is for many subnets', () => {
    const made = small((tx) => {
      addRouteTable(tx, 'a', 't');
      for (const subnet of ['s', 'p']) associateRouteTable(tx, 'a', subnet, 't');
    });
    expect(['s', 'p'].map((name) => tableOf(made.get<Subnet>(`subnet/a/${name}`)))).toEqual(['t', 't']);
  });

  test('a route to a NAT gateway that is deleted stays', () => {
    const made = small((tx) => {
      addNatGateway(tx, { vpc: 'a', subnet: 'p', name: 'n' });
      addRoute(tx, 'a', 'main', { destination: '0.0.0.0/0', target: { natGateway: 'n' } });
    });
    made.transact((tx) => deleteNatGateway(tx, 'a', 'n'));
    expect(made.get<RouteTable>('route-table/a/main').routes).toMatchObject([{ destination: '0.0.0.0/0' }]);
  });
});

describe('security groups', () => {
  test('one that is made without rules lets nothing in and everything out', () => {
    const made = small((tx) => putGroup(tx, 'a', 'g', {}));
    expect(made.get<SecurityGroup>('group/a/g')).toMatchObject({ ingress: [], egress: [{ party: { type: 'any' } }] });
  });

  test('an instance without a named group has the default one', () => {
    const made = small((tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'x' }));
    expect(made.get<Instance>('instance/a/x').groups).toEqual(['default']);
  });

  test('they have no rules that deny', async () => {
    const rule = { action: 'deny', protocol: 'tcp', port: 80 };
    const spec = { vpcs: { a: { cidr: '10.0.0.0/16', securityGroups: { g: { ingress: [rule] } } } } };
    await expect(parseSpec(JSON.stringify(spec), { file: 'spec.json' })).rejects.toThrow(/action/);
  });

  test('a group is of one VPC: an instance of another has none of it, and two VPCs may have one of the same name', () => {
    const made = small((tx) => {
      putGroup(tx, 'a', 'g', {});
      createVpc(tx, { name: 'b', cidr: '10.1.0.0/16' });
      addSubnet(tx, { vpc: 'b', name: 's', cidr: '10.1.1.0/24' });
    });
    const add = (tx: Draft) => addInstance(tx, { vpc: 'b', subnet: 's', name: 'x', securityGroups: ['g'] });
    expect(refused(made, add)).toMatch(/^NOT_FOUND: security group g of vpc b/);
    made.transact((tx) => putGroup(tx, 'b', 'g', { ingress: [{}] }));
    made.transact(add);
    expect(made.get<SecurityGroup>('group/a/g').ingress).toEqual([]);
  });

  test.each([1, 65_535])('a rule may name port %i', (port) => {
    const made = small((tx) => putGroup(tx, 'a', 'g', { ingress: [{ protocol: 'tcp', port }] }));
    expect(made.get<SecurityGroup>('group/a/g').ingress).toMatchObject([{ ports: { from: port, to: port } }]);
  });

  test('type -1 of ICMP is all types', () => {
    const made = small((tx) => putGroup(tx, 'a', 'g', { ingress: [{ protocol: 'icmp', icmpType: -1, icmpCode: -1 }] }));
    expect(made.get<SecurityGroup>('group/a/g').ingress).toEqual([{ protocol: 1, party: { type: 'any' } }]);
  });
});

describe('network ACLs', () => {
  const parse = async (number: number) => {
    const rule = { number, action: 'allow', cidr: '0.0.0.0/0' };
    const spec = { vpcs: { a: { cidr: '10.0.0.0/16', networkAcls: { n: { ingress: [rule] } } } } };
    return parseSpec(JSON.stringify(spec), { file: 'spec.json' });
  };

  test.each([1, 32_766])('a rule may have the number %i', async (number) => {
    await expect(parse(number)).resolves.toBeDefined();
  });

  test.each([0, 32_767])('a rule may not have the number %i', async (number) => {
    await expect(parse(number)).rejects.toThrow(/number/);
  });

  test('a subnet has one at a time, and one may be for many', () => {
    const made = small((tx) => {
      for (const name of ['m', 'n']) putNetworkAcl(tx, 'a', name, {});
      for (const subnet of ['s', 'p']) associateNetworkAcl(tx, 'a', subnet, 'm');
      associateNetworkAcl(tx, 'a', 's', 'n');
    });
    expect(['s', 'p'].map((name) => made.get<Subnet>(`subnet/a/${name}`).networkAcl)).toEqual(['n', 'm']);
  });

  test('a new one has no rules', () => {
    const made = small((tx) => putNetworkAcl(tx, 'a', 'n', {}));
    expect(made.get<NetworkAcl>('network-acl/a/n')).toMatchObject({ ingress: [], egress: [] });
  });

  test('a rule names the source of what comes in, the destination of what goes out, and both may have the same number', () => {
    const made = small((tx) => {
      putNetworkAcl(tx, 'a', 'n', {});
      putEntry(tx, 'a', 'n', 'ingress', { number: 100, action: 'deny', cidr: '192.0.2.0/24' });
      putEntry(tx, 'a', 'n', 'egress', { number: 100, action: 'allow', cidr: '198.51.100.0/24' });
    });
    expect(made.get<NetworkAcl>('network-acl/a/n')).toMatchObject({
      ingress: [{ number: 100, allow: false, cidr: '192.0.2.0/24' }],
      egress: [{ number: 100, allow: true, cidr: '198.51.100.0/24' }],
    });
  });
});

describe('transit gateways', () => {
  test('one comes with a route table that attachments are associated with and propagate to', () => {
    const made = small((tx) => {
      addTransitGateway(tx, 'core');
      attachVpc(tx, { transitGateway: 'core', vpc: 'a' });
    });
    expect(made.get('transit-attachment/core/a')).toMatchObject({ routeTable: 'default', propagateTo: ['default'] });
  });

  test('an attachment gives a VPC’s own tables no route', () => {
    const made = small((tx) => {
      addTransitGateway(tx, 'core');
      attachVpc(tx, { transitGateway: 'core', vpc: 'a' });
    });
    expect(made.get<RouteTable>('route-table/a/main').routes).toEqual([]);
  });
});
