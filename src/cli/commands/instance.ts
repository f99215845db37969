/** `add-instance`, `modify-instance`, `delete-instance`, `assign-private-ip-addresses`, `unassign-private-ip-addresses`. */
import { type Command, InvalidArgumentError } from 'commander';
import type { PublicationSpec } from '../../index.js';
import { UsageError } from '../failure.js';
import { type DryRun, dryRunOption, readCount, readList } from '../options.js';
import type { Session } from '../session.js';
import { type Shaped, shapingOf, shapingOptions } from '../shaping.js';
import { wishOf } from '../wish.js';
import { verbOf } from './vpc.js';

interface AddInstanceOptions extends DryRun, Shaped {
  readonly vpc: string;
  readonly subnet: string;
  readonly name: string;
  readonly ip?: string;
  readonly ipv6?: string;
  readonly secondaryIp?: readonly string[];
  readonly publicIp?: string;
  readonly elasticIp?: string;
  readonly publish?: readonly PublicationSpec[];
  readonly securityGroup?: readonly string[];
}

interface ModifyInstanceOptions extends DryRun, Shaped {
  readonly vpc: string;
  readonly name: string;
}

interface DeleteInstanceOptions extends DryRun {
  readonly vpc: string;
  readonly name: string;
}

/** `8080:80`, `53/udp`: port of the host, then of the instance where that is another. */
function readPublication(text: string, before: readonly PublicationSpec[] = []): readonly PublicationSpec[] {
  const [, hostPort, port, protocol] = /^([0-9]{1,5})(?::([0-9]{1,5}))?(?:\/(tcp|udp))?$/.exec(text) ?? [];
  const valid = (one: string | undefined): boolean => one === undefined || (Number(one) >= 1 && Number(one) <= 65535);
  if (hostPort === undefined || !valid(hostPort) || !valid(port)) {
    throw new InvalidArgumentError('Expected HOSTPORT[:PORT][/tcp|/udp].');
  }
  return [
    ...before,
    {
      hostPort: Number(hostPort),
      ...(port === undefined ? {} : { port: Number(port) }),
      ...(protocol === 'udp' ? { protocol } : {}),
    },
  ];
}

export function addInstances(program: Command, session: Session): void {
  shapingOptions(program.command('add-instance'))
    .description('add an instance to a subnet')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--subnet <name>', 'subnet it is in')
    .requiredOption('--name <name>', 'its name, the only one in the VPC')
    .option('--ip <address>', 'its address (default: the next free one)')
    .option(
      '--ipv6 <address>',
      'its IPv6 address, auto or none (default: auto where the subnet has IPv6; of one that is there, as it was)',
    )
    .option(
      '--secondary-ip <addresses...>',
      'further addresses of the subnet, of either family (default: none, or as it was)',
      readList,
    )
    .option('--public-ip <address>', 'its public address, auto or none (default: as the subnet)')
    .option('--elastic-ip <name>', 'the elastic address that is to be its public one')
    .option(
      '--publish <ports...>',
      'ports of the host that lead to it: HOSTPORT[:PORT][/udp] (default: none, or as it was)',
      readPublication,
    )
    .option('--security-group <name...>', 'its security groups (default: default)', readList)
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Example:
  vpcctl add-instance --vpc a --subnet web --name web-2 --security-group web default`,
    )
    .action(async (options: AddInstanceOptions) => {
      const { vpc, subnet, name, ip, ipv6, secondaryIp, publicIp, elasticIp, publish, securityGroup } = options;
      await session.change(
        (tx) =>
          tx.addInstance({
            vpc,
            subnet,
            name,
            ...(ip === undefined ? {} : { ip }),
            ...(ipv6 === undefined ? {} : { ipv6: wishOf(ipv6) }),
            ...(secondaryIp === undefined ? {} : { secondaryIps: secondaryIp }),
            ...(publicIp === undefined ? {} : { publicIp: wishOf(publicIp) }),
            ...(elasticIp === undefined ? {} : { elasticIp }),
            ...(publish === undefined ? {} : { publish }),
            ...(securityGroup === undefined ? {} : { securityGroups: securityGroup }),
            ...shapingOf(options),
          }),
        options,
        (result) => {
          const verb = verbOf(result, `instance ${vpc}/${name}`);
          const { value } = result;
          const shown = [value.ip, value.ipv6 ?? [], value.publicIp === null ? [] : `public ${value.publicIp}`];
          return {
            text: [`${verb === 'unchanged' ? 'unchanged:' : verb} instance ${vpc}/${name}  ${shown.flat().join(', ')}`],
            json: { instance: { vpc, subnet, name, ...value } },
          };
        },
      );
    });

  shapingOptions(program.command('modify-instance'))
    .description('give an instance another bandwidth, delay, jitter or loss')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--name <name>', 'name of the instance')
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
What is not named stays as it was.

Examples:
  vpcctl modify-instance --vpc a --name web-1 --bandwidth 100mbit
  vpcctl modify-instance --vpc a --name web-1 --bandwidth in=1gbit,out=200mbit,burst=512kib
  vpcctl modify-instance --vpc a --name web-1 --bandwidth none`,
    )
    .action(async (options: ModifyInstanceOptions) => {
      const { vpc, name } = options;
      const asked = shapingOf(options);
      if (Object.keys(asked).length === 0)
        throw new UsageError('nothing to modify', 'give --bandwidth, --delay, --jitter or --loss');
      await session.change(
        (tx) => tx.modifyInstance({ vpc, name, ...asked }),
        options,
        (result) => {
          const verb = verbOf(result, `instance ${vpc}/${name}`);
          return {
            text: [`${verb === 'unchanged' ? 'unchanged:' : verb} instance ${vpc}/${name}`],
            json: { instance: { vpc, name } },
          };
        },
      );
    });

  program
    .command('delete-instance')
    .description('delete an instance')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--name <name>', 'name of the instance')
    .addOption(dryRunOption())
    .action(async (options: DeleteInstanceOptions) => {
      const { vpc, name } = options;
      await session.remove(
        (tx) => tx.deleteInstance(vpc, name),
        options,
        `deleted instance ${vpc}/${name}`,
        `no instance ${name} in VPC ${vpc}: nothing to delete`,
      );
    });

  program
    .command('assign-private-ip-addresses')
    .description('give an instance further addresses of its subnet')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--instance <name>', 'the instance')
    .option('--ip <addresses...>', 'these, of either family', readList)
    .option('--count <number>', 'so many free IPv4 ones more', readCount)
    .option('--allow-reassignment', 'take what is a secondary address of another instance of the VPC')
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Examples:
  vpcctl assign-private-ip-addresses --vpc a --instance web-1 --count 2
  vpcctl assign-private-ip-addresses --vpc a --instance web-2 --ip 10.0.1.50 --allow-reassignment`,
    )
    .action(async (options: AssignOptions) => {
      const { vpc, instance, ip: ips, count, allowReassignment } = options;
      if (ips === undefined && count === undefined)
        throw new UsageError('no address is asked for', 'give --ip or --count');
      const wish = {
        ...(ips === undefined ? {} : { ips }),
        ...(count === undefined ? {} : { count }),
        ...(allowReassignment === undefined ? {} : { allowReassignment }),
      };
      await session.change(
        (tx) => tx.assignPrivateIps(vpc, instance, wish),
        options,
        ({ value }) => told(`instance ${vpc}/${instance} has`, value, { vpc, instance }),
      );
    });

  program
    .command('unassign-private-ip-addresses')
    .description('take secondary addresses from an instance')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--instance <name>', 'the instance')
    .requiredOption('--ip <addresses...>', 'these', readList)
    .addOption(dryRunOption())
    .action(async (options: UnassignOptions) => {
      const { vpc, instance, ip } = options;
      await session.change(
        (tx) => tx.unassignPrivateIps(vpc, instance, ip),
        options,
        ({ value }) => told(`instance ${vpc}/${instance} gave up`, value, { vpc, instance }),
      );
    });
}

interface AssignOptions extends DryRun {
  readonly vpc: string;
  readonly instance: string;
  readonly ip?: readonly string[];
  readonly count?: number;
  readonly allowReassignment?: boolean;
}

interface UnassignOptions extends DryRun {
  readonly vpc: string;
  readonly instance: string;
  readonly ip: readonly string[];
}

function told(what: string, addresses: readonly string[], whose: object) {
  return {
    text: [addresses.length === 0 ? 'unchanged: nothing to do' : `${what} ${addresses.join(', ')}`],
    json: { ...whose, addresses },
  };
}
