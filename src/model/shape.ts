/** What an instance's bandwidth, delay, jitter and loss become: for each direction what is done to its packets. */
import { invalid } from '../errors.js';
import { quote } from '../net/quote.js';
import {
  formatRate,
  formatShare,
  formatSize,
  formatTime,
  parseRate,
  parseShare,
  parseSize,
  parseTime,
} from '../net/rate.js';
import type { BandwidthSpec, BothWays, ShapingSpec } from '../spec/types.js';

/** What is done to the packets of one direction. At least one of these; `burst` only with `rate` and nothing else. */
export interface Shape {
  /** Bits a second. */
  readonly rate?: number;
  /** Bytes that may pass at once. Absent: as {@link Shape.rate} needs. */
  readonly burst?: number;
  /** µs. */
  readonly delay?: number;
  readonly jitter?: number;
  /** Millionths. */
  readonly loss?: number;
}

/** `in`: what it receives; `out`: what it sends. Absent: untouched. */
export interface Shaping {
  readonly in?: Shape;
  readonly out?: Shape;
}

/** What verbs take: null is none, absent is as it was. */
export type AskedShaping = { readonly [K in keyof ShapingSpec]?: ShapingSpec[K] | null };

export const DIRECTIONS = ['in', 'out'] as const;

/** A burst longer than that is no bound on the bandwidth. */
const LONGEST_BURST_S = 60;

type Part = 'rate' | 'burst' | 'delay' | 'jitter' | 'loss';

/** The shaping that is asked for over the one there was; undefined: none. INVALID where it does not fit together. */
export function shapingOf(asked: AskedShaping, existing: Shaping | undefined): Shaping | undefined {
  for (const key of ['bandwidth', 'delay', 'jitter', 'loss'] as const) checkKeys(key, asked[key]);
  const shaping: { -readonly [K in keyof Shaping]: Shaping[K] } = {};
  for (const direction of DIRECTIONS) {
    const was = existing?.[direction] ?? {};
    const rate = chosen(asked.bandwidth, was.rate, (spec) => rateOf(spec, direction));
    const shape: Record<Part, number | undefined> = {
      rate,
      burst: chosen(asked.bandwidth, was.burst, (spec) => (rate === undefined ? undefined : burstOf(spec))),
      delay: chosen(asked.delay, was.delay, (spec) => oneWay(spec, direction, parseTime)),
      jitter: chosen(asked.jitter, was.jitter, (spec) => oneWay(spec, direction, parseTime)),
      loss: chosen(asked.loss, was.loss, (spec) => oneWay(spec, direction, parseShare)),
    };
    const given = Object.entries(shape).filter(([, value]) => value !== undefined);
    if (given.length > 0) shaping[direction] = checked(Object.fromEntries(given) as Shape, direction);
  }
  return Object.keys(shaping).length === 0 ? undefined : shaping;
}

/** A program may be written without types. */
function checkKeys(what: string, spec: BandwidthSpec | null | undefined): void {
  const known = ['in', 'out', ...(what === 'bandwidth' ? ['burst'] : [])];
  const unknown =
    typeof spec === 'object' && spec !== null ? Object.keys(spec).find((key) => !known.includes(key)) : undefined;
  if (unknown !== undefined)
    throw invalid(`${what} has no ${quote(unknown)}`, { hint: `it may have ${known.join(', ')}` });
}

function chosen<S>(
  asked: S | null | undefined,
  was: number | undefined,
  read: (spec: S) => number | undefined,
): number | undefined {
  if (asked === undefined) return was;
  return asked === null ? undefined : read(asked);
}

function oneWay(spec: BothWays, direction: 'in' | 'out', parse: (text: string) => number): number | undefined {
  const text = typeof spec === 'string' ? spec : spec[direction];
  return text === undefined ? undefined : parse(text);
}

function rateOf(spec: BandwidthSpec, direction: 'in' | 'out'): number | undefined {
  if (typeof spec !== 'string' && spec.burst !== undefined && spec.in === undefined && spec.out === undefined) {
    throw invalid(`burst ${spec.burst} is of no bandwidth`, { hint: 'name the bandwidth in, out, or both' });
  }
  return oneWay(spec, direction, parseRate);
}

function burstOf(spec: BandwidthSpec): number | undefined {
  return typeof spec === 'string' || spec.burst === undefined ? undefined : parseSize(spec.burst);
}

function checked(shape: Shape, direction: 'in' | 'out'): Shape {
  const { rate, burst, delay, jitter, loss } = shape;
  if (jitter !== undefined && jitter > (delay ?? 0)) {
    throw invalid(
      `jitter ${formatTime(jitter)} ${direction} is more than the delay, ${delay === undefined ? 'which there is none of' : formatTime(delay)}`,
      {
        hint: 'the delay varies by the jitter, up and down: make it at least as long',
      },
    );
  }
  if (burst === undefined || rate === undefined) return shape;
  if (delay !== undefined || loss !== undefined) {
    throw invalid(`a burst cannot be told of a direction that has a delay or loss (${direction})`, {
      hint: 'leave out the burst, or the other',
    });
  }
  if (burst * 8 > rate * LONGEST_BURST_S) {
    throw invalid(`burst ${formatSize(burst)} is more than ${formatRate(rate)} pass in ${LONGEST_BURST_S} s`, {
      hint: 'give a smaller one',
    });
  }
  return shape;
}

/** Inverse of {@link shapingOf}: what is the same in both directions is said once. */
export function formatShaping(shaping: Shaping | undefined): ShapingSpec {
  if (shaping === undefined) return {};
  const both = (part: Part, format: (value: number) => string): BothWays | undefined => {
    const [into, out] = DIRECTIONS.map((direction) => shaping[direction]?.[part]);
    if (into === undefined && out === undefined) return undefined;
    if (into !== undefined && into === out) return format(into);
    return { ...(into === undefined ? {} : { in: format(into) }), ...(out === undefined ? {} : { out: format(out) }) };
  };
  const rate = both('rate', formatRate);
  const burst = shaping.in?.burst ?? shaping.out?.burst;
  const bandwidth: BandwidthSpec | undefined =
    rate === undefined || burst === undefined
      ? rate
      : { ...(typeof rate === 'string' ? { in: rate, out: rate } : rate), burst: formatSize(burst) };
  const rest = {
    delay: both('delay', formatTime),
    jitter: both('jitter', formatTime),
    loss: both('loss', formatShare),
  };
  return Object.fromEntries(
    Object.entries({ bandwidth, ...rest }).filter(([, value]) => value !== undefined),
  ) as ShapingSpec;
}
