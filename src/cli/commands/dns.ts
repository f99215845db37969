/** DNS: `modify-vpc-dns`, and private zones, `create-private-zone` to `delete-zone-record`. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { RecordType, ZoneRecordSpec } from '../../index.js';
import { DNS_DOMAIN, DNS_FORWARD, type DnsOptions, dnsOf } from '../dns-options.js';
import { type DryRun, dryRunOption, readFilled, readList } from '../options.js';
import { dnsText, zoneText } from '../render.js';
import type { Session } from '../session.js';
import { verbOf } from './vpc.js';

const TYPES = ['A', 'AAAA', 'CNAME', 'MX', 'PTR', 'SRV', 'TXT'] as const;

export function readRecordType(text: string): RecordType {
  const found = TYPES.find((type) => type === text.toUpperCase());
  if (found === undefined) throw new InvalidArgumentError(`Expected ${TYPES.join(', ')}.`);
  return found;
}

function readTtl(text: string): number {
  if (!/^[0-9]{1,10}$/.test(text)) throw new InvalidArgumentError('Expected a number of seconds.');
  return Number(text);
}

/** `VPC/INSTANCE`. */
export function aliasOf(text: string): { vpc: string; instance: string } {
  const [vpc = '', instance = '', more] = text.split('/');
  if (vpc === '' || instance === '' || more !== undefined) throw new InvalidArgumentError('Expected VPC/INSTANCE.');
  return { vpc, instance };
}

interface ModifyOptions extends DryRun, Omit<DnsOptions, 'dns'> {
  readonly vpc: string;
  readonly off?: boolean;
}

interface ZoneOptions extends DryRun {
  readonly name: string;
  readonly domain: string;
  readonly vpcs?: readonly string[];
}

interface AssociateOptions extends DryRun {
  readonly zone: string;
  readonly vpc: string;
}

interface RecordOptions extends DryRun {
  readonly zone: string;
  readonly name: string;
  readonly type?: RecordType;
  readonly ttl?: number;
  readonly value?: readonly string[];
  readonly alias?: { readonly vpc: string; readonly instance: string };
}

export function addDns(program: Command, session: Session): void {
  const shown =
    (name: string) => (result: { readonly unchanged: boolean }, library: Awaited<ReturnType<Session['open']>>) => {
      const found = library.list().privateZones.find((one) => one.name === name);
      const [head = `private zone ${name}`, ...rest] = found === undefined ? [] : zoneText(found, session.colors);
      return {
        text: [`${result.unchanged ? 'unchanged:' : 'changed'} ${head}`, ...rest],
        json: { privateZone: found ?? null },
      };
    };
  const type = () => new Option('--type <type>', `${TYPES.join(', ')} (default: A)`).argParser(readRecordType);

  program
    .command('modify-vpc-dns')
    .description('give a VPC a resolver, change it, or take it away')
    .requiredOption('--vpc <name>', 'the VPC')
    .option(...DNS_DOMAIN)
    .option(DNS_FORWARD[0], DNS_FORWARD[1], readList)
    .option('--off', 'it has none any more')
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Examples:
  vpcctl modify-vpc-dns --vpc a
  vpcctl modify-vpc-dns --vpc a --dns-domain corp.internal --dns-forward 192.0.2.53
  vpcctl modify-vpc-dns --vpc a --off`,
    )
    .action(async ({ off, ...options }: ModifyOptions) => {
      const { vpc } = options;
      const spec = dnsOf({ ...options, dns: off !== true }) ?? true;
      await session.change(
        (tx) => tx.setDns(vpc, spec),
        options,
        (result, library) => {
          const { dns } = library.inspect(vpc);
          const verb = result.unchanged ? 'unchanged:' : 'changed';
          return { text: [`${verb} vpc ${vpc}  ${dnsText(dns)}`], json: { dns } };
        },
      );
    });

  program
    .command('create-private-zone')
    .description('make a private zone: names that the resolvers of some VPCs know')
    .requiredOption('--name <name>', 'its name')
    .requiredOption('--domain <domain>', 'the domain that it is for')
    .option('--vpcs <names...>', 'VPCs whose resolvers know it', readList)
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Examples:
  vpcctl create-private-zone --name corp --domain corp.internal --vpcs a,b
  vpcctl put-zone-record --zone corp --name db --value 10.1.1.4
  vpcctl put-zone-record --zone corp --name www --alias a/web-1
  vpcctl put-zone-record --zone corp --name @ --type MX --value '10 mail.corp.internal'`,
    )
    .action(async (options: ZoneOptions) => {
      const { name, domain, vpcs } = options;
      await session.change(
        (tx) => tx.putPrivateZone(name, { domain, ...(vpcs === undefined ? {} : { vpcs }) }),
        options,
        (result, library) => {
          const [head = '', ...rest] = zoneText(
            library.list().privateZones.find((one) => one.name === name) ?? { name, domain, vpcs: [], records: [] },
            session.colors,
          );
          const verb = verbOf(result, `private zone ${name}`);
          return { text: [`${verb === 'unchanged' ? 'unchanged:' : verb} ${head}`, ...rest], json: { name, domain } };
        },
      );
    });

  program
    .command('delete-private-zone')
    .description('delete a private zone with its records')
    .requiredOption('--name <name>', 'its name')
    .addOption(dryRunOption())
    .action(async (options: ZoneOptions) => {
      const { name } = options;
      await session.remove(
        (tx) => tx.deletePrivateZone(name),
        options,
        `deleted private zone ${name}`,
        `no private zone ${name}: nothing to delete`,
      );
    });

  program
    .command('associate-private-zone')
    .description("let a VPC's resolver answer from a private zone")
    .requiredOption('--zone <name>', 'the private zone')
    .requiredOption('--vpc <name>', 'the VPC')
    .addOption(dryRunOption())
    .action(async (options: AssociateOptions) => {
      const { zone, vpc } = options;
      await session.change((tx) => tx.associatePrivateZone(zone, vpc), options, shown(zone));
    });

  program
    .command('disassociate-private-zone')
    .description("let a VPC's resolver know a private zone no more")
    .requiredOption('--zone <name>', 'the private zone')
    .requiredOption('--vpc <name>', 'the VPC')
    .addOption(dryRunOption())
    .action(async (options: AssociateOptions) => {
      const { zone, vpc } = options;
      await session.remove(
        (tx) => tx.disassociatePrivateZone(zone, vpc),
        options,
        `disassociated vpc ${vpc} from private zone ${zone}`,
        `vpc ${vpc} is not associated with private zone ${zone}: nothing to delete`,
      );
    });

  program
    .command('put-zone-record')
    .description('add a record to a private zone, or put it in the place of the one of its name and type')
    .requiredOption('--zone <name>', 'the private zone')
    .requiredOption(
      '--name <name>',
      "below the zone's domain; @: the domain itself; *.x: all names below x",
      readFilled,
    )
    .addOption(type())
    .option('--ttl <seconds>', 'how long an answer may be kept (default: 300)', readTtl)
    .option('--value <values...>', 'its values, an argument each')
    .option('--alias <instance>', 'VPC/INSTANCE: the address of that instance', aliasOf)
    .addOption(dryRunOption())
    .action(async (options: RecordOptions) => {
      const record = recordOf(options);
      await session.change((tx) => tx.putZoneRecord(options.zone, record), options, shown(options.zone));
    });

  program
    .command('delete-zone-record')
    .description('delete a record of a private zone')
    .requiredOption('--zone <name>', 'the private zone')
    .requiredOption('--name <name>', 'its name, as put-zone-record has it', readFilled)
    .addOption(type())
    .addOption(dryRunOption())
    .action(async (options: RecordOptions) => {
      const { zone, name, type: of = 'A' } = options;
      await session.remove(
        (tx) => tx.deleteZoneRecord(zone, name, of),
        options,
        `deleted the ${of} record ${name} of private zone ${zone}`,
        `no ${of} record ${name} in private zone ${zone}: nothing to delete`,
      );
    });
}

export function recordOf({ name, type, ttl, value, alias }: Omit<RecordOptions, 'zone'>): ZoneRecordSpec {
  return {
    name,
    ...(type === undefined ? {} : { type }),
    ...(ttl === undefined ? {} : { ttl }),
    ...(value === undefined ? {} : { values: value }),
    ...(alias === undefined ? {} : { alias }),
  };
}
