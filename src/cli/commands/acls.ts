/** Network ACLs: `create-network-acl` to `associate-network-acl`. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { AclDirection, NetworkAclEntrySpec, NetworkAclView } from '../../index.js';
import { UsageError } from '../failure.js';
import { nameOf } from '../files.js';
import type { Library } from '../host.js';
import { type DryRun, dryRunOption } from '../options.js';
import { aclLines } from '../render.js';
import type { Session } from '../session.js';
import { verbOf } from './vpc.js';

interface AclOptions extends DryRun {
  readonly vpc: string;
  readonly name: string;
}

interface Directions {
  readonly ingress?: boolean | undefined;
  readonly egress?: boolean | undefined;
}

interface EntryGiven {
  readonly number: number;
  readonly action: string;
  readonly cidr: string;
  readonly protocol?: string | number;
  readonly port?: string | number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
}

interface EntryOptions extends DryRun, Directions, EntryGiven {
  readonly vpc: string;
  readonly acl: string;
}

interface AssociateOptions extends DryRun {
  readonly vpc: string;
  readonly subnet: string;
  readonly acl?: string;
}

/** The one of the two that is asked for. */
export function directionOf({ ingress = false, egress = false }: Directions): AclDirection {
  if (ingress === egress) {
    throw new UsageError(
      ingress ? 'a rule is for ingress or for egress, not both' : 'neither ingress nor egress is named',
      'name one of the two',
    );
  }
  return ingress ? 'ingress' : 'egress';
}

/** The rule that options or keys tell of; the library checks it. */
export function entryOf(given: EntryGiven): NetworkAclEntrySpec {
  const { number, action, protocol, port, icmpType, icmpCode, cidr } = given;
  const entry = {
    number,
    action,
    ...(protocol === undefined ? {} : { protocol }),
    ...(port === undefined ? {} : { port }),
    ...(icmpType === undefined ? {} : { icmpType }),
    ...(icmpCode === undefined ? {} : { icmpCode }),
    cidr,
  };
  return entry as NetworkAclEntrySpec;
}

function readNumber(text: string): number {
  if (!/^-?[0-9]{1,9}$/.test(text)) throw new InvalidArgumentError('Expected a number.');
  return Number(text);
}

/** By name, or its number. */
function readProtocol(text: string): string | number {
  return /^[0-9]+$/.test(text) ? Number(text) : text;
}

function aclText(vpc: string, { name, subnets, ...lists }: NetworkAclView): string[] {
  const whose = subnets.length === 0 ? 'of no subnet' : `of ${subnets.join(', ')}`;
  return [`network acl ${vpc}/${name}  ${whose}`, ...aclLines(lists).map((line) => `  ${line}`)];
}

/** What a change of a network ACL tells: the ACL as it is now. */
function told(library: Library, vpc: string, name: string, verb: string): { text: string[]; json: object } {
  const found = library.inspect(vpc).networkAcls.find((one) => one.name === name);
  const [first = `network acl ${vpc}/${name}`, ...rest] = found === undefined ? [] : aclText(vpc, found);
  return {
    text: [`${verb === 'unchanged' ? 'unchanged:' : verb} ${first}`, ...rest],
    json: { networkAcl: found ?? null },
  };
}

function addWhole(program: Command, session: Session): void {
  program
    .command('create-network-acl')
    .description('make a network ACL, which denies everything until it has rules')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--name <name>', 'its name, the only one of a network ACL in the VPC')
    .addOption(dryRunOption())
    .action(async (options: AclOptions) => {
      const { vpc, name } = options;
      await session.change(
        (tx) => tx.addNetworkAcl(vpc, name),
        options,
        (result, library) => told(library, vpc, name, verbOf(result, `network acl ${vpc}/${name}`)),
      );
    });

  program
    .command('put-network-acl')
    .description('make a network ACL, or replace its rules')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--name <name>', 'name of the network ACL')
    .requiredOption('--rules <file>', 'YAML or JSON with ingress and egress lists; - is standard input')
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Example:
  echo '{"ingress": [{"number": 100, "action": "allow", "cidr": "10.0.0.0/8"}]}' |
    vpcctl put-network-acl --vpc a --name inside --rules -`,
    )
    .action(async (options: AclOptions & { readonly rules: string }) => {
      const { vpc, name, rules } = options;
      const text = await session.readText(rules);
      const { parseNetworkAclFile } = await import('../../index.js');
      const spec = await parseNetworkAclFile(text, { file: nameOf(rules) });
      const change = async () =>
        session.change(
          (tx) => tx.putNetworkAcl(vpc, name, spec),
          options,
          (result, library) => told(library, vpc, name, verbOf(result, `network acl ${vpc}/${name}`)),
        );
      await session.blaming(rules, change);
    });

  program
    .command('delete-network-acl')
    .description('delete a network ACL that no subnet is associated with')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--name <name>', 'name of the network ACL')
    .addOption(dryRunOption())
    .action(async (options: AclOptions) => {
      const { vpc, name } = options;
      await session.remove(
        (tx) => tx.deleteNetworkAcl(vpc, name),
        options,
        `deleted network acl ${vpc}/${name}`,
        `no network acl ${name} in VPC ${vpc}: nothing to delete`,
      );
    });
}

function addEntries(program: Command, session: Session): void {
  const direction = (command: Command): Command =>
    command
      .addOption(new Option('--ingress', 'for packets into the subnet').conflicts('egress'))
      .addOption(new Option('--egress', 'for packets out of the subnet'));

  direction(
    program
      .command('create-network-acl-entry')
      .description('add a rule to a network ACL, or put it in the place of the one with its number')
      .requiredOption('--vpc <name>', 'VPC of the network ACL')
      .requiredOption('--acl <name>', 'the network ACL'),
  )
    .requiredOption('--number <number>', '1 to 32766: the lowest that matches decides', readNumber)
    .addOption(new Option('--action <action>', 'what it decides').choices(['allow', 'deny']).makeOptionMandatory())
    .option('--protocol <protocol>', 'tcp, udp, icmp, any or a number (default: any)', readProtocol)
    .option('--port <port>', "the destination's port, or FROM-TO; only with tcp and udp (default: any)")
    .option('--icmp-type <type>', 'only with icmp; -1 is all (default: all)', readNumber)
    .option('--icmp-code <code>', 'only with a type; -1 is all (default: all)', readNumber)
    .requiredOption('--cidr <cidr>', 'the other side: of ingress the source, of egress the destination')
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Stateless: an answer needs a rule of its own, for the port that it goes to.

Example:
  vpcctl create-network-acl-entry --vpc a --acl web --ingress --number 100 \\
    --action allow --protocol tcp --port 443 --cidr 0.0.0.0/0
  vpcctl create-network-acl-entry --vpc a --acl web --egress --number 100 \\
    --action allow --protocol tcp --port 1024-65535 --cidr 0.0.0.0/0`,
    )
    .action(async (options: EntryOptions) => {
      const { vpc, acl } = options;
      const list = directionOf(options);
      await session.change(
        (tx) => tx.putNetworkAclEntry(vpc, acl, list, entryOf(options)),
        options,
        (result, library) => told(library, vpc, acl, result.unchanged ? 'unchanged' : 'changed'),
      );
    });

  direction(
    program
      .command('delete-network-acl-entry')
      .description('delete a rule of a network ACL')
      .requiredOption('--vpc <name>', 'VPC of the network ACL')
      .requiredOption('--acl <name>', 'the network ACL'),
  )
    .requiredOption('--number <number>', 'number of the rule', readNumber)
    .addOption(dryRunOption())
    .action(async (options: EntryOptions) => {
      const { vpc, acl, number } = options;
      const list = directionOf(options);
      await session.remove(
        (tx) => tx.deleteNetworkAclEntry(vpc, acl, list, number),
        options,
        `deleted ${list} rule ${number} of network acl ${vpc}/${acl}`,
        `no ${list} rule ${number} in network acl ${vpc}/${acl}: nothing to delete`,
      );
    });
}

export function addAcls(program: Command, session: Session): void {
  addWhole(program, session);
  addEntries(program, session);

  program
    .command('associate-network-acl')
    .description("let a network ACL judge what crosses a subnet's border")
    .requiredOption('--vpc <name>', 'VPC of both')
    .requiredOption('--subnet <name>', 'the subnet')
    .option('--acl <name>', 'the network ACL (default: none, everything may pass)')
    .addOption(dryRunOption())
    .action(async (options: AssociateOptions) => {
      const { vpc, subnet, acl } = options;
      await session.change(
        (tx) => tx.associateNetworkAcl(vpc, subnet, acl),
        options,
        (result) => ({
          text: [
            `${result.unchanged ? 'unchanged:' : 'changed'} subnet ${vpc}/${subnet}  ${acl === undefined ? 'no network acl' : `network acl ${acl}`}`,
          ],
          json: { vpc, subnet, networkAcl: acl ?? null },
        }),
      );
    });
}
