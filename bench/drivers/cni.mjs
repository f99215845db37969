/**
 * The CNI plugins loopback and bridge with host-local addresses, called as a container runtime calls them: one process each a
 * workload, configuration on standard input. Smaller work than the others': the bridges are in the host's own namespace, nothing filters, VPCs
 * reach each other.
 */

import { accessSync } from 'node:fs';
import { join } from 'node:path';
import { hasProgram } from '../lib/machine.mjs';
import { containerScripts } from '../lib/runtime.mjs';

const PLUGINS = '/usr/lib/cni';

export const name = 'cni';
export const about = 'CNI bridge and host-local, no rules';
/** There are no rules to assert. */
export const policy = false;

export function missing() {
  if (!hasProgram('ip')) return 'no `ip`';
  for (const plugin of ['bridge', 'host-local', 'loopback']) {
    try {
      accessSync(join(PLUGINS, plugin));
    } catch {
      return `no ${PLUGINS}/${plugin} (Debian: containernetworking-plugins)`;
    }
  }
  return undefined;
}

function bridgeConf(vpc, dir) {
  return {
    cniVersion: '0.4.0',
    name: vpc.name,
    type: 'bridge',
    bridge: `br${vpc.v}`,
    isGateway: true,
    ipMasq: false,
    ipam: {
      type: 'host-local',
      dataDir: join(dir, 'cni'),
      ranges: [[{ subnet: vpc.subnet, gateway: vpc.gateway }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  };
}

/** Writes the scripts of one trial; returns the command of each phase. */
export function prepare(net, extra, dir) {
  return containerScripts(net, extra, dir, (file) => {
    const loopback = file('loopback.json', { cniVersion: '0.4.0', name: 'lo', type: 'loopback' });
    const call = (verb, vpc, { name: ns, ip }) => {
      const conf = file(`${vpc.name}.json`, bridgeConf(vpc, dir));
      const common = `CNI_COMMAND=${verb} CNI_CONTAINERID=${ns} CNI_NETNS=/run/netns/${ns} CNI_PATH=${PLUGINS}`;
      return [
        `env ${common} CNI_IFNAME=lo ${PLUGINS}/loopback <${loopback} >/dev/null`,
        `env ${common} CNI_IFNAME=eth0 CNI_ARGS='IgnoreUnknown=1;IP=${ip}' ${PLUGINS}/bridge <${conf}`,
      ];
    };
    return {
      attach: (vpc, w) => call('ADD', vpc, w),
      detach: (vpc, w) => call('DEL', vpc, w).reverse(),
      end: (vpc) => [`ip link del br${vpc.v}`],
    };
  });
}
