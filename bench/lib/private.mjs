/** A private host: own network and mount namespace, empty /run, loopback up; nothing outlives it. */
import { spawnSync } from 'node:child_process';
import { PATH } from './machine.mjs';

const TIMEOUT_MS = 600_000;

export function inPrivateHost(command) {
  const flags = [
    '--net',
    '--mount',
    '--propagation',
    'private',
    ...(process.getuid() === 0 ? [] : ['--map-root-user']),
  ];
  const enter = 'mount -t tmpfs -o mode=755 tmpfs /run && mkdir /run/netns && ip link set lo up && exec "$@"';
  const args = [...flags, '--', 'sh', '-c', enter, 'enter', ...command];
  const env = { ...process.env, PATH };
  return spawnSync('unshare', args, { encoding: 'utf8', env, timeout: TIMEOUT_MS, maxBuffer: 2 ** 26 });
}
