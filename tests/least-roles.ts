import type { Access, routes } from '@inference-server/contracts';

/**
 * The least role that each route needs, once more and by hand, from "Who may do what" of the architecture and
 * from what was asked of keys and people: a contract that says something else is wrong, or this table is. It
 * names every route, or nothing builds.
 */
export const leastRoles: Record<keyof typeof routes, Access> = {
  // What tells whether the server is up.
  greet: 'open',
  getHealth: 'open',
  getReadiness: 'open',
  oipServerLive: 'open',
  oipServerReady: 'open',

  // Models are there for everyone who may submit; who publishes registers and changes them.
  listModels: 'submit',
  getModel: 'submit',
  predict: 'submit',
  oipServerMetadata: 'submit',
  oipModelReady: 'submit',
  oipModelVersionReady: 'submit',
  oipModelMetadata: 'submit',
  oipModelVersionMetadata: 'submit',
  oipModelInfer: 'submit',
  oipModelVersionInfer: 'submit',
  postModel: 'publish',
  putModel: 'publish',
  deleteModel: 'publish',
  // Logs of what somebody registered.
  listReplicas: 'publish',

  // One's own, with `operate` everybody's.
  postTask: 'submit',
  listTasks: 'submit',
  getTask: 'submit',
  getTaskStatus: 'submit',
  getTaskLog: 'submit',
  cancelTask: 'submit',
  deleteTask: 'submit',
  // One's own, whatever the role.
  getInvocation: 'submit',
  // By the gateway, for who called it.
  storeInvocation: 'submit',

  // The machines.
  listConsumers: 'operate',
  drainConsumer: 'operate',
  resumeConsumer: 'operate',

  // Keys and people.
  createKey: 'admin',
  listKeys: 'admin',
  revokeKey: 'admin',
  putUser: 'admin',
  listUsers: 'admin',
  lockUser: 'admin',
  // Who did what.
  exportAudit: 'admin',
  // For whoever shows a key, or a password in the body.
  issueToken: 'open',

  // Between the parts of the server: reached by nobody from outside.
  identifyCaller: 'internal',
  identifyBearers: 'internal',
  getSetUp: 'internal',
  noteRefusals: 'internal',
  registerConsumer: 'internal',
  signOffConsumer: 'internal',
  listHeldAttempts: 'internal',
  findUnusedModelVersions: 'internal',
  findGoneConsumers: 'internal',
  claimAttempt: 'internal',
  adoptAttempt: 'internal',
  parkLease: 'internal',
  renewLease: 'internal',
  reportReplicas: 'internal',
  getReplicaModelFiles: 'internal',
  syncGateway: 'internal',
  getAttemptInput: 'internal',
  getAttemptModelFiles: 'internal',
  putAttemptOutput: 'internal',
  settleAttempt: 'internal',
};
