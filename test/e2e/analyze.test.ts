/** `analyze` and `matrix` of an example, and the packets that they speak of. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { INTERNET, INTERNET_SERVER, TestHost } from '../harness/host.js';
import { answers, destroyAll } from './support.js';

const BANK = fileURLToPath(new URL('../../examples/bank.yaml', import.meta.url));

let host: TestHost;
let temp: string;

beforeAll(async () => {
  host = await TestHost.create({ routedToHost: ['198.51.100.0/24'] });
  temp = mkdtempSync(join(tmpdir(), 'vpcctl-analyze-'));
  await host.vpcctlOk(['apply', BANK, '--yes']);
});

afterAll(async () => {
  try {
    await destroyAll(host);
  } finally {
    rmSync(temp, { recursive: true, force: true });
    await host.close();
  }
});

interface Matrix {
  readonly ends: readonly string[];
  readonly cells: readonly (readonly (string | null)[])[];
}

test('analyze tells the way, and ends with 10 where there is none', async () => {
  const { stdout } = await host.vpcctlOk(['analyze', 'bank/web-1', 'bank/api-1', '--port', '8080']);
  expect(stdout).toMatch(/^reachable: bank\/web-1 \(10\.10\.1\.\d+\) to bank\/api-1 \(10\.10\.2\.\d+\), tcp 8080\n/);
  const refused = await host.vpcctl(['analyze', 'bank/db-1', 'internet', '--json']);
  expect(refused.exitCode).toBe(10);
  expect(refused.json).toMatchObject({
    reachable: false,
    refusals: [
      { component: { kind: 'route-table', id: 'route-table/bank/main' } },
      { component: { kind: 'internet-gateway' } },
    ],
  });
});

test.each([
  [undefined, ['icmp'] as const],
  [80, ['tcp', 80] as const],
  [8080, ['tcp', 8080] as const],
  [5432, ['tcp', 5432] as const],
])('the matrix of port %j is what packets find', async (port, [proto]) => {
  const picture = join(temp, 'reach.svg');
  const asked = port === undefined ? [] : ['--port', String(port)];
  const { json } = await host.vpcctlOk(['matrix', '--svg', picture, '--json', ...asked]);
  expect(readFileSync(picture, 'utf8')).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
  const { ends, cells } = json as Matrix;
  expect(ends).toEqual(['bank/api-1', 'bank/db-1', 'bank/web-1', 'bank/web-2', 'internet', 'host']);

  const { json: vpc } = await host.vpcctlOk(['inspect', 'bank', '--json']);
  const { subnets } = vpc as { subnets: { instances: { name: string; ip: string; publicIp: string | null }[] }[] };
  const instances = new Map(
    subnets.flatMap((one) => one.instances.map((at) => [`bank/${at.name}` as string, at] as const)),
  );
  const namespaceOf = (end: string): string =>
    end === 'host' ? '' : end === 'internet' ? INTERNET : `vpc.${end.replace('/', '.')}`;
  if (port !== undefined) {
    for (const end of ends) if (end !== 'host') await host.listener(namespaceOf(end), 'tcp', port);
  }
  const found = await Promise.all(
    ends.map(async (from, row) =>
      Promise.all(
        ends.map(async (to, column) => {
          const cell = cells[row]?.[column];
          // The host's own services are its own.
          if (cell === null || to === 'host') return cell;
          const target = instances.get(to);
          const own = from === 'internet' ? (target?.publicIp ?? target?.ip) : target?.ip;
          const reached = await answers(host, namespaceOf(from), {
            proto,
            to: own ?? INTERNET_SERVER,
            ...(port === undefined ? {} : { port }),
          });
          return reached ? 'yes' : 'no';
        }),
      ),
    ),
  );
  expect(found).toEqual(cells);
});
