/**
 * `nft` kept open: a process a namespace (`nft -j -n -i`) that takes documents one after the other, a line each, for as long as more come. Starting one
 * for every document costs more than the document.
 *
 * What nft 1.0.6 does when its interactive mode is on pipes (docs/adr/0024-nft-kept-open.md has the evidence): no prompt and no echo; answers on
 * stdout and errors on stderr, both written out at once; a line has no limit, but is read byte by byte; it ends when its input does. It does not say that a
 * document was carried out, so each is followed by a {@link markOf mark}; and it has no exit status for one, but says an error whenever it would have had one.
 */
import { randomBytes } from 'node:crypto';

export interface NftResult {
  readonly stdout: string;
  /** nft's words when it refused. */
  readonly refusal?: string;
  /** Refused, and perhaps carried out all the same: nft ended before it answered. */
  readonly unknown?: true;
}

/** The first error line, without nft's position (it counts in a text that nobody wrote). */
export function wordsOf(stderr: string): string {
  const line =
    stderr.split('\n').find((candidate) => /error|vpcctl-launch/i.test(candidate)) ?? stderr.split('\n')[0] ?? '';
  return line.replace(/^internal:[0-9:-]+\s*/, '').trim();
}

/** What nft said to one document. */
export interface Answer {
  readonly stdout: string;
  readonly stderr: string;
}

/** What follows a document, so that the end of its answer is known on both streams, which are not ordered against each other. */
export interface Mark {
  readonly lines: string;
  /** What was said before the mark, once the mark is there on both streams; `garbled`: that is no nft that can be asked in this way. */
  cut(stdout: string, stderr: string): Answer | 'garbled' | undefined;
}

/** What nft says of a field of a packet, without asking the kernel. It is no JSON, as answers are. */
const ASKED = 'describe ip ttl';
const TOLD = 'payload expression';

/** `word`: one that nft cannot know and nobody foresees. It quotes it below the error. */
export function markOf(word: string): Mark {
  return {
    lines: `${ASKED}\n${word}\n`,
    cut(stdout, stderr) {
      // A prompt, say, or an echo of what was asked.
      if (stdout !== '' && !stdout.startsWith('{') && !TOLD.startsWith(stdout.slice(0, TOLD.length))) return 'garbled';
      const quoted = stderr.lastIndexOf(`\n${word}\n`);
      if (quoted < 0 || !/\n[ ^~-]*\n$/.test(stderr.slice(quoted + word.length + 1))) return undefined;
      const last = stdout.lastIndexOf('\n', stdout.length - 2) + 1;
      if (!stdout.endsWith('\n') || !stdout.startsWith(TOLD, last)) return undefined;
      return { stdout: stdout.slice(0, last), stderr: stderr.slice(0, stderr.lastIndexOf('\n', quoted - 1) + 1) };
    },
  };
}

/** The document as one line of ASCII: libedit takes a line apart by the locale's characters. Control characters in strings are escapes already. */
export function lineOf(document: string): string {
  return document
    .replace(/[\r\n]/g, ' ')
    .replace(/[\u007f-\uffff]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

export interface KeptLimits {
  /** For an answer. */
  readonly timeoutMs: number;
  /** For the first sign of life. */
  readonly startMs: number;
  /** Without a document: a process keeps its namespace alive. */
  readonly idleMs: number;
  /** Processes; the one that was not used for longest makes room. */
  readonly most: number;
  /** Characters of a document: what is longer is read faster by a process of its own. */
  readonly longest: number;
  /** Documents of a process, which remembers them all (as its history). */
  readonly documents: number;
}

export const TIMEOUT_MS = 60_000;
const LIMITS: KeptLimits = {
  timeoutMs: TIMEOUT_MS,
  startMs: 10_000,
  idleMs: 200,
  most: 8,
  longest: 8192,
  documents: 1000,
};

export interface KeptOptions extends Partial<KeptLimits> {
  /** What starts nft in a namespace, in its interactive mode. */
  readonly argv: (ns: string) => readonly [string, ...string[]];
  /** Carries a document that is not for an open process. */
  readonly once: (ns: string, document: string) => Promise<NftResult>;
}

/** Keeps `nft` open where documents come. What it keeps neither outlives this process nor keeps it alive. */
export class KeptNft {
  readonly #options: KeptOptions & KeptLimits;
  /** In the order of their last use. */
  readonly #living = new Set<Session>();
  /** This nft cannot be asked in this way. */
  #unfit = false;

  constructor(options: KeptOptions) {
    this.#options = { ...LIMITS, ...options };
  }

  /** One document, one transaction. A process that dies with it makes that unknown; one that died before it is replaced. */
  async run(ns: string, document: string): Promise<NftResult> {
    const { once, longest } = this.#options;
    const session = this.#unfit || document.length > longest ? undefined : await this.#take(ns);
    if (session === undefined) return once(ns, document);
    const fit = await session.fit;
    if (fit && !session.over) return session.carry(lineOf(document));
    const result = await once(ns, document);
    // Neither the namespace nor the document is at fault.
    if (!fit && result.refusal === undefined) this.#unfit = true;
    return result;
  }

  /** The processes in these namespaces (all) are gone when this resolves; what they were doing is done. */
  async release(namespaces?: readonly string[]): Promise<void> {
    const doomed = [...this.#living].filter(({ ns }) => namespaces?.includes(ns) ?? true);
    await Promise.all(doomed.map((session) => session.end()));
  }

  /** Undefined: the process there is busy, or all are, or none starts. */
  async #take(ns: string): Promise<Session | undefined> {
    const { execa } = await import('execa');
    // The end of a process that has ended is heard of in a turn of the event loop; the first of these ends the one that is under way.
    for (let turn = 0; turn < 2; turn++) await new Promise(setImmediate);
    const open = [...this.#living].filter(({ over }) => !over);
    const known = open.find((one) => one.ns === ns);
    if (known !== undefined) {
      if (known.busy) return undefined;
      known.busy = true;
      this.#living.delete(known);
      this.#living.add(known);
      return known;
    }
    if (open.length >= this.#options.most) {
      const oldest = open.find(({ busy }) => !busy);
      if (oldest === undefined) return undefined;
      void oldest.end();
    }
    let session: Session;
    try {
      session = new Session(ns, start(execa, this.#options.argv(ns)), this.#options);
    } catch {
      return undefined;
    }
    this.#living.add(session);
    void session.gone.then(() => this.#living.delete(session));
    return session;
  }
}

type Execa = typeof import('execa').execa;

function start(execa: Execa, [file, ...argv]: readonly [string, ...string[]]) {
  return execa(file, argv, {
    stdin: 'pipe',
    buffer: false,
    reject: false,
    // It ends with its input, however this process ends.
    cleanup: false,
    // Without a history in the user's home (documents are nobody's to read there), or settings from it.
    env: { LC_ALL: 'C', TERM: 'dumb', HOME: '/dev/null', EDITRC: '' },
  });
}

type Reply = Answer | { readonly lost: string };

/** One process. */
class Session {
  readonly ns: string;
  /** It answered the first mark, and can be given documents. */
  readonly fit: Promise<boolean>;
  readonly gone: Promise<void>;
  /** Somebody has it. */
  busy = true;
  /** It takes no further document. */
  over = false;
  readonly #child: ReturnType<typeof start>;
  readonly #limits: KeptLimits;
  #stdout = '';
  #stderr = '';
  #waiting: { readonly mark: Mark; readonly settle: (reply: Reply) => void } | undefined;
  #idle: NodeJS.Timeout | undefined;
  #documents = 0;
  #killedFor: string | undefined;

  constructor(ns: string, child: ReturnType<typeof start>, limits: KeptLimits) {
    this.ns = ns;
    this.#child = child;
    this.#limits = limits;
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
      this.#look();
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text;
      this.#look();
    });
    child.once('exit', () => {
      this.over = true;
    });
    // Whoever waits is told by its end.
    child.stdin.on('error', () => {});
    for (const stream of [child.stdin, child.stdout, child.stderr]) unref(stream);
    this.gone = this.#untilGone();
    this.fit = this.#ask('', limits.startMs).then((reply) => !('lost' in reply));
  }

  async carry(line: string): Promise<NftResult> {
    clearTimeout(this.#idle);
    const reply = await this.#ask(line, this.#limits.timeoutMs);
    this.busy = false;
    if ('lost' in reply) return { stdout: '', refusal: reply.lost, unknown: true };
    this.#documents += 1;
    if (this.#documents >= this.#limits.documents) void this.end();
    else this.#idle = setTimeout(() => void this.end(), this.#limits.idleMs).unref();
    // It warns there, too.
    const refused = /^(?:.*: )?error: /im.test(reply.stderr);
    return refused ? { stdout: '', refusal: wordsOf(reply.stderr) } : { stdout: reply.stdout };
  }

  /** Resolves when the process is gone; what it has begun it does before. */
  async end(): Promise<void> {
    this.over = true;
    clearTimeout(this.#idle);
    this.#child.stdin.end();
    this.#child.ref();
    const late = setTimeout(() => this.#kill('nft did not end'), this.#limits.timeoutMs);
    await this.gone;
    clearTimeout(late);
  }

  async #ask(line: string, timeoutMs: number): Promise<Reply> {
    const mark = markOf(`vpcctl-${randomBytes(8).toString('hex')}`);
    this.#stdout = '';
    this.#stderr = '';
    this.#child.ref();
    const late = setTimeout(() => this.#kill(`nft did not answer within ${timeoutMs / 1000} s`), timeoutMs);
    const reply = await new Promise<Reply>((settle) => {
      this.#waiting = { mark, settle };
      this.#child.stdin.write(`${line}\n${mark.lines}`);
    });
    clearTimeout(late);
    this.#waiting = undefined;
    this.#child.unref();
    return reply;
  }

  #look(): void {
    const answer = this.#waiting?.mark.cut(this.#stdout, this.#stderr);
    if (answer === 'garbled') this.#kill('nft answered what is no answer');
    else if (answer !== undefined) this.#waiting?.settle(answer);
  }

  #kill(reason: string): void {
    this.over = true;
    this.#killedFor ??= reason;
    this.#child.kill('SIGKILL');
  }

  async #untilGone(): Promise<void> {
    const { signal, exitCode } = await this.#child;
    clearTimeout(this.#idle);
    const how = this.#killedFor ?? `nft ended (${signal ?? `exit status ${exitCode}`}) before it answered`;
    this.#waiting?.settle({ lost: `${how}: whether it did what it was told is not known` });
  }
}

/** A pipe of a child is a socket; its type does not say so. */
function unref(stream: object): void {
  if ('unref' in stream && typeof stream.unref === 'function') stream.unref();
}
