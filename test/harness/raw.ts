/** Packets byte by byte, sent from a namespace past its own IP stack, and ears that hear what arrives there before it. */
import { execa } from 'execa';
import { must, netnsArgv } from './witness.js';

const BROADCAST_MAC = 'ff:ff:ff:ff:ff:ff';

const octets = (text: string): Buffer => Buffer.from(text.split('.').map(Number));
const mac = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
const word = (value: number): Buffer => Buffer.from([(value >> 8) & 0xff, value & 0xff]);
const long = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
};

/** The Internet checksum (RFC 1071). */
function checksum(data: Buffer): number {
  let sum = 0;
  for (let at = 0; at < data.length; at += 2) sum += ((data[at] ?? 0) << 8) | (data[at + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export interface Ends {
  readonly source: string;
  readonly destination: string;
}

export interface Header extends Ends {
  readonly protocol: number;
  readonly ttl?: number;
  readonly id?: number;
  readonly moreFragments?: boolean;
  /** In bytes, a multiple of 8. */
  readonly offset?: number;
  /** A multiple of 4 bytes. */
  readonly options?: Buffer;
}

export function ipv4(header: Header, payload: Buffer): Buffer {
  const { source, destination, protocol, ttl = 64, id = 1, moreFragments = false, offset = 0 } = header;
  const { options = Buffer.alloc(0) } = header;
  const length = 20 + options.length;
  const place = (moreFragments ? 0x2000 : 0) | (offset / 8);
  const bytes = Buffer.concat([
    Buffer.from([0x40 | (length / 4), 0]),
    word(length + payload.length),
    word(id),
    word(place),
    Buffer.from([ttl, protocol, 0, 0]),
    octets(source),
    octets(destination),
    options,
  ]);
  bytes.writeUInt16BE(checksum(bytes), 10);
  return Buffer.concat([bytes, payload]);
}

export interface Ports {
  readonly from: number;
  readonly to: number;
}

/** Without a checksum, which UDP over IPv4 need not have. */
export function udp({ from, to }: Ports, data: Buffer = Buffer.from('raw')): Buffer {
  return Buffer.concat([word(from), word(to), word(8 + data.length), word(0), data]);
}

export const TCP_FLAGS = { fin: 1, syn: 2, rst: 4, ack: 16 } as const;

export function tcp(
  ends: Ends,
  {
    from,
    to,
    flags,
    seq = 0,
    ack = 0,
  }: Ports & { readonly flags: number; readonly seq?: number; readonly ack?: number },
): Buffer {
  const bytes = Buffer.concat([
    word(from),
    word(to),
    long(seq),
    long(ack),
    Buffer.from([0x50, flags]),
    word(65_535),
    word(0),
    word(0),
  ]);
  const pseudo = Buffer.concat([
    octets(ends.source),
    octets(ends.destination),
    Buffer.from([0, 6]),
    word(bytes.length),
  ]);
  bytes.writeUInt16BE(checksum(Buffer.concat([pseudo, bytes])), 16);
  return bytes;
}

/** `rest`: the four bytes after the checksum. */
export function icmp(type: number, code: number, rest: Buffer, data: Buffer = Buffer.alloc(0)): Buffer {
  const bytes = Buffer.concat([Buffer.from([type, code, 0, 0]), rest, data]);
  bytes.writeUInt16BE(checksum(bytes), 2);
  return bytes;
}

export const echo = (id = 7, data: Buffer = Buffer.from('raw')): Buffer =>
  icmp(8, 0, Buffer.concat([word(id), word(1)]), data);

// --- IPv6 ------------------------------------------------------------------------------------------------------------

/** Also those that we would not take, such as ::ffff:a01:10a. */
function octets6(text: string): Buffer {
  const [head = [], tail = []] = text.split('::').map((part) => part.split(':').filter((one) => one !== ''));
  const zeros = Array<string>(8 - head.length - tail.length).fill('0');
  return Buffer.concat([...head, ...zeros, ...tail].map((one) => word(Number.parseInt(one, 16))));
}

export const NEXT = {
  hops: 0,
  udp: 17,
  routing: 43,
  fragment: 44,
  esp: 50,
  auth: 51,
  icmp: 58,
  none: 59,
  options: 60,
} as const;

/** `next`: what the payload begins with. */
export function ipv6({ source, destination }: Ends, next: number, payload: Buffer, hops = 64): Buffer {
  return Buffer.concat([
    long(0x6000_0000),
    word(payload.length),
    Buffer.from([next, hops]),
    octets6(source),
    octets6(destination),
    payload,
  ]);
}

/** `bytes` with the checksum at `at`, which over IPv6 every protocol needs. */
function summed6({ source, destination }: Ends, protocol: number, bytes: Buffer, at: number): Buffer {
  const pseudo = [octets6(source), octets6(destination), long(bytes.length), long(protocol)];
  bytes.writeUInt16BE(checksum(Buffer.concat([...pseudo, bytes])), at);
  return bytes;
}

export function udp6(ends: Ends, ports: Ports, data?: Buffer): Buffer {
  return summed6(ends, NEXT.udp, udp(ports, data), 6);
}

/** `rest`: the four bytes after the checksum. */
export function icmp6(ends: Ends, type: number, code: number, rest: Buffer, data: Buffer = Buffer.alloc(0)): Buffer {
  return summed6(ends, NEXT.icmp, Buffer.concat([Buffer.from([type, code, 0, 0]), rest, data]), 2);
}

/** A fragment header and what is behind it; `offset` in bytes, a multiple of 8. */
export function fragment6(next: number, id: number, offset: number, moreFragments: boolean, data: Buffer): Buffer {
  return Buffer.concat([Buffer.from([next, 0]), word(offset | (moreFragments ? 1 : 0)), long(id), data]);
}

export interface Ethernet {
  readonly to?: string;
  readonly from: string;
  /** Default: IPv4. */
  readonly type?: number;
  /** VLAN tags, the outer first: type and number. */
  readonly tags?: readonly (readonly [type: number, vlan: number])[];
}

export const IPV4 = 0x0800;
export const ARP = 0x0806;
export const IPV6 = 0x86dd;

export function frame({ to = BROADCAST_MAC, from, type = IPV4, tags = [] }: Ethernet, payload: Buffer): Buffer {
  return Buffer.concat([
    mac(to),
    mac(from),
    ...tags.flatMap(([tag, vlan]) => [word(tag), word(vlan)]),
    word(type),
    payload,
  ]);
}

/** An ARP packet (RFC 826): operation 1 asks, 2 answers. */
export function arp(
  operation: 1 | 2,
  sender: readonly [mac: string, ip: string],
  target: readonly [mac: string, ip: string],
): Buffer {
  return Buffer.concat([
    Buffer.from('000108000604', 'hex'),
    word(operation),
    mac(sender[0]),
    octets(sender[1]),
    mac(target[0]),
    octets(target[1]),
  ]);
}

const SENDER = `import json, socket, sys
request = json.load(sys.stdin)
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind((request['link'], 0))
for frame in request['frames']: s.send(bytes.fromhex(frame))`;

/** Sends frames as they are. */
export async function sendFrames(ns: string, frames: readonly Buffer[], link = 'eth0'): Promise<void> {
  const request = { link, frames: frames.map((one) => one.toString('hex')) };
  await must(ns, ['python3', '-c', SENDER], { input: JSON.stringify(request) });
}

const LISTENER = `import json, select, socket, sys
# ETH_P_ALL: before the stack of this namespace, tags and all. Its own frames (PACKET_OUTGOING) are not heard.
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind((sys.argv[1], 0))
print('ready', flush=True)
frames = []
while True:
    ready, _, _ = select.select([s, sys.stdin], [], [])
    if s in ready:
        data, where = s.recvfrom(65535)
        if where[2] != 4: frames.append(data.hex())
    elif sys.stdin in ready:
        break
print(json.dumps(frames), flush=True)`;

export interface Ear {
  /** Ends it, and returns the frames that arrived. */
  stop(): Promise<Buffer[]>;
}

/** Hears every frame that arrives by a link of the namespace, from now on. */
export async function ear(ns: string, link = 'eth0'): Promise<Ear> {
  const [program = '', ...args] = netnsArgv(ns, ['python3', '-c', LISTENER, link]);
  const child = execa(program, args, { reject: false, stdin: 'pipe', buffer: true });
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('exit', () => reject(new Error(`no ear in ${ns}`)));
  });
  return {
    stop: async () => {
      child.stdin.end();
      const { stdout, stderr } = await child;
      const [, frames] = stdout.split('\n');
      if (frames === undefined) throw new Error(`the ear in ${ns} fell off: ${stderr}`);
      return (JSON.parse(frames) as string[]).map((text) => Buffer.from(text, 'hex'));
    },
  };
}

/** Of an Ethernet frame with IPv4 in it, the packet. */
export function ipv4Of(bytes: Buffer): (Ends & { readonly protocol: number; readonly payload: Buffer }) | undefined {
  if (bytes.readUInt16BE(12) !== IPV4) return undefined;
  const packet = bytes.subarray(14);
  const length = ((packet[0] ?? 0) & 15) * 4;
  return {
    source: packet.subarray(12, 16).join('.'),
    destination: packet.subarray(16, 20).join('.'),
    protocol: packet[9] ?? 0,
    payload: packet.subarray(length, packet.readUInt16BE(2)),
  };
}
