import { randomUUID } from 'node:crypto';
import {
  discoveryContainer,
  type ContainerEngine,
  type ContainerSpec,
} from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Config } from '../config.js';
import { callerOf } from '../identities.js';
import { createNames, type Names } from '../names.js';
import { createPrivateApiClient } from '../private-api-client.js';
import { retryPassing } from '../retry.js';
import { uuidOf } from './find-devices.js';
import type { GpuSample } from './gpu-sample.js';
import { createNvidiaSmi } from './nvidia-smi.js';
import { createContainedSmi } from './nvidia-smi-container.js';
import type { FoundGpu } from './nvidia-smi-output.js';
import { shareLook } from './shared-look.js';

/** Who tells of the GPUs of the engine's host. */
export interface GpuSource {
  /** Undefined: nobody can tell. Throws AppError when the driver, or the way to it, is in trouble. */
  list(signal: AbortSignal): Promise<FoundGpu[] | undefined>;
  /** Undefined: nobody can tell. Throws AppError likewise. */
  sample(signal: AbortSignal): Promise<GpuSample | undefined>;
  /** Which of these devices cannot be used, and why; undefined: all can, or nobody can tell. */
  troubleWith(devices: readonly string[], signal: AbortSignal): Promise<DeviceTrouble | undefined>;
  /** Nothing of it is left in the engine, if that is there. */
  close(): Promise<void>;
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
  let names: Names | undefined;
  const smi = createNvidiaSmi({ environment: { PATH: config.PATH } });
  /** An engine on another machine has GPUs that this one knows nothing of. */
  const isHere = config.DOCKER_HOST.startsWith('unix:');

  const contained =
    image === undefined ? undefined : createContainedSmi(engine, (signal) => specOf(image, signal));
  const listNow = async (signal: AbortSignal) =>
    (isHere ? await smi.list(signal) : undefined) ?? contained?.list(signal);
  const sampleNow = async (signal: AbortSignal) =>
    (isHere ? await smi.sample(signal) : undefined) ?? contained?.sample(signal);
  // Tasks that share a device lose it together.
  const list = shareLook(listNow, { withinMs: listedWithinMs });

  return {
    list,
    sample: shareLook(sampleNow, { withinMs: 60_000, freshForMs: 1_000 }),
    async troubleWith(devices, signal) {
      // What it takes to ask may be away: only what nvidia-smi knows and does not name is lost.
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
      if (lost.length > 0) {
        return { devices: lost, reason: `nvidia-smi knows no ${lost.join(', ')} any more.` };
      }
      const needsOf = (name: string) => found?.find(({ uuid }) => uuid === uuidOf(name))?.needs;
      const sick = devices.filter((name) => typeof needsOf(name) === 'string');
      if (sick.length === 0) return undefined;
      const words = sick.map((name) => `${name} needs: ${needsOf(name) ?? ''}`);
      return { devices: sick, reason: `nvidia-smi says that ${words.join(', ')}.` };
    },
    close: async () => contained?.close(),
  };

  async function specOf(helper: string, signal: AbortSignal): Promise<ContainerSpec> {
    const names = await ownNames(signal);
    if ((await engine.inspectImage(helper, signal)) === undefined) {
      await engine.pullImage(helper, signal);
    }
    const { runtimes, cdiDevices } = await engine.describe(signal);
    const byCdi = !runtimes.includes('nvidia') && cdiDevices.includes(allByCdi);
    return discoveryContainer({
      ...names.discovery(randomUUID()),
      image: helper,
      gpus: byCdi ? allByCdi : 'all',
    });
  }

  /** No consumer's own, so that none takes it for a leftover; what an earlier process left goes here. */
  async function ownNames(signal: AbortSignal): Promise<Names> {
    if (names !== undefined) return names;
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
      const found = createNames(installationId, `${caller.id}-discovery`);
      for (const { id } of await engine.listContainers(found.own, signal)) {
        await engine.removeContainer(id, signal);
      }
      return (names = found);
    } finally {
      await api.close();
    }
  }
}

const allByCdi = 'nvidia.com/gpu=all';
/** With an image that has to be pulled. */
const listedWithinMs = 600_000;
