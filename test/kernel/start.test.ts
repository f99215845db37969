/** What V8 compiled of the command, kept beside it: used where it can be believed, made again where not, and never in the way. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
const SOMEBODY = 12345;

let dir: string;
let cli: string;
let kept: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'vpcctl-start-'));
  cli = join(dir, 'dist', 'cli');
  mkdirSync(cli, { recursive: true });
  copyFileSync(join(root, 'package.json'), join(dir, 'package.json'));
  for (const file of ['main.cjs', 'bundle.cjs']) copyFileSync(join(root, 'dist', 'cli', file), join(cli, file));
  kept = join(cli, 'cache', `help.bundle-${process.version}-${process.arch}`);
});

afterEach(() => rmSync(dir, { recursive: true, force: true }));

function start(argv: readonly string[] = ['--version'], env: Readonly<Record<string, string>> = {}) {
  const { NODE_OPTIONS: _, ...own } = process.env;
  return spawnSync(process.execPath, [join(cli, 'main.cjs'), ...argv], { encoding: 'utf8', env: { ...own, ...env } });
}

function startOk(): void {
  expect(start()).toMatchObject({ status: 0, stdout: `${version}\n`, stderr: '' });
}

/** Whether the next start, which succeeds, leaves the file as it is: it believed it. */
function isBelieved(): boolean {
  const { ino, mtimeNs } = statSync(kept, { bigint: true });
  startOk();
  const now = statSync(kept, { bigint: true });
  return now.ino === ino && now.mtimeNs === mtimeNs;
}

test('is written by the first start that succeeds, and used by the next', () => {
  expect(start(['no-such-command']).status).toBe(2);
  expect(readdirSync(cli)).not.toContain('cache');
  startOk();
  expect(statSync(kept).mode & 0o777).toBe(0o644);
  expect(isBelieved()).toBe(true);
  expect(readdirSync(join(cli, 'cache'))).toHaveLength(1);
});

test.each([
  ['somebody else wrote it', () => chownSync(kept, SOMEBODY, SOMEBODY)],
  ['others may write it', () => chmodSync(kept, 0o666)],
  ['it has another name, too', () => linkSync(kept, join(dir, 'link'))],
  ['it is of another build', () => utimesSync(join(cli, 'bundle.cjs'), 1, 1)],
  ['it is cut off', () => truncateSync(kept, 1000)],
  ['it is empty', () => truncateSync(kept, 0)],
  ['it is no file of ours', () => writeFileSync(kept, 'x'.repeat(10_000))],
])('is not believed when %s', (_, spoil) => {
  startOk();
  expect(isBelieved()).toBe(true);
  spoil();
  expect(isBelieved()).toBe(false);
  expect(isBelieved()).toBe(true);
});

test('is not looked for behind a symbolic link', () => {
  startOk();
  const elsewhere = join(dir, 'elsewhere');
  copyFileSync(kept, elsewhere);
  rmSync(kept);
  symlinkSync(elsewhere, kept);
  const { ino } = statSync(elsewhere);
  startOk();
  expect(statSync(kept).ino).not.toBe(ino);
});

test('is not written where it cannot be, for another user, with other flags or when it is not wanted', () => {
  writeFileSync(join(cli, 'cache'), 'in the way');
  startOk();
  expect(start(['--version'], { VPCCTL_DEBUG: '1' }).stderr).toContain('is not written');
  rmSync(join(cli, 'cache'));
  expect(start(['--version'], { NODE_DISABLE_COMPILE_CACHE: '1' }).status).toBe(0);
  expect(start(['--version'], { NODE_OPTIONS: '--max-old-space-size=200' }).status).toBe(0);
  expect(readdirSync(cli)).not.toContain('cache');
});

test('stays whole while many start at once', async () => {
  const script = 'for i in 1 2 3 4 5 6; do "$0" "$1" --version & done; wait';
  const said = execFileSync('sh', ['-c', script, process.execPath, join(cli, 'main.cjs')], { encoding: 'utf8' });
  expect(said).toBe(`${version}\n`.repeat(6));
  expect(isBelieved()).toBe(true);
  expect(readdirSync(join(cli, 'cache'))).toHaveLength(1);
});
