/** `plan`, `apply`, `destroy`, `export`, `import`, `schema`: whole networks from and to files. */
import type { Command } from 'commander';
import { Option } from 'commander';
import type { Format } from '../../index.js';
import { writeText } from '../files.js';
import { type Cut, cutOption, type DryRun, dryRunOption, readFilled, type Yes, yesOption } from '../options.js';
import { isEmpty, planText, sumText } from '../plan-text.js';
import type { Session } from '../session.js';
import { count } from '../text.js';
import { DIFFERENT } from './repair.js';
import { destroyAll } from './vpc.js';

const FILE = 'YAML or JSON; - is standard input';

async function plan(session: Session, file: string, options: { detailedExitcode?: boolean }): Promise<void> {
  const { spec, located } = await session.readSpec(file);
  const library = await session.open();
  const result = await located(() => library.plan(spec));
  const { changes, kernel } = result;
  session.print({ json: { unchanged: isEmpty(result), changes, kernel }, text: () => session.planText(result) });
  if (options.detailedExitcode === true && !isEmpty(result)) session.exitCode = DIFFERENT;
}

/** `always`: ask before any change; `losses`: only before one that changes or removes what is there. */
async function apply(
  session: Session,
  file: string,
  { dryRun = false, yes, cut = false }: DryRun & Yes & Cut,
  ask: 'always' | 'losses',
): Promise<void> {
  const { spec, located } = await session.readSpec(file);
  const library = await session.open();
  const planned = await located(() => library.apply(spec, { dryRun: true }));
  if (dryRun) return session.reportChange(planned, true);
  const lines = planText(planned, session.colors);
  const harmless = isEmpty(planned) || (ask === 'losses' && planned.changes.every(({ action }) => action === 'create'));
  if (!harmless && !(await session.confirm('Do this?', yes, lines))) return;
  const result = await located(() => library.apply(spec, { signal: session.signal, cut }));
  const text = isEmpty(result) ? ['unchanged: everything is as the file says'] : planText(result, session.colors);
  session.reportChange(result, false, {
    text: isEmpty(result) ? text : [...text.slice(0, -1), sumText(result, 'done')],
  });
}

async function destroy(session: Session, file: string | undefined, options: DryRun & Yes): Promise<void> {
  if (file === undefined) return destroyAll(session, options);
  const { spec } = await session.readSpec(file);
  const library = await session.open();
  const { dryRun = false, yes } = options;
  const planned = await library.destroy(spec, { dryRun: true });
  if (dryRun) return session.reportChange(planned, true);
  if (isEmpty(planned))
    return session.reportChange(planned, false, { text: ['nothing to delete'], json: { deleted: [] } });
  const lines = planText(planned, session.colors);
  if (!(await session.confirm('Delete this?', yes, lines))) return;
  const result = await library.destroy(spec, { signal: session.signal });
  const deleted = result.changes.flatMap(({ kind, action, resource }) =>
    kind === 'vpc' && action === 'delete' ? [resource.slice(4)] : [],
  );
  session.reportChange(result, false, {
    text: [...planText(result, session.colors).slice(0, -1), sumText(result, 'done')],
    json: { deleted },
  });
}

async function exportAll(session: Session, options: { format?: Format; output?: string }): Promise<void> {
  const library = await session.open();
  const { formatSpec } = await import('../../index.js');
  const { output = '-' } = options;
  const named = /\.json$/i.test(output) ? 'json' : 'yaml';
  const format = options.format ?? (session.json && output === '-' ? 'json' : named);
  const spec = library.export();
  const text = await formatSpec(spec, format);
  if (output === '-') return session.write(text);
  session.needProcess();
  await writeText(output, text);
  const vpcs = Object.keys(spec.vpcs);
  session.report({ json: { output, format, vpcs }, text: () => [`wrote ${output}  ${count(vpcs.length, 'VPC')}`] });
}

export function addDeclarative(program: Command, session: Session): void {
  program
    .command('plan')
    .description('show what apply would do')
    .argument('<file>', FILE)
    .option('--detailed-exitcode', `exit with ${DIFFERENT} when there is something to do`)
    .addHelpText('after', '\nExample:\n  vpcctl plan network.yaml')
    .action(async (file: string, options: { detailedExitcode?: boolean }) => plan(session, file, options));

  program
    .command('apply')
    .description('make the VPCs of a file what it says, as one transaction')
    .argument('<file>', FILE)
    .addOption(yesOption())
    .addOption(cutOption())
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Shows the plan and asks; where nobody can be asked, --yes is needed.

Examples:
  vpcctl apply network.yaml
  generate | vpcctl apply - --yes`,
    )
    .action(async (file: string, options: DryRun & Yes & Cut) => apply(session, file, options, 'always'));

  program
    .command('destroy')
    .description('delete the VPCs of a file; without one, everything')
    .argument('[file]', FILE)
    .addOption(yesOption())
    .addOption(dryRunOption())
    .action(async (file: string | undefined, options: DryRun & Yes) => destroy(session, file, options));

  program
    .command('export')
    .description('print everything as a file for apply and import')
    .addOption(
      new Option('--format <format>', 'how (default: yaml, or by the ending of --output)').choices(['yaml', 'json']),
    )
    .addOption(new Option('--output <file>', 'write there instead, whole or not at all').argParser(readFilled))
    .addHelpText('after', '\nExample:\n  vpcctl export --output network.yaml')
    .action(async (options: { format?: Format; output?: string }) => exportAll(session, options));

  program
    .command('import')
    .description('apply a file; asks only before changing or removing what is there')
    .argument('<file>', FILE)
    .addOption(yesOption())
    .addOption(cutOption())
    .addOption(dryRunOption())
    .action(async (file: string, options: DryRun & Yes & Cut) => apply(session, file, options, 'losses'));

  program
    .command('cut-connections')
    .description('end open connections that no rule admits any more')
    .option('--vpc <name>', 'only of this VPC')
    .addHelpText(
      'after',
      `
A connection goes on when the rule that admitted it goes, as in the cloud. This ends just those; so does --cut of the
commands that change rules.`,
    )
    .action(async ({ vpc }: { vpc?: string }) => {
      const library = await session.open();
      const connections = await library.cut(vpc, { signal: session.signal });
      session.report({ json: { connections }, text: () => [`ended ${count(connections, 'connection')}`] });
    });

  program
    .command('schema')
    .description('print the JSON Schema of files, for editors')
    .option('--policy', 'that of policy files')
    .action(async ({ policy = false }: { policy?: boolean }) => {
      const { policyJsonSchema, specJsonSchema } = await import('../../index.js');
      session.write(`${JSON.stringify(await (policy ? policyJsonSchema() : specJsonSchema()), null, 2)}\n`);
    });
}
