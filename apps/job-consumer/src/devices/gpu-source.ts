import { randomUUID } from 'node:crypto';
import {
  discoveryContainer,
  type ContainerEngine,
  type ContainerSpec,
} from '@inference-server/container-engine';
import { AppError, messageOf } from '@inference-server/errors';
import { joinSignals, type Logger } from '@inference-server/service-kit';
import type { Config } from '../config.js';
import { callerOf } from '../identities.js';
import { createNames, type Names } from '../names.js';
import { createPrivateApiClient } from '../private-api-client.js';
import { retryPassing } from '../retry.js';
import { uuidOf } from './find-devices.js';
import type { GpuListing } from './gpu-listing.js';
import type { GpuSample } from './gpu-sample.js';
import { createNvidiaSmi } from './nvidia-smi.js';
import { createContainedSmi } from './nvidia-smi-container.js';
import { shareLook } from './shared-look.js';

/** Who tells of the GPUs of the engine's host. */
export interface GpuSource {
  /** Undefined: nobody can tell. Throws AppError when the driver, or the way to it, is in trouble. */
  list(signal: AbortSignal): Promise<GpuListing | undefined>;
  /** Likewise. */
  sample(signal: AbortSignal): Promise<GpuSample | undefined>;
  /**
   * Which of these devices cannot be used, and why, by a look that begins now; undefined: all can, or nobody can tell.
   */
  troubleWith(devices: readonly string[], signal: AbortSignal): Promise<DeviceTrouble | undefined>;
  /** The same for who asks every GPU_CHECK_S: by a look that is new to him, though another may have made it. */
  periodicTroubleWith: GpuSource['troubleWith'];
  /** Nothing of it is left in the engine, if that is there. */
  close(): Promise<void>;
}

export interface DeviceTrouble {
  devices: readonly string[];
  reason: string;
  /** They are not there any more: nothing that has them can go on. */
  areGone: boolean;
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
  const closing = new AbortController();
  const untilClosed =
    <T>(look: (signal: AbortSignal) => Promise<T>) =>
    async (given: AbortSignal): Promise<T> => {
      const { signal, release } = joinSignals(given, closing.signal);
      return look(signal).finally(release);
    };
  /** As they were listed last. */
  let answering: readonly string[] = [];
  const listNow = untilClosed(async (signal) => {
    const told = isHere ? await smi.list(signal) : undefined;
    const listing = told ?? (await contained?.list(signal));
    answering = listing?.answering ?? [];
    return listing;
  });
  const sampleNow = untilClosed(async (signal) => {
    const told = isHere ? await smi.sample(signal, answering) : undefined;
    return told ?? contained?.sample(signal, answering);
  });
  // Tasks that share a device lose it together. Who asks periodically is never shown the same look twice.
  const list = shareLook(listNow, {
    withinMs: listedWithinMs,
    freshForMs: config.GPU_CHECK_S * 500,
  });
  const sample = shareLook(sampleNow, { withinMs: 60_000, freshForMs: 1_000 });

  return {
    list: list.askAnew,
    sample: sample.ask,
    // Not what was seen before the run failed for which it is asked.
    troubleWith: async (devices, signal) => troubleIn(await toldBy(list.askAnew, signal), devices),
    periodicTroubleWith: async (devices, signal) =>
      troubleIn(await toldBy(list.ask, signal), devices),
    async close() {
      closing.abort(new AppError('SERVICE_UNAVAILABLE', 'The process is stopping.'));
      await contained?.close();
    },
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

/** What it takes to ask may be away: only what nvidia-smi knows and does not name is lost. */
async function toldBy(
  ask: GpuSource['list'],
  signal: AbortSignal,
): Promise<GpuListing | undefined> {
  return ask(signal).catch(() => {
    signal.throwIfAborted();
    return undefined;
  });
}

function troubleIn(
  listing: GpuListing | undefined,
  devices: readonly string[],
): DeviceTrouble | undefined {
  if (listing === undefined) return undefined;
  const { gpus, failures } = listing;
  const gpuOf = (name: string) => gpus.find(({ uuid }) => uuid === uuidOf(name));
  // Of a CDI name with a number nvidia-smi does not tell.
  const gone = devices.filter(
    (name) => /^(GPU|MIG)-/.test(uuidOf(name)) && gpuOf(name) === undefined,
  );
  if (gone.length > 0) {
    const words = [`nvidia-smi knows no ${gone.join(', ')} any more.`, ...failures];
    return { devices: gone, reason: words.join(' '), areGone: true };
  }
  const needy = devices.filter((name) => typeof gpuOf(name)?.needs === 'string');
  if (needy.length === 0) return undefined;
  const words = needy.map((name) => `${name} needs: ${gpuOf(name)?.needs ?? ''}`);
  const reason = `nvidia-smi says that ${words.join(', ')}.`;
  return { devices: needy, reason, areGone: false };
}

const allByCdi = 'nvidia.com/gpu=all';
/** With an image that has to be pulled. */
const listedWithinMs = 600_000;
