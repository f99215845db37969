/**
 * Sets of packets as disjoint boxes. A box is a range of remote addresses × protocols × ports; nft refuses overlapping elements in one interval
 * set, and a policy's ordered allow and deny rules become accept-only boxes by subtraction.
 */
export interface Range {
  readonly from: number;
  readonly to: number;
}

export interface Box {
  readonly address: Range;
  readonly protocol: Range;
  readonly port: Range;
}

export const ALL_ADDRESSES: Range = { from: 0, to: 2 ** 32 - 1 };
export const ALL_PROTOCOLS: Range = { from: 0, to: 255 };
export const ALL_PORTS: Range = { from: 0, to: 65535 };

const AXES = ['address', 'protocol', 'port'] as const;

function disjoint(a: Range, b: Range): boolean {
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
    if (from < cut.from) rest.push({ ...core, [axis]: { from, to: cut.from - 1 } });
    if (cut.to < to) rest.push({ ...core, [axis]: { from: cut.to + 1, to } });
    core = { ...core, [axis]: { from: Math.max(from, cut.from), to: Math.min(to, cut.to) } };
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

export function isAll(range: Range, all: Range): boolean {
  return range.from === all.from && range.to === all.to;
}
