/** Sends one real packet, and sees whether it arrives and its answer comes back. Nothing of it stays. */
import { statSync } from 'node:fs';
import { resolve } from '../analyze/endpoints.js';
import { Lookup } from '../analyze/lookup.js';
import type { Analysis, Endpoint, Query, ResolvedQuery } from '../analyze/types.js';
import { VpcctlError } from '../errors.js';
import { type Arrivals, type ProbeOutcome, type ProbeProtocol, Prober, type Verdict } from '../kernel/prober.js';
import { netnsPath } from '../kernel/program.js';
import { workloadNs } from '../lower/names.js';
import type { Reader } from '../model/reader.js';

const DEFAULT_TIMEOUT_MS = 2_000;
const MOST_TIMEOUT_MS = 60_000;
const PROTOCOLS: readonly ProbeProtocol[] = ['tcp', 'udp', 'icmp'];

export interface ProbeOptions {
  /** How long an answer is waited for. Whole ms from 1 to 60,000, default 2000. */
  readonly timeoutMs?: number;
  /** Ends it: ABORTED. */
  readonly signal?: AbortSignal;
}

/** What became of a packet. */
export interface ProbeResult {
  readonly query: ResolvedQuery;
  /**
   * It came to the one it was sent to, in whose namespace it was awaited. null where that cannot be seen: of routers and what is outside, without an
   * answer.
   */
  readonly reached: boolean | null;
  /** An answer to it came back from there. */
  readonly answered: boolean;
  /** Who answered: a listener put there for this, a program that had the port already, or the kernel (icmp). null: nobody. */
  readonly answeredBy: 'listener' | 'program' | 'kernel' | null;
  /** A program has the port, and only that can answer. */
  readonly portTaken: boolean;
  /** The address that it was seen to come from. null: it was not seen. */
  readonly seenSource: string | null;
  /** What came back. */
  readonly verdict: Verdict;
  /** The same in words. */
  readonly reason: string;
  /** From the packet to the answer. null: there was none. */
  readonly rttMs: number | null;
}

/**
 * Whether the packet did what the analysis of the same question says. null: nobody can tell, because who did not answer may have got it: somebody outside, or a
 * program that says nothing.
 */
export function agreement(
  { reachable }: Analysis,
  { query, reached, answered, portTaken }: ProbeResult,
): boolean | null {
  if (answered === reachable) return true;
  const mayKeepSilent = query.destination.kind === 'internet' || (reached === true && portTaken);
  return reachable && mayKeepSilent ? null : false;
}

/** Errors as of `analyze`; besides USAGE for what cannot be sent, NOT_FOUND for an instance without a namespace, KERNEL when nothing can be started. */
export async function runProbe(reader: Reader, asked: Query, options: ProbeOptions = {}): Promise<ProbeResult> {
  const { timeoutMs = DEFAULT_TIMEOUT_MS, signal } = options;
  if (!(Number.isInteger(timeoutMs) && timeoutMs > 0 && timeoutMs <= MOST_TIMEOUT_MS)) {
    throw new VpcctlError('USAGE', `the timeout is ${timeoutMs} ms`, {
      hint: `it may be a whole number from 1 to ${MOST_TIMEOUT_MS}`,
    });
  }
  const query = resolve(new Lookup(reader), asked);
  const { source, destination, port } = query;
  const protocol = PROTOCOLS.find((one) => one === query.protocol.name);
  if (protocol === undefined) {
    throw new VpcctlError('USAGE', `a packet of protocol ${query.protocol.name} is not sent`, {
      hint: `probe with ${PROTOCOLS.join(', ')}`,
    });
  }
  const from = placeOf(source);
  if (from === undefined) {
    throw new VpcctlError('USAGE', `nothing can be sent from ${asked.source}: it is not on this machine`, {
      hint: 'name an instance, or the host',
    });
  }
  const to = placeOf(destination);
  const ear = { protocol, port: port ?? 0 };
  const probers: Prober[] = [];
  const open = async (place: string): Promise<Prober> => {
    const prober = await Prober.start(place);
    probers.push(prober);
    return prober;
  };
  try {
    aborted(signal);
    const listener = to === undefined ? undefined : await open(to);
    const taken = (await listener?.listen([ear]))?.includes('taken') === true;
    const prober = await open(from);
    aborted(signal);
    const end = (): void => void prober.close();
    signal?.addEventListener('abort', end, { once: true });
    try {
      const [outcome] = await prober.probe([{ ...ear, address: destination.address, timeoutMs }]);
      const arrivals = await listener?.arrivals();
      return resultOf(query, outcome as ProbeOutcome, { id: listener?.id, arrivals, taken });
    } catch (error) {
      aborted(signal);
      throw error;
    } finally {
      signal?.removeEventListener('abort', end);
    }
  } finally {
    await Promise.all(probers.map(async (prober) => prober.close()));
  }
}

function aborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw new VpcctlError('ABORTED', 'the probe was interrupted');
}

/** Where our processes can be: the path of its namespace, '' of the host. undefined: it has none, or it is not ours to enter. */
function placeOf(end: Endpoint): string | undefined {
  if (end.kind === 'host') return '';
  if (end.kind !== 'instance') return undefined;
  const path = netnsPath(workloadNs(end.vpc, end.name));
  if (statSync(path, { throwIfNoEntry: false }) === undefined) {
    throw new VpcctlError('NOT_FOUND', `the namespace of instance ${end.vpc}/${end.name} is gone`, {
      hint: 'see `vpcctl drift`',
    });
  }
  return path;
}

interface Listening {
  /** undefined: nobody listens there for us. */
  readonly id: string | undefined;
  readonly arrivals: Arrivals | undefined;
  readonly taken: boolean;
}

function resultOf(query: ResolvedQuery, outcome: ProbeOutcome, { id, arrivals, taken }: Listening): ProbeResult {
  const { verdict, answer, token, sourcePort } = outcome;
  if (verdict === 'error') {
    throw new VpcctlError('KERNEL', `nothing could be sent to ${query.destination.address}`, {
      ...(outcome.errno === undefined ? {} : { errno: outcome.errno }),
    });
  }
  const isOurs = answer !== undefined && answer.by === id;
  const arrival = arrivals?.found.find((one) =>
    one.token === null ? one.sourcePort === sourcePort : one.token === token,
  );
  const seenSource = isOurs ? answer.address : (arrival?.source ?? null);
  const cameBack = verdict === 'answered' || verdict === 'open';
  // Where nobody of ours is, whoever answers at the address is the one; what refuses there has got it.
  const reached = arrivals !== undefined ? isOurs || arrival !== undefined : answersThere(query, verdict);
  const answered = cameBack && reached === true;
  const answeredBy = !answered ? null : isOurs ? 'listener' : query.protocol.name === 'icmp' ? 'kernel' : 'program';
  return {
    query,
    reached,
    answered,
    answeredBy,
    portTaken: taken,
    seenSource,
    verdict,
    reason: reasonOf(verdict, { reached, answered, answeredBy, taken }),
    rttMs: answered ? outcome.rttMs : null,
  };
}

function answersThere({ destination }: ResolvedQuery, verdict: Verdict): boolean | null {
  if (verdict === 'answered' || verdict === 'open') return true;
  return destination.kind === 'nobody' ? false : null;
}

function reasonOf(
  verdict: Verdict,
  {
    reached,
    answered,
    answeredBy,
    taken,
  }: Pick<ProbeResult, 'reached' | 'answered' | 'answeredBy'> & { taken: boolean },
): string {
  if (answered) {
    if (answeredBy === 'listener') return 'a listener put there answered';
    if (answeredBy === 'kernel') return 'it was answered';
    return taken ? 'the program that has the port answered' : 'a program answered';
  }
  const there = reached === true ? 'it arrived, and ' : '';
  switch (verdict) {
    case 'answered':
    case 'open':
      return 'somebody else answered, whom it was not sent to';
    case 'refused':
      return `${there}it was refused`;
    case 'unreachable':
      return `${there}no way leads there`;
    default:
      return `${there}no answer came`;
  }
}
