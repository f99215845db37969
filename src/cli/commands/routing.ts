/** Route tables, NAT gateways and elastic addresses: `create-route-table` to `disassociate-address`. */
import { type Command, InvalidArgumentError } from 'commander';
import type { DestinationSpec, RouteTableView, RouteTargetSpec, Transaction } from '../../index.js';
import { type Cut, cutOption, type DryRun, dryRunOption } from '../options.js';
import { routeText } from '../render.js';
import type { Session } from '../session.js';
import { verbOf } from './vpc.js';

const TARGETS = 'internet-gateway, egress-only-internet-gateway, blackhole, nat:NAME, peer:VPC or tgw:NAME';

/** What a target's words mean: `nat:NAME` a NAT gateway, `peer:VPC` a peer, `tgw:NAME` a transit gateway. */
export function targetOf(text: string): RouteTargetSpec {
  if (text === 'internet-gateway' || text === 'egress-only-internet-gateway' || text === 'blackhole') return text;
  const [, kind, name = ''] = /^(nat|peer|tgw):(.+)$/.exec(text) ?? [];
  if (kind === 'nat') return { natGateway: name };
  if (kind === 'peer') return { peering: name };
  if (kind === 'tgw') return { transitGateway: name };
  throw new InvalidArgumentError(`Expected ${TARGETS}.`);
}

/** What a destination's words mean: `pl:NAME` a prefix list. Blocks are the library's to read. */
export function destinationOf(text: string): DestinationSpec {
  return text.startsWith('pl:') ? { prefixList: text.slice('pl:'.length) } : text;
}

interface TableOptions extends DryRun {
  readonly vpc: string;
  readonly name: string;
}

interface RouteOptions extends DryRun, Cut {
  readonly vpc: string;
  readonly table: string;
  readonly destination: string;
  readonly target: RouteTargetSpec;
}

interface AssociateOptions extends DryRun, Cut {
  readonly vpc: string;
  readonly subnet: string;
  readonly table?: string;
}

interface NatOptions extends DryRun {
  readonly vpc: string;
  readonly subnet: string;
  readonly name: string;
  readonly ip?: string;
  readonly elasticIp?: string;
  readonly private?: boolean;
}

interface AddressOptions extends DryRun {
  readonly name: string;
  readonly address?: string;
}

interface AssociateAddressOptions extends DryRun {
  readonly name: string;
  readonly vpc: string;
  readonly instance: string;
}

/** Adds a NAT gateway as the options say. */
export function addNatGateway(
  tx: Transaction,
  { vpc, subnet, name, ip, elasticIp, private: isPrivate }: NatOptions,
): { ip: string; publicIp: string | null } {
  return tx.addNatGateway({
    vpc,
    subnet,
    name,
    ...(ip === undefined ? {} : { ip }),
    ...(elasticIp === undefined ? {} : { elasticIp }),
    ...(isPrivate === true ? { connectivity: 'private' } : {}),
  });
}

function tableText(vpc: string, { name, routes, subnets }: RouteTableView): string[] {
  const whose = subnets.length === 0 ? 'no subnet follows it' : `followed by ${subnets.join(', ')}`;
  return [`route table ${vpc}/${name}  ${whose}`, ...routes.map((route) => `  ${routeText(route)}`)];
}

function addTables(program: Command, session: Session): void {
  program
    .command('create-route-table')
    .description('make a route table; every VPC has one called main already')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--name <name>', 'its name, the only one in the VPC')
    .addOption(dryRunOption())
    .action(async (options: TableOptions) => {
      const { vpc, name } = options;
      await session.change(
        (tx) => tx.addRouteTable(vpc, name),
        options,
        (result) => {
          const verb = verbOf(result, `route table ${vpc}/${name}`);
          return {
            text: [`${verb === 'unchanged' ? 'unchanged:' : verb} route table ${vpc}/${name}`],
            json: { routeTable: { vpc, name } },
          };
        },
      );
    });

  program
    .command('delete-route-table')
    .description('delete a route table that no subnet follows')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--name <name>', 'name of the route table')
    .addOption(dryRunOption())
    .action(async (options: TableOptions) => {
      const { vpc, name } = options;
      await session.remove(
        (tx) => tx.deleteRouteTable(vpc, name),
        options,
        `deleted route table ${vpc}/${name}`,
        `no route table ${name} in VPC ${vpc}: nothing to delete`,
      );
    });

  program
    .command('create-route')
    .description('add a route, or give the one to that block another target')
    .requiredOption('--vpc <name>', 'VPC of the route table')
    .option('--table <name>', 'the route table', 'main')
    .requiredOption('--destination <where>', 'where to: a block, or pl:NAME, a prefix list; the longest prefix decides')
    .requiredOption('--target <target>', TARGETS, targetOf)
    .addOption(cutOption())
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Examples:
  vpcctl create-route --vpc a --destination 0.0.0.0/0 --target nat:out
  vpcctl create-route --vpc a --table spoke --destination 10.2.0.0/16 --target peer:b`,
    )
    .action(async (options: RouteOptions) => {
      const { vpc, table, destination, target } = options;
      await session.change(
        (tx) => tx.addRoute(vpc, table, { destination: destinationOf(destination), target }),
        options,
        (result, library) => {
          const found = library.inspect(vpc).routeTables.find(({ name }) => name === table);
          const verb = result.unchanged ? 'unchanged:' : 'changed';
          const [first = `route table ${vpc}/${table}`, ...rest] = found === undefined ? [] : tableText(vpc, found);
          return { text: [`${verb} ${first}`, ...rest], json: { routeTable: found ?? null } };
        },
      );
    });

  program
    .command('delete-route')
    .description('delete a route')
    .requiredOption('--vpc <name>', 'VPC of the route table')
    .option('--table <name>', 'the route table', 'main')
    .requiredOption('--destination <where>', 'where it leads to')
    .addOption(cutOption())
    .addOption(dryRunOption())
    .action(async (options: RouteOptions) => {
      const { vpc, table, destination } = options;
      await session.remove(
        (tx) => tx.deleteRoute(vpc, table, destinationOf(destination)),
        options,
        `deleted the route to ${destination} of route table ${vpc}/${table}`,
        `no route to ${destination} in route table ${vpc}/${table}: nothing to delete`,
      );
    });

  program
    .command('associate-route-table')
    .description('let a subnet follow a route table')
    .requiredOption('--vpc <name>', 'VPC of both')
    .requiredOption('--subnet <name>', 'the subnet')
    .option('--table <name>', 'the route table (default: public of a public subnet, else main)')
    .addOption(cutOption())
    .addOption(dryRunOption())
    .action(async (options: AssociateOptions) => {
      const { vpc, subnet, table } = options;
      await session.change(
        (tx) => tx.associateRouteTable(vpc, subnet, table),
        options,
        (result, library) => {
          const found = library.inspect(vpc).subnets.find(({ name }) => name === subnet);
          const verb = result.unchanged ? 'unchanged:' : 'changed';
          const follows = found?.routeTable ?? table ?? 'none';
          return {
            text: [`${verb} subnet ${vpc}/${subnet}  follows route table ${follows}`],
            json: { vpc, subnet, routeTable: follows },
          };
        },
      );
    });
}

function addNats(program: Command, session: Session): void {
  program
    .command('create-nat-gateway')
    .description('make a NAT gateway: what is routed to it leaves with its address')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--subnet <name>', 'subnet that it stands in: a public one, for the internet')
    .requiredOption('--name <name>', 'its name, the only one of a NAT gateway in the VPC')
    .option('--ip <address>', 'its private address (default: the next free one)')
    .option('--elastic-ip <name>', 'the elastic address that it has (default: one that goes with it)')
    .option('--private', 'without a public address: for what peers are to see')
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Example:
  vpcctl create-nat-gateway --vpc a --subnet web --name out
  vpcctl create-route --vpc a --destination 0.0.0.0/0 --target nat:out`,
    )
    .action(async (options: NatOptions) => {
      const { vpc, subnet, name } = options;
      await session.change(
        (tx) => addNatGateway(tx, options),
        options,
        (result) => {
          const verb = verbOf(result, `nat gateway ${vpc}/${name}`);
          const { value } = result;
          const shownPublic = value.publicIp === null ? ', private' : `, public ${value.publicIp}`;
          return {
            text: [
              `${verb === 'unchanged' ? 'unchanged:' : verb} nat gateway ${vpc}/${name}  ${value.ip}${shownPublic}`,
            ],
            json: { natGateway: { vpc, subnet, name, ...value } },
          };
        },
      );
    });

  program
    .command('delete-nat-gateway')
    .description('delete a NAT gateway; routes to it become black holes')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--name <name>', 'name of the NAT gateway')
    .addOption(dryRunOption())
    .action(async (options: TableOptions) => {
      const { vpc, name } = options;
      await session.remove(
        (tx) => tx.deleteNatGateway(vpc, name),
        options,
        `deleted nat gateway ${vpc}/${name}`,
        `no nat gateway ${name} in VPC ${vpc}: nothing to delete`,
      );
    });
}

function addEgressOnly(program: Command, session: Session): void {
  program
    .command('create-egress-only-internet-gateway')
    .description('give a VPC its egress-only internet gateway: IPv6 that is routed to it gets out, and nobody in')
    .requiredOption('--vpc <name>', 'the VPC')
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Example:
  vpcctl create-egress-only-internet-gateway --vpc a
  vpcctl create-route --vpc a --destination ::/0 --target egress-only-internet-gateway`,
    )
    .action(async (options: DryRun & { readonly vpc: string }) => {
      const { vpc } = options;
      const what = `egress-only internet gateway of vpc ${vpc}`;
      await session.change(
        (tx) => tx.addEgressOnlyInternetGateway(vpc),
        options,
        (result) => {
          const verb = verbOf(result, what);
          return {
            text: [`${verb === 'unchanged' ? 'unchanged:' : verb} ${what}`],
            json: { egressOnlyInternetGateway: { vpc } },
          };
        },
      );
    });

  program
    .command('delete-egress-only-internet-gateway')
    .description('delete the egress-only internet gateway of a VPC; routes to it become black holes')
    .requiredOption('--vpc <name>', 'the VPC')
    .addOption(dryRunOption())
    .action(async (options: DryRun & { readonly vpc: string }) => {
      const { vpc } = options;
      await session.remove(
        (tx) => tx.deleteEgressOnlyInternetGateway(vpc),
        options,
        `deleted egress-only internet gateway of vpc ${vpc}`,
        `no egress-only internet gateway in VPC ${vpc}: nothing to delete`,
      );
    });
}

function addAddresses(program: Command, session: Session): void {
  program
    .command('allocate-address')
    .description('take an elastic address: a public one that stays when what has it goes')
    .requiredOption('--name <name>', 'its name')
    .option('--address <address>', 'that one of the pool (default: a free one)')
    .addOption(dryRunOption())
    .action(async (options: AddressOptions) => {
      const { name, address } = options;
      await session.change(
        (tx) => tx.allocateElasticIp(name, address),
        options,
        (result) => {
          const verb = verbOf(result, `elastic ip ${name}`);
          return {
            text: [`${verb === 'unchanged' ? 'unchanged:' : verb} elastic ip ${name}  ${result.value}`],
            json: { elasticIp: { name, address: result.value } },
          };
        },
      );
    });

  program
    .command('release-address')
    .description('give an elastic address back')
    .requiredOption('--name <name>', 'its name')
    .addOption(dryRunOption())
    .action(async (options: AddressOptions) => {
      const { name } = options;
      await session.change(
        (tx) => tx.releaseElasticIp(name),
        options,
        ({ value }) => ({
          text: [value ? `released elastic ip ${name}` : `no elastic ip ${name}: nothing to release`],
          json: { released: value },
        }),
      );
    });

  program
    .command('associate-address')
    .description('give an instance an elastic address in place of its public one; another one that has it loses it')
    .requiredOption('--name <name>', 'name of the elastic address')
    .requiredOption('--vpc <name>', 'VPC of the instance')
    .requiredOption('--instance <name>', 'the instance')
    .addOption(dryRunOption())
    .action(async (options: AssociateAddressOptions) => {
      const { name, vpc, instance } = options;
      await session.change(
        (tx) => tx.associateElasticIp(name, vpc, instance),
        options,
        (result, library) => {
          const found = library.list().elasticIps.find((one) => one.name === name);
          const verb = result.unchanged ? 'unchanged:' : 'associated';
          return {
            text: [`${verb} elastic ip ${name} (${found?.address ?? 'gone'}) with instance ${vpc}/${instance}`],
            json: { elasticIp: found ?? null },
          };
        },
      );
    });

  program
    .command('disassociate-address')
    .description('take an elastic address from its instance, which has no public one then')
    .requiredOption('--name <name>', 'name of the elastic address')
    .addOption(dryRunOption())
    .action(async (options: AddressOptions) => {
      const { name } = options;
      await session.change(
        (tx) => tx.disassociateElasticIp(name),
        options,
        ({ value }) => ({
          text: [value ? `disassociated elastic ip ${name}` : `nothing has elastic ip ${name}: nothing to do`],
          json: { disassociated: value },
        }),
      );
    });
}

export function addRouting(program: Command, session: Session): void {
  addTables(program, session);
  addNats(program, session);
  addEgressOnly(program, session);
  addAddresses(program, session);
}
