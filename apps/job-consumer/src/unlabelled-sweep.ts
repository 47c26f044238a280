import {
  isEngineProblem,
  type ContainerEngine,
  type Volume,
} from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import type { Amount, Logger, Sweep } from '@inference-server/service-kit';
import type { Names } from './names.js';

/**
 * Volumes with a name of this installation and without any label: an engine that ends while it makes a
 * volume can keep the folder and lose the labels (measured: docker 20.10, SIGTERM), and then no list by
 * labels has it. Nobody works with such a one: whoever makes a volume of that name makes it anew
 * (`createVolume`), and while a container has it the engine does not let it go.
 */
export function sweepUnlabelled({
  engine,
  names,
  logger,
}: {
  engine: ContainerEngine;
  names: Names;
  logger: Logger;
}): Sweep {
  const find = async (signal: AbortSignal): Promise<Volume[]> =>
    (await engine.listVolumes({}, signal)).filter(isUnlabelled);
  const isUnlabelled = ({ name, labels }: Volume) =>
    name.startsWith(names.prefix) && Object.keys(labels).length === 0;

  /** False when it stays for now: in use, or being made while it was listed. */
  const remove = async (name: string, signal: AbortSignal): Promise<boolean> => {
    try {
      const found = await engine.inspectVolume(name, signal);
      if (found === undefined || !isUnlabelled(found)) return false;
      await engine.removeVolume(name, signal);
      logger.info({ volume: name }, 'removed a volume without labels');
      return true;
    } catch (error) {
      if (signal.aborted || isEngineProblem(error, 'unreachable')) throw error;
      if (isEngineProblem(error, 'in_use')) return false;
      logger.warn({ volume: name, reason: messageOf(error) }, 'a volume without labels stays');
      return false;
    }
  };

  return {
    name: 'unlabelled',
    what: 'volumes of ours that have lost their labels',
    look: async (signal) => amountOf(await measured(await find(signal), signal)),
    async take(signal) {
      const taken = [];
      for (const volume of await measured(await find(signal), signal)) {
        if (await remove(volume.name, signal)) taken.push(volume);
      }
      return { ...amountOf(taken), more: false };
    },
  };

  async function measured(volumes: readonly Volume[], signal: AbortSignal) {
    const sizes = volumes.length === 0 ? undefined : await engine.measureVolumes(signal);
    return volumes.map(({ name }) => ({ name, bytes: sizes?.get(name) ?? 0 }));
  }
}

function amountOf(volumes: readonly { bytes: number }[]): Amount {
  return { count: volumes.length, bytes: volumes.reduce((sum, { bytes }) => sum + bytes, 0) };
}
