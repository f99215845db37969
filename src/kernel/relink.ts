/** A link that is there made another, message by message: only what differs is told, so that nothing else of it is disturbed. */

import { type LinkChange, type LinkConf, setLink } from '../netlink/link.js';
import { PROXY_DELAY, setProxyDelay } from '../netlink/neightbl.js';
import type { Change } from '../objects/change.js';
import type { LinkRow, VethRow } from '../objects/kernel-object.js';
import type { Program } from './program.js';

type LinkUpdate = Extract<Change, { op: 'update' }> & { readonly row: LinkRow };

export function isLinkUpdate(change: Change): change is LinkUpdate {
  return change.op === 'update' && change.row.kind === 'link';
}

/** What a link of another kind has not. */
const NONE: Partial<VethRow> = {};

function vethOf(row: LinkRow): Partial<VethRow> {
  return row.type === 'veth' ? row : NONE;
}

/** What makes a link strict ({@link VethRow}), and what undoes that. */
const STRICT: LinkConf = { rpFilter: 1, sendRedirects: 0, acceptSourceRoute: 0, arpIgnore: 0, arpAccept: 0 };
const LOOSE: LinkConf = { ...STRICT, rpFilter: 0 };
const LAX: LinkConf = { rpFilter: 0, sendRedirects: 1 };

const CONFS = new Map<VethRow['strict'], LinkConf>([
  [true, STRICT],
  ['loosely', LOOSE],
  [undefined, LAX],
]);

/** How strict a link with these settings is. */
export function strictnessOf(conf: LinkConf): Pick<VethRow, 'strict'> {
  const is = (wanted: LinkConf): boolean =>
    Object.entries(wanted).every(([key, value]) => conf[key as keyof LinkConf] === value);
  return is(STRICT) ? { strict: true } : is(LOOSE) ? { strict: 'loosely' } : {};
}

/** The settings in which a link differs from another. */
export function confOf(is: Partial<VethRow>, was: Partial<VethRow>): { readonly conf?: LinkConf } {
  const conf: LinkConf = {
    ...(is.strict === was.strict ? {} : CONFS.get(is.strict)),
    ...(is.answers === was.answers ? {} : { proxyArp: is.answers === true ? 1 : 0 }),
  };
  return Object.keys(conf).length === 0 ? {} : { conf };
}

export function updateLink(program: Program, change: LinkUpdate): void {
  const { row } = change;
  const old = change.old as LinkRow;
  const is = vethOf(row);
  const was = vethOf(old);
  const told: LinkChange = {
    name: row.name,
    ...(row.alias === old.alias ? {} : { alias: row.alias }),
    ...(row.mac === old.mac ? {} : { mac: row.mac }),
    ...(row.mtu === old.mtu ? {} : { mtu: row.mtu }),
    ...(is.master === was.master ? {} : { master: is.master ?? null }),
    ...(row.down === old.down ? {} : { up: row.down !== true }),
    ...confOf(is, was),
  };
  if (Object.keys(told).length > 1) program.netlink(row.ns, change, 'does', (batch) => setLink(batch, told));
  if (is.answers === was.answers) return;
  const ms = is.answers === true ? 0 : PROXY_DELAY;
  program.netlink(row.ns, change, 'does', (batch) => setProxyDelay(batch, { link: row.name, ms }));
}
