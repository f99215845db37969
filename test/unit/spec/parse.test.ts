import { readdirSync, readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VpcctlError } from '../../../src/errors.js';
import { type Format, formatSpec, type ParseOptions, parsePolicyFile, parseSpec } from '../../../src/spec/parse.js';
import { policyJsonSchema, specJsonSchema, validateSpec } from '../../../src/spec/schema.js';
import type { Spec } from '../../../src/spec/types.js';
import { anyPolicies, anySpec } from './arbitrary.js';
import { accepts } from './json-schema.js';

const EXAMPLES = new URL('../../../examples/', import.meta.url);

async function refused(promise: Promise<unknown>): Promise<VpcctlError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(VpcctlError);
  const refusal = error as VpcctlError;
  expect(refusal.code).toBe('INVALID');
  return refusal;
}

/** Every problem as `line:column path | message`, the error's own first. */
async function problemsOf(text: string, options: Partial<ParseOptions> = {}): Promise<string[]> {
  const { facts, message } = await refused(parseSpec(text, { file: 'f.yaml', ...options }));
  expect(facts.file).toBe(options.file ?? 'f.yaml');
  const all = facts.problems ?? [{ message, line: facts.line, column: facts.column, path: facts.path }];
  expect(all[0]).toEqual({
    message,
    line: facts.line,
    column: facts.column,
    ...(facts.path === undefined && facts.problems !== undefined ? {} : { path: facts.path }),
  });
  return all.map((one) => `${one.line}:${one.column} ${one.path ?? '-'} | ${one.message}`);
}

describe('examples', () => {
  const files = readdirSync(EXAMPLES).filter((file) => !file.endsWith('.mjs'));

  it('are the ones we know', () => {
    expect(files.sort()).toEqual([
      'bank.yaml',
      'dns.yaml',
      'hub.yaml',
      'ipv6-internet.yaml',
      'ipv6.yaml',
      'nat.yaml',
      'network-acl.yaml',
      'peered.yaml',
      'policy-web.json',
      'prefix-lists.yaml',
      'shaping.yaml',
      'three-tiers.yaml',
      'transit.yaml',
    ]);
  });

  it.each(files.filter((file) => file.endsWith('.yaml')))('%s parses, and the JSON Schema agrees', async (file) => {
    const text = readFileSync(new URL(file, EXAMPLES), 'utf8');
    expect(text.startsWith('# yaml-language-server: $schema=../dist/schema.json\n')).toBe(true);
    const { spec } = await parseSpec(text, { file });
    expect(spec.name).toBe(file.replace('.yaml', ''));
    expect(accepts((await specJsonSchema()) as Record<string, unknown>, spec)).toBe(true);
    for (const format of ['yaml', 'json'] as const) {
      expect((await parseSpec(await formatSpec(spec, format), { file: '-' })).spec).toEqual(spec);
    }
  });

  it('policy-web.json parses, and the JSON Schema agrees', async () => {
    const text = readFileSync(new URL('policy-web.json', EXAMPLES), 'utf8');
    const [policy, ...more] = await parsePolicyFile(text, { file: 'policy-web.json' });
    expect(more).toEqual([]);
    expect(policy?.ingress?.map(({ port, action }) => [port, action])).toEqual([
      [80, 'allow'],
      [22, 'deny'],
    ]);
    expect(accepts((await policyJsonSchema()) as Record<string, unknown>, JSON.parse(text))).toBe(true);
  });

  it('hub.yaml gives each spoke its groups through an alias', async () => {
    const text = readFileSync(new URL('hub.yaml', EXAMPLES), 'utf8');
    const { spec } = await parseSpec(text, { file: 'hub.yaml' });
    expect(Object.keys(spec.vpcs)).toHaveLength(6);
    expect(spec.peerings).toHaveLength(5);
    expect(spec.vpcs['spoke-5']?.securityGroups).toEqual(spec.vpcs['spoke-1']?.securityGroups);
  });
});

const TEXT = `# a comment
name: lab
vpcs:
  a:
    cidr: 10.0.0.0/16
    subnets:
      web: { cidr: 10.0.1.0/24, public: true }
    securityGroups:
      web:
        ingress:
          - protocol: tcp
            port: 80
          - { protocol: udp, port: "53" }
    instances:
      web-1:
        subnet: web
        securityGroups:
          - web
`;

describe('locate', () => {
  it.each<[(string | number)[], number, number]>([
    [[], 2, 1],
    [['name'], 2, 7],
    [['vpcs'], 3, 1],
    [['vpcs', 'a'], 4, 3],
    [['vpcs', 'a', 'cidr'], 5, 11],
    [['vpcs', 'a', 'subnets', 'web'], 7, 7],
    [['vpcs', 'a', 'subnets', 'web', 'cidr'], 7, 20],
    [['vpcs', 'a', 'subnets', 'web', 'public'], 7, 41],
    [['vpcs', 'a', 'securityGroups', 'web', 'ingress'], 10, 9],
    [['vpcs', 'a', 'securityGroups', 'web', 'ingress', 0], 11, 13],
    [['vpcs', 'a', 'securityGroups', 'web', 'ingress', 0, 'port'], 12, 19],
    [['vpcs', 'a', 'securityGroups', 'web', 'ingress', 1], 13, 13],
    [['vpcs', 'a', 'securityGroups', 'web', 'ingress', 1, 'port'], 13, 36],
    [['vpcs', 'a', 'instances', 'web-1', 'securityGroups', 0], 18, 13],
    // What is not there: the deepest part that is.
    [['vpcs', 'a', 'subnets', 'web', 'gateway'], 7, 7],
    [['vpcs', 'a', 'securityGroups', 'web', 'ingress', 7, 'port'], 10, 9],
    [['vpcs', 'b', 'cidr'], 3, 1],
    [['vpcs', 'a', 'cidr', 'deeper', 0], 5, 11],
    [['peerings', 0], 2, 1],
  ])('finds %j at %i:%i', async (path, line, column) => {
    const { locate } = await parseSpec(TEXT, { file: 'f.yaml' });
    expect(locate(path)).toEqual({ line, column });
  });

  it('finds the same in JSON', async () => {
    const { locate } = await parseSpec('{\n  "vpcs": {\n    "a": {\n      "cidr": "10.0.0.0/16"\n    }\n  }\n}', {
      file: 'f.json',
    });
    expect(locate(['vpcs', 'a', 'cidr'])).toEqual({ line: 4, column: 15 });
    expect(locate(['vpcs', 'a'])).toEqual({ line: 3, column: 5 });
    expect(locate([])).toEqual({ line: 1, column: 1 });
  });

  it('points at the alias where a value came by one, and into the anchor for what is inside', async () => {
    const text =
      'vpcs:\n  a:\n    cidr: &c 10.0.0.0/16\n    subnets: &s\n      x: { cidr: 10.0.1.0/24 }\n  b:\n    cidr: *c\n    subnets: *s\n';
    const { locate } = await parseSpec(text, { file: 'f.yaml' });
    expect(locate(['vpcs', 'b', 'cidr'])).toEqual({ line: 7, column: 11 });
    expect(locate(['vpcs', 'b', 'subnets'])).toEqual({ line: 8, column: 5 });
    expect(locate(['vpcs', 'b', 'subnets', 'x', 'cidr'])).toEqual({ line: 5, column: 18 });
  });

  it('counts lines that end as on Windows', async () => {
    const { locate } = await parseSpec(TEXT.replaceAll('\n', '\r\n'), { file: 'f.yaml' });
    expect(locate(['vpcs', 'a', 'securityGroups', 'web', 'ingress', 0, 'port'])).toEqual({ line: 12, column: 19 });
  });
});

describe('problems of the schema', () => {
  it.each<[string, string[]]>([
    ['{}', ['1:1 - | vpcs is missing']],
    ['vpcs:', ['1:6 vpcs | vpcs: expected a map from VPC names to their properties, found nothing']],
    ['vpcs: []', ['1:1 vpcs | vpcs: expected a map from VPC names to their properties, found a list']],
    ['vpcs: {}\nsettings: []', ['2:1 settings | settings: expected settings (a map), found a list']],
    ['[]', ['1:1 - | expected a spec (a map with the key vpcs), found a list']],
    ['42', ['1:1 - | expected a spec (a map with the key vpcs), found the number 42']],
    ['vpcs: {a: 5}', ['1:11 vpcs.a | vpcs.a: expected a VPC (a map), found the number 5']],
    ['vpcs:\n  a: {}', ['2:3 vpcs.a | vpcs.a: cidr is missing']],
    [
      'vpcs:\n  a:\n    cidr: 10.0.1.7/24',
      ['3:11 vpcs.a.cidr | vpcs.a.cidr: 10.0.1.7/24 has host bits set: the network is 10.0.1.0/24; write 10.0.1.0/24'],
    ],
    [
      'vpcs:\n  a: { cidr: 10.0.0.0/16, security_groups: {}, instanes: {}, color: red }',
      ['security_groups', 'instanes', 'color'].map((key, index) => {
        const near = ['; did you mean "securityGroups"?', '; did you mean "instances"?', ''][index];
        const allowed =
          'cidr, ipv6Cidr, secondaryCidrs, dns, subnets, routeTables, natGateways, egressOnlyInternetGateway, networkAcls, securityGroups, instances';
        return `2:${[27, 48, 62][index]} vpcs.a.${key} | vpcs.a: unknown key "${key}": expected ${allowed}${near}`;
      }),
    ],
    [
      'vpcs: {}\n<<: {name: a}',
      [
        '2:1 "<<" | unknown key "<<": expected name, settings, elasticIps, prefixLists, vpcs, privateZones, transitGateways, peerings; merge keys are not read: an alias stands for a whole value',
      ],
    ],
    [
      'vpcs:\n  Web: { cidr: 10.0.0.0/16 }',
      [
        '2:3 vpcs.Web | vpcs: VPC name "Web": character 1 is "W": expected 1 to 63 lower-case letters, digits and inner hyphens; write web',
      ],
    ],
    [
      'vpcs:\n  constructor: { cidr: 10.0.0.0/16 }\n  __proto__: 1',
      [
        '2:3 vpcs.constructor | vpcs: VPC name "constructor" is a reserved word: take another',
        '3:3 vpcs.__proto__ | vpcs: VPC name "__proto__": character 1 is "_": expected 1 to 63 lower-case letters, digits and inner hyphens',
      ],
    ],
    ['vpcs: {}\nname: 5', ['2:7 name | name: expected a spec name (text), found the number 5; put it in quotes']],
    [
      'vpcs: {}\nsettings: { poolRouted: "yes", uplink: a/b }',
      [
        '2:25 settings.poolRouted | settings.poolRouted: expected true or false, found "yes"; write true',
        '2:40 settings.uplink | settings.uplink: "a/b" is no link name: expected 1 to 15 characters without "/", ":" and spaces',
      ],
    ],
    [
      'vpcs: {}\npeerings:\n  - vpcs: [a]\n  - vpcs: [a, b, c]\n  - vpcs: a',
      [
        '3:5 peerings[0].vpcs[1] | peerings[0].vpcs[1]: expected a VPC name (text), found nothing',
        '4:18 peerings[1].vpcs[2] | peerings[1].vpcs[2]: a peering has two VPCs, found also "c"',
        '5:11 peerings[2].vpcs | peerings[2].vpcs: expected a list of two VPC names, found "a"',
      ],
    ],
  ])('%j', async (text, problems) => {
    expect(await problemsOf(text)).toEqual(problems);
  });

  it.each<[string, string, string]>([
    [
      '{ port: 80 }',
      'port',
      '11 port 80: protocol any covers protocols without ports; set the protocol to tcp or udp, or leave the port out',
    ],
    [
      '{ protocol: icmp, port: 80 }',
      'port',
      '27 port 80: protocol icmp has no ports; set the protocol to tcp or udp, or leave the port out',
    ],
    [
      '{ protocol: tcp, port: 0 }',
      'port',
      '26 port "0": port 0 cannot be named: expected a port of 1 to 65535, "from-to" or any',
    ],
    [
      '{ protocol: tcp, port: "80,90" }',
      'port',
      '26 port "80,90" is a list: expected a port of 1 to 65535, "from-to" or any; write 2 rules, one for each',
    ],
    [
      '{ protocol: tcp, port: true }',
      'port',
      '26 expected a port: a number of 1 to 65535, "from-to" or any, found true',
    ],
    [
      '{ protocol: tpc }',
      'protocol',
      '15 expected a protocol (tcp, udp, icmp, icmpv6, any or a number of 0 to 255), found "tpc"; did you mean "tcp"?',
    ],
    [
      '{ protocol: 256 }',
      'protocol',
      '15 256 is not a protocol number: expected tcp, udp, icmp, icmpv6, any or a protocol number of 0 to 255',
    ],
    [
      '{ from: pears }',
      'from',
      '11 "pears": expected an address or block, any, self, vpc, peers, host, or a map with a group\'s name; write peers',
    ],
    [
      '{ from: web }',
      'from',
      '11 "web": expected an address or block, any, self, vpc, peers, host, or a map with a group\'s name; write { group: web } for a group',
    ],
    ['{ from: 10.0.0.1/8 }', 'from', '11 10.0.0.1/8 has host bits set: the network is 10.0.0.0/8; write 10.0.0.0/8'],
    [
      '{ from: { group: -x } }',
      'from.group',
      '20 security group name "-x" starts with "-": expected 1 to 63 lower-case letters, digits and inner hyphens',
    ],
    [
      '{ from: [any] }',
      'from',
      '5 expected an address, a block, a word or a map with a group or a prefixList, found a list',
    ],
  ])('of the rule %s', async (rule, path, message) => {
    const text = `vpcs:\n a:\n  cidr: 10.0.0.0/16\n  securityGroups:\n   web:\n    ingress:\n    - ${rule.replace(/^\{ /, '{')}`;
    const where = `vpcs.a.securityGroups.web.ingress[0].${path}`;
    const [column, ...words] = message.split(' ');
    const [only, ...more] = await problemsOf(text);
    expect(more).toEqual([]);
    expect(only?.replace(/^7:\d+ /, '')).toBe(`${where} | ${where}: ${words.join(' ')}`);
    const key = path.split('.')[0] ?? '';
    const line = text.split('\n')[6] ?? '';
    // A list is at its key; everything else where it begins.
    const at = rule.includes('[any]') ? line.indexOf(key) : Number(column) - 1 + (line.length - `  ${rule}`.length);
    expect(only?.startsWith(`7:${at + 1} `), `${only} at ${at + 1}`).toBe(true);
  });
});

describe('problems of the text', { timeout: 60_000 }, () => {
  it.each<[string, string[]]>([
    ['', ['1:1 - | the document is empty: expected a spec: a map with the key vpcs']],
    ['# nothing\n', ['1:1 - | the document is empty: expected a spec: a map with the key vpcs']],
    ['vpcs: {}\nname: a\nvpcs: {}', ['3:1 - | the key "vpcs" is given twice, first on line 1']],
    ['vpcs: {}\n"vpcs": {}', ['2:1 - | the key "vpcs" is given twice, first on line 1']],
    ['vpcs:\n\ta: 1', ['2:1 - | a tab indents this line: YAML is indented with spaces']],
    ['vpcs: *b', ['1:7 - | the alias *b has no anchor before it']],
    ['vpcs: &a [*a]', ['1:11 - | the alias *a is inside its own anchor']],
    ['vpcs: {}\n---\nvpcs: {}', ['2:1 - | a second document begins here: expected one']],
    ['%YAML 1.1\n---\nvpcs: {}', ['1:1 - | YAML 1.1 is not read: remove the %YAML directive']],
    ['name: !lab x\nvpcs: {}', ['1:7 - | unknown tag !lab: leave tags out']],
    ['name: 2001-01-01\nvpcs: !!timestamp 2001-01-01', ['2:19 - | expected text, a number, true or false']],
    ['? [a]\n: b', ['1:3 - | a key is not plain text: expected a name']],
    [
      'a: 010\nb: 0x10',
      [
        '1:4 - | 010 is read as the number 10: write 10, or "010" in quotes',
        '2:4 - | 0x10 is read as the number 16: write 16, or "0x10" in quotes',
      ],
    ],
    ['['.repeat(66) + ']'.repeat(66), ['1:66 - | nested deeper than 64 levels']],
  ])('YAML %j', async (text, problems) => {
    const found = await problemsOf(text);
    expect(found).toEqual(problems);
  });

  it.each<[string, string]>([
    ['', '1:1 - | the text is empty'],
    ['{"vpcs": {,}}', '1:11 - | expected a key in double quotes, found ","'],
    ['{\n  "vpcs": {},\n}', '2:13 - | a comma before "}": JSON allows none there'],
    ['{"a": [1, 2,]}', '1:12 - | a comma before "]": JSON allows none there'],
    ['{"vpcs": {}, "vpcs": {}}', '1:14 - | the key "vpcs" is given twice, first on line 1'],
    ['{"vpcs": {}', '1:12 - | expected "," or "}", found the end of the text'],
    ['{"vpcs" {}}', '1:9 - | expected ":" after the key "vpcs", found "{"'],
    ['{"a": "x\ny"}', '1:9 - | a string contains a line end: write it as an escape'],
    ['{"a": "x', '1:7 - | a string has no closing quote'],
    ['{"a": "\\x"}', '1:8 - | "\\\\x" is not an escape of JSON'],
    ['{"a": 010}', '1:7 - | expected a value, found "010"'],
    ['{"a": True}', '1:7 - | expected a value, found "True"'],
    ["{'a': 1}", '1:2 - | expected a key in double quotes, found "\'"'],
    ['{} // x', '1:4 - | expected the end of the text, found a comment, which JSON has not'],
    ['{}{}', '1:3 - | expected the end of the text, found "{"'],
    ['['.repeat(100_000), '1:66 - | nested deeper than 64 levels'],
  ])('JSON %j', async (text, problem) => {
    expect(await problemsOf(text, { file: 'f.json' })).toEqual([problem]);
  });

  it.each(['['.repeat(50_000), '- '.repeat(20_000), '{a: '.repeat(20_000)])(
    'survives nesting of %.10s…',
    async (text) => {
      expect((await problemsOf(text)).join()).toMatch(/nested/);
    },
  );

  it('does not expand a billion laughs', async () => {
    const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x]'];
    for (let n = 1; n < 20; n += 1)
      lines.push(
        `a${n}: &a${n} [${Array(9)
          .fill(`*a${n - 1}`)
          .join(', ')}]`,
      );
    const before = performance.now();
    expect((await problemsOf(lines.join('\n'))).join()).toContain('aliases make the document too large');
    expect(performance.now() - before).toBeLessThan(5000);
  });

  it('does not search long for a quote that is missing', async () => {
    const text = `{"a": "${'x\\n'.repeat(300_000)}`;
    const before = performance.now();
    expect(await problemsOf(text, { file: 'f.json' })).toEqual(['1:7 - | a string has no closing quote']);
    expect(performance.now() - before).toBeLessThan(5000);
  });
});

describe('format', () => {
  const json = '{"$schema": "../dist/schema.json", "vpcs": {}}';

  it('is what the file is called, or looks like', async () => {
    expect((await parseSpec(json, { file: 'x.json' })).spec).toEqual({ vpcs: {} });
    expect((await parseSpec(json, { file: '-' })).spec).toEqual({ vpcs: {} });
    expect((await parseSpec(`\ufeff${json}`, { file: '-' })).spec).toEqual({ vpcs: {} });
    expect((await parseSpec(json, { file: 'x.yaml' })).spec).toEqual({ vpcs: {} });
    expect((await parseSpec('vpcs: {}', { file: '-' })).spec).toEqual({ vpcs: {} });
    expect((await parseSpec('{vpcs: {}}', { file: '-' })).spec).toEqual({ vpcs: {} });
    expect((await parseSpec('{vpcs: {}}', { file: 'x.json', format: 'yaml' })).spec).toEqual({ vpcs: {} });
    expect(await problemsOf('{vpcs: {}}', { file: 'x.JSON' })).toEqual([
      '1:2 - | expected a key in double quotes, found "v"',
    ]);
    expect(await problemsOf('{"vpcs": {}', { file: '-' })).toEqual([
      '1:12 - | expected "," or "}", found the end of the text',
    ]);
  });
});

describe('parsePolicyFile', { timeout: 60_000 }, () => {
  it('reads one policy or a list, JSON or YAML', async () => {
    const one = { subnet: '10.0.1.0/24', ingress: [{ port: 80, protocol: 'tcp', action: 'allow' }] };
    expect(await parsePolicyFile(JSON.stringify(one), { file: 'p.json' })).toEqual([one]);
    expect(await parsePolicyFile(JSON.stringify([one, { egress: [] }]), { file: 'p.json' })).toEqual([
      one,
      { egress: [] },
    ]);
    expect(await parsePolicyFile('subnet: web\negress: []\n', { file: '-' })).toEqual([{ subnet: 'web', egress: [] }]);
  });

  it.each<[string, string]>([
    ['{"ingress": [{"port": 80, "protocol": "tcp"}]}', 'p.json:1:14: ingress[0]: action is missing'],
    [
      '{"ingress": [{"port": 80, "protocol": "tcp", "action": "alow"}]}',
      'p.json:1:56: ingress[0].action: expected one of allow, accept, deny, drop, reject, found "alow"; did you mean "allow"?',
    ],
    [
      '[{}, {"subnet": "10.0.1.1/24"}]',
      'p.json:1:17: [1].subnet: 10.0.1.1/24 has host bits set: the network is 10.0.1.0/24; write 10.0.1.0/24',
    ],
    ['[{}, 5]', 'p.json:1:6: [1]: expected a policy (a map), found the number 5'],
    [
      '{"ingress": [{"port": 80, "action": "deny"}]}',
      'p.json:1:23: ingress[0].port: port 80: protocol any covers protocols without ports; set the protocol to tcp or udp, or leave the port out',
    ],
    ['{"ingres": []}', 'p.json:1:2: unknown key "ingres": expected subnet, ingress, egress; did you mean "ingress"?'],
    ['"x"', 'p.json:1:1: expected a policy (a map), found "x"'],
    ['null', 'p.json:1:1: the document is empty: expected a policy or a list of policies'],
  ])('refuses %s', async (text, line) => {
    expect((await refused(parsePolicyFile(text, { file: 'p.json' }))).toLine()).toBe(line);
  });

  it('takes every policy there can be', async () => {
    const schema = (await policyJsonSchema()) as Record<string, unknown>;
    await fc.assert(
      fc.asyncProperty(anyPolicies, async (policies) => {
        expect(await parsePolicyFile(JSON.stringify(policies), { file: 'p.json' })).toEqual(policies);
        expect(accepts(schema, policies)).toBe(true);
      }),
    );
  });
});

describe('formatSpec', { timeout: 60_000 }, () => {
  it('writes what parses back to an equal spec, names in the same order', async () => {
    const schema = (await specJsonSchema()) as Record<string, unknown>;
    await fc.assert(
      fc.asyncProperty(anySpec, fc.constantFrom<Format>('yaml', 'json'), async (spec, format) => {
        const text = await formatSpec(spec, format);
        const again = (await parseSpec(text, { file: '-', format })).spec;
        expect(again).toStrictEqual(spec);
        expect(Object.keys(again.vpcs)).toEqual(Object.keys(spec.vpcs));
        expect(await formatSpec(again, format)).toBe(text);
        expect(accepts(schema, spec)).toBe(true);
      }),
      { numRuns: 100 },
    );
  });

  it('is for people to read', async () => {
    const spec: Spec = {
      peerings: [{ vpcs: ['a', 'b'] }],
      vpcs: {
        b: { cidr: '10.2.0.0/16' },
        a: {
          securityGroups: {
            web: {
              ingress: [{ port: 80, protocol: 'tcp', from: { group: 'lb' }, description: 'The site' }],
              egress: [],
            },
          },
          instances: { 'web-1': { securityGroups: ['web'], subnet: 'no' } },
          subnets: {
            no: { cidr: '10.1.1.0/24', policy: { ingress: [{ action: 'allow', port: '80-90', protocol: 'tcp' }] } },
          },
          cidr: '10.1.0.0/16',
        },
      },
      name: 'lab',
    };
    expect(await formatSpec(spec, 'yaml')).toBe(`name: lab
vpcs:
  b:
    cidr: 10.2.0.0/16
  a:
    cidr: 10.1.0.0/16
    subnets:
      "no":
        cidr: 10.1.1.0/24
        policy:
          ingress:
            - { protocol: tcp, port: 80-90, action: allow }
    securityGroups:
      web:
        ingress:
          - { protocol: tcp, port: 80, from: { group: lb }, description: The site }
        egress: []
    instances:
      web-1:
        subnet: "no"
        securityGroups: [ web ]
peerings:
  - vpcs: [ a, b ]
`);
    expect(Object.keys(JSON.parse(await formatSpec(spec, 'json')))).toEqual(['name', 'vpcs', 'peerings']);
  });

  it('writes no invalid spec', async () => {
    const error = await refused(formatSpec({ vpcs: { a: { cidr: '10.0.0.0' } } }, 'yaml'));
    expect(error.facts.path).toBe('vpcs.a.cidr');
  });
});

describe('validateSpec', () => {
  it('checks objects as text is checked, without a position', () => {
    expect(validateSpec({ vpcs: {} })).toEqual({ vpcs: {} });
    try {
      validateSpec({ vpcs: { a: { cidr: 'x' } }, nmae: 'b' });
      throw new Error('was not refused');
    } catch (error) {
      expect((error as VpcctlError).toJSON()).toEqual({
        code: 'INVALID',
        message: 'vpcs.a.cidr: "x" is not an address: expected an IPv4 block such as 10.0.1.0/24',
        path: 'vpcs.a.cidr',
        problems: [
          {
            message: 'vpcs.a.cidr: "x" is not an address: expected an IPv4 block such as 10.0.1.0/24',
            path: 'vpcs.a.cidr',
          },
          {
            message:
              'unknown key "nmae": expected name, settings, elasticIps, prefixLists, vpcs, privateZones, transitGateways, peerings; did you mean "name"?',
            path: 'nmae',
          },
        ],
      });
    }
  });
});

describe('any text', { timeout: 60_000 }, () => {
  const pieces = fc.array(
    fc.oneof(
      fc.constantFrom(
        'vpcs',
        'cidr',
        'a',
        ': ',
        ':',
        '\n',
        '  ',
        '- ',
        '[',
        ']',
        '{',
        '}',
        ',',
        '"',
        "'",
        '&a ',
        '*a',
        '!!',
      ),
      fc.constantFrom(
        '10.0.0.0/16',
        '#',
        '|\n',
        '>\n',
        '? ',
        '%YAML 1.1\n',
        '---\n',
        '...\n',
        '\t',
        '<<',
        'null',
        '1',
        '\\',
      ),
      fc.constantFrom(
        '!!set',
        '!!omap',
        '!!binary',
        '!!pairs',
        '!!timestamp',
        '!!str',
        '!x',
        '__proto__',
        'constructor',
      ),
      fc.string({ unit: 'binary', maxLength: 5 }),
    ),
    { maxLength: 30 },
  );

  it('gives a spec or INVALID with a position in the text, and nothing else', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          pieces.map((all) => all.join('')),
          fc.string({ unit: 'binary' }),
          fc.jsonValue().map((value) => JSON.stringify(value)),
        ),
        async (text) => {
          for (const format of ['yaml', 'json', 'auto'] as const) {
            for (const parse of [parseSpec, parsePolicyFile]) {
              try {
                await parse(text, { file: 'f', format });
              } catch (error) {
                if (!(error instanceof VpcctlError)) throw error;
                expect(error.code).toBe('INVALID');
                const line = text.split('\n')[(error.facts.line ?? 0) - 1];
                expect(line).toBeDefined();
                expect(error.facts.column).toBeGreaterThanOrEqual(1);
                expect(error.facts.column).toBeLessThanOrEqual((line ?? '').length + 1);
              }
            }
          }
        },
      ),
      { numRuns: 500 },
    );
  });

  it('changes in one place of a good spec are taken or refused, never a crash', async () => {
    await fc.assert(
      fc.asyncProperty(anySpec, fc.nat(), fc.anything(), async (spec, seed, junk) => {
        const places: (() => void)[] = [];
        const walk = (value: unknown): void => {
          if (typeof value !== 'object' || value === null) return;
          for (const key of Object.keys(value)) {
            places.push(() => Object.assign(value, { [key]: junk }));
            walk((value as Record<string, unknown>)[key]);
          }
        };
        const copy = structuredClone(spec);
        walk(copy);
        places[seed % places.length]?.();
        try {
          validateSpec(copy);
        } catch (error) {
          if (!(error instanceof VpcctlError)) throw error;
          expect(error.code).toBe('INVALID');
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('JSON Schema', () => {
  it('describes every key, and allows no others', async () => {
    for (const schema of [await specJsonSchema(), await policyJsonSchema()]) {
      const bare: string[] = [];
      const walk = (node: unknown, path: string): void => {
        if (typeof node !== 'object' || node === null) return;
        const { properties, additionalProperties } = node as Record<string, Record<string, { description?: string }>>;
        if (properties !== undefined && path !== 'properties') {
          expect(additionalProperties, path).toBe(false);
          for (const [key, value] of Object.entries(properties)) {
            if ((value.description ?? '').length < 10) bare.push(`${path}.${key}`);
          }
        }
        for (const [key, value] of Object.entries(node)) walk(value, `${path}/${key}`);
      };
      walk(schema, '');
      expect(bare).toEqual([]);
    }
  });

  it('refuses what the parser refuses for its shape', async () => {
    const schema = (await specJsonSchema()) as Record<string, unknown>;
    const vpc = (more: object) => ({ vpcs: { a: { cidr: '10.0.0.0/16', ...more } } });
    const rule = (one: object) => vpc({ securityGroups: { g: { ingress: [one] } } });
    const bad: unknown[] = [
      {},
      { vpcs: [] },
      { vpcs: {}, color: 'red' },
      { vpcs: { A: { cidr: '10.0.0.0/16' } } },
      { vpcs: { a: { cidr: '10.0.0.256/16' } } },
      { vpcs: { a: { cidr: '10.0.0.0/33' } } },
      { vpcs: { a: { cidr: '010.0.0.0/8' } } },
      { vpcs: { constructor: { cidr: '10.0.0.0/16' } } },
      vpc({ instances: { x: {} } }),
      rule({ protocol: 'tcp', port: 0 }),
      rule({ protocol: 'tcp', port: '80,90' }),
      rule({ protocol: 'sctp' }),
      rule({ protocol: 256 }),
      rule({ from: 'everybody' }),
      rule({ from: { group: 'a', more: 1 } }),
      { vpcs: {}, peerings: [{ vpcs: ['a', 'b', 'c'] }] },
      { vpcs: {}, peerings: [{ vpcs: ['a'] }] },
    ];
    for (const value of bad) {
      expect(accepts(schema, value), JSON.stringify(value)).toBe(false);
      expect(() => validateSpec(value), JSON.stringify(value)).toThrow(VpcctlError);
    }
    expect(accepts(schema, { $schema: 'x', vpcs: {} })).toBe(true);
  });
});

it.each<[string, object, readonly string[]]>([
  [
    'has a key of it',
    { vpc: 'a', securityGroup: 'web' },
    ['group is missing', 'unknown key "securityGroup": expected group, vpc'],
  ],
  ['is near it', { prefixlist: 'x' }, ['unknown key "prefixlist": expected prefixList; did you mean "prefixList"?']],
  [
    'is like none',
    { sg: 'web' },
    ['expected an address, a block, a word or a map with a group or a prefixList, found a map'],
  ],
])('of several maps that could stand there, the one is told of that was meant: what is there %s', (_, from, told) => {
  const spec = { vpcs: { a: { cidr: '10.0.0.0/16', securityGroups: { g: { ingress: [{ from }] } } } } };
  const where = 'vpcs.a.securityGroups.g.ingress[0].from: ';
  try {
    validateSpec(spec);
    expect.unreachable();
  } catch (error) {
    const { message, facts } = error as VpcctlError;
    const problems = facts.problems?.map((problem) => problem.message) ?? [message];
    expect(problems.map((problem) => problem.replace(where, ''))).toEqual(told);
  }
});
