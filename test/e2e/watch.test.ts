/** `watch` in the background: what somebody breaks is as before within two seconds, and what others rightly do is left alone. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { open, type WatchEvent } from '../../src/index.js';
import { TestHost } from '../harness/host.js';
import { ipDo, must } from '../harness/witness.js';
import { destroyAll, expectHostAsBefore, expectWitness, settled, until, type Witness, witness } from './support.js';

const PORT = 8000;
const PATIENCE_MS = 2_000;
const X = 'vpc.a.x';
const Y = 'vpc.a.y';
const ROUTER = 'vpc.a';

/** The command in the background, and what it has said so far. */
class Watching {
  readonly events: WatchEvent[] = [];
  readonly #child;

  constructor(host: TestHost, args: readonly string[] = []) {
    this.#child = host.start(['watch', '--json', ...args]);
    let rest = '';
    this.#child.stdout.on('data', (chunk: Buffer) => {
      const lines = `${rest}${chunk}`.split('\n');
      rest = lines.pop() ?? '';
      this.events.push(...lines.map((line) => JSON.parse(line) as WatchEvent));
    });
  }

  static async begin(host: TestHost, args: readonly string[] = []): Promise<Watching> {
    const watching = new Watching(host, args);
    await until('the watch begins', () => watching.of('watching').length > 0);
    return watching;
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  of<T extends WatchEvent['type']>(type: T): Extract<WatchEvent, { type: T }>[] {
    return this.events.filter((event): event is Extract<WatchEvent, { type: T }> => event.type === type);
  }

  /** Sentences of all that was put back since the last time. */
  repaired(): string[] {
    const events = this.of('repaired');
    this.events.splice(0);
    return [
      ...new Set(events.flatMap(({ repaired }) => repaired.filter((one) => !one.follows).map((one) => one.sentence))),
    ];
  }

  async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.#child.kill(signal);
    const { exitCode, stderr } = await this.#child;
    expect([exitCode, stderr]).toEqual([0, '']);
  }

  /** Processor time so far, in ms. */
  cpu(): number {
    const stat = readFileSync(`/proc/${this.pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10;
  }
}

let host: TestHost;
let before: Witness;
let empty: Awaited<ReturnType<typeof settled>>;
let watching: Watching;
let ip = '';

beforeAll(async () => {
  host = await TestHost.create();
  empty = host.snapshot();
  // Begins with nothing: what is made later is watched too.
  watching = await Watching.begin(host);
  await host.vpcctlOk(['create-vpc', '--name', 'a', '--cidr', '10.1.0.0/16']);
  await host.vpcctlOk(['add-subnet', '--vpc', 'a', '--subnet', 'web', '--cidr', '10.1.1.0/24', '--nat']);
  await host.vpcctlOk(['add-instance', '--vpc', 'a', '--subnet', 'web', '--name', 'x']);
  await host.vpcctlOk(['add-instance', '--vpc', 'a', '--subnet', 'web', '--name', 'y']);
  const library = await open({ state: host.stateDir });
  ip = library.instance('a', { instance: 'x' }).ip;
  await library.close();
  await settled(host);
  before = await witness();
  await host.listener(X, 'tcp', PORT);
});

afterEach(() => {
  expect(watching.of('failed')).toEqual([]);
});

afterAll(async () => {
  await destroyAll(host);
  await watching.end('SIGINT');
  await expectHostAsBefore(host, empty);
  await host.close();
});

async function expectPackets(): Promise<void> {
  expect(await host.probe(Y, { proto: 'tcp', to: ip, port: PORT })).toMatchObject({ ok: true });
}

const nft = async (ns: string, words: string): Promise<unknown> => must(ns, ['nft', words]);

const BROKEN: Readonly<Record<string, readonly [() => Promise<unknown>, readonly string[]]>> = {
  'a route is deleted': [
    async () => ipDo(['route', 'del', 'unreachable', '10.1.0.0/16'], ROUTER),
    ['vpc a: the route that keeps 10.1.0.0/16 inside is missing from the kernel'],
  ],
  'a link is down': [async () => ipDo(['link', 'set', 'eth0', 'down'], X), ['instance a/x: its link is down']],
  'a chain is flushed': [
    async () => nft(ROUTER, 'flush chain inet vpcctl forward'),
    ["vpc a: the firewall's chain forward was changed"],
  ],
  'an address is removed': [
    async () => ipDo(['addr', 'del', `${ip}/24`, 'dev', 'eth0'], X),
    [
      'instance a/x: its address 10.1.1.5/24 is missing from the kernel',
      'instance a/x: the neighbour entry for 10.1.1.1 is missing from the kernel',
      'instance a/x: its default route is missing from the kernel',
    ],
  ],
  'an element is deleted': [
    async () => nft(ROUTER, `delete element inet vpcctl profile { ${ip} }`),
    ['instance a/x: its membership of its security groups is missing from the kernel'],
  ],
  'a neighbour is deleted': [
    async () => ipDo(['neigh', 'del', ip, 'dev', 'eni0a010105'], ROUTER),
    ['instance a/x: the neighbour entry for 10.1.1.5 in the router of a is missing from the kernel'],
  ],
  'forwarding is switched off': [
    async () => {
      await host.sysctl(ROUTER, 'net/ipv4/ip_forward', '0');
      await host.leave(ROUTER);
    },
    ['vpc a: the setting net.ipv4.ip_forward in the router of a is 0 instead of 1'],
  ],
  'the link on the host is deleted': [
    async () => ipDo(['link', 'del', 'vpc-edge']),
    ['edge: the link vpc-edge on the host is missing from the kernel'],
  ],
  'a namespace is deleted': [
    async () => {
      await host.leave(X);
      await ipDo(['netns', 'del', X]);
    },
    ['instance a/x: its namespace vpc.a.x is missing from the kernel'],
  ],
  'a namespace is deleted that somebody is still in': [
    async () => ipDo(['netns', 'del', X]),
    ['instance a/x: its namespace vpc.a.x is missing from the kernel'],
  ],
};

test.each(Object.keys(BROKEN))('%s: it is put back', async (name) => {
  const [breakIt, sentences] = BROKEN[name] ?? [];
  watching.events.splice(0);
  await breakIt?.();
  const began = Date.now();
  await until('it is put back', () => watching.of('repaired').length > 0);
  expect(Date.now() - began).toBeLessThan(PATIENCE_MS);
  expect(watching.repaired()).toEqual(sentences);
  await expectWitness(before);
  if (name.includes('namespace')) {
    await host.leave(X);
    await host.listener(X, 'tcp', PORT);
  }
  await expectPackets();
  // Its own repair is no news.
  expect(watching.repaired()).toEqual([]);
});

test('what others make and delete meanwhile is theirs', async () => {
  watching.events.splice(0);
  const library = await open({ state: host.stateDir });
  const names = Array.from({ length: 25 }, (_, index) => `more-${index}`);
  await Promise.all(
    names.map(async (name) => library.transaction((tx) => tx.addInstance({ vpc: 'a', subnet: 'web', name }))),
  );
  await Promise.all(names.map(async (name) => library.transaction((tx) => tx.deleteInstance('a', name))));
  await library.transaction((tx) => {
    for (const name of names) tx.addInstance({ vpc: 'a', subnet: 'web', name });
  });
  await library.transaction((tx) => {
    for (const name of names) tx.deleteInstance('a', name);
  });
  await library.close();
  await expectWitness(before);
  await sleep(500);
  expect(watching.events).toEqual([]);
});

test('who makes noise in a namespace, and breaks our link there again and again, gets ever less of us', async () => {
  watching.events.splice(0);
  const cpu = watching.cpu();
  const began = Date.now();
  const noise = 'address add 10.9.9.9/32 dev lo\naddress del 10.9.9.9/32 dev lo\n'.repeat(500);
  const breaking = 'link set eth0 down\n';
  let rounds = 0;
  for (let met = false; Date.now() - began < (met ? 3_000 : 10_000); rounds += 1) {
    met = watching.of('backoff').length > 0;
    await must('', ['ip', '-n', X, '-batch', '-'], { input: noise + breaking });
  }
  const share = (watching.cpu() - cpu) / (Date.now() - began);
  const times = watching.of('repaired').length;
  console.log(`${rounds * 1000} notifications, ${times} repairs, ${Math.round(share * 100)} % of a processor`);
  expect(times).toBeGreaterThan(0);
  // At 0, 0.2, 0.6, 1.4, 3, 6.2 s.
  expect(times).toBeLessThan(8);
  expect(share).toBeLessThan(0.5);
  expect(watching.of('backoff').length).toBeGreaterThan(0);
  const { nextLookMs = 0 } = watching.of('backoff').at(-1) ?? {};
  expect(nextLookMs).toBeGreaterThanOrEqual(800);
  await until('the last time', () => watching.of('repaired').length > times, nextLookMs + 8_000);
  await expectWitness(before);
});

test('--no-repair only tells, of one VPC; in lines for people', async () => {
  await watching.end();
  const telling = await Watching.begin(host, ['--no-repair', '--vpc', 'a']);
  await ipDo(['link', 'set', 'eth0', 'down'], X);
  await until('it is told', () => telling.of('drift').length > 0);
  expect(telling.of('drift')[0]).toMatchObject({ vpc: 'a', drift: [{ what: 'changed' }, {}, {}] });
  await host.vpcctlOk(['repair', '--yes']);
  await until('it is told', () => telling.of('clean').length > 0);
  expect(telling.of('drift')).toHaveLength(1);
  // Nothing that is watched is held: with a namespace its link goes, and the other end of that.
  await host.leave(X);
  await ipDo(['netns', 'del', X]);
  const ports = async (): Promise<number> => (await must(ROUTER, ['ip', '-o', 'link'])).split('\n').length;
  const had = await ports();
  for (const end = Date.now() + 1_000; Date.now() < end && (await ports()) === had; ) await sleep(20);
  expect(await ports()).toBe(had - 1);
  await host.vpcctlOk(['repair', '--yes']);
  await host.listener(X, 'tcp', PORT);
  await telling.end();

  await ipDo(['link', 'set', 'eth0', 'down'], X);
  const lines = host.start(['watch']);

  await expectWitness(before);
  await sleep(300);
  lines.kill('SIGTERM');
  const { exitCode, stdout } = await lines;
  expect(exitCode).toBe(0);
  expect(stdout.replace(/^\S+Z {2}/gm, '')).toBe('repaired  instance a/x: its link is down\nwatching all VPCs');
  expect(await host.vpcctl(['watch', '--vpc', 'none', '--json'])).toMatchObject({
    exitCode: 4,
    json: { error: { code: 'NOT_FOUND' } },
  });
  watching = await Watching.begin(host);
});
