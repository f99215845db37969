/** A process to be killed: `killed.mjs STATE VERB`. Says `begin` when its transaction does. */
import { open } from '../../dist/index.js';
import { VERBS } from './killed-verbs.mjs';

const [state, verb] = process.argv.slice(2);
const vpcctl = await open({ state, warm: true });
process.stdout.write('begin\n');
await VERBS[verb].run(vpcctl);
await vpcctl.close();
