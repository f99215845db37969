/**
 * W(V×n), the network of every suite: V VPCs with one private subnet each and n workloads in it, each with five ingress
 * rules and open egress. Pure: names, addresses and rules; the drivers say how to build it.
 */

/** Everything lies in 10/8, so that the rule "from 10.0.0.0/8" admits it. */
const TEN = 10 * 2 ** 24;
/** First host that a cloud subnet hands out is .4; some room is left for what a driver reserves for itself. */
const FIRST_HOST = 10;
/** A bridge takes 1023 ports (kernel, EXFULL); one is left for the workload that the check adds. */
const MAX_WORKLOADS = 1022;
const MAX_VPCS = 250;

/** The five rules of a workload. Egress is open. */
export const RULES = [
  { protocol: 'tcp', port: 22, from: 'any' },
  { protocol: 'tcp', port: 80, from: 'any' },
  { protocol: 'tcp', port: 443, from: 'any' },
  { protocol: 'tcp', port: '8000-8100', from: '10.0.0.0/8' },
  { protocol: 'icmp', from: 'any' },
];

/** What the check tries: each port has a listener, so only the rules make the difference. */
export const ALLOWED_PORTS = [22, 80, 443, 8050];
export const DENIED_PORTS = [9999];

/** `'10x100'` → `{ vpcs: 10, workloads: 100 }`. */
export function parseSize(text) {
  const match = /^(\d+)x(\d+)$/.exec(text);
  const size = match === null ? undefined : { vpcs: Number(match[1]), workloads: Number(match[2]) };
  if (size === undefined || size.vpcs < 1 || size.workloads < 1)
    throw new Error(`size ${text}: expected VPCSxWORKLOADS`);
  if (size.vpcs > MAX_VPCS) throw new Error(`size ${text}: at most ${MAX_VPCS} VPCs`);
  if (size.workloads > MAX_WORKLOADS) throw new Error(`size ${text}: at most ${MAX_WORKLOADS} workloads in a VPC`);
  return size;
}

/** `'0,100,1000'` → those numbers, which must rise. */
export function parseRising(text) {
  const levels = text.split(',').map(Number);
  const wrong = !/^\d+(,\d+)*$/.test(text) || levels.some((level, at) => level <= (levels[at - 1] ?? -1));
  if (wrong) throw new Error(`--sizes ${text}: expected rising numbers of workloads`);
  return levels;
}

export function sizeName({ vpcs, workloads }) {
  return `${vpcs}x${workloads}`;
}

function dotted(value) {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join('.');
}

/**
 * The network of a size. `groups` is `own` (each workload has a security group of its own) or `shared` (one group a
 * VPC).
 */
export function network({ vpcs, workloads }, groups = 'own') {
  return {
    groups,
    vpcs: Array.from({ length: vpcs }, (_, v) => {
      const base = TEN + v * 65536;
      return {
        v,
        name: `vpc${v}`,
        cidr: `${dotted(base)}/16`,
        subnet: `${dotted(base)}/20`,
        gateway: dotted(base + 1),
        prefix: 20,
        workloads: Array.from({ length: workloads }, (_, j) => workload(v, j)),
      };
    }),
  };
}

/** Workload j of VPC v. */
export function workload(v, j) {
  return { v, j, name: `w${v}-${j}`, ip: dotted(TEN + v * 65536 + FIRST_HOST + j) };
}

/** The same network with one more workload in its first VPC, and that workload. */
export function grown(net) {
  const [first, ...rest] = net.vpcs;
  const extra = workload(first.v, first.workloads.length);
  return { extra, net: { ...net, vpcs: [{ ...first, workloads: [...first.workloads, extra] }, ...rest] } };
}

/** What a router needs beside its links, as pairs: below /proc/sys/net, and the value. */
export const ROUTER_SYSCTLS = [
  ['ipv4/ip_forward', '1'],
  ['ipv4/conf/br0/proxy_arp_pvlan', '1'],
  ['ipv4/neigh/br0/proxy_delay', '0'],
  ['ipv4/conf/all/send_redirects', '0'],
  ['ipv4/conf/br0/send_redirects', '0'],
  ['bridge/bridge-nf-call-iptables', '0'],
];

export function routerMac({ v }) {
  return `02:00:00:00:00:${v.toString(16).padStart(2, '0')}`;
}

/** A list dealt out over `lanes` lists. */
export function deal(list, lanes) {
  return Array.from({ length: lanes }, (_, lane) => list.filter((_, at) => at % lanes === lane)).filter(
    (l) => l.length > 0,
  );
}
