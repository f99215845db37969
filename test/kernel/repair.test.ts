/** What somebody broke with `ip` and `nft` is seen, told in the model's words, and put back; packets and connections tell whether it is as before. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Drift, open, type Vpcctl, VpcctlError } from '../../src/index.js';
import type { ApplyOptions, StageFailure } from '../../src/kernel/kernel.js';
import { RealKernel } from '../../src/kernel/real.js';
import type { Change } from '../../src/objects/change.js';
import { expectWitness, type Witness, witness } from '../e2e/support.js';
import { INTERNET, INTERNET_SERVER, type Listener, TestHost } from '../harness/host.js';
import { diffHostStates } from '../harness/host-state.mjs';
import { inNetns, ipDo, must } from '../harness/witness.js';

const PORT = 8000;

/** The real kernel; from the `refuseFrom`-th stage on it refuses, once. */
class StubbornKernel extends RealKernel {
  boot = super.bootId();
  refuseAt: number | undefined;
  /** Instead of being refused, the process dies: it does not even undo. */
  dies = false;
  dead = false;
  #stage = 0;

  override async apply(changes: readonly Change[], options: ApplyOptions = {}): Promise<StageFailure | undefined> {
    if (this.dead) throw new Error('killed');
    if (this.refuseAt === undefined || options.tolerant === true) return super.apply(changes, options);
    const refused = this.#stage === this.refuseAt;
    this.#stage += 1;
    if (refused && this.dies) {
      this.dead = true;
      throw new Error('killed');
    }
    if (refused) return { error: new VpcctlError('KERNEL', 'injected refusal'), applied: [] };
    return super.apply(changes, options);
  }

  override bootId(): string {
    return this.boot;
  }

  refuse(stage: number | undefined): void {
    this.refuseAt = stage;
    this.#stage = 0;
  }
}

let host: TestHost;
let vpcctl: Vpcctl;
let before: Witness;
let empty: ReturnType<TestHost['snapshot']>;
const kernel = new StubbornKernel();
const ips: Record<string, string> = {};
const listeners: Listener[] = [];

beforeAll(async () => {
  host = await TestHost.create();
  empty = host.snapshot();
  vpcctl = await open({ state: host.stateDir, kernel });
  await vpcctl.transaction((tx) => {
    for (const [vpc, net] of [
      ['a', '10.1'],
      ['b', '10.2'],
    ] as const) {
      tx.createVpc({ name: vpc, cidr: `${net}.0.0/16` });
      tx.addSubnet({ vpc, name: 'web', cidr: `${net}.1.0/24`, public: vpc === 'a' });
      tx.putSecurityGroup(vpc, 'web', {
        ingress: [
          { protocol: 'tcp', port: PORT },
          { protocol: 'tcp', port: 443 },
        ],
      });
      for (const name of ['x', 'y']) {
        const made = tx.addInstance({ vpc, subnet: 'web', name, securityGroups: ['web'] });
        ips[`${vpc}/${name}`] = made.ip;
        ips[`${vpc}/${name} public`] = made.publicIp ?? '';
      }
    }
    tx.peer('a', 'b');
  });
  await listen();
  listeners.push(await host.listener(INTERNET, 'tcp', PORT));
  await expectPackets();
  before = await witness();
}, 60_000);

afterAll(async () => {
  for (const name of ['a.x', 'a.y', 'b.x', 'b.y']) await host.leave(`vpc.${name}`);
  await vpcctl.destroy();
  await vpcctl.close();
  expect(diffHostStates(empty, host.snapshot())).toEqual([]);
  await host.close();
});

async function listen(...only: string[]): Promise<void> {
  for (const where of ['a.x', 'b.x']) {
    if (only.length === 0 || only.includes(`vpc.${where}`)) await host.listener(`vpc.${where}`, 'tcp', PORT);
  }
}

/** Within a VPC, to its peer, from the host, and to the internet. */
async function expectPackets(): Promise<void> {
  const ways = [
    ['vpc.a.y', ips['a/x']],
    ['vpc.b.y', ips['b/x']],
    ['vpc.a.y', ips['b/x']],
    ['vpc.b.y', ips['a/x']],
    ['', ips['a/x public']],
    ['', ips['a/x']],
    ['vpc.a.y', INTERNET_SERVER],
  ] as const;
  const results = await Promise.all(
    ways.map(async ([ns, to]) => ({
      way: `${ns} > ${to}`,
      ...(await host.probe(ns, { proto: 'tcp', to: to ?? '', port: PORT })),
    })),
  );
  expect(results.filter(({ ok }) => !ok)).toEqual([]);
}

const told = (drift: readonly Drift[]): string[] => [
  ...new Set(drift.filter(({ follows }) => !follows).map(({ sentence }) => sentence)),
];

/** Nobody of ours is in the namespace any more, and it is deleted. */
async function deleteNamespaces(...namespaces: readonly string[]): Promise<void> {
  await kernel.nft.release(namespaces);
  for (const ns of namespaces) {
    await host.leave(ns);
    await ipDo(['netns', 'del', ns]);
  }
}

const A = 'vpc.a';
const port = (instance: string): string =>
  `eni${(ips[instance] ?? '')
    .split('.')
    .map((part) => Number(part).toString(16).padStart(2, '0'))
    .join('')}`;
const nft = async (ns: string, ...words: string[]): Promise<unknown> => must(ns, ['nft', words.join(' ')]);

/** Somebody's doing, and the sentences that tell of it. */
const BROKEN: Readonly<Record<string, readonly [() => Promise<unknown>, readonly string[]]>> = {
  'a link is down': [async () => ipDo(['link', 'set', 'eth0', 'down'], 'vpc.a.x'), ['instance a/x: its link is down']],
  'a link is deleted': [
    async () => ipDo(['link', 'del', 'eth0'], 'vpc.a.x'),
    ['instance a/x: its link is missing from the kernel'],
  ],
  'a link is renamed': [
    async () => {
      await ipDo(['link', 'set', 'eth0', 'down'], 'vpc.a.x');
      await ipDo(['link', 'set', 'eth0', 'name', 'mine'], 'vpc.a.x');
    },
    ['instance a/x: its link is missing from the kernel'],
  ],
  'a link has another mark, MAC address and MTU': [
    async () =>
      ipDo(['link', 'set', 'eth0', 'alias', 'mine', 'address', '02:00:00:00:00:07', 'mtu', '1400'], 'vpc.a.x'),
    [
      'instance a/x: its link has the MAC address 02:00:00:00:00:07 instead of 02:76:0a:01:01:04, has mtu 1400 instead of 1500, has lost its owner mark',
    ],
  ],
  'a port takes packets of any source, and one answers late for the neighbours': [
    async () => {
      await host.sysctl(A, `net/ipv4/conf/${port('a/x')}/rp_filter`, '2');
      await host.sysctl(A, `net/ipv4/neigh/${port('a/y')}/proxy_delay`, '80');
      await host.leave(A);
    },
    [
      'instance a/x: its port at the router takes packets of any source',
      'instance a/y: its port at the router does not answer for its neighbours at once',
    ],
  ],
  'a port is down': [
    async () => ipDo(['link', 'set', port('a/x'), 'down'], A),
    ['instance a/x: its port at the router is down'],
  ],
  'a port is deleted': [
    async () => ipDo(['link', 'del', port('a/x')], A),
    ['instance a/x: its link is missing from the kernel'],
  ],
  'the link between peers is deleted': [
    async () => ipDo(['link', 'del', 'peer-b'], A),
    ['peering a - b: the link in the router of b is missing from the kernel'],
  ],
  'the link on the host is down': [
    async () => ipDo(['link', 'set', 'vpc-edge', 'down']),
    ['edge: the link vpc-edge on the host is down'],
  ],
  'the link on the host is deleted': [
    async () => ipDo(['link', 'del', 'vpc-edge']),
    ['edge: the link vpc-edge on the host is missing from the kernel'],
  ],
  'addresses, routes, rules and neighbours are deleted': [
    async () => {
      await ipDo(['addr', 'del', `${ips['a/x']}/24`, 'dev', 'eth0'], 'vpc.a.x');
      await ipDo(['route', 'del', '10.2.0.0/16', 'table', '101'], A);
      await ipDo(['rule', 'del', 'priority', '33000'], A);
      await ipDo(['neigh', 'del', ips['a/y'] ?? '', 'dev', port('a/y')], A);
      await ipDo(['route', 'del', `${ips['a/y']}/32`], A);
      await ipDo(['addr', 'del', '10.1.1.1/32', 'dev', 'lo'], A);
      await ipDo(
        [
          ...['route', 'replace', '10.1.0.0/16', 'table', '100'],
          ...['via', '169.254.128.6', 'dev', 'peer-a', 'onlink', 'proto', 'static'],
        ],
        'vpc.b',
      );
    },
    [
      'instance a/x: its address 10.1.1.4/24 is missing from the kernel',
      "subnet a/web: its gateway's address 10.1.1.1/32 is missing from the kernel",
      // The kernel forgets a link's neighbours with its last address.
      'instance a/x: the neighbour entry for 10.1.1.1 is missing from the kernel',
      'instance a/y: the neighbour entry for 10.1.1.5 in the router of a is missing from the kernel',
      'instance a/x: its default route is missing from the kernel',
      'peering a - b: route to peer b (10.2.0.0/16) is missing from the kernel',
      'instance a/y: the route to it in the router of a is missing from the kernel',
      'peering a - b: route to peer a (10.1.0.0/16) was made by somebody else',
      'subnet a/web: the rule that leads it to its route table is missing from the kernel',
    ],
  ],
  'settings are changed': [
    async () => {
      await host.sysctl(A, 'net/ipv4/ip_forward', '0');
      await host.sysctl('', 'net/ipv4/conf/eth0/forwarding', '0');
      await host.leave(A);
    },
    [
      'vpc a: the setting net.ipv4.ip_forward in the router of a is 0 instead of 1',
      'edge: the setting net.ipv4.conf.eth0.forwarding on the host is 0 instead of 1',
    ],
  ],
  'elements are missing, added and changed': [
    async () => {
      const mark = /"concat": \[(\d+), 6, 443\]/.exec(
        await must(A, ['nft', '-j', '-n', 'list set inet vpcctl in_port']),
      )?.[1];
      await nft(A, `delete element inet vpcctl in_port { ${mark} . 6 . 443 }`);
      await nft(A, `add element inet vpcctl in_port { ${mark} . 6 . 22 }`);
      await nft(A, 'delete element inet vpcctl profile {', ips['a/x'] ?? '', '}');
      await nft(A, 'add element inet vpcctl profile {', ips['a/x'] ?? '', ': 7 }');
    },
    [
      'security group a/web: rule tcp/22 from 0.0.0.0/0 is not recorded',
      'security group a/web: rule tcp/443 from 0.0.0.0/0 is missing from the kernel',
      'instance a/x: its membership of its security groups was changed',
    ],
  ],
  'a rule is deleted, and a chain flushed': [
    async () => {
      const chain = String(await must(A, ['nft', '-a', 'list', 'chain', 'inet', 'vpcctl', 'from_uplink']));
      await nft(A, 'delete rule inet vpcctl from_uplink handle', /drop # handle (\d+)/.exec(chain)?.[1] ?? '');
      await nft(A, 'flush chain inet vpcctl forward');
    },
    ["vpc a: the firewall's chain forward was changed", "vpc a: the firewall's chain from_uplink was changed"],
  ],
  'a chain has another policy, and another chain and a set are added': [
    async () => {
      await nft(A, 'chain inet vpcctl input { policy accept; }');
      await nft(A, 'add chain inet vpcctl theirs; add rule inet vpcctl theirs accept');
      await nft('vpc.b', 'add set inet vpcctl theirs { type ipv4_addr; }');
    },
    [
      "vpc a: the firewall's chain input was changed",
      "vpc a: the firewall's chain theirs is not recorded",
      "vpc b: the firewall's set theirs is not recorded",
    ],
  ],
  'a table is deleted': [
    async () => nft(A, 'delete table inet vpcctl'),
    ["vpc a: the firewall's table is missing from the kernel"],
  ],
  'the table on the host is deleted, a chain of the edge flushed': [
    async () => {
      await nft('', 'delete table inet vpcctl');
      await nft('vpc-edge', 'flush chain inet vpcctl forward');
    },
    ["edge: the firewall's chain forward was changed", "edge: the firewall's table is missing from the kernel"],
  ],
  'namespaces of instances are deleted': [
    async () => {
      await deleteNamespaces('vpc.a.x', 'vpc.b.x');
    },
    [
      'instance a/x: its namespace vpc.a.x is missing from the kernel',
      'instance b/x: its namespace vpc.b.x is missing from the kernel',
    ],
  ],
  'a namespace is deleted that a process is still in': [
    async () => ipDo(['netns', 'del', 'vpc.a.x']),
    ['instance a/x: its namespace vpc.a.x is missing from the kernel'],
  ],
  'routers are deleted': [
    async () => {
      await deleteNamespaces(A, 'vpc.b');
    },
    [
      'vpc a: its router, the namespace vpc.a, is missing from the kernel',
      'vpc b: its router, the namespace vpc.b, is missing from the kernel',
    ],
  ],
  'the edge is deleted': [
    async () => deleteNamespaces('vpc-edge'),
    ['edge: its namespace vpc-edge is missing from the kernel'],
  ],
};

describe('what somebody broke is told, put back, and works', () => {
  test.each(Object.keys(BROKEN))('%s', async (name) => {
    const [breakIt, sentences] = BROKEN[name] ?? [];
    await breakIt?.();
    expect(told(await vpcctl.drift())).toEqual(sentences);
    const { repaired, left } = await vpcctl.repair();
    expect([told(repaired), told(left)]).toEqual([sentences, []]);
    expect(await vpcctl.drift()).toEqual([]);
    await expectWitness(before);
    if (name.includes('namespace')) {
      await host.leave('vpc.a.x');
      await host.leave('vpc.b.x');
      await listen();
    }
    await expectPackets();
  });
});

describe('what is not ours', () => {
  test('is told of in routers and the edge, not in workloads, and stays', async () => {
    await ipDo(['link', 'add', 'theirs', 'type', 'bridge'], A);
    await ipDo(['addr', 'add', '10.99.0.1/24', 'dev', 'lo'], A);
    await ipDo(['route', 'add', 'blackhole', '10.98.0.0/16', 'proto', 'static'], A);
    await ipDo(['rule', 'add', 'priority', '7', 'from', '10.97.0.0/16', 'table', '7'], 'vpc-edge');
    await nft(A, 'add table ip theirs');
    await ipDo(['addr', 'add', '10.96.0.1/24', 'dev', 'eth0'], 'vpc.a.x');
    await ipDo(['route', 'add', 'blackhole', '10.95.0.0/16', 'proto', '201'], 'vpc.a.x');
    await nft('vpc.a.x', 'add table inet vpcctl');
    // Marked ours, and recorded nowhere: that goes.
    await ipDo(['route', 'add', 'blackhole', '10.94.0.0/16', 'proto', '201'], A);
    const foreign = [
      'vpc a: address 10.99.0.1/24 of lo in the router of a is not ours',
      'vpc a: link theirs (bridge) in the router of a is not ours',
      'vpc a: nft table ip theirs is not ours',
      'vpc a: route to 10.98.0.0/16 in the router of a is not ours',
      'edge: routing rule 7 from 10.97.0.0/16 in the edge is not ours',
    ];
    const ours = 'vpc a: route to 10.94.0.0/16 in the router of a is not recorded';
    expect(told(await vpcctl.drift()).sort()).toEqual([...foreign, ours].sort());
    const { repaired, left } = await vpcctl.repair();
    expect([told(repaired), told(left).sort()]).toEqual([[ours], [...foreign].sort()]);
    expect(told(await vpcctl.drift()).sort()).toEqual([...foreign].sort());
    await ipDo(['link', 'del', 'theirs'], A);
    await ipDo(['addr', 'del', '10.99.0.1/24', 'dev', 'lo'], A);
    await ipDo(['route', 'del', 'blackhole', '10.98.0.0/16'], A);
    await ipDo(['rule', 'del', 'priority', '7'], 'vpc-edge');
    await nft(A, 'delete table ip theirs');
    await ipDo(['addr', 'del', '10.96.0.1/24', 'dev', 'eth0'], 'vpc.a.x');
    await ipDo(['route', 'del', 'blackhole', '10.95.0.0/16'], 'vpc.a.x');
    await nft('vpc.a.x', 'delete table inet vpcctl');
    await expectWitness(before);
  });

  test('in the place of ours stays there, and what does not depend on it is put back', async () => {
    await ipDo(['link', 'del', 'eth0'], 'vpc.a.x');
    await ipDo(['link', 'add', 'eth0', 'type', 'bridge'], 'vpc.a.x');
    await ipDo(['link', 'set', 'eth0', 'down'], 'vpc.a.y');
    const { repaired, left } = await vpcctl.repair();
    expect(told(repaired)).toEqual(['instance a/y: its link is down']);
    expect(told(left)).toContain('instance a/x: its link is of another kind: bridge');
    await ipDo(['link', 'del', 'eth0'], 'vpc.a.x');
    await vpcctl.repair();
    await expectWitness(before);
    await expectPackets();
  });
});

describe('a repair', () => {
  test('of one VPC leaves the others as they are', async () => {
    await ipDo(['link', 'set', 'eth0', 'down'], 'vpc.a.x');
    await ipDo(['link', 'set', 'eth0', 'down'], 'vpc.b.x');
    await ipDo(['link', 'del', 'peer-b'], A);
    const dry = await vpcctl.repair({ vpc: 'a', dryRun: true });
    expect(await vpcctl.repair({ vpc: 'a' })).toEqual(dry);
    expect(told(await vpcctl.drift())).toEqual(['instance b/x: its link is down']);
    await vpcctl.repair({ vpc: 'b' });
    await expectWitness(before);
    await expect(vpcctl.repair({ vpc: 'none' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('cuts no connection, neither through what it replaces nor elsewhere', async () => {
    const through = await host.connect('vpc.a.y', ips['a/x'] ?? '', PORT);
    const fromHost = await host.connect('', ips['a/x public'] ?? '', PORT);
    const elsewhere = await host.connect('vpc.b.y', ips['b/x'] ?? '', PORT);
    await nft(A, 'flush chain inet vpcctl forward; flush chain inet vpcctl nat_in; flush set inet vpcctl in_port');
    // As the kernel has it now, nothing passes.
    expect(await host.probe('vpc.a.y', { proto: 'tcp', to: ips['a/x'] ?? '', port: PORT })).toMatchObject({
      ok: false,
    });
    await vpcctl.repair();
    for (const connection of [through, fromHost, elsewhere]) {
      expect(await connection.exchange()).toMatchObject({ ok: true });
      await connection.close();
    }
    await expectPackets();
  });

  /** Something of every kind, so that every stage has work. */
  async function breakMuch(): Promise<void> {
    await ipDo(['link', 'set', 'eth0', 'down'], 'vpc.a.x');
    await ipDo(['link', 'set', 'eth0', 'name', 'mine'], 'vpc.a.x');
    await ipDo(['link', 'set', 'mine', 'up'], 'vpc.a.x');
    await ipDo(['route', 'add', '10.93.0.0/16', 'dev', 'mine'], 'vpc.a.x');
    await host.sysctl('vpc.a', 'net/ipv4/ip_forward', '0');
    await host.leave('vpc.a');
    await ipDo(['link', 'set', 'eth0', 'address', '02:00:00:00:00:07'], 'vpc.a.y');
    await ipDo(['link', 'set', port('b/x'), 'down'], 'vpc.b');
    await ipDo(['addr', 'del', '10.2.1.1/32', 'dev', 'lo'], 'vpc.b');
    await ipDo(['link', 'del', 'peer-b'], A);
    await ipDo(['route', 'del', '10.1.1.0/24', 'dev', 'vpc-edge']);
    await host.sysctl('', 'net/ipv4/conf/eth0/forwarding', '0');
    await nft(A, 'flush chain inet vpcctl forward; flush set inet vpcctl in_port');
    await nft('vpc-edge', 'delete table inet vpcctl');
    await deleteNamespaces('vpc.b.y');
    // The end of a namespace takes its time.
    await expect.poll(async () => (await inNetns('vpc.b', ['ip', 'link', 'show', port('b/y')])).exitCode).not.toBe(0);
  }

  test.each([
    ['refused', false],
    ['killed', true],
  ])('that is %s at any stage leaves the kernel as it was found', async (_, dies) => {
    await breakMuch();
    const broken = await vpcctl.observe();
    const stages: string[] = [];
    let refused = 0;
    for (; refused < 20; refused += 1) {
      kernel.refuse(refused);
      kernel.dies = dies;
      const error: unknown = await vpcctl
        .repair({ onEvent: (event) => event.type === 'stage' && stages.push(event.stage) })
        .then(
          () => undefined,
          (reason: unknown) => reason,
        );
      kernel.refuse(undefined);
      if (error === undefined) break;
      expect(error).toMatchObject({ message: dies ? 'killed' : 'injected refusal' });
      if (dies) {
        kernel.dead = false;
        await vpcctl.close();
        vpcctl = await open({ state: host.stateDir, kernel });
      }
      expect(await vpcctl.observe(), `refused at ${stages.at(-1)}`).toEqual(broken);
    }
    expect([...new Set(stages)]).toEqual(['clear routes', 'clear links', 'build', 'connect']);
    await expectWitness(before);
    await expectPackets();
  });
});

describe('after a restart of the machine', () => {
  /** Nothing of ours is in the kernel, and it has another id. */
  async function restart(boot: string): Promise<void> {
    await deleteNamespaces('vpc-edge', A, 'vpc.b', 'vpc.a.x', 'vpc.a.y', 'vpc.b.x', 'vpc.b.y');
    await nft('', 'delete table inet vpcctl');
    await host.sysctl('', 'net/ipv4/conf/eth0/forwarding', '0');
    await expect.poll(async () => (await inNetns('', ['ip', 'link', 'show', 'vpc-edge'])).exitCode).not.toBe(0);
    kernel.boot = boot;
  }

  test('the first change brings everything back', async () => {
    await vpcctl.close();
    await restart('next');
    const events: string[] = [];
    vpcctl = await open({
      state: host.stateDir,
      kernel,
      onEvent: (event) => event.type === 'restored' && events.push(...event.restored),
    });
    await vpcctl.transaction((tx) => tx.addSubnet({ vpc: 'b', name: 'more', cidr: '10.2.9.0/24' }));
    expect(events).toEqual(['edge', 'vpc a', 'vpc b', 'peering a - b']);
    expect(await vpcctl.drift()).toEqual([]);
    await vpcctl.transaction((tx) => tx.deleteSubnet('b', 'more'));
    await expectWitness(before);
    await listen();
    await expectPackets();
  });

  test('a VPC whose name somebody took does not stop the others', async () => {
    await vpcctl.close();
    await restart('after next');
    await ipDo(['netns', 'add', A]);
    vpcctl = await open({ state: host.stateDir, kernel });
    const { restored, failed } = await vpcctl.restore();
    expect([restored, failed.map(({ what }) => what)]).toEqual([
      ['edge', 'vpc b'],
      ['vpc a', 'peering a - b'],
    ]);
    // What is somebody else's was not touched.
    expect(await must(A, ['nft', 'list', 'ruleset'])).toBe('');
    await ipDo(['netns', 'del', A]);
    await vpcctl.repair();
    await expectWitness(before);
    await listen();
    await expectPackets();
  });
});
