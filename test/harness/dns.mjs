// @ts-check
/**
 * DNS by packets of our own making.
 *
 *   node dns.mjs serve ADDRESS FILE      a server for a few names; writes a line to FILE for each query: `udp www.example.com A`
 *   node dns.mjs ask SERVER NAME TYPE [tcp] [edns]   prints what came back as JSON; `null`: nothing did
 *   node dns.mjs flood SERVER SECONDS    sends queries and garbage as fast as it can; prints how many
 *   node dns.mjs burst SERVER NAME COUNT  sends queries for names below NAME at once; prints how many
 *   node dns.mjs pipe SERVER NAME COUNT   sends queries by one connection, one behind the other; prints what came of it as JSON
 *   node dns.mjs hold SERVER COUNT        opens connections and says nothing; prints how many are there after a second
 *
 * The server says nothing of names below `silent.example.com`; to `forged.example.com` it sends answers to other queries first. What has more than one record
 * besides its question, or options, it does not know.
 */
import { createSocket } from 'node:dgram';
import { appendFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import dnsPacket from 'dns-packet';

const TIMEOUT_MS = 1_500;

/** @type {Readonly<Record<string, readonly import('dns-packet').Answer[]>>} */
const NAMES = {
  'www.example.com A': [{ type: 'A', name: 'www.example.com', ttl: 30, data: '203.0.113.80' }],
  'forged.example.com A': [{ type: 'A', name: 'forged.example.com', ttl: 30, data: '203.0.113.80' }],
  // More than one datagram takes.
  'big.example.com TXT': [
    {
      type: 'TXT',
      name: 'big.example.com',
      ttl: 30,
      data: Array.from({ length: 20 }, (_, at) => `${at}${'x'.repeat(200)}`),
    },
  ],
};

/** @param {Buffer} query @param {'udp' | 'tcp'} transport @param {string} file @returns {Buffer | undefined} */
function answerTo(query, transport, file) {
  const { id, questions = [], additionals = [] } = dnsPacket.decode(query);
  const [question] = questions;
  if (question === undefined) throw new Error('no question');
  if (question.name.endsWith('silent.example.com')) return undefined;
  if (additionals.some((one) => one.type !== 'OPT' || one.options.length > 0)) return undefined;
  appendFileSync(file, `${transport} ${question.name} ${question.type}\n`);
  const answers = NAMES[`${question.name.toLowerCase()} ${question.type}`];
  const flags = dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE | (answers === undefined ? 3 : 0);
  const full = dnsPacket.encode({ type: 'response', id, flags, questions, answers: [...(answers ?? [])] });
  if (transport === 'tcp' || full.length <= 512) return full;
  return dnsPacket.encode({ type: 'response', id, flags: flags | dnsPacket.TRUNCATED_RESPONSE, questions });
}

/** Answers with another address: of another number, to another question, and none at all. @param {Buffer} answer */
function forgeries(answer) {
  const wrong = Buffer.from(answer);
  wrong.writeUInt8(66, wrong.length - 1);
  const number = Buffer.from(wrong);
  number.writeUInt16BE((answer.readUInt16BE(0) + 1) % 65_536);
  const question = Buffer.from(wrong);
  question.write('F', question.indexOf('forged'));
  const query = Buffer.from(wrong);
  query.writeUInt16BE(0x0100, 2);
  return [number, question, query, Buffer.alloc(3)];
}

/** @param {string} address @param {string} file */
function serve(address, file) {
  const udp = createSocket('udp4');
  udp.on('message', (query, from) => {
    const answer = answerTo(query, 'udp', file);
    if (answer === undefined) return;
    for (const forged of query.includes('forged') ? forgeries(answer) : []) udp.send(forged, from.port, from.address);
    udp.send(answer, from.port, from.address);
  });
  const tcp = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (data) => {
      const answer = answerTo(data.subarray(2), 'tcp', file);
      if (answer === undefined) return;
      const length = Buffer.alloc(2);
      length.writeUInt16BE(answer.length);
      socket.end(Buffer.concat([length, answer]));
    });
  });
  udp.bind(53, address, () => tcp.listen(53, address, () => console.log('ready')));
}

/** @param {string} name @param {string} type @param {boolean} edns @param {readonly object[]} [options] */
function queryFor(name, type, edns, options = []) {
  return dnsPacket.encode({
    type: 'query',
    id: Math.floor(Math.random() * 65_536),
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ type: /** @type {'A'} */ (type), name, class: 'IN' }],
    ...(edns
      ? { additionals: [/** @type {any} */ ({ type: 'OPT', name: '.', udpPayloadSize: 4096, flags: 0, options })] }
      : {}),
  });
}

/** @param {string} server @param {Buffer} query @returns {Promise<Buffer | null>} */
function byUdp(server, query) {
  return new Promise((resolve) => {
    const socket = createSocket('udp4');
    const end = (/** @type {Buffer | null} */ answer) => {
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    const timer = setTimeout(() => end(null), TIMEOUT_MS);
    socket.once('error', () => end(null));
    socket.on('message', (answer, from) => {
      if (from.address === server && from.port === 53) end(answer);
    });
    socket.send(query, 53, server, (error) => {
      if (error) end(null);
    });
  });
}

/** @param {string} server @param {Buffer} query @returns {Promise<Buffer | null>} */
function byTcp(server, query) {
  return new Promise((resolve) => {
    const socket = connect({ host: server, port: 53 });
    let got = Buffer.alloc(0);
    const end = (/** @type {Buffer | null} */ answer) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => end(null), TIMEOUT_MS);
    socket.on('error', () => end(null));
    socket.on('close', () => end(null));
    socket.on('connect', () => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(query.length);
      socket.write(Buffer.concat([length, query]));
    });
    socket.on('data', (data) => {
      got = Buffer.concat([got, data]);
      if (got.length >= 2 && got.length >= 2 + got.readUInt16BE(0)) end(Buffer.from(got.subarray(2)));
    });
  });
}

/** @param {string} server @param {string} name @param {string} type @param {readonly string[]} how */
async function ask(server, name, type, how) {
  const options = how.includes('options') ? [{ code: 'CLIENT_SUBNET', ip: '10.1.1.1' }] : [];
  const query = queryFor(name, type, how.includes('edns') || options.length > 0, options);
  const answer = await (how.includes('tcp') ? byTcp(server, query) : byUdp(server, query));
  if (answer === null) return null;
  const decoded = /** @type {import('dns-packet').DecodedPacket & { rcode: string }} */ (dnsPacket.decode(answer));
  return {
    rcode: decoded.rcode,
    truncated: decoded.flag_tc,
    authoritative: decoded.flag_aa,
    answers: (decoded.answers ?? []).map((one) => {
      const data = /** @type {any} */ (one).data;
      const words = Array.isArray(data)
        ? data.map(String).join('')
        : typeof data === 'object'
          ? Object.values(data).join(' ')
          : String(data);
      return `${one.name} ${one.type} ${words}`;
    }),
    authority: (decoded.authorities ?? []).map(({ name: zone, type: of }) => `${zone} ${of}`),
  };
}

/** @param {string} server @param {number} seconds */
async function flood(server, seconds) {
  const sockets = Array.from({ length: 8 }, () => createSocket('udp4'));
  for (const socket of sockets) socket.on('error', () => {});
  let sent = 0;
  const end = Date.now() + seconds * 1000;
  while (Date.now() < end) {
    for (const socket of sockets) {
      for (let count = 0; count < 50; count += 1) {
        const size = Math.floor(Math.random() * 600);
        const garbage = Buffer.from(Array.from({ length: size }, () => Math.floor(Math.random() * 256)));
        const packet = count % 2 === 0 ? queryFor(`n${sent}.example.com`, 'A', false) : garbage;
        socket.send(packet, 53, server, () => {});
        sent += 1;
      }
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  for (const socket of sockets) socket.close();
  return sent;
}

/** @param {string} server @param {string} name @param {number} count */
async function burst(server, name, count) {
  const socket = createSocket('udp4');
  for (let sent = 0; sent < count; sent += 1) {
    socket.send(queryFor(`n${sent}.${name}`, 'A', false), 53, server, () => {});
    if (sent % 50 === 0) await sleep(5);
  }
  await sleep(1_000);
  socket.close();
  return count;
}

/** @param {string} server @param {string} name @param {number} count */
async function pipe(server, name, count) {
  const query = queryFor(name, 'A', false);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(query.length);
  const one = Buffer.concat([length, query]);
  const all = Buffer.concat(Array.from({ length: count }, () => one));
  const socket = connect({ host: server, port: 53 });
  let [bytes, size] = [0, 0];
  let ended = false;
  socket.on('error', () => {});
  socket.on('data', (/** @type {Buffer} */ data) => {
    if (size === 0) size = 2 + data.readUInt16BE(0);
    bytes += data.length;
  });
  socket.on('connect', () => socket.write(all));
  socket.on('close', () => {
    ended = true;
  });
  for (const end = Date.now() + 5_000; !ended && Date.now() < end; ) await sleep(20);
  socket.destroy();
  return { answered: size === 0 ? 0 : Math.floor(bytes / size), ended };
}

/** @param {string} server @param {number} count */
async function hold(server, count) {
  const open = new Set();
  for (let made = 0; made < count; made += 1) {
    const socket = connect({ host: server, port: 53 });
    socket.on('error', () => {});
    socket.on('connect', () => open.add(socket));
    socket.on('close', () => open.delete(socket));
    socket.resume();
  }
  await sleep(1_000);
  const left = open.size;
  for (const socket of open) socket.destroy();
  return left;
}

const [mode, first = '', second = '', third = '', ...how] = process.argv.slice(2);
if (mode === 'serve') serve(first, second);
else if (mode === 'ask') console.log(JSON.stringify(await ask(first, second, third, how)));
else if (mode === 'flood') console.log(await flood(first, Number(second)));
else if (mode === 'burst') console.log(await burst(first, second, Number(third)));
else if (mode === 'pipe') console.log(JSON.stringify(await pipe(first, second, Number(third))));
else if (mode === 'hold') console.log(await hold(first, Number(second)));
else throw new Error('usage: see the file');
