/** A network ACL's elements: the ordered rules of each of its lists as disjoint boxes of packets that pass. */
import { getKind, has, type Reader } from '../model/reader.js';
import { type AclEntry, ids, type NetworkAcl } from '../model/resources.js';
import { type Family, familyOf, rangeOf } from '../net/cidr.js';
import { icmpOf } from '../net/ports.js';
import { type KernelObject, NFT_TABLE, type NftElementRow, type NftValue } from '../objects/kernel-object.js';
import {
  ALL_ADDRESSES,
  ALL_PORTS,
  ALL_PROTOCOLS,
  addressValue,
  type Box,
  firstMatch,
  icmpRange,
  icmpRectangles,
  isAll,
  rangeValue,
} from './boxes.js';
import { ACL_SETS, type AclSet, aclMark, aclSet } from './firewall.js';
import { routerNs } from './names.js';

/** Nothing while no subnet is associated with it. */
export function lowerNetworkAcl(reader: Reader, acl: NetworkAcl): KernelObject[] {
  if (!has(reader, `acl:${acl.vpc}/${acl.name}`)) return [];
  const isDual = getKind(reader, 'vpc', ids.vpc(acl.vpc))?.ipv6Cidr !== undefined;
  return [...lowerLists(acl, 4), ...(isDual ? lowerLists(acl, 6) : [])];
}

/** Messages of the other family's ICMP are none of this one's. */
function isSpoken({ protocol, icmp, cidr }: AclEntry, family: Family): boolean {
  return familyOf(cidr) === family && (icmp === undefined || protocol === icmpOf(family).number);
}

function lowerLists(acl: NetworkAcl, family: Family): KernelObject[] {
  return (['ingress', 'egress'] as const).flatMap((direction) => {
    const mark = aclMark(acl.number, direction);
    const row = (set: AclSet, ...key: NftValue[]): NftElementRow => ({
      kind: 'nft-element',
      ns: routerNs(acl.vpc),
      family: 'inet',
      table: NFT_TABLE,
      set: aclSet(family, set),
      key: [mark, ...key],
      ...('interval' in ACL_SETS[family][set] ? { interval: true } : {}),
    });
    const entries = acl[direction].filter((entry) => isSpoken(entry, family));
    const boxes = firstMatch(entries.map((entry) => ({ allow: entry.allow, box: boxOf(entry) })));
    return boxes.flatMap((box) => rowsOf(box, family, row));
  });
}

function boxOf({ protocol, ports, icmp, cidr }: AclEntry): Box {
  const { first, last } = rangeOf(cidr);
  return {
    address: { from: first, to: last },
    protocol: protocol === undefined ? ALL_PROTOCOLS : { from: protocol, to: protocol },
    port: icmp === undefined ? (ports ?? ALL_PORTS) : icmpRange(icmp),
  };
}

/** Of one protocol alone, where ports are named: only rules of one protocol name them. */
function rowsOf(
  { address, protocol, port }: Box,
  family: Family,
  row: (set: AclSet, ...key: NftValue[]) => NftElementRow,
): NftElementRow[] {
  const anyPort = isAll(port, ALL_PORTS);
  const where = addressValue(address);
  if (!anyPort && protocol.from === icmpOf(family).number) {
    return icmpRectangles(port).map(({ type, code }) => row('icmp', where, rangeValue(type), rangeValue(code)));
  }
  const one = protocol.from === protocol.to;
  if (isAll(address, ALL_ADDRESSES[family])) {
    if (anyPort && isAll(protocol, ALL_PROTOCOLS)) return [row('all')];
    if (anyPort && one) return [row('proto', protocol.from)];
    if (one && port.from === port.to) return [row('port', protocol.from, port.from)];
  }
  return anyPort
    ? [row('net', where, rangeValue(protocol))]
    : [row('net_port', where, rangeValue(protocol), rangeValue(port))];
}
