import {
  createDockerEngine,
  type ContainerEngine,
  type ContainerLimits,
} from '@inference-server/container-engine';
import type { Policy } from '@inference-server/contracts';
import { createLogger, type Logger } from '@inference-server/service-kit';
import { testFolder, type TestRedis } from '@inference-server/testing';
import { startConsumer, type Consumer } from '../src/consumer.js';
import { createFleet, type FleetMember } from '../src/fleet.js';
import type { RunDeps } from '../src/run/attempt-run.js';
import type { HostingSettings } from '../src/replicas/replica-run.js';
import { createStorageWatch } from '../src/storage-watch.js';
import { noGpuSource, testDevice, testIdentity } from './test-identity.js';

export interface TestConsumerOptions {
  id: string;
  dockerHost: string;
  apiUrl: string;
  redis: TestRedis;
  slots?: number;
  gpu?: string;
  /** In place of one that is alone in its process. */
  member?: FleetMember;
  gpuSource?: Partial<RunDeps['gpuSource']>;
  gpuCheckMs?: number;
  handsOver?: boolean;
  hosting?: Partial<HostingSettings>;
  limits?: Partial<ContainerLimits>;
  sweepIntervalMs?: number;
  policy?: Policy;
  /** The consumer's engine: the real one, but for what a test does to it. */
  wrap?: (engine: ContainerEngine) => ContainerEngine;
  logger?: Logger;
}

/** A whole consumer, with short times. */
export async function startTestConsumer(
  options: TestConsumerOptions,
  starting: AbortSignal,
): Promise<Consumer> {
  const { logger = createLogger('test', 'silent') } = options;
  const real = createDockerEngine({ dockerHost: options.dockerHost });
  const engine = options.wrap?.(real) ?? real;
  const { id, gpu, slots = 1, limits = {} } = options;
  const device = gpu === undefined ? null : testDevice(gpu);
  const identity = testIdentity({ id, slots, device, limits });
  return startConsumer(
    {
      member: options.member ?? createFleet([identity]).get(identity.id)!,
      process: identity.id,
      engine,
      gpuSource: { ...noGpuSource, ...options.gpuSource },
      storageWatch: createStorageWatch({ engine, logger }),
      privateApiUrl: options.apiUrl,
      redisUrl: options.redis.url,
      queuePrefix: options.redis.prefix,
      workDir: await testFolder(),
      version: 'test',
      settings: {
        policy: options.policy ?? {},
        credentialsOf: () => undefined,
        imageRetryMs: 2_000,
        gpuCheckMs: options.gpuCheckMs ?? 60_000,
        looksInside: false,
        containerGraceMs: 500,
        maxOutputBytes: 1024 ** 3,
        maxScratchBytes: 1024 ** 3,
        maxOutputEntries: 1000,
        logTailBytes: 10_000,
        handsOver: options.handsOver ?? false,
      },
      hosting: {
        ...{ subnets: '10.213.0.0/16', gateways: [], startTimeoutMs: 15_000 },
        ...options.hosting,
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
