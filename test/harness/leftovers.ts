/**
 * After each file of a private-host project: links, namespaces, mounts, rules, routes, sysctls, child processes and descriptors
 * are what they were before it, or the file fails.
 */

import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect } from 'vitest';
import { diffHostStates, type HostState, readHostState } from './host-state.mjs';
import { childProcesses, kernelDescriptors } from './process-state.js';
import { inNetns } from './witness.js';

/** A namespace goes asynchronously, and its links with it. */
const PATIENCE_MS = 5_000;

interface State {
  readonly host: HostState;
  readonly fds: readonly string[];
  readonly children: readonly string[];
}

function readState(): State {
  return { host: readHostState(), fds: kernelDescriptors(), children: childProcesses() };
}

function differences(before: State, after: State): string[] {
  const added = (old: readonly string[], now: readonly string[]) => now.filter((item) => !old.includes(item));
  return [
    ...diffHostStates(before.host, after.host),
    ...added(before.fds, after.fds).map((fd) => `+ descriptor ${fd}`),
    ...added(before.children, after.children).map((child) => `+ process ${child}`),
  ];
}

/** Takes away what was left, so that one file's failure is not the next one's too. What cannot be taken away stays reported. */
async function sweep(old: HostState, now: HostState): Promise<void> {
  const quietly = async (argv: readonly string[]) => {
    await inNetns('', argv);
  };
  for (const child of childProcesses()) process.kill(Number.parseInt(child, 10), 'SIGKILL');
  const tables = now.nft.filter((object) => !old.nft.includes(object)).flatMap((object) => nftTable(object));
  for (const table of tables) await quietly(['nft', 'delete', 'table', ...table]);
  for (const ns of now.netns) if (!old.netns.includes(ns)) await quietly(['ip', 'netns', 'del', ns]);
  for (const link of Object.keys(now.links)) if (!(link in old.links)) await quietly(['ip', 'link', 'del', link]);
  for (const [key, value] of Object.entries(old.sysctls)) {
    if (now.sysctls[key] !== value) writeFileSync(`/proc/sys/${key}`, value);
  }
}

function nftTable(object: string): [string, string][] {
  const { table } = JSON.parse(object) as { table?: { family: string; name: string } };
  return table === undefined ? [] : [[table.family, table.name]];
}

let before: State;

beforeAll(() => {
  before = readState();
});

afterAll(async () => {
  const until = Date.now() + PATIENCE_MS;
  let left = differences(before, readState());
  while (left.length > 0 && Date.now() < until) {
    await sleep(100);
    left = differences(before, readState());
  }
  if (left.length > 0) await sweep(before.host, readHostState());
  expect(left, 'this test file left something behind').toEqual([]);
});
