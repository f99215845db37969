/** Names and fixed numbers of what we make in the kernel. All follow from the model's names: nothing is allocated. */
import { HOST_ADDRESS } from '../model/resources.js';
import { type AnyCidr, type Cidr, type Ipv4, type Ipv6, toNumber } from '../net/cidr.js';
import { linkName, macOf } from '../net/name.js';
import { OWNER_MARK } from '../objects/kernel-object.js';

/** Names of VPCs have no dot, so no router is called like the edge and no workload like a router. */
export const EDGE_NS = 'vpc-edge';
export const routerNs = (vpc: string): string => `vpc.${vpc}`;
export const workloadNs = (vpc: string, instance: string): string => `vpc.${vpc}.${instance}`;
export const transitNs = (gateway: string): string => `vpc-tgw.${gateway}`;
/** Names of instances have no dot either. */
export const natNs = (vpc: string, nat: string): string => `vpc.${vpc}.nat.${nat}`;
export const isNamespaceOf = (vpc: string, ns: string): boolean =>
  ns === routerNs(vpc) || ns.startsWith(`${routerNs(vpc)}.`);

export const UPLINK = 'uplink';
export const WORKLOAD_LINK = 'eth0';
/** The one link on the host, and its other end in the edge. */
export const HOST_LINK = 'vpc-edge';
export const EDGE_HOST_LINK = 'host';
/** Wildcards for rules: the first part of every name of that kind. */
export const PORTS = 'eni*';
export const PEER_LINKS = 'peer-*';
export const ROUTER_LINKS = 'r-*';
export const TRANSIT_LINKS = 'tgw-*';

/** The edge's link to a VPC's router. */
export const routerLink = (vpc: string): string => linkName('r-', vpc);
export const isRouterLink = (link: string | undefined): boolean => link?.startsWith('r-') === true;
/** A router's link to a peer. */
export const peerLink = (other: string): string => linkName('peer-', other);
/** A router's link to a transit gateway, and that gateway's to the router. */
export const transitLink = (gateway: string): string => linkName('tgw-', gateway);
export const attachmentLink = (vpc: string): string => linkName('v-', vpc);
/** The router's end of a workload's link. */
export const portLink = (ip: Ipv4): string => `eni${toNumber(ip).toString(16).padStart(8, '0')}`;
/** What a workload sends is led through it, where its bandwidth is bounded. */
export const shapeLink = (ip: Ipv4): string => portLink(ip).replace('eni', 'ifb');
export const isShapeLink = (link: string): boolean => link.startsWith('ifb');
export const isPortLink = (link: string | undefined): boolean => link?.startsWith('eni') === true;

/**
 * Addresses between host, edge and routers. Every VPC has the same: each pair of ends is a network of its own, and the neighbour
 * entries are permanent. Link-local (RFC 3927), so never routed by anyone else.
 */
export const TRANSIT = {
  host: HOST_ADDRESS,
  edge: '169.254.128.2' as Ipv4,
  /** Next hop from the edge to any router. Nobody owns it. */
  router: '169.254.128.5' as Ipv4,
  /** Next hop from a router to its peer. Nobody owns it. */
  peer: '169.254.128.6' as Ipv4,
  /** Next hop from a router to a transit gateway, which is known by it in errors. */
  gateway: '169.254.128.7' as Ipv4,
  prefix: 30,
  block: '169.254.128.0/30' as Cidr,
} as const;

/** The same for IPv6: next hops that nobody owns. The host's address is of the pool. */
export const TRANSIT6 = {
  /** From a workload to its router. */
  port: 'fe80::1' as Ipv6,
  /** From a router to its peer. */
  peer: 'fe80::6' as Ipv6,
  /** From a router to a transit gateway, and back. */
  gateway: 'fe80::7' as Ipv6,
  router: 'fe80::5' as Ipv6,
  /** What a transit gateway is known by in errors. No router passes on what comes from fe80::/10; and this, withdrawn (RFC 3879), is no VPC's either. */
  errors: 'fec0::7' as Ipv6,
  /** From the host, and from a router, to the edge. */
  edge: 'fe80::2' as Ipv6,
  /** From the edge to the host. */
  host: 'fe80::3' as Ipv6,
} as const;

/** MAC addresses of our own links; first octets differ from those of {@link macOf}. */
export const MAC = {
  /** All ports: each is a network of its own, and a workload's gateway has this address on any. */
  port: '06:76:70:63:00:01',
  host: '06:76:70:63:00:02',
  edge: '06:76:70:63:00:03',
  /** Edge's end and router's end of an uplink. */
  edgeToRouter: '06:76:70:63:00:04',
  uplink: '06:76:70:63:00:05',
  /** The two ends of a peering, in the order of the VPCs' names. */
  peer: ['06:76:70:63:00:06', '06:76:70:63:00:07'],
  /** Router's end and gateway's end of an attachment. */
  attached: '06:76:70:63:00:08',
  gateway: '06:76:70:63:00:09',
  workload: macOf,
} as const;

/** Of a route that any other to the same destination goes before. */
export const LAST_METRIC = 1000;
/** The same in IPv6, where a route without a metric has 1024. */
export const LAST_METRIC6 = 2000;
/** Behind the kernel's main (32766) and default (32767): what main knows, the VPC itself, comes first. */
export const SUBNET_RULE_PRIORITY = 33000;
/** Of the route table `main`: behind the rules of subnets that follow another one. */
export const VPC_RULE_PRIORITY = 33100;
/** Of a transit gateway's attachments. */
export const ATTACHMENT_RULE_PRIORITY = 1000;
/** What a transit gateway itself sends, errors, finds back by a table of its own; other tables have other numbers. */
export const TRANSIT_OWN_RULE_PRIORITY = 1001;
export const TRANSIT_OWN_TABLE = 99;

/** Owner mark in the alias of a link. */
export const alias = (what: string): string => `${OWNER_MARK}${what}`;

/** A block as an element of a set: nft prints a block of one address as the address. */
export const blockValue = (cidr: AnyCidr): string =>
  cidr.endsWith(cidr.includes(':') ? '/128' : '/32') ? cidr.slice(0, cidr.indexOf('/')) : cidr;
