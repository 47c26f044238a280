import { setTimeout as sleep } from 'node:timers/promises';
import type { SettleAnswer } from '@inference-server/contracts';
import { messageOf } from '@inference-server/errors';
import { crashPoint } from '@inference-server/service-kit';
import { isPassing } from '../retry.js';
import type { AttemptRun } from './attempt-run.js';
import { causeOf } from './fault-cause.js';
import { fault, resultOf, type Outcome } from './outcome.js';

/** `untold`: there was no answer before the process had to end. */
export type Settlement = SettleAnswer['outcome'] | 'untold';

/**
 * Tells private-api how the attempt ended, again and again with the same content until it answers or
 * the time is over. An outcome that it calls impossible is settled as a fault instead. What it took is
 * how the attempt ended, also for the quarantine.
 */
export async function settleAttempt(run: AttemptRun, outcome: Outcome): Promise<Settlement> {
  const { api, held, logger } = run;
  const about = { taskUid: held.taskUid, attempt: held.attempt };
  const signal = run.outOfTime;
  const isOutOfTime = () => signal.aborted;
  let told = outcome;
  for (let pauseMs = 200; !isOutOfTime(); pauseMs = Math.min(2 * pauseMs, 5_000)) {
    try {
      const result = resultOf(told, run.log.text(), run.usage.read());
      const answer = await api.settle(held, result, signal);
      logger.info(
        { ...about, kind: told.kind, detail: told.detail, answer: answer.outcome },
        'an attempt ended',
      );
      if (answer.outcome === 'settled') {
        crashPoint('settled', run.held.taskUid);
        run.noteEnd(told);
      }
      return answer.outcome;
    } catch (error) {
      if (isOutOfTime()) break;
      const reason = messageOf(error);
      logger.warn({ ...about, reason }, 'a settlement was not taken');
      if (!isPassing(error)) {
        if (told.kind === 'fault') return 'superseded';
        told = fault(causeOf(error), `The settlement as ${told.kind} was refused: ${reason}`);
        continue;
      }
    }
    await sleep(pauseMs, undefined, { signal }).catch(() => undefined);
  }
  return 'untold';
}
