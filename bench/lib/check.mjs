/**
 * The result is asserted before a time counts, by another witness than the driver: iproute2 for what exists, packets
 * for what it does. Nothing here knows which driver built the network: workloads are found by their address.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ALLOWED_PORTS, DENIED_PORTS } from './network.mjs';
import { Resident } from './resident.mjs';

const probe = join(dirname(fileURLToPath(import.meta.url)), '..', 'probe.mjs');
const NETNS_DIR = '/run/netns';
/** To reach the allowed ports. */
const TRIES = 5;

/** Names of all namespaces; who removes the last one may remove the directory. */
export function namespaces() {
  return existsSync(NETNS_DIR) ? readdirSync(NETNS_DIR) : [];
}

function demand(condition, message) {
  if (!condition) throw new Error(`check: ${message}`);
}

/**
 * By nsenter, because `ip -n` copies the mount namespace each time, and with it all names of namespaces; addresses and routes only, because to
 * show a link of a pair `ip` looks for its other end's namespace among all names; by one shell, because there may be thousands.
 */
const LOOK = `for ns in ${NETNS_DIR}/*; do
  printf 'namespace %s\\n' "\${ns##*/}"
  nsenter --net="$ns" ip -4 -oneline -batch - <<END || exit
addr show
route show table all
END
done`;

/**
 * Address → namespace of every workload that is complete: loopback up, address on an eth0 that is up at both ends, a default route. The
 * kernel marks routes of a link that has no carrier; and loopback's broadcast route is there while it is up.
 */
function findWorkloads() {
  const found = new Map();
  const { status, stdout, stderr } = spawnSync('sh', ['-c', LOOK], { encoding: 'utf8', maxBuffer: 2 ** 28 });
  demand(status === 0, `looking into ${stdout.match(/^namespace .*$/gm)?.at(-1)}: ${stderr}`);
  for (const part of stdout.split(/^namespace /m).slice(1)) {
    const ns = part.slice(0, part.indexOf('\n'));
    const address = /^\d+: eth0 +inet ([\d.]+)\/\d+ /m.exec(part)?.[1];
    if (address === undefined) continue;
    demand(!found.has(address), `two namespaces have ${address}`);
    demand(/^broadcast 127\.255\.255\.255 dev lo /m.test(part), `${ns}: loopback is down`);
    const route = /^default via \S+ dev eth0.*$/m.exec(part)?.[0];
    demand(route !== undefined, `${ns}: no default route`);
    demand(!route.includes('linkdown'), `${ns}: eth0 has no carrier`);
    found.set(address, ns);
  }
  return found;
}

function run(args) {
  const { status, stdout, stderr } = spawnSync('ip', args, { encoding: 'utf8' });
  demand(status === 0, `ip ${args.join(' ')}: ${stderr}`);
  return stdout;
}

/** What becomes of a connection from a namespace to each port: `open`, `silent` or another word of probe.mjs. */
export function connect(ns, ip, ports) {
  const { status, stdout, stderr } = spawnSync(
    'ip',
    ['netns', 'exec', ns, process.execPath, probe, 'connect', ip, ...ports.map(String)],
    { encoding: 'utf8' },
  );
  demand(status === 0, `probe in ${ns}: ${stderr}`);
  return JSON.parse(stdout);
}

/**
 * The same, again where an allowed port was silent: a link that has just come up may not send yet (the kernel looks after some
 * hundred of them a second), and a lost SYN is repeated after a second only. A denied port that ever answers is told as it is.
 */
function connectPatiently(ns, ip) {
  const ports = [...ALLOWED_PORTS, ...DENIED_PORTS];
  for (let left = TRIES; ; left -= 1) {
    const outcome = connect(ns, ip, ports);
    const late = ALLOWED_PORTS.some((port) => outcome[port] === 'silent');
    if (!late || left === 1 || DENIED_PORTS.some((port) => outcome[port] !== 'silent')) return outcome;
  }
}

/**
 * What became of a connection to `ip` when the frame is addressed to the other workload itself, as root in a workload
 * can do. Proxy ARP leads ordinary packets to the router even where ports are not isolated; this one tells.
 */
function connectDirectly(from, to, ip, port) {
  const mac = /link\/ether (\S+)/.exec(run(['-n', to, 'link', 'show', 'eth0']))?.[1];
  run(['-n', from, 'neigh', 'replace', ip, 'lladdr', mac, 'nud', 'permanent', 'dev', 'eth0']);
  const outcome = connect(from, ip, [port])[port];
  run(['-n', from, 'neigh', 'del', ip, 'dev', 'eth0']);
  return outcome;
}

/** Runs `body` while the ports have listeners in `ns`. */
export async function withListener(ns, body) {
  const ports = [...ALLOWED_PORTS, ...DENIED_PORTS].map(String);
  const child = spawn('ip', ['netns', 'exec', ns, process.execPath, probe, 'listen', ...ports], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = once(child, 'exit');
  try {
    await Promise.race([
      once(child.stdout, 'data'),
      exited.then(([code]) => Promise.reject(new Error(`check: listener in ${ns} ended with ${code}`))),
    ]);
    return await body();
  } finally {
    child.stdin.end();
    await exited;
  }
}

/** A probe that stays (probe.mjs), in a namespace; its first line is awaited. */
export async function startProbe(ns, ...words) {
  const resident = new Resident(spawn('ip', ['netns', 'exec', ns, process.execPath, probe, ...words]));
  await resident.ask();
  return resident;
}

/** A workload is reached from another one of its VPC on a port that its rules admit, and not on one that they do not. */
export async function checkOne(from, namespace, ip) {
  await withListener(namespace, () => {
    const [allowed] = ALLOWED_PORTS;
    const [denied] = DENIED_PORTS;
    const outcome = connectPatiently(from, ip);
    const right = outcome[allowed] === 'open' && outcome[denied] === 'silent';
    demand(right, `${from} → ${ip}: ${JSON.stringify(outcome)}`);
  });
}

/**
 * Every workload exists and is complete; in the first and in the last VPC, the first workload reaches the last one on
 * the allowed ports and is met with silence on a denied port that has a listener, also past the router; with several
 * VPCs, the first does not reach the last. Without `policy`, the denied port and the other VPC are left out. Returns what was seen, for
 * the record.
 */
export async function check(net, policy = true) {
  const found = findWorkloads();
  const wanted = net.vpcs.flatMap((vpc) => vpc.workloads);
  for (const { name, ip } of wanted) demand(found.has(ip), `no namespace has ${name}'s address ${ip}`);
  demand(found.size === wanted.length, `${found.size} workloads exist, ${wanted.length} were wanted`);

  const seen = [];
  const first = net.vpcs[0];
  const last = net.vpcs[net.vpcs.length - 1];
  for (const vpc of new Set([first, last])) {
    const from = vpc.workloads[0];
    const to = vpc.workloads[vpc.workloads.length - 1];
    // With one workload a VPC only the first VPC was grown to two.
    if (from === to) continue;
    await withListener(found.get(to.ip), () => {
      const outcome = connectPatiently(found.get(from.ip), to.ip);
      seen.push({ from: from.ip, to: to.ip, outcome });
      for (const port of ALLOWED_PORTS)
        demand(outcome[port] === 'open', `${from.ip} → ${to.ip}:${port}: ${outcome[port]}`);
      if (!policy) return;
      for (const port of DENIED_PORTS)
        demand(outcome[port] === 'silent', `${from.ip} → ${to.ip}:${port}: ${outcome[port]}`);
      const [denied] = DENIED_PORTS;
      const direct = connectDirectly(found.get(from.ip), found.get(to.ip), to.ip, denied);
      demand(direct === 'silent', `${from.ip} → ${to.ip}:${denied}, past the router: ${direct}`);
    });
  }
  demand(seen.length > 0, 'no pair of workloads to try');
  if (policy && last !== first) {
    const from = first.workloads[0];
    const to = last.workloads[0];
    await withListener(found.get(to.ip), () => {
      const outcome = connect(found.get(from.ip), to.ip, [22]);
      seen.push({ from: from.ip, to: to.ip, outcome });
      demand(outcome[22] !== 'open', `${from.ip} reaches ${to.ip} of another VPC`);
    });
  }
  return { workloads: found.size, packets: seen };
}
