/** Messages of the DNS: what is taken, what is refused, and that nothing throws. */
import dnsPacket from 'dns-packet';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  encodeAnswers,
  isAnswerTo,
  queryAs,
  queryFor,
  readQuery,
  refusalOf,
  responseOf,
  truncated,
} from '../../../src/resolver/message.js';

const encoded = (more: object = {}): Buffer =>
  dnsPacket.encode({
    type: 'query',
    id: 7,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type: 'A', name: 'WwW.example.com' }],
    ...more,
  });

/** Says that one more record follows. */
function opened(): Buffer {
  const packet = encoded();
  packet.writeUInt16BE(1, 10);
  return packet;
}

function taken(packet: Buffer) {
  const query = readQuery(packet);
  if (query === undefined || 'refused' in query) throw new Error('not taken');
  return query;
}

describe('a query', () => {
  test('says what it asks', () => {
    expect(taken(encoded())).toMatchObject({
      name: 'www.example.com',
      type: 'A',
      typeNumber: 1,
      recursive: true,
      extended: false,
      room: 512,
    });
  });

  test('says how much it takes, at least 512 and at most 1232', () => {
    const room = (udpPayloadSize: number): number =>
      taken(encoded({ additionals: [{ type: 'OPT', name: '.', udpPayloadSize, flags: 0, options: [] }] })).room;
    expect([room(100), room(900), room(65_000)]).toEqual([512, 900, 1232]);
  });

  test.each<[string, Buffer]>([
    ['no question', encoded({ questions: [] })],
    [
      'two questions',
      encoded({
        questions: [
          { type: 'A', name: 'a' },
          { type: 'A', name: 'b' },
        ],
      }),
    ],
    ['answers', encoded({ answers: [{ type: 'A', name: 'a', data: '10.0.0.1' }] })],
    ['a name that is cut off', encoded().subarray(0, 20)],
    ['a pointer in its question', Buffer.from('000101000001000000000000c00c00010001', 'hex')],
    ['a label that is too long', Buffer.from(`000101000001000000000000${'40'.repeat(80)}`, 'hex')],
    ['a name that is too long', Buffer.from(`000101000001000000000000${'0161'.repeat(130)}0000010001`, 'hex')],
    ['something after it', Buffer.concat([encoded(), Buffer.from([0])])],
    ['a record that it should not have', encoded({ additionals: [{ type: 'A', name: 'a', data: '10.0.0.1' }] })],
    ['an OPT that runs out', Buffer.concat([opened(), Buffer.from('00002904d000000000ffff', 'hex')])],
  ])('with %s is refused', (_what, packet) => {
    expect(readQuery(packet)).toEqual({ refused: 'FORMERR' });
  });

  test.each(['AXFR', 'IXFR', 'TKEY', 'OPT'])('of type %s is refused', (type) => {
    expect(readQuery(encoded({ questions: [{ type, name: 'a' }] }))).toEqual({ refused: 'REFUSED' });
  });

  test('of another class is refused', () => {
    expect(readQuery(encoded({ questions: [{ type: 'TXT', class: 'CH', name: 'version.bind' }] }))).toEqual({
      refused: 'REFUSED',
    });
  });

  test('of a type that we do not know is taken, and a dot within a label is none between two', () => {
    expect(taken(encoded({ questions: [{ type: 'UNKNOWN_65', name: 'a' }] })).type).toBe('TYPE65');
    expect(taken(encoded({ questions: [{ type: 'A', name: '.' }] })).name).toBe('');
    const dotted = Buffer.from('00010100000100000000000004612e625c036e00ff0000010001', 'hex');
    expect(taken(dotted).name).toBe('a\\046b\\092.n\\000\\255');
  });

  test('is passed on with nothing but its question and what it says of recursion and signatures', () => {
    const options = [{ code: 'CLIENT_SUBNET', ip: '10.1.1.1' }];
    const additionals = [{ type: 'OPT', name: '.', udpPayloadSize: 4096, flags: 0x8000, options }];
    const packet = encoded({ flags: 0x0170, additionals });
    const passed = queryAs(taken(packet));
    expect(dnsPacket.decode(passed)).toMatchObject({
      id: 0,
      flags: 0x0130,
      questions: [{ name: 'WwW.example.com', type: 'A' }],
      additionals: [{ type: 'OPT', udpPayloadSize: 1232, flags: 0x8000, options: [] }],
    });
    expect(dnsPacket.decode(queryAs(taken(encoded())))).toMatchObject({ additionals: [] });
    expect(dnsPacket.decode(queryFor('www.example.com', 28))).toMatchObject({
      flag_rd: true,
      questions: [{ name: 'www.example.com', type: 'AAAA', class: 'IN' }],
    });
  });

  test('has no answer but that of its number and its question, letter by letter', () => {
    const query = encoded();
    const answer = (more: object): Buffer =>
      dnsPacket.encode({ type: 'response', id: 7, questions: [{ type: 'A', name: 'WwW.example.com' }], ...more });
    expect(isAnswerTo(query, answer({}))).toBe(true);
    expect(isAnswerTo(query, answer({ id: 8 }))).toBe(false);
    expect(isAnswerTo(query, answer({ questions: [{ type: 'A', name: 'www.example.com' }] }))).toBe(false);
    expect(isAnswerTo(query, answer({ questions: [{ type: 'AAAA', name: 'WwW.example.com' }] }))).toBe(false);
    expect(isAnswerTo(query, answer({ questions: [] }))).toBe(false);
    expect(isAnswerTo(query, query)).toBe(false);
    expect(isAnswerTo(query, Buffer.alloc(3))).toBe(false);
  });

  test('an answer, and what is too short, is none', () => {
    expect(readQuery(dnsPacket.encode({ type: 'response', id: 1, questions: [] }))).toBeUndefined();
    expect(readQuery(Buffer.alloc(11))).toBeUndefined();
  });

  test('of any bytes throws nothing, nor does the refusal of it', () => {
    const header = fc.constantFrom('000101000001000000000000', '00010100000100000000000200');
    void fc.assert(
      fc.property(header, fc.uint8Array({ maxLength: 300 }), (start, rest) => {
        const packet = Buffer.concat([Buffer.from(start, 'hex'), rest]);
        const query = readQuery(packet);
        if (query === undefined) return;
        const answer = 'refused' in query ? refusalOf(packet, query.refused) : responseOf(query, content([]));
        expect(answer.readUInt16BE(0)).toBe(1);
        expect(answer.readUInt16BE(2) & 0x8000).toBe(0x8000);
      }),
      { numRuns: 2_000 },
    );
  });
});

const content = (answers: Parameters<typeof encodeAnswers>[0]) =>
  ({ rcode: 'NOERROR', answers: encodeAnswers(answers), authoritative: true }) as const;

describe('an answer', () => {
  test('has the question as it was written', () => {
    const query = taken(encoded());
    const answer = responseOf(query, content([{ name: 'www.example.com', type: 'A', ttl: 60, value: '10.0.0.1' }]));
    expect(answer.subarray(12, query.end)).toEqual(query.packet.subarray(12, query.end));
    expect(dnsPacket.decode(answer)).toMatchObject({
      id: 7,
      flag_aa: true,
      flag_rd: true,
      flag_ra: true,
      answers: [{ name: 'www.example.com', type: 'A', ttl: 60, data: '10.0.0.1' }],
    });
  });

  test('that is cut short says so, and has nothing else', () => {
    const query = taken(encoded());
    const full = responseOf(query, content([{ name: 'x', type: 'TXT', ttl: 1, value: 'y'.repeat(2_000) }]));
    const cut = dnsPacket.decode(truncated(full, query));
    expect(cut).toMatchObject({ flag_tc: true, answers: [], id: 7 });
  });

  test('of every type is read back', () => {
    const values = [
      ['AAAA', '2001:db8::1'],
      ['CNAME', 'a.example'],
      ['PTR', 'a.example'],
      ['MX', '10 mail.example'],
      ['SRV', '1 2 3 a.example'],
      ['TXT', 'z'.repeat(600)],
    ] as const;
    const answers = values.map(([type, value]) => ({ name: 'n', type, ttl: 1, value }));
    const decoded = dnsPacket.decode(responseOf(taken(encoded()), content(answers))).answers ?? [];
    expect(decoded.map((one) => ('data' in one ? one.data : undefined))).toEqual([
      '2001:db8::1',
      'a.example',
      'a.example',
      { preference: 10, exchange: 'mail.example' },
      { priority: 1, weight: 2, port: 3, target: 'a.example' },
      [255, 255, 90].map((length) => Buffer.from('z'.repeat(length))),
    ]);
  });
});
