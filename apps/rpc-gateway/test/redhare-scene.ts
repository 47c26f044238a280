import type {
  ClientDuplexStream,
  ClientOptions,
  handleUnaryCall,
  ServiceError,
} from '@grpc/grpc-js';
import { expect, onTestFinished } from 'vitest';
import type { HostedModel, ModelContract } from '@inference-server/contracts';
import {
  decodeAuthResponse,
  decodeStreamResponse,
  encodeAuthRequest,
  encodeStreamRequest,
  outlinePredictRequest,
  stringsOf,
  type AuthResponse,
} from '@inference-server/protos';
import type { RpcGatewayConfig } from '../src/config.js';
import { modelOf, tokenOf } from './private-api.js';
import { asIs, clientOf, echo, readyAt, soon, startReplica, startScene } from './scene.js';

/** Text, given back. */
export const textContract: ModelContract = {
  signature_name: 'predict',
  inputs: [{ name: 'x', dtype: 'DT_STRING' }],
  outputs: [{ name: 'x', dtype: 'DT_STRING' }],
};
export const textModel = (more: Partial<HostedModel> = {}) =>
  modelOf(1, { contract: textContract, ...more });

/** A token for the model `echo`. */
export const token = tokenOf(0);

/** The gateway, a model of text with a replica for each handler, and a client whose token is good. */
export async function startStreams({
  model = textModel(),
  replicas = [echo],
  options = {},
}: {
  model?: HostedModel;
  replicas?: handleUnaryCall<Buffer, Buffer>[];
  options?: Partial<RpcGatewayConfig>;
} = {}) {
  const scene = await startScene({ anonymousRole: 'none', ...options });
  scene.api.callers.set(token, { human_readable_id: 'echo' });
  const started = await Promise.all(replicas.map((handler) => startReplica(handler)));
  const addresses = started.map(({ address }) => address);
  scene.api.tell({ models: [model], replicas: readyAt(model, ...addresses) });
  await expect.poll(() => scene.api.reports.length, soon).toBeGreaterThan(1);
  return { ...scene, model, addresses, servers: started.map(({ server }) => server) };
}

/** The text that a replica is asked about. */
export function textIn(request: Buffer): string {
  const tensor = outlinePredictRequest(request).inputs.get('x');
  return tensor === undefined ? '' : String(stringsOf(tensor)[0]);
}

export interface OpenStream {
  stream: ClientDuplexStream<Buffer, Buffer>;
  /** False: what was sent is not taken at the moment. */
  send(...data: (string | Buffer)[]): boolean;
  show(token: string): void;
  /** Those that have come so far. */
  answers: string[];
  /** How it ended: undefined, or the error. */
  ended: Promise<Partial<ServiceError> | undefined>;
}

/** A stream by the client of another maker, which reads what comes unless `isSlow`. */
export function openStream(
  address: string,
  shown: string | undefined = token,
  { isSlow = false }: { isSlow?: boolean } = {},
): OpenStream {
  const { client } = clientOf(address);
  const path = '/redhare.Inference/stream_infer';
  const stream = client.makeBidiStreamRequest(path, asIs, asIs);
  onTestFinished(() => stream.cancel());
  const answers: string[] = [];
  const ended = new Promise<Partial<ServiceError> | undefined>((resolve) => {
    stream.on('error', (error) => resolve(error as ServiceError));
    stream.on('end', () => resolve(undefined));
  });
  if (!isSlow) stream.on('data', (message: Buffer) => answers.push(textOf(message)));
  const opened: OpenStream = {
    ...{ stream, answers, ended },
    show: (one) => void stream.write(Buffer.concat(encodeStreamRequest({ token: one }))),
    send(...data) {
      let isTaken = true;
      for (const one of data) {
        isTaken = stream.write(Buffer.concat(encodeStreamRequest({ data: Buffer.from(one) })));
      }
      return isTaken;
    },
  };
  if (shown !== '') opened.show(shown);
  return opened;
}

export const textOf = (message: Buffer) => String(decodeStreamResponse(message));

/** Asks for a token. */
export async function authAt(
  address: string,
  attributes: Record<string, string>,
  options: ClientOptions = {},
): Promise<AuthResponse> {
  const request = encodeAuthRequest(new Map(Object.entries(attributes)));
  const { unary } = clientOf(address, options);
  return decodeAuthResponse(await unary('/redhare.Inference/auth', request));
}
