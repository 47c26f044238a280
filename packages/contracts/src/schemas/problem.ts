import Type, { type Static } from 'typebox';
import type { Quota } from './quota.js';
import { Usage } from './usage.js';
import { Time } from './time.js';

/** The body of every error (RFC 9457, application/problem+json). */
export const Problem = Type.Object(
  {
    type: Type.String({ description: 'Always about:blank: the code tells the kind.' }),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String({ description: 'What is wrong, for a person.' }),
    code: Type.String({ description: 'What is wrong, for a program.' }),
    error_id: Type.Optional(
      Type.String({ description: 'Of a fault of the server: the id to look up in its logs.' }),
    ),
    message: Type.Optional(
      Type.String({
        description: 'The same as `detail`, where clients of an invocation look for it.',
      }),
    ),
    parameter: Type.Optional(Type.String({ description: 'The parameter or form part at fault.' })),
    reason: Type.Optional(
      Type.String({
        description:
          "Of a refused zip: the rule it breaks. Of a refused model or consumer: that of the operator's policy.",
      }),
    ),
    entry: Type.Optional(
      Type.Integer({
        minimum: 1,
        description: 'Of a refused zip: the entry at fault, counted in the order of its directory.',
      }),
    ),
    offset: Type.Optional(
      Type.Integer({
        minimum: 0,
        description: 'Of a refused zip: where in the file the record at fault stands (bytes).',
      }),
    ),
    allowed: Type.Optional(
      Type.Number({ description: 'Of a refused zip: the limit that it passes.' }),
    ),
    quota: Type.Optional(Type.Unsafe<Quota>(Type.Ref('Quota'))),
    task: Type.Optional(Type.Unsafe<TaskReport>(Type.Ref('TaskReport'))),
  },
  { $id: 'Problem', additionalProperties: false },
);
export type Problem = Static<typeof Problem>;

/** One try at running a task, from its claim on. */
export const AttemptReport = Type.Object({
  number: Type.Integer({ minimum: 1 }),
  consumer: Type.String(),
  claimed_at: Time,
  ended_at: Type.Union([Time, Type.Null()]),
  outcome: Type.Union([Type.String(), Type.Null()], {
    description:
      'finished, failed (the model), fault (the server), released (given back), lost (not heard of), cancelled; null while it runs.',
  }),
  reason: Type.Union([Type.String(), Type.Null()], {
    description: 'Of a failure or a fault: why, in one word.',
  }),
  exit_code: Type.Union([Type.Integer(), Type.Null()]),
  usage: Type.Union([Usage, Type.Null()], {
    description: 'What its container used; null: it runs still, never ran, or nobody told.',
  }),
});
export type AttemptReport = Static<typeof AttemptReport>;

/** What 551 and 552 tell of a task. */
export const TaskReport = Type.Object(
  {
    state: Type.String({ examples: ['PENDING', 'RUNNING', 'FAILED'] }),
    attempt: Type.Integer({
      minimum: 1,
      description: 'The attempt that is waited for, or was last.',
    }),
    reason: Type.Optional(
      Type.String({
        description: 'Of a task that failed: why, in one word.',
        examples: ['exit_code'],
      }),
    ),
    exit_code: Type.Optional(Type.Integer()),
    out_of_memory: Type.Optional(Type.Boolean()),
    timed_out: Type.Optional(Type.Boolean()),
    log_tail: Type.Optional(
      Type.Array(Type.String(), { description: 'The last lines that the container wrote.' }),
    ),
    unservable: Type.Optional(
      Type.Boolean({
        description:
          'Whether a waiting task needs what no consumer has that is there: it waits for one.',
      }),
    ),
    cancel_requested: Type.Optional(
      Type.Boolean({ description: 'Whether a running task is being cancelled.' }),
    ),
    attempts: Type.Array(AttemptReport, { description: 'Every try so far, the first one first.' }),
  },
  { $id: 'TaskReport', additionalProperties: false },
);
export type TaskReport = Static<typeof TaskReport>;
