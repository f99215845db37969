/**
 * The packets of the checks, run inside a workload's namespace. `probe.mjs listen PORT…` accepts on every port, prints
 * `ready` and lives until its stdin closes; `probe.mjs connect IP PORT…` prints what became of a connection to each:
 * open, refused, silent or an errno. `probe.mjs echo PORT` sends back what it gets, prints `ready` and lives as long; `probe.mjs talk IP
 * PORT` keeps one connection to that, prints `open`, and for each line of its stdin `echo`, or `silent`.
 */
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';

/** Long enough for a busy machine; a packet that the filter drops is silent for ever. */
const SILENCE_MS = 1000;
const AFTER_MS = 300;
const [verb, ...args] = process.argv.slice(2);

function listen(port, serve) {
  return new Promise((resolve, reject) => {
    createServer(serve).once('error', reject).listen(port, '0.0.0.0', resolve);
  });
}

function attempt(host, port, patience) {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (outcome) => {
      socket.destroy();
      resolve(outcome);
    };
    patience.then(() => finish('silent'));
    socket.once('connect', () => finish('open'));
    socket.once('error', (error) => finish(error.code === 'ECONNREFUSED' ? 'refused' : error.code));
  });
}

/** A connection to each port at once. Once one is open, the others are given AFTER_MS more: the way is there, and so is the answer. */
async function attemptAll(host, ports) {
  let giveUp;
  const patience = new Promise((resolve) => {
    giveUp = resolve;
  });
  const timer = setTimeout(giveUp, SILENCE_MS);
  const outcomes = await Promise.all(
    ports.map(async (port) => {
      const outcome = await attempt(host, Number(port), patience);
      if (outcome === 'open') setTimeout(giveUp, AFTER_MS);
      return [port, outcome];
    }),
  );
  clearTimeout(timer);
  return Object.fromEntries(outcomes);
}

/** Resolves to whether the line came back. */
function echoed(socket, line) {
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve(false), SILENCE_MS);
    socket.once('data', () => {
      clearTimeout(timer);
      resolve(true);
    });
    socket.write(line);
  });
}

async function talk(host, port) {
  const socket = connect({ host, port: Number(port) });
  await once(socket, 'connect');
  process.stdout.write('open\n');
  for await (const line of createInterface({ input: process.stdin })) {
    process.stdout.write((await echoed(socket, `${line}\n`)) ? 'echo\n' : 'silent\n');
  }
  socket.destroy();
}

function untilInputEnds() {
  process.stdout.write('ready\n');
  process.stdin.resume().once('end', () => process.exit(0));
}

if (verb === 'listen') {
  await Promise.all(args.map((port) => listen(Number(port), (socket) => socket.end())));
  untilInputEnds();
} else if (verb === 'echo') {
  await listen(Number(args[0]), (socket) => socket.on('error', () => {}).pipe(socket));
  untilInputEnds();
} else if (verb === 'talk') {
  await talk(...args);
} else {
  const [host, ...ports] = args;
  process.stdout.write(`${JSON.stringify(await attemptAll(host, ports))}\n`);
}
