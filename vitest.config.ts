import { defineConfig, type TestProjectInlineConfiguration } from 'vitest/config';

/** A project whose tests change a kernel: one process at a time, and only in a private host (scripts/private-host.mjs). */
function privateHostProject(name: string): TestProjectInlineConfiguration {
  return {
    test: {
      name,
      include: [`test/${name}/**/*.test.ts`],
      pool: 'forks',
      maxWorkers: 1,
      fileParallelism: false,
      testTimeout: 60_000,
      hookTimeout: 60_000,
      globalSetup: ['test/harness/global-setup.ts'],
      setupFiles: ['test/harness/leftovers.ts'],
    },
  };
}

export default defineConfig({
  test: {
    projects: [
      // Property tests run for seconds on a busy machine.
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'], pool: 'forks', testTimeout: 30_000 } },
      privateHostProject('native'),
      privateHostProject('kernel'),
      privateHostProject('e2e'),
    ],
  },
});
