import type { EngineDescription } from '@inference-server/container-engine';
import type { ConsumerRegistration } from '@inference-server/contracts';
import { AppError, messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import { retryPassing } from '../retry.js';
import type { GpuListing } from './gpu-listing.js';
import type { FoundGpu } from './nvidia-smi-output.js';

/** As a consumer registers it. */
export type Device = NonNullable<ConsumerRegistration['device']>;

/**
 * The devices that the settings ask for, with what is known of them: `auto` stands for all that are found.
 * One that is named is taken for granted: whether containers can have it is for its consumer to see. `list`
 * gives undefined where nobody can tell. Where it throws, the driver is in trouble: it is asked again for a
 * while, and what was not named is left out then, with an error in the log.
 */
export async function findDevices(
  asked: 'none' | 'auto' | readonly string[],
  {
    list,
    engine,
    logger,
    forMs = 20_000,
  }: {
    list: () => Promise<GpuListing | undefined>;
    engine: Pick<EngineDescription, 'runtimes' | 'cdiDevices'>;
    logger: Logger;
    forMs?: number;
  },
  signal: AbortSignal,
): Promise<Device[]> {
  if (asked === 'none') return [];
  let found: FoundGpu[] | undefined;
  try {
    const listing = await retryPassing(list, {
      signal,
      forMs,
      passes: (error) => error instanceof AppError,
      onRetry: (error) =>
        logger.warn({ reason: messageOf(error) }, 'the GPUs cannot be listed yet'),
    });
    if (listing === undefined) logger.info('there is no nvidia-smi to ask');
    const failures = listing?.failures ?? [];
    if (failures.length > 0) logger.warn({ failures }, 'a GPU does not answer, and is left out');
    for (const gpu of listing?.unsliced ?? []) {
      logger.warn({ gpu }, 'a GPU is divided, and has no slices');
    }
    found = listing?.gpus;
  } catch (error) {
    signal.throwIfAborted();
    logger.error({ reason: messageOf(error) }, 'the GPUs cannot be listed');
  }
  if (asked === 'auto') {
    return (found ?? []).map((gpu) => deviceOf(nameFor(gpu.uuid, engine), gpu));
  }
  return asked.map((name) => {
    const gpu = found?.find(({ uuid }) => uuid === uuidOf(name));
    if (found !== undefined && gpu === undefined) {
      const there = found.map(({ uuid }) => uuid);
      logger.warn({ device: name, there }, 'nvidia-smi does not know a device that is named');
    }
    return deviceOf(name, gpu);
  });
}

/** What nvidia-smi calls a device: a CDI name has it behind its kind, or a number. */
export function uuidOf(name: string): string {
  return name.slice(name.indexOf('=') + 1);
}

/** The GPU that a slice is of, as far as its name tells: only those of drivers before R470 do. */
function gpuInName(name: string): string | undefined {
  return /^MIG-(GPU-[^/]+)\//.exec(uuidOf(name))?.[1];
}

/** Whether a container that has a device of this name has this one, a slice of it, or the GPU that it is of. */
export function isOn({ uuid, gpu_uuid: gpu }: Device, name: string): boolean {
  const [own, other] = [uuidOf(uuid), uuidOf(name)];
  return other === own || other === gpu || gpuInName(name) === own;
}

/** An engine without NVIDIA's runtime may know the devices by their CDI names (docker from 28.2). */
function nameFor(
  uuid: string,
  { runtimes, cdiDevices }: Pick<EngineDescription, 'runtimes' | 'cdiDevices'>,
): string {
  const cdi = cdiDevices.find((name) => name === `nvidia.com/gpu=${uuid}`);
  return runtimes.includes('nvidia') ? uuid : (cdi ?? uuid);
}

function deviceOf(uuid: string, gpu: FoundGpu | undefined): Device {
  const gpuUuid = gpu?.gpuUuid ?? gpuInName(uuid);
  return {
    uuid,
    ...(gpuUuid !== undefined && { gpu_uuid: gpuUuid }),
    name: gpu?.name ?? null,
    memory_mib: gpu?.memoryMib ?? null,
    driver: gpu?.driver ?? null,
  };
}
