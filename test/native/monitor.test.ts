/** The addon's monitor: news of the right namespace, nothing held, and clean ends. */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it, onTestFinished } from 'vitest';
import { loadNative, type NativeMonitor } from '../../src/kernel/native.js';
import { kernelDescriptors } from '../harness/process-state.js';
import { ip, ipDo, must } from '../harness/witness.js';
import { EEXIST, EINVAL, ENOENT, netlink, newLink, newVeth, threadNamespaces, withAddon } from './wire.js';

const native = loadNative();
const RTM_NEWLINK = 16;
const RTM_DELLINK = 17;
const RTM_NEWADDR = 20;
const RTM_NEWROUTE = 24;
const RTM_DELNEIGH = 29;
const RTM_NEWRULE = 32;
const RTM_NEWNETCONF = 80;
const NFT_NEWTABLE = 0xa00;

interface Heard {
  readonly monitor: NativeMonitor;
  /** What was told so far, as `number:type`; forgotten when taken. */
  take(): Promise<string[]>;
  overruns: number;
}

function listen(): Heard {
  const items = new Set<string>();
  const monitor = new native.Monitor((news, overrun) => {
    if (overrun) heard.overruns += 1;
    for (let at = 0; at < news.length; at += 2) items.add(`${news[at]}:${news[at + 1]}`);
  });
  onTestFinished(() => monitor.close());
  const heard: Heard = {
    monitor,
    overruns: 0,
    take: async () => {
      await sleep(150);
      const taken = [...items];
      items.clear();
      return taken;
    },
  };
  return heard;
}

const path = (name: string): string => `/run/netns/${name}`;

async function make(...names: string[]): Promise<void> {
  const made = await native.run(names.map((name) => ({ op: 'netns-create', path: path(name) })));
  expect(made.map(({ errno }) => errno)).toEqual(names.map(() => 0));
}

afterEach(async () => {
  for (const name of readdirSync('/run/netns')) await native.run([{ op: 'netns-delete', path: path(name) }]);
});

it('tells in which namespace what kind of thing changed, whoever did it', async () => {
  await make('a', 'b');
  const { data, slot } = newVeth('va', 'vb');
  await native.run([netlink(path('a'), [data], [{ offset: slot, netns: path('b') }])]);
  const heard = listen();
  expect([heard.monitor.follow(path('a'), 1), heard.monitor.follow(path('b'), 2)]).toEqual([0, 0]);
  expect(await heard.take()).toEqual([]);
  await ipDo(['address', 'add', '10.0.0.1/24', 'dev', 'vb'], 'b');
  expect(await heard.take()).toEqual([`2:${RTM_NEWADDR}`, `2:${RTM_NEWROUTE}`]);
  await ipDo(['rule', 'add', 'priority', '7', 'table', '7'], 'a');
  expect(await heard.take()).toEqual([`1:${RTM_NEWRULE}`]);
  await must('a', ['nft', 'add table inet x']);
  expect(await heard.take()).toContain(`1:${NFT_NEWTABLE}`);
  await must('b', ['sysctl', '-qw', 'net.ipv4.conf.vb.forwarding=1']);
  expect(await heard.take()).toEqual([`2:${RTM_NEWNETCONF}`]);
  await ipDo(['neigh', 'add', '10.0.0.2', 'lladdr', '02:00:00:00:00:01', 'dev', 'vb'], 'b');
  await ipDo(['neigh', 'del', '10.0.0.2', 'dev', 'vb'], 'b');
  expect(await heard.take()).toContain(`2:${RTM_DELNEIGH}`);
  await ipDo(['link', 'set', 'va', 'up'], 'a');
  expect(await heard.take()).toContain(`1:${RTM_NEWLINK}`);
  expect(heard.overruns).toBe(0);
});

it('hears the namespace of its own process, and none that it does not follow', async () => {
  await make('a');
  const heard = listen();
  await ipDo(['link', 'set', 'lo', 'mtu', '65000'], 'a');
  await must('', ['nft', 'add table inet mine; delete table inet mine']);
  expect(await heard.take()).toEqual([]);
  expect(heard.monitor.follow('', 7)).toBe(0);
  await must('', ['nft', 'add table inet mine; delete table inet mine']);
  expect(await heard.take()).toContain(`7:${NFT_NEWTABLE}`);
});

it('refuses by errno: a second number, what is no namespace, what is not there', async () => {
  await make('a');
  const { monitor } = listen();
  expect(monitor.follow(path('a'), 1)).toBe(0);
  expect(monitor.follow(path('a'), 2)).toBe(EEXIST);
  expect(monitor.follow('/etc/passwd', 3)).toBe(EINVAL);
  expect(monitor.follow(path('none'), 3)).toBe(ENOENT);
  expect(() => monitor.follow(path('a'), -1)).toThrow(TypeError);
  monitor.close();
  monitor.close();
  expect(monitor.follow(path('a'), 4)).not.toBe(0);
  expect(() => new native.Monitor(undefined as never)).toThrow(TypeError);
});

it('a namespace that another process deletes dies at once, and its name is free for another', async () => {
  await make('a', 'b');
  const { data, slot } = newVeth('va', 'vb');
  await native.run([netlink(path('a'), [data], [{ offset: slot, netns: path('b') }])]);
  const heard = listen();
  for (const [index, name] of ['a', 'b'].entries()) expect(heard.monitor.follow(path(name), index)).toBe(0);
  await ipDo(['netns', 'del', 'a']);
  for (const end = Date.now() + 1_000; Date.now() < end && (await ip(['link'], 'b')).length > 1; ) await sleep(20);
  expect((await ip(['link'], 'b')).map(({ ifname }) => ifname)).toEqual(['lo']);
  expect(await heard.take()).toContain(`1:${RTM_DELLINK}`);
  await make('a');
  expect(heard.monitor.follow(path('a'), 2)).toBe(0);
  await ipDo(['link', 'set', 'lo', 'mtu', '65000'], 'a');
  expect(await heard.take()).toEqual([`2:${RTM_NEWLINK}`]);
});

it('200 namespaces cost no descriptor each, and closing gives all back; no thread is left elsewhere', async () => {
  const names = Array.from({ length: 200 }, (_, index) => `n${index}`);
  await make(...names);
  await sleep(300);
  const before = kernelDescriptors().length;
  const heard = listen();
  const open = kernelDescriptors().length;
  for (const [index, name] of names.entries()) expect(heard.monitor.follow(path(name), index)).toBe(0);
  expect(kernelDescriptors().length).toBe(open);
  expect(open - before).toBeLessThan(10);
  await native.run(names.map((name) => netlink(path(name), [newLink('v0')])));
  const told = await heard.take();
  expect(names.filter((_, index) => !told.includes(`${index}:${RTM_NEWLINK}`))).toEqual([]);
  const elsewhere = () => new Set(threadNamespaces(readdirSync('/proc/self/task')).values()).size;
  // The monitor's own thread is in a namespace of its own.
  expect(elsewhere()).toBe(2);
  heard.monitor.close();
  expect(elsewhere()).toBe(1);
  expect(kernelDescriptors().length).toBe(before);
});

it('a flood is told of as one', async () => {
  await make('a');
  const heard = listen();
  heard.monitor.follow(path('a'), 1);
  const input = 'address add 10.9.9.9/32 dev lo\naddress del 10.9.9.9/32 dev lo\n'.repeat(5_000);
  await must('', ['ip', '-n', 'a', '-batch', '-'], { input });
  expect((await heard.take()).length).toBeGreaterThan(0);
  await ipDo(['link', 'set', 'lo', 'mtu', '65000'], 'a');
  expect(await heard.take()).toContain(`1:${RTM_NEWLINK}`);
});

function node(code: string): { readonly status: number | null; readonly out: string } {
  const script = withAddon(code);
  const argv = ['--expose-gc', '--input-type=module', '-e', script];
  const done = spawnSync(process.execPath, argv, { encoding: 'utf8', timeout: 30_000 });
  return { status: done.status, out: done.stdout + done.stderr };
}

it('a process with an open monitor ends when it has nothing else to do', () => {
  const code = `const monitor = new native.Monitor(() => {}); console.log(monitor.follow('', 1));`;
  expect(node(code)).toEqual({ status: 0, out: '0\n' });
  expect(node(`${code} setTimeout(() => process.exit(3), 20);`)).toEqual({ status: 3, out: '0\n' });
});

it('worker threads end with their monitors; forgotten monitors are collected', () => {
  const code = `
    import { Worker } from 'node:worker_threads';
    import { once } from 'node:events';
    import { readdirSync, readFileSync } from 'node:fs';
    const threads = () => readdirSync('/proc/self/task').filter((tid) =>
      readFileSync('/proc/self/task/' + tid + '/comm', 'utf8').startsWith('vpcctl-monitor')).length;
    const code = ${JSON.stringify(
      withAddon(`
      import { parentPort } from 'node:worker_threads';
      globalThis.kept = new native.Monitor(() => {});
      kept.follow('', 1);
      parentPort.postMessage('open');
      setInterval(() => {}, 1000);
    `),
    )};
    const seen = [];
    for (let round = 0; round < 5; round += 1) {
      const worker = new Worker(new URL('data:text/javascript,' + encodeURIComponent(code)));
      await once(worker, 'message');
      seen.push(threads());
      await worker.terminate();
      seen.push(threads());
    }
    for (let round = 0; round < 5; round += 1) {
      new native.Monitor(() => {});
      await new Promise((resolve) => setTimeout(resolve, 5));
      gc();
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
    gc();
    await new Promise((resolve) => setTimeout(resolve, 50));
    console.log(seen.join(), threads() <= 1);
  `;
  expect(node(code)).toEqual({ status: 0, out: '1,0,1,0,1,0,1,0,1,0 true\n' });
});
