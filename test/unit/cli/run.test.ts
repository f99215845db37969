/** The command from its arguments to its exit status, on a library of the test's own. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { PassThrough } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Library } from '../../../src/cli/host.js';
import { Progress } from '../../../src/cli/session.js';
import {
  type PlannedChange,
  type PlanView,
  type RunOptions,
  type Spec,
  type Transaction,
  VpcctlError,
  type WatchEvent,
  type WatchOptions,
} from '../../../src/index.js';
import { EMPTY_PLAN, VPC_A, VPC_B, vpcctl } from './support.js';

let dir = '';
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'vpcctl-cli-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, text);
  return path;
}

const CREATED: PlanView = {
  changes: [{ action: 'create', resource: 'vpc a', kind: 'vpc', values: { cidrs: ['10.1.0.0/16'] } }],
  kernel: { create: 9, update: 0, delete: 0 },
};

/** Records the verbs of a transaction; `answers` are what they return. */
function recorder(answers: Readonly<Record<string, unknown>> = {}): { calls: unknown[][]; tx: Transaction } {
  const calls: unknown[][] = [];
  const tx = new Proxy({} as Transaction, {
    get: (_target, verb: string) => {
      return (...args: unknown[]) => {
        calls.push([verb, ...args]);
        return answers[verb];
      };
    },
  });
  return { calls, tx };
}

function transacting(plan: PlanView, answers: Readonly<Record<string, unknown>> = {}) {
  const { calls, tx } = recorder(answers);
  const options: RunOptions[] = [];
  const library: Partial<Library> = {
    transaction: async (edit, given = {}) => {
      options.push(given);
      return { ...plan, value: edit(tx), unchanged: plan === EMPTY_PLAN, held: [] };
    },
    inspect: () => VPC_A,
    list: () => ({
      publicPool: '198.51.100.0/24',
      poolRouted: false,
      ipv6Pool: 'fd76:7063:6300::/40',
      ipv6PoolRouted: false,
      uplink: 'auto',
      quotas: { subnetsPerVpc: 9 },
      edge: null,
      elasticIps: [],
      prefixLists: [],
      vpcs: [VPC_A, VPC_B],
      privateZones: [],
      transitGateways: [],
      peerings: [{ vpcs: ['a', 'b'], allowCidrs: null, routes: 'auto' }],
    }),
  };
  return { library, calls, options };
}

describe('help and version', () => {
  test.each([[[]], [['--help']], [['-h']], [['help']]])(
    '%j prints the commands in groups and the exit codes',
    async (argv) => {
      const { exitCode, stdout, stderr } = await vpcctl(argv);
      expect([exitCode, stderr]).toEqual([0, '']);
      for (const heading of [
        'Make and delete:',
        'Programs:',
        'Whole networks from files:',
        'Look:',
        'Compare and put back:',
        'Help:',
        'Exit status:',
      ]) {
        expect(stdout).toContain(`\n${heading}\n`);
      }
      expect(stdout).not.toContain('\nCommands:\n');
    },
  );

  test('every command has a description and takes the global options', async () => {
    const { stdout } = await vpcctl(['--help']);
    const commands = [...stdout.matchAll(/^ {2}([a-z][a-z-]+)(?: [[<]| {2,})/gm)].map(([, name]) => name ?? '');
    expect(commands).toContain('create-vpc');
    for (const command of commands.filter((name) => name !== 'help')) {
      const { exitCode, stdout: help } = await vpcctl([command, '--help']);
      expect(exitCode).toBe(0);
      expect(help).toMatch(/^Usage: vpcctl [a-z-]+.*\n\n\S.{10,}/);
      for (const option of ['--state', '--json', '--quiet', '--no-color']) expect(help).toContain(`  ${option}`);
    }
  });

  test.each([
    'create-vpc',
    'delete-vpc',
    'cleanup-all',
    'add-subnet',
    'delete-subnet',
    'add-instance',
    'modify-instance',
    'delete-instance',
    'peer-vpcs',
    'unpeer-vpcs',
    'put-security-group',
    'delete-security-group',
    'apply-policy',
    'clear-policy',
    'deploy-app',
    'stop-app',
    'apply',
    'import',
    'destroy',
  ])('%s has --dry-run', async (command) => {
    expect((await vpcctl([command, '--help'])).stdout).toContain('--dry-run');
  });

  test('--version is that of the package', async () => {
    const { version } = JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8'));
    expect(await vpcctl(['--version'])).toMatchObject({ exitCode: 0, stdout: `${version}\n`, stderr: '' });
  });

  test('nothing heavy is loaded before a command needs it', () => {
    const root = join(dirname(fileURLToPath(import.meta.url)), '../../../src/cli');
    const sources = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
    expect(sources.length).toBeGreaterThan(10);
    const statics = sources.flatMap((name) =>
      [...readFileSync(join(root, name), 'utf8').matchAll(/^import (?!type )(?:[^;]*? from )?'([^']+)';/gm)].map(
        ([, specifier = '']) => specifier,
      ),
    );
    const strangers = statics.filter(
      (specifier) => !/^(node:|commander$|picocolors$)/.test(specifier) && !/^\.{1,2}\/(?!.*index\.js)/.test(specifier),
    );
    expect(strangers).toEqual([]);
  });
});

describe('a wrong command line ends with 2 and one line', () => {
  test.each([
    [['frobnicate'], `unknown command 'frobnicate'`],
    [['crate-vpc'], `unknown command 'crate-vpc'; did you mean create-vpc?`],
    [['--quiet'], 'no command is given; see vpcctl --help'],
    [['help', 'frob'], 'there is no command "frob"; see vpcctl --help'],
    [['list', '--jsn'], `unknown option '--jsn'; did you mean --json?`],
    [['list', '--a\u001b[31m'], `unknown option '--a\\u{1b}[31m'`],
    [['list', 'x'], `too many arguments for 'list'. Expected 0 arguments but got 1.`],
    [['create-vpc', '--name', 'a'], `required option '--cidr <cidr>' not specified`],
    [['create-vpc', '--name', 'a', '--cidr'], `option '--cidr <cidr>' argument missing`],
    [['list', '--state', ''], `option '--state <dir>' argument '' is invalid. It is empty.`],
    [['plan'], `missing required argument 'file'`],
    [
      ['export', '--format', 'xml'],
      `option '--format <format>' argument 'xml' is invalid. Allowed choices are yaml, json.`,
    ],
    [['add-subnet', '--vpc', 'a', '--subnet', 'b'], 'subnet b has no block; give --cidr, or --ip with --gateway'],
    [
      ['add-subnet', '--vpc', 'a', '--subnet', 'b', '--ip', '10.0.0.2', '--no-instance'],
      '--ip is the address of an instance, which --no-instance leaves out; give --cidr instead',
    ],
    [
      ['add-subnet', '--vpc', 'a', '--subnet', 'b', '--cidr', '10.0.0.0/24', '--nat', '--private'],
      `option '--private' cannot be used with option '--nat'`,
    ],
    [['deploy-app', '--vpc', 'a'], 'no instance is named; give --subnet or --instance'],
    [
      ['deploy-app', '--vpc', 'a', '--subnet', 'b', '--instance', 'c'],
      '--subnet and --instance both say where; give one of them',
    ],
    ...['0', '65536', '80a', '-1', '1e3', ''].map((port): [string[], string] => [
      ['deploy-app', '--vpc', 'a', '--subnet', 'b', `--port=${port}`],
      `option '--port <port>' argument '${port}' is invalid. Expected a number from 1 to 65535.`,
    ]),
    [['exec', '--vpc', 'a', '--subnet', 'b'], 'no command is given; write it after --'],
    [['exec', '--vpc', 'a', '--subnet', 'b', 'ping', '-c', '1'], `unknown option '-c'; write the command after --`],
    [['inspect'], 'no VPC is named; give --vpc'],
    [['inspect', 'a', '--vpc', 'b'], 'two VPCs are named; inspect one at a time'],
  ])('%j', async (argv, message) => {
    const outcome = await vpcctl(argv);
    expect(outcome).toEqual({ exitCode: 2, stdout: '', stderr: `vpcctl: ${message}\n`, opened: [] });
  });

  test('with --json also a document', async () => {
    const { exitCode, stdout, stderr } = await vpcctl(['list', '--json', '--nope']);
    expect(exitCode).toBe(2);
    expect(JSON.parse(stdout)).toEqual({ error: { code: 'USAGE', message: `unknown option '--nope'` } });
    expect(stderr).toBe(`vpcctl: unknown option '--nope'\n`);
  });

  test('what stands after -- is not ours', async () => {
    const { stdout } = await vpcctl(['frobnicate', '--', '--json']);
    expect(stdout).toBe('');
  });
});

describe('verbs say what the library is to do', () => {
  const web = { vpc: 'a', subnet: 'web', name: 'web' };
  const instance = { ip: '10.1.1.4', publicIp: null };
  test.each<[string, unknown[][]]>([
    ['create-vpc --name a --cidr 10.1.0.0/16', [['createVpc', { name: 'a', cidr: '10.1.0.0/16' }]]],
    // Whatever a name is, it arrives: to refuse it is the library's.
    ['create-vpc --name=-x --cidr 1', [['createVpc', { name: '-x', cidr: '1' }]]],
    ['create-vpc --name -x --cidr 1', [['createVpc', { name: '-x', cidr: '1' }]]],
    ['create-vpc --name ../../ü --cidr 1', [['createVpc', { name: '../../ü', cidr: '1' }]]],
    [
      'create-vpc --name a --cidr 1 --uplink eth1 --public-pool 2 --pool-routed',
      [
        ['configure', { uplink: 'eth1', publicPool: '2', poolRouted: true }],
        ['createVpc', { name: 'a', cidr: '1' }],
      ],
    ],
    ['configure --no-pool-routed --uplink none', [['configure', { poolRouted: false, uplink: 'none' }]]],
    [
      'configure --quota blocksPerVpc=5 securityGroupRules=60 --quota networkAclRules=20',
      [['configure', { quotas: { subnetsPerVpc: 9, blocksPerVpc: 5, securityGroupRules: 60, networkAclRules: 20 } }]],
    ],
    ['configure --quota subnetsPerVpc=none', [['configure', { quotas: {} }]]],
    ['delete-vpc --name a', [['deleteVpc', 'a', { force: false }]]],
    ['delete-vpc --name a --force', [['deleteVpc', 'a', { force: true }]]],
    [
      'add-subnet --vpc a --subnet web --ip 10.0.1.2 --gateway 10.0.1.1 --nat',
      [
        [
          'addSubnet',
          {
            vpc: 'a',
            name: 'web',
            gateway: '10.0.1.1',
            public: true,
            ip: '10.0.1.2',
            addressing: 'plain',
            extendVpc: true,
          },
        ],
        ['addInstance', { ...web, ip: '10.0.1.2' }],
      ],
    ],
    [
      'add-subnet --vpc a --subnet web --cidr 10.1.1.0/24',
      [
        ['addSubnet', { vpc: 'a', name: 'web', cidr: '10.1.1.0/24' }],
        ['addInstance', web],
      ],
    ],
    [
      'add-subnet --vpc a --subnet web --cidr 1 --public --no-instance',
      [['addSubnet', { vpc: 'a', name: 'web', cidr: '1', public: true }]],
    ],
    [
      'add-subnet --vpc a --subnet web --cidr 1 --private --no-instance',
      [['addSubnet', { vpc: 'a', name: 'web', cidr: '1', public: false }]],
    ],
    ['delete-subnet --vpc a --subnet web --force', [['deleteSubnet', 'a', 'web', { force: true }]]],
    ['add-instance --vpc a --subnet web --name web', [['addInstance', web]]],
    [
      'add-instance --vpc a --subnet web --name web --ip 1 --public-ip auto --security-group x,y z --security-group w',
      [['addInstance', { ...web, ip: '1', publicIp: true, securityGroups: ['x', 'y', 'z', 'w'] }]],
    ],
    ['add-instance --vpc a --subnet web --name web --public-ip none', [['addInstance', { ...web, publicIp: false }]]],
    ['add-instance --vpc a --subnet web --name web --public-ip 9', [['addInstance', { ...web, publicIp: '9' }]]],
    [
      'add-instance --vpc a --subnet web --name web --bandwidth in=1mbit,burst=64kib --delay 20ms',
      [['addInstance', { ...web, bandwidth: { in: '1mbit', burst: '64kib' }, delay: '20ms' }]],
    ],
    [
      'modify-instance --vpc a --name web --bandwidth none --jitter out=1ms --loss 1%',
      [['modifyInstance', { vpc: 'a', name: 'web', bandwidth: null, jitter: { out: '1ms' }, loss: '1%' }]],
    ],
    ['delete-instance --vpc a --name web', [['deleteInstance', 'a', 'web']]],
    ['peer-vpcs --vpc1 a --vpc2 b', [['peer', 'a', 'b', undefined, 'auto']]],
    ['peer-vpcs --vpc1 a --vpc2 b --allow-cidrs 1,2', [['peer', 'a', 'b', ['1', '2'], 'auto']]],
    ['peer-vpcs --vpc1 a --vpc2 b --routes manual', [['peer', 'a', 'b', undefined, 'manual']]],
    ['create-route-table --vpc a --name t', [['addRouteTable', 'a', 't']]],
    ['delete-route-table --vpc a --name t', [['deleteRouteTable', 'a', 't']]],
    [
      'create-route --vpc a --destination 0.0.0.0/0 --target nat:out',
      [['addRoute', 'a', 'main', { destination: '0.0.0.0/0', target: { natGateway: 'out' } }]],
    ],
    [
      'create-route --vpc a --table t --destination 10.2.0.0/16 --target peer:b',
      [['addRoute', 'a', 't', { destination: '10.2.0.0/16', target: { peering: 'b' } }]],
    ],
    ['delete-route --vpc a --destination 0.0.0.0/0', [['deleteRoute', 'a', 'main', '0.0.0.0/0']]],
    ['associate-route-table --vpc a --subnet web --table t', [['associateRouteTable', 'a', 'web', 't']]],
    ['associate-route-table --vpc a --subnet web', [['associateRouteTable', 'a', 'web', undefined]]],
    [
      'create-nat-gateway --vpc a --subnet web --name out --elastic-ip e',
      [['addNatGateway', { vpc: 'a', subnet: 'web', name: 'out', elasticIp: 'e' }]],
    ],
    [
      'create-nat-gateway --vpc a --subnet web --name out --private --ip 1',
      [['addNatGateway', { vpc: 'a', subnet: 'web', name: 'out', ip: '1', connectivity: 'private' }]],
    ],
    ['delete-nat-gateway --vpc a --name out', [['deleteNatGateway', 'a', 'out']]],
    ['allocate-address --name e --address 1', [['allocateElasticIp', 'e', '1']]],
    ['release-address --name e', [['releaseElasticIp', 'e']]],
    ['associate-address --name e --vpc a --instance web', [['associateElasticIp', 'e', 'a', 'web']]],
    ['disassociate-address --name e', [['disassociateElasticIp', 'e']]],
    ['create-network-acl --vpc a --name n', [['addNetworkAcl', 'a', 'n']]],
    ['delete-network-acl --vpc a --name n', [['deleteNetworkAcl', 'a', 'n']]],
    [
      'create-network-acl-entry --vpc a --acl n --ingress --number 100 --action allow --protocol tcp --port 80-90 --cidr 1',
      [
        [
          'putNetworkAclEntry',
          'a',
          'n',
          'ingress',
          { number: 100, action: 'allow', protocol: 'tcp', port: '80-90', cidr: '1' },
        ],
      ],
    ],
    [
      'create-network-acl-entry --vpc a --acl n --egress --number 7 --action deny --protocol 1 --icmp-type 3 --icmp-code -1 --cidr 1',
      [
        [
          'putNetworkAclEntry',
          'a',
          'n',
          'egress',
          { number: 7, action: 'deny', protocol: 1, icmpType: 3, icmpCode: -1, cidr: '1' },
        ],
      ],
    ],
    [
      'delete-network-acl-entry --vpc a --acl n --egress --number 7',
      [['deleteNetworkAclEntry', 'a', 'n', 'egress', 7]],
    ],
    ['associate-network-acl --vpc a --subnet web --acl n', [['associateNetworkAcl', 'a', 'web', 'n']]],
    ['associate-network-acl --vpc a --subnet web', [['associateNetworkAcl', 'a', 'web', undefined]]],
    ['unpeer-vpcs --vpc1 a --vpc2 b', [['unpeer', 'a', 'b']]],
    ['delete-security-group --vpc a --name g', [['deleteSecurityGroup', 'a', 'g']]],
    ['clear-policy --vpc a --subnet web', [['clearPolicy', 'a', 'web']]],
  ])('%s', async (line, expected) => {
    const { library, calls, options } = transacting(EMPTY_PLAN, { addInstance: instance, addNatGateway: instance });
    const { exitCode, stderr } = await vpcctl(line.split(' '), { library });
    expect([exitCode, stderr]).toEqual([0, '']);
    expect(calls).toEqual(expected);
    expect(options).toMatchObject([{ dryRun: false }]);
  });

  test('the state directory is passed on, as an absolute path', async () => {
    const { library } = transacting(EMPTY_PLAN);
    expect((await vpcctl(['--state', 'x/y', 'list'], { library })).opened[0]?.state).toBe(join(process.cwd(), 'x/y'));
    expect((await vpcctl(['list', '--state', '/x'], { library })).opened[0]?.state).toBe('/x');
    expect((await vpcctl(['list'], { library })).opened[0]).not.toHaveProperty('state');
  });
});

describe('what was done is told', () => {
  const create = ['create-vpc', '--name', 'a', '--cidr', '10.1.0.0/16'];

  test.each([
    [CREATED, 'created vpc a  10.1.0.0/16\n'],
    [EMPTY_PLAN, 'unchanged: vpc a  10.1.0.0/16\n'],
  ])('the first time and the second', async (plan, text) => {
    expect((await vpcctl(create, { library: transacting(plan).library })).stdout).toBe(text);
  });

  test.each([
    ['delete-vpc --name x', 'deleteVpc', 'no VPC named x: nothing to delete', 'deleted vpc x'],
    [
      'delete-subnet --vpc a --subnet x',
      'deleteSubnet',
      'no subnet x in VPC a: nothing to delete',
      'deleted subnet a/x',
    ],
    [
      'delete-instance --vpc a --name x',
      'deleteInstance',
      'no instance x in VPC a: nothing to delete',
      'deleted instance a/x',
    ],
    ['unpeer-vpcs --vpc1 a --vpc2 b', 'unpeer', 'a and b are not peered: nothing to delete', 'unpeered a from b'],
    [
      'delete-security-group --vpc a --name x',
      'deleteSecurityGroup',
      'no security group x in VPC a: nothing to delete',
      'deleted security group a/x',
    ],
    [
      'clear-policy --vpc a --subnet x',
      'clearPolicy',
      'subnet a/x has no policy: nothing to clear',
      'cleared the policy of subnet a/x',
    ],
  ])('%s', async (line, verb, absent, done) => {
    for (const [value, text] of [
      [false, absent],
      [true, done],
    ] as const) {
      const { library } = transacting(value ? CREATED : EMPTY_PLAN, { [verb]: value });
      const outcome = await vpcctl(line.split(' '), { library });
      expect([outcome.exitCode, outcome.stdout]).toEqual([0, `${text}\n`]);
    }
  });

  test('with --json as one document of stable keys', async () => {
    const { stdout } = await vpcctl([...create, '--json'], { library: transacting(CREATED).library });
    expect(JSON.parse(stdout)).toEqual({ unchanged: false, dryRun: false, ...CREATED, vpc: VPC_A });
  });

  test('with --json, what was deleted and lives on', async () => {
    const { library } = transacting(CREATED, { deleteVpc: true });
    const view = {
      what: 'vpc x',
      namespace: 'vpc.x',
      holders: [{ pid: 12, command: 'sh', by: 'descriptor', descriptor: 3 }] as const,
    };
    const outcome = await vpcctl(['delete-vpc', '--name', 'x', '--json'], {
      library,
      events: [{ type: 'held', ...view }],
    });
    expect(JSON.parse(outcome.stdout)).toMatchObject({ deleted: true, held: [view] });
    expect(outcome.stderr).toBe(
      'vpcctl: vpc x: its namespace lives on, without its links: held by sh (pid 12, descriptor 3)\n',
    );
  });

  test('not with --quiet', async () => {
    expect((await vpcctl([...create, '--quiet'], { library: transacting(CREATED).library })).stdout).toBe('');
  });

  test('--dry-run shows the plan and asks the library to change nothing', async () => {
    const { library, options } = transacting(CREATED);
    const { stdout } = await vpcctl([...create, '--dry-run', '--quiet'], { library });
    expect(stdout).toBe(`\
+ vpc a  cidrs 10.1.0.0/16
1 to add, 0 to change, 0 to remove; kernel objects: +9 ~0 -0
dry run: nothing was changed
`);
    expect(options).toMatchObject([{ dryRun: true }]);
  });

  test('in colour on a terminal only, and never when told not to', async () => {
    const dry = [...create, '--dry-run'];
    const coloured = async (argv: string[], setting: object) =>
      (await vpcctl(argv, { library: transacting(CREATED).library, ...setting })).stdout.includes('\u001b');
    expect(await coloured(dry, { terminal: true })).toBe(true);
    expect(await coloured(dry, {})).toBe(false);
    expect(await coloured([...dry, '--no-color'], { terminal: true })).toBe(false);
    expect(await coloured(dry, { terminal: true, env: { NO_COLOR: '1' } })).toBe(false);
    expect(await coloured(dry, { terminal: true, env: { TERM: 'dumb' } })).toBe(false);
  });

  test('list --quiet names the VPCs, for scripts', async () => {
    const { library } = transacting(EMPTY_PLAN);
    expect((await vpcctl(['list', '--quiet'], { library })).stdout).toBe('a\nb\n');
  });
});

describe('failures of the library', () => {
  test('end the command with their code, on one line, and the library is closed', async () => {
    let closed = 0;
    const library: Partial<Library> = {
      inspect: () => {
        throw new VpcctlError('NOT_FOUND', 'vpc x does not exist', { hint: 'there are: a' });
      },
      close: async () => {
        closed += 1;
      },
    };
    const { exitCode, stdout, stderr } = await vpcctl(['inspect', 'x', '--json'], { library });
    expect(exitCode).toBe(4);
    expect(stderr).toBe('vpcctl: vpc x does not exist; there are: a\n');
    expect(JSON.parse(stdout)).toEqual({
      error: { code: 'NOT_FOUND', message: 'vpc x does not exist', hint: 'there are: a' },
    });
    expect(closed).toBe(1);
  });

  test('without a code are bugs', async () => {
    const { exitCode, stderr } = await vpcctl(['list']);
    expect(exitCode).toBe(1);
    expect(stderr).toBe(
      'vpcctl: the command was not to open the library; this is a bug: run with VPCCTL_DEBUG=1 for the stack\n',
    );
  });
});

describe('files', () => {
  const SPEC =
    'vpcs:\n  a:\n    cidr: 10.1.0.0/16\n    subnets:\n      web: { cidr: 10.1.1.0/24 }\npeerings:\n  - vpcs: [a, b]\n';

  test('problems of a spec have a line each, and the library stays closed', async () => {
    const path = file('bad.yaml', 'vpcs:\n  a:\n    cidr: 10.1.0.0/33\n    subnet: {}\n');
    const { exitCode, stderr, opened } = await vpcctl(['plan', path]);
    expect(exitCode).toBe(3);
    const lines = stderr.trimEnd().split('\n');
    expect(lines).toHaveLength(2);
    expect(lines[0]).toMatch(new RegExp(`^vpcctl: ${path}:3:11: vpcs\\.a\\.cidr: `));
    expect(lines[1]).toMatch(new RegExp(`^vpcctl: ${path}:4:5: .*did you mean "subnets"\\?$`));
    expect(opened).toEqual([]);
  });

  test.each([
    ['vpcs.a.subnets.web', 5, 7],
    ['vpcs.a.cidr', 3, 11],
    ['peerings.0', 7, 5],
    ['vpcs.a.secondaryCidrs', 2, 3],
  ])('a rule broken at %s is told with its place', async (path, line, column) => {
    const spec = file('net.yaml', SPEC);
    const fail = async (): Promise<never> => {
      throw new VpcctlError('INVALID', 'no', { path, hint: 'do' });
    };
    for (const command of ['plan', 'apply', 'import']) {
      const { exitCode, stderr } = await vpcctl([command, spec], { library: { plan: fail, apply: fail } });
      expect([exitCode, stderr]).toEqual([3, `vpcctl: ${spec}:${line}:${column}: no; do\n`]);
    }
  });

  test('- is standard input, JSON or YAML', async () => {
    const specs: Spec[] = [];
    const library: Partial<Library> = {
      plan: async (spec) => {
        specs.push(spec);
        return EMPTY_PLAN;
      },
    };
    for (const stdin of ['vpcs: {a: {cidr: 10.1.0.0/16}}', '{"vpcs": {"a": {"cidr": "10.1.0.0/16"}}}']) {
      expect(await vpcctl(['plan', '-'], { library, stdin })).toMatchObject({ exitCode: 0, stdout: 'no changes\n' });
    }
    expect(specs).toEqual(Array(2).fill({ vpcs: { a: { cidr: '10.1.0.0/16' } } }));
    const { stderr } = await vpcctl(['plan', '-'], { stdin: 'vpcs: [' });
    expect(stderr).toMatch(/^vpcctl: standard input:1:\d+: /);
  });

  test('plan --detailed-exitcode tells by 8 that there is something to do', async () => {
    const spec = file('net.yaml', SPEC);
    const planned = (plan: PlanView) => ({ library: { plan: async () => plan } });
    expect((await vpcctl(['plan', spec], planned(CREATED))).exitCode).toBe(0);
    expect((await vpcctl(['plan', spec, '--detailed-exitcode'], planned(CREATED))).exitCode).toBe(8);
    expect((await vpcctl(['plan', spec, '--detailed-exitcode'], planned(EMPTY_PLAN))).exitCode).toBe(0);
  });

  test('a policy that breaks a rule is told with its file; one for nobody is refused', async () => {
    const policy = file('p.json', '[{"ingress": []}, {"egress": []}]');
    const library: Partial<Library> = {
      transaction: async () => {
        throw new VpcctlError('INVALID', 'ingress rule 1: no');
      },
    };
    const apply = ['apply-policy', '--vpc', 'a', '--policy', policy];
    expect((await vpcctl(apply, { library })).stderr).toBe(`vpcctl: ${policy}: ingress rule 1: no\n`);
    const both = await vpcctl([...apply, '--subnet', 'web'], { library });
    expect([both.exitCode, both.stderr]).toEqual([
      2,
      `vpcctl: ${policy} holds 2 policies, and --subnet names one subnet; name a subnet in each policy, or keep one\n`,
    ]);
  });

  test('policies go to their subnets, rules to their group', async () => {
    const policies = file('p.json', '[{"subnet": "10.1.1.0/24", "ingress": []}, {"subnet": "db", "egress": []}]');
    const policy = transacting(EMPTY_PLAN);
    await vpcctl(['apply-policy', '--vpc', 'a', '--policy', policies], { library: policy.library });
    expect(policy.calls).toEqual([
      ['applyPolicy', 'a', undefined, { subnet: '10.1.1.0/24', ingress: [] }],
      ['applyPolicy', 'a', undefined, { subnet: 'db', egress: [] }],
    ]);
    const group = transacting(EMPTY_PLAN);
    const stdin = 'ingress:\n  - { protocol: tcp, port: 443, from: any }\n';
    await vpcctl(['put-security-group', '--vpc', 'a', '--name', 'site', '--rules', '-'], {
      library: group.library,
      stdin,
    });
    expect(group.calls).toEqual([
      ['putSecurityGroup', 'a', 'site', { ingress: [{ protocol: 'tcp', port: 443, from: 'any' }] }],
    ]);
    const bad = await vpcctl(['put-security-group', '--vpc', 'a', '--name', 'g', '--rules', '-'], {
      stdin: 'ingres: []',
    });
    expect(bad.stderr).toBe(
      'vpcctl: standard input:1:1: unknown key "ingres": expected description, ingress, egress; did you mean "ingress"?\n',
    );
  });

  test('export prints YAML, or what is asked for', async () => {
    const library: Partial<Library> = { export: () => ({ vpcs: { a: { cidr: '10.1.0.0/16' } } }) };
    expect((await vpcctl(['export'], { library })).stdout).toBe('vpcs:\n  a:\n    cidr: 10.1.0.0/16\n');
    for (const argv of [
      ['export', '--format', 'json'],
      ['export', '--json'],
    ]) {
      expect(JSON.parse((await vpcctl(argv, { library })).stdout)).toEqual({ vpcs: { a: { cidr: '10.1.0.0/16' } } });
    }
    const output = join(dir, 'out.json');
    const { stdout } = await vpcctl(['export', '--output', output], { library });
    expect(stdout).toBe(`wrote ${output}  1 VPC\n`);
    expect(JSON.parse(readFileSync(output, 'utf8'))).toEqual({ vpcs: { a: { cidr: '10.1.0.0/16' } } });
  });

  test.each([
    [['schema'], 'vpcctl spec'],
    [['schema', '--policy'], 'vpcctl policy'],
  ])('%j prints a JSON Schema without opening anything', async (argv, title) => {
    const { stdout, opened } = await vpcctl(argv);
    expect(JSON.parse(stdout)).toMatchObject({ $schema: 'http://json-schema.org/draft-07/schema#', title });
    expect(opened).toEqual([]);
  });
});

describe('asking', () => {
  const removal: PlannedChange = { action: 'delete', resource: 'vpc a', kind: 'vpc' };
  const REMOVED: PlanView = { changes: [removal], kernel: { create: 0, update: 0, delete: 3 } };

  function applying(plan: PlanView) {
    const runs: (boolean | undefined)[] = [];
    const act = async (_spec: Spec | undefined, { dryRun }: RunOptions = {}) => {
      runs.push(dryRun);
      return { ...plan, value: undefined, unchanged: plan === EMPTY_PLAN, held: [] };
    };
    const { list } = transacting(EMPTY_PLAN).library;
    return { runs, library: { apply: act, destroy: act, ...(list === undefined ? {} : { list }) } };
  }

  const spec = (): string => file('net.yaml', 'vpcs: { a: { cidr: 10.1.0.0/16 } }\n');

  test.each([['apply'], ['destroy'], ['cleanup-all']])('%s is refused where nobody can be asked', async (command) => {
    const argv = command === 'cleanup-all' ? [command] : [command, spec()];
    const { runs, library } = applying(REMOVED);
    const { exitCode, stderr } = await vpcctl(argv, { library });
    expect(exitCode).toBe(2);
    expect(stderr).toContain('nobody can be asked');
    expect(runs).toEqual([true]);
    expect((await vpcctl([...argv, '--json'], { library, terminal: true })).exitCode).toBe(2);
    expect((await vpcctl([...argv, '--yes'], { library })).exitCode).toBe(0);
    expect(runs.at(-1)).toBeUndefined();
  });

  test.each([
    ['y\n', 0, [true, undefined]],
    ['YES\n', 0, [true, undefined]],
    ['n\n', 1, [true]],
    ['\n', 1, [true]],
    ['yesterday\n', 1, [true]],
    ['', 1, [true]],
  ])('the answer %j', async (stdin, exitCode, expected) => {
    const { runs, library } = applying(REMOVED);
    const outcome = await vpcctl(['apply', spec(), '--no-color'], { library, terminal: true, stdin });
    expect(outcome.exitCode).toBe(exitCode);
    expect(runs).toEqual(expected);
    expect(outcome.stderr).toContain('- vpc a\n0 to add, 0 to change, 1 to remove');
    expect(outcome.stderr).toContain('Do this? [y/N]');
  });

  test('there is nothing to ask when nothing would change', async () => {
    for (const command of ['apply', 'import', 'destroy']) {
      const { library } = applying(EMPTY_PLAN);
      expect((await vpcctl([command, spec()], { library })).exitCode).toBe(0);
    }
    expect((await vpcctl(['cleanup-all'], { library: applying(EMPTY_PLAN).library })).stdout).toBe(
      'nothing to delete\n',
    );
  });

  test('import asks only before it takes something away', async () => {
    expect((await vpcctl(['import', spec()], { library: applying(CREATED).library })).exitCode).toBe(0);
    expect((await vpcctl(['import', spec()], { library: applying(REMOVED).library })).exitCode).toBe(2);
  });

  test('--dry-run never asks and never acts', async () => {
    for (const argv of [['apply', spec()], ['import', spec()], ['destroy', spec()], ['destroy'], ['cleanup-all']]) {
      const { runs, library } = applying(REMOVED);
      const { exitCode, stdout } = await vpcctl([...argv, '--dry-run'], { library });
      expect([exitCode, runs]).toEqual([0, [true]]);
      expect(stdout).toContain('- vpc a\n');
    }
  });
});

describe('programs', () => {
  const app = {
    vpc: 'a',
    subnet: 'web',
    instance: 'web',
    name: '8080',
    port: 8080,
    pid: 77,
    startTime: '5',
    netns: 'net:[7]',
    command: ['x'],
    log: '/l',
  };
  const [
    ,
    {
      instances: [web],
    } = { instances: [] },
  ] = VPC_A.subnets;

  function deploying(running: boolean) {
    const deployed: unknown[] = [];
    const library: Partial<Library> = {
      instance: () => {
        if (web === undefined) throw new Error('the fixture has no instance');
        return web;
      },
      apps: () => (running ? [{ ...app, running: true }] : []),
      deployApp: async (...args) => {
        deployed.push(args);
        return app;
      },
      stopApp: async () => (running ? [app] : []),
    };
    return { deployed, library };
  }

  const deploy = ['deploy-app', '--vpc', 'a', '--subnet', 'web'];

  test('the built-in app listens on 8080; a program of the user on what is said', async () => {
    const { deployed, library } = deploying(false);
    await vpcctl(deploy, { library });
    await vpcctl([...deploy, '--privileged', '--', 'sleep', '--json'], { library });
    await vpcctl([...deploy, '--port', '99', '--', 'x'], { library });
    expect(deployed).toEqual([
      ['a', { subnet: 'web' }, { port: 8080, privileged: false }],
      ['a', { subnet: 'web' }, { command: ['sleep', '--json'], privileged: true }],
      ['a', { subnet: 'web' }, { port: 99, command: ['x'], privileged: false }],
    ]);
  });

  test('a second time nothing changes', async () => {
    expect((await vpcctl(deploy, { library: deploying(false).library })).stdout).toBe(
      'started in a/web  10.1.1.4:8080, pid 77, output in /l\n',
    );
    expect((await vpcctl(deploy, { library: deploying(true).library })).stdout).toBe(
      'unchanged: it runs in a/web  10.1.1.4:8080, pid 77\n',
    );
    const { stdout } = await vpcctl([...deploy, '--json'], { library: deploying(true).library });
    expect(JSON.parse(stdout)).toMatchObject({ unchanged: true, dryRun: false, app: { port: 8080, pid: 77 } });
  });

  test('--dry-run starts and stops nothing', async () => {
    const { deployed, library } = deploying(true);
    const { deployApp: _none, stopApp: _neither, ...looking } = library;
    expect((await vpcctl([...deploy, '--dry-run'], { library: looking })).stdout).toContain(
      'would start the built-in app',
    );
    expect(
      (await vpcctl(['stop-app', '--vpc', 'a', '--subnet', 'web', '--dry-run'], { library: looking })).stdout,
    ).toBe('would stop app on port 8080: x (pid 77)\ndry run: nothing was changed\n');
    expect(deployed).toEqual([]);
  });

  test.each([
    [true, 'stopped app on port 8080: x (pid 77)\n'],
    [false, 'no app runs in a/web: nothing to stop\n'],
  ])('stop-app tells what it stopped', async (running, text) => {
    const { library } = deploying(running);
    expect((await vpcctl(['stop-app', '--vpc', 'a', '--subnet', 'web'], { library })).stdout).toBe(text);
  });

  test('exec ends as the program did; with --json its output is in the document', async () => {
    const runs: unknown[][] = [];
    const library: Partial<Library> = {
      exec: async (...args) => {
        runs.push(args);
        return { exitCode: 42, stdout: 'out', stderr: 'err' };
      },
    };
    const exec = ['exec', '--vpc', 'a', '--instance', 'web'];
    const command = ['--', 'prog', '--help', '--', '--state'];
    expect(await vpcctl([...exec, ...command], { library })).toMatchObject({ exitCode: 42, stdout: '' });
    const { exitCode, stdout } = await vpcctl([...exec, '--json', ...command], { library });
    expect([exitCode, JSON.parse(stdout)]).toEqual([42, { exitCode: 42, stdout: 'out', stderr: 'err' }]);
    expect(runs).toMatchObject([
      ['a', { instance: 'web' }, ['prog', '--help', '--', '--state'], { stdio: 'inherit' }],
      ['a', { instance: 'web' }, ['prog', '--help', '--', '--state'], { stdio: 'pipe' }],
    ]);
  });
});

describe('cleanup-all --orphans', () => {
  const orphan = { kind: 'netns', ns: 'vpc.lost' } as const;

  test('asks, names the namespaces, and deletes', async () => {
    const removed: string[] = [];
    const library: Partial<Library> = {
      orphans: async () => [orphan],
      removeOrphans: async () => {
        removed.push('all');
        return [orphan];
      },
    };
    const argv = ['cleanup-all', '--orphans'];
    expect(await vpcctl([...argv, '--dry-run'], { library })).toMatchObject({
      exitCode: 0,
      stdout: 'namespace vpc.lost\n1 kernel object in all\n',
    });
    expect(await vpcctl(argv, { library })).toMatchObject({ exitCode: 2 });
    expect(removed).toEqual([]);
    expect(await vpcctl([...argv, '--yes'], { library })).toMatchObject({
      exitCode: 0,
      stdout: 'deleted 1 kernel object that had no record\n',
    });
    expect(removed).toEqual(['all']);
  });

  test('has nothing to ask where there are none', async () => {
    const library: Partial<Library> = { orphans: async () => [] };
    expect(await vpcctl(['cleanup-all', '--orphans'], { library })).toMatchObject({
      exitCode: 0,
      stdout: 'nothing of ours without a record\n',
    });
  });
});

describe('looking', () => {
  test('drift ends with 8 when there is any', async () => {
    const drifting = (drift: Awaited<ReturnType<Library['drift']>>) => ({
      library: { drift: async () => drift, needsRestore: false },
    });
    expect(await vpcctl(['drift'], drifting([]))).toMatchObject({ exitCode: 0 });
    const one = {
      what: 'missing',
      resource: 'vpc a',
      object: 'netns vpc.a',
      sentence: 'vpc a: its router is missing from the kernel',
      follows: false,
      repairable: true,
    } as const;
    expect(await vpcctl(['drift'], drifting([one]))).toMatchObject({ exitCode: 8 });
    const { exitCode, stdout } = await vpcctl(['drift', '--json'], drifting([one]));
    expect([exitCode, JSON.parse(stdout)]).toEqual([8, { clean: false, drift: [one] }]);
  });

  test('drift after a restart says what to do', async () => {
    const library = { drift: async () => [DIFFERENCE], needsRestore: true };
    expect((await vpcctl(['drift'], { library })).stdout).toBe(`\
missing  instance a/web: its link is missing from the kernel
1 difference between what was recorded and what the kernel has
this machine was started anew: run \`vpcctl restore\`
`);
  });

  test.each([[['inspect', 'a']], [['inspect', '--vpc', 'a']], [['show', 'a']]])('%j shows one VPC', async (argv) => {
    const library = { ...transacting(EMPTY_PLAN).library, apps: () => [] };
    expect((await vpcctl(argv, { library })).stdout).toMatch(/^vpc a {2}10\.1\.0\.0\/16/);
    const document = JSON.parse((await vpcctl([...argv, '--json'], { library })).stdout);
    expect(document).toEqual({
      ...VPC_A,
      peerings: [{ vpcs: ['a', 'b'], allowCidrs: null, routes: 'auto' }],
      apps: [],
    });
  });

  test('show-policy', async () => {
    const library = { ...transacting(EMPTY_PLAN).library, policy: () => null };
    expect((await vpcctl(['show-policy', '--vpc', 'a', '--subnet', 'db'], { library })).stdout).toBe(
      'subnet a/db: no policy, security groups decide\n',
    );
    const document = JSON.parse((await vpcctl(['show-policy', '--vpc', 'a', '--json'], { library })).stdout);
    expect(
      document.policies.map(({ subnet, policy }: { subnet: string; policy: unknown }) => [subnet, policy === null]),
    ).toEqual([
      ['db', true],
      ['web', false],
    ]);
  });
});

describe('progress', () => {
  function progress(stages: boolean): { lines: string[]; progress: Progress } {
    const lines: string[] = [];
    const stream = { write: (text: string) => lines.push(text) } as unknown as NodeJS.WritableStream;
    return { lines, progress: new Progress(stream, stages) };
  }
  const stage = (index: number) => ({ type: 'stage', stage: 'links', index, total: 3, changes: 7 }) as const;

  test('is told of long work alone', async () => {
    const short = progress(true);
    short.progress.on(stage(0));
    short.progress.end();
    const long = progress(true);
    long.progress.on(stage(0));
    await new Promise((done) => setTimeout(done, 350));
    long.progress.on(stage(1));
    long.progress.end();
    expect(short.lines).toEqual([]);
    expect(long.lines).toEqual(['1/3 links (7)\n', '2/3 links (7)\n']);
  });

  test('of recovery is told always', () => {
    const { lines, progress: quiet } = progress(false);
    quiet.on(stage(0));
    quiet.on({ type: 'recovered', what: 'undone', scopes: ['', 'a'] });
    quiet.on({ type: 'unrecovered', scopes: ['b'], error: new VpcctlError('KERNEL', 'no', { errno: 'EBUSY' }) });
    expect(lines).toEqual([
      'vpcctl: an earlier command was interrupted: undone (vpc a)\n',
      'vpcctl: vpc b cannot be changed: no (EBUSY)\n',
    ]);
  });

  test('of a fix that stays, and of what is still not brought back, is told in one line', () => {
    const { lines, progress: quiet } = progress(false);
    const error = new VpcctlError('ENVIRONMENT', 'it could not be taken back', { hint: 'run vpcctl doctor --undo' });
    quiet.on({ type: 'fix-kept', error });
    quiet.on({ type: 'restored', restored: [], failed: [{ what: 'vpc a', error }], again: true });
    expect(lines).toEqual([
      'vpcctl: it could not be taken back; run vpcctl doctor --undo\n',
      'vpcctl: tried again what this machine lost when it was started anew: not restored: vpc a; see `vpcctl restore`\n',
    ]);
  });
});

test.each([
  [['--fix', '--undo'], /both --fix and --undo/],
  [['--dry-run'], /--dry-run needs --fix or --undo/],
])('doctor %j is refused before anything is looked at', async (options, words) => {
  const { exitCode, stderr } = await vpcctl(['doctor', ...options]);
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(words);
});

const DIFFERENCE = {
  what: 'missing',
  resource: 'instance a/web',
  object: 'link vpc.a.web eth0',
  sentence: 'instance a/web: its link is missing from the kernel',
  follows: false,
  repairable: true,
  recorded: { kind: 'netns', ns: 'vpc.a.web' },
} as const;
const FOREIGN = { ...DIFFERENCE, what: 'foreign', sentence: 'vpc a: link x is not ours', repairable: false } as const;

describe('repair', () => {
  const KERNEL = { create: 2, update: 0, delete: 0 };

  function repairing(left: readonly (typeof FOREIGN | typeof DIFFERENCE)[], repaired = [DIFFERENCE]) {
    const calls: unknown[] = [];
    const library: Partial<Library> = {
      repair: async (options = {}) => {
        const { signal: _signal, ...rest } = options;
        calls.push(rest);
        return { repaired, left, kernel: KERNEL };
      },
    };
    return { library, calls };
  }

  test('shows what it would do and asks; where nobody can be asked, --yes is needed', async () => {
    const { library, calls } = repairing([]);
    expect(await vpcctl(['repair'], { library })).toMatchObject({ exitCode: 2 });
    expect(calls).toEqual([{ dryRun: true }]);
    const asked = await vpcctl(['repair'], { library, terminal: true, stdin: 'n\n' });
    expect([asked.exitCode, calls.length]).toEqual([1, 2]);
    expect(asked.stderr).toContain('instance a/web: its link is missing');
    expect(await vpcctl(['repair', '--vpc', 'a', '--yes'], { library })).toMatchObject({
      exitCode: 0,
      stdout: `\
missing  instance a/web: its link is missing from the kernel
repaired: 1 difference; kernel objects: +2 ~0 -0
`,
    });
    expect(calls.slice(2)).toEqual([{ vpc: 'a', dryRun: true }, { vpc: 'a' }]);
  });

  test('with --dry-run changes nothing and asks nothing', async () => {
    const { library, calls } = repairing([]);
    const { exitCode, stdout } = await vpcctl(['repair', '--dry-run'], { library });
    expect([exitCode, calls]).toEqual([0, [{ dryRun: true }]]);
    expect(stdout).toMatch(/to repair: 1 difference; .*\ndry run: nothing was changed\n$/);
  });

  test('ends with 8 when something of ours could not be put back, not for what is foreign', async () => {
    const { recorded: _none, ...foreign } = FOREIGN;
    const { library } = repairing([foreign as typeof FOREIGN], []);
    expect(await vpcctl(['repair', '--yes'], { library })).toMatchObject({
      exitCode: 0,
      stdout: 'stays as it is:\n  foreign  vpc a: link x is not ours\nnothing to repair\n',
    });
    const lost = repairing([DIFFERENCE]);
    const { exitCode, stdout } = await vpcctl(['repair', '--yes', '--json'], { library: lost.library });
    expect(exitCode).toBe(8);
    expect(JSON.parse(stdout)).toEqual({
      unchanged: false,
      dryRun: false,
      repaired: [DIFFERENCE],
      left: [DIFFERENCE],
      kernel: KERNEL,
    });
  });
});

describe('restore', () => {
  const kernel = { create: 9, update: 0, delete: 0 };

  test('tells what it brought back, and what not; the first failure is the exit status', async () => {
    const done: Partial<Library> = { restore: async () => ({ restored: ['edge', 'vpc a'], failed: [], kernel }) };
    expect(await vpcctl(['restore'], { library: done })).toMatchObject({
      exitCode: 0,
      stdout: 'restored edge, vpc a\n',
    });
    const error = new VpcctlError('KERNEL', 'could not create link x', { errno: 'EEXIST' });
    const failing: Partial<Library> = {
      restore: async () => ({ restored: [], failed: [{ what: 'vpc a', error }], kernel }),
    };
    expect(await vpcctl(['restore'], { library: failing })).toMatchObject({
      exitCode: 6,
      stdout: 'not restored: vpc a\n',
      stderr: 'vpcctl: vpc a is not restored: could not create link x (EEXIST)\n',
    });
    const { stdout } = await vpcctl(['restore', '--json'], { library: failing });
    expect(JSON.parse(stdout)).toEqual({
      unchanged: true,
      restored: [],
      failed: [{ what: 'vpc a', error: error.toJSON() }],
      kernel,
    });
  });

  test('by itself is told in a line, and one for each failure', () => {
    const stream = new PassThrough();
    const error = new VpcctlError('CONFLICT', 'a namespace called vpc.b exists already');
    const progress = new Progress(stream, false);
    progress.on({ type: 'restoring', what: 'vpc a', index: 0, total: 2 });
    progress.on({ type: 'restored', restored: ['vpc a'], failed: [{ what: 'vpc b', error }] });
    expect(String(stream.read())).toBe(`\
vpcctl: this machine was started anew: restored vpc a; not restored: vpc b
vpcctl: vpc b: a namespace called vpc.b exists already
`);
  });
});

describe('watch', () => {
  const at = '2026-01-02T03:04:05.678Z';
  const REFUSED = new VpcctlError('KERNEL', 'no\u001b[2J', { hint: 'look' });
  const EVENTS: readonly WatchEvent[] = [
    { at, vpc: null, type: 'drift', drift: [FOREIGN, { ...DIFFERENCE, follows: true }] },
    { at, vpc: 'a', type: 'repaired', repaired: [DIFFERENCE], kernel: { create: 1, update: 0, delete: 0 } },
    { at, vpc: 'a', type: 'backoff', times: 3, nextLookMs: 800 },
    { at, vpc: 'a', type: 'failed', error: REFUSED, nextLookMs: 12_345 },
    { at, vpc: null, type: 'clean' },
    { at, vpc: null, type: 'watching' },
  ];

  function watching() {
    const calls: WatchOptions[] = [];
    const library: Partial<Library> = {
      watch: async function* (options = {}) {
        calls.push(options);
        yield* EVENTS;
      },
    };
    return { library, calls };
  }

  test('a line for each difference, with its time', async () => {
    const { library, calls } = watching();
    const { exitCode, stdout } = await vpcctl(['watch', '--vpc', 'a', '--no-repair', '--interval', '5'], { library });
    expect(exitCode).toBe(0);
    expect(stdout.split('\n').map((line) => line.replace(`${at}  `, ''))).toEqual([
      'foreign  vpc a: link x is not ours',
      'repaired  instance a/web: its link is missing from the kernel',
      'again  vpc a: the same 3 times in a row: next look in 0.8 s',
      'failed  vpc a: no\\u{1b}[2J; look; next look in 12.3 s',
      'edge: no drift any more',
      'watching all VPCs',
      '',
    ]);
    expect(calls).toMatchObject([{ vpc: 'a', repair: false, intervalMs: 5_000 }]);
  });

  test('--json: a document a line, a failure too', async () => {
    const { stdout } = await vpcctl(['watch', '--json'], watching());
    const lines = stdout.trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line) as unknown)).toEqual(JSON.parse(JSON.stringify(EVENTS)));
    const library: Partial<Library> = {
      // biome-ignore lint/correctness/useYield: it fails before it yields.
      watch: async function* () {
        throw REFUSED;
      },
    };
    const failed = await vpcctl(['watch', '--json'], { library });
    expect(failed.exitCode).toBe(6);
    expect(failed.stdout.split('\n')).toHaveLength(2);
  });

  test.each(['0', '1.5', '-1', 'x', '1000000'])('--interval %s is refused', async (interval) => {
    expect(await vpcctl(['watch', '--interval', interval])).toMatchObject({ exitCode: 2 });
  });
});
