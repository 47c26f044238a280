import { expect } from 'vitest';
import type { Excuse } from '../src/checks/excuses.js';
import type { TaskRecord } from '../src/load/caller.js';
import type { PlannedEnd, TaskPlan } from '../src/load/task-kinds.js';
import type { ContainerEvent } from '../src/world/engine-events.js';

/** By the names of the files, what stands for their digests. */
export const output = { result: 'aa', 'f/log': 'bb' };

export const finishes = planOf({ output, ends: [{ state: 'FINISHED' }] });
export const fails = planOf({ ends: [{ state: 'FAILED', reason: 'exit_code' }] });
export const meddled = planOf({ output, ends: [{ state: 'FINISHED' }, { state: 'CANCELLED' }] });

/** The end of a task as its caller was told. */
export function seen(state: string, reason?: string): NonNullable<TaskRecord['end']> {
  return { state, reason, at: 0 };
}

/** What a caller knows of a task: where nothing is said, of one that finished. */
export function recordOf(record: Partial<TaskRecord>): TaskRecord {
  return {
    number: 7,
    plan: finishes,
    owner: undefined,
    key: 'task-7',
    sha256: 'cc',
    uids: new Set(),
    postedAt: 0,
    acknowledgedAt: 0,
    meddled: undefined,
    end: seen('FINISHED'),
    output: { ...output },
    wrongAnswers: [],
    ...record,
  };
}

export function excuse(from: number, until: number): Excuse {
  return { fault: 'a kill', consumers: ['consumer'], from, until };
}

export function endOf(task: string, attempt: number, exitCode: number): ContainerEvent {
  return { ...startOf(task, attempt), action: 'die', exitCode };
}

export function startOf(task: string, attempt: number): ContainerEvent {
  return {
    engine: 'engine',
    action: 'start',
    container: `${task} ${attempt}`,
    task,
    attempt,
    kind: 'run',
    consumer: 'consumer',
    exitCode: undefined,
    timeNano: '1',
  };
}

function planOf(plan: {
  output?: Record<string, string>;
  ends: [PlannedEnd, ...PlannedEnd[]];
}): Omit<TaskPlan, 'files'> {
  return { kind: 'test', model: 'script', output: undefined, ...plan };
}

export type Lists = Partial<
  Record<'lost' | 'wrong' | 'doubled' | 'startedTwice' | 'untold', unknown[]>
>;

/** Those in which anything stands. */
export function listsOf({ lost, wrong, doubled, startedTwice, untold }: Required<Lists>): Lists {
  const lists = Object.entries({ lost, wrong, doubled, startedTwice, untold });
  return Object.fromEntries(lists.filter(([, found]) => found.length > 0));
}

/** One entry, in this list. */
export function only(list: keyof Lists, text: string): Lists {
  return { [list]: [expect.stringContaining(text)] };
}
