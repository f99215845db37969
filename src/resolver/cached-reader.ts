/** The recorded model, read once for as long as nobody changes it: a change is seen by the first query after its commit. */
import type { Store } from '../engine/store.js';
import type { Reader } from '../model/reader.js';
import type { Resource } from '../model/resources.js';

/** Who asks for ever other names does not fill the memory. */
const MOST_KEPT = 20_000;

export class CachedReader implements Reader {
  readonly #store: Store;
  readonly #byId = new Map<string, Resource | undefined>();
  readonly #byTerm = new Map<string, Resource[]>();
  #stamp = '';

  constructor(store: Store) {
    this.#store = store;
  }

  /** To be called before each query. */
  refresh(): void {
    const stamp = this.#store.stamp();
    if (stamp === this.#stamp && this.#byId.size + this.#byTerm.size < MOST_KEPT) return;
    this.#stamp = stamp;
    this.#byId.clear();
    this.#byTerm.clear();
  }

  get(id: string): Resource | undefined {
    if (!this.#byId.has(id)) this.#byId.set(id, this.#store.get(id));
    return this.#byId.get(id);
  }

  find(term: string): Resource[] {
    let found = this.#byTerm.get(term);
    if (found === undefined) {
      found = this.#store.find(term);
      this.#byTerm.set(term, found);
    }
    return found;
  }

  count(term: string, limit: number): number {
    return Math.min(this.find(term).length, limit);
  }
}
