import { once } from 'node:events';
import { Redis } from 'ioredis';
import { AppError, messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import {
  bytesOfRecord,
  type InvocationKey,
  type InvocationStore,
  type OldInvocations,
} from '../invocation-store.js';
import { oldScript, putScript } from './redis-scripts.js';

/**
 * In one Redis (not a cluster, whose scripts may not name keys of other slots), below `prefix`. What is
 * stored is as durable as that Redis: one that is wiped has lost it.
 */
export function createRedisInvocationStore(options: {
  redisUrl: string;
  prefix: string;
  logger: Logger;
}): InvocationStore {
  const { prefix, logger } = options;
  const redis = connect(options.redisUrl);
  let isAway = false;
  redis.on('error', (error: Error) => {
    if (!isAway) logger.warn({ reason: messageOf(error) }, 'the Redis of invocations is away');
    isAway = true;
  });
  redis.on('ready', () => {
    isAway = false;
  });

  const records = `${prefix}-invocations:of:`;
  const [times, ends, totals] = ['times', 'ends', 'totals'].map(
    (name) => `${prefix}-invocations:${name}`,
  ) as [string, string, string];
  const memberOf = ({ owner, id }: InvocationKey) => `${id}:${owner}`;

  let connecting: Promise<unknown> | undefined;
  const asked = async <Result>(ask: () => Promise<Result>): Promise<Result> => {
    try {
      if (redis.status !== 'ready') {
        connecting ??= once(redis, 'ready', { signal: AbortSignal.timeout(5_000) }).finally(() => {
          connecting = undefined;
        });
        await connecting;
      }
      return await ask();
    } catch (error) {
      throw inWords(error);
    }
  };

  const old = async (ageS: number, limit: number, what: 'look' | 'remove') => {
    const [count, bytes, blobIds] = (await asked(() =>
      redis.eval(oldScript, 3, times, ends, totals, ageS * 1000, limit, records, what),
    )) as [number, number, string[]];
    return { count, bytes, blobIds };
  };

  return {
    async put(key, record, { keepS } = {}) {
      const { head, content } = record;
      const [bytes, blobId] = Buffer.isBuffer(content) ? [content, ''] : ['', content.blobId];
      const replaced = await asked(() =>
        redis.eval(
          putScript,
          4,
          ...[records + memberOf(key), times, ends, totals],
          ...[memberOf(key), key.owner, head, bytes, blobId],
          ...[bytesOfRecord(record), keepS === undefined ? '' : Math.round(keepS * 1000)],
        ),
      );
      return replaced === '' ? undefined : (replaced as string);
    },

    async find(key) {
      const record = records + memberOf(key);
      const [head, content, blob] = await asked(() =>
        redis.hmgetBuffer(record, 'head', 'content', 'blob'),
      );
      if (!head || !content) return undefined;
      const blobId = blob?.toString() ?? '';
      return { head: head.toString(), content: blobId === '' ? content : { blobId } };
    },

    bytesOf: async (owner) => Number((await asked(() => redis.hget(totals, owner))) ?? 0),

    async blobsOf(keys) {
      const blobs = await asked(() =>
        Promise.all(keys.map((key) => redis.hget(records + memberOf(key), 'blob'))),
      );
      return blobs.map((blob) => (blob === null || blob === '' ? undefined : blob));
    },

    async countOld(ageS): Promise<OldInvocations> {
      const { count, bytes } = await old(ageS, -1, 'look');
      return { count, bytes };
    },

    removeOld: (ageS, limit) => old(ageS, limit, 'remove'),
    close: () => redis.disconnect(),
  };
}

function connect(redisUrl: string): Redis {
  return new Redis(redisUrl, {
    // One that was sent may have been done: nobody does it twice but who asked.
    autoResendUnfulfilledCommands: false,
    // What waits for a connection is done long after whoever sent it was told that it was not.
    enableOfflineQueue: false,
    commandTimeout: 5_000,
    connectTimeout: 5_000,
    keepAlive: 10_000,
    retryStrategy: (tries) => Math.min(tries * 100, 2_000),
  });
}

function inWords(error: unknown): AppError {
  if (/^OOM /.test(messageOf(error))) {
    const detail = 'The store of invocations is full.';
    return new AppError('STORAGE_FULL', detail, { cause: error, retryAfterS: 60 });
  }
  if (error instanceof Error && error.name === 'ReplyError' && !isPassing(error)) {
    const detail = `Redis refused a command: ${messageOf(error)}`;
    return new AppError('INTERNAL', detail, { cause: error });
  }
  const detail = 'The store of invocations is away.';
  return new AppError('SERVICE_UNAVAILABLE', detail, { cause: error, retryAfterS: 2 });
}

/** It loads what it had, is busy, has become a replica, or cannot write to its disk. */
function isPassing({ message }: Error): boolean {
  return /^(?:LOADING|BUSY|READONLY|MASTERDOWN|TRYAGAIN|MISCONF)\b/.test(message);
}
