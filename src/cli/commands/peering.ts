/** `peer-vpcs`, `unpeer-vpcs`. */
import { type Command, Option } from 'commander';
import { type Cut, cutOption, type DryRun, dryRunOption, readList } from '../options.js';
import type { Session } from '../session.js';

interface PeerOptions extends DryRun, Cut {
  readonly vpc1: string;
  readonly vpc2: string;
  readonly allowCidrs?: readonly string[];
  readonly routes: 'auto' | 'manual';
}

export function addPeerings(program: Command, session: Session): void {
  program
    .command('peer-vpcs')
    .description('let two VPCs reach each other')
    .requiredOption('--vpc1 <name>', 'one VPC')
    .requiredOption('--vpc2 <name>', 'the other')
    .option('--allow-cidrs <cidrs...>', 'only these blocks of either side (default: all)', readList)
    .addOption(
      new Option('--routes <how>', 'auto: every route table of both leads to the other; manual: those that say so')
        .choices(['auto', 'manual'])
        .default('auto'),
    )
    .addOption(cutOption())
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Examples:
  vpcctl peer-vpcs --vpc1 a --vpc2 b
  vpcctl peer-vpcs --vpc1 a --vpc2 b --allow-cidrs 10.1.1.0/24,10.2.1.0/24`,
    )
    .action(async (options: PeerOptions) => {
      const { vpc1, vpc2, allowCidrs, routes } = options;
      await session.change(
        (tx) => tx.peer(vpc1, vpc2, allowCidrs, routes),
        options,
        (result, library) => {
          const peering = library.list().peerings.find(({ vpcs }) => vpcs.includes(vpc1) && vpcs.includes(vpc2));
          const only = peering?.allowCidrs == null ? 'all blocks' : `only ${peering.allowCidrs.join(', ')}`;
          const [change] = result.changes;
          const verb =
            change === undefined ? 'unchanged: peered' : change.action === 'create' ? 'peered' : 'changed: peered';
          return { text: [`${verb} ${vpc1} with ${vpc2}  ${only}`], json: { peering: peering ?? null } };
        },
      );
    });

  program
    .command('unpeer-vpcs')
    .description('part two VPCs again')
    .requiredOption('--vpc1 <name>', 'one VPC')
    .requiredOption('--vpc2 <name>', 'the other')
    .addOption(cutOption())
    .addOption(dryRunOption())
    .action(async (options: PeerOptions) => {
      const { vpc1, vpc2 } = options;
      await session.remove(
        (tx) => tx.unpeer(vpc1, vpc2),
        options,
        `unpeered ${vpc1} from ${vpc2}`,
        `${vpc1} and ${vpc2} are not peered: nothing to delete`,
      );
    });
}
