/**
 * Rulesets of others, and what is told of them. `docker`, `ufw`, `libvirt` and `reject` are what nft 1.0.6 lists of rules that iptables-nft 1.8.9
 * made of those programs' commands; `firewalld` has the shape of version 1.3's table; `router` is a table as people write it.
 */
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { describeFix } from '../../../src/engine/fixes.js';
import { findBlockades, isOurs, listedRules, type Passage, passRules } from '../../../src/engine/forward.js';
import type { Cidr, Cidr6 } from '../../../src/net/cidr.js';
import { assertProperty } from '../net/property.js';

const listing = (name: string): string => readFileSync(new URL(`rulesets/${name}.json.txt`, import.meta.url), 'utf8');
const PASSAGE: Passage = { uplink: 'eth0', pool: '198.51.100.0/24' as Cidr, routed: false };
const [OUT, BACK] = passRules(PASSAGE);

/** A listing with one more rule at the head of a chain. */
function withRule(text: string, chain: string, expr: readonly object[], more: object = { comment: 'vpcctl' }): string {
  const document = JSON.parse(text) as {
    nftables: Record<string, { chain?: string; table?: string; family?: string }>[];
  };
  const at = document.nftables.findIndex(({ rule }) => rule?.chain === chain);
  const { family = '', table = '' } = document.nftables[at]?.rule ?? {};
  const rule = {
    family,
    table,
    chain,
    handle: 99,
    expr: expr.map((one) => ('counter' in one ? { counter: { packets: 7, bytes: 9 } } : one)),
  };
  document.nftables.splice(at, 0, { rule: { ...rule, ...more } });
  return JSON.stringify(document);
}

describe('who drops what is forwarded', () => {
  test("Docker's policy; the rules go where Docker wants rules of others", () => {
    expect(findBlockades(listing('docker'), PASSAGE)).toEqual([
      {
        family: 'ip',
        table: 'filter',
        chain: 'FORWARD',
        owner: 'Docker',
        reason: 'its policy is drop',
        sure: true,
        entry: 'DOCKER-USER',
        rules: [OUT, BACK],
        closed: false,
      },
    ]);
  });

  test('ufw: its conntrack rule is in words that nft cannot tell, so answers are not sure either', () => {
    expect(findBlockades(listing('ufw'), PASSAGE)).toMatchObject([
      { owner: 'ufw', chain: 'FORWARD', entry: 'FORWARD', sure: false, rules: [OUT, BACK] },
    ]);
  });

  test('firewalld: answers pass, the rest is rejected at the end; its table is its own', () => {
    expect(findBlockades(listing('firewalld'), PASSAGE)).toMatchObject([
      {
        family: 'inet',
        table: 'firewalld',
        owner: 'firewalld',
        reason: 'chain filter_FORWARD ends in a drop or reject',
        closed: true,
        rules: [OUT],
      },
    ]);
  });

  test('a table of somebody: established and related are all that comes back, unless the pool is routed', () => {
    expect(findBlockades(listing('router'), PASSAGE)).toMatchObject([{ owner: 'table inet filter', rules: [OUT] }]);
    expect(findBlockades(listing('router'), { ...PASSAGE, routed: true })).toMatchObject([{ rules: [OUT, BACK] }]);
    const lan = { ...PASSAGE, uplink: 'eth1', routed: true };
    expect(findBlockades(listing('router'), lan)).toMatchObject([{ rules: [passRules(lan)[0]] }]);
  });

  test('of IPv6: in its own tables and in those of both families, by its own addresses', () => {
    const passage: Passage = { uplink: 'eth0', pool: 'fd76:7063:6300::/40' as Cidr6, routed: true };
    const [out, back] = passRules(passage);
    expect(out).toContainEqual({
      match: {
        op: '==',
        left: { payload: { protocol: 'ip6', field: 'saddr' } },
        right: { prefix: { addr: 'fd76:7063:6300::', len: 40 } },
      },
    });
    expect(findBlockades(listing('docker'), passage)).toEqual([]);
    const docker6 = listing('docker').replaceAll('"family": "ip"', '"family": "ip6"');
    expect(findBlockades(docker6, PASSAGE)).toEqual([]);
    expect(findBlockades(docker6, passage)).toMatchObject([{ family: 'ip6', owner: 'Docker', rules: [out, back] }]);
    expect(findBlockades(withRule(docker6, 'DOCKER-USER', out), passage)).toMatchObject([{ rules: [back] }]);
    expect(findBlockades(listing('router'), passage)).toMatchObject([
      { owner: 'table inet filter', rules: [out, back] },
    ]);
  });

  test("iptables' REJECT, which nft names as a target only, or not at all", () => {
    const named = listing('reject');
    const unnamed = named.replace(/\{"xt": \{[^}]*\}\}/, '{"xt": null}');
    expect(unnamed).not.toBe(named);
    for (const text of [named, unnamed]) {
      expect(findBlockades(text, PASSAGE)).toMatchObject([{ sure: true, entry: 'FORWARD', rules: [OUT, BACK] }]);
    }
  });

  test.each([
    ['libvirt, which rejects for its own bridges only', listing('libvirt')],
    ['nothing', '{"nftables": []}'],
    ['no output', ''],
    ['a policy of drop on another hook', listing('docker').replace('"hook": "forward"', '"hook": "input"')],
    ['a policy of drop for IPv6', listing('docker').replaceAll('"family": "ip"', '"family": "ip6"')],
    [
      'our own table',
      listing('docker')
        .replaceAll('"table": "filter"', '"table": "vpcctl"')
        .replace('"name": "filter"', '"name": "vpcctl"'),
    ],
    ['our rules', withRule(withRule(listing('docker'), 'DOCKER-USER', OUT), 'DOCKER-USER', BACK)],
    [
      'rules of somebody for our link',
      withRule(withRule(listing('ufw'), 'FORWARD', [OUT[0] as object, { accept: null }]), 'FORWARD', [
        BACK[1] as object,
        { accept: null },
      ]),
    ],
  ])('nobody: %s', (_what, text) => {
    expect(findBlockades(text, PASSAGE)).toEqual([]);
  });

  test('one direction passes: the rule for the other is missing', () => {
    expect(findBlockades(withRule(listing('docker'), 'DOCKER-USER', OUT), PASSAGE)).toMatchObject([{ rules: [BACK] }]);
  });

  test('a drop in DOCKER-USER comes after ours; one before it is out of reach there', () => {
    const within = withRule(listing('docker'), 'DOCKER-USER', [{ counter: null }, { drop: null }], {});
    expect(findBlockades(within, PASSAGE)).toMatchObject([
      { entry: 'DOCKER-USER', reason: 'chain DOCKER-USER ends in a drop or reject' },
    ]);
    const before = withRule(listing('docker'), 'FORWARD', [{ counter: null }, { drop: null }], {});
    expect(findBlockades(before, PASSAGE)).toMatchObject([
      { entry: 'FORWARD', reason: 'chain FORWARD ends in a drop or reject' },
    ]);
  });

  test('a rule for another pool or uplink does not help', () => {
    const [out, back] = passRules({ ...PASSAGE, pool: '203.0.112.0/24' as Cidr });
    const text = withRule(withRule(listing('docker'), 'DOCKER-USER', out), 'DOCKER-USER', back);
    expect(findBlockades(text, PASSAGE)).toMatchObject([{ rules: [OUT, BACK], sure: true }]);
  });

  test.each([
    ['0.0.0.0/0', true],
    ['198.51.100.0/23', true],
    ['198.51.100.7/24', true],
    ['198.51.100.0/25', false],
    ['203.0.113.0/24', false],
  ])('a rule that lets sources of %s pass: all of the pool %s', (block, all) => {
    const [addr, len] = block.split('/');
    const right = { prefix: { addr, len: Number(len) } };
    const source = { match: { op: '==', left: { payload: { protocol: 'ip', field: 'saddr' } }, right } };
    const text = withRule(listing('docker'), 'FORWARD', [source, { accept: null }], {});
    expect(findBlockades(text, PASSAGE)).toMatchObject([{ rules: all ? [BACK] : [OUT, BACK] }]);
  });

  test('what is no listing is refused', () => {
    expect(() => findBlockades('Error', PASSAGE)).toThrow('nft printed no JSON');
  });

  test('a drop of some packets is what its owner wants', () => {
    const some = [
      { match: { op: '==', left: { payload: { protocol: 'tcp', field: 'dport' } }, right: 25 } },
      { drop: null },
    ];
    expect(findBlockades(withRule(listing('libvirt'), 'FORWARD', some, {}), PASSAGE)).toEqual([]);
    const all = [{ match: { op: '!=', left: { meta: { key: 'oifname' } }, right: 'eth9' } }, { drop: null }];
    expect(findBlockades(withRule(listing('libvirt'), 'FORWARD', all, {}), PASSAGE)).toMatchObject([{ sure: true }]);
  });
});

describe('any table', () => {
  const link = fc.constantFrom('eth0', 'vpc-edge', 'docker0', 'eth*');
  const expression = fc.oneof(
    fc
      .record({ key: fc.constantFrom('iifname', 'oifname'), op: fc.constantFrom('==', '!='), right: link })
      .map(({ key, op, right }) => ({ match: { op, left: { meta: { key } }, right } })),
    fc.subarray(['new', 'established', 'related', 'invalid'], { minLength: 1 }).map((right) => ({
      match: { op: 'in', left: { ct: { key: 'state' } }, right },
    })),
    fc.constantFrom({ counter: { packets: 0, bytes: 0 } }, { xt: null }, { limit: { rate: 3 } }, { log: null }),
  );
  // Chains jump to later ones only: nft refuses loops.
  const verdict = (chain: number) =>
    fc.oneof(
      fc.constantFrom(
        { accept: null },
        { drop: null },
        { reject: null },
        { return: null },
        { xt: { type: 'target', name: 'REJECT' } },
      ),
      fc
        .record({ verb: fc.constantFrom('jump', 'goto'), to: fc.integer({ min: chain + 1, max: 4 }) })
        .map(({ verb, to }) => ({ [verb]: { target: NAMES[to] } })),
    );
  const NAMES = ['FORWARD', 'DOCKER-USER', 'c2', 'c3', 'c4'];
  const rules = (chain: number) =>
    fc.array(
      fc
        .tuple(fc.array(expression, { maxLength: 2 }), chain === 4 ? fc.constant({ drop: null }) : verdict(chain))
        .map(([matches, end]) => [...matches, end]),
      { maxLength: 4 },
    );
  const table = fc
    .tuple(fc.constantFrom('accept', 'drop'), fc.tuple(rules(0), rules(1), rules(2), rules(3), rules(4)))
    .map(([policy, chains]) =>
      JSON.stringify({
        nftables: [
          { table: { family: 'ip', name: 'filter' } },
          ...chains.map((_, at) => ({
            chain: {
              family: 'ip',
              table: 'filter',
              name: NAMES[at],
              ...(at === 0 ? { type: 'filter', hook: 'forward', prio: 0, policy } : {}),
            },
          })),
          // Never taken: where a test puts its rule before, in a chain that has none.
          ...chains.flatMap((own, at) =>
            [...own, [{ match: { op: '==', left: { meta: { key: 'iifname' } }, right: 'lo' } }, { accept: null }]].map(
              (expr, handle) => ({
                rule: { family: 'ip', table: 'filter', chain: NAMES[at], handle, expr },
              }),
            ),
          ),
        ],
      }),
    );

  test('lets our packets pass once the missing rules are at the head of the chain that is named', () => {
    assertProperty(
      fc.property(table, fc.boolean(), (text, routed) => {
        const [found] = findBlockades(text, { ...PASSAGE, routed });
        if (found === undefined) return;
        const mended = found.rules.reduce((before, expr) => withRule(before, found.entry, expr), text);
        expect(findBlockades(mended, { ...PASSAGE, routed })).toEqual([]);
      }),
    );
  });
});

describe('our rules', () => {
  const [ours] = listedRules(withRule(listing('docker'), 'DOCKER-USER', OUT)).filter(({ handle }) => handle === 99);
  const again = listedRules(
    withRule(
      listing('docker'),
      'DOCKER-USER',
      [...OUT.slice(0, 3), { xt: { type: 'match', name: 'comment' } }, ...OUT.slice(3)],
      {},
    ),
  ).filter(({ handle }) => handle === 99)[0];

  test('are known by comment and expressions, also after iptables-save and iptables-restore', () => {
    expect(ours !== undefined && isOurs(ours, OUT)).toBe(true);
    expect(again !== undefined && isOurs(again, OUT)).toBe(true);
  });

  test('and nothing else is', () => {
    expect(ours !== undefined && isOurs(ours, BACK)).toBe(false);
    for (const rule of listedRules(listing('docker'))) expect(isOurs(rule, OUT)).toBe(false);
    const [unmarked] = listedRules(withRule(listing('docker'), 'DOCKER-USER', OUT, {})).filter(
      ({ handle }) => handle === 99,
    );
    expect(unmarked !== undefined && isOurs(unmarked, OUT)).toBe(false);
  });

  test('in words', () => {
    const at = { kind: 'nft-rule', family: 'ip', table: 'filter', chain: 'DOCKER-USER' } as const;
    expect(describeFix({ ...at, expr: OUT })).toBe(
      'rule in ip filter DOCKER-USER: iifname "vpc-edge" oifname "eth0" ip saddr 198.51.100.0/24 accept',
    );
  });
});
