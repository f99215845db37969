/**
 * What an expert does without writing a netlink client: `ip -batch` files, one process for the host (all namespaces),
 * one for each router (bridge, ports, the veth pairs born in place) and one for each workload, as many side by side as
 * there are cores; one `nft -f` a router, with sets. All files are written beforehand; one `sh` runs them.
 */

import { writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { hasProgram } from '../lib/machine.mjs';
import { deal, ROUTER_SYSCTLS, routerMac } from '../lib/network.mjs';

export const name = 'batch';
export const about = 'hand-tuned ip -batch and nft -f';

export function missing() {
  return ['ip', 'nft', 'sh'].filter((program) => !hasProgram(program)).map((program) => `no \`${program}\``)[0];
}

/**
 * A pair in place: no move, no rename, one queue, no IPv6 chatter. `isolated` is refused in the message that enslaves.
 */
function portLines({ j, name: ns }) {
  const queues = 'numtxqueues 1 numrxqueues 1';
  return [
    `link add p${j} ${queues} master br0 type veth peer name eth0 ${queues} netns ${ns}`,
    `link set p${j} type bridge_slave isolated on`,
    `link set p${j} up addrgenmode none`,
  ];
}

function routerLines(vpc) {
  return [
    'link set lo up',
    `link add br0 address ${routerMac(vpc)} type bridge mcast_snooping 0 vlan_default_pvid 0`,
    'link set br0 addrgenmode none up',
    `addr add ${vpc.gateway}/${vpc.prefix} dev br0`,
    ...vpc.workloads.flatMap(portLines),
  ];
}

function workloadLines(vpc, { ip }) {
  return [
    'link set lo up',
    'link set eth0 addrgenmode none up',
    `addr add ${ip}/${vpc.prefix} dev eth0`,
    `route add default via ${vpc.gateway}`,
  ];
}

/** A set's declaration, with its elements when there are any (an empty list is a syntax error). */
function set(label, type, elements) {
  const list = elements.length === 0 ? '' : ` elements = { ${elements.join(', ')} }`;
  return `  set ${label} { ${type}${list} }`;
}

function elementsOf(workloads) {
  return {
    services: workloads.flatMap(({ ip }) => [22, 80, 443].map((port) => `${ip} . ${port}`)),
    ten: workloads.map(({ ip }) => `${ip} . 8000-8100`),
    pings: workloads.map(({ ip }) => ip),
  };
}

/** The rules of a VPC as text for `nft -f`. */
export function ruleset(vpc, shared) {
  const { services, ten, pings } = elementsOf(vpc.workloads);
  const sets = shared
    ? [set('members', 'type ipv4_addr;', pings)]
    : [
        set('services', 'type ipv4_addr . inet_service;', services),
        set('ten', 'type ipv4_addr . inet_service; flags interval;', ten),
        set('pings', 'type ipv4_addr;', pings),
      ];
  const rules = shared
    ? [
        'ip daddr @members tcp dport { 22, 80, 443 } accept',
        'ip saddr 10.0.0.0/8 ip daddr @members tcp dport 8000-8100 accept',
        'ip daddr @members meta l4proto icmp accept',
      ]
    : [
        'ip daddr . tcp dport @services accept',
        'ip saddr 10.0.0.0/8 ip daddr . tcp dport @ten accept',
        'meta l4proto icmp ip daddr @pings accept',
      ];
  return [
    'table inet vpc {',
    ...sets,
    '  chain forward {',
    '    type filter hook forward priority 0; policy drop;',
    '    ct state established,related accept',
    ...rules.map((rule) => `    ${rule}`),
    '  }',
    '}',
  ];
}

/** What one workload more adds to them. */
export function elementLines(extra, shared) {
  const { services, ten, pings } = elementsOf([extra]);
  const sets = shared ? { members: pings } : { services, ten, pings };
  return Object.entries(sets).map(([label, list]) => `add element inet vpc ${label} { ${list.join(', ')} }`);
}

/** Writes the batch files of one trial; returns the command of each phase. */
export function prepare(net, extra, dir) {
  const shared = net.groups === 'shared';
  const [first] = net.vpcs;
  const file = (label, lines) => {
    const path = join(dir, label);
    writeFileSync(path, `${lines.join('\n')}\n`);
    return path;
  };
  const script = (phase, lines) => ['sh', file(`${phase}.sh`, ['set -e', ...lines])];
  // A failing lane must fail the script: `wait` without a pid forgets, so each lane is waited for by its own.
  const lanes = (commands) => {
    const dealt = deal(commands, availableParallelism());
    return [
      ...dealt.flatMap((lane, at) => ['(', ...lane, `) & lane${at}=$!`]),
      ...dealt.map((_, at) => `wait $lane${at}`),
    ];
  };

  const workloadCommand = (vpc, w) => `ip -n ${w.name} -batch ${file(`${w.name}.batch`, workloadLines(vpc, w))}`;
  const firewallCommand = (vpc) => {
    const path = file(`r${vpc.v}.sh`, [
      ...ROUTER_SYSCTLS.map(([key, value]) => `f=/proc/sys/net/${key}; [ ! -e $f ] || echo ${value} >$f`),
      `exec nft -f ${file(`r${vpc.v}.nft`, ruleset(vpc, shared))}`,
    ]);
    return `ip netns exec r${vpc.v} sh ${path}`;
  };
  const routers = net.vpcs.map((vpc) => `r${vpc.v}`);
  const namespaces = [...net.vpcs.flatMap((vpc) => vpc.workloads.map((w) => w.name)), ...routers];
  const births = namespaces.map((ns) => `netns add ${ns}`);
  const deaths = namespaces.map((ns) => `netns del ${ns}`);

  return {
    up: script('up', [
      `ip -batch ${file('host.batch', births)}`,
      ...lanes(net.vpcs.map((vpc) => `ip -n r${vpc.v} -batch ${file(`r${vpc.v}.batch`, routerLines(vpc))}`)),
      ...lanes([
        ...net.vpcs.map(firewallCommand),
        ...net.vpcs.flatMap((vpc) => vpc.workloads.map((w) => workloadCommand(vpc, w))),
      ]),
    ]),
    grow: script('grow', [
      `ip netns add ${extra.name}`,
      `ip -n r${first.v} -batch ${file('grow.batch', portLines(extra))}`,
      workloadCommand(first, extra),
      `ip netns exec r${first.v} nft -f ${file('grow.nft', elementLines(extra, shared))}`,
    ]),
    shrink: script('shrink', [`ip -n r${extra.v} link del p${extra.j}`, `ip netns del ${extra.name}`]),
    // The kernel deletes all devices of namespaces that die together at once: no link is deleted by name. Workloads before
    // routers was a little faster than the other way round.
    down: script('down', [`ip -batch ${file('down.batch', deaths)}`]),
  };
}
