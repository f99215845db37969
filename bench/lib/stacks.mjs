/**
 * What `perf script` prints, as stacks of threads and of what matters below them. Pure.
 *
 * A folded stack is a path from the root, `thread;kernel;function;…` or `thread;part;function`, and the µs of processor that were seen there. Only the
 * kernel's frames are a path: Node and SQLite are compiled without frame pointers, so that of a process's own frames the innermost are
 * true and the others may be missing. They say which `part` of the process it was.
 */

/** Of `perf script`: what `parseScript` reads. */
export const FIELDS = 'comm,pid,tid,period,ip,sym,dso';
export const MAIN = 'main thread';
export const HELPERS = "Node's helper threads";
export const KERNEL = 'kernel';

/** How every entry into the kernel begins. */
const ENTRY =
  /^(?:entry_SYSCALL_64\w*|do_syscall_64|x64_sys_call|el0t?_\w+|do_el0_svc|invoke_syscall\S*|ret_from_fork\w*)$/;
const SYSTEM_CALL = /^__(?:x64|arm64|se|do)_sys_/;
/** Whatever else is in the stack: they call everything, and are called by everything. */
const WHOLE = [
  ['garbage collection', /^v8::internal::.*(?:CollectGarbage|Scaveng|MarkCompact|Sweeper|Evacuat|\w+Mark(?:er|ing))/],
  [
    'compiling',
    /^v8::internal::.*(?:Compiler|Compilation|compiler::|baseline::|maglev::|Parser|Scanner|BytecodeGenerator)/,
  ],
];
/** The innermost frame that tells. */
const TELLING = [
  ['dynamic linker', ({ file }) => /\/ld-[^/]+$/.test(file)],
  ['SQLite', ({ name, file }) => /better_sqlite3/.test(file) || /^sqlite3/.test(name)],
  ['OpenSSL', ({ name, file }) => /^(?:OPENSSL_|CRYPTO_|EVP_|OSSL_|ossl_)/.test(name) || /\/libcrypto\b/.test(file)],
  ['libnftables', ({ file }) => /\/lib(?:nftables|nftnl|mnl|jansson|gmp)\b/.test(file)],
  ['addon', ({ file }) => /\/vpcctl\.node$/.test(file)],
  ['Node', ({ name }) => /^(?:node::|uv_|uv__|napi_|v8impl)/.test(name)],
  ['JavaScript', ({ name, file }) => /^(?:Builtins_|v8::)/.test(name) || /anon|\/perf-\d+\.map/.test(file)],
];
const OTHER_PART = 'libc and others';

function frameOf(line) {
  const [, address, name, file] = /^\s*([0-9a-f]+) (.*) \(([^()]*(?:\([^()]*\))?)\)$/.exec(line) ?? [];
  return address === undefined
    ? undefined
    : { name, file, inKernel: address.length === 16 && address.startsWith('ff') };
}

/** Each sample: who, for how many µs, and its frames, the innermost first. */
export function parseScript(text) {
  const samples = [];
  for (const block of text.split('\n\n')) {
    const [head, ...lines] = block.split('\n').filter((line) => line !== '');
    const [, comm, pid, tid, period] = /^\s*(.+?)\s+(\d+)\/(\d+)\s+(\d+)\s*$/.exec(head ?? '') ?? [];
    if (comm === undefined) continue;
    const frames = lines.map(frameOf).filter((frame) => frame !== undefined);
    samples.push({ comm, pid: Number(pid), tid: Number(tid), us: Number(period) / 1000, frames });
  }
  return samples;
}

/** Names for threads of ours: what a thread calls itself, numbered where several do so. */
function laneNames(samples) {
  const lanes = [...new Map(samples.filter(isLane).map(({ tid, comm }) => [tid, comm]))].sort(([a], [b]) => a - b);
  const seen = new Map();
  const numbered = lanes.map(([tid, comm]) => {
    seen.set(comm, (seen.get(comm) ?? 0) + 1);
    return [tid, `${comm} ${seen.get(comm)}`];
  });
  return new Map(numbered);
}

function isLane({ comm, pid, tid }) {
  return comm.startsWith('vpcctl') && pid !== tid;
}

/** Whose work a sample is, or undefined where it is neither of a process that is `wanted` nor the kernel's own. */
function threadOf({ comm, pid, tid, frames }, wanted, lanes) {
  if (frames.some(({ name }) => name === 'kthread')) return `kernel: ${comm.replace(/[/:].*/, '')}`;
  if (!wanted(pid)) return undefined;
  if (tid === pid) return MAIN;
  return lanes.get(tid) ?? HELPERS;
}

/** What of the process it is that its own frames, the innermost first, are of. */
export function partOf(frames) {
  const whole = WHOLE.find(([, pattern]) => frames.some(({ name }) => pattern.test(name)));
  if (whole !== undefined) return whole[0];
  for (const frame of frames) {
    const telling = TELLING.find(([, tells]) => tells(frame));
    if (telling !== undefined) return telling[0];
  }
  return OTHER_PART;
}

function pathOf(sample, wanted, lanes) {
  const thread = threadOf(sample, wanted, lanes);
  if (thread === undefined) return undefined;
  const kernel = sample.frames.filter(({ inKernel }) => inKernel).map(({ name }) => name);
  if (kernel.length > 0) return [thread, KERNEL, ...kernel.filter((name) => !ENTRY.test(name)).reverse()];
  // Arguments and template parameters tell nothing here.
  const leaf = (sample.frames[0]?.name ?? '[unknown]').replace(/[(<;].*/, '');
  return [thread, partOf(sample.frames), leaf];
}

/**
 * Folded stacks `[path, µs]` of the processes that are `wanted` (by their number), and of the kernel's own threads where they were recorded.
 * `merge`: threads of the same name of all processes are one.
 */
export function fold(samples, wanted, merge = false) {
  const folded = new Map();
  const lanes = laneNames(samples);
  if (merge) for (const [tid, name] of lanes) lanes.set(tid, name.replace(/ \d+$/, ''));
  for (const sample of samples) {
    const path = pathOf(sample, wanted, lanes)?.join(';');
    if (path !== undefined) folded.set(path, (folded.get(path) ?? 0) + sample.us);
  }
  return [...folded];
}

/** Folded stacks as a tree: `{ name, us, children }`, the largest child first. */
export function treeOf(folded) {
  const root = { name: 'all', us: 0, children: new Map() };
  for (const [path, us] of folded) {
    let node = root;
    node.us += us;
    for (const name of path.split(';')) {
      if (!node.children.has(name)) node.children.set(name, { name, us: 0, children: new Map() });
      node = node.children.get(name);
      node.us += us;
    }
  }
  const sorted = ({ name, us, children }) => ({
    name,
    us,
    children: [...children.values()].map(sorted).sort((a, b) => b.us - a.us),
  });
  return sorted(root);
}

/** The same stacks, cut off where less than `share` of all went; what is cut off is counted where it was called. */
export function prune(folded, share) {
  const root = treeOf(folded);
  const kept = [];
  function walk({ us, children }, path) {
    const large = children.filter((child) => child.us >= share * root.us);
    const rest = us - large.reduce((sum, child) => sum + child.us, 0);
    if (rest > 0 && path.length > 0) kept.push([path.join(';'), Math.round(rest)]);
    for (const child of large) walk(child, [...path, child.name]);
  }
  walk(root, []);
  return kept;
}

/**
 * Threads, and the parts of each: `[{ thread, part, us }]`, a thread's sum (no part) before its parts. What is less than `share` of all is left out.
 */
export function partsOf(folded, share) {
  const root = treeOf(folded);
  const large = ({ us }) => us >= share * root.us;
  return root.children.filter(large).flatMap(({ name: thread, us, children }) => [
    { thread, us },
    // The kernel's own threads are all kernel.
    ...children.filter((part) => large(part) && part.us < us).map((part) => ({ thread, part: part.name, us: part.us })),
  ]);
}

/** The kernel's part of all threads. */
function kernelTree(folded) {
  const kernel = folded.map(([path, us]) => [path.split(';'), us]).filter(([[, part]]) => part === KERNEL);
  return treeOf(kernel.filter(([path]) => path.length > 2).map(([path, us]) => [path.slice(2).join(';'), us]));
}

const plain = (name) => name.replace(SYSTEM_CALL, '');

/** System calls, and the other ways into the kernel: `[{ name, us }]`. */
export function entriesOf(folded, share) {
  const total = treeOf(folded).us;
  return kernelTree(folded)
    .children.filter(({ us }) => us >= share * total)
    .map(({ name, us }) => ({ name: plain(name), us }));
}

/** A function calls only itself, or nothing worth a line of its own, in a chain that goes on with nine tenths of it. */
const GOES_ON = 0.9;
/** Of a chain, so many of the last are named. */
const NAMED = 3;

/** System calls and what is beneath them, as far as it is at least `share` of all: `[{ depth, name, us }]`. A chain of calls is one line. */
export function kernelRows(folded, share) {
  const total = treeOf(folded).us;
  const rows = [];
  function walk(node, depth) {
    const chain = [node];
    let last = node;
    while (!SYSTEM_CALL.test(last.name) && last.children[0]?.us >= GOES_ON * node.us) {
      [last] = last.children;
      chain.push(last);
    }
    const names = chain.slice(-NAMED).map(({ name }) => plain(name));
    rows.push({ depth, name: `${chain.length > NAMED ? '… ' : ''}${names.join(' > ')}`, us: node.us });
    for (const child of last.children) if (child.us >= share * total) walk(child, depth + 1);
  }
  for (const child of kernelTree(folded).children) if (child.us >= share * total) walk(child, 0);
  return rows;
}

/** One place has less than so much of what a function takes wherever it is called. */
const SPREAD = 0.85;

/** The kernel's functions that are called in several places, and take `share` of all together: `[{ name, us }]`. */
export function sharedRows(folded, share) {
  const total = treeOf(folded).us;
  const found = new Map();
  function walk({ name, us, children }, above) {
    const sums = found.get(name) ?? { us: 0, most: 0 };
    // Where it calls itself it is counted once.
    if (!above.includes(name)) found.set(name, { us: sums.us + us, most: Math.max(sums.most, us) });
    for (const child of children) walk(child, [...above, name]);
  }
  for (const child of kernelTree(folded).children) walk(child, []);
  return [...found]
    .map(([name, sums]) => ({ name, ...sums }))
    .filter(({ us, most }) => us >= share * total && most < SPREAD * us)
    .map(({ name, us }) => ({ name, us }))
    .sort((a, b) => b.us - a.us);
}
