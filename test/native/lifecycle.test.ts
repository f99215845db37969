/** The addon at the ends of lives: of a program, of an environment, of a process. */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { afterEach, expect, it } from 'vitest';
import { loadNative } from '../../src/kernel/native.js';
import { withAddon } from './wire.js';

const PRELUDE = `
  const create = (name) => ({ op: 'netns-create', path: '/run/netns/' + name });
  const remove = (name) => ({ op: 'netns-delete', path: '/run/netns/' + name });
  const long = Array.from({ length: 400 }, () => [create('long'), remove('long')]).flat();
`;

function node(code: string): { readonly status: number | null; readonly signal: string | null; readonly out: string } {
  const script = withAddon(PRELUDE + code);
  const done = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  return { status: done.status, signal: done.signal, out: done.stdout + done.stderr };
}

afterEach(async () => {
  for (const name of readdirSync('/run/netns')) {
    await loadNative().run([{ op: 'netns-delete', path: `/run/netns/${name}` }]);
  }
});

it('a process that is idle ends', () => {
  expect(node(`await native.run([create('a'), remove('a')]); console.log('done');`)).toEqual({
    status: 0,
    signal: null,
    out: 'done\n',
  });
});

it('a process stays until its programs are done, though nobody waits for them', () => {
  const ended = node(`
    let results;
    native.run(long).then((all) => { results = all.length; });
    native.run([create('a'), remove('a')]).then((all) => { results += all.length; });
    process.on('exit', () => console.log(results));
  `);
  expect(ended).toEqual({ status: 0, signal: null, out: '802\n' });
});

it('the thread starts with the first program', () => {
  const ended = node(`
    import { readdirSync, readFileSync } from 'node:fs';
    const threads = () => readdirSync('/proc/self/task').filter((tid) =>
      readFileSync('/proc/self/task/' + tid + '/comm', 'utf8').startsWith('vpcctl-netns')).length;
    const before = threads();
    await native.run([]);
    await native.run([]);
    console.log(before, threads());
  `);
  expect(ended).toEqual({ status: 0, signal: null, out: '0 1\n' });
});

it.each([0, 1, 5, 20, 80])('process.exit %i ms into a program ends the process with the status asked for', (after) => {
  const ended = node(`
    for (let i = 0; i < 10; i += 1) void native.run(long);
    setTimeout(() => process.exit(7), ${after});
  `);
  expect(ended).toEqual({ status: 7, signal: null, out: '' });
});

it('an uncaught exception in mid-flight ends the process as always', () => {
  const ended = node(`void native.run(long); setTimeout(() => { throw new Error('boom'); }, 10);`);
  expect(ended.status).toBe(1);
  expect(ended.out).toContain('boom');
});

const WORKERS = `
  import { Worker } from 'node:worker_threads';
  import { once } from 'node:events';
  const code = ${JSON.stringify(withAddon(PRELUDE))};
  const start = (more) => new Worker(new URL('data:text/javascript,' + encodeURIComponent(code + more)));
`;

it('worker threads have a namespace thread each, beside the main thread’s', () => {
  const ended = node(`${WORKERS}
    import { readdirSync, readFileSync } from 'node:fs';
    const threads = () => readdirSync('/proc/self/task').filter((tid) =>
      readFileSync('/proc/self/task/' + tid + '/comm', 'utf8').startsWith('vpcctl-netns')).length;
    const workers = [0, 1, 2].map((i) => start(\`
      import { parentPort } from 'node:worker_threads';
      const all = await native.run([create('w\${i}'), remove('w\${i}')]);
      parentPort.postMessage(all.map(({ errno }) => errno).join());
      parentPort.once('message', () => parentPort.close());
    \`));
    await native.run([create('a'), remove('a')]);
    const said = await Promise.all(workers.map(async (worker) => (await once(worker, 'message'))[0]));
    const alive = threads();
    for (const worker of workers) worker.postMessage('end');
    await Promise.all(workers.map((worker) => once(worker, 'exit')));
    console.log(said.join(' '), alive, threads());
  `);
  expect(ended).toEqual({ status: 0, signal: null, out: '0,0 0,0 0,0 4 1\n' });
});

it('a worker that is terminated in mid-flight takes its thread along and leaves the others’ alone', () => {
  const ended = node(`${WORKERS}
    for (let round = 0; round < 10; round += 1) {
      const worker = start(\`
        import { parentPort } from 'node:worker_threads';
        for (let i = 0; i < 5; i += 1) void native.run(long.map((op) => ({ ...op, path: op.path + '-w' })));
        parentPort.postMessage('started');
      \`);
      await once(worker, 'message');
      await new Promise((resolve) => setTimeout(resolve, round * 3));
      await worker.terminate();
      await native.run([remove('long-w')], true);
    }
    const all = await native.run([create('a'), remove('a')]);
    console.log(all.map(({ errno }) => errno).join());
  `);
  expect(ended).toEqual({ status: 0, signal: null, out: '0,0\n' });
});

it('a worker’s own exit in mid-flight is survived', () => {
  const ended = node(`${WORKERS}
    const worker = start(\`void native.run(long); setTimeout(() => process.exit(3), 5);\`);
    console.log((await once(worker, 'exit'))[0]);
  `);
  expect(ended).toEqual({ status: 0, signal: null, out: '3\n' });
});

it('the process’s exit with busy workers is survived', () => {
  const ended = node(`${WORKERS}
    const workers = [1, 2].map((i) => start(\`
      import { parentPort } from 'node:worker_threads';
      void native.run(long.map((op) => ({ ...op, path: op.path + '-\${i}' })));
      parentPort.postMessage('started');
    \`));
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    void native.run(long);
    process.exit(4);
  `);
  expect(ended).toEqual({ status: 4, signal: null, out: '' });
});

it('a process killed in the middle leaves at most a namespace that can be deleted', async () => {
  const ended = node(`void native.run(long); setTimeout(() => process.kill(process.pid, 'SIGKILL'), 15);`);
  expect(ended.signal).toBe('SIGKILL');
  const left = readdirSync('/run/netns');
  for (const name of left) {
    expect(await loadNative().run([{ op: 'netns-delete', path: `/run/netns/${name}` }])).toEqual([{ errno: 0 }]);
    expect(existsSync(`/run/netns/${name}`)).toBe(false);
  }
});
