/**
 * One phase of the vpcctl driver: `vpcctl-phase.mjs apply|destroy STATE SPEC.json`. Prints its clock as one line of
 * JSON.
 */
import { readFileSync } from 'node:fs';
import { open } from '../../dist/index.js';

const [verb, state, file] = process.argv.slice(2);
const spec = JSON.parse(readFileSync(file, 'utf8'));

const start = process.hrtime.bigint();
const vpcctl = await open({ state });
const opened = process.hrtime.bigint();
if (verb === 'apply') await vpcctl.apply(spec);
else await vpcctl.destroy(spec);
const end = process.hrtime.bigint();
await vpcctl.close();
process.stdout.write(`${JSON.stringify({ start: String(start), opened: String(opened), end: String(end) })}\n`);
