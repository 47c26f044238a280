import type { CallerIdentity, ModelContract } from '@inference-server/contracts';
import {
  contentOfOutputs,
  contentOfValues,
  encodeInputs,
  inputsOfContent,
  takesContentAsIs,
  tensorsOfPlain,
} from '@inference-server/protos';
import type { Target } from '../../core/call-queue.js';
import { predictPlain } from '../../core/plain-call.js';
import type { Predictor } from '../../core/predictor.js';
import { jsonTimesHeld } from './json-times-held.js';
import type { RoomPart, StreamRoom } from './stream-room.js';

/** As of an answer that is told in JSON over HTTP. */
const answerTimesHeld = 8;

/** What a model answers to data; `release` is to be called when nothing has it any more. */
export interface DatumAnswer {
  content: Buffer;
  release: () => void;
}

/** Asks a model about the data of one message, again where a replica is lost with it. */
export async function answerDatum(
  data: Buffer,
  {
    predictor,
    held,
    room,
    maxJsonBytes,
    ...call
  }: {
    predictor: Predictor;
    /** By which the data are held already; it is the caller's to release. */
    held: RoomPart;
    room: StreamRoom;
    maxJsonBytes: number;
    target: Target;
    caller: CallerIdentity;
    deadlineAt: number;
    signal: AbortSignal;
  },
): Promise<DatumAnswer> {
  const reply = room.open();
  let answerTimes = answerTimesHeld;
  try {
    const encode = (contract: ModelContract) => {
      answerTimes = answersAsIs(contract) ? 1 : answerTimesHeld;
      const times = takesContentAsIs(contract) ? 1 : jsonTimesHeld;
      held.holdInAll(times * data.length);
      const inputs = tensorsOfPlain(contract.inputs, inputsOfContent(contract, data, maxJsonBytes));
      return Buffer.concat(encodeInputs(inputs));
    };
    const { model, message, outputs } = await predictPlain(predictor, {
      ...{ ...call, isRepeatable: true, encode },
      values: () => {
        held.holdInAll(jsonTimesHeld * data.length);
        return inputsOfContent(undefined, data, maxJsonBytes);
      },
      holdRequest: (bytes) => held.holdInAll(data.length + bytes),
      hold: (bytes) => reply.hold(answerTimes * bytes),
    });
    const content = outputs ? contentOfValues(outputs) : contentOfOutputs(model.contract, message);
    return { content, release: reply.release };
  } catch (error) {
    reply.release();
    throw error;
  }
}

function answersAsIs({ outputs: [output, ...others] }: ModelContract): boolean {
  return output?.dtype === 'DT_STRING' && others.length === 0;
}
