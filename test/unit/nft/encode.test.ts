/** Rows to nft's JSON, and back from what nft lists. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { edgeRuleset, hostRuleset, PLAIN_ROUTER, routerRuleset } from '../../../src/lower/firewall.js';
import { decodeRuleset } from '../../../src/nft/decode.js';
import { encodeParts, isNftRow } from '../../../src/nft/encode.js';
import type { Change } from '../../../src/objects/change.js';
import type { NftElementRow, NftRow } from '../../../src/objects/kernel-object.js';
import { attempt, byKey, refusal, transactions, World } from '../model/support.js';
import { assertProperty } from '../net/property.js';

const AT = { ns: 'n', family: 'inet', table: 'vpcctl' } as const;
const element = (set: string, key: NftElementRow['key'], data?: number | string): NftElementRow => ({
  kind: 'nft-element',
  ...AT,
  set,
  key,
  ...(data === undefined ? {} : { data }),
});
const create = (...rows: readonly NftRow[]): Change[] => rows.map((row) => ({ op: 'create', row }));
const remove = (...rows: readonly NftRow[]): Change[] => rows.map((row) => ({ op: 'delete', row }));
const commandsOf = (changes: readonly Change[]) => Object.values(encodeParts(changes)).flat();

interface Body {
  readonly family?: string;
  readonly table?: string;
  readonly name?: string;
  readonly elem?: readonly unknown[];
}

/** What `nft -j -n list ruleset` prints after a document that makes things in an empty namespace, as 1.0.6 does. */
function listing(changes: readonly Change[]): string {
  const objects: Record<string, Body>[] = [];
  for (const command of commandsOf(changes)) {
    const [verb, object] = Object.entries(command)[0] as [string, Record<string, Body>];
    const [kind, body] = Object.entries(object)[0] as [string, Body];
    if (kind !== 'element') {
      const handle = objects.length + 1;
      const extra = kind === 'rule' ? { expr: counted((body as { expr: unknown[] }).expr) } : {};
      objects.push({ [kind]: Object.assign({}, body, { handle }, extra) });
      continue;
    }
    expect(verb).toBe('add');
    const at = objects.findIndex((known) => {
      const set = known.set ?? known.map;
      return set?.name === body.name && set?.table === body.table && set?.family === body.family;
    });
    const known = objects[at] as Record<string, Body>;
    const [type, set] = Object.entries(known)[0] as [string, Body];
    objects[at] = { [type]: { ...set, elem: [...(set.elem ?? []), ...(body.elem ?? [])] } };
  }
  return JSON.stringify({ nftables: [{ metainfo: { version: '1.0.6', json_schema_version: 1 } }, ...objects] });
}

/** nft lists a counter with what it has counted. */
function counted(expr: readonly unknown[]): unknown[] {
  return expr.map((one) =>
    typeof one === 'object' && one !== null && 'counter' in one ? { counter: { packets: 7, bytes: 588 } } : one,
  );
}

describe('rows written and listed are the rows', () => {
  test.each([
    ['a router', routerRuleset('n', PLAIN_ROUTER)],
    ['a router of a VPC that has all', routerRuleset('n', { ipv6: true, out6: true, acls: true, services: true })],
    ['the edge', edgeRuleset('n', false)],
    ['the edge with IPv6', edgeRuleset('n', true)],
    ['the host', hostRuleset('', false)],
    ['the host with IPv6', hostRuleset('', true)],
  ])('of %s', (_, rows) => {
    expect(byKey(decodeRuleset(listing(create(...rows)), rows[0]?.ns ?? ''))).toEqual(byKey(rows));
  });

  test('of every model', () => {
    assertProperty(
      fc.property(transactions, (list) => {
        const world = new World();
        for (const steps of list) attempt(world, steps);
        const rows = [...world.rows.values()].flat().filter(isNftRow);
        for (const ns of new Set(rows.map((row) => row.ns))) {
          const own = rows.filter((row) => row.ns === ns);
          expect(byKey(decodeRuleset(listing(create(...own)), ns))).toEqual(byKey(own));
        }
      }),
      { numRuns: 30 },
    );
  }, 60_000);

  test('in every form of a component', () => {
    const rows: NftRow[] = [
      { kind: 'nft-table', ...AT },
      { kind: 'nft-set', ...AT, set: 's', type: ['mark', 'ipv4_addr', 'inet_proto', 'inet_service'], interval: true },
      { kind: 'nft-set', ...AT, set: 'one', type: ['ipv4_addr'] },
      { kind: 'nft-set', ...AT, set: 'eni', type: ['ifname', 'ether_addr', 'ipv4_addr'] },
      { kind: 'nft-set', ...AT, set: 'm', type: ['ipv4_addr'], data: 'mark' },
      { ...element('s', [7, '10.0.0.0/8', 6, 80]), interval: true },
      { ...element('s', [7, '0.0.0.0/0', '0-5', '0-21']), interval: true },
      { ...element('s', [8, '10.0.0.1', 6, '1-2']), interval: true },
      { ...element('s', [9, '10.0.0.1-10.0.0.9', 17, 53]), interval: true },
      { ...element('s', [9, '10.0.0.1', 17, 54]), interval: true },
      element('one', ['10.0.0.1']),
      element('eni', ['eni0a000104', '02:76:0a:00:01:04', '10.0.1.4']),
      element('m', ['10.0.0.1'], 4_000_000_000),
    ];
    expect(byKey(decodeRuleset(listing(create(...rows)), 'n'))).toEqual(byKey(rows));
  });
});

describe('encodeParts', () => {
  test('writes an element of single values in a set of ranges with a range of one: else nft does not find it to delete it', () => {
    const exact = element('s', [7, '10.0.0.1', 6, 80]);
    const elem = (row: NftElementRow) => {
      const [command] = commandsOf(remove(row)) as { delete: { element: Body } }[];
      return command?.delete.element.elem;
    };
    expect(elem({ ...exact, interval: true })).toEqual([{ concat: [7, '10.0.0.1', 6, { range: [80, 80] }] }]);
    expect(elem(exact)).toEqual([{ concat: [7, '10.0.0.1', 6, 80] }]);
    expect(elem({ ...exact, key: [7, '10.0.0.0/8', 6, 80], interval: true })).toEqual([
      { concat: [7, { prefix: { addr: '10.0.0.0', len: 8 } }, 6, 80] },
    ]);
  });

  test('writes the document that libnftables-json(5) describes', () => {
    const rule = { kind: 'nft-rule', ...AT, chain: 'input', index: 0, expr: [{ drop: null }] } as const;
    const changes: Change[] = [
      ...create(
        element('m', ['10.0.0.1'], 5),
        element('s', [7, '10.0.0.0/8', '80-90']),
        rule,
        {
          kind: 'nft-chain',
          ...AT,
          chain: 'input',
          base: { type: 'filter', hook: 'input', prio: 0, policy: 'drop' },
        },
        { kind: 'nft-set', ...AT, set: 'm', type: ['ipv4_addr'], data: 'mark' },
        { kind: 'nft-set', ...AT, set: 's', type: ['mark', 'ipv4_addr', 'inet_service'], interval: true },
        { kind: 'nft-table', ...AT },
      ),
    ];
    const at = { family: 'inet', table: 'vpcctl' };
    expect(encodeParts(changes)).toEqual({
      structure: [
        { create: { table: { family: 'inet', name: 'vpcctl' } } },
        { add: { set: { ...at, name: 's', type: ['mark', 'ipv4_addr', 'inet_service'], flags: ['interval'] } } },
        { add: { map: { ...at, name: 'm', type: 'ipv4_addr', map: 'mark' } } },
        { add: { chain: { ...at, name: 'input', type: 'filter', hook: 'input', prio: 0, policy: 'drop' } } },
        { add: { rule: { ...at, chain: 'input', expr: [{ drop: null }] } } },
      ],
      elements: [
        { add: { element: { ...at, name: 'm', elem: [['10.0.0.1', 5]] } } },
        {
          add: {
            element: {
              ...at,
              name: 's',
              elem: [{ concat: [7, { prefix: { addr: '10.0.0.0', len: 8 } }, { range: [80, 90] }] }],
            },
          },
        },
      ],
    });
  });

  test('takes elements away before it adds any, one command a set, so that data may change', () => {
    const old = element('m', ['10.0.0.1'], 5);
    const commands = commandsOf([
      ...create(element('m', ['10.0.0.3'], 7)),
      { op: 'update', row: element('m', ['10.0.0.1'], 6), old },
      ...remove(element('m', ['10.0.0.2'], 5)),
    ]);
    const at = { family: 'inet', table: 'vpcctl', name: 'm' };
    expect(commands).toEqual([
      {
        delete: {
          element: {
            ...at,
            elem: [
              ['10.0.0.1', 5],
              ['10.0.0.2', 5],
            ],
          },
        },
      },
      {
        add: {
          element: {
            ...at,
            elem: [
              ['10.0.0.3', 7],
              ['10.0.0.1', 6],
            ],
          },
        },
      },
    ]);
  });

  test('deletes a table with all that is in it by one command', () => {
    const other: NftRow = { kind: 'nft-table', ...AT, family: 'bridge' };
    const rows = [...routerRuleset('n', PLAIN_ROUTER), element('profile', ['10.0.0.1'], 1), other];
    expect(commandsOf(remove(...rows))).toEqual([
      { delete: { table: { family: 'inet', name: 'vpcctl' } } },
      { delete: { table: { family: 'bridge', name: 'vpcctl' } } },
    ]);
  });

  test.each<Change>([
    { op: 'delete', row: { kind: 'nft-chain', ...AT, chain: 'input' } },
    { op: 'delete', row: { kind: 'nft-set', ...AT, set: 's', type: ['mark'] } },
    { op: 'delete', row: { kind: 'nft-rule', ...AT, chain: 'input', index: 0, expr: [] } },
    {
      op: 'update',
      row: { kind: 'nft-rule', ...AT, chain: 'input', index: 0, expr: [{ drop: null }] },
      old: { kind: 'nft-rule', ...AT, chain: 'input', index: 0, expr: [] },
    },
  ])('refuses to change what is static: $op $row.kind', (change) => {
    expect(refusal(() => encodeParts([change]))).toEqual({
      code: 'KERNEL',
      line: `${change.row.kind} vpcctl of n can only change with its whole table`,
    });
  });

  test('is for the firewall alone', () => {
    expect(() => encodeParts([{ op: 'create', row: { kind: 'netns', ns: 'n' } }])).toThrow('not a firewall row');
  });
});

describe('a table in place of another', () => {
  const table: NftRow = { kind: 'nft-table', ...AT };
  const chain: NftRow = { kind: 'nft-chain', ...AT, chain: 'c' };
  const rule: NftRow = { kind: 'nft-rule', ...AT, chain: 'c', index: 0, expr: [{ accept: null }] };
  const rows = [table, rule, chain, { kind: 'nft-set', ...AT, set: 's', type: ['mark'] } as const, element('s', [7])];

  test('is made in the transaction that removes the old one, whether or not that is there', () => {
    const commands = commandsOf([{ op: 'replace', row: table, rows, old: [] }]);
    expect(
      commands.map((command) =>
        Object.entries(command).map(([verb, what]) => `${verb} ${Object.keys(what as object)}`),
      ),
    ).toEqual([
      ['add table'],
      ['delete table'],
      ['add table'],
      ['add set'],
      ['add chain'],
      ['add rule'],
      ['add element'],
    ]);
  });

  test('without rows is none', () => {
    const commands = commandsOf([{ op: 'replace', row: table, rows: [], old: rows }]);
    expect(commands.map((command) => Object.keys(command))).toEqual([['add'], ['delete']]);
  });
});

describe('decodeRuleset', () => {
  test("reads of others' tables their names alone, and an empty listing", () => {
    const foreign = {
      nftables: [
        { table: { family: 'inet', name: 'other', handle: 1 } },
        { chain: { family: 'inet', table: 'other', name: 'c', handle: 2 } },
        { table: { family: 'unknown', name: 'x' } },
      ],
    };
    expect(decodeRuleset(JSON.stringify(foreign), 'n')).toEqual([
      { kind: 'nft-table', ns: 'n', family: 'inet', table: 'other' },
    ]);
    expect(decodeRuleset('', 'n')).toEqual([]);
    expect(decodeRuleset('{"nftables":[]}', 'n')).toEqual([]);
  });

  test('numbers the rules of each chain of each family', () => {
    const rule = (family: string, chain: string): unknown => ({
      rule: {
        family,
        table: 'vpcctl',
        chain,
        handle: 9,
        expr: [{ counter: { packets: 3, bytes: 1 } }, { drop: null }],
      },
    });
    const text = JSON.stringify({
      nftables: [rule('inet', 'a'), rule('bridge', 'a'), rule('inet', 'b'), rule('inet', 'a')],
    });
    expect(
      decodeRuleset(text, 'n').map((row) => row.kind === 'nft-rule' && [row.family, row.chain, row.index]),
    ).toEqual([
      ['inet', 'a', 0],
      ['bridge', 'a', 0],
      ['inet', 'b', 0],
      ['inet', 'a', 1],
    ]);
    expect(decodeRuleset(text, 'n')[0]).toMatchObject({ expr: [{ counter: null }, { drop: null }] });
  });

  test('takes an element with properties of its own for its value', () => {
    const set = { family: 'inet', table: 'vpcctl', name: 's', type: 'mark', elem: [{ elem: { val: 5, expires: 3 } }] };
    expect(decodeRuleset(JSON.stringify({ nftables: [{ set }] }), 'n')[1]).toEqual(element('s', [5]));
  });

  test.each([
    ['nft printed', 'KERNEL: nft printed no JSON'],
    [
      '{"nftables":[{"set":{"family":"inet","table":"vpcctl","name":"s","type":"mark","elem":[{"set":[1]}]}}]}',
      'KERNEL: nft listed an element of unknown form: {"set":[1]}',
    ],
    [
      '{"nftables":[{"chain":{"family":"inet","table":"vpcctl","name":5}}]}',
      'KERNEL: nft listed 5 where a name was expected',
    ],
  ])('says what it does not understand: %s', (text, expected) => {
    const { code, line } = refusal(() => decodeRuleset(text, 'n'));
    expect(`${code}: ${line}`).toBe(expected);
  });
});
