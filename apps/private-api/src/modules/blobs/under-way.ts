import { messageOf } from '@inference-server/errors';
import type { Logger } from '@inference-server/service-kit';
import type { BlobRepository } from './repository.js';

/** The blobs that this process receives: as long as they are told of, no sweep takes them. */
export interface BlobsUnderWay {
  begin(id: string): void;
  /** Without it a blob counts as under way until its row is no longer `pending`. */
  end(id: string): void;
  close(): Promise<void>;
}

/** How often (ms) a blob is told of that counts as abandoned after so long. */
export function toldOfEveryMs(abandonedAfterS: number): number {
  return (abandonedAfterS * 1000) / 15;
}

/** Touches their rows every `everyMs`, all in one statement. */
export function tellOfBlobsUnderWay(deps: {
  rows: Pick<BlobRepository, 'touch'>;
  everyMs: number;
  logger: Logger;
}): BlobsUnderWay {
  const { rows, everyMs, logger } = deps;
  const ids = new Set<string>();
  let telling = Promise.resolve();

  const tell = async (): Promise<void> => {
    const told = [...ids];
    if (told.length === 0) return;
    try {
      const pending = new Set(await rows.touch(told));
      for (const id of told) if (!pending.has(id)) ids.delete(id);
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'uploads under way could not be told of');
    }
  };

  const timer = setInterval(() => {
    telling = telling.then(tell);
  }, everyMs);
  return {
    begin: (id) => void ids.add(id),
    end: (id) => void ids.delete(id),
    async close() {
      clearInterval(timer);
      await telling;
    },
  };
}
