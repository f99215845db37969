import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Line, readLines } from '../../../src/cli/lines.js';

async function linesOf(chunks: readonly (Uint8Array | string)[], longest = 1000): Promise<Line[]> {
  async function* all(): AsyncGenerator<Uint8Array | string> {
    yield* chunks;
  }
  const lines: Line[] = [];
  for await (const line of readLines(all(), longest)) lines.push(line);
  return lines;
}

describe('lines', () => {
  test('wherever the chunks end, the lines are those of the text', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.string({ unit: 'grapheme' })), fc.array(fc.nat(7)), async (texts, cuts) => {
        const lines = texts.map((text) => text.replaceAll('\n', ' '));
        const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
        const chunks: Buffer[] = [];
        let from = 0;
        for (const cut of cuts) {
          chunks.push(bytes.subarray(from, from + cut));
          from += cut;
        }
        chunks.push(bytes.subarray(from));
        const read = await linesOf(chunks, 100_000);
        expect(read.map(({ number }) => number)).toEqual(lines.map((_, index) => index + 1));
        // A byte order mark at the beginning is none of the text's.
        expect(read.map(({ text }) => text)).toEqual(lines.map((line) => line.replace(/^\ufeff/, '')));
      }),
    );
  });

  test('the last one needs no end, and text may come as text', async () => {
    expect(await linesOf(['a\nb', 'c'])).toEqual([
      { number: 1, text: 'a' },
      { number: 2, text: 'bc' },
    ]);
    expect(await linesOf([])).toEqual([]);
  });

  test('one that is too long or no text is told, and the next is read', async () => {
    const read = await linesOf(['12345\n123456\n', Buffer.from([0xff, 0x0a]), 'x'.repeat(20), 'y\nend'], 5);
    expect(read).toEqual([
      { number: 1, text: '12345' },
      { number: 2, problem: 'it is longer than 5 bytes' },
      { number: 3, problem: 'it is not UTF-8 text' },
      { number: 4, problem: 'it is longer than 5 bytes' },
      { number: 5, text: 'end' },
    ]);
  });

  test('no more is read than is asked for', async () => {
    let asked = 0;
    async function* chunks(): AsyncGenerator<string> {
      for (;;) {
        asked += 1;
        yield 'line\n';
      }
    }
    for await (const { number } of readLines(chunks(), 10)) if (number === 3) break;
    expect(asked).toBe(3);
  });
});
