import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { buildImage } from '@inference-server/example-copy/build-image.mjs';
import {
  createDockerEngine,
  type ContainerEngine,
  type ContainerLimits,
  type Labels,
} from '@inference-server/container-engine';
import { askDockerEngine, startDockerEngine, waitUntil } from '@inference-server/local-services';
import { askEngine } from './ask-engine.js';
import type { Scene } from './scene.js';

/** An engine with the image of the copy example in it. */
export interface BenchEngine {
  dockerHost: string;
  engine: ContainerEngine;
  version: string;
  image: string;
  consumerId: string;
  /** On whatever is made beside the consumer. */
  ownLabels: Labels;
  /** Resolves once the consumer has removed all that it made. */
  untilTidy(): Promise<void>;
}

/** The engine that there is, or one of the scene's own. Nothing of ours is left in it at the end. */
export async function useEngine(scene: Scene): Promise<BenchEngine> {
  const { signal } = scene;
  const dockerHost = await findEngine(scene);
  const engine = createDockerEngine({ dockerHost });
  const random = randomBytes(4).toString('hex');
  const consumerId = `benchmark-${random}`;
  const consumerLabels = { 'inference-server.consumer': consumerId };
  const ownLabels = { 'inference-server.benchmark': random };
  scene.onEnd(async () => {
    await removeAll(engine, consumerLabels);
    await removeAll(engine, ownLabels);
  });
  return {
    dockerHost,
    engine,
    version: await versionOf(dockerHost, signal),
    image: await buildImage({ dockerHost, signal }),
    consumerId,
    ownLabels,
    async untilTidy() {
      const isTidy = async () => (await namesOf(engine, consumerLabels, signal)).length === 0;
      if (await waitUntil(isTidy, { timeoutMs: 60_000, everyMs: 20, signal })) return;
      const left = await namesOf(engine, consumerLabels, signal);
      throw new Error(`The consumer has not removed ${left.join(', ')}`);
    },
  };
}

/** What the consumer is told, so that its containers are as {@link containerLimits} says. */
export const limitSettings = {
  CONTAINER_MEMORY_MIB: '1024',
  CONTAINER_CPUS: String(availableParallelism()),
  CONTAINER_PIDS: '4096',
  SHM_MIB: '64',
};

export const containerLimits: ContainerLimits = {
  memoryBytes: 1024 * 1024 ** 2,
  cpus: availableParallelism(),
  processes: 4096,
  shmBytes: 64 * 1024 ** 2,
  logBytes: 16 * 1024 ** 2,
  fileBytes: 50 * 1024 ** 3,
};

async function findEngine(scene: Scene): Promise<string> {
  const { folder, environment, signal, given } = scene;
  const host = given['DOCKER_HOST'] ?? '';
  const usual = host === '' ? 'unix:///var/run/docker.sock' : host;
  if (await askDockerEngine(usual)) return usual;
  const logFile = join(folder, 'docker-engine.log');
  const own = await startDockerEngine({ dataDir: folder, logFile, environment, signal });
  scene.onEnd(own.stop);
  return own.url;
}

async function versionOf(dockerHost: string, signal: AbortSignal): Promise<string> {
  const { Version } = JSON.parse(await askEngine(dockerHost, '/version', signal)) as {
    Version: string;
  };
  return Version;
}

async function namesOf(
  engine: ContainerEngine,
  labels: Labels,
  signal: AbortSignal,
): Promise<string[]> {
  const containers = await engine.listContainers(labels, signal);
  const volumes = await engine.listVolumes(labels, signal);
  return [...containers, ...volumes].map(({ name }) => name);
}

async function removeAll(engine: ContainerEngine, labels: Labels): Promise<void> {
  const signal = AbortSignal.timeout(60_000);
  for (const { id } of await engine.listContainers(labels, signal)) {
    await engine.removeContainer(id, signal);
  }
  for (const { name } of await engine.listVolumes(labels, signal)) {
    await engine.removeVolume(name, signal);
  }
}
