/**
 * The paths of the suite dataplane, each between two namespaces of its own, built and asserted inside a private host. A path is `{ name, size, client,
 * server, ip, filters }`: `size` is its number of rules (absent where there are none to count), `filters`: DENIED must stay silent.
 */
import { spawnSync } from 'node:child_process';
import { hasProgram } from './machine.mjs';

export const ALLOWED = 5201;
/** Has a listener too, so that only the rules make the difference. */
export const DENIED = 5202;
export const MAX_RULES = 50_000;

/** First port of the rules that match nothing here. */
const OTHER_PORTS = 10_000;
const CLIENT_BLOCK = '10.200.0.0/24';
const SERVER_BLOCK = '10.200.1.0/24';
const host = (block, number) => block.replace('.0/24', `.${number}`);

function run(program, args, input) {
  const { status, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', input, maxBuffer: 2 ** 28 });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
  return stdout;
}

const inside = (ns, program, args, input) => run('ip', ['netns', 'exec', ns, program, ...args], input);
const ip = (lines) => run('ip', ['-batch', '-'], `${lines.join('\n')}\n`);
const ipIn = (ns, lines) => run('ip', ['-n', ns, '-batch', '-'], `${lines.join('\n')}\n`);

export function sysctl(ns, key, value) {
  inside(ns, 'sh', ['-c', 'echo "$1" > "/proc/sys/net/$2"', 'sysctl', String(value), key]);
}

/**
 * `count` rules, the two that admit the traffic last: a list that is walked is walked to its end. Of the others, half name a port and half a port and a
 * block.
 */
function rules(count) {
  const others = Array.from({ length: count - 2 }, (_, at) => ({
    protocol: 'tcp',
    port: OTHER_PORTS + at,
    ...(at % 2 === 0 ? {} : { from: `172.${16 + ((at >> 8) & 15)}.${at & 255}.0/24` }),
  }));
  return [...others, ...['udp', 'tcp'].map((protocol) => ({ protocol, port: ALLOWED, from: CLIENT_BLOCK }))];
}

// --- ours ------------------------------------------------------------------------------------------------------------

/** A VPC whose instances `near`, in the client's subnet, and `far`, in another, have `size` rules. */
export async function ours(vpcctl, size) {
  const vpc = `n${size}`;
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: vpc, cidr: '10.200.0.0/16' });
    tx.addSubnet({ vpc, name: 'a', cidr: CLIENT_BLOCK });
    tx.addSubnet({ vpc, name: 'b', cidr: SERVER_BLOCK });
    tx.putSecurityGroup(vpc, 'many', { ingress: rules(size) });
    tx.addInstance({ vpc, subnet: 'a', name: 'client' });
    tx.addInstance({ vpc, subnet: 'a', name: 'near', securityGroups: ['many'] });
    tx.addInstance({ vpc, subnet: 'b', name: 'far', securityGroups: ['many'] });
  });
  requireRules(`vpc.${vpc}`, size);
  const { namespace: client } = vpcctl.instance(vpc, { instance: 'client' });
  return [
    ['vpcctl', 'near'],
    ['vpcctl, two subnets', 'far'],
  ].map(([name, instance]) => {
    const { namespace: server, ip: address } = vpcctl.instance(vpc, { instance });
    return { name, size, client, server, ip: address, filters: true };
  });
}

/** The kernel has that many rules of ours that name a port. */
function requireRules(router, size) {
  const { nftables } = JSON.parse(inside(router, 'nft', ['-j', 'list', 'table', 'inet', 'vpcctl']));
  const found = nftables
    .filter(({ set }) => /^in_(?:port|net.*_port)$/.test(set?.name ?? ''))
    .reduce((sum, { set }) => sum + (set.elem?.length ?? 0), 0);
  if (found !== size) throw new Error(`check: ${router} has ${found} elements for ${size} rules`);
}

/** Something behind a link of the host that the default route leads to. */
export function makeInternet() {
  ip([
    'netns add internet',
    'link add wan type veth peer name eth0 netns internet',
    'link set wan up',
    'addr add 192.0.2.1/24 dev wan',
  ]);
  ipIn('internet', ['link set lo up', 'link set eth0 up', 'addr add 192.0.2.2/24 dev eth0']);
  ip(['route add default via 192.0.2.2']);
}

/** A public instance, through its router, the edge and the host to {@link makeInternet}: three hops, translated twice. */
export async function oursToInternet(vpcctl) {
  const vpc = 'public';
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: vpc, cidr: '10.9.0.0/16' });
    tx.addSubnet({ vpc, name: 'a', cidr: '10.9.1.0/24', public: true });
    tx.putSecurityGroup(vpc, 'out', { egress: ['tcp', 'udp'].map((protocol) => ({ protocol, port: ALLOWED })) });
    tx.addInstance({ vpc, subnet: 'a', name: 'client', securityGroups: ['out'] });
  });
  const { namespace: client } = vpcctl.instance(vpc, { instance: 'client' });
  return [{ name: 'vpcctl to internet', client, server: 'internet', ip: '192.0.2.2', filters: true }];
}

// --- the others ------------------------------------------------------------------------------------------------------

/** Namespaces NAME-a and NAME-b with a link eth0, up, to NAME-r, where the links' other ends are called to-a and to-b. */
function ends(name, addresses) {
  const router = `${name}-r`;
  const [client, server] = ['a', 'b'].map((end) => `${name}-${end}`);
  ip([
    ...[router, client, server].map((ns) => `netns add ${ns}`),
    ...['a', 'b'].map((end) => `link add to-${end} netns ${router} type veth peer name eth0 netns ${name}-${end}`),
  ]);
  ipIn(router, ['link set to-a up', 'link set to-b up']);
  for (const [ns, address] of [
    [client, addresses[0]],
    [server, addresses[1]],
  ]) {
    ipIn(ns, ['link set lo up', 'link set eth0 up', `addr add ${address}/24 dev eth0`]);
  }
  return { router, client, server, ip: addresses[1] };
}

/** Ends in two blocks, each with a gateway that {@link router} has. */
function routedEnds(name) {
  const blocks = [CLIENT_BLOCK, SERVER_BLOCK];
  const made = ends(
    name,
    blocks.map((block) => host(block, 2)),
  );
  for (const [at, ns] of [made.client, made.server].entries())
    ipIn(ns, [`route add default via ${host(blocks[at], 1)}`]);
  sysctl(made.router, 'ipv4/ip_forward', 1);
  return made;
}

/** Plain routing: a link to each end, no bridge. `filter(ns)` is told the router's namespace. */
function routed(name, filter, more = {}) {
  const { router, ...path } = routedEnds(more.size === undefined ? name : `${name}-${more.size}`);
  ipIn(router, [`addr add ${host(CLIENT_BLOCK, 1)}/24 dev to-a`, `addr add ${host(SERVER_BLOCK, 1)}/24 dev to-b`]);
  filter(router);
  return { name, filters: false, ...path, ...more };
}

function bridge(router, isolated) {
  const ports = ['to-a', 'to-b'];
  ipIn(router, [
    'link add br0 type bridge',
    ...ports.map((port) => `link set ${port} master br0`),
    ...(isolated ? ports.map((port) => `link set ${port} type bridge_slave isolated on`) : []),
    'link set br0 up',
  ]);
  // On by default in a new namespace where br_netfilter is there.
  inside(router, 'sh', [
    '-c',
    'for f in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$f" ] || echo 0 > "$f"; done',
  ]);
}

/** Isolated ports on one bridge, which has both gateways. */
function routedOverBridge(name, filter) {
  const { router, ...path } = routedEnds(name);
  bridge(router, true);
  ipIn(
    router,
    [CLIENT_BLOCK, SERVER_BLOCK].map((block) => `addr add ${host(block, 1)}/24 dev br0`),
  );
  filter(router);
  return { name, filters: false, ...path };
}

function bridged(name) {
  const { router, ...path } = ends(
    name,
    [2, 3].map((number) => host(CLIENT_BLOCK, number)),
  );
  bridge(router, false);
  return { name, filters: false, ...path };
}

const nft = (text) => (router) => inside(router, 'nft', ['-f', '-'], text);
const CONNTRACK_RULE = `table ip filter {
  chain forward { type filter hook forward priority 0; policy accept; ct state established,related accept; }
}\n`;
const MASQUERADE_RULE = `table ip nat {
  chain out { type nat hook postrouting priority 100; policy accept; oifname "to-b" masquerade; }
}\n`;

function line({ protocol, port, from }) {
  const source = from === undefined ? '' : `-s ${from} `;
  return `-A FORWARD ${source}-p ${protocol} -m ${protocol} --dport ${port} -j ACCEPT`;
}

/** The rules of {@link rules}, one line each. `first`: lines before them, `last`: after them. */
function iptables(size, first, last = []) {
  const list = [
    '*filter',
    ':INPUT ACCEPT',
    ':FORWARD DROP',
    ':OUTPUT ACCEPT',
    ...first,
    ...rules(size).map(line),
    ...last,
  ];
  return (router) => inside(router, IPTABLES, [], `${list.join('\n')}\nCOMMIT\n`);
}

const IPTABLES = 'iptables-restore';
const ESTABLISHED = ['-A FORWARD -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT'];
const ANSWERS = ['udp', 'tcp'].map(
  (protocol) => `-A FORWARD -p ${protocol} -m ${protocol} --sport ${ALLOWED} -j ACCEPT`,
);

/** One path each, by name: the ones to measure against. `missing`: the program without which it cannot be. */
export const RIVALS = {
  routed: { build: () => routed('routed', nft(CONNTRACK_RULE)) },
  'routed over a bridge': { build: () => routedOverBridge('routed-bridge', nft(CONNTRACK_RULE)) },
  bridge: { build: () => bridged('bridge') },
  'routed, masqueraded': { build: () => routed('masquerade', nft(CONNTRACK_RULE + MASQUERADE_RULE)) },
  iptables: {
    needs: IPTABLES,
    sized: true,
    build: (size) => routed('iptables', iptables(size, ESTABLISHED), { size, filters: true }),
  },
  'iptables, no state': {
    needs: IPTABLES,
    sized: true,
    build: (size) => routed('iptables-every', iptables(size, [], ANSWERS), { size, filters: true }),
  },
};

/** Why a rival cannot be built here, or undefined. */
export function missing(name) {
  const { needs } = RIVALS[name];
  return needs === undefined || hasProgram(needs) ? undefined : `no \`${needs}\``;
}

/** What loads the list of iptables, and by which of its two ways; undefined without it. */
export function iptablesVersion() {
  return hasProgram(IPTABLES) ? run(IPTABLES, ['--version']).trim() : undefined;
}
