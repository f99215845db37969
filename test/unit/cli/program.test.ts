import { expect, test } from 'vitest';
import type { Library } from '../../../src/cli/host.js';
import { buildProgram } from '../../../src/cli/program.js';
import { Session } from '../../../src/cli/session.js';
import { vpcctl } from './support.js';

function built(only?: string) {
  return buildProgram(new Session({ stdout: { writable: true, write: () => {} } } as never), () => {}, only);
}

const all = built().commands.filter((command) => command.name() !== 'help');

test.each(all.map((command) => [command.name(), command] as const))(
  '%s is the same alone as among all',
  (name, among) => {
    const program = built(name);
    const alone = program.commands.find((command) => command.name() === name);
    expect(alone?.helpInformation()).toBe(among.helpInformation());
    // What looks at all commands needs them all.
    if (name !== 'completion') expect(program.commands.length).toBeLessThan(all.length / 2);
  },
);

test.each([
  ['list', '--state', 'x'],
  ['--json', 'list'],
  ['--state', 'show', 'list'],
  ['--state=show', 'list'],
])('%s %s %s: the command is found', async (...argv) => {
  const library = { list: () => ({ vpcs: [], peerings: [] }) } as unknown as Partial<Library>;
  expect(
    (
      await vpcctl(
        argv.filter((word) => word !== undefined),
        { library },
      )
    ).exitCode,
  ).toBe(0);
});

test.each([undefined, 'help', 'no-such-command', '--json'])('%s: all commands are there', (word) => {
  expect(built(word).commands.length).toBeGreaterThanOrEqual(all.length);
});
