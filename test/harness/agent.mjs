// @ts-check
/**
 * A witness inside a network namespace: listens, connects, sends and pings on request, for as long as its stdin is open.
 * One JSON request a line on stdin, one JSON answer a line on stdout, matched by `id`. Started once a namespace, because a fresh
 * interpreter costs more than a hundred probes.
 *
 * On the wire: a TCP listener greets a connection with a line `{"peer", "peerPort", "local", "reply"}` and then echoes
 * lines; a UDP listener answers a datagram with the same object. So a probe knows which source address the other side saw.
 */
import { spawn } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer, isIPv6 } from 'node:net';
import { createInterface } from 'node:readline';

/** @typedef {{ ok: true, source?: string, sourcePort?: number, destination?: string, reply?: string } | { ok: false, reason: string, detail?: string }} Outcome */
/** @typedef {{ close: () => void, seen: { peer: string, peerPort: number }[], port: number }} Listener */

/** @type {Map<number, Listener>} */
const listeners = new Map();
/** @type {Map<number, { socket: import('node:net').Socket, lines: string[], wake: () => void }>} */
const connections = new Map();
let next = 1;

const plain = (/** @type {string | undefined} */ address) => (address ?? '').replace(/^::ffff:/, '');

/**
 * @param {NodeJS.ErrnoException} error
 * @returns {{ ok: false, reason: string, detail: string }}
 */
function failure(error) {
  const reasons = {
    ECONNREFUSED: 'refused',
    ECONNRESET: 'reset',
    EPIPE: 'reset',
    EHOSTUNREACH: 'unreachable',
    ENETUNREACH: 'unreachable',
    ETIMEDOUT: 'timeout',
    EACCES: 'prohibited',
    EPERM: 'prohibited',
    EADDRNOTAVAIL: 'no-such-address',
  };
  const code = /** @type {keyof typeof reasons} */ (error.code ?? '');
  return { ok: false, reason: reasons[code] ?? 'error', detail: error.message };
}

/** @param {{ port: number, host?: string, reply?: string }} request */
function listenTcp({ port, host = '0.0.0.0', reply }) {
  return new Promise((resolve, reject) => {
    /** @type {Set<import('node:net').Socket>} */
    const open = new Set();
    /** @type {Listener['seen']} */
    const seen = [];
    const server = createServer((socket) => {
      open.add(socket);
      socket.on('close', () => open.delete(socket));
      socket.on('error', () => {});
      const peer = plain(socket.remoteAddress);
      const peerPort = socket.remotePort ?? 0;
      seen.push({ peer, peerPort });
      socket.write(`${JSON.stringify({ peer, peerPort, local: plain(socket.localAddress), reply })}\n`);
      createInterface({ input: socket })
        .on('line', (line) => socket.write(`${line}\n`))
        .on('error', () => {});
    });
    server.on('error', reject);
    server.listen({ port, host }, () => {
      const id = next++;
      const bound = /** @type {import('node:net').AddressInfo} */ (server.address()).port;
      const close = () => {
        server.close();
        for (const socket of open) socket.destroy();
      };
      listeners.set(id, { close, seen, port: bound });
      resolve({ listener: id, port: bound });
    });
  });
}

/** @param {{ port: number, host?: string, reply?: string }} request */
function listenUdp({ port, host = '0.0.0.0', reply }) {
  return new Promise((resolve, reject) => {
    /** @type {Listener['seen']} */
    const seen = [];
    const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
    socket.on('error', reject);
    socket.on('message', (_data, { address, port: peerPort }) => {
      const peer = plain(address);
      seen.push({ peer, peerPort });
      // The way back may be closed; that is for the prober to find out.
      socket.send(JSON.stringify({ peer, peerPort, local: '', reply }), peerPort, address, () => {});
    });
    socket.bind(port, host, () => {
      const id = next++;
      listeners.set(id, { close: () => socket.close(), seen, port: socket.address().port });
      resolve({ listener: id, port: socket.address().port });
    });
  });
}

/**
 * @param {string} text
 * @returns {Outcome}
 */
function greeting(text) {
  try {
    const { peer, peerPort, local, reply } = JSON.parse(text);
    return {
      ok: true,
      source: peer,
      sourcePort: peerPort,
      ...(local && { destination: local }),
      ...(reply !== undefined && { reply }),
    };
  } catch {
    return { ok: false, reason: 'error', detail: `not a listener of the harness: ${text.slice(0, 80)}` };
  }
}

/**
 * @param {{ to: string, port: number, from?: string, fromPort?: number, timeoutMs: number }} request
 * @param {boolean} keep keeps the connection and returns its number
 * @returns {Promise<Outcome & { connection?: number }>}
 */
function probeTcp({ to, port, from, fromPort, timeoutMs }, keep = false) {
  return new Promise((resolve) => {
    const socket = connect({
      host: to,
      port,
      ...(from && { localAddress: from }),
      ...(fromPort && { localPort: fromPort }),
    });
    const timer = setTimeout(() => finish({ ok: false, reason: 'timeout' }), timeoutMs);
    let settled = false;
    const finish = (/** @type {Outcome} */ outcome) => {
      if (settled) return;
      settled = true;
      clearTimeout(timer);
      if (!keep || !outcome.ok) {
        socket.destroy();
        resolve(outcome);
        return;
      }
      const id = next++;
      connections.set(id, connection);
      resolve({ ...outcome, connection: id });
    };
    const connection = { socket, lines: /** @type {string[]} */ ([]), wake: () => {} };
    socket.on('error', (error) => finish(failure(error)));
    socket.on('close', () => finish({ ok: false, reason: 'reset', detail: 'closed before it was greeted' }));
    createInterface({ input: socket })
      .on('line', (line) => {
        if (!settled) finish(greeting(line));
        else {
          connection.lines.push(line);
          connection.wake();
        }
      })
      .on('error', () => {});
  });
}

/**
 * Sends a line over a kept connection and waits for its echo.
 * @param {{ connection: number, timeoutMs: number }} request
 * @returns {Promise<Outcome>}
 */
async function exchange({ connection, timeoutMs }) {
  const kept = connections.get(connection);
  if (kept === undefined) return { ok: false, reason: 'error', detail: `no connection ${connection}` };
  const token = `echo ${next++}`;
  const until = Date.now() + timeoutMs;
  if (kept.socket.destroyed) return { ok: false, reason: 'reset' };
  kept.socket.write(`${token}\n`);
  while (!kept.lines.includes(token)) {
    const left = until - Date.now();
    if (left <= 0) return { ok: false, reason: 'timeout' };
    if (kept.socket.destroyed) return { ok: false, reason: 'reset' };
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.min(left, 50));
      kept.wake = () => {
        clearTimeout(timer);
        resolve(undefined);
      };
    });
  }
  return { ok: true };
}

/**
 * One datagram, never repeated: a caller may count packets.
 * @param {{ to: string, port: number, from?: string, fromPort?: number, timeoutMs: number }} request
 * @returns {Promise<Outcome>}
 */
function probeUdp({ to, port, from, fromPort = 0, timeoutMs }) {
  return new Promise((resolve) => {
    const socket = createSocket(isIPv6(to) ? 'udp6' : 'udp4');
    const finish = (/** @type {Outcome} */ outcome) => {
      clearTimeout(timer);
      try {
        socket.close();
      } catch {
        // Closed by its own error.
      }
      resolve(outcome);
    };
    const timer = setTimeout(() => finish({ ok: false, reason: 'timeout' }), timeoutMs);
    socket.on('error', (error) => finish(failure(error)));
    socket.on('message', (data) => finish(greeting(data.toString())));
    socket.bind({ port: fromPort, ...(from && { address: from }) }, () => {
      // Connected, so that an ICMP error comes back as ECONNREFUSED or EHOSTUNREACH.
      socket.connect(port, to, (/** @type {Error | undefined} */ error) => {
        if (error instanceof Error) finish(failure(error));
        else socket.send('probe', (failed) => failed && finish(failure(failed)));
      });
    });
  });
}

/**
 * @param {{ to: string, from?: string, timeoutMs: number, size?: number, dontFragment?: boolean }} request
 * @returns {Promise<Outcome>}
 */
function probeIcmp({ to, from, timeoutMs, size, dontFragment }) {
  const args = ['-n', '-c1', '-W', String(timeoutMs / 1000)];
  if (from !== undefined) args.push('-I', from);
  if (size !== undefined) args.push('-s', String(size));
  if (dontFragment === true) args.push('-M', 'do');
  return new Promise((resolve) => {
    const child = spawn('ping', [...args, to], { stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    child.stdout.on('data', (chunk) => (said += chunk));
    child.stderr.on('data', (chunk) => (said += chunk));
    child.on('error', (error) => resolve({ ok: false, reason: 'error', detail: `ping: ${error.message}` }));
    child.on('close', (code) => {
      if (code === 0) resolve({ ok: true });
      else if (/too (big|long|large)|Frag needed/i.test(said)) resolve({ ok: false, reason: 'too-big', detail: said });
      else if (/prohibited|filtered/i.test(said)) resolve({ ok: false, reason: 'prohibited', detail: said });
      else if (/unreachable|No route to host/i.test(said)) resolve({ ok: false, reason: 'unreachable', detail: said });
      else resolve(code === 1 ? { ok: false, reason: 'timeout' } : { ok: false, reason: 'error', detail: said.trim() });
    });
  });
}

/** @param {any} request */
async function answer(request) {
  switch (request.op) {
    case 'listen':
      return request.proto === 'tcp' ? listenTcp(request) : listenUdp(request);
    case 'seen':
      return { seen: listeners.get(request.listener)?.seen ?? [] };
    case 'unlisten':
      listeners.get(request.listener)?.close();
      listeners.delete(request.listener);
      return {};
    case 'probe':
      if (request.proto === 'tcp') return probeTcp(request);
      return request.proto === 'udp' ? probeUdp(request) : probeIcmp(request);
    case 'open':
      return probeTcp(request, true);
    case 'exchange':
      return exchange(request);
    case 'hangup':
      connections.get(request.connection)?.socket.destroy();
      connections.delete(request.connection);
      return {};
    case 'sysctl':
      if (request.value !== undefined) writeFileSync(`/proc/sys/${request.key}`, request.value);
      return { value: readFileSync(`/proc/sys/${request.key}`, 'utf8').trim() };
    default:
      throw new Error(`unknown request ${request.op}`);
  }
}

const say = (/** @type {unknown} */ message) => process.stdout.write(`${JSON.stringify(message)}\n`);

createInterface({ input: process.stdin })
  .on('line', (line) => {
    const request = JSON.parse(line);
    answer(request).then(
      (result) => say({ id: request.id, result }),
      (error) => say({ id: request.id, error: error instanceof Error ? error.message : String(error) }),
    );
  })
  .on('close', () => process.exit(0));
say({ ready: true });
