/** Reading the model, by id and by term; and a draft: an overlay of edits over a reader. */
import { isSame } from '../canonical.js';
import { idOf, type Resource, type ResourceKind, type ResourceOf, terms } from './resources.js';

/** Everything that reads the model reads it through this; cost is that of what is asked for. */
export interface Reader {
  get(id: string): Resource | undefined;
  /** All resources that have the term, in the order of their ids. */
  find(term: string): Resource[];
  /** How many resources have the term, counted no further than `limit`. */
  count(term: string, limit: number): number;
}

/** `reader.find`, where the term implies the kind. */
export function findKind<K extends ResourceKind>(reader: Reader, kind: K, term: string): ResourceOf<K>[] {
  return reader.find(term).filter((resource): resource is ResourceOf<K> => resource.kind === kind);
}

/** `reader.get`, where the id implies the kind. */
export function getKind<K extends ResourceKind>(reader: Reader, kind: K, id: string): ResourceOf<K> | undefined {
  const resource = reader.get(id);
  return resource?.kind === kind ? (resource as ResourceOf<K>) : undefined;
}

/** Whether any resource has the term. */
export function has(reader: Reader, term: string): boolean {
  return reader.count(term, 1) > 0;
}

/** A model held in memory. */
export class MemoryReader implements Reader {
  readonly #byId = new Map<string, Resource>();
  readonly #byTerm = new Map<string, Set<string>>();

  constructor(resources: Iterable<Resource> = []) {
    for (const resource of resources) this.put(resource);
  }

  get(id: string): Resource | undefined {
    return this.#byId.get(id);
  }

  find(term: string): Resource[] {
    const found: Resource[] = [];
    for (const id of [...(this.#byTerm.get(term) ?? [])].sort()) {
      const resource = this.#byId.get(id);
      if (resource !== undefined) found.push(resource);
    }
    return found;
  }

  count(term: string, limit: number): number {
    return Math.min(this.#byTerm.get(term)?.size ?? 0, limit);
  }

  put(resource: Resource): void {
    const id = idOf(resource);
    this.remove(id);
    this.#byId.set(id, resource);
    for (const term of terms(resource)) {
      const known = this.#byTerm.get(term);
      if (known === undefined) this.#byTerm.set(term, new Set([id]));
      else known.add(id);
    }
  }

  remove(id: string): void {
    const resource = this.#byId.get(id);
    if (resource === undefined) return;
    this.#byId.delete(id);
    for (const term of terms(resource)) this.#byTerm.get(term)?.delete(id);
  }

  all(): Resource[] {
    return [...this.#byId.values()];
  }
}

/** One edited resource: created (no `before`), changed, or removed (no `after`). */
export interface Edit {
  readonly id: string;
  readonly before?: Resource;
  readonly after?: Resource;
}

/** Edits over a reader that is not touched. Reads see the edits. */
export class Draft implements Reader {
  readonly base: Reader;
  readonly #puts = new MemoryReader();
  /** What the base has under each edited id, in the order of first edit. */
  readonly #before = new Map<string, Resource | undefined>();
  /** How many of those have a term. */
  readonly #hiddenTerms = new Map<string, number>();
  /** What the base has under ids that were asked for. */
  readonly #read = new Map<string, Resource | undefined>();
  /** The edit of each id, as far as it was worked out since the last change of it; null: nothing differs. */
  readonly #known = new Map<string, Edit | null>();
  #edits: readonly Edit[] | undefined;
  /** Ids whose lowering depends on something that was edited, without being edited themselves. */
  readonly touched = new Set<string>();

  constructor(base: Reader) {
    this.base = base;
  }

  get(id: string): Resource | undefined {
    return this.#before.has(id) ? this.#puts.get(id) : this.before(id);
  }

  /** What the base has, whatever was edited. */
  before(id: string): Resource | undefined {
    const known = this.#read.get(id);
    if (known !== undefined || this.#read.has(id)) return known;
    const found = this.base.get(id);
    this.#read.set(id, found);
    return found;
  }

  find(term: string): Resource[] {
    const found = this.base.find(term).filter((resource) => !this.#before.has(idOf(resource)));
    const edited = this.#puts.find(term);
    if (edited.length === 0) return found;
    return [...found, ...edited].sort((a, b) => (idOf(a) < idOf(b) ? -1 : 1));
  }

  count(term: string, limit: number): number {
    const edited = this.#puts.count(term, limit);
    if (edited >= limit) return limit;
    const hidden = this.#hiddenTerms.get(term) ?? 0;
    return Math.min(this.base.count(term, limit + hidden) - hidden + edited, limit);
  }

  /** Whether anything has the term, or had it before the edits. */
  hasOrHad(term: string): boolean {
    return has(this.#puts, term) || has(this.base, term);
  }

  put(resource: Resource): void {
    this.#change(idOf(resource));
    this.#puts.put(resource);
  }

  remove(id: string): void {
    this.#change(id);
    this.#puts.remove(id);
  }

  #change(id: string): void {
    this.#edits = undefined;
    this.#known.delete(id);
    this.#hide(id);
  }

  #hide(id: string): void {
    if (this.#before.has(id)) return;
    const before = this.before(id);
    this.#before.set(id, before);
    for (const term of before === undefined ? [] : new Set(terms(before))) {
      this.#hiddenTerms.set(term, (this.#hiddenTerms.get(term) ?? 0) + 1);
    }
  }

  /** What differs from the base, in the order of first edit. */
  edits(): readonly Edit[] {
    this.#edits ??= [...this.#before].flatMap(([id, before]) => this.#edit(id, before) ?? []);
    return this.#edits;
  }

  #edit(id: string, before: Resource | undefined): Edit | null {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const after = this.#puts.get(id);
    const edit: Edit | null = isSame(before, after)
      ? null
      : { id, ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) };
    this.#known.set(id, edit);
    return edit;
  }
}
