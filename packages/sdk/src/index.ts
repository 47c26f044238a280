export { AppError } from '@inference-server/errors';
export type {
  ErrorCode,
  Invocation,
  Model,
  ModelContract,
  ModelField,
  Readiness,
  ReplicaDetails,
  TaskReport,
} from '@inference-server/contracts';
export {
  createClient,
  type CallOptions,
  type Client,
  type ModelRegistration,
  type TaskPost,
} from './client.js';
export type { FinishedTask, TaskAnswer } from './task-answer.js';
export type { ClientOptions } from './transport.js';
export type { ZipSource } from './zip-upload.js';
