import Type from 'typebox';
import { maxStoredInteger } from '../schemas/stored-integer.js';
import { defineRoute } from '../route.js';
import {
  AdoptAnswer,
  AttemptParams,
  AttemptResult,
  BlobReference,
  ClaimAnswer,
  Lease,
  ParkAnswer,
  RenewAnswer,
  SettleAnswer,
} from '../schemas/attempt.js';

const errors = ['UNAUTHORIZED', 'FORBIDDEN', 'VALIDATION_FAILED'] as const;
const fetchErrors = [
  ...errors,
  'CONFLICT',
  'PRECONDITION_FAILED',
  'RANGE_NOT_SATISFIABLE',
  'OUTPUT_NOT_FOUND',
] as const;
const path = '/internal/attempts/:task_uid/:attempt' as const;

export const claimAttempt = defineRoute({
  operationId: 'claimAttempt',
  method: 'POST',
  path: `${path}/claim`,
  tag: 'attempts',
  summary: 'Claim an attempt with its ticket',
  description: 'Asking again as the same holder gives the same answer.',
  params: AttemptParams,
  body: { kind: 'json', schema: Type.Object({ holder: Lease.properties.holder }) },
  success: { kind: 'json', schema: ClaimAnswer, description: 'Won, or refused.' },
  errors,
  access: 'internal',
  object: 'attempt',
  callers: ['consumer'],
});

export const adoptAttempt = defineRoute({
  operationId: 'adoptAttempt',
  method: 'POST',
  path: `${path}/adopt`,
  tag: 'attempts',
  summary: 'Take over an attempt of this consumer from its earlier holder',
  description:
    'For the process that is registered as the consumer now: any other is refused with CONSUMER_EXISTS, and is to touch nothing. Asking again as the same holder gives the same answer.',
  params: AttemptParams,
  body: { kind: 'json', schema: Type.Object({ holder: Lease.properties.holder }) },
  success: { kind: 'json', schema: AdoptAnswer, description: 'Won, or superseded.' },
  errors: [...errors, 'CONSUMER_EXISTS'],
  access: 'internal',
  object: 'attempt',
  callers: ['consumer'],
});

export const parkLease = defineRoute({
  operationId: 'parkLease',
  method: 'POST',
  path: `${path}/park`,
  tag: 'attempts',
  summary: 'Leave a running attempt to a successor',
  description: 'The lease is held for a while without being renewed.',
  params: AttemptParams,
  body: { kind: 'json', schema: Lease },
  success: { kind: 'json', schema: ParkAnswer, description: 'Parked, or refused.' },
  errors,
  access: 'internal',
  object: 'attempt',
  callers: ['consumer'],
});

/** How long a renewal is held open for news (s) at most. */
export const renewHeldForS = 5;

/**
 * How long a renewal of a lease of `leaseMs` is held open (ms): a lease of 30 s is so renewed every 5 s,
 * and its holder, when it is not answered, can ask three times more before it is over.
 */
export function renewHeldMs(leaseMs: number): number {
  return Math.min(renewHeldForS * 1000, Math.ceil(leaseMs / 6));
}

export const renewLease = defineRoute({
  operationId: 'renewLease',
  method: 'POST',
  path: `${path}/renew`,
  tag: 'attempts',
  summary: 'Renew a lease and wait for news',
  description:
    'The lease is renewed at once; the answer is held until there is news (the task is to be cancelled, the holder is refused) or the time is over.',
  params: AttemptParams,
  body: {
    kind: 'json',
    schema: Type.Object({
      ...Lease.properties,
      knows_of_cancel: Type.Boolean({ description: 'Whether a cancel is no news any more.' }),
      gpu_memory_peak_mib: Type.Optional(
        Type.Integer({
          minimum: 0,
          maximum: maxStoredInteger,
          description: 'The most that the run was seen to take of a GPU, where that is news.',
        }),
      ),
    }),
  },
  success: { kind: 'json', schema: RenewAnswer, description: 'Renewed, or refused.' },
  errors,
  access: 'internal',
  object: 'attempt',
  callers: ['consumer'],
  heldForS: renewHeldForS,
});

export const getAttemptInput = defineRoute({
  operationId: 'getAttemptInput',
  method: 'GET',
  path: `${path}/input`,
  tag: 'attempts',
  summary: 'Fetch the input zip of an attempt',
  params: AttemptParams,
  query: Lease,
  success: { kind: 'zip', description: 'The input.' },
  errors: fetchErrors,
  access: 'internal',
  object: 'attempt',
  callers: ['consumer'],
});

export const getAttemptModelFiles = defineRoute({
  operationId: 'getAttemptModelFiles',
  method: 'GET',
  path: `${path}/model-files`,
  tag: 'attempts',
  summary: "Fetch the zip with the files of the attempt's model version",
  params: AttemptParams,
  query: Lease,
  success: { kind: 'zip', description: 'The files for /model.' },
  errors: [...fetchErrors, 'NOT_FOUND'],
  access: 'internal',
  object: 'attempt',
  callers: ['consumer'],
});

export const putAttemptOutput = defineRoute({
  operationId: 'putAttemptOutput',
  method: 'PUT',
  path: `${path}/output`,
  tag: 'attempts',
  summary: 'Store the output zip of an attempt',
  description: 'Durable when answered; it becomes the output of the task with the settlement.',
  params: AttemptParams,
  query: Lease,
  body: { kind: 'zip-upload', optional: false, form: false, description: 'The output.' },
  success: { kind: 'json', schema: BlobReference, description: 'What was stored.' },
  errors: [
    ...errors,
    'UPLOAD_TOO_SLOW',
    'CONFLICT',
    'PAYLOAD_TOO_LARGE',
    'STORAGE_FULL',
    'UNSUPPORTED_MEDIA_TYPE',
    'ZIP_REFUSED',
  ],
  access: 'internal',
  object: 'attempt',
  callers: ['consumer'],
});

export const settleAttempt = defineRoute({
  operationId: 'settleAttempt',
  method: 'POST',
  path: `${path}/settle`,
  tag: 'attempts',
  summary: 'Settle an attempt',
  description:
    'Accepted in one transaction, only under the current lease. The same settlement again gives the same answer.',
  params: AttemptParams,
  body: {
    kind: 'json',
    schema: Type.Object({ lease: Lease, result: AttemptResult }),
  },
  success: { kind: 'json', schema: SettleAnswer, description: 'Settled, or refused.' },
  errors: [...errors, 'CONFLICT'],
  access: 'internal',
  object: 'attempt',
  callers: ['consumer'],
});
