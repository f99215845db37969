/** Resolvers and private zones: what is refused, what a resolver knows, and how a spec says them. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  associateZone,
  deleteRecord,
  deleteZone,
  disassociateZone,
  putRecord,
  putZone,
  setDns,
} from '../../../src/model/dns.js';
import { type Draft, getKind } from '../../../src/model/reader.js';
import { resolveName } from '../../../src/model/resolve.js';
import { ids } from '../../../src/model/resources.js';
import { applySpec, destroySpec, exportSpec } from '../../../src/model/spec.js';
import { addInstance, addSubnet, createVpc, deleteInstance, deleteVpc } from '../../../src/model/verbs.js';
import type { Spec } from '../../../src/spec/types.js';
import { refusal, type World, world } from './support.js';

const small = (...edits: readonly ((draft: Draft) => unknown)[]): World =>
  world(
    (tx) => {
      createVpc(tx, { name: 'a', cidr: '10.0.0.0/16' });
      createVpc(tx, { name: 'b', cidr: '10.0.0.0/16' });
      addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24' });
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'x', ip: '10.0.1.7' });
      setDns(tx, 'a', true);
      putZone(tx, 'corp', { domain: 'corp.internal', vpcs: ['a'], records: [{ name: 'api', values: ['10.9.9.9'] }] });
    },
    ...edits,
  );

const refused = (made: World, edit: (tx: Draft) => unknown): string => {
  const { code, line } = refusal(() => made.transact(edit));
  return `${code}: ${line}`;
};

/** `NAME TYPE VALUE` of each answer, or the outcome. */
function known(made: World, name: string, type = 'A', vpc = 'a'): string | string[] {
  const found = getKind(made.reader, 'vpc', ids.vpc(vpc));
  if (found === undefined) throw new Error('no vpc');
  const { outcome, answers } = resolveName(made.reader, found, name, type);
  const told = answers.map((one) => `${one.name} ${one.type} ${one.value}`);
  return outcome === 'known' ? told : [...told, outcome].join(' ');
}

describe('resolvers', () => {
  test('are idempotent, and an address of their own', () => {
    const made = small();
    for (const edit of [
      (tx: Draft) => setDns(tx, 'a', true),
      (tx: Draft) => setDns(tx, 'a', { domain: 'A.Internal.' }),
      (tx: Draft) => setDns(tx, 'b', false),
    ]) {
      expect(made.transact(edit).edits).toEqual([]);
    }
    expect(made.reader.find('ip:a/10.0.0.2').map(({ kind }) => kind)).toEqual(['vpc']);
    made.transact((tx) => setDns(tx, 'a', false));
    expect(made.reader.find('ip:a/10.0.0.2')).toEqual([]);
  });

  test.each<[string, (tx: Draft) => unknown, RegExp]>([
    [
      'an address that something has',
      (tx) => {
        addSubnet(tx, { vpc: 'b', name: 's', cidr: '10.0.0.0/24', addressing: 'plain' });
        addInstance(tx, { vpc: 'b', subnet: 's', name: 'y', ip: '10.0.0.2' });
        setDns(tx, 'b', true);
      },
      /^CONFLICT: .*10\.0\.0\.2, which instance b\/y has/,
    ],
    [
      'an address that a gateway has',
      (tx) => {
        addSubnet(tx, { vpc: 'b', name: 's', cidr: '10.0.0.0/24', gateway: '10.0.0.2' });
        setDns(tx, 'b', true);
      },
      /^CONFLICT: .*subnet b\/s has as its gateway/,
    ],
    [
      'its address to an instance',
      (tx) => {
        addSubnet(tx, { vpc: 'a', name: 'p', cidr: '10.0.0.0/24', addressing: 'plain' });
        addInstance(tx, { vpc: 'a', subnet: 'p', name: 'y', ip: '10.0.0.2' });
      },
      /^CONFLICT: .*that of the VPC's resolver/,
    ],
    ['no server', (tx) => setDns(tx, 'a', { forward: [] }), /^INVALID: .*0 servers/],
    ['what is no server', (tx) => setDns(tx, 'a', { forward: ['dns.example'] }), /^INVALID/],
    ['what is no domain', (tx) => setDns(tx, 'a', { domain: 'a b' }), /^INVALID: .*no domain name/],
    ['a VPC that is not there', (tx) => setDns(tx, 'c', true), /^NOT_FOUND/],
  ])('refuse %s', (_what, edit, words) => {
    expect(refused(small(), edit)).toMatch(words);
  });

  test('are not given to an instance by chance', () => {
    const made = small((tx) => addSubnet(tx, { vpc: 'a', name: 'p', cidr: '10.0.0.0/24', addressing: 'plain' }));
    const got: string[] = [];
    made.transact((tx) => {
      for (const name of ['p', 'q', 'r']) got.push(addInstance(tx, { vpc: 'a', subnet: 'p', name }).ip);
    });
    expect(got).toEqual(['10.0.0.3', '10.0.0.4', '10.0.0.5']);
  });

  test('know the instances of their VPC', () => {
    const made = small();
    expect(known(made, 'x.a.internal')).toEqual(['x.a.internal A 10.0.1.7']);
    expect(known(made, 'x.a.internal', 'MX')).toEqual([]);
    expect(known(made, 'a.internal')).toEqual([]);
    expect(known(made, 'y.a.internal')).toBe('missing');
    expect(known(made, 'x.x.a.internal')).toBe('missing');
    expect(known(made, '7.1.0.10.in-addr.arpa', 'PTR')).toEqual(['7.1.0.10.in-addr.arpa PTR x.a.internal']);
    expect(known(made, '8.1.0.10.in-addr.arpa', 'PTR')).toBe('missing');
    expect(known(made, '7.1.0.11.in-addr.arpa', 'PTR')).toBe('elsewhere');
    expect(known(made, 'x.b.internal')).toBe('elsewhere');
    expect(known(made, '')).toBe('elsewhere');
  });
});

test('names lead to IPv6 addresses where instances have them, and back', () => {
  const dual = world((tx) => {
    createVpc(tx, { name: 'a', cidr: '10.0.0.0/16', ipv6Cidr: 'fd76:7063:6300:100::/56' });
    addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.0.1.0/24', ipv6Cidr: 'fd76:7063:6300:100::/64' });
    addInstance(tx, { vpc: 'a', subnet: 's', name: 'x', ip: '10.0.1.7', ipv6: 'fd76:7063:6300:100::beef' });
    addInstance(tx, { vpc: 'a', subnet: 's', name: 'old', ip: '10.0.1.8', ipv6: false });
    setDns(tx, 'a', true);
    putZone(tx, 'z', { domain: 'z.internal', vpcs: ['a'] });
    putRecord(tx, 'z', { name: 'w', type: 'AAAA', alias: { vpc: 'a', instance: 'x' } });
    putRecord(tx, 'z', { name: 'w', alias: { vpc: 'a', instance: 'x' } });
    putRecord(tx, 'z', { name: 'o', type: 'AAAA', alias: { vpc: 'a', instance: 'old' } });
  });
  const reverse = (last: string): string => `${last}.${'0.'.repeat(12)}0.0.1.0.0.0.3.6.3.6.0.7.6.7.d.f.ip6.arpa`;
  expect(known(dual, 'x.a.internal', 'AAAA')).toEqual(['x.a.internal AAAA fd76:7063:6300:100::beef']);
  expect(known(dual, 'x.a.internal')).toEqual(['x.a.internal A 10.0.1.7']);
  expect(known(dual, 'x.a.internal', 'ANY')).toHaveLength(2);
  expect(known(dual, 'old.a.internal', 'AAAA')).toEqual([]);
  expect(known(dual, reverse('f.e.e.b'), 'PTR')).toEqual([`${reverse('f.e.e.b')} PTR x.a.internal`]);
  expect(known(dual, reverse('e.e.e.b'), 'PTR')).toBe('missing');
  expect(known(dual, reverse('f.e.e.b').replace('d.f.ip6', 'd.e.ip6'), 'PTR')).toBe('elsewhere');
  expect(known(dual, reverse('f.e.e'), 'PTR')).toBe('elsewhere');
  expect(known(dual, 'w.z.internal', 'AAAA')).toEqual(['w.z.internal AAAA fd76:7063:6300:100::beef']);
  expect(known(dual, 'w.z.internal')).toEqual(['w.z.internal A 10.0.1.7']);
  expect(known(dual, 'o.z.internal', 'AAAA')).toEqual([]);
  expect(exportSpec(dual.reader).privateZones?.z?.records).toEqual([
    { name: 'o', type: 'AAAA', alias: { vpc: 'a', instance: 'old' } },
    { name: 'w', alias: { vpc: 'a', instance: 'x' } },
    { name: 'w', type: 'AAAA', alias: { vpc: 'a', instance: 'x' } },
  ]);
});

describe('private zones', () => {
  test('are idempotent', () => {
    const made = small();
    for (const edit of [
      (tx: Draft) => putZone(tx, 'corp', { domain: 'corp.internal' }),
      (tx: Draft) => putRecord(tx, 'corp', { name: 'api.corp.internal', type: 'A', ttl: 300, values: ['10.9.9.9'] }),
      (tx: Draft) => associateZone(tx, 'corp', 'a'),
      (tx: Draft) => disassociateZone(tx, 'corp', 'b'),
      (tx: Draft) => deleteRecord(tx, 'corp', 'api', 'TXT'),
      (tx: Draft) => deleteZone(tx, 'other'),
    ]) {
      expect(made.transact(edit).edits).toEqual([]);
    }
  });

  test.each<[string, (tx: Draft) => unknown, RegExp]>([
    [
      'a second one of a domain for one VPC',
      (tx) => putZone(tx, 'more', { domain: 'corp.internal', vpcs: ['a'] }),
      /^CONFLICT: .*private zone corp for corp\.internal already/,
    ],
    ['another domain', (tx) => putZone(tx, 'corp', { domain: 'corp.example' }), /^CONFLICT/],
    ['a VPC that is not there', (tx) => associateZone(tx, 'corp', 'c'), /^NOT_FOUND/],
    ['a zone that is not there', (tx) => putRecord(tx, 'x', { name: 'y', values: ['10.1.1.1'] }), /^NOT_FOUND/],
    [
      'a CNAME of the zone itself',
      (tx) => putRecord(tx, 'corp', { name: '@', type: 'CNAME', values: ['x.y'] }),
      /^INVALID/,
    ],
    [
      'a CNAME beside others',
      (tx) => putRecord(tx, 'corp', { name: 'api', type: 'CNAME', values: ['x.y'] }),
      /^INVALID: .*has other records too/,
    ],
    ['two targets', (tx) => putRecord(tx, 'corp', { name: 'c', type: 'CNAME', values: ['x', 'y'] }), /^INVALID/],
    ['no value', (tx) => putRecord(tx, 'corp', { name: 'c', values: [] }), /^INVALID/],
    ['neither values nor an alias', (tx) => putRecord(tx, 'corp', { name: 'c' }), /^INVALID/],
    [
      'an alias of nothing',
      (tx) => putRecord(tx, 'corp', { name: 'c', alias: { vpc: 'a', instance: 'nobody' } }),
      /^NOT_FOUND/,
    ],
    [
      'an alias of another type',
      (tx) => putRecord(tx, 'corp', { name: 'c', type: 'TXT', alias: { vpc: 'a', instance: 'x' } }),
      /^INVALID/,
    ],
    ['an A that is no address', (tx) => putRecord(tx, 'corp', { name: 'c', values: ['::1'] }), /^INVALID/],
    [
      'an AAAA that is none',
      (tx) => putRecord(tx, 'corp', { name: 'c', type: 'AAAA', values: ['10.0.0.1'] }),
      /^INVALID/,
    ],
    ['an MX without a number', (tx) => putRecord(tx, 'corp', { name: 'c', type: 'MX', values: ['mail'] }), /^INVALID/],
    ['an SRV of three parts', (tx) => putRecord(tx, 'corp', { name: 'c', type: 'SRV', values: ['1 2 x'] }), /^INVALID/],
    [
      'a text too long',
      (tx) => putRecord(tx, 'corp', { name: 'c', type: 'TXT', values: ['x'.repeat(4_001)] }),
      /^INVALID/,
    ],
    ['a wildcard within', (tx) => putRecord(tx, 'corp', { name: 'a.*.b', values: ['10.1.1.1'] }), /^INVALID/],
  ])('refuse %s', (_what, edit, words) => {
    expect(refused(small(), edit)).toMatch(words);
  });

  test('answer by names, what is between them, and wildcards', () => {
    const made = small((tx) => {
      putRecord(tx, 'corp', { name: 'one.deep.sub', values: ['10.1.1.1', '10.1.1.2'] });
      putRecord(tx, 'corp', { name: '*.dev', type: 'TXT', values: ['any'] });
      putRecord(tx, 'corp', { name: 'www', type: 'CNAME', values: ['api.corp.internal'] });
      putRecord(tx, 'corp', { name: 'out', type: 'CNAME', values: ['www.example.com'] });
      putRecord(tx, 'corp', { name: 'lost', type: 'CNAME', values: ['nobody.corp.internal'] });
      putRecord(tx, 'corp', { name: 'round', type: 'CNAME', values: ['round.corp.internal'] });
      putRecord(tx, 'corp', { name: 'alias', alias: { vpc: 'a', instance: 'x' } });
    });
    expect(known(made, 'one.deep.sub.corp.internal')).toHaveLength(2);
    expect(known(made, 'deep.sub.corp.internal')).toEqual([]);
    expect(known(made, 'other.sub.corp.internal')).toBe('missing');
    expect(known(made, 'a.b.dev.corp.internal', 'TXT')).toEqual(['a.b.dev.corp.internal TXT any']);
    expect(known(made, 'a.dev.corp.internal', 'A')).toEqual([]);
    expect(known(made, 'www.corp.internal')).toEqual([
      'www.corp.internal CNAME api.corp.internal',
      'api.corp.internal A 10.9.9.9',
    ]);
    expect(known(made, 'www.corp.internal', 'CNAME')).toEqual(['www.corp.internal CNAME api.corp.internal']);
    expect(known(made, 'out.corp.internal')).toBe('out.corp.internal CNAME www.example.com elsewhere');
    expect(known(made, 'lost.corp.internal')).toBe('lost.corp.internal CNAME nobody.corp.internal missing');
    expect(known(made, 'round.corp.internal')).toHaveLength(8);
    expect(known(made, 'alias.corp.internal')).toEqual(['alias.corp.internal A 10.0.1.7']);
    // A label that holds a dot.
    expect(known(made, 'a\\046b.dev.corp.internal', 'TXT')).toBe('missing');
    made.transact((tx) => deleteInstance(tx, 'a', 'x'));
    expect(known(made, 'alias.corp.internal')).toEqual([]);
  });

  test('the longest domain decides, and a zone before the names of the VPC', () => {
    const made = small((tx) => {
      putZone(tx, 'over', { domain: 'a.internal', vpcs: ['a'], records: [{ name: 'z', values: ['10.1.1.1'] }] });
      putZone(tx, 'above', { domain: 'internal', vpcs: ['a'], records: [{ name: 'x.a', values: ['10.1.1.9'] }] });
    });
    expect(known(made, 'z.a.internal')).toEqual(['z.a.internal A 10.1.1.1']);
    expect(known(made, 'x.a.internal')).toBe('missing');
    made.transact((tx) => deleteZone(tx, 'over'));
    expect(known(made, 'x.a.internal')).toEqual(['x.a.internal A 10.0.1.7']);
    expect(known(made, 'api.corp.internal')).toEqual(['api.corp.internal A 10.9.9.9']);
  });

  test('stay when a VPC of theirs goes', () => {
    const made = small((tx) => associateZone(tx, 'corp', 'b'));
    made.transact((tx) => deleteVpc(tx, 'a'));
    expect(made.reader.get(ids.privateZone('corp'))).toMatchObject({ vpcs: ['b'] });
  });
});

describe('a spec', () => {
  const spec: Spec = {
    vpcs: {
      a: {
        cidr: '10.0.0.0/16',
        dns: { domain: 'here.example', forward: ['192.0.2.1'] },
        subnets: { s: { cidr: '10.0.1.0/24', gateway: '10.0.1.1' } },
        instances: { x: { subnet: 's', ip: '10.0.1.7' } },
      },
      b: { cidr: '10.1.0.0/16', dns: true },
    },
    privateZones: {
      z: {
        domain: 'z.example',
        vpcs: ['a', 'b'],
        records: [
          { name: 'x', alias: { vpc: 'a', instance: 'x' } },
          { name: 'y', ttl: 5, values: ['10.1.1.1', '10.1.1.2'] },
          { name: '@', type: 'TXT', values: ['hello'] },
        ],
      },
    },
  };

  test('comes back as it was', () => {
    const made = world((tx) => applySpec(tx, spec));
    expect(exportSpec(made.reader)).toEqual(spec);
    expect(made.transact((tx) => applySpec(tx, exportSpec(tx))).edits).toEqual([]);
  });

  test('takes away what it does not say', () => {
    const made = world((tx) => applySpec(tx, spec));
    made.transact((tx) => applySpec(tx, { vpcs: { b: { cidr: '10.1.0.0/16' } } }));
    expect(made.reader.get(ids.privateZone('z'))).toMatchObject({ vpcs: ['a'] });
    expect(made.reader.get(ids.vpc('b'))).not.toHaveProperty('dns');
    made.transact((tx) => applySpec(tx, { vpcs: { a: spec.vpcs.a ?? { cidr: '' } } }));
    expect(made.reader.get(ids.privateZone('z'))).toBeUndefined();
  });

  test('is destroyed with its zones', () => {
    const made = world((tx) => applySpec(tx, spec));
    made.transact((tx) => destroySpec(tx, spec));
    expect(made.reader.all().filter(({ kind }) => kind !== 'installation')).toEqual([]);
  });
});

test('a name of any text is answered', () => {
  const made = small((tx) => putRecord(tx, 'corp', { name: '*', values: ['10.1.1.1'] }));
  const words = fc.array(fc.constantFrom('x', 'a', 'internal', 'corp', '', '*', 'in-addr', 'arpa', '10', '999', 'ü'));
  void fc.assert(
    fc.property(words, fc.constantFrom('A', 'PTR', 'ANY', 'UNKNOWN_9'), (labels, type) => {
      known(made, labels.join('.'), type);
    }),
  );
});
