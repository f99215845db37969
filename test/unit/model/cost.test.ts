/** What a change costs: how much of the model is read for it, in a small model and in a large one. */
import { describe, expect, test } from 'vitest';
import { lower } from '../../../src/lower/lower.js';
import { Draft, type Reader } from '../../../src/model/reader.js';
import type { Resource } from '../../../src/model/resources.js';
import { needsHostFacts, settle } from '../../../src/model/settle.js';
import * as verbs from '../../../src/model/verbs.js';
import { HOST, type World, world } from './support.js';

/** Counts the resources that a reader gives away. */
class CountingReader implements Reader {
  read = 0;
  readonly #inner: Reader;

  constructor(inner: Reader) {
    this.#inner = inner;
  }

  get(id: string): Resource | undefined {
    this.read += 1;
    return this.#inner.get(id);
  }

  find(term: string): Resource[] {
    const found = this.#inner.find(term);
    this.read += 1 + found.length;
    return found;
  }

  count(term: string, limit: number): number {
    const count = this.#inner.count(term, limit);
    this.read += 1 + count;
    return count;
  }
}

/** What preparing an edit reads, as the engine does it; and how many resources are lowered for it. */
function cost(made: World, edit: (tx: Draft) => unknown): { read: number; lowered: number } {
  const reader = new CountingReader(made.reader);
  const draft = new Draft(reader);
  edit(draft);
  settle(draft, needsHostFacts(draft) ? HOST : undefined);
  const ids = new Set([...draft.edits().map(({ id }) => id), ...draft.touched]);
  for (const id of ids) {
    const resource = draft.get(id);
    if (resource !== undefined) lower(draft, resource);
  }
  return { read: reader.read, lowered: ids.size };
}

const POLICY = { ingress: [{ protocol: 'tcp' as const, port: 80, action: 'allow' as const }] };

/** A VPC with instances in a public subnet, in one with a policy, and in one of neither, each with a group of its own and a common one. */
function model(instances: number): World {
  return world((tx) => {
    verbs.createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
    verbs.configure(tx, { publicPool: '10.99.0.0/16' });
    verbs.addSubnet(tx, { vpc: 'a', name: 's0', cidr: '10.0.0.0/20' });
    verbs.addSubnet(tx, { vpc: 'a', name: 's1', cidr: '10.0.16.0/20', public: true });
    verbs.addSubnet(tx, { vpc: 'a', name: 's2', cidr: '10.0.32.0/20' });
    verbs.applyPolicy(tx, 'a', 's2', POLICY);
    verbs.putGroup(tx, 'a', 'common', { ingress: [{ protocol: 'icmp' }] });
    for (let index = 0; index < instances; index += 1) {
      verbs.putGroup(tx, 'a', `g${index}`, { ingress: [{ protocol: 'tcp', port: 80, from: { group: `g${index}` } }] });
      const securityGroups = ['common', `g${index}`];
      verbs.addInstance(tx, { vpc: 'a', subnet: `s${index % 3}`, name: `x${index}`, securityGroups });
    }
  });
}

describe('in a model of 1,000 instances as in one of 10', () => {
  const small = model(10);
  const large = model(1_000);

  test.each<readonly [string, (tx: Draft) => unknown]>([
    ['an instance with a set of groups that is known', (tx) => attach(tx, 's0', ['common', 'g0'])],
    ['an instance with a set of groups that is new', (tx) => attach(tx, 's0', ['g3', 'g5'])],
    [
      'an instance with a group of its own',
      (tx) => {
        verbs.checkReferences(tx, verbs.putGroup(tx, 'a', 'new', { ingress: [{ from: { group: 'new' } }] }));
        attach(tx, 's0', ['new']);
      },
    ],
    ['an instance with a public address', (tx) => attach(tx, 's1', ['common', 'g1'])],
    ['an instance in a subnet with a policy', (tx) => attach(tx, 's2', ['common', 'g2'])],
    ['an instance that goes', (tx) => verbs.deleteInstance(tx, 'a', 'x4')],
    ['an instance that gets other groups', (tx) => attach(tx, 's0', ['g8'], 'x9')],
    [
      'a rule that changes',
      (tx) => {
        verbs.checkReferences(tx, verbs.putGroup(tx, 'a', 'g6', { ingress: [{ from: { group: 'g7' } }] }));
      },
    ],
    [
      'a group that goes',
      (tx) => {
        verbs.putGroup(tx, 'a', 'new', {});
        verbs.deleteGroup(tx, 'a', 'new');
      },
    ],
  ])('%s costs the same', (_what, edit) => {
    const expected = cost(small, edit);
    expect(cost(large, edit)).toEqual(expected);
    expect(expected.read).toBeLessThan(60);
    expect(expected.lowered).toBeLessThan(8);
  });
});

function attach(tx: Draft, subnet: string, securityGroups: readonly string[], name = 'new'): void {
  verbs.addInstance(tx, { vpc: 'a', subnet, name, securityGroups });
}
