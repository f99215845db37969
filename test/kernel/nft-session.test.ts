/** `nft` kept open: the same answers as from a process of its own, and nothing left. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { open, type Vpcctl } from '../../src/index.js';
import { loadNative } from '../../src/kernel/native.js';
import { byProcess, type Nft, nftErrno, runNft } from '../../src/kernel/nft.js';
import { RealKernel } from '../../src/kernel/real.js';
import { TestHost } from '../harness/host.js';
import { netnsNames } from '../harness/host-state.mjs';
import { childProcesses } from '../harness/process-state.js';
import { ipDo, must } from '../harness/witness.js';

const NS = 'kept';
const LIST = { list: { ruleset: null } };
const TABLE = { family: 'inet', name: 't' };
const doc = (...nftables: unknown[]): string => JSON.stringify({ nftables });
const element = (op: 'add' | 'delete' | 'create', ...elem: unknown[]): string =>
  doc({ [op]: { element: { family: 'inet', table: 't', name: 's', elem } } });

let host: TestHost;
let nft: Nft;

beforeEach(async () => {
  host = await TestHost.create();
  await ipDo(['netns', 'add', NS]);
  await must(NS, ['nft', 'add table inet t; add set inet t s { type ipv4_addr; }']);
  // A busy machine may take longer from one document to the next than it is kept for.
  nft = byProcess({ idleMs: 20_000 });
});

afterEach(async () => {
  await nft.rest();
  expect(kept()).toEqual([]);
  for (const ns of netnsNames()) if (ns.startsWith(NS)) await ipDo(['netns', 'del', ns]);
  await host.close();
});

/** The processes that are kept open. */
const kept = (): number[] =>
  childProcesses()
    .filter((line) => / -j -n -i$/.test(line))
    .map((line) => Number.parseInt(line, 10));

const elements = async (): Promise<string[]> =>
  (await must(NS, ['nft', 'list', 'set', 'inet', 't', 's'])).match(/\d+\.\d+\.\d+\.\d+/g) ?? [];

async function ok(ns: string, document: string): Promise<string> {
  const { stdout, refusal } = await nft.run(ns, document);
  expect(refusal).toBeUndefined();
  return stdout;
}

async function onlyKept(): Promise<number> {
  const [pid = 0, ...others] = kept();
  expect(pid).toBeGreaterThan(0);
  expect(others).toEqual([]);
  return pid;
}

/** It is dead when this returns, and nobody has come to hear of it yet. */
function kill(pid: number): void {
  process.kill(pid, 'SIGKILL');
  while (!/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'latin1')));
}

test('many documents, one process, in the namespace and with nothing else of ours', async () => {
  const pids = new Set<number>();
  for (let i = 1; i <= 100; i++) {
    expect(await ok(NS, element('add', `10.0.0.${i}`))).toBe('');
    pids.add(await onlyKept());
  }
  expect(pids.size).toBe(1);
  expect(await elements()).toHaveLength(100);
  const [pid] = pids;
  const inside = await must(NS, ['readlink', '/proc/self/ns/net']);
  expect(readlinkSync(`/proc/${pid}/ns/net`)).toBe(inside.trim());
  expect(readdirSync(`/proc/${pid}/fd`)).toEqual(['0', '1', '2', '3']);
  // It would keep the documents in a file there.
  expect(readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')).toContain('HOME=/dev/null');
  // A program that is started meanwhile has none of its pipes.
  const program = spawn('sleep', ['100'], { stdio: 'ignore' });
  await once(program, 'spawn');
  const held = readdirSync(`/proc/${program.pid}/fd`).map((fd) => readlinkSync(`/proc/${program.pid}/fd/${fd}`));
  expect(held.filter((target) => target.startsWith('socket:'))).toEqual([]);
  program.kill('SIGKILL');
  await once(program, 'exit');
});

test('what it refuses, it refuses in the words of a process of its own', async () => {
  for (const document of [
    doc({ create: { table: TABLE } }),
    doc({ delete: { table: { family: 'inet', name: 'none' } } }),
    doc({ delete: { table: { family: 'ip', name: 'none', handle: 4711 } } }),
    doc({ add: { chain: { family: 'inet', table: 'none', name: 'c' } } }),
    doc({ add: { rule: { family: 'inet', table: 't', chain: 'none', expr: [{ accept: null }] } } }),
    doc({ list: { set: { family: 'inet', table: 't', name: 'none' } } }),
    element('delete', '10.9.9.9'),
    element('add', 'no address'),
    doc({ add: { nothing: {} } }),
    '{"nftables": {}}',
    // Half of it would do.
    doc({ add: { table: { family: 'ip', name: 'half' } } }, { create: { table: TABLE } }),
  ]) {
    const { stdout, refusal } = await nft.run(NS, document);
    expect(refusal).toBeTruthy();
    expect({ stdout, refusal }).toEqual(await runNft(NS, ['-j', '-n', '-f', '-'], document));
  }
  for (const text of ['{"nftables": [', 'nonsense']) expect((await nft.run(NS, text)).refusal).toMatch(/syntax error/);
  await onlyKept();
  expect(await must(NS, ['nft', 'list', 'tables'])).toBe('table inet t');
});

test('what it lists is what a process of its own lists, letter by letter', async () => {
  const vpcctl = await open({ state: host.stateDir });
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
    tx.addSubnet({ vpc: 'a', name: 's', cidr: '10.1.1.0/24', public: true });
    tx.addInstance({ vpc: 'a', subnet: 's', name: 'x' });
  });
  await must(NS, [
    'nft',
    'add chain inet t c; add rule inet t c tcp dport 22 ip protocol icmp accept comment "é ! \\\\ ^D"',
  ]);
  for (const ns of ['', 'vpc.a', NS]) {
    const { stdout } = await runNft(ns, ['-j', '-n', '-f', '-'], doc(LIST));
    expect(JSON.parse(stdout).nftables.length).toBeGreaterThan(ns === NS ? 3 : 1);
    expect((await ok(ns, doc(LIST))).trimEnd()).toBe(stdout);
  }
  await nft.rest();
  await vpcctl.destroy();
  await vpcctl.close();
});

test('a text comes through as it is; a long document and a long answer too', async () => {
  const comment = 'é \u{1f600} ! \\ ^ \u007f \\n "quoted"';
  const rule = { family: 'inet', table: 't', chain: 'c', comment, expr: [{ accept: null }] };
  await ok(NS, doc({ add: { chain: { family: 'inet', table: 't', name: 'c' } } }, { add: { rule } }));
  const { nftables } = JSON.parse(await ok(NS, doc(LIST)));
  expect(nftables.find((one: { rule?: unknown }) => one.rule !== undefined).rule.comment).toBe(comment);
  await ok(NS, element('add', ...Array.from({ length: 20_000 }, (_, i) => `11.0.${i >> 8}.${i & 255}`)));
  expect((await ok(NS, doc(LIST))).match(/11\.0\./g)).toHaveLength(20_000);
  await onlyKept();
});

test('killed between documents, it is replaced', async () => {
  await ok(NS, element('add', '10.0.0.1'));
  const first = await onlyKept();
  kill(first);
  await ok(NS, element('add', '10.0.0.2'));
  expect(await onlyKept()).not.toBe(first);
  expect(await elements()).toEqual(['10.0.0.1', '10.0.0.2']);
});

test('killed with a document, it is told that nobody knows', async () => {
  await ok(NS, element('add', '10.0.0.1'));
  const pid = await onlyKept();
  process.kill(pid, 'SIGSTOP');
  const running = nft.run(NS, element('add', '10.0.0.2'));
  await sleep(50);
  kill(pid);
  const { refusal = '', unknown } = await running;
  expect(refusal).toBe('nft ended (SIGKILL) before it answered: whether it did what it was told is not known');
  expect([unknown, nftErrno(refusal)]).toEqual([true, undefined]);
  await ok(NS, element('add', '10.0.0.3'));
  expect(await elements()).toEqual(['10.0.0.1', '10.0.0.3']);
});

test('no more than eight, none for long, and none in what is released', async () => {
  nft = byProcess();
  const names = Array.from({ length: 12 }, (_, i) => `${NS}${i}`);
  for (const ns of names) await ipDo(['netns', 'add', ns]);
  for (const ns of names) await ok(ns, doc({ add: { table: TABLE } }));
  await expect.poll(() => kept().length).toBeLessThanOrEqual(8);
  await expect.poll(kept, { timeout: 5_000 }).toEqual([]);
  nft = byProcess({ idleMs: 20_000 });
  for (const ns of names.slice(0, 3)) await ok(ns, doc(LIST));
  expect(kept()).toHaveLength(3);
  await nft.release(names.slice(1, 3));
  expect(await onlyKept()).toBeGreaterThan(0);
  await nft.rest();
  expect(kept()).toEqual([]);
});

test('a namespace that is not there: the words of a process of its own, and others are not the worse for it', async () => {
  const { refusal = '' } = await nft.run('none', doc(LIST));
  expect(nftErrno(refusal)).toBe('ENOENT');
  expect({ stdout: '', refusal }).toEqual(await runNft('none', ['-j', '-n', '-f', '-'], doc(LIST)));
  await ok(NS, doc(LIST));
  await onlyKept();
});

test('a process with one that is kept open ends when it has nothing to do, or is killed', async () => {
  const module = fileURLToPath(new URL('../../dist/kernel', import.meta.url));
  const script = `
    const { nftOf } = await import(${JSON.stringify(join(module, 'nft.js'))});
    const { loadNative } = await import(${JSON.stringify(join(module, 'native.js'))});
    const nft = nftOf(loadNative(), 'process');
    const { refusal } = await nft.run('${NS}', '${doc(LIST)}');
    console.log(refusal ?? 'answered', performance.now());
    process.on('exit', () => console.log(performance.now()));
    if (process.argv[1] === 'die') process.kill(process.pid, 'SIGKILL');`;
  const node = ['--input-type=module', '-e', script];
  const { stdout } = await promisify(execFile)(process.execPath, node);
  const [, answered = 0, ended = 0] = /^answered ([\d.]+)\n([\d.]+)\n$/.exec(stdout)?.map(Number) ?? [];
  expect(ended - answered).toBeGreaterThan(0);
  expect(ended - answered).toBeLessThan(150);
  await expect(promisify(execFile)(process.execPath, [...node, 'die'])).rejects.toMatchObject({ signal: 'SIGKILL' });
  await expect.poll(async () => must('', ['ip', 'netns', 'pids', NS])).toBe('');
});

test('a transaction whose document is lost is undone, whether it was carried out or not', async () => {
  const native = loadNative();
  let lose: 'before' | 'after' | undefined;
  /** Loses documents, as a process that dies does. */
  const lossy: Nft = {
    ...nft,
    async run(ns, document) {
      const losing = document === doc(LIST) ? undefined : lose;
      lose = losing === undefined ? lose : undefined;
      if (losing !== 'before') {
        const result = await nft.run(ns, document);
        if (losing === undefined) return result;
      }
      return { stdout: '', refusal: 'lost', unknown: true };
    },
  };
  const vpcctl: Vpcctl = await open({
    state: host.stateDir,
    kernel: new RealKernel('process', undefined, native, lossy),
  });
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
    tx.addSubnet({ vpc: 'a', name: 's', cidr: '10.1.1.0/24' });
    tx.addInstance({ vpc: 'a', subnet: 's', name: 'x' });
  });
  const rules = async () => must('vpc.a', ['nft', '-s', 'list', 'ruleset']);
  const before = await rules();
  for (const when of ['before', 'after'] as const) {
    lose = when;
    const adding = vpcctl.transaction((tx) => tx.addInstance({ vpc: 'a', subnet: 's', name: 'y' }));
    await expect(adding).rejects.toThrow('nft refused the firewall of vpc.a');
    expect(lose).toBeUndefined();
    expect(await rules()).toBe(before);
    expect(await vpcctl.drift()).toEqual([]);
  }
  await vpcctl.transaction((tx) => tx.addInstance({ vpc: 'a', subnet: 's', name: 'y' }));
  expect(await rules()).not.toBe(before);
  await vpcctl.destroy();
  await vpcctl.close();
  expect(kept()).toEqual([]);
});

test('what another process keeps open in a VPC that goes is waited for, and not told of', async () => {
  const vpcctl = await open({ state: host.stateDir });
  await vpcctl.transaction((tx) => tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' }));
  nft = byProcess({ idleMs: 300 });
  await ok('vpc.a', doc(LIST));
  const { held } = await vpcctl.transaction((tx) => tx.deleteVpc('a'));
  expect([held, kept()]).toEqual([[], []]);
  await vpcctl.close();
});

test('an installation uses one process a router, and closed, has none; a VPC that goes takes its own with it', async () => {
  const vpcctl = await open({
    state: host.stateDir,
    kernel: new RealKernel('process', undefined, loadNative(), nft),
  });
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
    tx.addSubnet({ vpc: 'a', name: 's', cidr: '10.1.1.0/24' });
  });
  await vpcctl.transaction((tx) => tx.addInstance({ vpc: 'a', subnet: 's', name: 'x' }));
  const pid = await onlyKept();
  await vpcctl.transaction((tx) => tx.deleteInstance('a', 'x'));
  expect(await onlyKept()).toBe(pid);
  const { held } = await vpcctl.transaction((tx) => tx.deleteVpc('a', { force: true }));
  expect([kept(), held]).toEqual([[], []]);
  await vpcctl.transaction((tx) => tx.createVpc({ name: 'b', cidr: '10.2.0.0/16' }));
  expect(await vpcctl.drift()).toEqual([]);
  expect(kept()).not.toEqual([]);
  await vpcctl.close();
  expect(kept()).toEqual([]);
  const again = await open({ state: host.stateDir, nft: 'process' });
  await again.destroy();
  await again.close();
});
