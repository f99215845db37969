/** What holds of every answer in any model, and what the firewall that is lowered from the model says of the same packets. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { answer } from '../../../src/analyze/analyze.js';
import {
  HOST,
  hostEnd,
  INTERNET,
  INTERNET6,
  instanceEnd,
  outside,
  trafficBetween,
  trafficOf,
} from '../../../src/analyze/endpoints.js';
import { Lookup } from '../../../src/analyze/lookup.js';
import { matrix } from '../../../src/analyze/matrix.js';
import type { Analysis, Endpoint } from '../../../src/analyze/types.js';
import { Admission } from '../../../src/lower/admits.js';
import { getKind } from '../../../src/model/reader.js';
import { type Instance, ids, type SecurityGroup } from '../../../src/model/resources.js';
import { addInstance, addSubnet, createVpc, peer, putGroup } from '../../../src/model/verbs.js';
import { type Ip, isIp6 } from '../../../src/net/cidr.js';
import { attempt, plainTransactions, transactions, World } from '../model/support.js';
import { assertProperty } from '../net/property.js';

const TRAFFIC = [
  trafficOf({ protocol: 'icmp' }),
  trafficOf({ protocol: 'tcp', port: 80 }),
  trafficOf({ protocol: 'tcp', port: 5432 }),
  trafficOf({ protocol: 'udp', port: 53 }),
  trafficOf({ protocol: 47 }),
] as const;

const GATES: readonly string[] = ['security-groups', 'policy', 'network-acl'];

interface Asked {
  readonly from: Instance | Endpoint;
  readonly to: Instance | Endpoint;
  readonly traffic: (typeof TRAFFIC)[number];
  readonly analysis: Analysis;
}

function instancesOf(made: World): Instance[] {
  return made.all().flatMap((resource) => (resource.kind === 'instance' ? [resource] : []));
}

const isInstance = (end: Instance | Endpoint): end is Instance => !('address' in end);

/** The end by its IPv6 address, if it has one. */
function inIpv6(lookup: Lookup, end: Instance | Endpoint): Endpoint | undefined {
  if (isInstance(end)) return end.ipv6 === undefined ? undefined : instanceEnd(end, 'ipv6');
  return end.kind === 'host' ? hostEnd(lookup, 6) : INTERNET6;
}

/** Every question of two ends, instances by all their addresses. */
function everything(made: World): Asked[] {
  const lookup = new Lookup(made.reader);
  const all = instancesOf(made);
  const ends: readonly (Instance | Endpoint)[] = [...all, INTERNET, HOST];
  const asked: Asked[] = [];
  for (const from of ends) {
    for (const to of ends) {
      if (from === to || !(isInstance(from) || isInstance(to))) continue;
      const source = isInstance(from) ? instanceEnd(from, 'private') : from;
      const ways = isInstance(to)
        ? [...(source.kind === 'internet' ? [] : [instanceEnd(to, 'private')]), instanceEnd(to, 'public')]
        : [to];
      for (const traffic of TRAFFIC) {
        for (const destination of ways) {
          const analysis = answer(lookup, { ...outside(lookup, source, destination), ...traffic });
          asked.push({ from, to, traffic, analysis });
        }
        const [source6, destination6] = [inIpv6(lookup, from), inIpv6(lookup, to)];
        if (source6 === undefined || destination6 === undefined) continue;
        const traffic6 = trafficBetween(traffic, 6);
        const analysis = answer(lookup, { ...outside(lookup, source6, destination6), ...traffic6 });
        asked.push({ from, to, traffic: traffic6, analysis });
      }
    }
  }
  return asked;
}

/** Of any sequence of transactions, the world it makes. */
function eachWorld(check: (made: World) => void, of = transactions): void {
  assertProperty(
    fc.property(of, (steps) => {
      const made = new World();
      for (const transaction of steps) attempt(made, transaction);
      check(made);
    }),
  );
}

const ECHO: Readonly<Record<number, { readonly icmp: { readonly type: number; readonly code: number } }>> = {
  1: { icmp: { type: 8, code: 0 } },
  58: { icmp: { type: 128, code: 0 } },
};

describe('in any model', () => {
  test('an answer says who refuses exactly when it is no', () => {
    eachWorld((made) => {
      for (const { analysis } of everything(made)) {
        const refused = [...analysis.forward, ...analysis.return].filter(({ decision }) => decision === 'refuses');
        expect(analysis.refusals).toHaveLength(refused.length);
        expect(analysis.reachable).toBe(refused.length === 0);
        // The answer arrives where the question came from.
        if (analysis.reachable) {
          expect(analysis.return.at(-1)?.packet.destination).toBe(analysis.query.source.address);
          expect(analysis.return.at(-1)?.component).toEqual(analysis.forward[0]?.component);
        }
      }
    });
  });

  test('a way between private addresses leads both ways', () => {
    eachWorld((made) => {
      const lookup = new Lookup(made.reader);
      const leads = (from: Instance, to: Instance): boolean =>
        answer(lookup, {
          source: instanceEnd(from, 'private'),
          destination: instanceEnd(to, 'private'),
          ...TRAFFIC[0],
        }).refusals.every(({ component }) => GATES.includes(component.kind));
      const all = instancesOf(made);
      for (const from of all) for (const to of all) expect(leads(from, to)).toBe(leads(to, from));
    });
  });

  test('one more rule of a group takes nothing away', () => {
    eachWorld((made) => {
      const key = ({ from, to, traffic, analysis: { query } }: Asked): string =>
        JSON.stringify([from, to, traffic, query.destination.address]);
      const before = new Set(everything(made).flatMap((one) => (one.analysis.reachable ? [key(one)] : [])));
      made.transact((draft) => {
        for (const resource of made.all()) {
          if (resource.kind !== 'group') continue;
          const more = { protocol: 6, ports: { from: 80, to: 80 }, party: { type: 'vpc' } } as const;
          draft.put({ ...resource, ingress: [more, ...resource.ingress], egress: [...resource.egress, more] });
        }
      });
      const after = new Set(everything(made).flatMap((one) => (one.analysis.reachable ? [key(one)] : [])));
      for (const one of before) expect(after).toContain(one);
    });
  });

  test('nothing reaches an instance whose groups and policy say nothing', () => {
    eachWorld((made) => {
      made.transact((draft) => {
        for (const resource of made.all()) {
          if (resource.kind === 'group') draft.put({ ...resource, ingress: [] } satisfies SecurityGroup);
          if (resource.kind === 'subnet' && resource.policy !== undefined) {
            draft.put({ ...resource, policy: { ...resource.policy, ingress: [] } });
          }
        }
      });
      for (const { to, analysis } of everything(made)) if (isInstance(to)) expect(analysis.reachable).toBe(false);
    });
  });

  // What routes decide is not the firewall's.
  test('the firewall that is made of it says the same', () => {
    eachWorld((made) => {
      const uplink = getKind(made.reader, 'edge', 'edge')?.uplink;
      const rows = [...made.rows.values()].flat();
      const routers = new Map<string, Admission>();
      const at = (vpc: string): Admission => {
        const known = routers.get(vpc) ?? new Admission(rows.filter((row) => 'ns' in row && row.ns === `vpc.${vpc}`));
        routers.set(vpc, known);
        return known;
      };
      for (const { from, to, traffic, analysis } of everything(made)) {
        const { source, destination } = analysis.query;
        // What the host and its uplink do is not in a router.
        if (uplink === undefined && [source.kind, destination.kind].includes('internet')) continue;
        if (source.kind === 'host' && destination.kind === 'instance' && destination.by === 'private') {
          const subnet = getKind(made.reader, 'subnet', ids.subnet(destination.vpc, destination.subnet));
          if (subnet?.hostRoute !== true) continue;
        }
        if (destination.kind === 'host') continue;
        // No router speaks of an instance of another VPC by an address that is its own's too.
        const inside = isInstance(to) && [to.ip, to.ipv6].includes(destination.address as never);
        if (isInstance(from) && isInstance(to) && from.vpc !== to.vpc && inside) {
          if (getKind(made.reader, 'peering', ids.peering(from.vpc, to.vpc)) === undefined) continue;
        }
        const echo = ECHO[traffic.protocol.number] ?? {};
        const ports = traffic.port === null ? {} : { port: traffic.port };
        const common = { protocol: traffic.protocol.number, ...ports, ...echo };
        const byPublic = destination.kind === 'instance' && destination.by === 'public';
        const leaves = byPublic || destination.kind === 'internet';
        const isDual = isIp6(source.address as Ip);
        const seen = isInstance(from) && leaves && !isDual ? (from.publicIp ?? '192.0.2.99') : source.address;
        const verdicts: (boolean | undefined)[] = [];
        const one = { ...common, source: source.address, destination: destination.address };
        const split = leaves || !isInstance(from) || !isInstance(to) || from.vpc !== to.vpc;
        if (isInstance(from)) {
          verdicts.push(at(from.vpc).admits({ ...one, answersFrom: destination.address, answersTo: seen }));
        }
        if (isInstance(to) && split) {
          verdicts.push(
            at(to.vpc).admits({ ...one, source: seen, answersFrom: (isDual ? to.ipv6 : to.ip) ?? '', answersTo: seen }),
          );
        }
        // Network ACLs have no part in what of a connection is tracked.
        const admitted = analysis.refusals.every(({ component }) => component.kind === 'network-acl');
        expect([admitted, source, destination, traffic]).toEqual([
          verdicts.every((verdict) => verdict === true),
          source,
          destination,
          traffic,
        ]);
      }
    }, plainTransactions);
  });
});

describe('the matrix', () => {
  test('says of every pair what a question says', () => {
    eachWorld((made) => {
      const { ends, cells } = matrix(made.reader, { port: 80 });
      const lookup = new Lookup(made.reader);
      const found = new Map(instancesOf(made).map((one) => [`${one.vpc}/${one.name}`, one]));
      for (const [row, from] of ends.entries()) {
        for (const [column, to] of ends.entries()) {
          const [source, target] = [found.get(from), found.get(to)];
          const cell = cells[row]?.[column];
          if (from === to || (source === undefined && target === undefined)) {
            expect(cell).toBeNull();
            continue;
          }
          const end = (name: string): Endpoint => (name === 'host' ? HOST : INTERNET);
          const asking = source === undefined ? end(from) : instanceEnd(source, 'private');
          const reached = (['private', 'public'] as const).map(
            (by) =>
              answer(lookup, {
                ...outside(lookup, asking, target === undefined ? end(to) : instanceEnd(target, by)),
                ...TRAFFIC[1],
              }).reachable,
          );
          const first = from === 'internet' ? reached[1] : reached[0];
          expect(cell).toBe(first ? 'yes' : reached[1] ? 'public' : 'no');
        }
      }
    });
  });

  test('of 200 instances takes no time to speak of', () => {
    const made = new World();
    made.transact((draft) => {
      for (const vpc of ['a', 'b', 'c', 'd']) {
        createVpc(draft, { name: vpc, cidr: `10.${vpc.charCodeAt(0)}.0.0/16` });
        putGroup(draft, vpc, 'web', {
          ingress: Array.from({ length: 50 }, (_, at) => ({ protocol: 'tcp', port: 80, from: `10.200.${at}.0/24` })),
        });
        addSubnet(draft, { vpc, name: 's', cidr: `10.${vpc.charCodeAt(0)}.1.0/24`, public: true });
        for (let at = 0; at < 50; at += 1) {
          addInstance(draft, {
            vpc,
            subnet: 's',
            name: `i${at}`,
            securityGroups: at % 2 === 0 ? ['default'] : ['web'],
          });
        }
      }
      peer(draft, 'a', 'b');
      peer(draft, 'b', 'c');
    });
    const started = performance.now();
    const { ends, cells } = matrix(made.reader, { port: 80 });
    const took = performance.now() - started;
    expect(ends).toHaveLength(202);
    expect(cells.flat().filter((cell) => cell === 'yes').length).toBeGreaterThan(1000);
    expect(took).toBeLessThan(5_000);
  });
});
