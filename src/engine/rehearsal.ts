/** Making and unmaking a small network on nothing, so that what the first transaction needs is loaded and compiled. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Kernel } from '../kernel/kernel.js';
import { applySpec, destroySpec } from '../model/spec.js';
import { validateSpec } from '../spec/schema.js';
import type { Spec } from '../spec/types.js';
import { Engine } from './engine.js';
import type { Locking } from './locks.js';
import { Store } from './store.js';

/** JavaScript is compiled better once it has run some times; about 0.25 s in all. */
const TIMES = 16;
/** V8 compiles on threads of its own, beside the code that it is to make faster: on 2 cores the first transaction took twice as long while they did. */
const PAUSE_MS = 2;
const LAST_PAUSE_MS = 20;

/** A bit of everything that has code of its own. */
const NETWORK: Spec = {
  vpcs: {
    rehearsal: {
      cidr: '10.0.0.0/16',
      subnets: { own: { cidr: '10.0.0.0/24' } },
      securityGroups: {
        all: {
          ingress: [
            { protocol: 'tcp', port: 80, from: 'any' },
            { protocol: 'tcp', port: '8000-8100', from: '10.0.0.0/8' },
            { protocol: 'icmp', from: 'any' },
          ],
        },
      },
      instances: Object.fromEntries(
        Array.from({ length: 8 }, (_, index) => [
          `instance-${index}`,
          { subnet: 'own', securityGroups: index % 2 === 0 ? ['all'] : ['default'] },
        ]),
      ),
    },
  },
};

const NO_LOCKS: Locking = { acquire: async () => () => {}, tryAcquire: () => () => {}, close: () => {} };

/** Rehearses on `kernel`, which touches nothing ({@link Kernel.rehearsal}), and a state in memory. */
export async function rehearse(kernel: Kernel): Promise<void> {
  const store = new Store(undefined);
  const engine = new Engine(store, kernel, NO_LOCKS);
  try {
    for (let time = 0; time < TIMES; time += 1) {
      await engine.transact((draft) => applySpec(draft, validateSpec(NETWORK)));
      await engine.transact((draft) => destroySpec(draft, NETWORK));
      await sleep(PAUSE_MS);
    }
    await sleep(LAST_PAUSE_MS);
  } finally {
    store.close();
  }
}
