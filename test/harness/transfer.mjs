// @ts-check
/**
 * How many bytes get there, and how fast, as the receiver sees it.
 *
 *   node transfer.mjs receive PORT              until stdin ends; tells each sender what came of it
 *   node transfer.mjs send ADDRESS PORT MS      sends by TCP for that time, then prints { bytes, ms }
 *   node transfer.mjs bytes ADDRESS PORT COUNT  sends so many bytes, then prints { bytes, ms }
 *   node transfer.mjs flood ADDRESS PORT MS     sends datagrams as fast as it can
 */
import { createSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';

const [what, ...rest] = process.argv.slice(2);
const block = Buffer.alloc(65_536, 'x');

if (what === 'receive') {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let bytes = 0;
    let first = 0;
    let last = 0;
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      last = performance.now();
      // What arrives with the first look arrived before it.
      if (first === 0) first = last;
      else bytes += chunk.length;
    });
    socket.on('end', () => socket.end(JSON.stringify({ bytes, ms: last - first })));
  });
  server.listen(Number(rest[0]), '::', () => process.stdout.write('ready\n'));
  process.stdin.resume().on('end', () => process.exit(0));
} else if (what === 'flood') {
  const [address = '', port, ms] = rest;
  const socket = createSocket('udp4');
  const end = performance.now() + Number(ms);
  const send = () => {
    if (performance.now() > end) {
      socket.close();
      return;
    }
    for (let at = 0; at < 50; at += 1) socket.send(block.subarray(0, 1400), Number(port), address);
    setImmediate(send);
  };
  send();
} else {
  const [address, port, amount] = rest;
  const end = performance.now() + Number(amount);
  let left = what === 'bytes' ? Number(amount) : Number.POSITIVE_INFINITY;
  const socket = connect({ host: String(address), port: Number(port) });
  let told = '';
  const send = () => {
    while (left > 0 && (what === 'bytes' || performance.now() < end)) {
      const part = block.subarray(0, Math.min(left, block.length));
      left -= part.length;
      if (!socket.write(part)) return;
    }
    socket.end();
  };
  socket.on('connect', send).on('drain', send);
  socket.on('data', (chunk) => (told += chunk));
  socket.on('end', () => process.stdout.write(`${told}\n`));
  socket.on('error', (error) => {
    process.stderr.write(`${error.message}\n`);
    process.exitCode = 1;
  });
}
