import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import {
  type AppView,
  doctorText,
  fixesText,
  installationText,
  listText,
  policyLines,
  vpcText,
} from '../../../src/cli/render.js';
import { colors, oneLine, table } from '../../../src/cli/text.js';
import { describeFix, type InstallationView, MemoryKernel, open } from '../../../src/index.js';
import { VPC_A, VPC_B } from './support.js';

const plain = colors(false);

const VIEW: InstallationView = {
  publicPool: '198.51.100.0/24',
  poolRouted: false,
  ipv6Pool: 'fd76:7063:6300::/40',
  ipv6PoolRouted: false,
  uplink: 'auto',
  quotas: {},
  edge: { namespace: 'vpc-edge', uplink: 'eth0' },
  elasticIps: [],
  prefixLists: [],
  vpcs: [VPC_A, VPC_B],
  privateZones: [],
  transitGateways: [],
  peerings: [{ vpcs: ['a', 'b'], allowCidrs: ['10.1.1.0/24', '10.2.0.0/16'], routes: 'auto' }],
};

const APP: AppView = {
  vpc: 'a',
  subnet: 'web',
  instance: 'web',
  name: '8080',
  port: 8080,
  pid: 77,
  startTime: '1',
  netns: 'net:[7]',
  command: ['node', 'x\u001b[31m.js'],
  log: '/x',
  running: true,
};

describe('list', () => {
  test('has a line an instance, and one for what has none', () => {
    expect(listText(VIEW, plain).join('\n')).toBe(`\
VPC  BLOCKS                   SUBNET  BLOCK        KIND     INSTANCE  ADDRESS   PUBLIC
a    10.1.0.0/16              db      10.1.2.0/24  private  -         -         -
a    10.1.0.0/16              web     10.1.1.0/24  public   web       10.1.1.4  198.51.100.7
b    10.2.0.0/16,10.3.0.0/16  -       -            -        -         -         -

PEERINGS
a - b  only 10.1.1.0/24, 10.2.0.0/16`);
  });

  test('says that there is nothing', () => {
    expect(listText({ ...VIEW, vpcs: [], peerings: [] }, plain)).toEqual(['no VPCs']);
  });
});

describe('show', () => {
  test('has route tables, NAT gateways, elastic addresses and manual routes', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'vpcctl-render-'));
    const vpcctl = await open({ state: dir, kernel: new MemoryKernel() });
    onTestFinished(async () => {
      await vpcctl.close();
      rmSync(dir, { recursive: true });
    });
    await vpcctl.apply({
      elasticIps: { e: { address: '198.51.100.5' }, idle: { address: '198.51.100.6' } },
      vpcs: {
        a: {
          cidr: '10.1.0.0/16',
          subnets: {
            web: { cidr: '10.1.1.0/24', public: true },
            db: { cidr: '10.1.2.0/24' },
            own: { cidr: '10.1.3.0/24', routeTable: 'own' },
          },
          routeTables: { main: { routes: [{ destination: '0.0.0.0/0', target: { natGateway: 'gone' } }] }, own: {} },
          natGateways: {
            gone: { subnet: 'web' },
            out: { subnet: 'web', ip: '10.1.1.9', elasticIp: 'e' },
            inner: { subnet: 'db', ip: '10.1.2.9', connectivity: 'private' },
          },
          securityGroups: { default: { egress: [] } },
        },
        b: { cidr: '10.2.0.0/16' },
      },
      peerings: [{ vpcs: ['a', 'b'], routes: 'manual' }],
    });
    await vpcctl.transaction((tx) => tx.deleteNatGateway('a', 'gone'));
    const lines = installationText(vpcctl.list(), [], plain);
    expect(lines.slice(1, 3)).toEqual([
      'elastic ip e  198.51.100.5, of nat gateway a/out',
      'elastic ip idle  198.51.100.6, of nothing',
    ]);
    const from = lines.findIndex((line) => line.includes('route table'));
    expect(lines.slice(from, from + 11).join('\n')).toBe(`\
├─ route table main  of db
│  ├─ 10.1.0.0/16 → local
│  └─ 0.0.0.0/0 → nat gateway gone, which is gone: black hole
├─ route table own  of own
│  └─ 10.1.0.0/16 → local
├─ route table public  of web
│  ├─ 10.1.0.0/16 → local
│  └─ 0.0.0.0/0 → internet gateway
├─ nat gateway inner  10.1.2.9  private  in db  namespace vpc.a.nat.inner
├─ nat gateway out  10.1.1.9  public 198.51.100.5 (elastic ip e)  in web  namespace vpc.a.nat.out
├─ security group default`);
    expect(lines.filter((line) => line.includes('peered'))).toEqual([
      '└─ peered with b  by manual routes',
      '└─ peered with a  by manual routes',
    ]);
  });

  test('draws the tree of everything', () => {
    expect(installationText(VIEW, [APP, { ...APP, vpc: 'b' }], plain).join('\n')).toBe(`\
public addresses 198.51.100.0/24, behind this host; uplink auto (eth0)

vpc a  10.1.0.0/16  mtu 1500, router vpc.a
├─ subnet db  10.1.2.0/24  private, gateway 10.1.2.1
├─ subnet web  10.1.1.0/24  public, gateway 10.1.1.1, network acl edge
│  ├─ instance web  10.1.1.4  public 198.51.100.7  groups default, site  namespace vpc.a.web
│  │  └─ app on port 8080: node x\\u{1b}[31m.js (pid 77)
│  └─ policy
│     ├─ ingress 1: allow tcp 80
│     ├─ ingress 2: deny tcp 22 from 10.0.0.0/8  # No shell
│     ├─ ingress: everything else is denied
│     └─ egress: no list, security groups decide
├─ network acl edge  of web
│  ├─ ingress 100: allow tcp 443 from 0.0.0.0/0
│  ├─ ingress 200: deny icmp type 8 code 0 from 10.0.0.0/8
│  ├─ ingress *: deny
│  └─ egress *: deny
├─ security group site
│  ├─ ingress tcp 443 from any
│  ├─ ingress icmp from security group default
│  └─ egress any to vpc
└─ peered with b  only 10.1.1.0/24, 10.2.0.0/16

vpc b  10.2.0.0/16, 10.3.0.0/16  mtu 1500, router vpc.b
└─ peered with a  only 10.1.1.0/24, 10.2.0.0/16`);
  });

  test('tells an app that has ended, and a peering of all blocks', () => {
    const lines = vpcText(
      VPC_A,
      [{ vpcs: ['a', 'b'], allowCidrs: null, routes: 'auto' }],
      [{ ...APP, running: false }],
      plain,
    );
    expect(lines.at(-1)).toBe('└─ peered with b');
    expect(lines.filter((line) => line.includes('app on'))).toEqual([
      '│  │  └─ app on port 8080: node x\\u{1b}[31m.js (ended)',
    ]);
  });

  test('of an empty installation still tells its settings', () => {
    expect(installationText({ ...VIEW, vpcs: [], edge: null, poolRouted: true }, [], plain)).toEqual([
      'public addresses 198.51.100.0/24, routed to this host; uplink auto',
      'no VPCs',
    ]);
  });
});

test('a policy with an empty list denies all', () => {
  expect(policyLines({ egress: [] })).toEqual([
    'ingress: no list, security groups decide',
    'egress: everything else is denied',
  ]);
});

test('doctor aligns its checks and puts the hint below', () => {
  const report = {
    ok: false,
    checks: [
      { name: 'node', status: 'ok', detail: 'v22' },
      { name: 'privileges', status: 'missing', detail: 'without CAP_NET_ADMIN', hint: 'run as root' },
    ],
  } as const;
  expect(doctorText(report, plain).join('\n')).toBe(`\
ok       node        v22
missing  privileges  without CAP_NET_ADMIN
                     run as root
something that vpcctl needs is missing`);
});

test('fixes: what was made, what was taken back, and what was not there to be', () => {
  const path = (name: string) => ({ kind: 'file', path: name, content: '', directories: [] }) as const;
  const undone = [{ fix: path('/a') }, { fix: path('/b'), left: 'it is gone already' }];
  expect(fixesText({ fixed: [path('/c')], undone }, describeFix)).toEqual([
    '- file /a',
    '= file /b: it is gone already',
    '+ file /c',
  ]);
  expect(fixesText({ fixed: [], undone: [] }, describeFix)).toEqual(['nothing to do']);
});

test('a table ends its lines with the last cell', () => {
  expect(
    table([
      ['a', 'bb'],
      ['ccc', ''],
    ]),
  ).toEqual(['a    bb', 'ccc']);
});

test.each([
  ['a\nb', 'a b'],
  ['  x \r\n  y  ', 'x y'],
  ['\u001b[31mred\u0007', '\\u{1b}[31mred\\u{7}'],
  ['a\u202eb\u2028c', 'a\\u{202e}b\\u{2028}c'],
  ['ünï', 'ünï'],
])('%j on one line is %j', (text, line) => {
  expect(oneLine(text)).toBe(line);
});
