/** The installation as text: tables for `list`, a tree for `show` and `inspect`. */
import type {
  AppRecord,
  DnsView,
  DoctorReport,
  EgressRuleSpec,
  ElasticIpView,
  Fix,
  IngressRuleSpec,
  InstallationView,
  NatGatewayView,
  NetworkAclEntrySpec,
  NetworkAclView,
  PeeringView,
  PolicyRuleSpec,
  PolicySpec,
  PrefixListView,
  PrivateZoneView,
  RouteView,
  ShapingSpec,
  SubnetView,
  TransitGatewayView,
  VpcView,
  ZoneRecordSpec,
} from '../index.js';
import { type Colors, formatValue, oneLine, table } from './text.js';

export type AppView = AppRecord & { readonly running: boolean };

const NOTHING = '-';

/** `list`: a line an instance, and one for what has none; then the peerings. */
export function listText({ vpcs, peerings, transitGateways }: InstallationView, c: Colors): string[] {
  if (vpcs.length === 0) return ['no VPCs'];
  const [head = '', ...rows] = table([
    ['VPC', 'BLOCKS', 'SUBNET', 'BLOCK', 'KIND', 'INSTANCE', 'ADDRESS', 'PUBLIC'],
    ...vpcs.flatMap(vpcRows),
  ]);
  const peered = peerings.length === 0 ? [] : ['', c.bold('PEERINGS'), ...peerings.map(peeringText)];
  const transit = transitGateways.map(
    ({ name, attachments }) => `${name}  ${attachments.map(({ vpc }) => vpc).join(', ') || 'no VPC attached'}`,
  );
  return [
    c.bold(head),
    ...rows,
    ...peered,
    ...(transit.length === 0 ? [] : ['', c.bold('TRANSIT GATEWAYS'), ...transit]),
  ];
}

function vpcRows({ name, cidrs, ipv6Cidr, subnets }: VpcView): string[][] {
  const own = [name, both(cidrs.join(','), ipv6Cidr)];
  if (subnets.length === 0) return [[...own, ...Array<string>(6).fill(NOTHING)]];
  return subnets.flatMap((subnet) => {
    const where = [...own, subnet.name, both(subnet.cidr, subnet.ipv6Cidr), subnet.kind];
    if (subnet.instances.length === 0) return [[...where, NOTHING, NOTHING, NOTHING]];
    return subnet.instances.map(({ name: instance, ip, ipv6, publicIp }) => [
      ...where,
      instance,
      both(ip, ipv6),
      publicIp ?? NOTHING,
    ]);
  });
}

/** An IPv4 address or block, and the IPv6 one where there is one. */
function both(v4: string, v6: string | null): string {
  return v6 === null ? v4 : `${v4},${v6}`;
}

function peeringText({ vpcs, allowCidrs, routes }: PeeringView): string {
  return `${vpcs.join(' - ')}  ${allowCidrs === null ? 'all blocks' : `only ${allowCidrs.join(', ')}`}${routes === 'manual' ? ', routes by hand' : ''}`;
}

// --- the tree --------------------------------------------------------------------------------------------------------

interface Branch {
  readonly text: string;
  readonly branches: readonly Branch[];
}

function leaf(text: string): Branch {
  return { text, branches: [] };
}

function draw(branches: readonly Branch[], indent = ''): string[] {
  return branches.flatMap(({ text, branches: inner }, index) => {
    const last = index === branches.length - 1;
    return [`${indent}${last ? '└─' : '├─'} ${text}`, ...draw(inner, `${indent}${last ? '   ' : '│  '}`)];
  });
}

/** The settings of the whole installation. */
export function settingsText(view: InstallationView): string[] {
  const { publicPool, poolRouted, ipv6Pool, ipv6PoolRouted, uplink, edge, quotas } = view;
  const found = edge !== null && edge.uplink !== null && edge.uplink !== uplink ? ` (${edge.uplink})` : '';
  const limits = Object.entries(quotas).map(([name, most]) => `${name} ${most}`);
  return [
    `public addresses ${publicPool}, ${poolRouted ? 'routed to this host' : 'behind this host'}; uplink ${uplink}${found}`,
    ...(ipv6PoolRouted ? [`IPv6 addresses ${ipv6Pool}, routed to this host`] : []),
    ...(limits.length === 0 ? [] : [`quotas: ${limits.join(', ')}`]),
  ];
}

/** `show`: the whole installation. */
export function installationText(view: InstallationView, apps: readonly AppView[], c: Colors): string[] {
  const settings = settingsText(view);
  const addresses = [...view.elasticIps.map(elasticText), ...view.prefixLists.flatMap(prefixListText)];
  if (view.vpcs.length === 0) return [...settings, ...addresses, 'no VPCs'];
  return [
    ...settings,
    ...addresses,
    ...view.vpcs.flatMap((vpc) => ['', ...vpcText(vpc, view.peerings, apps, c)]),
    ...view.privateZones.flatMap((zone) => ['', ...zoneText(zone, c)]),
    ...view.transitGateways.flatMap((gateway) => ['', ...transitText(gateway, c)]),
  ];
}

/** A private zone as a tree. */
export function zoneText({ name, domain, vpcs, records }: PrivateZoneView, c: Colors): string[] {
  return [
    `${c.bold(`private zone ${name}`)}  ${domain}, ${vpcs.length === 0 ? 'of no VPC' : `of ${vpcs.join(', ')}`}`,
    ...draw(records.map((record) => leaf(recordText(record)))),
  ];
}

function recordText({ name, type = 'A', ttl, values = [], alias }: ZoneRecordSpec): string {
  const what = alias === undefined ? values.map(oneLine).join(', ') : `instance ${alias.vpc}/${alias.instance}`;
  return `${name} ${type} ${what}${ttl === undefined ? '' : `  ttl ${ttl}`}`;
}

/** `resolver 10.0.0.2, instances NAME.a.internal, forwards to the host's servers`. */
export function dnsText(dns: DnsView | null): string {
  if (dns === null) return 'no resolver';
  const forward =
    dns.forward === 'host'
      ? "forwards to the host's servers"
      : dns.forward === 'none'
        ? 'forwards nothing'
        : `forwards to ${dns.forward.join(', ')}`;
  const zones = dns.privateZones.length === 0 ? [] : [`private zones ${dns.privateZones.join(', ')}`];
  return [`resolver ${dns.addresses[0]}`, `instances NAME.${dns.domain}`, forward, ...zones].join(', ');
}

/** A transit gateway as a tree. */
export function transitText({ name, namespace, attachments, routeTables }: TransitGatewayView, c: Colors): string[] {
  return [
    `${c.bold(`transit gateway ${name}`)}  ${c.dim(`namespace ${namespace}`)}`,
    ...draw([
      ...attachments.map(({ vpc, routeTable, propagateTo }) =>
        leaf(
          `attached vpc ${vpc}  follows ${routeTable}, ${propagateTo.length === 0 ? 'propagates to none' : `propagates to ${propagateTo.join(', ')}`}`,
        ),
      ),
      ...routeTables.map(({ name: table, routes }) => ({
        text: `route table ${table}`,
        branches: routes.map(({ destination, target, blackhole, propagated }) =>
          leaf(
            `${destinationText(destination)} → ${target === 'blackhole' ? target : `vpc ${target.vpc}`}${blackhole && target !== 'blackhole' ? ', which is not attached: black hole' : ''}${propagated ? '  propagated' : ''}`,
          ),
        ),
      })),
    ]),
  ];
}

/** A prefix list as a tree. */
export function prefixListText({ name, family, maxEntries, entries, references }: PrefixListView): string[] {
  const whose = references.length === 0 ? 'nothing refers to it' : `of ${references.join(', ')}`;
  return [
    `prefix list ${name}  ${family === 'ipv6' ? 'IPv6, ' : ''}${entries.length} of ${maxEntries} entries, ${whose}`,
    ...draw(entries.map(({ cidr, description }) => leaf(`${cidr}${note(description)}`))),
  ];
}

function elasticText({ name, address, association }: ElasticIpView): string {
  if (association === null) return `elastic ip ${name}  ${address}, of nothing`;
  const { vpc, instance, natGateway } = association;
  const whose = instance === undefined ? `nat gateway ${vpc}/${natGateway}` : `instance ${vpc}/${instance}`;
  return `elastic ip ${name}  ${address}, of ${whose}`;
}

/** One VPC with all that is in it. */
export function vpcText(vpc: VpcView, peerings: readonly PeeringView[], apps: readonly AppView[], c: Colors): string[] {
  const own = peerings.filter(({ vpcs }) => vpcs.includes(vpc.name));
  const tables = vpc.routeTables.filter(
    ({ name, routes }) => name !== 'main' || routes.some(({ automatic }) => !automatic),
  );
  return [
    `${c.bold(`vpc ${vpc.name}`)}  ${[...vpc.cidrs, vpc.ipv6Cidr ?? []].flat().join(', ')}  ${c.dim(`mtu ${vpc.mtu}, router ${vpc.namespace}`)}`,
    ...draw([
      ...(vpc.dns === null ? [] : [leaf(dnsText(vpc.dns))]),
      ...vpc.subnets.map((subnet) => subnetBranch(vpc.name, subnet, apps, c)),
      ...tables.map(({ name, subnets, routes }) => ({
        text: `route table ${name}  ${c.dim(subnets.length === 0 ? 'of no subnet' : `of ${subnets.join(', ')}`)}`,
        branches: routes.map((route) => leaf(routeText(route))),
      })),
      ...vpc.natGateways.map((nat) => leaf(natText(nat, c))),
      ...(vpc.egressOnlyInternetGateway ? [leaf('egress-only internet gateway')] : []),
      ...vpc.networkAcls.map((acl) => ({
        text: `network acl ${acl.name}  ${c.dim(acl.subnets.length === 0 ? 'of no subnet' : `of ${acl.subnets.join(', ')}`)}`,
        branches: aclLines(acl).map(leaf),
      })),
      ...vpc.securityGroups.map((group) => ({
        text: `security group ${group.name}${group.description === null ? '' : `  ${c.dim(oneLine(group.description))}`}`,
        branches: [
          ...group.ingress.map((rule) => leaf(`ingress ${groupRuleText(rule, 'from')}`)),
          ...group.egress.map((rule) => leaf(`egress ${groupRuleText(rule, 'to')}`)),
        ],
      })),
      ...own.map(({ vpcs: [first, second], allowCidrs, routes }) =>
        leaf(
          [
            `peered with ${first === vpc.name ? second : first}`,
            ...(allowCidrs === null ? [] : [`only ${allowCidrs.join(', ')}`]),
            ...(routes === 'manual' ? ['by manual routes'] : []),
          ].join('  '),
        ),
      ),
    ]),
  ];
}

/** `pl:corp` is a prefix list. */
export function destinationText(destination: string): string {
  return destination.replace(/^pl:/, 'prefix list ');
}

/** `nat gateway out`. */
export function targetText(target: RouteView['target']): string {
  if (typeof target === 'string') return target.replace(/-(?!only)/g, ' ');
  if ('natGateway' in target) return `nat gateway ${target.natGateway}`;
  return 'peering' in target ? `peer ${target.peering}` : `transit gateway ${target.transitGateway}`;
}

/** `0.0.0.0/0 → nat gateway out`. */
export function routeText({ destination, target, blackhole }: RouteView): string {
  return `${destinationText(destination)} → ${targetText(target)}${blackhole && target !== 'blackhole' ? ', which is gone: black hole' : ''}`;
}

function elasticOf({ elasticIp }: { readonly elasticIp: string | null }): string {
  return elasticIp === null ? '' : ` (elastic ip ${elasticIp})`;
}

function natText(nat: NatGatewayView, c: Colors): string {
  return [
    `nat gateway ${nat.name}  ${nat.ip}`,
    nat.publicIp === null ? 'private' : `public ${nat.publicIp}${elasticOf(nat)}`,
    `in ${nat.subnet}`,
    c.dim(`namespace ${nat.namespace}`),
  ].join('  ');
}

function subnetBranch(vpc: string, subnet: SubnetView, apps: readonly AppView[], c: Colors): Branch {
  return {
    text: `subnet ${subnet.name}  ${subnet.cidr}${subnet.ipv6Cidr === null ? '' : `, ${subnet.ipv6Cidr}`}  ${subnet.kind}, gateway ${subnet.gateway}${subnet.networkAcl === null ? '' : `, network acl ${subnet.networkAcl}`}`,
    branches: [
      ...subnet.instances.map((instance) => ({
        text: [
          `instance ${instance.name}  ${instance.ip}`,
          ...(instance.ipv6 === null ? [] : [instance.ipv6]),
          ...(instance.secondaryIps.length === 0 ? [] : [`also ${instance.secondaryIps.join(', ')}`]),
          ...(instance.publicIp === null ? [] : [`public ${instance.publicIp}${elasticOf(instance)}`]),
          ...instance.publish.map(({ hostPort, port, protocol }) => `host port ${hostPort}/${protocol} → ${port}`),
          ...shapingText(instance.shaping),
          `groups ${instance.securityGroups.join(', ')}`,
          c.dim(`namespace ${instance.namespace}`),
        ].join('  '),
        branches: apps
          .filter((app) => app.vpc === vpc && app.instance === instance.name)
          .map((app) => leaf(appText(app))),
      })),
      ...(subnet.policy === null ? [] : [{ text: 'policy', branches: policyLines(subnet.policy).map(leaf) }]),
    ],
  };
}

/** `bandwidth 100mbit in, 50mbit out`, `delay 20ms`. */
function shapingText(shaping: ShapingSpec | null): string[] {
  return Object.entries(shaping ?? {}).map(([part, value]: [string, NonNullable<ShapingSpec['bandwidth']>]) => {
    if (typeof value === 'string') return `${part} ${value}`;
    const ways = Object.entries(value).map(([way, amount]) =>
      way === 'burst' ? `burst ${amount}` : `${amount} ${way}`,
    );
    return `${part} ${ways.join(', ')}`;
  });
}

/** `app on port 8080: node hello.js (pid 7, running)`. */
export function appText({ port, command, pid, running }: AppView): string {
  const where = port === undefined ? '' : ` on port ${port}`;
  return `app${where}: ${oneLine(command.join(' '))} (${running ? `pid ${pid}` : 'ended'})`;
}

function groupRuleText(rule: IngressRuleSpec & EgressRuleSpec, side: 'from' | 'to'): string {
  const party = rule[side] ?? 'any';
  const whom =
    typeof party === 'string'
      ? party
      : 'prefixList' in party
        ? `prefix list ${party.prefixList}`
        : `security group ${party.group}${party.vpc === undefined ? '' : ` of vpc ${party.vpc}`}`;
  return `${matchText(rule)} ${side} ${whom}${note(rule.description)}`;
}

interface Match {
  readonly protocol?: string | number;
  readonly port?: string | number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
}

/** `tcp 80`, `icmp type 3 code 4`. */
function matchText({ protocol, port, icmpType = -1, icmpCode = -1 }: Match): string {
  return [
    protocol ?? 'any',
    ...(port === undefined || port === 'any' ? [] : [port]),
    ...(icmpType === -1 ? [] : [`type ${icmpType}`]),
    ...(icmpCode === -1 ? [] : [`code ${icmpCode}`]),
  ].join(' ');
}

/** The rules of a network ACL in the order in which they are tried, and what happens to the rest. */
export function aclLines(acl: Pick<NetworkAclView, 'ingress' | 'egress'>): string[] {
  return (['ingress', 'egress'] as const).flatMap((direction) => [
    ...acl[direction].map((entry) => `${direction} ${aclEntryText(entry, direction)}`),
    `${direction} *: deny`,
  ]);
}

function aclEntryText(entry: NetworkAclEntrySpec, direction: 'ingress' | 'egress'): string {
  const side = direction === 'ingress' ? 'from' : 'to';
  return `${entry.number}: ${entry.action} ${matchText(entry)} ${side} ${entry.cidr}`;
}

function note(description: string | undefined): string {
  return description === undefined ? '' : `  # ${oneLine(description)}`;
}

/** The rules of a policy in their order, and what happens to the rest. */
export function policyLines(policy: PolicySpec): string[] {
  return (['ingress', 'egress'] as const).flatMap((direction) => {
    const rules = policy[direction];
    if (rules === undefined) return [`${direction}: no list, security groups decide`];
    return [
      ...rules.map((rule, index) => `${direction} ${index + 1}: ${policyRuleText(rule)}`),
      `${direction}: everything else is denied`,
    ];
  });
}

function policyRuleText(rule: PolicyRuleSpec): string {
  const verdict = rule.action === 'allow' || rule.action === 'accept' ? 'allow' : 'deny';
  const parties = [
    ...(rule.source === undefined ? [] : [`from ${rule.source}`]),
    ...(rule.destination === undefined ? [] : [`to ${rule.destination}`]),
  ];
  return `${[verdict, matchText(rule), ...parties].join(' ')}${note(rule.description)}`;
}

/** `doctor`: a line a check, what to do below. */
export function doctorText({ ok, checks }: Pick<DoctorReport, 'ok' | 'checks'>, c: Colors): string[] {
  const paint = { ok: c.green, warning: c.yellow, missing: c.red, unknown: c.yellow } as const;
  const width = Math.max(...checks.map(({ name }) => name.length));
  return [
    ...checks.flatMap(({ name, status, detail, hint }) => [
      `${paint[status](status.padEnd(7))}  ${name.padEnd(width)}  ${oneLine(detail)}`,
      ...(hint === undefined ? [] : [`${' '.repeat(width + 11)}${oneLine(hint)}`]),
    ]),
    ok ? 'this machine has what vpcctl needs' : 'something that vpcctl needs is missing',
  ];
}

/** `doctor --fix` and `--undo`: a line a fix. */
export function fixesText(
  { fixed, undone }: Pick<DoctorReport, 'fixed' | 'undone'>,
  describe: (fix: Fix) => string,
): string[] {
  if (fixed.length + undone.length === 0) return ['nothing to do'];
  return [
    ...undone.map(({ fix, left }) =>
      oneLine(left === undefined ? `- ${describe(fix)}` : `= ${describe(fix)}: ${left}`),
    ),
    ...fixed.map((fix) => oneLine(`+ ${describe(fix)}`)),
  ];
}

/** Facts of a result on one line: `name  key value, key value`. */
export function factsText(facts: Readonly<Record<string, unknown>>): string {
  return Object.entries(facts)
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([key, value]) => `${key} ${formatValue(value)}`)
    .join(', ');
}
