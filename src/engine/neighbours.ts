/** What of the host is not ours and may get in the way of an installation: other firewalls, settings, managers of links, limits. */

import { VpcctlError } from '../errors.js';
import type { HostView } from '../kernel/kernel.js';
import type { Machine } from '../kernel/machine.js';
import { HOST_LINK } from '../lower/names.js';
import { installationOf } from '../model/lookup.js';
import { findKind, getKind, MemoryReader, type Reader } from '../model/reader.js';
import { EDGE_ID, type Edge, type Resource } from '../model/resources.js';
import { isCidr6 } from '../net/cidr.js';
import { type Check, warning } from './check.js';
import { hostFacts } from './engine.js';
import { describeFix, type Fix, strayFixes } from './fixes.js';
import { type Blockade, findBlockades, hasOwnTable, type Passage, passagesOf } from './forward.js';
import { managers } from './managers.js';

/** What the checks look at. */
export interface Scene {
  readonly machine: Machine;
  readonly host: HostView;
  /** The installation's resources; none when there is no installation. */
  readonly resources: readonly Resource[];
  /** What `doctor --fix` did and did not take back. */
  readonly fixes: readonly Fix[];
}

type Looker = (scene: Place) => Check[] | Promise<Check[]>;

/** A scene, with what most checks ask of it. */
interface Place extends Scene {
  readonly reader: Reader;
  readonly edge: Edge | undefined;
  /** The uplink: the recorded one, else the one that a public subnet would get. */
  readonly uplink: string | undefined;
  readonly defaultLink: string | undefined;
  readonly linkMtu: ReadonlyMap<string, number>;
}

const CHECKS: Readonly<Record<string, Looker>> = {
  uplink: checkUplink,
  MTU: checkMtu,
  'other firewalls': checkFirewalls,
  'legacy iptables': checkLegacy,
  'nftables.service': checkNftService,
  forwarding: checkForwarding,
  'IPv6 forwarding': checkForwarding6,
  'reverse path': checkReversePath,
  'bridge netfilter': checkBridgeNetfilter,
  'managers of links': checkManagers,
  'neighbour table': checkNeighbourTable,
  'connection tracking': checkConntrack,
  'namespaces in all': checkNamespaces,
  'socket buffers': checkBuffers,
  fixes: checkFixes,
};

/** Every check; what may not be looked at is said, and the others go on. */
export async function neighbourChecks(scene: Scene): Promise<Check[]> {
  const reader = new MemoryReader(scene.resources);
  const edge = getKind(reader, 'edge', EDGE_ID);
  const { defaultLink, linkMtu } = hostFacts(scene.host);
  const asked = installationOf(reader).uplink;
  const wanted = asked === 'auto' ? defaultLink : asked === 'none' ? undefined : asked;
  const place: Place = {
    ...scene,
    reader,
    edge,
    uplink: edge === undefined ? wanted : edge.uplink,
    defaultLink,
    linkMtu,
  };
  const checks: Check[] = [];
  for (const [name, look] of Object.entries(CHECKS)) {
    try {
      checks.push(...(await look(place)));
    } catch (error) {
      if (!(error instanceof VpcctlError)) throw error;
      checks.push(unknown(name, error));
    }
  }
  return checks;
}

/** What could not be looked at. */
export function unknown(name: string, { message, facts }: VpcctlError): Check {
  const words = [facts.errno, facts.extack].filter((word) => word !== undefined).join(', ');
  const detail = `not looked at: ${message}${words === '' ? '' : ` (${words})`}`;
  return { name, status: 'unknown', detail, ...(facts.hint === undefined ? {} : { hint: facts.hint }) };
}

function ok(name: string, detail: string): Check {
  return { name, status: 'ok', detail };
}

// --- the way out ---------------------------------------------------------------------------------------------------------

function checkUplink({ reader, edge, uplink, defaultLink, host, linkMtu }: Place): Check[] {
  const name = 'uplink';
  const asked = installationOf(reader).uplink;
  const another = 'name another with --uplink LINK or settings.uplink, or use none';
  if (uplink === undefined) {
    if (asked === 'none') return [ok(name, 'none is wanted: public subnets are reached from this host only')];
    return [
      warning(name, 'the host has no default route: public subnets need an uplink', {
        hint: 'name it with --uplink LINK, or use --uplink none',
      }),
    ];
  }
  const link = host.links.find((one) => one.name === uplink);
  const detail = `${uplink}, MTU ${linkMtu.get(uplink)}`;
  if (link === undefined) {
    return [
      warning(name, `${uplink} is gone: nothing leaves the public subnets`, { hint: `bring it back, or ${another}` }),
    ];
  }
  if (!link.up) return [warning(name, `${detail}, is down`, { hint: `ip link set ${uplink} up` })];
  if (edge === undefined || defaultLink === uplink) return [ok(name, detail)];
  const whither =
    defaultLink === undefined ? 'the host has no default route' : `the default route leads to ${defaultLink}`;
  return [
    warning(name, `${detail}; but ${whither}: public subnets reach only what is routed to ${uplink}`, {
      hint: `route by ${uplink}, or name ${defaultLink ?? 'another'} with settings.uplink`,
    }),
  ];
}

function checkMtu({ reader, edge, uplink, linkMtu }: Place): Check[] {
  const name = 'MTU';
  const most = uplink === undefined ? undefined : linkMtu.get(uplink);
  if (edge === undefined || most === undefined) return [];
  const open = new Set(findKind(reader, 'igw', 'kind:igw').map(({ vpc }) => vpc));
  const large = findKind(reader, 'vpc', 'kind:vpc').filter((vpc) => open.has(vpc.name) && vpc.mtu > most);
  if (large.length === 0) return [ok(name, `${uplink} takes what the VPCs send: ${most}`)];
  const names = large.map((vpc) => `${vpc.name} (${vpc.mtu})`).join(', ');
  return [
    warning(
      name,
      `${uplink} takes ${most}, less than vpc ${names}: large packets hang where ICMP errors are filtered`,
      {
        hint: `ip link set ${uplink} mtu ${Math.max(...large.map(({ mtu }) => mtu))}, or make these VPCs anew: the MTU of the uplink is taken over when a VPC is made`,
      },
    ),
  ];
}

// --- firewalls -----------------------------------------------------------------------------------------------------------

const LATER = 'make a public subnet, then run `vpcctl doctor --fix`';

async function checkFirewalls({ machine, reader, edge, uplink }: Place): Promise<Check[]> {
  const name = 'other firewalls';
  if (uplink === undefined) return [ok(name, 'nothing is forwarded: there is no uplink')];
  const listing = await machine.ruleset();
  const passages = passagesOf(edge ?? installationOf(reader), uplink);
  const own =
    edge === undefined || hasOwnTable(listing)
      ? []
      : [
          warning('host firewall', 'our table inet vpcctl is gone: somebody has flushed the ruleset', {
            hint: 'public subnets have no internet: `vpcctl repair`; and see that nothing flushes the whole ruleset',
          }),
        ];
  const checks = passages.flatMap((passage) =>
    findBlockades(listing, passage).map((blockade) => blockadeCheck(name, blockade, passage, edge !== undefined)),
  );
  return [...own, ...(checks.length === 0 ? [ok(name, `let ${HOST_LINK} and ${uplink} pass`)] : checks)];
}

function blockadeCheck(name: string, blockade: Blockade, passage: Passage, there: boolean): Check {
  const { owner, family, table, chain, entry, rules, reason, sure, closed } = blockade;
  const what = isCidr6(passage.pool) ? 'IPv6 packets' : 'packets';
  const detail = `${owner} ${sure ? 'drops' : 'may drop'} ${what} between ${HOST_LINK} and ${passage.uplink}: ${reason} (${family} ${table} ${chain})`;
  if (closed) return warning(name, detail, { hint: closedHint(blockade, passage) });
  const fixes = rules.map((expr): Fix => ({ kind: 'nft-rule', family, table, chain: entry, expr }));
  if (!there) return warning(name, detail, { hint: LATER });
  return warning(name, detail, { hint: `run \`vpcctl doctor --fix\`: ${fixes.map(describeFix).join('; ')}`, fixes });
}

/** firewalld makes its table anew at every reload, so a rule put into it would not stay. */
function closedHint({ owner, table }: Blockade, { uplink, pool, routed }: Passage): string {
  if (owner !== 'firewalld')
    return `let ${pool} pass between ${HOST_LINK} and ${uplink} by the program that owns table ${table}`;
  const policy = (name: string, from: string, to: string): string[] => [
    `--new-policy=${name}`,
    `--policy=${name} --add-ingress-zone=${from}`,
    `--policy=${name} --add-egress-zone=${to}`,
    `--policy=${name} --set-target=ACCEPT`,
  ];
  const commands = [
    '--new-zone=vpcctl',
    `--zone=vpcctl --add-interface=${HOST_LINK}`,
    ...policy('vpcctl-out', 'vpcctl', 'ANY'),
    ...(routed ? policy('vpcctl-in', 'ANY', 'vpcctl') : []),
  ];
  return `${commands.map((words) => `firewall-cmd --permanent ${words}`).join(' && ')} && firewall-cmd --reload`;
}

function checkLegacy({ machine, uplink }: Place): Check[] {
  const name = 'legacy iptables';
  const names = machine.read('/proc/net/ip_tables_names')?.split('\n').filter(Boolean) ?? [];
  if (!names.includes('filter') || uplink === undefined) return [];
  return [
    {
      name,
      status: 'unknown',
      detail: 'there are rules of the old iptables, which nft does not list: they may drop what is forwarded',
      hint: `see iptables-legacy -S FORWARD; ${HOST_LINK} and ${uplink} must be let pass to each other`,
    },
  ];
}

/** Debian's and others' nftables.service: its file begins by flushing everything. */
function checkNftService({ machine }: Place): Check[] {
  const enabled = ['sysinit', 'multi-user'].some((target) =>
    machine.list(`/etc/systemd/system/${target}.target.wants`).includes('nftables.service'),
  );
  const file = ['/etc/nftables.conf', '/etc/sysconfig/nftables.conf'].find((path) =>
    /^\s*flush\s+ruleset\b/m.test(machine.read(path) ?? ''),
  );
  if (!enabled || file === undefined) return [];
  return [
    warning('nftables.service', `${file} flushes the whole ruleset, ours too, whenever the service is reloaded`, {
      hint: 'in that file, delete its own tables instead: table inet filter; delete table inet filter',
    }),
  ];
}

// --- settings ------------------------------------------------------------------------------------------------------------

function setting({ machine }: Scene, key: string): string | undefined {
  return machine.read(`/proc/sys/${key}`)?.trim();
}

function checkForwarding(place: Place): Check[] {
  if (place.edge === undefined) return [];
  const hint = 'run `vpcctl doctor --fix`, and see what sets net.ipv4.ip_forward';
  return checkLinks(place, 'forwarding', (link) => `net/ipv4/conf/${link}/forwarding`, hint);
}

/** Whether a setting that we made on our link and on the uplink is still on. */
function checkLinks(place: Place, name: string, keyOf: (link: string) => string, hint: string): Check[] {
  const links = [HOST_LINK, ...(place.uplink === undefined ? [] : [place.uplink])];
  const off = links.flatMap((link): Fix[] => {
    const key = keyOf(link);
    const before = setting(place, key);
    return before === undefined || before === '1' ? [] : [{ kind: 'sysctl', key, value: '1', before }];
  });
  if (off.length === 0) return [ok(name, `on for ${links.join(' and ')}`)];
  return [warning(name, `somebody has switched it off: ${off.map(describeFix).join('; ')}`, { hint, fixes: off })];
}

const NEEDED6 = 'IPv6 of VPCs has no way to the internet';

/** Of two links, without making the host a router that hears no advertisements. */
function checkForwarding6(place: Place): Check[] {
  const name = 'IPv6 forwarding';
  const wanted = place.resources.some((resource) => resource.kind === 'vpc' && resource.ipv6Cidr !== undefined);
  const lacking = (detail: string, hint: string): Check[] =>
    wanted ? [warning(name, `${detail}: ${NEEDED6}`, { hint })] : [ok(name, `${detail}: ${NEEDED6}, if they get any`)];
  switch (place.host.forwarding6) {
    case 'off':
      return lacking('the host has no IPv6', 'set net.ipv6.conf.default.disable_ipv6 = 0');
    case 'no':
      return lacking(
        'this kernel forwards for all links or none',
        'use Linux 6.17 or later; or set net.ipv6.conf.all.forwarding = 1, with accept_ra = 2 for links that live on advertisements',
      );
    case 'all':
      return [ok(name, 'on for all links')];
    case 'by-link':
      if (place.edge?.ipv6 === undefined) return [ok(name, 'can be switched on for single links')];
      return checkLinks(place, name, (link) => `net/ipv6/conf/${link}/force_forwarding`, 'run `vpcctl doctor --fix`');
  }
}

/** Strict: a packet is dropped unless its source is routed to the link it came in by. The kernel takes the larger of `all` and the link's own. */
function checkReversePath(place: Place): Check[] {
  const name = 'reverse path';
  const { uplink, defaultLink, edge } = place;
  if (edge === undefined || uplink === undefined) return [];
  const key = `net/ipv4/conf/${uplink}/rp_filter`;
  const before = setting(place, key);
  const strict = Math.max(Number(before ?? 0), Number(setting(place, 'net/ipv4/conf/all/rp_filter') ?? 0)) === 1;
  if (before === undefined || !strict) return [ok(name, `not strict on ${uplink}`)];
  if (defaultLink === uplink)
    return [ok(name, `strict on ${uplink}, where the default route leads, and routes of ours lead to ${HOST_LINK}`)];
  return [
    warning(name, `strict on ${uplink}, though the default route does not lead there: answers are dropped`, {
      hint: `run \`vpcctl doctor --fix\`: net.ipv4.conf.${uplink}.rp_filter = 2 (loose)`,
      fixes: [{ kind: 'sysctl', key, value: '2', before }],
    }),
  ];
}

/** Never a fault: packets of ours are routed. Said, because it is often suspected. */
function checkBridgeNetfilter(place: Place): Check[] {
  if (setting(place, 'net/bridge/bridge-nf-call-iptables') !== '1') return [];
  return [
    ok(
      'bridge netfilter',
      "on: the host's forward rules judge frames that its own bridges pass on; ours are routed, and in the routers it is off",
    ),
  ];
}

function checkManagers({ machine, edge }: Place): Check[] {
  return managers(machine).map(({ name, trouble, fixes, effect }) => {
    if (trouble === undefined) return ok(name, `leaves ${HOST_LINK} and its routes alone`);
    if (fixes.length === 0)
      return warning(name, trouble, { hint: 'a file of its configuration says so; change it there' });
    if (edge === undefined) return warning(name, trouble, { hint: LATER });
    const files = fixes.map(({ path }) => path).join(', ');
    return warning(name, trouble, { hint: `run \`vpcctl doctor --fix\`, which writes ${files}; ${effect}`, fixes });
  });
}

// --- limits --------------------------------------------------------------------------------------------------------------

/** The neighbour table is one for the whole kernel (net/ipv4/neigh/default, seen in the first namespace only). */
function checkNeighbourTable(place: Place): Check[] {
  const name = 'neighbour table';
  const most = setting(place, 'net/ipv4/neigh/default/gc_thresh3');
  if (most === undefined) return [ok(name, 'its limit is not visible from this namespace')];
  if (Number(most) >= 4096) return [ok(name, `up to ${most} learnt entries`)];
  return [
    warning(
      name,
      `up to ${most} learnt entries in the whole kernel; workloads of one subnet that talk to each other learn one each`,
      { hint: 'for more than some hundred busy workloads, raise net.ipv4.neigh.default.gc_thresh1, 2 and 3' },
    ),
  ];
}

/** From here on a limit is near. */
const NEAR = 0.8;

/** The limit holds for each namespace; connections to the internet are in the host's too. */
function checkConntrack(place: Place): Check[] {
  const name = 'connection tracking';
  const count = setting(place, 'net/netfilter/nf_conntrack_count');
  const most = setting(place, 'net/netfilter/nf_conntrack_max');
  if (count === undefined || most === undefined) return [];
  const detail = `${count} of ${most} connections on the host`;
  if (Number(count) < NEAR * Number(most)) return [ok(name, detail)];
  return [warning(name, detail, { hint: 'raise net.netfilter.nf_conntrack_max: a full table drops new connections' })];
}

function checkNamespaces(place: Place): Check[] {
  const name = 'namespaces in all';
  const most = Number(setting(place, 'user/max_net_namespaces') ?? Infinity);
  const used = place.resources.filter(({ kind }) => kind === 'vpc' || kind === 'instance' || kind === 'edge').length;
  if (most === Infinity) return [];
  const detail = `${used} of ours, at most ${most} of everybody`;
  if (used < NEAR * most) return [ok(name, detail)];
  return [warning(name, detail, { hint: 'raise user.max_net_namespaces' })];
}

/** What the kernel gives a netlink socket without asking for privilege; the addon takes what it gets, and reads large dumps in more steps. */
const USUAL_BUFFER = 212_992;

function checkBuffers(place: Place): Check[] {
  const name = 'socket buffers';
  const most = setting(place, 'net/core/rmem_max');
  if (most === undefined || Number(most) >= USUAL_BUFFER) return [];
  return [
    warning(name, `at most ${most} bytes: dumps of large networks may be lost and repeated`, {
      hint: `raise net.core.rmem_max to ${USUAL_BUFFER}, the kernel's default`,
    }),
  ];
}

// --- what was fixed ------------------------------------------------------------------------------------------------------

async function checkFixes({ fixes, edge, machine, host }: Place): Promise<Check[]> {
  const name = 'fixes';
  const what = (some: readonly Fix[]): string => some.map(describeFix).join('; ');
  if (edge !== undefined) {
    return fixes.length === 0 ? [] : [ok(name, `in place until the last public subnet goes: ${what(fixes)}`)];
  }
  const left = hasBorder(host) ? fixes : [...fixes, ...(await strayFixes(machine, fixes))];
  if (left.length === 0) return [];
  return [
    warning(name, `${HOST_LINK} is gone, and these are not: ${what(left)}`, { hint: 'run `vpcctl doctor --undo`' }),
  ];
}

/** Whether an installation, this or another, has its link on the host. */
export function hasBorder({ links }: HostView): boolean {
  return links.some(({ name }) => name === HOST_LINK);
}
