/** Who reaches whom. */
import { findKind, type Reader } from '../model/reader.js';
import type { Instance } from '../model/resources.js';
import { answer } from './analyze.js';
import { HOST, INTERNET, instanceEnd, outside, requireVpcs, type Traffic, trafficOf } from './endpoints.js';
import { Lookup } from './lookup.js';
import type { Cell, Endpoint, Matrix, MatrixQuery } from './types.js';

type End = { readonly name: string; readonly instance: Instance } | { readonly name: string; readonly end: Endpoint };

/** Asks of every two ends. Errors as of `analyze`. */
export function matrix(reader: Reader, query: MatrixQuery = {}): Matrix {
  const lookup = new Lookup(reader);
  const traffic = trafficOf(query);
  const instances = requireVpcs(lookup, query.vpcs).flatMap((vpc) => findKind(reader, 'instance', `instances:${vpc}`));
  const ends: readonly End[] = [
    ...instances.map((instance) => ({ name: `${instance.vpc}/${instance.name}`, instance })),
    { name: 'internet', end: INTERNET },
    { name: 'host', end: HOST },
  ];
  return {
    ...traffic,
    ends: ends.map(({ name }) => name),
    cells: ends.map((from) => ends.map((to) => cell(lookup, traffic, from, to))),
  };
}

function cell(lookup: Lookup, traffic: Traffic, from: End, to: End): Cell {
  if (from === to || !('instance' in from || 'instance' in to)) return null;
  const source = 'instance' in from ? instanceEnd(from.instance, 'private') : from.end;
  const reaches = (destination: Endpoint): boolean =>
    answer(lookup, { ...outside(lookup, source, destination), ...traffic }).reachable;
  if (!('instance' in to)) return reaches(to.end) ? 'yes' : 'no';
  const byPublic = source.kind === 'internet';
  if (reaches(instanceEnd(to.instance, byPublic ? 'public' : 'private'))) return 'yes';
  if (byPublic || to.instance.publicIp === undefined) return 'no';
  return reaches(instanceEnd(to.instance, 'public')) ? 'public' : 'no';
}
