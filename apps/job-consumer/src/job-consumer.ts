import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { createDockerEngine } from '@inference-server/container-engine';
import { AppError } from '@inference-server/errors';
import {
  joinSignals,
  readPolicy,
  type Logger,
  type RunningApp,
} from '@inference-server/service-kit';
import type { Config } from './config.js';
import { startConsumer, type Consumer } from './consumer.js';
import { createFleet } from './fleet.js';
import { describeHost } from './describe-host.js';
import { createGpuSource } from './devices/gpu-source.js';
import { consumersOf } from './identities.js';
import { isBlock } from './replicas/subnets.js';
import { looksInside } from './run/device-watch.js';
import { readRegistryAuth } from './registry-auth.js';
import { createStorageWatch } from './storage-watch.js';

/** All consumers of the process, put together from its settings: registered when it resolves. */
export async function startJobConsumer(
  config: Config,
  logger: Logger,
  starting: AbortSignal,
): Promise<RunningApp> {
  if (!isBlock(config.REPLICA_SUBNETS)) {
    throw new AppError(
      'VALIDATION_FAILED',
      'REPLICA_SUBNETS is no block of IPv4 addresses, /8 to /28.',
    );
  }
  const policy = readPolicy(config.POLICY_FILE);
  const credentialsOf = readRegistryAuth(config.REGISTRY_AUTH_FILE, policy);
  const engine = createDockerEngine({ dockerHost: config.DOCKER_HOST });
  // One for all consumers: each look is at all that the engine has.
  const storageWatch = createStorageWatch({ engine, logger });
  const graceMs = config.STOP_GRACE_S * 1000;
  const gpuSource = createGpuSource({ config, engine, logger });
  const { fleet, cgroupDriver } = await describeHost(
    { config, engine, gpuSource, logger },
    starting,
  )
    .then((host) => ({ fleet: createFleet(consumersOf(config, host)), ...host }))
    .catch(async (error: unknown) => {
      await gpuSource.close();
      throw error;
    });
  const processId = randomUUID();
  const consumers: Consumer[] = [];
  const close = async () => {
    const closed = await Promise.allSettled(consumers.map((consumer) => consumer.close()));
    await gpuSource.close();
    const failed = closed.find((one) => one.status === 'rejected');
    if (failed !== undefined) throw failed.reason as Error;
  };
  // One may wait for its device while the others are at work: none waits for what is in vain.
  const failing = new AbortController();
  const bounds = joinSignals(starting, failing.signal);
  const fail = (error: unknown) => failing.abort(error);
  await Promise.allSettled(
    [...fleet.values()].map((member) =>
      startConsumer(
        {
          member,
          process: processId,
          engine,
          gpuSource,
          storageWatch,
          privateApiUrl: config.PRIVATE_API_URL,
          redisUrl: config.REDIS_URL,
          queuePrefix: config.QUEUE_PREFIX,
          workDir: config.WORK_DIR,
          version,
          settings: {
            policy,
            credentialsOf,
            imageRetryMs: config.IMAGE_RETRY_S * 1000,
            gpuCheckMs: config.GPU_CHECK_S * 1000,
            looksInside: looksInside(config.GPU_CHECK_INSIDE, { cgroupDriver }),
            containerGraceMs: Math.min(10_000, graceMs / 3),
            maxOutputBytes: config.MAX_OUTPUT_BYTES,
            maxScratchBytes: config.MAX_SCRATCH_BYTES,
            maxOutputEntries: config.MAX_OUTPUT_ENTRIES,
            logTailBytes: config.LOG_TAIL_BYTES,
            handsOver: config.HAND_OVER,
          },
          hosting: {
            subnets: config.REPLICA_SUBNETS,
            // A container's host name is its id.
            gateways: config.GATEWAY_CONTAINERS.split(',')
              .filter((name) => name !== '')
              .map((name) => (name === 'self' ? hostname() : name)),
            startTimeoutMs: config.START_TIMEOUT_S * 1000,
          },
          predecessorMs: config.PREDECESSOR_WAIT_S * 1000,
          quarantine: { after: config.QUARANTINE_AFTER, pauseMs: config.QUARANTINE_S * 1000 },
          modelVolumes: {
            maxAgeMs: config.MODEL_VOLUME_MAX_AGE_S * 1000,
            maxBytes: config.MODEL_VOLUMES_MAX_BYTES,
          },
          sweepIntervalMs: config.SWEEP_INTERVAL_S * 1000,
          // What is left of the process's own grace is for coming to rest.
          stopGraceMs: graceMs * 0.8,
          logger,
        },
        bounds.signal,
      ).then((consumer) => {
        consumers.push(consumer);
        consumer.replaced.catch(fail);
      }, fail),
    ),
  );
  bounds.release();
  if (!failing.signal.aborted) {
    return { close, failed: Promise.race(consumers.map((consumer) => consumer.replaced)) };
  }
  await close();
  throw failing.signal.reason as Error;
}

const version = '0.1.0';
