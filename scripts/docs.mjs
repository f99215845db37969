// @ts-check
/**
 * The reference, from what the program itself says: docs/cli.md from the help of every command, docs/spec.md from the JSON
 * Schemas, docs/example.svg from what it draws of an example. Needs a build.
 *
 *   node scripts/docs.mjs              writes them
 *   node scripts/docs.mjs --check      exit status 1 when one of them is not what would be written
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const MADE_BY = '<!-- Written by scripts/docs.mjs: change the program, not this file. -->';
const HELP_WIDTH = 100;

/** @param {string} path below dist */
function fromDist(path) {
  const file = new URL(`../dist/${path}`, import.meta.url);
  if (!existsSync(file)) throw new Error(`dist/${path} is missing; run: npm run build`);
  return import(file.href);
}

// --- commands ----------------------------------------------------------------------------------------------------------

/** @param {import('commander').Command} command @param {boolean} whole with global options */
function helpOf(command, whole) {
  let text = '';
  command.configureOutput({
    writeOut: (part) => {
      text += part;
    },
    getOutHelpWidth: () => HELP_WIDTH,
    getOutHasColors: () => false,
  });
  command.configureHelp({ showGlobalOptions: false });
  command.outputHelp();
  if (!whole) text = text.replace(/^ +-h, --help .*\n/m, '').replace(/\nOptions:\n(?=\n|$)/, '');
  return text.trim();
}

async function cliReference() {
  const { buildProgram } = await fromDist('cli/program.js');
  // A command's session is asked for when it runs, which none does here.
  /** @type {import('commander').Command} */
  const program = buildProgram({ configure: () => {} }, () => {});
  const out = ['# Commands', '', MADE_BY, '', '```', helpOf(program, true), '```'];
  let group = '';
  for (const command of program.commands) {
    if (command.name() === 'help') continue;
    if (command.helpGroup() !== group) {
      group = command.helpGroup();
      out.push('', `## ${group.replace(/:$/, '')}`);
    }
    out.push('', `### ${command.name()}`, '', '```', helpOf(command, false), '```');
  }
  return `${out.join('\n')}\n`;
}

// --- files -------------------------------------------------------------------------------------------------------------

/**
 * The part of JSON Schema that our schemas use.
 * @typedef {object} Schema
 * @property {string} [type]
 * @property {string} [description]
 * @property {unknown} [default]
 * @property {readonly unknown[]} [enum]
 * @property {readonly Schema[]} [anyOf]
 * @property {readonly Schema[]} [oneOf]
 * @property {Schema | readonly Schema[]} [items]
 * @property {Record<string, Schema>} [properties]
 * @property {readonly string[]} [required]
 * @property {Schema | boolean} [additionalProperties]
 */

/** @param {Schema} schema @returns {string} in words */
function typeOf(schema) {
  const any = schema.anyOf ?? schema.oneOf;
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(', ');
  if (any !== undefined && schema.type === undefined) return [...new Set(any.map(typeOf))].join(' or ');
  switch (schema.type) {
    case 'array':
      if (Array.isArray(schema.items)) return `list of ${schema.items.length}: ${schema.items.map(typeOf).join(', ')}`;
      return schema.items === undefined
        ? 'list'
        : `list of ${isMap(/** @type {Schema} */ (schema.items)) ? 'maps' : typeOf(/** @type {Schema} */ (schema.items))}`;
    case 'object':
      return typeof schema.additionalProperties === 'object' ? 'map by name' : 'map';
    case 'string':
      return 'text';
    case 'integer':
      return 'number';
    case 'boolean':
      return 'true or false';
    default:
      return schema.type ?? 'anything';
  }
}

/** @param {Schema} schema */
const isMap = (schema) => schema.type === 'object';

/** @param {string} text */
const cell = (text) => text.replaceAll('|', '\\|').replaceAll('\n', ' ');

/**
 * A section for a map and those below it: a row a key.
 * @param {string} path
 * @param {Schema} schema
 * @param {string[]} out
 */
function section(path, schema, out) {
  out.push('', `### ${path === '' ? 'The file' : `\`${path}\``}`, '');
  if (path !== '' && schema.description !== undefined) out.push(schema.description, '');
  out.push('| key | value | |', '|---|---|---|');
  /** @type {[string, Schema][]} */
  const below = [];
  for (const [key, value] of Object.entries(schema.properties ?? {})) {
    const required = schema.required?.includes(key) === true ? 'required. ' : '';
    out.push(`| \`${key}\` | ${cell(typeOf(value))} | ${cell(`${required}${value.description ?? ''}`)} |`);
    const inner = path === '' ? key : `${path}.${key}`;
    const { items, additionalProperties: named } = value;
    if (isMap(value) && value.properties !== undefined) below.push([inner, value]);
    else if (isMap(value) && typeof named === 'object') below.push([`${inner}.NAME`, named]);
    else if (items !== undefined && 'type' in items && isMap(items)) below.push([`${inner}[]`, items]);
  }
  for (const [inner, value] of below) section(inner, value, out);
}

async function specReference() {
  const { specJsonSchema, policyJsonSchema } = await fromDist('spec/schema.js');
  /** @type {Schema} */
  const spec = await specJsonSchema();
  /** @type {Schema} */
  const policy = await policyJsonSchema();
  const out = ['# Files', '', MADE_BY, ''];
  out.push(
    'YAML 1.2 or JSON, read strictly: an unknown key, a duplicate key or a wrong type is refused with line and column. An',
    'editor that knows JSON Schema completes and checks a file that begins with',
    '`# yaml-language-server: $schema=…/dist/schema.json`; `vpcctl schema` prints the schema.',
    '',
    'Names have 1 to 63 lower-case letters, digits and inner hyphens. Addresses and blocks are IPv4, as text.',
    '',
    '## A network: `plan`, `apply`, `destroy`, `export`, `import`',
  );
  section('', spec, out);
  const one = policy.properties === undefined ? (policy.anyOf ?? policy.oneOf ?? []).find(isMap) : policy;
  if (one === undefined) throw new Error('the schema of policy files holds no map');
  out.push('', '## A policy: `apply-policy`', '', 'One of these, or a list of them.');
  section('', one, out);
  return `${out.join('\n')}\n`;
}

// --- a picture ---------------------------------------------------------------------------------------------------------

/** What `vpcctl show --svg` draws of an example, without a kernel. */
async function picture() {
  const { open, MemoryKernel, parseSpec } = await fromDist('index.js');
  const { topologySvg } = await fromDist('cli/topology-svg.js');
  const state = mkdtempSync(join(tmpdir(), 'vpcctl-docs-'));
  const vpcctl = await open({ state, kernel: new MemoryKernel() });
  try {
    const file = join(root, 'examples', 'nat.yaml');
    const { spec } = await parseSpec(readFileSync(file, 'utf8'), { file });
    await vpcctl.apply(spec);
    return topologySvg(vpcctl.list());
  } finally {
    await vpcctl.close();
    rmSync(state, { recursive: true });
  }
}

// --- the two ways to run -----------------------------------------------------------------------------------------------

const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
try {
  for (const [file, text] of /** @type {const} */ ([
    ['docs/cli.md', await cliReference()],
    ['docs/spec.md', await specReference()],
    ['docs/example.svg', await picture()],
  ])) {
    const path = join(root, file);
    if (!values.check) {
      writeFileSync(path, text);
      console.log(`docs: wrote ${file}`);
    } else if (!existsSync(path) || readFileSync(path, 'utf8') !== text) {
      console.error(`docs: ${file} is stale; run: node scripts/docs.mjs`);
      process.exitCode = 1;
    }
  }
} catch (error) {
  console.error(`docs: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
