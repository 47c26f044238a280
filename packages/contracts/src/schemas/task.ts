import Type, { type Static } from 'typebox';
import { taskStates } from '../task-states.js';
import { AttemptReport } from './problem.js';
import { Time } from './time.js';

/** What is known of a task. */
export const TaskStatus = Type.Object({
  uid: Type.String(),
  state: Type.Enum([...taskStates]),
  attempt: Type.Integer({
    minimum: 1,
    description: 'The attempt that runs, or comes next, or was last.',
  }),
  human_readable_id: Type.String(),
  model_version: Type.Integer({ minimum: 1 }),
  created_at: Time,
  ended_at: Type.Union([Time, Type.Null()]),
  cancel_requested: Type.Boolean(),
  attempts: Type.Array(AttemptReport, { description: 'Every try so far, the first one first.' }),
});
export type TaskStatus = Static<typeof TaskStatus>;

/** A task in a list. */
export const TaskSummary = Type.Object({
  ...Type.Pick(TaskStatus, [
    'uid',
    'state',
    'human_readable_id',
    'model_version',
    'created_at',
    'ended_at',
  ]).properties,
  owner: Type.String({ description: 'Who posted it: `key:<id>`, `user:<name>`.' }),
});
export type TaskSummary = Static<typeof TaskSummary>;

export const TaskList = Type.Object({
  tasks: Type.Array(TaskSummary, { description: 'The last posted first.' }),
  next: Type.Union([Type.String(), Type.Null()], {
    description: 'What `before` is to be for those that were posted earlier; null: there are none.',
  }),
});
export type TaskList = Static<typeof TaskList>;
