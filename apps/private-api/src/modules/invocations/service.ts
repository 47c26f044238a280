import { Readable } from 'node:stream';
import {
  inlineContentBytes,
  maxInvocationContentBytes,
  type InvocationHead,
} from '@inference-server/contracts';
import type { StagingSpace } from '@inference-server/blob-store';
import { AppError, messageOf } from '@inference-server/errors';
import { crashPoint, type Logger } from '@inference-server/service-kit';
import type { BlobService } from '../blobs/service.js';
import type { ModelRepository } from '../models/repository.js';
import type { Quotas } from '../quotas/quotas.js';
import type { InvocationContents } from './contents.js';
import type { StoredHead } from './invocation-json.js';
import { bytesOfRecord, type InvocationKey, type InvocationStore } from './invocation-store.js';

export type InvocationService = ReturnType<typeof createInvocationService>;

export interface FoundInvocation {
  head: StoredHead;
  /** Of a blob: read it to its end or destroy it. */
  content: Buffer | Readable;
}

/**
 * What was asked and answered, by owner and id. A large content becomes a blob first, and is then named by
 * the invocation; the blob of the one before goes. A crash in between leaves a blob that no invocation
 * names, which a sweep finds (`retention/`).
 */
export function createInvocationService(deps: {
  store: InvocationStore;
  contents: InvocationContents;
  blobs: Pick<BlobService, 'receiveContent' | 'openContent' | 'abandon' | 'removeMarked'>;
  models: Pick<ModelRepository, 'find'>;
  quotas: Pick<Quotas, 'refusalOfBytes' | 'addBytes'>;
  space: StagingSpace;
  logger: Logger;
}) {
  const { store, contents, blobs, quotas, space, logger } = deps;

  return {
    /**
     * Durable and readable when it resolves. Throws QUOTA_EXCEEDED, PAYLOAD_TOO_LARGE, STORAGE_FULL,
     * and what reading the content throws.
     */
    async put(
      owner: string,
      { id, metadata, output_metadata, human_readable_id }: InvocationHead,
      {
        content,
        declaredBytes,
        signal,
      }: { content: AsyncIterable<Buffer>; declaredBytes: number; signal: AbortSignal },
    ): Promise<void> {
      const key = { owner, id };
      const head = JSON.stringify({ metadata, output_metadata } satisfies StoredHead);
      const refusal = await quotas.refusalOfBytes(owner, declaredBytes);
      if (refusal !== undefined) throw refusal;
      const keepS = await retentionOf(human_readable_id);
      const begun = await upTo(content, inlineContentBytes);
      const kept = begun.isWhole
        ? Buffer.concat(begun.chunks)
        : { blobId: await receive(key, begun, { declaredBytes, signal }) };
      const record = { head, content: kept };
      const replaced = await store.put(key, record, { keepS });
      crashPoint('invocation_put', String(id));
      quotas.addBytes(owner, bytesOfRecord(record));
      // An answer that was lost, and asked for again, names our own.
      if (replaced === undefined || (!Buffer.isBuffer(kept) && replaced === kept.blobId)) return;
      // It is put: what cannot be dropped now is for the sweep.
      const dropped = await contents.drop([replaced]).catch((error: unknown) => {
        const reason = messageOf(error);
        logger.warn({ blob: replaced, reason }, 'a replaced content was left for a sweep');
        return [];
      });
      await blobs.removeMarked(dropped.map(({ blobId }) => blobId));
    },

    /** Undefined: nothing is stored, or no longer. */
    async find(key: InvocationKey, signal: AbortSignal): Promise<FoundInvocation | undefined> {
      // The blob of one that is replaced meanwhile goes; a second look finds the newer.
      for (let look = 0; look < maxLooks; look += 1) {
        const record = await store.find(key);
        if (record === undefined) return undefined;
        const head = JSON.parse(record.head) as StoredHead;
        if (Buffer.isBuffer(record.content)) return { head, content: record.content };
        const stream = await blobs.openContent(record.content.blobId, signal);
        if (stream !== undefined) return { head, content: stream };
      }
      return undefined;
    },
  };

  /** What the model says of how long its outputs are kept (s). */
  async function retentionOf(model: string | undefined): Promise<number | undefined> {
    if (model === undefined) return undefined;
    return (await deps.models.find(model))?.retention_s ?? undefined;
  }

  /** Its blob, stored. */
  async function receive(
    key: InvocationKey,
    { chunks, rest }: Begun,
    { declaredBytes, signal }: { declaredBytes: number; signal: AbortSignal },
  ): Promise<string> {
    const reserved = await space.reserve(declaredBytes);
    try {
      const blob = await blobs.receiveContent(
        { stream: Readable.from(joined(chunks, rest), { objectMode: false }), space: reserved },
        { maxBytes: maxInvocationContentBytes, signal },
      );
      try {
        await contents.keep(blob, key);
      } catch (error) {
        await blobs.abandon(blob.id);
        throw error;
      }
      crashPoint('content_stored', String(key.id));
      quotas.addBytes(key.owner, blob.bytes);
      return blob.id;
    } finally {
      reserved.release();
    }
  }
}

const maxLooks = 3;

interface Begun {
  chunks: Buffer[];
  isWhole: boolean;
  rest: AsyncIterator<Buffer>;
}

/** The chunks until there are more than `maxBytes`, or no more. */
async function upTo(content: AsyncIterable<Buffer>, maxBytes: number): Promise<Begun> {
  const rest = content[Symbol.asyncIterator]();
  const chunks: Buffer[] = [];
  for (let bytes = 0; bytes <= maxBytes;) {
    const next = await rest.next();
    if (next.done === true) return { chunks, isWhole: true, rest };
    chunks.push(next.value);
    bytes += next.value.length;
  }
  return { chunks, isWhole: false, rest };
}

async function* joined(
  chunks: readonly Buffer[],
  rest: AsyncIterator<Buffer>,
): AsyncGenerator<Buffer> {
  yield* chunks;
  for (;;) {
    const next = await rest.next();
    if (next.done === true) return;
    yield next.value;
  }
}

export function invocationNotFound(): AppError {
  const message = 'There is no invocation of this id.';
  return new AppError('INVOCATION_NOT_FOUND', message, { extensions: { message } });
}
