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

  /** Receives a file that `check` lets through. Leaves nothing behind when it throws. */
  const take = async <Taken>(
    { stream, space }: IncomingZip,
    given: {
      maxBytes: number;
      signal: AbortSignal;
      check: (file: ReceivedFile) => Promise<Taken>;
    },
  ): Promise<PendingBlob & { taken: Taken }> => {
    const { maxBytes, signal, check } = given;
    const id = deps.newId();
    await rows.insertPending(id);
    underWay.begin(id);
    let file: ReceivedFile | undefined;
    try {
      file = await receiveFile(stream, {
        folder: store.stagingFolder,
        ...{ maxBytes, signal, name: id, space, flush: true },
      });
      const taken = await check(file);
      await store.put(id, file, signal);
      return { id, bytes: file.bytes, sha256: file.sha256, taken };
    } catch (error) {
      if (file !== undefined) await discardFile(file);
      await abandon(id);
      if (isFault(error)) await requireStore(signal);
      const broken = ofBrokenDisk(error);
      if (broken !== undefined) logger.warn({ err: error }, 'the blob store did not keep a zip');
      throw broken ?? error;
    }
  };

  const openBlob = (id: string, options: { signal: AbortSignal; range?: ByteRange }) =>
    store.open(id, options).catch(async (error: unknown) => {
      if (isFault(error)) await requireStore(options.signal);
      throw error;
    });

  return {
    /**
     * Receives a zip, which passes the gate before it is stored. Leaves nothing behind when it throws,
     * which is SERVICE_UNAVAILABLE while the store is away.
     */
    async receive(
      zip: IncomingZip,
      { kind, signal }: { kind: ZipKind; signal: AbortSignal },
    ): Promise<ReceivedBlob> {
      const check = async (file: ReceivedFile) => {
        const verdict = await gate.check(file.path, rules[kind], signal);
        if ('finding' in verdict) throw refuseZip(verdict.finding);
        return verdict.summary.taken;
      };
      const { taken, ...blob } = await take(zip, {
        ...{ maxBytes: limits.maxUploadBytes, signal, check },
      });
      // From here on an attempt refers to an output; a post may have to read the rest of a form.
      if (kind === 'output') underWay.end(blob.id);
      return { ...blob, ...(taken !== undefined && { contractFile: taken }) };
    },

    /** The same for content that is no zip, of which nothing is asked but its size. */
    async receiveContent(
      content: IncomingZip,
      { maxBytes, signal }: { maxBytes: number; signal: AbortSignal },
    ): Promise<PendingBlob> {
      const { id, bytes, sha256 } = await take(content, {
        ...{ maxBytes, signal, check: async () => undefined },
      });
      return { id, bytes, sha256 };
    },

    /** Undefined: the bytes are gone. Throws SERVICE_UNAVAILABLE while the store is away. */
    async openContent(id: string, signal: AbortSignal): Promise<Readable | undefined> {
      const opened = await openBlob(id, { signal });
      if (opened === undefined) await requireStore(signal);
      return opened?.stream;
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
        const opened = await openBlob(id, { signal, ...(range && { range }) });
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
