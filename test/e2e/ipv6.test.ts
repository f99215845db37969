/** IPv6 by real packets: who is let in, and what root in a workload cannot do. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Listener, TestHost } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { ipDo, must } from '../harness/witness.js';
import { answers, destroyAll, expectHostAsBefore, settled } from './support.js';

const EXAMPLE = fileURLToPath(new URL('../../examples/ipv6.yaml', import.meta.url));
const [WEB, DB, OLD, CLIENT] = ['vpc.shop.web-1', 'vpc.shop.db-1', 'vpc.shop.old', 'vpc.lab.client'] as const;

interface Shown {
  readonly subnets: readonly { readonly instances: readonly { readonly namespace: string; readonly ipv6: string }[] }[];
}

let host: TestHost;
let before: HostState;
let web: Listener;
let db: Listener;
const addresses = new Map<string, string>();
const of = (ns: string): string => addresses.get(ns) ?? '';

beforeAll(async () => {
  host = await TestHost.create();
  before = await settled(host);
  await host.vpcctlOk(['apply', EXAMPLE, '--yes']);
  for (const vpc of ['shop', 'lab']) {
    const { json } = await host.vpcctlOk(['show', '--json']);
    const found = (json as { vpcs: (Shown & { name: string })[] }).vpcs.find(({ name }) => name === vpc);
    for (const { namespace, ipv6 } of found?.subnets.flatMap(({ instances }) => instances) ?? []) {
      if (ipv6 !== null) addresses.set(namespace, ipv6);
    }
  }
  web = await host.listener(WEB, 'tcp', 80, { host: '::' });
  db = await host.listener(DB, 'tcp', 5432, { host: '::' });
});

afterAll(async () => {
  await web.close();
  await db.close();
  await destroyAll(host);
  await expectHostAsBefore(host, before);
  await host.close();
});

const tcp = (to: string, port: number) => ({ proto: 'tcp', to, port }) as const;

test('rules of IPv6 let in whom they name, by their own addresses', async () => {
  expect(await host.probe(CLIENT, tcp(of(WEB), 80))).toMatchObject({ ok: true, seenSource: of(CLIENT) });
  expect(await host.probe(WEB, tcp(of(DB), 5432))).toMatchObject({ ok: true, seenSource: of(WEB) });
  expect(await answers(host, CLIENT, tcp(of(DB), 5432))).toBe(false);
  // ::/0 is no address of IPv4.
  expect(await answers(host, CLIENT, tcp('10.60.1.4', 80))).toBe(false);
  expect(await answers(host, CLIENT, { proto: 'icmp', to: of(WEB) })).toBe(true);
  expect(await answers(host, DB, { proto: 'icmp', to: of(WEB) })).toBe(false);
  expect(await answers(host, WEB, { proto: 'icmp', to: of(WEB).replace(/::.*$/, '::1') })).toBe(true);
  expect(await answers(host, OLD, tcp(of(WEB), 80))).toBe(false);
});

/** Packets of IPv6 made by hand, sent to the router as they are; `{src}` and the like are python's. */
async function send(ns: string, lines: string): Promise<void> {
  const program = `
import socket, struct
from ipaddress import IPv6Address as A
own = bytes.fromhex(open('/sys/class/net/eth0/address').read().strip().replace(':', ''))
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))
def total(data):
    data += b'\\0' * (len(data) % 2)
    n = sum(struct.unpack('!%dH' % (len(data) // 2), data))
    while n >> 16: n = (n & 0xffff) + (n >> 16)
    return ~n & 0xffff
def head(src, dst, following, length, hops=64):
    return struct.pack('!IHBB', 6 << 28, length, following, hops) + A(src).packed + A(dst).packed
def pseudo(src, dst, protocol, data):
    return A(src).packed + A(dst).packed + struct.pack('!II', len(data), protocol) + data
def icmp(src, dst, kind, body, hops=64):
    data = struct.pack('!BBH', kind, 0, 0) + body
    data = data[:2] + struct.pack('!H', total(pseudo(src, dst, 58, data))) + data[4:]
    return head(src, dst, 58, len(data), hops) + data
def syn(src, dst, sport, dport):
    data = struct.pack('!HHIIBBHHH', sport, dport, 1, 0, 5 << 4, 2, 1024, 0, 0)
    data = data[:16] + struct.pack('!H', total(pseudo(src, dst, 6, data))) + data[18:]
    return data
def out(packet): s.send(bytes.fromhex('067670630001') + own + bytes.fromhex('86dd') + packet)
${lines}
`;
  await must(ns, ['python3', '-c', program]);
}

async function spoofed(): Promise<number> {
  const text = await must('vpc.shop', ['nft', 'list', 'chain', 'inet', 'vpcctl', 'source6']);
  return Number(/counter packets (\d+)/.exec(text)?.[1]);
}

test('a source that is not its own goes no further than the router’s port', async () => {
  const seen = (await web.seen()).length;
  const dropped = await spoofed();
  await send(
    DB,
    `
for src in ('${of(CLIENT)}', '${of(WEB)}', '2001:db8::1', 'fe80::7', '::1'):
    data = syn(src, '${of(WEB)}', 40000, 80)
    out(head(src, '${of(WEB)}', 6, len(data)) + data)`,
  );
  expect(await spoofed()).toBeGreaterThanOrEqual(dropped + 4);
  expect((await web.seen()).length).toBe(seen);
});

test('forged words of routers and neighbours change nothing for anybody', async () => {
  const neighbours = await must('vpc.shop', ['ip', '-6', 'neigh', 'show']);
  const routes = await must('vpc.shop', ['ip', '-6', 'route', 'show', 'table', 'all']);
  const workload = await must(WEB, ['ip', '-6', 'route']);
  await send(
    DB,
    `
own6, web, all_nodes = '${of(DB)}', '${of(WEB)}', 'ff02::1'
option = bytes([2, 1]) + own
for src, dst in ((own6, web), ('fe80::1', all_nodes), (own6, all_nodes), ('fe80::1', web), (own6, 'fe80::1')):
    out(icmp(src, dst, 134, struct.pack('!BBHII', 64, 0, 1800, 0, 0) + bytes([1, 1]) + own, 255))
    out(icmp(src, dst, 135, b'\\0' * 4 + A(web).packed + bytes([1, 1]) + own, 255))
    out(icmp(src, dst, 136, bytes([0x20, 0, 0, 0]) + A(web).packed + option, 255))
    out(icmp(src, dst, 137, b'\\0' * 4 + A(own6).packed + A(web).packed, 255))`,
  );
  expect(await must('vpc.shop', ['ip', '-6', 'neigh', 'show'])).toBe(neighbours);
  expect(await must('vpc.shop', ['ip', '-6', 'route', 'show', 'table', 'all'])).toBe(routes);
  expect(await must(WEB, ['ip', '-6', 'route'])).toBe(workload);
  expect(await answers(host, CLIENT, tcp(of(WEB), 80))).toBe(true);
});

test('headers in between and fragments hide no port from the rules', async () => {
  // The client may reach port 80 of web, and nothing of db.
  const hidden = (target: string, port: number): string => `
src, dst = '${of(CLIENT)}', '${target}'
data = syn(src, dst, 41000, ${port})
options = bytes([6, 0, 1, 4, 0, 0, 0, 0])
for first in (0, 60):
    out(head(src, dst, first, 8 + len(data)) + options + data)
halves = (data[:8], data[8:])
out(head(src, dst, 44, 16) + struct.pack('!BBHI', 6, 0, 1, 7 + ${port}) + halves[0])
out(head(src, dst, 44, 8 + len(halves[1])) + struct.pack('!BBHI', 6, 0, 8, 7 + ${port}) + halves[1])`;
  const count = async (ns: string): Promise<number> => {
    const text = await must(ns, ['cat', '/proc/net/snmp']);
    const [, values = ''] = text.split('\n').filter((line) => line.startsWith('Tcp:'));
    return Number(values.split(' ')[10]);
  };
  const [webBefore, dbBefore] = [await count(WEB), await count(DB)];
  await send(CLIENT, hidden(of(DB), 5432) + hidden(of(DB), 80));
  expect(await count(DB)).toBe(dbBefore);
  await send(CLIENT, hidden(of(WEB), 80));
  expect(await count(WEB)).toBeGreaterThan(webBefore);
});

test('what somebody changes is told and put back', async () => {
  await ipDo(['-6', 'route', 'del', `${of(WEB)}/128`], 'vpc.shop');
  await ipDo(['-6', 'route', 'del', 'default'], WEB);
  expect(await answers(host, CLIENT, tcp(of(WEB), 80))).toBe(false);
  const drift = await host.vpcctl(['drift']);
  expect(drift.stdout).toContain('instance shop/web-1: its default route is missing');
  expect(drift.stdout).toContain('instance shop/web-1: the route to it in the router of shop is missing');
  await host.vpcctlOk(['repair', '--yes']);
  expect(await answers(host, CLIENT, tcp(of(WEB), 80))).toBe(true);
  expect((await host.vpcctl(['drift'])).exitCode).toBe(0);
});

test('the file that is exported is the same again', async () => {
  const { stdout } = await host.vpcctlOk(['export']);
  expect((await host.vpcctlOk(['plan', '-'], { input: stdout })).stdout).toContain('no changes');
});
