/** What a small model is in a kernel, as text that a network engineer reads. */
import { describe, expect, test } from 'vitest';
import { routerRuleset } from '../../../src/lower/firewall.js';
import { lower, namespacesOf } from '../../../src/lower/lower.js';
import { describe as inWords, type Resource } from '../../../src/model/resources.js';
import { applySpec } from '../../../src/model/spec.js';
import type { Cidr } from '../../../src/net/cidr.js';
import type { KernelObject, NftRow } from '../../../src/objects/kernel-object.js';
import type { Spec } from '../../../src/spec/types.js';
import { type World, world } from '../model/support.js';

const SPEC: Spec = {
  vpcs: {
    shop: {
      cidr: '10.0.0.0/16',
      subnets: {
        web: { cidr: '10.0.1.0/24', public: true },
        db: {
          cidr: '10.0.2.0/28',
          policy: {
            ingress: [
              { protocol: 'tcp', port: 22, action: 'deny' },
              { protocol: 'tcp', port: '5000-6000', action: 'allow', source: '10.0.1.0/24' },
              { action: 'allow', source: '10.1.0.0/16' },
            ],
          },
        },
      },
      securityGroups: {
        front: {
          ingress: [{ protocol: 'tcp', port: 80 }, { protocol: 'icmp' }, { protocol: 'tcp', port: '8000-8100' }],
        },
        back: { ingress: [{ protocol: 'tcp', port: 5432, from: { group: 'front' } }, { from: 'self' }], egress: [] },
      },
      instances: {
        'web-1': { subnet: 'web', ip: '10.0.1.10', publicIp: '198.51.100.7', securityGroups: ['front'] },
        'db-1': { subnet: 'db', securityGroups: ['back'] },
        'app-1': { subnet: 'web', ip: '10.0.1.11', publicIp: false, securityGroups: ['back', 'front'] },
      },
    },
    lab: {
      cidr: '10.1.0.0/16',
      secondaryCidrs: ['10.2.0.0/24'],
      subnets: { s: { cidr: '10.1.0.0/24' } },
      instances: { x: { subnet: 's' } },
    },
  },
  peerings: [{ vpcs: ['shop', 'lab'], allowCidrs: ['10.0.0.0/16', '10.1.0.0/16'] }],
};

const small = (): World => world((draft) => applySpec(draft, SPEC));

/** Names in place of numbers that are hashes. */
function marks(made: World): (text: string) => string {
  const names = made
    .all()
    .flatMap((one): [string, string][] =>
      one.kind === 'profile'
        ? [
            [
              String(one.number),
              `<${one.groups.join('+')}${one.policySubnet === undefined ? '' : ` in ${one.policySubnet}`}>`,
            ],
          ]
        : [],
    );
  return (text) => names.reduce((done, [number, name]) => done.replaceAll(number, name), text);
}

function at(row: { ns: string }): string {
  return row.ns === '' ? 'host' : row.ns;
}

/** One row as `ip` and `nft` would be told it; static chains and sets in one line a table. */
function line(row: KernelObject): string | undefined {
  switch (row.kind) {
    case 'netns':
      return `${at(row)}: netns`;
    case 'link': {
      const head = `${at(row)}: link ${row.name} ${row.type} ${row.mac} mtu ${row.mtu}`;
      if (row.type !== 'veth') return head;
      const port = `${row.strict === true ? ' strict' : ''}${row.answers === true ? ' answers' : ''}`;
      return `${head} peer ${at(row.peer)}/${row.peer.name}${port}`;
    }
    case 'addr':
      return `${at(row)}: addr ${row.addr} dev ${row.link}`;
    case 'route': {
      const type = row.type === 'unicast' ? '' : `${row.type} `;
      const words = [
        row.via === undefined ? [] : [`via ${row.via}`],
        row.link === undefined ? [] : [`dev ${row.link}`],
        row.src === undefined ? [] : [`src ${row.src}`],
        row.onlink === true ? ['onlink'] : [],
        row.table === 254 ? [] : [`table ${row.table}`],
      ].flat();
      return `${at(row)}: route ${type}${[row.dst, ...words].join(' ')}`;
    }
    case 'rule':
      return `${at(row)}: rule ${row.priority} from ${row.from} lookup ${row.table}`;
    case 'neigh':
      return `${at(row)}: neigh ${row.ip} lladdr ${row.mac} dev ${row.link}`;
    case 'sysctl':
      return `${at(row)}: sysctl ${row.key.replaceAll('/', '.')}=${row.value}${row.optional === true ? ' (if there)' : ''}`;
    case 'nft-table':
      return `${at(row)}: table ${row.family} ${row.table}`;
    case 'nft-element':
      return `${at(row)}: ${row.family} element ${row.set} { ${row.key.join(' . ')}${row.data === undefined ? '' : ` : ${row.data}`} }`;
    default:
      return undefined;
  }
}

function text(made: World, resources: readonly Resource[]): string {
  const named = marks(made);
  const parts = resources.map((resource) => {
    const lines = lower(made.reader, resource).flatMap((row) => line(row) ?? []);
    return [`# ${inWords(resource)}`, ...lines.map(named)].join('\n');
  });
  return `${parts.join('\n\n')}\n`;
}

describe('a small model', () => {
  test('is these kernel objects', async () => {
    const made = small();
    await expect(text(made, made.all())).toMatchFileSnapshot('small.txt');
  });

  test('owns the namespaces of its VPCs, instances and the edge', () => {
    expect(small().all().flatMap(namespacesOf)).toEqual([
      'vpc-edge',
      'vpc.lab.x',
      'vpc.shop.app-1',
      'vpc.shop.db-1',
      'vpc.shop.web-1',
      'vpc.lab',
      'vpc.shop',
    ]);
  });

  test('says nothing in the kernel of settings and groups: profiles say what they allow', () => {
    const made = small();
    for (const resource of made.all()) {
      if (resource.kind === 'group') expect(lower(made.reader, resource)).toEqual([]);
    }
  });
});

/** An expression as nft writes it. */
function expression(expr: unknown): string {
  if (typeof expr !== 'object' || expr === null) return String(expr);
  const [kind, body] = Object.entries(expr)[0] as [string, Record<string, unknown> & { [key: string]: unknown }];
  const say = (value: unknown): string => expression(value);
  switch (kind) {
    case 'match':
      return `${say(body.left)}${body.op === '==' ? '' : ` ${String(body.op)}`} ${Array.isArray(body.right) ? `{ ${body.right.join(', ')} }` : say(body.right)}`;
    case 'meta':
    case 'ct':
      return `${kind === 'ct' || ['mark', 'l4proto'].includes(String(body.key)) ? `${kind} ` : ''}${String(body.key)}`;
    case 'payload':
      return body.base === undefined
        ? `${String(body.protocol)} ${String(body.field)}`
        : `@${[body.base, body.offset, body.len].join(',')}`;
    case 'concat':
      return (body as unknown as unknown[]).map(say).join(' . ');
    case '&':
      return (body as unknown as unknown[]).map(say).join(' & ');
    case 'mangle':
      return `${say(body.key)} set ${say(body.value)}`;
    case 'map':
      return `${say(body.key)} map ${say(body.data)}`;
    case 'dnat':
    case 'snat':
      return `${kind} ${String(body.family)} to ${say(body.addr)}`;
    case 'jump':
    case 'goto':
      return `${kind} ${String(body.target)}`;
    default:
      return kind;
  }
}

/** A ruleset as `nft list ruleset` writes it, nearly. */
function ruleset(rows: readonly NftRow[]): string {
  const lines: string[] = [];
  for (const table of rows) {
    if (table.kind !== 'nft-table') continue;
    lines.push(`table ${table.family} ${table.table} {`);
    const own = rows.filter(({ family }) => family === table.family);
    for (const row of own) {
      if (row.kind !== 'nft-set') continue;
      const type = `${row.type.join(' . ')}${row.data === undefined ? '' : ` : ${row.data}`}`;
      lines.push(
        `  ${row.data === undefined ? 'set' : 'map'} ${row.set} { type ${type}${row.interval === true ? '; flags interval' : ''} }`,
      );
    }
    for (const row of own) {
      if (row.kind !== 'nft-chain') continue;
      const { base } = row;
      lines.push(`  chain ${row.chain} {`);
      if (base !== undefined)
        lines.push(`    type ${base.type} hook ${base.hook} priority ${base.prio}; policy ${base.policy};`);
      for (const rule of own) {
        if (rule.kind === 'nft-rule' && rule.chain === row.chain)
          lines.push(`    ${rule.expr.map(expression).join(' ')}`);
      }
      lines.push('  }');
    }
    lines.push('}');
  }
  return `${lines.join('\n')}\n`;
}

test.each([
  ['router', 'vpc/shop', 'vpc.shop'],
  ['edge', 'edge', 'vpc-edge'],
  ['host', 'edge', ''],
])('the firewall of a %s', async (name, id, ns) => {
  const made = small();
  const rows = lower(made.reader, made.get(id)).filter(
    (row): row is NftRow => row.kind.startsWith('nft-') && row.ns === ns,
  );
  await expect(ruleset(rows)).toMatchFileSnapshot(`${name}.nft.txt`);
});

test('the firewall of a router with all that a VPC may have', async () => {
  const rows = routerRuleset('vpc.shop', { ipv6: true, out6: true, acls: true, services: true });
  await expect(ruleset(rows)).toMatchFileSnapshot('router-whole.nft.txt');
});

describe('settings of the installation', () => {
  const rowsOf = (settings: NonNullable<Spec['settings']>): string => {
    const made = world((draft) =>
      applySpec(draft, {
        settings,
        vpcs: { a: { cidr: '10.0.0.0/16', subnets: { s: { cidr: '10.0.1.0/24', public: true } } } },
      }),
    );
    return text(made, [made.get('edge')]);
  };

  test('without an uplink nothing leaves the host: no uplink in the set, no forwarding there', () => {
    expect(rowsOf({ uplink: 'none' })).not.toMatch(/eth0|element uplink/);
    expect(rowsOf({ uplink: 'eth1' })).toContain('host: inet element uplink { eth1 }');
    expect(rowsOf({ uplink: 'eth1' })).toContain('host: sysctl net.ipv4.conf.eth1.forwarding=1');
  });

  test('a routed pool is not masqueraded', () => {
    expect(rowsOf({ poolRouted: true })).not.toContain('masquerade');
    expect(rowsOf({ publicPool: '203.0.113.0/28' as Cidr })).toContain(
      'host: inet element masquerade { 203.0.113.0/28 }',
    );
  });
});
