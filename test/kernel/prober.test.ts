/** The prober against the kernel: two namespaces with a link between them, and what an attacker in one of them might send. */
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { launcherPath, proberPath } from '../../src/kernel/native.js';
import { IN_FLIGHT, type Probe, Prober } from '../../src/kernel/prober.js';
import { TestHost } from '../harness/host.js';
import { ipDo, must } from '../harness/witness.js';

const NEAR = '10.9.0.1';
const FAR = '10.9.0.2';
const [NEAR6, FAR6] = ['fd09::1', 'fd09::2'];
const FAR_NS = 'far';
const FAR_PATH = `/run/netns/${FAR_NS}`;
const BIND_SERVICE = 1n << 10n;

let host: TestHost;

beforeAll(async () => {
  host = await TestHost.create();
  await ipDo(['netns', 'add', FAR_NS]);
  await ipDo(['link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far', 'netns', FAR_NS]);
  await ipDo(['addr', 'add', `${NEAR}/24`, 'dev', 'near']);
  await ipDo(['link', 'set', 'near', 'up']);
  await ipDo(['addr', 'add', `${FAR}/24`, 'dev', 'far'], FAR_NS);
  await ipDo(['link', 'set', 'far', 'up'], FAR_NS);
  await ipDo(['link', 'set', 'lo', 'up'], FAR_NS);
  await ipDo(['addr', 'add', `${NEAR6}/64`, 'dev', 'near', 'nodad']);
  await ipDo(['addr', 'add', `${FAR6}/64`, 'dev', 'far', 'nodad'], FAR_NS);
  await must('', ['sh', '-c', `for i in $(seq 100); do ping -c 1 -W 1 ${FAR} && exit; done; exit 1`]);
});

afterAll(async () => {
  await ipDo(['link', 'del', 'near']);
  await ipDo(['netns', 'del', FAR_NS]);
  await host.close();
});

/** A prober here and one there, which listens. */
async function pair<T>(body: (near: Prober, far: Prober) => Promise<T>): Promise<T> {
  const near = await Prober.start('');
  const far = await Prober.start(FAR_PATH);
  try {
    expect(
      await far.listen([
        { protocol: 'tcp', port: 80 },
        { protocol: 'udp', port: 53 },
        { protocol: 'icmp', port: 0 },
      ]),
    ).toEqual(['listening', 'listening', 'listening']);
    return await body(near, far);
  } finally {
    await near.close();
    await far.close();
  }
}

const to = (protocol: Probe['protocol'], port: number, timeoutMs = 1_000, address = FAR): Probe => ({
  protocol,
  port,
  timeoutMs,
  address,
});

/** Drops what matches on its way in there, while `body` runs. */
async function dropping<T>(match: string, body: () => Promise<T>): Promise<T> {
  await must(FAR_NS, [
    'nft',
    `add table ip t; add chain ip t c { type filter hook prerouting priority 0; }; add rule ip t c ${match} counter drop`,
  ]);
  try {
    return await body();
  } finally {
    await must(FAR_NS, ['nft', 'delete table ip t']);
  }
}

function statusOf(pid: number): Record<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').split('\n');
  return Object.fromEntries(lines.map((line) => line.split(':\t') as [string, string]));
}

describe('a probe', () => {
  test('is answered by who got it, with the source that it saw', async () => {
    await pair(async (near, far) => {
      const [tcp, udp, icmp] = await near.probe([to('tcp', 80), to('udp', 53), to('icmp', 0)]);
      for (const outcome of [tcp, udp]) {
        expect(outcome).toMatchObject({
          verdict: 'answered',
          answer: { by: far.id, address: NEAR, port: outcome?.sourcePort },
        });
      }
      expect(icmp?.verdict).toBe('answered');
      expect(icmp?.answer).toBeUndefined();
      const { found, lost } = await far.arrivals();
      expect(lost).toBe(0);
      expect(new Set(found)).toEqual(
        new Set([
          { protocol: 'tcp', source: NEAR, sourcePort: tcp?.sourcePort, port: 80, token: null },
          { protocol: 'udp', source: NEAR, sourcePort: udp?.sourcePort, port: 53, token: udp?.token },
          { protocol: 'icmp', source: NEAR, sourcePort: icmp?.sourcePort, port: 0, token: icmp?.token },
        ]),
      );
      expect(await far.arrivals()).toEqual({ found: [], lost: 0 });
    });
  });

  test('is refused where nobody listens, and unreachable where no way leads', async () => {
    await pair(async (near, far) => {
      expect((await near.probe([to('tcp', 81), to('udp', 54)])).map(({ verdict }) => verdict)).toEqual([
        'refused',
        'refused',
      ]);
      // There is no default route.
      const nowhere = [to('tcp', 80), to('udp', 53), to('icmp', 0)].map((one) => ({ ...one, address: '10.250.0.1' }));
      expect((await far.probe(nowhere)).map(({ verdict }) => verdict)).toEqual(Array(3).fill('unreachable'));
      await must(FAR_NS, [
        'nft',
        'add table ip t; add chain ip t c { type filter hook input priority 0; }; add rule ip t c reject with icmp host-unreachable',
      ]);
      const rejected = await near.probe([to('tcp', 80), to('udp', 53), to('icmp', 0)]);
      await must(FAR_NS, ['nft', 'delete table ip t']);
      expect(rejected.map(({ verdict }) => verdict)).toEqual(Array(3).fill('unreachable'));
    });
  });

  test('that is dropped is given up in time, and has not arrived', async () => {
    await pair(async (near, far) => {
      await dropping(`ip saddr ${NEAR}`, async () => {
        const begun = performance.now();
        const outcomes = await near.probe([to('tcp', 80, 200), to('udp', 53, 200), to('icmp', 0, 200)]);
        expect(outcomes.map(({ verdict }) => verdict)).toEqual(['timeout', 'timeout', 'timeout']);
        expect(performance.now() - begun).toBeGreaterThan(195);
        expect((await far.arrivals()).found).toEqual([]);
        // Two connections were tried, three datagrams and three echo requests sent.
        const { stdout } = spawnSync('ip', ['netns', 'exec', FAR_NS, 'nft', 'list', 'table', 'ip', 't'], {
          encoding: 'utf8',
        });
        expect(stdout).toContain('packets 8 ');
      });
    });
  });

  test('whose first packet is lost is answered all the same', async () => {
    await pair(async (near) => {
      await dropping(`ip saddr ${NEAR} limit rate 1/day burst 1 packets`, async () => {
        expect((await near.probe([to('tcp', 80, 600)])).map(({ verdict }) => verdict)).toEqual(['answered']);
      });
      await dropping(`ip saddr ${NEAR} limit rate 1/day burst 1 packets`, async () => {
        expect((await near.probe([to('udp', 53, 600)])).map(({ verdict }) => verdict)).toEqual(['answered']);
      });
      await dropping(`ip saddr ${NEAR} limit rate 1/day burst 1 packets`, async () => {
        expect((await near.probe([to('icmp', 0, 600)])).map(({ verdict }) => verdict)).toEqual(['answered']);
      });
    });
  });

  test('whose answer is lost has arrived', async () => {
    await pair(async (near, far) => {
      await must('', [
        'nft',
        `add table ip t; add chain ip t c { type filter hook prerouting priority 0; }; add rule ip t c ip saddr ${FAR} drop`,
      ]);
      const probes = [to('tcp', 80, 200), to('udp', 53, 200), to('icmp', 0, 200)];
      const outcomes = await near.probe(probes);
      await must('', ['nft', 'delete table ip t']);
      expect(outcomes.map(({ verdict }) => verdict)).toEqual(['timeout', 'timeout', 'timeout']);
      const { found } = await far.arrivals();
      expect(found.map(({ protocol }) => protocol).sort()).toEqual(['icmp', 'tcp', 'tcp', 'udp']);
    });
  });

  test('comes from the address that it is told to come from, and never twice from one port', async () => {
    await ipDo(['addr', 'add', '10.9.0.7/24', 'dev', 'near']);
    await pair(async (near, far) => {
      const from = { source: '10.9.0.7' };
      const outcomes = await near.probe([
        { ...to('tcp', 80), ...from },
        { ...to('udp', 53), ...from },
        { ...to('icmp', 0), ...from },
      ]);
      expect(outcomes.map(({ verdict }) => verdict)).toEqual(['answered', 'answered', 'answered']);
      expect((await far.arrivals()).found.map(({ source }) => source)).toEqual(['10.9.0.7', '10.9.0.7', '10.9.0.7']);
      const many = await near.probe(Array.from({ length: 500 }, () => to('udp', 53)));
      expect(new Set(many.map(({ sourcePort }) => sourcePort)).size).toBe(500);
      const [foreign] = await near.probe([{ ...to('tcp', 80), source: '10.9.0.200' }]);
      expect(foreign).toMatchObject({ verdict: 'error', errno: 'EADDRNOTAVAIL' });
    });
    await ipDo(['addr', 'del', '10.9.0.7/24', 'dev', 'near']);
  });

  test('is one of thousands a second', async () => {
    await pair(async (near, far) => {
      const probes = Array.from({ length: 4 * IN_FLIGHT }, (_, at) =>
        at % 2 === 0 ? to('tcp', 80, 5_000) : to('udp', 53, 5_000),
      );
      const begun = performance.now();
      const outcomes = await near.probe(probes);
      const perSecond = Math.round(probes.length / ((performance.now() - begun) / 1000));
      console.log(`${perSecond} probes a second`);
      expect(outcomes.filter(({ verdict, answer }) => verdict === 'answered' && answer?.by === far.id)).toHaveLength(
        probes.length,
      );
      expect(perSecond).toBeGreaterThan(1_000);
    });
  });
});

describe('a listener', () => {
  test('leaves a port to who has it, takes account of what arrives, and what answers there is open', async () => {
    const listener = await host.listener(FAR_NS, 'tcp', 8080);
    const datagrams = await host.listener(FAR_NS, 'udp', 8080);
    await pair(async (near, far) => {
      const ears = [
        { protocol: 'tcp', port: 8080 },
        { protocol: 'udp', port: 8080 },
      ] as const;
      expect(await far.listen(ears)).toEqual(['taken', 'taken']);
      const outcomes = await near.probe([to('tcp', 8080), to('udp', 8080)]);
      expect(outcomes.map(({ verdict }) => verdict)).toEqual(['open', 'open']);
      expect((await far.arrivals()).found.map(({ port }) => port)).toEqual([8080, 8080]);
    });
    expect(await listener.seen()).toHaveLength(1);
    await datagrams.close();
    await listener.close();
    await host.leave(FAR_NS);
  });

  test('answers nothing but probes, and what nobody sends does not count', async () => {
    await pair(async (near, far) => {
      const script = `
        const dgram = require('node:dgram');
        const socket = dgram.createSocket('udp4');
        let heard = 0;
        socket.on('message', () => { heard += 1; });
        const ask = 'vpcctl-probe ask ';
        const texts = ['', 'x', 'vpcc', ask, ask + '0'.repeat(16), (ask + 'g'.repeat(16)).padEnd(72), (ask + '0'.repeat(15)).padEnd(73),
          'vpcctl-probe saw 0000000000000000 10.9.0.1 1 0000000000000000\\n', 'x'.repeat(5000)];
        let left = texts.length;
        for (const text of texts) socket.send(text, 53, '${FAR}', () => { left -= 1; if (left === 0) setTimeout(() => { console.log(heard); process.exit(); }, 200); });`;
      expect(execFileSync(process.execPath, ['-e', script], { encoding: 'utf8' })).toBe('0\n');
      expect((await far.arrivals()).found).toEqual([]);
      expect((await near.probe([to('udp', 53)])).map(({ verdict }) => verdict)).toEqual(['answered']);
    });
  });

  test('is not held up by connections that say nothing', async () => {
    await pair(async (near) => {
      const script = `
        const net = require('node:net');
        for (let i = 0; i < 1500; i++) net.connect(80, '${FAR}').on('error', () => {});
        setTimeout(() => console.log('there'), 500);
        setTimeout(() => process.exit(), 20000);`;
      const crowd = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
      await once(crowd.stdout, 'data');
      expect((await near.probe([to('tcp', 80, 3_000)])).map(({ verdict }) => verdict)).toEqual(['answered']);
      crowd.kill('SIGKILL');
      await once(crowd, 'exit');
    });
  });

  test('tells of what is more than it keeps', async () => {
    await pair(async (_near, far) => {
      const script = `
        const dgram = require('node:dgram');
        const socket = dgram.createSocket('udp4');
        let n = 0;
        const send = () => {
          if (n === 20000) process.exit();
          const token = (n++).toString(16).padStart(16, '0');
          socket.send(('vpcctl-probe ask ' + token).padEnd(72), 53, '${FAR}', send);
        };
        send();`;
      execFileSync(process.execPath, ['-e', script]);
      const { found, lost } = await far.arrivals();
      expect(found.length).toBeLessThanOrEqual(16_384);
      expect(found.length + lost).toBeLessThanOrEqual(20_000);
      expect(found.length).toBeGreaterThan(5_000);
    });
  });
});

describe('in IPv6', () => {
  test.each([
    ['tcp', 80],
    ['udp', 53],
  ] as const)(
    '%s: it is answered by the far one, which saw our address and port, and noted it',
    async (protocol, port) => {
      await pair(async (near, far) => {
        const probe = { ...to(protocol, port, 1_000, FAR6), source: NEAR6 };
        const [outcome] = await near.probe([probe]);
        expect(outcome).toMatchObject({
          verdict: 'answered',
          answer: { by: far.id, address: NEAR6, port: outcome?.sourcePort },
        });
        const { found } = await far.arrivals();
        expect(found).toContainEqual({
          protocol,
          port,
          source: NEAR6,
          sourcePort: outcome?.sourcePort,
          token: protocol === 'tcp' ? null : outcome?.token,
        });
      });
    },
  );

  test('an echo is answered by the kernel, and noted where it arrives', async () => {
    await pair(async (near, far) => {
      const [chosen, left] = await near.probe([
        { ...to('icmp', 0, 1_000, FAR6), source: NEAR6 },
        to('icmp', 0, 1_000, FAR6),
      ]);
      expect([chosen?.verdict, left?.verdict]).toEqual(['answered', 'answered']);
      const { found } = await far.arrivals();
      expect(found.map(({ protocol, source, token }) => [protocol, source, token])).toEqual(
        expect.arrayContaining([chosen, left].map((one) => ['icmp', NEAR6, one?.token])),
      );
    });
  });

  test('a closed port refuses, and what nobody has is not reached', async () => {
    await pair(async (near) => {
      const [closed, datagram, nobody] = await near.probe([
        to('tcp', 81, 1_000, FAR6),
        to('udp', 81, 1_000, FAR6),
        to('tcp', 80, 300, 'fd77::1'),
      ]);
      expect([closed?.verdict, datagram?.verdict]).toEqual(['refused', 'refused']);
      expect(['unreachable', 'timeout', 'error']).toContain(nobody?.verdict);
    });
  });
});

describe('the process', () => {
  test('keeps one capability, can gain none, and has no file open', async () => {
    const prober = await Prober.start(FAR_PATH);
    const { CapEff, CapPrm, CapInh, CapAmb, NoNewPrivs } = statusOf(prober.pid);
    expect(BigInt(`0x${CapPrm}`) & ~BIND_SERVICE).toBe(0n);
    expect(CapEff).toBe(CapPrm);
    expect([CapInh, CapAmb].map((set) => BigInt(`0x${set}`))).toEqual([0n, 0n]);
    expect(NoNewPrivs).toBe('1');
    if (process.getuid?.() === 0) {
      try {
        // Standard input, output and error, epoll and three raw sockets of each family.
        expect(readdirSync(`/proc/${prober.pid}/fd`)).toHaveLength(10);
      } catch (error) {
        // In a user namespace nobody may look.
        expect((error as NodeJS.ErrnoException).code).toBe('EACCES');
      }
    }
    await prober.close();
  });

  test('ends with its standard input, and with its parent', async () => {
    const done = spawnSync(launcherPath(), [FAR_PATH, '--', proberPath()], { input: '', encoding: 'utf8' });
    expect([done.status, done.stderr]).toEqual([0, '']);
    // The shell's end of standard input stays open, in this process.
    const parent = spawn('sh', ['-c', '"$0" "" -- "$1" <&3 >/dev/null & echo $!; wait', launcherPath(), proberPath()], {
      stdio: ['ignore', 'pipe', 'inherit', 'pipe'],
    });
    const over = once(parent, 'close');
    const [first] = (await once(parent.stdout as NodeJS.ReadableStream, 'data')) as [Buffer];
    const pid = Number.parseInt(String(first), 10);
    for (let i = 0; i < 100 && statusOf(pid).Name !== 'vpcctl-probe'; i++) await sleep(20);
    // Some ms later it has told the kernel so.
    await sleep(100);
    parent.kill('SIGKILL');
    const isThere = () => {
      try {
        return statusOf(pid).State?.startsWith('Z') === false;
      } catch {
        return false;
      }
    };
    for (let i = 0; i < 100 && isThere(); i++) await sleep(20);
    expect(isThere()).toBe(false);
    await over;
  });

  test.each([
    'listen',
    'listen tcp',
    'listen tcp 0',
    'listen tcp 080',
    'listen icmp 1',
    'listen tcp 65536',
    'listen sctp 80',
    'listen tcp 80 ',
    ' listen tcp 80',
    'probe 1 tcp 10.0.0.1 80',
    'probe 1 tcp 10.0.0.1 80 0',
    'probe 1 tcp 10.0.0.1 80 60001',
    'probe 1 tcp 10.0.0 80 100',
    'probe 1 tcp 10.0.0.256 80 100',
    'probe 1 tcp 010.0.0.1 80 100',
    'probe 1 icmp 10.0.0.1 80 100',
    'probe -1 tcp 10.0.0.1 80 100',
    'probe 4294967296 tcp 10.0.0.1 80 100',
    'probe 1 tcp 10.0.0.1 80 100 x',
    'probe 1 tcp 10.0.0.1 80 100 10.0.0.2 x',
    `probe 1 tcp 10.0.0.1 80 100${' '.repeat(128)}`,
    'arrivals 1',
    'arrivals\0x',
    '',
    'x'.repeat(20_000),
  ])('%j is no request, and ends it', (line) => {
    const done = spawnSync(proberPath(), { input: `${line}\n`, encoding: 'utf8' });
    expect([done.status, done.signal]).toEqual([2, null]);
    expect(done.stderr).toContain('no request');
  });

  test('that ends has what waits for it fail', async () => {
    const prober = await Prober.start(FAR_PATH);
    const waiting = prober.probe([to('udp', 99, 60_000, '10.9.0.77')]);
    process.kill(prober.pid, 'SIGKILL');
    await expect(waiting).rejects.toMatchObject({ code: 'KERNEL', message: 'the prober ended (SIGKILL)' });
    await expect(prober.arrivals()).rejects.toMatchObject({ code: 'KERNEL' });
    await prober.close();
    await expect(Prober.start('/run/netns/nope')).rejects.toMatchObject({
      code: 'KERNEL',
      facts: { extack: expect.stringContaining('ENOENT') as string },
    });
  });

  test('leaves no socket behind that would keep its namespace alive', async () => {
    await ipDo(['netns', 'add', 'brief']);
    await ipDo(['link', 'add', 'b0', 'type', 'veth', 'peer', 'name', 'b1', 'netns', 'brief']);
    await ipDo(['addr', 'add', '10.8.0.1/24', 'dev', 'b0']);
    await ipDo(['link', 'set', 'b0', 'up']);
    await ipDo(['addr', 'add', '10.8.0.2/24', 'dev', 'b1'], 'brief');
    await ipDo(['link', 'set', 'b1', 'up'], 'brief');
    const there = await Prober.start('/run/netns/brief');
    const here = await Prober.start('');
    await there.listen([{ protocol: 'tcp', port: 80 }]);
    const outcomes = await here.probe(Array.from({ length: 100 }, () => to('tcp', 80, 2_000, '10.8.0.2')));
    expect(outcomes.every(({ verdict }) => verdict === 'answered')).toBe(true);
    await there.close();
    await here.close();
    await ipDo(['netns', 'del', 'brief']);
    // The link goes with its other end's namespace.
    const isThere = () => readdirSync('/sys/class/net').includes('b0');
    for (let i = 0; i < 150 && isThere(); i++) await sleep(20);
    expect(isThere()).toBe(false);
  });
});
