/**
 * Queries that are passed on: from the namespace of the host, to whom the VPC names. Each by a socket of its own, so that who answers must know its port besides the
 * query's number (RFC 5452), and so many at once only, of one client, of one VPC and of all: what a workload asks of servers that are silent is not to be in the way of others.
 */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { statSync } from 'node:fs';
import { connect, isIP } from 'node:net';
import type { Answer as PacketAnswer } from 'dns-packet';
import { nameserversIn, RESOLV_CONF } from '../engine/resolver.js';
import type { Vpc } from '../model/resources.js';
import type { Transport } from './answerer.js';
import { answersIn, framed, isAnswerTo, isTruncated, queryFor } from './message.js';

const PORT = 53;
/** How long a server has; then the next is asked. */
const PATIENCE_MS = 2_000;
const MOST_ASKED = 3;
const MOST_OF_A_CLIENT = 32;
const MOST_OF_A_VPC = 128;
const MOST_OF_ALL = 2_048;

let host: { readonly stamp: string; readonly servers: readonly string[] } | undefined;

/** The servers that the host asks itself. */
function serversOfHost(): readonly string[] {
  const found = statSync(RESOLV_CONF, { throwIfNoEntry: false });
  const stamp = `${found?.ino}:${found?.mtimeMs}:${found?.size}`;
  if (host?.stamp === stamp) return host.servers;
  host = { stamp, servers: nameserversIn(RESOLV_CONF) };
  return host.servers;
}

export function upstreamsOf({ dns }: Vpc): readonly string[] {
  if (dns === undefined || dns.forward === 'none') return [];
  return dns.forward === 'host' ? serversOfHost() : dns.forward;
}

/** For whom others are asked. An address is of one workload of the VPC: none can have another's. */
export interface Client {
  readonly vpc: string;
  readonly address: string;
}

export class Forwarder {
  /** How many are under way, of a VPC and of a client. */
  readonly #pending = new Map<string, number>();
  #all = 0;

  /** What the first server that answers says, its number to be written over; undefined: none does, or too much is under way. */
  async forward(
    { vpc, address }: Client,
    query: Buffer,
    servers: readonly string[],
    transport: Transport,
  ): Promise<Buffer | undefined> {
    const client = `${vpc}/${address}`;
    if (this.#all >= MOST_OF_ALL || this.#isBusy(vpc, MOST_OF_A_VPC) || this.#isBusy(client, MOST_OF_A_CLIENT)) {
      return undefined;
    }
    for (const key of [vpc, client]) this.#pending.set(key, (this.#pending.get(key) ?? 0) + 1);
    this.#all += 1;
    try {
      for (const server of servers.slice(0, MOST_ASKED)) {
        const asked = Buffer.from(query);
        asked.writeUInt16BE(randomInt(65_536));
        const answer = await (transport === 'udp' ? askByUdp(server, asked) : askByTcp(server, asked));
        if (answer !== undefined) return answer;
      }
      return undefined;
    } finally {
      this.#all -= 1;
      for (const key of [vpc, client]) {
        const left = (this.#pending.get(key) ?? 1) - 1;
        if (left > 0) this.#pending.set(key, left);
        else this.#pending.delete(key);
      }
    }
  }

  #isBusy(key: string, most: number): boolean {
    return (this.#pending.get(key) ?? 0) >= most;
  }

  /** The answers to a question of our own. */
  async ask(
    client: Client,
    name: string,
    typeNumber: number,
    servers: readonly string[],
  ): Promise<PacketAnswer[] | undefined> {
    const query = queryFor(name, typeNumber);
    const udp = await this.forward(client, query, servers, 'udp');
    const whole = udp !== undefined && isTruncated(udp) ? await this.forward(client, query, servers, 'tcp') : udp;
    return whole === undefined ? undefined : answersIn(whole);
  }
}

async function askByUdp(server: string, query: Buffer): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = createSocket(isIP(server) === 6 ? 'udp6' : 'udp4');
    const end = (answer: Buffer | undefined): void => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on('error', () => {});
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => end(undefined), PATIENCE_MS);
    socket.once('error', () => end(undefined));
    // Connected: nobody else is heard, and a refusal of the port is.
    socket.connect(PORT, server, (error?: Error) => {
      if (error !== undefined && error !== null) return end(undefined);
      socket.on('message', (answer) => {
        if (isAnswerTo(query, answer)) end(answer);
      });
      socket.send(query);
    });
  });
}

async function askByTcp(server: string, query: Buffer): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ port: PORT, host: server });
    let received = Buffer.alloc(0);
    const end = (answer: Buffer | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => end(undefined), PATIENCE_MS);
    socket.on('error', () => end(undefined));
    socket.on('close', () => end(undefined));
    socket.on('connect', () => socket.write(framed(query)));
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return;
      const answer = Buffer.from(received.subarray(2, 2 + received.readUInt16BE(0)));
      end(isAnswerTo(query, answer) ? answer : undefined);
    });
  });
}
