/**
 * netavark, podman's network, called as podman calls it: one process a workload, configuration on standard input. Smaller work than
 * the others': the bridges are in the host's own namespace and masqueraded, nothing is filtered, VPCs reach each other.
 */

import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { hasProgram } from '../lib/machine.mjs';
import { containerScripts } from '../lib/runtime.mjs';

const PROGRAM = '/usr/lib/podman/netavark';

export const name = 'netavark';
export const about = 'netavark, bridge driver, no rules';
/** There are no rules to assert. */
export const policy = false;

export function missing() {
  for (const program of ['ip', 'iptables']) {
    if (!hasProgram(program)) return `no \`${program}\``;
  }
  return existsSync(PROGRAM) ? undefined : `no ${PROGRAM} (Debian: netavark)`;
}

function identity(text) {
  return createHash('sha256').update(text).digest('hex');
}

function optionsOf(vpc, { name: container, ip }) {
  return {
    container_id: identity(container),
    container_name: container,
    networks: { [vpc.name]: { interface_name: 'eth0', static_ips: [ip] } },
    network_info: {
      [vpc.name]: {
        name: vpc.name,
        id: identity(vpc.name),
        driver: 'bridge',
        network_interface: `br${vpc.v}`,
        created: '2026-01-01T00:00:00Z',
        subnets: [{ subnet: vpc.subnet, gateway: vpc.gateway }],
        ipv6_enabled: false,
        internal: false,
        dns_enabled: false,
        ipam_options: { driver: 'host-local' },
      },
    },
  };
}

/** Writes the scripts of one trial; returns the command of each phase. The last teardown of a network removes its bridge. */
export function prepare(net, extra, dir) {
  return containerScripts(net, extra, dir, (file) => {
    const call = (verb, vpc, w) => {
      const options = file(`${w.name}.json`, optionsOf(vpc, w));
      return [`${PROGRAM} --config ${dir} ${verb} /run/netns/${w.name} <${options}`];
    };
    return {
      attach: (vpc, w) => call('setup', vpc, w),
      detach: (vpc, w) => call('teardown', vpc, w),
      end: () => [],
    };
  });
}
