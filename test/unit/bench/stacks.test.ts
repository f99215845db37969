import { describe, expect, it } from 'vitest';
import { flameGraph } from '../../../bench/lib/flame.mjs';
import { entriesOf, fold, kernelRows, parseScript, partsOf, prune, sharedRows } from '../../../bench/lib/stacks.mjs';

const NODE = '/usr/bin/node';
const KERNEL = '[kernel.kallsyms]';

type Frame = readonly [address: string, name: string, file: string];

/** As `perf script` prints it, the innermost frame first. */
function block(head: string, ...frames: readonly Frame[]): string {
  const lines = frames.map(([address, name, file]) => `\t${address.padStart(16)} ${name} (${file})`);
  return `${[head, ...lines].join('\n')}\n\n`;
}

function inKernel(...names: readonly string[]): Frame[] {
  return names.map((name, at) => [`ffffffff8156941${at}`, name, KERNEL]);
}

const ENTRY = ['__x64_sys_unshare', 'x64_sys_call', 'do_syscall_64', 'entry_SYSCALL_64_after_hwframe'];

const SCRIPT = [
  block('node 100/100     250000 ', ['40c0', 'v8::internal::Heap::Scavenge()', NODE], ['1', '[unknown]', '[unknown]']),
  block('node 100/100     250000 ', ['7f0a', '[unknown]', '//anon'], ['14c', 'Builtins_JSEntry', NODE]),
  block(
    'node 100/100     250000 ',
    ['dd17', '__memmove', '/usr/lib/libc.so.6'],
    ['8dfc', 'sqlite3VdbeExec', '/x/better_sqlite3.node'],
    ['14c', 'Builtins_JSEntry', NODE],
  ),
  block('node 100/101     250000 ', ['c494', 'v8::internal::OptimizedCompilationJob::ExecuteJob(int)', NODE]),
  block('vpcctl-netns 100/102     250000 ', ...inKernel('copy_net_ns', ...ENTRY), [
    '20ca3',
    'unshare',
    '/x/vpcctl.node',
  ]),
  block('vpcctl-netns 100/103     500000 ', ['20ca', 'nft_run_cmd', '/usr/lib/libnftables.so.1.1.0']),
  block(
    'kworker/u4:1-net 9/9     750000 ',
    ...inKernel('cleanup_net', 'process_one_work', 'kthread', 'ret_from_fork_asm'),
  ),
  block('other 200/200     250000 ', ...inKernel('copy_net_ns', ...ENTRY)),
].join('');

const wanted = (pid: number) => pid === 100;

describe('what perf script prints', () => {
  it('is read sample by sample', () => {
    const samples = parseScript(SCRIPT) as { comm: string; us: number; frames: object[] }[];
    expect(samples).toHaveLength(8);
    expect(samples[0]).toMatchObject({ comm: 'node', pid: 100, tid: 100, us: 250 });
    expect(samples[4]?.frames[0]).toEqual({ name: 'copy_net_ns', file: KERNEL, inKernel: true });
    expect(samples[4]?.frames.at(-1)).toEqual({ name: 'unshare', file: '/x/vpcctl.node', inKernel: false });
  });

  it('may be names with blanks and brackets, or nothing', () => {
    const text = block('V8 Worker (x) 7/8 1000', ['1', 'operator new(unsigned long)', '/tmp/a (deleted)']);
    expect(parseScript(text)).toEqual([
      {
        comm: 'V8 Worker (x)',
        pid: 7,
        tid: 8,
        us: 1,
        frames: [{ name: 'operator new(unsigned long)', file: '/tmp/a (deleted)', inKernel: false }],
      },
    ]);
    expect(parseScript('')).toEqual([]);
  });
});

describe('folding', () => {
  it('tells threads, parts and the way through the kernel, of one process and the kernel itself', () => {
    expect(Object.fromEntries(fold(parseScript(SCRIPT), wanted))).toEqual({
      'main thread;garbage collection;v8::internal::Heap::Scavenge': 250,
      'main thread;JavaScript;[unknown]': 250,
      'main thread;SQLite;__memmove': 250,
      "Node's helper threads;compiling;v8::internal::OptimizedCompilationJob::ExecuteJob": 250,
      'vpcctl-netns 1;kernel;__x64_sys_unshare;copy_net_ns': 250,
      'vpcctl-netns 2;libnftables;nft_run_cmd': 500,
      'kernel: kworker;kernel;kthread;process_one_work;cleanup_net': 750,
    });
  });

  it('makes threads of the same name one when it is asked to', () => {
    const paths = fold(parseScript(SCRIPT), wanted, true).map(([path]: [string, number]) => path);
    expect(paths).toContain('vpcctl-netns;libnftables;nft_run_cmd');
  });

  it('cuts off what is small, and loses nothing', () => {
    const stacks = [
      ['a;b;c', 900],
      ['a;b;d', 5],
      ['a;e', 95],
    ];
    expect(prune(stacks, 0.01)).toEqual([
      ['a;b', 5],
      ['a;b;c', 900],
      ['a;e', 95],
    ]);
  });
});

describe('tables of stacks', () => {
  const stacks = [
    ['main thread;JavaScript;f', 100],
    ['main thread;SQLite;g', 1],
    ['lane;kernel;__x64_sys_sendto;a;b;c;new;register;device_add', 300],
    ['lane;kernel;__x64_sys_sendto;a;b;c;set', 200],
    ['lane;kernel;__x64_sys_unshare;copy;register;device_add', 100],
  ];

  it('put a thread before its parts, and leave out what is small', () => {
    expect(partsOf(stacks, 0.02)).toEqual([
      { thread: 'lane', us: 600 },
      { thread: 'main thread', us: 101 },
      { thread: 'main thread', part: 'JavaScript', us: 100 },
    ]);
  });

  it('make one line of a chain of calls, but not of a system call', () => {
    expect(kernelRows(stacks, 0.02)).toEqual([
      { depth: 0, name: 'sendto', us: 500 },
      { depth: 1, name: 'a > b > c', us: 500 },
      { depth: 2, name: 'new > register > device_add', us: 300 },
      { depth: 2, name: 'set', us: 200 },
      { depth: 0, name: 'unshare', us: 100 },
      { depth: 1, name: 'copy > register > device_add', us: 100 },
    ]);
    expect(entriesOf(stacks, 0.02)).toEqual([
      { name: 'sendto', us: 500 },
      { name: 'unshare', us: 100 },
    ]);
  });

  it('sum up what is called from several places, once where it calls itself', () => {
    expect(sharedRows([...stacks, ['lane;kernel;x;device_add;device_add', 40]], 0.02)).toEqual([
      { name: 'device_add', us: 440 },
      { name: 'register', us: 400 },
    ]);
  });

  it('become a picture', () => {
    const flames = [{ title: 'a & b', count: 10, stacks }];
    const svg = flameGraph({ head: 'h', note: 'n', foot: 'f', flames });
    expect(svg).toContain('a &amp; b: 0.07 ms of processor');
    expect(svg).toContain('<title>copy: 0.01 ms, 14.3 %</title>');
    expect(svg).not.toMatch(/NaN|undefined|Infinity/);
  });
});
