import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isEnded, type TaskState } from '@inference-server/contracts';
import { areSameFiles, digestsOf, sha256 } from '../digests.js';
import type { TaskRecord } from '../load/caller.js';
import type { World } from '../world/world.js';

interface InputRow {
  state: TaskState;
  id: string | null;
  blobState: string | null;
  bytes: string | null;
  sha256: string | null;
}

/**
 * Whether what stands behind an answered uid is durable: its row, and every byte of its input. Asked at
 * the moment of the answer, beside all links. Undefined when it is; what was found otherwise. Of a quick
 * task, which may have ended, and its input gone, before this was asked, nothing more is wanted.
 */
export async function missingBehind(
  { query, storageFolder }: Pick<World, 'query' | 'storageFolder'>,
  uid: string,
  posted: Pick<TaskRecord, 'sha256'>,
): Promise<string | undefined> {
  const look = () =>
    query<InputRow>(
      `SELECT t.state::text, b.id, b.state::text AS "blobState", b.bytes::text, b.sha256
         FROM tasks t LEFT JOIN blobs b ON b.id = t.input_blob_id WHERE t.uid = $1`,
      [uid],
    );
  const [row] = await look();
  if (row === undefined) return `${uid} was answered, and has no row`;
  const { id, blobState, bytes } = row;
  if (id === null) return isEnded(row.state) ? undefined : `${uid} has no input`;
  if (blobState !== 'stored') return `${uid} was answered with a ${blobState ?? '?'} input`;
  const file = await readBlob(storageFolder, id);
  if (file === undefined) {
    const [later] = await look();
    if (later !== undefined && isEnded(later.state)) return undefined;
  }
  if (file === undefined || String(file.length) !== bytes) {
    return `${uid} was answered with ${file?.length ?? 'no'} of its ${bytes ?? '?'} bytes`;
  }
  return sha256(file) === posted.sha256 && row.sha256 === posted.sha256
    ? undefined
    : `${uid} was answered with other bytes than its own`;
}

interface OutputRow {
  uid: string;
  id: string | null;
}

/**
 * The outputs that are still to be had, of finished tasks whose callers have seen their end, and are not
 * what their models make: as bytes on the disk, beside the server, whoever has fetched them before. What
 * is found to be missing is asked for once more: it may have gone with its time or its task meanwhile.
 */
export async function wrongOutputs(
  { query, storageFolder }: Pick<World, 'query' | 'storageFolder'>,
  records: readonly TaskRecord[],
  fetchedRetentionS: number,
): Promise<{ looked: number; wrong: string[] }> {
  const plans = new Map(records.flatMap(({ uids, plan }) => [...uids].map((uid) => [uid, plan])));
  const kept = (uid?: string) =>
    query<OutputRow>(
      `SELECT uid, output_blob_id AS id FROM tasks
        WHERE state = 'FINISHED' AND deleted_at IS NULL AND ($2::text IS NULL OR uid = $2)
          AND coalesce(fetched_at, now()) > now() - $1 * interval '1 s' ORDER BY seq`,
      [fetchedRetentionS - marginS, uid],
    );
  const wrongIn = async ({ uid, id }: OutputRow): Promise<string | undefined> => {
    const plan = plans.get(uid);
    // One that nobody knows of is looked for elsewhere.
    if (plan === undefined) return undefined;
    if (id === null) return `${uid} is finished, and its output is gone before its time`;
    const zip = await readBlob(storageFolder, id);
    if (zip === undefined) return `${uid} is finished, and the file of its output is gone`;
    return areSameFiles(filesIn(zip), plan.output)
      ? undefined
      : `${uid} is finished, and its stored output is not what the model makes`;
  };
  const rows = await kept();
  const wrong: string[] = [];
  for (const row of rows) {
    if ((await wrongIn(row)) === undefined) continue;
    const [again] = await kept(row.uid);
    const found = again && (await wrongIn(again));
    if (found !== undefined) wrong.push(found);
  }
  return { looked: rows.length, wrong };
}

/** Between this look at the clock and the sweep's. */
const marginS = 30;

function filesIn(zip: Buffer): Record<string, string> | undefined {
  try {
    return digestsOf(zip);
  } catch {
    return undefined;
  }
}

/**
 * Outputs that were stored and accepted while no private-api could flush anything, of which a power cut
 * would have taken the bytes. To be asked soon after: an output that was fetched goes with its time.
 */
export async function acceptedUnflushed(
  { query }: Pick<World, 'query'>,
  { fault, unflushed }: { fault: string; unflushed?: { from: number; until: number } | undefined },
): Promise<string[]> {
  if (unflushed === undefined) return [];
  const { from, until } = unflushed;
  const rows = await query<{ uid: string }>(
    `SELECT a.task_uid AS uid FROM attempts a JOIN blobs b ON b.id = a.output_blob_id
      WHERE a.outcome = 'finished' AND b.created_at > to_timestamp($1 / 1000.0)
        AND a.ended_at < to_timestamp($2 / 1000.0)`,
    [from, until],
  );
  return rows.map(({ uid }) => `${uid} has an output that could not be flushed: ${fault}`);
}

/**
 * Uids that were answered for posts that were begun and answered while no private-api could flush
 * anything to its disk: a page cache shows their bytes, and a power cut would have taken them.
 */
export function acknowledgedUnflushed(
  records: readonly TaskRecord[],
  strokes: readonly { fault: string; unflushed?: { from: number; until: number } | undefined }[],
): string[] {
  return strokes.flatMap(({ fault, unflushed }) => {
    if (unflushed === undefined) return [];
    const { from, until } = unflushed;
    const answered = records.filter(
      ({ postedAt, acknowledgedAt = Infinity }) => postedAt > from && acknowledgedAt < until,
    );
    return answered.flatMap(({ uids }) =>
      [...uids].map((uid) => `${uid} was answered while nothing could be flushed: ${fault}`),
    );
  });
}

async function readBlob(storageFolder: string, id: string): Promise<Buffer | undefined> {
  return await readFile(join(storageFolder, 'blobs', id.slice(0, 2), id)).catch(() => undefined);
}
