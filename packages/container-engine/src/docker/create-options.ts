import type Docker from 'dockerode';
import type { ContainerSpec } from '../container-engine.js';

/**
 * The engine's form of a container. What the sandbox fixes for every container stands here: no
 * network, no capabilities, no new privileges, no swap, an init process (a main process with
 * number 1 would not hear signals), volumes without the image's own content, bounded logs and files.
 */
export function createOptions(spec: ContainerSpec): Docker.ContainerCreateOptions {
  const { limits } = spec;
  return {
    Image: spec.image,
    Labels: { ...spec.labels },
    Env: Object.entries(spec.environment).map(([name, value]) => `${name}=${value}`),
    NetworkDisabled: true,
    ...(spec.command === undefined ? {} : { Entrypoint: [...spec.command], Cmd: [] }),
    HostConfig: {
      NetworkMode: 'none',
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges:true'],
      Init: true,
      PidsLimit: limits.processes,
      Memory: limits.memoryBytes,
      MemorySwap: limits.memoryBytes,
      NanoCpus: Math.round(limits.cpus * 1e9),
      ShmSize: limits.shmBytes,
      IpcMode: 'private',
      // An engine with user namespaces of its own gives the one only with the other.
      ...(spec.seesHostProcesses === true && { PidMode: 'host', UsernsMode: 'host' }),
      RestartPolicy: { Name: 'no' },
      Ulimits: [{ Name: 'fsize', Soft: limits.fileBytes, Hard: limits.fileBytes }],
      LogConfig: { Type: 'json-file', Config: logConfig(limits.logBytes) },
      Mounts: spec.mounts.map(({ volume, path, readOnly }) => ({
        Type: 'volume' as const,
        Source: volume,
        Target: path,
        ReadOnly: readOnly,
        VolumeOptions: { NoCopy: true, Labels: {}, DriverConfig: { Name: 'local', Options: {} } },
      })),
      ...(spec.gpus.length === 0 ? {} : { DeviceRequests: deviceRequests(spec.gpus) }),
    },
  };
}

/** Two files, so that after a rotation at least half of the limit is there to be read. */
function logConfig(logBytes: number): Record<string, string> {
  return { 'max-size': `${Math.ceil(logBytes / 2)}`, 'max-file': '2' };
}

/** For exactly these devices: a count would let the engine choose. */
function deviceRequests(gpus: readonly string[]): Docker.DeviceRequest[] {
  const cdi = gpus.filter((gpu) => gpu.includes('='));
  const nvidia = gpus.filter((gpu) => !gpu.includes('='));
  return [
    ...(nvidia.length === 0
      ? []
      : [{ Driver: 'nvidia', DeviceIDs: nvidia, Capabilities: [['gpu']] }]),
    ...(cdi.length === 0 ? [] : [{ Driver: 'cdi', DeviceIDs: cdi }]),
  ];
}
