/** The resolver: a process of its own, `main.js STATE`. It answers the queries of all VPCs of a state directory that have a resolver, and ends when none has. */
import type { Socket } from 'node:net';
import { openDoor } from '../engine/door.js';
import { RESOLVER_FOLDER, type ResolverReply, type ResolverRequest } from '../engine/resolver.js';
import { Store } from '../engine/store.js';
import { VpcctlError } from '../errors.js';
import { loadNative } from '../kernel/native.js';
import { note } from './note.js';
import { Service } from './service.js';

/** How often is asked whether the state is still there. */
const LOOK_MS = 2_000;
/** A visitor who says nothing holds up the others no longer. */
const PATIENCE_MS = 5_000;
const LONGEST_REQUEST = 4 * 1024 * 1024;

async function serve(state: string): Promise<void> {
  const store = new Store(state);
  const service = new Service(store, loadNative());
  let begin: () => void = () => {};
  const alone = new Promise<void>((resolve) => {
    begin = resolve;
  });
  // One at a time; what all are to have comes first, and nothing before it is certain that this is the only one.
  let turn: Promise<unknown> = alone.then(() => service.settle(null));
  const door = await openDoor({
    state,
    folder: RESOLVER_FOLDER,
    onRefused: (why) => note(`refused: ${why}`),
    onVisitor: (socket) => {
      const answered = turn.then(() => visit(socket));
      // What one visitor meets is not the next one's.
      turn = answered.catch((error: unknown) => note(String(error)));
    },
  });
  const visit = async (socket: Socket): Promise<void> => {
    socket.setTimeout(PATIENCE_MS, () => socket.destroy());
    const { vpcs } = await readRequest(socket);
    const serving = await service.settle(vpcs);
    const reply: ResolverReply = { pid: process.pid, serving };
    await new Promise<void>((resolve) => socket.end(`${JSON.stringify(reply)}\n`, resolve));
    if (Object.keys(serving).length > 0) return;
    await service.close();
    process.exit(0);
  };
  begin();
  await turn;
  setInterval(() => {
    if (!door.isExchanged()) return;
    note('the state is gone');
    process.exit(0);
  }, LOOK_MS);
}

async function readRequest(socket: Socket): Promise<ResolverRequest> {
  let text = '';
  socket.setEncoding('utf8');
  for await (const chunk of socket.iterator({ destroyOnReturn: false }) as AsyncIterable<string>) {
    text += chunk;
    if (text.endsWith('\n')) break;
    if (text.length > LONGEST_REQUEST) throw new Error('a request is too long');
  }
  return JSON.parse(text) as ResolverRequest;
}

const [state] = process.argv.slice(2);
if (state === undefined) throw new Error('usage: main.js STATE');
for (const signal of ['SIGINT', 'SIGHUP'] as const) process.on(signal, () => {});
// Everybody's resolver does not end for what one query or connection meets.
process.on('uncaughtException', (error) => note(`unexpected: ${error.stack ?? String(error)}`));
serve(state).catch((error: unknown) => {
  // Another one was faster.
  if (error instanceof VpcctlError && error.code === 'CONFLICT') process.exit(0);
  note(error instanceof VpcctlError ? error.toLine() : String(error));
  process.exit(1);
});
