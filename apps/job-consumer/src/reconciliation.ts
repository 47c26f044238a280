import { setTimeout as sleep } from 'node:timers/promises';
import { EngineError, type ContainerEngine } from '@inference-server/container-engine';
import { AppError, messageOf } from '@inference-server/errors';
import { joinSignals, type Logger } from '@inference-server/service-kit';
import type { Ticket } from '@inference-server/task-queue';
import type { ActiveAttempts } from './active-attempts.js';
import type { EngineWatch } from './engine-watch.js';
import { listOwn, removeLeftovers, type OwnThing } from './leftovers.js';
import type { Names } from './names.js';
import type { PrivateApiClient } from './private-api-client.js';
import { adoptAttempt } from './run/adopt.js';
import type { Slots } from './slots.js';

/**
 * Brings together, again and again, what this consumer has in the engine, what private-api says that
 * it holds, and what is under way here: at the start, when the engine is back, when an attempt has
 * left traces, and from time to time. Whatever is not under way is adopted, or else removed.
 */
export interface Reconciliation {
  /** Looks at once; the first pass is to be asked for. */
  hurry(): void;
  /** What was found so far does not hold any more: a pass must end before anything new is begun. */
  reset(): void;
  /** Resolves once its signal has aborted and nothing is under way. */
  ended: Promise<void>;
}

export interface ReconciliationDeps {
  engine: ContainerEngine;
  engineWatch: Pick<EngineWatch, 'isReady' | 'suspect'>;
  api: PrivateApiClient;
  names: Names;
  attempts: ActiveAttempts;
  slots: Slots;
  logger: Logger;
}

/**
 * `onPending` is called when it has changed why a pass is waited for; undefined: one has ended. A pass
 * that something keeps from its end, or from removing all that it should, is repeated after 1 s, after
 * 2 s, and so on up to `intervalMs`.
 */
export function startReconciliation(
  deps: ReconciliationDeps,
  options: {
    holder: string;
    intervalMs: number;
    onPending: (reason: string | undefined) => void;
    /** Aborts when the consumer stops, or another process has become it: nothing is touched then. */
    signal: AbortSignal;
  },
): Reconciliation {
  const { engineWatch, logger } = deps;
  const { intervalMs, onPending, signal } = options;
  const isClosing = () => signal.aborted;
  const runPass = createPass(deps, options.holder);
  let hurry = new AbortController();
  let resets = 0;
  let troubles = 0;

  const run = async () => {
    const resetsBefore = resets;
    try {
      const isClean = await runPass(signal);
      troubles = isClean ? 0 : troubles + 1;
      if (resets === resetsBefore) onPending(undefined);
    } catch (error) {
      if (isClosing()) return;
      troubles += 1;
      const reason = messageOf(error);
      logger.warn({ reason }, 'what was left behind could not be taken up');
      onPending(`What was left behind could not be taken up: ${reason}`);
      engineWatch.suspect(error);
    }
  };

  const loop = async () => {
    while (!isClosing()) {
      const pauseMs =
        troubles === 0 ? intervalMs : Math.min(firstPauseMs * 2 ** troubles, intervalMs);
      const interrupt = joinSignals(signal, hurry.signal);
      await sleep(pauseMs, undefined, { signal: interrupt.signal }).catch(() => undefined);
      interrupt.release();
      hurry = new AbortController();
      if (!isClosing() && engineWatch.isReady) await run();
    }
  };

  return {
    hurry: () => {
      hurry.abort();
    },
    reset() {
      resets += 1;
      onPending(untilFirstPass);
    },
    ended: loop(),
  };
}

/** Why no pass has ended yet, unless one has failed. */
export const untilFirstPass = 'It is taking up what was left behind.';

const firstPauseMs = 500;

/**
 * One pass; harmless at any time and however often. False when something is to be looked at again.
 *
 * First what is there is listed, then private-api is asked whose it is, then what was listed goes, and
 * nothing else: what is made from then on is not in the list, and what is under way is reserved here
 * before it is claimed. Only that of which private-api says that it is over is removed; to a process
 * that was replaced it says CONSUMER_EXISTS, which ends the pass before it has touched anything.
 */
function createPass(
  { engine, api, names, attempts, slots, logger }: ReconciliationDeps,
  holder: string,
): (signal: AbortSignal) => Promise<boolean> {
  // Of no attempt, and there before this process began anything: of an earlier one.
  let strays: OwnThing[] | undefined;

  /** `unclear`: nobody could say, now. */
  const takeUp = async (
    ticket: Ticket,
    signal: AbortSignal,
  ): Promise<'active' | 'over' | 'unclear'> => {
    const reservation = attempts.reserve(ticket);
    if (reservation === undefined) return 'active';
    try {
      const adoption = await adoptAttempt({ engine, api, names }, ticket, holder, signal);
      if (adoption === undefined) {
        reservation.release();
        return 'over';
      }
      const { claim, adopted } = adoption;
      logger.info({ ...ticket, runs: adopted !== 'missing' }, 'adopted');
      reservation.start(claim, slots.take(), adopted);
      return 'active';
    } catch (error) {
      reservation.release();
      if (signal.aborted || concernsAll(error)) throw error;
      logger.warn({ ...ticket, reason: messageOf(error) }, 'an attempt could not be taken up');
      return 'unclear';
    }
  };

  return async (signal) => {
    const there = await listOwn({ engine, names }, signal);
    strays ??= there.filter(({ attempt }) => attempt === undefined);
    const found = new Map<string, Ticket>();
    for (const { task_uid: taskUid, attempt } of await api.heldAttempts(signal)) {
      found.set(keyOf({ taskUid, attempt }), { taskUid, attempt });
    }
    for (const { attempt } of there) {
      if (attempt !== undefined) found.set(keyOf(attempt), attempt);
    }
    const over = new Set<string>();
    let isClear = true;
    for (const [key, ticket] of found) {
      const state = await takeUp(ticket, signal);
      if (state === 'over') over.add(key);
      if (state === 'unclear') isClear = false;
    }
    const isOver = ({ attempt }: OwnThing) => attempt !== undefined && over.has(keyOf(attempt));
    const stay = await removeLeftovers([...strays, ...there.filter(isOver)], logger, signal);
    strays = strays.filter((stray) => stay.includes(stray));
    return isClear && stay.length === 0;
  };
}

/** Whether another attempt would fare no better. */
function concernsAll(error: unknown): boolean {
  if (error instanceof EngineError) return error.problem === 'unreachable';
  return error instanceof AppError && (error.retryable || error.code === 'CONSUMER_EXISTS');
}

function keyOf({ taskUid, attempt }: Ticket): string {
  return `${taskUid}.${attempt}`;
}
