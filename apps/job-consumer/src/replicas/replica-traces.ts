import type { ContainerEngine } from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { EngineWatch } from '../engine-watch.js';
import { isComplete } from '../model-volume.js';
import { labelNames, type Names, type ReplicaNames } from '../names.js';
import { retryPassing } from '../retry.js';
import { uncut } from '../uncut.js';
import { removeNetwork } from './replica-network.js';

/**
 * Removes what was made for a replica, by its labels: the containers, the volumes, the network, whoever of us made
 * them. A model volume that is complete belongs to all, and stays. `outOfTime` cuts no call, and ends repeats.
 */
export async function removeReplicaTraces(
  { engine, names, own }: { engine: ContainerEngine; names: Names; own: Pick<ReplicaNames, 'all'> },
  outOfTime: AbortSignal,
): Promise<void> {
  for (const { id } of await engine.listContainers(own.all, uncut)) {
    await engine.removeContainer(id, uncut);
  }
  for (const volume of await engine.listVolumes(own.all, uncut)) {
    const version = volume.labels[labelNames.modelVersion];
    const isOfAll =
      version !== undefined && (await isComplete({ engine, names }, version, volume.name, uncut));
    if (!isOfAll) await engine.removeVolume(volume.name, uncut);
  }
  for (const network of await engine.listNetworks(own.all, uncut)) {
    await removeNetwork(engine, network, uncut, outOfTime);
  }
}

/** False when the engine stayed away, or cannot end the container: then the traces are leftovers. */
export async function cleanUpReplica(
  deps: Parameters<typeof removeReplicaTraces>[0] & {
    engineWatch: Pick<EngineWatch, 'suspect'>;
    logger: Logger;
  },
  replica: string,
  outOfTime: AbortSignal,
): Promise<boolean> {
  try {
    const remove = () => removeReplicaTraces(deps, outOfTime);
    await retryPassing(remove, { signal: outOfTime, forMs: giveUpAfterMs });
    return true;
  } catch (error) {
    deps.logger.warn({ replica, reason: messageOf(error) }, 'a replica left traces in the engine');
    deps.engineWatch.suspect(error);
    return false;
  }
}

const giveUpAfterMs = 10_000;
