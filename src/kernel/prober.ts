/**
 * A `vpcctl-probe` (native/probe.c) in a namespace: it sends probes, answers those of others, and takes account of what arrives. Lines both ways,
 * read strictly: others may be root where it runs.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { isIP } from 'node:net';
import { VpcctlError } from '../errors.js';
import { launcherPath, proberPath } from './native.js';

export type ProbeProtocol = 'tcp' | 'udp' | 'icmp';

/** Where a packet is sent to, or awaited, in both families. Port 0 with icmp, which means echo requests; of IPv6 it is ICMPv6. */
export interface Ear {
  readonly protocol: ProbeProtocol;
  readonly port: number;
}

export interface Probe extends Ear {
  readonly address: string;
  /** Whole ms from 1 to 60,000. Datagrams and echo requests are sent three times in this time, connections are tried at least twice. */
  readonly timeoutMs: number;
  /** An address that the namespace has. Default: the kernel's choice. */
  readonly source?: string;
}

/**
 * `answered`: by a prober, or of an echo request by the kernel. `open`: by another program; of TCP, that it took the connection. `refused`: there is no such port,
 * or something says so. `unreachable`: a router, or the namespace itself, knows no way. `error`: it could not be sent.
 */
export type Verdict = 'answered' | 'open' | 'refused' | 'unreachable' | 'timeout' | 'error';

export interface ProbeOutcome {
  readonly verdict: Verdict;
  /** From the attempt that was decisive until what decided it. */
  readonly rttMs: number;
  /** Of that attempt; with icmp its identifier. No earlier probe of this prober has had it, before 28,232 others. */
  readonly sourcePort: number;
  /** What the packet carries, to be found among {@link Arrival}s; of TCP nothing is carried. */
  readonly token: string;
  /** Who answered, {@link Prober.id}, and what it saw the packet come from. Not with icmp. */
  readonly answer?: { readonly by: string; readonly address: string; readonly port: number };
  /** Of `error`: EPERM, EMFILE. */
  readonly errno?: string;
}

/** What came in, for an {@link Ear}, whether or not an answer gets back. Once, however often it was sent. */
export interface Arrival extends Ear {
  readonly source: string;
  readonly sourcePort: number;
  /** null of TCP. */
  readonly token: string | null;
}

export interface Arrivals {
  readonly found: readonly Arrival[];
  /** How many more there were than it keeps. */
  readonly lost: number;
}

/** A line of the prober's. */
export type Reply =
  | { readonly type: 'ready'; readonly id: string }
  | { readonly type: 'listen'; readonly status: string }
  | { readonly type: 'result'; readonly number: number; readonly outcome: ProbeOutcome }
  | { readonly type: 'arrival'; readonly arrival: Arrival }
  | { readonly type: 'arrivals'; readonly lost: number };

/** The same in native/probe.c. */
export const IN_FLIGHT = 512;
const LONGEST_LINE = 192;
const LAST_NUMBER = 2 ** 32;
const STOP_MS = 2_000;

const TOKEN = /^[0-9a-f]{16}$/;
const ERRNO = /^E[A-Z0-9]+$/;
const PROTOCOLS: readonly ProbeProtocol[] = ['tcp', 'udp', 'icmp'];
const VERDICTS: readonly Verdict[] = ['answered', 'open', 'refused', 'unreachable', 'timeout', 'error'];

/** Throws for what the prober does not say. */
export function parseReply(line: string): Reply {
  const reply = replyOf(line);
  if (reply === undefined) throw new Error(`vpcctl-probe said ${JSON.stringify(line.slice(0, LONGEST_LINE))}`);
  return reply;
}

function replyOf(line: string): Reply | undefined {
  const [word, rest] = [line.split(' ', 1)[0], line.slice(line.indexOf(' ') + 1)];
  switch (word) {
    case 'ready':
      return TOKEN.test(rest) ? { type: 'ready', id: rest } : undefined;
    case 'listen':
      return rest === 'ok' || ERRNO.test(rest) ? { type: 'listen', status: rest } : undefined;
    case 'arrivals': {
      const lost = numberOf(rest, LAST_NUMBER);
      return lost === undefined ? undefined : { type: 'arrivals', lost };
    }
    case 'arrival':
      return arrivalOf(rest.split(' '));
    case 'result':
      return resultOf(rest.split(' '));
    default:
      return undefined;
  }
}

function numberOf(text: string | undefined, most: number): number | undefined {
  if (text === undefined || !/^(0|[1-9][0-9]{0,15})$/.test(text)) return undefined;
  const number = Number(text);
  return number <= most ? number : undefined;
}

function arrivalOf(words: readonly string[]): Reply | undefined {
  const [name, source = '', ...others] = words;
  const protocol = PROTOCOLS.find((one) => one === name);
  const [sourcePort, port] = others.map((text) => numberOf(text, 65_535));
  const token = others[2] ?? '';
  if (words.length !== 5 || protocol === undefined || isIP(source) === 0) return undefined;
  if (sourcePort === undefined || port === undefined || !(protocol === 'tcp' ? token === '-' : TOKEN.test(token))) {
    return undefined;
  }
  return { type: 'arrival', arrival: { protocol, source, sourcePort, port, token: token === '-' ? null : token } };
}

function resultOf(words: readonly string[]): Reply | undefined {
  const [first, name, took, from, token = '', address = '', at, last = ''] = words;
  const verdict = VERDICTS.find((one) => one === name);
  const number = numberOf(first, LAST_NUMBER);
  const micros = numberOf(took, Number.MAX_SAFE_INTEGER);
  const sourcePort = numberOf(from, 65_535);
  if (verdict === undefined || number === undefined || micros === undefined || sourcePort === undefined)
    return undefined;
  if (!TOKEN.test(token)) return undefined;
  const common = { verdict, rttMs: micros / 1000, sourcePort, token };
  if (address !== '-') {
    const port = numberOf(at, 65_535);
    if (
      words.length !== 8 ||
      verdict !== 'answered' ||
      isIP(address) === 0 ||
      port === undefined ||
      !TOKEN.test(last)
    ) {
      return undefined;
    }
    return { type: 'result', number, outcome: { ...common, answer: { by: last, address, port } } };
  }
  if (words.length !== 8 || at !== '-' || !(last === '-' || ERRNO.test(last))) return undefined;
  return { type: 'result', number, outcome: verdict === 'error' ? { ...common, errno: last } : common };
}

/** A line to the prober, without its end. */
export function formatProbe(number: number, { protocol, address, port, timeoutMs, source }: Probe): string {
  return `probe ${number} ${protocol} ${address} ${port} ${timeoutMs}${source === undefined ? '' : ` ${source}`}`;
}

/** Bytes → whole lines. Throws for one that is longer than any may be. */
export class Lines {
  #begun = '';

  push(bytes: Uint8Array): string[] {
    const parts = (this.#begun + Buffer.from(bytes).toString('latin1')).split('\n');
    this.#begun = parts.pop() ?? '';
    if ([...parts, this.#begun].some((line) => line.length > LONGEST_LINE)) {
      throw new Error('vpcctl-probe said a line without an end');
    }
    return parts;
  }
}

interface Waiting<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: Error) => void;
}

interface Asked extends Waiting<ProbeOutcome> {
  readonly probe: Probe;
}

export class Prober {
  /** What its answers are signed with: 16 hexadecimal digits. */
  readonly id: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #listening: Waiting<string>[] = [];
  readonly #counting: Waiting<Arrivals>[] = [];
  #arrived: Arrival[] = [];
  readonly #flying = new Map<number, Asked>();
  readonly #queue: Asked[] = [];
  #number = 0;
  #failure: Error | undefined;
  readonly #ended: Promise<unknown>;

  private constructor(child: ChildProcessWithoutNullStreams, id: string) {
    this.#child = child;
    this.id = id;
    this.#ended = once(child, 'close');
  }

  /** Starts one in the namespace at `path` (`''`: of this process). It ends with this process, at the latest. KERNEL when it does not start. */
  static async start(path: string): Promise<Prober> {
    const child = spawn(launcherPath(), ['--drop-caps', path, '--', proberPath()], {
      cwd: '/',
      stdio: 'pipe',
    });
    child.stdin.on('error', () => {
      // EPIPE of one that has ended, which is told by its end.
    });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      if (said.length < LONGEST_LINE) said += chunk.toString('latin1');
    });
    const ended = (how: string): VpcctlError =>
      new VpcctlError('KERNEL', `the prober ${how}`, { netns: path, ...(said === '' ? {} : { extack: said.trim() }) });
    return new Promise((resolve, reject) => {
      const lines = new Lines();
      let prober: Prober | undefined;
      const fail = (error: Error): void => {
        reject(error);
        if (prober !== undefined) prober.#fail(error);
        child.kill('SIGKILL');
      };
      child.once('error', (cause) => fail(new VpcctlError('KERNEL', 'the prober could not be started', { cause })));
      child.once('close', (code, signal) => fail(ended(`ended (${signal ?? code})`)));
      child.stdout.on('data', (bytes: Buffer) => {
        try {
          for (const line of lines.push(bytes)) {
            const reply = parseReply(line);
            if (prober !== undefined) prober.#take(reply);
            else if (reply.type === 'ready') prober = new Prober(child, reply.id);
            else throw new Error('vpcctl-probe speaks before it is ready');
          }
          if (prober !== undefined) {
            resolve(prober);
            prober.#fly();
          }
        } catch (cause) {
          fail(new VpcctlError('KERNEL', 'the prober said what it should not', { netns: path, cause }));
        }
      });
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /**
   * Answers there from now on, as long as this lives. Of each whether it does: somebody else may have the port (`taken`), who then answers; what arrives is
   * taken account of all the same. KERNEL for any other refusal.
   */
  async listen(ears: readonly Ear[]): Promise<('listening' | 'taken')[]> {
    const said = await Promise.all(
      ears.map(({ protocol, port }) => this.#ask(this.#listening, `listen ${protocol} ${port}`)),
    );
    return said.map((status, at) => {
      if (status === 'ok' || status === 'EALREADY') return 'listening';
      if (status === 'EADDRINUSE') return 'taken';
      const { protocol, port } = ears[at] as Ear;
      throw new VpcctlError('KERNEL', `the prober could not listen to ${protocol} ${port}`, { errno: status });
    });
  }

  /** Sends them all, up to {@link IN_FLIGHT} at once; outcomes in the order of the probes. */
  async probe(probes: readonly Probe[]): Promise<ProbeOutcome[]> {
    const outcomes = probes.map(
      async (probe) =>
        new Promise<ProbeOutcome>((resolve, reject) => {
          if (this.#failure !== undefined) reject(this.#failure);
          else this.#queue.push({ probe, resolve, reject });
        }),
    );
    this.#fly();
    return Promise.all(outcomes);
  }

  /** What has arrived since this was asked last, where {@link listen} was called for. */
  async arrivals(): Promise<Arrivals> {
    return this.#ask(this.#counting, 'arrivals');
  }

  /** Ends it; what waits for it rejects. Nothing of it is left when this resolves. */
  async close(): Promise<void> {
    this.#fail(new VpcctlError('ABORTED', 'the prober was closed'));
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  async #ask<T>(waiting: Waiting<T>[], line: string): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.#failure !== undefined) return reject(this.#failure);
      waiting.push({ resolve, reject });
      this.#child.stdin.write(`${line}\n`);
    });
  }

  #fly(): void {
    const lines: string[] = [];
    while (this.#flying.size < IN_FLIGHT) {
      const asked = this.#queue.shift();
      if (asked === undefined) break;
      const number = this.#number++ % LAST_NUMBER;
      this.#flying.set(number, asked);
      lines.push(`${formatProbe(number, asked.probe)}\n`);
    }
    if (lines.length > 0) this.#child.stdin.write(lines.join(''));
  }

  #take(reply: Reply): void {
    switch (reply.type) {
      case 'ready':
        throw new Error('vpcctl-probe is ready twice');
      case 'listen':
        next(this.#listening).resolve(reply.status);
        return;
      case 'arrival':
        this.#arrived.push(reply.arrival);
        return;
      case 'arrivals': {
        const found = this.#arrived;
        this.#arrived = [];
        next(this.#counting).resolve({ found, lost: reply.lost });
        return;
      }
      case 'result': {
        const asked = this.#flying.get(reply.number);
        if (asked === undefined) throw new Error(`vpcctl-probe answers what was not asked: ${reply.number}`);
        this.#flying.delete(reply.number);
        asked.resolve(reply.outcome);
        return;
      }
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    const waiting = [this.#listening, this.#counting, [...this.#flying.values()], this.#queue];
    for (const { reject } of waiting.flat()) reject(this.#failure);
    this.#listening.length = 0;
    this.#counting.length = 0;
    this.#queue.length = 0;
    this.#flying.clear();
  }
}

function next<T>(waiting: Waiting<T>[]): Waiting<T> {
  const first = waiting.shift();
  if (first === undefined) throw new Error('vpcctl-probe answers what was not asked');
  return first;
}
