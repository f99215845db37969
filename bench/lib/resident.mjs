/**
 * A process that stays, and answers a line with a line. Both sides: `Resident` asks and waits; `answer` is the loop of the one who
 * is asked. Lines are JSON where both are ours.
 */
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { reasonOf } from './reason.mjs';

export class Resident {
  #child;
  #lines;
  #words = '';
  #ended;

  /** @param child a process with pipes, as of node:child_process */
  constructor(child) {
    this.#child = child;
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    child.stderr.setEncoding('utf8').on('data', (text) => {
      this.#words += text;
    });
    // A process that ended is noticed by its silence; what it said is told then.
    child.stdin.on('error', () => {});
    this.#ended = once(child, 'close');
  }

  /** Sends lines, if any, by one write, and returns the next one that comes back. */
  async ask(...lines) {
    if (lines.length > 0) this.#child.stdin.write(`${lines.join('\n')}\n`);
    const { value, done } = await this.#lines.next();
    if (!done) return value;
    const [status, signal] = await this.#ended;
    throw new Error(reasonOf({ stderr: this.#words, status, signal }));
  }

  /** The same in JSON; an `error` in the answer is thrown. */
  async call(request) {
    const answer = JSON.parse(await this.ask(JSON.stringify(request)));
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }

  /** Ends it, by the end of its input. */
  async end() {
    this.#child.stdin.end();
    await this.#ended;
  }
}

/** Answers each request, `{ verb, … }`, by `verbs[verb](request)`, until the input ends. */
export async function answer(verbs) {
  for await (const line of createInterface({ input: process.stdin })) {
    const request = JSON.parse(line);
    let reply;
    try {
      reply = (await verbs[request.verb](request)) ?? {};
    } catch (error) {
      reply = { error: error.message };
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
}
