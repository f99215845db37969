/**
 * What the firewall of a router (firewall.ts) says of a connection, answered from the rows it was filled with. For connections that are tracked
 * already and that the kernel lets pass without asking again. Network ACLs have no part in it: they judge every packet, of tracked connections too.
 */
import { type AnyCidr, type Family, firstAddress, type Ip, isIp6, networkOf, numberOf, rangeOf } from '../net/cidr.js';
import type { KernelObject, NftElementRow, NftValue } from '../objects/kernel-object.js';
import { BLOCK_SETS, GATE_SETS, type Gate, type GateSet, gateSet, SETS } from './firewall.js';
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
      if ((row.set === SETS.peerFlow || row.set === SETS.peerFlow6) && !this.#peerLinks.includes(first))
        this.#peerLinks.push(first);
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
    const mark = this.#data(isIp6(address as Ip) ? SETS.profile6 : SETS.profile, address);
    return mark === undefined ? undefined : Number(mark);
  }

  #data(map: string, address: string): NftValue | undefined {
    return this.#elements.get(`${map} ${address}`)?.[0]?.data;
  }

  #passes(gate: Gate, own: number, other: number, address: string, { protocol, port, icmp }: Connection): boolean {
    const family: Family = isIp6(address as Ip) ? 6 : 4;
    const block = (length: number) => [firstAddress(networkOf(address as Ip, length)), protocol, port];
    const asked: Readonly<Partial<Record<GateSet, readonly (string | number | undefined)[]>>> = {
      all: [],
      proto: [protocol],
      port: [protocol, port],
      group: [other],
      group_proto: [other, protocol],
      ...Object.fromEntries(BLOCK_SETS[family].map(({ set, length }) => [set, block(length)])),
      group_port: [other, protocol, port],
      group_icmp: [other, icmp?.type, icmp?.code],
      net: [address, protocol],
      net_port: [address, protocol, port],
      net_icmp: [address, icmp?.type, icmp?.code],
    };
    const sets = Object.keys(GATE_SETS[family]) as GateSet[];
    return sets.some((set) => this.#holds(gateSet(gate, family, set), [own, ...(asked[set] ?? [])]));
  }

  #holds(set: string, asked: readonly (string | number | undefined)[]): boolean {
    return (this.#elements.get(`${set} ${asked[0]}`) ?? []).some(({ key }) =>
      key.every((part, at) => at === 0 || covers(part, asked[at])),
    );
  }

  /** Whether the peering of some link admits an own address and a peer's. */
  #isPeered(own: string, theirs: string): boolean {
    const flow = isIp6(own as Ip) ? SETS.peerFlow6 : SETS.peerFlow;
    return this.#peerLinks.some((link) => this.#holds(flow, [link, own, theirs]));
  }

  /** Whether the route table of an own address leads to another one by the uplink. */
  #leadsOut(sets: readonly string[], own: string, other: string): boolean {
    const table = this.#data(SETS.table6, firstAddress(networkOf(own as Ip, 64)));
    return table !== undefined && sets.some((set) => this.#holds(set, [table, other]));
  }

  #entersFrom({ source, destination, answersFrom }: Connection): boolean {
    if (this.#isPeered(answersFrom, source)) return true;
    if (isIp6(source as Ip)) return this.#leadsOut([SETS.ways6], answersFrom, source);
    if (destination !== answersFrom) return this.#data(SETS.publicIn, destination) === answersFrom;
    return source === TRANSIT.host && this.#elements.has(`${SETS.public} ${answersFrom}`);
  }

  #leavesTo({ source, destination, answersTo }: Connection): boolean {
    if (this.#isPeered(source, destination)) return true;
    if (isIp6(source as Ip) && this.#leadsOut([SETS.ways6, SETS.answers6], source, destination)) return true;
    // Untranslated it leaves by what passes it on.
    return answersTo === source ? this.#passesOn : this.#data(SETS.publicOut, source) === answersTo;
  }
}

/** Whether a part of an element (number, range, address, block) covers a number or an address. */
function covers(part: NftValue, asked: string | number | undefined): boolean {
  if (asked === undefined) return false;
  if (typeof part === 'number' || part === String(asked)) return String(part) === String(asked);
  const value = typeof asked === 'number' ? asked : numberOf(asked as Ip);
  if (part.includes('/')) {
    const { first, last } = rangeOf(part as AnyCidr);
    return value >= first && value <= last;
  }
  const [from, to] = part.split('-');
  if (from === undefined || to === undefined) return false;
  const bound = (text: string): number | bigint => (/[.:]/.test(text) ? numberOf(text as Ip) : Number(text));
  return value >= bound(from) && value <= bound(to);
}
