import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerEngine } from '@inference-server/container-engine';
import { AppError, messageOf } from '@inference-server/errors';
import { joinSignals, type Logger } from '@inference-server/service-kit';
import type { Ticket } from '@inference-server/task-queue';
import type { ActiveAttempts } from './active-attempts.js';
import type { EngineWatch } from './engine-watch.js';
import type { FleetMember } from './fleet.js';
import { listOthersOn, listOwn, removeLeftovers, type OwnThing } from './leftovers.js';
import type { Names } from './names.js';
import type { PrivateApiClient } from './private-api-client.js';
import { adoptAttempt } from './run/adopt.js';
import { keyOf } from './ticket-key.js';

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
  /** Has given back what the container of an attempt has that is over, once it is gone. */
  keep(ticket: Ticket, giveBack: () => void): void;
  /** Resolves once its signal has aborted and nothing is under way. */
  ended: Promise<void>;
}

export interface ReconciliationDeps {
  engine: ContainerEngine;
  engineWatch: Pick<EngineWatch, 'isReady' | 'suspect'>;
  api: PrivateApiClient;
  names: Names;
  attempts: ActiveAttempts;
  member: FleetMember;
  /** Whether a container of this name, which is of no attempt, is of use. */
  isInUse: (container: string) => boolean;
  logger: Logger;
}

/**
 * `onPending` is called when it may have changed why a pass is waited for; undefined: nothing is left to be
 * adopted. `held`: so many places are those of containers that are not under way here. A pass that fails is repeated after 1 s, after 2 s, and so on up to 5 s: a lease that nobody
 * renews lasts for 30. One that could not remove all that it should, is up to `intervalMs`.
 */
export function startReconciliation(
  deps: ReconciliationDeps,
  options: {
    holder: string;
    intervalMs: number;
    onPending: (reason: string | undefined, held: number) => void;
    /** Aborts when the consumer stops, or another process has become it: nothing is touched then. */
    signal: AbortSignal;
    /** Aborts when the process must end: an adoption that was begun is brought to its end. */
    outOfTime: AbortSignal;
  },
): Reconciliation {
  const { engineWatch, logger } = deps;
  const { intervalMs, signal } = options;
  const isClosing = () => signal.aborted;
  const { adoptAll, keep, blockedBy, heldPlaces } = createAdoption(deps, options);
  const onPending = (reason: string | undefined) => {
    options.onPending(reason, heldPlaces());
  };
  let hurry = new AbortController();
  let resets = 0;
  // How many of the resets a pass has made good.
  let madeGood = -1;
  let troubles = 0;
  let longestPauseMs = intervalMs;
  let lastEndedAt = Number.NEGATIVE_INFINITY;

  const run = async () => {
    const resetsBefore = resets;
    try {
      const { leftovers, isClear, freePlaces } = await adoptAll();
      madeGood = resetsBefore;
      if (madeGood === resets) onPending(blockedBy());
      const stay = await removeLeftovers(leftovers, logger, signal);
      freePlaces(stay);
      if (madeGood === resets) onPending(blockedBy());
      troubles = isClear && stay.length === 0 ? 0 : troubles + 1;
      longestPauseMs = isClear ? intervalMs : longestWhenFailedMs;
    } catch (error) {
      if (isClosing()) return;
      troubles += 1;
      longestPauseMs = longestWhenFailedMs;
      const reason = messageOf(error);
      logger.warn({ reason }, 'what was left behind could not be taken up');
      if (madeGood !== resets) onPending(`What was left behind could not be taken up: ${reason}`);
      engineWatch.suspect(error);
    }
  };

  const loop = async () => {
    while (!isClosing()) {
      const pauseMs =
        troubles === 0
          ? intervalMs
          : Math.min(firstPauseMs * 2 ** troubles, longestPauseMs, intervalMs);
      const interrupt = joinSignals(signal, hurry.signal);
      await sleep(pauseMs, undefined, { signal: interrupt.signal }).catch(() => undefined);
      interrupt.release();
      hurry = new AbortController();
      // Whoever hurries it again and again does not keep it busy all the time.
      const restMs = Math.max(0, lastEndedAt + leastPauseMs - performance.now());
      await sleep(restMs, undefined, { signal }).catch(() => undefined);
      if (isClosing() || !engineWatch.isReady) continue;
      await run();
      lastEndedAt = performance.now();
    }
  };

  return {
    hurry: () => {
      hurry.abort();
    },
    keep,
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
const leastPauseMs = 1_000;
const longestWhenFailedMs = 5_000;

/**
 * The first half of a pass, harmless at any time and however often: adopts all that there is to adopt.
 * `leftovers` are to be removed in the second; `isClear`: of every attempt it is known whose it is.
 * A container that runs has a place, be it adopted or not: what is to be removed keeps it until
 * `freePlaces` is told what stays.
 *
 * First what is there is listed, then private-api is asked whose it is, then what was listed goes, and
 * nothing else: what is made from then on is not in the list, and what is under way is reserved here
 * before it is claimed. Only that of which private-api says that it is over is removed; to a process
 * that was replaced it says CONSUMER_EXISTS, which ends the pass before it has touched anything.
 */
function createAdoption(
  { engine, api, names, attempts, member, isInUse, logger }: ReconciliationDeps,
  { holder, signal, outOfTime }: { holder: string; signal: AbortSignal; outOfTime: AbortSignal },
): Adoption {
  const { device, slots } = member.identity;
  /** What containers have that are not under way here, by attempt: to be given back. */
  const held = new Map<string, () => void>();
  /** The same of containers of other consumers that have the device, and are not under way here either. */
  const foreign = new Map<string, () => void>();
  const lookForForeign = async () => {
    if (device === null) return;
    const there = await listOthersOn({ engine, names }, device, signal);
    const strange = there.filter((holder) => !member.isAllotted(holder)).map(keyOf);
    for (const key of strange) if (!foreign.has(key)) foreign.set(key, member.keep());
    for (const [key, giveBack] of foreign) {
      if (strange.includes(key)) continue;
      foreign.delete(key);
      giveBack();
    }
  };
  const adoptAll = async () => {
    await lookForForeign();
    // What is kept from here on may be of what is not in the list.
    const known = new Set(held.keys());
    const there = await listOwn({ engine, names, logger }, signal);
    const found = new Map<string, Ticket>();
    for (const { task_uid: taskUid, attempt } of await api.heldAttempts(signal)) {
      found.set(keyOf({ taskUid, attempt }), { taskUid, attempt });
    }
    for (const { attempt } of there) {
      if (attempt !== undefined) found.set(keyOf(attempt), attempt);
    }
    signal.throwIfAborted();
    const over = new Set<string>();
    const failures: unknown[] = [];
    const takeUp = async (key: string, ticket: Ticket): Promise<void> => {
      const reservation = attempts.reserve(ticket);
      if (reservation === undefined) {
        // What is under way has a place of its own.
        held.get(key)?.();
        held.delete(key);
        return;
      }
      if (!held.has(key) && hasRunning(there, key)) held.set(key, member.keep());
      if (held.has(key)) known.add(key);
      try {
        const claim = await adoptAttempt(api, ticket, holder, outOfTime);
        if (claim !== undefined) {
          logger.info({ ...ticket }, 'adopted');
          held.get(key)?.();
          held.delete(key);
          const allotment = member.allot(ticket, member.room.takePlace(), claim.work);
          allotment.hold();
          reservation.start(claim, allotment, { isAdopted: true });
          return;
        }
        over.add(key);
      } catch (error) {
        failures.push(error);
        logger.warn({ ...ticket, reason: messageOf(error) }, 'an attempt could not be taken up');
      }
      reservation.release();
    };
    // At once: none waits for another of which private-api says nothing.
    await Promise.all([...found].map(([key, ticket]) => takeUp(key, ticket)));
    const failure = failures.find(tellsOfSuccessor);
    if (failure !== undefined) throw failure as Error;
    const leftovers = there.filter(({ name, attempt }) =>
      attempt === undefined ? !isInUse(name) : over.has(keyOf(attempt)),
    );
    const freePlaces = (stay: readonly OwnThing[]) => {
      for (const [key, giveBack] of held) {
        if (!known.has(key)) continue;
        if (hasRunning(over.has(key) ? stay : there, key)) continue;
        held.delete(key);
        giveBack();
      }
    };
    return { leftovers, isClear: failures.length === 0 && foreign.size === 0, freePlaces };
  };
  return {
    adoptAll,
    keep(ticket, giveBack) {
      const key = keyOf(ticket);
      const before = held.get(key);
      held.set(key, () => {
        before?.();
        giveBack();
      });
    },
    heldPlaces: () => held.size,
    blockedBy() {
      // A device may be all theirs; a slot of a host is one of many.
      if (device !== null && held.size + foreign.size > 0) {
        return 'A container that nobody is in charge of still has its device.';
      }
      if (device === null && held.size >= slots) {
        return 'Containers that nobody is in charge of still have all of its slots.';
      }
      return undefined;
    },
  };
}

interface Adoption {
  adoptAll(): Promise<Adopted>;
  keep: Reconciliation['keep'];
  /** Why nothing can be begun though all is adopted. */
  blockedBy(): string | undefined;
  heldPlaces(): number;
}

interface Adopted {
  leftovers: OwnThing[];
  isClear: boolean;
  freePlaces(stay: readonly OwnThing[]): void;
}

function hasRunning(things: readonly OwnThing[], key: string): boolean {
  return things.some(
    ({ attempt, isRunning }) => isRunning && attempt !== undefined && keyOf(attempt) === key,
  );
}

function tellsOfSuccessor(error: unknown): boolean {
  return error instanceof AppError && error.code === 'CONSUMER_EXISTS';
}
