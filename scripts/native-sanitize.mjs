// @ts-check
/**
 * The addon under sanitizers, by the developer's build (native/CMakeLists.txt, cmake-js, clang; nothing is downloaded):
 *
 *   node scripts/native-sanitize.mjs [--fuzz SECONDS]
 *
 *   1. native_test, which makes system calls fail, under Address- and UndefinedBehaviorSanitizer, then ThreadSanitizer
 *   2. fuzz_msg for some seconds (default 5), from dumps recorded from a kernel; its corpus is kept in build/sanitize/corpus
 *   3. test/native, Node with the instrumented addon
 *
 * Everything but the fuzzer runs in a private host. Exit status 0: no failure and no report.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { runInPrivateHost } from './private-host.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const cmakeJs = join(root, 'node_modules', 'cmake-js', 'bin', 'cmake-js');
const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
/** node-gyp-build looks for build/Release below the folder that VPCCTL_PREBUILD names. */
const instrumented = join(root, 'build', 'sanitize');

/** @param {string} message @returns {never} */
function fail(message) {
  console.error(`native-sanitize: ${message}`);
  process.exit(1);
}

/** @param {string} title @param {number | null} status */
function mustBeZero(title, status) {
  if (status !== 0) fail(`${title} failed (exit status ${status})`);
  console.log(`native-sanitize: ${title}: ok`);
}

/**
 * Builds with clang into `out` and returns the folder of the results.
 * @param {string} out
 * @param {readonly string[]} args
 */
function build(out, ...args) {
  const argv = ['build', '-d', join(root, 'native'), '-O', join(out, 'build'), '--cc', 'clang', '--cxx', 'clang++'];
  const done = spawnSync(process.execPath, [cmakeJs, ...argv, ...args], { cwd: root, encoding: 'utf8' });
  if (done.status !== 0) fail(`cmake-js failed:\n${done.stdout}\n${done.stderr}`);
  return join(out, 'build', 'Release');
}

/** The run-time library that must be in the process before any code that is instrumented. */
function sanitizerRuntime() {
  const name = `libclang_rt.asan-${process.arch === 'x64' ? 'x86_64' : 'aarch64'}.so`;
  const found = spawnSync('clang', [`-print-file-name=${name}`], { encoding: 'utf8' }).stdout?.trim() ?? '';
  if (!existsSync(found)) fail(`clang's run-time library ${name} is missing (Debian: libclang-rt-14-dev)`);
  return found;
}

const { values } = parseArgs({ options: { fuzz: { type: 'string', default: '5' } } });
const seconds = Number(values.fuzz);
if (!Number.isInteger(seconds) || seconds < 0) fail('--fuzz takes a number of seconds');

const runtime = sanitizerRuntime();
const options = {
  // Node itself is not instrumented and leaves what it owns to the end of the process.
  ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=0:detect_stack_use_after_return=1',
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
  TSAN_OPTIONS: 'halt_on_error=1',
};
const env = { ...process.env, ...options };

const built = build(instrumented, '--CDSANITIZE=address,undefined', '--CDFUZZ=ON');
const threaded = build(join(root, 'build', 'sanitize-thread'), '--CDSANITIZE=thread', '-T', 'native_test');
const libraries = `LD_LIBRARY_PATH=${dirname(runtime)}`;
for (const [title, folder, leaks] of /** @type {const} */ ([
  ['native_test (address, undefined)', built, '1'],
  ['native_test (thread)', threaded, '0'],
])) {
  const argv = ['env', libraries, join(folder, 'native_test'), '/run/netns'];
  const asan = `detect_leaks=${leaks}:detect_stack_use_after_return=1`;
  mustBeZero(title, await runInPrivateHost(argv, { ...env, ASAN_OPTIONS: asan }));
}

/**
 * Dumps recorded from a kernel, as the fuzzer takes them: one byte that says how many messages are expected, then the messages.
 * @param {string} folder
 */
function writeSeeds(folder) {
  const fixtures = join(root, 'test', 'unit', 'netlink', 'fixtures');
  mkdirSync(folder, { recursive: true });
  for (const name of readdirSync(fixtures)) {
    const dump = Buffer.from(readFileSync(join(fixtures, name), 'latin1'), 'base64');
    for (const first of [0, 1, 3]) {
      writeFileSync(join(folder, `${name}-${first}`), Buffer.concat([Buffer.of((1 << 4) | first), dump]));
    }
  }
}

if (seconds > 0) {
  const corpus = join(instrumented, 'corpus');
  const seeds = join(instrumented, 'seeds');
  mkdirSync(corpus, { recursive: true });
  writeSeeds(seeds);
  const argv = [`-max_total_time=${seconds}`, '-max_len=8192', '-print_final_stats=1', '-verbosity=0'];
  argv.push(`-artifact_prefix=${instrumented}/`, corpus, seeds);
  mustBeZero(`fuzz_msg (${seconds} s)`, spawnSync(join(built, 'fuzz_msg'), argv, { stdio: 'inherit', env }).status);
}

process.env.VPCCTL_PREBUILD = instrumented;
const addon = createRequire(import.meta.url)('node-gyp-build').path(root);
if (addon !== join(built, 'vpcctl.node')) fail(`node-gyp-build finds ${addon}, not the instrumented addon`);
mustBeZero(
  'test/native (address, undefined)',
  await runInPrivateHost(
    ['env', libraries, `LD_PRELOAD=${runtime}`, process.execPath, vitest, 'run', '--root', root, '--project', 'native'],
    { ...env, VPCCTL_PREBUILD: instrumented },
  ),
);
