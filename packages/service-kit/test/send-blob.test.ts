import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { stat, writeFile } from 'node:fs/promises';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import { pino } from 'pino';
import Type from 'typebox';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { RouteContract } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { openFilesBelow, testFolder, waitUntil } from '@inference-server/testing';
import {
  closeHttpServer,
  createHttpServer,
  mountRoute,
  sendBlob,
  type SendableBlob,
} from '../src/index.js';

const route = {
  operationId: 'download',
  method: 'GET',
  path: '/:kind',
  tag: 'test',
  summary: 'download',
  params: Type.Object({ kind: Type.String() }),
  success: { kind: 'zip', description: '' },
  errors: [],
  access: 'open',
  object: 'none',
  callers: ['anyone'],
} as const satisfies RouteContract;

/** More than the buffers of a connection hold. */
const content = randomBytes(32 * 1024 ** 2);
const sha256 = createHash('sha256').update(content).digest('hex');
const stalledMs = 500;

let app: FastifyInstance;
let port: number;
let folder: string;
const opened: Readable[] = [];
/** How often a last byte went out. */
let lastBytes = 0;

beforeAll(async () => {
  folder = await testFolder();
  const path = join(folder, 'blob');
  await writeFile(path, content);
  const { size } = await stat(path);
  const blob: SendableBlob = {
    sha256,
    bytes: size,
    modifiedAt: new Date('2026-01-02T03:04:05.678Z'),
    open: (range) => {
      const stream = createReadStream(path, range);
      opened.push(stream);
      return Promise.resolve(stream);
    },
  };
  const gone: SendableBlob = {
    ...blob,
    open: () => Promise.reject(new AppError('OUTPUT_NOT_FOUND', 'It is gone.')),
  };
  app = createHttpServer({ logger: pino({ level: 'silent' }) });
  mountRoute(app, route, ({ params, http }, reply) =>
    sendBlob(http, reply, params.kind === 'gone' ? gone : blob, {
      fileName: 'a.zip',
      stalledMs,
      onLastByte: () => (lastBytes += 1),
    }),
  );
  await app.listen({ host: '127.0.0.1', port: 0 });
  ({ port } = app.server.address() as AddressInfo);
});
afterAll(() => closeHttpServer(app, 1_000));

const ask = (headers: Record<string, string> = {}, method = 'GET', kind = 'there') =>
  fetch(`http://127.0.0.1:${port}/${kind}`, { method, headers });

const everything = {
  etag: `"${sha256}"`,
  'last-modified': 'Fri, 02 Jan 2026 03:04:05 GMT',
  'accept-ranges': 'bytes',
  'cache-control': 'private, no-cache, no-transform',
  'content-type': 'application/zip',
  'content-disposition': 'attachment; filename="a.zip"',
};

describe('a blob', () => {
  it('is sent whole, with what names it', async () => {
    const answer = await ask();
    expect(answer.status).toBe(200);
    const headers = Object.fromEntries(answer.headers);
    expect(headers).toMatchObject({ ...everything, 'content-length': String(content.length) });
    expect(headers['content-range']).toBeUndefined();
    expect(Buffer.from(await answer.arrayBuffer()).equals(content)).toBe(true);
  });

  it.each([
    ['bytes=0-0', 0, 0],
    ['bytes=1000000-2000000', 1_000_000, 2_000_000],
    [`bytes=${content.length - 3}-`, content.length - 3, content.length - 1],
    ['bytes=-5', content.length - 5, content.length - 1],
    ['bytes=0-', 0, content.length - 1],
  ])('is sent in part: %s', async (range, start, end) => {
    const answer = await ask({ range });
    expect(answer.status).toBe(206);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      ...everything,
      'content-length': String(end - start + 1),
      'content-range': `bytes ${start}-${end}/${content.length}`,
    });
    const bytes = Buffer.from(await answer.arrayBuffer());
    expect(bytes.equals(content.subarray(start, end + 1))).toBe(true);
  });

  it('is 416 past its end, with its length', async () => {
    const answer = await ask({ range: `bytes=${content.length}-` });
    expect(answer.status).toBe(416);
    expect(answer.headers.get('content-range')).toBe(`bytes */${content.length}`);
    expect(answer.headers.get('etag')).toBeNull();
    expect(await answer.json()).toMatchObject({ code: 'RANGE_NOT_SATISFIABLE' });
  });

  it('is 304 without a body where the caller has it', async () => {
    for (const method of ['GET', 'HEAD']) {
      const answer = await ask({ 'if-none-match': everything.etag }, method);
      expect(answer.status).toBe(304);
      const { etag, 'cache-control': caching, ...none } = Object.fromEntries(answer.headers);
      expect([etag, caching]).toEqual([everything.etag, everything['cache-control']]);
      expect(none).not.toHaveProperty('content-type');
      expect(none).not.toHaveProperty('content-length');
      expect(none).not.toHaveProperty('transfer-encoding');
      expect(await answer.text()).toBe('');
    }
  });

  it('is 412 where the caller wants another', async () => {
    const answer = await ask({ 'if-match': '"other"' });
    expect(answer.status).toBe(412);
    expect(answer.headers.get('content-type')).toContain('application/problem+json');
    expect(await answer.json()).toMatchObject({ code: 'PRECONDITION_FAILED' });
  });

  it('whose bytes are gone is gone whatever is asked', async () => {
    for (const method of ['GET', 'HEAD']) {
      for (const headers of [
        {},
        { range: 'bytes=0-0' },
        { range: 'bytes=999999999-' },
        { 'if-match': '"other"' },
        { 'if-none-match': everything.etag },
      ] as Record<string, string>[]) {
        const answer = await ask(headers, method, 'gone');
        expect(answer.status).toBe(553);
        expect(answer.headers.get('etag')).toBeNull();
      }
    }
  });

  it('is described by HEAD without being read', async () => {
    opened.length = 0;
    const answer = await ask({ range: 'bytes=0-0' }, 'HEAD');
    expect(answer.status).toBe(200);
    expect(Object.fromEntries(answer.headers)).toMatchObject({
      ...everything,
      'content-length': String(content.length),
    });
    await ask({ 'if-none-match': '*' });
    await ask({ 'if-match': '"other"' });
    await ask({ range: 'bytes=999999999-' });
    expect(opened).toHaveLength(4);
    for (const stream of opened) {
      expect(stream.destroyed).toBe(true);
      expect((stream as Readable & { bytesRead: number }).bytesRead).toBe(0);
    }
  });
});

describe('a client', () => {
  /** Has asked for the blob and reads nothing beyond the first bytes. */
  async function stopReading(): Promise<Socket> {
    const socket = connect(port, '127.0.0.1');
    socket.on('error', () => undefined);
    socket.write('GET /there HTTP/1.1\r\nHost: x\r\n\r\n');
    await once(socket, 'data');
    socket.pause();
    return socket;
  }

  const isFree = async () => (await openFilesBelow(folder)).length === 0;
  const connections = () =>
    new Promise<number>((resolve, reject) => {
      app.server.getConnections((error, count) => {
        if (error) reject(error);
        else resolve(count);
      });
    });

  it('that goes away frees the file, and has not had the last byte', async () => {
    const before = lastBytes;
    const socket = await stopReading();
    expect(await isFree()).toBe(false);
    socket.destroy();
    expect(await waitUntil(isFree, { timeoutMs: 5_000 })).toBe(true);
    expect(lastBytes).toBe(before);
  });

  it.each([
    ['the whole', 'GET', undefined, 1],
    ['the last part', 'GET', 'bytes=1000-', 1],
    ['an earlier part', 'GET', 'bytes=0-999', 0],
    ['nothing but the headers', 'HEAD', undefined, 0],
  ])('that gets %s', async (_what, method, range, times) => {
    const before = lastBytes;
    const answer = await ask(range === undefined ? {} : { range }, method);
    await answer.arrayBuffer();
    // Said when the server is through with it, which may be after the client is.
    const isSaid = () => lastBytes === before + times;
    expect(await waitUntil(isSaid, { timeoutMs: 5_000 })).toBe(true);
  });

  it('that stops reading frees the file, and is cut', async () => {
    const before = await connections();
    const socket = await stopReading();
    expect(await isFree()).toBe(false);
    expect(await connections()).toBe(before + 1);
    expect(await waitUntil(isFree, { timeoutMs: 10 * stalledMs })).toBe(true);
    const isCut = async () => (await connections()) <= before;
    expect(await waitUntil(isCut, { timeoutMs: 5_000 })).toBe(true);
    socket.destroy();
  });

  it('that reads slowly gets everything', async () => {
    const socket = connect(port, '127.0.0.1');
    socket.write('GET /there HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
    const started = performance.now();
    let bytes = 0;
    let pauses = 0;
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes < (content.length * (pauses + 1)) / 8) continue;
      pauses += 1;
      await sleep(stalledMs / 2);
    }
    expect(bytes).toBeGreaterThan(content.length);
    expect(performance.now() - started).toBeGreaterThan(3 * stalledMs);
  });

  it('keeps its connection for the next request', async () => {
    const socket = connect(port, '127.0.0.1');
    const parts: Buffer[] = [];
    socket.on('data', (chunk) => parts.push(chunk));
    const answers = () => Buffer.concat(parts).toString('latin1').split('HTTP/1.1 ').length - 1;
    const request = 'GET /there HTTP/1.1\r\nHost: x\r\nRange: bytes=0-9\r\n\r\n';
    socket.write(request);
    expect(await waitUntil(() => answers() === 1, { timeoutMs: 5_000 })).toBe(true);
    await Promise.race([sleep(2 * stalledMs), once(socket, 'close')]);
    socket.write(request);
    expect(await waitUntil(() => answers() === 2, { timeoutMs: 5_000 })).toBe(true);
    socket.destroy();
  });
});
