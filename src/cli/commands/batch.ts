/** `batch`: many operations in one process, a line each. */
import { type Command, InvalidArgumentError } from 'commander';
import type { PlanView, TransactionResult } from '../../index.js';
import type { Library } from '../host.js';
import { type Line, readLines } from '../lines.js';
import { type Change, type CommandLine, OPERATIONS, type Operation, parseLine, readOperation } from '../operations.js';
import type { Session } from '../session.js';
import { count } from '../text.js';
import { errorOf, type Run } from '../within.js';

/** A transaction of ten thousand operations has room in it. */
const LONGEST_LINE = 16 * 1024 * 1024;
const MOST_PARALLEL = 64;
/** Operations that wait for others are read ahead, so that those behind them need not wait. */
const READ_AHEAD = 4;

interface BatchOptions {
  readonly keepGoing?: boolean;
  readonly parallel: number;
}

/** How an operation ended. `document` is its line of the output. */
interface Outcome {
  readonly line: number;
  readonly document: object;
  readonly failed?: { readonly exitCode: number; readonly lines: readonly string[] };
}

function readParallel(text: string): number {
  const number = /^[0-9]{1,2}$/.test(text) ? Number(text) : 0;
  if (number < 1 || number > MOST_PARALLEL)
    throw new InvalidArgumentError(`Expected a number from 1 to ${MOST_PARALLEL}.`);
  return number;
}

/** Which operations wait for which: those of one VPC keep their order, and a command line has the installation for itself. */
class Order {
  readonly #lastOf = new Map<string, Promise<unknown>>();
  #lastAlone: Promise<unknown> = Promise.resolve();
  readonly #running = new Set<Promise<unknown>>();

  /** What an operation that names these VPCs waits for; undefined: it may look at all. */
  before(vpcs: ReadonlySet<string> | undefined): readonly Promise<unknown>[] {
    if (vpcs === undefined) return [...this.#running];
    return [this.#lastAlone, ...[...vpcs].flatMap((vpc) => this.#lastOf.get(vpc) ?? [])];
  }

  add(vpcs: ReadonlySet<string> | undefined, done: Promise<unknown>): void {
    this.#running.add(done);
    if (vpcs === undefined) this.#lastAlone = done;
    for (const vpc of vpcs ?? []) this.#lastOf.set(vpc, done);
    void done.finally(() => {
      this.#running.delete(done);
      for (const vpc of vpcs ?? []) if (this.#lastOf.get(vpc) === done) this.#lastOf.delete(vpc);
    });
  }
}

/** So many at a time, first come, first served. */
class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(free: number) {
    this.#free = free;
  }

  async take(): Promise<void> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  give(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#free += 1;
    else next();
  }
}

class Batch {
  readonly #session: Session;
  readonly #library: Library;
  readonly #run: Run;
  readonly #options: BatchOptions;
  readonly #order = new Order();
  readonly #slots: Slots;
  /** Nothing more is begun or read. */
  readonly #stop = new AbortController();
  #done = 0;
  #failed = 0;

  constructor(session: Session, library: Library, run: Run, options: BatchOptions) {
    this.#session = session;
    this.#library = library;
    this.#run = run;
    this.#options = options;
    this.#slots = new Slots(options.parallel);
  }

  async perform(file: string): Promise<void> {
    const { signal } = this.#session;
    const window = this.#options.parallel === 1 ? 1 : this.#options.parallel * READ_AHEAD;
    /** One for each line that is not told yet: settled once it is, after those before it. */
    const telling: Promise<void>[] = [];
    let last = Promise.resolve();
    try {
      const chunks = this.#session.readChunks(file, AbortSignal.any([signal, this.#stop.signal]));
      for await (const line of readLines(chunks, LONGEST_LINE)) {
        if (line.text?.trim() === '') continue;
        const { outcome } = await this.#begin(line);
        last = last.then(async () => this.#tell(await outcome));
        telling.push(last);
        if (telling.length >= window) await telling.shift();
        if (this.#stopped) break;
      }
    } catch (error) {
      if (!signal.aborted && !this.#stopped) throw error;
    } finally {
      await last;
    }
    this.#sum();
  }

  get #stopped(): boolean {
    return this.#stop.signal.aborted;
  }

  /** Reads a line and has it wait for its turn. What it asks for is checked at once. */
  async #begin(line: Line): Promise<{ readonly outcome: Promise<Outcome | undefined> }> {
    const read = await this.#read(line);
    if ('document' in read) return { outcome: Promise.resolve(this.#ended(read)) };
    const vpcs = read.work.kind === 'argv' ? undefined : read.work.vpcs;
    const outcome = this.#inTurn(line, read, this.#order.before(vpcs));
    this.#order.add(vpcs, outcome);
    return { outcome };
  }

  async #read(line: Line): Promise<Operation | Outcome> {
    let id: unknown;
    try {
      const value = parseLine(line);
      id = value.id;
      return await readOperation(value);
    } catch (error) {
      return this.#failure(line, named(id), error);
    }
  }

  async #inTurn(line: Line, operation: Operation, before: readonly Promise<unknown>[]): Promise<Outcome | undefined> {
    await Promise.all(before);
    await this.#slots.take();
    try {
      return this.#stopped || this.#session.signal.aborted
        ? undefined
        : this.#ended(await this.#carryOut(line, operation));
    } finally {
      this.#slots.give();
    }
  }

  /** A failure stops what has not begun. */
  #ended(outcome: Outcome): Outcome {
    if (outcome.failed !== undefined && (this.#options.keepGoing !== true || this.#session.signal.aborted))
      this.#stop.abort();
    return outcome;
  }

  async #carryOut(line: Line, { id, op, work }: Operation): Promise<Outcome> {
    const head = { line: line.number, ...named(id), op };
    if (work.kind === 'argv') return this.#runLine(line, head, work);
    let at: number | undefined;
    try {
      const result = await this.#library.transaction((tx) => {
        const values = work.steps.map((step, index) => {
          at = index + 1;
          return step(tx);
        });
        at = undefined;
        return values;
      }, this.#optionsOf(work));
      return { line: line.number, document: { ...head, ok: true, ...resultOf(work, result) } };
    } catch (error) {
      // The one that was refused, unless it is all of them together.
      return this.#failure(line, { ...head, ...(work.several && at !== undefined ? { at } : {}) }, error);
    }
  }

  #optionsOf({ cut }: Change): { signal: AbortSignal; cut: boolean } {
    return { signal: this.#session.signal, cut };
  }

  async #runLine(line: Line, head: object, { argv }: CommandLine): Promise<Outcome> {
    try {
      const ended = await this.#session.runWithin(this.#run, argv, this.#library);
      const { exitCode, output, stderr } = ended;
      if (exitCode === 0) {
        for (const text of stderr.split('\n')) if (text !== '') this.#session.note(text);
        return { line: line.number, document: { ...head, ok: true, ...(output === undefined ? {} : { output }) } };
      }
      const error = errorOf(ended);
      const told = error === undefined ? { output } : { error };
      const lines = [`vpcctl: line ${line.number}: ${error?.message ?? `it ended with exit status ${exitCode}`}`];
      return { line: line.number, document: { ...head, ok: false, exitCode, ...told }, failed: { exitCode, lines } };
    } catch (error) {
      return this.#failure(line, head, error);
    }
  }

  async #failure(line: Line, head: object, thrown: unknown): Promise<Outcome> {
    const { exitCode, lines, error } = await this.#session.failureOf(thrown);
    const told = lines.map((text) => text.replace(/^vpcctl: /, `vpcctl: line ${line.number}: `));
    const document = { line: line.number, ...head, ok: false, exitCode, error };
    return { line: line.number, document, failed: { exitCode, lines: told } };
  }

  /** Prints what became of an operation; undefined: it was not begun. */
  #tell(outcome: Outcome | undefined): void {
    if (outcome === undefined) return;
    this.#done += 1;
    this.#session.write(`${JSON.stringify(outcome.document)}\n`);
    if (this.#session.unread) this.#stop.abort();
    if (outcome.failed === undefined) return;
    this.#failed += 1;
    if (this.#session.exitCode === 0) this.#session.exitCode = outcome.failed.exitCode;
    for (const text of outcome.failed.lines) this.#session.note(text);
  }

  #sum(): void {
    const { signal } = this.#session;
    const succeeded = count(this.#done - this.#failed, 'operation');
    if (signal.aborted) {
      this.#session.note(`vpcctl: interrupted: ${succeeded} done; what came after was not begun`);
      this.#session.endBySignal();
    } else if (this.#failed > 0) {
      const rest = this.#options.keepGoing === true ? '' : '; what came after was not begun';
      this.#session.note(`vpcctl: ${succeeded} done, ${this.#failed} failed${rest}`);
    }
  }
}

/** An id is given back as it came; what is none is not. */
function named(id: unknown): { id?: unknown } {
  return typeof id === 'string' || typeof id === 'number' ? { id } : {};
}

function resultOf({ several }: Change, result: TransactionResult<object[]>): object {
  const { unchanged, kernel }: Pick<TransactionResult<unknown>, 'unchanged'> & Pick<PlanView, 'kernel'> = result;
  return { unchanged, kernel, ...(several ? { results: result.value } : result.value[0]) };
}

export function addBatch(program: Command, session: Session, run: Run): void {
  program
    .command('batch')
    .description('do many operations in one process: a JSON document a line in, one a line out')
    .argument('[file]', 'the operations; - is standard input', '-')
    .option('--keep-going', 'go on after an operation that failed')
    .option('--parallel <number>', 'so many at a time, if they name different VPCs', readParallel, 1)
    .addHelpText(
      'after',
      `
A line is one of
  {"op": OPERATION, …}             one of those below, with its values
  {"transaction": [{"op": …}, …]}  several, of which all are done or none
  {"argv": ["deploy-app", …]}      any other command, as with --json
and may have an "id", which its result has too, and "cut": true, which ends connections that are no longer allowed.

${operationsHelp()}

Each result is printed as soon as its operation is done, in the order of the lines: "line", "id", "op", "ok", and what came of it, or
"exitCode" and "error". The first operation that fails ends the batch, and its exit status is the batch's; with --keep-going too.

Example:
  vpcctl batch < operations.ndjson`,
    )
    .action(async (file: string, options: BatchOptions) => {
      const library = await session.open();
      const batch = new Batch(session, library, run, options);
      await batch.perform(file);
    });
}

/** A line for each operation, with its keys. */
function operationsHelp(): string {
  const width = Math.max(...OPERATIONS.map(({ name }) => name.length));
  return OPERATIONS.map(
    ({ name, required, optional }) =>
      `  ${name.padEnd(width)}  ${[...required, ...optional.map((key) => `[${key}]`)].join(' ')}`,
  ).join('\n');
}
