import { status } from '@grpc/grpc-js';
import { expect, test } from 'vitest';
import { GrpcError, type Method } from '../src/index.js';
import { asIs, foreignClient, MiB, startServer } from './servers.js';

const echoEach: Method = () => ({
  stream: async (messages, write) => {
    for await (const message of messages) await write([message]);
    return { trailers: { 'x-done': 'yes' } };
  },
});

test('messages are answered one by one, in order', async () => {
  const { address, faults } = await startServer({ '/t.T/Each': echoEach });
  const stream = foreignClient(address).makeBidiStreamRequest('/t.T/Each', asIs, asIs);
  const sent = Array.from({ length: 500 }, (_, n) => Buffer.from(String(n)));
  sent.push(Buffer.alloc(3 * MiB, 1));
  for (const message of sent) stream.write(message);
  stream.end();
  const got: Buffer[] = [];
  for await (const message of stream as AsyncIterable<Buffer>) got.push(message);
  expect(got.length).toBe(sent.length);
  expect(got.every((message, n) => message.equals(sent[n]!))).toBe(true);
  expect(faults).toEqual([]);
});

test('a stream of answers ends with its caller', async () => {
  let ended!: (why: unknown) => void;
  const end = new Promise((resolve) => (ended = resolve));
  const { address } = await startServer({
    '/t.T/Watch': () => ({
      stream: async (_messages, write) => {
        try {
          for (let n = 0; ; n += 1) {
            await write([Buffer.from(String(n))]);
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        } catch (error) {
          ended(error);
          throw error;
        }
      },
    }),
  });
  const stream = foreignClient(address).makeServerStreamRequest(
    ...(['/t.T/Watch', asIs, asIs, Buffer.alloc(0)] as const),
  );
  stream.on('error', () => undefined);
  stream.once('data', () => stream.cancel());
  expect(await end).toMatchObject({ status: 'CANCELLED' });
});

test('what is not read is not asked for', async () => {
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  const { address } = await startServer({
    '/t.T/Late': () => ({
      stream: async (messages, write) => {
        await held;
        let bytes = 0;
        for await (const message of messages) bytes += message.length;
        await write([Buffer.from(String(bytes))]);
        return {};
      },
    }),
  });
  const stream = foreignClient(address).makeBidiStreamRequest('/t.T/Late', asIs, asIs);
  const answer = new Promise<Buffer>((resolve) => stream.once('data', resolve));
  for (let n = 0; n < 20; n += 1) stream.write(Buffer.alloc(MiB));
  stream.end();
  setTimeout(release, 100);
  expect(String(await answer)).toBe(String(20 * MiB));
});

test('the first message of a stream that says who calls is small, those after it are as others', async () => {
  const tooLarge = () => new GrpcError('FAILED_PRECONDITION', 'Say who calls.');
  const { address, faults } = await startServer({
    '/t.T/Opened': () => ({
      opening: { maxBytes: 10, tooLarge },
      stream: async (messages, write, letIn) => {
        for await (const message of messages) {
          letIn();
          await write([message]);
        }
        return {};
      },
    }),
  });
  const answersTo = async (...sent: Buffer[]) => {
    const stream = foreignClient(address).makeBidiStreamRequest('/t.T/Opened', asIs, asIs);
    for (const message of sent) stream.write(message);
    stream.end();
    const got: Buffer[] = [];
    for await (const message of stream as AsyncIterable<Buffer>) got.push(message);
    return got;
  };
  const sent = [Buffer.alloc(10, 1), Buffer.alloc(20, 2), Buffer.alloc(MiB, 3)];
  expect(Buffer.concat(await answersTo(...sent)).equals(Buffer.concat(sent))).toBe(true);
  const refused = { code: status.FAILED_PRECONDITION, details: 'Say who calls.' };
  await expect(answersTo(Buffer.alloc(11))).rejects.toMatchObject(refused);
  expect(faults).toEqual([]);
});

test('a stream may end in its middle, whatever is waited for', async () => {
  const { address, faults } = await startServer({
    '/t.T/Ends': () => ({
      stream: (messages) => {
        const next = messages[Symbol.asyncIterator]().next();
        next.catch(() => undefined);
        throw new GrpcError('ABORTED', 'Enough.');
      },
    }),
  });
  const stream = foreignClient(address).makeBidiStreamRequest('/t.T/Ends', asIs, asIs);
  const error = await new Promise((resolve) => stream.once('error', resolve));
  expect(error).toMatchObject({ code: status.ABORTED, details: 'Enough.' });
  expect(faults).toEqual([]);
});

test('a stream that ends in its middle has its status after what was written', async () => {
  const { address } = await startServer({
    '/t.T/Ends': () => ({
      stream: async (messages, write) => {
        for await (const message of messages) {
          if (message.length === 0) throw new GrpcError('ABORTED', 'Enough.');
          await write([message]);
        }
        return {};
      },
    }),
  });
  for (let n = 0; n < 20; n += 1) {
    const stream = foreignClient(address).makeBidiStreamRequest('/t.T/Ends', asIs, asIs);
    let bytes = 0;
    stream.on('data', (message: Buffer) => (bytes += message.length));
    const ended = new Promise((resolve) => stream.once('error', resolve));
    for (const size of [10, 100_000, 0, 10]) stream.write(Buffer.alloc(size));
    expect(await ended).toMatchObject({ code: status.ABORTED, details: 'Enough.' });
    expect(bytes).toBe(100_010);
  }
});
