import { describe, expect, test } from 'vitest';
import { describeFailure, type FailureContext, UsageError } from '../../../src/cli/failure.js';
import { type ErrorCode, EXIT_CODES, VpcctlError } from '../../../src/index.js';

const context: FailureContext = { debug: false, exitCodes: async () => EXIT_CODES };

describe('a failure', () => {
  test.each([
    ['USAGE', 2],
    ['INVALID', 3],
    ['NOT_FOUND', 4],
    ['CONFLICT', 5],
    ['KERNEL', 6],
    ['ENVIRONMENT', 7],
    ['STATE', 9],
    ['ABORTED', 130],
  ] satisfies [ErrorCode, number][])('%s ends with %i', async (code, exitCode) => {
    expect((await describeFailure(new VpcctlError(code, 'x'), context)).exitCode).toBe(exitCode);
  });

  test.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ])('%s decides how an aborted command ends', async (signal, exitCode) => {
    expect((await describeFailure(new VpcctlError('ABORTED', 'x'), { ...context, signal })).exitCode).toBe(exitCode);
    // What failed by itself is not the signal's doing.
    expect((await describeFailure(new VpcctlError('KERNEL', 'x'), { ...context, signal })).exitCode).toBe(6);
  });

  test("is one line with the kernel's words and the hint", async () => {
    const error = new VpcctlError('KERNEL', 'cannot add route', {
      errno: 'EINVAL',
      extack: 'Nexthop has\n invalid gateway',
      hint: 'see doctor',
      file: 'a.yaml',
      line: 3,
      column: 7,
      cause: new Error('inner'),
    });
    expect(await describeFailure(error, context)).toEqual({
      exitCode: 6,
      lines: ['vpcctl: a.yaml:3:7: cannot add route (EINVAL, Nexthop has invalid gateway); see doctor'],
      error: {
        code: 'KERNEL',
        message: 'cannot add route',
        errno: 'EINVAL',
        extack: 'Nexthop has\n invalid gateway',
        hint: 'see doctor',
        file: 'a.yaml',
        line: 3,
        column: 7,
      },
    });
  });

  test('of a file with several problems has a line for each', async () => {
    const problems = [
      { message: 'one', line: 1, column: 2 },
      { message: 'two', line: 3, column: 4 },
    ];
    const error = new VpcctlError('INVALID', 'one', { file: 'p.json', line: 1, column: 2, problems });
    const { lines } = await describeFailure(error, context);
    expect(lines).toEqual(['vpcctl: p.json:1:2: one', 'vpcctl: p.json:3:4: two']);
  });

  test('of the command line carries its hint', async () => {
    expect(await describeFailure(new UsageError('no', 'do'), context)).toEqual({
      exitCode: 2,
      lines: ['vpcctl: no; do'],
      error: { code: 'USAGE', message: 'no', hint: 'do' },
    });
  });

  test('that nobody foresaw is a bug, its stack shown on request only', async () => {
    const bug = new TypeError('x is not a function');
    const quiet = await describeFailure(bug, context);
    expect(quiet.exitCode).toBe(1);
    expect(quiet.lines).toEqual(['vpcctl: x is not a function; this is a bug: run with VPCCTL_DEBUG=1 for the stack']);
    const loud = await describeFailure(bug, { ...context, debug: true });
    expect(loud.lines.length).toBeGreaterThan(2);
    expect(loud.lines.join('\n')).toContain('failure.test.ts');
    expect((await describeFailure('thrown text', context)).lines[0]).toContain('thrown text');
  });
});
