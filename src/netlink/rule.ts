/** Policy rules (RTM_*RULE, linux/fib_rules.h). */
import { invalid } from '../errors.js';
import { type Family, familyNumber, familyOf, formatCidr, parseCidr } from './address.js';
import { type Batch, dumpRequest } from './batch.js';
import { type Draft, decodeMessages, eachAttr, readBytes, readText, readU8, readU32 } from './message.js';
import { LITTLE_ENDIAN, NLM_F_CREATE, NLM_F_EXCL, OWN_PROTOCOL } from './wire.js';

// linux/rtnetlink.h
const RTM_NEWRULE = 32;
const RTM_DELRULE = 33;
const RTM_GETRULE = 34;
const RT_TABLE_UNSPEC = 0;

// struct fib_rule_hdr: u8 family, u8 dst_len, u8 src_len, u8 tos, u8 table, u8 res1, u8 res2, u8 action, u32 flags
const FIB_RULE_HDR_LENGTH = 12;

// linux/fib_rules.h
const FIB_RULE_INVERT = 0x2;
const FRA_DST = 1;
const FRA_SRC = 2;
const FRA_IIFNAME = 3;
const FRA_PRIORITY = 6;
const FRA_FWMARK = 10;
const FRA_TABLE = 15;
const FRA_OIFNAME = 17;
const FRA_PROTOCOL = 21;

/** Actions by number: FR_ACT_* of linux/fib_rules.h, in iproute2's words. */
const ACTIONS = ['unspec', 'lookup', 'goto', 'nop', 'res3', 'res4', 'blackhole', 'unreachable', 'prohibit'] as const;
const FR_ACT_TO_TBL = 1;

/** What a rule does; `unknown` is an action newer than this code. */
export type RuleAction = (typeof ACTIONS)[number] | 'unknown';

/** Packets from `from` are looked up in `table`. */
export interface RuleParams {
  /** Rules are tried in rising order; 0, 32766 and 32767 are the kernel's. */
  readonly priority: number;
  /** A CIDR, or `all`. */
  readonly from: string;
  /** Name of the link that packets come by. Default: any. It need not be there yet. */
  readonly iif?: string;
  readonly table: number;
  /** Of a rule from `all`. Default 4. */
  readonly family?: Family;
  /** FRA_PROTOCOL, the owner mark. Default {@link OWN_PROTOCOL}. */
  readonly protocol?: number;
}

/** A rule as the kernel reports it, with the selectors that this project meets; others are not shown. */
export interface RuleInfo {
  readonly family: Family;
  readonly priority: number;
  /** A CIDR, or `all`. */
  readonly from: string;
  readonly to?: string;
  readonly iif?: string;
  readonly oif?: string;
  readonly mark?: number;
  /** The rule is for packets that its selectors do not match. */
  readonly inverted: boolean;
  readonly action: RuleAction;
  readonly table: number;
  /** 0 when it has none; 2 (kernel) for those of a new namespace. */
  readonly protocol: number;
}

/** Adds a rule. EEXIST when there is one just like it. */
export function addRule(batch: Batch, rule: RuleParams): void {
  ruleMessage(batch, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule);
}

/**
 * Deletes the first rule with all of these properties, the protocol included. ENOENT when there is none. The kernel
 * takes what is not told for a wildcard: `all` also matches a rule of the same priority, table and protocol from some
 * prefix.
 */
export function deleteRule(batch: Batch, rule: RuleParams): void {
  ruleMessage(batch, RTM_DELRULE, 0, rule);
}

/** The request for all rules of a namespace, IPv4 and IPv6. */
export function dumpRules(): Uint8Array {
  return dumpRequest(RTM_GETRULE, FIB_RULE_HDR_LENGTH);
}

/** Decodes the answer to {@link dumpRules}; families other than IP's (multicast routing) are passed over. */
export function decodeRules(bytes: Uint8Array): RuleInfo[] {
  return decodeMessages(bytes, RTM_NEWRULE, FIB_RULE_HDR_LENGTH, decodeRule);
}

function ruleMessage(batch: Batch, type: number, flags: number, rule: RuleParams): void {
  batch.message(type, flags, () => {
    const from = rule.from === 'all' ? undefined : parseCidr(rule.from);
    if (from?.prefix === 0) throw invalid(`a rule from ${rule.from} is one from \`all\``);
    batch.u8(familyNumber(from?.family ?? rule.family ?? 4));
    batch.u8(0); // dst_len
    batch.u8(from?.prefix ?? 0);
    batch.u8(0); // tos
    batch.u8(rule.table < 256 ? rule.table : RT_TABLE_UNSPEC);
    batch.u8(0);
    batch.u8(0);
    batch.u8(FR_ACT_TO_TBL);
    batch.u32(0); // flags
    batch.attrU32(FRA_PRIORITY, rule.priority);
    if (from !== undefined) batch.attrBytes(FRA_SRC, from.bytes);
    if (rule.iif !== undefined) batch.attrText(FRA_IIFNAME, rule.iif);
    batch.attrU32(FRA_TABLE, rule.table);
    batch.attrU8(FRA_PROTOCOL, rule.protocol ?? OWN_PROTOCOL);
  });
}

function decodeRule(view: DataView, start: number, end: number): RuleInfo | undefined {
  const family = familyOf(view.getUint8(start));
  if (family === undefined) return undefined;
  const toPrefix = view.getUint8(start + 1);
  const fromPrefix = view.getUint8(start + 2);
  const rule: Draft<RuleInfo> = {
    family,
    priority: 0, // the kernel leaves FRA_PRIORITY away when it is 0
    from: 'all',
    inverted: (view.getUint32(start + 8, LITTLE_ENDIAN) & FIB_RULE_INVERT) !== 0,
    action: ACTIONS[view.getUint8(start + 7)] ?? 'unknown',
    table: view.getUint8(start + 4),
    protocol: 0,
  };
  eachAttr(view, start + FIB_RULE_HDR_LENGTH, end, (type, from, to) => {
    switch (type) {
      case FRA_SRC:
        rule.from = formatCidr(family, readBytes(view, from, to), fromPrefix);
        break;
      case FRA_DST:
        rule.to = formatCidr(family, readBytes(view, from, to), toPrefix);
        break;
      case FRA_IIFNAME:
        rule.iif = readText(view, from, to);
        break;
      case FRA_OIFNAME:
        rule.oif = readText(view, from, to);
        break;
      case FRA_PRIORITY:
        rule.priority = readU32(view, from, to);
        break;
      case FRA_FWMARK: {
        const mark = readU32(view, from, to);
        if (mark !== 0) rule.mark = mark;
        break;
      }
      case FRA_TABLE:
        rule.table = readU32(view, from, to);
        break;
      case FRA_PROTOCOL:
        rule.protocol = readU8(view, from, to);
        break;
    }
  });
  return rule;
}
