import { once } from 'node:events';
import {
  connect,
  createServer,
  type ClientHttp2Stream,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import {
  Client,
  credentials,
  Server,
  ServerCredentials,
  type handleUnaryCall,
} from '@grpc/grpc-js';
import { onTestFinished } from 'vitest';
import {
  createByteBudget,
  createGrpcServer,
  openGrpcConnection,
  type GrpcConnection,
  type GrpcServer,
  type GrpcServerOptions,
  type Method,
} from '../src/index.js';

export const MiB = 1024 ** 2;
export const asIs = (bytes: Buffer) => bytes;
export const echo: Method = () => ({ unary: async (message) => ({ message: [message] }) });

/** Our server on a free port, with what it could not answer. */
export async function startServer(
  methods: Record<string, Method>,
  options: Partial<GrpcServerOptions> = {},
): Promise<{ port: number; address: string; server: GrpcServer; faults: unknown[] }> {
  const faults: unknown[] = [];
  const server = createGrpcServer({
    methods: new Map(Object.entries(methods)),
    maxMessageBytes: 256 * MiB,
    budget: createByteBudget(1024 * MiB),
    pace: { minBytes: 1_024, windowMs: 60_000 },
    onFault: (error) => faults.push(error),
    ...options,
  });
  const port = await server.listen({ host: '127.0.0.1', port: 0 });
  onTestFinished(() => server.close(0));
  return { port, address: `127.0.0.1:${port}`, server, faults };
}

/** Our client. */
export function connectTo(address: string): GrpcConnection {
  const connection = openGrpcConnection(address);
  onTestFinished(() => connection.close());
  return connection;
}

/** The client of another maker. */
export function foreignClient(address: string): Client {
  const client = new Client(address, credentials.createInsecure(), {
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
  });
  onTestFinished(() => client.close());
  return client;
}

/** The server of another maker, with unary methods. */
export async function foreignServer(
  methods: Record<string, handleUnaryCall<Buffer, Buffer>>,
): Promise<string> {
  const server = new Server({
    'grpc.max_receive_message_length': -1,
    'grpc.max_send_message_length': -1,
  });
  const definition = Object.fromEntries(
    Object.keys(methods).map((name) => [
      name,
      {
        path: `/t.T/${name}`,
        ...{ requestStream: false, responseStream: false },
        ...{ requestSerialize: asIs, requestDeserialize: asIs },
        ...{ responseSerialize: asIs, responseDeserialize: asIs },
      },
    ]),
  );
  server.addService(definition, methods);
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else reject(error);
    });
  });
  onTestFinished(() => server.forceShutdown());
  return `127.0.0.1:${port}`;
}

/** A server that knows HTTP/2 and nothing of gRPC. */
export async function bareServer(
  onStream: (stream: ServerHttp2Stream, server: Http2Server, headers: IncomingHttpHeaders) => void,
): Promise<string> {
  const server = createServer();
  const sessions = new Set<{ destroy(): void }>();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream, headers) => {
    stream.on('error', () => undefined);
    onStream(stream, server, headers);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const session of sessions) session.destroy();
    server.close();
  });
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** A raw request, and what came of it. */
export async function exchange(
  address: string,
  headers: Record<string, string>,
  body?: Buffer | ((stream: ClientHttp2Stream) => void),
): Promise<{ status: unknown; grpc: unknown; text: unknown; rst: number | undefined }> {
  const session = connect(`http://${address}`);
  onTestFinished(() => session.destroy());
  session.on('error', () => undefined);
  const stream = session.request({
    ...{ ':method': 'POST', ':path': '/t.T/Echo', 'content-type': 'application/grpc' },
    ...headers,
  });
  const seen = {
    status: undefined as unknown,
    grpc: undefined as unknown,
    text: undefined as unknown,
  };
  const look = (got: Record<string, unknown>) => {
    seen.grpc ??= got['grpc-status'];
    seen.text ??= got['grpc-message'];
  };
  stream.on('error', () => undefined);
  stream.on('response', (got) => {
    seen.status = got[':status'];
    look(got);
  });
  stream.on('trailers', look);
  stream.resume();
  if (typeof body === 'function') body(stream);
  else stream.end(body);
  await new Promise<void>((resolve) => stream.once('close', () => resolve()));
  return { ...seen, rst: stream.rstCode };
}

/** A message with its prefix. */
export const framed = (message: Buffer, flag = 0) => {
  const prefix = Buffer.from([flag, 0, 0, 0, 0]);
  prefix.writeUInt32BE(message.length, 1);
  return Buffer.concat([prefix, message]);
};
