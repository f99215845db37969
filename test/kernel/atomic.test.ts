/** A transaction happens or does not: refusals injected into the real kernel's work, and processes killed in the middle of it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type KernelObject,
  MemoryKernel,
  open,
  type Spec,
  type Transaction,
  type Vpcctl,
  VpcctlError,
} from '../../src/index.js';
import type { ApplyOptions, Kernel, StageFailure } from '../../src/kernel/kernel.js';
import { RealKernel } from '../../src/kernel/real.js';
import type { Change } from '../../src/objects/change.js';
import { TestHost } from '../harness/host.js';
import { diffHostStates } from '../harness/host-state.mjs';
import { bring, VERBS } from './killed-verbs.mjs';

/** The real kernel, which refuses the n-th change of a transaction: those before it have happened. */
class RefusingKernel extends RealKernel {
  refuseAt = Number.POSITIVE_INFINITY;
  seen = 0;

  override async apply(changes: readonly Change[], options: ApplyOptions = {}): Promise<StageFailure | undefined> {
    if (options.tolerant === true) return super.apply(changes, options);
    const index = this.refuseAt - this.seen;
    this.seen += changes.length;
    if (index >= changes.length || index < 0) return super.apply(changes, options);
    const refused = changes[index];
    // Of a namespace's firewall nothing happens when one of its changes is refused.
    const isFirewall = ({ row }: Change) => row.kind.startsWith('nft-');
    const before = changes.slice(0, index).filter((one) => !isFirewall(one) || one.row.ns !== refused?.row.ns);
    const firewalled = before.filter(
      (one) =>
        !isFirewall(one) ||
        changes.every((other) => !isFirewall(other) || other.row.ns !== one.row.ns || before.includes(other)),
    );
    // One message makes both ends of a pair: half of one, and an address on it, cannot be.
    const cut = new Set(
      firewalled
        .flatMap(({ op, row }) => (op === 'create' && row.kind === 'link' && row.type === 'veth' ? [row] : []))
        .filter(
          ({ peer }) =>
            !firewalled.some(({ row }) => row.kind === 'link' && row.ns === peer.ns && row.name === peer.name),
        )
        .map(({ ns, name }) => `${ns}/${name}`),
    );
    const whole = firewalled.filter(({ row }) => {
      if (row.kind === 'link') return !cut.has(`${row.ns}/${row.name}`);
      return row.kind !== 'addr' || !cut.has(`${row.ns}/${row.link}`);
    });
    const failure = await super.apply(whole);
    if (failure !== undefined) throw new Error(`the part before the refusal failed: ${failure.error.toLine()}`);
    return { error: new VpcctlError('KERNEL', `injected refusal of change ${this.refuseAt}`), applied: whole };
  }
}

function prior(tx: Transaction): void {
  tx.createVpc({ name: 'keep', cidr: '10.5.0.0/16' });
  tx.addSubnet({ vpc: 'keep', name: 'web', cidr: '10.5.1.0/24', public: true });
  tx.addSubnet({ vpc: 'keep', name: 'db', cidr: '10.5.2.0/24' });
  for (const name of ['w1', 'w2']) tx.addInstance({ vpc: 'keep', subnet: 'web', name });
  tx.addInstance({ vpc: 'keep', subnet: 'db', name: 'd1' });
  tx.createVpc({ name: 'gone', cidr: '10.6.0.0/16' });
  tx.addSubnet({ vpc: 'gone', name: 'app', cidr: '10.6.1.0/24' });
  tx.addInstance({ vpc: 'gone', subnet: 'app', name: 'g1' });
  tx.peer('gone', 'keep');
}

/** Creates, changes and deletes something of every kind. */
function rich(tx: Transaction): void {
  tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
  tx.addSubnet({ vpc: 'a', name: 'web', cidr: '10.1.1.0/24', public: true });
  tx.addSubnet({ vpc: 'a', name: 'db', cidr: '10.1.2.0/24' });
  tx.putSecurityGroup('a', 'db', { ingress: [{ protocol: 'tcp', port: '5000-5100', from: '10.1.1.0/24' }] });
  tx.addInstance({ vpc: 'a', subnet: 'web', name: 'web' });
  tx.addInstance({ vpc: 'a', subnet: 'db', name: 'db', securityGroups: ['db'] });
  tx.unpeer('gone', 'keep');
  tx.deleteVpc('gone', { force: true });
  tx.peer('a', 'keep');
  tx.putSecurityGroup('keep', 'default', { ingress: [{ protocol: 'udp', port: 53, from: 'peers' }] });
  tx.applyPolicy('keep', 'db', { ingress: [{ protocol: 'tcp', port: 80, action: 'allow' }] });
  tx.deleteInstance('keep', 'w2');
  tx.addInstance({ vpc: 'keep', subnet: 'web', name: 'w3' });
}

let host: TestHost;

beforeAll(async () => {
  host = await TestHost.create();
});

afterAll(async () => {
  await host.close();
});

interface State {
  readonly rows: KernelObject[];
  readonly spec: Spec;
  /** Also those that no resource has any more. */
  readonly namespaces: string[];
}

async function state(vpcctl: Vpcctl, kernel: Kernel): Promise<State> {
  return { rows: await vpcctl.observe(), spec: vpcctl.export(), namespaces: (await kernel.namespaces()).sort() };
}

describe('a refusal at any change', () => {
  test('leaves everything as it was', { timeout: 600_000 }, async () => {
    const kernel = new RefusingKernel();
    const vpcctl = await open({ state: `${host.stateDir}/refused`, kernel });
    const empty = host.snapshot();
    await vpcctl.transaction(prior);
    const before = await state(vpcctl, kernel);
    kernel.seen = 0;
    await vpcctl.transaction(rich);
    const changes = kernel.seen;
    kernel.seen = 0;
    await vpcctl.destroy();
    const deletions = kernel.seen;
    expect(diffHostStates(empty, host.snapshot())).toEqual([]);
    await vpcctl.transaction(prior);

    expect(changes).toBeGreaterThan(150);
    for (let index = 0; index < changes; index += 1) {
      kernel.seen = 0;
      kernel.refuseAt = index;
      // Deletions behind the commit are carried out whatever happens, so only what comes before can be refused.
      const error = await vpcctl.transaction(rich).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      kernel.refuseAt = Number.POSITIVE_INFINITY;
      expect(error, `change ${index}`).toBeInstanceOf(VpcctlError);
      expect((error as VpcctlError).message).toBe(`injected refusal of change ${index}`);
      expect(await state(vpcctl, kernel), `after a refusal of change ${index}`).toEqual(before);
    }
    await vpcctl.transaction(rich);
    expect(await vpcctl.drift()).toEqual([]);

    const full = await state(vpcctl, kernel);
    expect(deletions).toBeGreaterThan(0);
    for (let index = 0; index < deletions; index += 1) {
      kernel.seen = 0;
      kernel.refuseAt = index;
      await expect(vpcctl.destroy(), `deletion ${index}`).rejects.toThrow(`injected refusal of change ${index}`);
      kernel.refuseAt = Number.POSITIVE_INFINITY;
      expect(await state(vpcctl, kernel), `after a refusal of deletion ${index}`).toEqual(full);
    }
    await vpcctl.destroy();
    await vpcctl.close();
    expect(diffHostStates(empty, host.snapshot())).toEqual([]);
  });
});

describe('a process that is killed', () => {
  const victim = fileURLToPath(new URL('./killed.mjs', import.meta.url));

  /** What a verb makes of a state, where nothing goes wrong. */
  async function outcome(verb: string, from: Spec): Promise<Spec> {
    const shadow = await open({ state: `${host.stateDir}/shadow-${verb}`, kernel: new MemoryKernel() });
    await bring(shadow, from);
    await VERBS[verb]?.run(shadow);
    const made = shadow.export();
    await shadow.close();
    return made;
  }

  test('leaves the old state or the new one, at the next command, which says so', { timeout: 600_000 }, async () => {
    const state = `${host.stateDir}/killed`;
    const empty = host.snapshot();
    const rounds = process.env.VPCCTL_TEST_EVERY === undefined ? 30 : 300;
    const names = Object.keys(VERBS);
    const outcomes = new Map<string, Spec>();
    for (const verb of names) outcomes.set(verb, await outcome(verb, (VERBS[verb] as { from: Spec }).from));
    // How long each may go on. It follows what happens: a kill that comes too late, or before anything, proves nothing.
    const spans = new Map(names.map((verb) => [verb, 30]));
    const ends: Record<string, number> = {};
    for (let round = 0; round < rounds; round += 1) {
      const verb = names[round % names.length] as string;
      const before = await open({ state });
      await bring(before, (VERBS[verb] as { from: Spec }).from);
      const old = before.export();
      await before.close();

      const child = spawn(process.execPath, [victim, state, verb], { stdio: ['ignore', 'pipe', 'inherit'] });
      const exited = once(child, 'exit');
      await once(child.stdout, 'data');
      const span = spans.get(verb) as number;
      await sleep(Math.random() * span);
      child.kill('SIGKILL');
      await exited;

      const said: string[] = [];
      const vpcctl = await open({ state, onEvent: (event) => event.type === 'recovered' && said.push(event.what) });
      expect(await vpcctl.drift(), `drift after kill ${round}, of ${verb}`).toEqual([]);
      const now = vpcctl.export();
      await vpcctl.close();
      const isOld = isDeepStrictEqual(now, old);
      if (!isOld) expect(now, `state after kill ${round}, of ${verb}`).toEqual(outcomes.get(verb));
      const end = said.length > 0 ? said.join() : isOld ? 'not begun' : 'done';
      if (end === 'undone') expect(isOld).toBe(true);
      if (end === 'finished') expect(isOld).toBe(false);
      spans.set(verb, end === 'done' ? span * 0.8 : end === 'not begun' ? span * 1.25 : span);
      ends[end] = (ends[end] ?? 0) + 1;
    }
    console.log(`after ${rounds} kills`, ends);
    const vpcctl = await open({ state });
    await vpcctl.destroy();
    await vpcctl.close();
    expect((ends.undone ?? 0) + (ends.finished ?? 0)).toBeGreaterThan(rounds / 10);
    expect(diffHostStates(empty, host.snapshot())).toEqual([]);
  });
});
