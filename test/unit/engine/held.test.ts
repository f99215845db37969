/** Namespaces that somebody holds: deleted all the same, and told of, also by who finishes what a dead process began. */
import { expect, test } from 'vitest';
import { open, type VpcctlEvent } from '../../../src/index.js';
import { MemoryKernel } from '../../../src/kernel/memory.js';
import { namespaceWords } from '../../../src/lower/words.js';
import { RICH, stateDir } from './support.js';

const SHELL = { pid: 1234, command: 'sleep', by: 'process' } as const;

async function started(kernel = new MemoryKernel()) {
  const state = stateDir();
  const events: VpcctlEvent[] = [];
  const opened = () => open({ state, kernel, onEvent: (event) => events.push(event) });
  const vpcctl = await opened();
  await vpcctl.apply(RICH);
  return { kernel, vpcctl, opened, held: () => events.filter(({ type }) => type === 'held') };
}

test('nobody holds anything: nothing is told', async () => {
  const { vpcctl, held } = await started();
  expect((await vpcctl.destroy()).held).toEqual([]);
  expect(held()).toEqual([]);
  await vpcctl.close();
});

test('an instance, a router, the edge: each in words of its own', async () => {
  const { kernel, vpcctl, held } = await started();
  for (const ns of ['vpc.a.w', 'vpc.a', 'vpc-edge', 'vpc.b']) kernel.hold(ns, SHELL);
  const one = await vpcctl.transaction((tx) => tx.deleteInstance('a', 'w'));
  expect(one.held).toEqual([{ what: 'instance a/w', namespace: 'vpc.a.w', holders: [SHELL] }]);
  const rest = await vpcctl.destroy();
  expect(rest.held.map(({ what }) => what).sort()).toEqual(['edge', 'vpc a', 'vpc b']);
  expect(held()).toEqual([...one.held, ...rest.held].map((view) => ({ type: 'held', ...view })));
  expect(kernel.rows()).toEqual([]);
  await vpcctl.close();
});

test('the same name can be made again meanwhile', async () => {
  const { kernel, vpcctl } = await started();
  kernel.hold('vpc.a.w', SHELL);
  await vpcctl.transaction((tx) => tx.deleteInstance('a', 'w'));
  await vpcctl.apply(RICH);
  expect(await vpcctl.drift()).toEqual([]);
  await vpcctl.close();
});

test('orphans that are held are told of', async () => {
  const { kernel, vpcctl } = await started();
  kernel.hold('vpc.a.w', SHELL);
  await vpcctl.close();
  const events: VpcctlEvent[] = [];
  const fresh = await open({ state: stateDir(), kernel, onEvent: (event) => events.push(event) });
  await fresh.removeOrphans();
  expect(events.map((event) => event.type === 'held' && event.what)).toEqual(['instance a/w']);
  await fresh.close();
});

test.each(['at once', 'by the next change'])(
  'a process that died in its teardown: what the next one deletes is seen to, %s',
  async (when) => {
    let alive = true;
    const kernel = new MemoryKernel({
      onChange: ({ op, row }) => {
        if (op === 'delete' && row.kind === 'netns' && !alive) throw new Error('killed');
      },
    });
    const { vpcctl, opened, held } = await started(kernel);
    const other = when === 'at once' ? undefined : await opened();
    kernel.hold('vpc.a.w', SHELL);
    alive = false;
    await expect(vpcctl.transaction((tx) => tx.deleteVpc('a', { force: true }))).rejects.toThrow('killed');
    await vpcctl.close();
    alive = true;
    const next = other ?? (await opened());
    if (other !== undefined) await other.transaction((tx) => tx.createVpc({ name: 'a', cidr: '10.3.0.0/16' }));
    expect(held()).toEqual([{ type: 'held', what: 'instance a/w', namespace: 'vpc.a.w', holders: [SHELL] }]);
    await next.close();
  },
);

test('whose a namespace is', () => {
  expect(['vpc-edge', 'vpc.a', 'vpc.a.web-1'].map(namespaceWords)).toEqual(['edge', 'vpc a', 'instance a/web-1']);
});
