import { maxInvocationContentBytes, maxInvocationHeadBytes } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import type { AnswerRoom, Method } from '@inference-server/grpc';
import {
  decodeInvocationRequest,
  encodeInputs,
  encodeInvocationResponse,
  inputsOfContent,
  metadataOfValues,
  plainOutputs,
  takesContentAsIs,
  tensorsOfPlain,
  type ModelInput,
} from '@inference-server/protos';
import { predictPlain } from '../../core/plain-call.js';
import type { Predictor } from '../../core/predictor.js';
import { outputsTooLarge, type StoreInvocation } from '../../invocation-client.js';
import type { Callers } from '../callers.js';
import { admittedMethod, holdIn, type AdmittedCall } from './admitted-call.js';
import { jsonTimesHeld } from './json-times-held.js';
import { answerInWords } from './invocation-words.js';

/** Content that nobody reads: as it came, its tensor, and the request with it. */
const timesHeld = 3;
/** Of a larger one the JSON could not be stored: 8 bytes of a tensor make two characters at least. */
const maxAnswerBytes = 4 * maxInvocationHeadBytes;
/** Likewise: a value takes a letter and a comma, and a few bytes may say that there are millions. */
const maxAnswerValues = maxInvocationHeadBytes / 2;
/** As of an answer that is told in JSON over HTTP. */
const answerTimesHeld = 8;

/** `Invoke`: what a model has answered is stored before its caller hears of it. */
export function invocationMethod({
  predictor,
  callers,
  store,
  defaultModel,
  maxJsonBytes,
  maxCallMs,
  onFault,
}: {
  predictor: Predictor;
  callers: Callers;
  store: StoreInvocation;
  /** Asked where the metadata names none. */
  defaultModel: string | undefined;
  /** Of content that is read as such. */
  maxJsonBytes: number;
  maxCallMs: number;
  onFault: (error: unknown, path: string) => void;
}): [path: string, method: Method] {
  async function invoke({ admitted, message, room, deadlineAt, signal }: AdmittedCall) {
    const input = inputOf(message);
    const { id, content, metadata } = input;
    const name = modelOf(input, defaultModel);
    callers.requireModel(admitted, name);
    const { caller } = admitted;
    const holdInAll = createHold(room, message.length);
    const answer = await predictPlain(predictor, {
      ...{ target: { name, version: undefined }, caller, deadlineAt, signal },
      encode: ({ inputs }) => {
        const times = takesContentAsIs({ inputs }, true) ? timesHeld : jsonTimesHeld;
        holdInAll(times * message.length);
        const values = inputsOfContent({ inputs }, content, maxJsonBytes, metadata);
        return Buffer.concat(encodeInputs(tensorsOfPlain(inputs, values)));
      },
      values: () => {
        holdInAll(jsonTimesHeld * message.length);
        return inputsOfContent(undefined, content, maxJsonBytes, metadata);
      },
      holdRequest: (bytes) => holdInAll(message.length + bytes),
      hold: (bytes) => {
        if (bytes > maxAnswerBytes) throw outputsTooLarge();
        holdIn(room, answerTimesHeld * bytes);
      },
    });
    const outputs =
      answer.outputs ?? plainOutputs(answer.model.contract, answer.message, maxAnswerValues);
    const { human_readable_id } = answer.model;
    const output_metadata = metadataOfValues(outputs);
    await store(caller, { id, metadata, output_metadata, human_readable_id }, content, signal);
  }

  const method = admittedMethod({ callers, maxCallMs }, async (call) => {
    const tellFault = (error: unknown) => onFault(error, invokePath);
    const response = await answerInWords(() => invoke(call), tellFault);
    return { message: [encodeInvocationResponse(response)] };
  });
  return [invokePath, method];
}

const invokePath = '/invocation.v1.Invocation/Invoke';

function inputOf(message: Buffer): ModelInput {
  const input = decodeInvocationRequest(message);
  if (input === undefined) {
    throw new AppError('VALIDATION_FAILED', 'The request has no model_input.');
  }
  if (input.content.length > maxInvocationContentBytes) {
    const text = `The content is larger than ${maxInvocationContentBytes} bytes.`;
    throw new AppError('PAYLOAD_TOO_LARGE', text);
  }
  return input;
}

function modelOf({ metadata }: ModelInput, defaultModel: string | undefined): string {
  const name = metadata.find(({ key }) => key === 'model')?.value ?? defaultModel;
  if (name !== undefined) return name;
  throw new AppError(
    'VALIDATION_FAILED',
    'The metadata has no entry "model", and the server has no DEFAULT_INVOCATION_MODEL.',
  );
}

/** Holds what is missing until so many bytes are held in all, beside those that are. */
function createHold(room: AnswerRoom, heldAlready: number): (bytes: number) => void {
  let held = heldAlready;
  return (bytes) => {
    if (bytes <= held) return;
    holdIn(room, bytes - held);
    held = bytes;
  };
}
