/**
 * YAML 1.2 with positions, strictly: no duplicate keys, no unknown tags, no number that reads differently from how it
 * is written, aliases expanded only so far. The library is loaded on first use (40 ms).
 */
import type { Alias, Document, Node, ParsedNode, Scalar, YAMLMap, YAMLSeq } from 'yaml';
import { quote } from '../net/quote.js';
import { MAX_DEPTH, type MapEntry, type ReadResult, type SyntaxProblem, type TreeNode } from './tree.js';

type Yaml = typeof import('yaml');

/** Nodes that aliases may add in all: "a billion laughs" ends here, a spec with shared rule lists does not. */
const MAX_ALIASED_NODES = 100_000;

const TOO_DEEP = 'the text is nested too deeply';

/** Reads one YAML document; all problems that can be told apart, in the order of the text. */
export async function readYaml(text: string): Promise<ReadResult> {
  const yaml = await import('yaml');
  let document: Document.Parsed<ParsedNode>;
  try {
    // Keys are compared in convert(): the library's own check is quadratic.
    document = yaml.parseDocument(text, {
      stringKeys: true,
      uniqueKeys: false,
      prettyErrors: false,
    });
  } catch (error) {
    if (error instanceof RangeError) return failed([{ at: 0, message: TOO_DEEP }]);
    throw error;
  }
  const problems = [...document.errors, ...document.warnings].map(({ pos, code, message }) => ({
    at: Math.min(pos[0], text.length),
    message: reword(code, message),
  }));
  const { version } = document.directives.yaml;
  if (version !== '1.2')
    problems.unshift({ at: 0, message: `YAML ${version} is not read: remove the %YAML directive` });
  if (problems.length > 0) return failed(problems);
  const converter = new Converter(yaml, text);
  const tree = converter.convert(document.contents, 0, 0);
  if (converter.problems.length > 0) return failed(converter.problems);
  return { ok: true, tree };
}

function failed(problems: readonly SyntaxProblem[]): ReadResult {
  const [first, ...rest] = [...problems].sort((a, b) => a.at - b.at);
  return first === undefined
    ? { ok: false, problems: [{ at: 0, message: 'the text cannot be read' }] }
    : { ok: false, problems: [first, ...rest] };
}

function reword(code: string, message: string): string {
  switch (code) {
    case 'TAB_AS_INDENT':
      return 'a tab indents this line: YAML is indented with spaces';
    case 'MULTIPLE_DOCS':
      return 'a second document begins here: expected one';
    case 'NON_STRING_KEY':
      return 'a key is not plain text: expected a name';
    case 'RESOURCE_EXHAUSTION':
      return TOO_DEEP;
    case 'TAG_RESOLVE_FAILED':
      return `${message.replace(/^Unresolved tag: /, 'unknown tag ')}: leave tags out`;
    default:
      return message.charAt(0).toLowerCase() + message.slice(1);
  }
}

/** Alive for one document. */
class Converter {
  readonly problems: SyntaxProblem[] = [];
  private readonly yaml: Yaml;
  private readonly text: string;
  private readonly anchors = new Map<string, Node>();
  private readonly open = new Set<Node>();
  private aliased = 0;
  private aliasDepth = 0;

  constructor(yaml: Yaml, text: string) {
    this.yaml = yaml;
    this.text = text;
  }

  /** `at` is used for a node that is not in the text, as the value of a key without one. */
  convert(node: Node | null, at: number, depth: number): TreeNode {
    const { isAlias, isMap, isSeq, isScalar } = this.yaml;
    if (node === null) return { kind: 'scalar', at, value: null };
    const start = startOf(node) ?? at;
    if (depth > MAX_DEPTH) return this.refuse(start, `nested deeper than ${MAX_DEPTH} levels`);
    if (this.aliasDepth > 0) {
      this.aliased += 1;
      if (this.aliased > MAX_ALIASED_NODES) return this.refuse(start, 'aliases make the document too large');
    }
    if (isAlias(node)) return this.alias(node, start, depth);
    if (node.anchor !== undefined) this.anchors.set(node.anchor, node);
    this.open.add(node);
    const tree = isMap(node)
      ? this.map(node, start, depth)
      : isSeq(node)
        ? this.list(node, start, depth)
        : isScalar(node)
          ? this.scalar(node, start)
          : this.refuse(start, 'expected a map, a list or a value');
    this.open.delete(node);
    return tree;
  }

  private alias(node: Alias, at: number, depth: number): TreeNode {
    const target = this.anchors.get(node.source);
    if (target === undefined) return this.refuse(at, `the alias *${node.source} has no anchor before it`);
    if (this.open.has(target)) return this.refuse(at, `the alias *${node.source} is inside its own anchor`);
    this.aliasDepth += 1;
    const tree = this.convert(target, at, depth + 1);
    this.aliasDepth -= 1;
    return { ...tree, at };
  }

  private map(node: YAMLMap, at: number, depth: number): TreeNode {
    const entries = new Map<string, MapEntry>();
    for (const { key, value } of node.items) {
      const keyAt = startOf(key as Node | null) ?? at;
      if (!this.yaml.isScalar(key) || typeof key.value !== 'string') {
        this.refuse(keyAt, 'a key is not plain text: expected a name');
        continue;
      }
      if (key.anchor !== undefined) this.anchors.set(key.anchor, key);
      const before = entries.get(key.value);
      if (before !== undefined && this.aliasDepth === 0) {
        const line = this.text.slice(0, before.keyAt).split('\n').length;
        this.refuse(keyAt, `the key ${quote(key.value)} is given twice, first on line ${line}`);
      }
      entries.set(key.value, { keyAt, node: this.convert(value as Node | null, keyAt, depth + 1) });
    }
    return { kind: 'map', at, entries };
  }

  private list(node: YAMLSeq, at: number, depth: number): TreeNode {
    return { kind: 'list', at, items: node.items.map((item) => this.convert(item as Node | null, at, depth + 1)) };
  }

  private scalar({ value, source }: Scalar, at: number): TreeNode {
    if (typeof value === 'number' && source !== undefined && String(value) !== source) {
      return this.refuse(at, `${source} is read as the number ${value}: write ${value}, or "${source}" in quotes`);
    }
    if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean') {
      return { kind: 'scalar', at, value };
    }
    return this.refuse(at, 'expected text, a number, true or false');
  }

  /** Records the problem and stands in for the node. */
  private refuse(at: number, message: string): TreeNode {
    // One is enough where every further node would say the same.
    const last = this.problems.at(-1);
    if (last?.message !== message) this.problems.push({ at, message });
    return { kind: 'scalar', at, value: null };
  }
}

function startOf(node: Node | null): number | undefined {
  return node?.range?.[0];
}
