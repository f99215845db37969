/** `drift`, `repair`, `restore`: what the kernel has, and what it should have. */
import type { Command } from 'commander';
import type { RestoreFailure } from '../../index.js';
import { type DryRun, dryRunOption, type Yes, yesOption } from '../options.js';
import { driftText, repairText, restoreText } from '../plan-text.js';
import type { Session } from '../session.js';

/** Exit status: there are differences. */
export const DIFFERENT = 8;

async function drift(session: Session): Promise<void> {
  const library = await session.open();
  const found = await library.drift();
  const hint = library.needsRestore ? ['this machine was started anew: run `vpcctl restore`'] : [];
  session.print({
    json: { clean: found.length === 0, drift: found },
    text: () => [...driftText(found, session.colors), ...(found.length === 0 ? [] : hint)],
  });
  if (found.length > 0) session.exitCode = DIFFERENT;
}

async function repair(session: Session, { vpc, dryRun = false, yes }: DryRun & Yes & { vpc?: string }): Promise<void> {
  const library = await session.open();
  const of = vpc === undefined ? {} : { vpc };
  const planned = await library.repair({ ...of, dryRun: true });
  if (!dryRun && planned.repaired.length > 0) {
    const lines = repairText(planned, 'to', session.colors);
    if (!(await session.confirm('Put this back?', yes, lines))) return;
  }
  const result = dryRun ? planned : await library.repair({ ...of, signal: session.signal });
  const text = repairText(result, dryRun ? 'to' : 'done', session.colors);
  session.report({
    json: { unchanged: result.repaired.length === 0, dryRun, ...result },
    text: () => (dryRun ? [...text, 'dry run: nothing was changed'] : text),
  });
  if (result.left.some(({ recorded }) => recorded !== undefined)) session.exitCode = DIFFERENT;
}

async function restore(session: Session): Promise<void> {
  const library = await session.open();
  const { restored, failed, kernel } = await library.restore({ signal: session.signal });
  session.report({
    json: {
      unchanged: restored.length === 0,
      restored,
      failed: failed.map(({ what, error }) => ({ what, error: error.toJSON() })),
      kernel,
    },
    text: () => [restoreText({ restored, failed })],
  });
  for (const failure of failed) session.note(failureText(failure));
  const [first] = failed;
  if (first === undefined) return;
  const { EXIT_CODES } = await import('../../index.js');
  session.exitCode = EXIT_CODES[first.error.code];
}

function failureText({ what, error }: RestoreFailure): string {
  return `vpcctl: ${what} is not restored: ${error.toLine()}`;
}

export function addRepairs(program: Command, session: Session): void {
  program
    .command('drift')
    .description(`compare the kernel with what was recorded; exit with ${DIFFERENT} when they differ`)
    .action(async () => drift(session));

  program
    .command('repair')
    .description(`put back what drift finds, as one transaction; exit with ${DIFFERENT} when some of it cannot be`)
    .option('--vpc <name>', 'only what concerns this VPC')
    .addOption(yesOption())
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Connections that are established go on. What is not ours stays as it is.

Examples:
  vpcctl repair --dry-run
  vpcctl repair --vpc a --yes`,
    )
    .action(async (options: DryRun & Yes & { vpc?: string }) => repair(session, options));

  program
    .command('restore')
    .description('bring everything back after the machine was started anew, VPC by VPC')
    .addHelpText(
      'after',
      `
The first command that changes something does the same. At every start: see contrib/vpcctl-restore.service.`,
    )
    .action(async () => restore(session));
}
