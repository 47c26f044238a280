import { setTimeout as sleep } from 'node:timers/promises';
import type { ContainerEngine, ContainerStorage } from '@inference-server/container-engine';
import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';

/**
 * Keeps an eye on how much running containers write to the engine's disk, which no engine limits by
 * itself: quotas need one kind of file system (xfs with project quotas), and volumes have none.
 *
 * One look serves all runs of the process, for an engine walks through every volume it has at each
 * (some 2 s for 400,000 files); the pause between two is `pauseFactor` times what the last look took,
 * so that they cost the engine a sixth of one core at most. Not covered: what is written between two
 * looks, which is more when somebody's millions of files make them slow; files that were deleted and
 * are still open, each of which the limit on one file's length bounds; empty files, which end with the
 * disk's inodes. Only a quota on the engine's disk, or a disk of its own, holds against those.
 */
export interface StorageWatch {
  /**
   * Has `judge` called with each look at the container (by id), and resolves with what it finds;
   * rejects with the signal's reason. Looks begin after the first pause: a short run has none.
   */
  untilFound<Finding>(
    container: string,
    judge: (storage: ContainerStorage) => Finding | undefined,
    signal: AbortSignal,
  ): Promise<Finding>;
}

export function createStorageWatch(options: {
  engine: Pick<ContainerEngine, 'measureStorage'>;
  logger: Logger;
  /** The shortest pause between two looks. */
  pauseMs?: number;
}): StorageWatch {
  const { engine, logger, pauseMs = 1_000 } = options;
  const watched = new Map<string, (storage: ContainerStorage) => void>();
  let looking: AbortController | undefined;
  let isBlind = false;

  const look = async (signal: AbortSignal): Promise<void> => {
    try {
      for (const storage of await engine.measureStorage([...watched.keys()], signal)) {
        watched.get(storage.id)?.(storage);
      }
      if (isBlind) logger.info('the storage of containers can be measured again');
      isBlind = false;
    } catch (error) {
      if (signal.aborted || isBlind) return;
      isBlind = true;
      logger.warn({ reason: messageOf(error) }, 'the storage of containers cannot be measured');
    }
  };

  const keepLooking = async (signal: AbortSignal): Promise<void> => {
    const isOver = () => signal.aborted;
    for (let tookMs = 0; !isOver();) {
      const restMs = Math.max(pauseMs, pauseFactor * tookMs);
      await sleep(restMs, undefined, { signal }).catch(() => undefined);
      if (isOver()) return;
      const began = performance.now();
      await look(signal);
      tookMs = performance.now() - began;
    }
  };

  const watch = (container: string, onLook: (storage: ContainerStorage) => void) => {
    watched.set(container, onLook);
    if (looking !== undefined) return;
    looking = new AbortController();
    void keepLooking(looking.signal);
  };
  const unwatch = (container: string) => {
    watched.delete(container);
    if (watched.size > 0) return;
    looking?.abort();
    looking = undefined;
  };

  return {
    untilFound(container, judge, signal) {
      return new Promise((resolve, reject) => {
        signal.throwIfAborted();
        const stop = () => {
          unwatch(container);
          reject(signal.reason as Error);
        };
        signal.addEventListener('abort', stop, { once: true });
        watch(container, (storage) => {
          const found = judge(storage);
          if (found === undefined) return;
          signal.removeEventListener('abort', stop);
          unwatch(container);
          resolve(found);
        });
      });
    },
  };
}

const pauseFactor = 5;
