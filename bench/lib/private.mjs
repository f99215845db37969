/** A private host: own network and mount namespace, empty /run, loopback up; nothing outlives it. */
import { spawn, spawnSync } from 'node:child_process';
import { PATH } from './machine.mjs';

const TIMEOUT_MS = 900_000;

function entering(command) {
  const flags = [
    '--net',
    '--mount',
    '--propagation',
    'private',
    ...(process.getuid() === 0 ? [] : ['--map-root-user']),
  ];
  const enter = 'mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/netns && ip link set lo up && exec "$@"';
  return [...flags, '--', 'sh', '-c', enter, 'enter', ...command];
}

/** Ours, without what makes every start of Node longer here than elsewhere: certificates to be parsed, and options. */
function environment() {
  const { NODE_EXTRA_CA_CERTS: _certificates, NODE_OPTIONS: _options, ...others } = process.env;
  return { ...others, PATH };
}

/** Runs a command in a private host to its end. `more`: further options of `spawnSync`. */
export function inPrivateHost(command, more = {}) {
  const options = { encoding: 'utf8', env: environment(), timeout: TIMEOUT_MS, maxBuffer: 2 ** 26, ...more };
  return spawnSync('unshare', entering(command), options);
}

/** Starts a command in a private host; its standard input and output are pipes. */
export function startInPrivateHost(command) {
  return spawn('unshare', entering(command), { env: environment(), stdio: ['pipe', 'pipe', 'pipe'] });
}
