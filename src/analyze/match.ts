/** What packets a rule is for, whoever the other side is. */
import type { AclEntry, GroupRule } from '../model/resources.js';
import { formatMatch, type PolicyRule } from '../model/rules.js';
import { ICMPV6 } from '../net/ports.js';

/** A message of ICMP. */
export interface Message {
  readonly type: number;
  readonly code: number;
}

/** RFC 792 and 4443: what is asked is an echo, and its answer the reply to that. */
const ECHO = { request: { type: 8, code: 0 }, reply: { type: 0, code: 0 } };
const ECHO6 = { request: { type: 128, code: 0 }, reply: { type: 129, code: 0 } };

export function echoOf(protocol: number): { readonly request: Message; readonly reply: Message } {
  return protocol === ICMPV6.number ? ECHO6 : ECHO;
}

/** Whether a message is one of those that a rule names. */
export function isMessage({ type, code }: NonNullable<GroupRule['icmp']>, message: Message): boolean {
  return type === message.type && (code === undefined || code === message.code);
}

/** `tcp 80`, `icmp type 3 code 4`, `any`. */
export function matchText(rule: GroupRule | PolicyRule | AclEntry): string {
  const { protocol = 'any', port, icmpType, icmpCode } = formatMatch(rule);
  return [
    protocol,
    ...(port === undefined ? [] : [port]),
    ...(icmpType === undefined ? [] : [`type ${icmpType}`]),
    ...(icmpCode === undefined ? [] : [`code ${icmpCode}`]),
  ].join(' ');
}
