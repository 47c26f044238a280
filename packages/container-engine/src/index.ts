export {
  hasEnded,
  type CommandEnd,
  type CommandLimits,
  type ContainerDetails,
  type ContainerEngine,
  type ContainerExit,
  type ContainerLimits,
  type ContainerSpec,
  type ContainerState,
  type ContainerStorage,
  type ContainerSummary,
  type ContainerUsage,
  type EngineDescription,
  type ImageDetails,
  type Labels,
  type LogLimits,
  type LogTail,
  type RegistryCredentials,
  type SandboxOptions,
  type StartOutcome,
  type Volume,
  type VolumeMount,
} from './container-engine.js';
export { createDockerEngine } from './docker-engine.js';
export { EngineError, isEngineProblem, type EngineProblem } from './engine-error.js';
export {
  discoveryContainer,
  modelContainer,
  probeContainer,
  runsAsRoot,
  stagingContainer,
} from './sandbox.js';
