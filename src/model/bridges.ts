/**
 * Which of its VPC's bridges an instance is on. A VPC has one until that is full, and then further ones, for good: the kernel holds its lock of all
 * links (rtnl) for some 20 ms to delete a bridge, which a VPC that grows and shrinks around the limit would pay each time.
 */
import { type Draft, type Edit, getKind } from './reader.js';
import { type Instance, idOf, ids } from './resources.js';

/** Ports of one bridge: BR_MAX_PORTS of the kernel, whose port number 0 is nobody's. */
export const BRIDGE_PORTS = 1023;

/** The number of an instance's bridge. */
export const bridgeOf = ({ bridge = 0 }: Instance): number => bridge;

/** Gives new instances a place on a bridge, makes the bridges that takes, and keeps count. */
export function settleBridges(draft: Draft): void {
  const gone = new Set<string>();
  const changed = new Map<string, Edit[]>();
  for (const edit of draft.edits()) {
    const resource = edit.after ?? edit.before;
    if (resource?.kind === 'vpc' && edit.after === undefined) gone.add(resource.name);
    if (resource?.kind !== 'instance') continue;
    const known = changed.get(resource.vpc);
    if (known === undefined) changed.set(resource.vpc, [edit]);
    else known.push(edit);
  }
  for (const vpc of gone) removeAll(draft, vpc);
  for (const [vpc, edits] of changed) if (!gone.has(vpc)) settleVpc(draft, vpc, edits);
}

function settleVpc(draft: Draft, vpc: string, edits: readonly Edit[]): void {
  const used = placesBefore(draft, vpc);
  const bridges = used.length;
  place(draft, edits, used);
  // One that is empty is as one that never was used.
  if (used.length === 1 && used[0] === 0) draft.remove(ids.ports(vpc));
  else draft.put({ kind: 'ports', vpc, used });
  for (let number = bridges; number < used.length; number += 1) draft.put({ kind: 'bridge', vpc, number });
}

/** How many places of each bridge are taken. Who recorded none has all instances on one bridge. */
function placesBefore(draft: Draft, vpc: string): number[] {
  const ports = draft.before(ids.ports(vpc));
  return ports?.kind === 'ports' ? [...ports.used] : [draft.base.count(`instances:${vpc}`, BRIDGE_PORTS)];
}

/** Counts in `used`. What this transaction frees is free for the next one only: links are unmade last. */
function place(draft: Draft, edits: readonly Edit[], used: number[]): void {
  const freed: number[] = [];
  for (const { id, before } of edits) {
    const instance = getKind(draft, 'instance', id);
    const had = before?.kind === 'instance' ? bridgeOf(before) : undefined;
    if (instance !== undefined) moveTo(draft, instance, had ?? take(used));
    else if (had !== undefined) freed.push(had);
  }
  for (const number of freed) used[number] = (used[number] ?? 0) - 1;
}

/** The first bridge with room, so that those behind run empty. */
function take(used: number[]): number {
  const roomy = used.findIndex((count) => count < BRIDGE_PORTS);
  const number = roomy === -1 ? used.length : roomy;
  used[number] = (used[number] ?? 0) + 1;
  return number;
}

function moveTo(draft: Draft, instance: Instance, number: number): void {
  if (bridgeOf(instance) === number) return;
  const { bridge: _other, ...rest } = instance;
  draft.put(number === 0 ? rest : { ...rest, bridge: number });
}

function removeAll(draft: Draft, vpc: string): void {
  draft.remove(ids.ports(vpc));
  for (const bridge of draft.find(`bridges:${vpc}`)) draft.remove(idOf(bridge));
}
