import { afterEach, beforeEach, expect, it } from 'vitest';
import { EngineError } from '@inference-server/container-engine';
import type { Logger, Sweep } from '@inference-server/service-kit';
import { startEngineSweeps } from '../src/engine-sweeps.js';

let logged: Record<string, unknown>[];
let suspected: unknown[];
let engineWatch: { isReady: boolean; suspect(error: unknown): void };
let running: { close(): Promise<void> } | undefined;

beforeEach(() => {
  logged = [];
  suspected = [];
  engineWatch = { isReady: true, suspect: (error) => suspected.push(error) };
});
afterEach(() => running?.close());

it('counts what was taken, and says once that a sweep fails, which stops no other', async () => {
  const failure = new EngineError('unreachable', 'away');
  let isFailing = true;
  let tries = 0;
  const failing = sweepOf('failing', async () => {
    tries += 1;
    if (isFailing) throw failure;
    return { count: 0, bytes: 0, more: false };
  });
  start(failing, counting);
  await expect.poll(() => tries).toBeGreaterThan(2);
  expect(logged.filter(({ msg }) => msg === 'a sweep failed')).toEqual([
    { sweep: 'failing', reason: 'away', msg: 'a sweep failed' },
  ]);
  expect(logged).toContainEqual({ sweep: 'counting', count: 2, bytes: 3, msg: 'swept' });
  expect(suspected[0]).toBe(failure);
  // Of a sweep that works again the next failure is told again.
  isFailing = false;
  const before = tries;
  await expect.poll(() => tries).toBeGreaterThan(before + 1);
  isFailing = true;
  const told = () => logged.filter(({ msg }) => msg === 'a sweep failed').length;
  await expect.poll(told).toBe(2);
});

it('does nothing while the engine is away, and ends in the middle when it is closed', async () => {
  engineWatch.isReady = false;
  let begun = 0;
  const long = sweepOf('long', async (signal) => {
    begun += 1;
    await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
    throw signal.reason as Error;
  });
  start(counting, long);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect([begun, logged]).toEqual([0, []]);
  engineWatch.isReady = true;
  await expect.poll(() => begun).toBe(1);
  await running?.close();
  expect(logged.map(({ msg }) => msg)).toEqual(['swept']);
  expect(suspected).toEqual([]);
});

const counting = sweepOf('counting', async () => ({ count: 2, bytes: 3, more: false }));

function sweepOf(name: string, take: Sweep['take']): Sweep {
  return { name, what: '', look: take, take };
}

function start(...sweeps: Sweep[]): void {
  const note = (entry: Record<string, unknown>, msg: string) => logged.push({ ...entry, msg });
  const logger = { info: note, warn: note } as unknown as Logger;
  running = startEngineSweeps(sweeps, { engineWatch, intervalMs: 10, logger });
}
