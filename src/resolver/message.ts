/** Messages of the DNS: what a query asks, and answers to it. What workloads send is read here alone, byte by byte; nothing of it is decoded by a library. */
import dnsPacket, { type Answer as PacketAnswer } from 'dns-packet';
import type { Answer } from '../model/resolve.js';

const HEADER = 12;
/** Without EDNS (RFC 1035, 2.3.4). */
const LEAST_ROOM = 512;
/** More is not sent in one datagram: none is to be fragmented (DNS flag day 2020). */
const MOST_ROOM = 1232;
const RCODES = { NOERROR: 0, FORMERR: 1, SERVFAIL: 2, NXDOMAIN: 3, NOTIMP: 4, REFUSED: 5 } as const;
export type Rcode = keyof typeof RCODES;
const FLAG = {
  response: 0x8000,
  authoritative: 0x0400,
  truncated: 0x0200,
  recursive: 0x0100,
  available: 0x0080,
  authentic: 0x0020,
  unchecked: 0x0010,
} as const;
const OPT_TYPE = 41;
/** Of an OPT without options. */
const OPT_LENGTH = 11;
/** Of an OPT's flags: the client wants signatures. */
const DO = 0x8000;
const INTERNET_CLASS = 1;
const TYPE_NAMES: Readonly<Record<number, string>> = {
  1: 'A',
  5: 'CNAME',
  12: 'PTR',
  15: 'MX',
  16: 'TXT',
  28: 'AAAA',
  33: 'SRV',
  255: 'ANY',
};
/** How long may be remembered that there is no such name: a change of the model is to be seen soon. */
const NEGATIVE_TTL = 5;

/** As it stands on a connection: with its length before it (RFC 1035, 4.2.2). */
export function framed(message: Buffer): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length);
  return Buffer.concat([length, message]);
}

export interface Question {
  readonly packet: Buffer;
  /** In lower case, without the dot at its end; of the root ''. What no name of ours has in it is written as `\ddd`. */
  readonly name: string;
  /** One that we know, or `TYPE64`. */
  readonly type: string;
  readonly typeNumber: number;
  /** Its end in the packet. */
  readonly end: number;
  readonly recursive: boolean;
  readonly extended: boolean;
  /** Flags of its OPT. */
  readonly extendedFlags: number;
  /** Bytes of an answer that the client takes in one datagram. */
  readonly room: number;
}

/** Undefined: no query at all, which nobody is to answer (an answer to an answer goes round for ever). */
export function readQuery(packet: Buffer): Question | { readonly refused: Rcode } | undefined {
  if (packet.length < HEADER) return undefined;
  const flags = packet.readUInt16BE(2);
  if ((flags & FLAG.response) !== 0) return undefined;
  if (((flags >> 11) & 0xf) !== 0) return { refused: 'NOTIMP' };
  const [questions, answers, authorities, additionals] = [4, 6, 8, 10].map((at) => packet.readUInt16BE(at));
  if (questions !== 1 || answers !== 0 || authorities !== 0 || (additionals ?? 0) > 1) return { refused: 'FORMERR' };
  const end = questionEnd(packet);
  if (end === undefined) return { refused: 'FORMERR' };
  const edns = additionals === 0 ? undefined : readEdns(packet, end);
  if (packet.length !== (edns?.end ?? end) || (additionals === 1 && edns === undefined)) return { refused: 'FORMERR' };
  const typeNumber = packet.readUInt16BE(end - 4);
  // RFC 6895, 3.1: what is no record (OPT, transfers of zones, keys), but ANY.
  const isMeta = typeNumber === OPT_TYPE || (typeNumber >= 128 && typeNumber < 255);
  if (isMeta || packet.readUInt16BE(end - 2) !== INTERNET_CLASS) return { refused: 'REFUSED' };
  return {
    packet,
    name: nameIn(packet),
    type: TYPE_NAMES[typeNumber] ?? `TYPE${typeNumber}`,
    typeNumber,
    end,
    recursive: (flags & FLAG.recursive) !== 0,
    extended: edns !== undefined,
    extendedFlags: edns?.flags ?? 0,
    room: Math.min(Math.max(edns?.room ?? LEAST_ROOM, LEAST_ROOM), MOST_ROOM),
  };
}

/** RFC 6891, 6.1.2. Undefined: it is no OPT. */
function readEdns(packet: Buffer, at: number): { end: number; room: number; flags: number } | undefined {
  if (packet.length < at + OPT_LENGTH || packet[at] !== 0 || packet.readUInt16BE(at + 1) !== OPT_TYPE) return undefined;
  return {
    end: at + OPT_LENGTH + packet.readUInt16BE(at + 9),
    room: packet.readUInt16BE(at + 3),
    flags: packet.readUInt16BE(at + 7),
  };
}

/** Of a packet that {@link questionEnd} found the end in. */
function nameIn(packet: Buffer): string {
  const labels: string[] = [];
  let at = HEADER;
  for (let length = packet[at] ?? 0; length !== 0; length = packet[at] ?? 0) {
    const label = packet.toString('latin1', at + 1, at + 1 + length);
    // A dot within a label is none between two.
    labels.push(label.replace(/[^!-~]|[.\\]/g, (one) => `\\${one.charCodeAt(0).toString().padStart(3, '0')}`));
    at += length + 1;
  }
  return labels.join('.').toLowerCase();
}

/**
 * The query that is passed on for a client's: nothing of that but the question, letter by letter, and what it says of recursion and signatures. Its number is to be
 * written.
 */
export function queryAs({ packet, end, extended, extendedFlags }: Question): Buffer {
  const query = Buffer.alloc(end + (extended ? OPT_LENGTH : 0));
  query.writeUInt16BE(packet.readUInt16BE(2) & (FLAG.recursive | FLAG.authentic | FLAG.unchecked), 2);
  query.writeUInt16BE(1, 4);
  packet.copy(query, HEADER, HEADER, end);
  if (extended) {
    query.writeUInt16BE(1, 10);
    query.writeUInt16BE(OPT_TYPE, end + 1);
    query.writeUInt16BE(MOST_ROOM, end + 3);
    query.writeUInt16BE(extendedFlags & DO, end + 7);
  }
  return query;
}

/** A query of our own, likewise. `name`: one of ours. */
export function queryFor(name: string, typeNumber: number): Buffer {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]));
  const head = Buffer.alloc(HEADER);
  head.writeUInt16BE(FLAG.recursive, 2);
  head.writeUInt16BE(1, 4);
  return Buffer.concat([head, ...labels, Buffer.from([0, typeNumber >> 8, typeNumber & 0xff, 0, INTERNET_CLASS])]);
}

/** Whether it is an answer to this very query: its number and its question, letter by letter. */
export function isAnswerTo(query: Buffer, answer: Buffer): boolean {
  const end = questionEnd(query);
  return (
    end !== undefined &&
    answer.length >= end &&
    answer.readUInt16BE(0) === query.readUInt16BE(0) &&
    (answer.readUInt16BE(2) & 0xf800) === FLAG.response &&
    answer.readUInt16BE(4) === 1 &&
    answer.subarray(HEADER, end).equals(query.subarray(HEADER, end))
  );
}

export function isTruncated(answer: Buffer): boolean {
  return (answer.readUInt16BE(2) & FLAG.truncated) !== 0;
}

/** More answers than this are none that a name leads to. */
const MOST_ANSWERS = 128;

/** What an answer of others says; undefined where it cannot be read. */
export function answersIn(answer: Buffer): PacketAnswer[] | undefined {
  // The decoder makes a list of that length before it reads anything.
  if ([6, 8, 10].some((at) => answer.readUInt16BE(at) > MOST_ANSWERS)) return undefined;
  try {
    return dnsPacket.decode(answer).answers ?? [];
  } catch {
    return undefined;
  }
}

/** Where the question ends, which is written out: there is nothing before it to point to. */
export function questionEnd(packet: Buffer): number | undefined {
  let at = HEADER;
  for (let length = packet[at]; length !== 0; length = packet[at]) {
    if (length === undefined || length > 63) return undefined;
    at += length + 1;
    if (at - HEADER > 254) return undefined;
  }
  return at + 5 <= packet.length ? at + 5 : undefined;
}

/** An answer with nothing but that. */
export function refusalOf(packet: Buffer, rcode: Rcode): Buffer {
  const end = packet.readUInt16BE(4) === 1 ? questionEnd(packet) : undefined;
  const answer = Buffer.alloc(end ?? HEADER);
  packet.copy(answer, 0, 0, answer.length);
  const asked = packet.readUInt16BE(2) & (0x7800 | FLAG.recursive);
  answer.writeUInt16BE(FLAG.response | FLAG.available | asked | RCODES[rcode], 2);
  answer.writeUInt16BE(end === undefined ? 0 : 1, 4);
  answer.fill(0, 6, HEADER);
  return answer;
}

export function encodeAnswers(answers: readonly Answer[]): PacketAnswer[] {
  return answers.map(({ name, type, ttl, value }): PacketAnswer => {
    const common = { name, ttl, class: 'IN' } as const;
    const words = value.split(' ');
    switch (type) {
      case 'MX':
        return { ...common, type, data: { preference: Number(words[0]), exchange: words[1] ?? '' } };
      case 'SRV': {
        const [priority, weight, port] = words.slice(0, 3).map(Number);
        const target = words[3] ?? '';
        return { ...common, type, data: { priority: priority ?? 0, weight: weight ?? 0, port: port ?? 0, target } };
      }
      case 'TXT':
        return { ...common, type, data: inPieces(value) };
      default:
        return { ...common, type, data: value };
    }
  });
}

/** RFC 1035, 3.3.14: a text is of pieces of 255 bytes at most. */
function inPieces(text: string): Buffer[] {
  const bytes = Buffer.from(text);
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length || at === 0; at += 255) pieces.push(bytes.subarray(at, at + 255));
  return pieces;
}

interface Content {
  readonly rcode: Rcode;
  readonly answers: readonly PacketAnswer[];
  /** The zone that says that there is nothing (RFC 2308). */
  readonly negative?: string;
  readonly authoritative: boolean;
}

/** The question stays as it was written, letter by letter: clients compare it. */
export function responseOf(query: Question, { rcode, answers, negative, authoritative }: Content): Buffer {
  const authorities: PacketAnswer[] =
    negative === undefined
      ? []
      : [
          {
            type: 'SOA',
            name: negative,
            ttl: NEGATIVE_TTL,
            data: {
              mname: negative,
              rname: `hostmaster.${negative}`,
              serial: 1,
              refresh: 7200,
              retry: 900,
              expire: 1_209_600,
              minimum: NEGATIVE_TTL,
            },
          },
        ];
  const additionals = query.extended ? [OPT] : [];
  const body = dnsPacket.encode({ type: 'response', answers: [...answers], authorities, additionals });
  const head = refusalOf(query.packet, rcode);
  const flags = head.readUInt16BE(2) | (authoritative ? FLAG.authoritative : 0);
  head.writeUInt16BE(flags, 2);
  body.copy(head, 6, 6, HEADER);
  return Buffer.concat([head, body.subarray(HEADER)]);
}

const OPT: PacketAnswer = {
  type: 'OPT',
  name: '.',
  udpPayloadSize: MOST_ROOM,
  flags: 0,
  options: [],
  extendedRcode: 0,
  ednsVersion: 0,
  flag_do: false,
} as unknown as PacketAnswer;

/** The client is to ask again by TCP. */
export function truncated(response: Buffer, query: Question): Buffer {
  const answer = refusalOf(query.packet, 'NOERROR');
  const kept = response.readUInt16BE(2) & (FLAG.authoritative | 0xf);
  answer.writeUInt16BE(answer.readUInt16BE(2) | kept | FLAG.truncated, 2);
  return answer;
}
