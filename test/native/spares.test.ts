/** Namespaces that are ready before they have a name. */
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { LANES, loadNative, type NativeOp } from '../../src/kernel/native.js';
import { ip, nft } from '../harness/witness.js';
import { EEXIST, ENOENT, withAddon } from './wire.js';

const native = loadNative();
const A = '/run/netns/a';
const TABLE = JSON.stringify({ nftables: [{ add: { table: { family: 'inet', name: 'ready' } } }] });

const make = (spare: number, document = ''): NativeOp => ({ op: 'spare-make', spare, document });
const drop = (spare: number): NativeOp => ({ op: 'spare-drop', spare });
const adopt = (spare: number, path = A): NativeOp => ({ op: 'netns-create', path, spare });
const remove = (path = A): NativeOp => ({ op: 'netns-delete', path });

/** Descriptors of namespaces that this process has open: those of the namespace threads are not its own. */
function held(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`).startsWith('net:');
    } catch {
      return false;
    }
  }).length;
}

afterEach(async () => {
  await native.run([remove()], true);
});

describe('a spare', () => {
  it('has no name until it is pinned, on whatever lane, and is no spare afterwards', async () => {
    // Each lane holds its home from its first program on.
    await Promise.all([native.run([drop(0)], true, LANES.spares), native.run([remove()], true)]);
    const before = held();
    expect(await native.run([make(1), make(2)], false, LANES.spares)).toEqual([{ errno: 0 }, { errno: 0 }]);
    expect(held()).toBe(before + 2);
    expect(readdirSync('/run/netns')).toEqual([]);
    expect(await native.run([adopt(1)])).toEqual([{ errno: 0 }]);
    const [lo, ...others] = await ip<{ ifname: string; flags: string[] }>(['link'], 'a');
    expect([lo?.ifname, lo?.flags, others]).toEqual(['lo', ['LOOPBACK', 'UP', 'LOWER_UP'], []]);
    expect(await native.run([adopt(1, '/run/netns/b')])).toEqual([{ errno: ENOENT, where: 'spare' }]);
    await native.run([drop(2), drop(3)], false, LANES.spares);
    expect(held()).toBe(before);
  });

  it('is used up by a name that is taken, whose holder stays', async () => {
    await native.run([{ op: 'netns-create', path: A }]);
    const before = readdirSync('/run/netns');
    await native.run([make(4)], false, LANES.spares);
    expect(await native.run([adopt(4)])).toEqual([{ errno: EEXIST, where: `open ${A}` }]);
    expect(readdirSync('/run/netns')).toEqual(before);
    expect(await native.run([adopt(4, '/run/netns/b')])).toEqual([{ errno: ENOENT, where: 'spare' }]);
  });

  it.runIf(native.hasNftables())('has its firewall before its name; one that is refused is none', async () => {
    const [made, refused] = await native.run(
      [make(5, TABLE), make(6, '{"nftables": [{"add": {}}]}')],
      true,
      LANES.spares,
    );
    expect(made).toEqual({ errno: 0 });
    expect(refused).toMatchObject({ where: 'nft', value: expect.stringMatching(/error/i) });
    expect(await native.run([adopt(6)])).toEqual([{ errno: ENOENT, where: 'spare' }]);
    await native.run([adopt(5)]);
    expect(await nft(['list', 'tables'], 'a')).toMatchObject([{ table: { family: 'inet', name: 'ready' } }]);
  });

  it('ends with its environment', async () => {
    const before = held();
    const code = withAddon(`
      import { parentPort } from 'node:worker_threads';
      await native.run([{ op: 'spare-make', spare: 1, document: '' }], false, 3);
      parentPort.postMessage('made');
      setInterval(() => {}, 1000);`);
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`));
    await once(worker, 'message');
    expect(held()).toBeGreaterThan(before);
    await worker.terminate();
    expect(held()).toBe(before);
  });
});
