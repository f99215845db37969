/** Making and unmaking a small network on nothing, so that what the first transaction needs is loaded and compiled. */
import type { Kernel } from '../kernel/kernel.js';
import { applySpec, destroySpec } from '../model/spec.js';
import { validateSpec } from '../spec/schema.js';
import type { Spec } from '../spec/types.js';
import { Engine } from './engine.js';
import type { Locking } from './locks.js';
import { Store } from './store.js';

/** JavaScript is compiled better once it has run some times; about 0.1 s in all. */
const TIMES = 8;

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
    }
  } finally {
    store.close();
  }
}
