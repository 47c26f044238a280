import {
  isEngineProblem,
  type ContainerEngine,
  type Labels,
} from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import { isComplete } from './model-volume.js';
import { labelNames, type Names } from './names.js';

/**
 * Removes this consumer's own containers and volumes, but those of attempts that `isActive` knows,
 * and model volumes that are complete. Whatever belongs to another installation or consumer is not
 * even looked at. Throws EngineError when the engine does not answer.
 */
export async function removeLeftovers(
  { engine, names, logger }: { engine: ContainerEngine; names: Names; logger: Logger },
  isActive: (taskUid: string, attempt: number) => boolean,
  signal: AbortSignal,
): Promise<void> {
  const inUse = (labels: Labels) =>
    isActive(labels[labelNames.task] ?? '', Number(labels[labelNames.attempt]));
  for (const { id, name, labels } of await engine.listContainers(names.own, signal)) {
    if (inUse(labels)) continue;
    await engine.removeContainer(id, signal);
    logger.info({ container: name }, 'removed a leftover');
  }
  for (const { name, labels } of await engine.listVolumes(names.own, signal)) {
    if (inUse(labels)) continue;
    const version = labels[labelNames.modelVersion];
    if (version !== undefined && (await isComplete({ engine, names }, version, name, signal)))
      continue;
    try {
      await engine.removeVolume(name, signal);
      logger.info({ volume: name }, 'removed a leftover');
    } catch (error) {
      if (!isEngineProblem(error, 'in_use')) throw error;
      logger.warn({ volume: name, reason: messageOf(error) }, 'a leftover is in use');
    }
  }
}
