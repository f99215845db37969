import { MemoryKernel } from '../../../src/kernel/memory.js';
import { kernelContract } from '../../contract/kernel-contract.js';

kernelContract('the kernel in memory', async () => {
  const kernel = new MemoryKernel({ foreign: ['contract-theirs'], lacks: ['netem'] });
  const theirs = { kind: 'link', type: 'other', driver: 'bridge', mac: '', mtu: 1500, alias: '', down: true } as const;
  return {
    kernel,
    foreign: 'contract-theirs',
    hostLink: 'eth0',
    hostSetting: 'net/ipv4/conf/eth0/forwarding',
    bridge: async (ns, name) => kernel.alter({ ...theirs, ns, name }),
    hold: async (ns) => {
      kernel.hold(ns, { pid: 7, command: 'sleep', by: 'process' });
      return { pid: 7, leave: async () => kernel.letGo(ns) };
    },
    close: async () => {},
  };
});
