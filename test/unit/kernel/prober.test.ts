/** What is said to the prober, and what is taken from it. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatProbe, Lines, parseReply } from '../../../src/kernel/prober.js';
import { assertProperty } from '../net/property.js';

const ID = '0d87fd1452ad4f53';
const TOKEN = '5d6ffc30ab6a3598';

describe('a line of the prober', () => {
  test.each([
    [`ready ${ID}`, { type: 'ready', id: ID }],
    ['listen ok', { type: 'listen', status: 'ok' }],
    ['listen EADDRINUSE', { type: 'listen', status: 'EADDRINUSE' }],
    ['arrivals 0', { type: 'arrivals', lost: 0 }],
    [
      `arrival udp 10.0.0.1 39879 53 ${TOKEN}`,
      {
        type: 'arrival',
        arrival: { protocol: 'udp', source: '10.0.0.1', sourcePort: 39_879, port: 53, token: TOKEN },
      },
    ],
    [
      'arrival tcp 10.0.0.1 39879 80 -',
      { type: 'arrival', arrival: { protocol: 'tcp', source: '10.0.0.1', sourcePort: 39_879, port: 80, token: null } },
    ],
    [
      `result 7 answered 155 39879 ${TOKEN} 10.0.0.1 4000 ${ID}`,
      {
        type: 'result',
        number: 7,
        outcome: {
          verdict: 'answered',
          rttMs: 0.155,
          sourcePort: 39_879,
          token: TOKEN,
          answer: { by: ID, address: '10.0.0.1', port: 4000 },
        },
      },
    ],
    [
      `result 0 timeout 250000 1 ${TOKEN} - - ETIMEDOUT`,
      { type: 'result', number: 0, outcome: { verdict: 'timeout', rttMs: 250, sourcePort: 1, token: TOKEN } },
    ],
    [
      `result 0 error 0 0 ${TOKEN} - - EMFILE`,
      {
        type: 'result',
        number: 0,
        outcome: { verdict: 'error', rttMs: 0, sourcePort: 0, token: TOKEN, errno: 'EMFILE' },
      },
    ],
  ])('%s', (line, reply) => {
    expect(parseReply(line)).toEqual(reply);
  });

  test.each([
    '',
    'ready',
    `ready ${ID.toUpperCase()}`,
    `ready  ${ID}`,
    'listen',
    'listen no',
    'arrivals -1',
    'arrivals 4294967297',
    `arrival tcp 10.0.0.1 39879 80 ${TOKEN}`,
    'arrival udp 10.0.0.1 39879 53 -',
    `arrival udp 10.0.0.256 39879 53 ${TOKEN}`,
    `arrival udp 10.0.0.1 65536 53 ${TOKEN}`,
    `arrival udp 10.0.0.1 39879 53 ${TOKEN} x`,
    `arrival sctp 10.0.0.1 39879 53 ${TOKEN}`,
    `result 7 perhaps 155 39879 ${TOKEN} - - -`,
    `result 07 open 155 39879 ${TOKEN} - - -`,
    `result 7 open 155 39879 ${TOKEN} 10.0.0.1 4000 ${ID}`,
    `result 7 answered 155 39879 ${TOKEN} 10.0.0.1 4000`,
    `result 7 answered 155 39879 ${TOKEN} 10.0.0.1 4000 ${ID} x`,
    `result 7 answered 155 39879 ${TOKEN} 10.0.0.1 - ${ID}`,
    `result 7 answered 155 39879 ${TOKEN} - 4000 ${ID}`,
    `result 7 answered 1.5 39879 ${TOKEN} - - -`,
    `result 7 error 0 0 ${TOKEN} - - `,
  ])('%j is none', (line) => {
    expect(() => parseReply(line)).toThrow('vpcctl-probe said');
  });

  test('anything else is refused, and nothing else happens', () => {
    assertProperty(
      fc.property(fc.string({ unit: 'binary-ascii' }), (line) => {
        expect(() => parseReply(`arrival ${line}`)).toThrow();
        expect(() => parseReply(`result ${line}`)).toThrow();
      }),
    );
  });
});

describe('lines', () => {
  test('are whole whatever pieces they come in', () => {
    assertProperty(
      fc.property(
        fc.array(fc.string({ unit: fc.constantFrom('a', ' ', '7'), maxLength: 40 })),
        fc.integer({ min: 1, max: 9 }),
        (lines, size) => {
          const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
          const reader = new Lines();
          const found: string[] = [];
          for (let at = 0; at < bytes.length; at += size) found.push(...reader.push(bytes.subarray(at, at + size)));
          expect(found).toEqual(lines);
        },
      ),
    );
  });

  test('end somewhere', () => {
    const reader = new Lines();
    reader.push(Buffer.from('x'.repeat(192)));
    expect(() => reader.push(Buffer.from('x'))).toThrow('without an end');
  });
});

test('a probe is one line', () => {
  const probe = { protocol: 'tcp', address: '10.0.0.1', port: 80, timeoutMs: 250 } as const;
  expect(formatProbe(3, probe)).toBe('probe 3 tcp 10.0.0.1 80 250');
  expect(formatProbe(3, { ...probe, source: '10.0.0.2' })).toBe('probe 3 tcp 10.0.0.1 80 250 10.0.0.2');
});
