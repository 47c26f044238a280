import type { Ticket } from '@inference-server/task-queue';
import { startAttempt, type Adopted, type RunningAttempt } from './run/attempt.js';
import type { RunDeps } from './run/attempt-run.js';
import type { Claim } from './run/claim.js';
import type { Slots } from './slots.js';

/** The attempts of a consumer, from their claim or adoption until nothing is left of them. */
export interface ActiveAttempts {
  has(ticket: Ticket): boolean;
  /** `freeSlot` is called once the attempt needs its slot no more. */
  start(claim: Claim, freeSlot: () => void, adopted?: Adopted): void;
  /** The consumer stops: those under way and those to come are left, see RunningAttempt. */
  leaveAll(): void;
  /** Somebody else has them: none is touched any more. */
  forgetAll(): void;
  /** Resolves once nothing is under way. */
  ended(): Promise<void>;
}

export function createActiveAttempts(options: {
  deps: RunDeps;
  slots: Slots;
  outOfTime: AbortSignal;
  /** An attempt has left traces in the engine. */
  onTraces: () => void;
}): ActiveAttempts {
  const active = new Map<string, RunningAttempt>();
  let mode: 'work' | 'leave' | 'forget' = 'work';

  return {
    has: (ticket) => active.has(keyOf(ticket)),
    start(claim, freeSlot, adopted) {
      const attempt = startAttempt(options.deps, claim, options.outOfTime, adopted);
      const key = keyOf(claim.held);
      active.set(key, attempt);
      if (mode === 'leave') attempt.leave();
      if (mode === 'forget') attempt.forget();
      void attempt.settled.then(freeSlot);
      void attempt.cleaned.then((isClean) => {
        active.delete(key);
        if (!isClean) options.onTraces();
      });
    },
    leaveAll() {
      if (mode === 'work') mode = 'leave';
      for (const attempt of active.values()) attempt.leave();
    },
    forgetAll() {
      mode = 'forget';
      for (const attempt of active.values()) attempt.forget();
    },
    async ended() {
      await Promise.all([...active.values()].map(({ cleaned }) => cleaned));
    },
  };
}

function keyOf({ taskUid, attempt }: Ticket): string {
  return `${taskUid}.${attempt}`;
}
