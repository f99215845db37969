/** What the store promises to transactions that meet in it. */
import { expect, onTestFinished, test } from 'vitest';
import { LostRace, Store } from '../../../src/engine/store.js';
import type { Edit } from '../../../src/model/reader.js';
import type { Instance, Vpc } from '../../../src/model/resources.js';
import type { Cidr, Ipv4 } from '../../../src/net/cidr.js';
import { plan } from '../../../src/plan/plan.js';
import { stateDir } from './support.js';

const NOTHING = plan([]);

function open(dir: string): Store {
  const store = new Store(dir);
  onTestFinished(() => store.close());
  return store;
}

const vpc = (name: string): Edit => {
  const after: Vpc = { kind: 'vpc', name, cidrs: ['10.0.0.0/16' as Cidr], mtu: 1500 };
  return { id: `vpc/${name}`, after };
};

function instance(of: string, name: string, publicIp: string): Edit {
  const after: Instance = {
    kind: 'instance',
    vpc: of,
    name,
    subnet: 's',
    ip: '10.0.0.4' as Ipv4,
    publicIp: publicIp as Ipv4,
    groups: ['default'],
    profile: 1,
  };
  return { id: `instance/${of}/${name}`, after };
}

function commit(store: Store, scopes: readonly string[], ...edits: Edit[]): void {
  store.commit(store.begin(store.versions(scopes), NOTHING, edits), scopes, edits, [], false);
}

test('a plan made from a version that is gone does not begin', () => {
  const dir = stateDir();
  const [one, other] = [open(dir), open(dir)];
  const versions = one.versions(['a', 'b']);
  commit(other, ['b'], vpc('b'));
  expect(() => one.begin(versions, NOTHING, [vpc('a')])).toThrow(LostRace);
  expect(one.unfinished()).toEqual([]);
  commit(one, ['a'], vpc('a'));
  expect(other.get('vpc/a')).toMatchObject({ name: 'a' });
});

test('an address is one transaction’s from its beginning; undone, it is free; committed, its holder’s', () => {
  const dir = stateDir();
  const [one, other] = [open(dir), open(dir)];
  const begin = (store: Store, edit: Edit): number => store.begin(new Map(), NOTHING, [edit]);
  const journal = begin(one, instance('a', 'x', '198.51.100.7'));
  expect(() => begin(other, instance('b', 'y', '198.51.100.7'))).toThrow(LostRace);
  expect(other.unfinished(), 'the refused one left nothing').toHaveLength(1);
  // Whoever looks for a free address passes over it, though no resource has it yet.
  expect([other.find('public-ip:198.51.100.7'), other.count('public-ip:198.51.100.7', 1)]).toEqual([[], 1]);
  one.abandon(journal);
  expect(other.count('public-ip:198.51.100.7', 1)).toBe(0);
  commit(other, ['b'], instance('b', 'y', '198.51.100.7'));
  expect(() => begin(one, instance('a', 'x', '198.51.100.7'))).toThrow(LostRace);
  // Its own it may keep, and give to another in one go.
  const before = (other.get('instance/b/y') ?? undefined) as Instance;
  commit(other, ['b'], { id: 'instance/b/y', before }, { id: 'instance/b/z', after: { ...before, name: 'z' } });
  expect(other.find('public-ip:198.51.100.7')).toMatchObject([{ name: 'z' }]);
  expect(() => begin(one, instance('a', 'x', '198.51.100.7'))).toThrow(LostRace);
});

test('the stamp moves with every write, whoever writes, and with nothing else', () => {
  const dir = stateDir();
  const [one, other] = [open(dir), open(dir)];
  const before = one.stamp();
  one.find('kind:vpc');
  expect(one.stamp()).toBe(before);
  commit(other, ['a'], vpc('a'));
  const after = one.stamp();
  expect(after).not.toBe(before);
  commit(one, ['b'], vpc('b'));
  expect(one.stamp()).not.toBe(after);
});
