/** What follows from edits: gateways, the edge, routes on the host, profiles, and what must be lowered again. */
import { describe, expect, test } from 'vitest';
import { Draft, findKind } from '../../../src/model/reader.js';
import type { Instance, Subnet, Vpc } from '../../../src/model/resources.js';
import { type HostFacts, needsHostFacts, settle } from '../../../src/model/settle.js';
import * as verbs from '../../../src/model/verbs.js';
import type { Cidr } from '../../../src/net/cidr.js';
import { HOST, refusal, type World, world } from './support.js';

const { addInstance, addSubnet, addVpcBlock, applyPolicy, clearPolicy, configure, createVpc } = verbs;
const { deleteInstance, deleteSubnet, deleteVpc, peer, putGroup, unpeer } = verbs;

const PUBLIC = { vpc: 'a', name: 'p', cidr: '10.0.2.0/24', public: true } as const;

function small(): World {
  return world((tx) => {
    createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
    addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
  });
}

function profiles(made: World, vpc = 'a'): string[] {
  return findKind(made.reader, 'profile', `profiles:${vpc}`)
    .map(({ groups, policySubnet }) => `${groups.join('+')}${policySubnet === undefined ? '' : `/${policySubnet}`}`)
    .sort();
}

function line(made: World, edit: (tx: Draft) => unknown, facts: HostFacts = HOST): string {
  const { code, line: words } = refusal(() => made.transact(edit, facts));
  return `${code}: ${words}`;
}

describe('the internet gateway and the edge', () => {
  test('are there while some subnet is public', () => {
    const made = small();
    expect(made.reader.get('igw/a')).toBeUndefined();
    expect(made.reader.get('edge')).toBeUndefined();
    made.transact((tx) => addSubnet(tx, PUBLIC));
    expect(made.reader.get('igw/a')).toEqual({ kind: 'igw', vpc: 'a', mtu: 1500 });
    expect(made.reader.get('edge')).toEqual({
      kind: 'edge',
      publicPool: '198.51.100.0/24',
      poolRouted: false,
      uplink: 'eth0',
      mtu: 1500,
    });
    made.transact((tx) => {
      createVpc(tx, { name: 'b', cidr: '10.1.0.0/16' });
      addSubnet(tx, { vpc: 'b', name: 'p', cidr: '10.1.2.0/24', public: true });
    });
    made.transact((tx) => addSubnet(tx, { ...PUBLIC, public: false }));
    expect(made.reader.get('igw/a')).toBeUndefined();
    expect(made.reader.get('edge')).toBeDefined();
    made.transact((tx) => deleteVpc(tx, 'b'));
    expect(made.reader.get('igw/b')).toBeUndefined();
    expect(made.reader.get('edge')).toBeUndefined();
  });

  test('go with the last public subnet, deleted', () => {
    const made = small();
    made.transact((tx) => addSubnet(tx, PUBLIC));
    made.transact((tx) => deleteSubnet(tx, 'a', 'p'));
    expect(made.all().map(({ kind }) => kind)).toEqual(['group', 'route-table', 'subnet', 'vpc']);
  });

  test('need an uplink, unless told that there is none', () => {
    const { defaultLink: _none, ...alone } = HOST;
    expect(line(small(), (tx) => addSubnet(tx, PUBLIC), alone)).toBe(
      'ENVIRONMENT: the host has no default route, so no uplink was found for public subnets; name it with --uplink LINK, or use --uplink none (public then means reachable from this host only)',
    );
    expect(
      line(small(), (tx) => {
        configure(tx, { uplink: 'wan0' });
        addSubnet(tx, PUBLIC);
      }),
    ).toBe(
      'ENVIRONMENT: the host has no link wan0 to use as uplink; name an existing link with --uplink, or use --uplink none',
    );
    const made = small();
    made.transact((tx) => {
      configure(tx, { uplink: 'none' });
      addSubnet(tx, PUBLIC);
    }, alone);
    expect(made.get<never>('edge')).toEqual({
      kind: 'edge',
      publicPool: '198.51.100.0/24',
      poolRouted: false,
      mtu: 1500,
    });
  });

  test('refuse a pool that the host routes elsewhere, at first and when it changes', () => {
    const facts: HostFacts = { ...HOST, routes: ['203.0.113.0/25' as Cidr] };
    const words =
      'CONFLICT: the host routes 203.0.113.0/25, which overlaps the pool of public addresses 203.0.113.0/24; configure another publicPool';
    const other = (tx: Draft): void => configure(tx, { publicPool: '203.0.113.0/24' });
    const made = small();
    expect(
      line(
        made,
        (tx) => {
          other(tx);
          addSubnet(tx, PUBLIC);
        },
        facts,
      ),
    ).toBe(words);
    made.transact((tx) => addSubnet(tx, PUBLIC), facts);
    expect(line(made, other, facts)).toBe(words);
    made.transact(other);
    expect(made.get<never>('edge')).toMatchObject({ publicPool: '203.0.113.0/24' });
  });

  test('follow the settings', () => {
    const made = small();
    made.transact((tx) => addSubnet(tx, PUBLIC));
    made.transact((tx) => configure(tx, { uplink: 'eth1', poolRouted: true }));
    expect(made.get<never>('edge')).toMatchObject({ uplink: 'eth1', poolRouted: true, mtu: 1500 });
  });
});

describe('the MTU', () => {
  test.each([
    [HOST, 'auto', 1500],
    [HOST, 'eth1', 9000],
    [HOST, 'none', 1500],
    [{ ...HOST, linkMtu: new Map([['eth0', 296]]) }, 'auto', 576],
    [{ ...HOST, linkMtu: new Map() }, 'auto', 1500],
  ])('of a VPC is that of the uplink (%#)', (facts, uplink, mtu) => {
    const made = world();
    made.transact((tx) => {
      configure(tx, { uplink });
      createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
    }, facts);
    expect(made.get<Vpc>('vpc/a').mtu).toBe(mtu);
  });

  test('stays with the VPC', () => {
    const made = small();
    made.transact((tx) => {
      configure(tx, { uplink: 'eth1' });
      createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
    });
    expect(made.get<Vpc>('vpc/a').mtu).toBe(1500);
  });
});

describe('the machine is looked at', () => {
  const needs = (made: World, edit: (tx: Draft) => unknown): boolean => {
    const tx = new Draft(made.reader);
    edit(tx);
    return needsHostFacts(tx);
  };

  test('for a new VPC, new settings and a subnet that becomes public, and for nothing else', () => {
    const made = small();
    made.transact((tx) => addSubnet(tx, PUBLIC));
    expect(needs(made, (tx) => createVpc(tx, { name: 'b', cidr: '10.1.0.0/16' }))).toBe(true);
    expect(needs(made, (tx) => configure(tx, { uplink: 'none' }))).toBe(true);
    expect(needs(made, (tx) => addSubnet(tx, { ...PUBLIC, name: 'q', cidr: '10.0.3.0/24' }))).toBe(true);
    expect(needs(made, (tx) => addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', public: true }))).toBe(true);
    expect(needs(made, (tx) => addInstance(tx, { vpc: 'a', subnet: 'p', name: 'x' }))).toBe(false);
    expect(needs(made, (tx) => addVpcBlock(tx, 'a', '10.9.0.0/24' as Cidr))).toBe(false);
    expect(needs(made, (tx) => deleteVpc(tx, 'a'))).toBe(false);
  });

  test('not at all where nothing asks for it: settling without facts is the same', () => {
    const made = small();
    made.transact((tx) => addSubnet(tx, PUBLIC));
    const tx = new Draft(made.reader);
    addInstance(tx, { vpc: 'a', subnet: 'p', name: 'x' });
    settle(tx);
    expect((tx.get('subnet/a/p') as Subnet).hostRoute).toBe(true);
    expect(tx.get('edge')).toEqual(made.reader.get('edge'));
  });
});

describe('the route on the host', () => {
  const routed = (made: World, id: string): boolean => made.get<Subnet>(id).hostRoute;
  const twin = (tx: Draft): void => {
    createVpc(tx, { name: 'b', cidr: '10.0.0.0/16' });
    addSubnet(tx, { vpc: 'b', name: 'p', cidr: '10.0.2.128/25', public: true });
  };

  test('is for public subnets alone', () => {
    const made = small();
    made.transact((tx) => addSubnet(tx, PUBLIC));
    expect([routed(made, 'subnet/a/p'), routed(made, 'subnet/a/s')]).toEqual([true, false]);
  });

  test('gives way to a route of the host', () => {
    for (const route of ['10.0.2.128/25', '10.0.0.0/8', '10.0.2.7/32'] as Cidr[]) {
      const made = small();
      made.transact((tx) => addSubnet(tx, PUBLIC), { ...HOST, routes: [route] });
      expect(routed(made, 'subnet/a/p'), route).toBe(false);
    }
  });

  test('gives way to another VPC that has it, and is handed over once that is private', () => {
    const made = small();
    made.transact((tx) => addSubnet(tx, PUBLIC));
    made.transact(twin);
    expect([routed(made, 'subnet/a/p'), routed(made, 'subnet/b/p')]).toEqual([true, false]);
    const { edits } = made.transact((tx) => addSubnet(tx, { ...PUBLIC, public: false }));
    expect([routed(made, 'subnet/a/p'), routed(made, 'subnet/b/p')]).toEqual([false, true]);
    expect(edits.map(({ id }) => id)).toContain('subnet/b/p');
    expect(made.keptRows()).toEqual(made.freshRows());
  });

  test('is handed over when its subnet, or its VPC, is deleted: to the first of those that overlap', () => {
    for (const free of [(tx: Draft) => deleteSubnet(tx, 'a', 'p'), (tx: Draft) => deleteVpc(tx, 'a')]) {
      const made = small();
      made.transact((tx) => addSubnet(tx, PUBLIC));
      for (const [name, cidr] of [
        ['c', '10.0.2.0/25'],
        ['b', '10.0.2.64/26'],
        ['d', '10.0.2.128/25'],
        ['e', '10.0.3.0/24'],
      ] as const) {
        made.transact((tx) => {
          createVpc(tx, { name, cidr: '10.0.0.0/16' });
          addSubnet(tx, { vpc: name, name: 'p', cidr, public: true });
        });
      }
      const others = (): boolean[] => ['b', 'c', 'd', 'e'].map((name) => routed(made, `subnet/${name}/p`));
      expect(others()).toEqual([false, false, false, true]);
      made.transact(free);
      expect(others()).toEqual([true, false, true, true]);
      expect(made.keptRows()).toEqual(made.freshRows());
      made.transact((tx) => deleteVpc(tx, 'b'));
      expect(routed(made, 'subnet/c/p')).toBe(true);
    }
  });

  test('is not handed over where the host has a route, and the host is looked at for that', () => {
    const made = small();
    made.transact((tx) => addSubnet(tx, PUBLIC));
    made.transact(twin);
    const tx = new Draft(made.reader);
    deleteVpc(tx, 'a');
    expect(needsHostFacts(tx)).toBe(true);
    settle(tx, { ...HOST, routes: ['10.0.2.200/32' as Cidr] });
    expect((tx.get('subnet/b/p') as Subnet).hostRoute).toBe(false);
  });

  test('moves to another VPC in the transaction that frees it', () => {
    const made = small();
    made.transact((tx) => addSubnet(tx, PUBLIC));
    made.transact((tx) => {
      deleteVpc(tx, 'a');
      twin(tx);
    });
    expect(routed(made, 'subnet/b/p')).toBe(true);
  });

  test('is kept by a subnet, or a VPC, that one transaction deletes and makes again', () => {
    const made = small();
    made.transact((tx) => addSubnet(tx, PUBLIC));
    made.transact((tx) => {
      deleteSubnet(tx, 'a', 'p');
      addSubnet(tx, { ...PUBLIC, cidr: '10.0.2.0/25' });
    });
    expect(made.get<Subnet>('subnet/a/p')).toMatchObject({ cidr: '10.0.2.0/25', hostRoute: true });
    const edited = made.transact((tx) => {
      deleteVpc(tx, 'a');
      createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
      addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
      addSubnet(tx, { ...PUBLIC, cidr: '10.0.2.0/25' });
    });
    expect(edited.edits).toEqual([]);
  });
});

describe('profiles', () => {
  test('are shared by equal sets of groups, and go with the last that has one', () => {
    const made = small();
    made.transact((tx) => {
      putGroup(tx, 'a', 'web', {});
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'x', securityGroups: ['web', 'default'] });
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'y', securityGroups: ['default', 'web'] });
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'z' });
    });
    expect(profiles(made)).toEqual(['default', 'default+web']);
    const [x, y, z] = ['x', 'y', 'z'].map((name) => made.get<Instance>(`instance/a/${name}`).profile);
    expect(x).toBe(y);
    expect(z).not.toBe(x);
    made.transact((tx) => deleteInstance(tx, 'a', 'x'));
    expect(profiles(made)).toEqual(['default', 'default+web']);
    made.transact((tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'y', securityGroups: ['default'] }));
    expect(profiles(made)).toEqual(['default']);
    made.transact((tx) => {
      deleteInstance(tx, 'a', 'y');
      deleteInstance(tx, 'a', 'z');
    });
    expect(profiles(made)).toEqual([]);
  });

  test('are a VPC’s own, and numbered alike in each', () => {
    const made = small();
    made.transact((tx) => {
      createVpc(tx, { name: 'b', cidr: '10.0.0.0/16' });
      addSubnet(tx, { vpc: 'b', name: 's', cidr: '10.0.1.0/24' });
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'x' });
      addInstance(tx, { vpc: 'b', subnet: 's', name: 'x' });
    });
    expect(made.get<Instance>('instance/a/x').profile).toBe(made.get<Instance>('instance/b/x').profile);
    expect([profiles(made, 'a'), profiles(made, 'b')]).toEqual([['default'], ['default']]);
  });

  test('are a number that a mark can be', () => {
    const made = small();
    made.transact((tx) => {
      for (let index = 0; index < 20; index += 1) {
        putGroup(tx, 'a', `g${index}`, {});
        addInstance(tx, { vpc: 'a', subnet: 's', name: `x${index}`, securityGroups: [`g${index}`] });
      }
    });
    const numbers = findKind(made.reader, 'profile', 'profiles:a').map(({ number }) => number);
    expect(new Set(numbers).size).toBe(20);
    for (const number of numbers) expect(number > 0 && number <= 2 ** 31 && Number.isInteger(number)).toBe(true);
  });

  test('of a subnet with a policy are its own, for as long as it has one', () => {
    const made = small();
    made.transact((tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'x' }));
    const before = made.get<Instance>('instance/a/x').profile;
    made.transact((tx) => applyPolicy(tx, 'a', 's', { ingress: [] }));
    expect(profiles(made)).toEqual(['default/s']);
    expect(made.get<Instance>('instance/a/x').profile).not.toBe(before);
    made.transact((tx) => applyPolicy(tx, 'a', 's', {}));
    expect(profiles(made), 'a policy that decides no direction is none').toEqual(['default']);
    made.transact((tx) => applyPolicy(tx, 'a', 's', { egress: [] }));
    made.transact((tx) => clearPolicy(tx, 'a', 's'));
    expect(profiles(made)).toEqual(['default']);
    expect(made.get<Instance>('instance/a/x').profile).toBe(before);
  });
});

describe('touched', () => {
  /** Profiles of: m (mentions web), w (web), v (vpc), q (peers), n (nothing but any). */
  const made = (): World =>
    world((tx) => {
      createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
      createVpc(tx, { name: 'b', cidr: '10.1.0.0/16' });
      addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
      putGroup(tx, 'a', 'w', {});
      putGroup(tx, 'a', 'm', { ingress: [{ from: { group: 'w' } }] });
      putGroup(tx, 'a', 'v', { ingress: [{ from: 'vpc' }] });
      putGroup(tx, 'a', 'q', { egress: [{ to: 'peers' }] });
      putGroup(tx, 'a', 'n', { ingress: [{ from: 'any' }] });
      for (const name of ['m', 'v', 'q', 'n']) {
        addInstance(tx, { vpc: 'a', subnet: 's', name, securityGroups: [name] });
      }
      peer(tx, 'a', 'b');
    });
  const touched = (world: World, edit: (tx: Draft) => unknown): string[] =>
    [...world.transact(edit).touched]
      .map((id) => {
        const found = world.reader.get(id);
        return found?.kind === 'profile' ? found.groups.join('+') : id;
      })
      .sort();

  test('by an instance: nothing', () => {
    expect(
      touched(made(), (tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'y', securityGroups: ['n'] })),
    ).toEqual([]);
  });

  test('by a policy: the profiles of its subnet; not by an address that the subnet hands out', () => {
    const one = made();
    one.transact((tx) => applyPolicy(tx, 'a', 's', { ingress: [] }));
    expect(touched(one, (tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'y', securityGroups: ['n'] }))).toEqual(
      [],
    );
    expect(touched(one, (tx) => applyPolicy(tx, 'a', 's', { egress: [] }))).toEqual(['m', 'n', 'q', 'v']);
    expect(one.keptRows()).toEqual(one.freshRows());
  });

  test('by a new profile: those whose rules name its groups', () => {
    const one = made();
    expect(touched(one, (tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'y', securityGroups: ['w'] }))).toEqual([
      'm',
    ]);
    expect(touched(one, (tx) => deleteInstance(tx, 'a', 'y'))).toEqual(['m']);
  });

  test('by a group: its profiles', () => {
    expect(touched(made(), (tx) => putGroup(tx, 'a', 'n', {}))).toEqual(['n']);
  });

  test('by a block of the VPC: its peerings, and who says vpc; of a peer: who says peers', () => {
    expect(touched(made(), (tx) => addVpcBlock(tx, 'a', '10.9.0.0/24' as Cidr))).toEqual([
      'peering/a/b',
      'route-table/a/main',
      'route-table/b/main',
      'v',
    ]);
    expect(touched(made(), (tx) => addVpcBlock(tx, 'b', '10.9.0.0/24' as Cidr))).toEqual([
      'peering/a/b',
      'q',
      'route-table/a/main',
      'route-table/b/main',
    ]);
  });

  test('by a peering: who says peers', () => {
    expect(touched(made(), (tx) => unpeer(tx, 'a', 'b'))).toEqual(['q', 'route-table/a/main', 'route-table/b/main']);
  });

  test('by a subnet that gets another block or gateway: its instances', () => {
    const one = made();
    one.transact((tx) => deleteVpc(tx, 'b', true));
    const again = (cidr: string, gateway: string) => (tx: Draft) => {
      deleteSubnet(tx, 'a', 's', true);
      addSubnet(tx, { vpc: 'a', name: 's', cidr, gateway });
      for (const [index, name] of ['m', 'v', 'q', 'n'].entries()) {
        addInstance(tx, { vpc: 'a', subnet: 's', name, securityGroups: [name], ip: `10.0.1.${4 + index}` });
      }
    };
    const instances = ['instance/a/m', 'instance/a/n', 'instance/a/q', 'instance/a/v'];
    expect(touched(one, again('10.0.1.0/25', '10.0.1.1'))).toEqual(instances);
    expect(one.keptRows()).toEqual(one.freshRows());
    expect(touched(one, again('10.0.1.0/25', '10.0.1.9'))).toEqual(instances);
    expect(one.keptRows()).toEqual(one.freshRows());
  });

  test('by a VPC that comes back with another MTU: its instances', () => {
    const one = made();
    one.transact((tx) => deleteVpc(tx, 'b', true));
    one.transact(
      (tx) => {
        deleteVpc(tx, 'a');
        createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
        addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
        addInstance(tx, { vpc: 'a', subnet: 's', name: 'm', ip: '10.0.1.4' });
      },
      { ...HOST, linkMtu: new Map([['eth0', 1400]]) },
    );
    expect(one.get<Vpc>('vpc/a').mtu).toBe(1400);
    expect(one.keptRows()).toEqual(one.freshRows());
  });
});
