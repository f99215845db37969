/** Prefix lists by real packets: rules and routes of several VPCs that change with a list. */
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Listener, TestHost } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { must, nft } from '../harness/witness.js';
import { answers, destroyAll, expectHostAsBefore, refused, settled } from './support.js';

const FILE = fileURLToPath(new URL('../../examples/prefix-lists.yaml', import.meta.url));
const PORT = 80;
const BERLIN = 'vpc.berlin.desk';
const PARIS = 'vpc.paris.desk';
const SHOP = { ns: 'vpc.shop.web', ip: '10.63.1.4' };
const LAB = { ns: 'vpc.lab.web', ip: '10.64.1.4' };

let host: TestHost;
let before: HostState;
const listeners: Listener[] = [];

const vpcctl = (text: string) => host.vpcctlOk(text.split(' '));

beforeAll(async () => {
  host = await TestHost.create();
  before = await settled(host);
  await host.vpcctlOk(['apply', FILE, '--yes']);
  for (const { ns } of [SHOP, LAB]) listeners.push(await host.listener(ns, 'tcp', PORT));
});

afterAll(async () => {
  for (const listener of listeners) await listener.close();
  await destroyAll(host);
  await expectHostAsBefore(host, before);
  await host.close();
});

/** Who reaches which server, by packets and by the model. */
async function reached(): Promise<string[]> {
  const { json } = await vpcctl('matrix --port 80 --json');
  const { ends, cells } = json as { ends: string[]; cells: (string | null)[][] };
  const found: string[] = [];
  for (const from of [BERLIN, PARIS]) {
    for (const { ns, ip } of [SHOP, LAB]) {
      const [row, column] = [from, ns].map((one) => ends.indexOf(one.slice('vpc.'.length).replace('.', '/')));
      const ok = await answers(host, from, { proto: 'tcp', to: ip, port: PORT });
      expect(cells[row as number]?.[column as number], `${from} → ${ns}`).toBe(ok ? 'yes' : 'no');
      if (ok) found.push(`${from.split('.')[1]} → ${ns.split('.')[1]}`);
    }
  }
  return found;
}

/** Every element of a router's sets, one a line. */
async function elementsOf(vpc: string): Promise<string[]> {
  const found = await nft(['list', 'table', 'inet', 'vpcctl'], `vpc.${vpc}`);
  return found.flatMap((object) => {
    const set = (object.set ?? object.map) as { name: string; elem?: unknown[] } | undefined;
    return (set?.elem ?? []).map((elem) => `${set?.name} ${JSON.stringify(elem)}`);
  });
}

const routesOf = async (vpc: string): Promise<string[]> => {
  const routes = JSON.parse(await must(`vpc.${vpc}`, ['ip', '-j', 'route', 'show', 'table', '100'])) as {
    dst: string;
    dev: string;
  }[];
  return routes.map(({ dst, dev }) => `${dst} ${dev}`).sort();
};

const ALL = ['berlin → shop', 'berlin → lab', 'paris → shop', 'paris → lab'];

test('a list stands for its blocks, in rules and routes of all VPCs', async () => {
  expect(await reached()).toEqual(ALL);
  expect(await routesOf('shop')).toEqual(['10.61.0.0/16 tgw-core', '10.62.0.0/16 tgw-core']);
  const { stdout } = await vpcctl('show');
  expect(stdout).toContain(
    'prefix list offices  2 of 10 entries, of security group lab/web, security group shop/web, route table lab/main, route table shop/main',
  );
  expect(stdout).toContain('10.61.0.0/16  # Berlin');
  expect(stdout).toContain('prefix list offices → transit gateway core');
  const analysis = await vpcctl('analyze berlin/desk shop/web --port 80');
  expect(analysis.stdout).toContain('ingress rule 1: tcp 80 from prefix list offices');
  expect(analysis.stdout).toContain('10.63.0.0/16 of prefix list servers leads to transit gateway core');
});

test('an entry that goes closes both VPCs to it at once, one that comes opens them, nothing else changes', async () => {
  const elements = async () => (await Promise.all(['shop', 'lab'].map(elementsOf))).flat();
  const was = await elements();
  const dry = (await vpcctl('modify-prefix-list --name offices --remove 10.62.0.0/16 --dry-run --json')).json;
  // In each of two VPCs an element and a route.
  expect(dry).toMatchObject({ kernel: { create: 0, update: 0, delete: 4 } });
  await vpcctl('modify-prefix-list --name offices --remove 10.62.0.0/16');
  expect(await reached()).toEqual(ALL.slice(0, 2));
  expect(await routesOf('lab')).toEqual(['10.61.0.0/16 tgw-core']);
  expect((await elements()).length).toBe(was.length - 2);
  expect((await vpcctl('drift')).stdout).toMatch(/^no drift/);
  expect((await vpcctl('modify-prefix-list --name offices --remove 10.62.0.0/16')).stdout).toMatch(/^unchanged:/);
  await vpcctl('modify-prefix-list --name offices --add 10.62.0.0/16=Paris');
  expect(await reached()).toEqual(ALL);
  expect(await elements()).toEqual(was);
});

test('a route to a block goes before one of a list to the same block', async () => {
  await vpcctl('create-route --vpc berlin --destination 10.63.0.0/16 --target blackhole');
  expect(await reached()).toEqual(ALL.slice(1));
  await vpcctl('delete-route --vpc berlin --destination 10.63.0.0/16');
  expect(await reached()).toEqual(ALL);
  await vpcctl('delete-route --vpc berlin --destination pl:servers');
  expect(await reached()).toEqual(ALL.slice(2));
  await vpcctl('create-route --vpc berlin --destination pl:servers --target tgw:core');
  expect(await reached()).toEqual(ALL);
});

test('an open connection goes on without its entry, and ends with --cut', async () => {
  const chat = async () => host.probe(BERLIN, { proto: 'tcp', to: SHOP.ip, port: PORT, timeoutMs: 400 });
  expect(await chat()).toMatchObject({ ok: true });
  const tracked = async () =>
    (await must('vpc.shop', ['cat', '/proc/net/nf_conntrack'])).split('\n').filter((line) => line.includes(SHOP.ip))
      .length;
  const open = await tracked();
  await vpcctl('modify-prefix-list --name offices --remove 10.61.0.0/16 --cut');
  expect(await tracked()).toBeLessThan(open);
  expect(await reached()).toEqual(ALL.slice(2));
  await vpcctl('modify-prefix-list --name offices --add 10.61.0.0/16=Berlin');
});

test('drift tells of an element that was taken, repair puts it back', async () => {
  const mark = /in_net16_port .*\[(\d+),"10\.61\.0\.0"/.exec((await elementsOf('shop')).join('\n'))?.[1];
  const element = `{ ${mark} . 10.61.0.0 . tcp . 80 }`;
  await must('vpc.shop', ['nft', 'delete', 'element', 'inet', 'vpcctl', 'in_net16_port', element]);
  expect((await host.vpcctl(['drift'])).stdout).toMatch(/rule tcp\/80 from 10\.61\.0\.0\/16/);
  await vpcctl('repair --yes');
  expect(await reached()).toEqual(ALL);
});

test('while something refers to it, it is not deleted; a file brings all of it back', async () => {
  await refused(host, ['delete-prefix-list', '--name', 'offices'], 5, [/security group lab\/web refers to it/]);
  await vpcctl('create-prefix-list --name spare --max-entries 1');
  await vpcctl('delete-prefix-list --name spare');
  const file = `${host.stateDir}/export.yaml`;
  await vpcctl(`export --output ${file}`);
  listeners.length = 0;
  await destroyAll(host);
  expect((await vpcctl('list --json')).json).toMatchObject({ prefixLists: [] });
  await vpcctl(`import ${file} --yes`);
  for (const { ns } of [SHOP, LAB]) listeners.push(await host.listener(ns, 'tcp', PORT));
  expect(await reached()).toEqual(ALL);
});

test('one of IPv6 lets in and leads in IPv6, and in nothing else', async () => {
  for (const [vpc, number] of [
    ['here', 1],
    ['there', 2],
  ] as const) {
    await vpcctl(`create-vpc --name ${vpc} --cidr 10.7${number}.0.0/16 --ipv6 fd76:7063:633${number}::/56`);
    await vpcctl(
      `add-subnet --vpc ${vpc} --subnet s --cidr 10.7${number}.1.0/24 --ipv6 fd76:7063:633${number}::/64 --no-instance`,
    );
  }
  await vpcctl('peer-vpcs --vpc1 here --vpc2 there --routes manual');
  await vpcctl(
    'create-prefix-list --name six --family ipv6 --max-entries 5 --entry fd76:7063:6331::/56 fd76:7063:6332::/56',
  );
  const group = `${host.stateDir}/six.json`;
  await writeFile(group, JSON.stringify({ ingress: [{ protocol: 'tcp', port: PORT, from: { prefixList: 'six' } }] }));
  await vpcctl(`put-security-group --vpc there --name six --rules ${group}`);
  await vpcctl('add-instance --vpc here --subnet s --name x --ipv6 fd76:7063:6331::7');
  await vpcctl('add-instance --vpc there --subnet s --name y --ipv6 fd76:7063:6332::7 --security-group six');
  const from = 'vpc.here.x';
  const six = { proto: 'tcp', to: 'fd76:7063:6332::7', port: PORT } as const;
  const listener = await host.listener('vpc.there.y', 'tcp', PORT, { host: '::' });
  expect(await answers(host, from, six)).toBe(false);
  for (const [vpc, peer] of [
    ['here', 'there'],
    ['there', 'here'],
  ]) {
    await vpcctl(`create-route --vpc ${vpc} --destination pl:six --target peer:${peer}`);
  }
  expect(await answers(host, from, six)).toBe(true);
  expect(await answers(host, from, { ...six, to: '10.72.1.4' })).toBe(false);
  expect((await vpcctl('analyze here/x there/y@ipv6 --port 80')).stdout).toContain('from prefix list six');
  expect((await vpcctl('drift')).stdout).toMatch(/^no drift/);
  await vpcctl('modify-prefix-list --name six --remove fd76:7063:6331::/56');
  expect(await answers(host, from, six)).toBe(false);
  const nat = 'create-route --vpc here --destination pl:six --target nat:n'.split(' ');
  await refused(host, nat, 3, [/to prefix list six cannot lead to one/]);
  await listener.close();
});
