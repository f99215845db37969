/**
 * One phase of the vpcctl driver: `vpcctl-phase.mjs apply|destroy STATE SPEC.json [POOL]`. Prints its clock as one line
 * of JSON.
 */
import { readFileSync } from 'node:fs';
import { open } from '../../dist/index.js';

const [verb, state, file, pool = '0'] = process.argv.slice(2);
const spec = JSON.parse(readFileSync(file, 'utf8'));

const opening = process.hrtime.bigint();
const vpcctl = await open({ state, warm: true, pool: Number(pool) });
const start = process.hrtime.bigint();
if (verb === 'apply') await vpcctl.apply(spec);
else await vpcctl.destroy(spec);
const end = process.hrtime.bigint();
await vpcctl.close();
process.stdout.write(`${JSON.stringify({ opening: String(opening), start: String(start), end: String(end) })}\n`);
