/** This project through its command, as someone at a terminal or a script uses it: `vpcctl apply FILE`, `vpcctl destroy FILE`. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { command, missingCommand } from '../lib/command.mjs';
import { grown } from '../lib/network.mjs';
import { specOf } from './vpcctl.mjs';

export const name = 'cli';
export const about = 'this command: vpcctl apply FILE, vpcctl destroy FILE; all of the process counts';
export const missing = missingCommand;

/** Writes the files of one trial; returns the command of each phase. */
export function prepare(net, _extra, dir) {
  const write = (label, of) => {
    const path = join(dir, label);
    writeFileSync(path, JSON.stringify(specOf(of)));
    return path;
  };
  const spec = write('spec.json', net);
  const phase = (verb, file) => command('--state', join(dir, 'state'), '--quiet', verb, file, '--yes');
  return {
    up: phase('apply', spec),
    grow: phase('apply', write('grown.json', grown(net).net)),
    shrink: phase('apply', spec),
    down: phase('destroy', spec),
  };
}
