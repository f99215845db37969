/** Programs in examples/ do what they say. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

test('a library user tests without root', () => {
  const example = fileURLToPath(new URL('../../examples/without-root.test.mjs', import.meta.url));
  // Of the test runner that runs this one, it is to know nothing.
  const { NODE_TEST_CONTEXT: _, ...env } = process.env;
  const done = spawnSync(process.execPath, ['--test', example], { encoding: 'utf8', env });
  expect(done.stdout).toMatch(/pass 3\b/);
  expect(done.status).toBe(0);
});
