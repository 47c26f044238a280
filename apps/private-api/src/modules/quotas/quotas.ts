import type { Quota } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { Database } from '../../database/database.js';
import { gpuUseToday } from './gpu-use.js';
import { createStoredBytes } from './stored-bytes.js';

const daysS = 24 * 3600;

export interface Quotas {
  /**
   * QUOTA_EXCEEDED, to be thrown, when the owner may not store so many bytes more. Asked for outside of
   * a transaction, see {@link WaitingLimits}.
   */
  refusalOfBytes(owner: string, bytes: number): Promise<AppError | undefined>;
  /** The same when the owner's tasks have had as much of GPUs today as they may. */
  refusalOfGpus(owner: string): Promise<AppError | undefined>;
  /** That so many bytes are about to be stored. */
  addBytes(owner: string, bytes: number): void;
}

/**
 * What one owner may have; 0: anything. Only posts are refused: what was posted runs, and its output is
 * kept. No lock is taken, so that posts which are under way at the same moment may pass a quota together.
 * The operator has none: whoever has that token may change the settings.
 */
export function createQuotas(
  database: Database,
  limits: { storedBytes: number; gpuSPerDay: number },
  /** What an owner has stored that is no blob. */
  elsewhere: (owner: string) => Promise<number>,
): Quotas {
  const { storedBytes, gpuSPerDay } = limits;
  const stored = createStoredBytes(database, elsewhere);
  const isFree = (owner: string, limit: number) => limit === 0 || owner === 'operator';

  return {
    async refusalOfBytes(owner, bytes) {
      if (isFree(owner, storedBytes)) return undefined;
      const used = await stored.of(owner);
      if (used < storedBytes && used + bytes <= storedBytes) return undefined;
      return exceeded('You have stored as much as one may: delete tasks or models.', {
        ...{ policy: 'stored-bytes', unit: 'content-bytes', limit: storedBytes, used },
        ...{ window_s: null, reset_s: null },
      });
    },

    async refusalOfGpus(owner) {
      if (isFree(owner, gpuSPerDay)) return undefined;
      const { gpuS, endsInS } = await gpuUseToday(database, owner);
      if (gpuS < gpuSPerDay) return undefined;
      return exceeded('Your tasks have had GPUs today for as long as they may.', {
        ...{ policy: 'gpu-seconds-per-day', unit: 'gpu-seconds', limit: gpuSPerDay, used: gpuS },
        ...{ window_s: daysS, reset_s: endsInS },
      });
    },

    addBytes(owner, bytes) {
      if (!isFree(owner, storedBytes)) stored.add(owner, bytes);
    },
  };
}

function exceeded(detail: string, quota: Quota): AppError {
  return new AppError('QUOTA_EXCEEDED', detail, {
    extensions: { quota },
    ...(quota.reset_s !== null && { retryAfterS: quota.reset_s }),
  });
}
