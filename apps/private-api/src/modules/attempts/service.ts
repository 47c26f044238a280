import {
  renewHeldForS,
  type AttemptResult,
  type BlobReference,
  type ClaimAnswer,
  type RenewAnswer,
  type SettleAnswer,
  type Work,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { joinSignals, type SendableBlob } from '@inference-server/service-kit';
import type { TaskChanges } from '../../database/task-changes.js';
import type { IncomingZip } from '../../http/zip-upload.js';
import type { BlobService, StoredBlob } from '../blobs/service.js';
import type {
  AttemptClaim,
  AttemptEnd,
  AttemptRepository,
  HeldAttempt,
  WorkRow,
} from './repository.js';

export type AttemptService = ReturnType<typeof createAttemptService>;

/**
 * What a consumer may do with an attempt. Every call carries the lease; a holder whose lease is not
 * current is refused and changes nothing.
 */
export function createAttemptService(deps: {
  attempts: AttemptRepository;
  blobs: BlobService;
  changes: TaskChanges;
  leaseMs: number;
}) {
  const { attempts, blobs, changes, leaseMs } = deps;
  // Two renewals may fail before the lease lapses.
  const heldForMs = Math.min(renewHeldForS * 1000, Math.ceil(leaseMs / 3));

  const requireLease = async (held: HeldAttempt): Promise<void> => {
    if (!(await attempts.isHeld(held))) throw new AppError('CONFLICT', 'The lease is not current.');
  };

  const workUnder = async (held: HeldAttempt): Promise<WorkRow> => {
    await requireLease(held);
    const work = await attempts.work(held.taskUid);
    if (work === undefined) throw new AppError('CONFLICT', 'The task has no input any more.');
    return work;
  };

  return {
    async claim(claim: AttemptClaim): Promise<ClaimAnswer> {
      const won = await attempts.claim(claim);
      const work = won === undefined ? undefined : await attempts.work(claim.taskUid);
      if (won === undefined || work === undefined) {
        return { outcome: 'refused', reason: 'the ticket is stale' };
      }
      return { outcome: 'won', epoch: won.epoch, work: toWork(work) };
    },

    /** Renews at once; answers when the attempt is superseded, or after the time it may be held. */
    async renew(held: HeldAttempt, signal: AbortSignal): Promise<RenewAnswer> {
      const over = joinSignals(signal, AbortSignal.timeout(heldForMs));
      const watch = changes.watch(held.taskUid);
      try {
        if (!(await attempts.renew(held))) return { outcome: 'superseded' };
        for (;;) {
          await watch.next(over.signal);
          if (over.signal.aborted) return { outcome: 'renewed', lease_ms: leaseMs };
          if (!(await attempts.isHeld(held))) return { outcome: 'superseded' };
        }
      } finally {
        over.release();
        watch.close();
      }
    },

    /** The input zip. Throws CONFLICT without the lease. */
    async input(held: HeldAttempt, signal: AbortSignal): Promise<SendableBlob> {
      return blobs.sendable(inputOf(await workUnder(held)), signal);
    },

    /** The zip with the model's files. Throws CONFLICT without the lease, NOT_FOUND without files. */
    async modelFiles(held: HeldAttempt, signal: AbortSignal): Promise<SendableBlob> {
      const files = filesOf(await workUnder(held));
      if (files === null) throw new AppError('NOT_FOUND', 'The model has no files.');
      return blobs.sendable(files, signal);
    },

    /** Makes the output durable; it is the task's only with the settlement. */
    async storeOutput(
      held: HeldAttempt,
      zip: IncomingZip,
      signal: AbortSignal,
    ): Promise<BlobReference> {
      await requireLease(held);
      const output = await blobs.receive(zip, { kind: 'output', signal });
      const replaced = await attempts.keepOutput(held, output).catch(async (error: unknown) => {
        await blobs.abandon(output.id);
        throw error;
      });
      if (replaced === undefined) {
        await blobs.abandon(output.id);
        throw new AppError('CONFLICT', 'The lease is not current.');
      }
      // An upload that was repeated because its answer was lost.
      if (replaced.blobId !== null) await blobs.abandon(replaced.blobId);
      return { bytes: output.bytes, sha256: output.sha256 };
    },

    async settle(held: HeldAttempt, result: AttemptResult): Promise<SettleAnswer> {
      const end = toEnd(result);
      const sha256 = result.kind === 'finished' ? result.output_sha256 : null;
      const settled =
        (await attempts.settle(held, end, sha256)) ||
        (await attempts.wasSettled(held, end.outcome));
      return { outcome: settled ? 'settled' : 'superseded' };
    },
  };
}

function toWork(row: WorkRow): Work {
  const files = filesOf(row);
  return {
    model_version_id: row.modelVersionId,
    human_readable_id: row.humanReadableId,
    container_tag: row.containerTag,
    pull_policy: row.pullPolicy,
    timeout_s: row.timeoutS,
    model_files: files && referenceTo(files),
    input: referenceTo(inputOf(row)),
  };
}

function referenceTo({ sha256, bytes }: StoredBlob): BlobReference {
  return { sha256, bytes };
}

function inputOf(row: WorkRow): StoredBlob {
  return {
    id: row.inputBlobId,
    bytes: Number(row.inputBytes),
    sha256: row.inputSha256,
    storedAt: row.inputStoredAt,
  };
}

function filesOf(row: WorkRow): StoredBlob | null {
  if (row.filesBlobId === null) return null;
  return {
    id: row.filesBlobId,
    bytes: Number(row.filesBytes),
    sha256: row.filesSha256 ?? '',
    storedAt: row.filesStoredAt,
  };
}

function toEnd(result: AttemptResult): AttemptEnd {
  return {
    outcome: result.kind,
    reason: result.kind === 'failed' ? result.reason : result.kind === 'fault' ? 'fault' : null,
    detail: result.detail,
    exitCode: result.exit_code,
    log: result.log,
  };
}
