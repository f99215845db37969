/** Files that people name, `-` being standard input or output. */
import { randomBytes } from 'node:crypto';
import { lstat, open, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { ErrorCode, VpcctlError } from '../index.js';
import type { Files } from './host.js';

/** A spec of ten thousand instances is a megabyte. */
const LARGEST_BYTES = 64 * 1024 * 1024;

async function failure(code: ErrorCode, message: string, cause?: unknown, hint?: string): Promise<VpcctlError> {
  const { VpcctlError } = await import('../index.js');
  return new VpcctlError(code, message, {
    ...(cause === undefined ? {} : { cause }),
    ...(hint === undefined ? {} : { hint }),
  });
}

function errnoOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}

/** The text of a file, or of `stdin` for `-`. NOT_FOUND when there is none; INVALID when it is no text. */
export async function readText(
  file: string,
  stdin: NodeJS.ReadableStream,
  signal: AbortSignal,
  files: Files = { stat, readFile: async (path) => readFile(path) },
): Promise<string> {
  const bytes = file === '-' ? await readStream(stdin, signal) : await readBytes(file, files);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw await failure('INVALID', `${nameOf(file)} is not UTF-8 text`, cause);
  }
}

async function readBytes(file: string, files: Files): Promise<Buffer> {
  return reading(file, async () => {
    const { size } = await files.stat(file);
    if (size > LARGEST_BYTES) throw await failure('INVALID', `${file} is too large: ${size} bytes`);
    const bytes = await files.readFile(file, LARGEST_BYTES);
    // What is no ordinary file has no size before.
    if (bytes.length > LARGEST_BYTES) throw await failure('INVALID', `${file} is too large`);
    return bytes;
  });
}

/** The chunks of a file, or of `stdin` for `-`. Rejects as {@link readText}, and with the reason of the signal when it fires. */
export async function* readChunks(
  file: string,
  stdin: () => NodeJS.ReadableStream,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array | string, void> {
  const { addAbortSignal, Readable } = await import('node:stream');
  const stream =
    file === '-'
      ? stdin()
      : (await reading(file, async () => open(file, 'r'))).createReadStream({ highWaterMark: 1 << 16 });
  if (stream instanceof Readable) addAbortSignal(signal, stream);
  const chunks = stream[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await reading(file, async () => chunks.next());
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    await chunks.return?.();
  }
}

/** Runs `body`, which reads the file; what the system refuses is told in our words. */
async function reading<T>(file: string, body: () => Promise<T>): Promise<T> {
  if (file === '') throw await failure('USAGE', 'the name of the file is empty');
  try {
    return await body();
  } catch (error) {
    switch (errnoOf(error)) {
      case 'ENOENT':
      case 'ENOTDIR':
        throw await failure('NOT_FOUND', `there is no file ${file}`, error);
      case 'EISDIR':
        throw await failure('INVALID', `${file} is a directory, not a file`, error);
      case 'EACCES':
      case 'EPERM':
        throw await failure('ENVIRONMENT', `${file} may not be read`, error, 'check its permissions');
      case 'ENAMETOOLONG':
      case 'ERR_INVALID_ARG_VALUE':
      case 'ELOOP':
        throw await failure('INVALID', `${file} cannot be the name of a file`, error);
      default:
        throw error;
    }
  }
}

async function readStream(stdin: NodeJS.ReadableStream, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  const { addAbortSignal, Readable } = await import('node:stream');
  const stream = stdin instanceof Readable ? addAbortSignal(signal, stdin) : stdin;
  try {
    let size = 0;
    for await (const chunk of stream) {
      const bytes = Buffer.from(chunk);
      size += bytes.length;
      if (size > LARGEST_BYTES) throw await failure('INVALID', 'standard input is too large');
      chunks.push(bytes);
    }
  } catch (error) {
    if (signal.aborted) throw await failure('ABORTED', 'interrupted while reading standard input', error);
    throw error;
  }
  return Buffer.concat(chunks);
}

/** What messages call a file. */
export function nameOf(file: string): string {
  return file === '-' ? 'standard input' : file;
}

/** Writes the file whole or not at all; what is no ordinary file (`/dev/stdout`, a pipe) is written to as it is. */
export async function writeText(file: string, text: string): Promise<void> {
  if (file === '') throw await failure('USAGE', 'the name of the file is empty');
  try {
    const existing = await lstat(file).catch(() => undefined);
    const target = existing?.isSymbolicLink() === true ? await realpath(file) : file;
    const mode = (await stat(target).catch(() => undefined))?.mode;
    if (mode !== undefined && (mode & 0o170000) !== 0o100000) await writeFile(target, text);
    else await replace(target, text, mode);
  } catch (cause) {
    const words: Readonly<Record<string, string>> = {
      ENOENT: 'there is no such directory',
      ENOTDIR: 'there is no such directory',
      EACCES: 'permission denied',
      EPERM: 'permission denied',
      EROFS: 'the file system is read-only',
      EISDIR: 'it is a directory',
      ENOSPC: 'no space is left',
      ENAMETOOLONG: 'its name is too long',
      ELOOP: 'its links go in a circle',
    };
    const why = words[errnoOf(cause)];
    if (why === undefined) throw cause;
    throw await failure('ENVIRONMENT', `cannot write ${file}: ${why}`, cause);
  }
}

async function replace(file: string, text: string, mode: number | undefined): Promise<void> {
  const temporary = join(dirname(file), `.${basename(file).slice(0, 200)}.${randomBytes(6).toString('hex')}`);
  try {
    const handle = await open(temporary, 'wx', mode === undefined ? 0o666 : mode & 0o777);
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
