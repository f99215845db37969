/** The scripts of drivers that are called as a container runtime calls its network: for each workload, a namespace and then one call. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Writes the scripts; returns the command of each phase. `calls(file)` says what is called: `attach(vpc, workload)`, `detach(vpc, workload)` and
 * `end(vpc)`, lists of lines for `sh`; `file(label, data)` writes JSON for them and returns its path.
 */
export function containerScripts(net, extra, dir, calls) {
  const [first] = net.vpcs;
  const file = (label, data) => {
    const path = join(dir, label);
    writeFileSync(path, JSON.stringify(data));
    return path;
  };
  const script = (phase, lines) => {
    const path = join(dir, `${phase}.sh`);
    writeFileSync(path, `set -e\n${lines.join('\n')}\n`);
    return ['sh', path];
  };
  const { attach, detach, end } = calls(file);
  const born = (vpc, w) => [`ip netns add ${w.name}`, ...attach(vpc, w)];
  const gone = (vpc, w) => [...detach(vpc, w), `ip netns del ${w.name}`];
  const all = (line) => net.vpcs.flatMap((vpc) => vpc.workloads.flatMap((w) => line(vpc, w)));
  return {
    up: script('up', all(born)),
    grow: script('grow', born(first, extra)),
    shrink: script('shrink', gone(first, extra)),
    down: script('down', [...all(gone), ...net.vpcs.flatMap(end)]),
  };
}
