import { randomBytes, randomInt, randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  isEnded,
  nextTaskState,
  type TaskEvent,
  type TaskState,
} from '@inference-server/contracts';
import { createTestDatabase, type TestDatabase } from '@inference-server/testing';
import { openDatabase, type Database } from '../../src/database/database.js';
import { createLeadership } from '../../src/database/leader.js';
import { createDispatcherRepository } from '../../src/dispatcher/repository.js';
import { atTheStart } from '../../src/modules/audit/repository.js';
import { createAttemptRepository } from '../../src/modules/attempts/repository.js';
import { createBlobRepository } from '../../src/modules/blobs/repository.js';
import { createConsumerRepository } from '../../src/modules/consumers/repository.js';
import { createModelRepository } from '../../src/modules/models/repository.js';
import { sweepExpiredTasks } from '../../src/retention/expired-tasks.js';
import { newModel } from '../new-model.js';
import {
  allMoves,
  consumerIds,
  isSame,
  newSeen,
  outcomes,
  stories,
  told,
  type ConsumerId,
  type Happening,
  type Lease,
  type Seen,
  type TicketBack,
} from '../life-stories.js';
import { plenty } from '../capacities.js';
import { tasksIn } from '../task-helpers.js';

// Random orders of what can happen to a task, at the repositories on a real database, held against
// the table of the contract and a model of the lease that is a few lines long.

const logger = pino({ level: 'silent' });
let test: TestDatabase;
let database: Database;

const maxAttempts = 3;
const retries = 1;
const heartbeatTimeoutMs = 3_600_000;

beforeAll(async () => {
  test = await createTestDatabase();
  database = openDatabase(test.url, logger);
  const models = createModelRepository(database);
  await models.insert(newModel({ retries }), null);
});
afterAll(() => database.close());

it('keeps to the table and to one holder, and makes every move of it', async () => {
  const seen = newSeen();
  await liveAll(seen, { seed: 4, numRuns: 40, examples: told.map((story) => [story]) });
  // Each branch was reached, and each move of the table made.
  for (const [branch, count] of Object.entries(seen.branches))
    expect([branch, count > 0]).toEqual([branch, true]);
  expect([...seen.moves].sort()).toEqual(allMoves.sort());
}, 240_000);

it('keeps to them in orders that were never tried before', async () => {
  // What fails is reported with its seed, which goes in here then.
  await liveAll(newSeen(), { seed: randomInt(2 ** 31), numRuns: 20 });
}, 240_000);

async function liveAll(seen: Seen, runs: fc.Parameters<[Happening[]]>): Promise<void> {
  await fc.assert(
    fc.asyncProperty(stories, async (story) => {
      await live(story, seen);
    }),
    { ...runs, endOnFailure: true },
  );
}

async function live(story: readonly Happening[], { branches, moves }: Seen): Promise<void> {
  const attempts = createAttemptRepository(database, {
    leaseMs: 60_000,
    parkMs: 600_000,
    maxAttempts,
    logger,
  });
  const dispatcher = createDispatcherRepository(database, {
    heartbeatTimeoutMs,
    // Every ticket is overdue at once.
    resendAfterMs: -1_000,
    goneAfterMs: 0,
  });
  const leadership = createLeadership(database, 'dispatcher', 'the test', logger);
  await leadership.lead();
  const tasks = tasksIn(database);
  const blobs = createBlobRepository(database);
  const consumers = createConsumerRepository(database, {
    heartbeatTimeoutMs: 0,
    goneAfterMs: 0,
    parkMs: 0,
  });
  const uid = randomBytes(32).toString('base64url');
  const holders = { a: randomUUID(), b: randomUUID() };
  const register = (id: ConsumerId, state: 'ready' | 'engine_away' = 'ready') =>
    consumers.register(id, {
      holder: holders[id],
      version: '0',
      state,
      reason: null,
      ...plenty,
      slots: 1,
    });
  const newBlob = async () => {
    const blob = { id: randomUUID(), bytes: 1, sha256: randomBytes(32).toString('hex') };
    await blobs.insertPending(blob.id);
    return blob;
  };
  for (const id of consumerIds) await register(id);
  await tasks.insert({
    uid,
    by: atTheStart,
    humanReadableId: 'copy',
    input: await newBlob(),
    idempotencyKey: undefined,
  });

  const read = async () => {
    const [row] = await test.query<{
      state: TaskState;
      attempt: number;
      consumer: string | null;
      cancel: boolean;
    }>(
      `SELECT state, attempt, consumer_id AS consumer, cancel_requested_at IS NOT NULL AS cancel
         FROM tasks WHERE uid = $1`,
      [uid],
    );
    return row ?? expect.fail('the row of the task is gone');
  };
  const current = async (): Promise<Lease | undefined> => {
    const [row] = await test.query<Lease & Record<string, unknown>>(
      `SELECT number AS attempt, epoch, holder, consumer_id AS consumer FROM attempts
        WHERE task_uid = $1 AND ended_at IS NULL`,
      [uid],
    );
    return row;
  };
  const won: Lease[] = [];
  /** Whose containers a neighbour might have removed by now. */
  const over = new Set<number>();

  for (const happening of story) {
    const before = await read();
    const held = await current();
    const happened = await take(happening, before, held);
    const after = await read();
    // Every move stands in the table, under the event that happened.
    if (after.state !== before.state) {
      // A lapsed lease is resumed and settled in one.
      const from = happened.includes('attempt_resumed')
        ? [before.state, 'RUNNING' as const]
        : [before.state];
      const allowed = from.flatMap((state) => happened.map((event) => nextTaskState(state, event)));
      expect(allowed).toContain(after.state);
      const made = happened.filter((event) => nextTaskState(before.state, event) === after.state);
      for (const event of made) moves.add(`${before.state} ${event}`);
    }
    if (isEnded(before.state)) expect(after).toEqual(before);
    // One attempt at most is under way, and one is exactly while the task runs.
    const open = await test.query<{ number: number }>(
      `SELECT number FROM attempts WHERE task_uid = $1 AND ended_at IS NULL`,
      [uid],
    );
    expect(open).toHaveLength(after.state === 'RUNNING' ? 1 : 0);
    const [counted] = await test.query<{ faults: number; failures: number; accepted: number }>(
      `SELECT count(*) FILTER (WHERE outcome IN ('fault', 'lost'))::int AS faults,
              count(*) FILTER (WHERE outcome = 'failed')::int AS failures,
              count(*) FILTER (WHERE outcome = 'finished')::int AS accepted
         FROM attempts WHERE task_uid = $1`,
      [uid],
    );
    const { faults = 0, failures = 0 } = counted ?? {};
    expect(faults).toBeLessThanOrEqual(maxAttempts);
    expect(failures).toBeLessThanOrEqual(retries + 1);
    // It is given up when it has used up the one or the other, not before.
    const usedUp = faults === maxAttempts || failures > retries;
    if (after.state !== 'CANCELLED') expect(after.state === 'FAILED').toBe(usedUp);
    expect(counted?.accepted).toBe(after.state === 'FINISHED' ? 1 : 0);
    // What a consumer had when it was gone for good never goes on.
    expect(open.filter(({ number }) => over.has(number))).toEqual([]);
    const { gone } = await consumers.findGone(consumerIds);
    for (const { number } of await numbersOf(gone)) {
      if (!over.has(number)) count('gone');
      over.add(number);
    }
  }
  // The consumers of the next story hold nothing, and have no tickets.
  await test.query(
    `UPDATE attempts SET ended_at = coalesce(ended_at, now()), outcome = 'released'`,
  );
  await test.query(`UPDATE tasks SET state = 'CANCELLED' WHERE uid = $1 AND ended_at IS NULL`, [
    uid,
  ]);

  function numbersOf(ids: readonly string[]): Promise<{ number: number }[]> {
    return test.query(
      `SELECT number FROM attempts WHERE task_uid = $1 AND consumer_id = ANY($2::text[])`,
      [uid, ids],
    );
  }

  /** Does it, holds its answer against what the lease allows, and tells which events it may be. */
  async function take(
    happening: Happening,
    before: Awaited<ReturnType<typeof read>>,
    held: Lease | undefined,
  ): Promise<TaskEvent[]> {
    switch (happening.kind) {
      case 'assign': {
        await test.query(`UPDATE tasks SET not_before = NULL WHERE uid = $1`, [uid]);
        const { attempt } = before;
        const wanted = { uid, attempt, consumerId: happening.consumer, lenders: [] };
        const taken = await dispatcher.assign(leadership.row, [wanted]);
        expect(taken.length > 0).toBe(before.state === 'PENDING');
        return ['ticket_sent'];
      }
      case 'resend': {
        const sent = await dispatcher.overdueTickets();
        const own = sent.filter((ticket) => ticket.uid === uid);
        const { attempt, consumer } = before;
        expect(own).toEqual(
          before.state === 'QUEUED' ? [{ uid, attempt, consumerId: consumer, lenders: [] }] : [],
        );
        if (own.length > 0) count('resent');
        return [];
      }
      case 'away':
      case 'sign off':
      case 'drain':
      case 'restart':
        return takeTicketBack(happening.kind, happening.consumer, before);
      case 'claim':
      case 'adopt': {
        const { kind, consumer } = happening;
        const holder = holders[consumer];
        for (const attempt of kind === 'claim'
          ? [before.attempt]
          : [before.attempt, before.attempt - 1]) {
          const asked = { taskUid: uid, attempt, consumerId: consumer, holder };
          const answer = await attempts[kind](asked);
          // Claimed is what was sent, by whom it was sent to, once.
          if (kind === 'claim') {
            const isSent = before.state === 'QUEUED' && before.consumer === consumer;
            const isOwn = held?.consumer === consumer && held.holder === holder && held.epoch === 1;
            expect(answer !== undefined).toBe(isSent || isOwn);
          }
          if (answer === undefined) continue;
          const now = await current();
          expect(now).toEqual({ attempt, epoch: answer.epoch, holder, consumer });
          if (held?.holder !== holder || held.epoch !== answer.epoch)
            won.unshift({ attempt, epoch: answer.epoch, holder, consumer });
          if (kind === 'adopt' && held !== undefined && held.holder !== holder) count('adopted');
          if (kind === 'adopt' && held === undefined) count('resumed');
        }
        return kind === 'claim' ? ['claimed'] : ['attempt_resumed'];
      }
      case 'lapse':
        await test.query(
          `UPDATE attempts SET lease_until = now() - interval '1 s'
            WHERE task_uid = $1 AND ended_at IS NULL`,
          [uid],
        );
        await attempts.endLapsed({ ...leadership.row, forMs: -1_000 });
        return before.cancel ? ['cancelled'] : ['attempt_retried', 'attempt_failed'];
      case 'cancel': {
        const isUnderWay = await tasks.cancel({ uid, owner: null }, atTheStart);
        if (isEnded(before.state)) expect(isUnderWay).toBe(false);
        return before.state === 'RUNNING' ? [] : ['cancelled'];
      }
      case 'expire': {
        // As if the time in the queue were over at once.
        const { take } = sweepExpiredTasks(database, { queueTtlS: -1_000_000, everyMs: 0 });
        await take(new AbortController().signal);
        if ((await read()).state === 'EXPIRED' && before.state !== 'EXPIRED') count('expired');
        return ['queue_time_over'];
      }
      case 'delete':
        await tasks.bury({ uid, owner: null }, atTheStart);
        return before.state === 'RUNNING' ? [] : ['cancelled'];
      case 'renew':
      case 'park': {
        const lease = won[happening.lease];
        if (lease === undefined) return [];
        const named = { taskUid: uid, consumerId: lease.consumer, ...lease };
        const answer = await (happening.kind === 'renew'
          ? attempts.renew(named)
          : attempts.park(named));
        const resumed = held === undefined && answer !== undefined;
        if (resumed) count('resumed');
        if (held !== undefined) expect(answer !== undefined).toBe(isSame(held, lease));
        if (answer === undefined) count('refused');
        return ['attempt_resumed'];
      }
      default:
        return settle(happening.kind, won[happening.lease], before, held);
    }
  }

  /** Its ticket, if it is the consumer's, and nothing else. */
  async function takeTicketBack(
    kind: TicketBack,
    id: ConsumerId,
    before: Awaited<ReturnType<typeof read>>,
  ): Promise<TaskEvent[]> {
    const hadTicket = before.state === 'QUEUED' && before.consumer === id;
    if (kind === 'away') {
      await register(id, 'engine_away');
      await dispatcher.returnTickets();
      await register(id);
    } else if (kind === 'restart') {
      holders[id] = randomUUID();
      await register(id);
    } else if (kind === 'sign off') {
      expect(await consumers.signOff(id, holders[id])).toBe(hadTicket ? 1 : 0);
      await register(id);
    } else {
      const drained = await consumers.drain(id, atTheStart);
      expect(drained?.queued).toBe(0);
      await consumers.resume(id, atTheStart);
    }
    const after = await read();
    if (!hadTicket) {
      expect(after).toEqual(before);
      return [];
    }
    count(kind);
    const [last] = await test.query<{ consumer: string }>(
      `SELECT consumer_id AS consumer FROM attempts WHERE task_uid = $1 AND number = $2`,
      [uid, before.attempt - 1],
    );
    expect(after).toEqual({ ...before, state: 'PENDING', consumer: last?.consumer ?? null });
    return ['ticket_returned'];
  }

  async function settle(
    kind: keyof typeof outcomes,
    lease: Lease | undefined,
    before: Awaited<ReturnType<typeof read>>,
    held: Lease | undefined,
  ): Promise<TaskEvent[]> {
    if (lease === undefined) return [];
    const named = { taskUid: uid, consumerId: lease.consumer, ...lease };
    const end = { reason: null, detail: '', exitCode: null, log: null, usage: null };
    const outcome = outcomes[kind];
    let sha256: string | null = null;
    if (kind === 'finish') {
      const output = await newBlob();
      const kept = await attempts.keepOutput(named, output);
      // A lapsed lease must be renewed before its output is taken.
      if (kept === undefined) return [];
      sha256 = output.sha256;
    }
    const settled = await attempts
      .settle(named, { ...end, outcome }, sha256)
      .catch((error: unknown) => {
        expect(error).toMatchObject({ code: 'CONFLICT' });
        expect([kind, before.cancel]).toEqual(['gone', false]);
        return 'impossible' as const;
      });
    if (settled === 'impossible') return [];
    if (settled === undefined) count('refused');
    if (held !== undefined && !isSame(held, lease)) expect(settled).toBeUndefined();
    if (settled?.outcome !== 'settled') return ['attempt_resumed'];
    if (before.cancel) expect(['finish', 'fail']).not.toContain(kind);
    const after = await read();
    if (after.state === 'FINISHED') count('finished');
    if (after.state === 'CANCELLED') count('cancelled');
    if (after.state === 'FAILED') count('failed');
    if (kind === 'fail' && after.state === 'PENDING') count('tried again');
    if (before.state !== 'RUNNING') {
      return ['attempt_resumed', 'output_accepted', 'attempt_failed', 'attempt_retried'];
    }
    return ['output_accepted', 'attempt_failed', 'attempt_retried', 'cancelled'];
  }

  function count(branch: string): void {
    branches[branch] = (branches[branch] ?? 0) + 1;
  }
}
