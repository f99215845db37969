import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { analyze } from '../../../src/analyze/analyze.js';
import { matrix } from '../../../src/analyze/matrix.js';
import type { Library } from '../../../src/cli/host.js';
import { matrixSvg } from '../../../src/cli/matrix-svg.js';
import type { ProbeResult } from '../../../src/index.js';
import { group, setting } from '../analyze/support.js';
import { VPC_A, VPC_B, vpcctl } from './support.js';

const { reader } = setting(group('b', { ingress: [{ protocol: 'tcp', port: 80, from: '198.51.100.0/24' }] }));
const library: Partial<Library> = {
  analyze: (query) => analyze(reader, query),
  matrix: (query) => matrix(reader, query),
};

const temp = mkdtempSync(join(tmpdir(), 'vpcctl-analyze-'));
afterAll(() => rmSync(temp, { recursive: true, force: true }));

describe('analyze --probe', () => {
  const probed = (told: Partial<ProbeResult>): Partial<Library> => ({
    ...library,
    probe: async (query) =>
      Promise.resolve({
        query: analyze(reader, query).query,
        reached: true,
        answered: true,
        answeredBy: 'listener',
        portTaken: false,
        seenSource: '10.1.1.10',
        verdict: 'answered',
        reason: 'a listener put there answered',
        rttMs: 0.25,
        ...told,
      }),
  });
  const SILENCE = {
    reached: false,
    answered: false,
    answeredBy: null,
    seenSource: null,
    verdict: 'timeout',
    reason: 'no answer came',
    rttMs: null,
  } as const;
  const run = async (told: Partial<ProbeResult>, destination: string, ...more: string[]) =>
    vpcctl(['analyze', 'a/web', destination, '--port', '80', '--probe', ...more], { library: probed(told) });

  test('that agrees ends as without', async () => {
    const { exitCode, stdout } = await run({}, 'a/db', '--quiet');
    expect([exitCode, stdout]).toEqual([
      0,
      `reachable: a/web (10.1.1.10) to a/db (10.1.2.10), tcp 80
probed: a listener put there answered after 0.3 ms; it was seen to come from 10.1.1.10
`,
    ]);
    const refused = await run(SILENCE, 'b/app');
    expect(refused.exitCode).toBe(10);
    expect(refused.stdout).toMatch(/\n\nprobed: no answer came\n$/);
  });

  test('that does not says both, and ends with 11', async () => {
    const dropped = await run(SILENCE, 'a/db', '--quiet');
    expect(dropped.exitCode).toBe(11);
    expect(dropped.stdout).toMatch(
      /probed: no answer came\ndisagrees: the rules say reachable, and something else stops it; see vpcctl drift and vpcctl doctor\n$/,
    );
    const passed = await run({}, 'b/app', '--quiet');
    expect(passed.exitCode).toBe(11);
    expect(passed.stdout).toContain('disagrees: the rules say not reachable, and something lets it pass');
    const { exitCode, stdout } = await run(SILENCE, 'a/db', '--json');
    expect(exitCode).toBe(11);
    expect(JSON.parse(stdout)).toMatchObject({
      reachable: true,
      probe: { ...SILENCE, agrees: false, portTaken: false },
    });
  });

  test('that nobody can judge says so', async () => {
    const silent = await run({ ...SILENCE, reached: null }, 'internet', '--quiet');
    expect([silent.exitCode, silent.stdout]).toEqual([
      0,
      expect.stringContaining('whether that is as the rules say cannot be told from here\n'),
    ]);
    const kept = await run({ ...SILENCE, reached: true, portTaken: true }, 'a/db', '--quiet');
    expect(kept.exitCode).toBe(0);
  });
});

describe('analyze', () => {
  test('tells the verdict and the way', async () => {
    const { exitCode, stdout, stderr } = await vpcctl(['analyze', 'a/web', 'b/app@public', '--port', '80'], {
      library,
    });
    expect([exitCode, stderr]).toEqual([0, '']);
    expect(stdout).toBe(`reachable: a/web (10.1.1.10) to b/app (198.51.100.20, public), tcp 80

there
  ✓  instance a/web                          10.1.1.10 is its address
  ✓  security groups of a/web                group a/open, egress rule 1: any to any
  ✓  route table a/public                    0.0.0.0/0 leads to the internet gateway
  →  internet gateway of vpc a               source 10.1.1.10 becomes 198.51.100.10: 198.51.100.10 is its public address
  ✓  border between VPCs, host and internet  198.51.100.20 is a public address of vpc b
  →  internet gateway of vpc b               destination 198.51.100.20 becomes 10.2.1.10: 198.51.100.20 is instance b/app's
  ✓  security groups of b/app                group b/open, ingress rule 1: tcp 80 from 198.51.100.0/24
  ✓  instance b/app                          10.2.1.10 is its address

and back
  ✓  instance b/app                          10.2.1.10 is its address
  ✓  security groups of b/app                stateful: the answer of a connection that was admitted passes
  ✓  route table b/public                    0.0.0.0/0 leads to the internet gateway
  →  internet gateway of vpc b               source 10.2.1.10 becomes 198.51.100.20: stateful: the answer is translated back
  ✓  border between VPCs, host and internet  198.51.100.10 is a public address of vpc a
  →  internet gateway of vpc a               destination 198.51.100.10 becomes 10.1.1.10: stateful: the answer is translated back
  ✓  security groups of a/web                stateful: the answer of a connection that was admitted passes
  ✓  instance a/web                          10.1.1.10 is its address
`);
  });

  test('tells everything that refuses, and ends with 10', async () => {
    const { exitCode, stdout } = await vpcctl(['analyze', 'a/db', 'b/app', '--port', '80'], { library });
    expect(exitCode).toBe(10);
    expect(stdout).toMatch(/^not reachable: a\/db \(10\.1\.2\.10\) to b\/app \(10\.2\.1\.10\), tcp 80\n/);
    expect(
      stdout.slice(stdout.indexOf('refused by')),
    ).toBe(`refused by security groups of b/app: no ingress rule of group b/open names tcp 80 from 10.1.2.10
  to let it pass: add an ingress rule to a group of b/app: tcp 80 from 10.1.2.10
`);
    const out = await vpcctl(['analyze', 'a/db', 'internet'], { library });
    expect(out.stdout).toContain(' (✗)  internet gateway of vpc a ');
    expect(out.stdout).toContain('\n  in brackets: were it not refused before\n');
    expect(out.stdout.match(/^refused by/gm)).toHaveLength(2);
  });

  test('--quiet tells the verdict alone, --json all of it', async () => {
    const quiet = await vpcctl(['analyze', 'a/web', 'a/db', '--quiet'], { library });
    expect(quiet.stdout).toBe('reachable: a/web (10.1.1.10) to a/db (10.1.2.10), icmp\n');
    const { exitCode, stdout } = await vpcctl(
      ['analyze', 'a/web', '10.2.1.10', '--protocol', '17', '--port', '53', '--json'],
      {
        library,
      },
    );
    expect(exitCode).toBe(10);
    expect(JSON.parse(stdout)).toMatchObject({
      reachable: false,
      query: { protocol: { name: 'udp', number: 17 }, port: 53, destination: { kind: 'instance', vpc: 'b' } },
      refusals: [{ direction: 'forward', component: { kind: 'security-groups', id: 'instance/b/app' } }],
    });
  });

  test.each([
    [['analyze', 'a/web'], 2, /missing required argument 'destination'/],
    [['analyze', 'a/web', 'a/nobody'], 4, /instance nobody of vpc a does not exist/],
    [['analyze', 'a/web', 'a/db', '--port', '0'], 2, /--port/],
    [['analyze', 'a/web', 'a/db', '--protocol', 'tpc'], 3, /is not a protocol/],
    [['analyze', 'a/web', 'a/db', '--protocol', 'tcp'], 2, /give the port/],
  ])('%j ends with %i', async (argv, code, words) => {
    const { exitCode, stdout, stderr } = await vpcctl(argv, { library });
    expect([exitCode, stdout]).toEqual([code, '']);
    expect(stderr).toMatch(words);
  });
});

describe('matrix', () => {
  test('is a table', async () => {
    const { exitCode, stdout } = await vpcctl(['matrix', '--port', '80', '--vpc', 'a', 'b'], { library });
    expect(exitCode).toBe(0);
    expect(stdout).toBe(`who reaches whom by tcp 80: 14 of 28 pairs

            1 2 3 4 5 6
1 a/bare      ✓ ✓ · · ·
2 a/db      ✓   ✓ · · ·
3 a/web     ✓ ✓   p ✓ ·
4 b/app     ✓ ✓ ✓   ✓ ·
5 internet  · · ✓ ·
6 host      · · ✓ ·

rows reach columns: ✓ yes  p by its public address only  · no
`);
  });

  test('--quiet names what can be asked of, --json is the whole', async () => {
    const view = { list: () => ({ vpcs: [VPC_A, VPC_B] }) } as unknown as Partial<Library>;
    expect((await vpcctl(['matrix', '--quiet'], { library: view })).stdout).toBe('a/web\ninternet\nhost\n');
    const { stdout } = await vpcctl(['matrix', '--json'], { library });
    expect(JSON.parse(stdout)).toEqual(JSON.parse(JSON.stringify(matrix(reader))));
  });

  test('--svg writes a picture', async () => {
    const path = join(temp, 'reach.svg');
    const { exitCode, stdout } = await vpcctl(['matrix', '--svg', path, '--vpc', 'a'], { library });
    expect(exitCode).toBe(0);
    expect(stdout).toContain(`\nwrote ${path}\n`);
    const svg = readFileSync(path, 'utf8');
    expect(svg).toBe(matrixSvg(matrix(reader, { vpcs: ['a'] })));
    expect(svg).toContain('<title>a/web to a/db, icmp: yes</title>');
    // A square a pair, three of the legend, and the background.
    expect(svg.match(/<rect /g)).toHaveLength(5 * 5 - 5 - 2 + 3 + 1);
  });

  test('of a VPC that is not there', async () => {
    expect((await vpcctl(['matrix', '--vpc', 'x'], { library })).exitCode).toBe(4);
  });
});
