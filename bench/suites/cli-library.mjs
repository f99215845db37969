/** The operations of a file for `vpcctl batch`, through the library: `cli-library.mjs STATE FILE`. */
import { readFileSync } from 'node:fs';
import { open } from '../../dist/index.js';

const [state, file] = process.argv.slice(2);
const vpcctl = await open({ state });
for (const line of readFileSync(file, 'utf8').trim().split('\n')) {
  const { op: _, ...instance } = JSON.parse(line);
  await vpcctl.transaction((tx) => tx.addInstance(instance));
}
await vpcctl.close();
