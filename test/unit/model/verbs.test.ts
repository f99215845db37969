/** Every rule of the verbs: what is refused, with its words, and what is taken. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import * as lookup from '../../../src/model/lookup.js';
import { Draft, findKind, MemoryReader } from '../../../src/model/reader.js';
import { type Instance, ids, type Subnet, type Vpc } from '../../../src/model/resources.js';
import * as verbs from '../../../src/model/verbs.js';
import type { AnyCidr, Cidr } from '../../../src/net/cidr.js';
import { assertProperty } from '../net/property.js';
import { attempt, refusal, run, transactions, World, world } from './support.js';

const { addInstance, addSubnet, addVpcBlock, applyPolicy, clearPolicy, configure, createVpc } = verbs;
const { deleteGroup, deleteInstance, deleteSubnet, deleteVpc, peer, putGroup, retainVpcBlocks, unpeer } = verbs;

const draft = (made?: World): Draft => new Draft(made?.reader ?? new MemoryReader());
const cidr = (text: string): Cidr => text as Cidr;

/** VPC `a` 10.0.0.0/16 with a private subnet `s` and a public `p`, and VPC `b` 10.1.0.0/16. */
function small(): World {
  return world((tx) => {
    createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
    createVpc(tx, { name: 'b', cidr: '10.1.0.0/16' });
    addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
    addSubnet(tx, { vpc: 'a', name: 'p', cidr: '10.0.2.0/28', public: true });
  });
}

/** Expects the body to be refused on a fresh draft over the world. */
function refused(made: World | undefined, body: (tx: Draft) => unknown): string {
  const tx = draft(made);
  const { code, line } = refusal(() => body(tx));
  return `${code}: ${line}`;
}

describe('createVpc', () => {
  test('makes the VPC and its default group', () => {
    const tx = draft();
    createVpc(tx, { name: 'a', cidr: '10.0.0.0/16', secondaryCidrs: ['10.9.0.0/24'] });
    expect(tx.get('vpc/a')).toEqual({ kind: 'vpc', name: 'a', cidrs: ['10.0.0.0/16', '10.9.0.0/24'], mtu: 0 });
    expect(tx.get('group/a/default')).toEqual({
      kind: 'group',
      vpc: 'a',
      name: 'default',
      ingress: [{ party: { type: 'self' } }, { party: { type: 'host' } }, { party: { type: 'peers' } }],
      egress: [{ party: { type: 'any' } }],
    });
  });

  test.each(['10.0.0.0/16', '10.0.0.0/28', '172.16.0.0/20', '8.8.8.0/24'])('takes %s', (block) => {
    expect(createVpc(draft(), { name: 'a', cidr: block }).cidrs).toEqual([block]);
  });

  test.each([
    [
      '10.0.0.0/15',
      'INVALID: vpc a: 10.0.0.0/15 is a /15, a block must be between /16 and /28; choose another prefix length',
    ],
    [
      '10.0.0.0/29',
      'INVALID: vpc a: 10.0.0.0/29 is a /29, a block must be between /16 and /28; choose another prefix length',
    ],
    [
      '127.1.0.0/16',
      'INVALID: vpc a 127.1.0.0/16 overlaps 127.0.0.0/8 (loopback); use a private block such as 10.0.0.0/16',
    ],
    [
      '169.254.0.0/16',
      'INVALID: vpc a 169.254.0.0/16 overlaps 169.254.0.0/16 (link-local); use a private block such as 10.0.0.0/16',
    ],
    [
      '224.0.0.0/16',
      'INVALID: vpc a 224.0.0.0/16 overlaps 224.0.0.0/4 (multicast); use a private block such as 10.0.0.0/16',
    ],
    [
      '198.51.0.0/16',
      'INVALID: vpc a: 198.51.0.0/16 overlaps the pool of public addresses 198.51.100.0/24; choose another block',
    ],
    [
      '10.0.0.5/16',
      'INVALID: 10.0.0.5/16 has host bits set: the network is 10.0.0.0/16; write 10.0.0.0/16, or 10.0.0.1/16 to name the gateway',
    ],
  ])('refuses %s', (block, line) => {
    expect(refused(undefined, (tx) => createVpc(tx, { name: 'a', cidr: block }))).toBe(line);
  });

  test('refuses a name that is none, and leaves the draft alone', () => {
    const tx = draft();
    expect(refusal(() => createVpc(tx, { name: 'A b', cidr: '10.0.0.0/16' })).code).toBe('INVALID');
    expect(tx.edits()).toEqual([]);
  });

  test('takes the gateway with its prefix length, and the subnet that holds it uses it', () => {
    const tx = draft();
    expect(createVpc(tx, { name: 'a', cidr: '10.0.1.1/24' })).toMatchObject({
      cidrs: ['10.0.1.0/24'],
      gatewayHint: '10.0.1.1',
    });
    expect(addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' }).gateway).toBe('10.0.1.1');
    expect(
      addSubnet(draft(world((one) => createVpc(one, { name: 'a', cidr: '10.0.0.1/16' }))), {
        vpc: 'a',
        name: 's',
        cidr: '10.0.7.0/24',
      }).gateway,
    ).toBe('10.0.7.1');
  });

  test('never changes a primary block', () => {
    expect(refused(small(), (tx) => createVpc(tx, { name: 'a', cidr: '10.7.0.0/16' }))).toBe(
      "CONFLICT: vpc a exists with block 10.0.0.0/16, not 10.7.0.0/16; a VPC's primary block never changes: delete the VPC first, or choose another name",
    );
  });
});

describe('blocks of a VPC', () => {
  test.each([
    [
      '10.0.128.0/20',
      'INVALID: block 10.0.128.0/20 overlaps 10.0.0.0/16 of the same vpc a; choose a block that is free',
    ],
    [
      '10.1.4.0/24',
      'INVALID: block 10.1.4.0/24 of vpc a overlaps 10.1.0.0/16 of its peer b; choose another block, or unpeer first',
    ],
    [
      '10.2.4.0/24',
      'INVALID: block 10.2.4.0/24 of vpc a overlaps 10.2.0.0/16 of c: b is peered with both; choose another block, or unpeer first',
    ],
    [
      '198.51.100.0/28',
      'INVALID: vpc a: 198.51.100.0/28 overlaps the pool of public addresses 198.51.100.0/24; choose another block',
    ],
  ])('refuse %s where a is peered with b, and b with c', (block, line) => {
    const made = small();
    made.transact((tx) => {
      createVpc(tx, { name: 'c', cidr: '10.2.0.0/16' });
      peer(tx, 'a', 'b');
      peer(tx, 'b', 'c');
    });
    expect(refused(made, (tx) => addVpcBlock(tx, 'a', cidr(block)))).toBe(line);
  });

  test('may overlap those of a VPC that is no peer', () => {
    expect(addVpcBlock(draft(small()), 'a', cidr('10.1.4.0/24')).cidrs).toEqual(['10.0.0.0/16', '10.1.4.0/24']);
  });

  test('are dropped where they are not kept, but not from under a subnet, and never the primary', () => {
    const made = small();
    made.transact((tx) => {
      addVpcBlock(tx, 'a', cidr('10.8.0.0/24'));
      addVpcBlock(tx, 'a', cidr('10.9.0.0/24'));
      addSubnet(tx, { vpc: 'a', name: 'far', cidr: '10.9.0.0/28' });
    });
    expect(refused(made, (tx) => retainVpcBlocks(tx, 'a', [cidr('10.8.0.0/24')]))).toBe(
      'CONFLICT: block 10.9.0.0/24 of vpc a holds subnet far; delete it first',
    );
    made.transact((tx) => retainVpcBlocks(tx, 'a', [cidr('10.9.0.0/24')]));
    expect(made.get<Vpc>('vpc/a').cidrs).toEqual(['10.0.0.0/16', '10.9.0.0/24']);
  });
});

describe('addSubnet', () => {
  test.each([
    [
      { cidr: '10.0.4.0/29' },
      'INVALID: subnet t of vpc a: 10.0.4.0/29 is a /29, a block must be between /16 and /28; choose another prefix length',
    ],
    [
      { cidr: '10.7.0.0/24' },
      "INVALID: subnet t of vpc a: 10.7.0.0/24 is outside the VPC's blocks 10.0.0.0/16; choose a block inside, or add a secondary block to the VPC",
    ],
    [
      { cidr: '10.0.1.0/28' },
      'INVALID: subnet t of vpc a: 10.0.1.0/28 overlaps 10.0.1.0/24 of subnet s; choose a free block',
    ],
    [
      { cidr: '10.0.4.0/24', gateway: '10.0.5.1' },
      'INVALID: subnet t of vpc a: gateway 10.0.5.1 is outside 10.0.4.0/24; use 10.0.4.1',
    ],
    [
      { cidr: '10.0.4.0/24', gateway: '10.0.4.0' },
      'INVALID: subnet t of vpc a: gateway 10.0.4.0 is the network address of 10.0.4.0/24; use 10.0.4.1',
    ],
    [
      { cidr: '10.0.4.0/24', gateway: '10.0.4.255' },
      'INVALID: subnet t of vpc a: gateway 10.0.4.255 is the broadcast address of 10.0.4.0/24; use 10.0.4.1',
    ],
    [{}, 'USAGE: subnet t of vpc a has no block; give --cidr, or --ip with --gateway'],
    [{ gateway: '10.0.4.1', ip: '10.0.5.2' }, 'INVALID: 10.0.5.2 and 10.0.4.1 are not in one /24; give --cidr'],
    [{ cidr: '10.0.4.3/24' }, 'INVALID: 10.0.4.3/24 has host bits set: the network is 10.0.4.0/24; write 10.0.4.0/24'],
  ])('refuses %j', (args, line) => {
    expect(refused(small(), (tx) => addSubnet(tx, { vpc: 'a', name: 't', ...args }))).toBe(line);
  });

  test('names the VPCs there are', () => {
    expect(refused(small(), (tx) => addSubnet(tx, { vpc: 'z', name: 't', cidr: '10.0.4.0/24' }))).toBe(
      'NOT_FOUND: vpc z does not exist; there are: a, b',
    );
    expect(refused(undefined, (tx) => addSubnet(tx, { vpc: 'z', name: 't', cidr: '10.0.4.0/24' }))).toBe(
      'NOT_FOUND: vpc z does not exist; there are none yet',
    );
  });

  test('never moves a subnet', () => {
    expect(refused(small(), (tx) => addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.9.0/24' }))).toBe(
      'CONFLICT: subnet s of vpc a exists as 10.0.1.0/24 with gateway 10.0.1.1, not 10.0.9.0/24 with 10.0.9.1; delete it first, or choose another name',
    );
    expect(
      refused(small(), (tx) => addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', gateway: '10.0.1.9' })),
    ).toMatch(/^CONFLICT: .* with gateway 10.0.1.1, not 10.0.1.0\/24 with 10.0.1.9;/);
  });

  test('may have the block of a subnet of another VPC', () => {
    const tx = draft(small());
    createVpc(tx, { name: 'c', cidr: '10.0.0.0/16' });
    expect(addSubnet(tx, { vpc: 'c', name: 's', cidr: '10.0.1.0/24' }).cidr).toBe('10.0.1.0/24');
  });

  test('takes the VPC of a /24 as the block of a lone address, and else its /24', () => {
    const tx = draft();
    createVpc(tx, { name: 'tiny', cidr: '10.0.5.0/25' });
    expect(addSubnet(tx, { vpc: 'tiny', name: 's', ip: '10.0.5.20' }).cidr).toBe('10.0.5.0/25');
    createVpc(tx, { name: 'wide', cidr: '10.1.0.0/16' });
    expect(addSubnet(tx, { vpc: 'wide', name: 's', gateway: '10.1.7.1', ip: '10.1.7.20' })).toMatchObject({
      cidr: '10.1.7.0/24',
      gateway: '10.1.7.1',
    });
  });

  test('adds a block to the VPC where asked to: the exercise, word for word', () => {
    const made = world(
      (tx) => createVpc(tx, { name: 'vpc1', cidr: '10.0.1.1/24' }),
      (tx) => {
        addSubnet(tx, {
          vpc: 'vpc1',
          name: 'public',
          gateway: '10.0.1.1',
          ip: '10.0.1.2',
          extendVpc: true,
          public: true,
          addressing: 'plain',
        });
        addInstance(tx, { vpc: 'vpc1', subnet: 'public', name: 'public', ip: '10.0.1.2' });
      },
      (tx) => {
        addSubnet(tx, {
          vpc: 'vpc1',
          name: 'private',
          gateway: '10.0.2.1',
          ip: '10.0.2.2',
          extendVpc: true,
          addressing: 'plain',
        });
        addInstance(tx, { vpc: 'vpc1', subnet: 'private', name: 'private', ip: '10.0.2.2' });
      },
    );
    expect(made.get<Vpc>('vpc/vpc1').cidrs).toEqual(['10.0.1.0/24', '10.0.2.0/24']);
    expect(made.get<Subnet>('subnet/vpc1/public')).toMatchObject({
      cidr: '10.0.1.0/24',
      gateway: '10.0.1.1',
      public: true,
    });
    expect(made.get<Subnet>('subnet/vpc1/private')).toMatchObject({
      cidr: '10.0.2.0/24',
      gateway: '10.0.2.1',
      public: false,
    });
    expect(made.get<Instance>('instance/vpc1/private')).toMatchObject({ ip: '10.0.2.2' });
    expect(made.get<Instance>('instance/vpc1/public').publicIp).toMatch(/^198\.51\.100\./);
    expect(made.get<Instance>('instance/vpc1/private').publicIp).toBeUndefined();
  });

  test('gives instances public addresses with the flag, and takes them back', () => {
    const made = small();
    made.transact((tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'x' }));
    made.transact((tx) => addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', public: true }));
    expect(made.get<Instance>('instance/a/x').publicIp).toMatch(/^198\.51\.100\./);
    made.transact((tx) => addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', public: false }));
    expect(made.get<Instance>('instance/a/x').publicIp).toBeUndefined();
    expect(made.get<Subnet>('subnet/a/s').hostRoute).toBe(false);
  });

  test('does not reserve an address from under an instance', () => {
    const made = world((tx) => {
      createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
      addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', addressing: 'plain' });
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'x', ip: '10.0.1.3' });
    });
    const toCloud = (tx: Draft): unknown =>
      addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', addressing: 'cloud' });
    expect(refused(made, toCloud)).toBe(
      'CONFLICT: instance a/x has 10.0.1.3, which is reserved in a subnet with cloud addressing; delete it first, or keep plain addressing',
    );
    made.transact((tx) => deleteInstance(tx, 'a', 'x'));
    made.transact(toCloud);
    expect(made.get<Subnet>('subnet/a/s').addressing).toBe('cloud');
  });
});

describe('addInstance', () => {
  const add = (args: Partial<verbs.AddInstance>) => (tx: Draft) =>
    addInstance(tx, { vpc: 'a', subnet: 's', name: 'x', ...args });

  test.each([
    [
      { ip: '10.0.9.4' },
      'INVALID: address 10.0.9.4 is outside 10.0.1.0/24 of subnet a/s; choose one inside, or leave it out',
    ],
    [
      { ip: '10.0.1.0' },
      'INVALID: address 10.0.1.0 of subnet a/s is the network address; choose another, or leave it out',
    ],
    [{ ip: '10.0.1.1' }, 'INVALID: address 10.0.1.1 of subnet a/s is the gateway; choose another, or leave it out'],
    [
      { ip: '10.0.1.2' },
      'INVALID: address 10.0.1.2 of subnet a/s is reserved (the first four addresses of a subnet are); choose another, or leave it out',
    ],
    [
      { ip: '10.0.1.3' },
      'INVALID: address 10.0.1.3 of subnet a/s is reserved (the first four addresses of a subnet are); choose another, or leave it out',
    ],
    [
      { ip: '10.0.1.255' },
      'INVALID: address 10.0.1.255 of subnet a/s is the broadcast address; choose another, or leave it out',
    ],
    [{ subnet: 'q' }, 'NOT_FOUND: subnet q of vpc a does not exist; there are: p, s'],
    [{ vpc: 'q' }, 'NOT_FOUND: vpc q does not exist; there are: a, b'],
    [{ securityGroups: ['web'] }, 'NOT_FOUND: security group web of vpc a does not exist; there are: default'],
    [{ securityGroups: [] }, 'INVALID: instance a/x has no security group; name one, or leave it out for `default`'],
    [
      { publicIp: true },
      'INVALID: subnet a/s is private: its instances have no public address; put the instance into a public subnet',
    ],
    [
      { publicIp: '198.51.100.7' },
      'INVALID: subnet a/s is private: its instances have no public address; put the instance into a public subnet',
    ],
    [
      { subnet: 'p', publicIp: '203.0.113.7' },
      'INVALID: public address 203.0.113.7 is outside the pool 198.51.100.0/24; choose one of the pool, or leave it out',
    ],
  ])('refuses %j', (args, line) => {
    expect(refused(small(), add(args))).toBe(line);
  });

  test('refuses what another instance has, or what it has not itself', () => {
    const made = small();
    made.transact((tx) => {
      add({ name: 'x', ip: '10.0.1.9' })(tx);
      add({ subnet: 'p', name: 'y', publicIp: '198.51.100.7' })(tx);
    });
    expect(refused(made, add({ name: 'z', ip: '10.0.1.9' }))).toBe(
      'CONFLICT: address 10.0.1.9 is taken by instance a/x; choose another, or leave it out',
    );
    expect(refused(made, add({ subnet: 'p', name: 'z', publicIp: '198.51.100.7' }))).toBe(
      'CONFLICT: public address 198.51.100.7 is taken by instance a/y; choose another, or leave it out',
    );
    expect(refused(made, add({ name: 'x', ip: '10.0.1.10' }))).toBe(
      'CONFLICT: instance a/x exists with address 10.0.1.9, not 10.0.1.10; delete it first',
    );
    expect(refused(made, add({ subnet: 'p', name: 'x' }))).toBe(
      'CONFLICT: instance a/x exists in subnet s; names of instances are unique in their VPC: choose another, or delete it first',
    );
  });

  test('plain addressing reserves the network, the gateway and the broadcast address alone', () => {
    const made = small();
    made.transact((tx) =>
      addSubnet(tx, { vpc: 'a', name: 'q', cidr: '10.0.3.0/28', addressing: 'plain', gateway: '10.0.3.5' }),
    );
    for (const [host, word] of [
      [0, 'the network address'],
      [5, 'the gateway'],
      [15, 'the broadcast address'],
    ] as const) {
      expect(refused(made, add({ subnet: 'q', ip: `10.0.3.${host}` }))).toContain(`is ${word};`);
    }
    for (const host of [1, 2, 3, 4, 14]) {
      expect(add({ subnet: 'q', ip: `10.0.3.${host}` })(draft(made)).ip).toBe(`10.0.3.${host}`);
    }
  });

  test('a gateway elsewhere leaves the first four reserved, and is reserved too', () => {
    const made = small();
    made.transact((tx) => addSubnet(tx, { vpc: 'a', name: 'q', cidr: '10.0.3.0/28', gateway: '10.0.3.5' }));
    const taken = Array.from({ length: 10 }, (_, index) => `n${index}`).map(
      (name) => made.transact((tx) => add({ subnet: 'q', name })(tx)) && made.get<Instance>(`instance/a/${name}`).ip,
    );
    expect(taken).toEqual([4, 6, 7, 8, 9, 10, 11, 12, 13, 14].map((host) => `10.0.3.${host}`));
    expect(refused(made, add({ subnet: 'q', name: 'more' }))).toBe(
      'CONFLICT: subnet a/q has no free address left in 10.0.3.0/28; add a subnet',
    );
  });

  test('a freed address rests until the search comes round', () => {
    const made = small();
    const next = (name: string): string => {
      made.transact((tx) => add({ subnet: 'p', name })(tx));
      return made.get<Instance>(`instance/a/${name}`).ip;
    };
    expect([next('n0'), next('n1'), next('n2')]).toEqual(['10.0.2.4', '10.0.2.5', '10.0.2.6']);
    made.transact((tx) => deleteInstance(tx, 'a', 'n0'));
    expect(next('n3')).toBe('10.0.2.7');
    for (let host = 8; host <= 14; host += 1) expect(next(`n${host}`)).toBe(`10.0.2.${host}`);
    expect(next('again')).toBe('10.0.2.4');
  });

  test('hands out every address of the pool but the first and the last, then says so', () => {
    const made = small();
    made.transact((tx) => configure(tx, { publicPool: '203.0.113.0/29' }));
    made.transact((tx) => {
      for (let index = 0; index < 6; index += 1) add({ subnet: 'p', name: `n${index}` })(tx);
    });
    const given = findKind(made.reader, 'instance', 'instances:a').map(({ publicIp }) => publicIp);
    expect([...given].sort()).toEqual([1, 2, 3, 4, 5, 6].map((host) => `203.0.113.${host}`));
    expect(refused(made, add({ subnet: 'p', name: 'more' }))).toBe(
      'CONFLICT: the pool of public addresses 203.0.113.0/29 is exhausted; configure a larger publicPool',
    );
    expect(add({ subnet: 'p', name: 'more', publicIp: false })(draft(made)).publicIp).toBeUndefined();
  });

  test('changes groups and public address of one that is there, and keeps the rest', () => {
    const made = small();
    made.transact((tx) => {
      putGroup(tx, 'a', 'web', {});
      add({ subnet: 'p' })(tx);
    });
    const before = made.get<Instance>('instance/a/x');
    made.transact((tx) => add({ subnet: 'p', securityGroups: ['web', 'default', 'web'], publicIp: false })(tx));
    const after = made.get<Instance>('instance/a/x');
    expect(after).toMatchObject({ ip: before.ip, groups: ['default', 'web'] });
    expect(after.publicIp).toBeUndefined();
    expect(add({ subnet: 'p' })(draft(made))).toEqual(after);
  });

  test('comes back in the transaction that deletes it as it was, and as nothing else', () => {
    const made = small();
    made.transact((tx) => add({ ip: '10.0.1.9' })(tx));
    const again = draft(made);
    deleteInstance(again, 'a', 'x');
    expect(add({})(again).ip).toBe('10.0.1.9');
    const moved = (args: Partial<verbs.AddInstance>) => (tx: Draft) => {
      deleteInstance(tx, 'a', 'x');
      add(args)(tx);
    };
    expect(refused(made, moved({ ip: '10.0.1.10' }))).toBe(
      'CONFLICT: instance a/x goes only with this change: it cannot come back with 10.0.1.10 for 10.0.1.9; choose another name; or delete it in a change of its own first',
    );
    expect(refused(made, moved({ subnet: 'p' }))).toMatch(/^CONFLICT: instance a\/x goes only with this change/);
    expect(refused(made, moved({ name: 'y', ip: '10.0.1.9' }))).toBe(
      'CONFLICT: address 10.0.1.9 becomes free only with this change: instance a/x has it; choose another; or take it away in a change of its own first',
    );
  });

  test('is not given an address that this transaction frees', () => {
    const made = small();
    made.transact((tx) => {
      for (let host = 4; host <= 14; host += 1) add({ subnet: 'p', name: `n${host}` })(tx);
    });
    expect(
      refused(made, (tx) => {
        deleteInstance(tx, 'a', 'n4');
        add({ subnet: 'p', name: 'new' })(tx);
      }),
    ).toMatch(/^CONFLICT: subnet a\/p has no free address left/);
  });
});

describe('deleting', () => {
  test('a VPC takes all that is in it', () => {
    const made = small();
    made.transact((tx) => addInstance(tx, { vpc: 'a', subnet: 'p', name: 'x' }));
    made.transact((tx) => expect(deleteVpc(tx, 'a')).toBe(true));
    expect(made.all().map(({ kind }) => kind)).toEqual(['group', 'route-table', 'vpc']);
    expect(made.all()).toMatchObject([{ vpc: 'b' }, { vpc: 'b' }, { name: 'b' }]);
  });

  test('a VPC that is peered needs force', () => {
    const made = small();
    made.transact((tx) => peer(tx, 'b', 'a'));
    expect(refused(made, (tx) => deleteVpc(tx, 'a'))).toBe(
      'CONFLICT: vpc a is peered with b; unpeer-vpcs first, or use --force',
    );
    made.transact((tx) => deleteVpc(tx, 'a', true));
    expect(made.reader.get('peering/a/b')).toBeUndefined();
  });

  test('a subnet takes the instance of its own name along, others only by force', () => {
    const made = small();
    made.transact((tx) => {
      for (const name of ['s', 'x1', 'x2', 'x3', 'x4', 'x5', 'x6']) addInstance(tx, { vpc: 'a', subnet: 's', name });
    });
    expect(refused(made, (tx) => deleteSubnet(tx, 'a', 's'))).toBe(
      'CONFLICT: subnet a/s holds x1, x2, x3, x4, x5 and 1 more; delete-instance first, or use --force',
    );
    made.transact((tx) => deleteSubnet(tx, 'a', 's', true));
    expect(findKind(made.reader, 'instance', 'instances:a')).toEqual([]);
    const own = small();
    own.transact((tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 's' }));
    own.transact((tx) => expect(deleteSubnet(tx, 'a', 's')).toBe(true));
    expect(own.reader.get('instance/a/s')).toBeUndefined();
  });

  test('what is not there is false, and nothing happens', () => {
    const tx = draft(small());
    expect([
      deleteVpc(tx, 'z'),
      deleteSubnet(tx, 'a', 'z'),
      deleteSubnet(tx, 'z', 'z'),
      deleteInstance(tx, 'a', 'z'),
      deleteInstance(tx, 'z', 'z'),
      deleteGroup(tx, 'a', 'z'),
      unpeer(tx, 'a', 'b'),
      clearPolicy(tx, 'a', 's'),
    ]).toEqual([false, false, false, false, false, false, false, false]);
    expect(tx.edits()).toEqual([]);
  });

  test('a name that is none is refused', () => {
    for (const body of [
      (tx: Draft) => deleteVpc(tx, 'A'),
      (tx: Draft) => deleteSubnet(tx, 'a', 'S'),
      (tx: Draft) => deleteInstance(tx, 'a', '-'),
      (tx: Draft) => deleteGroup(tx, 'a', ''),
      (tx: Draft) => unpeer(tx, 'a', 'B'),
    ]) {
      expect(refused(small(), body)).toMatch(/^INVALID: /);
    }
  });
});

describe('security groups', () => {
  test('may only name groups that are there', () => {
    const made = small();
    const put = (tx: Draft): void => {
      putGroup(tx, 'a', 'db', { ingress: [{ from: { group: 'web' } }] });
      verbs.checkGroupReferences(tx, 'a');
    };
    expect(refused(made, put)).toBe(
      'NOT_FOUND: security group web, which a rule of a/db names, does not exist; there are: db, default',
    );
    made.transact((tx) => {
      putGroup(tx, 'a', 'web', { egress: [{ to: { group: 'db' } }] });
      put(tx);
    });
  });

  test('are kept while an instance has them or a rule names them', () => {
    const made = small();
    made.transact((tx) => {
      putGroup(tx, 'a', 'web', { ingress: [{ from: { group: 'web' } }, { from: 'self' }] });
      putGroup(tx, 'a', 'db', { ingress: [{ from: { group: 'web' } }] });
    });
    expect(refused(made, (tx) => deleteGroup(tx, 'a', 'default'))).toBe(
      'CONFLICT: security group default of vpc a cannot be deleted; it goes with its VPC',
    );
    expect(refused(made, (tx) => deleteGroup(tx, 'a', 'web'))).toBe(
      'CONFLICT: a rule of security group a/db names web; change that rule first',
    );
    made.transact((tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'x', securityGroups: ['db'] }));
    expect(refused(made, (tx) => deleteGroup(tx, 'a', 'db'))).toBe(
      'CONFLICT: security group a/db is in use by instance a/x; give it other groups first',
    );
    made.transact((tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'x', securityGroups: ['default'] }));
    made.transact((tx) => {
      expect(deleteGroup(tx, 'a', 'db')).toBe(true);
      expect(deleteGroup(tx, 'a', 'web'), 'its own rules may name it').toBe(true);
    });
  });

  test.each([
    [
      { egress: [{ to: 'host' }] },
      'INVALID: an egress rule cannot name the host: its own services are not reachable from a workload; leave the rule out',
    ],
    [
      { ingress: [{ from: 'everyone' }] },
      'INVALID: "everyone" is no source or destination; write a CIDR, one of any, self, vpc, peers, host, {group: NAME} or {prefixList: NAME}',
    ],
    [
      { ingress: [{ from: '10.0.0.1/24' }] },
      'INVALID: 10.0.0.1/24 has host bits set: the network is 10.0.0.0/24; write 10.0.0.0/24',
    ],
    [
      { ingress: [{ protocol: 'icmp' as const, port: 80 }] },
      'INVALID: port 80: protocol icmp has no ports; set the protocol to tcp or udp, or leave the port out',
    ],
  ])('refuse %j', (spec, line) => {
    expect(refused(small(), (tx) => putGroup(tx, 'a', 'web', spec))).toBe(line);
  });

  test('without egress rules let everything out, with an empty list nothing', () => {
    expect(putGroup(draft(small()), 'a', 'web', {}).egress).toEqual([{ party: { type: 'any' } }]);
    expect(putGroup(draft(small()), 'a', 'web', { egress: [] }).egress).toEqual([]);
  });
});

describe('peering', () => {
  /** a 10.0/16 and b 10.1/16, and c that overlaps a, d that overlaps nothing. */
  const four = (): World => {
    const made = small();
    made.transact((tx) => {
      createVpc(tx, { name: 'c', cidr: '10.0.0.0/20' });
      createVpc(tx, { name: 'd', cidr: '10.3.0.0/16' });
    });
    return made;
  };

  test.each([
    [['a', 'a'], undefined, 'INVALID: vpc a cannot be peered with itself; name two VPCs'],
    [['a', 'z'], undefined, 'NOT_FOUND: vpc z does not exist; there are: a, b, c, d'],
    [
      ['a', 'c'],
      undefined,
      'INVALID: vpc a and vpc c cannot be peered: 10.0.0.0/16 of a overlaps 10.0.0.0/20 of c; peered blocks must not overlap',
    ],
    [
      ['c', 'b'],
      undefined,
      'INVALID: vpc b is peered with a already, so c cannot be peered with it: 10.0.0.0/20 of c overlaps 10.0.0.0/16 of a; peered blocks must not overlap',
    ],
    [
      ['a', 'd'],
      ['10.7.0.0/16'],
      'INVALID: allowed block 10.7.0.0/16 is in neither VPC: a has 10.0.0.0/16; d has 10.3.0.0/16; name blocks of the two VPCs',
    ],
    [
      ['a', 'd'],
      ['10.0.0.0/16'],
      'INVALID: the allowed blocks leave out all of vpc d (10.3.0.0/16); name blocks of both VPCs',
    ],
  ] as const)('of %j admitting %j is refused', ([one, other], allowed, line) => {
    const made = four();
    made.transact((tx) => peer(tx, 'a', 'b'));
    expect(refused(made, (tx) => peer(tx, one, other, allowed))).toBe(line);
  });

  test('is one whichever VPC is named first', () => {
    const made = four();
    made.transact((tx) => peer(tx, 'b', 'a'));
    const tx = draft(made);
    peer(tx, 'a', 'b');
    expect(tx.edits()).toEqual([]);
    expect(unpeer(tx, 'b', 'a')).toBe(true);
  });

  test('takes part with the allowed blocks, each address once', () => {
    const made = four();
    made.transact((tx) => peer(tx, 'a', 'b', ['10.0.0.0/8', '10.0.0.0/15', '10.1.1.0/24']));
    const peering = lookup.peeringsOf(made.reader, 'a')[0] as NonNullable<ReturnType<typeof lookup.peeringsOf>[0]>;
    const blocks = (name: string): AnyCidr[] => lookup.peeredCidrs(peering, made.get<Vpc>(ids.vpc(name)));
    expect(blocks('a')).toEqual(['10.0.0.0/16']);
    expect(blocks('b')).toEqual(['10.1.0.0/16']);
    made.transact((tx) => peer(tx, 'a', 'b', ['10.0.1.0/24', '10.1.1.0/25', '10.1.1.0/24']));
    const narrow = lookup.peeringsOf(made.reader, 'a')[0] as typeof peering;
    expect(lookup.peeredCidrs(narrow, made.get<Vpc>('vpc/b'))).toEqual(['10.1.1.0/24']);
  });
});

describe('policies', () => {
  const rules = { ingress: [{ protocol: 'tcp' as const, port: 80, action: 'allow' as const }] };

  test('go to the subnet that is named, by name or by block, here or in the file', () => {
    const named = (subnet: string | undefined, file?: string): string =>
      applyPolicy(draft(small()), 'a', subnet, file === undefined ? rules : { subnet: file, ...rules }).name;
    expect([named('s'), named(undefined, 's'), named(undefined, '10.0.1.0/24'), named('s', '10.0.1.0/24')]).toEqual([
      's',
      's',
      's',
      's',
    ]);
  });

  test.each([
    [undefined, rules, 'USAGE: the policy names no subnet; give --subnet, or "subnet" in the file'],
    [
      's',
      { subnet: 'p', ...rules },
      'INVALID: the policy is for subnet p, not for s (10.0.1.0/24); correct "subnet" in the file, or leave it out',
    ],
    [
      undefined,
      { subnet: '10.9.0.0/24', ...rules },
      'NOT_FOUND: a subnet with block 10.9.0.0/24 in vpc a does not exist; there are: p 10.0.2.0/28, s 10.0.1.0/24',
    ],
    ['q', rules, 'NOT_FOUND: subnet q of vpc a does not exist; there are: p, s'],
    [
      's',
      { ingress: [{ action: 'allow' as const }, { action: 'deny' as const, destination: '10.0.1.7' }] },
      'INVALID: ingress rule 2: destination 10.0.1.7/32 does not hold the whole subnet 10.0.1.0/24; leave the destination out, or use security groups for single instances',
    ],
    [
      's',
      { egress: [{ action: 'deny' as const, source: '10.0.1.0/25' }] },
      'INVALID: egress rule 1: source 10.0.1.0/25 does not hold the whole subnet 10.0.1.0/24; leave the source out, or use security groups for single instances',
    ],
    [
      's',
      { ingress: [{ action: 'allow' as const, protocol: 'icmp' as const, port: 8 }] },
      'INVALID: port 8: protocol icmp has no ports; set the protocol to tcp or udp, or leave the port out',
    ],
  ])('of subnet %s with %j are refused', (subnet, policy, line) => {
    expect(refused(small(), (tx) => applyPolicy(tx, 'a', subnet, policy))).toBe(line);
  });

  test("may name the subnet's own side where it holds the whole subnet", () => {
    const tx = draft(small());
    applyPolicy(tx, 'a', 's', { ingress: [{ action: 'allow', destination: '10.0.0.0/16', source: '10.0.1.7' }] });
    expect(clearPolicy(tx, 'a', 's')).toBe(true);
    expect(tx.edits()).toEqual([]);
  });
});

describe('configure', () => {
  test.each([
    [
      { publicPool: '203.0.113.0/31' },
      'INVALID: public pool 203.0.113.0/31 is smaller than a /30; give a larger block',
    ],
    [
      { publicPool: '127.0.0.0/24' },
      'INVALID: public pool 127.0.0.0/24 overlaps 127.0.0.0/8 (loopback); use a private block such as 10.0.0.0/16',
    ],
    [
      { publicPool: '10.1.2.0/24' },
      'INVALID: vpc b: 10.1.0.0/16 overlaps the pool of public addresses 10.1.2.0/24; choose another block',
    ],
    [
      { uplink: 'sixteen-letters!' },
      'INVALID: "sixteen-letters!" cannot be the name of a link; name the uplink as the kernel does, or write auto or none',
    ],
    [
      { uplink: 'a/b' },
      'INVALID: "a/b" cannot be the name of a link; name the uplink as the kernel does, or write auto or none',
    ],
    [
      { uplink: '' },
      'INVALID: "" cannot be the name of a link; name the uplink as the kernel does, or write auto or none',
    ],
  ])('refuses %j', (settings, line) => {
    expect(refused(small(), (tx) => configure(tx, settings))).toBe(line);
  });

  test('keeps a pool that is in use', () => {
    const made = small();
    made.transact((tx) => addInstance(tx, { vpc: 'a', subnet: 'p', name: 'x', publicIp: '198.51.100.7' }));
    expect(refused(made, (tx) => configure(tx, { publicPool: '203.0.113.0/24' }))).toBe(
      'CONFLICT: the public pool 198.51.100.0/24 is in use: instance a/x has 198.51.100.7; delete what has a public address first',
    );
  });

  test('with the defaults changes nothing', () => {
    const tx = draft();
    configure(tx, { publicPool: '198.51.100.0/24', poolRouted: false, uplink: 'auto' });
    configure(tx, {});
    expect(tx.edits()).toEqual([]);
  });
});

describe('every verb', () => {
  test('asked again with the same arguments changes nothing', () => {
    assertProperty(
      fc.property(transactions, (list) => {
        const made = new World();
        for (const steps of list) {
          for (const step of steps) {
            if (!attempt(made, [step])) continue;
            const again = draft(made);
            run(again, step);
            expect(again.edits(), JSON.stringify(step)).toEqual([]);
          }
        }
      }),
      { numRuns: 60 },
    );
  }, 60_000);

  test('refused leaves the model as it was', () => {
    assertProperty(
      fc.property(transactions, (list) => {
        const made = new World();
        for (const steps of list) {
          const before = made.all();
          if (!attempt(made, steps)) expect(made.all()).toEqual(before);
        }
      }),
      { numRuns: 40 },
    );
  }, 60_000);
});
