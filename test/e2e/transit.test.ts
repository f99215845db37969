/** Transit gateways by real packets: a hub with spokes, changed while it is in use. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Listener, TestHost } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { ip, ipDo } from '../harness/witness.js';
import { answers, destroyAll, expectHostAsBefore, settled } from './support.js';

const HUB = fileURLToPath(new URL('../../examples/transit.yaml', import.meta.url));
const CORE = 'vpc-tgw.core';
const PORT = 7000;

interface Place {
  readonly ns: string;
  readonly ip: string;
}

const PLACES = {
  services: { ns: 'vpc.services.dns', ip: '10.50.1.4' },
  dev: { ns: 'vpc.dev.app', ip: '10.51.1.4' },
  prod: { ns: 'vpc.prod.app', ip: '10.52.1.4' },
} as const satisfies Readonly<Record<string, Place>>;
type Name = keyof typeof PLACES;
const NAMES = Object.keys(PLACES) as Name[];

let host: TestHost;
let before: HostState;
const listeners: Listener[] = [];

beforeAll(async () => {
  host = await TestHost.create();
  before = await settled(host);
  await host.vpcctlOk(['apply', HUB, '--yes']);
  for (const { ns } of Object.values(PLACES)) listeners.push(await host.listener(ns, 'tcp', PORT, { reply: ns }));
});

afterAll(async () => {
  for (const listener of listeners) await listener.close();
  await destroyAll(host);
  await expectHostAsBefore(host, before);
  await host.close();
});

/** Every ordered pair that gets an answer by TCP. */
async function reached(): Promise<string[]> {
  const pairs = NAMES.flatMap((from) => NAMES.filter((to) => to !== from).map((to) => [from, to] as const));
  const found = await Promise.all(
    pairs.map(async ([from, to]) => {
      const ok = await answers(host, PLACES[from].ns, { proto: 'tcp', to: PLACES[to].ip, port: PORT });
      return ok ? [`${from} → ${to}`] : [];
    }),
  );
  return found.flat().sort();
}

/** The same by the model. */
async function meant(): Promise<string[]> {
  const { json } = await host.vpcctlOk(['matrix', '--port', String(PORT), '--json']);
  const { ends, cells } = json as { ends: string[]; cells: (string | null)[][] };
  return ends
    .flatMap((from, row) => ends.flatMap((to, column) => (cells[row]?.[column] === 'yes' ? [`${from} → ${to}`] : [])))
    .map((pair) => pair.replaceAll(/\/(?:app|dns)/g, ''))
    .sort();
}

async function both(): Promise<string[]> {
  const [packets, model] = [await reached(), await meant()];
  expect(model).toEqual(packets);
  return packets;
}

const STAR = ['dev → services', 'prod → services', 'services → dev', 'services → prod'];

test('each listener answers in its own VPC', async () => {
  for (const { ns, ip } of Object.values(PLACES)) {
    expect(await host.probe(ns, { proto: 'tcp', to: ip, port: PORT })).toMatchObject({ ok: true, reply: ns });
  }
});

test('spokes reach the hub and not each other; sources are kept', async () => {
  expect(await both()).toEqual(STAR);
  const seen = await host.probe(PLACES.dev.ns, { proto: 'tcp', to: PLACES.services.ip, port: PORT });
  expect(seen).toMatchObject({ ok: true, seenSource: PLACES.dev.ip });
  expect(await host.vpcctlOk(['drift'])).toMatchObject({ exitCode: 0 });
});

test('a static route joins two spokes one way: no answer comes back until the other has one too', async () => {
  const route = ['create-transit-gateway-route', '--transit-gateway', 'core', '--table', 'spokes'];
  await host.vpcctlOk([...route, '--destination', '10.52.0.0/16', '--target', 'vpc:prod']);
  expect(await both()).toEqual(STAR);
  await host.vpcctlOk([...route, '--destination', '10.51.0.0/16', '--target', 'vpc:dev']);
  expect(await both()).toEqual(['dev → prod', ...STAR.slice(0, 1), 'prod → dev', ...STAR.slice(1)].sort());
});

test('a black hole goes before a shorter route, and before a propagated one to the same block', async () => {
  const route = ['create-transit-gateway-route', '--transit-gateway', 'core', '--table', 'spokes'];
  await host.vpcctlOk([...route, '--destination', '10.50.0.0/16', '--target', 'blackhole']);
  expect(await both()).toEqual(['dev → prod', 'prod → dev']);
  const drop = ['delete-transit-gateway-route', '--transit-gateway', 'core', '--table', 'spokes'];
  for (const block of ['10.50.0.0/16', '10.51.0.0/16', '10.52.0.0/16']) {
    await host.vpcctlOk([...drop, '--destination', block]);
  }
  expect(await both()).toEqual(STAR);
});

test('an answer may come back another way than what it answers went', async () => {
  await host.vpcctlOk(['peer-vpcs', '--vpc1', 'dev', '--vpc2', 'prod', '--routes', 'manual']);
  expect(await both()).toEqual(STAR);
  await host.vpcctlOk(['create-route', '--vpc', 'dev', '--destination', '10.52.0.0/16', '--target', 'peer:prod']);
  expect(await both()).toEqual(STAR);
  await host.vpcctlOk(['attach-vpc', '--transit-gateway', 'core', '--vpc', 'dev', '--propagate-to', 'default,spokes']);
  // dev → prod by the peering, and back by the gateway; prod → dev the other way round.
  expect(await both()).toEqual([...STAR, 'dev → prod', 'prod → dev'].sort());
  await host.vpcctlOk(['unpeer-vpcs', '--vpc1', 'dev', '--vpc2', 'prod']);
  expect(await both()).toEqual(STAR);
  await host.vpcctlOk(['attach-vpc', '--transit-gateway', 'core', '--vpc', 'dev', '--propagate-to', 'default']);
  await host.vpcctlOk(['delete-route', '--vpc', 'dev', '--destination', '10.52.0.0/16']);
});

test('a VPC that is detached is apart; attached again, it is back; what was broken is put back', async () => {
  await host.vpcctlOk(['detach-vpc', '--transit-gateway', 'core', '--vpc', 'prod']);
  expect(await both()).toEqual(['dev → services', 'services → dev']);
  await host.vpcctlOk(['attach-vpc', '--transit-gateway', 'core', '--vpc', 'prod', '--table', 'spokes']);
  expect(await both()).toEqual(STAR);
  await ipDo(['link', 'del', 'v-dev'], CORE);
  await ipDo(['rule', 'del', 'iif', 'v-prod'], CORE);
  expect(await reached()).toEqual([]);
  expect((await host.vpcctl(['drift'])).exitCode).toBe(8);
  await host.vpcctlOk(['repair', '--yes']);
  expect(await both()).toEqual(STAR);
  expect(await host.vpcctlOk(['drift'])).toMatchObject({ exitCode: 0 });
});

test('what is exported makes the same again', async () => {
  const { stdout } = await host.vpcctlOk(['export']);
  const { json } = await host.vpcctlOk(['plan', '-', '--json'], { input: stdout });
  expect(json).toMatchObject({ changes: [] });
});

test('one from outside of the gateway gets nothing by it: nobody answers there', async () => {
  // It has an address, for what it says of errors, and nothing that answers there.
  const [found] = await ip<{ addr_info: { local?: string }[] }>(['-4', 'address', 'show', 'dev', 'lo'], CORE);
  const others = (found?.addr_info ?? []).filter(({ local }) => local?.startsWith('127.') !== true);
  expect(others).toEqual([expect.objectContaining({ local: '169.254.128.7', prefixlen: 32 })]);
  for (const to of ['169.254.128.5', '169.254.128.7']) {
    expect(await answers(host, PLACES.dev.ns, { proto: 'icmp', to })).toBe(false);
  }
});
