import { once } from 'node:events';
import grpc from '@grpc/grpc-js';
import { decode, encode } from '@msgpack/msgpack';
import { Pool } from 'undici';
import { Dealer } from 'zeromq';
import { entry, message, number, texts } from '../proto-fields.js';

/** Where the doors are, and what opens those that ask for a key. */
export interface Doors {
  /** host:port of the container itself. */
  container: string;
  /** host:port */
  grpc: string;
  publicApi: string;
  /** tcp://host:port */
  zerorpc: string;
  key: string;
}

/** Asks the model `echo` for a text; throws when the answer is another. */
type Call = (text: string) => Promise<void>;

/** A client of each door: opened once, it calls as often as it is told to. */
export const doorCalls = {
  direct: async ({ container }: Doors): Promise<Call> => predict(container),
  Predict: async ({ grpc: address }: Doors): Promise<Call> => predict(address),
  streams: async (doors: Doors): Promise<Call> => {
    const stream = await openStream(doors);
    return async (text) => {
      stream.write(datum(text));
      const [answer] = (await once(stream, 'data')) as [Buffer];
      expectText(answer, text);
    };
  },
  Invoke: async ({ grpc: address }: Doors): Promise<Call> => {
    const ask = unary(address, '/invocation.v1.Invocation/Invoke');
    const model = message(3, Buffer.concat([message(1, 'model'), message(2, 'echo')]));
    return async (text) => {
      const input = Buffer.concat([number(1, 7), message(2, text), model]);
      expectText(await ask(message(1, input)), 'OK');
    };
  },
  'Open Inference, gRPC': async ({ grpc: address }: Doors): Promise<Call> => {
    const ask = unary(address, '/inference.GRPCInferenceService/ModelInfer');
    const shape = message(3, Buffer.from([1]));
    const input = message(5, Buffer.concat([message(1, 'x'), message(2, 'BYTES'), shape]));
    return async (text) => {
      const length = Buffer.alloc(4);
      length.writeUInt32LE(Buffer.byteLength(text));
      const raw = message(7, Buffer.concat([length, Buffer.from(text)]));
      expectText(await ask(Buffer.concat([message(1, 'echo'), input, raw])), text);
    };
  },
  'Open Inference, HTTP': async ({ publicApi }: Doors): Promise<Call> => {
    const pool = new Pool(publicApi, { connections: 1 });
    return async (text) => {
      const input = { name: 'x', datatype: 'BYTES', shape: [1], data: [text] };
      const { body } = await pool.request({
        method: 'POST',
        path: '/v2/models/echo/infer',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ inputs: [input] }),
      });
      expectText(Buffer.from(await body.arrayBuffer()), text);
    };
  },
  ZeroRPC: async ({ zerorpc }: Doors): Promise<Call> => {
    const socket = new Dealer({ linger: 0, receiveTimeout: 30_000 });
    socket.connect(zerorpc);
    let calls = 0;
    return async (text) => {
      const header = { message_id: `call ${(calls += 1)}`, v: 3 };
      await socket.send(['', encode([header, 'echo_predict', [{ x: text }]])]);
      const [, frame] = await socket.receive();
      const [, name, args] = decode(frame as Buffer) as [object, string, [{ x: string }]];
      expectText(Buffer.from(name === 'OK' ? args[0].x : JSON.stringify(args)), text);
    };
  },
};

export type Door = keyof typeof doorCalls;

/** A stream that has shown its token. */
export async function openStream({ grpc: address, key }: Doors, channel = 0) {
  const attributes = { model_name: 'echo', token: key };
  const request = Object.entries(attributes).map(([name, value]) => entry(1, name, value));
  const granted = await unary(address, '/redhare.Inference/auth')(Buffer.concat(request));
  const stream = clientOf(address, channel).makeBidiStreamRequest(
    '/redhare.Inference/stream_infer',
    asIs,
    asIs,
  );
  const [, token = ''] = texts(granted);
  stream.write(message(2, token));
  return stream;
}

export const datum = (data: Buffer | string) => message(1, data);

function predict(address: string): Call {
  const ask = unary(address, '/tensorflow.serving.PredictionService/Predict');
  return async (text) => {
    const tensor = Buffer.concat([number(1, 7), message(8, text)]);
    const request = Buffer.concat([message(1, message(1, 'echo')), entry(2, 'x', tensor)]);
    expectText(await ask(request), text);
  };
}

const asIs = (bytes: Buffer) => bytes;
const clients = new Map<string, grpc.Client>();

/** Each channel is a connection. */
function clientOf(address: string, channel = 0): grpc.Client {
  const name = `${address} ${channel}`;
  const client =
    clients.get(name) ??
    new grpc.Client(address, grpc.credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
    });
  clients.set(name, client);
  return client;
}

function unary(address: string, path: string): (request: Buffer) => Promise<Buffer> {
  const client = clientOf(address);
  return (request) =>
    new Promise((resolve, reject) => {
      const options = { deadline: Date.now() + 60_000 };
      client.makeUnaryRequest(path, asIs, asIs, request, options, (error, answer) => {
        if (error === null && answer !== undefined) resolve(answer);
        else reject(error ?? new Error('no answer'));
      });
    });
}

function expectText(answer: Buffer, text: string): void {
  if (!answer.includes(text)) throw new Error(`An answer is ${answer.toString().slice(0, 200)}`);
}
