// @ts-check
/**
 * A private host: a network and mount namespace of its own with an empty /run and a loopback that is up, gone with its last
 * process. Nothing done in it reaches the machine.
 *
 *   node scripts/private-host.mjs -- PROGRAM [ARG…]      run a program in one
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const self = fileURLToPath(import.meta.url);

/** Names the namespace we came from: inside a private host, /proc/self/ns/net is another. */
export const MARKER = 'VPCCTL_PRIVATE_HOST';

/** @returns {string[]} the argv that creates the namespaces; as an ordinary user, by way of a user namespace */
function unshareArgv() {
  const root = process.getuid?.() === 0;
  return ['unshare', ...(root ? [] : ['--map-root-user']), '--net', '--mount', '--propagation', 'private', '--'];
}

/**
 * Why no private host can be had here; undefined when one can.
 * @returns {string | undefined}
 */
export function privateHostRefusal() {
  const [program = '', ...args] = unshareArgv();
  const tried = spawnSync(program, [...args, 'mount', '-t', 'tmpfs', 'tmpfs', '/run'], { encoding: 'utf8' });
  if (tried.error !== undefined) return `unshare does not start (${tried.error.message}); install util-linux`;
  if (tried.status === 0) return undefined;
  const said = tried.stderr.trim().split('\n')[0];
  return process.getuid?.() === 0
    ? `this root may not create namespaces: ${said}`
    : `not root, and user namespaces are not allowed: ${said}`;
}

/**
 * Runs a program in a private host and returns its exit status. Interrupts are the program's to handle: they reach it through
 * the terminal, and we wait for it.
 * @param {readonly string[]} argv
 * @param {NodeJS.ProcessEnv} [env]
 * @returns {Promise<number>}
 */
export async function runInPrivateHost(argv, env = process.env) {
  const [program = '', ...args] = unshareArgv();
  const state = mkdtempSync(join(tmpdir(), 'vpcctl-host-'));
  const ignore = () => {};
  process.on('SIGINT', ignore);
  try {
    return await new Promise((resolve, reject) => {
      const child = spawn(program, [...args, process.execPath, self, '--inside', ...argv], {
        stdio: 'inherit',
        env: { ...env, [MARKER]: readlinkSync('/proc/self/ns/net'), VPCCTL_STATE: join(state, 'state') },
      });
      child.on('error', reject);
      child.on('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 1)));
    });
  } finally {
    process.off('SIGINT', ignore);
    rmSync(state, { recursive: true, force: true });
  }
}

/** @param {readonly string[]} argv */
async function inside(argv) {
  if (process.env[MARKER] === undefined || process.env[MARKER] === readlinkSync('/proc/self/ns/net')) {
    throw new Error('not in a namespace of our own');
  }
  for (const [program, ...args] of [
    ['mount', '-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', '/run'],
    ['ip', 'link', 'set', 'lo', 'up'],
  ]) {
    const done = spawnSync(String(program), args, { encoding: 'utf8' });
    if (done.status !== 0)
      throw new Error(`${program} ${args.join(' ')}: ${done.error?.message ?? done.stderr.trim()}`);
  }
  mkdirSync('/run/netns', { recursive: true });
  // What is written below /etc goes with the private host, where the kernel has overlays.
  for (const folder of ['upper', 'work']) mkdirSync(`/run/etc/${folder}`, { recursive: true });
  spawnSync('mount', [
    '-t',
    'overlay',
    '-o',
    'lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work',
    'overlay',
    '/etc',
  ]);
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { stdio: 'inherit' });
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => child.kill('SIGTERM'));
  process.exitCode = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', (code, signal) => resolve(code ?? (signal === 'SIGINT' ? 130 : 1)));
  });
}

if (process.argv[1] === self) {
  const [mode, ...argv] = process.argv.slice(2);
  if (mode === '--inside') await inside(argv);
  else if (mode === '--' && argv.length > 0) process.exitCode = await runInPrivateHost(argv);
  else {
    console.error('usage: node scripts/private-host.mjs -- PROGRAM [ARG…]');
    process.exitCode = 2;
  }
}
