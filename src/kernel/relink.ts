/** A link that is there made another, message by message: only what differs is told, so that nothing else of it is disturbed. */

import { type LinkChange, setLink } from '../netlink/link.js';
import { addStation, deleteStation } from '../netlink/neigh.js';
import type { Change } from '../objects/change.js';
import type { LinkRow, VethRow } from '../objects/kernel-object.js';
import type { Program } from './program.js';

type LinkUpdate = Extract<Change, { op: 'update' }> & { readonly row: LinkRow };

export function isLinkUpdate(change: Change): change is LinkUpdate {
  return change.op === 'update' && change.row.kind === 'link';
}

/** What a link that is no port has of a port. */
const NO_PORT: Pick<VethRow, 'master' | 'isolated' | 'station'> = {};

function portOf(row: LinkRow): Pick<VethRow, 'master' | 'isolated' | 'station'> {
  return row.type === 'veth' ? row : NO_PORT;
}

export function updateLink(program: Program, change: LinkUpdate): void {
  const { row } = change;
  const old = change.old as LinkRow;
  const { name } = row;
  const is = portOf(row);
  const was = portOf(old);
  const told: LinkChange = {
    name,
    ...(row.alias === old.alias ? {} : { alias: row.alias }),
    ...(row.mac === old.mac ? {} : { mac: row.mac }),
    ...(row.mtu === old.mtu ? {} : { mtu: row.mtu }),
    ...(is.master === was.master ? {} : { master: is.master ?? null }),
    ...(row.down === old.down ? {} : { up: row.down !== true }),
    ...portChange(is, was),
  };
  if (Object.keys(told).length > 1) program.netlink(row.ns, change, 'does', (batch) => setLink(batch, told));
  const sameBridge = is.master === was.master;
  if (is.station === was.station && sameBridge) return;
  // A bridge forgets what is behind a port that leaves it.
  if (was.station !== undefined && sameBridge) {
    const { station } = was;
    program.netlink(row.ns, { op: 'delete', row }, 'helps', (batch) =>
      deleteStation(batch, { port: name, mac: station }),
    );
  }
  if (is.station !== undefined) {
    const { station } = is;
    program.netlink(row.ns, change, 'does', (batch) => addStation(batch, { port: name, mac: station, replace: true }));
  }
}

/** What only a port has: it begins anew with every bridge that the link joins. */
function portChange(is: typeof NO_PORT, was: typeof NO_PORT): Pick<LinkChange, 'isolated' | 'quiet'> {
  const same = is.master === was.master && is.isolated === was.isolated && is.station === was.station;
  if (is.master === undefined || same) return {};
  return { isolated: is.isolated === true, quiet: is.station !== undefined };
}
