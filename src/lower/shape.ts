/**
 * How an instance's packets are held up, out of its reach: what it receives, in the queue of its port at the router; what it sends, where it comes in by that port,
 * in the queue of a link that all of it is led through.
 */
import { getKind, type Reader } from '../model/reader.js';
import { describe, type Instance, idOf, ids } from '../model/resources.js';
import type { Shape } from '../model/shape.js';
import { BURST_UNIT, type KernelObject, type NetemRow, type TbfRow } from '../objects/kernel-object.js';
import { alias, MAC, portLink, routerNs, shapeLink } from './names.js';

const ETHERNET_HEADER = 14;
const MIN_BURST = 16 * 1024;
/** How long it takes at the rate: queues of the kernel are looked after every few µs, and large packets of TCP are passed whole. */
const BURST_SECONDS = 0.002;
/** What may wait: the time that the last byte would have to. */
const WAIT_SECONDS = 0.05;
const MIN_WAITING = 32 * 1024;
const MOST_WAITING = 64 * 1024 * 1024;
/** Packets; nobody is charged for them. */
const NETEM_LIMIT = 4096;
const MILLION = 1_000_000;
const ALL_LOST = 0xffff_ffff;

/** The rows for an instance; none without shaping. */
export function lowerShaping(reader: Reader, instance: Instance): KernelObject[] {
  const { vpc, ip, shaping } = instance;
  if (shaping === undefined) return [];
  const mtu = getKind(reader, 'vpc', ids.vpc(vpc))?.mtu;
  if (mtu === undefined) throw new Error(`${describe(instance)} has no vpc`);
  const [router, port] = [routerNs(vpc), portLink(ip)];
  const rows: KernelObject[] = shaping.in === undefined ? [] : [queue(router, port, shaping.in, mtu)];
  if (shaping.out === undefined) return rows;
  const name = shapeLink(ip);
  return [
    ...rows,
    { kind: 'link', ns: router, name, type: 'ifb', mac: MAC.port, mtu, alias: alias(idOf(instance)) },
    queue(router, name, shaping.out, mtu),
    { kind: 'qdisc', ns: router, link: port, hook: 'ingress', type: 'redirect', to: name },
  ];
}

/** One queue does it all: netem knows a rate too, though no burst. */
function queue(ns: string, link: string, shape: Shape, mtu: number): TbfRow | NetemRow {
  const place = { kind: 'qdisc', ns, link, hook: 'root' } as const;
  const rate = shape.rate === undefined ? undefined : shape.rate / 8;
  const { delay = 0, jitter = 0, loss = 0 } = shape;
  if (delay + loss > 0 || rate === undefined) {
    return {
      ...place,
      type: 'netem',
      delay,
      jitter,
      loss: Math.round((loss / MILLION) * ALL_LOST),
      ...(rate === undefined ? {} : { rate }),
      limit: NETEM_LIMIT,
    };
  }
  // A packet that is larger than the bucket never passes.
  const burst = whole(Math.max(shape.burst ?? Math.max(MIN_BURST, rate * BURST_SECONDS), mtu + ETHERNET_HEADER));
  const waiting = Math.min(Math.max(Math.ceil(rate * WAIT_SECONDS), MIN_WAITING), MOST_WAITING);
  return { ...place, type: 'tbf', rate, burst, limit: burst + waiting };
}

const whole = (bytes: number): number => Math.ceil(bytes / BURST_UNIT) * BURST_UNIT;
