import type { Readable } from 'node:stream';

/**
 * The container engine, as the rest of the code sees it. Every call takes an AbortSignal (when it
 * aborts, the call rejects with the signal's reason) and has a deadline of its own. Failures are
 * {@link EngineError}s, which say what kind of failure it was. What a container does (its exit code,
 * a command that is not there) is data, never an error.
 *
 * Containers are addressed by id or name, volumes by name.
 */
export interface ContainerEngine {
  /** Throws EngineError `unreachable` or `overdue` when the engine does not answer. */
  ping(signal: AbortSignal): Promise<void>;
  /** What the engine takes the time to be: that of a container's start and end is by the same clock. */
  readClock(signal: AbortSignal): Promise<Date>;
  /** What the engine's host has to give to containers, by the engine's own account. */
  describe(signal: AbortSignal): Promise<EngineDescription>;

  /** Undefined when the engine does not have it. */
  inspectImage(reference: string, signal: AbortSignal): Promise<ImageDetails | undefined>;
  /**
   * Fetches the image from its registry. There is no limit in all, for images are large: it fails
   * when nothing was heard for the engine's idle time. `onProgress` is called with every sign of
   * progress, first when the registry has answered.
   */
  pullImage(
    reference: string,
    signal: AbortSignal,
    options?: { onProgress?: () => void; credentials?: RegistryCredentials | undefined },
  ): Promise<void>;
  /** Makes an image of a tar's files, without a command; needs no registry. The tar is destroyed. */
  importImage(reference: string, tar: Readable, signal: AbortSignal): Promise<void>;

  /**
   * Creating one that exists is no error: the labels of the first creator stay. One without any, which
   * an engine can leave that has ended in the middle of this, is made anew; throws `in_use` while a
   * container has it.
   */
  createVolume(volume: Volume, signal: AbortSignal): Promise<void>;
  /** Undefined when there is none. */
  inspectVolume(name: string, signal: AbortSignal): Promise<Volume | undefined>;
  /** The volumes that carry all the given labels. */
  listVolumes(labels: Labels, signal: AbortSignal): Promise<Volume[]>;
  /** Absent is fine. Throws `in_use` while a container has it. */
  removeVolume(name: string, signal: AbortSignal): Promise<void>;

  /**
   * The length of what is in each volume, by name, measured as {@link measureStorage} measures it and
   * as slow. Undefined where the engine fails to measure.
   */
  measureVolumes(signal: AbortSignal): Promise<ReadonlyMap<string, number | undefined>>;

  /**
   * Makes an internal network: its containers have no way out of it, and the engine's host reaches them at
   * their addresses. Answers its id, or that what was asked for is another's: the subnet, where some other
   * network of the engine has any of it, or the name.
   */
  createNetwork(network: NewNetwork, signal: AbortSignal): Promise<NetworkOutcome>;
  /** By name or id. Undefined when there is none. */
  inspectNetwork(network: string, signal: AbortSignal): Promise<Network | undefined>;
  /** The networks that carry all the given labels. */
  listNetworks(labels: Labels, signal: AbortSignal): Promise<Network[]>;
  /** Absent is fine. Throws `in_use` while a running container is in it. */
  removeNetwork(network: string, signal: AbortSignal): Promise<void>;
  /**
   * Has a container in one more network; in it already is no error. Throws `network_absent` and
   * `container_absent`.
   */
  connectContainer(network: string, container: string, signal: AbortSignal): Promise<void>;
  /**
   * Takes it out again, running or not; not in it, or gone, either of them, is fine. Of a network that is gone, by
   * its name. One that waits to be started again stays until the network is gone.
   */
  disconnectContainer(network: string, container: string, signal: AbortSignal): Promise<void>;
  /**
   * The ids of the containers that a network is one of, whether they run or not: each is in it once it is started,
   * and is never started again when it is gone, until it is taken out of it. By id, also of one that is gone.
   */
  listMembers(network: string, signal: AbortSignal): Promise<string[]>;

  /** Returns the id. Throws `name_in_use`, `image_absent`, or `refused` for what cannot run at all. */
  createContainer(spec: ContainerSpec, signal: AbortSignal): Promise<string>;
  /** Starting a container that runs already is no error. */
  startContainer(container: string, signal: AbortSignal): Promise<StartOutcome>;
  /**
   * Resolves once the container has ended. May be called before the start, and is then the first to
   * hear of the end; has no limit in time but the signal. The engine may be away for a while
   * (restarted) without failing it. Throws `container_absent`, and `unreachable` after that while.
   */
  waitForExit(container: string, signal: AbortSignal): Promise<ContainerExit>;
  /** Asks the main process to end, and kills it after `graceMs`. Not running is fine. */
  stopContainer(container: string, graceMs: number, signal: AbortSignal): Promise<void>;
  /** Removes it with its anonymous volumes, running or not. Absent is fine. */
  removeContainer(container: string, signal: AbortSignal): Promise<void>;
  /** Undefined when there is none. */
  inspectContainer(container: string, signal: AbortSignal): Promise<ContainerDetails | undefined>;
  /** The containers, in whatever state, that carry all the given labels. */
  listContainers(labels: Labels, signal: AbortSignal): Promise<ContainerSummary[]>;
  /** What a container has used since its start. Undefined when it does not run, or there is none. */
  readUsage(container: string, signal: AbortSignal): Promise<ContainerUsage | undefined>;
  /**
   * The ids of its processes, as the engine's host numbers them; those of commands are among them.
   * Undefined when it does not run, or there is none; a paused one has them. Throws `failed` where the
   * engine's host has no means to tell them: docker needs a `ps` there.
   */
  listProcesses(container: string, signal: AbortSignal): Promise<number[] | undefined>;
  /**
   * Runs one more process in a running container, as the container's user and within its sandbox: for
   * small diagnostics. Undefined when the container does not run, there is none, or its end came before
   * the command's. One that is not there or cannot be run is data: exit code 126 or 127, and the
   * engine's words as its output.
   *
   * Throws `overdue` when it does not end within `timeoutMs`; aborted or overdue, it runs on in the
   * container, until that ends. Throws `in_use` for a paused container, and `unreachable` when its
   * output ended and it did not: the connection broke, or it closes its streams and runs on. A
   * connection that breaks shortly before the end may go unnoticed.
   */
  runCommand(
    container: string,
    command: readonly string[],
    limits: CommandLimits,
    signal: AbortSignal,
  ): Promise<CommandEnd | undefined>;
  /**
   * What these containers (by id; those that are gone are left out) have on the engine's disk now,
   * running or not. Lengths of files: a sparse file counts in full, a file with several names once.
   * Nobody counts what is no file's length: empty files, folders, and files without a name that a
   * process still holds open. An engine may have to walk through every volume it has, so this can
   * take minutes: ask again at a distance.
   */
  measureStorage(containers: readonly string[], signal: AbortSignal): Promise<ContainerStorage[]>;

  /**
   * Unpacks an uncompressed tar into a folder of the container, which must not run. The mode of the
   * folder itself stays, even if the tar has an entry for it. When it fails, a part of the tar may be
   * there: discard the container. Rejects with the tar's own error when that
   * failed. The tar is destroyed in any case.
   */
  putArchive(container: string, folder: string, tar: Readable, signal: AbortSignal): Promise<void>;
  /**
   * The tar of a path inside the container, which must not run. Entries start with the last
   * component of the path. The stream ends with an error when the engine's answer was cut short.
   */
  getArchive(container: string, path: string, signal: AbortSignal): Promise<Readable>;
  /** The end of what a container that has ended wrote, both streams in the order the engine took them. */
  readLogs(container: string, limits: LogLimits, signal: AbortSignal): Promise<LogTail>;
}

/** The engine's host need not be the one that this process runs on. */
export interface EngineDescription {
  /** Cores. */
  cpus: number;
  memoryBytes: number;
  /** The names of those that containers can be run by. */
  runtimes: readonly string[];
  /** The CDI names (vendor/class=device) that can be asked for. Older engines, which know none, have none. */
  cdiDevices: readonly string[];
  /** Whether the root of a container is somebody without rights on the host. */
  hasUserNamespaces: boolean;
  /** Whether it filters system calls, where a container does not say how. */
  hasSeccomp: boolean;
  /** Who keeps containers to their limits and devices: `cgroupfs` (the engine itself), `systemd`, `none`; empty: it does not tell. */
  cgroupDriver: string;
}

export type Labels = Readonly<Record<string, string>>;

/** What a registry wants of whoever pulls. Never to be logged. */
export type RegistryCredentials = { serveraddress: string } & (
  { username: string; password: string } | { identitytoken: string }
);

export interface ImageDetails {
  id: string;
  /** The user that its containers run as; empty: root. */
  user: string;
  /** Paths that are a volume each of every container, empty or with what the image has there. */
  volumes: readonly string[];
}

export interface Volume {
  name: string;
  labels: Labels;
}

export interface VolumeMount {
  volume: string;
  /** Absolute path inside the container. */
  path: string;
  readOnly: boolean;
}

export interface NewNetwork {
  name: string;
  labels: Labels;
  /** Its addresses, of IPv4: 10.213.0.16/28. */
  subnet: string;
}

export type NetworkOutcome = { id: string } | { taken: 'name' | 'subnet' };

export interface Network {
  id: string;
  name: string;
  labels: Labels;
  /** Those of IPv4 that it has. */
  subnets: readonly string[];
  /** Whether there is no way out of it. */
  isInternal: boolean;
  /** The ids of the running containers that are in it; a list of networks leaves them out. */
  containers: readonly string[];
}

/** All that a container is made of. The sandbox's fixed rules hold for every container of ours. */
export interface ContainerSpec {
  name: string;
  image: string;
  labels: Labels;
  mounts: readonly VolumeMount[];
  /** In place of the image's entry point and command. */
  command?: readonly string[];
  environment: Readonly<Record<string, string>>;
  limits: ContainerLimits;
  /**
   * Devices by name: GPU UUIDs, MIG UUIDs, or CDI names (vendor/class=device); `all`: every GPU. It sees
   * no other.
   */
  gpus: readonly string[];
  /** Where it is otherwise than usual. */
  sandbox?: SandboxOptions;
  /** It sees all processes of the engine's host, by their numbers there. Default: its own. */
  seesHostProcesses?: boolean;
}

export interface SandboxOptions {
  /** uid[:gid], in place of the image's user. */
  user?: string | undefined;
  /** A network of the engine that it joins; default: none. */
  network?: string | undefined;
  /** It asks nobody for names, but the engine for those of its network. */
  knowsNoNames?: boolean | undefined;
  /** What root has in it. */
  addedCapabilities?: readonly string[] | undefined;
  /**
   * Nothing of its root can be written. /tmp is memory of this size, which counts towards its own, and so is
   * each volume that its image wants, which would be a folder of the host's.
   */
  readOnlyRoot?: { tmpBytes: number; imageVolumes: readonly string[] } | undefined;
  /** By its name in the engine; default: the engine's own. */
  runtime?: string | undefined;
}

export interface ContainerLimits {
  /** No swap comes on top. */
  memoryBytes: number;
  /** Cores; fractions allowed. */
  cpus: number;
  /** What it has of them where containers want more than there are; left out: all of them. */
  cpusAtLeast?: number;
  processes: number;
  /** Size of /dev/shm, which counts towards the memory. */
  shmBytes: number;
  /** The engine keeps at most this much of what the container writes. */
  logBytes: number;
  /**
   * The length of one file, sparse or not, wherever it lies: who would write beyond gets EFBIG, and
   * SIGXFSZ, which ends a process that does not expect it.
   */
  fileBytes: number;
}

/** Why a container was not started is in the engine's words only; whose fault it is they do not tell. */
export type StartOutcome = { started: true } | { started: false; startError: string };

export interface ContainerExit {
  exitCode: number;
  /** The kernel killed a process of it for memory: not always the main one. With exit code 0 it may be left out. */
  outOfMemory: boolean;
  /** Set when the main process could not be run after all. */
  startError: string | undefined;
  /**
   * The engine was away when the container ended, or was told by anyone to signal it: an exit code ≠ 0
   * need not be the container's own doing. Always false with exit code 0.
   */
  interrupted: boolean;
}

export type ContainerState =
  'created' | 'running' | 'paused' | 'restarting' | 'removing' | 'exited' | 'dead';

/** Not of one that has never run. */
export function hasEnded(state: ContainerState): boolean {
  return state === 'exited' || state === 'dead';
}

export interface ContainerSummary {
  id: string;
  name: string;
  state: ContainerState;
  labels: Labels;
  /** The names of those that it has, running or not. */
  volumes: readonly string[];
}

export interface ContainerDetails extends ContainerSummary {
  exitCode: number;
  outOfMemory: boolean;
  startError: string | undefined;
  /** By the engine's clock; undefined before the start. */
  startedAt: Date | undefined;
  /** By the engine's clock; undefined while it has not ended, or runs again. */
  endedAt: Date | undefined;
  /** By the name of each network that it is in, of IPv4: while it runs. */
  addresses: Readonly<Record<string, string>>;
}

export interface ContainerUsage {
  /** Of all cores together. */
  cpuSeconds: number;
  /** Now; what the kernel keeps of files and can drop is left out. */
  memoryBytes: number;
  /** From and to disks: what the kernel keeps in memory is in neither. 0 where it does not count. */
  readBytes: number;
  writtenBytes: number;
}

export interface CommandLimits {
  timeoutMs: number;
  /** Of its output; the rest is dropped. */
  maxBytes: number;
}

export interface CommandEnd {
  /** 128 and the number of the signal, where one ended it. */
  exitCode: number;
  /** Both streams, in the order the engine took them. What is no UTF-8 is replaced. */
  output: string;
}

/** A number of bytes is undefined where the engine fails to measure: a path too long for it is enough. */
export interface ContainerStorage {
  id: string;
  /** What it has written outside its volumes. */
  layerBytes: number | undefined;
  /** The volumes that it may write to, those of its image among them. */
  volumes: readonly { volume: string; path: string; bytes: number | undefined }[];
}

export interface LogLimits {
  maxBytes: number;
  maxLines: number;
}

export interface LogTail {
  text: string;
  /** Whether earlier output was left out. */
  cut: boolean;
}
