/** Which established connections go on, and which end. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { open, type Vpcctl } from '../../src/index.js';
import { type Connection, INTERNET, TestHost } from '../harness/host.js';
import { must } from '../harness/witness.js';

let host: TestHost;
let vpcctl: Vpcctl;
const tcp = (port: number, from: 'any' | 'peers' | { group: string } = 'any') => ({
  protocol: 'tcp' as const,
  port,
  from,
});

beforeEach(async () => {
  host = await TestHost.create({ routedToHost: ['198.51.100.0/24'] });
  vpcctl = await open({ state: host.stateDir });
  await vpcctl.transaction((tx) => {
    tx.configure({ poolRouted: true });
    for (const [vpc, block] of [
      ['a', '10.1'],
      ['b', '10.2'],
    ] as const) {
      tx.createVpc({ name: vpc, cidr: `${block}.0.0/16` });
      tx.addSubnet({ vpc, name: 's', cidr: `${block}.1.0/24`, public: vpc === 'a' });
      tx.putSecurityGroup(vpc, 'server', { ingress: [tcp(80), tcp(81)] });
      tx.addInstance({ vpc, subnet: 's', name: 'server', securityGroups: ['server'], ip: `${block}.1.10` });
      tx.addInstance({ vpc, subnet: 's', name: 'client', ip: `${block}.1.11` });
    }
    tx.peer('a', 'b');
  });
});

afterEach(async () => {
  await vpcctl.destroy();
  await vpcctl.close();
  await host.close();
});

/** A connection that is shown to work. */
async function connected(from: string, to: string, port: number): Promise<Connection> {
  const connection = await host.connect(from, to, port);
  expect(await connection.exchange()).toMatchObject({ ok: true });
  return connection;
}

const lives = async (connection: Connection) => (await connection.exchange(400)).ok;

test('a revoked rule keeps connections; a cut ends those, and no other', async () => {
  for (const port of [80, 81]) await host.listener('vpc.a.server', 'tcp', port, { reply: 'hello' });
  const within = await connected('vpc.a.client', '10.1.1.10', 80);
  const other = await connected('vpc.a.client', '10.1.1.10', 81);
  const across = await connected('vpc.b.client', '10.1.1.10', 80);
  const outside = await connected(INTERNET, vpcctl.instance('a', { instance: 'server' }).publicIp ?? '', 80);
  const unrelated = await (async () => {
    await host.listener('vpc.b.server', 'tcp', 80, { reply: 'hello' });
    return connected('vpc.b.client', '10.2.1.10', 80);
  })();

  await vpcctl.transaction((tx) => tx.putSecurityGroup('a', 'server', { ingress: [tcp(81)] }));
  expect(await host.probe('vpc.a.client', { proto: 'tcp', to: '10.1.1.10', port: 80 })).toMatchObject({ ok: false });
  for (const connection of [within, other, across, outside, unrelated]) expect(await lives(connection)).toBe(true);

  expect(await vpcctl.cut('a')).toBeGreaterThanOrEqual(3);
  for (const connection of [within, across, outside]) expect(await lives(connection)).toBe(false);
  for (const connection of [other, unrelated]) expect(await lives(connection)).toBe(true);
  expect(await vpcctl.cut()).toBe(0);

  const ended: number[] = [];
  const onEvent = (event: { type: string; connections?: number }) => {
    if (event.type === 'cut') ended.push(event.connections ?? 0);
  };
  await vpcctl.transaction((tx) => tx.putSecurityGroup('a', 'server', { ingress: [] }), { cut: true, onEvent });
  expect(await lives(other)).toBe(false);
  expect(await lives(unrelated)).toBe(true);
  expect(ended).toEqual([1]);
});

test('changes beside a connection do not touch it, and a cut with them neither', async () => {
  await host.listener('vpc.a.server', 'tcp', 80, { reply: 'hello' });
  const within = await connected('vpc.a.client', '10.1.1.10', 80);
  const across = await connected('vpc.b.client', '10.1.1.10', 80);
  const outside = await connected(INTERNET, vpcctl.instance('a', { instance: 'server' }).publicIp ?? '', 80);
  const all = async () => {
    for (const connection of [within, across, outside]) expect(await lives(connection)).toBe(true);
  };
  const cut = { cut: true };
  await vpcctl.transaction((tx) => tx.addInstance({ vpc: 'a', subnet: 's', name: 'more' }), cut);
  await all();
  await vpcctl.transaction((tx) => tx.putSecurityGroup('a', 'server', { ingress: [tcp(80), tcp(22)] }), cut);
  await all();
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: 'c', cidr: '10.3.0.0/16' });
    tx.peer('a', 'c');
  }, cut);
  await vpcctl.transaction((tx) => tx.unpeer('a', 'c'), cut);
  await vpcctl.transaction((tx) => tx.deleteInstance('a', 'more'), cut);
  await vpcctl.transaction(
    (tx) => tx.applyPolicy('a', 's', { ingress: [{ protocol: 'tcp', port: 80, action: 'allow' }] }),
    cut,
  );
  await all();
  expect(await vpcctl.cut()).toBe(0);
});

test('unpeering with a cut ends what went over the peering, and only that', async () => {
  await host.listener('vpc.a.server', 'tcp', 80, { reply: 'hello' });
  const within = await connected('vpc.a.client', '10.1.1.10', 80);
  const across = await connected('vpc.b.client', '10.1.1.10', 80);
  await vpcctl.transaction((tx) => tx.unpeer('a', 'b'), { cut: true });
  expect([await lives(within), await lives(across)]).toEqual([true, false]);
  await vpcctl.transaction((tx) => tx.peer('a', 'b'));
  // It was forgotten: what goes on is judged as new, and the rule for port 80 admits it again.
  expect(await connected('vpc.b.client', '10.1.1.10', 80)).toBeDefined();
});

test('whoever gets an address next does not inherit its connections', async () => {
  await host.listener('vpc.a.server', 'tcp', 80, { reply: 'hello' });
  await connected('vpc.a.client', '10.1.1.10', 80);
  const tracked = async () => must('vpc.a', ['conntrack', '-L', '-s', '10.1.1.11']);
  expect(await tracked()).toContain('dport=80');
  await host.leave('vpc.a.client');
  await vpcctl.transaction((tx) => tx.deleteInstance('a', 'client'));
  expect(await tracked()).not.toContain('dport=80');
  await vpcctl.transaction((tx) => tx.addInstance({ vpc: 'a', subnet: 's', name: 'next', ip: '10.1.1.11' }));

  // A peer's router has tracked it too.
  await connected('vpc.b.client', '10.1.1.10', 80);
  const atPeer = async () => must('vpc.a', ['conntrack', '-L', '-s', '10.2.1.11']);
  expect(await atPeer()).toContain('dport=80');
  await host.leave('vpc.b.client');
  await vpcctl.transaction((tx) => tx.deleteInstance('b', 'client'));
  expect(await atPeer()).not.toContain('dport=80');
});
