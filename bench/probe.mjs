/**
 * The packets of the checks, run inside a workload's namespace. `probe.mjs listen PORT…` accepts on every port, prints
 * `ready` and lives until its stdin closes; `probe.mjs connect IP PORT…` prints what became of a connection to each:
 * open, refused, silent or an errno.
 */
import { connect, createServer } from 'node:net';

/** Long enough for a busy machine; a packet that the filter drops is silent for ever. */
const SILENCE_MS = 1000;
const [verb, ...args] = process.argv.slice(2);

function listen(port) {
  return new Promise((resolve, reject) => {
    createServer((socket) => socket.end())
      .once('error', reject)
      .listen(port, '0.0.0.0', resolve);
  });
}

function attempt(host, port) {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (outcome) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    const timer = setTimeout(() => finish('silent'), SILENCE_MS);
    socket.once('connect', () => finish('open'));
    socket.once('error', (error) => finish(error.code === 'ECONNREFUSED' ? 'refused' : error.code));
  });
}

if (verb === 'listen') {
  await Promise.all(args.map((port) => listen(Number(port))));
  process.stdout.write('ready\n');
  process.stdin.resume().once('end', () => process.exit(0));
} else {
  const [host, ...ports] = args;
  const outcomes = await Promise.all(ports.map(async (port) => [port, await attempt(host, Number(port))]));
  process.stdout.write(`${JSON.stringify(Object.fromEntries(outcomes))}\n`);
}
