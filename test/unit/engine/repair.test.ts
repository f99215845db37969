/** Whatever somebody did to a kernel in memory: it is told, and put back, and nothing else is touched. Then: a machine that was started anew. */
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { VpcctlError } from '../../../src/errors.js';
import { open, type RepairResult, type Vpcctl, type VpcctlEvent } from '../../../src/index.js';
import { MemoryKernel, type MemoryKernelOptions } from '../../../src/kernel/memory.js';
import type { Change } from '../../../src/objects/change.js';
import { type KernelObject, type LinkRow, rowKey } from '../../../src/objects/kernel-object.js';
import { engineOn, RICH, snapshot, stateDir } from './support.js';

const TIMEOUT = 120_000;

async function rich(options: MemoryKernelOptions = {}): Promise<{ vpcctl: Vpcctl; kernel: MemoryKernel; dir: string }> {
  const kernel = new MemoryKernel(options);
  const dir = stateDir();
  const vpcctl = await open({ state: dir, kernel });
  onTestFinished(async () => vpcctl.close());
  await vpcctl.apply(RICH);
  return { vpcctl, kernel, dir };
}

/** The row made another by somebody; undefined where only its absence makes sense. */
function altered(row: KernelObject): KernelObject | undefined {
  switch (row.kind) {
    case 'link':
      return { ...row, mtu: row.mtu - 100, down: true };
    case 'route':
      return row.type === 'unicast' ? { ...row, protocol: 4 } : undefined;
    case 'rule':
      return { ...row, table: row.table + 1 };
    case 'neigh':
      return { ...row, mac: '02:00:00:00:00:77' };
    case 'sysctl':
      return { ...row, value: '77' };
    case 'nft-rule':
      return { ...row, expr: [{ accept: null }] };
    case 'nft-element':
      return row.data === undefined ? undefined : { ...row, data: typeof row.data === 'number' ? 7 : '192.0.2.7' };
    default:
      return undefined;
  }
}

/** What is touched beside a row that differs: the other end of a pair, what hangs on a link, all of a table. */
function surroundings(row: KernelObject): string[] {
  switch (row.kind) {
    case 'netns':
      return [row.ns];
    case 'link':
      return [`${row.ns}/${row.name}`, ...(row.type === 'veth' ? [`${row.peer.ns}/${row.peer.name}`] : [])];
    case 'addr':
    case 'neigh':
      return [`${row.ns}/${row.link}`];
    case 'route':
      return [`${row.ns}/${row.link ?? ''}`];
    default:
      return row.kind.startsWith('nft-') ? [`${row.ns} firewall`] : [rowKey(row)];
  }
}

describe('a repair', () => {
  test(
    'puts back any rows that were removed or altered, and touches no others',
    async () => {
      const touched: Change[] = [];
      const { vpcctl, kernel } = await rich({ onChange: (change) => void touched.push(change) });
      const before = snapshot(kernel);
      const rows = vpcctl.recorded();
      const doings = fc.array(
        fc.record({ row: fc.constantFrom(...rows), how: fc.constantFrom<'remove' | 'alter'>('remove', 'alter') }),
        { minLength: 1, maxLength: 8 },
      );
      await fc.assert(
        fc.asyncProperty(doings, async (list) => {
          for (const { row, how } of list) {
            const other = how === 'alter' || row.kind === 'sysctl' ? altered(row) : undefined;
            const there = kernel.rows().some((one) => rowKey(one) === rowKey(row));
            if (other === undefined) kernel.tamper(row);
            else if (there) kernel.alter(other);
          }
          const drift = await vpcctl.drift();
          touched.length = 0;
          const { repaired, left } = await vpcctl.repair();
          expect(repaired).toEqual(drift);
          expect(left).toEqual([]);
          expect(await vpcctl.drift()).toEqual([]);
          expect(snapshot(kernel)).toEqual(before);
          const concerned = new Set(
            drift.flatMap(({ recorded }) =>
              recorded === undefined ? [] : [rowKey(recorded), ...surroundings(recorded)],
            ),
          );
          for (const { row } of touched) {
            expect(
              [rowKey(row), ...surroundings(row)].some((one) => concerned.has(one)),
              rowKey(row),
            ).toBe(true);
          }
        }),
        { numRuns: 60 },
      );
    },
    TIMEOUT,
  );

  test("goes on without an instance in whose namespace the kernel refuses it every time, and tells the kernel's words", async () => {
    let hostile = false;
    let attempts = 0;
    const { vpcctl, kernel } = await rich({
      onChange: ({ op, row }) => {
        if (op !== 'create' || row.kind !== 'addr' || row.ns !== 'vpc.a.d' || !hostile) return;
        attempts += 1;
        throw new VpcctlError('KERNEL', 'could not create it', { netns: row.ns, errno: 'EEXIST' });
      },
    });
    const before = snapshot(kernel);
    hostile = true;
    for (const row of vpcctl.recorded()) {
      if (row.kind === 'addr' && (row.ns === 'vpc.a.d' || row.ns === 'vpc.b.x')) kernel.tamper(row);
    }
    const { repaired, left } = await vpcctl.repair();
    hostile = false;
    expect(attempts).toBe(1);
    expect(repaired.map(({ object }) => object)).toEqual([expect.stringMatching('^addr vpc.b.x eth0 ')]);
    expect(left.map(({ sentence }) => sentence)).toEqual([
      expect.stringMatching(
        /^instance a\/d: its address .* is missing from the kernel: could not create it \(EEXIST\)$/,
      ),
    ]);
    expect((await vpcctl.repair()).left).toEqual([]);
    expect(snapshot(kernel)).toEqual(before);
  });

  test(
    'refused at any change leaves the kernel as it was found, and without the instance in whose namespace that was goes on',
    async () => {
      const { vpcctl, kernel } = await rich();
      const before = snapshot(kernel);
      const breakIt = (): void => {
        const find = (key: string): KernelObject =>
          vpcctl.recorded().find((row) => rowKey(row) === key) as KernelObject;
        kernel.tamper(find('netns|vpc.a.w'));
        kernel.tamper(find('link|vpc.b|peer-a'));
        kernel.alter({ ...(find('link|vpc.a.d|eth0') as LinkRow), mtu: 1400, down: true });
        kernel.alter({ ...(find('link|vpc.b|uplink') as LinkRow), down: true });
        kernel.tamper(find('nft-rule|vpc.a|inet|vpcctl|forward|003'));
        kernel.tamper(find('nft-table|vpc-edge|inet|vpcctl'));
        kernel.alter({ ...find('sysctl|vpc.b|net/ipv4/ip_forward'), value: '0' } as KernelObject);
      };
      breakIt();
      const broken = snapshot(kernel);
      const start = kernel.changes;
      await vpcctl.repair();
      const total = kernel.changes - start;
      expect(snapshot(kernel)).toEqual(before);
      breakIt();
      for (let at = 1; at <= total; at += 1) {
        kernel.failAt(at);
        const ended = await vpcctl.repair().catch((error: unknown) => error);
        if (ended instanceof VpcctlError) {
          expect(snapshot(kernel), `change ${at}`).toEqual(broken);
          continue;
        }
        const { left } = ended as RepairResult;
        expect(left.length, `change ${at}`).toBeGreaterThan(0);
        expect(new Set(left.map(({ resource }) => resource)), `change ${at}`).toEqual(new Set(['instance a/d']));
        expect(await vpcctl.drift(), `change ${at}`).toHaveLength(left.length);
        kernel.failAt(undefined);
        await vpcctl.repair();
        expect(snapshot(kernel), `change ${at}`).toEqual(before);
        breakIt();
      }
      kernel.failAt(undefined);
      await vpcctl.repair();
      expect(snapshot(kernel)).toEqual(before);
    },
    TIMEOUT,
  );

  test(
    'killed at any change is undone by whoever looks next',
    async () => {
      let left = Number.POSITIVE_INFINITY;
      const kernel = new MemoryKernel({
        onChange: () => {
          left -= 1;
          if (left < 0) throw new Error('killed');
        },
      });
      const dir = stateDir();
      const first = await open({ state: dir, kernel });
      await first.apply(RICH);
      const find = (key: string): KernelObject => first.recorded().find((row) => rowKey(row) === key) as KernelObject;
      kernel.tamper(find('netns|vpc.a.w'));
      kernel.tamper(find('link|vpc.b|peer-a'));
      kernel.alter({ ...(find('link|vpc.a.d|eth0') as LinkRow), mtu: 1400, down: true });
      kernel.alter({ ...find('rule|vpc.b|33000|10.1.1.0/24'), table: 7 } as KernelObject);
      kernel.tamper(find('nft-rule|vpc.a|inet|vpcctl|forward|003'));
      const broken = snapshot(kernel);
      await first.close();
      for (let at = 0; ; at += 1) {
        left = at;
        const dying = await open({ state: dir, kernel });
        const ended = await dying.repair().then(
          () => true,
          () => false,
        );
        await dying.close();
        left = Number.POSITIVE_INFINITY;
        if (ended) break;
        const next = await open({ state: dir, kernel });
        expect(snapshot(kernel), `killed at change ${at}`).toEqual(broken);
        await next.close();
      }
      const last = await open({ state: dir, kernel });
      expect(await last.drift()).toEqual([]);
      await last.close();
    },
    TIMEOUT,
  );

  test("of one VPC takes no other's new public route from the edge", async () => {
    const { vpcctl, kernel, dir } = await rich();
    const rival = await open({ state: dir, kernel });
    onTestFinished(async () => rival.close());
    await rival.transaction((tx) => {
      tx.createVpc({ name: 'c', cidr: '10.7.0.0/16' });
      tx.addSubnet({ vpc: 'c', name: 's', cidr: '10.7.1.0/24', public: true });
    });
    const observe = kernel.observe.bind(kernel);
    let made: string | undefined;
    // What is recorded has been read by now, and is not read again.
    kernel.observe = async (...args) => {
      kernel.observe = observe;
      const done = await rival.transaction((tx) => tx.addInstance({ vpc: 'c', subnet: 's', name: 'late' }));
      made = done.value.publicIp ?? undefined;
      return observe(...args);
    };
    const { left, repaired } = await vpcctl.repair({ vpc: 'a' });
    expect([left, repaired]).toEqual([[], []]);
    expect(made).toBeDefined();
    expect(kernel.rows()).toContainEqual(expect.objectContaining({ kind: 'route', ns: 'vpc-edge', dst: `${made}/32` }));
    // All of them together take what nobody recorded.
    const route = kernel.rows().find((row) => row.kind === 'route' && row.dst === `${made}/32`) as KernelObject;
    const stray = { ...route, dst: '203.0.113.99/32' } as KernelObject;
    kernel.alter(stray);
    await vpcctl.repair();
    expect(kernel.rows().some((row) => rowKey(row) === rowKey(stray))).toBe(false);
    expect(await vpcctl.drift()).toEqual([]);
  });

  test('of one VPC leaves what belongs into the lost firewall of its peer', async () => {
    const { vpcctl, kernel } = await rich();
    const before = snapshot(kernel);
    const find = (key: string): KernelObject => vpcctl.recorded().find((row) => rowKey(row) === key) as KernelObject;
    kernel.tamper(find('nft-table|vpc.b|inet|vpcctl'));
    kernel.tamper(find('route|vpc.a|100|10.1.0.0/16'));
    const { repaired, left } = await vpcctl.repair({ vpc: 'a' });
    expect(repaired.map(({ object }) => object)).toEqual(['route vpc.a 100 10.1.0.0/16']);
    expect(left.length).toBeGreaterThan(0);
    expect(left.every(({ object }) => object.startsWith('nft-element vpc.b inet vpcctl '))).toBe(true);
    expect((await vpcctl.repair()).left).toEqual([]);
    expect(snapshot(kernel)).toEqual(before);
  });

  test('does nothing where nothing differs, and nothing when only asked what it would do', async () => {
    const { vpcctl, kernel } = await rich();
    const changes = kernel.changes;
    expect(await vpcctl.repair()).toEqual({ repaired: [], left: [], kernel: { create: 0, update: 0, delete: 0 } });
    kernel.tamper({ kind: 'netns', ns: 'vpc.a.w' });
    const { repaired } = await vpcctl.repair({ dryRun: true });
    expect(repaired.filter(({ follows }) => !follows).map(({ sentence }) => sentence)).toEqual([
      'instance a/w: its namespace vpc.a.w is missing from the kernel',
    ]);
    expect(kernel.changes).toBe(changes);
  });

  test('keeps what the host had before us', async () => {
    const key = 'net/ipv4/conf/eth0/forwarding';
    const { vpcctl, kernel } = await rich({ sysctls: { [key]: '0' } });
    kernel.alter({ kind: 'sysctl', ns: '', key, value: '0' });
    await vpcctl.repair();
    expect(kernel.hostSettings().get(key)).toBe('1');
    await vpcctl.destroy();
    expect(kernel.hostSettings().get(key)).toBe('0');
  });
});

describe('chains that another version recorded', () => {
  test('are replaced with their whole table by the next change of their VPC, and come back when that fails', async () => {
    const { vpcctl, kernel, dir } = await rich();
    // What an earlier version would have left: another chain, and one rule less.
    const { store } = engineOn(dir, kernel);
    const rows = store.rowsOf('vpc/a');
    const old = rows.flatMap((row): KernelObject[] => {
      if (row.kind !== 'nft-rule' || row.family !== 'inet' || row.chain !== 'input') return [row];
      return row.index === 0 ? [{ ...row, expr: [{ drop: null }] }] : [];
    });
    const extra: KernelObject = { kind: 'nft-chain', ns: 'vpc.a', family: 'inet', table: 'vpcctl', chain: 'former' };
    for (const row of rows)
      if (row.kind === 'nft-rule' && row.family === 'inet' && row.chain === 'input') kernel.tamper(row);
    for (const row of [...old.filter((one) => !rows.includes(one)), extra]) kernel.alter(row);
    store.amend([{ id: 'vpc/a', before: rows, rows: [...old, extra] }], {});
    expect(await vpcctl.drift()).toEqual([]);
    const before = snapshot(kernel);

    const secondary = {
      ...RICH,
      vpcs: { ...RICH.vpcs, a: { ...RICH.vpcs.a, cidr: '10.0.0.0/16', secondaryCidrs: ['10.77.0.0/24'] } },
    };
    const seen: string[] = [];
    for (let at = 1; ; at += 1) {
      kernel.failAt(at);
      const error: unknown = await vpcctl.apply(secondary).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      if (error === undefined) break;
      expect(snapshot(kernel), `change ${at}`).toEqual(before);
      seen.push((error as VpcctlError).message);
    }
    kernel.failAt(undefined);
    expect(seen).toContain('could not replace nft-table vpc.a inet vpcctl');
    expect(await vpcctl.drift()).toEqual([]);
    expect(store.rowsOf('vpc/a').filter(({ kind }) => kind === 'nft-rule')).toEqual(
      rows.filter(({ kind }) => kind === 'nft-rule'),
    );
  });
});

describe('a machine that was started anew', () => {
  const KEY = 'net/ipv4/conf/eth0/forwarding';

  test('gets everything back by the first change, and by nothing that only reads', async () => {
    const { vpcctl, kernel, dir } = await rich();
    await vpcctl.close();
    const before = snapshot(kernel);
    kernel.restart('boot 2');
    const events: VpcctlEvent[] = [];
    const again = await open({ state: dir, kernel, onEvent: (event) => events.push(event) });
    again.list();
    again.export();
    await again.plan(RICH);
    await again.drift();
    await again.apply(RICH, { dryRun: true });
    await again.repair({ dryRun: true });
    expect([kernel.rows(), again.needsRestore]).toEqual([[], true]);
    await again.apply(RICH);
    expect(snapshot(kernel)).toEqual(before);
    expect(events.filter(({ type }) => type === 'restored')).toEqual([
      { type: 'restored', restored: ['edge', 'vpc a', 'vpc b', 'peering a - b'], failed: [] },
    ]);
    expect([await again.drift(), again.needsRestore]).toEqual([[], false]);
    await again.destroy();
    expect([kernel.rows(), kernel.prepared]).toEqual([[], false]);
    await again.close();
  });

  test.each([
    ['0', '1'],
    ['1', '0'],
  ])('gives back at last what it has now, not what it had: %s, then %s', async (first, second) => {
    const { vpcctl, kernel, dir } = await rich({ sysctls: { [KEY]: first } });
    await vpcctl.close();
    kernel.restart('boot 2', { [KEY]: second });
    const again = await open({ state: dir, kernel });
    await again.restore();
    expect(kernel.hostSettings().get(KEY)).toBe('1');
    await again.destroy();
    expect(kernel.hostSettings().get(KEY)).toBe(second);
    await again.close();
  });

  test('one that fails does not stop the others, and is brought back by the first command that can', async () => {
    const { vpcctl, kernel, dir } = await rich({ foreign: [] });
    await vpcctl.close();
    kernel.restart('boot 2');
    // Somebody else has the name of a's router by now.
    await kernel.apply([{ op: 'create', row: { kind: 'netns', ns: 'vpc.a' } }]);
    const again = await open({ state: dir, kernel });
    const { restored, failed } = await again.restore();
    expect(restored).toEqual(['edge', 'vpc b']);
    expect(failed.map(({ what, error }) => `${what}: ${error.code} ${error.message}`)).toEqual([
      'vpc a: CONFLICT a namespace called vpc.a exists already and is not ours',
      'peering a - b: CONFLICT peering a - b: the link in the router of a is missing from the kernel',
    ]);
    await again.close();

    const command = async (): Promise<VpcctlEvent[]> => {
      const events: VpcctlEvent[] = [];
      const next = await open({ state: dir, kernel, onEvent: (event) => events.push(event) });
      await next.transaction((tx) => tx.putSecurityGroup('b', 'more', {}));
      await next.close();
      return events.filter(({ type }) => type === 'restoring' || type === 'restored');
    };
    // Nothing but what failed is looked at.
    expect(await command()).toMatchObject([
      { type: 'restoring', what: 'vpc a' },
      { type: 'restoring', what: 'peering a - b' },
      { type: 'restored', restored: [], failed: [{ what: 'vpc a' }, { what: 'peering a - b' }], again: true },
    ]);
    kernel.tamper({ kind: 'netns', ns: 'vpc.a' });
    expect((await command()).at(-1)).toEqual({
      type: 'restored',
      restored: ['vpc a', 'peering a - b'],
      failed: [],
      again: true,
    });
    expect(await command()).toEqual([]);
    const last = await open({ state: dir, kernel });
    expect([await last.drift(), last.needsRestore]).toEqual([[], false]);
    await last.close();
  });

  test('`close` waits for what a program that is to be run brings back', async () => {
    const { vpcctl, kernel, dir } = await rich();
    const [instance] = vpcctl.inspect('a').subnets.flatMap(({ instances }) => instances);
    await vpcctl.close();
    kernel.restart('boot 2');
    const again = await open({ state: dir, kernel });
    const apply = kernel.apply.bind(kernel);
    let applying = false;
    const begun = new Promise<void>((resolve) => {
      kernel.apply = async (...args) => {
        applying = true;
        resolve();
        await new Promise((done) => setTimeout(done, 50));
        applying = false;
        return apply(...args);
      };
    });
    const run = again.exec('a', { instance: instance?.name ?? '' }, ['true']).catch((error: unknown) => error);
    await begun;
    await again.close();
    expect(applying).toBe(false);
    expect(await run).toMatchObject({ code: 'ABORTED' });
    kernel.apply = apply;
    const last = await open({ state: dir, kernel });
    await last.restore();
    expect(await last.drift()).toEqual([]);
    await last.close();
  });

  test('ends first what a dead process had begun, and leaves the host its new setting', async () => {
    let dying = false;
    const kernel = new MemoryKernel({
      sysctls: { [KEY]: '0' },
      onChange: ({ op }) => {
        if (dying && op === 'raise') throw new Error('killed');
      },
    });
    const dir = stateDir();
    const first = await open({ state: dir, kernel });
    await first.transaction((tx) => tx.createVpc({ name: 'old', cidr: '10.8.0.0/16' }));
    dying = true;
    // Killed: not even the undoing is done.
    const real = kernel.apply.bind(kernel);
    kernel.apply = async (changes, options) => {
      if (options?.tolerant === true) throw new Error('killed');
      return real(changes, options);
    };
    await expect(first.apply(RICH)).rejects.toThrow('killed');
    await first.close();
    kernel.apply = real;
    dying = false;
    kernel.restart('boot 2', { [KEY]: '1' });
    const events: string[] = [];
    const again = await open({ state: dir, kernel, onEvent: ({ type }) => events.push(type) });
    await again.transaction((tx) => tx.createVpc({ name: 'new', cidr: '10.9.0.0/16' }));
    expect(events).toContain('recovered');
    expect(again.list().vpcs.map(({ name }) => name)).toEqual(['new', 'old']);
    expect(await again.drift()).toEqual([]);
    expect(kernel.hostSettings().get(KEY)).toBe('1');
    await again.close();
  });

  test('is brought back by the next command when the one that began it dies', async () => {
    let left = Number.POSITIVE_INFINITY;
    const kernel = new MemoryKernel({
      sysctls: { [KEY]: '0' },
      onChange: () => {
        left -= 1;
        if (left < 0) throw new Error('killed');
      },
    });
    const dir = stateDir();
    const first = await open({ state: dir, kernel });
    await first.apply(RICH);
    await first.close();
    const before = snapshot(kernel);
    for (const at of [5, 60, 120, 200]) {
      kernel.restart(`boot ${at}`, { [KEY]: '0' });
      left = at;
      const dies = await open({ state: dir, kernel });
      await expect(dies.restore()).rejects.toThrow('killed');
      await dies.close();
      left = Number.POSITIVE_INFINITY;
      const next = await open({ state: dir, kernel });
      await next.restore();
      expect(snapshot(kernel), `killed at ${at}`).toEqual(before);
      await next.close();
    }
    const last = await open({ state: dir, kernel });
    await last.destroy();
    // Not ours of a restore that was cut short, but the host's own.
    expect(kernel.hostSettings().get(KEY)).toBe('0');
    await last.close();
  });
});
