import type { BlobStore } from '@inference-server/blob-store';
import { idempotencyKeyKeptS } from '@inference-server/contracts';
import type { Logger } from '@inference-server/service-kit';
import type { Config } from '../config.js';
import type { Database } from '../database/database.js';
import type { LeaderRow } from '../database/leader.js';
import { failuresCountS } from '../modules/callers/login-failures.js';
import { placesCountS } from '../modules/callers/login-places.js';
import type { InvocationStore } from '../modules/invocations/invocation-store.js';
import { gpuUseKeptS } from '../modules/quotas/gpu-use.js';
import { sweepAbandonedUploads } from './abandoned-uploads.js';
import { sweepDeletedBlobs } from './deleted-blobs.js';
import { sweepEndedReplicas, sweepReplicaLogs } from './ended-replicas.js';
import { sweepExpiredTasks } from './expired-tasks.js';
import { sweepInputs } from './inputs.js';
import { sweepInvocationContents, sweepInvocations } from './invocations.js';
import { sweepLogs } from './logs.js';
import { sweepLostFiles } from './lost-files.js';
import { sweepModelFiles } from './model-files.js';
import { sweepOldRows } from './old-rows.js';
import { sweepOutputs } from './outputs.js';
import { onlyInOwnStore, type OwnStore } from './own-store.js';
import { sweepStagedFiles } from './staged-files.js';
import type { Sweep } from './sweep.js';
import { sweepUnknownFiles } from './unknown-files.js';

export type SweepSettings = Pick<
  Config,
  | 'QUEUE_TTL_S'
  | 'INPUT_RETENTION_S'
  | 'OUTPUT_RETENTION_S'
  | 'FETCHED_RETENTION_S'
  | 'LOG_RETENTION_S'
  | 'AUDIT_RETENTION_S'
  | 'SWEEP_INTERVAL_S'
  | 'STORAGE_SWEEP_INTERVAL_S'
  | 'ABANDONED_AFTER_S'
  | 'ORPHANED_AFTER_S'
>;

/** Every sweep, in the order of a pass: what one frees the next may remove. Leave one out to do without. */
export function createSweeps(deps: {
  database: Database;
  store: BlobStore;
  /** Undefined: another process has them in its memory. */
  invocations: InvocationStore | undefined;
  installation: OwnStore['installation'];
  settings: SweepSettings;
  logger: Logger;
  /** Whose sweeps of rows they are; undefined: of a person who sweeps by hand. */
  leader: LeaderRow | undefined;
}): Sweep[] {
  const { database, store, invocations, settings, logger, leader } = deps;
  const everyMs = settings.SWEEP_INTERVAL_S * 1000;
  const ofRows = {
    everyMs,
    queueTtlS: settings.QUEUE_TTL_S,
    inputRetentionS: settings.INPUT_RETENTION_S,
    outputRetentionS: settings.OUTPUT_RETENTION_S,
    fetchedRetentionS: settings.FETCHED_RETENTION_S,
    logRetentionS: settings.LOG_RETENTION_S,
    abandonedAfterS: settings.ABANDONED_AFTER_S,
    logger,
  };
  const ofFiles = {
    everyMs: settings.STORAGE_SWEEP_INTERVAL_S * 1000,
    orphanedAfterS: settings.ORPHANED_AFTER_S,
    logger,
  };
  return [
    sweepExpiredTasks(database, ofRows),
    sweepInputs(database, ofRows),
    sweepOutputs(database, ofRows),
    sweepLogs(database, ofRows),
    sweepEndedReplicas(database, ofRows),
    sweepReplicaLogs(database, ofRows),
    sweepOldRows(database, {
      name: 'idempotency-keys',
      what: 'keys of posts that have run out',
      everyMs,
      table: 'idempotency_keys',
      since: 'created_at',
      ageS: idempotencyKeyKeptS,
    }),
    sweepOldRows(database, {
      name: 'login-failures',
      what: 'counts of wrong passwords that have run out',
      everyMs,
      table: 'login_failures',
      since: 'failed_at',
      ageS: failuresCountS,
    }),
    sweepOldRows(database, {
      name: 'login-places',
      what: 'addresses of logins that are long ago',
      everyMs,
      table: 'login_places',
      since: 'logged_in_at',
      ageS: placesCountS,
    }),
    sweepOldRows(database, {
      name: 'gpu-use',
      what: 'counts of GPU seconds of days that are long over',
      everyMs,
      table: 'gpu_use',
      since: 'day',
      ageS: gpuUseKeptS,
    }),
    sweepOldRows(database, {
      name: 'audit',
      what: 'events of the audit whose time is over',
      everyMs,
      table: 'audit_events',
      since: 'at',
      ageS: settings.AUDIT_RETENTION_S,
    }),
    sweepModelFiles(database, ofRows),
    ...(invocations === undefined
      ? []
      : [
          sweepInvocations(database, invocations, ofRows),
          sweepInvocationContents(database, invocations, ofFiles),
        ]),
    sweepAbandonedUploads(database, { ...ofRows, leader }),
    sweepDeletedBlobs(database, store, ofRows),
    sweepLostFiles(database, store, ofFiles),
    onlyInOwnStore(sweepUnknownFiles(database, store, ofFiles), deps),
    onlyInOwnStore(sweepStagedFiles(database, store, ofFiles), deps),
  ];
}
