import { posix } from 'node:path';
import type Docker from 'dockerode';
import type { ContainerSpec } from '../container-engine.js';

/**
 * The engine's form of a container. What the sandbox fixes for every container stands here: no
 * network and no capabilities but those named, no new privileges, no swap, an init process (a main process with
 * number 1 would not hear signals), volumes without the image's own content, bounded logs and files.
 */
export function createOptions(spec: ContainerSpec): Docker.ContainerCreateOptions {
  const { limits, sandbox = {} } = spec;
  const { user, network, addedCapabilities = [], readOnlyRoot, runtime, knowsNoNames } = sandbox;
  return {
    Image: spec.image,
    Labels: { ...spec.labels },
    Env: Object.entries(spec.environment).map(([name, value]) => `${name}=${value}`),
    NetworkDisabled: network === undefined,
    ...(user !== undefined && { User: user }),
    ...(spec.command === undefined ? {} : { Entrypoint: [...spec.command], Cmd: [] }),
    HostConfig: {
      NetworkMode: network ?? 'none',
      ...(knowsNoNames === true && noNames),
      CapDrop: ['ALL'],
      ...(addedCapabilities.length > 0 && { CapAdd: [...addedCapabilities] }),
      SecurityOpt: ['no-new-privileges:true'],
      Init: true,
      PidsLimit: limits.processes,
      Memory: limits.memoryBytes,
      MemorySwap: limits.memoryBytes,
      NanoCpus: Math.round(limits.cpus * 1e9),
      CpuShares: sharesOf(limits.cpusAtLeast ?? limits.cpus),
      ShmSize: limits.shmBytes,
      IpcMode: 'private',
      // An engine with user namespaces of its own gives the one only with the other.
      ...(spec.seesHostProcesses === true && { PidMode: 'host', UsernsMode: 'host' }),
      RestartPolicy: { Name: 'no' },
      // Devices' hooks may look for the container's cgroup by the path that the engine's host knows.
      ...(spec.gpus.length === 0 && { CgroupnsMode: 'private' }),
      ...(runtime !== undefined && { Runtime: runtime }),
      ...(readOnlyRoot !== undefined && {
        ReadonlyRootfs: true,
        Tmpfs: memoryFolders(readOnlyRoot, spec),
      }),
      Ulimits: ulimits(limits.fileBytes),
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

/**
 * An engine asks the name servers of its host for its containers, from the host itself (CVE-2024-29018), be their
 * network internal or not: a name is a way out. This address is nobody's (RFC 5737).
 */
const noNames = { Dns: ['192.0.2.1'], DnsOptions: ['timeout:1', 'attempts:1'], DnsSearch: ['.'] };

function memoryFolders(
  { tmpBytes, imageVolumes }: { tmpBytes: number; imageVolumes: readonly string[] },
  { mounts }: ContainerSpec,
): Record<string, string> {
  const options = `rw,nosuid,nodev,exec,mode=1777,size=${tmpBytes}`;
  const mounted = new Set(mounts.map(({ path }) => path));
  const volumes = imageVolumes.map((path) => posix.resolve('/', path));
  const paths = ['/tmp', ...volumes].filter((path) => !mounted.has(path));
  return Object.fromEntries(paths.map((path) => [path, options]));
}

/** As many for each core: the kernel shares cores out by them, and takes from 2 to 2^18. */
function sharesOf(cpus: number): number {
  return Math.min(Math.max(2, Math.round(cpus * 1024)), 2 ** 18);
}

/**
 * A core holds what was in memory, and the kernel leaves it where the host's settings say, or hands it to a
 * program of the host's: there is none. (How many files may be open stays the engine's: it may not raise it.)
 */
function ulimits(fileBytes: number): Docker.Ulimit[] {
  const limit = (Name: string, most: number) => ({ Name, Soft: most, Hard: most });
  return [limit('fsize', fileBytes), limit('core', 0)];
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
