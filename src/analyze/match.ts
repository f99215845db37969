/** What packets a rule is for, whoever the other side is. */
import type { AclEntry, GroupRule } from '../model/resources.js';
import { formatMatch, type PolicyRule } from '../model/rules.js';

/** A message of ICMP. */
export interface Message {
  readonly type: number;
  readonly code: number;
}

/** RFC 792: what is asked is an echo, and its answer the reply to that. */
export const ECHO_REQUEST: Message = { type: 8, code: 0 };
export const ECHO_REPLY: Message = { type: 0, code: 0 };

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
