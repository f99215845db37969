/**
 * A document as a tree that remembers where everything was written: what the JSON and YAML readers make, and what both
 * the plain value and the position of a problem are taken from.
 */

export type TreeNode = ScalarNode | ListNode | MapNode;

/** `at` is the offset of the node's first character in the text. */
export interface ScalarNode {
  readonly kind: 'scalar';
  readonly at: number;
  readonly value: string | number | boolean | null;
}

export interface ListNode {
  readonly kind: 'list';
  readonly at: number;
  readonly items: readonly TreeNode[];
}

export interface MapNode {
  readonly kind: 'map';
  readonly at: number;
  readonly entries: ReadonlyMap<string, MapEntry>;
}

export interface MapEntry {
  readonly keyAt: number;
  readonly node: TreeNode;
}

/** What is wrong with the text itself, at an offset. */
export interface SyntaxProblem {
  readonly at: number;
  readonly message: string;
}

/** A tree, or why there is none. */
export type ReadResult =
  | { readonly ok: true; readonly tree: TreeNode }
  | { readonly ok: false; readonly problems: readonly [SyntaxProblem, ...SyntaxProblem[]] };

/** A path inside a document: keys and indices. */
export type Path = readonly (string | number)[];

/** 1-based, counted in UTF-16 units as editors do. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Keys nest this deep at most; a spec needs eight. Keeps recursion off the end of the stack. */
export const MAX_DEPTH = 64;

/** The plain value. Maps become objects with their own properties only, whatever the key (`__proto__` included). */
export function toValue(node: TreeNode): unknown {
  switch (node.kind) {
    case 'scalar':
      return node.value;
    case 'list':
      return node.items.map(toValue);
    case 'map': {
      const object: Record<string, unknown> = {};
      for (const [key, entry] of node.entries) {
        const value = toValue(entry.node);
        if (key !== '__proto__') object[key] = value;
        else Object.defineProperty(object, key, { value, enumerable: true, writable: true, configurable: true });
      }
      return object;
    }
  }
}

/**
 * The offset that a message about `path` should point at. A scalar or an item of a list is where it begins; a map or
 * list under a key is at its key, which names it. Of a path that is not all there, the deepest part that is.
 */
export function offsetOfPath(tree: TreeNode, path: Path): number {
  let node = tree;
  let at = tree.at;
  for (const step of path) {
    if (node.kind === 'map') {
      const entry = node.entries.get(String(step));
      if (entry === undefined) return at;
      node = entry.node;
      at = node.kind === 'scalar' ? node.at : entry.keyAt;
    } else if (node.kind === 'list') {
      const item = typeof step === 'number' ? node.items[step] : undefined;
      if (item === undefined) return at;
      node = item;
      at = item.at;
    } else {
      return at;
    }
  }
  return at;
}

/** The offset of the last key of `path`, for a message about the key and not its value. */
export function offsetOfKey(tree: TreeNode, path: Path): number {
  let node: TreeNode | undefined = tree;
  for (const step of path.slice(0, -1)) {
    if (node?.kind === 'map') node = node.entries.get(String(step))?.node;
    else if (node?.kind === 'list') node = typeof step === 'number' ? node.items[step] : undefined;
  }
  const entry = node?.kind === 'map' ? node.entries.get(String(path.at(-1))) : undefined;
  return entry?.keyAt ?? offsetOfPath(tree, path);
}

/** Turns offsets of one text into lines and columns. */
export function positionsOf(text: string): (offset: number) => Position {
  const starts = [0];
  for (let at = text.indexOf('\n'); at !== -1; at = text.indexOf('\n', at + 1)) starts.push(at + 1);
  return (offset) => {
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: offset - (starts[low] ?? 0) + 1 };
  };
}

/** A path as text: `vpcs.a.securityGroups.web.ingress[0].port`. */
export function formatPath(path: Path): string {
  return path
    .map((step, index) => {
      if (typeof step === 'number') return `[${step}]`;
      const text = /^[A-Za-z0-9_$-]+$/.test(step) ? step : JSON.stringify(step);
      return index === 0 ? text : `.${text}`;
    })
    .join('');
}
