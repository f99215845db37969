/**
 * Limits that an operator sets, as the cloud has them for an account; without one, there is no limit. The cloud's own: Amazon VPC User Guide, "Amazon VPC
 * quotas": 60 rules of a group and 20 of a
 * network ACL a direction, 5 groups an instance, 500 routes a table, 200 subnets and 5 blocks a VPC.
 */
import { invalid } from '../errors.js';
import type { QuotasSpec } from '../spec/types.js';
import { installationOf } from './lookup.js';
import type { Reader } from './reader.js';

const WORDS: Readonly<Record<keyof QuotasSpec, string>> = {
  securityGroupRules: 'rules in one direction',
  securityGroupsPerInstance: 'security groups',
  networkAclRules: 'rules in one direction',
  routesPerRouteTable: 'routes',
  subnetsPerVpc: 'subnets',
  blocksPerVpc: 'blocks',
};

/** INVALID where `whose` would have more of something than its quota. What is there already is not looked at. */
export function checkQuota(reader: Reader, quota: keyof QuotasSpec, whose: string, count: number): void {
  const most = installationOf(reader).quotas?.[quota];
  if (most === undefined || count <= most) return;
  throw invalid(`${whose} would have ${count} ${WORDS[quota]}, the quota is ${most}`, {
    hint: `raise settings.quotas.${quota}`,
  });
}
