import { describe, expect, test } from 'vitest';
import { driftText, heldText, isEmpty, planText, sumText } from '../../../src/cli/plan-text.js';
import { colors } from '../../../src/cli/text.js';
import type { Holder, PlanView } from '../../../src/index.js';
import { EMPTY_PLAN } from './support.js';

const plain = colors(false);

const PLAN: PlanView = {
  changes: [
    {
      action: 'create',
      resource: 'subnet a/web',
      kind: 'subnet',
      values: { cidr: '10.1.1.0/24', public: true, hidden: false, policy: { ingress: [] }, addressing: 'cloud' },
    },
    {
      action: 'create',
      resource: 'security group a/site',
      kind: 'group',
      values: { ingress: [{ port: 1 }, { port: 2 }], egress: [], names: ['x', 'y'] },
    },
    {
      action: 'update',
      resource: 'instance a/web',
      kind: 'instance',
      properties: { publicIp: [undefined, '198.51.100.7'], groups: [['default'], ['default', 'site']] },
    },
    {
      action: 'update',
      resource: 'security group a/other',
      kind: 'group',
      properties: {
        ingress: [
          [
            { protocol: 'tcp', port: 22 },
            { protocol: 'tcp', port: 80 },
          ],
          [
            { protocol: 'tcp', port: 80 },
            { protocol: 'tcp', port: 443, from: { group: 'x' } },
          ],
        ],
      },
    },
    {
      action: 'update',
      resource: 'subnet a/db',
      kind: 'subnet',
      properties: {
        policy: [
          { ingress: [{ port: 1, action: 'allow' }], egress: [] },
          { ingress: [{ port: 1, action: 'deny' }], egress: [] },
        ],
      },
    },
    { action: 'delete', resource: 'vpc old', kind: 'vpc' },
  ],
  kernel: { create: 40, update: 1, delete: 2 },
};

describe('a plan', () => {
  test('has a line a resource, what changes below, and the sums', () => {
    expect(planText(PLAN, plain).join('\n')).toBe(`\
+ subnet a/web  cidr 10.1.1.0/24, public, policy, addressing cloud
+ security group a/site  ingress 2 rules, egress 0 rules, names x y
~ instance a/web
    publicIp: none → 198.51.100.7
    groups: [default] → [default, site]
~ security group a/other
    ingress:
      - {protocol: tcp, port: 22}
      + {protocol: tcp, port: 443, from: {group: x}}
~ subnet a/db
    policy.ingress:
      - {port: 1, action: allow}
      + {port: 1, action: deny}
- vpc old
2 to add, 3 to change, 1 to remove; kernel objects: +40 ~1 -2`);
  });

  test('says that rules only change places', () => {
    const rules = [{ port: 1 }, { port: 2 }];
    const plan: PlanView = {
      changes: [
        {
          action: 'update',
          resource: 'subnet a/b',
          kind: 'subnet',
          properties: { 'policy.ingress': [rules, rules.toReversed()] },
        },
      ],
      kernel: { create: 0, update: 0, delete: 0 },
    };
    expect(planText(plan, plain).slice(1, 3)).toEqual(['    policy.ingress:', '      (the order)']);
  });

  test('is coloured by what happens', () => {
    const [first = '', , , , , , , , , , , , , last = ''] = planText(PLAN, colors(true));
    expect(first).toContain('\u001b[32m+ subnet a/web\u001b[39m');
    expect(last).toBe('\u001b[31m- vpc old\u001b[39m');
  });

  test('sums up what was done', () => {
    expect(sumText(PLAN, 'done')).toBe('2 added, 3 changed, 1 removed; kernel objects: +40 ~1 -2');
  });

  test.each([
    [EMPTY_PLAN, true],
    [PLAN, false],
    [{ changes: [], kernel: { create: 0, update: 1, delete: 0 } }, false],
  ])('is empty only without changes of either kind', (plan, empty) => {
    expect(isEmpty(plan)).toBe(empty);
  });

  test('never steers the terminal', () => {
    const change = {
      action: 'update',
      resource: 'x',
      kind: 'group',
      properties: { description: ['a', 'b\u001b[2J\nc'] },
    } as const;
    expect(planText({ ...EMPTY_PLAN, changes: [change] }, plain)[1]).toBe('    description: a → b\\u{1b}[2J c');
  });
});

describe('drift', () => {
  test('is a sentence a difference; what follows from another is counted', () => {
    const of = { resource: 'vpc a', object: 'x', follows: false, repairable: true } as const;
    const lines = driftText(
      [
        { ...of, what: 'missing', sentence: 'instance a/web: its namespace is missing' },
        { ...of, what: 'missing', sentence: 'instance a/web: its link is missing', follows: true },
        { ...of, what: 'changed', sentence: "vpc a: the firewall's chain forward was changed" },
        { ...of, what: 'missing', sentence: "vpc a: the firewall's chain forward was changed" },
        { ...of, what: 'changed', sentence: "vpc a: the firewall's chain forward was changed" },
        { ...of, what: 'foreign', sentence: 'vpc a: link x\u001b[2J is not ours', repairable: false },
      ],
      plain,
    );
    expect(lines.join('\n')).toBe(`\
missing  instance a/web: its namespace is missing
changed  vpc a: the firewall's chain forward was changed
foreign  vpc a: link x\\u{1b}[2J is not ours
3 differences between what was recorded and what the kernel has, and 1 that follow from them`);
  });

  test('says when there is none', () => {
    expect(driftText([], plain)).toEqual(['no drift: the kernel has what was recorded']);
  });
});

test.each([
  [[{ pid: 1, command: 'sh', by: 'process' }], 'sh (pid 1)'],
  [[{ pid: 2, command: 'sh', by: 'mount', path: '/mnt' }], 'a mount at /mnt (seen by sh, pid 2)'],
  [
    Array.from({ length: 7 }, (_, pid) => ({ pid, command: 'x', by: 'process' })),
    'x (pid 0), x (pid 1), x (pid 2), x (pid 3), x (pid 4), 2 more',
  ],
] as [Holder[], string][])('a namespace held by %j', (holders, words) => {
  const text = heldText({ what: 'instance a/w', namespace: 'vpc.a.w', holders });
  expect(text).toBe(`instance a/w: its namespace lives on, without its links: held by ${words}`);
});
