/**
 * The published tests of the exercise "build your own VPC on Linux", made strict: every refusal is tested against a listener
 * that is shown to answer, and isolation from the internet by counting packets on the uplink.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { HOST_ADDRESS, INTERNET, INTERNET_SERVER, TestHost, UPLINK } from '../harness/host.js';
import type { HostState } from '../harness/host-state.mjs';
import { counter, ip, must } from '../harness/witness.js';
import {
  areKeptApart,
  destroyAll,
  doesNotPing,
  expectHostAsBefore,
  expectWitness,
  isAlive,
  isKeptFrom,
  pidsIn,
  pings,
  reaches,
  type Target,
  target,
  witness,
} from './support.js';

interface ListedInstance {
  readonly name: string;
  readonly ip: string;
  readonly publicIp: string | null;
}

interface Listed {
  readonly vpcs: readonly {
    readonly name: string;
    readonly cidrs: readonly string[];
    readonly subnets: readonly {
      readonly name: string;
      readonly cidr: string;
      readonly gateway: string;
      readonly kind: string;
      readonly instances: readonly ListedInstance[];
    }[];
  }[];
  readonly peerings: readonly { readonly vpcs: readonly string[] }[];
}

interface AppAnswer {
  readonly app: { readonly pid: number };
  readonly unchanged: boolean;
}

/** IPv4 addresses with prefix lengths of a link. */
async function addressesOf(ns: string, link: string): Promise<string[]> {
  const [found] = await ip<{ addr_info: { family: string; local: string; prefixlen: number }[] }>(
    ['address', 'show', 'dev', link],
    ns,
  );
  return (found?.addr_info ?? []).filter((one) => one.family === 'inet').map((one) => `${one.local}/${one.prefixlen}`);
}

async function defaultGatewayOf(ns: string): Promise<string[]> {
  return (await ip<{ gateway: string }>(['route', 'show', 'default'], ns)).map(({ gateway }) => gateway);
}

/** curl's exit status would be an error: `--fail`, `--max-time`. */
async function curl(ns: string, url: string): Promise<{ status: number; body: Record<string, string> }> {
  const text = await must(ns, ['curl', '--silent', '--show-error', '--max-time', '5', '-w', '\n%{http_code}', url]);
  const lines = text.trim().split('\n');
  return { status: Number(lines.pop()), body: JSON.parse(lines.join('\n')) as Record<string, string> };
}

/** Packets that leave by the host's uplink and by our one link on the host while `body` runs. */
async function sentOut(body: () => Promise<void>): Promise<{ uplink: number; edge: number }> {
  const count = async () => ({
    uplink: (await counter('', UPLINK)).txPackets,
    edge: (await counter('', 'vpc-edge')).rxPackets,
  });
  const before = await count();
  await body();
  const after = await count();
  return { uplink: after.uplink - before.uplink, edge: after.edge - before.edge };
}

/** One installation, the steps of its tests in their order. */
function installation(options: Parameters<typeof TestHost.create>[0] = {}) {
  const held: { host?: TestHost; temp?: string; before?: HostState } = {};
  const get = <K extends keyof typeof held>(key: K): NonNullable<(typeof held)[K]> => {
    const value = held[key];
    if (value === undefined || value === null) throw new Error(`no ${key} yet`);
    return value as NonNullable<(typeof held)[K]>;
  };
  beforeAll(async () => {
    held.host = await TestHost.create(options);
    held.temp = mkdtempSync(join(tmpdir(), 'vpcctl-acceptance-'));
    held.before = held.host.snapshot();
  });
  afterAll(async () => {
    try {
      await destroyAll(get('host'));
      await expectHostAsBefore(get('host'), get('before'));
    } finally {
      rmSync(get('temp'), { recursive: true, force: true });
      await get('host').close();
    }
  });
  return {
    get host() {
      return get('host');
    },
    vpcctl: async (...args: string[]) => get('host').vpcctlOk(args),
    file: (name: string, content: unknown) => {
      const path = join(get('temp'), name);
      writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
      return path;
    },
    list: async () => (await get('host').vpcctlOk(['list', '--json'])).json as Listed,
  };
}

const POLICY = {
  ingress: [
    { port: 80, protocol: 'tcp', action: 'allow', description: 'the web' },
    { port: 22, protocol: 'tcp', action: 'deny' },
  ],
};

describe('the ordinary form', { sequential: true }, () => {
  const here = installation();
  const WEB = 'vpc.a.web';
  const DB = 'vpc.a.db';
  const APP = 'vpc.b.app';
  const OTHER = 'vpc.b.other';
  let web: ListedInstance;
  let db: ListedInstance;
  let app: ListedInstance;
  let appTarget: Target;
  let webTarget: Target;
  let dbTarget: Target;

  test('1: create-vpc makes a router', async () => {
    await here.vpcctl('create-vpc', '--name', 'a', '--cidr', '10.1.0.0/16');
    await here.vpcctl('create-vpc', '--name', 'b', '--cidr', '10.2.0.0/16');
    for (const ns of ['vpc.a', 'vpc.b']) {
      expect(await ip(['route', 'show', 'type', 'unreachable'], ns)).toHaveLength(1);
      expect(await must(ns, ['cat', '/proc/sys/net/ipv4/ip_forward'])).toBe('1');
    }
  });

  test('2: add-subnet makes a namespace with an address and a default route, and the router its gateway', async () => {
    await here.vpcctl('add-subnet', '--vpc', 'a', '--subnet', 'web', '--cidr', '10.1.1.0/24', '--nat');
    await here.vpcctl('add-subnet', '--vpc', 'a', '--subnet', 'db', '--cidr', '10.1.2.0/24');
    await here.vpcctl('add-subnet', '--vpc', 'b', '--subnet', 'app', '--cidr', '10.2.1.0/24', '--nat');
    await here.vpcctl('add-instance', '--vpc', 'b', '--subnet', 'app', '--name', 'other');
    const { vpcs } = await here.list();
    const instances = vpcs.flatMap(({ subnets }) => subnets.flatMap((subnet) => subnet.instances));
    const named = (name: string) => instances.find((one) => one.name === name) as ListedInstance;
    [web, db, app] = [named('web'), named('db'), named('app')];
    expect(web.ip).toMatch(/^10\.1\.1\.\d+$/);
    expect(db.ip).toMatch(/^10\.1\.2\.\d+$/);
    expect(app.ip).toMatch(/^10\.2\.1\.\d+$/);
    expect(await addressesOf('vpc.a', 'lo')).toEqual(['127.0.0.1/8', '10.1.1.1/32', '10.1.2.1/32']);
    for (const [ns, instance, gateway] of [
      [WEB, web, '10.1.1.1'],
      [DB, db, '10.1.2.1'],
      [APP, app, '10.2.1.1'],
    ] as const) {
      expect(await addressesOf(ns, 'eth0')).toEqual([`${instance.ip}/24`]);
      expect(await defaultGatewayOf(ns)).toEqual([gateway]);
      await pings(here.host, ns, gateway);
    }
    webTarget = await target(here.host, WEB, web.ip, 8000);
    dbTarget = await target(here.host, DB, db.ip, 5432);
    appTarget = await target(here.host, APP, app.ip, 8000);
  });

  test('3: list tells both VPCs, all subnets, their kind and addresses', async () => {
    const { stdout } = await here.vpcctl('list');
    for (const words of [
      ['a', '10.1.0.0/16', 'web', '10.1.1.0/24', 'public', web.ip, web.publicIp ?? ''],
      ['a', '10.1.0.0/16', 'db', '10.1.2.0/24', 'private', db.ip],
      ['b', '10.2.0.0/16', 'app', '10.2.1.0/24', 'public', app.ip, app.publicIp ?? ''],
    ]) {
      const line = stdout.split('\n').find((one) => words.every((word) => one.split(/\s+/).includes(word)));
      expect(line, `${words.join(' ')} in\n${stdout}`).toBeDefined();
    }
    const { vpcs, peerings } = await here.list();
    expect(vpcs.map(({ name, cidrs }) => [name, cidrs])).toEqual([
      ['a', ['10.1.0.0/16']],
      ['b', ['10.2.0.0/16']],
    ]);
    const subnets = vpcs.flatMap((vpc) =>
      vpc.subnets.map((one) => [vpc.name, one.name, one.kind, one.cidr, one.gateway]),
    );
    expect(subnets.sort()).toEqual([
      ['a', 'db', 'private', '10.1.2.0/24', '10.1.2.1'],
      ['a', 'web', 'public', '10.1.1.0/24', '10.1.1.1'],
      ['b', 'app', 'public', '10.2.1.0/24', '10.2.1.1'],
    ]);
    expect(db.publicIp).toBeNull();
    expect(web.publicIp).toMatch(/^198\.51\.100\.\d+$/);
    expect(peerings).toEqual([]);
  });

  test('4: the subnets of a VPC reach each other by ping, TCP and UDP, both ways', async () => {
    await pings(here.host, WEB, db.ip);
    await pings(here.host, DB, web.ip);
    await reaches(here.host, WEB, dbTarget, web.ip);
    await reaches(here.host, DB, webTarget, db.ip);
    await reaches(here.host, WEB, await target(here.host, DB, db.ip, 53, 'udp'), web.ip);
    await reaches(here.host, DB, await target(here.host, WEB, web.ip, 53, 'udp'), db.ip);
  });

  test("5: a public subnet reaches the internet, which sees the host's own address", async () => {
    await here.host.listener(INTERNET, 'tcp', 80);
    await here.host.listener(INTERNET, 'udp', 53);
    await pings(here.host, WEB, INTERNET_SERVER);
    for (const [proto, port] of [
      ['tcp', 80],
      ['udp', 53],
    ] as const) {
      expect(await here.host.probe(WEB, { proto, to: INTERNET_SERVER, port })).toMatchObject({
        ok: true,
        seenSource: HOST_ADDRESS,
      });
    }
  });

  test('6: a private subnet does not, and puts no packet on the uplink', async () => {
    const attempts = async (ns: string): Promise<boolean[]> => {
      const outcomes: boolean[] = [];
      for (const probe of [
        { proto: 'tcp', to: INTERNET_SERVER, port: 80 },
        { proto: 'udp', to: INTERNET_SERVER, port: 53 },
        { proto: 'icmp', to: INTERNET_SERVER },
        { proto: 'icmp', to: '192.0.2.1' },
      ] as const) {
        outcomes.push((await here.host.probe(ns, { ...probe, timeoutMs: 400 })).ok);
      }
      return outcomes;
    };
    const fromDb = await sentOut(async () => expect(await attempts(DB)).toEqual([false, false, false, false]));
    expect(fromDb).toEqual({ uplink: 0, edge: 0 });
    // The same packets from the public subnet move the same counters.
    const fromWeb = await sentOut(async () => expect(await attempts(WEB)).toEqual([true, true, true, true]));
    expect(fromWeb.uplink).toBeGreaterThanOrEqual(4);
    expect(fromWeb.edge).toBeGreaterThanOrEqual(4);
  });

  test('7: two VPCs do not reach each other', async () => {
    await reaches(here.host, OTHER, appTarget);
    await pings(here.host, OTHER, '10.2.1.1');
    await areKeptApart(here.host, [
      [WEB, appTarget],
      [WEB, appTarget, app.publicIp ?? ''],
      [DB, appTarget],
      [DB, appTarget, app.publicIp ?? ''],
      [APP, webTarget],
      [APP, webTarget, web.publicIp ?? ''],
      [APP, dbTarget],
    ]);
    for (const ns of [WEB, DB]) await doesNotPing(here.host, ns, app.ip, '10.2.1.1');
    await doesNotPing(here.host, APP, web.ip, db.ip, '10.1.1.1', '10.1.2.1');
    await reaches(here.host, OTHER, appTarget);
  });

  test('8: peer-vpcs peers them, and they are listed so', async () => {
    await here.vpcctl('peer-vpcs', '--vpc1', 'a', '--vpc2', 'b');
    expect((await here.list()).peerings).toEqual([{ vpcs: ['a', 'b'], allowCidrs: null, routes: 'auto' }]);
    expect((await here.vpcctl('list')).stdout).toMatch(/\na - b\s/);
  });

  test('9: peers reach each other both ways, by their own addresses', async () => {
    await reaches(here.host, WEB, appTarget, web.ip);
    await reaches(here.host, APP, webTarget, app.ip);
    await reaches(here.host, DB, appTarget, db.ip);
    await reaches(here.host, APP, dbTarget, app.ip);
    await pings(here.host, WEB, app.ip);
    await pings(here.host, APP, web.ip);
  });

  test('10: deploy-app starts an app in the namespace and returns', async () => {
    const started = Date.now();
    const { json } = await here.vpcctl('deploy-app', '--vpc', 'a', '--subnet', 'web', '--port', '8080', '--json');
    expect(Date.now() - started).toBeLessThan(10_000);
    const { pid } = (json as AppAnswer).app;
    expect(isAlive(pid)).toBe(true);
    expect(await pidsIn(WEB)).toContain(pid);
    expect(await must(WEB, ['ss', '-Hltn', 'sport', '=', ':8080'])).toMatch(/LISTEN.*:8080/);
    const again = await here.vpcctl('deploy-app', '--vpc', 'a', '--subnet', 'web', '--port', '8080', '--json');
    expect(again.json).toMatchObject({ unchanged: true, app: { pid } });
    expect((await here.vpcctl('show')).stdout).toContain(`(pid ${pid})`);
  });

  test('11: the host gets the app by curl; that of a private subnet it does not', async () => {
    const { status, body } = await curl('', `http://${web.ip}:8080`);
    expect(status).toBe(200);
    expect(body).toMatchObject({ vpc: 'a', subnet: 'web' });
    await here.vpcctl('deploy-app', '--vpc', 'a', '--subnet', 'db', '--port', '8080');
    expect((await curl(WEB, `http://${db.ip}:8080`)).body).toMatchObject({ vpc: 'a', subnet: 'db', you: web.ip });
    await expect(curl('', `http://${db.ip}:8080`)).rejects.toThrow(/curl/);
    await here.vpcctl('stop-app', '--vpc', 'a', '--subnet', 'db');
  });

  test('12: apply-policy leaves what it allows, and nothing else', async () => {
    const targets = new Map<number, Target>();
    for (const port of [80, 22, 9999]) targets.set(port, await target(here.host, WEB, web.ip, port));
    const [open, denied, unnamed] = [targets.get(80), targets.get(22), targets.get(9999)] as [Target, Target, Target];
    for (const one of targets.values()) for (const from of [DB, APP, '']) await reaches(here.host, from, one);
    const policy = here.file('policy.json', { subnet: '10.1.1.0/24', ...POLICY });
    const apply = ['apply-policy', '--vpc', 'a', '--subnet', 'web', '--policy', policy];
    await here.vpcctl(...apply);
    for (const from of [DB, APP, '']) {
      await reaches(here.host, from, open);
      await areKeptApart(here.host, [
        [from, denied],
        [from, unnamed],
      ]);
      await doesNotPing(here.host, from, web.ip);
    }
    // What no list speaks of stays: web's own way out.
    await reaches(here.host, WEB, dbTarget);
    expect((await here.vpcctl('show-policy', '--vpc', 'a', '--subnet', 'web', '--json')).json).toMatchObject({
      policies: [{ subnet: 'web', policy: POLICY }],
    });
    const before = await witness();
    await here.vpcctl(...apply);
    await expectWitness(before, 'applied twice');
  });

  test('13: export, destroy and import bring the same kernel state back', async () => {
    await here.vpcctl('stop-app', '--vpc', 'a', '--subnet', 'web');
    const before = await witness();
    const { stdout } = await here.vpcctl('export', '--format', 'json');
    const file = here.file('all.json', stdout);
    await destroyAll(here.host);
    expect((await witness()).namespaces).toEqual([]);
    expect((await here.list()).vpcs).toEqual([]);
    await here.vpcctl('import', file);
    await expectWitness(before);
    expect((await here.vpcctl('export', '--format', 'json')).stdout).toBe(stdout);
    const again = await target(here.host, APP, app.ip, 8000);
    await reaches(here.host, WEB, again, web.ip);
    await isKeptFrom(here.host, DB, await target(here.host, WEB, web.ip, 9999));
  });
});

describe("the exercise's own commands", { sequential: true }, () => {
  const here = installation();
  const WEB = 'vpc.production.web';
  const DATABASE = 'vpc.production.database';

  test('1, 2: the three commands, as they are written', async () => {
    const { host } = here;
    await host.vpcctlOk('create-vpc --name production --cidr 10.0.1.1/24'.split(' '));
    await host.vpcctlOk('add-subnet --vpc production --subnet web --ip 10.0.1.2 --gateway 10.0.1.1 --nat'.split(' '));
    await host.vpcctlOk('add-subnet --vpc production --subnet database --ip 10.0.2.2 --gateway 10.0.2.1'.split(' '));
    expect(await addressesOf('vpc.production', 'lo')).toEqual(['127.0.0.1/8', '10.0.1.1/32', '10.0.2.1/32']);
    expect(await addressesOf(WEB, 'eth0')).toEqual(['10.0.1.2/24']);
    expect(await addressesOf(DATABASE, 'eth0')).toEqual(['10.0.2.2/24']);
    expect(await defaultGatewayOf(WEB)).toEqual(['10.0.1.1']);
    expect(await defaultGatewayOf(DATABASE)).toEqual(['10.0.2.1']);
  });

  test('3: list', async () => {
    const { vpcs } = await here.list();
    expect(vpcs.map(({ name, cidrs }) => [name, cidrs])).toEqual([['production', ['10.0.1.0/24', '10.0.2.0/24']]]);
    expect(
      vpcs[0]?.subnets.map(({ name, kind, instances }) => [name, kind, instances.map((one) => one.ip)]).sort(),
    ).toEqual([
      ['database', 'private', ['10.0.2.2']],
      ['web', 'public', ['10.0.1.2']],
    ]);
  });

  test('4, 5, 6: within the VPC both ways, to the internet from web alone', async () => {
    const { host } = here;
    await reaches(host, WEB, await target(host, DATABASE, '10.0.2.2', 5432), '10.0.1.2');
    await reaches(host, DATABASE, await target(host, WEB, '10.0.1.2', 8000), '10.0.2.2');
    await pings(host, WEB, '10.0.2.2');
    await host.listener(INTERNET, 'tcp', 80);
    const outside = { proto: 'tcp', to: INTERNET_SERVER, port: 80, timeoutMs: 400 } as const;
    const fromDatabase = await sentOut(async () => expect((await host.probe(DATABASE, outside)).ok).toBe(false));
    expect(fromDatabase).toEqual({ uplink: 0, edge: 0 });
    const fromWeb = await sentOut(async () =>
      expect(await host.probe(WEB, outside)).toMatchObject({ ok: true, seenSource: HOST_ADDRESS }),
    );
    expect(fromWeb.uplink).toBeGreaterThan(0);
  });

  test('7, 8, 9: a second VPC is apart until peered', async () => {
    const { host } = here;
    await host.vpcctlOk('create-vpc --name staging --cidr 10.5.1.1/24'.split(' '));
    await host.vpcctlOk('add-subnet --vpc staging --subnet app --ip 10.5.1.2 --gateway 10.5.1.1 --nat'.split(' '));
    const app = await target(host, 'vpc.staging.app', '10.5.1.2', 8000);
    for (const ns of [WEB, DATABASE]) await isKeptFrom(host, ns, app);
    await host.vpcctlOk('peer-vpcs --vpc1 production --vpc2 staging'.split(' '));
    await reaches(host, WEB, app, '10.0.1.2');
    await reaches(host, DATABASE, app, '10.0.2.2');
  });

  test('10, 11: the deployed app answers curl from the host', async () => {
    const { json } = await here.vpcctl(
      'deploy-app',
      '--vpc',
      'production',
      '--subnet',
      'web',
      '--port',
      '8080',
      '--json',
    );
    expect(await pidsIn(WEB)).toContain((json as AppAnswer).app.pid);
    const { status, body } = await curl('', 'http://10.0.1.2:8080');
    expect(status).toBe(200);
    expect(body).toMatchObject({ vpc: 'production', subnet: 'web' });
  });

  test('12: a list of policies, each naming its subnet by its block', async () => {
    const { host } = here;
    const targets = await Promise.all([80, 22, 9999].map((port) => target(host, WEB, '10.0.1.2', port)));
    const [open, denied, unnamed] = targets as [Target, Target, Target];
    for (const one of targets) await reaches(host, DATABASE, one);
    const policy = here.file('policies.json', [{ subnet: '10.0.1.0/24', ...POLICY }]);
    await here.vpcctl('apply-policy', '--vpc', 'production', '--policy', policy);
    for (const from of [DATABASE, '']) {
      await reaches(host, from, open);
      await areKeptApart(host, [
        [from, denied],
        [from, unnamed],
      ]);
    }
    await here.vpcctl('clear-policy', '--vpc', 'production', '--subnet', 'web');
    for (const one of targets) await reaches(host, DATABASE, one);
  });

  test('13: export, destroy, import', async () => {
    const before = await witness();
    const { stdout } = await here.vpcctl('export');
    const file = here.file('all.yaml', stdout);
    await destroyAll(here.host);
    await here.vpcctl('import', file);
    await expectWitness(before);
  });
});

describe('a pool of public addresses that is routed to the host', { sequential: true }, () => {
  const here = installation({ routedToHost: ['198.51.100.0/24'] });

  test("5: the outside sees the workload's own public address, and reaches it by it", async () => {
    const { host } = here;
    await here.vpcctl('create-vpc', '--name', 'a', '--cidr', '10.1.0.0/16', '--pool-routed');
    await here.vpcctl('add-subnet', '--vpc', 'a', '--subnet', 'web', '--cidr', '10.1.1.0/24', '--nat');
    const publicIp = (await here.list()).vpcs[0]?.subnets[0]?.instances[0]?.publicIp ?? '';
    await host.listener(INTERNET, 'tcp', 80);
    expect(await host.probe('vpc.a.web', { proto: 'tcp', to: INTERNET_SERVER, port: 80 })).toMatchObject({
      ok: true,
      seenSource: publicIp,
    });
    // The way in is closed until a group opens it.
    const web = await target(host, 'vpc.a.web', publicIp, 443);
    await isKeptFrom(host, INTERNET, web);
    const rules = here.file('web.json', { ingress: [{ protocol: 'tcp', port: 443, from: 'any' }] });
    await here.vpcctl('put-security-group', '--vpc', 'a', '--name', 'web', '--rules', rules);
    const groups = ['--security-group', 'web', 'default'];
    await here.vpcctl('add-instance', '--vpc', 'a', '--subnet', 'web', '--name', 'web', ...groups);
    await reaches(host, INTERNET, web, INTERNET_SERVER);
    await doesNotPing(host, INTERNET, publicIp);
  });
});
