/** Beside the firewalls and managers of others: real packets stop, `doctor` says why, `doctor --fix` lets them pass, and the end leaves no trace. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Check, type DoctorReport, doctor, open } from '../../src/index.js';
import { RealKernel } from '../../src/kernel/real.js';
import { INTERNET, INTERNET_SERVER, TestHost, UPLINK } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { must } from '../harness/witness.js';
import { answers, destroyAll, expectHostAsBefore } from './support.js';

const WEB = 'vpc.a.web';
const ROUTED_POOL = '203.0.112.0/24';

const DOCKER = `
table ip filter {
  chain DOCKER-USER {
    counter return
  }
  chain DOCKER {
    iifname != "docker0" oifname "docker0" ip daddr 172.17.0.2 tcp dport 80 counter accept
  }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    counter jump DOCKER-USER
    oifname "docker0" ct state related,established counter accept
    oifname "docker0" counter jump DOCKER
    iifname "docker0" oifname != "docker0" counter accept
  }
}`;

const UFW = `
table ip filter {
  chain ufw-user-forward {
  }
  chain ufw-before-forward {
    ct state related,established counter accept
    icmp type echo-request counter accept
    counter jump ufw-user-forward
  }
  chain ufw-after-logging-forward {
    limit rate 3/minute burst 10 packets counter log prefix "[UFW BLOCK] "
  }
  chain ufw-reject-forward {
  }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    counter jump ufw-before-forward
    counter jump ufw-after-logging-forward
    counter jump ufw-reject-forward
  }
}`;

const FIREWALLD = `
table inet firewalld {
  chain filter_FWDI_public {
    meta l4proto { icmp, ipv6-icmp } accept
  }
  chain filter_FORWARD_IN_ZONES {
    iifname "${UPLINK}" goto filter_FWDI_public
    goto filter_FWDI_public
  }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state established,related accept
    ct status dnat accept
    iifname "lo" accept
    jump filter_FORWARD_IN_ZONES
    ct state invalid drop
    reject with icmpx type admin-prohibited
  }
}`;

let host: TestHost;
let before: HostState;
let tables: string[];

beforeEach(async () => {
  host = await TestHost.create({ routedToHost: [ROUTED_POOL] });
  before = host.snapshot();
  await host.listener(INTERNET, 'tcp', 80);
  tables = [];
});

afterEach(async () => {
  await destroyAll(host);
  for (const table of tables) await must('', ['nft', 'delete', 'table', ...table.split(' ')]);
  await expectHostAsBefore(host, before);
  await host.close();
});

async function load(ruleset: string): Promise<void> {
  tables.push(...[...ruleset.matchAll(/^table (\w+ \w+)/gm)].map(([, name]) => name as string));
  await must('', ['nft', '-f', '/dev/stdin'], { input: ruleset });
}

async function publicSubnet(...settings: string[]): Promise<string> {
  await host.vpcctlOk(['create-vpc', '--name', 'a', '--cidr', '10.1.0.0/16', ...settings]);
  await host.vpcctlOk(['add-subnet', '--vpc', 'a', '--subnet', 'web', '--ip', '10.1.1.4', '--nat']);
  const { json } = await host.vpcctlOk(['inspect', 'a', '--json']);
  const { subnets } = json as { subnets: { instances: { publicIp: string }[] }[] };
  return subnets[0]?.instances[0]?.publicIp as string;
}

const reaches = (): Promise<boolean> => answers(host, WEB, { proto: 'tcp', to: INTERNET_SERVER, port: 80 });

async function examine(...args: string[]): Promise<DoctorReport> {
  return (await host.vpcctlOk(['doctor', '--json', ...args])).json as DoctorReport;
}

function check({ checks }: Pick<DoctorReport, 'checks'>, name: string): Check | undefined {
  return checks.find((one) => one.name === name);
}

/** Every table that is not ours, with handles and without counts. */
async function foreign(): Promise<string[]> {
  const listed = await Promise.all(
    tables.map((table) => must('', ['nft', '-a', '-s', 'list', 'table', ...table.split(' ')])),
  );
  return listed.flatMap((text) => text.split('\n'));
}

describe('a firewall that drops what is forwarded', () => {
  test('Docker', async () => {
    await publicSubnet();
    expect(await reaches()).toBe(true);
    await load(DOCKER);
    const theirs = await foreign();
    expect(await reaches()).toBe(false);

    expect(check(await examine(), 'other firewalls')).toMatchObject({
      status: 'warning',
      detail: expect.stringMatching(/^Docker drops packets between vpc-edge and eth0/),
    });
    expect((await host.vpcctlOk(['doctor', '--fix', '--dry-run'])).stdout).toMatch(
      /^\+ rule in ip filter DOCKER-USER: /m,
    );
    expect(await foreign()).toEqual(theirs);

    const report = await examine('--fix');
    expect(report.fixed).toHaveLength(2);
    expect(check(report, 'other firewalls')).toMatchObject({ status: 'ok' });
    expect(await reaches()).toBe(true);
    const now = await foreign();
    const added = now.filter((line) => !theirs.includes(line));
    expect(added).toHaveLength(2);
    for (const line of added)
      expect(line).toMatch(/vpc-edge.* ip [sd]addr 198\.51\.100\.0\/24 counter accept comment "vpcctl"/);
    expect(now.filter((line) => theirs.includes(line))).toEqual(theirs);
    expect((await examine('--fix')).fixed).toEqual([]);
    expect(await foreign()).toEqual(now);

    await host.leave(WEB);
    await host.vpcctlOk(['delete-subnet', '--vpc', 'a', '--subnet', 'web', '--force']);
    expect(await foreign()).toEqual(theirs);
  });

  test('ufw, with a pool that is routed: both ways', async () => {
    const address = await publicSubnet('--public-pool', ROUTED_POOL, '--pool-routed');
    const input = JSON.stringify({ subnet: '10.1.1.0/24', ingress: [{ port: 80, protocol: 'tcp', action: 'allow' }] });
    await host.vpcctlOk(['apply-policy', '--vpc', 'a', '--subnet', 'web', '--policy', '-'], { input });
    await host.listener(WEB, 'tcp', 80);
    const reached = () => answers(host, INTERNET, { proto: 'tcp', to: address, port: 80 });
    expect([await reaches(), await reached()]).toEqual([true, true]);
    await load(UFW);
    const theirs = await foreign();
    expect([await reaches(), await reached()]).toEqual([false, false]);

    expect(check(await examine(), 'other firewalls')?.detail).toMatch(/^ufw may drop packets/);
    await examine('--fix');
    expect([await reaches(), await reached()]).toEqual([true, true]);
    expect((await foreign()).filter((line) => line.includes('vpcctl'))).toHaveLength(2);

    const { undone } = await examine('--undo');
    expect(undone).toHaveLength(2);
    expect(await foreign()).toEqual(theirs);
    expect([await reaches(), await reached()]).toEqual([false, false]);
  });

  test('firewalld: what to tell it; its table is left alone', async () => {
    await publicSubnet();
    expect(await reaches()).toBe(true);
    await load(FIREWALLD);
    const theirs = await foreign();
    expect(await reaches()).toBe(false);
    const report = await examine('--fix');
    expect(check(report, 'other firewalls')).toMatchObject({
      status: 'warning',
      detail: expect.stringMatching(/^firewalld /),
      hint: expect.stringContaining('firewall-cmd --permanent --zone=vpcctl --add-interface=vpc-edge'),
    });
    expect(report.fixed).toEqual([]);
    expect(await foreign()).toEqual(theirs);
  });
});

test('forwarding that somebody switched off is switched on, and off again at the end', async () => {
  await publicSubnet();
  const { checks } = await examine();
  expect(
    checks.filter(
      ({ status, name }) => status !== 'ok' && !['neighbour table', 'delay, jitter and loss'].includes(name),
    ),
  ).toEqual([]);
  expect(check({ checks }, 'uplink')?.detail).toContain(UPLINK);

  await host.sysctl('', `net/ipv4/conf/${UPLINK}/forwarding`, '0');
  expect(await reaches()).toBe(false);
  expect(check(await examine(), 'forwarding')).toMatchObject({ status: 'warning' });
  await examine('--fix');
  expect(await reaches()).toBe(true);
  await host.leave(WEB);
  await host.vpcctlOk(['cleanup-all', '--yes']);
  expect(await host.sysctl('', `net/ipv4/conf/${UPLINK}/forwarding`)).toBe('0');
});

describe('managers of links', () => {
  const root = mkdtempSync(join(tmpdir(), 'vpcctl-root-'));
  const contents = (): string[] =>
    readdirSync(root, { recursive: true, withFileTypes: true })
      .map((entry) => {
        const path = join(entry.parentPath, entry.name);
        return entry.isFile() ? `${path}: ${readFileSync(path, 'utf8')}` : path;
      })
      .sort();

  test('files that keep them off, and no trace of them afterwards', async () => {
    for (const dir of ['run/NetworkManager/devices', 'run/systemd/netif/links', 'etc/NetworkManager']) {
      mkdirSync(join(root, dir), { recursive: true });
    }
    writeFileSync(join(root, 'etc/NetworkManager/NetworkManager.conf'), '[main]\nplugins=keyfile\n');
    const untouched = contents();
    const kernel = new RealKernel('auto', root);
    const options = { kernel, state: host.stateDir };
    await publicSubnet();
    const report = await doctor({ ...options, fix: true });
    expect(report.fixed.map((fix) => fix.kind === 'file' && fix.path)).toEqual([
      '/etc/NetworkManager/conf.d/90-vpcctl.conf',
      '/etc/systemd/networkd.conf.d/90-vpcctl.conf',
    ]);
    expect(contents().filter((line) => !untouched.includes(line))).toHaveLength(2 + 3);
    expect(check(await doctor(options), 'NetworkManager')).toMatchObject({ status: 'ok' });
    expect(check(await doctor(options), 'systemd-networkd')).toMatchObject({ status: 'ok' });
    const vpcctl = await open(options);
    await vpcctl.destroy();
    await vpcctl.close();
    expect(contents()).toEqual(untouched);
    rmSync(root, { recursive: true });
  });
});
