import type { Database } from '../database/database.js';
import { createInvocationContents, type ContentRow } from '../modules/invocations/contents.js';
import type { InvocationStore } from '../modules/invocations/invocation-store.js';
import { batchSize, nothing, type Sweep } from './sweep.js';
import { add, inSteps, sumOf } from './walk.js';

/** Invocations that are as old as an output may become, or as the model of each has said. */
export function sweepInvocations(
  database: Database,
  store: InvocationStore,
  { everyMs, outputRetentionS }: { everyMs: number; outputRetentionS: number },
): Sweep {
  const contents = createInvocationContents(database);
  return {
    name: 'invocations',
    what: 'invocations whose time is over',
    everyMs,
    look: () => store.countOld(outputRetentionS),
    async take() {
      const removed = await store.removeOld(outputRetentionS, batchSize);
      const dropped = await contents.drop(removed.blobIds);
      const { bytes } = add(removed, dropped);
      return { count: removed.count, bytes, more: removed.count === batchSize };
    },
  };
}

/**
 * Blobs with contents that no invocation names: of one that was put in another's place, or was never put,
 * since a process ended in between. One that is on its way is let be by its age.
 */
export function sweepInvocationContents(
  database: Database,
  store: InvocationStore,
  { everyMs, orphanedAfterS }: { everyMs: number; orphanedAfterS: number },
): Sweep {
  const contents = createInvocationContents(database);

  async function* find(): AsyncGenerator<ContentRow[]> {
    for (let after = '00000000-0000-0000-0000-000000000000'; ;) {
      const rows = await contents.list(after, orphanedAfterS, batchSize);
      const named = await store.blobsOf(rows);
      yield rows.filter(({ blobId }, at) => named[at] !== blobId);
      const last = rows.at(-1);
      if (last === undefined || rows.length < batchSize) return;
      after = last.blobId;
    }
  }

  return {
    name: 'invocation-contents',
    what: 'contents that no invocation names',
    everyMs,
    look: () => sumOf(find()),
    take: inSteps(async function* () {
      for await (const rows of find()) {
        yield add(nothing, await contents.drop(rows.map(({ blobId }) => blobId)));
      }
    }),
  };
}
