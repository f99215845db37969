/** The life of a transaction where nothing is refused: order, abort, many at once, and what is not ours. */
import { describe, expect, onTestFinished, test } from 'vitest';
import { Engine, type EngineEvent, hostFacts } from '../../../src/engine/engine.js';
import { Locks } from '../../../src/engine/locks.js';
import { Store } from '../../../src/engine/store.js';
import { VpcctlError } from '../../../src/errors.js';
import { MemoryKernel } from '../../../src/kernel/memory.js';
import type { Draft } from '../../../src/model/reader.js';
import type { Instance } from '../../../src/model/resources.js';
import * as verbs from '../../../src/model/verbs.js';
import type { Change } from '../../../src/objects/change.js';
import { apply, drift, engineOn, fresh, RICH, recorded, snapshot, stateDir } from './support.js';

const TIMEOUT = 60_000;

const vpc =
  (name: string, cidr: string, isPublic = true) =>
  (draft: Draft) => {
    verbs.createVpc(draft, { name, cidr });
    verbs.addSubnet(draft, { vpc: name, name: 's', cidr: cidr.replace(/\/.*/, '/24'), public: isPublic });
  };
const instance = (of: string, name: string, publicIp?: string) => (draft: Draft) =>
  verbs.addInstance(draft, { vpc: of, subnet: 's', name, ...(publicIp === undefined ? {} : { publicIp }) });

/** A promise and what settles it. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}

async function rejection(promise: Promise<unknown>): Promise<VpcctlError> {
  const error: unknown = await promise.then(
    () => undefined,
    (refused: unknown) => refused,
  );
  expect(error).toBeInstanceOf(VpcctlError);
  return error as VpcctlError;
}

describe('a transaction', () => {
  test('goes through its stages in order, the filter before the links', async () => {
    const { engine, kernel } = fresh();
    const events: EngineEvent[] = [];
    await engine.transact(apply(RICH), { onEvent: (event) => events.push(event) });
    expect(events.map((event) => event.type === 'stage' && `${event.index + 1}/${event.total} ${event.stage}`)).toEqual(
      ['1/2 build', '2/2 connect'],
    );
    const seen: EngineEvent[] = [];
    await engine.transact((draft) => verbs.deleteInstance(draft, 'a', 'w'), { onEvent: (event) => seen.push(event) });
    expect(seen.map((event) => event.type === 'stage' && `${event.index + 1}/${event.total} ${event.stage}`)).toEqual([
      '1/3 build',
      '2/3 connect',
      '3/3 teardown',
    ]);
    expect(drift(engine, kernel)).toEqual([]);
  });

  test('that changes nothing takes no lock, writes nothing and touches nothing', async () => {
    const { engine, kernel, dir } = fresh();
    await engine.transact(apply(RICH));
    const stamp = engine.store.stamp();
    const changes = kernel.changes;
    const held = new Locks(dir, 0).tryAcquire(['a', 'b', '']);
    try {
      await engine.transact(apply(RICH));
    } finally {
      held?.();
    }
    expect([engine.store.stamp(), kernel.changes]).toEqual([stamp, changes]);
  });

  test('refused by a rule of the model leaves no trace', async () => {
    const { engine, kernel } = fresh();
    const refused = await rejection(engine.transact(vpc('a', '10.0.0.0/8')));
    expect(refused.code).toBe('INVALID');
    expect([recorded(engine), kernel.rows(), kernel.prepared]).toEqual([[], [], false]);
  });

  test('does not touch a namespace that somebody else made', async () => {
    const { engine, kernel } = fresh({ foreign: ['vpc.a.x'] });
    await engine.transact(vpc('a', '10.0.0.0/16'));
    const before = snapshot(kernel);
    const refused = await rejection(engine.transact(instance('a', 'x')));
    expect(`${refused.code}: ${refused.toLine()}`).toBe(
      'CONFLICT: a namespace called vpc.a.x exists already and is not ours; choose another name, or remove it; what a lost state left, `vpcctl cleanup-all --orphans` removes',
    );
    expect(snapshot(kernel)).toEqual(before);
    expect(engine.store.unfinished()).toEqual([]);
  });

  test('is undone where the kernel throws in the middle of it', async () => {
    let broken = false;
    const { engine, kernel } = fresh({
      onChange: ({ op, row }) => {
        if (broken && op === 'raise' && row.ns === 'vpc.a.w') {
          broken = false;
          throw new TypeError('a bug');
        }
      },
    });
    broken = true;
    await expect(engine.transact(apply(RICH))).rejects.toThrow('a bug');
    expect([kernel.rows(), recorded(engine), engine.store.unfinished()]).toEqual([[], [], []]);
    await engine.transact(apply(RICH));
    expect(drift(engine, kernel)).toEqual([]);
  });

  test('gives the directory of namespaces back with the last VPC', async () => {
    const { engine, kernel } = fresh();
    await engine.transact(vpc('a', '10.0.0.0/16'));
    await engine.transact(vpc('b', '10.1.0.0/16'));
    await engine.transact((draft) => verbs.deleteVpc(draft, 'a'));
    expect(kernel.prepared).toBe(true);
    await engine.transact((draft) => verbs.deleteVpc(draft, 'b'));
    expect([kernel.prepared, kernel.rows()]).toEqual([false, []]);
  });

  test('leaves the directory alone where it was ready before', async () => {
    const { engine, kernel } = fresh();
    await kernel.prepareDirectory();
    await engine.transact(vpc('a', '10.0.0.0/16'));
    await engine.transact((draft) => verbs.deleteVpc(draft, 'a'));
    expect(kernel.prepared).toBe(true);
  });

  test.each(['0', '1'])("gives the host's own setting back as it was: %s", async (forwarding) => {
    const { engine, kernel } = fresh({ sysctls: { 'net/ipv4/conf/eth0/forwarding': forwarding } });
    const key = 'net/ipv4/conf/eth0/forwarding';
    await engine.transact(vpc('a', '10.0.0.0/16'));
    expect(kernel.hostSettings().get(key)).toBe('1');
    await engine.transact(vpc('b', '10.1.0.0/16'));
    await engine.transact((draft) => verbs.configure(draft, { uplink: 'none' }));
    expect(kernel.hostSettings().get(key)).toBe(forwarding);
    await engine.transact((draft) => verbs.configure(draft, { uplink: 'auto' }));
    await engine.transact((draft) => {
      verbs.deleteVpc(draft, 'a');
      verbs.deleteVpc(draft, 'b');
    });
    expect([...kernel.hostSettings()]).toEqual([
      ['net/ipv4/conf/lo/forwarding', '0'],
      ['net/ipv6/conf/lo/force_forwarding', '0'],
      [key, forwarding],
      ['net/ipv6/conf/eth0/force_forwarding', '0'],
    ]);
  });

  test(
    'costs what it changes, whatever is there',
    async () => {
      const { engine, kernel } = fresh();
      await engine.transact(vpc('a', '10.0.0.0/16'));
      const cost = async (name: string): Promise<number> => {
        const before = kernel.changes;
        await engine.transact(instance('a', name));
        return kernel.changes - before;
      };
      await cost('first');
      const early = await cost('second');
      await engine.transact((draft) => {
        for (let index = 0; index < 100; index += 1) instance('a', `n${index}`)(draft);
      });
      expect(await cost('late')).toBe(early);
      const { lowered } = await engine.prepare(instance('a', 'later'));
      expect(lowered.map(({ id }) => id).sort()).toEqual(['instance/a/later', 'subnet/a/s']);
    },
    TIMEOUT,
  );
});

describe('an abort', () => {
  test('at the first stage undoes what was done', async () => {
    const { engine, kernel } = fresh();
    const abort = new AbortController();
    const events: EngineEvent[] = [];
    const refused = await rejection(
      engine.transact(apply(RICH), {
        signal: abort.signal,
        onEvent: (event) => {
          events.push(event);
          if (event.type === 'stage' && event.stage === 'build') abort.abort();
        },
      }),
    );
    expect(refused.code).toBe('ABORTED');
    expect(kernel.rows()).toEqual([]);
    expect(recorded(engine)).toEqual([]);
    expect(engine.store.unfinished()).toEqual([]);
    const rolled = events.flatMap((event) => (event.type === 'rollback' ? [event.stage] : []));
    expect(rolled).toEqual(['build']);
    await engine.transact(apply(RICH));
    expect(drift(engine, kernel)).toEqual([]);
  });

  test('in the last stage comes too late: the new state is what is there', async () => {
    const { engine, kernel } = fresh();
    const abort = new AbortController();
    await engine.transact(apply(RICH), {
      signal: abort.signal,
      onEvent: (event) => {
        if (event.type === 'stage' && event.stage === 'connect') abort.abort();
      },
    });
    expect(drift(engine, kernel)).toEqual([]);
    expect(engine.store.unfinished()).toEqual([]);
  });

  test('before anything began changes nothing', async () => {
    const { engine, kernel } = fresh();
    const refused = await rejection(engine.transact(apply(RICH), { signal: AbortSignal.abort() }));
    expect([refused.code, kernel.changes, engine.store.unfinished()]).toEqual(['ABORTED', 0, []]);
  });

  test('while waiting for a lock ends the wait', async () => {
    const { engine, kernel, dir } = fresh();
    const release = new Locks(dir, 0).tryAcquire(['a']);
    const abort = new AbortController();
    const waiting = rejection(engine.transact(vpc('a', '10.0.0.0/16'), { signal: abort.signal }));
    setTimeout(() => abort.abort(), 20);
    expect((await waiting).code).toBe('ABORTED');
    release?.();
    expect(kernel.changes).toBe(0);
  });
});

describe('two engines on one state', () => {
  /** An engine that stops at a given change until it is let go. */
  function slow(dir: string, kernel: MemoryKernel, wait: (change: Change) => Promise<void> | undefined): Engine {
    const store = new Store(dir);
    onTestFinished(() => store.close());
    const gated = new Proxy(kernel, {
      get(target, key) {
        if (key !== 'apply') {
          const value: unknown = Reflect.get(target, key, target);
          return typeof value === 'function' ? (value.bind(target) as unknown) : value;
        }
        return async (changes: readonly Change[], options: object) => {
          for (const change of changes) await wait(change);
          return target.apply(changes, options);
        };
      },
    });
    return new Engine(store, gated, new Locks(dir, 10_000));
  }

  test(
    'change one VPC one after the other',
    async () => {
      const { dir, kernel, engine } = fresh();
      await engine.transact(vpc('a', '10.0.0.0/16'));
      const other = engineOn(dir, kernel);
      const names = Array.from({ length: 12 }, (_, index) => `n${index}`);
      await Promise.all(names.map((name, index) => (index % 2 === 0 ? engine : other).transact(instance('a', name))));
      const taken = names.map((name) => (engine.store.get(`instance/a/${name}`) as Instance).ip);
      expect(new Set(taken).size).toBe(names.length);
      expect(drift(engine, kernel)).toEqual([]);
    },
    TIMEOUT,
  );

  test('change two VPCs at once', async () => {
    const { dir, kernel, engine } = fresh();
    await engine.transact(vpc('a', '10.0.0.0/16', false));
    await engine.transact(vpc('b', '10.1.0.0/16', false));
    const held = gate();
    const reached = gate();
    const first = slow(dir, kernel, (change) => {
      reached.open();
      return change.row.kind === 'netns' ? held.opened : undefined;
    });
    const waiting = first.transact(instance('a', 'x'));
    await reached.opened;
    await engineOn(dir, kernel, 100).transact(instance('b', 'y'));
    held.open();
    await waiting;
    expect(drift(engine, kernel)).toEqual([]);
  });

  test('the second waits for the first, and says so when it waits too long', async () => {
    const { dir, kernel, engine } = fresh();
    await engine.transact(vpc('a', '10.0.0.0/16', false));
    const held = gate();
    const reached = gate();
    const waiting = slow(dir, kernel, () => {
      reached.open();
      return held.opened;
    }).transact(instance('a', 'x'));
    await reached.opened;
    const refused = await rejection(engineOn(dir, kernel, 30).transact(instance('a', 'y')));
    expect(`${refused.code}: ${refused.toLine()}`).toBe(
      'CONFLICT: vpc a is being changed by another process; try again when it has finished',
    );
    held.open();
    await waiting;
    await engineOn(dir, kernel).transact(instance('a', 'y'));
    expect(drift(engine, kernel)).toEqual([]);
  });

  test('a race lost is run again on what the other left', async () => {
    const { dir, kernel, engine } = fresh();
    await engine.transact(vpc('a', '10.0.0.0/16'));
    const other = engineOn(dir, kernel);
    let runs = 0;
    const first: Promise<unknown>[] = [];
    await engine.transact((draft) => {
      runs += 1;
      const made = instance('a', 'mine')(draft);
      // Worked out, and not yet locked: the other takes the address that was chosen.
      if (runs === 1) first.push(other.transact(instance('a', 'theirs')));
      return made;
    });
    await Promise.all(first);
    const ips = ['mine', 'theirs'].map((name) => (engine.store.get(`instance/a/${name}`) as Instance).ip);
    expect(new Set(ips).size).toBe(2);
    expect(runs).toBeGreaterThan(1);
    expect(drift(engine, kernel)).toEqual([]);
  });

  test('a nearly exhausted pool is shared out between VPCs that change at once', async () => {
    // Six usable addresses, six takers, and a kernel slow enough for all to be under way together.
    const { engine } = fresh({ onChange: () => new Promise((resolve) => setTimeout(resolve, 0)) });
    await engine.transact((draft) => {
      verbs.configure(draft, { publicPool: '198.51.100.0/29' });
      for (const index of [0, 1, 2, 3, 4, 5]) vpc(`v${index}`, `10.${index}.0.0/16`, true)(draft);
    });
    await Promise.all([0, 1, 2, 3, 4, 5].map((index) => engine.transact(instance(`v${index}`, 'x'))));
    const taken = [0, 1, 2, 3, 4, 5].map((index) => (engine.store.get(`instance/v${index}/x`) as Instance).publicIp);
    expect(new Set(taken).size).toBe(6);
  });

  test('no two instances of two VPCs get one public address', async () => {
    const { dir, kernel, engine } = fresh();
    await engine.transact(vpc('a', '10.0.0.0/16'));
    await engine.transact(vpc('b', '10.1.0.0/16'));
    const held = gate();
    const reached = gate();
    // With a private address named, neither transaction needs more than its own VPC.
    const first = (draft: Draft) =>
      verbs.addInstance(draft, { vpc: 'a', subnet: 's', name: 'x', ip: '10.0.0.9', publicIp: '198.51.100.7' });
    const second = (draft: Draft) =>
      verbs.addInstance(draft, { vpc: 'b', subnet: 's', name: 'y', ip: '10.1.0.9', publicIp: '198.51.100.7' });
    const slowly = slow(dir, kernel, () => {
      reached.open();
      return held.opened;
    }).transact(first);
    await reached.opened;
    // The first has claimed it, and may yet be undone.
    expect((await rejection(engineOn(dir, kernel).transact(second))).code).toBe('CONFLICT');
    held.open();
    await slowly;
    const after = await rejection(engineOn(dir, kernel).transact(second));
    expect(after.message).toBe('public address 198.51.100.7 is taken by instance a/x');
    expect(drift(engine, kernel)).toEqual([]);
  });

  test('a claim is freed when its transaction is undone', async () => {
    const { dir, kernel, engine } = fresh();
    await engine.transact(vpc('a', '10.0.0.0/16'));
    await engine.transact(vpc('b', '10.1.0.0/16'));
    kernel.failAt(5);
    await rejection(engine.transact(instance('a', 'x', '198.51.100.7')));
    await engineOn(dir, kernel).transact(instance('b', 'y', '198.51.100.7'));
    expect((engine.store.get('instance/b/y') as Instance).publicIp).toBe('198.51.100.7');
  });

  test('another that died is recovered before its VPC is changed, and no other VPC waits', async () => {
    const dir = stateDir();
    let dying = false;
    let died = false;
    const kernel = new MemoryKernel({
      onChange: ({ row }) => {
        died ||= dying && row.kind === 'route';
        if (died) throw new Error('killed');
      },
    });
    const engine = engineOn(dir, kernel);
    await engine.transact(vpc('a', '10.0.0.0/16', false));
    await engine.transact(vpc('b', '10.1.0.0/16', false));
    const before = snapshot(kernel);
    dying = true;
    await expect(engineOn(dir, kernel).transact(instance('a', 'x'))).rejects.toThrow('killed');
    dying = false;
    died = false;
    const events: EngineEvent[] = [];
    const onEvent = (event: EngineEvent) => events.push(event);
    await engine.transact(instance('b', 'y'), { onEvent });
    expect(events.some(({ type }) => type === 'recovered')).toBe(false);
    await engine.transact((draft) => verbs.deleteInstance(draft, 'b', 'y'));
    await engine.transact(instance('a', 'other'), { onEvent });
    expect(events.filter(({ type }) => type === 'recovered')).toEqual([
      { type: 'recovered', what: 'undone', scopes: ['a'] },
    ]);
    await engine.transact((draft) => verbs.deleteInstance(draft, 'a', 'other'));
    expect(snapshot(kernel)).toEqual(before);
  });

  test('what cannot be undone is told of, keeps its own VPC from being changed, and holds up nothing else', async () => {
    const dir = stateDir();
    let broken = false;
    const kernel = new MemoryKernel({
      onChange: ({ row }) => {
        if (broken && row.ns === 'vpc.a.x') throw new VpcctlError('KERNEL', 'the kernel will not', { netns: row.ns });
      },
    });
    const engine = engineOn(dir, kernel);
    await engine.transact(vpc('a', '10.0.0.0/16', false));
    await engine.transact(vpc('b', '10.1.0.0/16', false));
    broken = true;
    await expect(engineOn(dir, kernel).transact(instance('a', 'x'))).rejects.toThrow('the kernel will not');
    const events: EngineEvent[] = [];
    const next = engineOn(dir, kernel);
    await next.recoverAll({ onEvent: (event) => events.push(event) });
    expect(events.filter(({ type }) => type === 'unrecovered')).toMatchObject([
      { scopes: ['a'], error: { code: 'KERNEL' } },
    ]);
    await next.transact(instance('b', 'y'));
    await expect(next.transact(instance('a', 'z'))).rejects.toThrow('the kernel will not');
    broken = false;
    await next.transact(instance('a', 'z'));
    expect(next.store.unfinished()).toEqual([]);
  });
});

test('hostFacts takes the default route of the lowest metric, and leaves out routes through our own link', () => {
  expect(
    hostFacts({
      links: [
        { name: 'eth0', mtu: 1500, up: true },
        { name: 'wlan0', mtu: 1400, up: true },
      ],
      routes: [
        { dst: 'default', link: 'wlan0', metric: 600, kernel: false },
        { dst: 'default', link: 'eth0', metric: 100, kernel: false },
        { dst: 'default', metric: 0, kernel: false },
        { dst: '192.0.2.0/24', link: 'eth0', metric: 0, kernel: true },
        { dst: '192.0.2.9', link: 'eth0', metric: 0, kernel: false },
        { dst: '169.254.128.0/30', link: 'vpc-edge', metric: 0, kernel: true },
        { dst: '::/0', link: 'wlan0', metric: 1024, kernel: false },
        { dst: '2001:db8:1::/64', link: 'eth0', metric: 256, kernel: true },
        { dst: 'fd76:7063:6300::1', link: 'vpc-edge', metric: 256, kernel: true },
      ],
      forwarding6: 'no',
    }),
  ).toEqual({
    defaultLink: 'eth0',
    linkMtu: new Map([
      ['eth0', 1500],
      ['wlan0', 1400],
    ]),
    routes: ['192.0.2.0/24', '192.0.2.9/32', '2001:db8:1::/64'],
    forwarding6: 'no',
  });
});
