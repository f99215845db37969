/** A world to ask of: two peered VPCs, a third that is on its own and has the first one's blocks. */
import { analyze } from '../../../src/analyze/analyze.js';
import type { Analysis } from '../../../src/analyze/types.js';
import type { Draft } from '../../../src/model/reader.js';
import { addInstance, addSubnet, applyPolicy, createVpc, peer, putGroup } from '../../../src/model/verbs.js';
import type { PolicySpec, SecurityGroupSpec } from '../../../src/spec/types.js';
import { type World, world } from '../model/support.js';

export const OUTSIDE = '203.0.113.10';

/**
 * a (10.1.0.0/16): web, public, with web 10.1.1.10 (198.51.100.10) and bare 10.1.1.11 without a public address; db, private, with db 10.1.2.10.
 * b (10.2.0.0/16), peered with a: app, public, with app 10.2.1.10 (198.51.100.20). twin (10.1.0.0/16): web, public, with web 10.1.1.10 (198.51.100.30).
 * All are in group open, which lets everything in and out.
 */
export function setting(...edits: readonly ((draft: Draft) => unknown)[]): World {
  const instance =
    (vpc: string, subnet: string, name: string, ip: string, publicIp: string | false) => (draft: Draft) =>
      addInstance(draft, { vpc, subnet, name, ip, publicIp, securityGroups: ['open'] });
  return world(
    (draft) => {
      for (const [vpc, cidr] of [
        ['a', '10.1.0.0/16'],
        ['b', '10.2.0.0/16'],
        ['twin', '10.1.0.0/16'],
      ] as const) {
        createVpc(draft, { name: vpc, cidr });
        putGroup(draft, vpc, 'open', { ingress: [{}] });
      }
      addSubnet(draft, { vpc: 'a', name: 'web', cidr: '10.1.1.0/24', public: true });
      addSubnet(draft, { vpc: 'a', name: 'db', cidr: '10.1.2.0/24' });
      addSubnet(draft, { vpc: 'b', name: 'app', cidr: '10.2.1.0/24', public: true });
    },
    // Later, so that the host's route is a's.
    (draft) => addSubnet(draft, { vpc: 'twin', name: 'web', cidr: '10.1.1.0/24', public: true }),
    instance('a', 'web', 'web', '10.1.1.10', '198.51.100.10'),
    instance('a', 'web', 'bare', '10.1.1.11', false),
    instance('a', 'db', 'db', '10.1.2.10', false),
    instance('b', 'app', 'app', '10.2.1.10', '198.51.100.20'),
    instance('twin', 'web', 'web', '10.1.1.10', '198.51.100.30'),
    (draft) => peer(draft, 'a', 'b'),
    ...edits,
  );
}

export const group = (vpc: string, spec: SecurityGroupSpec) => (draft: Draft) => putGroup(draft, vpc, 'open', spec);
export const policy = (vpc: string, subnet: string, spec: PolicySpec) => (draft: Draft) =>
  applyPolicy(draft, vpc, subnet, spec);

export function ask(
  made: World,
  source: string,
  destination: string,
  port?: number,
  protocol?: string | number,
): Analysis {
  return analyze(made.reader, {
    source,
    destination,
    ...(port === undefined ? {} : { port }),
    ...(protocol === undefined ? {} : { protocol }),
  });
}

/** `component: rule` of each refusal. */
export function refusals({ refusals: found }: Analysis): string[] {
  return found.map(({ component, rule }) => `${component.name}: ${rule}`);
}

/** Kinds of the components on the way. */
export function kinds(analysis: Analysis, direction: 'forward' | 'return' = 'forward'): string[] {
  return analysis[direction].map(({ component }) => component.kind);
}
