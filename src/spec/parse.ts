/**
 * Text of a spec or a policy file → plain data of types.ts, or an INVALID error that says file, line, column and path.
 *
 * Theory of operation: json.ts or yaml.ts reads the text into a tree with positions; the tree's plain value goes
 * through the schema; what the schema finds is placed by the tree. No file is opened here.
 */
import { invalid, type Problem, type VpcctlError } from '../errors.js';
import { readJson } from './json.js';
import {
  type CheckResult,
  checkNetworkAcl,
  checkPolicies,
  checkSecurityGroup,
  checkSpec,
  issueMessage,
  validateSpec,
} from './schema.js';
import {
  formatPath,
  type MapNode,
  offsetOfKey,
  offsetOfPath,
  type Path,
  type Position,
  positionsOf,
  type ReadResult,
  type TreeNode,
  toValue,
} from './tree.js';
import type { NetworkAclSpec, PolicyFile, SecurityGroupSpec, Spec } from './types.js';
import { readYaml } from './yaml.js';

export type Format = 'yaml' | 'json';

export interface ParseOptions {
  /** What errors call the text: a file name, or `-` for standard input. */
  readonly file: string;
  /** `auto` (default): by the file name's ending, else JSON where the text begins with `{` or `[` and is JSON. */
  readonly format?: Format | 'auto';
}

export interface ParsedSpec {
  readonly spec: Spec;
  /**
   * Where the text speaks of this path: a scalar where it begins, a map or list at its key. Of a path that is not all
   * there (a default), the deepest part that is; so a rule of the model can point at a line whatever it complains of.
   */
  locate(path: Path): Position | undefined;
}

/** Reads a spec. INVALID with facts `file`, `line`, `column`, `path`, and `problems` when there are several. */
export async function parseSpec(text: string, options: ParseOptions): Promise<ParsedSpec> {
  const tree = await readTree(text, options, 'a spec: a map with the key vpcs');
  const position = positionsOf(text);
  const spec = accept(checkSpec(toValue(tree)), tree, position, options.file);
  return { spec, locate: (path) => position(offsetOfPath(tree, path)) };
}

/** Reads a policy file: one policy, or a list of them. Errors as {@link parseSpec}'s. */
export async function parsePolicyFile(text: string, options: ParseOptions): Promise<PolicyFile[]> {
  const tree = await readTree(text, options, 'a policy or a list of policies');
  return accept(checkPolicies(toValue(tree)), tree, positionsOf(text), options.file);
}

/** Reads the rules of one security group: a map with `ingress` and `egress`. Errors as {@link parseSpec}'s. */
export async function parseSecurityGroupFile(text: string, options: ParseOptions): Promise<SecurityGroupSpec> {
  const tree = await readTree(text, options, 'a security group: a map with ingress and egress');
  return accept(checkSecurityGroup(toValue(tree)), tree, positionsOf(text), options.file);
}

/** Reads the rules of one network ACL: a map with `ingress` and `egress`. Errors as {@link parseSpec}'s. */
export async function parseNetworkAclFile(text: string, options: ParseOptions): Promise<NetworkAclSpec> {
  const tree = await readTree(text, options, 'a network ACL: a map with ingress and egress');
  return accept(checkNetworkAcl(toValue(tree)), tree, positionsOf(text), options.file);
}

/**
 * The spec as text that {@link parseSpec} reads back into an equal one. Deterministic: keys stand in the order of the
 * schema, names in the order of the spec. INVALID when it is no valid spec.
 */
export async function formatSpec(spec: Spec, format: Format): Promise<string> {
  const ordered = validateSpec(spec);
  if (format === 'json') return `${JSON.stringify(ordered, null, 2)}\n`;
  const { Document, isScalar, isSeq, visit } = await import('yaml');
  const document = new Document(ordered, { aliasDuplicateObjects: false, compat: 'yaml-1.1' });
  visit(document, {
    // One line for a list of names or blocks, a rule, a reference to a group, and what is empty.
    Seq(_key, node) {
      if (node.items.every((item) => isScalar(item))) node.flow = true;
    },
    Map(key, node) {
      const isRule = typeof key === 'number' && !node.items.some(({ value }) => isSeq(value));
      const isReference = node.items.length === 1 && isScalar(node.get('group', true));
      if (isRule || isReference || node.items.length === 0) node.flow = true;
    },
  });
  return document.toString({ lineWidth: 120, flowCollectionPadding: true });
}

async function readTree(text: string, { file, format = 'auto' }: ParseOptions, wanted: string): Promise<TreeNode> {
  const result = await read(text, format === 'auto' ? formatOf(file) : format);
  if (!result.ok) {
    const position = positionsOf(text);
    throw failure(
      result.problems.map(({ at, message }) => ({ message, ...position(at) })),
      file,
    );
  }
  const { tree } = result;
  if (tree.kind === 'scalar' && tree.value === null) {
    throw failure([{ message: `the document is empty: expected ${wanted}`, line: 1, column: 1 }], file);
  }
  return withoutSchemaKey(tree);
}

async function read(text: string, format: Format | undefined): Promise<ReadResult> {
  if (format === 'yaml') return readYaml(text);
  if (format === 'json') return readJson(text);
  if (!/^\ufeff?\s*[{[]/.test(text)) return readYaml(text);
  const json = readJson(text);
  if (json.ok) return json;
  const yaml = await readYaml(text);
  return yaml.ok ? yaml : json;
}

function formatOf(file: string): Format | undefined {
  if (/\.json$/i.test(file)) return 'json';
  return /\.ya?ml$/i.test(file) ? 'yaml' : undefined;
}

/** Editors find the schema of a JSON file by its `$schema`; it is nothing to us. */
function withoutSchemaKey(tree: TreeNode): TreeNode {
  if (tree.kind !== 'map') return tree;
  const schema = tree.entries.get('$schema')?.node;
  if (schema?.kind !== 'scalar' || typeof schema.value !== 'string') return tree;
  const entries = new Map(tree.entries);
  entries.delete('$schema');
  return { ...tree, entries } satisfies MapNode;
}

function accept<T>(result: CheckResult<T>, tree: TreeNode, position: (offset: number) => Position, file: string): T {
  if (result.ok) return result.value;
  const placed = result.issues.map((issue) => {
    const at = issue.atKey ? offsetOfKey(tree, issue.path) : offsetOfPath(tree, issue.path);
    const where = issue.path.length === 0 ? {} : { path: formatPath(issue.path) };
    return { at, problem: { message: issueMessage(issue), ...position(at), ...where } };
  });
  // In the order of the text, as somebody who mends it goes through it.
  placed.sort((a, b) => a.at - b.at);
  throw failure(
    placed.map(({ problem }) => problem),
    file,
  );
}

function failure(problems: readonly Problem[], file: string): VpcctlError {
  const [first] = problems;
  if (first === undefined) throw new Error('a failure without a problem');
  const { message, ...where } = first;
  return invalid(message, { file, ...where, ...(problems.length > 1 ? { problems } : {}) });
}
