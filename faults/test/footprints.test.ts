import { open } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { footprintsAtRest, footprintsOf, grown } from '../src/checks/footprints.js';
import type { AppProcess } from '../src/world/app-process.js';

const before = [
  { process: 'private-api-1', files: 30, memoryMib: 100 },
  { process: 'job-consumer-a', files: 25, memoryMib: 90 },
];

/** Both as they were, but the first. */
function after(first: { files?: number; memoryMib?: number }) {
  return before.map((one, at) => (at === 0 ? { ...one, ...first } : one));
}

it('lets a process keep some connections and some memory', () => {
  expect(grown(before, after({ files: 54, memoryMib: 228 }))).toEqual([]);
});

it.each([
  [{ files: 55 }, '55 files and connections, 100 MiB'],
  [{ memoryMib: 229 }, '30 files and connections, 229 MiB'],
])('tells of one that holds more: %o', (first, what) => {
  expect(grown(before, after(first))).toEqual([
    `private-api-1 holds ${what}; when it began private-api-1 holds 30 files and connections, 100 MiB`,
  ]);
});

it('tells of one that is not there any more', () => {
  expect(grown(before, before.slice(0, 1))).toEqual(['job-consumer-a does not run']);
});

it('reads what a process holds, and waits until it has let go', async () => {
  const world = { publicApis: [thisProcess()], privateApis: [], consumers: [] };
  const anew = await footprintsOf(world);
  expect(anew).toEqual([
    { process: 'this', files: expect.any(Number), memoryMib: expect.any(Number) },
  ]);
  const opened = await Promise.all(Array.from({ length: 40 }, () => open('/dev/null')));
  const [holding] = await footprintsOf(world);
  expect(holding?.files).toBeGreaterThanOrEqual((anew[0]?.files ?? Infinity) + 40);
  const atRest = footprintsAtRest(world, anew, AbortSignal.timeout(30_000));
  for (const file of opened) await file.close();
  expect((await atRest).tooLarge).toEqual([]);
});

it('counts only what runs', async () => {
  const stopped = { ...thisProcess(), pid: undefined };
  expect(await footprintsOf({ publicApis: [], privateApis: [], consumers: [stopped] })).toEqual([]);
});

/** This one, as far as its footprint goes. */
function thisProcess(): AppProcess {
  return { name: 'this', pid: process.pid } as AppProcess;
}
