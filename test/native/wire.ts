/**
 * rtnetlink messages made by hand, independent of src/netlink: what the addon carries is not judged by the code that
 * will use it.
 */
import { readFileSync, readlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { endianness } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { NativeResult, NetlinkOp } from '../../src/kernel/native.js';

const LITTLE = endianness() === 'LE';

export const NLM_F_REQUEST = 0x1;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_DUMP = 0x300;

export const RTM_NEWLINK = 16;
export const RTM_GETLINK = 18;
export const RTM_NEWADDR = 20;

export const ENOENT = 2;
export const EEXIST = 17;
export const ENODEV = 19;
export const EINVAL = 22;
export const ERANGE = 34;
export const EOPNOTSUPP = 95;
export const ECANCELED = 125;

const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_LINKINFO = 18;
const IFLA_NET_NS_FD = 28;
const IFLA_INFO_KIND = 1;
const IFLA_INFO_DATA = 2;
const VETH_INFO_PEER = 1;

export const HEADER = 16;
/** sizeof(struct ifinfomsg), and where its ifi_index is. */
const IFINFO = 16;
export const IFI_INDEX = HEADER + 4;

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  if (LITTLE) bytes.writeUInt32LE(value);
  else bytes.writeUInt32BE(value);
  return bytes;
}

function u16(value: number): Buffer {
  return u32(LITTLE ? value : value << 16).subarray(0, 2);
}

function pad(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}

export function message(type: number, flags: number, ...body: readonly Buffer[]): Buffer {
  const payload = Buffer.concat(body);
  const header = Buffer.concat([u32(HEADER + payload.length), u16(type), u16(flags), u32(0), u32(0)]);
  return pad(Buffer.concat([header, payload]));
}

export function attr(type: number, ...body: readonly Buffer[]): Buffer {
  const payload = Buffer.concat(body);
  return pad(Buffer.concat([u16(4 + payload.length), u16(type), payload]));
}

export function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}

export function ifinfo(index = 0): Buffer {
  return Buffer.concat([Buffer.alloc(4), u32(index), Buffer.alloc(8)]);
}

const CREATE = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_EXCL;

/** What the name of the other end begins with, where {@link newLink} makes a veth. */
export const OTHER_END = '~';

/** Creates a link: a veth whose ends are both where it is sent, or one of a kind that needs no data. */
export function newLink(name: string, kind = 'veth', flags = CREATE): Buffer {
  const peer = attr(VETH_INFO_PEER, ifinfo(), attr(IFLA_IFNAME, text(`${OTHER_END}${name}`)));
  return message(
    RTM_NEWLINK,
    flags,
    ifinfo(),
    attr(IFLA_IFNAME, text(name)),
    attr(
      IFLA_LINKINFO,
      attr(IFLA_INFO_KIND, text(kind)),
      kind === 'veth' ? attr(IFLA_INFO_DATA, peer) : Buffer.alloc(0),
    ),
  );
}

/** A veth whose peer is born in another namespace; `slot` is where that namespace's descriptor goes. */
export function newVeth(name: string, peer: string): { readonly data: Buffer; readonly slot: number } {
  const fd = attr(IFLA_NET_NS_FD, u32(0));
  const data = message(
    RTM_NEWLINK,
    CREATE,
    ifinfo(),
    attr(IFLA_IFNAME, text(name)),
    attr(
      IFLA_LINKINFO,
      attr(IFLA_INFO_KIND, text('veth')),
      attr(IFLA_INFO_DATA, attr(VETH_INFO_PEER, ifinfo(), attr(IFLA_IFNAME, text(peer)), fd)),
    ),
  );
  return { data, slot: data.length - 4 };
}

/** An MTU of two bytes: the attribute's policy wants four. `at` is where the offending attribute begins. */
export function badMtu(): { readonly data: Buffer; readonly at: number } {
  const name = attr(IFLA_IFNAME, text('v-bad'));
  return {
    data: message(RTM_NEWLINK, CREATE, ifinfo(), name, attr(IFLA_MTU, u16(1500))),
    at: HEADER + IFINFO + name.length,
  };
}

export function getLinks(...body: readonly Buffer[]): Buffer {
  return message(RTM_GETLINK, NLM_F_REQUEST, ...(body.length === 0 ? [ifinfo()] : body));
}

export function getLink(name: string): Buffer {
  return message(RTM_GETLINK, NLM_F_REQUEST, ifinfo(), attr(IFLA_IFNAME, text(name)));
}

/** Where ifa_index is in {@link newAddr}. */
export const IFA_INDEX = HEADER + 4;

/** Adds an IPv4 address of 32 bits to the link of that index. */
export function newAddr(address: number, index: number): Buffer {
  const value = Buffer.alloc(4);
  value.writeUInt32BE(address);
  const header = Buffer.concat([Buffer.from([2, 32, 0, 0]), u32(index)]);
  return message(RTM_NEWADDR, CREATE, header, attr(2, value), attr(1, value));
}

/** The messages of a buffer, as the kernel wrote them. */
export function messages(data: Uint8Array): { readonly type: number; readonly bytes: Buffer }[] {
  const bytes = Buffer.from(data);
  const read32 = (at: number) => (LITTLE ? bytes.readUInt32LE(at) : bytes.readUInt32BE(at));
  const found: { type: number; bytes: Buffer }[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = read32(at);
    if (length < HEADER || at + length > bytes.length) throw new Error(`bad message length ${length} at ${at}`);
    const type = LITTLE ? bytes.readUInt16LE(at + 4) : bytes.readUInt16BE(at + 4);
    found.push({ type, bytes: bytes.subarray(at, at + length) });
    at += (length + 3) & ~3;
  }
  return found;
}

export function netlink(netns: string, list: readonly Buffer[], fixups: NetlinkOp['fixups'] = []): NetlinkOp {
  return { op: 'netlink', netns, data: Buffer.concat(list), count: list.length, fixups };
}

/** Errnos of a netlink operation's acks. */
export function errnos(result: NativeResult | undefined): number[] {
  return (result?.acks ?? []).map((ack) => ack.errno);
}

const root = fileURLToPath(new URL('../..', import.meta.url));

/** A script for `node --input-type=module -e` with the addon in `native`. */
export function withAddon(code: string): string {
  const path = (createRequire(import.meta.url)('node-gyp-build') as { path(dir: string): string }).path(root);
  return `import { createRequire } from 'node:module';
const native = createRequire(${JSON.stringify(`${root}/x.js`)})(${JSON.stringify(path)});
${code}`;
}

/** Namespaces of this process's threads, by thread. */
export function threadNamespaces(readdir: readonly string[]): Map<string, string> {
  const found = new Map<string, string>();
  for (const tid of readdir) {
    try {
      const name = readFileSync(`/proc/self/task/${tid}/comm`, 'utf8').trim();
      found.set(`${tid} ${name}`, readlinkSync(`/proc/self/task/${tid}/ns/net`));
    } catch {
      // The thread ended.
    }
  }
  return found;
}
