import type { ContainerEngine, ContainerLimits } from '@inference-server/container-engine';
import type { Work } from '@inference-server/contracts';
import type { Logger } from '@inference-server/service-kit';
import type { EngineWatch } from '../engine-watch.js';
import type { ModelVolumeDeps } from '../model-volume.js';
import type { AttemptNames, Names } from '../names.js';
import type { HeldAttempt, PrivateApiClient } from '../private-api-client.js';
import type { StorageWatch } from '../storage-watch.js';
import type { AttemptLog } from './attempt-log.js';

/** What every attempt of a consumer needs. */
export interface RunDeps {
  engine: ContainerEngine;
  engineWatch: Pick<EngineWatch, 'suspect'>;
  storageWatch: StorageWatch;
  api: PrivateApiClient;
  names: Names;
  modelVolumes: ModelVolumeDeps;
  logger: Logger;
  settings: RunSettings;
}

export interface RunSettings {
  gpu: string | null;
  limits: ContainerLimits;
  spoolFolder: string;
  imageRetryMs: number;
  /** Where the model sets none. */
  runTimeoutMs: number;
  /** Between the request to end and the kill of a container. */
  containerGraceMs: number;
  maxOutputBytes: number;
  /** Of what a container writes outside /output. */
  maxScratchBytes: number;
  maxOutputEntries: number;
  logTailBytes: number;
}

/** One attempt in the making, as the phases see it. */
export interface AttemptRun extends RunDeps {
  held: HeldAttempt;
  work: Work;
  own: AttemptNames;
  log: AttemptLog;
  /** Aborts when the attempt is not to be carried on: released, or superseded. */
  signal: AbortSignal;
  /** Aborts when nothing is left to be said: superseded, or out of time. What ran may be brought in. */
  abandoned: AbortSignal;
  /** Aborts when the process must end. */
  outOfTime: AbortSignal;
}
