export type {
  ContainerDetails,
  ContainerEngine,
  ContainerExit,
  ContainerLimits,
  ContainerSpec,
  ContainerState,
  ContainerStorage,
  ContainerSummary,
  ImageDetails,
  Labels,
  LogLimits,
  LogTail,
  StartOutcome,
  Volume,
  VolumeMount,
} from './container-engine.js';
export { createDockerEngine } from './docker-engine.js';
export { EngineError, isEngineProblem, type EngineProblem } from './engine-error.js';
export { modelContainer, probeContainer, runsAsRoot, stagingContainer } from './sandbox.js';
