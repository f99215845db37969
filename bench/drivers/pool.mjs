/** This project's library with namespaces kept ready: as many as there are workloads, made before the clock starts. */
import * as library from './vpcctl.mjs';

export const name = 'pool';
export const about = 'this library, its namespaces made beforehand';
export const ownClock = true;
export const { missing } = library;

/** Most that `open` takes. */
const MOST = 500;

export function prepare(net, extra, dir) {
  const workloads = net.vpcs.reduce((sum, vpc) => sum + vpc.workloads.length, 0);
  return library.prepare(net, extra, dir, Math.min(MOST, workloads));
}
