/**
 * Namespaces kept ready: made, with their loopback up, some with the structure of a firewall in force, and without a name. Pinning one makes it
 * somebody's in the time of two system calls. They are descriptors of this process, so a process that dies leaves none.
 */
import { LANES, type Native, type NativeOp } from './native.js';

/** Made in one program: whoever pins one meanwhile waits for nothing, and whoever closes waits for these. */
const AT_ONCE = 4;

export class Spares {
  readonly #native: Native;
  /** How many, by the document that is in force in them ('' for none). */
  #wanted: ReadonlyMap<string, number> = new Map();
  /** Their numbers, in the same way. */
  readonly #ready = new Map<string, number[]>();
  #next = 0;
  #filling: Promise<void> | undefined;
  /** Kinds that could not be made; asking again would not help. */
  readonly #refused = new Set<string>();
  #busy = 0;

  constructor(native: Native) {
    this.#native = native;
  }

  /** Resolves when all are there, or cannot be. */
  async keep(wanted: ReadonlyMap<string, number>): Promise<void> {
    this.#wanted = wanted;
    await this.#fill();
    await this.#drop();
  }

  get any(): boolean {
    return this.#wanted.size > 0;
  }

  /** The number of a spare with this document in force, which is the caller's from now on. */
  take(document: string): number | undefined {
    return this.#ready.get(document)?.pop();
  }

  /** Whoever works with the kernel comes first: what was taken is made again when nobody does. */
  async beside<T>(work: () => Promise<T>): Promise<T> {
    this.#busy += 1;
    try {
      return await work();
    } finally {
      this.#busy -= 1;
      if (this.#busy === 0) void this.#fill();
    }
  }

  /** What is more than is wanted. */
  async #drop(): Promise<void> {
    const ops = [...this.#ready].flatMap(([document, ready]) =>
      ready.splice(this.#wanted.get(document) ?? 0).map((spare): NativeOp => ({ op: 'spare-drop', spare })),
    );
    if (ops.length > 0) await this.#native.run(ops, true, LANES.spares);
  }

  #fill(): Promise<void> {
    this.#filling ??= this.#fillUp().finally(() => {
      this.#filling = undefined;
    });
    return this.#filling;
  }

  async #fillUp(): Promise<void> {
    for (let missing = this.#missing(); missing.length > 0 && this.#busy === 0; missing = this.#missing()) {
      const ops = missing.map((document): NativeOp => ({ op: 'spare-make', spare: this.#next++, document }));
      const results = await this.#native.run(ops, true, LANES.spares);
      for (const [index, op] of ops.entries()) {
        if (op.op !== 'spare-make') continue;
        if (results[index]?.errno !== 0) this.#refused.add(op.document);
        else this.#readyOf(op.document).push(op.spare);
      }
    }
  }

  #missing(): string[] {
    return [...this.#wanted]
      .flatMap(([document, count]) =>
        this.#refused.has(document)
          ? []
          : Array.from({ length: Math.max(0, count - this.#readyOf(document).length) }, () => document),
      )
      .slice(0, AT_ONCE);
  }

  #readyOf(document: string): number[] {
    const known = this.#ready.get(document);
    if (known !== undefined) return known;
    const made: number[] = [];
    this.#ready.set(document, made);
    return made;
  }
}
