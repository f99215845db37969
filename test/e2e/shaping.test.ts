/** Bandwidth, delay, jitter and loss of instances: by what the kernel has, and by how much gets through. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { TestHost } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { counter, inNetns, ip, ipDo, must, netnsArgv } from '../harness/witness.js';
import {
  changesNothing,
  destroyAll,
  expectHostAsBefore,
  expectWitness,
  ownNamespaces,
  pings,
  refused,
  settled,
  type Witness,
  witness,
} from './support.js';

const TRANSFER = fileURLToPath(new URL('../harness/transfer.mjs', import.meta.url));
const ROUTER = 'vpc.a';
const SLOW = { ns: 'vpc.a.slow', ip: '10.1.1.10', port: 'eni0a01010a', ifb: 'ifb0a01010a' };
const FAST = { ns: 'vpc.a.fast', ip: '10.1.1.11', port: 'eni0a01010b' };
const FAR = { ns: 'vpc.a.far', ip: '10.1.2.10', port: 'eni0a01020a' };
const MBIT = 1_000_000;
const PORT = 5001;

const SPEC = {
  vpcs: {
    a: {
      cidr: '10.1.0.0/16',
      subnets: { s: { cidr: '10.1.1.0/24' }, far: { cidr: '10.1.2.0/24' } },
      securityGroups: { default: { ingress: [{}] } },
      instances: {
        slow: { subnet: 's', ip: SLOW.ip, bandwidth: { in: '80mbit', out: '40mbit', burst: '32kib' } },
        fast: { subnet: 's', ip: FAST.ip },
        far: { subnet: 'far', ip: FAR.ip },
      },
    },
  },
};

let host: TestHost;
let temp: string;
let pristine: HostState;
let shaped: Witness;
const receivers: ChildProcess[] = [];

async function receive(ns: string): Promise<void> {
  const [program = '', ...args] = netnsArgv(ns, [process.execPath, TRANSFER, 'receive', String(PORT)]);
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit'] });
  receivers.push(child);
  await once(child.stdout, 'data');
}

/** Bits a second from one to another, as the receiver saw them. */
async function throughput(from: string, to: string, ms = 800): Promise<number> {
  const told = await must(from, [process.execPath, TRANSFER, 'send', to, String(PORT), String(ms)]);
  const { bytes, ms: took } = JSON.parse(told) as { bytes: number; ms: number };
  return (bytes * 8000) / took;
}

/** Bytes that came out of a port while datagrams were sent as fast as can be, and for how long, in s. */
async function flooded(from: string, to: string, port: string, ms: number): Promise<{ bytes: number; s: number }> {
  const before = await counter(ROUTER, port);
  const begin = performance.now();
  await must(from, [process.execPath, TRANSFER, 'flood', to, '9', String(ms)]);
  const s = (performance.now() - begin) / 1000;
  const after = await counter(ROUTER, port);
  return { bytes: after.txBytes - before.txBytes, s };
}

interface Qdisc {
  readonly kind: string;
  readonly dev: string;
  readonly root?: boolean;
  readonly options: Record<string, unknown>;
}

async function qdiscs(): Promise<Qdisc[]> {
  const all = JSON.parse(await must(ROUTER, ['tc', '-j', 'qdisc', 'show'])) as Qdisc[];
  return all.filter(({ kind }) => kind !== 'noqueue');
}

const ifbs = async (): Promise<string[]> =>
  (await ip<{ ifname: string }>(['link', 'show', 'type', 'ifb'], ROUTER)).map(({ ifname }) => ifname);

function file(name: string, content: unknown): string {
  const path = join(temp, name);
  writeFileSync(path, JSON.stringify(content));
  return path;
}

const modify = (name: string, ...options: string[]) =>
  host.vpcctlOk(['modify-instance', '--vpc', 'a', '--name', name, ...options]);

beforeAll(async () => {
  host = await TestHost.create();
  pristine = await settled(host);
  temp = mkdtempSync(join(tmpdir(), 'vpcctl-shaping-'));
  await host.vpcctlOk(['apply', file('spec.json', SPEC), '--yes']);
  shaped = await witness();
  for (const { ns } of [SLOW, FAST, FAR]) await receive(ns);
});

beforeEach(async () => {
  await host.vpcctlOk(['apply', file('spec.json', SPEC), '--yes']);
});

afterAll(async () => {
  for (const child of receivers) {
    child.stdin?.end();
    if (child.exitCode === null) await once(child, 'exit');
  }
  await destroyAll(host);
  rmSync(temp, { recursive: true, force: true });
  await expectHostAsBefore(host, pristine);
  await host.close();
});

describe('how much gets through', () => {
  test('is bounded each way, and is not where nothing was said, in the same minutes', async () => {
    const free = await throughput(FAST.ns, FAR.ip);
    const out = await throughput(SLOW.ns, FAR.ip);
    const into = await throughput(FAR.ns, SLOW.ip);
    const seen = `free ${free / MBIT}, out ${out / MBIT}, in ${into / MBIT} Mbit/s`;
    // A busy machine is slower, never faster. What TCP carries is some 4 % less than what the queue lets pass.
    expect(out, seen).toBeLessThan(40 * MBIT);
    expect(into, seen).toBeLessThan(80 * MBIT);
    expect(free, seen).toBeGreaterThan(2 * out);
    expect(free, seen).toBeGreaterThan(1.5 * into);
    expect(out, seen).toBeGreaterThan(10 * MBIT);
    // Within the subnet too.
    expect(await throughput(SLOW.ns, FAST.ip), seen).toBeLessThan(40 * MBIT);
    await pings(host, SLOW.ns, FAR.ip);
  });

  test('of datagrams that nobody answers: no more than the rate, the burst and what waited', async () => {
    const { bytes, s } = await flooded(SLOW.ns, FAR.ip, FAR.port, 500);
    // 50 ms of what waits; and the packets of whoever counts.
    const most = 5e6 * (s + 0.05) + 32 * 1024 + 100_000;
    expect(bytes).toBeLessThan(most);
    const free = await flooded(FAST.ns, FAR.ip, FAR.port, 500);
    expect(free.bytes / free.s).toBeGreaterThan(2 * (bytes / s));
  });

  test('changes with it, for connections that are open too, and is free again without', async () => {
    await modify('slow', '--bandwidth', '10mbit');
    expect(await throughput(SLOW.ns, FAR.ip)).toBeLessThan(10 * MBIT);
    expect(await throughput(FAR.ns, SLOW.ip)).toBeLessThan(10 * MBIT);
    await modify('slow', '--bandwidth', 'none');
    expect(await qdiscs()).toEqual([]);
    expect(await ifbs()).toEqual([]);
    expect(await throughput(SLOW.ns, FAR.ip)).toBeGreaterThan(40 * MBIT);
  });
});

describe('root in the instance', () => {
  test('cannot lift it: not by queues, addresses, links or modes of his own', async () => {
    const attempts = [
      ['tc', 'qdisc', 'del', 'dev', 'eth0', 'root'],
      ['tc', 'qdisc', 'replace', 'dev', 'eth0', 'root', 'pfifo', 'limit', '10000'],
      ['tc', 'qdisc', 'replace', 'dev', 'eth0', 'ingress'],
      ['tc', 'qdisc', 'del', 'dev', SLOW.ifb, 'root'],
      ['ip', 'link', 'set', 'eth0', 'txqueuelen', '100000'],
      ['ip', 'link', 'set', 'eth0', 'mtu', '1400'],
      ['ip', 'link', 'set', 'eth0', 'promisc', 'on'],
      ['ip', 'link', 'add', 'mine', 'type', 'ifb'],
      ['ip', 'address', 'add', '10.1.1.99/24', 'dev', 'eth0'],
    ];
    for (const argv of attempts) await inNetns(SLOW.ns, argv);
    expect(await throughput(SLOW.ns, FAR.ip)).toBeLessThan(40 * MBIT);
    expect(await throughput(FAR.ns, SLOW.ip)).toBeLessThan(80 * MBIT);
    // Several at once share it.
    const many = await Promise.all([FAR.ip, FAST.ip, FAR.ip].map((to) => throughput(SLOW.ns, to, 1200)));
    expect(many.reduce((sum, one) => sum + one, 0)).toBeLessThan(60 * MBIT);
    for (const argv of [
      ['ip', 'link', 'del', 'mine'],
      ['ip', 'address', 'del', '10.1.1.99/24', 'dev', 'eth0'],
      ['ip', 'link', 'set', 'eth0', 'mtu', '1500', 'txqueuelen', '1000', 'promisc', 'off'],
      ['tc', 'qdisc', 'del', 'dev', 'eth0', 'root'],
      ['tc', 'qdisc', 'del', 'dev', 'eth0', 'ingress'],
    ])
      await inNetns(SLOW.ns, argv);
    await host.vpcctlOk(['repair', '--yes']);
    await expectWitness(shaped);
  });
});

describe('what the kernel has', () => {
  test('is two queues and a way to one of them, of the shaped instance alone', async () => {
    expect(await qdiscs()).toEqual(
      expect.arrayContaining([
        expect.objectContaining({
          kind: 'tbf',
          dev: SLOW.port,
          root: true,
          options: expect.objectContaining({ rate: 10_000_000 }),
        }),
        expect.objectContaining({
          kind: 'tbf',
          dev: SLOW.ifb,
          root: true,
          options: expect.objectContaining({ rate: 5_000_000 }),
        }),
        expect.objectContaining({ kind: 'ingress', dev: SLOW.port }),
      ]),
    );
    expect(await qdiscs()).toHaveLength(3);
    expect(await ifbs()).toEqual([SLOW.ifb]);
    const filters = await must(ROUTER, ['tc', 'filter', 'show', 'dev', SLOW.port, 'ingress']);
    expect(filters).toContain(`Egress Redirect to device ${SLOW.ifb}`);
  });

  const breaks: [string, string[], string][] = [
    [
      'the queue of what it receives',
      ['tc', 'qdisc', 'del', 'dev', SLOW.port, 'root'],
      'the queue of what it receives is missing from the kernel',
    ],
    [
      'another rate',
      [
        'tc',
        'qdisc',
        'change',
        'dev',
        SLOW.ifb,
        'root',
        'handle',
        'c9:',
        'tbf',
        'rate',
        '1gbit',
        'burst',
        '1mb',
        'limit',
        '10mb',
      ],
      'the queue of what it sends has rate 125000000 instead of 5000000, has burst 1048576 instead of 32768, has limit 10485760 instead of 282768',
    ],
    [
      'another kind of queue',
      ['tc', 'qdisc', 'replace', 'dev', SLOW.port, 'root', 'handle', '7:', 'htb'],
      'the queue of what it receives is of another kind, or was made by somebody else: htb',
    ],
    [
      'the way to it',
      ['tc', 'qdisc', 'del', 'dev', SLOW.port, 'ingress'],
      'the way of what it sends to where that waits is missing from the kernel',
    ],
    ['the link', ['ip', 'link', 'del', SLOW.ifb], 'the link that what it sends waits at is missing from the kernel'],
    ['the link up', ['ip', 'link', 'set', SLOW.ifb, 'down'], 'the link that what it sends waits at is down'],
  ];
  test.each(breaks)('%s: is missed, and put back', async (_, argv, said) => {
    await must(ROUTER, argv);
    const drift = await host.vpcctl(['drift']);
    expect(drift.exitCode).toBe(8);
    expect(drift.stdout).toContain(`instance a/slow: ${said}`);
    expect(drift.stdout).toContain('1 difference ');
    await host.vpcctlOk(['repair', '--yes']);
    expect((await host.vpcctl(['drift'])).exitCode).toBe(0);
    await expectWitness(shaped);
    await pings(host, SLOW.ns, FAR.ip);
  });

  test('a filter of somebody else’s beside ours is not ours, and ours is put back alone', async () => {
    const filter = ['tc', 'filter', 'add', 'dev', SLOW.port, 'ingress', 'protocol', 'all', 'prio', '1', 'u32'];
    await must(ROUTER, [...filter, 'match', 'u32', '0', '0', 'flowid', '1:1']);
    expect((await host.vpcctl(['drift'])).exitCode).toBe(8);
    await host.vpcctlOk(['repair', '--yes']);
    await expectWitness(shaped);
  });

  test('somebody’s queue at another port is told of, and stays', async () => {
    await must(ROUTER, ['tc', 'qdisc', 'add', 'dev', FAST.port, 'root', 'handle', '7:', 'htb']);
    const drift = await host.vpcctl(['drift']);
    expect(drift.stdout).toContain(`foreign  vpc a: queue htb of ${FAST.port} in the router of a is not ours`);
    await host.vpcctl(['repair', '--yes']);
    expect((await qdiscs()).map(({ kind }) => kind)).toContain('htb');
    await must(ROUTER, ['tc', 'qdisc', 'del', 'dev', FAST.port, 'root']);
  });

  test('is watched', async () => {
    const watching = host.start(['watch', '--json']);
    try {
      let said = '';
      watching.stdout.on('data', (chunk: Buffer) => {
        said += chunk;
      });
      await expect.poll(() => said, { timeout: 10_000 }).toContain('"watching"');
      await must(ROUTER, ['tc', 'qdisc', 'del', 'dev', SLOW.ifb, 'root']);
      await expect.poll(() => said, { timeout: 10_000 }).toContain('the queue of what it sends is missing');
      await expectWitness(shaped);
    } finally {
      watching.kill('SIGTERM');
      await watching;
    }
  });
});

describe('by command, file and batch', () => {
  test('the same again changes nothing, and a rehearsal nothing at all', async () => {
    await changesNothing(host, async () => {
      const { stdout } = await host.vpcctl([
        ...['modify-instance', '--vpc', 'a', '--name', 'slow', '--bandwidth', 'in=80mbit,out=40mbit,burst=32kib'],
      ]);
      expect(stdout).toContain('unchanged');
      await modify('slow', '--bandwidth', '1gbit', '--dry-run');
      const plan = await host.vpcctl(['plan', file('spec.json', SPEC), '--detailed-exitcode']);
      expect(plan.exitCode).toBe(0);
    });
  });

  test('is shown, exported, and made again from that', async () => {
    expect((await host.vpcctl(['show', 'a'])).stdout).toContain('bandwidth 80mbit in, 40mbit out, burst 32kib');
    const exported = join(temp, 'exported.yaml');
    await host.vpcctlOk(['export', '--output', exported]);
    for (const child of receivers.splice(0)) {
      child.stdin?.end();
      if (child.exitCode === null) await once(child, 'exit');
    }
    for (const ns of ownNamespaces()) await host.leave(ns);
    await host.vpcctlOk(['cleanup-all', '--yes']);
    await host.vpcctlOk(['import', exported]);
    await expectWitness(shaped);
    for (const { ns } of [SLOW, FAST, FAR]) await receive(ns);
  });

  test('a new instance is born with it, and takes it along', async () => {
    const lines = [
      {
        op: 'add-instance',
        vpc: 'a',
        subnet: 's',
        name: 'new',
        ip: '10.1.1.50',
        bandwidth: { in: '5mbit', out: '5mbit' },
      },
      { op: 'modify-instance', vpc: 'a', name: 'new', bandwidth: '8mbit' },
      { op: 'modify-instance', vpc: 'a', name: 'slow', bandwidth: 'none' },
    ];
    await host.vpcctlOk(['batch'], { input: lines.map((line) => `${JSON.stringify(line)}\n`).join('') });
    expect(
      (await qdiscs()).filter(({ kind }) => kind === 'tbf').map(({ dev, options }) => [dev, options.rate]),
    ).toEqual([
      ['eni0a010132', 1_000_000],
      ['ifb0a010132', 1_000_000],
    ]);
    await host.vpcctlOk(['delete-instance', '--vpc', 'a', '--name', 'new']);
    expect(await ifbs()).toEqual([]);
    expect((await host.vpcctl(['drift'])).exitCode).toBe(0);
  });

  test('nonsense is refused, and nothing changed', async () => {
    const at = ['modify-instance', '--vpc', 'a', '--name', 'slow'];
    await changesNothing(host, async () => {
      await refused(host, [...at, '--bandwidth', '100'], 3, ['"100" is no bandwidth']);
      await refused(host, [...at, '--bandwidth', '1kbit'], 3, ['out of range: expected 64kbit to 100gbit']);
      await refused(host, [...at, '--jitter', '1ms'], 3, ['jitter 1ms in is more than the delay']);
      await refused(host, at, 2, ['nothing to modify']);
      await refused(host, ['modify-instance', '--vpc', 'a', '--name', 'none', '--bandwidth', '1mbit'], 4, ['none']);
    });
  });
});

describe('delay and loss', () => {
  test('are what the kernel makes of them, or are refused whole, and doctor says which', async () => {
    await ipDo(['link', 'add', 'tried', 'type', 'ifb'], ROUTER);
    const tried = await inNetns(ROUTER, ['tc', 'qdisc', 'add', 'dev', 'tried', 'root', 'netem', 'delay', '1ms']);
    await ipDo(['link', 'del', 'tried'], ROUTER);
    const { stdout } = await host.vpcctl(['doctor']);
    expect(stdout).toMatch(/^ok +bandwidth of instances +works$/m);
    if (tried.exitCode !== 0) {
      expect(stdout).toMatch(/^warning +delay, jitter and loss +no instance can have a delay, jitter or loss/m);
      const at = ['--vpc', 'a', '--name', 'slow', '--bandwidth', '1gbit', '--delay', '20ms'];
      const says = ['could not create queue netem', 'ENOENT', 'this kernel has no sch_netem'];
      await changesNothing(host, async () => {
        await refused(host, ['modify-instance', ...at], 6, says.slice(1));
        await refused(host, ['add-instance', '--vpc', 'a', '--subnet', 's', '--name', 'new', '--loss', '1%'], 6, says);
      });
      return;
    }
    expect(stdout).toMatch(/^ok +delay, jitter and loss +works$/m);
    await modify('fast', '--delay', '20ms');
    const { stdout: said } = await inNetns(FAST.ns, ['ping', '-c3', '-i0.2', FAR.ip]);
    expect(Number(/= ([0-9.]+)\//.exec(said)?.[1])).toBeGreaterThanOrEqual(40);
    expect((await host.vpcctl(['drift'])).exitCode).toBe(0);
    await modify('fast', '--delay', 'none', '--loss', '100%');
    expect((await inNetns(FAST.ns, ['ping', '-c2', '-W1', FAR.ip])).exitCode).toBe(1);
  });
});
