/** Who reaches whom. */
import { findKind, type Reader } from '../model/reader.js';
import type { Instance } from '../model/resources.js';
import { reaches } from './analyze.js';
import {
  hostEnd,
  INTERNET,
  INTERNET6,
  instanceEnd,
  outside,
  requireVpcs,
  type Traffic,
  trafficBetween,
  trafficOf,
} from './endpoints.js';
import { Lookup } from './lookup.js';
import type { Cell, Endpoint, Matrix, MatrixQuery } from './types.js';

/** A row and a column. */
interface End {
  readonly name: string;
  readonly isInstance: boolean;
  /** undefined: it has no address of the family. */
  readonly source: Endpoint | undefined;
  /** As a destination: by the address it has for itself; by its public one, if it has one. */
  readonly plain: Endpoint | undefined;
  readonly byPublic: Endpoint | undefined;
}

/** Asks of every two ends. Errors as of `analyze`. */
export function matrix(reader: Reader, query: MatrixQuery = {}): Matrix {
  const lookup = new Lookup(reader);
  const { ipv6 = false } = query;
  const traffic = trafficBetween(trafficOf(query), ipv6 ? 6 : 4);
  const host = hostEnd(lookup, ipv6 ? 6 : 4);
  const internet = ipv6 ? INTERNET6 : INTERNET;
  const instances = requireVpcs(lookup, query.vpcs).flatMap((vpc) => findKind(reader, 'instance', `instances:${vpc}`));
  const ends: readonly End[] = [
    ...instances.map((instance) => endOf(instance, ipv6)),
    { name: 'internet', isInstance: false, source: internet, plain: internet, byPublic: undefined },
    { name: 'host', isInstance: false, source: host, plain: host, byPublic: undefined },
  ];
  return {
    protocol: traffic.protocol,
    port: traffic.port,
    ends: ends.map(({ name }) => name),
    cells: ends.map((from) => ends.map((to) => cell(lookup, traffic, from, to))),
  };
}

function endOf(instance: Instance, ipv6: boolean): End {
  if (ipv6) {
    const own = instance.ipv6 === undefined ? undefined : instanceEnd(instance, 'ipv6');
    return { name: `${instance.vpc}/${instance.name}`, isInstance: true, source: own, plain: own, byPublic: own };
  }
  const plain = instanceEnd(instance, 'private');
  const byPublic = instance.publicIp === undefined ? undefined : instanceEnd(instance, 'public');
  return { name: `${instance.vpc}/${instance.name}`, isInstance: true, source: plain, plain, byPublic };
}

function cell(lookup: Lookup, traffic: Traffic, { name, isInstance, source }: End, to: End): Cell {
  if (name === to.name || !(isInstance || to.isInstance)) return null;
  const reached = (destination: Endpoint | undefined): boolean =>
    source !== undefined &&
    destination !== undefined &&
    reaches(lookup, { ...outside(lookup, source, destination), ...traffic });
  if (source?.kind === 'internet') return reached(to.byPublic) ? 'yes' : 'no';
  if (reached(to.plain)) return 'yes';
  return to.byPublic !== to.plain && reached(to.byPublic) ? 'public' : 'no';
}
