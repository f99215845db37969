import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  formatRate,
  formatShare,
  formatSize,
  formatTime,
  parseRate,
  parseShare,
  parseSize,
  parseTime,
} from '../../../src/net/rate.js';

describe('reads', () => {
  test.each([
    ['100mbit', 100_000_000],
    ['1gbit', 1_000_000_000],
    ['1.5mbit', 1_500_000],
    ['64kbit', 64_000],
    ['0.1gbit', 100_000_000],
    ['64000bit', 64_000],
    ['100gbit', 100_000_000_000],
  ])('a bandwidth %s', (text, bits) => expect(parseRate(text)).toBe(bits));

  test.each([
    ['16kib', 16_384],
    ['1.5mib', 1_572_864],
    ['65536b', 65_536],
    ['1024mib', 2 ** 30],
  ])('a burst %s', (text, bytes) => expect(parseSize(text)).toBe(bytes));

  test.each([
    ['20ms', 20_000],
    ['1us', 1],
    ['0.5ms', 500],
    ['60s', 60_000_000],
  ])('a time %s', (text, us) => expect(parseTime(text)).toBe(us));

  test.each([
    ['1%', 10_000],
    ['0.0001%', 1],
    ['100%', 1_000_000],
    ['12.5%', 125_000],
  ])('a share %s', (text, millionths) => expect(parseShare(text)).toBe(millionths));
});

describe('refuses', () => {
  const line = (read: () => unknown): string => {
    try {
      read();
    } catch (error) {
      expect(error).toMatchObject({ code: 'INVALID' });
      const { message, facts } = error as { message: string; facts: { hint?: string } };
      return facts.hint === undefined ? message : `${message}; ${facts.hint}`;
    }
    return 'taken';
  };

  test.each([
    ['100', '"100" is no bandwidth: expected a number and one of bit, kbit, mbit, gbit, as 100mbit'],
    [
      '100 mbit',
      '"100 mbit" is no bandwidth: expected a number and one of bit, kbit, mbit, gbit, as 100mbit; write 100mbit',
    ],
    [
      '100Mbit',
      '"100Mbit" is no bandwidth: expected a number and one of bit, kbit, mbit, gbit, as 100mbit; write 100mbit',
    ],
    ['100mbps', '"100mbps" is no bandwidth: expected a number and one of bit, kbit, mbit, gbit, as 100mbit'],
    ['100toString', '"100toString" is no bandwidth: expected a number and one of bit, kbit, mbit, gbit, as 100mbit'],
    ['-1mbit', '"-1mbit" is no bandwidth: expected a number and one of bit, kbit, mbit, gbit, as 100mbit'],
    ['1e3kbit', '"1e3kbit" is no bandwidth: expected a number and one of bit, kbit, mbit, gbit, as 100mbit'],
    ['01mbit', '"01mbit" is no bandwidth: expected a number and one of bit, kbit, mbit, gbit, as 100mbit'],
    ['', '"" is no bandwidth: expected a number and one of bit, kbit, mbit, gbit, as 100mbit'],
    ['64001bit', '"64001bit" is no bandwidth: it is to be a whole number of bytes (8bit) a second'],
    ['100.0000001kbit', '"100.0000001kbit" is no bandwidth: it is to be a whole number of bytes (8bit) a second'],
    ['8kbit', 'bandwidth 8kbit is out of range: expected 64kbit to 100gbit'],
    ['0mbit', 'bandwidth 0mbit is out of range: expected 64kbit to 100gbit'],
    ['101gbit', 'bandwidth 101gbit is out of range: expected 64kbit to 100gbit'],
    ['999999999999gbit', 'bandwidth 999999999999gbit is out of range: expected 64kbit to 100gbit'],
  ])('bandwidth %s', (text, said) => expect(line(() => parseRate(text))).toBe(said));

  test.each([
    ['64kb', '"64kb" is no burst: expected a number and one of b, kib, mib, as 64kib'],
    ['20000b', '"20000b" is no burst: it is to be a whole number of KiB'],
    ['8kib', 'burst 8kib is out of range: expected 16kib to 1024mib'],
  ])('burst %s', (text, said) => expect(line(() => parseSize(text))).toBe(said));

  test.each([
    ['20', '"20" is no delay: expected a number and one of us, ms, s, as 20ms'],
    ['0ms', 'delay 0ms is out of range: expected 1us to 60s'],
    ['0.1us', '"0.1us" is no delay: it is to be a whole number of microseconds'],
  ])('time %s', (text, said) => expect(line(() => parseTime(text))).toBe(said));

  test.each([
    ['0.5', '"0.5" is no loss: expected a number and one of %, as 0.5%'],
    ['0%', 'loss 0% is out of range: expected 0.0001% to 100%'],
    ['101%', 'loss 101% is out of range: expected 0.0001% to 100%'],
    ['0.00001%', '"0.00001%" is no loss: it is to be a whole number of millionths (0.0001%)'],
  ])('loss %s', (text, said) => expect(line(() => parseShare(text))).toBe(said));
});

test('what is written is read as it was', () => {
  const trips = (
    least: number,
    most: number,
    step: number,
    parse: (text: string) => number,
    format: (value: number) => string,
  ) =>
    void fc.assert(
      fc.property(fc.integer({ min: least / step, max: most / step }), (units) => {
        expect(parse(format(units * step))).toBe(units * step);
      }),
    );
  trips(64_000, 100e9, 8, parseRate, formatRate);
  trips(16_384, 2 ** 30, 1024, parseSize, formatSize);
  trips(1, 60e6, 1, parseTime, formatTime);
  trips(1, 1e6, 1, parseShare, formatShare);
  expect([formatRate(1_500_000), formatRate(1e9), formatSize(65_536), formatTime(1500), formatShare(5000)]).toEqual([
    '1.5mbit',
    '1gbit',
    '64kib',
    '1.5ms',
    '0.5%',
  ]);
});
