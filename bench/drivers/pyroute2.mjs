/** pyroute2, a netlink library for Python, used as well as it can be: in place, no helper processes but nft (pyroute2/phase.py). */

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hasProgram } from '../lib/machine.mjs';
import { ROUTER_SYSCTLS, routerMac } from '../lib/network.mjs';
import { elementLines, ruleset } from './batch.mjs';

/** Debian's own: the package is not there for another one. */
const PYTHON = '/usr/bin/python3';
const script = fileURLToPath(new URL('pyroute2/phase.py', import.meta.url));

export const name = 'pyroute2';
export const about = 'pyroute2 in place, and nft -f';
/** The phases print a line of JSON with their own clock. */
export const ownClock = true;

export function missing() {
  if (!hasProgram('nft')) return 'no `nft`';
  const { status } = spawnSync(PYTHON, ['-c', 'import pyroute2']);
  return status === 0 ? undefined : `${PYTHON} has no pyroute2 (Debian: python3-pyroute2)`;
}

/** Writes the plans of one trial; returns the command of each phase. */
export function prepare(net, extra, dir) {
  const shared = net.groups === 'shared';
  const [first] = net.vpcs;
  const write = (label, text) => {
    const path = join(dir, label);
    writeFileSync(path, text);
    return path;
  };
  const phase = (label, plan) => [
    PYTHON,
    script,
    write(`${label}.json`, JSON.stringify({ routers: [], drop: [], ...plan })),
  ];
  const routerOf = (vpc, isNew, workloads, rules) => ({
    name: `r${vpc.v}`,
    new: isNew,
    mac: routerMac(vpc),
    gateway: vpc.gateway,
    prefix: vpc.prefix,
    sysctls: Object.fromEntries(ROUTER_SYSCTLS),
    workloads: workloads.map((w) => ({ name: w.name, port: `p${w.j}`, ip: w.ip })),
    rules: write(`${isNew ? 'up' : 'grow'}-r${vpc.v}.nft`, `${rules.join('\n')}\n`),
  });
  return {
    up: phase('up', { routers: net.vpcs.map((vpc) => routerOf(vpc, true, vpc.workloads, ruleset(vpc, shared))) }),
    grow: phase('grow', { routers: [routerOf(first, false, [extra], elementLines(extra, shared))] }),
    shrink: phase('shrink', { drop: [extra.name] }),
    down: phase('down', { drop: net.vpcs.flatMap((vpc) => [...vpc.workloads.map((w) => w.name), `r${vpc.v}`]) }),
  };
}
