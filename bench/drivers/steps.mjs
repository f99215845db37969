/**
 * What a script does: one `ip` or `nft` process a step, one after the other. The script is written beforehand; `sh`
 * runs it.
 */

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasProgram } from '../lib/machine.mjs';
import { ROUTER_SYSCTLS } from '../lib/network.mjs';

export const name = 'steps';
export const about = 'one ip or nft process a step, as a script does it';

export function missing() {
  return ['ip', 'nft', 'sh'].filter((program) => !hasProgram(program)).map((program) => `no \`${program}\``)[0];
}

const FORWARD = '{ type filter hook forward priority 0; policy drop; }';

function routerSteps(vpc, shared) {
  const ns = `r${vpc.v}`;
  const nft = `ip netns exec ${ns} nft`;
  const group = "ip daddr '@members'";
  return [
    `ip netns add ${ns}`,
    `ip -n ${ns} link set lo up`,
    `ip -n ${ns} link add br0 type bridge`,
    `ip -n ${ns} addr add ${vpc.gateway}/${vpc.prefix} dev br0`,
    `ip -n ${ns} link set br0 up`,
    ...ROUTER_SYSCTLS.map(([key, value]) => {
      return `ip netns exec ${ns} sh -c 'f=/proc/sys/net/${key}; [ ! -e $f ] || echo ${value} >$f'`;
    }),
    `${nft} add table inet vpc`,
    `${nft} add chain inet vpc forward '${FORWARD}'`,
    `${nft} add rule inet vpc forward ct state established,related accept`,
    ...(shared
      ? [
          `${nft} add set inet vpc members '{ type ipv4_addr; }'`,
          ...ruleTexts(group).map((r) => `${nft} add rule inet vpc forward ${r}`),
        ]
      : []),
  ];
}

function ruleTexts(to) {
  return [
    `${to} tcp dport 22 accept`,
    `${to} tcp dport 80 accept`,
    `${to} tcp dport 443 accept`,
    `ip saddr 10.0.0.0/8 ${to} tcp dport 8000-8100 accept`,
    `${to} meta l4proto icmp accept`,
  ];
}

function workloadSteps(vpc, { v, j, name: ns, ip }, shared) {
  const router = `r${v}`;
  const port = `p${j}`;
  const temporary = `t${v}_${j}`;
  const nft = `ip netns exec ${router} nft`;
  return [
    `ip netns add ${ns}`,
    `ip link add ${port} type veth peer name ${temporary}`,
    `ip link set ${temporary} netns ${ns}`,
    `ip link set ${port} netns ${router}`,
    `ip -n ${ns} link set ${temporary} name eth0`,
    `ip -n ${ns} link set lo up`,
    `ip -n ${ns} addr add ${ip}/${vpc.prefix} dev eth0`,
    `ip -n ${ns} link set eth0 up`,
    `ip -n ${router} link set ${port} master br0`,
    `ip -n ${router} link set ${port} type bridge_slave isolated on`,
    `ip -n ${router} link set ${port} up`,
    `ip -n ${ns} route add default via ${vpc.gateway}`,
    ...(shared
      ? [`${nft} add element inet vpc members '{ ${ip} }'`]
      : ruleTexts(`ip daddr ${ip}`).map((rule) => `${nft} add rule inet vpc forward ${rule}`)),
  ];
}

function workloadGone({ v, j, name: ns }) {
  return [`ip -n r${v} link del p${j}`, `ip netns del ${ns}`];
}

/** Writes the scripts of one trial; returns the command of each phase. */
export function prepare(net, extra, dir) {
  const shared = net.groups === 'shared';
  const [first] = net.vpcs;
  const script = (phase, lines) => {
    const path = join(dir, `${phase}.sh`);
    writeFileSync(path, `set -e\n${lines.join('\n')}\n`);
    return ['sh', path];
  };
  return {
    up: script(
      'up',
      net.vpcs.flatMap((vpc) => [
        ...routerSteps(vpc, shared),
        ...vpc.workloads.flatMap((w) => workloadSteps(vpc, w, shared)),
      ]),
    ),
    grow: script('grow', workloadSteps(first, extra, shared)),
    shrink: script('shrink', workloadGone(extra)),
    down: script(
      'down',
      net.vpcs.flatMap((vpc) => [
        ...vpc.workloads.flatMap(workloadGone),
        `ip netns exec r${vpc.v} nft delete table inet vpc`,
        `ip netns del r${vpc.v}`,
      ]),
    ),
  };
}
