/** The test's side of agent.mjs: one long-lived process in a namespace, asked over its stdin. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { netnsArgv } from './witness.js';

const script = fileURLToPath(new URL('agent.mjs', import.meta.url));

export type Reason =
  | 'refused'
  | 'reset'
  | 'timeout'
  | 'unreachable'
  | 'prohibited'
  | 'no-such-address'
  | 'too-big'
  | 'error';

interface Waiting {
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
}

export class Agent {
  readonly ns: string;
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #waiting = new Map<number, Waiting>();
  #next = 1;
  #ended = false;

  private constructor(ns: string, child: ChildProcessWithoutNullStreams) {
    this.ns = ns;
    this.#child = child;
  }

  /** Starts one in a namespace (`''`: this one) and waits until it answers. */
  static async start(ns: string): Promise<Agent> {
    const [program = '', ...args] = netnsArgv(ns, [process.execPath, script]);
    const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] });
    const agent = new Agent(ns, child);
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    const ready = new Promise<void>((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', (code, signal) => {
        agent.#ended = true;
        const error = new Error(`the agent in namespace '${ns}' ended (${code ?? signal}): ${said.trim()}`);
        for (const { reject: fail } of agent.#waiting.values()) fail(error);
        agent.#waiting.clear();
        reject(error);
      });
      createInterface({ input: child.stdout }).on('line', (line) => {
        const message = JSON.parse(line) as { ready?: true; id?: number; result?: unknown; error?: string };
        if (message.ready === true) {
          resolve();
          return;
        }
        const waiting = agent.#waiting.get(message.id ?? 0);
        agent.#waiting.delete(message.id ?? 0);
        if (message.error === undefined) waiting?.resolve(message.result);
        else waiting?.reject(new Error(`agent in namespace '${ns}': ${message.error}`));
      });
    });
    child.stdin.on('error', () => {
      // EPIPE of an agent that ended; its requests were rejected by the exit.
    });
    await ready;
    return agent;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Asks for one thing; the caller knows the answer's type, which agent.mjs defines. */
  async ask<T>(request: Readonly<Record<string, unknown>>): Promise<T> {
    if (this.#ended) throw new Error(`the agent in namespace '${this.ns}' is gone`);
    const id = this.#next++;
    const answer = new Promise<unknown>((resolve, reject) => this.#waiting.set(id, { resolve, reject }));
    this.#child.stdin.write(`${JSON.stringify({ ...request, id })}\n`);
    return (await answer) as T;
  }

  /** Ends it, its listeners and its connections; the namespace has no process of ours in it afterwards. */
  async stop(): Promise<void> {
    if (this.#ended) return;
    const gone = once(this.#child, 'close');
    this.#child.stdin.end();
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), 2_000);
    await gone;
    clearTimeout(timer);
  }
}
