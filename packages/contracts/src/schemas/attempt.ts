import Type, { type Static } from 'typebox';
import { PullPolicy } from './model.js';
import { maxStoredInteger, minStoredInteger } from './stored-integer.js';

/** Names an attempt: the task and the number of the try. */
export const AttemptParams = Type.Object({
  task_uid: Type.String({ pattern: '^[A-Za-z0-9_-]{43}$' }),
  attempt: Type.Integer({ minimum: 1, maximum: maxStoredInteger }),
});
export type AttemptParams = Static<typeof AttemptParams>;

/** Who may act for an attempt now. The attempt's number stands in the path. */
export const Lease = Type.Object({
  epoch: Type.Integer({ minimum: 1, maximum: maxStoredInteger }),
  holder: Type.String({ minLength: 1, maxLength: 100 }),
});
export type Lease = Static<typeof Lease>;

export const BlobReference = Type.Object({
  sha256: Type.String({ description: 'Lower-case hexadecimal.' }),
  bytes: Type.Integer({ minimum: 0 }),
});
export type BlobReference = Static<typeof BlobReference>;

/** All that a consumer needs to run an attempt. */
export const Work = Type.Object({
  model_version_id: Type.String({ description: 'Names the volume with the files of the model.' }),
  human_readable_id: Type.String(),
  container_tag: Type.String(),
  pull_policy: PullPolicy,
  timeout_s: Type.Union([Type.Integer(), Type.Null()]),
  model_files: Type.Union([BlobReference, Type.Null()]),
  input: BlobReference,
});
export type Work = Static<typeof Work>;

export const ClaimAnswer = Type.Union([
  Type.Object({
    outcome: Type.Literal('won'),
    epoch: Type.Integer({ minimum: 1 }),
    work: Work,
  }),
  Type.Object({
    outcome: Type.Literal('refused'),
    reason: Type.String({ description: 'For the log: the ticket is stale.' }),
  }),
]);
export type ClaimAnswer = Static<typeof ClaimAnswer>;

/**
 * `superseded`: the attempt is over or somebody else's; remove its container. A renewed lease ends
 * `lease_ms` after the database took the call.
 */
export const RenewAnswer = Type.Union([
  Type.Object({ outcome: Type.Literal('renewed'), lease_ms: Type.Integer() }),
  Type.Object({ outcome: Type.Literal('superseded') }),
]);
export type RenewAnswer = Static<typeof RenewAnswer>;

/** Why a model failed. */
export const FailureReason = Type.Union([
  Type.Literal('exit_code'),
  Type.Literal('out_of_memory'),
  Type.Literal('out_of_disk'),
  Type.Literal('timed_out'),
  Type.Literal('start_failed'),
  Type.Literal('image_unavailable'),
  Type.Literal('bad_input'),
  Type.Literal('bad_output'),
]);
export type FailureReason = Static<typeof FailureReason>;

const Ended = {
  detail: Type.String({ maxLength: 4000, description: 'What happened, for a person.' }),
  exit_code: Type.Union([
    Type.Integer({ minimum: minStoredInteger, maximum: maxStoredInteger }),
    Type.Null(),
  ]),
  log: Type.String({
    maxLength: 1_048_576,
    description: "The end of the container's output and the consumer's own lines.",
  }),
};

/**
 * How an attempt ended. `failed` is the model's own doing and final; `fault` is ours (engine,
 * network, disk) and gives another attempt up to the limit; `released` gives the attempt back
 * because the consumer stops, and counts towards no limit.
 */
export const AttemptResult = Type.Union([
  Type.Object({
    kind: Type.Literal('finished'),
    output_sha256: Type.String({
      pattern: '^[0-9a-f]{64}$',
      description: 'Of the output that was stored under this lease and is meant.',
    }),
    ...Ended,
  }),
  Type.Object({
    kind: Type.Literal('failed'),
    reason: FailureReason,
    ...Ended,
  }),
  Type.Object({ kind: Type.Literal('fault'), ...Ended }),
  Type.Object({ kind: Type.Literal('released'), ...Ended }),
]);
export type AttemptResult = Static<typeof AttemptResult>;

export const SettleAnswer = Type.Object({
  outcome: Type.Union([Type.Literal('settled'), Type.Literal('superseded')]),
});
export type SettleAnswer = Static<typeof SettleAnswer>;
