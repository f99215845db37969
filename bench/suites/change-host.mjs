/**
 * One run of the suite change, inside a private host: `change-host.mjs STATE MEMBERS,… CHANGES`. One group is changed back and forth while a
 * connection between two of its members goes on. Prints one line of JSON.
 */
import { performance } from 'node:perf_hooks';
import { open } from '../../dist/index.js';
import { connect, startProbe, withListener } from '../lib/check.mjs';
import { DENIED_PORTS, network, RULES } from '../lib/network.mjs';

const [state, levelText, changeText] = process.argv.slice(2);
const levels = levelText.split(',').map(Number);
const changes = Number(changeText);
const CHUNK = 250;
const GROUP = 'services';
/** The connection that goes on is to this port, of RULES; the rule that comes and goes is for OTHER. */
const TALK = 8080;
const [OTHER] = DENIED_PORTS;

const [{ name: VPC, cidr, subnet }] = network({ vpcs: 1, workloads: 1 }, 'shared').vpcs;
const vpcctl = await open({ state, warm: true });

function demand(condition, message) {
  if (!condition) throw new Error(`check: ${message}`);
}

async function put(ingress) {
  const start = performance.now();
  const result = await vpcctl.transaction((tx) => tx.putSecurityGroup(VPC, GROUP, { ingress }));
  const { create, update, delete: gone } = result.kernel;
  return { ms: performance.now() - start, rows: create + update + gone };
}

let members = 0;
async function fill(count) {
  while (members < count) {
    const until = Math.min(count, members + CHUNK);
    await vpcctl.transaction((tx) => {
      for (let at = members; at < until; at += 1) {
        tx.addInstance({ vpc: VPC, subnet: 'private', name: `w${at}`, securityGroups: [GROUP] });
      }
    });
    members = until;
  }
}

const more = [...RULES, { protocol: 'tcp', port: OTHER, from: 'any' }];
const withoutTalk = RULES.filter(({ port }) => port !== '8000-8100');

async function level(count) {
  await fill(count);
  const first = vpcctl.instance(VPC, { instance: 'w0' });
  const last = vpcctl.instance(VPC, { instance: `w${count - 1}` });
  const reaches = (port) => connect(first.namespace, last.ip, [port])[port];
  const server = await startProbe(last.namespace, 'echo', String(TALK));
  const talk = await startProbe(first.namespace, 'talk', last.ip, String(TALK));
  const goesOn = async (when) => demand((await talk.ask('on')) === 'echo', `${when}, the connection was silent`);
  await goesOn('before any change');

  const times = [];
  let rows;
  for (let at = 0; at < changes; at += 1) {
    const adding = at % 2 === 0;
    const { ms, rows: touched } = await put(adding ? more : RULES);
    times.push(ms);
    rows = touched;
    await goesOn(`after change ${at + 1}`);
  }
  // What was measured is what it says: the rule counts, in both directions, and a connection survives the rule that let it in.
  await withListener(last.namespace, async () => {
    await put(more);
    demand(reaches(OTHER) === 'open', `with its rule, port ${OTHER} is closed`);
    await put(withoutTalk);
    demand(reaches(OTHER) === 'silent', `without its rule, port ${OTHER} answers`);
    demand(reaches(TALK) === 'silent', `without its rule, a new connection to port ${TALK} is let in`);
    await goesOn('without the rule that let it in');
    await put(RULES);
  });
  await talk.end();
  await server.end();
  return { members: count, times, rows };
}

await vpcctl.transaction((tx) => {
  tx.createVpc({ name: VPC, cidr });
  tx.addSubnet({ vpc: VPC, name: 'private', cidr: subnet });
  tx.putSecurityGroup(VPC, GROUP, { ingress: RULES });
});
const results = [];
for (const count of levels) results.push(await level(count));
await vpcctl.destroy();
await vpcctl.close();
process.stdout.write(`${JSON.stringify({ levels: results })}\n`);
