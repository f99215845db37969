// @ts-check
/**
 * After tsc: makes of dist/cli/main.js and all that it imports the one file that dist/cli/main.cjs runs, dist/cli/bundle.cjs, and beside it the licences of
 * the packages in it. One file is found, read and compiled faster than two hundred. What few commands need is in files of its own.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { rolldown } from 'rolldown';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const cli = join(root, 'dist', 'cli');
const require = createRequire(import.meta.url);

/** Built into Node, and yet up to 3 ms to load: loaded when something of them is used. */
const LATE = [
  'child_process',
  'crypto',
  'fs/promises',
  'os',
  'stream',
  'stream/promises',
  'string_decoder',
  'timers/promises',
  'tty',
  'v8',
];
const LATE_PREFIX = '\0late:';

/** A module of Node's as one whose members are looked up when they are asked for. @returns {import('rolldown').Plugin} */
function late() {
  return {
    name: 'late',
    resolveId(source) {
      const name = source.replace(/^node:/, '');
      return LATE.includes(name) ? LATE_PREFIX + name : undefined;
    },
    load(id) {
      if (!id.startsWith(LATE_PREFIX)) return undefined;
      const name = id.slice(LATE_PREFIX.length);
      const members = Object.keys(require(`node:${name}`)).filter((key) => key !== 'default');
      const getters = members.map((key) => `get ${key}() { return process.getBuiltinModule('node:${name}').${key}; }`);
      return { code: `module.exports = { ${getters.join(',\n')} };`, moduleType: 'js' };
    },
  };
}

/**
 * better-sqlite3 is asked for through a `require` of the module's own, because there may be none; here there is. Its addon stays where it is.
 * @returns {import('rolldown').Plugin}
 */
function sqlite() {
  return {
    name: 'sqlite',
    transform(code, id) {
      if (id !== join(root, 'dist', 'engine', 'sqlite.js')) return undefined;
      const asked = "require('better-sqlite3')";
      if (!code.includes(asked)) throw new Error(`dist/engine/sqlite.js no longer says ${asked}`);
      return `import * as bundled from 'better-sqlite3';\n${code.replace(asked, 'bundled.default')}`;
    },
  };
}

/** @param {string} code */
function ascii(code) {
  return code.replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** @param {readonly string[]} modules @returns {string} the licences of the packages that these files are of */
function licences(modules) {
  const packages = new Set(
    modules.flatMap((id) => /^.*[/\\]node_modules[/\\](?:@[^/\\]+[/\\])?[^/\\]+/.exec(id)?.[0] ?? []),
  );
  const texts = [...packages].sort().map((dir) => {
    const { name, version, license } = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'));
    const file = readdirSync(dir).find((entry) => /^licen[cs]e/i.test(entry));
    const text = file === undefined ? `${license}\n` : readFileSync(join(dir, file), 'utf8');
    return `--- ${name} ${version}\n\n${text.trim()}\n`;
  });
  return `The .cjs files beside this one hold code of these packages.\n\n${texts.join('\n')}`;
}

const hasSqlite = existsSync(join(root, 'node_modules', 'better-sqlite3'));

/** Packages that few commands need, and large: files of their own. */
const APART = ['execa', 'yaml'];

/** @param {string} input @param {string} name @returns {Promise<string[]>} the modules in it */
async function bundle(input, name) {
  const bundling = await rolldown({
    input,
    platform: 'node',
    external: ['bindings', ...(hasSqlite ? [] : ['better-sqlite3']), ...(APART.includes(input) ? [] : APART)],
    plugins: [late(), ...(hasSqlite ? [sqlite()] : [])],
    onLog(level, log, handle) {
      if (level === 'warn') throw new Error(log.message);
      handle(level, log);
    },
  });
  const { output } = await bundling.generate({
    format: 'cjs',
    codeSplitting: false,
    comments: false,
    dynamicImportInCjs: false,
  });
  await bundling.close();
  const [chunk, ...others] = output;
  if (others.length > 0) throw new Error(`the bundle is more than one file: ${others.map(({ fileName }) => fileName)}`);
  const code = ascii(chunk.code.replace(/^#!.*\n/, ''));
  const hash = createHash('sha256').update(code).digest('hex');
  // main.cjs knows by the first line which build it is.
  const head = `(function (exports, require, module, __filename, __dirname) { // ${hash}`;
  writeFileSync(join(cli, `${name}.cjs`), `${head}\n${code}\n})`);
  console.log(`dist/cli/${name}.cjs: ${chunk.moduleIds.length} modules, ${Math.round(code.length / 1024)} KiB`);
  return chunk.moduleIds;
}

rmSync(join(cli, 'cache'), { recursive: true, force: true });
const modules = await bundle(join(cli, 'main.js'), 'bundle');
for (const name of APART) modules.push(...(await bundle(name, name)));
writeFileSync(join(cli, 'LICENSES.txt'), licences(modules));
