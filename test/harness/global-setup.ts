/** Refuses to run a test that changes a kernel anywhere but in a private host. */
import { readFileSync, readlinkSync } from 'node:fs';
import { MARKER } from '../../scripts/private-host.mjs';

const how = 'run `npm test` (or `node scripts/private-host.mjs -- npx vitest run --project kernel`)';

function initialNetns(): string | undefined {
  try {
    return readlinkSync('/proc/1/ns/net');
  } catch {
    // Process 1 belongs to somebody else, or hides; the marker says where we came from.
    return undefined;
  }
}

export function setup(): void {
  const own = readlinkSync('/proc/self/ns/net');
  if (own === initialNetns()) throw new Error(`this is the initial network namespace; ${how}`);
  const marker = process.env[MARKER];
  if (marker === undefined || marker === own) throw new Error(`not in a private host; ${how}`);
  const mounts = readFileSync('/proc/self/mounts', 'utf8');
  if (!/^tmpfs \/run tmpfs /m.test(mounts)) throw new Error(`/run is not a private tmpfs; ${how}`);
}
