/**
 * The analyzer against the kernel: random models are made, and every two ends of each send each other packets. What the analyzer says of a packet is what
 * becomes of it, before and after random changes of the running model.
 *
 * A run prints its seed; a model's own seed is printed where it fails. `VPCCTL_TEST_SEED` begins with that model, `VPCCTL_TEST_EVERY=1` takes ten times as many.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Analysis, formatSpec, open, type Query, type Spec, type Vpcctl, VpcctlError } from '../../src/index.js';
import { type Probe, type ProbeOutcome, type ProbeProtocol, Prober } from '../../src/kernel/prober.js';
import {
  HOST_ADDRESS,
  HOST_ADDRESS6,
  INTERNET,
  INTERNET_GATEWAY,
  INTERNET_GATEWAY6,
  INTERNET_SERVER,
  INTERNET_SERVER6,
  TestHost,
} from '../harness/host.js';
import { ipDo } from '../harness/witness.js';
import { randomOf } from '../kernel/rivals.mjs';
import { Chance, changed, NEAR6, POOL6, randomSpec, smaller, TCP_PORTS, UDP_PORTS } from './worlds.js';

const EVERY = process.env.VPCCTL_TEST_EVERY !== undefined;
const MODELS = EVERY ? 200 : 20;
const CHANGES = 2;
/** A refused packet is waited for so long; who seems to have been refused and should not have been is asked again. */
const BRIEF_MS = 250;
const PATIENT_MS = 2_000;
const SHRINK_MS = 120_000;

const EARS = [
  ...TCP_PORTS.map((port) => ({ protocol: 'tcp', port }) as const),
  ...UDP_PORTS.map((port) => ({ protocol: 'udp', port }) as const),
  { protocol: 'icmp', port: 0 } as const,
];
/** Public addresses, of which none is the last: nobody has that. */
const POOL = '198.51.100.0/24';
const NOBODYS = '198.51.100.254';
/** The host as instances name it. */
const HOST_INSIDE = '169.254.128.1';
const HOST_INSIDE6 = 'fd76:7063:6300::1';
const OUTSIDE = [INTERNET_SERVER, INTERNET_GATEWAY] as const;
/** The last is of a network near the host. */
const OUTSIDE6 = [INTERNET_SERVER6, INTERNET_GATEWAY6, NEAR6] as const;
/** Of the pool, and of no VPC. */
const NOBODYS6 = 'fd76:7063:63ff::1';

let host: TestHost;

beforeAll(async () => {
  host = await TestHost.create({ routedToHost: [POOL, POOL6], ipv6: true });
  await ipDo(['addr', 'add', `${NEAR6}/128`, 'dev', 'lo', 'nodad'], INTERNET);
});

afterAll(async () => {
  await host.close();
});

// --- a model in the kernel -------------------------------------------------------------------------------------------

/** One question, and the packet that is the same. */
interface Asked {
  readonly query: Query;
  /** Whose prober sends it: `a/i1`, `internet`, `host`. */
  readonly from: string;
  readonly probe: Omit<Probe, 'timeoutMs'>;
}

interface Answered extends Asked {
  readonly analysis: Analysis;
  readonly outcome: ProbeOutcome;
  /** Who got it, of those that have it noted: not of TCP. */
  readonly gotBy: readonly string[];
}

class World {
  readonly vpcctl: Vpcctl;
  readonly #probers = new Map<string, Prober>();

  private constructor(vpcctl: Vpcctl) {
    this.vpcctl = vpcctl;
  }

  static async open(): Promise<World> {
    return new World(await open({ state: `${host.stateDir}/differential` }));
  }

  /** Whether the cloud's rules allow it. */
  async allows(spec: Spec): Promise<boolean> {
    try {
      await this.vpcctl.plan(spec);
      return true;
    } catch (error) {
      if (error instanceof VpcctlError && ['INVALID', 'NOT_FOUND', 'CONFLICT'].includes(error.code)) return false;
      throw error;
    }
  }

  /** Makes it, with a prober in every namespace that packets come from or go to. */
  async build(spec: Spec, only?: ReadonlySet<string>): Promise<void> {
    await this.vpcctl.apply(spec);
    const places: [string, string][] = [
      ['internet', `/run/netns/${INTERNET}`],
      ['host', ''],
      ...this.instances().map(({ end, namespace }): [string, string] => [end, `/run/netns/${namespace}`]),
    ];
    const wanted = places.filter(([end]) => only === undefined || only.has(end));
    await Promise.all(
      wanted.map(async ([end, path]) => {
        const prober = await Prober.start(path);
        this.#probers.set(end, prober);
        expect(await prober.listen(EARS)).toEqual(EARS.map(() => 'listening'));
      }),
    );
  }

  instances() {
    return this.vpcctl.list().vpcs.flatMap(({ name: vpc }) => {
      const { peers, subnets, natGateways, dns } = this.vpcctl.inspect(vpc);
      const nats = natGateways.flatMap(({ ip, publicIp }) => [ip, ...(publicIp === null ? [] : [publicIp])]);
      return subnets.flatMap(({ gateway, ipv6Cidr, reachableFromHost, instances }) => {
        const gateway6 = ipv6Cidr?.replace(/::\/64$/, '::1') ?? null;
        const resolvers = dns?.addresses ?? [];
        return instances.map((one) => ({
          ...one,
          vpc,
          peers,
          nats,
          gateway,
          gateway6,
          resolvers,
          reachableFromHost,
          end: `${vpc}/${one.name}`,
        }));
      });
    });
  }

  async close(): Promise<void> {
    await Promise.all([...this.#probers.values()].map(async (prober) => prober.close()));
    this.#probers.clear();
    await this.vpcctl.destroy();
    await this.vpcctl.close();
  }

  /** Every end by every end, by each address that it has; and what is no instance. */
  questions(): Asked[] {
    const instances = this.instances();
    const found: Asked[] = [];
    const ask = (from: string, source: string, destination: string, address: string, own?: string): void => {
      for (const { protocol, port } of EARS) {
        found.push({
          query: { source, destination, protocol, ...(protocol === 'icmp' ? {} : { port }) },
          from,
          probe: { protocol, port, address, ...(own === undefined ? {} : { source: own }) },
        });
      }
    };
    for (const one of instances) {
      for (const to of instances) {
        ask(one.end, one.end, to.end, to.ip);
        if (to.publicIp !== null) ask(one.end, one.end, `${to.end}@public`, to.publicIp);
        if (one.ipv6 !== null && to.ipv6 !== null) ask(one.end, one.end, `${to.end}@ipv6`, to.ipv6);
        // An own one would be its source too, and one of a VPC that it is not peered with is for it an address of the internet.
        const isNear = to !== one && [one.vpc, ...one.peers].includes(to.vpc);
        for (const further of isNear ? to.secondaryIps : []) ask(one.end, one.end, further, further);
      }
      for (const address of OUTSIDE) ask(one.end, one.end, `internet:${address}`, address);
      ask(one.end, one.end, 'host', HOST_INSIDE);
      const near = instances.filter(({ vpc }) => one.peers.includes(vpc)).slice(0, 1);
      const routers = [one, ...near].map(({ gateway }) => gateway);
      // The first is the VPC's own; the other, which all have, is not to be found behind a peer.
      const resolvers = [...one.resolvers, ...near.flatMap((peer) => peer.resolvers.slice(0, 1))];
      for (const address of new Set([...routers, ...resolvers, ...one.nats, NOBODYS])) {
        ask(one.end, one.end, address, address);
      }
      const near6 = near.flatMap(({ gateway6 }) => gateway6 ?? []);
      const all6 =
        one.ipv6 === null ? [] : [...near6, one.gateway6 ?? [], `${one.ipv6.replace(/::.*$/, '')}::beef`].flat();
      for (const address of new Set(all6)) ask(one.end, one.end, address, address);
      if (one.ipv6 !== null) {
        for (const address of OUTSIDE6) {
          ask(one.end, one.end, `internet:${address}`, address);
          ask('internet', `internet:${address}`, `${one.end}@ipv6`, one.ipv6, address);
        }
        ask(one.end, one.end, 'host@ipv6', HOST_INSIDE6);
        ask(one.end, one.end, NOBODYS6, NOBODYS6);
        ask('host', 'host', `${one.end}@ipv6`, one.ipv6);
      }
      for (const address of OUTSIDE) {
        if (one.publicIp !== null) ask('internet', `internet:${address}`, one.end, one.publicIp, address);
      }
      ask('host', 'host', one.end, one.ip);
      for (const further of one.reachableFromHost ? one.secondaryIps : []) ask('host', 'host', further, further);
      if (one.publicIp !== null) ask('host', 'host', `${one.end}@public`, one.publicIp);
    }
    ask('host', 'host', NOBODYS, NOBODYS);
    return found;
  }

  /** Sends them all at once, by new connections each. */
  async answers(asked: readonly Asked[], timeoutMs: number): Promise<Answered[]> {
    const outcomes = new Map<Asked, ProbeOutcome>();
    const sent = Promise.all(
      [...this.#probers].map(async ([end, prober]) => {
        const own = asked.filter(({ from }) => from === end);
        const results = await prober.probe(own.map(({ probe }) => ({ ...probe, timeoutMs })));
        for (const [at, one] of own.entries()) outcomes.set(one, results[at] as ProbeOutcome);
      }),
    );
    sent.catch(() => {
      // Waited for below, if nothing is thrown before.
    });
    // The packets are on their way before this process is busy.
    await sleep(1);
    const analyses = asked.map(({ query }) => this.vpcctl.analyze(query));
    await sent;
    const got = new Map<string, string[]>();
    for (const [end, prober] of this.#probers) {
      const { found, lost } = await prober.arrivals();
      expect(lost).toBe(0);
      for (const { token } of found) if (token !== null) got.set(token, [...(got.get(token) ?? []), end]);
    }
    return asked.map((one, at): Answered => {
      const outcome = outcomes.get(one) as ProbeOutcome;
      return { ...one, outcome, analysis: analyses[at] as Analysis, gotBy: got.get(outcome.token) ?? [] };
    });
  }

  /** What is wrong with it; undefined: the analyzer and the kernel agree. */
  disagreement({ analysis, outcome, gotBy, probe }: Answered): string | undefined {
    const expected = this.#receiver(analysis);
    if (outcome.verdict === 'error') return `the packet was not sent: ${outcome.errno}`;
    const answeredBy = this.#answeredBy(outcome, probe.protocol, gotBy);
    // Who answers there is no prober.
    const isService = analysis.query.destination.kind === 'resolver' && probe.protocol !== 'icmp';
    const reached = isService ? outcome.verdict === 'open' : outcome.verdict === 'answered' && answeredBy === expected;
    if (reached !== analysis.reachable) {
      const what = outcome.verdict === 'answered' ? `answered by ${answeredBy}` : outcome.verdict;
      return `the analyzer says ${analysis.reachable ? 'reachable' : 'not reachable'}, the packet was ${what}`;
    }
    const isKeptBack = analysis.refusals.some(({ direction }) => direction === 'forward');
    if (isKeptBack && expected !== undefined && gotBy.includes(expected)) {
      return `the analyzer says that it is refused on its way, and it arrived`;
    }
    if (reached && outcome.answer !== undefined) {
      const seen = this.#sourceSeen(analysis);
      if (seen !== outcome.answer.address) return `it should come from ${seen}, it came from ${outcome.answer.address}`;
    }
    return undefined;
  }

  /** Whose prober the packet is for; undefined: it is for a router, or for nobody. */
  #receiver({ query: { destination } }: Analysis): string | undefined {
    switch (destination.kind) {
      case 'instance':
        return `${destination.vpc}/${destination.name}`;
      case 'host':
      case 'internet':
        return destination.kind;
      default:
        return undefined;
    }
  }

  #answeredBy({ answer }: ProbeOutcome, protocol: ProbeProtocol, gotBy: readonly string[]): string | undefined {
    if (protocol === 'icmp') return gotBy[0];
    return [...this.#probers].find(([, { id }]) => id === answer?.by)?.[0];
  }

  #sourceSeen({ forward }: Analysis): string | undefined {
    const last = forward.findLast(({ translation }) => translation?.field === 'source')?.translation?.to;
    // The analyzer does not know the host's addresses.
    const sent = forward.at(-1)?.packet.source;
    if (last !== undefined && !/^[0-9.]+$|:/.test(last)) return sent?.includes(':') ? HOST_ADDRESS6 : HOST_ADDRESS;
    return sent;
  }

  /** Asks everything, and what does not agree with the analyzer once more, with patience. */
  async examine(asked: readonly Asked[]): Promise<{ answered: readonly Answered[]; wrong: readonly Answered[] }> {
    const answered = await this.answers(asked, BRIEF_MS);
    const doubtful = answered.filter((one) => this.disagreement(one) !== undefined);
    const again = doubtful.length === 0 ? [] : await this.answers(doubtful, PATIENT_MS);
    return { answered, wrong: again.filter((one) => this.disagreement(one) !== undefined) };
  }
}

// --- what is told of a disagreement ----------------------------------------------------------------------------------

function describeAnswer(world: World, one: Answered): string {
  const { query, outcome, analysis } = one;
  const hops = (title: string, way: Analysis['forward']): string[] =>
    way.map(
      ({ component, decision, rule, packet, assumed }) =>
        `  ${title} ${component.name} ${decision}${assumed === true ? ' (assumed)' : ''}: ${rule} [${packet.source} → ${packet.destination}]`,
    );
  return [
    `${query.source} → ${query.destination} ${query.protocol} ${query.port ?? ''}: ${world.disagreement(one) ?? 'agreed'}`,
    `  outcome ${JSON.stringify(outcome)}, noted by ${one.gotBy.join(', ') || 'nobody'}`,
    ...hops('there', analysis.forward),
    ...hops('back ', analysis.return),
  ].join('\n');
}

/** What remains wrong of this question in a model that is made anew. */
async function wrongAnew(spec: Spec, { query, from }: Asked): Promise<{ told: string; spec: Spec } | undefined> {
  const world = await World.open();
  try {
    if (!(await world.allows(spec))) return undefined;
    const ends = [from, query.destination.replace(/@.*$/, '').replace(/^internet.*$/, 'internet')];
    await world.build(spec, new Set(ends));
    const same = world.questions().filter((one) => JSON.stringify(one.query) === JSON.stringify(query));
    const [wrong] = (await world.examine(same)).wrong;
    return wrong === undefined ? undefined : { told: describeAnswer(world, wrong), spec: world.vpcctl.export() };
  } finally {
    await world.close();
  }
}

/** The model with everything left out that the disagreement does not need. */
async function shrunk(spec: Spec, asked: Asked): Promise<string> {
  let found = await wrongAnew(spec, asked);
  if (found === undefined) return 'In a model made anew it agrees: it is the change that matters.';
  const until = Date.now() + SHRINK_MS;
  for (let progress = true; progress && Date.now() < until; ) {
    progress = false;
    for (const candidate of smaller(found.spec)) {
      if (Date.now() >= until) break;
      const still = await wrongAnew(candidate, asked);
      if (still === undefined) continue;
      found = still;
      progress = true;
      break;
    }
  }
  return `${found.told}\n\n${await formatSpec(found.spec, 'yaml')}`;
}

// --- the test --------------------------------------------------------------------------------------------------------

const sum = { models: 0, refused: 0, changes: 0, probes: 0, allowed: 0, denied: 0, disagreements: 0, ms: 0 };

async function examineModel(seed: number): Promise<void> {
  const chance = new Chance(randomOf(seed));
  const world = await World.open();
  let failure: { spec: Spec; before: Spec | undefined; wrong: readonly Answered[]; told: string } | undefined;
  try {
    let spec = randomSpec(chance);
    while (!(await world.allows(spec))) {
      sum.refused += 1;
      spec = randomSpec(chance);
    }
    await world.build(spec);
    sum.models += 1;
    let before: Spec | undefined;
    for (let round = 0; round <= CHANGES; round++) {
      const begun = performance.now();
      const { answered, wrong } = await world.examine(world.questions());
      sum.ms += performance.now() - begun;
      sum.probes += answered.length;
      const allowed = answered.filter(({ analysis }) => analysis.reachable).length;
      sum.allowed += allowed;
      sum.denied += answered.length - allowed;
      sum.disagreements += wrong.length;
      const [first] = wrong;
      if (first !== undefined) {
        failure = { spec: world.vpcctl.export(), before, wrong, told: describeAnswer(world, first) };
        break;
      }
      if (round === CHANGES) break;
      before = world.vpcctl.export();
      for (let steps = chance.int(1, 3); steps > 0; ) {
        const next = changed(chance, spec);
        if (!(await world.allows(next))) continue;
        spec = next;
        steps -= 1;
      }
      await world.vpcctl.apply(spec);
      sum.changes += 1;
    }
  } finally {
    await world.close();
  }
  if (failure === undefined) return;
  const small = await shrunk(failure.spec, failure.wrong[0] as Answered);
  throw new Error(
    [
      `VPCCTL_TEST_SEED=${seed}: ${failure.wrong.length} packets disagree, as this one:\n${failure.told}`,
      `made smaller:\n${small}`,
      `the whole model:\n${await formatSpec(failure.spec, 'yaml')}`,
      ...(failure.before === undefined ? [] : [`before the change:\n${await formatSpec(failure.before, 'yaml')}`]),
    ].join('\n\n'),
  );
}

test(`the analyzer says what packets find, in ${MODELS} random models`, {
  timeout: EVERY ? 3_600_000 : 600_000,
}, async () => {
  const seed = Number(process.env.VPCCTL_TEST_SEED ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`seed: VPCCTL_TEST_SEED=${seed}`);
  const begun = performance.now();
  try {
    for (let model = 0; model < MODELS; model++) await examineModel(seed + model);
  } finally {
    const { ms, ...counts } = sum;
    const seconds = Math.round((performance.now() - begun) / 100) / 10;
    console.log({ ...counts, perSecond: Math.round(sum.probes / (ms / 1000)), seconds });
  }
  expect(sum.disagreements).toBe(0);
  // Were all packets refused, or none, the agreement would say nothing.
  expect(sum.allowed).toBeGreaterThan(sum.probes * 0.05);
  expect(sum.denied).toBeGreaterThan(sum.probes * 0.3);
  expect(sum.probes).toBeGreaterThan(MODELS * 1_000);
});
