/** One run of the command: its global options, what it prints, and the library once it is open. */
import { resolve } from 'node:path';
import type {
  Format,
  HeldView,
  OpenOptions,
  ParsedSpec,
  PlanView,
  Spec,
  Transaction,
  TransactionResult,
  VpcctlEvent,
} from '../index.js';
import { describeFailure, type Failure, UsageError } from './failure.js';
import { nameOf, readChunks, readText } from './files.js';
import { type Host, type Library, SIGNAL_EXIT } from './host.js';
import type { Output } from './output.js';
import { heldText, isEmpty, planText, restoreText } from './plan-text.js';
import { type Colors, colors, count, oneLine } from './text.js';
import { type Run, runWithin, type Within } from './within.js';

/** Options that every command takes. */
export interface Globals {
  readonly state?: string;
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly color?: boolean;
}

/** Something to print: the document of `--json`, and the same for people. */
export interface Report {
  readonly json: unknown;
  readonly text: () => readonly string[];
}

/** A file of VPCs, read. */
export interface SpecFile {
  readonly spec: Spec;
  /** Runs `body`; a rule that the spec breaks is told with file, line and column. */
  located<T>(body: () => Promise<T>): Promise<T>;
}

/** Work that is over sooner is not worth a line. */
const PROGRESS_AFTER_MS = 300;

export class Session {
  readonly #host: Host;
  #globals: Globals = {};
  #library: Library | undefined;
  #progress: Progress | undefined;
  readonly #held: HeldView[] = [];
  /** A document of `--json` takes one line: there are several. */
  jsonLines = false;
  /** What the command ends with. */
  exitCode = 0;

  constructor(host: Host) {
    this.#host = host;
  }

  /** Before `command` runs. */
  configure(globals: Globals, command: string): void {
    this.#globals = globals;
    this.#host.caller?.admit(command);
  }

  get json(): boolean {
    return this.#globals.json === true;
  }

  get quiet(): boolean {
    return this.#globals.quiet === true;
  }

  /** The directory that --state names. */
  get state(): string | undefined {
    const { state } = this.#globals;
    return state === undefined ? undefined : resolve(...this.#cwd, state);
  }

  get #cwd(): readonly string[] {
    const { caller } = this.#host;
    return caller === undefined ? [] : [caller.cwd];
  }

  get signal(): AbortSignal {
    return this.#host.signal;
  }

  /** Before a program of the user's runs on our terminal, if there is one. */
  yieldTerminal(): void {
    if (this.#host.stdin.isTTY === true) this.#host.yieldTerminal();
  }

  get colors(): Colors {
    return this.#colors(this.#host.stdout);
  }

  #colors(stream: { readonly isTTY?: boolean }): Colors {
    const { NO_COLOR = '', TERM } = this.#host.env;
    return colors(this.#globals.color !== false && NO_COLOR === '' && TERM !== 'dumb' && stream.isTTY === true);
  }

  /** Columns of the terminal that is printed on. */
  get width(): number | undefined {
    const { isTTY, columns } = this.#host.stdout;
    return isTTY === true ? columns : undefined;
  }

  /** What follows asks on the terminal, or makes a file as its user's process does: a daemon leaves that to the process of its caller. */
  needProcess(): void {
    this.#host.caller?.handBack();
  }

  // --- the library ---------------------------------------------------------------------------------------------------

  async open(further: Pick<OpenOptions, 'warm' | 'pool'> = {}): Promise<Library> {
    if (this.#library !== undefined) return this.#library;
    const { state } = this;
    this.#progress = new Progress(this.#host.stderr, this.#host.stderr.isTTY === true && !this.quiet && !this.json);
    const progress = this.#progress;
    this.#library = await this.#host.open({
      ...(state === undefined ? {} : { state }),
      ...further,
      onEvent: (event) => {
        if (event.type === 'held') this.#held.push(viewOf(event));
        progress.on(event);
      },
    });
    return this.#library;
  }

  async close(): Promise<void> {
    this.#progress?.end();
    await this.#library?.close();
  }

  /** Runs verbs as one transaction and reports it: the plan alone with `dryRun`, else what `done` says. */
  async change<T>(
    edit: (tx: Transaction) => T,
    options: { readonly dryRun?: boolean | undefined; readonly cut?: boolean | undefined },
    done: (result: TransactionResult<T>, library: Library) => { text: readonly string[]; json?: object },
  ): Promise<void> {
    const library = await this.open();
    const dryRun = options.dryRun === true;
    const result = await library.transaction(edit, { signal: this.signal, dryRun, cut: options.cut === true });
    this.reportChange(result, dryRun, dryRun ? undefined : done(result, library));
  }

  /** A change that deletes something: `done`, or `nothing` where there was none. */
  async remove(
    edit: (tx: Transaction) => boolean,
    options: { readonly dryRun?: boolean | undefined; readonly cut?: boolean | undefined },
    done: string,
    nothing: string,
  ): Promise<void> {
    await this.change(edit, options, ({ value }) => ({ text: [value ? done : nothing], json: { deleted: value } }));
  }

  /** Reports a change, or what it would be. */
  reportChange(plan: PlanView, dryRun: boolean, done?: { text: readonly string[]; json?: object }): void {
    const { changes, kernel } = plan;
    const json = { unchanged: isEmpty(plan), dryRun, changes, kernel, ...this.held(), ...done?.json };
    const text = (): readonly string[] => done?.text ?? [...this.planText(plan), 'dry run: nothing was changed'];
    if (dryRun) this.print({ json, text });
    else this.report({ json, text });
  }

  /** For a document: what was deleted and lives on; nothing where there is nothing. */
  held(): { readonly held?: readonly HeldView[] } {
    return this.#held.length === 0 ? {} : { held: this.#held };
  }

  planText(plan: PlanView): string[] {
    return isEmpty(plan) ? ['no changes'] : planText(plan, this.colors);
  }

  // --- a command inside this one --------------------------------------------------------------------------------------

  async runWithin(run: Run, argv: readonly string[], library: Library): Promise<Within> {
    return runWithin(run, argv, this.#host, library);
  }

  /** How a command that throws this ends. */
  async failureOf(error: unknown): Promise<Failure> {
    const { env, signal } = this.#host;
    return describeFailure(error, {
      debug: (env.VPCCTL_DEBUG ?? '') !== '',
      ...(signal.aborted ? { signal: String(signal.reason) } : {}),
      exitCodes: async () => (await import('../index.js')).EXIT_CODES,
    });
  }

  /** The signal that came is what the command ends with. */
  endBySignal(): void {
    this.exitCode = SIGNAL_EXIT[String(this.signal.reason)] ?? 1;
  }

  // --- printing ------------------------------------------------------------------------------------------------------

  /** What was asked for. */
  print({ json, text }: Report): void {
    if (this.json) this.write(this.document(json));
    else
      this.write(
        text()
          .map((line) => `${line}\n`)
          .join(''),
      );
  }

  document(json: unknown): string {
    return `${JSON.stringify(json, null, this.jsonLines ? undefined : 2)}\n`;
  }

  /** What was done: not said with `--quiet`. */
  report(report: Report): void {
    if (this.json || !this.quiet) this.print(report);
  }

  /** Nobody reads what is printed any more. */
  get unread(): boolean {
    return !this.#host.stdout.writable;
  }

  write(text: string): void {
    this.#host.stdout.write(text);
  }

  note(line: string): void {
    this.#host.stderr.write(`${oneLine(line)}\n`);
  }

  // --- asking --------------------------------------------------------------------------------------------------------

  /**
   * Whether to go on: `--yes` says so, else a person does. Refused where nobody can be asked. `summary` is shown before the question.
   */
  async confirm(question: string, yes: boolean | undefined, summary: readonly string[]): Promise<boolean> {
    if (yes === true) return true;
    const { stdin, stderr } = this.#host;
    if (this.json || stdin.isTTY !== true || stderr.isTTY !== true) {
      throw new UsageError(
        'nobody can be asked whether to go on: standard input is not a terminal',
        'give --yes, or --dry-run to look only',
      );
    }
    this.needProcess();
    for (const line of summary) stderr.write(`${line}\n`);
    const { createInterface } = await import('node:readline/promises');
    // The terminal shows what is typed, and turns ^C into a signal.
    const readline = createInterface({ input: stdin });
    stderr.write(`${question} [y/N] `);
    try {
      const closed = new Promise<string>((end) => readline.once('close', () => end('')));
      const answer = await Promise.race([readline.question('', { signal: this.signal }), closed]);
      if (/^y(es)?$/i.test(answer.trim())) return true;
    } catch (error) {
      if (!this.signal.aborted) throw error;
      const { VpcctlError } = await import('../index.js');
      throw new VpcctlError('ABORTED', 'interrupted: nothing was changed');
    } finally {
      readline.close();
    }
    this.note('vpcctl: not confirmed: nothing was changed');
    this.exitCode = 1;
    return false;
  }

  // --- reading files -------------------------------------------------------------------------------------------------

  async readText(file: string): Promise<string> {
    const { stdin, caller } = this.#host;
    if (file === '-' && stdin.isTTY === true) this.needProcess();
    return readText(file, stdin, this.signal, caller?.files);
  }

  /** What a file holds, or standard input for `-`, as it comes; rejects when `signal` fires. */
  readChunks(file: string, signal: AbortSignal): AsyncIterable<Uint8Array | string> {
    return readChunks(file, () => this.#host.stdin, signal);
  }

  /** Runs `body`; a rule broken by what `file` says is told with its name. */
  async blaming<T>(file: string, body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      const { VpcctlError } = await import('../index.js');
      if (!(error instanceof VpcctlError) || error.code !== 'INVALID' || error.facts.file !== undefined) throw error;
      throw new VpcctlError(error.code, error.message, { ...error.facts, file: nameOf(file) });
    }
  }

  async readSpec(file: string): Promise<SpecFile> {
    const text = await this.readText(file);
    const { parseSpec, VpcctlError } = await import('../index.js');
    const name = nameOf(file);
    const parsed = await parseSpec(text, { file: name, ...formatOption(file) });
    return {
      spec: parsed.spec,
      located: async (body) => {
        try {
          return await body();
        } catch (error) {
          if (!(error instanceof VpcctlError) || error.facts.path === undefined || error.facts.line !== undefined)
            throw error;
          const where = locate(parsed, error.facts.path);
          throw new VpcctlError(error.code, error.message, { ...error.facts, file: name, ...where });
        }
      },
    };
  }
}

/** Of standard input the format shows in the text alone. */
function formatOption(file: string): { format?: Format | 'auto' } {
  return file === '-' ? { format: 'auto' } : {};
}

function locate(parsed: ParsedSpec, path: string): { line: number; column: number } | undefined {
  return parsed.locate(path.split('.').map((step) => (/^(0|[1-9]\d{0,8})$/.test(step) ? Number(step) : step)));
}

function viewOf({ what, namespace, holders }: HeldView): HeldView {
  return { what, namespace, holders };
}

/** `vpc a, b`; nothing for the installation's own scope. */
function vpcsOf(scopes: readonly string[]): string {
  const vpcs = scopes.filter((scope) => scope !== '');
  return vpcs.length === 0 ? '' : `vpc ${vpcs.join(', ')}`;
}

/** Lines on standard error: stages of long work on a terminal, and always what was recovered, restored, or left as it was. */
export class Progress {
  readonly #stream: Output;
  readonly #stages: boolean;
  #begun: number | undefined;
  #pending: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(stream: Output, stages: boolean) {
    this.#stream = stream;
    this.#stages = stages;
  }

  on(event: VpcctlEvent): void {
    switch (event.type) {
      case 'recovered': {
        const vpcs = vpcsOf(event.scopes);
        this.#line(`vpcctl: an earlier command was interrupted: ${event.what}${vpcs === '' ? '' : ` (${vpcs})`}`);
        return;
      }
      case 'unrecovered':
        this.#line(`vpcctl: ${vpcsOf(event.scopes) || 'the edge'} cannot be changed: ${event.error.toLine()}`);
        return;
      case 'cut':
        this.#line(`ended ${count(event.connections, 'connection')} that nothing admits any more`);
        return;
      case 'held':
        this.#line(`vpcctl: ${heldText(event)}`);
        return;
      case 'fix-kept':
      case 'unresolved':
        this.#line(`vpcctl: ${event.error.toLine()}`);
        return;
      case 'restoring':
        this.#stage(`${event.index + 1}/${event.total} ${event.what}`);
        return;
      case 'restored':
        if (event.again === true) {
          const why = event.failed.length === 0 ? '' : '; see `vpcctl restore`';
          this.#line(
            `vpcctl: tried again what this machine lost when it was started anew: ${restoreText(event)}${why}`,
          );
          return;
        }
        this.#line(`vpcctl: this machine was started anew: ${restoreText(event)}`);
        for (const { what, error } of event.failed) this.#line(`vpcctl: ${what}: ${error.toLine()}`);
        return;
      case 'rollback':
        this.#stage(`undoing ${event.stage} (${event.reason})`);
        return;
      case 'stage':
        this.#stage(`${event.index + 1}/${event.total} ${event.stage} (${event.changes})`);
    }
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#pending = undefined;
  }

  /** Kept until the work has lasted, so that short work says nothing. */
  #stage(text: string): void {
    if (!this.#stages) return;
    this.#begun ??= Date.now();
    const left = this.#begun + PROGRESS_AFTER_MS - Date.now();
    clearTimeout(this.#timer);
    if (left <= 0) this.#line(text);
    else {
      this.#pending = text;
      this.#timer = setTimeout(() => this.#line(this.#pending ?? text), left).unref();
    }
  }

  #line(text: string): void {
    this.#stream.write(`${oneLine(text)}\n`);
  }
}
