import type { ModelContract } from '@inference-server/contracts';
import { openGrpcConnection } from '@inference-server/grpc';
import {
  encodeInputs,
  encodeModelSpec,
  plainOutputs,
  tensorsOfPlain,
} from '@inference-server/protos';

export interface ModelCall {
  /** Of InferenceServer's gRPC door, or of a runtime container: `host:port`. */
  address: string;
  /** Its id; a container on its own does not look at it. */
  model: string;
  contract: ModelContract;
  /** By name, in the plain form; bytes may stand where text may. */
  inputs: Record<string, unknown>;
  apiKey?: string | undefined;
  timeoutMs?: number;
}

/** One Predict call, and its outputs in the plain form. Throws with what the server answered. */
export async function callModel(call: ModelCall): Promise<Record<string, unknown>> {
  const { address, model, contract, inputs, apiKey, timeoutMs = 30_000 } = call;
  const connection = openGrpcConnection(address);
  try {
    const answer = await connection.call({
      path: '/tensorflow.serving.PredictionService/Predict',
      message: [
        encodeModelSpec({ name: model }),
        ...encodeInputs(tensorsOfPlain(contract.inputs, inputs)),
      ],
      metadata: apiKey === undefined ? {} : { authorization: `Bearer ${apiKey}` },
      deadlineAt: performance.now() + timeoutMs,
      maxAnswerBytes: 256 * 1024 ** 2,
    });
    if (answer.status !== 'OK' || answer.message === undefined) {
      throw new Error(`${answer.status}: ${answer.statusMessage}`);
    }
    return plainOutputs(contract, answer.message);
  } finally {
    connection.close();
  }
}
