/** Recordings by `perf`: which functions the processors are in, 4000 times a second, while one is working. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { hasProgram, PATH } from './machine.mjs';
import { FIELDS, parseScript } from './stacks.mjs';

const EVERY = ['-e', 'cpu-clock', '-F', '4000', '-g'];
const options = { encoding: 'utf8', env: { ...process.env, PATH }, maxBuffer: 2 ** 30 };

/** Why nothing can be recorded here, or undefined. */
export function missingPerf() {
  if (!hasProgram('perf')) return 'no `perf` (Debian: linux-perf)';
  if (!/^0*[1-9a-f]/m.test(readFileSync('/proc/kallsyms', 'utf8').slice(0, 10_000)))
    return "the kernel's symbols are hidden (kernel.kptr_restrict), or this is not root";
  const { status, stderr } = spawnSync(
    'perf',
    ['record', '-q', ...EVERY, '-a', '-N', '-o', '/dev/null', 'true'],
    options,
  );
  return status === 0 ? undefined : `perf may not record (kernel.perf_event_paranoid): ${stderr.trim().split('\n')[0]}`;
}

/**
 * Starts to record the process `pid`, or, with `all`, every processor, into `file`. Returns when it does; `stop()` ends it and returns the samples
 * (stacks.mjs).
 */
export async function record({ pid, all, file }) {
  const whom = all ? ['-a'] : ['-p', String(pid)];
  const args = ['record', '-q', ...EVERY, ...whom, '-N', '-o', file, '-D', '-1', '--control', 'fd:3,4'];
  const child = spawn('perf', args, { env: options.env, stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'] });
  let words = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    words += text;
  });
  const ended = once(child, 'close');
  const [, , , orders, answers] = child.stdio;
  const lines = createInterface({ input: answers })[Symbol.asyncIterator]();
  async function order(word) {
    orders.write(`${word}\n`);
    const { done } = await lines.next();
    if (done) throw new Error(`perf: ${words.trim() || 'ended'}`);
  }
  await order('enable');
  return {
    async stop() {
      await order('disable');
      child.kill('SIGINT');
      await ended;
      const { status, stdout, stderr } = spawnSync(
        'perf',
        ['script', '--no-inline', '-i', file, '-F', FIELDS],
        options,
      );
      if (status !== 0) throw new Error(`perf script: ${stderr.trim().split('\n')[0]}`);
      return parseScript(stdout);
    },
  };
}
