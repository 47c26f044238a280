import { messageOf } from '@inference-server/errors';
import type { ReplicaOrder } from '@inference-server/contracts';
import { outlastEngineOutage } from '../run/engine-outage.js';
import type { Outcome } from '../run/outcome.js';
import { uncut } from '../uncut.js';
import { bringUp } from './bring-up.js';
import { hostContainer } from './host-container.js';
import { endOf, maxLogLength, outcomeOfError, type EndWithoutLog } from './replica-end.js';
import type { Life, ReplicaRun } from './replica-run.js';

/** Where a replica begins: with an order, with a container that was found, or with its end. */
export type Origin = { order: ReplicaOrder } | { container: string } | { over: true };

export type LifeEnd = EndWithoutLog & { log: string };

/** Lives to the end of its container, or until it is to end; `left`: from here on it is another's. */
export async function liveAsReplica(life: Life, origin: Origin): Promise<LifeEnd | 'left'> {
  if ('over' in origin) return { ...notWanted, log: '' };
  const noteEnd = life.quarantine.begin();
  let container = 'container' in origin ? origin.container : undefined;
  life.mayRun = container !== undefined;
  try {
    if ('order' in origin) {
      const brought = await start(life, origin.order);
      if (typeof brought !== 'string') {
        noteEnd(brought);
        return { ...endOf(brought), log: '' };
      }
      container = brought;
    }
    const of = { container: container ?? '', isFound: 'container' in origin, noteEnd };
    const end = await hostContainer(life, of);
    return { ...end, log: await readLogTail(life, container) };
  } catch (error) {
    if (life.turn === 'stop') return endStopped(life, container);
    if (life.turn !== 'none' || life.outOfTime.aborted) return 'left';
    life.logger.warn({ replica: life.id, err: error }, 'a replica met a fault');
    life.engineWatch.suspect(error);
    const outcome = outcomeOfError(error);
    noteEnd(outcome);
    return { ...endOf(outcome), log: await readLogTail(life, container) };
  }
}

/** What is told of it where it had no container, or that is gone. */
const notWanted: EndWithoutLog = {
  ...{ reason: 'stopped', detail: 'It was not wanted any more.' },
  ...{ exit_code: null, out_of_memory: false },
};

async function start(life: Life, order: ReplicaOrder): Promise<string | Outcome> {
  const run: ReplicaRun = {
    ...life,
    order,
    allotment: life.parts.allot(order),
    unstarted: new Set(),
    requireLease: async () => life.signal.throwIfAborted(),
    get mayRun() {
      return life.mayRun;
    },
    set mayRun(mayRun) {
      life.mayRun = mayRun;
    },
  };
  return bringUp(run);
}

/** Asks its container to end, and kills it after a while. One that cannot be ended stays for now, with its device. */
async function endStopped(life: Life, container: string | undefined): Promise<LifeEnd> {
  const { engine, settings, outOfTime, logger, id } = life;
  if (container === undefined) return { ...notWanted, log: '' };
  try {
    const stop = () => engine.stopContainer(container, settings.containerGraceMs, outOfTime);
    await outlastEngineOutage(stop, outOfTime);
    const found = await engine.inspectContainer(container, outOfTime);
    const exitCode = found?.exitCode ?? null;
    return { ...notWanted, exit_code: exitCode, log: await readLogTail(life, container) };
  } catch (error) {
    logger.warn({ replica: id, reason: messageOf(error) }, 'a container could not be stopped');
    return { ...notWanted, log: '' };
  }
}

/** The end of what its container wrote; never fails. */
async function readLogTail(life: Life, container: string | undefined): Promise<string> {
  if (container === undefined) return '';
  const maxBytes = Math.min(life.settings.logTailBytes, maxLogLength);
  try {
    return (await life.engine.readLogs(container, { maxBytes, maxLines }, uncut)).text;
  } catch (error) {
    return `[the output of the container could not be read: ${messageOf(error)}]`;
  }
}

const maxLines = 10_000;
