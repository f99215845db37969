/** Every kind of difference as a sentence. */
import { describe, expect, onTestFinished, test } from 'vitest';
import { open, type Vpcctl, VpcctlError } from '../../../src/index.js';
import type { ObserveOptions } from '../../../src/kernel/kernel.js';
import { MemoryKernel } from '../../../src/kernel/memory.js';
import { type KernelObject, rowKey } from '../../../src/objects/kernel-object.js';
import type { Spec } from '../../../src/spec/types.js';
import { RICH, stateDir } from './support.js';

async function withSpec(
  spec: Spec,
): Promise<{ vpcctl: Vpcctl; kernel: MemoryKernel; row: (key: string) => KernelObject }> {
  const kernel = new MemoryKernel();
  const vpcctl = await open({ state: stateDir(), kernel });
  onTestFinished(async () => vpcctl.close());
  await vpcctl.apply(spec);
  const rows = new Map(vpcctl.recorded().map((row) => [rowKey(row), row]));
  const row = (start: string): KernelObject => {
    const found = rows.get(start) ?? [...rows].find(([key]) => key.startsWith(start))?.[1];
    if (found === undefined) throw new Error(`no row ${start}`);
    return found;
  };
  return { vpcctl, kernel, row };
}

const told = async (vpcctl: Vpcctl): Promise<string[]> => [
  ...new Set((await vpcctl.drift()).filter(({ follows }) => !follows).map(({ sentence }) => sentence)),
];

/** One namespace of it cannot be read. */
class Unreadable extends MemoryKernel {
  blind: string | undefined;

  override async observe(namespaces: readonly string[], options: ObserveOptions = {}): Promise<KernelObject[]> {
    const { blind } = this;
    if (blind === undefined || !namespaces.includes(blind)) return super.observe(namespaces, options);
    options.onUnreadable?.(blind, new VpcctlError('KERNEL', 'could not read it', { errno: 'EINVAL' }));
    return super.observe(
      namespaces.filter((ns) => ns !== blind),
      options,
    );
  }
}

test('a workload that cannot be read is told of, and the others are looked at and repaired', async () => {
  const kernel = new Unreadable();
  const vpcctl = await open({ state: stateDir(), kernel });
  onTestFinished(async () => vpcctl.close());
  await vpcctl.apply(RICH);
  const row = vpcctl.recorded().find((one) => one.kind === 'addr' && one.ns === 'vpc.a.d');
  if (row === undefined) throw new Error('no address');
  kernel.blind = 'vpc.a.w';
  kernel.tamper(row);
  const unread = 'instance a/w: its namespace vpc.a.w could not be read: EINVAL';
  expect(await told(vpcctl)).toEqual([unread, expect.stringMatching(/^instance a\/d: its address/)]);
  const { repaired, left } = await vpcctl.repair();
  expect(repaired).toHaveLength(1);
  expect(left).toMatchObject([{ sentence: unread, repairable: false }]);
  expect(await told(vpcctl)).toEqual([unread]);
  await expect(vpcctl.observe()).rejects.toThrow('could not read it');
  kernel.blind = undefined;
  expect(await told(vpcctl)).toEqual([]);
});

describe('what is missing', () => {
  test.each([
    ['netns|vpc.b', 'vpc b: its router, the namespace vpc.b, is missing from the kernel'],
    ['netns|vpc-edge', 'edge: its namespace vpc-edge is missing from the kernel'],
    ['link|vpc.a|uplink', 'internet gateway of vpc a: the link uplink in the router of a is missing from the kernel'],
    ['link|vpc.a|peer-b', 'peering a - b: the link in the router of b is missing from the kernel'],
    ['link|vpc.a|eni0a', 'instance a/w: its link is missing from the kernel'],
    ['addr|vpc.a|lo|10.0.2.1/32', "subnet a/db: its gateway's address 10.0.2.1/32 is missing from the kernel"],
    ['addr||vpc-edge', 'edge: its address 169.254.128.1/30 on the host is missing from the kernel'],
    ['route|vpc.a|100|10.1.0.0/16', 'peering a - b: route to peer b (10.1.0.0/16) is missing from the kernel'],
    ['route|vpc.a|101|default', 'route table a/public: the route to everywhere else is missing from the kernel'],
    ['route|vpc.a|254|10.0.0.0/16|1000', 'vpc a: the route that keeps 10.0.0.0/16 inside is missing from the kernel'],
    ['route||254|10.0.1.0/24', 'subnet a/web: the route to it on the host is missing from the kernel'],
    ['route|vpc-edge|254|198.51.100.0/24', 'edge: the route to 198.51.100.0/24 in the edge is missing from the kernel'],
    ['rule|vpc.a', 'subnet a/web: the rule that leads it to its route table is missing from the kernel'],
    ['neigh|vpc.a.w|eth0', 'instance a/w: the neighbour entry for 10.0.1.1 is missing from the kernel'],
    ['route|vpc.a|254|10.0.1.4/32', 'instance a/w: the route to it in the router of a is missing from the kernel'],
    [
      'neigh|vpc.a|eni0a000104',
      'instance a/w: the neighbour entry for 10.0.1.4 in the router of a is missing from the kernel',
    ],
    ['nft-chain|vpc.a|inet|vpcctl|forward', "vpc a: the firewall's chain forward is missing from the kernel"],
    ['nft-rule|vpc.a|inet|vpcctl|forward|004', "vpc a: the firewall's chain forward was changed"],
    [
      'nft-element|vpc.a|inet|vpcctl|public_in',
      'instance a/w: the translation of its public address is missing from the kernel',
    ],
    [
      'nft-element|vpc.a|inet|vpcctl|peer_flow',
      'peering a - b: the leave to pass between 10.0.0.0/16 and 10.1.0.0/16 in the router of a is missing from the kernel',
    ],
    ['nft-element||inet|vpcctl|uplink', 'edge: the leave to use the uplink eth0 is missing from the kernel'],
    [
      'nft-element|vpc.a|inet|vpcctl|in_port',
      'security group a/front: rule tcp/80 from 0.0.0.0/0 is missing from the kernel',
    ],
    ['nft-element|vpc.a|inet|vpcctl|in_net', 'policy of subnet a/db: rule'],
    ['nft-element|vpc.a|inet|vpcctl|out_all', 'security group'],
  ])('%s', async (key, sentence) => {
    const { vpcctl, kernel, row } = await withSpec(RICH);
    expect(kernel.tamper(row(key))).toBe(true);
    const [first = '', ...more] = await told(vpcctl);
    expect([first.slice(0, sentence.length), more]).toEqual([sentence, []]);
    expect((await vpcctl.drift()).every(({ repairable }) => repairable)).toBe(true);
  });

  test('of a rule that names a block says which, as the rule does', async () => {
    const { vpcctl, kernel, row } = await withSpec({
      vpcs: {
        a: {
          cidr: '10.0.0.0/16',
          subnets: { s: { cidr: '10.0.1.0/24' } },
          securityGroups: {
            g: { ingress: ['10.2.3.0/24', '10.2.3.4'].map((from) => ({ port: 80, protocol: 'tcp', from })) },
          },
          instances: { i: { subnet: 's', securityGroups: ['g'] } },
        },
      },
    });
    for (const length of [24, 32]) kernel.tamper(row(`nft-element|vpc.a|inet|vpcctl|in_net${length}_port`));
    expect((await told(vpcctl)).toSorted()).toEqual([
      'security group a/g: rule tcp/80 from 10.2.3.0/24 is missing from the kernel',
      'security group a/g: rule tcp/80 from 10.2.3.4 is missing from the kernel',
    ]);
  });

  test('of a network ACL says which rule, and what it does for its subnet', async () => {
    const { vpcctl, kernel, row } = await withSpec({
      vpcs: {
        a: {
          cidr: '10.0.0.0/16',
          subnets: { s: { cidr: '10.0.1.0/24', networkAcl: 'n' } },
          networkAcls: {
            n: {
              ingress: [{ number: 1, action: 'allow', protocol: 'tcp', port: 80, cidr: '0.0.0.0/0' }],
              egress: [{ number: 1, action: 'allow', protocol: 'icmp', icmpType: 8, cidr: '10.0.0.0/8' }],
            },
          },
          instances: { i: { subnet: 's' } },
        },
      },
    });
    const sets = ['port_subnet', 'inside', 'ingress', 'egress', 'port', 'icmp'];
    for (const set of sets) kernel.tamper(row(`nft-element|vpc.a|inet|vpcctl|acl_${set}|`));
    expect((await told(vpcctl)).toSorted()).toEqual([
      'instance a/i: its place in a subnet with a network acl is missing from the kernel',
      'network acl a/n: egress rule that allows icmp/8/0-255 to 10.0.0.0/8 is missing from the kernel',
      'network acl a/n: ingress rule that allows tcp/80 from 0.0.0.0/0 is missing from the kernel',
      'subnet a/s: its network acl for egress is missing from the kernel',
      'subnet a/s: its network acl for ingress is missing from the kernel',
    ]);
  });

  test('of a rule between groups names both', async () => {
    const { vpcctl, kernel, row } = await withSpec({
      vpcs: {
        a: {
          cidr: '10.0.0.0/16',
          subnets: { s: { cidr: '10.0.1.0/24' } },
          securityGroups: {
            front: {},
            back: { ingress: [{ protocol: 'tcp', port: '5000-6000', from: { group: 'front' } }] },
          },
          instances: { f: { subnet: 's', securityGroups: ['front'] }, b: { subnet: 's', securityGroups: ['back'] } },
        },
      },
    });
    kernel.tamper(row('nft-element|vpc.a|inet|vpcctl|in_group_port'));
    expect(await told(vpcctl)).toEqual([
      'security group a/back: rule tcp/5000-6000 from members of front is missing from the kernel',
    ]);
  });
});

test('what was changed says how', async () => {
  const { vpcctl, kernel, row } = await withSpec(RICH);
  kernel.alter({ ...row('link|vpc.a.w|eth0'), down: true } as KernelObject);
  kernel.alter({ ...row('sysctl|vpc.a|net/ipv4/ip_forward'), value: '0' } as KernelObject);
  kernel.alter({ ...row('neigh|vpc.a.d|eth0'), mac: '02:00:00:00:00:01' } as KernelObject);
  kernel.alter({ ...row('rule|vpc.a'), table: 7 } as KernelObject);
  kernel.alter({ ...row('nft-element|vpc.a|inet|vpcctl|profile'), data: 9 } as KernelObject);
  const drift = await vpcctl.drift();
  expect(await told(vpcctl)).toEqual([
    'instance a/w: its link is down',
    'instance a/d: the neighbour entry for 10.0.2.1 has mac 02:00:00:00:00:01 instead of 06:76:70:63:00:01',
    'instance a/w: its membership of its security groups was changed',
    'subnet a/web: the rule that leads it to its route table has table 7 instead of 101',
    'vpc a: the setting net.ipv4.ip_forward in the router of a is 0 instead of 1',
  ]);
  const down = drift.find(({ sentence }) => sentence === 'instance a/w: its link is down');
  expect(down).toMatchObject({ what: 'changed', resource: 'instance a/w', object: 'link vpc.a.w eth0' });
  expect(down?.observed).toEqual({ ...down?.recorded, down: true });
});

test('what is foreign counts in routers, the edge and on our link, and not in workloads', async () => {
  const { vpcctl, kernel } = await withSpec(RICH);
  const table = { kind: 'nft-table', family: 'ip', table: 'theirs' } as const;
  const route = { kind: 'route', table: 254, dst: '10.66.0.0/16', type: 'blackhole' } as const;
  for (const ns of ['vpc.a', 'vpc.a.w']) {
    kernel.alter({ ...table, ns });
    kernel.alter({ ...route, ns });
    kernel.alter({ ...route, ns, dst: '10.67.0.0/16', protocol: 4 });
    kernel.alter({ kind: 'addr', ns, link: ns === 'vpc.a' ? 'lo' : 'eth0', addr: '10.68.0.1/24' });
  }
  const drift = await vpcctl.drift();
  expect(drift.map(({ what, sentence, repairable }) => `${what} ${sentence} ${repairable}`).sort()).toEqual([
    'foreign vpc a: address 10.68.0.1/24 of lo in the router of a is not ours false',
    'foreign vpc a: nft table ip theirs is not ours false',
    'foreign vpc a: route to 10.66.0.0/16 in the router of a is not recorded true',
    'foreign vpc a: route to 10.67.0.0/16 in the router of a is not ours false',
  ]);
});

test('of routes and NAT gateways, in their words; what others put into a gateway’s namespace is its', async () => {
  const { vpcctl, kernel, row } = await withSpec({
    elasticIps: { e: {} },
    vpcs: {
      a: {
        cidr: '10.0.0.0/16',
        subnets: { p: { cidr: '10.0.1.0/24', public: true } },
        routeTables: { main: { routes: [{ destination: '0.0.0.0/0', target: { natGateway: 'n' } }] } },
        natGateways: { n: { subnet: 'p', ip: '10.0.1.9', elasticIp: 'e' } },
      },
    },
  });
  const missing: [string, string][] = [
    ['route|vpc.a|100|default', 'route table a/main: the route to everywhere else'],
    ['rule|vpc.a|33100', 'route table a/main: the rule that leads 10.0.0.0/16 to it'],
    ['rule|vpc.a|33000', 'subnet a/p: the rule that leads it to its route table'],
    ['route|vpc.a|254|10.0.1.9/32', 'nat gateway a/n: the route to it in the router of a'],
    ['route|vpc.a.nat.n|254|default', 'nat gateway a/n: its default route'],
    ['nft-element|vpc.a|inet|vpcctl|through', 'nat gateway a/n: the leave to pass on what is not for it'],
  ];
  for (const [key] of missing) kernel.tamper(row(key));
  expect((await told(vpcctl)).sort()).toEqual(missing.map(([, what]) => `${what} is missing from the kernel`).sort());
  await vpcctl.repair();
  kernel.alter({ kind: 'route', ns: 'vpc.a.nat.n', table: 254, dst: '10.9.0.0/16', type: 'blackhole', protocol: 3 });
  expect(await told(vpcctl)).toEqual(['nat gateway a/n: route to 10.9.0.0/16 is not ours']);
});
