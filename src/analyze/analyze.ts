/**
 * Whether a packet gets there and its answer back, by the model alone: an evaluation of the cloud's rules that shares nothing with what makes kernel
 * objects of them, so that each can be held against the other.
 */
import type { Reader } from '../model/reader.js';
import type { Ip } from '../net/cidr.js';
import { beginning, type Packet, type Place, type Step, stepAt, type Walk } from './components.js';
import { resolve } from './endpoints.js';
import { Lookup } from './lookup.js';
import type { Analysis, Hop, Query, Refusal, ResolvedQuery } from './types.js';

/** Answers one question. NOT_FOUND for names that are not there, USAGE for what is no end or no question, INVALID for what is no address or port. */
export function analyze(reader: Reader, query: Query): Analysis {
  const lookup = new Lookup(reader);
  return answer(lookup, resolve(lookup, query));
}

/** {@link analyze}, for many questions about one model. */
export function answer(lookup: Lookup, query: ResolvedQuery): Analysis {
  const { source, destination } = query;
  const there = walk(lookup, query, 'forward', {
    source: source.address as Ip,
    destination: destination.address as Ip,
  });
  const { source: from, destination: to } = there.packet;
  const back = there.lost
    ? undefined
    : walk(lookup, query, 'return', { source: to, destination: from }, { before: there.translated });
  const refusals = [...there.refusals, ...(back?.refusals ?? [])];
  return { reachable: refusals.length === 0, query, forward: there.hops, return: back?.hops ?? [], refusals };
}

/** The verdict of {@link answer} alone: no hop is told, and nothing is looked at behind the first refusal. */
export function reaches(lookup: Lookup, query: ResolvedQuery): boolean {
  const begun = { source: query.source.address as Ip, destination: query.destination.address as Ip };
  const there = walk(lookup, query, 'forward', begun, { brief: true });
  if (there.refusals.length > 0) return false;
  const { source, destination } = there.packet;
  const back = { source: destination, destination: source };
  return walk(lookup, query, 'return', back, { brief: true, before: there.translated }).refusals.length === 0;
}

interface Walked {
  readonly hops: readonly Hop[];
  readonly refusals: readonly Refusal[];
  /** The packet where the way ends. */
  readonly packet: Packet;
  /** There is no way, whatever rules about packets say. */
  readonly lost: boolean;
  readonly translated: Walk['translated'];
}

/** No way is longer: out of one VPC and into another. */
const MOST_HOPS = 32;

function walk(
  lookup: Lookup,
  query: ResolvedQuery,
  direction: 'forward' | 'return',
  begun: Packet,
  { before = [], brief = false }: { readonly before?: Walk['translated']; readonly brief?: boolean } = {},
): Walked {
  const [origin, target] =
    direction === 'forward' ? [query.source, query.destination] : [query.destination, query.source];
  const translated = [...before];
  const way: Walk = { lookup, query, direction, target, translated };
  const hops: Hop[] = [];
  const refusals: Refusal[] = [];
  let packet = begun;
  let lost = false;
  let place: Place | undefined = beginning(lookup, origin);
  for (let count = 0; place !== undefined; count += 1) {
    if (count === MOST_HOPS) throw new Error(`the way from ${query.source.address} goes round in a circle`);
    const step: Step = stepAt(way, place, packet);
    if (!brief) hops.push(hopOf(step, packet, refusals.length > 0));
    if (step.decision === 'refuses') {
      const { component, rule, hint } = step;
      refusals.push({ direction, component, rule, ...(hint === undefined ? {} : { hint }) });
      if (brief) return { hops, refusals, packet, lost, translated };
    }
    if (step.translation !== undefined && direction === 'forward') {
      translated.push({ ...step.translation, by: step.component.id ?? '', kind: step.component.kind });
    }
    lost ||= step.lost === true;
    packet = step.packet ?? packet;
    place = step.next;
  }
  return { hops, refusals, packet, lost, translated };
}

function hopOf({ component, decision, rule, translation }: Step, packet: Packet, assumed: boolean): Hop {
  return {
    component,
    decision,
    rule,
    ...(translation === undefined ? {} : { translation }),
    packet,
    ...(assumed ? { assumed: true } : {}),
  };
}
