/** `add-subnet`, `delete-subnet`. */
import type { Command } from 'commander';
import { Option } from 'commander';
import type { SubnetView, Transaction } from '../../index.js';
import { UsageError } from '../failure.js';
import { type DryRun, dryRunOption } from '../options.js';
import type { Session } from '../session.js';
import { wishOf } from '../wish.js';
import { verbOf } from './vpc.js';

/** What {@link addSubnet} adds. */
export interface AddSubnetOptions extends DryRun {
  readonly vpc: string;
  readonly subnet: string;
  readonly cidr?: string;
  readonly ip?: string;
  readonly ipv6?: string;
  readonly gateway?: string;
  readonly nat?: boolean;
  readonly public?: boolean;
  readonly private?: boolean;
  readonly instance: boolean;
}

interface DeleteSubnetOptions extends DryRun {
  readonly vpc: string;
  readonly subnet: string;
  readonly force?: boolean;
}

/** UsageError where the options do not say what block, or which instance. */
export function checkSubnet(options: AddSubnetOptions): void {
  if (options.ip === undefined && options.cidr === undefined) {
    throw new UsageError(`subnet ${options.subnet} has no block`, 'give --cidr, or --ip with --gateway');
  }
  if (options.ip !== undefined && !options.instance) {
    throw new UsageError('--ip is the address of an instance, which --no-instance leaves out', 'give --cidr instead');
  }
}

/** With `--ip`, the subnet is one workload with that address, wherever in the VPC it lies; else a block, and an instance in it. */
export function addSubnet(
  tx: Transaction,
  options: AddSubnetOptions,
): { instance?: { ip: string; ipv6: string | null; publicIp: string | null } } {
  const { vpc, subnet: name, cidr, ip, ipv6, gateway, instance } = options;
  const isPublic =
    options.nat === true || options.public === true ? true : options.private === true ? false : undefined;
  tx.addSubnet({
    vpc,
    name,
    ...(cidr === undefined ? {} : { cidr }),
    ...(gateway === undefined ? {} : { gateway }),
    ...(ipv6 === undefined ? {} : { ipv6Cidr: wishOf(ipv6) }),
    ...(isPublic === undefined ? {} : { public: isPublic }),
    ...(ip === undefined ? {} : { ip, addressing: 'plain', extendVpc: true }),
  });
  return instance ? { instance: tx.addInstance({ vpc, subnet: name, name, ...(ip === undefined ? {} : { ip }) }) } : {};
}

function subnetText(vpc: string, subnet: SubnetView): string {
  const ipv6 = subnet.ipv6Cidr === null ? '' : `, ${subnet.ipv6Cidr}`;
  return `subnet ${vpc}/${subnet.name}  ${subnet.cidr}${ipv6}  ${subnet.kind}, gateway ${subnet.gateway}`;
}

export function addSubnets(program: Command, session: Session): void {
  program
    .command('add-subnet')
    .description('add a subnet, and in it an instance of the same name')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--subnet <name>', 'name of the subnet')
    .option('--cidr <cidr>', "its block, inside the VPC's")
    .option('--ip <address>', "the instance's address; decides the block (a /24) when --cidr does not")
    .option('--ipv6 <cidr>', "its IPv6 block: a /64 of the VPC's, auto or none (default: none, or as it was)")
    .option('--gateway <address>', "the router's address in it (default: the first)")
    .option('--nat', 'public: a route to the internet, and a public address for each instance')
    .option('--public', 'the same')
    .addOption(new Option('--private', 'no way out (default for a new subnet)').conflicts(['nat', 'public']))
    .option('--no-instance', 'add the subnet alone')
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Examples:
  vpcctl add-subnet --vpc a --subnet web --cidr 10.1.1.0/24 --nat
  vpcctl add-subnet --vpc production --subnet database --ip 10.0.2.2 --gateway 10.0.2.1`,
    )
    .action(async (options: AddSubnetOptions) => {
      checkSubnet(options);
      await session.change(
        (tx) => void addSubnet(tx, options),
        options,
        (result, library) => {
          const { vpc, subnet: name } = options;
          const subnet = library.inspect(vpc).subnets.find((one) => one.name === name);
          if (subnet === undefined) return { text: [`subnet ${vpc}/${name} is gone: another command deleted it`] };
          const own = subnet.instances.find((instance) => instance.name === name);
          const verb = verbOf(result, `subnet ${vpc}/${name}`);
          const shown6 = own?.ipv6 == null ? '' : `, ${own.ipv6}`;
          const shownPublic = own?.publicIp == null ? '' : `, public ${own.publicIp}`;
          return {
            text: [
              `${verb === 'unchanged' ? 'unchanged:' : verb} ${subnetText(vpc, subnet)}`,
              ...(own === undefined ? [] : [`  instance ${vpc}/${name}  ${own.ip}${shown6}${shownPublic}`]),
            ],
            json: { subnet },
          };
        },
      );
    });

  program
    .command('delete-subnet')
    .description('delete a subnet with its own instance')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--subnet <name>', 'name of the subnet')
    .option('--force', 'with all other instances in it, too')
    .addOption(dryRunOption())
    .action(async (options: DeleteSubnetOptions) => {
      const { vpc, subnet, force = false } = options;
      await session.remove(
        (tx) => tx.deleteSubnet(vpc, subnet, { force }),
        options,
        `deleted subnet ${vpc}/${subnet}`,
        `no subnet ${subnet} in VPC ${vpc}: nothing to delete`,
      );
    });
}
