/** `watch`: drift and repair, until a signal ends it. */
import { type Command, InvalidArgumentError } from 'commander';
import { watchText } from '../plan-text.js';
import type { Session } from '../session.js';

interface WatchArguments {
  readonly vpc?: string;
  readonly repair: boolean;
  readonly interval: number;
}

const INTERVAL_S = 60;

function readSeconds(text: string): number {
  const seconds = /^[0-9]{1,6}$/.test(text) ? Number(text) : 0;
  if (seconds < 1) throw new InvalidArgumentError('Expected a number of seconds from 1 to 999999.');
  return seconds;
}

async function watch(session: Session, { vpc, repair, interval }: WatchArguments): Promise<void> {
  session.jsonLines = true;
  const library = await session.open();
  const { signal } = session;
  const of = vpc === undefined ? {} : { vpc };
  for await (const event of library.watch({ ...of, repair, signal, intervalMs: interval * 1000 })) {
    session.print({ json: event, text: () => watchText(event, session.colors) });
    if (session.unread) return;
  }
}

export function addWatch(program: Command, session: Session): void {
  program
    .command('watch')
    .description('put back what drift finds as soon as it is so, until SIGINT or SIGTERM')
    .option('--vpc <name>', 'only what concerns this VPC')
    .option('--no-repair', 'only tell what differs')
    .option('--interval <seconds>', 'how often all is looked at though nothing was told', readSeconds, INTERVAL_S)
    .addHelpText(
      'after',
      `
A line for each difference found and put back. With --json, one document a line. What somebody breaks again and again is looked at
ever more rarely. The signal that ends it is no failure: exit status 0. As a service: see contrib/vpcctl-watch.service.

Examples:
  vpcctl watch
  vpcctl watch --no-repair --json`,
    )
    .action(async (options: WatchArguments) => watch(session, options));
}
