/** The command as it is installed: what package.json's `bin` names. */
import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('../../', import.meta.url);

export function commandPath() {
  const { bin } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8'));
  return fileURLToPath(new URL(bin.vpcctl, root));
}

/** Why the command cannot be run, or undefined. */
export function missingCommand() {
  return existsSync(commandPath()) ? undefined : `${commandPath()} is missing: run \`npm run build\``;
}

/** The command line: by Node where the file is JavaScript, as npm's link does; else the program itself. */
export function command(...args) {
  const path = commandPath();
  return [...(/\.[cm]?js$/.test(path) ? [process.execPath] : []), path, ...args];
}
