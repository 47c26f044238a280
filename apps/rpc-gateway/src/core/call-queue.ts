import type { HostedModel } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { HostedModels } from './hosted-models.js';
import type { Reach, Replica, ReplicaSet } from './replica-set.js';

/**
 * A model, as a call names it. Without a version: the newest one that has a replica; while its replicas are
 * full, one before it that takes the same calls.
 */
export interface Target {
  name: string;
  version: number | undefined;
}

/** A replica that a call was given to; to be given back to the set. */
export interface Placed {
  model: HostedModel;
  replica: Replica;
}

/** How long a call goes on while no replica takes calls: one time, however often it is placed again. */
export interface Patience {
  /** Undefined: one was there when it was last looked for. */
  overdueAt: number | undefined;
}

interface Turn {
  signal: AbortSignal;
  /** It waited its turn already, and goes first. */
  isAgain: boolean;
  patience: Patience;
}

export interface CallQueue {
  /** Waits for a replica with room. */
  place(target: Target, turn: Turn): Promise<Placed>;
  /** Looks whether any call can be placed now. */
  pump(name?: string): void;
  /** By model version: calls that have no replica yet. */
  waitingOf(): ReadonlyMap<string, number>;
}

/** How soon it is looked again for replicas of which it is just being found out whether they are there (ms). */
const doubtfulMs = 100;

interface Waiting {
  target: Target;
  resolve(placed: Placed): void;
  reject(error: Error): void;
}

/**
 * Calls that no replica has room for, in their order, per model. Each waits as long as its own signal lets it,
 * but no longer than `startTimeoutMs` while there is no replica that can be reached.
 */
export function createCallQueue({
  models,
  replicas,
  maxPerModel,
  startTimeoutMs,
  onWaiting,
}: {
  models: HostedModels;
  replicas: ReplicaSet;
  maxPerModel: number;
  startTimeoutMs: number;
  /** Called with the first call that waits for a version. */
  onWaiting: () => void;
}): CallQueue {
  const queues = new Map<string, Set<Waiting>>();

  /** Undefined: there is no room. Throws MODEL_NOT_FOUND. */
  function tryPlace(target: Target): Placed | undefined {
    const model = versionFor(target, models, replicas);
    const placed = takeOf(model);
    if (placed !== undefined || target.version !== undefined) return placed;
    for (const older of models.olderAlike(model)) {
      const instead = takeOf(older);
      if (instead !== undefined) return instead;
    }
    return undefined;
  }

  function takeOf(model: HostedModel): Placed | undefined {
    const replica = replicas.take(model.model_version_id, model.target_in_flight);
    return replica && { model, replica };
  }

  function isWaitedFor({ name, version }: Target): boolean {
    for (const { target } of queues.get(name) ?? []) if (target.version === version) return true;
    return false;
  }

  function pumpModel(name: string): void {
    const queue = queues.get(name);
    if (queue === undefined) return;
    const full = new Set<number | undefined>();
    for (const waiting of queue) {
      const { target } = waiting;
      if (full.has(target.version)) continue;
      try {
        const placed = tryPlace(target);
        if (placed === undefined) full.add(target.version);
        else waiting.resolve(placed);
      } catch (error) {
        waiting.reject(error as Error);
      }
    }
  }

  /** Throws SERVICE_UNAVAILABLE when it is overdue; answers when to look again. */
  function lookForReplica(target: Target, { isAgain, patience }: Turn): number {
    const now = performance.now();
    const reach = reachFor(target, models, replicas);
    if (reach?.is === 'taking') patience.overdueAt = undefined;
    patience.overdueAt ??= now + startTimeoutMs;
    if (patience.overdueAt > now) return patience.overdueAt - now;
    // One that has found none itself does not wait for what the others find.
    if (reach?.is === 'doubtful' && !isAgain) return doubtfulMs;
    throw noReplica(target, models, reach?.failure);
  }

  function wait(target: Target, turn: Turn): Promise<Placed> {
    const { signal, isAgain } = turn;
    const { name } = target;
    const before = queues.get(name) ?? new Set();
    const isFirst = !isWaitedFor(target);
    if (before.size >= maxPerModel && !isAgain) {
      throw new AppError('TOO_MANY_REQUESTS', 'Too many calls wait for the model.', {
        retryAfterS: 1,
      });
    }
    return new Promise((resolve, reject) => {
      let timer: NodeJS.Timeout | undefined;
      const leave = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        const queue = queues.get(name);
        queue?.delete(waiting);
        if (queue?.size === 0) queues.delete(name);
      };
      const waiting: Waiting = {
        target,
        resolve: (placed) => {
          leave();
          resolve(placed);
        },
        reject: (error) => {
          leave();
          reject(error);
        },
      };
      const onAbort = () => waiting.reject(signal.reason as Error);
      const onOverdue = () => {
        try {
          timer = setTimeout(onOverdue, lookForReplica(target, turn));
        } catch (error) {
          waiting.reject(error as Error);
        }
      };
      timer = setTimeout(onOverdue, lookForReplica(target, turn));
      signal.addEventListener('abort', onAbort, { once: true });
      queues.set(name, isAgain ? new Set([waiting, ...before]) : before.add(waiting));
      if (isFirst) onWaiting();
      else pumpModel(name);
    });
  }

  return {
    async place(target, turn) {
      const { signal, isAgain } = turn;
      signal.throwIfAborted();
      if (isAgain) lookForReplica(target, turn);
      // Those that wait for another version are not before it.
      const isNext = isAgain || !isWaitedFor(target);
      return (isNext ? tryPlace(target) : undefined) ?? (await wait(target, turn));
    },
    pump(name) {
      for (const one of name === undefined ? [...queues.keys()] : [name]) pumpModel(one);
    },
    waitingOf() {
      const counts = new Map<string, number>();
      for (const queue of queues.values()) {
        for (const { target } of queue) {
          const wanted = wantedVersion(target, models);
          if (wanted === undefined) continue;
          counts.set(wanted.model_version_id, (counts.get(wanted.model_version_id) ?? 0) + 1);
        }
      }
      return counts;
    },
  };
}

/**
 * The version that a call is for: the newest that has a replica, and else the current one, which is waited
 * for. One that is not current and has none gets none any more. Throws MODEL_NOT_FOUND.
 */
export function versionFor(
  target: Target,
  models: HostedModels,
  replicas: ReplicaSet,
): HostedModel {
  const versions = models.versionsOf(target.name);
  const named = versions.filter(
    ({ version }) => target.version === undefined || version === target.version,
  );
  const ready = named.find(({ model_version_id: id }) => replicas.hasAny(id));
  const model = ready ?? named.find(({ is_current: isCurrent }) => isCurrent);
  if (model !== undefined) return model;
  throw new AppError(
    'MODEL_NOT_FOUND',
    versions.length === 0 && models.batchModel(target.name) === undefined
      ? 'There is no model of this name.'
      : 'The model is not hosted at this version.',
  );
}

/** Whom to start for a call that waits. */
function wantedVersion({ name, version }: Target, models: HostedModels): HostedModel | undefined {
  const versions = models.versionsOf(name);
  return version === undefined
    ? versions.find(({ is_current: isCurrent }) => isCurrent)
    : versions.find((model) => model.version === version);
}

/** Of the versions that could take a call; undefined: none of them has a replica. */
function reachFor(
  { name, version }: Target,
  models: HostedModels,
  replicas: ReplicaSet,
): Reach | undefined {
  const all = models
    .versionsOf(name)
    .filter((model) => version === undefined || model.version === version)
    .filter(({ model_version_id: id }) => replicas.hasAny(id))
    .map(({ model_version_id: id }) => replicas.reachOf(id));
  return (['taking', 'doubtful', 'unreached'] as const)
    .map((is) => all.find((reach) => reach.is === is))
    .find((reach) => reach !== undefined);
}

function noReplica(target: Target, models: HostedModels, failure: Error | undefined): AppError {
  if (failure !== undefined) {
    return new AppError(
      'SERVICE_UNAVAILABLE',
      `No replica of the model can be reached: ${failure.message}.`,
      { cause: failure, retryAfterS: 1 },
    );
  }
  const wanted = wantedVersion(target, models);
  const trouble = wanted && models.troubleOf(wanted.model_version_id);
  return new AppError(
    'SERVICE_UNAVAILABLE',
    `The model has no replica yet${trouble === undefined ? '.' : `: ${trouble}`}`,
    { retryAfterS: 10 },
  );
}
