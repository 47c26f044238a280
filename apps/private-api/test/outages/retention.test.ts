import { randomUUID } from 'node:crypto';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createTestDatabase, waitUntil } from '@inference-server/testing';
import { openDatabase, type Database } from '../../src/database/database.js';
import { createLeadership, leaderMs, leaderRenewMs } from '../../src/database/leader.js';
import { startRetention } from '../../src/retention/retention.js';
import type { Sweep } from '../../src/retention/sweep.js';

const inTime = { timeoutMs: 10_000 };
const opened: { close(): Promise<void> }[] = [];

let database: Database;
beforeEach(async () => {
  const { url } = await createTestDatabase();
  database = openDatabase(url, pino({ level: 'silent' }));
});
afterEach(async () => {
  for (const each of opened.splice(0)) await each.close();
  await database.close();
});

/** A sweep that has so many batches to take each time, and counts them. */
function counting(name: string, batches = 1): Sweep & { passes: number } {
  let left = batches;
  return {
    passes: 0,
    name,
    what: '',
    everyMs: 20,
    look: async () => ({ count: 0, bytes: 0 }),
    async take() {
      left -= 1;
      if (left > 0) return { count: 500, bytes: 1, more: true };
      left = batches;
      this.passes += 1;
      return { count: 1, bytes: 1, more: false };
    },
  };
}

/** As each process does it. */
function start(
  sweeps: readonly Sweep[],
  log: (line: string) => void = () => undefined,
  { asked = () => undefined, ...options }: { stuckAfterMs?: number; asked?: () => void } = {},
) {
  const holder = randomUUID();
  const logger = pino({}, { write: log });
  const rows = createLeadership(database, 'retention', holder, logger);
  const retention = startRetention({
    sweeps,
    leaderships: {
      rows: { ...rows, lead: () => (asked(), rows.lead()) },
      files: createLeadership(database, 'retention-files', holder, logger),
    },
    logger,
    ...options,
  });
  opened.push(retention);
  return retention;
}

it('sweeps in one process at a time, and another goes on when that one ends', async () => {
  const [first, second] = [counting('first'), counting('second')];
  const running = start([first]);
  expect(await waitUntil(() => first.passes > 0, inTime)).toBe(true);
  start([second]);
  const passes = first.passes;
  expect(await waitUntil(() => first.passes > passes + 20, inTime)).toBe(true);
  expect(second.passes).toBe(0);
  await running.close();
  expect(await waitUntil(() => second.passes > 0, inTime)).toBe(true);
});

it('takes batch after batch, tells what it took, and goes on after a fault', async () => {
  const logged: unknown[] = [];
  const faulty: Sweep = {
    ...counting('faulty'),
    take: () => Promise.reject(new Error('no disk')),
  };
  const many = counting('many', 4);
  start([faulty, many], (line) => logged.push(JSON.parse(line)));
  expect(await waitUntil(() => many.passes >= 3, inTime)).toBe(true);
  expect(logged).toContainEqual(
    expect.objectContaining({ level: 40, sweep: 'faulty', reason: 'no disk' }),
  );
  expect(logged).toContainEqual(
    expect.objectContaining({ level: 30, sweep: 'many', count: 1501, bytes: 4 }),
  );
});

it('leaves to others the time to come back before what asks for it', async () => {
  const [usual, patient] = [
    counting('usual'),
    { ...counting('patient'), afterLeadingMs: 3_600_000 },
  ];
  start([patient, usual]);
  expect(await waitUntil(() => usual.passes > 20, inTime)).toBe(true);
  expect(patient.passes).toBe(0);
  await database.query(`UPDATE leaders SET steady_since = now() - interval '2 hours'`);
  expect(await waitUntil(() => patient.passes > 0, inTime)).toBe(true);
});

/** A sweep of one step, which lasts until it is released; one that is hung hears of no abort. */
function lasting(name: string, { isHung = false } = {}) {
  let release: () => void = () => undefined;
  const released = new Promise<void>((resolve) => (release = resolve));
  const sweep = { ...counting(name), begun: 0, isOver: false, release };
  return Object.assign(sweep, {
    async take(signal: AbortSignal) {
      sweep.begun += 1;
      if (!isHung) signal.addEventListener('abort', release);
      await released;
      sweep.isOver = true;
      return { count: 1, bytes: 1, more: false };
    },
  });
}

it('stays the leader while a step lasts longer than an unrenewed leadership', async () => {
  const long = lasting('long');
  start([long]);
  expect(await waitUntil(() => long.begun > 0, inTime)).toBe(true);
  const other = counting('other');
  start([other]);
  const [first] = await leaders();
  const isRenewedOften = async () => {
    const [now] = await leaders();
    return now !== undefined && now.until - (first?.until ?? 0) > leaderMs + 2_000;
  };
  expect(await waitUntil(isRenewedOften, { timeoutMs: 30_000 })).toBe(true);
  expect(await leaders()).toMatchObject([{ holder: first?.holder }]);
  expect([long.begun, long.isOver, other.passes]).toEqual([1, false, 0]);
  long.release();
}, 60_000);

it('goes on with the clocks while a walk through the store lasts', async () => {
  const walk = Object.assign(lasting('walk'), { waitsForDisk: true });
  const clock = counting('clock');
  start([walk, clock]);
  expect(await waitUntil(() => walk.begun > 0, inTime)).toBe(true);
  const passes = clock.passes;
  expect(await waitUntil(() => clock.passes > passes + 20, inTime)).toBe(true);
  expect(walk.isOver).toBe(false);
  walk.release();
});

it('goes on with every clock while one of them has much to take', async () => {
  const other = counting('other');
  const endless: Sweep = {
    ...counting('endless'),
    take: async () => {
      await database.query('SELECT 1');
      return { count: 500, bytes: 1, more: true };
    },
  };
  start([endless, other]);
  expect(await waitUntil(() => other.passes > 3, inTime)).toBe(true);
});

it('calls a step off when another process has become the leader', async () => {
  const long = lasting('long');
  start([long]);
  expect(await waitUntil(() => long.begun > 0, inTime)).toBe(true);
  await database.query(`UPDATE leaders SET holder = 'another', leader_until = 'infinity'`);
  expect(await waitUntil(() => long.isOver, inTime)).toBe(true);
});

it('lets another lead for as long as a step hangs, and says which', async () => {
  const logged: unknown[] = [];
  const hung = lasting('hung', { isHung: true });
  let questions = 0;
  start([hung], (line) => logged.push(JSON.parse(line)), {
    stuckAfterMs: 200,
    asked: () => (questions += 1),
  });
  expect(await waitUntil(() => hung.begun > 0, inTime)).toBe(true);
  const other = counting('other');
  const running = start([other]);
  expect(await waitUntil(() => other.passes > 0, inTime)).toBe(true);
  expect([hung.begun, hung.isOver]).toEqual([1, false]);
  expect(logged).toContainEqual(expect.objectContaining({ level: 50, sweep: 'hung', afterS: 0.2 }));
  await running.close();
  const before = questions;
  const isLed = async () => (await leaders()).length > 0;
  const isTaken = await waitUntil(isLed, { timeoutMs: 2 * leaderRenewMs });
  const asked = questions - before;
  hung.release();
  // Not even for a moment, in which another could not have it.
  expect([isTaken, asked]).toEqual([false, 0]);
  expect(await waitUntil(isLed, inTime)).toBe(true);
  expect(await waitUntil(() => hung.begun > 1, inTime)).toBe(true);
}, 60_000);

it('goes on with the rows while the disk hangs', async () => {
  const led: Record<'rows' | 'files', Awaited<ReturnType<typeof leaders>>> = {
    rows: [],
    files: [],
  };
  const hung = lasting('disk', { isHung: true });
  const disk: Sweep = {
    ...hung,
    waitsForDisk: true,
    async take(signal) {
      led.files = await leaders('retention-files');
      return hung.take(signal);
    },
  };
  const clock = counting('clock');
  const first: Sweep = {
    ...counting('first'),
    everyMs: 3_600_000,
    async take() {
      led.rows = await leaders();
      return { count: 0, bytes: 0, more: false };
    },
  };
  start([disk, first, clock], undefined, { stuckAfterMs: 2_000 });
  const isGivenUp = async () => hung.begun > 0 && (await leaders('retention-files')).length === 0;
  expect(await waitUntil(isGivenUp, inTime)).toBe(true);
  const passes = clock.passes;
  const goesOn = await waitUntil(() => clock.passes > passes + 20, inTime);
  const ledNow = await leaders();
  hung.release();
  expect(goesOn).toBe(true);
  // Each has its own, and the one of the rows was given up by nobody, not for a moment.
  const own = led.rows.map(({ holder, since }) => ({ holder, since }));
  expect(own).toHaveLength(1);
  expect(led.files).toMatchObject([{ holder: own[0]?.holder }]);
  expect(ledNow).toMatchObject(own);
}, 60_000);

const leaders = (name = 'retention') =>
  database.query<{ holder: string; until: number; since: string }>(
    `SELECT holder, (extract(epoch FROM leader_until) * 1000)::float8 AS until,
            steady_since::text AS since FROM leaders
      WHERE name = $1`,
    [name],
  );
