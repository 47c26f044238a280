import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import { leaderRenewMs, type Leadership } from '../database/leader.js';
import { keepLeading, type Leading, type Term } from './leading.js';
import { nothing, type Amount, type Sweep } from './sweep.js';

/** What is known of a sweep's passes. */
interface Pass {
  /** When the next begins, or this one began; by `performance.now`. */
  dueAt: number;
  isUnderWay: boolean;
  taken: Amount;
}

/** Who sweeps: the rows, and what waits for the disk, which may hang while the database does not. */
interface Leaderships {
  rows: Leadership;
  files: Leadership;
}

interface Turns {
  sweeps: readonly Sweep[];
  leadership: Leadership;
  logger: Logger;
  /** A step that lasts longer is stuck. */
  stuckAfterMs: number;
}

/**
 * Sweeps, as long as this process is the leader of it: each sweep when its time has come, one step of
 * each after the other until there is no more, so that none waits for another's end. Those that wait for
 * the disk take turns beside the rest, and under a leadership of their own. A step that does not come to
 * its end is told of, and gives the leadership up for as long as it lasts. What a pass has taken is
 * counted in the log.
 */
export function startRetention(deps: {
  sweeps: readonly Sweep[];
  leaderships: Leaderships;
  logger: Logger;
  stuckAfterMs?: number;
}): { close(): Promise<void> } {
  const { sweeps, leaderships, logger, stuckAfterMs = 5 * 60_000 } = deps;
  const ofFiles = sweeps.filter(({ waitsForDisk = false }) => waitsForDisk);
  const ofRows = sweeps.filter((sweep) => !ofFiles.includes(sweep));
  const running = [
    startTurns({ sweeps: ofRows, leadership: leaderships.rows, logger, stuckAfterMs }),
    startTurns({ sweeps: ofFiles, leadership: leaderships.files, logger, stuckAfterMs }),
  ];
  return {
    async close() {
      await Promise.all(running.map((turns) => turns.close()));
    },
  };
}

function startTurns({ sweeps, leadership, logger, stuckAfterMs }: Turns): {
  close(): Promise<void>;
} {
  const closing = new AbortController();
  const { signal } = closing;
  const passes = new Map<Sweep, Pass>();
  const tickMs = Math.min(leaderRenewMs, ...sweeps.map(({ everyMs }) => everyMs));

  const takeTurns = async (leading: Leading): Promise<void> => {
    while (!signal.aborted) {
      let more = false;
      for (const sweep of sweeps) more = (await step(sweep, leading)) || more;
      if (!more) await sleep(tickMs, undefined, { signal }).catch(() => undefined);
    }
    for (const sweep of sweeps) tell(sweep, passOf(sweep));
  };

  /** One step, when its time has come. Answers whether the next may follow at once. */
  const step = async (sweep: Sweep, leading: Leading): Promise<boolean> => {
    const pass = passOf(sweep);
    const term = leading.term();
    if (term === undefined) return tell(sweep, pass);
    if (performance.now() < pass.dueAt) return false;
    if (term.steadyMs < (sweep.afterLeadingMs ?? 0)) return false;
    if (!pass.isUnderWay) Object.assign(pass, { dueAt: performance.now(), isUnderWay: true });
    try {
      const { more, ...batch } = await take(sweep, term, leading);
      pass.taken = sum(pass.taken, batch);
      if (more) return true;
    } catch (error) {
      // Begins anew as soon as this process is the leader again.
      if (term.signal.aborted) return tell(sweep, pass);
      logger.warn({ sweep: sweep.name, reason: messageOf(error) }, 'a sweep failed');
    }
    pass.dueAt += sweep.everyMs;
    return tell(sweep, pass);
  };

  const take = async (sweep: Sweep, term: Term, leading: Leading): ReturnType<Sweep['take']> => {
    const taking = sweep.take(term.signal);
    const stuck = setTimeout(() => {
      logger.error(
        { sweep: sweep.name, afterS: stuckAfterMs / 1000 },
        'a sweep does not come to an end: another process may sweep until it does',
      );
      void leading.stepDown(taking);
    }, stuckAfterMs);
    try {
      return await taking;
    } finally {
      clearTimeout(stuck);
    }
  };

  const passOf = (sweep: Sweep): Pass => {
    const pass = passes.get(sweep) ?? { dueAt: 0, isUnderWay: false, taken: nothing };
    passes.set(sweep, pass);
    return pass;
  };

  /** Ends the pass. */
  const tell = ({ name }: Sweep, pass: Pass): false => {
    if (pass.taken.count > 0) logger.info({ sweep: name, ...pass.taken }, 'swept');
    Object.assign(pass, { isUnderWay: false, taken: nothing });
    return false;
  };

  const run = async (): Promise<void> => {
    const leading = await keepLeading(leadership, logger);
    signal.addEventListener('abort', () => void leading.close());
    if (signal.aborted) await leading.close();
    await takeTurns(leading);
    await leading.close();
    await leadership.resign();
  };

  const running = run();
  return {
    async close() {
      closing.abort();
      await running;
    },
  };
}

function sum(a: Amount, b: Amount): Amount {
  return { count: a.count + b.count, bytes: a.bytes + b.bytes };
}
