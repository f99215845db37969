/** `daemon`: answers the commands of others, faster than a process that is started for each. */
import { type Command, InvalidArgumentError } from 'commander';
import type { Session } from '../session.js';
import type { Answering } from '../visit.js';

/** Of some 100 KiB each. */
const POOL = 8;
const LARGEST_POOL = 500;

function readPool(text: string): number {
  const pool = /^[0-9]{1,3}$/.test(text) ? Number(text) : LARGEST_POOL + 1;
  if (pool > LARGEST_POOL) throw new InvalidArgumentError(`Expected a number from 0 to ${LARGEST_POOL}.`);
  return pool;
}

/** `run`: one run of the whole command. */
export function addDaemon(program: Command, session: Session, run: Answering['run']): void {
  program
    .command('daemon')
    .description('answer the commands of this state directory, each in some milliseconds, until SIGINT or SIGTERM')
    .option('--pool <number>', 'how many namespaces to keep ready for instances to come', readPool, POOL)
    .addHelpText(
      'after',
      `
While it runs, vpcctl asks it instead of starting Node, with the same output and exit status. It answers the same user and root
only. exec, deploy-app, watch, doctor and whatever asks on the terminal still run by themselves. The signal that ends it is
no failure: what is under way is finished, or undone after 10 seconds. As a service: see contrib/vpcctl-daemon.service.

Example:
  vpcctl daemon`,
    )
    .action(async ({ pool }: { pool: number }) => {
      const { serve } = await import('../daemon.js');
      await serve(session, run, pool);
    });
}
