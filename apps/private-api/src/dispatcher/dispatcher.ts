import { setTimeout as sleep } from 'node:timers/promises';
import { couldRun, needsInWords, type Capacity } from '@inference-server/contracts';
import { messageOf } from '@inference-server/errors';
import { crashPoint, type Logger } from '@inference-server/service-kit';
import type { TicketSender } from '@inference-server/task-queue';
import type { Leadership } from '../database/leader.js';
import type { Changes } from '../database/changes.js';
import type { AttemptRepository } from '../modules/attempts/repository.js';
import type { BlobService } from '../modules/blobs/service.js';
import type { ConsumerRepository } from '../modules/consumers/repository.js';
import { askOf, assignTickets, type Assignment } from './policy.js';
import type { ReplicaPlanner } from './replica-planner.js';
import type { DispatcherRepository, WaitingVersion } from './repository.js';

export interface Dispatcher {
  /** Asks for a pass now. */
  wake(): void;
  close(): Promise<void>;
}

export interface DispatcherTimings {
  /** The longest time between two passes without a reason. */
  tickMs: number;
  /**
   * No lease ends, and no consumer is missed, while the leader is younger than this: consumers come back first.
   */
  leaseGraceMs: number;
}

/**
 * Hands out tickets, and has replicas started and let go. Every private-api runs this loop; the one that holds
 * the leader row works. A pass is made of conditional writes, so that two leaders for a moment do no harm. It
 * is woken by every change of a task (a post, a claim, an end), of a replica or of the calls of a gateway, by a
 * registration, and by a timer.
 */
export function startDispatcher(deps: {
  rows: DispatcherRepository;
  consumers: Pick<ConsumerRepository, 'capacities'>;
  attempts: Pick<AttemptRepository, 'endLapsed'>;
  blobs: Pick<BlobService, 'removeMarked'>;
  replicas: ReplicaPlanner;
  tickets: TicketSender;
  changes: Omit<Changes, 'letGo' | 'close'>;
  leadership: Leadership;
  timings: DispatcherTimings;
  logger: Logger;
}): Dispatcher {
  const { rows, attempts, blobs, replicas, tickets, leadership, timings, logger } = deps;
  const closing = new AbortController();
  const alarm = createAlarm();
  let tidyAt = 0;
  /** The consumers whose tickets have left Redis. */
  const forgotten = new Set<string>();

  for (const channel of [deps.changes.tasks, deps.changes.replicas, deps.changes.gateways]) {
    channel.onAnyChange(alarm.ring);
  }

  const loop = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      try {
        const leads = await leadership.lead();
        if (leads !== undefined) await pass(leads);
      } catch (error) {
        logger.warn({ reason: messageOf(error) }, 'a dispatcher pass failed');
        leadership.doubt();
        await pause(500);
      }
      await alarm.next(timings.tickMs);
    }
    await leadership.resign();
  };

  const pass = async ({ steadyMs }: { steadyMs: number }): Promise<void> => {
    const assigned = await assignRoom(steadyMs > timings.leaseGraceMs);
    const [first] = assigned;
    if (first !== undefined) crashPoint('ticket_assigned', first.uid);
    await send(assigned);
    if (performance.now() < tidyAt) return;
    tidyAt = performance.now() + timings.tickMs;
    await endLapsedLeases();
    await replicas.tidy(timings.leaseGraceMs);
    const returned = await rows.returnTickets();
    if (returned > 0) logger.debug({ tickets: returned }, 'tickets are returned');
    const overdue = await rows.overdueTickets();
    if (overdue.length > 0) logger.debug({ tickets: overdue.length }, 'tickets are sent again');
    await send(overdue);
    await forgetGone();
  };

  /** A leader does it once for each that is gone; what Redis does not do now it is asked again. */
  const forgetGone = async (): Promise<void> => {
    const gone = new Set(await rows.goneConsumers());
    for (const id of forgotten) if (!gone.has(id)) forgotten.delete(id);
    for (const id of gone) {
      if (forgotten.has(id)) continue;
      try {
        await tickets.forget(id);
        forgotten.add(id);
      } catch (error) {
        logger.debug(
          { consumerId: id, reason: messageOf(error) },
          'tickets of a gone consumer stay',
        );
        return;
      }
    }
  };

  const endLapsedLeases = async (): Promise<void> => {
    const leader = { ...leadership.row, forMs: timings.leaseGraceMs };
    for (const { blobs: left, ...lapsed } of await attempts.endLapsed(leader)) {
      logger.warn(lapsed, 'a lease lapsed');
      await blobs.removeMarked(left);
    }
  };

  const assignRoom = async (isSteady: boolean): Promise<Assignment[]> => {
    const [versions, hosted] = await Promise.all([rows.waitingVersions(), replicas.read()]);
    if (versions.length === 0 && hosted.versions.length === 0) return [];
    const there = await deps.consumers.capacities();
    // Who was not heard of while nobody led may come back.
    await judgeServable(
      versions,
      there,
      isSteady ? there : await deps.consumers.capacities({ withGone: true }),
    );
    const consumers = there.filter(({ takesTickets }) => takesTickets);
    const busy = await rows.busy();
    const { room, keptFor } = await replicas.plan(hosted, consumers, busy);
    const books = replicas.booksWithoutIdle(room, hosted);
    if (versions.length === 0 || books.every(({ isFull }) => isFull)) return [];
    const asked = versions.flatMap(({ id, needs }) => askOf(id, needs, books) ?? []);
    const needs = new Map(versions.map((version) => [version.id, version.needs]));
    const waiting = (await rows.backlog(asked)).flatMap((task) => {
      const of = needs.get(task.versionId);
      return of === undefined ? [] : { ...task, needs: of };
    });
    const entered = { replicas: room.entered(), keptFor };
    const wanted = assignTickets(waiting, consumers, busy, entered);
    const assigned = wanted.length === 0 ? [] : await rows.assign(leadership.row, wanted);
    await replicas.makeRoom(room, hosted, waiting, assigned);
    return assigned;
  };

  /** Tells, once, what nobody could run who is there, or may be, and when somebody is there who could. */
  const judgeServable = async (
    versions: readonly WaitingVersion[],
    there: readonly Capacity[],
    mayBeThere: readonly Capacity[],
  ): Promise<void> => {
    const judged = versions
      .filter(({ needs, isUnservable }) =>
        isUnservable ? couldRun(needs, there) : !couldRun(needs, mayBeThere),
      )
      .map((version) => ({ ...version, isUnservable: !version.isUnservable }));
    if (judged.length === 0) return;
    await rows.noteUnservable(judged);
    for (const { humanReadableId, number, needs, isUnservable } of judged) {
      const model = { model: humanReadableId, version: number };
      if (!isUnservable) logger.info(model, 'a consumer has come that could run a model');
      else {
        logger.warn({ ...model, needs: needsInWords(needs) }, 'no consumer could run a model');
      }
    }
  };

  /** A ticket that Redis does not take now is sent again when it is overdue. */
  const send = async (assignments: readonly Assignment[]): Promise<void> => {
    for (const consumerId of new Set(assignments.map((assignment) => assignment.consumerId))) {
      // It has some again.
      forgotten.delete(consumerId);
      const own = assignments.filter((assignment) => assignment.consumerId === consumerId);
      await tickets
        .send(
          consumerId,
          own.map(({ uid, attempt }) => ({ taskUid: uid, attempt })),
        )
        .catch((error: unknown) => {
          logger.warn({ consumerId, reason: messageOf(error) }, 'tickets could not be sent');
        });
    }
  };

  const pause = (ms: number) =>
    sleep(ms, undefined, { signal: closing.signal }).catch(() => undefined);

  const running = loop();
  return {
    wake: alarm.ring,
    async close() {
      closing.abort();
      alarm.ring();
      await running;
    },
  };
}

/** Rings are kept: one that comes during a pass ends the next wait at once. */
function createAlarm() {
  let rung = false;
  let stopWaiting: (() => void) | undefined;
  return {
    ring(): void {
      rung = true;
      stopWaiting?.();
    },
    /** Resolves at a ring since the last call, or after `timeoutMs`. */
    async next(timeoutMs: number): Promise<void> {
      if (!rung) {
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, timeoutMs);
          stopWaiting = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      }
      rung = false;
      stopWaiting = undefined;
    },
  };
}
