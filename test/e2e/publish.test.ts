/** Ports of the host that lead to instances, and groups of peers, by real packets. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { HOST_ADDRESS, INTERNET, INTERNET_SERVER, type Listener, TestHost } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { answers, destroyAll, expectHostAsBefore, settled } from './support.js';

const SPEC = {
  vpcs: {
    a: {
      cidr: '10.1.0.0/16',
      subnets: { s: { cidr: '10.1.1.0/24', public: true } },
      securityGroups: {
        web: {
          ingress: [
            { protocol: 'tcp', port: 80 },
            { protocol: 'udp', port: 53, from: `${INTERNET_SERVER}/32` },
          ],
        },
        other: {},
      },
      instances: {
        web: {
          subnet: 's',
          ip: '10.1.1.10',
          securityGroups: ['web'],
          publish: [
            { hostPort: 8080, port: 80 },
            { hostPort: 8022, port: 22 },
            { hostPort: 53, protocol: 'udp' },
          ],
        },
        plain: { subnet: 's', ip: '10.1.1.11', securityGroups: ['other'] },
      },
    },
    b: {
      cidr: '10.2.0.0/16',
      subnets: { s: { cidr: '10.2.1.0/24' } },
      securityGroups: {
        db: { ingress: [{ protocol: 'tcp', port: 5432, from: { group: 'web', vpc: 'a' } }] },
      },
      instances: { db: { subnet: 's', ip: '10.2.1.10', securityGroups: ['db'] } },
    },
  },
  peerings: [{ vpcs: ['a', 'b'] }],
};

let host: TestHost;
let temp: string;
let before: HostState;
const listeners: Listener[] = [];

const WEB = 'vpc.a.web';
const PLAIN = 'vpc.a.plain';
const DB = 'vpc.b.db';
const toHost = (port: number, proto: 'tcp' | 'udp' = 'tcp') => ({ proto, to: HOST_ADDRESS, port });

beforeAll(async () => {
  host = await TestHost.create();
  before = await settled(host);
  temp = mkdtempSync(join(tmpdir(), 'vpcctl-publish-'));
  const file = join(temp, 'spec.json');
  writeFileSync(file, JSON.stringify(SPEC));
  await host.vpcctlOk(['apply', file, '--yes']);
  listeners.push(
    await host.listener(WEB, 'tcp', 80, { reply: 'web' }),
    await host.listener(WEB, 'tcp', 22, { reply: 'ssh' }),
    await host.listener(WEB, 'udp', 53, { reply: 'dns' }),
    await host.listener(DB, 'tcp', 5432, { reply: 'db' }),
    await host.listener('', 'tcp', 9090, { reply: 'host' }),
  );
});

afterAll(async () => {
  for (const listener of listeners) await listener.close();
  await destroyAll(host);
  rmSync(temp, { recursive: true, force: true });
  await expectHostAsBefore(host, before);
  await host.close();
});

test('each listener answers at home', async () => {
  for (const port of [80, 22]) {
    expect(await host.probe(WEB, { proto: 'tcp', to: '10.1.1.10', port })).toMatchObject({ ok: true });
  }
  expect(await host.probe(DB, { proto: 'tcp', to: '10.2.1.10', port: 5432 })).toMatchObject({ ok: true, reply: 'db' });
});

test('a published port answers outside and on the host, and sees who comes', async () => {
  expect(await host.probe(INTERNET, toHost(8080))).toMatchObject({
    ok: true,
    reply: 'web',
    seenSource: INTERNET_SERVER,
  });
  expect(await host.probe(INTERNET, toHost(53, 'udp'))).toMatchObject({ ok: true, reply: 'dns' });
  expect(await host.probe('', toHost(8080))).toMatchObject({ ok: true, reply: 'web' });
});

test('its groups decide who is admitted; other ports, and the loopback, stay the host’s', async () => {
  expect(await answers(host, INTERNET, toHost(8022))).toBe(false);
  expect(await host.probe(INTERNET, toHost(9090))).toMatchObject({ ok: true, reply: 'host' });
  expect(await answers(host, '', { proto: 'tcp', to: '127.0.0.1', port: 8080 })).toBe(false);
  // The host's addresses are nothing to a workload, published or not.
  expect(await answers(host, PLAIN, toHost(8080))).toBe(false);
});

test('a port leads to one instance only; taken away, it is the host’s again', async () => {
  const again = ['add-instance', '--vpc', 'a', '--subnet', 's', '--name', 'plain', '--publish', '8080'];
  const { exitCode, stderr } = await host.vpcctl(again);
  expect([exitCode, stderr]).toEqual([5, expect.stringContaining('tcp port 8080 of the host leads to instance a/web')]);
  const { publish: _all, ...web } = SPEC.vpcs.a.instances.web;
  const file = join(temp, 'less.json');
  const a = { ...SPEC.vpcs.a, instances: { ...SPEC.vpcs.a.instances, web } };
  writeFileSync(file, JSON.stringify({ ...SPEC, vpcs: { ...SPEC.vpcs, a } }));
  await host.vpcctlOk(['apply', file, '--yes']);
  expect(await host.probe(INTERNET, toHost(8080))).toMatchObject({ ok: false, reason: 'refused' });
  await host.vpcctlOk(['apply', join(temp, 'spec.json'), '--yes']);
  expect(await host.probe(INTERNET, toHost(8080))).toMatchObject({ ok: true, reply: 'web' });
  expect(await host.vpcctlOk(['drift'])).toMatchObject({ exitCode: 0 });
});

test('a group of a peer admits its members, as they come and go', async () => {
  const db = { proto: 'tcp', to: '10.2.1.10', port: 5432 } as const;
  const join_ = (...groups: string[]) =>
    host.vpcctlOk([
      ...['add-instance', '--vpc', 'a', '--subnet', 's', '--name', 'plain'],
      ...['--security-group', ...groups],
    ]);
  expect([await answers(host, WEB, db), await answers(host, PLAIN, db)]).toEqual([true, false]);
  await join_('web', 'other');
  expect([await answers(host, WEB, db), await answers(host, PLAIN, db)]).toEqual([true, true]);
  await join_('other');
  expect([await answers(host, WEB, db), await answers(host, PLAIN, db)]).toEqual([true, false]);
  expect(await host.vpcctlOk(['drift'])).toMatchObject({ exitCode: 0 });
});
