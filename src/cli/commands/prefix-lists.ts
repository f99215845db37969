/** Customer-managed prefix lists: `create-prefix-list`, `modify-prefix-list`, `delete-prefix-list`. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ModifyPrefixList, PrefixListEntrySpec } from '../../index.js';
import { type Cut, cutOption, type DryRun, dryRunOption, readList } from '../options.js';
import { prefixListText } from '../render.js';
import type { Session } from '../session.js';

interface CreateOptions extends DryRun {
  readonly name: string;
  readonly family: 'ipv4' | 'ipv6';
  readonly maxEntries: number;
  readonly entry?: readonly string[];
}

interface ModifyOptions extends DryRun, Cut {
  readonly name: string;
  readonly add?: readonly string[];
  readonly remove?: readonly string[];
  readonly maxEntries?: number;
}

function readCount(text: string): number {
  if (!/^[0-9]{1,6}$/.test(text)) throw new InvalidArgumentError('Expected a number.');
  return Number(text);
}

/** `10.0.0.0/8=the office`: a block, and what it is. */
function entryOf(text: string): PrefixListEntrySpec {
  const at = text.indexOf('=');
  return at < 0 ? { cidr: text } : { cidr: text.slice(0, at), description: text.slice(at + 1) };
}

/** As a word of an operation; one that is none is the library's to refuse. */
export function familyOf(text: string | undefined): { family?: 'ipv4' | 'ipv6' } {
  return text === undefined ? {} : { family: text as 'ipv4' | 'ipv6' };
}

export function entriesOf(texts: readonly string[] | undefined): { entries?: readonly PrefixListEntrySpec[] } {
  return texts === undefined ? {} : { entries: texts.map(entryOf) };
}

export function modificationOf({
  add,
  remove,
  maxEntries,
}: Pick<ModifyOptions, 'add' | 'remove' | 'maxEntries'>): ModifyPrefixList {
  return {
    ...(add === undefined ? {} : { add: add.map(entryOf) }),
    ...(remove === undefined ? {} : { remove }),
    ...(maxEntries === undefined ? {} : { maxEntries }),
  };
}

const ENTRY = 'CIDR, or CIDR=DESCRIPTION';
/** A description may have commas. */
const readEntries = (text: string, before: readonly string[] | undefined): readonly string[] => [
  ...(before ?? []),
  text,
];

export function addPrefixLists(program: Command, session: Session): void {
  /** After a change: the list as it is now. */
  const shown =
    (name: string, verb: string) =>
    (result: { readonly unchanged: boolean }, library: Awaited<ReturnType<Session['open']>>) => {
      const found = library.list().prefixLists.find((one) => one.name === name);
      const [head = `prefix list ${name}`, ...rest] = found === undefined ? [] : prefixListText(found);
      return {
        text: [`${result.unchanged ? 'unchanged:' : verb} ${head}`, ...rest],
        json: { prefixList: found ?? null },
      };
    };

  program
    .command('create-prefix-list')
    .description('make a prefix list: blocks under one name, for rules of security groups and routes of any VPC')
    .requiredOption('--name <name>', 'its name')
    .requiredOption(
      '--max-entries <number>',
      'the most entries: what a reference to it counts for in quotas',
      readCount,
    )
    .addOption(
      new Option('--family <family>', 'of all its entries; it never changes').choices(['ipv4', 'ipv6']).default('ipv4'),
    )
    .option('--entry <entries...>', ENTRY, readEntries)
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Example:
  vpcctl create-prefix-list --name offices --max-entries 10 --entry 10.8.0.0/16=Berlin 10.9.0.0/16
  vpcctl create-route --vpc a --destination pl:offices --target tgw:core`,
    )
    .action(async (options: CreateOptions) => {
      const { name, family, maxEntries, entry } = options;
      await session.change(
        (tx) => tx.createPrefixList(name, { family, maxEntries, ...entriesOf(entry) }),
        options,
        shown(name, 'created'),
      );
    });

  program
    .command('modify-prefix-list')
    .description('add and remove entries of a prefix list, or change its size; what refers to it changes with it')
    .requiredOption('--name <name>', 'the prefix list')
    .option('--add <entries...>', ENTRY, readEntries)
    .option('--remove <cidrs...>', 'blocks to leave out', readList)
    .option('--max-entries <number>', 'the most entries; not together with the others', readCount)
    .addOption(cutOption())
    .addOption(dryRunOption())
    .action(async (options: ModifyOptions) => {
      const { name } = options;
      await session.change((tx) => tx.modifyPrefixList(name, modificationOf(options)), options, shown(name, 'changed'));
    });

  program
    .command('delete-prefix-list')
    .description('delete a prefix list that no rule and no route refers to')
    .requiredOption('--name <name>', 'the prefix list')
    .addOption(dryRunOption())
    .action(async (options: DryRun & { readonly name: string }) => {
      const { name } = options;
      await session.remove(
        (tx) => tx.deletePrefixList(name),
        options,
        `deleted prefix list ${name}`,
        `no prefix list ${name}: nothing to delete`,
      );
    });
}
