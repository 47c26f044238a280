import { AppError } from '@inference-server/errors';
import {
  bytesOfRecord,
  type InvocationKey,
  type InvocationRecord,
  type InvocationStore,
} from '../invocation-store.js';

interface Kept extends InvocationKey {
  record: InvocationRecord;
  bytes: number;
  storedAt: number;
  oldAt: number;
}

/** Of each record beside its bytes, roughly. */
const overheadBytes = 1024;

/**
 * In this process, until it ends: for a server with one private-api whose results nobody needs after a
 * restart. `now` in ms, by a clock that never goes back. It is full with `maxBytes`: the process does more than this.
 */
export function createMemoryInvocationStore(now: () => number, maxBytes: number): InvocationStore {
  const kept = new Map<string, Kept>();
  let heldBytes = 0;
  const nameOf = ({ owner, id }: InvocationKey) => `${id}:${owner}`;
  const oldOnes = (ageS: number) =>
    [...kept.values()].filter(
      ({ storedAt, oldAt }) => storedAt <= now() - ageS * 1000 || oldAt <= now(),
    );

  return {
    async put(key, record, { keepS = Infinity } = {}) {
      const before = kept.get(nameOf(key));
      const bytes = bytesOfRecord(record);
      const moreBytes = before === undefined ? bytes + overheadBytes : bytes - before.bytes;
      if (moreBytes > 0 && heldBytes + moreBytes > maxBytes) throw isFull();
      heldBytes += moreBytes;
      const storedAt = now();
      kept.set(nameOf(key), {
        ...key,
        // What a buffer of a request lies in is larger.
        record: { ...record, ...(Buffer.isBuffer(record.content) && copyOf(record.content)) },
        bytes,
        storedAt,
        oldAt: storedAt + keepS * 1000,
      });
      return blobOf(before);
    },

    find: async (key) => kept.get(nameOf(key))?.record,

    async bytesOf(owner) {
      let sum = 0;
      for (const each of kept.values()) if (each.owner === owner) sum += each.bytes;
      return sum;
    },

    blobsOf: async (keys) => keys.map((key) => blobOf(kept.get(nameOf(key)))),

    countOld: async (ageS) => amountOf(oldOnes(ageS)),

    async removeOld(ageS, limit) {
      const old = oldOnes(ageS).slice(0, limit);
      for (const each of old) kept.delete(nameOf(each));
      const amount = amountOf(old);
      heldBytes -= amount.bytes + amount.count * overheadBytes;
      return { ...amount, blobIds: old.flatMap((each) => blobOf(each) ?? []) };
    },

    close: () => kept.clear(),
  };
}

function isFull(): AppError {
  return new AppError('STORAGE_FULL', 'The store of invocations is full.', { retryAfterS: 60 });
}

function copyOf(content: Buffer) {
  return { content: Buffer.from(content) };
}

function blobOf(kept: Kept | undefined): string | undefined {
  const content = kept?.record.content;
  return content === undefined || Buffer.isBuffer(content) ? undefined : content.blobId;
}

function amountOf(those: readonly Kept[]) {
  return { count: those.length, bytes: those.reduce((sum, { bytes }) => sum + bytes, 0) };
}
