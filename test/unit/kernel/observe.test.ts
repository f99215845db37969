/** What namespaces hold, as dumps say it, back to the rows that lowering wrote. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type NamespaceDump, observedRows, SYSCTL_KEYS } from '../../../src/kernel/observe.js';
import type { AddrInfo } from '../../../src/netlink/addr.js';
import type { LinkInfo } from '../../../src/netlink/link.js';
import type { RouteInfo } from '../../../src/netlink/route.js';
import type { RuleInfo } from '../../../src/netlink/rule.js';
import { isNftRow } from '../../../src/nft/encode.js';
import { type KernelObject, type LinkRow, NOBODY, type VethRow } from '../../../src/objects/kernel-object.js';
import { settlePeers } from '../../../src/plan/repair.js';
import { attempt, byKey, transactions, World } from '../model/support.js';
import { assertProperty } from '../net/property.js';

const LOOPBACK: LinkInfo = {
  index: 1,
  name: 'lo',
  loopback: true,
  mac: '00:00:00:00:00:00',
  mtu: 65536,
  up: true,
  group: 0,
};

function routeInfo(fields: Pick<RouteInfo, 'table' | 'dst'> & Partial<RouteInfo>): RouteInfo {
  return {
    family: 4,
    type: 'unicast',
    protocol: 201,
    scope: 0,
    metric: 0,
    onlink: false,
    nexthops: [],
    ...fields,
  };
}

function addrInfo(fields: Pick<AddrInfo, 'index' | 'addr'> & Partial<AddrInfo>): AddrInfo {
  return {
    family: 4,
    scope: 0,
    noPrefixRoute: false,
    permanent: true,
    tentative: false,
    dadFailed: false,
    ...fields,
  };
}

function ruleInfo(fields: Pick<RuleInfo, 'priority' | 'from' | 'table'> & Partial<RuleInfo>): RuleInfo {
  return { family: 4, inverted: false, action: 'lookup', protocol: 201, ...fields };
}

/** What the kernel would dump of these rows, every link up. Indices begin anew in each namespace, so they agree by chance. */
function dumps(rows: readonly KernelObject[]): NamespaceDump[] {
  const namespaces = [...new Set(['', ...rows.map(({ ns }) => ns)])];
  const of = (ns: string): KernelObject[] => rows.filter((row) => row.ns === ns);
  const links = new Map(
    namespaces.map((ns) => [
      ns,
      of(ns)
        .filter((row): row is LinkRow => row.kind === 'link')
        .map(({ name }) => name),
    ]),
  );
  const index = (ns: string, name: string): number =>
    name === LOOPBACK.name ? LOOPBACK.index : 2 + (links.get(ns)?.indexOf(name) ?? -3);
  return namespaces.map((ns): NamespaceDump => {
    const own = of(ns);
    return {
      ns,
      links: [
        LOOPBACK,
        ...own.flatMap((row): LinkInfo[] => {
          if (row.kind !== 'link' || row.type !== 'veth') return [];
          const { name, mac, mtu, alias, peer } = row;
          const common = { index: index(ns, name), name, loopback: false, mac, mtu, up: true, alias, group: 0 };
          const set = (value: true | undefined): number => (value === true ? 1 : 0);
          const conf = {
            rpFilter: row.strict === true ? 1 : 0,
            sendRedirects: row.strict === undefined ? 1 : 0,
            proxyArp: set(row.answers),
            acceptSourceRoute: 0,
            arpIgnore: 0,
            arpAccept: 0,
          };
          return [{ ...common, kind: 'veth', peerIndex: index(peer.ns, peer.name), peerNsid: 0, conf }];
        }),
      ],
      arp: own.flatMap((row) =>
        row.kind === 'link' && row.type === 'veth'
          ? [{ index: index(ns, row.name), proxyDelay: row.answers === true ? 0 : 800 }]
          : [],
      ),
      addrs: [
        addrInfo({ index: LOOPBACK.index, addr: '127.0.0.1/8' }),
        ...own.flatMap((row) =>
          row.kind === 'addr' ? [addrInfo({ index: index(ns, row.link), addr: row.addr })] : [],
        ),
      ],
      routes: own.flatMap((row): RouteInfo[] => {
        if (row.kind !== 'route') return [];
        const { table, dst, type, via, link, src, onlink, metric } = row;
        return [
          routeInfo({
            table,
            dst,
            type,
            onlink: onlink === true,
            metric: metric ?? 0,
            ...(via === undefined ? {} : { via }),
            ...(src === undefined ? {} : { src }),
            ...(link === undefined ? {} : { index: index(ns, link) }),
          }),
        ];
      }),
      rules: own.flatMap((row) => (row.kind === 'rule' ? [ruleInfo(row)] : [])),
      neighs: own.flatMap((row) =>
        row.kind === 'neigh'
          ? [{ index: index(ns, row.link), family: 4, ip: row.ip, mac: row.mac, state: 'permanent' }]
          : [],
      ),
      sysctls: new Map(
        own.flatMap((row) => (row.kind === 'sysctl' && ns !== '' ? [[row.key, row.value] as const] : [])),
      ),
      firewall: own.filter(isNftRow),
    };
  });
}

describe('observedRows', () => {
  test('are the rows that the namespaces were made of', () => {
    assertProperty(
      fc.property(transactions, (list) => {
        const world = new World();
        for (const steps of list) attempt(world, steps);
        const rows = [...world.rows.values()].flat();
        // The host's own settings are read one by one.
        const expected = rows.filter(({ kind, ns }) => kind !== 'sysctl' || ns !== '');
        expect(byKey(observedRows(dumps(rows)))).toEqual(byKey(expected));
      }),
      { numRuns: 40 },
    );
  }, 60_000);

  test('hold every setting that lowering makes', () => {
    assertProperty(
      fc.property(transactions, (list) => {
        const world = new World();
        for (const steps of list) attempt(world, steps);
        const rows = [...world.rows.values()].flat();
        const unread = rows.filter((row) => row.kind === 'sysctl' && row.ns !== '' && !SYSCTL_KEYS.includes(row.key));
        expect(unread).toEqual([]);
      }),
      { numRuns: 20 },
    );
  });

  const nothing = {
    addrs: [],
    routes: [],
    rules: [],
    neighs: [],
    arp: [],
    sysctls: new Map<string, string>(),
    firewall: [],
  };
  const port: LinkInfo = {
    index: 2,
    name: 'eni0a000104',
    kind: 'veth',
    loopback: false,
    mac: '06:00:00:00:00:01',
    mtu: 1500,
    up: true,
    alias: 'vpcctl:instance/a/web',
    group: 0,
    peerIndex: 7,
    peerNsid: 0,
  };
  const portRow: VethRow = {
    kind: 'link',
    ns: 'vpc.a',
    name: port.name,
    type: 'veth',
    mac: '06:00:00:00:00:01',
    mtu: 1500,
    alias: 'vpcctl:instance/a/web',
    peer: NOBODY,
  };

  test('of the host are those of links with our mark, and nothing else of its', () => {
    const theirs: LinkInfo = { ...port, index: 3, name: 'docker0', kind: 'bridge', alias: 'docker' };
    const { alias: _none, ...bare } = theirs;
    const host: NamespaceDump = {
      ns: '',
      ...nothing,
      links: [LOOPBACK, port, theirs, { ...bare, index: 4, name: 'virbr0' }],
      addrs: [1, 2, 3].map((index) => addrInfo({ index, addr: `10.0.${index}.1/24` })),
      routes: [
        routeInfo({ table: 254, dst: '10.7.0.0/16', index: 2 }),
        routeInfo({ table: 254, dst: '10.8.0.0/16', index: 3 }),
        routeInfo({ table: 254, dst: '10.9.0.0/16', type: 'unreachable' }),
        routeInfo({ table: 254, dst: '10.10.0.0/16', index: 2, protocol: 3 }),
      ],
      rules: [ruleInfo({ priority: 33000, from: '10.0.0.0/24', table: 100 })],
      neighs: [2, 3].map((index) => ({
        index,
        family: 4,
        ip: '10.0.0.9',
        mac: '02:00:00:00:00:09',
        state: 'permanent',
      })),
    };
    expect([...byKey(observedRows([host])).keys()]).toEqual([
      'addr||eni0a000104|10.0.2.1/24',
      'link||eni0a000104',
      'neigh||eni0a000104|10.0.0.9',
      'route||254|10.10.0.0/16',
      'route||254|10.7.0.0/16',
    ]);
  });

  test('of a namespace of ours are all its links, marked or not: what somebody put there is seen', () => {
    const { mac: _none, alias: _neither, ...bare } = port;
    const foreign: LinkInfo = { ...bare, index: 9, name: 'tap0' };
    expect(observedRows([{ ns: 'vpc.a', ...nothing, links: [LOOPBACK, port, foreign] }])).toEqual([
      { kind: 'netns', ns: 'vpc.a' },
      portRow,
      { ...portRow, name: 'tap0', mac: '', alias: '' },
    ]);
  });

  test('leave out what the kernel learned or made by itself', () => {
    const dump: NamespaceDump = {
      ns: 'vpc.a',
      ...nothing,
      // As the module of the tunnels puts it into every namespace.
      links: [LOOPBACK, { ...port, name: 'tunl0', kind: 'ipip', up: false }],
      routes: [
        routeInfo({ table: 254, dst: '10.7.0.0/16', index: 2, protocol: 2 }),
        routeInfo({ table: 254, dst: 'fd00::/64', index: 2, family: 6, protocol: 2 }),
      ],
      rules: [ruleInfo({ priority: 0, from: 'all', table: 255, protocol: 2 })],
      neighs: [
        { index: 2, family: 4, ip: '10.0.0.9', mac: '02:00:00:00:00:09', state: 'reachable' },
        { index: 2, family: 4, ip: '10.0.0.10', state: 'permanent' },
        { index: 2, family: 6, ip: 'fe80::1', mac: '02:00:00:00:00:09', state: 'stale' },
      ],
      addrs: [
        addrInfo({ index: 1, addr: '127.0.0.1/8', scope: 254 }),
        addrInfo({ index: 1, family: 6, addr: '::1/128', scope: 254 }),
        addrInfo({ index: 2, family: 6, addr: 'fe80::2/64', scope: 253 }),
      ],
    };
    expect(observedRows([dump])).toEqual([{ kind: 'netns', ns: 'vpc.a' }]);
  });

  test('have of IPv6 what the lowering writes: no metric but another than the usual, ::/0 for everywhere', () => {
    const dump: NamespaceDump = {
      ns: 'vpc.a',
      ...nothing,
      links: [LOOPBACK, port],
      addrs: [addrInfo({ index: 1, family: 6, addr: 'fd00::1/128' })],
      routes: [
        routeInfo({ table: 254, dst: 'default', index: 2, family: 6, metric: 1024, via: 'fe80::1' }),
        routeInfo({ table: 101, dst: 'default', index: 1, family: 6, metric: 2000, type: 'unreachable' }),
      ],
      rules: [
        ruleInfo({ priority: 33000, from: 'fd00::/64', table: 101, family: 6 }),
        ruleInfo({ priority: 1000, from: 'all', iif: 'v-a', table: 101, family: 6 }),
        ruleInfo({ priority: 32766, from: 'all', table: 254, family: 6, protocol: 2 }),
      ],
      neighs: [{ index: 2, family: 6, ip: 'fd00::7', mac: '02:00:00:00:00:09', state: 'permanent' }],
    };
    const at = { ns: 'vpc.a' } as const;
    expect(observedRows([dump])).toEqual([
      { kind: 'netns', ...at },
      portRow,
      { kind: 'addr', ...at, link: 'lo', addr: 'fd00::1/128' },
      { kind: 'route', ...at, table: 254, dst: '::/0', type: 'unicast', via: 'fe80::1', link: port.name },
      { kind: 'route', ...at, table: 101, dst: '::/0', type: 'unreachable', metric: 2000 },
      { kind: 'rule', ...at, priority: 33000, from: 'fd00::/64', table: 101 },
      { kind: 'rule', ...at, priority: 1000, from: 'all', iif: 'v-a', table: 101, family: 6 },
      { kind: 'neigh', ...at, link: port.name, ip: 'fd00::7', mac: '02:00:00:00:00:09' },
    ]);
  });

  test('say what is down, of another kind, or made by others', () => {
    const dump: NamespaceDump = {
      ns: 'vpc.a',
      ...nothing,
      links: [LOOPBACK, { ...port, up: false }, { ...port, index: 3, name: 'v', kind: 'vxlan', alias: '' }],
      routes: [routeInfo({ table: 254, dst: '10.7.0.0/16', index: 3, protocol: 4, metric: 7 })],
      rules: [ruleInfo({ priority: 5, from: 'all', table: 7, protocol: 0 })],
      firewall: [{ kind: 'nft-table', ns: 'vpc.a', family: 'ip', table: 'theirs' }],
    };
    expect(observedRows([dump])).toEqual([
      { kind: 'netns', ns: 'vpc.a' },
      { ...portRow, down: true },
      {
        kind: 'link',
        ns: 'vpc.a',
        name: 'v',
        type: 'other',
        driver: 'vxlan',
        mac: '06:00:00:00:00:01',
        mtu: 1500,
        alias: '',
      },
      {
        kind: 'route',
        ns: 'vpc.a',
        table: 254,
        dst: '10.7.0.0/16',
        type: 'unicast',
        link: 'v',
        metric: 7,
        protocol: 4,
      },
      { kind: 'rule', ns: 'vpc.a', priority: 5, from: 'all', table: 7, protocol: 0 },
      { kind: 'nft-table', ns: 'vpc.a', family: 'ip', table: 'theirs' },
    ]);
    const [onHost] = [{ ...dump, ns: '', firewall: [{ kind: 'nft-table', ns: '', family: 'ip', table: 'theirs' }] }];
    expect(observedRows([onHost as NamespaceDump]).map(({ kind }) => kind)).toEqual(['link']);
  });

  test('say what a link takes and answers, but on the host, where that is the machine’s own', () => {
    const conf = { rpFilter: 1, sendRedirects: 0, acceptSourceRoute: 0, proxyArp: 1, arpIgnore: 0, arpAccept: 0 };
    const seen = (own: Partial<typeof conf>, proxyDelay: number, ns = 'vpc.a'): KernelObject | undefined =>
      observedRows([
        { ns, ...nothing, links: [LOOPBACK, { ...port, conf: { ...conf, ...own } }], arp: [{ index: 2, proxyDelay }] },
      ]).find(({ kind }) => kind === 'link');
    expect(seen({}, 0)).toEqual({ ...portRow, strict: true, answers: true });
    expect(seen({ rpFilter: 2 }, 0)).toEqual({ ...portRow, answers: true });
    expect(seen({ rpFilter: 0 }, 0)).toEqual({ ...portRow, strict: 'loosely', answers: true });
    for (const lax of [{ sendRedirects: 1 }, { acceptSourceRoute: 1 }, { arpAccept: 1 }, { arpIgnore: 1 }]) {
      expect(seen(lax, 0)).toEqual({ ...portRow, answers: true });
    }
    expect(seen({ proxyArp: 0 }, 0)).toEqual({ ...portRow, strict: true });
    expect(seen({}, 800)).toEqual({ ...portRow, strict: true });
    expect(seen({}, 800, '')).toEqual({ ...portRow, ns: '' });
  });

  test('say which bridge somebody made a link of ours a port of', () => {
    const theirs: LinkInfo = { ...port, index: 3, name: 'br0', kind: 'bridge', alias: '', up: false };
    expect(observedRows([{ ns: 'vpc.a', ...nothing, links: [{ ...port, masterIndex: 3 }, theirs] }])).toMatchObject([
      { kind: 'netns' },
      { ...portRow, master: 'br0' },
      { name: 'br0', type: 'other', driver: 'bridge', down: true },
    ]);
  });

  test('hold the addresses of a loopback that did not come with it', () => {
    const addrs = ['127.0.0.1/8', '10.0.1.1/32', '127.0.0.9/8'].map((addr) => addrInfo({ index: 1, addr }));
    expect(observedRows([{ ns: 'vpc.a', ...nothing, links: [LOOPBACK], addrs }])).toEqual([
      { kind: 'netns', ns: 'vpc.a' },
      { kind: 'addr', ns: 'vpc.a', link: 'lo', addr: '10.0.1.1/32' },
    ]);
    expect(observedRows([{ ns: '', ...nothing, links: [LOOPBACK], addrs }])).toEqual([]);
  });

  test('find the other end of a pair whose mark somebody changed on one side', () => {
    const end = (index: number, name: string, peerIndex: number, alias: string): LinkInfo => ({
      ...port,
      index,
      name,
      peerIndex,
      peerNsid: 0,
      alias,
    });
    const rows = observedRows([
      { ns: 'r', ...nothing, links: [end(5, 'p1', 2, 'vpcctl:x'), end(6, 'p2', 2, 'vpcctl:y')] },
      { ns: 'x', ...nothing, links: [end(2, 'eth0', 5, 'mine')] },
      { ns: 'y', ...nothing, links: [end(2, 'eth0', 6, 'vpcctl:y')] },
    ]);
    expect(
      rows.flatMap((row) => (row.kind === 'link' && row.type === 'veth' ? [`${row.peer.ns}/${row.peer.name}`] : [])),
    ).toEqual(['x/eth0', 'y/eth0', 'r/p1', 'r/p2']);
  });

  test('tell the ends of pairs apart whose indices agree by chance', () => {
    const end = (index: number, name: string, peerIndex: number, alias: string): LinkInfo => ({
      index,
      name,
      kind: 'veth',
      loopback: false,
      mtu: 1500,
      up: true,
      peerIndex,
      peerNsid: 0,
      alias,
      group: 0,
    });
    const rows = observedRows([
      { ns: 'r', ...nothing, links: [end(5, 'p1', 2, 'vpcctl:instance/a/x'), end(6, 'p2', 2, 'vpcctl:instance/a/y')] },
      { ns: 'x', ...nothing, links: [end(2, 'eth0', 5, 'vpcctl:instance/a/x')] },
      { ns: 'y', ...nothing, links: [end(2, 'eth0', 6, 'vpcctl:instance/a/y')] },
      { ns: 'z', ...nothing, links: [end(2, 'eth0', 5, 'vpcctl:instance/b/x')] },
    ]);
    expect(
      rows.flatMap((row) =>
        row.kind === 'link' && row.type === 'veth' ? [`${row.ns}/${row.name} ${row.peer.ns}/${row.peer.name}`] : [],
      ),
    ).toEqual(['r/p1 x/eth0', 'r/p2 y/eth0', 'x/eth0 r/p1', 'y/eth0 r/p2', 'z/eth0 ?/?']);
  });

  test("tell of a link's altnames, which no other can have", () => {
    const lo: LinkInfo = { ...LOOPBACK, altNames: ['eth0'] };
    expect(observedRows([{ ns: 'w', ...nothing, links: [lo] }])).toEqual([
      { kind: 'netns', ns: 'w' },
      {
        kind: 'link',
        ns: 'w',
        name: 'eth0',
        type: 'other',
        driver: 'hardware',
        nameOf: 'lo',
        mac: '',
        mtu: 65536,
        alias: '',
      },
    ]);
    expect(observedRows([{ ns: '', ...nothing, links: [lo] }])).toEqual([]);
  });

  describe('of a workload that takes the indices and the mark of a pair of ours', () => {
    const { peerNsid: _unsaid, ...common } = port;
    const edge = (index: number, name: string, peerIndex: number, peerNsid?: number): LinkInfo => ({
      ...common,
      index,
      name,
      peerIndex,
      alias: 'vpcctl:edge',
      ...(peerNsid === undefined ? {} : { peerNsid }),
    });
    const dumpsWith = (lie: LinkInfo): NamespaceDump[] => [
      { ns: 'vpc.a.evil', ...nothing, links: [lie] },
      { ns: '', ...nothing, links: [edge(3, 'vpc-edge', 2, 0)] },
      { ns: 'vpc-edge', ...nothing, links: [edge(2, 'host', 3, 0)] },
    ];
    const pairs = (rows: readonly KernelObject[]): string[] =>
      rows.flatMap((row) =>
        row.kind === 'link' && row.type === 'veth' ? [`${row.ns}/${row.name} ${row.peer.ns}/${row.peer.name}`] : [],
      );
    const TRUTH = ['vpc.a.evil/eth0 ?/?', '/vpc-edge vpc-edge/host', 'vpc-edge/host /vpc-edge'];

    test('believe the kernel that its peer is in the same namespace', () => {
      expect(pairs(observedRows(dumpsWith(edge(2, 'eth0', 3))))).toEqual(TRUTH);
    });

    test('with a peer in a further namespace, believe what was recorded', () => {
      const honest = observedRows(dumpsWith(edge(2, 'eth0', 3)));
      const rows = observedRows(dumpsWith(edge(2, 'eth0', 3, 5)));
      expect(pairs(settlePeers(rows, honest))).toEqual(TRUTH);
    });
  });
});
