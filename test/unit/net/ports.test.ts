import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VpcctlError } from '../../../src/errors.js';
import {
  ANY_PORT,
  ANY_PROTOCOL,
  formatPort,
  hasPorts,
  ICMP,
  type Protocol,
  parsePort,
  parseProtocol,
  TCP,
  UDP,
} from '../../../src/net/ports.js';
import { assertProperty } from './property.js';

function refusal(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(VpcctlError);
    expect((error as VpcctlError).code).toBe('INVALID');
    return (error as VpcctlError).toLine();
  }
  throw new Error('was not refused');
}

const PORTS = 'expected a port of 1 to 65535, "from-to" or any';

describe('parseProtocol', { timeout: 60_000 }, () => {
  it.each<[string | number | undefined, Protocol]>([
    ['tcp', TCP],
    ['udp', UDP],
    ['icmp', ICMP],
    ['any', ANY_PROTOCOL],
    [undefined, ANY_PROTOCOL],
    [6, TCP],
    ['17', UDP],
    [1, ICMP],
    [132, { name: '132', number: 132 }],
    ['0', { name: '0', number: 0 }],
    [255, { name: '255', number: 255 }],
  ])('reads %j', (value, protocol) => {
    expect(parseProtocol(value)).toEqual(protocol);
  });

  it.each<[string | number, string]>([
    [
      'TCP',
      '"TCP" is not a protocol: expected tcp, udp, icmp, icmpv6, any or a protocol number of 0 to 255; write tcp',
    ],
    ['-1', '; write any'],
    ['all', '; write any'],
    [-1, '; write any'],
    [256, '256 is not a protocol number'],
    ['256', '256 is not a protocol number'],
    [6.5, '6.5 is not a protocol number'],
    [Number.NaN, 'NaN is not a protocol number'],
    ['06', '"06" is not a protocol'],
    ['', '"" is not a protocol'],
  ])('refuses %j', (value, words) => {
    expect(refusal(() => parseProtocol(value))).toContain(words);
  });
});

describe('parsePort', { timeout: 60_000 }, () => {
  it.each<[string | number | undefined, number, number]>([
    [80, 80, 80],
    ['80', 80, 80],
    ['1-65535', 1, 65535],
    ['8000-8100', 8000, 8100],
    ['443-443', 443, 443],
    ['any', 0, 65535],
    [undefined, 0, 65535],
  ])('reads %j', (value, from, to) => {
    expect(parsePort(value, TCP)).toEqual({ from, to });
    expect(parsePort(value, UDP)).toEqual({ from, to });
  });

  it.each<[string | number, string]>([
    [0, `port "0": port 0 cannot be named: ${PORTS}`],
    ['0-80', `port "0-80": port 0 cannot be named: ${PORTS}`],
    ['0-65535', `port "0-65535": port 0 cannot be named: ${PORTS}; write any`],
    [65536, `port "65536" is out of range: ${PORTS}`],
    ['80-65536', `port "80-65536" is out of range: ${PORTS}`],
    [-1, `port "-1" is out of range: ${PORTS}`],
    [1.5, `"1.5" is not a port: ${PORTS}`],
    [Number.POSITIVE_INFINITY, `"Infinity" is not a port: ${PORTS}`],
    ['90-80', `port "90-80": the range ends before it starts: ${PORTS}; write 80-90`],
    ['80,90', `port "80,90" is a list: ${PORTS}; write 2 rules, one for each`],
    ['80,90-95,443', `port "80,90-95,443" is a list: ${PORTS}; write 3 rules, one for each`],
    ['80:90', `"80:90" is not a port: ${PORTS}; write 80-90`],
    ['080', `port "080": "080" has a leading zero: ${PORTS}`],
    ['80 - 90', `port "80 - 90" contains white space: ${PORTS}`],
    ['80-', `"80-" is not a port: ${PORTS}`],
    ['-80', `"-80" is not a port: ${PORTS}`],
    ['0x50', `"0x50" is not a port: ${PORTS}`],
    ['http', `"http" is not a port: ${PORTS}`],
    ['ANY', `"ANY" is not a port: ${PORTS}; write any`],
    ['*', `"*" is not a port: ${PORTS}; write any`],
    ['', `the port is empty: ${PORTS}`],
  ])('refuses %j', (value, words) => {
    expect(refusal(() => parsePort(value, TCP))).toBe(words);
  });

  it('refuses a port where the protocol has none', () => {
    for (const protocol of [ICMP, ANY_PROTOCOL, parseProtocol(132)]) {
      expect(hasPorts(protocol)).toBe(false);
      expect(parsePort('any', protocol)).toBe(ANY_PORT);
      expect(parsePort(undefined, protocol)).toBe(ANY_PORT);
      expect(refusal(() => parsePort(80, protocol))).toContain('; set the protocol to tcp or udp');
    }
    expect(refusal(() => parsePort('80-90', ICMP))).toContain('port 80-90: protocol icmp has no ports');
  });

  it('reads what formatPort prints', () => {
    const port = fc.integer({ min: 1, max: 65535 });
    assertProperty(
      fc.property(port, port, (a, b) => {
        const range = { from: Math.min(a, b), to: Math.max(a, b) };
        expect(parsePort(formatPort(range), TCP)).toEqual(range);
      }),
    );
    expect(parsePort(formatPort(ANY_PORT), TCP)).toEqual(ANY_PORT);
    expect(formatPort({ from: 1, to: 65535 })).toBe('1-65535');
  });

  it('throws nothing but INVALID, and stays in range', () => {
    const near = fc.string({ unit: fc.constantFrom(...'0123456789,:- '), maxLength: 12 });
    assertProperty(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), near, fc.double(), fc.integer()), (value) => {
        try {
          const { from, to } = parsePort(value, TCP);
          expect(from).toBeGreaterThanOrEqual(1);
          expect(to).toBeLessThanOrEqual(65535);
          expect(from).toBeLessThanOrEqual(to);
          expect(formatPort({ from, to })).toBe(from === to ? String(from) : String(value));
        } catch (error) {
          if (!(error instanceof VpcctlError)) throw error;
        }
        try {
          parseProtocol(value);
        } catch (error) {
          if (!(error instanceof VpcctlError)) throw error;
        }
      }),
      { numRuns: 500 },
    );
  });
});
