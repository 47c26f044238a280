export {
  anonymousOwner,
  callerHeader,
  readCaller,
  writeCaller,
  type CallerIdentity,
} from './caller-identity.js';
export { canonicalUrl } from './canonical-url.js';
export { codeOfStatus, errorCodes, type ErrorCode } from './codes.js';
export { backOffAfter, faultCauses, maxBackOffS, type FaultCause } from './fault-causes.js';
export {
  couldRun,
  isFor,
  needsInWords,
  partOf,
  roundingError,
  type Capacity,
  type Part,
} from './matching.js';
export {
  fullImageName,
  helperImageName,
  parseImageReference,
  type ImageReference,
} from './image-reference.js';
export { refusalOfConsumer, type ConsumerRule } from './consumer-rule.js';
export { isOipAddress, oipStatusOf } from './oip-errors.js';
export { openApiDocument } from './openapi.js';
export {
  lackOfEngine,
  Policy,
  refusalOfImage,
  refusalOfRights,
  userUnder,
  type PolicyRefusal,
} from './policy.js';
export type {
  Access,
  AnswerOf,
  BodyOf,
  Caller,
  HeadedBody,
  HeadersOf,
  JsonBody,
  NamedObject,
  ParamsOf,
  QueryOf,
  RouteContract,
  SuccessResponse,
  ZipUpload,
} from './route.js';
export { includesRole, isForAllOwners, roles, type Role } from './roles.js';
export { allRoutes, publicRoutes, routes } from './routes.js';
export { renewHeldMs } from './routes/attempts.js';
export { idempotencyKeyKeptS, maxTaskWaitS } from './routes/tasks.js';
export {
  AttemptResult,
  type AdoptAnswer,
  type AttemptParams,
  type BlobReference,
  type ClaimAnswer,
  type FailureReason,
  type Lease,
  type ParkAnswer,
  type RenewAnswer,
  type SettleAnswer,
  type Work,
} from './schemas/attempt.js';
export {
  ConsumerRegistration,
  maxConsumerIds,
  maxModelVersionIds,
  type ConsumerDetails,
  type ConsumerRegistered,
  type GoneConsumers,
  type HeldAttempts,
  type UnusedModelVersions,
} from './schemas/consumer.js';
export {
  auditActions,
  maxRefusals,
  type AuditAction,
  type AuditEvent,
  type Refusal,
} from './schemas/audit.js';
export {
  hasFormOfCredential,
  keyForm,
  maxTokenLifeS,
  mostBearers,
  tokenForm,
  type IdentifiedBearer,
  type IdentifiedBearers,
  type IdentifiedCaller,
  type IssuedToken,
  type ShownCredential,
  type TokenRequest,
} from './schemas/credential.js';
export { greetingOf, type Greeting, type Liveness, type Readiness } from './schemas/health.js';
export { type CreatedKey, type KeyDetails, type NewKey } from './schemas/key.js';
export {
  frameInvocation,
  headedType,
  inlineContentBytes,
  InvocationHead,
  maxInvocationContentBytes,
  maxInvocationHeadBytes,
  readInvocationHead,
  type Invocation,
} from './schemas/invocation.js';
export { Labels, LabelsText, parseLabels } from './schemas/labels.js';
export { Model, type ModelKind, type PullPolicy } from './schemas/model.js';
export {
  dataTypes,
  ModelContract,
  profiles,
  usualRuntime,
  type DataTypeName,
  type ModelField,
  type ProfileName,
  type RuntimeSettings,
} from './schemas/model-contract.js';
export { ConsumerId, HumanReadableId, qualifiedNameOf, TaskUid } from './schemas/names.js';
export { Needs } from './schemas/needs.js';
export { OipError, oipLengthHeader, type OipServerMetadata } from './schemas/oip.js';
export { Problem, TaskReport, type AttemptReport } from './schemas/problem.js';
export {
  replicaEnds,
  replicaStates,
  type BatchModel,
  type GatewayNews,
  type GatewayReport,
  type HostedModel,
  type ReplicaDetails,
  type ReplicaEnd,
  type ReplicaOrder,
  type ReplicaOrders,
  type ReplicaReport,
  type ReplicaState,
  type ReportedReplica,
} from './schemas/replica.js';
export { replicaNewsHeldS } from './routes/replicas.js';
export type { Quota } from './schemas/quota.js';
export { Capability, NetworkName, usualRights, type Rights } from './schemas/rights.js';
export { maxStoredInteger } from './schemas/stored-integer.js';
export { type TaskList, type TaskStatus } from './schemas/task.js';
export { spellBooleans } from './schemas/text-boolean.js';
export type { Usage } from './schemas/usage.js';
export { UserName, type UserDetails, type UserSettings } from './schemas/user.js';
export {
  isEnded,
  nextTaskState,
  taskStates,
  taskTransitions,
  type TaskEvent,
  type TaskState,
} from './task-states.js';
