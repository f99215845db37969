/**
 * A host for kernel and e2e tests, inside the private host that scripts/test.mjs makes:
 *
 *     internet (namespace)                         this namespace
 *       lo   203.0.113.10/32, a server out there
 *       eth0 192.0.2.1/24  ────────── veth ──────────  eth0 192.0.2.2/24, default via 192.0.2.1
 *
 * The uplink is silent: no IPv6 autoconfiguration, permanent neighbours. So a packet counted on it is a packet that was sent.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { launcherPath } from '../../src/kernel/native.js';
import { Agent, type Reason } from './agent.js';
import { type HostState, netnsNames, readHostState } from './host-state.mjs';
import { type Ended, ipDo, must, netnsArgv } from './witness.js';

export const INTERNET = 'internet';
export const UPLINK = 'eth0';
export const HOST_ADDRESS = '192.0.2.2';
export const INTERNET_GATEWAY = '192.0.2.1';
/** The server out there. */
export const INTERNET_SERVER = '203.0.113.10';
/** The same of IPv6, where a host has that ({@link TestHostOptions.ipv6}). */
export const HOST_ADDRESS6 = '2001:db8:1::2';
export const INTERNET_GATEWAY6 = '2001:db8:1::1';
export const INTERNET_SERVER6 = '2001:db8:2::10';

const NETNS_DIR = '/run/netns';
const HOST_MAC = '02:00:00:00:02:02';
const INTERNET_MAC = '02:00:00:00:02:01';
const command = fileURLToPath(new URL('../../dist/cli/main.cjs', import.meta.url));

function nativeClient(): string {
  return join(dirname(launcherPath()), 'vpcctl-client');
}

export interface TestHostOptions {
  /** Build the uplink and what is behind it. Default true. */
  readonly internet?: boolean;
  /** Blocks that the internet routes to this host: a public pool that is routed. */
  readonly routedToHost?: readonly string[];
  readonly uplinkMtu?: number;
  /** The uplink and the internet have IPv6 too. Default false. */
  readonly ipv6?: boolean;
}

export interface ListenerOptions {
  /** Text that the listener sends along, to tell it from others. */
  readonly reply?: string;
  /** Address to bind; default 0.0.0.0. */
  readonly host?: string;
}

/** Who reached a listener, in order, whether or not the answer got back. */
export interface Seen {
  readonly peer: string;
  readonly peerPort: number;
}

export interface Listener {
  readonly ns: string;
  readonly port: number;
  seen(): Promise<readonly Seen[]>;
  close(): Promise<void>;
}

export interface Probe {
  readonly proto: 'tcp' | 'udp' | 'icmp';
  readonly to: string;
  /** Needed for tcp and udp. */
  readonly port?: number;
  /** Source address, one that the namespace has. */
  readonly from?: string;
  readonly fromPort?: number;
  /** Default 1000. */
  readonly timeoutMs?: number;
  /** Payload of an ICMP echo. */
  readonly size?: number;
  readonly dontFragment?: boolean;
}

export interface ProbeResult {
  readonly ok: boolean;
  /** Source address and port as the listener saw them (tcp, udp). */
  readonly seenSource?: string;
  readonly seenPort?: number;
  /** The address that the listener was reached at (tcp). */
  readonly seenDestination?: string;
  readonly reply?: string;
  readonly reason?: Reason;
  readonly detail?: string;
}

/** A TCP connection kept open across changes of the rules. */
export interface Connection {
  readonly seenSource: string;
  /** Sends a line and waits for its echo. */
  exchange(timeoutMs?: number): Promise<ProbeResult>;
  close(): Promise<void>;
}

export interface Capture {
  /** Ends the capture and returns tcpdump's lines. */
  stop(): Promise<string[]>;
}

export interface VpcctlOptions {
  readonly input?: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  /** Started by the native client, as npm installs the command: a daemon answers if there is one. */
  readonly client?: boolean;
}

export interface VpcctlResult extends Ended {
  /** stdout as data, when `--json` was asked for and something was printed. */
  readonly json: unknown;
}

interface Outcome {
  readonly ok: boolean;
  readonly source?: string;
  readonly sourcePort?: number;
  readonly destination?: string;
  readonly reply?: string;
  readonly reason?: Reason;
  readonly detail?: string;
  readonly connection?: number;
}

function netnsDirMounted(): boolean {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .some((line) => line.split(' ')[1] === NETNS_DIR);
}

/** Until a process waits for something, twice in a row: on a busy machine it may not have come to read what is there for it. */
async function untilIdle(pid: number | undefined): Promise<void> {
  const waits = (): boolean => / S /.test(readFileSync(`/proc/${pid}/stat`, 'latin1').replace(/^.*\)/, ''));
  for (let idle = 0; idle < 2; idle = waits() ? idle + 1 : 0) await sleep(10);
}

function probeResult(outcome: Outcome): ProbeResult {
  const { ok, source, sourcePort, destination, reply, reason, detail } = outcome;
  return {
    ok,
    ...(source !== undefined && { seenSource: source }),
    ...(sourcePort !== undefined && { seenPort: sourcePort }),
    ...(destination !== undefined && { seenDestination: destination }),
    ...(reply !== undefined && { reply }),
    ...(reason !== undefined && { reason }),
    ...(detail !== undefined && { detail }),
  };
}

/**
 * Why there can be no capture here; undefined when there can. tcpdump insists on changing its user, which a user namespace made by
 * an ordinary user forbids.
 */
export function captureRefusal(): string | undefined {
  return readFileSync('/proc/self/setgroups', 'utf8').trim() === 'deny' ? 'tcpdump needs setgroups(2)' : undefined;
}

export class TestHost {
  /** VPCCTL_STATE of every command run through this host. */
  readonly stateDir: string;
  readonly #temp: string;
  readonly #internet: boolean;
  /** iproute2 turns the directory into a shared mount with the first namespace, and never back. */
  readonly #netnsDirWasMounted = netnsDirMounted();
  readonly #agents = new Map<string, Promise<Agent>>();
  readonly #captures = new Set<Capture>();

  private constructor(internet: boolean) {
    this.#internet = internet;
    this.#temp = mkdtempSync(join(tmpdir(), 'vpcctl-test-host-'));
    this.stateDir = join(this.#temp, 'state');
  }

  static async create(options: TestHostOptions = {}): Promise<TestHost> {
    const { internet = true, routedToHost = [], uplinkMtu = 1500, ipv6 = false } = options;
    const host = new TestHost(internet);
    if (!internet) return host;
    const mtu = String(uplinkMtu);
    await ipDo(['netns', 'add', INTERNET]);
    await ipDo(
      `link add ${UPLINK} address ${HOST_MAC} mtu ${mtu} type veth peer name eth0 address ${INTERNET_MAC} mtu ${mtu} netns ${INTERNET}`.split(
        ' ',
      ),
    );
    // A namespace inherits net.ipv4 settings from the machine's first one: set what the tests depend on.
    await host.sysctl('', 'net/ipv4/ip_forward', '0');
    const ends = [
      { ns: '', address: HOST_ADDRESS, other: INTERNET_GATEWAY, otherMac: INTERNET_MAC },
      { ns: INTERNET, address: INTERNET_GATEWAY, other: HOST_ADDRESS, otherMac: HOST_MAC },
    ];
    for (const { ns, address, other, otherMac } of ends) {
      await ipDo(['link', 'set', UPLINK, 'addrgenmode', 'none'], ns);
      await ipDo(['addr', 'add', `${address}/24`, 'dev', UPLINK], ns);
      await ipDo(['link', 'set', UPLINK, 'up'], ns);
      await ipDo(['neigh', 'add', other, 'lladdr', otherMac, 'dev', UPLINK, 'nud', 'permanent'], ns);
    }
    await ipDo(['link', 'set', 'lo', 'up'], INTERNET);
    await ipDo(['addr', 'add', `${INTERNET_SERVER}/32`, 'dev', 'lo'], INTERNET);
    await ipDo(['route', 'add', 'default', 'via', INTERNET_GATEWAY]);
    // A datagram's answer leaves from the address that the route prefers, whichever one it was sent to: the server's.
    const source = ['src', INTERNET_SERVER];
    await ipDo(['route', 'change', '192.0.2.0/24', 'dev', UPLINK, ...source], INTERNET);
    const routed = routedToHost.filter((block) => !block.includes(':'));
    for (const block of routed) await ipDo(['route', 'add', block, 'via', HOST_ADDRESS, ...source], INTERNET);
    if (ipv6) {
      await host.#addIpv6();
      for (const block of routedToHost.filter((one) => !routed.includes(one))) {
        await ipDo(['route', 'add', block, 'via', HOST_ADDRESS6, 'src', INTERNET_SERVER6], INTERNET);
      }
    }
    return host;
  }

  async #addIpv6(): Promise<void> {
    const ends = [
      { ns: '', address: HOST_ADDRESS6, other: INTERNET_GATEWAY6, otherMac: INTERNET_MAC },
      { ns: INTERNET, address: INTERNET_GATEWAY6, other: HOST_ADDRESS6, otherMac: HOST_MAC },
    ];
    for (const { ns, address, other, otherMac } of ends) {
      await ipDo(['addr', 'add', `${address}/64`, 'dev', UPLINK, 'nodad'], ns);
      await ipDo(['neigh', 'add', other, 'lladdr', otherMac, 'dev', UPLINK, 'nud', 'permanent'], ns);
    }
    await ipDo(['addr', 'add', `${INTERNET_SERVER6}/128`, 'dev', 'lo', 'nodad'], INTERNET);
    await ipDo(['route', 'add', 'default', 'via', INTERNET_GATEWAY6]);
  }

  async #agent(ns: string): Promise<Agent> {
    const known = this.#agents.get(ns);
    if (known !== undefined) return known;
    const started = Agent.start(ns);
    this.#agents.set(ns, started);
    started.catch(() => this.#agents.delete(ns));
    return started;
  }

  /**
   * Ends our process in a namespace with its listeners. A namespace lives as long as a process is in it: needed before asserting
   * that it is gone, or that one of the same name is a new one.
   */
  async leave(ns: string): Promise<void> {
    const agent = this.#agents.get(ns);
    this.#agents.delete(ns);
    await (await agent)?.stop();
  }

  /** Listens in a namespace (`''`: the host); resolves once it does. Port 0 takes a free one. */
  async listener(ns: string, proto: 'tcp' | 'udp', port: number, options: ListenerOptions = {}): Promise<Listener> {
    const agent = await this.#agent(ns);
    const answer = await agent.ask<{ listener: number; port: number }>({ op: 'listen', proto, port, ...options });
    const { listener } = answer;
    return {
      ns,
      port: answer.port,
      seen: async () => (await agent.ask<{ seen: Seen[] }>({ op: 'seen', listener })).seen,
      close: async () => {
        await agent.ask({ op: 'unlisten', listener });
      },
    };
  }

  /** Sends real packets from a namespace and says what came back. */
  async probe(ns: string, probe: Probe): Promise<ProbeResult> {
    if (probe.proto !== 'icmp' && probe.port === undefined) throw new Error(`a ${probe.proto} probe needs a port`);
    const agent = await this.#agent(ns);
    return probeResult(await agent.ask<Outcome>({ timeoutMs: 1_000, ...probe, op: 'probe' }));
  }

  /** Opens a TCP connection to a listener of ours and keeps it. */
  async connect(ns: string, to: string, port: number, timeoutMs = 1_000): Promise<Connection> {
    const agent = await this.#agent(ns);
    const outcome = await agent.ask<Outcome>({ op: 'open', to, port, timeoutMs });
    if (!outcome.ok)
      throw new Error(`no connection from '${ns}' to ${to}:${port}: ${outcome.reason} ${outcome.detail ?? ''}`);
    const { connection, source = '' } = outcome;
    return {
      seenSource: source,
      exchange: async (timeout = 1_000) =>
        probeResult(await agent.ask<Outcome>({ op: 'exchange', connection, timeoutMs: timeout })),
      close: async () => {
        await agent.ask({ op: 'hangup', connection });
      },
    };
  }

  /** Reads a sysctl of a namespace, by its path below /proc/sys, after writing it when a value is given. */
  async sysctl(ns: string, key: string, value?: string): Promise<string> {
    const agent = await this.#agent(ns);
    const answer = await agent.ask<{ value: string }>({ op: 'sysctl', key, ...(value !== undefined && { value }) });
    return answer.value;
  }

  /** Captures packets of a link with tcpdump (`-n`), from now until stopped. */
  async capture(ns: string, link: string, filter = ''): Promise<Capture> {
    const argv = [
      'tcpdump',
      '-n',
      '-l',
      '--immediate-mode',
      '-Z',
      'root',
      '-i',
      link,
      ...filter.split(' ').filter(Boolean),
    ];
    const [program = '', ...args] = netnsArgv(ns, argv);
    const child = execa(program, args, { reject: false, stdin: 'ignore', buffer: true });
    await new Promise<void>((resolve, reject) => {
      let said = '';
      child.stderr.on('data', (chunk: Buffer) => {
        said += chunk.toString();
        if (said.includes('listening on')) resolve();
      });
      child.on('error', reject);
      child.on('exit', () => reject(new Error(`tcpdump ended: ${said}`)));
    });
    const capture: Capture = {
      stop: async () => {
        this.#captures.delete(capture);
        await untilIdle(child.pid);
        child.kill('SIGINT');
        const { stdout } = await child;
        return stdout.split('\n').filter(Boolean);
      },
    };
    this.#captures.add(capture);
    return capture;
  }

  /** The state of this namespace, to be compared with {@link diffHostStates}. */
  snapshot(): HostState {
    return readHostState();
  }

  /** Runs the command as a user does; never throws for its exit status. */
  async vpcctl(args: readonly string[], options: VpcctlOptions = {}): Promise<VpcctlResult> {
    const child = this.start(args, options);
    const done = await child;
    if (done.timedOut) throw new Error(`vpcctl ${args.join(' ')} did not end\n${done.stdout}\n${done.stderr}`);
    const exitCode = done.exitCode ?? 128;
    const { stdout, stderr } = done;
    let json: unknown;
    if (args.includes('--json') && stdout.trim() !== '') {
      try {
        json = JSON.parse(stdout);
      } catch {
        throw new Error(
          `vpcctl ${args.join(' ')} exited ${exitCode} and printed what is no JSON:\n${stdout}\n${stderr}`,
        );
      }
    }
    return { exitCode, stdout, stderr, json };
  }

  /** Runs the command and throws unless it exits 0. */
  async vpcctlOk(args: readonly string[], options: VpcctlOptions = {}): Promise<VpcctlResult> {
    const result = await this.vpcctl(args, options);
    if (result.exitCode !== 0) {
      throw new Error(`vpcctl ${args.join(' ')} exited ${result.exitCode}\n${result.stdout}\n${result.stderr}`);
    }
    return result;
  }

  /** Starts the command without waiting, for tests that interrupt or kill it. */
  start(args: readonly string[], options: VpcctlOptions = {}) {
    const { input = '', cwd = this.#temp, env = {}, timeoutMs = 60_000, client = false } = options;
    const [program, ...first] = client ? [nativeClient()] : [process.execPath, command];
    return execa(program, [...first, ...args], {
      reject: false,
      input,
      cwd,
      timeout: timeoutMs,
      env: { NO_COLOR: '1', ...env, VPCCTL_STATE: this.stateDir },
    });
  }

  /** Takes down what this class made. What vpcctl made is the test's to remove; the check after each file tells when it did not. */
  async close(): Promise<void> {
    for (const capture of [...this.#captures]) await capture.stop();
    for (const ns of [...this.#agents.keys()]) await this.leave(ns);
    if (this.#internet) {
      await ipDo(['link', 'del', UPLINK]);
      await ipDo(['netns', 'del', INTERNET]);
      if (!this.#netnsDirWasMounted && netnsDirMounted() && netnsNames().length === 0)
        await must('', ['umount', NETNS_DIR]);
    }
    rmSync(this.#temp, { recursive: true, force: true });
  }
}
