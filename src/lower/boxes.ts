/**
 * Sets of packets of one family as disjoint boxes. A box is a range of remote addresses × protocols × ports; nft refuses overlapping elements in one interval
 * set, and ordered allow and deny rules become accept-only boxes by subtraction. Of ICMP, type × 256 + code is in the place of the port.
 */
import { addressOf, type Family, rangeToCidrs, stepped } from '../net/cidr.js';
import type { IcmpMessages } from '../net/ports.js';
import type { NftValue } from '../objects/kernel-object.js';
import { blockValue } from './names.js';

export interface Range<N extends number | bigint = number> {
  readonly from: N;
  readonly to: N;
}

/** Of IPv6, addresses are bigints. */
export interface Box {
  readonly address: Range<number | bigint>;
  readonly protocol: Range;
  readonly port: Range;
}

export const ALL_ADDRESSES: Readonly<Record<Family, Range<number | bigint>>> = {
  4: { from: 0, to: 2 ** 32 - 1 },
  6: { from: 0n, to: 2n ** 128n - 1n },
};
export const ALL_PROTOCOLS: Range = { from: 0, to: 255 };
export const ALL_PORTS: Range = { from: 0, to: 65535 };

const AXES = ['address', 'protocol', 'port'] as const;

function disjoint(a: Range<number | bigint>, b: Range<number | bigint>): boolean {
  return a.to < b.from || b.to < a.from;
}

/** What of `box` is not in `hole`: at most six boxes, disjoint. */
export function without(box: Box, hole: Box): Box[] {
  if (AXES.some((axis) => disjoint(box[axis], hole[axis]))) return [box];
  const rest: Box[] = [];
  let core = box;
  for (const axis of AXES) {
    const { from, to } = core[axis];
    const cut = hole[axis];
    if (from < cut.from) rest.push({ ...core, [axis]: { from, to: stepped(cut.from, -1) } });
    if (cut.to < to) rest.push({ ...core, [axis]: { from: stepped(cut.to, 1), to } });
    core = { ...core, [axis]: { from: from > cut.from ? from : cut.from, to: to < cut.to ? to : cut.to } };
  }
  return rest;
}

/** The same packets as the union of `boxes`, as disjoint boxes. Earlier boxes stay whole. */
export function union(boxes: readonly Box[]): Box[] {
  return firstMatch(boxes.map((box) => ({ allow: true, box })));
}

/** The packets that the first matching rule of an ordered list allows, as disjoint boxes. None matching: denied. */
export function firstMatch(rules: readonly { readonly allow: boolean; readonly box: Box }[]): Box[] {
  const allowed: Box[] = [];
  const decided: Box[] = [];
  for (const { allow, box } of rules) {
    let rest = [box];
    for (const taken of decided) rest = rest.flatMap((part) => without(part, taken));
    decided.push(...rest);
    if (allow) allowed.push(...rest);
  }
  return allowed;
}

export function isAll(range: Range<number | bigint>, all: Range<number | bigint>): boolean {
  return range.from === all.from && range.to === all.to;
}

// --- ICMP ------------------------------------------------------------------------------------------------------------

export function icmpRange({ type, code }: IcmpMessages): Range {
  return { from: type * 256 + (code ?? 0), to: type * 256 + (code ?? 255) };
}

/** The types and codes of a range of messages: at most three. */
export function icmpRectangles({ from, to }: Range): { readonly type: Range; readonly code: Range }[] {
  const [first, last] = [Math.floor(from / 256), Math.floor(to / 256)];
  const [firstCode, lastCode] = [from % 256, to % 256];
  if (first === last) return [{ type: { from: first, to: last }, code: { from: firstCode, to: lastCode } }];
  const whole = { from: first + (firstCode === 0 ? 0 : 1), to: last - (lastCode === 255 ? 0 : 1) };
  return [
    ...(firstCode === 0 ? [] : [{ type: { from: first, to: first }, code: { from: firstCode, to: 255 } }]),
    ...(whole.from > whole.to ? [] : [{ type: whole, code: { from: 0, to: 255 } }]),
    ...(lastCode === 255 ? [] : [{ type: { from: last, to: last }, code: { from: 0, to: lastCode } }]),
  ];
}

// --- as nft prints them ----------------------------------------------------------------------------------------------

/** A single number, or `from-to`. */
export function rangeValue({ from, to }: Range): NftValue {
  return from === to ? from : `${from}-${to}`;
}

/** An address, a block where the range is one, else the range. */
export function addressValue({ from, to }: Range<number | bigint>): NftValue {
  const [cidr, more] = rangeToCidrs(from, to);
  if (cidr !== undefined && more === undefined) return blockValue(cidr);
  return `${addressOf(from)}-${addressOf(to)}`;
}
