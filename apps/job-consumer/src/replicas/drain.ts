import { setTimeout as sleep } from 'node:timers/promises';
import type { ReplicaOrders, ReportedReplica } from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import { joinSignals, type Logger } from '@inference-server/service-kit';
import { boundedReport } from './bounded-report.js';
import type { HostedReplica } from './hosted-replica.js';

/**
 * Lets the calls end that are under way on replicas which are not handed over: private-api hears that these go, has
 * no gateway send them more, and has each stopped once none has it. Resolves when all are, or the signal aborts: with
 * how many may have calls still. Throws CONSUMER_EXISTS where another process is the consumer.
 */
export async function drainReplicas(
  replicas: ReadonlyMap<string, HostedReplica>,
  deps: {
    report: (
      replicas: ReportedReplica[],
      revision: string | null,
      signal: AbortSignal,
    ) => Promise<ReplicaOrders>;
    /** Aborts with the next news of a replica. */
    nextChange: () => AbortSignal;
    signal: AbortSignal;
    logger: Logger;
  },
): Promise<number> {
  const { report, nextChange, signal, logger } = deps;
  const mayServe = (id: string) => replicas.get(id)?.mayServe === true;
  for (const replica of replicas.values()) {
    if (replica.report.state === 'starting' && !replica.mayServe) replica.stop();
  }
  const going = new Set([...replicas.keys()].filter(mayServe));
  let revision: string | null = null;
  while (going.size > 0 && !signal.aborted) {
    const bounds = joinSignals(signal, nextChange());
    try {
      const told = boundedReport([...replicas.values()].map(reportOfGoing));
      const answer = await report(told, revision, bounds.signal);
      revision = answer.revision;
      const kept = answer.replicas.filter(({ wanted }) => wanted === 'run').map(({ id }) => id);
      for (const id of going) {
        if (kept.includes(id) && mayServe(id)) continue;
        replicas.get(id)?.stop();
        going.delete(id);
      }
    } catch (error) {
      if (tellsOfSuccessor(error)) throw error;
      for (const id of going) if (!mayServe(id)) going.delete(id);
      if (bounds.signal.aborted) continue;
      logger.warn({ reason: messageOf(error) }, 'replicas could not be reported');
      await sleep(retryMs, undefined, { signal }).catch(() => undefined);
    } finally {
      bounds.release();
    }
  }
  return going.size;
}

export function tellsOfSuccessor(error: unknown): boolean {
  return error instanceof AppError && error.code === 'CONSUMER_EXISTS';
}

function reportOfGoing({ mayServe, report }: HostedReplica): ReportedReplica {
  return mayServe ? { ...report, state: 'draining' } : report;
}

const retryMs = 500;
