import type { AttemptRun } from './attempt-run.js';
import { outlastEngineOutage } from './engine-outage.js';
import type { Runnable } from './execute.js';
import { fault, type Outcome } from './outcome.js';

/**
 * What an earlier holder of an adopted attempt has left: its container, or a fault when that was never
 * started, for what was staged may be part.
 */
export async function resumeAttempt({
  engine,
  own,
  signal,
}: AttemptRun): Promise<Runnable | Outcome> {
  const look = () => engine.inspectContainer(own.name('run'), signal);
  const found = await outlastEngineOutage(look, signal);
  if (found?.startedAt === undefined) {
    return fault('consumer_restarted', 'The consumer ended before the container was started.');
  }
  const { id, startedAt, endedAt } = found;
  const now = await outlastEngineOutage(() => engine.readClock(signal), signal);
  const usedMs = now.getTime() - startedAt.getTime();
  return { container: id, startedAt, usedMs, ...(endedAt !== undefined && { endedAt }) };
}
