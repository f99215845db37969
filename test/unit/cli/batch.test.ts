import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Library } from '../../../src/cli/host.js';
import { MemoryKernel, open, type Vpcctl, VpcctlError } from '../../../src/index.js';
import { type Outcome, vpcctl } from './support.js';

interface Result {
  readonly line: number;
  readonly id?: unknown;
  readonly op?: string;
  readonly ok: boolean;
  readonly error?: { readonly code?: string; readonly message: string; readonly hint?: string };
  readonly [key: string]: unknown;
}

let dir: string;
let real: Vpcctl;
let library: Partial<Library>;

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'vpcctl-batch-'));
  real = await open({ state: join(dir, 'state'), kernel: new MemoryKernel() });
  library = {
    transaction: async (edit, options) => real.transaction(edit, options),
    list: () => real.list(),
    inspect: (vpc) => real.inspect(vpc),
    drift: async () => real.drift(),
    close: async () => {},
    needsRestore: false,
  };
});
afterEach(async () => {
  await real.close();
  rmSync(dir, { recursive: true });
});

async function batch(
  lines: readonly unknown[],
  argv: readonly string[] = [],
  given: Partial<Library> = library,
  signal = new AbortController().signal,
): Promise<Outcome & { readonly results: readonly Result[] }> {
  const stdin = lines.map((line) => `${typeof line === 'string' ? line : JSON.stringify(line)}\n`).join('');
  const outcome = await vpcctl(['batch', ...argv], { library: given, stdin, signal });
  const results = outcome.stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Result);
  return { ...outcome, results };
}

const VPC = { op: 'create-vpc', name: 'a', cidr: '10.1.0.0/16' };
const SUBNET = { op: 'add-subnet', vpc: 'a', subnet: 'web', cidr: '10.1.1.0/24', instance: false };
const instance = (name: string, subnet = 'web') => ({ op: 'add-instance', vpc: 'a', subnet, name });

describe('operations', () => {
  test('are done in order, each with a result', async () => {
    const { results, exitCode, stderr, opened } = await batch([{ ...VPC, id: 'first' }, '', SUBNET, instance('one')]);
    expect([exitCode, stderr]).toEqual([0, '']);
    expect(opened).toHaveLength(1);
    expect(results).toMatchObject([
      { line: 1, id: 'first', op: 'create-vpc', ok: true, unchanged: false },
      { line: 3, op: 'add-subnet', ok: true },
      { line: 4, op: 'add-instance', ok: true, ip: '10.1.1.4', publicIp: null },
    ]);
    expect(results[1]).not.toHaveProperty('id');
    expect(real.inspect('a').subnets[0]?.instances.map(({ name }) => name)).toEqual(['one']);
  });

  test('of every kind do what the commands do', async () => {
    const { results, exitCode, stderr } = await batch([
      { op: 'configure', quotas: { subnetsPerVpc: 2 }, poolRouted: true, ipv6PoolRouted: true },
      { ...VPC, uplink: 'none', publicPool: '198.51.100.0/25' },
      { op: 'create-vpc', name: 'b', cidr: '10.2.0.0/16' },
      { op: 'add-subnet', vpc: 'a', subnet: 'web', cidr: '10.1.1.0/24', public: true },
      { op: 'add-subnet', vpc: 'a', subnet: 'db', ip: '10.9.0.7', gateway: '10.9.0.1' },
      { op: 'put-security-group', vpc: 'a', name: 'g', rules: { ingress: [{ protocol: 'tcp', port: 80 }] } },
      {
        op: 'add-instance',
        vpc: 'a',
        subnet: 'web',
        name: 'two',
        ip: '10.1.1.9',
        publicIp: 'none',
        securityGroups: ['g'],
      },
      { op: 'add-instance', vpc: 'a', subnet: 'db', name: 'three', publicIp: 'none' },
      {
        op: 'apply-policy',
        vpc: 'a',
        subnet: 'web',
        policy: { ingress: [{ protocol: 'tcp', port: 80, action: 'allow' }] },
      },
      { op: 'create-egress-only-internet-gateway', vpc: 'b' },
      { op: 'create-route', vpc: 'b', destination: '::/0', target: 'egress-only-internet-gateway' },
      { op: 'create-network-acl', vpc: 'a', name: 'n' },
      {
        op: 'put-network-acl',
        vpc: 'a',
        name: 'm',
        rules: { egress: [{ number: 1, action: 'deny', cidr: '10.0.0.0/8' }] },
      },
      {
        op: 'create-network-acl-entry',
        vpc: 'a',
        acl: 'n',
        ingress: true,
        number: 100,
        action: 'allow',
        protocol: 'tcp',
        port: 80,
        cidr: '0.0.0.0/0',
      },
      { op: 'associate-network-acl', vpc: 'a', subnet: 'db', acl: 'n' },
      {
        op: 'peer-vpcs',
        vpc1: 'a',
        vpc2: 'b',
        allowCidrs: ['10.1.1.0/24', '10.2.0.0/16'],
        routes: 'manual',
        cut: true,
      },
    ]);
    expect([exitCode, stderr]).toEqual([0, '']);
    expect(results[3]).toMatchObject({
      instance: { ip: '10.1.1.4', publicIp: expect.stringMatching(/^198\.51\.100\./) },
    });
    const { subnets, securityGroups, peers, networkAcls } = real.inspect('a');
    expect(networkAcls).toMatchObject([
      { name: 'm', egress: [{ number: 1, action: 'deny' }] },
      { name: 'n', subnets: ['db'], ingress: [{ number: 100, protocol: 'tcp', port: 80 }], egress: [] },
    ]);
    const [db, web] = subnets;
    expect(db).toMatchObject({ cidr: '10.9.0.0/24', gateway: '10.9.0.1' });
    expect(db?.instances).toMatchObject([{ name: 'db', ip: '10.9.0.7' }, { name: 'three' }]);
    expect(web).toMatchObject({ kind: 'public', policy: { ingress: [{ port: 80 }] } });
    expect(web?.instances).toMatchObject([{ name: 'two', ip: '10.1.1.9', securityGroups: ['g'] }, { name: 'web' }]);
    expect(securityGroups.map(({ name }) => name)).toEqual(['default', 'g']);
    expect(peers).toEqual(['b']);
    expect(real.list()).toMatchObject({
      publicPool: '198.51.100.0/25',
      poolRouted: true,
      ipv6PoolRouted: true,
      quotas: { subnetsPerVpc: 2 },
      peerings: [{ routes: 'manual' }],
    });

    expect(real.inspect('b')).toMatchObject({ egressOnlyInternetGateway: true });
    const gone = await batch([
      { op: 'delete-egress-only-internet-gateway', vpc: 'b' },
      { op: 'unpeer-vpcs', vpc1: 'a', vpc2: 'b' },
      { op: 'clear-policy', vpc: 'a', subnet: 'web' },
      { op: 'delete-network-acl-entry', vpc: 'a', acl: 'n', ingress: true, number: 100 },
      { op: 'associate-network-acl', vpc: 'a', subnet: 'db' },
      { op: 'delete-network-acl', vpc: 'a', name: 'n' },
      { op: 'delete-instance', vpc: 'a', name: 'two' },
      { op: 'delete-security-group', vpc: 'a', name: 'g' },
      { op: 'delete-subnet', vpc: 'a', subnet: 'db', force: true },
      { op: 'delete-vpc', name: 'b' },
      { op: 'delete-vpc', name: 'b' },
    ]);
    expect(gone.results.map(({ deleted }) => deleted)).toEqual([
      true,
      true,
      true,
      true,
      undefined,
      true,
      true,
      true,
      true,
      true,
      false,
    ]);
    expect(gone.results.at(-1)).toMatchObject({ ok: true, unchanged: true });
  });

  test('of a transaction are all done, or none', async () => {
    await batch([VPC, SUBNET]);
    const { results, exitCode } = await batch(
      [
        { transaction: [instance('one'), instance('two')], id: 7 },
        { transaction: [instance('three'), instance('four', 'nix'), instance('five')] },
      ],
      ['--keep-going'],
    );
    expect(exitCode).toBe(4);
    expect(results).toMatchObject([
      { id: 7, op: 'transaction', ok: true, results: [{ ip: '10.1.1.4' }, { ip: '10.1.1.5' }] },
      { op: 'transaction', ok: false, at: 2, error: { code: 'NOT_FOUND' } },
    ]);
    expect(real.inspect('a').subnets[0]?.instances.map(({ name }) => name)).toEqual(['one', 'two']);
  });

  test('that are command lines run here, on the library that is open', async () => {
    const { results, exitCode, opened, stderr } = await batch(
      [
        { argv: ['create-vpc', '--name', 'a', '--cidr', '10.1.0.0/16'], id: 'c' },
        { argv: ['show', 'nix'] },
        { argv: ['completion', 'fish'] },
        { argv: ['no-such-command'] },
      ],
      ['--keep-going'],
    );
    expect(opened).toHaveLength(1);
    expect(exitCode).toBe(4);
    expect(results).toMatchObject([
      { id: 'c', op: 'argv', ok: true, output: { unchanged: false, vpc: { name: 'a' } } },
      { ok: false, exitCode: 4, error: { code: 'NOT_FOUND' } },
      { ok: true, output: expect.stringContaining('complete -c vpcctl') },
      { ok: false, exitCode: 2, error: { code: 'USAGE' } },
    ]);
    expect(stderr).toMatch(/^vpcctl: line 2: vpc nix does not exist$/m);
  });

  test('come from a file, too', async () => {
    const file = join(dir, 'operations.ndjson');
    writeFileSync(file, `${JSON.stringify(VPC)}\n`);
    expect((await batch([], [file])).results).toMatchObject([{ line: 1, ok: true }]);
    expect((await batch([], [join(dir, 'nix')])).exitCode).toBe(4);
    expect(await batch([])).toMatchObject({ exitCode: 0, stdout: '', stderr: '' });
  });
});

describe('failures', () => {
  test('the first one ends the batch, and is its exit status', async () => {
    const { results, exitCode, stderr } = await batch([VPC, instance('one'), SUBNET]);
    expect(exitCode).toBe(4);
    expect(results.map(({ ok }) => ok)).toEqual([true, false]);
    expect(stderr).toBe(
      'vpcctl: line 2: subnet web of vpc a does not exist; there are none yet\nvpcctl: 1 operation done, 1 failed; what came after was not begun\n',
    );
    expect(real.inspect('a').subnets).toEqual([]);
  });

  test('with --keep-going, the others are done', async () => {
    const { results, exitCode, stderr } = await batch([VPC, '{', SUBNET, instance('one', 'nix')], ['--keep-going']);
    expect(exitCode).toBe(2);
    expect(results.map(({ ok }) => ok)).toEqual([true, false, true, false]);
    expect(stderr).toMatch(/\nvpcctl: 2 operations done, 2 failed\n$/);
  });

  test.each([
    ['no JSON', '{"op"', 'USAGE', /^it is not JSON: /],
    ['a list', '[]', 'USAGE', 'it is to be a map'],
    ['a number', '7', 'USAGE', 'it is to be a map'],
    ['nothing asked', '{}', 'USAGE', 'it is to have one of "op", "transaction" and "argv", and has 0'],
    ['two things asked', '{"op":"x","argv":[]}', 'USAGE', /and has 2$/],
    ['an id that is a map', '{"op":"delete-vpc","name":"a","id":{}}', 'USAGE', '"id" is to be text or a number'],
    ['no such operation', '{"op":"add-instanc"}', 'USAGE', 'there is no operation "add-instanc"'],
    ['an operation of every object', '{"op":"constructor"}', 'USAGE', 'there is no operation "constructor"'],
    ['an operation that is a number', '{"op":7}', 'USAGE', '"op" is to be text'],
    ['a missing key', '{"op":"add-instance","vpc":"a"}', 'USAGE', 'add-instance lacks "subnet", "name"'],
    ['an unknown key', '{"op":"delete-vpc","name":"a","x":1}', 'USAGE', 'delete-vpc has no key "x"'],
    [
      'a key of every object',
      '{"op":"delete-vpc","name":"a","__proto__":{}}',
      'USAGE',
      'delete-vpc has no key "__proto__"',
    ],
    ['a wrong type', '{"op":"delete-vpc","name":7}', 'USAGE', '"name" of delete-vpc is to be text'],
    ['a wrong list', '{"op":"peer-vpcs","vpc1":"a","vpc2":"b","allowCidrs":[7]}', 'USAGE', /is to be a list of texts$/],
    ['a wrong flag', '{"op":"delete-vpc","name":"a","cut":1}', 'USAGE', '"cut" is to be true or false'],
    ['no block', '{"op":"add-subnet","vpc":"a","subnet":"s"}', 'USAGE', 'subnet s has no block'],
    [
      'wrong rules',
      '{"op":"put-security-group","vpc":"a","name":"g","rules":{"in":[]}}',
      'INVALID',
      /^"rules": unknown key "in"/,
    ],
    [
      'a wrong policy',
      '{"op":"apply-policy","vpc":"a","policy":{"ingress":7}}',
      'INVALID',
      /^"policy": ingress: expected a list/,
    ],
    ['an empty transaction', '{"transaction":[]}', 'USAGE', '"transaction" is to be a list of operations'],
    ['a transaction of texts', '{"transaction":["x"]}', 'USAGE', 'operation 1 of the transaction is to be a map'],
    [
      'an unknown key beside it',
      '{"transaction":[{"op":"delete-vpc","name":"a"}],"x":1}',
      'USAGE',
      'a transaction has no key "x"',
    ],
    ['a transaction in one', '{"transaction":[{"transaction":[]}]}', 'USAGE', '"op" is to be text'],
    ['too deep', `{"op":${'['.repeat(40)}${']'.repeat(40)}}`, 'USAGE', 'it is nested deeper than 16 levels'],
    [
      'far too deep',
      `{"id":${'['.repeat(200_000)}${']'.repeat(200_000)}}`,
      'USAGE',
      'it is nested deeper than 16 levels',
    ],
    ['a batch in a batch', '{"argv":["batch"]}', 'USAGE', 'batch cannot be run here'],
    ['a watch', '{"argv":["watch"]}', 'USAGE', 'watch cannot be run here'],
    ['another state', '{"argv":["list","--state","x"]}', 'USAGE', '--state cannot be given here'],
    ['no command', '{"argv":["--json"]}', 'USAGE', '"argv" is to begin with a command'],
  ])('%s is refused, with its line', async (_, line, code, message) => {
    const { results, stderr } = await batch(['', line]);
    expect(results).toMatchObject([
      {
        line: 2,
        ok: false,
        error: { code, message: typeof message === 'string' ? message : expect.stringMatching(message) },
      },
    ]);
    expect(stderr).toMatch(/^vpcctl: line 2: /);
    expect(real.list().vpcs).toEqual([]);
  });

  test('whatever a line holds, there is one result, and nothing is a bug', async () => {
    const words = fc.constantFrom(
      'op',
      'vpc',
      'name',
      'subnet',
      'rules',
      'argv',
      'transaction',
      'a',
      'add-instance',
      'list',
      'id',
    );
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { depthSize: 'small' },
        words,
        fc.integer(),
        fc.boolean(),
        fc.constant(null),
        tie('list'),
        tie('map'),
      ),
      list: fc.array(tie('any'), { maxLength: 3 }),
      map: fc.dictionary(words, tie('any'), { maxKeys: 4 }),
    })).any;
    await fc.assert(
      fc.asyncProperty(value, async (line) => {
        const { results } = await batch([JSON.stringify(line)]);
        expect(results).toHaveLength(1);
        expect(results[0]?.error?.code).not.toBe('UNEXPECTED');
      }),
      { numRuns: 200 },
    );
  });

  test('an interrupt undoes what is under way, and what comes after is not begun', async () => {
    const abort = new AbortController();
    const interrupted: Partial<Library> = {
      transaction: async (edit, options) => {
        if (real.list().vpcs.length === 0) return real.transaction(edit, options);
        abort.abort('SIGINT');
        throw new VpcctlError('ABORTED', 'interrupted: what had been done was undone');
      },
    };
    const { results, exitCode, stderr } = await batch([VPC, SUBNET, VPC], ['--keep-going'], interrupted, abort.signal);
    expect(exitCode).toBe(130);
    expect(results).toMatchObject([{ ok: true }, { line: 2, ok: false, error: { code: 'ABORTED' } }]);
    expect(stderr).toMatch(/\nvpcctl: interrupted: 1 operation done; what came after was not begun\n$/);
  });
});

describe('--parallel', () => {
  /** A library that says when operations begin, and ends them when told to. */
  function paced() {
    const begun: string[] = [];
    const ends = new Map<string, () => void>();
    const slow: Partial<Library> = {
      ...library,
      transaction: async (edit, options) => {
        const result = await real.transaction(edit, { ...options, dryRun: true });
        const name = String(result.changes[0]?.resource);
        begun.push(name);
        await new Promise<void>((resolve) => ends.set(name, resolve));
        return real.transaction(edit, options);
      },
    };
    const until = async (condition: () => boolean) => {
      for (let i = 0; !condition() && i < 200; i++) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    return { slow, begun, ends, until };
  }

  test('operations on different VPCs overlap, those of one keep their order, results are in order', async () => {
    const { slow, begun, ends, until } = paced();
    const vpc = (name: string, at: number) => ({ op: 'create-vpc', name, cidr: `10.${at}.0.0/16` });
    const working = batch(
      [vpc('a', 1), SUBNET, vpc('b', 2), vpc('c', 3), { argv: ['list'] }],
      ['--parallel', '2'],
      slow,
    );
    await until(() => begun.length === 2);
    expect(begun).toEqual(['vpc a', 'vpc b']);
    ends.get('vpc b')?.();
    await until(() => begun.length === 3);
    expect(begun[2]).toBe('vpc c');
    ends.get('vpc a')?.();
    await until(() => begun.length === 4);
    expect(begun[3]).toBe('subnet a/web');
    ends.get('subnet a/web')?.();
    ends.get('vpc c')?.();
    const { results, exitCode } = await working;
    expect(exitCode).toBe(0);
    expect(results.map(({ line }) => line)).toEqual([1, 2, 3, 4, 5]);
    expect(results[4]).toMatchObject({ output: { vpcs: [{ name: 'a' }, { name: 'b' }, { name: 'c' }] } });
  });

  test('a failure lets end what is under way, and begins nothing more', async () => {
    const many = Array.from({ length: 30 }, (_, at) => ({ op: 'create-vpc', name: `v${at}`, cidr: `10.${at}.0.0/16` }));
    const { results, exitCode } = await batch(
      [...many.slice(0, 2), instance('x'), ...many.slice(2)],
      ['--parallel', '2'],
    );
    expect(exitCode).toBe(4);
    expect(results.filter(({ ok }) => !ok)).toHaveLength(1);
    expect(results.length).toBeLessThan(20);
    expect(real.list().vpcs).toHaveLength(results.length - 1);
  });

  test.each(['0', '65', 'x', '-1'])('%s is refused', async (number) => {
    expect((await batch([], ['--parallel', number])).exitCode).toBe(2);
  });
});
