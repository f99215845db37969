/**
 * What the firewall of a router (firewall.ts) says of a connection, answered from the rows it was filled with. For connections that are tracked
 * already and that the kernel lets pass without asking again. Network ACLs have no part in it: they judge every packet, of tracked connections too.
 */
import { firstAddress, type Ipv4, networkOf, toNumber } from '../net/cidr.js';
import type { KernelObject, NftElementRow, NftValue } from '../objects/kernel-object.js';
import { GATE_SETS, type Gate, type GateSet, SETS } from './firewall.js';
import { TRANSIT } from './names.js';

/** A connection at a router. Where addresses are translated, both the translated and the private one are told. */
export interface Connection {
  /** As its first packet says. */
  readonly source: string;
  readonly destination: string;
  readonly protocol: number;
  /** Of the destination; only with protocols that have ports. */
  readonly port?: number;
  /** Of its first packet; only with icmp. */
  readonly icmp?: { readonly type: number; readonly code: number };
  /** Where answers come from and go to: the private destination and the public source, where they are translated. */
  readonly answersFrom: string;
  readonly answersTo: string;
}

/** The rows of one router, to be asked. */
export class Admission {
  /** Keys of elements without their first part, by `set first`. */
  readonly #elements = new Map<string, NftElementRow[]>();
  readonly #peerLinks: string[] = [];
  #passesOn = false;

  constructor(rows: Iterable<KernelObject>) {
    for (const row of rows) {
      if (row.kind !== 'nft-element') continue;
      const first = String(row.key[0]);
      if (row.set === SETS.through) this.#passesOn = true;
      if (row.set === SETS.peerFlow && !this.#peerLinks.includes(first)) this.#peerLinks.push(first);
      const key = `${row.set} ${first}`;
      const known = this.#elements.get(key);
      if (known === undefined) this.#elements.set(key, [row]);
      else known.push(row);
    }
  }

  /** Whether the connection would be admitted if it began now; undefined when it is none of a workload's. */
  admits(connection: Connection): boolean | undefined {
    const { source, answersFrom: destination } = connection;
    const sender = this.#profile(source);
    const receiver = this.#profile(destination);
    if (sender === undefined && receiver === undefined) return undefined;
    if (sender !== undefined && !this.#passes('out', sender, receiver ?? 0, destination, connection)) return false;
    if (receiver !== undefined && !this.#passes('in', receiver, sender ?? 0, source, connection)) return false;
    if (sender === undefined) return this.#entersFrom(connection);
    return receiver === undefined ? this.#leavesTo(connection) : true;
  }

  #profile(address: string): number | undefined {
    const mark = this.#data(SETS.profile, address);
    return mark === undefined ? undefined : Number(mark);
  }

  #data(map: string, address: string): NftValue | undefined {
    return this.#elements.get(`${map} ${address}`)?.[0]?.data;
  }

  #passes(gate: Gate, own: number, other: number, address: string, { protocol, port, icmp }: Connection): boolean {
    const block = (length: number) => [firstAddress(networkOf(address as Ipv4, length)), protocol, port];
    const asked: Readonly<Record<GateSet, readonly (string | number | undefined)[]>> = {
      all: [],
      proto: [protocol],
      port: [protocol, port],
      group: [other],
      group_proto: [other, protocol],
      net32_port: block(32),
      net24_port: block(24),
      net16_port: block(16),
      net8_port: block(8),
      group_port: [other, protocol, port],
      group_icmp: [other, icmp?.type, icmp?.code],
      net: [address, protocol],
      net_port: [address, protocol, port],
      net_icmp: [address, icmp?.type, icmp?.code],
    };
    return Object.keys(GATE_SETS).some((set) => this.#holds(`${gate}_${set}`, [own, ...asked[set as GateSet]]));
  }

  #holds(set: string, asked: readonly (string | number | undefined)[]): boolean {
    return (this.#elements.get(`${set} ${asked[0]}`) ?? []).some(({ key }) =>
      key.every((part, at) => at === 0 || covers(part, asked[at])),
    );
  }

  /** Whether the peering of some link admits an own address and a peer's. */
  #isPeered(own: string, theirs: string): boolean {
    return this.#peerLinks.some((link) => this.#holds(SETS.peerFlow, [link, own, theirs]));
  }

  #entersFrom({ source, destination, answersFrom }: Connection): boolean {
    if (this.#isPeered(answersFrom, source)) return true;
    if (destination !== answersFrom) return this.#data(SETS.publicIn, destination) === answersFrom;
    return source === TRANSIT.host && this.#elements.has(`${SETS.public} ${answersFrom}`);
  }

  #leavesTo({ source, destination, answersTo }: Connection): boolean {
    if (this.#isPeered(source, destination)) return true;
    // Untranslated it leaves by what passes it on.
    return answersTo === source ? this.#passesOn : this.#data(SETS.publicOut, source) === answersTo;
  }
}

/** Whether a part of an element (number, range, address, block) covers a number or an address. */
function covers(part: NftValue, asked: string | number | undefined): boolean {
  if (asked === undefined) return false;
  if (typeof part === 'number' || part === String(asked)) return String(part) === String(asked);
  const value = typeof asked === 'number' ? asked : toNumber(asked as Ipv4);
  const [base, length] = part.split('/');
  if (length !== undefined) {
    const first = toNumber(base as Ipv4);
    return value >= first && value < first + 2 ** (32 - Number(length));
  }
  const [from, to] = part.split('-');
  if (from === undefined || to === undefined) return false;
  const bound = (text: string): number => (text.includes('.') ? toNumber(text as Ipv4) : Number(text));
  return value >= bound(from) && value <= bound(to);
}
