/** How `nft` that is kept open is asked: what it says is taken apart, and what happens when it does not. The real one is asked in test/kernel. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { KeptNft, type KeptOptions, lineOf, markOf, type NftResult } from '../../../src/kernel/nft-session.js';

const MARKED = 'payload expression, datatype integer (integer), 8 bits\n';
const QUOTED = 'Error: syntax error, unexpected newline, expecting string\nword\n    ^\n';

describe('the end of an answer', () => {
  const mark = markOf('word');

  test.each([
    ['nothing', '', ''],
    ['a list', '{"nftables": []}\n', ''],
    ['an error', '', 'internal:0:0-0: Error: Could not process rule: File exists\n\n'],
    ['both', '{"nftables": [{"table": {"name": "payload expression"}}]}\n', 'warning\nnetlink: Error: x\n'],
  ])('%s: known when the mark is there whole, on both streams', (_name, stdout, stderr) => {
    const out = stdout + MARKED;
    const err = stderr + QUOTED;
    for (let at = 0; at < out.length; at++) expect(mark.cut(out.slice(0, at), err)).toBeUndefined();
    for (let at = 0; at < err.length; at++) expect(mark.cut(out, err.slice(0, at))).toBeUndefined();
    expect(mark.cut(out, err)).toEqual({ stdout, stderr });
  });

  test('the mark of another document is none', () => {
    expect(markOf('other').cut(MARKED, QUOTED)).toBeUndefined();
  });

  test('a prompt or an echo is seen at once', () => {
    expect(mark.cut('nft> ', '')).toBe('garbled');
    expect(mark.cut('describe ip ttl\n', '')).toBe('garbled');
  });
});

test('a document is one line of ASCII that means the same', () => {
  const document = JSON.stringify({ nftables: [{ add: { rule: { comment: 'é\n"\\ \u007f \u{1f600}' } } }] }, null, 2);
  const line = lineOf(document);
  expect(line).toMatch(/^[ -~]+$/);
  expect(JSON.parse(line)).toEqual(JSON.parse(document));
});

describe('a process', () => {
  /** Knows the marks, and for documents a few words. */
  const FAKE = `while read -r line; do case "$line" in
    describe*) echo '${MARKED.trim()}' ;;
    vpcctl-*) printf 'Error: syntax error\\n%s\\n^\\n' "$line" >&2 ;;
    pid) echo "{$$}" ;;
    slow) sleep 0.2; echo "{$$}" ;;
    refuse) printf 'warning: w\\ninternal:0:0-0: Error: no\\n\\nError: more\\n' >&2 ;;
    warn) echo '# Warning: table is managed by somebody' >&2 ;;
    prompt) echo 'nft> ' ;;
    hang) exec sleep 100 ;;
    die) exit 3 ;;
  esac; done`;
  const ONCE: NftResult = { stdout: 'once' };
  let kept: KeptNft;
  let started: string[];

  function keep(options: Partial<KeptOptions> = {}): KeptNft {
    started = [];
    kept = new KeptNft({
      once: async () => ONCE,
      ...options,
      argv: (ns) => {
        started.push(ns);
        return options.argv?.(ns) ?? ['sh', '-c', FAKE];
      },
    });
    return kept;
  }

  afterEach(() => kept.release());

  const pid = async (ns: string): Promise<string> => (await kept.run(ns, 'pid')).stdout;
  const runs = (stdout: string): boolean => {
    try {
      return process.kill(Number(stdout.trim().slice(1, -1)), 0);
    } catch {
      return false;
    }
  };

  test('takes one document after the other; another namespace has its own', async () => {
    keep();
    const first = await pid('a');
    expect(first).toMatch(/^\{\d+\}\n$/);
    expect(await pid('a')).toBe(first);
    expect(await pid('b')).not.toBe(first);
    expect(started).toEqual(['a', 'b']);
  });

  test('refuses with the first error, and goes on; a warning is none', async () => {
    keep();
    const first = await pid('a');
    expect(await kept.run('a', 'refuse')).toEqual({ stdout: '', refusal: 'Error: no' });
    expect(await kept.run('a', 'warn')).toEqual({ stdout: '' });
    expect(await pid('a')).toBe(first);
  });

  test.each([
    ['ends', 'die', 'nft ended (exit status 3) before it answered'],
    ['hangs', 'hang', 'nft did not answer within 0.5 s'],
    ['says what is no answer', 'prompt', 'nft answered what is no answer'],
  ])('%s: nobody knows what came of the document, and the next has a new process', async (_name, document, words) => {
    keep({ timeoutMs: 500 });
    const first = await pid('a');
    expect(await kept.run('a', document)).toEqual({
      stdout: '',
      refusal: `${words}: whether it did what it was told is not known`,
      unknown: true,
    });
    expect(runs(first)).toBe(false);
    expect(await pid('a')).not.toBe(first);
  });

  test('is not needed for a document while it is busy, nor for a long one', async () => {
    keep({ longest: 10 });
    const slow = kept.run('a', 'slow');
    expect(await kept.run('a', 'pid')).toBe(ONCE);
    expect((await slow).stdout).toMatch(/^\{/);
    expect(await kept.run('a', 'x'.repeat(11))).toBe(ONCE);
    expect(started).toEqual(['a']);
  });

  test('the one that was not used for longest makes room; where all are busy, none is started', async () => {
    keep({ most: 2, idleMs: 10_000 });
    const a = await pid('a');
    const b = await pid('b');
    expect(await pid('a')).toBe(a);
    await pid('c');
    await expect.poll(() => runs(b)).toBe(false);
    expect(await pid('a')).toBe(a);
    const busy = [kept.run('a', 'slow'), kept.run('c', 'slow')];
    expect(await kept.run('d', 'pid')).toBe(ONCE);
    await Promise.all(busy);
  });

  test('ends when nothing comes for a while, and after so many documents', async () => {
    keep({ idleMs: 50, documents: 2 });
    const first = await pid('a');
    await expect.poll(() => runs(first)).toBe(false);
    const second = await pid('a');
    expect(await pid('a')).toBe(second);
    expect(await pid('a')).not.toBe(second);
  });

  test('is gone when it is released, and its document done; others stay', async () => {
    keep({ idleMs: 10_000 });
    const b = await pid('b');
    const slow = kept.run('a', 'slow');
    while (started.length < 2) await sleep(1);
    await sleep(50);
    await kept.release(['a', 'x']);
    expect(runs((await slow).stdout)).toBe(false);
    expect(runs(b)).toBe(true);
    await kept.release();
    expect(runs(b)).toBe(false);
  });

  test.each([
    ['does not know the mode', ['sh', '-c', 'echo Error: unknown option >&2; exit 1']],
    ['prompts', ['sh', '-c', 'printf "nft> "; exec sleep 100']],
    ['says nothing', ['sleep', '100']],
    ['is not there', ['/nonexistent/nft']],
  ] as const)('an nft that %s is not asked again', async (_name, argv) => {
    keep({ argv: () => argv as readonly [string, ...string[]], startMs: 300 });
    expect(await kept.run('a', 'pid')).toBe(ONCE);
    expect(await kept.run('b', 'pid')).toBe(ONCE);
    expect(started).toEqual(['a']);
  });

  test('a process of its own was refused too: nft is not to blame', async () => {
    const refusal = 'vpcctl-launch: open /run/netns/a: ENOENT';
    keep({ argv: () => ['false'], once: async () => ({ stdout: '', refusal }) });
    for (const ns of ['a', 'b']) expect(await kept.run(ns, 'pid')).toEqual({ stdout: '', refusal });
    expect(started).toEqual(['a', 'b']);
  });

  test('nothing to start it with', async () => {
    keep({
      argv: () => {
        throw new Error('no launcher');
      },
    });
    expect(await kept.run('a', 'pid')).toBe(ONCE);
  });
});
