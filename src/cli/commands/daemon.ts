/** `daemon`: answers the commands of others, faster than a process that is started for each. */
import type { Command } from 'commander';
import type { Session } from '../session.js';
import type { Answering } from '../visit.js';

/** `run`: one run of the whole command. */
export function addDaemon(program: Command, session: Session, run: Answering['run']): void {
  program
    .command('daemon')
    .description('answer the commands of this state directory, each in some milliseconds, until SIGINT or SIGTERM')
    .addHelpText(
      'after',
      `
While it runs, vpcctl asks it instead of starting Node, with the same output and exit status. It answers the same user and root
only. exec, deploy-app, watch, doctor and whatever asks on the terminal still run by themselves. The signal that ends it is
no failure: what is under way is finished, or undone after 10 seconds. As a service: see contrib/vpcctl-daemon.service.

Example:
  vpcctl daemon`,
    )
    .action(async () => {
      const { serve } = await import('../daemon.js');
      await serve(session, run);
    });
}
