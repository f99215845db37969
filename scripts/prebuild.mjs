// @ts-check
/**
 * Builds what the package ships for this machine's architecture: prebuilds/linux-<arch>/ with the addon (one for all
 * versions of Node, by Node-API), the launcher, the client and the prober, all stripped. Needs a build of the library.
 *
 *   node scripts/prebuild.mjs
 *
 * prebuildify rebuilds from scratch and moves the addon out of build/Release, so it works in a copy: the
 * developer's own build stays.
 */
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);

/**
 * @param {string} program
 * @param {readonly string[]} args
 * @param {import('node:child_process').SpawnSyncOptions} [options]
 */
function must(program, args, options = {}) {
  const done = spawnSync(program, args, { stdio: 'inherit', ...options });
  if (done.error !== undefined) throw done.error;
  if (done.status !== 0) throw new Error(`${program} ${args.join(' ')} ended with ${done.status ?? done.signal}`);
}

if (process.platform !== 'linux') throw new Error('prebuilds are for Linux, made on Linux');
const stage = join(root, 'build', 'prebuild');
const folder = join(root, 'prebuilds', `linux-${process.arch}`);
rmSync(stage, { recursive: true, force: true });
rmSync(folder, { recursive: true, force: true });
mkdirSync(stage, { recursive: true });
mkdirSync(folder, { recursive: true });
for (const name of ['binding.gyp', 'native', 'package.json', 'node_modules'])
  symlinkSync(join(root, name), join(stage, name));

// npm passes its setting `nodedir` on; without npm, headers installed beside this very Node spare a download.
function nodedir() {
  const prefix = join(dirname(process.execPath), '..');
  const header = join(prefix, 'include', 'node', 'node_version.h');
  if (!existsSync(header)) return {};
  const text = readFileSync(header, 'utf8');
  const part = (/** @type {string} */ name) => text.match(new RegExp(`#define NODE_${name}_VERSION (\\d+)`))?.[1];
  const version = ['MAJOR', 'MINOR', 'PATCH'].map(part).join('.');
  return version === process.versions.node ? { npm_config_nodedir: prefix } : {};
}

// The C library is in the file's name: node-gyp-build gives a musl system no addon that was linked with glibc.
const prebuildify = join(root, 'node_modules', 'prebuildify', 'bin.js');
const target = process.versions.node;
must(
  process.execPath,
  [prebuildify, '--napi', '--strip', '--tag-libc', '--target', target, '--cwd', stage, '--out', root],
  { cwd: stage, env: { ...nodedir(), ...process.env } },
);
const [launcher, client, prober] = ['vpcctl-launch', 'vpcctl-client', 'vpcctl-probe'].map((name) => {
  const program = join(folder, name);
  copyFileSync(join(stage, 'build', 'Release', name), program);
  must('strip', ['--strip-all', program]);
  chmodSync(program, 0o755);
  return program;
});
rmSync(stage, { recursive: true });

// It must load by the way that users take, and the programs must start.
const [loader, dir, built] = [require.resolve('node-gyp-build'), root, folder].map((path) => JSON.stringify(path));
const check = `const addon = require(${loader}).path(${dir});
  if (!addon.startsWith(${built}) || require(addon).errnoName(17) !== 'EEXIST') throw new Error(addon);`;
must(process.execPath, ['-e', check], { env: { ...process.env, PREBUILDS_ONLY: '1' } });
must(String(launcher), ['', '--', 'true']);
must(String(client), ['--version']);
// Whatever it is allowed to do here, it ends with its standard input, or says what it is not.
if (![0, 125].includes(spawnSync(String(prober), { input: '' }).status ?? -1))
  throw new Error(`${prober} does not start`);
for (const name of readdirSync(folder).sort()) console.log(join('prebuilds', `linux-${process.arch}`, name));
