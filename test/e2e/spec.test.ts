/** Whole networks from files: the examples, changes of a file, errors in one, and the way there and back. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { INTERNET, INTERNET_SERVER, type Probe, TestHost } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import {
  answers,
  changesNothing,
  destroyAll,
  expectHostAsBefore,
  expectWitness,
  ownNamespaces,
  reaches,
  refused,
  target,
  witness,
} from './support.js';

const examples = fileURLToPath(new URL('../../examples/', import.meta.url));

let host: TestHost;
let temp: string;
let pristine: HostState;

beforeAll(async () => {
  host = await TestHost.create({ routedToHost: ['198.51.100.0/24'] });
  temp = mkdtempSync(join(tmpdir(), 'vpcctl-spec-'));
  pristine = host.snapshot();
});

afterEach(async () => {
  await host.leave(INTERNET);
  await destroyAll(host);
  await expectHostAsBefore(host, pristine);
});

afterAll(async () => {
  rmSync(temp, { recursive: true, force: true });
  await host.close();
});

async function vpcctl(...args: string[]) {
  return host.vpcctlOk(args);
}

function file(name: string, content: unknown): string {
  const path = join(temp, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

interface Address {
  readonly ip: string;
  readonly publicIp: string | null;
}

/** `vpc/instance` → addresses. */
async function addresses(): Promise<Map<string, Address>> {
  const { json } = await vpcctl('list', '--json');
  const { vpcs } = json as { vpcs: { name: string; subnets: { instances: (Address & { name: string })[] }[] }[] };
  return new Map(
    vpcs.flatMap(({ name, subnets }) =>
      subnets.flatMap(({ instances }) => instances.map((one) => [`${name}/${one.name}`, one] as const)),
    ),
  );
}

interface Example {
  /** `vpc/instance` → protocols and ports that it listens on. */
  readonly listen: Readonly<Record<string, readonly string[]>>;
  /** Who is asked to reach every listener; besides every instance. */
  readonly outsiders: readonly string[];
  readonly reached: readonly string[];
}

const spokes = [1, 2, 3, 4, 5].map((number) => `spoke-${number}/work-1`);

/** What the groups and policies of each example say, as pairs of who reaches what. */
const EXAMPLES: Readonly<Record<string, Example>> = {
  'bank.yaml': {
    listen: {
      'bank/web-1': ['tcp 80', 'tcp 443', 'tcp 22', 'icmp'],
      'bank/web-2': ['tcp 80'],
      'bank/api-1': ['tcp 8080', 'tcp 80', 'icmp'],
      'bank/db-1': ['tcp 5432', 'udp 5432', 'icmp'],
    },
    outsiders: ['host', 'internet'],
    reached: [
      'bank/api-1 → bank/db-1 tcp 5432',
      'bank/api-1 → bank/web-1 tcp 443',
      'bank/api-1 → bank/web-1 tcp 80',
      'bank/api-1 → bank/web-2 tcp 80',
      'bank/db-1 → bank/web-1 tcp 443',
      'bank/db-1 → bank/web-1 tcp 80',
      'bank/db-1 → bank/web-2 tcp 80',
      'bank/web-1 → bank/api-1 tcp 8080',
      'bank/web-1 → bank/web-2 tcp 80',
      'bank/web-2 → bank/api-1 tcp 8080',
      'bank/web-2 → bank/web-1 tcp 443',
      'bank/web-2 → bank/web-1 tcp 80',
      'host → bank/web-1 icmp',
      'host → bank/web-1 tcp 443',
      'host → bank/web-1 tcp 80',
      'host → bank/web-2 tcp 80',
      'internet → bank/web-1 tcp 443',
      'internet → bank/web-1 tcp 80',
      'internet → bank/web-2 tcp 80',
    ],
  },
  // Its names are what dns.test.ts asks for. An address of green is one of blue too, so nobody listens there.
  'dns.yaml': {
    listen: { 'blue/app': ['tcp 80'], 'blue/db': ['tcp 80'] },
    outsiders: ['host'],
    reached: ['blue/app → blue/db tcp 80', 'blue/db → blue/app tcp 80'],
  },
  'hub.yaml': {
    listen: {
      'hub/services-1': ['udp 53', 'tcp 443', 'tcp 80', 'icmp'],
      'spoke-1/work-1': ['icmp', 'tcp 80'],
      'spoke-2/work-1': ['icmp', 'tcp 80'],
    },
    outsiders: ['host'],
    reached: [
      'hub/services-1 → spoke-1/work-1 icmp',
      'hub/services-1 → spoke-2/work-1 icmp',
      ...spokes.flatMap((spoke) => ['icmp', 'tcp 443', 'udp 53'].map((what) => `${spoke} → hub/services-1 ${what}`)),
    ],
  },
  // By IPv4; by IPv6 it is ipv6-internet.test.ts that asks.
  'ipv6-internet.yaml': {
    listen: { 'shop/web-1': ['tcp 80', 'icmp'], 'shop/job-1': ['tcp 80'], 'shop/db-1': ['tcp 5432', 'tcp 80'] },
    outsiders: ['host'],
    reached: ['shop/web-1 → shop/db-1 tcp 5432', 'shop/job-1 → shop/db-1 tcp 5432'],
  },
  // By IPv4; by IPv6 it is ipv6.test.ts that asks.
  'ipv6.yaml': {
    listen: { 'shop/web-1': ['tcp 80', 'icmp'], 'shop/db-1': ['tcp 5432', 'tcp 80'], 'lab/client': ['icmp'] },
    outsiders: ['host'],
    reached: ['shop/web-1 → lab/client icmp', 'shop/old → lab/client icmp', 'shop/web-1 → shop/db-1 tcp 5432'],
  },
  'nat.yaml': {
    listen: {
      internet: ['tcp 443', 'icmp'],
      'app/work-1': ['tcp 8080', 'tcp 80'],
      'app/vault-1': ['tcp 8080'],
      'office/printer': ['tcp 631', 'icmp'],
    },
    outsiders: ['host', 'internet'],
    reached: [
      'app/vault-1 → app/work-1 tcp 8080',
      'app/work-1 → app/vault-1 tcp 8080',
      'app/work-1 → internet icmp',
      'app/work-1 → internet tcp 443',
      'app/work-1 → office/printer tcp 631',
      'host → internet icmp',
      'host → internet tcp 443',
    ],
  },
  'network-acl.yaml': {
    listen: {
      'dmz/web-1': ['tcp 80', 'tcp 22', 'icmp'],
      'dmz/data-1': ['tcp 5432', 'tcp 8080', 'icmp'],
    },
    outsiders: ['host', 'internet'],
    reached: [
      'dmz/web-1 → dmz/data-1 tcp 5432',
      'dmz/web-2 → dmz/data-1 tcp 5432',
      'dmz/web-2 → dmz/web-1 icmp',
      'dmz/web-2 → dmz/web-1 tcp 22',
      'dmz/web-2 → dmz/web-1 tcp 80',
      'host → dmz/web-1 icmp',
      'host → dmz/web-1 tcp 80',
      'internet → dmz/web-1 icmp',
      'internet → dmz/web-1 tcp 80',
    ],
  },
  'peered.yaml': {
    listen: {
      'production/web-1': ['tcp 80', 'tcp 22', 'icmp'],
      'production/db-1': ['tcp 5432', 'icmp'],
      'analytics/job-1': ['tcp 9050', 'tcp 8999', 'icmp'],
    },
    outsiders: ['host', 'internet'],
    reached: [
      'analytics/job-1 → production/web-1 icmp',
      'analytics/job-1 → production/web-1 tcp 80',
      'host → production/web-1 tcp 80',
      'internet → production/web-1 tcp 80',
      'production/db-1 → production/web-1 tcp 80',
      'production/web-1 → analytics/job-1 icmp',
      'production/web-1 → analytics/job-1 tcp 9050',
      'production/web-1 → production/db-1 tcp 5432',
    ],
  },
  'prefix-lists.yaml': {
    listen: { 'shop/web': ['tcp 80', 'tcp 22', 'icmp'], 'lab/web': ['tcp 80'], 'berlin/desk': ['tcp 631'] },
    outsiders: ['host'],
    reached: [
      'berlin/desk → lab/web tcp 80',
      'berlin/desk → shop/web tcp 80',
      'paris/desk → lab/web tcp 80',
      'paris/desk → shop/web tcp 80',
    ],
  },
  'shaping.yaml': {
    listen: { 'studio/store': ['tcp 80', 'icmp'], 'studio/proxy': ['udp 53'] },
    outsiders: ['host'],
    reached: [
      'studio/proxy → studio/store icmp',
      'studio/proxy → studio/store tcp 80',
      'studio/store → studio/proxy udp 53',
      'studio/viewer → studio/proxy udp 53',
      'studio/viewer → studio/store icmp',
      'studio/viewer → studio/store tcp 80',
    ],
  },
  'three-tiers.yaml': {
    listen: {
      'shop/edge-1': ['tcp 22', 'tcp 80', 'icmp'],
      'shop/app-1': ['tcp 8050', 'tcp 80', 'icmp'],
      'shop/data-1': ['tcp 5432', 'tcp 80'],
    },
    outsiders: ['host', 'internet'],
    reached: [
      'host → shop/edge-1 icmp',
      'host → shop/edge-1 tcp 80',
      'internet → shop/edge-1 icmp',
      'internet → shop/edge-1 tcp 80',
      'shop/app-1 → shop/data-1 tcp 5432',
      'shop/edge-1 → shop/app-1 tcp 8050',
    ],
  },
  'transit.yaml': {
    listen: { 'services/dns': ['udp 53', 'icmp'], 'dev/app': ['tcp 80'], 'prod/app': ['tcp 80'] },
    outsiders: ['host'],
    reached: [
      'dev/app → services/dns icmp',
      'dev/app → services/dns udp 53',
      'prod/app → services/dns icmp',
      'prod/app → services/dns udp 53',
      'services/dns → dev/app tcp 80',
      'services/dns → prod/app tcp 80',
    ],
  },
};

const namespaceOf = (who: string): string =>
  who === 'host' ? '' : who === 'internet' ? INTERNET : `vpc.${who.replace('/', '.')}`;

/** Everybody asks every listener; who is answered. From the internet by the public address, where there is one. */
async function reached({ listen, outsiders }: Example): Promise<string[]> {
  const known = await addresses();
  for (const [who, services] of Object.entries(listen)) {
    for (const service of services.filter((one) => one !== 'icmp')) {
      const [proto, port] = service.split(' ') as ['tcp' | 'udp', string];
      const listener = await host.listener(namespaceOf(who), proto, Number(port));
      await reaches(host, namespaceOf(who), { to: '127.0.0.1', port: Number(port), proto, listener });
    }
  }
  const questions = [...outsiders, ...known.keys()].flatMap((from) =>
    Object.entries(listen)
      .filter(([to]) => to !== from)
      .flatMap(([to, services]) => services.map((service) => ({ from, to, service }))),
  );
  const found: string[] = [];
  const ask = async (): Promise<void> => {
    for (let next = questions.shift(); next !== undefined; next = questions.shift()) {
      const { from, to, service } = next;
      const address = known.get(to);
      const own = from === 'internet' ? (address?.publicIp ?? address?.ip) : address?.ip;
      const at = to === 'internet' ? INTERNET_SERVER : own;
      // Two VPCs may have the same addresses: whoever asks for its own asks itself.
      if (known.get(from)?.ip === at) continue;
      const [proto, port] = service.split(' ') as [Probe['proto'], string | undefined];
      const probe = { proto, to: at ?? '', ...(port !== undefined && { port: Number(port) }) };
      if (await answers(host, namespaceOf(from), probe)) found.push(`${from} → ${to} ${service}`);
    }
  };
  await Promise.all(Array.from({ length: 8 }, ask));
  return found.sort();
}

describe('the examples', { sequential: true }, () => {
  test('are all tested', () => {
    expect(
      readdirSync(examples)
        .filter((name) => /\.ya?ml$/.test(name))
        .sort(),
    ).toEqual(Object.keys(EXAMPLES).sort());
  });

  test.each(Object.entries(EXAMPLES))('%s', async (name, example) => {
    const path = join(examples, name);
    const before = await witness();
    expect((await vpcctl('plan', path)).stdout).toMatch(/^\d+ to add, 0 to change, 0 to remove/m);
    expect((await host.vpcctl(['plan', path, '--detailed-exitcode'])).exitCode).toBe(8);
    await expectWitness(before, 'a plan');
    await vpcctl('apply', path, '--yes');
    expect((await vpcctl('drift')).stdout).toMatch(/^no drift/);
    expect((await vpcctl('plan', path, '--detailed-exitcode')).stdout).toMatch(/no changes/);
    expect(await reached(example)).toEqual([...example.reached].sort());
    for (const ns of ownNamespaces()) await host.leave(ns);
    await host.leave(INTERNET);
    await vpcctl('destroy', path, '--yes');
    expect(ownNamespaces()).toEqual([]);
    await expectHostAsBefore(host, pristine);
  });

  test('policy-web.json', async () => {
    const web = { a: 'vpc.a.web', ip: '10.1.1.10' };
    const vpcs = {
      a: {
        cidr: '10.1.0.0/16',
        subnets: { web: { cidr: '10.1.1.0/24', public: true } },
        instances: { web: { subnet: 'web', ip: web.ip } },
      },
      b: {
        cidr: '10.2.0.0/16',
        subnets: { app: { cidr: '10.2.1.0/24' } },
        instances: { app: { subnet: 'app', ip: '10.2.1.10' } },
      },
    };
    await vpcctl('apply', file('two.json', { vpcs, peerings: [{ vpcs: ['a', 'b'] }] }), '--yes');
    for (const port of [22, 80, 443]) await host.listener(web.a, 'tcp', port);
    for (const port of [7999, 8000, 8100]) await host.listener('vpc.b.app', 'tcp', port);
    const seen = async () => {
      const ask = (from: string, to: string, ports: readonly number[]) =>
        Promise.all(ports.map((port) => answers(host, from, { proto: 'tcp', to, port })));
      return [await ask('vpc.b.app', web.ip, [22, 80, 443]), await ask(web.a, '10.2.1.10', [7999, 8000, 8100])];
    };
    expect(await seen()).toEqual([
      [true, true, true],
      [true, true, true],
    ]);
    await vpcctl('apply-policy', '--vpc', 'a', '--policy', join(examples, 'policy-web.json'));
    expect(await seen()).toEqual([
      [false, true, false],
      [false, true, true],
    ]);
  });
});

describe('a file that changes', { sequential: true }, () => {
  const base = {
    name: 'net',
    vpcs: {
      a: {
        cidr: '10.1.0.0/16',
        subnets: { web: { cidr: '10.1.1.0/24', public: true }, db: { cidr: '10.1.2.0/24' } },
        securityGroups: { web: { ingress: [{ protocol: 'tcp', port: 80, from: 'any' }] } },
        instances: {
          'web-1': { subnet: 'web', ip: '10.1.1.10', securityGroups: ['web'] },
          'web-2': { subnet: 'web', ip: '10.1.1.11', securityGroups: ['web'] },
          'db-1': { subnet: 'db', ip: '10.1.2.10' },
        },
      },
      b: { cidr: '10.2.0.0/16', subnets: { app: { cidr: '10.2.1.0/24' } }, instances: { app: { subnet: 'app' } } },
    },
  };

  test('changes what it says, and lets all else run on', async () => {
    await vpcctl('apply', file('net.json', base), '--yes');
    const before = await witness();
    const web1 = await target(host, 'vpc.a.web-1', '10.1.1.10', 80);
    const more = await target(host, 'vpc.a.web-1', '10.1.1.10', 81);
    const talk = await host.connect('', '10.1.1.10', 80);
    expect(await talk.exchange()).toEqual({ ok: true });
    expect(await answers(host, '', { proto: 'tcp', to: '10.1.1.10', port: 81 })).toBe(false);

    // A rule more, an instance less, an instance more, a VPC less.
    const { 'web-2': gone, ...instances } = base.vpcs.a.instances;
    const web = { ingress: [...base.vpcs.a.securityGroups.web.ingress, { protocol: 'tcp', port: 81, from: 'any' }] };
    const a = {
      ...base.vpcs.a,
      securityGroups: { web },
      instances: { ...instances, 'web-3': { ...gone, ip: '10.1.1.12' } },
    };
    const changed = file('changed.json', { ...base, vpcs: { a } });
    const { json } = await vpcctl('apply', changed, '--yes', '--json');
    const { changes } = json as { changes: { action: string; resource: string }[] };
    const said = changes
      .map(({ action, resource }) => `${action} ${resource}`)
      .filter((line) => !/ (edge|igw)/.test(line));
    expect(said.sort()).toEqual([
      'create instance a/web-3',
      'delete instance a/web-2',
      'delete instance b/app',
      'delete route table b/main',
      'delete security group b/default',
      'delete subnet b/app',
      'delete vpc b',
      'update security group a/web',
    ]);
    expect(await talk.exchange()).toEqual({ ok: true });
    await reaches(host, '', more);
    await reaches(host, '', await target(host, 'vpc.a.web-3', '10.1.1.12', 80));
    expect(ownNamespaces()).toEqual(['vpc-edge', 'vpc.a', 'vpc.a.db-1', 'vpc.a.web-1', 'vpc.a.web-3']);
    await changesNothing(host, async () => {
      expect((await vpcctl('apply', changed, '--yes')).stdout).toMatch(/^unchanged/);
    });

    // And back to what it was, to the last element.
    await host.leave('vpc.a.web-3');
    await vpcctl('apply', file('net.json', base), '--yes');
    await expectWitness(before);
    expect(await talk.exchange()).toEqual({ ok: true });
    await reaches(host, '', web1);
    await talk.close();
  });

  test('is refused where it breaks a rule, with file, line and column, and nothing is done', async () => {
    await vpcctl('apply', file('net.json', base), '--yes');
    const yaml = (...lines: string[]) => file('bad.yaml', `${lines.join('\n')}\n`);
    const apply = ['apply', join(temp, 'bad.yaml'), '--yes'];
    await changesNothing(host, async () => {
      for (const [lines, code, says] of [
        [['vpcs:', '  a:', '    cidr: 10.1.0.0/99'], 3, [/bad\.yaml:3:11: /, /10\.1\.0\.0\/99/]],
        [['vpcs:', '  a:', '    cdir: 10.1.0.0/16'], 3, [/bad\.yaml:\d:\d+: /]],
        [['vpcs:', '  a:', '    cidr: 10.1.0.0/16', '    colour: red'], 3, [/bad\.yaml:4:5: /, /colour/]],
        [['vpcs:', '  "../x":', '    cidr: 10.1.0.0/16'], 3, [/bad\.yaml:2:3: /, /\.\.\/x/]],
        [['vpcs:', '  a: {cidr: 10.1.0.0/16'], 3, [/bad\.yaml:\d:\d+: /]],
        [
          ['vpcs:', '  a:', '    cidr: 10.1.0.0/16', '  a:', '    cidr: 10.1.0.0/16'],
          3,
          [/bad\.yaml:4:3: /, /unique|twice|again/i],
        ],
        [['vpcs: {}', 'peerings:', '  - vpcs: [a, nobody]'], 4, [/bad\.yaml:3:\d+: /, /nobody/]],
        [
          ['vpcs:', '  c:', '    cidr: 10.3.0.0/16', '    subnets:', '      out:', '        cidr: 10.4.0.0/24'],
          3,
          [/bad\.yaml:[56]:\d+: /, /10\.4\.0\.0\/24 is outside/],
        ],
        [
          ['vpcs:', '  c:', '    cidr: 10.3.0.0/16', '    instances:', '      n: {subnet: none}'],
          4,
          [/bad\.yaml:5:\d+: /, /subnet none/],
        ],
      ] as const) {
        yaml(...lines);
        // One problem can show in two ways; all lines are checked by the first.
        const { exitCode, stdout, stderr } = await host.vpcctl(apply);
        const [first = ''] = stderr.split('\n');
        expect([exitCode, stdout], lines.join('\n') + stderr).toEqual([code, '']);
        for (const part of says) expect(first).toMatch(part);
        expect(stderr).not.toMatch(/\n\s+at |Error:/);
      }
      yaml(
        'vpcs:',
        '  a:',
        '    cidr: 10.1.0.0/16',
        '    subnets:',
        '      s: {cidr: 10.1.0.0/33}',
        '      t: {cidr: x}',
      );
      const { stderr } = await host.vpcctl(apply);
      expect(stderr.split('\n').map((line) => line.split(' ')[1])).toEqual([
        expect.stringMatching(/bad\.yaml:5:\d+:$/),
        expect.stringMatching(/bad\.yaml:6:\d+:$/),
      ]);
      await refused(host, ['apply', temp, '--yes'], 3, [/directory/]);
    });
  });
});

describe('export and import', { sequential: true }, () => {
  test.each(['json', 'yaml'] as const)('by %s, the same again', async (format) => {
    const spec = {
      settings: { publicPool: '198.51.100.0/25', poolRouted: true },
      vpcs: {
        a: {
          cidr: '10.1.0.0/16',
          secondaryCidrs: ['10.9.0.0/24'],
          subnets: {
            web: {
              cidr: '10.1.1.0/24',
              public: true,
              gateway: '10.1.1.254',
              policy: {
                ingress: [{ protocol: 'tcp', port: '80-90', source: '10.0.0.0/8', action: 'allow' }],
                egress: [{ protocol: 'any', action: 'allow' }],
              },
            },
            old: { cidr: '10.9.0.0/24', addressing: 'plain' },
          },
          securityGroups: {
            web: {
              description: 'the web: "quoted", über',
              ingress: [{ protocol: 'tcp', port: 443, from: 'any', description: 'yes: no' }, { from: { group: 'db' } }],
              egress: [
                { protocol: 'udp', port: '53-54', to: '203.0.113.0/24' },
                { protocol: 47, to: 'vpc' },
              ],
            },
            db: {
              ingress: [
                { protocol: 'tcp', port: 5432, from: { group: 'web' } },
                { protocol: 'icmp', from: 'self' },
              ],
            },
          },
          instances: {
            w: { subnet: 'web', publicIp: '198.51.100.7', securityGroups: ['web', 'default'] },
            hidden: { subnet: 'web', publicIp: false },
            d: { subnet: 'old', ip: '10.9.0.2', securityGroups: ['db'] },
          },
        },
        b: { cidr: '10.2.0.0/20', subnets: { '1e3': { cidr: '10.2.1.0/24' } }, instances: { 0: { subnet: '1e3' } } },
        no: { cidr: '10.3.0.0/16' },
      },
      peerings: [{ vpcs: ['a', 'b'], allowCidrs: ['10.1.0.0/17', '10.2.1.0/24'] }],
    };
    await vpcctl('apply', file('spec.json', spec), '--yes');
    const before = { kernel: await witness(), show: (await vpcctl('show', '--json')).json };
    const path = join(temp, `all.${format}`);
    await vpcctl('export', '--format', format, '--output', path);
    expect((await vpcctl('export', '--format', format)).stdout).toBe(readFileSync(path, 'utf8').trimEnd());
    expect((await vpcctl('plan', path)).stdout, 'what is exported is what there is').toMatch(/no changes/);
    await destroyAll(host);
    await vpcctl('import', path);
    await expectWitness(before.kernel);
    expect((await vpcctl('show', '--json')).json).toEqual(before.show);
    const again = await vpcctl('export', '--format', format);
    expect(again.stdout).toBe(readFileSync(path, 'utf8').trimEnd());
  });
});
