// @ts-check
/**
 * `npm test [-- PROJECT… [VITEST-ARG…]]`: everything, or some of the projects unit, native, kernel and e2e.
 *
 *   npm test                       all of them
 *   npm test -- unit               one
 *   npm test -- e2e -t peering     one, with arguments for vitest
 *
 * Sets up what is missing first. All but unit run in a private host, and the machine must look the same afterwards: that is
 * compared here, outside of it. The last line is `N passed, N failed, N skipped`. `--no-setup` installs and builds nothing.
 */

import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { diffHostStates, readHostState } from '../test/harness/host-state.mjs';
import { privateHostRefusal, runInPrivateHost } from './private-host.mjs';
import { ensureBuilt, ensurePrograms } from './setup.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
const PROJECTS = ['unit', 'native', 'kernel', 'e2e'];
/** Marks every process of this run, by its environment. */
const RUN_MARKER = 'VPCCTL_TEST_RUN';

/** @typedef {{ passed: number, failed: number, skipped: number, notes: string[] }} Count */

/**
 * @param {readonly string[]} args
 * @returns {{ projects: string[], rest: string[], setup: boolean }}
 */
function parse(args) {
  const projects = [];
  let i = 0;
  for (; i < args.length && PROJECTS.includes(String(args[i])); i++) projects.push(String(args[i]));
  const rest = args.slice(i).filter((arg) => arg !== '--no-setup');
  const chosen = projects.length === 0 ? PROJECTS : PROJECTS.filter((project) => projects.includes(project));
  return { projects: chosen, rest, setup: !args.includes('--no-setup') };
}

/**
 * @param {string} project
 * @returns {boolean} whether it has a test file
 */
function hasTests(project) {
  const dir = join(root, 'test', project);
  return existsSync(dir) && readdirSync(dir, { recursive: true }).some((name) => String(name).endsWith('.test.ts'));
}

/**
 * @param {readonly string[]} argv
 * @param {NodeJS.ProcessEnv} env
 * @returns {Promise<number>}
 */
function run(argv, env) {
  const [program = '', ...args] = argv;
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: 'inherit', env });
    child.on('error', reject);
    child.on('exit', (code) => resolve(code ?? 1));
  });
}

/**
 * Counts a project's run from vitest's JSON report. A run that failed without a failed test (a file that does not load, an
 * error outside of any test, a crash) counts as one failure, so that the sum can never look better than the exit code.
 * @param {string} file
 * @param {number} status
 * @param {string} project
 * @returns {Count}
 */
function count(file, status, project) {
  /** @type {Count} */
  const sum = { passed: 0, failed: 0, skipped: 0, notes: [] };
  if (existsSync(file)) {
    const report = JSON.parse(readFileSync(file, 'utf8'));
    sum.passed = report.numPassedTests;
    sum.failed = report.numFailedTests;
    sum.skipped = report.numPendingTests + report.numTodoTests;
    for (const { name, status: outcome, assertionResults } of report.testResults) {
      if (
        outcome !== 'failed' ||
        assertionResults.some((/** @type {{ status: string }} */ test) => test.status === 'failed')
      )
        continue;
      sum.failed += 1;
      sum.notes.push(`${project}: ${relative(root, name)} failed outside of its tests`);
    }
    if (report.numTotalTests === 0 && status === 0) sum.notes.push(`${project}: no test matched`);
  } else {
    sum.notes.push(`${project}: vitest wrote no report (exit status ${status})`);
  }
  if (status !== 0 && sum.failed === 0) {
    sum.failed = 1;
    sum.notes.push(`${project}: vitest failed outside of any test (exit status ${status})`);
  }
  return sum;
}

/**
 * How many tests a project would have run, for a run that cannot be. Read from the sources without running them, so a table of
 * cases counts as one.
 * @param {string} project
 * @param {string} dir
 * @returns {Promise<number>}
 */
async function countUnrun(project, dir) {
  const file = join(dir, `list-${project}.json`);
  await run([process.execPath, vitest, 'list', '--project', project, '--static-parse', `--json=${file}`], process.env);
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).length : 1;
}

/**
 * @param {string} id
 * @returns {string[]} living processes that this run started, directly or not
 */
function processesOfRun(id) {
  const found = [];
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`${RUN_MARKER}=${id}\0`)) continue;
      const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').join(' ').trim();
      if (argv !== '') found.push(`${pid} ${argv}`);
    } catch {
      // It ended, or is not ours to look at.
    }
  }
  return found;
}

/**
 * @returns {string[]} living processes named after us that belong to no test run that says so
 */
function processesNamedAfterUs() {
  const found = [];
  for (const pid of readdirSync('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const name = readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
      if (!name.startsWith('vpcctl')) continue;
      if (readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`${RUN_MARKER}=`)) continue;
      found.push(`${pid} ${name}`);
    } catch {
      // As above.
    }
  }
  return found;
}

async function main() {
  const { projects, rest, setup } = parse(process.argv.slice(2));
  const kernelish = projects.filter((project) => project !== 'unit');
  if (setup) {
    const asRoot = process.getuid?.() === 0;
    ensurePrograms(kernelish.length > 0 ? ['run', 'test'] : ['run'], asRoot);
    ensureBuilt({ library: kernelish.length > 0 });
  }

  const id = randomUUID();
  process.env[RUN_MARKER] = id;
  const reports = mkdtempSync(join(tmpdir(), 'vpcctl-test-'));
  /** @type {Count} */
  const total = { passed: 0, failed: 0, skipped: 0, notes: [] };
  const add = (/** @type {Count} */ part) => {
    total.passed += part.passed;
    total.failed += part.failed;
    total.skipped += part.skipped;
    total.notes.push(...part.notes);
  };
  try {
    // Unit tests touch neither, and may run beside others that do.
    const before = kernelish.length > 0 ? readHostState() : undefined;
    const named = processesNamedAfterUs();
    const refusal = kernelish.length > 0 ? privateHostRefusal() : undefined;
    for (const project of projects) {
      if (!hasTests(project)) {
        total.notes.push(`${project}: has no test files`);
        continue;
      }
      if (project !== 'unit' && refusal !== undefined) {
        const unrun = await countUnrun(project, reports);
        total.skipped += unrun;
        total.notes.push(`SKIPPED ${project}: all ${unrun} tests, because ${refusal}`);
        continue;
      }
      const report = join(reports, `${project}.json`);
      const argv = [process.execPath, vitest, 'run', '--project', project, '--reporter=default', '--reporter=json'];
      argv.push(`--outputFile.json=${report}`, '--passWithNoTests', ...rest);
      const status = project === 'unit' ? await run(argv, process.env) : await runInPrivateHost(argv);
      add(count(report, status, project));
    }
    const leaks = processesOfRun(id).map((line) => `a process lives on: ${line}`);
    if (before !== undefined) {
      leaks.push(
        ...diffHostStates(before, readHostState()).map((line) => `the machine changed: ${line}`),
        ...processesNamedAfterUs()
          .filter((line) => !named.includes(line))
          .map((line) => `a process lives on: ${line}`),
      );
    }
    if (leaks.length > 0) {
      total.failed += 1;
      total.notes.push(...leaks.map((leak) => `LEAK ${leak}`));
    }
  } finally {
    rmSync(reports, { recursive: true, force: true });
  }
  for (const note of total.notes) console.log(note);
  if (total.passed === 0) console.log('no test passed');
  console.log(`${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
  process.exitCode = total.failed > 0 || total.passed === 0 ? 1 : 0;
}

try {
  await main();
} catch (error) {
  console.error(`test: ${error instanceof Error ? error.message : String(error)}`);
  console.log('0 passed, 1 failed, 0 skipped');
  process.exitCode = 1;
}
