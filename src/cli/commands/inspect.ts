/** `list`, `show`, `inspect`, `doctor`. */
import type { Command } from 'commander';
import type { VpcView } from '../../index.js';
import { UsageError } from '../failure.js';
import { writeText } from '../files.js';
import type { Library } from '../host.js';
import { type DryRun, dryRunOption, readFilled } from '../options.js';
import { doctorText, fixesText, installationText, listText, vpcText } from '../render.js';
import type { Session } from '../session.js';

/** Exit status: this machine lacks something. */
const LACKING = 7;

function printVpc(session: Session, library: Library, name: string, drawn: readonly string[] = []): void {
  const vpc: VpcView = library.inspect(name);
  const apps = library.apps(name);
  const peerings = library.list().peerings.filter(({ vpcs }) => vpcs.includes(name));
  session.print({
    json: { ...vpc, peerings, apps },
    text: () => [...vpcText(vpc, peerings, apps, session.colors), ...drawn],
  });
}

/** Returns what to say of it. Throws when there is no such VPC. */
async function drawTopology(library: Library, vpc: string | undefined, file: string): Promise<readonly string[]> {
  if (vpc !== undefined) library.inspect(vpc);
  const { topologySvg } = await import('../topology-svg.js');
  await writeText(file, topologySvg(library.list(), vpc));
  return [`wrote ${file}`];
}

export function addInspection(program: Command, session: Session): void {
  program
    .command('list')
    .description('list VPCs, subnets, instances and peerings; with --quiet the names of VPCs')
    .action(async () => {
      const view = (await session.open()).list();
      session.print({
        json: view,
        text: () => (session.quiet ? view.vpcs.map(({ name }) => name) : listText(view, session.colors)),
      });
    });

  program
    .command('show')
    .description('show everything, or one VPC, as a tree')
    .argument('[vpc]', 'only this VPC')
    .option('--svg <file>', 'draw it as a picture too', readFilled)
    .addHelpText(
      'after',
      `
Examples:
  vpcctl show
  vpcctl show shop --svg shop.svg`,
    )
    .action(async (name: string | undefined, { svg }: { svg?: string }) => {
      if (svg !== undefined) session.needProcess();
      const library = await session.open();
      const drawn = svg === undefined ? [] : await drawTopology(library, name, svg);
      if (name !== undefined) return printVpc(session, library, name, drawn);
      const view = library.list();
      const apps = library.apps();
      session.print({
        json: { ...view, apps },
        text: () => [...installationText(view, apps, session.colors), ...drawn],
      });
    });

  program
    .command('inspect')
    .description('show all of one VPC')
    .argument('[vpc]', 'the VPC')
    .option('--vpc <name>', 'the same')
    .action(async (argument: string | undefined, { vpc }: { vpc?: string }) => {
      const name = argument ?? vpc;
      if (name === undefined) throw new UsageError('no VPC is named', 'give --vpc');
      if (argument !== undefined && vpc !== undefined && argument !== vpc) {
        throw new UsageError('two VPCs are named', 'inspect one at a time');
      }
      printVpc(session, await session.open(), name);
    });

  program
    .command('doctor')
    .description(
      `examine what this machine has and lacks, and what on it is in the way; exit with ${LACKING} when something is missing`,
    )
    .option('--fix', 'make the fixes it offers; they go with the last public subnet, or with --undo')
    .option('--undo', 'take back what was fixed')
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
A fix is a rule that lets vpc-edge pass another firewall, a setting of the host, or a configuration file that was
not there. It is remembered before it is made. What somebody else has changed since is left as it is.`,
    )
    .action(async (options: Treatment) => examine(session, options));
}

interface Treatment extends DryRun {
  readonly fix?: boolean;
  readonly undo?: boolean;
}

async function examine(session: Session, { fix = false, undo = false, dryRun = false }: Treatment): Promise<void> {
  if (fix && undo) throw new UsageError('both --fix and --undo are given', 'give one of them');
  if (dryRun && !fix && !undo) throw new UsageError('--dry-run needs --fix or --undo', 'doctor alone changes nothing');
  const { doctor, describeFix } = await import('../../index.js');
  const { state, signal } = session;
  const report = await doctor({ ...(state === undefined ? {} : { state }), fix, undo, dryRun, signal });
  const { ok, checks, fixed, undone } = report;
  const treated = fix || undo;
  const unchanged = fixed.length + undone.length === 0;
  session.print({
    json: treated ? { ok, unchanged, dryRun, checks, fixed, undone } : { ok, checks },
    text: () => [
      ...doctorText(report, session.colors),
      ...(treated ? fixesText(report, describeFix) : []),
      ...(dryRun ? ['dry run: nothing was changed'] : []),
    ],
  });
  if (!ok) session.exitCode = LACKING;
}
