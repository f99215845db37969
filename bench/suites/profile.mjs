/**
 * The suite profile: where the time goes, by `perf`: of an attach, of one from a pool and of the floor's, in a process that stays; of
 * the end of a network, the kernel's own threads included; of calls of the command.
 */
import { missingCommand } from '../lib/command.mjs';
import { missingFloor } from '../lib/floor.mjs';
import { runScript } from '../lib/host-script.mjs';
import { parseSize } from '../lib/network.mjs';
import { missingPerf } from '../lib/perf.mjs';
import { entriesOf, kernelRows, partsOf, sharedRows } from '../lib/stacks.mjs';
import { textTable } from '../lib/table.mjs';

/** What has less of all has no line. */
const SHARE = 0.02;
/** What one subnet has room for, and what is there already. */
const MOST_ATTACHES = 3000;
const MOST_SHARED = 12;
/** A call of the command for so many attaches. */
const PER_CALL = 20;

export const about = 'where the time goes, by perf: attaches, calls of the command, teardowns (as root)';
export const sizing = 'VPCSxWORKLOADS,… that are torn down';
export const rounding = `attaches, at most ${MOST_ATTACHES}`;
export const defaults = { sizes: '100x10,1x1000', rounds: 400, kinds: 'attach,teardown,call' };
export const options = { kinds: { type: 'string', about: 'KIND,… of attach, teardown, call (all)' } };

const ATTACHES = {
  attach: 'attach',
  pool: 'from a pool',
  floor: "the floor's",
};
const CALLS = { node: 'node -e 0', list: 'vpcctl list', add: 'vpcctl add-instance' };

export async function run({ sizes, rounds, kinds }, say) {
  const networks = sizes.split(',');
  networks.forEach(parseSize);
  if (rounds > MOST_ATTACHES) throw new Error(`--rounds ${rounds}: at most ${MOST_ATTACHES}`);
  const unknown = kinds.split(',').find((kind) => !defaults.kinds.split(',').includes(kind));
  if (unknown !== undefined) throw new Error(`--kinds ${unknown}: of ${defaults.kinds}`);
  const reason = missingPerf();
  if (reason !== undefined) {
    process.stdout.write(`SKIPPED profile: ${reason}\n`);
    return { skipped: reason, pieces: [] };
  }
  const noFloor = missingFloor();
  if (noFloor !== undefined) process.stdout.write(`SKIPPED floor: ${noFloor}\n`);
  const noCommand = missingCommand();
  if (noCommand !== undefined) process.stdout.write(`SKIPPED calls of the command: ${noCommand}\n`);
  const attaches = Object.entries(ATTACHES).filter(([name]) => name !== 'floor' || noFloor === undefined);
  const calls = noCommand === undefined ? Object.entries(CALLS) : [];
  const wanted = [
    ...attaches.map((piece) => ['attach', ...piece, rounds]),
    ...networks.flatMap((size) => [
      ['teardown', 'gone', `teardown of ${size}`, size],
      ...(noFloor === undefined ? [['teardown', 'floor-gone', `the floor's of ${size}`, size]] : []),
    ]),
    ...calls.map((piece) => ['call', ...piece, Math.ceil(rounds / PER_CALL)]),
  ].filter(([kind]) => kinds.split(',').includes(kind));
  const pieces = [];
  for (const [kind, name, title, amount] of wanted) {
    const count = typeof amount === 'number' ? amount : 1;
    const found = await runScript('profile-host.mjs', (dir) => [dir, name, amount]);
    pieces.push({ kind, title, count, ...found });
    say(`${title}: ${(found.wall / count / 1000).toFixed(2)} ms`);
  }
  return { pieces };
}

const sumOf = (stacks) => stacks.reduce((sum, [, us]) => sum + us, 0);

/**
 * A table of pieces side by side. `rowsOf(stacks, share)`: their rows, `{ group, name, us }`; those of SHARE in one piece are shown of all, a group's
 * together.
 */
function beside(head, pieces, rowsOf) {
  const groups = new Map();
  for (const { group, name } of pieces.flatMap(({ stacks }) => rowsOf(stacks, SHARE))) {
    groups.set(group, (groups.get(group) ?? new Set()).add(name));
  }
  const found = pieces.map(({ stacks, count }) => {
    return new Map(rowsOf(stacks, 0).map(({ group, name, us }) => [`${group} ${name}`, Math.round(us / count)]));
  });
  const rows = [...groups].flatMap(([group, names]) =>
    [...names].map((name) => [name, ...found.map((each) => String(each.get(`${group} ${name}`) ?? '-'))]),
  );
  return textTable([head, ...pieces.map(({ title }) => title)], rows);
}

function threadRows(stacks, share) {
  return partsOf(stacks, share).map(({ thread, part, us }) => {
    return { group: thread, name: part === undefined ? thread : `  ${part}`, us };
  });
}

function entryRows(stacks, share) {
  return entriesOf(stacks, share).map((entry) => ({ group: '', ...entry }));
}

/** What pieces of one kind took, and where, side by side. */
function renderKind(pieces) {
  const ms = (us) => us / 1000;
  const times = pieces.map(({ title, count, wall, cpu, returned, stacks }) => {
    const cells = [wall, returned, sumOf(stacks), cpu].map((us) => us && ms(us / count));
    return [title, ...cells.map((value) => (value === undefined ? '-' : value.toFixed(value < 10 ? 2 : 0)))];
  });
  return [
    ...textTable(['', 'ms', 'the call', 'processors', 'of the process'], times),
    '',
    ...beside('thread, and what of it, µs', pieces, threadRows),
    '',
    ...beside('ways into the kernel, µs', pieces, entryRows),
  ];
}

function renderKernel({ title, count, stacks }) {
  const total = sumOf(stacks);
  const line = ({ depth = 0, name, us }) => [
    `${'  '.repeat(depth)}${name}`,
    String(Math.round(us / count)),
    ((100 * us) / total).toFixed(0),
  ];
  const shared = sharedRows(stacks, SHARE).slice(0, MOST_SHARED);
  return [
    ...textTable([`${title}: in the kernel`, 'µs', '%'], kernelRows(stacks, SHARE).map(line)),
    ...(shared.length === 0 ? [] : ['', ...textTable(['from several places', 'µs', '%'], shared.map(line))]),
  ];
}

export function render({ rounds, skipped, pieces }) {
  if (skipped !== undefined) return [`profile: skipped: ${skipped}`];
  const kinds = [...new Set(pieces.map(({ kind }) => kind))].map((kind) => pieces.filter((each) => each.kind === kind));
  return [
    `profile, ${rounds} attaches: processors' time for one piece of work, by 4000 samples a second; waiting is not seen`,
    ...kinds.flatMap((each) => ['', ...renderKind(each)]),
    ...pieces.flatMap((piece) => ['', ...renderKernel(piece)]),
  ];
}

export function picture({ rounds, pieces }) {
  if (pieces.length === 0) return undefined;
  return {
    head: 'profile: where the processors are',
    note: `µs of processor, by samples: each block is a function, as wide as what it took, those it calls below it; ${rounds} attaches`,
    flames: pieces.map(({ title, count, stacks }) => ({ title, count, stacks })),
  };
}
