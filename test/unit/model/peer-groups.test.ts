/** Rules that name a group of a peer: whom they hold for, and when that is worked out anew. */
import { describe, expect, test } from 'vitest';
import { analyze } from '../../../src/analyze/analyze.js';
import type { Draft } from '../../../src/model/reader.js';
import { applySpec, exportSpec } from '../../../src/model/spec.js';
import {
  addInstance,
  addSubnet,
  checkReferences,
  createVpc,
  deleteInstance,
  deleteVpc,
  peer,
  putGroup,
  unpeer,
} from '../../../src/model/verbs.js';
import { refusal, type World, world } from './support.js';

/** b's `db` takes tcp 5432 from a's `web`; a has a member of it and one that is not. */
function peered(...more: ((draft: Draft) => unknown)[]): World {
  return world(
    (tx) => {
      for (const [name, cidr] of [
        ['a', '10.1.0.0/16'],
        ['b', '10.2.0.0/16'],
      ] as const) {
        createVpc(tx, { name, cidr });
        addSubnet(tx, { vpc: name, name: 's', cidr: cidr.replace('0.0/16', '1.0/24') });
      }
      peer(tx, 'a', 'b');
      putGroup(tx, 'a', 'web', {});
      putGroup(tx, 'a', 'other', {});
      putGroup(tx, 'b', 'db', { ingress: [{ protocol: 'tcp', port: 5432, from: { group: 'web', vpc: 'a' } }] });
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'w', ip: '10.1.1.10', securityGroups: ['web'] });
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'o', ip: '10.1.1.11', securityGroups: ['other'] });
      addInstance(tx, { vpc: 'b', subnet: 's', name: 'd', ip: '10.2.1.10', securityGroups: ['db'] });
    },
    ...more,
  );
}

/** The sources that b's firewall lets in to port 5432. */
function admitted(made: World): string[] {
  expect(made.keptRows()).toEqual(made.freshRows());
  return [...made.rows.values()]
    .flat()
    .flatMap((row) =>
      row.kind === 'nft-element' && row.ns === 'vpc.b' && row.set === 'in_net32_port' ? [String(row.key[1])] : [],
    )
    .sort();
}

function reaches(made: World, source: string): boolean {
  return analyze(made.reader, { source, destination: 'b/d', port: 5432 }).reachable;
}

describe('hold for the members', () => {
  test('and nobody else', () => {
    const made = peered();
    expect(admitted(made)).toEqual(['10.1.1.10']);
    expect([reaches(made, 'a/w'), reaches(made, 'a/o')]).toEqual([true, false]);
  });

  test('as they come, change and go', () => {
    const made = peered((tx) =>
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'n', ip: '10.1.1.12', securityGroups: ['web', 'other'] }),
    );
    expect(admitted(made)).toEqual(['10.1.1.10', '10.1.1.12']);
    made.transact((tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'o', securityGroups: ['web'] }));
    made.transact((tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'w', securityGroups: ['other'] }));
    made.transact((tx) => deleteInstance(tx, 'a', 'n'));
    expect(admitted(made)).toEqual(['10.1.1.11']);
    expect([reaches(made, 'a/w'), reaches(made, 'a/o')]).toEqual([false, true]);
  });

  test('while the VPCs are peered', () => {
    const made = peered((tx) => unpeer(tx, 'a', 'b'));
    expect(admitted(made)).toEqual([]);
    expect(reaches(made, 'a/w')).toBe(false);
    made.transact((tx) => peer(tx, 'a', 'b'));
    expect(admitted(made)).toEqual(['10.1.1.10']);
  });

  test('not for members of a group of that name at home', () => {
    const made = peered(
      (tx) => putGroup(tx, 'b', 'web', {}),
      (tx) => addInstance(tx, { vpc: 'b', subnet: 's', name: 'home', securityGroups: ['web'] }),
    );
    expect(reaches(made, 'b/home')).toBe(false);
  });
});

describe('files', () => {
  test('say the same again, whichever VPC they name first', () => {
    const made = peered();
    const spec = exportSpec(made.reader);
    expect(spec.vpcs.b?.securityGroups?.db?.ingress).toEqual([
      { protocol: 'tcp', port: 5432, from: { group: 'web', vpc: 'a' } },
    ]);
    const turned = { ...spec, vpcs: Object.fromEntries(Object.entries(spec.vpcs).reverse()) };
    expect(world((tx) => applySpec(tx, turned)).freshRows()).toEqual(made.freshRows());
  });

  test('do not say what is stale', () => {
    const made = peered((tx) => deleteVpc(tx, 'a', true));
    expect(admitted(made)).toEqual([]);
    expect(exportSpec(made.reader).vpcs.b?.securityGroups?.db?.ingress).toEqual([]);
  });

  test('that name a group that is not there are refused', () => {
    const rule = { from: { group: 'none', vpc: 'a' } };
    expect(refusal(() => peered((tx) => checkReferences(tx, putGroup(tx, 'b', 'db', { ingress: [rule] }))))).toEqual({
      code: 'NOT_FOUND',
      line: 'security group a/none, which a rule of b/db names, does not exist; there are: default, other, web',
    });
  });
});
