/** Limits that an operator sets. */
import { expect, test } from 'vitest';
import { putEntry, putNetworkAcl } from '../../../src/model/acls.js';
import type { Draft } from '../../../src/model/reader.js';
import { addRoute } from '../../../src/model/routing.js';
import { applySpec, exportSpec } from '../../../src/model/spec.js';
import { addInstance, addSubnet, addVpcBlock, configure, createVpc, putGroup } from '../../../src/model/verbs.js';
import type { Cidr } from '../../../src/net/cidr.js';
import { refusal, world } from './support.js';

const ALL_ONE = {
  securityGroupRules: 1,
  securityGroupsPerInstance: 1,
  networkAclRules: 1,
  routesPerRouteTable: 1,
  subnetsPerVpc: 1,
  blocksPerVpc: 1,
};

/** Everything at its limit. */
const small = () =>
  world(
    (tx) => configure(tx, { quotas: ALL_ONE, uplink: 'none' }),
    (tx) => {
      createVpc(tx, { name: 'a', cidr: '10.1.0.0/16' });
      addSubnet(tx, { vpc: 'a', name: 's', cidr: '10.1.1.0/24' });
      putGroup(tx, 'a', 'g', { ingress: [{ port: 1, protocol: 'tcp' }], egress: [{}] });
      addInstance(tx, { vpc: 'a', subnet: 's', name: 'i', securityGroups: ['g'] });
      putNetworkAcl(tx, 'a', 'n', { egress: [{ number: 1, action: 'deny', cidr: '0.0.0.0/0' }] });
      addRoute(tx, 'a', 'main', { destination: '10.9.0.0/16', target: 'blackhole' });
    },
  );

const RULE = { port: 2, protocol: 'tcp' } as const;

test.each<[string, (draft: Draft) => unknown, string]>([
  [
    'securityGroupRules',
    (tx) => putGroup(tx, 'a', 'g', { ingress: [RULE, RULE] }),
    'security group a/g would have 2 rules in one direction',
  ],
  [
    'securityGroupsPerInstance',
    (tx) => addInstance(tx, { vpc: 'a', subnet: 's', name: 'i', securityGroups: ['g', 'default'] }),
    'instance a/i would have 2 security groups',
  ],
  [
    'networkAclRules',
    (tx) => putEntry(tx, 'a', 'n', 'egress', { number: 2, action: 'allow', cidr: '0.0.0.0/0' }),
    'network acl a/n would have 2 rules in one direction',
  ],
  [
    'routesPerRouteTable',
    (tx) => addRoute(tx, 'a', 'main', { destination: '10.8.0.0/16', target: 'blackhole' }),
    'route table a/main would have 2 routes',
  ],
  ['subnetsPerVpc', (tx) => addSubnet(tx, { vpc: 'a', name: 't', cidr: '10.1.2.0/24' }), 'vpc a would have 2 subnets'],
  ['blocksPerVpc', (tx) => addVpcBlock(tx, 'a', '10.2.0.0/16' as Cidr), 'vpc a would have 2 blocks'],
])('%s', (quota, edit, words) => {
  expect(refusal(() => small().transact(edit))).toEqual({
    code: 'INVALID',
    line: `${words}, the quota is 1; raise settings.quotas.${quota}`,
  });
  const raised = small();
  raised.transact((tx) => configure(tx, { quotas: { ...ALL_ONE, [quota]: 2 } }));
  raised.transact(edit);
  // Taken away, there is none.
  raised.transact((tx) => configure(tx, { quotas: {} }));
  expect(exportSpec(raised.reader).settings).toEqual({ uplink: 'none' });
});

test('what is there already stays, and may be applied again', () => {
  const made = small();
  const spec = exportSpec(made.reader);
  expect(spec.settings?.quotas).toEqual(ALL_ONE);
  expect(made.transact((tx) => applySpec(tx, spec)).edits).toEqual([]);
  expect(world((tx) => applySpec(tx, spec)).freshRows()).toEqual(made.freshRows());
});
