/** What is deleted is gone, or told of: namespaces in which somebody sits lose their links, and their names, and nobody in them is touched. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { open, type Vpcctl, type VpcctlEvent } from '../../src/index.js';
import type { ApplyOptions, StageFailure } from '../../src/kernel/kernel.js';
import { RealKernel } from '../../src/kernel/real.js';
import type { Change } from '../../src/objects/change.js';
import { TestHost } from '../harness/host.js';
import { netnsNames } from '../harness/host-state.mjs';
import { lookInto, mountOn, type Sitter, sitIn } from '../harness/sitter.js';
import { must } from '../harness/witness.js';

/** The kernel ends namespaces one after the other, in its own time: one queue for those of the whole machine. */
const PATIENCE = { timeout: 30_000 };

let host: TestHost;
let vpcctl: Vpcctl;
let events: VpcctlEvent[];
const sitters: Sitter[] = [];

beforeEach(async () => {
  host = await TestHost.create();
  events = [];
  vpcctl = await opened();
});

afterEach(async () => {
  for (const one of sitters.splice(0)) await one.leave();
  if (vpcctl.list().vpcs.length > 0) await vpcctl.destroy();
  await vpcctl.close();
  await host.close();
});

const opened = (kernel?: RealKernel): Promise<Vpcctl> =>
  open({ state: host.stateDir, onEvent: (event) => events.push(event), ...(kernel === undefined ? {} : { kernel }) });

async function build(...vpcs: string[]): Promise<void> {
  await vpcctl.transaction((tx) => {
    for (const [at, vpc] of vpcs.entries()) {
      tx.createVpc({ name: vpc, cidr: `10.${at + 1}.0.0/16` });
      tx.addSubnet({ vpc, name: 's', cidr: `10.${at + 1}.1.0/24`, public: true });
      tx.putSecurityGroup(vpc, 'open', { ingress: [{ protocol: 'any', from: 'any' }] });
      for (const name of ['x', 'y']) {
        const ip = `10.${at + 1}.1.${name === 'x' ? 10 : 11}`;
        tx.addInstance({ vpc, subnet: 's', name, ip, securityGroups: ['open'] });
      }
    }
  });
}

async function holding(sitter: Promise<Sitter>): Promise<Sitter> {
  const one = await sitter;
  sitters.push(one);
  return one;
}

/** The links that a process has around it. */
const linksAround = async (pid: number): Promise<string[]> => {
  const out = await must('', ['nsenter', `--net=/proc/${pid}/ns/net`, 'ip', '-o', 'link']);
  return [...out.matchAll(/^\d+: ([^:@]+)/gm)].map(([, name = '']) => name);
};

/** Numbers all namespaces that have a name; {@link living} tells how many of them live. */
async function number(): Promise<void> {
  for (const ns of netnsNames())
    if (ns !== 'internet') await must('', ['ip', '-force', 'netns', 'set', ns, 'auto']).catch(() => {});
}
const living = async (): Promise<number> => (await must('', ['ip', 'netns', 'list-id'])).match(/^nsid/gm)?.length ?? 0;

/** TCP connections in a namespace that have not ended. */
async function closing(ns: string): Promise<string[]> {
  const lines = (await must(ns, ['ss', '-Htan'])).split('\n');
  return lines.filter((line) => line !== '' && !/^(?:LISTEN|TIME-WAIT)/.test(line));
}

test('nobody is in them: nothing is told, and the kernel has none of them any more', async () => {
  const before = await living();
  await build('a', 'b');
  await number();
  expect(await living()).toBeGreaterThanOrEqual(7);
  const { held } = await vpcctl.destroy();
  expect(held).toEqual([]);
  await expect.poll(living, PATIENCE).toBe(before);
});

test('an instance that is deleted with somebody in it: his packets end, and he is named', async () => {
  await build('a');
  await host.listener('vpc.a.x', 'tcp', 80);
  const ask = () => host.probe('vpc.a.y', { proto: 'tcp', to: '10.1.1.10', port: 80, timeoutMs: 300 });
  expect(await ask()).toMatchObject({ ok: true });
  const { held } = await vpcctl.transaction((tx) => tx.deleteInstance('a', 'x'));
  expect(held).toEqual([
    { what: 'instance a/x', namespace: 'vpc.a.x', holders: [expect.objectContaining({ by: 'process' })] },
  ]);
  const { pid = 0 } = held[0]?.holders[0] ?? {};
  expect(await linksAround(pid)).toEqual(['lo']);
  expect(await ask()).toMatchObject({ ok: false });
  // He is there still, and another instance of the name is another one.
  await vpcctl.transaction((tx) => tx.addInstance({ vpc: 'a', subnet: 's', name: 'x', ip: '10.1.1.10' }));
  expect(await linksAround(pid)).toEqual(['lo']);
  expect(await vpcctl.drift()).toEqual([]);
  for (const ns of ['vpc.a.x', 'vpc.a.y']) await host.leave(ns);
  await vpcctl.destroy();
});

test('a VPC with somebody in its router and in all its workloads: they do not reach one another any more', async () => {
  await build('a');
  await number();
  await host.listener('vpc.a.x', 'tcp', 80);
  const ask = () => host.probe('vpc.a.y', { proto: 'tcp', to: '10.1.1.10', port: 80, timeoutMs: 300 });
  expect(await ask()).toMatchObject({ ok: true });
  // Of a connection that is cut while it closes, the kernel keeps the sockets, and with them the namespaces, for a minute.
  for (const ns of ['vpc.a.x', 'vpc.a.y']) await expect.poll(() => closing(ns), PATIENCE).toEqual([]);
  const router = await holding(sitIn('vpc.a'));
  const { held } = await vpcctl.transaction((tx) => tx.deleteVpc('a', { force: true }));
  expect(held.map(({ what }) => what).sort()).toEqual(['instance a/x', 'instance a/y', 'vpc a']);
  expect(held.find(({ what }) => what === 'vpc a')?.holders).toEqual([
    { pid: router.pid, command: 'sleep', by: 'process' },
  ]);
  for (const { holders } of held) expect(await linksAround(holders[0]?.pid ?? 0)).toEqual(['lo']);
  expect(await ask()).toMatchObject({ ok: false });
  for (const ns of ['vpc.a.x', 'vpc.a.y']) await host.leave(ns);
  await router.leave();
  sitters.splice(0);
  await expect.poll(living, PATIENCE).toBeLessThanOrEqual(1);
});

test('two VPCs that are destroyed: held by a descriptor, by a mount elsewhere, by a program of ours', async () => {
  const before = await living();
  await build('a', 'b');
  await number();
  const { pid } = await holding(lookInto('vpc.a.x'));
  const file = join(host.stateDir, 'a file');
  writeFileSync(file, '');
  const elsewhere = await holding(mountOn('vpc.b.y', file));
  await vpcctl.deployApp('b', { instance: 'x' }, { command: ['sleep', '600'] });
  const { held } = await vpcctl.destroy();
  const by = (what: string) => held.find((one) => one.what === what)?.holders;
  expect(by('instance a/x')).toContainEqual({ pid, command: 'sleep', by: 'descriptor', descriptor: 3 });
  expect(by('instance b/y')).toEqual([{ pid: elsewhere.pid, command: 'sleep', by: 'mount', path: file }]);
  expect(events.filter(({ type }) => type === 'held')).toHaveLength(held.length);
  // Our own program was ended before anybody looked.
  expect(held.map(({ what }) => what).sort()).toEqual(['instance a/x', 'instance b/y']);
  for (const one of sitters.splice(0)) await one.leave();
  await expect.poll(living, PATIENCE).toBe(before);
});

test('a process that is killed before its teardown: the next command says who is there', async () => {
  await build('a');
  class Dying extends RealKernel {
    override async apply(changes: readonly Change[], options: ApplyOptions = {}): Promise<StageFailure | undefined> {
      if (changes.some(({ op, row }) => op === 'delete' && row.kind === 'netns')) throw new Error('killed');
      return super.apply(changes, options);
    }
  }
  const dying = await opened(new Dying());
  await expect(dying.transaction((tx) => tx.deleteVpc('a', { force: true }))).rejects.toThrow('killed');
  await dying.close();
  const { pid } = await holding(sitIn('vpc.a.x'));
  const result = await host.vpcctl(['list', '--json']);
  expect(result.stderr).toContain(
    `vpcctl: instance a/x: its namespace lives on, without its links: held by sleep (pid ${pid})`,
  );
  expect(netnsNames()).toEqual(['internet']);
  expect(await linksAround(pid)).toEqual(['lo']);
});

test('the command tells of it, and is done', async () => {
  await build('a');
  const { pid } = await holding(sitIn('vpc.a.y'));
  const result = await host.vpcctl(['delete-vpc', '--name', 'a', '--force', '--json']);
  expect(result.exitCode).toBe(0);
  expect(result.json).toMatchObject({
    deleted: true,
    held: [{ what: 'instance a/y', namespace: 'vpc.a.y', holders: [{ pid, command: 'sleep', by: 'process' }] }],
  });
  expect(result.stderr).toContain(`held by sleep (pid ${pid})`);
});
