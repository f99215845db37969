/** Who reaches whom. */
import { findKind, type Reader } from '../model/reader.js';
import type { Instance } from '../model/resources.js';
import { reaches } from './analyze.js';
import { HOST, INTERNET, instanceEnd, outside, requireVpcs, type Traffic, trafficOf } from './endpoints.js';
import { Lookup } from './lookup.js';
import type { Cell, Endpoint, Matrix, MatrixQuery } from './types.js';

/** A row and a column. */
interface End {
  readonly name: string;
  readonly isInstance: boolean;
  readonly source: Endpoint;
  /** As a destination: by the address it has for itself; by its public one, if it has one. */
  readonly plain: Endpoint;
  readonly byPublic: Endpoint | undefined;
}

/** Asks of every two ends. Errors as of `analyze`. */
export function matrix(reader: Reader, query: MatrixQuery = {}): Matrix {
  const lookup = new Lookup(reader);
  const traffic = trafficOf(query);
  const instances = requireVpcs(lookup, query.vpcs).flatMap((vpc) => findKind(reader, 'instance', `instances:${vpc}`));
  const ends: readonly End[] = [
    ...instances.map(endOf),
    { name: 'internet', isInstance: false, source: INTERNET, plain: INTERNET, byPublic: undefined },
    { name: 'host', isInstance: false, source: HOST, plain: HOST, byPublic: undefined },
  ];
  return {
    protocol: traffic.protocol,
    port: traffic.port,
    ends: ends.map(({ name }) => name),
    cells: ends.map((from) => ends.map((to) => cell(lookup, traffic, from, to))),
  };
}

function endOf(instance: Instance): End {
  const plain = instanceEnd(instance, 'private');
  const byPublic = instance.publicIp === undefined ? undefined : instanceEnd(instance, 'public');
  return { name: `${instance.vpc}/${instance.name}`, isInstance: true, source: plain, plain, byPublic };
}

function cell(lookup: Lookup, traffic: Traffic, { name, isInstance, source }: End, to: End): Cell {
  if (name === to.name || !(isInstance || to.isInstance)) return null;
  const reached = (destination: Endpoint | undefined): boolean =>
    destination !== undefined && reaches(lookup, { ...outside(lookup, source, destination), ...traffic });
  if (source.kind === 'internet') return reached(to.byPublic) ? 'yes' : 'no';
  if (reached(to.plain)) return 'yes';
  return reached(to.byPublic) ? 'public' : 'no';
}
