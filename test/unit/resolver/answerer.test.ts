/** The way of a packet through the resolver: whatever comes, from workloads or from other servers, is answered or dropped, and nothing throws. */
import dnsPacket from 'dns-packet';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { putZone, setDns } from '../../../src/model/dns.js';
import { addInstance, addSubnet, createVpc } from '../../../src/model/verbs.js';
import { Answerer, type FreshReader } from '../../../src/resolver/answerer.js';
import { Forwarder } from '../../../src/resolver/forwarder.js';
import { world } from '../model/support.js';

const { reader } = world((tx) => {
  createVpc(tx, { name: 'a', cidr: '10.0.0.0/16', ipv6Cidr: true });
  addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', ipv6Cidr: true });
  addInstance(tx, { vpc: 'a', subnet: 's', name: 'x', ip: '10.0.1.7' });
  setDns(tx, 'a', { forward: ['192.0.2.53'] });
  putZone(tx, 'z', {
    domain: 'z.internal',
    vpcs: ['a'],
    records: [
      { name: '*', values: ['10.1.1.1'] },
      { name: 'out', type: 'CNAME', values: ['www.example.com'] },
      { name: 'round', type: 'CNAME', values: ['round.z.internal'] },
      { name: 'large', type: 'TXT', values: Array.from({ length: 40 }, (_, at) => `${at}${'x'.repeat(3_900)}`) },
      { name: 'mail', type: 'MX', values: ['10 x.z.internal'] },
    ],
  });
});

const fresh: FreshReader = {
  refresh: () => {},
  get: (id) => reader.get(id),
  find: (term) => reader.find(term),
  count: (term, limit) => reader.count(term, limit),
};

/** Who is asked says this. */
class Saying extends Forwarder {
  constructor(readonly answer: Buffer | undefined) {
    super();
  }

  override async forward(): Promise<Buffer | undefined> {
    return this.answer;
  }
}

const client = { vpc: 'a', address: '10.0.1.7' };
const answers = async (packet: Buffer, transport: 'udp' | 'tcp', said?: Buffer): Promise<Buffer | undefined> =>
  new Answerer(fresh, new Saying(said)).answer(client, packet, transport);

const NAMES = [
  'x.a.internal',
  'X.A.Internal',
  'a.z.internal',
  'out.z.internal',
  'round.z.internal',
  'large.z.internal',
];
const MORE = ['mail.z.internal', 'www.example.com', '7.1.0.10.in-addr.arpa', '.', `${'l'.repeat(63)}.z.internal`];
const query = (name: string, type: string, id: number, room: number): Buffer =>
  dnsPacket.encode({
    type: 'query',
    id,
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ name, type: type as 'A' }],
    ...(room === 0 ? {} : { additionals: [{ type: 'OPT', name: '.', udpPayloadSize: room } as dnsPacket.OptAnswer] }),
  });

const queries = fc
  .tuple(
    fc.constantFrom(...NAMES, ...MORE),
    fc.constantFrom('A', 'AAAA', 'ANY', 'CNAME', 'MX', 'PTR', 'TXT', 'SRV', 'UNKNOWN_65', 'AXFR'),
    fc.nat(65_535),
    fc.constantFrom(0, 512, 900, 65_535),
  )
  .map(([name, type, id, room]) => query(name, type, id, room));

/** A query, then bytes of it changed, taken away and added. */
const broken = fc
  .tuple(
    queries,
    fc.array(fc.tuple(fc.nat(300), fc.nat(255)), { maxLength: 6 }),
    fc.nat(300),
    fc.uint8Array({ maxLength: 40 }),
  )
  .map(([packet, changes, kept, more]) => {
    const made = Buffer.from(packet);
    for (const [at, byte] of changes) if (at < made.length) made[at] = byte;
    return Buffer.concat([made.subarray(0, kept === 0 ? made.length : kept), more]);
  });

const transports = fc.constantFrom('udp' as const, 'tcp' as const);

let logged: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  logged = vi.spyOn(console, 'error').mockImplementation(() => {});
});
afterEach(() => {
  logged.mockRestore();
});

test('any packet is answered by one that is no larger than it may be, or not at all; nothing throws', async () => {
  const packets = fc.oneof(
    queries,
    broken,
    fc.uint8Array({ maxLength: 600 }).map((bytes) => Buffer.from(bytes)),
  );
  await fc.assert(
    fc.asyncProperty(packets, transports, async (packet, transport) => {
      const answer = await answers(packet, transport);
      if (answer === undefined) return;
      expect(answer.readUInt16BE(0)).toBe(packet.readUInt16BE(0));
      expect(answer.readUInt16BE(2) & 0x8000).toBe(0x8000);
      expect(answer.length).toBeLessThanOrEqual(transport === 'udp' ? 1_232 : 65_535);
      // What is refused is no larger than what was asked.
      if ((answer.readUInt16BE(2) & 0xf) === 1) expect(answer.length).toBeLessThanOrEqual(Math.max(packet.length, 12));
      expect(() => dnsPacket.decode(answer)).not.toThrow();
    }),
    { numRuns: 5_000 },
  );
  expect(logged).not.toHaveBeenCalled();
});

test('an answer to an answer there is none', async () => {
  const packet = query('x.a.internal', 'A', 1, 0);
  packet.writeUInt16BE(0x8180, 2);
  expect(await answers(packet, 'udp')).toBeUndefined();
});

test('whatever another server says does no harm', async () => {
  const said = fc.oneof(
    fc.uint8Array({ minLength: 17, maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
    fc
      .tuple(
        fc.array(
          fc.record({
            type: fc.constantFrom('A', 'CNAME', 'TXT', 'HTTPS', 'UNKNOWN_999'),
            name: fc.constantFrom('www.example.com', '.', 'x'.repeat(60)),
            at: fc.nat(255),
          }),
          { maxLength: 20 },
        ),
        fc.array(fc.tuple(fc.nat(400), fc.nat(255)), { maxLength: 8 }),
      )
      .map(([records, changes]) => {
        const list = records.map(({ type, name, at }) => ({
          type,
          name,
          ttl: at,
          data:
            type === 'A'
              ? `10.0.0.${at}`
              : type === 'CNAME'
                ? name
                : type === 'HTTPS'
                  ? { values: {} }
                  : Buffer.from([at]),
        }));
        let made: Buffer;
        try {
          made = dnsPacket.encode({ type: 'response', questions: [], answers: list as dnsPacket.Answer[] });
        } catch {
          made = Buffer.alloc(20);
        }
        for (const [at, byte] of changes) if (at < made.length) made[at] = byte;
        return made.length < 17 ? Buffer.alloc(17) : made;
      }),
  );
  const asked = fc.constantFrom('out.z.internal', 'www.example.com');
  await fc.assert(
    fc.asyncProperty(said, asked, transports, async (bytes, name, transport) => {
      const answer = await answers(query(name, 'A', 77, 0), transport, Buffer.from(bytes));
      expect(answer?.readUInt16BE(0)).toBe(77);
      expect(answer?.length).toBeLessThanOrEqual(transport === 'udp' ? 512 : 65_535);
    }),
    { numRuns: 3_000 },
  );
});

test('what does not fit is cut short by UDP, and is no answer by TCP', async () => {
  const packet = query('large.z.internal', 'TXT', 5, 0);
  expect(dnsPacket.decode((await answers(packet, 'udp')) ?? Buffer.alloc(12))).toMatchObject({ flag_tc: true });
  // More than a message can be.
  expect(dnsPacket.decode((await answers(packet, 'tcp')) ?? Buffer.alloc(12))).toMatchObject({ rcode: 'SERVFAIL' });
});

test('errors fill no log', async () => {
  const failing = new Answerer({ ...fresh, get: () => expect.fail('a record of the state is damaged') });
  for (let count = 0; count < 500; count += 1) {
    const answer = await failing.answer(client, query('x.a.internal', 'A', count, 0), 'udp');
    expect((answer?.readUInt16BE(2) ?? 0) & 0xf).toBe(2);
  }
  expect(logged.mock.calls.length).toBeLessThan(40);
});
