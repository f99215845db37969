/** A transaction happens or does not: refusals injected into the real kernel's work, and processes killed in the middle of it. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type KernelObject, open, type Transaction, type Vpcctl, VpcctlError } from '../../src/index.js';
import type { ApplyOptions, Kernel, StageFailure } from '../../src/kernel/kernel.js';
import { RealKernel } from '../../src/kernel/real.js';
import type { Change } from '../../src/objects/change.js';
import { TestHost } from '../harness/host.js';
import { diffHostStates } from '../harness/host-state.mjs';

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
}

/** Creates, changes and deletes something of every kind. */
function rich(tx: Transaction): void {
  tx.createVpc({ name: 'a', cidr: '10.1.0.0/16' });
  tx.addSubnet({ vpc: 'a', name: 'web', cidr: '10.1.1.0/24', public: true });
  tx.addSubnet({ vpc: 'a', name: 'db', cidr: '10.1.2.0/24' });
  tx.putSecurityGroup('a', 'db', { ingress: [{ protocol: 'tcp', port: '5000-5100', from: '10.1.1.0/24' }] });
  tx.addInstance({ vpc: 'a', subnet: 'web', name: 'web' });
  tx.addInstance({ vpc: 'a', subnet: 'db', name: 'db', securityGroups: ['db'] });
  tx.peer('a', 'keep');
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

async function state(vpcctl: Vpcctl): Promise<{ rows: KernelObject[]; spec: unknown }> {
  return { rows: await vpcctl.observe(), spec: vpcctl.export() };
}

describe('a refusal at any change', () => {
  test('leaves everything as it was', { timeout: 600_000 }, async () => {
    const kernel = new RefusingKernel();
    const vpcctl = await open({ state: `${host.stateDir}/refused`, kernel: kernel as Kernel });
    const empty = host.snapshot();
    await vpcctl.transaction(prior);
    const before = await state(vpcctl);
    kernel.seen = 0;
    await vpcctl.transaction(rich);
    const changes = kernel.seen;
    kernel.seen = 0;
    await vpcctl.destroy();
    const deletions = kernel.seen;
    expect(diffHostStates(empty, host.snapshot())).toEqual([]);
    await vpcctl.transaction(prior);

    expect(changes).toBeGreaterThan(150);
    // All of them with VPCCTL_TEST_EVERY=1: minutes. Else spread over all stages.
    const stride = Number(process.env.VPCCTL_TEST_EVERY ?? Math.ceil(changes / 24));
    let tried = 0;
    for (let index = 0; index < changes; index += stride) {
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
      const after = await state(vpcctl);
      expect(after.rows, `rows after a refusal of change ${index}`).toEqual(before.rows);
      expect(after.spec).toEqual(before.spec);
      tried += 1;
    }
    expect(tried).toBeGreaterThanOrEqual(20);
    await vpcctl.transaction(rich);
    expect(await vpcctl.drift()).toEqual([]);

    const full = await state(vpcctl);
    expect(deletions).toBeGreaterThan(0);
    for (let index = 0; index < deletions; index += 1) {
      kernel.seen = 0;
      kernel.refuseAt = index;
      await expect(vpcctl.destroy(), `deletion ${index}`).rejects.toThrow(`injected refusal of change ${index}`);
      kernel.refuseAt = Number.POSITIVE_INFINITY;
      expect(await state(vpcctl), `after a refusal of deletion ${index}`).toEqual(full);
    }
    await vpcctl.destroy();
    await vpcctl.close();
    expect(diffHostStates(empty, host.snapshot())).toEqual([]);
  });
});

describe('a process that is killed', () => {
  const victim = fileURLToPath(new URL('./killed.mjs', import.meta.url));

  test('leaves the old state or the new one, at the next command', { timeout: 600_000 }, async () => {
    const dir = `${host.stateDir}/killed`;
    const empty = host.snapshot();
    const rounds = Number(process.env.VPCCTL_TEST_KILLS ?? 30);
    const ends = new Map<string, number>();
    const seenRecovery: string[] = [];
    for (let round = 0; round < rounds; round += 1) {
      const verb = round % 3 === 2 ? 'destroy' : 'apply';
      const child = spawn(process.execPath, [victim, dir, verb], { stdio: ['ignore', 'pipe', 'inherit'] });
      const exited = once(child, 'exit');
      // It says when its transaction begins; the kill falls anywhere into the work, and sometimes after it.
      await once(child.stdout, 'data');
      await sleep(Math.random() * (round % 2 === 0 ? 60 : 250));
      child.kill('SIGKILL');
      await exited;

      const vpcctl = await open({
        state: dir,
        onEvent: (event) => event.type === 'recovered' && seenRecovery.push(event.what),
      });
      expect(await vpcctl.drift(), `drift after kill ${round}`).toEqual([]);
      const names = vpcctl
        .list()
        .vpcs.map(({ name, subnets }) => `${name}:${subnets.flatMap(({ instances }) => instances).length}`);
      const end = names.join(' ');
      expect(['', 'k:4'], `state after kill ${round}`).toContain(end);
      ends.set(end, (ends.get(end) ?? 0) + 1);
      if (verb === 'destroy') await vpcctl.destroy();
      await vpcctl.close();
    }
    const vpcctl = await open({ state: dir });
    await vpcctl.destroy();
    await vpcctl.close();
    // A run in which every kill came too late or too early would prove nothing.
    expect(seenRecovery.length).toBeGreaterThan(rounds / 10);
    expect(diffHostStates(empty, host.snapshot())).toEqual([]);
  });
});
