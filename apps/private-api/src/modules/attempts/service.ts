import {
  renewHeldMs,
  usualRights,
  type AdoptAnswer,
  type AttemptResult,
  type BlobReference,
  type ClaimAnswer,
  type ParkAnswer,
  type RenewAnswer,
  type SettleAnswer,
  type Work,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import {
  crashPoint,
  joinSignals,
  type Logger,
  type SendableBlob,
} from '@inference-server/service-kit';
import type { Channel } from '../../database/changes.js';
import type { IncomingZip } from '../../http/zip-upload.js';
import type { BlobService, StoredBlob } from '../blobs/service.js';
import type { AttemptEnd, ExceedingVersion } from './end-attempt.js';
import type { AttemptClaim, HeldAttempt } from './held-attempt.js';
import type { AttemptRepository, WorkRow } from './repository.js';

export type AttemptService = ReturnType<typeof createAttemptService>;

/**
 * What a consumer may do with an attempt. Every call carries the lease; a holder whose lease is not
 * current is refused and changes nothing.
 */
export function createAttemptService(deps: {
  attempts: AttemptRepository;
  blobs: BlobService;
  changes: Channel;
  leaseMs: number;
  /** How long a parked lease waits for a successor. */
  parkMs: number;
  /** How long a container may run (s): of a model that says nothing, and of any. */
  runTime: { usualS: number; longestS: number };
  logger: Logger;
}) {
  const { attempts, blobs, changes, leaseMs, parkMs, runTime, logger } = deps;
  const heldForMs = renewHeldMs(leaseMs);

  const requireLease = async (held: HeldAttempt): Promise<void> => {
    if ((await attempts.holding(held)) === undefined) {
      throw new AppError('CONFLICT', 'The lease is not current.');
    }
  };

  /** Why a holder is refused: it must know whether the container is somebody else's now. */
  const refusal = async (held: HeldAttempt) =>
    (await attempts.wasAdopted(held))
      ? ({ outcome: 'adopted' } as const)
      : ({ outcome: 'superseded' } as const);

  /** What a model was granted before the setting was lowered counts no more. */
  const runTimeOf = ({ timeoutS }: WorkRow) =>
    Math.min(timeoutS ?? runTime.usualS, runTime.longestS);

  const workUnder = async (held: HeldAttempt): Promise<WorkRow> => {
    await requireLease(held);
    const work = await attempts.work(held.taskUid);
    if (work === undefined) throw new AppError('CONFLICT', 'The task has no input any more.');
    return work;
  };

  const tellOf = (exceeding: ExceedingVersion | undefined) => {
    if (exceeding !== undefined) {
      logger.warn(exceeding, 'a run took more of a GPU than its model says');
    }
  };

  return {
    async claim(claim: AttemptClaim): Promise<ClaimAnswer> {
      const won = await attempts.claim(claim);
      if (won !== undefined) crashPoint('claim_committed', claim.taskUid);
      const work = won === undefined ? undefined : await attempts.work(claim.taskUid);
      if (won === undefined || work === undefined) {
        return { outcome: 'refused', reason: 'the ticket is stale' };
      }
      return {
        outcome: 'won',
        epoch: won.epoch,
        lease_ms: leaseMs,
        work: toWork(work, runTimeOf(work)),
      };
    },

    async adopt(claim: AttemptClaim): Promise<AdoptAnswer> {
      const won = await attempts.adopt(claim);
      const work = won === undefined ? undefined : await attempts.work(claim.taskUid);
      if (won === undefined || work === undefined) return { outcome: 'superseded' };
      return {
        outcome: 'won',
        epoch: won.epoch,
        lease_ms: leaseMs,
        work: toWork(work, runTimeOf(work)),
      };
    },

    /**
     * Renews at once; answers when there is news (the holder is refused, or is to cancel and does not
     * know it), or after the time it may be held.
     */
    async renew(
      held: HeldAttempt,
      told: { knows_of_cancel: boolean; gpu_memory_peak_mib?: number },
      signal: AbortSignal,
    ): Promise<RenewAnswer> {
      const over = joinSignals(signal, AbortSignal.timeout(heldForMs));
      const watch = changes.watch(held.taskUid);
      const isOver = () => over.signal.aborted || watch.isLetGo;
      try {
        let holding = await attempts.renew(held);
        if (holding !== undefined && told.gpu_memory_peak_mib !== undefined) {
          tellOf(await attempts.notePeak(held, told.gpu_memory_peak_mib));
        }
        while (holding !== undefined) {
          const isNews = holding.cancelRequested && !told.knows_of_cancel;
          if (isNews || isOver()) {
            const cancel_requested = holding.cancelRequested;
            return { outcome: 'renewed', lease_ms: leaseMs, cancel_requested };
          }
          await watch.next(over.signal);
          if (!isOver()) holding = await attempts.holding(held);
        }
        return await refusal(held);
      } finally {
        over.release();
        watch.close();
      }
    },

    async park(held: HeldAttempt): Promise<ParkAnswer> {
      const parked = await attempts.park(held);
      return parked === undefined ? await refusal(held) : { outcome: 'parked', parked_ms: parkMs };
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
      crashPoint('output_stored', held.taskUid);
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
      const settled = await attempts.settle(held, end, sha256);
      if (settled !== undefined) crashPoint('settle_committed', held.taskUid);
      if (settled?.outcome === 'settled') {
        tellOf(settled.exceeding);
        await blobs.removeMarked(settled.blobs);
      }
      if (settled !== undefined) return { outcome: settled.outcome };
      if (await attempts.wasSettled(held, end.outcome)) return { outcome: 'settled' };
      return refusal(held);
    },
  };
}

function toWork(row: WorkRow, runTimeS: number): Work {
  const files = filesOf(row);
  return {
    model_version_id: row.modelVersionId,
    human_readable_id: row.humanReadableId,
    container_tag: row.containerTag,
    pull_policy: row.pullPolicy,
    timeout_s: runTimeS,
    needs: row.needs,
    rights: { ...usualRights, ...row.rights },
    lenders: row.lenders,
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
    reason: reasonOf(result),
    detail: result.detail,
    exitCode: result.exit_code,
    log: result.log,
    usage: result.usage ?? null,
  };
}

function reasonOf(result: AttemptResult): string | null {
  if (result.kind === 'failed') return result.reason;
  return result.kind === 'fault' ? result.cause : null;
}
