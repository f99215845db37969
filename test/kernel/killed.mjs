/** A process to be killed: `killed.mjs STATE apply|destroy`. Says `begin` when its transaction does. */
import { open } from '../../dist/index.js';

const [state, verb] = process.argv.slice(2);
const vpcctl = await open({ state, warm: true });
process.stdout.write('begin\n');
if (verb === 'destroy') await vpcctl.destroy();
else {
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: 'k', cidr: '10.7.0.0/16' });
    tx.addSubnet({ vpc: 'k', name: 'web', cidr: '10.7.1.0/24', public: true });
    tx.addSubnet({ vpc: 'k', name: 'db', cidr: '10.7.2.0/24' });
    for (const name of ['w1', 'w2']) tx.addInstance({ vpc: 'k', subnet: 'web', name });
    for (const name of ['d1', 'd2']) tx.addInstance({ vpc: 'k', subnet: 'db', name });
  });
}
await vpcctl.close();
