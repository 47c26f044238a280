import { isEnded, type TaskState } from '@inference-server/contracts';
import { areSameFiles } from '../digests.js';
import type { TaskRecord } from '../load/caller.js';
import type { ContainerEvent } from '../world/engine-events.js';
import type { World } from '../world/world.js';
import { checkRuns, type RunFindings } from './check-runs.js';
import { excusesRestart, isWithin, type AttemptRow, type Excuse, type Span } from './excuses.js';
import { groupBy } from './groups.js';

/** What is wrong with the tasks of a run, in words: empty lists are what is wanted. */
export interface TaskFindings {
  acknowledged: number;
  /** Acknowledged, and there is no such task, or it is not at an end. */
  lost: string[];
  /** An end that this task cannot have, an output that is not its model's, a caller told otherwise. */
  wrong: string[];
  /** More than one accepted output, more than one task for one key, or one task for two. */
  doubled: string[];
  /** Containers that were started, or attempts that were made, without a reason. */
  startedTwice: string[];
  /** Runs of which the engines tell otherwise than their rows, or nothing. */
  untold: string[];
  /** Attempts whose container has ended with a code: each was started once. */
  runs: number;
  unasked: RunFindings['unasked'];
  memory: RunFindings['memory'];
  /** Started again for this fault: how many. */
  startedAgain: Record<string, number>;
  ends: Record<string, number>;
}

interface TaskRow {
  uid: string;
  state: TaskState;
  deleted: boolean;
  outputs: number;
  /** Of the model's own failures. */
  retries: number;
}

/** Why an attempt came after one that failed by the model's own doing. */
const asked = 'the model asked for it';

/** Holds what the callers know against the rows, and against what the engines have told. */
export async function checkTasks(
  world: Pick<World, 'query'>,
  records: readonly TaskRecord[],
  containers: readonly ContainerEvent[],
  excuses: readonly Excuse[],
  faults: readonly Span[],
): Promise<TaskFindings> {
  const rows = await world.query<TaskRow>(
    `SELECT t.uid, t.state::text, t.deleted_at IS NOT NULL AS deleted, v.retries,
            (SELECT count(*)::int FROM attempts
              WHERE task_uid = t.uid AND outcome = 'finished') AS outputs
       FROM tasks t JOIN model_versions v ON v.id = t.model_version_id`,
  );
  const tasks = new Map(rows.map((row) => [row.uid, row]));
  const attempts = groupBy(
    await world.query<AttemptRow>(
      `SELECT task_uid AS uid, number, consumer_id AS "consumerId", outcome::text, reason, detail, exit_code AS "exitCode",
              extract(epoch FROM claimed_at)::float8 * 1000 AS "from",
              extract(epoch FROM coalesce(ended_at, now()))::float8 * 1000 AS until
         FROM attempts ORDER BY number`,
    ),
    ({ uid }) => uid,
  );
  const findings: TaskFindings = {
    acknowledged: 0,
    lost: [],
    wrong: [],
    doubled: [],
    startedTwice: [],
    untold: [],
    runs: 0,
    unasked: 0,
    memory: { runs: 0, unheard: [] },
    startedAgain: {},
    ends: {},
  };
  const answered = new Map<string, string>();
  const planned = new Map(records.flatMap(({ uids, plan }) => [...uids].map((uid) => [uid, plan])));
  for (const record of records) checkRecord(`task ${record.number} (${record.plan.kind})`, record);
  const starts = groupBy(
    containers.filter(({ action, kind }) => action === 'start' && kind === 'run'),
    ({ task }) => task,
  );
  for (const uid of new Set([...answered.keys(), ...starts.keys()])) checkAttempts(uid);
  for (const [uid, of] of starts) checkStarts(uid, of);
  const ofRuns = checkRuns([...attempts.values()].flat(), planned, containers, excuses);
  findings.untold.push(...ofRuns.untold);
  findings.runs = ofRuns.runs;
  findings.unasked = ofRuns.unasked;
  findings.memory = ofRuns.memory;
  return findings;

  function checkRecord(name: string, record: TaskRecord): void {
    for (const answer of record.wrongAnswers) findings.wrong.push(`${name}: ${answer}`);
    // Who has a key asks until there is an answer.
    if (record.key !== undefined && record.uids.size === 0 && record.wrongAnswers.length === 0) {
      findings.wrong.push(`${name}: its caller was never answered`);
    }
    if (record.uids.size > 1)
      findings.doubled.push(`${name}: ${record.uids.size} tasks for one key`);
    for (const uid of record.uids) {
      const other = answered.get(uid);
      if (other !== undefined) findings.doubled.push(`${name} and ${other}: both are ${uid}`);
      answered.set(uid, name);
      checkEnd(`${name} ${uid}`, uid, record);
    }
  }

  function checkEnd(name: string, uid: string, record: TaskRecord): void {
    findings.acknowledged += 1;
    const row = tasks.get(uid);
    if (row === undefined || !isEnded(row.state)) {
      findings.lost.push(`${name}: ${row?.state ?? 'no row'}`);
      return;
    }
    const { state, outputs, deleted } = row;
    findings.ends[state] = (findings.ends[state] ?? 0) + 1;
    if (outputs > 1) findings.doubled.push(`${name}: ${outputs} accepted outputs`);
    else if (outputs !== (state === 'FINISHED' ? 1 : 0)) {
      findings.wrong.push(`${name}: ${state} with ${outputs} accepted outputs`);
    }
    const reason = attempts.get(uid)?.at(-1)?.reason ?? undefined;
    const mayBe = record.plan.ends.some(
      (end) => end.state === state && (end.reason === undefined || end.reason === reason),
    );
    if (!mayBe) findings.wrong.push(`${name}: ended ${state} ${reason ?? ''}`);
    // From a cancel that was taken on nothing else can come.
    if (record.meddled === 'cancel' && state !== 'CANCELLED') {
      findings.wrong.push(`${name}: was cancelled, ended ${state}`);
    }
    if (deleted !== (record.meddled === 'delete')) {
      findings.wrong.push(`${name}: is ${deleted ? '' : 'not '}deleted`);
    }
    checkSeen(name, record, row, reason);
  }

  /** What its caller saw. */
  function checkSeen(
    name: string,
    { end, output, plan }: TaskRecord,
    row: TaskRow,
    reason: string | undefined,
  ): void {
    if (end === undefined) {
      findings.wrong.push(`${name}: its caller never heard of its end`);
      return;
    }
    const isSo = end.state === 'GONE' ? row.deleted : end.state === row.state;
    if (!isSo) findings.wrong.push(`${name}: seen ${end.state}, is ${row.state}`);
    if (isSo && end.state === 'FAILED' && end.reason !== reason) {
      findings.wrong.push(
        `${name}: seen for ${end.reason ?? 'nothing'}, is for ${reason ?? 'nothing'}`,
      );
    }
    if (end.state === 'FINISHED' && !areSameFiles(output, plan.output)) {
      findings.wrong.push(`${name}: its output is not what the model makes`);
    }
  }

  function checkAttempts(uid: string): void {
    const all = attempts.get(uid) ?? [];
    for (const { number, reason, detail } of all) {
      // A fault of the consumer's own code, which another attempt has healed.
      if (reason === 'internal') {
        findings.wrong.push(`${uid}: attempt ${number} met internal: ${detail ?? ''}`);
      }
    }
    for (const attempt of all.slice(0, -1)) {
      const { number, outcome, reason, detail } = attempt;
      const what = `${uid}: again after attempt ${number}`;
      if (!mayBeFollowed(attempt)) {
        findings.startedTwice.push(`${what}, ${outcome ?? 'no end'}`);
      } else if (outcome !== 'failed' && !faults.some((fault) => isWithin(attempt, fault))) {
        const why = `${reason ?? outcome ?? ''}: ${detail ?? ''}`;
        findings.startedTwice.push(`${what} while nothing was harmed, ${why}`);
      }
    }
  }

  /**
   * A start beyond the first needs an attempt before it that ended by a fault while there was an excuse
   * for one, or by a failure of the model's that is tried again.
   */
  function checkStarts(uid: string, of: readonly ContainerEvent[]): void {
    const byAttempt = groupBy(of, ({ attempt }) => attempt);
    const last = Math.max(...byAttempt.keys());
    for (const [number, again] of byAttempt) {
      if (again.length > 1) {
        findings.startedTwice.push(`${uid}: attempt ${number} was started ${again.length} times`);
      }
      const row = attempts.get(uid)?.find((attempt) => attempt.number === number);
      if (row === undefined) {
        findings.startedTwice.push(`${uid}: attempt ${number} was started, and never claimed`);
      } else if (number !== last && mayBeFollowed(row)) {
        const fault = row.outcome === 'failed' ? asked : excuseOf(row)?.fault;
        if (fault === undefined) {
          const why = `${row.reason ?? row.outcome ?? ''}: ${row.detail ?? ''}`;
          findings.startedTwice.push(`${uid}: again after attempt ${number} for no fault, ${why}`);
        } else findings.startedAgain[fault] = (findings.startedAgain[fault] ?? 0) + 1;
      }
    }
  }

  function excuseOf(attempt: AttemptRow): Excuse | undefined {
    return excuses.find((excuse) => excusesRestart(excuse, attempt));
  }

  /** Another attempt comes after a fault, or after a failure when the model asks for a retry of that. */
  function mayBeFollowed({ uid, number, outcome }: AttemptRow): boolean {
    if (outcome !== 'failed') return ['lost', 'fault', 'released'].includes(outcome ?? '');
    const failures = attempts
      .get(uid)
      ?.filter((attempt) => attempt.outcome === 'failed' && attempt.number <= number);
    return (failures?.length ?? 0) <= (tasks.get(uid)?.retries ?? 0);
  }
}
