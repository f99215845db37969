/** `probe` and `analyze --probe`: real packets, and nothing of them left. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { agreement, type ErrorCode, open, type ProbeResult, type Query, type Vpcctl } from '../../src/index.js';
import { HOST_ADDRESS, INTERNET, INTERNET_SERVER, TestHost } from '../harness/host.js';
import { must } from '../harness/witness.js';
import { destroyAll, pidsIn } from './support.js';

const WEB = 'vpc.a.web';

let host: TestHost;
let vpcctl: Vpcctl;

beforeAll(async () => {
  host = await TestHost.create({ routedToHost: ['198.51.100.0/24'] });
  vpcctl = await open({ state: host.stateDir });
  await vpcctl.apply({
    vpcs: {
      a: {
        cidr: '10.1.0.0/16',
        subnets: { web: { cidr: '10.1.1.0/24', public: true }, db: { cidr: '10.1.2.0/24' } },
        securityGroups: {
          web: { ingress: [{ protocol: 'tcp', port: '80-90' }, { protocol: 'udp', port: 53 }, { protocol: 'icmp' }] },
        },
        instances: {
          web: { subnet: 'web', ip: '10.1.1.10', publicIp: '198.51.100.10', securityGroups: ['web'] },
          db: { subnet: 'db', ip: '10.1.2.10' },
        },
      },
    },
  });
});

afterAll(async () => {
  await vpcctl.close();
  await destroyAll(host);
  await host.close();
});

/** With a timeout that is short where the answer is no. */
async function probe(query: Query, timeoutMs = 1_000): Promise<ProbeResult> {
  return vpcctl.probe(query, { timeoutMs });
}

test.each([
  [{ source: 'a/db', destination: 'a/web', port: 80 }, 'listener', '10.1.2.10'],
  [{ source: 'a/db', destination: 'a/web', protocol: 'udp', port: 53 }, 'listener', '10.1.2.10'],
  [{ source: 'a/db', destination: 'a/web' }, 'kernel', '10.1.2.10'],
  [{ source: 'a/db', destination: '10.1.1.10', port: 90 }, 'listener', '10.1.2.10'],
  [{ source: 'a/web', destination: 'a/web', port: 22 }, 'listener', '10.1.1.10'],
  [{ source: 'a/web', destination: 'a/web@public', port: 80 }, 'listener', '198.51.100.10'],
  [{ source: 'host', destination: 'a/web@public', port: 80 }, 'listener', '169.254.128.1'],
  [{ source: 'host', destination: 'a/web' }, 'kernel', '169.254.128.1'],
] as const)('%j is answered by a %s, which saw %s', async (query, answeredBy, seenSource) => {
  const result = await probe(query);
  expect(result).toMatchObject({ reached: true, answered: true, answeredBy, seenSource, portTaken: false });
  expect(result.rttMs).toBeGreaterThan(0.005);
  expect(agreement(vpcctl.analyze(query), result)).toBe(true);
});

test.each([
  { source: 'a/db', destination: 'a/web', port: 22 },
  { source: 'a/db', destination: 'a/web', protocol: 'udp', port: 54 },
  { source: 'a/web', destination: 'a/db', port: 80 },
  { source: 'a/web', destination: 'a/db' },
  { source: 'a/web', destination: 'host', port: 80 },
  { source: 'a/web', destination: '10.1.1.77', port: 80 },
] as const)('%j does not arrive', async (query) => {
  const result = await probe(query, 300);
  expect(result).toMatchObject({ reached: false, answered: false, answeredBy: null, seenSource: null, rttMs: null });
  expect(agreement(vpcctl.analyze(query), result)).toBe(true);
});

test('a program that has the port answers in our place, or keeps silent', async () => {
  const web = await host.listener(WEB, 'tcp', 80);
  const dns = await host.listener(WEB, 'udp', 53);
  const tcp = await probe({ source: 'a/db', destination: 'a/web', port: 80 });
  expect(tcp).toMatchObject({
    answered: true,
    answeredBy: 'program',
    portTaken: true,
    seenSource: '10.1.2.10',
    verdict: 'open',
    reason: 'the program that has the port answered',
  });
  const udp = await probe({ source: 'a/db', destination: 'a/web', protocol: 'udp', port: 53 });
  expect(udp).toMatchObject({ reached: true, answeredBy: 'program', portTaken: true });
  expect(await web.seen()).toHaveLength(1);
  await web.close();
  await dns.close();
  await host.leave(WEB);
});

test('outside, whoever is there answers', async () => {
  const query = { source: 'a/web', destination: `internet:${INTERNET_SERVER}`, port: 8080 };
  const listener = await host.listener(INTERNET, 'tcp', 8080);
  const there = await probe(query);
  expect(there).toMatchObject({ reached: true, answered: true, answeredBy: 'program', seenSource: null });
  expect((await listener.seen()).map(({ peer }) => peer)).toEqual([HOST_ADDRESS]);
  await listener.close();
  const refused = await probe(query);
  expect(refused).toMatchObject({ reached: null, answered: false, verdict: 'refused' });
  expect(agreement(vpcctl.analyze(query), refused)).toBeNull();
  await host.leave(INTERNET);
});

test('somebody else’s firewall is found out, and the command ends with 11', async () => {
  const query = { source: 'a/db', destination: 'a/web', port: 80 };
  await must(WEB, [
    'nft',
    'add table ip t; add chain ip t c { type filter hook prerouting priority 0; }; add rule ip t c tcp dport 80 drop',
  ]);
  const result = await probe(query, 300);
  expect(result).toMatchObject({ reached: false, answered: false });
  expect(agreement(vpcctl.analyze(query), result)).toBe(false);
  const told = await host.vpcctl(['analyze', 'a/db', 'a/web', '--port', '80', '--probe', '--json']);
  expect(told.exitCode).toBe(11);
  expect(told.json).toMatchObject({ reachable: true, probe: { agrees: false, verdict: 'timeout' } });
  await must(WEB, ['nft', 'delete table ip t']);
  await must(WEB, [
    'nft',
    'add table ip t; add chain ip t c { type filter hook output priority 0; }; add rule ip t c tcp sport 80 drop',
  ]);
  expect(await probe(query, 300)).toMatchObject({
    reached: true,
    answered: false,
    seenSource: '10.1.2.10',
    reason: 'it arrived, and no answer came',
  });
  await must(WEB, ['nft', 'delete table ip t']);
  const { stdout } = await host.vpcctlOk(['analyze', 'a/db', 'a/web', '--port', '80', '--probe', '--quiet']);
  expect(stdout).toMatch(
    /^reachable: .*\nprobed: a listener put there answered after [0-9.]+ ms; .* from 10\.1\.2\.10$/,
  );
});

test.each<[Query, ErrorCode, string]>([
  [{ source: 'internet', destination: 'a/web', port: 80 }, 'USAGE', 'nothing can be sent from internet'],
  [{ source: 'a/db', destination: 'a/web', protocol: 47 }, 'USAGE', 'a packet of protocol 47 is not sent'],
  [{ source: 'a/none', destination: 'a/web' }, 'NOT_FOUND', 'none'],
])('%j is refused', async (query, code, words) => {
  await expect(vpcctl.probe(query)).rejects.toMatchObject({ code, message: expect.stringContaining(words) as string });
});

test('an interrupt ends it, and nothing stays of any', async () => {
  const controller = new AbortController();
  const query = { source: 'a/db', destination: 'a/web', port: 22 };
  const probing = vpcctl.probe(query, { timeoutMs: 30_000, signal: controller.signal });
  setTimeout(() => controller.abort(), 200);
  await expect(probing).rejects.toMatchObject({ code: 'ABORTED' });
  await expect(vpcctl.probe(query, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'ABORTED' });
  await expect(vpcctl.probe(query, { timeoutMs: 0 })).rejects.toMatchObject({ code: 'USAGE' });
  for (const ns of [WEB, 'vpc.a.db']) expect(await pidsIn(ns)).toEqual([]);
});
