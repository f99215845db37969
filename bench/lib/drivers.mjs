/** The drivers, in the order in which a first round runs them. */
const NAMES = ['steps', 'batch', 'floor', 'vpcctl'];

/**
 * A driver is a module of drivers/: `name`, `about`, `missing()`, `prepare(net, extra, dir)` and perhaps `ownClock`.
 */
export async function driverNamed(name) {
  if (!NAMES.includes(name)) throw new Error(`no driver ${name}; there are: ${NAMES.join(', ')}`);
  return import(`../drivers/${name}.mjs`);
}

export function driverNames() {
  return NAMES;
}
