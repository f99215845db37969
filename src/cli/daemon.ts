/**
 * The daemon: it keeps the library open and warm, and runs for each client (visit.ts) what `vpcctl` would run in a process of its own, by the
 * same function. Clients share no more than processes do: locks and the state file order what they change.
 */
import { once } from 'node:events';
import { statSync } from 'node:fs';
import { resolve } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { OpenOptions } from '../index.js';
import { type Library, lent } from './host.js';
import type { Session } from './session.js';
import { type Answering, Visit } from './visit.js';

/** What is under way when the daemon is to end may be finished in this time; then it is undone. */
const GRACE_MS = 10_000;

/** Answers clients until a signal ends it, with `pool` namespaces kept ready. STATE when the state file is exchanged meanwhile. */
export async function serve(session: Session, run: Answering['run'], pool: number): Promise<void> {
  const identity = identityOf(fileURLToPath(new URL('main.cjs', import.meta.url)));
  const library = await session.open({ warm: true, pool });
  await rehearse(run, library);
  const { DEFAULT_STATE_DIR, openDoor, VpcctlError } = await import('../index.js');
  const note = (line: string) => session.note(`vpcctl daemon: ${line}`);
  const visits = new Set<Visit>();
  const exchanged = new AbortController();
  let strange = false;
  const door = await openDoor({
    ...(session.state === undefined ? {} : { state: session.state }),
    onVisitor: (socket) => {
      const visit = new Visit(socket, daemon);
      visits.add(visit);
      void visit.over.then(() => visits.delete(visit));
    },
    onRefused: (why) => note(`refused: ${why}`),
  });
  const daemon: Answering = {
    run,
    answers: (request) => {
      if (door.isExchanged()) exchanged.abort();
      else if (request.identity === identity) return true;
      else if (!strange)
        note('vpcctl was replaced or is installed twice: it runs by itself until this is started anew');
      strange = true;
      return false;
    },
    open: (options, { cwd, env }) => {
      const state = resolve(cwd, options.state ?? env.VPCCTL_STATE ?? DEFAULT_STATE_DIR);
      return state === door.state ? lend(library, options) : undefined;
    },
    note,
  };
  session.report({
    json: { state: door.state, pid: process.pid },
    text: () => [`vpcctl daemon: answers for ${door.state}`],
  });
  await aborted(AbortSignal.any([session.signal, exchanged.signal]));
  const closing = Promise.all([door.close(), ...[...visits].map((visit) => visit.over)]);
  const inTime = await Promise.race([closing, sleep(GRACE_MS, undefined, { ref: false })]);
  if (inTime === undefined) for (const visit of visits) visit.end();
  await closing;
  if (exchanged.signal.aborted) {
    throw new VpcctlError('STATE', `${door.records} is not the file any more that this daemon has open`, {
      hint: 'start it anew',
    });
  }
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, 'abort');
}

/** Changes when a file is replaced or written to. native/client.c makes the same of the same file. */
function identityOf(path: string): string {
  const { dev, ino, mtimeNs, size } = statSync(path, { bigint: true });
  return [dev, ino, mtimeNs, size].join(':');
}

/** The open library as a command finds one that it has opened itself: with what dead processes left brought in order, telling this command alone. */
async function lend(library: Library, { onEvent }: OpenOptions): Promise<Library> {
  const telling = onEvent === undefined ? {} : { onEvent };
  await library.recover(telling);
  return lent(library, {
    transaction: async (edit, options) => library.transaction(edit, { ...telling, ...options }),
    apply: async (spec, options) => library.apply(spec, { ...telling, ...options }),
    cut: async (vpc, options) => library.cut(vpc, { ...telling, ...options }),
    destroy: async (spec, options) => library.destroy(spec, { ...telling, ...options }),
    repair: async (options) => library.repair({ ...telling, ...options }),
    restore: async (options) => library.restore({ ...telling, ...options }),
    recover: async (options) => library.recover({ ...telling, ...options }),
  });
}

/** Commands that only look, so that what the first client needs is loaded and compiled: better after some times; about 0.1 s in all. */
async function rehearse(run: Answering['run'], library: Library): Promise<void> {
  const commands = [['list'], ['--json', 'list'], ['show'], ['plan', '-'], ['help', 'apply']];
  for (const argv of Array.from({ length: 20 }, () => commands).flat()) {
    const nowhere = { writable: true, write: () => {} };
    await run(argv, {
      env: {},
      stdin: Readable.from(['vpcs: {}\n']),
      stdout: nowhere,
      stderr: nowhere,
      signal: new AbortController().signal,
      yieldTerminal: () => {},
      open: async (options) => lend(library, options),
    });
  }
}
