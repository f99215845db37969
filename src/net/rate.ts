/** Rates, sizes, times and shares as a person writes them: a number and a unit, without a space. Only what comes out even is taken. */
import { invalid } from '../errors.js';
import { quote } from './quote.js';

type Units = Readonly<Record<string, number>>;

interface Quantity {
  readonly what: string;
  /** In rising order; how many of the smallest counted thing. */
  readonly units: Units;
  readonly least: number;
  readonly most: number;
  /** It is a multiple of so many. */
  readonly step: number;
  readonly example: string;
}

/** Bits a second. Of whole bytes, since the kernel counts in those. */
const RATE: Quantity = {
  what: 'bandwidth',
  units: { bit: 1, kbit: 1e3, mbit: 1e6, gbit: 1e9 },
  least: 64e3,
  most: 100e9,
  step: 8,
  example: '100mbit',
};

/** Bytes. */
const SIZE: Quantity = {
  what: 'burst',
  units: { b: 1, kib: 1024, mib: 1024 ** 2 },
  least: 16 * 1024,
  most: 1024 ** 3,
  step: 1024,
  example: '64kib',
};

/** µs. */
const TIME: Quantity = {
  what: 'delay',
  units: { us: 1, ms: 1e3, s: 1e6 },
  least: 1,
  most: 60e6,
  step: 1,
  example: '20ms',
};

/** Millionths. */
const SHARE: Quantity = { what: 'loss', units: { '%': 1e4 }, least: 1, most: 1e6, step: 1, example: '0.5%' };

/** A bandwidth in bits a second: 64kbit to 100gbit. INVALID otherwise. */
export const parseRate = (text: string): number => parse(text, RATE);
/** A burst in bytes: 16kib to 1024mib, whole KiB. INVALID otherwise. */
export const parseSize = (text: string): number => parse(text, SIZE);
/** A time in µs: 1us to 60s. INVALID otherwise. */
export const parseTime = (text: string): number => parse(text, TIME);
/** A share in millionths: 0.0001% to 100%. INVALID otherwise. */
export const parseShare = (text: string): number => parse(text, SHARE);

/** The inverses: the greatest unit of which it is a number without more than three decimals. */
export const formatRate = (value: number): string => format(value, RATE);
export const formatSize = (value: number): string => format(value, SIZE);
export const formatTime = (value: number): string => format(value, TIME);
export const formatShare = (value: number): string => `${value / 1e4}%`;

const FORM = /^((?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,9})?)([a-z%]+)$/;

function parse(text: string, quantity: Quantity): number {
  const { what, units, least, most, step, example } = quantity;
  const names = Object.keys(units);
  const expected = `expected a number and one of ${names.join(', ')}, as ${example}`;
  const [, digits = '', unit = ''] = FORM.exec(text) ?? [];
  const factor = Object.hasOwn(units, unit) ? units[unit] : undefined;
  if (factor === undefined) {
    const lower = text.trim().replace(/\s+/g, '').toLowerCase();
    const meant = lower !== text && isWritten(lower, units) ? lower : undefined;
    throw invalid(`${quote(text)} is no ${what}: ${expected}`, meant === undefined ? {} : { hint: `write ${meant}` });
  }
  // A decimal fraction times a unit, without the error of a product of doubles.
  const [whole = '0', fraction = ''] = digits.split('.');
  const scaled = BigInt(whole + fraction) * BigInt(factor);
  const scale = 10n ** BigInt(fraction.length);
  const value = Number(scaled / scale);
  if (scaled % scale !== 0n || value % step !== 0) {
    throw invalid(`${quote(text)} is no ${what}: it is to be a whole number of ${WHOLE[what] ?? names[0]}`);
  }
  if (value < least || value > most) {
    throw invalid(`${what} ${text} is out of range: expected ${format(least, quantity)} to ${format(most, quantity)}`);
  }
  return value;
}

const WHOLE: Readonly<Record<string, string>> = {
  bandwidth: 'bytes (8bit) a second',
  burst: 'KiB',
  delay: 'microseconds',
  loss: 'millionths (0.0001%)',
};

function isWritten(text: string, units: Units): boolean {
  const unit = FORM.exec(text)?.[2];
  return unit !== undefined && Object.hasOwn(units, unit);
}

function format(value: number, { units, what }: Quantity): string {
  if (what === 'loss') return formatShare(value);
  const fitting = Object.entries(units).filter(
    ([, factor]) => value >= factor && Number.isInteger((value * 1000) / factor),
  );
  const [unit, factor] = fitting.at(-1) ?? Object.entries(units)[0] ?? ['', 1];
  return `${value / factor}${unit}`;
}
