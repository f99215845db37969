/** How many namespaces a kernel keeps ready. */
import { VpcctlError } from '../errors.js';
import type { Kernel } from '../kernel/kernel.js';
import { PLAIN_ROUTER, routerRuleset } from '../lower/firewall.js';

/** Each is a file descriptor, and libnftables cannot wait for one of 1024 or more. */
const MOST = 500;
const INSTANCES_A_ROUTER = 10;

/** USAGE when `pool` is no such number. */
export function poolOf(pool: number): number {
  if (Number.isInteger(pool) && pool >= 0 && pool <= MOST) return pool;
  throw new VpcctlError('USAGE', `pool is ${pool}`, { hint: `it may be a whole number from 0 to ${MOST}` });
}

/** For so many instances, and for new VPCs, whose routers have a firewall. */
export async function keepReady(kernel: Kernel, pool: number): Promise<void> {
  const routers = { rows: routerRuleset('', PLAIN_ROUTER), count: Math.ceil(pool / INSTANCES_A_ROUTER) };
  await kernel.keepReady?.({ namespaces: pool, firewalls: pool === 0 ? [] : [routers] });
}
