/**
 * What the kernel itself takes: a program in C that does only what must be done, in the fewest calls that were found
 * (floor/floor.c). Its plan is a file written beforehand; a fresh process reads it.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  attachLines,
  buildLines,
  detachLines,
  endLines,
  floorProgram,
  knownLine,
  missingFloor,
} from '../lib/floor.mjs';

export const name = 'floor';
export const about = 'the limit: C, netlink and libnftables, nothing but what the kernel needs';
/** The phases print a line of JSON with their own clock. */
export const ownClock = true;
export const missing = missingFloor;

/** Writes the plans of one trial; returns the command of each phase. */
export function prepare(net, extra, dir) {
  const shared = net.groups === 'shared';
  const [first] = net.vpcs;
  const plan = (phase, lines) => {
    const path = join(dir, `${phase}.plan`);
    writeFileSync(path, `${lines.join('\n')}\n`);
    return [floorProgram(), path];
  };
  return {
    up: plan('up', buildLines(net)),
    grow: plan('grow', [knownLine(first), ...attachLines(first, [extra], shared)]),
    shrink: plan('shrink', [knownLine(first), ...detachLines(first, [extra], shared)]),
    down: plan('down', endLines(net)),
  };
}
