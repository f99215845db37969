/** The floor's program and its lines (drivers/floor/floor.c), for the driver and for the suites that keep it running. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hasProgram } from './machine.mjs';

const source = fileURLToPath(new URL('../drivers/floor/floor.c', import.meta.url));
/** The program that this process, or the one that started it, has compiled. */
const BUILT = 'VPCCTL_BENCH_FLOOR';

/** Compiles the program unless that is done; returns why it cannot be had, or undefined. */
export function missingFloor() {
  if (process.env[BUILT] !== undefined) return undefined;
  if (!hasProgram('cc')) return 'no `cc` to compile it with';
  const dir = mkdtempSync(join(tmpdir(), 'vpcctl-bench-floor-'));
  process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
  const program = join(dir, 'floor');
  const { status, stderr } = spawnSync('cc', ['-O2', '-o', program, source, '-ldl'], { encoding: 'utf8' });
  if (status !== 0) return `cc: ${stderr.split('\n').find((line) => line.includes('error')) ?? stderr.trim()}`;
  const { stderr: words } = spawnSync(program, ['/dev/null'], { encoding: 'utf8' });
  if (words !== '') return words.trim();
  process.env[BUILT] = program;
  return undefined;
}

export function floorProgram() {
  return process.env[BUILT];
}

const TABLE = { family: 'inet', table: 'vpc' };
const DADDR = { payload: { protocol: 'ip', field: 'daddr' } };
const PORT = { payload: { protocol: 'tcp', field: 'dport' } };
const SERVICES = [22, 80, 443];

function rule(...expr) {
  return { add: { rule: { ...TABLE, chain: 'forward', expr: [...expr, { accept: null }] } } };
}

function match(left, right, op = '==') {
  return { match: { op, left, right } };
}

function set(name, type, elem) {
  return { add: { set: { ...TABLE, name, type, ...(elem.length === 0 ? {} : { elem }) } } };
}

/** What the sets of a VPC hold for some workloads: hashes only, because an interval costs more the more there are. */
function elementsOf(workloads, shared) {
  const addresses = workloads.map(({ ip }) => ip);
  if (shared) return { members: addresses };
  return {
    services: addresses.flatMap((ip) => SERVICES.map((port) => ({ concat: [ip, port] }))),
    ten: addresses,
    pings: addresses,
  };
}

function policy(workloads, shared) {
  const elements = elementsOf(workloads, shared);
  const service = shared
    ? [match(DADDR, '@members'), match(PORT, { set: SERVICES })]
    : [match({ concat: [DADDR, PORT] }, '@services')];
  const fromTen = match({ payload: { protocol: 'ip', field: 'saddr' } }, { prefix: { addr: '10.0.0.0', len: 8 } });
  return [
    { add: { table: { family: 'inet', name: 'vpc' } } },
    ...Object.entries(elements).map(([name, elem]) =>
      set(name, name === 'services' ? ['ipv4_addr', 'inet_service'] : 'ipv4_addr', elem),
    ),
    { add: { chain: { ...TABLE, name: 'forward', type: 'filter', hook: 'forward', prio: 0, policy: 'drop' } } },
    rule(match({ ct: { key: 'state' } }, ['established', 'related'], 'in')),
    rule(...service),
    rule(match(DADDR, shared ? '@members' : '@ten'), fromTen, match(PORT, { range: [8000, 8100] })),
    rule(match(DADDR, shared ? '@members' : '@pings'), match({ meta: { key: 'l4proto' } }, 'icmp')),
  ];
}

function document(commands) {
  return JSON.stringify({ nftables: commands });
}

const routerName = ({ v }) => `r${v}`;

/** A VPC's router with the policy for its workloads, and without these. */
export function routerLines(vpc, shared) {
  return [
    `router ${routerName(vpc)} ${vpc.gateway} ${vpc.prefix}`,
    `nft ${routerName(vpc)} ${document(policy([], shared))}`,
  ];
}

/** A router that another process made. */
export function knownLine(vpc) {
  return `known ${routerName(vpc)} ${vpc.gateway} ${vpc.prefix}`;
}

function workloadLine(vpc, { name, j, ip }) {
  return `workload ${routerName(vpc)} ${name} ${j} ${ip}`;
}

/** Workloads of a VPC whose router there is: `change` is add or delete. */
function elementsLine(vpc, workloads, shared, change) {
  const commands = Object.entries(elementsOf(workloads, shared)).map(([name, elem]) => ({
    [change]: { element: { ...TABLE, name, elem } },
  }));
  return `nft ${routerName(vpc)} ${document(commands)}`;
}

export function attachLines(vpc, workloads, shared) {
  return [...workloads.map((w) => workloadLine(vpc, w)), elementsLine(vpc, workloads, shared, 'add')];
}

export function detachLines(vpc, workloads, shared) {
  return [elementsLine(vpc, workloads, shared, 'delete'), ...dropLines(workloads)];
}

function dropLines(workloads) {
  return workloads.map(({ name }) => `drop ${name}`);
}

/** The whole network, and its end. */
export function buildLines(net) {
  const shared = net.groups === 'shared';
  return net.vpcs.flatMap((vpc) => [
    routerLines(vpc, shared)[0],
    ...vpc.workloads.map((w) => workloadLine(vpc, w)),
    `nft ${routerName(vpc)} ${document(policy(vpc.workloads, shared))}`,
  ]);
}

export function endLines(net) {
  return net.vpcs.flatMap((vpc) => [...dropLines(vpc.workloads), `drop ${routerName(vpc)}`]);
}
