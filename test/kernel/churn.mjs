/** `churn.mjs STATE CYCLES`: attaches and detaches an instance CYCLES times in this one process, and prints what it holds before and after. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { open } from '../../dist/index.js';

const WARM_UP = 60;
const [state, cycles] = process.argv.slice(2);
const vpcctl = await open({ state, warm: true });
await vpcctl.transaction((tx) => {
  tx.createVpc({ name: 'v', cidr: '10.0.0.0/16' });
  tx.addSubnet({ vpc: 'v', name: 's', cidr: '10.0.1.0/24', public: true });
  tx.addInstance({ vpc: 'v', subnet: 's', name: 'stays' });
});

async function churn(count) {
  for (let index = 0; index < count; index += 1) {
    await vpcctl.transaction((tx) => tx.addInstance({ vpc: 'v', subnet: 's', name: 'comes' }));
    await vpcctl.transaction((tx) => tx.deleteInstance('v', 'comes'));
  }
}

function links(dir) {
  return readdirSync(dir).flatMap((name) => {
    try {
      return [readlinkSync(`${dir}/${name}`)];
    } catch {
      return [];
    }
  });
}

async function held() {
  // What is to be let go of later is let go of: timers, sockets of finished jobs.
  await new Promise((resolve) => setTimeout(resolve, 300));
  globalThis.gc();
  globalThis.gc();
  const files = links('/proc/self/fd');
  const { heapUsed, external, rss } = process.memoryUsage();
  return {
    descriptors: files.length,
    namespaces: files.filter((file) => file.startsWith('net:')).length,
    mounts: readFileSync('/proc/self/mountinfo', 'utf8')
      .split('\n')
      .filter((line) => line.includes(' nsfs ')).length,
    threads: readdirSync('/proc/self/task').length,
    heap: heapUsed + external,
    rss,
  };
}

await churn(WARM_UP);
const before = await held();
await churn(Number(cycles));
const after = await held();
await vpcctl.destroy();
await vpcctl.close();
process.stdout.write(JSON.stringify({ before, after }));
