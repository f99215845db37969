/** A network ACL at a subnet's border: the first rule that matches a packet decides, whatever was decided about others of its connection. */

import type { AclEntry, NetworkAcl } from '../model/resources.js';
import type { Ip } from '../net/cidr.js';
import { ICMP, ICMPV6 } from '../net/ports.js';
import type { Direction, Lookup } from './lookup.js';
import { echoOf, isMessage, type Message, matchText } from './match.js';
import type { ResolvedQuery } from './types.js';

interface Ports {
  readonly from: number;
  readonly to: number;
}

/** Packets of one kind: to these ports, or of this type of ICMP. */
interface Traffic {
  readonly protocol: ResolvedQuery['protocol'];
  readonly ports: Ports | null;
  readonly icmp: Message | null;
}

export interface AclJudgement {
  readonly admits: boolean;
  readonly rule: string;
  readonly hint?: string;
}

/** What a NAT gateway and the clients of every system use between them (VPC User Guide, "Network ACLs", ephemeral ports). */
const EPHEMERAL = '1024-65535';

function trafficOf({ protocol, port, sourcePorts }: ResolvedQuery, way: 'forward' | 'return'): Traffic {
  const ports = way === 'return' ? sourcePorts : port === null ? null : { from: port, to: port };
  const { request, reply } = echoOf(protocol.number);
  const hasMessages = protocol.number === ICMP.number || protocol.number === ICMPV6.number;
  return { protocol, ports, icmp: hasMessages ? (way === 'return' ? reply : request) : null };
}

export function judgeAcl(
  lookup: Lookup,
  acl: NetworkAcl,
  direction: Direction,
  address: Ip,
  way: 'forward' | 'return',
  query: ResolvedQuery,
): AclJudgement {
  const traffic = trafficOf(query, way);
  const whom = `${direction === 'ingress' ? 'from' : 'to'} ${address}`;
  const entries = acl[direction].filter(({ cidr }) => lookup.isIn(address, lookup.block(cidr)));
  const parts = partsOf(entries, traffic);
  const refused = parts.find(({ by }) => by?.allow !== true);
  if (refused === undefined) return { admits: true, rule: rulesText(direction, parts) };
  const passing = parts.flatMap(({ ports, by }) => (ports === null || by?.allow !== true ? [] : [portsText(ports)]));
  const rule =
    refused.by === undefined
      ? `no ${direction} rule names ${trafficText(traffic)} ${whom}`
      : rulesText(direction, [refused]);
  const only = passing.length === 0 ? '' : `: only some of its ports pass, ${passing.join(', ')}`;
  return {
    admits: false,
    rule: `${way === 'return' ? 'stateless: ' : ''}${rule}${only}`,
    hint: hintFor(acl, direction, way, traffic, whom, refused.by),
  };
}

interface Part {
  readonly ports: Ports | null;
  readonly by: AclEntry | undefined;
}

/** The rules that decide, each over ports of its own; over all together where there are none. Absent: none names these. */
function partsOf(entries: readonly AclEntry[], { protocol, ports, icmp }: Traffic): Part[] {
  const parts: Part[] = [];
  let open: readonly (Ports | null)[] = [ports];
  for (const entry of entries) {
    if (entry.protocol !== undefined && entry.protocol !== protocol.number) continue;
    if (entry.icmp !== undefined && (icmp === null || !isMessage(entry.icmp, icmp))) continue;
    const rest: (Ports | null)[] = [];
    for (const part of open) {
      const [taken, ...left] = divide(part, entry.ports);
      if (taken !== undefined) parts.push({ ports: taken, by: entry });
      rest.push(...left);
    }
    open = rest;
  }
  return [...parts, ...open.map((part) => ({ ports: part, by: undefined }))].sort(
    (a, b) => (a.ports?.from ?? 0) - (b.ports?.from ?? 0),
  );
}

/** What of the ports a rule takes, if any; then what it leaves. */
function divide(part: Ports | null, rule: AclEntry['ports']): [Ports | null | undefined, ...(Ports | null)[]] {
  if (rule === undefined) return [part];
  if (part === null || rule.to < part.from || part.to < rule.from) return [undefined, part];
  return [
    { from: Math.max(part.from, rule.from), to: Math.min(part.to, rule.to) },
    ...(part.from < rule.from ? [{ from: part.from, to: rule.from - 1 }] : []),
    ...(rule.to < part.to ? [{ from: rule.to + 1, to: part.to }] : []),
  ];
}

// --- words -----------------------------------------------------------------------------------------------------------

function portsText({ from, to }: Ports): string {
  return from === to ? String(from) : `${from}-${to}`;
}

/** `tcp 80`, `tcp 32768-60999`, `icmp type 0`. */
function trafficText({ protocol, ports, icmp }: Traffic): string {
  if (ports !== null) return `${protocol.name} ${portsText(ports)}`;
  return icmp === null ? protocol.name : `${protocol.name} type ${icmp.type}`;
}

/** `ingress rule 100: allow tcp 80 from 0.0.0.0/0`. */
function rulesText(direction: Direction, parts: readonly Part[]): string {
  const side = direction === 'ingress' ? 'from' : 'to';
  const texts = [...new Set(parts.flatMap(({ by }) => by ?? []))].map((entry) => {
    return `${direction} rule ${entry.number}: ${entry.allow ? 'allow' : 'deny'} ${matchText(entry)} ${side} ${entry.cidr}`;
  });
  return texts.join('; ');
}

function hintFor(
  { vpc, name }: NetworkAcl,
  direction: Direction,
  way: 'forward' | 'return',
  traffic: Traffic,
  whom: string,
  by: AclEntry | undefined,
): string {
  const match =
    way === 'return' && traffic.ports !== null ? `${traffic.protocol.name} ${EPHEMERAL}` : trafficText(traffic);
  const wanted = `allow ${match} ${whom}`;
  if (by === undefined) return `add an ${direction} rule to network acl ${vpc}/${name}: ${wanted}`;
  return `${wanted} in network acl ${vpc}/${name} before ${direction} rule ${by.number}`;
}
