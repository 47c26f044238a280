import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { PassThrough, Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { EngineError } from '@inference-server/container-engine';
import { whenFileEnds } from '@inference-server/testing';
import { createPrivateApiClient } from '../src/private-api-client.js';

const held = { taskUid: 'A'.repeat(43), attempt: 1, epoch: 1, holder: 'holder' };
const never = new AbortController().signal;

/** A private-api whose connections end by `end` once so many bytes have come. */
async function clientOf(bytes: number, end: (socket: Socket) => void) {
  const server = createServer((socket) => {
    let heard = 0;
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      heard += chunk.length;
      if (heard >= bytes) end(socket);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  whenFileEnds('server', () => new Promise<void>((resolve) => server.close(() => resolve())));
  const { port } = server.address() as AddressInfo;
  return createPrivateApiClient({ url: `http://127.0.0.1:${port}`, token: 't', consumerId: 'c' });
}

async function* zipOf(chunks: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < chunks; at += 1) {
    yield Buffer.alloc(64 * 1024, at);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Four pieces, unless the stream is destroyed before. */
async function send(zip: PassThrough, pieces: { chunkBytes: number; everyMs: number }) {
  for (let at = 0; at < 4 && !zip.destroyed; at += 1) {
    zip.write(Buffer.alloc(pieces.chunkBytes, at));
    await new Promise((resolve) => setTimeout(resolve, pieces.everyMs));
  }
  if (!zip.destroyed) zip.end();
}

describe('an output that is on its way', () => {
  const ends: Record<string, (socket: Socket) => void> = {
    reset: (socket) => socket.resetAndDestroy(),
    ended: (socket) => socket.end(),
    closed: (socket) => socket.destroy(),
  };
  for (const [how, end] of Object.entries(ends)) {
    it.each([1, 70_000, 1_000_000])(
      `may be sent again when the connection is ${how} after %i bytes`,
      async (bytes) => {
        const client = await clientOf(bytes, end);
        for (let time = 0; time < 5; time += 1) {
          const zip = Readable.from(zipOf(100), { objectMode: false });
          await expect(client.putOutput(held, zip, never)).rejects.toMatchObject({
            code: 'SERVICE_UNAVAILABLE',
            retryable: true,
          });
        }
      },
    );
  }

  it.each([1, 2_000, 70_000])(
    'tells what private-api answers after %i bytes, before it has all, in two pieces',
    async (bytes) => {
      const problem = JSON.stringify({
        ...{ type: 'about:blank', title: 'Storage full', status: 507 },
        ...{ detail: 'The disk is full.', code: 'STORAGE_FULL' },
      });
      const head = [
        'HTTP/1.1 507 Insufficient Storage',
        'content-type: application/problem+json',
        `content-length: ${problem.length}`,
      ];
      const client = await clientOf(bytes, (socket) => {
        socket.removeAllListeners('data').resume();
        socket.write(`${head.join('\r\n')}\r\n\r\n`);
        setTimeout(() => socket.end(problem), 4);
      });
      for (let time = 0; time < 20; time += 1) {
        const zip = new PassThrough();
        const sent = client.putOutput(held, zip, never);
        void send(zip, { chunkBytes: bytes, everyMs: time % 6 });
        await expect(sent).rejects.toMatchObject({
          code: 'STORAGE_FULL',
          message: 'The disk is full.',
        });
      }
    },
  );

  it('fails as its source does', async () => {
    const client = await clientOf(Number.POSITIVE_INFINITY, () => undefined);
    const broken = new EngineError('unreachable', 'The connection broke.');
    async function* part(): AsyncGenerator<Buffer> {
      yield* zipOf(3);
      throw broken;
    }
    const zip = Readable.from(part(), { objectMode: false });
    await expect(client.putOutput(held, zip, never)).rejects.toBe(broken);
  });
});
