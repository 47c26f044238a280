import type { ContainerEngine } from '@inference-server/container-engine';
import type { Policy, Work } from '@inference-server/contracts';
import type { Logger } from '@inference-server/service-kit';
import type { GpuSource } from '../devices/gpu-source.js';
import type { EngineWatch } from '../engine-watch.js';
import type { Allotment } from '../fleet.js';
import type { ModelVolumeDeps } from '../model-volume.js';
import type { AttemptNames, Names } from '../names.js';
import type { HeldAttempt, PrivateApiClient } from '../private-api-client.js';
import type { Quarantine } from '../quarantine.js';
import type { CredentialsOf } from '../registry-auth.js';
import type { StorageWatch } from '../storage-watch.js';
import type { AttemptLog } from './attempt-log.js';
import type { DeviceWatch } from './device-watch.js';
import type { UsageMeter } from './usage-meter.js';

/** What every attempt of a consumer needs. */
export interface RunDeps {
  engine: ContainerEngine;
  engineWatch: Pick<EngineWatch, 'suspect'>;
  quarantine: Pick<Quarantine, 'begin'>;
  gpuSource: Pick<GpuSource, 'troubleWith' | 'periodicTroubleWith' | 'sample'>;
  storageWatch: StorageWatch;
  api: PrivateApiClient;
  names: Names;
  modelVolumes: ModelVolumeDeps;
  logger: Logger;
  settings: RunSettings;
}

export interface RunSettings {
  spoolFolder: string;
  /** What the operator of this host allows, and the credentials that an image's registry wants. */
  policy: Policy;
  credentialsOf: CredentialsOf;
  imageRetryMs: number;
  /** How often it is looked whether a running container still has its devices; and whether in it, too. */
  gpuCheckMs: number;
  looksInside: boolean;
  /** Between the request to end and the kill of a container. */
  containerGraceMs: number;
  maxOutputBytes: number;
  /** Of what a container writes outside /output. */
  maxScratchBytes: number;
  maxOutputEntries: number;
  logTailBytes: number;
  /** Whether what runs is left to a successor when the consumer stops, or stopped and given back. */
  handsOver: boolean;
}

/** One attempt in the making, as the phases see it. */
export interface AttemptRun extends RunDeps {
  held: HeldAttempt;
  work: Work;
  own: AttemptNames;
  allotment: Allotment;
  log: AttemptLog;
  usage: UsageMeter;
  deviceWatch: DeviceWatch;
  /** To be told how the attempt ended, once private-api knows. */
  noteEnd: ReturnType<Quarantine['begin']>;
  /**
   * To be awaited before anything that a later holder would have to suffer from, see
   * KeptLease.confirm. Rejects with the reason of `signal`.
   */
  requireLease(): Promise<void>;
  /** To be awaited before the attempt is left to another: no renewal comes after that. */
  stopLease(): Promise<void>;
  /** Whether its container may be running: then it has its devices, whoever the attempt is. */
  mayRun: boolean;
  /** The containers that were created here and that nobody has tried to start: by id. */
  unstarted: Set<string>;
  /** Aborts when no container is to be waited for: the consumer stops, or `abandoned`. */
  signal: AbortSignal;
  /** Aborts when there is nothing to be brought in any more: cancelled, refused, or out of time. */
  abandoned: AbortSignal;
  /** Aborts when the process must end. */
  outOfTime: AbortSignal;
}
