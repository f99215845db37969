/**
 * One of several processes that change one installation at once: `rival.mjs STATE SEED OPERATIONS LANES` does random operations, LANES at a time,
 * and prints `{ done, refused, odd }`: how often each was carried out, how often refused for a good reason, and what else went wrong.
 */
import { open } from '../../dist/index.js';
import { GROUP_RULES, makeVpc, POLICIES, randomOf, VPCS } from './rivals.mjs';

const [state, seed, operations, lanes] = process.argv.slice(2).map((arg, index) => (index === 0 ? arg : Number(arg)));
const random = randomOf(seed);
const below = (limit) => Math.floor(random() * limit);
const pick = (list) => list[below(list.length)];

const vpcctl = await open({ state });
const vpcOf = () => pick(Object.keys(VPCS));
const instanceOf = () => `i${below(6)}`;
const subnetOf = () => pick(['s', 'p']);

/** Weight, name, and what it does; what is random is decided before, because a transaction may run again. */
const OPERATIONS = [
  [
    30,
    'attach',
    () => {
      const args = {
        vpc: vpcOf(),
        subnet: subnetOf(),
        name: instanceOf(),
        securityGroups: pick([['default'], ['g'], ['default', 'g']]),
      };
      return (tx) => tx.addInstance(args);
    },
  ],
  [
    18,
    'detach',
    () => {
      const [vpc, name] = [vpcOf(), instanceOf()];
      return (tx) => tx.deleteInstance(vpc, name);
    },
  ],
  [
    15,
    'rules',
    () => {
      const [vpc, rules] = [vpcOf(), pick(Object.values(GROUP_RULES))];
      return (tx) => tx.putSecurityGroup(vpc, 'g', { ingress: rules });
    },
  ],
  [
    10,
    'policy',
    () => {
      const [vpc, subnet, policy] = [vpcOf(), subnetOf(), pick([undefined, ...Object.values(POLICIES)])];
      return (tx) =>
        policy === undefined ? tx.clearPolicy(vpc, subnet) : tx.applyPolicy(vpc, subnet, { ingress: policy });
    },
  ],
  [
    10,
    'peer',
    () => {
      const pair = [vpcOf(), vpcOf()];
      return (tx) => tx.peer(...pair);
    },
  ],
  [
    5,
    'unpeer',
    () => {
      const pair = [vpcOf(), vpcOf()];
      return (tx) => tx.unpeer(...pair);
    },
  ],
  [8, 'create', () => makeVpc(vpcOf())],
  [
    3,
    'delete',
    () => {
      const vpc = vpcOf();
      return (tx) => tx.deleteVpc(vpc, { force: true });
    },
  ],
];

function choose() {
  let at = below(OPERATIONS.reduce((sum, [weight]) => sum + weight, 0));
  return OPERATIONS.find(([weight]) => {
    at -= weight;
    return at < 0;
  });
}

/** No such thing, taken, in use; INVALID only where blocks of peers overlap. */
function isGoodReason(name, { code, message }) {
  if (code === 'NOT_FOUND') return true;
  if (code === 'INVALID') return name === 'peer';
  return code === 'CONFLICT' && !/another process|coming first/.test(message);
}

const done = {};
const refused = {};
const odd = [];
let left = operations;

async function lane() {
  while (left > 0) {
    left -= 1;
    const [, name, prepare] = choose();
    try {
      const { unchanged } = await vpcctl.transaction(prepare());
      const what = unchanged ? `${name}, as it was` : name;
      done[what] = (done[what] ?? 0) + 1;
    } catch (error) {
      const what = `${name}: ${error.code}`;
      if (isGoodReason(name, error)) refused[what] = (refused[what] ?? 0) + 1;
      else odd.push(`${name}: ${error.toLine?.() ?? error.stack}`);
    }
  }
}

const begin = performance.now();
await Promise.all(Array.from({ length: lanes }, lane));
await vpcctl.close();
process.stdout.write(JSON.stringify({ done, refused, odd, ms: Math.round(performance.now() - begin) }));
