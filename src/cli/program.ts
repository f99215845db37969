/** The tree of commands, and one run of it: arguments in, exit status out. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, CommanderError, Option } from 'commander';
import { addAcls } from './commands/acls.js';
import { addAnalysis } from './commands/analyze.js';
import { addBatch } from './commands/batch.js';
import { addBench } from './commands/bench.js';
import { addCompletion } from './commands/completion.js';
import { addDaemon } from './commands/daemon.js';
import { addDeclarative } from './commands/declarative.js';
import { addDns } from './commands/dns.js';
import { addGroups } from './commands/groups.js';
import { addInspection } from './commands/inspect.js';
import { addInstances } from './commands/instance.js';
import { addPeerings } from './commands/peering.js';
import { addPolicies } from './commands/policy.js';
import { addPrefixLists } from './commands/prefix-lists.js';
import { addPrograms } from './commands/programs.js';
import { addRepairs } from './commands/repair.js';
import { addRouting } from './commands/routing.js';
import { addSettings } from './commands/settings.js';
import { addSubnets } from './commands/subnet.js';
import { addTransit } from './commands/transit.js';
import { addVpcs } from './commands/vpc.js';
import { addWatch } from './commands/watch.js';
import { UsageError } from './failure.js';
import type { Host } from './host.js';
import { readFilled } from './options.js';
import { Session } from './session.js';

const EXIT_CODES_HELP = `
Exit status:
  0  done, or nothing to do      5  conflict: exists otherwise, or in use
  1  unexpected failure          6  the kernel refused: all was undone
  2  wrong command line          7  privilege or program missing: see doctor
  3  a value breaks a rule       8  differences found (drift, plan --detailed-exitcode) or left (repair)
  4  no such thing               9  the state cannot be read or written
 10  not reachable (analyze)   11  a packet does otherwise than the rules say (analyze --probe)
  130, 143  interrupted: what had been done was undone

Example:
  vpcctl create-vpc --name a --cidr 10.1.0.0/16
  vpcctl add-subnet --vpc a --subnet web --cidr 10.1.1.0/24 --nat
  vpcctl deploy-app --vpc a --subnet web --port 8080
  vpcctl show`;

function version(): string {
  const file = join(import.meta.dirname, '..', '..', 'package.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

type AddCommands = (program: Command, session: Session) => void;

/** The commands in the order and under the headings of the help, with what adds them. */
const GROUPS: readonly (readonly [heading: string, ...(readonly [add: AddCommands, ...names: string[]])[]])[] = [
  [
    'Make and delete:',
    [addSettings, 'configure'],
    [addVpcs, 'create-vpc', 'delete-vpc', 'cleanup-all'],
    [addSubnets, 'add-subnet', 'delete-subnet'],
    [
      addInstances,
      'add-instance',
      'modify-instance',
      'delete-instance',
      'assign-private-ip-addresses',
      'unassign-private-ip-addresses',
    ],
    [addPeerings, 'peer-vpcs', 'unpeer-vpcs'],
    [
      addRouting,
      'create-route-table',
      'delete-route-table',
      'create-route',
      'delete-route',
      'associate-route-table',
      'create-nat-gateway',
      'delete-nat-gateway',
      'create-egress-only-internet-gateway',
      'delete-egress-only-internet-gateway',
      'allocate-address',
      'release-address',
      'associate-address',
      'disassociate-address',
    ],
    [
      addAcls,
      'create-network-acl',
      'put-network-acl',
      'delete-network-acl',
      'create-network-acl-entry',
      'delete-network-acl-entry',
      'associate-network-acl',
    ],
    [addPrefixLists, 'create-prefix-list', 'modify-prefix-list', 'delete-prefix-list'],
    [
      addTransit,
      'create-transit-gateway',
      'delete-transit-gateway',
      'attach-vpc',
      'detach-vpc',
      'create-transit-gateway-route-table',
      'delete-transit-gateway-route-table',
      'create-transit-gateway-route',
      'delete-transit-gateway-route',
    ],
    [
      addDns,
      'modify-vpc-dns',
      'create-private-zone',
      'delete-private-zone',
      'associate-private-zone',
      'disassociate-private-zone',
      'put-zone-record',
      'delete-zone-record',
    ],
    [addGroups, 'put-security-group', 'delete-security-group'],
    [addPolicies, 'apply-policy', 'show-policy', 'clear-policy'],
  ],
  ['Many at once:', [(program, session) => addBatch(program, session, run), 'batch']],
  ['Programs:', [addPrograms, 'deploy-app', 'stop-app', 'exec']],
  [
    'Whole networks from files:',
    [addDeclarative, 'plan', 'apply', 'destroy', 'export', 'import', 'cut-connections', 'schema'],
  ],
  ['Look:', [addInspection, 'list', 'show', 'inspect', 'doctor'], [addAnalysis, 'analyze', 'matrix']],
  ['Compare and put back:', [addRepairs, 'drift', 'repair', 'restore'], [addWatch, 'watch']],
  ['This machine:', [addBench, 'bench']],
  ['Answer commands:', [(program, session) => addDaemon(program, session, run), 'daemon']],
  ['Help:', [addCompletion, 'completion']],
];

/** These look at all the others. */
const LOOK_AT_ALL = ['completion'];

/** What adds the one command that is run; undefined where that takes all of them. Making all takes 3 ms. */
function addOnly(word: string | undefined): AddCommands | undefined {
  if (word === undefined || LOOK_AT_ALL.includes(word)) return undefined;
  for (const [, ...group] of GROUPS) {
    for (const [add, ...names] of group) if (names.includes(word)) return add;
  }
  return undefined;
}

/** Builds the commands; with `only`, those that are added together with this one. Nothing is loaded or opened before one of them runs. */
export function buildProgram(session: Session, write: (text: string) => void, only?: string): Command {
  const program = new Command('vpcctl')
    .description('Cloud VPCs made of real Linux kernel objects: routed, translated and filtered by the kernel itself.')
    .addOption(new Option('--version', 'print the version'))
    .on('option:version', () => {
      write(`${version()}\n`);
      throw new CommanderError(0, 'vpcctl.version', 'the version was printed');
    })
    .helpOption('-h, --help', 'show help')
    .addHelpCommand(new Command('help').argument('[command]').description('show help for a command').helpGroup('Help:'))
    .addOption(
      new Option('--state <dir>', 'directory of the state (default: $VPCCTL_STATE, else /var/lib/vpcctl)').argParser(
        readFilled,
      ),
    )
    .option('--json', 'print one JSON document; watch: one a line')
    .option('--quiet', 'print only what was asked for')
    .option('--no-color', 'print without colours (as with NO_COLOR)')
    .exitOverride()
    // Help goes to standard output; what commander would say of errors is said by describeFailure.
    .configureOutput({
      writeOut: write,
      writeErr: () => {},
      outputError: () => {},
      getOutHelpWidth: () => session.width as number,
    })
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', EXIT_CODES_HELP)
    .hook('preAction', (_program, command) => session.configure(command.optsWithGlobals(), command.name()));
  const add = addOnly(only);
  if (add !== undefined) add(program, session);
  else {
    for (const [heading, ...group] of GROUPS) {
      program.commandsGroup(heading);
      for (const [addCommands] of group) addCommands(program, session);
    }
  }
  return program;
}

/** The arguments that are ours: those before `--`. */
function own(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf('--');
  return end === -1 ? argv : argv.slice(0, end);
}

/** The command that is named, if one is. */
function commandOf(argv: readonly string[]): string | undefined {
  return argv.find((word, at) => !word.startsWith('-') && argv[at - 1] !== '--state');
}

/** What commander refused, in our form. */
function usageError(error: CommanderError, argv: readonly string[]): UsageError {
  if (error.code === 'commander.help') {
    const word = own(argv).find((argument) => !argument.startsWith('-') && argument !== 'help');
    return word === undefined
      ? new UsageError('no command is given', 'see vpcctl --help')
      : new UsageError(`there is no command ${JSON.stringify(word)}`, 'see vpcctl --help');
  }
  const [first = '', ...rest] = error.message.replace(/^error: /, '').split('\n');
  const suggestion = /\(Did you mean (.*)\?\)/s.exec(rest.join(' '))?.[1];
  const command = own(argv).includes('exec') || own(argv).includes('deploy-app');
  if (suggestion !== undefined) return new UsageError(first, `did you mean ${suggestion}?`);
  if (command && (error.code === 'commander.unknownOption' || error.code === 'commander.excessArguments')) {
    return new UsageError(first, 'write the command after --');
  }
  return new UsageError(first, rest.length === 0 ? undefined : rest.join(' '));
}

/** Runs the command; never throws. */
export async function run(argv: readonly string[], host: Host): Promise<number> {
  const session = new Session(host);
  const program = buildProgram(session, (text) => host.stdout.write(text), commandOf(argv));
  try {
    // Nothing asked is no mistake: somebody looks for the way in.
    if (argv.length === 0) program.outputHelp();
    else await program.parseAsync(argv, { from: 'user' });
    return session.exitCode;
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const failure = await session.failureOf(error instanceof CommanderError ? usageError(error, argv) : error);
    if (own(argv).includes('--json')) host.stdout.write(session.document({ error: failure.error }));
    for (const line of failure.lines) host.stderr.write(`${line}\n`);
    return failure.exitCode;
  } finally {
    await session.close();
  }
}
