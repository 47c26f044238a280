import Type, { type Static } from 'typebox';
import { faultCauses, type FaultCause as FaultCauseName } from '../fault-causes.js';
import { PullPolicy } from './model.js';
import { Needs } from './needs.js';
import { Rights } from './rights.js';
import { maxStoredInteger, minStoredInteger } from './stored-integer.js';
import { Usage } from './usage.js';

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
  timeout_s: Type.Integer({ minimum: 1, description: 'How long the container may run.' }),
  needs: Needs,
  rights: Rights,
  lenders: Type.Array(Type.String(), {
    description: 'Consumers of the same process whose devices the run has beside its own.',
  }),
  model_files: Type.Union([BlobReference, Type.Null()]),
  input: BlobReference,
});
export type Work = Static<typeof Work>;

const LeaseMs = Type.Integer({
  description: 'How long the lease lasts from when the database took the call.',
});

const Won = Type.Object({
  outcome: Type.Literal('won'),
  epoch: Type.Integer({ minimum: 1 }),
  lease_ms: LeaseMs,
  work: Work,
});

export const ClaimAnswer = Type.Union([
  Won,
  Type.Object({
    outcome: Type.Literal('refused'),
    reason: Type.String({ description: 'For the log: the ticket is stale.' }),
  }),
]);
export type ClaimAnswer = Static<typeof ClaimAnswer>;

/** Nothing is to be done for the attempt any more: it is over, or another one has taken its place. */
const Superseded = Type.Object({
  outcome: Type.Literal('superseded', { description: 'Remove its container.' }),
});

/** Why a holder is refused. */
const Refused = [
  Type.Object({
    outcome: Type.Literal('adopted', {
      description:
        'The attempt has a later holder, whose its container is: forget it, touch nothing.',
    }),
  }),
  Superseded,
] as const;

export const AdoptAnswer = Type.Union([Won, Superseded]);
export type AdoptAnswer = Static<typeof AdoptAnswer>;

export const RenewAnswer = Type.Union([
  Type.Object({
    outcome: Type.Literal('renewed'),
    lease_ms: LeaseMs,
    cancel_requested: Type.Boolean({ description: 'Stop the container, remove it, settle.' }),
  }),
  ...Refused,
]);
export type RenewAnswer = Static<typeof RenewAnswer>;

export const ParkAnswer = Type.Union([
  Type.Object({
    outcome: Type.Literal('parked'),
    parked_ms: Type.Integer({ description: 'How long the lease now waits for a successor.' }),
  }),
  ...Refused,
]);
export type ParkAnswer = Static<typeof ParkAnswer>;

/** Why a model failed. */
export const FailureReason = Type.Union([
  Type.Literal('exit_code'),
  Type.Literal('out_of_memory'),
  Type.Literal('out_of_disk'),
  Type.Literal('timed_out'),
  Type.Literal('start_failed'),
  Type.Literal('image_unavailable'),
  Type.Literal('not_allowed'),
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
  usage: Type.Optional(Usage),
};

/** What went wrong that is not the model's doing. */
const FaultCause = Type.Enum(Object.keys(faultCauses) as FaultCauseName[]);

/**
 * How an attempt ended. `failed` is the model's own doing, and final unless the model asks for
 * retries; `fault` is ours (engine, network, disk) and gives another attempt up to the limit;
 * `released` gives the attempt back because the consumer stops, and counts towards no limit;
 * `cancelled` says that a container whose task is to be cancelled is gone.
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
  Type.Object({ kind: Type.Literal('fault'), cause: FaultCause, ...Ended }),
  Type.Object({ kind: Type.Literal('released'), ...Ended }),
  Type.Object({ kind: Type.Literal('cancelled'), ...Ended }),
]);
export type AttemptResult = Static<typeof AttemptResult>;

export const SettleAnswer = Type.Union([
  Type.Object({ outcome: Type.Literal('settled') }),
  Type.Object({
    outcome: Type.Literal('cancel_requested', {
      description: 'A cancel came first: remove the container and settle as cancelled.',
    }),
  }),
  ...Refused,
]);
export type SettleAnswer = Static<typeof SettleAnswer>;
