// @ts-check
/**
 * What a checkout needs before it can be built, tested and run: programs, npm packages, the addon, the library. Does only
 * what is missing, so that it costs little when everything is there.
 *
 *   node scripts/setup.mjs [--test] [--sanitize] [--check]
 *
 * --test adds what only tests use, --sanitize the compiler for the addon's sanitizer builds, --check installs and builds nothing.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const self = fileURLToPath(import.meta.url);
const root = join(dirname(self), '..');

/** @typedef {'run' | 'test' | 'sanitize'} Purpose */

/**
 * A program, the Debian package that brings it, and when it is needed. `present` overrides the search in PATH.
 * @type {readonly { program: string, pkg: string, purpose: Purpose, why: string, present?: () => boolean }[]}
 */
const NEEDS = [
  { program: 'g++', pkg: 'g++', purpose: 'run', why: 'compiles the addon' },
  { program: 'make', pkg: 'make', purpose: 'run', why: 'compiles the addon' },
  { program: 'python3', pkg: 'python3', purpose: 'run', why: 'node-gyp is written in it' },
  { program: 'nft', pkg: 'nftables', purpose: 'run', why: 'firewall transactions' },
  { program: 'ip', pkg: 'iproute2', purpose: 'test', why: 'the witness of the kernel tests' },
  { program: 'unshare', pkg: 'util-linux', purpose: 'test', why: 'private hosts for the kernel tests' },
  { program: 'mount', pkg: 'mount', purpose: 'test', why: 'private hosts for the kernel tests' },
  { program: 'ping', pkg: 'iputils-ping', purpose: 'test', why: 'ICMP probes' },
  { program: 'curl', pkg: 'curl', purpose: 'test', why: 'HTTP as a user sends it' },
  { program: 'conntrack', pkg: 'conntrack', purpose: 'test', why: 'the witness of connection tracking' },
  { program: 'tcpdump', pkg: 'tcpdump', purpose: 'test', why: 'packet captures' },
  { program: 'cmake', pkg: 'cmake', purpose: 'sanitize', why: 'the build of the addon with sanitizers' },
  { program: 'clang++', pkg: 'clang', purpose: 'sanitize', why: 'sanitizer builds of the addon' },
  {
    program: 'libclang_rt.asan',
    pkg: 'libclang-rt-14-dev',
    purpose: 'sanitize',
    why: 'sanitizer run-time libraries',
    present: () => clangRuntime() !== undefined,
  },
];

/** Oldest nft that may do, as `vpcctl doctor` has it; tested with 1.0.6. */
const NFT_MIN = [1, 0, 2];

/**
 * @param {string} program
 * @returns {string | undefined} its path; the administrator's folders are searched too, which an ordinary user's PATH lacks
 */
function which(program) {
  const dirs = [...(process.env.PATH ?? '').split(':'), '/usr/local/sbin', '/usr/sbin', '/sbin'];
  return dirs.map((dir) => join(dir, program)).find((path) => existsSync(path));
}

/** @returns {string | undefined} clang's sanitizer run time for the compiler in PATH */
function clangRuntime() {
  const asked = spawnSync('clang', ['-print-file-name=libclang_rt.asan-x86_64.so'], { encoding: 'utf8' });
  const path = asked.stdout?.trim() ?? '';
  if (path.startsWith('/') && existsSync(path)) return path;
  const generic = spawnSync('clang', ['-print-runtime-dir'], { encoding: 'utf8' }).stdout?.trim() ?? '';
  if (generic === '' || !existsSync(generic)) return undefined;
  return readdirSync(generic).find((name) => name.startsWith('libclang_rt.asan'));
}

/** @returns {string | undefined} what is wrong with the installed nft; undefined when it will do, or is absent */
function nftComplaint() {
  if (which('nft') === undefined) return undefined;
  const said = spawnSync('nft', ['--version'], { encoding: 'utf8' }).stdout ?? '';
  const version = /v(\d+)\.(\d+)\.(\d+)/.exec(said)?.slice(1).map(Number);
  if (version === undefined) return `nft does not tell its version: ${said.trim()}`;
  const min = NFT_MIN.join('.');
  for (const [i, part] of NFT_MIN.entries()) {
    const have = version[i] ?? 0;
    if (have > part) return undefined;
    if (have < part) return `nft ${version.join('.')} is too old; ${min} or newer is needed`;
  }
  return undefined;
}

/**
 * The programs that are missing for these purposes.
 * @param {readonly Purpose[]} purposes
 */
export function missingPrograms(purposes) {
  return NEEDS.filter(
    (need) => purposes.includes(need.purpose) && !(need.present?.() ?? which(need.program) !== undefined),
  );
}

/**
 * Runs a step in the checkout with its output shown; throws when it fails.
 * @param {string} program
 * @param {readonly string[]} args
 * @param {NodeJS.ProcessEnv} [env]
 */
function step(program, args, env = process.env) {
  console.log(`setup: ${program} ${args.join(' ')}`);
  const done = spawnSync(program, args, { cwd: root, stdio: 'inherit', env });
  if (done.error !== undefined) throw done.error;
  if (done.status !== 0) throw new Error(`${program} ${args.join(' ')} exited ${done.status ?? done.signal}`);
}

/**
 * Installs missing programs with apt-get, or throws an error that says the command to run.
 * @param {readonly Purpose[]} purposes
 * @param {boolean} mayInstall
 */
export function ensurePrograms(purposes, mayInstall) {
  const complaint = nftComplaint();
  if (complaint !== undefined) throw new Error(complaint);
  const missing = missingPrograms(purposes);
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((need) => need.pkg))];
  const names = missing.map((need) => `${need.program} (${need.why})`).join(', ');
  const command = `apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  const apt = which('apt-get') !== undefined;
  if (!mayInstall || !apt || process.getuid?.() !== 0) {
    const how = apt ? `run as root: ${command}` : `install what your distribution calls ${packages.join(', ')}`;
    throw new Error(`missing: ${names}\n${how}`);
  }
  console.log(`setup: missing: ${names}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  for (let attempt = 1; ; attempt++) {
    try {
      step('apt-get', ['-q', 'update'], env);
      step('apt-get', ['-q', 'install', '-y', '--no-install-recommends', ...packages], env);
      break;
    } catch (error) {
      if (attempt === 3) throw error;
      console.log(`setup: ${String(error)}; trying again`);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, attempt * 3000);
    }
  }
  const still = missingPrograms(purposes);
  if (still.length > 0)
    throw new Error(`still missing after installing: ${still.map((need) => need.program).join(', ')}`);
}

/**
 * Environment for steps that compile against Node's headers: those beside this Node when it brings them (a system's and
 * npm's `node` package do), so that nothing is downloaded and they are of exactly this version.
 * @returns {NodeJS.ProcessEnv}
 */
export function headersEnv() {
  if (process.env.npm_config_nodedir !== undefined) return process.env;
  for (const prefix of headerPrefixes()) {
    const header = join(prefix, 'include', 'node', 'node_version.h');
    if (!existsSync(header)) continue;
    const text = readFileSync(header, 'utf8');
    const part = (/** @type {string} */ name) => new RegExp(`#define NODE_${name}_VERSION (\\d+)`).exec(text)?.[1];
    if (`${part('MAJOR')}.${part('MINOR')}.${part('PATCH')}` === process.versions.node) {
      return { ...process.env, npm_config_nodedir: prefix };
    }
  }
  return process.env;
}

/** @returns {string[]} where a Node keeps its headers: beside bin/, or in the binary package under npm's `node` */
function headerPrefixes() {
  const prefix = join(dirname(process.execPath), '..');
  return [
    prefix,
    join(prefix, 'node_modules', `node-linux-${process.arch}`),
    join(prefix, '..', `node-linux-${process.arch}`),
  ];
}

/**
 * @param {string} path below the checkout
 * @returns {number} when the newest file in it was changed; 0 when it is not there
 */
function newest(path) {
  const full = join(root, path);
  if (!existsSync(full)) return 0;
  const stat = statSync(full);
  if (!stat.isDirectory()) return stat.mtimeMs;
  let latest = 0;
  for (const entry of readdirSync(full)) latest = Math.max(latest, newest(join(path, entry)));
  return latest;
}

/**
 * @param {string} code of a module, run in a fresh process because an addon cannot be unloaded
 * @returns {boolean} whether it ran to its end
 */
function runs(code) {
  return (
    spawnSync(process.execPath, ['--input-type=commonjs', '-e', code], { cwd: root, stdio: 'ignore' }).status === 0
  );
}

/** @returns {boolean} node_modules is what package-lock.json says, and its own addon loads */
function packagesInstalled() {
  return (
    existsSync(join(root, 'node_modules', '.bin', 'vitest')) &&
    runs("new (require('better-sqlite3'))(':memory:').prepare('select 1').get()")
  );
}

/** @returns {boolean} the addon loads and its launcher is there, neither older than the sources */
function nativeBuilt() {
  const made = [join('build', 'Release'), join('prebuilds', `linux-${process.arch}`)];
  const dir = made.find((path) => newest(join(path, 'vpcctl-launch')) > 0);
  if (dir === undefined || !runs("require('node-gyp-build')(process.cwd())")) return false;
  // make leaves what did not change as it is, so the newer of the two tells when it last ran.
  const addon = readdirSync(join(root, dir)).find((name) => name.endsWith('.node'));
  const last = Math.max(newest(join(dir, 'vpcctl-launch')), addon === undefined ? 0 : newest(join(dir, addon)));
  const sources = readdirSync(join(root, 'native')).filter((name) => /\.(cc|c|h|def|txt|sh)$/.test(name));
  return last >= Math.max(newest('binding.gyp'), ...sources.map((name) => newest(join('native', name))));
}

/** @returns {boolean} dist is complete and newer than its sources */
function libraryBuilt() {
  const schema = newest(join('dist', 'schema.json'));
  return schema > 0 && schema >= Math.max(newest('src'), newest('tsconfig.json'), newest('package.json'));
}

/**
 * Brings the checkout to where everything is built; cheap when it is.
 * @param {{ mayInstall?: boolean, library?: boolean }} [options]
 */
export function ensureBuilt({ mayInstall = true, library = true } = {}) {
  const env = headersEnv();
  if (!packagesInstalled()) {
    if (!mayInstall) throw new Error('npm packages are missing or do not load; run: npm ci');
    if (existsSync(join(root, 'node_modules', '.bin', 'vitest'))) step('npm', ['rebuild', 'better-sqlite3'], env);
    else step('npm', ['ci', '--no-audit', '--no-fund'], env);
  }
  if (!nativeBuilt()) {
    if (!mayInstall) throw new Error('the addon is missing or older than its sources; run: npm run build:native');
    step('npm', ['run', '--silent', 'build:native'], env);
  }
  if (library && !libraryBuilt()) {
    if (!mayInstall) throw new Error('dist is missing or older than its sources; run: npm run build');
    step('npm', ['run', '--silent', 'build'], env);
  }
}

if (process.argv[1] === self) {
  const args = process.argv.slice(2);
  const unknown = args.find((arg) => !['--test', '--sanitize', '--check'].includes(arg));
  if (unknown !== undefined) {
    console.error(`setup: ${unknown} is not known; usage: node scripts/setup.mjs [--test] [--sanitize] [--check]`);
    process.exit(2);
  }
  /** @type {Purpose[]} */
  const purposes = ['run'];
  if (args.includes('--test')) purposes.push('test');
  if (args.includes('--sanitize')) purposes.push('sanitize');
  const mayInstall = !args.includes('--check');
  try {
    ensurePrograms(purposes, mayInstall);
    ensureBuilt({ mayInstall });
    console.log('setup: everything is in place');
  } catch (error) {
    console.error(`setup: ${error instanceof Error ? error.message : String(error)}`);
    process.exit(1);
  }
}
