import { statfs } from 'node:fs/promises';
import { AppError } from '@inference-server/errors';

export interface StagingSpace {
  /**
   * Sets space apart for one upload; of `declaredBytes` at once, of an upload that declares nothing
   * as it grows. Throws STORAGE_FULL when it does not fit beside what it has to leave free: the
   * `minFreeBytes` of the space, or others of its own.
   */
  reserve(declaredBytes?: number, minFreeBytes?: number): Promise<SpaceReservation>;
}

export interface SpaceReservation {
  /** Resolves when `bytes` in all have room; throws STORAGE_FULL. */
  cover(bytes: number): Promise<void>;
  /** Tells that `bytes` in all are on the disk. */
  wrote(bytes: number): void;
  /** What was not written is free for others again. Twice is fine. */
  release(): void;
}

/** What an upload of unknown length reserves at a time; one that is slow, too. */
const stepBytes = 4 * 1024 ** 2;
const measuredForMs = 1_000;

/** From when on, and below which pace, an upload is slow. */
export interface SlowUpload {
  afterMs: number;
  bytesPerS: number;
}

/**
 * Who may still write how much into `folder`: what its disk has free, without `minFreeBytes` and
 * without what running uploads have reserved and not yet written. So that an upload which cannot fit
 * is refused when it begins, not when it, and every other with it, meets a full disk. A slow one loses
 * what it has reserved beyond its next step once another wants room: to declare much and send little
 * must not keep the disk from those who send. Accounts for this process alone; `minFreeBytes` is the
 * room for all else.
 */
export function createStagingSpace(options: {
  folder: string;
  minFreeBytes: number;
  slow?: SlowUpload;
}): StagingSpace {
  const { slow = { afterMs: 60_000, bytesPerS: 1024 ** 2 } } = options;
  const open = new Set<Reserved>();
  let measured: { at: number; freeBytes: Promise<number> } | undefined;
  let writtenSince = 0;

  /** The free bytes as measured at most a second ago, without what was written since. */
  async function freeBytes(): Promise<number> {
    if (measured === undefined || performance.now() - measured.at > measuredForMs) {
      writtenSince = 0;
      measured = { at: performance.now(), freeBytes: measure(options.folder) };
      measured.freeBytes.catch(() => (measured = undefined));
    }
    return (await measured.freeBytes) - writtenSince;
  }

  return {
    async reserve(declaredBytes, minFreeBytes = options.minFreeBytes) {
      const own: Reserved = { since: performance.now(), reserved: 0, written: 0 };

      const claim = async (bytes: number): Promise<void> => {
        const free = (await freeBytes()) - minFreeBytes;
        for (const each of open) if (each !== own) lapseIfSlow(each, slow);
        const promised = [...open].reduce((sum, each) => sum + each.reserved - each.written, 0);
        if (bytes - own.reserved > free - promised) throw storageFull();
        own.reserved = bytes;
      };

      const release = (): void => {
        open.delete(own);
        // What was written may have been removed again: the next one looks.
        measured = undefined;
      };

      open.add(own);
      try {
        await claim(declaredBytes ?? 0);
      } catch (error) {
        release();
        throw error;
      }
      return {
        async cover(bytes) {
          if (bytes > own.reserved) await claim(Math.ceil(bytes / stepBytes) * stepBytes);
        },
        wrote(bytes) {
          writtenSince += bytes - own.written;
          own.written = bytes;
        },
        release,
      };
    },
  };
}

interface Reserved {
  since: number;
  reserved: number;
  written: number;
}

function lapseIfSlow(upload: Reserved, { afterMs, bytesPerS }: SlowUpload): void {
  const dueMs = performance.now() - upload.since - afterMs;
  if (dueMs < 0 || upload.written >= (dueMs / 1000) * bytesPerS) return;
  upload.reserved = Math.min(upload.reserved, upload.written + stepBytes);
}

/** What a user without privileges may still write. */
async function measure(folder: string): Promise<number> {
  try {
    const { bavail, bsize } = await statfs(folder);
    return bavail * bsize;
  } catch (error) {
    throw new AppError('SERVICE_UNAVAILABLE', 'The storage of the server cannot be looked at.', {
      cause: error,
      retryAfterS: 10,
    });
  }
}

function storageFull(): AppError {
  return new AppError('STORAGE_FULL', 'The storage of the server has no room for this upload.', {
    retryAfterS: 60,
  });
}
