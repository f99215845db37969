import { MemoryKernel } from '../../../src/kernel/memory.js';
import { kernelContract } from '../../contract/kernel-contract.js';

kernelContract('the kernel in memory', async () => ({
  kernel: new MemoryKernel({ foreign: ['contract-theirs'] }),
  foreign: 'contract-theirs',
  hostLink: 'eth0',
  hostSetting: 'net/ipv4/conf/eth0/forwarding',
  close: async () => {},
}));
