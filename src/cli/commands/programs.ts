/** `deploy-app`, `stop-app`, `exec`. */
import type { Command } from 'commander';
import type { AppRecord } from '../../index.js';
import { UsageError } from '../failure.js';
import { type DryRun, dryRunOption, type Place, readPort, whereOf } from '../options.js';
import { appText } from '../render.js';
import type { Session } from '../session.js';

const DEFAULT_PORT = 8080;

interface DeployOptions extends DryRun, Place {
  readonly port?: number;
  readonly privileged?: boolean;
}

interface StopOptions extends DryRun, Place {
  readonly port?: number;
}

interface ExecOptions extends Place {
  readonly privileged?: boolean;
}

function placed(command: Command): Command {
  return command
    .requiredOption('--vpc <name>', 'the VPC')
    .option('--subnet <name>', 'subnet of the instance: its only one, or the one named like it')
    .option('--instance <name>', 'the instance');
}

function checkPlace({ subnet, instance }: Place): void {
  if (subnet === undefined && instance === undefined) {
    throw new UsageError('no instance is named', 'give --subnet or --instance');
  }
  if (subnet !== undefined && instance !== undefined) {
    throw new UsageError('--subnet and --instance both say where', 'give one of them');
  }
}

function same(one: AppRecord, other: AppRecord): boolean {
  return one.pid === other.pid && one.startTime === other.startTime;
}

function appJson({ vpc, subnet, instance, port, pid, command, log }: AppRecord): object {
  return { vpc, subnet, instance, port: port ?? null, pid, command, log };
}

export function addPrograms(program: Command, session: Session): void {
  placed(program.command('deploy-app').description('start a program in an instance and leave it running'))
    .option(
      '--port <port>',
      `wait until it listens there; given to it as PORT (default for the built-in app: ${DEFAULT_PORT})`,
      readPort,
    )
    .option('--privileged', 'keep all capabilities')
    .argument('[command...]', 'after --: the program and its arguments (default: the built-in web server)')
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Examples:
  vpcctl deploy-app --vpc a --subnet web --port 8080
  vpcctl deploy-app --vpc a --subnet db --port 5432 -- python3 -m http.server 5432`,
    )
    .action(async (command: readonly string[], options: DeployOptions) => {
      checkPlace(options);
      const library = await session.open();
      const { vpc, dryRun = false, privileged = false } = options;
      const port = options.port ?? (command.length === 0 ? DEFAULT_PORT : undefined);
      const target = library.instance(vpc, whereOf(options));
      const at = `${vpc}/${target.name}`;
      const where = `${target.ip}${port === undefined ? '' : `:${port}`}`;
      if (dryRun) {
        const what = command.length === 0 ? 'the built-in app' : command.join(' ');
        return session.print({
          json: { dryRun, app: { vpc, subnet: target.subnet, instance: target.name, port: port ?? null, command } },
          text: () => [`would start ${what} in ${at}  ${where}`, 'dry run: nothing was changed'],
        });
      }
      const before = library.apps(vpc).filter(({ running }) => running);
      const app = await library.deployApp(vpc, whereOf(options), {
        ...(port === undefined ? {} : { port }),
        ...(command.length === 0 ? {} : { command }),
        privileged,
      });
      const unchanged = before.some((one) => same(one, app));
      session.report({
        json: { unchanged, dryRun, app: appJson(app) },
        text: () => [
          unchanged
            ? `unchanged: it runs in ${at}  ${where}, pid ${app.pid}`
            : `started in ${at}  ${where}, pid ${app.pid}, output in ${app.log}`,
        ],
      });
    });

  placed(program.command('stop-app').description('end the programs that deploy-app started in an instance'))
    .option('--port <port>', 'only the one on this port', readPort)
    .addOption(dryRunOption())
    .action(async (options: StopOptions) => {
      checkPlace(options);
      const library = await session.open();
      const { vpc, port, dryRun = false } = options;
      const { name } = library.instance(vpc, whereOf(options));
      if (dryRun) {
        const doomed = library
          .apps(vpc)
          .filter((app) => app.running && app.instance === name && (port === undefined || app.port === port));
        return session.print({
          json: { dryRun, unchanged: doomed.length === 0, apps: doomed.map(appJson) },
          text: () => [...doomed.map((app) => `would stop ${appText(app)}`), 'dry run: nothing was changed'],
        });
      }
      const stopped = await library.stopApp(vpc, whereOf(options), port);
      session.report({
        json: { dryRun, unchanged: stopped.length === 0, apps: stopped.map(appJson) },
        text: () =>
          stopped.length === 0
            ? [`no app runs in ${vpc}/${name}${port === undefined ? '' : ` on port ${port}`}: nothing to stop`]
            : stopped.map((app) => `stopped ${appText({ ...app, running: true })}`),
      });
    });

  placed(program.command('exec').description('run a program in an instance, and end as it ends'))
    .option('--privileged', 'keep all capabilities')
    .argument('[command...]', 'after --: the program and its arguments')
    .addHelpText(
      'after',
      `
With --json the output is collected, and printed with the exit status.

Example:
  vpcctl exec --vpc a --subnet web -- ip address`,
    )
    .action(async (command: readonly string[], options: ExecOptions) => {
      checkPlace(options);
      if (command.length === 0) throw new UsageError('no command is given', 'write it after --');
      const library = await session.open();
      const { vpc, privileged = false } = options;
      if (!session.json) session.yieldTerminal();
      const result = await library.exec(vpc, whereOf(options), command, {
        privileged,
        stdio: session.json ? 'pipe' : 'inherit',
        signal: session.signal,
      });
      if (session.json) session.print({ json: result, text: () => [] });
      session.exitCode = result.exitCode;
    });
}
