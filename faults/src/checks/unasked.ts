import { anonymousOwner, isEnded, type TaskState } from '@inference-server/contracts';
import type { TaskRecord } from '../load/caller.js';
import type { World } from '../world/world.js';

interface UnknownTask {
  uid: string;
  state: TaskState;
  owner: string;
  model: string;
  /** Unix time, ms. */
  createdAt: number;
}

/** Of a post: how long its caller waits, and how long after that a server that was harmed goes on with it. */
const takesMs = 120_000;
/** Between the clock of the database and ours. */
const clocksMs = 1_000;

/**
 * Tasks that no caller knows of: each must be at its end, and be that of a post whose answer was lost for
 * good, of the same owner, to the same model, and of that time. One that is left over was made twice.
 * Wants the records of the whole run.
 */
export async function findUnasked(
  { query }: Pick<World, 'query'>,
  records: readonly TaskRecord[],
): Promise<string[]> {
  const known = new Set(records.flatMap(({ uids }) => [...uids]));
  const rows = await query<UnknownTask>(
    `SELECT t.uid, t.state::text, t.owner, v.human_readable_id AS model,
            extract(epoch FROM t.created_at)::float8 * 1000 AS "createdAt"
       FROM tasks t JOIN model_versions v ON v.id = t.model_version_id ORDER BY t.seq`,
  );
  const unknown = rows.filter(({ uid }) => !known.has(uid));
  const found = unknown
    .filter(({ state }) => !isEnded(state))
    .map(({ uid, state }) => `${uid}, of which no caller knows: ${state}`);
  const unanswered = records.filter(({ uids }) => uids.size === 0);
  for (const task of unknown) {
    const at = unanswered.findIndex((record) => mayBeOf(record, task));
    if (at === -1) found.push(`${task.uid}: no post without an answer has made it`);
    else unanswered.splice(at, 1);
  }
  return found;
}

function mayBeOf(
  { owner = anonymousOwner, plan, postedAt }: TaskRecord,
  task: UnknownTask,
): boolean {
  const afterMs = task.createdAt - postedAt;
  return (
    task.owner === owner &&
    task.model === plan.model &&
    afterMs > -clocksMs &&
    afterMs < takesMs + clocksMs
  );
}
