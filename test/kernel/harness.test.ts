/** The harness itself: that its witnesses tell the truth, in both directions, before anything is judged by them. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, existsSync, openSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  captureRefusal,
  HOST_ADDRESS,
  INTERNET,
  INTERNET_GATEWAY,
  INTERNET_SERVER,
  TestHost,
  UPLINK,
} from '../harness/host.js';
import { diffHostStates } from '../harness/host-state.mjs';
import { childProcesses, kernelDescriptors } from '../harness/process-state.js';
import { counter, inNetns, ip, ipDo, must, nft } from '../harness/witness.js';

let host: TestHost;

beforeAll(async () => {
  host = await TestHost.create({ routedToHost: ['198.51.100.0/24'] });
});

afterAll(async () => {
  await host.close();
});

describe('the internet', () => {
  test('is behind the uplink, by the default route', async () => {
    const [route] = await ip<{ gateway: string; dev: string }>(['route', 'show', 'default']);
    expect(route).toMatchObject({ gateway: INTERNET_GATEWAY, dev: UPLINK });
    const routed = await ip<{ dst: string; gateway: string }>(['route', 'show', '198.51.100.0/24'], INTERNET);
    expect(routed[0]?.gateway).toBe(HOST_ADDRESS);
  });

  test.each(['tcp', 'udp'] as const)('answers %s and tells the source it saw', async (proto) => {
    const listener = await host.listener(INTERNET, proto, 0, { reply: `hello ${proto}` });
    const result = await host.probe('', { proto, to: INTERNET_SERVER, port: listener.port });
    expect(result).toMatchObject({ ok: true, seenSource: HOST_ADDRESS, reply: `hello ${proto}` });
    expect(await listener.seen()).toEqual([{ peer: HOST_ADDRESS, peerPort: result.seenPort }]);
    await listener.close();
    expect(await host.probe('', { proto, to: INTERNET_SERVER, port: listener.port })).toMatchObject({
      ok: false,
      reason: 'refused',
    });
  });

  test('answers a ping', async () => {
    expect(await host.probe('', { proto: 'icmp', to: INTERNET_SERVER })).toEqual({ ok: true });
  });

  test('starts without forwarding on the host', async () => {
    expect(await host.sysctl('', 'net/ipv4/ip_forward')).toBe('0');
    expect(await host.sysctl(INTERNET, 'net/ipv4/ip_forward')).toMatch(/^[01]$/);
  });
});

describe('a probe', () => {
  test('takes the source address and port that it is told', async () => {
    await ipDo(['addr', 'add', '192.0.2.77/32', 'dev', UPLINK]);
    const listener = await host.listener(INTERNET, 'tcp', 0);
    const result = await host.probe('', {
      proto: 'tcp',
      to: INTERNET_SERVER,
      port: listener.port,
      from: HOST_ADDRESS,
      fromPort: 40_123,
    });
    expect(result).toMatchObject({
      ok: true,
      seenSource: HOST_ADDRESS,
      seenPort: 40_123,
      seenDestination: INTERNET_SERVER,
    });
    await listener.close();
    await ipDo(['addr', 'del', '192.0.2.77/32', 'dev', UPLINK]);
  });

  test('says when the source address is not there', async () => {
    const result = await host.probe('', { proto: 'udp', to: INTERNET_SERVER, port: 9, from: '192.0.2.99' });
    expect(result).toMatchObject({ ok: false, reason: 'no-such-address' });
  });

  test.each(['tcp', 'udp', 'icmp'] as const)(
    'times out where %s is dropped, although the listener is there',
    async (proto) => {
      const listener = await host.listener(INTERNET, proto === 'icmp' ? 'tcp' : proto, 0);
      const probe = { proto, to: INTERNET_SERVER, port: listener.port, timeoutMs: 300 };
      expect(await host.probe('', probe)).toMatchObject({ ok: true });
      await must(INTERNET, ['nft', '-f', '-'], {
        input: `table inet t { chain c { type filter hook input priority 0; meta l4proto ${proto} drop; }; }`,
      });
      expect(await host.probe('', probe)).toEqual({ ok: false, reason: 'timeout' });
      await must(INTERNET, ['nft', 'delete', 'table', 'inet', 't']);
      await listener.close();
    },
  );

  test('sees an administrative refusal', async () => {
    await must(INTERNET, ['nft', '-f', '-'], {
      input:
        'table inet t { chain c { type filter hook input priority 0; ip protocol icmp reject with icmp type admin-prohibited; }; }',
    });
    expect(await host.probe('', { proto: 'icmp', to: INTERNET_SERVER })).toMatchObject({
      ok: false,
      reason: 'prohibited',
    });
    await must(INTERNET, ['nft', 'delete', 'table', 'inet', 't']);
  });

  test('says when there is no route', async () => {
    await ipDo(['route', 'add', 'unreachable', '198.18.0.0/15']);
    for (const proto of ['tcp', 'udp', 'icmp'] as const) {
      const result = await host.probe('', { proto, to: '198.18.0.1', port: 9 });
      expect(result, proto).toMatchObject({ ok: false, reason: 'unreachable' });
    }
    await ipDo(['route', 'del', 'unreachable', '198.18.0.0/15']);
  });

  test('finds a datagram too big for the path', async () => {
    const result = await host.probe('', { proto: 'icmp', to: INTERNET_SERVER, size: 2_000, dontFragment: true });
    expect(result).toMatchObject({ ok: false, reason: 'too-big' });
  });
});

test('a kept connection echoes until it is cut', async () => {
  const listener = await host.listener(INTERNET, 'tcp', 0);
  const connection = await host.connect('', INTERNET_SERVER, listener.port);
  expect(connection.seenSource).toBe(HOST_ADDRESS);
  expect(await connection.exchange()).toEqual({ ok: true });
  await must(INTERNET, ['nft', '-f', '-'], {
    input: 'table inet t { chain c { type filter hook input priority 0; meta l4proto tcp drop; }; }',
  });
  expect(await connection.exchange(300)).toEqual({ ok: false, reason: 'timeout' });
  await must(INTERNET, ['nft', 'delete', 'table', 'inet', 't']);
  expect(await connection.exchange(3_000)).toEqual({ ok: true });
  await listener.close();
  expect(await connection.exchange(1_000)).toMatchObject({ ok: false, reason: 'reset' });
  await connection.close();
});

test('the uplink is silent, and its counter counts what is sent', async () => {
  const before = await counter(INTERNET, UPLINK);
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  expect(await counter(INTERNET, UPLINK)).toEqual(before);
  await host.probe('', { proto: 'icmp', to: INTERNET_SERVER });
  const after = await counter(INTERNET, UPLINK);
  expect(after.rxPackets - before.rxPackets).toBe(1);
  expect(after.txPackets - before.txPackets).toBe(1);
});

test.skipIf(captureRefusal() !== undefined)('a capture holds the packets, and only those of its filter', async () => {
  const capture = await host.capture(INTERNET, UPLINK, 'icmp');
  const listener = await host.listener(INTERNET, 'tcp', 0);
  await host.probe('', { proto: 'tcp', to: INTERNET_SERVER, port: listener.port });
  await host.probe('', { proto: 'icmp', to: INTERNET_SERVER });
  await listener.close();
  const lines = await capture.stop();
  expect(lines).toHaveLength(2);
  expect(lines[0]).toContain(`${HOST_ADDRESS} > ${INTERNET_SERVER}: ICMP echo request`);
});

test('programs run in a namespace, and their end is reported', async () => {
  expect(JSON.parse(await must(INTERNET, ['ip', '-j', 'addr', 'show', 'dev', 'lo']))).toHaveLength(1);
  expect(await inNetns(INTERNET, ['ip', 'link', 'show', 'dev', 'nosuch'])).toMatchObject({ exitCode: 1 });
  await expect(must(INTERNET, ['ip', 'link', 'show', 'dev', 'nosuch'])).rejects.toThrow(/nosuch/);
  await expect(inNetns('', ['no-such-program'])).rejects.toThrow(/no-such-program/);
  expect(await nft(['list', 'ruleset'], INTERNET)).toEqual([]);
});

test('an agent that left holds nothing: its namespace goes', async () => {
  await ipDo(['netns', 'add', 'short']);
  await ipDo(['link', 'add', 'to-short', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', 'short']);
  await host.listener('short', 'tcp', 8080);
  await host.leave('short');
  await ipDo(['netns', 'del', 'short']);
  await expect
    .poll(async () => (await ip(['link'])).map(({ ifname }) => ifname), { timeout: 5_000 })
    .not.toContain('to-short');
});

describe('the leftover check', () => {
  test('sees links, addresses, routes, rules, nftables, namespaces, mounts and sysctls, and their going', async () => {
    const before = host.snapshot();
    expect(diffHostStates(before, host.snapshot())).toEqual([]);

    await ipDo(['netns', 'add', 'left']);
    await ipDo(['link', 'add', 'left0', 'type', 'bridge']);
    await ipDo(['addr', 'add', '198.18.0.1/24', 'dev', 'left0']);
    await ipDo(['link', 'set', 'left0', 'up']);
    await ipDo(['route', 'add', 'blackhole', '198.18.9.0/24', 'table', '77']);
    await ipDo(['rule', 'add', 'from', '198.18.0.0/24', 'table', '77', 'pref', '77']);
    await must('', ['nft', 'add', 'table', 'inet', 'left']);
    await host.sysctl('', 'net/ipv4/ip_forward', '1');
    const seen = diffHostStates(before, host.snapshot()).join('\n');
    for (const line of [
      /^\+ netns left$/m,
      /^\+ link left0 .*198\.18\.0\.1/m,
      /^\+ route .*blackhole/m,
      /^\+ rule .*198\.18\.0\.0/m,
      /^\+ nft .*left/m,
      /^\+ mount .*\/run\/netns\/left/m,
      /^~ sysctl net\/ipv4\/ip_forward: 0 -> 1$/m,
    ]) {
      expect(seen).toMatch(line);
    }

    await host.sysctl('', 'net/ipv4/ip_forward', '0');
    await must('', ['nft', 'delete', 'table', 'inet', 'left']);
    await ipDo(['rule', 'del', 'pref', '77']);
    await ipDo(['route', 'del', 'blackhole', '198.18.9.0/24', 'table', '77']);
    await ipDo(['link', 'del', 'left0']);
    await ipDo(['netns', 'del', 'left']);
    expect(diffHostStates(before, host.snapshot())).toEqual([]);
  });

  test('sees an open file, an open namespace and a child process', async () => {
    const fds = kernelDescriptors();
    const children = childProcesses();
    const file = openSync(import.meta.filename, 'r');
    const ns = openSync(`/run/netns/${INTERNET}`, 'r');
    const child = spawn('sleep', ['60'], { stdio: 'ignore' });
    await once(child, 'spawn');
    const opened = kernelDescriptors().filter((fd) => !fds.includes(fd));
    expect(opened).toHaveLength(2);
    expect(opened.join('\n')).toMatch(/harness\.test\.ts\n\d+ \/run\/netns\/internet$/);
    expect(childProcesses().filter((line) => !children.includes(line))).toEqual([`${child.pid} sleep 60`]);
    child.kill();
    await once(child, 'exit');
    closeSync(file);
    closeSync(ns);
    expect(kernelDescriptors()).toEqual(fds);
    expect(childProcesses()).toEqual(children);
  });
});

test('probes cost no process each', async () => {
  const listener = await host.listener(INTERNET, 'tcp', 0);
  const begin = performance.now();
  for (let i = 0; i < 100; i++) {
    expect((await host.probe('', { proto: 'tcp', to: INTERNET_SERVER, port: listener.port })).ok).toBe(true);
  }
  expect(performance.now() - begin).toBeLessThan(3_000);
  await listener.close();
});

test.runIf(existsSync(new URL('../../dist/cli/main.cjs', import.meta.url)))(
  'the command runs with a state of its own',
  async () => {
    expect((await host.vpcctlOk(['--version'])).stdout).toMatch(/\d+\.\d+\.\d+/);
    const refused = await host.vpcctl(['no-such-command']);
    expect(refused.exitCode).toBe(2);
    expect(refused.stderr).not.toBe('');
  },
);
