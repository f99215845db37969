/** Many calls at once on one installation, and its end in the middle of them. */
import { describe, expect, onTestFinished, test } from 'vitest';
import { open, type Vpcctl, VpcctlError } from '../../../src/index.js';
import { MemoryKernel, type MemoryKernelOptions } from '../../../src/kernel/memory.js';
import { stateDir } from './support.js';

const TIMEOUT = 60_000;

async function opened(options: MemoryKernelOptions = {}): Promise<Vpcctl> {
  const vpcctl = await open({ state: stateDir(), kernel: new MemoryKernel(options) });
  onTestFinished(() => vpcctl.close());
  return vpcctl;
}

function makeVpcs(vpcctl: Vpcctl, count: number) {
  return vpcctl.transaction((tx) => {
    for (let index = 0; index < count; index += 1) {
      tx.createVpc({ name: `v${index}`, cidr: '10.0.0.0/16' });
      tx.addSubnet({ vpc: `v${index}`, name: 's', cidr: '10.0.1.0/24' });
    }
  });
}

function attach(vpcctl: Vpcctl, vpc: string, name: string, signal?: AbortSignal) {
  return vpcctl.transaction((tx) => tx.addInstance({ vpc, subnet: 's', name }), signal === undefined ? {} : { signal });
}

function addresses(vpcctl: Vpcctl): string[] {
  return vpcctl
    .list()
    .vpcs.flatMap(({ name, subnets }) =>
      subnets.flatMap(({ instances }) => instances.map(({ ip }) => `${name} ${ip}`)),
    );
}

const codes = (settled: readonly PromiseSettledResult<unknown>[]): string[] =>
  settled.map((one) => (one.status === 'fulfilled' ? 'done' : (one.reason as VpcctlError).code));

test(
  'a thousand transactions at once all succeed, each with an address of its own',
  async () => {
    const vpcctl = await opened();
    await makeVpcs(vpcctl, 50);
    const made = await Promise.all(Array.from({ length: 1000 }, (_, i) => attach(vpcctl, `v${i % 50}`, `i${i}`)));
    expect(made.every(({ unchanged }) => !unchanged)).toBe(true);
    expect(new Set(addresses(vpcctl)).size).toBe(1000);
    expect(await vpcctl.drift()).toEqual([]);
  },
  TIMEOUT,
);

test(
  'a VPC that is slow keeps no other waiting',
  async () => {
    let slow = true;
    const held: (() => void)[] = [];
    const vpcctl = await opened({
      onChange: ({ row }) =>
        slow && row.ns === 'vpc.v0.i0' ? new Promise<void>((resolve) => held.push(resolve)) : undefined,
    });
    await makeVpcs(vpcctl, 3);
    const waiting = [attach(vpcctl, 'v0', 'i0'), attach(vpcctl, 'v0', 'i1')];
    await Promise.all(Array.from({ length: 20 }, (_, i) => attach(vpcctl, `v${1 + (i % 2)}`, `o${i}`)));
    expect(addresses(vpcctl).filter((one) => one.startsWith('v0'))).toEqual([]);
    slow = false;
    for (const release of held) release();
    await Promise.all(waiting);
    expect(addresses(vpcctl).length).toBe(22);
  },
  TIMEOUT,
);

/** A kernel that stops at the first change in an instance's namespace until it is let go. */
async function stopped() {
  let reached = (): void => {};
  const atWork = new Promise<void>((resolve) => {
    reached = resolve;
  });
  let go = (): void => {};
  const gone = new Promise<void>((resolve) => {
    go = resolve;
  });
  const vpcctl = await opened({
    onChange: ({ row }) => {
      if (!row.ns.startsWith('vpc.v0.')) return undefined;
      reached();
      return gone;
    },
  });
  await makeVpcs(vpcctl, 2);
  return { vpcctl, atWork, go };
}

describe('close', () => {
  test('waits for what is under way, and refuses what waits for its turn', async () => {
    const { vpcctl, atWork, go } = await stopped();
    const calls = Promise.allSettled(['i0', 'i1', 'i2'].map((name) => attach(vpcctl, 'v0', name)));
    await atWork;
    let closed = false;
    const closing = vpcctl.close().then(() => {
      closed = true;
    });
    const again = vpcctl.close();
    const late = Promise.allSettled([attach(vpcctl, 'v1', 'late'), vpcctl.drift(), vpcctl.plan({ vpcs: {} })]);
    expect(codes(await late)).toEqual(['USAGE', 'USAGE', 'USAGE']);
    expect(closed).toBe(false);
    go();
    await Promise.all([closing, again]);
    expect(codes(await calls)).toEqual(['done', 'ABORTED', 'ABORTED']);
  });

  test('afterwards every call says so', async () => {
    const vpcctl = await opened();
    await vpcctl.close();
    await vpcctl.close();
    const message = 'this installation is closed';
    for (const read of [() => vpcctl.list(), () => vpcctl.export(), () => vpcctl.inspect('a'), () => vpcctl.apps()]) {
      expect(read).toThrow(expect.objectContaining({ code: 'USAGE', message }) as Error);
    }
    await expect(vpcctl.destroy()).rejects.toMatchObject({ code: 'USAGE', message });
    await expect(vpcctl.deployApp('a', { instance: 'b' }, {})).rejects.toMatchObject({ code: 'USAGE', message });
    await expect(vpcctl.stopApp('a', { instance: 'b' })).rejects.toMatchObject({ code: 'USAGE', message });
  });

  test('what was refused was not begun', async () => {
    const state = stateDir();
    const kernel = new MemoryKernel();
    const vpcctl = await open({ state, kernel });
    await makeVpcs(vpcctl, 1);
    const calls = Promise.allSettled(Array.from({ length: 5 }, (_, index) => attach(vpcctl, 'v0', `i${index}`)));
    await vpcctl.close();
    const done = codes(await calls).filter((code) => code === 'done').length;
    const next = await open({ state, kernel });
    expect(addresses(next).length).toBe(done);
    expect(await next.drift()).toEqual([]);
    await next.close();
  });
});

test('an abort ends the wait in line, and leaves the others in it', async () => {
  const { vpcctl, atWork, go } = await stopped();
  const abort = new AbortController();
  const calls = Promise.allSettled([
    attach(vpcctl, 'v0', 'i0'),
    attach(vpcctl, 'v0', 'i1', abort.signal),
    attach(vpcctl, 'v0', 'i2'),
  ]);
  await atWork;
  abort.abort();
  go();
  expect(codes(await calls)).toEqual(['done', 'ABORTED', 'done']);
  const refused: unknown = await attach(vpcctl, 'v0', 'i3', abort.signal).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(VpcctlError);
  expect(addresses(vpcctl)).toEqual(['v0 10.0.1.4', 'v0 10.0.1.5']);
});
