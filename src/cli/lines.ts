/** Text as it comes, line by line. */
import { TextDecoder } from 'node:util';

/** A line of a stream; `text` is absent where it is none, and `problem` says why. */
export interface Line {
  /** From 1. */
  readonly number: number;
  readonly text?: string;
  readonly problem?: string;
}

const NEWLINE = 0x0a;

/**
 * The lines of `chunks`, each as soon as its end is there; the last one needs none. One longer than `longest` bytes, or that is not UTF-8, is a line with a
 * problem, and those after it are read all the same. No more is kept than one line.
 */
export async function* readLines(
  chunks: AsyncIterable<Uint8Array | string>,
  longest: number,
): AsyncGenerator<Line, void> {
  let number = 1;
  let parts: Buffer[] = [];
  let size = 0;
  const take = (): Line => {
    const line = lineOf(number, parts, size > longest ? `it is longer than ${longest} bytes` : undefined);
    number += 1;
    parts = [];
    size = 0;
    return line;
  };
  for await (const chunk of chunks) {
    const bytes =
      typeof chunk === 'string' ? Buffer.from(chunk) : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    let from = 0;
    for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, from)) {
      size += end - from;
      if (size <= longest) parts.push(bytes.subarray(from, end));
      from = end + 1;
      yield take();
    }
    size += bytes.length - from;
    if (size <= longest) parts.push(bytes.subarray(from));
    else parts = [];
  }
  if (size > 0) yield take();
}

function lineOf(number: number, parts: readonly Buffer[], problem: string | undefined): Line {
  if (problem !== undefined) return { number, problem };
  try {
    return { number, text: new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(parts)) };
  } catch {
    return { number, problem: 'it is not UTF-8 text' };
  }
}
