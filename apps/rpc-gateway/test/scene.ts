import { Client, credentials, Metadata, Server, ServerCredentials } from '@grpc/grpc-js';
import type { ClientOptions, handleUnaryCall, ServiceError } from '@grpc/grpc-js';
import { onTestFinished } from 'vitest';
import type { HostedModel } from '@inference-server/contracts';
import { encodeInputs, encodeModelSpec } from '@inference-server/protos';
import { createLogger } from '@inference-server/service-kit';
import type { RpcGatewayConfig } from '../src/config.js';
import { startRpcGateway, type RpcGateway } from '../src/rpc-gateway.js';
import { idOf, startPrivateApi, tokens, type PrivateApi } from './private-api.js';

export const asIs = (bytes: Buffer) => bytes;
const MiB = 1024 ** 2;

/** For what private-api is told of within a second or two. */
export const soon = { timeout: 6_000 };
const anySize = {
  'grpc.max_receive_message_length': -1,
  'grpc.max_send_message_length': -1,
};

/** The gateway in this process, and private-api for it. Anonymous callers may submit. */
export async function startScene(
  options: Partial<RpcGatewayConfig> = {},
): Promise<{ api: PrivateApi; gateway: RpcGateway; address: string; httpUrl: string }> {
  const api = await startPrivateApi();
  const gateway = await startRpcGateway(
    {
      ...{ grpc: { host: '127.0.0.1', port: 0 }, http: { host: '127.0.0.1', port: 0 } },
      zerorpc: undefined,
      ...{ privateApiUrl: api.url, privateApiToken: tokens.gateway, relayToken: tokens.relay },
      ...{ anonymousRole: 'submit', isExposed: false },
      ...{ trustedProxies: ['loopback'], refusalsPerAddress: 60 },
      ...{ maxMessageBytes: 256 * MiB, maxJsonBytes: 8 * MiB },
      ...{ maxQueuePerModel: 1_000, maxQueuedBytes: 2_048 * MiB },
      ...{ grpcPublicAddress: undefined, streamWindow: 16 },
      ...{ startTimeoutMs: 20_000, maxCallMs: 60_000, stopGraceMs: 500 },
      defaultInvocationModel: undefined,
      uploadPace: { minBytes: 1_024, windowMs: 60_000 },
      ...options,
    },
    createLogger('rpc-gateway', 'silent'),
  );
  onTestFinished(() => gateway.close());
  const httpUrl = `http://127.0.0.1:${gateway.httpPort}`;
  return { api, gateway, address: `127.0.0.1:${gateway.grpcPort}`, httpUrl };
}

/** A runtime container's side of the wire, by another maker. */
export async function startReplica(
  predict: handleUnaryCall<Buffer, Buffer>,
  port = 0,
): Promise<{ address: string; server: Server }> {
  const server = new Server(anySize);
  const path = '/tensorflow.serving.PredictionService/Predict';
  server.addService(
    {
      Predict: {
        ...{ path, requestStream: false, responseStream: false },
        ...{ requestSerialize: asIs, requestDeserialize: asIs },
        ...{ responseSerialize: asIs, responseDeserialize: asIs },
      },
    },
    { Predict: predict },
  );
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, got) => {
      if (error === null) resolve(got);
      else reject(error);
    });
  });
  onTestFinished(() => server.forceShutdown());
  return { address: `127.0.0.1:${bound}`, server };
}

/** What private-api says of replicas: the n-th has the n-th id. */
export const readyAt = (model: HostedModel, ...addresses: string[]) =>
  addresses.map((address, n) => ({
    id: idOf(1_000 * model.version + n),
    model_version_id: model.model_version_id,
    address,
  }));

/** A DT_DOUBLE with a shape. */
export function doubles(...values: number[]): Buffer {
  const content = Buffer.alloc(8 * values.length);
  values.forEach((value, n) => content.writeDoubleLE(value, 8 * n));
  return tensor(2, [values.length], content);
}

/** A TensorProto with tensor_content; sizes and contents of less than 2 GiB. */
export function tensor(dtype: number, dims: number[], content: Buffer): Buffer {
  const shape = Buffer.concat(
    dims.map((size) => {
      const dim = Buffer.concat([Buffer.from([0x08]), varint(size)]);
      return Buffer.concat([Buffer.from([0x12]), varint(dim.length), dim]);
    }),
  );
  return Buffer.concat([
    ...[Buffer.from([0x08, dtype, 0x12]), varint(shape.length), shape],
    ...[Buffer.from([0x22]), varint(content.length), content],
  ]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  for (let left = value; ; left = Math.floor(left / 128)) {
    if (left < 128) return Buffer.from([...bytes, left]);
    bytes.push((left % 128) | 0x80);
  }
}

export function requestOf(
  inputs: Record<string, Buffer>,
  spec: { name: string; version?: bigint; signatureName?: string } = { name: 'echo' },
): Buffer {
  return Buffer.concat([encodeModelSpec(spec), ...encodeInputs(new Map(Object.entries(inputs)))]);
}

/** Answers with the inputs as outputs: field 2 of the request is field 1 of the answer. */
export const echo: handleUnaryCall<Buffer, Buffer> = ({ request }, done) =>
  done(null, outputsOf(request));

export function outputsOf(request: Buffer): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < request.length;) {
    const tag = request[at];
    let [length, shift, body] = [0, 1, at + 1];
    for (; ; shift *= 128) {
      const byte = request[body++] ?? 0;
      length += (byte & 0x7f) * shift;
      if (byte < 128) break;
    }
    const end = body + length;
    if (tag === 0x12) parts.push(Buffer.from([0x0a]), request.subarray(at + 1, end));
    at = end;
  }
  return Buffer.concat(parts);
}

export interface Asked {
  key?: string;
  deadlineMs?: number;
  signal?: AbortSignal;
  metadata?: Record<string, string>;
}

/** Asks with the client of another maker; throws its ServiceError. */
export function clientOf(
  address: string,
  options: ClientOptions = {},
): {
  predict: (request: Buffer, asked?: Asked) => Promise<Buffer>;
  unary: (path: string, request: Buffer, asked?: Asked) => Promise<Buffer>;
  client: Client;
} {
  const client = new Client(address, credentials.createInsecure(), { ...anySize, ...options });
  onTestFinished(() => client.close());
  const unary = (path: string, request: Buffer, asked: Asked = {}) =>
    new Promise<Buffer>((resolve, reject) => {
      const metadata = new Metadata();
      if (asked.key !== undefined) metadata.set('authorization', `Bearer ${asked.key}`);
      for (const [name, value] of Object.entries(asked.metadata ?? {})) metadata.set(name, value);
      const { deadlineMs, signal } = asked;
      const call = client.makeUnaryRequest(
        ...([path, asIs, asIs, request, metadata] as const),
        deadlineMs === undefined ? {} : { deadline: Date.now() + deadlineMs },
        (error: ServiceError | null, answer?: Buffer) => {
          if (answer === undefined) reject(error ?? new Error('no answer'));
          else resolve(answer);
        },
      );
      signal?.addEventListener('abort', () => call.cancel());
    });
  const predict = (request: Buffer, asked?: Asked) =>
    unary('/tensorflow.serving.PredictionService/Predict', request, asked);
  return { predict, unary, client };
}

/** A promise and what settles it. */
export function deferred<Value = void>(): {
  promise: Promise<Value>;
  resolve: (value: Value) => void;
} {
  let resolve!: (value: Value) => void;
  const promise = new Promise<Value>((settle) => (resolve = settle));
  return { promise, resolve };
}
