import { afterAll, beforeAll } from 'vitest';
import { RealKernel } from '../../src/kernel/real.js';
import { kernelContract } from '../contract/kernel-contract.js';
import { TestHost, UPLINK } from '../harness/host.js';
import { sitIn } from '../harness/sitter.js';
import { ipDo } from '../harness/witness.js';

let host: TestHost;
const kernel = new RealKernel();

beforeAll(async () => {
  host = await TestHost.create();
});

afterAll(async () => {
  await host.close();
});

kernelContract('the kernel of this machine', async () => ({
  kernel,
  foreign: 'internet',
  hostLink: UPLINK,
  hostSetting: `net/ipv4/conf/${UPLINK}/forwarding`,
  bridge: (ns, name) => ipDo(['link', 'add', name, 'type', 'bridge'], ns),
  hold: sitIn,
  close: async () => {},
}));
