import type { Ticket } from '@inference-server/task-queue';
import type { Allotment } from './fleet.js';
import { startAttempt, type RunningAttempt } from './run/attempt.js';
import type { RunDeps } from './run/attempt-run.js';
import type { Claim } from './run/claim.js';
import { keyOf } from './ticket-key.js';

/** The attempts of a consumer, from their claim or adoption until nothing is left of them. */
export interface ActiveAttempts {
  /**
   * To be called before the attempt is claimed or adopted: from then on nobody else may, and what the
   * engine has of it is nobody's leftover. Undefined: it is active already.
   */
  reserve(ticket: Ticket): Reservation | undefined;
  /** The consumer stops: those under way and those to come are left, see RunningAttempt. */
  leaveAll(): void;
  /** Somebody else has them: none is touched any more. */
  forgetAll(): void;
  /** Resolves once nothing is under way. */
  ended(): Promise<void>;
}

/** Ends with one of these. */
export interface Reservation {
  /** What it is allotted is free again once it needs it no more. */
  start(claim: Claim, allotment: Allotment, how: { isAdopted: boolean }): void;
  /** The attempt is not ours after all. */
  release(): void;
}

export function createActiveAttempts(options: {
  deps: RunDeps;
  outOfTime: AbortSignal;
  /** The container of one that is over may still run: what it has is to be given back when it does not. */
  onMayRun: (ticket: Ticket, giveBack: () => void) => void;
  /** An attempt has left traces in the engine. */
  onTraces: () => void;
}): ActiveAttempts {
  const active = new Map<string, RunningAttempt | 'reserved'>();
  const running = () => [...active.values()].filter((attempt) => attempt !== 'reserved');
  let mode: 'work' | 'leave' | 'forget' = 'work';

  return {
    reserve(ticket) {
      const key = keyOf(ticket);
      if (active.has(key)) return undefined;
      active.set(key, 'reserved');
      return {
        start(claim, allotment, how) {
          const attempt = startAttempt(options.deps, claim, allotment, options.outOfTime, how);
          active.set(key, attempt);
          if (mode === 'leave') attempt.leave();
          if (mode === 'forget') attempt.forget();
          void attempt.atRest.then((isAtRest) => {
            if (isAtRest) allotment.free();
            else {
              options.onMayRun(ticket, () => allotment.free());
              allotment.outlive();
            }
          });
          void attempt.cleaned.then((isClean) => {
            active.delete(key);
            if (!isClean) options.onTraces();
          });
        },
        release: () => active.delete(key),
      };
    },
    leaveAll() {
      if (mode === 'work') mode = 'leave';
      for (const attempt of running()) attempt.leave();
    },
    forgetAll() {
      mode = 'forget';
      for (const attempt of running()) attempt.forget();
    },
    async ended() {
      await Promise.all(running().map(({ cleaned }) => cleaned));
    },
  };
}
