/** The drivers, in the order in which a first round runs them. */
const NAMES = ['steps', 'cni', 'netavark', 'pyroute2', 'batch', 'floor', 'vpcctl', 'pool', 'cli'];

/**
 * A driver is a module of drivers/: `name`, `about`, `missing()`, `prepare(net, extra, dir)` and perhaps `ownClock`; `policy: false` where it
 * makes no rules.
 */
export async function driverNamed(name) {
  if (!NAMES.includes(name)) throw new Error(`no driver ${name}; there are: ${NAMES.join(', ')}`);
  return import(`../drivers/${name}.mjs`);
}

export function driverNames() {
  return NAMES;
}
