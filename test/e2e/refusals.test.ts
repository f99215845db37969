/** What bad input and bad surroundings get: one line that names the thing and the rule, the right exit status, and nothing changed. */
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { TestHost } from '../harness/host.js';
import { diffHostStates, type HostState } from '../harness/host-state.mjs';
import { inNetns, ipDo, must } from '../harness/witness.js';
import {
  destroyAll,
  expectHostAsBefore,
  expectRefusal,
  expectWitness,
  reaches,
  refused,
  settled,
  stateOf,
  target,
  type Witness,
  witness,
} from './support.js';

const main = fileURLToPath(new URL('../../dist/cli/main.cjs', import.meta.url));

let host: TestHost;
let temp: string;
let pristine: HostState;

beforeAll(async () => {
  host = await TestHost.create();
  temp = mkdtempSync(join(tmpdir(), 'vpcctl-refusals-'));
  // The one who may do nothing may look.
  chmodSync(temp, 0o755);
  pristine = host.snapshot();
});

afterAll(async () => {
  rmSync(temp, { recursive: true, force: true });
  await host.close();
});

async function vpcctl(...args: string[]) {
  return host.vpcctlOk(args);
}

interface Case {
  readonly args: readonly string[];
  readonly code: number;
  readonly says: readonly (string | RegExp)[];
}

function refusal(code: number, says: readonly (string | RegExp)[], ...args: string[]): Case {
  return { args, code, says };
}

const vpc = (name: string, cidr = '10.9.0.0/16') => ['create-vpc', `--name=${name}`, `--cidr=${cidr}`];
const subnet = (cidr: string, name = 's') => ['add-subnet', '--vpc', 'a', `--subnet=${name}`, `--cidr=${cidr}`];
const instance = (ip: string) => ['add-instance', '--vpc', 'a', '--subnet', 'web', '--name', 'new', `--ip=${ip}`];
const LONG = 'x'.repeat(200);
const RULE = /1 to 63 lower-case letters, digits and inner hyphens/;

const CASES: Readonly<Record<string, readonly Case[]>> = {
  'a bad name': [
    refusal(3, [/vpc name is empty/, RULE], ...vpc('')),
    refusal(3, [/"-"/, RULE], ...vpc('-')),
    refusal(3, [/longer than 63/], ...vpc(LONG)),
    refusal(3, [/"two words"/, /" "|space/i, RULE], ...vpc('two words')),
    refusal(3, [/vpc name/, RULE], ...vpc('zürich')),
    refusal(3, [/vpc name/, RULE], ...vpc('日本')),
    refusal(3, [/"Web".*"W"/, /write web/], ...vpc('Web')),
    refusal(3, [/"\.\.\/x"/, RULE], ...vpc('../x')),
    refusal(3, [/"a\/b"/, RULE], ...vpc('a/b')),
    refusal(3, [/"a\.b"/, RULE], ...vpc('a.b')),
    refusal(3, [/"--x".*starts with "-"/], ...vpc('--x')),
    refusal(3, [/reserved word/], ...vpc('constructor')),
    refusal(3, [/vpc name/, /\\u|\\n|\\x1b/], ...vpc('a\u001b[31m\n')),
    refusal(3, [/subnet name "\.\."/], ...subnet('10.1.9.0/24', '..')),
    refusal(3, [/longer than 63/], ...subnet('10.1.9.0/24', LONG)),
    refusal(3, [/instance name "\$\(id\)"/], 'add-instance', '--vpc', 'a', '--subnet', 'web', '--name', '$(id)'),
    refusal(3, [/security group name "A"/, /write a/], 'delete-security-group', '--vpc', 'a', '--name', 'A'),
  ],
  'a bad block': [
    refusal(3, [/10\.9\.1\.2\/16 has host bits set/, /10\.9\.0\.0\/16/], ...vpc('n', '10.9.1.2/16')),
    refusal(3, [/0\.0\.0\.0\/0/, /between \/16 and \/28/], ...vpc('n', '0.0.0.0/0')),
    refusal(3, [/10\.0\.0\.0\/8/, /between \/16 and \/28/], ...vpc('n', '10.0.0.0/8')),
    refusal(3, [/\/31/, /between \/16 and \/28/], ...vpc('n', '10.9.0.0/31')),
    refusal(3, [/\/32/, /between \/16 and \/28/], ...vpc('n', '10.9.0.1/32')),
    refusal(3, [/10\.9\.0\.0\/33/], ...vpc('n', '10.9.0.0/33')),
    refusal(3, [/::ffff:10\.9\.0\.0/], ...vpc('n', '::ffff:10.9.0.0/112')),
    refusal(3, [/IPv6/], ...vpc('n', 'fd00::/64')),
    refusal(3, [/prefix length is missing/], ...vpc('n', '10.9.0.0')),
    refusal(3, [/10\.09\.0\.0/], ...vpc('n', '10.09.0.0/16')),
    refusal(3, [/10\.256\.0\.0/], ...vpc('n', '10.256.0.0/16')),
    refusal(3, [/nonsense/], ...vpc('n', 'nonsense')),
    refusal(3, [/127\.0\.0\.0/], ...vpc('n', '127.0.0.0/16')),
    refusal(3, [/224\.0\.0\.0/], ...vpc('n', '224.0.0.0/16')),
    refusal(3, [/198\.51\.100\.0\/24/, /pool/], ...vpc('n', '198.51.100.0/24')),
    refusal(3, [/10\.2\.9\.0\/24 is outside/, /10\.1\.0\.0\/16/], ...subnet('10.2.9.0/24')),
    refusal(3, [/10\.1\.1\.128\/25 overlaps 10\.1\.1\.0\/24 of subnet web/], ...subnet('10.1.1.128/25')),
    refusal(3, [/10\.1\.0\.0\/17 overlaps/], ...subnet('10.1.0.0/17')),
    refusal(3, [/host bits/, /10\.1\.9\.0\/24/], ...subnet('10.1.9.7/24')),
    refusal(3, [/\/29/, /between \/16 and \/28/], ...subnet('10.1.9.0/29')),
    refusal(3, [/gateway 10\.1\.8\.1 is outside 10\.1\.9\.0\/24/], ...subnet('10.1.9.0/24'), '--gateway', '10.1.8.1'),
    refusal(3, [/broadcast/], ...subnet('10.1.9.0/24'), '--gateway', '10.1.9.255'),
    refusal(3, [/10\.1\.0\.0\/16 of a overlaps 10\.1\.0\.0\/16 of twin/], 'peer-vpcs', '--vpc1', 'a', '--vpc2', 'twin'),
    refusal(
      3,
      [/10\.7\.0\.0\/16 is in neither/],
      'peer-vpcs',
      '--vpc1',
      'a',
      '--vpc2',
      'c',
      '--allow-cidrs',
      '10.7.0.0/16',
    ),
    refusal(3, [/itself/], 'peer-vpcs', '--vpc1', 'a', '--vpc2', 'a'),
  ],
  'a bad address': [
    refusal(3, [/10\.1\.2\.10 is outside 10\.1\.1\.0\/24/], ...instance('10.1.2.10')),
    refusal(3, [/10\.1\.1\.0.*network address/], ...instance('10.1.1.0')),
    refusal(3, [/10\.1\.1\.1.*gateway/], ...instance('10.1.1.1')),
    refusal(3, [/10\.1\.1\.3.*reserved/, /first four/], ...instance('10.1.1.3')),
    refusal(3, [/10\.1\.1\.255.*broadcast/], ...instance('10.1.1.255')),
    refusal(5, [/10\.1\.1\.10 is taken by instance a\/web/], ...instance('10.1.1.10')),
    refusal(3, [/10\.1\.1/], ...instance('10.1.1')),
    refusal(3, [/10\.1\.1\.010/], ...instance('10.1.1.010')),
    refusal(3, [/IPv6|::1/], ...instance('::1')),
    refusal(
      3,
      [/203\.0\.113\.9 is outside the pool 198\.51\.100\.0\/24/],
      ...instance('10.1.1.20'),
      '--public-ip',
      '203.0.113.9',
    ),
    refusal(
      3,
      [/subnet a\/db is private/],
      'add-instance',
      '--vpc',
      'a',
      '--subnet',
      'db',
      '--name',
      'n',
      '--public-ip',
      'auto',
    ),
  ],
  'what does not exist': [
    refusal(4, [/vpc nobody/, /there are: a, b, c, twin/], 'inspect', 'nobody'),
    refusal(4, [/vpc nobody/], 'add-subnet', '--vpc', 'nobody', '--subnet', 's', '--cidr', '10.9.0.0/24'),
    refusal(
      4,
      [/subnet nowhere of vpc a/, /db, web/],
      'add-instance',
      '--vpc',
      'a',
      '--subnet',
      'nowhere',
      '--name',
      'n',
    ),
    refusal(4, [/vpc nobody/], 'peer-vpcs', '--vpc1', 'a', '--vpc2', 'nobody'),
    refusal(4, [/subnet nowhere/], 'exec', '--vpc', 'a', '--subnet', 'nowhere', '--', 'true'),
    refusal(4, [/instance none/], 'deploy-app', '--vpc', 'a', '--instance', 'none'),
    refusal(4, [/subnet nowhere/], 'clear-policy', '--vpc', 'a', '--subnet', 'nowhere'),
    refusal(4, [/no file .*missing\.yaml/], 'apply', 'missing.yaml'),
    refusal(
      4,
      [/no file .*missing\.json/],
      'apply-policy',
      '--vpc',
      'a',
      '--subnet',
      'web',
      '--policy',
      'missing.json',
    ),
    refusal(4, [/security group none/], ...instance('10.1.1.20'), '--security-group', 'none'),
  ],
  'what others depend on, and what exists otherwise': [
    refusal(5, [/vpc a is peered with b/, /--force/], 'delete-vpc', '--name', 'a'),
    refusal(5, [/subnet a\/web holds other/, /--force/], 'delete-subnet', '--vpc', 'a', '--subnet', 'web'),
    refusal(
      5,
      [/security group a\/used is in use by instance a\/other/],
      'delete-security-group',
      '--vpc',
      'a',
      '--name',
      'used',
    ),
    refusal(
      5,
      [/security group default .*cannot be deleted/],
      'delete-security-group',
      '--vpc',
      'a',
      '--name',
      'default',
    ),
    refusal(5, [/vpc a exists with block 10\.1\.0\.0\/16/], ...vpc('a', '10.8.0.0/16')),
    refusal(5, [/subnet web of vpc a exists as 10\.1\.1\.0\/24/], ...subnet('10.1.9.0/24', 'web')),
    refusal(
      5,
      [/a\/web exists with address 10\.1\.1\.10/],
      'add-instance',
      '--vpc',
      'a',
      '--subnet',
      'web',
      '--name',
      'web',
      '--ip',
      '10.1.1.99',
    ),
    refusal(
      5,
      [/pool 198\.51\.100\.0\/24 is in use: instance a\/(other|web)/],
      ...vpc('a', '10.1.0.0/16'),
      '--public-pool',
      '203.0.113.0/24',
    ),
  ],
  'a wrong command line': [
    refusal(2, [/no command "frobnicate"|unknown command .*frobnicate/], 'frobnicate'),
    refusal(2, [/create-vcp/, /create-vpc/], 'create-vcp', '--name', 'n'),
    refusal(2, [/--name/], 'create-vpc', '--cidr', '10.9.0.0/16'),
    refusal(2, [/--dryrun/, /--dry-run/], ...vpc('n'), '--dryrun'),
    refusal(2, [/surplus|too many arguments/], 'list', 'surplus'),
    refusal(2, [/s has no block/, /--cidr/], 'add-subnet', '--vpc', 'a', '--subnet', 's'),
    refusal(2, [/70000/], 'deploy-app', '--vpc', 'a', '--subnet', 'web', '--port', '70000'),
    refusal(2, [/no instance is named/], 'exec', '--vpc', 'a', '--', 'true'),
    refusal(2, [/no command is given/], 'exec', '--vpc', 'a', '--subnet', 'web'),
    refusal(2, [/not a terminal/, /--yes/], 'cleanup-all'),
    refusal(2, [/--private/, /--nat/], ...subnet('10.1.9.0/24'), '--private', '--nat'),
    refusal(2, [/toml/], 'export', '--format', 'toml'),
    refusal(2, [/--state/, /empty/i], '--state', '', 'list'),
  ],
};

describe('bad input', { sequential: true }, () => {
  let before: HostState;
  let kernel: Witness;
  let state: unknown;

  beforeAll(async () => {
    const web = { subnet: 'web', ip: '10.1.1.10' };
    const spec = {
      vpcs: {
        a: {
          cidr: '10.1.0.0/16',
          subnets: { web: { cidr: '10.1.1.0/24', public: true }, db: { cidr: '10.1.2.0/24' } },
          securityGroups: { used: { ingress: [] } },
          instances: { web, other: { subnet: 'web', ip: '10.1.1.11', securityGroups: ['used'] } },
        },
        b: { cidr: '10.2.0.0/16' },
        c: { cidr: '10.3.0.0/16' },
        twin: { cidr: '10.1.0.0/16' },
      },
      peerings: [{ vpcs: ['a', 'b'] }],
    };
    await host.vpcctlOk(['apply', '-', '--yes'], { input: JSON.stringify(spec) });
    before = await settled(host);
    kernel = await witness();
    state = await stateOf(host);
  });
  afterAll(async () => {
    await destroyAll(host);
    await expectHostAsBefore(host, pristine);
  });

  for (const [what, cases] of Object.entries(CASES)) {
    test(what, { timeout: 120_000 }, async () => {
      // Two at once: they only read.
      const queue = [...cases];
      const worker = async (): Promise<void> => {
        for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
          const { args, code, says } = next;
          await refused(host, args, code, says, { input: '' });
          expect(await stateOf(host), args.join(' ')).toEqual(state);
        }
      };
      await Promise.all([worker(), worker()]);
      expect(diffHostStates(before, host.snapshot())).toEqual([]);
      await expectWitness(kernel);
    });
  }

  test('a bad policy or group of rules, by file, line and column', async () => {
    const file = join(temp, 'policy.json');
    const apply = ['apply-policy', '--vpc', 'a', '--subnet', 'web', '--policy', file];
    for (const [text, says] of [
      ['{"ingress": [{"port": 80, "protocol": "tpc", "action": "allow"}]}', [/policy\.json:1:\d+: /, /tpc/]],
      ['{"ingress": [\n  {"port": 99999, "protocol": "tcp", "action": "allow"}\n]}', [/policy\.json:2:\d+: /, /99999/]],
      ['{"ingres": []}', [/policy\.json:1:\d+: /, /ingres/, /ingress/]],
      ['{"ingress": [{"port": 80, "protocol": "tcp"}]}', [/policy\.json:1:\d+: /, /action/]],
      ['{"ingress": [', [/policy\.json:1:\d+: /]],
      ['{"subnet": "10.1.2.0/24", "ingress": []}', [/10\.1\.2\.0\/24/, /web/]],
    ] as const) {
      writeFileSync(file, text);
      await refused(host, apply, 3, says);
    }
    writeFileSync(file, Buffer.from([0xff, 0xfe, 0x00]));
    await refused(host, apply, 3, [/policy\.json/, /UTF-8/]);
    expect(await stateOf(host)).toEqual(state);
    await expectWitness(kernel);
  });
});

describe('a bad state', { sequential: true }, () => {
  const READERS = [['list'], ['export'], ['drift']];

  test('a state file that holds something else', async () => {
    const dir = join(temp, 'random');
    mkdirSync(dir);
    const junk = Buffer.alloc(8192, 'no database, ');
    writeFileSync(join(dir, 'state.db'), junk);
    for (const args of [...READERS, vpc('n'), ['cleanup-all', '--yes']]) {
      await refused(host, ['--state', dir, ...args], 9, [/random\/state\.db is damaged/, /copy/]);
    }
    expect(readFileSync(join(dir, 'state.db'))).toEqual(junk);
    expect(diffHostStates(pristine, host.snapshot())).toEqual([]);
  });

  test('a state file that was cut off', async () => {
    const dir = join(temp, 'cut');
    await vpcctl('--state', dir, ...vpc('n'));
    const whole = join(temp, 'whole');
    cpSync(dir, whole, { recursive: true });
    rmSync(join(dir, 'state.db-wal'), { force: true });
    rmSync(join(dir, 'state.db-shm'), { force: true });
    truncateSync(join(dir, 'state.db'), 5000);
    const kernel = await witness();
    for (const args of [...READERS, vpc('m', '10.8.0.0/16')]) {
      await refused(host, ['--state', dir, ...args], 9, [/cut\/state\.db/]);
    }
    await expectWitness(kernel);
    await vpcctl('--state', whole, 'cleanup-all', '--yes');
    await expectHostAsBefore(host, pristine);
  });

  test('a directory that cannot be one', async () => {
    writeFileSync(join(temp, 'a-file'), '');
    for (const args of READERS) {
      const result = await host.vpcctl(['--state', join(temp, 'a-file'), ...args]);
      expectRefusal(result, 9, [/state directory .*a-file/]);
    }
  });

  test('a full disk', async () => {
    const dir = join(temp, 'full');
    mkdirSync(dir);
    await must('', ['mount', '-t', 'tmpfs', '-o', 'size=512k', 'tmpfs', dir]);
    try {
      await vpcctl('--state', dir, ...vpc('a', '10.1.0.0/16'));
      const before = host.snapshot();
      const kernel = await witness();
      await inNetns('', ['dd', 'if=/dev/zero', `of=${dir}/filler`, 'bs=1k']);
      const instances = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`n${index}`, { subnet: 'web' }]));
      const subnets = { web: { cidr: '10.1.0.0/17', public: true } };
      const spec = { vpcs: { a: { cidr: '10.1.0.0/16', subnets, instances } } };
      const args = ['--state', dir, 'apply', '-', '--yes'];
      expectRefusal(await host.vpcctl(args, { input: JSON.stringify(spec) }), 9, [/no space|full/i, /full/]);
      await expectHostAsBefore(host, before);
      await expectWitness(kernel);
      rmSync(join(dir, 'filler'));
      expect((await vpcctl('--state', dir, 'list', '--quiet')).stdout).toBe('a');
      expect((await vpcctl('--state', dir, 'drift')).stdout).toMatch(/no drift/);
    } finally {
      rmSync(join(dir, 'filler'), { force: true });
      await vpcctl('--state', dir, 'cleanup-all', '--yes');
      await must('', ['umount', dir]);
    }
    await expectHostAsBefore(host, pristine);
  });
});

describe('a bad machine', { sequential: true }, () => {
  afterEach(async () => {
    await destroyAll(host);
    await expectHostAsBefore(host, pristine);
  });

  test('no default route: a public subnet is refused with auto, and reaches the host alone with none', async () => {
    await ipDo(['route', 'del', 'default']);
    try {
      await vpcctl(...vpc('a', '10.1.0.0/16'));
      const web = ['add-subnet', '--vpc', 'a', '--subnet', 'web', '--cidr', '10.1.1.0/24', '--nat'];
      const before = { host: host.snapshot(), kernel: await witness(), state: await stateOf(host) };
      await refused(host, web, 7, [/no default route/, /--uplink/]);
      await refused(host, [...vpc('a', '10.1.0.0/16'), '--uplink', 'a link'], 3, [/"a link"/]);
      await refused(host, [...vpc('a', '10.1.0.0/16'), '--uplink', 'missing0'], 7, [/no link missing0/, /--uplink/]);
      expect(diffHostStates(before.host, host.snapshot())).toEqual([]);
      await expectWitness(before.kernel);
      expect(await stateOf(host)).toEqual(before.state);
      await vpcctl(...vpc('a', '10.1.0.0/16'), '--uplink', 'none');
      await vpcctl(...web);
      await reaches(host, '', await target(host, 'vpc.a.web', '10.1.1.4', 80));
      await host.listener('internet', 'tcp', 80);
      const out = { proto: 'tcp', to: '192.0.2.1', port: 80, timeoutMs: 300 } as const;
      expect((await host.probe('', out)).ok).toBe(true);
      expect((await host.probe('vpc.a.web', out)).ok).toBe(false);
    } finally {
      await host.leave('internet');
      await ipDo(['route', 'add', 'default', 'via', '192.0.2.1']);
    }
  });

  /** Puts another program in place of nft, for the processes of this mount namespace. */
  async function withNft<T>(script: string | undefined, body: () => Promise<T>): Promise<T> {
    const fake = join(temp, 'nft');
    writeFileSync(fake, script ?? '');
    chmodSync(fake, script === undefined ? 0o644 : 0o755);
    const places = ['/usr/sbin/nft', '/sbin/nft', '/usr/local/sbin/nft', '/usr/bin/nft', '/usr/local/bin/nft'];
    const hidden: string[] = [];
    for (const place of places.filter((one) => existsSync(one))) {
      const { stdout } = await inNetns('', ['findmnt', '--noheadings', '--output', 'TARGET', place]);
      // /sbin may be /usr/sbin under another name: covered by then.
      if (stdout.trim() !== '') continue;
      await must('', ['mount', '--bind', fake, place]);
      hidden.push(place);
    }
    expect(hidden.length).toBeGreaterThan(0);
    try {
      return await body();
    } finally {
      for (const place of hidden.reverse()) await must('', ['umount', place]);
    }
  }

  test('no nft', async () => {
    await vpcctl(...vpc('a', '10.1.0.0/16'));
    const kernel = await witness();
    const state = await stateOf(host);
    await withNft(undefined, async () => {
      await refused(host, vpc('b', '10.2.0.0/16'), 7, [/nft is not installed/, /nftables/]);
      const { exitCode, json } = await host.vpcctl(['doctor', '--json']);
      expect(exitCode).toBe(7);
      const { checks } = json as { checks: { name: string; status: string; hint?: string }[] };
      expect(checks.find(({ name }) => name === 'nft')).toMatchObject({
        status: 'missing',
        hint: expect.stringContaining('nftables'),
      });
    });
    await expectWitness(kernel);
    expect(await stateOf(host)).toEqual(state);
  });

  test('an nft that fails half way', async () => {
    await vpcctl(...vpc('a', '10.1.0.0/16'));
    const kernel = await witness();
    const state = await stateOf(host);
    const script = '#!/bin/sh\necho "Error: Could not process rule: Operation not supported" >&2\nexit 1\n';
    // The library does not ask the program.
    vi.stubEnv('VPCCTL_NFT', 'process');
    onTestFinished(() => void vi.unstubAllEnvs());
    await withNft(script, () => refused(host, vpc('b', '10.2.0.0/16'), 6, [/nft refused/, /not supported/]));
    await expectWitness(kernel);
    expect(await stateOf(host)).toEqual(state);
  });

  test('an nft of long ago: doctor says so', async () => {
    await withNft('#!/bin/sh\necho "nftables v0.9.0 (Fearless Fosdick)"\n', async () => {
      const { exitCode, stdout } = await host.vpcctl(['doctor']);
      expect(exitCode).toBe(7);
      expect(stdout).toMatch(/^missing +nft +0\.9\.0/m);
      expect(stdout).toMatch(/install nftables 1\.0\.2 or later/);
    });
    expect((await vpcctl('doctor')).stdout).toMatch(/this machine has what vpcctl needs/);
  });

  test('no privileges: everything that changes something is refused, with exit status 7', async () => {
    await vpcctl(...vpc('a', '10.1.0.0/16'));
    const kernel = await witness();
    const before = host.snapshot();
    const home = join(temp, 'home');
    mkdirSync(home, { mode: 0o777 });
    chmodSync(home, 0o777);
    const asNobody = async (...args: string[]) => {
      const drop = ['--reuid=65534', '--regid=65534', '--clear-groups', '--inh-caps=-all', '--bounding-set=-all'];
      const argv = ['setpriv', ...drop, process.execPath, main, ...args];
      const done = await inNetns('', argv, { env: { HOME: home, NO_COLOR: '1', VPCCTL_STATE: '' } });
      return { ...done, json: undefined };
    };
    const own = ['--state', join(home, 'state')];
    expectRefusal(await asNobody(...own, ...vpc('b', '10.2.0.0/16')), 7, [/root|permi|privilege|CAP_/i]);
    expectRefusal(await asNobody('--state', host.stateDir, ...vpc('b', '10.2.0.0/16')), 7, [
      /state|permi/i,
      /root|--state/,
    ]);
    expectRefusal(await asNobody('--state', '/var/lib/vpcctl-of-nobody', 'list'), 7, [
      /\/var\/lib\/vpcctl-of-nobody/,
      /--state/,
    ]);
    const doctor = await asNobody('doctor');
    expect(doctor.exitCode).toBe(7);
    expect(doctor.stdout).toMatch(/^missing +privileges +without CAP_NET_ADMIN and CAP_SYS_ADMIN/m);
    expect(doctor.stdout).toMatch(/^unknown +other firewalls +not looked at: /m);
    // Looking at one's own state needs none.
    expect(await asNobody(...own, 'list')).toMatchObject({ exitCode: 0, stdout: 'no VPCs', stderr: '' });
    expect(diffHostStates(before, host.snapshot())).toEqual([]);
    await expectWitness(kernel);
  });

  test('a program that is not there, that fails, and that does not listen', async () => {
    await vpcctl(...vpc('a', '10.1.0.0/16'));
    await vpcctl('add-subnet', '--vpc', 'a', '--subnet', 'web', '--cidr', '10.1.1.0/24');
    const at = ['--vpc', 'a', '--subnet', 'web'];
    await refused(host, ['deploy-app', ...at, '--', '/no/such/program'], 5, [
      /a\/web/,
      /ended at once/,
      /no\/such\/program/,
    ]);
    await refused(host, ['deploy-app', ...at, '--', 'sh', '-c', 'echo alas >&2; exit 3'], 5, [/ended at once/, /alas/]);
    const missing = await host.vpcctl(['exec', ...at, '--', '/no/such/program']);
    expect(missing.exitCode).toBe(127);
    expect((await host.vpcctl(['exec', ...at, '--', 'sh', '-c', 'exit 42'])).exitCode).toBe(42);
    expect((await host.vpcctl(['exec', ...at, '--', 'sh', '-c', 'kill -TERM $$'])).exitCode).toBe(143);
    expect((await vpcctl('show')).stdout).not.toMatch(/app/);
  });
});
