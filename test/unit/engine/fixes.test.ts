/** `doctor`, `doctor --fix` and its undoing on a machine in memory. */
import { readFileSync, rmSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { type DoctorReport, doctor, open, type Vpcctl, VpcctlError, type VpcctlEvent } from '../../../src/index.js';
import { MemoryKernel, type MemoryKernelOptions } from '../../../src/kernel/memory.js';
import { FakeMachine } from './machine.js';
import { stateDir } from './support.js';

const DOCKER = readFileSync(new URL('rulesets/docker.json.txt', import.meta.url), 'utf8');
const SETTINGS = {
  '/proc/sys/net/ipv4/conf/eth0/forwarding': '1\n',
  '/proc/sys/net/ipv4/conf/vpc-edge/forwarding': '1\n',
};
const NM = '/etc/NetworkManager/conf.d/90-vpcctl.conf';
const NETWORKD = '/etc/systemd/networkd.conf.d/90-vpcctl.conf';

class KernelBesideOthers extends MemoryKernel {
  constructor(
    readonly machine: FakeMachine,
    options?: MemoryKernelOptions,
  ) {
    super(options);
  }
}

interface Scene {
  readonly machine: FakeMachine;
  readonly state: string;
  readonly kernel: MemoryKernel;
  run(options?: { fix?: boolean; undo?: boolean; dryRun?: boolean }): Promise<DoctorReport>;
  inside<T>(body: (vpcctl: Vpcctl) => Promise<T>): Promise<T>;
}

/** An installation with one public subnet, unless `bare`. */
async function scene(machine: FakeMachine, options: MemoryKernelOptions & { bare?: boolean } = {}): Promise<Scene> {
  const kernel = new KernelBesideOthers(machine, options);
  const state = stateDir();
  const made: Scene = {
    machine,
    state,
    kernel,
    run: (wish = {}) => doctor({ kernel, state, ...wish }),
    inside: async (body) => {
      const vpcctl = await open({ kernel, state });
      try {
        return await body(vpcctl);
      } finally {
        await vpcctl.close();
      }
    },
  };
  if (options.bare !== true) {
    await made.inside((vpcctl) =>
      vpcctl.transaction((tx) => {
        tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
        tx.addSubnet({ vpc: 'a', name: 'web', cidr: '10.1.1.0/24', public: true });
      }),
    );
  }
  // The kernel in memory keeps our own table, the machine what others have.
  machine.objects.push({ table: { family: 'inet', name: 'vpcctl', handle: 9 } });
  return made;
}

function check({ checks }: DoctorReport, name: string): DoctorReport['checks'][number] | undefined {
  return checks.find((one) => one.name === name);
}

describe('a firewall in the way', () => {
  test('is named, fixed once, and let alone when the last public subnet goes', async () => {
    const { machine, run, inside } = await scene(new FakeMachine(DOCKER, SETTINGS));
    const before = machine.snapshot();
    expect(check(await run(), 'other firewalls')).toMatchObject({
      status: 'warning',
      detail: expect.stringMatching(/^Docker drops packets between vpc-edge and eth0: its policy is drop/),
      fixes: [
        { kind: 'nft-rule', chain: 'DOCKER-USER' },
        { kind: 'nft-rule', chain: 'DOCKER-USER' },
      ],
    });
    const trial = await run({ fix: true, dryRun: true });
    expect(trial.fixed).toHaveLength(2);
    expect(machine.snapshot()).toEqual(before);

    const report = await run({ fix: true });
    expect(report.fixed).toEqual(trial.fixed);
    expect(check(report, 'other firewalls')).toMatchObject({ status: 'ok' });
    expect(check(report, 'fixes')).toMatchObject({ status: 'ok' });
    const fixed = machine.snapshot();
    expect(fixed.filter((line) => !before.includes(line))).toHaveLength(2);
    expect(fixed.filter((line) => before.includes(line))).toEqual(before);
    expect(await run({ fix: true })).toMatchObject({ fixed: [], undone: [] });
    expect(machine.snapshot()).toEqual(fixed);

    await inside((vpcctl) => vpcctl.transaction((tx) => tx.deleteSubnet('a', 'web')));
    expect(machine.snapshot()).toEqual(before);
    expect(check(await run(), 'fixes')).toBeUndefined();
  });

  test('is only named before there is a public subnet', async () => {
    const { machine, run } = await scene(new FakeMachine(DOCKER), { bare: true });
    const before = machine.snapshot();
    const found = check(await run({ fix: true }), 'other firewalls');
    expect(found).toMatchObject({ status: 'warning', hint: expect.stringContaining('make a public subnet') });
    expect(found?.fixes).toBeUndefined();
    expect(machine.snapshot()).toEqual(before);
  });

  test('of IPv6 is named and fixed where a VPC has a way to the internet for that', async () => {
    const docker6 = DOCKER.replaceAll('"family": "ip"', '"family": "ip6"');
    const { machine, run, inside } = await scene(new FakeMachine(docker6, SETTINGS));
    expect(check(await run(), 'other firewalls')).toMatchObject({ status: 'ok' });
    await inside((vpcctl) =>
      vpcctl.transaction((tx) => {
        tx.createVpc({ name: 'b', cidr: '10.2.0.0/16', ipv6Cidr: true });
        tx.addRoute('b', 'main', { destination: '::/0', target: 'internet-gateway' });
      }),
    );
    const before = machine.snapshot();
    expect(check(await run(), 'other firewalls')).toMatchObject({
      status: 'warning',
      detail: expect.stringMatching(/^Docker drops IPv6 packets between vpc-edge and eth0/),
    });
    expect((await run({ fix: true })).fixed).toHaveLength(2);
    expect(check(await run(), 'other firewalls')).toMatchObject({ status: 'ok' });
    await inside((vpcctl) => vpcctl.transaction((tx) => tx.deleteRoute('b', 'main', '::/0')));
    expect((await run({ fix: true })).undone).toHaveLength(2);
    expect(machine.snapshot()).toEqual(before);
  });

  test('rules for a pool of before are replaced', async () => {
    const { machine, run, inside } = await scene(new FakeMachine(DOCKER, SETTINGS));
    await run({ fix: true });
    await inside((vpcctl) => vpcctl.apply({ settings: { uplink: 'eth0' }, vpcs: {} }));
    expect(await run({ fix: true })).toMatchObject({ fixed: [], undone: [] });
    await inside(async (vpcctl) => {
      await vpcctl.destroy();
      await vpcctl.transaction((tx) => {
        tx.configure({ publicPool: '203.0.112.0/24' });
        tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
        tx.addSubnet({ vpc: 'a', name: 'web', cidr: '10.1.1.0/24', public: true });
      });
    });
    expect((await run({ fix: true })).fixed).toHaveLength(2);
    expect(machine.snapshot().filter((line) => line.includes('203.0.112.0'))).toHaveLength(2);
    expect(machine.snapshot().filter((line) => line.includes('198.51.100.0'))).toEqual([]);
  });

  test('of a state that was lost is found by its mark', async () => {
    const { machine, run, state, kernel } = await scene(new FakeMachine(DOCKER, SETTINGS));
    const before = machine.snapshot();
    await run({ fix: true });
    rmSync(state, { recursive: true });
    const still = await doctor({ kernel, state, undo: true });
    expect(still.undone).toEqual([]);
    const gone = { kernel: new KernelBesideOthers(machine), state };
    expect(check(await doctor(gone), 'fixes')).toMatchObject({ status: 'warning' });
    expect((await doctor({ ...gone, undo: true })).undone).toHaveLength(2);
    expect(machine.snapshot()).toEqual(before);
    expect(check(await doctor(gone), 'fixes')).toBeUndefined();
  });

  test('a rule that somebody removed is not missed', async () => {
    const { machine, run } = await scene(new FakeMachine(DOCKER, SETTINGS));
    await run({ fix: true });
    machine.objects = (JSON.parse(DOCKER) as { nftables: Record<string, object>[] }).nftables;
    expect((await run({ undo: true })).undone).toMatchObject([
      { left: 'it is gone already' },
      { left: 'it is gone already' },
    ]);
    expect(await run({ undo: true })).toMatchObject({ undone: [] });
  });
});

describe('managers of links', () => {
  const here = { ...SETTINGS, '/run/NetworkManager/devices/2': '', '/run/systemd/netif/links/2': '' };

  test('files are written whole and go with their directories', async () => {
    const { machine, run } = await scene(
      new FakeMachine(undefined, { ...here, '/etc/NetworkManager/NetworkManager.conf': '[main]\n' }),
    );
    const before = machine.snapshot();
    const report = await run({ fix: true });
    expect(report.fixed.map((fix) => fix.kind === 'file' && fix.path)).toEqual([NM, NETWORKD]);
    expect(machine.files.get(NM)).toContain('[device-vpcctl]\nmatch-device=interface-name:=vpc-edge\nmanaged=0\n');
    expect(machine.files.get(NETWORKD)).toContain(
      '[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n',
    );
    expect(check(report, 'NetworkManager')).toMatchObject({ status: 'ok' });
    expect(check(report, 'systemd-networkd')).toMatchObject({ status: 'ok' });
    await run({ undo: true });
    expect(machine.snapshot()).toEqual(before);
  });

  test('a file that somebody changed stays', async () => {
    const { machine, run } = await scene(new FakeMachine(undefined, here));
    await run({ fix: true });
    machine.files.set(NM, '# mine now\n');
    expect((await run({ undo: true })).undone).toMatchObject([{}, { left: 'somebody has changed it' }]);
    expect(machine.files.get(NM)).toBe('# mine now\n');
    expect(machine.files.has(NETWORKD)).toBe(false);
  });

  test.each([
    [
      'NetworkManager',
      '/etc/NetworkManager/conf.d/10-x.conf',
      '[keyfile]\nunmanaged-devices=mac:02:00:00:00:00:01;interface-name:vpc-*\n',
    ],
    [
      'NetworkManager',
      '/usr/lib/udev/rules.d/85-nm-unmanaged.rules',
      'ENV{ID_NET_DRIVER}=="veth", ENV{NM_UNMANAGED}="1"\n',
    ],
    [
      'NetworkManager',
      '/etc/NetworkManager/NetworkManager.conf',
      '[device]\nmatch-device=driver:veth\nmanaged=false\n',
    ],
    [
      'systemd-networkd',
      '/run/systemd/networkd.conf.d/x.conf',
      '[Network]\nManageForeignRoutes=no\nManageForeignRoutingPolicyRules=no\n',
    ],
  ])('%s that leaves us alone by %s is well', async (name, path, content) => {
    const { run } = await scene(new FakeMachine(undefined, { ...here, [path]: content }));
    expect(check(await run(), name)).toMatchObject({ status: 'ok' });
  });

  test.each([
    ['[Match]\nName=*\n[Network]\nDHCP=yes\n', true],
    ['[Match]\nType=ether\n', true],
    ['[Match]\nName=!lo !eth0\n', true],
    ['[Match]\nName=!vpc-*\n', false],
    ['[Match]\nName=en* eth*\n', false],
    ['[Match]\nType=ether\nMACAddress=02:00:00:00:00:01\n', false],
    ['[Network]\nDHCP=yes\n', false],
    ['[Match]\nName=vpc-edge\n[Link]\nUnmanaged=yes\n', false],
  ])('a file of networkd for %j adopts our link: %s', async (content, adopts) => {
    const path = '/etc/systemd/network/50-all.network';
    const { run } = await scene(new FakeMachine(undefined, { ...here, [path]: content }));
    const report = await run({ fix: true });
    const written = report.fixed.some(
      (fix) => fix.kind === 'file' && fix.path === '/etc/systemd/network/00-vpcctl.network',
    );
    expect(written).toBe(adopts);
    expect(check(report, 'systemd-networkd')).toMatchObject({ status: 'ok' });
  });

  test('a file of somebody that is read after ours is told, not replaced', async () => {
    const later = '/etc/systemd/networkd.conf.d/99-x.conf';
    const { machine, run } = await scene(
      new FakeMachine(undefined, { ...here, [later]: '[Network]\nManageForeignRoutes=yes\n' }),
    );
    const report = await run({ fix: true });
    expect(check(report, 'systemd-networkd')).toMatchObject({
      status: 'warning',
      hint: expect.stringContaining('change it there'),
    });
    expect(machine.files.get(later)).toBe('[Network]\nManageForeignRoutes=yes\n');
  });
});

describe('settings', () => {
  const key = 'net/ipv4/conf/eth0/forwarding';
  const file = `/proc/sys/${key}`;

  test('get their value back, unless somebody has set another', async () => {
    const { machine, run } = await scene(new FakeMachine(undefined, { ...SETTINGS, [file]: '0\n' }));
    expect((await run({ fix: true })).fixed).toEqual([{ kind: 'sysctl', key, value: '1', before: '0' }]);
    expect(machine.files.get(file)).toBe('1\n');
    await run({ undo: true });
    expect(machine.files.get(file)).toBe('0\n');
    await run({ fix: true });
    machine.files.set(file, '2\n');
    expect((await run({ undo: true })).undone).toMatchObject([{ left: 'it is 2 now' }]);
    expect(machine.files.get(file)).toBe('2\n');
  });

  test('a strict reverse path on an uplink that is not the default route is loosened', async () => {
    const routes = [{ dst: 'default', link: 'eth1', metric: 0, kernel: false }];
    const links = ['eth0', 'eth1'].map((name) => ({ name, mtu: 1500, up: true }));
    const machine = new FakeMachine(undefined, {
      ...SETTINGS,
      '/proc/sys/net/ipv4/conf/eth0/rp_filter': '0\n',
      '/proc/sys/net/ipv4/conf/all/rp_filter': '1\n',
    });
    const { run, inside } = await scene(machine, { routes, links, bare: true });
    await inside((vpcctl) =>
      vpcctl.transaction((tx) => {
        tx.configure({ uplink: 'eth0' });
        tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
        tx.addSubnet({ vpc: 'a', name: 'web', cidr: '10.1.1.0/24', public: true });
      }),
    );
    const report = await run();
    expect(check(report, 'uplink')).toMatchObject({
      status: 'warning',
      detail: expect.stringContaining('leads to eth1'),
    });
    expect(check(report, 'reverse path')).toMatchObject({
      status: 'warning',
      fixes: [{ key: 'net/ipv4/conf/eth0/rp_filter', value: '2', before: '0' }],
    });
    expect(check(await run({ fix: true }), 'reverse path')).toMatchObject({ status: 'ok' });
  });
});

describe('what is told only', () => {
  test('an uplink that is gone, down, or smaller than it was', async () => {
    const links = [{ name: 'eth0', mtu: 1500, up: true }];
    const { machine, state } = await scene(new FakeMachine(undefined, SETTINGS), { links });
    const now = (changed: MemoryKernelOptions) => doctor({ kernel: new KernelBesideOthers(machine, changed), state });
    expect(check(await now({ links: [] }), 'uplink')).toMatchObject({ status: 'warning', detail: /eth0 is gone/ });
    expect(check(await now({ links: [{ name: 'eth0', mtu: 1500, up: false }] }), 'uplink')?.detail).toMatch(/is down/);
    const small = await now({ links: [{ name: 'eth0', mtu: 1400, up: true }] });
    expect(check(small, 'MTU')).toMatchObject({ status: 'warning', detail: expect.stringContaining('vpc a (1500)') });
    expect(check(await now({ links }), 'MTU')).toMatchObject({ status: 'ok' });
  });

  test.each([
    ['legacy iptables', 'unknown', { '/proc/net/ip_tables_names': 'nat\nfilter\n' }],
    ['bridge netfilter', 'ok', { '/proc/sys/net/bridge/bridge-nf-call-iptables': '1\n' }],
    ['neighbour table', 'warning', { '/proc/sys/net/ipv4/neigh/default/gc_thresh3': '1024\n' }],
    [
      'connection tracking',
      'warning',
      { '/proc/sys/net/netfilter/nf_conntrack_count': '90\n', '/proc/sys/net/netfilter/nf_conntrack_max': '100\n' },
    ],
    ['socket buffers', 'warning', { '/proc/sys/net/core/rmem_max': '4096\n' }],
    ['namespaces in all', 'warning', { '/proc/sys/user/max_net_namespaces': '2\n' }],
    [
      'nftables.service',
      'warning',
      {
        '/etc/systemd/system/sysinit.target.wants/nftables.service': '',
        '/etc/nftables.conf': '#!/usr/sbin/nft -f\nflush ruleset\n',
      },
    ],
  ])('%s: %s', async (name, status, files) => {
    const { run } = await scene(new FakeMachine(undefined, { ...SETTINGS, ...files }));
    expect(check(await run(), name)).toMatchObject({ status });
    const { run: without } = await scene(new FakeMachine(undefined, SETTINGS));
    expect(check(await without(), name)?.status ?? 'ok').toBe('ok');
  });

  test('our own table that somebody flushed', async () => {
    const { machine, run } = await scene(new FakeMachine(undefined, SETTINGS));
    expect(check(await run(), 'host firewall')).toBeUndefined();
    machine.objects = [];
    expect(check(await run(), 'host firewall')).toMatchObject({ status: 'warning' });
  });

  test('what may not be looked at, and the rest all the same', async () => {
    const { machine, run } = await scene(new FakeMachine(undefined, SETTINGS));
    machine.ruleset = async () => {
      throw new VpcctlError('ENVIRONMENT', 'nft did not list', { errno: 'EPERM', hint: 'run as root' });
    };
    const report = await run();
    expect(check(report, 'other firewalls')).toEqual({
      name: 'other firewalls',
      status: 'unknown',
      detail: 'not looked at: nft did not list (EPERM)',
      hint: 'run as root',
    });
    expect(check(report, 'forwarding')).toMatchObject({ status: 'ok' });
  });
});

describe('when something dies or is refused', () => {
  const files = { ...SETTINGS, '/proc/sys/net/ipv4/conf/eth0/forwarding': '0\n', '/run/systemd/netif/links/2': '' };

  test('at every step of fixing: the end of the border takes back what was done', async () => {
    for (let deaths = 1; deaths <= 5; deaths += 1) {
      const { machine, run, inside } = await scene(new FakeMachine(DOCKER, files));
      const before = machine.snapshot();
      let steps = 0;
      machine.onChange = () => {
        steps += 1;
        if (steps === deaths) throw new Error('killed');
      };
      const outcome = run({ fix: true });
      if (deaths <= 4) await expect(outcome).rejects.toThrow('killed');
      else await outcome;
      machine.onChange = () => {};
      await inside((vpcctl) => vpcctl.destroy());
      expect(machine.snapshot(), `death at step ${deaths}`).toEqual(before);
    }
  });

  test('at every step of taking back: the next command goes on', async () => {
    for (let deaths = 1; deaths <= 4; deaths += 1) {
      const { machine, run, inside } = await scene(new FakeMachine(DOCKER, files));
      const before = machine.snapshot();
      await run({ fix: true });
      let steps = 0;
      machine.onChange = () => {
        steps += 1;
        if (steps === deaths) throw new Error('killed');
      };
      await expect(inside((vpcctl) => vpcctl.destroy())).rejects.toThrow('killed');
      machine.onChange = () => {};
      await inside(async () => {});
      expect(machine.snapshot(), `death at step ${deaths}`).toEqual(before);
    }
  });

  test('a part of our file, which a crash left, is ours', async () => {
    const { machine, run } = await scene(new FakeMachine(undefined, files));
    await run({ fix: true });
    machine.files.set(NETWORKD, '# Made by vpcctl');
    await run({ undo: true });
    expect(machine.files.has(NETWORKD)).toBe(false);
  });

  test('what is refused stays remembered, and holds up nothing else', async () => {
    const { machine, run, inside } = await scene(new FakeMachine(DOCKER, files));
    const before = machine.snapshot();
    await run({ fix: true });
    machine.onChange = (what) => {
      if (what.startsWith('remove')) throw new VpcctlError('ENVIRONMENT', 'could not remove it', { errno: 'EROFS' });
    };
    const told: VpcctlEvent[] = [];
    await inside((vpcctl) => vpcctl.destroy(undefined, { onEvent: (event) => told.push(event) }));
    expect(told.filter(({ type }) => type === 'fix-kept')).toMatchObject([
      {
        error: { code: 'ENVIRONMENT', message: expect.stringMatching(/could not be taken back: could not remove it/) },
      },
    ]);
    expect(await inside(async (vpcctl) => vpcctl.list().vpcs)).toEqual([]);
    expect(check(await run(), 'fixes')).toMatchObject({ status: 'warning', hint: 'run `vpcctl doctor --undo`' });
    await expect(run({ undo: true })).rejects.toThrow(/EROFS|could not remove it/);
    machine.onChange = () => {};
    expect((await run({ undo: true })).undone).toHaveLength(1);
    expect(machine.snapshot()).toEqual(before);
  });
});

describe('forwarding of IPv6', () => {
  const found = async (forwarding6: MemoryKernelOptions['forwarding6'], isDual: boolean) => {
    const options = forwarding6 === undefined ? {} : { forwarding6 };
    const { inside, run } = await scene(new FakeMachine(undefined, SETTINGS), { bare: true, ...options });
    await inside((vpcctl) =>
      vpcctl.transaction((tx) => tx.createVpc({ name: 'a', cidr: '10.1.0.0/16', ipv6Cidr: isDual })),
    );
    return check(await run(), 'IPv6 forwarding');
  };

  test('that the kernel has for all links or none is told of before a route is refused', async () => {
    expect(await found('no', true)).toMatchObject({
      status: 'warning',
      detail: expect.stringContaining('IPv6 of VPCs has no way to the internet'),
      hint: expect.stringContaining('Linux 6.17'),
    });
    expect(await found('no', false)).toMatchObject({ status: 'ok' });
    expect(await found('off', true)).toMatchObject({
      status: 'warning',
      hint: expect.stringContaining('disable_ipv6'),
    });
    expect(await found('all', true)).toMatchObject({ status: 'ok', detail: 'on for all links' });
    expect(await found(undefined, true)).toMatchObject({ status: 'ok', detail: 'can be switched on for single links' });
  });

  test('that somebody has switched off is switched on again', async () => {
    const key = 'net/ipv6/conf/eth0/force_forwarding';
    const files = {
      ...SETTINGS,
      [`/proc/sys/${key}`]: '0\n',
      '/proc/sys/net/ipv6/conf/vpc-edge/force_forwarding': '1\n',
    };
    const { inside, run } = await scene(new FakeMachine(undefined, files), { bare: true });
    await inside((vpcctl) =>
      vpcctl.transaction((tx) => {
        tx.createVpc({ name: 'a', cidr: '10.1.0.0/16', ipv6Cidr: true });
        tx.addRoute('a', 'main', { destination: '::/0', target: 'internet-gateway' });
      }),
    );
    expect(check(await run(), 'IPv6 forwarding')).toMatchObject({
      fixes: [{ kind: 'sysctl', key, value: '1', before: '0' }],
    });
    expect(check(await run({ fix: true }), 'IPv6 forwarding')).toMatchObject({ status: 'ok' });
  });
});
