// @ts-check
/**
 * Makes the native client the command `vpcctl`: it takes the place of the file that package.json calls so. npm runs this after it has installed the
 * package (postinstall). What is there before, and stays where the client cannot be had, starts Node at once and does the same, slower.
 *
 * Not for other package managers, some of which start a command by `node FILE`; nor in a checkout.
 */
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const { bin, version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** @returns {string | undefined} why the client does not run here */
function failureOf(/** @type {string} */ client) {
  // No daemon has its socket there.
  const env = { ...process.env, VPCCTL_STATE: '/dev/null' };
  const done = spawnSync(client, ['--version'], { encoding: 'utf8', env });
  if (done.error !== undefined) return done.error.message;
  return done.stdout.trim() === version ? undefined : `it says ${JSON.stringify(done.stdout + done.stderr)}`;
}

function install() {
  // As node-gyp-build looks for the addon.
  const client = [join('build', 'Release'), join('prebuilds', `linux-${process.arch}`)]
    .map((folder) => join(root, folder, 'vpcctl-client'))
    .find((path) => existsSync(path));
  const failure = client === undefined ? 'there is none for this machine' : failureOf(client);
  if (client === undefined || failure !== undefined) {
    console.warn(`vpcctl: the native client is not used: ${failure}. The command starts Node each time.`);
    return;
  }
  const command = join(root, bin.vpcctl);
  const copy = `${command}.new`;
  try {
    copyFileSync(client, copy);
    chmodSync(copy, 0o755);
    renameSync(copy, command);
  } catch (error) {
    rmSync(copy, { force: true });
    console.warn(`vpcctl: the native client is not used: ${error}. The command starts Node each time.`);
  }
}

const byNpm = (process.env.npm_config_user_agent ?? '').startsWith('npm/');
if (byNpm && basename(dirname(root)) === 'node_modules') install();
