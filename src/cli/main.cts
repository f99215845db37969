#!/usr/bin/env node
/**
 * Starts the command from one file: bundle.cjs, which the build makes of main.js and all that it imports (scripts/bundle.mjs). What V8 compiled
 * of it is kept beside it, in cache/, a file for each command and version of Node, as Python keeps its own beside a module: without it, starting takes
 * twice as long and is no different otherwise.
 *
 * V8 believes what is in such a file, so it is as good as code. Only a file is used that the owner of bundle.cjs or root wrote and nobody else can, and
 * that was made of this very bundle.cjs; only those two write one.
 */
import fs = require('node:fs');
import path = require('node:path');
import vm = require('node:vm');

/** What runs the command: module.exports of bundle.cjs. */
interface Program {
  /** The exit status, when all is done; never rejects. */
  readonly finished: Promise<number>;
  /** Once it has: nothing is left to be written. */
  readonly isFlushed: () => boolean;
}
type Wrapper = (exports: object, require: NodeJS.Require, module: object, filename: string, dirname: string) => void;

/** Space for what a cached file was made of; a multiple of eight, so that V8 need not copy what comes after it. */
const HEADER_BYTES = 128;
/** One start in so many asks how much was compiled that is not in the file, which takes 1 ms; and this much more is worth another file. */
const ASKING = 8;
const GROWTH = 1.03;
/** A command's name; with none, the help or the version is asked for. */
const COMMAND = /^[a-z][a-z-]{1,30}$/;

/** Packages that the build left in files of their own, because few commands need them. */
const APART = ['execa', 'yaml'];

interface Cached {
  readonly data: Buffer;
  /** How much bytecode there was when it was written. */
  readonly bytecode: number;
}

interface Source {
  readonly text: string;
  readonly stat: fs.Stats;
  /** Tells it from any other: the build writes its hash into the first line. */
  readonly identity: string;
}

function readSource(file: string): Source {
  const descriptor = fs.openSync(file, 'r');
  try {
    const stat = fs.fstatSync(descriptor);
    // The build escapes all that is not ASCII: one byte a character is read ten times as fast.
    const text = fs.readFileSync(descriptor, 'latin1');
    const firstLine = text.slice(0, text.indexOf('\n'));
    return { text, stat, identity: `${firstLine.slice(-64)} ${stat.size} ${stat.mtimeMs}` };
  } finally {
    fs.closeSync(descriptor);
  }
}

function readCached(file: string, identity: string, owner: number): Cached | undefined {
  let descriptor: number | undefined;
  try {
    descriptor = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
    const { uid, mode, nlink } = fs.fstatSync(descriptor);
    const trusted = (uid === 0 || uid === owner) && (mode & 0o170022) === 0o100000 && nlink === 1;
    if (!trusted) return undefined;
    const bytes = fs.readFileSync(descriptor);
    const [made, bytecode] = bytes.toString('latin1', 0, HEADER_BYTES).split('|');
    if (made !== identity || bytes.length <= HEADER_BYTES) return undefined;
    return { data: bytes.subarray(HEADER_BYTES), bytecode: Number(bytecode) };
  } catch {
    // There is none yet, or it cannot be read: the command runs all the same.
    return undefined;
  } finally {
    if (descriptor !== undefined) fs.closeSync(descriptor);
  }
}

/** How much of the program is compiled by now. */
function bytecodeSize(): number {
  const { getHeapCodeStatistics } = require('node:v8') as typeof import('node:v8');
  return getHeapCodeStatistics().bytecode_and_metadata_size;
}

/** Whole or not at all. Where it cannot be written (a read-only disk), the next start is as slow as this one. */
function writeCached(file: string, header: string, produce: () => Buffer): void {
  try {
    fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o755 });
    const temporary = `${file}.${process.pid}`;
    const descriptor = fs.openSync(temporary, 'wx', 0o644);
    try {
      fs.writeFileSync(descriptor, Buffer.concat([Buffer.from(header.padEnd(HEADER_BYTES), 'latin1'), produce()]));
      // It must not be half there after a power failure.
      fs.fsyncSync(descriptor);
      fs.renameSync(temporary, file);
    } catch (error) {
      fs.unlinkSync(temporary);
      throw error;
    } finally {
      fs.closeSync(descriptor);
    }
  } catch (error) {
    if ((process.env.VPCCTL_DEBUG ?? '') !== '') process.stderr.write(`vpcctl: ${file} is not written: ${error}\n`);
  }
}

/** The command's name, when what is compiled for it is to be kept. */
function keptCommand(): string | undefined {
  const { NODE_OPTIONS = '', NODE_DISABLE_COMPILE_CACHE = '' } = process.env;
  // Other flags make V8 refuse what was compiled without them.
  if (NODE_OPTIONS !== '' || NODE_DISABLE_COMPILE_CACHE !== '' || process.execArgv.length > 0) return undefined;
  const argv = process.argv.slice(2);
  return argv.find((word, at) => COMMAND.test(word) && argv[at - 1] !== '--state') ?? 'help';
}

const command = keptCommand();
/** What is to be done for each file that was run, once the command has succeeded. */
const keeping: (() => void)[] = [];

/** Runs the file `NAME.cjs` of the build; its exports. */
function load(name: string): object {
  const filename = path.join(__dirname, `${name}.cjs`);
  const { text, stat, identity } = readSource(filename);
  const kept = path.join(__dirname, 'cache', `${command}.${name}-${process.version}-${process.arch}`);
  const cached = command === undefined ? undefined : readCached(kept, identity, stat.uid);
  const script = new vm.Script(text, { filename, ...(cached === undefined ? {} : { cachedData: cached.data }) });
  const module = { exports: {} };
  (script.runInThisContext() as Wrapper)(module.exports, requireFrom, module, filename, __dirname);
  const uid = process.geteuid?.();
  if (command !== undefined && (uid === 0 || uid === stat.uid)) {
    const known = cached === undefined || script.cachedDataRejected === true ? 0 : cached.bytecode;
    keeping.push(() => {
      if (known > 0 && Math.random() * ASKING >= 1) return;
      const bytecode = bytecodeSize();
      if (bytecode > known * GROWTH) writeCached(kept, `${identity}|${bytecode}|`, () => script.createCachedData());
    });
  }
  return module.exports;
}

const loaded = new Map<string, object>();

/** `require` for files of the build. */
const requireFrom: NodeJS.Require = Object.assign((id: string): unknown => {
  if (!APART.includes(id)) return require(id) as unknown;
  const exports = loaded.get(id) ?? load(id);
  loaded.set(id, exports);
  return exports;
}, require);

const program = load('bundle') as Program;
void program.finished.then((exitCode) => {
  if (exitCode === 0) for (const keep of keeping) keep();
  if (program.isFlushed()) process.exit();
});
