import { setTimeout as sleep } from 'node:timers/promises';
import type { ReplicaOrders } from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import { joinSignals } from '@inference-server/service-kit';
import { boundedReport } from './bounded-report.js';
import { drainReplicas, tellsOfSuccessor } from './drain.js';
import { findReplicas } from './find-replicas.js';
import { keepGateways } from './gateways.js';
import { hostReplica, type HostedReplica } from './hosted-replica.js';
import type { Origin } from './replica-life.js';
import type { ReplicaDeps } from './replica-run.js';
import { removeReplicaTraces } from './replica-traces.js';

/**
 * The replicas of a consumer. private-api is told of all that there are, again and again, and answers with all that
 * there are to be: what is missing is begun, what is too much ends. The answer is held back until it is
 * another one; whatever changes here asks anew at once.
 *
 * At the start, and when the engine is back, what is in the engine is taken up first: what runs is hosted from
 * where it is, and told of once it is known, by its order, whether it has served; what was never started is removed.
 */
export interface Hosting {
  /** The engine is back, or something was left there: it is looked at once more. */
  look(): void;
  /** Another process is the consumer: nothing is touched any more. */
  forgetAll(): void;
  /**
   * To be called once the signal `closing` has aborted, while the consumer is one still: where its replicas are not
   * handed over they take no call from then on, and those that are under way may end.
   */
  announceEnd(): Promise<void>;
  /** To be called after that: leaves what runs to the successor, or ends it. */
  close(): Promise<void>;
}

export function startHosting(
  deps: ReplicaDeps & { engineWatch: { readonly isReady: boolean } },
  options: {
    /** Aborts when the consumer stops. */
    closing: AbortSignal;
    /** Aborts when the process must end. */
    outOfTime: AbortSignal;
    /** How long a stop may wait for the calls that are under way. */
    drainMs: number;
    onSettled: () => void;
    /** Replicas that serve, or may, are to end: none should come to this consumer in their place. */
    onDraining: () => void;
  },
): Hosting {
  const { engineWatch, api, holder, logger, settings } = deps;
  const { closing, outOfTime, drainMs, onSettled, onDraining } = options;
  const isClosing = () => closing.aborted;
  const isOver = () => closing.aborted || isForgotten;
  const replicas = new Map<string, HostedReplica>();
  /** What gives back what the containers have of those that are over, by replica: it can have been over twice. */
  const owed = new Map<string, (() => void)[]>();
  let changed = new AbortController();
  let toLook = new AbortController();
  let isForgotten = false;
  const forgotten = new AbortController();
  let isSettled = false;
  let tellSettled: () => void = () => undefined;
  const settled = new Promise<void>((resolve) => (tellSettled = resolve));
  const onChange = () => changed.abort();
  let reportsMade = 0;
  const nextNumber = () => (reportsMade += 1);

  const payBack = (id: string, due: readonly (() => void)[] = []) => {
    for (const giveBack of due) giveBack();
    const left = (owed.get(id) ?? []).filter((giveBack) => !due.includes(giveBack));
    if (left.length === 0) owed.delete(id);
    else owed.set(id, left);
  };

  const begin = (id: string, origin: Origin): HostedReplica => {
    const replica = hostReplica(deps, id, origin, {
      outOfTime,
      onChange,
      onMayRun: (giveBack) => owed.set(id, [...(owed.get(id) ?? []), giveBack]),
    });
    replicas.set(id, replica);
    void replica.atRest.then((isClean) => {
      if (isClean) payBack(id, owed.get(id));
      else toLook.abort();
    });
    onChange();
    return replica;
  };

  /** False when something stays that should be gone. */
  const lookOnce = async (): Promise<boolean> => {
    let isClear = true;
    // Whoever ends from here on may have a container that is taken for one that lives.
    const owing = new Map(owed);
    const before = new Set(replicas.keys());
    for (const { id, container } of await findReplicas(deps, closing)) {
      closing.throwIfAborted();
      const known = replicas.get(id);
      // One that has ended here, be it meanwhile, is not taken up again: it has what it had.
      const isNew = !before.has(id) && !owed.has(id);
      if (known === undefined && container !== undefined && isNew) {
        logger.info({ replica: id }, 'a replica is taken up');
        begin(id, { container });
      } else if (known === undefined || known.report.state === 'ended') {
        try {
          await removeReplicaTraces({ ...deps, own: deps.names.replica(id) }, outOfTime);
        } catch (error) {
          isClear = false;
          owing.delete(id);
          logger.warn({ replica: id, reason: messageOf(error) }, 'a leftover stays');
        }
      } else owing.delete(id);
    }
    for (const [id, due] of owing) payBack(id, due);
    if (!isSettled) {
      isSettled = true;
      tellSettled();
      onSettled();
    }
    return isClear;
  };

  const looking = async () => {
    for (let pauseMs = 0; ;) {
      const interrupt = joinSignals(closing, toLook.signal);
      await sleep(pauseMs, undefined, { signal: interrupt.signal }).catch(() => undefined);
      interrupt.release();
      if (isClosing()) return;
      toLook = new AbortController();
      // Once it is back it is looked at again.
      pauseMs = longestMs;
      if (!engineWatch.isReady) continue;
      try {
        if (!(await lookOnce())) pauseMs = troubleMs;
      } catch (error) {
        if (isClosing()) return;
        logger.warn({ reason: messageOf(error) }, 'the replicas of the engine could not be listed');
        engineWatch.suspect(error);
        pauseMs = troubleMs;
      }
    }
  };

  const networksInUse = () =>
    [...replicas]
      .filter(([, { report }]) => report.state !== 'ended')
      .map(([id]) => deps.names.replica(id).name('replica-network'));

  const apply = (orders: ReplicaOrders['replicas'], told: ReadonlySet<string>): void => {
    const ordered = new Map(orders.map((order) => [order.id, order]));
    for (const [id, order] of ordered) {
      const replica = replicas.get(id);
      if (order.wanted === 'run') {
        if (replica === undefined) begin(id, { order });
        else replica.confirm(order);
      } else if (replica === undefined) begin(id, { over: true });
      else replica.stop();
    }
    for (const [id, replica] of replicas) {
      if (ordered.has(id)) continue;
      if (replica.report.state !== 'ended') replica.stop();
      else if (told.has(id)) replicas.delete(id);
    }
  };

  const reporting = async () => {
    await Promise.race([settled, abortOf(closing)]);
    let revision: string | null = null;
    let failures = 0;
    let hasLogs = true;
    while (!isOver()) {
      changed = new AbortController();
      const known = [...replicas.values()].filter(({ isTold }) => isTold);
      const reports = boundedReport(
        known.map(({ report }) => report),
        { hasLogs },
      );
      const told = new Set(reports.filter(({ state }) => state === 'ended').map(({ id }) => id));
      const bounds = joinSignals(closing, changed.signal);
      try {
        const report = { holder, number: nextNumber(), replicas: reports, revision };
        const answer = await api.reportReplicas(report, bounds.signal);
        if (failures > 0) logger.info('replicas are reported again');
        failures = 0;
        hasLogs = true;
        revision = answer.revision;
        if (!isOver()) apply(answer.replicas, told);
      } catch (error) {
        if (isOver()) return;
        if (changed.signal.aborted && error === bounds.signal.reason) continue;
        // Also where another is the consumer, or has its device: the heartbeat tells whether that lasts.
        if (failures === 0) {
          logger.warn({ reason: messageOf(error) }, 'replicas could not be reported');
        }
        failures += 1;
        // What is least needed of what it said.
        if (isRefused(error)) hasLogs = false;
        const pauseMs = Math.min(250 * 2 ** failures, longestPauseMs);
        await sleep(pauseMs, undefined, { signal: closing }).catch(() => undefined);
      } finally {
        bounds.release();
      }
    }
  };

  const forgetAll = () => {
    isForgotten = true;
    forgotten.abort();
    for (const replica of replicas.values()) replica.forget();
    onChange();
  };

  const reported = reporting();
  const running = Promise.all([looking(), keepGateways(deps, networksInUse, closing), reported]);
  return {
    look: () => toLook.abort(),
    forgetAll,
    async announceEnd() {
      await reported;
      if (settings.handsOver || isForgotten || replicas.size === 0) return;
      try {
        await drain();
        await tellEnd();
      } catch (error) {
        if (tellsOfSuccessor(error)) forgetAll();
        else logger.warn({ reason: messageOf(error) }, 'replicas could not be reported');
      }
    },
    async close() {
      for (const replica of replicas.values()) {
        if (settings.handsOver) replica.leave();
        else replica.stop();
      }
      await running;
      await Promise.all([...replicas.values()].map(({ atRest }) => atRest));
    },
  };

  async function drain(): Promise<void> {
    if ([...replicas.values()].some(({ mayServe }) => mayServe)) onDraining();
    const bounds = joinSignals(outOfTime, forgotten.signal, AbortSignal.timeout(drainMs));
    try {
      const left = await drainReplicas(replicas, {
        report: (told, revision, signal) =>
          api.reportReplicas({ holder, number: nextNumber(), replicas: told, revision }, signal),
        nextChange: () => (changed = new AbortController()).signal,
        signal: bounds.signal,
        logger,
      });
      if (left > 0 && !isForgotten) {
        logger.warn({ replicas: left }, 'replicas end before their calls');
      }
    } finally {
      bounds.release();
    }
  }

  /** Before they end: what they are told of is used until then. Else the leases tell, later. */
  async function tellEnd(): Promise<void> {
    if (isForgotten) return;
    const detail = 'Its consumer stops.';
    const end = {
      reason: 'stopped' as const,
      detail,
      exit_code: null,
      out_of_memory: false,
      log: '',
    };
    const reports = [...replicas.values()].map(({ report }) =>
      report.state === 'ended' ? report : { id: report.id, state: 'ended' as const, end },
    );
    const bounds = joinSignals(outOfTime, AbortSignal.timeout(lastReportMs));
    try {
      const report = { holder, number: nextNumber(), replicas: boundedReport(reports) };
      await api.reportReplicas({ ...report, revision: null }, bounds.signal);
    } finally {
      bounds.release();
    }
  }
}

/** Why nothing may be begun before `onSettled` is called: all that was left in the engine is known then. */
export const untilReplicasFound = 'It is taking up the replicas that were left behind.';

/** Not for who says it, but for what it says. */
function isRefused(error: unknown): boolean {
  return (
    error instanceof AppError && ['PAYLOAD_TOO_LARGE', 'VALIDATION_FAILED'].includes(error.code)
  );
}

function abortOf(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}

const lastReportMs = 2_000;
const longestPauseMs = 5_000;
const troubleMs = 2_000;
const longestMs = 24 * 3600 * 1000;
