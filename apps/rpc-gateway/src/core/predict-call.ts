import type { Answer, MessageSink } from '@inference-server/grpc';
import type { CallerIdentity, HostedModel } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { contractViolation, type TensorOutline } from '@inference-server/protos';
import type { Target } from './call-queue.js';
import type { AnyModel } from './hosted-models.js';

/** What a door asks. */
export interface PredictCall {
  target: Target;
  /** For whom it is. */
  caller: CallerIdentity;
  /** '' where the caller names none. */
  signatureName: string;
  inputs: ReadonlyMap<string, TensorOutline>;
  /** Whether it says more than the inputs, as which outputs are wanted. */
  hasMore: boolean;
  /** The PredictRequest without its model_spec, as it came. */
  rest: readonly Buffer[];
  /** Whether another replica may be asked where one was lost with it: a call that does no harm twice. */
  isRepeatable?: boolean | undefined;
  /** When the time of the call is over (performance.now()). */
  deadlineAt: number;
  /** Aborts then at the latest, and when the caller goes. */
  signal: AbortSignal;
  /** Where an answer of so many bytes goes as it comes; undefined: it is given whole. */
  sinkFor?: (messageBytes: number) => MessageSink | undefined;
  /** Told of an answer that is given whole, before memory is taken for it. Throws {@link noRoom}. */
  hold(answerBytes: number): void;
}

/** What the model said, be it OK or not. */
export interface Prediction<By extends AnyModel = AnyModel> {
  model: By;
  answer: Answer;
}

/** There is no room now. */
export function noRoom(): AppError {
  return new AppError('TOO_MANY_REQUESTS', 'The server holds too many messages at the moment.', {
    retryAfterS: 1,
  });
}

export function isLate(): AppError {
  return new AppError('DEADLINE_EXCEEDED', 'The call was not answered in time.');
}

/** Throws VALIDATION_FAILED with the name of the input that is not what the contract says. */
export function requireContract(
  { contract }: HostedModel,
  { signatureName, inputs }: Pick<PredictCall, 'signatureName' | 'inputs'>,
): void {
  if (signatureName !== '' && signatureName !== contract.signature_name) {
    throw new AppError(
      'VALIDATION_FAILED',
      `The signature of the model is "${contract.signature_name}".`,
      { extensions: { parameter: 'signature_name' } },
    );
  }
  const violation = contractViolation(contract.inputs, inputs);
  if (violation === undefined) return;
  throw new AppError('VALIDATION_FAILED', violation.detail, {
    extensions: violation.field === '' ? {} : { parameter: violation.field },
  });
}
