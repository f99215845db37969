/** How long a link waits before it answers ARP for others: our messages against the kernel's own files. */
import { expect, it, onTestFinished } from 'vitest';
import { loadNative } from '../../src/kernel/native.js';
import { Batch } from '../../src/netlink/batch.js';
import { decodeLinks, dumpLinks } from '../../src/netlink/link.js';
import { decodeArp, dumpArp, PROXY_DELAY, setProxyDelay } from '../../src/netlink/neightbl.js';
import { ipDo, must } from '../harness/witness.js';
import { ENODEV, errnos } from './wire.js';

const native = loadNative();
const A = '/run/netns/a';

async function makeNamespace(): Promise<void> {
  expect(await native.run([{ op: 'netns-create', path: A }])).toEqual([{ errno: 0 }]);
  onTestFinished(async () => {
    await native.run([{ op: 'netns-delete', path: A }], true);
  });
  await ipDo(['link', 'add', 'x', 'type', 'veth', 'peer', 'name', 'y'], 'a');
}

/** Delays by link, as our dump tells them, in ms. */
async function told(): Promise<Record<string, number>> {
  const [links, arp] = await native.run([dumpLinks(), dumpArp()].map((data) => ({ op: 'dump', netns: A, data })));
  const delays = new Map(decodeArp(arp?.data ?? new Uint8Array()).map(({ index, proxyDelay }) => [index, proxyDelay]));
  const named = decodeLinks(links?.data ?? new Uint8Array()).filter(({ kind }) => kind === 'veth');
  return Object.fromEntries(named.map(({ name, index }) => [name, delays.get(index) ?? Number.NaN]));
}

/** The same by /proc: in clock ticks of programs (USER_HZ), of which a second has 100. */
async function ticks(link: string): Promise<string> {
  return (await must('a', ['cat', `/proc/sys/net/ipv4/neigh/${link}/proxy_delay`])).trim();
}

async function set(...delays: readonly (readonly [link: string, ms: number])[]): Promise<unknown> {
  const batch = new Batch();
  for (const [link, ms] of delays) setProxyDelay(batch, { link, ms });
  const [result] = await native.run([{ op: 'netlink', netns: A, ...batch.finish() }]);
  return result?.errno === 0 ? errnos(result) : result;
}

it('a new link has the delay that the kernel was built with', async () => {
  await makeNamespace();
  expect(await told()).toEqual({ x: PROXY_DELAY, y: PROXY_DELAY });
  expect(await ticks('x')).toBe(`${PROXY_DELAY / 10}`);
});

it('is set on one link, and on no other', async () => {
  await makeNamespace();
  expect(await set(['x', 0])).toEqual([0]);
  expect([await ticks('x'), await ticks('y')]).toEqual(['0', '80']);
  expect(await told()).toEqual({ x: 0, y: 800 });
  expect(await set(['x', 200], ['y', 0])).toEqual([0, 0]);
  expect([await ticks('x'), await ticks('y')]).toEqual(['20', '0']);
  expect(await told()).toEqual({ x: 200, y: 0 });
});

it('stays when the link goes up and down, and is read however it was set', async () => {
  await makeNamespace();
  expect(await set(['x', 0])).toEqual([0]);
  for (const state of ['up', 'down']) {
    await ipDo(['link', 'set', 'x', state], 'a');
    expect(await told()).toMatchObject({ x: 0 });
  }
  await must('a', ['sysctl', '-qw', 'net.ipv4.neigh.x.proxy_delay=30']);
  expect(await told()).toMatchObject({ x: 300 });
});

it('of a link that is not there is refused', async () => {
  await makeNamespace();
  expect(await set(['z', 0])).toEqual({ errno: ENODEV, where: 'link z' });
});
