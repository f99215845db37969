/** `batch` with real packets: what its results say is so, each result as soon as it is, and an interrupt leaves what was told. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestHost } from '../harness/host.js';
import { ownNamespaces } from './support.js';

const command = fileURLToPath(new URL('../../dist/cli/main.cjs', import.meta.url));
let host: TestHost;

beforeAll(async () => {
  host = await TestHost.create({ internet: false });
});

afterAll(async () => {
  await host.vpcctlOk(['cleanup-all', '--yes']);
  await host.close();
});

function ndjson(lines: readonly object[]): string {
  return lines.map((line) => `${JSON.stringify(line)}\n`).join('');
}

const web = { ingress: [{ protocol: 'tcp', port: 80, from: 'vpc' }] };
const instance = (name: string, ...securityGroups: string[]) => ({
  op: 'add-instance',
  vpc: 'a',
  subnet: 'web',
  name,
  securityGroups,
});

test('a network made by a batch lets pass what it says, and nothing else', async () => {
  const input = ndjson([
    { op: 'create-vpc', name: 'a', cidr: '10.1.0.0/16' },
    { op: 'add-subnet', vpc: 'a', subnet: 'web', cidr: '10.1.1.0/24', instance: false },
    { op: 'put-security-group', vpc: 'a', name: 'web', rules: web },
    { transaction: [instance('client', 'default'), instance('server', 'web')] },
    { argv: ['drift'] },
  ]);
  const { stdout } = await host.vpcctlOk(['batch'], { input });
  const results = stdout.split('\n').map((line) => JSON.parse(line));
  expect(results[4]).toMatchObject({ ok: true, output: { clean: true } });
  const { ip } = results[3].results[1];
  for (const port of [80, 81]) {
    const listener = await host.listener('vpc.a.server', 'tcp', port);
    // It listens: from where it stands, it answers.
    expect((await host.probe('vpc.a.server', { proto: 'tcp', to: '127.0.0.1', port })).ok).toBe(true);
    const { ok } = await host.probe('vpc.a.client', { proto: 'tcp', to: ip, port, timeoutMs: 400 });
    expect(ok).toBe(port === 80);
    await listener.close();
  }
  const revoked = ndjson([{ op: 'put-security-group', vpc: 'a', name: 'web', rules: {} }, instance('nobody', 'nix')]);
  expect(await host.vpcctl(['batch'], { input: revoked })).toMatchObject({ exitCode: 4 });
  const listener = await host.listener('vpc.a.server', 'tcp', 80);
  expect((await host.probe('vpc.a.client', { proto: 'tcp', to: ip, port: 80, timeoutMs: 400 })).ok).toBe(false);
  await listener.close();
  for (const ns of ['vpc.a.client', 'vpc.a.server']) await host.leave(ns);
});

test('each result comes while the input is open, and an interrupt keeps what was told', async () => {
  const child = spawn(process.execPath, [command, 'batch', '--parallel', '2'], {
    env: { ...process.env, VPCCTL_STATE: host.stateDir },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const exited = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  for (const name of ['one', 'two', 'three']) {
    child.stdin.write(ndjson([instance(name, 'default')]));
    expect(JSON.parse(String((await lines.next()).value))).toMatchObject({ ok: true, op: 'add-instance' });
    expect(ownNamespaces()).toContain(`vpc.a.${name}`);
  }
  child.kill('SIGINT');
  expect(await exited).toEqual([130, null]);
  expect((await lines.next()).done).toBe(true);
  expect((await host.vpcctlOk(['drift'])).stdout).toMatch(/^no drift/);
  const { json } = await host.vpcctlOk(['inspect', 'a', '--json']);
  expect(JSON.stringify(json)).toContain('"three"');
});
