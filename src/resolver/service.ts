/** The sockets of all resolvers: opened in the routers' namespaces, closed before these go, and what comes by them. */
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import { setImmediate } from 'node:timers/promises';
import { fileOf } from '../engine/door.js';
import type { Store } from '../engine/store.js';
import type { Native, SocketOpenOp } from '../kernel/native.js';
import { netnsPath } from '../kernel/program.js';
import { routerNs } from '../lower/names.js';
import { findKind } from '../model/reader.js';
import { RESOLVER_ADDRESS, resolverOf, type Vpc } from '../model/resources.js';
import { Answerer } from './answerer.js';
import { CachedReader } from './cached-reader.js';
import type { Client } from './forwarder.js';
import { framed } from './message.js';
import { note } from './note.js';

const PORT = 53;
/** Of one VPC, and of one address in it. */
const MOST_CONNECTIONS = 64;
const MOST_OF_A_CLIENT = 16;
/** A query that is larger asks for nothing that we know. */
const LONGEST_QUERY = 4_096;
/** How long a client may be silent on a connection (RFC 7766 leaves it to the server). */
const IDLE_MS = 10_000;
/** Who does not read what he asked for is asked for nothing more. */
const MOST_UNREAD = 128 * 1024;
/** Queries of one connection that are being answered. */
const MOST_PIPELINED = 16;
/**
 * Queries of a VPC, a second and at once. The kernel counts its packets (src/lower/firewall.ts), of which one may hold hundreds of queries by TCP; more than those is asked
 * by nobody who is well.
 */
const QUERY_RATE = 1_024;

interface Post {
  /** Of the namespace that the sockets are in. */
  readonly identity: string;
  readonly udp: readonly UdpSocket[];
  readonly tcp: readonly Server[];
  readonly connections: Set<Socket>;
  readonly allowance: Allowance;
}

/** So many a second, and so many at once. */
class Allowance {
  #left = QUERY_RATE;
  #at = performance.now();

  take(): boolean {
    const now = performance.now();
    this.#left = Math.min(QUERY_RATE, this.#left + ((now - this.#at) / 1000) * QUERY_RATE);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}

export class Service {
  readonly #store: Store;
  readonly #native: Native;
  readonly #answerer: Answerer;
  readonly #posts = new Map<string, Post>();
  /** Why there is none where one is to be. */
  readonly #failures = new Map<string, string>();

  constructor(store: Store, native: Native) {
    this.#store = store;
    this.#native = native;
    this.#answerer = new Answerer(new CachedReader(store));
  }

  /** Opens and closes what these VPCs, or all, are to have; says how it is with all. */
  async settle(vpcs: readonly string[] | null): Promise<Record<string, string | null>> {
    const wanted = new Map(findKind(this.#store, 'vpc', 'dns').map((vpc) => [vpc.name, vpc]));
    for (const name of this.#posts.keys()) if (!wanted.has(name)) await this.#leave(name);
    for (const name of this.#failures.keys()) if (!wanted.has(name)) this.#failures.delete(name);
    for (const [name, vpc] of wanted) {
      const asked = vpcs === null || vpcs.includes(name) || !this.#posts.has(name);
      if (asked) await this.#settleOne(vpc);
    }
    return Object.fromEntries([...wanted.keys()].map((name) => [name, this.#failures.get(name) ?? null]));
  }

  async #settleOne(vpc: Vpc): Promise<void> {
    const identity = fileOf(netnsPath(routerNs(vpc.name)));
    const known = this.#posts.get(vpc.name);
    if (known !== undefined && known.identity === identity) return;
    if (known !== undefined) await this.#leave(vpc.name);
    this.#failures.delete(vpc.name);
    const why = identity === undefined ? 'its namespace is gone' : await this.#open(vpc, identity);
    if (why !== undefined) this.#failures.set(vpc.name, why);
  }

  /** Says why it cannot. */
  async #open(vpc: Vpc, identity: string): Promise<string | undefined> {
    const netns = netnsPath(routerNs(vpc.name));
    const ops = [resolverOf(vpc), RESOLVER_ADDRESS].flatMap((address) =>
      [false, true].map((tcp): SocketOpenOp => ({ op: 'socket-open', netns, tcp, address, port: PORT, link: '' })),
    );
    const results = await this.#native.run(ops);
    const post = {
      identity,
      udp: [] as UdpSocket[],
      tcp: [] as Server[],
      connections: new Set<Socket>(),
      allowance: new Allowance(),
    };
    this.#posts.set(vpc.name, post);
    for (const [at, op] of ops.entries()) {
      const result = results[at];
      const fd = Number(result?.value);
      if (result === undefined || result.errno !== 0) {
        const why = `${result?.where ?? 'socket'}: ${this.#native.errnoName(result?.errno ?? 0)}`;
        await this.#leave(vpc.name);
        return why;
      }
      if (op.tcp === true) post.tcp.push(await this.#listen(vpc.name, fd, post));
      else post.udp.push(await this.#hear(vpc.name, fd, post));
    }
    return undefined;
  }

  async #leave(name: string): Promise<void> {
    const post = this.#posts.get(name);
    this.#posts.delete(name);
    if (post === undefined) return;
    for (const connection of post.connections) connection.destroy();
    await Promise.all([
      ...post.udp.map((socket) => new Promise<void>((resolve) => socket.close(() => resolve()))),
      ...post.tcp.map((server) => new Promise<void>((resolve) => void server.close(() => resolve()))),
    ]);
  }

  async close(): Promise<void> {
    for (const name of this.#posts.keys()) await this.#leave(name);
  }

  // --- what comes ----------------------------------------------------------------------------------------------------

  async #hear(vpc: string, fd: number, { allowance }: Post): Promise<UdpSocket> {
    const socket = createSocket('udp4');
    const send = (answer: Buffer, { port, address }: RemoteInfo): void => {
      // Whoever asked may be gone, and the socket closed meanwhile.
      if (this.#posts.get(vpc)?.udp.includes(socket) === true) socket.send(answer, port, address, () => {});
    };
    socket.on('error', () => {});
    socket.on('message', (query, from) => {
      // An answer to port 0 cannot be sent.
      if (from.port === 0 || query.length > LONGEST_QUERY || !allowance.take()) return;
      void this.#answerer.answer({ vpc, address: from.address }, query, 'udp').then((answer) => {
        if (answer !== undefined) send(answer, from);
      });
    });
    await new Promise<void>((resolve) => socket.bind({ fd, exclusive: true }, resolve));
    return socket;
  }

  async #listen(vpc: string, fd: number, post: Post): Promise<Server> {
    const { connections } = post;
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on('error', () => {});
      const address = socket.remoteAddress;
      const same = [...connections].filter(({ remoteAddress }) => remoteAddress === address).length;
      if (address === undefined || connections.size >= MOST_CONNECTIONS || same >= MOST_OF_A_CLIENT) {
        socket.destroy();
        return;
      }
      connections.add(socket);
      socket.on('close', () => connections.delete(socket));
      socket.setTimeout(IDLE_MS, () => socket.destroy());
      this.#converse({ vpc, address }, socket, post).catch(() => socket.destroy());
    });
    server.on('error', (error) => note(`${vpc}: ${String(error)}`));
    await new Promise<void>((resolve) => server.listen({ fd }, resolve));
    return server;
  }

  /** RFC 1035, 4.2.2: each message has its length before it. */
  async #converse(client: Client, socket: Socket, { allowance }: Post): Promise<void> {
    let rest: Buffer = Buffer.alloc(0);
    const pending = new Set<Promise<void>>();
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
      while (rest.length >= 2) {
        const size = rest.readUInt16BE(0);
        if (size > LONGEST_QUERY) return void socket.destroy();
        if (rest.length < 2 + size) break;
        const query = rest.subarray(2, 2 + size);
        rest = rest.subarray(2 + size);
        if (!allowance.take()) return void socket.destroy();
        const work = this.#answerer.answer(client, query, 'tcp').then((answer) => reply(socket, answer));
        pending.add(work);
        void work.then(() => pending.delete(work));
        while (pending.size >= MOST_PIPELINED) await Promise.race(pending);
        // Others have their turn between two: what is known here is answered without waiting for anything.
        await setImmediate();
        if (socket.destroyed) return;
      }
    }
    await Promise.all(pending);
    socket.end();
  }
}

function reply(socket: Socket, answer: Buffer | undefined): void {
  if (answer === undefined || !socket.writable) return;
  if (socket.writableLength > MOST_UNREAD) {
    socket.destroy();
    return;
  }
  socket.write(framed(answer));
}
