/** The watch over a kernel in memory, with a clock of the test's own. */
import { setImmediate as turn } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import type { Engine } from '../../../src/engine/engine.js';
import { type Clock, Watch, type WatchEvent, type WatchOptions } from '../../../src/engine/watch.js';
import { open, VpcctlError } from '../../../src/index.js';
import type { StageFailure } from '../../../src/kernel/kernel.js';
import { MemoryKernel } from '../../../src/kernel/memory.js';
import type { KernelObject } from '../../../src/objects/kernel-object.js';
import { apply, engineOn, RICH, stateDir } from './support.js';

const STEP_MS = 50;

class FakeClock implements Clock {
  time = 0;
  readonly #timers = new Set<{ readonly at: number; readonly done: () => void }>();

  now(): number {
    return this.time;
  }

  after(ms: number, done: () => void): () => void {
    const timer = { at: this.time + ms, done };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** What is under way goes on between the steps. */
  async pass(ms: number): Promise<void> {
    for (const end = this.time + ms; this.time < end; ) {
      for (let rest = 0; rest < 4; rest += 1) await turn();
      this.time += STEP_MS;
      for (const timer of [...this.#timers]) {
        if (timer.at > this.time) continue;
        this.#timers.delete(timer);
        timer.done();
      }
    }
    for (let rest = 0; rest < 4; rest += 1) await turn();
  }
}

/** Counts looks; refuses changes on demand. */
class CountingKernel extends MemoryKernel {
  looks = 0;
  refuses = false;

  override async observe(...args: Parameters<MemoryKernel['observe']>): Promise<KernelObject[]> {
    this.looks += 1;
    return super.observe(...args);
  }

  override async apply(...args: Parameters<MemoryKernel['apply']>): Promise<StageFailure | undefined> {
    if (this.refuses && args[1]?.tolerant !== true) return { error: new VpcctlError('KERNEL', 'refused'), applied: [] };
    return super.apply(...args);
  }
}

interface Bed {
  readonly kernel: CountingKernel;
  readonly engine: Engine;
  readonly clock: FakeClock;
  readonly events: WatchEvent[];
  readonly done: Promise<void>;
  readonly abort: AbortController;
  /** Told since the last time: `vpc type`, without the first `watching`. */
  told(): string[];
}

async function bed(options: WatchOptions = {}): Promise<Bed> {
  const kernel = new CountingKernel();
  const dir = stateDir();
  const engine = engineOn(dir, kernel);
  await engine.transact(apply(RICH));
  const clock = new FakeClock();
  const abort = new AbortController();
  const watch = new Watch(engine, { ...options, signal: abort.signal }, clock);
  const events: WatchEvent[] = [];
  const done = (async () => {
    for await (const event of watch.events((work) => work())) events.push(event);
  })();
  onTestFinished(async () => {
    abort.abort();
    await done;
  });
  await clock.pass(3_000);
  expect(events.map(({ type }) => type)).toEqual(['watching']);
  const told = (): string[] => events.splice(0).map(({ vpc, type }) => `${vpc ?? 'edge'} ${type}`);
  told();
  kernel.looks = 0;
  return { kernel, engine, clock, events, done, abort, told };
}

function row(kernel: MemoryKernel, key: Partial<KernelObject>): KernelObject {
  const found = kernel
    .rows()
    .find((one) => Object.entries(key).every(([name, value]) => Reflect.get(one, name) === value));
  if (found === undefined) throw new Error(`no ${JSON.stringify(key)}`);
  return found;
}

test('what is taken away is put back, one more look finds nothing, and then there is silence', async () => {
  const { kernel, clock, told } = await bed();
  kernel.tamper(row(kernel, { kind: 'route', ns: 'vpc.a.w' }));
  await clock.pass(1_000);
  expect(told()).toEqual(['a repaired']);
  expect(row(kernel, { kind: 'route', ns: 'vpc.a.w' })).toBeDefined();
  // Without locks, with them, and after the repair.
  expect(kernel.looks).toBe(3);
  await clock.pass(30_000);
  expect([kernel.looks, told()]).toEqual([3, []]);
});

test('many things at once are one repair; each VPC and the border has its own', async () => {
  const { kernel, clock, told } = await bed();
  for (const one of kernel.rows().filter(({ ns }) => ns === 'vpc.a.w' || ns === 'vpc.b.x')) kernel.tamper(one);
  kernel.tamper(row(kernel, { kind: 'link', ns: '', name: 'vpc-edge' } as Partial<KernelObject>));
  await clock.pass(3_000);
  expect(told().sort()).toEqual(['a repaired', 'b repaired', 'edge repaired']);
});

test('who is recorded later is watched, who is deleted is let go', async () => {
  const { kernel, engine, clock, told, events } = await bed();
  await engine.transact((draft) => apply({ ...RICH, vpcs: { ...RICH.vpcs, c: { cidr: '10.7.0.0/16' } } })(draft));
  await clock.pass(2_000);
  expect(events).toEqual([]);
  kernel.tamper(row(kernel, { kind: 'route', ns: 'vpc.c' }));
  await clock.pass(2_000);
  expect(told()).toEqual(['c repaired']);
});

test('who breaks the same again and again is met ever more rarely, and it is said', async () => {
  const { kernel, clock, events } = await bed();
  const route = row(kernel, { kind: 'route', ns: 'vpc.a.w' });
  for (let at = 0; at < 600; at += 1) {
    kernel.tamper(route);
    await clock.pass(100);
  }
  const repairs = events.filter(({ type }) => type === 'repaired').length;
  // In a minute: 0.2 + 0.4 + … + 25.6 s.
  expect(repairs).toBeGreaterThan(5);
  expect(repairs).toBeLessThan(10);
  const last = events.filter((event) => event.type === 'backoff').at(-1);
  expect(last).toMatchObject({ vpc: 'a', times: repairs });
}, 20_000);

test('noise that breaks nothing is looked at once a second at most', async () => {
  const { kernel, clock, told } = await bed();
  for (let at = 0; at < 200; at += 1) {
    kernel.alter({ kind: 'addr', ns: 'vpc.a.w', link: 'eth0', address: `10.99.0.${at}/32` } as unknown as KernelObject);
    await clock.pass(50);
  }
  expect(told()).toEqual([]);
  expect(kernel.looks).toBeLessThan(13);
  expect(kernel.looks).toBeGreaterThan(5);
}, 20_000);

test('what tells nothing is found by the look from time to time', async () => {
  const { kernel, engine, clock, told } = await bed({ intervalMs: 20_000 });
  const edge = engine.store.rowsOf('edge').find(({ kind, ns }) => kind === 'sysctl' && ns === '');
  (kernel.hostSettings() as Map<string, string>).set((edge as { key: string }).key, '0');
  await clock.pass(15_000);
  expect(told()).toEqual([]);
  await clock.pass(8_000);
  expect(told()).toEqual(['edge repaired']);
});

test('a repair that is refused is told, and tried again', async () => {
  const { kernel, clock, events, told } = await bed();
  kernel.refuses = true;
  kernel.tamper(row(kernel, { kind: 'route', ns: 'vpc.a.w' }));
  await clock.pass(2_000);
  const pauses = events.flatMap((event) => (event.type === 'failed' ? [event.nextLookMs] : []));
  expect(pauses.slice(0, 3)).toEqual([200, 400, 800]);
  expect(events[0]).toMatchObject({ vpc: 'a', error: { message: 'refused' } });
  kernel.refuses = false;
  await clock.pass(3_000);
  expect(told().at(-1)).toBe('a repaired');
});

test('without repair each difference is told once, and once that it is gone', async () => {
  const { kernel, engine, clock, told, events } = await bed({ repair: false, vpc: 'b' });
  const route = row(kernel, { kind: 'route', ns: 'vpc.b.x' });
  kernel.tamper(row(kernel, { kind: 'route', ns: 'vpc.a.w' }));
  kernel.tamper(route);
  await clock.pass(3_000);
  expect(events).toMatchObject([{ type: 'drift', vpc: 'b', drift: [{ what: 'missing', recorded: route }] }]);
  kernel.alter({ ...route, dst: '10.50.0.0/16' } as KernelObject);
  await clock.pass(3_000);
  expect(told()).toEqual(['b drift']);
  kernel.alter(route);
  await clock.pass(3_000);
  expect(told()).toEqual(['b clean']);
  await engine.transact((draft) => apply({ ...RICH, peerings: [] })(draft));
  await clock.pass(3_000);
  expect(told()).toEqual([]);
});

test('what is foreign is told once beside the repairs', async () => {
  const { kernel, clock, told } = await bed();
  const foreign = { kind: 'route', ns: 'vpc.a', type: 'blackhole', dst: '10.98.0.0/16', table: 254, protocol: 4 };
  kernel.alter(foreign as unknown as KernelObject);
  await clock.pass(2_000);
  expect(told()).toEqual(['a drift']);
  kernel.tamper(row(kernel, { kind: 'route', ns: 'vpc.a.w' }));
  await clock.pass(2_000);
  expect(told()).toEqual(['a repaired']);
  kernel.tamper(foreign as unknown as KernelObject);
  await clock.pass(2_000);
  expect(told()).toEqual(['a clean']);
});

test('the signal ends it, waiting or not', async () => {
  const { abort, done, clock } = await bed();
  abort.abort();
  await clock.pass(50);
  await done;
});

test('of an installation: close ends it; a closed one has none; a wrong VPC is refused', async () => {
  const kernel = new MemoryKernel();
  const vpcctl = await open({ state: stateDir(), kernel });
  await vpcctl.apply(RICH);
  await expect(vpcctl.watch({ vpc: 'none' }).next()).rejects.toMatchObject({ code: 'NOT_FOUND' });
  const seen: string[] = [];
  const watching = (async () => {
    for await (const { type } of vpcctl.watch()) {
      seen.push(type);
      if (type === 'watching') kernel.tamper(row(kernel, { kind: 'route', ns: 'vpc.a.w' }));
      else setImmediate(() => void vpcctl.close());
    }
  })();
  await watching;
  expect(seen).toEqual(['watching', 'repaired']);
  await vpcctl.close();
  await expect(vpcctl.watch().next()).rejects.toMatchObject({ code: 'USAGE' });
});
