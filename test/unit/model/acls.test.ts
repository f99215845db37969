/** Network ACLs: what is refused, with its words; what an edit makes others lower again; and how a spec says them. */
import { describe, expect, test } from 'vitest';
import {
  addNetworkAcl,
  associateNetworkAcl,
  deleteEntry,
  deleteNetworkAcl,
  putEntry,
  putNetworkAcl,
} from '../../../src/model/acls.js';
import type { Draft } from '../../../src/model/reader.js';
import type { NetworkAcl, Subnet } from '../../../src/model/resources.js';
import { addNatGateway } from '../../../src/model/routing.js';
import { applySpec, exportSpec } from '../../../src/model/spec.js';
import { addInstance, addSubnet, createVpc, deleteSubnet, deleteVpc } from '../../../src/model/verbs.js';
import type { NetworkAclEntrySpec, Spec } from '../../../src/spec/types.js';
import { refusal, type World, world } from './support.js';

const HTTP: NetworkAclEntrySpec = { number: 100, action: 'allow', protocol: 'tcp', port: 80, cidr: '0.0.0.0/0' };

const small = (...edits: readonly ((draft: Draft) => unknown)[]): World =>
  world(
    (tx) => {
      createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
      addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
      addSubnet(tx, { vpc: 'a', name: 't', cidr: '10.0.2.0/24' });
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'x', ip: '10.0.1.7' });
      addInstance(tx, { vpc: 'a', subnet: 't', name: 'y', ip: '10.0.2.7' });
      addNatGateway(tx, { vpc: 'a', subnet: 's', name: 'out', ip: '10.0.1.9', connectivity: 'private' });
      putNetworkAcl(tx, 'a', 'n', { ingress: [HTTP] });
    },
    ...edits,
  );

const refused = (made: World, edit: (tx: Draft) => unknown): string => {
  const { code, line } = refusal(() => made.transact(edit));
  return `${code}: ${line}`;
};

describe('verbs', () => {
  test('are idempotent', () => {
    const made = small((tx) => associateNetworkAcl(tx, 'a', 's', 'n'));
    for (const edit of [
      (tx: Draft) => addNetworkAcl(tx, 'a', 'n'),
      (tx: Draft) => putNetworkAcl(tx, 'a', 'n', { ingress: [HTTP] }),
      (tx: Draft) => putEntry(tx, 'a', 'n', 'ingress', { ...HTTP, icmpType: -1, icmpCode: -1 }),
      (tx: Draft) => associateNetworkAcl(tx, 'a', 's', 'n'),
      (tx: Draft) => deleteEntry(tx, 'a', 'n', 'egress', 100),
      (tx: Draft) => deleteNetworkAcl(tx, 'a', 'x'),
    ]) {
      expect(made.transact(edit).edits).toEqual([]);
    }
  });

  test('rules stand in the order of their numbers, one a number', () => {
    const made = small((tx) => {
      putEntry(tx, 'a', 'n', 'ingress', { ...HTTP, number: 7, action: 'deny' });
      putEntry(tx, 'a', 'n', 'ingress', {
        number: 100,
        action: 'allow',
        protocol: 'icmp',
        icmpType: 8,
        cidr: '10.0.0.1',
      });
      putEntry(tx, 'a', 'n', 'egress', HTTP);
    });
    expect(made.get<NetworkAcl>('network-acl/a/n')).toMatchObject({
      ingress: [
        { number: 7, allow: false, protocol: 6, ports: { from: 80, to: 80 }, cidr: '0.0.0.0/0' },
        { number: 100, allow: true, protocol: 1, icmp: { type: 8 }, cidr: '10.0.0.1/32' },
      ],
      egress: [{ number: 100 }],
    });
    made.transact((tx) => expect(deleteEntry(tx, 'a', 'n', 'ingress', 7)).toBe(true));
    expect(made.get<NetworkAcl>('network-acl/a/n').ingress.map(({ number }) => number)).toEqual([100]);
  });

  test.each<[string, (tx: Draft) => unknown, string]>([
    [
      'a number twice',
      (tx) => putNetworkAcl(tx, 'a', 'n', { egress: [HTTP, { ...HTTP, port: 81 }] }),
      'INVALID: two egress rules have the number 100; number each otherwise',
    ],
    [
      'the name of what is there without one',
      (tx) => addNetworkAcl(tx, 'a', 'default'),
      'INVALID: a network acl cannot be called default: that is what subnets without one have, which allows all; choose another name',
    ],
    [
      'an ACL that is not there',
      (tx) => associateNetworkAcl(tx, 'a', 's', 'm'),
      'NOT_FOUND: network acl m of vpc a does not exist; there are: n',
    ],
    [
      'to delete one in use',
      (tx) => {
        associateNetworkAcl(tx, 'a', 's', 'n');
        deleteNetworkAcl(tx, 'a', 'n');
      },
      'CONFLICT: network acl a/n is that of subnet a/s; associate that with another one first',
    ],
    [
      'a port of ICMP',
      (tx) => putEntry(tx, 'a', 'n', 'egress', { ...HTTP, protocol: 'icmp' }),
      'INVALID: port 80: protocol icmp has no ports; set the protocol to tcp or udp, or leave the port out',
    ],
    [
      'a type of what is not ICMP',
      (tx) => putEntry(tx, 'a', 'n', 'egress', { ...HTTP, icmpType: 8 }),
      'INVALID: icmpType 8: protocol tcp has none; set the protocol to icmp or icmpv6, or leave the icmpType out',
    ],
    [
      'a code without a type',
      (tx) =>
        putEntry(tx, 'a', 'n', 'egress', {
          number: 1,
          action: 'allow',
          protocol: 'icmp',
          icmpCode: 4,
          cidr: '1.2.3.4',
        }),
      'INVALID: icmpCode 4 without an icmpType: a code belongs to a type; name the icmpType too',
    ],
  ])('refuse %s', (_what, edit, line) => {
    expect(refused(small(), edit)).toBe(line);
  });

  test('a subnet keeps its ACL when it is added again, and both go with the VPC', () => {
    const made = small(
      (tx) => associateNetworkAcl(tx, 'a', 's', 'n'),
      (tx) => addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', public: true }),
    );
    expect(made.get<Subnet>('subnet/a/s').networkAcl).toBe('n');
    made.transact((tx) => deleteVpc(tx, 'a'));
    expect(made.all()).toEqual([]);
    expect(made.keptRows().size).toBe(0);
  });
});

describe('touched', () => {
  const touched = (made: World, edit: (tx: Draft) => unknown): string[] => {
    const ids = [...made.transact(edit).touched].sort();
    expect(made.keptRows()).toEqual(made.freshRows());
    return ids;
  };
  const inside = ['instance/a/x', 'nat-gateway/a/out'];

  test('by a subnet that gets an ACL, or has none any more: what is in it, the VPC and the ACL', () => {
    const made = small((tx) => addNetworkAcl(tx, 'a', 'm'));
    expect(touched(made, (tx) => associateNetworkAcl(tx, 'a', 's', 'n'))).toEqual([
      ...inside,
      'network-acl/a/n',
      'vpc/a',
    ]);
    expect(
      touched(made, (tx) => associateNetworkAcl(tx, 'a', 's', 'm')),
      'another one',
    ).toEqual(['network-acl/a/m', 'network-acl/a/n']);
    expect(
      touched(made, (tx) => putEntry(tx, 'a', 'm', 'egress', HTTP)),
      'its rules',
    ).toEqual(['subnet/a/s'].slice(1));
    expect(touched(made, (tx) => associateNetworkAcl(tx, 'a', 's', undefined))).toEqual([
      ...inside,
      'network-acl/a/m',
      'vpc/a',
    ]);
  });

  test('by a subnet that comes or goes with one: the VPC and the ACL', () => {
    const made = small();
    const add = (tx: Draft) => {
      addSubnet(tx, { vpc: 'a', name: 'u', cidr: '10.0.3.0/24' });
      associateNetworkAcl(tx, 'a', 'u', 'n');
    };
    expect(touched(made, add)).toEqual(['network-acl/a/n', 'vpc/a']);
    expect(touched(made, (tx) => deleteSubnet(tx, 'a', 'u'))).toEqual(['network-acl/a/n', 'vpc/a']);
  });
});

describe('a spec', () => {
  const spec: Spec = {
    vpcs: {
      a: {
        cidr: '10.0.0.0/16',
        subnets: { s: { cidr: '10.0.1.0/24', networkAcl: 'n', gateway: '10.0.1.1' } },
        networkAcls: {
          n: {
            ingress: [
              HTTP,
              { number: 200, action: 'deny', protocol: 'icmp', icmpType: 3, icmpCode: 4, cidr: '10.0.0.0/8' },
            ],
            egress: [{ number: 1, action: 'allow', cidr: '0.0.0.0/0' }],
          },
        },
      },
    },
  };

  test('comes out as it went in', () => {
    const made = world((tx) => applySpec(tx, spec));
    expect(exportSpec(made.reader)).toEqual(spec);
    expect(made.transact((tx) => applySpec(tx, exportSpec(made.reader))).edits).toEqual([]);
  });

  test('removes the ACL that it does not list, with what names it', () => {
    const made = world((tx) => applySpec(tx, spec));
    made.transact((tx) =>
      applySpec(tx, { vpcs: { a: { cidr: '10.0.0.0/16', subnets: { s: { cidr: '10.0.1.0/24' } } } } }),
    );
    expect(made.all().map(({ kind }) => kind)).not.toContain('network-acl');
    expect(made.keptRows()).toEqual(made.freshRows());
  });

  test('names only what is there', () => {
    const wrong: Spec = {
      vpcs: { a: { cidr: '10.0.0.0/16', subnets: { s: { cidr: '10.0.1.0/24', networkAcl: 'm' } } } },
    };
    expect(refused(world(), (tx) => applySpec(tx, wrong))).toBe(
      'NOT_FOUND: network acl m of vpc a does not exist; there are none yet',
    );
  });
});
