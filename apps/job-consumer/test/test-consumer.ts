import {
  createDockerEngine,
  type ContainerEngine,
  type ContainerLimits,
} from '@inference-server/container-engine';
import { createLogger } from '@inference-server/service-kit';
import { testFolder, type TestRedis } from '@inference-server/testing';
import { startConsumer, type Consumer } from '../src/consumer.js';
import { createStorageWatch } from '../src/storage-watch.js';

export interface TestConsumerOptions {
  id: string;
  dockerHost: string;
  apiUrl: string;
  redis: TestRedis;
  slots?: number;
  gpu?: string;
  handsOver?: boolean;
  limits?: Partial<ContainerLimits>;
  sweepIntervalMs?: number;
  /** The consumer's engine: the real one, but for what a test does to it. */
  wrap?: (engine: ContainerEngine) => ContainerEngine;
}

/** A whole consumer, with short times. */
export async function startTestConsumer(
  options: TestConsumerOptions,
  starting: AbortSignal,
): Promise<Consumer> {
  const logger = createLogger('test', 'silent');
  const real = createDockerEngine({ dockerHost: options.dockerHost });
  const engine = options.wrap?.(real) ?? real;
  return startConsumer(
    {
      identity: {
        id: options.id,
        token: 'none',
        slots: options.slots ?? 1,
        device:
          options.gpu === undefined
            ? null
            : { uuid: options.gpu, name: null, memory_mib: null, driver: null },
        host: { cpus: 2, memory_mib: 2_048 },
        share: { cpus: 2, memory_mib: 1_024, memory_per_task_mib: null },
        labels: {},
        limits: {
          memoryBytes: 64 * 1024 ** 2,
          cpus: 1,
          processes: 100,
          shmBytes: 1024 ** 2,
          logBytes: 1024 ** 2,
          fileBytes: 1024 ** 3,
          ...options.limits,
        },
      },
      engine,
      storageWatch: createStorageWatch({ engine, logger }),
      privateApiUrl: options.apiUrl,
      redisUrl: options.redis.url,
      queuePrefix: options.redis.prefix,
      workDir: await testFolder(),
      version: 'test',
      settings: {
        imageRetryMs: 2_000,
        containerGraceMs: 500,
        maxOutputBytes: 1024 ** 3,
        maxScratchBytes: 1024 ** 3,
        maxOutputEntries: 1000,
        logTailBytes: 10_000,
        handsOver: options.handsOver ?? false,
      },
      predecessorMs: 1_000,
      quarantine: { after: 3, pauseMs: 300 },
      modelVolumes: { maxAgeMs: 3_600_000, maxBytes: 0 },
      sweepIntervalMs: options.sweepIntervalMs ?? 300,
      stopGraceMs: 20_000,
      logger,
    },
    starting,
  );
}
