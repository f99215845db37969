// @ts-check
/**
 * Shows and proves, on a private host that is gone afterwards, what the packets of examples/bank.yaml do: brings the VPC up, draws
 * it, connects from everywhere to everything, compares with what the rules say, and tears it down again.
 *
 *   node scripts/demo.mjs [--svg FILE]       exit status 0: everything was as it should be
 *
 * Installs and builds first what is missing, so nothing of node_modules or dist is imported before that. What surrounds the VPC is
 * made with `ip`: a host with the uplink eth0 192.0.2.2, and an "internet" behind it. All else is vpcctl's.
 */
import { spawn, spawnSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import { diffHostStates, readHostState } from '../test/harness/host-state.mjs';
import { draw, toText } from './drawing.mjs';
import { MARKER, privateHostRefusal, runInPrivateHost } from './private-host.mjs';
import { ensureBuilt, ensurePrograms, missingPrograms } from './setup.mjs';

/** @typedef {import('../src/index.js').InstanceView} InstanceView */
/** @typedef {import('../src/index.js').VpcView} VpcView */
/** @typedef {{ name: string, ip: string, port: number }} Target */
/** @typedef {{ from: string, ok: boolean, banner: string, why: string }} Answer */

const self = fileURLToPath(import.meta.url);
const root = join(dirname(self), '..');
const command = join(root, 'dist', 'cli', 'main.cjs');
const library = pathToFileURL(join(root, 'dist', 'index.js')).href;

const SPEC = 'examples/bank.yaml';
const VPC = 'bank';
const INTERNET = 'internet';
const INTERNET_SERVER = '203.0.113.10';
const INTERNET_GATEWAY = '192.0.2.1';
const HOST_ADDRESS = '192.0.2.2';
/** What each workload serves, besides a port that no rule names. */
const SERVICES = /** @type {const} */ ({ 'web-1': 443, 'web-2': 443, 'api-1': 8080, 'db-1': 5432 });
const UNNAMED_PORT = 9999;
/** A denied connection is never answered. An allowed one is, within a millisecond on an idle machine. */
const CONNECT_MS = 1500;
/** Programs of the demo itself; `test` in scripts/setup.mjs lists them. */
const OWN_PROGRAMS = ['ip', 'unshare', 'mount'];

// --- the parts that run inside namespaces ------------------------------------------------------------------------------

/**
 * Answers every connection with `NAME from ADDRESS`. Ends with the process `watched`, whatever happens to it.
 * @param {string} name
 * @param {readonly number[]} ports
 * @param {number} watched
 */
async function listen(name, ports, watched) {
  for (const port of ports) {
    const server = createServer((socket) => {
      socket.on('error', () => {});
      socket.end(`${name} from ${socket.remoteAddress}`);
    });
    server.listen(port, '0.0.0.0');
    await once(server, 'listening');
  }
  console.log('listening');
  setInterval(() => {
    try {
      process.kill(watched, 0);
    } catch {
      process.exit(0);
    }
  }, 500);
}

/**
 * Connects to all targets at once.
 * @param {readonly Target[]} targets
 * @returns {Promise<Answer[]>}
 */
function probe(targets) {
  return Promise.all(
    targets.map(
      ({ ip, port }) =>
        new Promise((done) => {
          const socket = connect({ host: ip, port });
          let said = '';
          const end = (/** @type {string} */ why) => {
            clearTimeout(timer);
            socket.destroy();
            const [, banner = '', from = ''] = /^(\S+) from (\S+)$/.exec(said) ?? [];
            done({ ok: banner !== '', banner, from, why });
          };
          const timer = setTimeout(() => end('no answer'), CONNECT_MS);
          socket.setEncoding('utf8');
          socket.on('data', (/** @type {string} */ text) => {
            said += text;
          });
          socket.on('end', () => end(''));
          socket.on('error', (/** @type {NodeJS.ErrnoException} */ error) => end(error.code ?? error.message));
        }),
    ),
  );
}

/**
 * Sends a few datagrams that nobody answers.
 * @param {string} ip
 */
async function shout(ip) {
  const socket = createSocket('udp4');
  for (let count = 0; count < 5; count += 1) {
    await new Promise((sent) => socket.send('anybody there?', 53, ip, sent));
  }
  socket.close();
}

// --- running programs --------------------------------------------------------------------------------------------------

const color = process.stdout.isTTY === true && (process.env.NO_COLOR ?? '') === '';
const paint = (/** @type {string} */ code) => (/** @type {string} */ text) =>
  color ? `\u001b[${code}m${text}\u001b[0m` : text;
const bold = paint('1');
const dim = paint('2');
const green = paint('32');
const red = paint('31');

const abort = new AbortController();
let problems = 0;

/** @param {string} text */
function say(text = '') {
  process.stdout.write(`${text}\n`);
}

/** @param {string} text */
function title(text) {
  say();
  say(bold(text));
}

/** @param {boolean} ok @param {string} text @param {string} [otherwise] */
function verdict(ok, text, otherwise = text) {
  if (!ok) problems += 1;
  say(ok ? `${green('✓')} ${text}` : `${red('✗')} ${otherwise}`);
}

/**
 * Runs a program and returns what it wrote; with `show` it writes to our terminal instead.
 * @param {readonly string[]} argv
 * @param {{ show?: boolean, ignoreAbort?: boolean }} [options]
 * @returns {Promise<string>}
 */
async function run(argv, { show = false, ignoreAbort = false } = {}) {
  if (!ignoreAbort) abort.signal.throwIfAborted();
  const [program = '', ...args] = argv;
  const child = spawn(program, args, { cwd: root, stdio: ['ignore', show ? 'inherit' : 'pipe', 'inherit'] });
  let stdout = '';
  child.stdout?.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
    stdout += text;
  });
  const [code, signal] = await once(child, 'close');
  if (!ignoreAbort) abort.signal.throwIfAborted();
  if (code !== 0) throw new Error(`${argv.join(' ')} ended with ${code ?? signal}`);
  return stdout;
}

/**
 * The command as a user types it, and what it answers.
 * @param {readonly string[]} args
 * @param {{ shown?: readonly string[], quiet?: boolean, ignoreAbort?: boolean }} [options] `shown`: in place of args that no user would type
 */
async function vpcctl(args, { shown = args, quiet = false, ignoreAbort = false } = {}) {
  say(`${dim('$')} vpcctl ${shown.join(' ')}`);
  await run([process.execPath, command, ...args], { show: !quiet, ignoreAbort });
}

/** Runs this script in a namespace: the host's own, the internet's, or a workload's. */
const inNamespace = (/** @type {string | undefined} */ namespace, /** @type {readonly string[]} */ args) => [
  ...(namespace === undefined ? [] : ['nsenter', `--net=/run/netns/${namespace}`, '--']),
  process.execPath,
  self,
  ...args,
];

/** @param {string | undefined} namespace @param {readonly Target[]} targets @returns {Promise<Answer[]>} */
async function probeFrom(namespace, targets) {
  return JSON.parse(await run(inNamespace(namespace, ['--probe', JSON.stringify(targets)])));
}

/** @param {readonly string[]} args */
function ip(...args) {
  const done = spawnSync('ip', args, { encoding: 'utf8' });
  if (done.status !== 0) throw new Error(`ip ${args.join(' ')}: ${done.error?.message ?? done.stderr.trim()}`);
  return done.stdout;
}

// --- what surrounds the VPC --------------------------------------------------------------------------------------------

/** The machine's uplink and what is behind it. The neighbours are permanent and IPv6 is off, so that only packets of ours count. */
function makeInternet() {
  ip('netns', 'add', INTERNET);
  const macs = { host: '02:00:c0:00:02:02', internet: '02:00:c0:00:02:01' };
  ip(
    'link',
    'add',
    'eth0',
    'address',
    macs.host,
    'type',
    'veth',
    'peer',
    'name',
    'eth0',
    'address',
    macs.internet,
    'netns',
    INTERNET,
  );
  for (const [at, own, other, mac] of [
    [[], HOST_ADDRESS, INTERNET_GATEWAY, macs.internet],
    [['-n', INTERNET], INTERNET_GATEWAY, HOST_ADDRESS, macs.host],
  ]) {
    const here = (/** @type {string[]} */ ...args) => ip(.../** @type {string[]} */ (at), ...args);
    here('link', 'set', 'eth0', 'addrgenmode', 'none');
    here('addr', 'add', `${own}/24`, 'dev', 'eth0');
    here('link', 'set', 'lo', 'up');
    here('link', 'set', 'eth0', 'up');
    here('neigh', 'replace', String(other), 'lladdr', String(mac), 'dev', 'eth0', 'nud', 'permanent');
  }
  ip('route', 'add', 'default', 'via', INTERNET_GATEWAY);
  ip('-n', INTERNET, 'addr', 'add', `${INTERNET_SERVER}/32`, 'dev', 'lo');
  ip('-n', INTERNET, 'route', 'add', '198.51.100.0/24', 'via', HOST_ADDRESS);
  // An internet that knows the way to private addresses: they must be closed, not merely unknown.
  ip('-n', INTERNET, 'route', 'add', '10.0.0.0/8', 'via', HOST_ADDRESS);
}

/** Packets of any kind that came out of the host's uplink. */
function packetsOnUplink() {
  /** @type {[{ stats64: { rx: { packets: number } } }]} */
  const [link] = JSON.parse(ip('-n', INTERNET, '-s', '-j', 'link', 'show', 'eth0'));
  return link.stats64.rx.packets;
}

// --- what the rules say ------------------------------------------------------------------------------------------------

/**
 * Whether the model lets a TCP connection through: read from the groups, by a reader of its own that knows nothing of nftables.
 * @param {VpcView} vpc
 * @param {{ kind: 'internet' | 'internet-private' | 'host' } | { kind: 'instance', instance: InstanceView }} source
 * @param {InstanceView} target
 * @param {number} port
 */
function modelAllows(vpc, source, target, port) {
  if (source.kind === 'instance' && source.instance.name === target.name) return true;
  if (source.kind === 'internet-private') return false;
  if (source.kind === 'internet' && target.publicIp === null) return false;
  const subnet = vpc.subnets.find(({ name }) => name === target.subnet);
  if (source.kind === 'host' && (target.publicIp === null || subnet?.reachableFromHost !== true)) return false;
  const groupsOf = (/** @type {InstanceView} */ instance) =>
    vpc.securityGroups.filter(({ name }) => instance.securityGroups.includes(name));
  const admits = (
    /** @type {{ protocol?: string | number, port?: number | string }} */ rule,
    /** @type {import('../src/index.js').PartySpec | undefined} */ party,
    /** @type {string} */ group,
    /** @type {InstanceView | undefined} */ other,
  ) => {
    const [low, high = low] =
      rule.port === undefined || rule.port === 'any' ? [0, 65535] : String(rule.port).split('-').map(Number);
    if (![undefined, 'any', 'tcp', 6].includes(rule.protocol) || port < Number(low) || port > Number(high))
      return false;
    if (party === undefined || party === 'any') return true;
    if (typeof party === 'object') return other?.securityGroups.includes(party.group) === true;
    if (party === 'self') return other?.securityGroups.includes(group) === true;
    if (party === 'vpc') return other !== undefined;
    if (party === 'host') return source.kind === 'host';
    if (party === 'peers') return false;
    throw new Error(`the demo cannot judge a rule for ${party}`);
  };
  const sender = source.kind === 'instance' ? source.instance : undefined;
  const leaves =
    sender === undefined ||
    groupsOf(sender).some(({ name, egress }) => egress.some((rule) => admits(rule, rule.to, name, target)));
  return (
    leaves &&
    groupsOf(target).some(({ name, ingress }) => ingress.some((rule) => admits(rule, rule.from, name, sender)))
  );
}

// --- the acts ----------------------------------------------------------------------------------------------------------

/** @param {VpcView} vpc */
function instancesOf(vpc) {
  const order = Object.keys(SERVICES);
  return vpc.subnets
    .flatMap(({ instances }) => instances)
    .sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name));
}

/** @param {readonly InstanceView[]} instances */
async function startListeners(instances) {
  title('A listener on the service port of every workload, and on port 9999, which no rule names');
  for (const { name } of instances) {
    const port = SERVICES[/** @type {keyof typeof SERVICES} */ (name)];
    const args = ['deploy-app', '--vpc', VPC, '--instance', name, '--port', String(port), '--'];
    const listener = [
      process.execPath,
      self,
      '--listen',
      `${name},${UNNAMED_PORT},${port}`,
      '--watch',
      String(process.pid),
    ];
    await vpcctl([...args, ...listener], { shown: [...args, 'LISTENER'], quiet: true });
  }
  const argv = inNamespace(INTERNET, ['--listen', `${INTERNET},443`, '--watch', String(process.pid)]);
  const [program = '', ...args] = argv;
  const server = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await Promise.race([
    once(server.stdout, 'data'),
    once(server, 'close').then(() => Promise.reject(new Error('the listener on the internet did not start'))),
  ]);
  return server;
}

/** Who reaches whom, by packets and by the rules. @param {VpcView} vpc */
async function matrix(vpc) {
  title('Who reaches whom over TCP: what the packets did, and in brackets what the rules say');
  const instances = instancesOf(vpc);
  const services = instances
    .map((instance) => ({ instance, port: SERVICES[/** @type {keyof typeof SERVICES} */ (instance.name)] }))
    .concat(instances.map((instance) => ({ instance, port: UNNAMED_PORT })));
  /** @type {{ label: string, namespace?: string, by: 'private' | 'public', source: Parameters<typeof modelAllows>[1] }[]} */
  const sources = [
    { label: 'internet, public addresses', namespace: INTERNET, by: 'public', source: { kind: 'internet' } },
    { label: 'internet, private addresses', namespace: INTERNET, by: 'private', source: { kind: 'internet-private' } },
    { label: 'host', by: 'private', source: { kind: 'host' } },
    ...instances.map((instance) => ({
      label: instance.name,
      namespace: instance.namespace,
      by: /** @type {const} */ ('private'),
      source: /** @type {const} */ ({ kind: 'instance', instance }),
    })),
  ];
  const answers = await Promise.all(
    sources.map(({ namespace, by }) =>
      probeFrom(
        namespace,
        services.map(({ instance, port }) => ({
          name: instance.name,
          ip: (by === 'public' ? instance.publicIp : null) ?? instance.ip,
          port,
        })),
      ),
    ),
  );
  const heads = services.map(({ instance, port }) => `${instance.name}:${port}`);
  const left = Math.max(...sources.map(({ label }) => label.length));
  const widths = heads.map((head) => Math.max(head.length, 'yes (yes)'.length));
  say(
    `${'from \\ to'.padEnd(left)}  ${heads.map((head, index) => head.padEnd(widths[index] ?? 0)).join('  ')}`.trimEnd(),
  );
  let wrong = 0;
  for (const [row, { label, source }] of sources.entries()) {
    const cells = services.map(({ instance, port }, column) => {
      const answer = answers[row]?.[column];
      const reached = answer?.ok === true;
      const says = modelAllows(vpc, source, instance, port);
      const right = reached === says && (!reached || answer?.banner === instance.name);
      if (!right) wrong += 1;
      const text = `${reached ? 'yes' : 'no '} (${says ? 'yes' : 'no'})${right ? '' : ' !!'}`.padEnd(
        widths[column] ?? 0,
      );
      return right ? (reached ? green(text) : dim(text)) : red(text);
    });
    say(`${label.padEnd(left)}  ${cells.join('  ')}`.trimEnd());
  }
  const all = sources.length * services.length;
  verdict(wrong === 0, `${all} of ${all} as the rules say`, `${wrong} of ${all} are not as the rules say, marked !!`);
  say(dim('  A workload reaches itself on every port: each "no" is about a port that was open.'));
}

/** @param {VpcView} vpc */
async function outwards(vpc) {
  title(`To the internet: TCP and UDP to ${INTERNET_SERVER}, and the packets that came out of the host's uplink`);
  const target = { name: INTERNET, ip: INTERNET_SERVER, port: 443 };
  const kindOf = new Map(vpc.subnets.map(({ name, kind }) => [name, kind]));
  for (const instance of instancesOf(vpc).reverse()) {
    const kind = kindOf.get(instance.subnet) ?? '';
    const before = packetsOnUplink();
    const [answer] = await probeFrom(instance.namespace, [target]);
    const moved = packetsOnUplink() - before;
    const expected = kind === 'public';
    const seen = answer?.ok === true ? `answered, seen as ${answer.from}` : `not answered (${answer?.why})`;
    verdict(
      expected ? answer?.ok === true && answer.from === HOST_ADDRESS && moved > 0 : answer?.ok === false && moved === 0,
      `${instance.name.padEnd(6)} ${kind.padEnd(7)}  ${seen}, ${moved} packets on the uplink`,
    );
  }
}

/** @param {string | undefined} svg */
async function demo(svg) {
  /** @type {typeof import('../src/index.js')} */
  const { open } = await import(library);
  makeInternet();
  const before = readHostState();
  let served;
  try {
    title('Up');
    await vpcctl(['apply', SPEC, '--yes']);
    const vpcctlState = await open();
    const view = vpcctlState.list();
    const vpc = vpcctlState.inspect(VPC);
    const drawing = draw(view, {
      internet: [`${INTERNET_SERVER}, gateway ${INTERNET_GATEWAY}`],
      host: [`eth0 ${HOST_ADDRESS}/24, vpc-edge 169.254.128.1/30`],
    });
    await vpcctlState.close();
    title('What there is now');
    say(toText(drawing));
    if (svg !== undefined) await vpcctl(['show', VPC, '--svg', svg]);
    served = await startListeners(instancesOf(vpc));
    await matrix(vpc);
    await outwards(vpc);
  } catch (error) {
    if (!abort.signal.aborted) throw error;
    say('interrupted: cleaning up');
  } finally {
    served?.kill();
    title('Down');
    await vpcctl(['cleanup-all', '--yes'], { ignoreAbort: true });
  }
  // The kernel ends namespaces a little later than it forgets their names.
  let left = diffHostStates(before, readHostState());
  for (let tries = 0; left.length > 0 && tries < 20; tries += 1) {
    await sleep(100);
    left = diffHostStates(before, readHostState());
  }
  verdict(
    left.length === 0,
    'links, addresses, routes, rules, nftables, namespaces, mounts and sysctls are as before',
    'left behind:',
  );
  for (const line of left) say(`  ${line}`);
  const living = ownListeners();
  verdict(living.length === 0, 'no program of the demo runs', `still running: ${living.join(', ')}`);
}

/** Pids of listeners that this demo started. */
function ownListeners() {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false;
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').endsWith(`\0--watch\0${process.pid}\0`);
    } catch {
      return false;
    }
  });
}

// --- the ways in -------------------------------------------------------------------------------------------------------

async function inside(/** @type {string | undefined} */ svg) {
  if (process.env[MARKER] === undefined || process.env[MARKER] === readlinkSync('/proc/self/ns/net')) {
    throw new Error('not on a private host');
  }
  for (const signal of /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) process.on(signal, () => abort.abort());
  process.stdout.on('error', () => abort.abort());
  await demo(svg);
  if (abort.signal.aborted) process.exitCode = 130;
  else {
    say();
    say(problems === 0 ? green('Everything was as it should be.') : red(`Not as it should be: ${problems}, marked ✗.`));
    process.exitCode = problems === 0 ? 0 : 1;
  }
}

async function outside(/** @type {string | undefined} */ svg) {
  ensurePrograms(['run'], true);
  if (missingPrograms(['test']).some(({ program }) => OWN_PROGRAMS.includes(program)))
    ensurePrograms(['run', 'test'], true);
  ensureBuilt();
  const refusal = privateHostRefusal();
  if (refusal !== undefined) throw new Error(`no private host can be made here: ${refusal}`);
  const begun = process.hrtime.bigint();
  const argv = [process.execPath, self, '--inside', ...(svg === undefined ? [] : ['--svg', svg])];
  process.exitCode = await runInPrivateHost(argv);
  say(dim(`${(Number(process.hrtime.bigint() - begun) / 1e9).toFixed(1)} s`));
}

const { values } = parseArgs({
  options: {
    svg: { type: 'string' },
    inside: { type: 'boolean', default: false },
    listen: { type: 'string' },
    watch: { type: 'string' },
    probe: { type: 'string' },
  },
});
try {
  if (values.listen !== undefined) {
    const [name = '', ...ports] = values.listen.split(',');
    await listen(name, ports.map(Number), Number(values.watch));
  } else if (values.probe !== undefined) {
    /** @type {Target[]} */
    const targets = JSON.parse(values.probe);
    const [answers] = await Promise.all([
      probe(targets),
      ...targets.filter(({ name }) => name === INTERNET).map(({ ip: address }) => shout(address)),
    ]);
    process.stdout.write(JSON.stringify(answers));
  } else {
    const svg = values.svg === undefined ? undefined : resolve(values.svg);
    await (values.inside ? inside(svg) : outside(svg));
  }
} catch (error) {
  console.error(`demo: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
