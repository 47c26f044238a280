import type { ContainerEngine } from './container-engine.js';
import { getArchive, putArchive } from './docker/archives.js';
import { runCommand } from './docker/commands.js';
import { boundedCall, connectEngine, type EngineDeadlines } from './docker/connection.js';
import {
  createContainer,
  inspectContainer,
  listContainers,
  removeContainer,
  startContainer,
  stopContainer,
} from './docker/containers.js';
import { describeEngine, readClock } from './docker/description.js';
import { waitForExit } from './docker/exit.js';
import { importImage, inspectImage, pullImage } from './docker/images.js';
import { readLogs } from './docker/logs.js';
import {
  connectContainer,
  createNetwork,
  disconnectContainer,
  inspectNetwork,
  listMembers,
  listNetworks,
  removeNetwork,
} from './docker/networks.js';
import { listProcesses } from './docker/processes.js';
import { measureStorage, measureVolumes } from './docker/storage.js';
import { readUsage } from './docker/usage.js';
import { createVolume, inspectVolume, listVolumes, removeVolume } from './docker/volumes.js';

/**
 * A docker engine. Its API version is not pinned: each engine speaks its own. Nothing is connected
 * before the first call, and nothing needs closing.
 */
export function createDockerEngine(options: {
  /** What DOCKER_HOST holds: unix:///path, tcp://host:port or http://host:port. */
  dockerHost: string;
  deadlines?: Partial<EngineDeadlines>;
}): ContainerEngine {
  const engine = connectEngine(options.dockerHost, { ...usualDeadlines, ...options.deadlines });
  const { docker, deadlines } = engine;
  return {
    async ping(signal) {
      await boundedCall('the engine', deadlines.callMs, signal, (abortSignal) =>
        (docker as unknown as PingWithOptions).ping({ abortSignal }),
      );
    },
    readClock: (signal) => readClock(engine, signal),
    describe: (signal) => describeEngine(engine, signal),
    inspectImage: (reference, signal) => inspectImage(engine, reference, signal),
    pullImage: (reference, signal, options = {}) => pullImage(engine, reference, signal, options),
    importImage: (reference, tar, signal) => importImage(engine, reference, tar, signal),
    createVolume: (volume, signal) => createVolume(engine, volume, signal),
    inspectVolume: (name, signal) => inspectVolume(engine, name, signal),
    listVolumes: (labels, signal) => listVolumes(engine, labels, signal),
    removeVolume: (name, signal) => removeVolume(engine, name, signal),
    measureVolumes: (signal) => measureVolumes(engine, signal),
    createNetwork: (network, signal) => createNetwork(engine, network, signal),
    inspectNetwork: (network, signal) => inspectNetwork(engine, network, signal),
    listNetworks: (labels, signal) => listNetworks(engine, labels, signal),
    removeNetwork: (network, signal) => removeNetwork(engine, network, signal),
    connectContainer: (network, container, signal) =>
      connectContainer(engine, network, container, signal),
    disconnectContainer: (network, container, signal) =>
      disconnectContainer(engine, network, container, signal),
    listMembers: (network, signal) => listMembers(engine, network, signal),
    createContainer: (spec, signal) => createContainer(engine, spec, signal),
    startContainer: (container, signal) => startContainer(engine, container, signal),
    waitForExit: (container, signal) => waitForExit(engine, container, signal),
    stopContainer: (container, graceMs, signal) =>
      stopContainer(engine, container, graceMs, signal),
    removeContainer: (container, signal) => removeContainer(engine, container, signal),
    inspectContainer: (container, signal) => inspectContainer(engine, container, signal),
    listContainers: (labels, signal) => listContainers(engine, labels, signal),
    readUsage: (container, signal) => readUsage(engine, container, signal),
    listProcesses: (container, signal) => listProcesses(engine, container, signal),
    runCommand: (container, command, limits, signal) =>
      runCommand(engine, container, command, limits, signal),
    measureStorage: (containers, signal) => measureStorage(engine, containers, signal),
    putArchive: (container, folder, tar, signal) =>
      putArchive(engine, container, folder, tar, signal),
    getArchive: (container, path, signal) => getArchive(engine, container, path, signal),
    readLogs: (container, limits, signal) => readLogs(engine, container, limits, signal),
  };
}

/** It takes options; its types do not say so. */
interface PingWithOptions {
  ping(options: { abortSignal: AbortSignal }): Promise<unknown>;
}

const usualDeadlines: EngineDeadlines = {
  callMs: 30_000,
  slowCallMs: 120_000,
  idleMs: 120_000,
  pollMs: 2_000,
  awayMs: 30_000,
};
