import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '@inference-server/errors';
import { createByteBudget, createGrpcServer, GrpcError, type Method } from '@inference-server/grpc';
import {
  contractViolation,
  decodeModelContract,
  encodeOutputs,
  outlinePredictRequest,
  type TensorOutline,
} from '@inference-server/protos';

/** The outputs of a call, each a TensorProto, of inputs that fulfil the contract. */
export type Model = (inputs: ReadonlyMap<string, TensorOutline>) => Map<string, Buffer>;

export interface ModelServer {
  port: number;
  close(): Promise<void>;
}

const service = '/tensorflow.serving.PredictionService';
const mib = 1024 ** 2;
/** Status: 1 status = SERVING. */
const serving = Buffer.from([0x08, 1]);

/**
 * Serves a model as a runtime container does: Predict and Status of tensorflow.serving.PredictionService.
 * `createModel` gets the folder with the files that were registered with it.
 */
export async function serveModel({
  createModel,
  folder,
  port,
}: {
  createModel: (filesFolder: string) => Promise<Model>;
  /** /model in a container. */
  folder: string;
  port: number;
}): Promise<ModelServer> {
  const contract = decodeModelContract(await readFile(join(folder, 'contract.protobin')));
  const model = await createModel(join(folder, 'files'));

  function predict(message: Buffer): Buffer[] {
    const { inputs } = outlinePredictRequest(message);
    const violation = contractViolation(contract.inputs, inputs);
    if (violation !== undefined) throw new AppError('VALIDATION_FAILED', violation.detail);
    return encodeOutputs(model(inputs));
  }

  const methods = new Map<string, Method>([
    [
      `${service}/Predict`,
      () => ({
        unary: async (message) => {
          try {
            return { message: predict(message) };
          } catch (error) {
            if (!(error instanceof AppError)) throw error;
            throw new GrpcError('INVALID_ARGUMENT', error.message, { cause: error });
          }
        },
      }),
    ],
    [`${service}/Status`, () => ({ unary: async () => ({ message: [serving] }) })],
  ]);
  const server = createGrpcServer({
    methods,
    maxMessageBytes: 256 * mib,
    budget: createByteBudget(512 * mib),
    pace: { minBytes: 1024, windowMs: 60_000 },
    onFault: (error) => console.error(error),
  });
  return {
    port: await server.listen({ host: '0.0.0.0', port }),
    close: () => server.close(5_000),
  };
}
