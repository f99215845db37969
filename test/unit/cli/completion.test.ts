import { execFileSync, spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { vpcctl } from './support.js';

async function script(shell: string): Promise<string> {
  const { exitCode, stdout, stderr } = await vpcctl(['completion', shell]);
  expect([exitCode, stderr]).toEqual([0, '']);
  return stdout;
}

/** What bash would offer for the words, the last one being typed; `vpcctl list` answers with `names`, `vpcctl matrix` with some ends. */
function complete(bash: string, words: readonly string[], names = 'alpha beta'): string[] {
  const program = `
vpcctl() {
  case "$*" in
    'list --quiet') printf '%s\\n' ${names} ;;
    'matrix --quiet') printf '%s\\n' a/web a/db internet host ;;
  esac
}
compopt() { :; }
${bash}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vpcctl
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const out = execFileSync('bash', ['-c', program, 'bash', ...words], { encoding: 'utf8', cwd: '/' });
  return out.split('\n').filter((word) => word !== '');
}

describe('in bash', () => {
  test.each([
    [['vpcctl', 'create-v'], ['create-vpc']],
    [['vpcctl', 'unp'], ['unpeer-vpcs']],
    [['vpcctl', '--st'], ['--state']],
    [['vpcctl', '--json', 'dri'], ['drift']],
    [['vpcctl', '--state', '/tmp', 'dri'], ['drift']],
    [['vpcctl', 'create-vpc', '--c'], ['--cidr']],
    [['vpcctl', 'create-vpc', '--j'], ['--json']],
    [
      ['vpcctl', 'add-subnet', '--vpc', ''],
      ['alpha', 'beta'],
    ],
    [['vpcctl', 'peer-vpcs', '--vpc2', 'b'], ['beta']],
    [
      ['vpcctl', 'delete-vpc', '--name', ''],
      ['alpha', 'beta'],
    ],
    [['vpcctl', 'create-vpc', '--name', ''], []],
    [['vpcctl', 'show', 'al'], ['alpha']],
    [
      ['vpcctl', 'analyze', 'a/'],
      ['a/web', 'a/db'],
    ],
    [['vpcctl', 'analyze', 'a/web', 'int'], ['internet']],
    [
      ['vpcctl', 'export', '--format', ''],
      ['yaml', 'json'],
    ],
    [
      ['vpcctl', 'completion', ''],
      ['bash', 'zsh', 'fish'],
    ],
    [['vpcctl', 'apply', '/et'], ['/etc']],
    [['vpcctl', 'help', 'sch'], ['schema']],
    [['vpcctl', 'exec', '--vpc', 'a', '--', 'cr'], []],
  ])('%j offers %j', async (words, offered) => {
    expect(complete(await script('bash'), words)).toEqual(offered);
  });
});

test.each(['bash', 'zsh', 'fish'])('%s knows every command and the options of each', async (shell) => {
  const text = await script(shell);
  const { stdout: help } = await vpcctl(['--help']);
  const commands = [...help.matchAll(/^ {2}([a-z][a-z-]+)(?: [[<]| {2,})/gm)].map(([, name]) => name ?? '');
  expect(commands.length).toBeGreaterThan(25);
  for (const command of commands.filter((name) => name !== 'help')) expect(text).toContain(command);
  expect(text).toContain(shell === 'fish' ? '-l allow-cidrs' : '--allow-cidrs');
});

test.each(['bash', 'zsh', 'fish'])('%s takes its script, where it is installed', async (shell) => {
  if (spawnSync(shell, ['-c', 'true']).error !== undefined) return;
  const { status, stderr } = spawnSync(shell, ['-n'], { input: await script(shell), encoding: 'utf8' });
  expect([status, stderr]).toEqual([0, '']);
});

test('another shell is refused', async () => {
  const { exitCode, stderr } = await vpcctl(['completion', 'tcsh']);
  expect(exitCode).toBe(2);
  expect(stderr).toContain('Allowed choices are bash, zsh, fish');
});
