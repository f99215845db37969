/**
 * This project, through its library (`dist/index.js`), in a fresh Node process a phase: opening the state is inside the
 * clock, Node's start and the import are not (they are in the process column).
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { grown, RULES } from '../lib/network.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const library = join(here, '..', '..', 'dist', 'index.js');

export const name = 'vpcctl';
export const about = 'this library: open + apply, open + destroy';
/** The phases print a line of JSON with their own clock (see vpcctl-phase.mjs). */
export const ownClock = true;

export function missing() {
  return existsSync(library) ? undefined : 'dist/index.js is missing: run `npm run build`';
}

/** The network as a spec of vpcctl. */
export function specOf(net) {
  const vpcs = net.vpcs.map((vpc) => {
    const groupOf = (w) => (net.groups === 'shared' ? 'workloads' : w.name);
    return [
      vpc.name,
      {
        cidr: vpc.cidr,
        subnets: { private: { cidr: vpc.subnet } },
        securityGroups: Object.fromEntries(vpc.workloads.map((w) => [groupOf(w), { ingress: RULES }])),
        instances: Object.fromEntries(
          vpc.workloads.map((w) => [w.name, { subnet: 'private', ip: w.ip, securityGroups: [groupOf(w)] }]),
        ),
      },
    ];
  });
  return { vpcs: Object.fromEntries(vpcs) };
}

/** Writes the specs of one trial; returns the command of each phase. `pool`: namespaces that are ready when the clock starts. */
export function prepare(net, _extra, dir, pool = 0) {
  const state = join(dir, 'state');
  mkdirSync(state);
  const spec = join(dir, 'spec.json');
  const more = join(dir, 'grown.json');
  writeFileSync(spec, JSON.stringify(specOf(net)));
  writeFileSync(more, JSON.stringify(specOf(grown(net).net)));
  const phase = (verb, file) => [process.execPath, join(here, 'vpcctl-phase.mjs'), verb, state, file, String(pool)];
  return {
    up: phase('apply', spec),
    grow: phase('apply', more),
    shrink: phase('apply', spec),
    down: phase('destroy', spec),
  };
}
