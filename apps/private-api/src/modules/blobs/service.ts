import type { Readable } from 'node:stream';
import { refuseZip, type ZipGate, type ZipLimits, type ZipRules } from '@inference-server/archive';
import {
  discardFile,
  receiveFile,
  type BlobStore,
  type ByteRange,
  type ReceivedFile,
} from '@inference-server/blob-store';
import { AppError, messageOf, systemCode } from '@inference-server/errors';
import type { Logger, SendableBlob } from '@inference-server/service-kit';
import type { IncomingZip } from '../../http/zip-upload.js';
import type { BlobRepository } from './repository.js';
import type { BlobsUnderWay } from './under-way.js';

export type BlobService = ReturnType<typeof createBlobService>;

/** What a caller posts of a task, or of a model, or what a consumer brings of a run. */
type ZipKind = 'upload' | 'model' | 'output';

/** At the root of the files of a runtime model that brings its contract with it. */
const contractFile = { path: 'contract.protobin', maxBytes: 1024 ** 2 };

/** What the rows say of a stored blob. */
export interface StoredBlob {
  id: string;
  bytes: number;
  sha256: string;
  /** Since when something refers to it. */
  storedAt: Date;
}

/** A blob whose bytes are durable and whose row waits to be referred to. */
export interface PendingBlob {
  id: string;
  bytes: number;
  sha256: string;
}

export interface ReceivedBlob extends PendingBlob {
  /** Of the files of a model: its contract.protobin, if there is one. */
  contractFile?: Uint8Array | 'too_large';
}

/**
 * How bytes come in and go. In: row `pending` → temporary file → gate → flushed and renamed; the
 * caller then commits `stored` together with the row that refers to it, or calls `abandon`. Out: a
 * transaction marks the row `deleting`, then the bytes go, then the row. A crash in between leaves
 * a row in a state that a sweep finishes (`retention/`).
 */
export function createBlobService(deps: {
  store: BlobStore;
  gate: ZipGate;
  rows: BlobRepository;
  underWay: BlobsUnderWay;
  limits: { maxUploadBytes: number; zip: ZipLimits };
  newId: () => string;
  logger: Logger;
}) {
  const { store, gate, rows, underWay, limits, logger } = deps;
  const rules: Record<ZipKind, ZipRules> = {
    upload: { ...limits.zip, requireFile: true },
    model: { ...limits.zip, requireFile: true, take: contractFile },
    // A mask of nothing but zeros is an honest result.
    output: { ...limits.zip, maxRatio: Infinity },
  };

  /** Throws SERVICE_UNAVAILABLE while the store is away: what failed, or is not there, may be then. */
  const requireStore = async (signal: AbortSignal): Promise<void> => {
    await store.check(signal).catch((error: unknown) => {
      if (error instanceof AppError && error.code === 'SERVICE_UNAVAILABLE') throw error;
    });
  };

  const remove = async (id: string): Promise<void> => {
    await store.remove(id, AbortSignal.timeout(30_000));
    await rows.removeDeleted(id);
  };

  const abandon = async (id: string): Promise<void> => {
    underWay.end(id);
    try {
      if (await rows.abandon(id)) await remove(id);
    } catch (error) {
      logger.warn({ blob: id, reason: messageOf(error) }, 'an abandoned blob was left for a sweep');
    }
  };

  return {
    /**
     * Receives a zip, which passes the gate before it is stored. Leaves nothing behind when it throws,
     * which is SERVICE_UNAVAILABLE while the store is away.
     */
    async receive(
      { stream, space }: IncomingZip,
      { kind, signal }: { kind: ZipKind; signal: AbortSignal },
    ): Promise<ReceivedBlob> {
      const id = deps.newId();
      await rows.insertPending(id);
      underWay.begin(id);
      let file: ReceivedFile | undefined;
      try {
        file = await receiveFile(stream, {
          folder: store.stagingFolder,
          maxBytes: limits.maxUploadBytes,
          signal,
          name: id,
          space,
          flush: true,
        });
        const verdict = await gate.check(file.path, rules[kind], signal);
        if ('finding' in verdict) throw refuseZip(verdict.finding);
        await store.put(id, file, signal);
        // From here on an attempt refers to an output; a post may have to read the rest of a form.
        if (kind === 'output') underWay.end(id);
        const { taken } = verdict.summary;
        return {
          ...{ id, bytes: file.bytes, sha256: file.sha256 },
          ...(taken !== undefined && { contractFile: taken }),
        };
      } catch (error) {
        if (file !== undefined) await discardFile(file);
        await abandon(id);
        if (isFault(error)) await requireStore(signal);
        const broken = ofBrokenDisk(error);
        if (broken !== undefined) logger.warn({ err: error }, 'the blob store did not keep a zip');
        throw broken ?? error;
      }
    },

    /** Gives up a blob that was received and that no row refers to. Never throws. */
    abandon,

    /** Removes blobs whose rows a transaction has marked `deleting`. Never throws. */
    async removeMarked(ids: readonly string[]): Promise<void> {
      for (const id of ids) {
        await remove(id).catch((error: unknown) => {
          logger.warn(
            { blob: id, reason: messageOf(error) },
            'a deleted blob was left for a sweep',
          );
        });
      }
    },

    /**
     * A blob as it can be sent. Opening it throws OUTPUT_NOT_FOUND when the bytes are gone,
     * SERVICE_UNAVAILABLE while the store is away.
     */
    sendable({ id, bytes, sha256, storedAt }: StoredBlob, signal: AbortSignal): SendableBlob {
      const open = async (range?: ByteRange): Promise<Readable> => {
        const opened = await store
          .open(id, { signal, ...(range && { range }) })
          .catch(async (error: unknown) => {
            if (isFault(error)) await requireStore(signal);
            throw error;
          });
        if (opened === undefined) {
          await requireStore(signal);
          throw new AppError('OUTPUT_NOT_FOUND', 'The bytes are no longer stored.');
        }
        if (opened.bytes !== bytes) {
          opened.stream.destroy();
          throw new AppError('INTERNAL', `blob ${id} has ${opened.bytes} bytes, not ${bytes}`);
        }
        return opened.stream;
      };
      return { bytes, sha256, modifiedAt: storedAt, open };
    },

    /** Throws SERVICE_UNAVAILABLE when nothing can be stored. */
    check: (signal: AbortSignal) => store.check(signal),
  };
}

/** A disk that fails now and then: the next post may have better luck. */
function ofBrokenDisk(error: unknown): AppError | undefined {
  if (systemCode(error) !== 'EIO') return undefined;
  return new AppError('SERVICE_UNAVAILABLE', 'The blob store did not keep it.', { cause: error });
}

function isFault(error: unknown): boolean {
  return error instanceof AppError && error.code === 'INTERNAL';
}
