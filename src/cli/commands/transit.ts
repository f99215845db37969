/** Transit gateways: `create-transit-gateway` to `delete-transit-gateway-route`. */
import { type Command, InvalidArgumentError } from 'commander';
import type { TransitTargetSpec } from '../../index.js';
import { type Cut, cutOption, type DryRun, dryRunOption, readList } from '../options.js';
import { transitText } from '../render.js';
import type { Session } from '../session.js';
import { destinationOf } from './routing.js';
import { verbOf } from './vpc.js';

/** What a target's words mean: `vpc:NAME` the attachment of a VPC. */
export function transitTargetOf(text: string): TransitTargetSpec {
  if (text === 'blackhole') return text;
  if (text.startsWith('vpc:')) return { vpc: text.slice('vpc:'.length) };
  throw new InvalidArgumentError('Expected blackhole or vpc:NAME.');
}

interface GatewayOptions extends DryRun {
  readonly name: string;
  readonly force?: boolean;
}

interface AttachOptions extends DryRun, Cut {
  readonly transitGateway: string;
  readonly vpc: string;
  readonly table?: string;
  readonly propagateTo?: readonly string[];
}

interface TableOptions extends DryRun {
  readonly transitGateway: string;
  readonly name: string;
}

interface RouteOptions extends DryRun, Cut {
  readonly transitGateway: string;
  readonly table: string;
  readonly destination: string;
  readonly target: TransitTargetSpec;
}

const GATEWAY = ['--transit-gateway <name>', 'the transit gateway'] as const;

export function addTransit(program: Command, session: Session): void {
  /** After a change: the gateway as it is now. */
  const shown =
    (name: string) => (result: { readonly unchanged: boolean }, library: Awaited<ReturnType<Session['open']>>) => {
      const found = library.list().transitGateways.find((one) => one.name === name);
      const [head = `transit gateway ${name}`, ...rest] = found === undefined ? [] : transitText(found, session.colors);
      return {
        text: [`${result.unchanged ? 'unchanged:' : 'changed'} ${head}`, ...rest],
        json: { transitGateway: found ?? null },
      };
    };

  program
    .command('create-transit-gateway')
    .description('make a transit gateway: a router between the VPCs that are attached to it')
    .requiredOption('--name <name>', 'its name')
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Example:
  vpcctl create-transit-gateway --name core
  vpcctl attach-vpc --transit-gateway core --vpc a
  vpcctl attach-vpc --transit-gateway core --vpc b
  vpcctl create-route --vpc a --destination 10.2.0.0/16 --target tgw:core
  vpcctl create-route --vpc b --destination 10.1.0.0/16 --target tgw:core`,
    )
    .action(async (options: GatewayOptions) => {
      const { name } = options;
      await session.change(
        (tx) => tx.addTransitGateway(name),
        options,
        (result) => {
          const verb = verbOf(result, `transit gateway ${name}`);
          return {
            text: [`${verb === 'unchanged' ? 'unchanged:' : verb} transit gateway ${name}`],
            json: { transitGateway: { name } },
          };
        },
      );
    });

  program
    .command('delete-transit-gateway')
    .description('delete a transit gateway; routes to it become black holes')
    .requiredOption('--name <name>', 'its name')
    .option('--force', 'with the attachments of VPCs, too')
    .addOption(dryRunOption())
    .action(async (options: GatewayOptions) => {
      const { name, force = false } = options;
      await session.remove(
        (tx) => tx.deleteTransitGateway(name, { force }),
        options,
        `deleted transit gateway ${name}`,
        `no transit gateway ${name}: nothing to delete`,
      );
    });

  program
    .command('attach-vpc')
    .description("attach a VPC to a transit gateway; the VPC's route tables are to lead there")
    .requiredOption(...GATEWAY)
    .requiredOption('--vpc <name>', 'the VPC')
    .option('--table <name>', "the gateway's route table that packets from the VPC follow (default: default)")
    .option(
      '--propagate-to <names...>',
      "the gateway's route tables that get routes to the VPC's blocks (default: default)",
      readList,
    )
    .addOption(cutOption())
    .addOption(dryRunOption())
    .action(async (options: AttachOptions) => {
      const { transitGateway, vpc, table, propagateTo } = options;
      await session.change(
        (tx) =>
          tx.attachVpc({
            transitGateway,
            vpc,
            ...(table === undefined ? {} : { routeTable: table }),
            ...(propagateTo === undefined ? {} : { propagateTo }),
          }),
        options,
        shown(transitGateway),
      );
    });

  program
    .command('detach-vpc')
    .description('detach a VPC; routes through the attachment become black holes')
    .requiredOption(...GATEWAY)
    .requiredOption('--vpc <name>', 'the VPC')
    .addOption(cutOption())
    .addOption(dryRunOption())
    .action(async (options: AttachOptions) => {
      const { transitGateway, vpc } = options;
      await session.remove(
        (tx) => tx.detachVpc(transitGateway, vpc),
        options,
        `detached vpc ${vpc} from transit gateway ${transitGateway}`,
        `vpc ${vpc} is not attached to transit gateway ${transitGateway}: nothing to delete`,
      );
    });

  program
    .command('create-transit-gateway-route-table')
    .description('make a route table of a transit gateway; every one has default already')
    .requiredOption(...GATEWAY)
    .requiredOption('--name <name>', 'its name')
    .addOption(dryRunOption())
    .action(async (options: TableOptions) => {
      const { transitGateway, name } = options;
      await session.change((tx) => tx.addTransitRouteTable(transitGateway, name), options, shown(transitGateway));
    });

  program
    .command('delete-transit-gateway-route-table')
    .description('delete a route table of a transit gateway that no attachment uses')
    .requiredOption(...GATEWAY)
    .requiredOption('--name <name>', 'its name')
    .addOption(dryRunOption())
    .action(async (options: TableOptions) => {
      const { transitGateway, name } = options;
      await session.remove(
        (tx) => tx.deleteTransitRouteTable(transitGateway, name),
        options,
        `deleted route table ${name} of transit gateway ${transitGateway}`,
        `no route table ${name} of transit gateway ${transitGateway}: nothing to delete`,
      );
    });

  program
    .command('create-transit-gateway-route')
    .description('add a static route, or give the one to that block another target')
    .requiredOption(...GATEWAY)
    .option('--table <name>', "the gateway's route table", 'default')
    .requiredOption('--destination <where>', 'where to: a block, or pl:NAME, a prefix list; the longest prefix decides')
    .requiredOption('--target <target>', 'blackhole or vpc:NAME', transitTargetOf)
    .addOption(cutOption())
    .addOption(dryRunOption())
    .action(async (options: RouteOptions) => {
      const { transitGateway, table, destination, target } = options;
      await session.change(
        (tx) => tx.addTransitRoute(transitGateway, table, { destination: destinationOf(destination), target }),
        options,
        shown(transitGateway),
      );
    });

  program
    .command('delete-transit-gateway-route')
    .description('delete a static route')
    .requiredOption(...GATEWAY)
    .option('--table <name>', "the gateway's route table", 'default')
    .requiredOption('--destination <where>', 'where it leads to')
    .addOption(cutOption())
    .addOption(dryRunOption())
    .action(async (options: RouteOptions) => {
      const { transitGateway, table, destination } = options;
      await session.remove(
        (tx) => tx.deleteTransitRoute(transitGateway, table, destinationOf(destination)),
        options,
        `deleted the route to ${destination} of route table ${table} of transit gateway ${transitGateway}`,
        `no static route to ${destination} in route table ${table} of transit gateway ${transitGateway}: nothing to delete`,
      );
    });
}
