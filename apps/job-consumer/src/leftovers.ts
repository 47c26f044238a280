import {
  isEngineProblem,
  type ContainerEngine,
  type Labels,
} from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Ticket } from '@inference-server/task-queue';
import { isComplete } from './model-volume.js';
import { labelNames, type Names } from './names.js';

/** A container or volume that carries this consumer's labels. */
export interface OwnThing {
  named: { container: string } | { volume: string };
  /** Whose it is; undefined: of no attempt (a probe). */
  attempt: Ticket | undefined;
  remove(signal: AbortSignal): Promise<void>;
}

/**
 * All that the engine has of this consumer, containers first, but model volumes that are complete:
 * these belong to all. Whatever is of another installation or consumer is not even looked at.
 */
export async function listOwn(
  { engine, names }: { engine: ContainerEngine; names: Names },
  signal: AbortSignal,
): Promise<OwnThing[]> {
  const containers = await engine.listContainers(names.own, signal);
  const things = containers.map(({ id, name, labels }): OwnThing => ({
    named: { container: name },
    attempt: attemptOf(labels),
    remove: (bounds) => engine.removeContainer(id, bounds),
  }));
  for (const { name, labels } of await engine.listVolumes(names.own, signal)) {
    const version = labels[labelNames.modelVersion];
    if (version !== undefined && (await isComplete({ engine, names }, version, name, signal)))
      continue;
    things.push({
      named: { volume: name },
      attempt: attemptOf(labels),
      remove: (bounds) => engine.removeVolume(name, bounds),
    });
  }
  return things;
}

/**
 * Removes them; returns those that stay for now: in use, or the engine cannot end it. Throws when the
 * signal aborts, which is looked at before each, and EngineError when the engine is away.
 */
export async function removeLeftovers(
  things: readonly OwnThing[],
  logger: Logger,
  signal: AbortSignal,
): Promise<OwnThing[]> {
  const stay = [];
  for (const thing of things) {
    const { named, remove } = thing;
    signal.throwIfAborted();
    try {
      await remove(signal);
      logger.info(named, 'removed a leftover');
    } catch (error) {
      if (signal.aborted || isEngineProblem(error, 'unreachable')) throw error;
      logger.warn({ ...named, reason: messageOf(error) }, 'a leftover stays');
      stay.push(thing);
    }
  }
  return stay;
}

function attemptOf(labels: Labels): Ticket | undefined {
  const taskUid = labels[labelNames.task];
  if (taskUid === undefined) return undefined;
  return { taskUid, attempt: Number(labels[labelNames.attempt]) };
}
