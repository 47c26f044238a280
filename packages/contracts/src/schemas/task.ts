import Type, { type Static } from 'typebox';
import { taskStates } from '../task-states.js';
import { AttemptReport } from './problem.js';

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
  created_at: Type.String({ format: 'date-time' }),
  ended_at: Type.Union([Type.String({ format: 'date-time' }), Type.Null()]),
  cancel_requested: Type.Boolean(),
  attempts: Type.Array(AttemptReport, { description: 'Every try so far, the first one first.' }),
});
export type TaskStatus = Static<typeof TaskStatus>;
