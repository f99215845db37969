// @ts-check
/**
 * Is what we publish what a user can install? Packs, then installs the tarball into an empty folder on a machine without a
 * compiler (a PATH that lacks one), imports the library, runs the command, compiles a consumer, and asks publint and attw.
 *
 *   node scripts/pack-test.mjs
 *
 * The prebuilt binary of better-sqlite3 comes from this checkout instead of its download server, through the door that
 * prebuild-install has for that: the rest of the path is the user's.
 */
import { spawn, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const bin = join(root, 'node_modules', '.bin');
const temp = mkdtempSync(join(tmpdir(), 'vpcctl-pack-'));
const { name, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const ours = `linux-${process.arch}`;

/** Anything that could compile, and what node-gyp would look for. */
const COMPILER =
  /^(g\+\+|gcc|cc|c\+\+|c89|c99|cpp|clang|make|gmake|ninja|cmake|python|ld|as|lld|.*-(g\+\+|gcc|cpp|ld|as)(-|$))/;

let passed = 0;
let failed = 0;

/**
 * @param {string} title
 * @param {() => void} body throws when the check fails
 * @returns {boolean}
 */
function check(title, body) {
  try {
    body();
    passed += 1;
    console.log(`ok      ${title}`);
    return true;
  } catch (error) {
    failed += 1;
    console.log(
      `FAILED  ${title}\n        ${(error instanceof Error ? error.message : String(error)).replaceAll('\n', '\n        ')}`,
    );
    return false;
  }
}

/**
 * @param {readonly string[]} argv
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv }} [options]
 * @returns {string} stdout
 */
function run(argv, { cwd = root, env = process.env } = {}) {
  const [program = '', ...args] = argv;
  const done = spawnSync(program, args, {
    cwd,
    env,
    encoding: 'utf8',
    maxBuffer: 1 << 26,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  if (done.error !== undefined) throw done.error;
  if (done.status !== 0)
    throw new Error(`${argv.join(' ')} exited ${done.status ?? done.signal}\n${done.stdout}${done.stderr}`);
  return done.stdout;
}

/** @param {boolean} condition @param {string} message */
function demand(condition, message) {
  if (!condition) throw new Error(message);
}

/** @param {() => boolean} condition */
function waitFor(condition) {
  for (const end = Date.now() + 20_000; !condition() && Date.now() < end; ) spawnSync('sleep', ['0.1']);
}

/** @returns {string} a folder with a link to every program in PATH but the compilers */
function pathWithoutCompiler() {
  const dir = join(temp, 'bin');
  mkdirSync(dir);
  const dirs = [dirname(process.execPath), ...(process.env.PATH ?? '').split(':'), '/usr/sbin', '/sbin'];
  for (const from of dirs) {
    if (from === '' || !existsSync(from)) continue;
    for (const program of readdirSync(from)) {
      if (!COMPILER.test(program) && !existsSync(join(dir, program))) {
        try {
          symlinkSync(join(from, program), join(dir, program));
        } catch {
          // A dangling link of the same name.
        }
      }
    }
  }
  return dir;
}

/** @returns {string} a folder with better-sqlite3's addon, packed and named as prebuild-install asks for it */
function sqlitePrebuild() {
  const require = createRequire(join(root, 'package.json'));
  const dir = dirname(require.resolve('better-sqlite3/package.json'));
  const { version: sqlite } = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8'));
  const to = join(temp, 'prebuilds');
  mkdirSync(to);
  const file = `better-sqlite3-v${sqlite}-node-v${process.versions.modules}-${process.platform}-${process.arch}.tar.gz`;
  run(['tar', '-czf', join(to, file), '-C', dir, 'build/Release/better_sqlite3.node']);
  return to;
}

/** @returns {string | undefined} the tarball's path */
function packed() {
  /** @type {{ filename: string, files: { path: string }[] }[]} */
  let listed = [];
  const made = check('npm pack builds a tarball', () => {
    const said = run(['npm', 'pack', '--json', '--pack-destination', temp]);
    // The build's own output comes first.
    listed = JSON.parse(said.slice(said.search(/^\[$/m)));
  });
  const [tarball] = listed;
  if (!made || tarball === undefined) return undefined;
  const paths = tarball.files.map((file) => file.path);
  check(
    'it holds the library, the command, the schema, the addon, the launcher, the client, the prober and the licence',
    () => {
      const wanted = [
        'dist/index.js',
        'dist/index.d.ts',
        'dist/cli/command.cjs',
        'dist/cli/main.cjs',
        'dist/cli/bundle.cjs',
        'dist/cli/LICENSES.txt',
        'dist/schema.json',
        'binding.gyp',
        'LICENSE',
        'README.md',
      ];
      const missing = wanted.filter((path) => !paths.includes(path));
      if (!paths.some((path) => path.startsWith(`prebuilds/${ours}/`) && path.endsWith('.node')))
        missing.push(`prebuilds/${ours}/*.node`);
      for (const program of ['vpcctl-launch', 'vpcctl-client', 'vpcctl-probe']) {
        if (!paths.includes(`prebuilds/${ours}/${program}`)) missing.push(`prebuilds/${ours}/${program}`);
      }
      demand(missing.length === 0, `missing: ${missing.join(', ')}`);
    },
  );
  check('it holds no tests, tools, sources of the library or files of this machine', () => {
    const strange = paths.filter((path) =>
      /^(src|test|bench|scripts|build|node_modules|\.ci|dist\/cli\/cache)\//.test(path),
    );
    demand(strange.length === 0, `not wanted: ${strange.slice(0, 10).join(', ')}`);
  });
  return join(temp, tarball.filename);
}

/** @param {string} tarball */
function installAndUse(tarball) {
  const folder = join(temp, 'user');
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'user', private: true, type: 'module' }));
  /** @type {NodeJS.ProcessEnv} */
  const env = {
    HOME: process.env.HOME,
    PATH: pathWithoutCompiler(),
    npm_config_better_sqlite3_local_prebuilds: sqlitePrebuild(),
  };
  const inFolder = { cwd: folder, env };
  check('the machine has no compiler', () => {
    for (const program of ['g++', 'cc', 'clang', 'make', 'python3']) {
      const found = spawnSync(program, ['--version'], { env, stdio: 'ignore' });
      demand(found.error !== undefined, `${program} starts`);
    }
  });
  const installed = check('npm install works there', () => {
    run(['npm', 'install', '--no-audit', '--no-fund', '--loglevel=error', tarball], inFolder);
  });
  if (!installed) return;
  check('the library can be imported', () => {
    const said = run(
      [process.execPath, '-e', `import('${name}').then((api) => console.log(Object.keys(api).length))`],
      inFolder,
    );
    demand(Number(said) > 0, 'it exports nothing');
  });
  check('the addon is a prebuild and loads', () => {
    const dir = join(folder, 'node_modules', name);
    demand(!existsSync(join(dir, 'build')), 'something was compiled');
    const code = `console.log(Object.keys(require('node-gyp-build')(${JSON.stringify(dir)})).join())`;
    demand(run([process.execPath, '--input-type=commonjs', '-e', code], inFolder).trim() !== '', 'it exports nothing');
  });
  check('the launcher runs a program', () => {
    const launcher = join(folder, 'node_modules', name, 'prebuilds', ours, 'vpcctl-launch');
    demand(
      run([launcher, '/proc/self/ns/net', '--', 'echo', 'here'], inFolder).trim() === 'here',
      'it printed something else',
    );
  });
  check('the command says its version', () => {
    const said = run([join(folder, 'node_modules', '.bin', 'vpcctl'), '--version'], inFolder).trim();
    demand(said === version, `it said '${said}', package.json says '${version}'`);
  });
  check('the command opens a state, with the addons of the package', () => {
    const said = run(
      [join(folder, 'node_modules', '.bin', 'vpcctl'), 'list', '--state', join(folder, 'state')],
      inFolder,
    );
    demand(said === 'no VPCs\n', `it said '${said}'`);
  });
  check('the command is the native client, and has a daemon answer', () => {
    const command = join(folder, 'node_modules', '.bin', 'vpcctl');
    demand(readFileSync(command).subarray(1, 4).toString() === 'ELF', 'it is a script');
    const state = join(temp, 'state');
    const socket = join(state, 'daemon', 'socket');
    const inState = { cwd: folder, env: { ...env, VPCCTL_STATE: state } };
    const daemon = spawn(command, ['daemon'], { ...inState, stdio: 'ignore' });
    try {
      waitFor(() => existsSync(socket));
      // With a PATH that has no Node, nobody else can.
      const said = run([command, 'list'], { cwd: folder, env: { VPCCTL_STATE: state, PATH: '/nowhere' } });
      demand(said === 'no VPCs\n', `it said '${said}'`);
    } finally {
      daemon.kill();
      waitFor(() => !existsSync(socket));
    }
  });
  check('the JSON Schema can be imported', () => {
    const code = `import schema from '${name}/schema.json' with { type: 'json' }; console.log(typeof schema)`;
    demand(run([process.execPath, '--input-type=module', '-e', code], inFolder).trim() === 'object', 'it is no object');
  });
  check('a strict TypeScript consumer compiles', () => {
    writeFileSync(
      join(folder, 'consumer.ts'),
      `import * as api from '${name}';\nexport const names: readonly string[] = Object.keys(api);\n`,
    );
    const flags = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2022', '--types', 'node'];
    run(
      [
        process.execPath,
        join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
        ...flags,
        '--typeRoots',
        join(root, 'node_modules', '@types'),
        'consumer.ts',
      ],
      { cwd: folder },
    );
  });
}

try {
  const tarball = packed();
  if (tarball !== undefined) {
    installAndUse(tarball);
    check('publint finds nothing', () => void run([join(bin, 'publint'), 'run', '--strict', tarball]));
    check('attw finds nothing', () => void run([join(bin, 'attw'), '--profile', 'esm-only', '--no-emoji', tarball]));
  }
} finally {
  rmSync(temp, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
