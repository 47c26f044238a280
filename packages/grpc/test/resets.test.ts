import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, constants, type ClientHttp2Session } from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test } from 'vitest';

/** As built, in a process of its own: should it hang, this one does not. */
const server = `
  import { createByteBudget, createGrpcServer, GrpcError } from './dist/index.js';
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  const server = createGrpcServer({
    methods: new Map([
      ['/t.T/Held', () => ({ unary: async () => (await opened, { message: [] }) })],
      ['/t.T/Open', () => (open(), { unary: async () => ({ message: [] }) })],
      ['/t.T/Silent', () => ({ isOpen: true, stream: () => new Promise(() => {}) })],
      ['/t.T/Watch', () => ({ isOpen: true, stream: async (messages) => {
        for await (const message of messages) void message;
        return {};
      } })],
      ['/t.T/Refused', () => { throw new GrpcError('UNAUTHENTICATED', 'no'); }],
      ['/t.T/Predict', () => ({ stream: async (messages) => {
        for await (const message of messages) void message;
        return {};
      } })],
    ]),
    maxMessageBytes: 1e6, budget: createByteBudget(1e7),
    pace: { minBytes: 1, windowMs: 60_000 }, onFault: console.error,
  });
  console.log(await server.listen({ host: '127.0.0.1', port: 0 }));
`;

async function startServer(): Promise<string> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', server], {
    cwd: fileURLToPath(new URL('..', import.meta.url)),
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  const [port] = (await once(child.stdout, 'data')) as [Buffer];
  return `http://127.0.0.1:${Number(port)}`;
}

function connectTo(url: string): ClientHttp2Session {
  const session = connect(url);
  session.on('error', () => undefined);
  onTestFinished(() => session.destroy());
  return session;
}

function request(session: ClientHttp2Session, path: string) {
  const stream = session.request({
    ...{ ':method': 'POST', ':path': path, 'content-type': 'application/grpc' },
  });
  stream.on('error', () => undefined);
  return stream;
}

/** The status of a call with an empty message; -1: it was cut. */
function ask(session: ClientHttp2Session, path: string): Promise<number> {
  const stream = request(session, path);
  stream.end(Buffer.alloc(5));
  stream.resume();
  return new Promise((resolve) => {
    const see = (headers: Record<string, unknown>) => {
      if (headers['grpc-status'] !== undefined) resolve(Number(headers['grpc-status']));
    };
    stream.on('response', see);
    stream.on('trailers', see);
    stream.once('close', () => resolve(-1));
  });
}

/** Opens calls and cancels them, `times` at most; whether the server went on taking them. */
async function cancelCalls(session: ClientHttp2Session, path: string, times: number) {
  for (let n = 0; n < times && !session.closed && !session.destroyed; n += 100) {
    const some = Array.from({ length: 100 }, () => request(session, path));
    await sleep(50);
    for (const stream of some) stream.close(constants.NGHTTP2_CANCEL);
  }
  await sleep(50);
  return !session.closed && !session.destroyed;
}

test.each([
  ['cancels calls of strangers', '/t.T/Silent'],
  ['cancels calls that were let in', '/t.T/Predict'],
  ['cancels calls that were answered early', '/t.T/Refused'],
  ['asks for what there is not', '/t.T/None'],
])(
  'a connection that %s without end takes no more; what is under way on it ends',
  async (_, path) => {
    const url = await startServer();
    const session = connectTo(url);
    const held = ask(session, '/t.T/Held');
    expect(await cancelCalls(session, path, 5_000)).toBe(false);
    const other = connectTo(url);
    expect(await ask(other, '/t.T/Open')).toBe(0);
    expect(await held).toBe(0);
  },
);

test('a flood of cancelled calls does not hang the server', async () => {
  const url = await startServer();
  const session = connectTo(url);
  void ask(session, '/t.T/Held');
  await cancelCalls(session, '/t.T/Silent', 5_000);
  expect(await ask(connectTo(url), '/t.T/Open')).toBe(0);
});

test('some calls may be cancelled', async () => {
  const session = connectTo(await startServer());
  expect(await cancelCalls(session, '/t.T/Predict', 200)).toBe(true);
  expect(await ask(session, '/t.T/Open')).toBe(0);
});

test('a connection may watch so much at a time', async () => {
  const session = connectTo(await startServer());
  const watches = Array.from({ length: 100 }, () => request(session, '/t.T/Watch'));
  expect(await ask(session, '/t.T/Watch')).toBe(8);
  expect(await ask(session, '/t.T/Open')).toBe(0);
  for (const watch of watches.slice(0, 1)) {
    watch.close(constants.NGHTTP2_CANCEL);
    await once(watch, 'close');
  }
  expect(await ask(session, '/t.T/Watch')).toBe(0);
});
