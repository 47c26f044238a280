import type { ReplicaOrder, ReportedReplica } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { crashPoint, joinSignals } from '@inference-server/service-kit';
import { createParts } from './parts.js';
import { toEnding } from './replica-end.js';
import { liveAsReplica, type LifeEnd, type Origin } from './replica-life.js';
import type { Life, ReplicaDeps } from './replica-run.js';
import { cleanUpReplica } from './replica-traces.js';

/** A replica of this consumer, until private-api knows of its end. */
export interface HostedReplica {
  /** What private-api is told of it now. */
  readonly report: ReportedReplica;
  /** Whether that is to be told: who has served already is not said to begin, and of one that was found only its order tells that. */
  readonly isTold: boolean;
  /** Whether it may have calls: it serves, or it was found and may have served an earlier process. */
  readonly mayServe: boolean;
  /** It is to run, by this order: of one that was found, that tells what it has. */
  confirm(order: ReplicaOrder): void;
  /** It is not wanted any more. */
  stop(): void;
  /** The consumer stops: what runs is left to its successor, what does not run yet is removed. */
  leave(): void;
  /** Another process is the consumer: nothing of it is touched any more. */
  forget(): void;
  /** Resolves once nothing is under way; `false`: traces of it may be in the engine. Never rejects. */
  atRest: Promise<boolean>;
}

/**
 * Hosts a replica:
 *
 *   ordered ─▶ brought up ─▶ asked for its Status ─▶ ready ─▶ its container ended ─▶ removed ─▶ ended
 *                  │                ▲  │               ├── stop ─▶ stopped ──────────▲
 *   found ─────────┼────────────────┘  │               └── the consumer stops ─▶ left as it is
 *                  └─ what fails ──────┴─────────────────────────────────────────────▲
 *
 * Its end is told once nothing of it is in the engine any more, or, 10 s later, all the same: what it has of its
 * consumer is kept here until its container is gone (`onMayRun` takes what gives that back). `onChange`: there is
 * news for private-api.
 */
export function hostReplica(
  deps: ReplicaDeps,
  id: string,
  origin: Origin,
  options: {
    /** Aborts when the process must end. */
    outOfTime: AbortSignal;
    onChange: () => void;
    onMayRun: (giveBack: () => void) => void;
  },
): HostedReplica {
  const { outOfTime, onChange, onMayRun } = options;
  const ending = new AbortController();
  const joined = joinSignals(ending.signal, outOfTime);
  const parts = createParts(deps.member, id);
  if ('container' in origin) parts.keep();
  let turned: Life['turn'] = 'none';
  let told: ReportedReplica = { id, state: 'starting' };
  const tell = (next: Omit<ReportedReplica, 'id'>) => {
    told = { id, ...next };
    onChange();
  };
  let isNew = !('container' in origin);
  let confirm: (order: ReplicaOrder) => void = () => undefined;
  const life: Life = {
    ...deps,
    ...{ id, own: deps.names.replica(id), parts, signal: joined.signal, outOfTime },
    confirmed: new Promise((resolve) => (confirm = resolve)),
    mayRun: false,
    get turn() {
      return turned;
    },
    onReady: (address) => {
      deps.logger.info({ replica: id, address }, 'a replica serves');
      tell({ state: 'ready', address });
    },
  };
  if ('order' in origin) confirm(origin.order);

  const finish = async (end: LifeEnd | 'left'): Promise<boolean> => {
    if (turned === 'forget') return true;
    if (end === 'left' && life.mayRun) return true;
    const isClean = await cleanUpReplica(life, id, outOfTime);
    if (isClean) parts.free();
    else {
      onMayRun(() => parts.free());
      parts.outlive();
    }
    if (end === 'left') return isClean;
    crashPoint('replica_removed', id);
    const { log, ...rest } = end;
    const told = toEnding(rest, log);
    const { reason, detail, exit_code: exitCode } = told;
    deps.logger.info({ replica: id, reason, detail, exitCode }, 'a replica ended');
    tell({ state: 'ended', end: told });
    return isClean;
  };

  const atRest = liveAsReplica(life, origin)
    .then(finish)
    .catch((error: unknown) => {
      const said = 'a replica ended in a way that was not foreseen';
      deps.logger.error({ err: error, replica: id }, said);
      const detail = 'The consumer met a fault of its own.';
      const end = { reason: 'engine' as const, detail, exit_code: null, out_of_memory: false };
      onMayRun(() => parts.free());
      tell({ state: 'ended', end: toEnding(end, '') });
      return false;
    })
    .finally(() => joined.release());

  const turn = (next: Life['turn'], why: string) => {
    // What is to be gone is not left to anybody.
    const isDecided = turned === 'forget' || (turned === 'stop' && next === 'leave');
    if (isDecided || turned === next || told.state === 'ended') return;
    turned = next;
    ending.abort(new AppError('CONFLICT', why));
  };

  const isTold = () => isNew || told.state !== 'starting';

  return {
    get report() {
      return told;
    },
    get isTold() {
      return isTold();
    },
    get mayServe() {
      return told.state === 'ready' || !isTold();
    },
    confirm(order) {
      if ('container' in origin && told.state !== 'ended') parts.hold(order);
      isNew ||= !order.has_served;
      confirm(order);
    },
    stop: () => turn('stop', 'The replica is not wanted any more.'),
    leave: () => turn('leave', 'The consumer is stopping.'),
    forget: () => turn('forget', 'Another process is the consumer.'),
    atRest,
  };
}
