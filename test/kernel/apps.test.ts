/** Programs in workloads: none runs that nobody knows of, and none in an instance that is gone. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { open, type Vpcctl, VpcctlError } from '../../src/index.js';
import { TestHost } from '../harness/host.js';

const script = fileURLToPath(new URL('./dying-deploy.mjs', import.meta.url));
const MARK = 'VPCCTL_TEST_APPS';
const SLEEP = { command: ['sleep', '1000'] };
const SERVER = { port: 8080, command: [process.execPath, '-e', 'net.createServer().listen(8080)'] };

let host: TestHost;
let vpcctl: Vpcctl;

beforeAll(async () => {
  host = await TestHost.create({ internet: false });
  process.env[MARK] = String(process.pid);
  vpcctl = await open({ state: host.stateDir });
  await vpcctl.transaction((tx) => {
    tx.createVpc({ name: 'v', cidr: '10.8.0.0/16' });
    tx.addSubnet({ vpc: 'v', name: 's', cidr: '10.8.1.0/24' });
  });
});

beforeEach(async () => {
  await vpcctl.transaction((tx) => {
    tx.deleteInstance('v', 'x');
  });
  await vpcctl.transaction((tx) => tx.addInstance({ vpc: 'v', subnet: 's', name: 'x' }));
});

afterAll(async () => {
  await vpcctl.destroy();
  await vpcctl.close();
  delete process.env[MARK];
  await host.close();
});

/** Living processes that were started from here, as their argv, but for an nft that is kept open for a moment. */
function marked(): string[] {
  return readdirSync('/proc').flatMap((pid) => {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) return [];
    try {
      if (!readFileSync(`/proc/${pid}/environ`, 'utf8').includes(`${MARK}=${process.pid}\0`)) return [];
      const argv = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim();
      return argv === '' || argv.endsWith('nft -j -n -i') ? [] : [argv];
    } catch {
      return [];
    }
  });
}

async function untilMarked(count: number): Promise<void> {
  for (const until = Date.now() + 5000; marked().length !== count && Date.now() < until; ) await sleep(10);
  expect(marked()).toHaveLength(count);
}

test.each(['before', 'after'])('a process that dies just %s it records a program leaves none', async (when) => {
  const died = spawnSync(process.execPath, [script, host.stateDir, when], { encoding: 'utf8' });
  expect(died).toMatchObject({ signal: 'SIGKILL', stderr: '' });
  await untilMarked(0);
  expect(vpcctl.apps().map(({ running }) => running)).toEqual(when === 'after' ? [false] : []);
  // The mark does find what runs.
  const app = await vpcctl.deployApp('v', { instance: 'x' }, SLEEP);
  expect(marked()).toEqual(['sleep 1000']);
  expect(vpcctl.apps()).toEqual([{ ...app, running: true }]);
  await vpcctl.stopApp('v', { instance: 'x' });
  await untilMarked(0);
});

test('calls at once start one program', async () => {
  const other = await open({ state: host.stateDir });
  const at = { instance: 'x' };
  const started = await Promise.all([vpcctl, other, vpcctl, other].map((one) => one.deployApp('v', at, SERVER)));
  expect(new Set(started.map(({ pid }) => pid)).size).toBe(1);
  expect(marked()).toHaveLength(1);
  await other.close();
  await vpcctl.stopApp('v', at);
  await untilMarked(0);
});

test('a program is never left in an instance that is deleted at the same time', { timeout: 60_000 }, async () => {
  const other = await open({ state: host.stateDir });
  const ends = new Set<string>();
  for (let round = 0; round < 8; round += 1) {
    const deploying = vpcctl.deployApp('v', { instance: 'x' }, SLEEP).then(
      () => 'started',
      (error: unknown) => (error instanceof VpcctlError ? error.code : String(error)),
    );
    await sleep(round * 2);
    const gone = other.transaction((tx) => tx.deleteInstance('v', 'x'));
    // Started and ended again (CONFLICT: it ended at once), or not started at all.
    const end = await deploying;
    await gone;
    ends.add(end);
    await untilMarked(0);
    expect(vpcctl.apps()).toEqual([]);
    await other.transaction((tx) => tx.addInstance({ vpc: 'v', subnet: 's', name: 'x' }));
  }
  expect([...ends].filter((end) => !['started', 'CONFLICT', 'NOT_FOUND'].includes(end))).toEqual([]);
  await other.close();
});

test('a program in an instance that is another now is ended', async () => {
  const app = await vpcctl.deployApp('v', { instance: 'x' }, SLEEP);
  // As if the process that deleted it had died before it came to the programs.
  const { Store } = await import('../../src/engine/store.js');
  const hidden = new Store(host.stateDir);
  hidden.removeApp(app);
  await vpcctl.transaction((tx) => tx.deleteInstance('v', 'x'));
  await vpcctl.transaction((tx) => tx.addInstance({ vpc: 'v', subnet: 's', name: 'x' }));
  hidden.putApp(app);
  hidden.close();
  expect(marked()).toEqual(['sleep 1000']);
  await (await open({ state: host.stateDir })).close();
  await untilMarked(0);
  expect(vpcctl.apps()).toEqual([]);
});
