import * as access from './routes/access.js';
import * as attempts from './routes/attempts.js';
import * as audit from './routes/audit.js';
import * as consumers from './routes/consumers.js';
import * as invocations from './routes/invocations.js';
import * as models from './routes/models.js';
import * as oip from './routes/oip.js';
import * as operations from './routes/operations.js';
import * as predicting from './routes/predict.js';
import * as replicas from './routes/replicas.js';
import * as tasks from './routes/tasks.js';
import type { RouteContract } from './route.js';

/** Every route of the server. */
export const routes = {
  greet: operations.greet,
  getHealth: operations.getHealth,
  getReadiness: operations.getReadiness,
  postModel: models.postModel,
  putModel: models.putModel,
  getModel: models.getModel,
  deleteModel: models.deleteModel,
  listModels: models.listModels,
  predict: predicting.predict,
  listReplicas: replicas.listReplicas,
  oipServerLive: oip.oipServerLive,
  oipServerReady: oip.oipServerReady,
  oipServerMetadata: oip.oipServerMetadata,
  oipModelReady: oip.oipModelReady,
  oipModelVersionReady: oip.oipModelVersionReady,
  oipModelMetadata: oip.oipModelMetadata,
  oipModelVersionMetadata: oip.oipModelVersionMetadata,
  oipModelInfer: oip.oipModelInfer,
  oipModelVersionInfer: oip.oipModelVersionInfer,
  getInvocation: invocations.getInvocation,
  postTask: tasks.postTask,
  listTasks: tasks.listTasks,
  getTask: tasks.getTask,
  getTaskStatus: tasks.getTaskStatus,
  cancelTask: tasks.cancelTask,
  getTaskLog: tasks.getTaskLog,
  deleteTask: tasks.deleteTask,
  createKey: access.createKey,
  listKeys: access.listKeys,
  revokeKey: access.revokeKey,
  putUser: access.putUser,
  listUsers: access.listUsers,
  lockUser: access.lockUser,
  issueToken: access.issueToken,
  exportAudit: audit.exportAudit,
  noteRefusals: audit.noteRefusals,
  identifyCaller: access.identifyCaller,
  identifyBearers: access.identifyBearers,
  getSetUp: access.getSetUp,
  registerConsumer: consumers.registerConsumer,
  signOffConsumer: consumers.signOffConsumer,
  listHeldAttempts: consumers.listHeldAttempts,
  listConsumers: consumers.listConsumers,
  drainConsumer: consumers.drainConsumer,
  resumeConsumer: consumers.resumeConsumer,
  findUnusedModelVersions: consumers.findUnusedModelVersions,
  findGoneConsumers: consumers.findGoneConsumers,
  claimAttempt: attempts.claimAttempt,
  adoptAttempt: attempts.adoptAttempt,
  parkLease: attempts.parkLease,
  renewLease: attempts.renewLease,
  getAttemptInput: attempts.getAttemptInput,
  getAttemptModelFiles: attempts.getAttemptModelFiles,
  putAttemptOutput: attempts.putAttemptOutput,
  settleAttempt: attempts.settleAttempt,
  reportReplicas: replicas.reportReplicas,
  getReplicaModelFiles: replicas.getReplicaModelFiles,
  syncGateway: replicas.syncGateway,
  storeInvocation: invocations.storeInvocation,
} as const satisfies Record<string, RouteContract>;

export const allRoutes: readonly RouteContract[] = Object.values(routes);

/** The allow-list: the routes that public-api offers. Not those that another door asks for its callers. */
export const publicRoutes: readonly RouteContract[] = allRoutes.filter(
  ({ access, callers }) =>
    access !== 'internal' && (callers.includes('public-api') || callers.includes('anyone')),
);
