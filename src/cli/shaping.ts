/** Bandwidth, delay, jitter and loss of an instance, as they stand in options and in operations of `batch`. */
import { type Command, InvalidArgumentError } from 'commander';
import type { BandwidthSpec, ModifyInstance } from '../index.js';

/** A value for both directions, or one for either; `none`. */
type Ways = BandwidthSpec;

export interface Shaped {
  readonly bandwidth?: Ways;
  readonly delay?: Ways;
  readonly jitter?: Ways;
  readonly loss?: Ways;
}

export const SHAPED = ['bandwidth', 'delay', 'jitter', 'loss'] as const satisfies readonly (keyof Shaped)[];

/** The keys that a map of one of them may have. */
export const waysOf = (part: keyof Shaped): readonly string[] =>
  part === 'bandwidth' ? ['in', 'out', 'burst'] : ['in', 'out'];

/** `100mbit` for both directions; `in=100mbit,out=50mbit`. */
function readWays(text: string, part: keyof Shaped): Ways {
  if (!text.includes('=')) return text;
  const keys = waysOf(part);
  const ways = text.split(',').map((one) => {
    const [key = '', value = '', ...more] = one.split('=');
    if (!keys.includes(key) || value === '' || more.length > 0) {
      throw new InvalidArgumentError(`Expected VALUE, none, or ${keys.map((each) => `${each}=VALUE`).join(',')}.`);
    }
    return [key, value] as const;
  });
  if (new Set(ways.map(([key]) => key)).size < ways.length) throw new InvalidArgumentError('Each at most once.');
  return Object.fromEntries(ways);
}

export function shapingOptions(command: Command): Command {
  const way = (part: keyof Shaped) => (text: string) => readWays(text, part);
  return command
    .option(
      '--bandwidth <rate>',
      'what it receives and sends in a second at the most: 100mbit; in=100mbit,out=50mbit,burst=64kib; none',
      way('bandwidth'),
    )
    .option(
      '--delay <time>',
      'how much later its packets arrive, in each direction: 20ms; in=20ms,out=5ms; none',
      way('delay'),
    )
    .option('--jitter <time>', 'by how much the delay varies: 5ms; in=5ms,out=1ms; none', way('jitter'))
    .option('--loss <share>', 'which share of its packets is lost: 0.5%; in=1%,out=0.5%; none', way('loss'));
}

/** What a verb is told: what was not said stays as it was. */
export function shapingOf(
  said: { readonly [K in keyof Shaped]: Shaped[K] | undefined },
): Pick<ModifyInstance, keyof Shaped> {
  return Object.fromEntries(
    SHAPED.flatMap((part) => {
      const value = said[part];
      return value === undefined ? [] : [[part, value === 'none' ? null : value] as const];
    }),
  );
}
