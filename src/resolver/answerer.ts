/** One query in, one answer out: what the model knows, what others know, or a refusal. Queries are hostile: nothing in one may throw, last or cost more than a bounded time. */
import type { Answer as PacketAnswer } from 'dns-packet';
import { getKind, type Reader } from '../model/reader.js';
import { type Resolution, resolveName } from '../model/resolve.js';
import { ids, type Vpc } from '../model/resources.js';
import { type Client, Forwarder, upstreamsOf } from './forwarder.js';
import { encodeAnswers, type Question, queryAs, readQuery, refusalOf, responseOf, truncated } from './message.js';
import { note } from './note.js';

export type Transport = 'udp' | 'tcp';

/** As much as a message's length before it can say. */
const MOST_BYTES = 65_535;

/** The recorded model as it is after {@link refresh}. */
export interface FreshReader extends Reader {
  refresh(): void;
}

export class Answerer {
  readonly #reader: FreshReader;
  readonly #forwarder: Forwarder;

  constructor(reader: FreshReader, forwarder = new Forwarder()) {
    this.#reader = reader;
    this.#forwarder = forwarder;
  }

  /** Undefined: what came deserves no answer. */
  async answer(client: Client, packet: Buffer, transport: Transport): Promise<Buffer | undefined> {
    const query = readQuery(packet);
    if (query === undefined) return undefined;
    if ('refused' in query) return refusalOf(packet, query.refused);
    try {
      this.#reader.refresh();
      const vpc = getKind(this.#reader, 'vpc', ids.vpc(client.vpc));
      if (vpc?.dns === undefined) return undefined;
      const found = resolveName(this.#reader, vpc, query.name, query.type);
      const response = await this.#respond(client, vpc, query, found, transport);
      if (transport === 'udp' && response.length > query.room) return truncated(response, query);
      return response.length > MOST_BYTES ? refusalOf(packet, 'SERVFAIL') : response;
    } catch (error) {
      note(`${client.vpc}: ${String(error)}`);
      return refusalOf(packet, 'SERVFAIL');
    }
  }

  async #respond(client: Client, vpc: Vpc, query: Question, found: Resolution, transport: Transport): Promise<Buffer> {
    if (found.outcome !== 'elsewhere') {
      return responseOf(query, {
        rcode: found.outcome === 'missing' ? 'NXDOMAIN' : 'NOERROR',
        answers: encodeAnswers(found.answers),
        ...(found.outcome === 'missing' || found.answers.length === 0 ? { negative: found.zone } : {}),
        authoritative: true,
      });
    }
    const upstreams = query.recursive ? upstreamsOf(vpc) : [];
    const led = encodeAnswers(found.answers);
    // The part of the answer that is known is told anyway (RFC 1034, 4.3.2).
    if (upstreams.length === 0) return led.length === 0 ? refusalOf(query.packet, 'REFUSED') : plain(query, led);
    if (led.length === 0) {
      const answer = await this.#forwarder.forward(client, queryAs(query), upstreams, transport);
      if (answer === undefined) return refusalOf(query.packet, 'SERVFAIL');
      query.packet.copy(answer, 0, 0, 2);
      return answer;
    }
    const further = await this.#forwarder.ask(client, found.name, query.typeNumber, upstreams);
    return further === undefined ? refusalOf(query.packet, 'SERVFAIL') : plain(query, [...led, ...further]);
  }
}

function plain(query: Question, answers: readonly PacketAnswer[]): Buffer {
  return responseOf(query, { rcode: 'NOERROR', answers, authoritative: false });
}
