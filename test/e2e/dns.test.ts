/** DNS by real queries from workloads: names of a VPC, private zones, what is passed on, and who may not ask. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { INTERNET, INTERNET_SERVER, TestHost } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { inNetns, must, netnsArgv } from '../harness/witness.js';
import { destroyAll, expectHostAsBefore, expectWitness, refused, settled, witness } from './support.js';

const TOOL = fileURLToPath(new URL('../harness/dns.mjs', import.meta.url));
const EXAMPLE = fileURLToPath(new URL('../../examples/dns.yaml', import.meta.url));
const EVERYWHERE = '169.254.169.253';

let host: TestHost;
let before: HostState;
let queries: string;
let server: ReturnType<typeof spawn>;

beforeAll(async () => {
  host = await TestHost.create();
  before = await settled(host);
  queries = join(host.stateDir, '..', 'queries');
  writeFileSync(queries, '');
  const [program = '', ...args] = netnsArgv(INTERNET, [process.execPath, TOOL, 'serve', INTERNET_SERVER, queries]);
  server = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(server.stdout as NodeJS.ReadableStream, 'data');
  // Two VPCs of one block with one zone name each, and a third that passes nothing on.
  await host.vpcctlOk(['apply', EXAMPLE, '--yes']);
});

afterAll(async () => {
  await destroyAll(host);
  const ended = once(server, 'exit');
  server.kill();
  await ended;
  await expectHostAsBefore(host, before);
  await host.close();
});

interface Reply {
  readonly rcode: string;
  readonly truncated: boolean;
  readonly authoritative: boolean;
  readonly answers: readonly string[];
  readonly authority: readonly string[];
}

async function ask(ns: string, to: string, name: string, type = 'A', ...how: string[]): Promise<Reply | null> {
  const argv = [process.execPath, TOOL, 'ask', to, name, type, ...how];
  return JSON.parse(await must(ns, argv)) as Reply | null;
}

const asked = (): string[] => readFileSync(queries, 'utf8').split('\n').filter(Boolean);

function resolverPid(): number {
  const pids = readdirSync('/proc').filter((name) => /^[0-9]+$/.test(name));
  const found = pids.find((pid) => {
    try {
      const [, script = '', state] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
      return script.endsWith('resolver/main.js') && state === host.stateDir;
    } catch {
      return false;
    }
  });
  return Number(found);
}

describe('names of a VPC', () => {
  test('an instance is found by its name, at both addresses, by UDP and by TCP', async () => {
    for (const to of ['10.60.0.2', EVERYWHERE]) {
      for (const how of [[], ['tcp']]) {
        expect(await ask('vpc.blue.app', to, 'db.blue.internal', 'A', ...how)).toMatchObject({
          rcode: 'NOERROR',
          authoritative: true,
          answers: ['db.blue.internal A 10.60.1.5'],
        });
      }
    }
  });

  test('and by its address', async () => {
    expect(await ask('vpc.blue.app', '10.60.0.2', '5.1.60.10.in-addr.arpa', 'PTR')).toMatchObject({
      answers: ['5.1.60.10.in-addr.arpa PTR db.blue.internal'],
    });
  });

  test('a name that is not there is not, and one of another type has nothing', async () => {
    expect(await ask('vpc.blue.app', '10.60.0.2', 'nobody.blue.internal')).toMatchObject({
      rcode: 'NXDOMAIN',
      answers: [],
      authority: ['blue.internal SOA'],
    });
    expect(await ask('vpc.blue.app', '10.60.0.2', 'db.blue.internal', 'AAAA')).toMatchObject({
      rcode: 'NOERROR',
      answers: [],
    });
  });

  test('an instance with IPv6 is found by that too, and by its reverse', async () => {
    const { json } = await host.vpcctlOk(['inspect', 'green', '--json']);
    const { subnets } = json as { subnets: { instances: { ip: string; ipv6: string }[] }[] };
    const { ip = '', ipv6 = '' } = subnets[0]?.instances[0] ?? {};
    expect(ipv6).toMatch(/^fd76:/);
    const answers = async (name: string, type: string) =>
      (await ask('vpc.green.app', '10.60.0.2', name, type))?.answers;
    expect(await answers('app.green.internal', 'AAAA')).toEqual([`app.green.internal AAAA ${ipv6}`]);
    expect(await answers('app.green.internal', 'A')).toEqual([`app.green.internal A ${ip}`]);
    expect(await answers('app.corp.internal', 'AAAA')).toEqual([`app.corp.internal AAAA ${ipv6}`]);
    expect(await answers('app.corp.internal', 'A')).toEqual([`app.corp.internal A ${ip}`]);
    const digits = new URL(`http://[${ipv6}]`).hostname.slice(1, -1).split('::');
    const groups = digits.map((part) => part.split(':').map((group) => group.padStart(4, '0')));
    const missing = 8 - groups.flat().length;
    const all = [...(groups[0] ?? []), ...Array.from({ length: missing }, () => '0000'), ...(groups[1] ?? [])].join('');
    const reverse = `${[...all].reverse().join('.')}.ip6.arpa`;
    expect(await answers(reverse, 'PTR')).toEqual([`${reverse} PTR app.green.internal`]);
    expect(await must('vpc.green.app', ['getent', 'ahostsv6', 'app'])).toContain(`${ipv6} `);
    // It is asked by IPv4 alone.
    expect((await must('vpc.green', ['ss', '-Hlntu6'])).trim()).toBe('');
  });

  test('programs of an instance ask it, by exec and by ip netns exec', async () => {
    const exec = ['exec', '--vpc', 'blue', '--instance', 'app', '--'];
    expect((await host.vpcctlOk([...exec, 'getent', 'hosts', 'db'])).stdout).toMatch(
      /^10\.60\.1\.5\s+db\.blue\.internal/,
    );
    expect(await must('vpc.blue.app', ['getent', 'hosts', 'db'])).toMatch(/^10\.60\.1\.5\s/);
    // The host's own file is as it was.
    expect(readFileSync('/etc/resolv.conf', 'utf8')).not.toContain('vpcctl');
  });

  test('a change is known when the command returns', async () => {
    await host.vpcctlOk(['add-instance', '--vpc', 'blue', '--subnet', 'work', '--name', 'late', '--ip', '10.60.1.9']);
    expect(await ask('vpc.blue.app', '10.60.0.2', 'late.blue.internal')).toMatchObject({
      answers: ['late.blue.internal A 10.60.1.9'],
    });
    expect(existsSync('/etc/netns/vpc.blue.late/resolv.conf')).toBe(true);
    await host.vpcctlOk(['delete-instance', '--vpc', 'blue', '--name', 'late']);
    expect(await ask('vpc.blue.app', '10.60.0.2', 'late.blue.internal')).toMatchObject({ rcode: 'NXDOMAIN' });
    expect(existsSync('/etc/netns/vpc.blue.late')).toBe(false);
  });
});

describe('private zones', () => {
  test('one name has another answer in each VPC', async () => {
    expect((await ask('vpc.blue.app', '10.60.0.2', 'api.corp.internal'))?.answers).toEqual([
      'api.corp.internal A 10.60.1.5',
    ]);
    expect((await ask('vpc.green.app', '10.60.0.2', 'api.corp.internal'))?.answers).toEqual([
      'api.corp.internal A 10.99.0.1',
    ]);
  });

  test('records of each type, aliases and wildcards', async () => {
    const answers = async (name: string, type: string) => (await ask('vpc.blue.app', '10.60.0.2', name, type))?.answers;
    expect(await answers('db.corp.internal', 'A')).toEqual(['db.corp.internal A 10.60.1.5']);
    expect(await answers('corp.internal', 'MX')).toEqual(['corp.internal MX 10 mail.corp.internal']);
    expect(await answers('_ldap._tcp.corp.internal', 'SRV')).toEqual([
      '_ldap._tcp.corp.internal SRV 1 10 389 api.corp.internal',
    ]);
    expect(await answers('corp.internal', 'TXT')).toEqual(['corp.internal TXT v=1; for the blue ones']);
    expect(await answers('six.corp.internal', 'AAAA')).toEqual(['six.corp.internal AAAA 2001:db8::1']);
    expect(await answers('anything.dev.corp.internal', 'A')).toEqual(['anything.dev.corp.internal A 10.60.1.4']);
    expect(await answers('www.corp.internal', 'A')).toEqual([
      'www.corp.internal CNAME api.corp.internal',
      'api.corp.internal A 10.60.1.5',
    ]);
  });

  test('an alias that leads out of the zone is followed there', async () => {
    expect((await ask('vpc.blue.app', '10.60.0.2', 'out.corp.internal'))?.answers).toEqual([
      'out.corp.internal CNAME www.example.com',
      'www.example.com A 203.0.113.80',
    ]);
  });

  test('what a zone does not have is asked of nobody else', async () => {
    const count = asked().length;
    expect(await ask('vpc.blue.app', '10.60.0.2', 'missing.corp.internal')).toMatchObject({ rcode: 'NXDOMAIN' });
    expect(asked()).toHaveLength(count);
  });

  test('a record is changed, and the VPC disassociated, at once', async () => {
    await host.vpcctlOk(['put-zone-record', '--zone', 'corp-green', '--name', 'api', '--value', '10.99.0.2']);
    expect((await ask('vpc.green.app', '10.60.0.2', 'api.corp.internal'))?.answers).toEqual([
      'api.corp.internal A 10.99.0.2',
    ]);
    await host.vpcctlOk(['disassociate-private-zone', '--zone', 'corp-green', '--vpc', 'green']);
    expect(await ask('vpc.green.app', '10.60.0.2', 'api.corp.internal')).toMatchObject({
      rcode: 'NXDOMAIN',
      answers: [],
    });
    await host.vpcctlOk(['apply', EXAMPLE, '--yes']);
    expect((await ask('vpc.green.app', '10.60.0.2', 'api.corp.internal'))?.answers).toEqual([
      'api.corp.internal A 10.99.0.1',
    ]);
  });
});

describe('everything else', () => {
  test('is asked of the servers that the VPC names, which no route leads to from it', async () => {
    const count = asked().length;
    expect(await ask('vpc.blue.app', '10.60.0.2', 'www.example.com')).toMatchObject({
      rcode: 'NOERROR',
      authoritative: false,
      answers: ['www.example.com A 203.0.113.80'],
    });
    expect(asked().slice(count)).toEqual(['udp www.example.com A']);
    expect(await host.probe('vpc.blue.app', { proto: 'icmp', to: INTERNET_SERVER, timeoutMs: 300 })).toMatchObject({
      ok: false,
    });
  });

  test('is refused where nobody is named', async () => {
    const count = asked().length;
    expect(await ask('vpc.island.app', '10.62.0.2', 'www.example.com')).toMatchObject({
      rcode: 'REFUSED',
      answers: [],
    });
    expect(asked()).toHaveLength(count);
  });

  test('what is too large for a datagram comes by TCP', async () => {
    const [name, type] = ['big.example.com', 'TXT'];
    expect(await ask('vpc.blue.app', '10.60.0.2', name, type)).toMatchObject({ truncated: true, answers: [] });
    const whole = await ask('vpc.blue.app', '10.60.0.2', name, type, 'tcp');
    expect(whole).toMatchObject({ rcode: 'NOERROR', truncated: false });
    expect(whole?.answers.join().length).toBeGreaterThan(4_000);
  });

  test('also of our own', async () => {
    const text = 'y'.repeat(2_000);
    await host.vpcctlOk(['put-zone-record', '--zone', 'corp', '--name', 'large', '--type', 'TXT', '--value', text]);
    expect(await ask('vpc.blue.app', '10.60.0.2', 'large.corp.internal', 'TXT', 'edns')).toMatchObject({
      truncated: true,
    });
    const whole = await ask('vpc.blue.app', '10.60.0.2', 'large.corp.internal', 'TXT', 'tcp');
    expect(whole?.answers).toEqual([`large.corp.internal TXT ${text}`]);
    await host.vpcctlOk(['delete-zone-record', '--zone', 'corp', '--name', 'large', '--type', 'TXT']);
  });
});

describe('who asks', () => {
  test('security groups and network ACLs do not stand in the way, and the analyzer knows', async () => {
    // `closed` has a group that lets nothing in or out, in a subnet whose network ACL denies everything.
    expect(await ask('vpc.blue.closed', '10.60.0.2', 'db.blue.internal')).toMatchObject({ rcode: 'NOERROR' });
    for (const to of ['10.60.0.2', EVERYWHERE]) {
      for (const protocol of ['udp', 'tcp']) {
        const { json } = await host.vpcctl([
          'analyze',
          'blue/closed',
          to,
          '--protocol',
          protocol,
          '--port',
          '53',
          '--json',
        ]);
        expect(json).toMatchObject({ reachable: true });
      }
    }
    const { json } = await host.vpcctl(['analyze', 'blue/closed', '10.60.0.2', '--port', '54', '--json']);
    expect(json).toMatchObject({ reachable: false });
    const other = await host.probe('vpc.blue.closed', { proto: 'tcp', to: '10.60.0.2', port: 54, timeoutMs: 300 });
    expect(other.ok).toBe(false);
  });

  test("another VPC's resolver is not to be asked, by a peer either", async () => {
    expect(await ask('vpc.blue.app', '10.62.0.2', 'app.island.internal')).toBeNull();
    await host.vpcctlOk(['peer-vpcs', '--vpc1', 'blue', '--vpc2', 'island']);
    expect(await host.probe('vpc.blue.app', { proto: 'icmp', to: '10.62.1.4' })).toMatchObject({ ok: true });
    expect(await ask('vpc.blue.app', '10.62.0.2', 'app.island.internal')).toBeNull();
    expect(await ask('vpc.blue.app', '10.62.0.2', 'app.island.internal', 'A', 'tcp')).toBeNull();
    const { json } = await host.vpcctl([
      'analyze',
      'blue/app',
      '10.62.0.2',
      '--protocol',
      'udp',
      '--port',
      '53',
      '--json',
    ]);
    expect(json).toMatchObject({ reachable: false, query: { destination: { kind: 'resolver', vpc: 'island' } } });
    await host.vpcctlOk(['unpeer-vpcs', '--vpc1', 'blue', '--vpc2', 'island']);
  });

  test('the gateway answers no queries', async () => {
    expect(await ask('vpc.blue.app', '10.60.1.1', 'db.blue.internal')).toBeNull();
  });

  test('a source that is not its own gets nothing, nobody else gets its answer, and nothing is tracked', async () => {
    const capture = await host.capture('vpc.blue.db', 'eth0', 'udp port 53');
    await must('vpc.blue.app', ['ip', 'address', 'add', '10.60.1.5/32', 'dev', 'lo']);
    const spoof = `
      const s = require('dgram').createSocket('udp4');
      s.bind(5555, '10.60.1.5', () => {
        const q = Buffer.from('1234010000010000000000000264620462c7565008696e7465726e616c0000010001', 'hex');
        s.send(q, 53, '10.60.0.2', () => setTimeout(() => s.close(), 300));
      });`;
    await must('vpc.blue.app', [process.execPath, '-e', spoof]);
    await must('vpc.blue.app', ['ip', 'address', 'del', '10.60.1.5/32', 'dev', 'lo']);
    expect(await capture.stop()).toEqual([]);
    await ask('vpc.blue.app', '10.60.0.2', 'db.blue.internal');
    const tracked = await must('vpc.blue', ['cat', '/proc/net/nf_conntrack']).catch(() => '');
    expect(tracked).not.toMatch(/dst=10\.60\.0\.2 /);
  });

  test('a flood of queries and garbage from one VPC leaves the others answered, and the resolver alive', async () => {
    const pid = resolverPid();
    const flooding = must('vpc.green.app', [process.execPath, TOOL, 'flood', '10.60.0.2', '3']);
    await sleep(500);
    for (let count = 0; count < 5; count += 1) {
      expect(await ask('vpc.blue.app', '10.60.0.2', 'db.blue.internal')).toMatchObject({ rcode: 'NOERROR' });
      await sleep(200);
    }
    expect(Number(await flooding)).toBeGreaterThan(2_000);
    expect(resolverPid()).toBe(pid);
    await sleep(1_100);
    expect(await ask('vpc.green.app', '10.60.0.2', 'app.green.internal')).toMatchObject({ rcode: 'NOERROR' });
    const rss = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
    expect(Number(rss)).toBeLessThan(400_000);
  });

  test('what one workload asks of a server that is silent is not in the way of the others', async () => {
    const busy = must('vpc.blue.db', [process.execPath, TOOL, 'burst', '10.60.0.2', 'silent.example.com', '300']);
    await sleep(300);
    expect(await ask('vpc.blue.app', '10.60.0.2', 'www.example.com')).toMatchObject({
      answers: ['www.example.com A 203.0.113.80'],
    });
    // His own are refused beyond a number, at once.
    expect(await ask('vpc.blue.db', '10.60.0.2', 'www.example.com')).toMatchObject({ rcode: 'SERVFAIL' });
    expect(Number(await busy)).toBe(300);
    await sleep(2_200);
    expect(await ask('vpc.blue.db', '10.60.0.2', 'www.example.com')).toMatchObject({ rcode: 'NOERROR' });
  });

  test('a connection that asks for more than the VPC may is ended, and one instance has so many', async () => {
    const pid = resolverPid();
    const { answered, ended } = JSON.parse(
      await must('vpc.green.app', [process.execPath, TOOL, 'pipe', '10.60.0.2', 'app.green.internal', '20000']),
    ) as { answered: number; ended: boolean };
    expect(ended).toBe(true);
    expect(answered).toBeGreaterThan(100);
    expect(answered).toBeLessThan(5_000);
    expect(await ask('vpc.blue.app', '10.60.0.2', 'db.blue.internal', 'A', 'tcp')).toMatchObject({ rcode: 'NOERROR' });
    const open = Number(await must('vpc.blue.db', [process.execPath, TOOL, 'hold', '10.60.0.2', '100']));
    expect(open).toBeGreaterThan(0);
    expect(open).toBeLessThanOrEqual(16);
    expect(resolverPid()).toBe(pid);
  });

  test('only the question is passed on, and of an answer, what it is not for is not heard', async () => {
    expect(await ask('vpc.blue.app', '10.60.0.2', 'forged.example.com')).toMatchObject({
      answers: ['forged.example.com A 203.0.113.80'],
    });
    const count = asked().length;
    expect(await ask('vpc.blue.app', '10.60.0.2', 'WWW.example.com', 'A', 'options')).toMatchObject({
      rcode: 'NOERROR',
    });
    expect(asked().slice(count)).toEqual(['udp WWW.example.com A']);
  });

  test.each([
    ['nothing', ''],
    ['half a header', '123401000001'],
    ['a response', '123481800001000000000000'],
    ['a name that points to itself', '12340100000100000000' + '0000c00c00010001'],
    ['a label that runs out', '123401000001000000000000ff6162'],
    ['65535 questions', '12340100ffffffffffffffff'],
    ['an unknown opcode', '12347800000100000000000003616263000001' + '0001'],
  ])('%s is survived', async (_what, hex) => {
    const pid = resolverPid();
    const script = `
      const s = require('dgram').createSocket('udp4');
      s.send(Buffer.from('${hex}', 'hex'), 53, '10.60.0.2', () => setTimeout(() => s.close(), 100));
      const t = require('net').connect(53, '10.60.0.2', () => t.end(Buffer.from('ffff${hex}', 'hex')));
      t.on('error', () => {});`;
    await must('vpc.blue.app', [process.execPath, '-e', script]);
    expect(await ask('vpc.blue.app', '10.60.0.2', 'db.blue.internal')).toMatchObject({ rcode: 'NOERROR' });
    expect(resolverPid()).toBe(pid);
  });
});

describe('its life', () => {
  test('one process answers for all VPCs, with no socket of its own on the host', async () => {
    const text = await must('', ['ss', '-Hlunt']);
    expect(text).not.toMatch(/:53\s/);
    expect((await must('vpc.blue', ['ss', '-Hlunt'])).split('\n').filter((line) => line.includes(':53'))).toHaveLength(
      4,
    );
  });

  test('one that was killed is started again by the next command', async () => {
    process.kill(resolverPid(), 'SIGKILL');
    await sleep(100);
    expect(await ask('vpc.blue.app', '10.60.0.2', 'db.blue.internal')).toBeNull();
    await host.vpcctlOk(['list']);
    expect(await ask('vpc.blue.app', '10.60.0.2', 'db.blue.internal')).toMatchObject({ rcode: 'NOERROR' });
  });

  test('doctor says whether it answers, and does not start it', async () => {
    const check = async (): Promise<unknown> => {
      const { json } = await host.vpcctl(['doctor', '--json']);
      return (json as { checks: { name: string }[] }).checks.filter(({ name }) => name === 'resolver');
    };
    const pid = resolverPid();
    expect(await check()).toMatchObject([{ status: 'ok', detail: `process ${pid} answers VPCs blue, green, island` }]);
    process.kill(pid, 'SIGKILL');
    await sleep(100);
    expect(await check()).toMatchObject([{ status: 'warning', detail: expect.stringMatching(/^it does not run/) }]);
    expect(resolverPid()).toBeNaN();
    await host.vpcctlOk(['repair', '--yes']);
    expect(await check()).toMatchObject([{ status: 'ok' }]);
  });

  test('repair puts back addresses, rules and files, and leaves files that are not ours', async () => {
    const seen = await witness();
    await must('vpc.blue', ['ip', 'address', 'del', '10.60.0.2/32', 'dev', 'lo']);
    await must('vpc.blue', ['nft', 'delete', 'element', 'inet', 'vpcctl', 'services', '{ 10.60.0.2 . udp . 53 }']);
    writeFileSync('/etc/netns/vpc.blue.app/resolv.conf', '# made by vpcctl, and changed\n');
    writeFileSync('/etc/netns/vpc.blue.db/resolv.conf', 'nameserver 192.0.2.99\n');
    const drift = await host.vpcctl(['drift']);
    expect(drift.exitCode).toBe(8);
    expect(drift.stdout).toMatch(/instance blue\/app: \S+resolv.conf was changed/);
    expect(drift.stdout).toMatch(/instance blue\/db: \S+resolv.conf is not ours/);
    await host.vpcctl(['repair', '--yes']);
    await expectWitness(seen);
    expect(readFileSync('/etc/netns/vpc.blue.app/resolv.conf', 'utf8')).toContain('nameserver 10.60.0.2');
    expect(readFileSync('/etc/netns/vpc.blue.db/resolv.conf', 'utf8')).toBe('nameserver 192.0.2.99\n');
    writeFileSync('/etc/netns/vpc.blue.db/resolv.conf', '# made by vpcctl\n');
    await host.vpcctlOk(['repair', '--yes']);
    expect((await host.vpcctlOk(['drift'])).stdout).toMatch(/no drift/);
    expect(await ask('vpc.blue.app', '10.60.0.2', 'db.blue.internal')).toMatchObject({ rcode: 'NOERROR' });
  });

  test('a router that was deleted by somebody comes back with its resolver', async () => {
    await must('', ['ip', 'netns', 'delete', 'vpc.island']);
    await host.vpcctlOk(['repair', '--yes']);
    expect(await ask('vpc.island.app', '10.62.0.2', 'app.island.internal')).toMatchObject({ rcode: 'NOERROR' });
  });

  test('a VPC gets a resolver and loses it while its workloads talk', async () => {
    await host.vpcctlOk(['create-vpc', '--name', 'plain', '--cidr', '10.63.0.0/16']);
    await host.vpcctlOk(['add-subnet', '--vpc', 'plain', '--subnet', 'app', '--cidr', '10.63.1.0/24']);
    const rules = await must('vpc.plain', ['nft', '-s', 'list', 'ruleset']);
    expect(rules).not.toMatch(/services|notrack/);
    expect(await ask('vpc.plain.app', '10.63.0.2', 'app.plain.internal')).toBeNull();
    await host.vpcctlOk(['modify-vpc-dns', '--vpc', 'plain', '--dns-domain', 'Example.Test']);
    expect((await ask('vpc.plain.app', '10.63.0.2', 'app.example.test'))?.answers).toEqual([
      'app.example.test A 10.63.1.4',
    ]);
    await host.vpcctlOk(['modify-vpc-dns', '--vpc', 'plain', '--off']);
    expect(await ask('vpc.plain.app', '10.63.0.2', 'app.example.test')).toBeNull();
    // A table that is made anew lists its chains in another order.
    const lines = (text: string): string[] => text.split('\n').sort();
    expect(lines(await must('vpc.plain', ['nft', '-s', 'list', 'ruleset']))).toEqual(lines(rules));
    expect(existsSync('/etc/netns/vpc.plain.app')).toBe(false);
    // Its sockets held nothing: no word of a namespace that lives on.
    const { stderr } = await host.vpcctlOk(['delete-vpc', '--name', 'plain']);
    expect(stderr).toBe('');
  });

  test('its address is taken, and cannot be had', async () => {
    await refused(
      host,
      ['add-subnet', '--vpc', 'blue', '--subnet', 'x', '--cidr', '10.60.0.0/24', '--gateway', '10.60.0.2'],
      5,
      [/address of the VPC's resolver/],
    );
    await host.vpcctlOk(['create-vpc', '--name', 'small', '--cidr', '10.64.1.1/24']);
    await host.vpcctlOk([
      'add-subnet',
      '--vpc',
      'small',
      '--subnet',
      'web',
      '--ip',
      '10.64.1.2',
      '--gateway',
      '10.64.1.1',
    ]);
    await refused(host, ['modify-vpc-dns', '--vpc', 'small'], 5, [/instance small\/web has/]);
    await host.vpcctlOk(['delete-vpc', '--name', 'small']);
  });

  test('what is exported makes the same again', async () => {
    const { stdout } = await host.vpcctlOk(['export']);
    const { stdout: plan } = await host.vpcctlOk(['plan', '-'], { input: stdout });
    expect(plan).toMatch(/no changes/);
  });

  test('with the last resolver goes the process, and all files', async () => {
    const pid = resolverPid();
    await host.vpcctlOk(['destroy', EXAMPLE, '--yes']);
    for (const end = Date.now() + 3_000; existsSync(`/proc/${pid}`) && Date.now() < end; ) await sleep(20);
    expect(existsSync(`/proc/${pid}`)).toBe(false);
    expect(existsSync('/etc/netns')).toBe(false);
    expect((await inNetns('', ['ip', 'netns', 'list'])).stdout.trim()).toMatch(/^internet/);
    await host.vpcctlOk(['apply', EXAMPLE, '--yes']);
    expect(await ask('vpc.blue.app', '10.60.0.2', 'db.blue.internal')).toMatchObject({ rcode: 'NOERROR' });
  });
});
