import {
  isEngineProblem,
  type ContainerEngine,
  type EngineDescription,
} from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { Config } from './config.js';
import { findDevices } from './devices/find-devices.js';
import type { GpuSource } from './devices/gpu-source.js';
import type { HostResources } from './identities.js';
import { retryPassing } from './retry.js';

/**
 * What the engine's host has for this process, as its settings ask. Waits for the engine, however long it
 * is away: it alone knows its cores and memory, which need not be this machine's.
 */
export async function describeHost(
  deps: {
    config: Config;
    engine: Pick<ContainerEngine, 'describe'>;
    gpuSource: Pick<GpuSource, 'list'>;
    logger: Logger;
  },
  signal: AbortSignal,
): Promise<HostResources & Pick<EngineDescription, 'cgroupDriver'>> {
  const { config, gpuSource, logger } = deps;
  const engine = await retryPassing(() => deps.engine.describe(signal), {
    signal,
    forMs: Infinity,
    passes: (error) => isEngineProblem(error, 'unreachable', 'overdue', 'failed'),
    onRetry: (error) => logger.warn({ reason: messageOf(error) }, 'waiting for the engine'),
  });
  const { runtimes, hasSeccomp, hasUserNamespaces } = engine;
  logger.info({ runtimes, hasSeccomp, hasUserNamespaces }, 'what keeps containers apart here');
  const list = () => gpuSource.list(signal);
  return {
    cpus: engine.cpus,
    memoryMib: Math.floor(engine.memoryBytes / 1024 ** 2),
    cgroupDriver: engine.cgroupDriver,
    devices: await findDevices(askedOf(config), { list, engine, logger }, signal),
  };
}

function askedOf({ GPUS, GPU_UUID }: Config): 'none' | 'auto' | string[] {
  if (GPU_UUID !== undefined) return [GPU_UUID];
  return GPUS === 'auto' || GPUS === 'none' ? GPUS : GPUS.split(',');
}
