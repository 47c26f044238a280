import { randomUUID } from 'node:crypto';
import { hasEnded, type ContainerEngine } from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Config } from '../config.js';
import { callerOf } from '../identities.js';
import { createNames } from '../names.js';
import { createPrivateApiClient } from '../private-api-client.js';
import { retryPassing } from '../retry.js';
import { uuidOf } from './find-devices.js';
import { createNvidiaSmi } from './nvidia-smi.js';
import { listGpusInContainer } from './nvidia-smi-container.js';
import type { FoundGpu } from './nvidia-smi-output.js';

/** Who tells of the GPUs of the engine's host. */
export interface GpuSource {
  /** Undefined: nobody can tell. Throws AppError when the driver, or the way to it, is in trouble. */
  list(signal: AbortSignal): Promise<FoundGpu[] | undefined>;
  /** Which of these devices cannot be used, and why; undefined: all can, or nobody can tell. */
  troubleWith(devices: readonly string[], signal: AbortSignal): Promise<DeviceTrouble | undefined>;
}

export interface DeviceTrouble {
  devices: readonly string[];
  reason: string;
}

/** nvidia-smi of this machine, if the engine is here too, or else in a container of GPU_HELPER_IMAGE. */
export function createGpuSource(options: {
  config: Config;
  engine: ContainerEngine;
  logger: Logger;
}): GpuSource {
  const { config, engine, logger } = options;
  const { GPU_HELPER_IMAGE: image } = config;
  const smi = createNvidiaSmi({ environment: { PATH: config.PATH } });

  const listNow = async (signal: AbortSignal) => {
    const found = config.DOCKER_HOST.startsWith('unix:') ? await smi.list(signal) : undefined;
    return found ?? (image === undefined ? undefined : await listInContainer(image, signal));
  };
  /** One for all who ask meanwhile: tasks that share a device lose it together. */
  let underWay: Promise<FoundGpu[] | undefined> | undefined;
  const list: GpuSource['list'] = async (signal) => {
    signal.throwIfAborted();
    underWay ??= listNow(AbortSignal.timeout(listedWithinMs)).finally(() => (underWay = undefined));
    const listing = underWay;
    // Whoever waited for it may have given up.
    listing.catch(() => undefined);
    return new Promise((resolve, reject) => {
      const giveUp = () => reject(signal.reason as Error);
      signal.addEventListener('abort', giveUp, { once: true });
      void listing.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
    });
  };

  return {
    list,
    async troubleWith(devices, signal) {
      // One GPU that is gone can keep nvidia-smi from telling of any, and what it takes to ask may be away:
      // only what it knows and does not name is lost.
      const found = await list(signal).catch(() => {
        signal.throwIfAborted();
        return undefined;
      });
      const isLost = (name: string) => {
        const uuid = uuidOf(name);
        // Of a CDI name with a number nvidia-smi does not tell.
        return /^(GPU|MIG)-/.test(uuid) && found?.every((gpu) => gpu.uuid !== uuid) === true;
      };
      const lost = devices.filter(isLost);
      if (lost.length === 0) return undefined;
      return { devices: lost, reason: `nvidia-smi knows no ${lost.join(', ')} any more.` };
    },
  };

  async function listInContainer(helper: string, signal: AbortSignal): Promise<FoundGpu[]> {
    const caller = callerOf(config);
    const api = createPrivateApiClient({
      url: config.PRIVATE_API_URL,
      token: caller.token,
      consumerId: caller.id,
    });
    try {
      const { installation_id: installationId } = await retryPassing(
        () => api.goneConsumers([], signal),
        {
          signal,
          forMs: Number.POSITIVE_INFINITY,
          onRetry: (error) => logger.warn({ reason: messageOf(error) }, 'not registered yet'),
        },
      );
      // No consumer's own, so that none takes them for leftovers; what an earlier one left goes here.
      const names = createNames(installationId, `${caller.id}-discovery`);
      for (const { id, state } of await engine.listContainers(names.own, signal)) {
        if (hasEnded(state)) await engine.removeContainer(id, signal);
      }
      if ((await engine.inspectImage(helper, signal)) === undefined) {
        await engine.pullImage(helper, signal);
      }
      const { runtimes, cdiDevices } = await engine.describe(signal);
      const byCdi = !runtimes.includes('nvidia') && cdiDevices.includes(allByCdi);
      return await listGpusInContainer(
        engine,
        { ...names.discovery(randomUUID()), image: helper, ...(byCdi && { gpus: allByCdi }) },
        signal,
      );
    } finally {
      await api.close();
    }
  }
}

const allByCdi = 'nvidia.com/gpu=all';
/** With an image that has to be pulled. */
const listedWithinMs = 600_000;
