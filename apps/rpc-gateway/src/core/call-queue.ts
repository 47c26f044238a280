import type { HostedModel } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { HostedModels } from './hosted-models.js';
import type { Replica, ReplicaSet } from './replica-set.js';

/** A model, as a call names it. Without a version: the newest one that has a replica. */
export interface Target {
  name: string;
  version: number | undefined;
}

/** A replica that a call was given to; to be given back to the set. */
export interface Placed {
  model: HostedModel;
  replica: Replica;
}

export interface CallQueue {
  /** Waits for a replica with room. `isAgain`: it waited its turn already, and goes first. */
  place(target: Target, how: { signal: AbortSignal; isAgain: boolean }): Promise<Placed>;
  /** Looks whether any call can be placed now. */
  pump(name?: string): void;
  /** By model version: calls that have no replica yet. */
  waitingOf(): ReadonlyMap<string, number>;
}

interface Waiting {
  target: Target;
  resolve(placed: Placed): void;
  reject(error: Error): void;
}

/**
 * Calls that no replica has room for, in their order, per model. Each waits as long as its own signal lets it,
 * but no longer than `startTimeoutMs` while there is no replica at all.
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
  /** Called when a model has its first waiting call. */
  onWaiting: () => void;
}): CallQueue {
  const queues = new Map<string, Set<Waiting>>();

  /** Undefined: there is no room. Throws MODEL_NOT_FOUND. */
  function tryPlace(target: Target): Placed | undefined {
    const model = versionFor(target, models, replicas);
    const replica = replicas.take(model.model_version_id, model.target_in_flight);
    return replica && { model, replica };
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

  function wait(target: Target, signal: AbortSignal, isAgain: boolean): Promise<Placed> {
    const { name } = target;
    const before = queues.get(name) ?? new Set();
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
        const error = noReplica(target, models, replicas);
        if (error !== undefined) waiting.reject(error);
        else timer = setTimeout(onOverdue, startTimeoutMs);
      };
      timer = setTimeout(onOverdue, startTimeoutMs);
      signal.addEventListener('abort', onAbort, { once: true });
      queues.set(name, isAgain ? new Set([waiting, ...before]) : before.add(waiting));
      if (before.size <= 1) onWaiting();
      // Those before it may wait for another version.
      else pumpModel(name);
    });
  }

  return {
    async place(target, { signal, isAgain }) {
      signal.throwIfAborted();
      const isFirst = isAgain || !queues.has(target.name);
      return (isFirst ? tryPlace(target) : undefined) ?? (await wait(target, signal, isAgain));
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
    versions.length === 0
      ? 'There is no runtime model of this name.'
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

function noReplica(
  target: Target,
  models: HostedModels,
  replicas: ReplicaSet,
): AppError | undefined {
  const versions = models.versionsOf(target.name);
  if (versions.some(({ model_version_id: id }) => replicas.hasAny(id))) return undefined;
  const wanted = wantedVersion(target, models);
  const trouble = wanted && models.troubleOf(wanted.model_version_id);
  return new AppError(
    'SERVICE_UNAVAILABLE',
    `The model has no replica yet${trouble === undefined ? '.' : `: ${trouble}`}`,
    { retryAfterS: 10 },
  );
}
